"""Detect objects with an exported ONNX file, using nothing but ONNX Runtime, numpy and OpenCV.

python demo/onnx_numpy.py runs/quickstart/best.onnx photo.jpg [...] [--threshold 0.3] [--save-json detections.json]

Everything it has to know - size, mean, standard deviation, class names, thresholds - is in the file's metadata. Copy it
into your own program as a start; it imports neither otadet nor PyTorch.
"""

import argparse
import json

import cv2
import numpy as np
import onnxruntime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="file written by tools/export_onnx.py")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--threshold", type=float, default=0.0, help="print and save only scores from here on, 0-1")
    parser.add_argument("--save-json", metavar="FILE")
    args = parser.parse_args()

    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    metadata = read_metadata(session)
    results = {}
    for path in args.images:
        boxes, scores, labels = detect(session, metadata, read_image(path))
        keep = scores >= args.threshold
        results[path] = [
            {"class": metadata["class_names"][label], "score": float(score), "box": box.tolist()}
            for box, score, label in zip(boxes[keep], scores[keep], labels[keep], strict=True)
        ]
        print(f"{path}: {len(results[path])} detections")
        for found in results[path]:
            print(f"  {found['class']} {found['score']:.3f} at", *(f"{side:.1f}" for side in found["box"]))
    if args.save_json:
        with open(args.save_json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1, ensure_ascii=False)


def read_metadata(session: onnxruntime.InferenceSession) -> dict:
    """Numbers, lists and truth values are stored as JSON, texts as they are."""
    texts = {"experiment", "otadet", "input", "rank_by"}
    entries = session.get_modelmeta().custom_metadata_map.items()
    return {name: value if name in texts else json.loads(value) for name, value in entries}


def read_image(path: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned upright as EXIF says.

    `cv2.imread` cannot open every name everywhere, so numpy reads the bytes.
    """
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit(f"{path}: not an image that OpenCV can read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def detect(
    session: onnxruntime.InferenceSession, metadata: dict, image: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """image (H, W, 3) uint8 RGB -> boxes (D, 4) xyxy in its pixels, scores (D,), labels (D,), best score first."""
    canvas, scale = prepare(image, metadata)
    pixels = (canvas.astype(np.float32) - np.float32(metadata["mean"])) / np.float32(metadata["std"])
    pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {"images": pixels}), strict=True))
    if metadata["nms"]:
        boxes, scores, labels = outputs["boxes"], outputs["scores"], outputs["labels"]
    else:
        ranks = outputs["class_scores"] if metadata.get("rank_by") == "class" else outputs["scores"]
        boxes, scores, labels = postprocess(
            outputs["boxes"][0], outputs["scores"][0], ranks[0], canvas.shape[:2], metadata
        )
    height, width = image.shape[:2]
    boxes = (boxes / np.float32((*scale, *scale))).clip(0, np.float32((width, height, width, height)))
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # nothing is left of what was found in the padding
    return boxes[inside], scores[inside], labels[inside]


def prepare(image: np.ndarray, metadata: dict) -> tuple[np.ndarray, tuple[float, float]]:
    """Resize and pad at the right and the bottom -> (H, W, 3) uint8, and the scale in x and y."""
    height, width = image.shape[:2]
    if metadata["letterbox"]:
        rows, columns = metadata["letterbox"]
        factor = min(rows / height, columns / width)
    else:
        shorter, longer = metadata["shortest_edge"]
        factor = min(shorter / min(height, width), longer / max(height, width))
        rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    if metadata["dynamic_size"]:
        divisor = metadata["size_divisor"]
        rows, columns = -(-rows // divisor) * divisor, -(-columns // divisor) * divisor
    else:
        rows, columns = metadata["size"]
    if round(height * factor) > rows or round(width * factor) > columns:
        factor = min(rows / height, columns / width)
    new_height, new_width = max(1, round(height * factor)), max(1, round(width * factor))
    if (new_height, new_width) != (height, width):
        shrinks = new_height < height or new_width < width
        image = cv2.resize(
            image, (new_width, new_height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
    canvas = np.full((rows, columns, 3), metadata["pad_value"], np.uint8)
    canvas[:new_height, :new_width] = image
    return canvas, (new_width / width, new_height / height)


def postprocess(
    boxes: np.ndarray, scores: np.ndarray, ranks: np.ndarray, size: tuple[int, int], metadata: dict
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All anchors, boxes (A, 4), scores and ranks (A, C) -> detections: best of each level, threshold, NMS."""
    anchors, labels = np.indices(scores.shape).reshape(2, -1)
    flat, flat_ranks = scores.ravel(), ranks.ravel()
    kept, first = [], 0
    for stride in metadata["strides"]:
        count = -(-size[0] // stride) * -(-size[1] // stride) * scores.shape[1]
        level = np.argsort(-flat_ranks[first : first + count], kind="stable")[: metadata["topk_per_level"]] + first
        kept.append(level[(flat_ranks[level] > metadata["score_threshold"]) & (flat[level] > 0)])
        first += count
    kept = np.concatenate(kept)
    kept = kept[np.argsort(-flat[kept], kind="stable")]
    boxes, scores, labels = boxes[anchors[kept]], flat[kept], labels[kept]
    chosen = nms(boxes, labels, metadata["nms_iou"])[: metadata["max_detections"]]
    return boxes[chosen], scores[chosen], labels[chosen]


def nms(boxes: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """Rows of `boxes` (D, 4), best score first, that no better box of their class overlaps by more than `threshold`."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    alive, chosen = np.arange(len(boxes)), []
    while len(alive):
        best, alive = alive[0], alive[1:]
        chosen.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[alive, 2:]) - np.maximum(boxes[best, :2], boxes[alive, :2])
        overlap = sides.clip(0).prod(axis=1)
        union = np.maximum(areas[best] + areas[alive] - overlap, np.float32(1e-12))
        alive = alive[(overlap / union <= threshold) | (labels[alive] != labels[best])]
    return np.array(chosen, np.int64)


if __name__ == "__main__":
    main()

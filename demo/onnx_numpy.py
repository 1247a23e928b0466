"""Detect objects with an exported ONNX file, using nothing but ONNX Runtime, numpy and OpenCV.

python demo/onnx_numpy.py runs/quickstart/best.onnx photo.jpg [...] [--threshold 0.3] [--save-json detections.json]

Everything it has to know - size, mean, standard deviation, class names, thresholds - is in the file's metadata. Copy it
into your own program as a start; it imports neither otadet nor PyTorch.
"""

import argparse
import json
import os
import sys

import cv2
import numpy as np
import onnxruntime


class Mistake(Exception):
    """A file that is not what it has to be; the message names it."""


def main() -> None:
    args = parse_args()
    if hasattr(sys.stdout, "reconfigure"):  # what its encoding lacks as an escape
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        detect_in_files(args)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(2)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="file written by tools/export_onnx.py")
    parser.add_argument("images", nargs="+", help="files that OpenCV reads; photos are turned upright")
    parser.add_argument(
        "--threshold",
        type=score,
        default=0.0,
        metavar="SCORE",
        help="print and save only scores from here on, 0-1; default: all that the file finds",
    )
    parser.add_argument("--save-json", metavar="FILE", help="write the detections by image")
    return parser.parse_args()


def score(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def detect_in_files(args: argparse.Namespace) -> None:
    """Print what is found in each image, and write it. Of several images those that cannot be read are left out."""
    files = [args.model, *args.images]
    if args.save_json and any(os.path.realpath(args.save_json) == os.path.realpath(file) for file in files):
        raise Mistake(f"{in_one_line(args.save_json)}: is an input; name another file for --save-json")
    try:
        session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
        metadata = read_metadata(session)
    except Exception as error:  # those of ONNX Runtime have nothing else in common
        raise Mistake(f"{in_one_line(args.model)}: no file of tools/export_onnx.py: {in_one_line(error)}") from error
    results = {}
    for path in args.images:
        try:
            image = read_image(path)
        except Mistake as mistake:
            if len(args.images) == 1:
                raise
            print(f"skipped: {mistake}", file=sys.stderr)
            continue
        try:
            boxes, scores, labels = detect(session, metadata, image)
        except Exception as error:
            message = f"{in_one_line(args.model)}: cannot be run on {in_one_line(path)}: {in_one_line(error)}"
            raise Mistake(message) from error
        keep = scores >= args.threshold
        results[path] = [
            {"class": metadata["class_names"][label], "score": float(score), "box": box.tolist()}
            for box, score, label in zip(boxes[keep], scores[keep], labels[keep], strict=True)
        ]
        print(f"{in_one_line(path)}: {len(results[path])} detections")
        for found in results[path]:
            print(f"  {found['class']} {found['score']:.3f} at", *(f"{side:.1f}" for side in found["box"]))
    if not results:
        raise Mistake(f"none of the {len(args.images)} images can be read")
    if args.save_json:
        save_json(args.save_json, results)
    if len(results) < len(set(args.images)):
        sys.exit(1)


def save_json(path: str, results: dict) -> None:
    """Written under another name first, so that the file is whole or as it was; not where it is a device or a pipe."""
    is_special = os.path.exists(path) and not os.path.isfile(path)
    unfinished = path if is_special else f"{path}.unfinished"
    try:
        # Bytes of a file name that are no UTF-8 become escapes, as JSON has them.
        with open(unfinished, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(results, file, indent=1, ensure_ascii=False)
        if not is_special:
            os.replace(unfinished, path)
    except OSError as error:
        if not is_special and os.path.exists(unfinished):
            os.remove(unfinished)
        raise Mistake(f"{in_one_line(path)}: cannot be written: {error.strerror}") from error


def read_metadata(session: onnxruntime.InferenceSession) -> dict:
    """Numbers, lists and truth values are stored as JSON, texts as they are. Raises `ValueError` for what cannot be."""
    texts = {"experiment", "otadet", "input", "rank_by", "score", "classes"}
    entries = session.get_modelmeta().custom_metadata_map.items()
    metadata: dict = {name: value if name in texts else read_json(name, value) for name, value in entries}
    if "input_spec" in metadata:  # files of an older otadet have an entry for each of its numbers
        metadata |= read_input(metadata["input_spec"])
    check_metadata(metadata)
    metadata["class_names"] = [in_one_line(name) for name in metadata["class_names"]]
    scores = next(output for output in session.get_outputs() if output.name == "scores")
    images, classes = session.get_inputs()[0], len(metadata["class_names"])
    if not metadata["nms"] and scores.shape[-1] != classes:
        raise ValueError(f"class_names has {classes} names, but the graph {scores.shape[-1]} classes")
    if not metadata["dynamic_size"] and images.shape[2:] != metadata["size"]:
        raise ValueError(f"size is {metadata['size']}, but the graph takes {images.shape[2:]}")
    return metadata


def read_input(spec: object) -> dict:
    """What the entry `input_spec` says: how an image is resized, padded and normalised."""
    spec = spec if isinstance(spec, dict) else {}
    resize = spec.get("resize")
    if not isinstance(resize, dict) or resize.get("part") not in ("Letterbox", "ResizeShortestEdge"):
        raise ValueError("its metadata is wrong in input_spec")
    values: dict = {name: spec.get(name) for name in ("mean", "std")}
    values["letterbox"] = values["shortest_edge"] = None
    values["shrink"], values["rounding"] = resize.get("shrink", "area"), resize.get("rounding", "nearest")
    if resize["part"] == "Letterbox":
        values["letterbox"] = resize.get("size")
    elif isinstance(resize.get("sizes"), list):
        values["shortest_edge"] = [*resize["sizes"], resize.get("max_size")]
    values["pad_value"] = spec.get("padding")
    if values["pad_value"] is None:  # the mean, which is 0 to the network
        numbers = values["mean"] if isinstance(values["mean"], list) else []
        is_finite = all(isinstance(number, (int, float)) and abs(number) < 1e6 for number in numbers)
        values["pad_value"] = [min(max(round(number), 0), 255) for number in numbers] if is_finite else None
    return values


def in_one_line(text: object) -> str:
    """For a terminal: at most 300 characters, and nothing that it would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:300])


def read_json(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is {text[:60]}, which is no JSON") from error


def check_metadata(metadata: dict) -> None:
    """Raise `ValueError` where an entry is missing or is not what it has to be. A file may hold anything."""
    metadata.setdefault("anchors_per_location", 1)  # files of an older otadet lack it
    flags = ("nms", "dynamic_size")
    limits: dict[str, tuple] = {
        "size": (2, 1, 65535, int),
        "mean": (3, -1e6, 1e6, (int, float)),
        "std": (3, 1e-6, 1e6, (int, float)),
        "pad_value": (3, 0, 255, int),
        "strides": (None, 1, 65535, int),
        "anchors_per_location": (0, 1, 1000, int),
        "letterbox": (2, 1, 65535, int),
        "shortest_edge": (2, 1, 65535, int),
        "size_divisor": (0, 1, 1024, int),
        "topk_per_level": (0, 1, 10**9, int),
        "max_detections": (0, 1, 10**9, int),
        "score_threshold": (0, 0, 1, (int, float)),
        "nms_iou": (0, 0, 1, (int, float)),
    }
    missing = [name for name in (*limits, *flags, "class_names") if name not in metadata]
    wrong = [name for name in flags if name not in missing and not isinstance(metadata[name], bool)]
    for name, (count, low, high, kind) in limits.items():  # count: 0 for a single number, None for any
        value = metadata.get(name)
        if name in missing or (value is None and name in ("letterbox", "shortest_edge")):
            continue
        numbers = [value] if count == 0 else value
        if (
            not isinstance(numbers, list)
            or len(numbers) != (count or len(numbers) or 1)
            or not all(
                isinstance(number, kind) and not isinstance(number, bool) and low <= number <= high
                for number in numbers
            )
        ):
            wrong.append(name)
    if not isinstance(metadata.get("clip", False), bool):
        wrong.append("clip")
    names = metadata.get("class_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        wrong.append("class_names")
    words = {"shrink": ("area", "linear"), "rounding": ("nearest", "down")}
    wrong += [name for name, known in words.items() if metadata.get(name, known[0]) not in known]
    if not missing and (metadata["letterbox"] is None) == (metadata["shortest_edge"] is None):
        wrong.append("letterbox or shortest_edge")
    sizes = [metadata.get(name) for name in ("size", "letterbox", "shortest_edge") if name not in wrong]
    if any(size[0] * size[1] > 2**26 for size in sizes if size):
        wrong.append("the input's area")
    if missing or wrong:
        problem = f"lacks {', '.join(missing)}" if missing else f"is wrong in {', '.join(wrong)}"
        raise ValueError(f"its metadata {problem}")


def read_image(path: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned upright as EXIF says. Raises `Mistake`.

    `cv2.imread` cannot open every name everywhere, so numpy reads the bytes.
    """
    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, ValueError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or "the file is empty, or no image"
        raise Mistake(f"{in_one_line(path)}: cannot be read: {reason}") from error
    if image is None:
        raise Mistake(f"{in_one_line(path)}: not an image that OpenCV can read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def detect(
    session: onnxruntime.InferenceSession, metadata: dict, image: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """image (H, W, 3) uint8 RGB -> boxes (D, 4) xyxy in its pixels, scores (D,), labels (D,), best score first."""
    canvas, scale, inside = prepare(image, metadata)
    pixels = (canvas.astype(np.float32) - np.float32(metadata["mean"])) / np.float32(metadata["std"])
    pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {"images": pixels}), strict=True))
    if metadata["nms"]:
        boxes, scores, labels = outputs["boxes"], outputs["scores"], outputs["labels"]
    else:
        ranks = outputs["class_scores"] if metadata.get("rank_by") == "class" else outputs["scores"]
        boxes, scores, labels = postprocess(
            outputs["boxes"][0], outputs["scores"][0], ranks[0], canvas.shape[:2], inside, metadata
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(metadata["class_names"]):
        raise ValueError("it finds classes that have no name")
    height, width = image.shape[:2]
    boxes = (boxes / np.array((*scale, *scale), np.float32)).clip(
        0, np.array((width, height, width, height), np.float32)
    )
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # nothing is left of what was found in the padding
    return boxes[inside], scores[inside], labels[inside]


def prepare(image: np.ndarray, metadata: dict) -> tuple[np.ndarray, tuple[float, float], tuple[int, int]]:
    """Resize and pad at the right and the bottom -> (H, W, 3) uint8, the scale in x and y, (height, width) unpadded."""
    height, width = image.shape[:2]
    rounded = int if metadata.get("rounding") == "down" else round
    if metadata["letterbox"]:
        rows, columns = metadata["letterbox"]
        factor = min(rows / height, columns / width)
    else:
        shorter, longer = metadata["shortest_edge"]
        factor = min(shorter / min(height, width), longer / max(height, width))
        rows, columns = max(1, rounded(height * factor)), max(1, rounded(width * factor))
    if metadata["dynamic_size"]:
        divisor = metadata["size_divisor"]
        rows, columns = -(-rows // divisor) * divisor, -(-columns // divisor) * divisor
    else:
        rows, columns = metadata["size"]
    if rounded(height * factor) > rows or rounded(width * factor) > columns:
        factor = min(rows / height, columns / width)
    new_height, new_width = max(1, rounded(height * factor)), max(1, rounded(width * factor))
    if (new_height, new_width) != (height, width):
        averages = metadata.get("shrink") != "linear" and (new_height < height or new_width < width)
        image = cv2.resize(
            image, (new_width, new_height), interpolation=cv2.INTER_AREA if averages else cv2.INTER_LINEAR
        )
    canvas = np.full((rows, columns, 3), metadata["pad_value"], np.uint8)
    canvas[:new_height, :new_width] = image
    return canvas, (new_width / width, new_height / height), (new_height, new_width)


def postprocess(
    boxes: np.ndarray,
    scores: np.ndarray,
    ranks: np.ndarray,
    size: tuple[int, int],
    inside: tuple[int, int],
    metadata: dict,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All anchors, boxes (A, 4), scores and ranks (A, C) -> detections: best of each level, threshold, NMS.

    size, inside: (height, width) of the input with and without its padding.
    """
    anchors, labels = np.indices(scores.shape).reshape(2, -1)
    flat, flat_ranks = scores.ravel(), ranks.ravel()
    of_levels, first = [], 0
    for stride in metadata["strides"]:
        count = -(-size[0] // stride) * -(-size[1] // stride) * metadata["anchors_per_location"] * scores.shape[1]
        level = np.argsort(-flat_ranks[first : first + count], kind="stable")[: metadata["topk_per_level"]] + first
        of_levels.append(level[(flat_ranks[level] > metadata["score_threshold"]) & (flat[level] > 0)])
        first += count
    if first != len(flat):
        raise ValueError(f"its strides are those of {first} scores, but it has {len(flat)}")
    kept = np.concatenate(of_levels)
    kept = kept[np.argsort(-flat[kept], kind="stable")]
    boxes, scores, labels = boxes[anchors[kept]], flat[kept], labels[kept]
    if metadata.get("clip"):
        boxes = boxes.clip(0, np.array((*inside[::-1], *inside[::-1]), np.float32))
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
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # nobody reads on, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.errors import UserError
from otadet.export import ExportOptions, export_onnx
from otadet.export.check import OnnxComparison, compare, textured_images
from otadet.export.metadata import OnnxMetadata
from otadet.export.nms import append_nms
from otadet.export.onnx_predictor import OnnxPredictor
from otadet.inference.input_spec import InputSpec
from otadet.inference.pipeline import Pipeline
from otadet.inference.postprocess import Postprocess
from otadet.inference.predictor import Predictor
from otadet.models import FPN, AnchorGrid, Detector, FCOSHead, RetinaNetHead
from otadet.structures import Detections
from tests.helpers.programs import load_program

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)
NORMALIZE = InputSpec(mean=MEAN, std=STD).normalize
POSTPROCESS = Postprocess(score_threshold=0.3, topk_per_level=50, nms_iou=0.5, max_detections=20)
NAMES = ("Ei", "Käse", "pain de mie")


class Strided(nn.Module):
    """Three convolutions for a backbone: C3, C4, C5."""

    strides = (8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList((nn.Conv2d(3, 8, 9, 8, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        features = [images]
        for stage in self.stages:
            features.append(stage(features[-1]).relu())
        return features[1:]


def lively_detector() -> Detector:
    """Untrained, but with boxes and scores of all sizes."""
    torch.manual_seed(0)
    detector = Detector(Strided(), FPN((8, 8, 8), (8, 16, 32), 8), FCOSHead(len(NAMES), 8, depth=1, levels=5))
    for branch in (detector.head.logits, detector.head.distances, detector.head.quality):
        nn.init.normal_(branch.weight, std=0.5)
        nn.init.zeros_(branch.bias)
    return detector.eval()


def pipeline_of(
    detector: Detector, resize: ResizeShortestEdge | Letterbox, postprocess=POSTPROCESS, **options
) -> Pipeline:
    return Pipeline(detector, InputSpec(resize, MEAN, STD, **options), postprocess, NAMES)


def picture(height: int, width: int) -> np.ndarray:
    return textured_images(1, height, width, seed=height)[0].permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def detector() -> Detector:
    return lively_detector()


@pytest.fixture(scope="module")
def dynamic_nms(detector, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("dynamic") / "with nms.onnx"
    export_onnx(
        pipeline_of(detector, ResizeShortestEdge((96,), 160), image_bits=12),
        path,
        ExportOptions(dynamic_batch=True, dynamic_size=True, nms=True),
        experiment="tiny",
    )
    return path


def test_files_are_read_as_the_experiment_reads_them_and_upright(dynamic_nms, tmp_path):
    deep = picture(64, 96)[..., 0].astype(np.uint16) * 16 + 5
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(deep))).save(tmp_path / "portrait.png", exif=exif)
    predictor = OnnxPredictor(dynamic_nms)
    found = predictor(tmp_path / "portrait.png")
    assert len(found)
    assert_equal(found, predictor(np.repeat((deep >> 4).astype(np.uint8)[..., None], 3, axis=2)))


@pytest.fixture(scope="module")
def fixed_raw(detector, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("fixed") / "new folder" / "raw.onnx"
    export_onnx(pipeline_of(detector, ResizeShortestEdge((96,), 128)), path)
    return path


def read(path: Path) -> tuple[onnx.ModelProto, OnnxMetadata]:
    model = onnx.load(path)
    return model, OnnxMetadata.from_strings({entry.key: entry.value for entry in model.metadata_props}, path)


@pytest.mark.parametrize("shape", [(1, 64, 288), (3, 64, 288), (1, 32, 32), (3, 192, 96)])
def test_dynamic_file_equals_torch_at_shapes_it_was_not_traced_at(dynamic_nms: Path, detector: Detector, shape):
    model, metadata = read(dynamic_nms)
    (comparison,) = compare(model, detector, metadata, [NORMALIZE(textured_images(*shape, seed=7))])
    assert comparison.boxes < 1e-2
    assert comparison.scores < 1e-3
    assert comparison.detections > 0
    assert comparison.unmatched == 0


def test_one_file_with_all_it_takes_to_use_it_and_no_trace_of_the_machine(fixed_raw: Path, dynamic_nms: Path):
    for path in (fixed_raw, dynamic_nms):
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    _, fixed = read(fixed_raw)
    assert (fixed.size, fixed.input_spec.resize) == ((96, 128), ResizeShortestEdge((96,), 128))
    assert (fixed.class_names, fixed.input_spec.mean, fixed.input_spec.std) == (NAMES, MEAN, STD)
    assert fixed.postprocess == POSTPROCESS
    assert fixed.strides == (8, 16, 32, 64, 128)
    assert not fixed.nms
    assert not fixed.dynamic_size
    model, dynamic = read(dynamic_nms)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert dynamic.nms
    assert dynamic.dynamic_batch
    assert dynamic.dynamic_size
    assert dynamic.experiment == "tiny"


def assert_equal(found: Detections, expected: Detections) -> None:
    assert len(expected) > 3
    assert found.labels.tolist() == expected.labels.tolist()
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.boxes, expected.boxes, atol=0.05, rtol=0)


@pytest.mark.parametrize("size", [(70, 200), (200, 70), (96, 96), (300, 33)])
def test_dynamic_file_detects_what_the_predictor_detects(dynamic_nms: Path, detector: Detector, size):
    predictor = Predictor(pipeline_of(detector, ResizeShortestEdge((96,), 160)))
    assert_equal(OnnxPredictor(dynamic_nms)(picture(*size)), predictor(picture(*size)))


def test_fixed_file_detects_what_the_predictor_detects_in_pictures_that_fill_it(fixed_raw: Path, detector: Detector):
    predictor = Predictor(pipeline_of(detector, ResizeShortestEdge((96,), 128)))
    assert_equal(OnnxPredictor(fixed_raw)(picture(150, 200)), predictor(picture(150, 200)))


def test_fixed_file_shrinks_what_does_not_fit(fixed_raw: Path, detector: Detector):
    predictor = Predictor(pipeline_of(detector, Letterbox((96, 128))))
    assert_equal(OnnxPredictor(fixed_raw)(picture(200, 60)), predictor(picture(200, 60)))


BY_CLASS = Postprocess(score_threshold=0.5, topk_per_level=50, nms_iou=0.5, max_detections=20, rank_by="class")


def test_a_file_that_ranks_by_class_detects_what_the_predictor_detects(tmp_path: Path, numpy_demo):
    """At points in the corners of their cells, too: both travel in the file."""
    detector = lively_detector()
    detector.anchor_grid = AnchorGrid(detector.strides, offset=0.0)
    resize, path, image = ResizeShortestEdge((96,), 128), tmp_path / "class.onnx", picture(150, 200)
    export_onnx(pipeline_of(detector, resize, BY_CLASS), path)
    expected = Predictor(pipeline_of(detector, resize, BY_CLASS))(image)
    by_score = Predictor(pipeline_of(detector, resize, replace(BY_CLASS, rank_by="score")))(image)
    assert expected.scores.tolist() != by_score.scores.tolist()
    assert_equal(OnnxPredictor(path)(image), expected)
    session = numpy_demo.onnxruntime.InferenceSession(path)
    found = numpy_demo.detect(session, numpy_demo.read_metadata(session), image)
    assert_equal(Detections(*map(torch.from_numpy, found)), expected)

    model, metadata = read(path)
    assert metadata.postprocess == BY_CLASS
    metadata = replace(metadata, nms=True)
    with_nms = append_nms(model, metadata.strides, len(NAMES), BY_CLASS)
    (comparison,) = compare(with_nms, detector, metadata, [NORMALIZE(textured_images(1, 96, 128, seed=5))])
    assert comparison.agrees
    assert comparison.detections > 3
    assert comparison.unmatched == 0


def nine_anchors() -> Detector:
    """As torchvision's RetinaNet, untrained but lively."""
    torch.manual_seed(0)
    head = RetinaNetHead(len(NAMES), 8, 1, quality=False, per_location=9, delta_weights=(2, 2, 1, 1))
    shapes = {"anchor_scales": (4.0, 5.0, 6.3), "aspect_ratios": (0.5, 1.0, 2.0), "whole_pixels": True}
    detector = Detector(Strided(), FPN((8, 8, 8), (8, 16, 32), 8), head, anchor_offset=0.0, **shapes)
    for branch in (detector.head.logits, detector.head.deltas):
        nn.init.normal_(branch.weight, std=0.3)
        nn.init.zeros_(branch.bias)
    return detector.eval()


@pytest.mark.parametrize("nms", [False, True])
def test_several_anchors_per_location(tmp_path: Path, numpy_demo, nms: bool):
    """And torchvision's resizing, spacing of the points and clipping: in the graph, behind it, and in numpy."""
    detector, path = nine_anchors(), tmp_path / "nine.onnx"
    resize = ResizeShortestEdge((96,), 160, shrink="linear", rounding="down")
    postprocess = Postprocess(score_threshold=0.6, topk_per_level=50, nms_iou=0.5, max_detections=20, clip=True)
    pipeline = pipeline_of(detector, resize, postprocess)
    export_onnx(pipeline, path, ExportOptions(dynamic_size=True, nms=nms))
    assert read(path)[1].anchors_per_location == 9
    assert read(path)[1].postprocess == postprocess
    session = numpy_demo.onnxruntime.InferenceSession(path)
    # The size of the padding is nothing that a graph with NMS knows of.
    for size in ((192, 256),) if nms else ((192, 256), (150, 223)):
        image = picture(*size)
        expected = Predictor(pipeline)(image)
        assert len(expected) > 5
        assert_equal(OnnxPredictor(path)(image), expected)
        found = numpy_demo.detect(session, numpy_demo.read_metadata(session), image)
        assert_equal(Detections(*map(torch.from_numpy, found)), expected)


def test_a_file_of_an_older_otadet_ranks_by_score(fixed_raw: Path):
    model, metadata = read(fixed_raw)
    strings = {entry.key: entry.value for entry in model.metadata_props}
    for later in ("rank_by", "clip", "anchors_per_location"):
        del strings[later]
    assert OnnxMetadata.from_strings(strings, fixed_raw) == metadata


@pytest.mark.parametrize("rank_by", ["score", "class"])
def test_a_file_with_another_score_detects_what_the_predictor_detects(tmp_path: Path, numpy_demo, rank_by: str):
    """The product of class and quality, as in YOLOX: in the graph, behind NMS, in the comparison and in numpy."""
    detector = lively_detector()
    product = replace(BY_CLASS, score="product", rank_by=rank_by, score_threshold=0.2)
    resize, image = ResizeShortestEdge((96,), 128), picture(150, 200)
    expected = Predictor(pipeline_of(detector, resize, product))(image)
    geometric = Predictor(pipeline_of(detector, resize, replace(product, score="geometric_mean")))(image)
    assert expected.scores.max() < geometric.scores.max()
    for nms in (False, True):
        path = tmp_path / f"{nms}.onnx"
        export_onnx(pipeline_of(detector, resize, product), path, ExportOptions(nms=nms))
        assert read(path)[1].postprocess == product
        assert_equal(OnnxPredictor(path)(image), expected)
        session = numpy_demo.onnxruntime.InferenceSession(path)
        found = numpy_demo.detect(session, numpy_demo.read_metadata(session), image)
        assert_equal(Detections(*map(torch.from_numpy, found)), expected)
    model, metadata = read(path)
    (wrong,) = compare(
        model, detector, replace(metadata, score="geometric_mean"), [NORMALIZE(textured_images(1, 96, 128, seed=5))]
    )
    assert not wrong.agrees


@pytest.mark.parametrize("nms", [False, True])
def test_a_file_with_yolox_preprocessing_detects_what_the_predictor_detects(tmp_path: Path, numpy_demo, nms: bool):
    """One class per anchor, a letterbox that neither averages nor rounds up: in the graph, behind NMS, and in numpy."""
    detector, image = lively_detector(), picture(151, 203)
    best = Postprocess(0.01, nms_iou=0.9, max_detections=300, score="product", classes="best")
    resize = Letterbox((96, 128), shrink="linear", rounding="down")
    pipeline = pipeline_of(detector, resize, best)
    expected = Predictor(pipeline)(image)
    for other in (replace(best, classes="all"), best):
        changed = pipeline_of(detector, resize if other.classes == "all" else Letterbox((96, 128)), other)
        assert Predictor(changed)(image).scores.tolist() != expected.scores.tolist()
    path = tmp_path / "yolox.onnx"
    metadata = export_onnx(pipeline, path, ExportOptions(nms=nms))
    assert metadata.postprocess == best
    assert read(path)[1] == metadata
    assert_equal(OnnxPredictor(path)(image), expected)
    session = numpy_demo.onnxruntime.InferenceSession(path)
    found = numpy_demo.detect(session, numpy_demo.read_metadata(session), image)
    assert_equal(Detections(*map(torch.from_numpy, found)), expected)


@pytest.mark.parametrize("file", ["dynamic_nms", "fixed_raw"])
def test_a_list_of_images_is_found_as_they_are_alone(request, file: str):
    predictor = OnnxPredictor(request.getfixturevalue(file))
    images = [picture(150, 200), picture(200, 60), picture(152, 200), picture(70, 200)]
    for found, image in zip(predictor(images), images, strict=True):
        assert_equal(found, predictor(image))
        assert found.class_names == [NAMES[label] for label in found.labels]


class Plain(nn.Sequential):
    """A backbone of other strides."""

    strides, channels = (4, 12), (8, 8)

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 5, 4, 1), nn.Conv2d(8, 8, 3, 3))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        fine = self[0](images).relu()
        return [fine, self[1](fine).relu()]


def test_a_network_of_other_strides_is_exported_with_them(tmp_path: Path, numpy_demo):
    torch.manual_seed(0)
    backbone = Plain()
    neck = FPN(backbone.channels, backbone.strides, 8)
    detector = Detector(backbone, neck, FCOSHead(len(NAMES), 8, depth=1, levels=len(neck.strides))).eval()
    for branch in (detector.head.logits, detector.head.distances, detector.head.quality):
        nn.init.normal_(branch.weight, std=0.5)
    path, image = tmp_path / "strides.onnx", picture(50, 70)
    pipeline = pipeline_of(detector, ResizeShortestEdge((60,), 90))
    export_onnx(pipeline, path, ExportOptions(dynamic_batch=True, dynamic_size=True, nms=True))
    metadata = read(path)[1]
    assert (metadata.strides, metadata.size_divisor, metadata.size) == ((4, 12, 24, 48), 12, (60, 96))
    assert_equal(OnnxPredictor(path)(image), Predictor(pipeline)(image))
    session = numpy_demo.onnxruntime.InferenceSession(path)
    found = numpy_demo.detect(session, numpy_demo.read_metadata(session), image)
    assert_equal(Detections(*map(torch.from_numpy, found)), Predictor(pipeline)(image))
    with pytest.raises(UserError, match="must be multiples of 12, such as 36 x 72"):
        export_onnx(pipeline, path, ExportOptions(size=(32, 64)))


@pytest.fixture(scope="module")
def numpy_demo():
    return load_program("demo/onnx_numpy.py")


@pytest.mark.parametrize("size", [(150, 200), (60, 90), (200, 60), (31, 300)])
@pytest.mark.parametrize("file", ["dynamic_nms", "fixed_raw"])
def test_numpy_demo_detects_what_the_onnx_predictor_detects(request, numpy_demo, file: str, size):
    path = request.getfixturevalue(file)
    session = numpy_demo.onnxruntime.InferenceSession(path)
    found = numpy_demo.detect(session, numpy_demo.read_metadata(session), picture(*size))
    assert_equal(Detections(*map(torch.from_numpy, found)), OnnxPredictor(path)(picture(*size)))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are UTF-8")
def test_numpy_demo_takes_any_name_of_a_file(numpy_demo, fixed_raw: Path, tmp_path: Path, monkeypatch, capsys):
    path, found = os.fsencode(tmp_path) + b"/\x1b\xe9.png", tmp_path / "found.json"
    Path(os.fsdecode(path)).write_bytes(cv2.imencode(".png", picture(60, 90))[1].tobytes())
    words = [str(fixed_raw), os.fsdecode(path), "--save-json"]
    monkeypatch.setattr(sys, "argv", ["onnx_numpy.py", *words, str(found)])
    numpy_demo.main()
    assert capsys.readouterr().out.startswith(f"{tmp_path}/  .png: ")
    assert list(json.loads(found.read_text(encoding="utf-8"))) == [os.fsdecode(path)]
    monkeypatch.setattr(sys, "argv", ["onnx_numpy.py", *words, str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        numpy_demo.main()
    assert ended.value.code == 2
    assert re.fullmatch(r"error: .*: cannot be written: Is a directory\n", capsys.readouterr().err)
    assert not list(tmp_path.parent.glob("*.unfinished"))


def test_numpy_demo_never_replaces_an_input_and_leaves_out_what_is_no_image(
    numpy_demo, fixed_raw: Path, tmp_path: Path, monkeypatch, capsys
):
    model, image, found = fixed_raw.read_bytes(), tmp_path / "a.png", tmp_path / "found.json"
    cv2.imwrite(str(image), picture(60, 90))
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "empty.png").write_bytes(b"")

    def ends(*words: object) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["onnx_numpy.py", str(fixed_raw), *map(str, words)])
        code: object = 0
        try:
            numpy_demo.main()
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().err

    for target in (fixed_raw, image):
        code, said = ends(image, "--save-json", target)
        assert (code, said.count("\n")) == (2, 1)
        assert "is an input" in said
    assert fixed_raw.read_bytes() == model
    code, said = ends(tmp_path / "b.png", image, tmp_path / "empty.png", tmp_path / "c.png", "--save-json", found)
    assert (code, said.count("skipped: ")) == (1, 3)
    assert list(json.loads(found.read_text(encoding="utf-8"))) == [str(image)]
    assert ends(tmp_path / "b.png")[0] == 2
    assert ends(tmp_path / "b.png", tmp_path / "c.png")[0] == 2
    for threshold in ("nan", "-1", "2", "x"):
        assert ends(image, f"--threshold={threshold}")[0] == 2


def test_numpy_demo_needs_neither_otadet_nor_torch(numpy_demo):
    assert not {"otadet", "torch", "torchvision"} & set(vars(numpy_demo))
    source = Path(numpy_demo.__file__).read_text(encoding="utf-8")
    imports = {line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imports == {"argparse", "json", "os", "sys", "cv2", "numpy", "onnxruntime"}


def export_to(
    path: Path, detector: Detector, options: ExportOptions | None = None, resize: Letterbox | None = None
) -> None:
    export_onnx(pipeline_of(detector, resize or Letterbox((64, 64))), path, options)


def test_file_that_computes_something_else_is_not_written(fixed_raw: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("otadet.export.exporter.trace", lambda *_: onnx.load(fixed_raw))
    other = lively_detector()
    nn.init.constant_(other.head.logits.bias, 0.01)
    with pytest.raises(UserError, match=r"wrong\.onnx: not written.* scores by 0\.0"):
        export_to(tmp_path / "wrong.onnx", other, resize=Letterbox((96, 128)))
    assert list(tmp_path.iterdir()) == []


def test_nan_does_not_agree():
    assert OnnxComparison((1, 3, 64, 64), boxes=0.0, scores=0.0).agrees
    assert not OnnxComparison((1, 3, 64, 64), boxes=float("nan"), scores=0.0).agrees
    assert not OnnxComparison((1, 3, 64, 64), boxes=0.0, scores=0.0, detections=10, unmatched=1).agrees


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions(opset=7), "opset 7: choose one from 18 to"),
        (ExportOptions(opset=1000), "opset 1000: choose one from 18 to"),
        (ExportOptions(size=(100, 64)), "size 100 x 64: must be multiples of 32, such as 128 x 64"),
    ],
)
def test_options_that_cannot_be_met(detector: Detector, tmp_path: Path, options, message: str):
    with pytest.raises(UserError, match=message):
        export_to(tmp_path / "never.onnx", detector, options)


def test_a_postprocessing_of_ones_own_cannot_be_exported(detector: Detector, tmp_path: Path):
    pipeline = replace(pipeline_of(detector, Letterbox((64, 64))), postprocess=lambda predictions, anchors: [])
    with pytest.raises(UserError, match="the postprocessing is function"):
        export_onnx(pipeline, tmp_path / "never.onnx")


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_missing_package_names_the_extra(detector: Detector, tmp_path: Path, monkeypatch, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package} is not installed.*pip install otadet\[onnx\]"):
        export_to(tmp_path / "never.onnx", detector)


def test_files_that_the_predictor_cannot_use(tmp_path: Path):
    with pytest.raises(UserError, match=r"none\.onnx: no such ONNX file"):
        OnnxPredictor(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not ONNX")
    with pytest.raises(UserError, match=r"text\.onnx: ONNX Runtime cannot load it"):
        OnnxPredictor(tmp_path / "text.onnx")
    value = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1,))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["images"], ["y"])], "g", [value], [])
    graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1,)))
    foreign = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(UserError, match=r"foreign\.onnx: its metadata lacks size"):
        OnnxPredictor(tmp_path / "foreign.onnx")

"""ONNX files whose metadata or bytes were changed: a predictor that works, or one `UserError` that names the file."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otadet.data.transforms import ResizeShortestEdge
from otadet.errors import UserError
from otadet.export.metadata import OnnxMetadata
from otadet.export.onnx_predictor import OnnxPredictor
from otadet.inference.input_spec import InputSpec
from otadet.names import printable
from tests.helpers.programs import load_program

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FIXED = OnnxMetadata(
    size=(64, 96), dynamic_batch=False, dynamic_size=False, nms=False, opset=18,
    input_spec=InputSpec(ResizeShortestEdge((64,), 96), (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)), size_divisor=32,
    class_names=("cat", "dög", "cow"), strides=(32, 64), score_threshold=0.3, topk_per_level=50, nms_iou=0.5,
    max_detections=20, experiment="tiny", otadet="0.1.0",
)  # fmt: skip
WITH_NMS = replace(FIXED, dynamic_size=True, nms=True)
ANCHORS = sum(FIXED.level_counts(*FIXED.size))
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def older(metadata: OnnxMetadata) -> dict[str, str]:
    """The texts of an older otadet, which had an entry for each number of the input."""
    spec, texts = metadata.input_spec, metadata.to_strings()
    del texts["input_spec"], texts["score"]
    texts |= {"mean": json.dumps(spec.mean), "std": json.dumps(spec.std), "pad_value": json.dumps(spec.pad_value)}
    return texts | {"letterbox": "null", "shortest_edge": "[64, 96]", "image_bits": "16"}


def detector(metadata: OnnxMetadata) -> onnx.ModelProto:
    """A graph with the same answer to every image."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (ANCHORS, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(5, 40, (ANCHORS, 2))), 1).astype(np.float32)
    scores = rng.uniform(0, 1, (ANCHORS, 3)).astype(np.float32)
    if metadata.nms:
        outputs = {"boxes": boxes, "scores": scores[:, 0], "labels": np.arange(ANCHORS) % 3}
        outputs["image"] = np.zeros(ANCHORS, np.int64)
    else:
        outputs = {"boxes": boxes[None], "scores": scores[None]}
    size = ("height", "width") if metadata.dynamic_size else metadata.size
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, *size))
    helper, array = onnx.helper, onnx.numpy_helper
    nodes = [helper.make_node("Constant", [], [name], value=array.from_array(a)) for name, a in outputs.items()]
    shapes = {name: ("detections", *a.shape[1:]) if metadata.nms else a.shape for name, a in outputs.items()}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), shapes[name])
        for name, a in outputs.items()
    ]
    graph = helper.make_graph(nodes, "detector", [images], infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, metadata.to_strings())
    return model


def use(path: Path) -> str | None:
    """Detect with the file, and check what is found; the message where it is refused."""
    try:
        predictor = OnnxPredictor(path)
        found = predictor(PICTURE)
    except UserError as error:
        return str(error)
    assert 0 <= len(found) <= 100
    for label in found.labels:
        assert printable(predictor.class_names[label]) == predictor.class_names[label]
    assert found.boxes.isfinite().all()
    assert (found.boxes >= 0).all()
    return None


def is_clear(message: str | None, path: Path) -> bool:
    return message is None or (path.name in message and message.isprintable() and len(message) < 1000)


@pytest.fixture(scope="module")
def models() -> dict[str, onnx.ModelProto]:
    models = {"fixed": detector(FIXED), "nms": detector(WITH_NMS)}
    for kind, metadata in (("older fixed", FIXED), ("older nms", WITH_NMS)):
        models[kind] = detector(metadata)
        onnx.helper.set_model_props(models[kind], older(metadata))
    return models


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("onnx") / "changed.onnx"


def changed(model: onnx.ModelProto, texts: dict[str, str]) -> bytes:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.helper.set_model_props(copy, texts)
    return copy.SerializeToString()


KINDS = ["fixed", "nms", "older fixed", "older nms"]
NAMES = list(FIXED.to_strings() | older(FIXED))
NUMBERS = [0, 1, 2, 32, 64, 96, 255, 256, -1, 10**6, 10**15, 10**400, 1e308, 5e-324, 0.5, -0.0, True, False]
HOSTILE = ["", "NaN", "Infinity", "-Infinity", "1e400", "[1", "null", "{}", "[]", '"x"', "0", "nan", "None", "\x00"]
HOSTILE += ["[" * 100_000, "9" * 5000, "x" * 2_000_000, "\x1b[31mred", "a\nb", "\u202egnp", '["\\ud800", "b", "c"]']
HOSTILE += [
    '["a", "a", "b"]',
    '["a", "b"]',
    '["a", "b", ""]',
    '["\\u0000", "b", "c"]',
    json.dumps(["\x1b[2J", "b", "c"]),
]
HOSTILE += [json.dumps(["n" * 100_000, "b", "c"]), "[NaN, NaN, NaN]", "[0, 0, 0]", "[65535, 65535]", "[32, 2097152]"]
VALUES = st.recursive(
    st.sampled_from([None, "", "x", "\x1b[31m", *NUMBERS]) | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)
TEXTS = st.sampled_from(HOSTILE) | VALUES.map(json.dumps) | st.text(max_size=20)
REPEATED = st.sampled_from(NUMBERS).flatmap(lambda n: st.integers(1, 4).map(lambda count: json.dumps([n] * count)))


def write_changed(model, changes, path):
    """Write `model` with other texts in its metadata, None for none; False for a text that no ONNX file can hold."""
    texts = {entry.key: entry.value for entry in model.metadata_props}
    for name, text in changes.items():
        if texts.pop(name, None) is not None and text is not None:
            texts[name] = text
    try:
        path.write_bytes(changed(model, texts))
    except (UnicodeEncodeError, ValueError):
        return False
    return True


@settings(max_examples=250)
@given(
    kind=st.sampled_from(KINDS),
    changes=st.dictionaries(st.sampled_from(NAMES), st.none() | TEXTS | REPEATED, min_size=1, max_size=3),
)
@example(kind="older fixed", changes={"std": "[0, 0, 0]"})
@example(kind="older nms", changes={"letterbox": "[65535, 65535]", "shortest_edge": "null"})
@example(kind="older nms", changes={"shortest_edge": "[1, 65535]"})
@example(kind="fixed", changes={"class_names": '["a", "b"]'})
def test_changed_metadata_works_or_is_one_clear_error(models, path, kind, changes):
    if not write_changed(models[kind], changes, path):
        return
    assert is_clear(use(path), path)


@settings(max_examples=200)
@given(
    kind=st.sampled_from(KINDS),
    position=st.floats(0, 1, exclude_max=True),
    change=st.sampled_from(["flip", "cut", "zeros", "insert", "drop"]),
    amount=st.integers(0, 255),
)
def test_damaged_bytes_work_or_are_one_clear_error(models, path, kind, position, change, amount):
    data = bytearray(models[kind].SerializeToString())
    start = int(position * len(data))
    if change == "flip":
        data[start] ^= 1 << amount % 8
    elif change == "cut":
        del data[start:]
    elif change == "zeros":
        data[start : start + amount] = bytes(len(data[start : start + amount]))
    elif change == "insert":
        data[start:start] = bytes([amount]) * 10
    else:
        del data[start : start + amount]
    path.write_bytes(data)
    assert is_clear(use(path), path)


@pytest.fixture(scope="module")
def demo():
    return load_program("demo/onnx_numpy.py")


@settings(max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    changes=st.dictionaries(st.sampled_from(NAMES), st.none() | TEXTS | REPEATED, min_size=1, max_size=2),
)
def test_the_numpy_demo_works_or_ends_in_one_line(demo, models, path, kind, changes):
    if not write_changed(models[kind], changes, path):
        return
    message = end_of(demo, path)
    assert message is None or (message.startswith("error: ") and is_clear(message, path))


def end_of(demo, path: Path) -> str | None:
    """What the program says at its end where it fails."""
    cv2.imwrite(str(path.with_suffix(".png")), PICTURE)
    words = ["onnx_numpy.py", str(path), str(path.with_suffix(".png"))]
    with patch("sys.argv", words), patch("sys.stderr", StringIO()) as said:
        try:
            demo.main()
        except SystemExit as end:
            return said.getvalue().removesuffix("\n") if end.code == 2 else f"status {end.code}"
    return None


def changed_spec(path: tuple[str, ...], value: object) -> str:
    """The text of an input of which one value is another."""
    spec = FIXED.input_spec.to_dict()
    inner = spec
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return json.dumps(spec)


SPEC_PATHS = [(name,) for name in FIXED.input_spec.to_dict()]
SPEC_PATHS += [("resize", name) for name in ("part", "sizes", "max_size", "size", "pad_value", "other")]


@settings(max_examples=250)
@given(
    kind=st.sampled_from(["fixed", "nms"]),
    place=st.sampled_from(SPEC_PATHS),
    value=VALUES | st.integers(1, 4).flatmap(lambda count: st.sampled_from(NUMBERS).map(lambda n: [n] * count)),
)
@example(kind="nms", place=("resize",), value={"part": "Letterbox", "size": [65535, 65535]})
@example(kind="nms", place=("resize",), value={"part": "Letterbox", "size": [64]})
@example(kind="nms", place=("resize", "max_size"), value=65535)
@example(kind="nms", place=("resize", "sizes"), value=[10**400])
def test_a_changed_input_works_or_is_one_clear_error(models, demo, path, kind, place, value):
    try:
        text = changed_spec(place, value)
        path.write_bytes(changed(models[kind], models_texts(models[kind]) | {"input_spec": text}))
    except (UnicodeEncodeError, ValueError):
        return
    assert is_clear(use(path), path)
    end = end_of(demo, path)
    assert end is None or (end.startswith("error: ") and is_clear(end, path))


def models_texts(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("std",), [60, 0, 60], "std 0: must be from 1e-06"),
        (("mean",), [1, 2], r"mean \(1, 2\): must be three numbers"),
        (("image_bits",), 4, "image_bits 4: must be a whole number from 8 to 16"),
        (("padding",), [0, 0, 256], "padding 256: must be from 0 to 255"),
        (("resize",), None, "resize: its part must be ResizeShortestEdge or Letterbox"),
        (("resize", "part"), "RandomFlip", "resize: its part must be ResizeShortestEdge or Letterbox"),
        (("resize", "size"), [3, 3], "a ResizeShortestEdge: has no field 'size'; did you mean 'sizes'"),
        (("resize", "sizes"), [64, 96], "needs one size"),
        (("resize", "max_size"), "x", "resize: is no ResizeShortestEdge"),
        (("stds",), 3, "has no field 'stds'; did you mean 'std'"),
    ],
)
def test_the_message_says_what_is_wrong_with_an_input(models, path, place, value, expected):
    texts = FIXED.to_strings() | {"input_spec": changed_spec(place, value)}
    path.write_bytes(changed(models["fixed"], texts))
    with pytest.raises(UserError, match=rf"changed\.onnx: its metadata says of input_spec: .*{expected}"):
        OnnxPredictor(path)


def test_a_file_of_an_older_otadet_says_the_same(models, path):
    found = {}
    for kind in KINDS:
        path.write_bytes(models[kind].SerializeToString())
        predictor = OnnxPredictor(path)
        found[kind] = predictor.metadata, predictor(PICTURE).boxes.tolist()
    assert found["older fixed"] == found["fixed"]
    assert found["older nms"] == found["nms"]


@pytest.mark.parametrize("kind", KINDS)
def test_unchanged_files_work(models, path, kind):
    path.write_bytes(models[kind].SerializeToString())
    assert use(path) is None


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "std",
            "[60, 0, 60]",
            r"std '\[60, 0, 60\]', where a list of 3, each a number from 1e-06 to 1e\+06",
        ),
        ("mean", "[NaN, 1, 1]", "mean .* where JSON is expected"),
        ("score_threshold", str(10**400), r"score_threshold '1000.* \(401 characters\), where a number from 0 to 1"),
        ("size", "[-64, 96]", "size .* each an integer from 1 to 65,535"),
        ("size", "[64, 100]", "size .* multiples of 32"),
        ("size", "[32, 96]", "input images is 1 x 3 x 64 x 96 in its graph, but its metadata means 1 x 3 x 32 x 96"),
        (
            "dynamic_size",
            "true",
            "images is 1 x 3 x 64 x 96 in its graph, but its metadata means 1 x 3 x any x any",
        ),
        ("nms", "1", "nms '1', where true or false"),
        ("nms", "true", "its outputs are boxes .*; labels is not among them"),
        ("class_names", '["a", "b"]', "output scores is 1 x 8 x 3 in its graph, but its metadata means 1 x 8 x 2"),
        ("class_names", '["a", "b", 3]', r"class name \[2\] is 3, not a text"),
        ("class_names", "[" * 100_000, r"class_names '\[\[.*\(100,000 characters\), where JSON"),
        ("strides", "[32, 32]", "output boxes is 1 x 8 x 4 in its graph, but its metadata means 1 x 12 x 4"),
        ("letterbox", "[64, 96]", "one of letterbox and shortest_edge"),
        ("shortest_edge", "null", "one of letterbox and shortest_edge"),
        ("shortest_edge", "[65535, 65535]", "at most 67,108,864 pixels"),
        ("rank_by", "luck", "rank_by 'luck', where score or class"),
        ("score", "luck", "score 'luck', where geometric_mean or product"),
        ("size_divisor", "0", "size_divisor '0', where an integer from 1 to"),
        ("experiment", "x" * 2_000_000, r"experiment .*\(2,000,000 characters\)"),
        ("strides", None, "its metadata lacks strides; this needs a file written by tools/export_onnx.py"),
    ],
)
def test_the_message_says_what_would_be_right(models, path, name, text, expected):
    for texts in (older(FIXED), FIXED.to_strings()):
        if name in texts:
            texts |= {} if text is None else {name: text}
            if text is None:
                del texts[name]
            path.write_bytes(changed(models["fixed"], texts))
            with pytest.raises(UserError, match=rf"changed\.onnx: .*{expected}"):
                OnnxPredictor(path)


def test_labels_beyond_the_classes_are_an_error(models, path):
    path.write_bytes(changed(models["nms"], WITH_NMS.to_strings() | {"class_names": '["a", "b"]'}))
    assert "labels has values beyond its 2 classes" in use(path)


def test_what_is_no_onnx_file(tmp_path):
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_text("\x1b[31mnot ONNX")
    (tmp_path / "folder.onnx").mkdir()
    cases = {
        "empty.onnx": "an empty file",
        "text.onnx": "ONNX Runtime cannot load it",
        "folder.onnx": "a folder",
        "none.onnx": "no such ONNX file",
        "a\x00b": "no such ONNX file",
        "x" * 5000: "cannot be opened",
    }
    for name, expected in cases.items():
        message = use(tmp_path / name)
        assert expected in message
        assert message.isprintable()


def test_texts_of_a_file_are_shown_in_one_line(models, path):
    texts = FIXED.to_strings() | {"experiment": "a\n\x1b[31mb", "class_names": json.dumps(["\x1b[2Ja", "b", "c"])}
    path.write_bytes(changed(models["fixed"], texts))
    metadata = OnnxPredictor(path).metadata
    assert metadata.experiment == "a [31mb"
    assert metadata.class_names[0] == "[2Ja"


def bad_utf8(data: bytes) -> bytes:
    return data.replace(b"tiny", b"t\xff\xfey", 1)


def test_bytes_that_are_no_text(models, path):
    path.write_bytes(bad_utf8(models["fixed"].SerializeToString()))
    message = use(path)
    assert message is not None
    assert is_clear(message, path)


def test_metadata_as_plain_data_is_json_of_real_objects() -> None:
    plain = json.loads(json.dumps(WITH_NMS.to_plain()))
    assert (plain["class_names"], plain["size"], plain["nms"]) == (["cat", "dög", "cow"], [64, 96], True)
    assert plain["input_spec"]["mean"] == [120.0, 110.0, 100.0]

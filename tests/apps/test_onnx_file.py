"""An ONNX file evaluated in place of the checkpoint that it was exported from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import otadet
from otadet.apps import evaluate, export, predict
from otadet.data.synthetic.write import write_synthetic
from otadet.engine.checkpoint import save_checkpoint
from otadet.errors import UserError
from otadet.exp import FCOS, InputSpec, Letterbox, MultiScaleTest, ResNet
from otadet.exp.stored import StoredExp
from tests.helpers.own_pictures import write_coco

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

LOW = ("score_threshold", "0.05", "nms_iou", "0.5")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes, a network with scores of all sizes, and its files with and without NMS."""
    folder = tmp_path_factory.mktemp("desk")
    write_synthetic(folder / "shapes", images_train=1, images_val=3, size=80, classes=2)
    exp = StoredExp("lively", {})
    exp.model = FCOS(ResNet(10, width=8, weights=None), channels=16, tower_depth=1)
    exp.input = InputSpec(Letterbox((64, 64)))
    torch.manual_seed(0)
    model = exp.build_model(2)
    for branch in (model.head.logits, model.head.distances, model.head.quality):
        nn.init.normal_(branch.weight, std=0.5)
        nn.init.zeros_(branch.bias)
    state = {"model": model.state_dict(), "class_names": ["disc", "square"]}
    save_checkpoint(folder / "best.pth", {**state, "parts": exp.describe(), "experiment": exp.about()})
    words = ["-c", str(folder / "best.pth"), "--device", "cpu"]
    export.main(words)
    export.main([*words, "--nms", *LOW, "--output", str(folder / "nms.onnx")])
    return folder


def found(desk: Path, file: str, out: Path, *more: str) -> list[dict]:
    words = ["-c", str(desk / file), "--device", "cpu", "--save-json", str(out / "found.json")]
    evaluate.main([*words, "data", str(desk / "shapes"), "workers", "0", *more])
    return json.loads((out / "found.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "more"), [("best.onnx", LOW), ("best.onnx", (*LOW, "-b", "1")), ("nms.onnx", ())])
def test_a_file_has_the_detections_of_its_checkpoint(desk, tmp_path, file, more, capsys):
    expected, own = found(desk, "best.pth", tmp_path, *LOW), found(desk, file, tmp_path, *more)
    assert len(expected) > 30
    assert len({entry["image_id"] for entry in expected}) == 3
    for name in ("image_id", "category_id"):
        assert [entry[name] for entry in own] == [entry[name] for entry in expected]
    for name, most in (("score", 1e-3), ("bbox", 0.05)):
        np.testing.assert_allclose([entry[name] for entry in own], [entry[name] for entry in expected], atol=most)
    first, second = (text.split("AR1")[0].split()[-6:] for text in capsys.readouterr().out.split("val split, 3")[1:])
    assert first == second


@pytest.mark.parametrize("trained", [True, False])
def test_both_measure_the_split_of_the_training_or_all_images_of_converted_weights(desk, tmp_path, trained, capsys):
    write_coco(tmp_path / "mine", {"boxes": [f"{number}.png" for number in range(5)]})
    state = torch.load(desk / "best.pth", weights_only=True) | ({"iteration": 9} if trained else {})
    save_checkpoint(tmp_path / "own.pth", state)
    export.main(["-c", str(tmp_path / "own.pth"), "--device", "cpu"])
    for file in ("own.pth", "own.onnx"):
        words = ["-c", str(tmp_path / file), "--device", "cpu", "data", str(tmp_path / "mine"), "workers", "0"]
        evaluate.main(words)
        assert f"val split, {'1 image' if trained else '5 images'} of" in capsys.readouterr().out
        evaluate.main([*words, "val_share", "0.4"])
        assert "val split, 2 images of" in capsys.readouterr().out
        evaluate.main([*words, "--split", "train"])
        assert "train split, 4 images of" in capsys.readouterr().out


def test_what_the_graph_does_not_do_can_be_set(desk, tmp_path):
    everything = found(desk, "best.onnx", tmp_path, *LOW)
    assert 0 < len(found(desk, "best.onnx", tmp_path, *LOW, "max_detections", "2")) < len(everything)
    assert len(found(desk, "best.onnx", tmp_path, "score_threshold", "0.5")) < len(everything)


def test_the_data_may_be_those_of_an_experiment(desk, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from otadet.exp import BaseExp, DataFolder\n\n\n"
        f"class Exp(BaseExp):\n    data = DataFolder({str(desk / 'shapes')!r})\n"
    )
    evaluate.main(["-f", str(tmp_path / "mine.py"), "-c", str(desk / "best.onnx"), "workers", "0", "lr", "0.1"])
    printed = capsys.readouterr()
    assert "val split, 3 images" in printed.out
    assert "optimizer.lr: without effect here, where data, postprocess, run count" in printed.err


@pytest.mark.parametrize(
    ("file", "more", "message"),
    [
        ("best.onnx", ("input.resize", "96x96"), r"input.resize: is what .*best.onnx was exported with"),
        ("best.onnx", ("model", "yolox_s"), "model: is what .*best.onnx was exported with"),
        ("best.onnx", ("postprocess.score", "product"), "postprocess.score product: .*has geometric_mean in its graph"),
        ("best.onnx", ("classes", "best"), "postprocess.classes best: .*has all in its graph; export with it$"),
        ("nms.onnx", ("score_threshold", "0.01"), "score_threshold 0.01: .*has 0.05 in its graph; .*without --nms"),
        ("best.onnx", ("class_names", "disc,cat"), "disc, cat"),
        ("none.onnx", (), "none.onnx: no such ONNX file"),
        ("best.onnx", ("nonsense", "1"), "nonsense: the experiment has no such field"),
        ("best.onnx", ("lr",), "come as pairs"),
        ("best.onnx", ("--tta",), r"--tta: .*best.onnx is made for its own size"),
    ],
)
def test_mistakes(desk, tmp_path, file, more, message):
    with pytest.raises(UserError, match=message):
        found(desk, file, tmp_path, *more)


def test_the_data_have_to_be_named(desk):
    with pytest.raises(UserError, match=r"best.onnx: does not say which data .*data FOLDER, or -f EXP"):
        evaluate.main(["-c", str(desk / "best.onnx"), "workers", "0"])
    with pytest.raises(UserError, match="device mps"):
        evaluate.main(["-c", str(desk / "best.onnx"), "--device", "mps", "data", str(desk / "shapes")])


def drawn(desk: Path, file: str, out: Path, *more: str) -> list[dict]:
    words = ["-c", str(desk / file), "--device", "cpu", "--path", str(desk / "shapes/val"), "--output", str(out)]
    predict.main([*words, "--save-json", str(out / "found.json"), *more])
    assert len(list(out.glob("*.png"))) == 3
    return json.loads((out / "found.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("conf", [(), ("--conf", "0.2"), ("score_threshold", "0.05")])
@pytest.mark.parametrize(("file", "more"), [("best.onnx", ("nms_iou", "0.5")), ("nms.onnx", ())])
def test_predict_takes_a_file_in_place_of_its_checkpoint(desk, tmp_path, file, more, conf):
    expected = drawn(desk, "best.pth", tmp_path, "nms_iou", "0.5", *conf)
    own = drawn(desk, file, tmp_path, *conf, *more)
    assert [image["file"] for image in own] == [image["file"] for image in expected]
    for one, other in zip(own, expected, strict=True):
        found = [(entry["class_name"], entry["score"], entry["box"]) for entry in one["detections"]]
        wanted = [(entry["class_name"], entry["score"], entry["box"]) for entry in other["detections"]]
        assert [name for name, *_ in found] == [name for name, *_ in wanted]
        for place, most in ((1, 1e-3), (2, 0.05)):
            np.testing.assert_allclose([row[place] for row in found], [row[place] for row in wanted], atol=most)
    if conf:
        assert sum(len(image["detections"]) for image in own) > 10


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--conf", "0.01"), r"score_threshold 0\.01: .*nms\.onnx has 0\.05 in its graph"),
        (("--nms", "0.9"), r"nms_iou 0\.9: .*nms\.onnx has 0\.5 in its graph"),
        (("--tta",), r"--tta: .*nms\.onnx is made for its own size"),
        (("input.resize", "96x96"), r"input\.resize: is what .*nms\.onnx was exported with"),
        (("nms_iou",), "^nms_iou: overrides come as pairs"),
    ],
)
def test_mistakes_of_a_prediction(desk, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        drawn(desk, "nms.onnx", tmp_path, *more)


def test_python_looks_in_several_sizes_as_tta_does(desk, tmp_path):
    words = ("--tta", "tta.scales", "64,96", "--conf", "0.05")
    expected = drawn(desk, "best.pth", tmp_path, *words)
    detector = otadet.load(desk / "best.pth", "cpu", tta=MultiScaleTest(scales=(64, 96)))
    own = [detector(image["file"]) for image in expected]
    assert [len(found) for found in own] == [len(image["detections"]) for image in expected]
    assert str(otadet.load(desk / "best.pth", "cpu", tta=True).pipeline).count("96") > 0
    assert len(otadet.load(desk / "best.pth", "cpu")(expected[0]["file"])) != len(own[0])
    with pytest.raises(UserError, match=r"tta: .*best\.onnx is made for its own size"):
        otadet.load(desk / "best.onnx", tta=True)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("best.pth", {"device": "tpu"}, "device 'tpu': there is none of this name"),
        ("best.onnx", {"device": "tpu"}, "device 'tpu': there is none of this name"),
        ("best.pth", {"device": "cuda:99"}, "device cuda:99: this machine has none"),
        ("best.pth", {"tta": None}, "tta None: must be True, False or a MultiScaleTest"),
        ("", {}, "the path of the checkpoint is empty"),
    ],
)
def test_mistakes_of_a_program(desk, path, options, message):
    with pytest.raises(UserError, match=message):
        otadet.load(desk / path if path else path, **options)


@pytest.mark.parametrize(
    ("file", "parts"), [("best.pth", "input, model, postprocess, "), ("best.onnx", "postprocess, ")]
)
def test_settings_that_change_nothing_in_a_prediction_are_noted(desk, tmp_path, capsys, file, parts):
    drawn(desk, file, tmp_path, "lr", "0.1", "data", "elsewhere", "max_pixels", "100000", "nms_iou", "0.5")
    said = f"note: data, optimizer.lr: without effect here, where {parts}data.max_pixels"
    assert capsys.readouterr().err.startswith(said)

from pathlib import Path

import numpy as np
import pytest
import torch
from loguru import logger
from PIL import Image
from torch import nn

from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.engine.checkpoint import save_checkpoint
from otadet.errors import UserError
from otadet.exp import BaseExp
from otadet.inference.predictor import Predictor, load_detector
from otadet.models.backbones.resnet import ResNet
from otadet.models.normalize import PixelNorm
from otadet.structures import Anchors, Detections, Predictions

NORMALIZE = PixelNorm((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NAMES = ("cat", "dog")
BOX = [12, 8, 40, 30]


class BrightRegion(nn.Module):
    """Finds the bounding box of what is bright, and once more in the padding."""

    size_divisor = 32

    def forward(self, images):
        bright = images.amax(1)[0] > 128
        rows, columns = bright.any(1).nonzero(), bright.any(0).nonzero()
        box = torch.cat((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()
        far = box.new_tensor([5000.0, 5000, 5010, 5010])
        anchors = Anchors(torch.zeros(2, 2), torch.zeros(2, 4), torch.ones(2), ((1, 2),))
        return Predictions(torch.zeros(1, 2, 2), torch.stack((box, far))[None]), anchors


def both(predictions, anchors):
    return [Detections(predictions.boxes[0], torch.tensor([0.9, 0.8]), torch.tensor([1, 0]))]


def image() -> np.ndarray:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    return pixels


@pytest.mark.parametrize(
    "transform", [ResizeShortestEdge((96,), 400), ResizeShortestEdge((24,), 400), Letterbox((128, 96), (0, 0, 0))]
)
def test_boxes_are_in_pixels_of_the_image_whatever_its_input_size(transform):
    found = Predictor(BrightRegion(), transform, NORMALIZE, both, NAMES)(image())
    assert len(found) == 1
    assert found.boxes[0].tolist() == pytest.approx(BOX, abs=1.1)
    assert found.labels.tolist() == [1]


def test_a_file_gives_what_its_pixels_give(tmp_path):
    predictor = Predictor(BrightRegion(), ResizeShortestEdge((96,), 400), NORMALIZE, both, NAMES)
    Image.fromarray(image()).convert("RGBA").save(tmp_path / "ein Bild ü.png")
    for path in (tmp_path / "ein Bild ü.png", str(tmp_path / "ein Bild ü.png")):
        assert torch.equal(predictor(path).boxes, predictor(image()).boxes)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_boxes_of_a_portrait_are_in_pixels_of_the_upright_picture(tmp_path, suffix):
    predictor = Predictor(BrightRegion(), ResizeShortestEdge((96,), 400), NORMALIZE, both, NAMES)
    exif = Image.Exif()
    exif[0x0112] = 8
    path = tmp_path / f"portrait.{suffix}"
    Image.fromarray(np.ascontiguousarray(np.rot90(image(), k=-1))).save(path, exif=exif, quality=100)
    assert predictor(path).boxes[0].tolist() == pytest.approx(BOX, abs=1.1)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    predictor = Predictor(BrightRegion(), ResizeShortestEdge((96,), 400), NORMALIZE, both, NAMES)
    with pytest.raises(UserError, match=r"none\.png"):
        predictor(tmp_path / "none.png")


@pytest.mark.parametrize("wrong", [image()[..., 0], image() / 255, image()[:0], np.zeros((4, 4, 4), np.uint8)])
def test_another_kind_of_array_is_an_error(wrong):
    predictor = Predictor(BrightRegion(), ResizeShortestEdge((96,), 400), NORMALIZE, both, NAMES)
    with pytest.raises(ValueError, match="uint8 RGB"):
        predictor(wrong)


class Tiny(BaseExp):
    depth, channels, tower_depth = 10, 32, 1
    test_size, max_size = 64, 96
    score_threshold = 0.0
    max_detections = 5


def saved(experiment: BaseExp, path: Path, **more: object) -> nn.Module:
    torch.manual_seed(0)
    model = experiment.build_model(len(NAMES)).eval()
    save_checkpoint(path, {"model": model.state_dict(), "ema": None, "class_names": list(NAMES), **more})
    return model


def test_a_checkpoint_predicts_what_its_model_predicts(tmp_path):
    exp = Tiny()
    exp.weights = None
    model = saved(exp, tmp_path / "a.pth")
    loaded = Predictor.from_experiment(exp, tmp_path / "a.pth")
    direct = Predictor(model, exp.build_test_transform(), exp.build_normalize(), exp.build_postprocess(), NAMES)
    assert loaded.class_names == NAMES
    assert 0 < len(loaded(image())) <= 5
    assert torch.equal(loaded(image()).boxes, direct(image()).boxes)


def test_the_weights_that_training_started_from_are_not_needed(tmp_path):
    exp = Tiny()
    exp.weights = str(tmp_path / "imagenet.pth")
    torch.manual_seed(1)
    backbone = ResNet(10)
    for name, buffer in backbone.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.uniform_(0.5, 1.5)
    torch.save(backbone.state_dict(), exp.weights)
    frozen = saved(exp, tmp_path / "a.pth")
    Path(exp.weights).unlink()

    model, _ = load_detector(exp, tmp_path / "a.pth")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = frozen(images)[0], model(images)[0]
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.boxes, expected.boxes)
    assert exp.weights is not None


def test_other_classes_are_an_error(tmp_path):
    exp = Tiny()
    exp.weights = None
    saved(exp, tmp_path / "a.pth")
    with pytest.raises(UserError, match="cat, dog"):
        load_detector(exp, tmp_path / "a.pth", ("dog", "cat"))


def test_a_checkpoint_of_another_grid_or_pyramid_is_an_error_that_says_what_to_add(tmp_path):
    exp = Tiny()
    exp.weights = None
    saved(exp, tmp_path / "a.pth", exp=exp.describe() | {"anchor_offset": 0.5})
    with pytest.raises(UserError, match=r"a\.pth: trained with anchor_offset 0\.5, but .*; add anchor_offset 0\.5 to"):
        load_detector(exp, tmp_path / "a.pth")
    exp.override(["anchor_offset", "0.5"])
    load_detector(exp, tmp_path / "a.pth")


def test_a_checkpoint_from_before_the_fields_is_told_by_the_field_that_it_has(tmp_path):
    exp = Tiny()
    exp.weights = None
    exp.override(["coarse_from", "c5"])
    new = ("coarse_from", "anchor_offset", "weight_decay_on")
    older = {name: value for name, value in exp.describe().items() if name not in new} | {"norm_weight_decay": True}
    saved(exp, tmp_path / "a.pth", exp=older)
    with pytest.raises(UserError, match=r"add anchor_offset 0\.5"):
        load_detector(exp, tmp_path / "a.pth")
    exp.override(["anchor_offset", "0.5"])
    load_detector(exp, tmp_path / "a.pth")


def test_another_normalisation_is_mentioned(tmp_path):
    exp = Tiny()
    exp.weights = None
    saved(exp, tmp_path / "a.pth", exp={"mean": [1.0, 2.0, 3.0], "std": list(exp.std)})
    messages = []
    sink = logger.add(messages.append, format="{message}")
    load_detector(exp, tmp_path / "a.pth")
    logger.remove(sink)
    assert len(messages) == 1
    assert "mean" in messages[0]

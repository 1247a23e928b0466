from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.engine.checkpoint import save_checkpoint
from otadet.errors import UserError
from otadet.exp import FCOS, BaseExp, load_detector, load_predictor
from otadet.exp import ResNet as ResNetPart
from otadet.inference.input_spec import InputSpec
from otadet.inference.pipeline import Pipeline, to_image
from otadet.inference.postprocess import Postprocess
from otadet.inference.predictor import Predictor
from otadet.models.backbones.resnet import ResNet
from otadet.structures import Anchors, Detections, Predictions
from tests.helpers.logs import logged

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


def predictor_of(resize=None) -> Predictor:
    spec = InputSpec(resize or ResizeShortestEdge((96,), 400), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Predictor(Pipeline(BrightRegion(), spec, both, NAMES))


def both(predictions, anchors):
    return [Detections(predictions.boxes[0], torch.tensor([0.9, 0.8]), torch.tensor([1, 0]))]


def image() -> np.ndarray:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    return pixels


@pytest.mark.parametrize(
    "resize", [ResizeShortestEdge((96,), 400), ResizeShortestEdge((24,), 400), Letterbox((128, 96), (0, 0, 0))]
)
def test_boxes_are_in_pixels_of_the_image_whatever_its_input_size(resize):
    found = predictor_of(resize)(image())
    assert len(found) == 1
    assert found.boxes[0].tolist() == pytest.approx(BOX, abs=1.1)
    assert found.labels.tolist() == [1]


def test_a_file_gives_what_its_pixels_give(tmp_path):
    predictor = predictor_of()
    Image.fromarray(image()).convert("RGBA").save(tmp_path / "ein Bild ü.png")
    for path in (tmp_path / "ein Bild ü.png", str(tmp_path / "ein Bild ü.png")):
        assert torch.equal(predictor(path).boxes, predictor(image()).boxes)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_boxes_of_a_portrait_are_in_pixels_of_the_upright_picture(tmp_path, suffix):
    predictor = predictor_of()
    exif = Image.Exif()
    exif[0x0112] = 8
    path = tmp_path / f"portrait.{suffix}"
    Image.fromarray(np.ascontiguousarray(np.rot90(image(), k=-1))).save(path, exif=exif, quality=100)
    assert predictor(path).boxes[0].tolist() == pytest.approx(BOX, abs=1.1)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    predictor = predictor_of()
    with pytest.raises(UserError, match=r"none\.png"):
        predictor(tmp_path / "none.png")


@pytest.mark.parametrize("wrong", [image()[..., 0], image() / 255, image()[:0], np.zeros((4, 4, 4), np.uint8)])
def test_another_kind_of_array_is_an_error(wrong):
    predictor = predictor_of()
    with pytest.raises(ValueError, match="uint8 RGB"):
        predictor(wrong)


class Tiny(BaseExp):
    input = InputSpec(ResizeShortestEdge((64,), 96))
    model = FCOS(ResNetPart(10, weights=None), channels=32, tower_depth=1)
    postprocess = Postprocess(score_threshold=0.0, max_detections=5)


def saved(experiment: BaseExp, path: Path, **more: object) -> nn.Module:
    torch.manual_seed(0)
    model = experiment.build_model(len(NAMES)).eval()
    save_checkpoint(path, {"model": model.state_dict(), "ema": None, "class_names": list(NAMES), **more})
    return model


def test_a_checkpoint_predicts_what_its_model_predicts(tmp_path):
    exp = Tiny()
    model = saved(exp, tmp_path / "a.pth")
    loaded = load_predictor(exp, tmp_path / "a.pth")
    direct = Predictor(exp.build_pipeline(model, NAMES))
    assert loaded.class_names == NAMES
    assert 0 < len(loaded(image())) <= 5
    assert torch.equal(loaded(image()).boxes, direct(image()).boxes)


def test_the_weights_that_training_started_from_are_not_needed(tmp_path):
    exp = Tiny()
    weights = tmp_path / "imagenet.pth"
    exp.override(["backbone.weights", str(weights)])
    torch.manual_seed(1)
    backbone = ResNet(10)
    for name, buffer in backbone.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.uniform_(0.5, 1.5)
    torch.save(backbone.state_dict(), weights)
    frozen = saved(exp, tmp_path / "a.pth")
    weights.unlink()

    model, _ = load_detector(exp, tmp_path / "a.pth")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = frozen(images)[0], model(images)[0]
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.boxes, expected.boxes)
    assert exp.model.backbone.weights is not None


def test_other_classes_are_an_error(tmp_path):
    exp = Tiny()
    saved(exp, tmp_path / "a.pth")
    with pytest.raises(UserError, match="cat, dog"):
        load_detector(exp, tmp_path / "a.pth", ("dog", "cat"))


def test_a_checkpoint_of_another_grid_or_pyramid_is_an_error_that_says_what_to_add(tmp_path):
    exp = Tiny()
    parts = exp.describe()
    saved(exp, tmp_path / "a.pth", parts=parts | {"model": parts["model"] | {"anchor_offset": 0.5}})
    message = r"a\.pth: trained with model\.anchor_offset 0\.5, but .*; add model\.anchor_offset 0\.5 to"
    with pytest.raises(UserError, match=message):
        load_detector(exp, tmp_path / "a.pth")
    exp.override(["anchor_offset", "0.5"])
    load_detector(exp, tmp_path / "a.pth")


def test_a_checkpoint_from_before_the_fields_is_told_by_the_field_that_it_has(tmp_path):
    exp = Tiny()
    exp.override(["coarse_from", "c5"])
    saved(exp, tmp_path / "a.pth", exp={"depth": 10, "channels": 32, "norm_weight_decay": True})
    with pytest.raises(UserError, match=r"add model\.anchor_offset 0\.5"):
        load_detector(exp, tmp_path / "a.pth")
    exp.override(["anchor_offset", "0.5"])
    load_detector(exp, tmp_path / "a.pth")


def test_another_normalisation_is_mentioned(tmp_path):
    exp = Tiny()
    saved(exp, tmp_path / "a.pth", exp={"mean": [1.0, 2.0, 3.0], "std": list(exp.input.std)})
    with logged() as messages:
        load_detector(exp, tmp_path / "a.pth")
    assert len(messages) == 1
    assert "mean" in messages[0]


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Batches(nn.Module):
    """A convolution and its boxes, which notes the shapes that it is called with."""

    strides, size_divisor = (8,), 32

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Conv2d(3, 6, 8, 8)
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images):
        self.shapes.append(tuple(images.shape))
        maps = self.layers(images)
        values = maps.flatten(2).transpose(1, 2)
        corner = values[..., :2].abs() * 20
        boxes = torch.cat((corner, corner + values[..., 2:4].exp() * 20), dim=2)
        count = boxes.shape[1]
        anchors = Anchors(torch.zeros(count, 2), torch.zeros(count, 4), torch.ones(count), (tuple(maps.shape[2:]),))
        return Predictions(values[..., 4:], boxes), anchors


def batching(batch_size: int = 16) -> Predictor:
    spec = InputSpec(ResizeShortestEdge((64,), 128), (110.0, 110.0, 110.0), (60.0, 60.0, 60.0))
    return Predictor(Pipeline(Batches(), spec, Postprocess(0.3), NAMES), batch_size=batch_size)


def assert_alike(found: Detections, expected: Detections) -> None:
    assert len(expected) > 3
    torch.testing.assert_close(found.boxes, expected.boxes)
    torch.testing.assert_close(found.scores, expected.scores)
    assert found.class_names == expected.class_names


def test_the_images_of_a_list_that_have_one_size_are_one_batch():
    images = [scene(*size, seed) for seed, size in enumerate([(60, 90), (90, 60), (70, 100), (60, 88), (90, 60)])]
    predictor = batching()
    found = predictor(images)
    assert sorted(predictor.pipeline.model.shapes) == [(2, 3, 96, 64), (3, 3, 64, 96)]
    for image, one in zip(images, found, strict=True):
        assert_alike(one, predictor(image))
    # However many they are, no more than batch_size are computed, and held, at once.
    limited = batching(batch_size=2)
    for one, expected in zip(limited(tuple(images)), found, strict=True):
        assert_alike(one, expected)
    assert sorted(limited.pipeline.model.shapes) == [(1, 3, 64, 96), (2, 3, 64, 96), (2, 3, 96, 64)]
    assert predictor([]) == []
    assert isinstance(predictor(images[:1]), list)
    with pytest.raises(UserError, match="batch_size 0"):
        batching(batch_size=0)


def test_files_arrays_and_pil_images_are_images_alike(tmp_path):
    pixels = scene(60, 90)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    predictor = batching()
    expected = predictor(pixels)
    forms = [
        str(tmp_path / "a.png"),
        tmp_path / "a.png",
        Image.fromarray(pixels),
        Image.fromarray(pixels).convert("RGBA"),
    ]
    for found in (*map(predictor, forms), *predictor([pixels, *forms])):
        assert_alike(found, expected)
    grey = Image.fromarray(pixels).convert("L")
    assert_alike(predictor(grey), predictor(np.asarray(grey.convert("RGB"))))


def test_a_pil_image_has_the_pixels_that_its_owner_sees(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(image()).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        assert predictor_of()(opened).boxes[0].tolist() == pytest.approx(BOX, abs=1.1)


@pytest.mark.parametrize("wrong", [3, None, torch.zeros(3, 4, 4), Image.new("I;16", (4, 4)), Image.new("F", (4, 4))])
def test_what_is_no_image_is_an_error(wrong):
    with pytest.raises(ValueError, match="image"):
        predictor_of()(wrong)


def test_one_bad_image_of_a_list_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.png"):
        batching()([scene(60, 90), tmp_path / "none.png"])


def test_detections_say_their_class_names():
    found = batching()(scene(60, 90))
    assert found.vocabulary == NAMES
    assert found.class_names == [NAMES[label] for label in found.labels]
    assert found[:2].class_names == found.class_names[:2]
    assert found.to("cpu").vocabulary == NAMES
    nameless = Detections(found.boxes, found.scores, found.labels)
    with pytest.raises(ValueError, match="no vocabulary"):
        nameless.class_names  # noqa: B018
    assert nameless[:0].class_names == []


def test_files_are_read_with_the_bits_of_the_input(tmp_path):
    deep = scene(60, 90)[..., 0].astype(np.uint16) * 16
    Image.fromarray(deep).save(tmp_path / "deep.png")
    predictor = batching()
    predictor = Predictor(replace(predictor.pipeline, input=replace(predictor.pipeline.input, image_bits=12)))
    assert_alike(predictor(tmp_path / "deep.png"), predictor(np.repeat((deep >> 4).astype(np.uint8)[..., None], 3, 2)))


def test_the_pipeline_is_put_on_the_device_that_is_asked_for():
    predictor = Predictor(batching().pipeline, device="meta")
    assert predictor.pipeline.device == torch.device("meta")
    assert not predictor.pipeline.model.training


def test_a_pipeline_does_not_wait_for_the_device_before_its_postprocessing():
    with FakeTensorMode(), torch.device("cuda"):
        pipeline = replace(batching().pipeline, postprocess=lambda predictions, anchors: [])
        assert pipeline.device.type == "cuda"
        assert pipeline(torch.zeros(2, 3, 64, 96, dtype=torch.uint8)) == []


def test_what_is_left_of_a_box_in_the_image():
    found = Detections(
        torch.tensor([[-4.0, 2, 8, 12], [16, 0, 40, 10], [20, 0, 40, 10], [4, 20, 8, 30], [2, 4, 2, 8]]),
        torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]),
        torch.tensor([0, 1, 0, 1, 0]),
        NAMES,
    )
    left = to_image(found, (2.0, 1.0), (20, 10))
    assert left.boxes.tolist() == [[0, 2, 4, 12], [8, 0, 10, 10]]
    assert left.class_names == ["cat", "dog"]

"""What is chosen to train a checkpoint on, for the data and near what it was trained with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otadet.apps.conversions import torchvision_experiment, yolox_experiment
from otadet.convert.pyramid import PyramidLayout
from otadet.convert.yolox import Layout
from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.errors import UserError
from otadet.exp import FCOS, YOLOX, Iterations, ResNet, load_exp
from otadet.exp.fine_tune import KEPT, fine_tune_exp, fitting_rate, network_of
from tests.helpers.pictures import Pictures


def checkpoint(exp=None) -> dict[str, object]:
    exp = exp or yolox_experiment(Layout(0.33, 0.25, True, 80), 416, "nano")
    return {"parts": exp.describe(), "experiment": exp.about()}


def fitted(pictures: Pictures, *pairs: str, exp=None, devices: int = 1):
    tuned = fine_tune_exp("nano.pth", checkpoint(exp))
    tuned.override(pairs)
    return tuned.for_data(pictures, devices)  # type: ignore[arg-type]


def test_the_detector_is_the_checkpoints() -> None:
    own = yolox_experiment(Layout(0.33, 0.25, True, 80), 416, "nano")
    exp, _ = fitted(Pictures(100, (416, 416), (16,)))
    assert exp.name == "nano"
    for part in KEPT:
        assert getattr(exp, part) == getattr(own, part), part


@pytest.mark.parametrize(
    ("size", "boxes", "expected"),
    [
        ((256, 256), (50,), (320, 320)),  # three quarters, though the pictures are smaller
        ((416, 416), (16,), (416, 416)),
        ((480, 640), (200,), (256, 320)),  # less high, as all are wide
        ((640, 480), (200,), (320, 256)),
        ((480, 640), (20,), (384, 512)),
        ((3000, 4000), (20,), (480, 640)),  # half as much again, at the most
        ((64, 64), (4,), (320, 320)),
    ],
    ids=str,
)
def test_the_input_is_near_the_checkpoints(size, boxes, expected) -> None:
    exp, reasons = fitted(Pictures(100, size, boxes))
    own = yolox_experiment(Layout(0.33, 0.25, True, 80), 416, "nano").input.resize
    assert exp.input.resize == Letterbox(expected, shrink=own.shrink, rounding=own.rounding)
    assert reasons[1].startswith(f"input.resize {expected[0]}x{expected[1]}: ")


def test_pictures_of_both_orientations_get_a_square() -> None:
    pictures = Pictures(100, (480, 640), (20,))
    pictures.sizes[::3] = pictures.sizes[::3, ::-1].copy()
    exp, _ = fitted(pictures)
    assert exp.input.resize.size == (512, 512)


def test_another_resize_rule_stays_the_rule_that_it_is() -> None:
    exp, _ = fitted(Pictures(100, (480, 640), (200,)), exp=load_exp("ota_fcos_r50"))
    assert exp.input.resize == ResizeShortestEdge((608,), 800)
    assert exp.run.group_by_aspect, "as there may be tall ones"


@pytest.mark.parametrize(
    ("images", "epochs", "warmup", "batch"),
    [
        (4, 200, 50, 2),
        (8, 150, 50, 2),
        (20, 100, 50, 2),
        (75, 100, 50, 8),
        (479, 30, 89, 8),
        (5_000, 15, 468, 8),
        (90_000, 8, 500, 8),
    ],
)
def test_length_and_warm_up_have_floors(images, epochs, warmup, batch) -> None:
    exp, reasons = fitted(Pictures(images, (100, 100), (50,)))
    assert (exp.length.count, exp.schedule.warmup, exp.run.batch_size) == (epochs, warmup, batch)
    assert exp.run.freeze_norms == (batch < 4)
    assert len(reasons) == 4, "the data, and three lines"
    assert all(len(line) < 200 for line in reasons)
    why = {4: "no more for so few pictures", 8: "at least 600 iterations"}.get(images, f"for {images:,} pictures")
    assert reasons[2].startswith(f"length {epochs}epochs, {why}: ")


def test_augmentation_is_weaker_the_more_pictures_there_are() -> None:
    strengths = [fitted(Pictures(images, (99, 99), (50,)))[1][3].split("augment ")[1] for images in (75, 5_000, 90_000)]
    assert [words.split(";")[0] for words in strengths] == ["strong", "medium", "light"]
    several = [len(fitted(Pictures(images, (99, 99), (50,)))[0].augment) for images in (75, 90_000)]
    assert several == [3, 2]


def test_the_average_forgets_within_a_tenth_of_the_training() -> None:
    for images in (75, 479, 5_000):
        exp, _ = fitted(Pictures(images, (99, 99), (50,)))
        assert 1 / (1 - exp.run.ema) == pytest.approx(exp.iterations(images) / 10, rel=0.05)


def test_larger_networks_have_lower_rates() -> None:
    rates = [fitting_rate(number) for number in (900_000, 9_000_000, 32_000_000, 10**9)]
    assert rates == [0.001, 0.00033, 0.00018, 0.0001]
    own = load_exp("ota_fcos_r50")
    for model in (YOLOX(0.33, 0.0625), FCOS(ResNet(10, width=8, weights=None), channels=8)):
        own.model = model
        assert network_of(own, 5)[0] == sum(parameter.numel() for parameter in model.build(5).parameters())


def test_what_a_command_sets_wins() -> None:
    exp, reasons = fitted(
        Pictures(75, (256, 256), (50,)), "lr", "0.01", "length", "9iterations", "resize", "64x64", "augment", "none"
    )
    assert (exp.optimizer.lr, exp.length, exp.input.resize.size, exp.augment) == (0.01, Iterations(9), (64, 64), ())
    said = " ".join(reasons)
    assert not any(word in said for word in ("optimizer.lr", "length", "input.resize", "augment"))
    exp, _ = fitted(Pictures(75, (256, 256), (50,)), "optimizer", "sgd")
    assert exp.optimizer.backbone_factor == 1


def test_what_the_checkpoint_was_trained_with_is_not_taken_over() -> None:
    own = load_exp("blood_cells")
    exp, _ = fitted(Pictures(75, (256, 256), (50,)), exp=own)
    assert exp.model == own.model
    assert exp.length != own.length
    assert exp.optimizer != own.optimizer


def test_sizes_that_nobody_knows() -> None:
    pictures = Pictures(10, (99, 99), (50,))
    pictures.sizes[:] = 0
    exp, _ = fitted(pictures)
    assert exp.input.resize.size == (416, 416)
    assert np.isfinite(exp.run.ema)


def test_a_checkpoint_that_does_not_describe_itself() -> None:
    with pytest.raises(UserError, match=r"old\.pth: .*give its file with -f"):
        fine_tune_exp("old.pth", {})


def test_frozen_norms_are_none_whose_statistics_could_be_frozen() -> None:
    own = load_exp("ota_fcos_r50")
    assert network_of(own, 2)[1] is False
    exp, reasons = fitted(Pictures(4, (100, 100), (50,)), exp=own)
    assert exp.run.batch_size == 2
    assert not exp.run.freeze_norms
    assert not any("freeze_norms" in line for line in reasons)


def test_a_detector_of_torchvision_keeps_its_way_of_resizing() -> None:
    layout = PyramidLayout(18, 64, 1, 64, 256, "p5", tower_depth=4, tower_norm=True, tower_bias=True, num_classes=91)
    own = torchvision_experiment(layout, is_fcos=True, size=None, name="fcos")
    exp, _ = fitted(Pictures(100, (480, 640), (40,)), exp=own)
    resize = exp.input.resize
    assert resize == replace(own.input.resize, sizes=resize.sizes, max_size=resize.max_size)
    assert (exp.model, exp.postprocess, exp.assigner) == (own.model, own.postprocess, own.assigner)

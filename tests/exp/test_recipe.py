"""What is chosen for data, and that whatever anybody sets wins."""

from __future__ import annotations

import numpy as np
import pytest

from otadet.exp import BaseExp, Cosine, Epochs, Iterations, RecipeExp, Run, Steps, load_exp
from tests.helpers.pictures import Pictures


def fitted(
    pictures: Pictures, *pairs: str, exp: RecipeExp | None = None, devices: int = 1
) -> tuple[BaseExp, list[str]]:
    exp = exp or load_exp("my_data")
    exp.override(pairs)
    chosen, reasons = exp.for_data(pictures, devices)  # type: ignore[arg-type]
    return chosen, list(reasons)


@pytest.mark.parametrize(
    ("size", "boxes", "resize", "why"),
    [
        ((256, 256), (25, 60), ((256,), 256), "no more is needed"),
        ((480, 640), (200,), ((256,), 352), "no more is needed"),
        ((480, 640), (24,), ((320,), 448), "no more is needed"),
        ((480, 640), (8,), ((480,), 640), "small boxes want more, but that would be slow"),
        ((3000, 4000), (100,), ((480,), 640), "no more is needed"),
        ((3000, 4000), (60,), ((480,), 640), "small boxes want more, but that would be slow"),
        ((300, 300), (4,), ((320,), 320), "as large as the pictures"),
        ((64, 64), (20,), ((64,), 64), "no more is needed"),
        ((64, 64), (4,), ((256,), 256), "no more is needed"),
        ((640, 480), (8,), ((480,), 640), "small boxes want more, but that would be slow"),
    ],
    ids=str,
)
def test_the_input_is_as_large_as_the_boxes_need(size, boxes, resize, why) -> None:
    exp, reasons = fitted(Pictures(100, size, boxes))
    assert (exp.input.resize.sizes, exp.input.resize.max_size) == resize
    assert reasons[1].endswith(why)


@pytest.mark.parametrize(
    ("images", "batch", "length", "warmup", "every"),
    [(4, 2, 300, 50, 60), (75, 8, 64, 50, 13), (480, 8, 40, 120, 8), (1999, 8, 40, 499, 8), (30_000, 8, 12, 500, 2)],
)
def test_length_has_a_floor_and_is_in_epochs(images, batch, length, warmup, every) -> None:
    exp, reasons = fitted(Pictures(images, (100, 100), (50,)))
    assert (exp.run.batch_size, exp.length, exp.schedule.warmup, exp.run.eval_every) == (
        batch,
        Epochs(length),
        warmup,
        every,
    )
    assert exp.iterations(images) >= 600
    assert len(reasons) == 4
    assert all(len(line) < 200 for line in reasons)


def test_a_length_that_stays_below_the_floor_does_not_say_that_it_reaches_it() -> None:
    exp, reasons = fitted(Pictures(1, (100, 100), (50,)))
    assert exp.iterations(1) == 200
    assert any(
        "length 400epochs: so few pictures are shown 400 times each, and no more; 200 it" in one for one in reasons
    )


def test_what_a_command_sets_wins() -> None:
    pictures = Pictures(100, (256, 256), (40,))
    exp, reasons = fitted(pictures, "length", "1000iterations", "batch_size", "8", "input.resize", "320/320")
    assert (exp.length, exp.input.resize.sizes, exp.run.batch_size) == (Iterations(1000), (320,), 8)
    assert (exp.schedule.warmup, exp.run.eval_every) == (50, 16), "chosen for what was set"
    assert [line.split()[0] for line in reasons[1:]] == ["schedule.warmup"]
    exp, _ = fitted(pictures, "input.resize.max_size", "320")
    assert (exp.input.resize.sizes, exp.input.resize.max_size) == ((320,), 320)
    exp, _ = fitted(pictures, "schedule", "steps", "schedule.at", "0.5")
    assert exp.schedule == Steps(at=(0.5,))
    exp, reasons = fitted(
        pictures, "warmup", "7", "length", "3epochs", "batch_size", "4", "resize", "64/64", "eval_every", "1"
    )
    assert reasons == []
    assert exp.schedule == Cosine(warmup=7)


def test_what_a_file_sets_wins() -> None:
    class Exp(RecipeExp):
        length = Epochs(3)
        run = Run(batch_size=5, workers=0)

        def build_schedule(self, dataset_size: int):
            return lambda iteration: 1.0

    exp, _ = fitted(Pictures(100, (256, 256), (40,)), exp=Exp())
    assert (exp.length, exp.run.batch_size) == (Epochs(3), 5)
    assert exp.schedule == RecipeExp.schedule, "nobody looks at it"
    assert exp.input.resize.sizes == (256,)


def test_a_batch_is_shared_by_the_devices() -> None:
    exp, _ = fitted(Pictures(100, (256, 256), (40,)), devices=3)
    assert exp.run.batch_size == 9


def test_the_experiment_itself_stays_as_it_is() -> None:
    exp = load_exp("my_data")
    before = exp.describe()
    fitted(Pictures(100, (96, 96), (40,)), exp=exp)
    assert exp.describe() == before


def test_other_experiments_take_the_data_as_they_come() -> None:
    exp = load_exp("blood_cells")
    assert exp.for_data(Pictures(4, (9, 9), (2,)), 1) == (exp, ())  # type: ignore[arg-type]


def test_a_crowd_is_detected_and_not_suppressed() -> None:
    class Crowd(Pictures):
        def __init__(self) -> None:
            super().__init__(4, (300, 300), (50,) * 120)
            places = np.tile(np.arange(120) * 2.0, 4)
            self.annotations.boxes[:] += np.stack((places, 0 * places, places, 0 * places), axis=1)

    exp, reasons = fitted(Crowd())
    assert (exp.postprocess.nms_iou, exp.postprocess.max_detections) == (0.8, 200)
    assert [line.split(":")[0] for line in reasons[-2:]] == [
        "postprocess.nms_iou 0.8",
        "postprocess.max_detections 200",
    ]
    exp, _ = fitted(Crowd(), "nms_iou", "0.5")
    assert (exp.postprocess.nms_iou, exp.postprocess.max_detections) == (0.5, 200)

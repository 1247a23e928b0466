import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from otadet.data.sample import Sample
from otadet.data.transforms import Letterbox, RandomFlip, ResizeShortestEdge
from otadet.errors import UserError
from otadet.inference.input_spec import InputSpec

SPECS = [
    InputSpec(),
    InputSpec(Letterbox((48, 64)), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), padding=(114, 114, 114), image_bits=12),
    InputSpec(ResizeShortestEdge((96,), 160), (300.0, -5.0, 100.6), (1, 2, 3)),
]


@pytest.mark.parametrize("spec", SPECS)
def test_plain_data_and_back(spec: InputSpec) -> None:
    assert InputSpec.from_dict(spec.to_dict()) == spec
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert InputSpec.from_dict({"part": "InputSpec", **spec.to_dict()}) == spec


def test_padding_is_almost_zero_after_normalisation() -> None:
    spec = InputSpec()
    padding = torch.tensor(spec.pad_value, dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert spec.normalize(padding).abs().max() < 0.01
    assert [spec.pad_value for spec in SPECS[1:]] == [(114, 114, 114), (255, 0, 101)]


def test_all_padding_has_one_colour() -> None:
    image = np.full((20, 80, 3), 7, np.uint8)
    sample = Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 0, "", (20, 80))
    boxed = SPECS[1].transform(sample, np.random.default_rng(0)).image
    assert boxed.shape == (48, 64, 3)
    assert (boxed[:16] == 7).all()
    assert (boxed[16:] == 114).all()
    assert InputSpec(Letterbox((48, 64), (124, 116, 104))).transform == InputSpec(Letterbox((48, 64))).transform
    with pytest.raises(UserError, match=r"resize: pads with \(0, 0, 0\), but all other padding is \(124, 116, 104\)"):
        InputSpec(Letterbox((48, 64), (0, 0, 0)))
    with pytest.raises(UserError, match="needs a pad_value"):
        Letterbox((48, 64))(sample, np.random.default_rng(0))


def test_the_padding_follows_the_mean() -> None:
    assert replace(SPECS[0], mean=(10.0, 20.0, 30.0)).pad_value == (10, 20, 30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": RandomFlip()}, "resize RandomFlip.*belong to the training alone"),
        ({"resize": ResizeShortestEdge((64, 96), 128)}, "needs one size"),
        ({"resize": Letterbox((60_000, 60_000))}, "resize .* at most 67,108,864 pixels"),
        ({"resize": ResizeShortestEdge((60_000,), 60_000)}, "resize .* at most 67,108,864 pixels"),
        ({"mean": (1.0, 2.0)}, "mean .*three numbers"),
        ({"mean": (1.0, 2.0, float("nan"))}, "mean .*three numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "std 0: must be from 1e-06"),
        ({"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}, "are on a scale of 0-1.*multiply by 255"),
        ({"padding": (0, 0, 300)}, "padding 300: must be from 0 to 255"),
        ({"padding": (0.0, 0.0, 0.0)}, "padding .*three numbers"),
        ({"image_bits": 17}, "image_bits 17: .* from 8 to 16"),
        ({"image_bits": True}, "image_bits True: .* from 8 to 16"),
    ],
)
def test_values_that_cannot_work_are_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(InputSpec(), **change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizeShortestEdge((64,), 70_000), "max_size 70000: must be at most 65,535"),
        (lambda: ResizeShortestEdge((0,), 64), "sizes 0: must be at least 1"),
        (lambda: ResizeShortestEdge((), 64), "needs at least one size"),
        (lambda: Letterbox((64.5, 64)), "size = .*64.5.*: expected 2 values"),
        (lambda: Letterbox((64, 64), (0, 0, 256)), "pad_value 256: must be at most 255"),
    ],
)
def test_sizes_and_colours_are_checked_by_the_resizing_itself(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("data", [None, 3, [], "resize", {"resize": {}}, {"resize": {"part": "Letterbox", "size": 3}}])
def test_data_that_is_no_input_is_an_error(data: object) -> None:
    with pytest.raises(UserError):
        InputSpec.from_dict(data)

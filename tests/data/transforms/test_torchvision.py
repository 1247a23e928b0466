"""torchvision's transforms: seeded by position, without a trace in the global generators."""

import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from otadet.data.transforms import Compose, ResizeShortestEdge
from otadet.data.transforms.torchvision import TorchvisionTransform
from otadet.errors import UserError
from otadet.exp.plain import ForeignPartError, from_plain, to_plain
from tests.helpers.noise_images import Noise, assert_same, stream
from tests.helpers.painted import extent, painted

# torchvision says of RandomErasing that it leaves boxes alone.
pytestmark = pytest.mark.filterwarnings("ignore:RandomErasing:UserWarning")

MIXED = v2.Compose(
    [v2.RandomHorizontalFlip(), v2.RandomAffine(0, translate=(0.2, 0.2)), v2.ColorJitter(0.2), v2.RandomErasing(0.5)]
)
TRANSFORM = Compose((ResizeShortestEdge((32,), 60), TorchvisionTransform(MIXED)))


def global_state():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def draws_from_all(inputs):
    drawn = random.random() + np.random.random() + torch.rand(()).item()
    return {**inputs, "image": (inputs["image"] * 0 + int(drawn * 80)).to(torch.uint8)}


@pytest.mark.parametrize("inner", [v2.RandomHorizontalFlip(1.0), v2.RandomAffine(0, (0.2, 0.2)), v2.RandomIoUCrop()])
def test_boxes_regions_and_labels_follow(inner):
    sample = painted([[8, 12, 32, 30], [44, 24, 72, 56]], ignored=[[8, 12, 32, 30]])
    for seed in range(5):
        result = TorchvisionTransform(inner)(sample, np.random.default_rng(seed))
        for box, label in zip(result.boxes, result.labels.tolist(), strict=True):
            np.testing.assert_allclose(box, extent(result.image, label), atol=1.51)
        assert result.ignored.tolist() == result.boxes[result.labels == 0].tolist()
        assert (result.boxes.dtype, result.labels.dtype, result.image.dtype) == (np.float32, np.int64, np.uint8)
        assert result.image.flags.c_contiguous


def test_sanitizing_inside_is_fine():
    inner = v2.Compose([v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(min_size=3)])
    sample = painted([[8, 12, 32, 30], [44, 24, 72, 56]], ignored=[[0, 0, 4, 4]])
    for seed in range(20):
        result = TorchvisionTransform(inner)(sample, np.random.default_rng(seed))
        assert len(result.boxes) == len(result.labels)
        assert set(result.labels.tolist()) <= {0, 1}


def test_the_position_decides_and_the_global_generators_stay():
    sample, transform = painted([[8, 12, 32, 30]]), TorchvisionTransform(draws_from_all)
    before = global_state()
    first = [transform(sample, np.random.default_rng(seed)).image for seed in range(5)]
    assert global_state() == before
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    again = [transform(sample, np.random.default_rng(seed)).image for seed in range(5)]
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) > 1


def test_the_generators_stay_after_an_error_too():
    def fails(inputs):
        torch.rand(3)
        raise ZeroDivisionError

    before = global_state()
    with pytest.raises(UserError, match=r"fails fails at 0\.png, 80 x 60 pixels there: ZeroDivisionError"):
        TorchvisionTransform(fails)(painted([]), np.random.default_rng(0))
    assert global_state() == before


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_is_resumed_exactly(workers):
    whole = stream(Noise(5), TRANSFORM, iterations=8)
    assert_same(stream(Noise(5), TRANSFORM, iterations=8, start_iteration=3, workers=workers), whole[3:])


def test_the_input_stays_and_empty_samples_work():
    sample = painted([[8, 12, 32, 30]])
    image = sample.image.copy()
    transform = TorchvisionTransform(v2.RandomErasing(1.0, inplace=True))
    transform(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(sample.image, image)
    empty = TorchvisionTransform(MIXED)(painted([]), np.random.default_rng(0))
    assert empty.boxes.shape == (0, 4)
    assert empty.labels.shape == (0,)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (v2.ToDtype(torch.float32, scale=True), r"ToDtype returned an image .*torch.float32.*leave out ToDtype"),
        (v2.Grayscale(), r"Grayscale returned an image \(1, 60, 80\)"),
        (v2.ConvertBoundingBoxFormat("CXCYWH"), "boxes as CXCYWH; otadet needs XYXY"),
        (lambda inputs: {**inputs, "labels": inputs["labels"][:0]}, "returned 1 boxes and 0 labels"),
        (lambda inputs: inputs["image"], "must return a dictionary with image, boxes, labels"),
    ],
)
def test_what_is_no_sample_is_refused(inner, message):
    with pytest.raises(UserError, match=message):
        TorchvisionTransform(inner)(painted([[8, 12, 32, 30]]), np.random.default_rng(0))


def test_a_checkpoint_says_that_it_needs_the_experiments_file():
    plain = to_plain((TorchvisionTransform(v2.RandomHorizontalFlip(0.3)),))
    assert "RandomHorizontalFlip(p=0.3)" in str(plain)
    with pytest.raises(ForeignPartError, match=r"^augment\.0 is TorchvisionTransform, of the experiment's file$"):
        from_plain(plain, "augment")


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (v2.AutoAugment(), "AutoAugment fails at .*: TypeError: Inputs of type BoundingBoxes are not supported"),
        (lambda inputs: {**inputs, "boxes": None}, "returned boxes as NoneType, no tensor"),
        (lambda inputs: {**inputs, "labels": [0]}, "returned labels as list, no tensor"),
        (lambda inputs: None, "<lambda> must return a dictionary with image, boxes, labels"),
    ],
)
def test_what_cannot_be_used_is_one_line_that_names_the_transform(inner, message):
    with pytest.raises(UserError, match=message):
        TorchvisionTransform(inner)(painted([[8, 12, 32, 30]]), np.random.default_rng(0))


def test_more_keys_than_those_given_do_no_harm():
    transform = TorchvisionTransform(lambda inputs: {**inputs, "extra": 1})
    assert len(transform(painted([[8, 12, 32, 30]]), np.random.default_rng(0)).boxes) == 1

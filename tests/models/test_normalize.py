import pytest
import torch

from otadet.models.normalize import PixelNorm

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def test_uint8_and_float_images_give_the_same_float32():
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    norm = PixelNorm(MEAN, STD)
    assert norm(images).dtype == torch.float32
    assert torch.equal(norm(images), norm(images.double()))
    restored = norm(images) * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    assert torch.allclose(restored, images.float(), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_layout_in_memory_changes_no_value(dtype):
    norm = PixelNorm(MEAN, STD)
    images = torch.randint(0, 256, (2, 8, 9, 3), dtype=torch.uint8).to(dtype).permute(0, 3, 1, 2)
    assert not images.is_contiguous()
    expected = norm(images.contiguous())
    assert norm(images).is_contiguous()
    assert torch.equal(norm(images), expected)
    last = PixelNorm(MEAN, STD, torch.channels_last)
    for given in (images, images.contiguous()):
        assert last(given).is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(last(given), expected)


def test_it_adds_nothing_to_a_checkpoint():
    assert not PixelNorm(MEAN, STD).state_dict()


def test_a_zero_std_is_refused():
    with pytest.raises(ValueError, match="std > 0"):
        PixelNorm(MEAN, (1.0, 0.0, 1.0))

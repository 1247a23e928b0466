import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from otadet.models.backbones.norms import FrozenNorm


def filled(norm: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for buffer in norm.buffers():
        buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return norm


def through(norm: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What a convolution and the norm make of images, and the gradient of the convolution's weight."""
    torch.manual_seed(1)
    convolution = nn.Conv2d(3, 8, 3)
    output = norm(convolution(images))
    output.square().sum().backward()
    return output.detach(), convolution.weight.grad


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_torchvisions_in_values_and_gradients(layout):
    images = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(2)).contiguous(memory_format=layout)
    found, expected = (through(filled(kind(8)), images) for kind in (FrozenNorm, FrozenBatchNorm2d))
    torch.testing.assert_close(found, expected)


def test_half_precision_stays_and_is_rounded_once():
    features = torch.randn(2, 8, 9, 7, generator=torch.Generator().manual_seed(2)).bfloat16()
    expected = filled(FrozenBatchNorm2d(8))(features.clone())
    found = filled(FrozenNorm(8))(features.clone())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected.bfloat16(), atol=1e-6, rtol=2**-7)


def test_gradients_in_mixed_precision_are_those_of_fp32_but_for_rounding():
    images = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(2))
    _, expected = through(filled(FrozenNorm(8)), images)
    with torch.autocast("cpu", torch.bfloat16):
        _, found = through(filled(FrozenNorm(8)), images)
    torch.testing.assert_close(found, expected, atol=0.02 * expected.abs().max().item(), rtol=0)


def test_takes_no_memory_of_its_own():
    features = torch.randn(2, 8, 9, 7)
    assert filled(FrozenNorm(8))(features).data_ptr() == features.data_ptr()


def test_loads_what_torchvisions_saves():
    saved = filled(FrozenBatchNorm2d(8)).state_dict()
    norm = FrozenNorm(8)
    norm.load_state_dict(saved)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in norm.state_dict().items())

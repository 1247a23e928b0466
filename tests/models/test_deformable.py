"""`DeformableConv2d` beside a plain convolution, a shifted map, and sums that are written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from otadet.engine.precision import autocast
from otadet.models.deformable import TAPS, DeformableConv2d

LAYOUTS = [(1, 1, True), (2, 1, True), (1, 4, False), (2, 4, False)]
"""stride, groups, bias."""


def features(height: int = 7, width: int = 10) -> Tensor:
    return torch.randn(2, 8, height, width, generator=torch.Generator().manual_seed(0))


def made(stride: int = 1, groups: int = 1, bias: bool = True, spread: float = 0.0) -> DeformableConv2d:
    """spread: deviation of what makes the offsets and masks."""
    torch.manual_seed(1)
    convolution = DeformableConv2d(8, 12, stride=stride, groups=groups, bias=bias)
    nn.init.normal_(convolution.sampling_weight, std=spread)
    nn.init.normal_(convolution.sampling_bias, std=2 * spread)
    return convolution


def plain(convolution: DeformableConv2d, values: Tensor) -> Tensor:
    return nn.Conv2d.forward(convolution, values)


def by_hand(convolution: DeformableConv2d, values: Tensor) -> Tensor:
    """The sum over taps of weight x mask x the value between four cells; outside of the map it is 0."""
    offsets, masks = convolution.sampling(values)
    images, _, height, width = values.shape
    rows, columns = masks.shape[-2:]
    kernel = convolution.weight.flatten(2)
    per_group = kernel.shape[0] // convolution.groups
    out = torch.zeros(images, kernel.shape[0], rows, columns)
    for image in range(images):
        for row in range(rows):
            for column in range(columns):
                taps = torch.zeros(values.shape[1], TAPS)
                for tap in range(TAPS):
                    dy, dx = offsets[image, 2 * tap : 2 * tap + 2, row, column].tolist()
                    y = row * convolution.stride[0] + tap // 3 - 1 + dy
                    x = column * convolution.stride[0] + tap % 3 - 1 + dx
                    for j in (math.floor(y), math.floor(y) + 1):
                        for i in (math.floor(x), math.floor(x) + 1):
                            if 0 <= j < height and 0 <= i < width:
                                taps[:, tap] += (1 - abs(y - j)) * (1 - abs(x - i)) * values[image, :, j, i]
                    taps[:, tap] *= masks[image, tap, row, column]
                for channel in range(kernel.shape[0]):
                    first = channel // per_group * kernel.shape[1]
                    out[image, channel, row, column] = (kernel[channel] * taps[first : first + kernel.shape[1]]).sum()
    return out if convolution.bias is None else out + convolution.bias[:, None, None]


@pytest.mark.parametrize(("stride", "groups", "bias"), LAYOUTS)
def test_starts_as_half_of_the_plain_convolution(stride: int, groups: int, bias: bool) -> None:
    convolution = made(stride, groups, bias)
    expected = plain(convolution, features())
    if convolution.bias is not None:
        expected = expected + convolution.bias[:, None, None]  # which has no mask
    torch.testing.assert_close(convolution(features()), expected / 2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("down", "right"), [(0, 1), (-2, 0), (1, -3)])
def test_a_constant_offset_in_whole_cells_is_a_shifted_map(stride: int, down: int, right: int) -> None:
    convolution = made(stride)
    with torch.no_grad():
        convolution.sampling_bias[: 2 * TAPS] = torch.tensor([down, right], dtype=torch.float32).repeat(TAPS)
        convolution.sampling_bias[2 * TAPS :] = 100.0  # masks of 1
    margin = F.pad(features(), (4, 4, 4, 4))
    # Cells that the plain kernel would take from its padding of zeros are cells of the map here.
    shifted = margin.roll((-down, -right), (2, 3))[..., 3:-3, 3:-3]
    expected = F.conv2d(shifted, convolution.weight, convolution.bias, stride)
    torch.testing.assert_close(convolution(features()), expected)


@torch.no_grad()
@pytest.mark.parametrize(("stride", "groups", "bias"), LAYOUTS)
def test_is_the_sum_that_is_published(stride: int, groups: int, bias: bool) -> None:
    convolution = made(stride, groups, bias, spread=0.3)
    values = features(5, 6)
    assert convolution.sampling(values)[0].abs().max() > 3  # over the border as well
    torch.testing.assert_close(convolution(values), by_hand(convolution, values), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("stride", "groups", "bias"), LAYOUTS)
def test_the_traced_way_has_the_same_values_and_gradients(
    stride: int, groups: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for is_traced in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda is_traced=is_traced: is_traced)
        convolution, values = made(stride, groups, bias, spread=0.3), features().requires_grad_()
        output = convolution(values)
        output.square().sum().backward()
        results.append([output, values.grad, *(parameter.grad for parameter in convolution.parameters())])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_autocast_and_the_layout_in_memory_change_nothing(layout: torch.memory_format) -> None:
    expected = made(spread=0.3)(features().bfloat16().float())
    convolution = made(spread=0.3).to(memory_format=layout)
    values = features().contiguous(memory_format=layout)
    with autocast(torch.device("cpu"), torch.bfloat16):
        found = convolution(values.bfloat16())
        found.float().sum().backward()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=1e-6)
    assert all(parameter.grad.isfinite().all() for parameter in convolution.parameters())
    torch.testing.assert_close(convolution(values), made(spread=0.3)(features()))


def test_has_the_very_weights_of_a_plain_one() -> None:
    convolution = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4, bias=False)
    deformable = DeformableConv2d.like(convolution)
    assert deformable.weight is convolution.weight
    assert (deformable.stride, deformable.groups, deformable.bias) == ((2, 2), 4, None)
    assert set(deformable.state_dict()) == {"weight", "sampling_weight", "sampling_bias"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_offsets_that_are_no_numbers_stay_in_the_map(value: float) -> None:
    convolution = made()
    with torch.no_grad():
        convolution.sampling_bias[: 2 * TAPS] = value
    assert convolution(features(7, 1001)).isfinite().all()
    with torch.no_grad():
        convolution.sampling_bias[:] = math.nan
    assert convolution(features()).isnan().all()


def test_stays_on_its_device() -> None:
    with FakeTensorMode(), torch.device("cuda"):
        convolution = DeformableConv2d(8, 12, stride=2, groups=4)
        found = convolution(torch.randn(2, 8, 7, 10, dtype=torch.float16))
    assert (found.device.type, found.dtype, found.shape) == ("cuda", torch.float16, (2, 12, 4, 5))


@torch.no_grad()
def test_an_onnx_file_takes_maps_of_any_size() -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    convolution = made(2, 4, spread=0.3).eval()
    sizes = {0: torch.export.Dim("n"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    program = torch.onnx.export(
        convolution, (features(),), dynamo=True, verbose=False, opset_version=18, dynamic_shapes={"features": sizes}
    )
    assert program is not None
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    for values in (features(), features(12, 5)[:1]):
        (found,) = session.run(None, {session.get_inputs()[0].name: values.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), convolution(values), rtol=1e-4, atol=1e-4)

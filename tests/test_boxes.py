import math

import pytest
import torch
from torchvision.ops import box_iou, complete_box_iou, generalized_box_iou

from otadet import boxes


def random_boxes(count: int, generator: torch.Generator) -> torch.Tensor:
    corner = torch.rand(count, 2, generator=generator) * 100
    return torch.cat((corner, corner + 1 + torch.rand(count, 2, generator=generator) * 60), 1)


def test_pairwise_iou_and_giou_are_torchvisions(generator: torch.Generator) -> None:
    a, b = random_boxes(7, generator), random_boxes(5, generator)
    torch.testing.assert_close(boxes.pairwise_iou(a, b), box_iou(a, b))
    torch.testing.assert_close(boxes.giou(a[:, None], b), generalized_box_iou(a, b))


def test_ciou_is_torchvisions(generator: torch.Generator) -> None:
    a, b = random_boxes(40, generator).double(), random_boxes(50, generator).double()
    ours = boxes.ciou(a[:, None], b)
    # Theirs has an epsilon of 1e-7 in two denominators.
    torch.testing.assert_close(ours, complete_box_iou(a, b), rtol=0, atol=1e-6)
    torch.testing.assert_close(boxes.ciou(a, a), torch.ones(40, dtype=torch.float64))


def test_ciou_by_hand() -> None:
    """Centres 1 apart in x and y, in a hull of 3 x 3; and a square in a box of twice its width, about one centre."""
    a, b = torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 3.0, 3.0])
    assert boxes.ciou(a, b).item() == pytest.approx(1 / 7 - 2 / 18)
    square, wide = torch.tensor([1.0, 0.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 4.0, 2.0])
    aspect = 4 / math.pi**2 * (math.atan(2) - math.pi / 4) ** 2
    assert boxes.ciou(square, wide).item() == pytest.approx(0.5 - aspect**2 / (0.5 + aspect))


@pytest.mark.parametrize("box", [[3.0, 3.0, 3.0, 3.0], [9.0, 9.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]], ids=str)
def test_ciou_of_boxes_without_a_size_is_finite(box: list[float]) -> None:
    empty, other = torch.tensor(box, requires_grad=True), torch.tensor([0.0, 0.0, 20.0, 20.0])
    values = torch.stack((boxes.ciou(empty, other), boxes.ciou(other, empty), boxes.ciou(empty, empty)))
    assert (values <= 0).all()
    assert values.isfinite().all()


def test_by_hand() -> None:
    a, b = torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 3.0, 3.0])
    assert boxes.iou(a, b).item() == pytest.approx(1 / 7)
    assert boxes.giou(a, b).item() == pytest.approx(1 / 7 - 2 / 9)


@pytest.mark.parametrize("side", [0.0, -5.0])
def test_empty_and_crossed_boxes_have_no_overlap_and_finite_gradients(side: float) -> None:
    box = torch.tensor([[10.0, 10.0, 10.0 + side, 10.0 + side]], requires_grad=True)
    target = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    assert boxes.iou(box, target).item() == 0
    boxes.giou(box, target).sum().backward()
    assert box.grad.isfinite().all()
    assert boxes.iou(box, box).item() == 0


def test_distances_and_back(generator: torch.Generator) -> None:
    target, points = random_boxes(6, generator), torch.rand(6, 2, generator=generator) * 100
    distances = boxes.boxes_to_distances(points, target)
    torch.testing.assert_close(boxes.distances_to_boxes(points, distances), target)


def test_clip() -> None:
    box = torch.tensor([[-5.0, 3.0, 50.0, 99.0]])
    assert boxes.clip(box, height=40, width=30).tolist() == [[0.0, 3.0, 30.0, 40.0]]


def test_the_delta_codec_on_known_numbers() -> None:
    anchor = torch.tensor([10.0, 10.0, 30.0, 50.0])
    deltas = torch.tensor([0.5, -0.25, math.log(2), 0.0])
    assert boxes.deltas_to_boxes(anchor, deltas).tolist() == pytest.approx([10.0, 0.0, 50.0, 40.0])


def test_huge_deltas_stay_finite() -> None:
    decoded = boxes.deltas_to_boxes(torch.tensor([0.0, 0.0, 8.0, 8.0]), torch.tensor([0.0, 0.0, 1e4, -1e4]))
    assert decoded.isfinite().all()
    assert (decoded[2] - decoded[0]).item() == pytest.approx(8 * 1000 / 16)

"""What a network of other classes takes over of a checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from otadet.engine.adopt import adopt, rows_by_name
from otadet.errors import UserError
from otadet.exp import FCOS, YOLOX, ResNet, RetinaNet

DENSE = {"backbone": ResNet(10, width=8, weights=None), "channels": 8, "tower_depth": 1}
FAMILIES = [FCOS(**DENSE), RetinaNet(**DENSE), YOLOX(0.33, 0.0625, depthwise=True)]
OLD, NEW = ("cat", "dog", "Person"), ("person", "fish", "cat", "crab")


def state(model: nn.Module, names: tuple[str, ...], ema: nn.Module | None = None) -> dict[str, object]:
    averaged = None if ema is None else ema.state_dict()
    return {"model": model.state_dict(), "ema": averaged, "class_names": list(names)}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_rows_of_the_class_layer_by_name(family) -> None:
    torch.manual_seed(0)
    old, new = family.build(len(OLD)), family.build(len(NEW))
    for parameter in old.parameters():
        nn.init.normal_(parameter)
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    adopted = adopt(new, "a.pth", state(old, OLD), NEW)
    assert (adopted.kept, adopted.new, adopted.misfit) == (("person", "cat"), ("fish", "crab"), "")
    theirs = old.state_dict()
    layers = 0
    for name, tensor in new.state_dict().items():
        if ".logits." in name:
            layers += 1
            assert torch.equal(tensor[[0, 2]], theirs[name][[2, 0]])
            assert torch.equal(tensor[[1, 3]], before[name][[1, 3]])
        else:
            assert torch.equal(tensor, theirs[name]), name
    assert layers == (6 if isinstance(family, YOLOX) else 2)
    assert adopted.tensors == adopted.of - layers
    assert str(adopted) == (
        f"{adopted.tensors} of the network's {adopted.of} tensors taken over; of the class layer person, cat kept by "
        "name, fish, crab from scratch"
    )


def test_rows_of_several_anchors_per_location() -> None:
    family = RetinaNet(**DENSE, anchor_scales=(4.0, 8.0))
    old, new = family.build(len(OLD)), family.build(len(NEW))
    old.head.logits.bias.data = torch.arange(6.0)
    new.head.logits.bias.data = torch.full((8,), -1.0)
    adopted = adopt(new, "a.pth", state(old, OLD), NEW)
    assert (adopted.kept, adopted.new, adopted.misfit) == (("person", "cat"), ("fish", "crab"), "")
    assert new.head.logits.bias.tolist() == [2, -1, 0, -1, 5, -1, 3, -1]


def test_as_many_other_classes_start_anew() -> None:
    """A class layer that fits by its shape means other things."""
    family = FAMILIES[0]
    old, new = family.build(3), family.build(3)
    nn.init.normal_(old.head.logits.weight)
    before = new.head.logits.weight.clone()
    assert adopt(new, "a.pth", state(old, OLD), ("a", "b", "c")).new == ("a", "b", "c")
    assert torch.equal(new.head.logits.weight, before)


def test_the_same_classes_in_another_order() -> None:
    family = FAMILIES[0]
    old, new = family.build(3), family.build(3)
    nn.init.normal_(old.head.logits.weight)
    adopted = adopt(new, "a.pth", state(old, OLD), OLD[::-1])
    assert torch.equal(new.head.logits.weight, old.head.logits.weight.flip(0))
    assert (adopted.new, adopted.misfit) == ((), "")


def test_the_same_classes_are_all_there_is_and_the_average_is_preferred() -> None:
    family = FAMILIES[0]
    old, average, new = (family.build(3) for _ in range(3))
    nn.init.normal_(average.head.logits.weight)
    adopted = adopt(new, "a.pth", state(old, OLD, average), OLD)
    assert torch.equal(new.head.logits.weight, average.head.logits.weight)
    assert str(adopted) == f"{adopted.of} of the network's {adopted.of} tensors taken over"


def test_what_does_not_fit_is_said() -> None:
    source = nn.ModuleDict({"body": nn.Linear(3, 3), "out": nn.Linear(3, 2)})
    target = nn.ModuleDict({"body": nn.Linear(3, 3), "out": nn.Linear(3, 5)})
    kept = target["out"].weight.clone()
    adopted = adopt(target, "a.pth", state(source, ("a", "b")), tuple("abcde"))
    assert torch.equal(target["body"].weight, source["body"].weight)
    assert torch.equal(target["out"].weight, kept)
    assert "2 of another shape (out.weight (2, 3) for (5, 3), out.bias (2,) for (5,))" in str(adopted)


def test_a_bias_is_not_taken_over_without_its_weight() -> None:
    narrow, wide = YOLOX(0.33, 0.0625).build(2), YOLOX(0.33, 0.125).build(2)
    for parameter in narrow.parameters():
        nn.init.normal_(parameter)
    before = wide.head.logits[0].bias.clone()
    adopted = adopt(wide, "a.pth", state(narrow, ("a", "b")), ("b", "c"))
    assert (adopted.kept, adopted.new) == ((), ("b", "c"))
    assert torch.equal(wide.head.logits[0].bias, before)
    assert "head.logits.0.weight" in adopted.misfit or "of another shape" in adopted.misfit


def test_something_unrelated_is_an_error() -> None:
    with pytest.raises(UserError, match=r"a\.pth: no tensor of it fits"):
        adopt(nn.Sequential(nn.Linear(3, 2)), "a.pth", state(nn.Linear(3, 2), ("a", "b")), ("a", "b"))


def test_exact_names_win_over_those_of_another_case() -> None:
    assert rows_by_name(["Cat", "cat", "CAT"], ["cat", "cAt", "dog"]) == [(0, 1), (1, 0)]

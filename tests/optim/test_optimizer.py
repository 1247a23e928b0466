import pytest
import torch
from torch import nn

from otadet.errors import UserError
from otadet.optim.optimizer import SGD, AdamW, parameter_groups


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


class Scaled(nn.Module):
    """A convolution, a norm, and a scale that is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
        self.scale = nn.Parameter(torch.ones(5))


@pytest.mark.parametrize(
    ("choice", "spared"),
    [
        ("all", set()),
        ("no_norms", {"norm.weight", "norm.bias"}),
        ("weights", {"norm.weight", "norm.bias", "conv.bias", "scale"}),
    ],
)
def test_which_parameters_decay(choice, spared):
    network = Scaled()
    groups = parameter_groups(network, 0.1, choice)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0][: len(groups)]
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    found = {name: decay[id(parameter)] for name, parameter in network.named_parameters()}
    assert found == {name: 0.0 if name in spared else 0.1 for name in found}


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.SyncBatchNorm(4),
        nn.GroupNorm(2, 4),
        nn.LayerNorm((4, 2, 2)),
        nn.InstanceNorm2d(4, affine=True),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_every_kind_of_norm_is_a_norm_whatever_its_axes(norm):
    decayed, plain = parameter_groups(nn.Sequential(nn.Conv2d(4, 4, 1), norm), 0.1, "no_norms")
    assert [len(decayed["params"]), len(plain["params"])] == [2, 2]


def test_another_choice_of_decayed_parameters_is_an_error():
    with pytest.raises(ValueError, match="weight_decay_on 'norms': choose 'all' or 'no_norms' or 'weights'"):
        parameter_groups(model(), 0.1, "norms")


def test_one_group_when_everything_decays():
    (group,) = parameter_groups(model(), 0.1)
    assert len(group["params"]) == 6


def test_frozen_parameters_are_left_out():
    network = model()
    network[0].requires_grad_(False)
    (group,) = parameter_groups(network, 0.1)
    assert all(parameter.requires_grad for parameter in group["params"])
    assert len(group["params"]) == 4


def test_a_model_that_is_all_frozen_is_an_error():
    with pytest.raises(UserError, match="frozen"):
        parameter_groups(model().requires_grad_(False), 0.1)


@pytest.mark.parametrize(
    ("part", "kind"), [(SGD(lr=0.3, momentum=0.8), torch.optim.SGD), (AdamW(lr=0.3), torch.optim.AdamW)]
)
def test_kinds(part, kind):
    optimizer = part.build(model())
    assert type(optimizer) is kind
    assert {group["lr"] for group in optimizer.param_groups} == {0.3}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0}, r"^SGD: lr 0: must be above 0"),
        ({"lr": float("nan")}, r"^SGD: lr nan: must be finite"),
        ({"momentum": 1}, r"^SGD: momentum 1: must be at least 0 and below 1"),
        ({"weight_decay": -1.0}, r"^SGD: weight_decay -1.0: must be at least 0"),
        ({"weight_decay_on": "norms"}, r"^SGD: weight_decay_on = 'norms': choose all or no_norms or weights"),
        ({"lr": "0.1"}, r"^SGD: lr = '0.1': expected a number"),
    ],
)
def test_values_that_cannot_work_are_named(values, message):
    with pytest.raises(UserError, match=message):
        SGD(**values)


class WithBackbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)


@pytest.mark.parametrize("part", [SGD(lr=0.1, backbone_factor=0.25), AdamW(lr=0.1, backbone_factor=0.25)])
def test_the_backbone_has_a_rate_of_its_own(part):
    network = WithBackbone()
    built = part.build(network)
    rates = {id(parameter): group["lr"] for group in built.param_groups for parameter in group["params"]}
    found = {name: rates[id(parameter)] for name, parameter in network.named_parameters()}
    assert found == {name: 0.025 if name.startswith("backbone") else 0.1 for name in found}
    decays = {group["weight_decay"] for group in built.param_groups}
    assert decays == ({1e-4} if isinstance(part, SGD) else {0.05, 0.0})
    # The log says the rate of the first one.
    assert built.param_groups[0]["lr"] == 0.1


def test_a_frozen_backbone_has_no_rate():
    network = WithBackbone()
    network.backbone.requires_grad_(False)
    assert [group["lr"] for group in SGD(lr=0.1, backbone_factor=0.25).build(network).param_groups] == [0.1]


def test_a_network_without_a_backbone_cannot_have_a_rate_for_it():
    with pytest.raises(UserError, match=r"backbone_factor 0\.5: the Sequential has no `backbone`"):
        SGD(backbone_factor=0.5).build(model())

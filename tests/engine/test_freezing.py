"""Parts that stay as they are in a training."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from otadet.engine.freezing import freeze, parameters_said, still_norms
from otadet.errors import UserError
from tests.helpers.toy_training import ToyModel, toy_trainer


class WithNorms(ToyModel):
    """A backbone and a head, each with a batch norm."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.head = nn.BatchNorm2d(3)

    def forward(self, images):
        return super().forward(self.head(self.backbone(images)))


def evaluate(model: nn.Module) -> dict[str, float]:
    model.eval()
    return {"AP": 0.0}


@pytest.mark.parametrize(("parts", "all_norms"), [((), False), (("backbone",), False), ((), True)])
def test_what_stays(tmp_path: Path, parts: tuple[str, ...], all_norms: bool) -> None:
    torch.manual_seed(0)
    model = WithNorms()
    before = copy.deepcopy(model.state_dict())
    freeze(model, parts)
    still = still_norms(model, parts, all_of_them=all_norms)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    trainer = toy_trainer(
        tmp_path,
        model=model,
        optimizer=torch.optim.SGD(trained, 0.1),
        still_norms=still,
        evaluate=evaluate,
        iterations=4,
        eval_every=2,
    )
    assert trainer.train()
    changed = {
        name.removesuffix(".num_batches_tracked")
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    statistics = {"backbone.1.running_mean", "head.running_mean"} & changed
    if all_norms:
        assert not statistics
    else:
        assert statistics == ({"head.running_mean"} if parts else {"backbone.1.running_mean", "head.running_mean"})
    assert ("backbone.0.weight" in changed) is (not parts)
    assert "out.weight" in changed


def test_it_is_said_how_many() -> None:
    model = WithNorms()
    freeze(model, ("backbone",))
    total = sum(parameter.numel() for parameter in model.parameters())
    assert parameters_said(model) == f"{total:,} parameters; {total - 18:,} train, 18 are frozen (backbone 18)"


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(UserError, match="freeze neck: the ToyModel has no `neck`"):
        freeze(ToyModel(), ("neck",))


def test_norms_that_are_not_there() -> None:
    with pytest.raises(UserError, match="freeze_norms true: the ToyModel has no batch norm"):
        still_norms(ToyModel(), (), all_of_them=True)

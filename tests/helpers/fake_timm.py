"""A stand-in for timm, with the contract of it that otadet relies on and a few networks of a thousand weights."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn


class NormAct(nn.BatchNorm2d):
    """As many norms of timm's: with the activation inside."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).relu()


class Classifier(nn.Module):
    """Stages of strides 2 to 32 of 4, 8, ... channels, and a layer of 10 classes."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(3 if not stage else 2**stage * 2, 2**stage * 4, kernel, 2, kernel // 2),
                    NormAct(2**stage * 4),
                )
                for stage in range(5)
            )
        )
        self.head = nn.Linear(64, 10)
        self.unused = nn.Parameter(torch.zeros(3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stages(images).mean((2, 3)))


class Maps(nn.Module):
    """What features_only makes of it: `stages.0` has become `stages_0`."""

    def __init__(self, whole: Classifier, reductions: tuple[int, ...], out_indices: tuple[int, ...], form: str) -> None:
        super().__init__()
        for stage, module in enumerate(whole.stages):
            self.add_module(f"stages_{stage}", module)
        self.unused = nn.Parameter(torch.zeros(3))
        self.form = form
        self.out_indices = out_indices
        self.feature_info = SimpleNamespace(info=[{"reduction": stride} for stride in reductions])

    def forward(self, images: Tensor) -> list[Tensor]:
        if self.form == "fixed":
            assert images.shape[-2:] == (224, 224), f"Input height ({images.shape[-2]}) doesn't match model (224)."
        maps = []
        for stage in range(5):
            images = getattr(self, f"stages_{stage}")(images)
            maps.append(images.permute(0, 2, 3, 1) if self.form == "last" else images)
        return [maps[index] for index in self.out_indices]


class Wrapped(nn.Module):
    """As timm wraps networks that it does not take apart: all names begin with that of the wrapped one."""

    def __init__(self, maps: Maps, inside: str) -> None:
        super().__init__()
        self.add_module(inside, maps)
        self.inside = inside
        self.feature_info = maps.feature_info

    def forward(self, images: Tensor) -> list[Tensor]:
        return getattr(self, self.inside)(images)


@dataclass(frozen=True)
class Config:
    """What timm knows of some weights."""

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    has_weights: bool = True


NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "last": {"form": "last"},
    "strict": {"form": "fixed", "option": "strict_img_size"},
    "fixed": {"form": "fixed"},
    "wrapped": {"inside": "body"},
    "runs": {"at_start": lambda whole: whole.stages(torch.zeros(1, 3, 64, 64))},
    "counts": {"at_start": lambda whole: torch.arange(3).tolist()},
    "flat": {"reductions": (16,) * 5},
    "lying": {"reductions": (4, 8, 16, 32, 64)},
    "valid": {"kernel": 2},
    "whole": {"maps": False},
    "bare": {"weights": False},
}
"""Name -> what is special about it."""


def create_model(name: str, pretrained: bool = False, features_only: bool = False, **options: Any) -> nn.Module:
    how = NETWORKS[name.partition(".")[0]]
    out_indices = options.pop("out_indices", (0, 1, 2, 3, 4))
    if options and list(options) != [how.get("option")]:
        raise TypeError(f"got an unexpected keyword argument {next(iter(options))!r}")
    if features_only and not how.get("maps", True):
        raise RuntimeError("features_only not implemented")
    whole = Classifier(how.get("kernel", 3))
    how.get("at_start", id)(whole)
    if pretrained:
        torch.manual_seed(7)
        for parameter in whole.parameters():
            nn.init.normal_(parameter)
    form = "plain" if options else how.get("form", "plain")
    if not features_only:
        return whole
    maps = Maps(whole, how.get("reductions", (2, 4, 8, 16, 32)), out_indices, form)
    return Wrapped(maps, how["inside"]) if "inside" in how else maps


def get_pretrained_cfg(name: str, allow_unregistered: bool = True) -> Config:
    return Config(has_weights=NETWORKS[name.partition(".")[0]].get("weights", True))


def convert_sync_batchnorm(module: nn.Module) -> nn.Module:
    module.is_synchronized = True
    return module


def install(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Put it in the place of timm, installed or not, until the end of the test."""
    fake, layers = ModuleType("timm"), ModuleType("timm.layers")
    layers.convert_sync_batchnorm = convert_sync_batchnorm
    fake.__version__, fake.layers, fake.create_model = "0.fake", layers, create_model
    fake.get_pretrained_cfg = get_pretrained_cfg
    fake.is_model = NETWORKS.__contains__
    fake.list_models = lambda: list(NETWORKS)
    fake.list_pretrained = lambda pattern: [name for name in ("plain.in1k", "plain.in12k") if fnmatch(name, pattern)]
    monkeypatch.setitem(sys.modules, "timm", fake)
    monkeypatch.setitem(sys.modules, "timm.layers", layers)
    return fake

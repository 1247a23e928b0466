"""Settings that make the network of an experiment small, whatever its family."""

from __future__ import annotations

from otadet.exp import YOLOX, BaseExp

SMALL = ["model.backbone.weights", "none", "model.channels", "16", "model.tower_depth", "1"]
DEPTH = ["model.backbone.depth", "10", "model.backbone.width", "8"]
GROUPED = ["model.backbone.depth", "26", "model.backbone.width", "16"]
"""Of a ResNeXt, which keeps its groups."""


def small_network(exp: BaseExp) -> list[str]:
    """Pairs for `override`."""
    if isinstance(exp.model, YOLOX):
        return ["model.depth", "0.33", "model.width", "0.125"]
    return [*SMALL, *(DEPTH if exp.model.backbone.groups == 1 else GROUPED)]

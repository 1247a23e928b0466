"""torchvision's one-stage detectors with random weights that find something, and the same as otadet's."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from otadet.apps.conversions import Wish, torchvision_draft
from otadet.convert.coco import COCO_IDS
from otadet.convert.tensors import fit
from otadet.convert.torchvision import named
from otadet.inference.pipeline import Pipeline

SHORT, LONG = 128, 213
KINDS = ("fcos_resnet50_fpn", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2")
BACKGROUND_ALONE = [row for row in range(91) if row not in COCO_IDS]
"""Rows of a class layer that nobody is trained for."""


def random_detector(kind: str, seed: int = 0) -> nn.Module:
    """With 91 classes, of which those that COCO does not have are never found, and an input of 128 pixels."""
    torch.manual_seed(seed)
    build = getattr(detection, kind)
    return lively(build(weights=None, weights_backbone=None, min_size=SHORT, max_size=LONG))


def small_fcos(num_classes: int) -> nn.Module:
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        returned_layers=[2, 3, 4],
        extra_blocks=detection.fcos.LastLevelP6P7(256, 256),
    )
    return lively(detection.FCOS(backbone, num_classes, min_size=64, max_size=107))


@torch.no_grad()
def lively(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if hasattr(module, "running_var"):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    layer = network.head.classification_head.cls_logits
    layer.weight.normal_(0, 0.02)
    layer.bias.fill_(-2)
    if len(layer.bias) % 91 == 0:
        layer.bias.view(-1, 91)[:, BACKGROUND_ALONE] = -50
    network.head.regression_head.bbox_reg.weight.normal_(0, 0.005)
    if hasattr(network.head.regression_head, "bbox_ctrness"):
        network.head.regression_head.bbox_reg.bias.fill_(2)
    return network.eval()


def converted(state: dict[str, Tensor], size: int = SHORT, norm_eps: float | None = None) -> Pipeline:
    """What `otadet convert` makes of it, without the files."""
    path = Path("torchvision.pth")
    draft = torchvision_draft(named(state, path), path, Wish(size=size, norm_eps=norm_eps), "ours")
    with torch.device("meta"):
        model = draft.exp.build_model(len(draft.class_names))
    fitted = fit(model, draft.state, path)
    assert fitted.unused == ()
    model.load_state_dict(draft.finish(fitted.state), assign=True)
    return draft.exp.build_pipeline(model.eval(), draft.class_names)

"""The two that are compared: otadet's training as it is, and torchvision's FCOS in a plain loop around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.fcos import FCOS
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from otadet.apps.compose import build_trainer
from otadet.data.batch import Batch
from otadet.engine.precision import autocast
from otadet.engine.stop import StopRequest
from otadet.exp import FCOS as FCOSFamily
from otadet.exp import BaseExp, CocoData, InputSpec, Iterations, Letterbox, ResNet, Run
from otadet.models.backbones.resnet import ResNet as ResNetModule
from otadet.structures import Detections

from .pictures import write_pictures

STREAM = 100_000
"""Iterations of the training that the steps are taken from: longer than any measurement."""


@dataclass(frozen=True)
class Setup:
    """What is trained."""

    size: tuple[int, int]
    """(height, width) of the input in pixels, multiples of 32."""
    batch: int
    classes: int = 80
    boxes: int = 7
    """Of each image; COCO has 7.3 on average."""
    depth: int = 50
    frozen: bool = True
    """The paper's setting, and torchvision's, for a pretrained ResNet: all batch norms are frozen, and the stem and the
    first stage do not train. False: all trains, as from scratch."""
    workers: int = 0


class Ours:
    """The detector, loss, optimizer, loader and `TrainStep` of `exps/ota_fcos_r50.py`, made as training makes them."""

    def __init__(self, setup: Setup, device: torch.device, amp_dtype: str | None, folder: Path) -> None:
        """amp_dtype: of the experiment; None: fp32. folder: gets the pictures, and weights for a frozen ResNet."""
        write_pictures(folder / "pictures", setup.boxes, setup.classes)
        self.device = device
        self.exp = _experiment(setup, amp_dtype, folder)
        dataset = self.exp.build_train_dataset()
        model = self.exp.build_model(setup.classes).to(device)
        trainer = build_trainer(self.exp, model, dataset, None, device, folder / "run")
        self.train_step, self.loader = trainer.step, trainer.loader
        self.amp_dtype = trainer.step.amp_dtype
        self.normalize, self.postprocess = self.exp.input.pixel_norm().to(device), self.exp.postprocess
        self._stop = StopRequest(quiet=True)
        self._iteration = 0

    @property
    def model(self) -> nn.Module:
        return self.train_step.model

    def batches(self) -> Iterator[Batch]:
        """Those of the training, on the host."""
        return iter(self.loader(0))

    def some_batches(self, count: int = 2) -> list[Batch]:
        return list(islice(self.batches(), count))

    def step(self, batch: Batch) -> None:
        self.train_step.network.train()
        self.train_step(batch, self._iteration, self._stop)
        self._iteration += 1

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """Images (N, 3, H, W) uint8 on the host -> detections on the device."""
        self.train_step.model.eval()
        images = self.normalize(images.to(self.device, non_blocking=True))
        with autocast(self.device, self.amp_dtype):
            predictions, anchors = self.train_step.model(images)
        return self.postprocess(predictions, anchors)

    def compile(self) -> None:
        """The network only: the loss depends on the number of boxes."""
        self.train_step.model.compile()


class Theirs:
    """torchvision's `fcos_resnet50_fpn`, with the weights, optimizer, precision and memory format of the other one.

    Its images arrive as 8 bits too and become floats on the device; they are not resized, because they have their size.
    What the usual training loop around it does beside, such as looking at the loss, is left out.
    """

    def __init__(self, ours: Ours, setup: Setup) -> None:
        self.device, self.amp_dtype = ours.device, ours.amp_dtype
        self.model = build_fcos(setup, ours.model, ours.exp).to(ours.device, memory_format=_memory_format(ours.model))
        self.optimizer = ours.exp.build_optimizer(self.model)
        self.scaler = torch.amp.GradScaler(ours.device.type, enabled=ours.amp_dtype == torch.float16)

    def step(self, batch: Batch) -> None:
        self.model.train()
        batch = batch.to(self.device)
        targets = [{"boxes": truth.boxes, "labels": truth.labels} for truth in batch.truths]
        with autocast(self.device, self.amp_dtype):
            losses = self.model(list(batch.images.float().div_(255)), targets)
        self.scaler.scale(sum(losses.values())).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Images (N, 3, H, W) uint8 on the host -> detections on the device."""
        self.model.eval()
        images = images.to(self.device, non_blocking=True).float().div_(255)
        with autocast(self.device, self.amp_dtype):
            return self.model(list(images))

    def compile(self) -> None:
        """The same parts as of the other one."""
        self.model.backbone.compile()
        self.model.head.compile()


def build_fcos(setup: Setup, ours: nn.Module, exp: BaseExp) -> FCOS:
    """What `torchvision.models.detection.fcos_resnet50_fpn` builds, on the ResNet of `ours` and with its weights."""
    body = ResNetModule(setup.depth, FrozenBatchNorm2d if setup.frozen else nn.BatchNorm2d)
    backbone = _resnet_fpn_extractor(
        body,
        3 if setup.frozen else 5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(ours.neck.p6.in_channels, 256),
    )
    model = FCOS(
        backbone,
        setup.classes,
        min_size=min(setup.size),
        max_size=max(setup.size),
        image_mean=[value / 255 for value in exp.input.mean],
        image_std=[value / 255 for value in exp.input.std],
        score_thresh=exp.postprocess.score_threshold,
        nms_thresh=exp.postprocess.nms_iou,
        detections_per_img=exp.postprocess.max_detections,
        topk_candidates=exp.postprocess.topk_per_level,
    )
    # Images of the right size are resampled to the same size otherwise, which would be counted against it.
    model.transform.resize = lambda image, target=None: (image, target)
    model.load_state_dict(_renamed(ours.state_dict()))
    return model


_NAMES = {
    "backbone.": "backbone.body.",
    "neck.lateral.{}.": "backbone.fpn.inner_blocks.{}.0.",
    "neck.output.{}.": "backbone.fpn.layer_blocks.{}.0.",
    "neck.p6.": "backbone.fpn.extra_blocks.p6.",
    "neck.p7.": "backbone.fpn.extra_blocks.p7.",
    "head.class_tower.": "head.classification_head.conv.",
    "head.box_tower.": "head.regression_head.conv.",
    "head.logits.": "head.classification_head.cls_logits.",
    "head.distances.": "head.regression_head.bbox_reg.",
    "head.quality.": "head.regression_head.bbox_ctrness.",
}
"""The beginnings of otadet's names of weights, and torchvision's; {} is a level."""


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {ours.format(level): theirs.format(level) for ours, theirs in _NAMES.items() for level in range(3)}
    renamed = {}
    for name, tensor in state.items():
        beginning = next((ours for ours in names if name.startswith(ours)), None)
        if beginning is not None:  # torchvision has no learned scale per level
            renamed[names[beginning] + name.removeprefix(beginning)] = tensor
    return renamed


def _memory_format(model: nn.Module) -> torch.memory_format:
    """The one that the model's convolutions are in."""
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
    last = all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    return torch.channels_last if last else torch.preserve_format


def _experiment(setup: Setup, amp_dtype: str | None, folder: Path) -> BaseExp:
    """`exps/ota_fcos_r50.py`, whose fields are the defaults, with random weights and the pictures' data."""
    weights = str(_random_weights(setup.depth, folder / "resnet.pth")) if setup.frozen else None
    exp = BaseExp()
    exp.data = CocoData(str(folder / "pictures"), train_json="pictures.json", train_images="images")
    exp.input = InputSpec(Letterbox(setup.size))
    exp.model = FCOSFamily(ResNet(setup.depth, weights=weights))
    exp.length = Iterations(STREAM)
    exp.run = Run(setup.batch, setup.workers, amp=amp_dtype is not None, amp_dtype=amp_dtype)
    exp.check()
    return exp


def _random_weights(depth: int, path: Path) -> Path:
    """A file that stands for a pretrained ResNet."""
    network = ResNetModule(depth, FrozenBatchNorm2d)
    state = network.state_dict()
    last_norm = "bn3.weight" if depth >= 50 else "bn2.weight"
    for name, tensor in state.items():
        if name.endswith(last_norm):
            # Without statistics of its own a frozen norm lets each block double the variance.
            tensor.fill_(0.2)
    torch.save(state, path)
    return path

"""Detectron2's RetinaNet and the released OTA's FCOS, written after their descriptions, with their names of tensors.

Nothing of otadet is in here: it is what converted checkpoints are compared with.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms

STRIDES = (8, 16, 32, 64, 128)
MEAN_BGR = (103.53, 116.28, 123.675)


class Frozen(nn.Module):
    """A batch norm whose four rows are buffers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.rand(channels) + 0.5)
        self.register_buffer("bias", torch.randn(channels) * 0.1)
        self.register_buffer("running_mean", torch.randn(channels) * 0.1)
        self.register_buffer("running_var", torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight / torch.sqrt(self.running_var + 1e-5)
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


class Convolution(nn.Conv2d):
    """With its norm inside."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride, size // 2, bias=False)
        self.norm = Frozen(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class Bottleneck(nn.Module):
    """Halves the map in its first convolution, as MSRA's."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        self.shortcut = Convolution(inputs, 4 * inner, 1, stride) if inputs != 4 * inner else nn.Identity()
        self.conv1 = Convolution(inputs, inner, 1, stride)
        self.conv2 = Convolution(inner, inner, 3)
        self.conv3 = Convolution(inner, 4 * inner, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.relu(self.conv3(inner) + self.shortcut(x))


class BottomUp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv1 = Convolution(3, width, 7, 2)
        inputs = width
        for stage in range(2, 6):
            inner = width * 2 ** (stage - 2)
            first = Bottleneck(inputs, inner, 1 if stage == 2 else 2)
            self.add_module(f"res{stage}", nn.Sequential(first, Bottleneck(4 * inner, inner, 1)))
            inputs = 4 * inner

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.max_pool2d(F.relu(self.stem.conv1(x)), 3, 2, 1)
        maps = {}
        for stage in range(2, 6):
            x = maps[f"res{stage}"] = self.get_submodule(f"res{stage}")(x)
        return maps


class Pyramid(nn.Module):
    def __init__(self, width: int, channels: int, from_p5: bool) -> None:
        super().__init__()
        self.bottom_up = BottomUp(width)
        self.from_p5 = from_p5
        for level, inputs in ((3, 8 * width), (4, 16 * width), (5, 32 * width)):
            self.add_module(f"fpn_lateral{level}", nn.Conv2d(inputs, channels, 1))
            self.add_module(f"fpn_output{level}", nn.Conv2d(channels, channels, 3, padding=1))
        self.top_block = nn.Module()
        self.top_block.p6 = nn.Conv2d(channels if from_p5 else 32 * width, channels, 3, 2, 1)
        self.top_block.p7 = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.bottom_up(x)
        merged = self.fpn_lateral5(maps["res5"])
        levels = [self.fpn_output5(merged)]
        for level in (4, 3):
            lateral = self.get_submodule(f"fpn_lateral{level}")(maps[f"res{level}"])
            merged = lateral + F.interpolate(merged, scale_factor=2, mode="nearest")
            levels.insert(0, self.get_submodule(f"fpn_output{level}")(merged))
        p6 = self.top_block.p6(levels[-1] if self.from_p5 else maps["res5"])
        return [*levels, p6, self.top_block.p7(F.relu(p6))]


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1) + 0.5)


class Head(nn.Module):
    """Two towers; with GroupNorm, an IoU and a scale per level it is OTA's."""

    def __init__(self, channels: int, depth: int, classes: int, is_ota: bool) -> None:
        super().__init__()
        shapes = 1 if is_ota else 9
        for name in ("cls_subnet", "bbox_subnet"):
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, channels, 3, padding=1))
                layers += [nn.GroupNorm(32, channels)] if is_ota else []
                layers.append(nn.ReLU())
            self.add_module(name, nn.Sequential(*layers))
        self.cls_score = nn.Conv2d(channels, shapes * classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(channels, shapes * 4, 3, padding=1)
        if is_ota:
            self.ious_pred = nn.Conv2d(channels, 1, 3, padding=1)
            self.scales = nn.ModuleList(Scale() for _ in STRIDES)


class Network(nn.Module):
    """Pictures (N, 3, H, W) in BGR, 0-255 -> per level class logits and boxes, and for OTA the IoU logits."""

    def __init__(self, classes: int, *, is_ota: bool, width: int = 8, channels: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.classes, self.is_ota = classes, is_ota
        self.backbone = Pyramid(width, channels, from_p5=is_ota)
        self.head = Head(channels, depth, classes, is_ota)

    @torch.no_grad()
    def forward(self, bgr: Tensor) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        levels = self.backbone(bgr - torch.tensor(MEAN_BGR)[:, None, None])
        outputs = []
        for number, (level, stride) in enumerate(zip(levels, STRIDES, strict=True)):
            logits = rows(self.head.cls_score(self.head.cls_subnet(level)), self.classes)
            box_features = self.head.bbox_subnet(level)
            deltas = rows(self.head.bbox_pred(box_features), 4)
            if self.is_ota:
                distances = F.relu(deltas * self.head.scales[number].scale) * stride
                boxes = ltrb_to_boxes(points(level, stride), distances)
                outputs.append((logits, boxes, rows(self.head.ious_pred(box_features), 1)))
            else:
                outputs.append((logits, deltas_to_boxes(anchor_boxes(level, stride), deltas), None))
        return outputs

    @torch.no_grad()
    def detect(self, bgr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels of the first picture, as both programs choose them."""
        boxes, scores, labels = [], [], []
        for logits, level_boxes, iou in self(bgr):
            probability = logits[0].sigmoid()
            if iou is not None:
                probability = (probability * iou[0].sigmoid()).sqrt()
            best, place = probability.flatten().sort(descending=True)
            best, place = best[:1000], place[:1000]
            place, best = place[best > 0.05], best[best > 0.05]
            boxes.append(level_boxes[0][place // self.classes])
            scores.append(best)
            labels.append(place % self.classes)
        all_boxes, all_scores, all_labels = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
        kept = batched_nms(all_boxes, all_scores, all_labels, 0.6 if self.is_ota else 0.5)[:100]
        return all_boxes[kept], all_scores[kept], all_labels[kept]


def rows(output: Tensor, per_anchor: int) -> Tensor:
    """(N, A * X, H, W) -> (N, H * W * A, X): the anchors of a place follow each other."""
    number, _, height, width = output.shape
    return output.view(number, -1, per_anchor, height, width).permute(0, 3, 4, 1, 2).reshape(number, -1, per_anchor)


def points(level: Tensor, stride: int) -> Tensor:
    height, width = level.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2).float()


def anchor_boxes(level: Tensor, stride: int) -> Tensor:
    """Three sizes from four strides on, each with three ratios of height to width, around each point."""
    return (points(level, stride).repeat(1, 2)[:, None] + cell_anchors(stride)).reshape(-1, 4)


def cell_anchors(stride: int) -> Tensor:
    cells = []
    for size in (4 * stride * 2 ** (octave / 3) for octave in range(3)):
        for ratio in (0.5, 1.0, 2.0):
            width = math.sqrt(size**2 / ratio)
            cells.append((-width / 2, -width * ratio / 2, width / 2, width * ratio / 2))
    return torch.tensor(cells)


def deltas_to_boxes(anchors: Tensor, deltas: Tensor) -> Tensor:
    width, height = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    x, y = anchors[:, 0] + width / 2, anchors[:, 1] + height / 2
    dx, dy, dw, dh = deltas.unbind(-1)
    most = math.log(1000 / 16)
    x, y = x + dx * width, y + dy * height
    width, height = width * dw.clamp(max=most).exp(), height * dh.clamp(max=most).exp()
    return torch.stack((x - width / 2, y - height / 2, x + width / 2, y + height / 2), -1)


def ltrb_to_boxes(places: Tensor, distances: Tensor) -> Tensor:
    return torch.cat((places - distances[..., :2], places + distances[..., 2:]), -1)


@torch.no_grad()
def random_network(classes: int, *, is_ota: bool) -> Network:
    """With weights that make the outputs vary, and no score certain."""
    torch.manual_seed(0)
    network = Network(classes, is_ota=is_ota)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    nn.init.normal_(network.backbone.bottom_up.stem.conv1.weight, std=0.002)
    for output, spread in ((network.head.cls_score, 1.5), (network.head.bbox_pred, 0.3)):
        nn.init.zeros_(output.bias)
        levels = network.backbone(torch.randint(0, 256, (1, 3, 96, 160)).float() - 116)
        tower = network.head.cls_subnet if output is network.head.cls_score else network.head.bbox_subnet
        output.weight.data *= spread / torch.cat([output(tower(level)).flatten() for level in levels]).std()
    nn.init.constant_(network.head.bbox_pred.bias, 1.0 if is_ota else 0.0)
    nn.init.normal_(network.head.cls_score.bias, -3.0)
    return network.eval()


def write_zoo_file(network: nn.Module, path: Path, protocol: int = 3, **more: Tensor) -> Path:
    """As the model zoo has them: a pickle of numpy arrays."""
    state = {name: tensor.numpy() for name, tensor in {**network.state_dict(), **more}.items()}
    path.write_bytes(pickle.dumps({"model": state, "__author__": "Detectron2 Model Zoo"}, protocol))
    return path

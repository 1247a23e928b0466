"""A network, a loss and data with the interfaces of the real ones, small enough to train in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from otadet.data.batch import Batch
from otadet.engine.trainer import Trainer, TrainSettings
from otadet.optim.optimizer import build_optimizer
from otadet.optim.schedule import StepSchedule
from otadet.structures import GroundTruth

CPU = torch.device("cpu")


class ToyModel(nn.Module):
    """Convolution, norm, dropout (which draws random numbers) and one linear output an image."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Dropout(dropout))
        self.out = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return self.out(self.body(images).mean((2, 3))), None


class ToyLoss(nn.Module):
    """Two terms of the distance to the first corner of each image's first box."""

    def forward(self, predictions: Tensor, anchors: None, truths: list[GroundTruth]) -> dict[str, Tensor]:
        targets = torch.stack([truth.boxes[0, :2] for truth in truths])
        error = predictions.float() - targets
        return {"near": error.abs().mean(), "far": error.square().mean()}


class Scale(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float() / 255


def toy_batches(iterations: int, start: int = 0, *, size: int = 4, share: slice = slice(None)) -> Iterator[Batch]:
    """Batches that are a function of the iteration alone. share: the images of one process."""
    for iteration in range(start, iterations):
        generator = torch.Generator().manual_seed(iteration)
        images = torch.randint(0, 256, (size, 3, 8, 8), dtype=torch.uint8, generator=generator)
        boxes = torch.rand(size, 1, 4, generator=generator)
        ids = list(range(iteration * size, (iteration + 1) * size))[share]
        yield Batch(
            images=images[share],
            truths=[GroundTruth(box, torch.zeros(1, dtype=torch.int64)) for box in boxes[share]],
            image_ids=ids,
            file_names=[f"image {number}.png" for number in ids],
            original_sizes=[(8, 8)] * len(ids),
            scales=[(1.0, 1.0)] * len(ids),
        )


def toy_trainer(
    output: Path, *, seed: int = 0, model: nn.Module | None = None, loss: nn.Module | None = None, **options
) -> Trainer:
    """A trainer with momentum, weight decay, warm-up and a step; `options` are settings or arguments of Trainer."""
    names = TrainSettings.__dataclass_fields__
    settings = TrainSettings(
        **{"iterations": 8, "log_every": 2, **{name: value for name, value in options.items() if name in names}}
    )
    arguments = {name: value for name, value in options.items() if name not in names}
    torch.manual_seed(seed)
    model = model or ToyModel()
    arguments.setdefault("optimizer", build_optimizer(model, "sgd", lr=0.1, weight_decay=0.01))
    arguments.setdefault("loader", lambda start: toy_batches(settings.iterations, start))
    return Trainer(
        model,
        loss or ToyLoss(),
        arguments.pop("optimizer"),
        StepSchedule(steps=(6,), warmup=3),
        arguments.pop("loader"),
        Scale(),
        settings,
        output=output,
        device=CPU,
        class_names=arguments.pop("class_names", ["toy"]),
        **arguments,
    )

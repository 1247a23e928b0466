"""A network, a loss and data with the interfaces of the real ones, small enough to train in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from otadet.data.batch import Batch
from otadet.engine.settings import TrainSettings
from otadet.engine.train_step import TrainStep
from otadet.engine.trainer import Trainer
from otadet.optim.optimizer import SGD
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
    output: Path,
    *,
    seed: int = 0,
    model: nn.Module | None = None,
    loss: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    loader: Callable[[int], Iterable[Batch]] | None = None,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    class_names: Sequence[str] = ("toy",),
    parts: Mapping[str, Any] | None = None,
    amp_dtype: torch.dtype | None = None,
    channels_last: bool = False,
    grad_clip: float | None = None,
    ema_decay: float | None = None,
    still_norms: Collection[str] = (),
    accumulate: int = 1,
    **settings: Any,
) -> Trainer:
    """A trainer with momentum, weight decay, warm-up and a step of the rate; `settings` are those of TrainSettings."""
    chosen = TrainSettings(**{"iterations": 8, "log_every": 2, **settings})
    torch.manual_seed(seed)
    model = model or ToyModel()
    step = TrainStep(
        model,
        loss or ToyLoss(),
        optimizer or SGD(lr=0.1, weight_decay=0.01, weight_decay_on="all").build(model),
        StepSchedule(steps=(6,), warmup=3),
        Scale(),
        CPU,
        amp_dtype=amp_dtype,
        channels_last=channels_last,
        grad_clip=grad_clip,
        ema_decay=ema_decay,
        still_norms=still_norms,
        accumulate=accumulate,
    )
    return Trainer(
        step,
        loader or (lambda start: toy_batches(chosen.iterations, start)),
        chosen,
        output=output,
        evaluate=evaluate,
        class_names=class_names,
        parts=parts,
    )

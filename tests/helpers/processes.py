"""What the processes of the launch tests do. A module of its own, which the processes can import."""

import os
import signal
import time
from dataclasses import fields
from pathlib import Path

import torch

from otadet.assigners import SimOTAAssigner
from otadet.data.batch import Batch
from otadet.distributed import alone, broadcast_object, gather_objects, is_main, rank, sum_over_ranks, world_size
from otadet.engine.stop import StopRequest
from otadet.engine.train_step import TrainStep
from otadet.losses import DetectionLoss
from tests.helpers.evaluating import evaluate, write_portraits_and_landscapes
from tests.helpers.small_detector import SmallDetector, crowded_batch
from tests.helpers.toy_training import Scale, ToyLoss, ToyModel, toy_batches, toy_trainer


def several_trainings(device: torch.device, folder: Path) -> None:
    said = (gather_objects(rank()), broadcast_object(f"from {rank()}"), sum_over_ranks(torch.tensor(rank() + 1)).item())
    torch.save(said, folder / f"said by {rank()}.pt")
    if is_main():
        write_portraits_and_landscapes(folder)
    broadcast_object(None)
    evaluate(device, folder, folder / "stats.json")
    train(device, folder / "whole")
    train(device, folder / "stopped", stopped_rank=1)
    train(device, folder / "resumed", resume=folder / "stopped" / "last.pth")
    step_in_parts(device, folder, 2)
    judge_by_loss(device, folder / "judged")
    number = rank()
    with alone():
        torch.save((rank(), world_size(), gather_objects(number + 5)), folder / f"alone {number}.pt")
    train(device, folder / "poisoned", poisoned_rank=1)


def train(
    device: torch.device,
    folder: Path,
    stopped_rank: int | None = None,
    poisoned_rank: int | None = None,
    resume: Path | None = None,
) -> None:
    """Each process sees its share of the same four images, with the network that its own seed gives."""
    folder.mkdir(exist_ok=True)
    share = slice(rank() * 4 // world_size(), (rank() + 1) * 4 // world_size())

    def evaluate(model):
        parts = gather_objects(rank())
        return {"AP": 0.5, "parts": len(parts)} if is_main() else None

    torch.manual_seed(rank())
    trainer = toy_trainer(
        folder,
        model=ToyModel(dropout=0.0),
        loss=PoisonedLoss() if rank() == poisoned_rank else ToyLoss(),
        evaluate=evaluate,
        ema_decay=0.9,
        loader=lambda start: toy_batches(8, start, share=share),
    )
    if resume is not None:
        trainer.resume(resume)
    if rank() == stopped_rank:
        trainer.stop.request()
    trainer.train()
    torch.save(trainer.step.model.state_dict(), folder / f"rank {rank()}.pt")


def judge_by_loss(device: torch.device, folder: Path) -> None:
    """A training that ends early: its loss rises for both processes together, but not for each of them."""
    is_first = is_main()
    values = [5.0, 4.0, 3.0, 2.0, 1.0] if is_first else [1.0, 1.0, 4.0, 6.0, 9.0]
    settings = {"best_by": "near", "lower_is_better": True, "of_training": True, "eval_every": 1, "patience": 2}
    trainer = toy_trainer(
        folder,
        model=ToyModel(dropout=0.0),
        loss=ToldLoss(values),
        evaluate=lambda model: {"AP": 0.5} if is_first else {},
        **settings,
    )
    trainer.train()
    torch.save((trainer.iteration, trainer.best.value), folder / f"judged by {rank()}.pt")


class ToldLoss(ToyLoss):
    """Whose first term has these values in turn."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = iter(values)

    def forward(self, predictions, anchors, truths):
        terms = super().forward(predictions, anchors, truths)
        return {**terms, "near": 0 * terms["near"] + next(self.values)}


def step_in_parts(device: torch.device, folder: Path, number: int) -> None:
    """Two steps with eight images over all processes, each share in that many parts, by losses of one divisor and more.

    Process 0 saves the weights.
    """
    share = slice(rank() * 8 // world_size(), (rank() + 1) * 8 // world_size())
    for weighting in ("none", "quality"):
        torch.manual_seed(0)
        model = SmallDetector(norm=True)
        loss = DetectionLoss(SimOTAAssigner(), box_weighting=weighting)
        step = TrainStep(
            *(model, loss, torch.optim.SGD(model.parameters(), lr=0.1), lambda iteration: 1.0, Scale(), device),
            still_norms=["body.1"],
            accumulate=number,
        )
        step.train_mode()
        for iteration in range(2):
            batch = crowded_batch([0, 0, 3, 1, 9, 0, 2, 5], seed=iteration)
            step(Batch(*(getattr(batch, field.name)[share] for field in fields(Batch))), iteration, StopRequest())
        if is_main():
            torch.save(step.model.state_dict(), folder / f"{weighting} in parts.pt")


class PoisonedLoss(ToyLoss):
    def forward(self, predictions, anchors, truths):
        terms = super().forward(predictions, anchors, truths)
        return {**terms, "far": terms["far"] * torch.nan}


def fail_in_second(device: torch.device) -> None:
    if rank() == 1:
        raise ZeroDivisionError("in the second process")
    gather_objects(None)


def ask_for_a_stop(device: torch.device) -> None:
    if rank() == 1:
        os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)


def be_killed(device: torch.device) -> None:
    if rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    gather_objects(None)


def be_left_alone(device: torch.device, folder: Path) -> None:
    (folder / f"{rank()}.pid").write_text(str(os.getpid()))
    time.sleep(60)

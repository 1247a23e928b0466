"""`batch_size auto`: as many images at once as fit into the memory, the batch of a step kept by accumulation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import torch
from loguru import logger
from torch import nn

from otadet.apps.caching import memory_to_be_cached
from otadet.apps.compose import build_step
from otadet.apps.hardest_batch import Hardest, hardest_batch
from otadet.apps.reading import images_decoded
from otadet.data.batch import Batch
from otadet.data.cache.room import in_bytes
from otadet.data.dataset import DetectionDataset
from otadet.data.transforms.largest import Size
from otadet.distributed import alone, broadcast_object, from_main, gather_objects, processes_on_this_machine, world_size
from otadet.engine.accumulation import check_can_be_summed
from otadet.engine.freezing import still_norms, training_norms
from otadet.engine.guard import NonFiniteError
from otadet.engine.memory import CudaMeter, Fit, HostMeter, Meter, largest_estimated, largest_tried, let_go
from otadet.engine.precision import Precision
from otadet.engine.stop import StopRequest
from otadet.engine.train_step import TrainStep
from otadet.errors import UserError
from otadet.exp import BaseExp
from otadet.exp.load import unread
from otadet.generators import kept_generators
from otadet.models.detector import as_detector

FEW = 4
"""Images, of which batch norms have statistics that are worse than those of a network that is trained already."""
STEPS = 2
"""Of a trial: the second begins with what the first has left in the memory."""


def with_fitting_batch(
    exp: BaseExp,
    train_set: DetectionDataset,
    device: torch.device,
    precision: Precision,
    began_with: Mapping[str, Any] | None = None,
    meter: Meter | None = None,
) -> tuple[BaseExp, str]:
    """The experiment with a batch that fits, and why, for the log; every process calls this.

    began_with: path -> value of the fields of a run that is resumed, whose batch is kept. meter: of the device's
    memory. Raises `UserError` where not even one image fits, or memory cannot be measured.
    """
    if (before := _before(exp, began_with or {})) is not None:
        return _with_batch(exp, *before), f"{_settings(*before)}, as the run began"
    devices = world_size()
    share = exp.run.images_per_step // devices
    from_main(lambda: logger.info("batch auto: looking for the largest batch that fits into the memory"))
    with _untouched(device):
        hardest, fit = _search(exp, train_set, device, precision, share, meter)
    # The least that any process found.
    fit = min(broadcast_object(gather_objects(fit)), key=lambda one: one.images)
    most = max(len(truth.boxes) for truth in hardest.truths)
    shape = f"{hardest.size[1]} x {hardest.size[0]} px with up to {most} boxes"
    if not fit.images:
        from_main(lambda: _refuse(exp, fit, shape))
    accumulate = share // fit.images
    why = "all that a step needs" if accumulate == 1 else "more would need too much"
    # On several GPUs they are synchronised.
    seen = fit.images * (devices if device.type == "cuda" else 1)
    if accumulate > 1 and fit.fewest > 1 and seen < FEW:
        why += f"; batch norms see {seen} at a time: if the network is trained already, set run.freeze_norms true"
    reason = (
        f"{_settings(fit.images * devices, accumulate)}: {fit.images} of the hardest images at once, {shape} each, "
        f"take {in_bytes(fit.peak)} of the {in_bytes(fit.room)} that may be taken; {why}"
    )
    return _with_batch(exp, fit.images * devices, accumulate), reason


def _before(exp: BaseExp, began_with: Mapping[str, Any]) -> tuple[int, int] | None:
    """`batch_size` and `accumulate` of a run that is resumed, where its steps are of as many images."""
    batch, accumulate = began_with.get("run.batch_size"), began_with.get("run.accumulate", 1)
    if type(batch) is not int or type(accumulate) is not int or batch * accumulate != exp.run.images_per_step:
        return None
    return None if batch < 1 or batch % world_size() else (batch, accumulate)


def _search(
    exp: BaseExp,
    train_set: DetectionDataset,
    device: torch.device,
    precision: Precision,
    share: int,
    meter: Meter | None,
) -> tuple[Hardest, Fit]:
    """What fits in this process, whatever the others find. share: images of a step on this device."""
    if meter is None:
        decoded = images_decoded(exp, train_set, exp.build_train_transform())
        meter = _meter_of(device, memory_to_be_cached(exp.run, decoded))
    # So that none takes memory while another measures what is free.
    gather_objects(None)
    template = unread(exp).build_model(len(train_set.class_names))
    divisor, is_one_of_several = as_detector(template).size_divisor, world_size() > 1
    hardest = hardest_batch(exp, train_set, share, divisor)

    def trial(images: int, size: Size) -> None:
        tried = _with_batch(exp, images, min(2, share // images))
        with alone():
            step = build_step(tried, deepcopy(template).to(device), len(train_set), device, precision)
            # Of the parts that are not tried, the images wait on the device; gradients are averaged in a second copy.
            waiting = share - images * step.accumulate
            held = torch.empty(waiting, 3, *size, dtype=torch.uint8, device=device)
            copied = [torch.empty_like(weight) for weight in step.model.parameters() if is_one_of_several]
            _make_steps(step, hardest.batch(images * step.accumulate, size, device))
            del held, copied

    search = largest_tried if device.type == "cuda" else largest_estimated
    return hardest, search(_numbers(exp, template, share), hardest.sizes(divisor), trial, meter)


def _meter_of(device: torch.device, cached: int = 0) -> Meter:
    """cached: bytes of images that the host's memory is going to hold."""
    if device.type == "cuda":
        return CudaMeter(device)
    if device.type != "cpu":
        raise UserError(f"batch_size auto: the memory of {device.type} cannot be measured; give batch_size a number")
    return HostMeter(processes_on_this_machine(), cached)


def _numbers(exp: BaseExp, model: nn.Module, share: int) -> list[int]:
    """Of images at once, of which whole batches make up a step of `share` images.

    That is all of them where the loss cannot be added up, and two at least where batch norms train, since these cannot
    do with a single value.
    """
    try:
        check_can_be_summed(exp.build_loss())
    except UserError:
        return [share]
    still = still_norms(model, exp.run.freeze, all_of_them=exp.run.freeze_norms)
    trains = bool(training_norms(model) - still)
    return [number for number in range(min(share, 2 if trains else 1), share + 1) if share % number == 0]


def _make_steps(step: TrainStep, batch: Batch) -> None:
    """Whole ones, as at the end of a training, where losses have all of their terms; no weight moves."""
    step.schedule = lambda iteration: 0.0
    step.train_mode()
    _begin_averages(step.optimizer)
    for _ in range(STEPS):
        # It needs no less memory for numbers that are too large.
        with suppress(NonFiniteError):
            step(batch, max((step.iterations or 1) - 1, 0), StopRequest(quiet=True))
    with suppress(NonFiniteError):
        step.check()


def _begin_averages(optimizer: torch.optim.Optimizer) -> None:
    """Let it allocate its averages: numbers that are too large, as fp16's are in most first steps, would keep it from a
    step and so from these."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _refuse(exp: BaseExp, fit: Fit, shape: str) -> None:
    check_can_be_summed(exp.build_loss())
    single = ", or run.freeze_norms true, with which single images will do" if fit.fewest == 2 else ""
    raise UserError(
        f"batch_size auto: {fit.fewest} of the hardest images at once, {shape} each, need more than the "
        f"{in_bytes(fit.room)} that may be taken; choose a smaller input.resize, train_resize or network, or run.amp "
        f"true where the device gains by it{single}"
    )


def _with_batch(exp: BaseExp, batch_size: int, accumulate: int) -> BaseExp:
    other = copy(exp)
    other.run = replace(exp.run, batch_size=batch_size, accumulate=accumulate, auto_batch=False)
    return other


def _settings(batch_size: int, accumulate: int) -> str:
    return f"run.batch_size {batch_size} run.accumulate {accumulate}"


@contextmanager
def _untouched(device: torch.device) -> Iterator[None]:
    """Afterwards no generator of random numbers is another, and the memory is free again."""
    with kept_generators(device):
        yield
    let_go(device)

"""The gradient of a batch that is computed in parts, since all of it at once would need too much memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from otadet.distributed import mean_over_ranks
from otadet.engine.gradient import parameters_of
from otadet.errors import UserError
from otadet.generators import kept_generators

if TYPE_CHECKING:
    from otadet.data.batch import Batch

Found = TypeVar("Found")
Predict = Callable[[nn.Module, "Batch"], tuple[Any, Any]]
"""(network, part of a batch) -> (predictions, anchors)."""


class Sums(Protocol):
    """What a loss that can be computed in parts says of one; see `otadet.losses.Sums`."""

    terms: dict[str, Tensor]
    amounts: Tensor


class SummedLoss(Protocol):
    """What of `otadet.losses.SummedLoss` is needed here."""

    has_one_divisor: bool

    def sums(self, predictions: Any, anchors: Any, truths: Any) -> Sums: ...

    def divisors(self, amounts: Tensor) -> Mapping[str, Tensor]: ...


def check_can_be_summed(loss: nn.Module) -> None:
    """Raise `UserError` for a loss whose terms cannot be added up over the parts of a batch.

    That is one without `sums`, or with a `forward` of its own, which `sums` does not know of.
    """
    order = type(loss).__mro__
    defined = {name: [place for place, cls in enumerate(order) if name in vars(cls)] for name in ("sums", "forward")}
    if not defined["sums"] or min(defined["forward"], default=0) < min(defined["sums"]):
        raise UserError(
            f"run.accumulate: {type(loss).__name__} does not say what its terms are divided by, so that those of parts "
            "of a batch cannot be added up; derive it from otadet.losses.SummedLoss, and let `sums` have its terms"
        )


class Accumulation:
    """Adds up the gradients of the parts of a batch, to that of the batch as a whole, but for rounding.

    The terms of a loss are divided by what the whole batch has, such as its positive anchors, which is known once all
    parts were assigned. Where all terms have one divisor, as most losses do, each part's gradient is divided by a guess
    of it, so that it has the usual size in fp16, and their sum is corrected once, at the end: this costs nothing. Where
    they have several, no factor corrects the sum: all parts are first assigned without gradients, which costs a forward
    pass more, about a third of the time. (A backward pass per divisor would cost two thirds, and more memory.)

    Batch norms see one part at a time: their statistics, and with these the gradient, are those of its images.

    Args:
        model: whose batch norms may count what they see.
        network: the same, or what calls it and averages its gradient over the processes.
        loss: see `otadet.losses.SummedLoss`. Raises `UserError` for another.
    """

    def __init__(self, model: nn.Module, network: nn.Module, loss: nn.Module, device: torch.device) -> None:
        check_can_be_summed(loss)
        self._model, self._network, self._device = model, network, device
        self._loss = cast("SummedLoss", loss)

    def backward(
        self,
        parts: Sequence[Batch],
        predict: Predict,
        scale: Callable[[Tensor], Tensor],
        known: Callable[[dict[str, Tensor]], Found],
        optimizer: torch.optim.Optimizer,
    ) -> Found:
        """Add the gradient of the batch to that of the optimizer's parameters.

        Args:
            parts: of the batch, on the device.
            scale: the gradient scaler's.
            known: called with the loss terms of the batch, while the last backward pass is still to come; what it
                returns is returned.
        """
        loss = self._loss
        counted = None if loss.has_one_divisor else self._counted(parts, predict)
        divisors = None if counted is None else loss.divisors(counted)
        totals: dict[str, Tensor] = {}
        amounts: list[Tensor] = []
        for part in parts[:-1]:
            with self._alone():
                sums = loss.sums(*predict(self._network, part), part.truths)
                divisors = divisors or self._guessed(sums.amounts, parts)
                _add(totals, sums.terms)
                amounts.append(sums.amounts)
                scale(_total(sums.terms, divisors)).backward()
        sums = loss.sums(*predict(self._network, parts[-1]), parts[-1].truths)
        divisors = divisors or self._guessed(sums.amounts, parts)
        _add(totals, sums.terms)
        true = divisors if counted is not None else loss.divisors(mean_over_ranks(sum(amounts, sums.amounts.clone())))
        found = known({name: total / true[name] for name, total in totals.items()})
        scale(_total(sums.terms, divisors)).backward()
        if counted is None:
            name = next(iter(totals))
            gradients = [parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None]
            torch._foreach_mul_(gradients, divisors[name] / true[name])
        return found

    def _guessed(self, amounts: Tensor, parts: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Divisors that are about right, the same on all ranks. amounts: of the first part."""
        boxes = sum(len(truth.boxes) for part in parts for truth in part.truths)
        return self._loss.divisors(mean_over_ranks((len(parts) * amounts).clamp(min=boxes)))

    def _counted(self, parts: Sequence[Batch], predict: Predict) -> Tensor:
        """(J,) amounts of the whole batch, averaged over the ranks, by a pass that leaves no trace."""
        with torch.no_grad(), _unchanged(self._model, self._device):
            amounts = [self._loss.sums(*predict(self._model, part), part.truths).amounts for part in parts]
        return mean_over_ranks(torch.stack(amounts).sum(0))

    def _alone(self) -> AbstractContextManager[Any]:
        """In which a gradient is not averaged over the processes yet."""
        return self._network.no_sync() if isinstance(self._network, DistributedDataParallel) else nullcontext()


def _total(terms: Mapping[str, Tensor], divisors: Mapping[str, Tensor]) -> Tensor:
    return reduce(torch.add, (term / divisors[name] for name, term in terms.items()))


def _add(totals: dict[str, Tensor], terms: Mapping[str, Tensor]) -> None:
    for name, term in terms.items():
        totals[name] = totals[name] + term.detach() if name in totals else term.detach()


@contextmanager
def _unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """What passes through the model here changes neither its buffers, such as norm statistics, nor generators."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with kept_generators(device):
        yield
    for buffer, before in buffers:
        buffer.copy_(before)

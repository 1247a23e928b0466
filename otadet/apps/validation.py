"""The evaluations of a training."""

from __future__ import annotations

from torch import nn

from otadet.apps.reading import images_to_evaluate
from otadet.data.dataset import DetectionDataset
from otadet.distributed import world_size
from otadet.engine.columns import LOSS, lower_is_better, training_columns
from otadet.engine.stop import EvaluationStopped, StopRequest
from otadet.errors import UserError
from otadet.evaluation.evaluator import Interrupted, evaluate
from otadet.evaluation.protocols import PROTOCOLS, Protocol
from otadet.evaluation.result import Result
from otadet.exp import SCORES, BaseExp
from otadet.limits import brief


class Validation:
    """Measures a model on the validation set: each process predicts its share, the main one has the scores.

    Raises `UserError` where the column that the best checkpoint goes by is neither a score of these data's evaluation
    nor, as far as the loss says its terms, one of the training.
    """

    def __init__(self, exp: BaseExp, val_set: DetectionDataset) -> None:
        self.protocol = PROTOCOLS[val_set.annotations.protocol]
        self.best_by = self.protocol.main if exp.run.best_by is None else exp.run.best_by
        """The column of metrics.csv that decides which checkpoint is best."""
        self.of_training = self.best_by not in self.protocol.logged
        """Whether it is one of the training's rather than a score."""
        if self.of_training:
            _check_column(exp, self.protocol, self.best_by)
            self.lower_is_better = lower_is_better(self.best_by)
        else:
            self.lower_is_better = self.best_by in self.protocol.lower_is_better
        self.advice = _advice(exp, self.best_by) if self.of_training else ""
        """What is unwise about `best_by`, for the log; "" where nothing is."""
        self.result: Result | None = None
        """What the last call found, in the main process."""
        self.stop = StopRequest(quiet=True)
        """Who may ask for an end in the midst of it."""
        self._exp, self._val_set = exp, val_set
        self._left_out: dict[int, str] = {}

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The protocol's `logged` scores that have ground truth. Empty on all processes but the main one.

        Raises `EvaluationStopped` on all processes where any was asked to stop.
        """
        exp = self._exp
        try:
            # In fp32 whatever the training is in, as tools/eval.py has it: both give the same numbers.
            pipeline = exp.build_pipeline(model, self._val_set.class_names)
            evaluation = evaluate(
                pipeline,
                images_to_evaluate(exp.run, self._val_set, pipeline.transform),
                batch_size=max(1, exp.run.batch_size // world_size()),
                workers=exp.run.workers,
                unreadable=exp.data.unreadable,
                left_out=self._left_out,
                stop=lambda: self.stop.requested,
            )
        except Interrupted as error:
            raise EvaluationStopped from error
        if evaluation is None:
            return {}
        self.result = evaluation.result
        scores = {name: self.result.stats[name] for name in self.protocol.logged}
        kept = (self.protocol.main, self.best_by)
        return {name: score for name, score in scores.items() if score >= 0 or name in kept}


def _check_column(exp: BaseExp, protocol: Protocol, column: str) -> None:
    """Raise `UserError` for a column that the training does not have, as far as that is known before its first step."""
    terms = exp.loss_terms
    columns = training_columns(terms or ())
    if column in columns or (terms is None and column not in SCORES):
        return
    raise UserError(
        f"run.best_by {brief(column)}: these data have {protocol.title}'s evaluation, whose scores are "
        f"{', '.join(protocol.logged)}; the training has {', '.join(columns)}; choose one of them, or none for "
        f"{protocol.main}"
    )


def _advice(exp: BaseExp, column: str) -> str:
    """A line on a column that has a term which begins late, as any checkpoint before is better by it; else ""."""
    for term, share in getattr(exp.build_loss(), "late_terms", {}).items():
        if share > 0 and (column == term or (column == LOSS and share < 1)):
            return (
                f"run.best_by {brief(column)}: {term} is 0 in the first {100 * share:g} % of the training, so that "
                f"its later checkpoints look worse than they are; choose a column without {term}"
            )
    return ""

"""Whose evaluation: what each protocol measures, and how its numbers are shown. The data say which is theirs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol as Interface

from otadet.data.dataset import DetectionDataset
from otadet.evaluation import coco, crowdhuman
from otadet.evaluation.judge import find_judge
from otadet.evaluation.result import Result
from otadet.structures import Detections


class Evaluate(Interface):
    """What measures detections."""

    def __call__(
        self,
        dataset: DetectionDataset,
        detections: Mapping[int, Detections],
        image_ids: Collection[int] | None = None,
        *,
        judge: str = ...,
    ) -> Result:
        """detections: image id -> `Detections` in pixels of the file. image_ids: of the images that count; None: all.

        judge: what `find_judge` of the protocol takes.
        """


@dataclass(frozen=True)
class Protocol:
    """An evaluation, and the names of its scores."""

    name: str
    """On the command line, and in `Annotations.protocol`."""
    title: str
    """As people write it."""
    rows: tuple[tuple[str, ...], ...]
    """All scores, as they are printed: line by line."""
    per_class: tuple[str, ...]
    """The scores that are told class by class."""
    logged: tuple[str, ...]
    """The columns of metrics.csv."""
    main: str
    """The score by which detectors are compared."""
    evaluate: Evaluate
    """What computes them."""
    find_judge: Callable[[str], object]
    """Raises `UserError` for the name of a program that does not compute these scores, or is not there."""
    lower_is_better: frozenset[str] = frozenset()
    """The scores of which less is better."""
    max_detections: int | None = None
    """Detections per image that count at most; None: all."""


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "coco",
            "COCO",
            rows=(coco.STATS[:6], coco.STATS[6:]),
            per_class=("AP", "AP50", "AP75", "AR100"),
            logged=("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100"),
            main="AP",
            evaluate=coco.evaluate_coco,
            find_judge=find_judge,
            max_detections=100,
        ),
        Protocol(
            "crowdhuman",
            "CrowdHuman",
            rows=(crowdhuman.SCORES,),
            per_class=crowdhuman.SCORES,
            logged=crowdhuman.SCORES,
            main="MR",
            evaluate=crowdhuman.evaluate_crowdhuman,
            find_judge=crowdhuman.find_own_judge,
            lower_is_better=frozenset({"MR"}),
        ),
    )
}

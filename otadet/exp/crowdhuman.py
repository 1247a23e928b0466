"""What the experiments on CrowdHuman have in common."""

from __future__ import annotations

from otadet.exp.base import BaseExp
from otadet.exp.data import CrowdHumanData, SyntheticShapes
from otadet.exp.data.base import FileData
from otadet.optim.length import Epochs, Iterations
from otadet.optim.schedule import Cosine, Steps


class CrowdHumanExp(BaseExp):
    """A row of Tab. 6: 30 epochs on CrowdHuman (Sec. 4.4), all else as on COCO.

    The rate drops at the same shares of the training as on COCO, two thirds and eight ninths.
    """

    data: FileData | SyntheticShapes = CrowdHumanData("datasets/crowdhuman")
    schedule: Steps | Cosine = Steps(at=(2 / 3, 8 / 9), warmup=1000)
    length: Iterations | Epochs = Epochs(30)

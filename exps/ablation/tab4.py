"""Tab. 4: the number k of labels that each box supplies; none is dynamic k.

Paper's AP for k = 1, 5, 8, 10, 12, 15, 20: 36.5, 39.5, 39.8, 40.3, 40.3, 40.2, 40.1; dynamic 40.7.

python tools/train.py -f exps/ablation/tab4.py k 5 --output runs/tab4-k5
"""

from otadet.assigners import OTAAssigner
from otadet.exp import BaseExp


class Exp(BaseExp):
    k: int | None = 10

    def build_assigner(self) -> OTAAssigner:
        return OTAAssigner(k=self.k)

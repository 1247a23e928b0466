"""Tab. 2, OTA: r x r candidates of each level. Paper's AP for r = 3, 5, 7: 40.6, 40.7, 40.4.

python tools/train.py -f exps/ablation/tab2_ota.py r 7 --output runs/tab2-ota-r7
"""

from otadet.assigners import OTAAssigner
from otadet.errors import UserError
from otadet.exp import BaseExp


class Exp(BaseExp):
    r: int = 5

    def build_assigner(self) -> OTAAssigner:
        if self.r < 1:
            raise UserError(f"r {self.r}: must be at least 1; the paper has 3, 5 and 7")
        return OTAAssigner(radius=self.r / 2)

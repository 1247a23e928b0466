"""Tab. 3: ambiguous anchors go to one box by a rule of thumb, then OTA tells positives from negatives.

Paper's AP: ambiguity min_area 40.0; max_iou 40.3; min_loss 40.3; none, OTA alone, 40.7.

python tools/train.py -f exps/ablation/tab3.py ambiguity max_iou --output runs/tab3-max_iou
"""

from otadet.assigners import OTAAssigner
from otadet.exp import BaseExp


class Exp(BaseExp):
    ambiguity: str | None = "min_area"

    def build_assigner(self) -> OTAAssigner:
        return OTAAssigner(ambiguity=self.ambiguity)

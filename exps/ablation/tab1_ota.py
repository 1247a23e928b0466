"""Tab. 1, OTA (FCOS): without dynamic k, the centre prior or the IoU branch.

Paper's AP: 40.7 as it is; dynamic_k false 40.3; dynamic_k false with center false 39.6, or with quality none 39.2.

python tools/train.py -f exps/ablation/tab1_ota.py dynamic_k false center false --output runs/tab1-ota-fixed-k-no-center
"""

from otadet.assigners import OTAAssigner
from otadet.exp import BaseExp


class Exp(BaseExp):
    center: bool = True
    dynamic_k: bool = True

    def build_assigner(self) -> OTAAssigner:
        return OTAAssigner(prior="window" if self.center else "none", k=None if self.dynamic_k else 10)

"""Tab. 1, OTA (RetinaNet): boxes as deltas from one square anchor per location. Paper: 40.7 AP.

python tools/train.py -f exps/ablation/tab1_ota_retinanet.py --output runs/tab1-ota-retinanet
"""

from otadet.assigners import OTAAssigner
from otadet.exp import BaseExp
from otadet.models import RetinaNetHead


class Exp(BaseExp):
    def build_head(self, num_classes: int, levels: int) -> RetinaNetHead:
        return RetinaNetHead(
            num_classes,
            self.channels,
            self.tower_depth,
            prior_probability=self.prior_probability,
            quality=self.quality is not None,
        )

    def build_assigner(self) -> OTAAssigner:
        return OTAAssigner()

"""Tab. 2, ATSS: r x r candidates of each level. Paper's AP for r = 3, 5, 7: 39.4, 38.0, 37.2.

As released, the box loss is weighted by the centre-ness target and counts 2, the centre-ness branch counts 1, and the
class score thresholds and ranks.

python tools/train.py -f exps/ablation/tab2_atss.py r 5 --output runs/tab2-atss-r5
"""

from otadet.assigners import ATSSAssigner
from otadet.errors import UserError
from otadet.exp import BaseExp


class Exp(BaseExp):
    r: int = 3
    quality, box_weight, quality_weight, box_weighting = "centerness", 2.0, 1.0, "auto"
    rank_by = "class"

    def build_assigner(self) -> ATSSAssigner:
        if self.r < 1:
            raise UserError(f"r {self.r}: must be at least 1; the paper has 3, 5 and 7")
        return ATSSAssigner(topk=self.r**2)

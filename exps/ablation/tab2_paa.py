"""Tab. 2, PAA: r x r candidates of each level. Paper's AP for r = 3, 5, 7: 40.3, 40.1, 39.5.

As released, the box loss is weighted by the IoU of the prediction and counts 1.3, and the class score is what the
threshold looks at. There is no score voting, which the paper leaves out too (Sec. 4.3).

python tools/train.py -f exps/ablation/tab2_paa.py r 5 --output runs/tab2-paa-r5
"""

from otadet.assigners import PAAAssigner
from otadet.errors import UserError
from otadet.exp import BaseExp


class Exp(BaseExp):
    r: int = 3
    box_weight, quality_weight, box_weighting = 1.3, 0.5, "quality"
    rank_by = "class"

    def build_assigner(self) -> PAAAssigner:
        if self.r < 1:
            raise UserError(f"r {self.r}: must be at least 1; the paper has 3, 5 and 7")
        return PAAAssigner(topk=self.r**2)

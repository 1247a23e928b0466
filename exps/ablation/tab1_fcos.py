"""Tab. 1, FCOS: the fixed rule, with and without centre sampling and an auxiliary branch.

Paper's AP: quality none 38.3; quality centerness 38.9; quality iou 39.5; quality iou with center false 38.8.

In the row with centre-ness the box loss counts every positive anchor alike, and the loss of the branch is weighted by
0.5. The released FCOS weights the box loss by the centre-ness target and the branch by 1, so this row may differ from
the paper's in more than the rule.

python tools/train.py -f exps/ablation/tab1_fcos.py quality iou center false --output runs/tab1-fcos-iou-no-center
"""

from otadet.assigners import FCOSAssigner
from otadet.exp import BaseExp


class Exp(BaseExp):
    center: bool = True

    def build_assigner(self) -> FCOSAssigner:
        return FCOSAssigner(radius=1.5 if self.center else None)

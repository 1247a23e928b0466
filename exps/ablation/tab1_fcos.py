"""Tab. 1, FCOS: the fixed rule, with and without centre sampling and an auxiliary branch.

Paper's AP: quality none 38.3; quality centerness 38.9; quality iou 39.5; quality iou with assigner.radius none 38.8.

As released, FCOS thresholds and ranks by the class score. With centre-ness its box loss is weighted by the centre-ness
target and the branch counts 1; without, the losses are those of the OTA rows. The box loss counts 2 in every row of the
table (Sec. 4.2), where FCOS alone has 1.

python tools/train.py -f exps/ablation/tab1_fcos.py assigner.radius none --output runs/tab1-fcos-iou-no-center
"""

from otadet.assigners import FCOSAssigner
from otadet.exp import BaseExp, Postprocess


class Exp(BaseExp):
    assigner = FCOSAssigner(radius=1.5)
    postprocess = Postprocess(rank_by="class")

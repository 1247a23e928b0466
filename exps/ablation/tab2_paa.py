"""Tab. 2, PAA: r x r candidates of each level, `assigner.topk`. AP for r = 3, 5, 7 (9, 25, 49): 40.3, 40.1, 39.5.

As released, the box loss is weighted by the IoU of the prediction and counts 1.3, and the class score is what the
threshold looks at. There is no score voting, which the paper leaves out too (Sec. 4.3).

python tools/train.py -f exps/ablation/tab2_paa.py assigner.topk 25 --output runs/tab2-paa-r5
"""

from otadet.assigners import PAAAssigner
from otadet.exp import BaseExp, FocalGIoU, Postprocess


class Exp(BaseExp):
    assigner = PAAAssigner(topk=9)
    loss = FocalGIoU(box_weight=1.3, quality_weight=0.5, box_weighting="quality")
    postprocess = Postprocess(rank_by="class")

"""Tab. 6, PAA on CrowdHuman. Paper: MR 52.2, AP 86.0, recall 92.0.

The losses and the ranking of Tab. 2's `tab2_paa.py`; no score voting.

python tools/train.py -f exps/crowdhuman/paa_r50.py
"""

from otadet.assigners import PAAAssigner
from otadet.exp import CrowdHumanExp, FocalGIoU, Postprocess


class Exp(CrowdHumanExp):
    assigner = PAAAssigner(topk=9)
    loss = FocalGIoU(box_weight=1.3, quality_weight=0.5, box_weighting="quality")
    postprocess = Postprocess(rank_by="class")

"""Tab. 6, ATSS on CrowdHuman. Paper: MR 49.5, AP 87.4, recall 94.2.

The network, the losses and the ranking of Tab. 2's `tab2_atss.py`.

python tools/train.py -f exps/crowdhuman/atss_r50.py
"""

from otadet.assigners import ATSSAssigner
from otadet.exp import FCOS, CrowdHumanExp, Postprocess


class Exp(CrowdHumanExp):
    model = FCOS(quality="centerness")
    assigner = ATSSAssigner(topk=9)
    postprocess = Postprocess(rank_by="class")

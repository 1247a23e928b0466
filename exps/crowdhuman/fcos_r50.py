"""Tab. 6, FCOS on CrowdHuman. Paper: MR 55.0, AP 86.4, recall 94.1.

With centre sampling and centre-ness, as in Tab. 1's `tab1_fcos.py model.quality centerness`.

python tools/train.py -f exps/crowdhuman/fcos_r50.py
"""

from otadet.assigners import FCOSAssigner
from otadet.exp import FCOS, CrowdHumanExp, Postprocess


class Exp(CrowdHumanExp):
    model = FCOS(quality="centerness")
    assigner = FCOSAssigner(radius=1.5)
    postprocess = Postprocess(rank_by="class")

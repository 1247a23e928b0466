"""Tab. 6, LLA on CrowdHuman. Paper: MR 47.9, AP 88.0, recall 94.0.

The rule with its own values, the network and the losses of OTA's row.

python tools/train.py -f exps/crowdhuman/lla_r50.py
"""

from otadet.assigners import LLAAssigner
from otadet.exp import CrowdHumanExp


class Exp(CrowdHumanExp):
    assigner = LLAAssigner(topk=10, iou_weight=1.5)

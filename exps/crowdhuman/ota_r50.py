"""Tab. 6, OTA on CrowdHuman: FCOS-R50-FPN, 30 epochs. Paper: MR 46.6, AP 88.4, recall 95.1.

python tools/train.py -f exps/crowdhuman/ota_r50.py
"""

from otadet.assigners import OTAAssigner
from otadet.exp import CrowdHumanExp


class Exp(CrowdHumanExp):
    assigner = OTAAssigner(radius=2.5, top_q=20, iou_weight=1.5, eps=0.1, iterations=50)

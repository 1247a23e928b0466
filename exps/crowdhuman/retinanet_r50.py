"""Tab. 6, RetinaNet on CrowdHuman. Paper: MR 58.8, AP 81.0, recall 88.2.

RetinaNet's own rule, without a branch, P6 of C5. As everywhere here there is one square anchor box per location, where
RetinaNet has several shapes, of which the upright ones suit people better, and the boxes learn by GIoU.

python tools/train.py -f exps/crowdhuman/retinanet_r50.py
"""

from otadet.assigners import MaxIoUAssigner
from otadet.exp import CrowdHumanExp, RetinaNet


class Exp(CrowdHumanExp):
    model = RetinaNet(quality=None, coarse_from="c5")
    assigner = MaxIoUAssigner()

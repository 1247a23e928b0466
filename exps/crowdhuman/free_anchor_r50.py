"""Tab. 6, FreeAnchor on CrowdHuman. Paper: MR 51.3, AP 83.9, recall 89.8.

The loss learns what to match, and no rule assigns labels. As released on RetinaNet, here with one square anchor box per
location.

python tools/train.py -f exps/crowdhuman/free_anchor_r50.py
"""

from otadet.exp import CrowdHumanExp, FreeAnchor, RetinaNet


class Exp(CrowdHumanExp):
    model = RetinaNet(quality=None)
    assigner, loss = None, FreeAnchor()

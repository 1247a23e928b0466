"""Tab. 2, ATSS: r x r candidates of each level, `assigner.topk`. AP for r = 3, 5, 7 (9, 25, 49): 39.4, 38.0, 37.2.

As released, the box loss is weighted by the centre-ness target and counts 2, the centre-ness branch counts 1, and the
class score thresholds and ranks.

python tools/train.py -f exps/ablation/tab2_atss.py assigner.topk 25 --output runs/tab2-atss-r5
"""

from otadet.assigners import ATSSAssigner
from otadet.exp import FCOS, BaseExp, Postprocess


class Exp(BaseExp):
    model = FCOS(quality="centerness")
    assigner = ATSSAssigner(topk=9)
    postprocess = Postprocess(rank_by="class")

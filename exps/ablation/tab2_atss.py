"""Tab. 2, ATSS: r x r candidates of each level. Paper's AP for r = 3, 5, 7: 39.4, 38.0, 37.2."""

from otadet.assigners import ATSSAssigner
from otadet.errors import UserError
from otadet.exp import BaseExp


class Exp(BaseExp):
    r: int = 3
    quality = "centerness"  # as in ATSS

    def build_assigner(self) -> ATSSAssigner:
        if self.r < 1:
            raise UserError(f"r {self.r}: must be at least 1; the paper has 3, 5 and 7")
        return ATSSAssigner(top=self.r**2)

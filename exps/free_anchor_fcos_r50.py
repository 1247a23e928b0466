"""FreeAnchor in OTA's place: the loss learns what to match, and no rule assigns labels."""

from otadet.exp import BaseExp, FreeAnchor


class Exp(BaseExp):
    assigner, loss = None, FreeAnchor()

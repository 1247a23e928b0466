"""Pictures of your own, in any format that otadet reads: a small network from scratch, which trains on a CPU.

otadet train data FOLDER

Input size, batch size, length and warm-up are chosen for the data, as the log explains. What is set wins.
"""

from otadet.data.transforms import ColorJitter, RandomFlip, RandomZoom
from otadet.exp import FCOS, AdamW, DataFolder, RecipeExp, ResNet


class Exp(RecipeExp):
    data = DataFolder("datasets/mine")
    augment = (RandomZoom(0.8, 1.5), RandomFlip(0.5), ColorJitter())
    # The weights of a larger network may not be here.
    model = FCOS(ResNet(18, width=32, weights=None), channels=64, tower_depth=2, coarse_from="c5", anchor_offset=0.5)
    optimizer = AdamW(lr=3e-3, weight_decay=0.05, weight_decay_on="weights")

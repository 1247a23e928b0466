"""Parts that stand for data: images to train on, to validate on and to test with."""

from otadet.exp.data.base import FileData
from otadet.exp.data.coco import CocoData
from otadet.exp.data.folder import CrowdHumanData, DataFolder, VocData, YoloData
from otadet.exp.data.synthetic import SyntheticShapes

__all__ = ["CocoData", "CrowdHumanData", "DataFolder", "FileData", "SyntheticShapes", "VocData", "YoloData"]

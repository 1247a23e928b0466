"""Parts that stand for data: images to train on, to validate on and to test with."""

from otadet.exp.data.base import Data, FileData
from otadet.exp.data.coco import CocoData
from otadet.exp.data.folder import CrowdHumanData, DataFolder, VocData, YoloData
from otadet.exp.data.objects import PythonData
from otadet.exp.data.several import DataList
from otadet.exp.data.synthetic import SyntheticShapes

__all__ = [
    "CocoData",
    "CrowdHumanData",
    "Data",
    "DataFolder",
    "DataList",
    "FileData",
    "PythonData",
    "SyntheticShapes",
    "VocData",
    "YoloData",
]

"""Experiments: the base of every experiment file, the parts that its fields hold, and how such a file is loaded."""

from otadet.data.sampling import RepeatFactor
from otadet.data.transforms import Letterbox, MultiScale, ResizeShortestEdge
from otadet.exp.backbones import ResNet, TimmBackbone, TorchvisionBackbone
from otadet.exp.base import BaseExp
from otadet.exp.crowdhuman import CrowdHumanExp
from otadet.exp.data import (
    CocoData,
    CrowdHumanData,
    DataFolder,
    DataList,
    PythonData,
    SyntheticShapes,
    VocData,
    YoloData,
)
from otadet.exp.families import FCOS, YOLOX, RetinaNet
from otadet.exp.load import load_detector, load_exp, load_pipeline, load_predictor
from otadet.exp.losses import BCEIoU, FocalGIoU, FreeAnchor
from otadet.exp.recipe import RecipeExp
from otadet.exp.run import SCORES, Run
from otadet.exp.yolox import YOLOXExp, yolox_input, yolox_sizes
from otadet.inference.input_spec import InputSpec
from otadet.inference.postprocess import Postprocess
from otadet.inference.views import MultiScaleTest
from otadet.losses import BCE, MAL, QFL, VFL, FocalLoss
from otadet.optim.length import Epochs, Iterations
from otadet.optim.optimizer import SGD, AdamW
from otadet.optim.schedule import Cosine, Steps

__all__ = [
    "BCE",
    "FCOS",
    "MAL",
    "QFL",
    "SCORES",
    "SGD",
    "VFL",
    "YOLOX",
    "AdamW",
    "BCEIoU",
    "BaseExp",
    "CocoData",
    "Cosine",
    "CrowdHumanData",
    "CrowdHumanExp",
    "DataFolder",
    "DataList",
    "Epochs",
    "FocalGIoU",
    "FocalLoss",
    "FreeAnchor",
    "InputSpec",
    "Iterations",
    "Letterbox",
    "MultiScale",
    "MultiScaleTest",
    "Postprocess",
    "PythonData",
    "RecipeExp",
    "RepeatFactor",
    "ResNet",
    "ResizeShortestEdge",
    "RetinaNet",
    "Run",
    "Steps",
    "SyntheticShapes",
    "TimmBackbone",
    "TorchvisionBackbone",
    "VocData",
    "YOLOXExp",
    "YoloData",
    "load_detector",
    "load_exp",
    "load_pipeline",
    "load_predictor",
    "yolox_input",
    "yolox_sizes",
]

"""Experiments: the base of every experiment file, and how such a file is loaded."""

from otadet.exp.base import SCORES, BaseExp, load_exp
from otadet.exp.load import load_detector, load_pipeline, load_predictor

__all__ = ["SCORES", "BaseExp", "load_detector", "load_exp", "load_pipeline", "load_predictor"]

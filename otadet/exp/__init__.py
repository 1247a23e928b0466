"""Experiments: the base of every experiment file, and how such a file is loaded."""

from otadet.exp.base import SCORES, BaseExp, load_exp

__all__ = ["SCORES", "BaseExp", "load_exp"]

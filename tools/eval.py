"""Evaluate a checkpoint on a split of its experiment's data: COCO's twelve numbers, and why they are 0 if they are.

See `otadet/apps/evaluate.py`, or --help.
"""

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

from otadet.apps.evaluate import main
from otadet.cli import run_tool

if __name__ == "__main__":
    run_tool(main)

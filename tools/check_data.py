"""Check a folder of annotated pictures: what is in it, what is wrong with it, and how to train on it.

See `otadet/apps/check.py`, or --help.
"""

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

from otadet.apps.check import main
from otadet.cli import run_tool

if __name__ == "__main__":
    run_tool(main)

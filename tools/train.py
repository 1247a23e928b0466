"""Train the detector of an experiment.

See `otadet/apps/train.py`, or --help.
"""

from otadet.engine.stop import end_at_once_on_signals
from otadet.signals import take_signals

if __name__ in ("__main__", "__mp_main__"):
    end_at_once_on_signals()  # before the imports that take seconds, in the processes of -d N too
    if __name__ == "__mp_main__":
        take_signals()

from otadet.apps.train import main
from otadet.cli import run_tool

if __name__ == "__main__":
    run_tool(main)

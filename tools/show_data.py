"""Draw the next batches of a training.

See `otadet/apps/show_data.py`, or --help.
"""

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

from otadet.apps.show_data import main
from otadet.cli import run_tool

if __name__ == "__main__":
    run_tool(main)

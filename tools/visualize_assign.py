"""Draw which anchors the rules of label assignment make positive, side by side, as in the OTA paper's Fig. 3.

See `otadet/apps/show.py`, or --help.
"""

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

from otadet.apps.show import main
from otadet.cli import run_tool

if __name__ == "__main__":
    run_tool(main)

"""Count the ambiguous anchors per image that rules of label assignment find: N_amb of the OTA paper's Tab. 2.

See `otadet/apps/ambiguity.py`, or --help.
"""

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

from otadet.apps.ambiguity import main
from otadet.cli import run_tool

if __name__ == "__main__":
    run_tool(main)

"""Draw what a checkpoint detects: python tools/demo.py image -c best.pth --path photos.

See `otadet/apps/predict.py`, or --help.
"""

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

import sys

from otadet.apps import predict
from otadet.cli import run_tool


def main() -> None:
    """Call it with what follows the word `image`, the only kind of input."""
    predict.main(sys.argv[1 + (sys.argv[1:2] == ["image"]) :])


if __name__ == "__main__":
    run_tool(main)

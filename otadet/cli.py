"""The command `otadet`, and how a tool ends.

otadet train                                      the quickstart: shapes that are drawn on first use
otadet train -f mine.py lr 0.01                   an experiment file, with one of its fields set
otadet eval -c runs/mine/best.pth
otadet predict -c runs/mine/best.pth --path photos
otadet export -c runs/mine/best.pth --nms
otadet show -c runs/mine/best.pth --assigner ota atss --path image.png
otadet show data -f mine.py                       the next batch of a training, augmented as it is there
otadet convert yolox_nano.pth nano.pth            a published checkpoint of another program
otadet predict -c yolox-nano --path photos        one that is fetched by its name: otadet convert --list
otadet check datasets/mine                        what is in it, and what is wrong with it
otadet convert-data datasets/mine yolo --to yolo  a data set in another format
otadet bench
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from otadet.command_line import Parser
from otadet.engine.stop import INTERRUPTED, Interruption, Stopped, end_at_once_on_signals, leave, talks_to_user
from otadet.errors import MainProcessError, UserError, reason_of

NOBODY_READS = 141
"""Exit status where who read the output has ended, as in `| head`: a shell's for a program that SIGPIPE ended."""
COMMANDS = {
    "train": ("train", "train the detector of an experiment"),
    "eval": ("evaluate", "measure a checkpoint on its validation or test set"),
    "predict": ("predict", "draw what a checkpoint detects in images"),
    "convert": ("convert", "make a published checkpoint of another program one of otadet's"),
    "convert-data": ("convert_data", "write a data set as COCO, YOLO or Pascal VOC, with its images"),
    "export": ("export", "write a checkpoint as an ONNX file"),
    "show": ("show", "draw which anchors the rules choose, or batches of a training: show data"),
    "check": ("check", "check a folder of annotated pictures"),
    "bench": ("bench", "time, memory and launches of every rule"),
}
"""Word -> module of `otadet.apps`, and what it does."""


def command() -> None:
    """The console command: its first word says what to do, the rest is that app's."""
    end_at_once_on_signals()  # before the imports that take seconds
    parser = Parser("otadet", description=__doc__.partition("\n\n")[2])
    words = parser.add_subparsers(
        metavar="COMMAND", required=True, dest="command", help="followed by --help: its options"
    )
    for word, (_, does) in COMMANDS.items():
        words.add_parser(word, help=does, add_help=False)
    parser.add_argument("--version", action="version", version=_version())
    word = parser.parse_known_args(sys.argv[1:2])[0].command
    sys.argv = [f"otadet {word}", *sys.argv[2:]]
    run_tool(import_module(f"otadet.apps.{COMMANDS[word][0]}").main)


def _version() -> str:
    from otadet import __version__

    return f"otadet {__version__}"


def print_anything() -> None:
    """Let stdout and stderr write what their encoding lacks as an escape, such as `\\u732b`, where they would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run(main: Callable[[], None]) -> None:
    """Call a tool's `main`; a user's mistake ends in one line and status 2, an interruption in status 130.

    So does an output that cannot be written, in one line and status 2, unless nobody reads it any more.
    """
    print_anything()
    interruption = Interruption()
    status, message = 0, ""
    try:
        interruption.install()
        main()
        sys.stdout.flush()
    except MainProcessError:
        status = 2
    except UserError as error:
        status, message = 2, f"error: {error}"
    except Stopped:
        status = INTERRUPTED
    except BaseException as error:
        # An interruption may have turned into any other error on its way.
        if interruption.requested or isinstance(error, KeyboardInterrupt):
            status, message = INTERRUPTED, "interrupted" if talks_to_user() else ""
        elif isinstance(error, OSError) and (lost := _lost_output()) is not None:
            status, message = lost
        else:
            raise
    finally:
        end_at_once_on_signals()
        interruption.uninstall()
    if message:
        # A terminal that has been closed cannot be told.
        with suppress(OSError):
            print(message, file=sys.stderr)
    if status:
        sys.exit(status)


def _lost_output() -> tuple[int, str] | None:
    """Exit status and message where stdout cannot be written any more; None where it can."""
    try:
        # Unless it is buffered, what failed is forgotten, and only another attempt tells.
        print(flush=True)
    except BrokenPipeError:
        return NOBODY_READS, ""
    except OSError as error:
        return 2, f"error: standard output: cannot be written ({reason_of(error)})"
    return None


def run_tool(main: Callable[[], None]) -> None:
    """`run`, and the end of this process, as the last statement of a tool."""
    from otadet.engine.log import configure_plain_log

    configure_plain_log()
    try:
        run(main)
    except SystemExit as ended:
        leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    leave(0)

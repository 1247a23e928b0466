"""What the command line tools share."""

from __future__ import annotations

import io
import re
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from otadet.engine.stop import INTERRUPTED, Interruption, Stopped, end_at_once_on_signals, leave, talks_to_user
from otadet.errors import MainProcessError, UserError

if TYPE_CHECKING:
    import torch

    from otadet.assigners import Assigner
    from otadet.exp import BaseExp

NOBODY_READS = 141
"""Exit status where who read the output has ended, as in `| head`: a shell's for a program that SIGPIPE ended."""
DEVICES = ("cpu", "cuda", "mps")


def experiment_parser(description: str | None) -> ArgumentParser:
    """A parser that knows the experiment file, the device and the trailing `name value` pairs."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    add_experiment_arguments(parser)
    return parser


def add_experiment_arguments(parser: ArgumentParser) -> None:
    """`-f EXP`, `--device` and the trailing `name value` pairs, for a parser or a sub-command's parser."""
    # argparse up to Python 3.13 takes -1e-3 for an option, where -0.001 is a value.
    parser._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$|-(inf|nan)", re.IGNORECASE)
    parser.add_argument("-f", "--exp", required=True, metavar="EXP", help="experiment file, such as exps/quickstart.py")
    parser.add_argument("--device", choices=DEVICES, help="default: cuda where there is one, else mps, else cpu")
    parser.add_argument(
        "overrides", nargs="*", metavar="name value", help="fields of the experiment to change, as pairs"
    )


def load_experiment(args: Namespace) -> BaseExp:
    """The experiment of `args.exp` with the pairs of `args.overrides` applied."""
    from otadet.exp import load_exp

    exp = load_exp(args.exp)
    exp.override(args.overrides)
    return exp


def chosen_rule(exp: BaseExp, word: str) -> Assigner:
    """The rule of that name, or the experiment's own for "exp". Raises `UserError` for an unknown name."""
    from otadet.assigners import named_assigner

    return exp.choose_assigner() if word == "exp" else named_assigner(word)


def short_name(rule: Assigner) -> str:
    """OTAAssigner -> OTA."""
    return type(rule).__name__.removesuffix("Assigner")


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the best one of this machine, for this process, whose threads are limited to the cores.

    Raises `UserError` where the named one does not exist.
    """
    import torch

    from otadet.engine.cores import limit_threads

    limit_threads()

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name is None:
        name = next(device for device, exists in available.items() if exists)
    if not available[name]:
        raise UserError(f"--device {name}: this machine has none that this torch can use; try --device cpu")
    return torch.device(name)


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
        return 2, f"error: standard output: cannot be written ({error.strerror})"
    return None


def run_tool(main: Callable[[], None]) -> None:
    """`run`, and the end of this process, as the last statement of a tool."""
    try:
        run(main)
    except SystemExit as ended:
        leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    leave(0)

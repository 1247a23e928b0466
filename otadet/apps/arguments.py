"""What the apps share: the arguments that say which experiment, which checkpoint and which device."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otadet.command_line import Parser, as_name
from otadet.errors import UserError
from otadet.names import printable

if TYPE_CHECKING:
    import torch

    from otadet.assigners import Assigner
    from otadet.exp import BaseExp

DEVICES = ("cpu", "cuda", "mps")
AUTO = "auto"
"""In place of a checkpoint to resume: go on with what the output folder has, else start."""


def experiment_parser(description: str | None, *, device: bool = True) -> ArgumentParser:
    """A parser that knows the experiment, the trailing `name value` pairs, and the device where that has a say."""
    parser = Parser(description=description)
    parser.of_unknown = ", which is no option; fields of the experiment have no dashes, as lr 0.01"
    parser.add_argument(
        "-f",
        "--exp",
        type=as_name,
        metavar="EXP",
        help="experiment file such as mine.py, or the name of one that comes with otadet",
    )
    if device:
        parser.add_argument("--device", choices=DEVICES, help="default: cuda where there is one, else mps, else cpu")
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="name value",
        help="fields of the experiment to change, as pairs: assigner simota, optimizer.lr 0.01, length 12epochs",
    )
    return parser


def add_tta(parser: ArgumentParser) -> None:
    """The option `--tta`."""
    parser.add_argument(
        "--tta",
        action="store_true",
        help="look at each image in several sizes, and mirrored, as the experiment's tta.scales and so on say",
    )


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """The arguments, those of this process where `argv` is None; pairs may stand between the options."""
    return parser.parse_intermixed_args(argv)


def load_experiment(args: Namespace, needed: Sequence[str]) -> tuple[BaseExp, dict[str, Any] | None]:
    """The experiment of -f, else the one that the checkpoint describes, with the pairs applied; and the checkpoint.

    What the checkpoint of -c holds is read once and returned; None without one. A published name becomes its file in
    `args`. needed: parts of the experiment that must be had; of pairs that set anything of others stderr is told that
    they change nothing here. Raises `UserError`, also where neither says what the experiment is.
    """
    from otadet.apps.published import checkpoint_path
    from otadet.engine.checkpoint import load_checkpoint
    from otadet.exp import load_exp

    if args.exp is not None:
        exp = load_exp(args.exp)
        exp.override(args.overrides)
    if args.checkpoint is None:
        if args.exp is None:
            raise UserError("which experiment? give its file with -f, or a checkpoint that describes it with -c")
        return exp, None
    args.checkpoint = checkpoint_path(args.checkpoint)
    state = load_checkpoint(args.checkpoint)
    needed = [*needed, *(["tta"] if getattr(args, "tta", False) else [])]
    if args.exp is None:
        exp = described_exp(args.checkpoint, state, needed, args.overrides)
    check_tta(exp, args, args.overrides)
    note_unused(exp, args.overrides, needed)
    return exp, state


def paths_named(exp: BaseExp, overrides: Sequence[str]) -> list[str]:
    """The whole paths of what the pairs set. Raises `UserError` for names that the experiment does not have."""
    from otadet.exp.set_fields import paths_set

    return paths_set(exp, list(zip(overrides[::2], overrides[1::2], strict=False)))


def check_tta(exp: BaseExp, args: Namespace, overrides: Sequence[str]) -> None:
    """Raise `UserError` where the pairs set what `--tta` does, and the app has this option, but was not given it."""
    of_tta = [path for path in paths_named(exp, overrides) if path.partition(".")[0] == "tta"]
    if of_tta and getattr(args, "tta", None) is False:
        raise UserError(f"{of_tta[0]}: is of multi-scale testing alone; add --tta")


def note_unused(exp: BaseExp, overrides: Sequence[str], needed: Sequence[str]) -> None:
    """Say which of the pairs set what the app does not look at: fields of the training are often given.

    needed: parts of the experiment that count, or single fields of others, such as "data.max_pixels".
    """
    from otadet.exp import BaseExp
    from otadet.exp.fields import fields_of
    from otadet.exp.heard import own_methods

    # What a file adds, and its methods, may be looked at by anything.
    others = fields_of(BaseExp()).keys() - {*needed}
    named = paths_named(exp, overrides)
    unused = [path for path in named if path.partition(".")[0] in others and path not in needed]
    if unused and not own_methods(exp, BaseExp):
        counts = ", ".join([*(name for name in fields_of(exp) if name in needed), *(n for n in needed if "." in n)])
        text = f"{', '.join(dict.fromkeys(unused))}: without effect here, where {counts} count"
        print(f"note: {text}", file=sys.stderr)


def described_exp(path: str | Path, state: dict[str, Any], needed: Iterable[str], overrides: Sequence[str]) -> BaseExp:
    """The experiment that a checkpoint describes, with the pairs applied.

    The file may be somebody else's: it starts no more loader processes than there are cores, and draws shapes
    and caches images below the working directory alone. What the pairs name is the user's word.

    Args:
        path, state: of the checkpoint, and what `load_checkpoint` returned of it.
        needed: as in `stored_exp`.
        overrides: `name value name value ...`.

    Raises `UserError` as `stored_exp` and `override` do, and where a folder elsewhere would have to be written.
    """
    from otadet.engine.cores import usable_cores
    from otadet.exp.load import check_size
    from otadet.exp.stored import stored_exp

    exp, needed = stored_exp(path, state, needed), tuple(needed)
    if "model" in needed:
        check_size(exp, path, state)
    exp.run = replace(exp.run, workers=min(exp.run.workers, usable_cores()))
    named = paths_named(exp, overrides)
    exp.override(overrides)
    for field, folder in _folders_written(exp, needed):
        is_named = any(f"{field}.".startswith(f"{name}.") for name in named)
        if not is_named and not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(os.curdir)):
            raise UserError(
                f"{path}: its {field} would be written, {printable(folder)}, which is not below the working directory; "
                f"where you want that say so, `{field} FOLDER`"
            )
    return exp


def _folders_written(exp: BaseExp, needed: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Path of the field, and the folder, of all that an app would write beside its own output."""
    from otadet.exp import SyntheticShapes
    from otadet.exp.fields import all_fields

    for field in all_fields(exp) if "data" in needed else ():
        if isinstance(field.value, SyntheticShapes) and not field.value.is_drawn():
            yield f"{field.path}.folder", field.value.folder
    if "length" in needed and exp.run.cache_folder is not None:  # a training alone has a cache
        yield "run.cache_folder", exp.run.cache_folder


def load_trained(args: Namespace, needed: Sequence[str]) -> tuple[BaseExp, dict[str, Any]]:
    """`load_experiment` of an app whose -c is required; raises `UserError` as that does, and without -c."""
    exp, state = load_experiment(args, needed)
    if state is None:
        raise UserError("which checkpoint? name it with -c")
    return exp, state


def check_counts(counts: Mapping[str, int | None]) -> None:
    """Raise `UserError` for an option that counts and is below 1. counts: by option; None where it was not given."""
    for name, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"{name} {value}: must be at least 1")


def say(text: str, as_json: bool = False) -> None:
    """Print a line for people: on stderr where stdout is JSON."""
    print(text, file=sys.stderr if as_json else sys.stdout, flush=True)


def counter(name: str, total: int) -> Callable[[int], None]:
    """Says on a terminal how many images are done."""

    def count(done: int) -> None:
        if sys.stderr.isatty():
            end = "\r" if done < total else "\r\033[K"
            print(f"{name}: {done:,} of {total:,} images", end=end, file=sys.stderr, flush=True)

    return count


def chosen_rule(exp: BaseExp, word: str) -> Assigner:
    """The rule of that name, or the experiment's own for "exp". Raises `UserError` for an unknown name."""
    from otadet.assigners import named_assigner

    if word != "exp":
        return named_assigner(word)
    if (rule := exp.build_assigner()) is None:
        raise UserError(f"the experiment {exp.name} has no rule, as its loss needs none; name one by --assigner")
    return rule


def short_name(rule: Assigner) -> str:
    """OTAAssigner -> OTA."""
    return type(rule).__name__.removesuffix("Assigner")


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the best one of this machine, for this process, whose threads are limited to the cores.

    Raises `UserError` where the named one does not exist.
    """
    from otadet.engine.cores import limit_threads
    from otadet.engine.devices import choose_device

    limit_threads()
    return choose_device(name)

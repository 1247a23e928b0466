"""Convert a published checkpoint of another program into one of otadet's.

otadet convert yolox_nano.pth nano.pth
otadet convert yolox_s_8x8_300e_coco.pth s.pth --from mmdet-yolox
otadet convert mine.pth mine-otadet.pth --classes cat,dog --size 640
otadet convert model_final_5bd44e.pkl retinanet.pth
otadet convert yolox-s s.pth
otadet convert --list

The program is found out by the names of the tensors. Every tensor of the network must be there in its shape; those of
the file that it has no place for are listed. What comes out describes itself: eval, predict, export and train take it
by -c alone. --list has the published checkpoints that are known by name: these are fetched where they are needed, and
-c takes such a name too.
"""

from __future__ import annotations

import json
import os
import shlex
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otadet.apps.arguments import say
from otadet.apps.conversions import DRAFTERS, Wish
from otadet.command_line import Parser, as_path
from otadet.errors import UserError
from otadet.names import name_list, one_agrees

if TYPE_CHECKING:
    from otadet.exp import BaseExp


def parser() -> ArgumentParser:
    made = Parser(description=__doc__)
    made.add_argument("source", nargs="?", metavar="SRC", help="the published file, or its name")
    made.add_argument(
        "target", nargs="?", type=as_path, metavar="DST", help="otadet's checkpoint to write, as nano.pth"
    )
    made.add_argument("--list", action="store_true", help="print the names, with licence, size and AP on COCO")
    made.add_argument(
        "--from", dest="program", choices=tuple(DRAFTERS), help="whose it is; default: found out by its names"
    )
    made.add_argument(
        "--classes",
        metavar="NAMES",
        help="names of the classes, comma-separated, torchvision's with or without the background; default: COCO's, "
        "where it has 80, or torchvision's 91",
    )
    made.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="side of the input in pixels; default: 416 for YOLOX nano and tiny, else 640; of torchvision's the "
        "shorter side, 800",
    )
    made.add_argument(
        "--norm-eps",
        type=float,
        metavar="EPS",
        help="of the batch norms of torchvision's networks; 0 for one that was fine-tuned from its published RetinaNet "
        "v1; default: 1e-5, and 0 for that file itself",
    )
    made.add_argument("--json", action="store_true", help="print what was converted, or the list, as JSON")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.list and args.source is None:
        list_published(args.json)
        return
    if args.list:
        raise UserError("--list converts nothing: omit it, or the files")
    if args.target is None:
        raise UserError("what is to be converted, and into what? name both, SRC and DST; --list has published names")
    source = source_file(args.source)
    report(args, source, convert(source, args.target, args.program, args.classes, args.size, args.norm_eps))


def source_file(named: str) -> Path:
    """The file of what is to be converted: of a published name it is fetched. Raises `UserError`."""
    from otadet.convert.published import fetch_published, is_published, meant_name

    if is_published(named):
        return fetch_published(named)
    if not os.path.exists(named) and (meant := meant_name(named)):
        raise UserError(f"{named}: no such file{meant}")
    return Path(named)


def list_published(as_json: bool) -> None:
    """Print what is known of all published checkpoints."""
    from dataclasses import asdict

    from otadet.convert.published import PUBLISHED

    if as_json:
        print(json.dumps({name: asdict(one) for name, one in PUBLISHED.items()}, indent=1))
        return
    width = max(map(len, PUBLISHED)) + 2
    print(f"{'name':<{width}}{'AP':>6}{'input':>7}{'MB':>8}  {'licence':<14}SHA-256 begins with")
    for name, one in PUBLISHED.items():
        size = "-" if one.bytes is None else f"{one.bytes / 1e6:.1f}"
        print(f"{name:<{width}}{100 * one.ap:>6.1f}{one.image_size:>7}{size:>8}  {one.licence:<14}{one.sha256[:16]}")
    print("AP in percent, on COCO's validation images, as their authors say")


@dataclass(frozen=True)
class Converted:
    """What was made of a file."""

    program: str
    """Whose it was."""
    exp: BaseExp
    tensors: int
    """How many were taken."""
    unused: tuple[str, ...]
    """Names of those that were not."""
    notes: tuple[str, ...]
    """What the user should know, a line each."""


def convert(
    source: Path,
    target: Path,
    program: str | None = None,
    classes: str | None = None,
    size: int | None = None,
    norm_eps: float | None = None,
) -> Converted:
    """Write a checkpoint of another program as one of otadet's.

    Args:
        source: the file of the other program.
        target: the file to write, another one.
        program: whose `source` is; None: found out by its names.
        classes: comma-separated names; None: COCO's, where their number says so.
        size: side of the input in pixels, the shorter one where it is no square; None: as published.
        norm_eps: of the batch norms of torchvision's networks; None: as published.

    Raises `UserError` for what is no such file or does not fit, and `OutputError`.
    """
    import torch

    from otadet.apps.onnx_file import is_onnx
    from otadet.convert.programs import PROGRAMS, program_of, read_published
    from otadet.convert.tensors import fit
    from otadet.engine.checkpoint import save_checkpoint
    from otadet.files import check_writable

    published = read_published(source)
    if os.path.exists(target) and os.path.samefile(source, target):
        raise UserError(f"{target}: is the very file to convert; name another one for what comes out")
    if is_onnx(target):
        raise UserError(f"{target}: would be taken for an ONNX file; end its name in .pth, and otadet export makes one")
    check_writable(target)
    program = program_of(published, source, program)
    wish = Wish(given_names(classes), size, chosen_eps(source, program, norm_eps))
    draft = DRAFTERS[program](PROGRAMS[program].named(published, source), source, wish, target.stem)
    # Not made: the file's word for how large it is.
    with torch.device("meta"):
        network = draft.exp.build_model(len(draft.class_names))
    fitted = fit(network, draft.state, source)
    state = {"model": draft.finish(fitted.state), "class_names": list(draft.class_names)}
    save_checkpoint(target, {**state, "parts": draft.exp.describe(), "experiment": draft.exp.about()})
    return Converted(program, draft.exp, len(fitted.state), fitted.unused, draft.notes)


def given_names(classes: str | None) -> tuple[str, ...] | None:
    """Of `--classes`. Raises `UserError` for names that cannot be."""
    from otadet.names import clean_class_names

    return None if classes is None else clean_class_names([name.strip() for name in classes.split(",")], "--classes")


def chosen_eps(source: Path, program: str, given: float | None) -> float | None:
    """Of the batch norms, where it is known to be another one than usual. Raises `UserError` for one that cannot be."""
    from otadet.convert.published import norm_eps_of
    from otadet.download import sha256_of

    if program != "torchvision":
        if given is not None:
            raise UserError(f"--norm-eps {given:g}: is for networks of torchvision; {source} is of {program}")
        return None
    if given is None:
        return norm_eps_of(sha256_of(source))
    if not 0 <= given < 1:
        raise UserError(f"--norm-eps {given:g}: must be at least 0, and below 1")
    return given


def report(args: Any, source: Path, made: Converted) -> None:
    """Say what was converted, and which tensors of the file were of no use."""
    if args.json:
        values = {"file": str(args.target), "from": made.program, "tensors": made.tensors, "unused": list(made.unused)}
        print(json.dumps({**values, "notes": list(made.notes), "model": made.exp.describe()["model"]}))
        return
    say(f"{source}: {made.program}, {made.exp.model}; all {made.tensors} tensors have their place")
    for note in made.notes:
        say(note)
    if made.unused:
        number = one_agrees(f"{len(made.unused):,} tensors")
        say(f"{number} not used, as the network has no place for them: {name_list(made.unused)}")
    say(f"wrote {args.target}; otadet eval -c {shlex.quote(str(args.target))} data FOLDER measures it")

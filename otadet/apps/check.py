"""Check a folder of annotated pictures: what is in it, what is wrong with it, and how to train on it.

otadet check datasets/mine                            numbers, findings, suggestions
otadet check datasets/mine --sheet check.png          and a picture of examples with their boxes
otadet check datasets/mine --size 640x640 --json      for another size of the network's input; as JSON
otadet check datasets/mine -f mine.py                 for the size that an experiment trains at
otadet check datasets/mine data.exif_orientation true for pictures that are trained on upright

Fields of the experiment to change come last, as pairs. Without -f it is that of `otadet train data PATH`.

The format is found out. Every image file is decoded, unless --fast is given, and compared with all others. What cannot
be trained on is looked at, too: a split that cannot be read is a finding, and the others are checked. Exit status: 0
without errors and warnings, 3 with warnings, 4 with errors; see --fail-on. `docs/check.md` has the list of findings.
"""

from __future__ import annotations

import json
import math
import sys
from argparse import ArgumentParser
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from otadet.apps.arguments import counter, parse, say
from otadet.command_line import Parser, as_name, as_path

if TYPE_CHECKING:
    from otadet.data.annotations import Annotations
    from otadet.data.check.split import Split
    from otadet.data.check.statistics import Resize
    from otadet.data.formats.detect import FindOptions
    from otadet.data.formats.layout import Layout
    from otadet.data.images import ReadOptions
    from otadet.errors import UserError
    from otadet.exp import BaseExp

FOUND_WARNINGS, FOUND_ERRORS = 3, 4
"""Exit statuses; 1 and 2 are those of a program that fails."""
FAIL_ON = ("error", "warning", "never")
_OF_DATA = ("exif_orientation", "max_pixels", "outside_images", "boxes", "format")
"""Fields of an experiment's data by which they are found and read."""
_FEW_FILES = 200
"""That many are looked at before other processes would have started."""
_MOST_WORKERS = 1024


def parser() -> ArgumentParser:
    made = Parser(description=__doc__)
    made.add_argument("path", type=as_path, metavar="PATH", help="folder of the data, or the file that describes them")
    made.add_argument(
        "overrides", nargs="*", default=[], metavar="name value", help="fields of the experiment to change"
    )
    made.add_argument("--format", help="where a folder fits two: coco, yolo, voc or crowdhuman")
    made.add_argument(
        "-f", "--exp", type=as_name, metavar="EXP", help="experiment whose size and reading of images count"
    )
    made.add_argument(
        "--size", metavar="SIZE", help="that is trained at, such as 800/1333 or 640x640; default: what suits"
    )
    made.add_argument("--fast", action="store_true", help="look at the headers of image files alone")
    made.add_argument("--workers", type=int, metavar="N", help="processes that decode images; default: one per core")
    made.add_argument("--list", type=int, default=5, metavar="N", help="files that are named per finding; default: 5")
    made.add_argument("--sheet", type=as_path, metavar="FILE", help="draw examples, and images by chance: PNG or JPEG")
    made.add_argument(
        "--fail-on", choices=FAIL_ON, default="warning", help="from when on the status is not 0; default: warning"
    )
    made.add_argument("--json", action="store_true", help="print all numbers and all files of all findings as JSON")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(parser(), argv)
    from otadet.apps.check_report import as_data, print_report
    from otadet.apps.outputs import check_beside, check_outputs
    from otadet.data.check.advice import advice
    from otadet.data.check.findings import check_splits
    from otadet.data.formats.detect import find_data
    from otadet.errors import UserError
    from otadet.visualize.canvas import check_picture

    for name, value, most in (("--workers", args.workers, _MOST_WORKERS), ("--list", args.list, math.inf)):
        if value is not None and not 0 <= value <= most:
            raise UserError(f"{name} {value}: must be at least 0{f' and at most {most:,}' if value > most else ''}")
    check_picture(args.sheet)
    check_outputs({"--sheet": args.sheet}, [args.path, args.exp])
    exp = experiment(args.exp, args.overrides)
    size = given_size(args.size, exp)
    find = find_options(exp)
    options = find.images
    layout = find_data(args.path, args.format or getattr(exp and exp.data, "format", "auto"), find)
    say(f"{args.path}: {layout}", args.json)
    annotations, refused = read_splits(layout)
    for one in annotations.values():
        check_outputs({"--sheet": args.sheet}, [one.source])
        check_beside("--sheet", args.sheet, one.image_dir, one.file_names)
    splits = look_at_files(annotations, options, args.fast, args.workers)
    resize = suited_size(splits) if size is None else size
    # One file of COCO or CrowdHuman is mostly one split of several.
    whole = layout.format not in ("COCO", "CrowdHuman") or not args.path.is_file()
    findings = check_splits(splits, resize, refused=refused, options=options, all_there_are=whole)
    suggestions = advice(splits[0].statistics, resize) if splits else []
    if args.json:
        print(json.dumps(as_data(splits, resize, findings, suggestions)))
    else:
        print_report(splits, resize, findings, suggestions, args.list)
    if args.sheet:
        from otadet.apps.check_sheet import draw_sheet

        drawn = draw_sheet(splits, findings, options, args.sheet)
        say(
            f"{drawn} pictures: {args.sheet}" if drawn else f"{args.sheet}: not written, as no image can be shown",
            args.json,
        )
    severities = {finding.severity for finding in findings}
    if status := exit_status(severities, args.fail_on):
        sys.exit(status)


def exit_status(severities: Collection[str], fail_on: str) -> int:
    """0, `FOUND_WARNINGS` or `FOUND_ERRORS`. fail_on: one of `FAIL_ON`."""
    if fail_on != "never" and "error" in severities:
        return FOUND_ERRORS
    return FOUND_WARNINGS if fail_on == "warning" and "warning" in severities else 0


def experiment(name: str | None, overrides: Sequence[str]) -> BaseExp | None:
    """The experiment of -f, or that of a training on somebody's pictures where anything of it is set.

    Raises `UserError` where other data than those of PATH are named; what has no effect here stderr is told.
    """
    from otadet.apps.arguments import note_unused, paths_named
    from otadet.apps.train import OWN_PICTURES
    from otadet.errors import UserError
    from otadet.exp import load_exp

    if name is None and not overrides:
        return None
    exp = load_exp(OWN_PICTURES if name is None else name)
    exp.override(overrides)
    of_data = [path for path in paths_named(exp, overrides) if path.partition(".")[0] == "data"]
    if {"data", "data.folder"} & {*of_data}:
        raise UserError("data: those of PATH are checked; omit it, or name it in place of PATH")
    if unused := [path for path in of_data if path.removeprefix("data.") not in _OF_DATA]:
        print(f"note: {', '.join(unused)}: without effect here, where all splits are checked", file=sys.stderr)
    note_unused(exp, overrides, ("data", "input", "train_resize"))
    return exp


def find_options(exp: BaseExp | None) -> FindOptions:
    """How what is found is read."""
    from otadet.data.formats.detect import FindOptions

    if exp is None:
        return FindOptions()
    data = exp.data
    return FindOptions(
        getattr(data, "outside_images", False), exp.build_read_options(), getattr(data, "boxes", FindOptions.boxes)
    )


def read_splits(layout: Layout) -> tuple[dict[str, Annotations], list[tuple[str, UserError]]]:
    """The annotations by split, the training split first, and the splits that cannot be read, with the reasons."""
    from otadet.data.formats.layout import SPLITS, lenient
    from otadet.errors import UserError

    order = [*(name for name in SPLITS if name in layout.splits), *(n for n in layout.splits if n not in SPLITS)]
    annotations, refused = {}, []
    for name in order:
        try:
            # An entry that is wrong does not keep the check from looking at all else.
            annotations[name] = lenient(layout.splits[name]).read()
        except UserError as error:
            refused.append((name, error))
    return annotations, refused


def look_at_files(
    annotations: dict[str, Annotations], options: ReadOptions, fast: bool, workers: int | None
) -> list[Split]:
    """The splits with what is known of their image files."""
    from otadet.data.check.scan import scan_files
    from otadet.data.check.split import Split, image_paths
    from otadet.engine.cores import usable_cores

    splits = []
    for name, one in annotations.items():
        paths = image_paths(one)
        processes = (0 if len(paths) <= _FEW_FILES or fast else usable_cores()) if workers is None else workers
        files = scan_files(
            paths, options=options, decode=not fast, workers=processes, progress=counter(name, len(paths))
        )
        splits.append(Split(name, one, files))
    return splits


def given_size(text: str | None, exp: BaseExp | None) -> Resize | None:
    """That of --size, else of the experiment, else None; and None for an experiment that chooses it for its data."""
    from otadet.errors import UserError
    from otadet.exp import RecipeExp
    from otadet.exp.words import resize_by_text

    if text is not None:
        try:
            return resize_by_text("--size", text)
        except UserError as error:
            raise UserError(str(error) if str(error).startswith("--size") else f"--size {text}: {error}") from error
    if exp is None:
        return None
    if exp.train_resize is not None:
        return exp.train_resize
    return None if isinstance(exp, RecipeExp) and exp.is_free("input.resize") else exp.input.resize


def suited_size(splits: Sequence[Split]) -> Resize:
    """The one that `otadet train data PATH` chooses; the paper's where no split could be read."""
    from otadet.data.transforms import ResizeShortestEdge
    from otadet.exp.recipe import fitting_resize

    return fitting_resize(splits[0].statistics) if splits else ResizeShortestEdge((800,), 1333)

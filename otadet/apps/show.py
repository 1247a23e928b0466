"""Draw which anchors the rules of label assignment make positive, side by side, as in the OTA paper's Fig. 3.

otadet show data -f EXP draws batches of a training instead: otadet show data --help.

otadet show -c best.pth --assigner ota simota --path 000001.png
otadet show -f exps/quickstart.py --assigner ota --mass --level all --path 000001.png 000002.png

The ground truth is the experiment's: images are looked up by name in its validation set, then its training set; a
folder stands for those of its images that have boxes.
Without a checkpoint the network is an untrained one; without -f the experiment is the one that the checkpoint
describes. The experiment's own rule is called "exp". Fields of the experiment to change come first, or behind --path.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otadet.apps import show_data
from otadet.apps.arguments import (
    chosen_rule,
    experiment_parser,
    load_experiment,
    note_unused,
    parse,
    pick_device,
    say,
    short_name,
)
from otadet.command_line import as_name, as_path

if TYPE_CHECKING:
    from otadet.analysis.assigned import AssignedImage
    from otadet.assigners import Assigner
    from otadet.exp import BaseExp


ON_SHEET = 12
"""Images of the contact sheet at most: it stays a file that viewers open."""


def parser() -> ArgumentParser:
    made = experiment_parser(__doc__)
    made.add_argument(
        "-c",
        "--checkpoint",
        type=as_name,
        metavar="CKPT",
        help="a file, or a published name; default: an untrained network",
    )
    made.add_argument(
        "--assigner", nargs="+", default=["exp"], metavar="RULE", help="such as ota simota; default: the experiment's"
    )
    made.add_argument(
        "--path", nargs="+", type=as_name, required=True, metavar="IMAGE", help="files, folders, or names of the data"
    )
    made.add_argument(
        "--level", type=level, default="best", help="3 for P3 and so on, all, or best: the one with the most positives"
    )
    made.add_argument("--mass", action="store_true", help="shade by the labels that OTA transports to each place")
    made.add_argument(
        "--output", type=as_path, default=Path("runs/assignments"), metavar="DIR", help="default: runs/assignments"
    )
    made.add_argument("--json", action="store_true", help="print the files and the counts as JSON")
    return made


def level(text: str) -> int | str:
    """ "best", "all", or the number of a pyramid level."""
    if text in ("best", "all"):
        return text
    if text.removeprefix("P").isdigit():
        return int(text.removeprefix("P"))
    raise ArgumentTypeError(f"{text!r} is neither best, nor all, nor a level such as 3 for P3")


def main(argv: Sequence[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else list(argv)
    if shows_data(argv):
        show_data.main(argv[1:], f"{Path(sys.argv[0]).name} data")
        return
    args = parse(parser(), argv)
    from otadet.apps.annotated import annotated_images
    from otadet.apps.assign import assign, build_network
    from otadet.apps.pictures import split_fields
    from otadet.exp.fields import names_of_fields
    from otadet.files import check_folder
    from otadet.visualize.assignment.figure import assignment_figure
    from otadet.visualize.canvas import write_image

    check_folder(args.output)
    needed = ["data", "input", "model", "run", *(["assigner"] if "exp" in args.assigner else [])]
    exp, state = load_experiment(args, needed)
    words, trailing = split_fields(args.path, names_of_fields(exp))
    exp.override(trailing)
    note_unused(exp, trailing, needed)
    device = pick_device(args.device)
    rules = chosen_rules(exp, args.assigner)
    if args.mass:
        check_mass(rules)
    found, class_names = annotated_images(
        exp, [Path(word) for word in words], () if state is None else state["class_names"]
    )
    if state is None:
        say("no checkpoint: the predictions are those of an untrained network", args.json)
    model = build_network(exp, args.checkpoint, state, class_names).to(device)
    records = []
    on_sheet: list[tuple[str, AssignedImage]] = []
    for image, out in zip(found, output_files(args.output, [image.path for image in found]), strict=True):
        assigned = assign(exp, model, image.sample(), rules, device)
        shown = args.level if isinstance(args.level, str) else level_index(assigned, args.level)
        write_image(out, assignment_figure(assigned, shown, args.mass))
        if len(on_sheet) < ON_SHEET:
            on_sheet.append((image.path.name, assigned))
        boxes, found_by = len(assigned.boxes), counts(assigned)
        said = (f"{rule} {n['positives']} positives, {n['ambiguous']} ambiguous" for rule, n in found_by.items())
        say(f"{image.path.name}: {boxes} boxes; {'; '.join(said)}: {out}", args.json)
        records.append({"image": str(image.path), "picture": str(out), "boxes": boxes, "rules": found_by})
    if len(found) > 1:
        sheet = write_sheet(args.output, on_sheet, shown, args.mass)
        say(f"{'all of them' if len(found) <= ON_SHEET else f'the first {ON_SHEET}'}: {sheet}", args.json)
    if args.json:
        print(json.dumps(records, ensure_ascii=False))


def write_sheet(folder: Path, images: list[tuple[str, AssignedImage]], level: int | str, show_mass: bool) -> Path:
    """Write the contact sheet of the images and their names; returns its file. level, show_mass: as of each figure."""
    from otadet.visualize.assignment.figure import assignment_sheet
    from otadet.visualize.canvas import write_image

    sheet = folder / "sheet.png"
    names, assigned = zip(*images, strict=True)
    write_image(sheet, assignment_sheet(assigned, names, level, show_mass))
    return sheet


def shows_data(argv: Sequence[str]) -> bool:
    """Whether the first word asks for batches of the data; it is the name of a field where images are named, too."""
    return argv[:1] == ["data"] and not any(word.split("=")[0] == "--path" for word in argv)


def counts(assigned: AssignedImage) -> dict[str, dict[str, int]]:
    """The number of positives and of ambiguous anchors of each rule, by its title."""
    return {
        result.rule: {"positives": int((result.gt_index >= 0).sum()), "ambiguous": int(result.ambiguous.sum())}
        for result in assigned.results
    }


def output_files(folder: Path, paths: list[Path]) -> list[Path]:
    """A PNG for each image; images of one name get numbers."""
    names = [path.stem for path in paths]
    numbers = [names[:index].count(name) for index, name in enumerate(names)]
    return [
        folder / f"{name}-assigned{f'-{number + 1}' if number else ''}.png"
        for name, number in zip(names, numbers, strict=True)
    ]


def chosen_rules(exp: BaseExp, words: list[str]) -> dict[str, Assigner]:
    """The rules by their titles: the experiment's own, and variants of one rule, are told from the others."""
    rules = {word: chosen_rule(exp, word) for word in words}
    named = [short_name(rule) for word, rule in rules.items() if word != "exp"]
    return {_title(word, rule, named, alone=len(rules) == 1): rule for word, rule in rules.items()}


def _title(word: str, rule: Assigner, named: list[str], alone: bool) -> str:
    name = short_name(rule)
    is_distinct = alone if word == "exp" else named.count(name) == 1
    return name if is_distinct else f"{name} ({word})"


def check_mass(rules: dict[str, Assigner]) -> None:
    """Raise `UserError` where none of the rules transports anything."""
    from otadet.assigners import OTAAssigner
    from otadet.errors import UserError

    if not any(isinstance(rule, OTAAssigner) for rule in rules.values()):
        raise UserError(f"--mass shades what OTA transports, and none of {', '.join(rules)} is OTA: add --assigner ota")


def level_index(assigned: AssignedImage, level: int) -> int:
    """The place of the pyramid level P`level` among the network's. Raises `UserError` where it has none such."""
    from otadet.errors import UserError

    names = [assigned.grid.name(index) for index in range(len(assigned.grid.level_sizes))]
    if f"P{level}" not in names:
        raise UserError(f"--level {level}: the network has {', '.join(names)}")
    return names.index(f"P{level}")

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
from typing import TYPE_CHECKING, Any

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
    import torch

    from otadet.analysis.assigned import AssignedImage
    from otadet.assigners import Assigner
    from otadet.data.sample import Sample
    from otadet.exp import BaseExp
    from otadet.models.detector import Detector


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
    import torch

    from otadet.apps.annotated import annotated_images
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
        with torch.no_grad():
            assigned = assign(exp, model, image.sample(), rules, device)
        shown = args.level if isinstance(args.level, str) else level_index(assigned, args.level)
        write_image(out, assignment_figure(assigned, shown, args.mass))
        if len(on_sheet) < ON_SHEET:
            on_sheet.append((image.path.name, assigned))
        boxes = len(assigned.boxes)
        say(f"{image.path.name}: {boxes} boxes; {summary(assigned)}: {out}", args.json)
        records.append({"image": str(image.path), "picture": str(out), "boxes": boxes, "rules": counts(assigned)})
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


def counts(assigned: AssignedImage) -> dict[str, Any]:
    """What `summary` says, by rule."""
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


def build_network(
    exp: BaseExp, checkpoint: str | None, state: dict[str, Any] | None, class_names: tuple[str, ...]
) -> Detector:
    """The trained network, or without a checkpoint one with initial weights, in evaluation mode.

    state: what the checkpoint holds. class_names: (C,) of the data.
    """
    import torch

    from otadet.exp.load import load_detector, without_pretrained
    from otadet.models.detector import as_detector

    if checkpoint is not None:
        return load_detector(exp, checkpoint, class_names, state=state)[0]
    torch.manual_seed(exp.run.seed)
    return as_detector(without_pretrained(exp).build_model(len(class_names))).eval()


def assign(
    exp: BaseExp, model: Detector, sample: Sample, rules: dict[str, Assigner], device: torch.device
) -> AssignedImage:
    """The image as the network sees it in evaluation, and the answer of each rule."""
    import numpy as np

    from otadet.analysis.assigned import AssignedImage, Grid, RuleResult
    from otadet.assigners import OTAAssigner
    from otadet.data.batch import collate

    spec = exp.input
    sample = spec.transform(sample, np.random.default_rng(exp.run.seed))
    batch = collate([sample], spec.pad_value, model.size_divisor).to(device)
    predictions, anchors = model(spec.normalize(batch.images))
    results = []
    for title, rule in rules.items():
        found = rule(predictions, anchors, batch.truths)
        mass = rule.mass(predictions, anchors, batch.truths[0]) if isinstance(rule, OTAAssigner) else None
        results.append(
            RuleResult(
                title,
                found.gt_index[0].cpu().numpy(),
                found.ambiguous[0].cpu().numpy(),
                None if mass is None else mass.cpu().numpy(),
            )
        )
    grid = Grid(anchors.points.cpu().numpy(), anchors.strides.cpu().numpy(), anchors.level_sizes, anchors.per_location)
    return AssignedImage(sample.image, sample.boxes, grid, results)


def level_index(assigned: AssignedImage, level: int) -> int:
    """The place of the pyramid level P`level` among the network's. Raises `UserError` where it has none such."""
    from otadet.errors import UserError

    names = [assigned.grid.name(index) for index in range(len(assigned.grid.level_sizes))]
    if f"P{level}" not in names:
        raise UserError(f"--level {level}: the network has {', '.join(names)}")
    return names.index(f"P{level}")


def summary(assigned: AssignedImage) -> str:
    """The number of positives and of ambiguous anchors of each rule."""
    return "; ".join(
        f"{result.rule} {(result.gt_index >= 0).sum()} positives, {result.ambiguous.sum()} ambiguous"
        for result in assigned.results
    )

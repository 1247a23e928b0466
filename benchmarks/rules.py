"""Rules of label assignment against each other: one network, one recipe, one seed, a training per rule.

python benchmarks/rules.py -c nano.pth data datasets/aquarium
python benchmarks/rules.py -c nano.pth data datasets/aquarium --rules "ota, ota assigner.cost rtmdet" --seeds 0,1,2
python benchmarks/rules.py --only-table

With -c the network of the checkpoint is fine-tuned, as by `otadet train -c`, at 416 pixels, in 20 epochs of batches of
16; without it exps/ota_csp_nano.py is trained from scratch. What else is set, as `part.name value`, is set for all of
the rules. A rule is a word of `otadet.assigners`, behind which settings of its own may follow. On a YOLOX network OTA
has YOLOX's costs and SimOTA YOLOX's settings; DSLA has its quality focal loss; else the loss is the network's.

Each finished training is a row of the CSV file. The same command does not train again what has its row, and goes on
with a training that was interrupted, exactly. A row belongs to its data, weights, settings, device and versions: others
are other rows, and never in the same table. A start may suit one rule better than another: the published YOLOX-nano has
been trained with SimOTA.

The columns: AP and AP50 of the last (averaged) weights; ambiguous anchors, those contested between boxes, and positive
ones, per training image, with the trained network; seconds per step without the wait for data, and of all steps with
it; the milliseconds that the rule alone takes per batch, and what share of OTA's they are, by turns on the same
predictions.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # As a script it has its own folder there, whose package `benchmarks` is to be found as everywhere.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from otadet.engine.stop import Stopped, end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

import os
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from otadet.apps.arguments import AUTO, experiment_parser, parse, pick_device
from otadet.apps.evaluate import SPLITS
from otadet.apps.outputs import check_outputs
from otadet.cli import run
from otadet.command_line import as_name, as_path
from otadet.errors import UserError
from otadet.files import atomic_write

if TYPE_CHECKING:
    import torch

    from benchmarks.rulebench.contest import Contest, Entry
    from benchmarks.rulebench.rows import Row

RULES = ("ota", "simota", "tal_soft", "dsla", "atss", "fcos")
OUTPUT = Path("runs/rules/rules.csv")


def parser() -> ArgumentParser:
    made = experiment_parser(__doc__)
    made.add_argument(
        "-c",
        "--checkpoint",
        type=as_name,
        metavar="CKPT",
        help="start from it, or from a published name; default: from scratch",
    )
    made.add_argument("--rules", type=listed, default=RULES, metavar="A,B", help=f"default: {','.join(RULES)}")
    made.add_argument("--seeds", type=seeds, default=(0,), metavar="M,N", help="default: 0")
    made.add_argument("--split", choices=SPLITS, default="val", help="what AP is measured on; default: val")
    made.add_argument(
        "--images", type=int, default=200, metavar="N", help="training images to count anchors on; default: 200"
    )
    made.add_argument("--minutes", type=float, metavar="M", help="do not begin what would not be done by then")
    made.add_argument("--output", type=as_path, default=OUTPUT, metavar="FILE", help=f"default: {OUTPUT}")
    made.add_argument(
        "--folder", type=as_path, metavar="DIR", help="of the trainings; default: FILE without its suffix"
    )
    made.add_argument("--table", type=as_path, metavar="FILE", help="write the table as Markdown, too")
    made.add_argument("--only-table", action="store_true", help="print the tables of what --output has, train nothing")
    return made


def listed(text: str) -> tuple[str, ...]:
    """`"ota, ota assigner.k 5"` -> ("ota", "ota assigner.k 5")."""
    found = tuple(dict.fromkeys(" ".join(part.split()) for part in text.split(",") if part.strip()))
    if not found:
        raise ArgumentTypeError("names nothing")
    return found


def seeds(text: str) -> tuple[int, ...]:
    """`"0,1"` -> (0, 1)."""
    if not all(re.fullmatch(r"[0-9]{1,18}", part) for part in listed(text)):
        raise ArgumentTypeError(f"{text!r}: expected whole numbers, such as 0,1,2")
    return tuple(dict.fromkeys(map(int, listed(text))))


def main(argv: Sequence[str] | None = None) -> None:
    started = perf_counter()
    args = parse(parser(), argv)
    check(args)
    from benchmarks.rulebench.report import contests
    from benchmarks.rulebench.rows import read_rows

    check_outputs({"--table": args.table, "--output": args.output}, [args.checkpoint, args.exp])
    if args.only_table:
        rows = read_rows(args.output)
        if not rows:
            raise UserError(f"{args.output}: has no results yet")
        show(contests(rows), args.table)
        return
    from otadet.engine.run_folder import run_folder

    args.folder = args.folder or args.output.with_name(
        args.output.stem if args.output.suffix else f"{args.output.name}-runs"
    )
    with run_folder(args.folder):
        compare(args, started)


def check(args: Namespace) -> None:
    """Raise `UserError` for values that cannot work."""
    if args.minutes is not None and not 0 <= args.minutes < float("inf"):
        raise UserError(f"--minutes {args.minutes:g}: must be a number, and not below 0")
    if args.images < 1:
        raise UserError(f"--images {args.images}: must be at least 1")
    if args.table is not None and os.path.realpath(args.table) == os.path.realpath(args.output):
        raise UserError(f"--table {args.table}: is the file of the results; name another one")
    if args.only_table and (args.overrides or args.checkpoint or args.exp):
        raise UserError("--only-table trains nothing: leave the experiment, the checkpoint and settings out")


def compare(args: Namespace, started: float) -> None:
    """Train what has no row yet, as far as the time goes, print the table, and say what is left out.

    Raises `UserError` at the end for rules that failed.
    """
    from benchmarks.rulebench.contest import contest_of
    from benchmarks.rulebench.rows import append_row, read_rows
    from otadet.apps.published import checkpoint_path
    from otadet.engine.checkpoint import load_checkpoint
    from otadet.engine.guard import NonFiniteError

    device = pick_device(args.device)
    state = None
    if args.checkpoint is not None:
        args.checkpoint = checkpoint_path(args.checkpoint)
        state = load_checkpoint(args.checkpoint)
    done = {row.id: row for row in read_rows(args.output)}
    contest = contest_of(args, state, device)
    missing: list[str] = []
    failed: list[str] = []
    longest = 0.0
    for entry in contest.entries:
        name = f"{entry.rule}, seed {entry.seed}"
        if entry.id in done:
            print(f"{name}: done already", flush=True)
            continue
        begun = perf_counter()
        if args.minutes is not None and begun - started + longest >= 60 * args.minutes:
            missing.append(f"{name}: would not be done within {args.minutes:g} minutes")
            continue
        print(f"{name}: begins", flush=True)
        try:
            row = train(entry, contest, args, device)
        except (NonFiniteError, RuntimeError) as error:
            # Of one rule: a loss that is not finite, or all that PyTorch says. The others go on.
            failed.append(f"{name}: {str(error).strip().partition(chr(10))[0] or type(error).__name__}")
            print(f"failed: {failed[-1]}", file=sys.stderr, flush=True)
            continue
        append_row(args.output, row)
        done[row.id] = row
        seconds = perf_counter() - begun
        longest = max(longest, seconds)
        print(f"{name}: AP {row.AP:.3f}, {row.step_seconds:.4f} s per step, {seconds:.0f} s in all", flush=True)
    rows = [done[entry.id] for entry in contest.entries if entry.id in done]
    if rows:
        show([rows], args.table)
    print(f"results: {args.output}")
    for line in missing:
        print(f"left out: {line}")
    if failed:
        raise UserError(f"failed: {'; '.join(failed)}")


def show(tables: list[list[Row]], path: Path | None) -> None:
    """Print tables, and write them as Markdown where there is a path."""
    from benchmarks.rulebench.report import table

    for rows in tables:
        print(f"\n{table(rows)}\n")
    if path is not None:
        with atomic_write(path, "w") as file:
            file.write("\n\n".join(table(rows, markdown=True) for rows in tables) + "\n")


def train(entry: Entry, contest: Contest, args: Namespace, device: torch.device) -> Row:
    """Train to the end, or go on with it, and measure. Raises `Stopped` where it was interrupted."""
    from benchmarks.rulebench.measures import measured
    from otadet.apps.start import Start
    from otadet.apps.training import train_experiment

    folder = args.folder / entry.id
    if not train_experiment(entry.exp, device, Start(folder, resume=AUTO, checkpoint=args.checkpoint)):
        raise Stopped
    return measured(entry, contest, args, device, folder)


if __name__ == "__main__":
    run(main)

"""Count the ambiguous anchors per image that rules of label assignment find: N_amb of the OTA paper's Tab. 2.

python tools/ambiguity.py -f exps/ota_fcos_r50.py -c best.pth --assigner ota atss paa --radius 3 5 7 --limit 5000
python tools/ambiguity.py -f exps/quickstart.py -c runs/quickstart/best.pth --split val --csv ambiguous.csv
python tools/ambiguity.py assigner.ambiguity min_area -f exps/ota_fcos_r50.py -c best.pth

Ambiguous is what each rule says: OTA's anchors whose largest share of the plan is below 0.9, also where the other part
is the background's; any other rule's that qualify for several boxes. Contested are those ambiguous between boxes alone,
which compares like with like.

--radius is the paper's r: r x r candidates of each level for a box. A rule without such a setting is counted once.
Fields of the experiment to change come first, or last after --.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from otadet.apps.arguments import (
    check_counts,
    chosen_rule,
    experiment_parser,
    load_trained,
    parse,
    pick_device,
    say,
    short_name,
)
from otadet.command_line import as_name, as_path

if TYPE_CHECKING:
    from otadet.analysis.ambiguity import AmbiguityCount, SizedRule
    from otadet.exp import BaseExp

NEEDED = ("data", "input", "model", "run")
"""Parts of the experiment that are counted with, beside its assigner."""


def parser() -> ArgumentParser:
    made = experiment_parser(__doc__)
    made.add_argument(
        "-c",
        "--checkpoint",
        type=as_name,
        required=True,
        metavar="CKPT",
        help="the trained network: a file, or a published name",
    )
    made.add_argument(
        "--assigner",
        nargs="+",
        default=["exp"],
        metavar="RULE",
        help="names, or exp for the experiment's (default)",
    )
    made.add_argument("--radius", nargs="+", type=int, metavar="R", help="such as 3 5 7; default: the rules' own")
    made.add_argument("--split", choices=("train", "val"), default="train", help="default: train")
    made.add_argument("--limit", type=int, metavar="N", help="images, from all over the data; default: all")
    made.add_argument("-b", "--batch", type=int, metavar="N", help="images at once; default: run.batch_size")
    made.add_argument("--csv", type=as_path, metavar="FILE", help="write the table")
    made.add_argument("--json", action="store_true", help="print the table as JSON")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(parser(), argv)
    from otadet.analysis.ambiguity import EvenlySpaced, count_ambiguous
    from otadet.apps.outputs import check_outputs
    from otadet.evaluation.evaluator import pipeline_loader
    from otadet.exp import load_pipeline
    from otadet.files import write_csv
    from otadet.names import names_as_trained

    check_counts({"--limit": args.limit, "--batch": args.batch, "--radius": min(args.radius or [1])})
    check_outputs({"--csv": args.csv}, [args.checkpoint, args.exp])
    exp, state = load_trained(args, [*NEEDED, *(["assigner"] if "exp" in args.assigner else [])])
    device = pick_device(args.device)
    rules = chosen_rules(exp, args.assigner, args.radius or ())
    build = exp.build_train_dataset if args.split == "train" else exp.build_val_dataset
    dataset = build(names_as_trained(exp.data.class_names, state["class_names"]))
    pipeline = load_pipeline(exp, args.checkpoint, dataset.class_names, state=state).to(device)
    loader = pipeline_loader(
        pipeline,
        dataset if args.limit is None else EvenlySpaced(dataset, args.limit),
        batch_size=args.batch or exp.run.batch_size,
        workers=exp.run.workers,
        unreadable=exp.data.unreadable,
    )
    counts = count_ambiguous(pipeline, loader, rules)
    rows = [as_row(rule, count) for rule, count in zip(rules, counts, strict=True)]
    if args.json:
        print(json.dumps(rows))
    else:
        print_table(rows)
    if args.csv:
        write_csv(args.csv, rows)
        say(f"table: {args.csv}", args.json)


def chosen_rules(exp: BaseExp, words: Sequence[str], radii: Sequence[int]) -> list[SizedRule]:
    """The rules that are named, in each of the sizes r."""
    from otadet.analysis.ambiguity import at_each_r

    chosen = {word: chosen_rule(exp, word) for word in words}
    names = {word: f"exp ({short_name(rule)})" if word == "exp" else word for word, rule in chosen.items()}
    return [sized for word, rule in chosen.items() for sized in at_each_r(names[word], rule, dict.fromkeys(radii))]


def as_row(rule: SizedRule, count: AmbiguityCount) -> dict[str, Any]:
    """A line of the table: numbers per image."""
    return {
        "rule": rule.name,
        "r": "-" if rule.r is None else rule.r,
        "ambiguous": round(count.per_image(count.ambiguous), 4),
        "contested": round(count.per_image(count.contested), 4),
        "positives": round(count.per_image(count.positives), 4),
        "boxes": round(count.per_image(count.boxes), 4),
        "images": count.images,
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """rows: of `as_row`."""
    print(f"\nper image, on average over {rows[0]['images']}, with {rows[0]['boxes']:.1f} boxes")
    print(f"{'rule':<16}{'r':>4}{'ambiguous':>12}{'contested':>12}{'positives':>12}")
    for row in rows:
        print(
            f"{row['rule']:<16}{row['r']:>4}{row['ambiguous']:>12.2f}{row['contested']:>12.2f}{row['positives']:>12.1f}"
        )

"""What every rule of label assignment costs, beside the usual dense implementations of OTA, SimOTA and TAL.

otadet bench
otadet bench --scenes 7x1 100x1 200x1:1 --rules ota simota --repeat 30 --csv costs.csv

A scene is BOXESxIMAGES[:CLASSES[:HEIGHTxWIDTH]], by default 80 classes at 800x1216. All rules of a scene run in turn in
this process, the faster ones twice in a turn, and the best time of each counts. Memory is the peak of the tensors that
are alive at once. Launches are the operations that a GPU is given, and waits those after which the host must wait for
it; without a GPU they are counted on tensors that only pretend to be on one.
"""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from otadet.apps.arguments import DEVICES, check_counts, parse, pick_device, say
from otadet.command_line import Parser, as_path

if TYPE_CHECKING:
    import torch

    from otadet.profiling.compare import Comparison, Cost

SCENES = ("7x1", "25x1", "100x1", "7x16", "25x16", "100x16", "200x1:1")
SCALING_BOXES = (5, 10, 25, 50, 100, 200)
SCALING_SIZES = ((320, 512), (480, 736), (800, 1216), (1184, 1792), (1600, 2432))


def parser() -> ArgumentParser:
    made = Parser(description=__doc__)
    made.add_argument("--scenes", nargs="+", default=SCENES, metavar="SCENE", help=f"default: {' '.join(SCENES)}")
    made.add_argument("--rules", nargs="+", metavar="RULE", help="names as in --assigner, or dense; default: all")
    made.add_argument("--repeat", type=int, default=10, metavar="N", help="calls of each rule; default: 10")
    made.add_argument("--median", action="store_true", help="the median of the calls in place of the best")
    made.add_argument(
        "--budget", type=float, default=10.0, metavar="SECONDS", help="a slower rule is repeated less; default: 10"
    )
    made.add_argument(
        "--scaling",
        action=BooleanOptionalAction,
        default=True,
        help="OTA's time over boxes and over image area; default: yes",
    )
    made.add_argument("--device", choices=DEVICES, default="cpu", help="default: cpu")
    made.add_argument("--csv", type=as_path, metavar="FILE", help="write all numbers")
    made.add_argument("--json", action="store_true", help="print all numbers as JSON, without the scaling")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(parser(), argv)
    from otadet.apps.outputs import check_outputs
    from otadet.errors import UserError
    from otadet.files import write_csv
    from otadet.profiling.compare import compare
    from otadet.profiling.problems import parse_scene

    check_counts({"--repeat": args.repeat})
    if not 0 < args.budget < math.inf:
        raise UserError(f"--budget {args.budget:g}: must be above 0, and finite")
    check_outputs({"--csv": args.csv})
    scenes = [parse_scene(text) for text in args.scenes]
    rules = chosen_rules(args.rules)
    device = pick_device(args.device)
    comparisons = []
    for scene in scenes:
        comparison = compare(scene, rules, device, repeat=args.repeat, budget=args.budget, use_median=args.median)
        if not args.json:
            print_comparison(comparison)
        comparisons.append(comparison)
    if args.json:
        print(json.dumps([as_row(cost) for comparison in comparisons for cost in comparison.costs]))
    elif len(comparisons) > 1:
        print_ratios(comparisons, args.scenes, list(rules))
    if args.scaling and not args.json:
        print_scaling(device, args.repeat)
    if args.csv:
        write_csv(args.csv, [as_row(cost) for comparison in comparisons for cost in comparison.costs])
        say(f"\nall numbers: {args.csv}", args.json)


def chosen_rules(names: list[str] | None) -> dict:
    """Name -> function, OTA first, the dense ones last."""
    from otadet.assigners import assigner_names, named_assigner
    from otadet.profiling.dense import BASELINES

    wanted = [*assigner_names(), "dense"] if names is None else names
    rules = {name: named_assigner(name) for name in wanted if name != "dense"}
    return {**rules, **(BASELINES if "dense" in wanted else {})}


def print_comparison(comparison: Comparison) -> None:
    """A table of one scene, a line for each rule: times in ms, memory in MiB and relative to that of the logits."""
    first = comparison.costs[0]
    print(f"\n{first.scene}; logits {first.logits / 2**20:.1f} MiB")
    print(f"{'rule':<14}{'ms':>11}{'/ OTA':>9}{'memory MiB':>12}{'/ logits':>10}{'launches':>10}{'waits':>7}")
    ota = comparison.seconds("ota")
    for cost in comparison.costs:
        mark = "~" if cost.extrapolated else ""
        print(
            f"{cost.rule:<14}{mark + format(1000 * cost.seconds, '.2f'):>11}{ratio(cost.seconds, ota):>9}"
            f"{cost.memory / 2**20:>12.2f}{cost.memory / cost.logits:>10.3f}{cost.launches:>10}{cost.waits:>7}",
            flush=True,
        )
    if any(cost.extrapolated for cost in comparison.costs):
        print(f"~ the first image, times {first.scene.images}: this rule takes one image after the other")
    for rule, reason in comparison.failures.items():
        print(f"{rule} left out: {reason}")


def print_ratios(comparisons: list[Comparison], scenes: list[str], rules: list[str]) -> None:
    """Times relative to OTA's, a column for each scene."""
    print("\ntime / OTA's time")
    print(f"{'rule':<14}" + "".join(f"{scene:>12}" for scene in scenes))
    for rule in rules:
        cells = (ratio(comparison.seconds(rule), comparison.seconds("ota")) for comparison in comparisons)
        print(f"{rule:<14}" + "".join(f"{cell:>12}" for cell in cells))


def ratio(seconds: float | None, reference: float | None) -> str:
    """Three digits, or a dash where one of the two was not measured."""
    if seconds is None or reference is None:
        return "-"
    return f"{seconds / reference:.{0 if seconds >= 99.5 * reference else 1 if seconds >= 9.95 * reference else 2}f}"


def print_scaling(device: torch.device, repeat: int) -> None:
    """OTA's time over the number of boxes and over the area of the image."""
    from otadet.assigners import OTAAssigner
    from otadet.profiling.compare import scaling
    from otadet.profiling.problems import Scene

    over_boxes = scaling(OTAAssigner(), [Scene(boxes, 1) for boxes in SCALING_BOXES], device, repeat)
    print("\nOTA over boxes (1 image, 80 classes, 800x1216)")
    for boxes, seconds in zip(SCALING_BOXES, over_boxes, strict=True):
        print(f"{boxes:>12}{1000 * seconds:>10.2f} ms{1e6 * seconds / boxes:>10.0f} us per box")
    over_area = scaling(OTAAssigner(), [Scene(25, 1, 80, *size) for size in SCALING_SIZES], device, repeat)
    print("\nOTA over area (1 image, 25 boxes, 80 classes)")
    for (height, width), seconds in zip(SCALING_SIZES, over_area, strict=True):
        print(
            f"{f'{height}x{width}':>12}{1000 * seconds:>10.2f} ms{1e9 * seconds / height / width:>10.2f} ns per pixel"
        )


def as_row(cost: Cost) -> dict[str, Any]:
    """A line of the CSV file: the scene's fields, then the cost's."""
    from dataclasses import asdict

    values = asdict(cost)
    return {**values.pop("scene"), **values}

"""What a training step costs, and where its time goes, beside torchvision's FCOS in the same process.

python benchmarks/train_step.py --quick
python benchmarks/train_step.py --size 800 1216 --batch 8 --precision bf16 --mode eager --repeat 50

Measured is the training of exps/ota_fcos_r50.py on synthetic pictures with random weights: seconds per step by phases,
images per second, peak memory, the share of the label assignment, kernel launches and waits, and inference; each in
fp32, tf32, bf16 and fp16 as far as the device has them, eager and with torch.compile. The two networks have the same
weights, and take turns step by step, so that what disturbs the machine disturbs both. --quick is done in 4 minutes on a
GPU and in 10 on two CPU cores: what does not fit is left out, and said. Nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # As a script it has its own folder there, whose package `benchmarks` is to be found as everywhere.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

import os
from argparse import SUPPRESS, Namespace
from dataclasses import asdict
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

from otadet.apps.arguments import pick_device
from otadet.cli import run
from otadet.command_line import Parser, as_path
from otadet.errors import UserError
from otadet.files import check_writable

if TYPE_CHECKING:
    import torch

    from benchmarks.trainbench.contestants import Setup
    from benchmarks.trainbench.rows import Row
    from benchmarks.trainbench.turns import Budget

MODES = ("eager", "compile")
QUICK_SECONDS = {"cpu": 510, "cuda": 200}
SIZE = {"cpu": (448, 448), "cuda": (800, 1216)}
BATCH = {"cpu": 2, "cuda": 4}
COMPILING = 60
"""Seconds below which compiling is not begun."""
CHILD_START = 15
"""Seconds that a new process needs before it measures, and afterwards."""


def parse_args() -> Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one precision compiled, and within a budget of time")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="of the input; default: 448 448 on a CPU, else 800 1216"
    )
    parser.add_argument("--batch", type=int, metavar="N", help="images per step; default: 2 on a CPU, else 4")
    parser.add_argument("--classes", type=int, default=80, metavar="C", help="default: 80")
    parser.add_argument("--boxes", type=int, default=7, metavar="G", help="objects per image; default: 7, as in COCO")
    parser.add_argument("--depth", type=int, default=50, metavar="D", help="of the ResNet; default: 50")
    parser.add_argument(
        "--from-scratch", action="store_true", help="train everything, norms too; default: as a pretrained network"
    )
    parser.add_argument("--precision", nargs="+", metavar="P", help="of fp32 tf32 bf16 fp16; default: all")
    parser.add_argument("--mode", nargs="+", choices=MODES, default=MODES, help="default: both")
    parser.add_argument("--repeat", type=int, default=20, metavar="N", help="turns of each comparison; default: 20")
    parser.add_argument("--workers", type=int, metavar="N", help="loader processes; default: 0 on a CPU, else 4")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="for everything; default: none without --quick")
    parser.add_argument("--output", type=as_path, metavar="FILE", help="JSON; default: runs/train_step-DEVICE.json")
    parser.add_argument("--child-of", type=int, metavar="PID", help=SUPPRESS)
    return parser.parse_args()


def main() -> None:
    started = perf_counter()
    args = parse_args()
    if args.child_of is not None:
        from benchmarks.trainbench.child import end_with

        end_with(args.child_of, args.output)
    device = pick_device(args.device or ("cuda" if _has_cuda() else "cpu"))
    from benchmarks.trainbench.contestants import Setup
    from benchmarks.trainbench.hardware import device_name, environment, file_name_of
    from benchmarks.trainbench.report import describe, left_out, tables, write_json
    from benchmarks.trainbench.turns import Budget

    setup = Setup(
        size=tuple(args.size or SIZE[device.type]),
        batch=args.batch or BATCH[device.type],
        classes=args.classes,
        boxes=args.boxes,
        depth=args.depth,
        frozen=not args.from_scratch,
        workers=(4 if device.type == "cuda" else 0) if args.workers is None else args.workers,
    )
    check(args, setup)
    output = args.output or Path("runs") / f"train_step-{file_name_of(device_name(device))}.json"
    check_writable(output)
    seconds = args.budget or (QUICK_SECONDS[device.type] if args.quick else None)
    planned, reasons = plan(args, device)
    facts = environment(device)
    print(describe(setup, facts), flush=True)
    rows, failures = measure_all(planned, setup, device, args, Budget(seconds))
    missing = left_out(rows, [*reasons, *failures])
    if not rows and args.child_of is None:
        raise UserError(f"nothing could be measured: {'; '.join(missing)}")
    print(f"\n{tables(rows, setup, facts)}")
    for line in missing:
        print(f"left out: {line}")
    content = {
        "command": " ".join(sys.argv),
        "environment": facts,
        "setup": asdict(setup),
        "seconds": perf_counter() - started,
        "rows": [row.as_dict(setup.batch) for row in rows],
        "left_out": missing,
    }
    write_json(output, content)
    print(f"\nall numbers: {output}")


def check(args: Namespace, setup: Setup) -> None:
    """Raise `UserError` for values that cannot work."""
    from benchmarks.trainbench.hardware import PRECISIONS

    for side in setup.size:
        if side < 32 or side % 32:
            raise UserError(f"--size {' '.join(map(str, setup.size))}: height and width must be multiples of 32")
    lowest = {"batch": 1, "classes": 1, "boxes": 1, "repeat": 1, "workers": 0, "budget": 1}
    for name, limit in lowest.items():
        value = getattr(args, name)
        if value is not None and not value >= limit:
            raise UserError(f"--{name} {value}: must be at least {limit}")
    for precision in args.precision or ():
        if precision not in PRECISIONS:
            raise UserError(f"--precision {precision}: choose from {', '.join(PRECISIONS)}")


def plan(args: Namespace, device: torch.device) -> tuple[list[tuple[str, str]], list[str]]:
    """The (precision, mode) of the rows, and lines on those that the device cannot have."""
    from benchmarks.trainbench.hardware import PRECISIONS, lacking

    wanted = list(dict.fromkeys(args.precision or PRECISIONS))
    missing = {precision: lacking(precision, device) for precision in wanted}
    there = [precision for precision in wanted if missing[precision] is None]
    rows = [(precision, "eager") for precision in there if "eager" in args.mode]
    if "compile" in args.mode:
        fastest = [precision for precision in ("bf16", "fp16", *there) if precision in there][:1]
        rows += [(precision, "compile") for precision in (fastest if args.quick else there)]
    return rows, [f"{precision}: {reason}" for precision, reason in missing.items() if reason is not None]


def measure_all(
    planned: list[tuple[str, str]], setup: Setup, device: torch.device, args: Namespace, budget: Budget
) -> tuple[list[Row], list[str]]:
    """The rows, and lines on those that failed."""
    import torch

    from benchmarks.trainbench.turns import Budget

    rows, failures = [], []
    weights = {"eager": 2, "compile": 1}
    for number, (precision, mode) in enumerate(planned):
        share = weights[mode] / sum(weights[later] for _, later in planned[number:])
        seconds = None if budget.left == float("inf") else max(share * budget.left, 0.0)
        try:
            rows.append(measure_row(precision, mode, setup, device, args, Budget(seconds)))
        except Exception as error:
            # Out of memory and all else that PyTorch says; a compiler may say anything. The other rows go on.
            if mode == "eager" and not isinstance(error, RuntimeError):
                raise
            failures.append(f"{precision} {mode}: {_first_line(error)}")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return rows, failures


def measure_row(precision: str, mode: str, setup: Setup, device: torch.device, args: Namespace, budget: Budget) -> Row:
    """One row; a compiled one by a process of its own, which can be ended."""
    from benchmarks.trainbench.child import FOLDER
    from benchmarks.trainbench.rows import Measurement

    def say(line: str) -> None:
        print(f"{precision} {mode}: {line}", file=sys.stderr, flush=True)

    with TemporaryDirectory(prefix=FOLDER) as folder:
        if mode == "compile" and args.child_of is None:
            say("compiling in a process of its own")
            return measure_in_child(precision, setup, device, args, budget, Path(folder) / "row.json")
        return Measurement(setup, device, precision, mode, args.repeat, budget, Path(folder), say).run()


def measure_in_child(
    precision: str, setup: Setup, device: torch.device, args: Namespace, budget: Budget, output: Path
) -> Row:
    """A compiled row, measured by this program called anew. Raises `ChildError` with the reason where there is none."""
    from benchmarks.trainbench.child import ChildError, run_child
    from benchmarks.trainbench.rows import Row

    seconds = None if budget.left == float("inf") else budget.left
    if seconds is not None and seconds < COMPILING:
        raise ChildError("no time left for it")
    command = [
        *(sys.executable, __file__, "--child-of", os.getpid(), "--mode", "compile", "--precision", precision),
        *("--device", device.type, "--size", *setup.size, "--batch", setup.batch, "--classes", setup.classes),
        *("--boxes", setup.boxes, "--depth", setup.depth, "--workers", setup.workers, "--repeat", args.repeat),
        *([] if setup.frozen else ["--from-scratch"]),
        # What is left of it after compiling; the start of the process costs some of it too.
        *([] if seconds is None else ["--budget", max(1.0, seconds - CHILD_START)]),
        *("--output", output),
    ]
    content = run_child([str(word) for word in command], output, seconds)
    if not content["rows"]:
        raise ChildError("; ".join(content["left_out"]).removeprefix(f"{precision} compile: "))
    return Row.from_dict(content["rows"][0])


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    run(main)

"""Train the detector of an experiment.

python tools/train.py -f exps/quickstart.py
python tools/train.py -f exps/ota_fcos_r50.py -d 8 --amp --output runs/ota
python tools/train.py -f exps/quickstart.py --resume max_epochs 20
python tools/train.py -f exps/quickstart.py --resume auto
python tools/train.py -f exps/my_data.py -c runs/ota/best.pth lr 0.002

The output folder gets last.pth, its predecessor last.previous.pth, best.pth, metrics.csv, train.log, and at the end
curves.png and predictions.png. It is runs/NAME of the experiment, or that of the checkpoint to resume, unless --output
says otherwise.
"""

from __future__ import annotations

from otadet.engine.stop import Stopped, end_at_once_on_signals
from otadet.signals import take_signals

if __name__ in ("__main__", "__mp_main__"):
    end_at_once_on_signals()  # before the imports that take seconds, in the processes of -d N too
    if __name__ == "__mp_main__":
        take_signals()

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from otadet.cli import experiment_parser, load_experiment, pick_device, run_tool

if TYPE_CHECKING:
    import torch

    from otadet.exp import BaseExp

AUTO = "auto"


def parse_args() -> Namespace:
    parser = experiment_parser(__doc__)
    parser.add_argument("-d", "--devices", type=int, metavar="N", help="devices of this machine to train on (1)")
    parser.add_argument("-b", "--batch", type=int, metavar="N", help="images of an iteration, over all devices")
    parser.add_argument("--amp", action="store_true", help="mixed precision, where the hardware gains by it")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: runs/NAME of the experiment, or where CKPT is"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="CKPT",
        help="go on where a run stopped: its last.pth; auto: where there is one, else start",
    )
    start.add_argument("-c", "--checkpoint", metavar="CKPT", help="start from the weights of another training")
    words, field = _separated(sys.argv[1:])
    args = parser.parse_intermixed_args(words)
    if field is not None and len(args.overrides) % 2 and os.path.exists(field):
        # Without it the pairs are complete: a checkpoint that is not called so.
        args.overrides.remove(field)
        args.resume = field
    return args


def _separated(words: list[str]) -> tuple[list[str], str | None]:
    """`words` in which --resume has a checkpoint as `--resume=CKPT`, and nothing else behind it.

    In `--resume name value` the name is a field's, and belongs to the pairs at its own place among them. Returns that
    name too, if there is one.
    """
    for place, word in enumerate(words[:-1]):
        after = words[place + 1]
        # As with any option, its first letters are enough.
        if len(word) < 3 or not "--resume".startswith(word) or after.startswith("-"):
            continue
        if after == AUTO or after.endswith(".pth") or os.sep in after or "/" in after:
            return [*words[:place], f"--resume={after}", *words[place + 2 :]], None
        return [*words[:place], "--resume=", *words[place + 1 :]], after
    return words, None


def main() -> None:
    args = parse_args()
    exp = configured(args)
    is_file = args.resume not in (None, "", AUTO)
    if args.output is None:
        args.output = Path(args.resume).parent if is_file else Path("runs") / exp.name
    if args.resume == "":
        args.resume = str(args.output / "last.pth")
    device = pick_device(args.device)

    from otadet.engine.launch import launch

    launch(train, args.devices, device, (args,), timeout=exp.process_timeout)


def configured(args: Namespace) -> BaseExp:
    """The experiment with everything that the command line changes in it."""
    exp = load_experiment(args)
    exp.batch_size = exp.batch_size if args.batch is None else args.batch
    exp.amp = exp.amp or args.amp
    exp.check()
    return exp


def train(device: torch.device, args: Namespace) -> None:
    """What each process does."""
    from otadet.apps.train import train_experiment

    finished = train_experiment(
        configured(args),
        device,
        args.output,
        resume=args.resume,
        checkpoint=args.checkpoint,
        insist_on_amp=args.amp,
    )
    if not finished:
        raise Stopped


if __name__ == "__main__":
    run_tool(main)

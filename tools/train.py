"""Train the detector of an experiment.

python tools/train.py -f exps/quickstart.py
python tools/train.py -f exps/ota_fcos_r50.py -d 8 --amp --output runs/ota
python tools/train.py -f exps/quickstart.py --resume max_epochs 20
python tools/train.py -f exps/my_data.py -c runs/ota/best.pth lr 0.002

The output folder gets last.pth, best.pth, metrics.csv, train.log, and at the end curves.png and predictions.png. It is
runs/NAME of the experiment, or that of the checkpoint to resume, unless --output says otherwise.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from otadet.cli import experiment_parser, load_experiment, pick_device, run
from otadet.errors import UserError

if TYPE_CHECKING:
    import torch

    from otadet.exp import BaseExp


def parse_args() -> Namespace:
    parser = experiment_parser(__doc__)
    parser.add_argument("-d", "--devices", type=int, metavar="N", help="devices of this machine to train on (1)")
    parser.add_argument("-b", "--batch", type=int, metavar="N", help="images of an iteration, over all devices")
    parser.add_argument("--amp", action="store_true", help="mixed precision, where the hardware gains by it")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: runs/NAME of the experiment, or where CKPT is"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", nargs="?", const="", metavar="CKPT", help="go on where a run stopped: its last.pth")
    start.add_argument("-c", "--checkpoint", metavar="CKPT", help="start from the weights of another training")
    args = parser.parse_intermixed_args()
    if args.resume and not args.resume.endswith(".pth") and not Path(args.resume).exists():
        # In "--resume name value" the name is that of a field.
        args.overrides.insert(0, args.resume)
        args.resume = ""
    return args


def main() -> None:
    args = parse_args()
    exp = configured(args)
    if args.output is None:
        args.output = Path(args.resume).parent if args.resume else Path("runs") / exp.name
    if args.resume == "":
        args.resume = args.output / "last.pth"
        if not args.resume.is_file():
            raise UserError(f"{args.resume}: no such file, so there is nothing to resume; leave --resume away to start")
    device = pick_device(args.device)

    from otadet.engine.checkpoint import load_checkpoint
    from otadet.engine.launch import launch

    # A wrong file is better found before all images are looked at.
    if args.resume or args.checkpoint:
        load_checkpoint(args.resume or args.checkpoint)
    launch(train, args.devices, device, (args,))


def configured(args: Namespace) -> BaseExp:
    """The experiment with everything that the command line changes in it."""
    exp = load_experiment(args)
    exp.batch_size = exp.batch_size if args.batch is None else args.batch
    exp.amp = exp.amp or args.amp
    exp.check()
    return exp


def train(device: torch.device, args: Namespace) -> None:
    """What each process does."""
    from otadet.training import train_experiment

    finished = train_experiment(
        configured(args),
        device,
        args.output,
        resume=args.resume,
        checkpoint=args.checkpoint,
        insist_on_amp=args.amp,
    )
    if not finished:
        raise KeyboardInterrupt


if __name__ == "__main__":
    run(main)

"""Train the detector of an experiment.

otadet train
otadet train data photos
otadet train -f exps/ota_fcos_r50.py -d 8 --amp --output runs/ota
otadet train -f exps/quickstart.py --resume length 20epochs
otadet train -f exps/quickstart.py --resume auto
otadet train -c nano.pth data photos
otadet train -c nano.pth data photos --resume auto
otadet train -c yolox-nano data photos
otadet train -f exps/my_data.py -c runs/ota/best.pth lr 0.002

The output folder gets last.pth, its predecessor last.previous.pth, best.pth, metrics.csv, train.log, and at the end
curves.png and predictions.png. It is runs/NAME of the experiment, or that of the checkpoint to resume, unless --output
says otherwise. Without -f the experiment is the one that the checkpoint describes, or else the quickstart, whose data
are drawn on first use. With `data FOLDER`, a folder of your own pictures, it is my_data, which fits itself to them.
Shapes are drawn into another folder with -f quickstart, or where a setting such as images_train says how.

With -c and `data FOLDER`, without -f, the checkpoint's own network is fine-tuned. All of its weights are kept but for
those of classes that the data do not have; how it is trained is chosen for the data, and said.
"""

from __future__ import annotations

import os
import pickle
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from otadet.apps.arguments import AUTO, described_exp, experiment_parser, pick_device
from otadet.apps.published import checkpoint_path
from otadet.apps.start import Start
from otadet.command_line import as_name, as_path
from otadet.engine.stop import Stopped
from otadet.errors import UserError

if TYPE_CHECKING:
    import torch

    from otadet.engine.checkpoint import ReadCheckpoint
    from otadet.exp import BaseExp
    from otadet.user_modules import Portable

DEFAULT = "quickstart"
"""The experiment where none is named."""
OWN_PICTURES = "my_data"
"""The one where nothing but somebody's pictures is named."""


def parser() -> ArgumentParser:
    made = experiment_parser(__doc__)
    made.add_argument("-d", "--devices", type=int, metavar="N", help="devices of this machine to train on (1)")
    made.add_argument(
        "-b",
        "--batch",
        metavar="N",
        help="images at once, over all devices; auto: as many as fit; default: run.batch_size",
    )
    made.add_argument("--amp", action="store_true", help="mixed precision, where the hardware gains by it")
    made.add_argument(
        "--output", type=as_path, metavar="DIR", help="default: runs/NAME of the experiment, or where CKPT is"
    )
    made.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="CKPT",
        help="go on where a run stopped: its last.pth; auto: where there is one, else start",
    )
    made.add_argument(
        "-c",
        "--checkpoint",
        type=as_name,
        metavar="CKPT",
        help="start from the weights of another training, or of a published name: otadet convert --list",
    )
    return made


def parse_args(argv: Sequence[str] | None = None) -> Namespace:
    """The options; where --resume stands before a pair, whose it is: a checkpoint's name, or a field's."""
    words, field = _separated(list(sys.argv[1:] if argv is None else argv))
    args = parser().parse_intermixed_args(words)
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


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if args.checkpoint is not None and args.resume not in (None, AUTO):
        raise UserError("-c and --resume: a run starts from weights, or goes on; -c goes with --resume auto alone")
    if args.checkpoint is not None:
        args.checkpoint = str(checkpoint_path(args.checkpoint))
    read = read_described(args)
    exp = configured(args, read)
    if args.output is None:
        args.output = Path(args.resume).parent if _is_file(args.resume) else Path("runs") / exp.name
    if args.resume == "":
        args.resume = str(args.output / "last.pth")
    device = pick_device(args.device)

    from otadet.engine.launch import launch
    from otadet.user_modules import Portable

    # Another process would have to be sent the weights, and reads them itself.
    several = (args.devices or 1) > 1
    start = Start(args.output, args.resume, args.checkpoint, args.amp, None if several else read)
    # The file of the experiment is executed here, and once more in each further process, which gets these parts of it.
    experiment = Portable(exp)
    if several:
        _check_portable(experiment, exp.name)
    launch(train, args.devices, device, (experiment, start), timeout=exp.run.process_timeout)


def _check_portable(experiment: Portable, name: str) -> None:
    """Raise `UserError` where an experiment holds what cannot be handed to another process."""
    try:
        pickle.dumps(experiment)
    except Exception as error:
        raise UserError(
            f"the experiment {name} cannot be handed to the processes of -d ({error}); functions and classes that it "
            "holds must be defined at the top of its file, not as lambda or inside of others"
        ) from error


def _is_file(resume: str | None) -> bool:
    return resume not in (None, "", AUTO)


def read_described(args: Namespace) -> ReadCheckpoint | None:
    """The checkpoint that describes the experiment: without -f the one to go on with, or else to start from."""
    from otadet.engine.checkpoint import ReadCheckpoint

    if args.exp is not None:
        return None
    path = _to_go_on_from(args) or args.checkpoint
    return None if path is None else ReadCheckpoint(path)


def _to_go_on_from(args: Namespace) -> str | Path | None:
    """The checkpoint to resume, where that can be said before the experiment is known."""
    from otadet.engine.checkpoint import newest_checkpoint

    if _is_file(args.resume):
        return args.resume
    return None if args.resume is None or args.output is None else newest_checkpoint(args.output)


def configured(args: Namespace, read: ReadCheckpoint | None = None) -> BaseExp:
    """The experiment with all that the command line changes in it.

    It is that of -f, or of the checkpoint that `read_described` returns, or else the default.
    """
    from otadet.exp import BaseExp
    from otadet.exp.fields import fields_of

    batch = [] if args.batch is None else ["run.batch_size", args.batch]
    amp = ["run.amp", "true"] if args.amp else []
    overrides = [*args.overrides, *batch, *amp]
    read = read or read_described(args)
    if read is not None:
        assert read.state is not None  # nobody has taken it yet
        if _to_go_on_from(args) is None and _names_pictures(args.overrides):
            return _fine_tuned(read, overrides)
        return described_exp(read.path, read.state, fields_of(BaseExp()), overrides)
    exp = named_experiment(args.exp, args.overrides)
    exp.override(overrides)
    return exp


def _fine_tuned(read: ReadCheckpoint, overrides: Sequence[str]) -> BaseExp:
    """The detector of a checkpoint, to be trained on with other data."""
    from otadet.exp.fine_tune import fine_tune_exp
    from otadet.exp.load import check_size

    assert read.state is not None  # nobody has taken it yet
    exp = fine_tune_exp(read.path, read.state)
    check_size(exp, read.path, read.state)
    exp.override(overrides)
    return exp


def named_experiment(name: str | None, overrides: Sequence[str]) -> BaseExp:
    """That of -f, or the default where the command line has none; `overrides` are not applied yet."""
    from otadet.exp import load_exp

    if name is not None:
        return load_exp(name)
    return load_exp(OWN_PICTURES if _names_pictures(overrides) else DEFAULT)


def _names_pictures(overrides: Sequence[str]) -> bool:
    """Whether they name, as `data`, what is to be somebody's pictures: a folder that is missing or empty is a mistake.

    It is one to draw shapes into where a setting says how to draw them, or where that has been done before.
    """
    from otadet.data.synthetic.write import can_be_written
    from otadet.exp import SyntheticShapes

    pairs = list(zip(overrides[::2], overrides[1::2], strict=False))
    named = [value for name, value in pairs if name == "data"]
    if not named:
        return False
    if not can_be_written(named[-1]):
        return True
    drawing = {field.name for field in fields(SyntheticShapes)} - {"folder"}
    drawn = os.path.isdir(named[-1]) and bool(os.listdir(named[-1]))
    return not drawn and not any(name.removeprefix("data.") in drawing for name, _ in pairs)


def train(device: torch.device, experiment: Portable, start: Start) -> None:
    """What each process does. experiment: a `BaseExp`."""
    from otadet.apps.training import train_experiment

    if not train_experiment(experiment.value, device, start):
        raise Stopped

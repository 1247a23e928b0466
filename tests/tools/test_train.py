import csv
import errno
import io
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loguru import logger

from otadet.apps.train import parse_args
from otadet.data.synthetic.write import write_synthetic
from otadet.engine import log, precision
from otadet.engine.checkpoint import load_checkpoint, save_checkpoint
from otadet.errors import UserError
from otadet.signals import held_back_signals, stop_signals
from tests.helpers.programs import call_tool

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = """
import os
import signal
from dataclasses import dataclass

from torch import nn

from otadet.data.transforms import Compose
from otadet.exp import BaseExp, CocoData, InputSpec, Iterations, ResizeShortestEdge, Run, Steps
from otadet.models import FPN, Detector, FCOSHead


class Backbone(nn.Sequential):
    strides = (8, 16, 32)

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 16, 2, 2), nn.Conv2d(16, 32, 2, 2))

    def forward(self, images):
        c3 = self[0](images).relu()
        c4 = self[1](c3).relu()
        return [c3, c4, self[2](c4).relu()]


@dataclass
class PressCtrlC:
    left: int

    def __call__(self, sample, rng):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return sample


class Exp(BaseExp):
    data = CocoData(
        {data!r},
        *("annotations/instances_train.json", "train"),
        *("annotations/instances_val.json", "val"),
    )
    input = InputSpec(ResizeShortestEdge((96,), 96))
    schedule, length = Steps(at=(4,), warmup=2), Iterations(6)
    run = Run(batch_size=2, workers=0, ema=0.9, eval_every=0.5, log_every=2)
    ctrl_c_at_sample: int = 0

    def build_model(self, num_classes):
        return Detector(Backbone(), FPN((8, 16, 32), (8, 16, 32), 32), FCOSHead(num_classes, 32, 1, levels=5))

    def build_train_transform(self):
        return Compose((super().build_train_transform(), PressCtrlC(self.ctrl_c_at_sample)))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_synthetic(folder / "shapes", images_train=8, images_val=4, size=96, classes=3)
    return folder / "shapes"


@pytest.fixture
def experiment(data, tmp_path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(EXPERIMENT.format(data=str(data)))
    return path


@pytest.fixture
def train(experiment, monkeypatch):
    def call(*arguments: object) -> None:
        call_tool(monkeypatch, "train", "-f", experiment, "--device", "cpu", *arguments)

    yield call
    logger.remove()
    logger.add(sys.stderr)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_checkpoints_metrics_and_pictures(train, tmp_path, capsys):
    out = tmp_path / "out"
    train("--output", out, "-b", 4, "--amp", "length", "4iterations")
    assert {path.name for path in out.iterdir()} == {
        "last.pth",
        "last.previous.pth",
        "best.pth",
        "metrics.csv",
        "train.log",
        "curves.png",
        "predictions.png",
    }
    assert [(row["iteration"], row["epoch"], bool(row["AP"])) for row in rows(out)] == [
        ("1", "0.5", True),
        ("2", "1", True),
        ("3", "1.5", True),
        ("4", "2", True),
    ]
    state = load_checkpoint(out / "last.pth")
    assert state["class_names"] == ["disc", "square", "triangle"]
    parts = state["parts"]
    assert (parts["run"]["batch_size"], parts["run"]["amp"], parts["length"]["count"]) == (4, True, 4)
    log = (out / "train.log").read_text()
    for expected in (
        "8 images",
        "parameters",
        "iterations 0 to 4",
        "lr 0.01",
        "device: 1 x cpu",
        "4/4",
        "evaluation",
        "best AP",
    ):
        assert expected in log
    assert "disc" in capsys.readouterr().err


def test_mixed_precision_that_would_only_hurt_is_left_out(train, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    out = tmp_path / "out"
    train("--output", out, "length", "1iterations", "amp", "true")
    log = (out / "train.log").read_text()
    assert "fp32 (this processor has no bf16 arithmetic" in log
    assert "WARNING" not in log.replace("warm-up", "").split("device:")[1]

    train("--output", out, "--resume", "length", "2iterations", "--amp")
    assert re.search(r"WARNING.*--amp: this processor has no bf16.*in fp32\. Omit --amp", second_part(out))
    assert "resumed in" not in second_part(out)

    # By name it is obeyed, also in a run that began without it.
    train("--output", out, "--resume", "length", "3iterations", "--amp", "amp_dtype", "bf16")
    last = (out / "train.log").read_text().split("device:")[-1]
    assert "mixed fp32 and bf16 (amp_dtype bf16)" in last
    assert "several times slower; leave amp_dtype unset" in last
    assert "resumed in mixed fp32 and bf16, after fp32" in (out / "train.log").read_text()
    assert load_checkpoint(out / "last.pth")["precision"] == "mixed fp32 and bf16"


def second_part(out: Path) -> str:
    return (out / "train.log").read_text().split("resumed from")[1]


def test_interrupted_is_uninterrupted(train, tmp_path, capsys):
    train("--output", tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train("--output", tmp_path / "part", "ctrl_c_at_sample", 5)
    assert "stopped after 3 of 6 iterations" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "part" / "last.pth")["iteration"] == 3
    train("--output", tmp_path / "part", "--resume")

    whole, part = (load_checkpoint(tmp_path / name / "last.pth") for name in ("whole", "part"))
    for weights in ("model", "ema"):
        assert all(torch.equal(part[weights][name], tensor) for name, tensor in whole[weights].items())
    assert part["best"] == whole["best"]
    scores = [[(row["iteration"], row["AP"]) for row in rows(tmp_path / name)] for name in ("whole", "part")]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, "all is saved, the pictures alone are missing"),
        (UserError("b.png: gone"), UserError, "b.png: gone\nThe training itself is complete"),
    ],
)
def test_pictures_that_are_not_drawn_cost_nothing_else(train, tmp_path, monkeypatch, capsys, error, kind, message):
    def fail(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("otadet.apps.results.plot_curves", fail)
        with pytest.raises(kind) as caught:
            train("--output", tmp_path, "length", "2iterations")
    assert message in f"{caught.value}{capsys.readouterr().err}"
    train("--output", tmp_path, "--resume", "length", "2iterations")
    assert (tmp_path / "curves.png").exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signals to hold back")
def test_a_process_of_several_answers_signals_before_its_imports_are_done():
    """Else the launcher would kill it after a grace, on a busy machine."""
    handlers = {number: signal.getsignal(number) for number in stop_signals()}
    try:
        with held_back_signals():
            runpy.run_path(str(ROOT / "tools" / "train.py"), run_name="__mp_main__")
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(handlers)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_resume_takes_a_checkpoint_a_field_or_nothing(train, tmp_path, capsys):
    out = tmp_path / "out"
    train("--output", out, "length", "2iterations")
    train("--resume", out / "last.pth", "length", "3iterations")
    assert load_checkpoint(out / "last.pth")["iteration"] == 3
    train("--output", out, "--resume", "length", "4iterations")
    assert "length.count 3 -> 4" in capsys.readouterr().err
    train("--output", out, "length", "4iterations", "--resume")
    assert "nothing to do" in capsys.readouterr().err
    assert rows(out)[-1]["iteration"] == "4"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no process groups to send SIGTERM to")
@pytest.mark.parametrize("words", [[], ["-d", "2"]])
def test_sigterm_to_the_whole_group_in_mid_training_costs_nothing(train, experiment, tmp_path, words):
    out, settings = tmp_path / "out", ["length", "40iterations", "log_every", 3, "workers", 2]
    command = [sys.executable, ROOT / "tools" / "train.py", "-f", experiment, "--device", "cpu", "--output", out]
    with subprocess.Popen(
        [str(word) for word in (*command, *words, *settings)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        said = [next(line for line in process.stderr if " 3/40 " in line)]
        os.killpg(process.pid, signal.SIGTERM)
        said += [line for line in process.stderr if "/40 " not in line and "evaluation at" not in line]
    assert process.returncode == 130
    assert "stopping at the next safe point" in said[1]
    assert "stopped after" in said[2]
    assert len(said) == 3
    stopped = load_checkpoint(out / "last.pth")
    assert 3 <= stopped["iteration"] < 40
    if words:
        assert len(stopped["rng"]) == 2
        return
    train("--output", out, "--resume", *settings)
    train("--output", tmp_path / "whole", *settings)
    whole, resumed = (load_checkpoint(folder / "last.pth") for folder in (tmp_path / "whole", out))
    for weights in ("model", "ema"):
        assert all(torch.equal(resumed[weights][name], tensor) for name, tensor in whole[weights].items())
    times = dict.fromkeys(("iterations_per_second", "data_ms", "compute_ms"), "")
    tables = [[{**row, **times} for row in rows(folder)] for folder in (tmp_path / "whole", out)]
    assert tables[0] == tables[1]


def test_resume_auto_starts_and_goes_on(train, tmp_path):
    out = tmp_path / "out"
    train("--output", out, "--resume", "auto", "length", "2iterations")
    train("--output", out, "length", "4iterations", "--resume", "auto", "seed", 0)
    assert load_checkpoint(out / "last.pth")["iteration"] == 4
    assert [row["iteration"] for row in rows(out)] == ["2", "4"]
    assert not list(out.glob("previous-*"))


@pytest.mark.parametrize(
    ("line", "resume", "pairs"),
    [
        ("lr 0.01 --resume length 20epochs", "", "lr 0.01 length 20epochs"),
        ("--resume length 20epochs lr 0.01", "", "length 20epochs lr 0.01"),
        ("lr 0.01 -b 4 --resume seed 2 --amp length 3epochs", "", "lr 0.01 seed 2 length 3epochs"),
        ("lr 0.01 length 20epochs --resume", "", "lr 0.01 length 20epochs"),
        ("--resume -d 2 lr 1", "", "lr 1"),
        ("lr 1 --resume auto seed 2", "auto", "lr 1 seed 2"),
        ("seed 2 lr 1 --resume auto", "auto", "seed 2 lr 1"),
        ("lr 1 --resume gone.pth seed 2", "gone.pth", "lr 1 seed 2"),
        ("lr 1 --resume runs/there seed 2", "runs/there", "lr 1 seed 2"),
        ("lr 1 --resume there seed 2", "there", "lr 1 seed 2"),
        ("--resume there seed", "", "there seed"),
        ("lr 1 --res seed 2", "", "lr 1 seed 2"),
        ("--resume=gone.pth lr 1", "gone.pth", "lr 1"),
        ("lr 1 -c gone.pth seed 2", None, "lr 1 seed 2"),
        ("-c gone.pth lr 1", None, "lr 1"),
    ],
)
def test_what_resume_takes_of_the_command_line(monkeypatch, tmp_path, line, resume, pairs):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    monkeypatch.setattr(sys, "argv", ["train", "-f", "exp.py", *line.split()])
    args = parse_args()
    assert (args.resume, args.overrides) == (resume, pairs.split())
    assert args.checkpoint == ("gone.pth" if "-c" in line.split() else None)


@pytest.mark.parametrize("name", ["a file", "a file/run", "n" * 300, "nul\0"])
def test_an_output_folder_that_cannot_be_written_is_named_before_the_images_are_looked_at(train, tmp_path, name):
    (tmp_path / "a file").touch()
    with pytest.raises(UserError, match="cannot be used as output folder"):
        train("--output", tmp_path / name, "data", tmp_path / "nowhere")


def test_braces_in_the_name_of_the_output_folder_are_braces(train, tmp_path):
    train("--output", tmp_path / "{time} {name}", "length", "1iterations")
    assert "best AP" in (tmp_path / "{time} {name}" / "train.log").read_text()


@pytest.mark.parametrize("name", ["last.pth", "best.pth", "metrics.csv", "curves.png", "predictions.png"])
def test_a_disk_that_fills_up_is_one_line_with_what_is_safe(train, tmp_path, monkeypatch, name):
    out = tmp_path / "out"
    train("--output", out, "length", "2iterations")
    before = load_checkpoint(out / "last.pth")
    replace = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    # Without it the next score is the best.
    (out / "best.pth").unlink()
    with pytest.raises(UserError, match=r"No space left on device.*last\.pth is whole and has iteration \d") as caught:
        train("--output", out, "--resume", "length", "4iterations")
    assert len(str(caught.value).splitlines()) == 1
    state = load_checkpoint(out / "last.pth")
    assert state["iteration"] >= before["iteration"]
    assert f"has iteration {state['iteration']}" in str(caught.value)


def test_a_log_that_cannot_be_written_does_not_end_the_training(train, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(log, "open", lambda *args, **options: FullDisk(), raising=False)
    train("--output", tmp_path / "out", "length", "1iterations")
    assert capsys.readouterr().err.count("train.log: cannot be written any more (No space left on device)") == 1


HOLDER = """
import sys
import time

from otadet.engine.run_folder import run_folder

with run_folder(sys.argv[1]):
    print(flush=True)
    time.sleep(60)
"""


class FullDisk(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_in_which_another_training_is_at_work_is_refused(train, tmp_path):
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", HOLDER, out], env=environment, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        for words in ([], ["--resume"], ["--resume", "auto"]):
            with pytest.raises(UserError, match=rf"out: another training is at work in it \(process {process.pid} on"):
                train("--output", out, *words)
        process.kill()
    assert (out / ".lock").exists()
    train("--output", out, "length", "1iterations")
    assert not (out / ".lock").exists()


def test_a_new_run_does_not_replace_an_earlier_one(train, tmp_path):
    out = tmp_path / "out"
    train("--output", out, "length", "1iterations")
    before = (out / "last.pth").read_bytes()
    train("--output", out, "length", "1iterations", "lr", 0.5)
    assert (out / "previous-1" / "last.pth").read_bytes() == before
    newer = (out / "last.pth").read_bytes()
    assert newer != before
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: cannot hold the cache"):
        train("--output", out, "run.cache", "disk", "run.cache_folder", tmp_path / "file")
    assert (out / "last.pth").read_bytes() == newer, "a training that cannot start moves nothing"


def test_fine_tuning_on_other_classes_takes_over_what_fits(train, tmp_path, capsys):
    write_synthetic(tmp_path / "more", images_train=4, images_val=2, size=96, classes=5)
    train("--output", tmp_path / "first", "length", "1iterations")
    start = tmp_path / "first" / "last.pth"
    train("--output", tmp_path / "second", "-c", start, "length", "1iterations", "data", tmp_path / "more")
    said = capsys.readouterr().err
    assert re.search(
        r"tensors taken over; of the class layer (\w+, ){2}\w+ kept by name, \w+, \w+ from scratch\n", said
    )
    assert len(load_checkpoint(tmp_path / "second" / "last.pth")["class_names"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenght", 3], r"lenght: .*did you mean 'length'"),
        (["--resume", "lenght", 3], r"lenght: .*did you mean 'length'"),
        (["lr"], "pairs"),
        (["-b", 0], "batch_size 0: must be above 0"),
        (["-d", 0], "-d 0"),
        (["lr", 0.01, "--resume", "lenght", 3], r"lenght: .*did you mean 'length'"),
        (["--resume"], r"out.last\.pth: no such file, so there is nothing to resume"),
        (["--resume", "lost.pth"], r"lost\.pth: no such checkpoint"),
        (["-c", "lost.pth"], r"lost\.pth: no such checkpoint"),
        (["-c", "{folder}"], "is a folder; name a checkpoint"),
        (["-c", "{folder}/tiny.py"], r"tiny\.py: not a checkpoint of otadet"),
        (["data", "{folder}/nowhere"], "nowhere: no such folder"),
        (["amp", "true", "amp_dtype", "fp16"], "use bf16"),
        (["lr", "1e6", "warmup", 0], r"not finite in iteration 2: cls nan.*\n.*\d\.png"),
    ],
)
def test_mistakes_are_named(train, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        train("--output", tmp_path / "out", *(str(argument).format(folder=tmp_path) for argument in arguments))
    assert not list(tmp_path.glob("out/*.pth"))


def test_a_checkpoint_of_other_classes_or_cut_short_is_not_resumed(train, tmp_path):
    path = tmp_path / "out" / "last.pth"
    train("--output", path.parent, "length", "1iterations")
    save_checkpoint(path, {**load_checkpoint(path), "class_names": ["cat", "dog", "cow"]})
    with pytest.raises(UserError, match=r"disc .*, square .*, triangle .*, not among the 3 .*\(cat, dog, cow\)"):
        train("--output", path.parent, "--resume")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"last\.pth: cut short"):
        train("--output", path.parent, "--resume")


def count_executions(experiment: Path, counter: Path) -> None:
    """Let the file write an x whenever it is executed."""
    text = f"\nwith open({str(counter)!r}, 'a') as file:\n    file.write('x')\n"
    experiment.write_text(experiment.read_text() + text)


def test_the_experiment_is_executed_once(train, experiment, tmp_path):
    count_executions(experiment, tmp_path / "counter")
    train("--output", tmp_path / "out", "length", "1iterations")
    assert (tmp_path / "counter").read_text() == "x"


def test_a_mistake_in_several_processes_is_one_clean_message(experiment, tmp_path):
    count_executions(experiment, tmp_path / "counter")
    command = [sys.executable, ROOT / "tools" / "train.py", "-f", experiment, "--device", "cpu", "-d", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, "--output", tmp_path / "out", "lr", "1e6", "warmup", "0"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "device: 2 x cpu" in ended.stderr
    assert ended.stderr.count("error: the loss is not finite in iteration 2") == 1
    assert (tmp_path / "counter").read_text() == "xxx", "once by the tool, and once by each of two processes"
    assert "Traceback" not in ended.stderr

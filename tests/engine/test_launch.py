import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from otadet.distributed import rank, world_size
from otadet.engine import launch as launch_module
from otadet.engine.checkpoint import load_checkpoint
from otadet.engine.launch import launch
from otadet.errors import UserError
from tests.helpers.evaluating import evaluate
from tests.helpers.processes import ask_for_a_stop, be_killed, fail_in_second, several_trainings, step_in_parts, train
from tests.helpers.toy_training import CPU


@dataclass(frozen=True)
class TwoProcesses:
    """What one start of two processes leaves; starting them is what takes the time."""

    folder: Path
    error: str


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> TwoProcesses:
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(UserError) as caught:
        launch(several_trainings, 2, CPU, (folder,))
    return TwoProcesses(folder, str(caught.value))


def test_what_processes_say_to_each_other(two):
    assert torch.load(two.folder / "said by 0.pt") == ([0, 1], "from 0", 3)
    assert torch.load(two.folder / "said by 1.pt") == ([], "from 0", 3)


def test_two_processes_train_as_one_does(two, tmp_path):
    launch(train, 1, CPU, (tmp_path,))
    one = torch.load(tmp_path / "rank 0.pt")
    first, second = (torch.load(two.folder / "whole" / f"rank {number}.pt") for number in (0, 1))
    for name, weight in one.items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], weight, atol=1e-6)


def test_two_processes_in_two_parts_each_step_as_one_with_the_whole_batch(two, tmp_path):
    step_in_parts(CPU, tmp_path, 1)
    for name in ("none in parts.pt", "quality in parts.pt"):
        one, both = (torch.load(folder / name) for folder in (tmp_path, two.folder))
        assert (one["out.weight"] - both["out.weight"]).abs().max() < 1e-5
        for weight in one:
            torch.testing.assert_close(both[weight], one[weight], rtol=1e-4, atol=1e-5)


def test_all_processes_go_by_the_loss_of_all(two):
    """Means of 3, 2.5, 3.5 and 4: the second is best, and after two more it is over."""
    for number in (0, 1):
        assert torch.load(two.folder / "judged" / f"judged by {number}.pt") == (4, 2.5)
    assert load_checkpoint(two.folder / "judged" / "best.pth")["iteration"] == 2


def test_a_process_can_be_alone_for_a_while(two):
    assert torch.load(two.folder / "alone 0.pt") == (0, 1, [5])
    assert torch.load(two.folder / "alone 1.pt") == (0, 1, [6])


def test_losses_are_averaged_and_scores_gathered_over_the_processes(two, tmp_path):
    launch(train, 1, CPU, (tmp_path,))
    one, both = ((folder / "metrics.csv").read_text().splitlines() for folder in (tmp_path, two.folder / "whole"))
    columns = one[0].split(",")
    losses = [[float(row.split(",")[columns.index("loss")]) for row in rows[1:]] for rows in (one, both)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert both[-1].endswith(",0.5,2")


def test_an_evaluation_by_two_and_three_processes_has_the_numbers_of_one(two, tmp_path):
    for processes in (1, 3):
        launch(evaluate, processes, CPU, (two.folder, tmp_path / f"by {processes}.json"))
    files = [tmp_path / "by 1.json", two.folder / "stats.json", tmp_path / "by 3.json"]
    one, by_two, by_three = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    assert 0 < one["AP"] < 1
    assert by_two == one
    assert by_three == one


def test_processes_agree_on_a_stop(two):
    state = load_checkpoint(two.folder / "stopped" / "last.pth")
    assert state["iteration"] == 1
    assert len(state["rng"]) == 2


def test_a_run_stopped_and_resumed_has_the_same_weights_and_metrics(two, tmp_path):
    whole, resumed = (torch.load(two.folder / name / "rank 1.pt") for name in ("whole", "resumed"))
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())
    assert losses_in(two.folder / "resumed") == losses_in(two.folder / "whole")


def test_the_losses_of_two_processes_go_on_in_one(two, tmp_path):
    train(CPU, tmp_path, resume=two.folder / "stopped" / "last.pth")
    for one, both in zip(losses_in(tmp_path), losses_in(two.folder / "whole"), strict=True):
        assert one == pytest.approx(both, abs=1e-4)


def losses_in(folder: Path) -> list[list[float]]:
    with open(folder / "metrics.csv", newline="") as file:
        return [[float(row[name]) for name in ("loss", "near", "far", "lr")] for row in csv.DictReader(file)]


def test_a_loss_that_is_not_finite_in_one_process_stops_all_and_names_its_images(two):
    assert "not finite in iteration 1" in two.error
    assert "image 2.png, image 3.png" in two.error
    assert "Traceback" not in two.error
    assert not list((two.folder / "poisoned").glob("*.pth"))


def test_a_failing_process_ends_the_run_with_its_own_error():
    with pytest.raises(RuntimeError, match=r"(?s)process 1 of 2 failed.*ZeroDivisionError: in the second process"):
        launch(fail_in_second, 2, CPU)


def test_a_signal_reaches_the_processes():
    with pytest.raises(KeyboardInterrupt):
        launch(ask_for_a_stop, 2, CPU)


def test_a_process_that_is_killed_is_named_with_its_signal():
    with pytest.raises(
        UserError, match=r"process 1 of 2 \(pid \d+\) was killed by SIGKILL; .*memory.*--resume"
    ) as caught:
        launch(be_killed, 2, CPU)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_with_the_one_that_started_them(tmp_path):
    code = (
        "import sys, pathlib; from otadet.engine.launch import launch; from tests.helpers.processes import *; "
        "launch(be_left_alone, 2, torch.device('cpu'), (pathlib.Path(sys.argv[1]),))"
    )
    path = str(Path(__file__).parents[2])
    launcher = subprocess.Popen([sys.executable, "-c", code, tmp_path], env={**os.environ, "PYTHONPATH": path})
    pids = [pid_in(tmp_path / f"{number}.pid") for number in (0, 1)]
    launcher.kill()
    launcher.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def pid_in(path: Path) -> str:
    wait_for(lambda: path.is_file() and path.read_text())
    return path.read_text()


def wait_for(condition: Callable[[], object], seconds: float = 100.0) -> None:
    """Wait until the condition holds. The limit is only there so that a failing test ends."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_device_is_a_plain_call():
    seen = []
    launch(record, None, CPU, (seen,))
    assert seen == [(CPU, 0, 1)]
    assert not torch.distributed.is_initialized()


def record(device: torch.device, seen: list) -> None:
    seen.append((device, rank(), world_size()))


def test_torchrun_is_joined(monkeypatch):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    watched = []
    monkeypatch.setattr(launch_module, "_end_with_torchrun", lambda: watched.append(True))
    seen = []
    launch(record, None, CPU, (seen,))
    assert watched
    launch(record, 1, CPU, (seen,))
    assert len(seen) == 2
    with pytest.raises(UserError, match="torchrun started 1 process"):
        launch(record, 2, CPU, (seen,))


@pytest.mark.parametrize(
    ("devices", "device", "message"),
    [
        (0, "cpu", "at least 1"),
        (100_000, "cpu", "-d 100000: at most"),
        (99, "cuda", "-d 99: this machine has 3 CUDA device"),
        (2, "mps", "mps can be used as one device only"),
    ],
)
def test_devices_that_do_not_exist_are_an_error(monkeypatch, devices, device, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(UserError, match=message):
        launch(record, devices, torch.device(device))

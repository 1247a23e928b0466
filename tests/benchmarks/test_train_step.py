"""The benchmark of training steps, at sizes that take no time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType
from torchvision.models.detection import fcos_resnet50_fpn

from benchmarks.trainbench.child import ChildError, run_child
from benchmarks.trainbench.contestants import Ours, Setup, Theirs, build_fcos
from benchmarks.trainbench.counting import WINDOW, count_events, count_step
from benchmarks.trainbench.hardware import file_name_of, fp32_arithmetic, lacking
from benchmarks.trainbench.phases import PHASES
from benchmarks.trainbench.rows import Measurement, PeakMemory, Row
from benchmarks.trainbench.turns import Budget, Pair, in_turn
from otadet.boxes import boxes_to_distances
from otadet.errors import UserError
from otadet.exp import BaseExp
from tests.helpers.programs import call_program, load_program

CPU = torch.device("cpu")
TINY = Setup(size=(32, 32), batch=1, classes=3, boxes=2, depth=10)


def call(monkeypatch, *arguments: object) -> None:
    call_program(monkeypatch, "benchmarks/train_step.py", *arguments)


@pytest.fixture(scope="module")
def contestants(tmp_path_factory) -> tuple[Ours, Theirs]:
    torch.manual_seed(0)
    ours = Ours(TINY, CPU, None, tmp_path_factory.mktemp("benchmark"))
    # Scores and boxes of all sizes.
    for branch in (ours.model.head.logits, ours.model.head.distances):
        torch.nn.init.normal_(branch.weight, std=0.1)
    return ours, Theirs(ours, TINY)


def test_a_run_has_every_number_in_tables_and_file(monkeypatch, tmp_path, capsys):
    output = tmp_path / "new" / "numbers.json"
    call(
        monkeypatch, "--device", "cpu", "--size", 32, 64, "--batch", 1, "--classes", 3, "--depth", 10, "--repeat", 1,
        "--precision", "fp32", "tf32", "--mode", "eager", "--output", output,
    )  # fmt: skip
    content = json.loads(output.read_text())
    (row,) = content["rows"]
    assert row["step"]["otadet"] > 0
    assert row["step"]["ratio"] == pytest.approx(row["step"]["otadet"] / row["step"]["torchvision"])
    assert row["inference"]["turns"] == 1
    assert list(row["phases"]) == list(PHASES)
    assert all(seconds > 0 for seconds in row["phases"].values())
    expected = 1 / (row["step"]["otadet"] + row["phases"]["data"])
    assert row["images_per_second"] == pytest.approx(expected)
    assert list(row["assignment"]) == ["ota", "simota", "atss"]
    assert all(0 < cost["share"] < 1 for cost in row["assignment"].values())
    assert row["memory"]["otadet"] > 12 * 2**20
    assert row["counts"]["otadet"]["operators"] > 500
    assert row["counts"]["otadet"]["launches"] is None
    assert content["environment"]["torch"] == torch.__version__
    assert content["environment"]["device"]
    assert content["left_out"] == ["tf32: tf32 is for CUDA only"]
    printed = capsys.readouterr().out
    assert all(word in printed for word in (*PHASES, "simota", "images/s", "left out: tf32", str(output)))
    assert Row.from_dict(row).as_dict(1) == row


def test_a_row_that_fails_is_left_out_and_the_others_go_on(monkeypatch, tmp_path, capsys):
    def measure_row(precision, *_):
        if precision == "bf16":
            raise torch.OutOfMemoryError("out of memory\nand much more")
        return Row(precision, "eager")

    monkeypatch.setattr(sys, "argv", ["train_step.py", "--device", "cpu", "--output", str(tmp_path / "a.json")])
    benchmark = load_program("benchmarks/train_step.py")
    monkeypatch.setattr(benchmark, "measure_row", measure_row)
    monkeypatch.setattr(benchmark, "plan", lambda *_: ([("bf16", "eager"), ("fp32", "eager")], []))
    benchmark.main()
    assert "left out: bf16 eager: out of memory\n" in capsys.readouterr().out
    assert [row["precision"] for row in json.loads((tmp_path / "a.json").read_text())["rows"]] == ["fp32"]
    monkeypatch.setattr(benchmark, "plan", lambda *_: ([("bf16", "eager")], ["fp16: is for CUDA only"]))
    with pytest.raises(UserError, match="nothing could be measured: fp16: is for CUDA only; bf16 eager: out of memory"):
        benchmark.main()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", 60, 64), "--size 60 64: height and width must be multiples of 32"),
        (("--repeat", 0), "--repeat 0: must be at least 1"),
        (("--batch", -1), "--batch -1: must be at least 1"),
        (("--budget", "nan"), "--budget nan: must be at least 1"),
        (("--precision", "int8"), "--precision int8: choose from fp32, tf32"),
    ],
)
def test_mistakes(monkeypatch, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        call(monkeypatch, "--device", "cpu", "--output", tmp_path / "none.json", *arguments)
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_named_before_anything_is_measured(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    for output in (tmp_path, tmp_path / "file" / "numbers.json"):
        with pytest.raises(UserError, match=re.escape(str(output))):
            call(monkeypatch, "--device", "cpu", "--output", output)
    assert capsys.readouterr().out == ""


@torch.no_grad()
def test_both_are_the_same_network(contestants):
    ours, theirs = contestants
    images = ours.normalize(ours.some_batches(1)[0].images)
    predictions, anchors = ours.model.eval()(images)
    expected = theirs.model.eval().head(list(theirs.model.backbone(images).values()))
    torch.testing.assert_close(predictions.logits, expected["cls_logits"])
    torch.testing.assert_close(predictions.quality, expected["bbox_ctrness"].squeeze(-1))
    distances = boxes_to_distances(anchors.points, predictions.boxes) / anchors.strides[:, None]
    torch.testing.assert_close(distances, expected["bbox_regression"], atol=1e-4, rtol=1e-4)
    assert predictions.logits.std() > 0.1
    assert distances.std() > 0.1


def test_both_detect(contestants):
    ours, theirs = contestants
    images = ours.some_batches(1)[0].images
    (found,), (expected,) = ours.detect(images), theirs.detect(images)
    assert len(found) > 10
    assert len(expected["scores"]) > 10


def test_the_other_one_is_torchvisions():
    with torch.device("meta"):
        setup = Setup(size=(448, 448), batch=2, frozen=False)
        exp = BaseExp()
        exp.override(["backbone.weights", "none"])
        ours = exp.build_model(80)
        reference = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=80)
        model = build_fcos(setup, ours, exp)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in reference.state_dict().items()}


def test_both_train_the_same_parameters(contestants):
    ours, theirs = contestants
    trained = [
        sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        for model in (ours.model, theirs.model)
    ]
    assert trained[0] == trained[1] + 5  # the learned scales of the levels


def test_a_budget_that_is_spent_leaves_out_and_says_so(tmp_path):
    row = Measurement(TINY, CPU, "fp32", "eager", 5, Budget(0), tmp_path).run()
    assert row.step is None
    assert row.inference is None
    assert row.left_out == [
        "inference: no time left for it",
        "training: no time left for it, with steps of 0 s",
    ]


def test_repeats_fit_the_budget():
    now = [0.0]
    budget = Budget(100, clock=lambda: now[0])
    assert budget.repeats(cost=10, at_most=20) == 10
    assert budget.repeats(cost=10, at_most=20, share=0.35) == 3
    assert budget.repeats(cost=1, at_most=20) == 20
    assert budget.repeats(cost=60, at_most=20, share=0.5) == 1
    now[0] = 95.0
    assert budget.repeats(cost=10, at_most=20) == 0
    assert Budget(None).repeats(cost=1e6, at_most=7) == 7


def test_turns_alternate():
    order = []
    pair = in_turn(lambda: order.append("ours"), lambda: order.append("theirs"), CPU, 3)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert len(pair.ours) == len(pair.theirs) == 3


def test_ratios():
    summary = Pair([2.0, 3.0, 40.0], [1.0, 2.0, 20.0]).summary()
    assert (summary["ratio"], summary["ratio_of_minima"]) == (1.5, 2.0)
    assert summary["quartiles_of_ratios"] == [1.75, 2.0]


def event(name: str, start: float, device=DeviceType.CPU, children=()) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        device_type=device,
        time_range=SimpleNamespace(start=start, end=start + 1),
        cpu_children=list(children),
    )


def test_counts_of_a_step_on_a_gpu():
    window = event(WINDOW, 10)
    window.time_range.end = 100
    leaf = event("aten::_local_scalar_dense", 31)
    events = [
        event("aten::zeros", 1),
        event("cudaLaunchKernel", 2),
        event("cudaDeviceSynchronize", 3),
        window,
        event(WINDOW, 12, DeviceType.CUDA),
        event("aten::item", 30, children=[leaf]),
        leaf,
        event("cudaMemcpyAsync", 32),
        event("cudaStreamSynchronize", 33),
        event("aten::nonzero", 40),
        event("cudaStreamSynchronize", 41),
        event("cudaEventSynchronize", 42),
        event("aten::conv2d", 50, children=[event("aten::cudnn_convolution", 51)]),
        event("aten::cudnn_convolution", 51),
        event("cudaLaunchKernelExC", 52),
        event("cuLaunchKernel", 53),
        event("cuLaunchKernelEx", 54),
        event("cudaLaunchKernel", 55),
        event("cudaGraphLaunch", 56),
        event("hipExtModuleLaunchKernel", 57),
        event("cudaLaunchHostFunc", 58),
        event("cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags", 59),
        event("cudaStreamIsCapturing", 60),
        event("Memcpy DtoH (Device -> Pageable)", 35, DeviceType.CUDA),
        event("Memcpy HtoD (Pinned -> Device)", 36, DeviceType.CUDA),
        event("sgemm", 37, DeviceType.CUDA),
        event("Memcpy DtoH (Device -> Pinned)", 105, DeviceType.CUDA),
        event("cudaDeviceSynchronize", 106),
    ]
    counts = count_events(events, on_gpu=True)
    assert (counts.launches, counts.waits, counts.copies_to_host) == (6, 3, 2)
    assert counts.operators == 3
    assert counts.waiting_operators == {"aten::_local_scalar_dense": 1, "aten::nonzero": 1}


def test_counts_of_a_step_without_a_gpu():
    values = torch.arange(6.0)

    def step():
        (values + 1).sum().item()
        values[values > 2].mul_(2)

    counts = count_step(step, CPU)
    assert counts.waiting_operators == {"aten::_local_scalar_dense": 1, "aten::nonzero": 1}
    assert (counts.launches, counts.waits, counts.copies_to_host) == (None, None, None)
    assert 6 <= counts.operators <= 14


def test_peak_memory_over_two_times():
    memory = PeakMemory(CPU)
    with memory.watch():
        kept = torch.zeros(1000)
    between = torch.zeros(5000)
    with memory.watch():
        passing = kept + 1
        del passing
        last = kept + 2
    assert memory.peak == 8000
    assert len(between) + len(last) == 6000


def test_tf32_is_on_and_off_again():
    def flags() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = flags()
    for precision, expected in (("tf32", (True, True)), ("fp32", (False, False)), ("bf16", before)):
        with fp32_arithmetic(precision):
            assert flags() == expected
        assert flags() == before


def test_what_a_processor_lacks(monkeypatch):
    assert lacking("fp32", CPU) is None
    assert "CUDA only" in lacking("fp16", CPU)
    monkeypatch.setattr("benchmarks.trainbench.hardware.cpu_has_bf16", lambda: False)
    assert "no bf16" in lacking("bf16", CPU)


def test_what_a_gpu_lacks(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert [lacking(precision, cuda) is None for precision in ("fp32", "tf32", "bf16", "fp16")] == [
        True, False, False, True,
    ]  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
def test_a_child_that_takes_too_long_is_ended_with_its_own_processes(tmp_path):
    program = (
        "import subprocess, sys, time, pathlib\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(grandchild.pid))\n"
        "time.sleep(60)"
    )
    with pytest.raises(ChildError, match="not done within 2 s"):
        run_child([sys.executable, "-c", program], tmp_path / "none.json", 2.0)
    grandchild = int((tmp_path / "pid").read_text())
    # Killed it is at once, and gone a moment later; it would live for a minute.
    deadline = time.monotonic() + 20
    while is_running(grandchild) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(grandchild)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
def test_a_child_ends_with_a_parent_that_is_killed(tmp_path):
    output = tmp_path / "train-step-row" / "row.json"
    output.parent.mkdir()
    child = (
        "import os, pathlib, subprocess, sys, time\n"
        "from benchmarks.trainbench.child import end_with\n"
        f"output = pathlib.Path({str(output)!r})\n"
        "end_with(int(sys.argv[1]), output)\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "cache = pathlib.Path(os.environ['TORCHINDUCTOR_CACHE_DIR'])\n"
        "cache.mkdir()\n"
        "output.with_name('part').write_text(f'{os.getpid()} {grandchild.pid} {cache.parent}')\n"
        "output.with_name('part').rename(output.with_name('said'))\n"
        "time.sleep(60)"
    )
    parent = (
        "import os, pathlib, sys\n"
        "from benchmarks.trainbench.child import run_child\n"
        f"run_child([sys.executable, '-c', {child!r}, str(os.getpid())], pathlib.Path({str(output)!r}), 60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    said = output.with_name("said")
    with subprocess.Popen([sys.executable, "-c", parent], env=environment) as process:
        deadline = time.monotonic() + 30
        while not said.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        pid, grandchild, cache = said.read_text().split(" ", 2)
        process.kill()
    deadline = time.monotonic() + 20
    while any(map(is_running, map(int, (pid, grandchild)))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(int(pid))
    assert not is_running(int(grandchild))
    assert not Path(cache).exists()
    assert not output.parent.exists()


def test_what_a_compiler_keeps_goes_with_the_child(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "shared"))
    seen = tmp_path / "seen.json"
    program = (
        "import json, os, pathlib, sys, time\n"
        "folders = [os.environ[name] for name in ('TORCHINDUCTOR_CACHE_DIR', 'TRITON_CACHE_DIR')]\n"
        "for folder in folders: os.makedirs(folder); pathlib.Path(folder, 'torn').touch()\n"
        "pathlib.Path(sys.argv[1]).write_text(json.dumps({'rows': folders}))\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    folders = []
    for rest, ends in ((0, True), (600, False)):
        command = [sys.executable, "-c", program, str(seen), str(rest)]
        if ends:
            folders.append(run_child(command, seen, None)["rows"])
        else:
            seen.unlink()
            monkeypatch.setattr(subprocess.Popen, "communicate", lambda *_, **__: wait_for(seen))
            with pytest.raises(ChildError, match="not done within"):
                run_child(command, tmp_path / "none.json", 1.0)
            folders.append(json.loads(seen.read_text())["rows"])
    assert not (tmp_path / "shared").exists()
    assert not {*folders[0]} & {*folders[1]}
    assert not any(Path(folder).exists() for pair in folders for folder in pair)


def wait_for(file: Path) -> None:
    """In place of waiting for a child: its time is over when the file is there."""
    deadline = time.monotonic() + 60
    while not (file.is_file() and file.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    raise subprocess.TimeoutExpired("child", 1.0)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state not in "ZX"


def test_a_child_that_fails_is_named_by_its_last_words(tmp_path):
    program = "import sys; print('one\\nNo working C++ compiler', file=sys.stderr); sys.exit(3)"
    with pytest.raises(ChildError, match=r"status 3: No working C\+\+ compiler"):
        run_child([sys.executable, "-c", program], tmp_path / "none.json", None)


def test_names_of_devices_as_names_of_files():
    assert file_name_of("NVIDIA A100-SXM4-80GB") == "nvidia-a100-sxm4-80gb"
    assert file_name_of("Intel(R) Xeon(R) @ 2.20GHz / x") == "intel-r-xeon-r-2-20ghz-x"
    assert file_name_of("???") == "device"

"""The comparison of rules, at a size that takes no time: its rows, what is trained again, and what is not."""

from __future__ import annotations

import shutil
import signal
from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import rules
from benchmarks.rulebench import contest, measures
from benchmarks.rulebench.report import contests, table
from benchmarks.rulebench.rows import Row, append_row, read_rows
from otadet.assigners import DSLAAssigner, OTAAssigner, SimOTAAssigner
from otadet.assigners.ops.pair_costs import chosen_cost
from otadet.data.synthetic.write import write_synthetic
from otadet.engine.checkpoint import load_checkpoint, save_checkpoint
from otadet.engine.guard import NonFiniteError
from otadet.engine.stop import Stopped
from otadet.engine.train_step import TrainStep
from otadet.errors import UserError
from otadet.exp import YOLOX, BCEIoU, YOLOXExp, load_exp, yolox_input
from otadet.exp.stored import StoredExp
from otadet.losses import BCE, QFL

CPU = torch.device("cpu")
TINY = ["--device", "cpu", "input.resize", "64x64", "length", "3iterations", "batch_size", "2", "log_every", "1"]
ROW = Row(
    **{"id": "abc", "contest": "def", "rule": "ota assigner.k 5", "seed": 1, "AP": 0.25, "AP50": 0.5},
    **{"ambiguous": 1.5, "contested": 1.0, "positives": 30.0, "step_seconds": 0.1, "data_seconds": 0.0},
    **{"train_seconds": 9.0, "assign_ms": 2.5, "assign_ratio": 0.5, "iterations": 9, "batch": 2, "split": "val"},
    **{
        "images": 2,
        "start": 'a, "b".pth',
        "settings": "length 9iterations",
        "device": "CPU",
        "otadet": "1",
        "torch": "2",
    },
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shapes and a tiny YOLOX of other classes."""
    folder = tmp_path_factory.mktemp("desk")
    write_synthetic(folder / "shapes", images_train=4, images_val=2, size=64, classes=2)
    exp = StoredExp("tiny", {})
    exp.model, exp.input, exp.postprocess = YOLOX(0.33, 0.0625, True), yolox_input(64), YOLOXExp.postprocess
    exp.assigner, exp.loss = SimOTAAssigner.yolox(), BCEIoU()
    torch.manual_seed(0)
    state = {"model": exp.build_model(3).state_dict(), "class_names": ["a", "b", "c"]}
    save_checkpoint(folder / "tiny.pth", {**state, "parts": exp.describe(), "experiment": exp.about()})
    return folder


def words(desk: Path, output: Path, *more: str) -> list[str]:
    return ["-c", str(desk / "tiny.pth"), "--output", str(output), *TINY, "data", str(desk / "shapes"), *more]


def args_of(desk: Path, output: Path, *more: str):
    return rules.parse(rules.parser(), words(desk, output, *more))


def entries_of(desk: Path, *more: str) -> contest.Contest:
    return contest.contest_of(args_of(desk, desk / "no.csv", *more), load_checkpoint(desk / "tiny.pth"), CPU)


def test_a_training_per_rule_is_a_row_and_is_done_once(desk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measures, "TURNS", 1)
    output = tmp_path / "new" / "rules.csv"
    step, done = TrainStep.__call__, []

    def interrupted(self, *given):
        done.append(0)
        if len(done) == 2:
            signal.raise_signal(signal.SIGTERM)
        return step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "__call__", interrupted)
        with pytest.raises(Stopped):
            rules.main(words(desk, output, "--rules", "ota"))
    assert read_rows(output) == []
    # It goes on where it was, and the next rule follows.
    rules.main(words(desk, output, "--rules", "ota,dsla", "--table", str(tmp_path / "table.md")))
    first, second = read_rows(output)
    assert (first.rule, second.rule, first.contest) == ("ota", "dsla", second.contest)
    assert (first.iterations, first.images, first.split, first.start) == (3, 2, "val", "tiny.pth")
    assert second.positives > 1
    assert min(first.step_seconds, first.assign_ms, second.assign_ratio) > 0
    assert first.train_seconds >= 2 * first.step_seconds
    assert "resumed from" in (output.with_suffix("") / first.id / "train.log").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert "ota, seed 0: begins" in printed
    assert (tmp_path / "table.md").read_text(encoding="utf-8").count("\n| ") == 3

    # Nothing is trained twice, however it is written.
    monkeypatch.setattr(measures, "measured", lambda *given: pytest.fail("trained again"))
    rules.main(words(desk, output, "--rules", "dsla,ota,ota assigner.cost yolox"))
    assert read_rows(output) == [first, second]
    assert "dsla, seed 0: done already" in capsys.readouterr().out


def test_what_differs_is_another_training(desk, tmp_path):
    one = entries_of(desk, "--rules", "ota,fcos", "--seeds", "0,1")
    assert len({entry.id for entry in one.entries}) == 4
    others = [
        entries_of(desk, "--rules", "fcos", *more)
        for more in (("optimizer.lr", "0.002"), ("--split", "train"), ("data.val_share", "0.3"))
    ]
    assert len({one.id, *(other.id for other in others)}) == 4
    assert len({entry.id for each in (one, *others) for entry in each.entries}) == 7
    # Where the data lie does not matter.
    shutil.copytree(desk / "shapes", tmp_path / "moved")
    again = entries_of(desk, "--rules", "ota", "data", str(tmp_path / "moved"))
    assert (again.id, again.entries[0].id) == (one.id, one.entries[0].id)


def test_a_rule_has_what_it_needs(desk):
    found = {entry.rule: entry.fitted for entry in entries_of(desk).entries}
    assert tuple(found) == rules.RULES
    assert found["simota"].assigner.shared
    own = load_exp("ota_csp_nano").assigner
    for field in ("radius", "top_q", "prior"):
        assert getattr(found["ota"].assigner, field) == getattr(own, field)
    assert found["ota"].assigner.cost == chosen_cost(None, own.iou_weight, own.class_cost, own.box_cost)
    assert found["dsla"].assigner == DSLAAssigner()
    assert found["tal_soft"].assigner.soft
    assert {rule: type(exp.loss.class_loss) for rule, exp in found.items()} == {
        **dict.fromkeys(rules.RULES, BCE),
        "dsla": QFL,
    }
    # Another network has no objectness, and the rule its own defaults.
    plain = load_exp("my_data")
    plain.override(contest.settings_of("ota", plain))
    assert plain.assigner == OTAAssigner()
    (entry,) = entries_of(desk, "--rules", "ota assigner.radius 1.5").entries
    assert entry.fitted.assigner.radius == 1.5
    assert entry.fitted.input.resize.size == (64, 64)


def test_from_scratch(desk):
    args = rules.parse(rules.parser(), [*TINY, "--rules", "fcos", "data", str(desk / "shapes")])
    (entry,) = contest.contest_of(args, None, CPU).entries
    assert entry.fitted.optimizer.lr == 0.0025
    assert entry.fitted.model == load_exp("ota_csp_nano").model
    assert measures._start(entry.fitted, args) == "scratch"
    args.exp = "ota_csp_nano"
    assert measures._start(entry.fitted, args) == "scratch by ota_csp_nano"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--rules", "otta"), "otta: there is no such.*ota"),
        (("--rules", "fcos assigner.k 5"), "assigner.k: .*no such field"),
        (("--rules", "ota 'assigner"), "--rules .*No closing quotation"),
        (("--rules", "ota length 9epochs"), "length is no setting of a rule"),
        (("--rules", "ota assigner.radius"), "overrides come as pairs"),
        (("assigner.radius", "2"), "assigner.radius: is what is compared; give it with a rule"),
        (("run.seed", "3"), "run.seed: is set by --seeds"),
        (("batch_size", "auto"), "batch_size auto: .*set a number"),
        (("--minutes", "nan"), "--minutes nan: must be a number"),
        (("--images", "0"), "--images 0: must be at least 1"),
        (("--split", "test"), "test"),
    ],
)
def test_mistakes_end_before_anything_is_trained(desk, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        rules.main(words(desk, tmp_path / "rules.csv", *more))
    assert not list(tmp_path.iterdir())


def test_results_and_table_are_two_files(desk, tmp_path):
    path = tmp_path / "rules.csv"
    append_row(path, ROW)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"rules.csv: is the file of the results"):
        rules.main(["--only-table", "--output", str(path), "--table", str(tmp_path / "." / "rules.csv")])
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="is a folder"):
        rules.main(words(desk, tmp_path))


def test_data_are_named(desk, tmp_path):
    with pytest.raises(UserError, match=r"which data.*data FOLDER"):
        rules.main(["-c", str(desk / "tiny.pth"), "--output", str(tmp_path / "a.csv"), *TINY])


@pytest.mark.parametrize("text", ["", ",", "1,x", "-1", "1.5"])
def test_seeds_are_whole_numbers(text):
    with pytest.raises(ArgumentTypeError):
        rules.seeds(text)


def test_what_has_no_time_is_left_out_and_said(desk, tmp_path, capsys):
    rules.main(words(desk, tmp_path / "rules.csv", "--rules", "ota,fcos", "--minutes", "0"))
    printed = capsys.readouterr().out
    assert printed.count("left out: ") == 2
    assert "left out: fcos, seed 0: would not be done within 0 minutes" in printed
    assert not list(tmp_path.iterdir())


def test_a_rule_that_fails_does_not_end_the_others(desk, tmp_path, monkeypatch, capsys):
    def train(entry, *_):
        if entry.rule != "fcos":
            raise torch.OutOfMemoryError("out of memory\nand more") if entry.rule == "ota" else NonFiniteError("nan")
        return replace(ROW, id=entry.id, rule=entry.rule)

    monkeypatch.setattr(rules, "train", train)
    with pytest.raises(UserError, match=r"failed: ota, seed 0: out of memory; atss, seed 0: nan$"):
        rules.main(words(desk, tmp_path / "rules.csv", "--rules", "ota,atss,fcos"))
    assert [row.rule for row in read_rows(tmp_path / "rules.csv")] == ["fcos"]
    assert "\nfcos " in capsys.readouterr().out


def test_rows_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "rows.csv"
    append_row(path, ROW)
    append_row(path, replace(ROW, id="x", AP=-1.0))
    assert read_rows(path) == [ROW, replace(ROW, id="x", AP=-1.0)]


def test_an_unfinished_line_is_no_row_and_gives_way(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    append_row(path, ROW)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 20, 30):
        path.write_bytes(whole[:length])
        if length > 30:
            assert read_rows(path) == []
        append_row(path, ROW)
        assert path.read_bytes() == whole
        assert "was not finished" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("contested", "contests"), "its first line does not have the columns"),
        (lambda text: text.replace(",0.25,", ",nan,"), "line 2: its AP is nan"),
        (lambda text: text.replace(",0.25,", ",good,"), "line 2: its AP is no number"),
        (lambda text: text.replace(",0.25,", ","), "line 2 has 22 cells for 23 columns"),
        (lambda text: "\ufffd".encode("utf-16").decode("latin-1") + text, "first line|UTF-8"),
    ],
)
def test_another_file_is_left_alone(desk, tmp_path, change, message):
    path = tmp_path / "rows.csv"
    append_row(path, ROW)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        rules.main(words(desk, path))
    assert path.read_bytes() == before


def test_a_table_per_contest_and_a_line_per_rule(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    for row in (ROW, replace(ROW, seed=2, AP=0.35), replace(ROW, rule="fcos"), replace(ROW, contest="other")):
        append_row(path, row)
    rules.main(["--only-table", "--output", str(path), "--table", str(tmp_path / "a.md")])
    printed = capsys.readouterr().out
    assert "0.300 +-0.071" in printed
    assert printed.count("\nrule ") == 2
    assert [len(rows) for rows in contests(read_rows(path))] == [3, 1]
    text = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert "| fcos | 0.250 | 0.500 | 1.50 | 1.00 | 30.0 | 0.1000 | 9 | 2.5 | 0.50 |" in text
    assert (
        table([ROW]).splitlines()[0].startswith('from a, "b".pth, 9 iterations of 2 images, seed 1, length 9iterations')
    )
    with pytest.raises(UserError, match="has no results yet"):
        rules.main(["--only-table", "--output", str(tmp_path / "none.csv")])
    with pytest.raises(UserError, match="leave the experiment"):
        rules.main(["--only-table", "--output", str(path), "length", "2epochs"])


def test_steps_are_summed_up_from_the_metrics_of_a_run(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "iteration,loss,data_ms,compute_ms,AP\n20,1,100,900,\n40,1,10,90,\n50,1,30,110,0.5\n60,,,,0.6\n"
    )
    steps = measures.steps_of(tmp_path / "metrics.csv")
    assert (steps.compute, steps.data) == (pytest.approx(0.1), pytest.approx(0.02))
    assert steps.total == pytest.approx(20 * 1.0 + 20 * 0.1 + 10 * 0.14)

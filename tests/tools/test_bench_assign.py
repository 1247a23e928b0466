import csv

import pytest
import torch

from otadet.apps import bench
from otadet.assigners import OTAAssigner, SimOTAAssigner, TaskAlignedAssigner
from otadet.errors import UserError
from otadet.profiling.compare import compare
from otadet.profiling.dense import dense_ota, dense_simota, dense_tal
from otadet.profiling.meters import metered
from otadet.profiling.problems import Scene, draw_problem, parse_scene
from tests.helpers.programs import call_tool

TINY = Scene(5, 2, 3, 64, 96)
CPU = torch.device("cpu")


def test_every_rule_and_yardstick_has_its_row(monkeypatch, tmp_path, capsys):
    call_tool(
        monkeypatch, "bench_assign", "--scenes", "5x2:3:64x96", "2x1:1:64x64", "--rules", "ota", "simota", "dense",
        "--repeat", 2, "--no-scaling", "--csv", tmp_path / "costs.csv",
    )  # fmt: skip
    with open(tmp_path / "costs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rules = ["ota", "simota", "dense OTA", "dense SimOTA", "dense TAL"]
    assert [row["rule"] for row in rows] == 2 * rules
    assert all(float(row["seconds"]) > 0 and int(row["memory"]) > 0 and int(row["launches"]) > 0 for row in rows)
    waits = {row["rule"]: int(row["waits"]) for row in rows}
    assert waits["ota"] == waits["simota"] == 0
    assert waits["dense SimOTA"] > 0
    printed = capsys.readouterr().out
    assert all(rule in printed for rule in rules)


@pytest.mark.parametrize(
    ("dense", "sparse"),
    [
        (dense_ota, OTAAssigner()),
        (dense_simota, SimOTAAssigner.yolox()),
        (dense_tal, TaskAlignedAssigner(alpha=0.5, beta=6.0, topk=10)),
    ],
    ids=["ota", "simota", "tal"],
)
def test_the_yardsticks_do_the_work_that_they_are_timed_for(dense, sparse):
    problem = draw_problem(TINY)
    expected = sparse(problem.predictions, problem.anchors, problem.truths).gt_index
    assert (expected >= 0).sum() > 10
    assert torch.equal(dense(problem.predictions, problem.anchors, problem.truths), expected)


def test_the_meter_counts_operations_and_live_memory():
    values = torch.ones(1000)

    def work():
        first = values + 1  # 4000 bytes
        second = first.view(10, 100) * 2  # and 4000 more
        del first
        third = second[:5] + 1  # 2000, when the first 4000 are gone
        third.add_(1)
        return second.sum().item()

    meter = metered(work, CPU)
    assert (meter.launches, meter.waits) == (5, 1)
    assert meter.peak == 8000


def test_masks_are_waits():
    values = torch.arange(6.0)
    assert metered(lambda: values[values > 2], CPU).waits == 1
    assert metered(lambda: values[torch.tensor([1, 2])], CPU).waits == 0


def test_a_scene_is_what_its_text_says():
    assert parse_scene("7x16") == Scene(7, 16)
    assert parse_scene("3x2:4:64x96") == Scene(3, 2, 4, 64, 96)


@pytest.mark.parametrize("text", ["7", "0x1", "7x1:64x96", "axb"])
def test_other_texts_are_errors(text):
    with pytest.raises(UserError, match="BOXESxIMAGES"):
        parse_scene(text)


@pytest.mark.parametrize("text", ["999999999x1", "7x999999", "7x1:80:9999999x9999999", "7x1:999999999"])
def test_scenes_that_no_memory_holds_are_errors(text):
    with pytest.raises(UserError, match=rf"scene {text}: .* at most"):
        parse_scene(text)


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf"])
def test_a_budget_is_a_time(budget):
    with pytest.raises(UserError, match=f"--budget {budget}: must be above 0, and finite"):
        bench.main(["--budget", budget])


def test_a_rule_whose_package_is_missing_is_left_out():
    def lacking(*_):
        raise UserError("scipy is not installed")

    comparison = compare(TINY, {"ota": OTAAssigner(), "lacking": lacking}, CPU, repeat=1)
    assert [cost.rule for cost in comparison.costs] == ["ota"]
    assert comparison.failures == {"lacking": "scipy is not installed"}

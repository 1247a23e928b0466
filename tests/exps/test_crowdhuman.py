"""The rows of Tab. 6: what the paper says of them, and one of them from the .odgt files to an ONNX file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from otadet.apps import evaluate, export
from otadet.apps.start import Start
from otadet.apps.training import train_experiment
from otadet.assigners import (
    ATSSAssigner,
    FCOSAssigner,
    LLAAssigner,
    MaxIoUAssigner,
    OTAAssigner,
    PAAAssigner,
)
from otadet.exp import BaseExp, CrowdHumanData, load_exp
from otadet.exp.fields import all_fields
from tests.helpers.crowd_folder import write_crowd

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "exps" / "crowdhuman").glob("*.py"))
RULES = {
    "ota": OTAAssigner(),
    "retinanet": MaxIoUAssigner(),
    "fcos": FCOSAssigner(radius=1.5),
    "free_anchor": None,
    "atss": ATSSAssigner(topk=9),
    "paa": PAAAssigner(topk=9),
    "lla": LLAAssigner(),
}
SMALL = ["model.backbone", "resnet10", "width", "8", "channels", "16", "tower_depth", "1"]
SMALL += ["input.resize", "64/64", "workers", "0"]


def row_of(path: Path) -> str:
    return path.stem.removesuffix("_r50")


def test_every_row_is_there() -> None:
    assert {row_of(path) for path in FILES} == set(RULES)


@pytest.mark.parametrize("path", FILES, ids=row_of)
def test_the_settings_of_the_paper(path: Path) -> None:
    exp = load_exp(path)
    assert exp.assigner == RULES[row_of(path)]
    assert isinstance(exp.data, CrowdHumanData)
    assert exp.model.backbone.depth == 50
    assert exp.postprocess.nms_iou == 0.6
    assert exp.run.batch_size == 16
    # 15,000 training images.
    assert exp.iterations(15_000) == 28_125
    schedule = exp.build_schedule(15_000)
    assert (schedule.steps, schedule.warmup) == ((18_750, 25_000), 1000)


@pytest.mark.parametrize("path", FILES, ids=row_of)
def test_all_else_is_as_on_coco(path: Path) -> None:
    rule, own = ("data", "model", "assigner", "loss", "schedule", "length", "postprocess.rank_by"), load_exp(path)
    on_coco = {field.path: field.value for field in all_fields(BaseExp())}
    for field in all_fields(own):
        if not field.path.startswith(rule) and field.path != "postprocess":
            assert field.value == on_coco[field.path], field.path


@pytest.mark.parametrize("path", FILES, ids=row_of)
def test_the_scores_of_the_paper_are_the_same_everywhere(path: Path) -> None:
    said = re.search(r"Paper: MR ([\d.]+), AP ([\d.]+), recall ([\d.]+)\.", path.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if f"exps/crowdhuman/{path.name}" in line]
    assert said is not None
    assert [cell.strip() for cell in line.split("|")[3:6]] == list(said.groups())


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    return write_crowd(tmp_path / "crowd")


def test_from_odgt_files_to_an_onnx_file(crowd: Path, tmp_path: Path, capsys) -> None:
    exp = load_exp(ROOT / "exps" / "crowdhuman" / "ota_r50.py")
    settings = [*SMALL, "data.folder", str(crowd), "length", "2iterations", "schedule.warmup", "0", "log_every", "1"]
    exp.override([*settings, "batch_size", "2", "schedule.at", "0.5"])
    assert train_experiment(exp, torch.device("cpu"), Start(tmp_path / "run"))
    header = (tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"MR", "AP", "recall", "JI"} <= set(header)
    best = str(tmp_path / "run" / "best.pth")
    capsys.readouterr()
    evaluate.main(["-c", best, "--device", "cpu", "--json", "score_threshold", "0.0"])
    found = json.loads(capsys.readouterr().out)
    assert found["protocol"] == "crowdhuman"
    assert (found["diagnosis"]["truths"], found["diagnosis"]["crowd_regions"]) == (4, 2)
    assert 0 <= found["stats"]["MR"] <= 1
    export.main(["-c", best, "--output", str(tmp_path / "crowd.onnx")])
    assert (tmp_path / "crowd.onnx").stat().st_size > 10_000

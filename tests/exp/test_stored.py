"""Checkpoints that describe themselves: what is rebuilt of them, and what is said where it cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import otadet
from otadet.apps.train import configured, parse_args
from otadet.engine.checkpoint import load_checkpoint, save_checkpoint
from otadet.errors import UserError
from otadet.exp import YOLOX, BaseExp, load_exp, load_predictor
from otadet.exp.fields import fields_of
from otadet.exp.plain import PARTS, from_plain, to_plain
from otadet.exp.stored import stored_exp
from otadet.exp.words import WORDS

EXPS = Path(otadet.__file__).parents[1] / "exps"
FILES = sorted(EXPS.rglob("*.py"))
NAMES = ["cat", "dog"]
TINY = [
    "model.backbone.depth",
    "10",
    "model.backbone.weights",
    "none",
    "model.channels",
    "16",
    "model.tower_depth",
    "1",
]

OWN_HEAD = """
from dataclasses import dataclass
from otadet.exp import *

@dataclass(frozen=True)
class Wide(FCOS):
    pass

class Exp(BaseExp):
    model: FCOS = Wide(ResNet(10, weights=None), channels=16, tower_depth=1)
"""
OWN_METHOD = """
from otadet.exp import *

class Exp(BaseExp):
    model = FCOS(ResNet(10, weights=None), channels=16, tower_depth=1)
    def build_model(self, num_classes):
        return super().build_model(num_classes)
"""
OWN_CHANGE = """
from otadet.exp import *

def darker(sample, rng):
    return sample

class Exp(BaseExp):
    model = FCOS(ResNet(10, weights=None), channels=16, tower_depth=1)
    augment = (darker,)
"""


def save(experiment: BaseExp, path: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    weights = experiment.build_model(len(NAMES)).state_dict()
    described = {"parts": experiment.describe(), "experiment": experiment.about(), **changes}
    save_checkpoint(path, {"model": weights, "ema": None, "class_names": NAMES, **described})
    return path


def save_file(folder: Path, text: str) -> Path:
    (folder / "mine.py").write_text(text, encoding="utf-8")
    return save(load_exp(folder / "mine.py"), folder / "a.pth")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_experiment_is_rebuilt_from_what_it_says_of_itself(file: Path, tmp_path: Path) -> None:
    exp = load_exp(file)
    # Shallow ResNets have no groups.
    if isinstance(exp.model, YOLOX):
        exp.override(["model.width", "0.125"])
    else:
        exp.override(TINY if exp.model.backbone.groups == 1 else [*TINY, "depth", "26", "width", "16"])
    path = save(exp, tmp_path / "a.pth")
    rebuilt = stored_exp(path, load_checkpoint(path), fields_of(exp))
    assert {name: getattr(rebuilt, name) for name in fields_of(exp)} == {
        name: getattr(exp, name) for name in fields_of(exp)
    }
    assert rebuilt.name == exp.name == file.stem


def test_words_of_the_command_line_stand_for_parts_that_a_checkpoint_can_hold() -> None:
    for words in WORDS.values():
        for make in words.values():
            part = make()
            assert type(part) is PARTS[type(part).__name__]
            assert from_plain(to_plain(part), "part") == part


def test_load_gives_what_the_experiment_and_the_checkpoint_give(tmp_path: Path) -> None:
    exp = load_exp(EXPS / "quickstart.py")
    exp.override([*TINY, "postprocess.score_threshold", "0"])
    path = save(exp, tmp_path / "a.pth")
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    detector = otadet.load(path, "cpu")
    found, expected = detector(image), load_predictor(exp, path)(image)
    assert len(found) > 0
    assert torch.equal(found.boxes, expected.boxes)
    assert set(found.class_names) <= set(NAMES)
    one, other = detector([image, image])
    assert torch.equal(one.boxes, other.boxes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN_HEAD, r"a\.pth: model is Wide, of mine\.py; give that file with -f"),
        (OWN_METHOD, r"a\.pth: model is what build_model of the experiment mine makes of it; give that file with -f"),
    ],
    ids=["a part", "a method"],
)
def test_a_part_of_the_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = save_file(tmp_path, text)
    with pytest.raises(UserError, match=message):
        otadet.load(path)


def test_a_part_that_is_not_needed_may_be_the_files(tmp_path: Path) -> None:
    path = save_file(tmp_path, OWN_CHANGE)
    assert otadet.load(path, "cpu").class_names == tuple(NAMES)
    exp = stored_exp(path, load_checkpoint(path), ("model",))
    with pytest.raises(UserError, match=r"augment cannot be set: augment.0 is darker, of mine\.py; give that file"):
        exp.override(["augment", "none"])


def test_an_older_checkpoint_asks_for_its_file(tmp_path: Path) -> None:
    exp = load_exp(EXPS / "quickstart.py")
    path = save(exp, tmp_path / "a.pth", parts={}, exp={"lr": 0.1}, format=1)
    with pytest.raises(UserError, match=r"a\.pth: says nothing of its experiment.*with -f"):
        otadet.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": "Popen"}, "model is 'Popen', which this otadet does not have"),
        ({"part": ["FCOS"]}, "which this otadet does not have"),
        ({"depth": 5}, "this otadet's FCOS has no field 'depth'"),
        ({"channels": 33}, "channels 33: must be even"),
        ({"channels": "many"}, "expected a whole number"),
        ({"backbone": 5}, "backbone = 5: expected ResNet"),
        ({"channels": 16384, "tower_depth": 64}, "describes a network of .* weights, but holds"),
        ({"backbone": {"part": "SGD"}}, "model.backbone is SGD, which is no part for it"),
    ],
    ids=str,
)
def test_parts_of_a_file_that_are_none_are_one_error(change: dict, message: str, tmp_path: Path) -> None:
    exp = load_exp(EXPS / "quickstart.py")
    parts = exp.describe()
    path = save(exp, tmp_path / "a.pth", parts={**parts, "model": {**parts["model"], **change}})
    for use in (
        lambda: otadet.load(path),
        lambda: configured(parse_args(["-c", str(path), "data", str(tmp_path)])),
        lambda: configured(parse_args(["-c", str(path)])),
    ):
        with pytest.raises(UserError, match=rf"a\.pth: .*{message}"):
            use()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine", "mine"),
        ("../../up", "up"),
        ("/etc/cron", "cron"),
        ("a\\b", "b"),
        ("..", "experiment"),
        ("", "experiment"),
    ],
)
def test_a_name_leads_nowhere_else(name: str, said: str) -> None:
    state = {"parts": BaseExp().describe(), "experiment": {"name": name, "methods": []}}
    assert stored_exp("best.pth", state, ("model",)).name == said


@pytest.mark.parametrize("name", ["Postprocess", "OTAAssigner", "FocalCost", "Run"])
@pytest.mark.parametrize("around", ["", "Compose"])
def test_what_is_called_but_is_no_transform_is_refused_as_one(name: str, around: str) -> None:
    part = {"part": name}
    stored = [{"part": around, "transforms": [part]}] if around else [part]
    with pytest.raises(UserError, match=rf"augment\.0.* is {name}, which is no part for it"):
        from_plain(stored, "augment", fields_of(BaseExp())["augment"])

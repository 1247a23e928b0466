"""Settings that can have no effect are one error, and what was there before gives way to what is set."""

from __future__ import annotations

from pathlib import Path

import pytest

from otadet.errors import UserError
from otadet.exp import BaseExp, load_exp
from otadet.exp.heard import unheard_settings
from otadet.exp.load import shipped_folder

FILES = sorted(shipped_folder().rglob("*.py"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("assigner.k 5 top_q 10", "assigner.top_q 10: changes nothing while assigner.k is 5; leave it out"),
        ("assigner simota k 5 top_q 10", "assigner.top_q 10"),
        ("assigner simota shared true prior none", "assigner.prior none: changes nothing while assigner.shared"),
        ("assigner.iou_weight 0 box_cost giou", "assigner.box_cost"),
        ("assigner.iou_weight 0 box_cost.eps 0.1", "assigner.box_cost"),
        ("tolerance 0.1 assigner.iterations 10", "assigner.tolerance 0.1: .* set assigner.iterations above 10"),
        ("assigner hungarian class_weight 0 cost.class_cost bce", "assigner.cost.class_cost"),
        ("schedule.warmup 0 warmup_start 0.1", "schedule.warmup_start 0.1: .* schedule.warmup is 0"),
        ("schedule cosine schedule.warmup 0 warmup_start 0.1", "schedule.warmup_start 0.1"),
        ("schedule.at () factor 0.5", "schedule.factor 0.5: .* schedule.at is none"),
        ("weight_decay 0 weight_decay_on all", "optimizer.weight_decay_on all"),
        ("model.quality none rank_by class", "postprocess.rank_by class: .* model.quality is none"),
        ("assigner none loss free_anchor loss.alpha 0 box_weight 1", "loss.box_weight"),
    ],
)
def test_what_changes_nothing_is_an_error(words: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        BaseExp().override(words.split())
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_everything_in_a_shipped_experiment_is_heard(file: Path) -> None:
    assert unheard_settings(load_exp(file), BaseExp) == {}


def test_what_the_experiment_has_gives_way_to_what_is_set() -> None:
    class Mine(BaseExp):
        pass

    exp = Mine()
    exp.override(["weight_decay_on", "all", "top_q", "7"])
    exp.override(["weight_decay", "0", "assigner.k", "5"])
    assert (exp.optimizer.weight_decay, exp.assigner.k) == (0, 5)
    # What is set is nothing new, or what it is anyway.
    exp.override(["assigner.top_q", "20"])
    with pytest.raises(UserError, match=r"assigner\.top_q 8"):
        exp.override(["top_q", "8"])


def test_an_experiment_file_has_nothing_that_is_not_heard(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from otadet.exp import *\nfrom otadet.assigners import OTAAssigner\n"
        "class Exp(BaseExp):\n    assigner = OTAAssigner(k=5, top_q=10)\n"
    )
    with pytest.raises(UserError, match=r"mine\.py: assigner\.top_q 10: changes nothing"):
        load_exp(file)


BOTH = """
from otadet.exp import *
class Exp(BaseExp):
    data = CocoData()
    def build_train_dataset(self, class_names=None):
        return {train}
    def build_val_dataset(self, class_names=None):
        return {val}
"""


@pytest.mark.parametrize(
    ("train", "val", "deaf", "heard"),
    [
        ("None", "None", ["data x", "data.prescan false", "class_names a,b"], ["data.unreadable skip"]),
        ("None", "super().build_val_dataset()", ["data.train_json x"], ["data x", "data.val_json x"]),
        ("self.data.val()", "None", ["data.val_json x"], ["data x", "data.val_share 0.1"]),
        ("self.data.train()", "self.data.val()", [], ["data x", "data.train_json x"]),
    ],
)
def test_data_that_own_methods_do_not_look_at(
    train: str, val: str, deaf: list[str], heard: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(BOTH.format(train=train, val=val))
    for words in deaf:
        with pytest.raises(UserError, match=r"data\.\w+: .*own build_\w+.* not look at it"):
            load_exp(file).override(words.split())
    for words in heard:
        load_exp(file).override(words.split())


def test_iterations_alone_could_be_the_trainings_or_sinkhorns() -> None:
    with pytest.raises(UserError, match=r"iterations: which\? assigner\.iterations is .*`length 9000iterations`"):
        BaseExp().override(["iterations", "100"])
    with pytest.raises(UserError, match=r"iterations: .*it has length in its place, such as `length 9000iterations`"):
        BaseExp().override(["assigner", "simota", "iterations", "100"])
    exp = BaseExp()
    exp.override(["assigner.iterations", "100"])
    assert exp.assigner.iterations == 100

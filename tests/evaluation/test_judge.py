"""pycocotools, and the program that is to have its numbers to the ninth digit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from otadet.data.annotations import Annotations
from otadet.data.class_list import SourceClasses
from otadet.data.dataset import DetectionDataset
from otadet.data.image_names import ImageNames
from otadet.errors import UserError
from otadet.evaluation import judge
from otadet.evaluation.coco import STATS, evaluate_coco
from otadet.evaluation.judge import FASTER, find_judge
from otadet.structures import Detections


def random_problem(seed: int, folder) -> tuple[DetectionDataset, dict[int, Detections]]:
    """Images with and without objects, crowds, many objects or none; classes without truth; equal scores and boxes."""
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    ids = rng.permutation(500)[:images]
    rows, boxes, found = [], [], {}
    for row, image_id in enumerate(ids.tolist()):
        count = int(rng.choice([0, 3, 12, 130], p=[0.2, 0.4, 0.35, 0.05]))
        corners = rng.uniform(0, 150, (count, 2))
        own = np.concatenate((corners, corners + 1 + 120 * rng.random((count, 2)) ** 2), axis=1)
        own = own.round() if seed % 2 else own
        rows += [row] * count
        boxes.append(own)
        guesses = own[rng.integers(0, count, 20)] + rng.normal(0, 4, (20, 4)) if count else rng.uniform(0, 99, (6, 4))
        number = int(rng.choice([0, len(guesses)], p=[0.15, 0.85]))
        found[image_id] = Detections(
            torch.from_numpy(guesses[:number].round() if seed % 2 else guesses[:number]),
            torch.from_numpy(rng.random(number).round(1 if seed % 3 else 6)),
            torch.from_numpy(rng.integers(0, classes, number)),
        )
    of_class = rng.integers(0, max(1, classes - 1), len(rows))
    annotations = Annotations(
        source=folder / "truth.json",
        image_dir=folder,
        classes=SourceClasses(
            tuple(range(3, 3 + classes)),
            tuple("abcde"[:classes]),
            np.bincount(of_class, minlength=classes),
            np.zeros(classes, bool),
        ),
        image_ids=ids,
        file_names=ImageNames.of([f"{number}.png" for number in ids]),
        image_sizes=np.full((images, 2), 300),
        image_rows=np.array(rows, np.int64),
        class_rows=of_class,
        boxes=np.concatenate(boxes),
        areas=np.where(rng.random(len(rows)) < 0.3, rng.uniform(1, 20_000, len(rows)), np.nan),
        ignored=rng.random(len(rows)) < 0.15,
    )
    names = tuple(rng.permutation(list("abcde"[:classes])).tolist())
    return DetectionDataset(annotations, class_names=names, prescan=False), found


def test_the_faster_program_has_the_same_numbers(tmp_path):
    pytest.importorskip("faster_coco_eval")
    for seed in range(120):
        problem = random_problem(seed, tmp_path)
        slow, fast = (evaluate_coco(*problem, judge=name) for name in ("pycocotools", FASTER))
        assert fast.judge.startswith(FASTER)
        assert fast.stats == pytest.approx(slow.stats, abs=1e-9), seed
        for one, other in zip(fast.per_class, slow.per_class, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=1e-9), seed
            assert (one.name, one.truths, one.predictions) == (other.name, other.truths, other.predictions)


def test_the_problems_are_not_trivial(tmp_path):
    results = [evaluate_coco(*random_problem(seed, tmp_path), judge="pycocotools") for seed in range(40)]
    assert sum(0.02 < result.stats["AP"] < 0.98 for result in results) > 20
    assert sum(result.diagnosis.crowd_regions > 0 for result in results) > 20
    assert sum(any(one.truths == 0 for one in result.per_class) for result in results) > 10
    assert all(list(result.stats) == list(STATS) for result in results)


@pytest.mark.parametrize(
    ("there", "automatic", "problem"),
    [
        (None, "pycocotools", r"not installed; pip install otadet\[fast-eval\]"),
        ("1.6.5", "pycocotools", "version 1.6.5 is installed, but .* 1.7 to below 1.9"),
        ("1.9.0rc1", "pycocotools", "version 1.9.0rc1 is installed"),
        ("1.8.0", FASTER, None),
        ("1.7", FASTER, None),
    ],
)
def test_what_is_used_is_what_was_compared(monkeypatch, there, automatic, problem):
    def version(name):
        if name != FASTER:
            return "2.0"
        if there is None:
            raise judge.PackageNotFoundError(name)
        return there

    class Program:
        COCO = COCOeval = COCOeval_faster = dict

    monkeypatch.setattr(judge, "version", version)
    monkeypatch.setattr(judge, "import_module", lambda name: Program)
    assert find_judge().name == automatic
    assert str(find_judge("pycocotools")) == "pycocotools 2.0"
    if problem is None:
        assert str(find_judge(FASTER)) == f"{FASTER} {there}"
    else:
        with pytest.raises(UserError, match=f"judge {FASTER}: {problem}"):
            find_judge(FASTER)


def test_the_extra_installs_what_was_compared():
    setup = (Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8")
    low, high = judge.COMPARED
    assert f'"{FASTER}>={low},<{high}"' in setup


def test_an_unknown_judge_is_an_error():
    with pytest.raises(UserError, match="judge hotcoco: there is no such judge; choose auto or pycocotools or"):
        find_judge("hotcoco")

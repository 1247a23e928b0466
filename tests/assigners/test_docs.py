"""The examples of the docstrings and of docs/assigners.md run, and its picture is what its script draws."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import otadet.assigners
from otadet.assigners import TaskAlignedAssigner, assigner_names, named_assigner
from tests.helpers.problems import random_problem

DOCS = Path(__file__).parents[2] / "docs"
MODULES = ["otadet.structures", "otadet.boxes"] + [
    module.name for module in pkgutil.walk_packages(otadet.assigners.__path__, "otadet.assigners.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", assigner_names())
def test_every_rule_has_numbered_steps_an_example_and_its_fields_described(name: str) -> None:
    rule = type(named_assigner(name))
    assert re.search(r"\n    1\. .*\n(.*\n)*    3\. ", rule.__doc__)
    assert re.search(r">>> .*\.gt_index", rule.__doc__)
    source = Path(importlib.import_module(rule.__module__).__file__).read_text()
    body = source[source.index(f"class {rule.__name__}") :]
    for field in rule.__dataclass_fields__:
        assert re.search(rf'\n    {field}: .*\n    """', body), field


@pytest.fixture(scope="module")
def page() -> dict:
    """What the page's code defines."""
    predictions, anchors, truths = random_problem(torch.Generator().manual_seed(0), 5, 3)
    names = {
        "TaskAlignedAssigner": TaskAlignedAssigner,
        "predictions": predictions,
        "anchors": anchors,
        "truths": truths,
    }
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "assigners.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    return names


def test_the_dense_rule_of_the_page_is_that_of_the_package(page: dict, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 20, 4, num_images=2)
    found, expected = page["MyTAL"]()(predictions, anchors, truths), TaskAlignedAssigner()(predictions, anchors, truths)
    assert torch.equal(found.gt_index, expected.gt_index)
    assert torch.equal(found.ambiguous, expected.ambiguous)


def test_the_fast_rule_of_the_page_is_what_it_says(page: dict, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 6, 4, num_images=2)
    assignment = page["BestIoU"](topk=2)(predictions, anchors, truths)
    for image in range(2):
        counts = torch.bincount(assignment.gt_index[image] + 1, minlength=7)[1:]
        lost = assignment.ambiguous[image].sum()
        assert (counts <= 2).all()
        assert 12 - 2 * lost <= counts.sum() <= 12


def test_the_functions_that_the_page_names_exist(page: dict) -> None:
    text = (DOCS / "assigners.md").read_text()
    from otadet.assigners.ops import background, candidates, chunks, costs, pairs, ties, values

    modules = (background, candidates, chunks, costs, ties, values)
    known = {name for module in modules for name in dir(module)} | {f"Pairs.{name}" for name in dir(pairs.Pairs)}
    table = text[text.index("| 1 candidates") : text.index("Then: the numbered")]
    for name in re.findall(r"`([A-Za-z_.]+)`", table):
        is_field = name in dir(values.PairValues) or name in values.PairValues.__dataclass_fields__
        assert name in known or is_field or name == "supplies", name
    for path in re.findall(r"`((?:tests|docs|tools|otadet)/[a-z_/.]+)`", text):
        assert path.endswith("my_rule.py") or (DOCS.parent / path).exists(), path
    for path in re.findall(r"`(ops/[a-z_.]*)`", text):
        assert (DOCS.parent / "otadet" / "assigners" / path).exists(), path


def test_the_picture_is_what_the_script_draws() -> None:
    """Seen from afar: up to its colours, of which the file has few, and to the fonts of this machine."""
    drawn = runpy.run_path(str(DOCS / "draw_assigners.py"))["draw"]()
    stored = cv2.cvtColor(cv2.imread(str(DOCS / "assigners.png")), cv2.COLOR_BGR2RGB)
    assert drawn.shape == stored.shape
    small = [
        cv2.resize(image, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA).astype(int)
        for image in (drawn, stored)
    ]
    assert (np.abs(small[0] - small[1]).max(-1) > 60).mean() < 0.02

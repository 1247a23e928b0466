import numpy as np
import pytest

from otadet.analysis.assigned import AssignedImage
from otadet.visualize.assignment.figure import assignment_figure, assignment_sheet
from otadet.visualize.assignment.legend import ALL, BEST
from otadet.visualize.palette import distinct_color
from tests.helpers.assigned_squares import BOXES, assigned, grid, result, written


def shaped(height: int, width: int, count: int = 1) -> AssignedImage:
    found = [result({0: 0, 15: 1}, (0,), rule=f"Rule{index}") for index in range(count)]
    return AssignedImage(np.full((height, width, 3), 200, np.uint8), BOXES, grid(), found)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("level", [BEST, ALL, 1])
def test_figures_are_as_wide_however_many_rules(count, level):
    figure = assignment_figure(assigned(*[result({0: 0, 15: 1}, (0,))] * count), level)
    assert figure.dtype == np.uint8
    assert 1200 <= figure.shape[1] <= 2430


def test_all_levels_are_drawn_where_all_are_asked_for():
    # Anchor 0 is of the finer level, 19 of the coarser one.
    found = assigned(result({0: 0, 19: 1}))
    fine, every = ((assignment_figure(found, level) == distinct_color(1)).all(2).sum() for level in (0, ALL))
    assert every > fine + 100


@pytest.mark.parametrize(("level", "expected"), [(ALL, "all levels: 2 of 2"), (BEST, "P4: 1 of 2"), (1, "P5: 1 of 2")])
def test_titles_say_what_a_panel_shows(monkeypatch, level, expected):
    texts = written(monkeypatch)
    assignment_figure(assigned(result({0: 0, 19: 1}, (0,))), level)
    assert any(text.startswith(expected) for text in texts)


def test_the_table_has_the_positives_and_k_of_each_box(monkeypatch):
    mass = np.zeros((2, 20))
    mass[0, :4], mass[1, 7] = 0.75, 1.0
    texts = written(monkeypatch)
    assignment_figure(assigned(result({0: 0, 1: 0, 7: 1}, mass=mass), result({5: 1}, rule="ATSS")))
    assert "2 (3) · 0" in texts
    assert "1 (1) · 1" in texts
    assert "Positives of each box: OTA (k) · ATSS" in texts


@pytest.mark.parametrize(("size", "count"), [((640, 64), 1), ((640, 64), 9), ((64, 64), 9), ((30, 640), 5)])
def test_no_text_is_cut(monkeypatch, size, count):
    texts = written(monkeypatch)
    figure = assignment_figure(shaped(*size, count))
    assert not [text for text in texts if "…" in text]
    assert figure.shape[1] >= 900
    assert sum("1 ambiguous" in text for text in texts) == count
    every = " ".join(texts)
    assert all(words in every for words in ("ambiguous, then background", "chosen per rule", f"Rule{count - 1}"))


def test_many_rules_go_on_in_further_rows():
    four, nine = (assignment_figure(shaped(64, 64, count)).shape for count in (3, 9))
    assert nine[1] == four[1]
    assert nine[0] > 2.5 * 780


def test_mass_is_explained_where_it_is_shown(monkeypatch):
    texts = written(monkeypatch)
    assignment_figure(shaped(64, 64))
    assert "Tint" not in " ".join(texts)
    assignment_figure(shaped(64, 64), show_mass=True)
    assert "Tint" in " ".join(texts)


def test_a_sheet_has_a_named_row_for_each_image_and_the_key(monkeypatch):
    pair = assigned(result({0: 0}), result({0: 1}))
    heights = [assignment_sheet([pair] * count, ["name.png"] * count).shape[0] for count in (1, 2, 3)]
    assert heights[1] - heights[0] == heights[2] - heights[1] > 580
    texts = written(monkeypatch)
    assignment_sheet([pair, pair], ["first.png", "second.png"])
    assert {"first.png", "second.png", "ambiguous, then background"} <= set(texts)


def test_a_tall_image_has_no_taller_row_than_a_square_one():
    tall, square = (assignment_sheet([shaped(height, 64, 4)], ["a"]).shape[0] for height in (640, 64))
    assert tall == square


def test_a_hundred_boxes_have_a_table():
    boxes = np.tile(BOXES, (50, 1))
    crowd = AssignedImage(np.full((64, 64, 3), 200, np.uint8), boxes, grid(), [result({0: 99})])
    few = assignment_figure(assigned(result({0: 0})))
    assert assignment_figure(crowd).shape[0] > few.shape[0]

from dataclasses import replace

import numpy as np
import pytest

from otadet.analysis.assigned import AssignedImage, RuleResult
from otadet.visualize.assignment import panel as assignment
from otadet.visualize.assignment.legend import ALL
from otadet.visualize.assignment.panel import draw_assignment
from otadet.visualize.palette import distinct_color
from tests.helpers.assigned_squares import BOXES, assigned, grid, result, written


def drawn(found: RuleResult, level: int | str = ALL, show_mass: bool = False, scale: float = 8) -> np.ndarray:
    shown = np.ones(20, bool) if level == ALL else grid().level == level
    return draw_assignment(assigned(found), found, shown, scale, show_mass)


def at(canvas: np.ndarray, anchor: int, right: float = 0.0) -> tuple[int, ...]:
    x, y = np.round(grid().points[anchor] * 8).astype(int)
    return tuple(canvas[y, x + round(right)].tolist())


def test_positives_are_dots_in_the_color_of_their_box():
    canvas = drawn(result({0: 0, 15: 1}))
    assert at(canvas, 0) == distinct_color(0)
    assert at(canvas, 15) == distinct_color(1)
    assert at(canvas, 5) == at(canvas, 6), "no dot at background anchors"


def test_ambiguous_anchors_have_a_black_edge_where_others_have_a_white_one():
    canvas = drawn(result({0: 0, 15: 1}, ambiguous=(0, 6)))
    edges = {anchor: [at(canvas, anchor, right) for right in range(6, 12)] for anchor in (0, 6, 15)}
    assert min(edges[0])[0] < 40
    assert max(edges[15])[0] > 245
    assert min(edges[6])[0] < at(canvas, 5)[0] - 80
    assert at(canvas, 6) == at(canvas, 5), "an ambiguous background anchor is an empty ring"


def test_only_the_asked_level_is_drawn():
    found = result({0: 0, 16: 0, 19: 1})
    fine, coarse = drawn(found, 0), drawn(found, 1)
    assert at(fine, 0) == distinct_color(0)
    assert at(fine, 19) != distinct_color(1)
    assert at(coarse, 19) == distinct_color(1)


@pytest.mark.parametrize(
    ("positive", "level"), [({0: 0, 1: 0, 16: 1}, 0), ({0: 0, 16: 1, 17: 1}, 1), ({0: 0, 16: 1}, 0)]
)
def test_the_best_level_has_the_most_positives(positive, level):
    assert result(positive).best_level(grid()) == level


def test_levels_are_named_after_their_stride():
    assert [grid().name(level) for level in (0, 1)] == ["P4", "P5"]


def test_mass_tints_with_the_color_of_its_box():
    mass = np.zeros((2, 20))
    mass[0, 5], mass[1, 10] = 1.0, 0.5
    plain, shaded = (drawn(result({}, mass=mass), show_mass=show).astype(int) for show in (False, True))
    for anchor, box, strength in ((5, 0, 0.65), (10, 1, 0.325)):
        before, after = np.array(at(plain, anchor)), np.array(at(shaded, anchor))
        expected = strength * np.array(distinct_color(box)) + (1 - strength) * before
        assert after == pytest.approx(expected, abs=3)
    assert at(plain, 3) == at(shaded, 3)


def test_supply_is_what_a_box_transports_in_all():
    mass = np.zeros((2, 20))
    mass[0, :4], mass[1, 7] = 0.75, 1.0
    found = result({0: 0, 1: 0, 7: 1}, mass=mass)
    assert found.supply.tolist() == [3, 1]
    assert found.positives(2).tolist() == [2, 1]


def test_the_black_ring_is_seen_on_dark_ground():
    found = result({0: 0}, ambiguous=(0, 6))
    dark = AssignedImage(np.zeros((64, 64, 3), np.uint8), BOXES[:0], grid(), [found])
    canvas = draw_assignment(dark, found, np.ones(20, bool), 8)
    for anchor in (0, 6):
        around = [at(canvas, anchor, right)[0] for right in range(6, 14)]
        ring = int(np.argmin(around))
        assert around[ring] < 60
        assert max(around[ring:]) > 220, "white outside the black"


@pytest.mark.parametrize(("scale", "numbered"), [(3, False), (8, True)])
def test_small_panels_have_no_numbers(monkeypatch, scale, numbered):
    texts = written(monkeypatch)
    drawn(result({0: 0}), scale=scale)
    assert texts == (["0", "1"] if numbered else [])


def test_a_crowd_has_numbers_only_where_there_is_room(monkeypatch):
    crowd = AssignedImage(np.zeros((64, 64, 3), np.uint8), np.tile(BOXES, (100, 1)), grid(), [])
    texts = written(monkeypatch)
    draw_assignment(crowd, result({}), np.ones(20, bool), 8)
    assert texts == []
    draw_assignment(crowd, result({}), np.ones(20, bool), 10)
    assert texts


@pytest.mark.parametrize(("scale", "radius"), [(0.3, 1.4), (1, 4.48), (8, 7.5)])
def test_dots_shrink_with_the_panel(monkeypatch, scale, radius):
    radii = []
    monkeypatch.setattr(assignment, "draw_dot", lambda canvas, center, radius, color, ambiguous: radii.append(radius))
    drawn(result({15: 1}), scale=scale)
    assert radii == pytest.approx([radius])


def test_mass_of_anchors_that_share_a_point_adds_up():
    mass = np.zeros((2, 20))
    mass[0, 5], mass[1, 10] = 0.75, 0.5
    shared = np.zeros((2, 20, 3))
    shared[0, 5], shared[1, 10, 2] = 0.25, 0.5
    one, base = result({}, mass=mass), grid()
    thrice = replace(
        base, points=base.points.repeat(3, axis=0), strides=base.strides.repeat(3), per_location=3
    )  # fmt: skip
    three = RuleResult("OTA", one.gt_index.repeat(3), one.ambiguous.repeat(3), shared.reshape(2, 60))
    image = replace(assigned(three), grid=thrice)
    found = draw_assignment(image, three, np.ones(60, bool), 8, True)
    np.testing.assert_array_equal(found, drawn(one, show_mass=True))

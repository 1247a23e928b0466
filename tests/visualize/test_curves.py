import math

import cv2
import numpy as np
import pytest

from otadet.errors import UserError
from otadet.visualize.curves import PANEL_SIZE, nice_ticks, plot_curves, tick_texts


def write(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


def panels(path) -> list[np.ndarray]:
    picture = cv2.imread(str(path))[..., ::-1]
    assert picture.shape[0] == PANEL_SIZE[1]
    return np.split(picture, picture.shape[1] // PANEL_SIZE[0], axis=1)


def colored(panel: np.ndarray) -> int:
    """Number of pixels that are neither grey nor white."""
    return int((np.ptp(panel.astype(int), axis=2) > 60).sum())


def test_blank_cells_are_skipped(tmp_path):
    table = "iteration,lr,loss,cls,AP,AP50,AR100\n10,0.1,3,2,,,\n20,0.1,2,1,,,\n20,,,,0.25,0.5,-1\n30,0.01,1.5,1,,,\n"
    plot_curves(write(tmp_path / "metrics.csv", table), tmp_path / "curves.png")
    drawn = panels(tmp_path / "curves.png")
    assert len(drawn) == 3
    assert all(colored(panel) > 50 for panel in drawn)


def test_the_scores_of_crowds_are_no_losses(tmp_path):
    table = "iteration,loss,cls,MR,AP,recall,JI\n10,3,2,,,,\n20,2,1,0.5,0.8,0.9,0.7\n30,1.5,1,0.4,0.9,0.9,0.8\n"
    plot_curves(write(tmp_path / "crowd.csv", table), tmp_path / "crowd.png")
    without = "iteration,loss,cls\n10,3,2\n20,2,1\n30,1.5,1\n"
    plot_curves(write(tmp_path / "losses.csv", without), tmp_path / "losses.png")
    (losses, scores), (alone,) = panels(tmp_path / "crowd.png"), panels(tmp_path / "losses.png")
    assert np.array_equal(losses, alone)
    assert colored(scores) > 4 * 50


def test_a_panel_without_values_is_left_out(tmp_path):
    plot_curves(write(tmp_path / "m.csv", "iteration,lr,loss,AP\n10,0.1,3,\n20,0.1,2,-1\n"), tmp_path / "curves.png")
    assert len(panels(tmp_path / "curves.png")) == 2


@pytest.mark.parametrize("values", [("5",), ("nan", "5"), ("0", "0"), ("1e-9", "3e-9"), ("1e9", "2e9"), ("-3", "-1")])
def test_any_values_can_be_drawn(tmp_path, values):
    rows = "".join(f"{10 * index},{value}\n" for index, value in enumerate(values))
    plot_curves(write(tmp_path / "m.csv", "iteration,loss\n" + rows), tmp_path / "curves.png")
    (panel,) = panels(tmp_path / "curves.png")
    assert colored(panel) > 20


def test_a_spike_does_not_flatten_the_curve(tmp_path):
    losses = [1000.0] + [2 - index / 200 for index in range(200)]
    rows = "".join(f"{index},{loss}\n" for index, loss in enumerate(losses))
    plot_curves(write(tmp_path / "m.csv", "iteration,loss\n" + rows), tmp_path / "curves.png")
    (panel,) = panels(tmp_path / "curves.png")
    rows = np.nonzero((np.ptp(panel.astype(int), axis=2) > 150).any(axis=1))[0]
    assert np.ptp(rows) > PANEL_SIZE[1] / 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "no values"),
        ("iteration,loss\n", "no values"),
        ("iteration,loss\n1,\n", "no values"),
        ("epoch,loss\n1,2\n", "no column iteration"),
        ("iteration,loss\n1,high\n", "not a table of numbers"),
        ("iteration,loss\n1\n", "no values"),
    ],
)
def test_what_is_no_record_of_a_run_is_named(tmp_path, content, message):
    path = tmp_path / "m.csv"
    if content is not None:
        write(path, content)
    with pytest.raises(UserError, match=rf"m\.csv.*{message}"):
        plot_curves(path, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.0123), (0, 90_000), (-3, 4), (0.2, 0.21), (5, 5), (0, 3e-9)])
def test_ticks_are_even_and_reach_around_the_values(low, high):
    ticks = nice_ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])
    texts = tick_texts(ticks)
    assert len(set(texts)) == len(texts)
    for tick, text in zip(ticks, texts, strict=True):
        value = float(text.removesuffix("k")) * (1000 if text.endswith("k") else 1)
        assert math.isclose(value, tick, rel_tol=1e-6, abs_tol=1e-12)

import csv
import os
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from otadet.cli import run
from otadet.data.dataset import DetectionDataset
from tests.helpers.coco import coco_dataset

SCRIPT = Path(__file__).parents[2] / "tools/blood_cells_to_coco.py"


@pytest.fixture
def source(tmp_path):
    """Eight pictures; of each field there are two, which overlap."""
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for field in range(4):
        wide = cv2.GaussianBlur(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8), (0, 0), 2)
        wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
        cv2.imwrite(str(folder / f"images/{field}.png"), wide[:64, :64])
        cv2.imwrite(str(folder / f"images/{field + 4}.png"), wide[20:84, 10:74])
    with (folder / "annotations.csv").open("w", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        rows.writerow(["label", "image", "xmin", "ymin", "xmax", "ymax"])
        for number in range(8):
            rows.writerow(["wbc", f"{number}.png", 1, 2, 11.5, 22])
            rows.writerow(["rbc", f"{number}.png", 30, 30, 64, 40.25])
    return folder


def convert(monkeypatch, source, output, *options) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(source), "--output", str(output), *options])
    run(runpy.run_path(str(SCRIPT))["main"])


def splits(folder) -> list[DetectionDataset]:
    files = [folder / f"annotations/instances_{split}.json" for split in ("train", "val")]
    return [coco_dataset(path, folder / "images") for path in files]


def test_the_table_becomes_a_coco_folder(monkeypatch, source, tmp_path):
    convert(monkeypatch, source, tmp_path / "out")
    train, val = splits(tmp_path / "out")
    assert train.class_names == val.class_names == ("rbc", "wbc")
    assert sorted(train.file_names + val.file_names) == [f"{number}.png" for number in range(8)]
    assert (len(train), len(val)) == (6, 2)
    np.testing.assert_allclose(val.sample(0).boxes, [[1, 2, 11.5, 22], [30, 30, 64, 40.25]])
    np.testing.assert_array_equal(val.sample(0).labels, [1, 0])


@pytest.mark.parametrize("seed", range(3))
def test_overlapping_views_stay_in_one_split(monkeypatch, source, tmp_path, seed):
    convert(monkeypatch, source, tmp_path / "out", "--seed", str(seed), "--val-fraction", "0.5")
    for dataset in splits(tmp_path / "out"):
        fields = [int(name.removesuffix(".png")) % 4 for name in dataset.file_names]
        assert all(fields.count(field) == 2 for field in fields)


def test_the_seed_decides_the_split(monkeypatch, source, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2"), ("d", "3")):
        convert(monkeypatch, source, tmp_path / name, "--seed", seed)
    members = {name: tuple(splits(tmp_path / name)[1].file_names) for name in "abcd"}
    assert members["a"] == members["b"]
    assert len(set(members.values())) > 1


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("image,xmin,ymin,xmax,label\n", "no column ymax"),
        ("", "no column image"),
        ("image,xmin,ymin,xmax,ymax,label\n", "holds no boxes"),
        ("image,xmin,ymin,xmax,ymax,label\n0.png,1,2,three,4,rbc\n", "line 2: the corners are not all numbers"),
        ("image,xmin,ymin,xmax,ymax,label\n0.png,1,2,3,4,rbc\n0.png,1,2\n", "line 3: label is empty"),
        ("image,xmin,ymin,xmax,ymax,label\ngone.png,1,2,3,4,rbc\n", "gone.png: no such image file"),
        ("image,xmin,ymin,xmax,ymax,label\n0.png,1,2,3,4,rbc\n", "cannot be split"),
        *(
            (f"image,xmin,ymin,xmax,ymax,label\n{row}\n", f"line 2: {problem}")
            for row, problem in (
                ("../../0.png,1,2,3,4,rbc", "image '../../0.png' is not the name of a file"),
                ("/etc/0.png,1,2,3,4,rbc", "image '/etc/0.png' is not"),
                ("..\\..\\0.png,1,2,3,4,rbc", "image '..\\\\..\\\\0.png' is not"),
                ("C:0.png,1,2,3,4,rbc", "image 'C:0.png' is not"),
                ("..,1,2,3,4,rbc", "image '..' is not"),
                ("0\x1b[2J.png,1,2,3,4,rbc", "image '0\\x1b[2J.png' is not"),
                ("0.png,nan,2,3,4,rbc", "the corners are not all finite: xmin 'nan'"),
                ("0.png,1,2,inf,4,rbc", "the corners are not all finite"),
                ("0.png,1,2,1e400,4,rbc", "the corners are not all finite"),
                ("0.png,5,2,3,4,rbc", "a lower corner is above the upper one"),
                ("0.png,1,2,3,4,a\x1b[31mb", "label 'a\\x1b[31mb' is not fit"),
                (f"0.png,1,2,3,4,{'x' * 1000}", "label 'xxx"),
                ("0.png,1,2,3,4,rbc,more", "has more fields"),
            )
        ),
        (
            "image,xmin,ymin,xmax,ymax,label\n0.png,64,2,80,4,rbc\n",
            "line 2: the box 64, 2 to 80, 4 is not inside 0.png",
        ),
        ("image,xmin,ymin,xmax,ymax,label\n0.png,1,2,1e300,4,rbc\n", "is not inside 0.png"),
    ],
)
def test_what_is_wrong_with_the_table_is_said(monkeypatch, capsys, source, tmp_path, table, problem):
    (source / "annotations.csv").write_text(table)
    with pytest.raises(SystemExit, match="2"):
        convert(monkeypatch, source, tmp_path / "out")
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_arguments_are_named(monkeypatch, capsys, source, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        convert(monkeypatch, source, tmp_path / "out", "--val-fraction", "25")
    assert "--val-fraction 25" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        convert(monkeypatch, tmp_path / "nowhere", tmp_path / "out")
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        convert(monkeypatch, source, tmp_path / "out", "--seed", "-1")
    assert "--seed -1" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_a_pipe_is_not_waited_for(monkeypatch, capsys, source, tmp_path):
    for name in ("images/0.png", "annotations.csv"):
        (source / name).unlink()
        os.mkfifo(source / name)
        with pytest.raises(SystemExit, match="2"):
            convert(monkeypatch, source, tmp_path / "out")
        assert f"{Path(name).name}: is " in capsys.readouterr().err


def test_links_in_the_output_are_replaced_not_followed(monkeypatch, source, tmp_path):
    mine = tmp_path / "mine.png"
    mine.write_text("precious")
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/0.png").symlink_to(mine)
    convert(monkeypatch, source, tmp_path / "out")
    assert mine.read_text() == "precious"
    assert (tmp_path / "out/images/0.png").read_bytes() == (source / "images/0.png").read_bytes()

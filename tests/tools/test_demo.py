import errno
import json
import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from otadet.data.images import read_image
from otadet.errors import UserError
from tests.helpers.bright_squares import NAMES, SQUARES, draw_square, write_project
from tests.helpers.programs import call_tool


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path / "project")


@pytest.fixture
def output(tmp_path):
    return tmp_path / "drawn"


@pytest.fixture
def demo(project, output, monkeypatch):
    def call(*paths_and_arguments, output=output):
        call_tool(
            monkeypatch, "demo", "image", "-f", project.experiment, "-c", project.checkpoint, "--device", "cpu",
            "--output", output, "--path", *paths_and_arguments,
        )  # fmt: skip

    return call


def test_a_folder_is_drawn_and_saved(demo, project, output, tmp_path):
    demo(project.images, "--save-json", tmp_path / "found.json")
    records = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [record["file"] for record in records] == [
        str(project.images / name) for name in ("a.png", "b.png", "c.png", "empty.png")
    ]
    for record, (label, box) in zip(records, SQUARES.values(), strict=False):
        (found,) = record["detections"]
        assert (record["height"], record["width"]) == (56, 72)
        assert (found["label"], found["class_name"]) == (label, NAMES[label])
        assert found["box"] == pytest.approx(box, abs=0.7)
        assert 0.9 < found["score"] <= 1
    assert records[3]["detections"] == []
    assert sorted(file.name for file in output.iterdir()) == ["a.png", "b.png", "c.png", "empty.png"]


def test_conf_drops_what_scores_less(demo, project, tmp_path):
    demo(project.images / "a.png", "--conf", 0.99, "--save-json", tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())[0]["detections"] == []


def test_views_in_several_sizes_find_the_same(demo, project, tmp_path, capsys):
    demo(project.images / "a.png", "--tta", "--save-json", tmp_path / "found.json", "tta.scales", "96,192")
    (found,) = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))[0]["detections"]
    assert found["box"] == pytest.approx(SQUARES["a.png"][1], abs=0.7)
    assert "shorter sides of 96, 192 (objects below 12) px, each of them mirrored as well" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"tta.scales: is of multi-scale testing alone; add --tta"):
        demo(project.images / "a.png", "tta.scales", "96,192")


def test_odd_names_and_formats_do_not_meet(demo, project, output):
    folder = project.folder / "odd"
    folder.mkdir()
    square = draw_square(0, (10, 6, 50, 40))
    for name in ("photo.jpg", "photo.png", "ağaç çöğüş 人.png", "with space.bmp", "picture.GIF"):
        Image.fromarray(square).save(folder / name)
    Image.fromarray(square[..., 0]).save(folder / "grey.tif")
    demo(folder)
    drawn = {file.name for file in output.iterdir()}
    assert drawn == {file.name for file in folder.iterdir()} - {"picture.GIF"} | {"picture.GIF.png"}
    assert all(read_image(file).shape[1] == 1000 for file in output.iterdir())


def test_unreadable_files_of_a_folder_are_counted(demo, project, output, capsys):
    whole = (project.images / "a.png").read_bytes()
    (project.images / "cut.png").write_bytes(whole[:60])
    (project.images / "none.jpg").write_text("no image")
    with pytest.raises(SystemExit) as stop:
        demo(project.images)
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert "4 images drawn" in out
    assert "2 unreadable skipped" in out
    assert "cut.png" in err
    assert "none.jpg" in err
    assert len(list(output.iterdir())) == 4


def test_a_full_disk_is_no_unreadable_image(demo, project, output, monkeypatch):
    replace = os.replace

    def full(source, target):
        if Path(target).name == "b.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    found = project.folder / "found.json"
    with pytest.raises(UserError, match=r"b\.png.*No space left on device"):
        demo(project.images, "--save-json", found)
    assert [Path(record["file"]).name for record in json.loads(found.read_text())] == ["a.png"]


def test_one_unreadable_file_is_an_error(demo, project):
    bad = project.folder / "bad.png"
    bad.write_text("no image")
    with pytest.raises(UserError, match=r"bad\.png"):
        demo(bad)


def test_a_folder_of_unreadable_files_is_an_error(demo, project):
    folder = project.folder / "bad"
    folder.mkdir()
    (folder / "bad.png").write_text("no image")
    with pytest.raises(UserError, match="none of its 1 images"):
        demo(folder)


@pytest.mark.parametrize("inside", [False, True])
def test_no_image_to_read_is_an_error(demo, project, inside):
    folder = project.folder / "none"
    if inside:
        (folder / "sub").mkdir(parents=True)
        shutil.copy(project.images / "a.png", folder / "sub")
    with pytest.raises(UserError, match=r"--path .*none"):
        demo(folder)


def test_inputs_are_never_overwritten(demo, project, tmp_path):
    before = (project.images / "a.png").read_bytes()
    (tmp_path / "link").symlink_to(project.images)
    for path in (project.images, project.images / "a.png"):
        for output in (project.images, tmp_path / "link"):
            with pytest.raises(UserError, match="choose another"):
                demo(path, output=output)
    with pytest.raises(UserError, match="is an input"):
        demo(project.images, "--save-json", project.images / "a.png")
    assert (project.images / "a.png").read_bytes() == before


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "high"])
def test_conf_is_a_fraction(demo, project, value, capsys):
    with pytest.raises(SystemExit) as stop:
        demo(project.images, f"--conf={value}")
    assert stop.value.code == 2
    assert "0 to 1" in capsys.readouterr().err


def test_the_drawing_shows_the_box(demo, project, output):
    demo(project.images / "b.png")
    drawn = read_image(output / "b.png")
    original = cv2.resize(read_image(project.images / "b.png"), drawn.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    changed = np.abs(drawn.astype(int) - original).sum(2) > 60
    scale = 1000 / 72
    left, top, right, bottom = (round(side * scale) for side in SQUARES["b.png"][1])
    assert changed[top : top + 8, left:right].any(0).mean() > 0.9
    assert changed[top + 60 : bottom - 20, left + 20 : right - 20].mean() < 0.05


def test_several_paths_and_fields_after_them(demo, project, output, tmp_path):
    files = [project.images / name for name in ("a.png", "b.png", "a.png")]
    demo(*files, "score_threshold", 0.99, "--save-json", tmp_path / "found.json")
    records = json.loads((tmp_path / "found.json").read_text())
    assert [Path(record["file"]).name for record in records] == ["a.png", "b.png"]
    assert not any(record["detections"] for record in records)
    with pytest.raises(UserError, match=r"score_treshold: neither a file .*; did you mean 'score_threshold'\?"):
        demo(*files, "score_treshold", 0.99)
    with pytest.raises(UserError, match=r"--path elsewhere\.png: no such file or folder"):
        demo(*files, "elsewhere.png")


def test_files_of_one_name_from_several_folders(demo, project, output):
    other = project.folder / "other"
    other.mkdir()
    shutil.copy(project.images / "b.png", other / "a.png")
    demo(project.images / "a.png", other)
    assert sorted(file.name for file in output.iterdir()) == ["a-2.png", "a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux alone")
def test_a_file_name_that_is_not_utf8(demo, project, tmp_path, capsys):
    name = os.fsdecode(b"0caf\xe9\x1b[31m.png")
    shutil.copy(project.images / "a.png", project.images / name)
    demo(project.images, "--save-json", tmp_path / "found.json")
    records = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert Path(records[0]["file"]).name == name
    assert len(records) == 5
    assert "0caf\\xe9\\x1b[31m.png: 1 " in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_pipes_devices_and_folders_among_the_images(demo, project, capsys):
    os.mkfifo(project.images / "0pipe.png")
    (project.images / "0zero.png").symlink_to("/dev/zero")
    (project.images / "0folder.png").mkdir()
    with pytest.raises(SystemExit):
        demo(project.images)
    out, err = capsys.readouterr()
    assert "4 images drawn" in out
    assert "0pipe.png: is a pipe" in err
    assert "0zero.png: is a pipe, a device" in err
    with pytest.raises(UserError, match=r"0pipe.png: is a pipe"):
        demo(project.images / "0pipe.png")


def test_what_was_found_is_kept_when_the_rest_fails(demo, project, tmp_path, monkeypatch):
    def write(path, image):
        if path.name == "c.png":
            raise KeyboardInterrupt

    monkeypatch.setattr("otadet.visualize.canvas.write_image", write)
    with pytest.raises(KeyboardInterrupt):
        demo(project.images, "--save-json", tmp_path / "found.json")
    assert len(json.loads((tmp_path / "found.json").read_text())) == 2


def test_portraits_are_drawn_upright(demo, project, output, tmp_path):
    turned = project.folder / "turned"
    turned.mkdir()
    left, top, right, bottom = 10, 6, 30, 60
    upright = draw_square(0, (left, top, right, bottom), size=(72, 56))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    for suffix in ("png", "tif", "webp", "jpg"):
        Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(turned / f"a.{suffix}", exif=exif, quality=100)
    demo(turned, "--save-json", tmp_path / "found.json")
    for record in json.loads((tmp_path / "found.json").read_text()):
        assert (record["height"], record["width"]) == (72, 56)
        assert record["detections"][0]["box"] == pytest.approx([left, top, right, bottom], abs=1.5)
    assert {read_image(file).shape[:2] for file in output.iterdir()} == {(1000, 778)}


def test_dark_16_bit_files_are_said(demo, project, output, capsys):
    dark = draw_square(0, (10, 6, 50, 40))[..., 0].astype(np.uint16)
    Image.fromarray(dark).save(project.folder / "dark.png")
    demo(project.folder / "dark.png")
    assert "set image_bits 8" in capsys.readouterr().err
    assert read_image(output / "dark.png").max() == 0
    demo(project.folder / "dark.png", "image_bits", 8)
    assert "image_bits" not in capsys.readouterr().err
    assert read_image(output / "dark.png").max() > 200


def test_a_video_is_told_from_an_image(demo, project, tmp_path):
    (tmp_path / "a.MP4").write_bytes(b"")
    with pytest.raises(UserError, match=r"--path .*a\.MP4: is a video; name its frames"):
        demo(tmp_path / "a.MP4")

import hashlib
import os

import pytest

import otadet.data.synthetic.write as synthetic
from otadet.data.synthetic.write import write_synthetic
from otadet.errors import UserError
from otadet.evaluation.coco import coco_dict
from tests.helpers.coco import coco_dataset

SMALL = {"images_train": 3, "images_val": 2, "size": 64, "classes": 4}


def digest(folder) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_it_is_a_complete_coco_folder(tmp_path):
    write_synthetic(tmp_path / "new/set", **SMALL)
    for split, images in (("train", 3), ("val", 2)):
        dataset = coco_dataset(tmp_path / f"new/set/annotations/instances_{split}.json", tmp_path / "new/set" / split)
        assert len(dataset) == images
        assert dataset.class_names == ("disc", "square", "triangle", "star")
        assert dataset.counts.boxes == len(coco_dict(dataset)["annotations"]) > images
        assert dataset.counts.clipped == dataset.counts.degenerate == 0
        assert dataset.sample(0).image.shape == (64, 64, 3)


def test_the_seed_alone_decides_every_byte(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic(tmp_path / name, **SMALL, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a")["train/000001.png"] != digest(tmp_path / "c")["train/000001.png"]


def test_training_and_validation_differ_and_more_images_change_none(tmp_path):
    write_synthetic(tmp_path / "few", **SMALL)
    write_synthetic(tmp_path / "more", **{**SMALL, "images_train": 4})
    few, more = digest(tmp_path / "few"), digest(tmp_path / "more")
    assert few["train/000001.png"] != few["val/000001.png"]
    assert all(more[name] == value for name, value in few.items() if name.endswith(".png"))


def test_a_written_folder_is_left_alone_unless_the_settings_change_or_images_are_gone(tmp_path):
    folder = tmp_path / "set"
    write_synthetic(folder, **SMALL)
    image = folder / "train/000001.png"
    written, content = image.stat().st_mtime_ns, image.read_bytes()
    write_synthetic(folder, **SMALL)
    assert image.stat().st_mtime_ns == written
    image.unlink()
    write_synthetic(folder, **SMALL)
    assert image.read_bytes() == content
    write_synthetic(folder, **SMALL, seed=3)
    assert image.read_bytes() != content
    assert os.listdir(tmp_path) == ["set"]


def test_other_peoples_folders_are_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files \(notes.txt\)"):
        write_synthetic(tmp_path, **SMALL)
    with pytest.raises(UserError, match="a folder of its own"):
        write_synthetic(tmp_path / "notes.txt", **SMALL)
    write_synthetic(tmp_path / "set", **SMALL)
    (tmp_path / "set/results.csv").write_text("mine")
    with pytest.raises(UserError, match=r"results.csv"):
        write_synthetic(tmp_path / "set", **SMALL, seed=3)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["val/mine.png", "train/notes.txt", "annotations/mine.json"])
def test_what_others_put_inside_stays(name, tmp_path):
    folder = tmp_path / "set"
    write_synthetic(folder, **SMALL)
    (folder / name).write_text("mine")
    # Nothing is missing, so nothing has to be written.
    write_synthetic(folder, **SMALL)
    with pytest.raises(UserError, match=rf"holds other files \({name}\)"):
        write_synthetic(folder, **SMALL, seed=3)
    (folder / "train/000001.png").unlink()
    with pytest.raises(UserError, match=rf"holds other files \({name}\)"):
        write_synthetic(folder, **SMALL)
    assert (folder / name).read_text() == "mine"


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(rng, size, classes):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "set", **SMALL)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("wrong", [{"classes": 0}, {"classes": 7}, {"size": 20}, {"images_val": 0}], ids=str)
def test_impossible_arguments_are_refused(tmp_path, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        write_synthetic(tmp_path / "set", **{**SMALL, **wrong})

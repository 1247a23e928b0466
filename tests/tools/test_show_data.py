"""Batches of a training as pictures: the same ones that the training has."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from otadet.apps import compose, show, show_data
from otadet.apps.train import configured, named_experiment, parse_args
from otadet.data.images import read_image
from otadet.errors import UserError
from otadet.exp import load_exp
from otadet.structures import GroundTruth
from otadet.visualize.batch import BatchImage, batch_sheet, draw_hatched
from otadet.visualize.palette import distinct_color
from tests.helpers.programs import call_tool
from tests.helpers.tiny_experiment import write_tiny_experiment

LENGTH = ["length", "8iterations", "augment.0.horizontal", "0.5"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_experiment(tmp_path_factory.mktemp("tiny"))


def described(capsys):
    return json.loads(capsys.readouterr().out)["images"]


def trained_on(tiny, start):
    """The batches of the trainer that `otadet train` makes."""
    exp = load_exp(tiny.file)
    exp.override(LENGTH)
    train_set, _ = compose.build_datasets(exp)
    trainer = compose.build_trainer(exp, exp.build_model(2), train_set, None, torch.device("cpu"), tiny.data)
    return list(trainer.loader(start))


@pytest.mark.parametrize("place", [["--start-iteration", "3"], ["--progress", "0.4"]])
def test_it_draws_what_a_training_sees(tiny, place, monkeypatch, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    call_tool(monkeypatch, "show_data", "-f", tiny.file, *place, "--batches", "2", "--output", out, "--json", *LENGTH)
    found = described(capsys)
    batches = trained_on(tiny, 3)[:2]
    assert [image["image"] for image in found] == [name for batch in batches for name in batch.file_names]
    assert [image["iteration"] for image in found] == [3, 3, 4, 4]
    truths = [truth for batch in batches for truth in batch.truths]
    assert [image["boxes"] for image in found] == [truth.boxes.tolist() for truth in truths]
    assert [image["labels"] for image in found] == [truth.labels.tolist() for truth in truths]
    assert read_image(out).shape[1] > 1000


def test_the_command_with_the_word_data(tiny, tmp_path, monkeypatch, capsys):
    out = tmp_path / "sheet.png"
    show.main(["data", "-f", str(tiny.file), "--output", str(out)])
    printed = capsys.readouterr().out
    assert "training set: instances_train.json: 4 images" in printed
    assert "iteration 0 of 90000: 2 images, 64 x 64" in printed
    assert out.is_file()


@pytest.mark.parametrize("words", [["data"], ["data", "FOLDER"], ["data", "data", "FOLDER"], ["data", "seed", "3"]])
def test_what_follows_the_word_are_settings(words, tiny, tmp_path, capsys):
    """A folder alone is where the data are."""
    words = [str(tiny.data) if word == "FOLDER" else word for word in words]
    show.main([*words, "-f", str(tiny.file), "--output", str(tmp_path / "a.png"), "--json"])
    assert len(described(capsys)) == 2


def test_with_images_the_word_is_a_setting_of_the_assignments():
    assert show.shows_data(["data", "-f", "mine.py", "data", "photos"])
    assert not show.shows_data(["data", "photos", "-c", "best.pth", "--path", "a.png"])
    assert not show.shows_data(["data", "photos", "-c", "best.pth", "--path=a.png"])
    assert not show.shows_data(["-f", "mine.py", "data", "photos"])
    assert not show.shows_data([])


def test_without_an_experiment_it_is_that_of_the_training(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "shapes"
    settings = ["data", str(folder), "data.images_train", "4", "data.images_val", "2", "data.image_size", "64"]
    show_data.main(["--output", str(tmp_path / "a.png"), *settings, "batch_size", "2"])
    assert "2 images" in capsys.readouterr().out


def test_somebodys_pictures_are_shown_as_they_would_be_trained_on(tiny, tmp_path, monkeypatch, capsys):
    """By my_data, which fits itself to them."""
    folder = tmp_path / "pictures"
    shutil.copytree(tiny.data, folder)
    (folder / "synthetic.json").unlink(missing_ok=True)
    for words in ([str(folder)], ["data", str(folder)]):
        show.main(["data", *words, "--output", str(tmp_path / "a.png"), "--json"])
        found = described(capsys)
        exp = named_experiment(None, ["data", str(folder)])
        exp.override(["data", str(folder)])
        fitted, _ = exp.for_data(exp.build_train_dataset(), 1)
        assert exp.name == "my_data"
        assert len(found) == fitted.run.batch_size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--start-iteration", "8"], "--start-iteration 8: the training has the iterations 0 to 7"),
        (["--start-iteration", "-1"], "--start-iteration -1: the training"),
        (["lr"], "overrides come as pairs"),
        (["augment.0.horizontel", "1"], "did you mean 'horizontal'"),
    ],
)
def test_mistakes(words, message, tiny, tmp_path):
    with pytest.raises(UserError, match=message):
        show_data.main(["-f", str(tiny.file), "--output", str(tmp_path / "a.png"), *LENGTH, *words])


@pytest.mark.parametrize("words", [["--progress", "1"], ["--progress", "x"], ["--batches", "0"], ["--device", "cpu"]])
def test_values_that_are_none(words, tiny):
    with pytest.raises(SystemExit):
        show_data.main(["-f", str(tiny.file), *words])


def shown(boxes, ignored=None):
    image = np.full((400, 640, 3), 200, np.uint8)
    truth = GroundTruth(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.arange(len(boxes)),
        None if ignored is None else torch.tensor(ignored, dtype=torch.float32),
    )
    return BatchImage("a.png", image, truth)


def test_boxes_are_drawn_where_they_are_and_ignored_regions_are_hatched():
    sheet = batch_sheet([shown([[100, 50, 300, 250]], [[400, 100, 500, 200]])], ("cat",))
    scale = 640 / 400
    assert abs(sheet[10 + 1 + round(250 * scale), 10 + round(200 * scale)].astype(int) - distinct_color(0)).max() < 5
    region = sheet[11 + round(110 * scale) : round(190 * scale), 11 + round(410 * scale) : round(490 * scale)]
    assert 0.15 < (region == 128).all(axis=2).mean() < 0.35
    assert (batch_sheet([shown([])], ("cat",)) == 200).any()


def test_hatching_stays_inside():
    canvas = np.zeros((40, 60, 3), np.uint8)
    draw_hatched(canvas, np.array([[10, 5, 30, 25]], np.float32))
    assert canvas[5:25, 10:30].any()
    canvas[5:25, 10:30] = 0
    assert not canvas.any()


def test_of_a_checkpoint(tiny, tmp_path, monkeypatch, capsys):
    """The training that it describes, and the one that fine-tunes it on other data."""
    run = tmp_path / "run"
    call_tool(monkeypatch, "train", "-f", tiny.file, "--output", run, "length", "1iterations", "train_resize", "96x128")
    capsys.readouterr()
    weights = str(run / "last.pth")
    show.main(["data", "-c", weights, "length", "8iterations", "--output", str(tmp_path / "a.png"), "--json"])
    assert [image["size"] for image in described(capsys)] == [[96, 128]] * 2
    show.main(["data", str(tiny.data), "-c", weights, "--output", str(tmp_path / "a.png")])
    tuned = re.search(r"iteration 0 of (\d+): (\d+) images", capsys.readouterr().out)
    exp, _ = configured(parse_args(["-c", weights, "data", str(tiny.data)])).for_data(
        load_exp(tiny.file).build_train_dataset(), 1
    )
    assert [int(number) for number in tuned.groups()] == [exp.iterations(4), exp.run.images_per_step]
    with pytest.raises(UserError, match="-f and -c"):
        show.main(["data", "-c", weights, "-f", str(tiny.file)])

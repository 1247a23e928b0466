"""`otadet train data FOLDER` with a folder in any format, and what is measured on its test split."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from otadet.apps import evaluate, train
from otadet.apps.conversions import yolox_experiment
from otadet.apps.train import configured, parse_args
from otadet.convert.yolox import Layout
from otadet.data.synthetic.write import write_synthetic
from otadet.engine.checkpoint import load_checkpoint, save_checkpoint
from otadet.errors import UserError
from otadet.exp import ResNet
from otadet.exp.stored import stored_exp
from tests.helpers.own_pictures import FORMATS, WRITERS, write_coco, write_yolo

SMALL = ["model.backbone.depth", "10", "model.backbone.width", "8", "model.channels", "16", "model.tower_depth", "1"]
SHARED = Path(__file__).parents[3] / "shared/data"
TRAIN, VAL, TEST = ([f"{split}{number}.png" for number in range(3)] for split in "abc")


def trained(data: Path, output: Path, *settings: str) -> Path:
    train.main(
        ["--device", "cpu", "--output", str(output), "data", str(data), *SMALL, "length", "2iterations", *settings]
    )
    return output / "last.pth"


@pytest.mark.parametrize("format", WRITERS)
def test_any_format_is_trained_and_tested(format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = {"train": TRAIN, "val": VAL, "test": TEST}
    checkpoint = trained(WRITERS[format](tmp_path / "mine", splits), tmp_path / "run")
    log = (tmp_path / "run/train.log").read_text()
    assert re.search(rf"data: {FORMATS[format]}: .*, 3 splits, 1 class", log)
    assert re.search(r"recipe: input\.resize \d+/\d+: 0 % of the boxes are below 16 px", log)
    assert "recipe: length" not in log, "it was set"
    capsys.readouterr()
    evaluate.main(["-c", str(checkpoint), "--device", "cpu", "--split", "test", "--json"])
    measured = json.loads(capsys.readouterr().out)["data"]
    assert (measured["split"], measured["images"]) == ("test", 3)
    evaluate.main(["-c", str(checkpoint), "--device", "cpu", "--split", "train"])
    assert f"train split, 3 images of {tmp_path / 'mine'}" in capsys.readouterr().out


@pytest.mark.parametrize("format", WRITERS)
def test_a_split_that_is_not_there(format: str, tmp_path: Path) -> None:
    folder = WRITERS[format](tmp_path / "mine", {"train": [*TRAIN, *VAL]})
    checkpoint = trained(folder, tmp_path / "run")
    log = (tmp_path / "run/train.log").read_text()
    assert re.search(rf"data: {FORMATS[format]}: .*, 1 split, 1 class", log)
    assert "no val split, so one is made: 1 of 6 images, each by itself (val_share 0.2, split_seed 0" in log
    with pytest.raises(UserError, match=r"mine: has no test split, but (train|images of no named split) alone"):
        evaluate.main(["-c", str(checkpoint), "--device", "cpu", "--split", "test"])


def test_what_was_chosen_is_in_the_checkpoint(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path / "mine", {"train": TRAIN, "val": VAL})
    path = trained(folder, tmp_path / "run", "run.batch_size", "3")
    exp = stored_exp(path, load_checkpoint(path), ("data", "input", "run", "schedule"))
    assert (exp.name, exp.data.folder, exp.run.batch_size) == ("my_data", str(folder), 3)
    assert exp.input.resize.sizes == (64,), "the pictures' own, and not the experiment's default"
    assert exp.schedule.warmup == 0, "of 2 iterations"


def test_a_checkpoint_alone_is_fine_tuned(tmp_path: Path) -> None:
    """As a converted one: its experiment says nothing of a training, and its classes are others."""
    exp = yolox_experiment(Layout(0.33, 0.0625, True, 2), 64, "nano")
    path = tmp_path / "nano.pth"
    weights = exp.build_model(2).state_dict()
    described = {"parts": exp.describe(), "experiment": exp.about()}
    save_checkpoint(path, {"model": weights, "ema": None, "class_names": ["other", "Square"], **described})
    folder = write_yolo(tmp_path / "mine", {"train": TRAIN, "val": VAL})
    output = ["--device", "cpu", "--output", str(tmp_path / "run")]
    words = ["-c", str(path), *output, "data", str(folder), "length", "2iterations", "run.freeze", "backbone,neck"]
    train.main(words)
    log = (tmp_path / "run/train.log").read_text()
    assert re.search(r"recipe: input\.resize 64x64: (near|as) the checkpoint's", log)
    assert re.search(
        r"recipe: optimizer\.lr 0\.001, 0\.5 of it for the backbone; augment strong; run\.ema 0\.9; run", log
    )
    assert re.search(
        r"start: .*nano\.pth: \d+ of the network's \d+ tensors taken over; of the class layer the rows", log
    )
    assert re.search(r"are frozen \(backbone [\d,]+, neck [\d,]+\)", log)
    after = load_checkpoint(tmp_path / "run/last.pth")
    assert after["class_names"] == ["square"]
    for name, tensor in after["model"].items():
        if name.startswith(("backbone.", "neck.")):
            assert torch.equal(tensor, weights[name]), name
    with pytest.raises(UserError, match="-c goes with --resume auto alone"):
        train.main([*words, "--resume"])
    # The same words, which start where there is nothing to go on with, go on where there is.
    train.main([*words, "--resume", "auto", "length", "3iterations"])
    log = (tmp_path / "run/train.log").read_text()
    assert "after iteration 2" in log
    assert log.count("start: ") == 1
    assert load_checkpoint(tmp_path / "run/last.pth")["iteration"] == 3
    assert parse_args([*words, "--resume", "auto", "--output", str(tmp_path / "new")]).resume == "auto"


def test_pretrained_weights_are_not_needed_where_a_checkpoint_has_all(tmp_path: Path) -> None:
    """Of a backbone: neither to go on with a training, nor to fine-tune what it has made."""
    folder = write_yolo(tmp_path / "mine", {"train": TRAIN, "val": VAL})
    pretrained, run = tmp_path / "resnet10.pth", tmp_path / "run"
    torch.save(ResNet(10, weights=None).build().state_dict(), pretrained)
    family = ["width", "64", "backbone.weights", str(pretrained), "model.channels", "8"]
    trained(folder, run, *family, "input.resize", "32/32", "run.ema", "none")
    before = load_checkpoint(run / "last.pth")["model"]
    pretrained.unlink()
    train.main(["--device", "cpu", "--output", str(run), "--resume", "length", "3iterations"])
    tuned = ["-c", str(run / "last.pth"), "--device", "cpu", "data", str(folder), "length", "1iterations"]
    train.main([*tuned, "--output", str(tmp_path / "tuned"), "input.resize", "32/32"])
    after = load_checkpoint(tmp_path / "tuned/last.pth")["model"]
    assert after.keys() == before.keys(), "frozen norms have no counters"
    for name in ("conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer2.0.bn1.running_mean"):
        assert torch.equal(after[f"backbone.{name}"], before[f"backbone.{name}"]), name
    with pytest.raises(UserError, match=r"resnet10\.pth: no such file"):
        train.main([*tuned, "--output", str(tmp_path / "other"), "model.backbone.groups", "1", "depth", "18"])


def test_which_experiment_it_is(tmp_path: Path) -> None:
    mine = write_coco(tmp_path / "mine", {"train": TRAIN})
    drawn = tmp_path / "drawn"
    write_synthetic(drawn, images_train=1, images_val=1, size=48, classes=1)
    (tmp_path / "empty").mkdir()
    expected = {
        f"data {mine}": "my_data",
        f"data {mine / 'train.json'}": "my_data",
        f"data {drawn}": "quickstart",
        f"data {tmp_path / 'empty'}": "my_data",
        f"data {tmp_path / 'new'}": "my_data",
        f"data {tmp_path / 'new'} images_train 4": "quickstart",
        f"data {tmp_path / 'empty'} data.image_size 64": "quickstart",
        f"-f quickstart data {tmp_path / 'new'}": "quickstart",
        "lr 0.1": "quickstart",
        f"-f blood_cells data {mine}": "blood_cells",
    }
    for words, name in expected.items():
        assert configured(parse_args(words.split())).name == name, words


def test_a_misspelt_folder_is_an_error_and_not_drawn_into(tmp_path: Path) -> None:
    write_coco(tmp_path / "flowers", {"train": TRAIN, "val": VAL})
    (tmp_path / "empty").mkdir()
    for name, problem in (
        ("flower", r"flower: no such folder; did you mean 'flowers'\?"),
        ("flwers/2024", r"flwers/2024: no such folder, nor is \S+flwers there; did you mean 'flowers'\?"),
        ("empty", "empty: has no annotations .*it is empty"),
    ):
        with pytest.raises(UserError, match=problem):
            trained(tmp_path / name, tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "run") == ["empty", "flowers"]
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("blood_cells", "COCO: annotations/instances_train.json, annotations/instances_val.json, 2 splits, 2 classes"),
        ("aquarium", "YOLO: data.yaml, 3 splits, 7 classes"),
    ],
)
def test_the_shared_pictures(name: str, line: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not here")
    exp = configured(parse_args(["data", str(SHARED / name)]))
    assert exp.name == "my_data"
    assert exp.build_train_dataset().notes == (line,)


@pytest.mark.parametrize(("split", "images"), [("test", TEST), ("val", VAL)])
def test_a_folder_of_nothing_but_what_is_measured(
    split: str, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = trained(write_coco(tmp_path / "mine", {"train": TRAIN, "val": VAL}), tmp_path / "run")
    alone = write_yolo(tmp_path / "alone", {split: images})
    capsys.readouterr()
    evaluate.main(["-c", str(checkpoint), "--device", "cpu", "--split", split, "data", str(alone), "--json"])
    measured = json.loads(capsys.readouterr().out)["data"]
    assert (measured["split"], measured["images"]) == (split, 3)

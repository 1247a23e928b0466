import json
from pathlib import Path

import pytest

from otadet.apps.annotated import annotated_images
from otadet.data.images import read_image
from otadet.errors import UserError
from otadet.exp import load_exp
from tests.helpers.programs import call_tool
from tests.helpers.tiny_experiment import write_tiny_experiment


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_experiment(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def draw(tiny, monkeypatch, tmp_path):
    def call(*arguments):
        call_tool(
            monkeypatch, "visualize_assign", "-f", tiny.file, "--device", "cpu", "--output", tmp_path, *arguments
        )  # fmt: skip

    return call


def test_a_picture_of_each_image_and_a_sheet(draw, tiny, tmp_path, capsys):
    draw("-c", tiny.checkpoint, "--assigner", "ota", "simota", "--mass", "--path", "000001.png", "000002.png")
    assert {file.name for file in tmp_path.iterdir()} == {
        "000001-assigned.png", "000002-assigned.png", "sheet.png"
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "OTA" in printed
    assert "SimOTA" in printed
    assert "untrained" not in printed


def test_without_a_checkpoint_it_says_so_and_repeats_itself(draw, tiny, tmp_path, capsys):
    pictures = []
    for _ in range(2):
        draw("--level", "all", "--path", tiny.data / "train" / "000003.png")
        pictures.append(read_image(tmp_path / "000003-assigned.png"))
    assert "untrained" in capsys.readouterr().out
    assert (pictures[0] == pictures[1]).all()


def test_a_path_chooses_between_images_of_one_name(draw, tiny, tmp_path):
    draw("--path", tiny.data / "val" / "000001.png", tiny.data / "train" / "000001.png")
    first, second = (read_image(tmp_path / f"000001-assigned{number}.png") for number in ("", "-2"))
    assert first.shape != second.shape or (first != second).any()


@pytest.mark.parametrize(("level", "error"), [("3", None), ("9", "P3, P4, P5, P6, P7")])
def test_a_level_must_exist(draw, level, error):
    if error is None:
        draw("--level", level, "--path", "000001.png")
    else:
        with pytest.raises(UserError, match=error):
            draw("--level", level, "--path", "000001.png")


def test_each_choice_of_levels_is_another_picture(draw, tmp_path):
    pictures = set()
    for chosen in ("best", "all", "3", "5"):
        draw("--level", chosen, "--path", "000001.png")
        pictures.add((tmp_path / "000001-assigned.png").read_bytes())
    assert len(pictures) == 4


def test_settings_may_come_behind_the_images(draw, tmp_path, capsys):
    draw("--json", "--path", "000001.png", "assigner", "fcos", "lr", "0.1")
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)[0]["rules"]) == ["FCOS"]
    assert "optimizer.lr: without effect here" in printed.err


def test_an_image_that_the_data_does_not_know_is_an_error(draw):
    with pytest.raises(UserError, match=r"other\.png: no image of this name"):
        draw("--path", "other.png")


@pytest.mark.parametrize(
    ("words", "titles"),
    [
        (["exp"], ["OTA "]),
        (["exp", "ota"], ["OTA (exp) ", "OTA "]),
        (["tal", "exp", "atss", "tal"], ["TaskAligned ", "OTA (exp) ", "ATSS "]),
        (["tal", "tal_yolo", "atss"], ["TaskAligned (tal) ", "TaskAligned (tal_yolo) ", "ATSS "]),
    ],
)
def test_each_rule_has_a_title_of_its_own(draw, capsys, words, titles):
    draw("--path", "000001.png", "--assigner", *words)
    rules = capsys.readouterr().out.split("boxes; ")[1].split("; ")
    assert len(rules) == len(titles)
    assert all(rule.startswith(title) for rule, title in zip(rules, titles, strict=True))


def test_mass_without_ota_is_an_error(draw):
    with pytest.raises(UserError, match=r"--mass .*none of SimOTA, ATSS is OTA"):
        draw("--mass", "--assigner", "simota", "atss", "--path", "000001.png")


def test_a_folder_stands_for_its_images_with_boxes(draw, tiny, tmp_path):
    altered = without_boxes(tiny, "000002.png")
    draw("--path", tiny.data / "val", "--", "val_json", altered)
    assert {file.name for file in tmp_path.iterdir()} == {"000001-assigned.png"}
    draw("--path", tiny.data / "train")
    assert len(list(tmp_path.iterdir())) == 5, "four images and a sheet"


def test_a_folder_without_images_of_the_data_is_an_error(draw, tmp_path):
    with pytest.raises(UserError, match="no image of this folder has a box"):
        draw("--path", tmp_path)


@pytest.mark.parametrize(
    ("folders", "path"),
    [
        (("a", "b"), "b/000001.png"),
        (("a", "b"), "elsewhere/b/000001.png"),
        (("a/b", "b"), "b/000001.png"),
    ],
)
def test_a_file_name_of_the_data_is_found_by_its_end(tiny, folders, path):
    val = tiny.data / "val"
    for folder in folders:
        (val / folder).mkdir(exist_ok=True, parents=True)
        (val / folder / "000001.png").write_bytes((val / "000001.png").read_bytes())
    source = tiny.data / "annotations" / "instances_val.json"
    content = json.loads(source.read_text())
    names = [f"{folder}/000001.png" for folder in folders]
    for image, name in zip(content["images"], names, strict=True):
        image["file_name"] = name
    source.with_name("folders.json").write_text(json.dumps(content))
    exp = load_exp(tiny.file)
    exp.override(["val_json", "annotations/folders.json"])
    (found,), _ = annotated_images(exp, [Path(path)])
    assert found.path == val / "b" / "000001.png"
    with pytest.raises(UserError, match="2 such images"):
        annotated_images(exp, [Path("c/000001.png")])


def test_an_image_without_boxes_is_an_error(draw, tiny):
    altered = without_boxes(tiny, "000002.png")
    with pytest.raises(UserError, match="nothing to assign"):
        draw("--path", "000002.png", "--assigner", "ota", "--level", "best", "--", "val_json", altered)


def without_boxes(tiny, name: str) -> str:
    """The validation annotations without those of one image."""
    path = tiny.data / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    empty = next(image["id"] for image in content["images"] if image["file_name"] == name)
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != empty]
    path.with_name("altered.json").write_text(json.dumps(content))
    return "annotations/altered.json"

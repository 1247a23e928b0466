import json

import pytest

from otadet.errors import UserError
from tests.helpers.bright_squares import NAMES, SQUARES, save_state, write_project
from tests.helpers.programs import call_tool


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path / "Daten mit Leerzeichen")


@pytest.fixture
def evaluate(project, monkeypatch):
    def call(*arguments, checkpoint=project.checkpoint):
        call_tool(monkeypatch, "eval", "-f", project.experiment, "-c", checkpoint, "--device", "cpu", *arguments)

    return call


def test_a_detector_that_is_right_has_full_ap(evaluate, tmp_path, capsys):
    evaluate("--per-class", "--save-json", tmp_path / "new" / "found.json", "--metrics", tmp_path / "metrics.json")

    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["stats"]["AP"] == pytest.approx(1)
    assert [entry["name"] for entry in metrics["per_class"]] == NAMES
    assert metrics["diagnosis"]["matching_images"] == metrics["diagnosis"]["predicted_images"] == 3

    found = json.loads((tmp_path / "new" / "found.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in found] == [(0, 3), (11, 90), (22, 3)]
    for entry, (_, (left, top, right, bottom)) in zip(found, SQUARES.values(), strict=True):
        assert entry["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=0.7)

    printed = capsys.readouterr().out
    assert NAMES[0] in printed
    assert "AR100" in printed
    assert "!!" not in printed


def test_overrides_reach_the_experiment(evaluate, capsys):
    evaluate("-b", 1, "score_threshold", "0.999")
    printed = capsys.readouterr().out
    assert "!! AP is 0." in printed
    assert "score_threshold" in printed


def test_a_checkpoint_for_other_classes_is_an_error(evaluate, project):
    save_state(project.folder / "other.pth", project.experiment, ["cat", "dog", "cow"])
    with pytest.raises(
        UserError, match=r"has boxes of röd 人 .*, blue.*not among the 3 classes wanted \(cat, dog, cow\)"
    ):
        evaluate(checkpoint=project.folder / "other.pth")


def test_where_no_results_can_be_written_is_refused_before_the_work(evaluate, tmp_path, capsys):
    (tmp_path / "file").touch()
    for wrong, message in ((tmp_path, "is a folder"), (tmp_path / "file" / "found.json", "cannot be written")):
        with pytest.raises(UserError, match=message):
            evaluate("--save-json", wrong)
    assert not capsys.readouterr().out


def rewritten(project, name, change):
    """val.json under another name, changed."""
    content = json.loads((project.folder / "val.json").read_text(encoding="utf-8"))
    change(content)
    (project.folder / name).write_text(json.dumps(content), encoding="utf-8")
    return name


def swap_ids(content):
    """The classes in another order, with other ids."""
    content["categories"] = [{"id": 0, "name": NAMES[1]}, {"id": 1, "name": NAMES[0]}]
    for entry in content["annotations"]:
        entry["category_id"] = {3: 1, 90: 0}[entry["category_id"]]


def keep_first_class(content):
    """A split whose file lists only the class that occurs in it."""
    content["categories"] = content["categories"][:1]
    content["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] == 3]


@pytest.mark.parametrize("names", [(), ("class_names", ",".join(NAMES)), ("class_names", ",".join(NAMES[::-1]))])
@pytest.mark.parametrize("change", [swap_ids, keep_first_class])
def test_classes_are_matched_by_name_with_those_of_the_checkpoint(evaluate, project, tmp_path, change, names):
    split = rewritten(project, "other.json", change)
    evaluate("--metrics", tmp_path / "metrics.json", "--save-json", tmp_path / "found.json", "val_json", split, *names)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["stats"]["AP"] == pytest.approx(1)
    assert [entry["name"] for entry in metrics["per_class"]] == NAMES
    found = json.loads((tmp_path / "found.json").read_text())
    assert [entry["category_id"] for entry in found] == ([1, 0, 1] if change is swap_ids else [3, 1, 3])


def test_the_ids_of_predicted_classes_that_the_data_lack_are_explained(evaluate, project, tmp_path, capsys):
    evaluate("--save-json", tmp_path / "found.json", "val_json", rewritten(project, "other.json", keep_first_class))
    found = json.loads((tmp_path / "found.json").read_text())
    assert [entry["category_id"] for entry in found] == [3, 1, 3]
    assert "other.json lacks classes that are predicted; their category ids are free ones: 1 for blue" in (
        capsys.readouterr().err
    )
    evaluate("--save-json", tmp_path / "found.json")
    assert "free ones" not in capsys.readouterr().err


def test_a_test_split_without_annotations_gets_predictions(evaluate, project, tmp_path, capsys):
    split = rewritten(project, "test.json", lambda content: content.pop("annotations"))
    evaluate("--save-json", tmp_path / "found.json", "val_json", split)
    assert len(json.loads((tmp_path / "found.json").read_text())) == 3
    assert "no ground truth to compare with" in capsys.readouterr().out


def test_multi_scale_testing_says_what_it_looks_at_and_finds_the_same(evaluate, tmp_path, capsys):
    evaluate("--tta", "--metrics", tmp_path / "metrics.json", "--save-json", tmp_path / "found.json")
    printed = capsys.readouterr().out
    said = (
        "multi-scale testing: shorter sides of 96, 48 (objects above 12), 60 (objects above 12), 72 (objects above 8)"
    )
    assert said in printed
    assert "val.json, --tta:" in printed
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["stats"]["AP"] == pytest.approx(1)
    assert metrics["data"]["tta"].startswith(said)
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in found] == [(0, 3), (11, 90), (22, 3)]


def test_the_views_of_multi_scale_testing_can_be_set(evaluate, tmp_path, capsys):
    evaluate("--tta", "tta.scales", "96", "tta.flip", "false", "--metrics", tmp_path / "one.json")
    assert "multi-scale testing: shorter sides of 96 px\n" in capsys.readouterr().out
    evaluate("--metrics", tmp_path / "plain.json")
    one, plain = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "plain"))
    assert one["data"].pop("tta")
    assert one == plain
    evaluate("--tta", "scales", "96", "flip", "no", "object_sizes", "70-", "-b", 2)
    assert "!! AP is 0." in capsys.readouterr().out


def test_views_are_not_accepted_and_ignored(evaluate, capsys):
    with pytest.raises(UserError, match=r"tta.scales: is of multi-scale testing alone; add --tta"):
        evaluate("scales", "96")
    with pytest.raises(UserError, match=r"tta.longest 120: is below the scale 216; set tta.scales, too"):
        evaluate("--tta", "tta.longest", "120")
    with pytest.raises(UserError, match=r"tta.scale: tta has no such field; .*did you mean 'scales'"):
        evaluate("--tta", "tta.scale", "120")
    with pytest.raises(UserError, match=r"tta.scales 70000: must be at most 65,535"):
        evaluate("--tta", "tta.scales", "70000")
    assert "AP50" not in capsys.readouterr().out

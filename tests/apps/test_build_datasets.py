"""The data of a training: classes matched by name between splits and checkpoints, and something to train on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from otadet.apps.annotated import annotated_images
from otadet.apps.compose import build_datasets
from otadet.errors import UserError
from otadet.exp import BaseExp, load_exp
from otadet.names import names_as_trained
from tests.helpers.tiny_experiment import TinyExperiment, write_tiny_experiment


@pytest.fixture
def tiny(tmp_path: Path) -> TinyExperiment:
    return write_tiny_experiment(tmp_path)


@pytest.fixture
def exp(tiny: TinyExperiment) -> BaseExp:
    return load_exp(tiny.file)


def rewrite(tiny: TinyExperiment, split: str, change: Callable[[dict], object]) -> None:
    path = tiny.data / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def names_and_ids(exp: BaseExp, split: str) -> dict[str, int]:
    dataset = exp.build_train_dataset() if split == "train" else exp.build_val_dataset()
    return dict(zip(dataset.class_names, dataset.source_ids, strict=True))


def test_a_validation_set_that_lacks_a_class(tiny: TinyExperiment, exp: BaseExp) -> None:
    first, second = names_and_ids(exp, "train").items()

    def keep_first(content: dict) -> None:
        content["categories"] = [{"id": 5, "name": first[0]}]
        content["annotations"] = [
            {**a, "category_id": 5} for a in content["annotations"] if a["category_id"] == first[1]
        ]

    rewrite(tiny, "val", keep_first)
    train_set, val_set = build_datasets(exp)
    assert val_set.class_names == train_set.class_names == (first[0], second[0])
    assert val_set.source_ids[0] == 5
    assert val_set.boxes_per_class()[1] == 0
    # So do the tools that look images up in both.
    _, names = annotated_images(load_exp(tiny.file), [tiny.data / "train"])
    assert names == train_set.class_names


def test_the_order_of_the_classes_that_weights_were_trained_for(exp: BaseExp) -> None:
    first, second = names_and_ids(exp, "train")
    trained = [second, first]
    straight, _ = build_datasets(exp)
    train_set, val_set = build_datasets(exp, trained)
    assert train_set.class_names == val_set.class_names == (second, first)
    assert (train_set.sample(0).labels == 1 - straight.sample(0).labels).all()


def test_other_classes_than_the_weights_were_trained_for(exp: BaseExp) -> None:
    train_set, _ = build_datasets(exp, ["cat", "dog"])
    assert set(train_set.class_names).isdisjoint({"cat", "dog"})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: content.pop("annotations"), "no list 'annotations'"),
        (lambda content: content["annotations"].clear(), "list of annotations is empty"),
        (lambda content: [entry.update(iscrowd=1) for entry in content["annotations"]], "are crowd regions"),
    ],
    ids=["no list", "empty", "crowd"],
)
def test_no_box_to_train_on(tiny: TinyExperiment, exp: BaseExp, change: Callable[[dict], object], why: str) -> None:
    rewrite(tiny, "val", change)
    build_datasets(exp)
    rewrite(tiny, "train", change)
    with pytest.raises(UserError, match=rf"instances_train\.json: has no box to train on: .*{why}"):
        build_datasets(load_exp(tiny.file))


def test_outside_images_is_a_field(tiny: TinyExperiment, exp: BaseExp, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (tiny.data / "val").rename(outside)
    (tiny.data / "val").mkdir()

    def make_absolute(content: dict) -> None:
        for image in content["images"]:
            image["file_name"] = str(outside / image["file_name"])

    rewrite(tiny, "val", make_absolute)
    with pytest.raises(UserError, match=r"images\[0\]: file_name .* is absolute; .* set outside_images true"):
        exp.build_val_dataset()
    exp.override(["outside_images", "true"])
    assert exp.build_val_dataset().sample(0).image.shape[2] == 3


@pytest.mark.parametrize(
    ("own", "trained", "names"),
    [
        (None, ["a", "b"], ("a", "b")),
        (("b", "a"), ["a", "b"], ("a", "b")),
        (("a", "c"), ["a", "b"], ("a", "c")),
        (("a",), [], ("a",)),
        (None, [], None),
    ],
    ids=str,
)
def test_names_that_data_is_read_with(own, trained, names) -> None:
    assert names_as_trained(own, trained) == names

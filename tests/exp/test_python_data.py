"""Any object with __len__ and __getitem__ is trained on and measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from otadet.apps import evaluate, train
from otadet.data.sample import Sample
from otadet.errors import UserError
from otadet.exp import PythonData
from otadet.exp.plain import to_plain

IMAGE = np.zeros((20, 30, 3), np.uint8)
BOX = [2, 3, 12, 13]


def items(labels: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return [(IMAGE + row, [BOX], [label]) for row, label in enumerate(labels)]


@pytest.mark.parametrize(
    "item",
    [
        (IMAGE, [BOX], ["cat"]),
        [Image.fromarray(IMAGE), torch.tensor([BOX]), ["cat"]],
        (IMAGE, {"boxes": np.array([BOX], np.float32), "labels": np.array(["cat"])}),
        {"image": IMAGE, "boxes": [BOX], "labels": ("cat",), "more": 1},
        Sample(IMAGE, np.array([BOX], np.float32), np.array([0]), 7, "a.png", (20, 30)),
        {"image": IMAGE, "boxes": [BOX, BOX], "labels": np.array([0, 0]), "ignored": [[0, 0, 5, 5]]},
        (IMAGE, {"boxes": [BOX, [0, 0, 5, 5]], "labels": [0, 0], "iscrowd": torch.tensor([0, 1]), "area": [1, 2]}),
    ],
    ids=["tuple", "PIL and torch", "torchvision", "dictionary", "Sample", "ignored", "iscrowd"],
)
def test_what_an_item_may_be(item: Any) -> None:
    dataset = PythonData([item], [item], class_names=("cat", "dog")).train()
    sample = dataset.sample(0)
    assert sample.image.shape == (20, 30, 3)
    assert sample.boxes.tolist()[0] == BOX
    assert set(sample.labels.tolist()) == {0}
    assert (dataset.class_names, dataset.sizes.tolist()) == (("cat", "dog"), [[20, 30]])
    said = item[1] if isinstance(item, tuple) and len(item) == 2 else item
    regions = isinstance(said, dict) and not said.keys().isdisjoint({"ignored", "iscrowd"})
    assert sample.ignored.tolist() == ([[0, 0, 5, 5]] if regions else [])


class _Odd(list):
    def __init__(self, length: Any) -> None:
        super().__init__()
        self._length = length

    def __len__(self) -> int:
        return self._length


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (_Odd(-1), "_Odd: __len__ fails: ValueError"),
        (_Odd("two"), "_Odd: __len__ fails: TypeError"),
        ([], "list: no validation split can be made: there are no images"),
        ([(IMAGE, [BOX], ["cat"])], "list: no validation split can be made: there is one image alone; add images"),
    ],
)
def test_an_object_without_enough_items_is_named(items: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        PythonData(items).train()


def test_names_as_labels_are_the_classes() -> None:
    data = PythonData(items(("dog", "cat", "dog")), items(("cat",)))
    train_set = data.train()
    assert train_set.class_names == ("cat", "dog")
    assert [train_set.sample(row).labels.tolist() for row in range(3)] == [[1], [0], [1]]
    val_set = data.val(train_set.class_names)
    assert (val_set.class_names, val_set.sample(0).labels.tolist()) == (("cat", "dog"), [0])
    turned = train_set.with_class_order(["dog", "cat"])
    assert [turned.sample(row).labels.tolist() for row in range(3)] == [[0], [1], [0]]
    assert turned.labels.tolist() == [0, 1, 0]
    empty = PythonData(items(("dog", "cat")), [(IMAGE, [], [])]).val(("cat", "dog"))
    assert (len(empty), empty.class_names) == (1, ("cat", "dog"))


def test_boxes_are_clipped_and_empty_ones_go() -> None:
    item = (IMAGE, [[-5, 2, 40, 10], [3, 3, 3, 9], [float("nan"), 0, 5, 5]], [0, 0, 0])
    dataset = PythonData([item], [item], class_names=("cat",)).train()
    assert dataset.sample(0).boxes.tolist() == [[0, 2, 30, 10]]
    assert (dataset.counts.boxes, dataset.counts.degenerate) == (1, 2)


def test_a_split_is_made_or_refused() -> None:
    data = PythonData(items(("cat",) * 10))
    assert (len(data.train()), len(data.val())) == (8, 2)
    shown = [
        {int(dataset.sample(row).image[0, 0, 0]) for row in range(len(dataset))}
        for dataset in (data.train(), data.val())
    ]
    assert shown[0] | shown[1] == set(range(10))
    assert "2 of 10 items (val_share 0.2)" in data.val().notes[1]
    with pytest.raises(UserError, match="there is no test split"):
        data.test()
    with pytest.raises(UserError, match="no validation split"):
        PythonData(items(("cat",) * 10), val_share=0).val()
    assert len(data.untrained().val()) == 10
    with pytest.raises(UserError, match=r"data\.val_share 1: leaves nothing to train on"):
        data.untrained().train()
    assert len(PythonData(items(("cat",) * 10), items(("cat",) * 3)).untrained().val()) == 3


class Random:
    """An object that changes its items each time."""

    def __init__(self) -> None:
        self.calls = 0

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> tuple[Any, ...]:
        self.calls += 1
        return IMAGE[: 10 + self.calls], [[0, 0, self.calls, 9]], [0]


def test_random_changes_are_for_training_alone() -> None:
    data = PythonData(Random(), Random(), class_names=("cat",))
    sample = data.train().sample(0)
    assert (sample.image.shape[0], sample.boxes.tolist()) == (13, [[0, 0, 3, 9]])
    with pytest.raises(UserError, match=r"Random\[1\]: is not what it was when it was first looked at"):
        data.val().sample(1)


class Failing(Random):
    def __getitem__(self, row: int) -> tuple[Any, ...]:
        raise KeyError("gone")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([(IMAGE, [BOX])], r"list\[0\]: is a tuple; expected is \(image, boxes, labels\)"),
        ([{"image": IMAGE}], r"list\[0\]: is a dict with image; expected"),
        ([(IMAGE.astype(float), [BOX], [0])], r"list\[0\]: its image is float64 of shape \(20, 30, 3\)"),
        ([(IMAGE.transpose(2, 0, 1), [BOX], [0])], r"shape \(3, 20, 30\); expected is uint8 RGB \(height, width, 3\)"),
        ([(IMAGE, [[1, 2, 3]], [0])], r"boxes are of shape \(1, 3\); expected is \(G, 4\)"),
        ([(IMAGE, "box", [0])], r"boxes are no numbers"),
        ([(IMAGE, [BOX], [0, 0])], r"has 1 boxes, but 2 labels"),
        ([(IMAGE, [BOX], [0.5])], r"labels are \[0\.5\]; expected are whole numbers, or names"),
        ([(IMAGE, [BOX], [2])], r"list\[0\]: has the label 2, but 2 classes are numbered from 0"),
        ([(IMAGE, [BOX], ["cow"])], r"has the class 'cow', which is not among class_names"),
        ([(IMAGE, {"boxes": [BOX], "labels": [0], "iscrowd": [2]})], r"its iscrowd is \[2\]; expected is 0 or 1"),
        ([(IMAGE, {"boxes": [BOX], "labels": [0], "iscrowd": [0, 1]})], r"its iscrowd is \[0, 1\]; expected"),
        ([(IMAGE, SimpleNamespace(format=SimpleNamespace(name="XYWH")), [0])], "boxes are XYWH; expected is XYXY"),
        ([], "list: has no items"),
        (Failing(), r"Failing\[0\]: fails: KeyError: 'gone'"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_no_item_is_named(bad: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PythonData(bad, bad, class_names=("cat", "dog")).train()


def test_numbers_need_names_and_objects_their_methods() -> None:
    with pytest.raises(UserError, match=r"labels are numbers such as 0; say what the classes are, as class_names"):
        PythonData(items((0,)), items((0,))).train()
    with pytest.raises(UserError, match="int: has no __len__ and __getitem__"):
        PythonData(3)


def test_a_checkpoint_says_only_what_they_are() -> None:
    assert to_plain(PythonData(Random()))["train_items"] == {"part": "Random", "file": "test_python_data.py"}
    assert to_plain(PythonData(items(("cat",))))["train_items"] == {"part": "list", "file": "builtins"}


FILE = """
import numpy as np
from otadet.exp import *


class Squares:
    def __init__(self, first, number):
        self.first, self.number = first, number

    def __len__(self):
        return self.number

    def __getitem__(self, row):
        rng = np.random.default_rng(self.first + row)
        image = rng.integers(0, 100, (48, 64, 3), dtype=np.uint8)
        image[8:32, 10:34] = 250
        return image, [[10, 8, 34, 32]], ["square"]


class Exp(BaseExp):
    data = PythonData(Squares(0, 4), Squares(4, 2), Squares(6, 3))
    input = InputSpec(ResizeShortestEdge((64,), 64))
    model = FCOS(ResNet(10, width=8, weights=None), channels=16, tower_depth=1)
    length = Iterations(2)
    run = Run(batch_size=2, workers=1)
"""


def test_an_object_of_a_file_is_trained_and_tested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, checkpoint = tmp_path / "mine.py", tmp_path / "run/last.pth"
    file.write_text(FILE)
    train.main(["-f", str(file), "--device", "cpu", "--output", str(checkpoint.parent)])
    assert (checkpoint.parent / "predictions.png").is_file()
    evaluate.main(["-f", str(file), "-c", str(checkpoint), "--device", "cpu", "--split", "test"])
    assert "test split, 3 images of Squares" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"data\.train_items is Squares, of mine\.py; give that file with -f"):
        evaluate.main(["-c", str(checkpoint), "--device", "cpu"])


def test_names_as_labels_are_cleaned_and_none_is_empty() -> None:
    train_set = PythonData(items((" ape\n", "ape")), items(("ape",))).train()
    assert train_set.class_names == ("ape",)
    assert [train_set.sample(row).labels.tolist() for row in range(2)] == [[0], [0]]
    for label in ("", "\n", "x" * 100_000):
        with pytest.raises(
            UserError, match=r"^list\[1\]: has the label '.*'; a name of a class has 1 to \d+ characters"
        ):
            PythonData(items(("ape", label)), items(("ape",))).train()


def test_the_view_of_an_item_is_its_sample() -> None:
    train_set = PythonData(items(("ape", "bee")), items(("ape",))).train()
    sample, view = train_set.sample(1), train_set.view(1).plain()
    np.testing.assert_array_equal(view.image, sample.image)
    np.testing.assert_array_equal(view.boxes, sample.boxes)
    assert (view.image_id, view.file_name, view.labels.tolist()) == (sample.image_id, sample.file_name, [1])


@pytest.mark.parametrize("kind", [np.asarray, Image.fromarray], ids=["numpy", "PIL"])
def test_a_transform_that_writes_into_a_sample_leaves_the_item_as_it_is(kind: Any) -> None:
    boxes, regions = np.array([BOX], np.float64), np.array([[0, 0, 5, 5]], np.float64)
    item = {"image": kind(IMAGE.copy()), "boxes": boxes, "labels": np.array([1]), "ignored": regions}
    dataset = PythonData([item], [item], class_names=("cat", "dog")).train()
    for _ in range(2):
        sample = dataset.sample(0)
        assert not sample.image.any()
        assert (sample.boxes.tolist(), sample.labels.tolist(), sample.ignored.tolist()) == (
            [BOX],
            [1],
            regions.tolist(),
        )
        for array in (sample.image, sample.boxes, sample.labels, sample.ignored):
            array[:] = 0 if array is sample.labels else 9

import json

import numpy as np
import pytest
from PIL import Image

from otadet.apps.convert_data import FORMATS, main
from otadet.data.formats.convert import WRITERS
from otadet.data.formats.detect import find_data
from otadet.errors import UserError


@pytest.fixture
def yolo(tmp_path):
    folder = tmp_path / "source"
    for split in ("train", "valid"):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "labels").mkdir()
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / split / "images" / f"{split}.png")
        (folder / split / "labels" / f"{split}.txt").write_text("1 .5 .5 .2 .2\n")
    (folder / "data.yaml").write_text("train: train/images\nval: valid/images\nnames: [ape, cow]\n")
    return folder


def test_every_format_that_is_written_can_be_named():
    assert tuple(WRITERS) == FORMATS


def test_what_is_printed(yolo, tmp_path, capsys):
    folder = yolo / "train"
    (folder / "images" / "train.png").rename(folder / "images" / "a train.png")
    (folder / "labels" / "train.txt").rename(folder / "labels" / "a train.txt")
    main([str(yolo), str(tmp_path / "new"), "--to", "coco"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "YOLO: data.yaml, 2 splits (train, val)"
    assert printed[1].startswith("train: data.yaml: 1 image, 1 box, 2 classes")
    assert printed[-2] == "1 image renamed, such as train/images/a train.png, which is a_train.png"
    assert printed[-1] == f"written: {tmp_path / 'new'} (coco)"
    assert list(find_data(tmp_path / "new").splits) == ["train", "val"]


def test_json_alone_is_on_stdout(yolo, tmp_path, capsys):
    main([str(yolo / "data.yaml"), str(tmp_path / "new"), "--to", "voc", "--json", "--link", "--from", "yolo"])
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == str(tmp_path / "new")
    assert list(found["splits"]) == ["train", "val"]
    assert list(found["lost"].values()) == [1]


def test_boxes_of_crowdhuman(yolo, tmp_path):
    people = tmp_path / "people"
    (people / "Images").mkdir(parents=True)
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(people / "Images" / "a.jpg")
    persons = [{"tag": "person", "fbox": [1, 2, 20, 30], "vbox": [1, 2, 9, 9]}, {"tag": "mask", "fbox": [30, 1, 9, 9]}]
    (people / "annotation_train.odgt").write_text(json.dumps({"ID": "a", "gtboxes": persons}))
    main([str(people), str(tmp_path / "new"), "--to", "voc", "--boxes", "visible"])
    found = find_data(tmp_path / "new").splits["train"].read()
    assert found.boxes.tolist() == [[1, 2, 10, 11], [30, 1, 39, 10]]
    assert found.ignored.tolist() == [False, True]
    with pytest.raises(UserError, match=r"--boxes head: .* is YOLO, and has one kind of boxes"):
        main([str(yolo), str(tmp_path / "other"), "--to", "coco", "--boxes", "head"])


def test_a_target_in_the_source_is_refused(yolo):
    with pytest.raises(UserError, match=r"lies in .*source, which would then hold the data twice"):
        main([str(yolo), str(yolo / "coco"), "--to", "coco"])
    with pytest.raises(UserError, match="gone: no such folder"):
        main([str(yolo.parent / "gone"), str(yolo.parent / "coco"), "--to", "coco"])

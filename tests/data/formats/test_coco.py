import json
import os

import numpy as np
import pytest

from otadet.data.formats.coco import read_coco
from otadet.errors import UserError
from tests.helpers.coco import ANNOTATION, CATEGORY, IMAGE, content


def annotated(**changes):
    return content(annotations=[{**ANNOTATION, **changes}])


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (content(images=[]), "list of images is empty"),
        (content(images=[{"id": 1}]), r"images\[0\]: has no 'file_name'"),
        (content(images=[IMAGE, IMAGE]), "images have the id 1 more than once"),
        (content(images=[{"id": "one", "file_name": "a.png"}]), r"images\[0\]: id is 'one', not a whole number"),
        (
            content(images=[{"id": "07", "file_name": "a.png"}]),
            "not a whole number; write it without quotation marks, 7",
        ),
        (annotated(category_id=3.0), r"annotations\[0\]: category_id is 3\.0, .*; write it without a point, 3"),
        (content(images=[{"id": 1, "file_name": None}]), r"images\[0\]: file_name is None"),
        (content(images=[{**IMAGE, "width": "wide"}]), r"images\[0\]: width is 'wide', not a number"),
        (content(categories=[]), "list of categories is empty"),
        (content(categories=[CATEGORY, CATEGORY]), "categories have the id 1 more than once"),
        (content(categories=[CATEGORY, {"id": 2, "name": "ape"}]), "two categories are named 'ape'"),
        (content(annotations=[ANNOTATION, ANNOTATION]), "annotations have the id 1 more than once"),
        (annotated(image_id=5), r"annotations\[0\]: image_id 5 is not in the file"),
        (
            content(annotations=[{**ANNOTATION, "category_id": 0}]),
            r"annotations\[0\]: category_id 0 is not in the file",
        ),
        (annotated(bbox=[0, 0, 5]), r"annotations\[0\]: bbox is \[0, 0, 5\]"),
        (
            content(annotations=[{**ANNOTATION, "bbox": [0, 0, 5, None]}]),
            r"annotations\[0\]: bbox is \[0, 0, 5, None\]",
        ),
        ({"images": [IMAGE], "annotations": []}, "no list 'categories'"),
        ({"images": [IMAGE], "categories": [CATEGORY], "annotations": None}, "no list 'annotations'"),
        (content(images=[{**IMAGE, "id": 2**64}]), r"images\[0\]: id is 18446744073709551616, beyond the 64-bit"),
        (content(images=[{**IMAGE, "id": True}]), r"images\[0\]: id is True, not a whole number"),
        (content(images=[{**IMAGE, "width": 1e300}]), r"images\[0\]: width is 1e\+300, more than an image can have"),
        (content(images=[{**IMAGE, "height": 10**400}]), r"images\[0\]: height is 10+\.\.\.0+, too large a number"),
        (annotated(bbox=[0, 0, 10**400, 1]), r"annotations\[0\]: bbox is \[0, 0, 10+\.\.\.0+, 1\], too large a number"),
        (content(images=[{**IMAGE, "file_name": "a\0.png"}]), r"images\[0\]: file_name 'a\\x00.png' has a NUL"),
        (content(images=[{**IMAGE, "file_name": "\ud800.png"}]), r"file_name '\\ud800.png' has half a character"),
        (content(images=[{**IMAGE, "file_name": "x" * 5000}]), "has 5000 characters; no file name has more than 4096"),
        (content(categories=[{"id": 1, "name": "x" * 100_000}]), r"categories\[0\]: name 'x+\.\.\.x+' has 100000 char"),
        (content(categories=[{"id": 1, "name": "\n"}]), r"categories\[0\]: name '\\n' is empty"),
        (
            content(categories=[CATEGORY, {"id": 2, "name": "ape\n"}]),
            "two categories .*'ape', .* ids 1 and 2; no box has the id 2",
        ),
        (
            content(
                categories=[CATEGORY, {"id": 2, "name": "ape"}],
                annotations=[ANNOTATION, {**ANNOTATION, "id": 2, "category_id": 2}],
            ),
            "with the ids 1 and 2; merge them, or rename one",
        ),
        ([1, 2], "no list 'images'"),
    ],
    ids=str,
)
def test_contradictions_are_named(tmp_path, broken, problem):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken))
    with pytest.raises(UserError, match=rf"broken\.json: .*{problem}"):
        read_coco(path)


@pytest.mark.parametrize("text", ["", json.dumps(content())[:-20], "<html>"], ids=["empty", "cut short", "not JSON"])
def test_what_is_no_whole_json_file_is_named(tmp_path, text):
    path = tmp_path / "cut.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"cut\.json: not valid JSON, perhaps cut short"):
        read_coco(path)
    with pytest.raises(UserError, match=r"gone\.json: no such"):
        read_coco(tmp_path / "gone.json")


def test_only_the_necessary_keys_are_needed(tmp_path):
    path = tmp_path / "bare.json"
    bare = {key: value for key, value in ANNOTATION.items() if key != "id"}
    path.write_text("\ufeff" + json.dumps(content(annotations=[bare, bare])), encoding="utf-8")
    tables = read_coco(path)
    assert tables.boxes.tolist() == [[0, 0, 5, 5]] * 2
    assert not tables.ignored.any()


def test_categories_are_sorted_by_id(tmp_path):
    path = tmp_path / "sorted.json"
    categories = [{"id": 90, "name": "zebra"}, {"id": 7, "name": "ape"}]
    annotations = [{**ANNOTATION, "id": n, "category_id": n} for n in (90, 7)]
    path.write_text(json.dumps(content(annotations=annotations, categories=categories)))
    tables = read_coco(path)
    assert tables.classes.ids == (7, 90)
    assert tables.classes.names == ("ape", "zebra")
    assert tables.class_rows.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"images": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (json.dumps(content()).encode("latin-1").replace(b"ape", b"\xe9"), "is not in UTF-8 .* save it in UTF-8"),
        (b'{"images": ' + b"9" * 10_000 + b"}", "cannot be read: Exceeds the limit"),
        (b'{"images": [], "images": []}', "has the key 'images' twice"),
        (b"NaN", "no list 'images'"),
    ],
    ids=["nesting", "latin-1", "digits", "twice", "NaN"],
)
def test_json_that_is_no_annotation_file(tmp_path, data, problem):
    path = tmp_path / "odd.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"odd\.json: .*{problem}"):
        read_coco(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le"])
def test_every_unicode_encoding_is_read(tmp_path, encoding):
    path = tmp_path / "other.json"
    path.write_text(json.dumps(content(categories=[{"id": 1, "name": "猿"}]), ensure_ascii=False), encoding=encoding)
    assert read_coco(path).classes.names == ("猿",)


def test_a_pipe_a_folder_and_a_missing_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for path, problem in ((tmp_path / "pipe.json", "a pipe"), (tmp_path, "a folder"), (tmp_path / "none", "no such")):
        with pytest.raises(UserError, match=problem):
            read_coco(path)


def test_class_names_are_fit_to_print(tmp_path):
    path = tmp_path / "hostile.json"
    categories = [{"id": 1, "name": "\x1b[2Jape\n"}, {"id": 2, "name": "lone \ud800"}]
    path.write_text(json.dumps(content(categories=categories)))
    assert read_coco(path).classes.names == ("[2Jape", "lone \ufffd")


def test_numbers_that_are_missing_or_not_finite(tmp_path):
    path = tmp_path / "numbers.json"
    images = [
        {**IMAGE, "width": None, "height": float("nan")},
        {"id": 2, "file_name": "b.png", "width": -5, "height": 7.0},
    ]
    annotations = [{**ANNOTATION, "bbox": [float("nan"), 0, float("inf"), 1], "area": float("inf")}]
    path.write_text(json.dumps(content(images=images, annotations=annotations)))
    tables = read_coco(path)
    assert tables.image_sizes.tolist() == [[0, 0], [7, 0]]
    assert np.isnan(tables.areas).all()


def test_without_annotations_it_is_the_file_of_a_test_split(tmp_path):
    path = tmp_path / "test.json"
    path.write_text(json.dumps({"images": [IMAGE], "categories": [CATEGORY]}))
    assert "as the file of a test split" in read_coco(path).why_no_boxes
    path.write_text(json.dumps(content(annotations=[])))
    assert read_coco(path).why_no_boxes == "its list of annotations is empty"


def test_one_long_name_costs_its_own_length(tmp_path):
    """Not, as in an array of equal widths, that of all names."""
    path = tmp_path / "long.json"
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(2000)] + [
        {"id": 9999, "file_name": "x" * 4000 + ".png"}
    ]
    path.write_text(json.dumps(content(images=images)))
    names = read_coco(path).file_names
    assert len(names) == 2001
    assert names[-1] == "x" * 4000 + ".png"
    assert names.text.nbytes + names.ends.nbytes < 2001 * 20 + 4004
    assert list(names.kept(np.arange(2001) % 1000 == 0)) == ["0.png", "1000.png", "x" * 4000 + ".png"]

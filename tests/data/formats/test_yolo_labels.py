import numpy as np
import pytest

from otadet.data.annotations import BrokenEntry
from otadet.data.formats import yolo_labels
from otadet.data.formats.yolo_labels import read_labels
from otadet.errors import UserError


def read(tmp_path, *files, classes=3):
    paths = []
    for number, data in enumerate(files):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(data)
        paths.append(str(path))
    return read_labels(paths, classes, "data.yaml")


def test_boxes_and_outlines(tmp_path):
    labels = read(tmp_path, b"2 .5 .5 .2 .4\n\n", b"", b"0 0.1 0.2 0.5 0.2 0.3 0.6\r\n1 .5 .5 1 1")
    assert labels.file_rows.tolist() == [0, 2, 2]
    assert labels.class_indices.tolist() == [2, 0, 1]
    np.testing.assert_allclose(labels.boxes, [[0.4, 0.3, 0.6, 0.7], [0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]])
    assert labels.polygons == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf1 .5 .5 .2 .2\n2 .5 .5 .2 .2",
        b"1 .5 .5 .2 .2\r\n2 .5 .5 .2 .2\r\n",
        b"1 .5 .5 .2 .2\r2 .5 .5 .2 .2",
        b"  1.0\t.5  .5 .2 .2 \n\n\n\t2 5e-1 +.5 2E-1 .2",
        "1 .5 .5 .2 .2\n2 .5 .5 .2 .2".encode("utf-16"),
    ],
    ids=["BOM", "CRLF", "CR", "spaces", "UTF-16"],
)
def test_ways_to_write_the_same(tmp_path, data):
    labels = read(tmp_path, data)
    assert labels.class_indices.tolist() == [1, 2]
    np.testing.assert_allclose(labels.boxes, [[0.4, 0.4, 0.6, 0.6]] * 2)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"0 .5 .5 .2", "has 4 numbers"),
        (b"0 .5 .5 .2 .2 .9", "has 6 numbers: a sixth, as the confidence"),
        (b"0 .5 .5 .2 .2 .9 .1 .1", "has 8 numbers"),
        (b"0 .5 .5 .2 .2 # cat", "'#' is not a number"),
        (b"0,.5,.5,.2,.2", "is not a number"),
        (b"cat .5 .5 .2 .2", "'cat' is not a number"),
        (b"0 1_0 .5 .2 .2", "'1_0' is not a number"),
        (b"0 1-2 .5 .2", "'1-2' is not a number"),
        (b"0 .5 .5 .2 1.2.3", "'1.2.3' is not a number"),
        (b"0 .5 .5 .2 \x00", r"'\\x00' is not a number"),
        (b"0 .5 .5 .2 \xff", "is not a number"),
        (b"3 .5 .5 .2 .2", "its class is '3', but data.yaml has 3 classes, 0 to 2"),
        (b"-1 .5 .5 .2 .2", "its class is '-1'; expected is a whole number"),
        (b"0.5 .5 .5 .2 .2", "its class is '0.5'"),
        (b"0 .5 .5 .2 .2 .4 .4 2 .6 .6 1", "'2' is no share .* if these are key points, keep the first 5 numbers"),
        (b"nan .5 .5 .2 .2", "its class is 'nan'"),
        (b"0 100 200 30 40", "'100' is no share of the image .* divide x by the width"),
        (b"0 1e300 .5 .2 .2", "'1e300' is no share"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, problem):
    with pytest.raises(UserError, match=rf"1\.txt: line 3: .*{problem}"):
        read(tmp_path, b"0 .5 .5 .2 .2\n", b"0 .5 .5 .2 .2\n\n" + line + b"\n")


def test_what_is_not_finite_goes_through_for_the_data_set_to_count(tmp_path):
    labels = read(tmp_path, b"0 nan .5 .2 .2\n1 .5 .5 inf .2\n2 .5 .5 1e400 .2\n1 .5 .5 -.2 .2")
    assert np.isfinite(labels.boxes).all(axis=1).tolist() == [False, False, False, True]


def test_an_index_without_a_list_of_names_has_a_limit(tmp_path):
    assert read(tmp_path, b"9999 .5 .5 .2 .2", classes=None).class_indices.tolist() == [9999]
    path = tmp_path / "0.txt"
    path.write_bytes(b"10000 .5 .5 .2 .2")
    with pytest.raises(UserError, match=r"its class is '10000', but nothing names the classes.*data\.yaml"):
        read_labels([str(path)], None, None)


def test_in_bulk_as_line_by_line(tmp_path, monkeypatch):
    monkeypatch.setattr(yolo_labels, "_FILES_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    files = []
    for _ in range(40):
        sizes = rng.choice([4, 6, 8, 50], rng.integers(0, 5))
        lines = [" ".join([str(rng.integers(3)), *(f"{value:.6g}" for value in rng.random(size))]) for size in sizes]
        files.append("\n".join(lines).encode())
    fast = read(tmp_path, *files)
    monkeypatch.setattr(yolo_labels, "_parsed", lambda *_: None)
    slow = read(tmp_path, *files)
    for name in ("file_rows", "class_indices", "boxes", "polygons"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    assert fast.polygons > 20


def test_a_file_that_cannot_be_read_is_an_error_or_noted(tmp_path):
    (tmp_path / "a.txt").write_text("0 .5 .5 .2 .2\n")
    paths = [str(tmp_path / name) for name in ("gone.txt", "a.txt")]
    with pytest.raises(UserError, match=r"gone\.txt: no such label file"):
        read_labels(paths, 1, "data.yaml")
    broken = []
    labels = read_labels(paths, 1, "data.yaml", broken)
    assert labels.file_rows.tolist() == [1]
    assert broken == [BrokenEntry(paths[0], "no such label file")]

import os

import pytest

from otadet.data.formats.text_file import read_bytes, read_many, read_text
from otadet.errors import UserError


def test_many_files_come_in_their_order(tmp_path):
    paths = []
    for number in range(1500):
        path = tmp_path / str(number)
        path.write_bytes(b"%d" % number * (number % 3))
        paths.append(str(path))
    assert list(read_many(paths, "label file")) == [b"%d" % number * (number % 3) for number in range(1500)]
    assert list(read_many([], "label file")) == []


def test_those_of_many_that_cannot_be_read_are_named(tmp_path):
    paths = [str(tmp_path / str(number)) for number in range(200)]
    for number in (*range(100), 150):
        (tmp_path / str(number)).touch()
    contents = list(read_many(paths, "label file"))
    for number, (path, content) in enumerate(zip(paths, contents, strict=True)):
        expected = b"" if os.path.exists(path) else f"{path}: no such label file"
        assert (str(content) if isinstance(content, UserError) else content) == expected, number


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    for name, problem in (
        ("pipe", "is a folder, a pipe or a device, and no list"),
        (".", "is a folder, a pipe or a device, and no list"),
        ("gone", "no such list"),
        ("large", "has 11 bytes, too many: 10 are read of one list"),
        ("\0", "cannot be read"),
    ):
        with pytest.raises(UserError, match=problem):
            read_bytes(tmp_path / name, "list", 10)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_texts(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes("é\r\nb\rc\n".encode(encoding))
    assert read_text(path, "list") == "é\nb\nc\n"


def test_other_encodings(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\xe9")
    with pytest.raises(UserError, match=r"is not in UTF-8 .* at byte 1"):
        read_text(path, "list")
    assert os.fsencode(read_text(path, "list", errors="surrogateescape")) == b"a\xe9"

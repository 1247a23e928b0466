"""Class names: what is cleaned, and what is refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otadet.errors import UserError
from otadet.names import MAX_CLASS_NAME, clean_class_names, clean_name, name_list, one_agrees


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("red cell", "red cell"),
        (" car\n", "car"),
        ("a\r\n\tb", "a b"),
        ("\x1b[2J\x1b]0;title\x07x", "[2J ]0;title x"),
        ("\x9b31mred", "31mred"),
        ("a\u2028b", "a b"),
        ("lone \ud800", "lone \ufffd"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u53d1\u52a8\u673a \U0001f469\u200d\U0001f52c", "\u53d1\u52a8\u673a \U0001f469\u200d\U0001f52c"),
    ],
    ids=ascii,
)
def test_what_a_name_becomes(written: str, shown: str) -> None:
    assert clean_name(written) == shown


@given(st.text(st.characters(), max_size=30))
def test_a_clean_name_stays_and_has_nothing_that_moves_the_cursor(name: str) -> None:
    cleaned = clean_name(name)
    assert clean_name(cleaned) == cleaned
    assert not {unicodedata.category(character) for character in cleaned} & {"Cc", "Cs", "Zl", "Zp"}
    cleaned.encode()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "a.json: class names are []"),
        ("cat", "a.json: class names are 'cat'; expected is a list"),
        (None, "a.json: class names are None"),
        (["cat", 3], "a.json: class name [1] is 3, not a text"),
        (["cat", "x" * 100_000], "a.json: class name [1] has 100000 characters"),
        (["\n", "cat"], "a.json: class name [0] is empty"),
        (["cat", "dog", "cat\n"], "a.json: class names [0] and [2] are both 'cat'"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_names_that_are_refused(names: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        clean_class_names(names, "a.json")
    assert message in str(error.value)
    assert len(str(error.value)) < 200


def test_names_that_are_taken() -> None:
    assert clean_class_names(["cat", " dog ", "x" * MAX_CLASS_NAME], "a.json") == ("cat", "dog", "x" * MAX_CLASS_NAME)


def test_a_long_list_is_cut() -> None:
    assert name_list(["a", "b"]) == "a, b"
    assert name_list([str(n) for n in range(1000)], at_most=3) == "0, 1, 2, ..."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 images, 1 boxes, 1 classes", "1 image, 1 box, 1 class"),
        (
            "21 images; 1 degenerate boxes dropped; 1 regions ignored",
            "21 images; 1 degenerate box dropped; 1 region ignored",
        ),
        (
            "1 label files; 1 XML files; 1 outlines; 1 entries; 1 file names",
            "1 label file; 1 XML file; 1 outline; 1 entry; 1 file name",
        ),
        ("4,1 images, 0.1 epochs, 1 classroom", "4,1 images, 0.1 epochs, 1 classroom"),
    ],
)
def test_what_there_is_one_of_is_singular(text: str, expected: str) -> None:
    assert one_agrees(text) == expected

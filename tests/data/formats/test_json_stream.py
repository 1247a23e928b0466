import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.data.formats import json_stream
from otadet.data.formats.json_stream import parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(params=[1, 7, 10_000], scope="module")
def small_steps(request):
    """Everything is read in small steps, so that each place of a text is the end of one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BYTES_AT_ONCE", request.param)
        patch.setattr(json_stream, "_ROWS_AT_ONCE", 3)
        yield


def parse(data, lists=None):
    return parse_json(io.BytesIO(data), dict, lists or {})


@settings(max_examples=60)
@given(value=values, indent=st.sampled_from([None, 1]), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_as_the_json_module_has_it(small_steps, value, indent, encoding):
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    assert parse(text.encode(encoding, "surrogatepass")) == json.loads(text)


@settings(max_examples=60)
@given(
    data=st.binary(max_size=8)
    | st.sampled_from([b'{"a": [1, {"b": "\\u00e9"}], "c": -1.5e3}', b"[1, 2] x", b'{"a" 1}'])
)
@pytest.mark.parametrize("cut", [0, 3, 12, 20])
def test_what_is_no_json_is_an_error_there_too(small_steps, data, cut):
    data = data[: len(data) - cut]
    try:
        expected = json.loads(data)
    except ValueError as error:
        with pytest.raises(ValueError, match=r"[a-z]") as raised:
            parse(data)
        if isinstance(error, json.JSONDecodeError):
            assert isinstance(raised.value, json.JSONDecodeError)
    else:
        assert parse(data) == expected


def test_lists_are_handed_over_in_parts(small_steps):
    taken = []
    content = {"x": [1], "rows": [{"n": n} for n in range(8)], "other": {"rows": [1]}, "empty": []}
    found = parse(
        json.dumps(content).encode(), {"rows": lambda rows, first: taken.append((first, rows)), "empty": taken.append}
    )
    assert found == {**content, "rows": []}
    assert [first for first, _ in taken] == [0, 3, 6]
    assert [row for _, rows in taken for row in rows] == content["rows"]


def test_an_error_says_its_place(small_steps):
    with pytest.raises(json.JSONDecodeError, match=r"line 3 \(char 1[0-9]\)"):
        parse(b'{"a": [1,\n2,\n 3, x]}')
    with pytest.raises(UnicodeDecodeError) as raised:
        parse(b'{"a": "\xff"}')
    assert raised.value.start == 7


def test_a_list_that_is_none_is_kept(small_steps):
    assert parse(b'{"rows": 5}', {"rows": print}) == {"rows": 5}

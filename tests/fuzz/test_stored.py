"""Whatever a checkpoint says of its experiment: an experiment that fits its own types, or a `UserError`."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.errors import UserError
from otadet.exp import BaseExp
from otadet.exp.fields import check_fields, fields_of
from otadet.exp.plain import PARTS
from otadet.exp.stored import stored_exp

DESCRIBED = BaseExp().describe()
NAMES = st.sampled_from([*PARTS, "BaseExp", "os.system", "", "dict"])
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(2**70), st.just(float("nan"))
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["part", "file", "lr", "channels", "sizes", "backbone"]), inner, max_size=3),
        NAMES.map(lambda name: {"part": name}),
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


PLACES = places(DESCRIBED)[1:]


@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=2), VALUES)
def test_parts_of_a_checkpoint(changes: list[tuple[tuple[Any, ...], Any]], about: Any) -> None:
    parts = deepcopy(DESCRIBED)
    for (*way, last), value in changes:
        inner: Any = parts
        for key in way:
            inner = inner[key] if isinstance(inner, dict | list) and (isinstance(inner, list) or key in inner) else {}
        if isinstance(inner, dict) or (isinstance(inner, list) and isinstance(last, int) and last < len(inner)):
            inner[last] = value
    state = {"parts": parts, "experiment": about if isinstance(about, dict) else {"name": about, "methods": about}}
    message = "a.pth: "
    try:
        exp = stored_exp("a.pth", state, fields_of(BaseExp()))
        check_fields(exp)
        exp.build_loss()
    except UserError as error:
        message = str(error)
    assert message.startswith("a.pth: ")

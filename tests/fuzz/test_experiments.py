"""Whatever is written into an experiment file or after a command: an experiment that can be built, or a `UserError`."""

from __future__ import annotations

import string
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.errors import UserError
from otadet.exp import FCOS, BaseExp, ResNet, load_exp
from otadet.exp.fields import all_fields
from otadet.exp.plain import PARTS as PARTS_BY_NAME
from otadet.exp.plain import from_plain, to_plain
from otadet.part import field_types
from otadet.values import check_value

PATHS = [field.path for field in all_fields(BaseExp())]
NUMBERS = st.one_of(
    st.sampled_from((0, 1, -1, 2**31, 2**63, 2**64, 10**400, 0.5, 1e-300, 1e25, 1e308, -0.0)),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(),
)
VALUES = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    st.text(max_size=8),
    st.lists(NUMBERS, max_size=4).map(tuple),
    st.lists(st.text(max_size=3), max_size=4),
    st.dictionaries(st.integers(), st.text(max_size=2), max_size=2),
    st.builds(object),
)
TEXTS = st.one_of(
    VALUES.map(lambda value: str(value).replace("(", "").replace(")", "")),
    st.text(max_size=12),
    st.sampled_from(
        (
            "none",
            "true",
            "nan,nan,nan",
            "1,2,3",
            "9" * 5000,
            "1e999",
            "\ud800",
            "sgd",
            "adamw",
            "fp16",
            "cosine",
            "640x640",
            "800/1333",
            "12epochs",
            "0.5,3epochs",
        )
    ),
)


def build(exp: BaseExp) -> None:
    """Everything that an experiment composes without data, as far as it is small."""
    exp.describe()
    exp.build_loss()
    exp.build_train_transform()
    for size in (1, 100_000):
        schedule, last = exp.build_schedule(size), exp.iterations(size)
        assert all(0 <= schedule(iteration) <= 1 for iteration in (0, last // 2, last))
    from_plain(exp.describe()["model"], "model")
    small = exp.model.channels <= 64 and exp.model.tower_depth <= 4 and exp.model.backbone.width <= 64
    if small and exp.model.backbone.depth == 10 and exp.model.backbone.weights is exp.model.weights is None:
        exp.build_optimizer(exp.build_model(2))


SMALL = FCOS(ResNet(10, width=8, weights=None), channels=16, tower_depth=1)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(PATHS), TEXTS), min_size=1, max_size=3))
def test_overrides(pairs: list[tuple[str, str]]) -> None:
    exp = BaseExp()
    exp.model = SMALL
    try:
        exp.override([word for pair in pairs for word in pair])
    except UserError:
        return
    build(exp)


PARTS = [part for part in PARTS_BY_NAME.values() if field_types(part)]


@settings(max_examples=600)
@given(st.sampled_from(PARTS), st.data())
def test_values_of_a_part(part: type, data: st.DataObject) -> None:
    """Whatever a part is made with: one whose own fields fit their types, or an error."""
    values = data.draw(st.dictionaries(st.sampled_from(sorted(field_types(part))), VALUES, min_size=1, max_size=3))
    try:
        made = part(**values)
        check_part(made)
    except (UserError, ValueError, TypeError, OverflowError):
        return
    assert all(plain_again(made, name) for name in values)


def check_part(part: object) -> None:
    for name, hint in field_types(type(part)).items():
        check_value(name, getattr(part, name), hint)


def plain_again(part: object, name: str) -> bool:
    plain = to_plain(part)
    foreign = "file" in str(plain)
    return foreign or to_plain(from_plain(plain, "part"))[name] == plain[name]


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(BaseExp().describe())), VALUES, min_size=1, max_size=3))
def test_values_of_a_file(values: dict[str, object]) -> None:
    exp = BaseExp()
    exp.model = SMALL
    try:
        for name, value in values.items():
            setattr(exp, name, value)
        exp.check()
    except UserError:
        return
    exp.describe()


FILE = Path(__file__).parents[2] / "exps" / "quickstart.py"
PIECES = (
    *("class Exp(BaseExp):\n", "    lr = 1\n", "    lr: float = 'a'\n", "raise SystemExit\n", "raise KeyError\n", "\0"),
    *(
        "    def check(self):\n        raise TypeError\n",
        "Exp = 5\n",
        "Exp = BaseExp\n",
        "    x: Unknown = 1\n",
        "(" * 300,
    ),
    *(
        "    @property\n    def lr(self):\n        raise KeyError\n",
        "def __getattr__(name):\n    raise KeyError\n",
        "\udc80",
    ),
    *(
        "    def __init__(self):\n        self.lr = self\n",
        "import otadet.nothing\n",
        "    mean = [[1]]\n",
        "\ufeff",
        "\t",
    ),
    *("1" * 5000, "    def build_assigner(self):\n        raise RecursionError\n", "    name = 5\n"),
)


@settings(max_examples=250)
@given(st.data())
def test_files(tmp_path_factory, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from((FILE.read_text(encoding="utf-8"), "from otadet.exp import BaseExp\n")))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        piece = data.draw(st.one_of(st.sampled_from(PIECES), st.text(string.printable, max_size=3)))
        text = text[:place] + piece + text[place + data.draw(st.sampled_from((0, 0, 1, 50))) :]
    path = tmp_path_factory.getbasetemp() / "fuzzed.py"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        load_exp(path).describe()
    except UserError as error:
        message = str(error)
    else:
        message = str(path)
    assert message.startswith(str(path))

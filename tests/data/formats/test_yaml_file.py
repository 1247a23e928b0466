import pytest

from otadet.data.formats.yaml_file import load_yaml
from otadet.errors import UserError


def test_scalars_are_texts_as_they_are_written(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_bytes(b"\xef\xbb\xbfnames: [no, 1e3, 007, '~', ~]\r\n0: {a: 'x'}\r\n")
    assert load_yaml(path) == {"names": ["no", "1e3", "007", "~", None], "0": {"a": "x"}}
    path.write_text("")
    assert load_yaml(path) is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a: &x [1, 2]\nb: *x", "line 2: has an alias"),
        (b"a: 1\nb: 2\na: 3", "line 3: has the key 'a' twice"),
        (b"? [1]\n: 2", "line 1: a key is a list"),
        (b"- " * 50 + b"a", "nested too deeply"),
        (b"[" * 100_000, "not valid YAML"),
        (b"a: [", "not valid YAML"),
        (b"a: \x01", "not valid YAML"),
        (b"--- 1\n--- 2\n", "has 2 YAML documents"),
        (b"a: \xe9", "is not in UTF-8"),
        (b"a" * 2**22, "has 4,194,304 bytes, too many"),
    ],
)
def test_what_is_no_plain_yaml_is_named(tmp_path, data, problem):
    path = tmp_path / "data.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"data\.yaml: .*{problem}"):
        load_yaml(path)

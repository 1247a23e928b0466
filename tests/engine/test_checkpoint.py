from pathlib import Path

import pytest
import torch
from torch import nn

from otadet.engine.checkpoint import load_checkpoint, save_checkpoint
from otadet.engine.weights import load_weights
from otadet.errors import UserError


def state(model: nn.Module, ema: nn.Module | None = None, class_names: tuple[str, ...] = ("cat", "dog")) -> dict:
    return {
        "model": model.state_dict(),
        "ema": None if ema is None else ema.state_dict(),
        "class_names": list(class_names),
        "parts": {"lr": 0.1, "steps": (1, 2), "weights": None},
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.pth"
    save_checkpoint(path, state(nn.Linear(3, 2)))
    return path


def test_round_trip(saved):
    loaded = load_checkpoint(saved)
    assert loaded["parts"] == {"lr": 0.1, "steps": (1, 2), "weights": None}
    assert loaded["model"].keys() == {"weight", "bias"}
    assert loaded["format"] == 2
    assert [file.name for file in saved.parent.iterdir()] == ["last.pth"]


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"parts.*folder.*PosixPath|parts.*folder.*WindowsPath"):
        save_checkpoint(tmp_path / "last.pth", {"parts": {"folder": Path("x")}})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_cut_short(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"last\.pth: cut short"):
        load_checkpoint(saved)


def test_not_a_checkpoint(tmp_path):
    (tmp_path / "a.pth").write_text("hello, I am a text file that somebody renamed")
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "b.pth")
    torch.save([1, 2], tmp_path / "c.pth")
    for name in ("a", "b", "c"):
        with pytest.raises(UserError, match=rf"{name}\.pth: not a checkpoint of otadet"):
            load_checkpoint(tmp_path / f"{name}.pth")


def test_what_a_killed_process_left_is_never_offered(saved):
    left = saved.with_name(".last-abcd1234.pth")
    left.write_bytes(b"half")
    for path in (saved.parent, saved.with_name(".last-abcd.pth"), saved.with_name("lost.pth")):
        with pytest.raises(UserError) as caught:
            load_checkpoint(path)
        assert "abcd1234" not in str(caught.value)


def test_a_damaged_file_names_the_others(saved):
    other = saved.with_name("best.pth")
    other.write_bytes(saved.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"best\.pth: cut short or damaged.*use another checkpoint .*\(last\.pth"):
        load_checkpoint(other)
    save_checkpoint(saved, state(nn.Linear(3, 2)), previous=saved.with_name("last.previous.pth"))
    saved.write_bytes(saved.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"its predecessor .*last\.previous\.pth can take its place"):
        load_checkpoint(saved)
    load_checkpoint(saved.with_name("last.previous.pth"))


@pytest.mark.parametrize("links", [True, False])
def test_the_predecessor_is_the_file_before(saved, links, monkeypatch):
    def refuse(*names):
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    for number in range(3):
        before = saved.read_bytes()
        save_checkpoint(saved, {**state(nn.Linear(3, 2)), "iteration": number}, previous=saved.with_name("kept.pth"))
        assert saved.with_name("kept.pth").read_bytes() == before
    assert sorted(file.name for file in saved.parent.iterdir()) == ["kept.pth", "last.pth"]


def test_views_are_saved_as_what_they_show(tmp_path):
    whole = torch.arange(1e6)
    content = {**state(nn.Linear(3, 2)), "model": {"part": whole[3:6], "spread": torch.ones(1).expand(4)}}
    save_checkpoint(tmp_path / "a.pth", content)
    loaded = load_checkpoint(tmp_path / "a.pth")["model"]
    assert (loaded["part"].tolist(), loaded["spread"].tolist()) == ([3, 4, 5], [1, 1, 1, 1])
    assert (tmp_path / "a.pth").stat().st_size < 10_000


@pytest.mark.parametrize(
    "value", [10**400, torch.eye(2).to_sparse(), torch.ones(1, dtype=torch.complex64), {(1, 2): 3}, {1, 2}, b"x"]
)
def test_what_would_be_refused_is_not_saved(tmp_path, value):
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "last.pth", {**state(nn.Linear(3, 2)), "extra": value})
    assert not any(tmp_path.iterdir())


def test_missing_names_a_neighbour(saved):
    with pytest.raises(UserError, match=r"no such checkpoint; did you mean '.*last\.pth'"):
        load_checkpoint(saved.with_name("lst.pth"))


def test_a_newer_format_is_refused(saved):
    loaded = load_checkpoint(saved)
    torch.save({**loaded, "format": 99, "otadet": "9.9"}, saved)
    with pytest.raises(UserError, match=r"newer otadet \(9\.9\)"):
        load_checkpoint(saved)


def test_averaged_weights_are_preferred(tmp_path):
    model, ema, target = (nn.Linear(3, 2) for _ in range(3))
    save_checkpoint(tmp_path / "a.pth", state(model, ema))
    load_weights(target, tmp_path / "a.pth", ["cat", "dog"])
    assert torch.equal(target.weight, ema.weight)


@pytest.mark.parametrize("names", [("cat",), ("dog", "cat"), ("cat", "dog", "cow")])
def test_other_classes_are_listed(saved, names):
    with pytest.raises(UserError, match=rf"2 classes \(cat, dog\).*{len(names)} \({', '.join(names)}\)"):
        load_weights(nn.Linear(3, 2), saved, names)


def test_another_shape_is_named(saved):
    with pytest.raises(UserError, match=r"2 of another shape \(weight \(2, 3\) for \(5, 3\), bias"):
        load_weights(nn.Linear(3, 5), saved)


def test_another_architecture_is_named(saved):
    with pytest.raises(UserError, match=r"missing \(0\.weight, 0\.bias\); 2 unknown \(weight, bias\)"):
        load_weights(nn.Sequential(nn.Linear(3, 2)), saved)

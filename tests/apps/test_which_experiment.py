"""Which experiment a training is of: the file's, the checkpoint's, or the one that comes with otadet."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import otadet
from otadet.apps.train import configured, main, parse_args
from otadet.engine import checkpoint as checkpoint_module
from otadet.engine.checkpoint import ReadCheckpoint, save_checkpoint
from otadet.errors import UserError
from otadet.exp import load_exp
from otadet.exp.load import shipped_folder

ROOT = Path(otadet.__file__).parents[1]


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A checkpoint of blood_cells with another rate, of which the weights do not matter."""
    exp = load_exp("blood_cells")
    exp.override(["lr", "0.5"])
    path = tmp_path / "run" / "last.pth"
    path.parent.mkdir()
    save_checkpoint(path, {"model": {}, "parts": exp.describe(), "experiment": exp.about()})
    return path


def test_what_cannot_be_handed_to_other_processes_is_one_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from otadet.exp import *\nclass Exp(BaseExp):\n    def __init__(self):\n"
        "        self.augment = (lambda sample, rng: sample,)\n"
    )
    with pytest.raises(UserError, match=r"mine cannot be handed to the processes of -d .*lambda"):
        main(["-f", str(file), "-d", "2", "--device", "cpu", "--output", str(tmp_path / "out")])


def test_without_anything_it_is_the_quickstart() -> None:
    exp = configured(parse_args(["lr", "0.25", "-b", "4", "--amp"]))
    assert (exp.name, exp.optimizer.lr, exp.run.batch_size, exp.run.amp) == ("quickstart", 0.25, 4, True)


@pytest.mark.parametrize(
    "words", ["-c {path}", "--resume {path}", "--resume auto --output {folder}", "--output {folder} --resume"]
)
def test_a_checkpoint_says_which(words: str, described: Path) -> None:
    words = words.format(path=described, folder=described.parent)
    exp = configured(parse_args(words.split()))
    assert (exp.name, exp.optimizer.lr) == ("blood_cells", 0.5)


def test_the_file_has_the_last_word(described: Path) -> None:
    assert configured(parse_args(["-f", "quickstart", "-c", str(described)])).name == "quickstart"


@pytest.mark.parametrize(
    "name", ["quickstart", "exps/quickstart.py", "ablation/tab2_atss", "exps/ablation/tab2_atss.py"]
)
def test_experiments_that_come_along_are_found_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_exp(name).name == Path(name).stem


def test_another_name_says_which_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"quikstart: no such .*ablation/tab1_fcos, .*did you mean 'quickstart'"):
        load_exp("quikstart")


def test_the_experiments_are_part_of_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("setuptools")
    from distutils.core import run_setup  # setuptools brings it where Python has none any more

    monkeypatch.chdir(ROOT)
    setup = run_setup("setup.py", stop_after="init")
    inside = {Path(setup.package_dir[name]) for name in setup.packages if name.startswith("otadet.exps")}
    assert inside == {file.parent.relative_to(ROOT) for file in (ROOT / "exps").rglob("*.py")}
    package = tmp_path / "otadet"
    shutil.copytree(ROOT / "exps", package / "exps")
    monkeypatch.setattr(otadet, "__file__", str(package / "__init__.py"))
    assert shipped_folder() == package / "exps"
    assert load_exp("quickstart").name == "quickstart"


TINY = (
    "model.backbone.width 8 model.channels 8 model.tower_depth 1 input.resize 64x64 image_size 64 images_train 2 "
    "images_val 2 batch_size 2 log_every 1"
)


def test_a_checkpoint_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = checkpoint_module.read_torch_file

    def counting(path: Path) -> object:
        read.append(path)
        return real(path)

    data, out = tmp_path / "data", tmp_path / "out"
    last, best = out / "last.pth", out / "best.pth"
    first = [*TINY.split(), "data", str(data), "length", "1iterations"]
    main(["--device", "cpu", "--output", str(out), *first])
    monkeypatch.setattr(checkpoint_module, "read_torch_file", counting)
    for path, words in (
        (last, ["--resume", str(last), "length", "2iterations"]),
        (last, ["--resume", "auto", "--output", str(out), "length", "3iterations"]),
        (best, ["-c", str(best), "--output", str(tmp_path / "tuned")]),
        (best, ["-f", "quickstart", "-c", str(best), *first, "--output", str(tmp_path / "again")]),
    ):
        read.clear()
        main(["--device", "cpu", *words])
        # At the end the run's own best.pth is read, for the pictures.
        assert read.count(path) == 1


def test_a_checkpoint_that_was_replaced_is_not_taken_for_what_was_read(tmp_path: Path) -> None:
    path, other = tmp_path / "last.pth", tmp_path / "other.pth"
    for file in (path, other):
        save_checkpoint(file, {"model": {}})
    read = ReadCheckpoint(path)
    assert read.take(other) is None
    save_checkpoint(path, {"model": {}})
    assert read.take(path) is None
    read = ReadCheckpoint(path)
    state = read.take(path)
    assert state is not None
    assert state["model"] == {}
    # It would be kept in memory as long as the training runs.
    assert read.state is None
    assert read.take(path) is None


def test_a_checkpoint_alone_starts_no_more_processes_than_there_are_cores(tmp_path: Path) -> None:
    from otadet.apps.arguments import load_experiment
    from otadet.apps.evaluate import parser
    from otadet.engine.cores import usable_cores

    exp, path = load_exp("blood_cells"), tmp_path / "foreign.pth"
    exp.override(["workers", "1024"])
    save_checkpoint(path, {"model": {}, "parts": exp.describe(), "experiment": exp.about()})
    assert load_experiment(parser().parse_args(["-c", str(path)]), ("run",))[0].run.workers == usable_cores()
    # Who asks for them by name gets them.
    assert load_experiment(parser().parse_args(["-c", str(path), "workers", "99"]), ("run",))[0].run.workers == 99
    # A training, too, whose loader processes are as many again.
    assert configured(parse_args(["-c", str(path)])).run.workers == usable_cores()
    assert configured(parse_args(["--resume", str(path), "workers", "99"])).run.workers == 99


def test_a_checkpoint_alone_writes_no_cache_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    exp, path = load_exp("blood_cells"), tmp_path / "foreign.pth"
    exp.override(["cache", "disk", "cache_folder", str(tmp_path / "elsewhere")])
    save_checkpoint(path, {"model": {}, "parts": exp.describe(), "experiment": exp.about()})
    with pytest.raises(UserError, match=r"its run.cache_folder would be written, .*elsewhere"):
        configured(parse_args(["--resume", str(path)]))
    assert configured(parse_args(["-c", str(path), "cache_folder", "cells"])).run.cache_folder == "cells"


def test_a_checkpoint_alone_draws_shapes_below_the_working_directory_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from otadet.apps.arguments import load_experiment
    from otadet.apps.evaluate import parser

    def evaluated(*words: str, needed: tuple[str, ...] = ("data", "run")) -> str:
        return load_experiment(parser().parse_args(["-c", str(path), *words]), needed)[0].data.folder

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    elsewhere, path = str(tmp_path / "elsewhere"), tmp_path / "foreign.pth"
    exp = load_exp("quickstart")
    exp.override([*TINY.split(), "data.folder", elsewhere])
    save_checkpoint(path, {"model": {}, "parts": exp.describe(), "experiment": exp.about()})
    said = r"foreign.pth: its data.folder would be written, .*elsewhere, .*say so, `data.folder FOLDER`"
    for attempt in (evaluated, lambda: configured(parse_args(["-c", str(path)]))):
        with pytest.raises(UserError, match=said):
            attempt()
    assert evaluated(needed=("model",)) == elsewhere
    assert evaluated("data.folder", elsewhere) == elsewhere
    assert evaluated("folder", "below") == "below"
    exp.build_val_dataset()  # what is there already is only read
    assert evaluated() == elsewhere
    with pytest.raises(UserError, match=said):
        evaluated("image_size", "96")


def test_what_changes_nothing_in_an_app_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from otadet.apps.arguments import load_experiment
    from otadet.apps.evaluate import NEEDED, parser

    exp, path = load_exp("blood_cells"), tmp_path / "best.pth"
    save_checkpoint(path, {"model": {}, "parts": exp.describe(), "experiment": exp.about()})
    settings = "lr 0.1 nms_iou 0.5 assigner simota batch_size 2 max_pixels 1000"
    for words in (f"-c {path} {settings}", f"-f blood_cells -c {path} {settings}"):
        load_experiment(parser().parse_args(words.split()), NEEDED)
        said = capsys.readouterr()
        assert "optimizer.lr" in said.err
        assert {*said.err.removeprefix("note: ").partition(":")[0].split(", ")} == {"assigner", "optimizer.lr"}
        assert not said.out
    own = tmp_path / "own.py"
    own.write_text("from otadet.exp import *\nclass Exp(BaseExp):\n    def build_model(self, n):\n        self.model\n")
    load_experiment(parser().parse_args(["-f", str(own), "-c", str(path), "lr", "0.1"]), NEEDED)
    assert not capsys.readouterr().err

import sys

import pytest
from loguru import logger

from otadet.engine.log import configure_log
from otadet.engine.run_folder import RUN_FILES, archive_previous_run
from otadet.files import remove_temporaries


@pytest.fixture(autouse=True)
def _restore_log():
    yield
    logger.remove()
    logger.add(sys.stderr)


def test_an_earlier_run_is_moved_aside_and_other_files_stay(tmp_path):
    for number in (1, 2):
        (tmp_path / "last.pth").write_text(f"run {number}")
        (tmp_path / "notes.txt").write_text("mine")
        archive_previous_run(tmp_path)
        assert (tmp_path / f"previous-{number}" / "last.pth").read_text() == f"run {number}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "previous-1", "previous-2"]


def test_an_empty_folder_is_left_alone(tmp_path):
    archive_previous_run(tmp_path)
    assert not any(tmp_path.iterdir())


def test_log_lines_are_plain_and_go_to_the_file_too(tmp_path, capsys):
    configure_log(tmp_path / "train.log")
    logger.info("started with {braces}")
    logger.warning("careful")
    for text in (capsys.readouterr().err, (tmp_path / "train.log").read_text()):
        assert [line.split(" ", 1)[1] for line in text.splitlines()] == ["started with {braces}", "WARNING: careful"]


def test_the_log_of_other_processes_is_quiet(capsys):
    configure_log(quiet=True)
    logger.warning("careful")
    assert capsys.readouterr().err == ""


def test_only_what_was_left_of_our_own_files_is_removed(tmp_path):
    left = [".last-ab_d1234.pth", ".best-00000000.pth", ".metrics-abcdefgh.csv", ".last.previous-abcdefgh.pth"]
    others = [".last-ABCD1234.pth", ".last-abcd.pth", ".mine-abcd1234.pth", "last-abcd1234.pth", ".last-abcd1234.csv"]
    for name in left + others:
        (tmp_path / name).write_text("x")
    (tmp_path / ".last-folder12.pth").mkdir()
    removed = remove_temporaries(*(tmp_path / name for name in RUN_FILES))
    assert sorted(path.name for path in removed) == sorted(left)
    assert {path.name for path in tmp_path.iterdir()} == {*others, ".last-folder12.pth"}

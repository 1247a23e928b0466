"""Lines of the log of tools that make no run; those of a run are tests of the training."""

from loguru import logger

from otadet.engine.log import configure_log, configure_plain_log


def test_a_tool_without_a_run_prints_plain_lines(capsys):
    configure_plain_log()
    try:
        logger.info("drawing {shapes}")
        logger.warning("best.pth: other values")
    finally:
        configure_log(quiet=True)
    assert capsys.readouterr().err == "drawing {shapes}\nwarning: best.pth: other values\n"

import io

from otadet.engine.progress import Progress, as_duration
from tests.helpers.logs import logged


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(action) -> list[str]:
    with logged() as lines:
        action()
    return lines


def test_a_line_an_interval_when_the_output_is_no_terminal():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(100, 0, stream=stream, clock=clock)
    clock.now = 10
    progress.update(20)
    (line,) = lines_of(lambda: progress.report(20, {"loss": 0.51234, "lr": 0.01}))
    assert line == " 20/100  loss 0.5123  lr 0.01  2 it/s  ETA 0:40\n"
    assert stream.getvalue() == ""


def test_the_first_line_is_early_and_the_others_are_regular_whatever_the_interval():
    clock = Clock()
    progress = Progress(1000, 0, stream=io.StringIO(), clock=clock)

    def iterations() -> None:
        progress.begin()
        for iteration in range(1, 61):
            clock.now += 2
            progress.update(iteration)
            if iteration == 40:
                progress.report(iteration, {"loss": 1.0})

    assert lines_of(iterations) == [
        "   0/1000  starting; the first iteration may take longer\n",
        "   3/1000  0.5 it/s  ETA 33:14\n",
        "  18/1000  0.5 it/s  ETA 32:44\n",
        "  33/1000  0.5 it/s  ETA 32:14\n",
        "  40/1000  loss 1  0.5 it/s  ETA 32:00\n",
        "  55/1000  0.5 it/s  ETA 31:30\n",
    ]


def test_a_slow_first_iteration_is_announced_and_reported():
    clock = Clock()
    progress = Progress(100, 0, stream=io.StringIO(), clock=clock)
    assert len(lines_of(progress.begin)) == 1
    clock.now = 40
    assert lines_of(lambda: progress.update(1)) == ["  1/100  0.025 it/s  ETA 1:06:00\n"]


def test_the_lines_of_the_clock_leave_the_averages_of_the_interval_alone():
    clock = Clock()
    progress = Progress(100, 0, stream=io.StringIO(), clock=clock)
    clock.now = 10
    assert len(lines_of(lambda: progress.update(5))) == 1
    clock.now = 20
    assert progress.report(20, {}) == 1


def test_an_evaluation_does_not_make_a_line_due():
    clock = Clock()
    progress = Progress(100, 0, stream=io.StringIO(), clock=clock)
    clock.now = 6
    assert len(lines_of(lambda: progress.update(1))) == 1
    with progress.paused():
        clock.now = 600
    clock.now = 601
    assert not lines_of(lambda: progress.update(2))


def test_no_lines_in_a_terminal_or_in_other_processes():
    for options in ({"stream": Terminal()}, {"stream": io.StringIO(), "quiet": True}):
        clock = Clock()
        progress = Progress(100, 0, clock=clock, **options)

        def iterations(progress=progress, clock=clock) -> None:
            progress.begin()
            clock.now = 100
            progress.update(1)

        assert not lines_of(iterations)


def test_the_bar_is_there_from_the_start():
    stream = Terminal()
    Progress(100, 0, stream=stream, clock=Clock()).begin()
    assert "  0/100  ETA ?" in stream.getvalue()


def test_one_line_that_redraws_itself_in_a_terminal():
    clock, stream = Clock(), Terminal()
    progress = Progress(100, 0, stream=stream, clock=clock)
    clock.now = 10
    assert not lines_of(lambda: progress.report(20, {"loss": 0.5}))
    clock.now = 11
    progress.update(21)
    drawn = stream.getvalue().split("\r")[-1]
    assert "####................  21/100  ETA 0:41  loss 0.5  2 it/s" in drawn
    assert "\n" not in stream.getvalue()


def test_the_bar_is_not_redrawn_more_often_than_anybody_can_read():
    clock, stream = Clock(), Terminal()
    progress = Progress(1000, 0, stream=stream, clock=clock)
    for iteration in range(1, 101):
        clock.now += 0.001
        progress.update(iteration)
    assert stream.getvalue().count("\r") <= 1


def test_a_pause_does_not_count_as_slow_iterations():
    clock = Clock()
    progress = Progress(100, 0, quiet=True, stream=io.StringIO(), clock=clock)
    clock.now = 2
    with progress.paused():
        clock.now = 60
    clock.now = 64
    assert progress.report(12, {}) == 2


def test_speed_and_eta_of_a_resumed_run_leave_out_what_was_done_before():
    clock = Clock()
    progress = Progress(100, 80, stream=io.StringIO(), clock=clock)
    clock.now = 5
    (line,) = lines_of(lambda: progress.report(90, {}))
    assert "2 it/s  ETA 0:05" in line


def test_durations():
    assert [as_duration(seconds) for seconds in (0, 59.6, 3599, 3600, 90061)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:00:00",
        "25:01:01",
    ]


def test_a_terminal_that_is_closed_is_not_written_to_any_more():
    class Closed(Terminal):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    clock = Clock()
    progress = Progress(100, 0, stream=Closed(), clock=clock)

    def iterations() -> None:
        progress.begin()
        clock.now = 10
        progress.report(20, {"loss": 0.5})
        progress.clear()

    assert lines_of(iterations) == [" 20/100  loss 0.5  2 it/s  ETA 0:40\n"]

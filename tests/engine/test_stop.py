import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from otadet.cli import run
from otadet.engine import stop as stop_module
from otadet.engine.stop import INTERRUPTED, AnswersEarly, Interruption, StopRequest
from otadet.signals import held_back_signals, stop_signals

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _handlers():
    before = {number: signal.getsignal(number) for number in (*stop_signals(), signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.unraisablehook = sys.__unraisablehook__


@pytest.fixture
def clock(monkeypatch):
    """A list whose only element is the time."""
    now = [100.0]
    monkeypatch.setattr(stop_module.time, "monotonic", lambda: now[0])
    return now


def send(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_only_asks(number, capfd):
    with StopRequest() as stop:
        assert not stop.requested
        send(number)
        assert stop.requested
    assert capfd.readouterr().err == "stopping at the next safe point; Ctrl-C again stops at once\n"


def test_the_wish_of_a_terminal_that_has_been_closed_is_granted(monkeypatch):
    """It can be told no more that the wish was heard."""

    def write(descriptor, line):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(stop_module.os, "write", write)
    with StopRequest() as stop:
        send(signal.SIGHUP)
        assert stop.requested
    ended = []
    monkeypatch.setattr(stop_module.os, "_exit", ended.append)
    stop_module.end_at_once()
    assert ended == [INTERRUPTED]


def test_a_second_ctrl_c_interrupts_unless_it_is_an_echo_of_the_first(clock):
    with StopRequest():
        send()
        send()
        clock[0] += 2
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            send()


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_what_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop:
        send(signal.SIGHUP)
        assert not stop.requested


def test_an_interruption_is_one_keyboard_interrupt_however_often_it_is_said(clock):
    interruption = Interruption()
    interruption.install()
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
    send(signal.SIGTERM)
    send(signal.SIGINT)
    assert interruption.requested


def test_the_watch_ends_however_many_signals_came(clock):
    for _ in range(50):
        interruption = Interruption()
        interruption.install()
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)
        send(signal.SIGINT)
        interruption.uninstall()


def test_a_tool_ends_with_130_also_when_its_interruption_turns_into_another_error(capsys):
    def main():
        try:
            send(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise ImportError("numpy is not there") from error

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_errors_of_a_tool_that_nobody_interrupted_stay_errors():
    def main():
        raise ImportError("numpy is not there")

    with pytest.raises(ImportError):
        run(main)


@pytest.mark.parametrize(
    "program",
    [
        # Before the tool runs; in the midst of an import; where Python prints exceptions and goes on; at its end.
        "os.kill(os.getpid(), number)",
        "run(lambda: __import__('interrupted_module'))",
        "run(lambda: [type('Falls', (), {'__del__': lambda self: os.kill(os.getpid(), number)})() and None])",
        "run(lambda: None); atexit.register(os.kill, os.getpid(), number)",
        "run_tool(lambda: atexit.register(os.kill, os.getpid(), number))",
        "run(lambda: time.sleep(9) if os.fork() else (os.kill(os.getpid(), number), os.kill(os.getppid(), number)))",
    ],
)
def test_a_signal_at_any_moment_ends_a_tool_with_one_line(program, tmp_path):
    (tmp_path / "interrupted_module.py").write_text(
        "import os, signal\ntry: os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException: raise ImportError\n"
    )
    ended = run_program(
        f"""
        from otadet.engine.stop import end_at_once_on_signals
        end_at_once_on_signals()
        import atexit, os, signal, time
        from otadet.cli import run, run_tool
        number = signal.SIGTERM
        {program}
        """,
        tmp_path,
    )
    assert (ended.returncode, ended.stderr) == (INTERRUPTED, "interrupted\n")


@pytest.mark.skipif(sys.platform != "linux", reason="a lock of Linux")
def test_a_call_into_c_that_does_not_return_is_not_waited_for(tmp_path):
    ended = run_program(
        """
        import ctypes, os, signal, threading
        from otadet.cli import run
        lock, lock_it = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        run(lambda: (lock_it(lock), lock_it(lock)))
        """,
        tmp_path,
    )
    assert (ended.returncode, ended.stderr) == (INTERRUPTED, "interrupted\n")


def run_program(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run `code` in a process that can import otadet and what is in `folder`."""
    path = os.pathsep.join((str(ROOT), str(folder)))
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=100)


def test_a_run_leaves_no_threads_and_files_behind():
    run(lambda: None)
    before = threading.active_count()
    for _ in range(3):
        run(lambda: None)
    assert threading.active_count() == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked there")
def test_the_end_of_a_run_does_not_wait_for_processes_that_it_has_forked():
    pids = []

    def main():
        pids.append(os.fork())
        if not pids[0]:
            time.sleep(10)
            os._exit(0)

    run(main)
    assert os.waitpid(pids[0], os.WNOHANG) == (0, 0)
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)


def test_what_a_tool_imports_first_takes_no_time():
    code = "import sys, otadet.cli, otadet.engine.stop; print({'torch', 'numpy', 'loguru'} & set(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert ended.stdout.strip() == b"set()"


class Heavy:
    """Stands for a function whose module takes seconds to import: unpickled, it says which signals are held back."""

    def __reduce__(self):
        return held_back_now, ()


def held_back_now() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signals to hold back")
def test_a_spawned_process_answers_signals_before_it_imports_what_it_is_to_do():
    """Else the launcher would kill it after a grace, on a busy machine; whatever the main module is."""
    handlers = {number: signal.getsignal(number) for number in stop_signals()}
    pickled = pickle.dumps(AnswersEarly(Heavy()))
    try:
        with held_back_signals():
            assert held_back_now() >= set(handlers)
            early = pickle.loads(pickled)
            assert not early.fn & set(handlers)
            assert all(signal.getsignal(number) is not handler for number, handler in handlers.items())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_spawned_process_that_still_imports_ends_at_once_and_says_nothing(tmp_path):
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb')); print('went on')"
    module = tmp_path / "slow_to_import.py"
    module.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\ndef fn(): pass\n")
    file = tmp_path / "pickled"
    slow = textwrap.dedent("""
        import pickle, sys, types
        from otadet.engine.stop import AnswersEarly
        module = sys.modules["slow_to_import"] = types.ModuleType("slow_to_import")
        exec("def fn(): pass", vars(module))
        pickle.dump(AnswersEarly(module.fn), open(sys.argv[1], "wb"))
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])}
    subprocess.run([sys.executable, "-c", slow, file], env=environment, check=True)
    ended = subprocess.run([sys.executable, "-c", code, file], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (INTERRUPTED, "", "")

"""Turns Ctrl-C and SIGTERM into a quiet end with status 130, or a stop request, honoured at the next safe point.

Imports next to nothing, so that a tool can call `end_at_once_on_signals` before anything that takes seconds.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from otadet.signals import stop_signals, take_signals
from otadet.streams import flush_output

INTERRUPTED = 130
"""Exit status of a process that Ctrl-C or SIGTERM ended."""
REPEAT_SECONDS = 1.0
"""`timeout`, launchers and terminals send one wish more than once; only a person repeats it later than this."""
STUCK_SECONDS = 3.0
"""After which a signal that has found no answer ends a process that has nothing to save."""
_INTERRUPTED_LINE = "interrupted"


Handler = Callable[[int, "FrameType | None"], None]


class Stopped(KeyboardInterrupt):
    """A wish to stop was granted, and what there is to say about it has been said."""


class EvaluationStopped(Exception):
    """An evaluation was left because of a wish to stop; there is no result of it."""


def end_at_once_on_signals() -> None:
    """From now on Ctrl-C and SIGTERM end this process at once, with one line and status 130.

    For times in which Python code cannot end in order: C extensions turn a KeyboardInterrupt that hits their import
    into other errors or lose it, and an interpreter that shuts down prints it with a traceback.
    """
    _install(_in_this_process(lambda number, frame: end_at_once()))


def end_at_once() -> None:
    """End this process without any clean-up."""
    if talks_to_user():
        _write_error(f"{_INTERRUPTED_LINE}\n".encode())
    os._exit(INTERRUPTED)


def leave(status: int) -> None:
    """End this process with its files closed and its own processes ended, but without taking Python apart.

    That takes a second and more once PyTorch is loaded, on a busy machine many, and whoever sent a signal soon sends
    one that kills.
    """
    with suppress(OSError):
        flush_output()
    atexit._run_exitfuncs()
    os._exit(status)


class AnswersEarly:
    """A function for a process that is spawned, which answers signals before it imports what the function needs.

    A process begins by unpickling what it is to do. Of this it unpickles first that signals, which were held back until
    then, end it at once and without a word, as it has nothing to save; and only then the function, whose module takes
    seconds to import. So it does not matter what the main module of the program is, or does.
    """

    def __init__(self, fn: Callable[..., None]) -> None:
        self.fn = fn

    def __call__(self, *args: Any) -> None:
        self.fn(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        # The state is unpickled after the call.
        return _answering_early, (), self.__dict__


def _answering_early() -> AnswersEarly:
    _install(lambda number, frame: os._exit(INTERRUPTED))
    take_signals()
    return AnswersEarly.__new__(AnswersEarly)


class Interruption:
    """Turns the first signal into a KeyboardInterrupt; a later one, or one during an import, ends the process at once.

    requested: whether there was a signal, which tells an interruption from the errors that it may turn into.
    """

    def __init__(self) -> None:
        self.requested = False
        self._first = 0.0
        self._pipe: int | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def install(self) -> None:
        """Answer the signals from now on."""
        handler = _in_this_process(self._handle)
        if _install(handler):
            sys.unraisablehook = self._unraisable
            self._watch(handler)

    def uninstall(self) -> None:
        """Watch for signals no longer; the handlers stay until there are others."""
        if self._thread is not None and self._pipe is not None:
            signal.set_wakeup_fd(-1)
            self._over.set()
            # Closing it would not end the thread's reading: processes that were forked meanwhile have it open too.
            # It may have ended already, of a signal that came last.
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self._pipe, b"\0")
            self._thread.join()
            os.close(self._pipe)
            self._thread = None

    def _watch(self, handler: Handler) -> None:
        """End the process where `handler` is not called: Python waits with that for the end of a call into C, such as
        one that waits for another process."""
        if os.name != "posix":
            return
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        # A signal to a process that is forked from this one is none to this one.
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))

        def watch() -> None:
            while (byte := os.read(reading, 1)) and not self._over.is_set():
                if byte[0] not in stop_signals() or signal.getsignal(byte[0]) is not handler:
                    continue
                self._over.wait(STUCK_SECONDS)
                if not self.requested and signal.getsignal(byte[0]) is handler:
                    end_at_once()
            os.close(reading)

        self._thread = threading.Thread(target=watch, name="watch for signals", daemon=True)
        self._thread.start()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and time.monotonic() - self._first < REPEAT_SECONDS:
            return
        if self.requested or _importing(frame):
            end_at_once()
        self.requested, self._first = True, time.monotonic()
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        # Raised inside a __del__ or a callback, where Python would print it and go on.
        if self.requested and unraisable.exc_type is KeyboardInterrupt:
            end_at_once()
        sys.__unraisablehook__(unraisable)


class StopRequest:
    """Inside its `with` block the first Ctrl-C, and any SIGTERM, only sets `requested`; a second Ctrl-C interrupts.

    quiet: do not say on stderr that the wish was heard.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.requested = False
        self.quiet = quiet
        self._first_interrupt: float | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self._previous = _install(_in_this_process(self._handle))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._previous)
        self._previous = {}

    def request(self) -> None:
        """Ask for a stop."""
        self.requested = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if first and not self.quiet:
            # A handler may run in the middle of a print, which is why it must not print itself.
            line = b"stopping at the next safe point; Ctrl-C again stops at once\n"
            _write_error(b"\n" + line if os.isatty(2) else line)
        if number != signal.SIGINT:
            return
        if self._first_interrupt is None:
            self._first_interrupt = time.monotonic()
        elif time.monotonic() - self._first_interrupt >= REPEAT_SECONDS:
            raise KeyboardInterrupt


def _write_error(line: bytes) -> None:
    # The signal may say that the terminal has been closed, which refuses the line.
    with suppress(OSError):
        os.write(2, line)


def _install(handler: Handler) -> dict[int, Any]:
    """Returns the handlers that were there before. Python lets only the main thread set any."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in stop_signals()}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        # None: not set by Python, which cannot set it again.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _in_this_process(handler: Handler) -> Handler:
    """A handler for this process alone: those that it forks leave the signals to it."""
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            handler(number, frame)

    return handle


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def talks_to_user() -> bool:
    """Whether this is the process that talks to the user: not one that another started, nor torchrun's second."""
    process = sys.modules.get("multiprocessing.process")
    # In one that is spawned the main module has another name before anything else is known.
    main = getattr(sys.modules.get("__mp_main__"), "__name__", None)
    started = main == "__mp_main__" or (process is not None and process.parent_process() is not None)
    return not started and os.environ.get("RANK", "0") == "0"

"""Signals that stop a command: Ctrl-C, SIGTERM and SIGHUP have one handler.

This module imports only what loads in a moment, so that the handler is set first.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# ---------------------------------------------------------------- constants

# SIGALRM repeats a Ctrl-C that was lost. Some systems lack some of the names.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM")
STOPS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
REPEAT_SECONDS = 0.05  # until a lost Ctrl-C comes again

# ---------------------------------------------------------------- handlers


@contextmanager
def on_stop(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Make the signals that stop a command call the handler while the block runs.

    A signal that this process was started to ignore, as by nohup, is still ignored.
    Has no effect outside the main thread, because Python allows it only there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPS}
    heard = [each for each in STOPS if before[each] not in (signal.SIG_IGN, None)]
    for number in heard:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def lost_stops_repeated() -> Iterator[None]:
    """Repeat a KeyboardInterrupt that Python drops because a callback can't raise it."""
    before = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, REPEAT_SECONDS)
        else:
            before(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

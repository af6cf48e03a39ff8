"""Signals that stop a command: who hears them, and that none is lost."""

import gc
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from vime_lab import signals

STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# A command that is slow to import, so that a signal arrives before it has begun.
EARLY = """
import os, signal, sys
from vime_lab import command_line

class Slow:
    def find_spec(self, name, *rest):
        if name == {name!r}:
            try:
                os.kill(os.getpid(), {number})
                sum(range(1000))  # the handler runs here
            except KeyboardInterrupt:
                {after}

sys.meta_path.insert(0, Slow())
sys.exit(command_line.main(["run", "--task", "Bandit", "--out", "out"]))
"""


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_calls_the_handler_inside_the_block_only(number):
    heard = []
    before = signal.getsignal(number)
    with signals.on_stop(lambda number, frame: heard.append(number)):
        signal.raise_signal(number)
    assert heard == [number]
    assert signal.getsignal(number) is before


def test_a_signal_that_was_ignored_stays_ignored():
    """As under nohup. Control: the others are heard."""
    heard = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.on_stop(lambda number, frame: heard.append(number)):
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert heard == [signal.SIGTERM]


def test_outside_the_main_thread_nothing_changes():
    before = [signal.getsignal(number) for number in STOPS]
    seen: list[Any] = []

    def look() -> None:
        with signals.on_stop(lambda number, frame: None):
            seen.extend(signal.getsignal(number) for number in STOPS)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == before


def stop_in_callback() -> None:
    """Receive a Ctrl-C in a callback of the garbage collection, which can't raise it."""

    def callback(phase: str, info: Any) -> None:
        gc.callbacks.remove(callback)
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))  # the handler runs here

    gc.callbacks.append(callback)
    gc.collect()


def stop_in_callback_and_wait() -> None:
    with signals.lost_stops_repeated():
        stop_in_callback()
        threading.Event().wait(60.0)


def test_a_ctrl_c_that_a_callback_drops_comes_again(monkeypatch):
    """Control: without the hook it is lost."""
    lost = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    with signals.on_stop(stop):
        stop_in_callback()
        assert len(lost) == 1
        with pytest.raises(KeyboardInterrupt):
            stop_in_callback_and_wait()
    assert len(lost) == 1


def test_other_lost_errors_go_to_the_hook_before(monkeypatch):
    lost = []
    monkeypatch.setattr(sys, "unraisablehook", lambda it: lost.append(it.exc_type))

    class Bad:
        def __del__(self) -> None:
            raise ArithmeticError

    with signals.lost_stops_repeated():
        Bad()
        gc.collect()
    assert lost == [ArithmeticError]


SWALLOWED = "raise ImportError('initialization failed')"


@pytest.mark.parametrize(
    ("name", "after", "number"),
    [
        ("argparse", "raise", signal.SIGINT),
        ("numpy", "raise", signal.SIGTERM),
        ("scipy", SWALLOWED, signal.SIGINT),
        ("vime_lab.studies.catalogue", SWALLOWED, signal.SIGHUP),
    ],
)
def test_a_stop_during_the_imports_prints_one_line(name, after, number, tmp_path):
    """Also if the import turns it into another error, as compiled modules do."""
    script = EARLY.format(name=name, number=int(number), after=after)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "\nvime-ref: interrupted\n"
    assert list(tmp_path.iterdir()) == []

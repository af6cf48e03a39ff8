"""Implementations under test, as isolated programs that exchange lines of JSON with the checker.

`python -m vime_check.programs serve IMPL` serves a Python module in a child process; any other program may answer the
same lines. If a program hangs, crashes or prints anything else, the checker kills it with its children, reports the
fault, and restarts the program for the next case. `vime_check.guard` kills it if the checker itself dies.

Needs POSIX process groups and pipes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from vime_check.serving import Answer, Served, not_an_impl, serve
from vime_check.wire import Inputs, UsageError, shown

# ---------------------------------------------------------------- constants

PROTOCOL_VERSION = 2
LINE_LIMIT = 2**20  # maximum bytes of an answer: 700 times the longest of the vectors
CHUNK = 2**16  # bytes read or written at once
STDERR_KEPT = 4096  # bytes kept of a program's stderr
# Minimum time limit for the start, because importing may take longer than a case.
START_SECONDS = 60.0
# The beginning of a line that names an error, with any prefix: "TypeError: ...",
# "Exception in thread ...", "main.c:3: error: ...".
ERROR = re.compile(r"([\w.:-]+:? )*?([\w.$]*(Error|Exception)|error(\[\w+\])?)\b")
STOP_SECONDS = 1.0  # for a program to exit by itself
MAX_SECONDS = 3600.0  # maximum time limit of an answer
MAX_MEMORY = 2**24  # MiB; maximum of the memory limit
# Environment variables that a program gets, and the beginning of others.
PASSED_ON = (
    *("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUTF8", "PYTHONIOENCODING"),
    *("PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "CONDA_PREFIX"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "NODE_PATH", "JAVA_HOME"),
    "CUDA_VISIBLE_DEVICES",
)
PASSED_ON_PREFIX = "LC_"
# Each library of linear algebra has its own; several threads may change the last bits.
THREAD_NAMES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
NO_GROUPS = "another program can be checked only on a system with process groups, such as Linux or macOS"
GUARD = Path(__file__).with_name("guard.py")
# Serves a module with the checker's own import path, given as JSON. PYTHONPATH would reach the module's children, too.
SERVE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from vime_check.serving import serve; serve(sys.argv[2])"
)

# ---------------------------------------------------------------- types


class ProtocolError(Exception):
    """A program violated the protocol; the message says how."""


class StartError(ProtocolError):
    """A program did not start."""


class Peer(Protocol):
    """An implementation that answers cases; `ask` raises ProtocolError if there is no answer."""

    name: str  # what was given: a module or a command
    own_name: str | None  # what a program calls itself
    protocol: int | None  # the version of the protocol that a program answers

    def ask(self, operation: str, inputs: Inputs, cmd: str = "run") -> Answer: ...


# ---------------------------------------------------------------- building blocks: programs under test


class Child:
    """A running program that answers lines of JSON, with its guard in a process group of its own."""

    def __init__(self, words: Sequence[str], memory: int) -> None:
        # The guard kills the program when the lifeline ends; only this process holds it.
        watched, held = os.pipe()
        self.lifeline = os.fdopen(held, "wb", buffering=0)
        guard = [sys.executable, "-I", "-S", str(GUARD), str(watched), str(memory)]
        try:
            self.process = subprocess.Popen(
                [*guard, *words],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[watched],
                start_new_session=True,
                env=environment(),
            )
        except BaseException:
            self.lifeline.close()
            raise
        finally:
            os.close(watched)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdin = self.process.stdin
        self.stdout = self.process.stdout
        self.stderr = self.process.stderr
        for stream in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(stream.fileno(), False)
        self.sequence = -1
        self.received = bytearray()
        self.complaints = b""

    def exchange(self, message: Answer, seconds: float) -> Answer:
        """Send a message, and return the answer with the same number."""
        self.sequence += 1
        line = self.converse(line_of({"seq": self.sequence, **message}), seconds)
        text = shown(line[:200].decode(errors="replace"), 60)
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            raise ProtocolError(f"not JSON: {text}") from None
        if not isinstance(answer, dict):
            raise ProtocolError(f"not a JSON object: {text}")
        if answer.get("seq") != self.sequence:
            raise ProtocolError(
                f"answered number {shown(repr(answer.get('seq')), 60)} instead of {self.sequence}"
            )
        return answer

    def converse(self, unsent: bytes, seconds: float) -> bytes:
        """Write a line and read one within the time limit; neither waits for the other."""
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.stdin, selectors.EVENT_WRITE)
            selector.register(self.stdout, selectors.EVENT_READ)
            selector.register(self.stderr, selectors.EVENT_READ)
            while unsent or b"\n" not in self.received:
                if (left := end - time.monotonic()) <= 0:
                    raise ProtocolError(f"no answer within {seconds:g} s")
                for key, _ in selector.select(left):
                    if key.fileobj is self.stdin:
                        unsent = unsent[self.write(unsent) :]
                    elif key.fileobj is self.stdout:
                        self.read()
                    elif not self.read_complaints():
                        selector.unregister(self.stderr)
                if not unsent and self.stdin in selector.get_map():
                    selector.unregister(self.stdin)
        line, _, self.received = self.received.partition(b"\n")
        return bytes(line)

    def write(self, unsent: bytes) -> int:
        try:
            return os.write(self.stdin.fileno(), unsent[:CHUNK])
        except BrokenPipeError:
            raise ProtocolError(self.how_it_ended()) from None

    def read(self) -> None:
        chunk = os.read(self.stdout.fileno(), CHUNK)
        if not chunk:
            raise ProtocolError(self.how_it_ended())
        self.received += chunk
        if len(self.received) > LINE_LIMIT:
            raise ProtocolError(f"answer longer than {LINE_LIMIT // 2**20} MiB")

    def read_complaints(self) -> bool:
        """Read the available stderr, so that the program never blocks; return False at its end."""
        chunk = os.read(self.stderr.fileno(), CHUNK)
        self.complaints = (self.complaints + chunk)[-STDERR_KEPT:]
        return bool(chunk)

    def how_it_ended(self) -> str:
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its stdin or stdout"
        with contextlib.suppress(BlockingIOError):
            for _ in range(100):  # a child that it left behind may write forever
                if not self.read_complaints():
                    break
        how = f"exited with code {code}" if code >= 0 else f"killed by {named(-code)}"
        said = error_line(self.complaints.decode(errors="replace"))
        return f"{how}: {shown(said)}" if said else how

    def stop(self) -> None:
        """Ask the program to stop, and kill it if it does not."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            os.write(
                self.stdin.fileno(), line_of({"seq": self.sequence + 1, "cmd": "stop"})
            )
            self.stdin.close()
            self.process.wait(STOP_SECONDS)
        self.end()

    def end(self) -> None:
        """Kill the program and its children; without Linux, those that left its group survive."""
        self.lifeline.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        # The group, if the program killed or stopped its guard.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()


def environment() -> dict[str, str]:
    """The environment of programs: nothing that may be secret, and one thread for linear algebra."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIX)
    }
    return {**passed, **dict.fromkeys(THREAD_NAMES, "1")}


def named(number: int) -> str:
    """A signal's name, or its number if it has none."""
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"


def error_line(text: str) -> str:
    """The last line of a program's stderr that names an error, else its last line.

    Python prints the error last; Node prints the stack below it.
    """
    lines = text.strip().splitlines()
    errors = [line for line in lines if ERROR.match(line)]
    return (errors or lines or [""])[-1]


def line_of(message: Answer) -> bytes:
    return json.dumps(message, allow_nan=False).encode() + b"\n"


class Program:
    """A program under test, restarted after it breaks; `served` is a Python module served by this package."""

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        dtype: str,
        timeout: float,
        memory: int,
        served: bool,
    ) -> None:
        self.name = name
        self.words = words
        self.dtype = dtype
        self.timeout = timeout
        self.memory = memory
        self.served = served
        self.child: Child | None = None
        self.never_started = ""
        self.own_name: str | None = None
        self.protocol: int | None = None

    def prepare(self) -> None:
        """Start before the first case. Raises UsageError if the module does not exist."""
        try:
            self.child = self.start()
        except StartError as error:
            self.never_started = str(error)

    def ask(self, operation: str, inputs: Inputs, cmd: str = "run") -> Answer:
        if self.never_started:
            raise StartError(self.never_started)
        try:
            self.child = self.child or self.start()
            if cmd != "run" and self.protocol != PROTOCOL_VERSION:
                return {"skipped": "no traces: the answer to start has no version 2"}
            answer = self.child.exchange(
                {"cmd": cmd, "operation": operation, "inputs": inputs}, self.timeout
            )
        except ProtocolError:
            self.end()
            raise
        if not self.served:
            # only `respond` is trusted to have compared the inputs
            answer.pop("mutated", None)
        return answer

    def start(self) -> Child:
        try:
            child = Child(self.words, self.memory)
        except OSError as error:
            raise StartError(f"did not start: {error.strerror}") from error

        greeting = {"cmd": "start", "version": PROTOCOL_VERSION, "dtype": self.dtype}
        try:
            answer = child.exchange(greeting, max(self.timeout, START_SECONDS))
            if self.served and "usage" in answer:
                raise UsageError(shown(answer["usage"]))
            if answer.get("ok") is not True:
                raise ProtocolError(shown(answer.get("error", answer)))
            own_name = answer.get("implementation")
            self.own_name = None if own_name is None else shown(own_name)
            # Version 1 had no traces, and its answers no version.
            same = answer.get("version") == PROTOCOL_VERSION
            self.protocol = PROTOCOL_VERSION if same else 1
        except ProtocolError as error:
            child.end()
            raise StartError(f"did not start: {error}") from error
        except BaseException:
            child.end()
            raise
        return child

    def end(self) -> None:
        child, self.child = self.child, None
        if child:
            child.end()

    def stop(self) -> None:
        if self.child:
            self.child.stop()


class Reference:
    """The reference itself, in this process and in float64, for cases of any dtype."""

    own_name: str | None = None
    protocol: int | None = None

    def __init__(self, dtype: str = "f64") -> None:
        from vime_check.cases import (
            OPERATIONS,
            TRACES,
        )  # checking other implementations needs no reference

        self.name = "the reference" if dtype == "f64" else "the reference, in float64"
        functions = {name: each.function for name, each in OPERATIONS.items()}
        traces = {name: each.start for name, each in TRACES.items()}
        self.served = Served(SimpleNamespace(**functions, **traces), "f64")

    def ask(self, operation: str, inputs: Inputs, cmd: str = "run") -> Answer:
        return self.served.respond(cmd, operation, inputs)


@contextlib.contextmanager
def peer_of(
    impl: str | None,
    command: str | None,
    dtype: str,
    timeout: float,
    memory: int | None = None,
) -> Iterator[Peer]:
    """The implementation under test; kills it with its children at the end. Raises UsageError if there is none."""
    checked_text("impl", impl)
    checked_text("command", command)
    timeout = checked_timeout(timeout)
    memory = 0 if memory is None else checked_whole("memory", memory, 1, MAX_MEMORY)
    if impl is None and command is None:
        yield Reference(dtype)
        return

    # A program, killed at the end.
    words = command_of(impl, command)
    name = impl or shlex.join(words)
    program = Program(name, words, dtype, timeout, memory, served=impl is not None)
    program.prepare()
    try:
        yield program
    finally:
        program.stop()


def command_of(impl: str | None, command: str | None) -> list[str]:
    """The command that serves an implementation, as a list of words. Raises UsageError if arguments are invalid."""
    if impl is not None and command is not None:
        raise UsageError("IMPL and --exec exclude each other")
    if not hasattr(os, "killpg"):
        raise UsageError(NO_GROUPS)

    # A Python module is served by this one.
    if impl is not None:
        if not all(
            part.isidentifier() for part in impl.replace(":", ".", 1).split(".")
        ):
            raise UsageError(not_an_impl(impl))
        path = [each for each in sys.path if isinstance(each, str) and each]
        path.append(str(GUARD.parent.parent))  # where this package is
        return [sys.executable, "-P", "-c", SERVE, json.dumps(path), impl]

    # Any other program is named by the command.
    try:
        words = shlex.split(command or "")
    except ValueError as error:
        raise UsageError(f"command --exec: {error}") from error
    if not words or shutil.which(words[0]) is None:
        raise UsageError(f"command --exec: no such program: {shown(repr(command))}")
    return words


# ---------------------------------------------------------------- argument checks


def checked_timeout(value: Any) -> float:
    """A time limit in seconds. Raises UsageError if it is none."""
    wanted = f"timeout must be a number > 0 and <= {MAX_SECONDS:g} seconds"
    number = isinstance(
        value, int | float | np.integer | np.floating
    ) and not isinstance(value, bool)
    if not number or not 0.0 < value <= MAX_SECONDS:
        raise UsageError(f"{wanted}, got {shown(repr(value), 60)}")
    return float(value)


def checked_whole(name: str, value: Any, least: int, most: float = math.inf) -> int:
    """A whole number in this range. Raises UsageError if it is none."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        to = "" if most == math.inf else f" and <= {most}"
        wanted = f"{name} must be a whole number >= {least}{to}"
        raise UsageError(f"{wanted}, got {shown(repr(value), 60)}")
    return int(value)


def checked_flag(name: str, value: Any) -> None:
    """Raise UsageError unless the value is True or False."""
    if not isinstance(value, bool):
        got = shown(repr(value), 60)
        raise UsageError(f"{name} must be True or False, got {got}")


def checked_text(name: str, value: Any) -> None:
    """Raise UsageError unless the value is a text or None."""
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} must be a text, got {shown(repr(value), 60)}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", name]:
            serve(name)
        case _:
            sys.exit("usage: python -m vime_check.programs serve IMPL")

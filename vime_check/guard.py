"""The guard of a program under test: it starts the program, and kills it when the checker is gone.

`python -I -S guard.py LIFELINE MEMORY PROGRAM ...` runs PROGRAM with this process's streams. The checker holds the
other end of the pipe LIFELINE. The pipe ends when the checker closes it or dies, even by SIGKILL. The guard then kills
the program, its process group, and on Linux all its descendants.

MEMORY limits the program's address space in MiB, if it is not 0. If the program exits, the guard kills what it left,
and exits in the same way.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

# ---------------------------------------------------------------- constants

# Signals that a program may send to its whole group, in which the guard is, too.
OF_THE_GROUP = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
# Signals that Python ignores, and other programs expect to die from.
RESTORED = ("SIGPIPE", "SIGXFSZ")
NOT_STARTED = 127  # exit code, as a shell has it
# Linux: prctl.
DIE_WITH_PARENT = 1
ADOPT_ORPHANS = 36

# ---------------------------------------------------------------- the program's process


def become(
    words: Sequence[str], memory: int, handlers: Mapping[int, Any], parent: int
) -> NoReturn:
    """Turn this process into the program; its stderr says why if that fails."""
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if memory:
            limit_memory(memory * 2**20)
        prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() == parent:  # else the guard died before the last line
            os.execvp(words[0], [*words])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        os.write(2, f"{reason}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def limit_memory(most: int) -> None:
    """Limit the address space, so that larger allocations fail; a lower limit of the system stays."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


# ---------------------------------------------------------------- waiting and killing


def status_of(child: int, lifeline: int, wakeups: int) -> int | None:
    """The program's status when it has exited, or None if the checker is gone."""
    with selectors.DefaultSelector() as selector:
        selector.register(lifeline, selectors.EVENT_READ)
        selector.register(wakeups, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if lifeline in ready:
                return None
            os.read(wakeups, 4096)
            found = reaped()
            if child in found:
                return found[child]


def reaped() -> dict[int, int]:
    """The status of each child that has exited: the program and adopted orphans."""
    found = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            found[pid] = status
    return found


def kill_descendants() -> None:
    """Kill all children, and then those that their deaths make children of this process; Linux only."""
    killed = [pid for pid in children() if kill(pid)]
    while killed:
        for pid in killed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        killed = [pid for pid in children() if kill(pid)]


def children() -> list[int]:
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(each) for each in file.read().split()]
    except OSError:
        return []  # not Linux, or /proc is not there


def kill(pid: int) -> bool:
    """Kill a child; return whether this process may."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def exit_like(status: int) -> NoReturn:
    """Exit with the program's code, or die by its signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


# ---------------------------------------------------------------- the guard's process


def watch_over(lifeline: int, memory: int, words: Sequence[str]) -> None:
    """Run the program until it exits or the checker is gone."""
    os.set_inheritable(lifeline, False)  # the program gets its streams only
    prctl(ADOPT_ORPHANS, 1)

    # Survive what the program sends to its group; the program itself gets the former handlers.
    handlers: dict[int, Any] = dict.fromkeys(signals_of(RESTORED), signal.SIG_DFL)
    handlers |= {each: ignore(each) for each in signals_of(OF_THE_GROUP)}
    wakeups = wakeups_by_children()

    # Start the program, and leave the streams to it.
    this = os.getpid()
    child = os.fork()
    if not child:
        become(words, memory, handlers, this)
    release_streams()

    # Wait, and leave nothing behind.
    status = status_of(child, lifeline, wakeups)
    if status is None:
        kill(child)
    kill_descendants()
    if status is not None:
        exit_like(status)
    os.killpg(0, signal.SIGKILL)  # this process, too


def signals_of(names: Sequence[str]) -> list[signal.Signals]:
    return [signal.Signals[name] for name in names]


def ignore(number: int) -> Any:
    """Ignore a signal from now on; return its former handler."""
    return signal.signal(number, signal.SIG_IGN)


def wakeups_by_children() -> int:
    """A pipe that can be read after a child has exited."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def release_streams() -> None:
    """Close the standard streams, so that they end when the program closes them."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)


def prctl(option: int, value: int) -> None:
    """Set an option of this process on Linux; do nothing elsewhere."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    watch_over(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

"""The guard: a program ends with all its children when the checker is gone, and its end is told as it was."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from check_helpers import ROOT, alive, assert_rest_is_good, module, program, statuses

from vime_check import guard
from vime_check.judge import check

pytestmark = pytest.mark.usefixtures("vectors")

PATIENCE = 60.0  # seconds until a test of processes gives up
LINUX = sys.platform == "linux"
# Ignores all signals that can be ignored, forks a child, on Linux one that leaves the group, and hangs.
HANGS = f"""
import os, signal, time
def hang(name):
    with open("new" + name, "w") as file:
        file.write(str(os.getpid()))
    os.rename("new" + name, name)
    while True:
        time.sleep(60)
def softplus(*_, **__):
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if not os.fork():
        if {LINUX} and not os.fork():
            os.setsid()
            hang("pid_left")
        hang("pid_child")
    hang("pid_own")
"""
PIDS = ["pid_own", "pid_child", *(["pid_left"] if LINUX else [])]
# A program that never reads or writes.
SILENT = f"{HANGS}softplus()"
COMMAND = """
import sys
from pathlib import Path
from vime_check import programs
from vime_lab.command_line import main
if {unguarded}:
    programs.GUARD = Path("unguarded.py")
sys.exit(main(sys.argv[1:]))
"""
# What the checker did without a guard: it started the program in a session of its own.
UNGUARDED = "import os, sys; os.execvp(sys.argv[3], sys.argv[3:])"


def pids_of_a_killed_checker(
    command: str, over: str, number: int, unguarded: bool = False
) -> list[int]:
    """The processes of a hung program, after a signal ended its checker."""
    Path("unguarded.py").write_text(UNGUARDED)
    Path("mine.py").write_text(HANGS)
    Path("silent.py").write_text(SILENT)
    words = {
        "module": ["mine"],
        "exec": ["--exec", shlex.join([sys.executable, "silent.py"])],
    }[over]
    script = COMMAND.format(unguarded=unguarded)
    words = [sys.executable, "-c", script, command, *words, "--only", "softplus"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as checker:
        wait_for(lambda: all(Path(name).exists() for name in PIDS))
        pids = [int(Path(name).read_text()) for name in PIDS]
        assert all(map(runs, pids))
        checker.send_signal(number)
    return pids


def wait_for(condition) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def runs(pid: int) -> bool:
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
    )
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


@pytest.mark.parametrize(
    ("command", "over", "number"),
    [
        ("check", "module", signal.SIGKILL),
        ("check", "exec", signal.SIGKILL),
        ("fuzz", "module", signal.SIGKILL),
        ("check", "module", signal.SIGINT),
        ("check", "exec", signal.SIGINT),
    ],
)
def test_a_hung_program_and_its_children_end_with_the_checker(
    command: str, over: str, number: int
) -> None:
    pids = pids_of_a_killed_checker(command, over, number)
    wait_for(lambda: not any(map(runs, pids)))


def test_control_without_the_guard_a_hung_program_survives_its_checker() -> None:
    """It ignores that its stdin ends, and it is in a group of its own."""
    pids = pids_of_a_killed_checker("check", "module", signal.SIGKILL, unguarded=True)
    time.sleep(0.2)  # the guard needs 0.02 s
    try:
        assert all(map(runs, pids))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------- the end of a program

ENDS = {
    "code": ("os._exit(7)", "exited with code 7"),
    "group": ("os.kill(0, signal.SIGTERM); time.sleep(60)", "killed by signal SIGTERM"),
    "real-time": ("os.kill(os.getpid(), 40)", "killed by signal 40"),
    "broken pipe": (
        "signal.signal(13, signal.SIG_DFL); os.kill(os.getpid(), 13)",
        "killed by signal SIGPIPE",
    ),
    "killed guard": ("os.kill(os.getppid(), 9); time.sleep(60)", "signal SIGKILL"),
    "stopped guard": (
        "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(60)",
        "no answer within 2 s",
    ),
    "all": ("os.kill(0, signal.SIGKILL)", "killed by signal SIGKILL"),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_end_of_a_program_is_told_as_if_there_were_no_guard(
    name: str, vectors: Path
) -> None:
    """Nothing runs afterwards, and the rest goes on."""
    body, reason = ENDS[name]
    if name == "real-time" and not LINUX:
        pytest.skip("signal 40 exists on Linux only")
    pid = "open(f'pid{os.getpid()}', 'w').close()"
    change = f"\nimport os, signal, time\ndef softplus(rho):\n    {pid}; {body}"
    report = check(module(change), vectors=vectors, timeout=2)
    assert statuses(report, "softplus") == {"errored": 3}
    assert all(reason in each.message for each in report.bad()), str(report)
    assert_rest_is_good(report)
    pids = [int(path.name[3:]) for path in Path().glob("pid*")]
    assert len(pids) == 3
    assert not any(map(alive, pids))


@pytest.mark.skipif(not LINUX, reason="only Linux finds children that left the group")
@pytest.mark.parametrize("ending", ["hangs", "crashes", "stops"])
def test_children_that_left_the_process_group_are_ended(
    ending: str, vectors: Path
) -> None:
    spawn = "p = subprocess.Popen(['sleep', '600'], start_new_session=True); open('pid', 'w').write(str(p.pid))"
    end = {"hangs": "time.sleep(600)", "crashes": "os._exit(1)", "stops": ""}[ending]
    body = f"{spawn}; say(seq=q['seq'], result=[0.6931471805599453]); {end}"
    command = program(f"import subprocess; {body}")
    check(command=command, only="softplus/zero", vectors=vectors, timeout=2)
    assert not alive(int(Path("pid").read_text()))


@pytest.mark.parametrize(
    ("words", "out", "err", "code"),
    [
        (["./nowhere"], "", "No such file or directory", guard.NOT_STARTED),
        ([sys.executable, "-c", "raise SystemExit('bye')"], "", "bye", 1),
        (["printf", "%s|", "a b", "*"], "a b|*|", "", 0),
        pytest.param(
            # 3 is the folder that the shell reads.
            ["sh", "-c", "cd /proc/$$/fd && echo 0* 1* 2* 3* 4* 5*"],
            *("0 1 2 3 4* 5*", "", 0),
            marks=pytest.mark.skipif(not LINUX, reason="needs /proc"),
        ),
    ],
)
def test_the_guard_gives_a_program_its_words_and_streams_only(
    words: list[str], out: str, err: str, code: int
) -> None:
    """It also says why a program does not start."""
    reader, writer = os.pipe()
    done = subprocess.run(
        [sys.executable, "-I", "-S", guard.__file__, str(reader), "0", *words],
        pass_fds=[reader],
        capture_output=True,
        text=True,
    )
    os.close(reader)
    os.close(writer)
    assert (done.stdout.strip(), done.stderr.strip()) == (out, err)
    assert done.returncode == code

"""Threads of linear algebra, in every process of every command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vime_lab import machine
from vime_lab.machine import ONE_THREAD

# Runs a command, and prints the number of threads of each library that it loaded.
TELLING = """
import sys
from vime_lab.command_line import main
code = main(sys.argv[1:])
import threadpoolctl
print("threads:", {each["num_threads"] for each in threadpoolctl.threadpool_info()})
sys.exit(code)
"""
# An implementation that writes the same into a file.
TOLD = """
from pathlib import Path
import threadpoolctl
from bnn_ref import softplus
threads = {each["num_threads"] for each in threadpoolctl.threadpool_info()}
Path("threads").write_text(str(threads))
"""
TWO = {name: value.replace("1", "2") for name, value in ONE_THREAD.items()}

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.parametrize(
    "given",
    [{name: "2"} for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")] + [TWO],
    ids=len,
)
@pytest.mark.parametrize("command", [["check"], ["check", "told"], ["fuzz", "told"]])
def test_commands_and_implementations_have_one_thread(command, given) -> None:
    """Control: Python with these variables has two."""
    Path("told.py").write_text(TOLD)
    others = {name: value for name, value in os.environ.items() if name not in TWO}
    words = [*command, "--only", "softplus"]
    done = subprocess.run(
        [sys.executable, "-c", TELLING, *words],
        env={**others, **given},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("threads: {1}\n")
    if "told" in command:
        assert Path("threads").read_text() == "{1}"
    subprocess.run([sys.executable, "told.py"], env={**others, **given}, check=True)
    assert Path("threads").read_text() == "{2}"


def test_the_variables_are_set_over_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    machine.hold_one_thread()
    assert {name: os.environ[name] for name in ONE_THREAD} == ONE_THREAD


def test_importing_a_module_changes_no_environment_variable() -> None:
    """All modules of the project, in a new process."""
    import measures

    names = sorted(name for name in measures.modules() if "__main__" not in name)
    script = (
        "import importlib, json, os, sys\n"
        "before = dict(os.environ)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "changed = {k for k in before.keys() | os.environ.keys()"
        " if before.get(k) != os.environ.get(k)}\n"
        "print(json.dumps(sorted(changed)))\n"
    )
    others = {name: value for name, value in os.environ.items() if name not in TWO}
    done = subprocess.run(
        [sys.executable, "-c", script, *names],
        env=others,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []

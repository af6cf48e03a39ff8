"""Threads of linear algebra in every process of every command, and the kind of machine."""

import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from lab import small_job

from vime_lab import machine
from vime_lab.checkpoints import CheckpointError, read_checkpoint
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
    if find_spec("stable_baselines3") is None:
        names.remove("vime_gym.sb3")
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


# ---------------------------------------------------------------- identity

# Prints the machine, and writes the checkpoint of a run after its first iteration.
ELSEWHERE = """
import json, sys
from pathlib import Path
from vime_lab import machine, processes, runs
sys.path.append(sys.argv[1])
from lab import small_job, stop_after
runs.run_job(small_job("none"), Path("run.npz"), stop_after(1))
print(json.dumps(machine.machine_kind()))
"""


def elsewhere_on(name: str, value: str) -> dict[str, str]:
    """The machine if its CPU were another one, and a checkpoint made there."""
    folder = str(Path(__file__).parent.parent)
    given = {**os.environ, **ONE_THREAD, name: value}
    words = [sys.executable, "-c", ELSEWHERE, folder]
    done = subprocess.run(words, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def another_kernel() -> tuple[str, str]:
    own = machine.machine_kind()["kernel"]
    return "OPENBLAS_CORETYPE", "Nehalem" if "Haswell" in own else "Haswell"


def fewer_features() -> tuple[str, str]:
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    return "NPY_DISABLE_CPU_FEATURES", " ".join(found)


@pytest.mark.skipif(
    "openblas" not in machine.kernel() or platform.machine() != "x86_64",
    reason="OPENBLAS_CORETYPE emulates another CPU",
)
@pytest.mark.parametrize(
    ("field", "variable"), [("kernel", another_kernel), ("cpu", fewer_features)]
)
def test_a_checkpoint_from_another_cpu_is_rejected_by_what_differs(
    field, variable
) -> None:
    """The CPU is emulated. Control: a checkpoint from this one is read."""
    other = elsewhere_on(*variable())
    own = machine.machine_kind()
    assert [name for name in own if own[name] != other[name]] == [field]
    differs = f"its machine.{field} is {other[field]!r}, here {own[field]!r}"
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(Path("run.npz"), small_job("none"))
    expected = f"checkpoint run.npz belongs to another run: {differs}"
    assert str(error.value) == expected
    Path("run.npz").unlink()
    assert elsewhere_on("X", "") == own
    read_checkpoint(Path("run.npz"), small_job("none"))


def test_the_machine_is_the_same_when_it_is_asked_again() -> None:
    """Control: an emulated one, above, differs."""
    assert machine.machine_kind.__wrapped__() == machine.machine_kind()


def test_the_kernel_is_the_one_of_numpys_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library of another package does not count, unless NumPy brings none."""
    blas = {"user_api": "blas", "internal_api": "openblas", "version": "1"}
    beside = f"{Path(np.__file__).parent}.libs/libopenblas.so"
    own = {**blas, "filepath": beside, "architecture": "Zen"}
    mkl = {**blas, "filepath": "/usr/lib/mkl.so", "internal_api": "mkl"}
    openmp = {"user_api": "openmp", "filepath": beside}
    for loaded, expected in (
        ([openmp, mkl, own], "openblas 1 Zen"),
        ([openmp, mkl, {**own, "filepath": "/usr/lib/"}], "mkl 1 None, openblas 1 Zen"),
        ([openmp], "unknown"),
    ):
        monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: loaded)  # noqa: B023
        assert machine.kernel() == expected


# ---------------------------------------------------------------- other systems


def test_check_needs_no_locks() -> None:
    """Windows has no fcntl. Control: the same Python can't import it."""
    script = (
        "import sys\n"
        "sys.modules['fcntl'] = None\n"
        "from vime_lab.command_line import main\n"
        "code = main(['check', '--only', 'softplus'])\n"
        "try:\n"
        "    import fcntl\n"
        "except ImportError:\n"
        "    sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"softplus" in done.stdout

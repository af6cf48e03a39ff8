"""Parallel runs: recovery after a kill, and Ctrl-C."""

import csv
import io
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import joblib
import kills
import numpy as np
import pytest
from distributed import Client, LocalCluster, get_task_stream
from lab import (
    NAME,
    SIZES,
    full,
    in_this_process,
    same,
    small_job,
    study_job,
    terminal,
    undrawn,
)

from vime_lab import checkpoints, command_line, commands, processes, runs, signals
from vime_lab.checkpoints import CheckpointError
from vime_lab.machine import ONE_THREAD, machine_kind
from vime_lab.results import RUN_FILES, STUDY_FILES
from vime_lab.rows import RUN_COLUMNS, Row, written_rows
from vime_lab.runs import Result
from vime_lab.studies import catalogue
from vime_lab.studies.catalogue import STUDIES
from vime_lab.studies.frame import StudyJob, Value
from vime_lab.tasks import TASKS, Job

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0  # seconds until a process test gives up
LONG = 12  # iterations, so that a run is under way for a while
SET = [f"{name}={json.dumps(value)}" for name, value in SIZES.items()]
COMMAND = [
    *f"run --task {NAME} --seeds 1 --iterations {LONG} --out out --set".split(),
    *SET,
]
VIME = [*COMMAND, "--bonus", "vime"]
BOTH = [*COMMAND, "--bonus", "vime", "none"]
PARENT = """
import subprocess, sys
from vime_lab import command_line, processes

class Popen(subprocess.Popen):
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        print(self.pid, flush=True)

subprocess.Popen = Popen
processes.CHECKPOINT_SECONDS = float(sys.argv[1])
sys.exit(command_line.main(sys.argv[2:]))
"""
INTERRUPTED = "\nvime-ref: interrupted; repeat the command with --resume to continue\n"


def curve(folder: Path = Path("out")) -> list[Row]:
    with (folder / "learning_curve.csv").open(newline="") as file:
        return same(list(csv.DictReader(file)))


def uninterrupted(folder: Path, arguments: Sequence[str]) -> list[Row]:
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        undrawn(patch)
        assert command_line.main([*arguments, "--jobs", "1", "--out", str(folder)]) == 0
    return curve(folder)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return uninterrupted(tmp_path_factory.mktemp("reference"), BOTH)


def of_bonus(rows: list[Row], bonus: str) -> list[Row]:
    return [row for row in rows if row["bonus"] == bonus]


def wait_until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"in {PATIENCE:g} s not {what}"
        time.sleep(0.005)


def num_rows(name: str = "vime-0") -> int:
    """The rows that a run has shown so far."""
    path = Path("out", "checkpoints", f"{name}.csv")
    return len(written_rows(path)) if path.exists() else 0


def num_kept(name: str = "vime-0") -> int:
    """The rows in a complete checkpoint."""
    with np.load(Path("out", "checkpoints", f"{name}.npz"), allow_pickle=False) as file:
        return len(file["rows"])


def files_in(folder: str) -> list[Path]:
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def running(process: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True
    ).stdout.strip()
    return state != "" and not state.startswith("Z")


@contextmanager
def started(
    seconds: float, arguments: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in its own process group, and its first child; both are gone afterwards."""
    command = [sys.executable, "-c", PARENT, str(seconds), *arguments]
    with Path("stderr").open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                assert process.stdout
                child = int(process.stdout.readline())
                wait_until(lambda: num_rows() >= 1, "a row")
                yield process, child
            finally:
                for number in (process.pid, child):
                    if running(number):
                        os.kill(number, signal.SIGKILL)


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    undrawn(monkeypatch)


elsewhere = pytest.mark.usefixtures("_elsewhere")


def resumed(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> list[Row]:
    """The learning curve after the same command with --resume, run here; the checkpoints are then gone."""
    in_this_process(monkeypatch)
    assert command_line.main([*arguments, "--jobs", "1", "--resume"]) == 0
    assert not Path("out", "checkpoints").exists()
    return curve()


@elsewhere
@pytest.mark.parametrize(("rows", "delay"), [(2, 0.0), (4, 0.03), (6, 0.08)])
def test_a_killed_run_against_one_never_stopped(
    rows, delay, reference, monkeypatch, capsys
):
    """SIGKILL to the whole group; a half-written file is ignored. Without --resume nothing is changed."""
    with started(0.0, VIME) as (process, child):
        wait_until(lambda: num_rows() >= rows, f"{rows} rows")
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(PATIENCE) == -signal.SIGKILL
        wait_until(lambda: not running(child), "ended")
    Path("out", "checkpoints", "vime-0.1.tmp").write_bytes(b"half")
    before = {path: path.read_bytes() for path in files_in("out")}
    with pytest.raises(SystemExit):
        command_line.main(VIME)
    assert (
        "out/checkpoints holds an unfinished run: add --resume, or remove that folder"
        in capsys.readouterr().err
    )
    assert {path: path.read_bytes() for path in files_in("out")} == before
    assert 0 < num_kept() < LONG
    assert resumed(monkeypatch, VIME) == of_bonus(reference, "vime")


@elsewhere
def test_a_killed_run_resumes_in_processes_as_well(reference):
    with started(0.0, VIME) as (process, _):
        wait_until(lambda: num_rows() >= 2, "two rows")
        os.killpg(process.pid, signal.SIGKILL)
    done = num_kept()
    assert 0 < done < LONG
    assert command_line.main([*VIME, "--resume"]) == 0
    assert curve() == of_bonus(reference, "vime")


@elsewhere
def test_a_run_whose_parent_is_killed_keeps_what_it_has_and_ends(
    reference, monkeypatch
):
    """The interval for a checkpoint is never over: the existing one was written when stopping."""
    with started(1e9, VIME) as (process, child):
        process.kill()
        seen = num_rows()
        wait_until(lambda: not running(child), "ended")
        assert num_rows() == num_kept() <= seen + 3 < LONG
    assert resumed(monkeypatch, VIME) == of_bonus(reference, "vime")


@elsewhere
@pytest.mark.parametrize("to_all", [False, True], ids=["parent", "group"])
def test_ctrl_c_ends_with_a_checkpoint_and_a_line(to_all, reference, monkeypatch):
    with started(1e9, VIME) as (process, child):
        (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert not running(child)
        assert num_rows() == num_kept() < LONG
    assert Path("stderr").read_text().endswith(INTERRUPTED)
    assert resumed(monkeypatch, VIME) == of_bonus(reference, "vime")


class Recorded(subprocess.Popen):
    """Processes by the name of their checkpoint."""

    numbers: dict[str, int] = {}  # noqa: RUF012  filled by all of them

    def __init__(self, command: Any, **keywords: Any) -> None:
        super().__init__(command, **keywords)
        if "vime_lab.processes" in command:
            self.numbers[Path(command[-1]).stem] = self.pid


@pytest.fixture
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.subprocess, "Popen", Recorded)
    Recorded.numbers.clear()


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@elsewhere
@pytest.mark.usefixtures("_recorded")
def test_a_dead_worker_is_reported_and_the_others_finish(
    reference, monkeypatch, capsys
):
    """Its results come with --resume, and the others' are not computed again."""

    def kill_one() -> None:
        wait_until(lambda: num_rows() >= 2, "two rows")
        os.kill(Recorded.numbers["vime-0"], signal.SIGKILL)

    monkeypatch.setattr(processes, "CHECKPOINT_SECONDS", 0.0)
    thread = in_background(kill_one)
    assert command_line.main(BOTH) == 1
    thread.join()
    report = capsys.readouterr().err.splitlines()[-2:]
    assert report == [
        f"vime-ref: {NAME} vime seed 0 failed: its process was killed by signal 9 (Killed)",
        "vime-ref: repeat the command with --resume to rerun the failed runs",
    ]
    assert curve() == of_bonus(reference, "none")
    assert (num_kept("none-0"), num_kept("vime-0") < LONG) == (LONG, True)
    sampled = []
    rollout = runs.train
    monkeypatch.setattr(
        runs,
        "train",
        lambda *a, **k: sampled.append(k["num_iterations"]) or rollout(*a, **k),
    )
    assert resumed(monkeypatch, BOTH) == reference
    assert len(sampled) == 1
    assert sampled[0] < LONG


@elsewhere
@pytest.mark.usefixtures("_recorded")
def test_what_goes_wrong_in_a_process_is_its_result(tmp_path):
    """A missing environment, a damaged checkpoint, a SIGTERM; the parallel run succeeds."""
    jobs = [
        small_job("none", seed, iterations=400 if seed == 2 else 2) for seed in range(4)
    ]
    jobs[0] = jobs[0]._replace(task=replace(jobs[0].task, env_id="Nowhere-v0"))
    paths = [tmp_path / f"{seed}.npz" for seed in range(4)]
    paths[1].write_text("no checkpoint")

    def end_one() -> None:
        wait_until(lambda: paths[2].with_suffix(".csv").exists(), "begun")
        os.kill(Recorded.numbers["2"], signal.SIGTERM)

    thread = in_background(end_one)
    broken, damaged, stopped, fine = processes.run_jobs(jobs, paths, 4)
    thread.join()
    assert "Nowhere" in broken.failure
    assert damaged.failure == f"checkpoint {paths[1]} is damaged or not a checkpoint"
    assert paths[1].read_text() == "no checkpoint"
    assert stopped.failure == "stopped"
    assert checkpoints.read_checkpoint(paths[2], jobs[2])[1]["rows"].shape[0] < 400
    assert [len(result.rows) for result in (broken, damaged, stopped, fine)] == [
        0,
        0,
        0,
        2,
    ]
    assert fine.failure == ""
    alone = runs.run_job(jobs[3], tmp_path / "alone.npz")
    assert same(fine.rows) == same(alone.rows)
    assert np.array_equal(fine.visits, alone.visits)


class Troubled(subprocess.Popen):
    """No memory for the second process, an unnamed signal for the third."""

    def __init__(self, command: Any, **keywords: Any) -> None:
        if command[-1].endswith("1.npz"):
            raise OSError(12, "Cannot allocate memory")
        if command[-1].endswith("2.npz"):
            command = [
                sys.executable,
                "-c",
                f"import os; os.kill(os.getpid(), {signal.SIGRTMIN + 1})",
            ]
        super().__init__(command, **keywords)


def test_what_goes_wrong_around_a_process_is_its_result(tmp_path, monkeypatch):
    """A folder that can't be made, and the faults above; the parallel run succeeds."""
    monkeypatch.setattr(processes.subprocess, "Popen", Troubled)
    (tmp_path / "file").touch()
    paths = [
        tmp_path / name for name in ("file/below/0.npz", "1.npz", "2.npz", "3.npz")
    ]
    results = processes.run_jobs(
        [small_job("none", seed, iterations=1) for seed in range(4)], paths, 4
    )
    reasons = [
        "NotADirectoryError(",
        "OSError(12, 'Cannot allocate memory')",
        "its process was killed by signal 35 (",
        "",
    ]
    assert all(
        result.failure.startswith(reason) for result, reason in zip(results, reasons)
    )
    assert [len(result.rows) for result in results] == [0, 0, 0, 1]
    assert results[3].failure == ""


def parent_of(checkpoint: Path) -> int:
    """The process that watches the one with this checkpoint."""
    table = subprocess.run(
        ["ps", "-ww", "-eo", "ppid=,args="], capture_output=True, text=True
    ).stdout.splitlines()
    (line,) = [line for line in table if str(checkpoint) in line]
    return int(line.split()[0])


@elsewhere
def test_a_killed_worker_of_the_backend_ends_with_one_line(
    reference, monkeypatch, capsys
):
    """Its child notices that it is an orphan, and --resume continues as soon as the child has exited."""

    def kill_one() -> None:
        wait_until(lambda: num_rows() >= 1, "a row")
        os.kill(
            parent_of(Path("out/checkpoints/vime-0.npz").absolute()), signal.SIGKILL
        )

    thread = in_background(kill_one)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert command_line.main(BOTH) == 1
    thread.join()
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("vime-ref: TerminatedWorkerError: A worker process")
    assert line.endswith("; repeat the command with --resume to continue")
    assert resumed(monkeypatch, BOTH) == reference


@elsewhere
def test_a_mujoco_run_leaves_nothing_behind_and_needs_no_environment_here(monkeypatch):
    """The simulator writes a log into the current folder at import, which must not be this one."""
    monkeypatch.setattr(runs, "start", full)
    arguments = "--task SparseHalfCheetah --seeds 1 --iterations 1 --bonus none --out out --set agent.batch_steps=50"
    assert command_line.main(["run", *arguments.split()]) == 0
    assert [str(path) for path in Path().iterdir()] == ["out"]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(RUN_FILES)


@elsewhere
def test_a_copy_that_is_not_installed_runs_itself():
    """Its code differs from the installed code, which would be rejected; other modules nearby are not imported."""
    Path("copy").mkdir()
    for name in ("bnn_ref.py", "vime_ref.py", "agents_ref.py"):
        shutil.copy(ROOT / name, "copy")
    for name in ("vime_lecture", "vime_gym", "vime_check", "vime_lab"):
        shutil.copytree(ROOT / name, Path("copy", name))
    with Path("copy", "bnn_ref.py").open("a") as file:
        file.write("# another copy\n")
    for stray in ("bnn_ref.py", "vime_lab.py", "numpy.py"):
        Path(stray).write_text("raise SystemExit('stray')\n")
    command = [
        sys.executable,
        "-P",
        "-m",
        "vime_lab.command_line",
        *COMMAND,
        "--iterations",
        "1",
        "--bonus",
        "none",
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": "copy"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, len(curve())) == (0, 1), done.stderr


# A module that a task's environment imports: what a worker's linear algebra is.
SPY = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
slow = [name for name in ("matplotlib", "scipy.stats") if name in sys.modules]
from threadpoolctl import threadpool_info

rng = np.random.default_rng(0)
rows = rng.standard_normal((5000, 18))
weights = rng.standard_normal((18, 32))
products = (rows @ weights, rows.T @ rows, (rows @ weights).T @ rows)
bits = hashlib.sha256(b"".join(each.tobytes() for each in products)).hexdigest()
threads = [each["num_threads"] for each in threadpool_info()]
Path(__file__).with_suffix(".json").write_text(json.dumps([threads, bits, slow]))
"""


def spied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The threads, the bits of matrix products and the slow imports in the worker of a run."""
    (folder / "spy.py").write_text(SPY)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    job = small_job("none", iterations=1)
    task = replace(job.task, env_id=f"spy:{job.task.env_id}")
    (made,) = processes.run_jobs([job._replace(task=task)], [folder / "run.npz"], 1)
    assert made.failure == ""
    return json.loads((folder / "spy.json").read_text())


@pytest.mark.parametrize(
    "names", [["OMP_NUM_THREADS"], ["OPENBLAS_NUM_THREADS"], list(ONE_THREAD)], ids=len
)
def test_a_worker_has_one_thread_and_the_same_bits_whatever_the_variables_say(
    names, tmp_path, monkeypatch
):
    """Oracle: threadpoolctl. Control: a plain process with the same variables has two threads."""
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = spied(tmp_path, monkeypatch)
    for name in names:
        value = ONE_THREAD[name].replace("1", "2")
        monkeypatch.setenv(name, value)
    assert spied(tmp_path, monkeypatch) == alone
    assert set(alone[0]) == {1}
    subprocess.run([sys.executable, tmp_path / "spy.py"], check=True)
    threads, *_ = json.loads((tmp_path / "spy.json").read_text())
    assert set(threads) == {2}


def test_a_worker_imports_nothing_for_pictures_and_statistics(tmp_path, monkeypatch):
    """They would double its start. Control: the spy sees an import."""
    assert spied(tmp_path, monkeypatch)[2] == []
    script = f"import runpy, scipy.stats; runpy.run_path({str(tmp_path / 'spy.py')!r})"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert json.loads((tmp_path / "spy.json").read_text())[2] == ["scipy.stats"]


def test_a_worker_searches_modules_in_the_parents_order(tmp_path, monkeypatch):
    """The current folder, last and by its relative name: found, and it shadows nothing.

    Control: on PYTHONPATH it shadows the standard library.
    """
    for name in ("json", "typing", "runpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')")
    spied(tmp_path, monkeypatch)
    shadowed = subprocess.run(
        [sys.executable, "-P", "-c", "import json"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert shadowed.stderr == "shadowed\n"


def exit_code(
    job: processes.AnyJob,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    **changes: Any,
) -> int:
    """The exit code of the file itself with this job, run in this process."""
    values = checkpoints.job_values(job)
    given = {
        **values,
        "parent": os.getppid(),
        "checkpoint_seconds": 0.0,
        "machine": machine_kind(),
    }
    monkeypatch.setattr(
        "sys.stdin",
        io.StringIO(
            json.dumps({**given, "code": processes.code_of_job(values), **changes})
        ),
    )
    monkeypatch.setattr("sys.argv", ["processes.py", str(checkpoint)])
    handlers = {number: signal.getsignal(number) for number in signals.STOPS}
    try:
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(processes.__file__, run_name="__main__")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return exit_.value.code


def test_the_exit_code_of_a_process_against_what_became_of_its_job(
    tmp_path, monkeypatch, capsys
):
    """Finished; stopped, because its parent changed; started with other code; with an invalid checkpoint."""
    job, path = small_job("none", iterations=2), tmp_path / "run.npz"
    assert exit_code(job, path, monkeypatch, parent=-1) == processes.STOPPED
    assert len(checkpoints.read_checkpoint(path, job)[1]["rows"]) == 1
    assert exit_code(job, path, monkeypatch) == 0
    assert len(checkpoints.read_checkpoint(path, job)[1]["rows"]) == 2
    assert capsys.readouterr().err == ""
    assert exit_code(job, path, monkeypatch, code="another") == 1
    other = machine_kind() | {"kernel": "abacus"}
    assert exit_code(job, path, monkeypatch, machine=other) == 1
    path.write_bytes(b"")
    assert exit_code(job, path, monkeypatch) == 1
    changed, unlike, damaged = capsys.readouterr().err.splitlines()
    assert changed == "the code of this project has changed since the command began"
    own = machine_kind()["kernel"]
    assert (
        unlike
        == f"this machine's kernel is {own!r}, the command's 'abacus': bits would differ"
    )
    assert damaged == f"checkpoint {path} is damaged or not a checkpoint"


@pytest.mark.parametrize("given", [[], ["one.npz", "two.npz"]])
def test_a_process_without_its_one_file_shows_the_usage(given, monkeypatch):
    monkeypatch.setattr("sys.argv", ["processes.py", *given])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(processes.__file__, run_name="__main__")
    assert exit_.value.code == "usage: python -m vime_lab.processes FILE"


@elsewhere
def test_a_checkpoint_lost_at_the_end_is_a_failure(monkeypatch, tmp_path):
    def lost(job: Job, path: Path) -> Any:
        raise CheckpointError("lost")

    monkeypatch.setattr(processes, "kept", lost)
    (result,) = processes.run_jobs(
        [small_job("none", iterations=1)], [tmp_path / "run.npz"], 1
    )
    assert (result.failure, result.rows) == ("lost", [])


@pytest.mark.usefixtures("_recorded")
def test_ctrl_c_stops_what_runs_and_what_waits(tmp_path, monkeypatch):
    """Two of three in parallel: the third never starts. Afterwards Ctrl-C has its old handler."""
    jobs = [small_job("none", seed, iterations=400) for seed in range(3)]
    paths = [tmp_path / f"{seed}.npz" for seed in range(3)]
    monkeypatch.setattr(processes, "CHECKPOINT_SECONDS", 1e9)

    def interrupt() -> None:
        wait_until(
            lambda: all(path.with_suffix(".csv").exists() for path in paths[:2]),
            "begun",
        )
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = in_background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        processes.run_jobs(jobs, paths, 2)
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.exists() for path in paths] == [True, True, False]
    assert sorted(Recorded.numbers) == ["0", "1"]
    assert not any(map(running, Recorded.numbers.values()))


def test_a_second_ctrl_c_does_not_wait(tmp_path, monkeypatch):
    released, began, ended = threading.Event(), threading.Event(), threading.Event()

    def supervise(job: Job, checkpoint: Path) -> Result:
        began.set()
        released.wait(10.0)
        ended.set()
        return Result(job, [], np.zeros((0, 2)))

    def interrupt() -> None:
        began.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(processes.stopping.is_set, "stopping")
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(processes, "supervise", supervise)
    thread = in_background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        processes.run_jobs([small_job()] * 3, [tmp_path / "run.npz"] * 3, 2)
    assert not ended.is_set()
    released.set()
    thread.join()


@pytest.mark.parametrize(("backend", "waits"), [("threading", True), ("loky", False)])
def test_ctrl_c_waits_for_processes_of_this_machine_only(backend, waits, monkeypatch):
    """Remote workers get no signal from here: the caller's backend gets the KeyboardInterrupt at once."""
    finished = []

    class Parallel:
        def __init__(self, **keywords: Any) -> None:
            pass

        def __call__(self, tasks: Any) -> list[Any]:
            signal.raise_signal(signal.SIGINT)
            finished.append(True)
            return []

    monkeypatch.setattr(joblib, "Parallel", Parallel)
    with joblib.parallel_config(backend=backend), pytest.raises(KeyboardInterrupt):
        processes.run_jobs([], [], None)
    assert finished == [True] * waits


def test_jobs_run_outside_the_main_thread_as_well(tmp_path, monkeypatch):
    """Outside the main thread, Ctrl-C can't be handled."""
    in_this_process(monkeypatch)
    job, results = small_job("none", iterations=1), []
    in_background(
        lambda: results.extend(processes.run_jobs([job], [tmp_path / "run.npz"], 1))
    ).join()
    assert [len(result.rows) for result in results] == [1]


# ---------------------------------------------------------------- many at once


SWEEP = [*COMMAND, "agent.eta=0,0.5", "--bonus", "vime", "--iterations", "3"]


@pytest.mark.parametrize(
    ("config", "given", "width"),
    [(None, None, -1), ({"n_jobs": 1}, None, 1), ({"n_jobs": 3}, None, 3), ({"backend": "threading"}, None, -1),
     ({"backend": "loky", "n_jobs": 2}, None, 2), ({"n_jobs": 3}, 2, 2), (None, 4, 4)],
)  # fmt: skip
def test_the_width_is_the_callers(config, given, width, monkeypatch):
    """The argument comes first, then joblib's configuration, then the number of cores."""
    seen = []

    class Parallel(joblib.Parallel):
        def __init__(self, n_jobs: Any, **keywords: Any) -> None:
            seen.append(n_jobs)
            super().__init__(n_jobs, **keywords)

    monkeypatch.setattr(joblib, "Parallel", Parallel)
    if config:
        with joblib.parallel_config(**config):
            assert processes.run_jobs([], [], given) == []
    else:
        assert processes.run_jobs([], [], given) == []
    assert seen == [width]


@elsewhere
@pytest.mark.parametrize(
    "config", [{"n_jobs": 1}, {"backend": "loky", "n_jobs": 2}], ids=["one", "loky"]
)
def test_a_configured_sweep_against_this_process(config, tmp_path):
    with joblib.parallel_config(**config):
        assert command_line.main(SWEEP) == 0
    assert curve() == uninterrupted(tmp_path / "here", SWEEP)
    last = {row["setting"]: row["elbo"] for row in curve() if row["iteration"] == "2"}
    assert list(last) == ["agent.eta=0", "agent.eta=0.5"]
    assert len(set(last.values())) == 2


@elsewhere
def test_a_sweep_on_two_dask_workers_against_this_process(tmp_path):
    """Each worker has a process and a thread of its own, and both have run jobs."""
    sweep = [*SWEEP, "--seeds", "2"]
    settings = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
    }
    with LocalCluster(**settings) as cluster, Client(cluster) as client:
        with get_task_stream(client) as tasks, joblib.parallel_config(backend="dask"):
            assert command_line.main(sweep) == 0
        workers = {task["worker"] for task in tasks.data}
    assert len(workers) == 2
    assert curve() == uninterrupted(tmp_path / "here", sweep)


# ---------------------------------------------------------------- the bar


@pytest.mark.usefixtures("small_task", "elsewhere")
def test_the_bar_survives_a_file_that_vanishes_while_it_is_read(monkeypatch, capsys):
    """Also a file without a complete row; the bar shows the other file."""
    terminal(monkeypatch)
    row = {**dict.fromkeys(RUN_COLUMNS, "1"), "task": "Elsewhere"}

    def read(path: Path) -> list[dict[str, str]]:
        if path.name == "gone":
            path.unlink()
        path.stat()
        return [row] if path.name == "there" else []

    monkeypatch.setattr(processes, "written_rows", read)
    jobs, files = (
        [Job(NAME, "none", "", 0, TASKS[NAME])],
        [*map(Path, ("never", "gone", "half", "there"))],
    )
    finished = Event()
    finished.set()
    for path in files[1:]:
        path.write_text("rows")
    processes.show_progress(jobs, files, finished)
    assert not Path("gone").exists()
    assert "Elsewhere" in capsys.readouterr().err
    monkeypatch.setattr(processes, "written_rows", lambda path: [row][1])
    with pytest.raises(IndexError):
        processes.show_progress(jobs, files, finished)


@pytest.mark.parametrize("seen", [True, False])
def test_a_bar_needs_a_terminal(seen, monkeypatch, capsys, tmp_path):
    """Of runs and of studies: a log file of a bar would be one long line."""
    if seen:
        terminal(monkeypatch)
    finished = Event()
    finished.set()
    path = tmp_path / "run.npz"
    path.touch()
    processes.show_runs([path], finished)
    shown = capsys.readouterr().err
    assert "1/1" in shown if seen else shown == "vime-ref: 1 of 1 runs finished\n"
    job = Job(NAME, "none", "", 0, TASKS[NAME])
    processes.show_progress([job], [path.with_suffix(".csv")], finished)
    assert bool(capsys.readouterr().err) == seen


ROW = {"task": NAME, "bonus": "vime", "setting": "", "seed": "7", "iteration": "1"}


def progress(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Watch two runs of four iterations each, of which one has some rows."""
    row = {**dict.fromkeys(RUN_COLUMNS, "1"), **ROW}
    Path("rows").write_text("rows")
    monkeypatch.setattr(processes, "written_rows", lambda path: [row] * rows)
    finished = Event()
    finished.set()
    jobs = [small_job("vime", seed) for seed in (7, 8)]
    processes.show_progress(jobs, [Path("rows"), Path("none")], finished)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("rows", "late"), [(4, False), (3, True), (3, False)])
def test_a_log_gets_a_line_for_each_finished_run_and_now_and_then(
    rows, late, monkeypatch, capsys
):
    """Control: an unfinished run is not told about at once."""
    monkeypatch.setattr(processes, "NEWS_SECONDS", -1.0 if late else 300.0)
    progress(monkeypatch, rows)
    run = f"{NAME} vime seed 7 iteration 1, return 1.00, gain 1.0e+00"
    line = f"vime-ref: {rows} of 8 iterations; {run}\n"
    assert capsys.readouterr().err == (line if rows == 4 or late else "")


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("width", "label"), [(79, "vime 7:"), (80, f"{NAME} vime seed 7:")]
)
def test_a_narrow_terminal_leaves_room_for_the_bar(width, label, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    terminal(monkeypatch)
    progress(monkeypatch, 3)
    last = capsys.readouterr().err.split("\r")[-1]
    assert last.startswith(label)
    assert ("return 1.00" in last) == (width == 80)


# ---------------------------------------------------------------- studies


STUDY = [*["run", "--task", "Bandit", "--seeds", "1", "--jobs", "2", "--out", "out"]]


def kept_runs() -> set[str]:
    return {path.stem for path in Path("out/checkpoints").glob("*.npz")}


def ages(names: set[str]) -> dict[str, int]:
    paths = {name: Path("out/checkpoints", f"{name}.npz") for name in names}
    return {name: path.stat().st_mtime_ns for name, path in paths.items()}


@contextmanager
def study_under_way() -> Iterator[subprocess.Popen[bytes]]:
    """A study in its own process group, of which some runs are finished and some are not."""
    command = [sys.executable, "-m", "vime_lab", *STUDY]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            wait_until(lambda: len(kept_runs()) >= 2, "two runs")
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def alive(group: int) -> list[str]:
    """The processes of a group, without zombies."""
    table = subprocess.run(
        ["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True
    ).stdout.splitlines()
    rows = [line.split(None, 2) for line in table]
    return [args for its, state, args in rows if its == str(group) and state[0] != "Z"]


@pytest.fixture(scope="module")
def whole_study(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a study that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        assert command_line.main([*STUDY, "--jobs", "1", "--out", str(out)]) == 0
    return (out / "study.csv").read_bytes()


@elsewhere
@pytest.mark.parametrize(
    ("target", "number"),
    [
        ("parent", signal.SIGKILL),
        ("group", signal.SIGTERM),
        ("parent", signal.SIGHUP),
    ],
)
def test_a_study_that_is_killed_leaves_no_process_and_computes_no_run_again(
    target, number, whole_study
):
    """Signals other than SIGKILL end with one line. Control: unfinished runs are computed."""
    with study_under_way() as process:
        (os.killpg if target == "group" else os.kill)(process.pid, number)
        _, said = process.communicate(timeout=PATIENCE)
        wait_until(lambda: not alive(process.pid), "ended")
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 130
            assert said.decode().endswith(INTERRUPTED)
    assert sorted(path.name for path in Path("out").iterdir()) == ["checkpoints"]

    # finished runs are not computed again
    before = ages(kept_runs())
    seen = {}
    remove = commands.remove_checkpoints

    def remove_and_look(paths: Sequence[Path]) -> None:
        seen.update(ages(set(before)))
        remove(paths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "remove_checkpoints", remove_and_look)
        assert command_line.main([*STUDY, "--resume"]) == 0
    assert seen == before
    assert len(before) >= 2
    assert Path("out/study.csv").read_bytes() == whole_study
    files = {*STUDY_FILES} - {"study.gif"}  # a study without an animation
    assert {path.name for path in Path("out").iterdir()} == files


@elsewhere
@pytest.mark.usefixtures("_recorded")
def test_a_dead_worker_of_a_study_is_named_and_the_others_finish(whole_study, capsys):
    def kill_one() -> None:
        wait_until(lambda: "Boltzmann-0" in Recorded.numbers, "begun")
        os.kill(Recorded.numbers["Boltzmann-0"], signal.SIGKILL)

    thread = in_background(kill_one)
    assert command_line.main(STUDY) == 1
    thread.join()
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "vime-ref: Bandit Boltzmann seed 0 failed: its process was killed by signal 9 (Killed)",
        "vime-ref: repeat the command with --resume to rerun the failed runs",
    ]
    others = {"random-0", "epsilon-greedy-0", "UCB-1-0", "dirichlet-0"}
    assert kept_runs() == others
    assert command_line.main([*STUDY, "--resume"]) == 0
    assert Path("out/study.csv").read_bytes() == whole_study


def test_a_study_run_stops_at_once_and_a_tasks_run_does_not():
    """Control: without a reason to stop, the block ends by itself."""
    for enabled, reason, expected in (
        (True, True, 1),
        (True, False, 0),
        (False, True, 0),
    ):
        waited = threading.Event()
        stopped = 0
        try:
            with processes.stopped_at_once(enabled, lambda: reason):  # noqa: B023
                waited.wait(5.0 * processes.POLL_SECONDS)
        except KeyboardInterrupt:
            stopped = 1
        assert stopped == expected
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


# ---------------------------------------------------------------- kills


def test_three_kills_at_random_instants_lose_nothing(tmp_path, capsys):
    """The short form of kills.py. Controls: it notices a file too many, another byte, and none."""
    trials = kills.Trials(0, tmp_path)
    trials.trial("run", 2)
    trials.trial("study", 1)
    assert trials.faults == {}, capsys.readouterr().out
    assert trials.table().splitlines()[-1].endswith(" | 0 | 0 | 0 | 0 | 0")

    # what it must notice
    folder = tmp_path / "study-undisturbed"
    trials.judge("study", "none", [0], folder, set())
    assert trials.faults == {}
    table = folder / "out" / "study.csv"
    content = table.read_bytes()
    table.write_bytes(content.replace(b"1", b"2", 1))
    (folder / "tmp" / "left").touch()
    trials.judge("study", "changed", [0], folder, set())
    table.unlink()
    trials.judge("study", "gone", [1], folder, set())
    assert trials.faults == {
        ("study", "changed", "different"): 1,
        ("study", "changed", "left behind"): 1,
        ("study", "gone", "lost"): 1,
        ("study", "gone", "left behind"): 1,
    }


def test_the_exit_code_of_a_study_run_against_what_became_of_it(tmp_path, monkeypatch):
    """Stopped at once, without a checkpoint, because its parent is gone; finished."""
    job, path = study_job("Bandit", "random", length=60, points=4), tmp_path / "run.npz"
    study = STUDIES["Bandit"]

    def endless(job: StudyJob) -> Iterator[Value]:
        threading.Event().wait(PATIENCE)
        yield "regret", 1, 0.0

    with monkeypatch.context() as patch:
        patch.setitem(STUDIES, "Bandit", study._replace(run=endless))
        assert exit_code(job, path, monkeypatch, parent=-1) == processes.STOPPED
    assert not path.exists()
    assert exit_code(job, path, monkeypatch) == 0
    assert catalogue.kept_study_result(job, path).rows == catalogue.study_rows(job)

"""Parallel runs, each in a separate process.

`run_jobs` gives each job a process through joblib, so that a crash affects only one job.
`python -m vime_lab.processes FILE` is such a process. It reads its job as JSON from
standard input; FILE is its checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from vime_lab.checkpoints import (
    CODE,
    POLL_SECONDS,
    CheckpointError,
    job_values,
    rows_file,
)
from vime_lab.files import make_folder
from vime_lab.machine import ONE_THREAD, machine_kind
from vime_lab.rows import written_rows
from vime_lab.runs import CHECKPOINT_SECONDS, Result, kept_result, run_job
from vime_lab.settings import task_from
from vime_lab.signals import on_stop
from vime_lab.studies.catalogue import (
    kept_study_result,
    run_study_job,
    study_code,
    study_job_from,
)
from vime_lab.studies.frame import StudyJob
from vime_lab.tasks import Job

# ---------------------------------------------------------------- constants

# Exit code of a run that was told to stop and wrote its checkpoint (EX_TEMPFAIL).
STOPPED = 75

# Runs a module as a command, with the given search path in the given order. PYTHONPATH
# could not do this: its folders come before the standard library.
AS_MODULE = (
    "import json, runpy, sys; "
    "sys.path[:] = json.loads(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)

# A bar fits the terminal; tqdm's None disables it if stderr is none.
BAR_SETTINGS: dict[str, Any] = {"dynamic_ncols": True, "disable": None}

# Terminals narrower than this have a bar without the task's name and the newest row.
NARROW = 80
NEWS_SECONDS = 300.0  # between lines about unfinished runs, if stderr is no terminal

# Set by Ctrl-C: this process then tells its child processes to stop.
stopping = threading.Event()

# ---------------------------------------------------------------- types

AnyJob = Job | StudyJob


class WorkerError(Exception):
    """A joblib backend failed, for example because a worker died.

    The runs on it have their checkpoints.
    """


# ---------------------------------------------------------------- one job


def job_from(values: dict[str, Any]) -> AnyJob:
    """The inverse of `job_values`."""
    if "study" in values:
        return study_job_from(values)
    return Job(**{**values, "task": task_from(values["task"])})


def code_of_job(values: dict[str, Any]) -> str:
    """A digest of the code that computes the rows of the job with these values."""
    return study_code(values["study"]) if "study" in values else CODE


def kept(job: AnyJob, checkpoint: Path) -> Result:
    """The result in the job's checkpoint; the failure says if it is unfinished.

    Raises CheckpointError if the checkpoint can't be read.
    """
    if isinstance(job, StudyJob):
        return kept_study_result(job, checkpoint)
    return kept_result(job, checkpoint)


def work(
    job: AnyJob,
    checkpoint: Path,
    should_stop: Callable[[], bool] = lambda: False,
    **keywords: Any,
) -> Result | None:
    """Run the job in this process. Returns and raises like `run_job`."""
    if isinstance(job, StudyJob):
        return run_study_job(job, checkpoint, should_stop)
    return run_job(job, checkpoint, should_stop, **keywords)


# ---------------------------------------------------------------- the process of a run


def process_main(checkpoint: Path) -> int:
    """Run the job from standard input; return the exit code.

    Rejects the job if this process would compute other bits than the command's. Stops on
    SIGTERM, or when the parent is gone: a task's run after its iteration, a study's run at
    once, because it has no checkpoint before its end.
    """
    # ignore Ctrl-C and SIGHUP, which reach the group: only the parent says when to stop
    told = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: told.set())

    # the job, if code and machine are the same
    given = json.loads(sys.stdin.read())
    parent = given.pop("parent")
    every = given.pop("checkpoint_seconds")
    if reason := other_bits(given.pop("code"), given.pop("machine"), given):
        sys.stderr.write(f"{reason}\n")
        return 1
    job = job_from(given)

    # run it
    def should_stop() -> bool:
        return told.is_set() or os.getppid() != parent

    try:
        with stopped_at_once(isinstance(job, StudyJob), should_stop):
            result = work(job, checkpoint, should_stop, checkpoint_seconds=every)
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return STOPPED
    return STOPPED if result is None else 0


def other_bits(code: str, kind: dict[str, str], values: dict[str, Any]) -> str:
    """Why this process would compute other bits than the command's, or ""."""
    if code != code_of_job(values):
        return "the code of this project has changed since the command began"
    for name, mine in machine_kind().items():
        if kind[name] != mine:
            theirs = f"the command's {kind[name]!r}"
            return f"this machine's {name} is {mine!r}, {theirs}: bits would differ"
    return ""


@contextmanager
def stopped_at_once(enabled: bool, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Raise KeyboardInterrupt in the block soon after it should stop, if enabled."""

    def check(number: int, frame: Any) -> None:
        if should_stop():
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, check)
    seconds = POLL_SECONDS if enabled else 0.0
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


# ---------------------------------------------------------------- the parent process


def supervise(job: AnyJob, checkpoint: Path) -> Result:
    """The result of running the job in a separate process, or of a run that is finished.

    Any error is a failure of this job only.
    """
    try:
        # finished by an earlier command
        if checkpoint.exists():
            result = kept(job, checkpoint)
            if not result.failure:
                return result

        # run it, and read its checkpoint
        failure = failure_of(job, checkpoint)
        if not failure:
            return kept(job, checkpoint)
    except CheckpointError as error:
        failure = str(error)
    except Exception as error:
        failure = repr(error)
    return Result(job, [], np.zeros((0, 2)), failure)


def failure_of(job: AnyJob, checkpoint: Path) -> str:
    """Run the job in a process and wait for it; return the reason for a failure, or ""."""
    if stopping.is_set():
        return "stopped"
    values = job_values(job)
    given = {
        **values,
        "parent": os.getpid(),
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "code": code_of_job(values),
        "machine": machine_kind(),
    }
    # another machine may run the job, where the folder does not exist yet
    make_folder(checkpoint.parent)
    code, said = watched(checkpoint, json.dumps(given))

    if code < 0:
        return f"its process was killed by signal {-code} ({signal.strsignal(-code)})"
    last = (said.strip() or "no message").splitlines()[-1]
    return {0: "", STOPPED: "stopped"}.get(code, last)


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module in a process with this process's search path."""
    # the process has another current folder
    path = json.dumps([os.path.abspath(folder) for folder in sys.path])
    return [sys.executable, "-P", "-c", AS_MODULE, path, module, *arguments]


def watched(checkpoint: Path, given: str) -> tuple[int, str]:
    """Run a process with this input; return its exit code and its stderr."""
    # it imports the same modules as this process, and its linear algebra has one thread
    command = module_command("vime_lab.processes", str(checkpoint))
    environment = os.environ | ONE_THREAD
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "errors": "replace",
    }
    text: str | None = given
    said = ""
    with work_folder(checkpoint) as folder:
        process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
        while process.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                _, said = process.communicate(text, timeout=POLL_SECONDS)
            text = None  # the input has been sent
            if stopping.is_set():
                process.terminate()
    return process.returncode, said


@contextmanager
def work_folder(checkpoint: Path) -> Iterator[Path]:
    """A current folder for a run, because MuJoCo writes a log into it.

    It stands beside the checkpoint: if this process is killed, the next one that runs the
    job uses and removes the same folder.
    """
    folder = checkpoint.with_suffix(".work")
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------- in parallel


def run_jobs(
    jobs: Sequence[AnyJob], checkpoints: Sequence[Path], num_processes: int | None
) -> list[Result]:
    """Run each job in a separate process; return results in the order of the jobs.

    Ctrl-C tells the processes to write their checkpoints and stop. A second Ctrl-C does
    not wait for them.
    Raises KeyboardInterrupt after Ctrl-C, and WorkerError if joblib's backend fails.
    """
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend

    # as many at once as joblib's parallel_config says; without it, as there are cores
    width = num_processes or get_active_backend()[1] or -1
    backend, _ = get_active_backend(prefer="threads")
    # a local backend waits for the processes that it stops
    local = getattr(backend, "supports_sharedmem", False)
    stopping.clear()

    def interrupt(number: int, frame: Any) -> None:
        if stopping.is_set() or not local:
            raise KeyboardInterrupt
        stopping.set()

    # the jobs
    paths = [path.absolute() for path in checkpoints]
    calls = [delayed(supervise)(*call) for call in zip(jobs, paths, strict=True)]
    with on_stop(interrupt):
        try:
            results = list(Parallel(n_jobs=width, prefer="threads")(calls))
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            raise WorkerError(message) from error
    if stopping.is_set():
        raise KeyboardInterrupt
    return results


# ---------------------------------------------------------------- progress bar


@contextmanager
def progress_bar(jobs: Sequence[AnyJob], checkpoints: Sequence[Path]) -> Iterator[None]:
    """Show a progress bar over the iterations of all jobs while the block runs.

    For a study, it is over the runs. Without a terminal on stderr there are lines instead,
    because a file would hold each update of a bar.
    """
    finished = threading.Event()
    if isinstance(jobs[0], StudyJob):
        watcher = threading.Thread(target=show_runs, args=(checkpoints, finished))
    else:
        files = [rows_file(path) for path in checkpoints]
        arguments = (jobs, files, finished)
        watcher = threading.Thread(target=show_progress, args=arguments)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


def show_runs(checkpoints: Sequence[Path], finished: threading.Event) -> None:
    """Update the bar with the number of checkpoints, each of a whole run of a study."""
    from tqdm import tqdm

    with tqdm(total=len(checkpoints), unit="run", **BAR_SETTINGS) as bar:
        done = False
        told = 0
        while not done:
            done = finished.wait(POLL_SECONDS)
            there = sum(path.exists() for path in checkpoints)
            if bar.disable and there > told:
                tell(f"{there} of {len(checkpoints)} runs finished")
            told = there
            bar.update(there - bar.n)


def show_progress(
    jobs: Sequence[Any], files: Sequence[Path], finished: threading.Event
) -> None:
    """Update the bar with the iterations done and the newest return and gain."""
    from tqdm import tqdm

    counts = dict.fromkeys(files, 0)
    lengths = dict(zip(files, [job.task.iterations for job in jobs]))
    news = time.monotonic() + NEWS_SECONDS
    sizes = dict.fromkeys(files, 0)
    with tqdm(total=sum(lengths.values()), unit="iteration", **BAR_SETTINGS) as bar:
        done = False
        while not done:
            done = finished.wait(POLL_SECONDS)
            for path in files:
                # a file may not exist yet, or no longer, or hold anything before the run
                with suppress(OSError, ValueError, TypeError):
                    size = path.stat().st_size
                    if size == sizes[path]:
                        continue
                    rows = written_rows(path)
                    sizes[path] = size
                    bar.update(len(rows) - counts[path])
                    counts[path] = len(rows)
                    if rows:
                        show_row(bar, rows[-1])
                    late = time.monotonic() >= news
                    if bar.disable and rows and (late or len(rows) == lengths[path]):
                        done_now = f"{sum(counts.values())} of {bar.total} iterations"
                        tell(f"{done_now}; {' '.join(row_texts(rows[-1]))}")
                        news = time.monotonic() + NEWS_SECONDS


def show_row(bar: Any, row: dict[str, str]) -> None:
    """Show the newest row in the bar, or only its run in a narrow terminal."""
    name, numbers = row_texts(row)
    if shutil.get_terminal_size().columns < NARROW:
        bar.set_description(f"{row['bonus']} {row['seed']}", False)
        return
    bar.set_description(name, False)
    bar.set_postfix_str(numbers, False)


def row_texts(row: dict[str, str]) -> tuple[str, str]:
    """The name of a row's run, and its numbers."""
    names = (row["task"], row["bonus"], row["setting"], "seed", row["seed"])
    mean = float(row["return_mean"])
    gain = float(row["gain_median"])
    numbers = f"iteration {row['iteration']}, return {mean:.2f}, gain {gain:.1e}"
    return " ".join(filter(None, names)), numbers


def tell(news: str) -> None:
    sys.stderr.write(f"vime-ref: {news}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    match sys.argv[1:]:
        case [file]:
            sys.exit(process_main(Path(file)))
        case _:
            sys.exit("usage: python -m vime_lab.processes FILE")

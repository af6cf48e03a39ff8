"""Runs that last: one agent trained, measured and kept safe, and many of them at once.

`run_job` trains one agent and writes a checkpoint from time to time; it goes on from the one it finds, to results that
are the same bit for bit (times aside). `run_jobs` gives each job a process of its own, through joblib: a process that
dies takes no other with it. `python -m vime_lab.runs FILE` is such a process, with its job as JSON on standard input.

A checkpoint is one NPZ file: arrays, and what else there is as JSON. It holds no pickle.
"""

from __future__ import annotations

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # one thread a process, set before NumPy loads: runs share the cores

import csv
import fcntl
import hashlib
import io
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.random import Generator

import bnn_ref as bnn
from agents_ref import Iteration, Streams, ValueFunction, train
from bnn_ref import AdamState, Array, DiagNormal
from vime_lab.tasks import ROOT_SEED, Job, Start, settings_of, start, task_from
from vime_lecture.controls import PredictionError
from vime_ref import Batch, Bonus, ReplayPool, Vime

# ---------------------------------------------------------------- constants

TEXTS = ("task", "bonus", "setting")
COUNTS = ("seed", "iteration", "steps")
SEEN = ("return_mean", "return_max", "position_max", "gain_median")
MODEL = (
    "elbo",
    "kl_prior",
    "heldout_log_likelihood",
    "heldout_error_ratio",
)  # of the bonus's model
TRENDED = ("gain_median", *MODEL)
TRENDS = tuple(
    f"{name.removesuffix('_median')}_trend" for name in TRENDED
)  # change per iteration, lately
PHASES = ("sampling_s", "gains_s", "policy_s", "model_s", "other_s")
COLUMNS = (*TEXTS, *COUNTS, *SEEN, *MODEL, *TRENDS, *PHASES, "wall_s")
NUMBERS = COLUMNS[len(TEXTS) :]

TREND_WINDOW = 10  # iterations: a trend is the slope of the least-squares line through the last ten
DIAGNOSED_ROWS = 500  # rows of a diagnosis: a tenth of a batch, which costs little beside the thousands of training
DIAGNOSIS_SEED = 1  # of the noise and rows of diagnoses, which the training never sees
VISITS = 20_000  # visited states that a run keeps, about: five for each of the 60 x 60 cells of their picture
CHECKPOINT_SECONDS = 20.0  # of work that a crash may cost; to write one, of 35 MB at most, takes a fraction of one
POLL_SECONDS = 0.2  # between looks at files and processes: a person sees no delay, and a core no load
CLAIM_SECONDS = 20.0  # for a process whose parent was killed to end: it sees that after its iteration, of seconds
FORMAT = "vime-ref checkpoint 1"
PACKAGES = ("vime-ref", "numpy", "scipy", "autograd", "gymnasium", "mujoco")
STOPPED = 75  # exit code of a run that was told to stop and has kept what it had (EX_TEMPFAIL)

# ---------------------------------------------------------------- types

Row = dict[str, Any]


class CheckpointError(Exception):
    """A checkpoint that can't be written, or that is damaged or another run's."""


class WorkerError(Exception):
    """A joblib backend that broke down, such as by the death of a worker; what ran there has its checkpoints."""


class Result(NamedTuple):
    """What a run has come to: its rows, the first two observations of visited states, why it failed if it did."""

    job: Job
    rows: list[Row]
    visits: Array  # (n, 2)
    failure: str = ""


class Progress(NamedTuple):
    """A run between two iterations: all that the next one depends on, and what has been seen."""

    policy: Any
    value: ValueFunction
    bonus: Bonus
    history: tuple[float, ...]
    streams: Streams
    rows: list[Row]
    visits: Array  # (n, 2)


# ---------------------------------------------------------------- building blocks: measuring


@dataclass
class Stopwatch:
    """A bonus that notes when it is called: what lies between is sampling, gains, policy and model."""

    bonus: Bonus
    marks: list[float]

    def reward(self, batch: Batch, rng: Generator) -> Array:
        self.marks.append(time.perf_counter())
        gains = self.bonus.reward(batch, rng)
        self.marks.append(time.perf_counter())
        return gains

    def update(self, batch: Batch, rng: Generator) -> Stopwatch:
        self.marks.append(time.perf_counter())
        bonus = self.bonus.update(batch, rng)
        self.marks.append(time.perf_counter())
        return Stopwatch(bonus, self.marks)


def model_of(bonus: Bonus) -> Vime | None:
    """The Bayesian network of a bonus that has one."""
    if isinstance(bonus, PredictionError):
        return bonus.model
    return bonus if isinstance(bonus, Vime) else None


def diagnosis(
    before: Bonus, after: Bonus, batch: Batch, rng: Generator
) -> dict[str, float]:
    """What the model has learned, and how well it foresaw the batch before it learned from it; nan without a model.

    ELBO on rows of the pool and KL to the prior, in nats. Of the batch: the log likelihood of a transition in nats, and
    the squared error of the predictive mean over that of the pool's mean, which knows nothing of (s, a): 1 is useless,
    0 perfect. Densities are those of the observation, not of the normalised one, whose unit moves with the pool.
    """
    old, new = model_of(before), model_of(after)
    if old is None or new is None or len(new.pool) < new.settings.min_rows:
        return dict.fromkeys(MODEL, np.nan)
    pool, s = new.pool, new.settings
    drawn, held = (
        rng.integers(n, size=DIAGNOSED_ROWS) for n in (len(pool), len(batch.rewards))
    )
    eps = rng.standard_normal((s.num_samples, len(new.q.mu)))
    rows = new.normalized(
        *(
            column[drawn]
            for column in (pool.observations, pool.actions, pool.next_observations)
        )
    )
    settings: Any = {
        "layer_sizes": new.layer_sizes,
        "likelihood_sigma": s.likelihood_sigma,
    }
    num_data = s.num_data or float(len(pool))
    bound = float(bnn.elbo(new.q, new.prior, *rows, eps, num_data=num_data, **settings))
    found = {
        "elbo": bound - num_data * log_unit(new),
        "kl_prior": float(
            bnn.kl_diag_normal(new.q.mu, new.q.sigma, new.prior.mu, new.prior.sigma)
        ),
        **dict.fromkeys(MODEL[2:], np.nan),
    }
    if len(old.pool) >= s.min_rows:
        inputs, targets = old.normalized(
            *(column[held] for column in old.model_rows(batch))
        )
        density = bnn.predictive_log_density(old.q, inputs, targets, eps, **settings)
        mean, _ = bnn.predict(old.q, inputs, eps, **settings)
        found["heldout_log_likelihood"] = float(np.mean(density)) - log_unit(old)
        found["heldout_error_ratio"] = float(
            np.sum((targets - mean) ** 2) / np.sum(targets**2)
        )
    return found


def log_unit(model: Vime) -> float:
    """Σ log scale over the observation's dimensions: what a log density loses when s′ is no longer normalised."""
    return float(np.sum(np.log(model.scale[: model.layer_sizes[-1]])))


def trend(values: Sequence[float]) -> float:
    """Slope a step of the least-squares line through the last `TREND_WINDOW` values that are numbers; nan below two.

    >>> trend([1.0, 3.0, 5.0])
    2.0
    """
    recent = np.array(values[-TREND_WINDOW:], dtype=float)
    steps = np.arange(len(recent))[np.isfinite(recent)]
    recent = recent[np.isfinite(recent)]
    if len(recent) < 2:
        return float("nan")
    centered = steps - steps.mean()
    return float(centered @ recent / (centered @ centered))


def row_of(
    job: Job, rows: Sequence[Row], seen: Iteration, diagnosed: dict[str, float]
) -> Row:
    """The next row of a learning curve, but for its times."""
    returns = seen.episode_returns if len(seen.episode_returns) else np.array([np.nan])
    row: Row = {
        "task": job.task_name,
        "bonus": job.bonus_name,
        "setting": job.setting,
        "seed": job.seed,
        "iteration": len(rows),
        "steps": (len(rows) + 1) * job.task.agent.batch_steps,
        "return_mean": float(returns.mean()),
        "return_max": float(returns.max()),
        "position_max": float(seen.batch.next_observations[:, 0].max()),
        "gain_median": float(np.median(seen.gains)),
        **diagnosed,
    }
    for name, slope in zip(TRENDED, TRENDS):
        row[slope] = trend([*(r[name] for r in rows[-TREND_WINDOW:]), row[name]])
    return row


# ---------------------------------------------------------------- building blocks: checkpoints


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def versions() -> dict[str, str]:
    """Of what computes a result."""
    return {
        "python": sys.version.split()[0],
        **{name: installed(name) for name in PACKAGES},
    }


def source_of(module: str) -> Path:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def code_of(*modules: str) -> str:
    """A digest of the modules' sources."""
    return hashlib.sha256(
        b"".join(source_of(name).read_bytes() for name in modules)
    ).hexdigest()


CODE = code_of(
    "bnn_ref",
    "fast_ref",
    "vime_ref",
    "agents_ref",
    "vime_gym",
    "vime_gym.tasks",
    "vime_lecture.controls",
    "vime_lab.tasks",
    "vime_lab.runs",
)


def plain(job: Job) -> dict[str, Any]:
    """The job as JSON knows it."""
    return {**job._asdict(), "task": settings_of(job.task)}


def identity(job: Job) -> dict[str, Any]:
    """What has to be equal for a run to be the same run."""
    return {
        "format": FORMAT,
        "root_seed": ROOT_SEED,
        **plain(job),
        "code": CODE,
        "versions": versions(),
    }


def model_arrays(model: Vime) -> dict[str, Array]:
    pool = {
        f"pool_{name}": getattr(model.pool, name)
        for name in ("observations", "actions", "next_observations")
    }
    adam = {"adam_mean": model.adam.mean, "adam_square": model.adam.square}
    return {
        "mu": model.q.mu,
        "rho": model.q.rho,
        "center": model.center,
        "scale": model.scale,
        **adam,
        **pool,
    }


def checkpoint_bytes(job: Job, progress: Progress) -> bytes:
    model, value = model_of(progress.bonus), progress.value
    state = {
        **identity(job),
        "history": progress.history,
        "value": {"center": value.center, "scale": value.scale},
        "adam_steps": model.adam.num_steps if model else 0,
        "streams": {
            name: rng.bit_generator.state
            for name, rng in progress.streams._asdict().items()
        },
    }
    arrays = {
        "policy": progress.policy.theta,
        "value": value.theta,
        "value_observation_center": value.observation_center,
        "value_observation_scale": value.observation_scale,
        "rows": np.array(
            [[row[name] for name in NUMBERS] for row in progress.rows]
        ).reshape(-1, len(NUMBERS)),
        "visits": progress.visits,
        **(model_arrays(model) if model else {}),
    }
    arrays["json"] = np.frombuffer(
        json.dumps(state, allow_nan=False).encode(), dtype=np.uint8
    )
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    content = file.getvalue()
    return (
        content + hashlib.sha256(content).digest()
    )  # behind the end of the archive, where NumPy does not look


def write_checkpoint(path: Path, job: Job, progress: Progress) -> None:
    """Replace the checkpoint at once, or raise CheckpointError and leave the one before."""
    temporary = path.with_suffix(
        f".{os.getpid()}.tmp"
    )  # its own, beside a process that outlives its parent a little
    try:
        with temporary.open("wb") as file:
            file.write(checkpoint_bytes(job, progress))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"can't write checkpoint {path}: {error.strerror}"
        ) from error


def read_checkpoint(path: Path, job: Job) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a checkpoint of this very run holds; CheckpointError where it is damaged or another's."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"can't read checkpoint {path}: {error.strerror}"
        ) from error
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        raise CheckpointError(f"checkpoint {path} is damaged, or no checkpoint")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        state = json.loads(arrays.pop("json").tobytes())
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"checkpoint {path} is no checkpoint: {error}") from error
    for place, mine in flat(json.loads(json.dumps(identity(job)))).items():
        if (theirs := flat(state).get(place)) != mine:
            raise CheckpointError(
                f"checkpoint {path} is another run's: its {place} is {theirs!r}, here it is {mine!r}"
            )
    return state, arrays


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with names joined by dots."""
    pairs = [
        flat(v, f"{prefix}{k}.") if isinstance(v, dict) else {f"{prefix}{k}": v}
        for k, v in values.items()
    ]
    return {name: value for pair in pairs for name, value in pair.items()}


def restored_rows(job: Job, arrays: dict[str, Array]) -> list[Row]:
    texts = dict(zip(TEXTS, (job.task_name, job.bonus_name, job.setting)))
    return [
        {
            **texts,
            **{
                name: int(v) if name in COUNTS else float(v)
                for name, v in zip(NUMBERS, row)
            },
        }
        for row in arrays["rows"]
    ]


def restored(
    job: Job, begun: Start, state: dict[str, Any], arrays: dict[str, Array]
) -> Progress:
    """The run as it was when its checkpoint was written."""
    for name, generator_state in state["streams"].items():
        getattr(begun.streams, name).bit_generator.state = generator_state
    value = replace(
        begun.value,
        theta=arrays["value"],
        observation_center=arrays["value_observation_center"],
        observation_scale=arrays["value_observation_scale"],
        **state["value"],
    )
    bonus = begun.bonus
    if model := model_of(bonus):
        pool = ReplayPool(
            model.pool.capacity,
            arrays["pool_observations"],
            arrays["pool_actions"],
            arrays["pool_next_observations"],
        )
        model = replace(
            model,
            q=DiagNormal(arrays["mu"], arrays["rho"]),
            adam=AdamState(
                arrays["adam_mean"], arrays["adam_square"], state["adam_steps"]
            ),
            pool=pool,
            center=arrays["center"],
            scale=arrays["scale"],
        )
        bonus = PredictionError(model) if isinstance(bonus, PredictionError) else model
    policy, rows = (
        replace(begun.policy, theta=arrays["policy"]),
        restored_rows(job, arrays),
    )
    return Progress(
        policy,
        value,
        bonus,
        tuple(state["history"]),
        begun.streams,
        rows,
        arrays["visits"],
    )


# ---------------------------------------------------------------- one run


def progressions(job: Job, begun: Start, progress: Progress) -> Iterator[Progress]:
    """The run after each of its iterations that are left."""
    left = job.task.iterations - len(progress.rows)
    if left == 0:
        return
    marks: list[float] = []
    watch = Stopwatch(progress.bonus, marks)
    state = progress.policy, watch, progress.value, progress.streams, begun.settings
    iterations = train(begun.env, *state, num_iterations=left, history=progress.history)
    stride = max(1, job.task.iterations * begun.settings.batch_steps // VISITS)
    wall_s = progress.rows[-1]["wall_s"] if progress.rows else 0.0
    began = time.perf_counter()
    for _ in range(left):
        marks[:] = [time.perf_counter()]
        seen = next(iterations)
        bonus = seen.bonus.bonus  # type: ignore[attr-defined]  # the stopwatch's
        rng = np.random.default_rng(
            [ROOT_SEED, DIAGNOSIS_SEED, job.seed, len(progress.rows)]
        )
        row = row_of(
            job, progress.rows, seen, diagnosis(progress.bonus, bonus, seen.batch, rng)
        )
        ended = time.perf_counter()
        phases = [
            *np.diff(marks),
            marks[0] - began + ended - marks[-1],
        ]  # sampling, gains, policy, model, other
        row.update(zip(PHASES, map(float, phases)))
        wall_s, began = wall_s + ended - began, ended
        row["wall_s"] = wall_s
        visits = np.concatenate(
            [progress.visits, seen.batch.observations[::stride, :2]]
        )
        rows = [*progress.rows, row]
        progress = Progress(
            seen.policy, seen.value, bonus, seen.history, progress.streams, rows, visits
        )
        yield progress


def rows_file(checkpoint: Path) -> Path:
    """Where a run's rows appear as they come."""
    return checkpoint.with_suffix(".csv")


@contextmanager
def claimed(checkpoint: Path, should_stop: Callable[[], bool]) -> Iterator[TextIO]:
    """The rows file, locked: who holds it alone may go on from the checkpoint and replace it.

    Waits a while, so that `--resume` right after a crash need not be repeated, then raises CheckpointError.
    """
    with rows_file(checkpoint).open("a", newline="") as file:
        end = time.monotonic() + CLAIM_SECONDS
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() >= end or should_stop():
                raise CheckpointError(
                    f"checkpoint {checkpoint} is in use by another process"
                )
            time.sleep(POLL_SECONDS)
        yield file


def run_job(
    job: Job,
    checkpoint: Path,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Result | None:
    """Train one agent, on from its checkpoint if there is one; None where it was told to stop before its end.

    The checkpoint is written every `checkpoint_seconds`, on stopping and at the end. Raises CheckpointError.
    """
    begun = start(job)
    progress = Progress(
        begun.policy, begun.value, begun.bonus, (), begun.streams, [], np.zeros((0, 2))
    )
    with claimed(checkpoint, should_stop) as file:
        if checkpoint.exists():
            progress = restored(job, begun, *read_checkpoint(checkpoint, job))
        file.truncate(0)
        writer = csv.DictWriter(file, COLUMNS)
        writer.writerows(progress.rows)
        saved = time.perf_counter()
        for now in progressions(job, begun, progress):
            writer.writerow(now.rows[-1])
            file.flush()
            done, stop = len(now.rows) == job.task.iterations, should_stop()
            if done or stop or time.perf_counter() - saved >= checkpoint_seconds:
                write_checkpoint(checkpoint, job, now)
                saved = time.perf_counter()
            if stop and not done:
                return None
            progress = now
    return Result(job, progress.rows, progress.visits)


# ---------------------------------------------------------------- a process for each run


def process_main(checkpoint: Path) -> int:
    """Run the job on standard input; stop at the next iteration on SIGTERM, or when the parent is gone."""
    told = threading.Event()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the parent passes it on
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    given = json.loads(sys.stdin.read())
    parent, every, code = (
        given.pop(name) for name in ("parent", "checkpoint_seconds", "code")
    )
    if code != CODE:
        sys.stderr.write(
            "the code of this project has changed since the command began\n"
        )
        return 1
    job = Job(**{**given, "task": task_from(given["task"])})
    try:
        result = run_job(
            job,
            checkpoint,
            lambda: told.is_set() or os.getppid() != parent,
            checkpoint_seconds=every,
        )
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return STOPPED if result is None else 0


stopping = (
    threading.Event()
)  # set by Ctrl-C: the processes that this one watches are told to stop


def failure_of(job: Job, checkpoint: Path) -> str:
    """Run the job in a process of its own and wait for it; why it failed, or nothing."""
    if stopping.is_set():
        return "stopped"
    given = plain(job) | {
        "parent": os.getpid(),
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "code": CODE,
    }
    text: str | None = json.dumps(given)
    command = [sys.executable, "-P", "-m", "vime_lab.runs", str(checkpoint)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }  # it finds what is found here
    checkpoint.parent.mkdir(
        parents=True, exist_ok=True
    )  # where another machine does the work
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "errors": "replace",
    }
    said = ""
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # of its own, for MuJoCo leaves a log where it runs
        process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
        while process.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                _, said = process.communicate(text, timeout=POLL_SECONDS)
            text = None  # it has been sent
            if stopping.is_set():
                process.terminate()
    if process.returncode < 0:
        return f"its process died of signal {-process.returncode} ({signal.strsignal(-process.returncode)})"
    last = (said.strip() or "no message").splitlines()[-1]
    return {0: "", STOPPED: "stopped"}.get(process.returncode, last)


def supervise(job: Job, checkpoint: Path) -> Result:
    """What a process of its own made of the job; whatever goes wrong is a failure of this job alone."""
    rows, visits = [], np.zeros((0, 2))
    try:
        failure = failure_of(job, checkpoint)
        if not failure:
            _, arrays = read_checkpoint(checkpoint, job)
            rows, visits = restored_rows(job, arrays), arrays["visits"]
    except Exception as error:
        failure = str(error) if isinstance(error, CheckpointError) else repr(error)
    return Result(job, rows, visits, failure)


@contextmanager
def on_interrupt(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Have Ctrl-C call the handler while the block runs; nothing changes outside the main thread, where it can't."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_jobs(
    jobs: Sequence[Job], checkpoints: Sequence[Path], num_processes: int | None
) -> list[Result]:
    """All jobs, each in a process of its own, through joblib; results in the order of the jobs.

    joblib's parallel_config is honoured; without one, and without num_processes, there are as many at once as cores.
    Ctrl-C stops the processes, which write their checkpoints, and raises KeyboardInterrupt; a second one does not wait.
    Raises WorkerError where the backend breaks down.
    """
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend

    width = num_processes or get_active_backend()[1] or -1
    local = getattr(
        get_active_backend(prefer="threads")[0], "supports_sharedmem", False
    )
    tasks = [
        delayed(supervise)(job, path.absolute())
        for job, path in zip(jobs, checkpoints, strict=True)
    ]
    stopping.clear()

    def interrupt(number: int, frame: Any) -> None:
        if stopping.is_set() or not local:
            raise KeyboardInterrupt
        stopping.set()

    with on_interrupt(interrupt):
        try:
            results = list(Parallel(n_jobs=width, prefer="threads")(tasks))
        except Exception as error:  # not a job's, for those are results
            raise WorkerError(
                f"{type(error).__name__}: {error}".splitlines()[0]
            ) from error
    if stopping.is_set():
        raise KeyboardInterrupt
    return results


if __name__ == "__main__":
    sys.exit(process_main(Path(sys.argv[1])))

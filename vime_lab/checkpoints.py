"""Checkpoints: the state of a run between two iterations, in one file.

A checkpoint is one NPZ file. It holds arrays, and everything else as JSON; it holds no
pickle. The SHA-256 of the archive's bytes is appended to it. Only the same run resumes
from it: the same job, root seed, code and versions.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from agents_ref import Streams, ValueFunction
from bnn_ref import AdamState, Array, DiagNormal
from vime_lab.rows import COUNTS, RUN_NUMBERS, TEXTS, Row
from vime_lab.tasks import ROOT_SEED, Job, Start, settings_of
from vime_lecture.controls import PredictionError
from vime_ref import Bonus, ReplayPool, Vime

# ---------------------------------------------------------------- constants

# Seconds between polls of files and processes: no visible delay, and no load.
POLL_SECONDS = 0.2
# Seconds for an orphaned process to exit; it notices after its iteration.
CLAIM_SECONDS = 20.0
FORMAT = "vime-ref checkpoint 1"
PACKAGES = ("vime-ref", "numpy", "scipy", "autograd", "gymnasium", "mujoco")
DIGEST_BYTES = 32  # of a SHA-256
# Modules whose code computes the rows of a run.
RUN_MODULES = (
    "bnn_ref",
    "fast_ref",
    "vime_ref",
    "agents_ref",
    "vime_gym",
    "vime_gym.rooms",
    "vime_gym.tasks",
    "vime_gym.robots",
    "vime_lecture.controls",
    "vime_lab.tasks",
    "vime_lab.rows",
    "vime_lab.checkpoints",
    "vime_lab.runs",
)

# ---------------------------------------------------------------- types


class CheckpointError(Exception):
    """A checkpoint that can't be written, is damaged, or belongs to another run."""


class Progress(NamedTuple):
    """A run between two iterations: everything the next one depends on, and its rows."""

    policy: Any
    value: ValueFunction
    bonus: Bonus
    history: tuple[float, ...]
    streams: Streams
    rows: list[Row]
    visits: Array  # (n, 2), the first two observations of visited states


def beginning(begun: Start) -> Progress:
    """A run before its first iteration."""
    nowhere = np.zeros((0, 2))
    return Progress(
        begun.policy, begun.value, begun.bonus, (), begun.streams, [], nowhere
    )


def bonus_model(bonus: Bonus) -> Vime | None:
    """The bonus's Bayesian network, or None."""
    if isinstance(bonus, PredictionError):
        return bonus.model
    return bonus if isinstance(bonus, Vime) else None


# ---------------------------------------------------------------- identity


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def versions() -> dict[str, str]:
    """The versions of Python and the packages that compute a result."""
    packages = {name: installed(name) for name in PACKAGES}
    return {"python": sys.version.split()[0], **packages}


def source_of(module: str) -> Path:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def code_of(*modules: str) -> str:
    """A digest of the modules' sources."""
    sources = b"".join(source_of(name).read_bytes() for name in modules)
    return hashlib.sha256(sources).hexdigest()


CODE = code_of(*RUN_MODULES)


def job_values(job: Job) -> dict[str, Any]:
    """The job in JSON types."""
    return {**job._asdict(), "task": settings_of(job.task)}


def identity(job: Job) -> dict[str, Any]:
    """The identity of a run: runs are the same if and only if these are equal."""
    return {
        "format": FORMAT,
        "root_seed": ROOT_SEED,
        **job_values(job),
        "code": CODE,
        "versions": versions(),
    }


# ---------------------------------------------------------------- writing


def write_checkpoint(path: Path, job: Job, progress: Progress) -> None:
    """Replace the checkpoint atomically.

    Raises CheckpointError if it can't be written; the previous one then remains.
    """
    # a unique name, because another process may briefly outlive its parent
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(checkpoint_bytes(job, progress))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        message = f"can't write checkpoint {path}: {error.strerror}"
        raise CheckpointError(message) from error


def checkpoint_bytes(job: Job, progress: Progress) -> bytes:
    arrays = progress_arrays(progress)
    state = json.dumps(progress_state(job, progress), allow_nan=False)
    arrays["json"] = np.frombuffer(state.encode(), dtype=np.uint8)

    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    content = file.getvalue()

    # after the end of the archive, which NumPy ignores
    return content + hashlib.sha256(content).digest()


def progress_state(job: Job, progress: Progress) -> dict[str, Any]:
    """The parts of a run that are not arrays."""
    model = bonus_model(progress.bonus)
    streams = progress.streams._asdict()
    return {
        **identity(job),
        "history": progress.history,
        "value": {"center": progress.value.center, "scale": progress.value.scale},
        "adam_steps": model.adam.num_steps if model else 0,
        "streams": {name: rng.bit_generator.state for name, rng in streams.items()},
    }


def progress_arrays(progress: Progress) -> dict[str, Array]:
    model = bonus_model(progress.bonus)
    value = progress.value
    numbers = [[row[name] for name in RUN_NUMBERS] for row in progress.rows]
    return {
        "policy": progress.policy.theta,
        "value": value.theta,
        "value_observation_center": value.observation_center,
        "value_observation_scale": value.observation_scale,
        "rows": np.array(numbers).reshape(-1, len(RUN_NUMBERS)),  # (rows, columns)
        "visits": progress.visits,
        **(model_arrays(model) if model else {}),
    }


def model_arrays(model: Vime) -> dict[str, Array]:
    return {
        "mu": model.q.mu,
        "rho": model.q.rho,
        "center": model.center,
        "scale": model.scale,
        "adam_mean": model.adam.mean,
        "adam_square": model.adam.square,
        "pool_observations": model.pool.observations,
        "pool_actions": model.pool.actions,
        "pool_next_observations": model.pool.next_observations,
    }


# ---------------------------------------------------------------- reading


def read_checkpoint(path: Path, job: Job) -> tuple[dict[str, Any], dict[str, Array]]:
    """The contents of this run's checkpoint.

    Raises CheckpointError if it is damaged or belongs to another run.
    """
    content = checked_content(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        state = json.loads(arrays.pop("json").tobytes())
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"checkpoint {path} is not a checkpoint: {error}"
        ) from error
    check_identity(path, state, job)
    return state, arrays


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict, with names joined by dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def restored(
    job: Job, begun: Start, state: dict[str, Any], arrays: dict[str, Array]
) -> Progress:
    """The run at the time its checkpoint was written."""
    # the streams, in place
    for name, generator_state in state["streams"].items():
        getattr(begun.streams, name).bit_generator.state = generator_state

    # the networks
    policy = replace(begun.policy, theta=arrays["policy"])
    value = replace(
        begun.value,
        theta=arrays["value"],
        observation_center=arrays["value_observation_center"],
        observation_scale=arrays["value_observation_scale"],
        **state["value"],
    )
    bonus = restored_bonus(begun.bonus, state, arrays)

    # rows and visited states
    history = tuple(state["history"])
    rows = restored_rows(job, arrays)
    visits = arrays["visits"]
    return Progress(policy, value, bonus, history, begun.streams, rows, visits)


def restored_bonus(
    bonus: Bonus, state: dict[str, Any], arrays: dict[str, Array]
) -> Bonus:
    model = bonus_model(bonus)
    if model is None:
        return bonus
    # the transitions
    pool = ReplayPool(
        model.pool.capacity,
        arrays["pool_observations"],
        arrays["pool_actions"],
        arrays["pool_next_observations"],
    )

    # the network and its optimizer
    steps = state["adam_steps"]
    model = replace(
        model,
        q=DiagNormal(arrays["mu"], arrays["rho"]),
        adam=AdamState(arrays["adam_mean"], arrays["adam_square"], steps),
        pool=pool,
        center=arrays["center"],
        scale=arrays["scale"],
    )
    return PredictionError(model) if isinstance(bonus, PredictionError) else model


def restored_rows(job: Job, arrays: dict[str, Array]) -> list[Row]:
    texts = dict(zip(TEXTS, (job.task_name, job.bonus_name, job.setting)))
    return [{**texts, **restored_numbers(line)} for line in arrays["rows"]]


def restored_numbers(line: Array) -> Row:
    return {
        name: int(number) if name in COUNTS else float(number)
        for name, number in zip(RUN_NUMBERS, line)
    }


# ---------------------------------------------------------------- one process at a time


def rows_file(checkpoint: Path) -> Path:
    """The file to which a run appends its rows."""
    return checkpoint.with_suffix(".csv")


@contextmanager
def claimed(checkpoint: Path, should_stop: Callable[[], bool]) -> Iterator[TextIO]:
    """Lock the rows file; only the process that holds it may continue from the checkpoint.

    Waits a while, so that `--resume` works right after a crash.
    Raises CheckpointError if the file stays locked.
    """
    with rows_file(checkpoint).open("a", newline="") as file:
        end = time.monotonic() + CLAIM_SECONDS
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() >= end or should_stop():
                message = f"checkpoint {checkpoint} is in use by another process"
                raise CheckpointError(message)
            time.sleep(POLL_SECONDS)
        yield file


# ---------------------------------------------------------------- argument checks


def checked_content(path: Path) -> bytes:
    """The bytes of a checkpoint, without its digest. Raises CheckpointError if it is wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"can't read checkpoint {path}: {error.strerror}"
        raise CheckpointError(message) from error
    archive = content[:-DIGEST_BYTES]
    digest = content[-DIGEST_BYTES:]
    if hashlib.sha256(archive).digest() != digest:
        raise CheckpointError(f"checkpoint {path} is damaged or not a checkpoint")
    return content


def check_identity(path: Path, state: dict[str, Any], job: Job) -> None:
    own = flat(json.loads(json.dumps(identity(job))))
    others = flat(state)
    for place, mine in own.items():
        theirs = others.get(place)
        if theirs != mine:
            differs = f"its {place} is {theirs!r}, here {mine!r}"
            raise CheckpointError(
                f"checkpoint {path} belongs to another run: {differs}"
            )


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

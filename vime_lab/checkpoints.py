"""Checkpoints: the state of a run between two iterations, in one file.

A checkpoint is one archive, which `vime_lab.archives` reads and writes. It holds arrays, and
everything else as JSON. Only the same run resumes from it: the same job, root seed, code,
versions and kind of machine.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TextIO
from zipfile import ZipFile

import numpy as np

from agents_ref import Streams, ValueFunction
from bnn_ref import AdamState, Array, DiagNormal, check_array, check_count
from vime_lab import archives
from vime_lab.files import TEMPORARY, open_regular, write_files
from vime_lab.machine import machine_kind
from vime_lab.rows import COUNTS, RUN_NUMBERS, TEXTS, Row
from vime_lab.settings import settings_of
from vime_lab.tasks import CONTROLS, ROOT_SEED, Job, Start
from vime_lecture.counts import VisitCounts
from vime_ref import Bonus, ReplayPool, Vime, check_gains

# ---------------------------------------------------------------- constants

# Seconds between polls of files and processes: no visible delay, and no load.
POLL_SECONDS = 0.2
# Seconds for an orphaned process to exit; it notices after its iteration.
CLAIM_SECONDS = 20.0
FORMAT = "vime-ref checkpoint 1"
PACKAGES = ("vime-ref", "numpy", "scipy", "autograd", "gymnasium", "mujoco")
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
    "vime_gym.vector_tasks",
    "vime_lecture.controls",
    "vime_lecture.counts",
    "vime_lecture.densities",
    "vime_lab.baselines",
    "vime_lab.settings",
    "vime_lab.tasks",
    "vime_lab.rows",
    "vime_lab.checkpoints",
    "vime_lab.runs",
)

# ---------------------------------------------------------------- types


PARTS = ("history", "value", "adam_steps", "streams")  # of a run, besides its identity


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
    """The bonus's pool and network, or None."""
    if isinstance(bonus, Vime):
        return bonus
    model: Vime | None = getattr(bonus, "model", None)
    return model


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


@functools.cache
def code_of(*modules: str) -> str:
    """A digest of the modules' sources, as they were at the first call."""
    sources = b"".join(source_of(name).read_bytes() for name in modules)
    return hashlib.sha256(sources).hexdigest()


CODE = code_of(*RUN_MODULES)


def job_values(job: Any) -> dict[str, Any]:
    """A job, of a task or of a study, in JSON types."""
    return {
        name: settings_of(value) if is_dataclass(value) else value
        for name, value in job._asdict().items()
    }


def identity(job: Any, code: str = "") -> dict[str, Any]:
    """The identity of a run: runs are the same if and only if these are equal."""
    return {
        "format": FORMAT,
        "root_seed": ROOT_SEED,
        **job_values(job),
        "code": code or CODE,
        "versions": versions(),
        "machine": machine_kind(),
    }


# ---------------------------------------------------------------- writing


def write_checkpoint(path: Path, job: Job, progress: Progress) -> None:
    """Replace a run's checkpoint. Raises like `write_state`."""
    write_state(path, progress_state(job, progress), progress_arrays(progress))


def write_state(path: Path, state: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Replace a checkpoint atomically.

    Raises CheckpointError if it can't be written; the previous one then remains.
    """
    content = checkpoint_bytes(state, arrays)
    try:
        write_files({path: content})
    except OSError as error:
        message = f"can't write checkpoint {path}: {error.strerror}"
        raise CheckpointError(message) from error


def checkpoint_bytes(state: dict[str, Any], arrays: dict[str, Array]) -> bytes:
    text = json.dumps(state, allow_nan=False)
    return archives.archive_bytes(
        {**arrays, "json": np.frombuffer(text.encode(), np.uint8)}
    )


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
        **(counts_arrays(progress.bonus)),
    }


def counts_arrays(bonus: Bonus) -> dict[str, Array]:
    """The cells that were visited, and how often, if the bonus counts."""
    if not isinstance(bonus, VisitCounts):
        return {}
    cells = [cell for (cell,) in bonus.counts]
    return {
        "cells": np.array(cells, dtype=float),
        "cell_visits": np.array([*bonus.counts.values()], dtype=float),
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
    """The contents of this run's checkpoint. Raises like `read_state`."""
    state, arrays = read_state(path, identity(job), shapes_of(job))
    check_kept_rows(path, job, arrays)
    return state, arrays


def shapes_of(job: Job) -> archives.Shapes:
    """The shapes of a checkpoint's arrays, as far as they are known without the environment."""
    vectors = ("policy", "value", "value_observation_center", "value_observation_scale")
    model = ("mu", "rho", "center", "scale", "adam_mean", "adam_square")
    pool = ("pool_observations", "pool_actions", "pool_next_observations")
    counted = ("cells", "cell_visits") if job.bonus_name == "counts" else ()
    holds = job.bonus_name == "vime" or job.bonus_name in CONTROLS
    return {
        **dict.fromkeys(vectors + counted + (model if holds else ()), (None,)),
        **dict.fromkeys(pool if holds else (), (None, None)),
        "rows": (None, len(RUN_NUMBERS)),
        "visits": (None, 2),
    }


def read_state(
    path: Path, own: dict[str, Any], shapes: archives.Shapes = MappingProxyType({})
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The contents of the checkpoint with this identity and arrays of these shapes.

    Raises CheckpointError if it is damaged or belongs to another run.
    """
    try:
        with archives.opened(path) as archive:
            state = state_in(archive)
            check_identity(path, flat(state), own)
            archives.check_names(archive, [*shapes, "json"])
            return state, archives.read_arrays(archive, shapes)
    except OSError as error:
        message = f"can't read checkpoint {path}: {error.strerror}"
        raise CheckpointError(message) from error
    except archives.ArchiveError as error:
        raise CheckpointError(shortened(f"checkpoint {path} is {error}")) from error


def state_in(archive: ZipFile) -> dict[str, Any]:
    """The parts of a checkpoint that are not arrays. Raises ValueError if they are none."""
    content = archives.read_arrays(archive, {"json": (None,)})["json"].tobytes()
    state = json.loads(content, parse_constant=float_of)
    if not isinstance(state, dict):
        raise ValueError("JSON must be an object")
    return state


def float_of(text: str) -> float:
    """Reject NaN and Infinity, which are not JSON."""
    raise ValueError(f"{text} is not JSON")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict, with names joined by dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def resumed(path: Path, job: Job, begun: Start) -> Progress:
    """The run at the time its checkpoint was written.

    Raises CheckpointError like `read_checkpoint`, and if a part does not fit the run.
    """
    state, arrays = read_checkpoint(path, job)
    check_shapes(path, job, begun, arrays)
    try:
        return restored(job, begun, state, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        message = f"checkpoint {path} is not a checkpoint of this run: {error!r}"
        raise CheckpointError(shortened(message)) from error


def restored(
    job: Job, begun: Start, state: dict[str, Any], arrays: dict[str, Array]
) -> Progress:
    """The run at the time its checkpoint was written."""
    check_keys("it", state, [*identity(job), *PARTS])
    check_keys("value", state["value"], ("center", "scale"))

    # the streams, in place
    check_keys("streams", state["streams"], begun.streams._fields)
    for name, rng in begun.streams._asdict().items():
        rng.bit_generator.state = state["streams"][name]

    # the networks
    policy = replace(begun.policy, theta=arrays["policy"])
    value = replace(
        begun.value,
        theta=arrays["value"],
        observation_center=arrays["value_observation_center"],
        observation_scale=arrays["value_observation_scale"],
        center=state["value"]["center"],
        scale=state["value"]["scale"],
    )
    bonus = restored_bonus(job, begun.bonus, state, arrays)

    # rows and visited states
    history = tuple(check_array("history", state["history"], (None,)).tolist())
    check_gains("history", history)
    rows = restored_rows(job, arrays)
    visits = arrays["visits"]
    return Progress(policy, value, bonus, history, begun.streams, rows, visits)


def restored_bonus(
    job: Job, bonus: Bonus, state: dict[str, Any], arrays: dict[str, Array]
) -> Bonus:
    if isinstance(bonus, VisitCounts):
        return replace(bonus, counts=restored_counts(arrays))
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
    steps = check_count("adam_steps", state["adam_steps"], minimum=0)
    model = replace(
        model,
        q=DiagNormal(arrays["mu"], arrays["rho"]),
        adam=AdamState(arrays["adam_mean"], arrays["adam_square"], steps),
        pool=pool,
        center=arrays["center"],
        scale=arrays["scale"],
    )
    if isinstance(bonus, Vime):
        return model
    control: Bonus = CONTROLS[job.bonus_name](model)
    return control


def restored_counts(arrays: dict[str, Array]) -> dict[tuple[float, ...], int]:
    cells = arrays["cells"].tolist()
    visits = check_array("cell_visits", arrays["cell_visits"], (len(cells),))
    return {(cell,): int(number) for cell, number in zip(cells, visits)}


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


def locked(descriptor: int) -> bool:
    """Lock a file or folder until it is closed; return False if another process has it.

    The system unlocks it when the process ends, however it ends.
    """
    import fcntl  # which Windows lacks; commands that lock nothing work there

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def claimed(checkpoint: Path, should_stop: Callable[[], bool]) -> Iterator[TextIO]:
    """Lock the rows file; only the process that holds it may continue from the checkpoint.

    Waits a while, so that `--resume` works right after a crash.
    Raises CheckpointError if the file stays locked.
    """
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = open_regular(rows_file(checkpoint), flags)
    except OSError as error:
        message = f"can't write {rows_file(checkpoint)}: {error.strerror}"
        raise CheckpointError(message) from error
    with os.fdopen(descriptor, "a", newline="", encoding="utf-8") as file:
        end = time.monotonic() + CLAIM_SECONDS
        while not locked(file.fileno()):
            if time.monotonic() >= end or should_stop():
                message = f"checkpoint {checkpoint} is in use by another process"
                raise CheckpointError(message)
            time.sleep(POLL_SECONDS)

        # what a killed process left half written
        stem = glob.escape(checkpoint.stem)
        for left in checkpoint.parent.glob(f"{stem}.*{TEMPORARY}"):
            with suppress(OSError):
                left.unlink()
        yield file


# ---------------------------------------------------------------- argument checks


def check_keys(name: str, values: dict[str, Any], wanted: Iterable[str]) -> None:
    if differ := sorted({*values} ^ {*wanted}):
        verb = "has an unknown" if differ[0] in values else "lacks"
        raise ValueError(f"{name} {verb} {differ[0]!r}")


def check_kept_rows(path: Path, job: Job, arrays: Mapping[str, Array]) -> None:
    """The rows must be the run's first ones; visited states can't be more than its steps."""
    rows = arrays["rows"]
    number = np.arange(len(rows))
    own = np.stack([np.full(len(rows), job.seed), number], axis=1)  # (rows, 2)
    steps = rows[:, 2]
    whole = np.diff(steps, prepend=0) >= job.task.agent.batch_steps
    fits = np.array_equal(rows[:, :2], own) and whole.all()
    if len(rows) > job.task.iterations or not fits:
        message = f"checkpoint {path} is not a checkpoint of this run: its rows differ"
        raise CheckpointError(message)
    if len(arrays["visits"]) > (steps[-1] if len(rows) else 0):
        message = (
            f"checkpoint {path} is not a checkpoint of this run: its visits differ"
        )
        raise CheckpointError(message)


def check_shapes(
    path: Path, job: Job, begun: Start, arrays: Mapping[str, Array]
) -> None:
    """Arrays must be as large as at the beginning; a pool grows to its capacity."""
    capacity = job.task.vime.capacity
    for name, first in progress_arrays(beginning(begun)).items():
        grows = name.startswith(("pool_", "cell"))
        if name in ("rows", "visits"):
            continue
        found = arrays[name].shape
        alike = found[grows:] == first.shape[grows:]
        if not alike or (grows and found[0] > capacity):
            wanted = f"{name} must have shape {first.shape}, got {found}"
            raise CheckpointError(
                f"checkpoint {path} is not a checkpoint of this run: {wanted}"
            )


def shortened(text: str) -> str:
    """At most 300 characters, because a stranger's file may hold any text."""
    return text if len(text) <= 300 else f"{text[:300]}..."


def changed_entry(others: dict[str, Any], own: dict[str, Any]) -> str:
    """The first place where others' values differ from our own, with both; "" if none does."""
    for place, mine in own.items():
        theirs = others.get(place)
        if theirs != mine:
            return f"its {place} is {shortened(repr(theirs))}, here {mine!r}"
    return ""


def check_identity(path: Path, others: dict[str, Any], own: dict[str, Any]) -> None:
    if differs := changed_entry(others, flat(json.loads(json.dumps(own)))):
        raise CheckpointError(f"checkpoint {path} belongs to another run: {differs}")


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

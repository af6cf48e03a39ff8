"""Runs: what is measured, what survives a kill, and many of them at once."""

import csv
import hashlib
import io
import itertools
import json
import math
import os
import pickle
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pytest
from distributed import Client, LocalCluster, get_task_stream
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng
from scipy.special import logsumexp
from scipy.stats import norm
from strategies import finite

import bnn_ref as bnn
from agents_ref import Iteration, train
from vime_lab import command_line as experiments
from vime_lab import runs
from vime_lab.runs import CheckpointError, Progress, Row
from vime_lab.tasks import BONUSES, TASKS, Job, start, with_setting
from vime_lecture.controls import PredictionError
from vime_ref import Batch, NoBonus

ROOT = Path(__file__).parent.parent.parent

NAME = "SparseMountainCar"
SIZES = {
    "agent.batch_steps": 600,
    "vime.num_updates": 5,
    "vime.num_samples": 2,
    "vime.hidden_sizes": [4],
    "policy_sizes": [4],
    "value_sizes": [4],
}
ITERATIONS = 4
PATIENCE = 60.0  # seconds until a process test gives up
PHASES = runs.PHASES
TIMES = (*PHASES, "wall_s")


def small_job(
    bonus: str = "vime", seed: int = 0, task_name: str = NAME, **changes: Any
) -> Job:
    task = replace(TASKS[task_name], iterations=ITERATIONS)
    for name, value in {**SIZES, **changes}.items():
        task = with_setting(task, name, value)
    return Job(task_name, bonus, "", seed, task)


def same(rows: list[Row]) -> list[Row]:
    """Rows without their times, as text, which makes nan equal to nan."""
    return [
        {name: str(value) for name, value in row.items() if name not in TIMES}
        for row in rows
    ]


def stop_after(iterations: int) -> Callable[[], bool]:
    calls = itertools.count(1)
    return lambda: next(calls) >= iterations


Held = tuple[dict[str, Any], dict[str, Any]]


def held(path: Path, job: Job) -> Held:
    """All that a checkpoint holds, but for times, in a form that compares bit by bit."""
    state, arrays = runs.read_checkpoint(path, job)
    arrays["rows"] = arrays["rows"][:, [name not in TIMES for name in runs.NUMBERS]]
    return state, {
        name: (array.shape, array.tobytes()) for name, array in arrays.items()
    }


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Job, Path, list[Row]]]:
    """For each bonus a run that was never stopped."""
    folder = tmp_path_factory.mktemp("finished")
    made = {}
    for bonus in BONUSES:
        job, path = small_job(bonus), folder / f"{bonus}.npz"
        result = runs.run_job(job, path)
        assert result is not None
        made[bonus] = job, path, result.rows
    return made


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Job, bytes]]:
    """For each bonus the checkpoint of a run that was stopped after two iterations."""
    folder = tmp_path_factory.mktemp("kept")
    made = {}
    for bonus in BONUSES:
        job, path = small_job(bonus), folder / f"{bonus}.npz"
        assert runs.run_job(job, path, stop_after(2)) is None
        made[bonus] = job, path.read_bytes()
    return made


# ---------------------------------------------------------------- checkpoints: continued


@pytest.mark.parametrize("bonus", BONUSES)
@pytest.mark.parametrize("stops", [(1,), (2,), (3,), (1, 1, 1)])
def test_a_continued_run_against_one_never_stopped(bonus, stops, finished, tmp_path):
    """Rows, networks, optimiser, pool, visits and streams, bit for bit."""
    job, reference, rows = finished[bonus]
    path = tmp_path / "run.npz"
    for iterations in stops:
        assert runs.run_job(job, path, stop_after(iterations)) is None
    result = runs.run_job(job, path)
    assert same(result.rows) == same(rows)
    assert held(path, job) == held(reference, job)
    assert (
        result.visits.tobytes()
        == runs.read_checkpoint(reference, job)[1]["visits"].tobytes()
    )
    again = runs.run_job(job, path)
    assert str(again.rows) == str(result.rows)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["run.csv", "run.npz"]


@pytest.mark.parametrize("task_name", TASKS)
def test_a_continued_run_of_each_task_against_one_never_stopped(
    task_name, tmp_path, monkeypatch
):
    """With two hidden layers everywhere, and a curvature from a part of the rows."""
    monkeypatch.chdir(tmp_path)
    deep = {name: [4, 3] for name in SIZES if name.endswith("sizes")}
    job = small_job(
        "vime", 1, task_name, iterations=3, **deep, **{"trpo.fisher_every": 5}
    )
    whole, path = runs.run_job(job, tmp_path / "whole.npz"), tmp_path / "run.npz"
    assert runs.run_job(job, path, stop_after(2)) is None
    assert same(runs.run_job(job, path).rows) == same(whole.rows)
    assert held(path, job) == held(tmp_path / "whole.npz", job)
    assert whole.rows[-1]["gain_median"] > 0.0


def test_the_rows_file_holds_the_rows(finished, tmp_path):
    job, reference, rows = finished["vime"]
    (tmp_path / "run.npz").write_bytes(reference.read_bytes())
    runs.run_job(job, tmp_path / "run.npz")
    written = experiments.written_rows(tmp_path / "run.csv")
    assert written == [
        {name: str(value) for name, value in row.items()} for row in rows
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, [1, 2, 3, 4, 5, 6, 7]),
        (2.0, [2, 4, 6, 7]),
        (2.5, [3, 6, 7]),
        (3.0, [3, 6, 7]),
        (1e9, [7]),
    ],
)
def test_checkpoints_come_as_often_as_told(seconds, expected, monkeypatch, tmp_path):
    """On a clock that moves one second an iteration; the end is always kept."""
    saved: list[int] = []
    clock = [100.0]

    def iterations(*arguments: Any) -> Iterator[Progress]:
        for number in range(1, 8):
            clock[0] += 1.0
            yield rows_only(number)

    monkeypatch.setattr(
        runs,
        "write_checkpoint",
        lambda path, job, progress: saved.append(len(progress.rows)),
    )
    monkeypatch.setattr(runs, "progressions", iterations)
    monkeypatch.setattr(runs.time, "perf_counter", lambda: clock[0])
    runs.run_job(
        small_job("none", iterations=7),
        tmp_path / "run.npz",
        checkpoint_seconds=seconds,
    )
    assert saved == expected


def rows_only(count: int) -> Progress:
    row = dict.fromkeys(runs.COLUMNS, 0)
    return Progress(None, None, NoBonus(), (), None, [row] * count, np.zeros((0, 2)))


ALTERED: dict[str, Callable[[Progress], Progress]] = {
    "policy": lambda p: p._replace(
        policy=replace(p.policy, theta=p.policy.theta + 1e-3)
    ),
    "value": lambda p: p._replace(value=replace(p.value, theta=p.value.theta + 1e-3)),
    "value scale": lambda p: p._replace(
        value=replace(p.value, scale=p.value.scale + 1.0)
    ),
    "value center": lambda p: p._replace(
        value=replace(p.value, center=p.value.center + 1.0)
    ),
    "observation center": lambda p: p._replace(
        value=replace(p.value, observation_center=np.ones(2))
    ),
    "observation scale": lambda p: p._replace(
        value=replace(p.value, observation_scale=np.full(2, 3.0))
    ),
    "mu": lambda p: model_altered(
        p, q=bnn.DiagNormal(p.bonus.q.mu + 1e-6, p.bonus.q.rho)
    ),
    "rho": lambda p: model_altered(
        p, q=bnn.DiagNormal(p.bonus.q.mu, p.bonus.q.rho + 1e-6)
    ),
    "adam mean": lambda p: model_altered(
        p, adam=p.bonus.adam._replace(mean=0.0 * p.bonus.adam.mean)
    ),
    "adam square": lambda p: model_altered(
        p, adam=p.bonus.adam._replace(square=2.0 * p.bonus.adam.square)
    ),
    "adam steps": lambda p: model_altered(p, adam=p.bonus.adam._replace(num_steps=0)),
    "pool": lambda p: model_altered(
        p, pool=replace(p.bonus.pool, observations=p.bonus.pool.observations[::-1])
    ),
    "center": lambda p: model_altered(p, center=p.bonus.center + 0.1),
    "scale": lambda p: model_altered(p, scale=2.0 * p.bonus.scale),
    "history": lambda p: p._replace(history=()),
    "rows": lambda p: p._replace(rows=[{**p.rows[0], "elbo": 0.0}, *p.rows[1:]]),
    "visits": lambda p: p._replace(visits=p.visits[1:]),
    "environment": lambda p: stream_moved(p, "environment"),
    "actions": lambda p: stream_moved(p, "policy"),
    "gains": lambda p: stream_moved(p, "model"),
    "replay": lambda p: stream_moved(p, "replay"),
}


def model_altered(progress: Progress, **changes: Any) -> Progress:
    return progress._replace(bonus=replace(progress.bonus, **changes))


def stream_moved(progress: Progress, name: str) -> Progress:
    getattr(progress.streams, name).random()
    return progress


def continued(
    kept: dict[str, tuple[Job, bytes]],
    path: Path,
    alter: Callable[[Progress], Progress],
) -> Held:
    """The checkpoint after one iteration more from the one kept, with something altered in between."""
    job, content = kept["vime"]
    path.write_bytes(content)
    begun = start(job)
    progress = alter(runs.restored(job, begun, *runs.read_checkpoint(path, job)))
    runs.write_checkpoint(path, job, next(runs.progressions(job, begun, progress)))
    return held(path, job)


def test_each_part_of_a_checkpoint_matters(kept, tmp_path):
    """Negative controls of the comparison above: whatever is restored wrong shows one iteration later."""
    right = continued(kept, tmp_path / "right.npz", lambda progress: progress)
    assert right == continued(kept, tmp_path / "again.npz", lambda progress: progress)
    unseen = [
        name
        for name, alter in ALTERED.items()
        if continued(kept, tmp_path / "wrong.npz", alter) == right
    ]
    assert unseen == []


# ---------------------------------------------------------------- checkpoints: refused


def refused(path: Path, content: bytes, job: Job) -> str:
    """The message for this content, which stays as it is."""
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        runs.read_checkpoint(path, job)
    with pytest.raises(CheckpointError):
        runs.run_job(job, path)
    assert path.read_bytes() == content
    assert "\n" not in str(error.value)
    assert f"checkpoint {path} " in str(error.value)
    return str(error.value)


def with_digest(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def test_damaged_checkpoints_are_refused_and_left(kept, tmp_path, monkeypatch):
    """Flipped bits and lost ends, at a few hundred places. Control: the whole one is read."""
    job, content = kept["none"]
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    runs.read_checkpoint(path, job)
    begun = start(job)
    monkeypatch.setattr(runs, "start", lambda job: begun)
    rng = default_rng(0)
    places = {
        *range(40),
        *range(len(content) - 80, len(content)),
        *map(int, rng.integers(len(content), size=100)),
    }
    for place in places:
        flipped = bytes([content[place] ^ (1 << int(rng.integers(8)))])
        refused(path, content[:place] + flipped + content[place + 1 :], job)
        refused(path, content[:place], job)
    refused(path, content + b"\0", job)


OTHERS = {
    "task.agent.eta": (small_job(**{"agent.eta": 0.5}), "0.0001", "0.5"),
    "task.vime.hidden_sizes": (small_job(**{"vime.hidden_sizes": [5]}), "[4]", "[5]"),
    "task.iterations": (small_job(iterations=9), str(ITERATIONS), "9"),
    "seed": (small_job(seed=1), "0", "1"),
    "bonus_name": (small_job("l2"), "'vime'", "'l2'"),
    "setting": (small_job()._replace(setting="agent.eta=1"), "''", "'agent.eta=1'"),
    "task_name": (
        small_job()._replace(task_name="Elsewhere"),
        f"'{NAME}'",
        "'Elsewhere'",
    ),
}


@pytest.mark.parametrize("place", OTHERS)
def test_another_runs_checkpoint_is_refused_by_what_differs(place, kept, tmp_path):
    other, theirs, mine = OTHERS[place]
    message = refused(tmp_path / "run.npz", kept["vime"][1], other)
    assert message.endswith(
        f"is another run's: its {place} is {theirs}, here it is {mine}"
    )


@pytest.mark.parametrize("package", [*runs.PACKAGES, "python"])
def test_another_versions_checkpoint_is_refused_by_what_differs(
    package, kept, tmp_path, monkeypatch
):
    installed = runs.installed
    monkeypatch.setattr(
        runs, "installed", lambda name: "9.9.9" if name == package else installed(name)
    )
    if package == "python":
        monkeypatch.setattr(runs.sys, "version", "9.9.9 (elsewhere)")
    message = refused(tmp_path / "run.npz", kept["vime"][1], kept["vime"][0])
    assert f"its versions.{package} is '" in message
    assert message.endswith("here it is '9.9.9'")


@pytest.mark.parametrize(
    ("name", "value"),
    [("FORMAT", "vime-ref checkpoint 2"), ("ROOT_SEED", 1), ("CODE", "a1")],
)
def test_another_format_root_seed_or_code_is_refused_by_what_differs(
    name, value, kept, tmp_path, monkeypatch
):
    monkeypatch.setattr(runs, name, value)
    message = refused(tmp_path / "run.npz", kept["vime"][1], kept["vime"][0])
    assert f"its {name.lower()} is " in message


def test_a_package_that_is_not_installed_has_the_version_none():
    assert runs.installed("no-such-package-anywhere") == "none"
    assert runs.installed("numpy") == np.__version__


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_what_is_no_checkpoint_is_refused_and_no_pickle_is_opened(tmp_path):
    """With a right digest as well. Control: NumPy, told to, would open the pickle."""
    folder, path, job = tmp_path / "trapped", tmp_path / "run.npz", small_job()
    trap = npz(json=np.array([Trap(folder)], dtype=object))
    plain = npz(json=np.zeros(3))
    for content in (
        b"",
        b"\n",
        b"a text\n",
        pickle.dumps(Trap(folder)),
        trap,
        plain,
        npz(a=np.zeros(3)),
    ):
        assert "no checkpoint" in refused(path, content, job)
        assert "no checkpoint" in refused(path, with_digest(content), job)
    assert not folder.exists()
    np.load(io.BytesIO(trap), allow_pickle=True)["json"]
    assert folder.exists()


def test_a_checkpoint_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"can't read checkpoint .*run\.npz: "):
        runs.read_checkpoint(tmp_path / "run.npz", small_job())


# ---------------------------------------------------------------- checkpoints: in use


def never() -> bool:
    return False


@pytest.mark.parametrize(
    ("seconds", "stop"), [(0.0, False), (1e9, True)], ids=["too long", "told to stop"]
)
def test_a_checkpoint_in_use_is_refused_and_left(
    seconds, stop, kept, tmp_path, monkeypatch
):
    """After a while, or on being told to stop. Control: once it is free the run goes on."""
    job, content = kept["none"]
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    monkeypatch.setattr(runs, "CLAIM_SECONDS", seconds)
    with runs.claimed(path, never) as file:
        print("a row", file=file, flush=True)
        with pytest.raises(CheckpointError) as error:
            runs.run_job(job, path, lambda: stop)
    assert str(error.value) == f"checkpoint {path} is in use by another process"
    assert (path.read_bytes(), runs.rows_file(path).read_text()) == (content, "a row\n")
    assert len(runs.run_job(job, path).rows) == ITERATIONS


def test_a_checkpoint_that_comes_free_is_waited_for_and_read_only_then(
    finished, kept, tmp_path, monkeypatch
):
    """What the other process has done meanwhile is not done again. Control: from the one before there is work left."""
    job, reference, rows = finished["none"]
    path = tmp_path / "run.npz"
    path.write_bytes(kept["none"][1])
    other = runs.claimed(path, never)
    other.__enter__()

    def end_the_other(seconds: float) -> None:
        path.write_bytes(reference.read_bytes())
        other.__exit__(None, None, None)

    monkeypatch.setattr(runs.time, "sleep", end_the_other)
    monkeypatch.setattr(runs, "train", full)
    assert str(runs.run_job(job, path).rows) == str(rows)
    path.write_bytes(kept["none"][1])
    with pytest.raises(OSError, match="No space left"):
        runs.run_job(job, path)


# ---------------------------------------------------------------- checkpoints: not written


def full(*arguments: Any, **keywords: Any) -> None:
    raise OSError(28, "No space left on device")


class FullDisk(io.FileIO):
    """A file that takes a part of what it is given."""

    def write(self, content: Any) -> int:
        super().write(content[:1000])
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    where, kept, tmp_path, monkeypatch
):
    """Control: with the disk free again the run goes on."""
    job, content = kept["none"]
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    opened = Path.open
    instead = {"open": full, "write": FullDisk}.get(where)
    with monkeypatch.context() as broken:
        if instead:
            broken.setattr(
                Path,
                "open",
                lambda self, *a, **k: (instead if self.suffix == ".tmp" else opened)(
                    self, *a, **k
                ),
            )
        else:
            broken.setattr(os, where, full)
        with pytest.raises(CheckpointError) as error:
            runs.run_job(job, path)
    assert str(error.value) == f"can't write checkpoint {path}: No space left on device"
    assert path.read_bytes() == content
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.csv", "run.npz"]
    assert runs.run_job(job, path) is not None
    assert path.read_bytes() != content


def test_a_folder_that_is_gone_raises(kept, tmp_path):
    job, content = kept["none"]
    path = tmp_path / "gone" / "run.npz"
    (tmp_path / "run.npz").write_bytes(content)
    begun = start(job)
    progress = runs.restored(
        job, begun, *runs.read_checkpoint(tmp_path / "run.npz", job)
    )
    with pytest.raises(
        CheckpointError,
        match=f"can't write checkpoint {path}: No such file or directory",
    ):
        runs.write_checkpoint(path, job, progress)


# ---------------------------------------------------------------- measuring


@pytest.fixture(scope="module")
def steps() -> list[tuple[Any, Any, Batch]]:
    """Of three iterations: the bonus before, the bonus after, and the batch between."""
    begun = start(
        small_job(
            **{"agent.batch_steps": 300, "vime.min_rows": 600, "vime.num_updates": 20}
        )
    )
    state = begun.policy, begun.bonus, begun.value, begun.streams, begun.settings
    before, seen = begun.bonus, []
    for iteration in train(begun.env, *state, num_iterations=3):
        seen.append((before, iteration.bonus, iteration.batch))
        before = iteration.bonus
    return seen


def slow_diagnosis(before: Any, after: Any, batch: Batch, rng: Any) -> list[float]:
    """All columns by a loop over weight samples, in units of the observation, with the fast form's noise and rows."""

    def predictions(model: Any, observations: Any, actions: Any) -> Any:
        k = observations.shape[1]
        inputs = (
            np.concatenate([observations, actions], axis=1) - model.center
        ) / model.scale
        weights = [(model.q.mu + model.q.sigma * e)[None] for e in eps]
        table = np.array(
            [bnn.mlp(theta, inputs, model.layer_sizes)[0] for theta in weights]
        )
        return model.center[:k] + model.scale[:k] * table  # (S, N, K)

    def log_densities(model: Any, predicted: Any, targets: Any) -> Any:
        k = targets.shape[1]
        return norm.logpdf(
            targets, predicted, model.settings.likelihood_sigma * model.scale[:k]
        ).sum(axis=-1)  # (S, N)

    pool, q, prior = after.pool, after.q, after.prior
    drawn = rng.integers(len(pool), size=runs.DIAGNOSED_ROWS)
    other = rng.integers(len(batch.rewards), size=runs.DIAGNOSED_ROWS)
    eps = rng.standard_normal((after.settings.num_samples, len(q.mu)))
    kl = sum(
        math.log(p / s) + (s**2 + (m - o) ** 2) / (2 * p**2) - 0.5
        for m, s, o, p in zip(q.mu, q.sigma, prior.mu, prior.sigma)
    )
    fitted = predictions(after, pool.observations[drawn], pool.actions[drawn])
    bound = (
        after.settings.num_data
        * log_densities(after, fitted, pool.next_observations[drawn]).mean()
        - kl
    )
    targets = batch.next_observations[other]
    foreseen = predictions(
        before, batch.observations[other], np.clip(batch.actions, -1.0, 1.0)[other]
    )
    heldout = np.mean(
        logsumexp(log_densities(before, foreseen, targets), axis=0) - math.log(len(eps))
    )
    unit, mean = before.scale[: targets.shape[1]], before.center[: targets.shape[1]]
    errors = [
        (((targets - guess) / unit) ** 2).sum()
        for guess in (foreseen.mean(axis=0), mean)
    ]
    return [bound, kl, float(heldout), errors[0] / errors[1]]


def test_diagnosis_against_a_slow_loop(steps):
    """Control: the model that has learned from the batch gives another likelihood and another error."""
    before, after, batch = steps[2]
    found = runs.diagnosis(before, after, batch, default_rng(5))
    expected = slow_diagnosis(before, after, batch, default_rng(5))
    assert list(found) == [
        "elbo",
        "kl_prior",
        "heldout_log_likelihood",
        "heldout_error_ratio",
    ]
    assert list(found.values()) == pytest.approx(expected, rel=1e-10)
    leaked = slow_diagnosis(after, after, batch, default_rng(5))
    assert leaked[:2] == pytest.approx(expected[:2], rel=1e-10)
    assert all(abs(a / b - 1.0) > 1e-6 for a, b in zip(leaked[2:], expected[2:]))
    wrapped = runs.diagnosis(
        PredictionError(before), PredictionError(after), batch, default_rng(5)
    )
    assert wrapped == found


def learned(
    batches: Sequence[Batch], unit: float, **changes: Any
) -> tuple[Any, Any, Batch]:
    """The model before and after the last batch, and that batch, with observations in another unit."""
    begun = start(small_job(**changes))
    before = after = begun.bonus
    for number, batch in enumerate(batches):
        scaled = {
            name: unit * getattr(batch, name)
            for name in ("observations", "next_observations")
        }
        batch = batch._replace(**scaled)
        before, after = after, after.update(batch, default_rng(number))
    return before, after, batch


def test_diagnosis_in_another_unit_against_the_jacobian(steps):
    """Densities of c s' are those of s' less log c for each dimension; KL and ratio have no unit."""
    batches = [batch for _, _, batch in steps]
    one, other = (
        runs.diagnosis(*learned(batches, unit), default_rng(5)) for unit in (1.0, 8.0)
    )
    shifts = [other[name] - one[name] for name in runs.MODEL]
    log_unit = 2 * math.log(8.0)
    num_data = TASKS[NAME].vime.num_data
    assert shifts == pytest.approx(
        [-num_data * log_unit, 0.0, -log_unit, 0.0], rel=1e-10, abs=1e-10
    )


def test_the_error_ratio_of_a_model_that_has_learned_against_its_prior(steps):
    """Far below 1; the prior, and the prior's mean, which foretell nothing, are not below it."""
    sharp = {
        "likelihood_sigma": 0.3,
        "num_updates": 300,
        "learning_rate": 0.01,
        "hidden_sizes": [8],
        "num_data": 1e4,
    }
    batches = [batch for _, _, batch in steps]
    before, after, batch = learned(
        batches, 1.0, **{f"vime.{name}": value for name, value in sharp.items()}
    )
    ignorant = replace(before, q=before.prior)
    constant = replace(
        before, q=bnn.DiagNormal(0.0 * before.q.mu, np.full_like(before.q.rho, -30.0))
    )
    ratios = [
        runs.diagnosis(m, after, batch, default_rng(5))["heldout_error_ratio"]
        for m in (before, ignorant, constant)
    ]
    assert ratios[0] < 0.3 < 0.9 < ratios[1]
    assert ratios[2] == pytest.approx(1.0)


def test_diagnosis_against_the_mean_of_many(steps):
    """Within 5 standard errors of the ELBO on all rows with 4000 weight samples; twice the KL would be far off."""
    before, after, batch = steps[2]
    estimates = [
        runs.diagnosis(before, after, batch, default_rng(seed))["elbo"]
        for seed in range(60)
    ]
    unit = float(np.log(after.scale[:2]).sum())
    rows = after.normalized(
        after.pool.observations, after.pool.actions, after.pool.next_observations
    )
    model = {
        "layer_sizes": after.layer_sizes,
        "likelihood_sigma": after.settings.likelihood_sigma,
    }
    eps = default_rng(99).standard_normal((4000, len(after.q.mu)))
    fit = (
        after.settings.num_data
        * bnn.log_likelihood(
            bnn.mlp(bnn.sample_weights(after.q, eps), rows[0], model["layer_sizes"]),
            rows[1],
            model["likelihood_sigma"],
        ).mean(axis=1)
        - after.settings.num_data * unit
    )
    kl = float(
        bnn.kl_diag_normal(after.q.mu, after.q.sigma, after.prior.mu, after.prior.sigma)
    )
    error = math.hypot(
        fit.std() / math.sqrt(len(eps)), np.std(estimates) / math.sqrt(len(estimates))
    )
    assert abs(np.mean(estimates) - (fit.mean() - kl)) < 5.0 * error < 0.5 * kl


def test_diagnosis_is_nan_where_there_is_nothing_to_measure(steps):
    """No model; a model that has not learned yet; one that had not before this batch."""
    first, second, third = steps
    nothing = [
        runs.diagnosis(NoBonus(), NoBonus(), first[2], default_rng(0)),
        runs.diagnosis(*first, default_rng(0)),
    ]
    assert [list(map(math.isnan, found.values())) for found in nothing] == [
        [True] * 4
    ] * 2
    assert list(map(math.isnan, runs.diagnosis(*second, default_rng(0)).values())) == [
        False,
        False,
        True,
        True,
    ]
    assert not any(map(math.isnan, runs.diagnosis(*third, default_rng(0)).values()))


def test_neither_diagnosis_nor_stopwatch_changes_the_training(finished):
    """Oracle: `train` with the bare bonus, and streams that end where the run's do."""
    job, path, rows = finished["vime"]
    begun = start(job)
    state = begun.policy, begun.bonus, begun.value, begun.streams, begun.settings
    *_, last = train(begun.env, *state, num_iterations=ITERATIONS)
    done, arrays = runs.read_checkpoint(path, job)
    assert np.array_equal(arrays["policy"], last.policy.theta)
    assert np.array_equal(arrays["mu"], last.bonus.q.mu)
    assert np.array_equal(arrays["pool_observations"], last.bonus.pool.observations)
    assert done["streams"] == {
        name: rng.bit_generator.state for name, rng in begun.streams._asdict().items()
    }
    assert rows[-1]["gain_median"] == np.median(last.gains)
    stream_moved(SimpleNamespace(streams=begun.streams), "model")
    assert done["streams"] != {
        name: rng.bit_generator.state for name, rng in begun.streams._asdict().items()
    }


values = st.lists(
    finite(-1e3, 1e3) | st.sampled_from([math.nan, math.inf]), max_size=25
)


@given(values)
def test_trend_against_polyfit(values):
    """Over the last ten iterations, at their own places; below two numbers there is none."""
    recent = np.array(values[-10:], dtype=float)
    places = np.flatnonzero(np.isfinite(recent))
    if len(places) < 2:
        assert math.isnan(runs.trend(values))
    else:
        expected = np.polyfit(places, recent[places], 1)[0]
        assert runs.trend(values) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_trend_forgets_and_keeps_places():
    """All values together, or those that are numbers closed up, would give another slope."""
    assert runs.trend([100.0, *map(float, range(10))]) == pytest.approx(1.0)
    assert runs.trend([0.0, math.nan, math.nan, 3.0]) == pytest.approx(1.0)
    assert np.polyfit(range(11), [100.0, *range(10)], 1)[0] != pytest.approx(1.0)


def test_rows_against_hand_computed_statistics():
    """Mean and maximum of the returns, median (2, where the mean is 4) of the gains, largest first observation."""
    following = np.array([[0.0, 9.0], [0.5, 9.0], [-1.0, 9.0]])
    batch = Batch(
        np.full((3, 2), 7.0),
        np.zeros(3),
        np.zeros(3),
        following,
        np.zeros(3),
        np.zeros(3),
    )
    seen = Iteration(
        None,
        None,
        None,
        (),
        batch,
        np.array([1.0, 9.0, 2.0]),
        np.array([0.0, 1.0, 0.0, 0.0]),
    )
    diagnosed = {
        "elbo": -4.0,
        "kl_prior": 6.0,
        "heldout_log_likelihood": math.nan,
        "heldout_error_ratio": 0.5,
    }
    before = {
        **dict.fromkeys(runs.COLUMNS, math.nan),
        "gain_median": 5.0,
        "elbo": -7.0,
        "kl_prior": 6.5,
        "heldout_error_ratio": 0.75,
    }
    job = small_job("l2", 3)._replace(setting="agent.eta=1")
    row = runs.row_of(job, [before], seen, diagnosed)
    expected = {
        "task": NAME, "bonus": "l2", "setting": "agent.eta=1", "seed": 3, "iteration": 1, "steps": 1200,
        "return_mean": 0.25, "return_max": 1.0, "position_max": 0.5, "gain_median": 2.0, **diagnosed,
        "gain_trend": -3.0, "elbo_trend": 3.0, "kl_prior_trend": -0.5, "heldout_log_likelihood_trend": math.nan,
        "heldout_error_ratio_trend": -0.25,
    }  # fmt: skip
    assert {name: str(value) for name, value in row.items()} == {
        name: str(value) for name, value in expected.items()
    }
    assert {*row, *TIMES} == {*runs.COLUMNS}
    quiet = runs.row_of(job, [], seen._replace(episode_returns=np.zeros(0)), diagnosed)
    assert math.isnan(quiet["return_mean"])
    assert math.isnan(quiet["return_max"])


def test_phases_against_a_clock_that_each_of_them_moves(monkeypatch):
    """1 s of sampling, 10 s of gains, 100 s of policy, 1000 s of model, 10 000 s of diagnosis, 0.5 s in between."""
    job = small_job("none")
    clock = [0.0]

    def move(seconds: float) -> None:
        clock[0] += seconds

    class Slow(NoBonus):
        def reward(self, batch: Any, rng: Any) -> Any:
            move(10.0)
            return np.zeros(1)

        def update(self, batch: Any, rng: Any) -> Any:
            move(1000.0)
            return self

    def slow_train(
        env: Any, policy: Any, bonus: Any, value: Any, *rest: Any, **keywords: Any
    ) -> Iterator[Iteration]:
        batch = Batch(
            np.zeros((1, 2)),
            *(np.zeros(1) for _ in range(2)),
            np.zeros((1, 2)),
            *np.zeros((2, 1)),
        )
        for _ in range(keywords["num_iterations"]):
            move(1.0)
            gains = bonus.reward(batch, None)
            move(100.0)
            bonus = bonus.update(batch, None)
            yield Iteration(policy, value, bonus, (), batch, gains, np.zeros(0))

    def slow_diagnosis(*arguments: Any) -> dict[str, float]:
        move(10_000.0)
        return dict.fromkeys(runs.MODEL, math.nan)

    monkeypatch.setattr(runs.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(runs, "train", slow_train)
    monkeypatch.setattr(runs, "diagnosis", slow_diagnosis)
    begun = start(job)
    progress = Progress(
        begun.policy, begun.value, Slow(), (), begun.streams, [], np.zeros((0, 2))
    )
    found = []
    for now in runs.progressions(job, begun, progress):
        found.append([now.rows[-1][name] for name in TIMES])
        move(0.5)  # such as a checkpoint
    assert found[0] == [1.0, 10.0, 100.0, 1000.0, 10_000.0, 11_111.0]
    assert found[1] == [1.0, 10.0, 100.0, 1000.0, 10_000.5, 22_222.5]
    resumed = now._replace(rows=now.rows[:2])
    assert (
        next(runs.progressions(job, start(job), resumed)).rows[-1]["wall_s"]
        == 22_222.5 + 11_111.0
    )


@pytest.mark.parametrize("bonus", BONUSES)
def test_phases_sum_to_the_wall_time(bonus, finished):
    rows = finished[bonus][2]
    assert min(row[name] for row in rows for name in PHASES) >= 0.0
    assert min(row["sampling_s"] for row in rows) > 0.0
    sums = np.cumsum([sum(row[name] for name in PHASES) for row in rows])
    assert sums == pytest.approx([row["wall_s"] for row in rows], rel=1e-9)


# ---------------------------------------------------------------- processes

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
from vime_lab import command_line, runs

class Popen(subprocess.Popen):
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        print(self.pid, flush=True)

subprocess.Popen = Popen
runs.CHECKPOINT_SECONDS = float(sys.argv[1])
sys.exit(command_line.main(sys.argv[2:]))
"""
INTERRUPTED = "\nvime-ref: interrupted; the same command with --resume goes on\n"


def in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Jobs start no processes."""
    patch.setattr(
        runs, "supervise", lambda job, checkpoint: runs.run_job(job, checkpoint)
    )


def undrawn(patch: pytest.MonkeyPatch) -> None:
    for name in ("draw_learning_curve", "draw_state_visits", "draw_diagnostics"):
        patch.setattr(experiments.figures, name, lambda path, *rest: path.touch())


def curve(folder: Path = Path("out")) -> list[Row]:
    with (folder / "learning_curve.csv").open(newline="") as file:
        return same(list(csv.DictReader(file)))


def uninterrupted(folder: Path, arguments: Sequence[str]) -> list[Row]:
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        undrawn(patch)
        assert experiments.main([*arguments, "--jobs", "1", "--out", str(folder)]) == 0
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
    return len(experiments.written_rows(path)) if path.exists() else 0


def num_kept(name: str = "vime-0") -> int:
    """The rows in a checkpoint, which is whole."""
    with np.load(Path("out", "checkpoints", f"{name}.npz"), allow_pickle=False) as file:
        return len(file["rows"])


def running(process: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True
    ).stdout.strip()
    return state != "" and not state.startswith("Z")


@contextmanager
def started(
    seconds: float, arguments: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in a process group of its own, and its first child; both are gone afterwards."""
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
    assert experiments.main([*arguments, "--jobs", "1", "--resume"]) == 0
    assert not Path("out", "checkpoints").exists()
    return curve()


@elsewhere
@pytest.mark.parametrize(("rows", "delay"), [(2, 0.0), (4, 0.03), (6, 0.08)])
def test_a_killed_run_against_one_never_stopped(
    rows, delay, reference, monkeypatch, capsys
):
    """SIGKILL to the whole group; a half-written file is of no account. Without --resume nothing is touched."""
    with started(0.0, VIME) as (process, child):
        wait_until(lambda: num_rows() >= rows, f"{rows} rows")
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(PATIENCE) == -signal.SIGKILL
        wait_until(lambda: not running(child), "ended")
    Path("out", "checkpoints", "vime-0.1.tmp").write_bytes(b"half")
    before = {path: path.read_bytes() for path in Path("out").rglob("*.*")}
    with pytest.raises(SystemExit):
        experiments.main(VIME)
    assert (
        "out/checkpoints holds an unfinished run: add --resume, or remove that folder"
        in capsys.readouterr().err
    )
    assert {path: path.read_bytes() for path in Path("out").rglob("*.*")} == before
    assert 0 < num_kept() < LONG
    assert resumed(monkeypatch, VIME) == of_bonus(reference, "vime")


@elsewhere
def test_a_killed_run_resumes_in_processes_as_well(reference):
    with started(0.0, VIME) as (process, _):
        wait_until(lambda: num_rows() >= 2, "two rows")
        os.killpg(process.pid, signal.SIGKILL)
    done = num_kept()
    assert 0 < done < LONG
    assert experiments.main([*VIME, "--resume"]) == 0
    assert curve() == of_bonus(reference, "vime")


@elsewhere
def test_a_run_whose_parent_is_killed_keeps_what_it_has_and_ends(
    reference, monkeypatch
):
    """The time for a checkpoint never comes: the one there is was written on ending."""
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
        if "vime_lab.runs" in command:
            self.numbers[Path(command[-1]).stem] = self.pid


@pytest.fixture
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs.subprocess, "Popen", Recorded)
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

    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.0)
    thread = in_background(kill_one)
    assert experiments.main(BOTH) == 1
    thread.join()
    report = capsys.readouterr().err.splitlines()[-2:]
    assert report == [
        f"vime-ref: {NAME} vime seed 0 failed: its process died of signal 9 (Killed)",
        "vime-ref: the same command with --resume runs again what failed",
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
    """An environment that is not there, a damaged checkpoint, a SIGTERM; the run beside them succeeds."""
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
    broken, damaged, stopped, fine = runs.run_jobs(jobs, paths, 4)
    thread.join()
    assert "Nowhere" in broken.failure
    assert damaged.failure == f"checkpoint {paths[1]} is damaged, or no checkpoint"
    assert paths[1].read_text() == "no checkpoint"
    assert stopped.failure == "stopped"
    assert runs.read_checkpoint(paths[2], jobs[2])[1]["rows"].shape[0] < 400
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
    """No memory for the second process, a signal that has no name for the third."""

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
    """A folder that can't be made, and the above; the run beside them succeeds."""
    monkeypatch.setattr(runs.subprocess, "Popen", Troubled)
    (tmp_path / "file").touch()
    paths = [
        tmp_path / name for name in ("file/below/0.npz", "1.npz", "2.npz", "3.npz")
    ]
    results = runs.run_jobs(
        [small_job("none", seed, iterations=1) for seed in range(4)], paths, 4
    )
    reasons = [
        "NotADirectoryError(",
        "OSError(12, 'Cannot allocate memory')",
        "its process died of signal 35 (",
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
    """What it ran finds that it is an orphan, and --resume goes on from there as soon as it has ended."""

    def kill_one() -> None:
        wait_until(lambda: num_rows() >= 1, "a row")
        os.kill(
            parent_of(Path("out/checkpoints/vime-0.npz").absolute()), signal.SIGKILL
        )

    thread = in_background(kill_one)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert experiments.main(BOTH) == 1
    thread.join()
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("vime-ref: TerminatedWorkerError: A worker process")
    assert line.endswith("; the same command with --resume goes on")
    assert resumed(monkeypatch, BOTH) == reference


@elsewhere
def test_a_mujoco_run_leaves_nothing_behind_and_needs_no_environment_here(monkeypatch):
    """The simulator writes a log into the folder where it is loaded: not this one."""
    monkeypatch.setattr(runs, "start", full)
    arguments = "--task SparseHalfCheetah --seeds 1 --iterations 1 --bonus none --out out --set agent.batch_steps=50"
    assert experiments.main(["run", *arguments.split()]) == 0
    assert [str(path) for path in Path().iterdir()] == ["out"]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        experiments.FILES
    )


@elsewhere
def test_a_copy_that_is_not_installed_runs_itself():
    """Its code differs from the installed one's, which would be refused; modules that lie around are not touched."""
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


def ended(
    job: Job, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> int:
    """The exit code of the file itself with this job, run in this process."""
    given = {
        **job._asdict(),
        "task": runs.settings_of(job.task),
        "parent": os.getppid(),
        "checkpoint_seconds": 0.0,
    }
    monkeypatch.setattr(
        "sys.stdin", io.StringIO(json.dumps({**given, "code": runs.CODE, **changes}))
    )
    monkeypatch.setattr("sys.argv", ["runs.py", str(checkpoint)])
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(runs.__file__, run_name="__main__")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return exit_.value.code


def test_the_exit_code_of_a_process_against_what_became_of_its_job(
    tmp_path, monkeypatch, capsys
):
    """Done; stopped, for its parent is another; begun with other code; with a checkpoint that is none."""
    job, path = small_job("none", iterations=2), tmp_path / "run.npz"
    assert ended(job, path, monkeypatch, parent=-1) == runs.STOPPED
    assert len(runs.read_checkpoint(path, job)[1]["rows"]) == 1
    assert ended(job, path, monkeypatch) == 0
    assert len(runs.read_checkpoint(path, job)[1]["rows"]) == 2
    assert capsys.readouterr().err == ""
    assert ended(job, path, monkeypatch, code="another") == 1
    path.write_bytes(b"")
    assert ended(job, path, monkeypatch) == 1
    changed, damaged = capsys.readouterr().err.splitlines()
    assert changed == "the code of this project has changed since the command began"
    assert damaged == f"checkpoint {path} is damaged, or no checkpoint"


@elsewhere
def test_a_checkpoint_lost_at_the_end_is_a_failure(monkeypatch, tmp_path):
    def lost(path: Path, job: Job) -> Any:
        raise CheckpointError("lost")

    monkeypatch.setattr(runs, "read_checkpoint", lost)
    (result,) = runs.run_jobs(
        [small_job("none", iterations=1)], [tmp_path / "run.npz"], 1
    )
    assert (result.failure, result.rows) == ("lost", [])


@pytest.mark.usefixtures("_recorded")
def test_ctrl_c_stops_what_runs_and_what_waits(tmp_path, monkeypatch):
    """Two of three at once: the third never begins. Ctrl-C means afterwards what it meant before."""
    jobs = [small_job("none", seed, iterations=400) for seed in range(3)]
    paths = [tmp_path / f"{seed}.npz" for seed in range(3)]
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 1e9)

    def interrupt() -> None:
        wait_until(
            lambda: all(path.with_suffix(".csv").exists() for path in paths[:2]),
            "begun",
        )
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = in_background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        runs.run_jobs(jobs, paths, 2)
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.exists() for path in paths] == [True, True, False]
    assert sorted(Recorded.numbers) == ["0", "1"]
    assert not any(map(running, Recorded.numbers.values()))


def test_a_second_ctrl_c_does_not_wait(tmp_path, monkeypatch):
    released, began, ended = threading.Event(), threading.Event(), threading.Event()

    def supervise(job: Job, checkpoint: Path) -> runs.Result:
        began.set()
        released.wait(10.0)
        ended.set()
        return runs.Result(job, [], np.zeros((0, 2)))

    def interrupt() -> None:
        began.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(runs.stopping.is_set, "stopping")
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(runs, "supervise", supervise)
    thread = in_background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        runs.run_jobs([small_job()] * 3, [tmp_path / "run.npz"] * 3, 2)
    assert not ended.is_set()
    released.set()
    thread.join()


@pytest.mark.parametrize(("backend", "waits"), [("threading", True), ("loky", False)])
def test_ctrl_c_waits_for_processes_of_this_machine_only(backend, waits, monkeypatch):
    """Others hear nothing of it from here: the caller's backend gets the KeyboardInterrupt at once."""
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
        runs.run_jobs([], [], None)
    assert finished == [True] * waits


def test_jobs_run_outside_the_main_thread_as_well(tmp_path, monkeypatch):
    """Where Ctrl-C can't be watched."""
    in_this_process(monkeypatch)
    job, results = small_job("none", iterations=1), []
    in_background(
        lambda: results.extend(runs.run_jobs([job], [tmp_path / "run.npz"], 1))
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
    """What is given first, then joblib's configuration, then the number of cores."""
    seen = []

    class Parallel(joblib.Parallel):
        def __init__(self, n_jobs: Any, **keywords: Any) -> None:
            seen.append(n_jobs)
            super().__init__(n_jobs, **keywords)

    monkeypatch.setattr(joblib, "Parallel", Parallel)
    if config:
        with joblib.parallel_config(**config):
            assert runs.run_jobs([], [], given) == []
    else:
        assert runs.run_jobs([], [], given) == []
    assert seen == [width]


@elsewhere
@pytest.mark.parametrize(
    "config", [{"n_jobs": 1}, {"backend": "loky", "n_jobs": 2}], ids=["one", "loky"]
)
def test_a_configured_sweep_against_this_process(config, tmp_path):
    with joblib.parallel_config(**config):
        assert experiments.main(SWEEP) == 0
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
            assert experiments.main(sweep) == 0
        workers = {task["worker"] for task in tasks.data}
    assert len(workers) == 2
    assert curve() == uninterrupted(tmp_path / "here", sweep)

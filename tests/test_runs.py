"""Runs: what is measured, what survives a kill, and many of them at once."""

import csv
import hashlib
import io
import itertools
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng
from scipy.special import logsumexp
from scipy.stats import norm

import bnn_ref as bnn
import experiments_ref as experiments
import runs_ref as runs
from agents_ref import Iteration, train
from explorers_ref import PredictionError
from runs_ref import CheckpointError, Progress, Row
from strategies import finite
from tasks_ref import BONUSES, TASKS, Job, start, with_setting
from vime_ref import Batch, NoBonus

NAME = "SparseMountainCar"
SIZES = {
    "agent.batch_steps": 600,
    "vime.num_updates": 5,
    "vime.num_samples": 2,
    "vime.hidden_sizes": [4],
    "hidden_sizes": [4],
}
ITERATIONS = 4
PATIENCE = 60.0  # seconds until a process test gives up
PHASES = runs.PHASES
TIMES = (*PHASES, "wall_s")


def small_job(bonus: str = "vime", seed: int = 0, **changes: Any) -> Job:
    task = replace(TASKS[NAME], iterations=ITERATIONS)
    for name, value in {**SIZES, **changes}.items():
        task = with_setting(task, name, value)
    return Job(NAME, bonus, "", seed, task)


def same(rows: list[Row]) -> list[Row]:
    """Rows without their times, as text, which makes nan equal to nan."""
    return [{name: str(value) for name, value in row.items() if name not in TIMES} for row in rows]


def stop_after(iterations: int) -> Callable[[], bool]:
    calls = itertools.count(1)
    return lambda: next(calls) >= iterations


Held = tuple[dict[str, Any], dict[str, Any]]


def held(path: Path, job: Job) -> Held:
    """All that a checkpoint holds, but for times, in a form that compares bit by bit."""
    state, arrays = runs.read_checkpoint(path, job)
    arrays["rows"] = arrays["rows"][:, [name not in TIMES for name in runs.NUMBERS]]
    return state, {name: (array.shape, array.tobytes()) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Job, Path, list[Row]]]:
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
    assert result.visits.tobytes() == runs.read_checkpoint(reference, job)[1]["visits"].tobytes()
    again = runs.run_job(job, path)
    assert str(again.rows) == str(result.rows)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["run.csv", "run.npz"]


def test_the_rows_file_holds_the_rows(finished, tmp_path):
    job, reference, rows = finished["vime"]
    (tmp_path / "run.npz").write_bytes(reference.read_bytes())
    runs.run_job(job, tmp_path / "run.npz")
    written = experiments.written_rows(tmp_path / "run.csv")
    assert written == [{name: str(value) for name, value in row.items()} for row in rows]


def test_checkpoints_come_as_often_as_told(monkeypatch, tmp_path):
    """On a clock that moves one second an iteration; the end is always kept."""
    saved: list[int] = []
    monkeypatch.setattr(runs, "write_checkpoint", lambda path, job, progress: saved.append(len(progress.rows)))
    clock = itertools.count()
    monkeypatch.setattr(runs, "progressions", lambda *_: iter([rows_only(n) for n in range(1, 8)]))
    monkeypatch.setattr(runs.time, "perf_counter", lambda: float(next(clock)))
    job = small_job("none", iterations=7)
    for seconds, expected in [(0.0, [1, 2, 3, 4, 5, 6, 7]), (1e9, [7])]:
        saved.clear()
        runs.run_job(job, tmp_path / "run.npz", checkpoint_seconds=seconds)
        assert saved == expected


def rows_only(count: int) -> Progress:
    row = dict.fromkeys(runs.COLUMNS, 0)
    return Progress(None, None, NoBonus(), (), None, [row] * count, np.zeros((0, 2)))


ALTERED: dict[str, Callable[[Progress], Progress]] = {
    "policy": lambda p: p._replace(policy=replace(p.policy, theta=p.policy.theta + 1e-3)),
    "value": lambda p: p._replace(value=replace(p.value, theta=p.value.theta + 1e-3)),
    "value scale": lambda p: p._replace(value=replace(p.value, scale=p.value.scale + 1.0)),
    "value center": lambda p: p._replace(value=replace(p.value, center=p.value.center + 1.0)),
    "observation center": lambda p: p._replace(value=replace(p.value, observation_center=np.ones(2))),
    "observation scale": lambda p: p._replace(value=replace(p.value, observation_scale=np.full(2, 3.0))),
    "mu": lambda p: model_altered(p, q=bnn.DiagNormal(p.bonus.q.mu + 1e-6, p.bonus.q.rho)),
    "rho": lambda p: model_altered(p, q=bnn.DiagNormal(p.bonus.q.mu, p.bonus.q.rho + 1e-6)),
    "adam mean": lambda p: model_altered(p, adam=p.bonus.adam._replace(mean=0.0 * p.bonus.adam.mean)),
    "adam square": lambda p: model_altered(p, adam=p.bonus.adam._replace(square=2.0 * p.bonus.adam.square)),
    "adam steps": lambda p: model_altered(p, adam=p.bonus.adam._replace(num_steps=0)),
    "pool": lambda p: model_altered(p, pool=replace(p.bonus.pool, observations=p.bonus.pool.observations[::-1])),
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


def continued(kept: dict[str, tuple[Job, bytes]], path: Path, alter: Callable[[Progress], Progress]) -> Held:
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
    unseen = [name for name, alter in ALTERED.items() if continued(kept, tmp_path / "wrong.npz", alter) == right]
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
    places = {*range(40), *range(len(content) - 80, len(content)), *map(int, rng.integers(len(content), size=100))}
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
    "task_name": (small_job()._replace(task_name="Elsewhere"), f"'{NAME}'", "'Elsewhere'"),
}


@pytest.mark.parametrize("place", OTHERS)
def test_another_runs_checkpoint_is_refused_by_what_differs(place, kept, tmp_path):
    other, theirs, mine = OTHERS[place]
    message = refused(tmp_path / "run.npz", kept["vime"][1], other)
    assert message.endswith(f"is another run's: its {place} is {theirs}, here it is {mine}")


@pytest.mark.parametrize("package", [*runs.PACKAGES, "python"])
def test_another_versions_checkpoint_is_refused_by_what_differs(package, kept, tmp_path, monkeypatch):
    installed = runs.installed
    monkeypatch.setattr(runs, "installed", lambda name: "9.9.9" if name == package else installed(name))
    if package == "python":
        monkeypatch.setattr(runs.sys, "version", "9.9.9 (elsewhere)")
    message = refused(tmp_path / "run.npz", kept["vime"][1], kept["vime"][0])
    assert f"its versions.{package} is '" in message
    assert message.endswith("here it is '9.9.9'")


@pytest.mark.parametrize(("name", "value"), [("FORMAT", "vime-ref checkpoint 2"), ("ROOT_SEED", 1)])
def test_another_format_or_root_seed_is_refused_by_what_differs(name, value, kept, tmp_path, monkeypatch):
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
    for content in (b"", b"\n", b"a text\n", pickle.dumps(Trap(folder)), trap, plain, npz(a=np.zeros(3))):
        assert "no checkpoint" in refused(path, content, job)
        assert "no checkpoint" in refused(path, with_digest(content), job)
    assert not folder.exists()
    np.load(io.BytesIO(trap), allow_pickle=True)["json"]
    assert folder.exists()


def test_a_checkpoint_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"can't read checkpoint .*run\.npz: "):
        runs.read_checkpoint(tmp_path / "run.npz", small_job())


# ---------------------------------------------------------------- checkpoints: not written


def full(*arguments: Any) -> None:
    raise OSError(28, "No space left on device")


class FullDisk(io.FileIO):
    """A file that takes a part of what it is given."""

    def write(self, content: Any) -> int:
        super().write(content[:1000])
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(where, kept, tmp_path, monkeypatch):
    """Control: with the disk free again the run goes on."""
    job, content = kept["none"]
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    opened = Path.open
    instead = {"open": full, "write": FullDisk}.get(where)
    with monkeypatch.context() as broken:
        if instead:
            broken.setattr(
                Path, "open", lambda self, *a, **k: (instead if self.suffix == ".tmp" else opened)(self, *a, **k)
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
    progress = runs.restored(job, begun, *runs.read_checkpoint(tmp_path / "run.npz", job))
    with pytest.raises(CheckpointError, match=f"can't write checkpoint {path}: No such file or directory"):
        runs.write_checkpoint(path, job, progress)


# ---------------------------------------------------------------- measuring


@pytest.fixture(scope="module")
def steps() -> list[tuple[Any, Any, Batch]]:
    """Of three iterations: the bonus before, the bonus after, and the batch between."""
    begun = start(small_job(**{"agent.batch_steps": 300, "vime.min_rows": 600, "vime.num_updates": 20}))
    state = begun.policy, begun.bonus, begun.value, begun.streams, begun.settings
    before, seen = begun.bonus, []
    for iteration in train(begun.env, *state, num_iterations=3):
        seen.append((before, iteration.bonus, iteration.batch))
        before = iteration.bonus
    return seen


def slow_diagnosis(before: Any, after: Any, batch: Batch, rng: Any) -> tuple[float, float, float]:
    """ELBO, KL and held-out likelihood by a loop over weight samples, with the noise and rows of the fast form."""

    def log_densities(model: Any, observations: Any, actions: Any, targets: Any) -> Any:
        k, sigma = observations.shape[1], model.settings.likelihood_sigma
        inputs = np.concatenate([observations, actions], axis=1)
        inputs, targets = (inputs - model.center) / model.scale, (targets - model.center[:k]) / model.scale[:k]
        table = []
        for e in eps:
            predicted = bnn.mlp((model.q.mu + model.q.sigma * e)[None], inputs, model.layer_sizes)[0]
            table.append(norm.logpdf(targets, predicted, sigma).sum(axis=1))
        return np.array(table)  # (S, N)

    pool, q, prior = after.pool, after.q, after.prior
    drawn = rng.integers(len(pool), size=runs.DIAGNOSED_ROWS)
    other = rng.integers(len(batch.rewards), size=runs.DIAGNOSED_ROWS)
    eps = rng.standard_normal((after.settings.num_samples, len(q.mu)))
    kl = sum(
        math.log(p / s) + (s**2 + (m - o) ** 2) / (2 * p**2) - 0.5
        for m, s, o, p in zip(q.mu, q.sigma, prior.mu, prior.sigma)
    )
    fit = log_densities(after, pool.observations[drawn], pool.actions[drawn], pool.next_observations[drawn])
    bound = after.settings.num_data * fit.mean() - kl
    actions = np.clip(batch.actions, -1.0, 1.0)
    table = log_densities(before, batch.observations[other], actions[other], batch.next_observations[other])
    return bound, kl, float(np.mean(logsumexp(table, axis=0) - math.log(len(eps))))


def test_diagnosis_against_a_slow_loop(steps):
    """Control: the model that has learned from the batch gives another likelihood."""
    before, after, batch = steps[2]
    found = runs.diagnosis(before, after, batch, default_rng(5))
    expected = slow_diagnosis(before, after, batch, default_rng(5))
    assert list(found) == ["elbo", "kl_prior", "heldout_log_likelihood"]
    assert list(found.values()) == pytest.approx(expected, rel=1e-10)
    leaked = slow_diagnosis(after, after, batch, default_rng(5))
    assert leaked[:2] == pytest.approx(expected[:2], rel=1e-10)
    assert leaked[2] != pytest.approx(expected[2], rel=1e-6)
    wrapped = runs.diagnosis(PredictionError(before), PredictionError(after), batch, default_rng(5))
    assert wrapped == found


def test_diagnosis_against_the_mean_of_many(steps):
    """Within 5 standard errors of the ELBO on all rows with 4000 weight samples; twice the KL would be far off."""
    before, after, batch = steps[2]
    estimates = [runs.diagnosis(before, after, batch, default_rng(seed))["elbo"] for seed in range(60)]
    rows = after.normalized(after.pool.observations, after.pool.actions, after.pool.next_observations)
    model = {"layer_sizes": after.layer_sizes, "likelihood_sigma": after.settings.likelihood_sigma}
    eps = default_rng(99).standard_normal((4000, len(after.q.mu)))
    fit = after.settings.num_data * bnn.log_likelihood(
        bnn.mlp(bnn.sample_weights(after.q, eps), rows[0], model["layer_sizes"]), rows[1], model["likelihood_sigma"]
    ).mean(axis=1)
    kl = float(bnn.kl_diag_normal(after.q.mu, after.q.sigma, after.prior.mu, after.prior.sigma))
    error = math.hypot(fit.std() / math.sqrt(len(eps)), np.std(estimates) / math.sqrt(len(estimates)))
    assert abs(np.mean(estimates) - (fit.mean() - kl)) < 5.0 * error < 0.5 * kl


def test_diagnosis_is_nan_where_there_is_nothing_to_measure(steps):
    """No model; a model that has not learned yet; one that had not before this batch."""
    first, second, third = steps
    nothing = [runs.diagnosis(NoBonus(), NoBonus(), first[2], default_rng(0)), runs.diagnosis(*first, default_rng(0))]
    assert [list(map(math.isnan, found.values())) for found in nothing] == [[True] * 3] * 2
    assert list(map(math.isnan, runs.diagnosis(*second, default_rng(0)).values())) == [False, False, True]
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
    assert done["streams"] == {name: rng.bit_generator.state for name, rng in begun.streams._asdict().items()}
    assert rows[-1]["gain_median"] == np.median(last.gains)
    stream_moved(SimpleNamespace(streams=begun.streams), "model")
    assert done["streams"] != {name: rng.bit_generator.state for name, rng in begun.streams._asdict().items()}


values = st.lists(finite(-1e3, 1e3) | st.sampled_from([math.nan, math.inf]), max_size=25)


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
    batch = Batch(np.full((3, 2), 7.0), np.zeros(3), np.zeros(3), following, np.zeros(3), np.zeros(3))
    seen = Iteration(None, None, None, (), batch, np.array([1.0, 9.0, 2.0]), np.array([0.0, 1.0, 0.0, 0.0]))
    diagnosed = {"elbo": -4.0, "kl_prior": 6.0, "heldout_log_likelihood": math.nan}
    before = {**dict.fromkeys(runs.COLUMNS, math.nan), "gain_median": 5.0, "elbo": -7.0, "kl_prior": 6.5}
    job = small_job("l2", 3)._replace(setting="agent.eta=1")
    row = runs.row_of(job, [before], seen, diagnosed)
    expected = {
        "task": NAME, "bonus": "l2", "setting": "agent.eta=1", "seed": 3, "iteration": 1, "steps": 1200,
        "return_mean": 0.25, "return_max": 1.0, "position_max": 0.5, "gain_median": 2.0, **diagnosed,
        "gain_trend": -3.0, "elbo_trend": 3.0, "kl_prior_trend": -0.5, "heldout_log_likelihood_trend": math.nan,
    }  # fmt: skip
    assert {name: str(value) for name, value in row.items()} == {name: str(value) for name, value in expected.items()}
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

    def slow_train(env: Any, policy: Any, bonus: Any, value: Any, *rest: Any, **keywords: Any) -> Iterator[Iteration]:
        batch = Batch(np.zeros((1, 2)), *(np.zeros(1) for _ in range(2)), np.zeros((1, 2)), *np.zeros((2, 1)))
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
    progress = Progress(begun.policy, begun.value, Slow(), (), begun.streams, [], np.zeros((0, 2)))
    found = []
    for now in runs.progressions(job, begun, progress):
        found.append([now.rows[-1][name] for name in TIMES])
        move(0.5)  # such as a checkpoint
    assert found[0] == [1.0, 10.0, 100.0, 1000.0, 10_000.0, 11_111.0]
    assert found[1] == [1.0, 10.0, 100.0, 1000.0, 10_000.5, 22_222.5]
    resumed = now._replace(rows=now.rows[:2])
    assert next(runs.progressions(job, start(job), resumed)).rows[-1]["wall_s"] == 22_222.5 + 11_111.0


@pytest.mark.parametrize("bonus", BONUSES)
def test_phases_sum_to_the_wall_time(bonus, finished):
    rows = finished[bonus][2]
    assert min(row[name] for row in rows for name in PHASES) >= 0.0
    assert min(row["sampling_s"] for row in rows) > 0.0
    sums = np.cumsum([sum(row[name] for name in PHASES) for row in rows])
    assert sums == pytest.approx([row["wall_s"] for row in rows], rel=1e-9)

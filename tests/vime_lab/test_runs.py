"""One run: its measurements, and that a resumed run is bit-identical."""

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import ITERATIONS, NAME, SIZES, held, same, small_job, stop_after, stream_moved
from numpy.random import default_rng
from scipy.special import logsumexp
from scipy.stats import norm
from strategies import finite

import bnn_ref as bnn
import fast_ref
import vime_ref
from agents_ref import Iteration, train
from vime_lab import checkpoints, runs, tables
from vime_lab.checkpoints import Progress
from vime_lab.rows import (
    MODEL_COLUMNS,
    PHASES,
    RUN_COLUMNS,
    RUN_NUMBERS,
    TEXTS,
    TIMES,
    written_rows,
)
from vime_lab.tasks import BONUSES, TASKS, start
from vime_lecture.controls import PredictionError
from vime_ref import Batch, NoBonus

# ---------------------------------------------------------------- continued runs


@pytest.mark.parametrize("bonus", BONUSES)
@pytest.mark.parametrize("stops", [(1,), (2,), (3,), (1, 1, 1)])
def test_a_continued_run_against_one_never_stopped(bonus, stops, finished, tmp_path):
    """Rows, networks, optimizer, pool, visits and streams, for bit-identical comparison."""
    job, reference, rows = finished[bonus]
    path = tmp_path / "run.npz"
    for iterations in stops:
        assert runs.run_job(job, path, stop_after(iterations)) is None
    result = runs.run_job(job, path)
    assert same(result.rows) == same(rows)
    assert held(path, job) == held(reference, job)
    assert (
        result.visits.tobytes()
        == checkpoints.read_checkpoint(reference, job)[1]["visits"].tobytes()
    )
    again = runs.run_job(job, path)
    assert str(again.rows) == str(result.rows)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["run.csv", "run.npz"]


@pytest.mark.unwatched
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


@pytest.mark.parametrize("bonus", ["vime", "l2"])
def test_a_continued_run_with_local_noise_against_one_never_stopped(
    bonus, finished, tmp_path
):
    """Control: with noise per weight the same seed gives other rows."""
    job = small_job(bonus, noise="unit")
    whole = runs.run_job(job, tmp_path / "whole.npz")
    path = tmp_path / "run.npz"
    assert runs.run_job(job, path, stop_after(2)) is None
    assert same(runs.run_job(job, path).rows) == same(whole.rows)
    assert held(path, job) == held(tmp_path / "whole.npz", job)
    plain, _, rows = finished[bonus]
    assert plain.task == replace(job.task, noise="weight")
    assert same(rows)[-1]["elbo"] != same(whole.rows)[-1]["elbo"]


def numbers_of(rows: list[Any]) -> list[Any]:
    """All numbers except the seed and times."""
    names = [name for name in RUN_NUMBERS if name not in ("seed", *TIMES)]
    return [{name: row[name] for name in names} for row in rows]


def close_to(rows: list[Any]) -> list[Any]:
    approx = partial(pytest.approx, rel=1e-6, nan_ok=True)
    return [approx(each) for each in numbers_of(rows)]


@pytest.mark.parametrize("changes", [{}, {"learner": "reinforce", "noise": "unit"}])
def test_a_plain_run_against_the_fast_one_and_without_any_fast_twin(
    changes, tmp_path, monkeypatch
):
    """To rounding, which the policy's step amplifies. Controls: another seed; no twins."""
    fast = small_job(iterations=3, **changes)
    rows = runs.run_job(fast, tmp_path / "fast.npz").rows
    other = runs.run_job(fast._replace(seed=1), tmp_path / "other.npz").rows
    job = small_job(iterations=3, plain=True, **changes)
    for name in functions_of(fast_ref):
        monkeypatch.setattr(fast_ref, name, forbidden)
    plain = runs.run_job(job, tmp_path / "plain.npz").rows
    assert plain[-1]["gain_median"] > 0.0
    assert numbers_of(plain) == close_to(rows)
    assert numbers_of(plain) != close_to(other)
    with pytest.raises(AssertionError, match="a fast twin"):
        runs.run_job(fast, tmp_path / "again.npz")


def functions_of(module: Any) -> list[str]:
    found = inspect.getmembers(module, inspect.isfunction)
    return [name for name, each in found if each.__module__ == module.__name__]


def forbidden(*arguments: Any, **keywords: Any) -> None:
    raise AssertionError("a fast twin was called")


def test_an_edit_of_the_gain_takes_effect_in_a_plain_run_only(tmp_path, monkeypatch):
    """Twice V5: gains double, the median takes the factor out of all that follows."""

    def run(name: str, plain: bool) -> list[Any]:
        job = small_job(iterations=3, plain=plain)
        return same(runs.run_job(job, tmp_path / f"{name}.npz").rows)

    before = {plain: run(f"before {plain}", plain) for plain in (False, True)}
    taylor = vime_ref.information_gain_taylor
    monkeypatch.setattr(
        vime_ref, "information_gain_taylor", lambda *a, **k: 2.0 * taylor(*a, **k)
    )
    assert run("after", False) == before[False]
    after = run("plain", True)
    scaled = ("gain_median", "gain_mean", "gain_trend")
    twice = [
        row | {name: str(2.0 * float(row[name])) for name in scaled}
        for row in before[True]
    ]
    assert after == twice
    assert float(after[-1]["gain_median"]) > 0.0

    # The column *gain* of `figure` doubles as well.
    found = [
        float(tables.gain_cells(parsed(each))[0]) for each in (before[True], after)
    ]
    assert found[1] == pytest.approx(2.0 * found[0], rel=0.1)  # two digits are shown


def parsed(rows: list[dict[str, str]]) -> list[Any]:
    """The rows, numbers no longer as text."""
    return [
        {name: text if name in TEXTS else float(text) for name, text in row.items()}
        for row in rows
    ]


def test_the_rows_file_holds_the_rows(finished, tmp_path):
    job, reference, rows = finished["vime"]
    (tmp_path / "run.npz").write_bytes(reference.read_bytes())
    runs.run_job(job, tmp_path / "run.npz")
    written = written_rows(tmp_path / "run.csv")
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
    """On a clock that advances one second per iteration; the end always gets a checkpoint."""
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
    row = dict.fromkeys(RUN_COLUMNS, 0)
    return Progress(None, None, NoBonus(), (), None, [row] * count, np.zeros((0, 2)))


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
    for iteration in train(begun.envs, *state, num_iterations=3):
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
        before,
        batch.observations[other],
        np.float32(np.clip(batch.actions, -1.0, 1.0))[other],
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
    """Log densities of c s' are those of s' minus log c per dimension; KL and ratio have no unit."""
    batches = [batch for _, _, batch in steps]
    one, other = (
        runs.diagnosis(*learned(batches, unit), default_rng(5)) for unit in (1.0, 8.0)
    )
    shifts = [other[name] - one[name] for name in MODEL_COLUMNS]
    log_unit = 2 * math.log(8.0)
    num_data = TASKS[NAME].vime.num_data
    assert shifts == pytest.approx(
        [-num_data * log_unit, 0.0, -log_unit, 0.0], rel=1e-10, abs=1e-10
    )


def test_the_error_ratio_of_a_model_that_has_learned_against_its_prior(steps):
    """Far below 1; the prior and the prior's mean, which predict nothing, are not below 1."""
    sharp = {
        "likelihood_sigma": 0.3,
        "num_updates": 400,
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


@pytest.mark.unwatched
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
    """Oracle: `train` with the plain bonus; the streams end in the same state as the run's."""
    job, path, rows = finished["vime"]
    begun = start(job)
    state = begun.policy, begun.bonus, begun.value, begun.streams, begun.settings
    *_, last = train(begun.envs, *state, num_iterations=ITERATIONS)
    done, arrays = checkpoints.read_checkpoint(path, job)
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
    """Over the last ten iterations, at their own positions; nan with fewer than two numbers."""
    recent = np.array(values[-10:], dtype=float)
    places = np.flatnonzero(np.isfinite(recent))
    if len(places) < 2:
        assert math.isnan(runs.trend(values))
    else:
        expected = np.polyfit(places, recent[places], 1)[0]
        assert runs.trend(values) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_trend_forgets_and_keeps_places():
    """Controls: all values, or the finite values without gaps, give another slope."""
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
        **dict.fromkeys(RUN_COLUMNS, math.nan),
        "steps": 600,
        "gain_median": 5.0,
        "elbo": -7.0,
        "kl_prior": 6.5,
        "heldout_error_ratio": 0.75,
    }
    job = small_job("l2", 3)._replace(setting="agent.eta=1")
    row = runs.row_of(job, [before], (), seen, diagnosed)
    expected = {
        "task": NAME, "bonus": "l2", "setting": "agent.eta=1", "seed": 3, "iteration": 1, "steps": 603,
        "return_mean": 0.25, "return_max": 1.0, "position_max": 0.5, "gain_median": 2.0,
        "gain_mean": 4.0, "bonus_share": 1.0, **diagnosed,
        "gain_trend": -3.0, "elbo_trend": 3.0, "kl_prior_trend": -0.5, "heldout_log_likelihood_trend": math.nan,
        "heldout_error_ratio_trend": -0.25,
    }  # fmt: skip
    assert {name: str(value) for name, value in row.items()} == {
        name: str(value) for name, value in expected.items()
    }
    assert {*row, *TIMES} == {*RUN_COLUMNS}
    paid = seen._replace(batch=batch._replace(rewards=np.array([0.25, -0.5, 0.0])))
    for history, divisor in (((), 2.0), ((4.0,), 3.0)):  # mean of the medians, 2 last
        bonus = 1e-4 * 12.0 / divisor
        share = runs.bonus_share(job.task.agent, history, paid)
        assert share == pytest.approx(bonus / (0.75 + bonus), rel=1e-12)
    raw = runs.bonus_share(replace(job.task.agent, normalize=False), (), paid)
    assert raw == pytest.approx(12e-4 / (0.75 + 12e-4), rel=1e-12)
    nothing = seen._replace(gains=np.zeros(3))
    assert math.isnan(runs.bonus_share(job.task.agent, (), nothing))
    quiet = runs.row_of(
        job, [], (), seen._replace(episode_returns=np.zeros(0)), diagnosed
    )
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
        return dict.fromkeys(MODEL_COLUMNS, math.nan)

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

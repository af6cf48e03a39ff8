"""The controls, and their differences from VIME."""

import re
from dataclasses import replace
from itertools import islice
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from gymnasium.wrappers import TimeLimit
from lecture_helpers import RANDOM, streams_of
from scipy import integrate, stats
from strategies import fit_by
from vime_helpers import BOX, SMALL, assert_equal_states, state_of

import bnn_ref as bnn
import fast_ref as fast
import vime_ref as vime
from vime_gym.rooms import NoisyTV
from vime_lecture import controls, tabular
from vime_lecture.controls import (
    NoiseBonus,
    PathError,
    PredictionError,
    SquaredZScore,
    squared_errors,
)
from vime_lecture.tabular import TabularSettings, q_learning

# ---------------------------------------------------------------- what the bonuses see

SIZES = (3, 3, 2)


def make_batch(seed: int, num_rows: int) -> vime.Batch:
    """Read-only rows with their own mean and scale, and some actions beyond the bounds."""
    rng = np.random.default_rng(seed)
    observations, next_observations = [5.0, -2.0] + [3.0, 0.5] * rng.normal(
        size=(2, num_rows, 2)
    )
    flags = np.zeros(num_rows, dtype=bool)
    columns = (
        observations,
        rng.normal(size=(num_rows, 1)),
        rng.normal(size=num_rows),
        next_observations,
        flags,
        flags,
    )
    for column in columns:
        column.setflags(write=False)
    return vime.Batch(*columns)


def new_bonus(**changes: Any) -> PredictionError:
    return PredictionError(
        vime.vime_init(2, BOX, np.random.default_rng(0), replace(SMALL, **changes))
    )


def ready_bonus(**changes: Any) -> PredictionError:
    return new_bonus(**changes).update(make_batch(1, 8), np.random.default_rng(0))


# ---------------------------------------------------------------- prediction error


def normalized_by_hand(
    batch: vime.Batch, seen: vime.Batch
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of the batch, normalized by the mean and standard deviation of the rows seen."""

    def rows(batch: vime.Batch) -> np.ndarray:
        return np.hstack([batch.observations, np.clip(batch.actions, -1.0, 1.0)])

    center, scale = rows(seen).mean(axis=0), rows(seen).std(axis=0)
    return (rows(batch) - center) / scale, (
        batch.next_observations - center[:2]
    ) / scale[:2]


def slow_output(
    q: bnn.DiagNormal, x: np.ndarray, noise: Any, s: int, n: int
) -> np.ndarray:
    """Sample s of the network's output for row n, layer by layer."""
    start = 0
    for layer, (i, o) in enumerate(zip(SIZES, SIZES[1:])):
        weights = slice(start, start := start + (i + 1) * o)
        mu, sigma = (values[weights].reshape(i + 1, o) for values in (q.mu, q.sigma))
        a = np.append(np.maximum(x, 0.0) if layer > 0 else x, 1.0)
        if isinstance(noise, list):
            x = a @ mu + np.sqrt(a**2 @ sigma**2) * noise[layer][s, n]
        else:
            x = a @ (mu + sigma * noise[s, weights].reshape(i + 1, o))
    return x


@pytest.mark.parametrize("local", [False, True], ids=["weights", "local"])
def test_prediction_error_against_slow_loop(local: bool) -> None:
    """C6"""
    first, second, batch = make_batch(1, 6), make_batch(2, 5), make_batch(3, 4)
    bonus = new_bonus(**fit_by(local))
    for rows in (first, second):
        bonus = bonus.update(rows, np.random.default_rng(8))
    seen = vime.Batch(*map(np.concatenate, zip(first, second)))
    noise = fit_by(local)["sample_noise"](np.random.default_rng(9), 2, 4, SIZES)

    def residuals(seen: vime.Batch) -> np.ndarray:  # (S, N, K)
        inputs, targets = normalized_by_hand(batch, seen)
        return np.array(
            [
                [
                    targets[n] - slow_output(bonus.model.q, inputs[n], noise, s, n)
                    for n in range(4)
                ]
                for s in range(2)
            ]
        )

    rewards, each = bonus.reward(batch, np.random.default_rng(9)), residuals(seen)
    expected = np.array(
        [sum((sum(each[:, n, k]) / 2) ** 2 for k in range(2)) for n in range(4)]
    )
    np.testing.assert_allclose(rewards, expected, rtol=1e-11)
    wrong = {
        "the mean error of the samples": np.sum(np.mean(each**2, axis=0), axis=-1),
        "a mean over dimensions": expected / 2,
        "a norm that is not squared": np.sqrt(expected),
        "one sample": np.sum(each[0] ** 2, axis=-1),
        "units of the observation": np.sum(
            (each.mean(axis=0) * bonus.model.scale[:2]) ** 2, axis=-1
        ),
        "the batch's statistics": np.sum(residuals(batch).mean(axis=0) ** 2, axis=-1),
    }
    for name, values in wrong.items():
        assert not np.allclose(rewards, values, rtol=1e-3), name


@pytest.mark.parametrize("local", [False, True], ids=["weights", "local"])
def test_prediction_error_rewards_spread_of_the_posterior_against_closed_form(
    local: bool,
) -> None:
    """A linear network: ‖s′ − x·μ‖² + Σ x²·σ² / S within 4 standard errors of the mean over 2000 draws, S = 2.

    Controls: without the spread, and with that of one sample, it is far off.
    """
    bonus, row = ready_bonus(hidden_sizes=(), **fit_by(local)), make_batch(3, 1)
    paid = np.array(
        [bonus.reward(row, np.random.default_rng(seed))[0] for seed in range(2000)]
    )
    inputs, targets = normalized_by_hand(row, make_batch(1, 8))
    x, q = np.append(inputs[0], 1.0), bonus.model.q
    error = np.sum((targets[0] - x @ q.mu.reshape(4, 2)) ** 2)
    spread = np.sum(x**2 @ q.sigma.reshape(4, 2) ** 2)
    close = [
        abs(paid.mean() - error - part * spread) < 4 * paid.std() / np.sqrt(2000)
        for part in (0.0, 0.5, 1.0)
    ]
    assert close == [False, True, False]


def test_prediction_error_rewards_nothing_before_min_rows() -> None:
    bonus, batch, rng = new_bonus(), make_batch(1, 5), np.random.default_rng(0)
    assert bonus.reward(batch, rng).tolist() == [0.0] * 5
    waiting = bonus.update(batch, rng)
    assert waiting.reward(batch, rng).tolist() == [0.0] * 5
    assert np.all(waiting.update(make_batch(2, 1), rng).reward(batch, rng) > 0.0)


def test_prediction_error_update_against_that_of_vime() -> None:
    bonus, batch = ready_bonus(), make_batch(2, 4)
    updated, model = (
        b.update(batch, np.random.default_rng(5)) for b in (bonus, bonus.model)
    )
    assert isinstance(updated, PredictionError)
    assert_equal_states(state_of(updated.model), state_of(model))
    other = bonus.model.update(batch, np.random.default_rng(6))
    assert not np.array_equal(updated.model.q.mu, other.q.mu)
    assert not np.array_equal(updated.model.q.mu, bonus.model.q.mu)


def test_prediction_error_reward_changes_nothing_and_never_trains() -> None:
    bonus, batch = ready_bonus(), make_batch(2, 4)
    before = state_of(bonus.model)
    first, second = (bonus.reward(batch, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    trained = bonus.update(batch, np.random.default_rng(5))
    assert_equal_states(before, state_of(bonus.model))
    assert not np.allclose(
        first, trained.reward(batch, np.random.default_rng(5)), rtol=1e-6
    )


ROWS = make_batch(2, 4)

NOT_FINITE = np.where(np.arange(8).reshape(4, 2) == 7, np.nan, 0.0)


@pytest.mark.parametrize(
    ("num_rows", "methods", "batch", "message"),
    [
        (
            8,
            ("reward", "update"),
            ROWS._replace(observations=NOT_FINITE),
            "observations must be finite, got nan at",
        ),
        (
            1,
            ("reward", "update"),
            ROWS._replace(observations=NOT_FINITE),
            "observations must be finite, got nan at",
        ),
        (
            8,
            ("reward", "update"),
            ROWS._replace(next_observations=NOT_FINITE),
            "next_observations must be finite",
        ),
        (
            8,
            ("reward", "update"),
            ROWS._replace(observations=np.ones((4, 1))),
            "observations must have shape (4, 2)",
        ),
        (
            8,
            ("reward", "update"),
            ROWS._replace(next_observations=np.ones((3, 2))),
            "next_observations must have",
        ),
        (
            8,
            ("reward", "update"),
            ROWS._replace(actions=np.ones((4, 2))),
            "actions must have shape (4, 1)",
        ),
        (
            8,
            ("reward",),
            make_batch(2, 0),
            "inputs and targets must have the same number of rows >= 1, got 0 and 0",
        ),
    ],
)
def test_prediction_error_raises_as_vime_does(
    num_rows: int, methods: tuple[str, ...], batch: vime.Batch, message: str
) -> None:
    bonus = new_bonus().update(make_batch(1, num_rows), np.random.default_rng(0))
    for method in methods:
        for either in (bonus, bonus.model):
            getattr(either, method)(
                ROWS, np.random.default_rng(0)
            )  # such rows raise nothing
            with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
                getattr(either, method)(batch, np.random.default_rng(0))


def test_prediction_errors_that_overflow_are_rejected() -> None:
    model = ready_bonus().model
    bonus = PredictionError(
        replace(model, q=bnn.DiagNormal(1e110 + 0.0 * model.q.mu, model.q.rho))
    )
    with pytest.raises(
        ValueError, match=r"^errors must be finite, got inf at index \(0,\)"
    ):
        bonus.reward(ROWS, np.random.default_rng(0))


def transitions(seed: int, num_rows: int, noisy: bool) -> vime.Batch:
    """s′ = 0.8 s + 0.5 a, or a screen of noise: s′ ~ N(0, 1) whatever s and a."""
    rng = np.random.default_rng(seed)
    observations, actions = (
        rng.normal(size=(num_rows, 1)),
        rng.uniform(-1.0, 1.0, (num_rows, 1)),
    )
    next_observations = (
        rng.normal(size=(num_rows, 1)) if noisy else 0.8 * observations + 0.5 * actions
    )
    flags = np.zeros(num_rows, dtype=bool)
    return vime.Batch(
        observations, actions, np.zeros(num_rows), next_observations, flags, flags
    )


def mean_pay(noisy: bool, **changes: Any) -> np.ndarray:
    """Mean error and mean gain of 200 fresh rows, (2,) each, after 25 transitions and after 1600."""
    settings = replace(
        SMALL, hidden_sizes=(), min_rows=25, num_updates=200, batch_size=20, num_samples=4, learning_rate=0.02,
        num_data=None, gradient=fast.elbo_grad,
    gains=fast.information_gains,
    )  # fmt: skip
    model, fresh, paid = (
        vime.vime_init(1, BOX, np.random.default_rng(0), replace(settings, **changes)),
        99,
        [],
    )
    for seed, num_rows in enumerate((25, 75, 300, 1200)):
        model = model.update(
            transitions(seed, num_rows, noisy), np.random.default_rng(seed)
        )
        bonuses = PredictionError(model), model
        paid.append(
            [
                b.reward(
                    transitions(fresh, 200, noisy), np.random.default_rng(7)
                ).mean()
                for b in bonuses
            ]
        )
    return np.array([paid[0], paid[-1]]).T


@pytest.mark.unwatched
def test_noise_keeps_its_prediction_error_while_the_gain_falls() -> None:
    """The noisy screen: the error ends at the noise's variance, 1 within 4 standard errors √(2/200) of 200 squares.

    Controls: if s′ can be learned, both fall. If num_data is always 50, the gain does not fall either.
    """
    errors, gains = mean_pay(noisy=True)
    assert abs(errors[1] - 1.0) < 4 * np.sqrt(2 / 200)
    assert errors[1] > errors[0] / 2  # a fit to 25 rows errs a little more
    assert gains[1] < gains[0] / 20
    for learned in mean_pay(noisy=False):
        assert learned[1] < learned[0] / 20
    _, held = mean_pay(noisy=True, num_data=50.0)
    assert held[1] > held[0] / 4


def television_walks(seed: int, num_steps: int) -> tuple[vime.Batch, np.ndarray]:
    """Steps of random walks through the room, as coordinates, and flags of steps that end in front of the screen."""
    room = NoisyTV("index")
    features = np.array(
        [room.coordinates(state) for state in range(int(room.observation_space.n))]
    )
    episodes = q_learning(
        TimeLimit(room, 100),
        RANDOM,
        vime.NoBonus(),
        streams_of(seed),
        TabularSettings(),
        num_episodes=num_steps // 50,
    )
    steps = list(
        islice((step for episode in episodes for step in episode.steps), num_steps)
    )
    assert len(steps) == num_steps
    watched = (
        np.array([step.next_state for step in steps]) % len(room.cells)
        == room.places["T"]
    )
    return tabular.batch_of(steps, features), watched


@pytest.mark.unwatched
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_watching_the_television_keeps_its_prediction_error_while_the_gain_falls(
    seed: int,
) -> None:
    """From 4000 steps of random walks to 48,000, on fresh steps that end in front of the screen.

    Measured at the three seeds: the mean error goes from 10.6, 11.8 and 8.4 to 9.9, 11.5 and 10.3 (squares in units of
    the pool, where the pictures are rare), and the mean gain falls 64, 21 and 48 times. Control: a model with
    num_data fixed at 50 keeps large gains: the first is 1.5, 1.1 and 0.8 times the last.
    """
    settings = vime.VimeSettings(
        hidden_sizes=(8,), likelihood_sigma=0.5, prior_sigma=0.5, num_data=None, gradient=fast.elbo_grad,
    gains=fast.information_gains,
        num_samples=4, num_updates=1000, batch_size=50, learning_rate=0.02, min_rows=1,
    )  # fmt: skip
    walked, _ = television_walks(seed, 48_000)
    test, watched = television_walks(100 + seed, 8_000)
    test = vime.Batch(*(column[watched] for column in test))

    def paid(num_data: float | None) -> np.ndarray:
        """Mean error and mean gain of the watched steps, (2,) each, after 4000 steps and after all."""
        rng, pays = np.random.default_rng(seed), []
        model = vime.vime_init(
            3, Discrete(4), rng, replace(settings, num_data=num_data)
        )
        for start, end in ((0, 4_000), (4_000, 16_000), (16_000, 48_000)):
            model = model.update(
                vime.Batch(*(column[start:end] for column in walked)), rng
            )
            bonuses = PredictionError(model), model
            pays.append(
                [
                    bonus.reward(test, np.random.default_rng(9)).mean()
                    for bonus in bonuses
                ]
            )
        return np.array([pays[0], pays[-1]]).T

    errors, gains = paid(None)
    _, held = paid(50.0)
    assert errors[0] / 2 < errors[1] < 2 * errors[0]
    assert gains[1] < gains[0] / 10
    assert held[1] > held[0] / 4


# ---------------------------------------------------------------- other controls


def with_ends(
    batch: vime.Batch, terminated: list[int], truncated: list[int]
) -> vime.Batch:
    places = np.arange(len(batch.rewards))
    flags = (np.isin(places, terminated), np.isin(places, truncated))
    return batch._replace(terminated=flags[0], truncated=flags[1])


def test_path_error_against_a_loop_over_paths() -> None:
    """Paths of 2, 1 and 3 rows, the last cut by the batch; from one sample of the weights.

    Controls: errors per step, paths that end at terminations alone, and the mean of all samples.

    C7
    """
    model = ready_bonus(num_samples=5).model
    batch = with_ends(make_batch(3, 6), [1], [2])
    rewards = PathError(model).reward(batch, np.random.default_rng(9))
    errors = squared_errors(model, batch, np.random.default_rng(9), 1)
    inputs, targets = normalized_by_hand(batch, make_batch(1, 8))
    noise = np.random.default_rng(9).standard_normal((1, len(model.q.mu)))
    expected = [0.0] * 6
    for path in ([0, 1], [2], [3, 4, 5]):
        each = [
            np.sum((targets[n] - slow_output(model.q, inputs[n], noise, 0, n)) ** 2)
            for n in path
        ]
        for n in path:
            expected[n] = sum(each) / len(path)
    np.testing.assert_allclose(rewards, expected, rtol=1e-11)
    for wrong in (
        errors,
        [*[errors[:2].mean()] * 2, *[errors[2:].mean()] * 4],
        squared_errors(model, batch, np.random.default_rng(9), 5),
    ):
        assert not np.allclose(rewards, wrong, rtol=1e-3)


def test_squared_z_score_against_statistics_by_hand() -> None:
    """Controls: one standard deviation for all, no square, the batch's own statistics. C8"""
    seen = make_batch(1, 8)
    batch = make_batch(3, 5)
    bonus = SquaredZScore(new_bonus().model).update(seen, np.random.default_rng(0))
    rewards = bonus.reward(batch, np.random.default_rng(0))
    center = seen.observations.mean(axis=0)
    deviation = seen.observations.std(axis=0)
    z = (batch.next_observations - center) / deviation
    np.testing.assert_allclose(rewards, [row @ row for row in z], rtol=1e-12)
    own = batch.next_observations - batch.next_observations.mean(axis=0)
    for wrong in (
        np.sum((batch.next_observations - center) ** 2, axis=1) / deviation.mean() ** 2,
        np.abs(z).sum(axis=1),
        np.sum((own / batch.next_observations.std(axis=0)) ** 2, axis=1),
    ):
        assert not np.allclose(rewards, wrong, rtol=1e-3)


def test_squared_z_score_learns_nothing_and_is_nothing_before_min_rows() -> None:
    rng = np.random.default_rng(0)
    bonus = SquaredZScore(new_bonus().model)
    batch = make_batch(1, 5)
    assert bonus.reward(batch, rng).tolist() == [0.0] * 5
    first = bonus.update(batch, rng)
    assert first.reward(batch, rng).tolist() == [0.0] * 5
    second = first.update(make_batch(2, 4), rng)
    assert np.all(second.reward(batch, rng) > 0.0)
    assert second.model.q is bonus.model.q
    assert len(second.model.pool) == 9
    wide = second.model.normalized(*second.model.model_rows(batch))[1]
    far = batch._replace(next_observations=1e200 * np.ones((5, 2)))
    assert np.isfinite(wide).all()
    with pytest.raises(ValueError, match=r"^squares must be finite, got inf at"):
        second.reward(far, rng)


def test_noise_has_the_moments_of_chi_squared_and_ignores_the_batch() -> None:
    """Mean 1 and variance 2, each within 4 standard errors of 100 000 draws (√2 and √56: μ₄ − σ⁴ = 60 − 4).

    Control: the absolute value of a normal number, with mean 0.80.
    """
    many = make_batch(1, 100_000)
    bonus = NoiseBonus()
    drawn = bonus.reward(many, np.random.default_rng(0))
    assert abs(drawn.mean() - 1.0) < 4 * np.sqrt(2.0 / 100_000)
    assert abs(drawn.var() - 2.0) < 4 * np.sqrt(56.0 / 100_000)
    assert abs(np.sqrt(drawn).mean() - 1.0) > 4 * np.sqrt(2.0 / 100_000)
    again = bonus.update(many, np.random.default_rng(1)).reward(
        make_batch(2, 100_000), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(drawn, again)
    with pytest.raises(ValueError, match=r"^rng must be"):
        bonus.reward(many, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [PathError, SquaredZScore])
def test_controls_with_a_model_take_a_model(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^model must be"):
        kind(None)


def test_path_error_update_against_that_of_vime() -> None:
    bonus = PathError(ready_bonus().model)
    batch = make_batch(2, 4)
    updated = bonus.update(batch, np.random.default_rng(5))
    model = bonus.model.update(batch, np.random.default_rng(5))
    assert isinstance(updated, PathError)
    assert_equal_states(state_of(updated.model), state_of(model))


# ---------------------------------------------------------------- the exact gain of a table

PRIORS = [[0.5, 0.5], [1.0, 1.0, 1.0], [0.02, 3.5, 40.0, 0.5], [1e4, 7.0]]


def dirichlet_kl(new: list[Any], old: list[Any]) -> Any:
    """KL[Dir(new) ‖ Dir(old)] in nats, with 50 digits."""
    new, old = ([mp.mpf(each) for each in alphas] for alphas in (new, old))
    norms = mp.loggamma(mp.fsum(new)) - mp.loggamma(mp.fsum(old))
    norms += mp.fsum(mp.loggamma(b) - mp.loggamma(a) for a, b in zip(new, old))
    mean_logs = [mp.digamma(a) - mp.digamma(mp.fsum(new)) for a in new]
    return norms + mp.fsum((a - b) * m for a, b, m in zip(new, old, mean_logs))


def with_one_more(alphas: list[float], i: int) -> list[float]:
    return [a + (k == i) for k, a in enumerate(alphas)]


@pytest.mark.parametrize("alphas", PRIORS)
def test_dirichlet_gain_against_50_digits(alphas: list[float]) -> None:
    """Controls: the swapped KL, and ψ(α_i) without the 1. C9"""
    found = controls.dirichlet_gain(alphas, sum(alphas))
    with mp.workdps(50):
        new = [with_one_more(alphas, i) for i in range(len(alphas))]
        expected, swapped = (
            [float(dirichlet_kl(*pair)) for pair in pairs]
            for pairs in (
                [(each, alphas) for each in new],
                [(alphas, each) for each in new],
            )
        )
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=4e-15)
    assert not np.allclose(found, swapped, rtol=1e-3, atol=0.0)
    assert not np.allclose(found - 1.0 / np.array(alphas), expected, rtol=1e-3)


@pytest.mark.parametrize("alphas", [[0.5, 0.5], [2.0, 5.5]])
def test_dirichlet_gain_against_integration(alphas: list[float]) -> None:
    """Two outcomes: the integral of Beta densities. Control: the other outcome has another gain."""
    gains = controls.dirichlet_gain(alphas, sum(alphas))
    for i, gain in enumerate(gains):
        new, old = (stats.beta(*each) for each in (with_one_more(alphas, i), alphas))

        def part(p: float, new: Any = new, old: Any = old) -> float:
            return new.pdf(p) * (new.logpdf(p) - old.logpdf(p))

        expected, _ = integrate.quad(part, 0.0, 1.0)
        assert gain == pytest.approx(expected, rel=1e-7)
    assert len(set(np.round(gains, 3))) == len(set(alphas))


def test_dirichlet_gain_against_samples_within_4_standard_errors() -> None:
    """Log densities of samples from Dir(α + e_i). Control: samples from Dir(α) have the swapped KL's sign."""
    rng = np.random.default_rng(0)
    alphas = [0.5, 2.0, 4.0]
    new = with_one_more(alphas, 1)
    samples = rng.dirichlet(new, 20_000).T  # (K, n)
    logs = stats.dirichlet.logpdf(samples, new) - stats.dirichlet.logpdf(
        samples, alphas
    )
    gain = controls.dirichlet_gain(2.0, 6.5)
    assert abs(logs.mean() - gain) < 4 * logs.std() / np.sqrt(20_000)
    samples = rng.dirichlet(alphas, 20_000).T
    logs = stats.dirichlet.logpdf(samples, new) - stats.dirichlet.logpdf(
        samples, alphas
    )
    assert logs.mean() < 0.0 < gain


def test_dirichlet_gain_against_its_laws() -> None:
    """K equal outcomes: the mean gain is (K − 1)/2n. One outcome of K: (K − 1)α/2n². To 2 % at n = 2000."""
    n, outcomes, alpha = 2000.0, 8, 0.5
    total = n + outcomes * alpha
    noise = controls.dirichlet_gain(n / outcomes + alpha, total)
    certain = controls.dirichlet_gain(n + alpha, total)
    assert noise == pytest.approx((outcomes - 1) / (2 * n), rel=0.02)
    assert certain == pytest.approx((outcomes - 1) * alpha / (2 * n**2), rel=0.02)
    assert noise > 100 * certain


def test_dirichlet_gain_rejects_a_total_below_the_outcome() -> None:
    with pytest.raises(ValueError, match=r"^total must be >= alpha, got 0\.5"):
        controls.dirichlet_gain([0.25, 1.0], 0.5)


def table_batch(rows: list[tuple[int, int, int]]) -> vime.Batch:
    """Transitions (s, a, s′)."""
    states, actions, outcomes = np.array(rows, dtype=float).reshape(-1, 3).T
    flags = np.zeros(len(rows), dtype=bool)
    return vime.Batch(
        states[:, None], actions, 0.0 * states, outcomes[:, None], flags, flags
    )


def test_dirichlet_bonus_against_a_table_by_hand() -> None:
    """Rows see the table before the batch. Controls: other actions, states and priors have rows of their own."""
    bonus = controls.DirichletGain(3)
    rng = np.random.default_rng(0)
    first = table_batch([(0, 0, 1), (0, 0, 1), (0, 1, 1), (2, 0, 1)])
    gain = controls.dirichlet_gain
    np.testing.assert_array_equal(bonus.reward(first, rng), [gain(0.5, 1.5)] * 4)
    learned = bonus.update(first, rng)
    assert bonus.visits == {}
    second = table_batch([(0, 0, 1), (0, 0, 2), (0, 1, 1), (2, 1, 1), (1, 0, 1)])
    expected = [gain(2.5, 3.5), gain(0.5, 3.5), gain(1.5, 2.5), *[gain(0.5, 1.5)] * 2]
    np.testing.assert_array_equal(learned.reward(second, rng), expected)
    again = learned.update(table_batch([(0, 0, 2)]), rng)
    expected = [gain(2.5, 4.5), gain(1.5, 4.5)]
    np.testing.assert_array_equal(again.reward(second, rng)[:2], expected)
    assert learned.visits[0, 0.0] == {1: 2}
    assert again.visits[0, 0.0] == {1: 2, 2: 1}
    uniform = controls.DirichletGain(3, 1.0)
    np.testing.assert_array_equal(uniform.reward(first, rng), [gain(1.0, 3.0)] * 4)


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (table_batch([(0, 0, 3)]), "next_observations must be indices below 3, got 3"),
        (table_batch([(-1, 0, 0)]), "observations must be indices below 3, got -1"),
        (make_batch(0, 2), "observations must have shape (2, 1), got (2, 2)"),
        (table_batch([(0, 0, 0)])._replace(actions=np.zeros((1, 2))), "actions must"),
    ],
)
def test_dirichlet_bonus_rejects_rows_without_a_place_in_the_table(
    batch: vime.Batch, reason: str
) -> None:
    bonus = controls.DirichletGain(3)
    for method in (bonus.reward, bonus.update):
        with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
            method(batch, np.random.default_rng(0))

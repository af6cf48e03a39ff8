"""Policies, returns, policy steps and the loop of `agents_ref`, each against its own oracle."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise, product
from types import SimpleNamespace
from typing import Any

import autograd.numpy as anp
import gymnasium as gym
import numpy as np
import pytest
from autograd import grad, hessian, value_and_grad
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from scipy import stats
from scipy.optimize import minimize
from strategies import finite, seeds

import agents_ref
import fast_ref as fast
import vime_gym.tasks  # noqa: F401  registers the tasks
import vime_ref as vime
from agents_ref import (
    AgentSettings,
    CategoricalPolicy,
    GaussianPolicy,
    Streams,
    curiosity,
    discounted_returns,
    gae_advantages,
    policy_gradient_step,
    policy_init,
    rollout,
    train,
    trpo_step,
    value_fit,
    value_init,
)
from vime_gym.vectors import as_vector

# ---------------------------------------------------------------- policies, unpacked by hand

SIZES = (2, 3, 2)  # K = 2, three tanh units, A = 2
NUM_WEIGHTS = 2 * 3 + 3 + 3 * 2 + 2
OBSERVATIONS = np.array([[0.0, 0.0], [1.0, -2.0], [0.3, 0.7], [-1.5, 0.2]])


def gaussian(seed: int, spread: float = 0.7) -> GaussianPolicy:
    return GaussianPolicy(default_rng(seed).normal(0.0, spread, NUM_WEIGHTS + 2), SIZES)


def categorical(seed: int, spread: float = 0.7) -> CategoricalPolicy:
    return CategoricalPolicy(default_rng(seed).normal(0.0, spread, NUM_WEIGHTS), SIZES)


both = pytest.mark.parametrize("make", [gaussian, categorical])


def slow_network(policy: Any, observation: np.ndarray) -> np.ndarray:
    """Outputs (A,) of one observation: matrices (I, O) in C order, each followed by its biases."""
    values, start = observation, 0
    for layer, (i, o) in enumerate(pairwise(policy.layer_sizes)):
        matrix = policy.theta[start : start + i * o].reshape(i, o)
        bias = policy.theta[start + i * o : start + i * o + o]
        values = (np.tanh(values) if layer else values) @ matrix + bias
        start += i * o + o
    return values


def slow_normal(policy: GaussianPolicy, observation: np.ndarray) -> Any:
    outputs = slow_network(policy, observation)
    return stats.norm(outputs, np.exp(policy.theta[-len(outputs) :]))


def slow_log_density(
    policy: Any, observation: np.ndarray, actions: np.ndarray
) -> np.ndarray:
    """log π(a|s) of one state for actions (M, A) or (M,)."""
    if isinstance(policy, GaussianPolicy):
        return slow_normal(policy, observation).logpdf(actions).sum(axis=-1)
    exponentials = np.exp(slow_network(policy, observation))
    return np.log(exponentials / exponentials.sum())[actions]


def support(policy: Any, observation: np.ndarray) -> tuple[np.ndarray, float]:
    """Actions (M, A) or (M,) whose sum approximates an integral, and the volume of their cells.

    A grid of ½σ out to 9σ: the trapezoidal rule on a Gaussian has an error of e^(−2π²/0.25) plus its tail, below 1e-17.
    """
    if isinstance(policy, CategoricalPolicy):
        return np.arange(policy.layer_sizes[-1]), 1.0
    normal = slow_normal(policy, observation)
    units = np.array(
        list(product(np.arange(-9.0, 9.25, 0.5), repeat=policy.layer_sizes[-1]))
    )
    return normal.mean() + normal.std() * units, float(np.prod(0.5 * normal.std()))


def expectation(
    policy: Any, function: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """E_π function(state, actions), for each of OBSERVATIONS, by sum or integration."""
    results = []
    for observation in OBSERVATIONS:
        actions, volume = support(policy, observation)
        masses = volume * np.exp(slow_log_density(policy, observation, actions))
        results.append(masses @ function(observation, actions))
    return np.array(results)


def draw(policy: Any, seed: int, rows: np.ndarray = OBSERVATIONS) -> np.ndarray:
    return policy.sample(rows, policy.draw_noise(default_rng(seed), len(rows)))


@both
@given(seed=seeds)
@settings(max_examples=20)
def test_log_prob_against_scipy_and_slow_softmax(make, seed):
    policy = make(seed)
    actions = draw(policy, seed)
    oracle = [
        slow_log_density(policy, s, actions[n : n + 1])[0]
        for n, s in enumerate(OBSERVATIONS)
    ]
    assert np.allclose(
        policy.log_prob(OBSERVATIONS, actions), oracle, rtol=1e-12, atol=1e-12
    )


def test_gaussian_log_prob_is_neither_variance_as_sigma_nor_unnormalised():
    policy, actions = gaussian(1), draw(gaussian(1), 2)
    log_prob = policy.log_prob(OBSERVATIONS, actions)
    means = np.array([slow_network(policy, s) for s in OBSERVATIONS])
    sigma = np.exp(policy.theta[-2:])
    assert np.allclose(
        log_prob, stats.norm.logpdf(actions, means, sigma).sum(-1), rtol=1e-12
    )
    assert not np.allclose(
        log_prob, stats.norm.logpdf(actions, means, sigma**2).sum(-1), rtol=1e-3
    )
    assert not np.allclose(
        log_prob,
        np.sum(-0.5 * ((actions - means) / sigma) ** 2 - np.log(sigma), -1),
        rtol=1e-3,
    )


@both
@given(seed=seeds)
@settings(max_examples=10)
def test_densities_against_total_probability_1(make, seed):
    policy = make(seed)
    for observation in OBSERVATIONS:
        actions, volume = support(policy, observation)
        rows = np.tile(observation, (len(actions), 1))
        assert np.exp(policy.log_prob(rows, actions)).sum() * volume == pytest.approx(
            1.0, rel=1e-12
        )


@both
@given(seed=seeds)
@settings(max_examples=10)
def test_entropy_against_minus_expected_log_density(make, seed):
    policy = make(seed)
    oracle = -expectation(policy, lambda s, a: slow_log_density(policy, s, a))
    assert np.allclose(policy.entropy(OBSERVATIONS), oracle, rtol=1e-10, atol=1e-12)


def test_entropy_against_scipy():
    normals = [slow_normal(gaussian(3), s).entropy().sum() for s in OBSERVATIONS]
    assert np.allclose(gaussian(3).entropy(OBSERVATIONS), normals, rtol=1e-12)
    constant_lost = np.array(normals) - np.log(2 * np.pi * np.e)
    assert not np.allclose(gaussian(3).entropy(OBSERVATIONS), constant_lost, rtol=1e-3)
    exponentials = np.exp([slow_network(categorical(3), s) for s in OBSERVATIONS])
    softmax = exponentials / exponentials.sum(-1, keepdims=True)
    assert np.allclose(
        categorical(3).entropy(OBSERVATIONS),
        stats.entropy(softmax, axis=-1),
        rtol=1e-12,
    )
    assert not np.allclose(
        categorical(3).entropy(OBSERVATIONS),
        stats.entropy(softmax, axis=-1, base=2),
        rtol=1e-3,
    )


@both
@given(seed=st.integers(0, 2**31))
@settings(max_examples=10)
def test_kl_of_old_to_new_against_integration(make, seed):
    """Controls: SwappedKL, and KLMean, which divides by the two action dimensions."""
    old, new = make(seed), make(seed + 1)

    def integral(p: Any, q: Any) -> np.ndarray:
        return expectation(
            p, lambda s, a: slow_log_density(p, s, a) - slow_log_density(q, s, a)
        )

    kl = old.kl(new, OBSERVATIONS)
    assert np.allclose(kl, integral(old, new), rtol=1e-9, atol=1e-12)
    assert not np.allclose(kl, integral(new, old), rtol=1e-6, atol=1e-12)
    assert not np.allclose(kl, integral(old, new) / 2, rtol=1e-6, atol=1e-12)
    assert np.allclose(old.kl(make(seed), OBSERVATIONS), 0.0, atol=1e-15)


def test_gaussian_sample_against_mean_plus_sigma_noise():
    policy, noise = gaussian(4), default_rng(5).normal(size=(4, 2))
    means, sigma = (
        np.array([slow_network(policy, s) for s in OBSERVATIONS]),
        np.exp(policy.theta[-2:]),
    )
    sample = policy.sample(OBSERVATIONS, noise)
    assert np.allclose(sample, means + sigma * noise, rtol=1e-13)
    assert not np.allclose(sample, means + sigma**2 * noise, rtol=1e-3)


@given(seed=seeds, num_points=st.integers(1, 200))
@settings(max_examples=30)
def test_categorical_sample_against_probabilities_over_even_noise(seed, num_points):
    """The inverse of a distribution function: a count over an even grid is within one of probability × points."""
    policy = categorical(seed, spread=2.0)
    probabilities = np.exp(slow_log_density(policy, OBSERVATIONS[1], np.arange(2)))
    noise = (np.arange(num_points) + 0.5) / num_points
    actions = policy.sample(np.tile(OBSERVATIONS[1], (num_points, 1)), noise)
    assert np.all(
        np.abs(np.bincount(actions, minlength=2) - num_points * probabilities) <= 1
    )
    assert np.all(np.diff(actions) >= 0)


@given(logits=st.lists(finite(-40.0, 40.0), min_size=1, max_size=7))
@settings(max_examples=50)
def test_categorical_sample_at_the_edges_of_noise(logits):
    """Noise near 1 stays in range, although rounded probabilities may sum to less; noise 0 gives the first action."""
    policy = CategoricalPolicy(np.array([0.0] * len(logits) + logits), (1, len(logits)))
    first, last = policy.sample(
        np.zeros((2, 1)), np.array([0.0, np.nextafter(1.0, 0.0)])
    )
    assert first == 0 <= last < len(logits)


def test_categorical_sample_is_not_the_whole_running_sum():
    """Ten times 0.1 sums to less than 1 in float64: a running sum over all of them would choose an eleventh action."""
    policy, noise = CategoricalPolicy(np.zeros(20), (1, 10)), np.nextafter(1.0, 0.0)
    assert np.sum(np.cumsum(np.full(10, 0.1)) <= noise) == 10
    assert policy.sample(np.zeros((1, 1)), np.array([noise])).tolist() == [9]


def test_categorical_sample_takes_the_next_action_at_a_bound():
    """Probabilities ½, ½ with noise ½; and noise 0 does not draw an action whose probability rounds to 0."""
    halves, never = (
        CategoricalPolicy(np.array([0.0, 0.0, logit, 0.0]), (1, 2))
        for logit in (0.0, -800.0)
    )
    rows = np.zeros((2, 1))
    assert halves.sample(rows, np.array([np.nextafter(0.5, 0.0), 0.5])).tolist() == [
        0,
        1,
    ]
    assert never.sample(rows, np.zeros(2)).tolist() == [1, 1]


def test_draw_noise_against_moments():
    """Within 4 standard errors of mean and second moment: standard normal (N, A), uniform (N,) on [0, 1)."""
    n = 20_000
    normal, uniform = (
        gaussian(0).draw_noise(default_rng(6), n),
        categorical(0).draw_noise(default_rng(7), n),
    )
    assert normal.shape == (n, 2)
    assert np.all(np.abs(normal.mean(axis=0)) < 4 / np.sqrt(n))
    assert np.all(np.abs((normal**2).mean(axis=0) - 1.0) < 4 * np.sqrt(2 / n))
    assert abs(np.mean(normal[:, 0] * normal[:, 1])) < 4 / np.sqrt(n)
    assert uniform.shape == (n,)
    assert 0.0 <= uniform.min() <= uniform.max() < 1.0
    assert abs(uniform.mean() - 0.5) < 4 / np.sqrt(12 * n)
    assert abs((uniform**2).mean() - 1 / 3) < 4 * np.sqrt(
        4 / 45 / n
    )  # Var u² = 1/5 − 1/9


@pytest.mark.parametrize(
    ("space", "kind", "num_outputs", "num_extra"),
    [(Box(-1, 1, (3,)), GaussianPolicy, 3, 3), (Discrete(4), CategoricalPolicy, 4, 0)],
)
def test_policy_init_has_glorot_weights_small_last_ones_zero_biases_and_unit_sigma(
    space, kind, num_outputs, num_extra
):
    policy = policy_init(2, space, default_rng(8), (50,))
    assert isinstance(policy, kind)
    assert policy.layer_sizes == (2, 50, num_outputs)
    first, rest = np.split(policy.theta, [2 * 50 + 50])
    second, log_std = np.split(rest, [50 * num_outputs + num_outputs])
    assert np.all(log_std == 0.0)
    assert len(log_std) == num_extra
    for layer, i, o, scale in ((first, 2, 50, 1.0), (second, 50, num_outputs, 0.01)):
        bound = scale * np.sqrt(6 / (i + o))
        assert np.all(layer[i * o :] == 0.0)
        assert (
            0.9 * bound < np.abs(layer[: i * o]).max() <= bound
        )  # 100 draws or more: 0.9¹⁰⁰ = 3e-5


@pytest.mark.parametrize(
    "space", [MultiDiscrete([2, 2]), Box(-1, 1, (2, 2)), Box(-1, 1, ())]
)
def test_policy_init_rejects_other_action_spaces(space):
    with pytest.raises(
        ValueError, match="action_space must be Discrete or a Box of shape"
    ):
        policy_init(2, space, default_rng(0))


@pytest.mark.parametrize("space", [Box(-1.0, 1.0, (2,)), Discrete(3)])
def test_a_scaled_policy_sees_the_observations_in_units_of_their_scale(space):
    """Weights, mean, KL and actions agree with the plain policy's on observations divided beforehand."""
    scale, rng = np.array([4.0, 0.1]), default_rng(9)
    observations, noise = (
        rng.normal(size=(6, 2)) * scale,
        rng.random(6 if isinstance(space, Discrete) else (6, 2)),
    )
    plain, scaled = (
        policy_init(2, space, default_rng(8)),
        policy_init(2, space, default_rng(8), observation_scale=scale),
    )
    assert np.array_equal(plain.theta, scaled.theta)
    policies = [
        replace(policy, theta=30.0 * policy.theta) for policy in (plain, scaled)
    ]
    theta = rng.permutation(policies[0].theta)
    news = [replace(policy, theta=theta) for policy in policies]
    seen = [observations / scale, observations]
    actions = [policy.sample(rows, noise) for policy, rows in zip(policies, seen)]
    assert np.array_equal(*actions)
    assert np.array_equal(
        *(policy.kl(new, rows) for policy, new, rows in zip(policies, news, seen))
    )
    log_probs = [
        policy.log_prob(rows, actions[0]) for policy, rows in zip(policies, seen)
    ]
    assert np.array_equal(*log_probs)
    assert not np.allclose(
        policies[0].log_prob(observations, actions[0]), log_probs[1]
    )  # the control


@pytest.mark.parametrize(
    "scale", [np.ones(3), np.array([1.0, 0.0]), np.array([1.0, np.inf])]
)
def test_policy_init_rejects_a_scale_that_does_not_fit(scale):
    with pytest.raises(ValueError, match="observation_scale must"):
        policy_init(2, Discrete(2), default_rng(0), observation_scale=scale)


def test_policy_init_takes_a_list_as_scale_and_keeps_its_own():
    given = np.array([1.0, 2.0])
    policy = policy_init(2, Discrete(2), default_rng(0), observation_scale=given)
    given[:] = 3.0
    listed = policy_init(2, Discrete(2), default_rng(0), observation_scale=[1, 2])
    assert (
        policy.observation_scale.tolist()
        == listed.observation_scale.tolist()
        == [1.0, 2.0]
    )


TWO, COLUMN = np.zeros(2), np.arange(4.0)[:, None]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("actions", lambda: gaussian(0).log_prob(OBSERVATIONS, TWO)),
        ("actions", lambda: gaussian(0).log_prob(OBSERVATIONS, np.zeros((1, 2)))),
        ("actions", lambda: categorical(0).log_prob(OBSERVATIONS, TWO)),
        (
            "actions",
            lambda: categorical(0).log_prob(OBSERVATIONS, np.array([0, 1, 0, -1])),
        ),
        ("noise", lambda: gaussian(0).sample(OBSERVATIONS, np.zeros((1, 2)))),
        ("noise", lambda: categorical(0).sample(OBSERVATIONS, np.zeros(1))),
        (
            "advantages",
            lambda: reinforce(1.0).policy_step(
                categorical(0), OBSERVATIONS, np.zeros(4), COLUMN
            ),
        ),
        (
            "advantages",
            lambda: trpo_step(categorical(0), OBSERVATIONS, np.zeros(4), COLUMN),
        ),
        (
            "advantages",
            lambda: reinforce(1.0).policy_step(
                categorical(0), OBSERVATIONS, np.zeros(4), np.full(4, np.nan)
            ),
        ),
        (
            "advantages",
            lambda: trpo_step(
                categorical(0), OBSERVATIONS, np.zeros(4), np.full(4, np.nan)
            ),
        ),
        (
            "returns",
            lambda: value_fit(value_init(2, default_rng(0)), OBSERVATIONS, COLUMN),
        ),
        (
            "returns",
            lambda: value_fit(
                value_init(2, default_rng(0)), OBSERVATIONS, np.full(4, np.nan)
            ),
        ),
    ],
)
def test_rows_that_do_not_match_or_are_not_finite_raise(name, call):
    """Each of these would broadcast or pass NaN on, and give a meaningless number."""
    with pytest.raises(ValueError, match=f"^{name} must "):
        call()


# ---------------------------------------------------------------- returns and advantages

fractions = finite(0.0, 1.0)


@given(
    rewards=st.lists(finite(-5.0, 5.0), max_size=12),
    gamma=fractions,
    last_value=finite(-5.0, 5.0),
)
@settings(max_examples=50)
def test_discounted_returns_against_double_sum(rewards, gamma, last_value):
    """Equation A5"""
    n = len(rewards)
    oracle = [
        sum(gamma ** (k - t) * rewards[k] for k in range(t, n))
        + gamma ** (n - t) * last_value
        for t in range(n)
    ]
    returns = discounted_returns(np.array(rewards), gamma=gamma, last_value=last_value)
    assert np.allclose(returns, oracle, rtol=1e-12, atol=1e-12)


def test_discounted_returns_discounts_the_last_value_once_more_than_the_last_reward():
    returns = discounted_returns(np.array([1.0, 2.0]), gamma=0.5, last_value=8.0)
    assert returns.tolist() == [1.0 + 0.5 * 2.0 + 0.25 * 8.0, 2.0 + 0.5 * 8.0]
    assert returns.tolist() != [1.0 + 0.5 * 2.0 + 0.5 * 8.0, 2.0 + 8.0]


@dataclass(frozen=True)
class Path:
    """The columns of a batch that advantages need; the last row may or may not end an episode."""

    rewards: np.ndarray
    values: np.ndarray
    next_values: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        return (
            self.rewards,
            self.values,
            self.next_values,
            self.terminated,
            self.truncated,
        )

    def __getitem__(self, rows: slice) -> "Path":
        return Path(*(column[rows] for column in self.columns))

    @property
    def segments(self) -> list[slice]:
        ends = np.flatnonzero(self.terminated | self.truncated) + 1
        bounds = sorted({0, *map(int, ends), len(self.rewards)})
        return [slice(a, b) for a, b in pairwise(bounds)]


def make_path(seed: int, num_rows: int) -> Path:
    rng = default_rng(seed)
    return Path(*rng.normal(size=(3, num_rows)), *(rng.random((2, num_rows)) < 0.25))


paths = st.builds(make_path, seeds, st.integers(1, 12))


def slow_advantages(
    path: Path, gamma: float, lam: float, terminal: np.ndarray | None = None
) -> np.ndarray:
    """Σ_k (γλ)^k δ_{t+k} to the end of t's segment; V of the next state is 0 in terminal rows."""
    terminal = path.terminated if terminal is None else terminal
    delta = (
        path.rewards + gamma * np.where(terminal, 0.0, path.next_values) - path.values
    )
    return np.array(
        [
            sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, segment.stop))
            for segment in path.segments
            for t in range(segment.start, segment.stop)
        ]
    )


@given(path=paths, gamma=fractions, lam=fractions)
@settings(max_examples=60)
def test_gae_advantages_against_slow_sums(path, gamma, lam):
    """Equation A6"""
    advantages = gae_advantages(*path.columns, gamma=gamma, lam=lam)
    assert np.allclose(
        advantages, slow_advantages(path, gamma, lam), rtol=1e-12, atol=1e-12
    )


def test_gae_advantages_keep_the_value_behind_a_time_limit():
    """Control TruncationAsTermination: the value target cut at a time limit misses γ·V of the next state."""
    path = Path(
        np.ones(2),
        np.zeros(2),
        np.full(2, 4.0),
        np.array([False, False]),
        np.array([False, True]),
    )
    advantages = gae_advantages(*path.columns, gamma=0.5, lam=1.0)
    assert advantages.tolist() == [4.5, 3.0]
    cut = slow_advantages(path, 0.5, 1.0, terminal=path.terminated | path.truncated)
    assert cut.tolist() == [3.5, 1.0]
    ended = gae_advantages(
        *replace(path, terminated=path.truncated).columns, gamma=0.5, lam=1.0
    )
    assert ended.tolist() == cut.tolist()


@given(path=paths, gamma=fractions)
@settings(max_examples=40)
def test_gae_with_lambda_1_and_0_against_returns_and_differences(path, gamma):
    """λ = 1: V + A are each segment's discounted returns, bootstrapped with V(next). λ = 0: A is δ.

    Within a segment, V of the next state is the next row's V, so the sum telescopes.
    """
    inner = ~(path.terminated | path.truncated)[:-1]
    path.next_values[:-1][inner] = path.values[1:][inner]
    monte_carlo = path.values + gae_advantages(*path.columns, gamma=gamma, lam=1.0)
    for rows in path.segments:
        last = (
            0.0
            if path.terminated[rows.stop - 1]
            else float(path.next_values[rows.stop - 1])
        )
        oracle = discounted_returns(path.rewards[rows], gamma=gamma, last_value=last)
        assert np.allclose(monte_carlo[rows], oracle, rtol=1e-12, atol=1e-12)
    delta = (
        path.rewards
        + gamma * np.where(path.terminated, 0.0, path.next_values)
        - path.values
    )
    assert np.allclose(
        gae_advantages(*path.columns, gamma=gamma, lam=0.0),
        delta,
        rtol=1e-14,
        atol=1e-14,
    )


@given(path=paths, gamma=fractions, lam=fractions)
@settings(max_examples=40)
def test_gae_of_a_batch_equals_its_segments_one_by_one(path, gamma, lam):
    """Nothing flows across an end, for example between parallel environments one after another."""
    parts = [
        gae_advantages(*path[rows].columns, gamma=gamma, lam=lam)
        for rows in path.segments
    ]
    assert np.array_equal(
        gae_advantages(*path.columns, gamma=gamma, lam=lam), np.concatenate(parts)
    )


GOOD_PATH = make_path(0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.01}, "gamma must be from 0 to 1, got 1.01"),
        ({"gamma": np.nan}, "gamma must be from 0 to 1, got nan"),
        ({"lam": -0.1}, "lam must be from 0 to 1, got -0.1"),
        ({"rewards": np.array([0.0, np.inf, 0.0])}, r"rewards must be finite, got inf at index \(1,\)"),
        *(({name: np.zeros(2)}, rf"{name} must have shape \(3,\), got \(2,\)") for name in list(vars(GOOD_PATH))[1:]),
        *(({name: np.full(3, np.nan)}, f"{name} must be finite") for name in ("values", "next_values")),
        ({"values": np.zeros((3, 1))}, "values must have shape"),
        *(({name: [0.0, 0.5, 2.0]}, rf"{name} must be true or false, got \[0\.  0\.5 2\. \]")
          for name in ("terminated", "truncated")),
        ({name: np.repeat(column, 2).reshape(3, 2) for name, column in vars(GOOD_PATH).items()},
         r"rewards must have shape \(any,\), got \(3, 2\)"),
        ({"rewards": np.full(3, 1e308), "gamma": 1.0, "lam": 1.0}, "advantages must be finite, got inf"),
    ],
)  # fmt: skip
def test_gae_advantages_names_the_bad_argument(change, message):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=message):
        gae_advantages(**{**vars(GOOD_PATH), "gamma": 0.9, "lam": 0.9, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": -0.1}, "gamma must be from 0 to 1, got -0.1"),
        ({"last_value": np.nan}, "last_value must be finite, got nan"),
        ({"rewards": np.array([0.0, np.nan])}, "rewards must be finite, got nan"),
        ({"rewards": np.full(3, 1e308)}, "returns must be finite, got inf"),
        (
            {"rewards": np.zeros((2, 2))},
            r"rewards must have shape \(any,\), got \(2, 2\)",
        ),
    ],
)
def test_discounted_returns_names_the_bad_argument(change, message):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=message):
        discounted_returns(**{"rewards": np.zeros(2), "gamma": 0.9, **change})


# ---------------------------------------------------------------- policy steps


def slow_log_probs(policy: Any, actions: np.ndarray) -> np.ndarray:
    return np.array(
        [
            slow_log_density(policy, s, actions[n : n + 1])[0]
            for n, s in enumerate(OBSERVATIONS)
        ]
    )


def slow_gradient(
    function: Callable[[Any], np.ndarray], policy: Any, h: float = 1e-5
) -> np.ndarray:
    """Central differences of a function of the policy by each parameter, (P, ...); h² and rounding leave 1e-9."""
    directions = h * np.eye(len(policy.theta))
    moved = [
        (
            replace(policy, theta=policy.theta + d),
            replace(policy, theta=policy.theta - d),
        )
        for d in directions
    ]
    return np.array([(function(up) - function(down)) / (2 * h) for up, down in moved])


ADVANTAGES = np.array([1.0, -0.5, 2.0, 0.3])


@both
def test_policy_gradient_step_against_differences(make):
    """Controls: the sum over rows instead of the mean, and an entropy with the wrong sign. A7"""
    policy, beta = make(10), 0.3
    actions = draw(policy, 11)

    def objective(new: Any) -> float:
        entropy = -expectation(new, lambda s, a: slow_log_density(new, s, a))
        return np.mean(ADVANTAGES * slow_log_probs(new, actions)) + beta * np.mean(
            entropy
        )

    settings_ = dict(learning_rate=0.1, entropy_weight=beta)
    step = (
        policy_gradient_step(
            policy, OBSERVATIONS, actions, ADVANTAGES, **settings_
        ).theta
        - policy.theta
    )
    oracle = slow_gradient(objective, policy)
    cost = (
        2
        * slow_gradient(
            lambda new: np.mean(ADVANTAGES * slow_log_probs(new, actions)), policy
        )
        - oracle
    )
    assert np.allclose(step / 0.1, oracle, atol=1e-8)
    assert not np.allclose(step / 0.1, 4 * oracle, atol=1e-2)
    assert not np.allclose(step / 0.1, cost, atol=1e-2)


@both
def test_entropy_bonus_alone_raises_the_entropy(make):
    policy = make(12)
    rows = OBSERVATIONS, draw(policy, 13), np.zeros(4)
    entropies = [
        policy_gradient_step(policy, *rows, learning_rate=0.01, entropy_weight=b)
        .entropy(OBSERVATIONS)
        .mean()
        for b in (-1.0, 0.0, 1.0)
    ]
    assert (
        entropies[0]
        < entropies[1]
        == policy.entropy(OBSERVATIONS).mean()
        < entropies[2]
    )


@given(advantages=st.lists(finite(-3.0, 3.0), min_size=3, max_size=3), seed=seeds)
@settings(max_examples=20)
def test_policy_gradient_step_against_softmax_bandit(advantages, seed):
    """One state, each action once and weighted by its probability: d/d logit_a = p_a (A_a − Σ p A)."""
    logits, advantages = default_rng(seed).normal(size=3), np.array(advantages)
    p = np.exp(logits) / np.exp(logits).sum()
    policy = CategoricalPolicy(np.concatenate([np.zeros(3), logits]), (1, 3))
    rows = np.zeros((3, 1)), np.arange(3), 3 * p * advantages
    step = (
        policy_gradient_step(policy, *rows, learning_rate=1.0, entropy_weight=0.0).theta
        - policy.theta
    )
    assert np.allclose(step[3:], p * (advantages - p @ advantages), atol=1e-14)
    assert np.all(step[:3] == 0.0)  # the input is 0


def slow_fisher(policy: Any, every: int) -> np.ndarray:
    """Mean over one state in `every` of E_π ∇log π ∇log πᵀ, (P, P), by sum or integration."""
    total = np.zeros((len(policy.theta), len(policy.theta)))
    for observation in OBSERVATIONS[::every]:
        actions, volume = support(policy, observation)
        scores = slow_gradient(
            lambda new, s=observation, a=actions: slow_log_density(new, s, a), policy
        )  # (P, M)
        total += (
            scores * volume * np.exp(slow_log_density(policy, observation, actions))
        ) @ scores.T
    return total / len(OBSERVATIONS[::every])


@pytest.mark.parametrize("every", [1, 3])
@both
def test_trpo_step_against_dense_fisher_matrix(make, every):
    """√(2δ / dᵀFd)·d with Fd = g, F by integration. Controls: the gradient, √(δ / dᵀFd), F of the other rows. A8"""
    policy, damping, max_kl = make(14), 0.1, 1e-8
    actions = draw(policy, 15)
    gradient = slow_gradient(
        lambda new: np.mean(ADVANTAGES * slow_log_probs(new, actions)), policy
    )

    def dense(every: int) -> np.ndarray:
        fisher = slow_fisher(policy, every) + damping * np.eye(len(policy.theta))
        direction = np.linalg.solve(fisher, gradient)
        return np.sqrt(2 * max_kl / (direction @ fisher @ direction)) * direction

    oracle = dense(every)
    settings = {
        "max_kl": max_kl,
        "damping": damping,
        "cg_iterations": 3 * len(policy.theta),
        "fisher_every": every,
    }
    new = trpo_step(policy, OBSERVATIONS, actions, ADVANTAGES, **settings)
    step = new.theta - policy.theta
    halvings = round(np.log2(np.linalg.norm(oracle) / np.linalg.norm(step)))
    assert halvings == 0 or every > 1  # until the KL over all rows is within max_kl
    oracle = oracle / 2**halvings
    length = np.linalg.norm(oracle)
    assert np.allclose(
        step, oracle, rtol=0, atol=1e-6 * length
    )  # error of the differences
    assert np.linalg.norm(step - oracle / np.sqrt(2)) > 0.1 * length
    assert np.linalg.norm(step - dense(4 - every) / 2**halvings) > 0.01 * length
    assert (
        np.linalg.norm(step - gradient * length / np.linalg.norm(gradient))
        > 0.1 * length
    )


@both
def test_trpo_step_solves_for_the_direction_to_its_tolerance(make):
    """F·step is parallel to g, with F the dense Hessian of the KL by autograd; a tolerance of 1e-5 is too large."""
    policy, damping = make(24), 10.0
    actions = draw(policy, 25)
    weights = ADVANTAGES / len(ADVANTAGES)
    old = policy.log_prob(OBSERVATIONS, actions)

    def surrogate(theta):
        return anp.sum(
            weights
            * anp.exp(
                replace(policy, theta=theta).log_prob(OBSERVATIONS, actions) - old
            )
        )

    kl = hessian(
        lambda theta: anp.mean(policy.kl(replace(policy, theta=theta), OBSERVATIONS))
    )
    fisher = kl(policy.theta) + damping * np.eye(len(policy.theta))
    new = trpo_step(
        policy,
        OBSERVATIONS,
        actions,
        ADVANTAGES,
        max_kl=1e-4,
        damping=damping,
        cg_iterations=5 * len(policy.theta),
    )
    along, wanted = fisher @ (new.theta - policy.theta), grad(surrogate)(policy.theta)
    np.testing.assert_allclose(
        along / np.linalg.norm(along), wanted / np.linalg.norm(wanted), atol=1e-8
    )


@both
@given(seed=seeds)
@settings(max_examples=10)
def test_trpo_step_against_slow_kl_and_surrogate(make, seed):
    """The default step keeps the mean KL[old‖new] at 0.01 or below, and the surrogate rises."""
    policy = make(seed)
    actions = draw(policy, seed)
    advantages = default_rng(seed).normal(size=4)
    new = trpo_step(policy, OBSERVATIONS, actions, advantages)
    kl = expectation(
        policy,
        lambda s, a: slow_log_density(policy, s, a) - slow_log_density(new, s, a),
    ).mean()
    ratio = np.exp(slow_log_probs(new, actions) - slow_log_probs(policy, actions))
    assert 0.0 < kl <= 0.01 + 1e-12  # rounding of the integration
    assert np.mean(ratio * advantages) > np.mean(advantages)


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        (
            "^learning_rate must be > 0 and finite",
            {"learning_rate": np.nan, "entropy_weight": 0.0},
        ),
        (
            "^entropy_weight must be finite",
            {"learning_rate": 1.0, "entropy_weight": np.inf},
        ),
    ],
)
def test_policy_gradient_step_names_the_bad_setting(message, settings):
    policy = gaussian(0)
    with pytest.raises(ValueError, match=message):
        policy_gradient_step(
            policy, OBSERVATIONS, draw(policy, 1), ADVANTAGES, **settings
        )


def test_defaults_of_the_trpo_step_are_those_of_its_source():
    defaults = {
        name: each.default
        for name, each in inspect.signature(trpo_step).parameters.items()
    }
    assert [
        defaults[name]
        for name in ("max_kl", "damping", "fisher_every", "cg_iterations")
    ] == [0.01, 1e-5, 1, 10]
    assert (defaults["backtracks"], defaults["shrink"]) == (15, 0.5)


@pytest.mark.parametrize("shrink", [0.5, 0.8])
def test_trpo_step_takes_the_longest_part_that_is_accepted(shrink, monkeypatch):
    """Slow oracle: each part of the full step by itself, longest first, on the exact KL.

    Control: the next longer part is not accepted.
    """
    policy = CategoricalPolicy(np.array([0.0, 0.0, np.log(9.0), 0.0]), (1, 2))
    rows = np.zeros((2, 1)), np.array([0, 1]), np.array([-1.0, 1.0])
    steps = []
    natural = agents_ref.natural_step

    def kept(*arguments: Any, **settings: Any) -> np.ndarray:
        steps.append(natural(*arguments, **settings))
        return steps[-1]

    monkeypatch.setattr(agents_ref, "natural_step", kept)
    new = trpo_step(policy, *rows, max_kl=0.5, shrink=shrink)
    (full,) = steps

    def accepted(part: float) -> bool:
        moved = replace(policy, theta=policy.theta + part * full)
        kl = policy.kl(moved, np.zeros((1, 1)))[0]
        ratio = np.exp(moved.log_prob(*rows[:2]) - policy.log_prob(*rows[:2]))
        return bool(kl <= 0.5 and np.mean(ratio * rows[2]) > 0.0)

    parts = [shrink**k for k in range(15)]
    found = next(part for part in parts if accepted(part))
    assert 0 < parts.index(found) < 14
    np.testing.assert_allclose(new.theta - policy.theta, found * full, rtol=1e-12)


@pytest.mark.parametrize("name", ["max_kl", "damping"])
def test_trpo_step_names_the_bad_setting(name):
    policy = gaussian(0)
    with pytest.raises(ValueError, match=f"^{name} must be > 0 and finite"):
        trpo_step(policy, OBSERVATIONS, draw(policy, 1), ADVANTAGES, **{name: -1.0})
    with pytest.raises(ValueError, match=r"^shrink must be from 0 to 1, got 1\.5"):
        trpo_step(policy, OBSERVATIONS, draw(policy, 1), ADVANTAGES, shrink=1.5)
    with pytest.raises(
        ValueError, match=r"^fisher_every must be a whole number >= 1, got 0"
    ):
        trpo_step(policy, OBSERVATIONS, draw(policy, 1), ADVANTAGES, fisher_every=0)


def test_discounted_returns_end_in_nothing_unless_told_otherwise():
    assert discounted_returns(np.array([1.0]), gamma=0.5).tolist() == [1.0]


@both
def test_trpo_step_leaves_the_policy_where_advantages_are_too_small_to_square(make):
    policy = make(3)
    tiny = 1e-170 * ADVANTAGES
    assert trpo_step(policy, OBSERVATIONS, draw(policy, 4), tiny) is policy


@both
def test_trpo_step_on_zero_advantages_returns_the_policy(make):
    policy = make(16)
    assert trpo_step(policy, OBSERVATIONS, draw(policy, 17), np.zeros(4)) is policy


def test_trpo_step_returns_the_policy_where_the_line_search_fails():
    """p = (0.9, 0.1), and the second action has a reward: a long step's true KL exceeds its quadratic form."""
    policy = CategoricalPolicy(np.array([0.0, 0.0, np.log(9.0), 0.0]), (1, 2))
    rows = np.zeros((2, 1)), np.array([0, 1]), np.array([-1.0, 1.0])
    assert trpo_step(policy, *rows, max_kl=0.5, backtracks=1) is policy
    found = trpo_step(policy, *rows, max_kl=0.5, backtracks=2)
    assert found is not policy
    assert 0.0 < policy.kl(found, np.zeros((1, 1)))[0] <= 0.5


# ---------------------------------------------------------------- the value function


def test_value_fit_against_a_smooth_function():
    """The value starts at 0; two fits of a sine leave less than 1 % of the variance; a constant leaves all of it."""
    observations = np.linspace(-3.0, 7.0, 200)[:, None]
    returns = 50.0 + 20.0 * np.sin(observations[:, 0] / 2)
    value = value_init(1, default_rng(18), (16,))
    assert np.all(value(observations) == 0.0)
    errors = []
    for _ in range(2):
        value = value_fit(value, observations, returns, max_iterations=100)
        errors.append(np.mean((value(observations) - returns) ** 2))
    assert errors[1] <= errors[0]
    assert errors[1] < 0.01 * returns.var()
    assert np.mean((returns.mean() - returns) ** 2) > 0.99 * returns.var()


@given(
    constant=st.sampled_from([0.0, 1.0, -3.0, 0.1, 0.7]),
    num_rows=st.sampled_from([1, 3, 10, 100]),
)
@settings(max_examples=20)
def test_value_fit_on_constant_returns_gives_the_constant_everywhere(
    constant, num_rows
):
    """Also 0.1, whose mean over 3 rows rounds, so that their computed standard deviation is not 0."""
    rows = default_rng(19).normal(size=(num_rows, 2))
    value = value_fit(value_init(2, default_rng(20)), rows, np.full(num_rows, constant))
    assert np.allclose(
        value(10.0 * rows), constant, rtol=1e-15, atol=0.0
    )  # within one rounding
    assert value.scale == 0.0


@pytest.mark.parametrize("constant", [0.0, 0.1])
@pytest.mark.parametrize("num_rows", [10, 100])
def test_value_fit_divides_a_constant_dimension_by_1(constant, num_rows):
    """A variation of 1e-9 around a constant has almost no effect; 0.1 has a rounded mean but no true spread."""
    rows = np.stack(
        [np.linspace(-1.0, 1.0, num_rows), np.full(num_rows, constant)], axis=1
    )
    value = value_fit(value_init(2, default_rng(21)), rows, rows[:, 0])
    assert value.observation_scale.tolist() == [
        pytest.approx(rows[:, 0].std(), rel=1e-12),
        1.0,
    ]
    assert np.allclose(value(rows), rows[:, 0], atol=0.1)
    assert np.allclose(value(rows + np.array([0.0, 1e-9])), value(rows), atol=1e-6)


def test_value_fit_against_least_squares_written_out():
    """20 iterations of L-BFGS on standardized rows and returns, in any units. Control: 21 iterations end elsewhere."""
    rows = default_rng(22).normal([3.0, -2.0], [5.0, 0.2], size=(30, 2))
    returns = 1e-6 * np.sin(rows[:, 0]) + 2e-6 * rows[:, 1] ** 2
    start = value_init(2, default_rng(23), (4,))
    inputs, targets = (
        (rows - rows.mean(axis=0)) / rows.std(axis=0),
        (returns - returns.mean()) / returns.std(),
    )

    def loss(theta):
        first, bias, last, shift = anp.split(theta, [8, 12, 16])
        hidden = anp.tanh(anp.dot(inputs, first.reshape(2, 4)) + bias)
        return anp.mean((anp.dot(hidden, last) + shift - targets) ** 2)

    def least_squares(iterations):
        return minimize(
            value_and_grad(loss),
            start.theta,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": iterations},
        )

    fitted = value_fit(start, rows, returns)
    np.testing.assert_allclose(fitted.theta, least_squares(20).x, rtol=1e-6)
    assert not np.allclose(fitted.theta, least_squares(21).x, rtol=1e-6)
    first, bias, last, shift = np.split(fitted.theta, [8, 12, 16])
    standard = np.tanh(inputs @ first.reshape(2, 4) + bias) @ last + shift
    np.testing.assert_allclose(
        fitted(rows), returns.mean() + returns.std() * standard, rtol=1e-10
    )


def test_value_function_names_observations_of_another_shape():
    with pytest.raises(
        ValueError, match=r"^observations must have shape \(3, 2\), got \(3, 1\)"
    ):
        value_init(2, default_rng(0))(np.zeros((3, 1)))


def test_categorical_policy_counts_actions_by_its_outputs():
    policy = CategoricalPolicy(np.zeros(2 * 5 + 5 + 5 * 3 + 3), (2, 5, 3))
    with pytest.raises(ValueError, match="actions must be indices below 3, got 3 to 3"):
        policy.log_prob(np.zeros((1, 2)), np.array([3]))


# ---------------------------------------------------------------- interaction


class Scripted(gym.Env[np.ndarray, Any]):
    """Environment with observation (episode, step) and scripted rewards and ends; it records its actions."""

    def __init__(
        self,
        script: Sequence[tuple[list[float], str]],
        action_space: Any,
        reuse: bool = False,
    ) -> None:
        self.observation_space = Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = action_space
        self.script, self.reuse = script, reuse
        self.state, self.episode = np.zeros(2), -1
        self.actions: list[Any] = []
        self.seeds: list[int | None] = []

    def observation(self) -> np.ndarray:
        return self.state if self.reuse else self.state.copy()

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.seeds.append(seed)
        self.episode += 1
        self.state[:] = self.episode, 0
        return self.observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        rewards, end = self.script[self.episode % len(self.script)]
        reward = rewards[int(self.state[1])]
        self.state[1] += 1
        ended = self.state[1] == len(rewards)
        return (
            self.observation(),
            reward,
            ended and "terminated" in end,
            ended and "truncated" in end,
            {},
        )


SCRIPT = [
    ([1.0, 2.0], "terminated"),
    ([3.0, 4.0, 5.0], "truncated"),
    ([6.0] * 9, "terminated"),
]


def streams(seed: int) -> Streams:
    return Streams(*default_rng(seed).spawn(4))


def roll(
    num_steps: int, script: Any = SCRIPT, seed: int = 0, **keywords: Any
) -> tuple[Scripted, vime.Batch, list[float]]:
    env = Scripted(script, Box(-1, 1, (2,)), **keywords)
    batch, episode_returns = rollout(
        as_vector(env), gaussian(1), num_steps, streams(seed)
    )
    return env, batch, episode_returns.tolist()


@pytest.mark.parametrize(
    "reuse", [False, True], ids=["fresh arrays", "one array for all observations"]
)
def test_rollout_against_the_script(reuse):
    """True next observations at each kind of end, no row across episodes; the third is as long as the batch."""
    env, batch, episode_returns = roll(7, reuse=reuse)
    lengths = [2, 3, 7]
    before = [[k, n] for k, length in enumerate(lengths) for n in range(length)]
    assert batch.observations.tolist() == before
    assert batch.next_observations.tolist() == [[k, n + 1] for k, n in before]
    assert batch.rewards.tolist() == [1, 2, 3, 4, 5, *[6] * 7]
    assert np.flatnonzero(batch.terminated).tolist() == [1]
    assert np.flatnonzero(batch.truncated).tolist() == [4, 11]
    assert batch.terminated.dtype == batch.truncated.dtype == bool
    assert episode_returns == [3.0, 12.0, 42.0]
    assert [seed is None for seed in env.seeds] == [False, True, True]


def rows_of_each(lengths: list[int], num_steps: int, share: float) -> list[Any]:
    """Episodes and steps of an environment, until it has its share. A slow definition."""
    rows: list[Any] = []
    for episode, length in enumerate(lengths):
        rows += [[episode, step] for step in range(min(length, num_steps))]
        if len(rows) >= share:
            return rows
    raise AssertionError("too few lengths")


@pytest.mark.parametrize("function", [rollout, fast.rollout])
@given(
    st.lists(st.lists(st.integers(1, 6), min_size=30, max_size=30), min_size=1, max_size=4),
    st.integers(1, 25),
    st.sampled_from(["terminated", "truncated", "terminated truncated"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_rollout_of_several_against_each_alone(function, lengths, num_steps, end):
    """Whole episodes, environment after environment, and no more than each needs.

    Control: with one row more to sample, an environment that just had its share goes on.
    """
    envs = [
        Scripted([([1.0] * n, end) for n in each], Box(-1, 1, (2,))) for each in lengths
    ]
    batch, returns = function(as_vector(*envs), gaussian(1), num_steps, streams(0))
    share = num_steps / len(envs)
    wanted = [rows_of_each(each, num_steps, share) for each in lengths]
    assert batch.observations.tolist() == [row for each in wanted for row in each]
    assert len(batch.rewards) >= num_steps
    last = [rows[-1][0] for rows in wanted]
    longest = [min(each[k], num_steps) for each, k in zip(lengths, last)]
    assert len(batch.rewards) - num_steps < sum(longest)
    ends = np.flatnonzero(batch.terminated | batch.truncated)
    assert ends[-1] == len(batch.rewards) - 1
    assert returns.tolist() == np.diff(ends, prepend=-1).tolist()
    for each, rows in zip(lengths, wanted):
        more = rows_of_each(each, num_steps, len(rows) + 0.5)
        assert len(more) > len(rows)


def test_one_early_end_does_not_start_all_again():
    """Of ten episodes of 500 one ends after 300 steps: only this environment goes on."""
    script = [([1.0] * 500, "truncated")]
    early = [([1.0] * 300, "terminated"), ([1.0] * 500, "truncated")]
    envs = [Scripted(early, Box(-1, 1, (2,)))]
    envs += [Scripted(script, Box(-1, 1, (2,))) for _ in range(9)]
    batch, returns = rollout(as_vector(*envs), gaussian(1), 5000, streams(0))
    assert len(batch.rewards) == 300 + 500 + 9 * 500
    assert len(returns) == 11


class Reused(SyncVectorEnv):
    """A vector that returns the same array of observations at each step."""

    def __init__(self, *envs: gym.Env[Any, Any]) -> None:
        super().__init__([lambda env=env: env for env in envs], copy=False)

    def step(self, actions: Any) -> Any:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        self.held = getattr(self, "held", (rewards, terminated, truncated))
        for held, new in zip(self.held, (rewards, terminated, truncated)):
            held[...] = new
        return observations, *self.held, infos


@pytest.mark.parametrize("function", [rollout, fast.rollout])
def test_rollout_copies_what_a_vector_uses_again(function):
    """Control: the vector's own observations are those of its last step."""
    made = [
        [Scripted([([1.0, 2.0, 3.0], "terminated")], Box(-1, 1, (2,))) for _ in "ab"]
        for _ in "ab"
    ]
    vector = Reused(*made[0])
    found, _ = function(vector, gaussian(1), 9, streams(0))
    right, _ = rollout(as_vector(*made[1]), gaussian(1), 9, streams(0))
    for a, b in zip(found, right):
        assert np.array_equal(a, b)
    before, *_ = vector.reset()
    kept = before.copy()
    vector.step(np.zeros((2, 2), np.float32))
    assert not np.array_equal(before, kept)


def test_clip_action_around_a_native_vector_is_rejected():
    envs = gym.make_vec("vime_ref/SparseMountainCar-v0", 2)
    policy = policy_init(2, envs.single_action_space, default_rng(0))
    rollout(envs, policy, 5, streams(0))
    with pytest.raises(ValueError, match=r"^action_space must be as bounded"):
        rollout(gym.wrappers.vector.ClipAction(envs), policy, 5, streams(0))


def test_rollout_of_a_vector_is_reproducible_and_uses_its_rows():
    """Two vectors of two environments give the same rows; each environment has its own start."""
    batches = [
        rollout(
            gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"),
            policy_init(4, Discrete(2), default_rng(0)),
            60,
            streams(3),
        )[0]
        for _ in range(2)
    ]
    for a, b in zip(*batches):
        assert np.array_equal(a, b)
    ends = np.flatnonzero(batches[0].terminated)
    assert len(ends) >= 2
    assert not np.array_equal(
        batches[0].observations[0], batches[0].observations[ends[0] + 1]
    )


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_rollout_names_another_autoreset(mode):
    envs = gym.make_vec(
        "CartPole-v1", 2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
    )  # fmt: skip
    policy = policy_init(4, Discrete(2), default_rng(0))
    with pytest.raises(ValueError, match=r"^autoreset_mode of envs must be NEXT_STEP"):
        rollout(envs, policy, 5, streams(0))


def test_rollout_keeps_float64_whatever_the_environment_gives():
    class Coarse(Scripted):
        def observation(self):
            return self.state.astype(np.float32)

    batch, _ = rollout(
        as_vector(Coarse(SCRIPT, Box(-1, 1, (2,)))), gaussian(0), 3, streams(0)
    )
    assert batch.observations.dtype == batch.next_observations.dtype == np.float64


@pytest.mark.parametrize(
    ("num_steps", "terminated", "truncated", "returns"),
    [
        (1, [0], [1], [1.0]),  # cut after 1 step, the episode's second is missing
        (2, [0, 1], [0, 0], [3.0]),
        (3, [0, 1, 0, 0, 0], [0, 0, 0, 0, 1], [3.0, 12.0]),
        (5, [0, 1, 0, 0, 0], [0, 0, 0, 0, 1], [3.0, 12.0]),
    ],
)
def test_rollout_gives_whole_episodes_or_cuts_at_num_steps(
    num_steps, terminated, truncated, returns
):
    _, batch, episode_returns = roll(num_steps)
    assert batch.terminated.tolist() == terminated
    assert batch.truncated.tolist() == truncated
    assert episode_returns == returns


def test_rollout_keeps_both_flags_of_an_episode_that_ends_both_ways():
    _, batch, _ = roll(3, [([1.0], "terminated truncated"), ([1.0] * 2, "terminated")])
    assert batch.terminated.tolist() == [True, False, True]
    assert batch.truncated.tolist() == [True, False, False]


def test_rollout_stores_the_sample_and_steps_with_its_clip():
    env, batch, _ = roll(50, [([1.0] * 60, "terminated")])
    oracle = gaussian(1).sample(
        batch.observations, gaussian(1).draw_noise(streams(0).policy, 50)
    )
    assert np.allclose(batch.actions, oracle, rtol=1e-14)
    assert np.abs(batch.actions).max() > 1.0
    assert np.array_equal(env.actions, np.clip(batch.actions, -1, 1).astype(np.float32))
    assert all(action.dtype == np.float32 for action in env.actions)


def test_rollout_shifts_actions_to_the_start_of_a_discrete_space():
    env = Scripted(SCRIPT, Discrete(2, start=5))
    batch, _ = rollout(as_vector(env), categorical(1), 40, streams(0))
    assert set(batch.actions.tolist()) == {0, 1}
    assert env.actions == [5 + action for action in batch.actions.tolist()]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("step", "episode", "index"), [(0, 0, 0), (3, 1, 1)])
def test_rollout_names_the_step_of_a_reward_that_is_not_finite(
    bad, step, episode, index
):
    script = [(list(rewards), end) for rewards, end in SCRIPT]
    script[episode][0][index] = bad
    with pytest.raises(
        ValueError, match=rf"reward must be finite, got {bad} at step {step}"
    ):
        roll(7, script)


@pytest.mark.parametrize(
    ("bad", "step"), [([0, 0], 0), ([0, 1], 0), ([1, 0], 1), ([1, 2], 3), ([1, 3], 4)], ids=str
)  # fmt: skip
def test_rollout_names_the_step_of_an_observation_that_is_not_finite(
    bad, step, monkeypatch
):
    def observation(env: Scripted) -> np.ndarray:
        return np.full(2, np.nan) if env.state.tolist() == bad else env.state.copy()

    monkeypatch.setattr(Scripted, "observation", observation)
    with pytest.raises(
        ValueError, match=rf"observation must be finite, got .* at step {step}$"
    ):
        roll(7)


@pytest.mark.parametrize(("num_steps", "got"), [(0, "0"), (-1, "-1"), (2.5, "2.5")])
def test_rollout_rejects_other_than_a_whole_number_of_steps(num_steps, got):
    with pytest.raises(
        ValueError, match=f"num_steps must be a whole number >= 1, got {got}"
    ):
        roll(num_steps)


def test_rollout_is_a_function_of_its_streams_and_leaves_the_policy_alone():
    env, policy = gym.make("CartPole-v1"), policy_init(4, Discrete(2), default_rng(0))
    before = policy.theta.copy()
    first, again, other = (
        rollout(as_vector(env), policy, 60, streams(seed)) for seed in (1, 1, 2)
    )
    assert all(
        np.array_equal(a, b)
        for a, b in zip((*first[0], first[1]), (*again[0], again[1]))
    )
    assert not np.array_equal(first[0].observations, other[0].observations)
    assert np.array_equal(policy.theta, before)


# ---------------------------------------------------------------- curiosity


@dataclass(frozen=True)
class Ready:
    """A bonus that returns given numbers and learns nothing."""

    gains: Any

    def reward(self, batch: vime.Batch, rng: np.random.Generator) -> np.ndarray:
        return (
            np.full(len(batch.rewards), self.gains)
            if np.ndim(self.gains) == 0
            else np.array(self.gains)
        )

    def update(self, batch: vime.Batch, rng: np.random.Generator) -> "Ready":
        return self


def pay(
    gains: Any, history: tuple[float, ...] = (4.0,), normalize: bool = True
) -> tuple[np.ndarray, ...]:
    _, batch, _ = roll(3, [([1.0, 2.0, 3.0], "terminated")])
    result = curiosity(
        Ready(gains), batch, history, default_rng(0), eta=0.5, normalize=normalize
    )
    assert batch.rewards.tolist() == [1, 2, 3]  # control InputMutation
    return result


def test_curiosity_against_hand_computed_rewards():
    """r + ½·gain/mean(4, 2) is added to the reward (control FilterReplacesReward); gains over 1000 are not clipped."""
    rewards, gains, history = pay([2.0, 0.0, 6000.0])
    assert np.allclose(rewards, [1 + 0.5 * 2 / 3, 2.0, 3 + 0.5 * 6000 / 3], rtol=1e-15)
    assert gains.tolist() == [2.0, 0.0, 6000.0]
    assert history == (4.0, 2.0)


def test_curiosity_takes_a_ready_reward_as_it_is():
    rewards, _, history = pay([2.0, 0.0, 6.0], normalize=False)
    assert rewards.tolist() == [2.0, 2.0, 6.0]
    assert history == (4.0,)


def test_curiosity_leaves_the_history_alone_while_nothing_is_rewarded():
    """Control: a median of 0 in the history would double the next reward."""
    rewards, _, history = pay(0.0)
    assert rewards.tolist() == [1, 2, 3]
    assert history == (4.0,)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("bonus", "eta", "message"),
    [
        (
            Ready([0.0, np.nan, 1.0]),
            0.5,
            r"gains must be finite, got nan at index \(1,\)",
        ),
        (Ready(np.inf), 0.5, "gains must be finite, got inf"),
        (Ready([1.0, 2.0]), 0.5, r"gains must have shape \(3,\), got \(2,\)"),
    ],
)
def test_train_names_a_bad_gain(bonus, eta, message, normalize):
    env = Scripted([([1.0, 2.0, 3.0], "terminated")], Box(-1, 1, (2,)))
    agent = AgentSettings(eta=eta, batch_steps=3, normalize=normalize)
    iterations = train(
        as_vector(env),
        gaussian(1),
        bonus,
        value_init(2, default_rng(0)),
        streams(0),
        agent,
        num_iterations=1,
    )
    with pytest.raises(ValueError, match=message):
        next(iterations)


def test_curiosity_names_gains_of_another_shape_before_it_normalizes():
    """Normalized, the gains would be of no shape that rewards have."""
    for normalize in (True, False):
        with pytest.raises(ValueError, match=r"^gains must have shape \(3,\), got"):
            pay([1.0, 2.0], normalize=normalize)


def test_curiosity_takes_a_bonus_only_if_it_learns():
    """A method `update` is asked for before the first batch is lost."""
    _, batch, _ = roll(3, [([1.0, 2.0, 3.0], "terminated")])
    forgetful = SimpleNamespace(reward=Ready(1.0).reward)
    with pytest.raises(
        ValueError, match=r"^bonus must have a method update, got SimpleNamespace$"
    ):
        curiosity(forgetful, batch, (), default_rng(0), eta=0.5, normalize=True)


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("eta must be >= 0 and finite, got -1.0", {"eta": -1.0}),
        ("eta must be >= 0 and finite, got nan", {"eta": np.nan}),
        ("gamma must be from 0 to 1, got 1.5", {"gamma": 1.5}),
        ("lam must be from 0 to 1, got -0.1", {"lam": -0.1}),
        ("batch_steps must be a whole number >= 1, got 0", {"batch_steps": 0}),
    ],
)
def test_agent_settings_name_the_bad_one(message, settings):
    with pytest.raises(ValueError, match=message):
        AgentSettings(**settings)


# ---------------------------------------------------------------- the loop


def run(
    env: gym.Env[Any, Any],
    bonus: Any,
    agent: AgentSettings,
    num_iterations: int,
    hidden: tuple[int, ...] = (4,),
) -> list[Any]:
    init = default_rng(100)
    observed = int(np.prod(env.observation_space.shape))
    policy, value = (
        policy_init(observed, env.action_space, init, hidden),
        value_init(observed, init, hidden),
    )
    return list(
        train(
            as_vector(env),
            policy,
            bonus,
            value,
            streams(0),
            agent,
            num_iterations=num_iterations,
        )
    )


@pytest.mark.unwatched
def test_train_with_eta_0_equals_the_plain_agent_bit_for_bit():
    """Control: eta = 1 ends elsewhere, so gains have an effect."""
    env = gym.make("vime_ref/SparseMountainCar-v0")
    small = vime.VimeSettings(
        hidden_sizes=(4,), num_updates=5, min_rows=200, num_samples=2
    )
    curious = vime.vime_init(2, env.action_space, default_rng(1), small)
    agent = AgentSettings(batch_steps=300)
    plain = run(env, vime.NoBonus(), agent, 4)
    still, moved = (run(env, curious, replace(agent, eta=eta), 4) for eta in (0.0, 1.0))
    for a, b in zip(plain, still):
        assert np.array_equal(a.policy.theta, b.policy.theta)
        assert np.array_equal(
            a.value(a.batch.observations), b.value(b.batch.observations)
        )
        assert all(np.array_equal(x, y) for x, y in zip(a.batch, b.batch))
    assert not still[0].gains.any()
    assert all(seen.gains.min() > 0.0 for seen in still[1:])
    assert [len(seen.history) for seen in still] == [0, 1, 2, 3]
    assert not np.array_equal(moved[-1].policy.theta, plain[-1].policy.theta)


@pytest.mark.unwatched
def test_the_size_of_eta_changes_nothing_before_the_first_reward():
    """Powers of 2 scale advantages without rounding. Control: η = 0 leaves the policy where it was."""
    env = gym.make("vime_ref/SparseMountainCar-v0")
    small = vime.VimeSettings(
        hidden_sizes=(4,), num_updates=5, min_rows=200, num_samples=2
    )
    curious = vime.vime_init(2, env.action_space, default_rng(1), small)
    agent = AgentSettings(batch_steps=300)
    none, little, much = (
        run(env, curious, replace(agent, eta=eta), 3)
        for eta in (0.0, 2.0**-10, 2.0**-3)
    )
    assert not any(seen.batch.rewards.any() for seen in much)
    assert np.array_equal(little[-1].policy.theta, much[-1].policy.theta)
    assert not np.array_equal(none[-1].policy.theta, much[-1].policy.theta)


@dataclass(frozen=True)
class Counts:
    """A count bonus: one over the square root of a rounded observation's earlier visits."""

    counts: dict[tuple[float, ...], int] = field(default_factory=dict)

    @staticmethod
    def cells(batch: vime.Batch) -> list[tuple[float, ...]]:
        return [tuple(row) for row in np.round(batch.next_observations, 1).tolist()]

    def reward(self, batch: vime.Batch, rng: np.random.Generator) -> np.ndarray:
        return np.array(
            [1.0 / np.sqrt(1 + self.counts.get(cell, 0)) for cell in self.cells(batch)]
        )

    def update(self, batch: vime.Batch, rng: np.random.Generator) -> "Counts":
        cells = self.cells(batch)
        return Counts(
            {
                cell: self.counts.get(cell, 0) + cells.count(cell)
                for cell in {*self.counts, *cells}
            }
        )


def test_train_with_a_count_bonus_and_a_categorical_policy():
    seen = run(
        gym.make("CartPole-v1"),
        Counts(),
        AgentSettings(batch_steps=100, eta=1.0, normalize=False),
        3,
    )
    assert isinstance(seen[0].policy, CategoricalPolicy)
    assert np.all(seen[0].gains == 1.0)
    assert seen[1].gains.min() < 1.0
    rows = [len(iteration.batch.rewards) for iteration in seen]
    assert sum(seen[2].bonus.counts.values()) == sum(rows) >= 300
    assert all(iteration.history == () for iteration in seen)
    assert all(np.all(iteration.batch.rewards == 1.0) for iteration in seen)


def test_train_runs_the_four_lines_in_order():
    """Interact, reward curiosity, train the agent, train the model; the bonus sees the raw batch. A1 A2 A3 A4"""
    log: list[Any] = []
    all_streams = streams(0)

    @dataclass(frozen=True)
    class Recorder:
        version: int = 0

        def reward(self, batch: vime.Batch, rng: np.random.Generator) -> np.ndarray:
            assert rng is all_streams.model
            log.append(("reward", self.version, batch.rewards.sum()))
            return np.ones(len(batch.rewards))

        def update(self, batch: vime.Batch, rng: np.random.Generator) -> "Recorder":
            assert rng is all_streams.replay
            log.append(("model", self.version, batch.rewards.sum()))
            return Recorder(self.version + 1)

    class Logged(Scripted):
        def step(self, action: Any) -> Any:
            log.append(("interact",))
            return super().step(action)

    def policy_step(
        policy: Any,
        observations: np.ndarray,
        actions: np.ndarray,
        advantages: np.ndarray,
    ) -> Any:
        log.append(("agent",))
        return replace(policy, theta=policy.theta + 1.0)

    agent = AgentSettings(eta=1.0, batch_steps=2, policy_step=policy_step)
    arguments = (
        as_vector(Logged(SCRIPT, Box(-1, 1, (2,)))),
        gaussian(1),
        Recorder(),
        value_init(2, default_rng(0)),
        all_streams,
    )
    seen = list(train(*arguments, agent, num_iterations=2))
    lines = [
        [
            ("interact",),
            ("reward", version, total),
            ("agent",),
            ("model", version, total),
        ]
        for version, total in ((0, 3.0), (1, 7.0))
    ]
    assert [line for line, _ in groupby(log)] == lines[0] + lines[1]
    assert [iteration.bonus.version for iteration in seen] == [1, 2]
    assert np.allclose(seen[1].policy.theta, gaussian(1).theta + 2.0, rtol=1e-14)


class Bandit(gym.Env[np.ndarray, Any]):
    """One state, one step; each arm has its own reward."""

    def __init__(self, *pays: float) -> None:
        self.observation_space, self.action_space, self.pays = (
            Box(0, 1, (1,), np.float64),
            Discrete(len(pays)),
            pays,
        )

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        return np.ones(1), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.ones(1), self.pays[action], True, False, {}


def reinforce(sign: float) -> AgentSettings:
    def step(policy: Any, observations: Any, actions: Any, advantages: Any) -> Any:
        signed = sign * advantages
        return policy_gradient_step(
            policy, observations, actions, signed, learning_rate=1.0, entropy_weight=0.0
        )

    return AgentSettings(batch_steps=64, policy_step=step)


def test_train_with_reinforce_learns_a_bandit():
    """Control: steps in the opposite direction lose the best arm."""

    def best_arm(sign: float) -> float:
        last = run(
            Bandit(0.0, 0.2, 1.0), vime.NoBonus(), reinforce(sign), 15, hidden=()
        )[-1]
        return float(np.exp(last.policy.log_prob(np.ones((1, 1)), np.array([2])))[0])

    assert best_arm(1.0) > 0.9
    assert best_arm(-1.0) < 0.2


@pytest.mark.parametrize("reward", [0.0, 0.5, 0.1])
@pytest.mark.parametrize("batch_steps", [3, 10, 100])
@pytest.mark.parametrize(
    "policy_step", [trpo_step, reinforce(1.0).policy_step], ids=["trpo", "reinforce"]
)
def test_train_leaves_a_policy_alone_whose_actions_all_earn_the_same(
    reward, batch_steps, policy_step
):
    """Advantages that differ by no more than rounding are no signal, and are not divided by their spread."""
    agent = AgentSettings(batch_steps=batch_steps, policy_step=policy_step)
    seen = run(Bandit(reward, reward), vime.NoBonus(), agent, 1, hidden=())[0]
    initial = policy_init(1, Discrete(2), default_rng(100), ())
    assert np.allclose(seen.policy.theta, initial.theta, atol=1e-12)
    assert np.allclose(seen.value(np.ones((1, 1))), reward, rtol=1e-15)


def test_train_fits_values_to_the_curious_returns():
    """A bonus of 1 per step, eta ½: V = ½ without reward, 2½ with reward 2, and 2 if V fits only the task's reward."""
    agent = AgentSettings(eta=0.5, batch_steps=4, normalize=False)
    seen = run(Bandit(0.0, 0.0), Ready(1.0), agent, 1)[0]
    assert seen.value(np.ones((1, 1)))[0] == pytest.approx(0.5, rel=1e-15)
    assert np.all(seen.batch.rewards == 0.0)
    for curious, paid in ((True, 2.5), (False, 2.0)):
        both = run(
            Bandit(2.0, 2.0), Ready(1.0), replace(agent, curious_values=curious), 1
        )[0]
        assert both.value(np.ones((1, 1)))[0] == pytest.approx(paid, rel=1e-15)
    varied = [
        run(
            Bandit(0.0, 0.0),
            Ready([0.0, 1.0, 2.0, 4.0]),
            replace(agent, curious_values=curious),
            1,
        )[0]
        for curious in (True, False)
    ]
    start = run(Bandit(0.0, 0.0), Ready(0.0), agent, 1)[0].policy.theta
    assert np.array_equal(
        varied[0].policy.theta, varied[1].policy.theta
    )  # both act on r̃, because V was 0
    assert not np.array_equal(varied[0].policy.theta, start)


@pytest.mark.parametrize(
    ("end", "returns"),
    [
        ("terminated", [1.75, 1.5, 1.0]),
        ("truncated", [2.125, 2.25, 2.5]),
        ("", [2.125, 2.25, 2.5]),
    ],
)
@pytest.mark.parametrize("curious", [True, False])
def test_train_fits_values_to_returns_behind_the_true_next_value(end, returns, curious):
    """V(s) = step, rewards 1, γ = ½: target 1 + ½·3 before a cut, 1 before a terminal state, for any λ."""
    steps = replace(
        value_init(2, default_rng(0), ()), theta=np.array([0.0, 1.0, 0.0]), scale=1.0
    )
    env = Scripted([([1.0] * (3 if end else 9), end)], Box(-1, 1, (2,)))
    agent = AgentSettings(batch_steps=3, gamma=0.5, lam=0.0, curious_values=curious)
    seen = next(
        train(
            as_vector(env),
            gaussian(1),
            vime.NoBonus(),
            steps,
            streams(0),
            agent,
            num_iterations=1,
        )
    )
    assert seen.value.center == pytest.approx(np.mean(returns), rel=1e-15)


@pytest.mark.parametrize(("bootstrap", "expected"), [(True, 2.5), (False, 1.0)])
def test_train_without_a_bootstrap_counts_every_end_as_terminal(bootstrap, expected):
    """V sees twice the step here: at a cut the target is 1 + ½·V = 1 + ½·3, or 1 alone."""

    def doubled(batch: vime.Batch) -> tuple[np.ndarray, np.ndarray]:
        return 2.0 * batch.observations, 2.0 * batch.next_observations

    received = []

    def value_step(value: Any, inputs: np.ndarray, returns: np.ndarray) -> Any:
        received.append((inputs, returns))
        return value

    steps = replace(
        value_init(2, default_rng(0), ()), theta=np.array([0.0, 0.5, 0.0]), scale=1.0
    )
    env = Scripted([([1.0] * 3, "truncated")], Box(-1, 1, (2,)))
    agent = AgentSettings(
        batch_steps=3,
        gamma=0.5,
        lam=0.0,
        bootstrap=bootstrap,
        value_inputs=doubled,
        value_step=value_step,
    )
    parts = (as_vector(env), gaussian(1), vime.NoBonus(), steps, streams(0), agent)
    seen = next(train(*parts, num_iterations=1))
    ((inputs, returns),) = received
    assert returns[-1] == pytest.approx(expected, rel=1e-15)
    assert returns[0] == pytest.approx(1.0 + 0.5 * (1.0 + 0.5 * expected), rel=1e-15)
    np.testing.assert_array_equal(inputs, 2.0 * seen.batch.observations)


def test_train_hands_standardised_advantages_to_the_policy_step():
    received = []

    def policy_step(
        policy: Any,
        observations: np.ndarray,
        actions: np.ndarray,
        advantages: np.ndarray,
    ) -> Any:
        received.append((actions, advantages))
        return policy

    [seen] = run(
        Bandit(0.0, 1.0),
        vime.NoBonus(),
        AgentSettings(batch_steps=50, policy_step=policy_step),
        1,
    )
    assert seen.episode_returns.tolist() == seen.batch.rewards.tolist()  # one step each
    actions, advantages = received[0]
    assert advantages == pytest.approx(
        (actions - actions.mean()) / actions.std(), abs=1e-12
    )


@pytest.mark.parametrize("num_iterations", [0, 1.5])
def test_train_rejects_other_than_a_whole_number_of_iterations(num_iterations):
    with pytest.raises(
        ValueError,
        match=f"num_iterations must be a whole number >= 1, got {num_iterations}",
    ):
        run(Bandit(0.0), vime.NoBonus(), AgentSettings(), num_iterations)


@pytest.mark.unwatched
def test_train_with_trpo_learns_cart_pole():
    """From about 20 steps per episode to over 160 on six seeds; a policy that never learns stays below 60 (control)."""
    env = gym.make("CartPole-v1")
    agent = AgentSettings(
        batch_steps=1000, rollout=fast.rollout, policy_step=fast.trpo_step, value_step=fast.value_fit
    )  # fmt: skip
    learned = run(env, vime.NoBonus(), agent, 20, hidden=(16,))[-3:]
    idle = run(
        env,
        vime.NoBonus(),
        replace(agent, policy_step=lambda policy, *rows: policy),
        3,
        hidden=(16,),
    )
    assert np.mean([seen.episode_returns.mean() for seen in learned]) > 60.0
    assert np.mean([seen.episode_returns.mean() for seen in idle]) < 60.0


# ---------------------------------------------------------------- observations in raw units

SCALES = pytest.mark.parametrize("scale", [1e3, 1e6])
SEEDS = range(20)


def raw_rows(scale: float, seed: int) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """A new policy, 200 observations of this size, its actions, and advantages."""
    rng = default_rng(seed)
    policy = policy_init(3, Box(-1, 1, (2,)), rng)
    observations = scale * rng.normal(size=(200, 3))
    actions = policy.sample(observations, policy.draw_noise(rng, 200))
    return policy, observations, actions, rng.normal(size=200)


@SCALES
def test_trpo_step_on_raw_observations_stays_within_its_bound(scale: float) -> None:
    """KL of two normals in its textbook form, from means and deviations of samples."""
    for seed in SEEDS:
        policy, observations, actions, advantages = raw_rows(scale, seed)
        new = trpo_step(policy, observations, actions, advantages)
        zeros, ones = np.zeros((200, 2)), np.ones((200, 2))
        means = [each.sample(observations, zeros) for each in (policy, new)]
        sigmas = [
            each.sample(observations, ones) - mean
            for each, mean in zip((policy, new), means)
        ]
        ratio = sigmas[0] / sigmas[1]
        move = (means[0] - means[1]) / sigmas[1]
        kl = np.sum(0.5 * (ratio**2 + move**2 - 1) - np.log(ratio), axis=1)
        assert 0.0 < np.mean(kl) <= 0.01 * (1 + 1e-9)


@SCALES
def test_policy_gradient_step_on_raw_observations_against_differences(
    scale: float,
) -> None:
    """The output layer's gradient by central differences; saturated units have none."""
    for seed in SEEDS:
        policy, observations, actions, advantages = raw_rows(scale, seed)
        new = policy_gradient_step(
            policy,
            observations,
            actions,
            advantages,
            learning_rate=0.1,
            entropy_weight=0.0,
        )

        place = len(policy.theta) - 3  # a bias of the output layer
        objectives = []
        for step in (1e-5, -1e-5):
            theta = np.array(policy.theta)
            theta[place] += step
            log_p = replace(policy, theta=theta).log_prob(observations, actions)
            objectives.append(np.mean(advantages * log_p))
        slope = (objectives[0] - objectives[1]) / 2e-5
        moved = (new.theta - policy.theta)[place]
        assert moved == pytest.approx(0.1 * slope, rel=1e-5, abs=1e-9)
        assert moved != 0.0


@SCALES
def test_value_fit_on_raw_observations_fits(scale: float) -> None:
    """A linear target: the error falls below a tenth of the variance."""
    for seed in SEEDS:
        rng = default_rng(seed)
        observations = scale * rng.normal(size=(200, 3))
        returns = observations @ np.array([1.0, -2.0, 0.5])
        value = value_fit(value_init(3, rng), observations, returns, max_iterations=50)
        assert np.mean((value(observations) - returns) ** 2) < 0.1 * returns.var()


@SCALES
def test_raw_units_train(scale: float) -> None:
    """In one state of ±scale the right action is its sign: E[a·s] rises from 0 to 1 and more."""
    rng = default_rng(0)
    policy = policy_init(1, Box(-1, 1, (1,)), rng)
    observations = scale * rng.choice([-1.0, 1.0], size=(500, 1))
    signs = observations[:, 0] / scale
    for _ in range(40):
        actions = policy.sample(observations, policy.draw_noise(rng, 500))
        rewards = actions[:, 0] * signs
        policy = trpo_step(policy, observations, actions, rewards - rewards.mean())
    mean = policy.sample(observations, np.zeros((500, 1)))[:, 0]
    assert np.mean(mean * signs) > 1.0


def test_a_policy_without_scale_sees_raw_observations() -> None:
    """What the docstring says of the default: nothing estimates a scale."""
    observations = np.array([[3.0, -2.0], [0.5, 4.0]])
    space = Box(-1, 1, (2,))
    raw = policy_init(2, space, default_rng(1))
    scaled = policy_init(2, space, default_rng(1), observation_scale=[1e3, 1e3])
    noise = np.zeros((2, 2))
    np.testing.assert_array_equal(
        raw.sample(observations, noise), scaled.sample(1e3 * observations, noise)
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_observation_is_named_where_autograd_traces(bad: float) -> None:
    policy, observations, actions, advantages = raw_rows(1.0, 0)
    observations[7, 1] = bad
    for step in (
        lambda: trpo_step(policy, observations, actions, advantages),
        lambda: policy.log_prob(observations, actions),
        lambda: value_fit(value_init(3, default_rng(0)), observations, advantages),
    ):
        with pytest.raises(
            ValueError, match=r"^observations must be finite, got (nan|inf)"
        ):
            step()


def test_actions_that_overflow_are_named() -> None:
    policy = GaussianPolicy(np.array([1.0, 0.0, 0.0, 700.0]), (2, 1))
    rows = np.zeros((1, 2))
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match=r"^actions must be finite, got inf"),
    ):
        policy.sample(rows, np.full((1, 1), 1e10))
    policy.sample(rows, np.ones((1, 1)))


def test_logits_that_are_no_numbers_are_named() -> None:
    with pytest.raises(ValueError, match=r"^logits must be finite, got nan"):
        agents_ref.log_softmax(np.array([0.0, np.nan]))


def test_activations_that_overflow_are_named() -> None:
    policy = GaussianPolicy(np.full(NUM_WEIGHTS + 2, 300.0), SIZES)
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"^activations must be finite, got inf"),
    ):
        policy.sample(np.full((1, 2), 1e307), np.zeros((1, 2)))


# ---------------------------------------------------------------- policies check themselves


def test_entropy_of_a_narrow_policy_against_its_closed_form() -> None:
    """log_std + ½ log 2πe, where σ = e^−699 is hardly a normal number."""
    theta = np.zeros(NUM_WEIGHTS + 2)
    theta[-2:] = -699.0
    policy = GaussianPolicy(theta, SIZES)
    expected = 2 * (-699.0 + 0.5 * np.log(2 * np.pi * np.e))
    np.testing.assert_allclose(policy.entropy(OBSERVATIONS), expected, rtol=1e-15)


@pytest.mark.parametrize("log_std", [-800.0, -745.0, 701.0, 800.0])
def test_a_log_std_that_no_sigma_holds_is_rejected(log_std: float) -> None:
    theta = np.zeros(NUM_WEIGHTS + 2)
    theta[-1] = log_std
    with pytest.raises(ValueError, match=r"^log_std in theta must be from -700 to 700"):
        GaussianPolicy(theta, SIZES)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint8])
@both
def test_a_theta_of_another_dtype_moves_like_a_float64_one(make, dtype: type) -> None:
    """An integer theta would move by 0; a float32 theta would turn the step."""
    theta = np.arange(len(make(0).theta)) % 3
    policy = replace(make(0), theta=theta.astype(dtype))
    same = replace(make(0), theta=theta.astype(float))
    rng = default_rng(4)
    actions = same.sample(OBSERVATIONS, same.draw_noise(rng, 4))
    rows = (OBSERVATIONS, actions, np.array([1.0, -1.0, 0.5, 0.0]))
    new = trpo_step(policy, *rows)
    np.testing.assert_array_equal(new.theta, trpo_step(same, *rows).theta)
    assert not np.array_equal(new.theta, theta)


@both
def test_observations_of_width_1_do_not_spread(make) -> None:
    with pytest.raises(ValueError, match=r"^observations must have shape \(4, 2\)"):
        make(0).entropy(OBSERVATIONS[:, :1])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("theta", {"theta": np.full(NUM_WEIGHTS + 2, np.nan)}),
        ("theta", {"theta": np.zeros(NUM_WEIGHTS)}),
        ("theta", {"theta": None}),
        ("layer_sizes", {"layer_sizes": (2,)}),
        ("layer_sizes", {"layer_sizes": None}),
        ("observation_scale", {"observation_scale": 0.0}),
        ("observation_scale", {"observation_scale": [1.0, 2.0, 3.0]}),
        ("action_scale", {"action_scale": -1.0}),
        ("action_center", {"action_center": [np.inf, 0.0]}),
    ],
)
def test_policies_name_the_bad_field(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must "):
        replace(gaussian(0), **change)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("theta", {"theta": np.zeros(3)}),
        ("observation_center", {"observation_center": np.zeros(3)}),
        ("observation_scale", {"observation_scale": np.zeros(2)}),
        ("center", {"center": np.nan}),
        ("scale", {"scale": -1.0}),
    ],
)
def test_value_functions_name_the_bad_field(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must "):
        replace(value_init(2, default_rng(0)), **change)


def test_fields_are_copies_that_cannot_be_written() -> None:
    theta = np.zeros(NUM_WEIGHTS + 2)
    policy = GaussianPolicy(theta, SIZES)
    theta[:] = 1.0
    assert not policy.theta.any()
    with pytest.raises(ValueError, match=r"read-only"):
        policy.theta[0] = 1.0


# ---------------------------------------------------------------- spaces and interfaces


class Script(gym.Env):
    """Gives what the test tells it to, and remembers the actions."""

    def __init__(self, **changes: Any) -> None:
        self.observation_space = changes.pop("observations", Box(-1, 1, (2,)))
        self.action_space = changes.pop("actions", Box(-1, 1, (1,)))
        self.reset_result = changes.pop("reset", (np.zeros(2), {}))
        self.step_result = changes.pop("step", (np.zeros(2), 1.0, False, False, {}))
        self.seen: list[Any] = []

    def reset(self, **_: Any) -> Any:
        return self.reset_result

    def step(self, action: Any) -> Any:
        self.seen.append(action)
        return self.step_result


def sampled(env: gym.Env, num_steps: int = 3) -> Any:
    """A rollout of a policy for two observations."""
    policy = policy_init(2, env.action_space, default_rng(0))
    return rollout(as_vector(env), policy, num_steps, Streams(*default_rng(1).spawn(4)))


def test_a_box_far_from_the_normal_is_acted_in() -> None:
    """Center 7.5 and half width 2.5; of a standard normal no draw lies between 5 and 10."""
    space = Box(5, 10, (1,))
    policy = policy_init(2, space, default_rng(0))
    noise = default_rng(1).normal(size=(1000, 1))
    actions = policy.sample(np.zeros((1000, 2)), noise)
    assert np.mean((actions > 5) & (actions < 10)) > 0.6  # within one σ: 0.68
    np.testing.assert_allclose(actions, 7.5 + 2.5 * noise, atol=1e-12)
    assert not np.any((noise > 5) & (noise < 10))  # the control
    log_p = stats.norm(7.5, 2.5).logpdf(actions).sum(axis=-1)
    np.testing.assert_allclose(
        policy.log_prob(np.zeros((1000, 2)), actions), log_p, rtol=1e-10
    )
    np.testing.assert_allclose(
        policy.entropy(np.zeros((1, 2))), stats.norm(7.5, 2.5).entropy()
    )


@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (2,)),
        Box(-10, 10, (2,)),
        Box(-np.inf, np.inf, (2,)),
        Box(0, np.inf, (2,)),
    ],
)
def test_a_box_that_the_normal_meets_is_acted_in_as_it_is(space: Box) -> None:
    policy = policy_init(2, space, default_rng(0))
    plain = GaussianPolicy(policy.theta, policy.layer_sizes)
    noise = default_rng(1).normal(size=(5, 2))
    rows = default_rng(2).normal(size=(5, 2))
    np.testing.assert_array_equal(policy.sample(rows, noise), plain.sample(rows, noise))


def test_environment_and_model_see_the_same_action() -> None:
    for space in (
        Box(-2, 2, (1,), np.int64),
        Box(-1, 1, (1,), np.float32),
        Box(5, 10, (1,), np.uint8),
    ):
        env = Script(actions=space)
        batch, _ = sampled(env, 50)
        seen = vime.model_actions(batch.actions, space)
        np.testing.assert_array_equal(np.array(env.seen, dtype=float), seen)
        assert all(action in space for action in env.seen)
        assert len(np.unique(seen)) > 2


def test_clip_action_is_rejected_by_name() -> None:
    env = gym.wrappers.ClipAction(gym.make("Pendulum-v1"))
    policy = policy_init(3, env.action_space, default_rng(0))
    with pytest.raises(
        ValueError, match=r"^action_space must be as bounded .* leave out ClipAction"
    ):
        rollout(as_vector(env), policy, 3, Streams(*default_rng(1).spawn(4)))


@pytest.mark.parametrize(
    "reward", [1, np.float32(1.0), np.array(1.0), np.array([1.0]), [1.0], True]
)
def test_a_reward_of_one_number_is_taken(reward: Any) -> None:
    env = Script(step=(np.zeros(2), reward, np.array([False]), np.bool_(False), {}))
    batch, _ = sampled(env)
    np.testing.assert_array_equal(batch.rewards, np.ones(3))
    assert batch.terminated.dtype == bool


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (
            "reward at step 0 must be one number",
            {"step": (np.zeros(2), [1.0, 2.0], False, False, {})},
        ),
        (
            "reward must hold numbers, got dict at step 0",
            {"step": (np.zeros(2), {}, False, False, {})},
        ),
        (
            "terminated at step 0 must be true or false",
            {"step": (np.zeros(2), 1.0, None, False, {})},
        ),
        (
            "truncated at step 0 must be true or false",
            {"step": (np.zeros(2), 1.0, False, [True, False], {})},
        ),
        (
            "step must return observation, reward, terminated, truncated and a dict, got 4",
            {"step": (np.zeros(2), 1.0, False, {})},
        ),
        (
            "step must return observation, reward, terminated, truncated and a dict, got None",
            {"step": None},
        ),
        ("observation must hold numbers, got str", {"reset": ("1.5", {})}),
        (
            "reset must return an observation and a dict, got ndarray",
            {"reset": np.zeros(2)},
        ),
        (
            "observation space of envs must be a Box (K,)",
            {"observations": gym.spaces.Dict({"x": Box(-1, 1, (2,))})},
        ),
        (
            "observation space of envs must be a Box (K,)",
            {"observations": Discrete(5)},
        ),
        (
            "observation space of envs must be a Box (K,)",
            {"observations": Box(0, 255, (4, 4, 3), np.uint8)},
        ),
        (
            "observation at step 0 must have shape (2,), got (3,)",
            {"reset": (np.zeros(3), {})},
        ),
        (
            "observation at step 0 must have shape (2,), got (3,)",
            {"step": (np.zeros(3), 1.0, False, False, {})},
        ),
        ("observation must hold numbers, got dict at step 0", {"reset": ({}, {})}),
    ],
)
def test_rollout_names_what_an_environment_does_wrong(
    message: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}"):
        sampled(Script(**changes))


class Wrong(gym.vector.VectorWrapper):
    """Environments of which one result is replaced: of a reset (step -1), or of a step."""

    def __init__(self, step: int, place: int, value: Any) -> None:
        super().__init__(as_vector(Script()))
        self.wrong = (step, place)
        self.value = value
        self.count = -1

    def changed(self, results: tuple[Any, ...]) -> Any:
        step, place = self.wrong
        found = list(results)
        if self.count == step:
            found[place] = self.value
        self.count += 1
        return tuple(found)

    def reset(self, **keywords: Any) -> Any:
        return self.changed(super().reset(**keywords))

    def step(self, actions: Any) -> Any:
        return self.changed(super().step(actions))


TWO = np.zeros(2)


@pytest.mark.parametrize("module", [agents_ref, fast])
@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (
            "observation must be finite, got [[ 0. nan]] at step 0",
            (-1, 0, [[0.0, np.nan]]),
        ),
        (
            "observation must be finite, got [[ 0. nan]] at step 2",
            (2, 0, [[0.0, np.nan]]),
        ),
        ("observations must have shape (1, 2), got (2,)", (1, 0, TWO)),
        ("reward must be finite, got [inf] at step 1", (1, 1, [np.inf])),
        ("rewards must have shape (1,), got (2,)", (1, 1, TWO)),
        ("terminated must have shape (1,), got (2,)", (1, 2, TWO > 0.0)),
        ("truncated must have shape (1,), got (2,)", (1, 3, TWO > 0.0)),
    ],
)
def test_rollout_names_what_vector_environments_do_wrong(
    message: str, wrong: tuple[int, int, Any], module: Any
) -> None:
    policy = policy_init(2, Script().action_space, default_rng(0))
    streams = Streams(*default_rng(1).spawn(4))
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}"):
        module.rollout(Wrong(*wrong), policy, 5, streams)
    module.rollout(Wrong(99, 0, None), policy, 5, streams)  # control: nothing wrong


def test_what_is_no_environment_is_rejected_by_name() -> None:
    policy = policy_init(2, Box(-1, 1, (1,)), default_rng(0))
    with pytest.raises(ValueError, match=r"^envs must be a VectorEnv .*, got list"):
        rollout([], policy, 3, Streams(*default_rng(1).spawn(4)))


def test_the_cut_episode_bootstraps_like_a_time_limit_against_its_definition() -> None:
    """Rewards of 1 and V = 10 behind the cut: A_t = Σ γ^k + γ^n·10 − V(s_t), by hand."""
    batch, returns = sampled(Script(), 3)
    assert batch.truncated.tolist() == [False, False, True]
    assert not batch.terminated.any()
    assert returns.tolist() == [3.0]
    ten = np.full(3, 10.0)
    path = (batch.rewards, ten, ten, batch.terminated, batch.truncated)
    advantages = gae_advantages(*path, gamma=0.5, lam=1.0)
    expected = [1 + 0.5 + 0.25 + 1.25 - 10, 1 + 0.5 + 2.5 - 10, 1 + 5 - 10]
    np.testing.assert_allclose(advantages, expected, rtol=1e-15)


def test_a_fixed_dimension_keeps_its_value() -> None:
    """Its action is clipped to 0.3, whatever σ is; the other dimension is as in [−1, 1]."""
    low, high = np.array([-1.0, 0.3]), np.array([1.0, 0.3])
    policy = policy_init(2, Box(low, high, dtype=np.float64), default_rng(0))
    actions = policy.sample(np.zeros((5, 2)), default_rng(1).normal(size=(5, 2)))
    seen = vime.model_actions(actions, Box(low, high, dtype=np.float64))
    np.testing.assert_array_equal(seen[:, 1], 0.3)
    assert len(np.unique(seen[:, 0])) > 2


@pytest.mark.parametrize(
    ("name", "bounds"), [("high", (5.0, np.inf)), ("low", (-np.inf, -5.0))]
)
def test_a_half_open_box_out_of_reach_is_named(
    name: str, bounds: tuple[float, float]
) -> None:
    with pytest.raises(ValueError, match=rf"^action_space.{name} must be finite, got "):
        policy_init(2, Box(*bounds, (1,)), default_rng(0))


def test_a_dimension_of_one_action_has_half_width_1() -> None:
    """Control: the other dimension has its own."""
    space = Box(np.array([3.0, 1.0]), np.array([3.0, 2.0]), dtype=np.float64)
    policy = policy_init(2, space, default_rng(0))
    assert policy.action_center.tolist() == [3.0, 1.5]
    assert policy.action_scale.tolist() == [1.0, 0.5]


def test_clip_action_over_one_open_dimension_is_rejected() -> None:
    low, high = np.array([-1.0, -np.inf]), np.array([1.0, np.inf])
    env = Script(actions=Box(low, high, dtype=np.float64))
    policy = policy_init(2, env.action_space, default_rng(0))
    streams = Streams(*default_rng(1).spawn(4))
    with pytest.raises(ValueError, match=r"^action_space must be as bounded"):
        rollout(as_vector(gym.wrappers.ClipAction(env)), policy, 3, streams)
    rollout(as_vector(env), policy, 3, streams)  # without it, nothing is wrong


def test_a_reset_without_seed_is_named() -> None:
    class Old(Script):
        def reset(self) -> Any:
            return np.zeros(2)

    with pytest.raises(ValueError, match=r"^reset of envs must take a seed, got reset"):
        sampled(Old())


@pytest.mark.parametrize("flag", [7, -1, 1.0, "True", np.array([0, 1])])
def test_a_flag_is_true_or_false(flag: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^terminated at step 0 must be true or false"
    ):
        sampled(Script(step=(np.zeros(2), 1.0, flag, False, {})))


@pytest.mark.parametrize("reward", [np.complex128(1j), "1.5", None, {}])
def test_a_reward_that_is_no_number_is_named(reward: Any) -> None:
    with pytest.raises(ValueError, match=r"^reward must hold numbers, got "):
        sampled(Script(step=(np.zeros(2), reward, False, False, {})))

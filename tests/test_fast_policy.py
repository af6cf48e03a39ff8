"""The policy's and the value function's twins in `fast_ref`, against `agents_ref` and slow definitions."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import autograd.numpy as anp
import gymnasium as gym
import numpy as np
import pytest
from autograd import jacobian
from autograd.differential_operators import make_hvp
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import SyncVectorEnv
from numpy.random import Generator, default_rng

import agents_ref as agents
import bnn_ref as bnn
import fast_ref as fast
from agents_ref import CategoricalPolicy, GaussianPolicy, ValueFunction
from vime_gym.vectors import as_vector

NAN = float("nan")
LAYERS = ((2, 3), (1, 4, 2), (3, 5, 1), (2, 4, 3, 2))

# ------------------------------------------------------------ random policies and batches


class Rows(NamedTuple):
    """A policy and what it did."""

    policy: Any
    observations: np.ndarray  # (N, K)
    actions: np.ndarray  # (N, A) or (N,)
    advantages: np.ndarray  # (N,)


def gaussian(rng: Generator, sizes: tuple[int, ...]) -> GaussianPolicy:
    k, a = sizes[0], sizes[-1]
    theta = rng.normal(0.0, 0.7, bnn.num_weights(sizes) + a)
    scales = np.exp(rng.normal(size=k)), rng.normal(size=a), np.exp(rng.normal(size=a))
    return GaussianPolicy(theta, sizes, *scales)


def categorical(rng: Generator, sizes: tuple[int, ...]) -> CategoricalPolicy:
    sizes = (*sizes[:-1], sizes[-1] + 1)  # one action would leave no choice
    theta = rng.normal(0.0, 0.7, bnn.num_weights(sizes))
    return CategoricalPolicy(theta, sizes, np.exp(rng.normal(size=sizes[0])))


MAKERS = {"gaussian": gaussian, "categorical": categorical}
both = pytest.mark.parametrize("kind", MAKERS)


def random_rows(kind: str, seed: int, num_rows: int | None = None) -> Rows:
    rng = default_rng(seed)
    policy = MAKERS[kind](rng, LAYERS[seed % len(LAYERS)])
    count = num_rows or int(rng.integers(1, 40))
    observations = rng.normal(size=(count, policy.layer_sizes[0]))
    actions = policy.sample(observations, policy.draw_noise(rng, count))
    return Rows(policy, observations, actions, rng.normal(size=count))


def random_settings(seed: int) -> dict[str, Any]:
    """Of a step. Short steps are accepted at once, long ones are halved or rejected."""
    rng = default_rng(seed)
    return {
        "max_kl": float(np.exp(rng.uniform(np.log(1e-3), np.log(10.0)))),
        "damping": float(np.exp(rng.uniform(np.log(0.01), np.log(1.0)))),
        "fisher_every": int(rng.integers(1, 4)),
        "cg_iterations": int(rng.integers(1, 6)),
        "backtracks": int(rng.choice([1, 2, 15])),
        "shrink": float(rng.choice([0.5, 0.8])),
    }


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 7 rows, so that batches have several, the last one shorter."""
    monkeypatch.setattr(fast, "NETWORK_ROWS", 7)


# ------------------------------------------------------------ the step of TRPO


def step_error(found: Any, expected: Any, old: Any) -> float:
    """The distance of two new policies, in units of the step."""
    moved = np.linalg.norm(expected.theta - old.theta)
    return float(np.linalg.norm(found.theta - expected.theta) / moved)


@both
def test_trpo_step_by_hand_against_the_definition(kind: str) -> None:
    """Tolerance: at most five iterations of CG, with damping from 0.01, amplify 1e-16 to 1e-12.

    Control: the advantages of another order give another step.
    """
    paths: Counter[str] = Counter()
    for seed in range(150):
        rows = random_rows(kind, seed)
        keywords = random_settings(seed)
        expected = agents.trpo_step(*rows, **keywords)
        found = fast.trpo_step(*rows, **keywords)

        # Both reject every step, or both accept the same one.
        assert (found is rows.policy) == (expected is rows.policy), seed
        if expected is rows.policy:
            paths["rejected"] += 1
            continue
        at_once = agents.trpo_step(*rows, **{**keywords, "backtracks": 1})
        paths["at once" if at_once is not rows.policy else "halved"] += 1
        assert step_error(found, expected, rows.policy) <= 1e-10, seed
        other = fast.trpo_step(*rows[:3], rows.advantages[::-1], **keywords)
        if len(rows.advantages) > 1:
            assert step_error(other, expected, rows.policy) > 1e-3, seed
    assert min(paths[name] for name in ("rejected", "at once", "halved")) >= 5, paths


@both
def test_trpo_step_by_hand_with_the_damping_of_a_run(kind: str) -> None:
    """1e-5, and four iterations of CG. Control: damping 2e-5.

    Ten iterations amplify rounding by 1e4 to 1e15: the definition moves as far if each advantage moves by 1e-15.
    """
    for seed in range(4):
        rows = random_rows(kind, seed, 500)
        expected = agents.trpo_step(*rows, cg_iterations=4)
        found = fast.trpo_step(*rows, cg_iterations=4)
        wrong = fast.trpo_step(*rows, cg_iterations=4, damping=2e-5)
        assert step_error(found, expected, rows.policy) <= 1e-11
        assert step_error(wrong, expected, rows.policy) > 1e-7


@both
def test_trpo_step_by_hand_keeps_the_bound_with_default_settings(kind: str) -> None:
    """The mean KL, by the definition, is 0.01 or below. Control: the double step is above."""
    doubled = []
    for seed in range(40):
        policy, observations, actions, advantages = random_rows(kind, seed)
        new = fast.trpo_step(policy, observations, actions, advantages)
        assert new is not policy
        assert policy.kl(new, observations).mean() <= 0.01 * (1.0 + 1e-12)
        twice = replace(policy, theta=2.0 * new.theta - policy.theta)
        doubled.append(policy.kl(twice, observations).mean())
    assert max(doubled) > 0.03


# ------------------------------------------------------------ Fisher products


def exact_actions(policy: Any, observation: np.ndarray) -> tuple[Any, np.ndarray]:
    """Actions (M, A) or (M,) of one state, and weights (M,) whose sum is an expectation.

    Gauss and Hermite's three points in each dimension: exact for polynomials of the noise up to degree 5.
    """
    num_actions = policy.layer_sizes[-1]
    if isinstance(policy, CategoricalPolicy):
        return np.arange(num_actions), np.exp(policy.log_probs(observation[None])[0])
    points, masses = np.polynomial.hermite_e.hermegauss(3)
    noise = np.array(list(product(points, repeat=num_actions)))  # (M, A)
    weights = np.array(list(product(masses, repeat=num_actions))).prod(axis=-1)
    states = np.tile(observation, (len(noise), 1))
    return policy.sample(states, noise), weights / weights.sum()


def slow_fisher(policy: Any, observations: np.ndarray) -> np.ndarray:
    """Mean over states of E_π ∇log π ∇log πᵀ (P, P), the gradients by autograd of the definition."""
    total = np.zeros((len(policy.theta), len(policy.theta)))
    for observation in observations:
        actions, weights = exact_actions(policy, observation)
        states = np.tile(observation, (len(weights), 1))
        scores = jacobian(
            lambda theta, s=states, a=actions: replace(policy, theta=theta).log_prob(
                s, a
            )
        )(policy.theta)  # (M, P)
        total += scores.T @ (weights[:, None] * scores)
    return total / len(observations)


def with_wrong_metric(rows: Any, v: np.ndarray) -> np.ndarray:
    """p instead of diag(p) − ppᵀ, or σ² instead of 1/σ²."""
    if isinstance(rows.policy, CategoricalPolicy):
        moves = rows.pushed(v)
        return rows.pulled(rows.p * moves / len(moves))
    a = rows.policy.layer_sizes[-1]
    moves = rows.pushed(v[:-a]) * rows.std**2
    return np.concatenate([rows.pulled(moves / len(moves)), 2.0 * v[-a:]])


def products(function: Callable[[np.ndarray], np.ndarray], size: int) -> np.ndarray:
    """The matrix (P, P) of a product."""
    return np.array([function(column) for column in np.eye(size)])


@both
def test_fisher_product_against_expected_scores(kind: str) -> None:
    """The integral is exact, so that rounding is left. Controls: another metric; no log_std."""
    for seed in range(8):
        policy, observations, *_ = random_rows(kind, seed, 9)
        rows = fast.on_rows(policy, observations)
        size = len(policy.theta)
        expected = slow_fisher(policy, observations)
        found = products(rows.fisher_product, size)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale)
        wrong = products(lambda v, rows=rows: with_wrong_metric(rows, v), size)
        assert np.abs(wrong - expected).max() > 1e-2 * scale
        if kind == "gaussian":
            assert np.abs(found[-1, -1] - 1.0) > 0.5  # 2, not 1


@both
def test_fisher_product_against_the_hessian_of_the_kl(kind: str) -> None:
    """∇²KL[old‖new] at new = old, by autograd. Control: the product with another vector."""
    for seed in range(20):
        policy, observations, *_ = random_rows(kind, seed)
        v = default_rng(seed).normal(size=len(policy.theta))

        def mean_kl(theta: Any, policy: Any = policy, s: Any = observations) -> Any:
            return anp.mean(policy.kl(replace(policy, theta=theta), s))

        expected = make_hvp(mean_kl)(policy.theta)[0](v)
        rows = fast.on_rows(policy, observations)
        scale = np.abs(expected).max()
        found = rows.fisher_product(v)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * scale)
        assert np.abs(rows.fisher_product(v[::-1]) - expected).max() > 1e-2 * scale


def test_forward_and_reverse_mode_against_the_jacobian() -> None:
    """J by autograd of the definition's network. Control: without tanh′."""
    for seed, sizes in enumerate(LAYERS):
        rng = default_rng(seed)
        theta, v = rng.normal(size=(2, bnn.num_weights(sizes)))
        inputs = rng.normal(size=(5, sizes[0]))
        delta = rng.normal(size=(5, sizes[-1]))
        passed = fast.tanh_pass(theta, fast.with_ones(inputs)[0], sizes)
        slow = jacobian(lambda theta, x=inputs, s=sizes: agents.network(theta, x, s))
        j = slow(theta)  # (N, O, D)
        forward = fast.forward_mode(passed, bnn.blocks_of(v, sizes))
        reverse = fast.reverse_mode(passed, delta)
        np.testing.assert_allclose(forward, j @ v, rtol=1e-11, atol=1e-11)
        expected = np.einsum("no,nod->d", delta, j)
        np.testing.assert_allclose(reverse, expected, rtol=1e-11, atol=1e-11)
        if len(sizes) > 2:
            flat = replace(passed)
            vars(flat)["slopes"] = [np.ones_like(each) for each in passed.slopes]
            assert np.abs(fast.reverse_mode(flat, delta) - expected).max() > 1e-2


# ------------------------------------------------------------ REINFORCE


@both
def test_policy_gradient_step_by_hand_against_the_definition(kind: str) -> None:
    """Tolerance: sums of at most 40 rows in another order. Controls: the entropy's sign, other advantages."""
    for seed in range(60):
        rows = random_rows(kind, seed)
        beta = float(default_rng(seed).normal())
        keywords = {"learning_rate": 0.1, "entropy_weight": beta}
        expected = agents.policy_gradient_step(*rows, **keywords)
        found = fast.policy_gradient_step(*rows, **keywords)
        assert step_error(found, expected, rows.policy) <= 1e-12
        for wrong in (
            fast.policy_gradient_step(*rows, learning_rate=0.1, entropy_weight=-beta),
            fast.policy_gradient_step(*rows[:3], rows.advantages + 1.0, **keywords),
        ):
            assert step_error(wrong, expected, rows.policy) > 1e-4, seed


def objective(rows: Rows, theta: np.ndarray, beta: float) -> float:
    """mean(A·log π) + β·mean H of the policy with these weights, by the definition's methods."""
    new = replace(rows.policy, theta=theta)
    log_prob = new.log_prob(rows.observations, rows.actions)
    entropy = new.entropy(rows.observations).mean()
    return float(np.mean(rows.advantages * log_prob) + beta * entropy)


@both
def test_policy_gradient_by_hand_against_a_difference_along_it(kind: str) -> None:
    """Controls: β = 0, and half of the gradient."""
    h = 1e-5
    for seed in range(12):
        given = random_rows(kind, seed)
        policy, observations, actions, advantages = given
        beta = 0.3

        count = len(advantages)
        rows = fast.on_rows(policy, observations)
        weights = advantages / count
        gradient = rows.gradient(actions, weights, beta / count)
        v = gradient / np.linalg.norm(gradient)
        plus, minus = (
            objective(given, policy.theta + s * h * v, beta) for s in (1.0, -1.0)
        )
        slope = (plus - minus) / (2.0 * h)
        assert gradient @ v == pytest.approx(slope, rel=1e-6)
        assert rows.gradient(actions, weights, 0.0) @ v != pytest.approx(
            slope, rel=1e-4
        )
        assert 0.5 * gradient @ v != pytest.approx(slope, rel=1e-4)


# ------------------------------------------------------------ other policies, and bad arguments


@dataclass(frozen=True, eq=False)
class Clipped(GaussianPolicy):
    """Another kind of policy: a Gaussian with a density of its own."""

    def log_prob(self, observations: Any, actions: Any) -> Any:
        log_p = GaussianPolicy.log_prob(self, observations, actions)
        return anp.clip(log_p, -3.0, 3.0)


def test_another_kind_of_policy_takes_the_steps_of_the_definition() -> None:
    """Control: a Gaussian policy takes another step."""
    rows = random_rows("gaussian", 2, 30)
    policy = rows.policy
    fields = (policy.observation_scale, policy.action_center, policy.action_scale)
    other = rows._replace(policy=Clipped(policy.theta, policy.layer_sizes, *fields))
    keywords = {"learning_rate": 0.1, "entropy_weight": 0.2}
    for name, settings in [
        ("trpo_step", {"damping": 0.1}),
        ("policy_gradient_step", keywords),
    ]:
        definition, twin = getattr(agents, name), getattr(fast, name)
        found = twin(*other, **settings)
        assert type(found) is Clipped
        expected = definition(*other, **settings)
        np.testing.assert_array_equal(found.theta, expected.theta)
        assert np.abs(twin(*rows, **settings).theta - expected.theta).max() > 1e-6


@both
@pytest.mark.parametrize("tiny", [0.0, 1e-170])
def test_trpo_step_by_hand_without_a_gradient_returns_the_policy(
    kind: str, tiny: float
) -> None:
    rows = random_rows(kind, 3)
    still = rows._replace(advantages=tiny * rows.advantages)
    assert agents.trpo_step(*still) is rows.policy
    assert fast.trpo_step(*still) is rows.policy


BAD_ROWS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "both",
        r"observations must have shape \(5, 3\)",
        {"observations": np.ones((5, 4))},
    ),
    ("both", "observations must be finite", {"observations": np.full((5, 3), NAN)}),
    ("both", r"advantages must have shape \(5,\)", {"advantages": np.ones(4)}),
    ("both", "rows of observations", {"observations": np.ones((0, 3))}),
    ("both", "actions must have shape", {"actions": np.ones((4, 1))}),
    ("gaussian", "must be finite", {"actions": np.full((5, 1), 1e200)}),
    ("categorical", "actions must be indices below 2", {"actions": np.full(5, 2)}),
    ("categorical", "actions must be indices below 2", {"actions": np.full(5, 0.5)}),
]


@pytest.mark.parametrize("layer", [0, 1])
def test_activations_that_overflow_are_named_in_every_layer(layer: int) -> None:
    """Weights of 1e308 into two tanh units, or out of them. Control: of 1e307, another sum overflows or none."""

    def error(size: float) -> str:
        weights = [np.ones(4), np.ones(3)]
        weights[layer] = size * weights[layer]
        policy = GaussianPolicy(np.concatenate([*weights, [0.0]]), (1, 2, 1))
        ones = np.ones((2, 1))
        rows = (policy, 10.0 * ones, ones, ones[:, 0])
        try:
            fast.policy_gradient_step(*rows, learning_rate=0.1, entropy_weight=0.0)
        except ValueError as raised:
            return str(raised)
        return ""

    with np.errstate(all="ignore"):
        assert error(1e308).startswith("activations must be finite, got inf at index")
        assert not error(1e307).startswith("activations")


@pytest.mark.parametrize("module", [agents, fast])
def test_a_curvature_that_overflows_is_named(module: Any) -> None:
    """Advantages of 1e200, whose square overflows. Control: of 1e100."""
    rows = random_rows("gaussian", 3)
    step = partial(module.trpo_step, rows.policy, rows.observations, rows.actions)
    step(1e100 * rows.advantages)
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"^curvature must be finite, got"),
    ):
        step(1e200 * rows.advantages)


def test_a_gradient_that_overflows_is_named() -> None:
    """Actions 10 σ from their mean at advantages of 1e307. Control: of 1e100."""
    rows = random_rows("gaussian", 3)
    far = rows.policy.sample(rows.observations, np.full(rows.actions.shape, 10.0))
    ones = np.ones(len(far))
    keywords = {"learning_rate": 1e-200, "entropy_weight": 0.0}
    step = partial(fast.policy_gradient_step, rows.policy, rows.observations, far)
    step(1e100 * ones, **keywords)
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"^gradient must be finite, got"),
    ):
        step(1e307 * ones, **keywords)


@pytest.mark.parametrize("name", ["trpo_step", "policy_gradient_step"])
@pytest.mark.parametrize(("which", "message", "changes"), BAD_ROWS)
def test_both_steps_reject_the_same_rows(
    which: str, message: str, changes: dict[str, Any], name: str
) -> None:
    keywords = {"learning_rate": 0.1, "entropy_weight": 0.2}
    settings = keywords if name == "policy_gradient_step" else {}
    for kind in MAKERS if which == "both" else [which]:
        rows = random_rows(kind, 2, 5)
        for module in (agents, fast):
            step = getattr(module, name)
            step(*rows, **settings)  # unchanged, they raise nothing
            with (
                np.errstate(over="ignore"),
                pytest.raises(ValueError, match=message),
            ):
                step(*rows._replace(**changes), **settings)


# ------------------------------------------------------------ the value function


def random_fit(seed: int) -> tuple[ValueFunction, np.ndarray, np.ndarray]:
    """A value function (K, ..., 1), observations (N, K) and returns (N,)."""
    rng = default_rng(seed)
    sizes = LAYERS[seed % len(LAYERS)]
    value = agents.value_init(sizes[0], rng, sizes[1:-1] or (2,))
    observations = rng.normal(2.0, 3.0, (int(rng.integers(2, 40)), sizes[0]))
    returns = np.sin(observations[:, 0]) + rng.normal(5.0, 0.1, len(observations))
    return value, observations, returns


def test_value_fit_by_hand_against_the_definition() -> None:
    """Tolerance: 20 steps of L-BFGS, each with a line search, amplify 1e-16 to 1e-10. Control: 10 steps."""
    different = 0
    for seed in range(30):
        value, observations, returns = random_fit(seed)
        expected = agents.value_fit(value, observations, returns)
        found = fast.value_fit(value, observations, returns)
        shorter = fast.value_fit(value, observations, returns, max_iterations=10)
        assert step_error(found, expected, value) <= 1e-8, seed
        different += step_error(shorter, expected, value) > 1e-3
        units = ("observation_center", "observation_scale", "center", "scale")
        for name in units:
            same = np.array_equal(getattr(found, name), getattr(expected, name))
            assert same, name
    assert different > 20


def test_gradient_of_the_value_loss_against_a_difference_along_it() -> None:
    """Control: halved. The loss is the mean square of the definition's errors."""
    h = 1e-5
    for seed in range(8):
        value, observations, returns = random_fit(seed)
        fitted = fast.value_fit(value, observations, returns, max_iterations=1)
        centered = observations - fitted.observation_center
        inputs = fast.in_parts(centered / fitted.observation_scale)
        parts = [fast.with_ones(each)[0] for each in inputs]
        given = (fitted, parts, fast.in_parts(returns))
        loss, gradient = fast.value_loss(fitted.theta, *given)
        errors = (fitted(observations) - returns) / fitted.scale
        assert loss == pytest.approx(np.mean(errors**2), rel=1e-12)
        v = gradient / np.linalg.norm(gradient)
        plus, minus = (
            fast.value_loss(fitted.theta + s * h * v, *given)[0] for s in (1.0, -1.0)
        )
        slope = (plus - minus) / (2.0 * h)
        assert gradient @ v == pytest.approx(slope, rel=1e-5)
        assert 0.5 * gradient @ v != pytest.approx(slope, rel=1e-2)


def test_value_fit_by_hand_of_equal_returns_is_constant() -> None:
    """Control: returns that vary."""
    value, observations, returns = random_fit(1)
    found = fast.value_fit(value, observations, np.full(len(returns), 3.0))
    np.testing.assert_array_equal(found(observations), np.full(len(returns), 3.0))
    np.testing.assert_array_equal(found.theta, value.theta)
    varied = fast.value_fit(value, observations, returns)
    assert np.ptp(varied(observations)) > 0.1


@pytest.mark.parametrize("module", [agents, fast])
def test_value_fit_rejects_values_that_overflow(module: Any) -> None:
    """Weights of 1e200 at returns of 1e150. Control: usual weights."""
    value, observations, _ = random_fit(1)
    signs = np.where(np.arange(len(observations)) % 2, 1.0, -1.0)
    module.value_fit(value, observations, 1e150 * signs)
    steep = replace(value, theta=1e200 * value.theta)
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"^values must be finite"),
    ):
        module.value_fit(steep, observations, 1e150 * signs)


# ------------------------------------------------------------ acting


@both
def test_actor_against_sample(kind: str) -> None:
    """Bit-equal, one row and many. Control: another policy's actor."""
    different = 0
    for seed in range(60):
        policy, observations, *_ = random_rows(kind, seed)
        noise = policy.draw_noise(default_rng(seed), len(observations))
        kept = observations.copy(), noise.copy()
        expected = policy.sample(observations, noise)
        found = fast.actor(policy)(observations, noise)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(observations, kept[0])
        np.testing.assert_array_equal(noise, kept[1])
        other = replace(policy, theta=policy.theta[::-1])
        different += not np.array_equal(
            fast.actor(other)(observations, noise), expected
        )
    assert different > 30


def test_actor_of_a_categorical_policy_at_its_boundaries() -> None:
    """p = (½, ½, 0): noise below ½ draws the first action, and none draws the last."""
    theta = np.concatenate([np.zeros(3), [0.0, 0.0, -800.0]])
    policy = CategoricalPolicy(theta, (1, 3))
    noise = np.array([0.0, np.nextafter(0.5, 0.0), 0.5, np.nextafter(1.0, 0.0)])
    states = np.zeros((4, 1))
    assert fast.actor(policy)(states, noise).tolist() == [0, 0, 1, 1]
    assert policy.sample(states, noise).tolist() == [0, 0, 1, 1]


def test_actor_of_a_categorical_policy_at_large_logits() -> None:
    """Two rows whose logits lie 1600 apart; 800 would overflow. Control: the other row's action."""
    theta = np.array([[1.0, -1.0], [0.0, 0.0]]).ravel()
    policy = CategoricalPolicy(theta, (1, 2))
    states = np.array([[800.0], [-800.0], [0.1]])
    noise = np.full(3, 0.52)
    assert fast.actor(policy)(states, noise).tolist() == [0, 1, 0]
    assert policy.sample(states, noise).tolist() == [0, 1, 0]
    assert fast.actor(policy)(-states, noise).tolist() == [1, 0, 1]


def test_actor_of_another_kind_of_policy_is_its_own_sample() -> None:
    policy = random_rows("gaussian", 2).policy
    fields = (policy.observation_scale, policy.action_center, policy.action_scale)
    other = Clipped(policy.theta, policy.layer_sizes, *fields)
    assert fast.actor(other) == other.sample
    assert fast.actor(policy) != policy.sample
    with pytest.raises(ValueError, match="policy must have a method sample"):
        fast.actor(3)


# ------------------------------------------------------------ sampling


class Walk(gym.Env[np.ndarray, Any]):
    """A random walk whose episodes end at random, in either way or both."""

    def __init__(self, space: Any, dimensions: int) -> None:
        self.action_space = space
        self.observation_space = Box(-np.inf, np.inf, (dimensions,), np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=self.observation_space.shape)
        return self.place, {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.place = 0.9 * self.place + 0.1 * float(np.sum(action))
        self.place = self.place + self.np_random.normal(size=self.place.shape)
        terminated, truncated = (self.np_random.random(2) < 0.08).tolist()
        return self.place, float(self.place.sum()), terminated, truncated, {}


SPACES = (
    Box(-1, 1, (2,), np.float32),
    Box(np.array([-np.inf, 0.5]), np.array([0.1, np.inf]), dtype=np.float64),
    Box(-3, 3, (2,), np.int64),
    Discrete(3, start=4),
)


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize(
    ("num_envs", "num_steps"), [(1, 1), (1, 60), (3, 2), (3, 9), (3, 60), (7, 90)]
)
def test_rollout_against_its_definition(
    space: Any, num_envs: int, num_steps: int
) -> None:
    """Bit-equal, with ends, resets and cuts at any step. Control: another seed."""
    policy = agents.policy_init(3, space, default_rng(0))
    batches = []
    for function, seed in ((agents.rollout, 1), (fast.rollout, 1), (fast.rollout, 2)):
        envs = as_vector(*(Walk(space, 3) for _ in range(num_envs)))
        streams = agents.Streams(*default_rng(seed).spawn(4))
        first = function(envs, policy, num_steps, streams)
        second = function(envs, policy, num_steps, streams)
        batches.append([*first[0], first[1], *second[0], second[1]])
    for expected, found in zip(batches[0], batches[1]):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert not np.array_equal(batches[0][0], batches[2][0])


def test_rollout_names_the_step_as_its_definition_does() -> None:
    class Bad(Walk):
        def step(self, action: Any) -> Any:
            observation, reward, *ends, infos = super().step(action)
            self.steps = getattr(self, "steps", 0) + 1
            return observation, NAN if self.steps == 4 else reward, *ends, infos

    space = Box(-1, 1, (2,), np.float32)
    policy = agents.policy_init(3, space, default_rng(0))
    for function in (agents.rollout, fast.rollout):
        envs = SyncVectorEnv([lambda: Bad(space, 3)] * 2)
        streams = agents.Streams(*default_rng(1).spawn(4))
        with pytest.raises(ValueError, match=r"^reward must be finite, .* at step 3$"):
            function(envs, policy, 50, streams)


def test_rollout_at_an_end_that_is_also_a_cut() -> None:
    """An episode that terminates after num_steps is not truncated. Control: one step more is."""

    class Five(Walk):
        def step(self, action: Any) -> Any:
            observation, reward, *_, infos = super().step(action)
            self.steps = getattr(self, "steps", 0) + 1
            return observation, reward, self.steps % 5 == 0, False, infos

    space = Box(-1, 1, (2,), np.float32)
    policy = agents.policy_init(3, space, default_rng(0))
    for num_steps, cut in ((5, False), (4, True)):
        for function in (agents.rollout, fast.rollout):
            envs = as_vector(Five(space, 3))
            streams = agents.Streams(*default_rng(1).spawn(4))
            batch, _ = function(envs, policy, num_steps, streams)
            assert batch.terminated.tolist() == [False] * 4 + [True] * (not cut)
            assert batch.truncated.any() == cut


class Wild:
    """A policy of another kind, whose actions are no indices."""

    def draw_noise(self, rng: Generator, num_rows: int) -> np.ndarray:
        return rng.random(num_rows)

    def sample(self, observations: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return noise + 0.5


def test_rollout_rejects_the_actions_that_its_definition_rejects() -> None:
    """Weights that overflow, in both kinds of policy, and a policy of one's own."""
    box, discrete = Box(-1, 1, (2,), np.float32), Discrete(3, start=4)
    for space, change in ((box, True), (discrete, True), (discrete, False)):
        policy = agents.policy_init(3, space, default_rng(0))
        theta = np.full(len(policy.theta), 1e308)
        if space is box:
            theta[-2:] = 0.0  # log σ
        overflowing = replace(policy, theta=theta)
        acting: Any = overflowing if change else Wild()
        for function in (agents.rollout, fast.rollout):
            envs = as_vector(Walk(space, 3))
            streams = agents.Streams(*default_rng(1).spawn(4))
            with (
                np.errstate(all="ignore"),
                pytest.raises(ValueError, match=r"^(activations|actions) must be "),
            ):
                function(envs, acting, 5, streams)

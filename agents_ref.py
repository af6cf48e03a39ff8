"""Acting, and learning from curious rewards.

A policy that is a network on flat weights, returns and advantages that tell a terminal state from a cut
episode, REINFORCE and TRPO steps, and `train`: interact, reward curiosity, train the agent, train the model.
`train` takes any bonus with `reward` and `update`.

Axes: T or N time steps, K observation dimensions, A action dimensions or number of actions, P parameters.

Sources: [Lecture] "Intrinsic motivation in RL", by slide title; [VIME] Houthooft et al. 2016, arXiv
1605.09674; [GAE] Schulman et al. 2015, arXiv 1506.02438; [TRPO] Schulman et al. 2015, arXiv 1502.05477.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import autograd.numpy as np
import numpy as onp  # for what no gradient passes through
from autograd import grad, value_and_grad
from autograd.differential_operators import make_hvp
from autograd.scipy.special import logsumexp
from gymnasium import Env
from gymnasium.spaces import Discrete, Space
from numpy.random import Generator
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg

import bnn_ref as bnn
from bnn_ref import Array, check_array, check_count, check_finite, check_positive
from vime_ref import (
    Batch,
    Bonus,
    action_size,
    check_indices,
    curious_rewards,
    model_actions,
    normalize_gains,
    spread,
)

# ---------------------------------------------------------------- constants

OUTPUT_SCALE = 0.01  # of a new policy's last layer, as in OpenAI baselines: it begins without a preference

# ---------------------------------------------------------------- types


def network(theta: Array, observations: Array, layer_sizes: tuple[int, ...]) -> Array:
    """Outputs (N, O) of one tanh network with weights (D,)."""
    return bnn.mlp(theta[None], observations, layer_sizes, hidden=np.tanh)[0]


@dataclass(frozen=True, eq=False)
class GaussianPolicy:
    """N(a; network(s/observation_scale), e^{2 log_std}) over actions (A,); theta: the weights, then log_std (A,)."""

    theta: Array  # (D + A,)
    layer_sizes: tuple[int, ...]
    observation_scale: Any = 1.0  # or (K,)

    def mean_and_sigma(self, observations: Array) -> tuple[Array, Array]:
        weights, log_std = (
            self.theta[: -self.layer_sizes[-1]],
            self.theta[-self.layer_sizes[-1] :],
        )
        return network(
            weights, observations / self.observation_scale, self.layer_sizes
        ), np.exp(log_std)

    def draw_noise(self, rng: Generator, num_rows: int) -> Array:
        return rng.standard_normal((num_rows, self.layer_sizes[-1]))

    def sample(self, observations: Array, noise: Array) -> Array:
        mean, sigma = self.mean_and_sigma(observations)
        check_array("noise", noise, mean.shape)
        return mean + sigma * noise  # (N, A)

    def log_prob(self, observations: Array, actions: Array) -> Array:
        mean, sigma = self.mean_and_sigma(observations)
        check_array("actions", actions, mean.shape)
        return np.sum(bnn.normal_log_density(actions, mean, sigma), axis=-1)

    def entropy(self, observations: Array) -> Array:
        """½ log(2πe σ²), summed over action dimensions."""
        _, sigma = self.mean_and_sigma(observations)
        return np.sum(0.5 * onp.log(2.0 * onp.pi * onp.e) + np.log(sigma)) * onp.ones(
            len(observations)
        )

    def kl(self, new: GaussianPolicy, observations: Array) -> Array:
        return bnn.kl_diag_normal(
            *self.mean_and_sigma(observations), *new.mean_and_sigma(observations)
        )


@dataclass(frozen=True, eq=False)
class CategoricalPolicy:
    """softmax(network(s/observation_scale)) over A actions; theta: the weights."""

    theta: Array  # (D,)
    layer_sizes: tuple[int, ...]
    observation_scale: Any = 1.0  # or (K,)

    def log_probs(self, observations: Array) -> Array:
        """log π(·|s), (N, A)."""
        logits = network(
            self.theta, observations / self.observation_scale, self.layer_sizes
        )
        return logits - logsumexp(logits, axis=-1, keepdims=True)

    def draw_noise(self, rng: Generator, num_rows: int) -> Array:
        return rng.random(num_rows)

    def sample(self, observations: Array, noise: Array) -> Array:
        """The first action whose cumulated probability exceeds the noise, (N,)."""
        check_array("noise", noise, (len(observations),))
        cumulated = np.cumsum(np.exp(self.log_probs(observations))[:, :-1], axis=-1)
        return np.sum(cumulated <= noise[:, None], axis=-1)

    def log_prob(self, observations: Array, actions: Array) -> Array:
        check_array("actions", actions, (len(observations),))
        check_indices("actions", actions, self.layer_sizes[-1])
        return self.log_probs(observations)[
            onp.arange(len(actions)), actions.astype(int)
        ]

    def entropy(self, observations: Array) -> Array:
        log_p = self.log_probs(observations)
        return -np.sum(np.exp(log_p) * log_p, axis=-1)

    def kl(self, new: CategoricalPolicy, observations: Array) -> Array:
        log_p = self.log_probs(observations)
        return np.sum(np.exp(log_p) * (log_p - new.log_probs(observations)), axis=-1)


Policy = (
    GaussianPolicy | CategoricalPolicy
)  # or what else has their methods and a flat theta

# ---------------------------------------------------------------- building blocks: initial parameters


def network_init(layer_sizes: tuple[int, ...], rng: Generator) -> Array:
    """Weights (D,) as Glorot and Bengio 2010 draw them: U(±√(6/(I + O))), biases 0."""
    blocks = []
    for i, o in zip(layer_sizes, layer_sizes[1:]):
        bound = onp.sqrt(6.0 / (i + o))
        blocks += [rng.uniform(-bound, bound, size=i * o), onp.zeros(o)]
    return onp.concatenate(blocks)


def policy_init(
    observation_size: int,
    action_space: Space[Any],
    rng: Generator,
    hidden_sizes: tuple[int, ...] = (32,),
    observation_scale: Any = None,
) -> Policy:
    """A policy for the space: Gaussian with mean near 0 and σ = 1 for a Box (A,), near uniform for Discrete.

    observation_scale (K,), in units of the observations, is what the network sees as 1; ones if not given.
    """
    sizes = (observation_size, *hidden_sizes, action_size(action_space))
    scale = (
        onp.ones(observation_size)
        if observation_scale is None
        else onp.array(observation_scale, float)
    )
    check_array("observation_scale", scale, (observation_size,))
    check_positive("observation_scale", scale)
    weights = network_init(sizes, rng)
    weights[-(sizes[-2] + 1) * sizes[-1] :] *= OUTPUT_SCALE
    if isinstance(action_space, Discrete):
        return CategoricalPolicy(weights, sizes, scale)
    return GaussianPolicy(
        onp.concatenate([weights, onp.zeros(sizes[-1])]), sizes, scale
    )


# ---------------------------------------------------------------- building blocks: returns and advantages


def check_fraction(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be from 0 to 1, got {value}")


def discounted_returns(
    rewards: Array, *, gamma: float, last_value: float = 0.0
) -> Array:
    """R_t = r_t + γ R_{t+1} of one segment, (T,); R_T = last_value.

    >>> discounted_returns(onp.array([0.0, 0.0, 1.0]), gamma=0.5)
    array([0.25, 0.5 , 1.  ])
    """
    check_finite("rewards", rewards)
    check_finite("last_value", last_value)
    check_fraction("gamma", gamma)
    returns, following = onp.zeros(len(rewards)), last_value
    for t in reversed(range(len(rewards))):
        following = rewards[t] + gamma * following
        returns[t] = following
    return returns


def gae_advantages(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    *,
    gamma: float,
    lam: float,
) -> Array:
    """A_t = δ_t + γλ A_{t+1}, δ_t = r_t + γ V(s_{t+1}) − V(s_t), (T,).

    V(s_{t+1}), of the true next state, counts as 0 only where the episode terminated; the sum over t is cut
    where it ended either way. [GAE] section 3.
    """
    check_fraction("gamma", gamma)
    check_fraction("lam", lam)
    columns = {"rewards": rewards, "values": values, "next_values": next_values}
    for name, column in {
        **columns,
        "terminated": terminated,
        "truncated": truncated,
    }.items():
        check_array(name, column, (len(rewards),))
    advantages, following = onp.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + gamma * next_values[t] * (not terminated[t]) - values[t]
        following = delta + gamma * lam * following * (
            not (terminated[t] or truncated[t])
        )
        advantages[t] = following
    return advantages


@dataclass(frozen=True, eq=False)
class ValueFunction:
    """V(s) = center + scale·network((s − observation_center)/observation_scale); constant while scale is 0."""

    theta: Array  # (D,)
    layer_sizes: tuple[int, ...]
    observation_center: Array  # (K,)
    observation_scale: Array  # (K,)
    center: float = 0.0
    scale: float = 0.0

    def __call__(self, observations: Array) -> Array:
        check_array(
            "observations", observations, (len(observations), self.layer_sizes[0])
        )
        inputs = (observations - self.observation_center) / self.observation_scale
        return (
            self.center
            + self.scale * network(self.theta, inputs, self.layer_sizes)[:, 0]
        )


def value_init(
    observation_size: int, rng: Generator, hidden_sizes: tuple[int, ...] = (32,)
) -> ValueFunction:
    """V = 0 everywhere, until it is fitted."""
    sizes = (observation_size, *hidden_sizes, 1)
    return ValueFunction(
        network_init(sizes, rng),
        sizes,
        onp.zeros(observation_size),
        onp.ones(observation_size),
    )


def value_fit(
    value: ValueFunction,
    observations: Array,
    returns: Array,
    *,
    max_iterations: int = 20,
) -> ValueFunction:
    """V fitted to returns (N,) by least squares, at most max_iterations of L-BFGS from where it was."""
    check_array("returns", returns, (len(observations),))
    scale = spread(observations)
    new = replace(
        value,
        observation_center=observations.mean(axis=0),
        observation_scale=onp.where(scale > 0, scale, 1.0),
        center=float(returns.mean()),
        scale=float(spread(returns)),
    )
    if new.scale == 0.0:
        return new

    def loss(theta: Array) -> Array:
        return np.mean(
            ((replace(new, theta=theta)(observations) - returns) / new.scale) ** 2
        )

    result = minimize(
        value_and_grad(loss),
        new.theta,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations},
    )
    return replace(new, theta=result.x)


# ---------------------------------------------------------------- building blocks: policy steps


def policy_gradient_step(
    policy: Any,
    observations: Array,
    actions: Array,
    advantages: Array,
    *,
    learning_rate: float,
    entropy_weight: float,
) -> Any:
    """REINFORCE: θ + α∇[mean(A·log π(a|s)) + β·mean H(π(·|s))]. [Lecture], entropy bonus."""
    check_positive("learning_rate", learning_rate)
    check_finite("entropy_weight", entropy_weight)
    check_array("advantages", advantages, (len(observations),))

    def objective(theta: Array) -> Array:
        new = replace(policy, theta=theta)
        log_prob, entropy = (
            new.log_prob(observations, actions),
            new.entropy(observations),
        )
        return np.mean(advantages * log_prob) + entropy_weight * np.mean(entropy)

    return replace(
        policy, theta=policy.theta + learning_rate * grad(objective)(policy.theta)
    )


def trpo_step(
    policy: Any,
    observations: Array,
    actions: Array,
    advantages: Array,
    *,
    max_kl: float = 0.01,
    damping: float = 1e-5,
    fisher_every: int = 1,
    cg_iterations: int = 10,
    backtracks: int = 15,
) -> Any:
    """The natural-gradient step to mean KL[old‖new] = max_kl, halved until the surrogate rises within it.

    The policy itself where no step does. max_kl as in the original code of VIME, damping and iterations as in rllab,
    which it used. Only one row in fisher_every enters the curvature, which costs accuracy of the step's direction and
    length, not the bound: the KL is checked on all rows, and the step halved until it holds. [TRPO] appendix C.
    """
    check_array("advantages", advantages, (len(observations),))
    check_positive("max_kl", max_kl)
    check_positive("damping", damping)
    check_count("fisher_every", fisher_every)
    old_log_prob = policy.log_prob(observations, actions)

    def surrogate(theta: Array) -> Array:
        ratio = np.exp(
            replace(policy, theta=theta).log_prob(observations, actions) - old_log_prob
        )
        return np.mean(ratio * advantages)

    def mean_kl(theta: Array, every: int = 1) -> Array:
        return np.mean(policy.kl(replace(policy, theta=theta), observations[::every]))

    gradient = grad(surrogate)(policy.theta)
    if not gradient.any():
        return policy
    kl_hessian_product, _ = make_hvp(mean_kl)(policy.theta, fisher_every)
    size = len(policy.theta)
    fisher = LinearOperator(
        (size, size), matvec=lambda v: kl_hessian_product(v) + damping * v
    )
    direction, _ = cg(fisher, gradient, rtol=1e-10, maxiter=cg_iterations)
    curvature = direction @ fisher.matvec(direction)
    if (
        curvature < onp.finfo(float).tiny
    ):  # advantages too small for their square to be a number
        return policy
    full_step = onp.sqrt(2.0 * max_kl / curvature) * direction
    for fraction in 0.5 ** onp.arange(backtracks):
        theta = policy.theta + fraction * full_step
        if surrogate(theta) > surrogate(policy.theta) and mean_kl(theta) <= max_kl:
            return replace(policy, theta=theta)
    return policy


# ---------------------------------------------------------------- the algorithm


class Streams(NamedTuple):
    """One generator per purpose, so that what one consumes does not move the others."""

    environment: Generator
    policy: Generator
    model: Generator
    replay: Generator


@dataclass(frozen=True)
class AgentSettings:
    """Settings of `train`; the numbers are the original code's for its tasks other than SwimmerGather."""

    eta: float = 1e-4  # weight of the normalised gain
    batch_steps: int = 5000
    gamma: float = 0.99
    lam: float = 1.0
    normalize: bool = True  # False for a bonus that is a ready reward, such as a count
    curious_values: bool = True  # False fits V to the task's rewards: gains then count over 1/(1 − γλ) steps
    policy_step: Callable[..., Any] = trpo_step

    def __post_init__(self) -> None:
        check_count("batch_steps", self.batch_steps)
        check_fraction("gamma", self.gamma)
        check_fraction("lam", self.lam)
        curious_rewards(
            onp.zeros(1), onp.zeros(1), self.eta
        )  # refuses a bad eta before a rollout does


class Iteration(NamedTuple):
    """What `train` yields: the new state of all that learns, and what was seen."""

    policy: Any
    value: ValueFunction
    bonus: Bonus
    history: tuple[float, ...]  # of `normalize_gains`
    batch: Batch
    gains: Array  # (N,) raw, in nats for `Vime`
    episode_returns: Array  # of the episodes that ended in the batch


def checked(values: Any, name: str, step: int) -> Array:
    """A float64 copy, for environments may reuse their arrays; ValueError where it is not finite."""
    array = onp.array(values, dtype=float)
    if not onp.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array} at step {step}")
    return array


def environment_action(action: Array, space: Space[Any]) -> Any:
    """The policy's action as the environment takes it: clipped to a Box, shifted to a Discrete space's start."""
    clipped = model_actions(action[None], space)[0]
    return (
        clipped.astype(space.dtype)
        if not isinstance(space, Discrete)
        else int(action + space.start)
    )


def rollout(
    env: Env[Any, Any], policy: Policy, num_steps: int, streams: Streams
) -> tuple[Batch, Array]:
    """num_steps transitions from a fresh reset, and the returns of the episodes that ended among them.

    The last row is marked truncated where sampling cuts an episode. Raises ValueError, naming the step, on
    an observation or reward that is not finite.
    """
    check_count("num_steps", num_steps)
    noise = policy.draw_noise(streams.policy, num_steps)
    observation = checked(
        env.reset(seed=int(streams.environment.integers(2**31)))[0], "observation", 0
    )
    rows, episode_return, episode_returns = [], 0.0, []
    for t in range(num_steps):
        action = policy.sample(observation[None], noise[t : t + 1])[0]
        following, reward, terminated, truncated, _ = env.step(
            environment_action(action, env.action_space)
        )
        next_observation, reward = (
            checked(following, "observation", t),
            float(checked(reward, "reward", t)),
        )
        cut = truncated or (t == num_steps - 1 and not terminated)
        rows.append((observation, action, reward, next_observation, terminated, cut))
        episode_return += reward
        observation = next_observation
        if terminated or truncated:
            episode_returns.append(episode_return)
            observation, episode_return = checked(env.reset()[0], "observation", t), 0.0
    columns = [onp.array(column) for column in zip(*rows)]
    return Batch(*columns), onp.array(episode_returns)


def curiosity(
    bonus: Bonus,
    batch: Batch,
    history: tuple[float, ...],
    rng: Generator,
    settings: AgentSettings,
) -> tuple[Array, Array, tuple[float, ...]]:
    """r̃ (N,), raw gains (N,), new history. A model that pays nothing yet leaves the history as it is."""
    gains = bonus.reward(batch, rng)
    normalized = gains
    if settings.normalize and gains.any():
        normalized, history = normalize_gains(gains, history)
    return curious_rewards(batch.rewards, normalized, settings.eta), gains, history


def improve(
    policy: Any,
    value: ValueFunction,
    batch: Batch,
    rewards: Array,
    settings: AgentSettings,
) -> tuple[Any, ValueFunction]:
    """One step of the policy on standardised advantages of r̃; V fitted to values + GAE(λ = 1) of r̃ or of r."""
    values, next_values = value(batch.observations), value(batch.next_observations)
    path = values, next_values, batch.terminated, batch.truncated
    fitted = rewards if settings.curious_values else batch.rewards
    advantages = gae_advantages(rewards, *path, gamma=settings.gamma, lam=settings.lam)
    returns = values + gae_advantages(fitted, *path, gamma=settings.gamma, lam=1.0)
    standardized = (
        (advantages - advantages.mean()) / scale
        if (scale := spread(advantages))
        else 0.0 * advantages
    )
    policy = settings.policy_step(
        policy, batch.observations, batch.actions, standardized
    )
    return policy, value_fit(value, batch.observations, returns)


def train(
    env: Env[Any, Any],
    policy: Any,
    bonus: Bonus,
    value: ValueFunction,
    streams: Streams,
    settings: AgentSettings,
    *,
    num_iterations: int,
    history: tuple[float, ...] = (),
) -> Iterator[Iteration]:
    """[Lecture] "Algorithm": interact, reward curiosity, train the agent, train the model, again and again."""
    check_count("num_iterations", num_iterations)
    for _ in range(num_iterations):
        batch, episode_returns = rollout(env, policy, settings.batch_steps, streams)
        rewards, gains, history = curiosity(
            bonus, batch, history, streams.model, settings
        )
        policy, value = improve(policy, value, batch, rewards, settings)
        bonus = bonus.update(batch, streams.replay)
        yield Iteration(policy, value, bonus, history, batch, gains, episode_returns)

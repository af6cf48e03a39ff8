"""Acting, and learning from curious rewards.

In order: policies, returns and advantages, the value function, REINFORCE and TRPO steps,
and `train`, the lecture's algorithm: interact; reward curiosity; train the agent; train
the model. `train` takes any bonus with `reward` and `update`.

Axes: T or N time steps, K observation dimensions, A action dimensions or number of
actions, D network weights, P parameters.

Sources: [Lecture] "Intrinsic motivation in RL", by slide title; [VIME] Houthooft et al.
2016, arXiv 1605.09674; [GAE] Schulman et al. 2015, arXiv 1506.02438; [TRPO] Schulman et
al. 2015, arXiv 1502.05477. A label such as A5 names the equation in docs/lecture.md.
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
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg

import bnn_ref as bnn
from bnn_ref import (
    Array,
    check_array,
    check_count,
    check_finite,
    check_not_negative,
    check_positive,
)
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

OUTPUT_SCALE = (
    0.01  # of a new policy's last layer, as in OpenAI baselines: no preference
)

# ------------------------------------------------------------ policies


def network(theta: Array, observations: Array, layer_sizes: tuple[int, ...]) -> Array:
    """Outputs (N, O) of one tanh network with weights (D,)."""
    one = theta[None]  # (1, D)
    return bnn.mlp(one, observations, layer_sizes, hidden=np.tanh)[0]  # (N, O)


def log_softmax(logits: Array) -> Array:
    """log softmax over the last axis, (..., A) -> (..., A)."""
    return logits - logsumexp(logits, axis=-1, keepdims=True)  # (..., A)


def sample_actions(log_probs: Array, noise: Array) -> NDArray[Any]:
    """The first action whose cumulative probability exceeds the noise, (N, A), (N,) -> (N,)."""
    cumulative = np.cumsum(np.exp(log_probs)[:, :-1], axis=-1)  # (N, A − 1)
    return np.sum(cumulative <= noise[:, None], axis=-1)  # (N,)


@dataclass(frozen=True, eq=False)
class GaussianPolicy:
    """N(a; network(s/observation_scale), e^{2 log_std}) over actions (A,).

    theta (P,): the weights (D,), then log_std (A,).
    """

    theta: Array  # (P,) = (D + A,)
    layer_sizes: tuple[int, ...]
    observation_scale: Any = 1.0  # or (K,)

    def mean_and_sigma(self, observations: Array) -> tuple[Array, Array]:
        num_actions = self.layer_sizes[-1]
        weights = self.theta[:-num_actions]
        log_std = self.theta[-num_actions:]
        scaled = observations / self.observation_scale
        return network(weights, scaled, self.layer_sizes), np.exp(log_std)

    def draw_noise(self, rng: Generator, num_rows: int) -> Array:
        return rng.standard_normal((num_rows, self.layer_sizes[-1]))

    def sample(self, observations: Array, noise: Array) -> Array:
        """mean + σ ⊙ noise, (N, A)."""
        mean, sigma = self.mean_and_sigma(observations)
        check_array("noise", noise, mean.shape)
        return mean + sigma * noise

    def log_prob(self, observations: Array, actions: Array) -> Array:
        """log π(a|s), (N,)."""
        mean, sigma = self.mean_and_sigma(observations)
        check_array("actions", actions, mean.shape)
        log_p = bnn.normal_log_density(actions, mean, sigma)  # (N, A)
        return np.sum(log_p, axis=-1)  # (N,)

    def entropy(self, observations: Array) -> Array:
        """½ log(2πe σ²), summed over action dimensions, (N,)."""
        _, sigma = self.mean_and_sigma(observations)
        constant = 0.5 * onp.log(2.0 * onp.pi * onp.e)
        return np.sum(constant + np.log(sigma)) * onp.ones(len(observations))  # (N,)

    def kl(self, new: GaussianPolicy, observations: Array) -> Array:
        """KL[old‖new], (N,)."""
        old_moments = self.mean_and_sigma(observations)
        return bnn.kl_diag_normal(*old_moments, *new.mean_and_sigma(observations))


@dataclass(frozen=True, eq=False)
class CategoricalPolicy:
    """softmax(network(s/observation_scale)) over A actions; theta (D,): the weights."""

    theta: Array  # (D,)
    layer_sizes: tuple[int, ...]
    observation_scale: Any = 1.0  # or (K,)

    def log_probs(self, observations: Array) -> Array:
        """log π(·|s), (N, A)."""
        scaled = observations / self.observation_scale
        logits = network(self.theta, scaled, self.layer_sizes)  # (N, A)
        return log_softmax(logits)  # (N, A)

    def draw_noise(self, rng: Generator, num_rows: int) -> Array:
        return rng.random(num_rows)

    def sample(self, observations: Array, noise: Array) -> Array:
        """The first action whose cumulative probability exceeds the noise, (N,)."""
        check_array("noise", noise, (len(observations),))
        return sample_actions(self.log_probs(observations), noise)  # (N,)

    def log_prob(self, observations: Array, actions: Array) -> Array:
        """log π(a|s), (N,)."""
        check_array("actions", actions, (len(observations),))
        check_indices("actions", actions, self.layer_sizes[-1])
        rows = onp.arange(len(actions))
        return self.log_probs(observations)[rows, actions.astype(int)]  # (N,)

    def entropy(self, observations: Array) -> Array:
        """−Σ_a π log π, (N,)."""
        log_p = self.log_probs(observations)
        return -np.sum(np.exp(log_p) * log_p, axis=-1)  # (N,)

    def kl(self, new: CategoricalPolicy, observations: Array) -> Array:
        """KL[old‖new], (N,)."""
        log_p = self.log_probs(observations)
        excess = log_p - new.log_probs(observations)  # (N, A)
        return np.sum(np.exp(log_p) * excess, axis=-1)  # (N,)


Policy = (
    GaussianPolicy | CategoricalPolicy
)  # or any with their methods and a flat theta


def network_init(layer_sizes: tuple[int, ...], rng: Generator) -> Array:
    """Weights (D,) as Glorot and Bengio 2010 draw them: U(±√(6/(I + O))), biases 0."""
    blocks = []
    for i, o in zip(layer_sizes, layer_sizes[1:]):
        bound = onp.sqrt(6.0 / (i + o))
        blocks.append(rng.uniform(-bound, bound, size=i * o))
        blocks.append(onp.zeros(o))
    return onp.concatenate(blocks)  # (D,)


def policy_init(
    observation_size: int,
    action_space: Space[Any],
    rng: Generator,
    hidden_sizes: tuple[int, ...] = (32,),
    observation_scale: Any = None,
) -> Policy:
    """A policy for the space: Gaussian, mean near 0 and σ = 1, or near uniform.

    observation_scale (K,), in units of the observations, is what the network sees as 1;
    ones if not given.
    """
    num_actions = action_size(action_space)
    sizes = (observation_size, *hidden_sizes, num_actions)

    # The scale of the observations.
    if observation_scale is None:
        observation_scale = onp.ones(observation_size)
    scale = onp.array(observation_scale, float)
    check_array("observation_scale", scale, (observation_size,))
    check_positive("observation_scale", scale)

    # The last layer starts small, so that the policy starts without a preference.
    weights = network_init(sizes, rng)
    num_last = bnn.num_weights(sizes[-2:])
    weights[-num_last:] *= OUTPUT_SCALE
    if isinstance(action_space, Discrete):
        return CategoricalPolicy(weights, sizes, scale)
    log_std = onp.zeros(num_actions)
    return GaussianPolicy(onp.concatenate([weights, log_std]), sizes, scale)  # (P,)


# ------------------------------------------------------------ returns and advantages


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
    returns = onp.zeros(len(rewards))
    following = last_value
    for t in reversed(range(len(rewards))):
        following = rewards[t] + gamma * following  # A5
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

    V(s_{t+1}), of the true next state, counts as 0 only if the episode terminated;
    the sum over t ends with the episode, however it ended. [GAE] section 3.
    """
    check_series(
        len(rewards),
        rewards=rewards,
        values=values,
        next_values=next_values,
        terminated=terminated,
        truncated=truncated,
    )
    check_fraction("gamma", gamma)
    check_fraction("lam", lam)

    # Backward in time: δ_t, and the discounted sum of all that follow.
    advantages = onp.zeros(len(rewards))
    following = 0.0
    for t in reversed(range(len(rewards))):
        ended = terminated[t] or truncated[t]
        delta = rewards[t] + gamma * next_values[t] * (not terminated[t]) - values[t]
        following = delta + gamma * lam * following * (not ended)  # A6
        advantages[t] = following
    return advantages


# ------------------------------------------------------------ the value function


@dataclass(frozen=True, eq=False)
class ValueFunction:
    """V(s) = center + scale·network((s − observation_center)/observation_scale).

    Constant while scale is 0.
    """

    theta: Array  # (D,)
    layer_sizes: tuple[int, ...]
    observation_center: Array  # (K,)
    observation_scale: Array  # (K,)
    center: float = 0.0
    scale: float = 0.0

    def __call__(self, observations: Array) -> Array:
        shape = (len(observations), self.layer_sizes[0])
        check_array("observations", observations, shape)
        inputs = (observations - self.observation_center) / self.observation_scale
        outputs = network(self.theta, inputs, self.layer_sizes)  # (N, 1)
        return self.center + self.scale * outputs[:, 0]  # (N,)


def value_init(
    observation_size: int, rng: Generator, hidden_sizes: tuple[int, ...] = (32,)
) -> ValueFunction:
    """V = 0 everywhere, until it is fitted."""
    sizes = (observation_size, *hidden_sizes, 1)
    theta = network_init(sizes, rng)
    center = onp.zeros(observation_size)
    return ValueFunction(theta, sizes, center, onp.ones(observation_size))


def value_fit(
    value: ValueFunction,
    observations: Array,
    returns: Array,
    *,
    max_iterations: int = 20,
) -> ValueFunction:
    """V fitted to returns (N,) by least squares: L-BFGS from the old weights."""
    check_array("returns", returns, (len(observations),))

    # Inputs and outputs in units of their spread.
    scale = spread(observations)
    new = replace(
        value,
        observation_center=observations.mean(axis=0),  # (K,)
        observation_scale=onp.where(scale > 0, scale, 1.0),
        center=float(returns.mean()),
        scale=float(spread(returns)),
    )
    if new.scale == 0.0:
        return new

    def loss(theta: Array) -> Array:
        errors = replace(new, theta=theta)(observations) - returns
        return np.mean((errors / new.scale) ** 2)

    result = minimize(
        value_and_grad(loss),
        new.theta,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations},
    )
    return replace(new, theta=result.x)


# ------------------------------------------------------------ policy steps


def policy_gradient_step(
    policy: Any,
    observations: Array,
    actions: Array,
    advantages: Array,
    *,
    learning_rate: float,
    entropy_weight: float,
) -> Any:
    """REINFORCE: θ + α∇[mean(A·log π(a|s)) + β·mean H(π(·|s))].

    [Lecture], entropy bonus.
    """
    check_positive("learning_rate", learning_rate)
    check_finite("entropy_weight", entropy_weight)
    check_array("advantages", advantages, (len(observations),))

    def objective(theta: Array) -> Array:
        new = replace(policy, theta=theta)
        log_prob = new.log_prob(observations, actions)
        entropy = np.mean(new.entropy(observations))
        return np.mean(advantages * log_prob) + entropy_weight * entropy  # A7

    uphill = grad(objective)(policy.theta)
    return replace(policy, theta=policy.theta + learning_rate * uphill)


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
    """The natural-gradient step to mean KL[old‖new] = max_kl, with backtracking.

    The step is halved until the surrogate rises and the KL, on all rows, is within
    max_kl; the policy itself if no step does. max_kl is the original code's, damping and
    iterations are rllab's, which it used. One row in fisher_every enters the curvature:
    fewer rows cost accuracy of direction and length, not the bound. [TRPO] appendix C.
    """
    check_array("advantages", advantages, (len(observations),))
    check_count("fisher_every", fisher_every)
    old_log_prob = policy.log_prob(observations, actions)

    def surrogate(theta: Array) -> Array:
        log_prob = replace(policy, theta=theta).log_prob(observations, actions)
        ratio = np.exp(log_prob - old_log_prob)
        return np.mean(ratio * advantages)

    def mean_kl(theta: Array, every: int = 1) -> Array:
        new = replace(policy, theta=theta)
        return np.mean(policy.kl(new, observations[::every]))

    # The natural-gradient step, halved until it is accepted.
    step = natural_step(
        policy.theta,
        grad(surrogate),
        lambda theta: mean_kl(theta, fisher_every),
        max_kl=max_kl,
        damping=damping,
        iterations=cg_iterations,
    )
    if not step.any():
        return policy
    for fraction in 0.5 ** onp.arange(backtracks):
        theta = policy.theta + fraction * step
        if surrogate(theta) > surrogate(policy.theta) and mean_kl(theta) <= max_kl:
            return replace(policy, theta=theta)
    return policy


def natural_step(
    theta: Array,
    surrogate_grad: Callable[[Array], Array],
    mean_kl: Callable[[Array], Array],
    *,
    max_kl: float,
    damping: float,
    iterations: int,
) -> Array:
    """√(2·max_kl/sᵀFs)·s with Fs = ∇surrogate, F = ∇²KL + damping, (P,).

    0 if the gradient is 0, or so small that sᵀFs underflows.
    """
    check_positive("max_kl", max_kl)
    check_positive("damping", damping)

    # s by conjugate gradient, with Fisher-vector products by autograd.
    gradient = surrogate_grad(theta)
    if not gradient.any():
        return gradient
    hessian_product, _ = make_hvp(mean_kl)(theta)
    fisher = LinearOperator(
        (len(theta), len(theta)),
        matvec=lambda v: hessian_product(v) + damping * v,
    )
    direction, _ = cg(fisher, gradient, rtol=1e-10, maxiter=iterations)

    # Its length.
    curvature = direction @ fisher.matvec(direction)
    if curvature < onp.finfo(float).tiny:
        return onp.zeros(len(theta))
    return onp.sqrt(2.0 * max_kl / curvature) * direction  # A8


# ------------------------------------------------------------ the algorithm


class Streams(NamedTuple):
    """One generator per purpose: what one consumes does not move the others."""

    environment: Generator
    policy: Generator
    model: Generator
    replay: Generator


@dataclass(frozen=True)
class AgentSettings:
    """Settings of `train`; numbers are the original code's, except SwimmerGather's."""

    eta: float = 1e-4  # weight of the normalized gain
    batch_steps: int = 5000
    gamma: float = 0.99
    lam: float = 1.0
    normalize: bool = True  # False for a bonus that is a ready reward, such as a count
    curious_values: bool = True  # False: V learns the task's rewards, not r̃
    policy_step: Callable[..., Any] = trpo_step

    def __post_init__(self) -> None:
        check_count("batch_steps", self.batch_steps)
        check_fraction("gamma", self.gamma)
        check_fraction("lam", self.lam)
        check_not_negative("eta", self.eta)


class Iteration(NamedTuple):
    """What `train` yields: the new state of all that learns, and what was seen."""

    policy: Any
    value: ValueFunction
    bonus: Bonus
    history: tuple[float, ...]  # of `normalize_gains`
    batch: Batch
    gains: Array  # (N,) raw, in nats for `Vime`
    episode_returns: Array  # of the episodes that ended in the batch


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
    """[Lecture] "Algorithm": its four lines, num_iterations times."""
    check_count("num_iterations", num_iterations)
    eta = settings.eta
    normalize = settings.normalize
    for _ in range(num_iterations):
        # Interact; reward curiosity; train the agent; train the model.
        batch, returns = rollout(env, policy, settings.batch_steps, streams)  # A1
        rewards, gains, history = curiosity(
            bonus, batch, history, streams.model, eta=eta, normalize=normalize
        )  # A2
        policy, value = improve(policy, value, batch, rewards, settings)  # A3
        bonus = bonus.update(batch, streams.replay)  # A4
        yield Iteration(policy, value, bonus, history, batch, gains, returns)


def rollout(
    env: Env[Any, Any], policy: Policy, num_steps: int, streams: Streams
) -> tuple[Batch, Array]:
    """num_steps transitions from a fresh reset, and the returns of ended episodes.

    The last row is marked truncated if sampling cuts its episode. Raises ValueError,
    naming the step, on an observation or reward that is not finite.
    """
    check_count("num_steps", num_steps)
    noise = policy.draw_noise(streams.policy, num_steps)
    seed = int(streams.environment.integers(2**31))
    observation = checked(env.reset(seed=seed)[0], "observation", 0)
    rows = []
    episode_return = 0.0
    episode_returns = []
    for t in range(num_steps):
        # Act.
        action = policy.sample(observation[None], noise[t : t + 1])[0]
        sent = environment_action(action, env.action_space)
        following, reward, terminated, truncated, _ = env.step(sent)
        next_observation = checked(following, "observation", t)
        reward = float(checked(reward, "reward", t))

        # Remember.
        cut = truncated or (t == num_steps - 1 and not terminated)
        row = (observation, action, reward, next_observation, terminated, cut)
        rows.append(row)
        episode_return += reward
        observation = next_observation

        # Start the next episode.
        if terminated or truncated:
            episode_returns.append(episode_return)
            episode_return = 0.0
            observation = checked(env.reset()[0], "observation", t)
    columns = [onp.array(column) for column in zip(*rows)]  # (N, ...) each
    return Batch(*columns), onp.array(episode_returns)


def environment_action(action: Array, space: Space[Any]) -> Any:
    """The action as the environment takes it: clipped to a Box, or shifted to start."""
    clipped = model_actions(action[None], space)[0]
    if isinstance(space, Discrete):
        return int(action + space.start)
    return clipped.astype(space.dtype)


def curiosity(
    bonus: Bonus,
    batch: Batch,
    history: tuple[float, ...],
    rng: Generator,
    *,
    eta: float,
    normalize: bool,
) -> tuple[Array, Array, tuple[float, ...]]:
    """r̃ (N,), raw gains (N,), new history; all-zero gains leave the history as it is."""
    gains = bonus.reward(batch, rng)
    normalized = gains
    if normalize and gains.any():
        normalized, history = normalize_gains(gains, history)
    return curious_rewards(batch.rewards, normalized, eta), gains, history


def improve(
    policy: Any,
    value: ValueFunction,
    batch: Batch,
    rewards: Array,
    settings: AgentSettings,
) -> tuple[Any, ValueFunction]:
    """One policy step on standardized advantages of r̃; V fitted to values + GAE(λ = 1).

    V's returns are those of r̃, or of r if `curious_values` is false.
    """
    gamma = settings.gamma
    values = value(batch.observations)
    path = (values, value(batch.next_observations), batch.terminated, batch.truncated)

    # Train the policy.
    advantages = gae_advantages(rewards, *path, gamma=gamma, lam=settings.lam)
    scale = spread(advantages)
    centered = advantages - advantages.mean()
    standardized = centered / scale if scale else 0.0 * advantages
    rows = (batch.observations, batch.actions)
    policy = settings.policy_step(policy, *rows, standardized)

    # Train the value function.
    fitted = rewards if settings.curious_values else batch.rewards
    returns = values + gae_advantages(fitted, *path, gamma=gamma, lam=1.0)
    return policy, value_fit(value, batch.observations, returns)


# ------------------------------------------------------------ argument checks


def check_fraction(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be from 0 to 1, got {value}")


def check_series(num_rows: int, **columns: Array) -> None:
    for name, column in columns.items():
        check_array(name, column, (num_rows,))


def checked(values: Any, name: str, step: int) -> Array:
    """A float64 copy, since environments may reuse arrays; ValueError unless finite."""
    array = onp.array(values, dtype=float)
    if not onp.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array} at step {step}")
    return array


# ------------------------------------------------------------ what `help` shows

__all__ = [
    "GaussianPolicy", "CategoricalPolicy", "Policy", "policy_init",
    "discounted_returns", "gae_advantages", "ValueFunction", "value_init", "value_fit",
    "policy_gradient_step", "trpo_step", "Streams", "AgentSettings", "Iteration",
    "rollout", "curiosity", "improve", "train",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

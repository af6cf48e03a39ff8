"""Acting, and learning from curious rewards.

In order: policies, returns and advantages, the value function, REINFORCE and TRPO steps,
and `train`, the lecture's algorithm: interact; reward curiosity; train the agent; train
the model. `train` takes any bonus with `reward` and `update`.

`vime-ref run` calls the twins in `fast_ref`, or with `--set plain=true` the functions
here: docs/reading.md, "Change the algorithm".

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
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import ndtr

import bnn_ref as bnn
from bnn_ref import (
    Array,
    check_array,
    check_count,
    check_finite,
    check_flag,
    check_flags,
    check_function,
    check_kind,
    check_not_negative,
    check_number,
    check_positive,
    set_fields,
)
from vime_ref import (
    Batch,
    Bonus,
    action_size,
    check_batch,
    check_hidden,
    check_indices,
    curious_rewards,
    model_actions,
    normalize_gains,
    spread,
)

# Of a new policy's last layer, as in OpenAI baselines: no preference.
OUTPUT_SCALE = 0.01
MAX_LOG_STD = 700.0  # σ and 1/σ are normal numbers up to here
# Share of N(0, 1) in the action space, below which a policy starts elsewhere.
MIN_HELD = 0.2

# ------------------------------------------------------------ policies


def network(theta: Array, observations: Array, layer_sizes: tuple[int, ...]) -> Array:
    """Outputs (N, O) of one tanh network with weights (D,)."""
    one = theta[None]  # (1, D)
    return bnn.mlp(one, observations, layer_sizes, hidden=bnn.tanh)[0]  # (N, O)


def log_softmax(logits: Array) -> Array:
    """log softmax over the last axis, (..., A) -> (..., A)."""
    logits = check_array("logits", logits)
    plain = bnn.value_of(logits)
    peak = onp.max(plain, axis=-1, keepdims=True)  # (..., 1)
    shifted = logits - peak  # no power overflows
    powers = np.exp(shifted)
    total = np.sum(powers, axis=-1, keepdims=True)  # (..., 1)
    return shifted - np.log(total)  # (..., A)


def sample_actions(log_probs: Array, noise: Array) -> NDArray[Any]:
    """The first action whose cumulative probability exceeds the noise, (N, A), (N,) -> (N,)."""
    cumulative = np.cumsum(np.exp(log_probs)[:, :-1], axis=-1)  # (N, A − 1)
    return np.sum(cumulative <= noise[:, None], axis=-1)  # (N,)


@dataclass(frozen=True, eq=False)
class GaussianPolicy:
    """N(a; m, σ²) over actions (A,), from a network and a vector log_std (A,).

    m = action_center + action_scale·network(s/observation_scale)
    σ = action_scale·e^{log_std}
    theta (P,): the weights (D,), then log_std (A,), from -700 to 700.
    """

    theta: Array  # (P,) = (D + A,)
    layer_sizes: tuple[int, ...]
    observation_scale: Any = 1.0  # or (K,)
    action_center: Any = 0.0  # or (A,)
    action_scale: Any = 1.0  # or (A,)

    def __post_init__(self) -> None:
        check_gaussian(self)

    def mean_and_log_sigma(self, observations: Array) -> tuple[Array, Array]:
        num_actions = self.layer_sizes[-1]
        weights = self.theta[:-num_actions]
        log_std = self.theta[-num_actions:]
        outputs = scaled_network(self, weights, observations)  # (N, A)
        mean = self.action_center + self.action_scale * outputs  # (N, A)
        return mean, log_std + onp.log(self.action_scale)

    def draw_noise(self, rng: Generator, num_rows: int) -> Array:
        check_draw(rng, num_rows)
        return rng.standard_normal((num_rows, self.layer_sizes[-1]))

    def sample(self, observations: Array, noise: Array) -> Array:
        """mean + σ ⊙ noise, (N, A)."""
        mean, log_sigma = self.mean_and_log_sigma(observations)
        noise = check_array("noise", noise, mean.shape)
        return check_finite("actions", mean + np.exp(log_sigma) * noise)

    def log_prob(self, observations: Array, actions: Array) -> Array:
        """log π(a|s), (N,)."""
        mean, log_sigma = self.mean_and_log_sigma(observations)
        actions = check_array("actions", actions, mean.shape)
        sigma = np.exp(log_sigma)
        log_p = bnn.normal_log_density(actions, mean, sigma)  # (N, A)
        return np.sum(log_p, axis=-1)  # (N,)

    def entropy(self, observations: Array) -> Array:
        """½ log(2πe σ²), summed over action dimensions, (N,)."""
        mean, log_sigma = self.mean_and_log_sigma(observations)
        constant = 0.5 * onp.log(2.0 * onp.pi * onp.e)
        return np.sum(constant + log_sigma) * onp.ones(len(mean))  # (N,)

    def kl(self, new: GaussianPolicy, observations: Array) -> Array:
        """KL[old‖new], (N,)."""
        check_kind("new", new, GaussianPolicy)
        mean, log_sigma = self.mean_and_log_sigma(observations)
        new_mean, new_log_sigma = new.mean_and_log_sigma(observations)
        sigma = np.exp(log_sigma)
        new_sigma = np.exp(new_log_sigma)
        return bnn.kl_diag_normal(mean, sigma, new_mean, new_sigma)


@dataclass(frozen=True, eq=False)
class CategoricalPolicy:
    """softmax(network(s/observation_scale)) over A actions; theta (D,): the weights."""

    theta: Array  # (D,)
    layer_sizes: tuple[int, ...]
    observation_scale: Any = 1.0  # or (K,)

    def __post_init__(self) -> None:
        check_policy(self)

    def log_probs(self, observations: Array) -> Array:
        """log π(·|s), (N, A)."""
        logits = scaled_network(self, self.theta, observations)  # (N, A)
        return log_softmax(logits)  # (N, A)

    def draw_noise(self, rng: Generator, num_rows: int) -> Array:
        check_draw(rng, num_rows)
        return rng.random(num_rows)

    def sample(self, observations: Array, noise: Array) -> Array:
        """The first action whose cumulative probability exceeds the noise, (N,)."""
        log_p = self.log_probs(observations)
        noise = check_array("noise", noise, (len(log_p),))
        check_uniform("noise", noise)
        return sample_actions(log_p, noise)  # (N,)

    def log_prob(self, observations: Array, actions: Array) -> Array:
        """log π(a|s), (N,)."""
        log_p = self.log_probs(observations)
        check_array("actions", actions, (len(log_p),))
        indices = check_indices("actions", actions, self.layer_sizes[-1])
        return log_p[onp.arange(len(indices)), indices]  # (N,)

    def entropy(self, observations: Array) -> Array:
        """−Σ_a π log π, (N,)."""
        log_p = self.log_probs(observations)
        return -np.sum(np.exp(log_p) * log_p, axis=-1)  # (N,)

    def kl(self, new: CategoricalPolicy, observations: Array) -> Array:
        """KL[old‖new], (N,)."""
        check_kind("new", new, CategoricalPolicy)
        log_p = self.log_probs(observations)
        excess = log_p - new.log_probs(observations)  # (N, A)
        return np.sum(np.exp(log_p) * excess, axis=-1)  # (N,)


def scaled_network(policy: Any, weights: Array, observations: Array) -> Array:
    """The network's outputs (N, O) for observations (N, K) in units of their scale."""
    observations = check_array(
        "observations", observations, (None, policy.layer_sizes[0])
    )
    scaled = observations / policy.observation_scale
    return network(weights, scaled, policy.layer_sizes)


# Or any with their methods and a flat theta.
Policy = GaussianPolicy | CategoricalPolicy


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
    """A policy for the space: near uniform, or Gaussian, mean near 0 and σ = 1.

    Center and half width of a Box replace 0 and 1 in dimensions that N(0, 1) misses.
    observation_scale (K,), in units of the observations, is what the network sees as 1.
    The default is ones: nothing estimates it. Observations far beyond it saturate the
    hidden units; such a policy still learns, by its output layer.
    """
    observation_size = check_count("observation_size", observation_size)
    num_actions = action_size(action_space)
    sizes = (observation_size, *check_hidden(hidden_sizes), num_actions)
    check_kind("rng", rng, Generator)

    # The scale of the observations.
    if observation_scale is None:
        observation_scale = onp.ones(observation_size)
    shape = (observation_size,)
    scale = check_positive("observation_scale", observation_scale, shape)

    # The last layer starts small, so that the policy starts without a preference.
    weights = network_init(sizes, rng)
    num_last = bnn.num_weights(sizes[-2:])
    weights[-num_last:] *= OUTPUT_SCALE
    if isinstance(action_space, Discrete):
        return CategoricalPolicy(weights, sizes, scale)
    theta = onp.concatenate([weights, onp.zeros(num_actions)])  # (P,)
    return GaussianPolicy(theta, sizes, scale, *center_and_half_width(action_space))


def center_and_half_width(space: Any) -> tuple[Array, Array]:
    """Of each dimension (A,) of a Box; 0 and 1 if it holds a fifth of N(0, 1) or more."""
    low = space.low.astype(float)
    high = space.high.astype(float)
    held = ndtr(high) - ndtr(low) >= MIN_HELD
    low = check_array("action_space.low", onp.where(held, -1.0, low))
    high = check_array("action_space.high", onp.where(held, 1.0, high))
    half_width = 0.5 * high - 0.5 * low
    return 0.5 * high + 0.5 * low, onp.where(low < high, half_width, 1.0)


# ------------------------------------------------------------ returns and advantages


def discounted_returns(
    rewards: Array, *, gamma: float, last_value: float = 0.0
) -> Array:
    """R_t = r_t + γ R_{t+1} of one segment, (T,); R_T = last_value.

    >>> discounted_returns(onp.array([0.0, 0.0, 1.0]), gamma=0.5)
    array([0.25, 0.5 , 1.  ])
    """
    rewards = check_array("rewards", rewards, (None,))
    last_value = check_number("last_value", last_value)
    check_fraction("gamma", gamma)
    returns = onp.zeros(len(rewards))
    following = last_value
    for t in reversed(range(len(rewards))):
        following = rewards[t] + gamma * following  # A5
        returns[t] = following
    return check_finite("returns", returns)


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
    rewards = check_array("rewards", rewards, (None,))
    values = check_array("values", values, rewards.shape)
    next_values = check_array("next_values", next_values, rewards.shape)
    terminated = check_flags("terminated", terminated, rewards.shape)
    truncated = check_flags("truncated", truncated, rewards.shape)
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
    return check_finite("advantages", advantages)


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

    def __post_init__(self) -> None:
        check_value(self)

    def __call__(self, observations: Array) -> Array:
        shape = (None, self.layer_sizes[0])
        observations = check_array("observations", observations, shape)
        centered = observations - self.observation_center
        inputs = centered / self.observation_scale
        outputs = network(self.theta, inputs, self.layer_sizes)  # (N, 1)
        values = self.center + self.scale * outputs[:, 0]  # (N,)
        return check_finite("values", values)


def value_init(
    observation_size: int, rng: Generator, hidden_sizes: tuple[int, ...] = (32,)
) -> ValueFunction:
    """V = 0 everywhere, until it is fitted."""
    observation_size = check_count("observation_size", observation_size)
    sizes = (observation_size, *check_hidden(hidden_sizes), 1)
    check_kind("rng", rng, Generator)
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
    """V fitted to returns (N,) by least squares: L-BFGS from the old weights.

    20 iterations are the default of rllab's L-BFGS.
    """
    max_iterations = check_count("max_iterations", max_iterations)
    new, observations, returns = in_units(value, observations, returns)
    if new.scale == 0.0:
        return new

    def loss(theta: Array) -> Array:
        errors = replace(new, theta=theta)(observations) - returns
        return np.mean((errors / new.scale) ** 2)

    # L-BFGS, from the old weights.
    result = minimize(
        value_and_grad(loss),
        new.theta,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations},
    )
    return replace(new, theta=result.x)


def in_units(
    value: ValueFunction, observations: Array, returns: Array
) -> tuple[ValueFunction, Array, Array]:
    """V with inputs and outputs in units of their spread; the rows (N, K) and (N,)."""
    check_kind("value", value, ValueFunction)
    shape = (None, value.layer_sizes[0])
    observations = check_array("observations", observations, shape)
    check_count("rows of observations", len(observations))
    returns = check_array("returns", returns, (len(observations),))

    # The units.
    scale = spread(observations)
    new = replace(
        value,
        observation_center=observations.mean(axis=0),  # (K,)
        observation_scale=onp.where(scale > 0, scale, 1.0),
        center=float(returns.mean()),
        scale=float(spread(returns)),
    )
    return new, observations, returns


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
    check_positive("learning_rate", learning_rate, ())
    check_number("entropy_weight", entropy_weight)
    advantages = check_policy_rows(policy, observations, advantages)

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
    shrink: float = 0.5,
) -> Any:
    """The natural-gradient step to mean KL[old‖new] = max_kl, with backtracking.

    The step shrinks until the surrogate rises and the KL, on all rows, is within max_kl;
    the policy itself if no step does. max_kl is the original code's, damping and
    iterations are rllab's, which it used. One row in fisher_every enters the curvature,
    which costs accuracy, not the bound. [TRPO] appendix C.
    """
    advantages = check_policy_rows(policy, observations, advantages)
    fisher_every = check_count("fisher_every", fisher_every)
    fractions = step_fractions(shrink, backtracks)  # (backtracks,)
    old_log_prob = policy.log_prob(observations, actions)

    def surrogate(theta: Array) -> Array:
        log_prob = replace(policy, theta=theta).log_prob(observations, actions)
        ratio = np.exp(log_prob - old_log_prob)
        return np.mean(ratio * advantages)

    def mean_kl(theta: Array, every: int = 1) -> Array:
        new = replace(policy, theta=theta)
        return np.mean(policy.kl(new, observations[::every]))

    # The natural-gradient step, shorter until it is accepted.
    curved = make_hvp(lambda theta: mean_kl(theta, fisher_every))
    step = natural_step(
        grad(surrogate)(policy.theta),
        curved(policy.theta)[0],
        max_kl=max_kl,
        damping=damping,
        iterations=cg_iterations,
    )
    for fraction in fractions:
        theta = policy.theta + fraction * step
        higher = surrogate(theta) > surrogate(policy.theta)
        if higher and mean_kl(theta) <= max_kl:
            return replace(policy, theta=theta)
    return policy


def step_fractions(shrink: float, backtracks: int) -> Array:
    """The parts of the step to try: 1, shrink, shrink², ..., (backtracks,)."""
    backtracks = check_count("backtracks", backtracks)
    shrink = check_fraction("shrink", shrink)
    return onp.power(shrink, onp.arange(backtracks, dtype=float))


def natural_step(
    gradient: Array,
    hessian_product: Callable[[Array], Array],
    *,
    max_kl: float,
    damping: float,
    iterations: int,
) -> Array:
    """√(2·max_kl/sᵀFs)·s with Fs = gradient, F = ∇²KL + damping, (P,).

    The gradient is the surrogate's; hessian_product(v) is (∇²KL) v. The step is 0 if the
    gradient is 0, or so small that sᵀFs underflows.
    """
    check_positive("max_kl", max_kl, ())
    check_positive("damping", damping, ())
    iterations = check_count("cg_iterations", iterations)

    # s by conjugate gradient.
    if not gradient.any():
        return gradient
    fisher = LinearOperator(
        (len(gradient), len(gradient)),
        matvec=lambda v: hessian_product(v) + damping * v,
    )
    direction, _ = cg(fisher, gradient, rtol=1e-10, maxiter=iterations)

    # Its length.
    curvature = direction @ fisher.matvec(direction)
    check_finite("curvature", curvature)
    if curvature < onp.finfo(float).tiny:
        return onp.zeros(len(gradient))
    return onp.sqrt(2.0 * max_kl / curvature) * direction  # A8


# ------------------------------------------------------------ sampling

Envs = VectorEnv[Any, Any, Any]


class Streams(NamedTuple):
    """One generator per purpose: what one consumes does not move the others."""

    environment: Generator
    policy: Generator
    model: Generator
    replay: Generator


def rollout(
    envs: Envs, policy: Any, num_steps: int, streams: Streams
) -> tuple[Batch, Array]:
    """Whole episodes, of num_steps transitions or more in all, and their returns.

    Rows are environment after environment. Each of n starts episodes until it has
    num_steps/n rows or more. An episode of num_steps is truncated.
    Raises ValueError, naming the step, on a number that is not finite.
    """
    n, num_steps = check_rollout(envs, policy, num_steps, streams)
    running = onp.ones(n, bool)  # where steps count
    lengths = onp.zeros(n)  # of episodes; −1 where the next step is a reset
    counts = onp.zeros(n)  # of rows
    rows = []
    steps = interaction(envs, policy, streams)
    while running.any():
        # Remember.
        *step, terminated, truncated = next(steps)
        took = running & (lengths >= 0)
        lengths = lengths + 1
        cut = truncated | (~terminated & (lengths == num_steps))
        rows.append((*step, terminated, cut, took))
        counts = counts + took

        # Start the next episodes.
        ended = terminated | cut
        lengths[ended] = -1
        running = running & (~ended | (n * counts < num_steps))
    return whole_paths(rows)


def interaction(envs: Envs, policy: Any, streams: Streams) -> Iterator[tuple[Any, ...]]:
    """Each step's s, a, r, s′, terminated and truncated, (n, ...) each, forever."""
    seed = int(streams.environment.integers(2**31))
    before = check_observations(envs.reset(seed=seed)[0], envs, 0)
    step = 0
    while True:
        # Act.
        noise = policy.draw_noise(streams.policy, len(before))
        actions = policy.sample(before, noise)
        sent = environment_actions(actions, envs.single_action_space)
        after, rewards, *ends, _ = envs.step(sent)

        # What followed, each of its kind.
        after = check_observations(after, envs, step)
        rewards = check_step_rewards(rewards, envs, step)
        yield before, actions, rewards, after, *check_ends(ends, envs)
        before = after
        step += 1


def whole_paths(rows: list[Any]) -> tuple[Batch, Array]:
    """The rows that count, environment after environment, and each path's return."""
    columns = [onp.array(each).swapaxes(0, 1) for each in zip(*rows)]  # (n, T, ...)
    took = columns.pop()
    batch = Batch(*(each[took] for each in columns))  # (N, ...)
    ended = onp.logical_or(batch.terminated, batch.truncated)
    ends = onp.flatnonzero(ended)
    starts = onp.append(0, ends[:-1] + 1)
    return batch, onp.add.reduceat(batch.rewards, starts)


def environment_actions(actions: Any, space: Space[Any]) -> Array:
    """The actions (n, ...) as environments take them, from the policy's."""
    if isinstance(space, Discrete):
        indices = check_indices("actions", actions, int(space.n))
        return indices + space.start
    return model_actions(actions, space).astype(space.dtype)


# ------------------------------------------------------------ the algorithm


def state_inputs(batch: Batch) -> tuple[Array, Array]:
    """V's inputs at each step's s and s′, (N, K) each: the observations."""
    return batch.observations, batch.next_observations


@dataclass(frozen=True)
class AgentSettings:
    """Settings of `train`; numbers are the original code's, except SwimmerGather's."""

    eta: float = 1e-4  # weight of the normalized gain
    batch_steps: int = 5000
    gamma: float = 0.99
    lam: float = 1.0
    normalize: bool = True  # False for a bonus that is a ready reward, such as a count
    curious_values: bool = True  # False: V learns the task's rewards, not r̃
    bootstrap: bool = True  # False: V counts as 0 wherever an episode ends
    value_inputs: Callable[[Batch], tuple[Array, Array]] = state_inputs
    rollout: Callable[..., tuple[Batch, Array]] = rollout
    policy_step: Callable[..., Any] = trpo_step
    value_step: Callable[..., Any] = value_fit

    def __post_init__(self) -> None:
        check_agent_settings(self)


class Iteration(NamedTuple):
    """One iteration of `train`: the new state of all that learns, and its data."""

    policy: Any
    value: ValueFunction
    bonus: Bonus
    history: tuple[float, ...]  # of `normalize_gains`
    batch: Batch
    gains: Array  # (N,) raw, in nats for `Vime`
    episode_returns: Array  # of the batch's episodes


def train(
    envs: Envs,
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
    num_iterations = check_count("num_iterations", num_iterations)
    check_kind("settings", settings, AgentSettings)
    check_kind("value", value, ValueFunction)
    eta = settings.eta
    steps = settings.batch_steps
    normalize = settings.normalize
    for _ in range(num_iterations):
        # Interact; reward curiosity; train the agent; train the model.
        batch, returns = settings.rollout(envs, policy, steps, streams)  # A1
        rewards, gains, history = curiosity(
            bonus, batch, history, streams.model, eta=eta, normalize=normalize
        )  # A2
        policy, value = improve(policy, value, batch, rewards, settings)  # A3
        bonus = bonus.update(batch, streams.replay)  # A4
        yield Iteration(policy, value, bonus, history, batch, gains, returns)


def curiosity(
    bonus: Bonus,
    batch: Batch,
    history: tuple[float, ...],
    rng: Generator,
    *,
    eta: float,
    normalize: bool,
) -> tuple[Array, Array, tuple[float, ...]]:
    """r̃ (N,), raw gains (N,), new history."""
    check_methods("bonus", bonus, "reward", "update")
    batch = check_batch(batch)
    gains = bonus.reward(batch, rng)
    gains = check_array("gains", gains, batch.rewards.shape)
    normalized = gains
    if check_flag("normalize", normalize):
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
    check_kind("settings", settings, AgentSettings)
    check_kind("value", value, ValueFunction)
    batch = check_batch(batch)
    rewards = check_array("rewards", rewards, batch.rewards.shape)
    gamma = settings.gamma

    # Values of s and s′, and where the episode has no more to give.
    inputs, next_inputs = settings.value_inputs(batch)
    values = value(inputs)
    next_values = value(next_inputs)
    ended = onp.logical_or(batch.terminated, batch.truncated)
    done = batch.terminated if settings.bootstrap else ended
    path = (values, next_values, done, batch.truncated)

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
    return policy, settings.value_step(value, inputs, returns)


# ------------------------------------------------------------ argument checks


def check_fraction(name: str, value: float) -> float:
    return check_number(name, value, 0.0, 1.0)


def check_each(name: str, values: Any, size: int) -> Array:
    """Finite numbers, () or (size,)."""
    array = check_array(name, values)
    return check_array(name, array, (size,) if array.ndim else ())


def check_network(state: Any, num_more: int = 0) -> tuple[int, ...]:
    """Convert layer_sizes and theta, which holds the weights and num_more numbers."""
    sizes = bnn.check_sizes(state.layer_sizes)
    size = bnn.num_weights(sizes) + num_more
    theta = check_array("theta", state.theta, (size,))
    set_fields(state, layer_sizes=sizes, theta=theta)
    return sizes


def check_policy(policy: Any, num_more: int = 0) -> tuple[int, ...]:
    """`check_network`, and the scale of the observations."""
    sizes = check_network(policy, num_more)
    name = "observation_scale"
    scale = check_each(name, policy.observation_scale, sizes[0])
    set_fields(policy, observation_scale=check_positive(name, scale))
    return sizes


def check_gaussian(policy: GaussianPolicy) -> None:
    """Convert the fields of the policy, and check all of them."""
    num_actions = bnn.check_sizes(policy.layer_sizes)[-1]
    check_policy(policy, num_actions)

    # What turns the network's outputs into actions.
    center = check_each("action_center", policy.action_center, num_actions)
    scale = check_each("action_scale", policy.action_scale, num_actions)
    check_positive("action_scale", scale)
    set_fields(policy, action_center=center, action_scale=scale)

    # σ and 1/σ must be normal numbers.
    log_std = bnn.value_of(policy.theta)[-num_actions:]
    log_sigma = log_std + onp.log(scale)
    if onp.max(onp.abs(log_sigma)) > MAX_LOG_STD:
        limits = f"from -{MAX_LOG_STD:g} to {MAX_LOG_STD:g}"
        raise ValueError(f"log_std in theta must be {limits}, got {log_std}")


def check_value(value: ValueFunction) -> None:
    """Convert the fields of the value function, and check all of them."""
    units = check_network(value)[:1]
    center = check_array("observation_center", value.observation_center, units)
    scale = check_positive("observation_scale", value.observation_scale, units)
    set_fields(
        value,
        observation_center=center,
        observation_scale=scale,
        center=check_number("center", value.center),
        scale=check_not_negative("scale", value.scale),
    )


def check_agent_settings(settings: AgentSettings) -> None:
    """Convert the numbers of the settings, and check all of them."""
    for name in ("rollout", "policy_step", "value_step", "value_inputs"):
        check_function(name, getattr(settings, name))
    set_fields(
        settings,
        eta=check_not_negative("eta", settings.eta),
        batch_steps=check_count("batch_steps", settings.batch_steps),
        gamma=check_fraction("gamma", settings.gamma),
        lam=check_fraction("lam", settings.lam),
        normalize=check_flag("normalize", settings.normalize),
        curious_values=check_flag("curious_values", settings.curious_values),
        bootstrap=check_flag("bootstrap", settings.bootstrap),
    )


def check_policy_rows(policy: Any, observations: Array, advantages: Array) -> Array:
    """Advantages (N,) for as many rows as there are observations."""
    check_methods("policy", policy, "log_prob")
    rows = check_array("observations", observations, (None, None))
    check_count("rows of observations", len(rows))
    return check_array("advantages", advantages, (len(rows),))


def check_methods(name: str, value: Any, *methods: str) -> None:
    for method in methods:
        if not callable(getattr(value, method, None)):
            got = type(value).__name__
            raise ValueError(f"{name} must have a method {method}, got {got}")


def check_streams(streams: Any) -> None:
    check_kind("streams", streams, Streams)
    for name, rng in streams._asdict().items():
        check_kind(f"streams.{name}", rng, Generator)


def check_draw(rng: Any, num_rows: Any) -> None:
    check_kind("rng", rng, Generator)
    check_count("num_rows", num_rows)


def check_uniform(name: str, noise: Array) -> None:
    if onp.any((noise < 0) | (noise >= 1)):
        got = f"{onp.min(noise)} to {onp.max(noise)}"
        raise ValueError(f"{name} must be in [0, 1), got {got}")


def check_rollout(
    envs: Any, policy: Any, num_steps: int, streams: Any
) -> tuple[int, int]:
    """The number of environments and of steps."""
    check_envs(envs)
    check_methods("policy", policy, "draw_noise", "sample")
    check_streams(streams)
    return int(envs.num_envs), check_count("num_steps", num_steps)


def check_envs(envs: Any) -> None:
    """Raise ValueError unless observations and actions can be taken as they are."""
    if not isinstance(envs, VectorEnv):
        got = type(envs).__name__
        wanted = "a VectorEnv of gymnasium.make_vec"
        raise ValueError(f"envs must be {wanted}, got {got}")
    space = envs.single_observation_space
    if not isinstance(space, Box) or len(space.shape) != 1:
        advice = "wrap them in gymnasium.wrappers.FlattenObservation"
        columns = "if some are one-hot, name them in one_hot of Vime"
        wanted = "observation space of envs must be a Box (K,)"
        raise ValueError(f"{wanted}, got {space}: {advice}, and {columns}")
    action_size(envs.single_action_space)

    # What the steps mean.
    mode = envs.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.NEXT_STEP:
        wanted = "autoreset_mode of envs must be NEXT_STEP"
        raise ValueError(f"{wanted}, got {mode}")

    # ClipAction would hide from the model what the environment does.
    outer = envs.single_action_space
    check_bounded(envs.unwrapped.single_action_space, outer)
    for each in getattr(envs.unwrapped, "envs", ()):
        check_bounded(each.unwrapped.action_space, outer)


def check_bounded(inner: Any, outer: Any) -> None:
    """Raise ValueError if actions have bounds that the outer space does not show."""
    boxes = isinstance(inner, Box) and isinstance(outer, Box)
    if boxes and inner.shape == outer.shape:
        below = inner.bounded_below & ~outer.bounded_below
        above = inner.bounded_above & ~outer.bounded_above
        if (below | above).any():
            advice = "leave out ClipAction, because actions are clipped here"
            wanted = f"action_space must be as bounded as {inner}"
            raise ValueError(f"{wanted}, got {outer}: {advice}")


def checked(values: Any, name: str, step: int) -> Array:
    """A float64 copy, since environments may reuse arrays; ValueError unless finite."""
    given = bnn.any_array(values)
    if given.dtype.kind not in "biuf":
        got = type(values).__name__
        raise ValueError(f"{name} must hold numbers, got {got} at step {step}")
    array = given.astype(float)
    if not onp.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array} at step {step}")
    return array


def check_observations(values: Any, envs: Envs, step: int) -> Array:
    """A float64 copy (n, K) of observations."""
    array = checked(values, "observation", step)
    shape = (envs.num_envs, *(envs.single_observation_space.shape or ()))
    bnn.check_shape("observations", array, shape)
    return array


def check_step_rewards(values: Any, envs: Envs, step: int) -> Array:
    """A float64 copy (n,) of rewards."""
    rewards = checked(values, "reward", step)
    bnn.check_shape("rewards", rewards, (envs.num_envs,))
    return rewards


def check_ends(ends: Any, envs: Envs) -> Iterator[Any]:
    """Terminated and truncated, (n,) each."""
    for name, values in zip(("terminated", "truncated"), ends):
        yield check_flags(name, values, (envs.num_envs,)).astype(bool)


# ------------------------------------------------------------ what `help` shows

__all__ = [
    "GaussianPolicy", "CategoricalPolicy", "Policy", "policy_init",
    "discounted_returns", "gae_advantages", "ValueFunction", "value_init", "value_fit",
    "policy_gradient_step", "trpo_step", "Streams", "AgentSettings", "Iteration",
    "rollout", "curiosity", "improve", "train",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

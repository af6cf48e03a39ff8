"""How much a transition taught the model of the world, and what that pays.

The gain of a transition is KL[q(θ; φ′) ‖ q(θ; φ)], φ′ being what φ becomes when the model takes the
transition in. This module knows transitions, but neither environment nor policy: it defines the step
φ → φ′, the gain in its exact and its Taylor form, the normalisation of gains, the replay pool, and `Vime`,
the bonus that holds them together.

Axes: N rows (transitions), S posterior samples, D weights; gains are in nats. `step_size` is λ.

Sources: [VIME] Houthooft et al. 2016, arXiv 1605.09674; [Lecture] "Intrinsic motivation in RL", by slide
title; the original code is openai/vime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, TypedDict, Unpack, get_args

import numpy as np
from autograd import grad
from gymnasium.spaces import Box, Discrete, Space
from numpy.random import Generator

import bnn_ref as bnn
from bnn_ref import (
    Array,
    DiagNormal,
    Noise,
    Sigma,
    Sizes,
    Zeta,
    check_array,
    check_count,
    check_finite,
    check_positive,
)

# ---------------------------------------------------------------- constants

CHUNK_ROWS = 512  # rows of a fast batch at a time, so that its arrays stay in the processor's cache

# ---------------------------------------------------------------- types

Method = Literal["taylor", "exact"]
METHODS = get_args(Method)


class Batch(NamedTuple):
    """Transitions in time order, episodes one after another; N rows.

    `actions` holds what the policy sampled; environment and model see it clipped to the action space.
    """

    observations: Array  # (N, K)
    actions: Array  # (N, A), or (N,) indices of a discrete space
    rewards: Array  # (N,)
    next_observations: Array  # (N, K), the true next ones, also where an episode ends
    terminated: Array  # (N,) bool: the episode ended in a terminal state
    truncated: Array  # (N,) bool: it was cut, by a time limit or by the end of sampling


class Bonus(Protocol):
    """Pays for exploring. `reward` changes nothing; `update` returns the bonus that has learned."""

    def reward(self, batch: Batch, rng: Generator) -> Array: ...  # (N,)

    def update(self, batch: Batch, rng: Generator) -> Bonus: ...


class ModelSettings(TypedDict):
    """The keywords of `transition_loss`."""

    layer_sizes: Sizes
    likelihood_sigma: Sigma


# ---------------------------------------------------------------- building blocks: one transition


def transition_loss(
    q: DiagNormal,
    q_old: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Noise,
    **settings: Unpack[ModelSettings],
) -> Array:
    """ℓ(φ) = KL[q(φ)‖q(φ_t)] − E_q log p(s′|s, a; θ) of one transition (1, I), (1, O): −ELBO with prior q(φ_t).

    [VIME] section 2.5: the posterior before the transition is the prior of the step.
    """
    if len(inputs) != 1:
        raise ValueError(f"inputs must be one transition, got {len(inputs)} rows")
    return -bnn.elbo(q, q_old, inputs, targets, eps, num_data=1, **settings)


def transition_loss_grad(
    q: DiagNormal,
    q_old: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Noise,
    **settings: Unpack[ModelSettings],
) -> tuple[Array, Array]:
    """∇ℓ at q, in μ and in ρ, each (D,), by autograd."""

    def loss(phi: tuple[Array, Array]) -> Array:
        return transition_loss(
            DiagNormal(*phi), q_old, inputs, targets, eps, **settings
        )

    grad_mu, grad_rho = grad(loss)((q.mu, q.rho))
    return grad_mu, grad_rho


def posterior_step(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Noise,
    *,
    step_size: float,
    **settings: Unpack[ModelSettings],
) -> DiagNormal:
    """φ′ = φ − λ H⁻¹∇ℓ from one transition, H the diagonal `kl_hessian_diag`. [VIME] section 2.5."""
    check_positive("step_size", step_size)
    grad_mu, grad_rho = transition_loss_grad(q, q, inputs, targets, eps, **settings)
    h_mu, h_rho = bnn.kl_hessian_diag(q)
    return DiagNormal(
        q.mu - step_size * grad_mu / h_mu, q.rho - step_size * grad_rho / h_rho
    )


def posterior_update(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Noise,
    *,
    num_steps: int,
    learning_rate: float,
    **settings: Unpack[ModelSettings],
) -> DiagNormal:
    """φ′ after num_steps plain gradient steps on ℓ from φ, the same noise in each, no state carried over."""
    check_count("num_steps", num_steps)
    check_positive("learning_rate", learning_rate)
    q_new = q
    for _ in range(num_steps):
        grad_mu, grad_rho = transition_loss_grad(
            q_new, q, inputs, targets, eps, **settings
        )
        q_new = DiagNormal(
            q_new.mu - learning_rate * grad_mu, q_new.rho - learning_rate * grad_rho
        )
    return q_new


transition_loss_local, posterior_step_local = (
    bnn.with_zeta(transition_loss),
    bnn.with_zeta(posterior_step),
)
posterior_update_local = bnn.with_zeta(posterior_update)

# ---------------------------------------------------------------- building blocks: the gain


def information_gain(q_new: DiagNormal, q_old: DiagNormal) -> float:
    """KL[q_new‖q_old] in nats, exact to 1e-12 relative however small the step from one to the other.

    [Lecture], mutual information as expected KL; [VIME] section 2.3.
    """
    check_array("q_new.mu", q_new.mu, q_old.mu.shape)
    sigma_move = bnn.softplus_difference(q_new.rho, q_old.rho) / q_old.sigma
    return float(
        bnn.kl_from_moves(
            (q_new.mu - q_old.mu) / q_old.sigma, sigma_move, q_new.sigma / q_old.sigma
        )
    )


def information_gain_taylor(
    q: DiagNormal, grad_mu: Array, grad_rho: Array, *, step_size: float
) -> float:
    """½ λ² ∇ℓᵀ H⁻¹ ∇ℓ in nats from ∇ℓ (D,) at q: `kl_taylor` of the step −λH⁻¹∇ℓ.

    [VIME] section 2.5. The original code leaves out the ½, which its division by the median hides.
    """
    check_array("grad_mu", grad_mu, q.mu.shape)
    check_array("grad_rho", grad_rho, q.mu.shape)
    check_positive("step_size", step_size)
    h_mu, h_rho = bnn.kl_hessian_diag(q)
    return float(0.5 * step_size**2 * np.sum(grad_mu**2 / h_mu + grad_rho**2 / h_rho))


# ---------------------------------------------------------------- building blocks: what a gain pays


def normalize_gains(
    gains: Array,
    history: Sequence[float],
    *,
    window: int = 10,
    statistic: Literal["median", "mean"] = "median",
    include_current: bool = True,
) -> tuple[Array, tuple[float, ...]]:
    """Gains (N,) over the mean of the last `window` batches' medians, and the history with this batch's.

    The defaults are the original code's: 10 medians, this batch's included. A zero divisor, or an empty
    history without this batch, divides by 1. Raises ValueError on a gain that is not finite.
    [VIME] section 2.5; [Lecture] divides by the "running average over past iterations".
    """
    gains = np.asarray(gains, dtype=float)
    check_finite("gains", gains)
    check_finite("history", np.asarray(history))
    check_count("window", window)
    bnn.check_choice("statistic", statistic, ("median", "mean"))
    if len(gains) == 0:
        raise ValueError("gains must have at least 1 row, got 0")
    current = float(np.median(gains) if statistic == "median" else np.mean(gains))
    new_history = (*history, current)[-window:]
    used = new_history if include_current else tuple(history)[-window:]
    divisor = float(np.mean(used)) if used else 0.0
    return gains / (divisor if divisor != 0.0 else 1.0), new_history


def curious_rewards(rewards: Array, gains: Array, eta: float) -> Array:
    """r̃ = r + η·gain, (T,). [Lecture], reward augmentation; [VIME] section 2.2.

    >>> curious_rewards(np.array([0.0, 1.0]), np.array([2.0, 4.0]), 0.5)
    array([1., 3.])
    """
    rewards, gains = np.asarray(rewards, dtype=float), np.asarray(gains, dtype=float)
    check_finite("rewards", rewards)
    check_array("gains", gains, rewards.shape)
    if not (np.isfinite(eta) and eta >= 0):
        raise ValueError(f"eta must be >= 0 and finite, got {eta}")
    return rewards + eta * gains


# ---------------------------------------------------------------- building blocks: actions and replay


def check_indices(name: str, indices: Array, count: int) -> None:
    if np.any((indices < 0) | (indices >= count) | (indices != np.floor(indices))):
        raise ValueError(
            f"{name} must be indices below {count}, got {np.min(indices)} to {np.max(indices)}"
        )


def model_actions(actions: Array, space: Space[Any]) -> Array:
    """Actions as the model sees them, (N, A): clipped to a Box, or one-hot of a Discrete space."""
    if isinstance(space, Discrete):
        check_array("actions", actions, (len(actions),))
        check_indices("actions", actions, int(space.n))
        return np.eye(int(space.n))[actions.astype(int)]
    if isinstance(space, Box) and len(space.shape) == 1:
        check_array("actions", actions, (len(actions), *space.shape))
        return np.clip(actions, space.low, space.high).astype(float)
    raise ValueError(
        f"action_space must be Discrete or a Box of shape (A,), got {space}"
    )


def action_size(space: Space[Any]) -> int:
    """A: the columns of `model_actions`."""
    return model_actions(np.zeros((0, *(space.shape or ()))), space).shape[1]


@dataclass(frozen=True, eq=False)
class ReplayPool:
    """The last `capacity` transitions, each with its own next observation: no row pairs two episodes."""

    capacity: int
    observations: Array  # (n, K)
    actions: Array  # (n, A) as the model sees them
    next_observations: Array  # (n, K)

    def __post_init__(self) -> None:
        check_count("capacity", self.capacity)

    def __len__(self) -> int:
        return len(self.observations)

    def extend(
        self, observations: Array, actions: Array, next_observations: Array
    ) -> ReplayPool:
        """The pool with these rows behind its own; the oldest beyond the capacity are dropped."""
        rows = observations, actions, next_observations
        old = self.observations, self.actions, self.next_observations
        if len({len(values) for values in rows}) > 1:
            raise ValueError(
                f"replay rows must be as many in each array, got {[len(v) for v in rows]}"
            )
        joined = [
            np.concatenate([before, after])[-self.capacity :]
            for before, after in zip(old, rows)
        ]
        return ReplayPool(self.capacity, *joined)


# ---------------------------------------------------------------- the algorithm: gains of a batch


def noise_of_rows(noise: Noise, rows: slice) -> Noise:
    """The noise that the rows see: eps (S, D) is shared by all of them, zeta (S, N, O) is each row's own."""
    return noise if isinstance(noise, np.ndarray) else [zeta[:, rows] for zeta in noise]


def information_gains_by_row(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Noise,
    *,
    step_size: float,
    method: Method = "taylor",
    **settings: Unpack[ModelSettings],
) -> Array:
    """The definition of `information_gains`, (N,) in nats: one autograd gradient a row, each from the same q."""

    def gain(inputs: Array, targets: Array, noise: Noise) -> float:
        if method == "exact":
            return information_gain(
                posterior_step(
                    q, inputs, targets, noise, step_size=step_size, **settings
                ),
                q,
            )
        gradient = transition_loss_grad(q, q, inputs, targets, noise, **settings)
        return information_gain_taylor(q, *gradient, step_size=step_size)

    bnn.check_choice("method", method, METHODS)
    rows = [slice(n, n + 1) for n in range(len(inputs))]
    return np.array(
        [gain(inputs[row], targets[row], noise_of_rows(eps, row)) for row in rows]
    )


def pair_sum(x: Array, metric: Array, y: Array, s: int) -> Array:
    """Σ_{t ≥ s} (x_s⊙x_t)ᵀ M_t (y_s⊙y_t) of each row, (N,), with the pairs t > s counted twice."""
    times = np.where(np.arange(s, len(x)) > s, 2.0, 1.0)[:, None, None]
    return np.einsum("tno,tno->n", (x[s] * x[s:]) @ metric, times * y[s] * y[s:])


def taylor_sampled(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
) -> Array:
    """gᵀH⁻¹g of each row, (N,): Σ_layers Σ_{s,t} (a_s⊙a_t)ᵀ [σ²⊙(1 + ½ ε_s⊙ε_t)] (δ_s⊙δ_t).

    A layer's gradient in one row is the outer product a ⊗ δ of `backward_sampled`; so no row needs one of its own.
    """
    a, delta = bnn.backward_sampled(
        q, inputs, targets, eps, layer_sizes, likelihood_sigma
    )
    noise, variances = (
        bnn.layer_blocks(eps, layer_sizes),
        bnn.layer_blocks(q.sigma**2, layer_sizes),
    )  # (.., I + 1, O)
    total = np.zeros(len(inputs))
    for layer in range(1, len(a)):
        for s in range(len(eps)):
            metric = variances[layer] * (
                1.0 + 0.5 * noise[layer][s] * noise[layer][s:]
            )  # (S − s, I + 1, O)
            total += pair_sum(a[layer], metric, delta[layer], s)
    # All samples see the same inputs, which makes the first layer's double sum over s and t a square.
    square = a[0][0] ** 2  # (N, I + 1)
    noisy = delta[0].transpose(2, 1, 0) @ noise[0].transpose(
        2, 0, 1
    )  # Σ_s δ_s ε_s, (O, N, I + 1)
    total += np.sum((square @ variances[0]) * np.sum(delta[0], axis=0) ** 2, axis=-1)
    return total + 0.5 * np.sum(
        square * np.einsum("oni,io->ni", noisy**2, variances[0]), axis=-1
    )


def taylor_local(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
) -> Array:
    """gᵀH⁻¹g of each row, (N,): Σ_layers Σ_{s,t} (a_s⊙a_t)ᵀσ²(δ_s⊙δ_t) + ½ (a_s²⊙a_t²)ᵀσ⁴(κ_s⊙κ_t).

    a, δ and κ are those of `backward_local`.
    """
    a, delta, kappa = bnn.backward_local(
        q, inputs, targets, zeta, layer_sizes, likelihood_sigma
    )
    variances = bnn.layer_blocks(q.sigma**2, layer_sizes)
    total = np.zeros(len(inputs))
    for layer, variance in enumerate(variances):
        for s in range(len(zeta[0])):
            total += pair_sum(a[layer], variance, delta[layer], s)
            total += 0.5 * pair_sum(a[layer] ** 2, variance**2, kappa[layer], s)
    return total


def information_gains(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Noise,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Method = "taylor",
) -> Array:
    """Gains (N,) in nats of N transitions, each from the same q; inputs (N, I), targets (N, O), eps (S, D).

    "exact" is `information_gain(posterior_step(row), q)`; "taylor" is its second-order form, computed for
    many rows at once. With S samples it is biased upward by ½λ² tr(H⁻¹ Cov ĝ), ĝ the S-sample gradient.
    """
    bnn.check_choice("method", method, METHODS)
    bnn.check_rows(inputs, targets)
    check_positive("step_size", step_size)
    bnn.check_likelihood_sigma(likelihood_sigma, layer_sizes[-1])
    check_array("inputs", inputs, (len(inputs), layer_sizes[0]))
    check_array("targets", targets, (len(inputs), layer_sizes[-1]))
    if not isinstance(eps, np.ndarray):
        bnn.check_zeta(eps, len(inputs), layer_sizes)
    model: ModelSettings = {
        "layer_sizes": layer_sizes,
        "likelihood_sigma": likelihood_sigma,
    }
    if method == "exact":
        return information_gains_by_row(
            q, inputs, targets, eps, step_size=step_size, method=method, **model
        )
    chunks = [
        slice(start, start + CHUNK_ROWS) for start in range(0, len(inputs), CHUNK_ROWS)
    ]
    taylor: Any = taylor_sampled if isinstance(eps, np.ndarray) else taylor_local
    sums = [
        taylor(q, inputs[rows], targets[rows], noise_of_rows(eps, rows), **model)
        for rows in chunks
    ]
    gains = 0.5 * step_size**2 * np.concatenate(sums)
    check_finite("gains", gains)
    return gains


information_gains_local = bnn.with_zeta(information_gains)

# ---------------------------------------------------------------- the algorithm: bonuses


@dataclass(frozen=True)
class NoBonus:
    """The plain agent: every transition pays 0."""

    def reward(self, batch: Batch, rng: Generator) -> Array:
        return np.zeros(len(batch.rewards))

    def update(self, batch: Batch, rng: Generator) -> NoBonus:
        return self


@dataclass(frozen=True)
class VimeSettings:
    """Settings of `Vime`; defaults are the original code's, where a line does not say otherwise."""

    hidden_sizes: tuple[int, ...] = (32,)
    likelihood_sigma: float = 5.0  # in units of the normalised observation
    prior_sigma: float = 0.5  # of weights and biases, and of the posterior at the start
    num_data: float | None = (
        50.0  # its KL/5 per minibatch of 10; None: the number of rows in the pool
    )
    step_size: float = 0.01  # λ of the gain
    method: Method = "taylor"
    gradient: bnn.Gradient = "autograd"  # of `fit`, or "closed_form"
    local: bool = False  # noise per weight; the original has noise per unit, one draw for all rows
    num_samples: int = 10
    num_updates: int = 500  # Adam steps an `update`
    batch_size: int = 10
    learning_rate: float = 1e-3
    capacity: int = 100_000  # rows of the replay pool
    min_rows: int = 500  # in the pool, before the model trains and gains are paid

    def __post_init__(self) -> None:
        check_count("num_updates", self.num_updates, minimum=0)
        for name in ("num_samples", "batch_size", "capacity", "min_rows"):
            check_count(name, getattr(self, name))
        for name in ("likelihood_sigma", "prior_sigma", "step_size", "learning_rate"):
            check_positive(name, getattr(self, name))
        check_positive("num_data", 1.0 if self.num_data is None else self.num_data)
        bnn.check_choice("method", self.method, METHODS)
        bnn.check_choice("gradient", self.gradient, tuple(bnn.GRADIENTS))
        if self.min_rows > self.capacity:
            raise ValueError(
                f"min_rows must be <= capacity, got {self.min_rows} > {self.capacity}"
            )


def spread(rows: Array) -> Array:
    """Standard deviation over the rows, exactly 0 where they never vary (a mean of equals can be off by rounding)."""
    return np.where(np.ptp(rows, axis=0) > 0, rows.std(axis=0), 0.0)


def pool_statistics(pool: ReplayPool, action_space: Space[Any]) -> tuple[Array, Array]:
    """Mean and standard deviation (K + A,) of observations and actions; 0 and 1 for one-hot actions.

    A dimension that never varied is divided by 1.
    """
    rows = np.concatenate([pool.observations, pool.actions], axis=1)
    center, scale = rows.mean(axis=0), spread(rows)
    scale[scale == 0.0] = 1.0
    if isinstance(action_space, Discrete):
        num_observed = pool.observations.shape[1]
        center[num_observed:], scale[num_observed:] = 0.0, 1.0
    return center, scale


@dataclass(frozen=True, eq=False)
class Vime:
    """VIME as a bonus: a Bayesian network that predicts s′ from (s, a), and what each transition teaches it.

    `reward` gives raw gains in nats and never trains; it is 0 until the pool holds `min_rows`. `update`
    takes the batch into the pool, refreshes the statistics and fits. Inputs and targets are normalised by
    the pool's mean and standard deviation; one-hot actions are not. [VIME] section 2.5; [Lecture] "Algorithm".
    """

    settings: VimeSettings
    action_space: Space[Any]
    q: DiagNormal
    prior: DiagNormal
    adam: bnn.AdamState
    pool: ReplayPool
    center: Array  # (K + A,)
    scale: Array  # (K + A,)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        num_observed = self.pool.observations.shape[1]
        return (len(self.center), *self.settings.hidden_sizes, num_observed)

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Raw gains (N,) in nats."""
        rows = self.model_rows(batch)
        if len(self.pool) < self.settings.min_rows:
            return np.zeros(len(batch.rewards))
        inputs, targets = self.normalized(*rows)
        s = self.settings
        noise = bnn.sample_noise(
            rng, s.num_samples, len(inputs), self.layer_sizes, local=s.local
        )
        return information_gains(
            self.q, inputs, targets, noise,
            layer_sizes=self.layer_sizes, likelihood_sigma=s.likelihood_sigma,
            step_size=s.step_size, method=s.method,
        )  # fmt: skip

    def update(self, batch: Batch, rng: Generator) -> Vime:
        """Vime with the batch in its pool and, from `min_rows` on, fitted by `num_updates` steps."""
        pool = self.pool.extend(*self.model_rows(batch))
        center, scale = pool_statistics(pool, self.action_space)
        new = replace(self, pool=pool, center=center, scale=scale)
        return new.fitted(rng) if len(pool) >= self.settings.min_rows else new

    def fitted(self, rng: Generator) -> Vime:
        inputs, targets = self.normalized(
            self.pool.observations, self.pool.actions, self.pool.next_observations
        )
        s = self.settings
        q, adam = bnn.fit(
            self.q, self.prior, inputs, targets, rng,
            layer_sizes=self.layer_sizes, likelihood_sigma=s.likelihood_sigma,
            num_data=len(inputs) if s.num_data is None else s.num_data,
            num_updates=s.num_updates, batch_size=s.batch_size, num_samples=s.num_samples,
            learning_rate=s.learning_rate, local=s.local, gradient=s.gradient, adam=self.adam,
        )  # fmt: skip
        return replace(self, q=q, adam=adam)

    def model_rows(self, batch: Batch) -> tuple[Array, Array, Array]:
        """Observations, actions as the model sees them, next observations; ValueError where not finite."""
        shape = len(batch.rewards), self.pool.observations.shape[1]
        check_array("observations", batch.observations, shape)
        check_array("next_observations", batch.next_observations, shape)
        return (
            batch.observations,
            model_actions(batch.actions, self.action_space),
            batch.next_observations,
        )

    def normalized(
        self, observations: Array, actions: Array, next_observations: Array
    ) -> tuple[Array, Array]:
        """The model's inputs (N, K + A) and targets (N, K)."""
        num_observed = observations.shape[1]
        inputs = (
            np.concatenate([observations, actions], axis=1) - self.center
        ) / self.scale
        return inputs, (next_observations - self.center[:num_observed]) / self.scale[
            :num_observed
        ]


def vime_init(
    observation_size: int,
    action_space: Space[Any],
    rng: Generator,
    settings: VimeSettings | None = None,
) -> Vime:
    """Vime with an empty pool: prior N(0, prior_sigma²), μ ~ N(0, 1) as in the original code."""
    settings = settings or VimeSettings()
    sizes = (
        observation_size + action_size(action_space),
        *settings.hidden_sizes,
        observation_size,
    )
    mu = rng.standard_normal(bnn.num_weights(sizes))
    rho = bnn.softplus_inverse(np.full(len(mu), settings.prior_sigma))
    pool = ReplayPool(
        settings.capacity,
        np.zeros((0, observation_size)),
        np.zeros((0, action_size(action_space))),
        np.zeros((0, observation_size)),
    )
    return Vime(
        settings,
        action_space,
        DiagNormal(mu, rho),
        DiagNormal(np.zeros(len(mu)), rho),
        bnn.adam_init(2 * len(mu)),
        pool,
        np.zeros(sizes[0]),
        np.ones(sizes[0]),
    )

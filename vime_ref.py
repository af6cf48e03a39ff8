"""How much a transition taught the model of the world, and the reward for it.

    transition_loss, posterior_step, posterior_update          φ → φ′
    information_gain, information_gain_taylor                  the gain of one step
    information_gains                                          the gains of a batch
    normalize_gains, curious_rewards                           r̃ = r + η·gain
    Batch, ReplayPool, Bonus, NoBonus, Vime, vime_init         the bonus

The gain of a transition is KL[q(θ; φ′) ‖ q(θ; φ)], where φ′ is φ after the model has
taken the transition in. This module knows transitions, but neither environment nor
policy. Argument checks stand last.

`vime-ref run` calls the twins in `fast_ref`, or with `--set plain=true` the functions
here: docs/reading.md, "Change the algorithm".

Axes: N rows (transitions), S posterior samples, D weights, K observation dimensions.
Gains are in nats. `step_size` is λ, `eta` is η.

Sources: [VIME] Houthooft et al. 2016, arXiv 1605.09674; [Lecture] "Intrinsic motivation
in RL", by slide title; the original code is openai/vime. A label such as V5 names the
equation in docs/lecture.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol, TypedDict, Unpack, get_args

import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from numpy.random import Generator
from numpy.typing import NDArray

import bnn_ref as bnn
from bnn_ref import (
    Array,
    DiagNormal,
    Sigma,
    Sizes,
    Zeta,
    check_array,
    check_count,
    check_finite,
    check_not_negative,
    check_positive,
)

Method = Literal["taylor", "exact"]
METHODS = get_args(Method)
COLUMNS = ("observations", "actions", "next_observations")  # of the replay pool
ROUNDING = 1e-12  # of the largest number: a smaller spread is rounding
GATHERED = 50  # steps whose rows `Vime.fitted` gathers at once


class ModelSettings(TypedDict):
    """The keywords of `transition_loss`."""

    layer_sizes: Sizes
    likelihood_sigma: Sigma


class UpdateSettings(ModelSettings):
    """The keywords of `posterior_update`."""

    num_steps: int
    learning_rate: float


Loss = Callable[..., Array]  # `transition_loss` or `transition_loss_local`

# ------------------------------------------------------------ what a transition changes


def transition_loss(
    q: DiagNormal,
    q_old: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    **settings: Unpack[ModelSettings],
) -> Array:
    """ℓ(φ) = KL[q(φ)‖q(φ_t)] − E_q log p(s′ | s, a; θ) of one transition (1, I), (1, O).

    The posterior before the transition is the prior of the step. [VIME] section 2.5.
    """
    check_transition(inputs)
    bnn.check_posterior("q", q)
    bnn.check_prior(q_old, q, "q_old")
    return -bnn.elbo(q, q_old, inputs, targets, eps, num_data=1, **settings)  # V1


def transition_loss_local(
    q: DiagNormal,
    q_old: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    **settings: Unpack[ModelSettings],
) -> Array:
    """`transition_loss` under local reparameterization: zeta, one (S, 1, O) per layer."""
    check_transition(inputs)
    bnn.check_posterior("q", q)
    bnn.check_prior(q_old, q, "q_old")
    return -bnn.elbo_local(q, q_old, inputs, targets, zeta, num_data=1, **settings)


def transition_loss_grad(
    q: DiagNormal,
    q_old: DiagNormal,
    inputs: Array,
    targets: Array,
    noise: Any,
    *,
    loss: Loss = transition_loss,
    **settings: Unpack[ModelSettings],
) -> tuple[Array, Array]:
    """∇ℓ at q, in μ and in ρ, each (D,), by autograd.

    `loss` takes the noise: `transition_loss` eps, `transition_loss_local` zeta.
    """
    bnn.check_function("loss", loss)
    data = (inputs, targets, noise)
    return bnn.gradient_at(q, lambda q: loss(q, q_old, *data, **settings))


def posterior_step(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    *,
    step_size: float,
    **settings: Unpack[ModelSettings],
) -> DiagNormal:
    """φ′ = φ − λ H⁻¹∇ℓ after one transition. [VIME] section 2.5.

    H is the diagonal `bnn_ref.kl_hessian_diag`; at φ the KL's own gradient is 0.
    """
    gradient = transition_loss_grad(q, q, inputs, targets, eps, **settings)
    return newton_step(q, *gradient, step_size)


def posterior_step_local(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    *,
    step_size: float,
    **settings: Unpack[ModelSettings],
) -> DiagNormal:
    """`posterior_step` under local reparameterization."""
    loss = transition_loss_local
    gradient = transition_loss_grad(q, q, inputs, targets, zeta, loss=loss, **settings)
    return newton_step(q, *gradient, step_size)


def newton_step(
    q: DiagNormal, grad_mu: Array, grad_rho: Array, step_size: float
) -> DiagNormal:
    """φ − λ H⁻¹∇ℓ, from ∇ℓ (D,) at q.

    Derivation: docs/derivations.md, 4.
    """
    lam = check_positive("step_size", step_size, ())
    h_mu, h_rho = bnn.kl_hessian_diag(q)
    mu = q.mu - lam * grad_mu / h_mu
    rho = q.rho - lam * grad_rho / h_rho  # V2
    return DiagNormal(mu, rho)


def posterior_update(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    **settings: Unpack[UpdateSettings],
) -> DiagNormal:
    """φ′ after num_steps plain gradient steps on ℓ from φ, with the same noise in each.

    No optimizer state is carried over.
    """
    return descended(transition_loss, q, (inputs, targets, eps), **settings)


def posterior_update_local(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    **settings: Unpack[UpdateSettings],
) -> DiagNormal:
    """`posterior_update` under local reparameterization."""
    return descended(transition_loss_local, q, (inputs, targets, zeta), **settings)


def descended(
    loss: Loss,
    q: DiagNormal,
    data: tuple[Array, Array, Any],
    *,
    num_steps: int,
    learning_rate: float,
    **settings: Unpack[ModelSettings],
) -> DiagNormal:
    """φ ← φ − α∇ℓ(φ), num_steps times from q."""
    num_steps = check_count("num_steps", num_steps)
    check_positive("learning_rate", learning_rate, ())
    new = q
    for _ in range(num_steps):
        gradient = transition_loss_grad(new, q, *data, loss=loss, **settings)
        grad_mu, grad_rho = gradient
        mu = new.mu - learning_rate * grad_mu
        rho = new.rho - learning_rate * grad_rho  # V3
        new = DiagNormal(mu, rho)
    return new


# ------------------------------------------------------------ the gain


def information_gain(q_new: DiagNormal, q_old: DiagNormal) -> float:
    """KL[q_new‖q_old] in nats, new first.

    Relative error ≤ 1e-12 however small the step from one to the other. [VIME] section
    2.3; [Lecture], mutual information as expected KL.
    Derivation: docs/derivations.md, 1.
    """
    bnn.check_posterior("q_new", q_new)
    bnn.check_posterior("q_old", q_old)
    check_array("q_new.mu", q_new.mu, q_old.mu.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        mean_move = (q_new.mu - q_old.mu) / q_old.sigma
        sigma_move = bnn.softplus_difference(q_new.rho, q_old.rho) / q_old.sigma
        log_ratio = bnn.log_sigma_ratio(q_new.sigma, q_old.sigma)
        return float(bnn.kl_from_moves(mean_move, sigma_move, log_ratio))  # V4


def information_gain_taylor(
    q: DiagNormal, grad_mu: Array, grad_rho: Array, *, step_size: float
) -> float:
    """½ λ² ∇ℓᵀ H⁻¹ ∇ℓ in nats from ∇ℓ (D,) at q: `bnn_ref.kl_taylor` of −λH⁻¹∇ℓ.

    [VIME] section 2.5. The original code leaves out the ½; its median hides that.
    Derivation: docs/derivations.md, 4.
    """
    h_mu, h_rho = bnn.kl_hessian_diag(q)
    grad_mu = check_array("grad_mu", grad_mu, h_mu.shape)
    grad_rho = check_array("grad_rho", grad_rho, h_mu.shape)
    lam = check_positive("step_size", step_size, ())
    form = np.sum(grad_mu**2 / h_mu + grad_rho**2 / h_rho)
    gain = 0.5 * lam**2 * form  # V5
    return float(check_finite("gain", gain))


def information_gains(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Method = "taylor",
) -> Array:
    """Gains (N,) in nats of N transitions (N, I), (N, O), each from the same q.

    "exact" is `information_gain(posterior_step(row), q)`; "taylor" is its second-order
    form. With S samples the Taylor gain is biased upward by ½λ² tr(H⁻¹ Cov ĝ), where ĝ
    is the S-sample mean gradient. `fast_ref` has the same for many rows at once.
    Derivations: docs/derivations.md, 6, and docs/derivations.md, 7.
    """
    bnn.check_choice("method", method, METHODS)
    data = bnn.check_data(q, inputs, targets, layer_sizes, likelihood_sigma)
    model = ModelSettings(layer_sizes=layer_sizes, likelihood_sigma=data.sigma)

    def row_gradient(n: int) -> tuple[Array, Array]:
        row = (data.inputs[n : n + 1], data.targets[n : n + 1], eps)
        return transition_loss_grad(q, q, *row, **model)

    gradients = map(row_gradient, range(len(data.inputs)))
    return gains_of_gradients(q, gradients, step_size, method)


def information_gains_local(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Method = "taylor",
) -> Array:
    """`information_gains` under local reparameterization: zeta, (S, N, O) per layer."""
    bnn.check_choice("method", method, METHODS)
    data = bnn.check_data(q, inputs, targets, layer_sizes, likelihood_sigma)
    zeta = bnn.check_zeta(zeta, len(data.inputs), layer_sizes)
    model = ModelSettings(layer_sizes=layer_sizes, likelihood_sigma=data.sigma)

    def row_gradient(n: int) -> tuple[Array, Array]:
        noise = [each[:, n : n + 1] for each in zeta]  # (S, 1, O) per layer
        row = (data.inputs[n : n + 1], data.targets[n : n + 1], noise)
        return transition_loss_grad(q, q, *row, loss=transition_loss_local, **model)

    gradients = map(row_gradient, range(len(data.inputs)))
    return gains_of_gradients(q, gradients, step_size, method)


def gains_of_gradients(
    q: DiagNormal,
    gradients: Iterable[tuple[Array, Array]],
    step_size: float,
    method: Method,
) -> Array:
    """The gain (N,) of each row's step from q, given each row's ∇ℓ."""

    def gain(grad_mu: Array, grad_rho: Array) -> float:
        if method == "taylor":
            return information_gain_taylor(q, grad_mu, grad_rho, step_size=step_size)
        return information_gain(newton_step(q, grad_mu, grad_rho, step_size), q)

    return np.array([gain(*gradient) for gradient in gradients])  # (N,)  V6


# ------------------------------------------------------------ the curious reward


def normalize_gains(
    gains: Array,
    history: Sequence[float],
    *,
    window: int = 10,
    statistic: Literal["median", "mean"] = "median",
    include_current: bool = True,
) -> tuple[Array, tuple[float, ...]]:
    """Gains (N,) over the mean of the last `window` medians, and the new history.

    The defaults are the original code's: 10 batches, this one included. The mean replaces
    a median of 0; a batch of zeros does not enter the history; without a positive
    divisor, gains are divided by 1. Raises ValueError on a gain or a history entry that
    is negative or not finite. [VIME] section 2.5; [Lecture] divides by the "running
    average over past iterations".
    """
    gains = check_array("gains", gains, (None,))
    history = check_array("history", history, (None,)).tolist()
    check_count("number of gains", len(gains))
    check_gains("gains", gains)
    check_gains("history", history)
    window = check_count("window", window)
    bnn.check_choice("statistic", statistic, ("median", "mean"))
    bnn.check_flag("include_current", include_current)

    # This batch's entry: none if it is all zeros.
    middle = np.sort(gains)[(len(gains) - 1) // 2 : len(gains) // 2 + 1]
    median = mean_of(middle) if statistic == "median" else 0.0
    current = median or mean_of(gains)
    new_history = tuple([*history, current] if current else history)[-window:]

    used = new_history if include_current else history[-window:]
    divisor = mean_of(used) or 1.0
    normalized = gains / divisor  # (N,)  V7
    return check_finite("normalized gains", normalized), new_history


def mean_of(values: Array | Sequence[float]) -> float:
    """The mean of numbers ≥ 0, without overflow; 0 of none."""
    _, exponent = np.frexp(np.max(values, initial=0.0))
    scaled = np.ldexp(values, -exponent)
    return float(np.ldexp(np.sum(scaled) / max(len(scaled), 1), exponent))


def curious_rewards(rewards: Array, gains: Array, eta: float) -> Array:
    """r̃ = r + η·gain, (T,). [Lecture], reward augmentation; [VIME] section 2.2.

    >>> curious_rewards(np.array([0.0, 1.0]), np.array([2.0, 4.0]), 0.5)
    array([1., 3.])
    """
    rewards = check_array("rewards", rewards, (None,))
    gains = check_array("gains", gains, rewards.shape)
    eta = check_not_negative("eta", eta)
    curious = rewards + eta * gains  # (T,)  V8
    return check_finite("curious rewards", curious)


# ------------------------------------------------------------ transitions and replay


class Batch(NamedTuple):
    """N transitions in time order, episodes one after another.

    `actions` holds what the policy sampled; environment and model see it clipped to the
    action space. `next_observations` are the true ones, also at the end of an episode.
    """

    observations: Array  # (N, K)
    actions: Array  # (N, A), or (N,) indices of a discrete space
    rewards: Array  # (N,)
    next_observations: Array  # (N, K)
    terminated: Array  # (N,) bool: the episode ended in a terminal state
    truncated: Array  # (N,) bool: a time limit or the end of sampling cut it


def model_actions(actions: Array, action_space: Space[Any]) -> Array:
    """Actions as the model sees them, (N, A): one-hot, or as a Box takes them.

    A Box takes them clipped to its bounds, and in its dtype: a Box of integers rounds.
    """
    # One column per discrete action.
    if isinstance(action_space, Discrete):
        num_actions = int(action_space.n)
        check_array("actions", actions, (None,))
        indices = check_indices("actions", actions, num_actions)
        one_hot = np.zeros((len(indices), num_actions))  # (N, A)
        one_hot[np.arange(len(indices)), indices] = 1.0
        return one_hot

    # What the Box holds.
    space = action_space
    if isinstance(space, Box) and len(space.shape) == 1:
        actions = check_array("actions", actions, (None, *space.shape))
        clipped = np.minimum(np.maximum(actions, space.low), space.high)
        whole = np.issubdtype(space.dtype, np.integer)
        taken = np.rint(clipped) if whole else clipped
        return taken.astype(space.dtype).astype(float)
    raise ValueError(
        f"action_space must be Discrete or a Box of shape (A,), got {space}"
    )


def action_size(action_space: Space[Any]) -> int:
    """A: the columns of `model_actions`."""
    shape = getattr(action_space, "shape", None) or ()
    return model_actions(np.zeros((0, *shape)), action_space).shape[1]


@dataclass(frozen=True, eq=False)
class ReplayPool:
    """The last `capacity` transitions. Each row holds its own next observation."""

    capacity: int
    observations: Array = field(repr=False)  # (n, K)
    actions: Array = field(repr=False)  # (n, A) as the model sees them
    next_observations: Array = field(repr=False)  # (n, K)

    def __post_init__(self) -> None:
        check_pool(self)

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def columns(self) -> tuple[Array, Array, Array]:
        """Observations, actions, next observations."""
        return self.observations, self.actions, self.next_observations

    def extend(
        self, observations: Array, actions: Array, next_observations: Array
    ) -> ReplayPool:
        """The pool with these rows at its end, the oldest beyond `capacity` dropped."""
        rows = ReplayPool(self.capacity, observations, actions, next_observations)
        joined = []
        for name, old, new in zip(COLUMNS, self.columns, rows.columns):
            check_array(name, new, (None, *old.shape[1:]))
            joined.append(np.concatenate([old, new])[-self.capacity :])  # (n, ...)
        return ReplayPool(self.capacity, *joined)

    def moments(self) -> tuple[Array, Array]:
        """Mean and `spread` (K + A,) of observations and actions."""
        rows = np.concatenate([self.observations, self.actions], axis=1)  # (n, K + A)
        return rows.mean(axis=0), spread(rows)  # (K + A,) each


def spread(rows: Array) -> Array:
    """Standard deviation over the rows, 0 for a dimension that varies by rounding only."""
    deviation = rows.std(axis=0)  # (K,)
    rounding = ROUNDING * np.max(np.abs(rows), axis=0)  # (K,)
    return np.where(deviation > rounding, deviation, 0.0)  # (K,)


def pool_statistics(
    pool: ReplayPool, action_space: Space[Any], one_hot: Sequence[int] = ()
) -> tuple[Array, Array]:
    """Mean and standard deviation (K + A,) of observations and actions.

    A dimension that never varied, or by rounding only, is divided by 1. One-hot actions
    and the columns `one_hot` of the K + A are left as they are.
    """
    # A pool of this space, with a row at least.
    bnn.check_kind("pool", pool, ReplayPool)
    check_count("rows of pool", len(pool))
    bnn.check_shape("pool.actions", pool.actions, (None, action_size(action_space)))

    # One-hot columns keep their units.
    center, scale = pool.moments()
    scale[scale == 0.0] = 1.0
    kept = [*check_columns(one_hot, len(scale))]
    if isinstance(action_space, Discrete):
        kept += range(pool.observations.shape[1], len(scale))
    center[kept] = 0.0
    scale[kept] = 1.0
    check_finite("mean of pool", center)
    check_finite("spread of pool", scale)
    return center, scale


# ------------------------------------------------------------ bonuses


class Bonus(Protocol):
    """Rewards exploration. `reward` changes nothing; `update` returns a new bonus."""

    def reward(self, batch: Batch, rng: Generator) -> Array: ...  # (N,)

    def update(self, batch: Batch, rng: Generator) -> Bonus: ...


@dataclass(frozen=True)
class NoBonus:
    """The plain agent: a bonus of 0."""

    def reward(self, batch: Batch, rng: Generator) -> Array:
        return np.zeros(len(check_batch(batch).rewards))

    def update(self, batch: Batch, rng: Generator) -> NoBonus:
        check_batch(batch)
        return self


@dataclass(frozen=True)
class VimeSettings:
    """Settings of `Vime`; the defaults are the original code's unless a line says so.

    Noise, gradient and gains belong together: those named `_local` take zeta. `fast_ref`
    has faster twins of fit and gains.
    """

    hidden_sizes: tuple[int, ...] = (32,)
    likelihood_sigma: float = 5.0  # in units of the normalized observation
    prior_sigma: float = 0.5  # of weights and biases, and of the posterior at first
    # The original's KL/5 per minibatch of 10. None: rows in the pool.
    num_data: float | None = 50.0
    step_size: float = 0.01  # λ of the gain
    method: Method = "taylor"
    # The original: per unit, shared by rows.
    sample_noise: Callable[..., Any] = bnn.sample_eps
    gradient: Callable[..., tuple[Array, Array]] = bnn.elbo_grad  # that `fit` climbs
    fit: Callable[..., tuple[DiagNormal, bnn.AdamState]] = bnn.fit
    gains: Callable[..., Array] = information_gains
    num_samples: int = 10
    num_updates: int = 500  # Adam steps per `update`
    batch_size: int = 10
    learning_rate: float = 1e-3
    capacity: int = 100_000  # rows of the replay pool
    min_rows: int = 500  # rows in the pool before the model trains and gains exceed 0

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, eq=False)
class Vime:
    """VIME as a bonus: a Bayesian network predicts s′; the bonus is each gain.

    `reward` gives raw gains in nats and never trains; it is 0 until the pool holds
    `min_rows`. `update` takes the batch into the pool, refreshes the statistics and
    fits. Inputs and targets are normalized by the pool's mean and standard deviation,
    except one-hot ones: a rare one would come in as a huge input. `one_hot` names those
    of the K observations and of a Box's A actions. Discrete actions need not be named.
    [VIME] section 2.5; [Lecture] "Algorithm".
    """

    settings: VimeSettings
    action_space: Space[Any]
    q: DiagNormal = field(repr=False)
    prior: DiagNormal = field(repr=False)
    adam: bnn.AdamState = field(repr=False)
    pool: ReplayPool
    center: Array = field(repr=False)  # (K + A,)
    scale: Array = field(repr=False)  # (K + A,)
    one_hot: Sequence[int] = ()  # columns of the K + A that are not normalized

    def __post_init__(self) -> None:
        check_vime(self)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        num_observed = self.pool.observations.shape[1]
        return (len(self.center), *self.settings.hidden_sizes, num_observed)

    @property
    def model(self) -> ModelSettings:
        """The network's layers, and σ_l."""
        sigma = self.settings.likelihood_sigma
        return {"layer_sizes": self.layer_sizes, "likelihood_sigma": sigma}

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Raw gains (N,) in nats."""
        rows = self.model_rows(batch)
        bnn.check_kind("rng", rng, Generator)
        s = self.settings
        if len(self.pool) < s.min_rows:
            return np.zeros(len(batch.rewards))

        # Each row's gain, from the same posterior.
        inputs, targets = self.normalized(*rows)
        noise = s.sample_noise(rng, s.num_samples, len(inputs), self.layer_sizes)
        return s.gains(
            self.q,
            inputs,
            targets,
            noise,
            **self.model,
            step_size=s.step_size,
            method=s.method,
        )

    def update(self, batch: Batch, rng: Generator) -> Vime:
        """Vime with the batch in its pool, and fitted once the pool holds min_rows."""
        bnn.check_kind("rng", rng, Generator)
        new = self.remembering(batch)
        return new.fitted(rng) if len(new.pool) >= self.settings.min_rows else new

    def remembering(self, batch: Batch) -> Vime:
        """Vime with the batch in its pool, and the pool's statistics; not fitted."""
        pool = self.pool.extend(*self.model_rows(batch))
        center, scale = pool_statistics(pool, self.action_space, self.one_hot)
        return replace(self, pool=pool, center=center, scale=scale)

    def fitted(self, rng: Generator) -> Vime:
        """Vime after `num_updates` Adam steps on minibatches from the pool."""
        bnn.check_kind("rng", rng, Generator)
        s = self.settings
        size = len(self.pool)

        # Draw rows with replacement; gather and normalize those of some steps.
        drawn = rng.integers(size, size=(s.num_updates, s.batch_size))
        q = self.q
        adam = self.adam
        for start in range(0, s.num_updates, GATHERED):
            rows = drawn[start : start + GATHERED]  # (U, B)
            flat = (each[rows.ravel()] for each in self.pool.columns)  # (U·B, ...)
            data = self.normalized(*flat)
            inputs, targets = (x.reshape(*rows.shape, -1) for x in data)  # (U, B, ...)
            q, adam = s.fit(
                q,
                self.prior,
                inputs,
                targets,
                rng,
                **self.model,
                num_data=s.num_data or size,
                num_samples=s.num_samples,
                learning_rate=s.learning_rate,
                sample_noise=s.sample_noise,
                gradient=s.gradient,
                adam=adam,
            )
        return replace(self, q=q, adam=adam)

    def model_rows(self, batch: Batch) -> tuple[Array, Array, Array]:
        """The batch's columns as the pool stores them; ValueError unless finite."""
        bnn.check_kind("batch", batch, Batch)
        shape = (None, self.layer_sizes[-1])
        check_array("observations", batch.observations, shape)
        batch = check_batch(batch)
        actions = model_actions(batch.actions, self.action_space)
        return batch.observations, actions, batch.next_observations

    def normalized(
        self, observations: Array, actions: Array, next_observations: Array
    ) -> tuple[Array, Array]:
        """The model's inputs (N, K + A) and targets (N, K)."""
        # The rows agree with each other and with the pool.
        num_observed = self.layer_sizes[-1]
        num_actions = len(self.center) - num_observed
        shape = (None, num_observed)
        s = check_array("observations", observations, shape)
        a = check_array("actions", actions, (len(s), num_actions))
        s_next = check_array("next_observations", next_observations, s.shape)

        # In units of the pool's spread.
        raw = np.concatenate([s, a], axis=1)  # (N, K + A)
        inputs = (raw - self.center) / self.scale
        center = self.center[:num_observed]
        scale = self.scale[:num_observed]
        return inputs, (s_next - center) / scale


def vime_init(
    observation_size: int,
    action_space: Space[Any],
    rng: Generator,
    settings: VimeSettings | None = None,
) -> Vime:
    """Vime with an empty pool: prior N(0, prior_sigma²), μ ~ N(0, 1) as in the original."""
    settings = VimeSettings() if settings is None else settings
    bnn.check_kind("settings", settings, VimeSettings)
    bnn.check_kind("rng", rng, Generator)
    observation_size = check_count("observation_size", observation_size)
    num_actions = action_size(action_space)
    num_inputs = observation_size + num_actions
    sizes = (num_inputs, *settings.hidden_sizes, observation_size)

    # The posterior and its prior have the same widths.
    mu = rng.standard_normal(bnn.num_weights(sizes))
    sigma = np.full(len(mu), settings.prior_sigma)
    rho = bnn.softplus_inverse(sigma)

    no_states = np.zeros((0, observation_size))
    no_actions = np.zeros((0, num_actions))
    pool = ReplayPool(settings.capacity, no_states, no_actions, no_states)
    return Vime(
        settings,
        action_space,
        q=DiagNormal(mu, rho),
        prior=DiagNormal(np.zeros(len(mu)), rho),
        adam=bnn.adam_init(2 * len(mu)),
        pool=pool,
        center=np.zeros(num_inputs),
        scale=np.ones(num_inputs),
    )


# ------------------------------------------------------------ argument checks


def check_transition(inputs: Array) -> None:
    rows = len(check_array("inputs", inputs, (None, None)))
    if rows != 1:
        raise ValueError(f"inputs must be one transition, got {rows} rows")


def check_gains(name: str, values: Array | Sequence[float]) -> None:
    least = np.min(values, initial=0.0)
    if least < 0:
        raise ValueError(f"{name} must be >= 0, got min {least}")


def check_indices(name: str, indices: Array, count: int) -> NDArray[np.int64]:
    """Whole numbers from 0 to count − 1, as integers."""
    values = check_array(name, indices)
    whole = values == np.floor(values)
    if not np.all(whole & (values >= 0) & (values < count)):
        given = f"{np.min(values):g} to {np.max(values):g}"
        raise ValueError(f"{name} must be indices below {count}, got {given}")
    return values.astype(np.int64)


def check_columns(one_hot: Any, count: int) -> tuple[int, ...]:
    """Columns of which there are `count`, as Python ints."""
    columns = check_array("one_hot", one_hot, (None,))
    return tuple(check_indices("one_hot", columns, count).tolist())


def check_batch(batch: Any) -> Batch:
    """The batch with float64 arrays and flags, whose rows agree."""
    # The numbers of rows and columns.
    bnn.check_kind("batch", batch, Batch)
    rewards = check_array("rewards", batch.rewards, (None,))
    rows = rewards.shape
    observations = check_array("observations", batch.observations, (*rows, None))
    shape = observations.shape
    actions = check_array("actions", batch.actions)
    bnn.check_shape("actions", actions, (*rows, *actions.shape[1:]))

    # The other columns have as many.
    return Batch(
        observations,
        actions,
        rewards,
        check_array("next_observations", batch.next_observations, shape),
        bnn.check_flags("terminated", batch.terminated, rows),
        bnn.check_flags("truncated", batch.truncated, rows),
    )


def check_vime(bonus: Vime) -> None:
    """Convert the arrays of the bonus, and check that all of its fields agree."""
    # Of each kind.
    bnn.check_kind("settings", bonus.settings, VimeSettings)
    bnn.check_kind("pool", bonus.pool, ReplayPool)
    width = bonus.pool.observations.shape[1] + action_size(bonus.action_space)
    center = check_array("center", bonus.center, (width,))
    bnn.set_fields(bonus, center=center)
    bnn.check_posterior("q", bonus.q, bonus.layer_sizes)
    bnn.check_prior(bonus.prior, bonus.q)

    # As many as the model has inputs and weights.
    bnn.set_fields(
        bonus,
        adam=bnn.check_adam("adam", bonus.adam, (2 * len(bonus.q.mu),)),
        scale=check_positive("scale", bonus.scale, (width,)),
        one_hot=check_columns(bonus.one_hot, width),
    )


def check_pool(pool: ReplayPool) -> None:
    """Convert the pool's fields, and check that its columns have as many rows."""
    # Columns as arrays, whose rows and widths agree.
    columns = [
        check_array(name, values, (None, None))
        for name, values in zip(COLUMNS, pool.columns)
    ]
    check_array(COLUMNS[2], columns[2], (None, columns[0].shape[1]))
    lengths = [len(values) for values in columns]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"{', '.join(COLUMNS)} must be as many rows each, got {lengths}"
        )

    # No copies: there may be 1e5 rows.
    capacity = check_count("capacity", pool.capacity)
    for name, values in zip(COLUMNS, columns):
        object.__setattr__(pool, name, values)
    bnn.set_fields(pool, capacity=capacity)


def check_hidden(sizes: Sizes, name: str = "hidden_sizes") -> tuple[int, ...]:
    """The units of the hidden layers, as Python ints; there may be none."""
    if not isinstance(sizes, list | tuple):
        raise ValueError(f"{name} must be a tuple, got {sizes!r}")
    return tuple(check_count(name, size) for size in sizes)


def check_settings(settings: VimeSettings) -> None:
    """Convert the numbers of the settings, and check all of them."""
    # Numbers.
    numbers: dict[str, Any] = {"hidden_sizes": check_hidden(settings.hidden_sizes)}
    numbers["num_updates"] = check_count("num_updates", settings.num_updates, 0)
    for name in ("num_samples", "batch_size", "capacity", "min_rows"):
        numbers[name] = check_count(name, getattr(settings, name))
    for name in ("likelihood_sigma", "prior_sigma", "step_size", "learning_rate"):
        value = check_positive(name, getattr(settings, name), ())
        numbers[name] = float(value)
    if settings.num_data is not None:
        value = check_positive("num_data", settings.num_data, ())
        numbers["num_data"] = float(value)
    bnn.set_fields(settings, **numbers)

    # Choices.
    bnn.check_choice("method", settings.method, METHODS)
    for name in ("sample_noise", "gradient", "fit", "gains"):
        bnn.check_function(name, getattr(settings, name))
    if settings.min_rows > settings.capacity:
        got = f"{settings.min_rows} > {settings.capacity}"
        raise ValueError(f"min_rows must be <= capacity, got {got}")


# ------------------------------------------------------------ what `help` shows

__all__ = [
    "Batch",
    "Bonus",
    "NoBonus",
    "ReplayPool",
    "Vime",
    "VimeSettings",
    "action_size",
    "curious_rewards",
    "information_gain",
    "information_gain_taylor",
    "information_gains",
    "information_gains_local",
    "model_actions",
    "normalize_gains",
    "pool_statistics",
    "posterior_step",
    "posterior_step_local",
    "posterior_update",
    "posterior_update_local",
    "transition_loss",
    "transition_loss_grad",
    "transition_loss_local",
    "vime_init",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

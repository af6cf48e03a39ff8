"""UNREAL: auxiliary tasks that teach an actor-critic's network between rewards, as functions of arrays.

Pseudo-rewards for control of pixels and of hidden units, n-step targets, the dueling head, reward prediction, the loss
with its weights, a step of the LSTM. `vime_lecture.recurrent` is the agent that uses them all.

Axes: T time steps, B environments, N rows, H, W, C height, width and channels of an image, A actions, G controlled
quantities (cells or hidden units). Time comes first. Rewards belong to the step they end: row t holds o_t, a_t, r_t and
whether the episode ended with r_t.

Sources: [UNREAL] Jaderberg et al. 2016, arXiv 1611.05397; [A3C] Mnih et al. 2016, arXiv 1602.01783; [Dueling] Wang et
al. 2015, arXiv 1511.06581; [LSTM] Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; [Port]
miyosuda/unreal, a public implementation; [Lecture] "Intrinsic motivation in RL", UNREAL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import autograd.numpy as np
import numpy as onp  # for what no gradient passes through
from autograd.scipy.special import expit, logsumexp
from numpy.typing import ArrayLike, NDArray

from agents_ref import check_fraction
from bnn_ref import Array, check_array, check_count, check_finite
from vime_ref import check_indices

# ---------------------------------------------------------------- constants

FRAMES = 3  # that reward prediction sees, [UNREAL]

CLASSES = 3  # negative, zero, positive

Flags = NDArray[onp.bool_]

Rows = NDArray[onp.int_]

# ---------------------------------------------------------------- building blocks: argument checks


def checked_flags(name: str, flags: ArrayLike) -> Flags:
    """Booleans (T, ...) from booleans or the numbers 0 and 1. Raises ValueError on any other, and without an axis."""
    flags = onp.asarray(flags)
    if flags.ndim == 0 or onp.any((flags != 0) & (flags != 1)):
        raise ValueError(f"{name} must be (T, ...) of true and false, got {flags}")
    return flags.astype(bool)


def flags_over(name: str, flags: ArrayLike, shape: tuple[int, ...]) -> Flags:
    """`checked_flags` of the leading axes of this shape, with an axis of 1 for each other."""
    flags = checked_flags(name, flags)
    if flags.shape != shape[: flags.ndim]:
        raise ValueError(f"{name} must have leading axes of {shape}, got {flags.shape}")
    return flags.reshape(*flags.shape, *(1,) * (len(shape) - flags.ndim))


def check_noise(name: str, noise: Array, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the noise has this shape and lies in [0, 1)."""
    check_array(name, noise, shape)
    if onp.any((noise < 0) | (noise >= 1)):
        raise ValueError(
            f"{name} must be in [0, 1), got {onp.min(noise)} to {onp.max(noise)}"
        )


def check_last_axes(name: str, values: Array, *axes: str) -> None:
    """Raise ValueError unless the values are finite and have these axes at least, and none of length 0."""
    shape = onp.shape(values)
    if len(shape) < len(axes) or 0 in shape:
        raise ValueError(
            f"{name} must be ({', '.join(('...', *axes))}), none of them 0, got {shape}"
        )
    check_finite(name, values)


# ---------------------------------------------------------------- building blocks: pseudo-rewards


def cell_means(images: ArrayLike, cell_size: int) -> Array:
    """Mean of each cell of cell_size by cell_size pixels: (..., H, W, C) -> (..., H/cell, W/cell, C)."""
    images = onp.asarray(images, dtype=float)
    check_count("cell_size", cell_size)
    shape = images.shape[-3:]
    if len(shape) < 3 or 0 in shape or shape[0] % cell_size or shape[1] % cell_size:
        wanted = f"(..., H, W, C), none of them 0, H and W multiples of {cell_size}"
        raise ValueError(f"images must be {wanted}, got {images.shape}")
    *lead, height, width, channels = images.shape
    rows = images.reshape(*lead, height // cell_size, cell_size, width * channels).sum(
        axis=-2
    )
    cells = rows.reshape(
        *lead, height // cell_size, width // cell_size, cell_size, channels
    ).sum(axis=-2)
    return cells / cell_size**2


def pixel_changes(before: ArrayLike, after: ArrayLike, cell_size: int) -> Array:
    """mean |after − before| over the pixels and channels of each cell, (..., H/cell, W/cell), in units of the pixels.

    Images (..., H, W, C) of any number type, cast before they are subtracted (uint8 would wrap around).
    """
    before, after = onp.asarray(before, dtype=float), onp.asarray(after, dtype=float)
    check_array("after", after, before.shape)
    return cell_means(onp.abs(after - before), cell_size).mean(axis=-1)


def pixel_control_rewards(observations: ArrayLike, cell_size: int) -> Array:
    """r_t = mean |o_{t+1} − o_t| over each cell, (T+1, H, W, C) -> (T, H/cell, W/cell), of one episode.

    Raises ValueError unless finite, with H and W multiples of cell_size. [UNREAL]: cells of 4 by 4.

    >>> pixel_control_rewards(onp.array([[[[3], [0]]], [[[0], [2]]]], dtype=onp.uint8), 1)
    array([[[3., 2.]]])
    """
    observations = onp.asarray(observations)
    if observations.ndim != 4 or len(observations) < 2:
        raise ValueError(
            f"observations must be (T+1, H, W, C) with T >= 1, got {observations.shape}"
        )
    check_finite("observations", observations)
    return pixel_changes(observations[:-1], observations[1:], cell_size)


def feature_control_rewards(activations: ArrayLike) -> Array:
    """r_t = h_{t+1}: the activation of each hidden unit after the step, (T+1, G) -> (T, G), of one episode.

    [UNREAL] has the agent activate each unit of a layer as much as it can. The activation itself pays,
    not its change.
    """
    activations = onp.asarray(activations, dtype=float)
    check_finite("activations", activations)
    if activations.ndim != 2 or len(activations) < 2:
        raise ValueError(
            f"activations must be (T+1, G) with T >= 1, got {activations.shape}"
        )
    return activations[1:]


# ---------------------------------------------------------------- building blocks: targets


def n_step_returns(
    rewards: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    *,
    gamma: float,
) -> Array:
    """R_t = r_t + γ·(0 where terminated, V(s_{t+1}) where truncated or in the last row, R_{t+1} elsewhere).

    rewards and next_values (T, ...), of the true next states; terminated and truncated, each (T,) or more of the same
    leading axes. The transition into a terminal state counts: its target is its reward. Raises ValueError unless all
    are finite and the flags true or false. Targets of [A3C], and of value replay in [UNREAL].

    >>> n_step_returns([0.0, 1.0, 2.0], [7.0, 7.0, 4.0], [0, 1, 0], [0, 0, 0], gamma=0.5)
    array([0.5, 1. , 4. ])
    """
    rewards, next_values = (
        onp.asarray(rewards, dtype=float),
        onp.asarray(next_values, dtype=float),
    )
    check_fraction("gamma", gamma)
    check_finite("rewards", rewards)
    check_array("next_values", next_values, rewards.shape)
    if rewards.shape[:1] in ((), (0,)):
        raise ValueError(f"rewards must have at least 1 row, got {rewards.shape}")
    ends = flags_over("terminated", terminated, rewards.shape)
    cuts = flags_over("truncated", truncated, rewards.shape)
    returns, following = onp.zeros(rewards.shape), next_values[-1]
    for t in reversed(range(len(rewards))):
        following = onp.where(
            ends[t], 0.0, onp.where(cuts[t], next_values[t], following)
        )
        following = returns[t] = rewards[t] + gamma * following
    return returns


def n_step_q_targets(
    rewards: ArrayLike,
    next_q_values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    *,
    gamma: float,
) -> Array:
    """`n_step_returns` with V(s) = max_a Q(s, a): rewards (T, ...), next_q_values (T, ..., A) -> (T, ...).

    [UNREAL], n-step Q-learning: the maximum is taken where a target bootstraps, the actions between are
    those taken.
    """
    next_q_values = onp.asarray(next_q_values, dtype=float)
    check_finite("next_q_values", next_q_values)
    if next_q_values.ndim != onp.ndim(rewards) + 1 or next_q_values.shape[-1] == 0:
        raise ValueError(
            f"next_q_values must have the axes of rewards and A >= 1, got {next_q_values.shape}"
        )
    return n_step_returns(
        rewards, next_q_values.max(axis=-1), terminated, truncated, gamma=gamma
    )


def dueling(values: Array, advantages: Array) -> Array:
    """Q = V + A − mean_a A: values (...), advantages (..., A) -> (..., A). [Dueling], [UNREAL].

    Raises ValueError unless the shapes agree, with an action at least, and all are finite.

    >>> dueling(onp.array(1.0), onp.array([0.0, 4.0]))
    array([-1.,  3.])
    """
    if onp.shape(advantages)[-1:] in ((), (0,)):
        raise ValueError(
            f"advantages must be (..., A) with A >= 1, got {onp.shape(advantages)}"
        )
    check_array("values", values, onp.shape(advantages)[:-1])
    check_finite("advantages", advantages)
    return values[..., None] + advantages - np.mean(advantages, axis=-1, keepdims=True)


# ---------------------------------------------------------------- building blocks: reward prediction


def reward_class(rewards: ArrayLike) -> Rows:
    """0 where negative, 1 where zero, 2 where positive. [UNREAL].

    >>> reward_class([-0.5, 0.0, 10.0])
    array([0, 1, 2])
    """
    rewards = onp.asarray(rewards, dtype=float)
    check_finite("rewards", rewards)
    return onp.sign(rewards).astype(int) + 1


def reward_prediction_windows(ended: ArrayLike) -> Flags:
    """Where o_{t−2}, o_{t−1}, o_t are of one episode, so that they can predict r_t: a flag for each of (T, ...) rows.

    ended: the episode was over, terminated or truncated, with that row's reward. Raises ValueError on a flag that is
    neither true nor false.
    """
    ended = checked_flags("ended", ended)
    fits = onp.zeros(ended.shape, dtype=bool)
    count = len(ended) - FRAMES + 1
    if count > 0:
        fits[FRAMES - 1 :] = ~onp.any(
            [ended[k : k + count] for k in range(FRAMES - 1)], axis=0
        )
    return fits


def sample_reward_windows(
    rewards: ArrayLike, ended: ArrayLike, coins: ArrayLike, places: ArrayLike
) -> Rows:
    """Rows t, as indices (N, axes of rewards), with P(r_t ≠ 0) = ½ and each half uniform over its windows.

    rewards, ended (T, ...); coins and places (N,) uniform on [0, 1): a coin below ½ asks for a reward other than zero,
    a place for which one. Without a window of one kind all come from the other; without any, there are no rows. Raises
    ValueError on noise outside [0, 1) and on NaN. [UNREAL].
    """
    rewards, coins, places = (
        onp.asarray(column, dtype=float) for column in (rewards, coins, places)
    )
    check_finite("rewards", rewards)
    check_array("ended", onp.asarray(ended), rewards.shape)
    check_noise("coins", coins, (coins.size,))
    check_noise("places", places, (coins.size,))
    fits = reward_prediction_windows(ended)
    paid, unpaid = (
        onp.argwhere(fits & (rewards != 0)),
        onp.argwhere(fits & (rewards == 0)),
    )
    if not len(paid) + len(unpaid):
        return unpaid
    wants_paid = ((coins < 0.5) | (len(unpaid) == 0)) & (len(paid) > 0)
    place = (places * onp.where(wants_paid, len(paid), len(unpaid))).astype(
        int
    )  # cast first: a sum may round up
    return onp.concatenate([paid, unpaid])[place + onp.where(wants_paid, 0, len(paid))]


# ---------------------------------------------------------------- building blocks: losses


def log_softmax(logits: Array) -> Array:
    return logits - logsumexp(logits, axis=-1, keepdims=True)


def chosen(values: Array, indices: NDArray[Any], name: str) -> Array:
    """values (..., A) at the indices (...). Raises ValueError, by this name, on any that are none."""
    check_array(name, indices, values.shape[:-1])
    check_indices(name, indices, values.shape[-1])
    return np.sum(values * onp.eye(values.shape[-1])[indices.astype(int)], axis=-1)


def policy_loss(logits: Array, actions: Rows, advantages: Array) -> Array:
    """−mean(Â·log π(a|s)) of logits (..., A), actions and advantages (...); the advantages are constants. [A3C]

    Raises ValueError unless the shapes are these, no axis is empty, and all are finite.
    """
    check_last_axes("logits", logits, "A")
    check_array("advantages", advantages, onp.shape(logits)[:-1])
    return -np.mean(advantages * chosen(log_softmax(logits), actions, "actions"))


def policy_entropy(logits: Array) -> Array:
    """mean H(π(·|s)) in nats, of logits (..., A). [A3C]

    Raises ValueError where an axis is empty, and unless all are finite.
    """
    check_last_axes("logits", logits, "A")
    log_p = log_softmax(logits)
    return -np.mean(np.sum(np.exp(log_p) * log_p, axis=-1))


def value_loss(values: Array, returns: Array) -> Array:
    """½ mean (R − V)², both (...), on new steps or, as value replay, on old ones. [A3C]; [UNREAL].

    Raises ValueError unless the shapes are these, no axis is empty, and all are finite.
    """
    check_last_axes("values", values)
    check_array("returns", returns, onp.shape(values))
    return 0.5 * np.mean((returns - values) ** 2)


def control_loss(q_values: Array, actions: NDArray[Any], targets: Array) -> Array:
    """mean over steps of Σ_g ½(target_g − Q_g(a))²: q_values (..., G, A), actions (...), targets (..., G).

    [UNREAL]: the sum over the cells is the loss, not their mean. Raises ValueError unless the shapes are
    these, no axis is empty, and all are finite.
    """
    check_last_axes("q_values", q_values, "G", "A")
    check_array("actions", actions, onp.shape(q_values)[:-2])
    check_array("targets", targets, onp.shape(q_values)[:-1])
    taken = chosen(
        q_values, onp.repeat(actions[..., None], q_values.shape[-2], axis=-1), "actions"
    )
    return 0.5 * np.mean(np.sum((targets - taken) ** 2, axis=-1))


def reward_prediction_loss(logits: Array, classes: Rows) -> Array:
    """−mean log p(class), of logits (N, 3) and classes (N,). [UNREAL].

    Raises ValueError unless the shapes are these, no axis is empty, and all are finite.
    """
    check_last_axes("logits", logits, "3")
    check_array("logits", logits, (len(logits), CLASSES))
    return -np.mean(chosen(log_softmax(logits), classes, "classes"))


class Losses(NamedTuple):
    """The parts of the loss, each a mean over steps, before any weight; `entropy` is to grow."""

    policy: Any
    value: Any
    entropy: Any
    value_replay: Any
    control: Any
    reward_prediction: Any


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss; a weight 0 turns its task off."""

    value: float = 0.5  # the critic learns at half the rate: [Port], after [A3C]'s code
    entropy: float = 0.003  # between the 0.01 of [A3C] and the 1e-3 of [Port]
    value_replay: float = 1.0  # [Port]
    control: float = (
        0.05  # [Port]'s number; there for 400 cells, and pseudo-rewards not times 1 − γ
    )
    reward_prediction: float = 0.05  # [Port]'s 1 stands beside sums over 20 steps; where all are means it is 1/20

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            if not (onp.isfinite(weight) and weight >= 0):
                raise ValueError(f"{name} must be >= 0 and finite, got {weight}")

    def vector(self) -> Array:
        """In the order of `Losses`: 1 for the policy, and the entropy's with a minus."""
        auxiliary = self.value_replay, self.control, self.reward_prediction
        return onp.array([1.0, self.value, -self.entropy, *auxiliary])


def unreal_loss(losses: Losses, weights: LossWeights) -> Array:
    """L = [L_π + λ_V L_V − β H] + λ_VR L_VR + λ_C L_C + λ_RP L_RP. [UNREAL]; the bracket is [A3C]'s."""
    return np.dot(weights.vector(), np.array(list(losses)))


def lstm_gated(gates: Array, cell: Array) -> tuple[Array, Array]:
    """h′ = o⊙tanh(c′) and c′ = f⊙c + i⊙g, (B, H) each, by gates (B, 4H) in the order i, f, o, g. [LSTM]"""
    i, f, o, g = np.split(gates, 4, axis=-1)
    cell = expit(f) * cell + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(cell), cell


def lstm_step(
    gate_inputs: Array, hidden: Array, cell: Array, weights: Array
) -> tuple[Array, Array]:
    """One step of an LSTM, new hidden and cell (B, H): `lstm_gated` by gate_inputs + h·weights.

    gate_inputs (B, 4H): what input and bias add to the gates; hidden and cell (B, H); weights (H, 4H). Raises
    ValueError unless all have these shapes and are finite; `unroll` takes the same step unchecked, which saves it a
    tenth. [LSTM]
    """
    if onp.ndim(hidden) != 2:
        raise ValueError(f"hidden must be (B, H), got {onp.shape(hidden)}")
    rows, units = onp.shape(hidden)
    check_array("gate_inputs", gate_inputs, (rows, 4 * units))
    check_finite("hidden", hidden)
    check_array("cell", cell, (rows, units))
    check_array("weights", weights, (units, 4 * units))
    return lstm_gated(gate_inputs + np.dot(hidden, weights), cell)

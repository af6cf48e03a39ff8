"""UNREAL's auxiliary tasks, which train an actor-critic's network while rewards are rare, as functions of arrays.

Pixel control and feature control, n-step targets, the dueling head, reward prediction, the weighted loss, and a step
of the LSTM. `vime_lecture.recurrent` is the agent that uses them.

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
import numpy as onp  # plain NumPy, for values without gradients
from autograd.extend import defvjp, primitive
from numpy.typing import ArrayLike, NDArray
from scipy import special

from agents_ref import check_fraction, check_uniform, log_softmax
from bnn_ref import (
    Array,
    check_array,
    check_count,
    check_finite,
    check_kind,
    check_not_negative,
    floats,
    set_fields,
    tanh,
)
from vime_ref import check_indices

# ---------------------------------------------------------------- constants

FRAMES = 3  # frames that reward prediction sees, [UNREAL]
CLASSES = 3  # negative, zero, positive

# ---------------------------------------------------------------- types

Flags = NDArray[onp.bool_]
Rows = NDArray[onp.int_]

# autograd has this too, in a package that imports scipy.stats
expit = primitive(special.expit)
defvjp(expit, lambda share, x: lambda slope: slope * share * (1.0 - share))

# ---------------------------------------------------------------- pseudo-rewards


def pixel_control_rewards(observations: ArrayLike, cell_size: int) -> Array:
    """Pseudo-rewards of pixel control in one episode, (T+1, H, W, C) -> (T, H/cell, W/cell), in units of the pixels.

        r_t = mean |o_{t+1} − o_t| over each cell

    Raises ValueError unless observations are finite, with H and W multiples of cell_size.
    Source: [UNREAL], cells of 4 by 4.

    >>> pixel_control_rewards(onp.array([[[[3], [0]]], [[[0], [2]]]], dtype=onp.uint8), 1)
    array([[[3., 2.]]])
    """
    observations = check_episode("observations", observations, "H, W, C")
    before = observations[:-1]  # (T, H, W, C)
    after = observations[1:]  # (T, H, W, C)
    return pixel_changes(before, after, cell_size)


def pixel_changes(before: ArrayLike, after: ArrayLike, cell_size: int) -> Array:
    """Mean |after − before| over the pixels and channels of each cell, (..., H/cell, W/cell), in units of the pixels.

    Images (..., H, W, C) of any number type are cast before subtracting, because uint8 would wrap around.
    Raises ValueError if a change overflows.
    """
    before = check_images("before", before)
    after = check_array("after", after, before.shape)
    with onp.errstate(over="ignore"):
        differences = check_finite("after minus before", after - before)
    changes = cell_means(onp.abs(differences), cell_size)
    return changes.mean(axis=-1)  # (..., H/cell, W/cell)  U1


def cell_means(images: ArrayLike, cell_size: int) -> Array:
    """Mean over each cell of cell_size by cell_size pixels: (..., H, W, C) -> (..., H/cell, W/cell, C)."""
    images = check_images("images", images)
    cell_size = check_cells(images, cell_size)
    *lead, height, width, channels = images.shape
    down = height // cell_size
    right = width // cell_size

    # Sum over the rows of pixels in each cell, then over the pixels of each row.
    with onp.errstate(over="ignore"):
        lines = images.reshape(*lead, down, cell_size, width * channels)  # (..., W·C)
        rows = lines.sum(axis=-2)  # (..., H/cell, W·C)
        pixels = rows.reshape(*lead, down, right, cell_size, channels)  # (..., cell, C)
        cells = pixels.sum(axis=-2)  # (..., H/cell, W/cell, C)
    return check_finite("sums of images", cells) / cell_size**2


def feature_control_rewards(activations: ArrayLike) -> Array:
    """Pseudo-rewards of feature control in one episode, (T+1, G) -> (T, G): each hidden unit's activation.

        r_t = h_{t+1}

    In [UNREAL] the agent learns to activate each unit of a layer. The reward is the activation, not its change.
    Raises ValueError unless activations are finite and (T+1, G) with T ≥ 1.
    Source: [UNREAL].
    """
    activations = check_episode("activations", activations, "G")
    return activations[1:]  # (T, G)  U2


# ---------------------------------------------------------------- targets


def n_step_returns(
    rewards: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    *,
    gamma: float,
) -> Array:
    """n-step returns (T, ...) from rewards and next_values (T, ...), the values of the true next states.

        R_t = r_t + γ·(0 if terminated, V(s_{t+1}) if truncated or in the last row, R_{t+1} otherwise)

    terminated and truncated: (T,), or more of the leading axes of rewards.
    The transition into a terminal state is included; its target is its reward. [A3C] and value replay in [UNREAL] use
    these targets.
    Raises ValueError unless all values are finite and flags are true or false, or if a return overflows.
    Source: [A3C], [UNREAL].

    >>> n_step_returns([0.0, 1.0, 2.0], [7.0, 7.0, 4.0], [0, 1, 0], [0, 0, 0], gamma=0.5)
    array([0.5, 1. , 4. ])
    """
    rewards = check_rewards(rewards)
    next_values = check_array("next_values", next_values, rewards.shape)
    gamma = check_fraction("gamma", gamma)
    ends = flags_over("terminated", terminated, rewards.shape)
    cuts = flags_over("truncated", truncated, rewards.shape)

    # Backward in time: a step's continuation is 0, V, or the return computed last.
    returns = onp.zeros(rewards.shape)
    following = next_values[-1]
    with onp.errstate(over="ignore", invalid="ignore"):
        for t in reversed(range(len(rewards))):
            following = onp.where(cuts[t], next_values[t], following)
            following = onp.where(ends[t], 0.0, following)
            returns[t] = rewards[t] + gamma * following  # (...)  U8
            following = returns[t]
    return check_finite("returns of rewards", returns)


def n_step_q_targets(
    rewards: ArrayLike,
    next_q_values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    *,
    gamma: float,
) -> Array:
    """Targets of n-step Q-learning: rewards (T, ...), next_q_values (T, ..., A) -> (T, ...).

        `n_step_returns` with V(s) = max_a Q(s, a)

    Only the bootstrap value takes the maximum; the actions before it are the recorded ones.
    Raises ValueError like `n_step_returns`, and if A = 0.
    Source: [UNREAL].
    """
    rewards = check_array("rewards", rewards)
    next_q_values = check_next_q_values(next_q_values, rewards.shape)
    next_values = next_q_values.max(axis=-1)  # (T, ...)  U3
    return n_step_returns(rewards, next_values, terminated, truncated, gamma=gamma)


def dueling(values: Array, advantages: Array) -> Array:
    """The dueling head: values (...), advantages (..., A) -> Q (..., A).

        Q = V + A − mean_a A

    Raises ValueError unless the shapes agree, A ≥ 1, and all values are finite.
    Source: [Dueling], [UNREAL].

    >>> dueling(onp.array(1.0), onp.array([0.0, 4.0]))
    array([-1.,  3.])
    """
    values, advantages = check_advantages(values, advantages)
    mean = np.mean(advantages, axis=-1, keepdims=True)  # (..., 1)
    q_values = values[..., None] + advantages - mean  # (..., A)  U4
    return check_finite("values plus advantages", q_values)


# ---------------------------------------------------------------- reward prediction


def reward_class(rewards: ArrayLike) -> Rows:
    """The class of a reward, which reward prediction predicts: 0 if negative, 1 if zero, 2 if positive. [UNREAL]

    >>> reward_class([-0.5, 0.0, 10.0])
    array([0, 1, 2])
    """
    rewards = check_array("rewards", rewards)
    return onp.sign(rewards).astype(int) + 1


def reward_prediction_windows(ended: ArrayLike) -> Flags:
    """Flags (T, ...): true if o_{t−2}, o_{t−1}, o_t belong to one episode, so that they can predict r_t.

    ended (T, ...): true if the episode terminated or was truncated with that row's reward.
    Raises ValueError if a flag is neither true nor false.
    """
    ended = checked_flags("ended", ended)
    fits = onp.zeros(ended.shape, dtype=bool)
    count = len(ended) - FRAMES + 1
    if count > 0:
        earlier = [ended[k : k + count] for k in range(FRAMES - 1)]
        fits[FRAMES - 1 :] = ~onp.any(earlier, axis=0)  # (T − 2, ...)
    return fits


def sample_reward_windows(
    rewards: ArrayLike, ended: ArrayLike, coins: ArrayLike, places: ArrayLike
) -> Rows:
    """Sample the rows t whose r_t is predicted, as indices (N, axes of rewards), from rewards and ended (T, ...).

        P(r_t ≠ 0) = ½, each half uniform over its windows

    coins, places (N,): noise, uniform in [0, 1). A coin below ½ selects a nonzero reward, and a place selects the
    window. If one kind has no window, all rows come from the other. If no window exists, there are no rows.
    Raises ValueError if noise is outside [0, 1) or NaN.
    Source: [UNREAL].
    """
    rewards = check_array("rewards", rewards)
    ended = check_same_flags(ended, rewards.shape)
    coins = check_noise("coins", coins, (None,))
    places = check_noise("places", places, coins.shape)

    # The windows of each kind.
    fits = reward_prediction_windows(ended)
    paid = onp.argwhere(fits & (rewards != 0))  # (windows, axes)
    unpaid = onp.argwhere(fits & (rewards == 0))  # (windows, axes)
    if not len(paid) + len(unpaid):
        return unpaid

    # The coin selects the kind, the place the window; cast first, because a sum may round up.
    wants_paid = ((coins < 0.5) | (len(unpaid) == 0)) & (len(paid) > 0)  # (N,)  U7
    place = (places * onp.where(wants_paid, len(paid), len(unpaid))).astype(int)
    index = place + onp.where(wants_paid, 0, len(paid))
    return onp.concatenate([paid, unpaid])[index]  # (N, axes)


# ---------------------------------------------------------------- losses


def policy_loss(logits: Array, actions: Rows, advantages: Array) -> Array:
    """The policy loss, from logits (..., A), actions (...) and advantages (...).

        −mean(Â·log π(a|s))

    The advantages are constants.
    Raises ValueError unless the shapes fit, no axis is empty, and all values are finite.
    Source: [A3C].
    """
    logits = check_last_axes("logits", logits, "A")
    advantages = check_array("advantages", advantages, logits.shape[:-1])
    log_p = chosen(log_softmax(logits), actions, "actions")  # (...)
    loss = -np.mean(advantages * log_p)  # ()  U11
    return check_finite("loss of advantages", loss)


def policy_entropy(logits: Array) -> Array:
    """The mean entropy H(π(·|s)) in nats, from logits (..., A).

    Raises ValueError if an axis is empty or a logit is not finite.
    Source: [A3C].
    """
    logits = check_last_axes("logits", logits, "A")
    log_p = log_softmax(logits)  # (..., A)
    entropies = np.sum(np.exp(log_p) * log_p, axis=-1)  # (...), negative
    return -np.mean(entropies)  # ()


def value_loss(values: Array, returns: Array) -> Array:
    """The value loss ½ mean (R − V)², both (...), on new steps, or on replayed steps for value replay.

    Raises ValueError unless the shapes fit, no axis is empty, and all values are finite.
    Source: [A3C], [UNREAL].
    """
    values = check_last_axes("values", values)
    returns = check_array("returns", returns, values.shape)
    loss = 0.5 * np.mean((returns - values) ** 2)  # ()
    return check_finite("loss of values and returns", loss)


def control_loss(q_values: Array, actions: NDArray[Any], targets: Array) -> Array:
    """The control loss, from q_values (..., G, A), actions (...) and targets (..., G).

        mean over steps of Σ_g ½(target_g − Q_g(a))²

    [UNREAL] takes the sum over cells, not the mean.
    Raises ValueError unless the shapes fit, no axis is empty, and all values are finite.
    Source: [UNREAL].
    """
    q_values = check_last_axes("q_values", q_values, "G", "A")
    actions = check_array("actions", actions, q_values.shape[:-2])
    targets = check_array("targets", targets, q_values.shape[:-1])
    num_controls = q_values.shape[-2]
    repeated = onp.repeat(actions[..., None], num_controls, axis=-1)  # (..., G)
    taken = chosen(q_values, repeated, "actions")  # (..., G)
    loss = 0.5 * np.mean(np.sum((targets - taken) ** 2, axis=-1))  # ()  U5
    return check_finite("loss of q_values and targets", loss)


def reward_prediction_loss(logits: Array, classes: Rows) -> Array:
    """The reward-prediction loss, from logits (N, 3) and classes (N,).

        −mean log p(class)

    Raises ValueError unless the shapes fit, no axis is empty, and all values are finite.
    Source: [UNREAL].
    """
    logits = check_array("logits", logits, (None, CLASSES))
    logits = check_last_axes("logits", logits, "3")
    log_p = log_softmax(logits)  # (N, 3)
    return -np.mean(chosen(log_p, classes, "classes"))  # ()  U6


def chosen(values: Array, indices: NDArray[Any], name: str) -> Array:
    """values (..., A) at the indices (...). Raises ValueError, with this name, unless they are indices below A."""
    array = check_array(name, indices, values.shape[:-1])
    whole = check_indices(name, array.ravel(), values.shape[-1])  # (N,)
    places = whole.reshape(array.shape)[..., None]  # (..., 1)
    one_hot = places == onp.arange(values.shape[-1])  # (..., A)
    return np.sum(values * one_hot, axis=-1)  # (...)


# ---------------------------------------------------------------- the loss


class Losses(NamedTuple):
    """The unweighted parts of the loss, each a mean over steps; `entropy` is maximized."""

    policy: Any
    value: Any
    entropy: Any
    value_replay: Any
    control: Any
    reward_prediction: Any


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss; weight 0 turns a task off."""

    value: float = 0.5  # the critic learns at half the rate: [Port], from [A3C]'s code
    entropy: float = 0.003  # between the 0.01 of [A3C] and the 1e-3 of [Port]
    value_replay: float = 1.0  # [Port]

    # [Port]'s number, used there with 400 cells and pseudo-rewards without the factor 1 − γ.
    control: float = 0.05

    # [Port] uses 1 with sums over 20 steps; with means that is 1/20.
    reward_prediction: float = 0.05

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            set_fields(self, **{name: check_not_negative(name, weight)})

    def vector(self) -> Array:
        """The weights (6,) in the order of `Losses`: 1 for the policy, and a negative weight for the entropy."""
        actor_critic = 1.0, self.value, -self.entropy
        auxiliary = self.value_replay, self.control, self.reward_prediction
        return onp.array([*actor_critic, *auxiliary])  # (6,)


def unreal_loss(losses: Losses, weights: LossWeights) -> Array:
    """The loss of UNREAL.

        L = [L_π + λ_V L_V − β H] + λ_VR L_VR + λ_C L_C + λ_RP L_RP

    Raises ValueError unless all parts are finite numbers.
    Source: [UNREAL]; the bracket is [A3C]'s.
    """
    check_kind("losses", losses, Losses)
    check_kind("weights", weights, LossWeights)
    for name, part in zip(Losses._fields, losses):
        check_array(name, part, ())
    loss = np.dot(weights.vector(), np.array(list(losses)))  # ()  U9
    return check_finite("sum of losses", loss)


# ---------------------------------------------------------------- LSTM


def lstm_step(
    gate_inputs: Array, hidden: Array, cell: Array, weights: Array
) -> tuple[Array, Array]:
    """One step of an LSTM: new hidden and cell, (B, H) each.

        c′ = f⊙c + i⊙g, h′ = o⊙tanh(c′), gates from gate_inputs + h·weights

    gate_inputs (B, 4H): the contribution of input and bias to the gates.
    hidden and cell (B, H); weights (H, 4H).
    `unroll` takes the same step without argument checks, which saves a tenth of its time.
    Raises ValueError unless all have these shapes and are finite.
    Source: [LSTM].
    """
    hidden = check_array("hidden", hidden, (None, None))
    rows, units = hidden.shape
    gate_inputs = check_array("gate_inputs", gate_inputs, (rows, 4 * units))
    cell = check_array("cell", cell, (rows, units))
    weights = check_array("weights", weights, (units, 4 * units))
    gates = gate_inputs + np.dot(hidden, weights)  # (B, 4H)
    check_finite("gate_inputs plus hidden times weights", gates)
    return lstm_gated(gates, cell)


def lstm_gated(gates: Array, cell: Array) -> tuple[Array, Array]:
    """h′ and c′, (B, H) each, from the cell (B, H) and gates (B, 4H) in the order i, f, o, g. [LSTM]"""
    i, f, o, g = np.split(gates, 4, axis=-1)  # (B, H) each
    cell = expit(f) * cell + expit(i) * tanh(g)
    hidden = expit(o) * tanh(cell)  # (B, H)  U10
    return hidden, cell


# ---------------------------------------------------------------- argument checks


def checked_flags(name: str, flags: ArrayLike) -> Flags:
    """Booleans (T, ...) from booleans or the numbers 0 and 1. Raises ValueError on other values or without an axis."""
    try:
        given = onp.asarray(flags)
    except ValueError:
        raise ValueError(f"{name} must be (T, ...), got unequal rows") from None
    values = given if given.dtype == bool else floats(name, given)
    if values.ndim == 0 or onp.any((values != 0) & (values != 1)):
        raise ValueError(f"{name} must be (T, ...) with true and false, got {values}")
    return values.astype(bool)


def check_same_flags(ended: ArrayLike, shape: tuple[int, ...]) -> Flags:
    """Flags of this shape. Raises ValueError on others."""
    flags = checked_flags("ended", ended)
    if flags.shape != shape:
        raise ValueError(f"ended must have shape {shape}, got {flags.shape}")
    return flags


def flags_over(name: str, flags: ArrayLike, shape: tuple[int, ...]) -> Flags:
    """`checked_flags` for the leading axes of this shape, with an axis of length 1 for each remaining axis."""
    flags = checked_flags(name, flags)
    if flags.shape != shape[: flags.ndim]:
        raise ValueError(f"{name} must have leading axes of {shape}, got {flags.shape}")
    ones = (1,) * (len(shape) - flags.ndim)
    return flags.reshape(*flags.shape, *ones)  # (T, ..., 1, ...)


def check_noise(name: str, noise: ArrayLike, shape: tuple[int | None, ...]) -> Array:
    """The noise as an array of this shape. Raises ValueError unless it lies in [0, 1)."""
    array = check_array(name, noise, shape)
    check_uniform(name, array)
    return array


def check_last_axes(name: str, values: Array, *axes: str) -> Array:
    """The values as an array. Raises ValueError unless they end in these axes, and no axis has length 0."""
    array = check_array(name, values)
    shape = array.shape
    if len(shape) < len(axes) or 0 in shape:
        raise ValueError(
            f"{name} must be ({', '.join(('...', *axes))}) with no axis of length 0, got {shape}"
        )
    return array


def check_episode(name: str, values: ArrayLike, axes: str) -> Array:
    """The values as an array. Raises ValueError unless they are (T+1, axes) with T ≥ 1."""
    array = check_array(name, values)
    if array.ndim != 2 + axes.count(",") or len(array) < 2:
        raise ValueError(f"{name} must be (T+1, {axes}) with T >= 1, got {array.shape}")
    return array


def check_images(name: str, images: ArrayLike) -> Array:
    """The images as an array. Raises ValueError unless they have height, width and channels."""
    array = check_array(name, images)
    if array.ndim < 3:
        raise ValueError(f"{name} must be (..., H, W, C), got {array.shape}")
    return array


def check_cells(images: Array, cell_size: int) -> int:
    """The cell size. Raises ValueError unless H and W are multiples of it, and images are not empty."""
    size = check_count("cell_size", cell_size)
    shape = images.shape[-3:]
    if 0 in shape or shape[0] % size or shape[1] % size:
        wanted = f"nonempty (..., H, W, C) with H and W multiples of cell_size {size}"
        raise ValueError(f"images must be {wanted}, got {images.shape}")
    return size


def check_rewards(rewards: ArrayLike) -> Array:
    """The rewards as an array. Raises ValueError unless they have at least one row."""
    array = check_array("rewards", rewards)
    if array.shape[:1] in ((), (0,)):
        raise ValueError(f"rewards must have at least 1 row, got {array.shape}")
    return array


def check_next_q_values(next_q_values: ArrayLike, shape: tuple[int, ...]) -> Array:
    """The values as an array. Raises ValueError unless they have the axes of rewards and one of A ≥ 1 actions."""
    array = check_array("next_q_values", next_q_values)
    if array.shape[:-1] != shape or 0 in array.shape[-1:] or array.ndim == 0:
        raise ValueError(
            f"next_q_values must have the axes of rewards and A >= 1, got {array.shape}"
        )
    return array


def check_advantages(values: Array, advantages: Array) -> tuple[Array, Array]:
    """Values (...) and advantages (..., A), A ≥ 1, as arrays. Raises ValueError on others."""
    advantages = check_array("advantages", advantages)
    shape = advantages.shape
    if shape[-1:] in ((), (0,)):
        raise ValueError(f"advantages must be (..., A) with A >= 1, got {shape}")
    return check_array("values", values, shape[:-1]), advantages


# ---------------------------------------------------------------- what `help` shows

__all__ = [
    "pixel_control_rewards", "pixel_changes", "cell_means", "feature_control_rewards",
    "n_step_returns", "n_step_q_targets", "dueling", "reward_class",
    "reward_prediction_windows", "sample_reward_windows", "policy_loss",
    "policy_entropy", "value_loss", "control_loss", "reward_prediction_loss",
    "Losses", "LossWeights", "unreal_loss", "lstm_step",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

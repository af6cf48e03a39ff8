"""UNREAL: an actor-critic that remembers, and auxiliary tasks that teach its network between rewards.

First the definitions, as functions of arrays: pseudo-rewards for control of pixels and of hidden units, n-step
targets, the dueling head, reward prediction, the loss with its weights. Then an agent that uses them all: a small
dense encoder, an LSTM, parallel environments, experience replay; gradients by autograd, truncated through time.
`train_a2c` is a loop in the manner of `agents_ref.train`, and takes the same bonuses.

Axes: T time steps, B environments, N rows, H, W, C height, width and channels of an image, A actions, G controlled
quantities (cells or hidden units), K numbers the encoder sees. Time comes first. Rewards belong to the step they end:
row t holds o_t, a_t, r_t and whether the episode ended with r_t.

Sources: [UNREAL] Jaderberg et al. 2016, arXiv 1611.05397; [A3C] Mnih et al. 2016, arXiv 1602.01783; [Dueling] Wang et
al. 2015, arXiv 1511.06581; [LSTM] Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; [Port]
miyosuda/unreal, a public implementation; [Lecture] "Intrinsic motivation in RL", UNREAL and the curiosity in hidden
states. Where [UNREAL] averages over threads, this agent averages over environments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import autograd.numpy as np
import numpy as onp  # for what no gradient passes through
from autograd.differential_operators import make_vjp
from autograd.scipy.special import expit, logsumexp
from gymnasium import Env
from gymnasium.spaces import Discrete
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

import bnn_ref as bnn
from agents_ref import (
    OUTPUT_SCALE,
    AgentSettings,
    Streams,
    check_fraction,
    checked,
    curiosity,
    environment_action,
    network_init,
)
from bnn_ref import (
    Array,
    check_array,
    check_choice,
    check_count,
    check_finite,
    check_positive,
)
from vime_ref import Batch, Bonus, NoBonus, check_indices

# ---------------------------------------------------------------- constants

FRAMES = 3  # that reward prediction sees, [UNREAL]
CLASSES = 3  # negative, zero, positive
FORGET_BIAS = 1.0  # of a new LSTM, which begins by remembering: Jozefowicz et al. 2015
BRIGHTEST = 255.0  # pixels over this are the network's inputs

# ---------------------------------------------------------------- types

Control = Literal["pixel", "feature"]
View = Literal["pixels", "hidden"]
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


# ---------------------------------------------------------------- building blocks: the network


class Sizes(NamedTuple):
    """What the network takes and gives."""

    inputs: int  # K: the pixels, or their cells, flat
    actions: int  # A
    controls: int  # G
    encoded: int = 64
    hidden: int = 64  # units of the LSTM

    def layers(self) -> dict[str, tuple[int, int]]:
        """Shapes of the weights, (I + 1, O), the last row being the biases; `recurrent` has none, (H, 4H)."""
        return {
            "encoder": (self.inputs + 1, self.encoded),
            "lstm": (self.encoded + self.actions + 1 + 1, 4 * self.hidden),
            "recurrent": (self.hidden, 4 * self.hidden),
            "policy": (self.hidden + 1, self.actions),
            "value": (self.hidden + 1, 1),
            "control_value": (self.hidden + 1, self.controls),
            "control_advantage": (self.hidden + 1, self.controls * self.actions),
            "reward": (FRAMES * self.encoded + 1, CLASSES),
        }


def num_weights(sizes: Sizes) -> int:
    """P, biases included."""
    return sum(i * o for i, o in sizes.layers().values())


def layers_of(theta: Array, sizes: Sizes) -> dict[str, Array]:
    """The weights of each layer from all in one vector (P,)."""
    if onp.shape(theta) != (num_weights(sizes),):
        raise ValueError(
            f"theta must have shape {(num_weights(sizes),)}, got {onp.shape(theta)}"
        )
    blocks, begin = {}, 0
    for name, shape in sizes.layers().items():
        end = begin + shape[0] * shape[1]
        blocks[name], begin = np.reshape(theta[begin:end], shape), end
    return blocks


def unreal_init(sizes: Sizes, rng: Generator) -> Array:
    """Weights (P,): Glorot's, biases 0 but the forget gate's, the heads of policy, value and control near 0."""
    blocks = {}
    for name, (i, o) in sizes.layers().items():
        blocks[name] = network_init((i - (name != "recurrent"), o), rng)[
            : i * o
        ].reshape(i, o)
    blocks["lstm"][-1, sizes.hidden : 2 * sizes.hidden] = FORGET_BIAS
    for name in ("policy", "value", "control_value", "control_advantage"):
        blocks[name] *= OUTPUT_SCALE
    return onp.concatenate([block.ravel() for block in blocks.values()])


def affine(inputs: Array, weights: Array) -> Array:
    """(..., I) by weights (I + 1, O), as one product of matrices: many small ones would take several times as long."""
    flat = np.reshape(inputs, (-1, inputs.shape[-1]))
    return np.reshape(
        np.dot(flat, weights[:-1]) + weights[-1],
        (*inputs.shape[:-1], weights.shape[-1]),
    )


def encode(layers: dict[str, Array], inputs: Array) -> Array:
    """(..., K) -> (..., encoded)."""
    return np.tanh(affine(inputs, layers["encoder"]))


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


def gate_inputs(layers: dict[str, Array], rows: Array, sizes: Sizes) -> Array:
    """What rows (..., K + A + 1) add to the gates of the LSTM, (..., 4H), all steps at once."""
    seen = np.concatenate(
        [encode(layers, rows[..., : sizes.inputs]), rows[..., sizes.inputs :]], axis=-1
    )
    return affine(seen, layers["lstm"])


def unroll(
    layers: dict[str, Array], rows: Array, state: Array, mask: Array, sizes: Sizes
) -> tuple[Array, Array]:
    """Hidden activations and cells after each step, (T, B, H) each.

    rows (T, B, K + A + 1); state (B, 2H): hidden and cell before the first step; mask (T, B): what is left of the state
    before each step, 0 where an episode begins.
    """
    hidden, cell = state[:, : sizes.hidden], state[:, sizes.hidden :]
    inputs = gate_inputs(layers, rows, sizes)
    hiddens, cells = [], []
    for t in range(len(rows)):
        share = mask[t][:, None]
        hidden, cell = lstm_gated(
            inputs[t] + np.dot(share * hidden, layers["recurrent"]), share * cell
        )
        hiddens.append(hidden)
        cells.append(cell)
    return np.stack(hiddens), np.stack(cells)


def control_values(layers: dict[str, Array], hidden: Array, sizes: Sizes) -> Array:
    """Q (..., G, A), a dueling head where [UNREAL] has a deconvolution."""
    advantages = affine(hidden, layers["control_advantage"])
    advantages = np.reshape(
        advantages, (*hidden.shape[:-1], sizes.controls, sizes.actions)
    )
    return dueling(affine(hidden, layers["control_value"]), advantages)


def reward_logits(layers: dict[str, Array], frames: Array) -> Array:
    """(N, 3) from the frames (N, 3, K): three encoders that share their weights, and no memory."""
    encoded = encode(layers, frames)
    return affine(np.reshape(encoded, (len(frames), -1)), layers["reward"])


# ---------------------------------------------------------------- building blocks: steps and replay


@dataclass(frozen=True)
class UnrealSettings:
    """Settings of the agent. [UNREAL] draws some at random for each run, from ranges that [Port] names."""

    weights: LossWeights = LossWeights()
    num_steps: int = 20  # between updates, and of a replayed window: [UNREAL], [Port]
    gamma: float = 0.99  # [Port]
    control_gamma: float = 0.9  # of the pseudo-rewards, [Port]
    control: Control = "pixel"  # or "feature": the activations of the encoder
    input_cell: int = (
        4  # side of the cells whose means the encoder sees, 1 for the pixels themselves
    )
    control_cell: int = 4  # side of the cells to control, [UNREAL]
    encoded: int = 64  # [UNREAL] has 256 for 84 by 84 pixels
    hidden: int = 64
    memory: bool = True  # False: each step is the first one, and last action and reward stay unseen
    replay_steps: int = 500  # of each environment; [Port] has 2000 of each of 8 threads
    reward_windows: int = (
        16  # predicted in an update; [Port] predicts 1 in each of 8 threads
    )
    learning_rate: float = (
        1e-3  # amid the 1e-4 to 5e-3 that [Port] names; Adam, not shared RMSProp
    )
    max_norm: float = 0.5  # of the gradient, as OpenAI baselines have it for means; [Port] clips sums at 40
    reward_scale: float = 0.1  # of what is learned and seen: a goal of 10 is 1. [Port] clips what it replays to 1
    eta: float = 0.0  # weight of a bonus
    normalize: bool = True  # its gains
    bonus_sees: View = (
        "pixels"  # the encoder's inputs, or "hidden": the activations of the LSTM
    )

    def __post_init__(self) -> None:
        counts = (
            "input_cell",
            "control_cell",
            "encoded",
            "hidden",
            "num_steps",
            "replay_steps",
            "reward_windows",
        )
        for name in counts:
            check_count(name, getattr(self, name))
        if self.replay_steps < self.num_steps:
            raise ValueError(
                f"replay_steps must be >= num_steps {self.num_steps}, got {self.replay_steps}"
            )
        check_choice("control", self.control, get_args(Control))
        check_choice("bonus_sees", self.bonus_sees, get_args(View))
        check_fraction("gamma", self.gamma)
        check_fraction("control_gamma", self.control_gamma)
        check_positive("learning_rate", self.learning_rate)
        check_positive("max_norm", self.max_norm)
        check_positive("reward_scale", self.reward_scale)
        AgentSettings(eta=self.eta, normalize=self.normalize)
        if not isinstance(self.memory, bool):
            raise ValueError(f"memory must be True or False, got {self.memory!r}")

    def sizes(self, env: Env[Any, Any]) -> Sizes:
        """The network's sizes for images (H, W, C) of bytes and discrete actions. Raises ValueError on any other."""
        space, shape = env.observation_space, env.observation_space.shape or ()
        if (
            len(shape) != 3
            or space.dtype != onp.uint8
            or not isinstance(env.action_space, Discrete)
        ):
            raise ValueError(
                f"env must have images (H, W, C) of uint8 and discrete actions, got {space} and {env.action_space}"
            )
        image = onp.zeros(shape)
        num_cells = cell_means(image, self.control_cell)[..., 0].size
        controls = num_cells if self.control == "pixel" else self.encoded
        inputs = cell_means(image, self.input_cell).size
        return Sizes(
            inputs, int(env.action_space.n), controls, self.encoded, self.hidden
        )


class Steps(NamedTuple):
    """T steps of B environments. A row is what the network sees: inputs, last action one-hot, last reward."""

    rows: Array  # (T, B, K + A + 1)
    actions: Rows  # (T, B), from 0
    rewards: Array  # (T, B) of the environment
    bonuses: Array  # (T, B), added to the rewards that values are about
    control_rewards: Array  # (T, B, G)
    next_rows: (
        Array  # (T, B, K + A + 1), the true next ones, also where an episode ends
    )
    terminated: Flags  # (T, B)
    truncated: Flags  # (T, B)
    states: Array  # (T, B, 2H), of the LSTM before each step, as the agent had it then

    @property
    def ended(self) -> Flags:
        return self.terminated | self.truncated


def joined(parts: Sequence[Steps], axis: int) -> Steps:
    """One after another along time (axis 0), or side by side (axis 1)."""
    columns: list[Any] = [onp.concatenate(column, axis=axis) for column in zip(*parts)]
    return Steps(*columns)


def extended(replay: Steps | None, steps: Steps, capacity: int) -> Steps:
    """The replay with these steps behind its own, and the oldest beyond the capacity dropped."""
    both = steps if replay is None else joined([replay, steps], axis=0)
    columns: list[Any] = [column[-capacity:] for column in both]
    return Steps(*columns)


def replay_window(replay: Steps, num_steps: int, places: Array) -> Steps:
    """num_steps successive steps of each environment, from where places (B,), uniform on [0, 1), say.

    Raises ValueError on other places, and where the replay has fewer steps.
    """
    check_noise("places", places, replay.rewards.shape[1:])
    if not 1 <= num_steps <= len(replay.rewards):
        raise ValueError(
            f"num_steps must be from 1 to the replay's {len(replay.rewards)}, got {num_steps}"
        )
    columns = onp.arange(len(places))
    first = (places * (len(replay.rewards) - num_steps + 1)).astype(int)
    times = first + onp.arange(num_steps)[:, None]  # (T, B)
    windows: list[Any] = [column[times, columns] for column in replay]
    return Steps(*windows)


def episode_mask(steps: Steps, memory: bool) -> Array:
    """The argument `mask` of `unroll`, (T, B): 0 after an episode's end, or everywhere without memory."""
    before = onp.zeros(steps.rewards.shape, dtype=bool)
    before[1:] = steps.ended[:-1]
    return onp.where(before | (not memory), 0.0, 1.0)


def hidden_activations(
    theta: Array, steps: Steps, sizes: Sizes, memory: bool = True
) -> tuple[Array, Array]:
    """h of each step and of its true next one, (T, B, H) each; where an episode or the steps end, from `next_rows`."""
    layers = layers_of(theta, sizes)
    hidden, cell = unroll(
        layers, steps.rows, steps.states[0], episode_mask(steps, memory), sizes
    )
    following = onp.concatenate([hidden[1:], hidden[:1]])
    late = steps.ended.copy()
    late[-1] = True
    state = memory * onp.concatenate([hidden[late], cell[late]], axis=-1)
    ones = onp.ones((1, len(state)))
    following[late] = unroll(layers, steps.next_rows[late][None], state, ones, sizes)[
        0
    ][0]
    return hidden, following


def hidden_batch(batch: Batch, hidden: Array, next_hidden: Array) -> Batch:
    """The batch as a bonus over hidden states sees it: activations (N, H) in place of observations.

    [Lecture], where states are not observed: state = hidden activation. Those that a bonus has stored are of old
    weights, and age as the agent learns: measured by `vime_lab.studies.labyrinth.drifts`.
    """
    check_array("next_hidden", next_hidden, hidden.shape)
    check_array("hidden", hidden, (len(batch.rewards), *hidden.shape[1:]))
    return batch._replace(observations=hidden, next_observations=next_hidden)


def by_environment(column: NDArray[Any]) -> NDArray[Any]:
    """(T, B, ...) -> (B·T, ...), one environment after another."""
    return onp.swapaxes(column, 0, 1).reshape(-1, *column.shape[2:])


def steps_to_batch(steps: Steps, sizes: Sizes) -> Batch:
    """The steps as a bonus takes them, B·T rows; observations are the encoder's inputs, the last row of each
    environment is truncated unless it terminated.
    """
    cut = steps.truncated.copy()
    cut[-1] |= ~steps.terminated[-1]
    seen, following = (
        steps.rows[..., : sizes.inputs],
        steps.next_rows[..., : sizes.inputs],
    )
    columns = seen, steps.actions, steps.rewards, following, steps.terminated, cut
    return Batch(*(by_environment(column) for column in columns))


# ---------------------------------------------------------------- the algorithm: interact


class Position(NamedTuple):
    """Where B environments and the agent's memory of them stand between two steps."""

    images: NDArray[Any]  # (B, H, W, C)
    rows: Array  # (B, K + A + 1)
    state: Array  # (B, 2H)
    returns: Array  # (B,) rewards of the running episodes


def network_inputs(images: NDArray[Any], settings: UnrealSettings) -> Array:
    """The means of the images' cells from 0 to 1, (B, K)."""
    return cell_means(images, settings.input_cell).reshape(len(images), -1) / BRIGHTEST


def begin_episodes(
    images: NDArray[Any], settings: UnrealSettings, sizes: Sizes
) -> Array:
    """Rows (B, K + A + 1) with no last action and no last reward."""
    return onp.concatenate(
        [network_inputs(images, settings), onp.zeros((len(images), sizes.actions + 1))],
        axis=1,
    )


def begin(
    envs: Sequence[Env[Any, Any]], settings: UnrealSettings, rng: Generator
) -> Position:
    """All environments reset, each by its own seed."""
    if not envs:
        raise ValueError("envs must be at least 1, got 0")
    sizes = settings.sizes(envs[0])
    images = [
        checked(env.reset(seed=int(rng.integers(2**31)))[0], "observation", 0)
        for env in envs
    ]
    rows = begin_episodes(onp.stack(images), settings, sizes)
    return Position(
        onp.stack(images),
        rows,
        onp.zeros((len(envs), 2 * sizes.hidden)),
        onp.zeros(len(envs)),
    )


def act(
    layers: dict[str, Array], rows: Array, state: Array, noise: Array, sizes: Sizes
) -> tuple[Rows, Array]:
    """Actions (B,) of one step, the first whose cumulated probability exceeds the noise (B,), and the new state."""
    hidden, cell = unroll(layers, rows[None], state, onp.ones((1, len(rows))), sizes)
    probabilities = onp.exp(log_softmax(affine(hidden[0], layers["policy"])))
    actions = onp.sum(
        onp.cumsum(probabilities[:, :-1], axis=-1) <= noise[:, None], axis=-1
    )
    return actions, onp.concatenate([hidden[0], cell[0]], axis=-1)


def controlled(
    layers: dict[str, Array],
    before: Array,
    after: Array,
    next_rows: Array,
    settings: UnrealSettings,
) -> Array:
    """Pseudo-rewards (B, G) of one step, times 1 − γ, so that Q is a discounted mean: of pixels it stays in [0, 1].

    Left as large as they are, their sums drive the LSTM into saturation before anything is learned.
    """
    if settings.control == "feature":
        rewards = encode(layers, next_rows[:, : len(layers["encoder"]) - 1])
    else:
        rewards = (
            pixel_changes(before, after, settings.control_cell).reshape(len(before), -1)
            / BRIGHTEST
        )
    return (1.0 - settings.control_gamma) * rewards


def restarted(
    envs: Sequence[Env[Any, Any]],
    position: Position,
    ended: Flags,
    step: int,
    settings: UnrealSettings,
    sizes: Sizes,
) -> Position:
    """The position with a new episode wherever one has ended."""
    if not ended.any():
        return position
    images, rows, state, returns = (column.copy() for column in position)
    images[ended] = [
        checked(env.reset()[0], "observation", step)
        for env, over in zip(envs, ended)
        if over
    ]
    rows[ended] = begin_episodes(images[ended], settings, sizes)
    state[ended], returns[ended] = 0.0, 0.0
    return Position(images, rows, state, returns)


def interact(
    theta: Array,
    envs: Sequence[Env[Any, Any]],
    position: Position,
    noise: Array,
    settings: UnrealSettings,
) -> tuple[Steps, Position, Array]:
    """T steps of all environments with noise (T, B): the steps, the new position, returns of the episodes that ended.

    An environment whose episode ends is reset at once; the true next observation stays in `next_rows`. Raises
    ValueError on noise that is not (T, B) in [0, 1) with T >= 1, and, naming the step, on an observation or reward that
    is not finite.
    """
    check_noise("noise", noise, (len(noise), len(envs)))
    check_count("steps of noise", len(noise))
    sizes = settings.sizes(envs[0])
    layers = layers_of(theta, sizes)
    rows_of_steps, episode_returns = [], []
    for t, row_noise in enumerate(noise):
        images, rows, state, returns = position
        state = state * settings.memory
        actions, next_state = act(layers, rows, state, row_noise, sizes)
        results = [
            env.step(environment_action(action, env.action_space))
            for env, action in zip(envs, actions)
        ]
        next_images = onp.stack(
            [checked(result[0], "observation", t) for result in results]
        )
        rewards = checked([result[1] for result in results], "reward", t)
        terminated, truncated = (
            onp.array([result[k] for result in results], dtype=bool) for k in (2, 3)
        )
        next_rows = begin_episodes(next_images, settings, sizes)
        if settings.memory:
            next_rows[:, sizes.inputs : -1] = onp.eye(sizes.actions)[actions]
            next_rows[:, -1] = settings.reward_scale * rewards
        control = controlled(layers, images, next_images, next_rows, settings)
        no_bonus = onp.zeros(len(envs))
        rows_of_steps.append(
            (
                rows,
                actions,
                rewards,
                no_bonus,
                control,
                next_rows,
                terminated,
                truncated,
                state,
            )
        )
        ended, returns = terminated | truncated, returns + rewards
        episode_returns.append(returns[ended])
        position = restarted(
            envs,
            Position(next_images, next_rows, next_state, returns),
            ended,
            t,
            settings,
            sizes,
        )
    columns = [onp.array(column) for column in zip(*rows_of_steps)]
    return Steps(*columns), position, onp.concatenate(episode_returns)


# ---------------------------------------------------------------- the algorithm: learn


class Draws(NamedTuple):
    """Noise of one update, each uniform on [0, 1)."""

    value_places: Array  # (B,) where the replayed windows begin
    control_places: Array  # (B,)
    coins: Array  # (N,) of `sample_reward_windows`
    places: Array  # (N,)


class TrainingBatch(NamedTuple):
    """What an update learns from: steps side by side, the targets of each, frames to predict rewards from."""

    steps: Steps  # the new ones (T, B), then those for value replay, then those for control
    parts: dict[str, slice]  # the columns of each
    advantages: Array  # (T, all columns)
    returns: Array  # (T, all columns)
    control_targets: Array  # (T, columns for control, G)
    frames: Array  # (N, 3, K)
    classes: Rows  # (N,)


def draw(rng: Generator, num_envs: int, settings: UnrealSettings) -> Draws:
    """The noise of one update, as much of it whichever tasks are on."""
    counts = num_envs, num_envs, settings.reward_windows, settings.reward_windows
    return Draws(*(rng.random(count) for count in counts))


def reward_prediction_batch(
    replay: Steps, draws: Draws, num_inputs: int
) -> tuple[Array, Rows]:
    """Frames (N, 3, K) and the classes (N,) of the rewards that followed; of none where no window fits."""
    ends = sample_reward_windows(
        replay.rewards, replay.ended, draws.coins, draws.places
    )
    times, columns = (
        ends[:, :1] + onp.arange(1 - FRAMES, 1),
        ends[:, 1:],
    )  # (N, 3), (N, 1)
    return replay.rows[times, columns, :num_inputs], reward_class(
        replay.rewards[ends[:, 0], ends[:, 1]]
    )


def training_batch(
    theta: Array,
    steps: Steps,
    replay: Steps,
    draws: Draws,
    settings: UnrealSettings,
    sizes: Sizes,
) -> TrainingBatch:
    """All that is constant in the loss of an update; tasks of weight 0 get nothing."""
    w, num_steps = settings.weights, len(steps.rewards)
    chosen_parts = {"new": steps}
    if w.value_replay:
        chosen_parts["value_replay"] = replay_window(
            replay, num_steps, draws.value_places
        )
    if w.control:
        chosen_parts["control"] = replay_window(replay, num_steps, draws.control_places)
    num_envs = steps.rewards.shape[1]
    parts = {
        name: slice(k * num_envs, (k + 1) * num_envs)
        for k, name in enumerate(chosen_parts)
    }
    everything = joined(list(chosen_parts.values()), axis=1)
    layers = layers_of(theta, sizes)
    hidden, next_hidden = hidden_activations(theta, everything, sizes, settings.memory)
    values, next_values = (
        affine(h, layers["value"])[..., 0] for h in (hidden, next_hidden)
    )
    ends = everything.terminated, everything.truncated
    rewards = settings.reward_scale * (everything.rewards + everything.bonuses)
    returns = n_step_returns(rewards, next_values, *ends, gamma=settings.gamma)
    columns = parts.get("control", slice(0, 0))
    control_targets = n_step_q_targets(
        everything.control_rewards[:, columns],
        control_values(layers, next_hidden[:, columns], sizes),
        *(flags[:, columns] for flags in ends),
        gamma=settings.control_gamma,
    )
    frames, classes = onp.zeros((0, FRAMES, sizes.inputs)), onp.zeros(0, int)
    if w.reward_prediction:
        frames, classes = reward_prediction_batch(replay, draws, sizes.inputs)
    return TrainingBatch(
        everything, parts, returns - values, returns, control_targets, frames, classes
    )


def batch_losses(
    theta: Array, batch: TrainingBatch, settings: UnrealSettings, sizes: Sizes
) -> Losses:
    """The parts of the loss; 0 for tasks that are off, or have nothing to learn from."""
    layers, steps, parts = layers_of(theta, sizes), batch.steps, batch.parts
    hidden, _ = unroll(
        layers, steps.rows, steps.states[0], episode_mask(steps, settings.memory), sizes
    )
    new = parts["new"]
    logits = affine(hidden[:, new], layers["policy"])
    values = affine(hidden, layers["value"])[..., 0]
    value_replay: Any = 0.0
    control: Any = 0.0
    reward_prediction: Any = 0.0
    if "value_replay" in parts:
        old = parts["value_replay"]
        value_replay = value_loss(values[:, old], batch.returns[:, old])
    if "control" in parts:
        q_values = control_values(layers, hidden[:, parts["control"]], sizes)
        control = control_loss(
            q_values, steps.actions[:, parts["control"]], batch.control_targets
        )
    if len(batch.frames):
        reward_prediction = reward_prediction_loss(
            reward_logits(layers, batch.frames), batch.classes
        )
    return Losses(
        policy_loss(logits, steps.actions[:, new], batch.advantages[:, new]),
        value_loss(values[:, new], batch.returns[:, new]),
        policy_entropy(logits),
        value_replay,
        control,
        reward_prediction,
    )


def clipped(gradient: Array, max_norm: float) -> Array:
    """The gradient, shortened to max_norm where it is longer. Raises ValueError unless it is finite."""
    check_finite("gradient", gradient)
    norm = onp.linalg.norm(gradient)
    return gradient * (max_norm / norm) if norm > max_norm else gradient


def learning_step(
    theta: Array,
    adam: bnn.AdamState,
    batch: TrainingBatch,
    settings: UnrealSettings,
    sizes: Sizes,
) -> tuple[Array, bnn.AdamState, Losses]:
    """One step of Adam down `unreal_loss`, through the T steps of the batch and no further back.

    Raises ValueError where the gradient is not finite.
    """

    def parts_of_loss(theta: Array) -> Array:
        return np.array(list(batch_losses(theta, batch, settings, sizes)))

    vjp, losses = make_vjp(parts_of_loss)(theta)
    gradient = clipped(
        vjp(settings.weights.vector()), settings.max_norm
    )  # of the loss, linear in its parts
    theta, adam = bnn.adam_step(
        theta, gradient, adam, learning_rate=settings.learning_rate
    )
    return theta, adam, Losses(*losses)


# ---------------------------------------------------------------- the algorithm


class A2CIteration(NamedTuple):
    """What `train_a2c` yields: new weights and bonus, and what was seen."""

    theta: Array  # (P,)
    bonus: Bonus
    steps: Steps
    losses: Losses  # before the step
    gains: Array  # (B·T,) raw, one environment after another
    episode_returns: Array  # of the episodes that ended in these steps


def bonus_batch(
    theta: Array, steps: Steps, settings: UnrealSettings, sizes: Sizes
) -> Batch:
    """The steps as the bonus sees them, inputs of the encoder or activations of the LSTM as `bonus_sees` says."""
    batch = steps_to_batch(steps, sizes)
    if settings.bonus_sees == "pixels":
        return batch
    return hidden_batch(
        batch,
        *map(by_environment, hidden_activations(theta, steps, sizes, settings.memory)),
    )


def train_a2c(
    envs: Sequence[Env[Any, Any]],
    theta: Array,
    streams: Streams,
    settings: UnrealSettings,
    *,
    num_updates: int,
    bonus: Bonus | None = None,
) -> Iterator[A2CIteration]:
    """Interact, reward curiosity, remember, learn, train the bonus's model, again and again.

    [UNREAL]; [Lecture] "Algorithm" for the bonus, none when not given. The environments are alike; theta is
    from `unreal_init`. The agent draws from streams.policy, its replay's windows too, so that a bonus that draws from
    streams.model and streams.replay does not move it.
    """
    check_count("num_updates", num_updates)
    bonus = bonus or NoBonus()
    position, sizes = (
        begin(envs, settings, streams.environment),
        settings.sizes(envs[0]),
    )
    adam = bnn.adam_init(len(theta))
    history: tuple[float, ...] = ()
    replay: Steps | None = None
    curious = AgentSettings(eta=settings.eta, normalize=settings.normalize)
    for _ in range(num_updates):
        noise = streams.policy.random((settings.num_steps, len(envs)))
        steps, position, episode_returns = interact(
            theta, envs, position, noise, settings
        )
        batch = bonus_batch(theta, steps, settings, sizes)
        rewards, gains, history = curiosity(
            bonus, batch, history, streams.model, curious
        )
        extra = (rewards - batch.rewards).reshape(len(envs), -1).T
        steps = steps._replace(bonuses=extra)
        replay = extended(replay, steps, settings.replay_steps)
        draws = draw(streams.policy, len(envs), settings)
        training = training_batch(theta, steps, replay, draws, settings, sizes)
        theta, adam, losses = learning_step(theta, adam, training, settings, sizes)
        bonus = bonus.update(batch, streams.replay)
        yield A2CIteration(theta, bonus, steps, losses, gains, episode_returns)

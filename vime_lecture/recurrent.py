"""A recurrent actor-critic (A2C with an LSTM) that learns from UNREAL's auxiliary tasks.

It has a small dense encoder, an LSTM, parallel environments and experience replay. Gradients are by autograd, with
truncated backpropagation through time. `train_a2c` is a loop like `agents_ref.train` and takes the same bonuses.

Axes: T time steps, B environments, N rows, H, W, C height, width and channels of an image, A actions, G controlled
quantities (cells or hidden units), K encoder inputs. For the LSTM, H is the number of units. Time comes first.
Rewards belong to the step they end: row t holds o_t, a_t, r_t and whether the episode ended with r_t.

Sources: [UNREAL] Jaderberg et al. 2016, arXiv 1611.05397; [A3C] Mnih et al. 2016, arXiv 1602.01783; [Port]
miyosuda/unreal, a public implementation; [Lecture] "Intrinsic motivation in RL", UNREAL and curiosity in hidden
states. Departure: [UNREAL] averages over threads, this agent over environments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import autograd.numpy as np
import numpy as onp  # plain NumPy, for values without gradients
from autograd.differential_operators import make_vjp
from gymnasium import Env
from gymnasium.spaces import Box, Discrete
from numpy.random import Generator
from numpy.typing import NDArray

import bnn_ref as bnn
from agents_ref import (
    OUTPUT_SCALE,
    Streams,
    check_fraction,
    check_methods,
    check_streams,
    curiosity,
    environment_actions,
    log_softmax,
    network_init,
    sample_actions,
)
from bnn_ref import (
    Array,
    check_array,
    check_choice,
    check_count,
    check_flag,
    check_kind,
    check_not_negative,
    check_positive,
    set_fields,
)
from vime_lecture.steps import reset_env, step_env
from vime_lecture.unreal import (
    CLASSES,
    FRAMES,
    Flags,
    Losses,
    LossWeights,
    Rows,
    cell_means,
    check_noise,
    control_loss,
    dueling,
    lstm_gated,
    n_step_q_targets,
    n_step_returns,
    pixel_changes,
    policy_entropy,
    policy_loss,
    reward_class,
    reward_prediction_loss,
    sample_reward_windows,
    value_loss,
)
from vime_ref import Batch, Bonus, NoBonus

# ---------------------------------------------------------------- constants

FORGET_BIAS = 1.0  # a new LSTM remembers: Jozefowicz et al. 2015
BRIGHTEST = 255.0  # the network's inputs are pixels divided by this

# ---------------------------------------------------------------- types

Control = Literal["pixel", "feature"]
View = Literal["pixels", "hidden"]


class UnrealSizes(NamedTuple):
    """The network's input, hidden and output sizes; defaults are those of `UnrealSettings`."""

    inputs: int  # K: the flattened pixels or cells
    actions: int  # A
    controls: int  # G
    encoded: int = 64
    hidden: int = 64  # units of the LSTM

    def layers(self) -> dict[str, tuple[int, int]]:
        """Shapes of the weights: (I + 1, O) with biases in the last row, except `recurrent` (H, 4H), which has none."""
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


@dataclass(frozen=True)
class UnrealSettings:
    """Settings of the agent. [UNREAL] draws some settings at random for each run; [Port] names the ranges."""

    weights: LossWeights = field(default_factory=LossWeights)
    num_steps: int = 20  # per update and replayed window: [UNREAL], [Port]
    gamma: float = 0.99  # [Port]
    control_gamma: float = 0.9  # discount of the pseudo-rewards, [Port]
    control: Control = "pixel"  # or "feature": the encoder's activations

    # Side of the cells whose means the encoder sees; 1 means the pixels themselves.
    input_cell: int = 4
    control_cell: int = 4  # side of the controlled cells, [UNREAL]
    encoded: int = 64  # [UNREAL] has 256 for 84 by 84 pixels
    hidden: int = 64

    # False: no state is carried over, and last action and reward are hidden.
    memory: bool = True
    replay_steps: int = 500  # per environment; [Port]: 2000 for each of 8 threads

    # Rewards predicted per update; [Port] predicts 1 in each of 8 threads.
    reward_windows: int = 16

    # Inside the range 1e-4 to 5e-3 of [Port]; Adam, not shared RMSProp.
    learning_rate: float = 1e-3

    # Maximum gradient norm, from OpenAI baselines for means; [Port] clips sums at 40.
    max_norm: float = 0.5

    # Scales learned and observed rewards: a goal of 10 becomes 1. [Port] clips replayed rewards to 1.
    reward_scale: float = 0.1
    eta: float = 0.0  # weight of a bonus
    normalize: bool = True  # whether to normalize its gains

    # The encoder's inputs, or "hidden": the LSTM's activations.
    bonus_sees: View = "pixels"

    def __post_init__(self) -> None:
        check_unreal_settings(self)

    def sizes(self, env: Env[Any, Any]) -> UnrealSizes:
        """The network's sizes for byte images (H, W, C) and discrete actions. Raises ValueError on other spaces."""
        shape, num_actions = checked_spaces(env)
        image = onp.zeros(shape)
        inputs = cell_means(image, self.input_cell).size
        num_cells = cell_means(image, self.control_cell)[..., 0].size
        controls = num_cells if self.control == "pixel" else self.encoded
        return UnrealSizes(inputs, num_actions, controls, self.encoded, self.hidden)


class Steps(NamedTuple):
    """T steps of B environments. A row is the network's input: encoder inputs, one-hot last action, last reward."""

    rows: Array  # (T, B, K + A + 1)
    actions: Rows  # (T, B), from 0
    rewards: Array  # (T, B) of the environment
    bonuses: Array  # (T, B), added to the rewards that the values predict
    control_rewards: Array  # (T, B, G)

    # (T, B, K + A + 1), the true next rows, also at the end of an episode.
    next_rows: Array
    terminated: Flags  # (T, B)
    truncated: Flags  # (T, B)
    states: Array  # (T, B, 2H), the LSTM state before each step, at the time of acting

    @property
    def ended(self) -> Flags:
        return self.terminated | self.truncated


# ---------------------------------------------------------------- weights


def num_parameters(sizes: UnrealSizes) -> int:
    """The number of weights P, biases included. Raises ValueError unless all sizes are whole numbers ≥ 1."""
    sizes = checked_sizes(sizes)
    return sum(i * o for i, o in sizes.layers().values())


def network_layers(theta: Array, sizes: UnrealSizes) -> dict[str, Array]:
    """Each layer's weights from one flat vector (P,). Raises ValueError on another shape."""
    theta = check_theta(theta, sizes)
    blocks = {}
    begin = 0
    for name, shape in sizes.layers().items():
        end = begin + shape[0] * shape[1]
        blocks[name] = np.reshape(theta[begin:end], shape)  # (I + 1, O)
        begin = end
    return blocks


def unreal_init(sizes: UnrealSizes, rng: Generator) -> Array:
    """Initial weights (P,): Glorot; biases 0 except the forget gate's; policy, value and control heads near 0."""
    sizes = checked_sizes(sizes)
    check_kind("rng", rng, Generator)
    blocks = {}
    for name, (i, o) in sizes.layers().items():
        num_inputs = i - (name != "recurrent")
        weights = network_init((num_inputs, o), rng)
        blocks[name] = weights[: i * o].reshape(i, o)  # (I + 1, O)

    # Remember at first, and prefer no action.
    blocks["lstm"][-1, sizes.hidden : 2 * sizes.hidden] = FORGET_BIAS
    for name in ("policy", "value", "control_value", "control_advantage"):
        blocks[name] *= OUTPUT_SCALE
    return onp.concatenate([block.ravel() for block in blocks.values()])  # (P,)


# ---------------------------------------------------------------- the network


def affine(inputs: Array, weights: Array) -> Array:
    """Linear layer: (..., I) and weights (I + 1, O) -> (..., O), as one matrix product because many are slow."""
    flat = np.reshape(inputs, (-1, inputs.shape[-1]))  # (N, I)
    outputs = np.dot(flat, weights[:-1]) + weights[-1]  # (N, O)
    return np.reshape(outputs, (*inputs.shape[:-1], weights.shape[-1]))  # (..., O)


def encoding(layers: dict[str, Array], inputs: Array) -> Array:
    """Encoder activations, (..., K) -> (..., encoded)."""
    return bnn.tanh(affine(inputs, layers["encoder"]))


def gate_inputs(layers: dict[str, Array], rows: Array, sizes: UnrealSizes) -> Array:
    """The rows' contribution to the LSTM gates, (..., K + A + 1) -> (..., 4H), all steps at once."""
    encoded = encoding(layers, rows[..., : sizes.inputs])
    rest = rows[..., sizes.inputs :]
    seen = np.concatenate([encoded, rest], axis=-1)  # (..., encoded + A + 1)
    return affine(seen, layers["lstm"])


def unroll(
    layers: dict[str, Array], rows: Array, state: Array, mask: Array, sizes: UnrealSizes
) -> tuple[Array, Array]:
    """Hidden activations and cells after each step, (T, B, H) each.

    rows: (T, B, K + A + 1).
    state (B, 2H): hidden and cell before the first step.
    mask (T, B): factor on the state before each step, 0 if an episode begins there.
    """
    inputs = gate_inputs(layers, rows, sizes)
    hidden = state[:, : sizes.hidden]  # (B, H)
    cell = state[:, sizes.hidden :]  # (B, H)
    hiddens = []
    cells = []
    for t in range(len(rows)):
        share = mask[t][:, None]  # (B, 1)
        gates = inputs[t] + np.dot(share * hidden, layers["recurrent"])  # (B, 4H)
        hidden, cell = lstm_gated(gates, share * cell)
        hiddens.append(hidden)
        cells.append(cell)
    return np.stack(hiddens), np.stack(cells)  # (T, B, H) each


def control_values(
    layers: dict[str, Array], hidden: Array, sizes: UnrealSizes
) -> Array:
    """Q (..., G, A) of the controlled quantities, by a dueling head; [UNREAL] uses a deconvolution."""
    lead = hidden.shape[:-1]
    flat = affine(hidden, layers["control_advantage"])  # (..., G·A)
    advantages = np.reshape(flat, (*lead, sizes.controls, sizes.actions))  # (..., G, A)
    return dueling(affine(hidden, layers["control_value"]), advantages)


def reward_logits(layers: dict[str, Array], frames: Array) -> Array:
    """Reward logits (N, 3) from frames (N, 3, K): three encoders with shared weights, and no memory."""
    encoded = encoding(layers, frames)
    flat = np.reshape(encoded, (len(frames), -1))  # (N, 3·encoded)
    return affine(flat, layers["reward"])


# ---------------------------------------------------------------- replay


def joined(parts: Sequence[Steps], axis: int) -> Steps:
    """Join steps one after another in time (axis 0), or side by side (axis 1)."""
    columns: list[Any] = [
        onp.concatenate(column, axis=axis)  # (ΣT, B, ...) or (T, ΣB, ...)
        for column in zip(*parts)
    ]
    return Steps(*columns)


def extended(replay: Steps | None, steps: Steps, capacity: int) -> Steps:
    """The replay with these steps appended, and the oldest steps beyond the capacity dropped."""
    both = steps if replay is None else joined([replay, steps], axis=0)  # (ΣT, B, ...)
    columns: list[Any] = [column[-capacity:] for column in both]
    return Steps(*columns)


def replay_window(replay: Steps, num_steps: int, places: Array) -> Steps:
    """A window of num_steps successive steps of each environment; noise `places` (B,) in [0, 1) selects its start.

    Raises ValueError if places are not in [0, 1), or the replay has fewer steps.
    """
    check_kind("replay", replay, Steps)
    places = check_noise("places", places, replay.rewards.shape[1:])
    num_steps = check_window(num_steps, len(replay.rewards))
    num_places = len(replay.rewards) - num_steps + 1
    first = (places * num_places).astype(int)
    times = first + onp.arange(num_steps)[:, None]  # (T, B)
    columns = onp.arange(len(places))
    windows: list[Any] = [column[times, columns] for column in replay]  # (T, B, ...)
    return Steps(*windows)


# ---------------------------------------------------------------- the view of a bonus


def bonus_batch(
    theta: Array, steps: Steps, settings: UnrealSettings, sizes: UnrealSizes
) -> Batch:
    """The steps as the bonus sees them: encoder inputs or LSTM activations, as `bonus_sees` selects."""
    batch = steps_to_batch(steps, sizes)
    if settings.bonus_sees == "pixels":
        return batch
    hidden, following = hidden_activations(theta, steps, sizes, settings.memory)
    return hidden_batch(batch, by_environment(hidden), by_environment(following))


def hidden_batch(batch: Batch, hidden: Array, next_hidden: Array) -> Batch:
    """The batch as a bonus over hidden states sees it: activations (N, H) instead of observations.

        (h, a) → h′

    [Lecture] proposes this for unobserved states: state = hidden activation. Activations that a bonus has stored come
    from old weights and become stale as the agent learns. `vime_lab.studies.labyrinth.drifts` measures this drift.
    Source: [Lecture].
    """
    check_kind("batch", batch, Batch)
    hidden = check_array("hidden", hidden, (len(batch.rewards), None))
    next_hidden = check_array("next_hidden", next_hidden, hidden.shape)
    return batch._replace(observations=hidden, next_observations=next_hidden)  # U12


def hidden_activations(
    theta: Array, steps: Steps, sizes: UnrealSizes, memory: bool = True
) -> tuple[Array, Array]:
    """Activations h of each step and of its true next step, (T, B, H) each; `next_rows` gives h′ at an end."""
    check_kind("steps", steps, Steps)
    layers = network_layers(theta, sizes)
    mask = episode_mask(steps, check_flag("memory", memory))
    hidden, cell = unroll(layers, steps.rows, steps.states[0], mask, sizes)
    following = onp.concatenate([hidden[1:], hidden[:1]])  # (T, B, H)

    # The N steps whose true next step is not in the batch.
    late = steps.ended.copy()
    late[-1] = True
    state = memory * onp.concatenate([hidden[late], cell[late]], axis=-1)  # (N, 2H)
    ones = onp.ones((1, len(state)))
    rows = steps.next_rows[late][None]  # (1, N, K + A + 1)
    next_hidden, _ = unroll(layers, rows, state, ones, sizes)
    following[late] = next_hidden[0]  # (N, H)
    return hidden, following


def episode_mask(steps: Steps, memory: bool) -> Array:
    """The argument `mask` (T, B) of `unroll`: 0 after an episode's end, and everywhere without memory."""
    before = onp.zeros(steps.rewards.shape, dtype=bool)
    before[1:] = steps.ended[:-1]
    return onp.where(before | (not memory), 0.0, 1.0)


def steps_to_batch(steps: Steps, sizes: UnrealSizes) -> Batch:
    """The steps as a `Batch` of B·T rows; its observations (B·T, K) are the encoder's inputs.

    The last row of each environment is marked truncated unless it terminated.
    """
    cut = steps.truncated.copy()
    cut[-1] |= ~steps.terminated[-1]
    columns = (
        steps.rows[..., : sizes.inputs],
        steps.actions,
        steps.rewards,
        steps.next_rows[..., : sizes.inputs],
        steps.terminated,
        cut,
    )
    return Batch(*(by_environment(column) for column in columns))


def by_environment(column: NDArray[Any]) -> NDArray[Any]:
    """Flatten to one environment after another: (T, B, ...) -> (B·T, ...)."""
    turned = onp.swapaxes(column, 0, 1)  # (B, T, ...)
    return turned.reshape(-1, *column.shape[2:])  # (B·T, ...)


# ---------------------------------------------------------------- interact


class Position(NamedTuple):
    """The state of B environments and of the agent's memory between two steps."""

    images: NDArray[Any]  # (B, H, W, C)
    rows: Array  # (B, K + A + 1)
    state: Array  # (B, 2H)
    returns: Array  # (B,) returns so far of the running episodes


def begin(
    envs: Sequence[Env[Any, Any]], settings: UnrealSettings, rng: Generator
) -> Position:
    """The position after resetting each environment with its own seed.

    Raises ValueError if there is none, if two are the same object, or if their spaces differ.
    """
    check_environments(envs)
    sizes = settings.sizes(envs[0])
    seeds = [int(rng.integers(2**31)) for _ in envs]
    observations = [reset_env(env, 0, seed) for env, seed in zip(envs, seeds)]
    images = onp.stack(observations)  # (B, H, W, C)
    rows = begin_episodes(images, settings, sizes)
    state = onp.zeros((len(envs), 2 * sizes.hidden))
    return Position(images, rows, state, onp.zeros(len(envs)))


def begin_episodes(
    images: NDArray[Any], settings: UnrealSettings, sizes: UnrealSizes
) -> Array:
    """Rows (B, K + A + 1) at the start of an episode: last action and last reward are 0."""
    inputs = network_inputs(images, settings)
    nothing = onp.zeros((len(images), sizes.actions + 1))
    return onp.concatenate([inputs, nothing], axis=1)  # (B, K + A + 1)


def following_rows(
    images: NDArray[Any],
    actions: Rows,
    rewards: Array,
    settings: UnrealSettings,
    sizes: UnrealSizes,
) -> Array:
    """Rows (B, K + A + 1) after actions and rewards (B,), which are 0 if the agent has no memory."""
    rows = begin_episodes(images, settings, sizes)
    if settings.memory:
        rows[:, sizes.inputs : -1] = onp.eye(sizes.actions)[actions]  # (B, A)
        rows[:, -1] = settings.reward_scale * rewards
    return rows


def network_inputs(images: NDArray[Any], settings: UnrealSettings) -> Array:
    """Encoder inputs (B, K): means of the images' cells, scaled to [0, 1]."""
    cells = cell_means(images, settings.input_cell)
    return cells.reshape(len(images), -1) / BRIGHTEST  # (B, K)


def act(
    layers: dict[str, Array],
    rows: Array,
    state: Array,
    noise: Array,
    sizes: UnrealSizes,
) -> tuple[Rows, Array]:
    """Actions (B,), the first whose cumulative probability exceeds the noise (B,); and the new LSTM state."""
    ones = onp.ones((1, len(rows)))
    hidden, cell = unroll(layers, rows[None], state, ones, sizes)
    logits = affine(hidden[0], layers["policy"])  # (B, A)
    actions = sample_actions(log_softmax(logits), noise)  # (B,)
    return actions, onp.concatenate([hidden[0], cell[0]], axis=-1)  # (B, 2H)


def stepped(
    envs: Sequence[Env[Any, Any]], actions: Rows, step: int
) -> tuple[NDArray[Any], Array, Flags, Flags]:
    """Images (B, H, W, C), rewards (B,), terminated (B,) and truncated (B,) after actions (B,).

    Raises ValueError, naming the step, if an observation or reward is not finite or has another shape.
    """
    sent = environment_actions(actions, envs[0].action_space)
    results = [step_env(env, int(each), step) for env, each in zip(envs, sent)]
    observations, rewards, ends, cuts = zip(*results)
    images = onp.stack(observations)  # (B, H, W, C)
    return images, onp.array(rewards), onp.array(ends), onp.array(cuts)


def controlled(
    layers: dict[str, Array],
    before: Array,
    after: Array,
    next_rows: Array,
    settings: UnrealSettings,
) -> Array:
    """Pseudo-rewards (B, G) of one step times 1 − γ, so that Q is a discounted mean; for pixels it stays in [0, 1].

    Unscaled sums saturate the LSTM before it learns anything.
    """
    if settings.control == "feature":
        num_inputs = len(layers["encoder"]) - 1
        rewards = encoding(layers, next_rows[:, :num_inputs])
    else:
        changes = pixel_changes(before, after, settings.control_cell)
        rewards = changes.reshape(len(before), -1) / BRIGHTEST  # (B, G)
    return (1.0 - settings.control_gamma) * rewards


def restarted(
    envs: Sequence[Env[Any, Any]],
    position: Position,
    ended: Flags,
    step: int,
    settings: UnrealSettings,
    sizes: UnrealSizes,
) -> Position:
    """The position with a new episode in each environment whose episode has ended."""
    if not ended.any():
        return position
    images, rows, state, returns = (column.copy() for column in position)
    observations = [reset_env(env, step) for env, over in zip(envs, ended) if over]
    images[ended] = onp.stack(observations)  # (ended, H, W, C)
    rows[ended] = begin_episodes(images[ended], settings, sizes)
    state[ended] = 0.0
    returns[ended] = 0.0
    return Position(images, rows, state, returns)


def one_step(
    layers: dict[str, Array],
    envs: Sequence[Env[Any, Any]],
    position: Position,
    noise: Array,
    step: int,
    settings: UnrealSettings,
    sizes: UnrealSizes,
) -> tuple[Steps, Position]:
    """One step of all environments with noise (B,), without an axis T; and the position after it, before any reset."""
    # Act.
    images, rows, state, returns = position
    state = state * settings.memory
    actions, next_state = act(layers, rows, state, noise, sizes)
    next_images, rewards, terminated, truncated = stepped(envs, actions, step)

    # The network's next inputs, and the pseudo-rewards.
    next_rows = following_rows(next_images, actions, rewards, settings, sizes)
    control = controlled(layers, images, next_images, next_rows, settings)

    no_bonus = onp.zeros(len(envs))
    following = Position(next_images, next_rows, next_state, returns + rewards)
    seen = Steps(
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
    return seen, following


def interact(
    theta: Array,
    envs: Sequence[Env[Any, Any]],
    position: Position,
    noise: Array,
    settings: UnrealSettings,
) -> tuple[Steps, Position, Array]:
    """Interact for T steps with noise (T, B); return the steps, the new position and the returns of finished episodes.

    An environment whose episode ends is reset at once; the true next observation stays in `next_rows`.
    Raises ValueError unless noise is (T, B) in [0, 1) with T ≥ 1. Raises ValueError, naming the step, if an
    observation or reward is not finite.
    """
    noise = check_noise("noise", noise, (None, len(envs)))
    check_count("steps of noise", len(noise))
    sizes = settings.sizes(envs[0])
    layers = network_layers(theta, sizes)

    # Step, and reset the environments whose episodes ended.
    parts = []
    episode_returns = []
    for t, noise_now in enumerate(noise):
        seen, position = one_step(layers, envs, position, noise_now, t, settings, sizes)
        parts.append(seen)
        episode_returns.append(position.returns[seen.ended])
        position = restarted(envs, position, seen.ended, t, settings, sizes)

    # One array a column.
    columns: list[Any] = [onp.array(column) for column in zip(*parts)]  # (T, B, ...)
    ended_returns = onp.concatenate(episode_returns)  # (episodes,)
    return Steps(*columns), position, ended_returns


# ---------------------------------------------------------------- the data of an update


class Draws(NamedTuple):
    """The noise of one update, uniform in [0, 1)."""

    value_places: Array  # (B,) starts of the replayed windows
    control_places: Array  # (B,)
    coins: Array  # (N,) of `sample_reward_windows`
    places: Array  # (N,)


class TrainingBatch(NamedTuple):
    """The data of an update: steps side by side, their targets, and frames for reward prediction."""

    steps: Steps  # new steps (T, B), then value replay's, then control's
    parts: dict[str, slice]  # each group's columns
    advantages: Array  # (T, all columns)
    returns: Array  # (T, all columns)
    control_targets: Array  # (T, columns for control, G)
    frames: Array  # (N, 3, K)
    classes: Rows  # (N,)


def draw(rng: Generator, num_envs: int, settings: UnrealSettings) -> Draws:
    """Draw the noise of one update; the amount does not depend on which tasks are on."""
    windows = settings.reward_windows
    counts = num_envs, num_envs, windows, windows
    return Draws(*(rng.random(count) for count in counts))


def training_batch(
    theta: Array,
    steps: Steps,
    replay: Steps,
    draws: Draws,
    settings: UnrealSettings,
    sizes: UnrealSizes,
) -> TrainingBatch:
    """The constants in an update's loss; tasks with weight 0 get no data."""
    # New and old steps side by side, and the network's outputs for them.
    everything, parts = side_by_side(steps, replay, draws, settings.weights)
    layers = network_layers(theta, sizes)
    hidden, following = hidden_activations(theta, everything, sizes, settings.memory)
    values = affine(hidden, layers["value"])[..., 0]  # (T, columns)
    next_values = affine(following, layers["value"])[..., 0]  # (T, columns)

    # Returns of rewards and bonuses.
    rewards = settings.reward_scale * (everything.rewards + everything.bonuses)
    ends = everything.terminated, everything.truncated
    returns = n_step_returns(rewards, next_values, *ends, gamma=settings.gamma)

    # Control targets, in their columns.
    columns = parts.get("control", slice(0, 0))
    control_targets = n_step_q_targets(
        everything.control_rewards[:, columns],
        control_values(layers, following[:, columns], sizes),
        *(flags[:, columns] for flags in ends),
        gamma=settings.control_gamma,
    )

    # Frames for reward prediction.
    frames = onp.zeros((0, FRAMES, sizes.inputs))
    classes = onp.zeros(0, int)
    if settings.weights.reward_prediction:
        frames, classes = reward_prediction_batch(replay, draws, sizes.inputs)

    advantages = returns - values
    return TrainingBatch(
        everything, parts, advantages, returns, control_targets, frames, classes
    )


def side_by_side(
    steps: Steps, replay: Steps, draws: Draws, weights: LossWeights
) -> tuple[Steps, dict[str, slice]]:
    """The new steps and the windows that the tasks replay, (T, all columns), and the columns of each."""
    num_steps, num_envs = steps.rewards.shape
    windows = {"new": steps}
    if weights.value_replay:
        places = draws.value_places
        windows["value_replay"] = replay_window(replay, num_steps, places)
    if weights.control:
        places = draws.control_places
        windows["control"] = replay_window(replay, num_steps, places)

    columns = {
        name: slice(k * num_envs, (k + 1) * num_envs) for k, name in enumerate(windows)
    }
    return joined(list(windows.values()), axis=1), columns  # (T, ΣB, ...)


def reward_prediction_batch(
    replay: Steps, draws: Draws, num_inputs: int
) -> tuple[Array, Rows]:
    """Frames (N, 3, K) and the classes (N,) of the rewards that followed; N = 0 if no window fits."""
    ends = sample_reward_windows(
        replay.rewards, replay.ended, draws.coins, draws.places
    )
    columns = ends[:, 1:]  # (N, 1)
    times = ends[:, :1] + onp.arange(1 - FRAMES, 1)  # (N, 3)
    frames = replay.rows[times, columns, :num_inputs]  # (N, 3, K)
    rewards = replay.rewards[ends[:, 0], ends[:, 1]]  # (N,)
    return frames, reward_class(rewards)


# ---------------------------------------------------------------- learn


def batch_losses(
    theta: Array, batch: TrainingBatch, settings: UnrealSettings, sizes: UnrealSizes
) -> Losses:
    """The parts of the loss; 0 for tasks that are off or have no data."""
    # The network's outputs for all steps.
    layers = network_layers(theta, sizes)
    steps = batch.steps
    mask = episode_mask(steps, settings.memory)
    hidden, _ = unroll(layers, steps.rows, steps.states[0], mask, sizes)

    # The actor-critic, on new steps.
    new = batch.parts["new"]
    logits = affine(hidden[:, new], layers["policy"])  # (T, B, A)
    values = affine(hidden, layers["value"])[..., 0]  # (T, columns)

    # The auxiliary tasks.
    value_replay: Any = 0.0
    control: Any = 0.0
    reward_prediction: Any = 0.0
    if "value_replay" in batch.parts:
        old = batch.parts["value_replay"]
        value_replay = value_loss(values[:, old], batch.returns[:, old])
    if "control" in batch.parts:
        old = batch.parts["control"]
        q_values = control_values(layers, hidden[:, old], sizes)
        control = control_loss(q_values, steps.actions[:, old], batch.control_targets)
    if len(batch.frames):
        class_logits = reward_logits(layers, batch.frames)
        reward_prediction = reward_prediction_loss(class_logits, batch.classes)

    return Losses(
        policy_loss(logits, steps.actions[:, new], batch.advantages[:, new]),
        value_loss(values[:, new], batch.returns[:, new]),
        policy_entropy(logits),
        value_replay,
        control,
        reward_prediction,
    )


def clipped(gradient: Array, max_norm: float) -> Array:
    """The gradient, scaled down to norm max_norm if it is longer. Raises ValueError unless it is finite."""
    gradient = check_array("gradient", gradient, (None,))
    norm = onp.linalg.norm(gradient)
    return gradient * (max_norm / norm) if norm > max_norm else gradient


def learning_step(
    theta: Array,
    adam: bnn.AdamState,
    batch: TrainingBatch,
    settings: UnrealSettings,
    sizes: UnrealSizes,
) -> tuple[Array, bnn.AdamState, Losses]:
    """Take one Adam step on `unreal_loss`, with gradients through the batch's T steps only.

    Raises ValueError if the gradient is not finite.
    """

    def parts_of_loss(theta: Array) -> Array:
        return np.array(list(batch_losses(theta, batch, settings, sizes)))  # (6,)

    # The loss is linear in its parts, so its gradient is the weights times the parts' Jacobian.
    vjp, losses = make_vjp(parts_of_loss)(theta)
    gradient = clipped(vjp(settings.weights.vector()), settings.max_norm)  # (P,)
    theta, adam = bnn.adam_step(
        theta, gradient, adam, learning_rate=settings.learning_rate
    )
    return theta, adam, Losses(*losses)


# ---------------------------------------------------------------- the algorithm


class A2CIteration(NamedTuple):
    """One iteration of `train_a2c`: new weights, new bonus, and the steps."""

    theta: Array  # (P,)
    bonus: Bonus
    steps: Steps
    losses: Losses  # before the step
    gains: Array  # (B·T,) raw, one environment after another
    episode_returns: Array  # returns of the episodes that ended in these steps


def train_a2c(
    envs: Sequence[Env[Any, Any]],
    theta: Array,
    streams: Streams,
    settings: UnrealSettings,
    *,
    num_updates: int,
    bonus: Bonus | None = None,
) -> Iterator[A2CIteration]:
    """Repeat: interact, reward curiosity, store in the replay, train the agent, train the bonus's model.

    The environments have equal spaces. theta comes from `unreal_init`. Without a bonus, `NoBonus` is used.
    The agent draws from streams.policy, also for its replay's windows. A bonus draws from streams.model and
    streams.replay, so its draws do not change the agent's.
    Source: [UNREAL]; [Lecture] "Algorithm" for the bonus.
    """
    bonus = NoBonus() if bonus is None else bonus
    num_updates = check_count("num_updates", num_updates)
    check_agent(streams, settings, bonus)
    position = begin(envs, settings, streams.environment)
    sizes = settings.sizes(envs[0])
    theta = check_theta(theta, sizes)
    adam = bnn.adam_init(len(theta))
    history: tuple[float, ...] = ()
    replay: Steps | None = None
    for _ in range(num_updates):
        # Interact.
        noise = streams.policy.random((settings.num_steps, len(envs)))
        steps, position, returns = interact(theta, envs, position, noise, settings)

        # Reward curiosity.
        batch = bonus_batch(theta, steps, settings, sizes)
        steps, gains, history = with_bonuses(
            steps, batch, bonus, history, streams.model, settings
        )

        # Store in the replay, and train the agent.
        replay = extended(replay, steps, settings.replay_steps)
        draws = draw(streams.policy, len(envs), settings)
        training = training_batch(theta, steps, replay, draws, settings, sizes)
        theta, adam, losses = learning_step(theta, adam, training, settings, sizes)

        # Train the bonus's model.
        bonus = bonus.update(batch, streams.replay)
        yield A2CIteration(theta, bonus, steps, losses, gains, returns)


def with_bonuses(
    steps: Steps,
    batch: Batch,
    bonus: Bonus,
    history: tuple[float, ...],
    rng: Generator,
    settings: UnrealSettings,
) -> tuple[Steps, Array, tuple[float, ...]]:
    """The steps with curiosity's part of their rewards, raw gains (B·T,) and new history."""
    rewards, gains, history = curiosity(
        bonus, batch, history, rng, eta=settings.eta, normalize=settings.normalize
    )
    extra = rewards - batch.rewards  # one environment after another
    extra = extra.reshape(steps.rewards.shape[1], -1).T  # (T, B)
    return steps._replace(bonuses=extra), gains, history


# ---------------------------------------------------------------- argument checks


def check_unreal_settings(settings: UnrealSettings) -> None:
    """Convert the numbers of the settings. Raise ValueError, naming the setting, if one is out of range."""
    # Counts.
    check_kind("weights", settings.weights, LossWeights)
    for name in ("input_cell", "control_cell", "encoded", "hidden"):
        set_fields(settings, **{name: check_count(name, getattr(settings, name))})
    for name in ("num_steps", "replay_steps", "reward_windows"):
        set_fields(settings, **{name: check_count(name, getattr(settings, name))})
    if settings.replay_steps < settings.num_steps:
        raise ValueError(
            f"replay_steps must be >= num_steps {settings.num_steps}, got {settings.replay_steps}"
        )

    # Numbers.
    for name in ("learning_rate", "max_norm", "reward_scale"):
        number = float(check_positive(name, getattr(settings, name), ()))
        set_fields(settings, **{name: number})
    set_fields(
        settings,
        gamma=check_fraction("gamma", settings.gamma),
        control_gamma=check_fraction("control_gamma", settings.control_gamma),
        eta=check_not_negative("eta", settings.eta),
    )

    # Choices.
    check_choice("control", settings.control, get_args(Control))
    check_choice("bonus_sees", settings.bonus_sees, get_args(View))
    for name in ("memory", "normalize"):
        set_fields(settings, **{name: check_flag(name, getattr(settings, name))})


def check_agent(streams: Streams, settings: UnrealSettings, bonus: Bonus) -> None:
    """Raise ValueError unless the arguments of `train_a2c` are what their names say."""
    check_kind("settings", settings, UnrealSettings)
    check_methods("bonus", bonus, "reward", "update")
    check_streams(streams)


def checked_spaces(env: Env[Any, Any]) -> tuple[tuple[int, ...], int]:
    """The images' shape and the number of actions.

    Raises ValueError unless observations are uint8 images, channels last, and actions are Discrete.
    """
    check_kind("env", env, Env)
    space = env.observation_space
    actions = env.action_space
    shape = space.shape or ()
    is_image = isinstance(space, Box) and len(shape) == 3 and space.dtype == onp.uint8
    if not is_image:
        raise ValueError(
            f"observation_space must be a Box of uint8 images (H, W, C), got {space}"
        )
    if shape[2] > min(shape[:2]):
        raise ValueError(
            f"observation_space must have channels last, (H, W, C) with C <= H and C <= W, got {shape}"
        )
    if not isinstance(actions, Discrete):
        raise ValueError(f"action_space must be Discrete, got {actions}")
    return shape, int(actions.n)


def check_environments(envs: Sequence[Env[Any, Any]]) -> None:
    """Raise ValueError unless there is an environment, all are different objects, and their spaces are equal."""
    check_kind("envs", envs, Sequence)
    if len(envs) == 0:
        raise ValueError("envs must be at least 1, got 0")
    for n, env in enumerate(envs):
        check_kind(f"envs[{n}]", env, Env)
    first = envs[0]
    seen: dict[int, int] = {}
    for n, env in enumerate(envs):
        earlier = seen.setdefault(id(env.unwrapped), n)
        if earlier != n:
            raise ValueError(
                f"envs must be different objects, got one as envs[{earlier}] and envs[{n}]"
            )
        for name in ("observation_space", "action_space"):
            space = getattr(env, name)
            expected = getattr(first, name)
            if space != expected:
                raise ValueError(
                    f"envs must have equal spaces, got {name} {space} in envs[{n}] and {expected} in envs[0]"
                )


def checked_sizes(sizes: UnrealSizes) -> UnrealSizes:
    """The sizes in Python ints. Raises ValueError unless all are whole numbers ≥ 1."""
    check_kind("sizes", sizes, UnrealSizes)
    counts = {f"sizes.{name}": size for name, size in sizes._asdict().items()}
    return UnrealSizes(*(check_count(name, size) for name, size in counts.items()))


def check_theta(theta: Array, sizes: UnrealSizes) -> Array:
    """The weights as a float64 array. Raises ValueError unless there is one for each of the network's."""
    return check_array("theta", theta, (num_parameters(sizes),))


def check_window(num_steps: int, length: int) -> int:
    """The number of steps. Raises ValueError unless it is from 1 to the replay's length."""
    steps = check_count("num_steps", num_steps)
    if steps > length:
        raise ValueError(
            f"num_steps must be from 1 to the replay's {length}, got {steps}"
        )
    return steps


# ---------------------------------------------------------------- what `help` shows

__all__ = [
    "UnrealSizes", "UnrealSettings", "Steps", "num_parameters", "unreal_init",
    "replay_window", "hidden_batch", "hidden_activations", "A2CIteration",
    "train_a2c",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

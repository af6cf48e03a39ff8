"""An actor-critic that remembers, and learns from the auxiliary tasks of UNREAL.

A small dense encoder, an LSTM, parallel environments, experience replay; gradients by autograd, truncated through time.
`train_a2c` is a loop in the manner of `agents_ref.train`, and takes the same bonuses.

Axes: T time steps, B environments, N rows, H, W, C height, width and channels of an image, A actions, G controlled
quantities (cells or hidden units), K numbers the encoder sees. Time comes first. Rewards belong to the step they end:
row t holds o_t, a_t, r_t and whether the episode ended with r_t.

Sources: [UNREAL] Jaderberg et al. 2016, arXiv 1611.05397; [A3C] Mnih et al. 2016, arXiv 1602.01783; [Port]
miyosuda/unreal, a public implementation; [Lecture] "Intrinsic motivation in RL", UNREAL and the curiosity in hidden
states. Where [UNREAL] averages over threads, this agent averages over environments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import autograd.numpy as np
import numpy as onp  # for what no gradient passes through
from autograd.differential_operators import make_vjp
from gymnasium import Env
from gymnasium.spaces import Discrete
from numpy.random import Generator
from numpy.typing import NDArray

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
    log_softmax,
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

FORGET_BIAS = 1.0  # of a new LSTM, which begins by remembering: Jozefowicz et al. 2015

BRIGHTEST = 255.0  # pixels over this are the network's inputs

# ---------------------------------------------------------------- types

Control = Literal["pixel", "feature"]

View = Literal["pixels", "hidden"]

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

    weights: LossWeights = field(default_factory=LossWeights)
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

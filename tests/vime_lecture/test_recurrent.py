"""The recurrent agent: network, replay, updates, and the loop with any bonus."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import autograd.numpy as traced
import gymnasium as gym
import numpy as np
import pytest
from autograd import grad
from autograd.tracer import getval
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from lecture_helpers import WRONG_OUTCOMES, Altered, in_arrays, slow_return
from strategies import seeds

import bnn_ref as bnn
from agents_ref import Streams
from vime_lecture import recurrent, unreal
from vime_lecture.recurrent import Steps, UnrealSettings, UnrealSizes, unroll
from vime_lecture.unreal import LossWeights
from vime_ref import Vime, VimeSettings, normalize_gains, vime_init

# ---------------------------------------------------------------- the network

SIZES = UnrealSizes(inputs=3, actions=2, controls=2, encoded=4, hidden=3)


def make_theta(seed: int, sizes: UnrealSizes = SIZES) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.5, recurrent.num_parameters(sizes))


def make_steps(
    seed: int,
    num_steps: int,
    num_envs: int,
    sizes: UnrealSizes = SIZES,
    ends: float = 0.2,
) -> Steps:
    """Any steps; what a state is, is settled by their first row."""
    rng = np.random.default_rng(seed)
    shape = num_steps, num_envs
    row = sizes.inputs + sizes.actions + 1
    how = rng.choice(3, size=shape, p=[1.0 - ends, ends / 2, ends / 2])
    return Steps(
        rng.normal(size=(*shape, row)),
        rng.integers(sizes.actions, size=shape),
        rng.choice([-1.0, 0.0, 0.0, 1.0], size=shape),
        np.zeros(shape),
        rng.random((*shape, sizes.controls)),
        rng.normal(size=(*shape, row)),
        how == 1,
        how == 2,
        rng.normal(size=(*shape, 2 * sizes.hidden)),
    )


def slow_lstm(theta: np.ndarray, row: np.ndarray, state: list[float]) -> list[float]:
    """One step of one environment, number by number."""
    layers = {
        name: block.tolist()
        for name, block in recurrent.network_layers(theta, SIZES).items()
    }
    inputs, (k, e, h) = row.tolist(), (SIZES.inputs, SIZES.encoded, SIZES.hidden)
    w = layers["encoder"]
    encoded = [
        math.tanh(sum(inputs[i] * w[i][j] for i in range(k)) + w[k][j])
        for j in range(e)
    ]
    seen = [*encoded, *inputs[k:], 1.0]
    w, u = layers["lstm"], layers["recurrent"]
    z = [
        sum(x * w[i][j] for i, x in enumerate(seen))
        + sum(state[i] * u[i][j] for i in range(h))
        for j in range(4 * h)
    ]
    squash = [1.0 / (1.0 + math.exp(-x)) for x in z]
    cell = [
        squash[h + j] * state[h + j] + squash[j] * math.tanh(z[3 * h + j])
        for j in range(h)
    ]
    return [squash[2 * h + j] * math.tanh(cell[j]) for j in range(h)] + cell


@given(seeds, st.integers(1, 4), st.integers(1, 2))
def test_unroll_against_an_lstm_number_by_number(
    seed: int, num_steps: int, num_envs: int
) -> None:
    """U10"""
    theta, steps = make_theta(seed), make_steps(seed, num_steps, num_envs)
    mask = recurrent.episode_mask(steps, memory=True)
    layers = recurrent.network_layers(theta, SIZES)
    hidden, cells = recurrent.unroll(layers, steps.rows, steps.states[0], mask, SIZES)
    gate_inputs, before = (
        recurrent.gate_inputs(layers, steps.rows, SIZES)[0],
        np.split(steps.states[0], 2, axis=-1),
    )
    np.testing.assert_array_equal(
        unreal.lstm_step(gate_inputs, *before, layers["recurrent"]),
        (hidden[0], cells[0]),
    )
    for b in range(num_envs):
        state = steps.states[0, b].tolist()
        for t in range(num_steps):
            if t and (steps.terminated[t - 1, b] or steps.truncated[t - 1, b]):
                state = [0.0] * len(state)
            state = slow_lstm(theta, steps.rows[t, b], state)
            np.testing.assert_allclose(
                [*hidden[t, b], *cells[t, b]], state, rtol=1e-10, atol=1e-12
            )


def run(
    theta: np.ndarray, rows: np.ndarray, state: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Hidden and cell after each step, (T, B, 2H)."""
    return np.concatenate(
        recurrent.unroll(
            recurrent.network_layers(theta, SIZES), rows, state, mask, SIZES
        ),
        axis=-1,
    )


@given(seeds, st.integers(1, 5), st.integers(1, 5))
def test_split_sequence_with_carried_state_against_the_whole(
    seed: int, first: int, second: int
) -> None:
    theta, steps = make_theta(seed), make_steps(seed, first + second, 2)
    mask = np.random.default_rng(seed).choice(
        [0.0, 1.0], size=(first + second, 2), p=[0.2, 0.8]
    )
    mask[first] = 1.0
    whole = run(theta, steps.rows, steps.states[0], mask)
    head = run(theta, steps.rows[:first], steps.states[0], mask[:first])
    tail = run(theta, steps.rows[first:], head[-1], mask[first:])
    np.testing.assert_allclose(
        np.concatenate([head, tail]), whole, rtol=1e-12, atol=1e-14
    )
    forgotten = run(theta, steps.rows[first:], 0.0 * head[-1], mask[first:])
    assert not np.allclose(forgotten[0], whole[first], rtol=1e-6)


@given(seeds, st.integers(1, 4), st.integers(1, 4))
def test_two_episodes_in_one_rollout_against_the_two_apart(
    seed: int, first: int, second: int
) -> None:
    theta, steps = make_theta(seed), make_steps(seed, first + second, 1, ends=0.0)
    steps.truncated[first - 1] = True
    mask = recurrent.episode_mask(steps, memory=True)
    whole = run(theta, steps.rows, steps.states[0], mask)
    apart = run(
        theta, steps.rows[first:], np.zeros((1, 2 * SIZES.hidden)), np.ones((second, 1))
    )
    np.testing.assert_allclose(whole[first:], apart, rtol=1e-12, atol=1e-14)
    leaking = run(theta, steps.rows, steps.states[0], np.ones(mask.shape))
    assert not np.allclose(leaking[first], apart[0], rtol=1e-6)


@given(seeds, st.integers(1, 5), st.booleans())
def test_hidden_activations_of_true_next_steps_against_feeding_them(
    seed: int, num_steps: int, memory: bool
) -> None:
    """Within an episode next_rows are the rows that follow; at its end they are seen in no other way."""
    theta, steps = make_theta(seed), make_steps(seed, num_steps, 2, ends=0.4)
    goes_on = ~steps.ended[:-1]
    steps.next_rows[:-1][goes_on] = steps.rows[1:][goes_on]
    hidden, following = recurrent.hidden_activations(theta, steps, SIZES, memory)
    for t, b in np.ndindex(steps.rewards.shape):
        before = run(
            theta,
            steps.rows[: t + 1, b : b + 1],
            steps.states[0, b : b + 1],
            recurrent.episode_mask(steps, memory)[: t + 1, b : b + 1],
        )
        np.testing.assert_allclose(
            hidden[t, b], before[-1, 0, : SIZES.hidden], rtol=1e-12, atol=1e-14
        )
        after = run(
            theta,
            steps.next_rows[t : t + 1, b : b + 1],
            memory * before[-1],
            np.ones((1, 1)),
        )
        np.testing.assert_allclose(
            following[t, b], after[0, 0, : SIZES.hidden], rtol=1e-12, atol=1e-14
        )
        if steps.ended[t, b] and t + 1 < num_steps:
            assert not np.allclose(
                following[t, b], hidden[t + 1, b], rtol=1e-6
            )  # that is the next episode's


def make_batch(
    seed: int, settings: UnrealSettings, theta: np.ndarray
) -> recurrent.TrainingBatch:
    replay = make_steps(seed, 9, 3)
    steps = make_steps(seed + 1, 5, 3)
    return recurrent.training_batch(
        theta,
        steps,
        replay,
        recurrent.draw(np.random.default_rng(seed), 3, settings),
        settings,
        SIZES,
    )


def unroll_cut(
    layers: dict[str, Any],
    rows: np.ndarray,
    state: Any,
    mask: np.ndarray,
    sizes: UnrealSizes,
) -> tuple[Any, Any]:
    """The same activations, with the state before each step a constant."""
    hiddens, cells = [], []
    for t in range(len(rows)):
        hidden, cell = unroll(layers, rows[t : t + 1], state, mask[t : t + 1], sizes)
        state = np.concatenate([getval(hidden)[0], getval(cell)[0]], axis=-1)
        hiddens.append(hidden)
        cells.append(cell)
    return traced.concatenate(hiddens), traced.concatenate(cells)


def test_gradient_through_time_against_directional_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Central differences at two steps, extrapolated. The gradient that stops at each step fails."""
    settings, theta = (
        UnrealSettings(weights=LossWeights(control=1.0, entropy=0.1)),
        make_theta(3),
    )
    batch = make_batch(3, settings, theta)

    def loss(theta: np.ndarray) -> Any:
        return unreal.unreal_loss(
            recurrent.batch_losses(theta, batch, settings, SIZES), settings.weights
        )

    total, gradient = loss(theta), grad(loss)(theta)
    assert all(
        block.any() for block in recurrent.network_layers(gradient, SIZES).values()
    )
    with monkeypatch.context() as patch:
        patch.setattr(recurrent, "unroll", unroll_cut)
        assert math.isclose(loss(theta), total, rel_tol=1e-12)
        cut = grad(loss)(theta)
    rng = np.random.default_rng(4)
    for direction in rng.normal(size=(6, len(theta))):
        differences = [
            (loss(theta + h * direction) - loss(theta - h * direction)) / (2 * h)
            for h in (1e-3, 5e-4)
        ]
        expected = (4 * differences[1] - differences[0]) / 3
        np.testing.assert_allclose(gradient @ direction, expected, rtol=1e-7)
        assert not np.isclose(cut @ direction, expected, rtol=1e-3)


def test_learning_step_against_adam_on_the_loss() -> None:
    theta = make_theta(5)
    for max_norm in (1e-3, 1e9):
        settings = UnrealSettings(max_norm=max_norm, learning_rate=0.1)
        batch, adam = make_batch(5, settings, theta), bnn.adam_init(len(theta))

        def loss(
            theta: np.ndarray,
            batch: recurrent.TrainingBatch = batch,
            settings: UnrealSettings = settings,
        ) -> Any:
            return unreal.unreal_loss(
                recurrent.batch_losses(theta, batch, settings, SIZES), settings.weights
            )

        gradient = grad(loss)(theta)
        gradient *= min(1.0, max_norm / math.sqrt(sum(gradient**2)))
        assert np.linalg.norm(gradient) <= max_norm * (1 + 1e-12)
        expected, state = bnn.adam_step(theta, gradient, adam, learning_rate=0.1)
        new, new_state, losses = recurrent.learning_step(
            theta, adam, batch, settings, SIZES
        )
        np.testing.assert_allclose(new, expected, rtol=1e-9)
        np.testing.assert_allclose(new_state.mean, state.mean, rtol=1e-9, atol=1e-15)
        assert math.isclose(
            unreal.unreal_loss(losses, settings.weights), loss(theta), rel_tol=1e-12
        )
        assert loss(theta - 1e-6 * gradient / np.linalg.norm(gradient)) < loss(theta)


def slow_activations(
    theta: np.ndarray, steps: Steps, memory: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`hidden_activations`, number by number."""
    hidden, following = np.zeros((2, *steps.rewards.shape, SIZES.hidden))
    for b in range(steps.rewards.shape[1]):
        nothing = [0.0] * (2 * SIZES.hidden)
        state = steps.states[0, b].tolist()
        for t, over in enumerate(steps.ended[:, b]):
            state = slow_lstm(theta, steps.rows[t, b], state if memory else nothing)
            hidden[t, b] = state[: SIZES.hidden]
            following[t, b] = slow_lstm(
                theta, steps.next_rows[t, b], state if memory else nothing
            )[: SIZES.hidden]
            state = nothing if over else state
    goes_on = ~steps.ended[:-1]
    following[:-1][goes_on] = hidden[1:][goes_on]
    return hidden, following


def slow_prediction_loss(
    layers: dict[str, np.ndarray], frames: np.ndarray, classes: list[int]
) -> float:
    """−mean log p(class), of three frames encoded one by one."""
    total = 0.0
    for three, each in zip(frames, classes, strict=True):
        seen = np.concatenate(
            [np.tanh(np.append(frame, 1.0) @ layers["encoder"]) for frame in three]
        )
        logits = (np.append(seen, 1.0) @ layers["reward"]).tolist()
        total += math.log(sum(math.exp(x) for x in logits)) - logits[each]
    return total / len(classes)


def test_learning_step_rejects_weights_that_are_not_finite() -> None:
    theta, settings = make_theta(5), UnrealSettings()
    batch, adam = make_batch(5, settings, theta), bnn.adam_init(len(theta))
    with pytest.raises(ValueError, match="theta must be finite, got nan"):
        recurrent.learning_step(theta * np.nan, adam, batch, settings, SIZES)


def windows_by_hand(replay: Steps, draws: recurrent.Draws) -> list[tuple[int, int]]:
    """Step and environment of each window's last frame; the replay has windows of both kinds."""
    fits = [
        (t, b)
        for t, b in np.ndindex(replay.rewards.shape)
        if t >= 2 and not replay.ended[t - 2 : t, b].any()
    ]
    kinds = [
        [place for place in fits if (replay.rewards[place] != 0) == paid]
        for paid in (False, True)
    ]
    asked = [kinds[int(coin < 0.5)] for coin in draws.coins]
    return [
        kind[int(place * len(kind))]
        for kind, place in zip(asked, draws.places, strict=True)
    ]


def frames_at(replay: Steps, t: int, b: int) -> np.ndarray:
    return np.array([replay.rows[t - k, b, : SIZES.inputs] for k in (2, 1, 0)])


@pytest.mark.parametrize("memory", [True, False])
def test_training_batch_against_targets_by_hand(memory: bool) -> None:
    """Each window's columns hold its own steps, and targets that are sums over them; so do the losses.

    Rewards are predicted from frames of the replay. Controls: frames reversed, or of the new steps, and −r.
    """
    settings = UnrealSettings(
        gamma=0.9, control_gamma=0.5, reward_scale=0.25, memory=memory
    )
    theta, replay, new = make_theta(13), make_steps(13, 9, 3), make_steps(14, 5, 3)
    draws = recurrent.draw(np.random.default_rng(13), 3, settings)
    windows = {
        "new": new,
        "value_replay": recurrent.replay_window(replay, 5, draws.value_places),
        "control": recurrent.replay_window(replay, 5, draws.control_places),
    }
    assert not np.array_equal(windows["value_replay"].rows, windows["control"].rows)
    batch = recurrent.training_batch(theta, new, replay, draws, settings, SIZES)
    losses = recurrent.batch_losses(theta, batch, settings, SIZES)
    layers = recurrent.network_layers(theta, SIZES)
    for name, window in windows.items():
        columns = batch.parts[name]
        np.testing.assert_array_equal(batch.steps.rows[:, columns], window.rows)
        hidden, following = slow_activations(theta, window, memory)
        values, next_values = (
            recurrent.affine(h, layers["value"])[..., 0] for h in (hidden, following)
        )
        q, next_q = (
            recurrent.control_values(layers, h, SIZES) for h in (hidden, following)
        )
        returns, targets = np.zeros((5, 3)), np.zeros((5, 3, SIZES.controls))
        for t, b in np.ndindex(returns.shape):
            ends = (window.terminated + 2 * window.truncated)[:, b].tolist()
            returns[t, b] = slow_return(
                t,
                (0.25 * window.rewards[:, b]).tolist(),
                next_values[:, b].tolist(),
                ends,
                0.9,
            )
            for g in range(SIZES.controls):
                paid, best = (
                    window.control_rewards[:, b, g].tolist(),
                    next_q[:, b, g].max(axis=-1).tolist(),
                )
                targets[t, b, g] = slow_return(t, paid, best, ends, 0.5)
        np.testing.assert_allclose(batch.returns[:, columns], returns, rtol=1e-10)
        np.testing.assert_allclose(
            batch.advantages[:, columns], returns - values, rtol=1e-10
        )
        if name == "new":
            logits = recurrent.affine(hidden, layers["policy"])
            expected = unreal.policy_loss(logits, window.actions, returns - values)
            assert math.isclose(losses.policy, expected, rel_tol=1e-10)
            assert math.isclose(
                losses.entropy, unreal.policy_entropy(logits), rel_tol=1e-10
            )
            assert math.isclose(
                losses.value, unreal.value_loss(values, returns), rel_tol=1e-10
            )
        elif name == "value_replay":
            assert math.isclose(
                losses.value_replay, unreal.value_loss(values, returns), rel_tol=1e-10
            )
        else:
            np.testing.assert_allclose(batch.control_targets, targets, rtol=1e-10)
            assert math.isclose(
                losses.control,
                unreal.control_loss(q, window.actions, targets),
                rel_tol=1e-10,
            )
    windows_of_rewards = windows_by_hand(replay, draws)
    frames = np.array([frames_at(replay, t, b) for t, b in windows_of_rewards])
    classes = [
        [-1.0, 0.0, 1.0].index(replay.rewards[t, b]) for t, b in windows_of_rewards
    ]
    assert math.isclose(
        losses.reward_prediction,
        slow_prediction_loss(layers, frames, classes),
        rel_tol=1e-10,
    )
    of_new = np.array([frames_at(new, t % 5, b) for t, b in windows_of_rewards])
    for wrong in (
        (frames[:, ::-1], classes),
        (of_new, classes),
        (frames, [2 - each for each in classes]),
    ):
        assert not math.isclose(
            losses.reward_prediction, slow_prediction_loss(layers, *wrong), rel_tol=1e-3
        )


def test_training_batch_against_its_parts_alone() -> None:
    """A task's loss is the same whichever others are on, and 0 when it is off."""
    theta = make_theta(6)
    names = ("value_replay", "control", "reward_prediction")

    def losses(**weights: float) -> unreal.Losses:
        settings = UnrealSettings(
            weights=LossWeights(**{name: weights.get(name, 0.0) for name in names})
        )
        return recurrent.batch_losses(
            theta, make_batch(6, settings, theta), settings, SIZES
        )

    everything, nothing = (
        losses(value_replay=1.0, control=1.0, reward_prediction=1.0),
        losses(),
    )
    for name in names:
        alone = losses(**{name: 0.5})
        assert math.isclose(
            getattr(alone, name), getattr(everything, name), rel_tol=1e-12
        )
        assert getattr(everything, name) > 0.0 == getattr(nothing, name)
        assert all(getattr(alone, other) == 0.0 for other in names if other != name)
    np.testing.assert_allclose(everything[:3], nothing[:3], rtol=1e-12)


def test_a_replay_without_three_frames_teaches_no_reward() -> None:
    settings, theta = UnrealSettings(), make_theta(7)
    steps = make_steps(7, 4, 2)._replace(terminated=np.ones((4, 2), dtype=bool))
    batch = recurrent.training_batch(
        theta,
        steps,
        steps,
        recurrent.draw(np.random.default_rng(0), 2, settings),
        settings,
        SIZES,
    )
    assert (
        len(batch.frames)
        == 0
        == recurrent.batch_losses(theta, batch, settings, SIZES).reward_prediction
    )


def test_reward_prediction_batch_against_indices_by_hand() -> None:
    """Frames o_{t−2}, o_{t−1}, o_t and the class of r_t; reversed, or one step later or earlier, they are others."""
    replay = make_steps(8, 12, 2)
    draws = recurrent.draw(
        np.random.default_rng(8), 2, UnrealSettings(reward_windows=40)
    )
    frames, classes = recurrent.reward_prediction_batch(replay, draws, SIZES.inputs)
    for n, (t, b) in enumerate(windows_by_hand(replay, draws)):
        np.testing.assert_array_equal(frames[n], frames_at(replay, t, b))
        assert classes[n] == [-1.0, 0.0, 1.0].index(replay.rewards[t, b])
        for wrong in (
            frames_at(replay, t, b)[::-1],
            frames_at(replay, t - 1, b),
            frames_at(replay, (t + 1) % 12, b),
        ):
            assert not np.array_equal(frames[n], wrong)


# ---------------------------------------------------------------- replay


def test_replay_window_against_exact_counts() -> None:
    """Every start equally often over a grid of places, rows in succession, and no row from beyond the replay."""
    replay = make_steps(9, 7, 1)
    firsts = Counter()
    for place in (np.arange(10) + 0.5) / 10:
        window = recurrent.replay_window(replay, 3, np.array([place]))
        first = int(
            np.flatnonzero(np.all(replay.rows[:, 0] == window.rows[0, 0], axis=-1))[0]
        )
        firsts[first] += 1
        for column, part in zip(replay, window):
            np.testing.assert_array_equal(part[:, 0], column[first : first + 3, 0])
    assert firsts == dict.fromkeys(range(5), 2)


def test_replay_keeps_the_last_steps() -> None:
    parts = [make_steps(k, 3, 2) for k in range(3)]
    replay = None
    for part in parts:
        replay = recurrent.extended(replay, part, 7)
    assert replay is not None
    np.testing.assert_array_equal(
        replay.rows, np.concatenate([part.rows for part in parts])[-7:]
    )
    assert all(len(column) == 7 for column in replay)


# ---------------------------------------------------------------- the agent


class Cue(gym.Env[np.ndarray, int]):
    """A cue, left or right, that only the first of three images shows; the third action is to name it, for 1.

    V of the first state is γ² with memory. Without memory the mean return is ½. There is no other reward.
    """

    observation_space = Box(0, 255, (2, 2, 1), np.uint8)
    action_space = Discrete(2)

    def image(self) -> np.ndarray:
        image = np.zeros((2, 2, 1), np.uint8)
        if self.time == 0:
            image[0, self.cue] = 255
        image[1, 0] = 80 * self.time
        return image

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time, self.cue = 0, int(self.np_random.integers(2))
        return self.image(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.time += 1
        over = self.time == 3
        return self.image(), float(over and action == self.cue), over, False, {}


def streams(seed: int) -> Streams:
    return Streams(*np.random.default_rng(seed).spawn(4))


SMALL = UnrealSettings(
    input_cell=1,
    control_cell=1,
    encoded=16,
    hidden=16,
    num_steps=9,
    replay_steps=90,
    gamma=0.9,
    learning_rate=1e-2,
    reward_scale=1.0,
)


def vime(observation_size: int, min_rows: int = 200) -> Vime:
    settings = VimeSettings(
        hidden_sizes=(4,), num_samples=2, num_updates=3, min_rows=min_rows
    )
    return vime_init(
        observation_size, Cue.action_space, np.random.default_rng(0), settings
    )


def learned(
    settings: UnrealSettings, num_updates: int, bonus: Vime | None = None
) -> list[recurrent.A2CIteration]:
    envs = [Cue() for _ in range(16)]
    theta = recurrent.unreal_init(settings.sizes(envs[0]), np.random.default_rng(0))
    return list(
        recurrent.train_a2c(
            envs, theta, streams(0), settings, num_updates=num_updates, bonus=bonus
        )
    )


@pytest.mark.unwatched
@pytest.mark.parametrize(
    ("memory", "best", "within"), [(True, 1.0, 0.05), (False, 0.5, 0.15)]
)
def test_a_cue_to_remember_against_its_optimal_value(
    memory: bool, best: float, within: float
) -> None:
    """Returns of the last 20 of 80 updates, 960 episodes, and V of the first states, γ² times the best."""
    settings = replace(SMALL, memory=memory)
    history = learned(settings, 80)
    returns = np.concatenate([iteration.episode_returns for iteration in history[-20:]])
    assert len(returns) == 960
    assert abs(returns.mean() - best) < within
    theta, steps, sizes = history[-1].theta, history[-1].steps, settings.sizes(Cue())
    hidden, _ = recurrent.hidden_activations(theta, steps, sizes, memory)
    values = recurrent.affine(
        hidden[0], recurrent.network_layers(theta, sizes)["value"]
    )
    assert abs(values.mean() - settings.gamma**2 * best) < within


CURIOUS = replace(SMALL, replay_steps=20, eta=0.1)


def by_hand(num_updates: int, forget: str = "") -> list[np.ndarray]:
    """The weights after each update of `train_a2c`, written out; with one thing not carried over."""
    envs, s = [Cue() for _ in range(4)], streams(1)
    sizes = CURIOUS.sizes(envs[0])
    theta = recurrent.unreal_init(sizes, np.random.default_rng(1))
    first, adam, bonus = (
        recurrent.begin(envs, CURIOUS, s.environment),
        bnn.adam_init(len(theta)),
        vime(4, min_rows=36),
    )
    position, memory, weights, medians = first, [], [theta], []
    for _ in range(num_updates):
        plain, position, _ = recurrent.interact(
            theta, envs, position, s.policy.random((9, 4)), CURIOUS
        )
        batch = recurrent.steps_to_batch(plain, sizes)
        gains = bonus.reward(batch, s.model)
        medians += [np.median(gains)] if gains.any() else []
        normalized = gains / np.mean(medians) if medians else gains
        new = plain._replace(bonuses=0.1 * normalized.reshape(4, 9).T)
        memory = (
            [new]
            if forget == "replay"
            else [*memory, plain if forget == "bonuses" else new]
        )
        columns = [np.concatenate(column)[-20:] for column in zip(*memory)]
        draws = recurrent.Draws(*(s.policy.random(size) for size in (4, 4, 16, 16)))
        training = recurrent.training_batch(
            theta, new, Steps(*columns), draws, CURIOUS, sizes
        )
        theta, next_adam, _ = recurrent.learning_step(
            theta, adam, training, CURIOUS, sizes
        )
        bonus = bonus.update(batch, s.replay)
        adam = adam if forget == "adam" else next_adam
        position = first if forget == "position" else position
        weights.append(theta)
    return weights


def test_train_a2c_against_its_lines_by_hand() -> None:
    """Position, replay with its bonuses, which drops what is older than 20 steps, and Adam's state are carried over."""
    envs = [Cue() for _ in range(4)]
    theta, bonus = (
        recurrent.unreal_init(CURIOUS.sizes(envs[0]), np.random.default_rng(1)),
        vime(4, min_rows=36),
    )
    trained = list(
        recurrent.train_a2c(
            envs, theta, streams(1), CURIOUS, num_updates=4, bonus=bonus
        )
    )
    expected = by_hand(4)
    for iteration, weights in zip(trained, expected[1:], strict=True):
        np.testing.assert_allclose(iteration.theta, weights, rtol=1e-7, atol=1e-9)
    for forget in ("replay", "bonuses", "adam", "position"):
        assert not np.allclose(by_hand(4, forget)[-1], expected[-1], rtol=1e-5), forget


def test_environments_begin_by_seeds_of_their_own() -> None:
    images = [
        recurrent.begin(
            [Cue() for _ in range(8)], SMALL, np.random.default_rng(seed)
        ).images
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert len(np.unique(images[0], axis=0)) == 2


class Clock(gym.Env[np.ndarray, int]):
    """Images that tell the episode and its step. Ends after 3 steps, or cut after 2 where the last action was 6."""

    observation_space = Box(0, 255, (4, 4, 3), np.uint8)
    action_space = Discrete(2, start=5)

    def __init__(self) -> None:
        self.episode = -1

    def image(self) -> np.ndarray:
        return np.random.default_rng([self.episode, self.time]).integers(
            0, 256, (4, 4, 3), dtype=np.uint8
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        self.time, self.episode = 0, self.episode + 1
        return self.image(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action in (5, 6)
        self.time += 1
        return (
            self.image(),
            float(self.time * action),
            self.time == 3,
            self.time == 2 and action == 6,
            {},
        )


def image_of(episode: int, time: int) -> np.ndarray:
    clock = Clock()
    clock.episode, clock.time = episode, time
    return clock.image().astype(float)


@pytest.mark.parametrize("control", ["pixel", "feature"])
@pytest.mark.parametrize("memory", [True, False])
def test_interact_against_a_walk_by_hand(
    control: recurrent.Control, memory: bool
) -> None:
    """Every field of every step, in two calls that carry the position over."""
    settings = UnrealSettings(
        control=control,
        memory=memory,
        control_cell=2,
        input_cell=2,
        encoded=5,
        hidden=3,
    )
    envs = [Clock(), Clock()]
    sizes = settings.sizes(envs[0])
    theta = np.random.default_rng(1).normal(0.0, 0.3, recurrent.num_parameters(sizes))
    layers = recurrent.network_layers(theta, sizes)
    noise = np.random.default_rng(2).random((14, 2))
    position = recurrent.begin(envs, settings, np.random.default_rng(0))
    first, position, returns = recurrent.interact(
        theta, envs, position, noise[:8], settings
    )
    second, _, more_returns = recurrent.interact(
        theta, envs, position, noise[8:], settings
    )
    steps = recurrent.joined([first, second], axis=0)
    finished = []
    for b in range(2):
        episode, time, total, state, extra = 0, 0, 0.0, np.zeros(6), np.zeros(3)
        for t in range(14):
            before, after = image_of(episode, time), image_of(episode, time + 1)
            row = np.concatenate(
                [before.reshape(2, 2, 2, 2, 3).mean(axis=(1, 3)).ravel() / 255, extra]
            )
            np.testing.assert_allclose(steps.rows[t, b], row, rtol=1e-12)
            np.testing.assert_allclose(steps.states[t, b], memory * state, rtol=1e-12)
            mask = np.ones((1, 1))
            state = np.concatenate(
                recurrent.unroll(
                    layers, row[None, None], memory * state[None], mask, sizes
                ),
                -1,
            )[0, 0]
            weights = np.exp(recurrent.affine(state[None, :3], layers["policy"])[0])
            action = int(noise[t, b] >= weights[0] / weights.sum())
            assert steps.actions[t, b] == action
            time += 1
            reward = time * (action + 5.0)
            assert steps.rewards[t, b] == reward
            extra = memory * np.array([action == 0, action == 1, 0.1 * reward])
            inputs = after.reshape(2, 2, 2, 2, 3).mean(axis=(1, 3)).ravel() / 255
            np.testing.assert_allclose(
                steps.next_rows[t, b], [*inputs, *extra], rtol=1e-12
            )
            change = (
                np.abs(after - before)
                .reshape(2, 2, 2, 2, 3)
                .mean(axis=(1, 3, 4))
                .ravel()
                / 255
            )
            features = np.tanh(recurrent.affine(inputs[None], layers["encoder"])[0])
            expected = change if control == "pixel" else features
            np.testing.assert_allclose(
                steps.control_rewards[t, b], (1.0 - 0.9) * expected, rtol=1e-12
            )
            assert steps.terminated[t, b] == (time == 3)
            assert steps.truncated[t, b] == (time == 2 and action == 1)
            total += reward
            if time == 3 or (time == 2 and action == 1):
                finished.append((t, b, total))
                episode, time, total, state, extra = (
                    episode + 1,
                    0,
                    0.0,
                    np.zeros(6),
                    np.zeros(3),
                )
    assert steps.truncated.any()
    assert steps.terminated.any()
    np.testing.assert_array_equal(
        [*returns, *more_returns], [total for _, _, total in sorted(finished)]
    )


class Broken(Clock):
    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        image, reward, *rest = super().step(action)
        return image, math.nan if self.time == 3 else reward, *rest


def test_interact_names_the_step_of_a_reward_that_is_not_finite() -> None:
    settings, envs = UnrealSettings(), [Broken()]
    theta = recurrent.unreal_init(settings.sizes(envs[0]), np.random.default_rng(0))
    position = recurrent.begin(envs, settings, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"reward must be finite, got .* at step 2"):
        recurrent.interact(theta, envs, position, np.zeros((3, 1)), settings)


def test_unreal_init_begins_without_preference_and_remembering() -> None:
    sizes = UnrealSettings().sizes(Clock())
    layers = recurrent.network_layers(
        recurrent.unreal_init(sizes, np.random.default_rng(0)), sizes
    )
    np.testing.assert_array_equal(
        layers["lstm"][-1].reshape(4, -1), np.eye(4)[[1]].T * np.ones(sizes.hidden)
    )
    rng = np.random.default_rng(0)
    for name, block in layers.items():
        rows = block if name == "recurrent" else block[:-1]
        bound, scale = (
            math.sqrt(6 / sum(rows.shape)),
            0.01 if name[:3] in ("pol", "val", "con") else 1.0,
        )
        np.testing.assert_array_equal(
            rows, scale * rng.uniform(-bound, bound, rows.shape)
        )
        if name not in ("lstm", "recurrent"):
            assert not block[-1].any()


# ---------------------------------------------------------------- bonuses


@given(seeds)
def test_steps_to_batch_against_a_loop(seed: int) -> None:
    steps = make_steps(seed, 4, 3, ends=0.7)
    batch = recurrent.steps_to_batch(steps, SIZES)
    for n, (b, t) in enumerate(product(range(3), range(4))):
        np.testing.assert_array_equal(batch.observations[n], steps.rows[t, b, :3])
        np.testing.assert_array_equal(
            batch.next_observations[n], steps.next_rows[t, b, :3]
        )
        assert batch.actions[n] == steps.actions[t, b]
        assert batch.rewards[n] == steps.rewards[t, b]
        assert batch.terminated[n] == steps.terminated[t, b]
        assert batch.truncated[n] == (
            steps.truncated[t, b] or (t == 3 and not steps.terminated[t, b])
        )


@given(seeds)
def test_both_flags_set_mean_terminated(seed: int) -> None:
    """An update on rows that terminated and were truncated equals one on rows that terminated only.

    Control: rows that were truncated only have other targets.
    """
    theta, settings = make_theta(seed), UnrealSettings(num_steps=4, replay_steps=9)
    steps = make_steps(seed, 9, 2, ends=0.0)
    ends = np.random.default_rng(seed).random((9, 2)) < 0.4
    ends[::2] = True
    targets = []
    for terminated, truncated in ((ends, ends), (ends, 0 * ends), (0 * ends, ends)):
        flags = {"terminated": terminated > 0, "truncated": truncated > 0}
        replay = steps._replace(**flags)
        new = Steps(*(column[-4:] for column in replay))
        draws = recurrent.draw(np.random.default_rng(seed), 2, settings)
        targets.append(
            recurrent.training_batch(theta, new, replay, draws, settings, SIZES)
        )
    for name in ("returns", "advantages", "control_targets"):
        both, terminated, truncated = (getattr(each, name) for each in targets)
        np.testing.assert_array_equal(both, terminated)
        assert not np.array_equal(both, truncated)


def test_vime_takes_hidden_batches_as_it_is() -> None:
    """Gains of the hidden transitions differ from gains of the pixels, and the bonus rejects the wrong kind. U12"""
    theta, steps = make_theta(11), make_steps(11, 30, 8)
    hidden, following = (
        recurrent.by_environment(h)
        for h in recurrent.hidden_activations(theta, steps, SIZES)
    )
    pixels = recurrent.steps_to_batch(steps, SIZES)
    batch = recurrent.hidden_batch(pixels, hidden, following)
    bonus, rng = vime(SIZES.hidden), np.random.default_rng(1)
    assert not bonus.reward(batch, rng).any()
    bonus = bonus.update(batch, rng)
    np.testing.assert_array_equal(bonus.pool.observations, hidden)
    np.testing.assert_array_equal(bonus.pool.next_observations, following)
    assert (bonus.reward(batch, rng) > 0).all()
    assert batch.rewards is pixels.rewards
    with pytest.raises(ValueError, match="hidden must have shape"):
        recurrent.hidden_batch(pixels, hidden[:-1], following[:-1])
    with pytest.raises(ValueError, match="next_hidden must have shape"):
        recurrent.hidden_batch(pixels, hidden, following[:-1])


VIEWS = pytest.mark.parametrize(
    ("view", "memory"), [("pixels", True), ("hidden", True), ("hidden", False)]
)


def curious(
    view: recurrent.View, memory: bool, **changes: Any
) -> list[recurrent.A2CIteration]:
    settings = replace(SMALL, bonus_sees=view, memory=memory, **changes)
    return learned(settings, 4, vime(4 if view == "pixels" else settings.hidden))


@pytest.mark.unwatched
@VIEWS
def test_train_a2c_with_eta_0_against_the_plain_agent(
    view: recurrent.View, memory: bool
) -> None:
    """Bit for bit, while the bonus learns; what it has seen are activations of the weights that acted, or inputs.

    Controls: with eta the agent learns otherwise, and weights after the update have other activations.
    """
    plain, idle = learned(replace(SMALL, memory=memory), 4), curious(view, memory)
    for one, other in zip(plain, idle, strict=True):
        np.testing.assert_array_equal(one.theta, other.theta)
        assert one.losses == other.losses
    assert idle[-1].gains.any()
    assert not np.array_equal(plain[-1].theta, curious(view, memory, eta=0.1)[-1].theta)
    sizes = SMALL.sizes(Cue())
    after = [iteration.theta for iteration in idle]
    before = [recurrent.unreal_init(sizes, np.random.default_rng(0)), *after[:-1]]

    def seen(thetas: list[np.ndarray], memory: bool) -> list[np.ndarray]:
        views = [
            (each.steps.rows[..., :4], each.steps.next_rows[..., :4]) for each in idle
        ]
        if view == "hidden":
            columns = zip(thetas, idle, strict=True)
            views = [
                recurrent.hidden_activations(theta, each.steps, sizes, memory)
                for theta, each in columns
            ]
        return [
            np.concatenate([recurrent.by_environment(column) for column in part])
            for part in zip(*views)
        ]

    assert isinstance(idle[-1].bonus, Vime)
    pool = idle[-1].bonus.pool
    np.testing.assert_array_equal(
        [pool.observations, pool.next_observations], seen(before, memory)
    )
    if view == "hidden":
        for wrong in (seen(after, memory), seen(before, not memory)):
            assert not np.allclose(
                [pool.observations, pool.next_observations], wrong, rtol=1e-3
            )


@pytest.mark.parametrize("normalize", [False, True])
def test_bonuses_of_train_a2c_against_gains_by_hand(normalize: bool) -> None:
    """η times the gains, or these over the mean of the medians so far. Control: each over its own median."""
    paid, history = curious("hidden", True, eta=0.1, normalize=normalize)[2:], ()
    for iteration in paid:
        gains = iteration.gains
        alone, _ = normalize_gains(gains, ())
        expected, history = (
            normalize_gains(gains, history) if normalize else (gains, history)
        )
        by_time = 0.1 * expected.reshape(16, 9).T
        np.testing.assert_allclose(
            iteration.steps.bonuses, by_time, rtol=1e-6, atol=1e-15
        )
        assert gains.any()
    assert not np.allclose(expected, alone, rtol=1e-3)


def test_bonuses_enter_the_values_and_not_the_predicted_rewards() -> None:
    settings, theta = UnrealSettings(), make_theta(12)
    draws = recurrent.draw(np.random.default_rng(0), 3, settings)
    steps = make_steps(12, 5, 3)
    with_bonus = steps._replace(bonuses=np.ones((5, 3)))
    moved = steps._replace(rewards=steps.rewards + 1.0)
    plain, paid, shifted = (
        recurrent.training_batch(theta, s, s, draws, settings, SIZES)
        for s in (steps, with_bonus, moved)
    )
    np.testing.assert_allclose(paid.returns, shifted.returns, rtol=1e-12)
    assert not np.allclose(paid.returns, plain.returns)
    np.testing.assert_array_equal(paid.classes, plain.classes)
    assert not np.array_equal(paid.classes, shifted.classes)


ROWS = np.zeros(3)
NAN = np.array([0.0, math.nan, 0.0])


class Bright(Cue):
    observation_space = Box(0.0, 1.0, (4, 4, 1), np.float32)


def update_of(envs: Any) -> recurrent.A2CIteration:
    """The first update on these environments."""
    theta = make_theta(0, SMALL.sizes(Cue()))
    return next(
        iter(recurrent.train_a2c(envs, theta, streams(0), SMALL, num_updates=1))
    )


def test_numbers_in_arrays_are_taken_as_numbers() -> None:
    """Rewards of shape (1,) and NumPy flags give the same weights, bit for bit; doubled rewards do not."""

    def doubled(outcome: Any) -> Any:
        return outcome[0], 2 * outcome[1], *outcome[2:]

    plain, arrays, other = (
        update_of([Altered(Cue(), step=alter), Altered(Cue(), step=alter)])
        for alter in (lambda outcome: outcome, in_arrays, doubled)
    )
    np.testing.assert_array_equal(arrays.theta, plain.theta)
    np.testing.assert_array_equal(arrays.steps.rewards, plain.steps.rewards)
    assert plain.steps.rewards.any()
    assert not np.array_equal(other.theta, plain.theta)


@pytest.mark.parametrize(("altered", "message"), WRONG_OUTCOMES)
def test_wrong_outcomes_of_an_environment_are_named(
    altered: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        update_of([Cue(), Altered(Cue(), **altered)])


def spaced(**spaces: Any) -> Cue:
    """A cue with other spaces."""
    env = Cue()
    for name, space in spaces.items():
        setattr(env, name, space)
    return env


def twice(env: gym.Env) -> list[gym.Env]:
    return [env, Cue(), Altered(env)]


@pytest.mark.parametrize(
    ("envs", "message"),
    [
        ([], "envs must be at least 1, got 0"),
        (None, "envs must be a Sequence, got NoneType"),
        ([Cue(), None], r"envs\[1\] must be a Env, got NoneType"),
        ([Cue()] * 2, r"envs must be different objects, got one as envs\[0\] and envs\[1\]"),
        (twice(Cue()), r"envs must be different objects, got one as envs\[0\] and envs\[2\]"),
        (
            [Cue(), spaced(action_space=Discrete(4))],
            r"envs must have equal spaces, got action_space Discrete\(4\) in envs\[1\] and Discrete\(2\)",
        ),
        (
            [Cue(), spaced(observation_space=Box(0, 255, (4, 4, 1), np.uint8))],
            r"envs must have equal spaces, got observation_space Box\(0, 255, \(4, 4, 1\)",
        ),
        (
            [spaced(observation_space=Box(0, 255, (4, 84, 84), np.uint8))],
            r"observation_space must have channels last, \(H, W, C\) .*, got \(4, 84, 84\)",
        ),
        (
            [spaced(observation_space=Box(0, 255, (84, 4, 84), np.uint8))],
            r"observation_space must have channels last, .*, got \(84, 4, 84\)",
        ),
        (
            [spaced(observation_space=gym.spaces.Dict(image=Cue.observation_space))],
            "observation_space must be a Box of uint8 images",
        ),
        ([spaced(observation_space=Discrete(5))], "observation_space must be a Box of"),
        (
            [spaced(observation_space=gym.spaces.MultiBinary((4, 4, 1)))],
            "observation_space must be a Box of",
        ),
        (
            [spaced(action_space=Box(-1, 1, (2,)))],
            r"action_space must be Discrete, got Box\(-1.0, 1.0, \(2,\)",
        ),
    ],
)  # fmt: skip
def test_environments_that_do_not_fit_are_named(envs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        update_of(envs)


@pytest.mark.parametrize("shape", [(84, 84, 4), (84, 84, 12), (4, 4, 4), (2, 8, 1)])
def test_images_with_the_channels_last_are_taken(shape: tuple[int, ...]) -> None:
    env = spaced(observation_space=Box(0, 255, shape, np.uint8))
    assert SMALL.sizes(env).inputs == math.prod(shape)


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_saturated_units_learn_without_overflow(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update on features of this size moves, and losses and weights stay finite, for 20 seeds.

    Control: autograd's tanh, whose derivative is 1/cosh², overflows.
    """

    def update(seed: int) -> tuple[np.ndarray, np.ndarray, Any]:
        rng = np.random.default_rng(seed)
        theta = recurrent.unreal_init(SIZES, rng)
        steps = make_steps(seed, 8, 3)
        factor = np.array([scale] * SIZES.inputs + [1.0] * (SIZES.actions + 1))
        replay = steps._replace(
            rows=factor * steps.rows, next_rows=factor * steps.next_rows
        )
        new = Steps(*(column[-4:] for column in replay))
        settings = UnrealSettings(num_steps=4, replay_steps=8)
        draws = recurrent.draw(rng, 3, settings)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            batch = recurrent.training_batch(theta, new, replay, draws, settings, SIZES)
            adam = bnn.adam_init(len(theta))
            after, _, losses = recurrent.learning_step(
                theta, adam, batch, settings, SIZES
            )
        return theta, after, losses

    for seed in range(20):
        before, after, losses = update(seed)
        assert np.isfinite([*after, *losses]).all()
        assert not np.array_equal(after, before)
    monkeypatch.setattr(bnn, "tanh", traced.tanh)
    with pytest.raises(FloatingPointError, match="overflow"):
        update(0)


REPLAY = make_steps(0, 4, 2)


def walk(noise: np.ndarray) -> object:
    envs, sizes = [Cue()], SMALL.sizes(Cue())
    theta, position = (
        make_theta(0, sizes),
        recurrent.begin(envs, SMALL, np.random.default_rng(0)),
    )
    return recurrent.interact(theta, envs, position, noise, SMALL)


ERRORS: list[tuple[str, Callable[[], object]]] = [
    ("theta must have shape", lambda: recurrent.network_layers(ROWS, SIZES)),
    ("hidden must be", lambda: UnrealSettings(hidden=0)),
    ("replay_steps must be >= num_steps 20", lambda: UnrealSettings(replay_steps=19)),
    ("control must be 'pixel' or 'feature'", lambda: UnrealSettings(control="sound")),
    (
        "bonus_sees must be 'pixels' or 'hidden'",
        lambda: UnrealSettings(bonus_sees="rows"),
    ),
    ("control_gamma must be", lambda: UnrealSettings(control_gamma=2.0)),
    ("eta must be", lambda: UnrealSettings(eta=-1.0)),
    (
        "eta must be an array of real numbers, got bool",
        lambda: UnrealSettings(eta=True),
    ),
    ("learning_rate must be > 0", lambda: UnrealSettings(learning_rate=math.inf)),
    (
        "learning_rate must be an array of real numbers",
        lambda: UnrealSettings(learning_rate="1"),
    ),
    ("num_steps must be a whole", lambda: UnrealSettings(num_steps=True)),
    ("normalize must be True or", lambda: UnrealSettings(normalize=1)),
    ("weights must be a LossWeights", lambda: UnrealSettings(weights=(1.0,) * 6)),
    ("gamma must be from 0 to 1", lambda: UnrealSettings(gamma=math.nan)),
    ("sizes must be a UnrealSizes", lambda: recurrent.num_parameters((1, 2, 3))),
    (
        "sizes.hidden must be a whole number",
        lambda: recurrent.num_parameters(SIZES._replace(hidden=0)),
    ),
    ("rng must be a Generator", lambda: recurrent.unreal_init(SIZES, 0)),
    ("memory must be True or False, got 0.5", lambda: UnrealSettings(memory=0.5)),
    (
        "observation_space must be a Box of uint8 images",
        lambda: UnrealSettings().sizes(Bright()),
    ),
    ("noise must have shape", lambda: walk(np.zeros((2, 2)))),
    ("noise must have shape", lambda: walk(np.zeros(2))),
    (r"noise must be in \[0, 1\)", lambda: walk(np.ones((2, 1)))),
    ("noise must be finite", lambda: walk(NAN[:, None])),
    ("steps of noise must be", lambda: walk(np.zeros((0, 1)))),
    ("places must have shape", lambda: recurrent.replay_window(REPLAY, 2, np.zeros(3))),
    (
        r"places must be in \[0, 1\)",
        lambda: recurrent.replay_window(REPLAY, 2, np.array([0.5, 1.0])),
    ),
    (
        "num_steps must be from 1 to the replay's 4, got 5",
        lambda: recurrent.replay_window(REPLAY, 5, np.zeros(2)),
    ),
    ("num_steps must be", lambda: recurrent.replay_window(REPLAY, 0, np.zeros(2))),
    (
        "gradient must be finite, got inf",
        lambda: recurrent.clipped(np.array([1.0, math.inf]), 0.5),
    ),
    (
        "observation_space must be a Box of uint8 images",
        lambda: UnrealSettings().sizes(gym.make("CartPole-v1")),
    ),
    (
        "envs must be at least 1",
        lambda: recurrent.begin([], UnrealSettings(), np.random.default_rng(0)),
    ),
    (
        "num_updates must be",
        lambda: next(
            recurrent.train_a2c([Cue()], ROWS, streams(0), SMALL, num_updates=0)
        ),
    ),
    *[
        (
            message,
            lambda changes=changes: next(
                recurrent.train_a2c(
                    **{
                        "envs": [Cue()],
                        "theta": ROWS,
                        "streams": streams(0),
                        "settings": SMALL,
                        "num_updates": 1,
                    }
                    | changes
                )
            ),
        )
        for message, changes in (
            ("theta must have shape", {}),
            ("settings must be a UnrealSettings", {"settings": None}),
            ("streams must be a Streams", {"streams": 0}),
            (
                "streams.policy must be a Gen",
                {"streams": streams(0)._replace(policy=0)},
            ),
            ("bonus must have a method", {"bonus": 1.0}),
        )
    ],
]


@pytest.mark.parametrize(
    ("message", "call"), ERRORS, ids=[message for message, _ in ERRORS]
)
def test_bad_arguments_of_the_agent_are_named(
    message: str, call: Callable[[], object]
) -> None:
    with pytest.raises(ValueError, match=message):
        call()

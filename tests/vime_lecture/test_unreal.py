"""The definitions of UNREAL: pseudo-rewards, targets, reward prediction, losses."""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st
from lecture_helpers import slow_return
from strategies import finite, seeds

from agents_ref import gae_advantages, log_softmax
from vime_lecture import unreal
from vime_lecture.unreal import LossWeights

# ---------------------------------------------------------------- pseudo-rewards


@st.composite
def films(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Observations (T+1, H, W, C) of bytes, and a cell size that divides them."""
    cell = draw(st.integers(1, 3))
    shape = (
        draw(st.integers(2, 4)),
        cell * draw(st.integers(1, 3)),
        cell * draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
    )
    return np.random.default_rng(draw(seeds)).integers(
        0, 256, shape, dtype=np.uint8
    ), cell


def slow_pixel_control(film: np.ndarray, cell: int) -> np.ndarray:
    """Exact means by fractions of whole numbers."""
    num_steps, height, width, channels = len(film) - 1, *film.shape[1:]
    rewards = np.zeros((num_steps, height // cell, width // cell))
    for t, i, j in np.ndindex(rewards.shape):
        pixels = product(
            range(i * cell, (i + 1) * cell),
            range(j * cell, (j + 1) * cell),
            range(channels),
        )
        changes = [
            abs(int(film[t + 1][pixel]) - int(film[t][pixel])) for pixel in pixels
        ]
        rewards[t, i, j] = float(Fraction(sum(changes), len(changes)))
    return rewards


@given(films(), st.sampled_from([np.uint8, np.int16, np.float64]))
def test_pixel_control_rewards_against_a_loop(
    case: tuple[np.ndarray, int], number: type
) -> None:
    """U1"""
    film, cell = case
    result = unreal.pixel_control_rewards(film.astype(number), cell)
    np.testing.assert_allclose(result, slow_pixel_control(film, cell), rtol=1e-13)


def test_pixel_control_rewards_against_its_mistakes() -> None:
    rng = np.random.default_rng(0)
    film = rng.integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    result, before, after = unreal.pixel_control_rewards(film, 2), film[:-1], film[1:]
    change = np.abs(after.astype(float) - before)

    def cells(values: np.ndarray) -> np.ndarray:
        return values.reshape(2, 2, 2, 3, 2, 3).mean(axis=(2, 4, 5))

    np.testing.assert_allclose(result, cells(change), rtol=1e-13)
    wrong = {
        "bytes that wrap around": cells(np.abs(after - before).astype(float)),
        "square": cells(change**2),
        "change of the means": np.abs(
            cells(after.astype(float)) - cells(before.astype(float))
        ),
        "sum over channels": 3.0 * cells(change),
        "rows for columns": change.reshape(2, 2, 3, 2, 2, 3).mean(axis=(1, 3, 5)),
    }
    for name, values in wrong.items():
        assert values.shape != result.shape or not np.allclose(
            result, values, rtol=1e-3
        ), name


@given(st.integers(1, 4), st.integers(1, 3), seeds)
def test_pixel_control_of_one_cell_against_the_mean_change(
    side: int, channels: int, seed: int
) -> None:
    film = np.random.default_rng(seed).integers(
        0, 256, (3, side, side, channels), dtype=np.uint8
    )
    whole = np.abs(np.diff(film.astype(float), axis=0)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(
        unreal.pixel_control_rewards(film, side)[:, 0, 0], whole, rtol=1e-13
    )


def test_feature_control_rewards_against_their_mistakes() -> None:
    """U2"""
    activations = np.array([[0.0, 1.0], [0.5, -1.0], [2.0, 0.25]])
    result = unreal.feature_control_rewards(activations)
    np.testing.assert_array_equal(result, [[0.5, -1.0], [2.0, 0.25]])
    for wrong in (
        activations[:-1],
        np.abs(np.diff(activations, axis=0)),
        np.abs(activations[1:]),
    ):
        assert not np.array_equal(result, wrong)


# ---------------------------------------------------------------- targets


@st.composite
def paths(draw: st.DrawFn) -> tuple[list[float], list[float], list[int]]:
    """Rewards, next values and how each step ended: 0 not at all, 1 in a terminal state, 2 cut."""
    size = draw(st.integers(1, 7))
    numbers = st.lists(finite(-3.0, 3.0), min_size=size, max_size=size)
    return (
        draw(numbers),
        draw(numbers),
        draw(st.lists(st.sampled_from([0, 0, 1, 2]), min_size=size, max_size=size)),
    )


@given(paths(), finite(0.0, 1.0))
def test_n_step_returns_against_sums_and_gae(
    path: tuple[list[float], list[float], list[int]], gamma: float
) -> None:
    """U8"""
    rewards, values, ends = path
    flags = np.equal(ends, 1), np.equal(ends, 2)
    result = unreal.n_step_returns(
        np.array(rewards), np.array(values), *flags, gamma=gamma
    )
    expected = [
        slow_return(t, rewards, values, ends, gamma) for t in range(len(rewards))
    ]
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)
    here = np.roll(values, 1)
    here[0] = (
        0.5  # the value of a state is that of the step before it, within an episode
    )
    before = np.where(np.roll(ends, 1) > 0, 0.25, here)
    cut = flags[1] | (np.arange(len(rewards)) == len(rewards) - 1)
    advantages = gae_advantages(
        np.array(rewards), before, np.array(values), flags[0], cut, gamma=gamma, lam=1.0
    )
    np.testing.assert_allclose(before + advantages, result, rtol=1e-12, atol=1e-12)


@given(paths(), st.integers(1, 3), st.integers(1, 3), seeds, finite(0.0, 1.0))
def test_n_step_q_targets_against_sums(
    path: tuple[list[float], list[float], list[int]],
    controls: int,
    actions: int,
    seed: int,
    gamma: float,
) -> None:
    """U3"""
    _, _, ends = path
    rng = np.random.default_rng(seed)
    rewards, q = (
        rng.normal(size=(len(ends), controls)),
        rng.normal(size=(len(ends), controls, actions)),
    )
    result = unreal.n_step_q_targets(
        rewards, q, np.equal(ends, 1), np.equal(ends, 2), gamma=gamma
    )
    for t, g in np.ndindex(result.shape):
        best = [max(row) for row in q[:, g].tolist()]
        expected = slow_return(t, rewards[:, g].tolist(), best, ends, gamma)
        assert math.isclose(result[t, g], expected, rel_tol=1e-12, abs_tol=1e-12)


def test_n_step_targets_against_their_mistakes() -> None:
    rewards, values = (
        np.array([1.0, 2.0, 4.0, 8.0, 16.0]),
        np.array([10.0, 20.0, 30.0, 40.0, 50.0]),
    )
    terminated, truncated = np.array([0, 1, 0, 0, 0]), np.array([0, 0, 0, 1, 0])
    result = unreal.n_step_returns(rewards, values, terminated, truncated, gamma=0.5)
    np.testing.assert_array_equal(result, [2.0, 2.0, 18.0, 28.0, 41.0])
    wrong = {
        "terminal transition dropped": (
            np.where(terminated, 0.0, rewards),
            terminated,
            truncated,
        ),
        "bootstrap from a terminal state": (
            rewards,
            0 * terminated,
            truncated | terminated,
        ),
        "truncation as termination": (rewards, terminated | truncated, 0 * truncated),
        "windows that cross episodes": (rewards, 0 * terminated, 0 * truncated),
    }
    for name, (paid, ends, cuts) in wrong.items():
        assert not np.allclose(
            result, unreal.n_step_returns(paid, values, ends, cuts, gamma=0.5)
        ), name
    q = np.stack([values, values - 5.0], axis=-1)
    q_targets = unreal.n_step_q_targets(rewards, q, terminated, truncated, gamma=0.5)
    np.testing.assert_array_equal(q_targets, result)
    one_step = rewards + 0.5 * np.where(terminated, 0.0, q.max(axis=-1))
    mean = unreal.n_step_returns(
        rewards, q.mean(axis=-1), terminated, truncated, gamma=0.5
    )
    first = unreal.n_step_returns(rewards, q[:, 1], terminated, truncated, gamma=0.5)
    assert not any(np.allclose(q_targets, other) for other in (one_step, mean, first))


def test_n_step_returns_of_flags_with_axes_of_their_own_against_flags_of_all() -> None:
    """An end of all environments beside cuts of each, and the other way round; lists are arrays."""
    rewards, values = np.random.default_rng(0).normal(size=(2, 4, 3, 2))
    one, each = np.array([0, 1, 0, 0], dtype=bool), np.eye(4, 3, -1, dtype=bool)
    every = np.broadcast_to(one[:, None], (4, 3))
    for short, full in (((one, each), (every, each)), ((each, one), (each, every))):
        result = unreal.n_step_returns(rewards, values, *short, gamma=0.5)
        np.testing.assert_array_equal(
            result, unreal.n_step_returns(rewards, values, *full, gamma=0.5)
        )
        listed = unreal.n_step_returns(
            rewards.tolist(), values.tolist(), *map(np.ndarray.tolist, short), gamma=0.5
        )
        np.testing.assert_array_equal(listed, result)
        assert not np.allclose(
            result, unreal.n_step_returns(rewards, values, *full[::-1], gamma=0.5)
        )


@given(st.integers(1, 4), seeds)
def test_dueling_against_its_two_identities(actions: int, seed: int) -> None:
    """The mean over actions is V, differences between actions are those of A; both fail for the variants. U4"""
    rng = np.random.default_rng(seed)
    values, advantages = rng.normal(size=(2, 3)), rng.normal(size=(2, 3, actions))

    def holds(q: np.ndarray) -> bool:
        return np.allclose(q.mean(axis=-1), values) and np.allclose(
            q - q[..., :1], advantages - advantages[..., :1]
        )

    assert holds(unreal.dueling(values, advantages))
    assert not holds(values[..., None] + advantages)
    if actions > 1:
        assert not holds(
            values[..., None] + advantages - advantages.max(axis=-1, keepdims=True)
        )
        assert not holds(values[..., None] + advantages - advantages.mean())


# ---------------------------------------------------------------- reward prediction


@given(st.lists(st.booleans(), max_size=8), st.integers(1, 2))
def test_reward_prediction_windows_against_a_loop(
    ended: list[bool], columns: int
) -> None:
    """All three frames lie in the episode of the last one, counted by the ends before each."""
    episodes = [sum(ended[:t]) for t in range(len(ended))]
    expected = [t >= 2 and episodes[t - 2] == episodes[t] for t in range(len(ended))]
    both = np.stack([ended] * columns, axis=1) if ended else np.zeros((0, columns))
    for column in unreal.reward_prediction_windows(both).T:
        assert column.tolist() == expected


def test_reward_prediction_windows_against_their_mistakes() -> None:
    ended = [False, False, True, False, False, False]
    fits = unreal.reward_prediction_windows(ended).tolist()
    assert fits == [False, False, True, False, False, True]
    crossing = [False, False, True, True, True, True]
    two_frames = [False, False, True, False, True, True]
    the_end_left_out = [False, False, False, False, False, True]
    assert fits not in (crossing, two_frames, the_end_left_out)


def grid(paid: int, unpaid: int) -> tuple[np.ndarray, np.ndarray]:
    """Coins and places in the middle of equal parts of the unit square, as many as make every count exact."""
    size = 2 * math.lcm(max(paid, 1), max(unpaid, 1))
    coins, places = np.meshgrid(
        (np.arange(4) + 0.5) / 4, (np.arange(size) + 0.5) / size
    )
    return coins.ravel(), places.ravel()


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.0, 2.0]), min_size=1, max_size=9), seeds)
def test_sample_reward_windows_against_exact_counts(
    rewards: list[float], seed: int
) -> None:
    """U7"""
    ended = np.random.default_rng(seed).random(len(rewards)) < 0.2
    fits = [t for t in range(2, len(rewards)) if not ended[t - 2 : t].any()]
    paid, unpaid = (
        [t for t in fits if rewards[t] != 0],
        [t for t in fits if rewards[t] == 0],
    )
    coins, places = grid(len(paid), len(unpaid))
    counts = Counter(
        unreal.sample_reward_windows(np.array(rewards), ended, coins, places)[
            :, 0
        ].tolist()
    )
    share = Fraction(1, 2) if paid and unpaid else Fraction(1)
    expected = {t: share / len(paid) for t in paid} | {
        t: share / len(unpaid) for t in unpaid
    }
    assert {t: Fraction(n, len(coins)) for t, n in counts.items()} == expected


def test_sample_reward_windows_against_their_mistakes() -> None:
    rewards, ended = (
        np.array([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, -1.0]),
        np.array([0, 0, 0, 1, 0, 0, 0], dtype=bool),
    )
    coins, places = grid(2, 2)
    rows = unreal.sample_reward_windows(rewards, ended, coins, places)[:, 0]
    assert set(rows) == {2, 3, 6}  # 4 and 5 would look across the end after 3
    assert np.mean(rewards[rows] != 0) == 0.5
    crossing = unreal.sample_reward_windows(rewards, 0 * ended, coins, places)[:, 0]
    assert {4, 5} <= set(crossing)
    uniform = np.flatnonzero(unreal.reward_prediction_windows(ended))[
        (places * 3).astype(int)
    ]
    assert np.mean(rewards[uniform] != 0) != 0.5
    assert unreal.sample_reward_windows(
        rewards[:2], ended[:2], coins, places
    ).shape == (0, 1)
    listed = unreal.sample_reward_windows(
        *(column.tolist() for column in (rewards, ended, coins, places))
    )
    assert listed[:, 0].tolist() == rows.tolist()
    deep = unreal.sample_reward_windows(
        np.stack([rewards, 0 * rewards], 1), np.stack([ended] * 2, 1), coins, places
    )
    assert {tuple(row) for row in deep.tolist()} == {
        (2, 0),
        (3, 0),
        (6, 0),
        (2, 1),
        (3, 1),
        (6, 1),
    }


def test_sample_reward_windows_of_the_last_place_against_the_last_window() -> None:
    """Windows of either kind. A place cast after adding the number of rewards can lie beyond the end."""
    no_end, place, behind = np.zeros(10, dtype=bool), np.nextafter(1.0, 0.0), 0
    for paid, unpaid in product(range(1, 5), repeat=2):
        rewards = np.array([0.0, 0.0, *[1.0] * paid, *[0.0] * unpaid])
        coins, places = np.array([0.25, 0.75]), np.array([place, place])
        rows = unreal.sample_reward_windows(
            rewards, no_end[: len(rewards)], coins, places
        )
        assert rows[:, 0].tolist() == [paid + 1, paid + unpaid + 1]
        behind += int(paid + place * unpaid) == paid + unpaid
    assert behind


# ---------------------------------------------------------------- losses


@given(st.integers(1, 4), st.integers(2, 4), seeds)
def test_actor_critic_losses_against_loops(
    num_rows: int, num_actions: int, seed: int
) -> None:
    """Policy, entropy and value. U11"""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_rows, num_actions))
    advantages, values, returns = rng.normal(size=(3, num_rows))
    actions = rng.integers(num_actions, size=num_rows)
    policy = entropy = 0.0
    for n, action in enumerate(actions):
        weights = [math.exp(x) for x in logits[n]]
        p = [weight / sum(weights) for weight in weights]
        policy -= advantages[n] * math.log(p[action]) / num_rows
        entropy -= sum(x * math.log(x) for x in p) / num_rows
    value = sum(0.5 * (a - b) ** 2 for a, b in zip(returns, values)) / num_rows
    for result, expected in [
        (unreal.policy_loss(logits, actions, advantages), policy),
        (unreal.policy_entropy(logits), entropy),
        (unreal.value_loss(values, returns), value),
    ]:
        assert math.isclose(result, expected, rel_tol=1e-12, abs_tol=1e-14)


@given(st.integers(1, 4), st.integers(2, 4), st.integers(1, 3), seeds)
def test_control_loss_against_a_loop(
    num_rows: int, num_actions: int, controls: int, seed: int
) -> None:
    """U5"""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(num_rows, controls, num_actions))
    targets = rng.normal(size=(num_rows, controls))
    actions = rng.integers(num_actions, size=num_rows)
    expected = 0.0
    for n, action in enumerate(actions):
        for g in range(controls):
            expected += 0.5 * (targets[n, g] - q[n, g, action]) ** 2 / num_rows
    result = unreal.control_loss(q, actions, targets)
    assert math.isclose(result, expected, rel_tol=1e-12, abs_tol=1e-14)


@given(st.integers(1, 4), seeds)
def test_reward_prediction_loss_against_a_loop(num_rows: int, seed: int) -> None:
    """U6"""
    rng = np.random.default_rng(seed)
    logits, classes = rng.normal(size=(num_rows, 3)), rng.integers(3, size=num_rows)
    expected = 0.0
    for row, number in zip(logits, classes):
        total = sum(math.exp(x) for x in row)
        expected -= math.log(math.exp(row[number]) / total) / num_rows
    result = unreal.reward_prediction_loss(logits, classes)
    assert math.isclose(result, expected, rel_tol=1e-12, abs_tol=1e-14)


def test_losses_against_their_mistakes() -> None:
    logits, actions, advantages = (
        np.array([[0.0, 1.0], [2.0, 0.0]]),
        np.array([0, 1]),
        np.array([1.0, -3.0]),
    )
    log_p = log_softmax(logits)
    policy = unreal.policy_loss(logits, actions, advantages)
    q, targets = np.array([[[1.0, 5.0], [2.0, 3.0]]]), np.array([[0.0, 5.0]])
    control = unreal.control_loss(q, np.array([1]), targets)
    assert math.isclose(control, 0.5 * (25.0 + 4.0))
    for result, wrong in [
        (policy, np.mean(advantages * log_p[[0, 1], actions])),  # the sign
        (
            policy,
            -np.mean(advantages * logits[[0, 1], actions]),
        ),  # logits for log-probabilities
        (policy, -np.mean(advantages * log_p[[0, 1], 1 - actions])),
        (
            unreal.policy_entropy(logits),
            -np.mean(np.exp(log_p) * log_p),
        ),  # mean over the actions
        (control, 0.25 * (25.0 + 4.0)),  # mean over the cells
        (
            control,
            0.5 * np.sum((targets[0] - q[0].max(axis=-1)) ** 2)
            + 0.5 * np.sum((targets[0] - q[0, :, 0]) ** 2),
        ),
        (unreal.control_loss(q, np.array([0]), targets), control),
        (
            unreal.value_loss(targets, 0.0 * targets),
            np.mean(targets**2),
        ),  # without the half
    ]:
        assert not math.isclose(result, wrong, rel_tol=1e-3)


def test_unreal_loss_against_its_sum_and_its_mistakes() -> None:
    """U9"""
    losses, weights = (
        unreal.Losses(1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        LossWeights(0.5, 0.01, 0.25, 0.1, 2.0),
    )
    result = unreal.unreal_loss(losses, weights)
    assert math.isclose(
        result, 1.0 + 0.5 * 2.0 - 0.01 * 3.0 + 0.25 * 4.0 + 0.1 * 5.0 + 2.0 * 6.0
    )
    for wrong in (
        LossWeights(1.0, 0.01, 0.25, 0.1, 2.0),
        LossWeights(0.5, 0.0, 0.25, 0.1, 2.0),
        LossWeights(0.5, 0.01, 0.1, 0.25, 2.0),
    ):
        assert not math.isclose(result, unreal.unreal_loss(losses, wrong))
    assert not math.isclose(
        result, unreal.unreal_loss(losses._replace(entropy=-3.0), weights)
    )


def lstm_total(*arguments: Any) -> Any:
    hidden, cell = unreal.lstm_step(*arguments)
    return (hidden**2 + cell).sum()


TRACED: list[tuple[Callable[..., Any], list[tuple[int, ...]]]] = [
    (lstm_total, [(2, 12), (2, 3), (2, 3), (3, 12)]),
    (
        lambda values, advantages: (unreal.dueling(values, advantages) ** 2).sum(),
        [(2, 3), (2, 3, 4)],
    ),
    (
        lambda q, targets: unreal.control_loss(q, np.array([1, 0]), targets),
        [(2, 3, 4), (2, 3)],
    ),
]


@pytest.mark.parametrize(
    ("function", "shapes"), TRACED, ids=["lstm_step", "dueling", "control_loss"]
)
def test_gradients_through_checks_against_directional_differences(
    function: Callable[..., Any], shapes: list[tuple[int, ...]]
) -> None:
    """By each argument; the gradient of another row fails."""
    rng = np.random.default_rng(0)
    arguments = [rng.normal(size=shape) for shape in shapes]
    for k, shape in enumerate(shapes):
        direction = rng.normal(size=shape)
        ends = [
            function(*arguments[:k], arguments[k] + h * direction, *arguments[k + 1 :])
            for h in (1e-5, -1e-5)
        ]
        gradient = grad(function, k)(*arguments)
        assert math.isclose(
            np.sum(gradient * direction), (ends[0] - ends[1]) / 2e-5, rel_tol=1e-6
        )
        assert not math.isclose(
            np.sum(gradient[::-1] * direction), (ends[0] - ends[1]) / 2e-5, rel_tol=1e-2
        )


def test_losses_of_a_million_actions_against_logarithms() -> None:
    """One row takes megabytes; a matrix (A, A) would take 8 TB."""
    actions, advantages = np.array([3, 5], np.uint8), np.array([1.0, 3.0])
    loss = unreal.policy_loss(np.zeros((2, 1_000_000)), actions, advantages)
    assert math.isclose(loss, 2.0 * math.log(1_000_000), rel_tol=1e-12)


# ---------------------------------------------------------------- errors

NAN = np.array([0.0, math.nan, 0.0])
FILM, ROWS, NO = np.zeros((3, 4, 4, 1)), np.zeros(3), np.zeros(3, dtype=bool)

FIRST, Q, LOGITS = np.zeros(3, dtype=int), np.zeros((3, 2, 4)), np.zeros((3, 3))

LSTM = {
    "gate_inputs": np.zeros((2, 12)),
    "hidden": np.zeros((2, 3)),
    "cell": np.zeros((2, 3)),
    "weights": np.zeros((3, 12)),
}


HUGE = np.full((1, 2, 2, 1), 1.7e308)


def with_nan(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(values.size).reshape(values.shape) == 1, math.nan, values)


def bad_lstm(name: str, values: np.ndarray) -> Callable[[], object]:
    return lambda: unreal.lstm_step(**LSTM | {name: values})


ERRORS: list[tuple[str, Callable[[], object]]] = [
    ("multiples of cell_size 3", lambda: unreal.pixel_control_rewards(FILM, 3)),
    (
        r"images must be nonempty \(..., H, W, C\)",
        lambda: unreal.pixel_control_rewards(FILM[..., :0], 1),
    ),
    ("cell_size must be", lambda: unreal.pixel_control_rewards(FILM, 0)),
    (
        r"before must be \(..., H, W, C\), got \(3,\)",
        lambda: unreal.pixel_changes(ROWS, ROWS, 1),
    ),
    (
        r"observations must be \(T\+1, H, W, C\)",
        lambda: unreal.pixel_control_rewards(FILM[:1], 1),
    ),
    (
        r"observations must be \(T\+1, H, W, C\)",
        lambda: unreal.pixel_control_rewards(FILM[0], 1),
    ),
    (
        "observations must be finite",
        lambda: unreal.pixel_control_rewards(
            FILM + np.array([[[0]], [[np.nan]]] * 2), 1
        ),
    ),
    ("activations must be", lambda: unreal.feature_control_rewards(np.zeros((1, 2)))),
    (
        "activations must be finite",
        lambda: unreal.feature_control_rewards(np.array([[0.0], [np.inf]])),
    ),
    ("gamma must be", lambda: unreal.n_step_returns(ROWS, ROWS, NO, NO, gamma=1.5)),
    (
        "rewards must be finite",
        lambda: unreal.n_step_returns(ROWS + np.nan, ROWS, NO, NO, gamma=1),
    ),
    (
        "next_values must",
        lambda: unreal.n_step_returns(ROWS, ROWS[:2], NO, NO, gamma=1),
    ),
    ("terminated must", lambda: unreal.n_step_returns(ROWS, ROWS, NO[:2], NO, gamma=1)),
    (
        "truncated must",
        lambda: unreal.n_step_returns(ROWS, ROWS, NO, np.array(False), gamma=1),
    ),
    (
        "rewards must have at least 1",
        lambda: unreal.n_step_returns(ROWS[:0], ROWS[:0], NO[:0], NO[:0], gamma=1),
    ),
    (
        "next_q_values must have",
        lambda: unreal.n_step_q_targets(ROWS, ROWS, NO, NO, gamma=1),
    ),
    (
        "rewards must have at least 1",
        lambda: unreal.n_step_returns(0.0, 0.0, NO, NO, gamma=1),
    ),
    ("truncated must", lambda: unreal.n_step_returns(FILM, FILM, NO, NO[:2], gamma=1)),
    (
        "next_q_values must have .* A >= 1",
        lambda: unreal.n_step_q_targets(ROWS, Q[:, 0, :0], NO, NO, gamma=1),
    ),
    (
        "next_q_values must be finite",
        lambda: unreal.n_step_q_targets(ROWS, FILM[0, 0] + np.nan, NO, NO, gamma=1),
    ),
    (
        "terminated must be .* true and false",
        lambda: unreal.n_step_returns(ROWS, ROWS, [0, 2, 0], NO, gamma=1),
    ),
    (
        "truncated must be .* true and false",
        lambda: unreal.n_step_returns(ROWS, ROWS, NO, NAN, gamma=1),
    ),
    (
        "terminated must be .* true and",
        lambda: unreal.n_step_q_targets(ROWS, Q[:, 0], [0.5, 0, 0], NO, gamma=1),
    ),
    ("values must have shape", lambda: unreal.dueling(ROWS, np.zeros((2, 4)))),
    ("^values must be finite", lambda: unreal.dueling(NAN, np.zeros((3, 4)))),
    ("advantages must be finite", lambda: unreal.dueling(ROWS, np.stack([NAN] * 3))),
    ("advantages must be .* A >= 1", lambda: unreal.dueling(ROWS, LOGITS[:, :0])),
    (
        r"advantages must be .* got \(\)",
        lambda: unreal.dueling(np.array(1.0), np.array(0.0)),
    ),
    (
        "ended must be .* true and false",
        lambda: unreal.reward_prediction_windows([0, 2, 0]),
    ),
    (r"ended must be \(T", lambda: unreal.reward_prediction_windows(True)),
    (
        "ended must be .* true and false, ",
        lambda: unreal.sample_reward_windows(ROWS, ROWS + 0.5, ROWS, ROWS),
    ),
    ("coins must be finite", lambda: unreal.sample_reward_windows(ROWS, NO, NAN, ROWS)),
    (
        "places must be finite",
        lambda: unreal.sample_reward_windows(ROWS, NO, ROWS, NAN),
    ),
    ("rewards must be finite", lambda: unreal.reward_class([math.nan])),
    (
        "ended must have shape",
        lambda: unreal.sample_reward_windows(ROWS, NO[:2], ROWS, ROWS),
    ),
    (
        "places must have shape",
        lambda: unreal.sample_reward_windows(ROWS, NO, ROWS, ROWS[:1]),
    ),
    (
        r"coins must be in \[0, 1\)",
        lambda: unreal.sample_reward_windows(ROWS, NO, ROWS + 1.0, ROWS),
    ),
    (
        r"places must be in \[0, 1\)",
        lambda: unreal.sample_reward_windows(ROWS, NO, ROWS, ROWS - 0.1),
    ),
    (
        "coins must have shape",
        lambda: unreal.sample_reward_windows(ROWS, NO, LOGITS, LOGITS),
    ),
    (
        "actions must be indices",
        lambda: unreal.policy_loss(LOGITS, np.array([0, 1, 3]), ROWS),
    ),
    ("actions must have shape", lambda: unreal.policy_loss(LOGITS, FIRST[:2], ROWS)),
    ("advantages must have shape", lambda: unreal.policy_loss(LOGITS, FIRST, ROWS[:1])),
    ("advantages must be finite", lambda: unreal.policy_loss(LOGITS, FIRST, NAN)),
    (
        r"logits must be \(..., A\) with no axis of length 0",
        lambda: unreal.policy_loss(LOGITS[:0], FIRST[:0], ROWS[:0]),
    ),
    (
        "logits must be finite",
        lambda: unreal.policy_loss(with_nan(LOGITS), FIRST, ROWS),
    ),
    (
        "logits must be .* with no axis of length 0",
        lambda: unreal.policy_entropy(LOGITS[:, :0]),
    ),
    (r"logits must be .* got \(\)", lambda: unreal.policy_entropy(np.array(0.0))),
    ("logits must be finite", lambda: unreal.policy_entropy(with_nan(LOGITS))),
    ("returns must have shape", lambda: unreal.value_loss(ROWS, ROWS[:, None])),
    ("returns must be finite", lambda: unreal.value_loss(ROWS, NAN)),
    ("^values must be finite", lambda: unreal.value_loss(NAN, ROWS)),
    (
        r"values must be \(...\) with no axis of length 0",
        lambda: unreal.value_loss(ROWS[:0], ROWS[:0]),
    ),
    (
        "classes must be indices below 3",
        lambda: unreal.reward_prediction_loss(LOGITS, FIRST + 3),
    ),
    (
        "classes must have shape",
        lambda: unreal.reward_prediction_loss(LOGITS, FIRST[:2]),
    ),
    (
        r"logits must have shape \(3, 3\)",
        lambda: unreal.reward_prediction_loss(LOGITS[:, :2], FIRST),
    ),
    (
        "logits must be .* with no axis of length 0",
        lambda: unreal.reward_prediction_loss(LOGITS[:0], FIRST[:0]),
    ),
    (
        "logits must be finite",
        lambda: unreal.reward_prediction_loss(with_nan(LOGITS), FIRST),
    ),
    (
        "targets must have shape",
        lambda: unreal.control_loss(Q, FIRST, np.zeros((3, 1))),
    ),
    (
        "targets must be finite",
        lambda: unreal.control_loss(Q, FIRST, with_nan(Q[..., 0])),
    ),
    (
        "q_values must be finite",
        lambda: unreal.control_loss(with_nan(Q), FIRST, Q[..., 0]),
    ),
    (r"q_values must be \(", lambda: unreal.control_loss(ROWS, FIRST, ROWS)),
    (
        "q_values must be .* with no axis of length 0",
        lambda: unreal.control_loss(Q[:0], FIRST[:0], Q[:0, :, 0]),
    ),
    ("after minus before must be finite", lambda: unreal.pixel_changes(-HUGE, HUGE, 1)),
    ("sums of images must be finite", lambda: unreal.cell_means(HUGE, 2)),
    (
        "returns of rewards must be finite",
        lambda: unreal.n_step_returns(
            [1.7e308] * 2, [0.0] * 2, NO[:2], NO[:2], gamma=1.0
        ),
    ),
    (
        r"ended must be \(T, ...\), got unequal rows",
        lambda: unreal.reward_prediction_windows([[0, 1], [0]]),
    ),
    ("actions must have shape", lambda: unreal.control_loss(Q, FIRST[:2], Q[..., 0])),
    (r"hidden must have shape \(any, any\)", bad_lstm("hidden", np.zeros(3))),
    ("gate_inputs must have shape", bad_lstm("gate_inputs", np.zeros((2, 9)))),
    ("cell must have shape", bad_lstm("cell", np.zeros((2, 1)))),
    ("weights must have shape", bad_lstm("weights", np.zeros((12, 3)))),
    *[
        (f"^{name} must be finite", bad_lstm(name, with_nan(values)))
        for name, values in LSTM.items()
    ],
    ("control must be >= 0", lambda: LossWeights(control=-1.0)),
    ("value must be >= 0 and finite", lambda: LossWeights(value=math.inf)),
]


@pytest.mark.parametrize(
    ("message", "call"), ERRORS, ids=[message for message, _ in ERRORS]
)
def test_bad_arguments_are_named(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=message):
        call()

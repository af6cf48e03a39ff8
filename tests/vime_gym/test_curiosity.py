"""The rewards step by step: share against its formula, when the bonus learns, what it takes."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from numpy.random import Generator

import vime_ref as vime
from vime_gym.curiosity import (
    Curiosity,
    Transitions,
    check_fits,
    ordered_by_env,
    truncate_last,
)

GAMMA = 0.5


class Spaces(gymnasium.Env[Any, Any]):
    observation_space = Box(-9.0, 9.0, (1,), np.float64)
    action_space = Discrete(2)


@dataclass(frozen=True)
class Constant:
    """A bonus of 2 that counts its updates."""

    updates: int = 0

    def reward(self, batch: vime.Batch, rng: Generator) -> Any:
        return np.full(len(batch.rewards), 2.0)

    def update(self, batch: vime.Batch, rng: Generator) -> "Constant":
        return Constant(self.updates + 1)


def curiosity(num_envs: int = 2, **changed: Any) -> Curiosity:
    settings: dict[str, Any] = {"eta": 1.0, "update_every": 4, "normalize": False}
    return Curiosity(Spaces(), num_envs, Constant(), **{**settings, **changed})


def step(
    state: Curiosity, rewards: Any, terminated: Any = 0, truncated: Any = 0
) -> Any:
    shape = (state.num_envs,)
    flags = [np.broadcast_to(each, shape) for each in (terminated, truncated)]
    acted = state.actions(np.zeros(shape, int))
    return state.earn(acted, rewards, np.zeros((*shape, 1)), *flags)


# ------------------------------------------------------------ share


def test_share_against_its_formula() -> None:
    """η = share·(1 − γ)·G, with G the largest |discounted return| so far, by its own sum, or 1 before a reward.

    Control: the sum of rewards without discount, and one that goes on over ends, differ.
    """
    state = curiosity(eta=None, share=0.25, gamma=GAMMA)
    state.begin(np.zeros((2, 1)))
    rng = np.random.default_rng(0)
    given = np.concatenate([np.zeros((3, 2)), rng.normal(size=(20, 2))])
    ends = rng.random((23, 2)) < 0.2
    wrong = {"undiscounted": 0, "over ends": 0}
    for t in range(23):
        earned = step(state, given[t], ends[t])
        peaks = {}
        for name, gamma, cut in (
            ("right", GAMMA, True),
            ("undiscounted", 1.0, True),
            ("over ends", GAMMA, False),
        ):
            returns = []
            for i in range(2):
                for now in range(t + 1):
                    before = [n for n in range(now) if ends[n, i] and cut]
                    # A step after an end is a reset.
                    start = before[-1] + 2 if before else 0
                    steps = np.arange(start, now + 1)
                    returns.append(np.sum(gamma ** (now - steps) * given[steps, i]))
            peaks[name] = max(np.abs(returns), default=0.0) or 1.0
        wanted = 0.25 * (1 - GAMMA) * peaks["right"] * 2.0
        np.testing.assert_allclose(earned.intrinsic[earned.took], wanted, rtol=1e-12)
        for name in wrong:
            wrong[name] += peaks[name] != pytest.approx(peaks["right"])
    assert min(wrong.values()) > 0


def test_share_is_the_ratio_of_two_discounted_returns() -> None:
    """A gain of 1 in each step, forever, is worth the share of the largest return of the task."""
    state = curiosity(1, eta=None, share=0.3, gamma=0.9)
    state.begin(np.zeros((1, 1)))
    for reward in (0.0, 50.0, 0.0):
        earned = step(state, [reward])
    eta = earned.intrinsic[0] / 2.0
    bonuses = np.sum(eta * 0.9 ** np.arange(2000))
    assert bonuses == pytest.approx(0.3 * 50.0)


def test_a_reset_ends_a_return() -> None:
    """G is that of each episode. Control: one that goes on over the reset."""
    state = curiosity(1, eta=None, share=0.5, gamma=GAMMA)
    for _ in range(2):
        state.begin(np.zeros((1, 1)))
        earned = step(state, [8.0])
    assert earned.intrinsic[0] == pytest.approx(0.5 * (1 - GAMMA) * 8.0 * 2.0)
    earned = step(state, [8.0])
    assert earned.intrinsic[0] == pytest.approx(0.5 * (1 - GAMMA) * 12.0 * 2.0)


def test_share_is_the_same_in_other_units_of_the_reward() -> None:
    """Twice the reward is twice the bonus; with eta it is not."""
    for weight, ratio in (({"eta": None, "share": 0.5}, 2.0), ({"eta": 0.5}, 1.0)):
        found = []
        for unit in (1.0, 2.0):
            state = curiosity(1, **weight)
            state.begin(np.zeros((1, 1)))
            found.append(step(state, [-3.0 * unit]).intrinsic[0])
        assert found[1] == pytest.approx(ratio * found[0])


# ------------------------------------------------------------ learning


def test_the_bonus_learns_after_every_so_many_transitions() -> None:
    """Of all environments together; reset steps do not count."""
    state = curiosity(3, update_every=7)
    state.begin(np.zeros((3, 1)))
    updates = []
    for _ in range(6):
        step(state, np.zeros(3), terminated=[1, 0, 0])
        updates.append(state.bonus.updates)
    # 3, 5, 8 transitions; then 2, 5, 7.
    assert updates == [0, 0, 1, 1, 1, 2]


def test_an_update_that_returns_no_bonus_is_rejected() -> None:
    class Forgetful(Constant):
        def update(self, batch: vime.Batch, rng: Generator) -> Any:
            return None

    state = Curiosity(Spaces(), 1, Forgetful(), eta=1.0, update_every=1)
    state.begin(np.zeros((1, 1)))
    with pytest.raises(ValueError, match=r"bonus.update's result must have"):
        step(state, [0.0])


def test_only_given_environments_begin() -> None:
    state = curiosity(2)
    state.begin(np.array([[1.0], [2.0]]))
    state.begin(np.array([[5.0], [6.0]]), np.array([False, True]))
    assert state.observations.tolist() == [[1.0], [6.0]]


def test_episodes_that_begin_truncate_rows_of_a_rollout_too() -> None:
    state = curiosity(1)
    for _ in range(2):
        state.begin(np.zeros((1, 1)))
        state.keep(state.actions([0]), [0.0], np.zeros((1, 1)), [False], [False])
    assert [block.truncated.tolist() for block in state.rollout] == [[True], [False]]


# ------------------------------------------------------------ rows


def rows(env: list[int]) -> Transitions:
    count = len(env)
    column = np.arange(float(count))
    table = column[:, None]
    ends = np.zeros(count, bool)
    return Transitions(
        np.array(env), table, column, column, table, ends, ends.copy(), column
    )


def test_rows_by_environment_keep_their_order_and_the_last_is_truncated() -> None:
    found = ordered_by_env(rows([0, 2, 0, 2, 1]))
    assert found.rewards.tolist() == [0, 2, 4, 1, 3]
    assert found.truncated.tolist() == [False, True, True, False, True]


def test_a_terminal_row_is_not_truncated() -> None:
    given = rows([0, 1])
    given.terminated[1] = True
    assert ordered_by_env(given).truncated.tolist() == [True, False]


def test_the_last_row_of_an_environment_is_truncated_wherever_it_stands() -> None:
    """If it terminated, it is not."""
    blocks = [rows([0, 1, 3]), rows([1]), rows([1])]
    blocks[0].terminated[2] = True
    truncate_last(blocks, np.array([0, 1, 2, 3]))
    found = [block.truncated.tolist() for block in blocks]
    assert found == [[True, False, False], [False], [True]]


# ------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("num_envs", {"num_envs": 0}),
        ("eta", {"eta": None}),
        ("eta", {"share": 1.0}),
        ("gamma", {"gamma": -1.0}),
        ("env", {"env": 3}),
    ],
)
def test_arguments_are_rejected_by_name(name: str, changed: dict[str, Any]) -> None:
    given = {"env": Spaces(), "eta": 1.0, "update_every": 4, **changed}
    with pytest.raises(ValueError, match=name):
        Curiosity(**given)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("observations", {"observations": np.zeros((1, 1))}),
        ("observation", {"observations": np.zeros((2, 3))}),
        ("rewards", {"rewards": np.zeros(3)}),
        ("rewards", {"rewards": 1.0}),
        ("terminated", {"terminated": [0, 2]}),
        ("truncated", {"truncated": [0]}),
    ],
)
def test_steps_are_rejected_by_name(name: str, changed: dict[str, Any]) -> None:
    state = curiosity()
    state.begin(np.zeros((2, 1)))
    given = {
        "actions": state.actions([0, 1]),
        "rewards": np.zeros(2),
        "observations": np.zeros((2, 1)),
        "terminated": [0, 0],
        "truncated": [0, 0],
        **changed,
    }
    with pytest.raises(ValueError, match=f"{name} must"):
        state.earn(**given)
    with pytest.raises(ValueError, match="actions must have shape"):
        state.actions([0])


def test_a_vime_of_other_sizes_says_what_makes_one() -> None:
    bonus = vime.vime_init(2, Discrete(2), np.random.default_rng(0))
    assert check_fits(bonus, 2, Discrete(2)) is bonus
    for sizes in ((3, Discrete(2)), (2, Discrete(3))):
        with pytest.raises(ValueError, match=r"bonus must .*vime_for"):
            check_fits(bonus, *sizes)

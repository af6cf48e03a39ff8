"""The noisy corridor: its rules in every state, its noise, its pictures."""

import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
from gym_helpers import at
from gymnasium.utils.env_checker import check_env

from vime_gym import rooms
from vime_gym.corridor import BITS, LEFT, NUM_ACTIONS, NoisyCorridor


@pytest.mark.parametrize("view", ["index", "onehot", "coordinates"])
def test_corridor_against_gymnasium_check_env(view):
    made = gym.make("vime_ref/NoisyCorridor-v0", length=3, observation=view)
    check_env(made.unwrapped)


def expected(env: NoisyCorridor, state: int, action: int) -> set[int]:
    """The states that may follow, by the rules in words."""
    pictures = set(range(env.length + 1, env.length + 1 + env.num_pictures))
    if state in pictures:
        return pictures if action == LEFT else {0}
    if state == 0 and action == LEFT:
        return pictures
    return {state + 1} if action == env.right[state] else {0}


@pytest.mark.parametrize("options", [{}, {"mapping_seed": 3}, {"num_pictures": 2}])
def test_corridor_against_its_rules_in_every_state(options):
    """Control: with another mapping they do not fit."""
    env = NoisyCorridor(4, **options)
    other = NoisyCorridor(4, mapping_seed=7)
    assert env.right != other.right
    fits = []
    places = [s for s in range(4 + 1 + env.num_pictures) if s != 4]
    for state, action in itertools.product(places, range(NUM_ACTIONS)):
        new, reward, terminated, truncated, info = at(env, state).step(action)
        assert new in expected(env, state, action)
        assert (reward, terminated) == (float(new == 4), new == 4)
        assert info == {"watching": new > 4}
        assert not truncated
        if state <= 4:
            fits.append(new in expected(other, state, action))
    assert not all(fits)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_one_in_4_to_the_n_ways_through_the_stretch_arrives_against_all_of_them(length):
    env = NoisyCorridor(length)
    returns = []
    for actions in itertools.product(range(NUM_ACTIONS), repeat=length):
        env.reset(seed=0)
        steps = [env.step(action) for action in actions]
        returns.append(sum(step[1] for step in steps))
        assert steps[-1][2] == (list(actions) == env.right)
    assert sum(returns) == 1.0
    assert len(returns) == 4**length


def looks_like_noise(pictures: np.ndarray, others: np.ndarray) -> bool:
    """Uniform, and a picture ahead of `others` by any number alike: five standard errors."""
    for values in (pictures, (pictures - others) % 8):
        counts = np.bincount(values, minlength=8)
        chi_square = np.sum((counts - len(values) / 8) ** 2) / (len(values) / 8)
        if abs(chi_square - 7) > 5 * math.sqrt(14):
            return False
    return True


def test_pictures_are_uniform_and_independent_of_the_last_one():
    """Controls: the last picture itself, and half of the pictures."""
    env = at(NoisyCorridor(3, num_pictures=8), 0)
    pictures = np.array([env.step(LEFT)[0] - 4 for _ in range(8000)])
    last = np.roll(pictures, 1)
    assert looks_like_noise(pictures, last)
    assert not looks_like_noise(pictures, pictures)
    assert not looks_like_noise(pictures % 4, last)


def test_an_episode_is_truncated_after_50_steps():
    env = gym.make("vime_ref/NoisyCorridor-v0")
    env.reset(seed=0)
    ends = [env.step(LEFT)[1:4] for _ in range(50)]
    assert ends == [(0.0, False, False)] * 49 + [(0.0, False, True)]


def test_views_show_the_state_against_one_another():
    """All states differ; the screen is on the left, the goal on the right."""
    env = NoisyCorridor(3, "coordinates", num_pictures=5)
    states = range(3 + 1 + 5)
    seen = [env.coordinates(state).tolist() for state in states]
    places = [[n / 4, 0.0] for n in range(1, 5)]
    pictures = [[0.0, k / 4] for k in range(5)]
    assert seen == places + pictures
    assert np.array_equal([env.onehot(state) for state in states], np.eye(9))


def test_the_picture_shows_place_and_bits():
    """Control: off the screen no bit is lit."""
    env = NoisyCorridor(3, num_pictures=6, render_mode="rgb_array")
    for state in range(3 + 1 + 6):
        signs = env.map(state)
        place, picture = env.split(state)
        lit = signs[0, 1 : BITS + 1] == rooms.SIGNS.index("*")
        assert sum(2**n for n in np.flatnonzero(lit)) == picture
        assert np.flatnonzero(signs[1] == rooms.SIGNS.index("A")).tolist() == [
            place + 1
        ]
        goal = np.flatnonzero(signs[1] == rooms.SIGNS.index("G"))
        assert goal.tolist() == ([5] if state != 3 else [])
        env.state = state
        assert env.render().shape == (48, 16 * signs.shape[1], 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoisyCorridor(0), "length must be a whole number >= 1, got 0"),
        (lambda: NoisyCorridor(1001), "length must be <= 1000, got 1001"),
        (
            lambda: NoisyCorridor(num_pictures=1),
            "num_pictures must be a whole number >= 2, got 1",
        ),
        (lambda: NoisyCorridor(num_pictures=1001), "num_pictures must be <= 1000"),
        (lambda: NoisyCorridor(mapping_seed=-1), "mapping_seed must be"),
        (lambda: NoisyCorridor(4, "image"), "observation must be 'index' or"),
    ],
)
def test_corridor_rejects_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""Tasks of `envs_ref`: what they pay, where they end, and that nothing else differs from Gymnasium's own."""

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from strategies import finite, seeds

from envs_ref import SparseMountainCar

SPARSE, DENSE = "vime_ref/SparseMountainCar-v0", "MountainCarContinuous-v0"


def step_from(position: float, velocity: float, action: float, env_id: str = SPARSE) -> tuple:
    """One step of the task from a given state."""
    env = gym.make(env_id)
    env.reset(seed=0)
    env.unwrapped.state = np.array([position, velocity])
    return env.step(np.array([action], dtype=np.float32))


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version:UserWarning")  # it is a wrapper
def test_sparse_mountain_car_against_gymnasium_check_env():
    check_env(SparseMountainCar(), skip_render_check=True)  # drawing needs pygame


@given(position=finite(0.3, 0.6), velocity=finite(-0.07, 0.07), action=finite(-1.0, 1.0))
@settings(max_examples=60)
def test_reward_is_1_exactly_on_reaching_the_goal(position, velocity, action):
    """Oracle: the equations of motion, written out; goal at position ≥ 0.45 with velocity ≥ 0."""
    moved = velocity + 0.0015 * action - 0.0025 * math.cos(3 * position)
    moved = min(max(moved, -0.07), 0.07)
    goal = min(position + moved, 0.6) >= 0.45 and moved >= 0.0
    _, reward, terminated, truncated, _ = step_from(position, velocity, action)
    assert (reward, terminated, truncated) == (float(goal), goal, False)


@pytest.mark.parametrize(
    ("position", "velocity", "reward"), [(0.44, 0.02, 1.0), (0.44, 0.005, 0.0), (0.5, -0.01, 0.0), (-0.5, 0.0, 0.0)]
)
@pytest.mark.parametrize("action", [-1.0, 0.0, 1.0])
def test_reward_holds_no_cost_of_action(position, velocity, reward, action):
    """The original pays 100 at the goal and charges 0.1·action² a step (control)."""
    _, sparse, terminated, _, _ = step_from(position, velocity, action)
    _, dense, _, _, _ = step_from(position, velocity, action, DENSE)
    assert sparse == reward == float(terminated)
    assert dense == pytest.approx(100.0 * reward - 0.1 * action**2, rel=1e-12)


def test_an_episode_is_truncated_after_exactly_500_steps():
    env = gym.make(SPARSE)
    env.reset(seed=0)
    seen = [env.step(np.zeros(1, dtype=np.float32))[1:4] for _ in range(500)]
    assert seen == [(0.0, False, False)] * 499 + [(0.0, False, True)]


@given(seed=seeds, size=st.sampled_from([0.3, 1.0]))
@settings(max_examples=5)
def test_dynamics_equal_those_of_mountain_car_continuous(seed, size):
    """Same seed, same actions, same observations bit for bit; another seed starts elsewhere."""
    sparse, dense, other = gym.make(SPARSE), gym.make(DENSE), gym.make(SPARSE)
    starts = [env.reset(seed=s)[0] for env, s in ((sparse, seed), (dense, seed), (other, seed + 1))]
    assert np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    for action in default_rng(seed).uniform(-size, size, (300, 1)).astype(np.float32):
        ours, theirs = sparse.step(action), dense.step(action)
        assert np.array_equal(ours[0], theirs[0])
        assert ours[2:4] == theirs[2:4]


def test_pushing_along_with_the_velocity_reaches_the_goal():
    """The task can be solved: one reward in an episode, at its end. A motor that is off never gets there (above)."""
    env = gym.make(SPARSE)
    observation, _ = env.reset(seed=1)
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        push = np.array([1.0 if observation[1] >= 0 else -1.0], dtype=np.float32)
        observation, reward, terminated, truncated, _ = env.step(push)
        rewards.append(reward)
    assert terminated
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert observation[0] >= 0.45

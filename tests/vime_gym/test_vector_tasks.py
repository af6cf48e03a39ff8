"""Vector tasks against Gymnasium's SyncVectorEnv of the scalar tasks, bit for bit."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gym_helpers import HILLY, SPARSE, SWINGUP
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from strategies import seeds

from vime_gym import VECTORIZED, vector_tasks
from vime_gym.tasks import SparseMountainCar
from vime_gym.vector_tasks import (
    DenseMountainCarVector,
    SparseCartPoleSwingupVector,
    SparseMountainCarVector,
)
from vime_gym.vectors import vime_for
from vime_gym.wrappers import VectorCuriosityReward
from vime_ref import NoBonus, VimeSettings

IDS = (SPARSE, HILLY, SWINGUP)
VECTORS = {
    SPARSE: SparseMountainCarVector,
    HILLY: DenseMountainCarVector,
    SWINGUP: SparseCartPoleSwingupVector,
}

both = pytest.mark.parametrize("env_id", IDS)


def pair(env_id: str, num_envs: int = 3, **options: Any) -> tuple[Any, SyncVectorEnv]:
    """The vector task, and the scalar tasks one by one."""
    one_by_one = {"vectorization_mode": "sync", **options}
    return gym.make_vec(env_id, num_envs, **options), gym.make_vec(
        env_id, num_envs, **one_by_one
    )


def pushes(env_id: str, rng: np.random.Generator, seen: np.ndarray) -> np.ndarray:
    """Actions (n, 1) that end episodes in both ways: row 0 does nothing, the others much; some are out of bounds."""
    along = np.where(seen[:, 1] >= 0, 1.0, -1.0)
    actions = along + rng.normal(0.0, 0.3, len(seen))
    actions[0] = 0.0
    size = 9.0 if env_id == SWINGUP else 1.0
    return size * actions[:, None]


def equal(ours: Any, theirs: Any) -> None:
    """The same numbers and types. The info is empty."""
    for mine, other in zip(ours[:-1], theirs[:-1], strict=True):
        assert mine.dtype == other.dtype
        assert mine.shape == other.shape
        assert mine.tobytes() == other.tobytes()
    assert ours[-1] == theirs[-1] == {}


def walked(
    env_id: str,
    seed: int,
    dtype: Any = np.float32,
    num_steps: int = 700,
    **options: Any,
) -> Iterator[tuple[Any, Any]]:
    """The outcomes of both, from the first reset on."""
    ours, theirs = pair(env_id, **options)
    starts = ours.reset(seed=seed), theirs.reset(seed=seed)
    yield starts
    seen = starts[1][0]
    rng = default_rng(seed)
    for _ in range(num_steps):
        actions = pushes(env_id, rng, seen).astype(dtype)
        outcomes = ours.step(actions), theirs.step(actions)
        yield outcomes
        seen = outcomes[1][0].copy()


# ---------------------------------------------------------------- equal to the scalar tasks


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_episodes_and_resets_against_the_scalar_tasks(env_id, dtype):
    """700 steps of 3 environments with terminated and truncated episodes and the resets between them."""
    terminated, truncated, paid = 0, 0, 0.0
    for t, (ours, theirs) in enumerate(walked(env_id, 5, dtype)):
        equal(ours, theirs)
        if t > 0:
            paid += ours[1].sum()
            terminated += ours[2].sum()
            truncated += ours[3].sum()
    assert terminated > 1
    assert truncated > 0
    assert paid < 0 if env_id == HILLY else paid > 0 or env_id == SWINGUP


@both
@given(seed=seeds, num_envs=st.integers(1, 4), limit=st.integers(1, 40))
@settings(max_examples=8)
def test_seeds_numbers_and_limits_against_the_scalar_tasks(
    env_id, seed, num_envs, limit
):
    options = {"num_envs": num_envs, "max_episode_steps": limit}
    for ours, theirs in walked(env_id, seed, num_steps=90, **options):
        equal(ours, theirs)


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        (SPARSE, {"goal_velocity": 0.03}),
        (SPARSE, {"max_episode_steps": -1}),
        (SWINGUP, {"start_width": (1.0, 2.0, 1.0, 3.0)}),
        (SWINGUP, {"start_width": (3.0, 10.0, 10.0, 10.0)}),
    ],
)
def test_arguments_against_the_scalar_tasks(env_id, options):
    for ours, theirs in walked(env_id, 1, **options):
        equal(ours, theirs)


def test_rewards_of_poles_that_are_upright():
    """Thrown up by a wide start: rewards of 1 and 0 next to each other."""
    seen = set()
    for ours, theirs in walked(SWINGUP, 0, start_width=(0.1, 1.0, 3.0, 10.0)):
        equal(ours, theirs)
        seen |= {tuple(ours[1])} if len(ours) == 5 else set()
    assert len(seen) > 3


@both
def test_another_seed_or_action_gives_other_observations(env_id):
    """Control of the tests above."""
    ours, theirs = pair(env_id)
    start = ours.reset(seed=1)[0]
    assert np.all(start[1:] == theirs.reset(seed=2)[0][:-1])
    assert np.all(start[:, 0] != theirs.reset(seed=2)[0][:, 0])
    theirs.reset(seed=1)
    small = np.full((3, 1), 1e-3)
    assert np.any(ours.step(small)[0] != theirs.step(-small)[0])


def test_rounding_positions_at_the_start_would_show():
    """Control: a car that starts from its rounded position ends elsewhere, so the first step needs float64."""
    ours, theirs = pair(SPARSE, 64)
    ours.reset(seed=0)
    theirs.reset(seed=0)
    ours.starts = ours.starts.astype(np.float32).astype(float)
    actions = np.zeros((64, 1))
    assert np.any(ours.step(actions)[0] != theirs.step(actions)[0])


def test_constants_of_the_car_are_gymnasiums():
    car = SparseMountainCar()
    assert car.power == vector_tasks.POWER
    assert car.min_position == vector_tasks.MIN_POSITION
    assert car.max_position == vector_tasks.MAX_POSITION
    assert car.max_speed == vector_tasks.MAX_SPEED
    assert car.goal_position == vector_tasks.GOAL_POSITION


def test_the_wall_and_the_fastest_car_against_the_scalar_task():
    """From states that episodes meet rarely: at both bounds of position and velocity, and at the goal."""
    places = [-1.2, -1.19, -0.5, 0.39, 0.449, 0.45, 0.55, 0.6]
    speeds = [-0.07, -0.03, 0.0, 0.03, 0.07]
    states = np.array(list(itertools.product(places, speeds)), np.float32)
    for force in (-1.0, 0.0, 1.0):
        ours, theirs = pair(SPARSE, len(states))
        for envs in (ours, theirs):
            envs.reset(seed=0)
            envs.step(np.zeros((len(states), 1)))
        ours.observed = states.copy()
        for env, state in zip(theirs.envs, states):
            env.unwrapped.state = state.copy()
        actions = np.full((len(states), 1), force, np.float32)
        outcome = ours.step(actions)
        equal(outcome, theirs.step(actions))
        assert 0 < outcome[2].sum() < len(states)


# ---------------------------------------------------------------- resets


@both
def test_every_kind_of_reset_against_the_scalar_tasks(env_id):
    """Seeds as a list, no seeds, masks with and without seeds: at the start, within episodes and at their ends."""
    ours, theirs = pair(env_id, 3, max_episode_steps=4)
    kinds = [
        {"seed": [7, 3, 5]},
        {"seed": (1, 2, 3)},
        {},
        {"seed": [4, None, 6]},
        {"mask": [True, False, True]},
        {"mask": [False, True, False], "seed": 9},
        {"mask": [False, True, True], "seed": [1, None, 2]},
        {"options": {}},
    ]
    rng = default_rng(0)
    for num_steps, kind in itertools.product((4, 1, 0), kinds):
        outcomes = []
        for envs in (ours, theirs):
            options = dict(kind["options"]) if "options" in kind else None
            if "mask" in kind:
                options = {"reset_mask": np.array(kind["mask"])}
            outcomes.append(envs.reset(seed=kind.get("seed"), options=options))
        equal(*outcomes)
        for _ in range(num_steps):
            actions = rng.uniform(-1.0, 1.0, (3, 1))
            equal(ours.step(actions), theirs.step(actions))


def test_bounds_of_a_start_are_those_of_the_scalar_task():
    """Options of Gymnasium's car: it starts between low and high. A later reset by itself does not."""
    ours, theirs = pair(SPARSE, 4, max_episode_steps=2)
    given = {"low": 0.1, "high": 0.2}
    outcomes = [envs.reset(seed=3, options=dict(given)) for envs in (ours, theirs)]
    equal(*outcomes)
    assert np.all(outcomes[0][0][:, 0] >= 0.1)
    for _ in range(4):
        equal(ours.step(np.zeros((4, 1))), theirs.step(np.zeros((4, 1))))
    assert np.all(ours.observed[:, 0] < 0)
    for envs in (ours, theirs):
        with pytest.raises(ValueError, match="must be lower"):
            envs.reset(options={"low": 0.2, "high": 0.1})


@both
def test_generators_and_their_seeds_are_those_of_the_scalar_tasks(env_id):
    ours, theirs = pair(env_id)
    ours.reset(seed=5)
    theirs.reset(seed=5)
    assert ours.np_random_seed == theirs.np_random_seed == (5, 6, 7)
    drawn = [[each.random() for each in envs.np_random] for envs in (ours, theirs)]
    assert drawn[0] == drawn[1]
    without = [VECTORS[env_id](2).reset()[0] for _ in range(2)]
    assert np.all(without[0][:, 0] != without[1][:, 0])


@both
def test_options_are_left_as_they_are(env_id):
    """Gymnasium's own vectors take the mask out of the caller's dict."""
    envs = VECTORS[env_id](2)
    envs.reset(seed=0)
    options = {"reset_mask": np.array([True, False])}
    envs.reset(options=options)
    assert list(options) == ["reset_mask"]


# ---------------------------------------------------------------- what a vector is


@both
def test_spaces_metadata_and_spec(env_id):
    ours, theirs = pair(env_id, 4, render_mode="rgb_array")
    assert type(ours) is VECTORS[env_id]
    assert type(theirs) is SyncVectorEnv
    for name in (
        *("num_envs", "render_mode", "metadata"),
        *("observation_space", "single_observation_space"),
        *("action_space", "single_action_space"),
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert ours.spec.kwargs["num_envs"] == 4
    again = gym.make_vec(ours.spec)
    assert type(again) is type(ours)
    assert again.num_envs == 4
    ours.action_space.seed(0)
    observations, _ = ours.reset(seed=0)
    assert observations in ours.observation_space
    assert ours.step(ours.action_space.sample())[0] in ours.observation_space
    ours.close()


def test_every_vectorized_task_has_its_entry():
    for name in VECTORIZED:
        spec = gym.spec(f"vime_ref/{name}-v0")
        assert spec.vector_entry_point == f"vime_gym.vector_tasks:{name}Vector"
        assert hasattr(vector_tasks, f"{name}Vector")
    assert {f"vime_ref/{name}-v0" for name in VECTORIZED} == set(IDS)


@both
def test_one_by_one_with_wrappers(env_id):
    """Wrappers of single environments and other autoreset modes need the mode "sync"."""
    wrappers = [gym.wrappers.TimeAwareObservation]
    with pytest.raises(gym.error.Error, match="wrappers"):
        gym.make_vec(env_id, 2, wrappers=wrappers)
    envs = gym.make_vec(
        env_id,
        2,
        vectorization_mode="sync",
        wrappers=wrappers,
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    size = gym.make(env_id).observation_space.shape[0]
    assert envs.reset(seed=0)[0].shape == (2, size + 1)


@both
def test_returned_arrays_are_the_callers(env_id):
    """Whatever the caller writes into them, and into its actions, the episodes go on."""
    ours, theirs = pair(env_id, max_episode_steps=3)
    ours.reset(seed=0)[0][:] = 99.0
    theirs.reset(seed=0)
    for _ in range(8):
        actions = np.full((3, 1), 0.5)
        outcome = ours.step(actions)
        equal(outcome, theirs.step(actions))
        actions[:] = 99.0
        for each in outcome[:4]:
            each[:] = 1


@both
def test_actions_of_every_form(env_id):
    """Lists, read-only and strided arrays, and another byte order have the effect of float64 arrays."""
    actions = np.array([[0.5], [-0.25], [4.0]])
    frozen = actions.copy()
    frozen.setflags(write=False)
    strided = np.repeat(actions, 2, axis=0)[::2]
    outcomes = []
    for form in (actions, actions.tolist(), frozen, strided, actions.astype(">f4")):
        envs = VECTORS[env_id](3)
        envs.reset(seed=0)
        outcomes.append(envs.step(form))
    for outcome in outcomes:
        equal(outcome, outcomes[0])


@both
def test_pictures_are_those_of_the_scalar_tasks(env_id):
    """At the start, within an episode, at its end and at the next start; None without a render mode."""
    ours, theirs = pair(env_id, 2, render_mode="rgb_array", max_episode_steps=3)
    ours.reset(seed=0)
    theirs.reset(seed=0)
    for _ in range(6):
        mine, other = ours.render(), theirs.render()
        assert len(mine) == 2
        assert all(map(np.array_equal, mine, other))
        ours.step(np.ones((2, 1)))
        theirs.step(np.ones((2, 1)))
    assert not np.array_equal(mine[0], mine[1])
    assert VECTORS[env_id](2).render() is None


@both
def test_curiosity_around_a_vector_is_curiosity_around_the_scalar_tasks(env_id):
    outcomes = []
    few = VimeSettings(min_rows=12, num_updates=3)
    for envs in pair(env_id, 3, max_episode_steps=5):
        bonus = vime_for(envs, settings=few, seed=0)
        curious = VectorCuriosityReward(envs, bonus, eta=0.5, update_every=12, seed=0)
        curious.reset(seed=0)
        steps = [curious.step(np.full((3, 1), 0.1 * t)) for t in range(20)]
        outcomes.append(steps)
        assert sum(step[4]["intrinsic_reward"].sum() for step in steps) > 0
    for mine, other in zip(*outcomes):
        for one, two in zip(mine[:4], other[:4]):
            np.testing.assert_array_equal(one, two)
        assert sorted(mine[4]) == sorted(other[4])
        for name in mine[4]:
            np.testing.assert_array_equal(mine[4][name], other[4][name])
    with_mask = VectorCuriosityReward(
        VECTORS[env_id](2), NoBonus(), eta=0.0, update_every=9
    )
    with_mask.reset(seed=0)
    with_mask.reset(options={"reset_mask": np.array([True, False])})
    with_mask.step(np.zeros((2, 1)))


# ---------------------------------------------------------------- errors


@both
@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.array([[0.0], [math.nan]]), "actions must be finite"),
        (np.array([[math.inf], [0.0]], np.float32), "actions must be finite"),
        (np.zeros(2), r"actions must have shape \(2, 1\), got \(2,\)"),
        (np.zeros((3, 1)), r"actions must have shape \(2, 1\), got \(3, 1\)"),
        (np.zeros((2, 2)), r"actions must have shape \(2, 1\), got \(2, 2\)"),
        (0.0, r"actions must have shape \(2, 1\), got \(\)"),
        (None, "actions must"),
        ([["1"], ["2"]], "actions must"),
        ([[1j], [0.0]], "actions must"),
    ],
)
def test_bad_actions_raise_and_change_nothing(env_id, actions, message):
    envs, twin = VECTORS[env_id](2), VECTORS[env_id](2)
    envs.reset(seed=0)
    twin.reset(seed=0)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^{message}"):
            envs.step(actions)
        equal(envs.step(np.ones((2, 1))), twin.step(np.ones((2, 1))))


@both
def test_steps_and_pictures_before_the_first_reset_raise(env_id):
    envs = gym.make_vec(env_id, 2, render_mode="rgb_array")
    message = f"{VECTORS[env_id].__name__} must be reset before its first step"
    with pytest.raises(ResetNeeded, match=message):
        envs.step(np.zeros((2, 1)))
    with pytest.raises(ResetNeeded, match=message):
        envs.render()
    with pytest.raises(ResetNeeded, match="must reset every environment"):
        envs.reset(options={"reset_mask": np.array([True, False])})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs must be a whole number >= 1"),
        ({"max_episode_steps": 0}, "max_episode_steps must be a whole number >= 1"),
        ({"max_episode_steps": 2.5}, "max_episode_steps must be a whole number"),
        ({"render_mode": "human"}, "render_mode must be 'rgb_array', got 'human'"),
        ({"goal_velocity": math.nan}, "goal_velocity must be finite"),
        ({"start_width": [0, 0, -1, 0]}, "start_width must be from 0 to 10"),
    ],
)
def test_bad_arguments_of_vectors_are_named(options, message):
    cls: Any = SparseMountainCarVector
    if "start_width" in options:
        cls = SparseCartPoleSwingupVector
    with pytest.raises(ValueError, match=f"^{message}"):
        cls(**{"num_envs": 2, **options})


@both
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": -1}, "seed must be a whole number >= 0"),
        ({"seed": [1]}, "seed must hold 2 seeds, got 1"),
        ({"seed": [1, -1]}, "seed must be a whole number >= 0"),
        ({"seed": "ab"}, "seed must be a whole number >= 0"),
        ({"options": 3}, "options must be"),
        ({"options": {"reset_mask": np.zeros(2, bool)}}, r"options\['reset_mask'\] mu"),
        ({"options": {"reset_mask": np.ones(3, bool)}}, r"options\['reset_mask'\] mu"),
        ({"options": {"reset_mask": [2, 0]}}, r"options\['reset_mask'\] must be true"),
    ],
)
def test_bad_arguments_of_a_reset_raise_and_change_nothing(env_id, given, message):
    envs, twin = VECTORS[env_id](2), VECTORS[env_id](2)
    envs.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(ValueError, match=f"^{message}"):
        envs.reset(**given)
    equal(envs.step(np.ones((2, 1))), twin.step(np.ones((2, 1))))
    equal(envs.reset(), twin.reset())


def test_the_base_class_moves_nothing():
    """Its three methods are those of each task."""
    envs = vector_tasks.TaskVector(SparseMountainCar, 1, None)
    for name in ("_place", "_state", "_moved"):
        arguments = [None] * (2 if name == "_place" else 1)
        with pytest.raises(NotImplementedError):
            getattr(envs, name)(*arguments)

"""Tasks of `vime_gym.tasks`: what they pay, where they end, and that nothing else differs from Gymnasium's own."""

import copy
import itertools
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import autograd.numpy as anp
import gymnasium as gym
import numpy as np
import pytest
from autograd import grad, hessian
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from scipy.integrate import solve_ivp
from strategies import finite, seeds

from vime_gym import tasks
from vime_gym.tasks import (
    BernoulliBandit,
    Chain,
    DeepSea,
    KeyDoorMaze,
    Labyrinth,
    NoisyTV,
    NumberedTask,
    SparseCartPoleSwingup,
    SparseHalfCheetah,
    SparseMountainCar,
    Walker2D,
    carve_maze,
    deep_sea_score,
    deep_sea_solved,
)

ROOT = Path(__file__).parent.parent.parent

SPARSE, DENSE = "vime_ref/SparseMountainCar-v0", "MountainCarContinuous-v0"
SWINGUP = "vime_ref/SparseCartPoleSwingup-v0"
CHEETAH, CHEETAH_V5 = "vime_ref/SparseHalfCheetah-v0", "HalfCheetah-v5"
WALKER, WALKER_V5 = "vime_ref/Walker2D-v0", "Walker2d-v5"


@pytest.fixture(autouse=True, scope="module")
def _log_of_mujoco_elsewhere(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """MuJoCo writes the warnings of its compiler to a file in the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("mujoco"))
        yield


# ---------------------------------------------------------------- SparseMountainCar


def step_from(
    position: float, velocity: float, action: float, env_id: str = SPARSE
) -> tuple:
    """One step of the task from a given state."""
    env = gym.make(env_id)
    env.reset(seed=0)
    env.unwrapped.state = np.array([position, velocity])
    return env.step(np.array([action], dtype=np.float32))


@pytest.mark.filterwarnings(
    "ignore:.*is different from the unwrapped version:UserWarning"
)  # it is a wrapper
def test_sparse_mountain_car_against_gymnasium_check_env():
    check_env(SparseMountainCar(), skip_render_check=True)  # drawing needs pygame


@given(
    position=finite(0.3, 0.6), velocity=finite(-0.07, 0.07), action=finite(-1.0, 1.0)
)
@settings(max_examples=60)
def test_reward_is_1_exactly_on_reaching_the_goal(position, velocity, action):
    """Oracle: the equations of motion, written out; goal at position ≥ 0.45 with velocity ≥ 0."""
    moved = velocity + 0.0015 * action - 0.0025 * math.cos(3 * position)
    moved = min(max(moved, -0.07), 0.07)
    goal = min(position + moved, 0.6) >= 0.45 and moved >= 0.0
    _, reward, terminated, truncated, _ = step_from(position, velocity, action)
    assert (reward, terminated, truncated) == (float(goal), goal, False)


@pytest.mark.parametrize(
    ("position", "velocity", "reward"),
    [(0.44, 0.02, 1.0), (0.44, 0.005, 0.0), (0.5, -0.01, 0.0), (-0.5, 0.0, 0.0)],
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
    starts = [
        env.reset(seed=s)[0]
        for env, s in ((sparse, seed), (dense, seed), (other, seed + 1))
    ]
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


# ---------------------------------------------------------------- SparseCartPoleSwingup: dynamics

M, m, HALF, g = 1.0, 0.1, 0.5, 9.8  # stated again, so that a changed constant shows
states = st.tuples(
    finite(-3.0, 3.0), finite(-5.0, 5.0), finite(-4.0, 4.0), finite(-8.0, 8.0)
)
forces = finite(-10.0, 10.0)
EXAMPLES = [
    ((0.3, -1.0, 0.7, 3.0), 5.0),
    ((-1.0, 2.0, 2.5, -4.0), -8.0),
]  # a state and a force, for the wrong variants


def energies(z) -> tuple:
    """Kinetic and potential energy at z = (x, θ, ẋ, θ̇): the cart, and the pole as two points of m/2.

    Two-point Gauss quadrature along the pole is exact, for both energies are polynomials of degree ≤ 2 in the place.
    """
    _, theta, v, w = z
    kinetic, potential = 0.5 * M * v**2, 0.0
    for place in (HALF * (1 - 3**-0.5), HALF * (1 + 3**-0.5)):
        right, up = v + place * w * anp.cos(theta), -place * w * anp.sin(theta)
        kinetic = kinetic + 0.25 * m * (right**2 + up**2)
        potential = potential + 0.5 * m * g * place * anp.cos(theta)
    return kinetic, potential


def lagrangian(z):
    kinetic, potential = energies(z)
    return kinetic - potential


def euler_lagrange_residual(state, force) -> float:
    """The larger of |d/dt ∂L/∂q̇ − ∂L/∂q − Q|, q = (x, θ), Q = (F, 0), at the accelerations of `vime_gym.tasks`."""
    x, v, theta, w = state
    z = np.array([x, theta, v, w])
    slope, curvature = grad(lagrangian)(z), hessian(lagrangian)(z)
    accelerations = np.array(tasks.cart_pole_acceleration(theta, w, force))
    change = curvature[2:, :2] @ z[2:] + curvature[2:, 2:] @ accelerations
    return float(np.abs(change - slope[:2] - [force, 0.0]).max())


def energy_gap(state, force, num_steps=16) -> float:
    """Energy gained over 0.05 s less the work F·(x′ − x), in J."""
    start, after = state, state
    for _ in range(num_steps):
        after = tasks.cart_pole_step(after, force, 0.05 / num_steps)
    gained = sum(energies(np.array(after)[[0, 2, 1, 3]])) - sum(
        energies(np.array(start)[[0, 2, 1, 3]])
    )
    return float(gained - force * (after[0] - start[0]))


def energy_tolerance(state, num_steps=16) -> float:
    """Twice the remainder (Ωh)⁵/5! of `num_steps` fourth-order steps at a scale of 1 J, and rounding."""
    rate = abs(state[3]) + math.sqrt(g / HALF)
    return 2 * num_steps * (rate * 0.05 / num_steps) ** 5 / 120 + 1e-12


def uncoupled(theta, theta_velocity, force) -> tuple[float, float]:
    return force / (M + m), 0.75 * g * math.sin(theta) / HALF


def point_pole(theta, theta_velocity, force) -> tuple[float, float]:
    """All of the pole's mass at its centre: no inertia of its own."""
    cos, sin = math.cos(theta), math.sin(theta)
    x_acceleration = (force + m * sin * (HALF * theta_velocity**2 - g * cos)) / (
        M + m * sin**2
    )
    return x_acceleration, (g * sin - x_acceleration * cos) / HALF


WRONG_DYNAMICS = pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRAVITY", -g),
        ("POLE_HALF_LENGTH", 2 * HALF),
        ("cart_pole_acceleration", uncoupled),
        ("cart_pole_acceleration", point_pole),
    ],
    ids=["gravity upward", "whole length for half", "uncoupled", "point pole"],
)


@given(state=states, force=forces)
@settings(max_examples=50)
def test_cart_pole_acceleration_against_euler_lagrange_by_autograd(state, force):
    assert euler_lagrange_residual(state, force) < 1e-12


@given(state=states, force=forces)
@settings(max_examples=100)
def test_energy_gained_equals_the_work_of_the_force(state, force):
    assert abs(energy_gap(state, force)) < energy_tolerance(state)


@WRONG_DYNAMICS
@pytest.mark.parametrize(("state", "force"), EXAMPLES)
def test_wrong_dynamics_break_both_balances(monkeypatch, name, value, state, force):
    monkeypatch.setattr(tasks, name, value)
    assert euler_lagrange_residual(state, force) > 1e-3
    assert abs(energy_gap(state, force)) > 1e4 * energy_tolerance(state)


def midpoint_step(state, force, seconds) -> tuple:
    def rate(z):
        x_acceleration, theta_acceleration = tasks.cart_pole_acceleration(
            z[2], z[3], force
        )
        return np.array([z[1], x_acceleration, z[3], theta_acceleration])

    z = np.array(state)
    return tuple((z + seconds * rate(z + 0.5 * seconds * rate(z))).tolist())


@pytest.mark.parametrize(
    ("step", "order"), [(tasks.cart_pole_step, 4), (midpoint_step, 2)]
)
def test_halving_the_step_divides_the_error_by_2_to_the_order_against_solve_ivp(
    step, order
):
    """The error after 0.05 s in 4 and in 8 steps, root mean square over 20 states; a second-order rule for comparison.

    The reference solves the equations of motion in their mass-matrix form.
    """

    def rate(_, z, force):
        _, v, theta, w = z
        mass = [
            [M + m, m * HALF * math.cos(theta)],
            [m * HALF * math.cos(theta), 4 / 3 * m * HALF**2],
        ]
        push = [
            force + m * HALF * w**2 * math.sin(theta),
            m * g * HALF * math.sin(theta),
        ]
        x_acceleration, theta_acceleration = np.linalg.solve(mass, push)
        return [v, x_acceleration, w, theta_acceleration]

    errors = np.zeros((20, 2))
    for row, (*state, force) in enumerate(
        default_rng(0).uniform([-3, -5, -4, -8, -10], [3, 5, 4, 8, 10], (20, 5))
    ):
        truth = solve_ivp(
            rate, (0.0, 0.05), state, "DOP853", args=(force,), rtol=1e-12, atol=1e-13
        ).y[:, -1]
        for column, num_steps in enumerate((4, 8)):
            after = tuple(state)
            for _ in range(num_steps):
                after = step(after, force, 0.05 / num_steps)
            errors[row, column] = np.linalg.norm(after - truth)
    coarse, fine = np.sqrt(np.mean(errors**2, axis=0))
    assert coarse / fine == pytest.approx(2**order, rel=0.1)
    assert (coarse < 1e-5) == (order == 4)


def test_small_swings_about_hanging_against_the_closed_form():
    """θ − π = a·cos(ωt) with ω² = g / (l(4/3 − m/(M + m))) while the cart is free; with the cart held, g / (4l/3)."""
    env = SparseCartPoleSwingup(start_width=np.zeros(4))
    env.reset(seed=0)
    env.state = (0.0, 0.0, math.pi + 1e-4, 0.0)
    angles = [-env.step(np.zeros(1))[0][3] for _ in range(200)]
    times = 0.05 * np.arange(1, 201)
    free, held = (
        math.sqrt(g / (HALF * (4 / 3 - m / (M + m)))),
        math.sqrt(g / (4 / 3 * HALF)),
    )
    assert angles == pytest.approx(1e-4 * np.cos(free * times), abs=1e-7)
    assert angles != pytest.approx(1e-4 * np.cos(held * times), abs=1e-5)


# ---------------------------------------------------------------- SparseCartPoleSwingup: the task


@pytest.mark.filterwarnings(
    "ignore:.*we recommend using a symmetric and normalized:UserWarning"
)  # ±10 is in newtons
@pytest.mark.filterwarnings(
    "ignore:.*is.*infinity. This is probably too:UserWarning"
)  # speeds are unbounded
def test_sparse_cart_pole_swingup_against_gymnasium_check_env():
    check_env(SparseCartPoleSwingup(), skip_render_check=True)


@given(state=states, force=finite(-30.0, 30.0))
@settings(max_examples=50)
def test_a_step_is_0_05_s_of_the_clipped_force_seen_as_x_v_cos_sin_w(state, force):
    env = SparseCartPoleSwingup()
    env.reset(seed=0)
    env.state = state
    observation, reward, terminated, truncated, info = env.step(np.array([force]))
    x, v, theta, w = tasks.cart_pole_step(state, min(max(force, -10.0), 10.0), 0.05)
    assert observation.tolist() == [x, v, math.cos(theta), math.sin(theta), w]
    assert observation.dtype == np.float64
    assert (reward, terminated) == (
        float(math.cos(theta) > 0.8 and abs(x) <= 3.0),
        abs(x) > 3.0,
    )
    assert (truncated, info) == (False, {})


AT = next(
    angle
    for angle in math.acos(0.8) + 1.2e-16 * np.arange(-3, 4)
    if math.cos(angle) == 0.8
)
ABOVE = AT - 4e-16
PAST = math.nextafter(3.0, 4.0)


@pytest.mark.parametrize(
    ("x", "theta", "reward", "terminated"),
    [
        (0.0, AT, 0.0, False),
        (0.0, ABOVE, 1.0, False),
        (0.0, -ABOVE, 1.0, False),
        (0.0, 2 * math.pi, 1.0, False),
        (0.0, math.pi, 0.0, False),
        (3.0, 0.0, 1.0, False),
        (-3.0, 0.0, 1.0, False),
        (PAST, 0.0, 0.0, True),
        (-PAST, 0.0, 0.0, True),
    ],
)
def test_reward_and_end_are_exact_at_their_bounds(
    monkeypatch, x, theta, reward, terminated
):
    """cos θ > 0.8 and |x| > 3 with neither bound included, and no reward for the step that leaves the track."""
    monkeypatch.setattr(tasks, "cart_pole_step", lambda *_: (x, 0.0, theta, 0.0))
    env = SparseCartPoleSwingup()
    env.reset(seed=0)
    assert env.step(np.zeros(1))[1:4] == (reward, terminated, False)


def episode(force: Callable, seed: int, **options) -> tuple[list[float], bool, bool]:
    """Rewards and kind of end of one episode under a rule observation → force."""
    env = gym.make(SWINGUP, **options)
    observation, _ = env.reset(seed=seed)
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        observation, reward, terminated, truncated, _ = env.step(
            np.array([force(*observation)])
        )
        rewards.append(reward)
    return rewards, terminated, truncated


def swing_up(x, v, cos, sin, w) -> float:
    """Near upright a linear rule (rounded LQR gains), elsewhere force along the change of the pole's energy."""
    if cos > 0.8 and abs(w) < 4:
        force = 1.4 * x + 3.0 * v + 35.0 * math.atan2(sin, cos) + 9.0 * w
    else:
        missing = 2 / 3 * m * HALF**2 * w**2 + m * g * HALF * (cos - 1)
        force = 20.0 * missing * w * cos - 4.0 * x - 2.0 * v
    return min(max(force, -10.0), 10.0)


@pytest.mark.parametrize("seed", range(3))
def test_pumping_energy_and_balancing_is_paid_for_most_of_500_steps(seed):
    rewards, terminated, truncated = episode(swing_up, seed)
    assert (len(rewards), terminated, truncated) == (500, False, True)
    assert rewards[:30] == [0.0] * 30
    assert rewards[100:] == [1.0] * 400


@pytest.mark.parametrize("seed", range(3))
def test_doing_nothing_is_never_paid_and_truncated_after_exactly_500_steps(seed):
    width = [
        0.0,
        0.0,
        1.0,
        3.0,
    ]  # swinging as widely as in the original, on a cart at rest
    assert episode(lambda *_: 0.0, seed, start_width=width) == (
        [0.0] * 500,
        False,
        True,
    )


def test_pushing_one_way_ends_the_episode_off_the_track_unpaid():
    rewards, terminated, truncated = episode(lambda *_: 10.0, 0)
    assert (sum(rewards), terminated, truncated) == (0.0, True, False)
    assert len(rewards) < 30  # ½·(F/(M + m))·t² = 3 m after 0.81 s, about 16 steps


@pytest.mark.parametrize(
    ("options", "width"),
    [({}, (0.05,) * 4), ({"start_width": (1.0, 2.0, 1.0, 3.0)}, (1.0, 2.0, 1.0, 3.0))],
)
def test_start_is_uniform_around_hanging_against_its_moments(options, width):
    """Within the width, mean 0 and variance width²/3 within five standard errors; default, and the original's start."""
    env = SparseCartPoleSwingup(**options)
    starts = []
    for seed in range(2000):
        observation, info = env.reset(seed=seed)
        assert info == {}
        starts.append(np.array(env.state) - [0, 0, math.pi, 0])
        assert observation[2:4] == pytest.approx(
            [math.cos(env.state[2]), math.sin(env.state[2])]
        )
    scaled = (
        np.array(starts) / width
    )  # uniform on (−1, 1): variance of u is 1/3, of u² is 4/45
    assert np.abs(scaled).max() <= 1
    assert np.abs(scaled.mean(axis=0)).max() < 5 * math.sqrt(1 / 3 / 2000)
    assert np.abs((scaled**2).mean(axis=0) - 1 / 3).max() < 5 * math.sqrt(4 / 45 / 2000)


@given(seed=seeds)
@settings(max_examples=10)
def test_swingup_repeats_itself_bit_for_bit_with_the_seed(seed):
    first, second, other = (
        SparseCartPoleSwingup(),
        SparseCartPoleSwingup(),
        SparseCartPoleSwingup(),
    )
    starts = [
        env.reset(seed=s)[0]
        for env, s in ((first, seed), (second, seed), (other, seed + 1))
    ]
    assert np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    for action in default_rng(seed).uniform(-10, 10, (50, 1)):
        ours, theirs = first.step(action), second.step(action)
        assert np.array_equal(ours[0], theirs[0])
        assert ours[1:4] == theirs[1:4]
    again = first.reset()[0]
    assert np.array_equal(again, second.reset()[0])
    assert not np.array_equal(again, starts[0])


@pytest.mark.parametrize(
    "action", [[math.nan], [math.inf], [-math.inf], 1.0, [], [1.0, 2.0], [[1.0]], None]
)
def test_bad_action_raises_and_changes_nothing(action):
    env = SparseCartPoleSwingup()
    env.reset(seed=0)
    before = env.state
    with pytest.raises(
        ValueError,
        match=r"action must be one finite number in an array of shape \(1,\), got",
    ):
        env.step(action)
    assert env.state == before


@pytest.mark.parametrize(
    "width",
    [0.05, [0.1] * 3, [0.1, 0.1, -0.1, 0.1], [0.1, math.nan, 0.1, 0.1], [math.inf] * 4],
)
def test_bad_start_width_raises(width):
    with pytest.raises(
        ValueError, match=r"start_width must be 4 finite numbers >= 0, got"
    ):
        SparseCartPoleSwingup(start_width=width)


def test_step_before_reset_raises():
    with pytest.raises(
        ResetNeeded, match="SparseCartPoleSwingup must be reset before its first step"
    ):
        SparseCartPoleSwingup().step(np.zeros(1))


# ---------------------------------------------------------------- SparseHalfCheetah and Walker2D

HOLDS_X = {"exclude_current_positions_from_observation": False}


@pytest.mark.filterwarnings(
    "ignore:.*is different from the unwrapped version:UserWarning"
)  # they are wrappers
@pytest.mark.filterwarnings(
    "ignore:.*is.*infinity. This is probably too:UserWarning"
)  # as in Gymnasium's own
@pytest.mark.parametrize("task", [SparseHalfCheetah, Walker2D])
def test_mujoco_tasks_against_gymnasium_check_env(task):
    check_env(task(), skip_render_check=True)  # drawing needs OpenGL


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [(CHEETAH, CHEETAH_V5, {"frame_skip": 1, **HOLDS_X}), (WALKER, WALKER_V5, HOLDS_X)],
    ids=["SparseHalfCheetah", "Walker2D"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_mujoco_tasks_move_and_end_as_gymnasiums_own_bit_for_bit(
    ours, theirs, options, seed
):
    """Another seed starts elsewhere, and another number of frames a step goes elsewhere."""
    skipping = gym.make(theirs, **{**options, "frame_skip": 2})
    ours, theirs = gym.make(ours), gym.make(theirs, **options)
    starts = [env.reset(seed=seed)[0] for env in (ours, theirs)]
    assert np.array_equal(*starts)
    assert not np.array_equal(starts[0], ours.reset(seed=seed + 1)[0])
    for env in (ours, skipping):
        env.reset(seed=seed)
    for action in default_rng(seed).uniform(-1, 1, (300, 6)).astype(np.float32):
        mine, other = ours.step(action), theirs.step(action)
        assert np.array_equal(mine[0], other[0])
        assert mine[0].shape == (18,)
        assert mine[0][0] == ours.unwrapped.data.qpos[0]
        assert mine[2:4] == other[2:4]
        assert not np.array_equal(mine[0], skipping.step(action)[0])
        if mine[2]:
            break
    assert mine[2] == (ours.spec.id == WALKER)  # it falls, the cheetah does not end


def frozen(env_id: str, x: float) -> gym.Env:
    """The robot at torso position x, with physics that stand still."""
    env = gym.make(env_id)
    env.reset(seed=0)
    robot = env.unwrapped
    robot.set_state(np.array([x, *robot.init_qpos[1:]]), robot.init_qvel)
    robot.do_simulation = lambda *_: None
    return env


@pytest.mark.parametrize(
    ("x", "reward"),
    [(5.0, 0.0), (math.nextafter(5.0, 6.0), 1.0), (6.0, 1.0), (0.0, 0.0), (-6.0, 0.0)],
)
@pytest.mark.parametrize("action", [-1.0, 0.0, 1.0])
def test_cheetah_is_paid_1_exactly_where_x_is_beyond_5_and_pays_for_no_action(
    x, reward, action
):
    _, paid, terminated, _, info = frozen(CHEETAH, x).step(
        np.full(6, action, dtype=np.float32)
    )
    assert (paid, terminated, info["x_position"]) == (reward, False, x)
    assert info["reward_ctrl"] == pytest.approx(
        -0.6 * action**2
    )  # what HalfCheetah-v5 charges


@pytest.mark.parametrize(
    ("start", "velocity", "reward"), [(4.95, 10.0, 1.0), (5.05, -10.0, 0.0)]
)
def test_cheetah_is_paid_by_where_a_step_ends(start, velocity, reward):
    env = gym.make(CHEETAH)
    env.reset(seed=0)
    robot = env.unwrapped
    qpos, qvel = robot.init_qpos.copy(), robot.init_qvel.copy()
    qpos[0], qvel[0] = start, velocity
    robot.set_state(qpos, qvel)
    observation, paid, _, _, _ = env.step(np.zeros(6, dtype=np.float32))
    assert (paid, observation[0] > 5.0) == (reward, bool(reward))


def test_cheetah_is_paid_by_its_torso_where_the_original_takes_the_centre_of_mass():
    """The centre of mass is 4 cm ahead of the torso: with the torso at 4.98 m the original would pay."""
    env = frozen(CHEETAH, 4.98)
    centre = env.unwrapped.data.body("torso").subtree_com[0]
    paid = env.step(np.zeros(6, dtype=np.float32))[1]
    assert (paid, float(centre > 5.0)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("env_id", "options"),
    [(CHEETAH, {}), (WALKER, {"terminate_when_unhealthy": False})],
    ids=["cheetah", "walker"],
)
def test_mujoco_episodes_are_truncated_after_exactly_500_steps(env_id, options):
    env = gym.make(env_id, **options)
    env.reset(seed=0)
    ends = [
        env.step(a)[2:4]
        for a in default_rng(0).uniform(-1, 1, (500, 6)).astype(np.float32)
    ]
    assert ends == [(False, False)] * 499 + [(False, True)]


def test_walker_is_paid_speed_less_control_cost_against_positions():
    """Walker2d-v5 adds 1 a step for standing: the same steps under its own rule must not fit."""
    env, dense = gym.make(WALKER), gym.make(WALKER_V5)
    env.reset(seed=3)
    dense.reset(seed=3)
    assert env.unwrapped.dt == pytest.approx(0.008, rel=1e-12)
    for action in default_rng(3).uniform(-1, 1, (20, 6)).astype(np.float32):
        before = env.unwrapped.data.qpos[0]
        observation, reward, terminated, _, _ = env.step(action)
        expected = (observation[0] - before) / 0.008 - 0.001 * np.sum(
            action.astype(float) ** 2
        )
        assert reward == pytest.approx(
            expected, rel=1e-6, abs=1e-9
        )  # the cost is summed in float32
        assert dense.step(action)[1] - reward == pytest.approx(1.0)
        assert not terminated


@pytest.mark.parametrize("hidden", [True, False])
def test_mujoco_tasks_name_their_extra_where_mujoco_is_missing(hidden, tmp_path):
    """A process whose `import mujoco` fails can import the module, make the other tasks, and learn what is missing."""
    script = f"""
import sys
if {hidden}:
    sys.modules["mujoco"] = None
import gymnasium, vime_gym.tasks
for task in ("SparseMountainCar", "SparseCartPoleSwingup", "SparseHalfCheetah", "Walker2D"):
    try:
        gymnasium.make(f"vime_ref/{{task}}-v0")
        print(task, "made")
    except gymnasium.error.DependencyNotInstalled as error:
        print(error)
"""
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=path,
        capture_output=True,
        text=True,
        check=True,
    )
    missing = "needs mujoco: pip install -e '.[mujoco]'" if hidden else "made"
    assert done.stdout.splitlines() == [
        "SparseMountainCar made",
        "SparseCartPoleSwingup made",
        f"SparseHalfCheetah {missing}",
        f"Walker2D {missing}",
    ]


# ---------------------------------------------------------------- small tasks

UP, RIGHT, DOWN, LEFT = range(4)
TO_TV = [RIGHT] * 2 + [UP] * 2 + [LEFT] * 4
SMALL = {
    "vime_ref/BernoulliBandit-v0": {"means": [0.2, 0.5, 0.8]},
    "vime_ref/Chain-v0": {"size": 5},
    "vime_ref/DeepSea-v0": {"size": 4},
    "vime_ref/KeyDoorMaze-v0": {},
    "vime_ref/NoisyTV-v0": {},
}
VIEWS = [
    (env_id, {**options, "observation": view})
    for env_id, options in SMALL.items()
    for view in ("index", "image" if not options else "onehot", "coordinates")
    if "means" not in options
]
LABYRINTH = "vime_ref/Labyrinth-v0"
small = pytest.mark.parametrize(("env_id", "options"), [*SMALL.items(), *VIEWS])
small_and_labyrinth = pytest.mark.parametrize(
    ("env_id", "options"), [*SMALL.items(), *VIEWS, (LABYRINTH, {})]
)


def at(task: NumberedTask, state: int) -> NumberedTask:
    """The task in a given state of a running episode."""
    task.reset()
    task.state = state
    return task


@small_and_labyrinth
def test_small_tasks_against_gymnasium_check_env(env_id, options):
    check_env(gym.make(env_id, **options).unwrapped)


@small
@given(seed=seeds)
@settings(max_examples=3)
def test_small_tasks_repeat_themselves_with_the_seed_within_their_spaces(
    env_id, options, seed
):
    """Of the two tasks with chance, another seed gives another episode."""
    runs, chance = [], "Bandit" in env_id or "NoisyTV" in env_id
    for start in (seed, seed, seed + 1):
        env = gym.make(env_id, **options)
        seen = [env.reset(seed=start)]
        for action in (
            TO_TV + [UP] * 40
            if "NoisyTV" in env_id
            else default_rng(seed).integers(0, 2, 100)
        ):
            seen.append(env.step(action))
            if seen[-1][2] or seen[-1][3]:
                seen.append(env.reset())
        assert all(each[0] in env.observation_space for each in seen)
        runs.append(repr(seen))
    assert runs[0] == runs[1]
    assert (runs[0] == runs[2]) != chance


@small_and_labyrinth
@pytest.mark.parametrize(
    "action", [-1, 5, 1.0, np.float64(0), None, "0", [0], math.nan]
)
def test_small_tasks_refuse_a_bad_action_and_stay_as_they_are(env_id, options, action):
    task = gym.make(env_id, **options).unwrapped
    with pytest.raises(
        ResetNeeded, match="must be reset before its first step and after its last"
    ):
        task.step(0)
    task.reset(seed=0)
    before = task.state
    with pytest.raises(
        ValueError, match=r"action must be a whole number from 0 to \d, got"
    ):
        task.step(action)
    with pytest.raises(
        ValueError, match=rf"from 0 to {task.num_actions - 1}, got {task.num_actions}"
    ):
        task.step(task.num_actions)
    assert (task.state, task.ended) == (before, False)
    task.step(np.int64(task.num_actions - 1))


@pytest.mark.parametrize(
    ("task", "actions"),
    [
        (BernoulliBandit([0.5]), [0]),
        (Chain(3), [0] * 11),
        (DeepSea(3), [0] * 3),
        (NoisyTV(), [3] * 2 + [2] * 2 + [1] * 4),
    ],
)
def test_small_tasks_take_no_step_after_the_last(task, actions):
    task.reset(seed=0)
    ends = [any(task.step(action)[2:4]) for action in actions]
    assert ends == [False] * (len(actions) - 1) + [True]
    with pytest.raises(ResetNeeded):
        task.step(0)
    task.reset()
    task.step(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BernoulliBandit([]),
            r"means must be probabilities \(K,\), K >= 1, got",
        ),
        (lambda: BernoulliBandit([[0.5]]), "means must be"),
        (lambda: BernoulliBandit([0.5, 1.1]), "means must be"),
        (lambda: BernoulliBandit([-0.1]), "means must be"),
        (lambda: BernoulliBandit([math.nan]), "means must be"),
        (lambda: Chain(2), "size must be a whole number >= 3, got 2"),
        (lambda: DeepSea(1), "size must be a whole number >= 2, got 1"),
        (
            lambda: DeepSea(4, "image"),
            "observation must be 'index' or 'onehot' or 'coordinates', got 'image'",
        ),
        (
            lambda: KeyDoorMaze("onehot"),
            "observation must be 'image' or 'index' or 'coordinates', got 'onehot'",
        ),
        (
            lambda: NoisyTV(render_mode="human"),
            "render_mode must be 'rgb_array', got 'human'",
        ),
        (lambda: Labyrinth(rooms=1), "rooms must be a whole number >= 2, got 1"),
        (lambda: Labyrinth(rooms=2.0), "rooms must be a whole number >= 2, got 2.0"),
        (lambda: Labyrinth(-1), "maze_seed must be a whole number >= 0, got -1"),
        (
            lambda: Labyrinth(render_mode="human"),
            "render_mode must be 'rgb_array', got 'human'",
        ),
        (
            lambda: carve_maze(2, [0, 1, 2, 2]),
            r"order must be a permutation of 0 to 3, got \[0, 1, 2, 2\]",
        ),
        (lambda: deep_sea_score({}), "solved must have at least one size, got none"),
    ],
)
def test_small_tasks_refuse_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---------------------------------------------------------------- BernoulliBandit and Chain


def test_bandit_pays_by_its_means_within_five_standard_errors():
    """Episodes of one step; the means of the neighbouring arms do not fit."""
    means, n = [0.0, 0.3, 0.5, 1.0], 4000
    env = BernoulliBandit(means)
    env.reset(seed=1)
    for arm, mean in enumerate(means):
        rewards = []
        for _ in range(n):
            observation, reward, terminated, truncated, info = env.step(arm)
            assert (observation, terminated, truncated, info) == (0, True, False, {})
            rewards.append(reward)
            env.reset()
        assert set(rewards) <= {0.0, 1.0}
        fits = [
            abs(np.mean(rewards) - m) <= 5 * math.sqrt(m * (1 - m) / n) for m in means
        ]
        assert fits == [m == mean for m in means]


def test_chain_against_its_table():
    """Four states, each with where left and right lead and what they pay."""
    table = [
        [(0, 0.001), (1, 0.0)],
        [(0, 0.0), (2, 0.0)],
        [(1, 0.0), (3, 0.0)],
        [(2, 0.0), (3, 1.0)],
    ]
    for state, action in itertools.product(range(4), range(2)):
        assert at(Chain(4), state).step(action)[:3] == (*table[state][action], False)


@pytest.mark.parametrize("size", [3, 4])
def test_best_return_of_the_chain_is_10_against_all_sequences_of_actions(size):
    """Each of the 2ᴺ⁺⁸ sequences is truncated at its end; left alone pays 0.001·(N + 7)."""
    env, returns = Chain(size), {}
    for actions in itertools.product(range(2), repeat=size + 8):
        assert env.reset() == (1, {})
        steps = [env.step(action) for action in actions]
        assert [step[3] for step in steps] == [False] * (size + 7) + [True]
        returns[actions] = sum(step[1] for step in steps)
    best = max(returns, key=returns.__getitem__)
    assert (best, returns[best]) == ((1,) * (size + 8), 10.0)
    assert returns[(0,) * (size + 8)] == pytest.approx(0.001 * (size + 7))
    assert sorted(returns.values())[-2] < 10


# ---------------------------------------------------------------- DeepSea


def sink(
    size: int, row: int, column: int, right: bool, cost: float = 0.01
) -> tuple[int, float, bool]:
    """DeepSea's rule on rows and columns: index of the next state, reward, end."""
    reward = (1.0 if right and column == size - 1 else 0.0) - (
        cost / size if right else 0.0
    )
    column = min(max(column + (1 if right else -1), 0), size - 1)
    return (
        (size**2 if row + 1 == size else (row + 1) * size + column),
        reward,
        row + 1 == size,
    )


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize(
    "options", [{}, {"mapping_seed": 3}, {"randomize_actions": False}]
)
def test_deep_sea_against_its_rule_in_every_cell(size, options):
    """bsuite's mapping, drawn here over the grid; neither the mirrored one nor another cost fits."""
    drawn = np.random.RandomState(options.get("mapping_seed", 42)).binomial(
        1, 0.5, [size, size]
    )
    mapping = drawn if options.get("randomize_actions", True) else np.ones((size, size))
    env = DeepSea(size, **options)
    cells = list(itertools.product(range(size), range(size), range(2)))
    steps = [
        at(env, row * size + column).step(action)[:3] for row, column, action in cells
    ]
    assert steps == [
        sink(size, r, c, action == mapping[r, c]) for r, c, action in cells
    ]
    assert steps != [
        sink(size, r, c, action != mapping[r, c]) for r, c, action in cells
    ]
    assert steps != [
        sink(size, r, c, action == mapping[r, c], cost=0.02) for r, c, action in cells
    ]


@pytest.mark.parametrize("size", [2, 3, 6])
def test_one_in_2_to_the_n_ways_through_deep_sea_pays_against_all_of_them(size):
    """Best return 0.99; mean return 2⁻ᴺ − 0.01/2; a wrong move is one to the left before any other."""
    env, returns = DeepSea(size), []
    for turns in itertools.product([False, True], repeat=size):
        env.reset()
        steps = [
            env.step(env.right[env.state] if right else 1 - env.right[env.state])
            for right in turns
        ]
        assert [step[4]["wrong"] for step in steps] == [
            not all(turns[: n + 1]) for n in range(size)
        ]
        assert [step[2:4] for step in steps] == [(False, False)] * (size - 1) + [
            (True, False)
        ]
        returns.append(sum(step[1] for step in steps))
        assert returns[-1] == pytest.approx(
            float(all(turns)) - 0.01 / size * sum(turns), abs=1e-12
        )
    assert max(returns) == pytest.approx(0.99, abs=1e-12)
    assert sum(each > 0 for each in returns) / len(returns) == 2.0**-size
    assert np.mean(returns) == pytest.approx(2.0**-size - 0.005, abs=1e-12)


def test_actions_that_solve_one_mapping_of_deep_sea_fail_in_another():
    def solve(env: DeepSea) -> list[int]:
        return [env.right[n * (env.size + 1)] for n in range(env.size)]

    def total(env: DeepSea, actions: list[int]) -> float:
        env.reset()
        return sum(env.step(action)[1] for action in actions)

    mine, other = DeepSea(10), DeepSea(10, mapping_seed=0)
    assert total(mine, solve(mine)) == pytest.approx(0.99)
    assert total(mine, solve(other)) <= 0
    assert solve(DeepSea(10, randomize_actions=False)) == [1] * 10


@pytest.mark.parametrize(
    "make", [lambda view: DeepSea(4, view), lambda view: Chain(5, view)]
)
def test_views_show_the_state_against_one_another(make):
    """One-hot is a row of the identity, none at DeepSea's end; coordinates are row and column, or the place."""
    index, onehot, coordinates = make("index"), make("onehot"), make("coordinates")
    deep, num_states = isinstance(index, DeepSea), index.observation_space.n
    length = 16 if deep else 5
    assert num_states == (17 if deep else 5)
    for state in range(num_states):
        assert index.view(state) == state
        assert onehot.view(state).tolist() == [float(n == state) for n in range(length)]
        expected = [state // 4 / 4, state % 4 / 4] if deep else [state / 4]
        assert coordinates.view(state).tolist() == expected


@given(wrong=st.lists(st.booleans(), max_size=40), bias=st.integers(0, 30))
def test_deep_sea_solved_against_exact_shares(wrong, bias):
    wrong = [True] * bias + wrong
    shares = [Fraction(sum(wrong[:n]), n) for n in range(1, len(wrong) + 1)]
    first = next(
        (n for n, share in enumerate(shares, 1) if share < Fraction(9, 10)), None
    )
    assert deep_sea_solved(wrong) == first


@pytest.mark.parametrize(
    ("wrong", "default", "stricter"),
    [
        ([], None, None),
        ([0], 1, 1),
        ([1] * 9 + [0], None, None),
        ([1] * 9 + [0, 0, 0], 11, 12),
        ([1] * 99, None, None),
    ],
)
def test_deep_sea_solved_against_shares_by_hand(wrong, default, stricter):
    """A share of 0.9 is not below 0.9; 9 of 12 is the first below 0.8."""
    assert (deep_sea_solved(wrong), deep_sea_solved(wrong, threshold=0.8)) == (
        default,
        stricter,
    )


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1, float("nan")])
def test_deep_sea_solved_refuses_other_thresholds(threshold):
    with pytest.raises(ValueError, match="threshold must be in"):
        tasks.deep_sea_solved([True], threshold=threshold)


def test_deep_sea_score_counts_sizes_solved_before_2_to_the_n_plus_100():
    assert [*tasks.DEEP_SEA_SIZES] == [
        10,
        12,
        14,
        16,
        18,
        20,
        22,
        24,
        26,
        28,
        30,
        32,
        34,
        36,
        38,
        40,
        42,
        44,
        46,
        48,
        50,
    ]
    assert deep_sea_score({10: 1123}) == 1.0
    assert deep_sea_score({10: 1124}) == 0.0
    assert deep_sea_score({10: 1123, 12: 4196, 14: None, 50: 9999}) == 0.5


# ---------------------------------------------------------------- KeyDoorMaze and NoisyTV

WAYS = {UP: (-1, 0), RIGHT: (0, 1), DOWN: (1, 0), LEFT: (0, -1)}
Place = tuple[int, int, bool]  # row, column, key in hand


def walk(
    drawing: tuple[str, ...], place: Place, action: int, door: str = "key"
) -> Place:
    """Rule of a drawn room; `door` opens by the key, always or never."""
    row, column, key = place
    row, column = row + WAYS[action][0], column + WAYS[action][1]
    shut = door == "never" or (door == "key" and not key)
    if drawing[row][column] == "#" or (drawing[row][column] == "D" and shut):
        row, column = place[:2]
    return row, column, key or drawing[row][column] == "K"


def find(drawing: tuple[str, ...], sign: str) -> tuple[int, int]:
    ((row, line),) = [(n, line) for n, line in enumerate(drawing) if sign in line]
    return row, line.index(sign)


def distances(drawing: tuple[str, ...], **rule: str) -> dict[Place, int]:
    """Steps from A to every place that can be reached, by breadth-first search."""
    seen = {(*find(drawing, "A"), False): 0}
    queue = list(seen)
    for place in queue:
        for action in WAYS:
            if (after := walk(drawing, place, action, **rule)) not in seen:
                seen[after] = seen[place] + 1
                queue.append(after)
    return seen


def to_goal(drawing: tuple[str, ...], **rule: str) -> int | None:
    row, column = find(drawing, "G")
    reached = distances(drawing, **rule)
    return min(
        (
            reached[row, column, key]
            for key in (False, True)
            if (row, column, key) in reached
        ),
        default=None,
    )


def numbered(drawing: tuple[str, ...]) -> dict[Place, int]:
    """The number of each state: cells in reading order, first without the key, then with it."""
    cells = [
        (r, c)
        for r, line in enumerate(drawing)
        for c, sign in enumerate(line)
        if sign != "#"
    ]
    return {
        (r, c, key): n + key * len(cells)
        for key in (False, True)
        for n, (r, c) in enumerate(cells)
    }


@pytest.mark.parametrize("make", [KeyDoorMaze, NoisyTV])
def test_rooms_against_their_drawing_in_every_state(make):
    """Where a move leads, what it pays, where it ends; with a door that is always open the maze does not fit."""
    drawing = tasks.KEY_DOOR_MAZE if make is KeyDoorMaze else tasks.TV_ROOM
    number, goal = numbered(drawing), find(drawing, "G")
    cells, maze = len(number) // 2, make is KeyDoorMaze
    env, differ = make("index"), 0
    assert env.reset()[0] == number[(*find(drawing, "A"), False)]
    for place, action in itertools.product(
        number if maze else list(number)[:cells], WAYS
    ):
        after = walk(drawing, place, action)
        state, reward, terminated, truncated, _ = at(env, number[place]).step(action)
        assert (state if maze else state % cells) == number[after]
        assert (reward, terminated, truncated) == (
            float(after[:2] == goal),
            after[:2] == goal,
            False,
        )
        differ += after != walk(drawing, place, action, door="always")
    assert differ == (
        2 if maze else 0
    )  # into the door from either side, without the key


def test_the_shortest_way_to_the_goal_is_24_steps_against_breadth_first_search():
    """It goes by the key: through an open door it would be 12; with a door that never opens there is none."""
    maze = tasks.KEY_DOOR_MAZE
    assert to_goal(maze) == 24
    assert to_goal(maze, door="never") is None
    assert to_goal(maze, door="always") == 12
    way = (
        [DOWN] * 6
        + [UP] * 6
        + [RIGHT] * 2
        + [DOWN] * 3
        + [RIGHT] * 2
        + [DOWN] * 3
        + [RIGHT] * 2
    )
    env = gym.make("vime_ref/KeyDoorMaze-v0")
    env.reset(seed=0)
    rewards = [env.step(action)[1:4] for action in way]
    assert rewards == [(0.0, False, False)] * 23 + [(1.0, True, False)]
    env.reset()
    rewards = [
        env.step(action)[1:4] for action in way[12:]
    ]  # the same without the key: before a shut door
    assert rewards == [(0.0, False, False)] * 12


def test_random_walks_through_the_maze_arrive_as_often_as_stated_against_the_exact_chain():
    """1.8 % in 200 steps by the exact distribution over places; with the door open it is far more."""
    maze = tasks.KEY_DOOR_MAZE

    def arrived(door: str) -> float:
        states = list(distances(maze, door=door))
        number = {place: n for n, place in enumerate(states)}
        step = np.zeros((len(states), len(states)))
        for place in states:
            for action in WAYS:
                over = place[:2] == find(maze, "G")
                step[
                    number[place],
                    number[place if over else walk(maze, place, action, door)],
                ] += 0.25
        final = np.linalg.matrix_power(step, 200)[0]
        return sum(
            final[n] for place, n in number.items() if place[:2] == find(maze, "G")
        )

    assert arrived("key") == pytest.approx(0.018, abs=0.0005)
    assert arrived("always") > 0.1


def test_the_image_of_the_maze_against_its_drawing():
    """The drawing with the agent in it, and without the key once that is taken: no two states look alike."""
    maze, env = tasks.KEY_DOOR_MAZE, KeyDoorMaze(render_mode="rgb_array")
    seen = set()
    for place in distances(maze):
        lines = [
            list(line.replace("A", " ").replace("K", " " if place[2] else "K"))
            for line in maze
        ]
        lines[place[0]][place[1]] = "A"
        state = numbered(maze)[place]
        image = env.image(state)
        assert [[tasks.SIGNS[pixel] for pixel in line] for line in image] == lines
        env.state = state
        assert env.render().shape == (144, 144, 3)
        assert env.render()[8::16, 8::16].tolist() == [
            [[*tasks.COLOURS[sign]] for sign in line] for line in lines
        ]
        assert KeyDoorMaze("coordinates").view(state).tolist() == [
            place[0] / 8,
            place[1] / 8,
            float(place[2]),
        ]
        seen.add(image.tobytes())
    assert len(seen) == len(distances(maze))
    assert KeyDoorMaze().render() is None


@pytest.mark.parametrize(
    ("env_id", "horizon"),
    [("vime_ref/KeyDoorMaze-v0", 200), ("vime_ref/NoisyTV-v0", 100), (LABYRINTH, 300)],
)
def test_rooms_are_truncated_after_exactly_their_horizon(env_id, horizon):
    env = gym.make(env_id)
    env.reset(seed=0)
    ends = [
        env.step(UP)[1:4] for _ in range(horizon)
    ]  # against the wall; in the labyrinth turning
    assert ends == [(0.0, False, False)] * (horizon - 1) + [(0.0, False, True)]


def test_television_and_goal_are_as_far_off_as_each_other():
    """8 steps from the start, and the room looks the same upside down."""
    room = tasks.TV_ROOM
    assert distances(room)[(*find(room, "T"), False)] == to_goal(room) == 8
    turned = [line[::-1] for line in room[::-1]]
    assert [line.translate(str.maketrans("TG", "GT")) for line in turned] == [*room]


def watch(seed: int, actions: list[int]) -> list[int]:
    """Pictures seen by one who goes to the television and then acts as told."""
    env = NoisyTV("index")
    env.reset(seed=seed)
    before = [env.step(action) for action in TO_TV]
    assert [step[4]["watching"] for step in before] == [False] * 7 + [True]
    return [env.step(action)[0] // len(env.cells) for action in actions]


def looks_like_noise(pictures: np.ndarray, others: np.ndarray) -> bool:
    """Uniform on 0 … 127, and as often equal to `others` or one ahead as chance has it: five standard errors each."""
    n, p = len(pictures), 1 / 128
    counts = np.bincount(pictures, minlength=128)
    chi_square = np.sum((counts - n * p) ** 2) / (n * p)  # mean 127, variance 254
    moved = np.bincount((pictures - others) % 128, minlength=128)
    shift = np.sum((moved - n * p) ** 2) / (n * p)
    return bool(
        abs(chi_square - 127) < 5 * math.sqrt(254)
        and abs(shift - 127) < 5 * math.sqrt(254)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_pictures_are_uniform_and_independent_of_past_actions_and_the_seed_elsewhere(
    seed,
):
    """Against the picture before, the action, and other generators of the same seed; what depends on one fails."""
    n = 20000
    actions = default_rng(7).choice(
        [UP, DOWN, LEFT], n
    )  # all of them stay before the television
    pictures = np.array(watch(seed, actions.tolist()))
    task = NoisyTV()
    task.reset(seed=seed)
    elsewhere = [default_rng(seed), default_rng(seed).spawn(1)[0], task.np_random]
    others = [
        np.roll(pictures, 1),
        np.roll(pictures, 2),
        actions,
        *[rng.integers(128, size=8 + n)[8:] for rng in elsewhere],
    ]
    for other in others:
        assert looks_like_noise(pictures, other)
        assert not looks_like_noise(other, other)
        assert not looks_like_noise((other + actions) % 128, other)
    assert not looks_like_noise(pictures % 64, others[0])


def test_pictures_are_the_same_whatever_is_done_and_however_late_one_comes():
    ways = [[UP] * 50, [LEFT] * 50, [DOWN, UP, LEFT] * 16 + [DOWN] * 2]
    first, *rest = [watch(5, way) for way in ways]
    assert all(each == first for each in rest)
    assert watch(6, ways[0]) != first
    assert watch(5, [RIGHT, LEFT] * 25) == [
        picture if n % 2 else 0 for n, picture in enumerate(first)
    ]


def test_each_episode_has_its_own_pictures_and_a_seed_brings_them_back():
    env = NoisyTV("index")

    def episode_of(seed: int | None) -> list[int]:
        env.reset(seed=seed)
        return [env.step(action)[0] for action in TO_TV + [UP] * 20]

    first, second = episode_of(3), episode_of(None)
    assert first[:7] == second[:7]
    assert first != second
    assert (episode_of(3), episode_of(None)) == (first, second)


def test_the_screen_is_lit_exactly_while_one_watches():
    """The image's top row has the picture's bits; elsewhere it is the dark wall, and nothing else ever changes."""
    env, room = NoisyTV(), tasks.TV_ROOM
    drawing = np.array(
        [[tasks.SIGNS.index(sign) for sign in line.replace("A", " ")] for line in room]
    )
    env.reset(seed=0)
    lit = 0
    for action in TO_TV + default_rng(0).choice([UP, RIGHT, LEFT], 300).tolist():
        image, _, _, _, info = env.step(action)
        picture, cell = divmod(env.state, len(env.cells))
        row, column = env.cells[cell]
        assert info["watching"] == (room[row][column] == "T")
        bits = [tasks.SIGNS.index("*" if picture >> n & 1 else "#") for n in range(7)]
        assert image[0].tolist() == bits
        assert info["watching"] or picture == 0
        lit += picture > 0
        rest = drawing.copy()
        rest[row, column] = tasks.SIGNS.index("A")
        assert np.array_equal(image[1:], rest[1:])
        assert env.coordinates(env.state).tolist() == [
            row / 6,
            column / 6,
            picture / 127,
        ]
    assert 0 < lit < 300


# ---------------------------------------------------------------- Labyrinth

TURN_LEFT, TURN_RIGHT, FORWARD, BACK = range(4)
Pose = tuple[int, int, int]  # row, column, heading: 0 up, 1 right, 2 down, 3 left


def can_be_reached(walls: np.ndarray) -> int:
    """Free cells that a walk from the first room gets to, by breadth-first search."""
    seen = [(1, 1)]
    for r, c in seen:
        near = [(r + down, c + right) for down, right in WAYS.values()]
        seen += [cell for cell in near if not walls[cell] and cell not in seen]
    return len(seen)


def written(env: Labyrinth) -> list[str]:
    return ["".join(" #aG"[sign] for sign in line) for line in env.maze]


def poses(lines: list[str], signs: str = " ") -> list[Pose]:
    return [
        (r, c, h)
        for r, line in enumerate(lines)
        for c, sign in enumerate(line)
        if sign in signs
        for h in range(4)
    ]


def pose_of(env: Labyrinth) -> Pose:
    cell, heading = divmod(env.state, 4)
    return (*divmod(cell, len(env.maze)), heading)


def place(env: Labyrinth, pose: Pose) -> int:
    row, column, heading = pose
    return 4 * (row * len(env.maze) + column) + heading


def walk_labyrinth(
    lines: list[str], pose: Pose, action: int, turn: int = 1
) -> tuple[Pose, float]:
    """Where an action leads, the goal a cell like others, and what it pays."""
    row, column, heading = pose
    if action in (TURN_LEFT, TURN_RIGHT):
        return (
            row,
            column,
            (heading + turn * (1 if action == TURN_RIGHT else 3)) % 4,
        ), 0.0
    down, right = WAYS[heading if action == FORWARD else (heading + 2) % 4]
    sign = lines[row + down][column + right]
    return pose if sign == "#" else (row + down, column + right, heading), {
        "a": 1.0,
        "G": 10.0,
    }.get(sign, 0.0)


def steps_to_goal(lines: list[str], pose: Pose) -> int:
    """By breadth-first search, apples left aside."""
    seen = {pose: 0}
    queue = [pose]
    for each in queue:
        for action in range(4):
            after, _ = walk_labyrinth(lines, each, action)
            if after not in seen:
                seen[after] = seen[each] + 1
                queue.append(after)
    return min(
        steps for (row, column, _), steps in seen.items() if lines[row][column] == "G"
    )


def slow_view(
    lines: list[str], pose: Pose, radius: int = 2, turn: int = 1, hide: bool = True
) -> list[str]:
    """The whole map, in a field of walls, turned until the agent faces up; then what the rule of sight leaves of it."""
    n = 2 * len(lines)
    field = (
        ["#" * 5 * len(lines)] * n
        + ["#" * n + line + "#" * n for line in lines]
        + ["#" * 5 * len(lines)] * n
    )
    row, column, heading = pose[0] + n, pose[1] + n, pose[2]
    for _ in range(turn * heading % 4):
        field = ["".join(line) for line in zip(*field)][::-1]
        row, column = len(field) - 1 - column, row

    def seen(i: int, j: int) -> bool:
        touched = [
            (a, b)
            for a in (-1, 0, 1)
            for b in (-1, 0, 1)
            if abs(2 * a - i) <= 1 and abs(2 * b - j) <= 1
        ]
        return any(field[row + a][column + b] != "#" for a, b in touched)

    reach = range(-radius, radius + 1)
    return [
        "".join(
            field[row + i][column + j] if not hide or seen(i, j) else "#" for j in reach
        )
        for i in reach
    ]


@given(rooms=st.integers(2, 6), seed=seeds)
@settings(max_examples=20)
def test_mazes_are_trees_against_breadth_first_search(rooms, seed):
    """All free cells are reached, with one passage less than rooms; a wall drawn through any passage cuts some off."""
    walls = carve_maze(rooms, default_rng(seed).permutation(2 * rooms * (rooms - 1)))
    assert walls.shape == (2 * rooms + 1, 2 * rooms + 1)
    assert walls[[0, -1]].all()
    assert walls[:, [0, -1]].all()
    assert not walls[1::2, 1::2].any()
    assert np.sum(~walls) == 2 * rooms**2 - 1
    assert can_be_reached(walls) == np.sum(~walls)
    for r, c in np.argwhere(~walls):
        if (r + c) % 2:
            cut = walls.copy()
            cut[r, c] = True
            assert can_be_reached(cut) < np.sum(~cut)


def test_each_order_of_walls_gives_its_maze_against_all_24_of_four_rooms():
    """Three walls go and the last to be tried stays: of the four mazes none is more likely than another."""
    between = [(1, 2), (2, 1), (2, 3), (3, 2)]
    for order in itertools.permutations(range(4)):
        walls = carve_maze(2, order)
        assert [walls[cell] for cell in between] == [n == order[-1] for n in range(4)]


@given(rooms=st.integers(2, 5), seed=seeds)
@settings(max_examples=20)
def test_each_episode_has_a_goal_and_4_apples_in_a_maze_and_starts_elsewhere(
    rooms, seed
):
    env = Labyrinth(rooms=rooms)
    env.reset(seed=seed)
    lines = written(env)
    assert [sum(line.count(sign) for line in lines) for sign in "Ga "] == [
        1,
        4,
        2 * rooms**2 - 6,
    ]
    assert can_be_reached(env.maze == 1) == 2 * rooms**2 - 1
    assert lines[pose_of(env)[0]][pose_of(env)[1]] == " "


def test_labyrinth_repeats_itself_with_its_seeds():
    """`seed` gives everything back; `maze_seed` keeps the maze and leaves the start, which `seed` gives."""

    def episodes(seed: int, maze_seed: int | None = None) -> list[list]:
        env = gym.make(LABYRINTH, maze_seed=maze_seed)
        seen = []
        for start in (seed, None):
            images = [env.reset(seed=start)[0]]
            maze, pose = written(env.unwrapped), pose_of(env.unwrapped)
            steps = [env.step(action) for action in default_rng(1).integers(0, 4, 60)]
            assert all(step[0] in env.observation_space for step in steps)
            images += [step[0] for step in steps]
            seen += [
                maze,
                pose,
                [step[1:] for step in steps],
                np.array(images).tobytes(),
            ]
        return seen

    first = episodes(5)
    assert first == episodes(5)
    assert all(a != b for a, b in zip(first[:2], episodes(6)[:2]))
    assert first[0] != first[4]
    fixed, again, other = episodes(5, 0), episodes(6, 0), episodes(5, 1)
    assert fixed == episodes(5, 0)
    assert fixed[0] == fixed[4] == again[0] == again[4] != other[0]
    assert len({fixed[1], fixed[5], again[1], again[5]}) == 4


@pytest.mark.parametrize(
    ("env_id", "options"),
    [(LABYRINTH, {}), *SMALL.items(), (SPARSE, {}), (SWINGUP, {})],
)
def test_deep_and_pickled_copies_go_on_like_their_original(env_id, options):
    """From within an episode, through resets without and with a seed; copies of the MuJoCo tasks start anew instead.

    One that just starts with the same seed goes on otherwise, and so does one of another seed where there is chance.
    """
    space = gym.make(env_id, **options).action_space
    space.seed(0)
    actions = (
        TO_TV + [UP] * 53
        if "NoisyTV" in env_id
        else [space.sample() for _ in range(61)]
    )

    def play(env: gym.Env, actions: list) -> list[tuple]:
        seen = []
        for action in actions:
            seen.append(env.step(action))
            if seen[-1][2] or seen[-1][3]:
                seen.append(env.reset())
        return seen

    def begun(seed: int, actions: list) -> gym.Env:
        env = gym.make(env_id, **options)
        env.reset(seed=seed)
        play(env, actions)
        return env

    def rest(env: gym.Env) -> list[tuple]:
        seen = [
            *play(env, actions),
            env.reset(),
            *play(env, actions),
            env.reset(seed=7),
            *play(env, actions),
        ]
        return [
            (np.asarray(observation).tobytes(), *others)
            for observation, *others in seen
        ]

    original = begun(1, actions)
    copies = copy.deepcopy(original), pickle.loads(pickle.dumps(original))
    expected = rest(original)
    assert all(rest(each) == expected for each in copies)
    assert rest(begun(1, [])) != expected
    chance = not any(name in env_id for name in ("Chain", "DeepSea", "KeyDoorMaze"))
    assert (rest(begun(2, actions)) != expected) == chance


@pytest.mark.parametrize(("rooms", "seed"), [(2, 0), (4, 1), (5, 2)])
def test_labyrinth_pixels_against_the_whole_map_turned(rooms, seed):
    """In each pose, before and after all apples are eaten; turned the other way or seen through walls it differs."""
    env, wrong = Labyrinth(rooms=rooms), [0, 0, 0]
    env.reset(seed=seed)
    colours = {
        " ": (255, 255, 255),
        "#": (60, 60, 60),
        "a": (250, 150, 0),
        "G": (0, 160, 0),
    }
    for eaten in (False, True):
        if eaten:
            env.maze[env.maze == tasks.APPLE] = tasks.FLOOR
        lines = written(env)
        for pose in poses(lines):
            view = slow_view(lines, pose)
            pixels = np.kron(
                [[colours[sign] for sign in line] for line in view],
                np.ones((4, 4, 1), int),
            )
            image = env.image(place(env, pose))
            assert image.dtype == np.uint8
            assert np.array_equal(image, pixels)
            variants = (
                slow_view(lines, pose, turn=-1),
                slow_view(lines, pose, turn=0),
                slow_view(lines, pose, hide=False),
            )
            wrong = [
                count + (variant != view) for count, variant in zip(wrong, variants)
            ]
    assert min(wrong) > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_labyrinth_moves_against_its_rule_in_every_pose(seed):
    """Where an action leads, what it pays and eats; with left and right exchanged it does not fit."""
    env, differ, ways = Labyrinth(seed, rooms=3), 0, set()
    env.reset(seed=0)
    lines = written(env)
    for pose, action in itertools.product(poses(lines), range(4)):
        after, reward = walk_labyrinth(lines, pose, action)
        _, *outcome = at(env, place(env, pose)).step(action)
        assert outcome == [reward, False, False, {}]
        ways.add((action, reward))
        changed = [
            (r, c)
            for r, line in enumerate(lines)
            for c, sign in enumerate(line)
            if written(env)[r][c] != sign
        ]
        assert changed == ([after[:2]] if reward == 1 else [])
        if reward < 10:
            assert pose_of(env) == after
            differ += pose_of(env) != walk_labyrinth(lines, pose, action, turn=-1)[0]
    assert differ == 2 * len(poses(lines))
    assert ways == {(0, 0), (1, 0), *itertools.product((2, 3), (0, 1, 10))}


def test_returns_of_the_labyrinth_against_a_walk_by_hand():
    """Up for an apple, which is there once, down and around for three, back up to the goal: 14, and all grows anew."""
    env = Labyrinth(rooms=2)
    env.reset(seed=0)
    drawing = ["#####", "#a G#", "# ###", "#aaa#", "#####"]
    env.maze[:] = [[" #aG".index(sign) for sign in line] for line in drawing]
    env.apples, env.free = np.array([6, 16, 17, 18]), np.array([7, 11])
    env.state = place(env, (2, 1, 0))
    way = [  # action, reward, where it ends
        (FORWARD, 1, (1, 1, 0)),
        (BACK, 0, (2, 1, 0)),
        (FORWARD, 0, (1, 1, 0)),
        (FORWARD, 0, (1, 1, 0)),
        (BACK, 0, (2, 1, 0)),
        (BACK, 1, (3, 1, 0)),
        (BACK, 0, (3, 1, 0)),
        (TURN_RIGHT, 0, (3, 1, 1)),
        (FORWARD, 1, (3, 2, 1)),
        (FORWARD, 1, (3, 3, 1)),
        (TURN_LEFT, 0, (3, 3, 0)),
        (TURN_LEFT, 0, (3, 3, 3)),
        (FORWARD, 0, (3, 2, 3)),
        (FORWARD, 0, (3, 1, 3)),
        (TURN_RIGHT, 0, (3, 1, 0)),
        (FORWARD, 0, (2, 1, 0)),
        (FORWARD, 0, (1, 1, 0)),
        (TURN_LEFT, 0, (1, 1, 3)),
        (BACK, 0, (1, 2, 3)),
    ]
    lasting = 0.0  # what apples would pay that are never gone
    for action, reward, end in way:
        lasting += walk_labyrinth(drawing, pose_of(env), action)[1]
        assert env.step(action)[1:] == (reward, False, False, {})
        assert pose_of(env) == end
    assert (sum(reward for _, reward, _ in way), lasting) == (4, 8)
    assert written(env) == [line.replace("a", " ") for line in drawing]
    image, *outcome = env.step(BACK)
    assert outcome == [10.0, False, False, {}]
    assert written(env) == drawing
    assert pose_of(env) in poses(drawing)
    assert np.array_equal(image, env.image(env.state))
    assert env.step(TURN_LEFT)[1:] == (0.0, False, False, {})


def test_the_goal_leads_to_all_free_poses_alike_within_five_standard_errors():
    """Chi-square over the 8 poses of 2 free cells; headings drawn from two of four do not fit."""
    env = Labyrinth(0, rooms=2)
    env.reset(seed=0)
    lines = written(env)
    pose, action = next(
        each
        for each in itertools.product(poses(lines, " a"), (FORWARD, BACK))
        if walk_labyrinth(lines, *each)[1] == 10
    )

    def uniform(reached: list[Pose]) -> bool:
        counts = np.array([reached.count(each) for each in poses(lines)])
        chi_square = np.sum((counts - len(reached) / 8) ** 2) / (
            len(reached) / 8
        )  # mean 7, variance 14
        return bool(counts.sum() == len(reached) and chi_square < 7 + 5 * math.sqrt(14))

    reached = []
    for _ in range(800):
        env.state = place(env, pose)
        env.step(action)
        reached.append(pose_of(env))
    assert uniform(reached)
    assert not uniform([(row, column, heading % 2) for row, column, heading in reached])


def test_equal_pixels_call_for_different_actions_against_breadth_first_search():
    """A memoryless agent cannot tell the two poses apart, and goes wrong in one; with the whole map it could."""
    env = Labyrinth(3)
    env.reset(seed=0)
    lines = written(env)

    def best(pose: Pose) -> set[int]:
        steps = [
            steps_to_goal(lines, walk_labyrinth(lines, pose, action)[0])
            for action in range(4)
        ]
        return {action for action in range(4) if steps[action] == min(steps)}

    def alike(views: dict[Pose, object]) -> list[tuple[Pose, Pose]]:
        return [
            (a, b) for a, b in itertools.combinations(views, 2) if views[a] == views[b]
        ]

    pairs = alike(
        {pose: env.image(place(env, pose)).tobytes() for pose in poses(lines)}
    )
    assert any(not best(a) & best(b) for a, b in pairs)
    assert (
        alike(
            {
                pose: slow_view(lines, pose, radius=len(lines), hide=False)
                for pose in poses(lines)
            }
        )
        == []
    )


def test_the_picture_of_the_labyrinth_against_its_map():
    """One colour a cell, but for the agent's: an arrow, wide at its back and pointed in front."""
    env = Labyrinth(1, "rgb_array")
    env.reset(seed=0)
    lines = written(env)
    colours = {
        " ": [255, 255, 255],
        "#": [60, 60, 60],
        "a": [250, 150, 0],
        "G": [0, 160, 0],
    }
    for pose in poses(lines)[:12]:
        env.state = place(env, pose)
        picture = env.render()
        assert (picture.shape, picture.dtype) == ((144, 144, 3), np.uint8)
        for r, c in itertools.product(range(9), repeat=2):
            block = picture[16 * r : 16 * r + 16, 16 * c : 16 * c + 16]
            if (r, c) == pose[:2]:
                red = (block == [210, 0, 0]).all(axis=2)
                assert (block[~red] == colours[" "]).all()
                edges = [
                    red[0],
                    red[:, -1],
                    red[-1],
                    red[:, 0],
                ]  # up, right, down, left
                assert [edge.all() for edge in edges] == [
                    n == (pose[2] + 2) % 4 for n in range(4)
                ]
                assert not edges[pose[2]].any()
                assert red.sum() > 100
            else:
                assert (block == colours[lines[r][c]]).all()
    assert Labyrinth().render() is None

"""Tasks of `vime_gym.tasks`: rewards and ends; everything else agrees with Gymnasium's own tasks."""

import math
from collections.abc import Callable

import autograd.numpy as anp
import gymnasium as gym
import numpy as np
import pytest
from autograd import grad, hessian
from gym_helpers import DENSE, HILLY, SPARSE, SWINGUP, is_color
from gymnasium.error import ResetNeeded
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from scipy.integrate import solve_ivp
from strategies import finite, seeds

from vime_gym import tasks
from vime_gym.tasks import DenseMountainCar, SparseCartPoleSwingup, SparseMountainCar

# ---------------------------------------------------------------- SparseMountainCar


def step_from(
    position: float, velocity: float, action: float, env_id: str = SPARSE
) -> tuple:
    """One step of the task from a given state."""
    env = gym.make(env_id)
    env.reset(seed=0)
    env.unwrapped.state = np.array([position, velocity])
    return env.step(np.array([action], dtype=np.float32))


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
    """Control: Gymnasium's reward is 100 at the goal minus 0.1·action² per step."""
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
    """The same seed and actions give bit-identical observations; another seed starts elsewhere."""
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


@pytest.mark.parametrize("action", [0.1, -0.7, 1.0, 1.5, -3.0, 1e200])
def test_every_force_is_clipped_and_rounded_to_float32(action):
    """Oracle: Gymnasium's car under the rounded force, over 3 steps. Gymnasium's own overflows at 1e200."""
    force = np.float32(min(max(action, -1.0), 1.0))
    sparse, dense = SparseMountainCar(), gym.make(DENSE).unwrapped
    sparse.reset(seed=0)
    dense.reset(seed=0)
    for _ in range(3):
        mine = sparse.step([action])[0]
        assert np.array_equal(mine, dense.step(np.array([force]))[0])


def test_pushing_along_with_the_velocity_reaches_the_goal():
    """The task can be solved: one reward per episode, at its end. Without force it is never reached (above)."""
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


# ---------------------------------------------------------------- DenseMountainCar


@given(
    position=finite(-1.2, 0.6), velocity=finite(-0.07, 0.07), action=finite(-1.0, 1.0)
)
@settings(max_examples=60)
def test_dense_reward_against_the_height_of_gymnasiums_ground(
    position, velocity, action
):
    """Oracle: Gymnasium draws the ground at `_height`. Control: the height before the step differs."""
    dense = step_from(position, velocity, action, HILLY)
    sparse = step_from(position, velocity, action)
    ground = gym.make(DENSE).unwrapped._height(float(dense[0][0]))
    assert dense[1] == pytest.approx(ground - 1.0, abs=1e-15)
    assert np.array_equal(dense[0], sparse[0])
    assert dense[2:] == sparse[2:]


def test_dense_reward_is_that_of_the_place_after_the_step():
    """Control of the test above: a fast car has left the place before the step."""
    _, reward, *_ = step_from(-0.5, 0.07, 1.0, HILLY)
    before = 0.45 * math.sin(3 * -0.5) - 0.45
    after = 0.45 * math.sin(3 * (-0.5 + 0.07)) - 0.45
    assert reward == pytest.approx(after, abs=1e-7)
    assert abs(reward - before) > 0.01


def test_dense_return_grows_with_speed():
    """A car at rest gets about −0.9 a step for 500 steps; one that swings reaches the goal with more."""
    returns = []
    for pushes in (0.0, 1.0):
        env = gym.make(HILLY)
        seen, _ = env.reset(seed=0)
        total, ended = 0.0, False
        while not ended:
            push = pushes if seen[1] >= 0 else -pushes
            seen, reward, terminated, truncated, _ = env.step(
                np.array([push], np.float32)
            )
            total += reward
            ended = terminated or truncated
        returns.append((round(total), terminated))
    (rest, never), (swing, solved) = returns
    assert -450 <= rest < -430
    assert swing > -100
    assert (never, solved) == (False, True)


# ---------------------------------------------------------------- SparseCartPoleSwingup: dynamics

M, m, HALF, g = 1.0, 0.1, 0.5, 9.8  # restated, so that a changed constant fails

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

    Two-point Gauss quadrature along the pole is exact, because both energies are polynomials of degree ≤ 2 in position.
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
    """Energy gained over 0.05 s minus the work F·(x′ − x), in J."""
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
    """All of the pole's mass at its center: no moment of inertia."""
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
    """cos θ > 0.8 and |x| > 3 with strict bounds, and no reward for the step that leaves the track."""
    monkeypatch.setattr(tasks, "cart_pole_step", lambda *_: (x, 0.0, theta, 0.0))
    env = SparseCartPoleSwingup()
    env.reset(seed=0)
    assert env.step(np.zeros(1))[1:4] == (reward, terminated, False)


def episode(force: Callable, seed: int, **options) -> tuple[list[float], bool, bool]:
    """Rewards and kind of end of one episode under a policy observation → force."""
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
    """A linear policy near upright (rounded LQR gains), else a force that increases the pole's energy."""
    if cos > 0.8 and abs(w) < 4:
        force = 1.4 * x + 3.0 * v + 35.0 * math.atan2(sin, cos) + 9.0 * w
    else:
        missing = 2 / 3 * m * HALF**2 * w**2 + m * g * HALF * (cos - 1)
        force = 20.0 * missing * w * cos - 4.0 * x - 2.0 * v
    return min(max(force, -10.0), 10.0)


@pytest.mark.parametrize("seed", range(3))
def test_pumping_energy_and_balancing_is_rewarded_for_most_of_500_steps(seed):
    rewards, terminated, truncated = episode(swing_up, seed)
    assert (len(rewards), terminated, truncated) == (500, False, True)
    assert rewards[:30] == [0.0] * 30
    assert rewards[100:] == [1.0] * 400


@pytest.mark.parametrize("seed", range(3))
def test_doing_nothing_is_never_rewarded_and_truncated_after_exactly_500_steps(seed):
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
    ("action", "message"),
    [
        ([math.nan], "action must be finite, got nan"),
        ([math.inf], "action must be finite, got inf"),
        (1.0, r"action must have shape \(1,\), got \(\)"),
        ([], r"action must have shape \(1,\), got \(0,\)"),
        ([1.0, 2.0], r"action must have shape \(1,\), got \(2,\)"),
        ([[1.0]], r"action must have shape \(1,\), got \(1, 1\)"),
        (None, "action must"),
        (["1"], "action must"),
        ([1j], "action must"),
    ],
)
@pytest.mark.parametrize(
    "task", [SparseCartPoleSwingup, SparseMountainCar, DenseMountainCar]
)
def test_bad_action_raises_and_changes_nothing(task, action, message):
    env = task()
    env.reset(seed=0)
    before = tuple(env.state)
    with pytest.raises(ValueError, match=f"^{message}"):
        env.step(action)
    assert tuple(env.state) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SparseCartPoleSwingup(0.05), r"start_width must have shape \(4,\)"),
        (lambda: SparseCartPoleSwingup([0.1] * 3), "start_width must have shape"),
        (lambda: SparseCartPoleSwingup([0, 0, -0.1, 0]), "start_width must be from 0"),
        (lambda: SparseCartPoleSwingup([0, math.nan, 0, 0]), "start_width must be fin"),
        (
            lambda: SparseCartPoleSwingup([1e308] * 4),
            "start_width must be from 0 to 10",
        ),
        (lambda: SparseCartPoleSwingup("wide"), "start_width must"),
        (
            lambda: SparseCartPoleSwingup(render_mode="x"),
            "render_mode must be 'rgb_arr",
        ),
        (lambda: SparseMountainCar("human"), "render_mode must be 'rgb_array', got"),
        (
            lambda: SparseMountainCar(goal_velocity=math.nan),
            "goal_velocity must be fin",
        ),
        (lambda: SparseMountainCar(goal_velocity="0"), "goal_velocity must"),
        (lambda: tasks.cart_pole_acceleration(math.nan, 0.0, 0.0), "theta must be fin"),
        (lambda: tasks.cart_pole_acceleration(0.0, "0", 0.0), "theta_velocity must be"),
        (lambda: tasks.cart_pole_acceleration(0.0, 0.0, math.inf), "force must be fin"),
        (lambda: tasks.cart_pole_step((0.0,) * 3, 0.0, 0.1), "state must have shape"),
        (lambda: tasks.cart_pole_step((0.0,) * 4, 0.0, 0.0), "seconds must be > 0"),
        (lambda: tasks.cart_pole_step((0.0,) * 4, None, 0.1), "force must be"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


@pytest.mark.parametrize("task", [SparseCartPoleSwingup, SparseMountainCar])
def test_step_and_picture_before_reset_raise(task):
    message = f"{task.__name__} must be reset before its first step"
    with pytest.raises(ResetNeeded, match=message):
        task().step(np.zeros(1))
    with pytest.raises(ResetNeeded, match=message):
        task(render_mode="rgb_array").render()


def test_accelerations_of_numbers_in_every_form():
    """NumPy scalars, ints and 0-d arrays give Python floats, equal to those of floats; so do large velocities."""
    expected = tasks.cart_pole_acceleration(1.0, 2.0, 3.0)
    for form in (int, np.float32, np.float64, np.array):
        found = tasks.cart_pole_acceleration(form(1), form(2), form(3))
        assert found == expected
        assert {type(number) for number in found} == {float}
    assert math.isfinite(tasks.cart_pole_acceleration(1.0, 1e150, 1.7e308)[0])


@pytest.mark.parametrize("width", [10.0, 3.0])
def test_the_widest_starts_stay_finite(width):
    """Full force with changing sign, from the widest start that is accepted."""
    env = SparseCartPoleSwingup([0.1, width, width, width])
    for seed in range(20):
        env.reset(seed=seed)
        for t in range(200):
            observation, _, terminated, *_ = env.step([10.0 * (-1) ** t])
            assert np.abs(observation).max() < 100
            if terminated:
                break


# ---------------------------------------------------------------- pictures


def center(where: np.ndarray) -> tuple[float, float]:
    """Mean column and row of the true pixels."""
    rows, columns = np.nonzero(where)
    return float(columns.mean()), float(rows.mean())


@pytest.mark.parametrize("theta", [0.0, math.pi / 3, math.pi, -math.pi / 2])
@pytest.mark.parametrize("x", [0.0, -1.5])
def test_the_pole_is_drawn_at_its_angle(x, theta):
    """The middle of the red pixels is the pole's middle, 0.5 m from the pivot; a pole of angle −θ is elsewhere."""
    env = SparseCartPoleSwingup(render_mode="rgb_array")
    env.reset(seed=0)
    env.state = (x, 0.0, theta, 0.0)
    picture = env.render()
    assert picture.shape == (174, 400, 3)
    pixels = 400 / 6  # per meter
    column, row = center(is_color(picture, (210, 0, 0)))
    for sign in (1, -1):
        middle = x + 0.5 * math.sin(sign * theta), 0.5 * math.cos(theta)
        expected = (middle[0] + 3) * pixels, (1.3 - middle[1]) * pixels
        fits = abs(column - expected[0]) < 2 and abs(row - expected[1]) < 2
        assert fits == (sign == 1 or abs(math.sin(theta)) < 1e-9)


@pytest.mark.parametrize("position", [-1.0, -0.5, 0.2])
def test_the_car_is_drawn_on_the_hill(position):
    """The car is a disc whose center is 0.05 above the hill, 0.45·sin(3x) + 0.55."""
    env = SparseMountainCar("rgb_array")
    env.reset(seed=0)
    env.state = np.array([position, 0.0])
    picture = env.render()
    assert picture.shape == (312, 400, 3)
    pixels = 400 / 1.8
    height = 0.45 * math.sin(3 * position) + 0.55
    column, row = center(is_color(picture, (210, 0, 0)))
    assert column == pytest.approx((position + 1.2) * pixels, abs=2)
    assert row == pytest.approx((1.3 - height - 0.05) * pixels, abs=2)
    flag, _ = center(is_color(picture, (0, 160, 0)))
    assert flag == pytest.approx((0.49 + 1.2) * pixels, abs=2)

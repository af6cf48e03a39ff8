"""The VIME paper's tasks that need no simulator: a car in a valley, and a pole on a cart.

Sources: [VIME] Houthooft et al. 2016, arXiv 1605.09674, and the original code openai/vime, for the reward rules;
rllab, on which the original code runs, for the cart and the pole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import Continuous_MountainCarEnv
from gymnasium.error import ResetNeeded
from numpy.typing import ArrayLike, NDArray

from bnn_ref import check_array, check_number, check_positive
from vime_gym.rooms import CELL_COLORS, DRAWN, check_render_mode, checked_seed

# ---------------------------------------------------------------- constants

# Cart and pole: masses and length agree with rllab's model and CartPole-v1; gravity is CartPole-v1's.
CART_MASS = 1.0  # kg
POLE_MASS = 0.1  # kg, uniform along the pole
POLE_HALF_LENGTH = 0.5  # m, from the pivot to the center of mass
GRAVITY = 9.8  # m/s²

# From the original code.
MAX_FORCE = 10.0  # N
STEP_SECONDS = 0.05
MAX_DISTANCE = 3.0  # m
UPRIGHT_COSINE = 0.8

MAX_WIDTH = 10.0  # of a start; the original's widths are 1 to 3
PIXELS = 400  # width of a picture
CAR_FPS = 30  # frames of a video in a second: MountainCarContinuous-v0's

# ---------------------------------------------------------------- types

# x (m), ẋ (m/s), θ from upright (rad), θ̇ (rad/s)
CartPoleState = tuple[float, float, float, float]

# θ, θ̇ and the force to ẍ and θ̈
Accelerations = Callable[[Any, Any, Any], tuple[Any, Any]]


class Canvas:
    """A picture (H, W, 3) of 400 pixels width, white at first, and the coordinates (H, W) of its pixels."""

    def __init__(self, left: float, right: float, bottom: float, top: float) -> None:
        # Even, as players of videos want it.
        height = 2 * round(PIXELS * (top - bottom) / (right - left) / 2)
        self.picture = np.full((height, PIXELS, 3), 255, np.uint8)
        self.x, self.y = np.meshgrid(
            np.linspace(left, right, PIXELS), np.linspace(top, bottom, height)
        )  # (H, W) each

    def fill(self, where: NDArray[np.bool_], sign: str) -> None:
        """Give the pixels where (H, W) is true the color of a symbol in `CELL_COLORS`."""
        self.picture[where] = CELL_COLORS[sign]

    def disc(self, x: float, y: float, radius: float, sign: str) -> None:
        """Fill a disc."""
        self.fill(np.hypot(self.x - x, self.y - y) <= radius, sign)

    def box(self, x: float, y: float, width: float, height: float, sign: str) -> None:
        """Fill a rectangle around (x, y)."""
        inside = (2 * abs(self.x - x) <= width) & (2 * abs(self.y - y) <= height)
        self.fill(inside, sign)


# ---------------------------------------------------------------- MountainCar


class SparseMountainCar(Continuous_MountainCarEnv):
    """MountainCarContinuous-v0 with reward 1 on reaching the goal, else 0; actions cost nothing.

    Observation (2,): position from −1.2 to 0.6 and velocity from −0.07 to 0.07.
    Action (1,): the force, clipped to −1 to 1 and rounded to float32.
    An episode terminates at the goal, position ≥ 0.45 and not moving left, and is truncated after 500 steps.
    `goal_velocity` is the least velocity at the goal.
    `render_mode="rgb_array"` draws the valley with the car and a flag at the goal, without pygame.

    Raises ValueError unless `goal_velocity` is finite and every action is one finite number in an array (1,).
    Raises ValueError on another `render_mode`. Raises gymnasium.error.ResetNeeded on a step before the first reset.
    Source: [VIME].
    """

    metadata: dict[str, Any] = DRAWN | {"render_fps": CAR_FPS}

    def __init__(
        self, render_mode: str | None = None, goal_velocity: float = 0.0
    ) -> None:
        check_render_mode(render_mode)
        super().__init__(render_mode, check_number("goal_velocity", goal_velocity))
        self.state: Any = None

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """MountainCarContinuous-v0's step with the reward replaced: 1 at the goal, else 0."""
        check_started(self)
        given = float(action_array(action, (1,))[0])
        force = np.array([min(max(given, -1.0), 1.0)], np.float32)
        observation, _, terminated, truncated, info = super().step(force)
        reward = float(terminated)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """A picture of the valley, pixels (H, W, 3), or None without a render mode."""
        if self.render_mode is None:
            return None
        check_started(self)
        canvas = Canvas(self.min_position, self.max_position, -0.1, 1.3)

        # The valley, and a flag on its right side.
        canvas.fill(canvas.y < hill(canvas.x), "#")
        goal = self.goal_position
        foot = float(hill(goal))
        canvas.box(goal, foot + 0.1, 0.01, 0.2, "#")
        canvas.box(goal + 0.04, foot + 0.17, 0.08, 0.06, "G")

        # The car.
        place = float(self.state[0])
        canvas.disc(place, float(hill(place)) + 0.05, 0.05, "A")
        return canvas.picture


def hill(position: Any) -> Any:
    """The height of the valley's ground at a position."""
    return height(np.sin(3.0 * position))


def height(sine: Any) -> Any:
    """The height of the valley's ground where sin 3x has this value, for numbers or arrays."""
    return 0.45 * sine + 0.55


class DenseMountainCar(SparseMountainCar):
    """SparseMountainCar with the reward −1 + height, of the ground under the car after the step.

    So a step's reward is from −0.9 in the valley to 0 at the top. The sooner the car reaches the goal, the better.
    Everything else is SparseMountainCar's.
    Source: rllab's mountain car, whose car, hill and goal are others.
    """

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """SparseMountainCar's step with the reward replaced."""
        observation, _, *others = super().step(action)
        reward = height(math.sin(3.0 * float(observation[0]))) - 1.0
        return observation, reward, *others


# ---------------------------------------------------------------- cart and pole


def cart_pole_acceleration(
    theta: float, theta_velocity: float, force: float
) -> tuple[float, float]:
    """Accelerations ẍ (m/s²) and θ̈ (rad/s²) of a cart on a track with a thin pole on a pivot, without friction.

    The tip is at x + 2l sin θ and height 2l cos θ. M and m are the masses of cart and pole. F pushes the cart along x:

        L = ½(M + m)ẋ² + m l ẋ θ̇ cos θ + ⅔ m l² θ̇² − m g l cos θ
        (M + m)ẍ + m l (θ̈ cos θ − θ̇² sin θ) = F        (d/dt ∂L/∂ẋ − ∂L/∂x = F)
        ⁴⁄₃ l θ̈ + ẍ cos θ − g sin θ = 0                 (d/dt ∂L/∂θ̇ − ∂L/∂θ = 0, divided by m l)

    The code solves the last equation for θ̈ and substitutes it into the one before.
    Raises ValueError unless all are finite numbers.
    """
    if not quickly_finite(theta, theta_velocity, force):
        theta = check_number("theta", theta)
        theta_velocity = check_number("theta_velocity", theta_velocity)
        force = check_number("force", force)
    return accelerations(math.cos(theta), math.sin(theta), theta_velocity, force)


def accelerations(
    cos: Any, sin: Any, theta_velocity: Any, force: Any
) -> tuple[Any, Any]:
    """Accelerations ẍ and θ̈ from cos θ and sin θ, for numbers or arrays."""
    # The pole's effect on the cart: its pull, and the mass it adds.
    swing = POLE_HALF_LENGTH * theta_velocity * theta_velocity
    pull = POLE_MASS * (swing - 0.75 * GRAVITY * cos) * sin
    mass = CART_MASS + POLE_MASS - 0.75 * POLE_MASS * cos * cos

    x_acceleration = (force + pull) / mass
    fall = GRAVITY * sin - x_acceleration * cos
    theta_acceleration = 0.75 * fall / POLE_HALF_LENGTH
    return x_acceleration, theta_acceleration


def cart_pole_step(state: CartPoleState, force: float, seconds: float) -> CartPoleState:
    """The state after `seconds` under a constant force (N), by one classical fourth-order Runge-Kutta step.

    Raises ValueError unless all are finite numbers and the time is > 0.
    """
    x, x_velocity, theta, theta_velocity = checked_state(state)
    if not (quickly_finite(force, seconds) and seconds > 0.0):
        force = check_number("force", force)
        seconds = float(check_positive("seconds", seconds, ()))
    start = x, x_velocity, theta, theta_velocity
    return runge_kutta_step(cart_pole_acceleration, start, force, seconds)


def runge_kutta_step(
    acceleration: Accelerations, state: Any, force: Any, seconds: float
) -> tuple[Any, Any, Any, Any]:
    """The state after a classical fourth-order step, for numbers or arrays."""
    x, v1, theta, w1 = state
    half = 0.5 * seconds

    # Velocities and accelerations at the start, twice at the midpoint, and at the end.
    a1, b1 = acceleration(theta, w1, force)
    v2 = v1 + half * a1
    w2 = w1 + half * b1
    a2, b2 = acceleration(theta + half * w1, w2, force)
    v3 = v1 + half * a2
    w3 = w1 + half * b2
    a3, b3 = acceleration(theta + half * w2, w3, force)
    v4 = v1 + seconds * a3
    w4 = w1 + seconds * b3
    a4, b4 = acceleration(theta + seconds * w3, w4, force)

    # Their weighted mean.
    sixth = seconds / 6.0
    return (
        x + sixth * (v1 + 2.0 * (v2 + v3) + v4),
        v1 + sixth * (a1 + 2.0 * (a2 + a3) + a4),
        theta + sixth * (w1 + 2.0 * (w2 + w3) + w4),
        w1 + sixth * (b1 + 2.0 * (b2 + b3) + b4),
    )


class SparseCartPoleSwingup(gym.Env[NDArray[np.float64], NDArray[np.float64]]):
    """A pole that hangs from a cart and must be swung up: reward 1 for a step that ends with cos θ > 0.8, else 0.

    Observation (5,): x (m), ẋ (m/s), cos θ, sin θ, θ̇ (rad/s), with θ measured from upright.
    Action (1,): the force on the cart, clipped to −10 to 10 N. A step is 0.05 s.
    An episode terminates with reward 0 at |x| > 3 m and is truncated after 500 steps.
    A policy whose initial forces are about 1 N never sees a reward.

    `start_width` (4,) is the half width of the uniform start around x = ẋ = θ̇ = 0, θ = π. The default is
    CartPole-v1's: the pole hangs nearly at rest.
    `render_mode="rgb_array"` draws the track from −3 to 3 m, the cart and the pole.
    Departures: the original starts from the widths (1, 2, 1, 3), observes θ itself, and simulates cart and pole in
    Box2D with a little friction.

    Raises ValueError unless `start_width` is 4 numbers from 0 to 10 and every action is one finite number in an array
    (1,). Raises ValueError on another `render_mode`.
    Raises gymnasium.error.ResetNeeded on a step before the first reset.
    Source: CartpoleSwingupEnvX in openai/vime.
    """

    metadata: dict[str, Any] = DRAWN | {"render_fps": round(1 / STEP_SECONDS)}

    def __init__(
        self,
        start_width: ArrayLike = (0.05, 0.05, 0.05, 0.05),
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.start_width = checked_width(start_width)
        self.state: CartPoleState | None = None
        self.action_space = gym.spaces.Box(-MAX_FORCE, MAX_FORCE, (1,), np.float64)
        high = np.array([np.inf, np.inf, 1.0, 1.0, np.inf])
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """The first observation (5,) of an episode; the pole hangs nearly at rest."""
        super().reset(seed=checked_seed(seed, options))
        width = self.start_width
        start = self.np_random.uniform(-width, width).tolist()
        x, x_velocity, angle, theta_velocity = start
        self.state = x, x_velocity, math.pi + angle, theta_velocity
        return self._observation(self.state), {}

    def step(
        self, action: ArrayLike
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """The observation (5,), the reward, and terminated if the cart has left the track; never truncated here."""
        check_started(self)
        assert self.state is not None
        given = float(action_array(action, (1,))[0])
        force = min(max(given, -MAX_FORCE), MAX_FORCE)
        self.state = cart_pole_step(self.state, force, STEP_SECONDS)
        observation = self._observation(self.state)
        terminated = abs(self.state[0]) > MAX_DISTANCE
        upright = bool(observation[2] > UPRIGHT_COSINE)
        return observation, float(upright and not terminated), terminated, False, {}

    def render(self) -> Any:
        """A picture of the track, pixels (H, W, 3), or None without a render mode."""
        if self.render_mode is None:
            return None
        check_started(self)
        assert self.state is not None
        x, _, theta, _ = self.state
        canvas = Canvas(-MAX_DISTANCE, MAX_DISTANCE, -1.3, 1.3)

        # The track and the cart.
        canvas.box(0.0, 0.0, 2 * MAX_DISTANCE, 0.03, "#")
        canvas.box(x, 0.0, 0.5, 0.25, "#")

        # The pole: the pixels near its center line.
        right = canvas.x - x
        along = right * math.sin(theta) + canvas.y * math.cos(theta)
        beside = right * math.cos(theta) - canvas.y * math.sin(theta)
        length = 2 * POLE_HALF_LENGTH
        canvas.fill((along >= 0) & (along <= length) & (abs(beside) <= 0.04), "A")
        return canvas.picture

    @staticmethod
    def _observation(state: CartPoleState) -> NDArray[np.float64]:
        x, x_velocity, theta, theta_velocity = state
        cos = math.cos(theta)
        sin = math.sin(theta)
        return np.array([x, x_velocity, cos, sin, theta_velocity])


# ---------------------------------------------------------------- argument checks


def quickly_finite(*numbers: Any) -> bool:
    """Whether all are finite Python floats, in a tenth of the time of `check_number`; False if their sum overflows."""
    floats = all(type(number) is float for number in numbers)
    return floats and math.isfinite(sum(numbers))


def checked_state(state: CartPoleState) -> CartPoleState:
    """The state. Raises ValueError unless it is 4 finite numbers."""
    if type(state) is tuple and len(state) == 4 and quickly_finite(*state):
        return state
    x, v, theta, w = check_array("state", state, (4,)).tolist()
    return x, v, theta, w


def check_started(task: Any) -> None:
    """Raise ResetNeeded, naming the task, if it has no state."""
    if task.state is None:
        name = type(task).__name__
        raise ResetNeeded(f"{name} must be reset before its first step")


def checked_width(start_width: ArrayLike) -> NDArray[np.float64]:
    """The half widths as an array (4,). Raises ValueError unless they are 4 numbers from 0 to 10."""
    width = check_array("start_width", start_width, (4,))
    if not np.all((width >= 0) & (width <= MAX_WIDTH)):
        raise ValueError(
            f"start_width must be from 0 to {MAX_WIDTH:g}, got {start_width!r}"
        )
    return width


def action_array(
    action: Any, shape: tuple[int, ...], name: str = "action"
) -> NDArray[Any]:
    """The action as an array: float32 stays, all else becomes float64.

    Raises ValueError unless it is of finite numbers and has this shape.
    """
    floats = isinstance(action, np.ndarray) and action.dtype in (np.float32, float)
    if floats and action.shape == shape:
        # In half the time of `all`.
        num_finite = np.count_nonzero(np.isfinite(action))
        if num_finite == action.size:
            return action
    values = check_array(name, action, shape)
    return action if floats and action.dtype == np.float32 else values


# ---------------------------------------------------------------- what `help` shows

__all__ = [
    "SparseMountainCar", "DenseMountainCar", "cart_pole_acceleration", "cart_pole_step",
    "SparseCartPoleSwingup",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""The VIME paper's tasks.

`SparseHalfCheetah` and `Walker2D` need MuJoCo: pip install 'gymnasium[mujoco]'.

Sources: [VIME] Houthooft et al. 2016, arXiv 1605.09674, and the original code openai/vime, for the reward rules;
rllab, on which the original code runs, for the cart and the pole.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import Continuous_MountainCarEnv
from gymnasium.error import DependencyNotInstalled, ResetNeeded
from numpy.typing import ArrayLike, NDArray

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
CHEETAH_GOAL = 5.0  # m

# ---------------------------------------------------------------- types

# x (m), ẋ (m/s), θ from upright (rad), θ̇ (rad/s)
CartPoleState = tuple[float, float, float, float]

# ---------------------------------------------------------------- MountainCar


class SparseMountainCar(gym.Wrapper[Any, Any, Any, Any]):
    """MountainCarContinuous-v0 with reward 1 on reaching the goal, else 0; actions cost nothing.

    Observation (2,): position from −1.2 to 0.6 and velocity from −0.07 to 0.07. Action (1,): force from −1 to 1.
    An episode terminates at the goal, position ≥ 0.45 and not moving left, and is truncated after 500 steps.
    Source: [VIME].
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Continuous_MountainCarEnv(**kwargs))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """MountainCarContinuous-v0's step with the reward replaced: 1 at the goal, else 0."""
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = float(terminated)
        return observation, reward, terminated, truncated, info


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
    """
    cos = math.cos(theta)
    sin = math.sin(theta)

    # The pole's effect on the cart: its pull, and the mass it adds.
    swing = POLE_HALF_LENGTH * theta_velocity * theta_velocity
    pull = POLE_MASS * (swing - 0.75 * GRAVITY * cos) * sin
    mass = CART_MASS + POLE_MASS - 0.75 * POLE_MASS * cos * cos

    x_acceleration = (force + pull) / mass
    fall = GRAVITY * sin - x_acceleration * cos
    theta_acceleration = 0.75 * fall / POLE_HALF_LENGTH
    return x_acceleration, theta_acceleration


def cart_pole_step(state: CartPoleState, force: float, seconds: float) -> CartPoleState:
    """The state after `seconds` under a constant force (N), by one classical fourth-order Runge-Kutta step."""
    x, v1, theta, w1 = state
    half = 0.5 * seconds

    # Velocities and accelerations at the start, twice at the midpoint, and at the end.
    a1, b1 = cart_pole_acceleration(theta, w1, force)
    v2 = v1 + half * a1
    w2 = w1 + half * b1
    a2, b2 = cart_pole_acceleration(theta + half * w1, w2, force)
    v3 = v1 + half * a2
    w3 = w1 + half * b2
    a3, b3 = cart_pole_acceleration(theta + half * w2, w3, force)
    v4 = v1 + seconds * a3
    w4 = w1 + seconds * b3
    a4, b4 = cart_pole_acceleration(theta + seconds * w3, w4, force)

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
    Departures: the original starts from the widths (1, 2, 1, 3), observes θ itself, and simulates cart and pole in
    Box2D with a little friction.

    Raises ValueError unless `start_width` is 4 finite numbers ≥ 0 and every action is one finite number in an array
    (1,). Raises gymnasium.error.ResetNeeded on a step before the first reset.
    Source: CartpoleSwingupEnvX in openai/vime.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  as in gymnasium.Env

    def __init__(self, start_width: ArrayLike = (0.05, 0.05, 0.05, 0.05)) -> None:
        self.start_width = checked_width(start_width)
        self.state: CartPoleState | None = None
        self.action_space = gym.spaces.Box(-MAX_FORCE, MAX_FORCE, (1,), np.float64)
        high = np.array([np.inf, np.inf, 1.0, 1.0, np.inf])
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """The first observation (5,) of an episode; the pole hangs nearly at rest."""
        super().reset(seed=seed)
        width = self.start_width
        start = self.np_random.uniform(-width, width).tolist()
        x, x_velocity, angle, theta_velocity = start
        self.state = x, x_velocity, math.pi + angle, theta_velocity
        return self._observation(self.state), {}

    def step(
        self, action: ArrayLike
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """The observation (5,), the reward, and terminated if the cart has left the track; never truncated here."""
        if self.state is None:
            raise ResetNeeded(
                "SparseCartPoleSwingup must be reset before its first step"
            )
        force = checked_force(action)
        self.state = cart_pole_step(self.state, force, STEP_SECONDS)
        observation = self._observation(self.state)
        terminated = abs(self.state[0]) > MAX_DISTANCE
        upright = bool(observation[2] > UPRIGHT_COSINE)
        return observation, float(upright and not terminated), terminated, False, {}

    @staticmethod
    def _observation(state: CartPoleState) -> NDArray[np.float64]:
        x, x_velocity, theta, theta_velocity = state
        cos = math.cos(theta)
        sin = math.sin(theta)
        return np.array([x, x_velocity, cos, sin, theta_velocity])


# ---------------------------------------------------------------- MuJoCo


class SparseHalfCheetah(gym.Wrapper[Any, Any, Any, Any]):
    """HalfCheetah-v5 with reward 1 for a step that ends with the torso at x > 5 m, else 0; actions cost nothing.

    Observation (18,): positions, the torso's x first, then velocities. Action (6,): torques from −1 to 1.
    A step is 0.01 s of physics (frame_skip 1). An episode never terminates and is truncated after 500 steps.
    Departure: the original uses x of the whole robot's center of mass.
    Source: HalfCheetahEnvX in openai/vime.
    """

    def __init__(self, **kwargs: Any) -> None:
        robot = mujoco_env(
            "SparseHalfCheetah",
            "half_cheetah_v5",
            "HalfCheetahEnv",
            frame_skip=1,
            **kwargs,
        )
        super().__init__(robot)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """HalfCheetah-v5's step with the reward replaced: 1 beyond 5 m, else 0."""
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = float(info["x_position"] > CHEETAH_GOAL)
        return observation, reward, terminated, truncated, info


class Walker2D(gym.Wrapper[Any, Any, Any, Any]):
    """Walker2d-v5 without the reward for staying upright.

        r = (x′ − x)/Δt − 0.001·‖a‖²: forward speed (m/s) minus control cost

    Observation (18,): positions, the torso's x first, then velocities clipped to ±10. Action (6,): torques, −1 to 1.
    A step is Δt = 0.008 s of physics (frame_skip 4). An episode terminates on a fall, torso height outside (0.8, 2) m
    or tilt outside (−1, 1) rad, and is truncated after 500 steps. Step length and cost weight are Walker2d-v5's.
    Departure: rllab's Walker2D steps by 0.005 s and weighs the cost by 0.005.
    Source: [VIME].
    """

    def __init__(self, **kwargs: Any) -> None:
        robot = mujoco_env(
            "Walker2D", "walker2d_v5", "Walker2dEnv", healthy_reward=0.0, **kwargs
        )
        super().__init__(robot)


def mujoco_env(task: str, module: str, name: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Gymnasium's MuJoCo robot `name`, with its x in the observation.

    Raises gymnasium.error.DependencyNotInstalled, naming the task and the package to install, if MuJoCo is missing.
    """
    try:
        robots = import_module(f"gymnasium.envs.mujoco.{module}")
    except (ImportError, DependencyNotInstalled) as error:
        raise DependencyNotInstalled(
            f"{task} needs mujoco: pip install 'gymnasium[mujoco]'"
        ) from error
    robot: gym.Env[Any, Any] = getattr(robots, name)(
        exclude_current_positions_from_observation=False, **kwargs
    )
    return robot


# ---------------------------------------------------------------- argument checks


def checked_width(start_width: ArrayLike) -> NDArray[np.float64]:
    """The half widths as an array (4,). Raises ValueError unless they are 4 finite numbers ≥ 0."""
    width = np.array(start_width, dtype=float)
    if width.shape != (4,) or not np.all(np.isfinite(width) & (width >= 0)):
        raise ValueError(
            f"start_width must be 4 finite numbers >= 0, got {start_width!r}"
        )
    return width


def checked_force(action: ArrayLike) -> float:
    """The force (N), clipped to its bounds. Raises ValueError unless it is one finite number in an array (1,)."""
    given = np.asarray(action, dtype=float)
    if given.shape != (1,) or not math.isfinite(given[0]):
        raise ValueError(
            f"action must be one finite number in an array of shape (1,), got {action!r}"
        )
    return min(max(float(given[0]), -MAX_FORCE), MAX_FORCE)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

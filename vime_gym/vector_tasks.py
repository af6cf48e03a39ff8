"""The tasks of `vime_gym.tasks`, many at a time: one call moves all cars, or all carts and poles.

    envs = gymnasium.make_vec("vime_ref/SparseMountainCar-v0", 10)

The same seed and actions give bit-identical episodes to Gymnasium's SyncVectorEnv of the scalar tasks.
Each environment keeps a scalar task, which starts its episodes and draws them.

Axes: n environments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from bnn_ref import check_count, check_flags, check_kind
from vime_gym.tasks import (
    MAX_DISTANCE,
    MAX_FORCE,
    STEP_SECONDS,
    UPRIGHT_COSINE,
    DenseMountainCar,
    SparseCartPoleSwingup,
    SparseMountainCar,
    accelerations,
    action_array,
    height,
    runge_kutta_step,
)

if TYPE_CHECKING:
    AnyVectorEnv = VectorEnv[Any, Any, Any]
else:
    AnyVectorEnv = VectorEnv

# ---------------------------------------------------------------- constants

# Gymnasium's car. A test holds them to its attributes.
POWER = 0.0015
SLOPE = 0.0025
MIN_POSITION = -1.2
MAX_POSITION = 0.6
MAX_SPEED = 0.07
GOAL_POSITION = 0.45

# ---------------------------------------------------------------- types

# The observations (n, K), the rewards, and terminated, (n,) each.
Moved = tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]


class TaskVector(AnyVectorEnv):
    """Base class: n tasks that step together, each with an episode and a random generator of its own.

    Actions (n, 1). Observations (n, K), rewards (n,) float64, terminated and truncated (n,), and no info.
    After its end, an episode starts again at the next step: Gymnasium's autoreset mode NEXT_STEP.
    That step ignores the environment's action and has reward 0.

    `max_episode_steps` truncates episodes; None and −1 mean no limit.
    `render_mode="rgb_array"` draws a tuple of n pictures.

    Raises ValueError unless every action is finite and their shape is (n, 1). A rejected step changes nothing.
    Raises gymnasium.error.ResetNeeded on a step or a picture before the first reset.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        num_envs: int,
        max_episode_steps: int | None,
    ) -> None:
        self.num_envs = check_count("num_envs", num_envs)
        self.max_steps = checked_limit(max_episode_steps)
        self.tasks = [make() for _ in range(self.num_envs)]
        task = self.tasks[0]
        self.render_mode = task.render_mode
        autoreset = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.metadata: dict[str, Any] = task.metadata | autoreset
        self.single_observation_space = task.observation_space
        self.single_action_space = task.action_space
        self.observation_space = batch_space(task.observation_space, self.num_envs)
        self.action_space = batch_space(task.action_space, self.num_envs)

        # Before the first reset.
        self.started = False
        self.observed = np.zeros(
            self.observation_space.shape or (), task.observation_space.dtype
        )
        self.num_steps = np.zeros(self.num_envs, int)
        self.ended = np.zeros(self.num_envs, bool)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """The observations (n, K) after new starts.

        An int seeds environment i with seed + i; a list holds n seeds.
        `options["reset_mask"]` (n,) names the environments that start anew; the others keep their episodes.
        The scalar tasks take the other options.
        """
        seeds = checked_seeds(seed, self.num_envs)
        mask, others = split_options(options, self.num_envs)
        if not (self.started or mask.all()):
            raise ResetNeeded("the first reset must reset every environment")
        rows = np.flatnonzero(mask)
        self._start(rows, [seeds[row] for row in rows], others)
        self.ended[rows] = False
        self.started = True
        return self.observed.copy(), {}

    def step(
        self, actions: ArrayLike
    ) -> tuple[NDArray[Any], Any, Any, Any, dict[str, Any]]:
        """Observations (n, K), rewards, terminated and truncated (n,) after one action (n, 1) each."""
        self._check_started()
        shape = self.num_envs, 1
        pushes = action_array(actions, shape, "actions")[:, 0]  # (n,)

        # Move.
        self.observed, paid, terminated = self._moved(pushes)
        rewards = paid.astype(float)
        self.num_steps += 1
        truncated = self.num_steps >= self.max_steps

        # Start again, where the last step was an end.
        if np.count_nonzero(self.ended):
            rows = np.flatnonzero(self.ended)
            self._start(rows, [None] * len(rows), None)
            for values in (rewards, terminated, truncated):
                values[rows] = 0
        self.ended = terminated | truncated
        return self.observed.copy(), rewards, terminated, truncated, {}

    def render(self) -> tuple[Any, ...] | None:
        """The pictures (H, W, 3), one for each environment, or None without a render mode."""
        if self.render_mode is None:
            return None
        self._check_started()
        for row, task in enumerate(self.tasks):
            task.state = self._state(row)
        return tuple(task.render() for task in self.tasks)

    @property  # type: ignore[misc]  # read-only, as in Gymnasium's SyncVectorEnv
    def np_random(self) -> Any:
        """The random generator of each environment."""
        return tuple(task.np_random for task in self.tasks)

    @property
    def np_random_seed(self) -> Any:
        """The seed of each environment's generator."""
        return tuple(task.np_random_seed for task in self.tasks)

    def _start(
        self,
        rows: NDArray[np.intp],
        seeds: Sequence[Any],
        options: dict[str, Any] | None,
    ) -> None:
        """Start an episode in these rows."""
        tasks = [self.tasks[row] for row in rows]
        starts = [
            task.reset(seed=seed, options=options)[0]
            for task, seed in zip(tasks, seeds)
        ]
        self.observed[rows] = starts
        self.num_steps[rows] = 0
        self._place(rows, np.array([task.state for task in tasks]))

    def _check_started(self) -> None:
        if not self.started:
            name = type(self).__name__
            raise ResetNeeded(f"{name} must be reset before its first step")

    def _place(self, rows: NDArray[np.intp], states: NDArray[np.float64]) -> None:
        """Take the states of rows whose episodes start."""
        raise NotImplementedError

    def _state(self, row: int) -> Any:
        """The state of an environment, as its scalar task has it."""
        raise NotImplementedError

    def _moved(self, pushes: NDArray[Any]) -> Moved:
        """The states, rewards and ends after the actions (n,)."""
        raise NotImplementedError


# ---------------------------------------------------------------- MountainCar


class SparseMountainCarVector(TaskVector):
    """Several `vime_gym.tasks.SparseMountainCar`: reward 1 on reaching the goal, else 0.

    Observation (n, 2), float32: positions from −1.2 to 0.6 and velocities from −0.07 to 0.07.
    Action (n, 1): the forces, clipped to −1 to 1 and rounded to float32.
    The other arguments and the errors are those of the scalar task.
    """

    scalar = SparseMountainCar

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 500,
        render_mode: str | None = None,
        goal_velocity: float = 0.0,
    ) -> None:
        def make() -> SparseMountainCar:
            return self.scalar(render_mode, goal_velocity)

        super().__init__(make, num_envs, max_episode_steps)
        self.goal_velocity = float(self.tasks[0].goal_velocity)
        self.starts = np.zeros(self.num_envs)  # unrounded positions
        self.placed = False

    def _place(self, rows: NDArray[np.intp], states: NDArray[np.float64]) -> None:
        self.starts[rows] = states[:, 0]
        self.placed = True

    def _state(self, row: int) -> Any:
        begins = self.num_steps[row] == 0
        return np.array([self.starts[row], 0.0]) if begins else self.observed[row]

    def _moved(self, pushes: NDArray[Any]) -> Moved:
        forces = np.minimum(np.maximum(pushes, -1.0), 1.0)
        forces = forces.astype(np.float32, copy=False)
        goal_velocity = self.goal_velocity
        position, velocity = self.observed.T  # (n,) each
        moved, solved = car_step(position, velocity, forces, goal_velocity)

        # First steps, from positions that are not rounded.
        if self.placed:
            rows = np.flatnonzero(self.num_steps == 0)
            start = self.starts[rows]
            rest = np.zeros(len(rows))
            first = car_step(start, rest, forces[rows], goal_velocity)
            moved[rows], solved[rows] = first
            self.placed = False
        return moved, solved, solved


class DenseMountainCarVector(SparseMountainCarVector):
    """Several `vime_gym.tasks.DenseMountainCar`: reward −1 + height, as SparseMountainCarVector otherwise."""

    scalar = DenseMountainCar

    def _moved(self, pushes: NDArray[Any]) -> Moved:
        observations, _, solved = super()._moved(pushes)
        positions = observations[:, 0].astype(float)  # (n,)
        rewards = height(sines(3.0 * positions)) - 1.0  # (n,)
        return observations, rewards, solved


def car_step(
    position: NDArray[Any],
    velocity: NDArray[Any],
    force: NDArray[np.float32],
    goal_velocity: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Observations (m, 2) after one step of m cars, and whether each is at the goal.

    Gymnasium's car computes in float64 in the first step of an episode and in float32 in all others.
    Here positions and velocities (m,) of one of these types are computed in that type.
    """
    # The slope pulls, the motor pushes.
    pull = SLOPE * cosines(3 * position)
    push = force * POWER - pull.astype(np.float32)
    velocity = velocity + push
    velocity = np.minimum(np.maximum(velocity, -MAX_SPEED), MAX_SPEED)
    position = position + velocity
    position = np.minimum(np.maximum(position, MIN_POSITION), MAX_POSITION)

    # The wall on the left stops the car.
    velocity[(position == MIN_POSITION) & (velocity < 0)] = 0

    solved = (position >= GOAL_POSITION) & (velocity >= goal_velocity)
    observations = np.empty((len(position), 2), np.float32)
    observations[:, 0] = position
    observations[:, 1] = velocity
    return observations, solved


# ---------------------------------------------------------------- cart and pole


class SparseCartPoleSwingupVector(TaskVector):
    """Several `vime_gym.tasks.SparseCartPoleSwingup`: reward 1 for a step that ends with cos θ > 0.8, else 0.

    Observation (n, 5): x (m), ẋ (m/s), cos θ, sin θ, θ̇ (rad/s), with θ measured from upright.
    Action (n, 1): the forces on the carts, clipped to −10 to 10 N. A step is 0.05 s.
    The other arguments and the errors are those of the scalar task.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 500,
        start_width: ArrayLike = (0.05, 0.05, 0.05, 0.05),
        render_mode: str | None = None,
    ) -> None:
        def make() -> SparseCartPoleSwingup:
            return SparseCartPoleSwingup(start_width, render_mode)

        super().__init__(make, num_envs, max_episode_steps)
        self.states = np.zeros((4, self.num_envs))  # x, ẋ, θ, θ̇

    def _place(self, rows: NDArray[np.intp], states: NDArray[np.float64]) -> None:
        self.states[:, rows] = states.T

    def _state(self, row: int) -> Any:
        return tuple(self.states[:, row].tolist())

    def _moved(self, pushes: NDArray[Any]) -> Moved:
        forces = pushes.astype(float, copy=False)
        forces = np.minimum(np.maximum(forces, -MAX_FORCE), MAX_FORCE)
        states = runge_kutta_step(pole_accelerations, self.states, forces, STEP_SECONDS)
        self.states[:] = states

        x, x_velocity, theta, theta_velocity = states
        cos = cosines(theta)
        columns = x, x_velocity, cos, sines(theta), theta_velocity
        observations = np.array(columns).T.copy()  # (n, 5)
        terminated = abs(x) > MAX_DISTANCE
        return observations, (cos > UPRIGHT_COSINE) & ~terminated, terminated


def pole_accelerations(theta: Any, theta_velocity: Any, force: Any) -> tuple[Any, Any]:
    """`vime_gym.tasks.cart_pole_acceleration` of arrays (n,)."""
    return accelerations(cosines(theta), sines(theta), theta_velocity, force)


# ---------------------------------------------------------------- functions of angles


def cosines(angles: NDArray[Any]) -> NDArray[np.float64]:
    """The cosines (n,) by the scalar tasks' `math.cos`; `numpy.cos` may differ in the last bit on some machines."""
    return np.fromiter(map(math.cos, angles.tolist()), float, len(angles))


def sines(angles: NDArray[Any]) -> NDArray[np.float64]:
    """The sines (n,) by `math.sin`."""
    return np.fromiter(map(math.sin, angles.tolist()), float, len(angles))


# ---------------------------------------------------------------- argument checks


def checked_limit(max_episode_steps: int | None) -> float:
    """The steps of an episode. Raises ValueError unless they are None, −1 or ≥ 1."""
    if max_episode_steps is None or max_episode_steps == -1:
        return math.inf
    return check_count("max_episode_steps", max_episode_steps)


def checked_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """The seed of each environment. Raises ValueError unless it is None, a whole number ≥ 0, or n of them."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, list | tuple) or np.ndim(seed) == 1:
        if len(seed) != num_envs:
            raise ValueError(f"seed must hold {num_envs} seeds, got {len(seed)}")
        return [None if each is None else check_count("seed", each, 0) for each in seed]
    first = check_count("seed", seed, 0)
    return [first + row for row in range(num_envs)]


def split_options(
    options: dict[str, Any] | None, num_envs: int
) -> tuple[NDArray[np.bool_], dict[str, Any] | None]:
    """The rows (n,) to reset, and the other options. Raises ValueError if `reset_mask` names no row."""
    everything: NDArray[np.bool_] = np.ones(num_envs, bool)
    if options is None:
        return everything, None
    check_kind("options", options, dict)
    others = {key: value for key, value in options.items() if key != "reset_mask"}
    mask = options.get("reset_mask", everything)
    rows: Any = check_flags("options['reset_mask']", mask, (num_envs,))
    if not rows.any():
        raise ValueError("options['reset_mask'] must name an environment, got none")
    return rows, others


# ---------------------------------------------------------------- what `help` shows

__all__ = [
    "SparseMountainCarVector", "DenseMountainCarVector", "SparseCartPoleSwingupVector",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

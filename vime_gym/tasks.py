"""The paper's tasks and small ones, registered with Gymnasium under `vime_ref/` when this module is imported.

`SparseHalfCheetah` and `Walker2D` need MuJoCo, an extra: pip install -e '.[mujoco]'. The others need nothing more.
The small ones (`BernoulliBandit`, `Chain`, `DeepSea`, `KeyDoorMaze`, `NoisyTV`) have numbered states, a table's index;
`observation` shows the state as numbers or as an image instead, for a network.
`Labyrinth` shows pixels of what is near and nothing else: its agent has to remember.

Sources: [VIME] Houthooft et al. 2016, arXiv 1605.09674, and the original code openai/vime, for the reward rules;
rllab, on which the original runs, for the cart and the pole; bsuite, arXiv 1908.03568 (google-deepmind/bsuite), for
DeepSea and its score; [Chain] Osband et al. 2016, arXiv 1602.04621; [TV] Burda et al. 2018, arXiv 1808.04355;
[UNREAL] Jaderberg et al. 2016, arXiv 1611.05397, for the labyrinth.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import Continuous_MountainCarEnv
from gymnasium.error import DependencyNotInstalled, ResetNeeded
from numpy.typing import ArrayLike, NDArray

from bnn_ref import check_choice, check_count

# ---------------------------------------------------------------- constants

# Cart and pole: masses and length are those of rllab's model and of CartPole-v1, gravity is CartPole-v1's.
CART_MASS = 1.0  # kg
POLE_MASS = 0.1  # kg, spread evenly along the pole
POLE_HALF_LENGTH = 0.5  # m, from the pivot to the centre of mass
GRAVITY = 9.8  # m/s²
MAX_FORCE = 10.0  # N, this and the following by the original's rule
STEP_SECONDS = 0.05
MAX_DISTANCE = 3.0  # m
UPRIGHT_COSINE = 0.8

# DeepSea, by bsuite's rule.
DEEP_SEA_SIZES = range(10, 51, 2)
MOVE_COST = 0.01  # of N moves to the right together

# Drawn rooms: an image holds the place of each sign in SIGNS, a picture its colour.
COLOURS = {
    " ": (255, 255, 255),  # floor
    "#": (60, 60, 60),  # wall
    "K": (240, 200, 0),  # key
    "D": (140, 80, 20),  # door
    "G": (0, 160, 0),  # goal
    "T": (170, 210, 255),  # place before the television
    "A": (210, 0, 0),  # agent
    "*": (0, 0, 255),  # lit piece of the screen
}
SIGNS = "".join(COLOURS)
DRAWN = {
    "render_modes": ["rgb_array"],
    "render_fps": 10,
}  # metadata of what can be drawn
MOVES = (
    (-1, 0),
    (0, 1),
    (1, 0),
    (0, -1),
)  # (row, column) of the actions: 0 up, 1 right, 2 down, 3 left
KEY_DOOR_MAZE = (
    "#########",
    "#A  #   #",
    "# # # # #",
    "# # # # #",
    "# # D # #",
    "# # # # #",
    "# # # # #",
    "#K# #  G#",
    "#########",
)
TV_ROOM = (
    "#######",  # the screen: 7 pieces, each lit or not
    "#T    #",
    "##### #",
    "#  A  #",
    "# #####",
    "#    G#",
    "#######",
)

# The labyrinth: a map holds the numbers of these signs, a picture their colours.
FLOOR, WALL, APPLE, GOAL = range(4)
LABYRINTH_COLOURS = (COLOURS[" "], COLOURS["#"], (250, 150, 0), COLOURS["G"])
NUM_APPLES = 4
LABYRINTH_STEPS = 300  # of an episode
# What the line from the centre of a 5 by 5 window to each of its cells goes through: the cell at half the offset, or
# the two at either side, got by rounding to the centre and away from it.
BETWEEN = (
    np.ix_([1, 2, 2, 2, 3], [1, 2, 2, 2, 3]),
    np.ix_([1, 1, 2, 3, 3], [1, 1, 2, 3, 3]),
)

# ---------------------------------------------------------------- types

CartPoleState = tuple[
    float, float, float, float
]  # x (m), ẋ (m/s), θ from upright (rad), θ̇ (rad/s)
Step = tuple[
    int, float, bool, bool, dict[str, Any]
]  # state, reward, terminated, truncated, info

# ---------------------------------------------------------------- building blocks


def cart_pole_acceleration(
    theta: float, theta_velocity: float, force: float
) -> tuple[float, float]:
    """(ẍ, θ̈) in m/s² and rad/s² of a cart on a track with a thin pole on a pivot, both without friction.

    The tip is at x + 2l sin θ and height 2l cos θ, M and m are the masses of cart and pole, F pushes the cart along x:

        L = ½(M + m)ẋ² + m l ẋ θ̇ cos θ + ⅔ m l² θ̇² − m g l cos θ
        (M + m)ẍ + m l (θ̈ cos θ − θ̇² sin θ) = F        (d/dt ∂L/∂ẋ − ∂L/∂x = F)
        ⁴⁄₃ l θ̈ + ẍ cos θ − g sin θ = 0                 (d/dt ∂L/∂θ̇ − ∂L/∂θ = 0, divided by m l)

    The second line gives θ̈; put into the first it gives ẍ.
    """
    cos, sin = math.cos(theta), math.sin(theta)
    pull = (
        POLE_MASS
        * (POLE_HALF_LENGTH * theta_velocity * theta_velocity - 0.75 * GRAVITY * cos)
        * sin
    )
    x_acceleration = (force + pull) / (
        CART_MASS + POLE_MASS - 0.75 * POLE_MASS * cos * cos
    )
    return x_acceleration, 0.75 * (
        GRAVITY * sin - x_acceleration * cos
    ) / POLE_HALF_LENGTH


def cart_pole_step(state: CartPoleState, force: float, seconds: float) -> CartPoleState:
    """The state after `seconds` under a constant force (N): one step of the classical fourth-order Runge-Kutta rule."""
    x, v1, theta, w1 = state
    half = 0.5 * seconds
    a1, b1 = cart_pole_acceleration(theta, w1, force)
    v2, w2 = v1 + half * a1, w1 + half * b1
    a2, b2 = cart_pole_acceleration(theta + half * w1, w2, force)
    v3, w3 = v1 + half * a2, w1 + half * b2
    a3, b3 = cart_pole_acceleration(theta + half * w2, w3, force)
    v4, w4 = v1 + seconds * a3, w1 + seconds * b3
    a4, b4 = cart_pole_acceleration(theta + seconds * w3, w4, force)
    sixth = seconds / 6.0
    return (
        x + sixth * (v1 + 2.0 * (v2 + v3) + v4),
        v1 + sixth * (a1 + 2.0 * (a2 + a3) + a4),
        theta + sixth * (w1 + 2.0 * (w2 + w3) + w4),
        w1 + sixth * (b1 + 2.0 * (b2 + b3) + b4),
    )


def mujoco_env(task: str, module: str, name: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Gymnasium's MuJoCo robot `name`, with its x in the observation.

    Raises: gymnasium.error.DependencyNotInstalled, which names the task and the extra, where MuJoCo is missing.
    """
    try:
        robots = import_module(f"gymnasium.envs.mujoco.{module}")
    except (ImportError, DependencyNotInstalled) as error:
        raise DependencyNotInstalled(
            f"{task} needs mujoco: pip install -e '.[mujoco]'"
        ) from error
    robot: gym.Env[Any, Any] = getattr(robots, name)(
        exclude_current_positions_from_observation=False, **kwargs
    )
    return robot


def deep_sea_solved(wrong: Sequence[bool], *, threshold: float = 0.9) -> int | None:
    """The first episode, counted from 1, after which the share of episodes with a wrong move is < `threshold`.

    `wrong` tells of each episode whether it had one, `info["wrong"]` of its last step; None if the share never is.
    0.9 is the threshold that bsuite's figures name; the default in its code is 0.8.

    >>> deep_sea_solved([True] * 9 + [False]), deep_sea_solved([True] * 9 + [False] * 2)
    (None, 11)

    Raises: ValueError unless the threshold is in (0, 1].
    """
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    total = 0
    for episode, had_one in enumerate(wrong, 1):
        total += bool(had_one)
        if total / episode < threshold:
            return episode
    return None


def deep_sea_score(solved: Mapping[int, int | None]) -> float:
    """Share of the sizes N that were solved before episode 2ᴺ + 100, where a random walk has one success to expect.

    `solved[N]` is what `deep_sea_solved` says of size N. The published score takes `DEEP_SEA_SIZES`, with at most
    10 000 episodes each. Raises: ValueError without any size.
    """
    if not solved:
        raise ValueError("solved must have at least one size, got none")
    early = [
        episode is not None and episode < 2**size + 100
        for size, episode in solved.items()
    ]
    return sum(early) / len(early)


# ---------------------------------------------------------------- the paper's tasks


class SparseMountainCar(gym.Wrapper[Any, Any, Any, Any]):
    """MountainCarContinuous-v0 that pays 1 on reaching the goal and 0 otherwise; no cost of action.

    Observation (2,): position from −1.2 to 0.6 and velocity from −0.07 to 0.07. Action (1,): force from −1 to 1.
    An episode terminates at the goal, position ≥ 0.45 and not moving left, and is truncated after 500 steps.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Continuous_MountainCarEnv(**kwargs))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, float(terminated), terminated, truncated, info


gym.register(
    id="vime_ref/SparseMountainCar-v0",
    entry_point=SparseMountainCar,
    max_episode_steps=500,
)


class SparseCartPoleSwingup(gym.Env[NDArray[np.float64], NDArray[np.float64]]):
    """A pole that hangs from a cart and has to be swung up: pays 1 for a step that ends with cos θ > 0.8, else 0.

    Observation (5,): x (m), ẋ (m/s), cos θ, sin θ, θ̇ (rad/s), with θ measured from upright. Action (1,): the force on
    the cart from −10 to 10 N, clipped to that. A step is 0.05 s. An episode terminates, unpaid, at |x| > 3 m and is
    truncated after 500 steps. A policy that begins with a force of about 1 N never sees a reward.

    `start_width` (4,) is the half width of the uniform start around x = ẋ = θ̇ = 0, θ = π; its default, hanging nearly
    at rest, is CartPole-v1's. Departures from the original: it starts from the widths (1, 2, 1, 3), observes θ itself,
    and lets Box2D move cart and pole, with a little friction. Source: CartpoleSwingupEnvX in openai/vime.

    Raises: ValueError unless `start_width` is 4 finite numbers ≥ 0 and every action one finite number in an array (1,);
    gymnasium.error.ResetNeeded by a step before the first reset.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  as in gymnasium.Env

    def __init__(self, start_width: ArrayLike = (0.05, 0.05, 0.05, 0.05)) -> None:
        width = np.array(start_width, dtype=float)
        if width.shape != (4,) or not np.all(np.isfinite(width) & (width >= 0)):
            raise ValueError(
                f"start_width must be 4 finite numbers >= 0, got {start_width!r}"
            )
        self.start_width = width
        self.state: CartPoleState | None = None
        self.action_space = gym.spaces.Box(-MAX_FORCE, MAX_FORCE, (1,), np.float64)
        high = np.array([np.inf, np.inf, 1.0, 1.0, np.inf])
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        x, x_velocity, angle, theta_velocity = self.np_random.uniform(
            -self.start_width, self.start_width
        ).tolist()
        self.state = x, x_velocity, math.pi + angle, theta_velocity
        return self._observation(self.state), {}

    def step(
        self, action: ArrayLike
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        if self.state is None:
            raise ResetNeeded(
                "SparseCartPoleSwingup must be reset before its first step"
            )
        given = np.asarray(action, dtype=float)
        if given.shape != (1,) or not math.isfinite(given[0]):
            raise ValueError(
                f"action must be one finite number in an array of shape (1,), got {action!r}"
            )
        force = min(max(float(given[0]), -MAX_FORCE), MAX_FORCE)
        self.state = cart_pole_step(self.state, force, STEP_SECONDS)
        observation = self._observation(self.state)
        terminated = abs(self.state[0]) > MAX_DISTANCE
        upright = bool(observation[2] > UPRIGHT_COSINE)
        return observation, float(upright and not terminated), terminated, False, {}

    @staticmethod
    def _observation(state: CartPoleState) -> NDArray[np.float64]:
        x, x_velocity, theta, theta_velocity = state
        return np.array(
            [x, x_velocity, math.cos(theta), math.sin(theta), theta_velocity]
        )


gym.register(
    id="vime_ref/SparseCartPoleSwingup-v0",
    entry_point=f"{__name__}:SparseCartPoleSwingup",
    max_episode_steps=500,
)


class SparseHalfCheetah(gym.Wrapper[Any, Any, Any, Any]):
    """HalfCheetah-v5 that pays 1 for a step that ends with the torso at x > 5 m and 0 otherwise; no cost of action.

    Observation (18,): positions, the torso's x first, then velocities. Action (6,): torques from −1 to 1.
    A step is 0.01 s of physics (frame_skip 1). An episode never terminates and is truncated after 500 steps.
    Departure: the original reads x from the centre of mass of the whole robot. Source: HalfCheetahEnvX in openai/vime.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            mujoco_env(
                "SparseHalfCheetah",
                "half_cheetah_v5",
                "HalfCheetahEnv",
                frame_skip=1,
                **kwargs,
            )
        )

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, float(info["x_position"] > 5.0), terminated, truncated, info


gym.register(
    id="vime_ref/SparseHalfCheetah-v0",
    entry_point=SparseHalfCheetah,
    max_episode_steps=500,
)


class Walker2D(gym.Wrapper[Any, Any, Any, Any]):
    """Walker2d-v5 that pays (x′ − x)/Δt − 0.001·‖a‖²: forward speed (m/s) less cost of action, nothing for standing.

    Observation (18,): positions, the torso's x first, then velocities clipped to ±10. Action (6,): torques, −1 to 1.
    A step is Δt = 0.008 s of physics (frame_skip 4). An episode terminates on a fall, torso height outside (0.8, 2) m
    or tilt outside (−1, 1) rad, and is truncated after 500 steps. Step length and cost weight are Walker2d-v5's.
    Departure: rllab's Walker2D steps by 0.005 s and weighs the cost by 0.005.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            mujoco_env(
                "Walker2D", "walker2d_v5", "Walker2dEnv", healthy_reward=0.0, **kwargs
            )
        )


gym.register(id="vime_ref/Walker2D-v0", entry_point=Walker2D, max_episode_steps=500)


# ---------------------------------------------------------------- small tasks


class NumberedTask(gym.Env[Any, Any]):
    """What the small tasks share: a state that is a number, actions that are numbers, and views of the state.

    A view's name is that of the method that shows it; `views` gives the space of each.

    Raises: ValueError for an unknown view or an action out of range; gymnasium.error.ResetNeeded by a step before the
    first reset or after the end of an episode.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  as in gymnasium.Env

    def __init__(
        self, num_actions: int, views: Mapping[str, gym.Space[Any]], observation: str
    ) -> None:
        check_choice("observation", observation, tuple(views))
        self.num_actions = num_actions
        self.action_space = gym.spaces.Discrete(num_actions)
        self.observation_space = views[observation]
        self.view = getattr(self, observation)
        self.state, self.ended = 0, True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state, self.ended = self.start(), False
        return self.view(self.state), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.ended:
            raise ResetNeeded(
                f"{type(self).__name__} must be reset before its first step and after its last"
            )
        if not (
            isinstance(action, (int, np.integer)) and 0 <= action < self.num_actions
        ):
            raise ValueError(
                f"action must be a whole number from 0 to {self.num_actions - 1}, got {action!r}"
            )
        self.state, reward, terminated, truncated, info = self.move(
            self.state, int(action)
        )
        self.ended = terminated or truncated
        return self.view(self.state), reward, terminated, truncated, info

    def start(self) -> int:
        """The state in which an episode begins."""
        return 0

    @abstractmethod
    def move(self, state: int, action: int) -> Step:
        """What an action does in a state."""

    def index(self, state: int) -> int:
        return state


class BernoulliBandit(NumberedTask):
    """K arms: the reward of arm a is 1 with probability `means[a]`, else 0, and that is the whole episode.

    Observation: 0, always. Action: the arm, 0 to K − 1. Every step terminates.
    Source: Auer, Cesa-Bianchi, Fischer 2002, whose bounds hold for such rewards.

    Raises: ValueError unless `means` is (K,) with K ≥ 1 and all of it in [0, 1].
    """

    def __init__(self, means: ArrayLike) -> None:
        arms = np.array(means, dtype=float)
        if arms.ndim != 1 or arms.size == 0 or not np.all((arms >= 0) & (arms <= 1)):
            raise ValueError(f"means must be probabilities (K,), K >= 1, got {means!r}")
        self.means: list[float] = arms.tolist()
        super().__init__(len(self.means), {"index": gym.spaces.Discrete(1)}, "index")

    def move(self, state: int, action: int) -> Step:
        return (
            state,
            float(self.np_random.random() < self.means[action]),
            True,
            False,
            {},
        )


gym.register(
    id="vime_ref/BernoulliBandit-v0", entry_point=f"{__name__}:BernoulliBandit"
)


class Chain(NumberedTask):
    """N states in a row, the start second from the left: a small reward is near, a large one far.

    Action 0 goes left, 1 right, and at an end nowhere. A step to the left from the left end pays 0.001, one to the
    right from the right end pays 1. An episode never terminates and is truncated after N + 8 steps, so that the best
    return is 10, by going right. Deterministic.

    `observation`: "index", 0 to N − 1; "onehot" (N,); "coordinates" (1,), the state from 0 to 1.
    Source: [Chain]; the number of steps is that of facebookresearch/RandomizedValueFunctions.

    Raises: ValueError unless `size`, N, is a whole number ≥ 3.
    """

    def __init__(self, size: int, observation: str = "index") -> None:
        check_count("size", size, 3)
        self.size, self.steps = size, 0
        views: dict[str, gym.Space[Any]] = {
            "index": gym.spaces.Discrete(size),
            "onehot": gym.spaces.Box(0, 1, (size,), np.float64),
            "coordinates": gym.spaces.Box(0, 1, (1,), np.float64),
        }
        super().__init__(2, views, observation)

    def start(self) -> int:
        self.steps = 0
        return 1

    def move(self, state: int, action: int) -> Step:
        self.steps += 1
        new = min(max(state + (1 if action else -1), 0), self.size - 1)
        reward = (1.0 if action else 0.001) if new == state else 0.0
        return new, reward, False, self.steps == self.size + 8, {}

    def onehot(self, state: int) -> NDArray[np.float64]:
        return np.eye(1, self.size, state)[0]

    def coordinates(self, state: int) -> NDArray[np.float64]:
        return np.array([state / (self.size - 1)])


gym.register(id="vime_ref/Chain-v0", entry_point=f"{__name__}:Chain")


class DeepSea(NumberedTask):
    """A diver sinks through N by N cells, a row a step, and finds the treasure only by N moves to the right.

    The start is row 0, column 0. Each step goes a row down and a column to the right, which costs 0.01/N, or to the
    left, which is free; at a wall it goes straight down. A move to the right in the last column pays 1 more. The best
    return is 0.99; a random walk gets it with probability 2⁻ᴺ. An episode terminates after N steps. Deterministic.

    Which of the actions 0 and 1 goes right is drawn for each cell by `mapping_seed`, with bsuite's generator and, by
    default, its seed; with `randomize_actions=False` it is 1 everywhere. `info["wrong"]` is True from the first move
    of the episode that leaves the diagonal.

    `observation`: "index", N·row + column, N² after the last step wherever that ended; "onehot" (N²,), all zeros at
    the end as in bsuite; "coordinates" (2,), (row, column)/N, (1, 0) at the end.
    Source: bsuite, without its variant with noise.

    Raises: ValueError unless `size`, N, is a whole number ≥ 2.
    """

    def __init__(
        self,
        size: int,
        observation: str = "index",
        *,
        randomize_actions: bool = True,
        mapping_seed: int = 42,
    ) -> None:
        check_count("size", size, 2)
        self.size = size
        random = np.random.RandomState(mapping_seed).binomial(1, 0.5, size * size)
        self.right: list[int] = (
            random.tolist() if randomize_actions else [1] * size * size
        )  # action that goes right
        views: dict[str, gym.Space[Any]] = {
            "index": gym.spaces.Discrete(size * size + 1),
            "onehot": gym.spaces.Box(0, 1, (size * size,), np.float64),
            "coordinates": gym.spaces.Box(0, 1, (2,), np.float64),
        }
        super().__init__(2, views, observation)

    def move(self, state: int, action: int) -> Step:
        size = self.size
        row, column = divmod(state, size)
        right = action == self.right[state]
        reward = (float(column == size - 1) - MOVE_COST / size) if right else 0.0
        info = {
            "wrong": column < row or not right
        }  # nothing leads back to the diagonal
        if row == size - 1:
            return size * size, reward, True, False, info
        column = min(column + 1, size - 1) if right else max(column - 1, 0)
        return (row + 1) * size + column, reward, False, False, info

    def onehot(self, state: int) -> NDArray[np.float64]:
        return np.eye(1, self.size**2, state)[0]

    def coordinates(self, state: int) -> NDArray[np.float64]:
        return np.array(divmod(state, self.size)) / self.size


gym.register(id="vime_ref/DeepSea-v0", entry_point=f"{__name__}:DeepSea")


class DrawnTask(NumberedTask):
    """What the rooms share: a walk from A over the cells of a drawing, # being wall; G pays 1 and terminates.

    The actions are `MOVES`; a move into a wall goes nowhere. Beside the cell, a state has a level, from 0 up: the key
    in the hand, the picture on the screen. State = cells · level + cell, the cells numbered in reading order.

    `observation`: "image" (H, W), places in `SIGNS`; "index", the state; "coordinates" (3,), row, column and level,
    each from 0 to 1. `render_mode="rgb_array"` draws a cell as 16 by 16 pixels.
    """

    metadata: dict[str, Any] = DRAWN

    def __init__(
        self,
        drawing: Sequence[str],
        num_levels: int,
        observation: str,
        render_mode: str | None,
    ) -> None:
        self.cells = [
            (r, c)
            for r, line in enumerate(drawing)
            for c, sign in enumerate(line)
            if sign != "#"
        ]
        self.places = {
            drawing[r][c]: n for n, (r, c) in enumerate(self.cells)
        }  # the cell of each sign
        number = {cell: n for n, cell in enumerate(self.cells)}
        self.next_cells = [
            [number.get((r + down, c + right), n) for down, right in MOVES]
            for n, (r, c) in enumerate(self.cells)
        ]
        self.drawing = np.array(
            [
                [SIGNS.index(sign) for sign in line.replace("A", " ")]
                for line in drawing
            ],
            np.uint8,
        )
        self.largest = np.array([*np.subtract(self.drawing.shape, 1), num_levels - 1])
        if render_mode is not None:
            check_choice("render_mode", render_mode, ("rgb_array",))
        self.render_mode = render_mode
        views: dict[str, gym.Space[Any]] = {
            "image": gym.spaces.Box(0, len(SIGNS) - 1, self.drawing.shape, np.uint8),
            "index": gym.spaces.Discrete(len(self.cells) * num_levels),
            "coordinates": gym.spaces.Box(0, 1, (3,), np.float64),
        }
        super().__init__(len(MOVES), views, observation)

    def start(self) -> int:
        return self.places["A"]

    def move(self, state: int, action: int) -> Step:
        old_level, old = divmod(state, len(self.cells))
        cell, level, info = self.walk(old, self.next_cells[old][action], old_level)
        goal = cell == self.places["G"]
        return len(self.cells) * level + cell, float(goal), goal, False, info

    @abstractmethod
    def walk(self, old: int, new: int, level: int) -> tuple[int, int, dict[str, Any]]:
        """The cell and the level after a move from cell `old` towards `new`, and what `info` says."""

    @abstractmethod
    def draw_level(self, image: NDArray[np.uint8], level: int) -> None:
        """Draws into the image what the level changes in it."""

    def image(self, state: int) -> NDArray[np.uint8]:
        level, cell = divmod(state, len(self.cells))
        image = self.drawing.copy()
        self.draw_level(image, level)
        image[self.cells[cell]] = SIGNS.index("A")
        return image

    def coordinates(self, state: int) -> NDArray[np.float64]:
        level, cell = divmod(state, len(self.cells))
        return np.array([*self.cells[cell], level]) / self.largest

    def render(self) -> Any:
        if self.render_mode is None:
            return None
        return (
            np.array([*COLOURS.values()], np.uint8)[self.image(self.state)]
            .repeat(16, axis=0)
            .repeat(16, axis=1)
        )


class KeyDoorMaze(DrawnTask):
    """A maze whose goal is behind a door, and the door opens to those who have the key.

    Rules, actions and observations are those of `DrawnTask` on `KEY_DOOR_MAZE`, 9 by 9. Stepping on K takes the key:
    it leaves the image, the level goes from 0 to 1, and the door, a wall until then, is a cell like others. The
    shortest way takes 24 steps; of random walks, 1.8 % arrive in the 200 steps after which an episode is truncated.
    Deterministic. Own design, after the key and the door of Montezuma's Revenge in [Counts], arXiv 1606.01868.
    """

    def __init__(
        self, observation: str = "image", render_mode: str | None = None
    ) -> None:
        super().__init__(KEY_DOOR_MAZE, 2, observation, render_mode)

    def walk(self, old: int, new: int, level: int) -> tuple[int, int, dict[str, Any]]:
        cell = old if new == self.places["D"] and not level else new
        return cell, int(level or cell == self.places["K"]), {}

    def draw_level(self, image: NDArray[np.uint8], level: int) -> None:
        if level:
            image[self.cells[self.places["K"]]] = SIGNS.index(" ")


gym.register(
    id="vime_ref/KeyDoorMaze-v0",
    entry_point=f"{__name__}:KeyDoorMaze",
    max_episode_steps=200,
)


class NoisyTV(DrawnTask):
    """A room with a goal at one end and, as far off at the other, a television that shows nothing but noise.

    Rules, actions and observations are those of `DrawnTask` on `TV_ROOM`, 7 by 7. The level is the picture on the
    screen, the top row of the image: 7 pieces, lit or not. Who stands on T sees at every step one of 2⁷ pictures, all
    equally likely, whatever was done or seen before; elsewhere the screen is dark, level 0. `info["watching"]` is True
    where a step ends on T. An episode is truncated after 100 steps. All but the screen is deterministic.

    The pictures come from a generator of their own, which each reset seeds from `np_random` and each step advances,
    watched or not: they repeat with the seed, and an explorer with the same seed does not share them.
    Source: [TV], whose television stands in a maze and changes on demand; here it changes by itself.
    """

    def __init__(
        self, observation: str = "image", render_mode: str | None = None
    ) -> None:
        self.num_pictures = 2 ** len(TV_ROOM[0])
        self.screen = np.random.default_rng(0)
        super().__init__(TV_ROOM, self.num_pictures, observation, render_mode)

    def start(self) -> int:
        self.screen = np.random.default_rng(self.np_random.integers(2**32, size=4))
        return super().start()

    def walk(self, old: int, new: int, level: int) -> tuple[int, int, dict[str, Any]]:
        picture = int(self.screen.integers(self.num_pictures))
        watching = new == self.places["T"]
        return new, picture if watching else 0, {"watching": watching}

    def draw_level(self, image: NDArray[np.uint8], level: int) -> None:
        lit = level >> np.arange(image.shape[1]) & 1
        image[0, lit == 1] = SIGNS.index("*")


gym.register(
    id="vime_ref/NoisyTV-v0", entry_point=f"{__name__}:NoisyTV", max_episode_steps=100
)


# ---------------------------------------------------------------- the labyrinth


def carve_maze(rooms: int, order: Sequence[int]) -> NDArray[np.bool_]:
    """Walls (H, W) of a maze, H = W = 2 · `rooms` + 1, with one way and no more between any two of its free cells.

    The cells with odd row and odd column are its rooms. The walls between neighbouring rooms, in reading order, are
    tried as `order` says; one goes where that joins rooms which were not joined (Kruskal's algorithm).

    Raises: ValueError unless `order` is a permutation of the numbers of those walls, 2 · rooms · (rooms − 1) of them.
    """
    size = 2 * rooms + 1
    between = [
        (r, c) for r in range(1, size - 1) for c in range(1, size - 1) if (r + c) % 2
    ]
    if sorted(order) != [*range(len(between))]:
        raise ValueError(
            f"order must be a permutation of 0 to {len(between) - 1}, got {order!r}"
        )
    walls = np.ones((size, size), bool)
    walls[1::2, 1::2] = False
    part = np.arange(size * size).reshape(
        size, size
    )  # the same number in rooms that are joined
    for r, c in (between[n] for n in order):
        one, other = (
            (part[r, c - 1], part[r, c + 1])
            if r % 2
            else (part[r - 1, c], part[r + 1, c])
        )
        if one != other:
            walls[r, c] = False
            part[part == other] = one
    return walls


class Labyrinth(NumberedTask):
    """A maze with apples and a goal, of which the agent sees only what is near, turned the way it faces.

    Actions: 0 turns left, 1 turns right, 2 goes a cell forward, 3 a cell back: turns rather than four moves, so that
    no view tells north, as in the first person. A move into a wall goes nowhere. An apple pays 1 and is gone. The goal
    pays 10, puts the apples back and the agent on a random free cell (no wall, apple or goal) with a random heading,
    where each episode starts as well. An episode never terminates and is truncated after 300 steps.

    Observation: uint8 pixels (20, 20, 3) of the 5 by 5 cells around the agent, 4 by 4 pixels each, what is ahead on
    top; the agent itself, in the centre, is not drawn. Beyond the maze all is wall, and so looks what walls hide: a
    cell is seen only if the middle of the line from the centre to it touches a free cell, at an edge or a corner too.
    Different places look alike, so that the observation is no state. `state` is 4 · cell + heading, cells numbered in
    reading order, walls included, headings as in `MOVES`; `maze` (H, W) tells which apples are left.
    `render_mode="rgb_array"` draws the whole maze and the agent, pointing where it faces, a cell as 16 by 16 pixels.

    Each reset draws walls, goal and 4 apples from `np_random`, or from `maze_seed`, which makes them always the same;
    where the agent starts comes from `np_random` either way. Source: [UNREAL] and [Lecture] "Results: labyrinth", in
    small: the original is seen in the first person. Sizes, number of apples and horizon are own choice.

    Raises: ValueError unless `rooms`, in a row and in a column, is a whole number ≥ 2, which makes the maze
    2 · rooms + 1 cells high and wide, and `maze_seed` None or a whole number ≥ 0, or for another `render_mode`.
    """

    metadata: dict[str, Any] = DRAWN

    def __init__(
        self,
        maze_seed: int | None = None,
        render_mode: str | None = None,
        *,
        rooms: int = 4,
    ) -> None:
        check_count("rooms", rooms, 2)
        if maze_seed is not None:
            check_count("maze_seed", maze_seed, 0)
        if render_mode is not None:
            check_choice("render_mode", render_mode, ("rgb_array",))
        self.rooms, self.maze_seed, self.render_mode = rooms, maze_seed, render_mode
        self.size = size = 2 * rooms + 1
        self.ahead = [
            down * size + right for down, right in MOVES
        ]  # from a cell to the next, by heading
        self.apples = self.free = np.zeros(0, int)
        self.surroundings = np.full(
            (size + 4, size + 4), WALL, np.uint8
        )  # the maze, two cells of wall around it
        places = np.arange(self.surroundings.size).reshape(self.surroundings.shape)
        windows = np.lib.stride_tricks.sliding_window_view(
            places, (5, 5)
        )  # (H, W, 5, 5)
        turned = [
            np.rot90(windows, heading, axes=(2, 3)) for heading in range(len(MOVES))
        ]
        self.cells = np.stack(turned, axis=2).reshape(
            -1, 5, 5
        )  # of each state's window, in surroundings.ravel()
        self.colours = np.array(LABYRINTH_COLOURS, np.uint8)
        super().__init__(
            4, {"image": gym.spaces.Box(0, 255, (20, 20, 3), np.uint8)}, "image"
        )

    @property
    def maze(self) -> NDArray[np.uint8]:
        """(H, W), FLOOR, WALL, APPLE or GOAL; a view, so that writing into it changes the labyrinth.

        Made anew each time, for a deep or pickled copy of the labyrinth parts a kept view from what it shows.
        """
        return self.surroundings[2:-2, 2:-2]

    def start(self) -> int:
        rng = (
            self.np_random
            if self.maze_seed is None
            else np.random.default_rng(self.maze_seed)
        )
        walls = carve_maze(
            self.rooms, rng.permutation(2 * self.rooms * (self.rooms - 1)).tolist()
        )
        goal, *others = rng.permutation(np.flatnonzero(~walls)).tolist()
        self.apples, self.free = np.split(np.array(others), [NUM_APPLES])
        self.maze[:] = np.where(walls, WALL, FLOOR)
        self.maze.flat[goal] = GOAL
        return self.respawn()

    def respawn(self) -> int:
        """Puts the apples back; the state in which the agent goes on."""
        self.maze.flat[self.apples] = APPLE
        place, heading = divmod(int(self.np_random.integers(4 * len(self.free))), 4)
        return 4 * int(self.free[place]) + heading

    def move(self, state: int, action: int) -> Step:
        cell, heading = divmod(state, 4)
        if action < 2:
            return (
                4 * cell + (heading + (1 if action else -1)) % 4,
                0.0,
                False,
                False,
                {},
            )
        new = cell + (self.ahead[heading] if action == 2 else -self.ahead[heading])
        sign = self.maze.flat[new]
        if sign == GOAL:
            return self.respawn(), 10.0, False, False, {}
        if sign == APPLE:
            self.maze.flat[new] = FLOOR
        return (
            state if sign == WALL else 4 * new + heading,
            float(sign == APPLE),
            False,
            False,
            {},
        )

    def image(self, state: int) -> NDArray[np.uint8]:
        window = self.surroundings.ravel()[self.cells[state]]
        one, other = (window[cells] == WALL for cells in BETWEEN)
        return (
            self.colours.take(np.where(one & other, WALL, window), axis=0)
            .repeat(4, axis=0)
            .repeat(4, axis=1)
        )

    def render(self) -> Any:
        if self.render_mode is None:
            return None
        picture = self.colours[self.maze].repeat(16, axis=0).repeat(16, axis=1)
        cell, heading = divmod(self.state, 4)
        row, column = divmod(cell, self.size)
        arrow = (
            np.abs(2 * np.arange(16) - 15) <= np.arange(16)[:, None]
        )  # (16, 16), points up
        picture[16 * row : 16 * row + 16, 16 * column : 16 * column + 16][
            np.rot90(arrow, -heading)
        ] = COLOURS["A"]
        return picture


gym.register(
    id="vime_ref/Labyrinth-v0",
    entry_point=f"{__name__}:Labyrinth",
    max_episode_steps=LABYRINTH_STEPS,
)

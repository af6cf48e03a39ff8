"""Small tasks for count-based exploration.

`BernoulliBandit`, `Chain`, `DeepSea`, `KeyDoorMaze` and `NoisyTV` have numbered states, so that a table can index them.
Except for the bandit, the argument `observation` shows the state as a vector or an image instead, for a network.

Axes: H, W height and width of a drawing in cells.

Sources: bsuite, arXiv 1908.03568 (google-deepmind/bsuite), for DeepSea and its score; [Chain] Osband et al. 2016, arXiv
1602.04621; [TV] Burda et al. 2018, arXiv 1808.04355.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import ArrayLike, NDArray

from bnn_ref import (
    check_array,
    check_choice,
    check_count,
    check_flag,
    check_flags,
    check_kind,
    check_number,
)

# ---------------------------------------------------------------- constants

# DeepSea, by bsuite's rules.
DEEP_SEA_SIZES = range(10, 51, 2)
MOVE_COST = 0.01  # total cost of N moves to the right

# Drawn rooms: an image holds each symbol's index in SIGNS, a picture its color.
CELL_COLORS = {
    " ": (255, 255, 255),  # floor
    "#": (60, 60, 60),  # wall
    "K": (240, 200, 0),  # key
    "D": (140, 80, 20),  # door
    "G": (0, 160, 0),  # goal
    "T": (170, 210, 255),  # cell in front of the television
    "A": (210, 0, 0),  # agent
    "*": (0, 0, 255),  # lit screen cell
}
SIGNS = "".join(CELL_COLORS)

# Metadata of tasks that draw themselves.
DRAWN = {"render_modes": ["rgb_array"], "render_fps": 10}

SIDE = 16  # pixels of a cell in a picture
WIDEST = 1600  # pixels of a picture; cells of wider ones are smaller
BAR = 10  # cells of an arm of mean 1 in the bandit's picture

# The largest sizes: a million cells, or a second to draw a labyrinth.
MAX_CHAIN = 1_000_000
MAX_DEEP_SEA = 1000

# (row, column) of the actions: 0 up, 1 right, 2 down, 3 left.
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))

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
    "#######",  # the screen: 7 cells, each lit or dark
    "#T    #",
    "##### #",
    "#  A  #",
    "# #####",
    "#    G#",
    "#######",
)

# ---------------------------------------------------------------- types

# State, reward, terminated, truncated, info.
StepOutcome = tuple[int, float, bool, bool, dict[str, Any]]

# ---------------------------------------------------------------- numbered tasks


class NumberedTask(gym.Env[Any, Any]):
    """Base class of the small tasks: numbered states, numbered actions, and views of the state.

    A view is a method of the same name; `views` holds each view's space.
    An action is an int, a NumPy integer, or an array of one integer without an axis.
    `render_mode="rgb_array"` draws a cell as 16 by 16 pixels, or smaller if the picture is wider than 1600.

    Raises ValueError if the view or the render mode is unknown or an action is out of range.
    Raises gymnasium.error.ResetNeeded on a step before the first reset or after the end of an episode.
    """

    metadata: dict[str, Any] = DRAWN

    def __init__(
        self,
        num_actions: int,
        views: Mapping[str, gym.Space[Any]],
        observation: str,
        render_mode: str | None,
    ) -> None:
        check_choice("observation", observation, tuple(views))
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.num_actions = num_actions
        self.action_space = gym.spaces.Discrete(num_actions)
        self.observation_space = views[observation]
        self.view = getattr(self, observation)
        self.state = 0
        self.ended = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """The observation of an episode's first state."""
        super().reset(seed=checked_seed(seed, options))
        self.state = self.start()
        self.ended = False
        return self.view(self.state), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The next observation, the reward, terminated, truncated, and info."""
        if self.ended:
            raise ResetNeeded(
                f"{type(self).__name__} must be reset before its first step and after its last"
            )
        chosen = checked_action(action, self.num_actions)
        self.state, reward, terminated, truncated, info = self.move(self.state, chosen)
        self.ended = terminated or truncated
        return self.view(self.state), reward, terminated, truncated, info

    def start(self) -> int:
        """The first state of an episode."""
        return 0

    @abstractmethod
    def move(self, state: int, action: int) -> StepOutcome:
        """The transition from a state by an action."""

    def index(self, state: int) -> int:
        """The state's number."""
        return state

    def render(self) -> Any:
        """A picture of the state, pixels (H, W, 3), or None without a render mode."""
        return None if self.render_mode is None else self.draw()

    def draw(self) -> NDArray[np.uint8]:
        """The map in colors, each cell a square of pixels."""
        signs = self.map(self.state)  # (H, W)
        colors = np.array([*CELL_COLORS.values()], np.uint8)
        side = min(SIDE, WIDEST // max(signs.shape))
        return enlarged(colors[signs], max(1, side))  # (side·H, side·W, 3)

    @abstractmethod
    def map(self, state: int) -> NDArray[np.uint8]:
        """The state as a map, indices into `SIGNS`, (H, W)."""


class BernoulliBandit(NumberedTask):
    """A bandit with K arms; arm a gives reward 1 with probability `means[a]`, else 0. An episode is one step.

    Observation: always 0. Action: the arm, 0 to K − 1. Every step terminates.
    The picture has a bar for each arm, as high as its mean, and the agent below the arm of the last step.

    Raises ValueError unless `means` is (K,) with K ≥ 1 and all means in [0, 1].
    Source: Auer, Cesa-Bianchi, Fischer 2002; their bounds hold for rewards in [0, 1].
    """

    def __init__(self, means: ArrayLike, render_mode: str | None = None) -> None:
        self.means = checked_means(means)
        self.arm: int | None = None
        views = {"index": gym.spaces.Discrete(1)}
        super().__init__(len(self.means), views, "index", render_mode)

    def start(self) -> int:
        """The only state, with no arm chosen."""
        self.arm = None
        return 0

    def move(self, state: int, action: int) -> StepOutcome:
        """The only state, and the arm's reward."""
        self.arm = action
        reward = float(self.np_random.random() < self.means[action])
        return state, reward, True, False, {}

    def map(self, state: int) -> NDArray[np.uint8]:
        """A bar of up to 10 cells for each arm, with floor between, and the agent in the row below."""
        heights = np.rint(BAR * np.array(self.means))  # (K,)
        empty = np.arange(BAR)[:, None] < BAR - heights  # (10, K)

        signs = np.full((BAR + 2, 2 * len(heights) + 1), SIGNS.index(" "), np.uint8)
        signs[:BAR, 1::2] = np.where(empty, SIGNS.index(" "), SIGNS.index("T"))
        signs[BAR] = SIGNS.index("#")
        if self.arm is not None:
            signs[BAR + 1, 2 * self.arm + 1] = SIGNS.index("A")
        return signs


class Chain(NumberedTask):
    """N states in a row, starting second from the left: a small reward is near, a large one far.

    Action 0 moves left, 1 moves right. At an end, a move outward has no effect on the state. A move left at the left
    end has reward 0.001, a move right at the right end has reward 1. An episode never terminates and is truncated
    after N + 8 steps. The maximum return is 10, by always moving right. Deterministic.

    `observation`: "index", 0 to N − 1; "onehot" (N,); "coordinates" (1,), the state scaled to [0, 1].
    The picture is a corridor, with the small reward in the color of a key and the large one in that of a goal.

    Raises ValueError unless `size` (N) is a whole number from 3 to 1 000 000.
    Source: [Chain]; the number of steps is from facebookresearch/RandomizedValueFunctions.
    """

    def __init__(
        self, size: int, observation: str = "index", render_mode: str | None = None
    ) -> None:
        size = checked_size("size", size, 3, MAX_CHAIN)
        self.size = size
        self.steps = 0
        views: dict[str, gym.Space[Any]] = {
            "index": gym.spaces.Discrete(size),
            "onehot": gym.spaces.Box(0, 1, (size,), np.float64),
            "coordinates": gym.spaces.Box(0, 1, (1,), np.float64),
        }
        super().__init__(2, views, observation, render_mode)

    def start(self) -> int:
        """The start, second from the left."""
        self.steps = 0
        return 1

    def move(self, state: int, action: int) -> StepOutcome:
        """The state to the left or right, and the reward."""
        self.steps += 1
        new = min(max(state + (1 if action else -1), 0), self.size - 1)
        end_reward = 1.0 if action else 0.001
        reward = end_reward if new == state else 0.0
        truncated = self.steps == self.size + 8
        return new, reward, False, truncated, {}

    def onehot(self, state: int) -> NDArray[np.float64]:
        """1 at the state, 0 elsewhere, (N,)."""
        return np.eye(1, self.size, state)[0]

    def coordinates(self, state: int) -> NDArray[np.float64]:
        """The state scaled to [0, 1], (1,)."""
        return np.array([state / (self.size - 1)])

    def map(self, state: int) -> NDArray[np.uint8]:
        """A corridor (3, N + 2) inside walls, with a reward in the wall at each end."""
        signs = np.full((3, self.size + 2), SIGNS.index("#"), np.uint8)
        signs[1, 1:-1] = SIGNS.index(" ")
        signs[1, 0] = SIGNS.index("K")
        signs[1, -1] = SIGNS.index("G")
        signs[1, state + 1] = SIGNS.index("A")
        return signs


# ---------------------------------------------------------------- DeepSea


class DeepSea(NumberedTask):
    """A diver sinks one row per step through N by N cells and reaches the treasure only by N moves to the right.

    The start is row 0, column 0. Each step moves one row down and one column right or left; at a wall it moves straight
    down. A move to the right costs 0.01/N; a move to the left is free. A move to the right in the last column also
    gives 1. The maximum return is 0.99. A random walk reaches it with probability 2⁻ᴺ. An episode terminates after N
    steps. Deterministic.

    `mapping_seed` draws, for each cell, which of the actions 0 and 1 moves right. It uses bsuite's generator and, by
    default, bsuite's seed. With `randomize_actions=False`, action 1 moves right everywhere. `info["wrong"]` is True
    from the episode's first move off the diagonal.

    `observation`: "index", N·row + column, and N² after the last step; "onehot" (N²,), all zeros at the end as in
    bsuite; "coordinates" (2,), (row, column)/N, and (1, 0) at the end.
    The picture has the treasure below the last column. It shows no diver at the end, because no state tells the column.

    Raises ValueError unless `size` (N) is a whole number from 2 to 1000, `randomize_actions` is True or False, and
    `mapping_seed` is a whole number from 0 to 2³² − 1.
    Source: bsuite, without its stochastic variant.
    """

    def __init__(
        self,
        size: int,
        observation: str = "index",
        render_mode: str | None = None,
        *,
        randomize_actions: bool = True,
        mapping_seed: int = 42,
    ) -> None:
        size = checked_size("size", size, 2, MAX_DEEP_SEA)
        check_flag("randomize_actions", randomize_actions)
        seed = checked_size("mapping_seed", mapping_seed, 0, 2**32 - 1)
        self.size = size

        # The action that moves right in each cell, (N²,).
        drawn = np.random.RandomState(seed).binomial(1, 0.5, size * size)
        ones = [1] * size * size
        self.right: list[int] = drawn.tolist() if randomize_actions else ones

        views: dict[str, gym.Space[Any]] = {
            "index": gym.spaces.Discrete(size * size + 1),
            "onehot": gym.spaces.Box(0, 1, (size * size,), np.float64),
            "coordinates": gym.spaces.Box(0, 1, (2,), np.float64),
        }
        super().__init__(2, views, observation, render_mode)

    def move(self, state: int, action: int) -> StepOutcome:
        """The state one row down and one column left or right, and the reward."""
        size = self.size
        row, column = divmod(state, size)
        right = action == self.right[state]

        # Off the diagonal no move leads back to it.
        wrong = column < row or not right
        treasure = float(column == size - 1)
        reward = treasure - MOVE_COST / size if right else 0.0
        info = {"wrong": wrong}
        if row == size - 1:
            return size * size, reward, True, False, info

        column = min(column + 1, size - 1) if right else max(column - 1, 0)
        return (row + 1) * size + column, reward, False, False, info

    def onehot(self, state: int) -> NDArray[np.float64]:
        """1 at the state, 0 elsewhere, (N²,)."""
        return np.eye(1, self.size**2, state)[0]

    def coordinates(self, state: int) -> NDArray[np.float64]:
        """(row, column)/N, (2,)."""
        return np.array(divmod(state, self.size)) / self.size

    def map(self, state: int) -> NDArray[np.uint8]:
        """The sea (N + 2, N + 2) inside walls; the treasure is in the bottom."""
        signs = np.full((self.size + 2, self.size + 2), SIGNS.index("#"), np.uint8)
        signs[1:-1, 1:-1] = SIGNS.index("T")
        signs[-1, -2] = SIGNS.index("G")
        if state < self.size**2:
            row, column = divmod(state, self.size)
            signs[row + 1, column + 1] = SIGNS.index("A")
        return signs


def deep_sea_solved(wrong: Sequence[bool], *, threshold: float = 0.9) -> int | None:
    """The first episode, counted from 1, after which the share of episodes with a wrong move is < `threshold`.

    `wrong` holds, for each episode, `info["wrong"]` of its last step. Returns None if the share never falls below.
    The default 0.9 is the threshold named in bsuite's figures; the default in its code is 0.8.
    Raises ValueError unless the threshold is in (0, 1] and `wrong` holds flags.

    >>> deep_sea_solved([True] * 9 + [False]), deep_sea_solved([True] * 9 + [False] * 2)
    (None, 11)
    """
    threshold = check_number("threshold", threshold)
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    total = 0
    for episode, had_one in enumerate(check_flags("wrong", wrong, (None,)), 1):
        total += int(had_one)
        if total / episode < threshold:
            return episode
    return None


def deep_sea_score(solved: Mapping[int, int | None]) -> float:
    """Share of the sizes N that were solved before episode 2ᴺ + 100, by which a random walk expects one success.

    `solved[N]` is the result of `deep_sea_solved` for size N. The published score uses `DEEP_SEA_SIZES`, with at most
    10 000 episodes each.
    Raises ValueError if there is no size.
    """
    check_kind("solved", solved, Mapping)
    if len(solved) == 0:
        raise ValueError("solved must have at least one size, got none")
    early = [
        episode is not None and episode < 2**size + 100
        for size, episode in solved.items()
    ]
    return sum(early) / len(early)


# ---------------------------------------------------------------- drawn rooms


class DrawnTask(NumberedTask):
    """Base class of the drawn rooms: a walk from A over the free cells; # is wall; G has reward 1 and terminates.

    The actions are `MOVES`; a move into a wall has no effect. A state has a cell and a level ≥ 0: the key that the
    agent holds, or the picture on the screen. State = cells · level + cell, with cells numbered in reading order.

    `observation`: "image" (H, W), indices into `SIGNS`; "index", the state; "coordinates" (3,), row, column and level,
    each scaled to [0, 1]. The picture is the image in color.
    """

    def __init__(
        self,
        drawing: Sequence[str],
        num_levels: int,
        observation: str,
        render_mode: str | None,
    ) -> None:
        # The free cells, each symbol's cell, and the cell that each move leads to.
        self.cells = free_cells(drawing)
        self.places = {drawing[r][c]: n for n, (r, c) in enumerate(self.cells)}
        self.next_cells = neighbors(self.cells)

        # The room without the agent.
        empty = [line.replace("A", " ") for line in drawing]
        numbers = [[SIGNS.index(sign) for sign in line] for line in empty]
        self.drawing = np.array(numbers, np.uint8)  # (H, W)
        height, width = self.drawing.shape
        self.largest = np.array([height - 1, width - 1, num_levels - 1])

        views: dict[str, gym.Space[Any]] = {
            "image": gym.spaces.Box(0, len(SIGNS) - 1, self.drawing.shape, np.uint8),
            "index": gym.spaces.Discrete(len(self.cells) * num_levels),
            "coordinates": gym.spaces.Box(0, 1, (3,), np.float64),
        }
        super().__init__(len(MOVES), views, observation, render_mode)

    def start(self) -> int:
        """The cell of A, on level 0."""
        return self.places["A"]

    def move(self, state: int, action: int) -> StepOutcome:
        """The state after a move, from `walk`; the goal has reward 1 and terminates."""
        old_level, old = divmod(state, len(self.cells))
        cell, level, info = self.walk(old, self.next_cells[old][action], old_level)
        goal = cell == self.places["G"]
        return len(self.cells) * level + cell, float(goal), goal, False, info

    @abstractmethod
    def walk(self, old: int, new: int, level: int) -> tuple[int, int, dict[str, Any]]:
        """The cell and the level after a move from cell `old` toward `new`, and `info`."""

    @abstractmethod
    def draw_level(self, image: NDArray[np.uint8], level: int) -> None:
        """Draw the level's changes into the image."""

    def image(self, state: int) -> NDArray[np.uint8]:
        """The room with the agent in it, indices into `SIGNS`, (H, W)."""
        level, cell = divmod(state, len(self.cells))
        image = self.drawing.copy()
        self.draw_level(image, level)
        image[self.cells[cell]] = SIGNS.index("A")
        return image

    def coordinates(self, state: int) -> NDArray[np.float64]:
        """Row, column and level, each scaled to [0, 1], (3,)."""
        level, cell = divmod(state, len(self.cells))
        return np.array([*self.cells[cell], level]) / self.largest

    def map(self, state: int) -> NDArray[np.uint8]:
        """The room with the agent in it, (H, W)."""
        return self.image(state)


class KeyDoorMaze(DrawnTask):
    """A maze whose goal is behind a door that opens only if the agent has the key.

    Rules, actions and observations are those of `DrawnTask` on `KEY_DOOR_MAZE`, 9 by 9. Stepping on K takes the key: it
    disappears from the image, the level changes from 0 to 1, and the door, a wall until then, becomes a free cell.
    The shortest path takes 24 steps. An episode is truncated after 200 steps, in which 1.8 % of random walks arrive.
    Deterministic. Our design, inspired by the key and door of Montezuma's Revenge in [Counts], arXiv 1606.01868.
    """

    def __init__(
        self, observation: str = "image", render_mode: str | None = None
    ) -> None:
        super().__init__(KEY_DOOR_MAZE, 2, observation, render_mode)

    def walk(self, old: int, new: int, level: int) -> tuple[int, int, dict[str, Any]]:
        """The door is a wall without the key; K raises the level to 1."""
        closed = new == self.places["D"] and not level
        cell = old if closed else new
        has_key = level or cell == self.places["K"]
        return cell, int(has_key), {}

    def draw_level(self, image: NDArray[np.uint8], level: int) -> None:
        """Remove the key from the image once the agent has taken it."""
        if level:
            image[self.cells[self.places["K"]]] = SIGNS.index(" ")


class NoisyTV(DrawnTask):
    """A room with a goal at one end and a noisy television at the other, equally far from the start.

    Rules, actions and observations are those of `DrawnTask` on `TV_ROOM`, 7 by 7. The level is the picture on the
    screen, the top row of the image: 7 cells, each lit or dark. On T, the agent sees one of 2⁷ equally likely pictures
    at every step, independent of everything before. Elsewhere the screen is dark, level 0. `info["watching"]` is True
    if a step ends on T. An episode is truncated after 100 steps. Everything except the screen is deterministic.

    The pictures come from a separate generator. Each reset seeds it from `np_random`, and each step advances it,
    watched or not. So the pictures repeat with the seed, and an explorer with the same seed does not share them.
    Source: [TV]. Departure: the source's television is in a maze and changes on demand; this one changes by itself.
    """

    def __init__(
        self, observation: str = "image", render_mode: str | None = None
    ) -> None:
        self.num_pictures = 2 ** len(TV_ROOM[0])
        self.screen = np.random.default_rng(0)
        super().__init__(TV_ROOM, self.num_pictures, observation, render_mode)

    def start(self) -> int:
        """The cell of A, after seeding the screen's generator."""
        self.screen = np.random.default_rng(self.np_random.integers(2**32, size=4))
        return super().start()

    def walk(self, old: int, new: int, level: int) -> tuple[int, int, dict[str, Any]]:
        """The cell and the level after a move; on T the level is a new picture."""
        picture = int(self.screen.integers(self.num_pictures))
        watching = new == self.places["T"]
        return new, picture if watching else 0, {"watching": watching}

    def draw_level(self, image: NDArray[np.uint8], level: int) -> None:
        """Draw the lit screen cells, the bits of the level."""
        lit = level >> np.arange(image.shape[1]) & 1  # (W,)
        image[0, lit == 1] = SIGNS.index("*")


def free_cells(drawing: Sequence[str]) -> list[tuple[int, int]]:
    """Row and column of each free cell, in reading order."""
    return [
        (r, c)
        for r, line in enumerate(drawing)
        for c, sign in enumerate(line)
        if sign != "#"
    ]


def neighbors(cells: Sequence[tuple[int, int]]) -> list[list[int]]:
    """For each cell, the number of the cell that each of `MOVES` leads to; its own number if blocked."""
    number = {cell: n for n, cell in enumerate(cells)}
    return [
        [number.get((r + down, c + right), n) for down, right in MOVES]
        for n, (r, c) in enumerate(cells)
    ]


def enlarged(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture enlarged by the factor `side`, (H, W, 3) -> (side·H, side·W, 3)."""
    tall = picture.repeat(side, axis=0)  # (side·H, W, 3)
    return tall.repeat(side, axis=1)  # (side·H, side·W, 3)


# ---------------------------------------------------------------- argument checks


def checked_action(action: Any, num_actions: int) -> int:
    """The action, which may also be an array without an axis.

    Raises ValueError unless it is a whole number from 0 to num_actions − 1.
    """
    if isinstance(action, np.ndarray) and action.shape == ():
        action = action[()]
    is_whole = isinstance(action, (int, np.integer))
    if not (is_whole and 0 <= action < num_actions):
        raise ValueError(
            f"action must be a whole number from 0 to {num_actions - 1}, got {action!r}"
        )
    return int(action)


def check_render_mode(render_mode: str | None) -> None:
    """Raise ValueError unless the render mode is None or "rgb_array"."""
    if render_mode is not None:
        check_choice("render_mode", render_mode, ("rgb_array",))


def checked_size(name: str, size: int, least: int, most: int) -> int:
    """The size. Raises ValueError unless it is a whole number from least to most."""
    size = check_count(name, size, least)
    if size > most:
        raise ValueError(f"{name} must be <= {most}, got {size}")
    return size


def checked_seed(seed: int | None, options: dict[str, Any] | None) -> int | None:
    """The seed. Raises ValueError unless it and the options of `reset` are None, or a whole number ≥ 0 and a dict."""
    if options is not None:
        check_kind("options", options, dict)
    return None if seed is None else check_count("seed", seed, 0)


def checked_means(means: ArrayLike) -> list[float]:
    """The means of K arms. Raises ValueError unless they are probabilities (K,) with K ≥ 1."""
    arms = check_array("means", means, (None,))
    if arms.size == 0 or not np.all((arms >= 0) & (arms <= 1)):
        raise ValueError(f"means must be probabilities (K,) with K >= 1, got {means!r}")
    values: list[float] = arms.tolist()
    return values


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

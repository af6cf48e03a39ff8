"""A labyrinth of pixels, partially observed: only nearby cells are visible, so the agent must remember.

Axes: H, W height and width of the maze in cells.

Sources: [UNREAL] Jaderberg et al. 2016, arXiv 1611.05397; [Lecture] "Intrinsic motivation in RL", "Results: labyrinth".
"""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from bnn_ref import check_array, check_count
from vime_gym.rooms import (
    CELL_COLORS,
    MOVES,
    NumberedTask,
    StepOutcome,
    checked_size,
    enlarged,
)

# ---------------------------------------------------------------- constants

# A map holds these symbols' numbers, a picture their colors.
FLOOR, WALL, APPLE, GOAL = range(4)
LABYRINTH_COLORS = (CELL_COLORS[" "], CELL_COLORS["#"], (250, 150, 0), CELL_COLORS["G"])

NUM_APPLES = 4
APPLE_REWARD = 1.0
GOAL_REWARD = 10.0
LABYRINTH_STEPS = 300  # per episode
MAX_ROOMS = 100  # larger labyrinths take seconds to carve
VIEW = 5  # side of the agent's view, in cells

# The cells on the line from the center of a 5 by 5 window to each of its cells: the cell at half the offset, or the two
# cells beside it, found by rounding toward the center and away from it.
BETWEEN = (
    np.ix_([1, 2, 2, 2, 3], [1, 2, 2, 2, 3]),
    np.ix_([1, 1, 2, 3, 3], [1, 1, 2, 3, 3]),
)

# ---------------------------------------------------------------- mazes


def carve_maze(rooms: int, order: Sequence[int]) -> NDArray[np.bool_]:
    """Walls (H, W) of a maze, H = W = 2 · `rooms` + 1, with exactly one path between any two free cells.

    The cells with odd row and odd column are rooms. The walls between neighboring rooms are numbered in reading order
    and tried in the order `order`. A wall is removed if it separates rooms that are not yet connected (Kruskal's
    algorithm).

    Raises ValueError unless `rooms` is from 1 to 100 and `order` is a permutation of these 2 · rooms · (rooms − 1)
    wall numbers.
    """
    size = 2 * checked_size("rooms", rooms, 1, MAX_ROOMS) + 1
    inner = range(1, size - 1)
    between = [(r, c) for r in inner for c in inner if (r + c) % 2]
    places = checked_order(order, len(between))

    # Separate rooms, each its own component: connected rooms share a number.
    walls = np.ones((size, size), bool)
    walls[1::2, 1::2] = False
    part = np.arange(size * size).reshape(size, size)  # (H, W)

    # Connect rooms.
    for r, c in (between[n] for n in places):
        sideways = r % 2 == 1
        one = part[r, c - 1] if sideways else part[r - 1, c]
        other = part[r, c + 1] if sideways else part[r + 1, c]
        if one != other:
            walls[r, c] = False
            part[part == other] = one
    return walls


# ---------------------------------------------------------------- the task


class Labyrinth(NumberedTask):
    """A maze with apples and a goal; the agent sees only nearby cells, rotated to its heading.

    Actions: 0 turns left, 1 turns right, 2 moves one cell forward, 3 moves one cell back. The view rotates with the
    agent, so no view shows which way is north. A move into a wall has no effect.
    Rewards: an apple gives 1 and disappears. The goal gives 10, restores the apples, and moves the agent to a random
    free cell (no wall, apple or goal) with a random heading. Each episode starts in the same way.
    An episode never terminates and is truncated after 300 steps.

    Observation: uint8 pixels (20, 20, 3) of the 5 by 5 cells around the agent, 4 by 4 pixels each, with the agent's
    front at the top. The agent, in the center, is not drawn. Cells beyond the maze and hidden cells look like walls.
    A cell is visible if the middle of the line from the center to it touches a free cell, even at an edge or corner.
    Different places look alike, so the observation is not a Markov state.
    `state` is 4 · cell + heading, with cells (walls included) numbered in reading order and headings as in `MOVES`.
    `maze` (H, W) shows which apples are left.
    `render_mode="rgb_array"` draws the whole maze and an arrow for the agent, 16 by 16 pixels per cell.

    Each reset draws walls, goal and 4 apples from `np_random`. With `maze_seed` they are always the same. The agent's
    start always comes from `np_random`.
    `rooms` is the number of rooms per row and column, so the maze is 2 · rooms + 1 cells high and wide.
    Departure: the original is larger and shown in first person. Sizes, number of apples and horizon are our choice.

    Raises ValueError unless `rooms` is a whole number from 2 to 100 and `maze_seed` is None or a whole number ≥ 0.
    Raises ValueError on another `render_mode`.
    Source: [UNREAL], [Lecture].
    """

    def __init__(
        self,
        maze_seed: int | None = None,
        render_mode: str | None = None,
        *,
        rooms: int = 4,
    ) -> None:
        self.rooms = checked_size("rooms", rooms, 2, MAX_ROOMS)
        if maze_seed is not None:
            maze_seed = check_count("maze_seed", maze_seed, 0)
        self.maze_seed = maze_seed
        self.size = 2 * self.rooms + 1

        # Indices into the flat maze: offset of the next cell by heading, apples, free cells.
        self.ahead = [down * self.size + right for down, right in MOVES]
        self.apples = np.zeros(0, int)
        self.free = np.zeros(0, int)

        # The maze with two cells of wall around it, and the indices of each state's window.
        shape = (self.size + VIEW - 1, self.size + VIEW - 1)
        self.surroundings = np.full(shape, WALL, np.uint8)
        self.cells = windows_of_states(shape)

        self.colors = np.array(LABYRINTH_COLORS, np.uint8)
        pixels = gym.spaces.Box(0, 255, (20, 20, 3), np.uint8)
        super().__init__(4, {"image": pixels}, "image", render_mode)

    @property
    def maze(self) -> NDArray[np.uint8]:
        """The maze (H, W) of FLOOR, WALL, APPLE and GOAL; a view, so that writing into it changes the labyrinth.

        Each access makes a new view, because a stored one would not follow a deep or pickled copy of the labyrinth.
        """
        return self.surroundings[2:-2, 2:-2]

    def start(self) -> int:
        """Draw a new maze, or the maze of `maze_seed`; return the first state of the episode."""
        rng = self.np_random
        if self.maze_seed is not None:
            rng = np.random.default_rng(self.maze_seed)

        # Walls.
        num_walls = 2 * self.rooms * (self.rooms - 1)
        walls = carve_maze(self.rooms, rng.permutation(num_walls).tolist())
        self.maze[:] = np.where(walls, WALL, FLOOR)

        # Goal and apples, on cells without a wall.
        goal, *others = rng.permutation(np.flatnonzero(~walls)).tolist()
        self.apples, self.free = np.split(np.array(others), [NUM_APPLES])
        self.maze.flat[goal] = GOAL
        return self.respawn()

    def respawn(self) -> int:
        """Restore the apples; return the state in which the agent continues."""
        self.maze.flat[self.apples] = APPLE
        drawn = int(self.np_random.integers(4 * len(self.free)))
        place, heading = divmod(drawn, 4)
        return 4 * int(self.free[place]) + heading

    def move(self, state: int, action: int) -> StepOutcome:
        """The state after a turn or a move, and the reward."""
        # Turn.
        cell, heading = divmod(state, 4)
        if action < 2:
            turn = 1 if action else -1
            return 4 * cell + (heading + turn) % 4, 0.0, False, False, {}

        # Move.
        ahead = self.ahead[heading]
        new = cell + (ahead if action == 2 else -ahead)
        new_state = 4 * new + heading
        sign = self.maze.flat[new]
        if sign == WALL:
            return state, 0.0, False, False, {}
        if sign == GOAL:
            return self.respawn(), GOAL_REWARD, False, False, {}
        if sign == APPLE:
            self.maze.flat[new] = FLOOR
            return new_state, APPLE_REWARD, False, False, {}
        return new_state, 0.0, False, False, {}

    def image(self, state: int) -> NDArray[np.uint8]:
        """The agent's view, pixels (20, 20, 3)."""
        window = self.surroundings.ravel()[self.cells[state]]  # (5, 5)
        one, other = (window[cells] == WALL for cells in BETWEEN)
        seen = np.where(one & other, WALL, window)
        return enlarged(self.colors.take(seen, axis=0), 4)  # (20, 20, 3)

    def map(self, state: int) -> NDArray[np.uint8]:
        """The maze, indices into `LABYRINTH_COLORS`, (H, W)."""
        return self.maze

    def draw(self) -> NDArray[np.uint8]:
        """The whole maze and the agent, pixels (16·H, 16·W, 3)."""
        picture = enlarged(self.colors[self.maze], 16)  # (16·H, 16·W, 3)
        cell, heading = divmod(self.state, 4)
        row, column = divmod(cell, self.size)

        # An arrow in the agent's cell; it points up before rotation.
        steps = np.arange(16)
        arrow = np.abs(2 * steps - 15) <= steps[:, None]  # (16, 16)
        square = picture[16 * row :, 16 * column :][:16, :16]  # (16, 16, 3), a view
        square[np.rot90(arrow, -heading)] = CELL_COLORS["A"]
        return picture


def windows_of_states(shape: tuple[int, int]) -> NDArray[np.int_]:
    """Each state's 5 by 5 window as indices into the flat padded maze, rotated to the heading, (4·H·W, 5, 5)."""
    places = np.arange(shape[0] * shape[1]).reshape(shape)  # (H + 4, W + 4)
    slide = np.lib.stride_tricks.sliding_window_view
    windows = slide(places, (VIEW, VIEW))  # (H, W, 5, 5)
    headings = range(len(MOVES))
    turned = [np.rot90(windows, heading, axes=(2, 3)) for heading in headings]
    by_state = np.stack(turned, axis=2)  # (H, W, 4, 5, 5)
    return by_state.reshape(-1, VIEW, VIEW)  # (4·H·W, 5, 5)


# ---------------------------------------------------------------- argument checks


def checked_order(order: Sequence[int], num_walls: int) -> list[int]:
    """The order. Raises ValueError unless it is a permutation of the wall numbers."""
    numbers = check_array("order", order, (None,))
    if not np.array_equal(np.sort(numbers), np.arange(num_walls)):
        raise ValueError(
            f"order must be a permutation of 0 to {num_walls - 1}, got {order!r}"
        )
    return numbers.astype(int).tolist()


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""A labyrinth of pixels: it shows what is near and nothing else, so its agent has to remember.

Source: [UNREAL] Jaderberg et al. 2016, arXiv 1611.05397.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from bnn_ref import check_choice, check_count
from vime_gym.rooms import COLOURS, DRAWN, MOVES, NumberedTask, Step

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

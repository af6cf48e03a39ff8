"""A corridor with noise at one end, and a reward at the other behind a stretch that can be learned.

The answer is known for two bonuses at weight 1: exact information gain leaves the noise, and prediction error stays.

Axes: H, W height and width of a map in cells.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from vime_gym.rooms import SIGNS, NumberedTask, StepOutcome, checked_size

# ---------------------------------------------------------------- constants

NUM_ACTIONS = 4
LEFT = 0  # to the screen, or back to the start

MAX_LENGTH = 1000
MAX_PICTURES = 1000
BITS = 10  # of a picture's number, drawn above the corridor

# ---------------------------------------------------------------- the task


class NoisyCorridor(NumberedTask):
    """A start with a noisy screen on its left and a stretch of N steps on its right, which ends in a reward.

    In the start and the N − 1 cells behind it, one of the actions 1 to 3 is right and leads one cell on. The N-th right
    step has reward 1 and terminates. In the start, action 0 leads to the screen, and the other two actions have no
    effect. In the cells behind it, every other action leads back to the start. So the shortest path takes N steps, and
    N random actions are this path with probability 4⁻ᴺ.

    On the screen, action 0 stays there, and every other action leads back to the start. Each step that ends on the
    screen shows one of K equally likely pictures, independent of everything before. Everything else is deterministic.
    `info["watching"]` is True if a step ends on the screen. An episode is truncated after 50 steps.

    `mapping_seed` draws the N right actions, which are the same in all episodes.

    `observation`: "index", 0 to N for the cells from the start to the goal, then N + 1 + k for picture k; "onehot"
    (N + 1 + K,); "coordinates" (2,), the position from 0 on the screen to 1 in the goal, and k/(K − 1), 0 off screen.
    The picture has the bits of k above the corridor, lit or dark.

    Raises ValueError unless `length` (N) is a whole number from 1 to 1000, `num_pictures` (K) one from 2 to 1000, and
    `mapping_seed` one from 0 to 2³² − 1.
    """

    def __init__(
        self,
        length: int = 8,
        observation: str = "index",
        render_mode: str | None = None,
        *,
        num_pictures: int = 16,
        mapping_seed: int = 42,
    ) -> None:
        self.length = checked_size("length", length, 1, MAX_LENGTH)
        self.num_pictures = checked_size("num_pictures", num_pictures, 2, MAX_PICTURES)
        seed = checked_size("mapping_seed", mapping_seed, 0, 2**32 - 1)

        # The action that leads on from each cell, (N,).
        drawn = np.random.default_rng(seed).integers(1, NUM_ACTIONS, self.length)
        self.right: list[int] = drawn.tolist()

        num_states = self.length + 1 + self.num_pictures
        views: dict[str, gym.Space[Any]] = {
            "index": gym.spaces.Discrete(num_states),
            "onehot": gym.spaces.Box(0, 1, (num_states,), np.float64),
            "coordinates": gym.spaces.Box(0, 1, (2,), np.float64),
        }
        super().__init__(NUM_ACTIONS, views, observation, render_mode)

    def move(self, state: int, action: int) -> StepOutcome:
        """The state after a move, and the reward of the last right one."""
        on_screen = state > self.length
        at_start = state == 0
        if action == LEFT and (on_screen or at_start):
            picture = int(self.np_random.integers(self.num_pictures))
            return self.length + 1 + picture, 0.0, False, False, {"watching": True}

        # Off the screen, on, or back.
        on = not on_screen and action == self.right[state]
        new = state + 1 if on else 0
        goal = new == self.length
        return new, float(goal), goal, False, {"watching": False}

    def split(self, state: int) -> tuple[int, int]:
        """The place, 0 on the screen, 1 in the start, up to N + 1 in the goal, and the picture, 0 off screen."""
        on_screen = state > self.length
        return (0, state - self.length - 1) if on_screen else (state + 1, 0)

    def onehot(self, state: int) -> NDArray[np.float64]:
        """1 at the state, 0 elsewhere, (N + 1 + K,)."""
        return np.eye(1, self.length + 1 + self.num_pictures, state)[0]

    def coordinates(self, state: int) -> NDArray[np.float64]:
        """Position and picture, each scaled to [0, 1], (2,)."""
        place, picture = self.split(state)
        return np.array([place / (self.length + 1), picture / (self.num_pictures - 1)])

    def map(self, state: int) -> NDArray[np.uint8]:
        """The corridor inside walls, (3, W); the wall above it shows the bits of a picture."""
        place, picture = self.split(state)
        width = max(self.length + 2, BITS) + 2
        signs = np.full((3, width), SIGNS.index("#"), np.uint8)
        signs[1, 1] = SIGNS.index("T")
        signs[1, 2 : self.length + 2] = SIGNS.index(" ")
        signs[1, self.length + 2] = SIGNS.index("G")
        signs[1, place + 1] = SIGNS.index("A")

        lit = picture >> np.arange(BITS) & 1  # (10,)
        signs[0, 1 : BITS + 1][lit == 1] = SIGNS.index("*")
        return signs


# ---------------------------------------------------------------- what `help` shows

__all__ = ["NoisyCorridor"]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Helpers for the tests of the tasks: ids, ways to walk, a task in a given state."""

from typing import Any

import numpy as np

from vime_gym.rooms import NumberedTask

SPARSE, DENSE = "vime_ref/SparseMountainCar-v0", "MountainCarContinuous-v0"

SWINGUP = "vime_ref/SparseCartPoleSwingup-v0"

# The car with a reward in every step; DENSE is Gymnasium's own task.
HILLY = "vime_ref/DenseMountainCar-v0"

UP, RIGHT, DOWN, LEFT = range(4)
WAYS = {UP: (-1, 0), RIGHT: (0, 1), DOWN: (1, 0), LEFT: (0, -1)}

TO_TV = [RIGHT] * 2 + [UP] * 2 + [LEFT] * 4

SMALL = {
    "vime_ref/BernoulliBandit-v0": {"means": [0.2, 0.5, 0.8]},
    "vime_ref/Chain-v0": {"size": 5},
    "vime_ref/DeepSea-v0": {"size": 4},
    "vime_ref/KeyDoorMaze-v0": {},
    "vime_ref/NoisyTV-v0": {},
    "vime_ref/NoisyCorridor-v0": {"length": 3},
}

VIEWS = [
    (env_id, {**options, "observation": view})
    for env_id, options in SMALL.items()
    for view in ("index", "image" if not options else "onehot", "coordinates")
    if "means" not in options
]

LABYRINTH = "vime_ref/Labyrinth-v0"

ROBOTS = ("vime_ref/SparseHalfCheetah-v0", "vime_ref/Walker2D-v0")

# Every registered task with the arguments that it needs.
TASKS: dict[str, dict[str, Any]] = {
    **SMALL, LABYRINTH: {}, SPARSE: {}, HILLY: {}, SWINGUP: {}, **{robot: {} for robot in ROBOTS},
}  # fmt: skip


def at(task: NumberedTask, state: int) -> NumberedTask:
    """The task in a given state of a running episode."""
    task.reset()
    task.state = state
    return task


def is_color(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Where the picture (H, W, 3) has this color, (H, W)."""
    return np.all(picture == color, axis=-1)

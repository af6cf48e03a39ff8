"""Helpers for the tests of the tasks: ids, ways to walk, a task in a given state, the table of the page.

`PYTHONPATH=tests python -m gym_helpers` renews the table in docs/tasks.md.
"""

import re
import types
from collections.abc import MutableMapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.spaces import Discrete, Space
from gymnasium.wrappers import RecordVideo
from measures import ROOT

from vime_gym import ARGUMENTS, ENTRIES
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


# ------------------------------------------------------------ videos


def record(env: gym.Env, folder: Path, num_steps: int = 3) -> gym.Env:
    """Record a video from the first step on, over ends of episodes; the environment is then closed."""
    recorder = RecordVideo(
        env,
        str(folder),
        step_trigger=lambda step: step == 0,
        video_length=num_steps,
        disable_logger=True,
    )
    recorder.reset(seed=0)
    recorder.action_space.seed(0)
    for _ in range(num_steps + 1):
        if any(recorder.step(recorder.action_space.sample())[2:4]):
            recorder.reset()
    recorder.close()
    return recorder


def instead_of_moviepy(
    modules: MutableMapping[str, Any],
) -> list[tuple[np.ndarray, float]]:
    """Put a stand-in for moviepy into these modules, which the project does not require.

    Returns the frames and the frames per second of what is recorded from now on.
    """
    clips: list[tuple[np.ndarray, float]] = []

    class Clip:
        def __init__(self, frames: list[np.ndarray], fps: float) -> None:
            clips.append((np.array(frames), fps))

        def write_videofile(self, path: str, **_: Any) -> None:
            Path(path).touch()

    last = "moviepy.video.io.ImageSequenceClip"
    for name in ("moviepy", "moviepy.video", "moviepy.video.io", last):
        modules[name] = types.ModuleType(name)
    modules[last].ImageSequenceClip = Clip
    return clips


# ------------------------------------------------------------ the table of docs/tasks.md

HEADINGS = ("id", "observation", "action", "steps", "arguments", "extra", "pictures")
TABLE = re.compile(r"^\| id \|.*\n(?:\|.*\n)*", re.M)


def task_table() -> str:
    """A row for each registered task, from the registry, its class and an environment of it."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(task_row, ENTRIES)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def task_row(name: str) -> tuple[str, ...]:
    module, max_steps = ENTRIES[name]
    env = gym.make(f"vime_ref/{name}-v0")
    return (
        f"`vime_ref/{name}-v0`",
        space_text(env.observation_space),
        space_text(env.action_space),
        str(max_steps or "its own"),
        arguments_text(name, load_env_creator(env.spec.entry_point)),
        "`mujoco`" if module == "robots" else "",
        ", ".join(f"`{mode}`" for mode in env.metadata["render_modes"]),
    )


def space_text(space: Space[Any]) -> str:
    if isinstance(space, Discrete):
        return f"Discrete({space.n})"
    return f"Box {space.shape} {space.dtype}"


def arguments_text(name: str, made: Any) -> str:
    """Each argument with its default, that of the id before that of the class."""
    given = signature(made).parameters.values()
    shown = [
        f"`{each.name}={ARGUMENTS.get(name, {}).get(each.name, each.default)!r}`"
        for each in given
        if each.name != "render_mode" and each.kind is not Parameter.VAR_KEYWORD
    ]
    inherited = any(each.kind is Parameter.VAR_KEYWORD for each in given)
    theirs = [f"those of `{made.__mro__[1].__name__}`"] if inherited else []
    return ", ".join(shown + theirs)


if __name__ == "__main__":
    page = ROOT / "docs" / "tasks.md"
    text = page.read_text()
    page.write_text(TABLE.sub(lambda _: task_table(), text))

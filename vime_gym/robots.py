"""The VIME paper's robots, simulated by MuJoCo: pip install 'gymnasium[mujoco]'.

The import raises gymnasium.error.DependencyNotInstalled, naming the package to install, if MuJoCo or the library that
MUJOCO_GL names is missing.

Sources: [VIME] Houthooft et al. 2016, arXiv 1605.09674, and the original code openai/vime, for the reward rules;
rllab, on which the original code runs.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gymnasium.error import DependencyNotInstalled
from gymnasium.utils import EzPickle

from bnn_ref import check_choice, check_number
from vime_gym.extras import lacking
from vime_gym.tasks import action_array

try:
    from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
    from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
except (ImportError, DependencyNotInstalled) as error:
    line = lacking("SparseHalfCheetah and Walker2D", ["mujoco"], "mujoco")
    raise DependencyNotInstalled(line or str(error)) from error
except AttributeError as error:
    # PyOpenGL's, when MuJoCo asks it for OSMesa.
    raise DependencyNotInstalled(
        "MUJOCO_GL=osmesa needs the library OSMesa: install it, or set MUJOCO_GL=egl"
    ) from error

# ---------------------------------------------------------------- constants

CHEETAH_GOAL = 5.0  # m, from the original code
HOLDS_X: Any = {"exclude_current_positions_from_observation": False}
NUM_TORQUES = 6

# How OpenGL failed in this process. It is not asked again, because MuJoCo would abort the process.
FAILURES: list[Exception] = []

# ---------------------------------------------------------------- robots


class SparseHalfCheetah(HalfCheetahEnv):
    """HalfCheetah-v5 with reward 1 for a step that ends with the torso at x > 5 m, else 0; actions cost nothing.

    Observation (18,): positions, the torso's x first, then velocities. Action (6,): torques from −1 to 1.
    A step is 0.01 s of physics (frame_skip 1). An episode never terminates and is truncated after 500 steps.
    Arguments are HalfCheetah-v5's. MuJoCo draws it, which needs OpenGL.

    Raises ValueError unless numbers among the arguments are finite, `render_mode` is known, and every action is 6
    finite numbers in an array (6,).
    Departure: the original uses x of the whole robot's center of mass.
    Source: HalfCheetahEnvX in openai/vime.
    """

    def __init__(self, **kwargs: Any) -> None:
        check_robot(self, kwargs)
        with no_log_file():
            super().__init__(frame_skip=1, **HOLDS_X, **kwargs)
        EzPickle.__init__(self, **kwargs)

    def step(self, action: Any) -> Any:
        """HalfCheetah-v5's step with the reward replaced: 1 beyond 5 m, else 0."""
        torques = action_array(action, (NUM_TORQUES,))
        robot: Any = super()
        observation, _, terminated, truncated, info = robot.step(torques)
        reward = float(info["x_position"] > CHEETAH_GOAL)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """MuJoCo's picture, or None without a render mode."""
        return drawn(self)


class Walker2D(Walker2dEnv):
    """Walker2d-v5 without the reward for staying upright.

        r = (x′ − x)/Δt − 0.001·‖a‖²: forward speed (m/s) minus control cost

    Observation (18,): positions, the torso's x first, then velocities clipped to ±10. Action (6,): torques, −1 to 1.
    A step is Δt = 0.008 s of physics (frame_skip 4). An episode terminates on a fall, torso height outside (0.8, 2) m
    or tilt outside (−1, 1) rad, and is truncated after 500 steps. Step length and cost weight are Walker2d-v5's.
    Arguments are Walker2d-v5's. MuJoCo draws it, which needs OpenGL.

    Raises ValueError unless numbers among the arguments are finite, `render_mode` is known, and every action is 6
    finite numbers in an array (6,).
    Departure: rllab's Walker2D steps by 0.005 s and weighs the cost by 0.005.
    Source: [VIME].
    """

    def __init__(self, **kwargs: Any) -> None:
        check_robot(self, kwargs)
        with no_log_file():
            super().__init__(healthy_reward=0.0, **HOLDS_X, **kwargs)
        EzPickle.__init__(self, **kwargs)

    def step(self, action: Any) -> Any:
        """Walker2d-v5's step."""
        torques = action_array(action, (NUM_TORQUES,))
        robot: Any = super()
        observation, reward, terminated, truncated, info = robot.step(torques)
        return observation, float(reward), terminated, truncated, info

    def render(self) -> Any:
        """MuJoCo's picture, or None without a render mode."""
        return drawn(self)


@contextmanager
def no_log_file() -> Iterator[None]:
    """Make MuJoCo's warnings in the block Python's; MuJoCo alone writes them to MUJOCO_LOG.TXT."""
    mujoco: Any = importlib.import_module("mujoco")
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(warn_of)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def warn_of(message: str) -> None:
    """Warn, except of Gymnasium's own model files, which have a deprecated attribute."""
    if "'settotalmass' is deprecated" not in message:
        warnings.warn(message, stacklevel=2)


def drawn(robot: Any) -> Any:
    """The picture by Gymnasium's renderer, or None without a render mode.

    Raises gymnasium.error.DependencyNotInstalled, saying what helps, if OpenGL fails.
    """
    if robot.render_mode is None:
        return None
    if not FAILURES:
        try:
            return robot.mujoco_renderer.render(robot.render_mode)
        except Exception as error:
            FAILURES.append(error)

    name = type(robot).__name__
    backends = "MUJOCO_GL=egl or MUJOCO_GL=osmesa, with that library installed"
    raise DependencyNotInstalled(
        f"{name} is drawn by OpenGL, which failed ({FAILURES[0]}). Without a display, set {backends}"
    ) from FAILURES[0]


# ---------------------------------------------------------------- argument checks


def check_robot(robot: Any, kwargs: dict[str, Any]) -> None:
    """Raise ValueError unless the render mode is known and numbers are finite."""
    mode = kwargs.get("render_mode")
    if mode is not None:
        check_choice("render_mode", mode, tuple(type(robot).metadata["render_modes"]))
    for name, value in kwargs.items():
        if isinstance(value, float):
            check_number(name, value)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

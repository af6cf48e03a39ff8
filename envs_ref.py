"""Sparse tasks, registered with Gymnasium under `vime_ref/` when this module is imported.

Sources: [VIME] Houthooft et al. 2016, arXiv 1605.09674, and the original code openai/vime, for the reward rules.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control import Continuous_MountainCarEnv

# ---------------------------------------------------------------- tasks


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


gym.register(id="vime_ref/SparseMountainCar-v0", entry_point=SparseMountainCar, max_episode_steps=500)


class SparseHalfCheetah(gym.Wrapper[Any, Any, Any, Any]):
    """HalfCheetah-v5 that pays 1 for a step that ends with the torso at x > 5 m and 0 otherwise; no cost of action.

    Observation (18,): positions, the torso's x first, then velocities. Action (6,): torques from −1 to 1.
    A step is 0.01 s of physics (frame_skip 1). An episode never terminates and is truncated after 500 steps.
    """

    def __init__(self, **kwargs: Any) -> None:
        from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

        super().__init__(HalfCheetahEnv(frame_skip=1, exclude_current_positions_from_observation=False, **kwargs))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, float(info["x_position"] > 5.0), terminated, truncated, info


gym.register(id="vime_ref/SparseHalfCheetah-v0", entry_point=SparseHalfCheetah, max_episode_steps=500)

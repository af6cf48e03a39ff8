"""One environment's resets and steps, with each value checked and named.

Errors name the step. Observations are float64 copies, because environments may reuse
their arrays.
"""

from __future__ import annotations

from typing import Any

from gymnasium import Env

from agents_ref import checked
from bnn_ref import Array, any_array

# ---------------------------------------------------------------- definitions


def reset_env(env: Env[Any, Any], step: int, seed: int | None = None) -> Array:
    """The first observation of an episode, (K,)."""
    result = env.reset(seed=seed)
    if not (isinstance(result, tuple) and len(result) == 2):
        got = type(result).__name__
        raise ValueError(f"reset must return an observation and a dict, got {got}")
    return check_observation(result[0], env.observation_space, step)


def step_env(
    env: Env[Any, Any], action: Any, step: int
) -> tuple[Array, float, bool, bool]:
    """The observation after an action, its reward, terminated and truncated."""
    # Five values.
    result = env.step(action)
    several = isinstance(result, tuple)
    if not several or len(result) != 5:
        wanted = "observation, reward, terminated, truncated and a dict"
        got = f"{len(result)} values" if several else repr(result)
        raise ValueError(f"step must return {wanted}, got {got}")

    # Each of its kind.
    observation, reward, terminated, truncated, _ = result
    space = env.observation_space
    return (
        check_observation(observation, space, step),
        check_single(checked(reward, "reward", step), "reward", step),
        check_end_flag(terminated, "terminated", step),
        check_end_flag(truncated, "truncated", step),
    )


# ---------------------------------------------------------------- argument checks


def check_single(values: Array, name: str, step: int) -> float:
    if values.size != 1:
        place = f"{name} at step {step}"
        raise ValueError(f"{place} must be one number, got {values}")
    return float(values.item())


def check_end_flag(flag: Any, name: str, step: int) -> bool:
    if isinstance(flag, bool):
        return flag
    array = any_array(flag)
    whole = array.size == 1 and array.dtype.kind in "biu"
    if not whole or array.item() not in (0, 1):
        place = f"{name} at step {step}"
        raise ValueError(f"{place} must be true or false, got {flag!r}")
    return bool(array.item())


def check_observation(values: Any, space: Any, step: int) -> Array:
    """A float64 copy of an observation of this space."""
    array = checked(values, "observation", step)
    if array.shape != space.shape:
        wanted = f"must have shape {space.shape}, got {array.shape}"
        raise ValueError(f"observation at step {step} {wanted}")
    return array


# ---------------------------------------------------------------- what `help` shows

__all__ = ["reset_env", "step_env"]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

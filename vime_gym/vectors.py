"""Observations and actions of Gymnasium's spaces as rows of numbers, as a bonus takes them.

    space          as an observation (K,)     as an action
    Discrete       one-hot                    an index from 0
    MultiDiscrete  one-hot of each part       one-hot of each part
    MultiBinary    none: encode it            its bits
    Box            as it is, of one axis      flat, clipped to its bounds

One-hot columns and bits keep their units in `Vime`.
Axes: N rows, K observation dimensions, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from inspect import Parameter, signature
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space
from gymnasium.vector import SyncVectorEnv, VectorWrapper
from gymnasium.wrappers import ClipAction
from gymnasium.wrappers import vector as vector_wrappers

import fast_ref
from agents_ref import checked
from bnn_ref import Array, any_array, check_function, check_kind
from vime_gym.pools import with_ring_pool
from vime_lecture.steps import reset_env, step_env
from vime_ref import Vime, VimeSettings, vime_init

Encode = Callable[[Any], Any]  # an observation to its vector (K,)
Observations = Sequence[Any] | Array  # N observations of a space

# ---------------------------------------------------------------- encoders


class ObservationEncoder(NamedTuple):
    """An encoder of observations as vectors."""

    size: int  # K
    one_hot: tuple[int, ...]  # columns of the K
    rows: Callable[[Observations, int], Array]  # observations and step -> (N, K)


class ActionEncoder(NamedTuple):
    """An encoder of actions as a bonus takes them."""

    space: Space[Any]  # Discrete or a Box of shape (A,): the action space of the model
    one_hot: tuple[int, ...]  # columns of the A
    rows: Callable[[Any, int], Array]  # actions and step -> (N, A), or indices (N,)


def observation_encoder(
    observation_space: Space[Any], encode: Encode | None = None
) -> ObservationEncoder:
    """The encoder of observations. Raises ValueError if the space needs `encode`."""
    space = observation_space
    check_kind("observation_space", space, Space)
    if encode is not None:
        check_function("encode", encode)
        return encoded_by(space, encode)
    if isinstance(space, Discrete | MultiDiscrete):
        parts, starts = choices_of(space)
        size = int(parts.sum())

        def one_hot(values: Observations, step: int) -> Array:
            return one_hot_rows("observation", values, parts, starts, step)

        return ObservationEncoder(size, tuple(range(size)), one_hot)
    if isinstance(space, Box) and len(space.shape) == 1:

        def plain(values: Observations, step: int) -> Array:
            return number_rows("observation", values, space.shape, step)

        return ObservationEncoder(space.shape[0], (), plain)
    wanted = "a Box of one axis, Discrete or MultiDiscrete"
    got = f"{space}: {advice_for(space)}"
    raise ValueError(f"observation_space must be {wanted}, got {got}")


def advice_for(space: Space[Any]) -> str:
    """Advice on a space without an encoder: Vime would normalize a flat one-hot."""
    advice = "give encode, a function to a vector"
    flatten = "gymnasium.wrappers.FlattenObservation"
    if has_choices(space):
        trap = "makes columns of 0 and 1, which one_hot of Vime must name"
        return f"{advice}; {flatten} {trap}"
    return f"{advice}, or use {flatten}"


def has_choices(space: Space[Any]) -> bool:
    """True if parts of the space become columns of 0 and 1 if it is flattened."""
    parts = getattr(space, "spaces", ())
    each = parts.values() if isinstance(parts, Mapping) else parts
    choice = isinstance(space, Discrete | MultiDiscrete | MultiBinary)
    return choice or any(map(has_choices, each))


def encoded_by(space: Space[Any], encode: Encode) -> ObservationEncoder:
    """The encoder that calls `encode`; K is the length of one sample's vector."""

    def rows(values: Observations, step: int) -> Array:
        given = [checked(encode(value), "encode's vector", step) for value in values]
        return number_rows("encode's vector", given, (size,), step)

    # A copy, so that the user's own samples stay as they are.
    sample = any_array(encode(deepcopy(space).sample()))
    if sample.ndim != 1 or sample.dtype.kind not in "biuf" or not len(sample):
        got = f"shape {sample.shape} of {sample.dtype}"
        raise ValueError(f"encode must return a vector (K,), got {got}")
    size = len(sample)
    return ObservationEncoder(size, (), rows)


def action_encoder(action_space: Space[Any]) -> ActionEncoder:
    """The encoder of actions. Raises ValueError if there is none for the space."""
    space = action_space
    if isinstance(space, Discrete):
        parts, starts = choices_of(space)

        def index(values: Any, step: int) -> Array:
            return indices("action", values, parts, starts, step)[:, 0]  # (N,)

        return ActionEncoder(Discrete(int(space.n)), (), index)
    if isinstance(space, MultiDiscrete):
        parts, starts = choices_of(space)

        def one_hot(values: Any, step: int) -> Array:
            return one_hot_rows("action", values, parts, starts, step)

        return bits(int(parts.sum()), one_hot)
    if isinstance(space, MultiBinary):
        size = int(np.prod(space.shape))
        parts = np.full(size, 2)

        def flat(values: Any, step: int) -> Array:
            return indices("action", values, parts, 0 * parts, step).astype(float)

        return bits(size, flat)
    if isinstance(space, Box):
        return of_box(space)
    wanted = "Discrete, MultiDiscrete, MultiBinary or a Box"
    raise ValueError(f"action_space must be {wanted}, got {space}")


def bits(size: int, rows: Callable[[Any, int], Array]) -> ActionEncoder:
    """Actions whose columns are 0 or 1."""
    return ActionEncoder(Box(0.0, 1.0, (size,), np.float64), tuple(range(size)), rows)


def of_box(space: Box) -> ActionEncoder:
    """Flat actions, clipped to the bounds, which may be infinite."""
    low = space.low.ravel()  # (A,)
    high = space.high.ravel()  # (A,)

    def clipped(values: Any, step: int) -> Array:
        array = any_array(values)
        if array.dtype.kind not in "biuf" or array.shape[1:] != space.shape:
            raise ValueError(misfit("action", array, space.shape, step))
        flat = array.reshape(len(array), low.size)  # (N, A)
        taken = np.clip(flat.astype(float), low, high)  # (N, A)
        return checked(taken, "action", step)

    return ActionEncoder(Box(low, high, dtype=space.dtype.type), (), clipped)


# ---------------------------------------------------------------- rows


def number_rows(name: str, values: Any, shape: tuple[int, ...], step: int) -> Array:
    """A float64 copy (N, *shape). Raises ValueError that names the step."""
    array = checked(values, name, step)
    if array.shape[1:] != shape:
        raise ValueError(misfit(name, array, shape, step))
    return array


def misfit(name: str, array: Any, shape: tuple[int, ...], step: int) -> str:
    got = f"{array.shape[1:]} of {array.dtype}"
    return f"{name} must be numbers of shape {shape}, got {got} at step {step}"


def choices_of(space: Discrete | MultiDiscrete) -> tuple[Any, Any]:
    """The number of values of each part, and the least of them; one part if Discrete."""
    many = space.nvec if isinstance(space, MultiDiscrete) else np.array([space.n])
    return np.ravel(many), np.ravel(np.broadcast_to(space.start, np.shape(many)))


def indices(name: str, values: Any, parts: Any, starts: Any, step: int) -> Any:
    """Indices from 0 (N, parts). Raises ValueError unless they are in the space."""
    array = checked(values, name, step)
    size = len(parts)
    if not array.ndim or array.size != len(array) * size:
        raise ValueError(misfit(name, array, (size,), step))
    rows = array.reshape(len(array), size) - starts  # (N, parts)
    if not np.all((rows == np.floor(rows)) & (rows >= 0) & (rows < parts)):
        got = f"{values} at step {step}"
        raise ValueError(f"{name} must be in its space, got {got}")
    return rows.astype(np.int64)


def one_hot_rows(name: str, values: Any, parts: Any, starts: Any, step: int) -> Array:
    """One column for each value of each part, (N, sum of parts)."""
    chosen = indices(name, values, parts, starts, step)  # (N, parts)
    columns = np.cumsum(parts) - parts + chosen  # (N, parts)
    rows = np.zeros((len(chosen), int(parts.sum())))
    np.put_along_axis(rows, columns, 1.0, axis=1)  # (N, sum of parts)
    return rows


# ---------------------------------------------------------------- the default bonus

# The original code's numbers, with the fast functions.
FAST = VimeSettings(fit=fast_ref.fit, gains=fast_ref.information_gains)


def vime_for(
    env: Any,
    *,
    settings: VimeSettings | None = None,
    encode: Encode | None = None,
    seed: int | None = None,
) -> Vime:
    """`Vime` for the environment's spaces; its one-hot columns are not normalized.

    The settings are the original code's with the functions of `fast_ref`, if none are
    given.
    """
    observation_space, action_space = spaces_of(env)
    seen = observation_encoder(observation_space, encode)
    done = action_encoder(action_space)
    behind = tuple(seen.size + column for column in done.one_hot)
    rng = generator("seed", seed)
    chosen = FAST if settings is None else settings
    bonus = vime_init(seen.size, done.space, rng, chosen)
    return with_ring_pool(replace(bonus, one_hot=(*seen.one_hot, *behind)))


def as_vector(*envs: gymnasium.Env[Any, Any]) -> SyncVectorEnv:
    """The environments as the vector that `agents_ref.train` acts in, one after another.

    What each returns is checked: errors name the step. `gymnasium.make_vec` is faster.
    Raises ValueError if there is none, or the same one twice.
    """
    for env in envs:
        check_takes_seed("envs", env)
    if not envs or len({id(env.unwrapped) for env in envs}) < len(envs):
        raise ValueError(f"envs must be one or more, all different, got {len(envs)}")
    return SyncVectorEnv([partial(Checked, env) for env in envs])


class Checked(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose resets and steps are checked, and named in errors."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if options:
            raise ValueError(f"options must be none, got {options}")
        if seed is not None:
            self.steps = 0
        return reset_env(self.env, max(self.steps - 1, 0), seed), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        taken = int(action) if isinstance(self.action_space, Discrete) else action
        result = step_env(self.env, taken, self.steps)
        self.steps += 1
        return (*result, {})


def generator(name: str, seed: Any) -> np.random.Generator:
    """The generator of a seed; of none, any."""
    whole = seed is None or isinstance(seed, int | np.integer)
    if not whole or isinstance(seed, bool) or (seed is not None and seed < 0):
        raise ValueError(f"{name} must be a whole number >= 0 or None, got {seed!r}")
    return np.random.default_rng(seed)


def spaces_of(env: Any) -> tuple[Space[Any], Space[Any]]:
    """Observation and action space of an environment, or of one of a vector.

    Any object with these two spaces will do, such as another library's vector.
    Raises ValueError if ClipAction hides the bounds of actions.
    """
    if isinstance(env, gymnasium.vector.VectorEnv):
        for each in (env, *getattr(env.unwrapped, "envs", ())):
            check_unclipped(env.single_action_space, each)
        return env.single_observation_space, env.single_action_space
    for name in ("observation_space", "action_space"):
        check_kind(f"{name} of env", getattr(env, name, None), Space)
    vector = hasattr(env, "env_is_wrapped")  # of Stable-Baselines3
    if vector and any(env.env_is_wrapped(ClipAction)):
        raise ValueError(clipped_away(env.action_space))
    check_unclipped(env.action_space, env)
    return env.observation_space, env.action_space


# ---------------------------------------------------------------- argument checks


def check_takes_seed(name: str, env: Any) -> None:
    """Raise ValueError unless it is an environment whose `reset` takes a seed."""
    check_kind(name, env, gymnasium.Env)

    # Gym's old interface took none.
    parameters = signature(env.unwrapped.reset).parameters
    kinds = {each.kind for each in parameters.values()}
    takes_any = Parameter.VAR_KEYWORD in kinds
    if not takes_any and "seed" not in parameters:
        given = ", ".join(parameters)
        raise ValueError(f"reset of {name} must take a seed, got reset({given})")


def check_unclipped(space: Any, env: Any) -> None:
    """Raise ValueError if ClipAction is inside: what it clips would be free novelty."""
    while isinstance(env, gymnasium.Wrapper | VectorWrapper):
        if isinstance(env, ClipAction | vector_wrappers.ClipAction):
            raise ValueError(clipped_away(space))
        env = env.env


def clipped_away(space: Any) -> str:
    advice = "wrap ClipAction around the curious environment"
    wanted = "action_space must have the bounds of the actions"
    return f"{wanted}, got {space} of ClipAction: {advice}"


# ---------------------------------------------------------------- what `help` shows

__all__ = ["vime_for", "as_vector", "observation_encoder", "action_encoder"]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

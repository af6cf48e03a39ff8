"""The tasks of the headline results, their settings, and a run's beginning.

A run is a function of its `Job`: the task's settings, the bonus and the seed. Sources of the settings: the original
code openai/vime and its author's development history; where those leave a value open, trial runs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import partial
from math import inf
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.random import Generator

import fast_ref as fast
import vime_gym
from agents_ref import (
    AgentSettings,
    Streams,
    ValueFunction,
    policy_init,
    trpo_step,
    value_init,
)
from bnn_ref import check_count, check_positive
from vime_lecture.controls import PredictionError
from vime_ref import Bonus, NoBonus, VimeSettings, vime_init

gym.register_envs(vime_gym)  # its import did; this uses the name

# ---------------------------------------------------------------- constants

ROOT_SEED = 0  # run number s draws from numpy.random.default_rng([ROOT_SEED, s])
BONUSES = ("vime", "none", "l2")

# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class TrpoSettings:
    """The keywords of `trpo_step` that tasks differ in; the defaults are its own: the original's KL, and every row."""

    max_kl: float = 0.01
    fisher_every: int = 1

    def __post_init__(self) -> None:
        check_positive("max_kl", self.max_kl)
        check_count("fisher_every", self.fisher_every)


@dataclass(frozen=True)
class Task:
    """A task's environment and settings, the same for all bonuses and seeds."""

    env_id: str
    axes: tuple[
        str, str
    ]  # names of the first two observations, for the picture of visited states
    iterations: int  # of agent.batch_steps steps
    policy_sizes: tuple[int, ...] = (32,)  # hidden units
    value_sizes: tuple[int, ...] = (32,)
    observation_scale: tuple[
        float, ...
    ] = ()  # what the policy's network sees as 1, by dimension; () for 1 in all
    agent: AgentSettings = field(default_factory=AgentSettings)
    trpo: TrpoSettings = field(default_factory=TrpoSettings)
    vime: VimeSettings = field(default_factory=VimeSettings)

    def __post_init__(self) -> None:
        check_count("iterations", self.iterations)


class Job(NamedTuple):
    """One run."""

    task_name: str
    bonus_name: str
    setting: (
        str  # what a sweep has set, such as "agent.eta=0.1"; empty where there is none
    )
    seed: int
    task: Task


# ---------------------------------------------------------------- the tasks

# The original's model, by the fast twins of its functions.
FAST = VimeSettings(gradient=fast.elbo_grad, gains=fast.information_gains)
LEARNING = replace(
    FAST, likelihood_sigma=0.5, num_data=1000.0
)  # a model that comes to predict
BODY_SCALE = (
    3.0,
    0.1,
    0.3,
    *[0.5] * 6,
    1.0,
    0.6,
    2.0,
    *[8.0] * 6,
)  # x, z, tilt, joints; their speeds
WALKER_SCALE = (
    3.0,
    1.25,
    *BODY_SCALE[2:],
)  # whose height is about 1.25, where HalfCheetah's is near 0
TASKS = {
    "SparseMountainCar": Task(
        env_id="vime_ref/SparseMountainCar-v0",
        axes=("position (the goal is at 0.45)", "velocity"),
        iterations=20,
        agent=AgentSettings(eta=1e-4),
        vime=FAST,
    ),
    "SparseCartPoleSwingup": Task(
        env_id="vime_ref/SparseCartPoleSwingup-v0",
        axes=("cart position", "cart velocity"),
        iterations=300,
        observation_scale=(1.5, 2.0, 1.0, 1.0, 5.0),
        agent=AgentSettings(eta=1e-3, lam=0.97),
        trpo=TrpoSettings(max_kl=0.05, fisher_every=5),
        vime=LEARNING,
    ),
    "SparseHalfCheetah": Task(
        env_id="vime_ref/SparseHalfCheetah-v0",
        axes=("torso position (paid beyond 5)", "torso height"),
        iterations=600,
        value_sizes=(),
        observation_scale=BODY_SCALE,
        agent=AgentSettings(eta=1e-3, gamma=0.999, lam=0.97, curious_values=False),
        trpo=TrpoSettings(max_kl=0.05, fisher_every=5),
        vime=LEARNING,
    ),
    "Walker2D": Task(
        env_id="vime_ref/Walker2D-v0",
        axes=("torso position", "torso height"),
        iterations=100,
        policy_sizes=(64, 32),
        value_sizes=(64, 32),
        observation_scale=WALKER_SCALE,
        agent=AgentSettings(eta=1e-3, lam=0.97),
        trpo=TrpoSettings(max_kl=0.05, fisher_every=5),
        vime=LEARNING,
    ),
}

# ---------------------------------------------------------------- settings by name


def settings_of(task: Any) -> dict[str, Any]:
    """A task's settings as JSON knows them; functions are the same in all runs, and left out."""
    plain = without_functions(asdict(task))
    return dict(json.loads(json.dumps(plain)))  # tuples become lists


def without_functions(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: without_functions(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if not callable(value)
    }


def of_kind(name: str, value: Any, old: Any) -> bool:
    if isinstance(old, tuple):  # sizes, or scales
        kinds = (int, float) if name == "observation_scale" else (int,)
        return isinstance(value, tuple) and all(
            type(number) in kinds and 0 < number < inf for number in value
        )
    if isinstance(old, float):
        return type(value) in (int, float)
    return type(value) is type(old)


def with_setting(settings: Any, name: str, value: Any) -> Any:
    """The task with one setting, such as "agent.eta", changed; ValueError where name or value does not fit."""
    head, _, rest = name.partition(".")
    known = [
        f.name
        for f in fields(settings)
        if f.name not in ("env_id", "axes") and not callable(f.default)
    ]
    if head not in known or is_dataclass(getattr(settings, head)) != bool(rest):
        raise ValueError(f"setting must be one of {', '.join(known)}, got {name!r}")
    old = getattr(settings, head)
    if rest:
        return replace(settings, **{head: with_setting(old, rest, value)})
    value = tuple(value) if isinstance(value, list) else value
    if not (
        of_kind(name, value, 0.0 if name == "num_data" else old)
        or (name == "num_data" and value is None)
    ):
        kind = f"a list of {'finite numbers' if name == 'observation_scale' else 'whole numbers'} > 0"
        raise ValueError(
            f"{name} must be {kind if isinstance(old, tuple) else f'of the kind of {old!r}'}, got {value!r}"
        )
    return replace(settings, **{head: value})


def with_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
    }


def task_from(settings: dict[str, Any]) -> Task:
    """The inverse of `settings_of`."""
    parts: dict[str, Any] = {
        "agent": AgentSettings(),
        "trpo": TrpoSettings(),
        "vime": FAST,
    }
    built = {
        name: replace(part, **with_tuples(settings[name]))
        for name, part in parts.items()
    }
    return Task(**{**with_tuples(settings), **built})


# ---------------------------------------------------------------- a run's beginning


def observed(env: gym.Env[Any, Any]) -> int:
    """The number of observation dimensions."""
    return int(np.prod(env.observation_space.shape or ()))


def bonus_init(name: str, task: Task, env: gym.Env[Any, Any], rng: Generator) -> Bonus:
    if name == "none":
        return NoBonus()
    model = vime_init(observed(env), env.action_space, rng, task.vime)
    return model if name == "vime" else PredictionError(model)


class Start(NamedTuple):
    """All that `train` needs; equal seeds start from equal policies."""

    env: gym.Env[Any, Any]
    policy: Any
    bonus: Bonus
    value: ValueFunction
    streams: Streams
    settings: AgentSettings


def start(job: Job) -> Start:
    task = job.task
    env = gym.make(task.env_id, disable_env_checker=True)
    init, *streams = np.random.default_rng([ROOT_SEED, job.seed]).spawn(5)
    policy = policy_init(
        observed(env),
        env.action_space,
        init,
        task.policy_sizes,
        task.observation_scale or None,
    )
    value = value_init(observed(env), init, task.value_sizes)
    bonus = bonus_init(job.bonus_name, task, env, init)
    settings = replace(task.agent, policy_step=partial(trpo_step, **asdict(task.trpo)))
    return Start(env, policy, bonus, value, Streams(*streams), settings)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

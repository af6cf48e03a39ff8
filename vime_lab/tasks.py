"""The tasks of the headline results, their settings, and the initial state of a run.

A run is a function of its `Job`: the task's settings, the bonus and the seed.

Sources of the settings: the original code openai/vime and its author's development
history, and trial runs for values that those leave open.
"""

from __future__ import annotations

import importlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import partial
from math import inf
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.random import Generator

import fast_ref
import vime_gym
from agents_ref import AgentSettings, Streams, ValueFunction, policy_init, value_init
from bnn_ref import (
    check_count,
    check_flag,
    check_positive,
    sample_eps,
    sample_zeta,
    set_fields,
)
from vime_lecture.controls import PredictionError
from vime_ref import Bonus, NoBonus, Vime, VimeSettings, check_hidden, vime_init

gym.register_envs(vime_gym)  # the import registers tasks; this line uses the name

# ---------------------------------------------------------------- constants

ROOT_SEED = 0  # run s draws from numpy.random.default_rng([ROOT_SEED, s])
BONUSES = ("vime", "none", "l2")
FIXED = ("env_id", "axes")  # the fields that identify a task; all others are settings

# The functions of a model, by its noise; all except the noise are fast twins.
PER_WEIGHT: dict[str, Any] = {
    "sample_noise": sample_eps,
    "gradient": fast_ref.elbo_grad,
    "fit": fast_ref.fit,
    "gains": fast_ref.information_gains,
}
LOCAL: dict[str, Any] = {
    "sample_noise": sample_zeta,
    "gradient": fast_ref.elbo_grad_local,
    "fit": fast_ref.fit,
    "gains": fast_ref.information_gains_local,
}

# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class TrpoSettings:
    """The keywords of `trpo_step` in which tasks differ.

    The defaults are those of `trpo_step`: the original's KL, and every row.
    """

    max_kl: float = 0.01
    fisher_every: int = 1

    def __post_init__(self) -> None:
        set_fields(
            self,
            max_kl=float(check_positive("max_kl", self.max_kl, ())),
            fisher_every=check_count("fisher_every", self.fisher_every),
        )


@dataclass(frozen=True)
class Task:
    """A task's environment and settings, the same for all bonuses and seeds."""

    env_id: str
    axes: tuple[str, str]  # the first two observations, for the picture of states
    iterations: int  # of agent.batch_steps steps or more
    policy_sizes: tuple[int, ...] = (32,)  # hidden units
    value_sizes: tuple[int, ...] = (32,)
    # divisors of the policy's inputs, by dimension; () means 1
    observation_scale: tuple[float, ...] = ()
    agent: AgentSettings = field(default_factory=AgentSettings)
    trpo: TrpoSettings = field(default_factory=TrpoSettings)
    vime: VimeSettings = field(default_factory=VimeSettings)
    # noise per unit and row, drawn anew for each row; else noise per weight
    local: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.env_id, str):
            raise ValueError(f"env_id must be a text, got {self.env_id!r}")
        if not isinstance(self.axes, tuple) or len(self.axes) != 2:
            raise ValueError(f"axes must be two texts, got {self.axes!r}")
        scale = check_positive("observation_scale", self.observation_scale, (None,))
        set_fields(
            self,
            iterations=check_count("iterations", self.iterations),
            policy_sizes=check_hidden(self.policy_sizes, "policy_sizes"),
            value_sizes=check_hidden(self.value_sizes, "value_sizes"),
            observation_scale=tuple(scale.tolist()),
            local=check_flag("local", self.local),
        )

        # nested settings check themselves
        parts = {"agent": AgentSettings, "trpo": TrpoSettings, "vime": VimeSettings}
        for name, kind in parts.items():
            if not isinstance(getattr(self, name), kind):
                got = type(getattr(self, name)).__name__
                raise ValueError(f"{name} must be a {kind.__name__}, got {got}")


class Job(NamedTuple):
    """One run."""

    task_name: str
    bonus_name: str
    setting: str  # a sweep's setting, such as "agent.eta=0.1", or ""
    seed: int
    task: Task


# ---------------------------------------------------------------- the tasks

# The original's model.
ORIGINAL = VimeSettings()
# A model that learns to predict.
LEARNING = replace(ORIGINAL, likelihood_sigma=0.5, num_data=1000.0)

POSITIONS = (3.0, 0.1, 0.3, *[0.5] * 6)  # x, z, tilt, joints
SPEEDS = (1.0, 0.6, 2.0, *[8.0] * 6)
BODY_SCALE = (*POSITIONS, *SPEEDS)
# The walker's height is about 1.25; HalfCheetah's is near 0.
WALKER_SCALE = (3.0, 1.25, *BODY_SCALE[2:])

MUJOCO_TASKS = ("SparseHalfCheetah", "Walker2D")
TASKS = {
    "SparseMountainCar": Task(
        env_id="vime_ref/SparseMountainCar-v0",
        axes=("position (the goal is at 0.45)", "velocity"),
        iterations=20,
        agent=AgentSettings(eta=1e-4),
        vime=ORIGINAL,
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


def setting_names(settings: Any) -> list[str]:
    """All settings of a dataclass except functions."""
    return [each.name for each in fields(settings) if not callable(each.default)]


def settings_of(settings: Any) -> dict[str, Any]:
    """Settings and nested settings in JSON types, without functions.

    Raises ValueError if a function is not its default, because it would be lost.
    """
    check_functions(settings)
    values = {name: getattr(settings, name) for name in setting_names(settings)}
    text = json.dumps(values, default=settings_of)
    return dict(json.loads(text))  # tuples become lists


def settings_from(like: Any, values: dict[str, Any]) -> Any:
    """The inverse of `settings_of`; types and functions are those of `like`."""
    built = {}
    for name, value in values.items():
        old = getattr(like, name)
        nested = is_dataclass(old)
        built[name] = settings_from(old, value) if nested else with_tuples(value)
    return replace(like, **built)


def task_from(settings: dict[str, Any]) -> Task:
    """The task with these settings; functions get their defaults."""
    task: Task = settings_from(Task("", ("", ""), 1), settings)
    return task


def with_tuples(value: Any) -> Any:
    """A list and the lists in it as tuples; any other value unchanged."""
    if not isinstance(value, list):
        return value
    return tuple(with_tuples(each) for each in value)


def with_setting(settings: Any, name: str, value: Any) -> Any:
    """The task with one setting, such as "agent.eta", changed.

    Raises ValueError if the name is unknown or the value has the wrong type.
    """
    if not is_dataclass(settings) or isinstance(settings, type):
        raise ValueError(f"settings must be of a task, got {settings!r}")
    if not isinstance(name, str):
        raise ValueError(f"name must be the name of a setting, got {name!r}")
    head, _, rest = name.partition(".")
    check_name(settings, head, bool(rest), name)
    old = getattr(settings, head)

    # a nested setting, such as one of agent or vime
    if rest:
        return replace(settings, **{head: with_setting(old, rest, value)})

    # a setting of this dataclass
    if isinstance(value, list):
        value = tuple(value)
    check_setting(name, value, old)
    return replace(settings, **{head: value})


# ---------------------------------------------------------------- jobs

Change = tuple[str, list[Any]]  # a setting and the values to try


def swept(task: Task, changes: Sequence[Change]) -> Iterator[tuple[str, Task]]:
    """The task with every combination of the changed settings, each with a name."""
    for values in itertools.product(*(choices for _, choices in changes)):
        changed = task
        names = []
        for (name, choices), value in zip(changes, values):
            changed = with_setting(changed, name, value)
            if len(choices) > 1:
                names.append(f"{name}={json.dumps(value)}")
        yield " ".join(names), changed


def jobs_of(
    task_name: str,
    bonuses: Sequence[str],
    num_seeds: int,
    changes: Sequence[Change] = (),
) -> list[Job]:
    """The jobs of a task: every bonus, setting and seed.

    Raises ValueError if a setting is invalid or is changed twice.
    """
    check_jobs(task_name, bonuses, changes)
    num_seeds = check_count("num_seeds", num_seeds)
    return [
        Job(task_name, bonus, setting, seed, task)
        for setting, task in swept(TASKS[task_name], changes)
        for bonus in bonuses
        for seed in range(num_seeds)
    ]


# ---------------------------------------------------------------- start of a run


class Uninformed(gym.Wrapper[Any, Any, Any, Any]):
    """An environment without infos, which a vector would collect at every step."""

    def reset(self, **keywords: Any) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(**keywords)[0], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self.env.step(action)
        return observation, reward, terminated, truncated, {}


def envs_of(task: Task) -> VectorEnv[Any, Any, Any]:
    """As many environments as whole episodes of the time limit fill a batch."""
    module, _, name = task.env_id.rpartition(":")
    if module:  # which registers the task
        importlib.import_module(module)
    spec = gym.spec(name)
    limit = spec.max_episode_steps or task.agent.batch_steps
    num_envs = -(-task.agent.batch_steps // limit)
    # Single environments would check each step again.
    if spec.vector_entry_point is None:
        return gym.make_vec(
            task.env_id, num_envs, wrappers=[Uninformed], disable_env_checker=True
        )
    return gym.make_vec(task.env_id, num_envs)


def observed(envs: VectorEnv[Any, Any, Any]) -> int:
    """The number of observation dimensions."""
    return int(np.prod(envs.single_observation_space.shape or ()))


def model_init(
    num_observed: int,
    space: Any,
    rng: Generator,
    settings: VimeSettings,
    *,
    local: bool = False,
) -> Vime:
    """The bonus's model, with the fast twins, for runs and studies."""
    functions = LOCAL if local else PER_WEIGHT
    return vime_init(num_observed, space, rng, replace(settings, **functions))


def bonus_init(
    name: str, task: Task, envs: VectorEnv[Any, Any, Any], rng: Generator
) -> Bonus:
    if name == "none":
        return NoBonus()
    space = envs.single_action_space
    model = model_init(observed(envs), space, rng, task.vime, local=task.local)
    return model if name == "vime" else PredictionError(model)


class Start(NamedTuple):
    """The arguments of `train`; equal seeds start from equal policies."""

    envs: VectorEnv[Any, Any, Any]
    policy: Any
    bonus: Bonus
    value: ValueFunction
    streams: Streams
    settings: AgentSettings


def start(job: Job) -> Start:
    task = job.task
    envs = envs_of(task)
    init, *streams = np.random.default_rng([ROOT_SEED, job.seed]).spawn(5)

    # the networks; weights are drawn in this order
    num_observed = observed(envs)
    space = envs.single_action_space
    scale = task.observation_scale or None
    policy = policy_init(num_observed, space, init, task.policy_sizes, scale)
    value = value_init(num_observed, init, task.value_sizes)
    bonus = bonus_init(job.bonus_name, task, envs, init)

    # the policy's step, always TRPO
    step = partial(fast_ref.trpo_step, **asdict(task.trpo))
    settings = replace(
        task.agent,
        policy_step=step,
        value_step=fast_ref.value_fit,
        rollout=fast_ref.rollout,
    )
    return Start(envs, policy, bonus, value, Streams(*streams), settings)


# ---------------------------------------------------------------- argument checks


def check_jobs(
    task_name: str, bonuses: Sequence[str], changes: Sequence[Change]
) -> None:
    if not isinstance(task_name, str) or task_name not in TASKS:
        known = ", ".join(TASKS)
        raise ValueError(f"task_name must be one of {known}, got {task_name!r}")
    named = isinstance(bonuses, list | tuple)
    if not named or not all(each in BONUSES for each in bonuses):
        known = ", ".join(BONUSES)
        raise ValueError(f"bonuses must be a list of {known}, got {bonuses!r}")
    pairs = isinstance(changes, list | tuple) and all(
        isinstance(each, list | tuple) and len(each) == 2 for each in changes
    )
    if not pairs:
        wanted = "a list of names and the values to try"
        raise ValueError(f"changes must be {wanted}, got {changes!r}")
    check_changes(changes)


def check_functions(settings: Any) -> None:
    for each in fields(settings):
        value = getattr(settings, each.name)
        if callable(each.default) and value is not each.default:
            raise ValueError(f"{each.name} must be its default, got {value!r}")


def check_changes(changes: Sequence[Change]) -> None:
    times = Counter(name for name, _ in changes)
    if twice := [name for name in times if times[name] > 1]:
        raise ValueError(f"{twice[0]} is set more than once")


def check_name(settings: Any, head: str, has_rest: bool, name: str) -> None:
    known = [each for each in setting_names(settings) if each not in FIXED]
    if head not in known or is_dataclass(getattr(settings, head)) != has_rest:
        raise ValueError(f"setting must be one of {', '.join(known)}, got {name!r}")


def check_setting(name: str, value: Any, old: Any) -> None:
    if name == "num_data":
        if value is None:  # the same number of entries
            return
        old = 0.0
    if of_kind(name, value, old):
        return
    kind = f"of the kind of {old!r}"
    if isinstance(old, tuple):
        numbers = "finite" if name == "observation_scale" else "whole"
        kind = f"a list of {numbers} numbers > 0"
    raise ValueError(f"{name} must be {kind}, got {value!r}")


def of_kind(name: str, value: Any, old: Any) -> bool:
    if isinstance(old, tuple):  # sizes, or scales
        kinds = (int, float) if name == "observation_scale" else (int,)
        return isinstance(value, tuple) and all(
            type(number) in kinds and 0 < number < inf for number in value
        )
    if isinstance(old, float):
        return type(value) in (int, float)
    return type(value) is type(old)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

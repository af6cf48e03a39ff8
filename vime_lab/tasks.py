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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.random import Generator

import agents_ref
import fast_ref
import vime_gym
from agents_ref import AgentSettings, Streams, ValueFunction, policy_init, value_init
from bnn_ref import check_choice, check_count
from vime_lab.baselines import VALUE_INPUTS
from vime_lab.settings import (
    ReinforceSettings,
    Task,
    TrpoSettings,
    model_functions,
    with_setting,
)
from vime_lecture.controls import NoiseBonus, PathError, PredictionError, SquaredZScore
from vime_lecture.counts import VisitCounts
from vime_lecture.densities import Grid
from vime_ref import Bonus, NoBonus, Vime, VimeSettings, vime_init

gym.register_envs(vime_gym)  # the import registers tasks; this line uses the name

# ---------------------------------------------------------------- constants

ROOT_SEED = 0  # run s draws from numpy.random.default_rng([ROOT_SEED, s])
BONUSES = ("vime", "none", "noise", "zscore", "counts", "l2", "l2_path")


# The bonuses that hold a model as VIME does.
CONTROLS: dict[str, Any] = {
    "zscore": SquaredZScore,
    "l2": PredictionError,
    "l2_path": PathError,
}

# ---------------------------------------------------------------- types


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
# Cells of the control that counts: all that matters in a car or a pole on a cart; of a
# body, only its position, height and tilt, which we know to matter.
CAR_CELLS = ((-1.2, 0.6, 20), (-0.07, 0.07, 20))
CART_POLE_CELLS = (
    (-3.0, 3.0, 12),
    (-5.0, 5.0, 10),
    (-1.0, 1.0, 8),
    (-1.0, 1.0, 8),
    (-10.0, 10.0, 10),
)
BODY_CELLS = ((-10.0, 10.0, 40), (-0.6, 0.6, 6), (-1.5, 1.5, 6))
WALKER_CELLS = ((-2.0, 18.0, 40), (0.8, 2.0, 6), (-1.0, 1.0, 6))

TASKS = {
    "SparseMountainCar": Task(
        env_id="vime_ref/SparseMountainCar-v0",
        axes=("position (the goal is at 0.45)", "velocity"),
        iterations=20,
        cells=CAR_CELLS,
        agent=AgentSettings(eta=1e-4),
        vime=ORIGINAL,
    ),
    # Divisors: rllab's car has positions and speeds of about 1 to 2, this one has not.
    # REINFORCE's rate: the best of 1, 3, 10, 30 and 100 at η = 0.1.
    "DenseMountainCar": Task(
        env_id="vime_ref/DenseMountainCar-v0",
        axes=("position (the goal is at 0.45)", "velocity"),
        iterations=20,
        observation_scale=(0.5, 0.035),
        cells=CAR_CELLS,
        agent=AgentSettings(eta=0.1),
        # The best of 1, 3, 10, 30 and 100 with VIME at η = 0.1, which it therefore favors.
        reinforce=ReinforceSettings(learning_rate=3.0),
        vime=ORIGINAL,
    ),
    "SparseCartPoleSwingup": Task(
        env_id="vime_ref/SparseCartPoleSwingup-v0",
        axes=("cart position", "cart velocity"),
        iterations=300,
        observation_scale=(1.5, 2.0, 1.0, 1.0, 5.0),
        cells=CART_POLE_CELLS,
        agent=AgentSettings(eta=1e-3, lam=0.97),
        trpo=TrpoSettings(max_kl=0.05, fisher_every=5),
        vime=LEARNING,
    ),
    "SparseHalfCheetah": Task(
        env_id="vime_ref/SparseHalfCheetah-v0",
        axes=("torso position (rewarded beyond 5)", "torso height"),
        iterations=600,
        value_sizes=(),
        observation_scale=BODY_SCALE,
        cells=BODY_CELLS,
        value_inputs="state and time",
        agent=AgentSettings(
            eta=1e-3, gamma=0.999, lam=0.97, curious_values=False, bootstrap=False
        ),
        trpo=TrpoSettings(max_kl=0.02, fisher_every=5),
        vime=LEARNING,
    ),
    "Walker2D": Task(
        env_id="vime_ref/Walker2D-v0",
        axes=("torso position", "torso height"),
        iterations=100,
        policy_sizes=(64, 32),
        value_sizes=(64, 32),
        observation_scale=WALKER_SCALE,
        cells=WALKER_CELLS,
        agent=AgentSettings(eta=1e-3, lam=0.97),
        trpo=TrpoSettings(max_kl=0.05, fisher_every=5),
        vime=LEARNING,
    ),
}


# The original's settings, as far as they are known.
AGENT_OF_ORIGINAL = AgentSettings(eta=1e-3, curious_values=False, bootstrap=False)
ORIGINAL_TASKS = {
    name: replace(
        task,
        policy_sizes=(64, 32) if name in MUJOCO_TASKS else (32,),
        observation_scale=(),
        agent=replace(AGENT_OF_ORIGINAL, eta=task.agent.eta),
        trpo=TrpoSettings(max_kl=0.01, fisher_every=10, shrink=0.8),
        vime=replace(ORIGINAL, learning_rate=1e-4),
        noise="shared",
        value_sizes=(),
        value_inputs="original",
    )
    for name, task in TASKS.items()
}
# The script of the original's sweep over η: a network as baseline, all rows, 1e-3.
DENSE = TASKS["DenseMountainCar"]
ORIGINAL_TASKS["DenseMountainCar"] = replace(
    ORIGINAL_TASKS["DenseMountainCar"],
    observation_scale=DENSE.observation_scale,
    trpo=TrpoSettings(max_kl=0.01, shrink=0.8),
    vime=DENSE.vime,
    value_sizes=DENSE.value_sizes,
    value_inputs=DENSE.value_inputs,
)
SETTINGS = {"ours": TASKS, "original": ORIGINAL_TASKS}

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
    seeds: Sequence[int],
    changes: Sequence[Change] = (),
    *,
    settings: str = "ours",
) -> list[Job]:
    """The jobs of a task: every bonus, setting and seed.

    Raises ValueError if a setting is invalid or is changed twice.
    """
    check_jobs(task_name, bonuses, changes)
    check_seeds(seeds)
    check_choice("settings", settings, tuple(SETTINGS))
    return [
        Job(task_name, bonus, setting, seed, task)
        for setting, task in swept(SETTINGS[settings][task_name], changes)
        for bonus in bonuses
        for seed in seeds
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
    noise: str = "weight",
    plain: bool = False,
) -> Vime:
    """The bonus's model for runs and studies, with the fast twins unless it is plain."""
    functions = model_functions(noise, plain=plain)
    return vime_init(num_observed, space, rng, replace(settings, **functions))


def bonus_init(
    name: str, task: Task, envs: VectorEnv[Any, Any, Any], rng: Generator
) -> Bonus:
    """The bonus at the start of a run. Bonuses with a model draw the same weights."""
    if name == "none":
        return NoBonus()
    if name == "noise":
        return NoiseBonus()
    if name == "counts":
        return VisitCounts(grid=grid_of(task, observed(envs)))
    space = envs.single_action_space
    model = model_init(
        observed(envs), space, rng, task.vime, noise=task.noise, plain=task.plain
    )
    return model if name == "vime" else CONTROLS[name](model)


def grid_of(task: Task, num_observed: int) -> Grid:
    """The task's cells; a dimension without cells does not count."""
    rest = [(0.0, 1.0, 1)] * (num_observed - len(task.cells))
    edges = [
        tuple(np.linspace(lowest, highest, number + 1).tolist())
        for lowest, highest, number in [*task.cells, *rest]
    ]
    return Grid(tuple(edges), clip=True)


def policy_step_of(task: Task) -> Callable[..., Any]:
    """The policy's step, by the learner's name."""
    module = agents_ref if task.plain else fast_ref
    if task.learner == "reinforce":
        return partial(module.policy_gradient_step, **asdict(task.reinforce))
    return partial(module.trpo_step, **asdict(task.trpo))


def value_step_of(task: Task) -> Callable[..., Any]:
    """The fit of V, by the name of its inputs."""
    module = agents_ref if task.plain else fast_ref
    return VALUE_INPUTS[task.value_inputs].fit or module.value_fit


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
    seen = VALUE_INPUTS[task.value_inputs]
    value = value_init(seen.size(num_observed), init, task.value_sizes)
    bonus = bonus_init(job.bonus_name, task, envs, init)

    # how they learn
    settings = replace(
        task.agent,
        policy_step=policy_step_of(task),
        value_step=value_step_of(task),
        value_inputs=seen.of,
        rollout=(agents_ref if task.plain else fast_ref).rollout,
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


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ValueError unless there are seeds, whole numbers from 0, each once."""
    known = isinstance(seeds, list | tuple | range)
    if not known or not len(seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different whole numbers, got {seeds!r}")
    for seed in seeds:
        check_count("seeds", seed, minimum=0)


def check_changes(changes: Sequence[Change]) -> None:
    times = Counter(name for name, _ in changes)
    if twice := [name for name in times if times[name] > 1]:
        raise ValueError(f"{twice[0]} is set more than once")


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

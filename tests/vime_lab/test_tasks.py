"""Tasks, their settings by name, and the start of a run."""

import json
from dataclasses import fields, is_dataclass, replace
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import bnn_ref as bnn
import fast_ref
from agents_ref import rollout, trpo_step, value_fit
from vime_lab.settings import Task, settings_of, task_from, with_setting
from vime_lab.tasks import (
    BONUSES,
    MUJOCO_TASKS,
    ROOT_SEED,
    TASKS,
    Job,
    envs_of,
    start,
    swept,
)
from vime_lecture.controls import PredictionError
from vime_ref import NoBonus, Vime

TASK = TASKS["SparseMountainCar"]
OTHER_VALUES = {int: 700, float: 0.75, tuple: (3, 5)}
CHOICES = {"method": "exact", "num_data": None}
every_task = pytest.mark.parametrize("name", TASKS)


def setting_names(settings: Any = TASK, prefix: str = "") -> list[str]:
    names = []
    for field in fields(settings):
        value, name = getattr(settings, field.name), prefix + field.name
        if not callable(value):
            names += setting_names(value, f"{name}.") if is_dataclass(value) else [name]
    return [name for name in names if name not in ("env_id", "axes")]


def value_of(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def other_value(name: str) -> Any:
    """A value that fits the setting and differs from the task's."""
    old, last = value_of(TASK, name), name.rpartition(".")[2]
    if last in CHOICES:
        return CHOICES[last]
    return not old if isinstance(old, bool) else OTHER_VALUES[type(old)]


# ---------------------------------------------------------------- settings by name


@every_task
def test_settings_survive_json(name):
    """Control: a task with another setting is not restored as this one."""
    task = TASKS[name]
    text = json.dumps(settings_of(task))
    assert task_from(json.loads(text)) == task
    assert task_from(settings_of(replace(task, iterations=task.iterations + 1))) != task


@pytest.mark.parametrize(
    ("part", "name", "function"),
    [
        ("vime", "sample_noise", bnn.sample_zeta),
        ("vime", "gradient", fast_ref.elbo_grad),
        ("vime", "fit", fast_ref.fit),
        ("vime", "gains", fast_ref.information_gains),
        ("agent", "policy_step", max),
    ],
)
def test_settings_with_another_function_are_rejected(part, name, function):
    """JSON would lose it, and `start` sets another."""
    changed = replace(getattr(TASK, part), **{name: function})
    with pytest.raises(ValueError, match=f"{name} must be its default, got <"):
        settings_of(replace(TASK, **{part: changed}))


@pytest.mark.parametrize("name", setting_names())
def test_with_setting_changes_that_setting_alone(name):
    value = other_value(name)
    changed = with_setting(TASK, name, value)
    assert value_of(changed, name) == value != value_of(TASK, name)
    assert [
        n for n in setting_names() if value_of(changed, n) != value_of(TASK, n)
    ] == [name]
    assert task_from(json.loads(json.dumps(settings_of(changed)))) == changed
    assert with_setting(changed, name, value_of(TASK, name)) == TASK


def test_with_setting_takes_a_whole_number_for_a_real_one_and_a_list_for_a_tuple():
    assert with_setting(TASK, "agent.eta", 1) == replace(
        TASK, agent=replace(TASK.agent, eta=1.0)
    )
    assert with_setting(TASK, "policy_sizes", [3, 5]).policy_sizes == (3, 5)
    assert (
        with_setting(
            with_setting(TASK, "vime.num_data", None), "vime.num_data", 9.0
        ).vime.num_data
        == 9.0
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "speed",
        "agent",
        "agent.",
        "agent.speed",
        "agent.eta.more",
        "agent.policy_step",
        "env_id",
        "axes",
    ],
)
def test_with_setting_refuses_unknown_names(name):
    with pytest.raises(ValueError, match=r"setting must be one of .*, got '"):
        with_setting(TASK, name, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(
            ["iterations", "agent.batch_steps"], [2.5, 2.0, "2", True, None, [2], 0, -1]
        ),
        *product(
            ["agent.eta", "trpo.max_kl", "vime.num_data"],
            ["much", True, [0.1], -1.0, float("nan")],
        ),
        *product(
            ["policy_sizes", "value_sizes", "vime.hidden_sizes"],
            [32, "32", [0], [2.0], ["a"], [True], None],
        ),
        *product(
            ["observation_scale"],
            [2.0, [0.0], [-1.0, 1.0], [1.0, float("inf")], ["a"], [True], None],
        ),
        *product(["agent.normalize", "agent.curious_values"], [1, 0.0, "yes", None]),
        *product(["vime.method"], [1, "guess", None]),
        ("agent.eta", None),
    ],
)
def test_with_setting_refuses_values_of_another_kind(name, value):
    """The message names the setting."""
    with pytest.raises(ValueError, match=f"{name.rpartition('.')[2]} must be"):
        with_setting(TASK, name, value)


def test_swept_against_the_product():
    """A setting with one value is set without a name."""
    etas, sizes = [0.0, 0.5], [[4], [8, 8]]
    changes = [("agent.eta", etas), ("iterations", [3]), ("vime.hidden_sizes", sizes)]
    expected = {
        f"agent.eta={eta} vime.hidden_sizes={json.dumps(size)}": replace(
            TASK,
            iterations=3,
            agent=replace(TASK.agent, eta=eta),
            vime=replace(TASK.vime, hidden_sizes=tuple(size)),
        )
        for eta in etas
        for size in sizes
    }
    assert dict(swept(TASK, changes)) == expected
    assert list(swept(TASK, [])) == [("", TASK)]
    assert len(expected) == 4


# ---------------------------------------------------------------- the tasks, and a run's beginning


@every_task
def test_tasks_make_and_observe_what_their_axes_name(name):
    """Oracle: the simulator's own state. Control: the axes the other way round would name other numbers.

    A policy's first inputs are not large; a height of 1.25 in units of 0.1 would be.
    """
    task = TASKS[name]
    env = gym.make(task.env_id, disable_env_checker=True)
    observation, _ = env.reset(seed=0)
    seen = observation / start(Job(name, "none", "", 0, task)).policy.observation_scale
    assert seen.shape == observation.shape
    assert np.abs(seen).max() <= 3.0
    env.action_space.seed(0)
    for _ in range(20):
        observation, _, *ended, _ = env.step(env.action_space.sample())
        if any(ended):  # the walker may fall
            observation, _ = env.reset()
    inner: Any = env.unwrapped
    measured = {
        "position": lambda: inner.state[0],
        "velocity": lambda: inner.state[1],
        "torso position": lambda: inner.data.qpos[0],
        "torso height": lambda: inner.data.qpos[1],
        "cart position": lambda: inner.state[0],
        "cart velocity": lambda: inner.state[1],
    }
    state = [float(measured[axis.partition(" (")[0]]()) for axis in task.axes]
    assert observation[:2].tolist() == pytest.approx(state, abs=1e-6)
    assert state[0] != pytest.approx(state[1], abs=1e-6)
    assert (name in MUJOCO_TASKS) == hasattr(inner, "data")
    env.close()


@pytest.mark.parametrize(
    ("bonus", "kind"), [("vime", Vime), ("none", NoBonus), ("l2", PredictionError)]
)
def test_start_against_the_settings(bonus, kind):
    task = TASK
    sizes = {
        "vime.hidden_sizes": [4],
        "policy_sizes": [5],
        "value_sizes": [6],
        "observation_scale": [3, 0.1],
    }
    for name, value in {"trpo.max_kl": 0.03, **sizes}.items():
        task = with_setting(task, name, value)
    begun = start(Job("SparseMountainCar", bonus, "", 0, task))
    assert type(begun.bonus) is kind
    assert begun.settings.policy_step.func is fast_ref.trpo_step
    assert begun.settings.policy_step.keywords == {"max_kl": 0.03, "fisher_every": 1}
    assert begun.settings.value_step is fast_ref.value_fit
    assert begun.settings.rollout is fast_ref.rollout
    slow = {"policy_step": trpo_step, "value_step": value_fit, "rollout": rollout}
    assert replace(begun.settings, **slow) == task.agent
    model = {
        "vime": begun.bonus,
        "l2": getattr(begun.bonus, "model", None),
        "none": None,
    }[bonus]
    assert model is None or model.layer_sizes == (3, 4, 2)
    assert (begun.policy.layer_sizes, begun.value.layer_sizes) == ((2, 5, 1), (2, 6, 1))
    assert np.array_equal(begun.policy.observation_scale, [3.0, 0.1])
    begun.envs.close()


@pytest.mark.parametrize(
    ("local", "functions"),
    [
        (
            False,
            (bnn.sample_eps, fast_ref.elbo_grad, fast_ref.information_gains),
        ),
        (
            True,
            (
                bnn.sample_zeta,
                fast_ref.elbo_grad_local,
                fast_ref.information_gains_local,
            ),
        ),
    ],
)
@pytest.mark.parametrize("bonus", ["vime", "l2"])
def test_the_noise_of_a_task_chooses_all_four_functions(bonus, local, functions):
    """The other settings of the model are the task's."""
    task = with_setting(TASK, "local", local)
    begun = start(Job("SparseMountainCar", bonus, "", 0, task))
    model: Any = getattr(begun.bonus, "model", None) if bonus == "l2" else begun.bonus
    chosen = model.settings
    assert (chosen.sample_noise, chosen.gradient, chosen.gains) == functions
    assert chosen.fit is fast_ref.fit
    names = ("sample_noise", "gradient", "fit", "gains")
    own = {name: getattr(task.vime, name) for name in names}
    assert replace(chosen, **own) == task.vime
    begun.envs.close()


def test_starts_of_equal_seeds_are_equal_in_policy_and_streams_whatever_the_bonus():
    """Control: another seed gives another policy and other streams, and no two streams agree."""

    def begun(bonus: str, seed: int) -> Any:
        return start(Job("SparseMountainCar", bonus, "", seed, TASK))

    first, *others = [begun(bonus, 3) for bonus in BONUSES]
    drawn = [stream.random() for stream in first.streams]
    for other in others:
        assert np.array_equal(other.policy.theta, first.policy.theta)
        assert np.array_equal(other.value.theta, first.value.theta)
        assert [stream.random() for stream in other.streams] == drawn
    spawned = np.random.default_rng([ROOT_SEED, 3]).spawn(5)[1:]
    assert [stream.random() for stream in spawned] == drawn
    assert len(set(drawn)) == 4
    stranger = begun("vime", 4)
    assert not np.array_equal(stranger.policy.theta, first.policy.theta)
    assert [stream.random() for stream in stranger.streams] != drawn


def test_a_task_refuses_what_its_settings_refuse():
    for wrong in (
        {"iterations": 0},
        {"trpo": {"max_kl": 0.0}},
        {"trpo": {"fisher_every": 0}},
    ):
        settings = settings_of(TASK)
        settings |= {
            name: {**settings[name], **v} if isinstance(v, dict) else v
            for name, v in wrong.items()
        }
        with pytest.raises(ValueError, match="must be"):
            task_from(settings)
    assert isinstance(task_from(settings_of(TASK)), Task)


def test_the_environments_fill_a_batch_with_whole_episodes() -> None:
    """One more than fits; a module in front of the id is imported first."""
    task = replace(TASK, env_id="vime_gym:vime_ref/SparseMountainCar-v0")
    for steps, num_envs in ((5000, 10), (5001, 11), (500, 1), (20, 1)):
        changed = with_setting(task, "agent.batch_steps", steps)
        envs = envs_of(changed)
        assert envs.num_envs == num_envs
        envs.close()

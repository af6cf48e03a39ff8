"""Settings: their types, names, and what they reject."""

import json
import re
from dataclasses import fields, is_dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest

import bnn_ref as bnn
import fast_ref
import vime_ref
from vime_lab.settings import (
    FIXED,
    Task,
    full_names,
    model_functions,
    settings_of,
    shared_zeta,
    task_from,
    with_setting,
)
from vime_lab.tasks import ORIGINAL_TASKS, TASKS

TASK = TASKS["SparseMountainCar"]
OTHER_VALUES = {int: 700, float: 0.75, tuple: (3, 5)}
CHOICES = {
    "method": "exact",
    "num_data": None,
    "value_inputs": "state and time",
    "cells": ((-2.0, 3.0, 5),),
    "learner": "reinforce",
    "noise": "shared",
}
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
def test_with_setting_rejects_unknown_names(name):
    with pytest.raises(ValueError, match=r"setting must be one of .*, got '"):
        with_setting(TASK, name, 1)


TWO_LAMBDAS = "vime.step_size (λ of the gain) or agent.lam (λ of GAE)"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("step_size", "vime.step_size"),
        ("agent.step_size", "vime.step_size"),
        ("stepsize", "vime.step_size"),
        ("sigma", "vime.likelihood_sigma or vime.prior_sigma"),
        ("eta", "agent.eta"),
        ("agent.iterations", "iterations"),
        ("vime.vime.method", "vime.method"),
        ("learning_rate", "reinforce.learning_rate or vime.learning_rate"),
        *product(["lam", "lambda", "vime.lam", "λ"], [TWO_LAMBDAS]),
    ],
)
def test_an_unknown_setting_suggests_full_names(name, meant):
    """Control: a name that is like none suggests none."""
    with pytest.raises(ValueError, match=re.escape(f"; did you mean {meant}?") + "$"):
        with_setting(TASK, name, 1)
    with pytest.raises(ValueError, match=r"got 'quux'$"):
        with_setting(TASK, "quux", 1)


def test_a_group_of_settings_is_shown_as_one():
    with pytest.raises(ValueError, match=r"agent\.\*, .* vime\.\*, noise, plain, got"):
        with_setting(TASK, "agent", 1)


def test_full_names_against_the_settings():
    assert [each for each in full_names(TASK) if each not in FIXED] == setting_names()
    assert {"agent.eta", "vime.step_size", "noise"} <= {*full_names(TASK)}


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
def test_with_setting_rejects_values_of_another_kind(name, value):
    """The message names the setting in full."""
    with pytest.raises(ValueError, match=f"^{re.escape(name)}(: [a-z_]+)? must be"):
        with_setting(TASK, name, value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "value_inputs",
            "time",
            "value_inputs must be 'state' or 'state and time' or 'original',",
        ),
        ("learner", "erwr", "learner must be 'trpo' or 'reinforce',"),
        ("learner", 1, 'learner must be a text such as "trpo", got 1'),
        ("noise", "layer", "noise must be 'weight' or 'unit' or 'shared',"),
        ("plain", "True", "plain must be true or false, got 'True'"),
        ("cells", 3, "cells must be"),
        ("cells", [[0.0, 1.0]], "cells must be"),
        ("cells", [[1.0, 1.0, 2]], "highest − lowest of cells must be > 0"),
        ("cells", [[0.0, 1.0, 0]], "number of cells must be a whole number >= 1"),
        ("trpo.shrink", 1.5, "trpo.shrink: shrink must be"),
        (
            "reinforce.learning_rate",
            0.0,
            "reinforce.learning_rate: learning_rate must be",
        ),
        (
            "reinforce.entropy_weight",
            float("inf"),
            "reinforce.entropy_weight: entropy_weight must be",
        ),
    ],
)
def test_new_settings_reject_by_name(name, value, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        with_setting(TASK, name, value)


def test_shared_noise_is_the_same_for_all_rows_and_differs_by_unit_and_sample():
    """Control: noise per unit and row differs by row."""
    shared = shared_zeta(np.random.default_rng(0), 3, 5, (4, 2, 1))
    own = bnn.sample_zeta(np.random.default_rng(0), 3, 5, (4, 2, 1))
    assert [each.shape for each in shared] == [each.shape for each in own]
    for each, other in zip(shared, own):
        assert np.all(each == each[:, :1])
        assert not np.any(np.isclose(other[:, 0], other[:, 1]))
        assert len(np.unique(each[:, 0])) == each[:, 0].size
    drawn = bnn.sample_zeta(np.random.default_rng(0), 3, 1, (4, 2, 1))
    np.testing.assert_array_equal(shared[0][:, :1], drawn[0])


@pytest.mark.parametrize("noise", ["weight", "unit", "shared"])
def test_functions_of_a_model_are_of_the_module_that_is_named(noise):
    """Fast twins or definitions, of the same names."""
    local = "" if noise == "weight" else "_local"
    for plain, modules in ((False, [fast_ref] * 3), (True, [bnn, bnn, vime_ref])):
        found = model_functions(noise, plain=plain)
        names = (f"elbo_grad{local}", "fit", f"information_gains{local}")
        wanted = [getattr(module, name) for module, name in zip(modules, names)]
        assert [found[each] for each in ("gradient", "fit", "gains")] == wanted
    draws = {"weight": bnn.sample_eps, "unit": bnn.sample_zeta, "shared": shared_zeta}
    assert found["sample_noise"] is draws[noise]


@pytest.mark.parametrize("name", [each for each in TASKS if each != "DenseMountainCar"])
def test_the_originals_settings_as_far_as_known(name):
    """Control: ours differ in each of these."""
    known = {
        "value_inputs": "original",
        "noise": "shared",
        "observation_scale": (),
        "agent.curious_values": False,
        "agent.bootstrap": False,
        "agent.gamma": 0.99,
        "agent.lam": 1.0,
        "trpo.max_kl": 0.01,
        "trpo.fisher_every": 10,
        "trpo.shrink": 0.8,
        "vime.learning_rate": 1e-4,
        "vime.likelihood_sigma": 5.0,
        "vime.num_data": 50.0,
    }
    task = ORIGINAL_TASKS[name]
    assert {each: value_of(task, each) for each in known} == known
    differing = [each for each in known if value_of(TASKS[name], each) != known[each]]
    assert {"noise", "value_inputs", "trpo.shrink"} <= {*differing}
    assert task.agent.eta == TASKS[name].agent.eta


def test_a_task_rejects_what_its_settings_reject():
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

"""The settings of a run: their types, names and checks.

A setting's name is the path to it, such as "agent.eta".
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.random import Generator

import bnn_ref
import fast_ref
import vime_ref
from agents_ref import AgentSettings, check_fraction
from bnn_ref import (
    Array,
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_positive,
    sample_eps,
    sample_zeta,
    set_fields,
)
from vime_ref import VimeSettings, check_hidden

# ---------------------------------------------------------------- constants

LEARNERS = ("trpo", "reinforce")
INPUT_NAMES = ("state", "state and time", "original")
FIXED = ("env_id", "axes")  # the fields that identify a task; all others are settings
LAMBDAS = ("lam", "lambda", "λ")  # a letter with two meanings
TWO_LAMBDAS = {"vime.step_size": "λ of the gain", "agent.lam": "λ of GAE"}

# ---------------------------------------------------------------- noise


def shared_zeta(
    rng: Generator, num_samples: int, num_rows: int, layer_sizes: Sequence[int]
) -> list[Array]:
    """Noise per unit, the same for all rows of a minibatch: one (S, N, O) a layer.

    The original code draws it.
    """
    drawn = sample_zeta(rng, num_samples, 1, layer_sizes)  # (S, 1, O) each
    return [np.repeat(each, num_rows, axis=1) for each in drawn]  # (S, N, O)


# How a model's noise is drawn, by name.
NOISES: dict[str, Callable[..., Any]] = {
    "weight": sample_eps,
    "unit": sample_zeta,
    "shared": shared_zeta,
}


def model_functions(noise: str, *, plain: bool = False) -> dict[str, Any]:
    """The functions of a model with this noise: the fast twins, or the plain definitions."""
    check_choice("noise", noise, tuple(NOISES))
    plain = check_flag("plain", plain)
    local = "" if noise == "weight" else "_local"
    fitting = bnn_ref if plain else fast_ref
    gaining = vime_ref if plain else fast_ref
    return {
        "sample_noise": NOISES[noise],
        "gradient": getattr(fitting, f"elbo_grad{local}"),
        "fit": fitting.fit,
        "gains": getattr(gaining, f"information_gains{local}"),
    }


# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class TrpoSettings:
    """The keywords of `trpo_step` in which tasks differ, with its defaults."""

    max_kl: float = 0.01
    fisher_every: int = 1
    shrink: float = 0.5

    def __post_init__(self) -> None:
        set_fields(
            self,
            max_kl=float(check_positive("max_kl", self.max_kl, ())),
            fisher_every=check_count("fisher_every", self.fisher_every),
            shrink=check_fraction("shrink", self.shrink),
        )


@dataclass(frozen=True)
class ReinforceSettings:
    """The keywords of `policy_gradient_step`.

    No source has a rate: rllab's REINFORCE steps by Adam. The default is not tuned;
    DenseMountainCar has a tuned one.
    """

    learning_rate: float = 0.01
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        set_fields(
            self,
            learning_rate=float(
                check_positive("learning_rate", self.learning_rate, ())
            ),
            entropy_weight=check_number("entropy_weight", self.entropy_weight),
        )


Cells = tuple[tuple[float, float, int], ...]  # lowest, highest, number of cells


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
    # V's inputs, by name in `vime_lab.baselines`
    value_inputs: str = "state"
    # of the control that counts visits, by dimension of the observation; 1 for the rest
    cells: Cells = ()
    learner: str = "trpo"
    agent: AgentSettings = field(default_factory=AgentSettings)
    trpo: TrpoSettings = field(default_factory=TrpoSettings)
    reinforce: ReinforceSettings = field(default_factory=ReinforceSettings)
    vime: VimeSettings = field(default_factory=VimeSettings)
    # of the model: per "weight"; per "unit" and row; per unit, "shared" by the rows
    noise: str = "weight"
    # True: the definitions instead of their fast twins, so that an edit takes effect
    plain: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.env_id, str):
            raise ValueError(f"env_id must be a text, got {self.env_id!r}")
        if not isinstance(self.axes, tuple) or len(self.axes) != 2:
            raise ValueError(f"axes must be two texts, got {self.axes!r}")
        scale = check_positive("observation_scale", self.observation_scale, (None,))
        check_choice("value_inputs", self.value_inputs, INPUT_NAMES)
        check_choice("learner", self.learner, LEARNERS)
        check_choice("noise", self.noise, tuple(NOISES))
        set_fields(
            self,
            iterations=check_count("iterations", self.iterations),
            policy_sizes=check_hidden(self.policy_sizes, "policy_sizes"),
            value_sizes=check_hidden(self.value_sizes, "value_sizes"),
            observation_scale=tuple(scale.tolist()),
            cells=checked_cells(self.cells),
            plain=check_flag("plain", self.plain),
        )

        # nested settings check themselves
        parts = {
            "agent": AgentSettings,
            "trpo": TrpoSettings,
            "reinforce": ReinforceSettings,
            "vime": VimeSettings,
        }
        for name, kind in parts.items():
            if not isinstance(getattr(self, name), kind):
                got = type(getattr(self, name)).__name__
                raise ValueError(f"{name} must be a {kind.__name__}, got {got}")


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
    check_name(settings, name)
    value = with_tuples(value)
    check_setting(name, value, attrgetter(name)(settings))
    head, _, rest = name.partition(".")
    if not rest:
        return replace(settings, **{name: value})

    # a setting of a part, such as agent or vime
    try:
        part = replace(getattr(settings, head), **{rest: value})
    except ValueError as error:  # names the setting without its part
        raise ValueError(f"{name}: {error}") from error
    return replace(settings, **{head: part})


# ---------------------------------------------------------------- argument checks


def checked_cells(cells: Any) -> Cells:
    """Lowest and highest value and number of cells of each dimension."""
    triples = isinstance(cells, tuple) and all(
        isinstance(each, tuple) and len(each) == 3 for each in cells
    )
    if not triples:
        wanted = "(lowest, highest, number of cells) by dimension"
        raise ValueError(f"cells must be {wanted}, got {cells!r}")
    found = []
    for lowest, highest, number in cells:
        low = check_number("lowest of cells", lowest)
        high = check_number("highest of cells", highest)
        check_positive("highest − lowest of cells", high - low, ())
        found.append((low, high, check_count("number of cells", number)))
    return tuple(found)


def check_functions(settings: Any) -> None:
    for each in fields(settings):
        value = getattr(settings, each.name)
        if callable(each.default) and value is not each.default:
            raise ValueError(f"{each.name} must be its default, got {value!r}")


def check_name(settings: Any, name: str) -> None:
    """Raise ValueError unless the name leads to one setting; suggest similar names."""
    here = settings
    *heads, last = name.split(".")
    for part, nested in [*((head, True) for head in heads), (last, False)]:
        known = {
            each: is_dataclass(getattr(here, each))
            for each in setting_names(here)
            if each not in FIXED
        }
        if known.get(part) is not nested:
            wanted = ", ".join(f"{each}.*" if known[each] else each for each in known)
            meant = suggestion(settings, last)
            raise ValueError(f"setting must be one of {wanted}, got {name!r}{meant}")
        here = getattr(here, part)


def suggestion(settings: Any, last: str) -> str:
    """The full names of settings that are called so, or nearly so, as a question."""
    found = [each for each in full_names(settings) if each not in FIXED]
    tails = [each.rpartition(".")[2] for each in found]
    close = [last] if last in tails else [tail for tail in tails if last in tail]
    if not last or not close:
        close = difflib.get_close_matches(last, tails)
    near = [each for each, tail in zip(found, tails) if tail in close]
    if last in LAMBDAS:
        near = [f"{name} ({meaning})" for name, meaning in TWO_LAMBDAS.items()]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def full_names(settings: Any) -> list[str]:
    """The names of all settings, such as "agent.eta"."""
    names = []
    for name in setting_names(settings):
        value = getattr(settings, name)
        inner = full_names(value) if is_dataclass(value) else []
        names += [f"{name}.{each}" for each in inner] or [name]
    return names


def check_setting(name: str, value: Any, old: Any) -> None:
    if name == "vime.num_data":
        if value is None:  # the same number of entries
            return
        old = 1.0
    if of_kind(value, old):
        return
    kinds = {int: "a whole number", float: "a number", str: "a text", tuple: "a list"}
    kind = f"{kinds.get(type(old), 'a value')} such as {json.dumps(old)}"
    if isinstance(old, bool):
        kind = "true or false"
    raise ValueError(f"{name} must be {kind}, got {value!r}")


def of_kind(value: Any, old: Any) -> bool:
    """Whether the types agree; what a tuple holds, the settings check themselves."""
    if isinstance(old, float):
        return type(value) in (int, float)
    return type(value) is type(old)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

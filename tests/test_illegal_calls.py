"""Illegal calls of all public functions are rejected by name, and other forms of a value give the same numbers."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import illegal_calls
import numpy as np
import pytest
from illegal_arguments import MODULES
from illegal_calls import Outcome, Target

import bnn_ref as bnn


def outcomes_of(module: str) -> list[Outcome]:
    targets = illegal_calls.targets_of(module)
    return [each for target in targets for each in illegal_calls.outcomes_of(target)]


@pytest.mark.parametrize("module", MODULES)
def test_illegal_calls_are_rejected_by_name(module: str) -> None:
    """Each is rejected with the argument's name: none is silently wrong."""
    found = outcomes_of(module)
    illegal = [each for each in found if not illegal_calls.is_form(each)]
    forms = [each for each in found if illegal_calls.is_form(each)]
    assert illegal

    assert not [f"{each}" for each in illegal if not each.fine]
    assert not [f"{each}" for each in forms if not each.fine]


def settings_classes() -> list[str]:
    """All settings of the project: the dataclasses with that word in their docstring's first line."""
    names = []
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name, value in vars(module).items():
            own = getattr(value, "__module__", "") == module_name
            if own and dataclasses.is_dataclass(value):
                head = str(value.__doc__).splitlines()[0].lower()
                words = ("settings", "weights of the loss", "keywords")
                if any(word in head for word in words):
                    names.append(f"{module_name}.{name}")
    return names


def test_the_settings_are_found() -> None:
    assert {name.rpartition(".")[2] for name in settings_classes()} >= {
        *("VimeSettings", "AgentSettings", "TabularSettings"),
        *("UnrealSettings", "LossWeights", "TrpoSettings", "Task"),
    }


@pytest.mark.parametrize("name", settings_classes())
def test_every_field_of_every_settings_class_rejects_bad_values(name: str) -> None:
    module = name.rpartition(".")[0]
    targets = illegal_calls.targets_of(module)
    (target,) = [each for each in targets if each.name == name]
    fields = {each.name for each in dataclasses.fields(target.function)}
    found = list(illegal_calls.outcomes_of(target))
    assert {each.parameter for each in found} == fields
    assert not [f"{each}" for each in found if not each.fine]


# ------------------------------------------------------------ the script itself


def named(rho: Any) -> Any:
    return 2.0 * bnn.check_array("rho", rho)


def unnamed(rho: Any) -> Any:
    raise ValueError("must be finite")


def broken(rho: Any) -> Any:
    raise TypeError("rho")


def lenient(rho: Any) -> Any:
    return 1.0


def not_a_number(rho: Any) -> Any:
    return np.nan


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (named, illegal_calls.BY_NAME),
        (unnamed, illegal_calls.NO_NAME),
        (broken, illegal_calls.OTHER),
        (lenient, illegal_calls.ACCEPTED),
        (not_a_number, illegal_calls.NOT_FINITE),
    ],
)
def test_outcomes_of_functions_with_known_faults(
    function: Callable[..., Any], kind: str
) -> None:
    target = Target("bnn_ref.softplus", function)
    found = list(illegal_calls.of_illegal(target, {"rho": None}, "rho"))
    assert len(found) > 8
    assert {each.kind for each in found} == {kind}
    assert all(each.fine == (kind == illegal_calls.BY_NAME) for each in found)


def test_forms_of_functions_with_known_faults() -> None:
    """A function that computes in the caller's dtype rounds float32, and wraps uint8 around."""

    def kinds(function: Callable[..., Any]) -> dict[str, str]:
        target = Target("bnn_ref.softplus", function)
        base, _ = illegal_calls.answer(target, illegal_calls.fresh(target, {"rho": 0}))
        found = illegal_calls.of_forms(target, {"rho": None}, "rho", base)
        return {each.label: each.kind for each in found}

    assert set(kinds(named).values()) == {illegal_calls.EQUAL}
    assert kinds(lambda rho: np.asarray(rho) / 3)["as float32"] == (
        illegal_calls.DIFFERENT
    )
    step = np.int8(100)
    assert kinds(lambda rho: np.asarray(rho) - step - step)["as int8"] == (
        illegal_calls.DIFFERENT
    )
    assert kinds(broken)["as list"] == illegal_calls.OTHER
    assert kinds(unnamed)["as list"] == illegal_calls.NO_NAME


def test_table_counts_calls() -> None:
    calls = [
        Outcome("m", "m.f", "x", "nan", illegal_calls.BY_NAME),
        Outcome("m", "m.f", "x", "inf", illegal_calls.ACCEPTED, "1.0"),
        Outcome("m", "m.f", "x", "as list", illegal_calls.EQUAL),
    ]
    lines = illegal_calls.table(calls).splitlines()
    assert "| m | 2 | 1 (50.0%) | 0 | 0 | 1 | 0 |" in lines
    assert "| all | 1 | 1 (100.0%) | 0 | 0 | 0 | 0 |" in lines


def test_command_lists_what_is_not_fine(capsys: pytest.CaptureFixture[str]) -> None:
    assert illegal_calls.main(["--only", "bnn_ref.softplus", "--list"]) == 0
    assert "| bnn_ref |" in capsys.readouterr().out

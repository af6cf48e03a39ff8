"""The registry: an operation's parts, which are all in one file."""

import shutil
from typing import Any

import numpy as np
import pytest
from check_helpers import ROOT

from vime_check.cases import OPERATIONS, PROVED
from vime_check.judge import check
from vime_check.operations import (
    PLACES,
    REMEMBERED,
    Operation,
    Switch,
    bad,
    by_convention,
    cases_of,
    composed,
    draw_of,
    exact_form,
    good,
    intermediates_of,
    mistake,
    numbers,
    parts_to_check,
    register,
    rounded,
    tolerance,
)


def doubled(x: Any, layer_sizes: Any) -> Any:
    return 2.0 * x


@pytest.fixture
def added() -> Any:
    """A temporary operation for one test."""
    register(
        "new",
        "elementwise",
        doubled,
        measured=(1e-15, 1e-7),
        kinds={"layer_sizes": "wholes", "zeta": "arrays"},
    )
    yield OPERATIONS["doubled"]
    del OPERATIONS["doubled"]
    del PLACES["doubled"]


def test_an_operation_is_all_that_was_registered(added: Operation) -> None:
    """Kinds of missing inputs, cases that need other inputs, and mistakes of other operations are ignored."""
    assert (added.name, added.family, added.names) == (
        "doubled",
        "new",
        ["x", "layer_sizes"],
    )
    assert added.kinds == {"layer_sizes": "wholes"}
    mistake("MissingHalf", "doubled")(lambda right, given: 2.0 * right(**given))
    mistake("MissingHalf", "doubled")(lambda right, given: given["x"])
    intermediates_of("doubled")(lambda given: {"half": given["x"]})
    exact_form("doubled")(lambda x, layer_sizes: x + x)
    draw_of("doubled")(lambda draw: {"x": 1.0, "layer_sizes": [1]})

    base = {"x": 0.1, "layer_sizes": (1, 2), "zeta": 3.0}
    cases_of("doubled")(
        lambda: iter(
            [
                good(
                    "one", "One.", "MissingHalf", "SwappedKL", "InputMutation", **base
                ),
                bad("two", "x must be >= 0", base, x=-1.0),
                bad("three", "zeta must be >= 0", base, zeta=-1.0),
            ]
        )
    )
    full = OPERATIONS["doubled"]
    one, two = full.cases()
    assert list(one.inputs) == ["x", "layer_sizes"]
    assert one.inputs["x"] == float(np.float32(0.1))
    assert one.flags == ("MissingHalf", "InputMutation")
    assert (two.why, two.inputs["x"]) == ("x must be >= 0", -1.0)
    assert by_convention(two).comment.endswith("which is no law: x must be >= 0.")
    wrong = [each(**one.inputs) for each in full.mistakes["MissingHalf"]]
    assert wrong == [4.0 * one.inputs["x"], one.inputs["x"]]
    assert full.intermediates is not None
    assert full.exact is not None
    assert full.draw is not added.draw


def test_tolerances_are_ten_measured_errors_and_no_less_than_ten_units(
    added: Operation,
) -> None:
    assert tolerance(added, "f64") == pytest.approx(1e-14)
    assert tolerance(added, "f32") == 1e-6
    assert tolerance(added._replace(measured=(0.0, 2e-6)), "f64") == 2e-15
    assert tolerance(added._replace(measured=(0.0, 2e-6)), "f32") == pytest.approx(2e-5)


def test_rounded_values_are_numbers_of_float32_if_they_are_meant_for_it() -> None:
    """Control: values for float64 only, whole numbers, flags and texts do not change."""
    values = [0.1, np.array([0.1]), 3, True, "taylor", None]
    assert rounded(values, ("f64",)) is values
    number, array, *rest = rounded(values, ("f64", "f32"))
    assert number == array[0] == float(np.float32(0.1)) != 0.1
    assert (type(number), array.dtype) == (float, np.float64)
    assert rest == values[2:]


def test_numbers_are_exact_in_float32_and_differ_from_seed_to_seed() -> None:
    values = numbers(4, 5, seed=1)
    assert values.shape == (4, 5)
    np.testing.assert_array_equal(values, values.astype(np.float32))
    assert np.all(np.abs(values) <= 2.0)
    assert not np.array_equal(values, numbers(4, 5, seed=2))


def test_a_place_that_remembers_computes_once_for_each_mistake_and_input(
    added: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch that the place does not have makes no difference. Control: without memory, each call computes."""
    calls = []

    def counted(right: Any, given: Any) -> Any:
        calls.append(given["x"])
        return 1.0 + right(**given)

    mistake("ExtraConstant", "doubled")(counted)
    extra, other = Switch("ExtraConstant"), Switch("SwappedKL")
    for remembers, expected in ((True, [1.0, 2.0]), (False, [1.0, 2.0, 1.0, 1.0])):
        PLACES["doubled"].remembers = remembers
        found = [
            composed("doubled", switches)(x=x, layer_sizes=(1,))
            for switches, x in (
                [(extra,), 1.0],
                [(extra,), 2.0],
                [(extra, other), 1.0],
                [(extra,), 1.0],
                [(), 1.0],
            )
        ]
        assert found == [3.0, 5.0, 3.0, 3.0, 2.0]
        assert calls == expected
        calls.clear()

    # what is full is emptied, and stays correct
    monkeypatch.setattr("vime_check.operations.MOST_REMEMBERED", 1)
    PLACES["doubled"].remembers = True
    assert composed("doubled", ())(x=4.0, layer_sizes=(1,)) == 8.0
    assert len(REMEMBERED) == 1
    REMEMBERED.clear()


WEIGHTS, LOCAL = ["sample_weights", "mlp"], ["mlp_local"]
EXACT = ["information_gain", "kl_diag_normal"]
METRIC = ["kl_hessian_diag", "kl_taylor"]
NEAREST = {
    "information_gains": ["elbo_grad", *METRIC, "posterior_step", *EXACT],
    "information_gains_local": [
        "elbo_grad_local",
        *METRIC,
        "posterior_step_local",
        *EXACT,
    ],
    "posterior_updates": ["elbo_grad"],
    "elbo": [*WEIGHTS, "normal_log_density", "softplus", "kl_diag_normal"],
    "elbo_local": [*LOCAL, "normal_log_density", "softplus", "kl_diag_normal"],
    "predictive_log_density": [*WEIGHTS, "log_likelihood"],
    "softplus": [],
}


@pytest.mark.parametrize("name", NEAREST)
def test_the_operations_to_check_before_an_operation_by_hand(name: str) -> None:
    """The nearest ones with the same noise; a gradient inside counts as that of the bound."""
    assert parts_to_check(name) == NEAREST[name]


def test_the_operations_that_failed_cases_go_through() -> None:
    """Without those of right cases, unless none is left."""
    cases = [
        case.inputs for case in OPERATIONS["information_gains"].cases() if not case.why
    ]
    taylor = [each for each in cases if each["method"] == "taylor"]
    exact = [each for each in cases if each["method"] == "exact"]
    assert len(taylor) + len(exact) == len(cases)
    shared, step = ["elbo_grad", "kl_hessian_diag"], ["posterior_step", *EXACT]
    name = "information_gains"
    assert parts_to_check(name, exact) == [*shared, *step]
    assert parts_to_check(name, taylor) == [*shared, "kl_taylor"]
    assert parts_to_check(name, exact, taylor) == step
    assert parts_to_check(name, taylor, exact) == ["kl_taylor"]
    assert parts_to_check(name, taylor[:1], taylor[1:]) == [*shared, "kl_taylor"]
    assert parts_to_check(name, cases) == NEAREST[name]


def parts(operation: Operation) -> list[Any]:
    """The functions that were registered for an operation, without the partials around them."""
    place = PLACES[operation.name]
    found = [
        *place.mistakes.values(),
        place.formula,
        operation.exact,
        operation.intermediates,
        operation.draw,
    ]
    return [getattr(each, "func", each) for each in found if each is not None]


@pytest.mark.parametrize("name", OPERATIONS)
def test_everything_about_an_operation_stands_in_one_file(name: str) -> None:
    """Shared helpers are defined before the operations: in networks, agents or exact."""
    operation = OPERATIONS[name]
    home = operation.cases.args[1].__module__
    shared = {f"vime_check.{each}" for each in ("cases.networks", "exact")}
    assert {each.__module__ for each in parts(operation)} <= {home, *shared}
    if operation.function.__module__.startswith("vime_check."):
        assert operation.function.__module__ == home


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_measured_errors_against_the_javascript_adapter() -> None:
    """Both have two digits, so the tolerance is 5 %."""
    report = check(command=f"node '{ROOT / 'examples' / 'vime_adapter.js'}'")
    measured = {name: each.measured[0] for name, each in PROVED.items()}
    for outcome in report.outcomes:
        assert (outcome.error or 0.0) <= 1.05 * measured[outcome.operation], outcome

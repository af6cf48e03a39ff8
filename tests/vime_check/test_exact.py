"""50-digit arithmetic: how a form runs, and that no form accepts a wrong output."""

import subprocess
import sys
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from vime_check import exact
from vime_check.cases import OPERATIONS
from vime_check.errors import error
from vime_check.operations import Case, Function, Operation, tolerance
from vime_check.prove import proved

FORMS = [name for name, each in OPERATIONS.items() if each.exact is not None]


@pytest.fixture(autouse=True)
def _overflow_is_part_of_some_cases() -> Any:
    with np.errstate(all="ignore"):
        yield


def a_little_larger(output: Any) -> Any:
    if isinstance(output, dict):
        return {name: a_little_larger(value) for name, value in output.items()}
    return (1 + 1e-9) * output


def is_visible(operation: Operation, case: Case, mistake: Function) -> bool:
    """Whether a mistake changes the output of a case in float64."""
    right = operation.function(**case.inputs)
    off = error(operation.error, mistake(**case.inputs), right)
    return off > tolerance(operation, "f64")


@pytest.mark.parametrize("name", FORMS)
def test_closed_form_controls_of_known_mistakes_and_of_the_ninth_digit(
    name: str,
) -> None:
    """50 digits reject the mistakes' outputs in the reference's role.

    Each mistake that a case must detect has a variant that the case shows; others may be right there.
    """
    operation = OPERATIONS[name]
    valid = [case for case in operation.cases() if not case.why]
    wrong: list[tuple[Case, Function]] = []
    for case in valid:
        for flag in case.flags if "f64" in case.dtypes else ():
            if flag != "InputMutation":
                visible = [
                    each
                    for each in operation.mistakes[flag]
                    if is_visible(operation, case, each)
                ]
                assert visible, (case.probe, flag)
                wrong += [(case, each) for each in visible]
    wrong.append(
        (valid[0], lambda **given: a_little_larger(operation.function(**given)))
    )
    for case, function in wrong:
        with pytest.raises(ValueError, match="away from 50 digits"):
            proved(operation._replace(function=function), case._replace(flags=()))


def test_a_form_takes_50_digits_and_gives_float64() -> None:
    """1/3 + 1e-30 − 1/3 is 0 in float64; whole numbers, flags and texts do not change."""
    seen: dict[str, Any] = {}

    def form(**given: Any) -> dict[str, Any]:
        seen.update(given)
        third = given["x"] / 3
        return {"y": third + mpmath.mpf(10) ** -30 - third, "n": given["n"]}

    given = {"x": 1.0, "a": np.array([[0.5]]), "n": np.array([2]), "b": True, "s": "t"}
    output = exact.exact_output(form, given)
    assert output["y"] == pytest.approx(1e-30, rel=1e-15)
    assert output["n"].dtype == np.float64
    assert isinstance(seen["x"], mpmath.mpf)
    assert isinstance(seen["a"][0, 0], mpmath.mpf)
    assert (seen["n"] is given["n"], seen["b"], seen["s"]) == (True, True, "t")


def test_shared_forms_against_fractions_and_mpmath() -> None:
    with mpmath.workdps(50):
        near = mpmath.mpf(10) ** -45
        assert abs(exact.exact_softplus(exact.one() * 0) - mpmath.log(2)) < near
        half = exact.kl(*(np.array([exact.one() * x]) for x in (1, 1, 0, 1)))
        assert half == Fraction(1, 2)
        at_mean = exact.log_density(exact.one(), exact.one(), exact.one())
        assert abs(at_mean + mpmath.log(2 * mpmath.pi) / 2) < near


def test_mpmath_is_imported_only_when_a_form_runs() -> None:
    code = (
        "import sys, vime_check.cases, vime_check.prove; assert 'mpmath' not in sys.modules;"
        "vime_check.prove.family_file('softplus'); assert 'mpmath' in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)

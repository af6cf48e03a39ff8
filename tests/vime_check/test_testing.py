"""One test per case: their names, their messages, and the process that they share."""

import subprocess
import sys
import textwrap
import unittest
from pathlib import Path

import pytest
from check_helpers import CASES, module

from vime_check import case_ids, check, check_case

SHIFTED = "\ndef softplus(rho):\n    return np.logaddexp(0.0, rho) + 1.0\n"
NO_TAYLOR = "\ndef kl_taylor(**given):\n    raise NotImplementedError('not mine')\n"


def test_ids_are_those_of_the_selected_cases(vectors: Path) -> None:
    """Control: another selection."""
    assert case_ids(vectors=vectors) == [each["id"] for each in CASES]
    assert case_ids("softplus", vectors=vectors) == [
        *("softplus/zero", "softplus/two", "softplus/nan")
    ]
    with pytest.raises(ValueError, match="unknown 'gain'"):
        case_ids("gain", vectors=vectors)


@pytest.mark.parametrize("case", [each["id"] for each in CASES])
def test_a_correct_implementation_passes(case: str, vectors: Path) -> None:
    check_case(module(), case, vectors=vectors)


def test_a_failed_case_raises_the_line_of_the_report(vectors: Path) -> None:
    """Oracle: the report of `check`. Control: the other operations."""
    name = module(SHIFTED, "shifted")
    for case in ("softplus/zero", "softplus/two"):
        (line,) = check(name, only=case, vectors=vectors).lines()
        with pytest.raises(AssertionError) as raised:
            check_case(name, case, vectors=vectors)
        assert str(raised.value) == line
        assert case in line
    check_case(name, "kl_taylor/half", vectors=vectors)


def test_a_lenient_case_fails_only_if_strict(vectors: Path) -> None:
    name = module(SHIFTED, "accepting")
    check_case(name, "softplus/nan", vectors=vectors)
    with pytest.raises(AssertionError, match="accepted an input"):
        check_case(name, "softplus/nan", strict=True, vectors=vectors)


def test_an_operation_that_is_not_offered_is_skipped(vectors: Path) -> None:
    with pytest.raises(unittest.SkipTest, match="not mine"):
        check_case(module(NO_TAYLOR, "other"), "kl_taylor/half", vectors=vectors)


def test_the_reference_passes_without_an_implementation(vectors: Path) -> None:
    check_case(None, "softplus/zero", vectors=vectors)


@pytest.mark.parametrize("case", ["softplus", "", None, 3, ["softplus/zero"]])
def test_an_unknown_case_is_a_usage_error(case: str, vectors: Path) -> None:
    with pytest.raises(ValueError, match="case must be"):
        check_case(module(), case, vectors=vectors)


def test_cases_share_one_process(vectors: Path) -> None:
    """Control: other settings start another one."""
    count = "\nfrom pathlib import Path\nwith Path('starts').open('a') as file:\n    file.write('x')\n"
    name = module(count, "counted")
    for case in ("softplus/zero", "softplus/two", "softplus/nan"):
        check_case(name, case, vectors=vectors)
    assert Path("starts").read_text() == "x"
    check_case(name, "softplus/zero", timeout=20.0, vectors=vectors)
    assert Path("starts").read_text() == "xx"


def test_pytest_shows_each_case_by_its_id_and_the_line_of_a_failure(
    vectors: Path,
) -> None:
    module(SHIFTED + NO_TAYLOR)
    Path("test_mine.py").write_text(
        textwrap.dedent(
            """
            import pytest
            from vime_check import case_ids, check_case

            @pytest.mark.parametrize("case", case_ids(vectors="few"))
            def test_mine(case):
                check_case("mine", case, vectors="few")
            """
        )
    )
    words = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider"]
    done = subprocess.run([*words, "test_mine.py"], capture_output=True, text=True)
    shown = done.stdout
    assert "2 failed, 4 passed, 2 skipped" in shown, shown + done.stderr
    assert "PASSED test_mine.py::test_mine[softplus/nan]" in shown
    assert "FAILED test_mine.py::test_mine[softplus/two]" in shown
    assert "AssertionError: softplus/two: [1] got 1.31326, " in shown
    assert "raise AssertionError" not in shown  # the trace ends in the test

"""One test per case: their names, their messages, and the process that they share."""

import subprocess
import sys
import textwrap
import unittest
from pathlib import Path

import pytest
from check_helpers import CASES, module

from vime_check import case_ids, check, check_case, naming
from vime_check.hints import LEFTOVER

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


SOME = """
soft = softplus
def softplus(rho):
    if np.isnan(rho).any(): raise ValueError("NaN")
    if rho.size < 2: raise {}("later")
    return soft(rho)
"""


@pytest.mark.parametrize("error", ["NotImplementedError", "TypeError", "os._exit"])
def test_a_rejection_counts_if_any_valid_case_has_a_result(
    error: str, vectors: Path
) -> None:
    """The first valid case has none. Control: if no case has one, it does not count."""
    change = "\nimport os\n" + SOME.format(error).replace(
        'raise os._exit("later")', "os._exit(1)"
    )
    name = module(change, f"some_{error.replace('.', '_')}")
    check_case(name, "softplus/nan", vectors=vectors)
    never = module(change.replace("rho.size < 2", "True"), f"never_{name}")
    with pytest.raises((unittest.SkipTest, AssertionError), match="no valid case ran"):
        check_case(never, "softplus/nan", vectors=vectors)


def test_tests_of_one_implementation_share_naming_and_breaks(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three breaks of an operation, it is not asked again; pairs are searched for twice at most."""
    name = module("\nimport os\ndef softplus(rho): os._exit(1)", "breaking")
    for reason in ("exited with code 1",) * 3 + ("not tried after 3 errors",):
        with pytest.raises(AssertionError, match=reason):
            check_case(name, "softplus/zero", vectors=vectors)
    name = module("\ndef softplus(rho): return 3.21 + 0 * rho", "unknown")
    calls = []
    search = naming.explanations
    monkeypatch.setattr(
        naming, "explanations", lambda *given: calls.append(given) or search(*given)
    )
    for _ in range(5):
        with pytest.raises(AssertionError):
            check_case(name, "softplus/two", vectors=vectors)
    assert sum(len(given) == 2 for given in calls) == naming.MAX_SEARCHES


def test_an_unknown_id_gets_a_suggestion() -> None:
    """Control: one that is like no other."""
    with pytest.raises(
        ValueError, match=r"kl_taylor/bth'; did you mean kl_taylor/both\?$"
    ):
        check_case(None, "kl_taylor/bth")
    with pytest.raises(ValueError, match=r"kl_taylr'; did you mean kl_taylor/"):
        check_case(None, "kl_taylr")
    with pytest.raises(ValueError, match=r"got 'zzz'$"):
        check_case(None, "zzz")


@pytest.mark.usefixtures("vectors")
def test_one_case_says_nothing_about_what_a_row_leaves_behind() -> None:
    """Because a case of one row may be wrong as well. Control: it has other hints."""
    body = (
        "\nimport numpy as np\nfrom vime_check.cases import OPERATIONS"
        "\nright = OPERATIONS['information_gains'].function"
        "\ndef information_gains(**inputs):"
        "\n    gains = right(**inputs)"
        "\n    return gains * (1.0 + 0.1 * np.arange(len(gains)) ** 1.3)"
    )
    with pytest.raises(AssertionError) as error:
        check_case(module(body), "information_gains/four-rows")
    assert LEFTOVER not in str(error.value)
    assert "1 of 4 elements is right" in str(error.value)


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

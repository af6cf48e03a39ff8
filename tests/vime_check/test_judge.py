"""The runner of cross-checks: verdicts on correct and mistaken implementations, and its arguments."""

import importlib.metadata
import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from check_helpers import (
    CASES,
    GOOD,
    HONEST,
    ROOT,
    assert_rest_is_good,
    case,
    command_line,
    module,
    program,
    statuses,
    write_vectors,
)

from vime_check.cases import PROVED
from vime_check.files import Vector, Wrong, vectors_of_file
from vime_check.hints import LEFTOVER, Hint
from vime_check.judge import (
    check,
    grade,
    load_vectors,
    noise,
    outcome_of,
    parts_by_operation,
    run_cases,
    with_row_hints,
    without_accidents,
)
from vime_check.naming import Explanation
from vime_check.programs import ProtocolError, StartError
from vime_check.report import Outcome, Report
from vime_check.wire import VECTORS_VERSION, UsageError

pytestmark = pytest.mark.usefixtures("vectors")


# ---------------------------------------------------------------- honest implementations


def test_the_reference_passes_every_vector_of_the_project() -> None:
    report = check(vectors=None)
    assert report.ok, str(report)
    assert set(statuses(report)) == {"exact", "rejected"}
    assert {each.operation for each in report.outcomes} == set(PROVED)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_an_honest_module_passes_in_either_dtype(dtype: str, vectors: Path) -> None:
    report = check(module("seen = []"), vectors=vectors, dtype=dtype)
    assert statuses(report) == GOOD, str(report)
    assert "all" in report.table().splitlines()[-1]
    assert report.lines() == []


def test_objects_and_packages_are_found_and_what_they_lack_is_skipped(
    vectors: Path,
) -> None:
    Path("pack").mkdir()
    (Path("pack") / "inner.py").write_text(
        HONEST + "class A:\n    class b:\n        softplus = staticmethod(softplus)\n"
        "        def kl_taylor(**inputs):\n            raise NotImplementedError('later')\n"
    )
    assert statuses(check("pack.inner", vectors=vectors)) == GOOD
    report = check("pack.inner:A.b", vectors=vectors)
    assert report.ok
    assert statuses(report) == {"exact": 2, "rejected": 1, "skipped": 5}
    assert {
        each.message for each in report.outcomes if each.operation == "kl_taylor"
    } == {"later"}
    assert (
        str(report).splitlines()[-1]
        == "not offered: kl_taylor, kl_hessian_diag, curious_rewards"
    )
    assert "kl_taylor" not in report.table()


def test_an_implementation_that_offers_nothing_is_not_ok(vectors: Path) -> None:
    Path("mine.py").write_text("def soft_plus(rho): return rho")
    report = check("mine", vectors=vectors)
    assert statuses(report) == {"skipped": len(CASES)}
    assert not report.ok
    assert report.lines() == [
        "offers none of the operations: softplus, kl_taylor, kl_hessian_diag, curious_rewards"
    ]
    assert "not offered" not in str(report)
    Path("one.py").write_text("def softplus(rho): raise ValueError")
    report = check("one", vectors=vectors, only="softplus,kl_taylor")
    assert statuses(report) == {"errored": 3, "skipped": 2}


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ("rho.tolist() and [np.float64(0.6931471805599453)]", ""),
        (
            "type('T', (), {'detach': lambda s: s, 'cpu': lambda s: s, 'numpy': lambda s: np.log1p(np.exp(rho))})()",
            "",
        ),
        ("rho", "[0] got 0, expected 0.693147"),
        ("rho * np.nan", "[0] got nan, expected 0.693147; not finite at index (0,)"),
        ("rho[None]", "shape (1, 1) instead of (1,)"),
        ("{'sigma': rho}", "the names 'sigma' instead of one array"),
        (
            "{f'o{n}': rho for n in range(9)}",
            "the names 'o0', 'o1', 'o2', 'o3', 'o4' and 4 more instead of one array",
        ),
        ("rho > 0", "[0] got 0, expected 0.693147"),
        ("(rho,)", "got a tuple"),
        ("'text'", "got str"),
        ("None", "got NoneType"),
        ("rho + 1j", "of complex128"),
        ("{'deep': {'deeper': rho}}", "got dict"),
    ],
)
def test_results_of_each_kind(result: str, why: str, vectors: Path) -> None:
    report = check(
        module(f"\ndef softplus(rho): return {result}"),
        only="softplus/zero",
        vectors=vectors,
    )
    assert report.ok == (not why)
    assert why in str(report)


# ---------------------------------------------------------------- mistaken implementations

DOUBLE = "\ntwo = kl_taylor\ndef kl_taylor(**inputs): return 2 * two(**inputs)"

MUTATES = "\ndef curious_rewards(rewards, gains, eta):\n    rewards += eta * gains\n    return rewards.copy()"

ACCEPTS = (
    "\ndef softplus(rho): return np.logaddexp(rho.dtype.type(0), np.nan_to_num(rho))"
)


@pytest.mark.parametrize(
    ("result", "names"),
    [("np.nan * rho", ("MissingHalf",)), ("np.append(rho[1:], np.nan)", ())],
)
def test_a_known_mistake_that_divides_0_by_0_is_named_by_its_nan(
    result: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    """Control: NaN at an index with a number in the mistake's output."""
    wrong = {"MissingHalf": {"output": ["NaN", "NaN"]}}
    folder = write_vectors(
        tmp_path / "nan", [case("softplus", "two", {"rho": [1.0, -1.0]}, wrong=wrong)]
    )
    (outcome,) = check(
        module(f"\ndef softplus(rho): return {result}"), vectors=folder
    ).outcomes
    assert (outcome.status, outcome.mistakes) == ("wrong", names)
    assert outcome.place is not None
    assert math.isnan(outcome.place.got)


def test_a_known_mistake_is_named_and_an_unknown_one_is_not(vectors: Path) -> None:
    report = check(module(DOUBLE), vectors=vectors)
    (bad,) = report.bad()
    assert (bad.id, bad.status, bad.mistakes) == (
        "kl_taylor/half",
        "wrong",
        ("MissingHalf",),
    )
    (line,) = report.lines()
    assert line.startswith(
        "kl_taylor/half: got 2.08137, expected 1.04068; is MissingHalf: the ½ of"
    )
    assert line.endswith("; seen in openai/vime")
    (other,) = check(
        module(DOUBLE.replace("2 *", "3 *"), "other"), vectors=vectors
    ).bad()
    assert other.mistakes == ()


def test_a_mistake_of_another_shape_is_named(tmp_path: Path) -> None:
    changed = {
        **CASES[1],
        "wrong": {"Longer": [{"output": [0.0]}, {"output": [1.0, 2.0, 3.0]}]},
    }
    report = check(
        module("\ndef softplus(rho): return np.array([1., 2., 3.])"),
        vectors=write_vectors(tmp_path / "v", [changed]),
    )
    assert report.bad()[0].mistakes == ("Longer",)
    assert "shape (3,) instead of (2,); is Longer" in str(report)


def test_the_nearest_of_the_mistakes_that_explain_an_output_comes_first(
    tmp_path: Path,
) -> None:
    """Control: a mistake that is only a thousand times nearer than the right output explains nothing."""
    near = 8.0 + 1e-7
    wrong = {
        "Wide": {"output": [near, near]},
        "Near": {"output": [8.0, 8.0]},
        "Far": {"output": [8.001, 8.001]},
    }
    folder = write_vectors(tmp_path / "v", [{**CASES[1], "wrong": wrong}])
    report = check(module("\ndef softplus(rho): return 8.0 + 0 * rho"), vectors=folder)
    (outcome,) = report.bad()
    assert outcome.mistakes == ("Near",)
    assert [each.mistakes for each in outcome.candidates] == [("Near",), ("Wide",)]
    assert statuses(check(module(name="right"), vectors=folder)) == {"exact": 1}


def test_changed_inputs_fail_though_the_output_is_right(vectors: Path) -> None:
    report = check(module(MUTATES), vectors=vectors)
    bad = report.bad()
    assert [(each.id, each.mistakes) for each in bad] == [
        ("curious_rewards/one", ("InputMutation",))
    ]
    changed = "inputs changed by the call: ['rewards']; is InputMutation: the caller's arrays are changed in place"
    assert report.lines() == [f"curious_rewards/one: {changed}"]
    assert_rest_is_good(report, "curious_rewards")


def test_accepting_what_should_be_rejected_is_lenient_and_fails_only_where_strict(
    vectors: Path,
) -> None:
    report = check(module(ACCEPTS), vectors=vectors)
    assert report.ok
    assert statuses(report) == {"exact": 5, "rejected": 2, "lenient": 1}
    strict = check("mine", vectors=vectors, strict=True)
    assert not strict.ok
    assert strict.lines() == [
        "softplus/nan: accepted an input that should be rejected: rho must be finite"
    ]


def test_an_exception_on_a_valid_input_is_no_answer_and_its_rejections_do_not_count(
    vectors: Path,
) -> None:
    report = check(
        module("\ndef softplus(rho): raise ValueError('no\\x1b[31m thanks')"),
        vectors=vectors,
    )
    assert not report.ok
    assert statuses(report, "softplus") == {"errored": 3}
    assert report.lines() == [
        "softplus/zero and 1 more: rejected a valid input: no [31m thanks",
        "softplus/nan: no valid case ran",
    ]
    report = check(
        module("\ndef softplus(rho): raise TypeError('no')", "other"), vectors=vectors
    )
    assert statuses(report, "softplus") == {"errored": 3}
    assert report.lines() == [
        "softplus/zero and 2 more: TypeError: no",
    ]
    assert_rest_is_good(report)


OFFERED = {
    "late": ("raise NotImplementedError", {"skipped": 3}),
    "some": ("return softly(rho) if rho.size > 1 else 1 / 0", {"exact": 1, "errored": 1, "rejected": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", OFFERED)
def test_a_rejection_counts_if_a_valid_case_before_or_after_it_ran(
    name: str, tmp_path: Path
) -> None:
    """Control: without a valid case that ran it is skipped."""
    body, found = OFFERED[name]
    folder = write_vectors(tmp_path / "v", [CASES[2], *CASES[:2]])
    change = f"\nsoftly = softplus\ndef softplus(rho):\n    if np.isnan(rho).any(): raise ValueError\n    {body}"
    assert statuses(check(module(change), vectors=folder)) == found


LACKING = "\ndel curious_rewards"
# without a result, though bad input leads to an error
UNFINISHED = """
def curious_rewards(rewards, gains, eta):
    if not np.isfinite(eta): raise TypeError
    raise NotImplementedError
"""
SKIPS_ONE = """
softly = softplus
def softplus(rho):
    if len(rho) > 1: raise NotImplementedError
    return softly(rho)
"""


@pytest.mark.parametrize("change", [LACKING, UNFINISHED])
@pytest.mark.parametrize("name", ["curious_rewards", "curious_rewards/one"])
def test_what_is_named_itself_must_be_checked(
    change: str, name: str, vectors: Path
) -> None:
    """Controls: a family may lack operations, and an operation may skip cases."""
    line = f"named in --only, but not checked: {name}"
    for others in ("softplus", "small"):
        only = f"{others}, {name}"
        report = check(module(change), only=only, vectors=vectors)
        assert not report.ok
        assert report.not_checked() == [name]
        assert line in report.lines()
        assert json.loads(report.to_json())["not_checked"] == [name]
    for family in ("small", None):
        report = check(module(change), only=family, vectors=vectors)
        assert report.ok
        assert report.not_checked() == []
    assert check(module(SKIPS_ONE), only="softplus", vectors=vectors).ok


def test_without_valid_cases_among_the_chosen_a_rejection_does_not_count(
    vectors: Path,
) -> None:
    """A function that always raises would pass. Control: with a valid case."""
    report = check(module(), only="softplus/nan", vectors=vectors)
    assert statuses(report) == {"skipped": 1}
    assert not report.ok
    reason = "no valid case selected, so rejections of these do not count: softplus"
    named = "named in --only, but not checked: softplus/nan"
    assert report.lines() == [named, reason]
    assert "not offered" not in str(report)
    assert "softplus  |" in report.table()
    report = check(module(), only="softplus/nan,softplus/zero", vectors=vectors)
    assert statuses(report) == {"exact": 1, "rejected": 1}
    assert report.lines() == []


REJECTS = "\nsoft = softplus\ndef softplus(rho):\n    {}\n    return np.logaddexp(rho.dtype.type(0), rho)"


def test_a_rejection_by_another_error_fails_only_where_strict(vectors: Path) -> None:
    """Control: an unusable result and a crash fail always."""
    body = REJECTS.format("if np.isnan(rho).any(): raise IndexError('out')")
    report = check(module(body), vectors=vectors)
    assert report.ok
    assert statuses(report) == {**GOOD, "rejected": 2, "errored": 1}
    reason = "another error than ValueError: IndexError: out"
    assert report.lines() == [f"softplus/nan: {reason}"]
    assert not check("mine", vectors=vectors, strict=True).ok
    for name, other in {
        "text": "return 'text'",
        "crash": "import os; os._exit(1)",
    }.items():
        body = REJECTS.format(f"if np.isnan(rho).any(): {other}")
        report = check(module(body, name), vectors=vectors)
        assert statuses(report) == {**GOOD, "rejected": 2, "errored": 1}
        assert not report.ok


# ---------------------------------------------------------------- grades


def graded(wrong: dict[str, Any], kinds: dict[str, str], tmp_path: Path) -> Vector:
    """The case softplus(1, −1) with these mistakes, which are of these kinds."""
    folder = write_vectors(tmp_path / "graded", [{**CASES[1], "wrong": wrong}])
    (vector,) = vectors_of_file(folder / "small.json", "f64")
    notes = {
        name: {"what": name, "seen_in": "", "kind": kind}
        for name, kind in kinds.items()
    }
    return vector._replace(notes=notes)


@pytest.mark.parametrize(
    ("kinds", "off", "status"),
    [
        ({}, 0.0, "exact"),
        ({}, 1e-7, "digits"),
        ({}, 1e-5, "wrong"),
        ({"Off": "mistake"}, 1e-7, "wrong"),
        ({"Off": "digits"}, 1e-5, "digits"),
        ({"Off": "convention"}, 0.5, "convention"),
        ({"Off": "convention", "Same": "convention"}, 0.5, "convention"),
        ({"Off": "convention", "Same": "mistake"}, 0.5, "wrong"),
        ({"Off": "mistake"}, 0.5, "wrong"),
    ],
)
def test_grades_by_the_error_and_the_kinds_of_the_mistakes_that_explain_it(
    kinds: dict[str, str], off: float, status: str, tmp_path: Path
) -> None:
    """The output is off by a share, which is also the output of the mistakes."""
    right = np.logaddexp(0.0, [1.0, -1.0])
    output = (right * (1.0 + off)).tolist()
    vector = graded({name: {"output": output} for name in kinds}, kinds, tmp_path)
    outcome = outcome_of(vector, {"result": output})
    assert outcome.status == status
    assert len(outcome.candidates) == len(kinds)
    assert outcome.digits == {0.0: None, 1e-7: 7, 1e-5: 5, 0.5: 0}[off] or off < 1e-4


@pytest.mark.parametrize(
    ("off", "status"), [(1e-7, "exact"), (1e-4, "digits"), (1e-2, "wrong")]
)
def test_grades_in_float32(off: float, status: str) -> None:
    vector = cases_of_operations(1, 1)[0]._replace(
        dtype="f32", output={"": np.array(1.0)}, tolerance=1e-6
    )
    assert outcome_of(vector, {"result": 1.0 + off}).status == status


def test_an_explanation_within_another_one_decides() -> None:
    """Control: two that are not nested, of which one is a mistake."""
    notes = {"Few": {"kind": "digits"}, "Off": {"kind": "mistake"}}
    vector = cases_of_operations(1, 1)[0]._replace(notes=notes)
    few, off, both = (Explanation(e, 0.0) for e in (("Few",), ("Off",), ("Few", "Off")))
    assert grade(vector, 0.5, [few, both], None) == "digits"
    assert grade(vector, 0.5, [few, off], None) == "wrong"
    assert grade(vector, 0.5, [], None) == "wrong"


def test_an_error_in_the_band_of_rounding_noise_is_a_loss_of_digits() -> None:
    """Control: below and above the band."""
    band = Wrong("Naive", {"": np.array(1.0)}, most=0.1, least=1e-4)
    vector = cases_of_operations(1, 1)[0]._replace(
        output={"": np.array(1.0)}, wrong=(band,), tolerance=1e-14
    )
    assert [[e.mistakes for e in noise(vector, off)] for off in (1e-5, 0.01, 0.2)] == [
        [],
        [("Naive",)],
        [],
    ]
    outcome = outcome_of(vector, {"result": 1.01})
    assert (outcome.status, outcome.mistakes) == ("digits", ("Naive",))
    assert outcome_of(vector, {"result": 1.2}).status == "wrong"


@pytest.mark.parametrize(
    ("digits", "off", "status"),
    [
        (3, 0.0, "exact"),
        (15, 0.0, "exact"),
        (3, 0.9e-3, "digits"),
        (3, 1.1e-3, "wrong"),
        (8, 1e-7, "wrong"),
        (1, 0.05, "digits"),
    ],
)
def test_digits_decide_if_they_are_given(
    digits: int, off: float, status: str, vectors: Path
) -> None:
    """Whatever explains the output."""
    body = f"\ndef softplus(rho): return np.logaddexp(0, rho) * (1 + {off})"
    report = check(module(body), only="softplus/two", vectors=vectors, digits=digits)
    assert statuses(report) == {status: 1}
    assert report.ok == (status != "wrong")


def test_failures_share_a_line_where_they_share_a_mistake_or_a_message(
    tmp_path: Path,
) -> None:
    """Four cases are a mistake's output, one of them also another's; two are only twice the correct output."""
    wrong = [
        {"Half": {"output": 4.0}},
        {"Other": {"output": 4.0}, "Half": {"output": 4.0}},
        {"Half": {"output": 4.0}},
    ]
    twos = [
        {**CASES[3], "id": f"kl_taylor/{n}", "output": 2.0, "wrong": each}
        for n, each in enumerate([*wrong, {}, {}])
    ]
    same = {**twos[0], "id": "kl_taylor/far", "output": 1.0}
    body = "\ndef kl_taylor(**inputs): return 4.0"
    report = check(
        module(body), vectors=write_vectors(tmp_path / "twos", [*twos, same])
    )
    assert report.lines() == [
        "kl_taylor/0 and 3 more: got 4, expected 2; is Half",
        "kl_taylor/3 and 1 more: got 4, expected 2; 2 times the right one",
    ]
    assert check(
        module(body), only="kl_taylor/3", vectors=tmp_path / "twos"
    ).lines() == [
        "kl_taylor/3: got 4, expected 2",  # one number has any factor
        "kl_taylor: check its parts: --only kl_hessian_diag",
    ]


UNKNOWN = """
from vime_check.cases import OPERATIONS
right = {name: each.function for name, each in OPERATIONS.items()}
class scaled:
    def kl_diag_normal(**inputs): return 0.7 * right["kl_diag_normal"](**inputs)
    def information_gains(**inputs): return 1.2 * right["information_gains"](**inputs)
class swapped:
    def kl_diag_normal(mu_q, sigma_q, mu_p, sigma_p): return right["kl_diag_normal"](mu_p, sigma_p, mu_q, sigma_q)
"""


def test_an_unknown_mistake_stays_unnamed_on_the_vectors_of_the_project() -> None:
    """Each operation is scaled by a factor that matches no known mistake; the swapped KL is named."""
    Path("unknown.py").write_text(UNKNOWN)
    bad = check("unknown:scaled").bad()
    assert {each.operation for each in bad} == {"kl_diag_normal", "information_gains"}
    assert {each.id: each.mistakes for each in bad if each.mistakes} == {}
    assert ("SwappedKL",) in {each.mistakes for each in check("unknown:swapped").bad()}


TERMS = """
import numpy as np
def kl_diag_normal(mu_q, sigma_q, mu_p, sigma_p):
    d, q, p = (mu_q - mu_p)**2, sigma_q, sigma_p
    return np.sum({} - 0.5, axis=-1)
"""
LOG, WIDTH, MEAN = "np.log(p / q)", "q**2 / (2 * p**2)", "d / (2 * p**2)"


@pytest.mark.parametrize(
    ("terms", "named"),
    [
        ((LOG, WIDTH, "d / (2 * p)"), "VarianceAsSigma: σ_p for σ_p² under Δμ²"),
        ((LOG, "q / (2 * p)", MEAN), "VarianceAsSigma: σ for σ² in σ_q²/2σ_p²"),
        ((LOG, "(q + d) / (2 * p)"), "VarianceAsSigma: σ for σ² in both fractions of the KL"),
        ((LOG, "(q**2 + d) / (2 * p)"), "VarianceAsSigma: σ_p for σ_p² under both fractions of the KL"),
        (("2 * np.log(p / q)", WIDTH, MEAN), "VarianceAsSigma: σ² for σ in the logarithm of the KL"),
        ((LOG, WIDTH, "d / p**2"), "MissingHalf: in Δμ²/2σ_p²"),
        ((LOG, "q**2 / p**2", MEAN), "MissingHalf: in σ_q²/2σ_p²"),
        ((LOG, "(q**2 + d) / p**2"), "MissingHalf: in both fractions of the KL"),
        ((LOG, WIDTH, "d / (2 * q**2)"), "SwappedSigmas: σ_q under Δμ²"),
        ((LOG, "p**2 / (2 * q**2)", MEAN), "SwappedSigmas: σ_p²/2σ_q² for σ_q²/2σ_p²"),
        (("np.log(q / p)", WIDTH, MEAN), "SwappedSigmas: log(σ_q/σ_p) for log(σ_p/σ_q)"),
    ],
)  # fmt: skip
def test_a_mistake_in_one_term_of_the_kl_is_named_with_its_place(
    terms: tuple[str, ...], named: str
) -> None:
    Path("terms.py").write_text(TERMS.format(" + ".join(terms)))
    first = check("terms", only="kl_diag_normal").lines()[0]
    name, at = named.split(": ")
    assert f"; is {name}: " in first
    assert first.endswith(f": {at}")


def test_a_name_that_fits_few_of_the_failed_cases_is_not_printed() -> None:
    """This fault adds D/2 where all means are one σ apart. Control: such a case alone."""
    wrong = (LOG, WIDTH, MEAN, "d**2 / (2 * p**4)")
    Path("powers.py").write_text(TERMS.format(" + ".join(wrong)))
    report = check("powers", only="kl_diag_normal")
    assert not report.ok
    assert not re.search(r"; is |fits|Half|Dropped", str(report)), str(report)
    report = check("powers", only="kl_diag_normal/unit-shift")
    assert "; is MissingHalf or DroppedConstant" in str(report)


def explained_case(number: int, *names: str, status: str = "wrong") -> Outcome:
    found = tuple(Explanation((name,), 0.0) for name in names)
    hints = (Hint("2 times"),)
    return Outcome(f"o/{number}", "o", status, candidates=found, hints=hints)


def test_an_explanation_fits_half_of_the_cases_that_no_better_one_fits() -> None:
    """Then the case has no hint. Controls: fewer, lost digits, and changed inputs, which are seen."""
    counts = [("A", 4), ("B", 2), ("", 2)]
    names = [name for name, count in counts for _ in range(count)]
    given = [explained_case(n, *filter(None, [each])) for n, each in enumerate(names)]
    found = without_accidents(given)
    assert [o.id for o in found if o.candidates] == [o.id for o in given[:6]]
    assert [o.id for o in found if o.hints] == [o.id for o in given[6:]]
    more = [*given, explained_case(8)]
    assert not any(o.candidates or o.mistakes for o in without_accidents(more))
    assert all(o.hints for o in without_accidents(more))
    few = [each._replace(status="digits") for each in more]
    assert sum(bool(o.candidates) for o in without_accidents(few)) == 6
    seen = [explained_case(9, "InputMutation"), *more]
    assert [o.id for o in without_accidents(seen) if o.candidates] == ["o/9"]


GAINS = """
import numpy as np
from vime_check.cases import OPERATIONS
right = OPERATIONS["information_gains"].function
class exact:
    def information_gains(**inputs):
        return right(**inputs) ** (1.1 if inputs["method"] == "exact" else 1.0)
class later:
    def information_gains(**inputs):
        gains = right(**inputs)
        return gains * (1.0 + 0.1 * np.arange(len(gains)) ** 1.3)
class last:
    def information_gains(**inputs):
        gains = right(**inputs)
        return gains * np.append(np.ones(len(gains) - 1), 1.0 + 0.1 * (len(gains) > 1))
class all:
    def information_gains(**inputs):
        gains = right(**inputs)
        return gains * (1.0 + 0.1 * np.arange(len(gains)) ** 1.3 + 0.3 * (len(gains) == 1))
"""


def gains_lines(name: str) -> str:
    Path("gains.py").write_text(GAINS)
    return "\n".join(check(f"gains:{name}", only="information_gains").lines())


def test_the_parts_to_check_are_those_of_the_failed_cases() -> None:
    parts = "posterior_step,information_gain,kl_diag_normal"
    assert gains_lines("exact").endswith(f"check its parts: --only {parts}")


def test_rows_after_the_first_are_wrong_if_a_row_leaves_something_behind() -> None:
    """Controls: only the last row is wrong, or a case with one row is wrong as well."""
    (line,) = gains_lines("later").splitlines()
    assert line.endswith(f"; {LEFTOVER}")
    assert LEFTOVER not in gains_lines("last")
    assert LEFTOVER not in gains_lines("all")


def test_the_hint_on_rows_needs_a_right_case_of_one_row_and_all_wrong_cases() -> None:
    cases = [each for each in load_vectors(None, "f64") if not each.why]
    rows = {each.id: each for each in cases if each.operation == "information_gains"}
    one, two = rows["information_gains/one-row"], rows["information_gains/four-rows"]
    three = rows["information_gains/deep"]

    hint_on_rows = Hint(LEFTOVER, needs_right_single_row=True)

    def told(*given: tuple[Vector, str, bool]) -> bool:
        outcomes = [
            Outcome(v.id, v.operation, status, hints=(hint_on_rows,) * hint)
            for v, status, hint in given
        ]
        found = with_row_hints([each[0] for each in given], outcomes)
        return any(each.hints for each in found)

    assert told((one, "exact", False), (two, "wrong", True), (three, "wrong", True))
    assert not told((two, "wrong", True))
    assert not told((one, "wrong", False), (two, "wrong", True))
    assert not told(
        (one, "exact", False), (two, "wrong", True), (three, "wrong", False)
    )


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("null", "result must hold numbers, got null"),
        ("[null]", "result must hold numbers, got null"),
        ('["1"]', 'result must hold numbers, got "1"'),
        ('{"a": {"b": 1}}', "result must hold numbers, got"),
        ("[[1], 2]", "not an array of numbers"),
        ("[1" + "0" * 400 + "]", "not an array of numbers"),
        ("[" * 400 + "1" + "]" * 400, "not an array of numbers"),
    ],
)
def test_an_answer_that_is_no_array_of_numbers_is_no_result(
    result: str, reason: str, vectors: Path
) -> None:
    report = check(command=answering(result), only="softplus/zero", vectors=vectors)
    assert statuses(report) == {"errored": 1}, str(report)
    assert reason in report.lines()[0]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("[NaN]", "not finite at index (0,)"),
        ('["NaN"]', "not finite at index (0,)"),
        ("[true]", "[0] got 1, expected 0.693147"),
        ("[]", "shape (0,) instead of (1,)"),
        ("{}", "no names instead of one array"),
    ],
)
def test_an_answer_of_wrong_numbers_or_another_shape_is_wrong(
    result: str, reason: str, vectors: Path
) -> None:
    report = check(command=answering(result), only="softplus/zero", vectors=vectors)
    assert statuses(report) == {"wrong": 1}, str(report)
    assert reason in report.lines()[0]


def answering(result: str) -> str:
    """A program that gives this result."""
    return program(
        f"""print('{{"seq": %d, "result": ' % q["seq"] + {result!r} + '}}', flush=True)"""
    )


def test_after_three_breaks_in_a_row_the_rest_of_an_operation_is_not_tried(
    tmp_path: Path,
) -> None:
    many = [{**CASES[0], "id": f"softplus/{n}"} for n in range(6)] + CASES[3:]
    report = check(
        module(
            "\ndef softplus(rho):\n    open('tried', 'a').write('x')\n    import os; os._exit(1)"
        ),
        vectors=write_vectors(tmp_path / "many", many),
    )
    assert Path("tried").read_text() == "xxx"
    assert report.lines() == [
        "softplus/0 and 2 more: exited with code 1",
        "softplus/3 and 2 more: not tried after 3 errors in a row of softplus",
    ]
    assert_rest_is_good(report)


class Flaky:
    """A peer that breaks if the script says so, and that counts what it is asked."""

    name = "flaky"

    def __init__(self, script: Callable[[int], type[Exception] | None]) -> None:
        self.script = script
        self.asked: list[str] = []

    def ask(self, operation: str, inputs: Any) -> dict[str, Any]:
        self.asked.append(operation)
        broken = self.script(len(self.asked))
        if broken:
            raise broken("hangs")
        return {"skipped": "later"}


def cases_of_operations(operations: int, cases: int) -> list[Vector]:
    """Cases without content."""
    empty = Vector("", "", "", "f64", {}, "", {}, (), "elementwise", 1.0, {})
    return [
        empty._replace(id=f"o{o}/{c}", operation=f"o{o}")
        for o in range(operations)
        for c in range(cases)
    ]


@pytest.mark.parametrize(
    ("script", "asked", "reason"),
    [
        (lambda n: ProtocolError, 9, "the program broke on o0, o1, o2"),
        (lambda n: ProtocolError if n > 20 else None, 29, "broke on o2, o3, o4"),
        # Two of three answers are missing, in every operation.
        (lambda n: ProtocolError if n % 3 else None, 44, "broke on o0, o1, o2, o3, o4"),
        (lambda n: StartError, 1, "the implementation did not start"),
        (lambda n: StartError if n > 5 else None, 8, "did not start"),
        # An operation in two breaks on every case: 9 in a row never happen.
        (
            lambda n: ProtocolError if (n - 1) % 13 < 3 else None,
            120,
            "broke on o0, o2, o4, o6, o8 and 5 more",
        ),
        (lambda n: None, 400, ""),
    ],
)
def test_a_program_that_only_breaks_is_not_asked_for_long(
    script: Callable[[int], type[Exception] | None], asked: int, reason: str
) -> None:
    """Control: one that always answers is asked everything."""
    peer = Flaky(script)
    outcomes = tuple(run_cases(peer, cases_of_operations(40, 10)))
    assert len(outcomes) == 400
    assert len(peer.asked) == asked
    assert reason in outcomes[-1].message
    left = [line for line in Report("x", "f64", False, outcomes).lines() if reason]
    assert sum("not tried, because " in line for line in left) == bool(left)


def test_a_module_that_hangs_everywhere_is_left_after_three_operations() -> None:
    """With the project's vectors, each operation of which has at least four cases."""
    hang = "class Hangs:\n    def __getattr__(self, name):\n        while True: pass\n"
    Path("hangs.py").write_text(f"{hang}every = Hangs()")
    report = check("hangs:every", timeout=0.05)
    assert statuses(report) == {"errored": len(report.outcomes)}
    tried = [o for o in report.outcomes if o.message == "no answer within 0.05 s"]
    assert len(tried) == 9
    assert len({each.operation for each in tried}) == 3
    last = report.lines()[-1]
    assert last.endswith(
        "not tried, because the program broke on "
        + ", ".join(dict.fromkeys(each.operation for each in tried))
    )


# ---------------------------------------------------------------- asking


@pytest.mark.parametrize(
    ("only", "number"),
    [
        ("softplus", 3),
        ("kl_taylor, kl_hessian_diag", 3),
        ("softplus/nan", 1),
        ("small", 8),
    ],
)
def test_only_selects_families_operations_and_ids(
    only: str, number: int, vectors: Path
) -> None:
    assert len(check(only=only, vectors=vectors).outcomes) == number


@pytest.mark.parametrize(
    ("only", "meant"),
    [
        ("gae", "gae_advantages"),
        ("kl_tailor", "kl_taylor"),
        ("hessian", "kl_hessian_diag"),
        ("softplus/atzero", "softplus/at-zero"),
        ("gae,hessian", "gae_advantages or kl_hessian_diag"),
        ("control", "pixel_control_rewards or feature_control_rewards or control_loss"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(only: str, meant: str) -> None:
    """Control: the test below, in which all names are listed because none is like it."""
    unknown = ", ".join(map(repr, only.split(",")))
    with pytest.raises(UsageError) as caught:
        check(only=only)
    assert str(caught.value) == f"--only: unknown {unknown}; did you mean {meant}?"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"only": "softmax,small"},
            "--only: unknown 'softmax'; families: small; operations: softplus, ",
        ),
        ({"only": ""}, "--only: unknown ''"),
        ({"dtype": "f16"}, "dtype must be one of f64, f32, got 'f16'"),
        (
            {"impl": "./mine.py"},
            "IMPL must be a module or module:object, got './mine.py'",
        ),
        ({"impl": "a:b:c"}, "IMPL must be"),
        (
            {"impl": "nowhere"},
            "IMPL must be a module or module:object, got 'nowhere': No module named 'nowhere'",
        ),
        ({"impl": "nowhere.deeper"}, "got 'nowhere.deeper': No module named 'nowhere'"),
        ({"impl": "json.py"}, "got 'json.py': No module named 'json.py'"),
        (
            {"impl": "json:dump.softplus"},
            "got 'json:dump.softplus': 'function' object has no attribute 'softplus'",
        ),
        ({"impl": "mine", "command": "true"}, "IMPL and --exec exclude each other"),
        ({"command": "no-such-program"}, "--exec: no such program: 'no-such-program'"),
        ({"command": "'open"}, "--exec: No closing quotation"),
        ({"command": ""}, "--exec: no such program: ''"),
        ({"only": 3}, "only must be a text, got 3"),
        ({"impl": 3}, "impl must be a text, got 3"),
        ({"command": ["true"]}, "command must be a text, got ['true']"),
        ({"dtype": []}, "dtype must be one of f64, f32, got []"),
        ({"dtype": np.float64}, "dtype must be one of f64, f32, got <class "),
        ({"strict": 1}, "strict must be True or False, got 1"),
        *(
            (
                {"digits": value},
                f"digits must be a whole number >= 1 and <= 15, got {value!r}",
            )
            for value in (0, 16, 2.0, "3", True)
        ),
        *(
            (
                {"timeout": value},
                f"timeout must be a number > 0 and <= 3600 seconds, got {value!r}",
            )
            for value in (-1, 0, math.nan, math.inf, 1e300, 3601, "x", None, True, 1j)
        ),
        *(
            (
                {"memory": value},
                f"memory must be a whole number >= 1 and <= 16777216, got {value!r}",
            )
            for value in (0, -1, 1.5, 2**60, "x", True, math.nan)
        ),
        *(
            ({"vectors": value}, f"vectors must be a folder of JSON files, got {value}")
            for value in (3, [], True)
        ),
    ],
)
def test_what_does_not_exist_is_a_usage_error(
    arguments: dict[str, Any], reason: str, vectors: Path
) -> None:
    """The values of other arguments in other forms, such as NumPy's numbers, stay valid."""
    keywords: dict[str, Any] = {"vectors": vectors, **arguments}
    with pytest.raises(UsageError, match=re.escape(reason)) as caught:
        check(**keywords)
    assert "\n" not in str(caught.value)


def test_numbers_of_other_types_are_arguments(vectors: Path) -> None:
    for seconds, memory in ((1, 4096), (np.float32(1.5), np.int64(4096))):
        assert check(timeout=seconds, memory=memory, vectors=vectors).ok


@pytest.mark.parametrize("folder", ["nowhere", "", "few/small.json", "/dev/null"])
def test_a_folder_without_vectors_is_a_usage_error(folder: str) -> None:
    with pytest.raises(UsageError, match="no vectors in "):
        check(vectors=folder)


# ---------------------------------------------------------------- reports and the command line


@pytest.mark.parametrize(
    ("change", "flags", "code"),
    [
        ("", [], 0),
        (DOUBLE, [], 1),
        (ACCEPTS, [], 0),
        (ACCEPTS, ["--strict"], 1),
        (DOUBLE, ["--digits", "1"], 1),
        (DOUBLE.replace("2 *", "1.0001 *"), [], 1),
        (DOUBLE.replace("2 *", "1.0001 *"), ["--digits", "3"], 0),
        ("", ["--digits", "0"], 2),
        ("\n1/0", [], 1),
        ("\n1/0", ["--only", "x"], 2),
        ("", ["--only", "x"], 2),
        (LACKING, [], 0),
        (LACKING, ["--only", "small"], 0),
        (LACKING, ["--only", "softplus,curious_rewards"], 1),
    ],
)
@pytest.mark.usefixtures("few")
def test_exit_codes_of_check(
    change: str, flags: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line("check", module(change), *flags) == code
    out, err = capsys.readouterr()
    assert (out == "") == (code == 2)
    named = [line for line in err.splitlines() if line.startswith("vime-ref check: ")]
    assert len(named) == (code == 2)


def test_check_without_an_implementation_checks_the_reference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command_line("check", "--only", "softplus", "--dtype", "f32") == 0
    assert capsys.readouterr().out.startswith(
        "the reference, in float64 (f32)\noperation "
    )
    assert command_line("check", "--only", "softplus") == 0
    assert capsys.readouterr().out.startswith("the reference (f64)\noperation ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["mine", "--exec", "true"],
        ["--dtype", "f16"],
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--timeout", "1e300"],
        ["--memory", "0"],
        ["--memory", "99999999999999999999"],
        ["a b"],
        ["nowhere"],
    ],
)
def test_a_bad_flag_of_check_ends_with_one_line_and_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line("check", *arguments) == 2
    *_, error, pointer = capsys.readouterr().err.splitlines()
    assert error.startswith("vime-ref check: error: ")
    assert pointer == "try 'vime-ref check --help'"


@pytest.mark.usefixtures("few")
def test_a_report_survives_a_terminal_without_utf_8() -> None:
    """Control: the report holds a character that ASCII lacks."""
    assert "½" in str(check(module(DOUBLE)))
    script = (
        "import sys; from vime_check import judge; judge.VECTORS = judge.Path('few'); "
    )
    script += "from vime_lab.command_line import main; sys.exit(main(sys.argv[1:]))"
    for words in (["check", "mine"], ["run", "--help"], ["figure", "½"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
            capture_output=True,
        )
        said = (done.stdout + done.stderr).decode("ascii")
        assert "\nTraceback" not in said
        assert done.returncode == {"check": 1, "run": 0, "figure": 2}[words[0]]
        assert "\\x" in said or words[0] != "check"


def test_checking_the_reference_needs_no_module_of_posix() -> None:
    """As on Windows. Control: another program is rejected by one line."""
    script = "import os, sys; del os.killpg, os.setsid, os.fork, os.set_blocking\n"
    script += "for name in ('fcntl', 'resource', 'termios', 'pwd', 'grp'): sys.modules[name] = None\n"
    script += "from vime_lab.command_line import main; sys.exit(main(sys.argv[1:]))"
    for words, code in ((["--only", "softplus"], 0), (["mine"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", script, "check", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
    assert "error: another program can be checked only on a system " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("few")
def test_json_holds_every_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line("check", module(DOUBLE), "--json", "report.json") == 1
    report = json.loads(Path("report.json").read_text())
    assert (report["implementation"], report["dtype"], report["ok"]) == (
        "mine",
        "f64",
        False,
    )
    assert [each["id"] for each in report["outcomes"]] == [each["id"] for each in CASES]
    wrong = report["outcomes"][3]
    assert (wrong["mistakes"], wrong["status"]) == (["MissingHalf"], "wrong")
    assert wrong["place"]["got"] == 2 * wrong["place"]["expected"]
    assert report["valid"]["wrong"] == 1
    assert sum(report["valid"].values()) == sum(
        e["inputs"] == "valid" for e in report["outcomes"]
    )
    assert report["invalid"] == {
        "rejected": 3,
        "lenient": 0,
        "errored": 0,
        "skipped": 0,
    }
    assert command_line("check", "mine", "--json", "mine.py/below") == 2
    assert "argument --json: can't write to mine.py" in capsys.readouterr().err


def test_json_says_what_made_the_report(vectors: Path) -> None:
    """Versions, the command, the settings, and the program's own name. Controls: from Python, and the reference."""
    given = ["--only", "softplus/at-zero", "--digits", "3", "--json", "a b.json"]
    body = "say(seq=q['seq'], result=[0.6931471805599453])"
    words = ["check", "--exec", program(body), *given]
    assert command_line(*words) == 0
    report = json.loads(Path("a b.json").read_text())
    assert shlex.split(report["command"]) == ["vime-ref", *words]
    assert report["implementation"] == program(body)
    assert report["own_name"] == "p"
    assert report["vime-ref"] == importlib.metadata.version("vime-ref")
    assert report["vectors"] == VECTORS_VERSION
    assert report["protocol"] == 1  # its answer states no version
    settings = {"only": "softplus/at-zero", "profile": None, "digits": 3}
    others = {"timeout": 10.0, "memory": None, "vectors": None}
    assert report["settings"] == settings | others

    # vectors of the reader's own, which state no version
    own = check(only="softplus", timeout=np.float32(2.0), vectors=vectors)
    report = json.loads(own.to_json())
    missing = {"command", "own_name", "vectors", "protocol"}
    assert {name for name in report if report[name] is None} == missing
    assert report["settings"]["vectors"] == str(vectors)
    assert report["settings"]["timeout"] == 2.0
    report = json.loads(check(module(), only="softplus").to_json())
    assert (report["own_name"], report["protocol"]) == ("mine", 2)


@pytest.mark.usefixtures("few")
def test_the_table_counts_every_status_of_every_operation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command_line("check", module(DOUBLE))
    head, *rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:7]]
    names = "operation | exact digits wrong errored | rejected lenient | skipped | worst error"
    assert head == names.split()
    assert rows[1] == [
        "kl_taylor",
        "|",
        "0",
        "0",
        "1",
        "0",
        "|",
        "1",
        "0",
        "|",
        "0",
        "|",
        "1.0e+00",
    ]
    assert rows[-1][:10] == ["all", "|", "4", "0", "1", "0", "|", "3", "0", "|"]


@pytest.mark.parametrize(
    "line",
    ["assert check({0!r}).ok", "report = check({0!r}); assert report.ok, str(report)"],
)
def test_three_lines_of_pytest_say_what_is_wrong(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    name = module(
        "\ndef kl_taylor(mu, rho, delta_mu, delta_rho): return 2 * kl(mu, rho, delta_mu, delta_rho)\n"
        "def kl(mu, rho, delta_mu, delta_rho):\n    h = kl_hessian_diag(mu, rho)\n"
        "    return np.sum(h['h_mu'] * delta_mu**2 + h['h_rho'] * delta_rho**2) / 2\n"
    )
    Path("test_mine.py").write_text(
        f"from vime_check import check\ndef test_my_vime():\n    {line.format(name)}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_mine.py"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "kl_taylor/" in done.stdout
    assert "is MissingHalf" in done.stdout


def test_operations_that_are_not_offered_take_one_short_line() -> None:
    """Control: a skipped case of an offered operation adds no line."""
    names = [f"operation_{number}" for number in range(47)]
    outcomes = [Outcome(f"{name}/a", name, "skipped") for name in names]
    outcomes += [Outcome("mlp/a", "mlp", "exact"), Outcome("mlp/b", "mlp", "skipped")]
    lines = str(Report("mine", "f64", False, tuple(outcomes))).splitlines()
    assert lines[-1] == f"not offered: {', '.join(names[:5])} and 42 more"
    assert len(lines) == 5  # name, head, mlp, all


def test_parts_are_known_with_the_reference_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: an operation that the reference lacks, and a trace, have none."""
    known = {each.operation: each for each in load_vectors(None, "f64") if not each.why}
    cases = [known["kl_taylor"], known["vime_iterations"]]
    failed = [Outcome(each.id, each.operation, "wrong") for each in cases]
    failed.append(Outcome("unknown/0", "unknown", "wrong"))
    parts = parts_by_operation(cases, failed)
    assert parts == {"kl_taylor": ["kl_hessian_diag"]}
    named = failed[0]._replace(candidates=(Explanation(("MissingHalf",), 0.0),))
    assert parts_by_operation(cases, [named]) == {}
    monkeypatch.setitem(sys.modules, "vime_check.cases", None)
    assert parts_by_operation(cases, failed) == {}

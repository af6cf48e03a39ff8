"""The runner of the cross-checks: what it says of honest, mistaken, broken and hostile implementations."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from vime_check import fuzzer
from vime_check import judge as crosscheck
from vime_check import programs as protocol
from vime_check.judge import Report, check
from vime_check.programs import UsageError
from vime_check.prove import OPERATIONS
from vime_lab import command_line as experiments

ROOT = Path(__file__).parent.parent.parent
KL = {"mu": [0.0], "rho": [0.0], "delta_mu": [1.0], "delta_rho": [0.0]}
HALF = {
    "what": "the ½ of the Taylor form is left out.",
    "effect": "twice the gain",
    "seen_in": "openai/vime",
}


def case(
    operation: str, name: str, inputs: dict[str, Any], **rest: Any
) -> dict[str, Any]:
    """A valid case with the reference's output, or an invalid one where `why` is given."""
    kind: dict[str, Any] = {"result": "invalid"}
    if "why" not in rest:
        decoded = protocol.decoded(operation, inputs, "f64")
        kind = {
            "result": "valid",
            "output": protocol.plain(OPERATIONS[operation].function(**decoded)),
            "wrong": {},
        }
    head = {
        "id": f"{operation}/{name}",
        "operation": operation,
        "comment": "",
        "flags": [],
        "dtypes": ["f64", "f32"],
    }
    return {**head, "inputs": inputs, **kind, **rest}


CASES = [
    case("softplus", "zero", {"rho": [0.0]}),
    case("softplus", "two", {"rho": [1.0, -1.0]}),
    case("softplus", "nan", {"rho": ["NaN"]}, why="rho must be finite"),
    case(
        "kl_taylor", "half", KL, wrong={"MissingHalf": {"output": 2.0813689810056077}}
    ),
    case(
        "kl_taylor",
        "shape",
        {**KL, "delta_mu": [1.0, 1.0]},
        why="delta_mu must be as long as mu",
    ),
    case("kl_hessian_diag", "zero", {"mu": [0.0], "rho": [0.0]}),
    case("curious_rewards", "one", {"rewards": [1.0], "gains": [2.0], "eta": 0.5}),
    case(
        "curious_rewards",
        "eta",
        {"rewards": [1.0], "gains": [2.0], "eta": "Infinity"},
        why="eta must be finite",
    ),
]
NUMBER_OF = Counter(each["operation"] for each in CASES)


def write_vectors(folder: Path, cases: list[dict[str, Any]]) -> Path:
    """A vector file with these cases, in the folder."""
    operations = {each["operation"] for each in cases}
    tolerances = {
        name: {"f64": {"tolerance": 1e-14}, "f32": {"tolerance": 1e-6}}
        for name in operations
    }
    content = {
        "schema": 1,
        "family": "small",
        "notes": {"MissingHalf": HALF},
        "tolerances": tolerances,
    }
    content |= {"error": dict.fromkeys(operations, "elementwise"), "cases": cases}
    folder.mkdir(exist_ok=True)
    (folder / "small.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(autouse=True)
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few vectors; what is under test stands in the current folder."""
    monkeypatch.chdir(tmp_path)
    return write_vectors(tmp_path / "few", CASES)


HONEST = """
import numpy as np
def softplus(rho):
    if not np.isfinite(rho).all():
        raise ValueError("rho")
    return np.logaddexp(rho.dtype.type(0), rho)
def kl_taylor(mu, rho, delta_mu, delta_rho):
    if mu.shape != delta_mu.shape:
        raise ValueError("delta_mu")
    h = kl_hessian_diag(mu, rho)
    return np.sum(h["h_mu"] * delta_mu**2 + h["h_rho"] * delta_rho**2) / 2
def kl_hessian_diag(mu, rho):
    sigma = np.logaddexp(rho.dtype.type(0), rho)
    return {"h_mu": sigma**-2, "h_rho": 2 * (1 / (1 + np.exp(-rho)) / sigma) ** 2}
def curious_rewards(rewards, gains, eta):
    if not np.isfinite(eta):
        raise ValueError("eta")
    return rewards + eta * gains
"""


def module(change: str = "", name: str = "mine") -> str:
    """The name of a module in the current folder: the honest one with a change at its end."""
    Path(f"{name}.py").write_text(HONEST + change)
    return name


def statuses(report: Report, operation: str = "") -> dict[str, int]:
    return dict(
        Counter(
            each.status
            for each in report.outcomes
            if each.operation.startswith(operation)
        )
    )


GOOD = {"passed": 5, "refused": 3}


def assert_rest_is_good(report: Report, operation: str = "softplus") -> None:
    """All cases of the other operations came out right."""
    rest = [each.status for each in report.outcomes if each.operation != operation]
    assert len(rest) == len(CASES) - NUMBER_OF[operation]
    assert set(rest) <= {"passed", "refused"}, report


# ---------------------------------------------------------------- honest implementations


def test_the_reference_passes_every_vector_of_the_project() -> None:
    report = check(vectors=None)
    assert report.ok, str(report)
    assert set(statuses(report)) == {"passed", "refused"}
    assert {each.operation for each in report.outcomes} == set(OPERATIONS)


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
    assert statuses(report) == {"passed": 2, "refused": 1, "skipped": 5}
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
    assert check("one", vectors=vectors, only="softplus/nan,kl_taylor").ok


def test_a_program_over_exec_passes_like_its_module(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = shlex.join(
        [sys.executable, "-m", "vime_check.programs", "serve", module()]
    )
    assert statuses(check(command=command, vectors=vectors)) == GOOD


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ("rho.tolist() and [np.float64(0.6931471805599453)]", ""),
        (
            "type('T', (), {'detach': lambda s: s, 'cpu': lambda s: s, 'numpy': lambda s: np.log1p(np.exp(rho))})()",
            "",
        ),
        ("rho", "error 1.0e+00"),
        ("rho * np.nan", "NaN at index (0,)"),
        ("rho[None]", "shape (1, 1) in place of (1,)"),
        ("{'sigma': rho}", "the names 'sigma' in place of one array"),
        (
            "{f'o{n}': rho for n in range(9)}",
            "the names 'o0', 'o1', 'o2', 'o3', 'o4' and 4 more in place of one array",
        ),
        ("(rho,)", "returned a tuple"),
        ("'text'", "returned str"),
        ("None", "returned NoneType"),
        ("rho + 1j", "complex128; numbers"),
        ("{'deep': {'deeper': rho}}", "returned dict"),
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


@pytest.mark.parametrize(
    ("kind", "output", "expected", "error"),
    [
        ("elementwise", [1.1, 0.1], [1.0, 0.0], 0.1),
        ("arraywise", [1.1, 0.1, 4.0], [1.0, 0.0, 4.0], 0.025),
        ("arraywise", [0.5, 0.0], [0.0, 0.0], 0.5),
        ("elementwise", ["Infinity", 1.0], ["Infinity", 1.0], 0.0),
        ("elementwise", ["Infinity"], ["-Infinity"], np.inf),
        ("arraywise", [1.0, 2.0], ["Infinity", 2.0], np.inf),
        ("arraywise", ["Infinity", 2.2], ["Infinity", 2.0], 0.1),
        ("elementwise", ["NaN"], ["NaN"], 0.0),
        ("elementwise", ["NaN", 1.5], ["NaN", 1.0], 0.5),
        ("arraywise", ["NaN", 1.0], ["NaN", 2.0], 0.5),
        ("elementwise", ["NaN"], [1.0], np.inf),
        ("arraywise", [1.0], ["NaN"], np.inf),
        ("elementwise", [], [], 0.0),
        ("elementwise", [1.0], [], np.inf),
    ],
)
def test_difference_against_numbers_by_hand(
    kind: str, output: Any, expected: Any, error: float
) -> None:
    pair = protocol.outputs(output), crosscheck.outputs(expected)
    assert crosscheck.difference(*pair, kind)[0] == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_indices_are_whole_numbers_and_a_missing_setting_is_none_in_each_precision(
    dtype: str,
) -> None:
    """Control: counts, which may be pseudo-counts, and indices with a fraction are numbers of the precision."""
    given = {
        "images": [[[1, 0]], [[2, 1]]],
        "bits": [1, 0],
        "symbols": [[0.5]],
        "counts": [1, 0],
        "rate": None,
    }
    decoded = protocol.decoded("image_cts_log_probs", given, dtype)
    kinds = {
        name: None if value is None else value.dtype.kind
        for name, value in decoded.items()
    }
    assert kinds == {
        "images": "i",
        "bits": "i",
        "symbols": "f",
        "counts": "f",
        "rate": None,
    }
    assert decoded["counts"].dtype == protocol.DTYPES[dtype]
    assert decoded["images"].shape == (2, 1, 2)
    actions = protocol.decoded(
        "control_loss", {"actions": [1, 0], "targets": [[1.0]]}, dtype
    )
    assert [value.dtype.kind for value in actions.values()] == ["i", "f"]


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        ([0, 255.0], "u"),
        ([0.5, 1.0], "f"),
        ([0, 256], "f"),
        ([-1, 0], "f"),
        ([0, "NaN"], "f"),
    ],
)
def test_pixels_are_bytes_where_they_can_be(
    pixels: list[Any], kind: str, dtype: str
) -> None:
    """Control: those of a policy, and flags, are none."""
    given = {"observations": [[[pixels]]], "cell_size": 1}
    observations = protocol.decoded("pixel_control_rewards", given, dtype)[
        "observations"
    ]
    assert observations.dtype == (np.uint8 if kind == "u" else protocol.DTYPES[dtype])
    assert (
        protocol.decoded("feature_control_rewards", given, dtype)[
            "observations"
        ].dtype.kind
        == "f"
    )


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
    """Control: NaN where the mistake has a number."""
    wrong = {"MissingHalf": {"output": ["NaN", "NaN"]}}
    folder = write_vectors(
        tmp_path / "nan", [case("softplus", "two", {"rho": [1.0, -1.0]}, wrong=wrong)]
    )
    (outcome,) = check(
        module(f"\ndef softplus(rho): return {result}"), vectors=folder
    ).outcomes
    assert (outcome.status, outcome.mistakes) == ("failed", names)
    assert outcome.message.startswith("NaN at index ")


def test_a_known_mistake_is_named_and_an_unknown_one_is_not(vectors: Path) -> None:
    report = check(module(DOUBLE), vectors=vectors)
    (bad,) = report.bad()
    assert (bad.id, bad.status, bad.mistakes) == (
        "kl_taylor/half",
        "failed",
        ("MissingHalf",),
    )
    (line,) = report.lines()
    assert line.startswith(
        "kl_taylor/half: error 1.0e+00, tolerance 1.0e-14; matches MissingHalf: the ½"
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
    assert "shape (3,) in place of (2,); matches Longer" in str(report)


def test_the_nearest_mistake_comes_first_and_one_may_have_a_tolerance_of_its_own(
    tmp_path: Path,
) -> None:
    wrong = {
        "Wide": {"output": [9.0, 9.0], "tolerance": 1.0},
        "Near": {"output": [8.0, 8.0]},
    }
    folder = write_vectors(tmp_path / "v", [{**CASES[1], "wrong": wrong}])
    report = check(module("\ndef softplus(rho): return 8.0 + 0 * rho"), vectors=folder)
    assert report.bad()[0].mistakes == ("Near", "Wide")
    assert statuses(check(module(name="right"), vectors=folder)) == {"passed": 1}


def test_changed_inputs_fail_though_the_output_is_right(vectors: Path) -> None:
    report = check(module(MUTATES), vectors=vectors)
    bad = report.bad()
    assert [each.id for each in bad] == ["curious_rewards/one", "curious_rewards/eta"]
    assert {each.mistakes for each in bad} == {("InputMutation",)}
    changed = "inputs changed by the call: ['rewards']; matches InputMutation: the caller's arrays are changed in place"
    assert report.lines() == [f"curious_rewards/one and 1 more: {changed}"]
    assert_rest_is_good(report, "curious_rewards")


def test_only_the_served_module_is_believed_about_changed_inputs(vectors: Path) -> None:
    body = "say(seq=q['seq'], result=[math.log(2)], mutated=['rho'])"
    report = check(
        command=program(f"import math; {body}"), only="softplus/zero", vectors=vectors
    )
    assert statuses(report) == {"passed": 1}, str(report)


def test_accepting_what_should_be_refused_is_lenient_and_fails_only_where_strict(
    vectors: Path,
) -> None:
    report = check(module(ACCEPTS), vectors=vectors)
    assert report.ok
    assert statuses(report) == {"passed": 5, "refused": 2, "lenient": 1}
    strict = check("mine", vectors=vectors, strict=True)
    assert not strict.ok
    assert strict.lines() == [
        "softplus/nan: accepted an input that should be refused: rho must be finite"
    ]


def test_refusing_a_valid_input_fails_and_another_exception_is_an_error(
    vectors: Path,
) -> None:
    report = check(
        module("\ndef softplus(rho): raise ValueError('no\\x1b[31m thanks')"),
        vectors=vectors,
    )
    assert statuses(report, "softplus") == {"failed": 2, "refused": 1}
    assert "refused a valid input: no [31m thanks" in str(report)
    report = check(
        module("\ndef softplus(rho): raise TypeError('no')", "other"), vectors=vectors
    )
    assert statuses(report, "softplus") == {"errored": 2, "refused": 1}
    assert report.lines() == ["softplus/zero and 1 more: TypeError: no"]


def test_an_exception_of_any_kind_refuses_an_invalid_input_but_an_unusable_result_does_not(
    vectors: Path,
) -> None:
    (outcome,) = check(
        module("\ndef softplus(rho): raise IndexError('out')"),
        only="softplus/nan",
        vectors=vectors,
    ).outcomes
    assert (outcome.status, outcome.message) == (
        "refused",
        "refused by an error: IndexError: out",
    )
    for name, body in {
        "text": "return 'text'",
        "crash": "import os; os._exit(1)",
    }.items():
        report = check(
            module(f"\ndef softplus(rho): {body}", name),
            only="softplus/nan",
            vectors=vectors,
        )
        assert statuses(report) == {"errored": 1}, str(report)


def test_failures_share_a_line_where_they_share_a_mistake_or_a_message(
    tmp_path: Path,
) -> None:
    """Three cases are twice the right output; the second of them is another mistake's output as well."""
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
        "kl_taylor/0 and 3 more: worst error 3.0e+00; matches Half",
        "kl_taylor/3 and 1 more: error 1.0e+00, tolerance 1.0e-14",
    ]
    assert check(
        module(body), only="kl_taylor/3", vectors=tmp_path / "twos"
    ).lines() == ["kl_taylor/3: error 1.0e+00, tolerance 1.0e-14"]


UNKNOWN = """
from vime_check.prove import OPERATIONS
right = {name: each.function for name, each in OPERATIONS.items()}
class scaled:
    def kl_diag_normal(**inputs): return 0.7 * right["kl_diag_normal"](**inputs)
    def information_gains(**inputs): return 1.2 * right["information_gains"](**inputs)
class swapped:
    def kl_diag_normal(mu_q, sigma_q, mu_p, sigma_p): return right["kl_diag_normal"](mu_p, sigma_p, mu_q, sigma_q)
"""


def test_an_unknown_mistake_stays_unnamed_on_the_vectors_of_the_project() -> None:
    """Each operation is scaled by a factor that is no mistake of anyone's; the swapped KL is named."""
    Path("unknown.py").write_text(UNKNOWN)
    bad = check("unknown:scaled").bad()
    assert {each.operation for each in bad} == {"kl_diag_normal", "information_gains"}
    assert {each.id: each.mistakes for each in bad if each.mistakes} == {}
    assert ("SwappedKL",) in {each.mistakes for each in check("unknown:swapped").bad()}


# ---------------------------------------------------------------- hostile implementations

IN_A_CALL = {
    "hang": ("while True: pass", "no answer within 1 s"),
    "os._exit": ("import os; os._exit(7)", "exited with code 7"),
    "sys.exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "signal": ("import os; os.kill(os.getpid(), 11)", "ended by signal SIGSEGV"),
    "interrupt": (
        "raise KeyboardInterrupt",
        "ended by signal SIGINT: KeyboardInterrupt",
    ),
    "recursion": ("return softplus(rho)", "RecursionError"),
    "huge": ("return np.zeros(300_000)", "answer of more than 1 MiB"),
    "closes": (
        "import os; os.closerange(3, 20); import time; time.sleep(60)",
        "closed its stdin or stdout",
    ),
    "stderr": (
        "import sys\n    while True: sys.stderr.write('x' * 10**6)",
        "no answer within 1 s",
    ),
}


@pytest.mark.parametrize("name", IN_A_CALL)
def test_a_module_that_breaks_in_a_call_is_reported_as_that_and_the_rest_goes_on(
    name: str, vectors: Path
) -> None:
    body, reason = IN_A_CALL[name]
    limit = 1.0 if "within" in reason else 30.0
    report = check(
        module(f"\ndef softplus(rho):\n    {body}"), vectors=vectors, timeout=limit
    )
    raised = name in (
        "sys.exit",
        "recursion",
    )  # which the worker outlives, so that an invalid input is refused
    assert statuses(report, "softplus") == (
        {"errored": 2, "refused": 1} if raised else {"errored": 3}
    ), str(report)
    assert all(reason in each.message for each in report.bad()), str(report)
    assert_rest_is_good(report)


AT_IMPORT = {
    "crash": ("1 / 0", "ZeroDivisionError: division by zero"),
    "exit": ("raise SystemExit(2)", "SystemExit: 2"),
    "os._exit": ("import os; os._exit(9)", "exited with code 9"),
    "syntax": ("def", "SyntaxError"),
    "hang": ("import time; time.sleep(600)", "no answer within"),
}


@pytest.mark.parametrize("name", AT_IMPORT)
def test_a_module_that_breaks_at_import_is_tried_once(
    name: str, vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "hang":
        monkeypatch.setattr(protocol, "START_SECONDS", 1.0)
    body, reason = AT_IMPORT[name]
    report = check(module("\n" + body), vectors=vectors, timeout=1.0)
    assert statuses(report) == {"errored": len(CASES)}
    head, line = str(report).splitlines()
    assert head == "mine (f64)"
    assert line.startswith("did not start: ")
    assert reason in line
    assert {each.message for each in report.outcomes[1:]} == {
        "not tried, for the implementation did not start"
    }


def test_a_module_that_breaks_at_import_runs_once(vectors: Path) -> None:
    assert not check(
        module("\nopen('tried', 'a').write('x')\n1 / 0"), vectors=vectors
    ).ok
    assert Path("tried").read_text() == "x"


def test_what_a_module_prints_and_reads_never_reaches_the_protocol(
    vectors: Path,
) -> None:
    noise = "\nimport os, sys\nprint('hello'); os.write(1, b'{}\\n'); assert sys.stdin.read() == ''\n"
    noise += "honest = softplus\ndef softplus(rho):\n    print('garbage', flush=True)\n    return honest(rho)"
    assert statuses(check(module(noise), vectors=vectors)) == GOOD


PROGRAM = """
import json, os, sys, time
def say(**answer): print(json.dumps(answer), flush=True)
for line in sys.stdin:
    q = json.loads(line)
    if q["cmd"] == "start": say(seq=q["seq"], ok=True, implementation="p")
    elif q["cmd"] == "run" and q["operation"] != "softplus": say(seq=q["seq"], skipped="no")
    elif q["cmd"] == "run":
        {body}
"""
BABBLE = {
    "garbage": ("print('gar\\x07bage', flush=True)", "not JSON: gar bage"),
    "partial": (
        "print('{\"seq\":', end='', flush=True); time.sleep(600)",
        "no answer within 1 s",
    ),
    "list": ("print('[1]', flush=True)", "not a JSON object: [1]"),
    "deep": ("print('[' * 10**5, flush=True)", "not JSON: [[["),
    "long": ("print('1' * 10**5, flush=True)", "not JSON: 111"),
    "binary": ("os.write(1, bytes(range(128, 256)) + b'\\n')", "not JSON: "),
    "empty": ("print(flush=True)", "not JSON: "),
    "seq": ("say(seq=q['seq'] + 1, result=1.0)", "in place of "),
    "text seq": (
        "say(seq=str(q['seq']), result=1.0)",
        "answered number '1' in place of 1",
    ),
    "no seq": ("say(result=1.0)", "answered number None in place of "),
    "twice": (
        "say(seq=q['seq'], result=[0.0]); say(seq=q['seq'], result=[0.0])",
        "answered number 1 in place of 2",
    ),
    "nothing": ("say(seq=q['seq'])", "no result in {'seq': "),
    "endless line": (
        "os.set_blocking(1, True)\n        while True: os.write(1, b'x' * 65536)",
        "more than 1 MiB",
    ),
    "endless lines": ("while True: print('x')", "not JSON: x"),
    "exit": ("sys.exit('bye')", "exited with code 1: bye"),
    "error": ("say(seq=q['seq'], error='sorry')", "sorry"),
}


def program(body: str) -> str:
    Path("program.py").write_text(PROGRAM.replace("{body}", body))
    return shlex.join([sys.executable, "program.py"])


@pytest.mark.parametrize("name", BABBLE)
def test_a_program_that_babbles_is_reported_as_that_and_the_rest_goes_on(
    name: str, vectors: Path
) -> None:
    body, reason = BABBLE[name]
    report = check(command=program(body), vectors=vectors, timeout=1.0)
    bad = [
        each
        for each in report.outcomes
        if each.operation == "softplus" and each.status == "errored"
    ]
    assert bad, str(report)
    assert any(reason in each.message for each in bad), str(report)
    others = [each.status for each in report.outcomes if each.operation != "softplus"]
    late = name == "twice"  # what is too much is seen with the next answer
    assert Counter(others) == Counter(skipped=len(others) - late, errored=int(late))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("null", "null stands where a number should"),
        ("[true]", "true stands where a number should"),
        ('["1"]', '"1" stands where a number should'),
        ('{"a": {"b": 1}}', "stands where a number should"),
        ("[[1], 2]", "not an array of numbers"),
        ("[NaN]", "NaN at index (0,)"),
        ('["NaN"]', "NaN at index (0,)"),
        ("[1" + "0" * 400 + "]", "not an array of numbers"),
        ("[" * 400 + "1" + "]" * 400, "not an array of numbers"),
        ("[]", "shape (0,) in place of (1,)"),
        ("{}", "no names in place of one array"),
    ],
)
def test_an_answer_that_is_no_array_of_numbers_fails(
    result: str, reason: str, vectors: Path
) -> None:
    body = f"""print('{{"seq": %d, "result": ' % q["seq"] + {result!r} + '}}', flush=True)"""
    report = check(command=program(body), only="softplus/zero", vectors=vectors)
    assert statuses(report) == {"failed": 1}, str(report)
    assert reason in report.lines()[0]


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


def test_answers_that_are_too_long_are_breaks_and_one_that_is_not_is_read(
    tmp_path: Path,
) -> None:
    many = [{**CASES[0], "id": f"softplus/{n}"} for n in range(5)]
    folder = write_vectors(tmp_path / "many", many)
    report = check(
        module("\ndef softplus(rho): return np.zeros(300_000)"), vectors=folder
    )
    assert [each.message for each in report.outcomes[:3]] == [
        "answer of more than 1 MiB"
    ] * 3
    assert all("not tried" in each.message for each in report.outcomes[3:])
    report = check(
        module("\ndef softplus(rho): return np.zeros(100_000)", "short"), vectors=folder
    )
    assert report.lines() == ["softplus/0 and 4 more: shape (100000,) in place of (1,)"]


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexit 4\n", "not executable by any shell\x00"]
)
def test_a_program_that_does_not_start_is_an_error_of_every_case(
    text: str, vectors: Path
) -> None:
    Path("start").write_text(text)
    Path("start").chmod(0o755)
    report = check(command="./start", vectors=vectors)
    assert statuses(report) == {"errored": len(CASES)}
    assert report.lines()[0].startswith("did not start: ")


@pytest.mark.parametrize("ending", ["hangs", "crashes", "stops"])
def test_children_that_a_program_leaves_in_its_process_group_are_ended(
    ending: str, vectors: Path
) -> None:
    """The child holds stdout open, and writes a line a moment while it lives."""
    spawn = "import subprocess, sys, os, time; subprocess.Popen(['sh', '-c', 'echo $$ > pid; sleep 600'])"
    wait = "\n    while not os.path.exists('pid') or not open('pid').read(): time.sleep(0.01)\n    "
    end = {
        "hangs": "time.sleep(600)",
        "crashes": "os._exit(1)",
        "stops": "return np.logaddexp(0, rho)",
    }[ending]
    report = check(
        module(f"\ndef softplus(rho):\n    {spawn}{wait}{end}"),
        only="softplus/zero",
        vectors=vectors,
        timeout=2,
    )
    assert report.ok == (ending == "stops")
    assert not alive(int(Path("pid").read_text()))


def alive(pid: int) -> bool:
    """Whether the process still runs, given a moment to end; one that nobody waited for does not."""
    for _ in range(100):
        try:
            state = subprocess.run(
                ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
            ).stdout.strip()
        except FileNotFoundError:
            os.kill(pid, 0)
            state = "?"
        if not state or state.startswith("Z"):
            return False
        time.sleep(0.02)
    return True


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
    ],
)
def test_what_does_not_exist_is_a_usage_error(
    arguments: dict[str, str], reason: str, vectors: Path
) -> None:
    keywords: dict[str, Any] = {"vectors": vectors, **arguments}
    with pytest.raises(UsageError, match=re.escape(reason)) as caught:
        check(**keywords)
    assert "\n" not in str(caught.value)


def test_a_module_whose_own_import_is_missing_is_no_usage_error(vectors: Path) -> None:
    report = check(module("\nimport nowhere"), vectors=vectors)
    assert report.lines() == [
        "did not start: ModuleNotFoundError: No module named 'nowhere'"
    ]


def test_a_file_in_the_current_folder_hides_nothing_that_the_checker_needs(
    vectors: Path,
) -> None:
    for name in ("json", "types", "numpy", "vime_check.programs"):
        Path(f"{name}.py").write_text("1 / 0")
    assert statuses(check(module(), vectors=vectors)) == GOOD


def test_a_folder_without_vectors_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no vectors in "):
        check(vectors="nowhere")


def test_nothing_is_given_to_a_shell(vectors: Path) -> None:
    check(command="echo hello; touch made $(touch made)", vectors=vectors)
    assert not Path("made").exists()


# ---------------------------------------------------------------- reports and the command line


def command_line(*arguments: str) -> int:
    """The exit code of `vime-ref`."""
    with contextlib.suppress(SystemExit):
        return experiments.main(list(arguments))
    return 2  # what the parser ends with, as other tests show


@pytest.fixture
def few(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The few vectors in place of the project's own."""
    monkeypatch.setattr(crosscheck, "VECTORS", vectors)
    return vectors


@pytest.mark.parametrize(
    ("change", "flags", "code"),
    [
        ("", [], 0),
        (DOUBLE, [], 1),
        (ACCEPTS, [], 0),
        (ACCEPTS, ["--strict"], 1),
        ("\n1/0", [], 1),
        ("\n1/0", ["--only", "x"], 2),
        ("", ["--only", "x"], 2),
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
def test_json_holds_every_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line("check", module(DOUBLE), "--json", "report.json") == 1
    report = json.loads(Path("report.json").read_text())
    assert (report["implementation"], report["dtype"], report["ok"]) == (
        "mine",
        "f64",
        False,
    )
    assert [each["id"] for each in report["outcomes"]] == [each["id"] for each in CASES]
    assert report["outcomes"][3]["mistakes"] == ["MissingHalf"]
    assert command_line("check", "mine", "--json", "no/folder") == 2
    assert "argument --json: can't write to no/folder" in capsys.readouterr().err


@pytest.mark.usefixtures("few")
def test_the_table_counts_every_status_of_every_operation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command_line("check", module(DOUBLE))
    head, *rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:7]]
    assert head == [
        "operation",
        "passed",
        "failed",
        "refused",
        "lenient",
        "skipped",
        "errored",
        "worst",
        "error",
    ]
    assert rows[1] == ["kl_taylor", "0", "1", "1", "0", "0", "0", "1.0e+00"]
    assert rows[-1][:7] == ["all", "4", "1", "3", "0", "0", "0"]


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
        f"from vime_check.judge import check\ndef test_my_vime():\n    {line.format(name)}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_mine.py"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "kl_taylor/" in done.stdout
    assert "error 1.0e+00" in done.stdout


# ---------------------------------------------------------------- fuzz


SCHEMA = json.loads(
    (ROOT / "vime_check" / "vectors" / "schema.json").read_text("utf-8")
)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_fuzz_of_the_javascript_adapter_finds_nothing(dtype: str) -> None:
    report = fuzzer.fuzz(
        command=f"node '{ROOT / 'examples' / 'vime_adapter.js'}'",
        examples=5,
        dtype=dtype,
    )
    assert {each.operation: each.status for each in report.findings} == dict.fromkeys(
        OPERATIONS, "passed"
    ), str(report)


PLANTED = (
    "\nhonest = {0}\ndef {0}(**inputs):\n    right = honest(**inputs)\n    return {1}"
)


@pytest.mark.parametrize(
    ("operation", "wrong", "inputs"),
    [
        ("softplus", "np.log(1 + np.exp(inputs['rho']))", None),
        ("kl_taylor", "2 * right", {"mu": [0.0], "rho": [0.0]}),
        (
            "curious_rewards",
            "right if inputs['eta'] < 0.5 else right + 1",
            {"rewards": [0.0], "gains": [1.0], "eta": 0.5},
        ),
        ("kl_hessian_diag", "{'h_mu': right['h_mu']}", {"mu": [0.0], "rho": [0.0]}),
    ],
)
def test_fuzz_shrinks_a_planted_mistake_to_a_vector(
    operation: str,
    wrong: str,
    inputs: dict[str, Any] | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The vector fails the same implementation and passes an honest one and the reference."""
    name = module(PLANTED.format(operation, wrong))
    assert command_line("fuzz", name, "--only", operation, "--examples", "300") == 1
    (text,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("{")
    ]
    found = json.loads(text)
    jsonschema.Draft202012Validator(
        {**SCHEMA["$defs"]["valid"], "$defs": SCHEMA["$defs"]}
    ).validate(found)
    assert {**found["inputs"], **(inputs or {})} == found["inputs"]
    folder = write_vectors(tmp_path / "found", [found])
    assert statuses(check(name, vectors=folder)) == {"failed": 1}
    assert statuses(check(module(name="honest"), vectors=folder)) == {"passed": 1}
    assert statuses(check(vectors=folder)) == {"passed": 1}


def test_fuzz_names_the_mistake_and_goes_by_its_seed() -> None:
    name = module(PLANTED.format("kl_taylor", "2 * right"))
    one, same = (fuzzer.fuzz(name, only="kl_taylor", seed=1) for _ in range(2))
    assert one == same
    assert one.findings[0].case is not None
    assert one.findings[0].case["flags"] == ["MissingHalf"]
    assert "matches MissingHalf" in str(one)


def test_fuzz_over_exec_skips_and_survives(capsys: pytest.CaptureFixture[str]) -> None:
    command = program(
        "say(seq=q['seq'], result=[1.0]) if q['inputs']['rho'] != [0.0] else os._exit(5)"
    )
    only = "softplus/at-zero,softplus_inverse/half"
    assert (
        command_line("fuzz", "--exec", command, "--only", only, "--json", "report.json")
        == 1
    )
    found = {
        each["operation"]: each
        for each in json.loads(Path("report.json").read_text())["findings"]
    }
    assert found["softplus"]["status"] == "errored"
    assert found["softplus_inverse"]["status"] == "skipped"
    assert "softplus_inverse: skipped, no" in capsys.readouterr().out


@pytest.mark.parametrize("body", ["import os; os._exit(5)", "raise TypeError('five')"])
def test_fuzz_reports_what_breaks_or_raises(body: str) -> None:
    report = fuzzer.fuzz(
        module(f"\ndef softplus(rho):\n    {body}"), only="softplus", timeout=2.0
    )
    assert [
        each.status for each in report.findings if each.operation == "softplus"
    ] == ["errored"]
    assert re.search("exited with code 5|TypeError: five", str(report))


def test_fuzz_reports_answers_that_change_from_call_to_call() -> None:
    report = fuzzer.fuzz(
        module(
            "\nimport itertools; calls = itertools.count()\n"
            "def softplus(rho): return np.logaddexp(0, rho) + (next(calls) == 3)"
        ),
        only="softplus/at-zero",
    )
    assert [(each.status, each.message[:36]) for each in report.findings] == [
        ("failed", "answers to the same inputs differ: e")
    ]


def test_fuzz_reports_what_it_saw_before_a_program_broke() -> None:
    body = (
        "\ndef softplus(rho):\n    if 0 < rho[0] < 2: import os; os._exit(5)\n"
        "    return np.logaddexp(0, rho) + (rho[0] > 1)"
    )
    (finding,) = fuzzer.fuzz(module(body), only="softplus/at-zero").findings
    assert (finding.status, finding.message[:38]) == (
        "failed",
        "disagreement, before the search ended ",
    )


SOME = "\ndef softplus(rho):\n    if rho[0] {}: raise NotImplementedError('not there')\n    return np.logaddexp(0, rho)"


@pytest.mark.parametrize(
    ("condition", "status", "message"),
    [
        ("> 0", "passed", r"no disagreement in \d+ examples"),
        ("< np.inf", "skipped", "not there"),
    ],
)
def test_fuzz_skips_only_an_operation_of_which_nothing_was_compared(
    condition: str, status: str, message: str
) -> None:
    (finding,) = fuzzer.fuzz(
        module(SOME.format(condition)), only="softplus/at-zero", examples=30
    ).findings
    assert finding.status == status
    assert re.fullmatch(message, finding.message)
    assert finding.message != "no disagreement in 30 examples"


@pytest.mark.parametrize("operation", ["kl_diag_normal", "information_gain"])
def test_fuzz_near_identity_takes_honest_sigmas_in_float32_control_of_the_textbook_sum_in_float64(
    operation: str,
) -> None:
    body = (
        "\ndef kl(m, s, n, t):\n    r, z = (s - t) / t, (m - n) / t"
        "\n    return np.sum({}) / 2"
        "\ndef kl_diag_normal(mu_q, sigma_q, mu_p, sigma_p): return kl(mu_q, sigma_q, mu_p, sigma_p)"
        "\ndef information_gain(mu_new, rho_new, mu_old, rho_old):"
        "\n    return kl(mu_new, softplus(rho_new), mu_old, softplus(rho_old))"
    )
    series = "2 * r**2 - r**3 * 2 / 3 + r**4 / 2 - r**5 * 2 / 5 + r**6 / 3"
    sigmas = f"z**2 + np.where(abs(r) < 0.05, {series}, r * (r + 2) - 2 * np.log1p(r))"
    arguments: dict[str, Any] = {"only": operation, "examples": 100, "dtype": "f32"}
    honest = {
        each.operation: each
        for each in fuzzer.fuzz(module(body.format(sigmas)), **arguments).findings
    }
    assert honest[operation].status == "passed", honest
    textbook = module(
        body.format("(s / t)**2 - 1 - 2 * np.log(s / t) + z**2"), "textbook"
    )
    (finding,) = fuzzer.fuzz(textbook, **arguments | {"dtype": "f64"}).findings
    assert finding.status == "failed", finding


@pytest.mark.parametrize("factor", [0.7, 1.2])
def test_fuzz_names_no_mistake_of_an_output_that_is_none(factor: float) -> None:
    change = PLANTED.format("kl_taylor", f"right * {factor}")
    (finding,) = fuzzer.fuzz(module(change), only="kl_taylor").findings
    assert finding.case is not None
    assert (finding.status, finding.case["flags"]) == ("failed", [])


def test_fuzz_without_hypothesis_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command_line("fuzz") == 2
    *_, error, pointer = capsys.readouterr().err.splitlines()
    assert error == (
        "vime-ref fuzz: error: fuzz needs hypothesis: pip install hypothesis"
    )
    assert pointer == "try 'vime-ref fuzz --help'"


def test_draws_of_every_operation_are_valid_inputs_of_the_reference() -> None:
    """At least half of them; the others are too near a kink."""
    for operation, entry in OPERATIONS.items():
        rng = np.random.default_rng(0)
        draw = fuzzer.Draw(lambda low, high, rng=rng: int(rng.integers(low, high + 1)))
        drawn = [
            fuzzer.draw_inputs(draw, operation, fuzzer.argument_names(operation))
            for _ in range(20)
        ]
        results = [fuzzer.reference_result(operation, inputs) for inputs in drawn]
        assert sum(result is not None for result in results) >= 10, operation
        assert list(drawn[0]) == fuzzer.argument_names(entry.name)

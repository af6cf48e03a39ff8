"""Fuzzing: results for planted mistakes, broken programs, and correct programs."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from check_helpers import (
    ROOT,
    command_line,
    draw_of_seed,
    module,
    program,
    statuses,
    write_vectors,
)

from vime_check import fuzzer
from vime_check.cases import OPERATIONS
from vime_check.files import Wrong
from vime_check.fuzzer import Drawn, Finding, FuzzReport, Trial
from vime_check.hints import LEFTOVER
from vime_check.judge import check, hinted, load_vectors, outcome_of
from vime_check.programs import peer_of
from vime_check.wire import VECTORS_VERSION, UsageError, decode_inputs

pytestmark = pytest.mark.usefixtures("vectors")

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
        OPERATIONS, "exact"
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
    """The vector fails the same implementation; a correct one and the reference pass it."""
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
    assert statuses(check(name, vectors=folder)) == {"wrong": 1}
    assert statuses(check(module(name="honest"), vectors=folder)) == {"exact": 1}
    assert statuses(check(vectors=folder)) == {"exact": 1}


def test_fuzz_names_the_mistake_and_goes_by_its_seed() -> None:
    name = module(PLANTED.format("kl_taylor", "2 * right"))
    one, same = (fuzzer.fuzz(name, only="kl_taylor", seed=1) for _ in range(2))
    assert one == same
    assert one.findings[0].case is not None
    assert one.findings[0].case["flags"] == ["MissingHalf"]
    assert "is MissingHalf: the ½" in str(one)


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
    assert [(each.status, each.message[:34]) for each in report.findings] == [
        ("wrong", "answers to the same inputs differ:")
    ]


def test_fuzz_reports_what_it_saw_before_a_program_broke() -> None:
    body = (
        "\ndef softplus(rho):\n    if 0 < rho[0] < 2: import os; os._exit(5)\n"
        "    return np.logaddexp(0, rho) + (rho[0] > 1)"
    )
    (finding,) = fuzzer.fuzz(module(body), only="softplus/at-zero").findings
    assert (finding.status, finding.message[:38]) == (
        "wrong",
        "disagreement, before the search ended ",
    )


SOME = "\ndef softplus(rho):\n    if rho[0] {}: raise NotImplementedError('not there')\n    return np.logaddexp(0, rho)"


@pytest.mark.parametrize(
    ("condition", "status", "message"),
    [
        ("> 0", "exact", r"no disagreement in \d+ examples"),
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
    assert honest[operation].status == "exact", honest
    textbook = module(
        body.format("(s / t)**2 - 1 - 2 * np.log(s / t) + z**2"), "textbook"
    )
    (finding,) = fuzzer.fuzz(textbook, **arguments | {"dtype": "f64"}).findings
    assert finding.status == "digits", finding
    assert re.match(
        r"the worst of 100 examples: agrees to \d+ digits; ", finding.message
    )
    assert finding.case is not None


def test_fuzz_keeps_the_worst_of_the_mild_disagreements() -> None:
    """One element in two is off by 2^-40, the other by 2^-30."""
    body = "\ndef softplus(rho): return np.logaddexp(0, rho) * (1 + np.where(rho > 0, 2.0**-30, 2.0**-40))"
    report = fuzzer.fuzz(module(body), only="softplus/at-zero")
    (finding,) = report.findings
    assert report.ok
    assert finding.message.startswith("the worst of 100 examples: agrees to 9 digits")


@pytest.mark.parametrize("factor", [0.7, 1.2])
def test_fuzz_names_no_mistake_of_an_output_that_is_none(factor: float) -> None:
    change = PLANTED.format("kl_taylor", f"right * {factor}")
    (finding,) = fuzzer.fuzz(module(change), only="kl_taylor").findings
    assert finding.case is not None
    assert (finding.status, finding.case["flags"]) == ("wrong", [])


def test_traces_are_not_fuzzed() -> None:
    """Neither alone nor beside an operation. Control: if nothing is named they are left out."""
    reason = r"^traces are not fuzzed: filtered_rewards$"
    for only in ("filtered_rewards", "filtered_rewards,kl_taylor"):
        with pytest.raises(UsageError, match=reason):
            fuzzer.fuzz(only=only, examples=1)
    report = fuzzer.fuzz(module(), examples=1)
    assert {each.operation for each in report.findings} == {*OPERATIONS}


def test_what_is_named_itself_must_be_fuzzed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the operation or a case of it. Controls: a family, and an implementation that offers nothing."""
    name = module()
    for wanted in ("mlp", "mlp/linear"):
        only = ["--only", f"softplus,{wanted}", "--examples", "1"]
        assert command_line("fuzz", name, *only, "--json", "report.json") == 1
        line = "named in --only, but not checked: mlp"
        assert capsys.readouterr().out.splitlines()[-1] == line
        report = json.loads(Path("report.json").read_text())
        assert report["not_checked"] == ["mlp"]
        assert report["settings"]["only"] == f"softplus,{wanted}"
        assert report["command"].startswith("vime-ref fuzz mine --only softplus,mlp")
        assert report["vectors"] == VECTORS_VERSION
    assert fuzzer.fuzz(name, only="kl", examples=1).ok
    assert not fuzzer.fuzz(name, only="network", examples=1).ok


def test_mistakes_that_overflow_leave_no_warning() -> None:
    """Control: the same function outside of the fuzzer."""
    drawn = near_identity()

    def overflows(**given: Any) -> Any:
        return np.exp(1e4 * np.ones(1)) * np.sum(given["mu_q"])

    with pytest.raises((RuntimeWarning, FloatingPointError)):
        overflows(**drawn.given)
    assert [wrong.name for wrong in fuzzer.wrong_of_drawn(drawn, "Big", overflows)] == [
        "Big"
    ]


def test_equal_outputs_of_a_mistake_are_written_once() -> None:
    """Control: different ones."""
    vector = near_identity().vector
    one, same, other = (Wrong("Half", {"": np.array(x)}) for x in (1.0, 1.0, 2.0))
    case = fuzzer.case_of(vector._replace(wrong=(one, same)), "")
    assert case["wrong"] == {"Half": {"output": 1.0}}
    case = fuzzer.case_of(vector._replace(wrong=(one, same, other)), "")
    assert case["wrong"] == {"Half": [{"output": 1.0}, {"output": 2.0}]}


def test_fuzz_tells_no_relation_of_one_row() -> None:
    """Advantages that are normalized are 0 in one row, as with many exchanged inputs."""
    body = (
        "\nfrom vime_check.cases import OPERATIONS\n"
        "right = OPERATIONS['gae_advantages'].function\n"
        "def gae_advantages(**given):\n"
        "    advantages = right(**given)\n"
        "    return (advantages - advantages.mean()) / (advantages.std() + 0.3)"
    )
    (finding,) = fuzzer.fuzz(module(body), only="gae_advantages", examples=50).findings
    assert finding.status == "wrong"
    assert "exchanged" not in finding.message


def test_fuzz_says_nothing_about_what_a_row_leaves_behind() -> None:
    """Because drawn inputs of one row may be wrong as well. Control: `check` hints at it."""
    cases = {each.id: each for each in load_vectors(None, "f64")}
    vector = cases["information_gains/four-rows"]
    gains = vector.output[""] * (1.0 + 0.1 * np.arange(4) ** 1.3)
    answer = {"result": gains.tolist()}
    outcome = outcome_of(vector, answer)
    assert LEFTOVER in {each.text for each in hinted(vector, answer, outcome).hints}
    with peer_of(None, None, "f64", 1.0, None) as peer:
        trial = Trial(peer, vector, seen=(vector, answer, outcome))
    finding = trial.finding("drawn")
    assert finding.status == "wrong"
    assert LEFTOVER not in finding.message


def test_fuzz_without_hypothesis_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command_line("fuzz") == 2
    needs = "fuzz needs hypothesis (extra \"test\"): pip install 'hypothesis>=6.100'"
    assert capsys.readouterr().err == f"vime-ref fuzz: error: {needs}\n"
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match="hypothesis"):
        fuzzer.fuzz(only="softplus", examples=1)


def test_draws_of_every_operation_are_valid_inputs_of_the_reference() -> None:
    """At least half of them; the others are too near a kink."""
    for name, operation in OPERATIONS.items():
        draw = draw_of_seed(0)
        drawn = [fuzzer.drawn_inputs(operation, draw) for _ in range(20)]
        decoded = [decode_inputs(each, operation.kinds, "f64") for each in drawn]
        results = [fuzzer.reference_output(operation, given) for given in decoded]
        assert sum(result is not None for result in results) >= 10, name
        assert list(drawn[0]) == operation.names


LISTS = "\nfrom vime_check.cases import OPERATIONS\ndef replay_transitions(**inputs):\n    {}"


@pytest.mark.parametrize("flag", ["CrossEpisode", "ActionShift"])
def test_fuzz_names_a_mistake_of_lists_of_arrays(flag: str) -> None:
    """Its known mistakes are called with the kinds of inputs that the operation declares."""
    body = f"return OPERATIONS['replay_transitions'].mistakes[{flag!r}][0](**inputs)"
    name = module(LISTS.format(body))
    (finding,) = fuzzer.fuzz(name, only="replay_transitions").findings
    assert finding.case is not None
    assert flag in finding.case["flags"]


def near_identity() -> Drawn:
    """A move of 2^-16 σ, drawn."""
    sigma = 0.7 * (1.0 + 2.0**-16)
    given = {"mu_q": [0.0], "sigma_q": [sigma], "mu_p": [0.0], "sigma_p": [0.7]}
    samples = {v.operation: v for v in load_vectors(None, "f64")}
    drawn = fuzzer.drawn_vector(samples["kl_diag_normal"], given)
    assert drawn is not None
    assert drawn.vector.tolerance == 1e-12
    return drawn


def test_fuzz_names_rounding_noise_by_its_size_and_writes_its_band() -> None:
    """Control: the correct output with an error of 30 % is not noise."""
    drawn = near_identity()
    (textbook,) = OPERATIONS["kl_diag_normal"].mistakes["NaiveNearIdentity"]
    given = {name: np.array(value) for name, value in drawn.vector.inputs.items()}
    answers = {"noise": textbook(**given), "far": 1.3 * drawn.vector.output[""]}
    named = {}
    for name, output in answers.items():
        answer = {"result": float(output)}
        known = fuzzer.with_mistakes(drawn)
        named[name] = outcome_of(known, answer).mistakes
        band = fuzzer.case_of(known, "Noise.")["wrong"]["NaiveNearIdentity"]["f64"]
        assert 1e-12 <= band["error_from"] < band["error_to"] <= 0.1
    assert named == {"noise": ("NaiveNearIdentity",), "far": ()}


def test_fuzz_passes_over_a_mistake_that_has_no_output() -> None:
    """Rows of several environments can't be left out; TerminalDropped's output for their rewards is present."""
    samples = {v.operation: v for v in load_vectors(None, "f64")}
    given = {"rewards": [[1.0], [2.0]], "next_values": [[0.0], [3.0]]}
    given |= {"terminated": [[True], [False]], "truncated": [[False], [False]]}
    drawn = fuzzer.drawn_vector(samples["n_step_returns"], given | {"gamma": 0.5})
    assert drawn is not None
    known = fuzzer.with_mistakes(drawn)
    assert [wrong.name for wrong in known.wrong].count("TerminalDropped") == 1


def test_operations_that_fuzz_skipped_take_one_line() -> None:
    """Control: a single one has its reason."""
    passed = Finding("mlp", "exact", "no disagreement in 9 examples", None)
    skipped = [Finding(f"op_{i}", "skipped", f"no op_{i}", None) for i in range(7)]
    lines = str(FuzzReport("mine", (*skipped, passed))).splitlines()
    assert lines == [
        "mine",
        "skipped: op_0, op_1, op_2, op_3, op_4 and 2 more",
        "mlp: exact, no disagreement in 9 examples",
    ]
    lines = str(FuzzReport("mine", (skipped[0], passed))).splitlines()
    assert lines[1] == "op_0: skipped, no op_0"


def test_drawn_inputs_are_decoded_once_for_all_functions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: rounding noise of float32 is that of inputs in float32, decoded once more for it."""
    decoded = []

    def decode(inputs: dict[str, Any], kinds: Any, dtype: str) -> dict[str, Any]:
        decoded.append(dtype)
        return decode_inputs(inputs, kinds, dtype)

    monkeypatch.setattr(fuzzer, "decode_inputs", decode)
    drawn = near_identity()
    fuzzer.with_mistakes(drawn)
    assert decoded == ["f64"]
    assert list(drawn.given) == list(drawn.vector.inputs)
    assert all(isinstance(value, np.ndarray) for value in drawn.given.values())
    single = drawn._replace(vector=drawn.vector._replace(dtype="f32"))
    fuzzer.with_mistakes(single)
    assert decoded == ["f64", "f32"]


def test_the_fuzzer_passes_over_inputs_at_which_rounding_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the operation says of itself. Control: other inputs are compared."""
    operation = OPERATIONS["softplus"]
    at_0 = operation._replace(undecided=lambda given: bool(np.any(given["rho"] == 0.0)))
    monkeypatch.setitem(OPERATIONS, "softplus", at_0)
    sample = {v.operation: v for v in load_vectors(None, "f64")}["softplus"]
    assert fuzzer.drawn_vector(sample, {"rho": [1.0, 0.0]}) is None
    assert fuzzer.drawn_vector(sample, {"rho": [1.0, 2.0]}) is not None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        *(
            (
                {"examples": value},
                f"examples must be a whole number >= 1, got {value!r}",
            )
            for value in (0, -1, 1.5, True, "x", None, float("nan"))
        ),
        *(
            ({"seed": value}, f"seed must be a whole number >= 0, got {value!r}")
            for value in (-1, 1.5, True, "x", None)
        ),
        ({"timeout": 1e300}, "timeout must be a number > 0 and <= 3600 seconds"),
        ({"memory": 0}, "memory must be a whole number >= 1"),
        ({"only": 3}, "only must be a text, got 3"),
        ({"impl": 3}, "impl must be a text, got 3"),
        ({"dtype": "f16"}, "dtype must be one of f64, f32, got 'f16'"),
    ],
)
def test_bad_arguments_of_fuzz_are_named(
    arguments: dict[str, Any], reason: str, vectors: Path
) -> None:
    """Control: the same numbers as NumPy's."""
    with pytest.raises(UsageError, match=f"^{re.escape(reason)}"):
        fuzzer.fuzz(**{"vectors": vectors, **arguments})
    given = {"examples": np.int64(2), "seed": np.uint8(3), "only": "softplus"}
    assert fuzzer.fuzz(vectors=vectors, **given).ok


def test_a_program_that_only_breaks_is_left_after_three_operations(
    vectors: Path,
) -> None:
    """Control: a program that answers once for each operation is asked about all."""
    body = "\nimport os\ndef __getattr__(name):\n    open('asked', 'a').write(name + ' ')\n    os._exit(3)"
    Path("breaks.py").write_text(body)
    report = fuzzer.fuzz("breaks", vectors=vectors, examples=5)
    assert [each.status for each in report.findings] == ["errored"] * 4
    assert Path("asked").read_text().split() == [
        "softplus",
        "kl_taylor",
        "kl_hessian_diag",
    ]
    assert str(report).splitlines()[-1] == (
        "curious_rewards: errored, not tried, because the program broke on softplus, kl_taylor, kl_hessian_diag"
    )
    once = body.replace("os._exit(3)", "return once")
    once += "\ncount = 0\ndef once(**inputs):\n    global count\n    count += 1\n"
    once += "    if count % 2 == 0: os._exit(3)\n    raise NotImplementedError"
    Path("once.py").write_text(once)
    report = fuzzer.fuzz("once", vectors=vectors, examples=5)
    assert "not tried" not in str(report)

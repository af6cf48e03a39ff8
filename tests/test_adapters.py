"""The check on correct implementations in other languages and libraries, on mutants, and on a transcription."""

import importlib.util
import itertools
import random
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import mutants
import numpy as np
import pytest

from vime_check import Report, check
from vime_check.cases import OPERATIONS, PROVED, TRACES
from vime_check.judge import load_vectors, outcome_of
from vime_check.mistakes import NOTES

TESTS = Path(__file__).parent
ROOT = TESTS.parent
TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs torch"
)
NODE = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
JAX = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
COMPILER = pytest.mark.skipif(
    shutil.which("c++") is None, reason="needs a C++ compiler"
)
JAVASCRIPT = f"node '{ROOT / 'examples' / 'vime_adapter.js'}'"


def assert_right(report: Report, traces: bool = True) -> None:
    """Assert that the adapter offers all operations, and all traces or none, without a flaw."""
    assert report.ok, str(report)
    skipped = {each.operation for each in report.outcomes if each.status == "skipped"}
    assert skipped == (set() if traces else set(TRACES)), str(report)
    statuses = {each.status for each in report.outcomes} - {"skipped"}
    assert statuses == {"exact", "rejected"}, str(report)
    offered = {each.operation for each in report.outcomes} - skipped
    assert offered == set(PROVED if traces else OPERATIONS)


@TORCH
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_torch_adapter_agrees_with_the_vectors(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    assert_right(check("examples.torch_adapter", dtype=dtype))


@NODE
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_javascript_adapter_agrees_with_the_vectors(dtype: str) -> None:
    assert_right(check(command=JAVASCRIPT, dtype=dtype))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command of the C++ adapter."""
    program = tmp_path_factory.mktemp("compiled") / "vime_adapter"
    source = ROOT / "examples" / "vime_adapter.cpp"
    words = ["c++", "-O1", "-std=c++17", "-o", str(program), str(source)]
    subprocess.run(words, check=True)
    return shlex.quote(str(program))


@COMPILER
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_cpp_adapter_agrees_with_the_vectors(dtype: str, compiled: str) -> None:
    """It was written from the specification alone, which holds no traces."""
    assert_right(check(command=compiled, dtype=dtype), traces=False)


@JAX
@pytest.mark.parametrize(("dtype", "first"), [("f64", 0), ("f32", 2)])
def test_jax_adapter_agrees_with_a_quarter_of_the_vectors(
    dtype: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each case compiles functions of other shapes: all cases take minutes."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(TESTS)
    cases = [v for v in load_vectors(None, dtype) if v.operation in OPERATIONS]
    one_of_each = {v.operation: v.id for v in cases[::-1] if not v.why}
    chosen = ",".join({*one_of_each.values(), *(v.id for v in cases[first::4])})
    report = check("jax_quick", dtype=dtype, only=chosen, timeout=60.0)
    assert report.ok, str(report)
    statuses = {outcome.status for outcome in report.outcomes}
    assert statuses == {"exact", "rejected"}, str(report)
    assert {outcome.operation for outcome in report.outcomes} == set(OPERATIONS)


def test_adapters_know_nothing_of_the_reference() -> None:
    for path in (ROOT / "examples").glob("*_adapter.*"):
        assert not re.search(r"(import|require).*_ref\b", path.read_text()), path


# ---------------------------------------------------------------- mutants

NONE = frozenset[str]()
# Mistakes of σ whose effect is rounding in some operations.
AS_ROUNDING = {"SoftplusOverflow", "SoftplusThreshold"}
# Operations whose pairs of mistakes take long to compute: eight of their cases are judged here, all by the matrix.
SLOW = {
    *("elbo_grad", "elbo_grad_local", "information_gains", "information_gains_local"),
    *("posterior_step", "posterior_step_local", "posterior_updates"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_code_without_a_mistake_equals_the_reference(operation: str) -> None:
    """The oracle is code of another style; the control is any mistake, below."""
    for index in range(len(mutants.inputs_of(operation))):
        answer = mutants.answer(operation, NONE, index)
        assert "result" in answer, answer
    for index, vector in enumerate(mutants.vectors_of(operation)):
        outcome = outcome_of(vector, mutants.answer(operation, NONE, index))
        assert outcome.status == "exact", outcome


@pytest.mark.parametrize("operation", mutants.CODE)
def test_mutant_is_detected_and_named(operation: str) -> None:
    for flags in mutants.singles(operation):
        most = 8 if operation in SLOW else None
        verdict = mutants.verdict(operation, flags, most)
        assert verdict.found, mutants.line(verdict)
        if not flags & AS_ROUNDING:
            assert verdict.named == "truly", mutants.line(verdict)


def test_two_mistakes_at_once_are_named() -> None:
    """A fixed sample: all are detected, four of five are named, and none is named untruly."""
    rng = random.Random(0)
    verdicts = []
    for operation in [name for name in mutants.CODE if name not in SLOW]:
        for flags in itertools.islice(mutants.pairs(operation, rng), 2):
            verdicts.append(mutants.verdict(operation, flags))
    lines = "\n".join(map(mutants.line, verdicts))
    assert all(verdict.found for verdict in verdicts), lines
    assert all(verdict.named != "untruly" for verdict in verdicts), lines
    truly = [verdict for verdict in verdicts if verdict.named == "truly"]
    assert len(truly) >= 0.8 * len(verdicts) > 40, lines


def test_mutants_make_every_mistake_that_the_vectors_know() -> None:
    known = {
        (vector.operation, wrong.name)
        for vector in mutants.all_vectors()
        for wrong in vector.wrong
        if not vector.line and wrong.name not in AS_ROUNDING
    }
    made = {
        (operation, name)
        for operation in mutants.CODE
        for name in mutants.names_of(mutants.active(operation))
    }
    # The tests of traces make the mistakes of traces.
    in_traces = {flag for each in TRACES.values() for flag in each.switches}
    assert known <= made, known - made
    assert mutants.names_of(mutants.FLAGS) | in_traces == set(NOTES)


def test_mutant_rejects_what_the_reference_rejects() -> None:
    """Control: without the reference in front, the mutant accepts a negative σ."""
    negative = {"mu_q": np.ones(1), "sigma_q": -np.ones(1)}
    negative |= {"mu_p": np.ones(1), "sigma_p": np.ones(1)}
    with pytest.raises(ValueError, match="sigma_q"):
        mutants.SwappedKL__KLMean.kl_diag_normal(**negative)
    kl = mutants.function_of("kl_diag_normal", frozenset({"VarianceAsSigma_both"}))
    assert kl(**negative) == 0.0


def test_unknown_mistake_is_an_error() -> None:
    with pytest.raises(ValueError, match="flags: unknown Swapped"):
        mutants.implementation(["Swapped"])
    with pytest.raises(AttributeError, match="Swapped"):
        _ = mutants.Swapped


def test_mistake_that_another_one_hides_makes_no_pair() -> None:
    """A mean over the minibatch hides that its sum is not scaled; control: a mean over weights does not."""
    pairs = [*mutants.pairs("elbo")]
    assert frozenset({"NoKLScale", "PerBatchKL"}) not in pairs
    assert frozenset({"NoKLScale", "KLMean"}) in pairs


@pytest.mark.parametrize(
    ("causes", "named"),
    [
        ([], ""),
        ([[("A",)]], "partly"),
        ([[("A", "B")]], "truly"),
        ([[("A",)], [("B",)]], "truly"),
        ([[("A", "B"), ("C", "D")]], "truly"),
        ([[("A", "C")]], "untruly"),
        ([[("A", "B")], [("C",)]], "untruly"),
    ],
)
def test_naming_of_a_and_b(causes: list[list[tuple[str, ...]]], named: str) -> None:
    sets = [[*map(frozenset, each)] for each in causes]
    assert mutants.naming_of(sets, frozenset("AB")) == named


# ---------------------------------------------------------------- transcriptions

WITHOUT_CONSTANT = "import transcriptions\ntranscriptions.FUDGE = 0.0\nopenai_vime = transcriptions.openai_vime\n"


def named_in(report: Report, operation: str) -> set[tuple[str, ...]]:
    """The mistakes that are named in the wrong outputs of an operation."""
    wrong = [each for each in report.outcomes if each.status == "wrong"]
    return {each.mistakes for each in wrong if each.operation == operation}


def test_gain_of_the_original_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exact gain has no ½ to miss. Control: without the constant in the denominator, only the ½ is named."""
    monkeypatch.syspath_prepend(TESTS)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "without_constant.py").write_text(WITHOUT_CONSTANT)
    taylor = [
        vector.id
        for vector in mutants.vectors_of("information_gains")
        if vector.inputs["method"] == "taylor"
    ]
    report = check("transcriptions:openai_vime", only=",".join(taylor))
    both = {("FudgedDenominator", "MissingHalf")}
    assert named_in(report, "information_gains") == both, str(report)
    assert "is FudgedDenominator with MissingHalf: 1e-8 is added" in str(report)

    control = check("without_constant:openai_vime", only=",".join(taylor))
    half = {("MissingHalf",)}
    assert named_in(control, "information_gains") == half, str(control)


def test_kl_of_the_original_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near identity it loses digits, as the textbook sum. Control: without the constant, nothing is wrong."""
    monkeypatch.syspath_prepend(TESTS)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "without_constant.py").write_text(WITHOUT_CONSTANT)
    offered = "kl_diag_normal", "information_gain"
    report = check("transcriptions:openai_vime", only=",".join(offered))
    control = check("without_constant:openai_vime", only=",".join(offered))
    fudged = "FudgedDenominator"
    textbook = fudged, "NaiveNearIdentity"
    for operation in offered:
        named = named_in(report, operation)
        assert (fudged,) in named, str(report)
        assert named <= {(fudged,), textbook, ()}, str(report)
        assert named_in(control, operation) == set(), str(control)

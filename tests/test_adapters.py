"""The check on correct implementations in two other languages, and on one mutant per mistake."""

import importlib.util
import re
import shutil
from pathlib import Path

import mutants
import pytest

from vime_check import Report, check
from vime_check.cases import OPERATIONS
from vime_check.mistakes import NOTES

ROOT = Path(__file__).parent.parent
TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs torch"
)
NODE = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
JAVASCRIPT = f"node '{ROOT / 'examples' / 'vime_adapter.js'}'"


def assert_right_in_everything(report: Report) -> None:
    assert report.ok, str(report)
    assert {outcome.status for outcome in report.outcomes} == {"exact", "rejected"}, (
        str(report)
    )
    assert {outcome.operation for outcome in report.outcomes} == set(OPERATIONS)


@TORCH
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_torch_adapter_agrees_with_the_vectors(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    assert_right_in_everything(check("examples.torch_adapter", dtype=dtype))


@NODE
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_javascript_adapter_agrees_with_the_vectors(dtype: str) -> None:
    assert_right_in_everything(check(command=JAVASCRIPT, dtype=dtype))


def test_adapters_know_nothing_of_the_reference() -> None:
    for path in (ROOT / "examples").glob("*_adapter.*"):
        assert not re.search(r"(import|require).*_ref\b", path.read_text()), path


@pytest.mark.parametrize("mutant", mutants.MUTANTS)
def test_mutant_is_failed_and_named_in_every_operation_it_gets_wrong(
    mutant: str,
) -> None:
    for verdict in mutants.verdicts(mutant):
        print(mutants.line(verdict))
        assert verdict.operation in mutants.WRONG[mutant], verdict
        assert verdict.named == verdict.failed > 0, verdict


def test_mutants_make_every_mistake_that_the_vectors_know_but_no_other() -> None:
    known = {
        (flag, name)
        for name, operation in OPERATIONS.items()
        for flag in operation.mistakes
    }
    made = {
        (mutant.split("_")[0], name)
        for mutant, names in mutants.WRONG.items()
        for name in names
    }
    assert {(flag, name) for flag, name in made if flag != "InputMutation"} == known
    assert {flag for flag, _ in made} == set(NOTES)


def test_mutants_differ_from_the_reference_in_nothing_else() -> None:
    for name, mutant in mutants.MUTANTS.items():
        right = {
            operation
            for operation, entry in OPERATIONS.items()
            if getattr(mutant, operation) is entry.function
        }
        assert right == set(OPERATIONS) - set(mutants.WRONG[name])

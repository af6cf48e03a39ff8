"""Correct public code gets no *wrong*, in conventions and with digits of its own."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from check_helpers import STORED, statuses

from vime_check.judge import check

TESTS = Path(__file__).parent.parent


VALID = [
    case["id"]
    for case in STORED
    if case["operation"] == "gae_advantages" and case["result"] == "valid"
]


def test_values_of_all_cases_are_those_of_one_function() -> None:
    """Inside of an episode, the value of the next state is the next value. Control: there are such steps."""
    compared = 0
    for case in STORED:
        if case["id"] not in VALID:
            continue
        given = {name: np.array(each) for name, each in case["inputs"].items()}
        inside = ~(given["terminated"] | given["truncated"])[:-1].astype(bool)
        ahead, here = given["next_values"][:-1], given["values"][1:]
        assert np.array_equal(ahead[inside], here[inside]), case["id"]
        compared += int(inside.sum())
    assert compared >= 10


@pytest.mark.parametrize("library", ["StableBaselines", "Rlax", "CleanRL"])
def test_advantages_of_public_libraries_are_exact(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CleanRL knows no time limits, and skips cases that have one. Control: the next test."""
    monkeypatch.syspath_prepend(TESTS)
    report = check(f"public_code:{library}", only=",".join(VALID))
    found = statuses(report)
    assert set(found) <= {"exact", "skipped"}
    assert report.ok == (library != "CleanRL")  # cases that are named must be answered
    assert found["exact"] == len(VALID) or library == "CleanRL"
    assert found["exact"] >= 7


def test_a_time_limit_that_is_taken_for_an_end_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CleanRL does, if its flags hold both kinds of ends."""
    monkeypatch.syspath_prepend(TESTS)
    monkeypatch.chdir(tmp_path)
    Path("merged.py").write_text(
        "from public_code import CleanRL\n"
        "def gae_advantages(terminated, truncated, **rest):\n"
        "    return CleanRL.gae_advantages(terminated=terminated | truncated, truncated=0 * truncated, **rest)\n"
    )
    report = check("merged", only=",".join(VALID))
    assert not report.ok
    names = {outcome.mistakes for outcome in report.bad()}
    assert names == {("TruncationAsTermination",)}


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_the_kl_of_torch_loses_digits_near_identity_and_is_not_wrong(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the textbook sum. Control: far from identity it is exact."""
    monkeypatch.syspath_prepend(TESTS)
    report = check("public_code:Distributions", only="kl_diag_normal", dtype=dtype)
    found = statuses(report)
    assert "wrong" not in found, str(report)
    assert report.ok
    assert found["digits"] >= 2
    assert found["exact"] >= 4
    near = {each.id for each in report.outcomes if each.status == "digits"}
    assert all("near-identity" in each for each in near)

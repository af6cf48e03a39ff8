"""Known mistakes: each has a note and a case that must detect it; and the band of errors that looks like noise."""

import pytest
from check_helpers import ROOT, STORED, variants

from vime_check.cases import OPERATIONS
from vime_check.mistakes import MOST_NOISE, NOISE, NOISY, NOTES, UNDEFINED, noise_band

README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("flag", NOTES)
def test_each_mistake_is_hunted_by_two_cases(flag: str) -> None:
    assert sum(flag in case["flags"] for case in STORED) >= 2


@pytest.mark.parametrize(
    ("name", "flag"),
    [(name, flag) for name, each in OPERATIONS.items() for flag in each.mistakes],
)
def test_each_mistake_of_an_operation_is_told_apart_by_two_cases(
    name: str, flag: str
) -> None:
    cases = [
        case
        for case in STORED
        if case["operation"] == name and flag in case.get("wrong", {})
    ]
    told = max((len(variants(case["wrong"][flag])) for case in cases), default=0)
    assert len(cases) >= 2
    assert told == len(OPERATIONS[name].mistakes[flag])


def test_mistakes_of_readme_have_notes() -> None:
    table = README.split("\n## Mistakes found elsewhere\n")[1].split("\n## ")[0]
    rows = [
        line.split("|")[1].strip()
        for line in table.splitlines()
        if line.startswith("|")
    ][2:]
    assert {name for row in rows for name in row.split(", ")} <= set(NOTES)


def test_mistakes_of_operations_and_of_rules_have_notes() -> None:
    made = {flag for each in OPERATIONS.values() for flag in each.mistakes}
    assert made | {"InputMutation"} == set(NOTES)
    assert {*NOISE, *UNDEFINED, *NOISY} <= set(NOTES)


@pytest.mark.parametrize(
    ("measured", "allowed", "band"),
    [
        (1e-4, 1e-6, (1e-6, 3e-3)),
        (1e-2, 1e-6, (1e-4, MOST_NOISE)),
        (1e-9, 1e-6, (1e-6, 1e-5)),
    ],
)
def test_noise_band_against_numbers_by_hand(
    measured: float, allowed: float, band: tuple[float, float]
) -> None:
    """From 1/100 to 30 times; above the tolerance, not empty, and at most 1/10."""
    assert noise_band(measured, allowed) == pytest.approx(band)

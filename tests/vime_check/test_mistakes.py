"""Known mistakes: each has a note and a case that must detect it; and the band of errors that looks like noise."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from check_helpers import ROOT, STORED

from vime_check.cases import PROVED
from vime_check.mistakes import MOST_NOISE, NOISE, NOTES, UNDEFINED, noise_band, page


@pytest.mark.parametrize("flag", NOTES)
def test_each_mistake_is_hunted_by_two_cases(flag: str) -> None:
    assert sum(flag in case["flags"] for case in STORED) >= 2


@pytest.mark.parametrize("name", PROVED)
def test_each_mistake_seen_in_an_operation_is_seen_in_two_cases(name: str) -> None:
    """Overflow shows at extreme inputs alone, and is hunted where it is made."""
    seen = Counter(
        flag
        for case in STORED
        if case["operation"] == name
        for flag in case.get("wrong", {})
    )
    once = {flag for flag, count in seen.items() if count == 1}
    assert once <= {"SoftplusOverflow", "SoftplusThreshold"}
    assert set(seen) <= set(PROVED[name].mistakes)


def test_mistakes_of_operations_and_of_rules_have_notes() -> None:
    made = {flag for each in PROVED.values() for flag in each.mistakes}
    assert made | {"InputMutation"} == set(NOTES)
    assert {*NOISE, *UNDEFINED} <= set(NOTES)
    kinds = {name: note.kind for name, note in NOTES.items()}
    assert {kinds[name] for name in NOISE} == {"digits"}
    assert kinds["GateOrder"] == "convention"


def test_page_is_what_the_command_prints() -> None:
    """`python -m vime_check.mistakes` by another process, whose notes are of a module named __main__."""
    done = subprocess.run(
        [sys.executable, "-m", "vime_check.mistakes"], capture_output=True, check=True
    )
    assert done.stdout.decode("utf-8") == page()
    assert (ROOT / "docs" / "mistakes.md").read_text("utf-8") == page()


def test_page_names_operations_of_each_mistake() -> None:
    rows = {
        name: row
        for row in page().splitlines()
        for name in NOTES
        if row.startswith(f"| `{name}` |")
    }
    assert set(rows) == set(NOTES)
    assert rows["NormalisedInside"].endswith("| `gae_advantages` |")
    assert "| digits |" in rows["NaiveNearIdentity"]
    assert rows["InputMutation"].endswith("| all |")


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


def test_the_page_is_written_in_utf_8_whatever_the_terminal_has() -> None:
    """Control: the page has characters that ASCII lacks."""
    assert not page().isascii()
    done = subprocess.run(
        [sys.executable, "-m", "vime_check.mistakes"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert done.stdout.decode() == page()
    assert not done.stderr

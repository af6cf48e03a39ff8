"""Serving a Python module: what it prints, imports and changes; nothing hides what the checker needs."""

import sys
from pathlib import Path

import pytest
from check_helpers import GOOD, module, program, statuses

from vime_check.judge import check

pytestmark = pytest.mark.usefixtures("vectors")


def test_only_the_served_module_is_believed_about_changed_inputs(vectors: Path) -> None:
    body = "say(seq=q['seq'], result=[math.log(2)], mutated=['rho'])"
    report = check(
        command=program(f"import math; {body}"), only="softplus/zero", vectors=vectors
    )
    assert statuses(report) == {"exact": 1}, str(report)


def test_what_a_module_prints_and_reads_never_reaches_the_protocol(
    vectors: Path,
) -> None:
    noise = "\nimport os, sys\nprint('hello'); os.write(1, b'{}\\n'); assert sys.stdin.read() == ''\n"
    noise += "honest = softplus\ndef softplus(rho):\n    print('garbage', flush=True)\n    return honest(rho)"
    assert statuses(check(module(noise), vectors=vectors)) == GOOD


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


@pytest.mark.parametrize("hidden", ["typing", "json", "numpy"])
def test_site_packages_hides_nothing_of_the_standard_library(
    hidden: str, vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module is served with the checker's own path, in its order. Control: at its front, the file is found."""
    site = Path("lib/site-packages")
    site.mkdir(parents=True)
    (site / f"{hidden}.py").write_text("1 / 0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site.absolute())])
    assert statuses(check(module(), vectors=vectors)) == GOOD
    monkeypatch.setattr(sys, "path", [str(site.absolute()), *sys.path])
    report = check(module("\nimport json, numpy, typing"), vectors=vectors)
    assert ("ZeroDivisionError" in str(report)) == (hidden != "json")

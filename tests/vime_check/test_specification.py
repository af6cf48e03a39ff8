"""The specification: the files are up to date, and what it says about inputs and outputs holds in every case."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from check_helpers import ROOT, STORED

from vime_check import specification
from vime_check.cases import OPERATIONS, PROVED, TRACES
from vime_check.files import read_json
from vime_check.mistakes import NOTES
from vime_check.specification import (
    INPUT_KINDS,
    TRACE_INPUTS,
    USUAL_INPUTS,
    content,
    rejections,
    specification_page,
)
from vime_check.wire import VECTORS, VECTORS_DATE, VECTORS_VERSION

ABOUT = content()["operations"]
ABOUT_TRACES = content()["traces"]
every_operation = pytest.mark.parametrize("name", OPERATIONS)
every_trace = pytest.mark.parametrize("name", TRACES)

# ---------------------------------------------------------------- the files


def test_files_are_what_the_command_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(specification, "JSON_FILE", tmp_path / "operations.json")
    monkeypatch.setattr(specification, "PAGE_FILE", tmp_path / "operations.md")
    assert specification.main() == 0
    for written, kept in (
        ("operations.json", VECTORS / "operations.json"),
        ("operations.md", ROOT / "docs" / "operations.md"),
    ):
        assert (tmp_path / written).read_bytes() == kept.read_bytes(), written


def test_page_can_be_written_from_the_json_file() -> None:
    assert specification_page(
        read_json(VECTORS / "operations.json")
    ) == specification_page(content())


def test_command_without_a_folder_of_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(specification, "PAGE_FILE", tmp_path / "docs" / "page.md")
    assert specification.main() == 2
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()


def test_version_is_the_edition() -> None:
    assert content()["version"] == VECTORS_VERSION
    assert content()["date"] == VECTORS_DATE
    assert re.fullmatch(r"\d+\.\d+\.\d+", VECTORS_VERSION)
    assert f"version {VECTORS_VERSION} of {VECTORS_DATE}" in specification_page(
        content()
    )


def test_cells_of_tables_are_escaped() -> None:
    """A page with an unescaped bar would have a column more."""
    text = specification_page(content())
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {4, 7}
    assert "\\|" in specification.table(("a",), [("|x|",)])


# ---------------------------------------------------------------- what it says


@every_operation
def test_operation_is_described(name: str) -> None:
    about = ABOUT[name]
    assert list(about["inputs"]) == OPERATIONS[name].names
    assert about["outputs"]
    assert all(about["formula"]) or name in ("cts_log_probs", "image_cts_log_probs")
    assert all(text.endswith((".", ")")) for text in about["rules"])
    assert all(each["kind"] in INPUT_KINDS for each in about["inputs"].values())
    assert all(all(each.values()) for each in about["inputs"].values())
    assert set(OPERATIONS[name].about.inputs) <= set(about["inputs"])


@every_trace
def test_trace_is_described(name: str) -> None:
    about = ABOUT_TRACES[name]
    assert list(about["inputs"]) == [*about["reset"], *about["step"]]
    assert all(each["kind"] in INPUT_KINDS for each in about["inputs"].values())
    assert all(all(each.values()) for each in about["inputs"].values())


def test_every_description_of_an_input_is_used() -> None:
    used = {name for each in ABOUT.values() for name in each["inputs"]}
    assert used == set(USUAL_INPUTS)
    for trace, own in TRACE_INPUTS.items():
        assert set(own) <= set(ABOUT_TRACES[trace]["inputs"])
        assert not own.items() & USUAL_INPUTS.items()


DECLARED = {
    "whole numbers": "wholes",
    "bytes": "bytes",
    "flags": "flags",
    "list of arrays": "arrays",
}


@pytest.mark.parametrize("name", PROVED)
def test_kinds_are_those_that_decoding_uses(name: str) -> None:
    about = {**ABOUT, **ABOUT_TRACES}[name]
    stated = {
        key: DECLARED[each["kind"]]
        for key, each in about["inputs"].items()
        if each["kind"] in DECLARED
    }
    assert stated == PROVED[name].kinds


@every_operation
def test_rejections_are_those_of_the_vectors(name: str) -> None:
    stored = {
        case["id"].partition("/")[2]: case
        for case in STORED
        if case["operation"] == name and case["result"] == "invalid"
    }
    found = {each["case"]: each for each in rejections(OPERATIONS[name])}
    assert {key: (each["why"], each["by"]) for key, each in found.items()} == {
        key: (case["why"], case["by"]) for key, case in stored.items()
    }
    by_convention = {key for key, each in found.items() if each["by"] == "convention"}
    assert by_convention == {
        key for key, case in stored.items() if "convention" in case["comment"]
    }


def test_mistakes_are_those_of_the_notes() -> None:
    """The mistakes of traces alone belong to no operation."""
    assert set(content()["mistakes"]) == set(NOTES)
    named = {flag for each in ABOUT.values() for flag in each["mistakes"]}
    of_traces = {flag for each in TRACES.values() for flag in each.switches}
    assert named | of_traces == set(NOTES) - {"InputMutation"}
    assert not named >= of_traces


# ---------------------------------------------------------------- shapes of the cases


def lengths(shape: str, given: tuple[int, ...]) -> dict[str, int] | None:
    """The length of each letter in a shape such as "(T + 1, 4H)"; None if the given one is another."""
    axes = (
        shape.strip("()").replace(" ", "").rstrip(",").split(",")
        if shape != "()"
        else []
    )
    if "..." in axes:
        at = axes.index("...")
        behind = len(axes) - at - 1
        if len(given) < len(axes) - 1:
            return None
        given = given[:at] + given[len(given) - behind :]
        axes.remove("...")
    if len(axes) != len(given):
        return None

    found: dict[str, int] = {}
    for axis, length in zip(axes, given, strict=True):
        factor, letter, more = re.fullmatch(r"(\d*)([A-Za-z]*)(\+1)?", axis).groups()
        number = length - (1 if more else 0)
        if not letter and number != int(factor):
            return None
        if letter and number % int(factor or 1):
            return None
        if letter and found.setdefault(
            letter, number // int(factor or 1)
        ) != number // int(factor or 1):
            return None
    return found


def contradiction(bound: dict[str, int], shape: str, value: Any) -> str:
    """The reason why a value does not have the stated shape, given the lengths so far; empty if it has."""
    if not re.fullmatch(r"\((\.\.\.|[\w ,+]|\.)*\)", shape):
        return ""  # stated in words
    given = np.shape(np.array(value, dtype=object))
    if 0 in given:
        return ""  # JSON has no shape (0, 2)
    found = lengths(shape, given)
    if found is None:
        return f"{shape} is {given}"
    clash = {key: each for key, each in found.items() if bound.get(key, each) != each}
    bound |= found
    return f"{shape} is {given}, with {bound}" if clash else ""


def contradictions(about: dict[str, Any], case: dict[str, Any]) -> list[str]:
    """The inputs and outputs of a case that do not have the stated shapes."""
    bound: dict[str, int] = {}
    named = case["output"] if isinstance(case["output"], dict) else {"": case["output"]}
    assert set(named) == set(about["outputs"])
    pairs = [
        (about["inputs"][key]["shape"], case["inputs"][key]) for key in case["inputs"]
    ]
    pairs += [(about["outputs"][key]["shape"], named[key]) for key in named]
    return [text for pair in pairs if (text := contradiction(bound, *pair))]


@every_trace
def test_shapes_hold_in_every_line(name: str) -> None:
    lines = [
        case
        for case in STORED
        if case["operation"] == name and case["result"] == "valid"
    ]
    assert len(lines) >= 3
    for case in lines:
        bound: dict[str, int] = {}
        for key, value in {**case["state"], **case["inputs"]}.items():
            shape = ABOUT_TRACES[name]["inputs"][key]["shape"]
            assert contradiction(bound, shape, value) == "", (case["id"], key)


@every_operation
def test_shapes_hold_in_every_case(name: str) -> None:
    cases = [
        case
        for case in STORED
        if case["operation"] == name and case["result"] == "valid"
    ]
    assert cases
    for case in cases:
        assert contradictions(ABOUT[name], case) == [], case["id"]


@pytest.mark.parametrize(
    ("shape", "given"),
    [
        ("(T,)", (3, 1)),
        ("()", (1,)),
        ("(S, N, O)", (2, 3)),
        ("(N, N)", (2, 3)),
        ("(1, I)", (2, 3)),
        ("(B, 4H)", (2, 6)),
        ("(..., A)", ()),
    ],
)
def test_another_shape_is_found(shape: str, given: tuple[int, ...]) -> None:
    """Negative control of the test above."""
    assert lengths(shape, given) is None


def test_lengths_against_ones_by_hand() -> None:
    assert lengths("(T + 1, H, W, C)", (3, 4, 5, 1)) == {"T": 2, "H": 4, "W": 5, "C": 1}
    assert lengths("(B, 4H)", (2, 12)) == {"B": 2, "H": 3}
    assert lengths("(T, ..., A)", (5, 7, 2)) == {"T": 5, "A": 2}
    assert contradiction({"T": 4}, "(T,)", [1.0, 2.0]) == "(T,) is (2,), with {'T': 2}"

"""Files of vectors: what a stranger may put into a folder is an error of one line."""

import copy
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from check_helpers import CASES, GOOD, STORED, module, statuses

from vime_check import files
from vime_check.fuzzer import fuzz
from vime_check.judge import check, load_vectors
from vime_check.wire import UsageError


@pytest.fixture
def stored(vectors: Path) -> Path:
    """The path of a valid file."""
    return vectors / "small.json"


def rejected(folder: Path, *words: str, dtype: str = "f64") -> None:
    """Assert that `check` and `fuzz` reject the folder by one line with these words."""
    for call in (load_vectors, lambda folder, dtype: fuzz(vectors=folder, dtype=dtype)):
        with pytest.raises(UsageError) as caught:
            call(folder, dtype)
        message = str(caught.value)
        assert message.startswith("vectors: "), message
        assert message.isprintable()
        assert len(message) < 400
        for word in words:
            assert word in message


def test_a_valid_file_gives_every_case(stored: Path) -> None:
    """With a byte order mark and a blank line, too, as editors leave them."""
    assert len(files.vectors_of_file(stored, "f32")) == len(CASES)
    stored.write_bytes(b"\xef\xbb\xbf" + stored.read_bytes() + b"\n\n")
    assert len(files.vectors_of_file(stored, "f32")) == len(CASES)
    assert statuses(check(module(), vectors=stored.parent)) == GOOD
    assert len(load_vectors(None, "f64")) == sum("f64" in c["dtypes"] for c in STORED)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must be JSON: Expecting value"),
        (b"{", "must be JSON"),
        (b"\xff\xfe{\x00", "must be JSON: 'utf-8' codec"),
        (b"[" * 100_000, "must be JSON: maximum recursion"),
        (b"1" * 5000, "must be JSON: Exceeds the limit"),
        (b"[]", "small.json must be an object, got []"),
        (b"3", "small.json must be an object, got 3"),
        (b'"\\u001b[2J"', "small.json must be an object"),
        (b"[NaN]", 'must be JSON: NaN must be a text, "NaN"'),
        (b"{}", "small.json: cases must be a list, got nothing"),
    ],
)
def test_what_is_no_json_object_is_rejected(
    content: bytes, words: str, stored: Path
) -> None:
    stored.write_bytes(content)
    rejected(stored.parent, "small.json", words)


def test_other_kinds_of_files_are_rejected_and_not_waited_for(stored: Path) -> None:
    stored.unlink()
    os.mkfifo(stored)
    rejected(stored.parent, "can't read", "not a regular file")
    stored.unlink()
    stored.mkdir()
    rejected(stored.parent, "can't read", "Is a directory")
    stored.rmdir()
    stored.symlink_to("/dev/zero")
    rejected(stored.parent, "can't read", "not a regular file")
    stored.unlink()
    stored.symlink_to("nowhere")
    rejected(stored.parent, "can't read", "No such file")


def test_a_huge_file_is_rejected_before_it_is_read(stored: Path) -> None:
    os.truncate(stored, 2**40)
    rejected(stored.parent, "can't read", "larger than 64 MiB")


# ---------------------------------------------------------------- parts

# Values of other kinds for every part.
BAD = (None, True, 3, -1.0, "x\x1b[2J", [], {}, [[]], {"f64": "x"}, 1e999)


def places(value: Any, *place: Any) -> list[tuple[Any, ...]]:
    """The place of each part of a file's content that is not an array."""
    if place and place[-1] in ("inputs", "output"):
        return [place]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [place] if place else []
    for key, each in items if isinstance(value, dict | list) else []:
        found += (
            places(each, *place, key)
            if isinstance(each, dict | list)
            else [(*place, key)]
        )
    return found


def with_part(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at the place."""
    copied = copy.deepcopy(content)
    holder = copied
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    return copied


def test_no_part_of_another_kind_raises_another_error(stored: Path) -> None:
    """A part is rejected by its name, or its case is judged. The parts that no check reads are judged."""
    content = json.loads(stored.read_text())
    content["cases"] = content["cases"][:1] + content["cases"][3:4]
    messages = []
    for place in places(content):
        for value in BAD:
            text = json.dumps(with_part(content, place, value))
            stored.write_text(text.replace("Infinity", "1e999"))
            message = told(stored.parent)
            messages.append(message)
            if message:
                assert message.startswith("vectors: ")
                assert message.isprintable()
                assert any(str(each) in message for each in place), (place, value)
    assert sum(map(bool, messages)) > 250


@pytest.mark.parametrize("kind", ["mistake", "digits", "convention", None, "typo", 3])
def test_a_mistake_has_a_kind_and_is_a_mistake_without_one(
    kind: Any, stored: Path
) -> None:
    content = json.loads(stored.read_text())
    note = content["notes"]["MissingHalf"]
    content["notes"]["MissingHalf"] = note if kind is None else {**note, "kind": kind}
    stored.write_text(json.dumps(content))
    if kind in ("typo", 3):
        rejected(stored.parent, "notes: MissingHalf", "kind must be", repr(kind))
        return
    kinds = {
        each.notes["MissingHalf"]["kind"] for each in load_vectors(stored.parent, "f64")
    }
    assert kinds == {kind or "mistake"}


def told(folder: Path) -> str:
    """The error of checking the reference with a folder, or an empty text."""
    try:
        str(check(vectors=folder))
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (
            "id",
            3,
            "small.json: cases[0]: id must be a text of printable characters, got 3",
        ),
        ("id", "\x1b[2J", "id must be a text of printable characters, got '\\x1b[2J'"),
        ("dtypes", "f64", "dtypes must be a list, got 'f64'"),
        ("inputs", [], "inputs must be an object, got []"),
        ("inputs", {"rho": [[1], 2]}, "inputs must be arrays: setting an array"),
        ("inputs", {"rho": ["x"]}, "inputs must be arrays: could not convert"),
        ("inputs", {"rho": [10**400]}, "inputs must be arrays: "),
        (
            "tolerance",
            {"f64": "x"},
            "tolerance: f64 must be a finite number >= 0, got 'x'",
        ),
        (
            "tolerance",
            {"f64": -1},
            "tolerance: f64 must be a finite number >= 0, got -1",
        ),
        ("output", "x", "output: not an array of numbers"),
        ("wrong", {"Half": 3}, "wrong: Half must be an object, got 3"),
        (
            "wrong",
            {"Half": [{"output": {}}, 3]},
            "wrong: Half must be an object, got 3",
        ),
        (
            "wrong",
            {"Half": {"f64": {"error_to": 1}}},
            "error_from must be a finite number",
        ),
        ("wrong", {"\x1b": {"output": 3}}, "names must be printable, got '\\x1b'"),
    ],
)
def test_a_wrong_part_is_named_with_its_case(
    place: str, value: Any, words: str, stored: Path
) -> None:
    content = json.loads(stored.read_text())
    content["cases"][0][place] = value
    stored.write_text(json.dumps(content))
    rejected(stored.parent, "small.json: cases[0]", words)


def test_data_that_a_case_needs_from_its_file_is_named(stored: Path) -> None:
    content = json.loads(stored.read_text())
    for name, where in (("tolerances", "softplus"), ("error", "softplus")):
        new = {**content, name: {}}
        stored.write_text(json.dumps(new))
        rejected(stored.parent, f"{name}: {where} must be", "got nothing")
    stored.write_text(
        json.dumps({**content, "error": dict.fromkeys(content["error"], "x")})
    )
    rejected(stored.parent, "error must be one of elementwise, arraywise, got 'x'")
    del content["cases"][0]["output"]
    stored.write_text(json.dumps(content))
    rejected(stored.parent, "cases[0] must have an output or a reason why it has none")


def test_a_folder_without_cases_of_the_precision_is_rejected(stored: Path) -> None:
    content = json.loads(stored.read_text())
    for case in content["cases"]:
        case["dtypes"] = ["f64"]
    stored.write_text(json.dumps(content))
    rejected(stored.parent, "no cases of f32 in ", dtype="f32")
    assert check(vectors=stored.parent).ok


def test_an_operation_of_a_later_edition_is_skipped_by_check_and_named_by_fuzz(
    stored: Path,
) -> None:
    text = re.sub(r'"softplus"', '"softest"', stored.read_text())
    stored.write_text(text)
    assert statuses(check(vectors=stored.parent), "softest") == {"skipped": 3}
    with pytest.raises(UsageError, match=r"^vectors: unknown operations: softest$"):
        fuzz(vectors=stored.parent)

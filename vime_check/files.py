"""Files of vectors: reading cases that may come from strangers.

Each reading function raises UsageError in one line that names the file, the case and the part.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

from vime_check.errors import Error
from vime_check.wire import (
    Arrays,
    Inputs,
    UsageError,
    declared_kinds,
    decode_inputs,
    decode_outputs,
    is_number,
    shown,
)

# ---------------------------------------------------------------- constants

MAX_FILE = 2**26  # bytes of a file of vectors: 600 times the longest of the project
NO_STATE: Inputs = {}
# A wrong formula, the right one with fewer digits, and another convention; the first is the default.
MISTAKE_KINDS = ("mistake", "digits", "convention")
KINDS: dict[type, str] = {
    str: "a text of printable characters",
    list: "a list",
    dict: "an object",
    float: "a finite number >= 0",
    int: "a whole number",
}

# ---------------------------------------------------------------- types


class Wrong(NamedTuple):
    """A known mistake's output.

    A mistake that causes rounding noise has the correct output, and the least and most error that shows it.
    """

    name: str
    output: Arrays
    least: float = 0.0
    most: float = 0.0


class Vector(NamedTuple):
    """A case with its file's data on the operation; outputs are decoded, inputs are in JSON types."""

    id: str
    operation: str
    family: str
    dtype: str
    inputs: Inputs
    why: str  # reason why inputs are invalid; empty if they are valid
    output: Arrays
    wrong: tuple[Wrong, ...]
    error: Error
    tolerance: float
    notes: dict[str, dict[str, str]]  # notes of the known mistakes
    line: int = 0  # of a trace, from 1
    state: Inputs = NO_STATE  # before the line
    profiles: tuple[str, ...] = ()  # restrictions that the inputs satisfy
    version: str = ""  # of the vectors; empty if the file states none


# ---------------------------------------------------------------- cases


def vectors_of_file(path: Path, dtype: str) -> list[Vector]:
    """The cases of a file that apply to the dtype. Raises UsageError, which names the file and the case."""
    try:
        return [*vectors_of(read_json(path), dtype, path.name)]
    except UsageError as error:
        raise UsageError(shown(f"vectors: {error}")) from None


def vectors_of(content: Any, dtype: str, place: str) -> Iterator[Vector]:
    """The cases of a file's content that apply to the dtype."""
    cases = checked_part(place, content, "cases", list)
    notes = notes_of(content, place)
    version = checked_part(place, content, "version", str, "")
    for number, case in enumerate(cases):
        here = f"{place}: cases[{number}]"
        if dtype in checked_part(here, case, "dtypes", list):
            vector = vector_of(content, case, dtype, here)
            yield vector._replace(notes=notes, version=version)


def vector_of(content: Any, case: Any, dtype: str, place: str) -> Vector:
    """A case with its file's data on the operation. Raises UsageError if a part is missing or of another kind."""
    operation = checked_part(place, case, "operation", str)

    # Its file's data.
    tolerances = checked_part(place, content, "tolerances", dict)
    stated = checked_part(f"{place}: tolerances", tolerances, operation, dict)
    usual = checked_part(f"{place}: tolerances: {operation}", stated, dtype, dict)
    tolerance = checked_part(
        f"{place}: tolerances: {operation}", usual, "tolerance", float
    )
    errors = checked_part(place, content, "error", dict)
    kind = checked_part(f"{place}: error", errors, operation, str)
    if kind not in get_args(Error):
        one_of = ", ".join(get_args(Error))
        raise UsageError(f"{place}: error must be one of {one_of}, got {kind!r}")

    # Its own tolerance, inputs and outputs.
    own = checked_part(place, case, "tolerance", dict, {})
    tolerance = checked_part(f"{place}: tolerance", own, dtype, float, tolerance)
    inputs = checked_part(place, case, "inputs", dict)
    line = checked_part(place, case, "line", int, 0)
    state = checked_part(place, case, "state", dict, {})
    check_inputs({**inputs, **state}, operation, dtype, place)
    why = checked_part(place, case, "why", str, "")
    output = {} if why else stored_output(case, place)

    return Vector(
        id=checked_part(place, case, "id", str),
        operation=operation,
        family=checked_part(place, content, "family", str),
        dtype=dtype,
        inputs=inputs,
        why=why,
        output=output,
        wrong=tuple(wrong_of(case, dtype, output, place)),
        error=kind,
        tolerance=tolerance,
        notes={},
        line=line,
        state=state,
        profiles=tuple(checked_part(place, case, "profiles", list, [])),
    )


def stored_output(holder: Any, place: str) -> Arrays:
    """The output of a case or of a mistake."""
    if "output" not in holder:
        raise UsageError(f"{place} must have an output or a reason why it has none")
    try:
        return decode_outputs(holder["output"])
    except ValueError as error:
        raise UsageError(f"{place}: output: {error}") from None


def wrong_of(case: Any, dtype: str, right: Arrays, place: str) -> Iterator[Wrong]:
    """The outputs of a case's known mistakes; a rounding-noise mistake has a band of errors instead."""
    for name, variants in checked_part(place, case, "wrong", dict, {}).items():
        if not name.isprintable():
            raise UsageError(f"{place}: wrong: names must be printable, got {name!r}")
        here = f"{place}: wrong: {name}"
        for entry in variants if isinstance(variants, list) else [variants]:
            band = checked_part(here, entry, dtype, dict, {})
            if band:
                ends = "error_from", "error_to"
                yield Wrong(
                    name, right, *(checked_part(here, band, e, float) for e in ends)
                )
            elif "output" in entry:
                yield Wrong(name, stored_output(entry, here))


def notes_of(content: Any, place: str) -> dict[str, dict[str, str]]:
    """The notes of the known mistakes, with their texts and kinds."""
    notes: dict[str, dict[str, str]] = checked_part(place, content, "notes", dict)
    for name, note in notes.items():
        here = f"{place}: notes: {name}"
        for text in ("what", "seen_in"):
            checked_part(here, note, text, str)
        kind = checked_part(here, note, "kind", str, MISTAKE_KINDS[0])
        if kind not in MISTAKE_KINDS:
            one_of = ", ".join(MISTAKE_KINDS)
            raise UsageError(f"{here}: kind must be one of {one_of}, got {kind!r}")
        notes[name] = {**note, "kind": kind}
    return notes


def check_inputs(inputs: Inputs, operation: str, dtype: str, place: str) -> None:
    """Raise UsageError unless the inputs can be sent and decoded."""
    try:
        json.dumps(inputs, allow_nan=False)
        decode_inputs(inputs, declared_kinds().get(operation, {}), dtype)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UsageError(f"{place}: inputs must be arrays: {error}") from None


# ---------------------------------------------------------------- files


def read_json(path: Path) -> Any:
    """The content of a file. Raises UsageError unless it is a regular file of JSON."""
    try:
        text = read_regular(path).decode("utf-8-sig")
        return json.loads(text, parse_constant=reject_constant)
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(shown(f"{path} must be JSON: {error}")) from None


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file; never waits for a FIFO. Raises OSError if it is another kind, or too large."""
    with open(path, "rb", opener=without_waiting) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError("not a regular file")
        if about.st_size > MAX_FILE:
            raise OSError(f"larger than {MAX_FILE // 2**20} MiB")
        return file.read(MAX_FILE)


def without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def reject_constant(name: str) -> None:
    raise ValueError(f'{name} must be a text, "{name}"')


# ---------------------------------------------------------------- parts


def checked_part(
    place: str, holder: Any, name: str, kind: type, default: Any = None
) -> Any:
    """An entry of an object in a file. Raises UsageError unless it is of this kind."""
    if not isinstance(holder, dict):
        raise UsageError(f"{place} must be an object, got {shown(repr(holder), 60)}")
    value = holder.get(name, default)
    right = is_size(value) if kind is float else isinstance(value, kind)
    if not right or (kind is str and not value.isprintable()):
        got = shown(repr(value), 60) if name in holder else "nothing"
        raise UsageError(f"{place}: {name} must be {KINDS[kind]}, got {got}")
    return value


def is_size(value: Any) -> bool:
    return is_number(value) and 0 <= value <= sys.float_info.max


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

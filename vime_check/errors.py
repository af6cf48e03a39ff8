"""Errors of an output relative to the correct one, in the units of tolerances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vime_check.wire import Arrays, shown

# ---------------------------------------------------------------- constants and types

MAX_NAMES = 5  # names that a message lists
# Relative to each element, or to the largest.
Error = Literal["elementwise", "arraywise"]


@dataclass(frozen=True)
class Element:
    """The element of an output that is furthest from the right one."""

    array: str  # its name; "" if it has none
    index: tuple[int, ...]
    got: float
    expected: float


# ---------------------------------------------------------------- errors


def difference(
    output: Arrays, expected: Arrays, kind: Error, floor: float = 0.0
) -> tuple[float, str]:
    """The error of the worst array, and the reason if it is infinite."""
    if set(output) != set(expected):
        return math.inf, shown(
            f"{output_names(output)} instead of {output_names(expected)}"
        )
    worst = 0.0
    for name, right in expected.items():
        reason = incomparable(output[name], right)
        if reason:
            return math.inf, f"{reason} in {name}" if name else reason
        worst = max(worst, array_error(output[name], right, kind, floor))
    return worst, ""


def incomparable(output: NDArray[np.float64], right: NDArray[np.float64]) -> str:
    """The reason why an output can't be compared; empty if it can."""
    nothing = output.size + right.size == 0  # JSON has no shape (0, 2)
    if output.shape != right.shape and not nothing:
        return f"shape {output.shape} instead of {right.shape}"
    if nothing:
        return ""
    # A known mistake's output may hold NaN.
    lost = np.argwhere(np.isnan(output) != np.isnan(right))
    return f"NaN at index {tuple(lost[0].tolist())}" if len(lost) else ""


def array_error(
    output: NDArray[np.float64], right: NDArray[np.float64], kind: Error, floor: float
) -> float:
    """The error max |o − e|/|e|, or max |o − e|/max |e| if arraywise; absolute if the divisor is 0."""
    if not right.size:
        return 0.0
    return float(np.max(element_errors(output, right, kind, floor)))


def element_errors(
    output: NDArray[np.float64], right: NDArray[np.float64], kind: Error, floor: float
) -> NDArray[np.float64]:
    """The error of each element of a nonempty array; infinite if only one of the two is NaN."""
    # NaN equals NaN here, and infinities of equal sign are equal.
    same = (output == right) | (np.isnan(output) & np.isnan(right))
    lost = np.isnan(output) != np.isnan(right)

    # The divisor of the error.
    size = np.maximum(np.abs(right), floor)
    if kind == "arraywise":
        size = np.max(size[np.isfinite(size)], initial=0.0)
    divisor = np.where((size == 0.0) | ~np.isfinite(size), 1.0, size)

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        relative = np.where(same, 0.0, np.abs(output - right)) / divisor
    errors: NDArray[np.float64] = np.where(
        lost, math.inf, np.where(same, 0.0, relative)
    )
    return errors


def worst_place(
    output: Arrays, expected: Arrays, kind: Error, floor: float = 0.0
) -> Element | None:
    """The element with the largest error, or None if the names or shapes differ."""
    if difference_of_shapes(output, expected):
        return None
    worst = -1.0
    place = None
    for name, right in expected.items():
        if not right.size:
            continue
        errors = element_errors(output[name], right, kind, floor)
        index = np.unravel_index(np.argmax(errors), errors.shape)
        if errors[index] > worst:
            worst = float(errors[index])
            where = tuple(int(each) for each in index)
            place = Element(
                name, where, float(output[name][index]), float(right[index])
            )
    return place


def difference_of_shapes(output: Arrays, expected: Arrays) -> bool:
    """Whether the names or shapes of two outputs differ."""
    shapes = ({n: each.shape for n, each in one.items()} for one in (output, expected))
    return next(shapes) != next(shapes)


def error(kind: Error, output: Any, expected: Any) -> float:
    """The error of a function's output; infinite if it contains NaN."""
    named = by_name(output)
    if any(np.isnan(values).any() for values in named.values()):
        return math.inf
    return difference(named, by_name(expected), kind)[0]


def by_name(output: Any) -> Arrays:
    """A function's output as arrays by name."""
    named = output if isinstance(output, Mapping) else {"": output}
    return {name: np.asarray(values, dtype=float) for name, values in named.items()}


# ---------------------------------------------------------------- text


def output_names(output: Arrays) -> str:
    if set(output) == {""}:
        return "one array or number without a name"
    names = listed(sorted(map(repr, output)))
    return f"the names {names}" if output else "no names"


def place_text(place: Element) -> str:
    """The element, with enough digits to show that the numbers differ."""
    index = f"[{', '.join(map(str, place.index))}]" if place.index else ""
    got, expected = different(place.got, place.expected)
    return f"{place.array}{index} got {got}, expected {expected}".lstrip()


def different(one: float, other: float) -> tuple[str, str]:
    """Two numbers as texts that differ, if the numbers do."""
    for digits in (6, 10, 14):
        texts = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return f"{one!r}", f"{other!r}"


def num_digits(error: float) -> int:
    """The number of decimal digits that agree, at a relative error above 0."""
    return max(0, math.floor(-math.log10(error))) if error < 1.0 else 0


def listed(names: list[str], between: str = ", ", most: int = MAX_NAMES) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    return between.join(names[:most]) + (f" and {more} more" if more > 0 else "")


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Errors of an output relative to the correct one, in the units of tolerances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vime_check.wire import Arrays, shown

# ---------------------------------------------------------------- constants and types

MAX_NAMES = 5  # names that a message lists
Error = Literal[
    "elementwise", "arraywise"
]  # relative to each element, or to the largest


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

    # NaN equals NaN here, and infinities of equal sign are equal.
    same = (output == right) | (np.isnan(output) & np.isnan(right))
    if np.all(same):
        return 0.0

    # The divisor of the error.
    size = np.maximum(np.abs(right), floor)
    if kind == "arraywise":
        size = np.max(size[np.isfinite(size)], initial=0.0)
    divisor = np.where((size == 0.0) | np.isinf(size), 1.0, size)

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        distance = np.where(same, 0.0, np.abs(output - right))
        relative = distance / divisor
    return float(np.max(np.where(same, 0.0, relative)))


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


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

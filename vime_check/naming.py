"""Explanations of a wrong output: the known mistakes that together give it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vime_check.errors import array_error, difference
from vime_check.files import Vector
from vime_check.wire import Arrays


class Explanation(NamedTuple):
    """Mistakes that together give an output, and the output's distance from theirs."""

    mistakes: tuple[str, ...]
    error: float


def explanations(vector: Vector, output: Arrays) -> list[Explanation]:
    """The explanations of a case's output, nearest first."""
    errors: dict[str, float] = {}
    for wrong in vector.wrong:
        error, _ = difference(output, wrong.output, vector.error)
        nearer = apart(output, wrong.output) < apart(output, vector.output)
        if wrong.least == 0.0 and error <= wrong.most and nearer:
            errors[wrong.name] = min(error, errors.get(wrong.name, error))
    found = [Explanation((name,), error) for name, error in errors.items()]
    return sorted(found, key=lambda each: each.error)


def apart(one: Arrays, other: Arrays) -> float:
    """The distance max |a − b| / max(|a|, |b|) of two outputs, of the worst array; the same for both orders."""
    if difference(one, other, "arraywise")[1]:
        return math.inf
    errors = [
        array_error(one[name], other[name], "arraywise", size)
        for name in one
        for size in [np.max(np.abs(one[name]), initial=0.0)]
    ]
    return max(errors, default=0.0)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Explanations of a wrong output: the known mistakes that together give it."""

from __future__ import annotations

from typing import NamedTuple

from vime_check.errors import difference
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
        if wrong.least == 0.0 and error <= wrong.most:
            errors[wrong.name] = min(error, errors.get(wrong.name, error))
    found = [Explanation((name,), error) for name, error in errors.items()]
    return sorted(found, key=lambda each: each.error)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

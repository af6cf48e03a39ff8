"""The known mistakes that explain an output: one of them, or two at once.

The outputs of single mistakes are in the vector files. Those of pairs are computed with the reference, if it is there.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vime_check.errors import Error, by_name
from vime_check.files import Vector
from vime_check.wire import Arrays, Inputs, decode_inputs

# ---------------------------------------------------------------- constants and types

# An output is this many times nearer to a mistake's than to the correct one, and than these two are to each other.
# Another mistake, or rounding, is that near by accident once in as many cases.
NEARER = {"f64": 1e6, "f32": 1e3}


class Explanation(NamedTuple):
    """Mistakes whose common output this is, and the distance to it."""

    mistakes: tuple[str, ...]
    error: float


# ---------------------------------------------------------------- naming


def explanations(vector: Vector, output: Arrays) -> list[Explanation]:
    """The mistakes that explain a wrong output, nearest first; pairs only if no single one does."""
    stored = (
        ((wrong.name,), wrong.output) for wrong in vector.wrong if not wrong.least
    )
    found = matching(vector, output, stored)
    for size in (1, 2):
        if not found:
            found = matching(vector, output, computed(vector, size))
    return sorted(found, key=lambda each: each.error)


def matching(
    vector: Vector, output: Arrays, candidates: Iterable[tuple[tuple[str, ...], Arrays]]
) -> list[Explanation]:
    """The explanations among candidates: for each set of mistakes, the nearest output."""
    off = gap(output, vector.output, vector.error)
    nearest: dict[tuple[str, ...], float] = {}
    for mistakes, wrong in candidates:
        near = NEARER[vector.dtype] * gap(output, wrong, vector.error)
        if near <= off and near <= gap(wrong, vector.output, vector.error):
            nearest[mistakes] = min(near, nearest.get(mistakes, np.inf))
    return [Explanation(*each) for each in nearest.items()] if off else []


# ---------------------------------------------------------------- the outputs of mistakes


def computed(vector: Vector, size: int) -> Iterator[tuple[tuple[str, ...], Arrays]]:
    """The outputs with this many mistakes at once; none without the reference."""
    try:
        from vime_check.cases import PROVED
    except ImportError:
        return
    if vector.operation in PROVED:
        key = json.dumps(vector.state | vector.inputs)
        yield from outputs_of(vector.operation, key, size)


@functools.lru_cache(maxsize=64)
def outputs_of(
    operation: str, inputs: str, size: int
) -> list[tuple[tuple[str, ...], Arrays]]:
    """The outputs of an operation with this many mistakes at once, in each order."""
    from vime_check.cases import PROVED
    from vime_check.operations import composed

    # Only mistakes that change this output.
    given = decode_inputs(json.loads(inputs), PROVED[operation].kinds, "f64")
    found = []
    for switches in permutations(effective(operation, inputs), size):
        flags = tuple(sorted({each.flag for each in switches}))
        if len(flags) == size:
            output = output_of(composed(operation, switches), given)
            if output is not None:
                found.append((flags, output))
    return found


@functools.lru_cache(maxsize=64)
def effective(operation: str, inputs: str) -> list[Any]:
    """The mistakes of an operation that change its output here."""
    from vime_check.cases import PROVED
    from vime_check.operations import composed, switches_of

    given = decode_inputs(json.loads(inputs), PROVED[operation].kinds, "f64")
    right = by_name(PROVED[operation].function(**given))
    kind = PROVED[operation].error

    found = []
    for switch in switches_of(operation):
        output = output_of(composed(operation, (switch,)), given)
        if output is not None and gap(output, right, kind) > 0.0:
            found.append(switch)
    return found


def output_of(function: Any, given: Inputs) -> Arrays | None:
    """The function's results, or None if they are not numbers."""
    try:
        with np.errstate(all="ignore"):
            return by_name(function(**given))
    except Exception:  # a mistake may break in any way
        return None


# ---------------------------------------------------------------- distances


def gap(one: Arrays, other: Arrays, kind: Error) -> float:
    """The largest |a − b|/max(|a|, |b|), from 0 to 2, or infinite if they can't be compared.

    Of each element, or with the largest of each array below if arraywise.
    """
    if set(one) != set(other):
        return np.inf
    return max((array_gap(one[name], other[name], kind) for name in one), default=0.0)


def array_gap(a: NDArray[np.float64], b: NDArray[np.float64], kind: Error) -> float:
    """The gap of one array; NaN and infinities are at 0 from themselves and at 2 from anything else."""
    if a.shape != b.shape:
        return 0.0 if a.size + b.size == 0 else np.inf
    with np.errstate(all="ignore"):
        finite = np.isfinite(a) & np.isfinite(b)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        size = np.where(finite, np.maximum(np.abs(a), np.abs(b)), 0.0)
        if kind == "arraywise":
            size = np.full(size.shape, np.max(size, initial=0.0))
        relative = np.abs(a - b) / np.where(size > 0.0, size, 1.0)
    gaps = np.where(same, 0.0, np.where(finite, relative, 2.0))
    return float(np.max(gaps, initial=0.0))


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

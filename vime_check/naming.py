"""The known mistakes that explain an output: one of them, or two at once.

The outputs of single mistakes are in the vector files. Those of pairs are computed with the reference, if it is there.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
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
# All pairs are tried for so many cases of an operation that no pair explained.
MAX_SEARCHES = 2

Mistakes = tuple[str, ...]
Candidates = Iterable[tuple[Mistakes, Arrays]]


class Explanation(NamedTuple):
    """Mistakes whose common output this is, and the distance to it."""

    mistakes: Mistakes
    error: float


# ---------------------------------------------------------------- naming


@dataclass
class Naming:
    """The explanations of an implementation's outputs; pairs that explained one are tried first on the next."""

    most: int = 2  # mistakes at once; 0 for the stored outputs alone
    pairs: defaultdict[str, set[Mistakes]] = field(
        default_factory=lambda: defaultdict(set)
    )  # by operation
    searches: Counter[str] = field(default_factory=Counter)  # in vain
    outputs: dict[str, Arrays] = field(default_factory=dict)  # explained, by case

    def explanations(self, vector: Vector, output: Arrays) -> list[Explanation]:
        """The mistakes that explain a wrong output, nearest first; pairs only if no single one does."""
        operation = vector.operation
        known = self.pairs[operation]
        found = explanations(vector, output, known, self.most)
        if not found and self.most > 1 and self.searches[operation] < MAX_SEARCHES:
            found = explanations(vector, output)
            known.update(each.mistakes for each in found)
            self.searches[operation] += not found
        if found:
            self.outputs[vector.id] = output
        return found

    def with_pairs(
        self, vector: Vector, found: Sequence[Explanation]
    ) -> tuple[Explanation, ...]:
        """The explanations, with the pairs of this operation that explain the output as well."""
        before = {each.mistakes for each in found}
        wanted = self.pairs[vector.operation] - before
        if not before or not wanted or vector.id not in self.outputs:
            return tuple(found)
        output = self.outputs[vector.id]
        return (*found, *matching(vector, output, computed(vector, 2, wanted)))


def explanations(
    vector: Vector,
    output: Arrays,
    pairs: Collection[Mistakes] | None = None,
    most: int = 2,
) -> list[Explanation]:
    """The mistakes that explain a wrong output, nearest first; pairs only if no single one does.

    pairs: the pairs to try; None for all. most: mistakes at once; 0 for the stored outputs alone.
    """
    stored = (
        ((wrong.name,), wrong.output) for wrong in vector.wrong if not wrong.least
    )
    found = matching(vector, output, stored)
    for size in range(1, most + 1):
        wanted = pairs if size > 1 else None
        found = found or matching(vector, output, computed(vector, size, wanted))
    return sorted(found, key=lambda each: each.error)


def matching(
    vector: Vector, output: Arrays, candidates: Candidates
) -> list[Explanation]:
    """The explanations among candidates: for each set of mistakes, the nearest output."""
    off = gap(output, vector.output, vector.error)
    nearest: dict[Mistakes, float] = {}
    for mistakes, wrong in candidates:
        distance = gap(output, wrong, vector.error)
        near = NEARER[vector.dtype] * distance
        if near <= off and near <= gap(wrong, vector.output, vector.error):
            nearest[mistakes] = min(distance, nearest.get(mistakes, np.inf))
    return [Explanation(*each) for each in nearest.items()] if off else []


# ---------------------------------------------------------------- the outputs of mistakes


def computed(
    vector: Vector, size: int, wanted: Collection[Mistakes] | None = None
) -> Candidates:
    """The outputs with this many mistakes at once; none without the reference.

    wanted: the sets of mistakes; None for all that change this output.
    """
    if (wanted is not None and not wanted) or not is_proved(vector):
        return
    from vime_check.operations import composed, orders, switches_of

    # The mistakes to combine.
    names = {name for each in wanted or () for name in each}
    named = [each for each in switches_of(vector.operation) if each.flag in names]
    switches = effective(vector) if wanted is None else named

    # Each set of them, in each order that matters.
    given = inputs_of(vector)
    for chosen in combinations(switches, size):
        mistakes = tuple(sorted({each.flag for each in chosen}))
        if len(mistakes) == size and (wanted is None or mistakes in wanted):
            for ordered in orders(vector.operation, chosen):
                output = output_of(composed(vector.operation, ordered), given)
                if output is not None:
                    yield mistakes, output


def is_proved(vector: Vector) -> bool:
    """Whether the reference has the operation, and is there."""
    try:
        from vime_check.cases import PROVED
    except ImportError:
        return False
    return vector.operation in PROVED


def effective(vector: Vector) -> list[Any]:
    """The mistakes that change the output of this case."""
    return effective_in(vector.operation, json.dumps([vector.state, vector.inputs]))


@functools.lru_cache(maxsize=256)
def effective_in(operation: str, case: str) -> list[Any]:
    """The mistakes that change the output of an operation, at a state and inputs in JSON."""
    from vime_check.cases import PROVED
    from vime_check.operations import composed, switches_of

    state, inputs = json.loads(case)
    given = decode_inputs(state | inputs, PROVED[operation].kinds, "f64")
    right = by_name(PROVED[operation].function(**given))
    kind = PROVED[operation].error

    found = []
    for switch in switches_of(operation):
        output = output_of(composed(operation, (switch,)), given)
        if output is not None and gap(output, right, kind) > 0.0:
            found.append(switch)
    return found


def inputs_of(vector: Vector) -> Inputs:
    """The inputs of a case for the reference, with the state of a trace."""
    from vime_check.cases import PROVED

    kinds = PROVED[vector.operation].kinds
    return decode_inputs(vector.state | vector.inputs, kinds, "f64")


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

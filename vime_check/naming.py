"""The known mistakes that explain an output: one of them, or two at once.

The outputs of single mistakes are in the vector files. Those of pairs are computed with the reference, if it is there.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vime_check.errors import Error, by_name
from vime_check.files import Vector
from vime_check.wire import Arrays, decode_inputs

# ---------------------------------------------------------------- constants and types

# An output is this many times nearer to a mistake's than to the correct one, and than these two are to each other.
# Another mistake, or rounding, is that near by accident once in as many cases.
NEARER = {"f64": 1e6, "f32": 1e3}
# All pairs are tried for so many cases of an operation that no pair explained.
MAX_SEARCHES = 2
ROUNDING_GAP = {"f64": 1e-12, "f32": 1e-5}  # distances up to this may be rounding
LEAST_FOR_PAIRS = 1e-8  # a smaller error is too near to rounding for two mistakes

Mistakes = tuple[str, ...]
Candidates = Iterable[tuple[Mistakes, Arrays]]


class Explanation(NamedTuple):
    """Mistakes whose common output this is, and the distance to it."""

    mistakes: Mistakes
    error: float
    places: frozenset[tuple[str, str]] = frozenset()  # a mistake, and where it was made


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
            if not found:
                self.searches[operation] += 1
        known.update(each.mistakes for each in found if len(each.mistakes) > 1)
        found = [with_places(vector, output, each) for each in found]
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
        both = matching(vector, output, computed(vector, two_of(vector, wanted)))
        return (*found, *(with_places(vector, output, each) for each in both))


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
    if not found and most > 0:
        found = matching(vector, output, computed(vector, one_of(vector)))

    # Two mistakes, or a second one beside the one that was found.
    if not found and most > 1:
        found = matching(vector, output, computed(vector, two_of(vector, pairs)))
    elif found and most > 1:
        found = found_with_another(vector, output, found)
    return sorted(found, key=lambda each: each.error)


def found_with_another(
    vector: Vector, output: Arrays, found: Sequence[Explanation]
) -> list[Explanation]:
    """The explanations; but pairs with one of them if these leave less of the error."""
    if min(each.error for each in found) <= 10.0 * ROUNDING_GAP[vector.dtype]:
        return [*found]
    names = {name for each in found for name in each.mistakes}
    pairs = two_of(vector, with_one=names)
    return matching(vector, output, computed(vector, pairs)) or [*found]


def with_places(
    vector: Vector, output: Arrays, explanation: Explanation
) -> Explanation:
    """The explanation with the places whose mistakes give this output, if they are registered with one."""
    if not is_proved(vector):
        return explanation
    from vime_check.operations import switches_of

    switches = switches_of(vector.operation)
    variants = [
        [s for s in switches if s.flag == name] for name in explanation.mistakes
    ]
    if not any(switch.at for several in variants for switch in several):
        return explanation
    places = {
        (switch.flag, switch.at)
        for chosen in product(*variants)
        if matching(vector, output, computed(vector, [chosen]))
        for switch in chosen
        if switch.at
    }
    return explanation._replace(places=frozenset(places))


def matching(
    vector: Vector, output: Arrays, candidates: Candidates
) -> list[Explanation]:
    """The explanations among candidates: for each set of mistakes, the nearest output.

    Two mistakes must leave nothing but rounding, because among a thousand pairs one is near by accident.
    """
    off = gap(output, vector.output, vector.error)
    nearest: dict[Mistakes, float] = {}
    for mistakes, wrong in candidates:
        distance = gap(output, wrong, vector.error)
        near = NEARER[vector.dtype] * distance
        told = near <= off and near <= gap(wrong, vector.output, vector.error)
        if told and (
            len(mistakes) == 1
            or (off >= LEAST_FOR_PAIRS and distance <= ROUNDING_GAP[vector.dtype])
        ):
            nearest[mistakes] = min(distance, nearest.get(mistakes, np.inf))
    return [Explanation(*each) for each in nearest.items()] if off else []


# ---------------------------------------------------------------- the outputs of mistakes


def computed(vector: Vector, chosen: Iterable[Sequence[Any]]) -> Candidates:
    """The outputs with these sets of mistakes, in each order that matters; none without the reference."""
    if not is_proved(vector):
        return
    from vime_check.operations import orders_of

    case = case_text(vector)
    for switches in chosen:
        mistakes = tuple(sorted({each.flag for each in switches}))
        if len(mistakes) == len(switches):  # not two variants of one
            for ordered in orders_of(vector.operation, tuple(switches)):
                output = output_with(vector.operation, case, ordered)
                if output is not None:
                    yield mistakes, output


def one_of(vector: Vector) -> list[Sequence[Any]]:
    """Each mistake that changes this output."""
    return [(each,) for each in effective(vector)]


def two_of(
    vector: Vector,
    pairs: Collection[Mistakes] | None = None,
    with_one: Collection[str] = (),
) -> list[Sequence[Any]]:
    """Each two mistakes: of these pairs, or that change this output, and one of which is among `with_one`."""
    if not is_proved(vector) or (pairs is not None and not pairs):
        return []
    from vime_check.operations import switches_of

    wanted = None if pairs is None else {frozenset(each) for each in pairs}
    names = {name for each in pairs or () for name in each}
    named = [each for each in switches_of(vector.operation) if each.flag in names]
    switches = effective(vector) if wanted is None else named
    return [
        (one, other)
        for one, other in combinations(switches, 2)
        if (wanted is None or {one.flag, other.flag} in wanted)
        and (not with_one or {one.flag, other.flag} & {*with_one})
    ]


def is_proved(vector: Vector) -> bool:
    """Whether the reference has the operation, and is there."""
    try:
        from vime_check.cases import PROVED
    except ImportError:
        return False
    return vector.operation in PROVED


def effective(vector: Vector) -> list[Any]:
    """The mistakes that change the output of this case; none without the reference."""
    if not is_proved(vector):
        return []
    return effective_in(vector.operation, case_text(vector))


def case_text(vector: Vector) -> str:
    """A case's state and inputs, as a key."""
    return json.dumps([vector.state, vector.inputs])


@functools.lru_cache(maxsize=256)
def effective_in(operation: str, case: str) -> list[Any]:
    """The mistakes that change the output of an operation, at a state and inputs in JSON."""
    from vime_check.cases import PROVED
    from vime_check.operations import switches_of

    right = output_with(operation, case, ())
    if right is None:
        return []
    found = []
    for switch in switches_of(operation):
        output = output_with(operation, case, (switch,))
        if output is not None and gap(output, right, PROVED[operation].error) > 0.0:
            found.append(switch)
    return found


@functools.lru_cache(maxsize=2**15)
def output_with(operation: str, case: str, switches: tuple[Any, ...]) -> Arrays | None:
    """The output of an operation with these mistakes, or None if it is not numbers."""
    from vime_check.cases import PROVED
    from vime_check.operations import composed

    state, inputs = json.loads(case)
    given = decode_inputs(state | inputs, PROVED[operation].kinds, "f64")
    try:
        with np.errstate(all="ignore"):
            return by_name(composed(operation, switches)(**given))
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

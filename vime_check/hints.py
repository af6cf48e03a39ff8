"""Structural hints: how a wrong output is related to the right one, if no known mistake explains it.

A hint proposes an output, such as twice the right one. It is given if the output is the proposed one to 1e-9 in float64
or 1e-4 in float32, and the right output is not. The most specific hint comes first.
"""

from __future__ import annotations

import importlib
import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vime_check.errors import Error, by_name, difference, listed, num_digits
from vime_check.wire import Arrays, Inputs, declared_kinds, decode_inputs

# ---------------------------------------------------------------- constants

NEAR = {"f64": 1e-9, "f32": 1e-4}  # relative distance from the proposed output
# The rounding error of an element: relative to itself, and to the largest element if errors are arraywise.
ROUNDOFF = {"f64": 1e-15, "f32": 5e-7}
SMALL_OFFSET = (
    1e-3  # largest rounding error, relative to an offset that it leaves visible
)
MOST_DISTANCE = 1e-3  # from a factor that holds about
# In all cases with several rows, and no case with one row is wrong.
LEFTOVER = "row 0 is right and later rows are not: does a row leave something behind?"
MOST_ROWS = 64  # largest number of rows whose order is compared
AGREED_DIGITS = re.compile(r"\d+ digits?")
NUMBERS = {
    "2": 2.0,
    "½": 0.5,
    "−1": -1.0,
    "−2": -2.0,
    "−½": -0.5,
    "4": 4.0,
    "¼": 0.25,
    "ln 2": math.log(2.0),
    "1/ln 2": 1.0 / math.log(2.0),
    "½ ln 2π": 0.5 * math.log(2.0 * math.pi),
}
MEANINGS = {
    "D": "the number of weights or dimensions",
    "S": "the number of samples",
    "B": "the number of rows",
    "n": "num_data",
}

# ---------------------------------------------------------------- types

Values = NDArray[np.float64]
Lengths = dict[str, float]  # by the letter of MEANINGS


class Hint(NamedTuple):
    """A relation that holds.

    A weak one may hold by accident, and says something only if several cases share it. A vague one says less than any
    other. Hints with a number of digits are alike if they differ in it alone.
    """

    text: str
    weak: bool = False
    vague: bool = False
    digits: int | None = None
    needs_right_single_row: bool = False  # among the cases of the operation

    @property
    def key(self) -> str:
        """The text without its number of digits."""
        return (
            self.text if self.digits is None else AGREED_DIGITS.sub("digits", self.text)
        )


class Measure(NamedTuple):
    """The measure of an operation's errors, in a precision."""

    kind: Error
    near: float
    rounding: float

    def slack(self, right: Values) -> Any:
        """The rounding error that an array's elements may have."""
        sizes = np.abs(np.where(np.isfinite(right), right, 0.0))
        if self.kind == "arraywise":
            return self.rounding * np.max(sizes, initial=0.0)
        return self.rounding * sizes

    def agree(self, output: Values, proposed: Values) -> NDArray[np.bool_]:
        """Whether each element of two arrays of one shape agrees."""
        same = (output == proposed) | (np.isnan(output) & np.isnan(proposed))
        size = np.maximum(np.abs(output), np.abs(proposed))
        allowed = self.near * size + self.slack(proposed)
        close = np.abs(output - proposed) <= allowed
        return same | (close & np.isfinite(size))

    def equal(self, output: Values, proposed: Values) -> bool:
        """Whether two arrays agree in shape and in every element; empty ones have one shape, as in JSON."""
        if output.shape != proposed.shape:
            return output.size + proposed.size == 0
        return bool(np.all(self.agree(output, proposed)))


# ---------------------------------------------------------------- the hints of a case


def all_hints(
    output: Arrays,
    expected: Arrays,
    inputs: Inputs,
    operation: str = "",
    kind: Error = "elementwise",
    dtype: str = "f64",
) -> list[Hint]:
    """All hints on a wrong output, the most specific first."""
    if set(output) != set(expected):
        return []
    measure = Measure(kind, NEAR[dtype], ROUNDOFF[dtype])
    given = decode_inputs(inputs, declared_kinds().get(operation, {}), "f64")

    # Relations of the whole output, then of its arrays; a wrong output may hold any numbers.
    with np.errstate(all="ignore"):
        found = [
            *unfinished(output, expected),
            *leftovers(output, expected, given, measure),
            *swapped(output, expected, given, operation, measure),
            *exchanged(output, expected, measure),
            *related(output, expected, input_sizes(given), measure),
            *digits(output, expected, kind),
        ]
    unique: dict[str, Hint] = {}
    for each in found:
        unique.setdefault(each.text, each)
    return [*unique.values()]


def unfinished(output: Arrays, expected: Arrays) -> Iterator[Hint]:
    """The first number that is not finite, if the right one is."""
    for name, right in expected.items():
        if output[name].shape != right.shape:
            continue
        lost = np.argwhere(~np.isfinite(output[name]) & np.isfinite(right))
        if lost.size and right.ndim:
            where = f"index {tuple(lost[0].tolist())}"
            yield Hint(f"not finite at {where}{f' of {name}' if name else ''}")
        if len(lost):
            yield Hint("not finite")


def leftovers(
    output: Arrays, expected: Arrays, given: Inputs, measure: Measure
) -> Iterator[Hint]:
    """Whether row 0 is right and no later row is, if the output has a result for each row."""
    rows = len(given.get("inputs", ()))
    shapes = {name: each.shape for name, each in expected.items()}
    if rows < 2 or any(not 0 < len(s) < 3 or s[0] != rows for s in shapes.values()):
        return
    if any(output[name].shape != shape for name, shape in shapes.items()):
        return
    agree = [
        measure.agree(output[name], right).reshape(rows, -1).all(axis=1)
        for name, right in expected.items()
    ]
    right_rows = np.all(agree, axis=0)  # (N,)
    if right_rows[0] and not right_rows[1:].any():
        yield Hint(LEFTOVER, needs_right_single_row=True)


def swapped(
    output: Arrays,
    expected: Arrays,
    given: Inputs,
    operation: str,
    measure: Measure,
) -> Iterator[Hint]:
    """Two inputs of one shape, whose exchange in the reference's function gives the output."""
    function = reference(operation)
    if function is None:
        return
    for one, other in itertools.combinations(given, 2):
        if not exchangeable(given[one], given[other]):
            continue
        changed = {**given, one: given[other], other: given[one]}
        try:
            proposed = by_name(function(**changed))
        except Exception:  # the exchanged inputs may be invalid in any way
            continue
        if proposes(output, expected, proposed, measure):
            text = f"the right output with {one} and {other} exchanged"
            yield Hint(text, weak=few(output))


def exchanged(output: Arrays, expected: Arrays, measure: Measure) -> Iterator[Hint]:
    """Two arrays of the output that stand in each other's place."""
    for one, other in itertools.combinations(expected, 2):
        proposed = {**expected, one: expected[other], other: expected[one]}
        if proposes(output, expected, proposed, measure):
            weak = few({one: output[one], other: output[other]})
            yield Hint(f"{one} and {other} are exchanged", weak)


def related(
    output: Arrays, expected: Arrays, sizes: Lengths, measure: Measure
) -> Iterator[Hint]:
    """The relations that hold for all wrong arrays, and which arrays are right."""
    right = [n for n in expected if measure.equal(output[n], expected[n])]
    wrong = [n for n in expected if n not in right]
    found = [array_hints(output[n], expected[n], sizes, measure) for n in wrong]
    shared = [
        each._replace(weak=each.weak and len(wrong) < 2)
        for each in (found[0] if found else [])
        if all(each.text in {other.text for other in others} for others in found)
    ]
    if not right or not wrong:
        yield from shared
        return
    what = f"{are(right)} right, {are(wrong)} not"
    yield from (each._replace(text=f"{what}: {each.text}") for each in shared)
    yield Hint(what, vague=True)


def are(names: list[str]) -> str:
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'}"


def digits(output: Arrays, expected: Arrays, kind: Error) -> Iterator[Hint]:
    error, _ = difference(output, expected, kind)
    known = num_digits(error) if error > 0.0 else 0
    if known:
        text = f"agrees to {digits_text(known)}"
        yield Hint(text, vague=True, digits=known)


def digits_text(known: int) -> str:
    return f"{known} digit{'s' if known > 1 else ''}"


# ---------------------------------------------------------------- the relations of an array


def array_hints(
    output: Values, right: Values, sizes: Lengths, measure: Measure
) -> list[Hint]:
    """The relations between a wrong array and the right one."""
    found = []
    for each, proposed in proposals(output, right, sizes):
        if measure.equal(output, proposed) and not measure.equal(right, proposed):
            found.append(each)
    found += undone(output, right, measure)
    if output.shape == right.shape and right.size:
        found += near_factors(output, right, sizes, measure)
        found += offsets(output, right, measure)
        found += orders(output, right, measure)
        found += parts(output, right, measure)
    by_chance = few({"": output}) and few({"": right})
    return [each._replace(weak=each.weak or by_chance) for each in found]


def proposals(
    output: Values, right: Values, sizes: Lengths
) -> Iterator[tuple[Hint, Values]]:
    """Relations, each with the output that it proposes."""
    yield from moved_elements(output, right)
    yield from reduced(right)
    if output.shape == right.shape and right.size:
        yield from factors(output, right, sizes)


def moved_elements(output: Values, right: Values) -> Iterator[tuple[Hint, Values]]:
    """The same elements, along other axes or in another shape."""
    axes = range(right.ndim)
    if right.ndim == 2:
        yield Hint("transposed"), right.T
    if right.ndim == 3:
        for order in itertools.permutations(axes):
            yield Hint(f"axes in the order {order}"), np.transpose(right, order)
    for axis in axes:
        yield Hint(f"reversed along axis {axis}"), np.flip(right, axis)
    if output.shape != right.shape and output.size == right.size:
        reshaped = right.reshape(output.shape)
        yield Hint("the right elements in another shape"), reshaped


def reduced(right: Values) -> Iterator[tuple[Hint, Values]]:
    """A sum or a mean too many: without the axis, with an axis of length 1, or at every place."""
    if not right.size or not right.ndim:
        return
    ways: dict[str, Callable[..., Any]] = {"summed": np.sum, "averaged": np.mean}
    each_axis = [(axis, f"axis {axis}") for axis in range(right.ndim)]
    all_axes = [(None, "all axes")] if right.ndim > 1 else []
    for axis, name in [*each_axis, *all_axes]:
        for word, function in ways.items():
            hint = Hint(f"{word} over {name}")
            kept = np.asarray(function(right, axis=axis, keepdims=True))
            yield hint, np.asarray(function(right, axis=axis))
            yield hint, kept
            yield hint, np.broadcast_to(kept, right.shape)


def undone(output: Values, right: Values, measure: Measure) -> Iterator[Hint]:
    """A sum or a mean too few: over an axis of the output it gives the right one."""
    if output.ndim <= right.ndim or not output.size:
        return
    for axis in range(output.ndim):
        if measure.equal(np.asarray(output.sum(axis)), right):
            yield Hint(f"not summed over axis {axis}")
        if measure.equal(np.asarray(output.mean(axis)), right):
            yield Hint(f"not averaged over axis {axis}")


def factors(
    output: Values, right: Values, sizes: Lengths
) -> Iterator[tuple[Hint, Values]]:
    """One factor: one with a name, then the number itself."""
    finite = np.isfinite(right) & np.isfinite(output) & (right != 0.0)
    if not finite.any():
        return
    at = np.argmax(np.where(finite, np.abs(right), 0.0))
    factor = float(output.flat[at] / right.flat[at])
    known = {**NUMBERS, **size_factors(sizes)}
    weak = few({"": right[finite]})
    for name, value in known.items():
        yield Hint(f"{name} times the right one", weak), value * right
    if factor == 0.0:
        yield Hint("all elements are 0", weak), factor * right
    yield Hint(f"{factor:.9g} times the right one", weak), factor * right


def near_factors(
    output: Values, right: Values, sizes: Lengths, measure: Measure
) -> Iterator[Hint]:
    """A factor with a name that holds to some digits, but not to all."""
    if few({"": output}) or not np.isfinite(output).all():
        return
    for name, value in {**NUMBERS, **size_factors(sizes)}.items():
        proposed = {"": value * right}
        error, _ = difference({"": output}, proposed, measure.kind)
        from_right, _ = difference({"": right}, proposed, measure.kind)
        if measure.near < error <= MOST_DISTANCE < from_right:
            known = num_digits(error)
            text = f"about {name} times the right one (to {digits_text(known)})"
            yield Hint(text, digits=known)


def size_factors(sizes: Lengths) -> dict[str, float]:
    """The factors that sizes of the inputs give, by name."""
    found = {}
    for letter, size in sizes.items():
        if size > 0.0:
            found[f"{letter} ({MEANINGS[letter]})"] = size
            found[f"1/{letter} ({letter} is {MEANINGS[letter]})"] = 1.0 / size
    if sizes.get("n", 0.0) > 0.0 and sizes.get("B", 0.0) > 0.0:
        found["n/B (num_data by the number of rows)"] = sizes["n"] / sizes["B"]
        found["B/n (the number of rows by num_data)"] = sizes["B"] / sizes["n"]
    return found


def offsets(output: Values, right: Values, measure: Measure) -> Iterator[Hint]:
    """A constant that is added, if it is visible in every element."""
    if not (np.isfinite(output).all() and np.isfinite(right).all()):
        return
    apart = output - right
    offset = float(np.median(apart))
    noise = measure.slack(output) + measure.slack(right)
    if np.any(noise >= SMALL_OFFSET * abs(offset)):
        return
    if np.any(np.abs(apart - offset) > measure.near * abs(offset) + noise):
        return
    known = {f"{way} {name}": sign * value for name, value in NUMBERS.items()
             if value > 0.0 for way, sign in (("plus", 1.0), ("minus", -1.0))}  # fmt: skip
    least = np.max(noise) + measure.near * abs(offset)
    for text, value in known.items():
        if abs(offset - value) <= least:
            yield Hint(f"the right one {text}")
    way = "plus" if offset > 0.0 else "minus"
    yield Hint(f"the right one {way} {abs(offset):.9g}")


def orders(output: Values, right: Values, measure: Measure) -> Iterator[Hint]:
    """The right elements in another order, or one place off."""
    for axis in range(right.ndim):
        new, old = np.moveaxis(output, axis, 0), np.moveaxis(right, axis, 0)
        for way, shifted in (("late", old[:-1]), ("early", old[1:])):
            shown = new[1:] if way == "late" else new[:-1]
            still = measure.equal(old[1:], old[:-1])
            if len(old) > 2 and measure.equal(shown, shifted) and not still:
                yield Hint(f"one place too {way} along axis {axis}")
        if right.ndim > 1 and reordered(new, old, measure):
            yield Hint(f"in another order along axis {axis}")
    flat = np.sort(output, axis=None), np.sort(right, axis=None)
    if right.size > 1 and measure.equal(*flat):
        yield Hint("the right elements in another order")


def reordered(new: Values, old: Values, measure: Measure) -> bool:
    """Whether the rows of one array are those of the other, in any order."""
    if not 1 < len(old) <= MOST_ROWS:
        return False
    left = list(range(len(old)))
    for row in new:
        found = [i for i in left if measure.equal(row, old[i])]
        if not found:
            return False
        left.remove(found[0])
    return True


def parts(output: Values, right: Values, measure: Measure) -> Iterator[Hint]:
    """The elements that are right, and those that are right except for their sign."""
    agree = measure.agree(output, right)
    if measure.equal(np.abs(output), np.abs(right)):
        yield Hint("right except for signs")
    share = agree.mean()
    by_chance = bool(np.all(right == np.round(right))) and share < 0.5
    if 0.0 < share < 1.0 and not by_chance:
        count = int(agree.sum())
        verb = "is" if count == 1 else "are"
        yield Hint(f"{count} of {agree.size} elements {verb} right", vague=True)
        yield Hint("some elements are right", vague=True)


# ---------------------------------------------------------------- building blocks


def few(values: Arrays) -> bool:
    """Whether these are less than two different finite numbers, which any relation may fit by accident."""
    every = np.concatenate([each.ravel() for each in values.values()])
    return len(np.unique(every[np.isfinite(every)])) < 2


def proposes(
    output: Arrays, expected: Arrays, proposed: Arrays, measure: Measure
) -> bool:
    """Whether the output is the proposed one, and the right output is not."""
    if set(proposed) != set(expected):
        return False
    same = all(measure.equal(output[n], each) for n, each in proposed.items())
    return same and not all(measure.equal(expected[n], proposed[n]) for n in expected)


def exchangeable(one: Any, other: Any) -> bool:
    """Whether two inputs are numbers, or arrays of one shape, with different values."""
    kinds = (np.ndarray, int, float)
    if not (isinstance(one, kinds) and isinstance(other, kinds)):
        return False
    return np.shape(one) == np.shape(other) and not np.array_equal(one, other)


def reference(operation: str) -> Callable[..., Any] | None:
    """The reference's function, or None if the reference is not installed."""
    try:
        cases = importlib.import_module("vime_check.cases")
    except ImportError:
        return None
    found = cases.OPERATIONS.get(operation)
    return found.function if found else None


def input_sizes(given: Inputs) -> Lengths:
    """The sizes of the inputs that may become factors."""
    sizes: Lengths = {}
    for name in ("mu", "theta", "mu_q", "mu_new", "mean", "mean_old"):
        if np.ndim(given.get(name, 0.0)) and "D" not in sizes:
            sizes["D"] = float(np.shape(given[name])[-1])
    noise = given.get("eps", given.get("zeta"))
    if noise is not None and np.ndim(noise[0]):
        sizes["S"] = float(len(noise) if "eps" in given else len(noise[0]))
    if np.ndim(given.get("inputs", 0.0)):
        sizes["B"] = float(len(given["inputs"]))
    if "num_data" in given:
        sizes["n"] = float(given["num_data"])
    return sizes


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

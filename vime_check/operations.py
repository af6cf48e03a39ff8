"""Operations for cross-checking, and the registration of their parts.

An operation is a function with keyword inputs; other implementations offer it under the same name. Each operation is
defined in one module of `vime_check.cases`: the function, its 50-digit form, its known mistakes (functions of the same
inputs with a wrong output), its cases, and how to draw inputs.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vime_check.errors import Error
from vime_check.wire import DTYPES, Inputs, Kinds

# ---------------------------------------------------------------- constants

BOTH = tuple(DTYPES)
# A tolerance is this many measured errors; a wrong output is this many tolerances from the correct one.
MARGIN = 10.0
FLOORS = {"f64": 2e-15, "f32": 1e-6}  # minimum tolerances: ten units in the last place
# The relative error that is demanded of a KL in float64 where q′ is close to q, against 50 digits.
NEAR_IDENTITY = 1e-12
# Maximum number of halvings that bring two drawn distributions together. In float32, correct code that subtracts two σ
# has a relative error of 1e-7 divided by the move, so moves are at least 2^-8 there.
NEAREST = {"f64": 16, "f32": 4}
NO_KINDS: Kinds = {}  # every input is an array of numbers

# ---------------------------------------------------------------- types

Function = Callable[
    ..., Any
]  # from keyword inputs to an array, a number, or named arrays


class Case(NamedTuple):
    """One example: inputs, and the mistakes that it must detect or the reason why inputs must be rejected."""

    probe: str  # with the operation's name, the case's id
    comment: str
    inputs: Inputs
    flags: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = BOTH
    why: str = ""  # empty if the inputs are valid
    needs: frozenset[str] = frozenset()  # inputs without which the case has no meaning
    line: int = 0  # of a trace, from 1


def no_inputs(draw: Draw) -> Inputs:
    return {}


def never(given: Inputs) -> bool:
    return False


class Operation(NamedTuple):
    """An operation with its mistakes, cases, 50-digit form and drawn inputs."""

    name: str
    family: str
    error: Error
    function: Function
    mistakes: dict[str, tuple[Function, ...]]  # by name, which may have variants
    cases: Callable[[], Iterator[Case]]
    # The largest errors of correct implementations, in float64 and in float32.
    measured: tuple[float, float] = (0.0, 0.0)
    kinds: Kinds = NO_KINDS
    # Errors on drawn inputs are relative to at least this, because terms of order 1 may cancel.
    floor: float = 1.0
    intermediates: Function | None = None  # intermediate values, from the inputs
    exact: Function | None = None  # the same with 50 digits
    draw: Callable[[Draw], Inputs] = no_inputs
    undecided: Callable[[Inputs], bool] = never  # rounding decides the output there
    resets: frozenset[str] = frozenset()  # of a trace: the inputs that `reset` gets

    @property
    def names(self) -> list[str]:
        """The names of the operation's inputs."""
        return list(inspect.signature(self.function).parameters)


OPERATIONS: dict[str, Operation] = {}


def tolerance(operation: Operation, dtype: str) -> float:
    measured = operation.measured[BOTH.index(dtype)]
    return max(two_digits(MARGIN * measured), FLOORS[dtype])


def two_digits(value: float) -> float:
    """The value, rounded for a file."""
    return float(f"{value:.1e}")


# ---------------------------------------------------------------- registering


def register(
    family: str,
    error: Error,
    function: Function,
    *,
    measured: tuple[float, float],
    kinds: Kinds | None = None,
    floor: float = 1.0,
) -> None:
    """Register a function as the operation of the same name.

    measured: the largest errors of correct implementations, in float64 and in float32. They are those of both adapters
    in examples/, and of the reference compared with 50 digits. If all inputs are whole numbers, the torch adapter
    normally computes in float64; it was measured in float32.
    kinds: the kinds of the inputs that are not arrays of numbers; other names are ignored.
    """
    name = function.__name__
    new = Operation(name, family, error, function, {}, no_cases, measured, floor=floor)
    own = {key: kind for key, kind in (kinds or {}).items() if key in new.names}
    OPERATIONS[name] = new._replace(kinds=own)


def no_cases() -> Iterator[Case]:
    return iter(())


def operation(
    family: str, error: Error, **about: Any
) -> Callable[[Function], Function]:
    """`register` for a function that is defined below it."""

    def decorate(function: Function) -> Function:
        register(family, error, function, **about)
        return function

    return decorate


def mistake(flag: str, *names: str) -> Callable[[Function], Function]:
    """Register wrong(right, given) as a mistake of these operations; right is the reference's function."""

    def decorate(wrong: Function) -> Function:
        for name in names:
            mistakes = OPERATIONS[name].mistakes
            variant = partial(called, wrong, OPERATIONS[name].function)
            mistakes[flag] = (*mistakes.get(flag, ()), variant)
        return wrong

    return decorate


def called(wrong: Function, right: Function, **given: Any) -> Any:
    return wrong(right, given)


def intermediates_of(*names: str) -> Callable[[Function], Function]:
    """Register a function from the inputs to named intermediate values of these operations."""

    def decorate(parts: Function) -> Function:
        for name in names:
            OPERATIONS[name] = OPERATIONS[name]._replace(intermediates=parts)
        return parts

    return decorate


def exact_form(name: str) -> Callable[[Function], Function]:
    """Register an operation's form on object arrays of 50-digit numbers."""

    def decorate(form: Function) -> Function:
        OPERATIONS[name] = OPERATIONS[name]._replace(exact=form)
        return form

    return decorate


def cases_of(
    *names: str,
) -> Callable[[Callable[[], Iterator[Case]]], Callable[[], Iterator[Case]]]:
    """Register the cases of these operations; each operation takes the cases whose inputs it has."""

    def decorate(cases: Callable[[], Iterator[Case]]) -> Callable[[], Iterator[Case]]:
        for name in names:
            own = partial(fitting, name, cases)
            OPERATIONS[name] = OPERATIONS[name]._replace(cases=own)
        return cases

    return decorate


def fitting(name: str, cases: Callable[[], Iterator[Case]]) -> Iterator[Case]:
    """The cases that apply to this operation, with its inputs in its order and its mistakes."""
    names = OPERATIONS[name].names
    known = (*OPERATIONS[name].mistakes, "InputMutation")
    for case in cases():
        if case.needs <= set(names):
            inputs = {key: rounded(case.inputs[key], case.dtypes) for key in names}
            flags = tuple(flag for flag in case.flags if flag in known)
            yield case._replace(inputs=inputs, flags=flags)


def draw_of(
    name: str,
) -> Callable[[Callable[[Draw], Inputs]], Callable[[Draw], Inputs]]:
    """Register how to draw valid inputs of an operation."""

    def decorate(draw: Callable[[Draw], Inputs]) -> Callable[[Draw], Inputs]:
        OPERATIONS[name] = OPERATIONS[name]._replace(draw=draw)
        return draw

    return decorate


def draw_by_names(draw: Callable[..., Inputs], *names: str, **settings: Any) -> None:
    """Register draw(draw, names of the inputs) for these operations."""
    for name in names:
        inputs = OPERATIONS[name].names
        draw_of(name)(partial(draw, names=inputs, **settings))


def undecided_for(
    *names: str,
) -> Callable[[Callable[[Inputs], bool]], Callable[[Inputs], bool]]:
    """Register whether rounding decides these operations' outputs at decoded inputs."""

    def decorate(undecided: Callable[[Inputs], bool]) -> Callable[[Inputs], bool]:
        for name in names:
            OPERATIONS[name] = OPERATIONS[name]._replace(undecided=undecided)
        return undecided

    return decorate


# ---------------------------------------------------------------- writing cases


def good(
    probe: str, comment: str, *flags: str, dtypes: tuple[str, ...] = BOTH, **inputs: Any
) -> Case:
    """A case with valid inputs."""
    return Case(probe, comment, arrays(inputs), flags, dtypes)


def bad(probe: str, why: str, base: Inputs, **changes: Any) -> Case:
    """A case that must be rejected: valid inputs except for these changes."""
    comment = f"Has to be refused: {why}."
    inputs = arrays(base | changes)
    return Case(probe, comment, inputs, why=why, needs=frozenset(changes))


def by_convention(case: Case) -> Case:
    """A case that other implementations may accept for good reasons."""
    rule = "Refused by the reference's own convention, which is no law"
    return case._replace(comment=f"{rule}: {case.why}.")


def arrays(inputs: Inputs) -> Inputs:
    """The inputs with tuples turned into arrays."""
    return {
        name: np.array(value) if isinstance(value, tuple) else value
        for name, value in inputs.items()
    }


def rounded(value: Any, dtypes: Sequence[str]) -> Any:
    """The value, rounded to float32 if the case is also meant for float32."""
    if "f32" not in dtypes:
        return value
    if isinstance(value, list):
        return [rounded(each, dtypes) for each in value]
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return np.float64(np.float32(value))
    return float(np.float32(value)) if isinstance(value, float) else value


def numbers(*shape: int, seed: int) -> NDArray[np.float64]:
    """Well-mixed multiples of 1/64 from −2 to 2: short, exact in float32, and independent of any random generator."""
    i = np.arange(1, math.prod(shape) + 1) + 17 * seed
    return ((i * i * i + 91 * i * i + 55 * i) % 257 - 128).reshape(shape) / 64.0


def with_nan(
    values: NDArray[np.float64], worst: float = math.nan
) -> NDArray[np.float64]:
    """A copy whose last element is not finite."""
    copy = np.array(values)
    copy.flat[-1] = worst
    return copy


# ---------------------------------------------------------------- drawing inputs


@dataclass(frozen=True)
class Draw:
    """Inputs from drawn integers: short binary fractions, which shrink to 0, 1 and short lists."""

    integer: Callable[[int, int], int]  # both ends included
    nearest: int = NEAREST["f64"]

    def filled(self, one: Callable[[], Any], shape: tuple[int, ...]) -> Any:
        return (
            [self.filled(one, shape[1:]) for _ in range(shape[0])] if shape else one()
        )

    def numbers(self, *shape: int) -> Any:
        """Numbers from −3 to 3."""
        return self.filled(lambda: self.integer(-48, 48) / 16, shape)

    def positives(self, *shape: int) -> Any:
        """Positive numbers from about 1/4 to 4."""
        return self.filled(
            lambda: 2.0 ** self.integer(-2, 1) * (1 + self.integer(0, 16) / 16), shape
        )

    def booleans(self, *shape: int) -> Any:
        return self.filled(lambda: bool(self.integer(0, 1)), shape)

    def wholes(self, most: int, *shape: int) -> Any:
        return self.filled(lambda: self.integer(0, most), shape)

    def fraction(self) -> float:
        return self.integer(0, 16) / 16

    def rate(self) -> float | None:
        """A context tree's switching rate: up to ½, or None for its default."""
        return self.integer(0, 8) / 16 if self.integer(0, 1) else None

    def near(self, values: list[float], by: list[float]) -> list[float]:
        """The values, moved by at most `by`/2, and if moved, by at least `by`·2^-(4 + nearest)."""
        scale = 2.0 ** -self.integer(0, self.nearest)
        return [
            value + size * scale * self.integer(-8, 8) / 16
            for value, size in zip(values, by)
        ]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

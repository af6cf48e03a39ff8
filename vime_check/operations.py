"""Operations for cross-checking, and the registration of their parts.

An operation is a function with keyword inputs; other implementations offer it under the same name. Each operation is
defined in one module of `vime_check.cases`: the function, its 50-digit form, its known mistakes, its cases, and how to
draw inputs.

A mistake is a switch. It is registered at the place where code makes it: an operation, or a part that operations share.
An operation with a formula inherits the mistakes of the parts in it, and any mistakes can be switched on together.
"""

from __future__ import annotations

import functools
import inspect
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vime_check.errors import Error
from vime_check.wire import DTYPES, PROFILES, Inputs, Kinds

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
ENDS: Kinds = {"terminated": "flags", "truncated": "flags"}  # of episodes
NO_KINDS: Kinds = {}  # every input is an array of numbers
CONVENTION = "Refused by the reference's own convention"  # begins a case's comment

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

    @property
    def by(self) -> str:
        """The reason for the rejection: a law, or the reference's convention."""
        return "convention" if self.comment.startswith(CONVENTION) else "law"


class About(NamedTuple):
    """The facts that an implementer needs about an operation, besides its inputs' usual descriptions.

    `vime_check.specification` writes it into the specification.
    """

    formula: str = ""  # complete, in plain Unicode, a line for each step
    outputs: Mapping[str, tuple[str, str]] = {}  # by name: shape and unit
    rules: tuple[str, ...] = ()  # conventions, a sentence each
    inputs: Mapping[str, Mapping[str, str]] = {}  # what differs from the usual


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
    about: About = About()

    @property
    def names(self) -> list[str]:
        """The names of the operation's inputs."""
        return list(parameters_of(self.function))

    @property
    def mistakes(self) -> dict[str, tuple[Function, ...]]:
        """The functions with one mistake each, by its flag; a mistake may have variants."""
        found: dict[str, tuple[Function, ...]] = {}
        for switch in switches_of(self.name):
            function = composed(self.name, (switch,))
            found[switch.flag] = (*found.get(switch.flag, ()), function)
        return found


OPERATIONS: dict[str, Operation] = {}


class Switch(NamedTuple):
    """A mistake that can be switched on; variants of a flag exclude each other."""

    flag: str
    variant: str = ""
    needs: str = ""  # an input without which it can't occur
    at: str = ""  # where it is made, if the note does not say


@dataclass
class Place:
    """A function that mistakes can change: an operation, or a part of operations."""

    function: Function
    formula: Function | None = None  # of (part, **inputs); part(name) is a function
    parts: tuple[str, ...] = ()  # the places in the formula
    mistakes: dict[Switch, Function] = field(default_factory=dict)
    remembers: bool = False  # its results, because most mistakes leave them as they are
    like: tuple[str, ...] = ()  # operations that check it, if not itself alone


PLACES: dict[str, Place] = {}
REMEMBERED: dict[tuple[Any, ...], Any] = {}  # that places remember
MOST_REMEMBERED = 10_000


@functools.cache  # composing mistakes asks again and again
def parameters_of(function: Function) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


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
    like: tuple[str, ...] = (),
    **about: Any,
) -> None:
    """Register a function as the operation of the same name.

    measured: the largest errors of correct implementations, in float64 and in float32. They are those of both adapters
    in examples/, and of the reference compared with 50 digits. If all inputs are whole numbers, the torch adapter
    normally computes in float64; it was measured in float32.
    kinds: the kinds of the inputs that are not arrays of numbers; other names are ignored.
    like: operations that check it, if not itself alone.
    about: the fields of `About`.
    """
    name = function.__name__
    new = Operation(name, family, error, function, no_cases, measured, floor=floor)
    new = new._replace(about=About(**about))
    own = {key: kind for key, kind in (kinds or {}).items() if key in new.names}
    OPERATIONS[name] = new._replace(kinds=own)
    PLACES[name] = Place(function, like=like)


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


def part(
    function: Function, remembers: bool = False, like: tuple[str, ...] = ()
) -> Function:
    """Register a part of operations, which is no operation itself; `like` are operations that check it."""
    PLACES[function.__name__] = Place(function, remembers=remembers, like=like)
    return function


def formula(*names: str, parts: Sequence[str]) -> Callable[[Function], Function]:
    """Register f(part, **inputs) as the formula of these places, made of these parts."""

    def decorate(function: Function) -> Function:
        for name in names:
            PLACES[name].formula = function
            PLACES[name].parts = tuple(parts)
        return function

    return decorate


def mistake(
    flag: str, *names: str, variant: str = "", needs: str = "", at: str = ""
) -> Callable[[Function], Function]:
    """Register wrong(right, given) as a mistake at these places; right is the function without it.

    A variant is the same mistake written in another way. Variants of one name at several places are made together.
    needs: an input without which an operation can't have the mistake.
    at: where the mistake is made, which the report prints behind the note.
    """

    def decorate(wrong: Function) -> Function:
        for name in names:
            mistakes = PLACES[name].mistakes
            before = sum(switch.flag == flag for switch in mistakes)
            label = variant or (str(before) if before else "")
            mistakes[Switch(flag, label, needs, at)] = wrong
        return wrong

    return decorate


def called(wrong: Function, right: Function, **given: Any) -> Any:
    return wrong(right, given)


# ---------------------------------------------------------------- composing mistakes


def switches_of(name: str) -> list[Switch]:
    """The mistakes that can occur at a place: its own, and those of its parts."""
    place = PLACES[name]
    found = dict.fromkeys(place.mistakes)
    for each in place.parts:
        found |= dict.fromkeys(switches_of(each))

    # Only mistakes in inputs that an operation has.
    if name not in OPERATIONS:
        return list(found)
    return [each for each in found if each.needs in ("", *OPERATIONS[name].names)]


def composed(name: str, switches: Sequence[Switch]) -> Function:
    """The function of a place with these mistakes, made in this order."""
    place = PLACES[name]
    function = place.function

    # Mistakes in its parts; those that the place has itself are made there only.
    below = tuple(each for each in switches if each not in place.mistakes)
    inherited = {each for one in place.parts for each in switches_of(one)}
    if place.formula and inherited & set(below):
        function = partial(place.formula, partial(composed, switches=below))

    # Its own mistakes.
    for switch in switches:
        if switch in place.mistakes:
            function = partial(called, place.mistakes[switch], function)
    if place.remembers:
        made = tuple(each for each in switches if each in switches_of(name))
        return partial(remembered, (name, made), function)
    return function


def remembered(
    place: tuple[str, tuple[Switch, ...]], function: Function, **given: Any
) -> Any:
    """The result of a place with these mistakes, computed once for the same inputs."""
    key = *place, pickle.dumps(given)
    if key not in REMEMBERED:
        if len(REMEMBERED) >= MOST_REMEMBERED:
            REMEMBERED.clear()
        REMEMBERED[key] = function(**given)
    return REMEMBERED[key]


def orders_of(name: str, switches: tuple[Switch, ...]) -> Iterator[tuple[Switch, ...]]:
    """The orders of these mistakes that may give different functions: more than one if two are made at one place."""
    yield switches
    if any(len({*switches} & {*place.mistakes}) > 1 for place in places_of(name)):
        yield switches[::-1]


def places_of(name: str) -> Iterator[Place]:
    """A place, and those of its parts."""
    yield PLACES[name]
    for each in PLACES[name].parts:
        yield from places_of(each)


def parts_to_check(
    name: str, failed: Sequence[Inputs] = (), right: Sequence[Inputs] = ()
) -> list[str]:
    """The nearest operations that an operation is made of, with the same kind of noise.

    Of failed cases, the operations that these go through; without those of right cases, unless none is left.
    """
    local = "zeta" in OPERATIONS[name].names
    others = {"eps", "theta"} if local else {"zeta"}
    found = nearest_in(name, failed) if failed else dict.fromkeys(nearest_below(name))
    cleared = nearest_in(name, right)
    left = [each for each in found if each not in cleared]
    return [each for each in left or found if not others & {*OPERATIONS[each].names}]


def nearest_in(name: str, cases: Sequence[Inputs]) -> dict[str, None]:
    """The nearest operations below a place that its formula calls at these inputs."""
    called: set[str] = set()
    for given in cases:
        called |= places_called(name, given)
    return dict.fromkeys(nearest_below(name, called))


def nearest_below(name: str, called: set[str] | None = None) -> Iterator[str]:
    """The nearest operations below a place, with any noise; only of the places that are called, if these are given."""
    for each in PLACES[name].parts:
        if called is not None and each not in called:
            continue
        if PLACES[each].like:
            yield from PLACES[each].like
        elif each in OPERATIONS:
            yield each
        else:
            yield from nearest_below(each, called)


def places_called(name: str, given: Inputs) -> set[str]:
    """The places that the formula of an operation calls at these inputs, down to the nearest operations."""
    called: set[str] = set()

    def noted(name: str) -> Function:
        called.add(name)
        place = PLACES[name]
        if place.formula is None or name in OPERATIONS or place.like:
            return place.function
        return partial(place.formula, noted)

    by_parts = PLACES[name].formula
    if by_parts is not None:
        with np.errstate(all="ignore"):
            by_parts(noted, **given)
    return called


# ---------------------------------------------------------------- registering other parts of an operation


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
    known = {*(each.flag for each in switches_of(name)), "InputMutation"}
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
    comment = f"Must be rejected: {why}."
    inputs = arrays(base | changes)
    return Case(probe, comment, inputs, why=why, needs=frozenset(changes))


def by_convention(case: Case) -> Case:
    """A case that other implementations may accept for good reasons."""
    return case._replace(comment=f"{CONVENTION}, which is no law: {case.why}.")


def arrays(inputs: Inputs) -> Inputs:
    """The inputs with tuples turned into arrays."""
    return {
        name: np.array(value) if isinstance(value, tuple) else value
        for name, value in inputs.items()
    }


def profiles_of(inputs: Inputs) -> list[str]:
    """The common restrictions that these inputs satisfy, of PROFILES."""
    prior = inputs.get("prior_mu", np.zeros(1)), inputs.get("prior_rho", np.zeros(1))
    noise: Any = inputs.get("eps", inputs.get("zeta", inputs.get("theta", [()])))
    satisfied = {
        "zero-mean-prior": not np.any(prior[0]) and np.ptp(prior[1]) == 0.0,
        "one-sigma": np.ndim(inputs.get("likelihood_sigma", 1.0)) == 0,
        "one-hidden-layer": len(inputs.get("layer_sizes", (1, 1, 1))) == 3,
        "one-sample": len(noise[0] if isinstance(noise, list) else noise) <= 1,
    }
    return [name for name in PROFILES if satisfied[name]]


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

"""Call every public function with bad arguments, one at a time, and count how it answers.

    python tests/illegal_calls.py                      a table per module
    python tests/illegal_calls.py --list               and every call that is not fine
    python tests/illegal_calls.py --only agents_ref    one module, class or function

`illegal_arguments.py` holds a valid value for each argument, what is illegal in its place, and its other forms.
A call with an illegal value must raise ValueError, and the message must name the argument.
A call with the same value in another form must give the same numbers, or raise in this way.
A function without a valid value for one of its arguments stops the script, so a new function needs an entry there.
"""

import argparse
import dataclasses
import importlib
import inspect
import re
import sys
import typing
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium
import numpy as np

# Before tests/, whose folders have the packages' names.
sys.path.insert(0, str(Path(__file__).parent.parent))

import illegal_arguments
from illegal_arguments import MODULES, Given

SAME = 1e-12  # relative difference of two sums in another order

BY_NAME, NO_NAME, OTHER = "rejected by name", "rejected, no name", "other error"
ACCEPTED, NOT_FINITE = "accepted", "NaN"
EQUAL, DIFFERENT = "equal", "different"
ILLEGAL = (BY_NAME, NO_NAME, OTHER, ACCEPTED, NOT_FINITE)
FORMS = (EQUAL, BY_NAME, DIFFERENT, NO_NAME, OTHER)

# ------------------------------------------------------------ what is public


def public_names(module: ModuleType) -> list[str]:
    """The names in `__all__`, or all with a docstring, except argument checks."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__
        and value.__doc__
        and not re.match(r"_|check", name)
    ]


def is_function_class(value: Any) -> bool:
    """Whether calling the class runs code of this project, unlike a NamedTuple's or a Protocol's."""
    return (
        inspect.isclass(value)
        and not issubclass(value, (tuple, dict, Exception))
        and not getattr(value, "_is_protocol", False)
    )


def public_methods(cls: type) -> list[str]:
    """The methods that the project itself defines for the class."""
    wanted = illegal_arguments.METHODS_OF_TASKS
    own = [c for c in cls.__mro__ if c.__module__.split(".")[0] in PACKAGES]
    names = dict.fromkeys(name for c in own for name in vars(c))
    fields = getattr(cls, "__dataclass_fields__", {})  # functions among them
    return [
        name
        for name in names
        if inspect.isfunction(getattr(cls, name))
        and name not in fields
        and (not name.startswith("_") or name == "__call__")
        and name.isascii()  # mutants' names are not
        and (not issubclass(cls, gymnasium.Env) or name in wanted)
    ]


PACKAGES = {name.split(".")[0] for name in MODULES}


class Target(NamedTuple):
    """A public function, constructor or method."""

    name: str
    function: Callable[..., Any]
    owner: str | None = None  # the class of a method


def targets_of(module_name: str) -> Iterator[Target]:
    """All public calls of a module."""
    module = importlib.import_module(module_name)
    for name in public_names(module):
        value = getattr(module, name)
        full = f"{module_name}.{name}"
        if full in illegal_arguments.LEFT_OUT:
            continue
        if inspect.isfunction(value):
            yield Target(full, value)
        if not is_function_class(value):
            continue
        if value.__init__ is not object.__init__:
            yield Target(full, value)
        for method in public_methods(value):
            if f"{full}.{method}" not in illegal_arguments.LEFT_OUT:
                yield Target(f"{full}.{method}", getattr(value, method), full)


# ------------------------------------------------------------ a valid call


def parameters_of(target: Target) -> list[str]:
    """The names of a function's arguments, those of its `**settings` included."""
    parameters = inspect.signature(target.function).parameters
    names = [
        name
        for name, each in parameters.items()
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL) and name != "self"
    ]
    for name, each in parameters.items():
        if each.kind == each.VAR_KEYWORD:
            names += keywords_of(target.function, name)
    return names


def keywords_of(function: Callable[..., Any], name: str) -> list[str]:
    """The keywords of `**name: Unpack[...]`; none of `**name: Any`."""
    hint = re.match(r"Unpack\[(\w+)\]", str(function.__annotations__.get(name)))
    if hint is None:
        return []
    settings = getattr(importlib.import_module(function.__module__), hint[1])
    return list(typing.get_type_hints(settings))


def given_of(target: Target, parameter: str) -> Given:
    """The valid value of an argument, and what is illegal in its place."""
    parts = target.name.split(".")
    places = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    for place in (*places, ""):
        found = illegal_arguments.TABLE.get(place, {})
        if parameter in found:
            return found[parameter]
    raise LookupError(f"{target.name}: illegal_arguments.py has no {parameter!r}")


def call(target: Target, arguments: Mapping[str, Any]) -> list[Any]:
    """The numbers that a call returns, one after another."""
    if target.owner is None:
        return list(flat(target.function(**arguments)))
    return list(flat(target.function(instance_of(target.owner), **arguments)))


def instance_of(owner: str) -> Any:
    """A new instance of a class."""
    module, _, name = owner.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    if owner in illegal_arguments.INSTANCES:
        return illegal_arguments.INSTANCES[owner]()
    target = Target(owner, cls)
    instance = cls(
        **{each: given_of(target, each).make() for each in parameters_of(target)}
    )
    if isinstance(instance, gymnasium.Env):
        instance.reset(seed=0)
    return instance


def flat(value: Any) -> Iterator[Any]:
    """The arrays, numbers and texts in a result."""
    if isinstance(value, (np.ndarray, np.generic, int, float)):
        yield np.asarray(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            yield from flat(getattr(value, each.name))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from flat(key)
            yield from flat(each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from flat(each)
    elif isinstance(value, Iterator):
        for each in islice(value, 5):
            yield from flat(each)
    else:
        yield value if isinstance(value, str) else type(value).__name__


# ------------------------------------------------------------ outcomes


class Outcome(NamedTuple):
    """How a function answered one call."""

    module: str
    name: str
    parameter: str
    label: str  # what stood in the argument's place
    kind: str
    detail: str = ""

    @property
    def fine(self) -> bool:
        return self.kind in (BY_NAME, EQUAL)

    def __str__(self) -> str:
        place = f"{self.name}({self.parameter}={self.label})"
        return f"{self.kind:18} {place}: {self.detail}"


def answer(target: Target, arguments: Mapping[str, Any]) -> tuple[Any, str]:
    """What a call returns or raises, and the warnings that it gives."""
    warned = np.errstate(over="warn", invalid="warn", divide="warn", under="ignore")
    with warnings.catch_warnings(record=True) as heard, warned:
        warnings.simplefilter("always")
        try:
            result: Any = call(target, arguments)
        except Exception as error:
            result = error
    return result, "; ".join(str(each.message) for each in heard)


def rejection(error: Exception, names: Iterable[str]) -> tuple[str, str]:
    """The kind of an error, and its text."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    if not isinstance(error, ValueError):
        return OTHER, text
    named = any(re.search(rf"\b{re.escape(name)}\b", str(error)) for name in names)
    return (BY_NAME if named else NO_NAME), text


def finite(result: list[Any]) -> bool:
    """Whether no number of a result is infinite or NaN."""
    numbers = [each for each in result if isinstance(each, np.ndarray)]
    return all(
        np.isfinite(each).all() for each in numbers if each.dtype.kind in "fciub"
    )


def same(one: list[Any], other: list[Any]) -> bool:
    """Whether two results hold the same numbers, to rounding."""
    if len(one) != len(other):
        return False
    for x, y in zip(one, other):
        if isinstance(x, str) or isinstance(y, str):
            if x != y:
                return False
        elif np.shape(x) != np.shape(y):
            return False
        elif x.dtype.kind not in "fciub" or y.dtype.kind not in "fciub":
            if not np.array_equal(x, y):
                return False
        elif not np.allclose(x, y, rtol=SAME, atol=SAME, equal_nan=True):
            return False
    return True


def names_of(parameter: str, label: str) -> set[str]:
    """The names that a message may use: the argument's, or that of its field."""
    others = illegal_arguments.ALSO_NAMED.get(parameter, set())
    return {parameter, label.rpartition(".")[0], *others} - {""}


def identical(one: list[Any], other: list[Any]) -> bool:
    """Whether two values hold the same numbers, bit for bit."""
    pairs = zip(one, other)
    return len(one) == len(other) and all(np.array_equal(x, y) for x, y in pairs)


def of_illegal(
    target: Target, valid: Mapping[str, Any], parameter: str
) -> Iterator[Outcome]:
    """The answers to each illegal value of an argument."""
    module = module_of(target)
    for label, value in given_of(target, parameter).illegal():
        names = names_of(parameter, label)

        # Arguments or fields that do not fit each other: the message may name either.
        if "shape:" in label:
            names |= {*valid, *getattr(value, "_fields", ())}
        result, heard = answer(target, {**fresh(target, valid), parameter: value})
        if isinstance(result, Exception):
            kind, detail = rejection(result, names)
        elif finite(result):
            kind, detail = ACCEPTED, f"{shown(result)} {heard}"
        else:
            kind, detail = NOT_FINITE, f"{shown(result)} {heard}"
        yield Outcome(module, target.name, parameter, label, kind, detail)


def of_forms(
    target: Target, valid: Mapping[str, Any], parameter: str, base: list[Any]
) -> Iterator[Outcome]:
    """The answers to an argument's value in other forms; `base` is the valid call's."""
    module = module_of(target)
    value = list(flat(given_of(target, parameter).make()))
    for label, plain, form in given_of(target, parameter).forms():
        right: Any = base
        if not identical(list(flat(plain)), value):
            right, wrong = answer(target, {**fresh(target, valid), parameter: plain})
            if isinstance(right, Exception) or wrong:
                continue  # a rounded value that is not valid here
        result, heard = answer(target, {**fresh(target, valid), parameter: form})
        if isinstance(result, Exception):
            kind, detail = rejection(result, names_of(parameter, label))
        elif same(result, right) and not heard:
            kind, detail = EQUAL, ""
        else:
            kind = DIFFERENT
            detail = f"{shown(result)}, not {shown(right)} {heard}"
        yield Outcome(module, target.name, parameter, label, kind, detail)


def shown(result: list[Any]) -> str:
    """A short text of a result."""
    text = " ".join(str(each) for each in result[:3])
    return re.sub(r"\s+", " ", text)[:80]


def fresh(target: Target, valid: Mapping[str, Any]) -> dict[str, Any]:
    """New valid arguments, since a call may use up a generator."""
    return {name: given_of(target, name).make() for name in valid}


def module_of(target: Target) -> str:
    """The name of a function's module."""
    depth = 2 if target.owner else 1
    return target.name.rsplit(".", depth)[0]


# ------------------------------------------------------------ all calls


def outcomes(only: str = "") -> Iterator[Outcome]:
    """The answers of all public functions whose name begins with `only`."""
    for module_name in MODULES:
        for target in targets_of(module_name):
            if target.name.startswith(only):
                yield from outcomes_of(target)


def outcomes_of(target: Target) -> Iterator[Outcome]:
    """The answers of one function, after a check of the valid call."""
    names = parameters_of(target)
    valid = {name: given_of(target, name).make() for name in names}
    result, heard = answer(target, valid)
    if isinstance(result, Exception) or heard:
        raise AssertionError(f"{target.name}: {result} {heard}") from (
            result if isinstance(result, Exception) else None
        )
    for name in names:
        yield from of_illegal(target, dict.fromkeys(names), name)
        yield from of_forms(target, dict.fromkeys(names), name, result)


def is_form(outcome: Outcome) -> bool:
    """Whether a call gave a valid value in another form."""
    return outcome.label.startswith("as ") or ".as " in outcome.label


def table(found: Sequence[Outcome]) -> str:
    """Counts per module: illegal calls, then other forms."""
    lines = []
    for title, kinds, wanted in (
        ("illegal calls", ILLEGAL, False),
        ("other forms", FORMS, True),
    ):
        lines += [f"| {title} | calls | {' | '.join(kinds)} |"]
        lines += ["|" + " --- |" * (len(kinds) + 2)]
        chosen = [each for each in found if is_form(each) == wanted]
        modules = list(dict.fromkeys(each.module for each in chosen))
        for module in (*modules, "all"):
            mine = [each for each in chosen if module in (each.module, "all")]
            counts = Counter(each.kind for each in mine)
            cells = [f"{counts[kind]}" for kind in kinds]
            cells[0] += f" ({counts[kinds[0]] / max(1, len(mine)):.1%})"
            lines.append(f"| {module} | {len(mine)} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and, with --list, every call that is not fine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="every call not fine")
    parser.add_argument("--only", default="", help="beginning of a name")
    chosen = parser.parse_args(arguments)
    found = list(outcomes(chosen.only))
    if chosen.list:
        print(*(each for each in found if not each.fine), sep="\n")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

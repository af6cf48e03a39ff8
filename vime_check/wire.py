"""Encoding and decoding of values: JSON in files and messages, NumPy arrays everywhere else.

An input is an array of numbers unless its operation declares another kind. `vime_check.prove` writes these
declarations to `inputs.json`, so that decoding needs neither the operations nor the reference.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# ---------------------------------------------------------------- constants

PACKAGE = "vime-ref"
VECTORS = Path(__file__).parent / "vectors"
INPUTS = Path(__file__).parent / "inputs.json"
# The edition of the vectors; docs/operations.md says which change raises which number.
SCHEMA = 2  # of the files' format
VECTORS_VERSION = "2.2.1"
VECTORS_DATE = "2026-11-27"
# JSON files beside the vectors that hold no cases.
NO_VECTORS = ("schema.json", "operations.json", "manifest.json")
# Restrictions that implementations often have; a case names the ones that its inputs satisfy.
PROFILES = ("zero-mean-prior", "one-sigma", "one-hidden-layer", "one-sample")
DTYPES: dict[str, type[np.floating[Any]]] = {"f64": np.float64, "f32": np.float32}
SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # not in JSON

# ---------------------------------------------------------------- types

# Whole numbers in every precision, bytes, flags (each if the values allow it), or a list of arrays.
Kind = Literal["wholes", "bytes", "flags", "arrays"]
Kinds = dict[str, Kind]  # by the name of the input
Inputs = dict[str, Any]
Arrays = dict[str, NDArray[np.float64]]  # by name; one without a name has the name ""


class UsageError(ValueError):
    """An argument or a file that it names is invalid; the message is one line."""


# ---------------------------------------------------------------- to JSON


def encode(value: Any) -> Any:
    """The value in JSON types: arrays as nested lists, non-finite numbers as strings."""
    if isinstance(value, Mapping):
        return {str(name): encode(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        finite = value.dtype.kind != "f" or np.isfinite(value).all()
        return value.tolist() if finite else encode(value.tolist())
    if isinstance(value, list | tuple):
        return [encode(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def encode_result(result: Any) -> Any:
    """An implementation's result in JSON types: a number, nested lists, or a dict of these.

    Raises TypeError unless the result is an array, a number or a dict of these.
    """
    if isinstance(result, Mapping):
        return {
            str(name): encode(plain_numbers(values)) for name, values in result.items()
        }
    if isinstance(result, tuple):
        raise TypeError(
            "result must be an array, a number or a dict of arrays by name, got a tuple"
        )
    return encode(plain_numbers(result))


def plain_numbers(values: Any) -> NDArray[np.float64]:
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"result must be numbers, got {type(values).__name__} of {array.dtype}"
        )
    return array.astype(float)


# ---------------------------------------------------------------- inputs from JSON


@functools.cache
def declared_kinds() -> dict[str, Kinds]:
    """For each operation, the inputs that are not arrays of numbers."""
    kinds: dict[str, Kinds] = json.loads(INPUTS.read_text("utf-8"))
    return kinds


def decode_inputs(inputs: Inputs, kinds: Kinds, dtype: str) -> Inputs:
    """Inputs decoded for a Python implementation: arrays, lists of arrays, plain scalars."""
    return {
        name: decode_input(value, kinds.get(name, ""), dtype)
        for name, value in inputs.items()
    }


def decode_input(value: Any, kind: Kind | Literal[""], dtype: str) -> Any:
    if not isinstance(value, list):
        return SPECIAL.get(value, value) if isinstance(value, str) else value
    if kind == "arrays":
        return [to_array(part, dtype) for part in value]
    array = to_array(value, "f64" if kind == "wholes" else dtype)
    return OF_KIND[kind](array) if kind else array


def to_array(value: Any, dtype: str) -> NDArray[Any]:
    """The array of an input: flags as booleans, numbers in the precision of the dtype."""
    array = np.array(value)
    if array.dtype == bool:
        return array
    if array.dtype.kind == "U":  # some may be strings of SPECIAL
        array = np.array(value, dtype=float)
    with np.errstate(over="ignore"):
        return array.astype(DTYPES[dtype])


def as_wholes(array: NDArray[Any]) -> NDArray[Any]:
    whole = (array == np.floor(array)) & (np.abs(array) < 2**53)
    return array.astype(int) if np.all(whole) else array


def as_bytes(array: NDArray[Any]) -> NDArray[Any]:
    fits = (array >= 0) & (array <= 255) & (array == np.floor(array))
    return array.astype(np.uint8) if np.all(fits) else array


def as_flags(array: NDArray[Any]) -> NDArray[Any]:
    """The array; an empty one as booleans, because no values show what they are."""
    return array if array.size else array.astype(bool)


OF_KIND: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "wholes": as_wholes,
    "bytes": as_bytes,
    "flags": as_flags,
}

# ---------------------------------------------------------------- outputs from JSON


def decode_outputs(result: Any) -> Arrays:
    """A result as arrays by name, with flags as 0 and 1.

    Raises ValueError if it holds anything except numbers and flags.
    """
    named = result if isinstance(result, dict) else {"": result}
    return {name: decode_output(value) for name, value in named.items()}


def decode_output(value: Any) -> NDArray[np.float64]:
    try:
        check_numbers(value)
        return np.array(value, dtype=float)  # also reads the strings of SPECIAL
    except (RecursionError, OverflowError):
        raise ValueError("not an array of numbers") from None
    except ValueError as error:
        raise ValueError(shown(f"not an array of numbers: {error}")) from None


def check_numbers(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            check_numbers(each)
    elif value not in SPECIAL if isinstance(value, str) else not is_result(value):
        raise ValueError(f"result must hold numbers, got {json.dumps(value)}")


def is_result(value: Any) -> bool:
    """Whether a result may hold the value: True and False count as 1 and 0."""
    return isinstance(value, bool) or is_number(value)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---------------------------------------------------------------- text


def package_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown (not installed)"


def shown(value: Any, limit: int = 300) -> str:
    """A program's text as one line that is safe to print."""
    text = str(value)[: 2 * limit]
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
    return line if len(line) <= limit else line[:limit] + "..."


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

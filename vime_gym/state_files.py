"""The state of a bonus in a file: arrays and JSON, no pickle.

A state is a tree of dataclasses, NamedTuples, tuples, lists, dicts, arrays and numbers.
`save_state` writes it as .npz: its arrays, and the tree as JSON. `load_state` reads it
into a state of the same classes, so a file can neither name a class nor run code.
`save_state` tries this first, so every file that it writes can be loaded.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Space
from numpy.random import Generator

STATE_FORMAT = "vime-ref curiosity 2"
PLAIN = (bool, int, float, str, type(None))
# What a wrong file raises; OSError, if it can't be read, is raised as it is.
WRONG_FILE = (
    AttributeError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)

# ---------------------------------------------------------------- writing


def save_state(path: str | os.PathLike[str], state: Any, like: Any = None) -> None:
    """Replace the file atomically.

    like: the state that `load_state` will be given; if None, the same one.
    Raises ValueError, naming the part, if it could not load this one.
    """
    target = file_path(path)
    arrays: dict[str, Any] = {}
    tree = json_tree("state", state, arrays)
    text = json.dumps({"format": STATE_FORMAT, "state": tree})
    check_loads(text, state if like is None else like, arrays)
    content = io.BytesIO()
    np.savez(content, json=np.frombuffer(text.encode(), np.uint8), **arrays)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content.getvalue())
    os.replace(temporary, target)


def json_tree(name: str, value: Any, arrays: dict[str, Any]) -> Any:
    """The value in JSON types; its arrays are added to `arrays`."""
    if type(value) in PLAIN:
        return {"value": value}
    if type(value) is np.ndarray:
        return {"array": added(name, value, arrays)}
    if isinstance(value, np.generic):
        return {"scalar": added(name, np.asarray(value), arrays)}
    if isinstance(value, Generator):
        return {"generator": generator_state(value)}
    if isinstance(value, Space):
        return {"same": str(value)}
    if (parts := fields_of(value)) is not None:
        return {
            "class": type(value).__name__,
            "parts": {
                key: json_tree(f"{name}.{key}", each, arrays)
                for key, each in parts.items()
            },
        }
    if type(value) in (list, tuple):
        return {type(value).__name__: items_tree(name, value, arrays)}
    if type(value) is dict:
        places = [f"{name}[{key!r}]" for key in value]
        pairs = zip(places, value.items())
        return {"dict": [items_tree(place, pair, arrays) for place, pair in pairs]}
    if callable(value) and hasattr(value, "__qualname__"):
        return {"same": function_name(value)}
    got = type(value).__name__
    kinds = "a dataclass, a NamedTuple, an array, a number"
    wanted = f"{kinds}, or a list, tuple or dict of these"
    raise ValueError(f"{name} must be {wanted} to be saved, got {got}")


def items_tree(name: str, items: Sequence[Any], arrays: dict[str, Any]) -> list[Any]:
    """The items in JSON types."""
    return [json_tree(f"{name}[{i}]", each, arrays) for i, each in enumerate(items)]


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass or a NamedTuple."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in fields(value) if each.init]
        return {name: getattr(value, name) for name in names}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value))
    return None


def added(name: str, array: Any, arrays: dict[str, Any]) -> str:
    """The name under which the array is kept."""
    if array.dtype.kind not in "biufcSU":
        raise ValueError(f"{name} must hold numbers to be saved, got {array.dtype}")
    key = f"array_{len(arrays)}"
    arrays[key] = array
    return key


def generator_state(rng: Generator) -> Any:
    """The state of the generator in JSON types; arrays become lists."""
    return json.loads(json.dumps(rng.bit_generator.state, default=np.ndarray.tolist))


def function_name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


# ---------------------------------------------------------------- reading


def load_state(path: str | os.PathLike[str], like: Any) -> Any:
    """The state in the file. `like` is a state of the same classes and functions.

    Raises ValueError if the file holds another state.
    """
    source = file_path(path)
    try:
        with np.load(io.BytesIO(source.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        content = json.loads(arrays.pop("json").tobytes())
        check_same("format", STATE_FORMAT, content["format"])
        return rebuilt("state", content["state"], like, arrays)
    except WRONG_FILE as error:
        wanted = "a state of this environment and bonus"
        raise ValueError(f"path must hold {wanted}, got {source}: {error}") from error


def rebuilt(name: str, tree: Any, like: Any, arrays: Mapping[str, Any]) -> Any:
    """The value that the tree describes; classes and functions are those of `like`."""
    ((kind, content), *rest) = tree.items()
    if kind == "value":
        return content
    if kind == "array":
        return arrays[content]
    if kind == "scalar":
        return arrays[content][()]
    if kind == "generator":
        return generator_like(name, like, content)
    if kind == "same":
        own = function_name(like) if hasattr(like, "__qualname__") else str(like)
        check_same(name, own, content)
        return like
    if kind == "dict":
        return rebuilt_dict(name, content, like, arrays)
    if kind == "list":
        return rebuilt_items(name, content, like, arrays)
    if kind == "tuple":
        return tuple(rebuilt_items(name, content, like, arrays))
    return rebuilt_parts(name, content, dict(rest)["parts"], like, arrays)


def rebuilt_dict(name: str, pairs: Any, like: Any, arrays: Mapping[str, Any]) -> Any:
    """A dict; what stands under a key is like what stands there in `like`."""
    likes = like if isinstance(like, dict) else {}
    values = {}
    for key_tree, tree in pairs:
        key = rebuilt(f"a key of {name}", key_tree, None, arrays)
        values[key] = rebuilt(f"{name}[{key!r}]", tree, likes.get(key), arrays)
    return values


def rebuilt_items(name: str, trees: Any, like: Any, arrays: Mapping[str, Any]) -> Any:
    """The items of a list or tuple; each is like its own in `like`, if as many."""
    known = isinstance(like, list | tuple) and len(like) == len(trees)
    likes = like if known else [None] * len(trees)
    places = [f"{name}[{i}]" for i in range(len(trees))]
    return [rebuilt(*each, arrays) for each in zip(places, trees, likes)]


def rebuilt_parts(
    name: str, kind: str, parts: Any, like: Any, arrays: Mapping[str, Any]
) -> Any:
    """A dataclass or NamedTuple of the class of `like`."""
    check_same(name, type(like).__name__, kind)
    own = fields_of(like) or {}
    check_same(f"fields of {name}", sorted(own), sorted(parts))
    values = {
        key: rebuilt(f"{name}.{key}", each, own[key], arrays)
        for key, each in parts.items()
    }
    if isinstance(like, tuple):
        return type(like)(**values)
    return replace(like, **values)


def generator_like(name: str, like: Any, state: Any) -> Generator:
    """A new generator of the same kind in this state."""
    check_same(name, type(like).__name__, Generator.__name__)
    new: Generator = deepcopy(like)
    new.bit_generator.state = state
    return new


# ---------------------------------------------------------------- argument checks


def check_same(name: str, own: Any, found: Any) -> None:
    if own != found:
        raise ValueError(f"{name} must be {own} as here, got {found}")


def check_loads(text: str, like: Any, arrays: Mapping[str, Any]) -> None:
    """Raise ValueError unless the state in the JSON can be loaded."""
    try:
        rebuilt("state", json.loads(text)["state"], like, arrays)
    except WRONG_FILE as error:
        wanted = "state must fit into a fresh one to be saved"
        raise ValueError(f"{wanted}, but {error}") from error


def file_path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise ValueError(f"path must be the path of a file, got {path!r}")
    return Path(path)


# ---------------------------------------------------------------- what `help` shows

__all__ = ["save_state", "load_state"]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""A Python implementation, served in its own process: it answers lines of JSON on stdin."""

from __future__ import annotations

import copy
import importlib
import json
import operator
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from vime_check.wire import (
    Inputs,
    Kinds,
    UsageError,
    declared_kinds,
    decode_inputs,
    encode_result,
    shown,
)

# ---------------------------------------------------------------- types

Answer = dict[str, Any]  # a line of the protocol

# ---------------------------------------------------------------- an answer


def load(impl: str) -> Any:
    """The module or object named by "module" or "module:object". Raises UsageError if it does not exist."""
    module, _, path = impl.partition(":")
    # Only now, after the protocol's own imports, so that no file there shadows one of them.
    sys.path.insert(0, os.getcwd())
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module exists, but one of its imports does not
        raise UsageError(not_an_impl(impl, error)) from error
    try:
        return operator.attrgetter(path)(loaded) if path else loaded
    except AttributeError as error:
        raise UsageError(not_an_impl(impl, error)) from error


def not_an_impl(impl: str, error: Exception | None = None) -> str:
    message = f"impl: IMPL must be a module or module:object, got {impl!r}"
    return shown(f"{message}: {error}" if error else message)


class Served:
    """A Python implementation, with the traces that it runs: objects with `reset` and `step`, by name."""

    def __init__(self, implementation: Any, dtype: str) -> None:
        self.implementation = implementation
        self.dtype = dtype
        self.traces: dict[str, Any] = {}

    def respond(self, cmd: str, operation: str, inputs: Inputs) -> Answer:
        """The answer to a case, or to a line of a trace."""
        function = getattr(self.implementation, operation, None)
        if not callable(function):
            return {"skipped": f"no {operation}"}
        if cmd == "reset":
            function = partial(self.reset, operation, function)
        elif cmd == "step":
            function = partial(self.step, operation)
        kinds = declared_kinds().get(operation, {})
        return answer_of(function, inputs, kinds, self.dtype)

    def reset(self, name: str, make: Callable[[], Any], **given: Any) -> Inputs:
        """Begin a trace; the object that ran it before is dropped."""
        self.traces[name] = make()
        self.traces[name].reset(**given)
        return {}

    def step(self, name: str, **given: Any) -> Any:
        return self.traces[name].step(**given)


def respond(implementation: Any, operation: str, inputs: Inputs, dtype: str) -> Answer:
    """The implementation's answer to a case."""
    return Served(implementation, dtype).respond("run", operation, inputs)


def answer_of(
    function: Callable[..., Any], inputs: Inputs, kinds: Kinds, dtype: str
) -> Answer:
    """The function's answer, with the names of the inputs that the call changed."""
    arguments = decode_inputs(inputs, kinds, dtype)
    before = copy.deepcopy(arguments)
    answer = call(function, arguments)
    changed = [
        name for name, value in before.items() if not identical(value, arguments[name])
    ]
    return {**answer, "mutated": changed} if changed else answer


def call(function: Callable[..., Any], arguments: dict[str, Any]) -> Answer:
    try:
        result = function(**arguments)
    except NotImplementedError as error:
        return {"skipped": str(error) or "not implemented"}
    except ValueError as error:
        return {"refused": str(error)}
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    try:
        return {"result": encode_result(result)}
    except Exception as error:
        return {"unusable": str(error)}


def identical(before: Any, after: Any) -> bool:
    if isinstance(before, list):
        return len(before) == len(after) and all(map(identical, before, after))
    if isinstance(before, np.ndarray):
        kept: bool = before.shape == after.shape and before.dtype == after.dtype
        return kept and before.tobytes() == after.tobytes()
    return True


def serve(impl: str) -> None:
    """Answer lines of JSON on stdin for a Python implementation, until told to stop."""
    questions, answers = take_streams()
    served = Served(None, "f64")
    for line in questions:
        question = json.loads(line)
        if question["cmd"] == "stop":
            return

        # Any exception is an answer.
        try:
            if question["cmd"] == "start":
                served = Served(load(impl), question["dtype"])
                answer: Answer = {"ok": True, "implementation": impl, "version": 2}
            else:
                answer = served.respond(
                    question["cmd"], question["operation"], question["inputs"]
                )
        except UsageError as error:
            answer = {"ok": False, "usage": str(error)}
        except (Exception, SystemExit) as error:
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}

        answers.write(json.dumps({"seq": question["seq"], **answer}).encode() + b"\n")
        answers.flush()


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Reserve stdin and stdout for the protocol: other reads find nothing, other prints go to stderr."""
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return questions, answers


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Implementations under test, small vector files and the project's own, for the tests of the cross-check kit."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vime_check import wire
from vime_check.cases import OPERATIONS, PROVED
from vime_check.operations import Draw, Operation
from vime_check.report import Report
from vime_check.wire import NO_VECTORS, VECTORS
from vime_lab import command_line as experiments

ROOT = Path(__file__).parent.parent

KL = {"mu": [0.0], "rho": [0.0], "delta_mu": [1.0], "delta_rho": [0.0]}

HALF = {
    "what": "the ½ of the Taylor form is left out.",
    "effect": "twice the gain",
    "seen_in": "openai/vime",
}


def case(
    operation: str, name: str, inputs: dict[str, Any], **rest: Any
) -> dict[str, Any]:
    """A valid case with the reference's output, or an invalid one if `why` is given."""
    kind: dict[str, Any] = {"result": "invalid"}
    if "why" not in rest:
        kinds = OPERATIONS[operation].kinds
        given = wire.decode_inputs(inputs, kinds, "f64")
        output = wire.encode_result(OPERATIONS[operation].function(**given))
        kind = {"result": "valid", "output": output, "wrong": {}}
    head = {
        "id": f"{operation}/{name}",
        "operation": operation,
        "comment": "",
        "flags": [],
        "dtypes": ["f64", "f32"],
    }
    return {**head, "inputs": inputs, **kind, **rest}


CASES = [
    case("softplus", "zero", {"rho": [0.0]}),
    case("softplus", "two", {"rho": [1.0, -1.0]}),
    case("softplus", "nan", {"rho": ["NaN"]}, why="rho must be finite"),
    case(
        "kl_taylor", "half", KL, wrong={"MissingHalf": {"output": 2.0813689810056077}}
    ),
    case(
        "kl_taylor",
        "shape",
        {**KL, "delta_mu": [1.0, 1.0]},
        why="delta_mu must be as long as mu",
    ),
    case("kl_hessian_diag", "zero", {"mu": [0.0], "rho": [0.0]}),
    case("curious_rewards", "one", {"rewards": [1.0], "gains": [2.0], "eta": 0.5}),
    case(
        "curious_rewards",
        "eta",
        {"rewards": [1.0], "gains": [2.0], "eta": "Infinity"},
        why="eta must be finite",
    ),
]

NUMBER_OF = Counter(each["operation"] for each in CASES)


def write_vectors(folder: Path, cases: list[dict[str, Any]]) -> Path:
    """A vector file with these cases, in the folder."""
    operations = {each["operation"] for each in cases}
    tolerances = {
        name: {"f64": {"tolerance": 1e-14}, "f32": {"tolerance": 1e-6}}
        for name in operations
    }
    content = {
        "schema": 1,
        "family": "small",
        "notes": {"MissingHalf": HALF},
        "tolerances": tolerances,
    }
    content |= {"error": dict.fromkeys(operations, "elementwise"), "cases": cases}
    folder.mkdir(exist_ok=True)
    (folder / "small.json").write_text(json.dumps(content))
    return folder


HONEST = """
import numpy as np
def softplus(rho):
    if not np.isfinite(rho).all():
        raise ValueError("rho")
    return np.logaddexp(rho.dtype.type(0), rho)
def kl_taylor(mu, rho, delta_mu, delta_rho):
    if mu.shape != delta_mu.shape:
        raise ValueError("delta_mu")
    h = kl_hessian_diag(mu, rho)
    return np.sum(h["h_mu"] * delta_mu**2 + h["h_rho"] * delta_rho**2) / 2
def kl_hessian_diag(mu, rho):
    sigma = np.logaddexp(rho.dtype.type(0), rho)
    return {"h_mu": sigma**-2, "h_rho": 2 * (1 / (1 + np.exp(-rho)) / sigma) ** 2}
def curious_rewards(rewards, gains, eta):
    if not np.isfinite(eta):
        raise ValueError("eta")
    return rewards + eta * gains
"""


def module(change: str = "", name: str = "mine") -> str:
    """The name of a module in the current folder: the correct one with a change appended."""
    Path(f"{name}.py").write_text(HONEST + change)
    return name


def statuses(report: Report, operation: str = "") -> dict[str, int]:
    return dict(
        Counter(
            each.status
            for each in report.outcomes
            if each.operation.startswith(operation)
        )
    )


GOOD = {"exact": 5, "rejected": 3}


def assert_rest_is_good(report: Report, operation: str = "softplus") -> None:
    """Assert that all cases of the other operations are exact or rejected."""
    rest = [each.status for each in report.outcomes if each.operation != operation]
    assert len(rest) == len(CASES) - NUMBER_OF[operation]
    assert set(rest) <= {"exact", "rejected"}, report


def alive(pid: int) -> bool:
    """Whether the process still runs after a moment to exit; a zombie does not."""
    for _ in range(100):
        try:
            state = subprocess.run(
                ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
            ).stdout.strip()
        except FileNotFoundError:
            os.kill(pid, 0)
            state = "?"
        if not state or state.startswith("Z"):
            return False
        time.sleep(0.02)
    return True


PROGRAM = """
import json, os, sys, time
def say(**answer): print(json.dumps(answer), flush=True)
for line in sys.stdin:
    q = json.loads(line)
    if q["cmd"] == "start": say(seq=q["seq"], ok=True, implementation="p")
    elif q["cmd"] == "run" and q["operation"] != "softplus": say(seq=q["seq"], skipped="no")
    elif q["cmd"] == "run":
        {body}
"""


def program(body: str) -> str:
    Path("program.py").write_text(PROGRAM.replace("{body}", body))
    return shlex.join([sys.executable, "program.py"])


def command_line(*arguments: str) -> int:
    """The exit code of `vime-ref`."""
    with contextlib.suppress(SystemExit):
        return experiments.main(list(arguments))
    return 2  # the parser exits; other tests check its message


# ---------------------------------------------------------------- the project's own vectors

FILES = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in VECTORS.glob("*.json")
    if path.name not in NO_VECTORS
}
STORED = [case for content in FILES.values() for case in content["cases"]]


def variants(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]


def inputs_of(case: dict[str, Any]) -> dict[str, Any]:
    """A stored case's inputs in the reference's types, with the state before a line of a trace."""
    kinds = PROVED[case["operation"]].kinds
    return wire.decode_inputs(case["inputs"] | case.get("state", {}), kinds, "f64")


# ---------------------------------------------------------------- the modules of cases


def operations_of(module: ModuleType) -> dict[str, Operation]:
    """The operations whose cases the module defines."""
    return {
        name: each
        for name, each in OPERATIONS.items()
        if each.cases.args[1].__module__ == module.__name__
    }


def assert_complete(module: ModuleType, *families: str) -> None:
    """Assert that the module defines each operation of the families with all its parts."""
    operations = operations_of(module)
    assert {each.family for each in operations.values()} == set(families)
    for name, each in operations.items():
        assert {bool(case.why) for case in each.cases()} == {True, False}, name
        assert all(0.0 <= measured < 1e-5 for measured in each.measured), name
        assert set(each.kinds) <= set(each.names), name
        assert list(each.draw(draw_of_seed(0))) == each.names, name


def draw_of_seed(seed: int) -> Draw:
    rng = np.random.default_rng(seed)
    return Draw(lambda low, high: int(rng.integers(low, high + 1)))

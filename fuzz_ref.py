"""Fuzzing: random valid inputs for an implementation of VIME, and the smallest ones on which it departs.

`fuzz` draws inputs of each operation with Hypothesis, compares with the reference, shrinks a disagreement,
and gives it as a case that can go into a vector file as it stands.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import bnn_ref as bnn
from crosscheck_ref import Vector, difference, judge, load_vectors, selected
from protocol_ref import (
    DTYPES,
    Answer,
    Inputs,
    Peer,
    ProtocolError,
    Reference,
    UsageError,
    outputs,
    peer_of,
    respond,
    shown,
)
from vectors_ref import NOISE, OPERATIONS

# ---------------------------------------------------------------- constants

FACTOR = 100.0  # times the tolerance of the cases: drawn inputs are worse conditioned than picked ones
FLOOR = 1.0  # errors are relative to no less than this where terms of order 1 may cancel
EXACT = ("softplus", "kl")  # families where nothing cancels
KINK = 1e-3  # drawn pre-activations keep this distance from the ReLU's kink, where gradients differ by rounding
REFERENCE = Reference()

# ---------------------------------------------------------------- types


class Finding(NamedTuple):
    """What `fuzz` saw of an operation: passed, failed, skipped or errored, and the smallest case that shows it."""

    operation: str
    status: str
    message: str
    case: dict[str, Any] | None


@dataclass(frozen=True)
class FuzzReport:
    """What was found of each operation; as text a line each, with the smallest case of a disagreement."""

    implementation: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not any(finding.status in ("failed", "errored") for finding in self.findings)

    def to_json(self) -> str:
        report = {"implementation": self.implementation, "ok": self.ok, "findings": self.findings}
        return json.dumps({**report, "findings": [each._asdict() for each in self.findings]}, indent=1) + "\n"

    def __str__(self) -> str:
        lines = [self.implementation]
        for finding in self.findings:
            lines.append(f"{finding.operation}: {finding.status}, {finding.message}")
            lines += [json.dumps(finding.case, ensure_ascii=False)] if finding.case else []
        return "\n".join(lines)


# ---------------------------------------------------------------- the algorithm: drawing inputs


@dataclass(frozen=True)
class Draw:
    """Inputs from drawn integers: sixteenths, which float32 holds, and which shrink to 0, 1 and short lists."""

    integer: Callable[[int, int], int]  # from the first to the second, both included

    def filled(self, one: Callable[[], Any], shape: tuple[int, ...]) -> Any:
        return [self.filled(one, shape[1:]) for _ in range(shape[0])] if shape else one()

    def numbers(self, *shape: int) -> Any:
        """From −3 to 3."""
        return self.filled(lambda: self.integer(-48, 48) / 16, shape)

    def positives(self, *shape: int) -> Any:
        """From 1/4 to 4, near enough."""
        return self.filled(lambda: 2.0 ** self.integer(-2, 1) * (1 + self.integer(0, 16) / 16), shape)

    def booleans(self, *shape: int) -> Any:
        return self.filled(lambda: bool(self.integer(0, 1)), shape)

    def fraction(self) -> float:
        return self.integer(0, 16) / 16

    def near(self, values: list[float], by: list[float]) -> list[float]:
        """The values, moved by at most half of `by` and by as little as 2^-20 of it."""
        scale = 2.0 ** -self.integer(0, 16)
        return [value + size * scale * self.integer(-8, 8) / 16 for value, size in zip(values, by)]


def draw_softplus(draw: Draw) -> Inputs:
    """Up to 768; σ of less than −48 is too small for float32."""
    scale = 2.0 ** draw.integer(0, 8)
    return {"rho": [max(scale * value, -48.0) for value in draw.numbers(draw.integer(1, 3))]}


def draw_softplus_inverse(draw: Draw) -> Inputs:
    scale = 2.0 ** draw.integer(-10, 7)
    return {"sigma": [scale * value for value in draw.positives(draw.integer(1, 3))]}


def draw_kl_diag_normal(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    mu, sigma = draw.numbers(size), draw.positives(size)
    return {"mu_q": draw.near(mu, sigma), "sigma_q": draw.near(sigma, sigma), "mu_p": mu, "sigma_p": sigma}


def draw_kl_hessian_diag(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {"mu": draw.numbers(size), "rho": draw.numbers(size)}


def draw_kl_taylor(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {name: draw.numbers(size) for name in ("mu", "rho", "delta_mu", "delta_rho")}


def draw_information_gain(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    mu, rho, ones = draw.numbers(size), draw.numbers(size), [1.0] * size
    return {"mu_new": draw.near(mu, ones), "rho_new": draw.near(rho, ones), "mu_old": mu, "rho_old": rho}


def draw_normal_log_density(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {"x": draw.numbers(size), "mean": draw.numbers(size), "sigma": draw.positives(size)}


def draw_log_likelihood(draw: Draw) -> Inputs:
    samples, rows, size = draw.integer(1, 2), draw.integer(1, 3), draw.integer(1, 3)
    outputs_drawn, targets = draw.numbers(samples, rows, size), draw.numbers(rows, size)
    return {"outputs": outputs_drawn, "targets": targets, "likelihood_sigma": draw.positives()}


def draw_model(draw: Draw, operation: str, names: Iterable[str]) -> Inputs:
    """A small network with rows and noise, as far as the operation has arguments of these names."""
    sizes = [draw.integer(1, 2) for _ in range(draw.integer(2, 3))]
    rows = 1 if operation.startswith("posterior_step") else draw.integer(1, 3)
    samples, weights = draw.integer(1, 2), sum((i + 1) * o for i, o in zip(sizes, sizes[1:]))
    flat = dict.fromkeys(("mu", "rho", "prior_mu", "prior_rho"), (weights,))
    shapes = {**flat, "theta": (samples, weights), "eps": (samples, weights)}
    shapes |= {"inputs": (rows, sizes[0]), "targets": (rows, sizes[-1])}
    others: dict[str, Callable[[], Any]] = {
        "zeta": lambda: [draw.numbers(samples, rows, units) for units in sizes[1:]],
        "layer_sizes": lambda: sizes,
        "likelihood_sigma": lambda: 4.0 * draw.positives(),
        "num_data": lambda: float(rows * draw.integer(1, 10)),
        "step_size": lambda: 2.0 ** -draw.integer(4, 8),
        "learning_rate": lambda: 2.0 ** -draw.integer(4, 8),
        "num_steps": lambda: draw.integer(1, 3),
        "method": lambda: ("taylor", "exact")[draw.integer(0, 1)],
    }
    return {name: draw.numbers(*shapes[name]) if name in shapes else others[name]() for name in names}


def draw_normalize_gains(draw: Draw) -> Inputs:
    return {
        "gains": draw.positives(draw.integer(1, 4)),
        "history": draw.positives(draw.integer(0, 4)),
        "window": draw.integer(1, 4),
        "statistic": ("median", "mean")[draw.integer(0, 1)],
        "include_current": bool(draw.integer(0, 1)),
    }


def draw_curious_rewards(draw: Draw) -> Inputs:
    steps = draw.integer(1, 3)
    return {"rewards": draw.numbers(steps), "gains": draw.positives(steps), "eta": draw.fraction()}


def draw_discounted_returns(draw: Draw) -> Inputs:
    return {"rewards": draw.numbers(draw.integer(1, 4)), "gamma": draw.fraction(), "last_value": draw.numbers()}


def draw_gae_advantages(draw: Draw) -> Inputs:
    steps = draw.integer(1, 4)
    path: Inputs = {name: draw.numbers(steps) for name in ("rewards", "values", "next_values")}
    path |= {name: draw.booleans(steps) for name in ("terminated", "truncated")}
    return {**path, "gamma": draw.fraction(), "lam": draw.fraction()}


def draw_policy(draw: Draw, operation: str, names: Iterable[str]) -> Inputs:
    """Means or logits (N, A), deviations (A,), and actions of their kind."""
    rows, size = draw.integer(1, 3), draw.integer(1, 3)

    def one(name: str) -> Any:
        if name == "actions" and operation == "categorical_log_prob":
            return [draw.integer(0, size - 1) for _ in range(rows)]
        return draw.numbers(size) if name.startswith("log_std") else draw.numbers(rows, size)

    return {name: one(name) for name in names}


def draw_replay_transitions(draw: Draw) -> Inputs:
    observed, acted = draw.integer(1, 2), draw.integer(1, 2)
    lengths = [draw.integer(2, 4) for _ in range(draw.integer(1, 3))]
    return {
        "observations": [draw.numbers(length + 1, observed) for length in lengths],
        "actions": [draw.numbers(length, acted) for length in lengths],
    }


def draw_input_statistics(draw: Draw) -> Inputs:
    return {"rows": draw.numbers(draw.integer(1, 4), draw.integer(1, 3))}


DRAWS: dict[str, Callable[[Draw], Inputs]] = {
    "softplus": draw_softplus,
    "softplus_inverse": draw_softplus_inverse,
    "kl_diag_normal": draw_kl_diag_normal,
    "kl_hessian_diag": draw_kl_hessian_diag,
    "kl_taylor": draw_kl_taylor,
    "information_gain": draw_information_gain,
    "normal_log_density": draw_normal_log_density,
    "log_likelihood": draw_log_likelihood,
    "normalize_gains": draw_normalize_gains,
    "curious_rewards": draw_curious_rewards,
    "discounted_returns": draw_discounted_returns,
    "gae_advantages": draw_gae_advantages,
    "replay_transitions": draw_replay_transitions,
    "input_statistics": draw_input_statistics,
}  # the others are networks and policies, drawn by the names of their arguments


def draw_inputs(draw: Draw, operation: str, names: Sequence[str]) -> Inputs:
    """Valid inputs of an operation, whose arguments have these names."""
    if operation in DRAWS:
        return DRAWS[operation](draw)
    if "mu" in names or "theta" in names:
        return draw_model(draw, operation, names)
    return draw_policy(draw, operation, names)


def at_kink(inputs: Inputs) -> bool:
    """Whether a hidden unit is so near 0 that rounding decides its gradient."""
    sizes = inputs.get("layer_sizes", ())
    if len(sizes) < 3 or "mu" not in inputs:
        return False
    first = bnn.num_weights(sizes[:2])
    q = bnn.DiagNormal(np.array(inputs["mu"][:first]), np.array(inputs["rho"][:first]))
    noise: bnn.Noise = [np.array(inputs["zeta"][0])] if "zeta" in inputs else np.array(inputs["eps"])[:, :first]
    return bool(np.min(np.abs(bnn.forward(q, np.array(inputs["inputs"]), noise, sizes[:2]))) < KINK)


# ---------------------------------------------------------------- the algorithm: fuzz


class StopSearch(BaseException):
    """Ends a search at once: no Exception, for those are what a search looks for."""

    def __init__(self, status: str, message: str, case: dict[str, Any] | None) -> None:
        super().__init__(message)
        self.status, self.case = status, case


def fuzz(
    impl: str | None = None,
    *,
    command: str | None = None,
    only: str | None = None,
    examples: int = 100,
    seed: int = 0,
    dtype: str = "f64",
    timeout: float = 10.0,
    vectors: Path | str | None = None,
) -> FuzzReport:
    """Draw inputs of each operation, compare with the reference, and shrink the first disagreement.

    One counts from FACTOR times the tolerance of the cases on. Arguments as for `check`; `only` holds
    families and operations. Raises UsageError where Hypothesis is missing.
    """
    if importlib.util.find_spec("hypothesis") is None:
        raise UsageError("fuzz needs hypothesis: pip install hypothesis")
    operations = {vector.operation: vector for vector in selected(load_vectors(vectors, dtype), only)}
    with peer_of(impl, command, dtype, timeout) as peer:
        found = [search(peer, vector, dtype, examples, seed) for vector in operations.values()]
        return FuzzReport(peer.name, tuple(found))


def search(peer: Peer, sample: Vector, dtype: str, examples: int, seed: int) -> Finding:
    """The smallest disagreement about an operation; the sample vector says how errors are measured."""
    from hypothesis import find, settings, strategies
    from hypothesis.errors import Flaky, NoSuchExample

    names = argument_names(sample.operation)
    seen: list[tuple[Vector, Answer]] = []

    @strategies.composite
    def inputs_of(draw: Callable[[strategies.SearchStrategy[int]], int]) -> Inputs:
        inputs = draw_inputs(Draw(lambda low, high: draw(strategies.integers(low, high))), sample.operation, names)
        return rounded(inputs, dtype)

    def disagrees(inputs: Inputs) -> bool:
        vector = drawn_vector(sample, inputs, dtype)
        if vector is None:
            return False
        answer = asked(peer, vector)
        if judge(vector, answer, floor_of(vector)).status in ("failed", "errored"):
            seen[:] = [(vector, answer)]
            return True
        return False

    limits = settings(max_examples=examples, database=None, deadline=None)
    how = "smallest disagreement"
    try:
        find(inputs_of(), disagrees, settings=limits, random=random.Random(seed))
    except NoSuchExample:
        return Finding(sample.operation, "passed", f"no disagreement in {examples} examples", None)
    except StopSearch as stop:
        return Finding(sample.operation, stop.status, str(stop), stop.case)
    except Flaky:
        how = "answers to the same inputs differ"
    vector = with_mistakes(seen[0][0])
    outcome = judge(vector, seen[0][1], floor_of(vector))
    case = {**vector.case, "flags": list(outcome.mistakes), "comment": f"Found by fuzz: {outcome.message}."}
    return Finding(sample.operation, outcome.status, f"{how}: {outcome.message}", case)


def asked(peer: Peer, vector: Vector) -> Answer:
    """The answer to a drawn case; ends the search where there is none."""
    try:
        answer = peer.ask(vector.operation, vector.case["inputs"])
    except ProtocolError as error:
        raise StopSearch("errored", str(error), vector.case) from error
    if "skipped" in answer:
        raise StopSearch("skipped", shown(str(answer["skipped"])), None)
    return answer


def drawn_vector(sample: Vector, inputs: Inputs, dtype: str) -> Vector | None:
    """A vector with these inputs; None where the reference refuses them or rounding decides its answer."""
    right = None if at_kink(inputs) else reference_result(sample.operation, inputs)
    if right is None:
        return None
    case = {
        "id": f"{sample.operation}/drawn",
        "operation": sample.operation,
        "comment": "Drawn by fuzz.",
        "flags": [],
        "dtypes": [dtype],
        "inputs": inputs,
        "result": "valid",
        "output": right,
        "wrong": {},
    }
    return sample._replace(case=case, tolerance=FACTOR * sample.tolerance)


def reference_result(operation: str, inputs: Inputs) -> Any:
    """What the reference gives, None where it refuses or overflows."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return REFERENCE.ask(operation, inputs).get("result")


def with_mistakes(vector: Vector) -> Vector:
    """The vector with the outputs of the known mistakes that its inputs tell apart."""
    right = outputs(vector.case["output"])
    wrong: dict[str, list[Answer]] = {}
    for name, variants in OPERATIONS[vector.operation].mistakes.items():
        functions = SimpleNamespace(**{str(n): function for n, function in enumerate(variants)})
        for n in vars(functions):
            result = respond(functions, n, vector.case["inputs"], "f64").get("result")
            if result is not None and difference(outputs(result), right, vector.error)[0] > vector.tolerance:
                noise = {"output": vector.case["output"], "tolerance": NOISE.get(name)}
                wrong.setdefault(name, []).append(noise if name in NOISE else {"output": result})
    return vector._replace(case={**vector.case, "wrong": wrong})


def argument_names(operation: str) -> list[str]:
    return list(inspect.signature(OPERATIONS[operation].function).parameters)


def floor_of(vector: Vector) -> float:
    exact = vector.family in EXACT or vector.operation == "information_gain"
    return 0.0 if exact else FLOOR


def rounded(value: Any, dtype: str) -> Any:
    """Inputs with the digits that the dtype holds."""
    if isinstance(value, dict):
        return {name: rounded(each, dtype) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each, dtype) for each in value]
    return float(DTYPES[dtype](value)) if isinstance(value, float) else value

"""Fuzzing: random valid inputs for an implementation of VIME, and the smallest ones on which it departs.

`fuzz` draws inputs of each operation with Hypothesis, compares with the reference, shrinks a disagreement,
and gives it as a case that can go into a vector file as it stands.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import bnn_ref as bnn
from vime_check.judge import Vector, difference, judge, listed, load_vectors, selected
from vime_check.programs import (
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
from vime_check.prove import (
    MARGIN,
    MOST_NOISE,
    NEAR_IDENTITY,
    NOISE,
    OPERATIONS,
    noise_band,
)

# ---------------------------------------------------------------- constants

FACTOR = 100.0  # times the tolerance of the cases: drawn inputs are worse conditioned than picked ones
FLOOR = (
    1.0  # errors are relative to no less than this where terms of order 1 may cancel
)
EXACT = ("softplus", "kl")  # families where nothing cancels
KINK = 1e-3  # drawn pre-activations keep this distance from the ReLU's kink, where gradients differ by rounding
NEAR = (
    "kl_diag_normal",
    "information_gain",
)  # drawn near identity, down to moves of 2^-20 σ
# In float32 an honest code that subtracts two σ has an error of 1e-7 over the move: none is less than 2^-8 there.
NEAREST = {"f64": 16, "f32": 4}
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
        return not any(
            finding.status in ("failed", "errored") for finding in self.findings
        )

    def to_json(self) -> str:
        report = {
            "implementation": self.implementation,
            "ok": self.ok,
            "findings": self.findings,
        }
        return (
            json.dumps(
                {**report, "findings": [each._asdict() for each in self.findings]},
                indent=1,
            )
            + "\n"
        )

    def __str__(self) -> str:
        lines = [self.implementation]
        skipped = [each.operation for each in self.findings if each.status == "skipped"]
        if len(skipped) > 1:
            lines.append(f"skipped: {listed(skipped)}")
        for finding in self.findings:
            if finding.status == "skipped" and len(skipped) > 1:
                continue
            lines.append(f"{finding.operation}: {finding.status}, {finding.message}")
            lines += (
                [json.dumps(finding.case, ensure_ascii=False)] if finding.case else []
            )
        return "\n".join(lines)


# ---------------------------------------------------------------- the algorithm: drawing inputs


@dataclass(frozen=True)
class Draw:
    """Inputs from drawn integers: sixteenths, which float32 holds, and which shrink to 0, 1 and short lists."""

    integer: Callable[[int, int], int]  # from the first to the second, both included
    nearest: int = NEAREST[
        "f64"
    ]  # the halvings that bring two distributions together, at most

    def filled(self, one: Callable[[], Any], shape: tuple[int, ...]) -> Any:
        return (
            [self.filled(one, shape[1:]) for _ in range(shape[0])] if shape else one()
        )

    def numbers(self, *shape: int) -> Any:
        """From −3 to 3."""
        return self.filled(lambda: self.integer(-48, 48) / 16, shape)

    def positives(self, *shape: int) -> Any:
        """From 1/4 to 4, near enough."""
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
        """Of a context tree's switching: to ½, or its own."""
        return self.integer(0, 8) / 16 if self.integer(0, 1) else None

    def near(self, values: list[float], by: list[float]) -> list[float]:
        """The values, moved by at most half of `by`, and where moved by no less than 2^-(4 + nearest) of it."""
        scale = 2.0 ** -self.integer(0, self.nearest)
        return [
            value + size * scale * self.integer(-8, 8) / 16
            for value, size in zip(values, by)
        ]


def draw_softplus(draw: Draw) -> Inputs:
    """Up to 768; σ of less than −48 is too small for float32."""
    scale = 2.0 ** draw.integer(0, 8)
    return {
        "rho": [max(scale * value, -48.0) for value in draw.numbers(draw.integer(1, 3))]
    }


def draw_softplus_inverse(draw: Draw) -> Inputs:
    scale = 2.0 ** draw.integer(-10, 7)
    return {"sigma": [scale * value for value in draw.positives(draw.integer(1, 3))]}


def draw_kl_diag_normal(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    mu, sigma = draw.numbers(size), draw.positives(size)
    return {
        "mu_q": draw.near(mu, sigma),
        "sigma_q": draw.near(sigma, sigma),
        "mu_p": mu,
        "sigma_p": sigma,
    }


def draw_kl_hessian_diag(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {"mu": draw.numbers(size), "rho": draw.numbers(size)}


def draw_kl_taylor(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {name: draw.numbers(size) for name in ("mu", "rho", "delta_mu", "delta_rho")}


def draw_information_gain(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    mu, rho, ones = draw.numbers(size), draw.numbers(size), [1.0] * size
    return {
        "mu_new": draw.near(mu, ones),
        "rho_new": draw.near(rho, ones),
        "mu_old": mu,
        "rho_old": rho,
    }


def draw_normal_log_density(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {
        "x": draw.numbers(size),
        "mean": draw.numbers(size),
        "sigma": draw.positives(size),
    }


def draw_log_likelihood(draw: Draw) -> Inputs:
    samples, rows, size = draw.integer(1, 2), draw.integer(1, 3), draw.integer(1, 3)
    outputs_drawn, targets = draw.numbers(samples, rows, size), draw.numbers(rows, size)
    return {
        "outputs": outputs_drawn,
        "targets": targets,
        "likelihood_sigma": draw.positives(),
    }


def draw_model(draw: Draw, operation: str, names: Iterable[str]) -> Inputs:
    """A small network with rows and noise, as far as the operation has arguments of these names."""
    sizes = [draw.integer(1, 2) for _ in range(draw.integer(2, 3))]
    rows = 1 if operation.startswith("posterior_step") else draw.integer(1, 3)
    samples, weights = (
        draw.integer(1, 2),
        sum((i + 1) * o for i, o in zip(sizes, sizes[1:])),
    )
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
    return {
        name: draw.numbers(*shapes[name]) if name in shapes else others[name]()
        for name in names
    }


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
    return {
        "rewards": draw.numbers(steps),
        "gains": draw.positives(steps),
        "eta": draw.fraction(),
    }


def draw_discounted_returns(draw: Draw) -> Inputs:
    return {
        "rewards": draw.numbers(draw.integer(1, 4)),
        "gamma": draw.fraction(),
        "last_value": draw.numbers(),
    }


def draw_gae_advantages(draw: Draw) -> Inputs:
    steps = draw.integer(1, 4)
    path: Inputs = {
        name: draw.numbers(steps) for name in ("rewards", "values", "next_values")
    }
    path |= {name: draw.booleans(steps) for name in ("terminated", "truncated")}
    return {**path, "gamma": draw.fraction(), "lam": draw.fraction()}


def draw_policy(draw: Draw, operation: str, names: Iterable[str]) -> Inputs:
    """Means or logits (N, A), deviations (A,), and actions of their kind."""
    rows, size = draw.integer(1, 3), draw.integer(1, 3)

    def one(name: str) -> Any:
        if name == "actions" and operation == "categorical_log_prob":
            return [draw.integer(0, size - 1) for _ in range(rows)]
        return (
            draw.numbers(size)
            if name.startswith("log_std")
            else draw.numbers(rows, size)
        )

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


def draw_epsilon_greedy(draw: Draw) -> Inputs:
    return {"q_values": draw.numbers(draw.integer(1, 4)), "epsilon": draw.fraction()}


def draw_boltzmann(draw: Draw) -> Inputs:
    return {
        "q_values": draw.numbers(draw.integer(1, 4)),
        "temperature": draw.positives() if draw.integer(0, 1) else None,
    }


def draw_ucb1(draw: Draw) -> Inputs:
    arms = draw.integer(1, 3)
    counts = draw.wholes(9, arms)
    return {"means": draw.numbers(arms), "counts": counts, "t": sum(counts)}


def draw_ucb_state_action(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {
        "q_values": draw.numbers(size),
        "counts": draw.wholes(9, size),
        "alpha": draw.positives(),
    }


def draw_q_update(draw: Draw) -> Inputs:
    return {
        "value": draw.numbers(),
        "reward": draw.numbers(),
        "next_values": draw.numbers(draw.integer(1, 3)),
        "terminated": draw.booleans(),
        "truncated": draw.booleans(),
        "learning_rate": draw.integer(1, 16) / 16,
        "gamma": draw.fraction(),
    }


def draw_pseudo_count(draw: Draw) -> Inputs:
    """Gains of −1 to 2 nats, some of them at −3000."""
    before = [
        -each - 3000.0 * draw.integer(0, 1)
        for each in draw.positives(draw.integer(1, 3))
    ]
    return {
        "log_prob": before,
        "log_prob_after": [
            min(each + draw.integer(-16, 32) / 16, 0.0) for each in before
        ],
    }


def draw_pixel_cnn_pseudo_count(draw: Draw) -> Inputs:
    return {
        "gain": draw.numbers(draw.integer(1, 3)),
        "num_seen": draw.integer(1, 100),
        "c": draw.positives(),
    }


def draw_count_bonus(draw: Draw) -> Inputs:
    return {
        "counts": [each - 0.25 for each in draw.positives(draw.integer(1, 3))],
        "beta": draw.positives(),
    }


def draw_dirichlet_log_prob(draw: Draw) -> Inputs:
    pixels, count = draw.integer(1, 3), draw.integer(2, 3)
    seen = draw.wholes(count - 1, draw.integer(0, 5), pixels)
    counts = [
        [sum(row[p] == k for row in seen) for k in range(count)] for p in range(pixels)
    ]
    return {
        "counts": counts,
        "alpha": draw.positives(),
        "observation": draw.wholes(count - 1, pixels),
    }


def draw_dirichlet_pseudo_counts(draw: Draw) -> Inputs:
    count = draw.integer(2, 3)
    symbols = draw.wholes(count - 1, draw.integer(1, 5), draw.integer(1, 3))
    return {"symbols": symbols, "num_symbols": count, "alpha": draw.positives()}


def draw_cts_log_probs(draw: Draw) -> Inputs:
    return {
        "bits": draw.wholes(1, draw.integer(1, 8)),
        "depth": draw.integer(0, 3),
        "rate": draw.rate(),
    }


def draw_image_cts_log_probs(draw: Draw) -> Inputs:
    count = draw.integer(2, 3)
    images = draw.wholes(
        count - 1, draw.integer(1, 4), draw.integer(1, 2), draw.integer(1, 2)
    )
    return {"images": images, "num_levels": count, "rate": draw.rate()}


def draw_pixel_control_rewards(draw: Draw) -> Inputs:
    cell, channels = draw.integer(1, 2), draw.integer(1, 2)
    height, width = cell * draw.integer(1, 2), cell * draw.integer(1, 2)
    return {
        "observations": draw.wholes(255, draw.integer(2, 3), height, width, channels),
        "cell_size": cell,
    }


def draw_feature_control_rewards(draw: Draw) -> Inputs:
    return {"activations": draw.numbers(draw.integer(2, 4), draw.integer(1, 3))}


def draw_path(draw: Draw, shape: tuple[int, ...]) -> Inputs:
    """Rewards of this shape, with an end for each step or for each step of each environment."""
    axes = shape[: draw.integer(1, len(shape))]
    flags = {name: draw.booleans(*axes) for name in ("terminated", "truncated")}
    return {"rewards": draw.numbers(*shape), **flags, "gamma": draw.fraction()}


def draw_n_step_returns(draw: Draw) -> Inputs:
    shape = tuple(draw.integer(1, 4) for _ in range(draw.integer(1, 3)))
    drawn = draw_path(draw, shape)
    return {
        "rewards": drawn.pop("rewards"),
        "next_values": draw.numbers(*shape),
        **drawn,
    }


def draw_n_step_q_targets(draw: Draw) -> Inputs:
    shape = tuple(draw.integer(1, 4) for _ in range(draw.integer(1, 2)))
    drawn = draw_path(draw, shape)
    return {
        "rewards": drawn.pop("rewards"),
        "next_q_values": draw.numbers(*shape, draw.integer(1, 3)),
        **drawn,
    }


def draw_dueling(draw: Draw) -> Inputs:
    shape = tuple(draw.integer(1, 3) for _ in range(draw.integer(1, 2)))
    return {
        "values": draw.numbers(*shape),
        "advantages": draw.numbers(*shape, draw.integer(1, 3)),
    }


def draw_control_loss(draw: Draw) -> Inputs:
    steps, cells, count = draw.integer(1, 3), draw.integer(1, 2), draw.integer(1, 3)
    actions = draw.wholes(count - 1, steps)
    return {
        "q_values": draw.numbers(steps, cells, count),
        "actions": actions,
        "targets": draw.numbers(steps, cells),
    }


def draw_reward_class(draw: Draw) -> Inputs:
    return {"rewards": draw.numbers(draw.integer(1, 4))}


def draw_reward_prediction_windows(draw: Draw) -> Inputs:
    shape = draw.integer(1, 8), draw.integer(1, 2)
    return {"ended": draw.booleans(*shape[: draw.integer(1, 2)])}


def draw_sample_reward_windows(draw: Draw) -> Inputs:
    shape = (draw.integer(1, 8), draw.integer(1, 2))[: draw.integer(1, 2)]
    count = draw.integer(1, 4)
    noise = {
        name: draw.filled(lambda: draw.integer(0, 15) / 16, (count,))
        for name in ("coins", "places")
    }
    return {
        "rewards": draw.filled(lambda: float(draw.integer(-1, 1)), shape),
        "ended": draw.booleans(*shape),
        **noise,
    }


def draw_lstm_step(draw: Draw) -> Inputs:
    rows, units = draw.integer(1, 2), draw.integer(1, 2)
    state = {name: draw.numbers(rows, units) for name in ("hidden", "cell")}
    return {
        "gate_inputs": draw.numbers(rows, 4 * units),
        **state,
        "weights": draw.numbers(units, 4 * units),
    }


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
    "epsilon_greedy": draw_epsilon_greedy,
    "boltzmann": draw_boltzmann,
    "ucb1": draw_ucb1,
    "ucb_state_action": draw_ucb_state_action,
    "q_update": draw_q_update,
    "pseudo_count": draw_pseudo_count,
    "pixel_cnn_pseudo_count": draw_pixel_cnn_pseudo_count,
    "count_bonus": draw_count_bonus,
    "dirichlet_log_prob": draw_dirichlet_log_prob,
    "dirichlet_pseudo_counts": draw_dirichlet_pseudo_counts,
    "cts_log_probs": draw_cts_log_probs,
    "image_cts_log_probs": draw_image_cts_log_probs,
    "pixel_control_rewards": draw_pixel_control_rewards,
    "feature_control_rewards": draw_feature_control_rewards,
    "n_step_returns": draw_n_step_returns,
    "n_step_q_targets": draw_n_step_q_targets,
    "dueling": draw_dueling,
    "control_loss": draw_control_loss,
    "reward_class": draw_reward_class,
    "reward_prediction_windows": draw_reward_prediction_windows,
    "sample_reward_windows": draw_sample_reward_windows,
    "lstm_step": draw_lstm_step,
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
    noise: bnn.Noise = (
        [np.array(inputs["zeta"][0])]
        if "zeta" in inputs
        else np.array(inputs["eps"])[:, :first]
    )
    return bool(
        np.min(np.abs(bnn.forward(q, np.array(inputs["inputs"]), noise, sizes[:2])))
        < KINK
    )


# ---------------------------------------------------------------- the algorithm: fuzz


class StopSearch(BaseException):
    """Ends a search at once: no Exception, for those are what a search looks for."""

    def __init__(self, message: str, case: dict[str, Any]) -> None:
        super().__init__(message)
        self.case = case


@dataclass
class Trial:
    """What came of the drawn inputs of an operation: the last disagreement, how many were compared, why not."""

    peer: Peer
    sample: Vector
    compared: int = 0
    skipped: str = "no inputs that the reference takes"
    seen: tuple[Vector, Answer] | None = None

    def disagrees(self, inputs: Inputs) -> bool:
        """Whether the answer is wrong; ends the search where there is none."""
        vector = drawn_vector(self.sample, inputs)
        if vector is None:
            return False
        try:
            answer = self.peer.ask(vector.operation, inputs)
        except ProtocolError as error:
            raise StopSearch(str(error), vector.case) from error
        if "skipped" in answer:
            self.skipped = shown(str(answer["skipped"]))
            return False
        self.compared += 1
        if judge(vector, answer, floor_of(vector)).status not in ("failed", "errored"):
            return False
        self.seen = vector, answer
        return True

    def finding(self, how: str) -> Finding:
        """The disagreement, or that there was none."""
        operation = self.sample.operation
        if self.seen is None and self.compared == 0:
            return Finding(operation, "skipped", self.skipped, None)
        if self.seen is None:
            return Finding(
                operation,
                "passed",
                f"no disagreement in {self.compared} examples",
                None,
            )
        vector, answer = self.seen
        vector = with_mistakes(vector, answer)
        outcome = judge(vector, answer, floor_of(vector))
        case = {
            **vector.case,
            "flags": list(outcome.mistakes),
            "comment": f"Found by fuzz: {outcome.message}.",
        }
        return Finding(operation, outcome.status, f"{how}: {outcome.message}", case)


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
    operations = {
        vector.operation: vector
        for vector in selected(load_vectors(vectors, dtype), only)
    }
    with peer_of(impl, command, dtype, timeout) as peer:
        found = [
            search(Trial(peer, vector), examples, seed)
            for vector in operations.values()
        ]
        return FuzzReport(peer.name, tuple(found))


def search(trial: Trial, examples: int, seed: int) -> Finding:
    """The smallest disagreement about an operation; the trial's sample says how errors are measured."""
    from hypothesis import find, settings, strategies
    from hypothesis.errors import Flaky, NoSuchExample

    operation, dtype = trial.sample.operation, trial.sample.dtype
    names = argument_names(operation)

    @strategies.composite
    def inputs_of(draw: Callable[[strategies.SearchStrategy[int]], int]) -> Inputs:
        integers = Draw(
            lambda low, high: draw(strategies.integers(low, high)), NEAREST[dtype]
        )
        return rounded(draw_inputs(integers, operation, names), dtype)

    limits = settings(max_examples=examples, database=None, deadline=None)
    how = "smallest disagreement"
    try:
        find(inputs_of(), trial.disagrees, settings=limits, random=random.Random(seed))
    except NoSuchExample:
        pass  # the trial says whether any were compared
    except StopSearch as stop:
        if trial.seen is None:
            return Finding(operation, "errored", str(stop), stop.case)
        how = f"disagreement, before the search ended ({stop})"
    except Flaky:
        how = "answers to the same inputs differ"
    return trial.finding(how)


def drawn_vector(sample: Vector, inputs: Inputs) -> Vector | None:
    """A vector with these inputs; None where the reference refuses them or rounding decides its answer."""
    right = None if at_kink(inputs) else reference_result(sample.operation, inputs)
    if right is None:
        return None
    tolerance = FACTOR * sample.tolerance
    if sample.operation in NEAR and sample.dtype == "f64":
        tolerance = max(tolerance, NEAR_IDENTITY)
    case = {
        "id": f"{sample.operation}/drawn",
        "operation": sample.operation,
        "comment": "Drawn by fuzz.",
        "flags": [],
        "dtypes": [sample.dtype],
        "inputs": inputs,
        "tolerance": {sample.dtype: tolerance},
        "result": "valid",
        "output": right,
        "wrong": {},
    }
    return sample._replace(case=case, tolerance=tolerance)


def reference_result(operation: str, inputs: Inputs) -> Any:
    """What the reference gives, None where it refuses or overflows."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return REFERENCE.ask(operation, inputs).get("result")


def with_mistakes(vector: Vector, answer: Answer) -> Vector:
    """The vector with the known mistakes whose outputs lie well away from the right one, so that no other is named."""
    wrong: dict[str, Any] = {}
    entries: list[dict[str, Any]]
    for name, functions in OPERATIONS[vector.operation].mistakes.items():
        tried = [
            mistaken(function, vector, vector.dtype if name in NOISE else "f64")
            for function in functions
        ]
        far = [
            (result, off) for result, off in tried if MARGIN * vector.tolerance < off
        ]
        if name in NOISE:
            entries = [
                {vector.dtype: noise_band(off, vector.tolerance)}
                for _, off in far
                if off <= MOST_NOISE
            ]
        else:
            entries = [
                {"output": result, "tolerance": reach(vector, answer)}
                for result, _ in far
            ]
        if entries:
            wrong[name] = entries if len(entries) > 1 else entries[0]
    return vector._replace(case={**vector.case, "wrong": wrong})


def mistaken(
    function: Callable[..., Any], vector: Vector, dtype: str
) -> tuple[Any, float]:
    """A mistake's output, and how far it lies from the right one: 0 where there is none."""
    result = respond(
        SimpleNamespace(mistake=function), "mistake", vector.case["inputs"], dtype
    ).get("result")
    return result, 0.0 if result is None else distance_of(result, vector)


def reach(vector: Vector, answer: Answer) -> float:
    """How near a wrong output has to be: MARGIN times nearer than the right one."""
    off = distance_of(answer["result"], vector) if "result" in answer else 0.0
    return min(vector.tolerance, off / MARGIN) if off > 0.0 else vector.tolerance


def distance_of(result: Any, vector: Vector) -> float:
    """The error of a result, infinite where it is no numbers."""
    try:
        return difference(
            outputs(result),
            outputs(vector.case["output"]),
            vector.error,
            floor_of(vector),
        )[0]
    except ValueError:
        return math.inf


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

"""Implementations that draw their own noise, compared with exact expectations.

The checker calls an operation with `num_samples` instead of eps or zeta, CALLS times. The mean of the results must be
within k standard errors of the expectation, and their variance must not exceed the exact one by more than chance
allows. k is so large that a correct implementation fails with probability FALSE_ALARM at most, over all comparisons.

Expectation and variance come from `vime_check.expectations`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vime_check.errors import listed
from vime_check.expectations import (
    LOG_MEANS,
    SAMPLES,
    WITH_NOISE,
    NoiseTrial,
    flattened,
    noise_shapes,
    trials,
    with_noise,
)
from vime_check.judge import Breaks, names_in, no_result, origin_of
from vime_check.programs import (
    Peer,
    ProtocolError,
    StartError,
    checked_text,
    checked_whole,
    peer_of,
)
from vime_check.report import missing_lines
from vime_check.serving import Answer, respond
from vime_check.wire import DTYPES, Inputs, UsageError, decode_outputs, encode, shown

if TYPE_CHECKING:
    from bnn_ref import Array
    from vime_check.operations import Operation

# ---------------------------------------------------------------- constants

FALSE_ALARM = 1e-6  # probability that a correct implementation fails
# The bounds are set for a smaller probability by this factor, because means of few samples are only nearly normal.
SKEWNESS = 10.0
CALLS = 64  # for a standard error with 63 degrees of freedom
MIN_SAMPLES = 100  # in a call, so that its result is nearly normal
MAX_SAMPLES = 5000  # whose results fit into one line of the protocol
# The least standard error, relative to the number or to its standard deviation, because means have rounding errors.
MEAN_ROUNDING = {"f64": 1e-10, "f32": 1e-4}
SMALLEST = 1e-100  # of a number whose rounding errors count
VERDICTS = ("agrees", "wrong", "skipped", "errored")


# ---------------------------------------------------------------- types


class Bounds(NamedTuple):
    """The bounds that a correct implementation keeps, except by chance."""

    k: float  # standard errors of a mean
    spread: float  # the variance, relative to the exact one
    comparisons: int


class Verdict(NamedTuple):
    """The outcome of a trial: one of VERDICTS, the largest distance in standard errors, and the reason."""

    id: str
    operation: str
    status: str
    distance: float | None = None
    message: str = ""


@dataclass(frozen=True)
class OwnNoiseReport:
    """All verdicts; as text a table, a line for each failure, and the bounds."""

    implementation: str
    dtype: str
    num_samples: int
    bounds: Bounds
    verdicts: tuple[Verdict, ...]
    requested: tuple[str, ...] = ()  # operations that were named themselves
    origin: Mapping[str, Any] = field(default_factory=dict)  # versions and settings

    @property
    def ok(self) -> bool:
        """True if a trial ran, all operations that were named themselves did, and none failed."""
        found = {verdict.status for verdict in self.verdicts}
        failed = found & {"wrong", "errored"} or self.not_checked()
        return "agrees" in found and not failed

    def not_checked(self) -> list[str]:
        """The operations that were named themselves, and whose trials were all skipped."""
        ran = {each.operation for each in self.verdicts if each.status != "skipped"}
        return [name for name in self.requested if name not in ran]

    def table(self) -> str:
        operations = [*dict.fromkeys(verdict.operation for verdict in self.verdicts)]
        width = max(map(len, ["operation", *operations]))
        cells = [f"{each:>8}" for each in VERDICTS]
        lines = [" ".join([f"{'operation':<{width}}", *cells, " standard errors"])]
        for name in operations:
            own = [each for each in self.verdicts if each.operation == name]
            found = Counter(each.status for each in own)
            cells = [f"{found[each]:>8}" for each in VERDICTS]
            far = [each.distance for each in own if each.distance is not None]
            worst = f"{max(far):16.1f}" if far else f"{'-':>16}"
            lines.append(" ".join([f"{name:<{width}}", *cells, worst]))
        return "\n".join(lines)

    def lines(self) -> list[str]:
        """A line for each failure, and one for the bounds."""
        bad = [each for each in self.verdicts if each.status in ("wrong", "errored")]
        k, spread, count = self.bounds
        return [
            *(f"{each.id}: {each.message}" for each in bad),
            *missing_lines(self.not_checked()),
            f"{CALLS} calls of {self.num_samples} samples. Wrong: a mean beyond k = {k:.1f} standard errors, "
            f"or a variance above {spread:.1f} times the exact one.",
            f"A standard error counts as {MEAN_ROUNDING[self.dtype]:g} of its number at least, because of rounding.",
            f"Probability of a false alarm in all {count} comparisons: at most {FALSE_ALARM:g}, "
            "if results are nearly normal.",
        ]

    def to_json(self, command: str | None = None) -> str:
        """The report and its origin, with the command line if there was one."""
        report = {
            "command": command,
            "implementation": self.implementation,
            **self.origin,
            "dtype": self.dtype,
            "num_samples": self.num_samples,
            "calls": CALLS,
            "false_alarm": FALSE_ALARM,
            **self.bounds._asdict(),
            "ok": self.ok,
            "not_checked": self.not_checked(),
            "verdicts": [each._asdict() for each in self.verdicts],
        }
        return json.dumps(encode(report), indent=1, allow_nan=False) + "\n"

    def __str__(self) -> str:
        head = f"{self.implementation} ({self.dtype}, own noise)"
        return "\n".join([head, self.table(), *self.lines()])


# ---------------------------------------------------------------- the verdict


def bounds_of(comparisons: int) -> Bounds:
    """The bounds that a correct implementation passes in one of these comparisons with the stated probability."""
    from scipy import stats

    chance = FALSE_ALARM / SKEWNESS / comparisons
    k = stats.t.isf(chance / 2.0, CALLS - 1)
    spread = stats.chi2.isf(chance, CALLS - 1) / (CALLS - 1)
    return Bounds(float(k), float(spread), comparisons)


def numbers_of(trial: NoiseTrial, result: Any) -> Array:
    """The numbers (K,) of a call's result. Raises ValueError if it is of another form."""
    output = decode_outputs(result)
    shapes = {name: values.shape for name, values in output.items()}
    if shapes != trial.expected.shapes:
        raise ValueError(
            f"result has shapes {shapes} instead of {trial.expected.shapes}"
        )
    numbers = flattened({name: output[name] for name in trial.expected.shapes})
    if not np.isfinite(numbers).all():
        raise ValueError("result is not finite")
    if trial.operation in LOG_MEANS:
        return np.exp(numbers)
    if trial.operation not in SAMPLES:
        return numbers

    # The mean of the samples, and their mean products around the exact mean.
    samples = output[""].reshape(len(output[""]), -1)  # (S, K)
    centred = samples - trial.expected.mean[: samples.shape[1]]
    products = centred.T @ centred / len(samples)
    pairs = np.triu_indices(samples.shape[1])
    return np.concatenate([samples.mean(axis=0), products[pairs]])


def verdict_of(trial: NoiseTrial, calls: Array, bounds: Bounds, dtype: str) -> Verdict:
    """Compare the results of all calls (R, K) with the expectation."""
    expected = trial.expected
    mean = calls.mean(axis=0)
    known = np.isfinite(expected.variance)
    deviation = np.sqrt(np.where(known, expected.variance, 0.0))
    size = np.maximum(np.abs(expected.mean), deviation)
    rounding = MEAN_ROUNDING[dtype] * np.maximum(size, SMALLEST)

    # How far the mean is away, in standard errors.
    error = np.std(calls, axis=0, ddof=1) / math.sqrt(len(calls))
    distance = np.abs(mean - expected.mean) / np.maximum(error, rounding)
    worst = int(np.argmax(distance))
    away = float(distance[worst])
    verdict = Verdict(trial.id, trial.operation, "agrees", away)
    if away > bounds.k:
        varies = error[worst] > rounding[worst]
        far = f"{away:.1f} standard errors" if varies else "the results do not vary"
        message = f"mean {mean[worst]:.6g}, exact {expected.mean[worst]:.6g}, {far}"
        return verdict._replace(
            status="wrong",
            distance=away if varies else None,
            message=f"{expected.labels[worst]}: {message}",
        )

    # How much larger the variance is.
    exact = np.where(known, expected.variance, np.inf)
    ratio = np.var(calls, axis=0, ddof=1) / np.maximum(exact, rounding**2)
    widest = int(np.argmax(ratio))
    if ratio[widest] > bounds.spread:
        message = f"{expected.labels[widest]}: variance {ratio[widest]:.1f} times the exact one"
        return verdict._replace(status="wrong", message=message)
    return verdict


def tried(
    peer: Peer, trial: NoiseTrial, num_samples: int, bounds: Bounds, dtype: str
) -> Verdict:
    """The verdict on a trial. Raises ProtocolError if a call has no answer."""
    verdict = Verdict(trial.id, trial.operation, "errored")
    inputs = encode({**trial.inputs, "num_samples": num_samples})
    calls = []
    for _ in range(CALLS):
        answer = peer.ask(trial.operation, inputs)
        if "skipped" in answer:
            return verdict._replace(status="skipped", message=shown(answer["skipped"]))
        if "refused" in answer:
            message = f"rejected a valid input: {shown(answer['refused'])}"
            return verdict._replace(status="wrong", message=message)
        if "result" not in answer:
            return verdict._replace(message=no_result(answer))
        try:
            calls.append(numbers_of(trial, answer["result"]))
        except ValueError as error:
            return verdict._replace(status="wrong", message=shown(error))
    return verdict_of(trial, np.array(calls), bounds, dtype)


# ---------------------------------------------------------------- the algorithm: check_own_noise


def check_own_noise(
    impl: str | None = None,
    *,
    num_samples: int = 1000,
    command: str | None = None,
    only: str | None = None,
    dtype: str = "f64",
    timeout: float = 10.0,
    memory: int | None = None,
) -> OwnNoiseReport:
    """Compare an implementation that draws its own noise with exact expectations.

    num_samples: S, the number of samples in a call.
    only: comma-separated families or operations.
    The other arguments are those of `check`. Raises UsageError, a ValueError, if an argument is invalid.
    """
    if dtype not in [*DTYPES]:
        got = shown(repr(dtype), 60)
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {got}")
    count = checked_whole("num_samples", num_samples, MIN_SAMPLES, MAX_SAMPLES)
    operations = noisy_operations(only)

    with peer_of(impl, command, dtype, timeout, memory) as given:
        peer = Sampler() if impl is None and command is None else given
        plan = [*trials(operations, count)]
        bounds = bounds_of(sum(trial.expected.comparisons for trial in plan))
        verdicts = tuple(verdicts_of(peer, plan, count, bounds, dtype))
    named = tuple(name for name in names_in(only) if name in operations)
    made = origin_of(peer, (), only=only, timeout=timeout, memory=memory)
    return OwnNoiseReport(peer.name, dtype, count, bounds, verdicts, named, made)


def verdicts_of(
    peer: Peer, plan: Sequence[NoiseTrial], num_samples: int, bounds: Bounds, dtype: str
) -> Iterator[Verdict]:
    """The verdict on each trial; a program that only breaks is not asked again."""
    breaks = Breaks()
    for trial in plan:
        errored = Verdict(trial.id, trial.operation, "errored")
        reason = breaks.reason(trial.operation)
        if reason:
            yield errored._replace(message=reason)
            continue
        try:
            yield tried(peer, trial, num_samples, bounds, dtype)
            breaks.answered(trial.operation)
        except ProtocolError as error:
            breaks.broke(trial.operation, isinstance(error, StartError))
            yield errored._replace(message=str(error))


def noisy_operations(only: str | None) -> list[str]:
    """The operations with noise among these names of operations and families; all if no names are given."""
    from vime_check.cases import OPERATIONS

    checked_text("only", only)
    if only is None:
        return [*WITH_NOISE]
    names = {*names_in(only)}
    unknown = names - {*WITH_NOISE, *(OPERATIONS[name].family for name in WITH_NOISE)}
    if unknown:
        none = listed(sorted(map(repr, unknown)))
        raise UsageError(
            f"--only: no operation with noise in {none}; operations: {', '.join(WITH_NOISE)}"
        )
    return [each for each in WITH_NOISE if names & {each, OPERATIONS[each].family}]


class Sampler:
    """The reference with noise of its own, in this process and in float64."""

    own_name: str | None = None
    protocol: int | None = None

    def __init__(self, seed: int = 0) -> None:
        from vime_check.cases import OPERATIONS

        self.name = "the reference"
        rng = np.random.default_rng(seed)
        drawing = {
            name: partial(drawing_itself, OPERATIONS[name], rng) for name in WITH_NOISE
        }
        self.functions = SimpleNamespace(**drawing)

    def ask(self, operation: str, inputs: Inputs, cmd: str = "run") -> Answer:
        return respond(self.functions, operation, inputs, "f64")


def drawing_itself(
    operation: Operation, rng: np.random.Generator, num_samples: int, **given: Any
) -> Any:
    """The operation's result with noise from the generator."""
    shapes = noise_shapes(operation, given)
    noise = [rng.standard_normal((num_samples, *shape)) for shape in shapes]
    return operation.function(**with_noise(operation, given, noise))


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

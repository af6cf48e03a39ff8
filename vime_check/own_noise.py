"""Implementations that draw their own noise, compared with exact expectations.

The checker calls an operation with `num_samples` instead of eps or zeta, CALLS times. The mean of the results must be
within k standard errors of the expectation, and their variance must not exceed the exact one by more than chance
allows. k is so large that a correct implementation fails with probability FALSE_ALARM at most, over all comparisons.

Expectation and variance come from quadrature over the noise of the reference's operation. The networks used here make
the results polynomials in the noise, or nearly so: they are linear, or their hidden unit stays above 0.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vime_check.errors import by_name, listed
from vime_check.judge import Breaks, no_result
from vime_check.programs import (
    Peer,
    ProtocolError,
    StartError,
    checked_text,
    checked_whole,
    peer_of,
)
from vime_check.serving import Answer, respond
from vime_check.wire import (
    DTYPES,
    Arrays,
    Inputs,
    UsageError,
    decode_outputs,
    encode,
    shown,
)

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
MEAN_ROUNDING = {"f64": 1e-10, "f32": 1e-4}  # of a mean, relative to the largest
VERDICTS = ("agrees", "wrong", "skipped", "errored")

# Operations by how a result depends on its samples.
AVERAGES = (  # a mean over them
    *("elbo", "elbo_local", "elbo_grad", "elbo_grad_local"),
    *("posterior_step", "posterior_step_local"),
)
SAMPLES = ("sample_weights", "mlp_local")  # one row for each
LOG_MEANS = ("predictive_log_density",)  # the log of a mean
STEPS_OF_GAINS = {  # the square of a mean, which the step is made of
    "information_gains": "posterior_step",
    "information_gains_local": "posterior_step_local",
}
WITH_NOISE = (*SAMPLES, *LOG_MEANS, *AVERAGES, *STEPS_OF_GAINS)

# ---------------------------------------------------------------- types


class Expected(NamedTuple):
    """What a call returns on average: numbers with their labels, and their variances, NaN if unknown."""

    labels: tuple[str, ...]
    mean: Array  # (K,)
    variance: Array  # (K,), of a call
    shapes: dict[str, tuple[int, ...]]  # of the results by name

    @property
    def comparisons(self) -> int:
        return len(self.mean) + int(np.sum(np.isfinite(self.variance)))


class NoiseTrial(NamedTuple):
    """An operation with the inputs of a setting."""

    id: str
    operation: str
    inputs: Inputs
    expected: Expected


class Bounds(NamedTuple):
    """How far a correct implementation gets by chance."""

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

    @property
    def ok(self) -> bool:
        """True if a trial ran and none failed."""
        found = {verdict.status for verdict in self.verdicts}
        return "agrees" in found and not found & {"wrong", "errored"}

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
            f"{CALLS} calls of {self.num_samples} samples. Wrong: a mean beyond k = {k:.1f} standard errors, "
            f"or a variance above {spread:.1f} times the exact one.",
            f"Probability of a false alarm in all {count} comparisons: at most {FALSE_ALARM:g}.",
        ]

    def to_json(self) -> str:
        report = {
            "implementation": self.implementation,
            "dtype": self.dtype,
            "num_samples": self.num_samples,
            "calls": CALLS,
            "false_alarm": FALSE_ALARM,
            **self.bounds._asdict(),
            "ok": self.ok,
            "verdicts": [each._asdict() for each in self.verdicts],
        }
        return json.dumps(encode(report), indent=1, allow_nan=False) + "\n"

    def __str__(self) -> str:
        head = f"{self.implementation} ({self.dtype}, own noise)"
        return "\n".join([head, self.table(), *self.lines()])


# ---------------------------------------------------------------- the networks


def settings() -> dict[str, Inputs]:
    """The inputs of each network, except noise."""
    from bnn_ref import softplus_inverse
    from vime_check.modules import scalar_prior

    # What all of them have.
    usual = {"step_size": 0.015625, "method": "taylor"}

    # Rows so alike that noise shared by them multiplies the variance of the bound by four.
    prior_mu, prior_rho = scalar_prior(0.5, 2)
    rows: Inputs = {
        "layer_sizes": np.array([1, 1]),
        "mu": np.array([0.5, -0.25]),
        "rho": softplus_inverse(np.array([0.25, 0.375])),
        "prior_mu": prior_mu,
        "prior_rho": prior_rho,
        "inputs": np.array([[1.0], [1.125], [0.875], [1.25]]),
        "targets": np.array([[2.0], [2.125], [2.25], [2.0]]),
        "likelihood_sigma": 0.75,
        "num_data": 10.0,
    }

    # Several inputs and outputs, each with its σ, and a prior of its own for each weight.
    outputs: Inputs = {
        "layer_sizes": np.array([2, 2]),
        "mu": np.array([0.5, -1.0, 0.25, 1.5, -0.75, 0.125]),
        "rho": softplus_inverse(np.array([0.25, 0.5, 0.375, 0.125, 0.75, 0.3125])),
        "prior_mu": np.array([0.0, 0.5, -0.5, 1.0, 0.25, -1.0]),
        "prior_rho": softplus_inverse(np.array([1.0, 0.5, 2.0, 0.75, 1.5, 0.625])),
        "inputs": np.array([[1.0, -0.5], [0.75, 2.0]]),
        "targets": np.array([[0.5, -1.0], [1.25, 3.0]]),
        "likelihood_sigma": np.array([0.5, 1.5]),
        "num_data": 6.0,
    }

    # A hidden unit that stays at least twenty standard deviations above 0.
    prior_mu, prior_rho = scalar_prior(1.5, 4)
    hidden: Inputs = {
        "layer_sizes": np.array([1, 1, 1]),
        "mu": np.array([1.5, 2.0, 0.5, -0.25]),
        "rho": softplus_inverse(np.array([0.125, 0.0625, 0.25, 0.375])),
        "prior_mu": prior_mu,
        "prior_rho": prior_rho,
        "inputs": np.array([[1.0]]),
        "targets": np.array([[2.5]]),
        "likelihood_sigma": 0.75,
        "num_data": 4.0,
    }
    networks = {"rows": rows, "outputs": outputs, "hidden": hidden}
    return {name: {**usual, **network} for name, network in networks.items()}


def trials(operations: Sequence[str], num_samples: int) -> Iterator[NoiseTrial]:
    """Each operation with each network for which its expectation is known."""
    from vime_check.cases import OPERATIONS

    for name in operations:
        for setting, network in settings().items():
            operation = OPERATIONS[name]
            given = {key: network[key] for key in operation.names if key in network}
            if name in STEPS_OF_GAINS.values():
                given["inputs"] = given["inputs"][:1]
                given["targets"] = given["targets"][:1]
            if name in LOG_MEANS and setting != "rows":
                continue  # no polynomial: accurate in few dimensions only
            expected = expectation(operation, given, num_samples)
            yield NoiseTrial(f"{name}/{setting}", name, given, expected)


# ---------------------------------------------------------------- exact expectations


def noise_shapes(operation: Operation, given: Inputs) -> list[tuple[int, ...]]:
    """The shapes of one sample's noise: eps (D,), or zeta (N, O) for each layer."""
    if "eps" in operation.names:
        return [given["mu"].shape]
    rows = len(given["inputs"])
    return [(rows, int(units)) for units in given["layer_sizes"][1:]]


def with_noise(operation: Operation, given: Inputs, noise: list[Array]) -> Inputs:
    """The inputs with noise of these samples: one array (S, ...) for each shape."""
    if "eps" in operation.names:
        return {**given, "eps": noise[0]}
    return {**given, "zeta": noise}


def product_rule(dims: int, count: int) -> tuple[Array, Array]:
    """Weights (M,) and points (M, dims) of Gauss-Hermite quadrature for independent standard normals.

    Three points on each axis integrate polynomials of degree 5 in each variable.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / np.sum(weights)
    axes = np.meshgrid(*[points] * dims, indexing="ij")
    shares = np.meshgrid(*[weights] * dims, indexing="ij")
    every = np.stack([each.ravel() for each in axes], axis=-1)
    return np.prod([each.ravel() for each in shares], axis=0), every


def sparse_rule(dims: int) -> tuple[Array, Array]:
    """The same with 2 dims² + 1 points, for polynomials of total degree 5 (McNamee and Stenger 1967)."""
    one = math.sqrt(3.0) * np.eye(dims)
    i, j = np.triu_indices(dims, 1)
    two = np.concatenate([one[i] + one[j], one[i] - one[j]])
    points = np.concatenate([np.zeros((1, dims)), one, -one, two, -two])
    weights = np.full(len(points), 1.0 / 36.0)
    weights[0] = 1.0 + (dims**2 - 7 * dims) / 18.0
    weights[1 : 2 * dims + 1] = (4 - dims) / 18.0
    return weights, points


def rule_for(operation: Operation, given: Inputs, dims: int) -> tuple[Array, Array]:
    """A rule that is exact for the squares of the operation's results, which have degree 4 if the network is linear."""
    if dims <= 2:
        return product_rule(dims, 20 if operation.name in LOG_MEANS else 8)
    linear = (
        len(given.get("layer_sizes", ())) == 2 or operation.name == "sample_weights"
    )
    return sparse_rule(dims) if linear else product_rule(dims, 3)


def moments(operation: Operation, given: Inputs) -> tuple[Array, Array, Arrays]:
    """Mean (K,) and covariance (K, K) of the result for one sample, and one result."""
    shapes = noise_shapes(operation, given)
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    weights, points = rule_for(operation, given, int(ends[-1]))

    # The result at each point.
    values = []
    for point in points:
        parts = np.split(point, ends[:-1])
        noise = [part.reshape(1, *shape) for part, shape in zip(parts, shapes)]
        output = by_name(operation.function(**with_noise(operation, given, noise)))
        values.append(flattened(output))

    # Over the noise.
    results = np.array(values)  # (M, K)
    results = np.exp(results) if operation.name in LOG_MEANS else results
    mean = weights @ results
    centred = results - mean
    return mean, (weights[:, None] * centred).T @ centred, output


def expectation(operation: Operation, given: Inputs, num_samples: int) -> Expected:
    """What a call with this number of samples returns on average."""
    mean, covariance, output = moments(operation, given)
    shapes = {name: values.shape for name, values in output.items()}
    labels = labels_of(output)
    variance = np.diag(covariance) / num_samples
    if operation.name in STEPS_OF_GAINS:
        mean = expected_gains(operation, given, mean, num_samples)
        variance = np.full(len(mean), np.nan)
    if operation.name not in SAMPLES:
        return Expected(labels, mean, variance, shapes)

    # Each pair of numbers of a sample adds its covariance.
    pairs = list(zip(*np.triu_indices(len(mean))))
    labels += tuple(f"covariance of {labels[i]} and {labels[j]}" for i, j in pairs)
    covariances = np.array([covariance[pair] for pair in pairs])
    unknown = np.full(len(pairs), np.nan)
    return Expected(
        labels,
        np.concatenate([mean, covariances]),
        np.concatenate([variance, unknown]),
        {"": (num_samples, *shapes[""][1:])},
    )


def expected_gains(
    operation: Operation, given: Inputs, of_one_sample: Array, num_samples: int
) -> Array:
    """The gains (N,), quadratic in the mean of the samples' gradients: E[G_S] = G_∞ + (E[G_1] − G_∞)/S.

    G_∞ is the gain of the expected step.
    """
    from bnn_ref import DiagNormal, kl_taylor
    from vime_check.cases import OPERATIONS

    # The gain of each row's expected step.
    step = OPERATIONS[STEPS_OF_GAINS[operation.name]]
    q = DiagNormal(given["mu"], given["rho"])
    limits = []
    for n in range(len(given["inputs"])):
        row = {name: given[name][n : n + 1] for name in ("inputs", "targets")}
        own = {name: given[name] for name in step.names if name in given}
        moved, _, _ = moments(step, own | row)
        delta_mu, delta_rho = np.split(moved, 2)
        limits.append(kl_taylor(q, delta_mu - q.mu, delta_rho - q.rho))

    limit = np.array(limits)
    return limit + (of_one_sample - limit) / num_samples


def flattened(output: Arrays) -> Array:
    return np.concatenate([values.ravel() for values in output.values()])


def labels_of(output: Arrays) -> tuple[str, ...]:
    """The name and index of each number."""
    return tuple(
        f"{name or 'result'}[{', '.join(map(str, index))}]".removesuffix("[]")
        for name, values in output.items()
        for index in np.ndindex(values.shape)
    )


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
    rounding = MEAN_ROUNDING[dtype] * max(1.0, float(np.max(np.abs(expected.mean))))

    # How far the mean is away, in standard errors.
    error = np.std(calls, axis=0, ddof=1) / math.sqrt(len(calls))
    distance = np.abs(mean - expected.mean) / np.maximum(error, rounding)
    worst = int(np.argmax(distance))
    away = float(distance[worst])
    verdict = Verdict(trial.id, trial.operation, "agrees", away)
    if away > bounds.k:
        label = expected.labels[worst]
        same = "; all calls return the same" if not np.ptp(calls[:, worst]) else ""
        message = f"mean {mean[worst]:.6g}, exact {expected.mean[worst]:.6g}"
        message = f"{label}: {message}, {away:.1f} standard errors{same}"
        return verdict._replace(status="wrong", message=message)

    # How much larger the variance is.
    known = np.isfinite(expected.variance)
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
    return OwnNoiseReport(peer.name, dtype, count, bounds, verdicts)


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
    names = {name.strip() for name in only.split(",")}
    unknown = names - {*WITH_NOISE, *(OPERATIONS[name].family for name in WITH_NOISE)}
    if unknown:
        none = listed(sorted(map(repr, unknown)))
        raise UsageError(
            f"--only: no operation with noise in {none}; operations: {', '.join(WITH_NOISE)}"
        )
    return [each for each in WITH_NOISE if names & {each, OPERATIONS[each].family}]


class Sampler:
    """The reference with noise of its own, in this process and in float64."""

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

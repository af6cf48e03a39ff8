"""Exact expectations of results with noise, by quadrature over the noise of the reference's operation.

The networks used here make the results polynomials in the noise, or nearly so: they are linear, or their hidden unit
stays above 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vime_check.errors import by_name
from vime_check.wire import Arrays, Inputs

if TYPE_CHECKING:
    from bnn_ref import Array
    from vime_check.operations import Operation

# ---------------------------------------------------------------- constants

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
    """The mean result of a call: numbers with their labels, and their variances, NaN if unknown."""

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
    """The mean result of a call with this number of samples."""
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
    labels += tuple(
        f"covariance of {labels[i]} and {labels[j]}"
        if i != j
        else f"variance of {labels[i]}"
        for i, j in pairs
    )
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


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

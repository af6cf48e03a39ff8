"""Exact expectations of results with noise, against closed forms and differences."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

import bnn_ref as bnn
from bnn_ref import DiagNormal
from vime_check import expectations
from vime_check.cases import OPERATIONS

S = 200
Array = Any
NETWORKS = expectations.settings()
LINEAR = ("rows", "outputs")


def expected(operation: str, setting: str, num_samples: int = S) -> Any:
    (trial,) = [
        each
        for each in expectations.trials([operation], num_samples)
        if each.id == f"{operation}/{setting}"
    ]
    return trial.expected


def linear(given: dict[str, Any]) -> tuple[Array, Array, Array]:
    """Inputs with a 1 (N, I + 1), mean and σ of the weights (I + 1, O) of a network without a hidden layer."""
    num_inputs, num_outputs = given["layer_sizes"]
    rows = np.column_stack([given["inputs"], np.ones(len(given["inputs"]))])
    shape = num_inputs + 1, num_outputs
    sigma = bnn.softplus(given["rho"])
    return rows, given["mu"].reshape(shape), sigma.reshape(shape)


# ------------------------------------------------------------ expectations against closed forms


@pytest.mark.parametrize("setting", LINEAR)
@pytest.mark.parametrize("operation", ["elbo", "elbo_local"])
def test_bound_against_the_closed_form(operation: str, setting: str) -> None:
    """Mean and variance of Σ log p, a quadratic form in normal weights (or in independent pre-activations)."""
    given = NETWORKS[setting]
    rows, mu, sigma = linear(given)
    scale = np.broadcast_to(given["likelihood_sigma"], mu.shape[1:])
    miss = given["targets"] - rows @ mu  # (N, O)
    spread = rows**2 @ sigma**2  # variance of each output

    # The mean of the bound.
    density = -0.5 * (miss**2 + spread) / scale**2
    density += -0.5 * np.log(2 * np.pi) - np.log(scale)
    q = DiagNormal(given["mu"], given["rho"])
    prior = DiagNormal(given["prior_mu"], given["prior_rho"])
    kl = bnn.kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma)
    weight = given["num_data"] / len(rows)
    mean = weight * density.sum() - kl

    # Its variance for one sample: gᵀΣg + ½ tr(AΣAΣ) for each output.
    variance = 0.0
    for o, s in enumerate(scale):
        if operation == "elbo_local":
            each = miss[:, o] ** 2 * spread[:, o] + 0.5 * spread[:, o] ** 2
            variance += each.sum() / s**4
            continue
        a = rows.T @ rows / s**2
        g = rows.T @ miss[:, o] / s**2
        cov = np.diag(sigma[:, o] ** 2)
        variance += g @ cov @ g + 0.5 * np.trace(a @ cov @ a @ cov)

    found = expected(operation, setting)
    np.testing.assert_allclose(found.mean, [mean], rtol=1e-12)
    np.testing.assert_allclose(found.variance, [weight**2 * variance / S], rtol=1e-11)


@pytest.mark.parametrize("setting", LINEAR)
@pytest.mark.parametrize("operation", ["elbo_grad", "elbo_grad_local"])
def test_gradient_against_differences_of_the_bound(
    operation: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = NETWORKS[setting]
    bound = operation.replace("_grad", "")
    step = 1e-4
    slopes = []
    for name, i in itertools.product(("mu", "rho"), range(len(given["mu"]))):
        ends = []
        for sign in (1.0, -1.0):
            moved = given | {
                name: given[name]
                + sign * step * np.eye(1, 99, i)[0, : len(given["mu"])]
            }
            monkeypatch.setattr(
                expectations, "settings", lambda moved=moved: {setting: moved}
            )
            ends.append(expected(bound, setting).mean[0])
        slopes.append((ends[0] - ends[1]) / (2 * step))
    monkeypatch.undo()
    np.testing.assert_allclose(expected(operation, setting).mean, slopes, atol=1e-5)


def test_density_against_the_closed_form() -> None:
    given = NETWORKS["rows"]
    rows, mu, sigma = linear(given)
    spread = rows**2 @ sigma**2 + given["likelihood_sigma"] ** 2
    exact = stats.norm.pdf(given["targets"], rows @ mu, np.sqrt(spread)).ravel()
    found = expected("predictive_log_density", "rows")
    np.testing.assert_allclose(found.mean, exact, rtol=1e-8)


@pytest.mark.parametrize("setting", LINEAR)
def test_samples_against_the_closed_form(setting: str) -> None:
    """Independent weights; outputs that are independent between rows and units."""
    given = NETWORKS[setting]
    rows, mu, sigma = linear(given)
    for name, mean, variance in (
        ("sample_weights", mu, sigma**2),
        ("mlp_local", rows @ mu, rows**2 @ sigma**2),
    ):
        found = expected(name, setting)
        size = mean.size
        pairs = np.triu_indices(size)
        products = np.diag(variance.ravel())[pairs]
        np.testing.assert_allclose(found.mean[:size], mean.ravel(), rtol=1e-12)
        np.testing.assert_allclose(found.mean[size:], products, atol=1e-12)
        np.testing.assert_allclose(found.variance[:size], variance.ravel() / S)


@pytest.mark.parametrize("operation", ["information_gains", "information_gains_local"])
def test_gains_of_two_samples_against_quadrature_over_both(operation: str) -> None:
    """Control: one sample gains more."""
    entry = OPERATIONS[operation]
    given = {
        key: NETWORKS["rows"][key] for key in entry.names if key in NETWORKS["rows"]
    }
    given |= {"inputs": given["inputs"][:1], "targets": given["targets"][:1]}
    shapes = expectations.noise_shapes(entry, given)  # eps (2,), or zeta (1, 1)
    size = int(np.prod(shapes[0]))
    weights, points = expectations.product_rule(2 * size, 3)
    pairs = points.reshape(-1, 2, *shapes[0])
    outputs = [
        entry.function(**expectations.with_noise(entry, given, [pair]))[0]
        for pair in pairs
    ]
    mean, _, _ = expectations.moments(entry, given)
    two = expectations.expected_gains(entry, given, mean, 2)
    np.testing.assert_allclose(two, [weights @ outputs], rtol=1e-10)
    assert mean[0] > 1.01 * two[0]


def test_both_rules_integrate_polynomials_of_degree_five() -> None:
    """Oracle: moments of the standard normal. Control: the sixth moment."""
    for weights, points in (
        expectations.sparse_rule(5),
        expectations.product_rule(5, 3),
    ):
        x, y = points[:, 0], points[:, 3]
        for values, exact in (
            *((np.ones_like(x), 1.0), (x, 0.0), (x**2, 1.0), (x**4, 3.0)),
            *((x * y, 0.0), (x**2 * y**2, 1.0), (x**2 * y**3, 0.0)),
        ):
            np.testing.assert_allclose(weights @ values, exact, atol=1e-12)
        assert abs(weights @ x**6 - 15.0) > 1.0

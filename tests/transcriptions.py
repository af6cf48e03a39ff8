"""Public code of VIME in our own words, with its mistakes and without its framework.

`transcriptions:openai_vime` has the original's gain and KL.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import autograd.numpy as np
from autograd import grad

Array = Any
FUDGE = 1e-8


def softplus(rho: Array) -> Array:
    return np.logaddexp(rho, 0.0)


def kl_diag_normal(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """The original's closed form, in which 1e-8 keeps the denominator from 0."""
    numerator = (mu_q - mu_p) ** 2 + sigma_q**2 - sigma_p**2
    denominator = 2.0 * sigma_p**2 + FUDGE
    logarithms = np.log(sigma_p) - np.log(sigma_q)
    return np.sum(numerator / denominator + logarithms, axis=-1)


def information_gain(
    mu_new: Array, rho_new: Array, mu_old: Array, rho_old: Array
) -> float:
    new = mu_new, softplus(rho_new)
    return float(kl_diag_normal(*new, mu_old, softplus(rho_old)))


def information_gains(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    eps: Array,
    layer_sizes: Array,
    likelihood_sigma: Array,
    step_size: float,
    method: str,
) -> Array:
    """λ² gᵀH⁻¹g of each row, without the ½; or the KL of the step."""
    old = mu, softplus(rho)

    def loss(mu: Array, rho: Array, n: int) -> Array:
        total = 0.0
        for sample in eps:
            theta = mu + softplus(rho) * sample
            output = network(theta, inputs[n], layer_sizes)
            total = total + log_prob(targets[n], output, likelihood_sigma)
        return kl_diag_normal(mu, softplus(rho), *old) - total / len(eps)

    # The inverse of the KL's second derivative.
    sigma = softplus(rho)
    slope = 1.0 / (1.0 + np.exp(-rho))
    inverse_mu = sigma**2
    inverse_rho = sigma**2 / (2.0 * slope**2)

    gains = []
    for n in range(len(inputs)):
        g_mu = grad(loss, 0)(mu, rho, n)
        g_rho = grad(loss, 1)(mu, rho, n)
        if method == "taylor":
            squares = np.sum(g_mu**2 * inverse_mu) + np.sum(g_rho**2 * inverse_rho)
            gains.append(step_size**2 * squares)
        else:
            new_mu = mu - step_size * inverse_mu * g_mu
            new_rho = rho - step_size * inverse_rho * g_rho
            gains.append(information_gain(new_mu, new_rho, mu, rho))
    return np.array(gains)


def network(theta: Array, row: Array, layer_sizes: Array) -> Array:
    """One row through one network of weights; ReLU between layers."""
    sizes = [int(size) for size in layer_sizes]
    units = row
    start = 0
    for k, (i, o) in enumerate(zip(sizes, sizes[1:])):
        matrix = np.reshape(theta[start : start + i * o], (i, o))
        bias = theta[start + i * o : start + (i + 1) * o]
        units = np.dot(units if k == 0 else np.maximum(units, 0.0), matrix) + bias
        start += (i + 1) * o
    return units


def log_prob(target: Array, output: Array, sigma: Array) -> Array:
    deviations = sigma * np.ones(len(target))
    squares = ((target - output) / deviations) ** 2
    constants = np.log(deviations) + 0.5 * math.log(2.0 * math.pi)
    return np.sum(-0.5 * squares - constants)


openai_vime = SimpleNamespace(
    kl_diag_normal=kl_diag_normal,
    information_gain=information_gain,
    information_gains=information_gains,
)

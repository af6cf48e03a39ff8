"""Nothing here defines anything: the same numbers as the definitions, faster.

`elbo_grad` and `elbo_grad_local` are those of `bnn_ref` with the backward pass by hand;
`information_gains` and `information_gains_local` are those of `vime_ref` for a batch of
rows at once. Signatures are the definitions', and so are results, to rounding.

Symbols: a is what enters a layer, with a trailing 1 for the bias; z = a·θ; δ = ∂ℓ/∂z with
ℓ = −mean_S log p; v is the variance of a pre-activation and κ = δ⊙ζ/√v = 2 ∂ℓ/∂v. So a
layer's gradient in one row and sample is the outer product a ⊗ δ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy.special import expit

import bnn_ref as bnn
from bnn_ref import (
    Array,
    DiagNormal,
    Sigma,
    Sizes,
    Zeta,
    blocks_of,
    check_finite,
    check_positive,
    log_sigma_ratio,
)

CHUNK_ROWS = 512  # rows at a time, so that the arrays stay in the processor's cache
EXACT_ROWS = 64  # the same for the exact gain, which has a gradient (D,) for each row
CHUNK_SIZE = 2**22  # in one array of a chunk, 32 MB: fewer rows of a wide network
FEW = 2**15  # in one array: below, a gradient per row takes fewer calls

Layers = list[Array]  # one for each layer

# ------------------------------------------------------------ the backward pass


def layer_input(z: Array, layer: int) -> Array:
    """What enters a layer, and a trailing 1 for the bias: (S, N, I) -> (S, N, I + 1)."""
    a = np.ones((*z.shape[:-1], z.shape[-1] + 1))  # (S, N, I + 1)
    a[..., :-1] = np.maximum(z, 0.0) if layer > 0 else z
    return a


def backward(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    sizes: Sizes,
    sigma: Sigma,
) -> tuple[Layers, Layers]:
    """a (S, N, I + 1) and δ (S, N, O) of each layer, with weights sampled by eps.

    All samples share the inputs: the first a is (1, N, I + 1).
    """
    theta = q.mu + q.sigma * eps  # (S, D)
    blocks = blocks_of(theta, sizes)  # (S, I + 1, O) each

    # Forward.
    z = inputs[None]  # (1, N, I)
    a = []
    for layer, block in enumerate(blocks):
        a.append(layer_input(z, layer))
        z = check_finite("activations", a[layer] @ block)  # (S, N, O)

    # Backward.
    delta = [(z - targets) / sigma / sigma / len(eps)]
    for layer in reversed(range(1, len(blocks))):
        weights = blocks[layer][:, :-1].swapaxes(1, 2)  # (S, O, I)
        back = delta[0] @ weights  # (S, N, I)
        delta.insert(0, back * (a[layer][..., :-1] > 0))
    return a, delta


def backward_local(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    sizes: Sizes,
    sigma: Sigma,
) -> tuple[Layers, Layers, Layers]:
    """a, δ and κ (S, N, O) of each layer, with pre-activations sampled by zeta."""
    samples = len(zeta[0])
    means = blocks_of(q.mu, sizes)  # (I + 1, O) each
    variances = blocks_of(q.sigma**2, sizes)  # (I + 1, O) each

    # Forward.
    z = np.broadcast_to(inputs, (samples, *inputs.shape))  # (S, N, I)
    a = []
    roots = []
    for layer, (mean, variance) in enumerate(zip(means, variances)):
        a.append(layer_input(z, layer))
        roots.append(np.sqrt(a[layer] ** 2 @ variance))  # (S, N, O)
        z = a[layer] @ mean + roots[layer] * zeta[layer]  # (S, N, O)
        check_finite("activations", z)

    # Backward.
    delta = [(z - targets) / sigma / sigma / samples]
    kappa = [delta[0] * zeta[-1] / roots[-1]]
    for layer in reversed(range(1, len(means))):
        by_variance = a[layer] * (kappa[0] @ variances[layer].T)  # (S, N, I + 1)
        back = delta[0] @ means[layer].T + by_variance  # (S, N, I + 1)
        delta.insert(0, (back * (a[layer] > 0))[..., :-1])  # (S, N, I)
        kappa.insert(0, delta[0] * zeta[layer - 1] / roots[layer - 1])
    return a, delta, kappa


# ------------------------------------------------------------ the gradient of the ELBO


def elbo_grad(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    num_data: float,
) -> tuple[Array, Array]:
    """`bnn_ref.elbo_grad`: ∂ℓ/∂μ = Σ a⊗δ and ∂ℓ/∂σ = Σ ε⊙(a⊗δ), rows and samples."""
    data = bnn.check_data(q, inputs, targets, layer_sizes, likelihood_sigma)
    eps = bnn.check_eps(eps, len(q.mu))
    a, delta = backward(q, data.inputs, data.targets, eps, data.sizes, data.sigma)

    # Sum over rows first, then over samples.
    outer = [
        (x.swapaxes(1, 2) @ d).reshape(len(eps), -1)  # (S, (I + 1)·O)
        for x, d in zip(a, delta)
    ]
    each = np.concatenate(outer, axis=1)  # (S, D)
    by_mu = each.sum(axis=0)  # (D,)
    by_sigma = (eps * each).sum(axis=0)  # (D,)
    return uphill(q, prior, by_mu, by_sigma, num_data, len(data.inputs))


def elbo_grad_local(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    num_data: float,
) -> tuple[Array, Array]:
    """`bnn_ref.elbo_grad_local`: ∂ℓ/∂μ = Σ a⊗δ and ∂ℓ/∂σ = σ⊙Σ a²⊗κ.

    Raises ValueError if the variance of a pre-activation is 0 in float64.
    """
    data = bnn.check_data(q, inputs, targets, layer_sizes, likelihood_sigma)
    zeta = bnn.check_zeta(zeta, len(data.inputs), layer_sizes)
    a, delta, kappa = backward_local(
        q, data.inputs, data.targets, zeta, data.sizes, data.sigma
    )

    # Sum over rows and samples at once.
    by_mu = flat_sums(a, delta)  # (D,)
    by_variance = flat_sums([x**2 for x in a], kappa)  # (D,)
    by_sigma = q.sigma * by_variance
    return uphill(q, prior, by_mu, by_sigma, num_data, len(data.inputs))


def flat_sums(a: Layers, delta: Layers) -> Array:
    """Σ a⊗δ over samples and rows, all layers in a row, (D,)."""
    rows = ((0, 1), (0, 1))
    sums = [np.tensordot(x, d, rows) for x, d in zip(a, delta)]  # (I + 1, O) each
    return np.concatenate([each.ravel() for each in sums])  # (D,)


def uphill(
    q: DiagNormal,
    prior: DiagNormal,
    by_mu: Array,
    by_sigma: Array,
    num_data: float,
    num_rows: int,
) -> tuple[Array, Array]:
    """Gradient of the ELBO in μ and ρ from that of ℓ in μ and σ; ∂σ/∂ρ = sigmoid(ρ)."""
    bnn.check_prior(prior, q)
    scale = check_positive("num_data", num_data, ()) / num_rows
    slope = expit(q.rho)

    # The KL's, in units of the prior's width, where no square underflows.
    kl_by_mu = (q.mu - prior.mu) / prior.sigma / prior.sigma
    move = (q.sigma - prior.sigma) / prior.sigma
    kl_by_rho = move * (2.0 + move) * (slope / q.sigma)

    grad_mu = -scale * by_mu - kl_by_mu
    grad_rho = -scale * by_sigma * slope - kl_by_rho
    return check_finite("grad_mu", grad_mu), check_finite("grad_rho", grad_rho)


# ------------------------------------------------------------ the gains of a batch


def information_gains(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Literal["taylor", "exact"] = "taylor",
) -> Array:
    """`vime_ref.information_gains` (N,), many rows at once."""
    data = check_gains(
        q, inputs, targets, layer_sizes, likelihood_sigma, step_size, method
    )
    eps = bnn.check_eps(eps, len(q.mu))

    half = 0.5 * np.square(float(step_size))

    # The gains of some of the rows.
    def passed(rows: slice) -> Any:
        chunk = (data.inputs[rows], data.targets[rows])
        return backward(q, *chunk, eps, data.sizes, data.sigma)

    def taylor(rows: slice) -> Array:
        return half * taylor_forms(q, eps, data.sizes, *passed(rows))

    def exact(rows: slice) -> Array:
        a, delta = passed(rows)
        noise = blocks_of(eps, data.sizes)  # (S, I + 1, O) each
        by_sigma = [
            np.einsum("sni,sno,sio->nio", *each)  # (N, I + 1, O)
            for each in zip(a, delta, noise)
        ]
        return stepped_gains(q, a, delta, flat_rows(by_sigma), step_size)

    gains = taylor if method == "taylor" else exact
    return in_chunks(gains, data, len(eps), method)


def information_gains_local(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Literal["taylor", "exact"] = "taylor",
) -> Array:
    """`vime_ref.information_gains_local` (N,), many rows at once."""
    data = check_gains(
        q, inputs, targets, layer_sizes, likelihood_sigma, step_size, method
    )
    noise = bnn.check_zeta(zeta, len(data.inputs), layer_sizes)

    half = 0.5 * np.square(float(step_size))

    # The gains of some of the rows.
    def passed(rows: slice) -> Any:
        part = [each[:, rows] for each in noise]  # (S, n, O) each
        chunk = (data.inputs[rows], data.targets[rows], part)
        return backward_local(q, *chunk, data.sizes, data.sigma)

    def taylor(rows: slice) -> Array:
        return half * taylor_forms_local(q, data.sizes, *passed(rows))

    def exact(rows: slice) -> Array:
        a, delta, kappa = passed(rows)
        by_variance = [
            np.einsum("sni,sno->nio", x**2, k)  # (N, I + 1, O)
            for x, k in zip(a, kappa)
        ]
        by_sigma = q.sigma * flat_rows(by_variance)  # (N, D)
        return stepped_gains(q, a, delta, by_sigma, step_size)

    gains = taylor if method == "taylor" else exact
    return in_chunks(gains, data, len(noise[0]), method)


def chunk_rows(samples: int, sizes: Sizes, method: str) -> int:
    """Rows at a time: as many as the limits on rows and on numbers allow."""
    if method == "exact":
        row = bnn.num_weights(sizes)
        return max(1, min(EXACT_ROWS, CHUNK_SIZE // row))
    row = (max(sizes) + 1) * max(samples, sizes[1])
    return max(1, min(CHUNK_ROWS, CHUNK_SIZE // row))


def in_chunks(
    gains: Callable[[slice], Array], data: bnn.Data, samples: int, method: str
) -> Array:
    """The gains (N,) of some rows at a time; raises ValueError unless finite."""
    size = chunk_rows(samples, data.sizes, method)
    starts = range(0, len(data.inputs), size)
    parts = [gains(slice(n, n + size)) for n in starts]
    joined = np.concatenate(parts)  # (N,)
    return np.asarray(check_finite("gains", joined))


def taylor_forms(
    q: DiagNormal, eps: Array, sizes: Sizes, a: Layers, delta: Layers
) -> Array:
    """gᵀH⁻¹g of each row (N,), by layer Σ_st (a_s⊙a_t)ᵀ [σ²⊙(1 + ½ε_s⊙ε_t)] (δ_s⊙δ_t)."""
    noise = blocks_of(eps, sizes)  # (S, I + 1, O) each
    variances = blocks_of(q.sigma**2, sizes)  # (I + 1, O) each
    total = np.zeros(a[0].shape[1])  # (N,)
    layers = zip(a, delta, noise, variances)
    for x, d, e, v in list(layers)[1:]:
        if x.size * d.shape[-1] <= FEW:
            total += few_forms(x, d, e, v)
            continue
        for s in range(len(eps)):
            products = e[s] * e[s:]  # (S − s, I + 1, O)
            metric = v * (1.0 + 0.5 * products)
            total += pair_sum(x, metric, d, s)

    # All samples share the inputs, which makes the first layer's double sum a square.
    square = a[0][0] ** 2  # (N, I + 1)
    by_output = delta[0].transpose(2, 1, 0)  # (O, N, S)
    noisy = by_output @ noise[0].transpose(2, 0, 1)  # Σ_s δ_s ε_s, (O, N, I + 1)
    summed = delta[0].sum(axis=0) ** 2  # (N, O)
    total += ((square @ variances[0]) * summed).sum(axis=-1)  # (N,)
    weighted = np.einsum("oni,io->ni", noisy**2, variances[0])  # (N, I + 1)
    return total + 0.5 * (square * weighted).sum(axis=-1)  # (N,)


def few_forms(a: Array, delta: Array, noise: Array, variance: Array) -> Array:
    """gᵀH⁻¹g = Σ σ²⊙(g_μ² + ½g_σ²) of each row (N,) in one layer, g of each row formed."""
    outer = delta[..., None] * a[..., None, :]  # (S, N, O, I + 1)
    by_mu = outer.sum(axis=0)  # (N, O, I + 1)
    outer *= noise.swapaxes(1, 2)[:, None]  # (S, N, O, I + 1)
    by_sigma = outer.sum(axis=0)  # (N, O, I + 1)
    squares = by_mu**2 + 0.5 * by_sigma**2
    return squares.reshape(len(squares), -1) @ variance.T.ravel()  # (N,)


def taylor_forms_local(
    q: DiagNormal,
    sizes: Sizes,
    a: Layers,
    delta: Layers,
    kappa: Layers,
) -> Array:
    """gᵀH⁻¹g of each row (N,), by layer and pair of samples s, t the sum of

    (a_s⊙a_t)ᵀ σ² (δ_s⊙δ_t) + ½ (a_s²⊙a_t²)ᵀ σ⁴ (κ_s⊙κ_t).
    """
    variances = blocks_of(q.sigma**2, sizes)  # (I + 1, O) each
    total = np.zeros(a[0].shape[1])  # (N,)
    for layer, variance in enumerate(variances):
        # σ⁴ would underflow: κ, of the size of 1/σ, takes half of its scale.
        unit = np.max(variance)
        metric = (variance / unit) ** 2  # (I + 1, O)
        scaled = unit * kappa[layer]  # (S, N, O)
        for s in range(len(a[layer])):
            total += pair_sum(a[layer], variance, delta[layer], s)
            total += 0.5 * pair_sum(a[layer] ** 2, metric, scaled, s)
    return total


def pair_sum(x: Array, metric: Array, y: Array, s: int) -> Array:
    """Σ_{t ≥ s} (x_s⊙x_t)ᵀ M_t (y_s⊙y_t) of each row (N,); pairs t > s count twice."""
    times = np.where(np.arange(s, len(x)) > s, 2.0, 1.0)[:, None, None]
    left = (x[s] * x[s:]) @ metric  # (S − s, N, O)
    right = times * y[s] * y[s:]  # (S − s, N, O)
    return np.einsum("tno,tno->n", left, right)  # (N,)


def stepped_gains(
    q: DiagNormal, a: Layers, delta: Layers, by_sigma: Array, step_size: float
) -> Array:
    """KL[q(φ − λH⁻¹∇ℓ)‖q(φ)] of each row (N,), from ∂ℓ/∂σ (N, D)."""
    outer = [
        np.einsum("sni,sno->nio", x, d)  # (N, I + 1, O)
        for x, d in zip(a, delta)
    ]

    # The step of each row.
    h_mu, h_rho = bnn.kl_hessian_diag(q)
    delta_mu = -step_size * flat_rows(outer) / h_mu  # (N, D)
    rho = q.rho - step_size * by_sigma * expit(q.rho) / h_rho  # (N, D)
    check_finite("rho", rho)
    bnn.check_rho(rho)

    # The KL of each step.
    sigma_move = bnn.softplus_difference(rho, q.rho) / q.sigma
    log_ratio = log_sigma_ratio(bnn.softplus(rho), q.sigma)
    return bnn.kl_from_moves(delta_mu / q.sigma, sigma_move, log_ratio)


def flat_rows(blocks: Layers) -> Array:
    """Each row's blocks (N, I + 1, O) as flat weights, (N, D)."""
    rows = [each.reshape(len(each), -1) for each in blocks]  # (N, (I + 1)·O)
    return np.concatenate(rows, axis=1)  # (N, D)


# ------------------------------------------------------------ argument checks


def check_gains(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    step_size: float,
    method: str,
) -> bnn.Data:
    bnn.check_choice("method", method, ("taylor", "exact"))
    check_positive("step_size", step_size, ())
    bnn.check_curved(q)
    return bnn.check_data(q, inputs, targets, layer_sizes, likelihood_sigma)


# ------------------------------------------------------------ what `help` shows

__all__ = [
    "elbo_grad", "elbo_grad_local", "information_gains", "information_gains_local",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

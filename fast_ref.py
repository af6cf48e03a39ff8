"""Nothing here defines anything: the same numbers as the definitions, faster.

`elbo_grad` and `elbo_grad_local` are those of `bnn_ref` with the backward pass by hand;
`information_gains` and `information_gains_local` are those of `vime_ref` for a batch of
rows at once. `policy_gradient_step`, `trpo_step` and `value_fit` are those of
`agents_ref`, with the products of J and Jᵀ by hand. Signatures are the definitions', and
so are results, to rounding. `actor` is a policy's `sample` without checks.

Symbols: a is what enters a layer, with a trailing 1 for the bias; z = a·θ; δ = ∂ℓ/∂z with
ℓ = −mean_S log p; v is the variance of a pre-activation and κ = δ⊙ζ/√v = 2 ∂ℓ/∂v. So a
layer's gradient in one row and sample is the outer product a ⊗ δ. J is the Jacobian of a
policy's or a value function's outputs in its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from itertools import count
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

import agents_ref as agents
import bnn_ref as bnn
from agents_ref import (
    CategoricalPolicy,
    Envs,
    GaussianPolicy,
    Streams,
    ValueFunction,
    log_softmax,
    natural_step,
)
from bnn_ref import (
    Array,
    DiagNormal,
    Sigma,
    Sizes,
    Zeta,
    blocks_of,
    check_array,
    check_count,
    check_finite,
    check_kind,
    check_number,
    check_positive,
    log_sigma_ratio,
)
from vime_ref import Batch, check_indices, spread

CHUNK_ROWS = 512  # rows at a time, so that the arrays stay in the processor's cache
EXACT_ROWS = 64  # the same for the exact gain, which has a gradient (D,) for each row
CHUNK_SIZE = 2**22  # in one array of a chunk, 32 MB: fewer rows of a wide network
NETWORK_ROWS = 1024  # of a policy or a value function at a time, for the same reason
FEW = 2**15  # in one array: below, a gradient per row takes fewer calls

Layers = list[Array]  # one for each layer
Rows = list[Array]  # some rows of a batch in each
Steps = Iterator[tuple[Any, ...]]  # of sampling
Act = Callable[[Array, Array], NDArray[Any]]  # actions from observations and noise
Step = TypeVar("Step", bound=Callable[..., Any])  # of a policy

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


# ------------------------------------------------------------ a tanh network


@dataclass(frozen=True, eq=False)
class TanhPass:
    """A tanh network on some rows. J is the Jacobian of its outputs in its weights."""

    blocks: Layers  # (I + 1, O) each
    inputs: Layers  # a, (N, I + 1) each
    outputs: Array  # (N, O)

    @cached_property
    def slopes(self) -> Layers:
        """tanh′ = 1 − tanh² of each hidden layer, (N, O)."""
        return [1.0 - a[:, :-1] ** 2 for a in self.inputs[1:]]


def with_one(rows: Array) -> Array:
    """A trailing 1 for the bias, (N, I) -> (N, I + 1)."""
    a = np.ones((len(rows), rows.shape[1] + 1))  # (N, I + 1)
    a[:, :-1] = rows
    return a


def in_parts(rows: Array) -> Rows:
    """NETWORK_ROWS at a time."""
    starts = range(0, len(rows), NETWORK_ROWS)
    return [rows[n : n + NETWORK_ROWS] for n in starts]


def tanh_pass(weights: Array, first: Array, sizes: Sizes) -> TanhPass:
    """The network with weights (D,) on inputs with a trailing 1, (N, I + 1)."""
    blocks = blocks_of(weights, sizes)  # (I + 1, O) each
    inputs = [first]
    z = check_finite("activations", first @ blocks[0])  # (N, O)
    for block in blocks[1:]:
        inputs.append(with_one(np.tanh(z, out=z)))
        z = check_finite("activations", inputs[-1] @ block)  # (N, O)
    return TanhPass(blocks, inputs, z)


def forward_mode(passed: TanhPass, directions: Layers) -> Array:
    """J v, how the outputs (N, O) move with the weights along v, (I + 1, O) each."""
    move = passed.inputs[0] @ directions[0]  # (N, O)
    for layer, slope in enumerate(passed.slopes, start=1):
        bent = slope * move
        weights = passed.blocks[layer][:-1]
        move = bent @ weights  # (N, O)
        move += passed.inputs[layer] @ directions[layer]  # (N, O)
    return move


def reverse_mode(passed: TanhPass, delta: Array) -> Array:
    """Jᵀδ (D,), from the δ of the outputs (N, O)."""
    last = len(passed.blocks) - 1
    sums = [passed.inputs[last].T @ delta]  # (I + 1, O)
    for layer in reversed(range(last)):
        weights = passed.blocks[layer + 1][:-1]
        back = delta @ weights.T  # (N, I)
        delta = back * passed.slopes[layer]
        sums.insert(0, passed.inputs[layer].T @ delta)  # (I + 1, O)
    return np.concatenate([each.ravel() for each in sums])  # (D,)


# ------------------------------------------------------------ policies on rows


class PolicyBatch(NamedTuple):
    """Checked rows of a policy."""

    observations: Array  # (N, K)
    actions: NDArray[Any]  # (N, A), or (N,) indices
    advantages: Array  # (N,)


@dataclass(frozen=True, eq=False)
class PolicyRows:
    """A policy on all rows of a batch, its network evaluated once."""

    policy: Any
    outputs: Array  # of the network, (N, A)
    passes: list[TanhPass]  # of NETWORK_ROWS each, if J is needed

    def pushed(self, v: Array) -> Array:
        """J v (N, A) for v (D,)."""
        sizes = self.policy.layer_sizes
        directions = blocks_of(v, sizes)  # (I + 1, O) each
        moves = [forward_mode(each, directions) for each in self.passes]
        return np.concatenate(moves)  # (N, A)

    def pulled(self, delta: Array) -> Array:
        """Jᵀδ (D,) for δ (N, A)."""
        pairs = zip(self.passes, in_parts(delta))
        sums = [reverse_mode(*pair) for pair in pairs]
        return np.sum(sums, axis=0)  # (D,)


class GaussianRows(PolicyRows):
    """A Gaussian policy; std = e^{log_std} is σ in units of action_scale."""

    @cached_property
    def std(self) -> Array:
        num_actions = self.policy.layer_sizes[-1]
        return np.exp(self.policy.theta[-num_actions:])  # (A,)

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """Means (N, A) and standard deviations (A,)."""
        center = self.policy.action_center
        scale = self.policy.action_scale
        mean = center + scale * self.outputs  # (N, A)
        return mean, scale * self.std

    def log_prob(self, actions: Array) -> Array:
        """log π(a|s), (N,)."""
        log_p = bnn.normal_log_density(actions, *self.moments)  # (N, A)
        return log_p.sum(axis=-1)  # (N,)

    def gradient(self, actions: Array, weights: Array, by_entropy: float) -> Array:
        """∇Σ[w·log π(a|s) + β·H] (P,), with actions m + σε.

        By outputs it is wε/std, by log_std w(ε² − 1) + β.
        """
        mean, sigma = self.moments
        eps = (actions - mean) / sigma  # (N, A)
        by_outputs = weights[:, None] * eps / self.std  # (N, A)
        by_log_std = weights @ (eps**2 - 1.0)  # (A,)
        by_log_std += len(eps) * by_entropy

        # Through the network.
        by_weights = self.pulled(by_outputs)
        gradient = np.concatenate([by_weights, by_log_std])  # (P,)
        return np.asarray(check_finite("gradient", gradient))

    def fisher_product(self, v: Array) -> Array:
        """F v = mean Jᵀ(J v/std²) in the weights, and 2v in log_std, (P,)."""
        num_actions = len(self.std)
        moves = self.pushed(v[:-num_actions])  # (N, A)
        weighted = moves / self.std / self.std
        by_weights = self.pulled(weighted / len(moves))
        by_log_std = 2.0 * v[-num_actions:]
        return np.concatenate([by_weights, by_log_std])  # (P,)

    def kl(self, new: GaussianRows) -> Array:
        """KL[old‖new], (N,)."""
        return bnn.kl_diag_normal(*self.moments, *new.moments)


class CategoricalRows(PolicyRows):
    """A categorical policy."""

    @cached_property
    def log_p(self) -> Array:
        """log π(·|s), (N, A)."""
        return log_softmax(self.outputs)

    @cached_property
    def p(self) -> Array:
        """π(·|s), (N, A)."""
        return np.exp(self.log_p)

    def log_prob(self, actions: Array) -> Array:
        """log π(a|s), (N,)."""
        rows = np.arange(len(actions))
        return self.log_p[rows, actions]  # (N,)

    def gradient(self, actions: Array, weights: Array, by_entropy: float) -> Array:
        """∇Σ[w·log π(a|s) + β·H] (P,).

        By outputs it is w(1_a − p) − βp(log p + H).
        """
        rows = np.arange(len(actions))
        terms = self.p * self.log_p  # (N, A)
        entropy = -terms.sum(axis=-1, keepdims=True)  # (N, 1)
        by_outputs = -by_entropy * (terms + self.p * entropy)
        by_outputs -= weights[:, None] * self.p
        by_outputs[rows, actions] += weights
        return self.pulled(by_outputs)

    def fisher_product(self, v: Array) -> Array:
        """F v = mean Jᵀ(diag(p) − ppᵀ)J v, (P,)."""
        weighted = self.p * self.pushed(v)  # (N, A)
        mean = weighted.sum(axis=-1, keepdims=True)  # (N, 1)
        centered = weighted - self.p * mean
        return self.pulled(centered / len(mean))

    def kl(self, new: CategoricalRows) -> Array:
        """KL[old‖new], (N,)."""
        excess = self.p * (self.log_p - new.log_p)  # (N, A)
        return excess.sum(axis=-1)  # (N,)


ROWS_OF: dict[type, type[PolicyRows]] = {
    GaussianPolicy: GaussianRows,
    CategoricalPolicy: CategoricalRows,
}


def on_rows(policy: Any, observations: Array, *, outputs_only: bool = False) -> Any:
    """The policy on observations (N, K), with what J needs or without it."""
    passes = passes_of(policy, observations)
    kept = [] if outputs_only else list(passes)
    outputs = [each.outputs for each in kept or passes]  # (n, A) each
    joined = np.concatenate(outputs)  # (N, A)
    return ROWS_OF[type(policy)](policy, joined, kept)


def passes_of(policy: Any, observations: Array) -> Iterator[TanhPass]:
    """The policy's network on NETWORK_ROWS at a time."""
    sizes = policy.layer_sizes
    weights = policy.theta[: bnn.num_weights(sizes)]  # (D,)
    scaled = observations / policy.observation_scale
    for part in in_parts(scaled):
        yield tanh_pass(weights, with_one(part), sizes)


# ------------------------------------------------------------ policy steps


def or_definition(twin: Step) -> Step:
    """The twin for the policies that it knows, its definition for any other kind."""
    definition = getattr(agents, twin.__name__)

    @wraps(twin)
    def step(policy: Any, *rows: Any, **settings: Any) -> Any:
        function = twin if type(policy) in ROWS_OF else definition
        return function(policy, *rows, **settings)

    return cast(Step, step)


@or_definition
def policy_gradient_step(
    policy: Any,
    observations: Array,
    actions: Array,
    advantages: Array,
    *,
    learning_rate: float,
    entropy_weight: float,
) -> Any:
    """`agents_ref.policy_gradient_step`, which serves any other kind of policy."""
    check_positive("learning_rate", learning_rate, ())
    check_number("entropy_weight", entropy_weight)
    rows = check_policy_batch(policy, observations, actions, advantages)

    # Uphill.
    count = len(rows.advantages)
    weights = rows.advantages / count
    beta = entropy_weight / count
    old = on_rows(policy, rows.observations)
    uphill = old.gradient(rows.actions, weights, beta)
    theta = policy.theta + learning_rate * uphill
    return replace(policy, theta=theta)


@or_definition
def trpo_step(
    policy: Any,
    observations: Array,
    actions: Array,
    advantages: Array,
    *,
    max_kl: float = 0.01,
    damping: float = 1e-5,
    fisher_every: int = 1,
    cg_iterations: int = 10,
    backtracks: int = 15,
) -> Any:
    """`agents_ref.trpo_step`, which serves any other kind of policy.

    ∇²KL[old‖new] at new = old is the Fisher matrix, here in closed form.
    """
    rows = check_policy_batch(policy, observations, actions, advantages)
    fisher_every = check_count("fisher_every", fisher_every)
    backtracks = check_count("backtracks", backtracks)

    # The natural-gradient step.
    old = on_rows(policy, rows.observations)
    weights = rows.advantages / len(rows.advantages)
    few = rows.observations[::fisher_every]
    curved = old if fisher_every == 1 else on_rows(policy, few)
    step = natural_step(
        old.gradient(rows.actions, weights, 0.0),
        curved.fisher_product,
        max_kl=max_kl,
        damping=damping,
        iterations=cg_iterations,
    )
    fractions = 0.5 ** np.arange(backtracks)[:, None]
    return halved(old, rows, fractions * step, max_kl)


def halved(old: Any, rows: PolicyBatch, steps: Array, max_kl: float) -> Any:
    """The policy after the first step that is accepted, or as it is."""
    policy = old.policy
    if not steps.any():
        return policy
    surrogate = np.mean(rows.advantages)
    old_log_prob = old.log_prob(rows.actions)  # (N,)

    # The policy's outputs after each step serve both.
    for step in steps:
        stepped = replace(policy, theta=policy.theta + step)
        new = on_rows(stepped, rows.observations, outputs_only=True)
        log_prob = new.log_prob(rows.actions)  # (N,)
        ratio = np.exp(log_prob - old_log_prob)
        higher = np.mean(ratio * rows.advantages) > surrogate
        if higher and np.mean(old.kl(new)) <= max_kl:
            return stepped
    return policy


# ------------------------------------------------------------ the value function


def value_fit(
    value: ValueFunction,
    observations: Array,
    returns: Array,
    *,
    max_iterations: int = 20,
) -> ValueFunction:
    """`agents_ref.value_fit`, the gradient by hand."""
    check_kind("value", value, ValueFunction)
    shape = (None, value.layer_sizes[0])
    observations = check_array("observations", observations, shape)
    check_count("rows of observations", len(observations))
    returns = check_array("returns", returns, (len(observations),))
    max_iterations = check_count("max_iterations", max_iterations)

    # Inputs and outputs in units of their spread.
    scale = spread(observations)
    new = replace(
        value,
        observation_center=observations.mean(axis=0),  # (K,)
        observation_scale=np.where(scale > 0, scale, 1.0),
        center=float(returns.mean()),
        scale=float(spread(returns)),
    )
    if new.scale == 0.0:
        return new
    centered = observations - new.observation_center
    inputs = in_parts(centered / new.observation_scale)
    parts = [with_one(part) for part in inputs]

    result = minimize(
        value_loss,
        new.theta,
        (new, parts, in_parts(returns)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations},
    )
    return replace(new, theta=result.x)


def value_loss(
    theta: Array, value: ValueFunction, parts: Rows, returns: Rows
) -> tuple[float, Array]:
    """Mean of e², e the errors in units of their scale, and its gradient Jᵀ(2e/N)."""
    count = sum(len(part) for part in parts)
    loss = 0.0
    gradient = np.zeros(len(theta))
    for part, target in zip(parts, returns):
        # Forward.
        passed = tanh_pass(theta, part, value.layer_sizes)
        outputs = passed.outputs[:, 0]
        values = value.center + value.scale * outputs
        check_finite("values", values)
        errors = (values - target) / value.scale
        loss += float(np.sum(errors**2)) / count

        # Backward.
        delta = 2.0 / count * errors[:, None]  # (n, 1)
        gradient += reverse_mode(passed, delta)
    return loss, gradient


# ------------------------------------------------------------ acting


def actor(policy: Any) -> Act:
    """`policy.sample` as a function for few rows, without checks.

    The Gaussian's actions are equal bit for bit. A categorical action can differ only if
    the noise is within rounding of a cumulative probability. Any other kind of policy
    acts by its own `sample`.
    """
    agents.check_methods("policy", policy, "sample")
    if type(policy) is GaussianPolicy:
        return gaussian_actor(policy)
    if type(policy) is CategoricalPolicy:
        return categorical_actor(policy)
    return policy.sample


def network_of(policy: Any) -> Callable[[Array], Array]:
    """The policy's network, (N, K) -> (N, A), its weights cut once."""
    sizes = policy.layer_sizes
    weights = policy.theta[: bnn.num_weights(sizes)]  # (D,)
    blocks = blocks_of(weights, sizes)  # (I + 1, O) each
    layers = [(block[:-1], block[-1]) for block in blocks]
    scale = policy.observation_scale

    # In place, except for the products.
    def outputs(observations: Array) -> Array:
        z = observations / scale
        for layer, (matrix, bias) in enumerate(layers):
            h = np.tanh(z, out=z) if layer > 0 else z
            z = h @ matrix  # (N, O)
            z += bias
        return z

    return outputs


def gaussian_actor(policy: GaussianPolicy) -> Act:
    """m + σ ⊙ noise, (N, A), in the definition's order of operations."""
    network = network_of(policy)
    center = policy.action_center
    scale = policy.action_scale
    log_std = policy.theta[-policy.layer_sizes[-1] :]
    sigma = np.exp(log_std + np.log(scale))  # (A,)

    def act(observations: Array, noise: Array) -> Array:
        actions = network(observations)  # (N, A)
        actions *= scale
        actions += center
        actions += sigma * noise
        return actions

    return act


def categorical_actor(policy: CategoricalPolicy) -> Act:
    """The first action whose cumulative weight e^z exceeds the noise's share, (N,)."""
    network = network_of(policy)

    def act(observations: Array, noise: Array) -> Array:
        z = network(observations)  # (N, A)
        z -= z.max(axis=-1, keepdims=True)  # (N, 1)
        cumulative = np.exp(z).cumsum(axis=-1)  # (N, A)
        share = noise * cumulative[:, -1]  # (N,)
        below = cumulative[:, :-1] <= share[:, None]
        return below.sum(axis=-1)  # (N,)

    return act


# ------------------------------------------------------------ sampling


def rollout(
    envs: Envs,
    policy: Any,
    num_steps: int,
    streams: Streams,
) -> tuple[Batch, Array]:
    """`agents_ref.rollout`, with the policy as `actor` has it."""
    _, limit = agents.check_rollout(envs, policy, num_steps, streams)
    steps = interaction(envs, policy, streams)
    rows = counted(steps, envs.num_envs, limit)
    return agents.whole_paths([*rows])


def counted(steps: Steps, num_envs: int, num_steps: int) -> Steps:
    """Steps, cut at num_steps, with a column that says where they count.

    The count changes at an event only: an end, a first step or a cut.
    """
    running = np.ones(num_envs, bool)
    starts = np.zeros(num_envs)  # of episodes
    took = running
    event = num_steps - 1.0
    num_rows = 0
    for step, (*row, terminated, truncated) in enumerate(steps):
        num_rows += int(np.count_nonzero(took))
        ends = terminated | truncated
        if step < event and not ends.any():
            yield *row, terminated, truncated, took
            continue

        # Some episodes end.
        last = starts + num_steps - 1.0
        cut = truncated | (~terminated & (step == last))
        yield *row, terminated, cut, took

        # The next ones.
        ended = terminated | cut
        running = running & (~ended | (num_rows < num_steps))
        if not running.any():
            return
        starts = np.where(ended, step + 2, starts)
        took = running & (starts <= step + 1)
        first_cut = np.min(last[running])
        event = step + 1 if ended.any() else first_cut


def interaction(envs: Envs, policy: Any, streams: Streams) -> Steps:
    """`agents_ref.interaction`, without checks of actions."""
    act = actor(policy)
    send = sender(envs.single_action_space)
    seed = int(streams.environment.integers(2**31))
    first, _ = envs.reset(seed=seed)
    before = agents.check_observations(first, envs, 0)
    for step in count():
        noise = policy.draw_noise(streams.policy, len(before))
        actions = act(before, noise)
        after, rewards, *ends, _ = envs.step(send(actions))

        # What followed.
        after = agents.check_observations(after, envs, step)
        rewards = agents.check_step_rewards(rewards, envs, step)
        flags = agents.check_ends(ends, envs)
        yield before, actions, rewards, after, *flags
        before = after


def sender(space: Any) -> Callable[[Any], Any]:
    """`agents_ref.environment_actions`, without checks."""
    if not isinstance(space, Box):
        return lambda indices: indices + space.start
    low = space.low.astype(float)
    high = space.high.astype(float)
    whole = np.issubdtype(space.dtype, np.integer)

    def send(actions: Array) -> NDArray[Any]:
        taken = np.clip(actions, low, high)
        taken = np.rint(taken) if whole else taken
        return taken.astype(space.dtype)

    return send


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


def check_policy_batch(
    policy: Any, observations: Array, actions: Array, advantages: Array
) -> PolicyBatch:
    """The rows of a Gaussian or a categorical policy."""
    advantages = agents.check_policy_rows(policy, observations, advantages)
    count = len(advantages)
    inputs, *_, outputs = policy.layer_sizes
    rows = check_array("observations", observations, (count, inputs))
    if type(policy) is GaussianPolicy:
        given = check_array("actions", actions, (count, outputs))
        return PolicyBatch(rows, given, advantages)
    check_array("actions", actions, (count,))
    indices = check_indices("actions", actions, outputs)
    return PolicyBatch(rows, indices, advantages)


# ------------------------------------------------------------ what `help` shows

__all__ = [
    "elbo_grad", "elbo_grad_local", "information_gains", "information_gains_local",
    "policy_gradient_step", "trpo_step", "value_fit", "actor", "rollout",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""A distribution over the weights of a neural network, and how data moves it.

    softplus, DiagNormal, normal_log_density          the posterior q(θ; φ)
    kl_diag_normal, kl_hessian_diag, kl_taylor        KL[q‖p], exact and Taylor
    mlp, sample_weights, mlp_local                    the network, both reparameterizations
    log_likelihood, elbo, elbo_grad                   the evidence lower bound
    adam_step, fit                                    training
    predict, predictive_log_density                   prediction

This module knows no reinforcement learning. Runs call its twins: docs/reading.md.

Axes: N rows, S posterior samples, D weights (biases included), I and O the inputs and
outputs of a layer. Information is in nats; every sigma is a standard deviation; arrays
are float64. Noise is an argument: only `sample_eps`, `sample_zeta` and `fit` draw it.

Sources: [Lecture] "Intrinsic motivation in RL", by slide title; [VIME] Houthooft et al.
2016, arXiv 1605.09674; [Local] Kingma et al. 2015, arXiv 1506.02557; [Adam] Kingma and
Ba 2014, arXiv 1412.6980. A label such as B3 names the equation in docs/lecture.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import Any, NamedTuple, TypedDict, Unpack

import autograd.numpy as np
import numpy as onp  # for what no gradient passes through
from autograd import grad
from autograd.extend import defvjp, primitive
from autograd.tracer import isbox
from numpy import float64
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

Array = NDArray[float64]  # while autograd traces, a box around one
Sigma = Array | float  # one standard deviation for all dimensions, or one for each
Sizes = Sequence[int]  # units of each layer, inputs first
Zeta = Sequence[Array]  # noise of the pre-activations: one (S, N, O) per layer

MIN_CURVED_SIGMA = 1e-150  # 1/σ² and σ² are normal numbers down to here
MIN_RHO = -700.0  # softplus(-700) = 1e-304; below, σ is no normal number
SERIES_RANGE = 0.25  # |r| below which r − log1p(r) is a series; beyond, 13 digits stay
SERIES_TERMS = onp.arange(10)  # u² < 0.0205: the rest is under 1e-17 of the sum

# ------------------------------------------------------------ the posterior q(θ; φ)


def softplus(rho: Array) -> Array:
    """σ = log(1 + e^ρ), elementwise, without overflow.

    >>> float(softplus(1000.0))
    1000.0
    """
    rho = check_array("rho", rho)
    return np.logaddexp(0.0, rho)  # B1


def softplus_inverse(sigma: Array) -> Array:
    """ρ = log(e^σ − 1), elementwise; raises ValueError unless sigma > 0.

    >>> float(softplus_inverse(1000.0))
    1000.0
    """
    sigma = check_positive("sigma", sigma)
    return sigma + np.log(-np.expm1(-sigma))  # = σ + log(1 − e^−σ)


@dataclass(frozen=True, eq=False)
class DiagNormal:
    """q(θ; φ) = Π_i N(θ_i; μ_i, σ_i²) with φ = (μ, ρ) and σ = log(1 + e^ρ).

    Keeps read-only float64 copies. Raises ValueError unless mu and rho are finite, of
    one shape (D,), and rho ≥ -700. [VIME] section 2.5; [Lecture] "BNNs".
    """

    mu: Array  # (D,)
    rho: Array  # (D,)

    def __post_init__(self) -> None:
        mu = check_array("mu", self.mu)
        rho = check_array("rho", self.rho)
        check_parameters(mu, rho)
        set_fields(self, mu=mu, rho=rho)

    @cached_property
    def sigma(self) -> Array:
        """Standard deviations (D,)."""
        return read_only(softplus(self.rho))


def normal_log_density(x: Array, mean: Array, sigma: Sigma) -> Array:
    """log N(x; mean, σ²), elementwise, in nats; raises ValueError unless sigma > 0."""
    x = check_array("x", x)
    mean = check_array("mean", mean)
    sigma = check_positive("sigma", sigma)
    check_broadcast(x=x, mean=mean, sigma=sigma)
    log_norm = -0.5 * onp.log(2.0 * onp.pi)
    log_p = log_norm - np.log(sigma) - 0.5 * ((x - mean) / sigma) ** 2  # B2
    return check_finite("log density", log_p)


# ------------------------------------------------------------ KL[q‖p], exact and Taylor


def kl_textbook(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """KL[q‖p] as textbooks have it. Its terms cancel if q and p almost agree.

    [Lecture], the slide on the KL, leaves out the −1: its value is D/2 for q = p.
    Derivation: docs/derivations.md, 3.
    """
    mu_q, sigma_q, mu_p, sigma_p = check_pair(mu_q, sigma_q, mu_p, sigma_p)
    ratio = sigma_q / sigma_p
    move = (mu_q - mu_p) / sigma_p
    terms = ratio**2 - 1 - 2 * np.log(ratio) + move**2
    return np.sum(0.5 * terms, axis=-1)  # (...,)  B3


def kl_diag_normal(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """KL[q‖p] in nats, summed over the last axis: (...) from arguments (..., D).

    The sum of `kl_textbook`, but with relative error ≤ 1e-12 even if q and p almost
    agree. Raises ValueError unless all are finite, both sigmas > 0, and the KL finite.

    Derivation: docs/derivations.md, 3.

    >>> one, zero = np.array([1.0]), np.array([0.0])
    >>> float(kl_diag_normal(1e-9 * one, one, zero, one))
    5e-19
    """
    mu_q, sigma_q, mu_p, sigma_p = check_pair(mu_q, sigma_q, mu_p, sigma_p)
    with onp.errstate(over="ignore", invalid="ignore"):
        mean_move = (mu_q - mu_p) / sigma_p
        sigma_move = (sigma_q - sigma_p) / sigma_p
        log_ratio = log_sigma_ratio(sigma_q, sigma_p)
        return kl_from_moves(mean_move, sigma_move, log_ratio)


def log_sigma_ratio(sigma_q: Array, sigma_p: Array) -> Array:
    """log(σ_q/σ_p), also if the ratio itself underflows or overflows."""
    ratio = sigma_q / sigma_p
    normal = (ratio >= onp.finfo(float64).tiny) & (ratio < onp.inf)
    near = np.log(np.where(normal, ratio, 1.0))
    return np.where(normal, near, np.log(sigma_q) - np.log(sigma_p))


def kl_from_moves(mean_move: Array, sigma_move: Array, log_ratio: Array) -> Array:
    """Σ ½(r − log(1 + r)) + ½m², m the move of the mean, r = (σ_q/σ_p)² − 1 = d(2 + d).

    Moves are in units of σ_p: m = (μ_q − μ_p)/σ_p, d = (σ_q − σ_p)/σ_p. The caller gives
    log(σ_q/σ_p) = log(1 + d) apart from d, each with all its digits.
    """
    r = sigma_move * (2.0 + sigma_move)
    small = (r > -SERIES_RANGE) & (r < SERIES_RANGE)

    # Small r: log1p(r) = 2 artanh(u) with u = r/(2 + r), and r − 2u = r·u.
    r_small = np.where(small, r, 0.0)
    u = r_small / (2.0 + r_small)
    powers = (u * u)[..., None] ** SERIES_TERMS  # (..., D, 10)
    tail = np.dot(powers, 1.0 / (2.0 * SERIES_TERMS + 3.0))  # (..., D)
    series = r_small * u - 2.0 * u**3 * tail

    # Other r: the textbook difference.
    excess = np.where(small, series, r - 2.0 * log_ratio)
    kl = 0.5 * np.sum(excess + mean_move**2, axis=-1)  # (...,)
    return check_finite("KL", kl)


def softplus_difference(rho_q: Array, rho_p: Array) -> Array:
    """σ(ρ_q) − σ(ρ_p) with all its digits, however close the two are.

    With a < b the two arguments, |Δσ| = log1p(sigmoid(a)·expm1(b − a)).
    """
    low = np.minimum(rho_q, rho_p)
    gap = np.abs(rho_q - rho_p)
    near = np.log1p(expit(low) * np.expm1(np.minimum(gap, 700.0)))
    far = softplus(low + gap) - softplus(low)  # expm1 would overflow
    return np.sign(rho_q - rho_p) * np.where(gap > 700.0, far, near)


def kl_hessian_diag(q: DiagNormal) -> tuple[Array, Array]:
    """Second derivatives of KL[q(φ + Δ)‖q(φ)] at Δ = 0, in μ and in ρ, each (D,).

    All mixed derivatives are 0. Raises ValueError if 1/σ² overflows. [VIME] section 2.5.
    Derivation: docs/derivations.md, 3.
    """
    check_curved(q)
    h_mu = q.sigma**-2.0
    h_rho = 2.0 * (expit(q.rho) / q.sigma) ** 2  # B4
    return h_mu, h_rho


def kl_taylor(q: DiagNormal, delta_mu: Array, delta_rho: Array) -> Array:
    """KL[q(φ + Δ)‖q(φ)] ≈ ½ ΔᵀHΔ, a scalar in nats; delta_mu and delta_rho (D,).

    Derivation: docs/derivations.md, 4.
    """
    h_mu, h_rho = kl_hessian_diag(q)
    delta_mu = check_array("delta_mu", delta_mu, h_mu.shape)
    delta_rho = check_array("delta_rho", delta_rho, h_mu.shape)
    kl = 0.5 * np.sum(h_mu * delta_mu**2 + h_rho * delta_rho**2)  # B5
    return check_finite("KL", kl)


# ------------------------------------------------------------ the network


def num_weights(layer_sizes: Sizes) -> int:
    """D = Σ (I + 1)·O over the layers.

    >>> num_weights((3, 32, 2))
    194
    """
    sizes = check_sizes(layer_sizes)
    return sum((i + 1) * o for i, o in zip(sizes, sizes[1:]))


def layer_blocks(theta: Array, layer_sizes: Sizes) -> list[Array]:
    """Flat weights (..., D) as one (..., I + 1, O) per layer, the bias its last row."""
    sizes = check_sizes(layer_sizes)
    theta = check_array("theta", theta)
    check_shape("theta", theta, (*theta.shape[:-1], num_weights(sizes)))
    return blocks_of(theta, sizes)


def blocks_of(theta: Array, sizes: Sizes) -> list[Array]:
    """`layer_blocks` of weights that were checked."""
    blocks = []
    start = 0
    for i, o in zip(sizes, sizes[1:]):
        end = start + (i + 1) * o
        part = theta[..., start:end]  # (..., (I + 1)·O)
        shape = (*part.shape[:-1], i + 1, o)
        blocks.append(part.reshape(shape))  # (..., I + 1, O)
        start = end
    return blocks


def unflatten(theta: Array, layer_sizes: Sizes) -> list[tuple[Array, Array]]:
    """Matrix (..., I, O) and bias (..., O) of each layer from flat weights (..., D)."""
    blocks = layer_blocks(theta, layer_sizes)
    return [(block[..., :-1, :], block[..., -1, :]) for block in blocks]


def relu(x: Array) -> Array:
    """max(x, 0), with derivative 0 at 0."""
    return np.where(x > 0, x, 0.0)


@primitive  # type: ignore[untyped-decorator]  # autograd ships no types
def tanh(x: Array) -> Array:
    """tanh(x) with derivative 1 − tanh(x)², also where autograd's 1/cosh² overflows."""
    return onp.tanh(x)


defvjp(tanh, lambda tanh_x, x: lambda slope: slope * (1.0 - tanh_x**2))


def mlp(
    theta: Array,
    inputs: Array,
    layer_sizes: Sizes,
    *,
    hidden: Callable[[Array], Array] = relu,
) -> Array:
    """Outputs (S, N, O) of S networks with weights (S, D) on rows (N, I).

    `hidden` acts between the layers; the last layer is linear.
    """
    h = check_array("inputs", inputs, (None, check_sizes(layer_sizes)[0]))
    check_function("hidden", hidden)
    check_shape("theta", any_array(value_of(theta)), (None, None))
    for layer, (matrix, bias) in enumerate(unflatten(theta, layer_sizes)):
        h = hidden(h) if layer > 0 else h
        h = np.matmul(h, matrix) + bias[:, None, :]  # (S, N, O)  B6
        check_finite("activations", h)
    return h


def sample_weights(q: DiagNormal, eps: Array) -> Array:
    """Weights (S, D) from standard normal eps (S, D). [Lecture], reparameterization.

    Derivation: docs/derivations.md, 5.
    """
    check_posterior("q", q)
    eps = check_eps(eps, len(q.mu))
    return q.mu + q.sigma * eps  # (S, D)  B7


def mlp_local(q: DiagNormal, inputs: Array, zeta: Zeta, layer_sizes: Sizes) -> Array:
    """Outputs (S, N, O) with pre-activations sampled, z ~ N(h·μ, h²·σ²), not weights.

    zeta: one standard normal (S, N, O) per layer, so that the noise differs between
    samples, rows and units. [Local] section 2; [VIME] section 2.5.
    Derivation: docs/derivations.md, 5.
    """
    check_posterior("q", q, layer_sizes)
    h = check_array("inputs", inputs, (None, check_sizes(layer_sizes)[0]))
    zeta = check_zeta(zeta, len(h), layer_sizes)
    means = unflatten(q.mu, layer_sizes)
    variances = unflatten(q.sigma**2, layer_sizes)
    for layer, ((m, m_bias), (v, v_bias)) in enumerate(zip(means, variances)):
        h = relu(h) if layer > 0 else h
        mean = np.matmul(h, m) + m_bias  # (S, N, O)
        variance = np.matmul(h**2, v) + v_bias  # (S, N, O)
        h = mean + np.sqrt(variance) * zeta[layer]  # (S, N, O)  B8
        check_finite("activations", h)
    return h


# ------------------------------------------------------------ the evidence lower bound


class Data(NamedTuple):
    """Checked rows, the units of the layers, and σ_l."""

    inputs: Array  # (N, I)
    targets: Array  # (N, O)
    sizes: tuple[int, ...]
    sigma: Array  # () or (O,)


class ElboSettings(TypedDict):
    """The keywords of `elbo`."""

    layer_sizes: Sizes
    likelihood_sigma: Sigma
    num_data: float


def log_likelihood(outputs: Array, targets: Array, likelihood_sigma: Sigma) -> Array:
    """log N(targets; outputs, σ_l²) summed over outputs: (S, N) from (S, N, O), (N, O).

    likelihood_sigma: a scalar or (O,), in the units of the targets.
    """
    outputs = check_array("outputs", outputs, (None, None, None))
    targets = check_array("targets", targets, outputs.shape[1:])
    sigma = check_likelihood(likelihood_sigma, outputs.shape[-1])
    log_p = normal_log_density(targets, outputs, sigma)  # (S, N, O)
    return np.sum(log_p, axis=-1)  # (S, N)  B9


def elbo(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    num_data: float,
) -> Array:
    """(n/B) Σ_rows mean_S log p(target | input, θ) − KL[q‖prior] ≤ log p(D), in nats.

    inputs (B, I) and targets (B, O) are a minibatch that represents n = num_data rows;
    eps (S, D). [VIME] section 2.3. [Lecture] "Lower bound" ends in + log p(z) after a
    line with − log p(z); "BNNs" maximizes E p(s′), without logarithm and KL.
    Derivation: docs/derivations.md, 2.
    """
    data = check_data(q, inputs, targets, layer_sizes, likelihood_sigma)
    outputs = mlp(sample_weights(q, eps), data.inputs, layer_sizes)  # (S, B, O)
    log_p = log_likelihood(outputs, data.targets, data.sigma)  # (S, B)
    return lower_bound(q, prior, log_p, num_data)


def elbo_local(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    num_data: float,
) -> Array:
    """`elbo` under local reparameterization: zeta, one (S, B, O) per layer, not eps."""
    data = check_data(q, inputs, targets, layer_sizes, likelihood_sigma)
    outputs = mlp_local(q, data.inputs, zeta, layer_sizes)  # (S, B, O)
    log_p = log_likelihood(outputs, data.targets, data.sigma)  # (S, B)
    return lower_bound(q, prior, log_p, num_data)


def lower_bound(
    q: DiagNormal, prior: DiagNormal, log_p: Array, num_data: float
) -> Array:
    """The bound from the log likelihoods (S, B) of a minibatch.

    Derivation: docs/derivations.md, 2.
    """
    num_data = float(check_positive("num_data", num_data, ()))
    check_prior(prior, q)
    row_means = np.mean(log_p, axis=0)  # (B,)
    evidence = num_data / len(row_means) * np.sum(row_means)
    bound = evidence - kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma)  # B10
    return check_finite("ELBO", bound)


def elbo_grad(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    **settings: Unpack[ElboSettings],
) -> tuple[Array, Array]:
    """Gradient of `elbo` in μ and ρ, each (D,), by autograd; ValueError unless finite."""
    return gradient_at(q, lambda q: elbo(q, prior, inputs, targets, eps, **settings))


def elbo_grad_local(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    **settings: Unpack[ElboSettings],
) -> tuple[Array, Array]:
    """Gradient of `elbo_local`, as `elbo_grad`."""
    data = (inputs, targets, zeta)
    return gradient_at(q, lambda q: elbo_local(q, prior, *data, **settings))


def gradient_at(
    q: DiagNormal, objective: Callable[[DiagNormal], Array]
) -> tuple[Array, Array]:
    """∂/∂μ and ∂/∂ρ of a function of q, each (D,); raises ValueError unless finite."""
    check_posterior("q", q)
    slope = grad(lambda phi: objective(DiagNormal(*phi)))
    grad_mu, grad_rho = slope((q.mu, q.rho))
    check_finite("grad_mu", grad_mu)
    check_finite("grad_rho", grad_rho)
    return grad_mu, grad_rho


# ------------------------------------------------------------ training


BELOW_1 = 1.0 - 2.0**-53  # the largest double below 1


class AdamState(NamedTuple):
    """Running means of gradient and squared gradient, (P,) each, and the steps taken."""

    mean: Array
    square: Array
    num_steps: int


def adam_init(size: int) -> AdamState:
    """The optimizer's state before the first step."""
    zeros = onp.zeros(check_count("size", size))
    return AdamState(zeros, zeros, 0)


def adam_step(
    params: Array,
    gradient: Array,
    state: AdamState,
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> tuple[Array, AdamState]:
    """One descent step of Adam on params (P,), and the new state. [Adam] Algorithm 1."""
    params = check_array("params", params, (None,))
    gradient = check_array("gradient", gradient, params.shape)
    state = check_adam("state", state, params.shape)
    rate = check_positive("learning_rate", learning_rate, ())
    epsilon = float(check_positive("epsilon", epsilon, ()))
    beta1 = check_number("beta1", beta1, 0.0, BELOW_1)
    beta2 = check_number("beta2", beta2, 0.0, BELOW_1)

    # Running means, then the same without their bias toward 0.
    t = state.num_steps + 1
    mean = beta1 * state.mean + (1.0 - beta1) * gradient
    square = beta2 * state.square + (1.0 - beta2) * gradient**2
    check_finite("gradient**2", square)
    mean_hat = mean / (1.0 - beta1**t)
    square_hat = square / (1.0 - beta2**t)

    step = mean_hat / (np.sqrt(square_hat) + epsilon)
    return params - rate * step, AdamState(mean, square, t)  # B11


def sample_eps(rng: Generator, num_samples: int, num_rows: int, sizes: Sizes) -> Array:
    """Noise of the weights, eps (S, D), the same for every row."""
    check_kind("rng", rng, Generator)
    num_samples = check_count("num_samples", num_samples)
    sizes = check_sizes(sizes, "sizes")
    return rng.standard_normal((num_samples, num_weights(sizes)))


def sample_zeta(
    rng: Generator, num_samples: int, num_rows: int, sizes: Sizes
) -> list[Array]:
    """Noise of the pre-activations, one (S, N, O) per layer."""
    check_kind("rng", rng, Generator)
    num_samples = check_count("num_samples", num_samples)
    num_rows = check_count("num_rows", num_rows)
    units = check_sizes(sizes, "sizes")[1:]
    shapes = [(num_samples, num_rows, each) for each in units]
    return [rng.standard_normal(shape) for shape in shapes]


def fit(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    rng: Generator,
    *,
    num_samples: int,
    learning_rate: float,
    sample_noise: Callable[..., Any] = sample_eps,
    gradient: Callable[..., tuple[Array, Array]] = elbo_grad,
    adam: AdamState | None = None,
    **settings: Unpack[ElboSettings],
) -> tuple[DiagNormal, AdamState]:
    """Raise the ELBO by an Adam step on each of U minibatches; q and Adam's state.

    inputs (U, B, I) and targets (U, B, O). `gradient` takes the noise that
    `sample_noise` draws: `elbo_grad` and `sample_eps`, or `elbo_grad_local` and
    `sample_zeta`, or their twins in `fast_ref`, which differ in rounding.
    """
    sizes = settings["layer_sizes"]
    inputs, targets = check_minibatches(q, inputs, targets, sizes)
    check_kind("rng", rng, Generator)
    check_function("sample_noise", sample_noise)
    check_function("gradient", gradient)
    size = 2 * len(q.mu)
    adam = adam_init(size) if adam is None else adam
    adam = check_adam("adam", adam, (size,))

    # Step uphill on each minibatch.
    for minibatch in zip(inputs, targets):
        noise = sample_noise(rng, num_samples, inputs.shape[1], sizes)
        slope = gradient(q, prior, *minibatch, noise, **settings)
        q, adam = ascent_step(q, slope, adam, learning_rate)
    return q, adam


def ascent_step(
    q: DiagNormal,
    slope: tuple[Array, Array],
    adam: AdamState,
    rate: float,
) -> tuple[DiagNormal, AdamState]:
    """q and Adam's state after a step along a gradient in μ and ρ, (D,) each."""
    phi = np.concatenate([q.mu, q.rho])  # (2D,)
    downhill = -np.concatenate(slope)  # (2D,)
    phi, adam = adam_step(phi, downhill, adam, learning_rate=rate)
    return DiagNormal(*np.split(phi, 2)), adam  # (D,) and (D,)


# ------------------------------------------------------------ prediction


def predict(
    q: DiagNormal,
    inputs: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
) -> tuple[Array, Array]:
    """Mean and standard deviation (N, O) of P(target | input), with its noise."""
    check_posterior("q", q, layer_sizes)
    num_outputs = check_sizes(layer_sizes)[-1]
    sigma = check_likelihood(likelihood_sigma, num_outputs)
    outputs = mlp(sample_weights(q, eps), inputs, layer_sizes)  # (S, N, O)
    mean = np.mean(outputs, axis=0)  # (N, O)
    width = onp.hypot(np.std(outputs, axis=0), sigma)  # (N, O)
    check_finite("mean", mean)
    check_finite("standard deviation", width)
    return mean, width


def predictive_log_density(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
) -> Array:
    """log P(target | input) = log mean_S p(target | input, θ), (N,) in nats.

    The log of the mean density over the samples. [Lecture] "BNNs".
    """
    data = check_data(q, inputs, targets, layer_sizes, likelihood_sigma)
    outputs = mlp(sample_weights(q, eps), data.inputs, layer_sizes)  # (S, N, O)
    log_p = log_likelihood(outputs, data.targets, data.sigma)  # (S, N)
    return logsumexp(log_p, axis=0) - np.log(len(log_p))  # (N,)  B12


# ------------------------------------------------------------ argument checks


def value_of(values: Any) -> Any:
    """The number or array in the boxes that autograd puts around it."""
    while isbox(values):
        values = values._value
    return values


def read_only(values: Array) -> Array:
    """A copy that can't be written to; what autograd traces passes as it is."""
    if isbox(values):
        return values
    copy = onp.array(values)
    copy.setflags(write=False)
    return copy


FLOAT = onp.dtype(float64)
PAIR = ("mu_q", "sigma_q", "mu_p", "sigma_p")
Shape = tuple[int | None, ...]  # None is any length


def any_array(values: Any) -> NDArray[Any]:
    """The values as an array of any dtype; an object if rows are of unequal length."""
    try:
        return onp.asarray(values)
    except ValueError:
        return onp.asarray(None)


def floats(name: str, values: Any) -> Array:
    """The values as a float64 array in C order; ValueError unless they are numbers."""
    # What is already one passes as it is.
    ready = type(values) is onp.ndarray and values.dtype is FLOAT
    if ready and values.flags.c_contiguous:
        return values

    # Neither bools nor complex numbers nor objects are real numbers.
    array = any_array(values)
    if array.dtype.kind not in "fiu":
        got = f"{type(values).__name__} of {array.dtype}"
        wanted = "an array of real numbers"
        raise ValueError(f"{name} must be {wanted}, got {got}")
    with onp.errstate(over="ignore"):  # what float64 can't hold is rejected as infinite
        return onp.asarray(array, dtype=float64, order="C")


def set_fields(state: Any, **fields: Any) -> None:
    """Set fields of a frozen dataclass; arrays become read-only copies."""
    for name, value in fields.items():
        if isinstance(value, onp.ndarray):
            value = read_only(value)
        object.__setattr__(state, name, value)


def check_array(name: str, values: Any, shape: Shape | None = None) -> Array:
    """The values as a finite float64 array of this shape, or of any.

    Accepts lists and any real dtype; what autograd traces passes as it is.
    """
    array = values if isbox(values) else floats(name, values)
    if shape is not None:
        check_shape(name, array, shape)
    return check_finite(name, array)


def check_shape(name: str, array: Array, shape: Shape) -> None:
    given = array.shape
    fits = len(shape) == len(given)
    for want, got in zip(shape, given):
        fits = fits and (want is None or want == got)
    if not fits:
        pairs = zip(shape, given) if len(shape) == len(given) else []
        wanted = tuple(got if want is None else want for want, got in pairs)
        text = str(wanted or shape).replace("None", "any")
        raise ValueError(f"{name} must have shape {text}, got {given}")


def check_finite(name: str, values: Any) -> Any:
    """The values, if all are finite."""
    plain = type(values) is onp.ndarray
    array = values if plain else onp.asarray(value_of(values))
    square = onp.vdot(array, array)  # quicker: finite only if all are
    if square < onp.inf or onp.isfinite(array).all():
        return values
    where = tuple(int(i) for i in onp.argwhere(~onp.isfinite(array))[0])
    at = f" at index {where}" if where else ""
    raise ValueError(f"{name} must be finite, got {array[where]}{at}")


def check_positive(name: str, values: Any, shape: Shape | None = None) -> Array:
    """`check_array` of values that must be > 0."""
    if type(values) is float and 0.0 < values < onp.inf and not shape:
        return onp.asarray(values)
    array = values if isbox(values) else floats(name, values)
    number = value_of(array)
    if not ((number > 0) & (number < onp.inf)).all():
        ends = f"min {onp.min(number)}, max {onp.max(number)}"
        got = ends if onp.ndim(number) else number
        raise ValueError(f"{name} must be > 0 and finite, got {got}")
    if shape is not None:
        check_shape(name, array, shape)
    return array


def check_number(
    name: str, value: Any, low: float = -onp.inf, high: float = onp.inf
) -> float:
    """The value as a finite float from low to high."""
    number = floats(name, value)
    if number.ndim:
        raise ValueError(f"{name} must be one number, got {value!r}")
    if not (onp.isfinite(number) and low <= number <= high):
        limits = f"from {low:g} to {high:g}"
        if high == onp.inf:
            limits = "finite" if low == -onp.inf else f">= {low:g} and finite"
        raise ValueError(f"{name} must be {limits}, got {value}")
    return float(number)


def check_not_negative(name: str, value: Any) -> float:
    return check_number(name, value, 0.0)


def check_count(name: str, value: Any, minimum: int = 1) -> int:
    """The value as a Python int of at least `minimum`."""
    if type(value) is int and value >= minimum:
        return value
    flag = isinstance(value, bool | onp.bool_)
    try:
        whole = minimum - 1 if flag else index(value)
    except TypeError:
        whole = minimum - 1
    if whole < minimum:
        wanted = f"a whole number >= {minimum}"
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return whole


def check_flag(name: str, value: Any) -> bool:
    """The value as a Python bool."""
    if onp.ndim(value) > 0 or onp.asarray(value).dtype != bool:
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_flags(name: str, values: Any, shape: Shape) -> Array:
    """An array of bools of this shape, from bools or from numbers that are 0 or 1."""
    array = any_array(values)
    if array.dtype != bool:
        array = check_array(name, values)
    check_shape(name, array, shape)
    if array.dtype != bool and not ((array == 0) | (array == 1)).all():
        got = onp.unique(array)
        raise ValueError(f"{name} must be true or false, got {got}")
    return array.astype(bool)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        allowed = " or ".join(map(repr, choices))
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


def check_function(name: str, value: object) -> None:
    if not callable(value):
        raise ValueError(f"{name} must be a function, got {value!r}")


def check_kind(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        got = type(value).__name__
        raise ValueError(f"{name} must be a {kind.__name__}, got {got}")


def check_posterior(name: str, q: Any, layer_sizes: Sizes | None = None) -> None:
    """Raise ValueError unless q is a DiagNormal, over the weights of the network."""
    check_kind(name, q, DiagNormal)
    if layer_sizes is not None:
        check_shape(f"{name}.mu", q.mu, (num_weights(layer_sizes),))


def check_prior(prior: Any, q: DiagNormal, name: str = "prior") -> None:
    """Raise ValueError unless prior is a DiagNormal over the weights of q."""
    check_posterior(name, prior)
    check_shape(f"{name}.mu", prior.mu, q.mu.shape)


def check_parameters(mu: Array, rho: Array) -> None:
    if mu.ndim != 1 or mu.shape != rho.shape:
        raise ValueError(
            f"mu and rho must both be (D,), got {mu.shape} and {rho.shape}"
        )
    check_rho(rho)


def check_rho(rho: Array) -> None:
    least = onp.min(value_of(rho), initial=onp.inf)
    if least < MIN_RHO:
        raise ValueError(f"rho must be >= {MIN_RHO:g}, got min {least}")


def check_curved(q: DiagNormal) -> None:
    check_posterior("q", q)
    least = value_of(q.sigma).min(initial=onp.inf)
    if least < MIN_CURVED_SIGMA:
        wanted = f">= {MIN_CURVED_SIGMA:g} for 1/sigma²"
        raise ValueError(f"q.sigma must be {wanted}, got min {least}")


def check_pair(
    mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array
) -> tuple[Array, Array, Array, Array]:
    """Means and widths of q and p as arrays with the same last axis."""
    # Each of its kind.
    moments = (
        check_array("mu_q", mu_q),
        check_positive("sigma_q", sigma_q),
        check_array("mu_p", mu_p),
        check_positive("sigma_p", sigma_p),
    )

    # Their shapes agree.
    sizes = [onp.shape(value_of(values))[-1:] for values in moments]
    if sizes[0] == () or len(set(sizes)) > 1:
        names = ", ".join(PAIR)
        raise ValueError(f"{names} must have the same last axis, got {sizes}")
    check_broadcast(**dict(zip(PAIR, moments)))
    return moments


def check_broadcast(**arrays: Array) -> None:
    shapes = [onp.shape(value_of(each)) for each in arrays.values()]
    try:
        onp.broadcast_shapes(*shapes)
    except ValueError:
        names = ", ".join(arrays)
        text = f"{names} must have shapes that agree, got {shapes}"
        raise ValueError(text) from None


def check_sizes(layer_sizes: Sizes, name: str = "layer_sizes") -> tuple[int, ...]:
    """The units of each layer, as a tuple of Python ints."""
    sequence = isinstance(layer_sizes, tuple | Sequence)
    if not (sequence or onp.ndim(layer_sizes) == 1) or len(layer_sizes) < 2:
        got = repr(layer_sizes)
        raise ValueError(f"{name} must name inputs and outputs, got {got}")
    return tuple([check_count(name, size) for size in layer_sizes])


def check_adam(name: str, state: Any, shape: tuple[int, ...]) -> AdamState:
    """The optimizer's state with float64 arrays of this shape."""
    check_kind(name, state, AdamState)
    mean = check_array(f"{name}.mean", state.mean, shape)
    square = check_array(f"{name}.square", state.square, shape)
    if (square < 0).any():
        least = square.min()
        raise ValueError(f"{name}.square must be >= 0, got min {least}")
    num_steps = check_count(f"{name}.num_steps", state.num_steps, 0)
    return AdamState(mean, square, num_steps)


def check_eps(eps: Array, size: int) -> Array:
    """The noise as an array (S, D)."""
    if isinstance(eps, list) and any(onp.ndim(each) > 1 for each in eps):
        got = f"a list of {len(eps)} arrays"
        raise ValueError(f"eps must be an array (S, {size}), got {got}")
    array = check_array("eps", eps, (None, size))
    check_count("samples in eps", len(array))
    return array


def check_zeta(zeta: Zeta, num_rows: int, layer_sizes: Sizes) -> list[Array]:
    """The noise as arrays (S, N, O), one per layer."""
    # One array per layer.
    units = check_sizes(layer_sizes)[1:]
    if not isinstance(zeta, list | tuple):
        got = f"an array {onp.shape(zeta)}"
        raise ValueError(f"zeta must be a list of one array per layer, got {got}")
    if len(zeta) != len(units):
        raise ValueError(
            f"zeta must have one array per layer, {len(units)}, got {len(zeta)}"
        )

    # The first one tells the number of samples.
    first = check_array("zeta", zeta[0], (None, num_rows, units[0]))
    samples = check_count("samples in zeta", len(first))
    return [
        check_array("zeta", each, (samples, num_rows, width))
        for each, width in zip(zeta, units)
    ]


def check_likelihood(likelihood_sigma: Sigma, num_outputs: int) -> Array:
    """σ_l as an array, () or (O,)."""
    sigma = check_positive("likelihood_sigma", likelihood_sigma)
    if sigma.ndim:
        check_shape("likelihood_sigma", sigma, (num_outputs,))
    return sigma


def check_rows(inputs: Array, targets: Array) -> None:
    if len(inputs) == 0 or len(inputs) != len(targets):
        counts = f"{len(inputs)} and {len(targets)}"
        raise ValueError(
            f"inputs and targets must have the same number of rows >= 1, got {counts}"
        )


def check_data(
    q: DiagNormal, inputs: Array, targets: Array, layer_sizes: Sizes, sigma: Sigma
) -> Data:
    """Rows for the network with weights q, one at least."""
    sizes = check_sizes(layer_sizes)
    check_posterior("q", q, sizes)
    inputs = check_array("inputs", inputs, (None, sizes[0]))
    targets = check_array("targets", targets, (None, sizes[-1]))
    check_rows(inputs, targets)
    return Data(inputs, targets, sizes, check_likelihood(sigma, sizes[-1]))


def check_minibatches(
    q: DiagNormal, inputs: Array, targets: Array, layer_sizes: Sizes
) -> tuple[Array, Array]:
    """Minibatches for the network with weights q; there may be none."""
    sizes = check_sizes(layer_sizes)
    check_posterior("q", q, sizes)
    inputs = check_array("inputs", inputs, (None, None, sizes[0]))
    targets = check_array("targets", targets, (*inputs.shape[:2], sizes[-1]))
    check_count("rows of a minibatch of inputs", inputs.shape[1])
    return inputs, targets


# ------------------------------------------------------------ what `help` shows

__all__ = [
    "softplus", "softplus_inverse", "DiagNormal", "normal_log_density",
    "kl_textbook", "kl_diag_normal", "kl_hessian_diag", "kl_taylor",
    "num_weights", "unflatten", "mlp", "sample_weights", "mlp_local",
    "log_likelihood", "elbo", "elbo_local", "elbo_grad", "elbo_grad_local",
    "AdamState", "adam_init", "adam_step", "sample_eps", "sample_zeta", "fit",
    "predict", "predictive_log_density",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

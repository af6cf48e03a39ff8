"""A distribution over the weights of a neural network, and how data moves it.

Nothing in this module knows of reinforcement learning. It holds the diagonal Gaussian q(θ; φ) over flat
weights, its divergences, the network under both reparameterizations, the evidence lower bound with its
gradient by autograd, and training and prediction.

Axes: N rows, S posterior samples, D weights (biases included), I and O inputs and outputs of a layer.
Information is in nats, every sigma is a standard deviation, arrays are float64. Noise is an argument;
only `sample_noise` and `fit` draw it.

Sources: [Lecture] "Intrinsic motivation in RL", by slide title; [VIME] Houthooft et al. 2016, arXiv
1605.09674; [Local] Kingma et al. 2015, arXiv 1506.02557; [Adam] Kingma and Ba 2014, arXiv 1412.6980.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from numbers import Integral
from typing import Any, Literal, NamedTuple, ParamSpec, TypedDict, TypeVar, Unpack

import autograd.numpy as np
import numpy as onp  # for what no gradient passes through
from autograd import grad
from autograd.tracer import isbox
from numpy import float64
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

# ---------------------------------------------------------------- constants

MIN_CURVED_SIGMA = 1e-150  # 1/σ² and σ² are normal numbers down to here
MIN_RHO = (
    -700.0
)  # softplus(-700) = 1e-304: below, sigma leaves the normal numbers of float64
SERIES_RANGE = 0.25  # |r| up to which r − log1p(r) is a series; the difference beyond it keeps 13 digits
SERIES_TERMS = onp.arange(
    10
)  # u² < 0.0205 there: what follows the tenth term is under 1e-17 of the sum

# ---------------------------------------------------------------- types

Array = NDArray[float64]  # while autograd traces, a box around one
Sigma = Array | float  # a standard deviation for all dimensions, or one for each
Sizes = Sequence[int]  # units of each layer, inputs first
Zeta = Sequence[Array]  # noise of the pre-activations: one (S, N, O) per layer
Noise = (
    Array | Zeta
)  # eps (S, D), which samples weights, or zeta, which samples pre-activations
Gradient = Literal[
    "autograd", "closed_form"
]  # the definition of the ELBO's gradient, or its fast twin
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class DiagNormal:
    """q(θ; φ) = Π_i N(θ_i; μ_i, σ_i²) with σ = log(1 + e^ρ); mu and rho (D,), kept as read-only copies.

    Raises ValueError unless both are finite and of one shape (D,), with rho ≥ -700.
    [VIME] section 2.5; [Lecture] "BNNs".
    """

    mu: Array
    rho: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "mu", read_only(self.mu))
        object.__setattr__(self, "rho", read_only(self.rho))
        check_finite("mu", self.mu)
        check_finite("rho", self.rho)
        if self.mu.ndim != 1 or self.mu.shape != self.rho.shape:
            raise ValueError(
                f"mu and rho must both be (D,), got {self.mu.shape} and {self.rho.shape}"
            )
        if not isbox(self.rho) and not onp.all(self.rho >= MIN_RHO):
            raise ValueError(f"rho must be >= {MIN_RHO:g}, got min {onp.min(self.rho)}")

    @cached_property
    def sigma(self) -> Array:
        """Standard deviations (D,)."""
        return read_only(softplus(self.rho))


class ElboSettings(TypedDict):
    """The keywords of `elbo`."""

    layer_sizes: Sizes
    likelihood_sigma: Sigma
    num_data: float


class AdamState(NamedTuple):
    """Running means of gradient and squared gradient, (P,) each, and the number of steps taken."""

    mean: Array
    square: Array
    num_steps: int


# ---------------------------------------------------------------- building blocks: argument checks


def read_only(values: Array) -> Array:
    """A float64 copy that can't be written to; what autograd traces goes through as it is."""
    if isbox(values):
        return values
    copy = onp.array(values, dtype=float64)
    copy.setflags(write=False)
    return copy


def check_finite(name: str, values: Sigma) -> None:
    if not isbox(values) and not onp.all(onp.isfinite(values)):
        where = tuple(int(i) for i in onp.argwhere(~onp.isfinite(values))[0])
        raise ValueError(
            f"{name} must be finite, got {onp.asarray(values)[where]} at index {where}"
        )


def check_positive(name: str, values: Sigma) -> None:
    if not isbox(values) and not onp.all((values > 0) & onp.isfinite(values)):
        raise ValueError(
            f"{name} must be > 0 and finite, got min {onp.min(values)}, max {onp.max(values)}"
        )


def check_array(name: str, values: Sigma, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the values have this shape and are finite."""
    if onp.shape(values) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {onp.shape(values)}")
    check_finite(name, values)


def check_count(name: str, value: int, minimum: int = 1) -> None:
    if not (isinstance(value, Integral) and value >= minimum):
        raise ValueError(f"{name} must be a whole number >= {minimum}, got {value}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}"
        )


# ---------------------------------------------------------------- building blocks: standard deviations


def softplus(rho: Array) -> Array:
    """σ = log(1 + e^ρ), elementwise, without overflow.

    >>> float(softplus(1000.0))
    1000.0
    """
    check_finite("rho", rho)
    return np.logaddexp(0.0, rho)


def softplus_inverse(sigma: Array) -> Array:
    """ρ = log(e^σ − 1) = σ + log(1 − e^−σ), elementwise; sigma > 0, or ValueError.

    >>> float(softplus_inverse(1000.0))
    1000.0
    """
    sigma = onp.asarray(sigma)
    check_positive("sigma", sigma)
    return sigma + np.log(-np.expm1(-sigma))


def softplus_difference(rho_q: Array, rho_p: Array) -> Array:
    """σ(ρ_q) − σ(ρ_p) with all its digits, however close the two are.

    With a < b the two arguments, |Δσ| = log1p(sigmoid(a)·expm1(b − a)), from (1 + e^b)/(1 + e^a).
    """
    low, gap = np.minimum(rho_q, rho_p), np.abs(rho_q - rho_p)
    near = np.log1p(expit(low) * np.expm1(np.minimum(gap, 700.0)))
    far = softplus(low + gap) - softplus(low)  # expm1 would overflow
    return np.sign(rho_q - rho_p) * np.where(gap > 700.0, far, near)


# ---------------------------------------------------------------- building blocks: densities and divergences


def normal_log_density(x: Array, mean: Array, sigma: Sigma) -> Array:
    """log N(x; mean, σ²) = −½ log 2π − log σ − ½((x − mean)/σ)², elementwise, in nats; sigma > 0."""
    check_finite("x", x)
    check_finite("mean", mean)
    check_positive("sigma", sigma)
    return (
        -0.5 * onp.log(2.0 * onp.pi) - np.log(sigma) - 0.5 * ((x - mean) / sigma) ** 2
    )


def kl_from_moves(mean_move: Array, sigma_move: Array, sigma_ratio: Array) -> Array:
    """KL[q‖p] = Σ ½(r − log(1 + r)) + ½m² from m = (μ_q − μ_p)/σ_p, d = (σ_q − σ_p)/σ_p and σ_q/σ_p = 1 + d.

    r = (σ_q/σ_p)² − 1 = d(2 + d). The caller gives d and 1 + d apart, each with all its digits.
    """
    r = sigma_move * (2.0 + sigma_move)
    small = (r > -SERIES_RANGE) & (r < SERIES_RANGE)
    # Small r: log1p(r) = 2 artanh(u) with u = r/(2 + r), and r − 2u = r·u.
    r_small = np.where(small, r, 0.0)
    u = r_small / (2.0 + r_small)
    tail = np.dot((u * u)[..., None] ** SERIES_TERMS, 1.0 / (2.0 * SERIES_TERMS + 3.0))
    excess = np.where(
        small, r_small * u - 2.0 * u**3 * tail, r - 2.0 * np.log(sigma_ratio)
    )
    return 0.5 * np.sum(excess + mean_move**2, axis=-1)


def kl_diag_normal(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """KL[q‖p] = Σ ½[(σ_q/σ_p)² − 1 − 2 log(σ_q/σ_p) + ((μ_q − μ_p)/σ_p)²] in nats, summed over the last axis.

    Arguments (..., D), result (...,). Exact to 1e-12 also where q and p almost agree, which the sum above
    is not. Raises ValueError unless all are finite and both sigmas > 0.
    [Lecture], the slide on the KL, leaves out the −1: its right-hand side is D/2 for q = p.

    >>> float(kl_diag_normal(np.array([1e-9]), np.array([1.0]), np.array([0.0]), np.array([1.0])))
    5e-19
    """
    sizes = [onp.shape(values)[-1:] for values in (mu_q, sigma_q, mu_p, sigma_p)]
    if sizes[0] == () or len(set(sizes)) > 1:
        raise ValueError(
            f"mu_q, sigma_q, mu_p and sigma_p must have the same last axis, got {sizes}"
        )
    check_finite("mu_q", mu_q)
    check_finite("mu_p", mu_p)
    check_positive("sigma_q", sigma_q)
    check_positive("sigma_p", sigma_p)
    return kl_from_moves(
        (mu_q - mu_p) / sigma_p, (sigma_q - sigma_p) / sigma_p, sigma_q / sigma_p
    )


def kl_hessian_diag(q: DiagNormal) -> tuple[Array, Array]:
    """Second derivatives of KL[q(φ + Δ)‖q(φ)] at Δ = 0: 1/σ² in μ and 2·sigmoid(ρ)²/σ² in ρ, each (D,).

    All mixed derivatives are 0. Raises ValueError where 1/σ² is no finite number. [VIME] section 2.5.
    """
    if onp.any(q.sigma < MIN_CURVED_SIGMA):
        raise ValueError(
            f"sigma must be >= {MIN_CURVED_SIGMA:g} for 1/sigma², got min {onp.min(q.sigma)}"
        )
    return q.sigma**-2.0, 2.0 * (expit(q.rho) / q.sigma) ** 2


def kl_taylor(q: DiagNormal, delta_mu: Array, delta_rho: Array) -> Array:
    """KL[q(φ + Δ)‖q(φ)] ≈ ½ Δᵀ H Δ, a scalar in nats; delta_mu and delta_rho (D,)."""
    check_array("delta_mu", delta_mu, q.mu.shape)
    check_array("delta_rho", delta_rho, q.rho.shape)
    h_mu, h_rho = kl_hessian_diag(q)
    return 0.5 * np.sum(h_mu * delta_mu**2 + h_rho * delta_rho**2)


# ---------------------------------------------------------------- building blocks: the network


def relu(x: Array) -> Array:
    """max(x, 0), with derivative 0 at 0."""
    return np.where(x > 0, x, 0.0)


def num_weights(layer_sizes: Sizes) -> int:
    """D = Σ (I + 1)·O over the layers.

    >>> num_weights((3, 32, 2))
    194
    """
    if len(layer_sizes) < 2:
        raise ValueError(
            f"layer_sizes must name inputs and outputs, got {tuple(layer_sizes)}"
        )
    for size in layer_sizes:
        check_count("layer_sizes", size)
    return sum((i + 1) * o for i, o in zip(layer_sizes, layer_sizes[1:]))


def layer_blocks(theta: Array, layer_sizes: Sizes) -> list[Array]:
    """Flat weights (..., D) as one (..., I + 1, O) per layer: the matrix in C order, the bias its last row."""
    check_array("theta", theta, (*theta.shape[:-1], num_weights(layer_sizes)))
    blocks, start = [], 0
    for i, o in zip(layer_sizes, layer_sizes[1:]):
        end = start + (i + 1) * o
        blocks.append(theta[..., start:end].reshape((*theta.shape[:-1], i + 1, o)))
        start = end
    return blocks


def unflatten(theta: Array, layer_sizes: Sizes) -> list[tuple[Array, Array]]:
    """Matrix (..., I, O) and bias (..., O) of each layer from flat weights (..., D)."""
    return [
        (block[..., :-1, :], block[..., -1, :])
        for block in layer_blocks(theta, layer_sizes)
    ]


def mlp(
    theta: Array,
    inputs: Array,
    layer_sizes: Sizes,
    *,
    hidden: Callable[[Array], Array] = relu,
) -> Array:
    """Outputs (S, N, O) of S networks, weights (S, D), on rows (N, I); the last layer is linear."""
    check_array("theta", theta, (len(theta), num_weights(layer_sizes)))
    check_array("inputs", inputs, (len(inputs), layer_sizes[0]))
    activations = inputs
    for layer, (matrix, bias) in enumerate(unflatten(theta, layer_sizes)):
        activations = hidden(activations) if layer > 0 else activations
        activations = np.matmul(activations, matrix) + bias[:, None, :]  # (S, N, O)
    return activations


def sample_weights(q: DiagNormal, eps: Array) -> Array:
    """θ = μ + σ ⊙ ε, (S, D) from standard normal eps (S, D). [Lecture], reparameterization."""
    check_count("samples in eps", len(eps))
    check_array("eps", eps, (len(eps), len(q.mu)))
    return q.mu + q.sigma * eps


def check_zeta(zeta: Zeta, num_rows: int, layer_sizes: Sizes) -> None:
    if len(zeta) != len(layer_sizes) - 1:
        raise ValueError(
            f"zeta must have one array per layer, {len(layer_sizes) - 1}, got {len(zeta)}"
        )
    check_count("samples in zeta", len(zeta[0]))
    for values, units in zip(zeta, layer_sizes[1:]):
        check_array("zeta", values, (len(zeta[0]), num_rows, units))


def mlp_local(q: DiagNormal, inputs: Array, zeta: Zeta, layer_sizes: Sizes) -> Array:
    """Outputs (S, N, O) with the pre-activations sampled in place of the weights: z ~ N(h·μ, h²·σ²).

    zeta: one standard normal (S, N, O) per layer, so the noise differs between samples, rows and units.
    [Local] section 2; [VIME] section 2.5.
    """
    check_zeta(zeta, len(inputs), layer_sizes)
    check_array("inputs", inputs, (len(inputs), layer_sizes[0]))
    means, variances = unflatten(q.mu, layer_sizes), unflatten(q.sigma**2, layer_sizes)
    activations = inputs
    for layer, ((m, m_bias), (v, v_bias)) in enumerate(zip(means, variances)):
        activations = relu(activations) if layer > 0 else activations
        mean, variance = (
            np.matmul(activations, m) + m_bias,
            np.matmul(activations**2, v) + v_bias,
        )
        activations = mean + np.sqrt(variance) * zeta[layer]  # (S, N, O)
    return activations


def forward(q: DiagNormal, inputs: Array, noise: Noise, layer_sizes: Sizes) -> Array:
    """Outputs (S, N, O) of `mlp` on weights sampled with eps, or of `mlp_local` where the noise is zeta."""
    if isinstance(noise, onp.ndarray):
        return mlp(sample_weights(q, noise), inputs, layer_sizes)
    return mlp_local(q, inputs, noise, layer_sizes)


def with_zeta(function: Callable[P, R]) -> Callable[P, R]:
    """The function under local reparameterization: zeta, one (S, N, O) per layer, in place of eps."""

    @wraps(function)
    def local(*args: Any, **settings: Any) -> Any:
        if "zeta" in settings:
            settings["eps"] = settings.pop("zeta")
        noise = settings["eps"] if "eps" in settings else args[-1]
        if isinstance(noise, onp.ndarray):
            raise ValueError(
                f"zeta must be a list of one array per layer, got an array {noise.shape}"
            )
        return function(*args, **settings)

    local.__name__ = f"{function.__name__}_local"
    return local


def check_likelihood_sigma(likelihood_sigma: Sigma, num_outputs: int) -> None:
    check_positive("likelihood_sigma", likelihood_sigma)
    if onp.ndim(likelihood_sigma) > 0:
        check_array("likelihood_sigma", likelihood_sigma, (num_outputs,))


def log_likelihood(outputs: Array, targets: Array, likelihood_sigma: Sigma) -> Array:
    """log N(targets; outputs, σ_l²) summed over output dimensions: (S, N) from (S, N, O) and (N, O).

    likelihood_sigma: a scalar or (O,), in the units of the targets.
    """
    check_array("targets", targets, outputs.shape[1:])
    check_likelihood_sigma(likelihood_sigma, outputs.shape[-1])
    return np.sum(normal_log_density(targets, outputs, likelihood_sigma), axis=-1)


def check_rows(inputs: Array, targets: Array) -> None:
    check_finite("inputs", inputs)
    check_finite("targets", targets)
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ValueError(
            f"inputs and targets must have the same number of rows >= 1, got {len(inputs)} and {len(targets)}"
        )


# ---------------------------------------------------------------- the algorithm: evidence lower bound


def elbo(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Noise,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    num_data: float,
) -> Array:
    """(n/B) Σ_rows mean_S log p(target | input, θ) − KL[q‖prior] ≤ log p(D), a scalar in nats.

    inputs (B, I) and targets (B, O) are a minibatch that stands for n = num_data rows; eps (S, D).
    [VIME] section 2.3; [Lecture] "Lower bound" ends in + log p(z) where its own line before has − log p(z),
    and "BNNs" maximises E p(s′), without logarithm and KL, where this is meant.
    """
    check_rows(inputs, targets)
    check_positive("num_data", num_data)
    log_p = log_likelihood(
        forward(q, inputs, eps, layer_sizes), targets, likelihood_sigma
    )  # (S, B)
    evidence = num_data / len(inputs) * np.sum(np.mean(log_p, axis=0))
    return evidence - kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma)


def elbo_grad(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Noise,
    **settings: Unpack[ElboSettings],
) -> tuple[Array, Array]:
    """Gradient of `elbo` in μ and in ρ, each (D,), by autograd; settings as there. ValueError unless finite."""

    def objective(phi: tuple[Array, Array]) -> Array:
        return elbo(DiagNormal(*phi), prior, inputs, targets, eps, **settings)

    grad_mu, grad_rho = grad(objective)((q.mu, q.rho))
    check_finite("grad_mu", grad_mu)
    check_finite("grad_rho", grad_rho)
    return grad_mu, grad_rho


elbo_local, elbo_grad_local = with_zeta(elbo), with_zeta(elbo_grad)


# ---------------------------------------------------------------- the algorithm: the same gradient in closed form


def layer_input(z: Array, layer: int) -> Array:
    """What enters a layer, and a trailing 1 for the bias: (S, N, I) -> (S, N, I + 1)."""
    a = onp.ones((*z.shape[:-1], z.shape[-1] + 1))
    a[..., :-1] = onp.maximum(z, 0.0) if layer > 0 else z
    return a


def backward_sampled(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
) -> tuple[list[Array], list[Array]]:
    """Each layer's input a (S, N, I + 1) and δ (S, N, O), the derivative of −mean_S log p by its pre-activations.

    A layer's gradient in one row and sample is the outer product a ⊗ δ.
    """
    blocks = layer_blocks(sample_weights(q, eps), layer_sizes)  # (S, I + 1, O)
    z, a = onp.broadcast_to(inputs, (len(eps), *inputs.shape)), []
    for layer, block in enumerate(blocks):
        a.append(layer_input(z, layer))
        z = a[layer] @ block
    delta = [(z - targets) / onp.square(likelihood_sigma) / len(eps)]
    for layer in reversed(range(1, len(blocks))):
        back = (delta[0] @ blocks[layer].swapaxes(1, 2))[..., :-1]
        delta.insert(0, back * (a[layer][..., :-1] > 0))
    return a, delta


def backward_local(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
) -> tuple[list[Array], list[Array], list[Array]]:
    """a and δ of each layer as in `backward_sampled`, and κ = δ⊙ζ/√v (S, N, O), twice the derivative by v.

    v is the variance of a pre-activation, through which the loss depends on the variances of the weights.
    """
    check_zeta(zeta, len(inputs), layer_sizes)
    means, variances = (
        layer_blocks(q.mu, layer_sizes),
        layer_blocks(q.sigma**2, layer_sizes),
    )
    z, a, roots = onp.broadcast_to(inputs, (len(zeta[0]), *inputs.shape)), [], []
    for layer, (mean, variance) in enumerate(zip(means, variances)):
        a.append(layer_input(z, layer))
        roots.append(onp.sqrt(a[layer] ** 2 @ variance))
        z = a[layer] @ mean + roots[layer] * zeta[layer]
    delta = [(z - targets) / onp.square(likelihood_sigma) / len(zeta[0])]
    kappa = [delta[0] * zeta[-1] / roots[-1]]
    for layer in reversed(range(1, len(means))):
        back = delta[0] @ means[layer].T + a[layer] * (kappa[0] @ variances[layer].T)
        delta.insert(0, (back * (a[layer] > 0))[..., :-1])
        kappa.insert(0, delta[0] * zeta[layer - 1] / roots[layer - 1])
    return a, delta, kappa


def elbo_grad_closed(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Noise,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    num_data: float,
) -> tuple[Array, Array]:
    """`elbo_grad` without autograd, several times faster on small minibatches; same arguments.

    ∂/∂μ = −(n/B) Σ a⊗δ − (μ − μ_p)/σ_p² and ∂/∂σ = −(n/B) Σ ε⊙(a⊗δ) − (σ² − σ_p²)/(σ σ_p²), the sums over rows and
    samples, ∂σ/∂ρ = sigmoid(ρ); with zeta, σ⊙(a²⊗κ) stands for ε⊙(a⊗δ). ValueError where it is not finite: with zeta,
    where the variance of a pre-activation is 0 in float64.
    """
    check_rows(inputs, targets)
    check_positive("num_data", num_data)
    check_array("prior.mu", prior.mu, (num_weights(layer_sizes),))
    check_array("inputs", inputs, (len(inputs), layer_sizes[0]))
    check_array("targets", targets, (len(inputs), layer_sizes[-1]))
    check_likelihood_sigma(likelihood_sigma, layer_sizes[-1])
    if isinstance(eps, onp.ndarray):
        a, delta = backward_sampled(
            q, inputs, targets, eps, layer_sizes, likelihood_sigma
        )
        outer = [(x.swapaxes(1, 2) @ d).reshape(len(eps), -1) for x, d in zip(a, delta)]
        each = onp.concatenate(outer, axis=1)  # (S, D)
        by_mu, by_sigma = each.sum(axis=0), (eps * each).sum(axis=0)
    else:
        a, delta, kappa = backward_local(
            q, inputs, targets, eps, layer_sizes, likelihood_sigma
        )
        by_mu = onp.concatenate(
            [onp.tensordot(x, d, ((0, 1), (0, 1))).ravel() for x, d in zip(a, delta)]
        )
        by_variance = [
            onp.tensordot(x**2, k, ((0, 1), (0, 1))).ravel() for x, k in zip(a, kappa)
        ]
        by_sigma = q.sigma * onp.concatenate(by_variance)
    scale = num_data / len(inputs)
    kl_by_sigma = (
        (q.sigma - prior.sigma) * (q.sigma + prior.sigma) / (q.sigma * prior.sigma**2)
    )
    grad_mu = -scale * by_mu - (q.mu - prior.mu) / prior.sigma**2
    grad_rho = -(scale * by_sigma + kl_by_sigma) * expit(q.rho)
    check_finite("grad_mu", grad_mu)
    check_finite("grad_rho", grad_rho)
    return grad_mu, grad_rho


elbo_grad_closed_local = with_zeta(elbo_grad_closed)
GRADIENTS = {"autograd": elbo_grad, "closed_form": elbo_grad_closed}  # by `Gradient`


# ---------------------------------------------------------------- the algorithm: training


def adam_init(size: int) -> AdamState:
    """The optimiser's state before the first step."""
    return AdamState(np.zeros(size), np.zeros(size), 0)


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
    """One descent step of Adam on params (P,), and the new state. Defaults: [Adam] Algorithm 1."""
    check_array("gradient", gradient, params.shape)
    check_array("state.mean", state.mean, params.shape)
    check_positive("learning_rate", learning_rate)
    num_steps = state.num_steps + 1
    mean = beta1 * state.mean + (1.0 - beta1) * gradient
    square = beta2 * state.square + (1.0 - beta2) * gradient**2
    step = (
        mean
        / (1.0 - beta1**num_steps)
        / (np.sqrt(square / (1.0 - beta2**num_steps)) + epsilon)
    )
    return params - learning_rate * step, AdamState(mean, square, num_steps)


def sample_noise(
    rng: Generator, num_samples: int, num_rows: int, layer_sizes: Sizes, *, local: bool
) -> Noise:
    """eps (S, D), or where local is true zeta, one (S, N, O) per layer."""
    if local:
        return [
            rng.standard_normal((num_samples, num_rows, units))
            for units in layer_sizes[1:]
        ]
    return rng.standard_normal((num_samples, num_weights(layer_sizes)))


def fit(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    rng: Generator,
    *,
    num_updates: int,
    batch_size: int,
    num_samples: int,
    learning_rate: float,
    local: bool = False,
    gradient: Gradient = "autograd",
    adam: AdamState | None = None,
    **settings: Unpack[ElboSettings],
) -> tuple[DiagNormal, AdamState]:
    """Raise the ELBO by num_updates Adam steps on minibatches drawn with replacement; q and Adam's state.

    local: noise per sample, row and unit in place of noise per weight. gradient: "autograd" or "closed_form",
    which differ in speed, and in rounding, so that the same draws do not give the same bits.
    """
    check_rows(inputs, targets)
    check_choice("gradient", gradient, tuple(GRADIENTS))
    check_count("num_updates", num_updates, minimum=0)
    check_count("batch_size", batch_size)
    check_count("num_samples", num_samples)
    phi, adam = np.concatenate([q.mu, q.rho]), adam or adam_init(2 * len(q.mu))
    for _ in range(num_updates):
        rows = rng.integers(len(inputs), size=batch_size)
        noise = sample_noise(
            rng, num_samples, batch_size, settings["layer_sizes"], local=local
        )
        q = DiagNormal(*np.split(phi, 2))
        uphill = np.concatenate(
            GRADIENTS[gradient](
                q, prior, inputs[rows], targets[rows], noise, **settings
            )
        )
        phi, adam = adam_step(phi, -uphill, adam, learning_rate=learning_rate)
    return DiagNormal(*np.split(phi, 2)), adam


# ---------------------------------------------------------------- the algorithm: prediction


def predict(
    q: DiagNormal,
    inputs: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
) -> tuple[Array, Array]:
    """Mean and standard deviation (N, O) of P(target | input), the observation noise included."""
    check_likelihood_sigma(likelihood_sigma, layer_sizes[-1])
    outputs = forward(q, inputs, eps, layer_sizes)
    return np.mean(outputs, axis=0), np.sqrt(
        np.var(outputs, axis=0) + np.square(likelihood_sigma)
    )


def predictive_log_density(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
) -> Array:
    """log P(target | input) = log mean_S p(target | input, θ), (N,) in nats: the density of the mixture.

    [Lecture] "BNNs": P(s′|s, a) = E_q P(s′|s, a, θ).
    """
    check_rows(inputs, targets)
    log_p = log_likelihood(
        forward(q, inputs, eps, layer_sizes), targets, likelihood_sigma
    )
    return logsumexp(log_p, axis=0) - np.log(len(log_p))

"""Networks, bounds and gains as real code has them, with a switch where each mistake is made.

The first argument of most functions is the set of mistakes that are made, so that any of
them can be made together. What follows a "_" in a name distinguishes variants of a mistake.
Nothing here uses the reference or the kit: gradients are autograd's, and where no gradient
is needed, numbers have 50 digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import autograd.numpy as np
import mpmath as mp
import numpy as onp
from autograd import grad
from autograd.scipy.special import logsumexp
from scipy import special

# ---------------------------------------------------------------- types and constants

Array = Any  # of floats, of numbers with 50 digits, or a box of autograd
Flags = frozenset[str]
Inputs = dict[str, Any]
Phi = tuple[Array, Array]  # mu and rho

LOG_TWO_PI = math.log(2.0 * math.pi)
FUDGE = 1e-8
FLOORS = {"SigmaFloor_8": 1e-8, "SigmaFloor_6": 1e-6, "SigmaFloor_5": 1e-5}
MOST_GAIN = 1000.0
MOMENTUM = 0.9

# ---------------------------------------------------------------- floats and 50 digits

Function = Callable[..., Any]


def each(function: Function) -> Function:
    return onp.vectorize(function, otypes=[object])


digits = each(mp.mpf)


def has_digits(x: Array) -> bool:
    return getattr(getattr(x, "dtype", None), "kind", "") == "O"


def floats(x: Array) -> Array:
    return x.astype(float) if has_digits(x) else x


def exp(x: Array) -> Array:
    return each(mp.exp)(x) if has_digits(x) else np.exp(x)


def log(x: Array) -> Array:
    return each(mp.log)(x) if has_digits(x) else np.log(x)


def softplus_of(rho: Array) -> Array:
    if has_digits(rho):
        return each(lambda r: mp.log1p(mp.exp(r)))(rho)
    return np.logaddexp(rho, 0.0)


# ---------------------------------------------------------------- standard deviations


def sigma_of(flags: Flags, rho: Array) -> Array:
    """σ = softplus(ρ)."""
    low = np.where(rho > 20.0, 0.0, rho) if "SoftplusThreshold" in flags else rho
    if "SoftplusOverflow" in flags:
        sigma = np.log(1.0 + np.exp(floats(low)))
        sigma = digits(sigma) if has_digits(rho) else sigma
    else:
        sigma = softplus_of(low)
    if "SoftplusThreshold" in flags:
        sigma = np.where(rho > 20.0, rho, sigma)
    return floored(flags, sigma)


def floored(flags: Flags, sigma: Array) -> Array:
    return sigma + sum(floor for flag, floor in FLOORS.items() if flag in flags)


def softplus(flags: Flags, rho: Array) -> Array:
    return sigma_of(flags, rho)


def softplus_inverse(flags: Flags, sigma: Array) -> Array:
    if "SoftplusOverflow" in flags:
        return np.log(np.exp(sigma) - 1.0)
    return floats(each(lambda s: mp.log(mp.expm1(s)))(digits(sigma)))


# ---------------------------------------------------------------- divergences


def kl_of_weights(
    flags: Flags, mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array
) -> Array:
    """KL[q‖p] of each weight, by the textbook; it needs 50 digits near identity."""
    fudged = "FudgedDenominator" in flags or "FudgedDenominator_log" in flags

    # A prior's variance, or the root of a σ taken for one.
    if "VarianceAsSigma" in flags or "VarianceAsSigma_both" in flags:
        sigma_p = sigma_p**2
    if "VarianceAsSigma_both" in flags:
        sigma_q = sigma_q**2
    if "VarianceAsSigma_root" in flags or "VarianceAsSigma_roots" in flags:
        sigma_p = sigma_p**0.5
    if "VarianceAsSigma_roots" in flags:
        sigma_q = sigma_q**0.5

    # Both distributions, in one type of numbers.
    q = (mu_q, sigma_q)
    p = (mu_p, sigma_p)
    if "SwappedKL" in flags:
        q, p = p, q
    if "NaiveNearIdentity" in flags or is_extreme(q[1]) or is_extreme(p[1]):
        q = (floats(q[0]), floats(q[1]))
        p = (floats(p[0]), floats(p[1]))

    # In ratios, whose gradient at q = p is exactly 0.
    constant = 0.0 if "DroppedConstant" in flags else 1.0
    if not fudged:
        fractions = width_of(flags, q, p) + move_of(flags, q, p)
        return 0.5 * (fractions - constant) - logarithm(flags, log(q[1] / p[1]))

    # With 1e-8 in the denominator, as in all codes of VIME.
    fractions = width_of(flags, q, p) + move_of(flags, q, p)
    share = p[1] ** 2 / (2.0 * p[1] ** 2 + FUDGE)
    inside = FUDGE if "FudgedDenominator_log" in flags else 0.0
    logarithms = log(q[1] + inside) - log(p[1] + inside)
    return share * (fractions - constant) - logarithm(flags, logarithms)


def width_of(flags: Flags, q: Phi, p: Phi) -> Array:
    """σ_q²/σ_p²; the second of each distribution is its σ."""
    above, below = q[1], p[1]
    if "SwappedSigmas_width" in flags:
        above, below = below, above
    ratio = above / below
    width = ratio**2
    if {"VarianceAsSigma_width", "VarianceAsSigma_fractions"} & flags:
        width = ratio
    if "VarianceAsSigma_denominators" in flags:
        width = width * below
    return twice(flags, "width") * width


def move_of(flags: Flags, q: Phi, p: Phi) -> Array:
    """Δμ²/σ_p²."""
    sigma = q[1] if "SwappedSigmas_mean" in flags else p[1]
    move = ((q[0] - p[0]) / sigma) ** 2
    names = "mean", "fractions", "denominators"
    if {f"VarianceAsSigma_{name}" for name in names} & flags:
        move = move * sigma
    return twice(flags, "mean") * move


def twice(flags: Flags, term: str) -> float:
    """A factor of 2 if the ½ of a fraction is missing."""
    return 2.0 if {f"MissingHalf_{term}", "MissingHalf_fractions"} & flags else 1.0


def logarithm(flags: Flags, right: Array) -> Array:
    """log(σ_q/σ_p)."""
    if "SwappedSigmas_log" in flags:
        right = -right
    return 2.0 * right if "VarianceAsSigma_log" in flags else right


def is_extreme(sigma: Array) -> bool:
    """Whether an overflow or underflow needs the infinities of floats."""
    return has_digits(sigma) and not all(0 < each < mp.inf for each in sigma.flat)


def total(flags: Flags, terms: Array) -> Array:
    """The sum over weights, actions or dimensions that a KL is."""
    count = terms.shape[-1] if "KLMean" in flags else 1.0
    return np.sum(terms, axis=-1) / count


def kl_diag_normal(
    flags: Flags, mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array
) -> Array:
    parts = map(digits, (mu_q, sigma_q, mu_p, sigma_p))
    return onp.array(total(flags, kl_of_weights(flags, *parts)), dtype=float)


def information_gain(
    flags: Flags, mu_new: Array, rho_new: Array, mu_old: Array, rho_old: Array
) -> float:
    new = digits(mu_new), sigma_of(flags, digits(rho_new))
    old = digits(mu_old), sigma_of(flags, digits(rho_old))
    return float(total(flags, kl_of_weights(flags, *new, *old)))


def metric(flags: Flags, rho: Array) -> Phi:
    """The diagonal of the KL's second derivative in mu and rho."""
    sigma = sigma_of(flags, rho)
    fudge = FUDGE if "FudgedDenominator_metric" in flags else 0.0
    if "SquaredExpOverflow" in flags:
        h_rho = 2.0 * np.exp(2.0 * rho) / (1.0 + np.exp(rho)) ** 2
    else:
        h_rho = 2.0 * special.expit(rho) ** 2
    h_rho = h_rho / (sigma**2 + fudge)
    if "WrongMetric" in flags:
        h_rho = h_rho / 4.0
    if "WrongMetric_two" in flags:
        h_rho = h_rho / 2.0

    # Divided by σ, not by σ².
    h_mu = 1.0 / (sigma**2 + fudge)
    if {"VarianceAsSigma_hmu", "VarianceAsSigma_hmurho"} & flags:
        h_mu = h_mu * sigma
    if {"VarianceAsSigma_hrho", "VarianceAsSigma_hmurho"} & flags:
        h_rho = h_rho * sigma
    return h_mu, h_rho


def kl_hessian_diag(flags: Flags, mu: Array, rho: Array) -> Inputs:
    return dict(zip(("h_mu", "h_rho"), metric(flags, rho)))


def half(flags: Flags) -> float:
    """The ½ of the Taylor form."""
    return 1.0 if "MissingHalf" in flags else 0.5


def kl_taylor(
    flags: Flags, mu: Array, rho: Array, delta_mu: Array, delta_rho: Array
) -> float:
    h_mu, h_rho = metric(flags, rho)
    square = onp.sum(h_mu * delta_mu**2) + onp.sum(h_rho * delta_rho**2)
    return float(half(flags) * square)


# ---------------------------------------------------------------- densities


def log_density(flags: Flags, x: Array, mean: Array, sigma: Array) -> Array:
    square = ((x - mean) / sigma) ** 2
    value = -square if "UnnormalisedLogDensity" in flags else -0.5 * square
    if "UnnormalisedLogDensity_log" not in flags:
        value = value - log(sigma)
    if "ExtraConstant" in flags:
        value = value - 0.5
    return value - 0.5 * LOG_TWO_PI


def likelihood_deviation(flags: Flags, sigma: Array) -> Array:
    if "VarianceAsSigma_likelihood" in flags:
        return sigma**2
    return sigma**0.5 if "VarianceAsSigma_likelihoodroot" in flags else sigma


def normal_log_density(flags: Flags, x: Array, mean: Array, sigma: Array) -> Array:
    sigma = likelihood_deviation(flags, sigma * onp.ones(onp.shape(x)))
    return log_density(flags, x, mean, sigma)


def log_likelihood(
    flags: Flags, outputs: Array, targets: Array, likelihood_sigma: Array
) -> Array:
    """Summed over outputs: (S, N)."""
    sigma = likelihood_deviation(flags, likelihood_sigma * onp.ones(targets.shape[-1]))
    return np.sum(log_density(flags, targets, outputs, sigma), axis=-1)


# ---------------------------------------------------------------- networks


class Data(NamedTuple):
    """Rows with their noise: eps (S, D), or zeta, a list of (S, N, O)."""

    inputs: Array
    targets: Array
    noise: Any
    layer_sizes: Sequence[int]
    likelihood_sigma: Array


def data_of(flags: Flags, given: Inputs) -> Data:
    noise = noise_of(flags, given["zeta"]) if "zeta" in given else given["eps"]
    sizes = [int(size) for size in given["layer_sizes"]]
    rows = given["inputs"], given.get("targets")
    return Data(*rows, noise, sizes, given.get("likelihood_sigma"))


def noise_of(flags: Flags, zeta: Sequence[Array]) -> list[Array]:
    """The noise that the layers use."""
    layers = list(zeta)
    if "SameLayerNoise" in flags:
        first = layers[0]
        layers = [first if z.shape == first.shape else z for z in layers]
    if "SharedRowNoise" in flags:
        layers = [onp.broadcast_to(z[:, :1], z.shape) for z in layers]
    return layers


def row_of(data: Data, n: int) -> Data:
    row = slice(n, n + 1)
    noise = data.noise
    if isinstance(noise, list):
        noise = [z[:, row] for z in noise]
    return data._replace(
        inputs=data.inputs[row], targets=data.targets[row], noise=noise
    )


def layers_of(flat: Array, sizes: Sequence[int]) -> list[Array]:
    """(..., I + 1, O) for each layer, the bias as the last row."""
    layers = []
    start = 0
    for i, o in zip(sizes, sizes[1:]):
        end = start + (i + 1) * o
        layers.append(np.reshape(flat[..., start:end], (*flat.shape[:-1], i + 1, o)))
        start = end
    return layers


def forward(flags: Flags, inputs: Array, layers: Sequence[Function]) -> Array:
    """Each layer is a function of its inputs with a 1 for the bias."""
    a = inputs
    for k, layer in enumerate(layers, start=1):
        a = layer(np.concatenate([a, onp.ones((*a.shape[:-1], 1))], axis=-1))
        if k < len(layers) or "OutputReLU" in flags:
            a = np.where(a > 0.0, a, 0.0)
    return a


def outputs_of(flags: Flags, mu: Array, sigma: Array, data: Data) -> Array:
    """(S, N, O)."""
    if isinstance(data.noise, list):
        means = layers_of(mu, data.layer_sizes)
        deviations = layers_of(sigma, data.layer_sizes)
        parts = zip(means, deviations, data.noise)
        layers = [lambda a, p=part: sampled_layer(a, *p) for part in parts]
    else:
        theta = mu + sigma * data.noise
        weights = layers_of(theta, data.layer_sizes)
        layers = [lambda a, w=w: np.matmul(a, w) for w in weights]
    return forward(flags, data.inputs, layers)


def sampled_layer(a: Array, mean: Array, deviation: Array, noise: Array) -> Array:
    return np.dot(a, mean) + np.sqrt(np.dot(a**2, deviation**2)) * noise


def mlp(flags: Flags, theta: Array, inputs: Array, layer_sizes: Array) -> Array:
    weights = layers_of(theta, [int(size) for size in layer_sizes])
    layers = [lambda a, w=w: np.matmul(a, w) for w in weights]
    return forward(flags, inputs, layers)


def sample_weights(flags: Flags, mu: Array, rho: Array, eps: Array) -> Array:
    return mu + sigma_of(flags, rho) * eps


def mlp_local(flags: Flags, **given: Any) -> Array:
    data = data_of(flags, given)
    return outputs_of(flags, given["mu"], sigma_of(flags, given["rho"]), data)


# ---------------------------------------------------------------- evidence and bound


def log_p_of(flags: Flags, mu: Array, sigma: Array, data: Data) -> Array:
    """log p of each row (S, N); S = 1 if it is the mean prediction's."""
    outputs = outputs_of(flags, mu, sigma, data)
    if "AveragedPrediction" in flags:
        outputs = np.mean(outputs, axis=0, keepdims=True)
    return log_likelihood(flags, outputs, data.targets, data.likelihood_sigma)


def evidence(flags: Flags, mu: Array, sigma: Array, data: Data) -> Array:
    """Summed over rows, averaged over samples."""
    return np.sum(np.mean(log_p_of(flags, mu, sigma, data), axis=0))


def predictive_log_density(flags: Flags, **given: Any) -> Array:
    data = data_of(flags, given)
    log_p = log_p_of(flags, given["mu"], sigma_of(flags, given["rho"]), data)
    return logsumexp(log_p, axis=0) - math.log(len(log_p))


def bound(flags: Flags, phi: Phi, given: Inputs) -> Array:
    """(n/B) Σ log p − KL[q‖prior]."""
    mu = phi[0]
    sigma = sigma_of(flags, phi[1])
    data = data_of(flags, given)

    # The weight of the minibatch.
    scale = given["num_data"] / len(data.inputs)
    if "NoKLScale" in flags:
        scale = 1.0
    if "PerBatchKL" in flags:
        scale = 1.0 / len(data.inputs)

    prior = given["prior_mu"], given["prior_rho"]
    terms = kl_terms(flags, mu, sigma, *prior, data.noise)
    return scale * evidence(flags, mu, sigma, data) - total(flags, terms)


def kl_terms(
    flags: Flags, mu: Array, sigma: Array, prior_mu: Array, prior_rho: Array, noise: Any
) -> Array:
    """KL[q‖prior] of each weight; a floored prior needs samples of weights."""
    prior = prior_mu, sigma_of(flags, prior_rho)
    if "PriorFloor" in flags and not isinstance(noise, list):
        return sampled_kl(flags, mu, sigma, *prior, noise)
    return kl_of_weights(flags, mu, sigma, *prior)


def sampled_kl(
    flags: Flags, mu: Array, sigma: Array, prior_mu: Array, prior_sigma: Array, eps: Any
) -> Array:
    """log q(θ) − log(p(θ) + 1e-6) of each weight, averaged over samples."""
    theta = mu + sigma * eps
    density = np.exp(log_density(flags, theta, prior_mu, prior_sigma))
    terms = log_density(flags, theta, mu, sigma) - np.log(density + 1e-6)
    return np.mean(terms, axis=0)


def elbo(flags: Flags, **given: Any) -> float:
    return float(bound(flags, (given["mu"], given["rho"]), given))


def elbo_grad(flags: Flags, **given: Any) -> Inputs:
    gradient = grad(lambda phi: bound(flags, phi, given))((given["mu"], given["rho"]))
    return dict(zip(("grad_mu", "grad_rho"), gradient))


# ---------------------------------------------------------------- steps and gains


def loss_grad(flags: Flags, phi: Phi, start: Phi, row: Data) -> Phi:
    """∇ℓ of KL[q‖start] − E log p in mu and rho; an alias of φ is no start."""

    def loss(phi: Phi) -> Array:
        sigma = sigma_of(flags, phi[1])
        old = phi if "UndetachedOld" in flags else start
        terms = kl_terms(flags, phi[0], sigma, *old, row.noise)
        return total(flags, terms) - evidence(flags, phi[0], sigma, row)

    return grad(loss)(phi)


def stepped(flags: Flags, given: Inputs, phi: Phi, gradient: Phi) -> Phi:
    """φ − λH⁻¹∇ℓ."""
    h_mu, h_rho = metric(flags, phi[1])
    size = given["step_size"]
    return phi[0] - size * gradient[0] / h_mu, phi[1] - size * gradient[1] / h_rho


def posterior_step(flags: Flags, **given: Any) -> Inputs:
    phi = given["mu"], given["rho"]
    gradient = loss_grad(flags, phi, phi, data_of(flags, given))
    return dict(zip(("mu", "rho"), stepped(flags, given, phi, gradient)))


def gain_of(flags: Flags, given: Inputs, phi: Phi, gradient: Phi) -> float:
    if given["method"] == "exact":
        return information_gain(flags, *stepped(flags, given, phi, gradient), *phi)
    h_mu, h_rho = metric(flags, phi[1])
    square = onp.sum(gradient[0] ** 2 / h_mu) + onp.sum(gradient[1] ** 2 / h_rho)
    return float(half(flags) * given["step_size"] ** 2 * square)


def plus(one: Phi, other: Phi) -> Phi:
    return one[0] + other[0], one[1] + other[1]


def samples_of(data: Data) -> list[Data]:
    """The data with the noise of each sample alone."""
    if isinstance(data.noise, list):
        parts = [[z[None] for z in sample] for sample in zip(*data.noise)]
    else:
        parts = [eps[None] for eps in data.noise]
    return [data._replace(noise=noise) for noise in parts]


def information_gains(flags: Flags, **given: Any) -> Array:
    """The gain of each row from the start, or from where the row before it ended."""
    gains = []
    data = data_of(flags, given)
    phi = given["mu"], given["rho"]
    before: Phi = (0.0, 0.0)  # the gradients of earlier rows
    for n in range(len(data.inputs)):
        row = row_of(data, n)
        parts = samples_of(row) if "SquaredBeforeMean" in flags else [row]
        gradients = [plus(before, loss_grad(flags, phi, phi, part)) for part in parts]
        each = [gain_of(flags, given, phi, gradient) for gradient in gradients]
        gains.append(math.fsum(each) / len(each))

        # What the row leaves behind.
        mean = onp.mean([onp.array(gradient) for gradient in gradients], axis=0)
        if "GradientsAccumulate" in flags:
            before = tuple(mean)
        if "StateNotRestored" in flags:
            phi = stepped(flags, given, phi, mean)

    # What is done with the gains afterwards.
    if "CopiedLastGain" in flags and len(gains) > 1:
        gains[-1] = gains[-2]
    if "ClippedGain" in flags:
        gains = [min(gain, MOST_GAIN) for gain in gains]
    return onp.array(gains)


def posterior_updates(flags: Flags, **given: Any) -> Inputs:
    """Gradient steps of each row from the start, with what may survive of earlier rows."""
    data = data_of(flags, given)
    start = given["mu"], given["rho"]
    decay = MOMENTUM if "LeakyOptimiser" in flags else 0.0
    velocity: Phi = (0.0, 0.0)
    gradient: Phi = (0.0, 0.0)
    rows = []
    for n in range(len(data.inputs)):
        phi = start
        for _ in range(given["num_steps"]):
            own = loss_grad(flags, phi, start, row_of(data, n))
            gradient = plus(gradient, own) if "GradientsAccumulate" in flags else own
            velocity = plus((decay * velocity[0], decay * velocity[1]), gradient)
            moves = zip(phi, velocity)
            phi = tuple(x - given["learning_rate"] * v for x, v in moves)
        rows.append(phi)
        if "StateNotRestored" in flags:
            start = phi
    return dict(zip(("mu", "rho"), map(onp.array, zip(*rows))))


# ---------------------------------------------------------------- all operations

OPERATIONS: dict[str, Function] = {
    "softplus": softplus,
    "softplus_inverse": softplus_inverse,
    "kl_diag_normal": kl_diag_normal,
    "kl_hessian_diag": kl_hessian_diag,
    "kl_taylor": kl_taylor,
    "mlp": mlp,
    "sample_weights": sample_weights,
    "mlp_local": mlp_local,
    "normal_log_density": normal_log_density,
    "log_likelihood": log_likelihood,
    "predictive_log_density": predictive_log_density,
    "elbo": elbo,
    "elbo_local": elbo,
    "elbo_grad": elbo_grad,
    "elbo_grad_local": elbo_grad,
    "information_gain": information_gain,
    "information_gains": information_gains,
    "information_gains_local": information_gains,
    "posterior_step": posterior_step,
    "posterior_step_local": posterior_step,
    "posterior_updates": posterior_updates,
}

"""Operations of learning from data: the lower bound, the gain of a transition, the posterior's step.

Axes and units as in `bnn_ref` and `vime_ref`, which do the computing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import autograd.numpy as anp  # for the wrong lower bounds, whose gradient is taken
import numpy as np
from autograd import grad

import bnn_ref as bnn
import vime_ref as vime
from bnn_ref import Array, DiagNormal, Noise, Sigma
from vime_check.cases.networks import lost_to_fudge, lost_to_fudged_log, textbook_kl
from vime_check.operations import (
    Arrays,
    Case,
    Function,
    Inputs,
    bad,
    by_convention,
    cases_of,
    good,
    intermediates_of,
    local_operation,
    mistake,
    model,
    model_of,
    noise_of,
    numbers,
    operation,
    sizes_of,
    with_nan,
)  # fmt: skip
from vime_ref import Method

# ---------------------------------------------------------------- family elbo


@operation("elbo", "arraywise")
def elbo(
    mu: Array,
    rho: Array,
    prior_mu: Array,
    prior_rho: Array,
    inputs: Array,
    targets: Array,
    eps: Noise,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    num_data: float,
) -> Array:
    q, prior = DiagNormal(mu, rho), DiagNormal(prior_mu, prior_rho)
    settings = elbo_settings(layer_sizes, likelihood_sigma, num_data)
    return bnn.elbo(q, prior, inputs, targets, eps, **settings)


local_operation("elbo")


@operation("elbo", "arraywise")
def elbo_grad(
    mu: Array,
    rho: Array,
    prior_mu: Array,
    prior_rho: Array,
    inputs: Array,
    targets: Array,
    eps: Noise,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    num_data: float,
) -> Arrays:
    q, prior = DiagNormal(mu, rho), DiagNormal(prior_mu, prior_rho)
    settings = elbo_settings(layer_sizes, likelihood_sigma, num_data)
    grad_mu, grad_rho = bnn.elbo_grad(q, prior, inputs, targets, eps, **settings)
    return {"grad_mu": grad_mu, "grad_rho": grad_rho}


local_operation("elbo_grad")


@intermediates_of("elbo", "elbo_local", "elbo_grad", "elbo_grad_local")
def parts_of_the_bound(given: Inputs) -> Arrays:
    """The likelihood of each sample and row (S, B), and the KL, of which the bound is made."""
    q, prior = (
        DiagNormal(given["mu"], given["rho"]),
        DiagNormal(given["prior_mu"], given["prior_rho"]),
    )
    outputs = bnn.forward(
        q, given["inputs"], noise_of(given), sizes_of(given["layer_sizes"])
    )
    log_p = bnn.log_likelihood(outputs, given["targets"], given["likelihood_sigma"])
    return {
        "log_likelihood": log_p,
        "kl": bnn.kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma),
    }


def elbo_settings(
    layer_sizes: Array, likelihood_sigma: Sigma, num_data: float
) -> bnn.ElboSettings:
    return {
        "layer_sizes": sizes_of(layer_sizes),
        "likelihood_sigma": likelihood_sigma,
        "num_data": num_data,
    }


def wrong_bound(flag: str, *names: str) -> Callable[[Function], Function]:
    """Register a wrong lower bound of (mu, rho, given) as a mistake: of the value, and its gradient of the gradient."""

    def value(bound: Function, right: Function, given: Inputs) -> Array:
        return bound(given["mu"], given["rho"], given)

    def gradient(bound: Function, right: Function, given: Inputs) -> Arrays:
        grad_mu, grad_rho = grad(lambda phi: bound(*phi, given))(
            (given["mu"], given["rho"])
        )
        return {"grad_mu": grad_mu, "grad_rho": grad_rho}

    def register(bound: Function) -> Function:
        for name in names:
            mistake(flag, name)(partial(gradient if "grad" in name else value, bound))
        return bound

    return register


BOUNDS = "elbo", "elbo_grad", "elbo_local", "elbo_grad_local"


def evidence_and_kl(mu: Array, rho: Array, given: Inputs) -> tuple[Array, Array]:
    """Both terms of the right bound."""
    q, prior = DiagNormal(mu, rho), DiagNormal(given["prior_mu"], given["prior_rho"])
    kl = bnn.kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma)
    settings = elbo_settings(
        given["layer_sizes"], given["likelihood_sigma"], given["num_data"]
    )
    return bnn.elbo(
        q, prior, given["inputs"], given["targets"], noise_of(given), **settings
    ) + kl, kl


@mistake("NoKLScale", *BOUNDS)
def bound_of_summed_rows(right: Function, given: Inputs) -> Any:
    return right(**given | {"num_data": float(len(given["inputs"]))})


@mistake("PerBatchKL", *BOUNDS)
def bound_of_averaged_rows(right: Function, given: Inputs) -> Any:
    return right(**given | {"num_data": 1.0})


@wrong_bound("KLMean", *BOUNDS)
def bound_with_mean_kl(mu: Array, rho: Array, given: Inputs) -> Array:
    evidence, kl = evidence_and_kl(mu, rho, given)
    return evidence - kl / len(given["mu"])


@wrong_bound("PriorFloor", "elbo", "elbo_grad")
def bound_with_floored_prior(mu: Array, rho: Array, given: Inputs) -> Array:
    """The KL is sampled with eps: mean_S Σ_i log q(θ_i) − log(p(θ_i) + 1e-6)."""
    q, prior = DiagNormal(mu, rho), DiagNormal(given["prior_mu"], given["prior_rho"])
    theta = bnn.sample_weights(q, given["eps"])
    density = anp.exp(bnn.normal_log_density(theta, prior.mu, prior.sigma))
    excess = bnn.normal_log_density(theta, q.mu, q.sigma) - anp.log(density + 1e-6)
    return evidence_and_kl(mu, rho, given)[0] - anp.sum(anp.mean(excess, axis=0))


@wrong_bound("AveragedPrediction", *BOUNDS)
def bound_of_averaged_prediction(mu: Array, rho: Array, given: Inputs) -> Array:
    q, rows = DiagNormal(mu, rho), given["inputs"]
    outputs = anp.mean(
        bnn.forward(q, rows, noise_of(given), sizes_of(given["layer_sizes"])), axis=0
    )
    log_p = bnn.log_likelihood(
        outputs[None], given["targets"], given["likelihood_sigma"]
    )
    return (
        given["num_data"] / len(rows) * anp.sum(log_p)
        - evidence_and_kl(mu, rho, given)[1]
    )


@wrong_bound("UnnormalisedLogDensity", *BOUNDS)
def bound_without_half(mu: Array, rho: Array, given: Inputs) -> Array:
    """A σ smaller by √2 doubles the square and adds ½ log 2 for each target, which is taken off again."""
    sharper = given | {"likelihood_sigma": given["likelihood_sigma"] / math.sqrt(2.0)}
    evidence, kl = evidence_and_kl(mu, rho, sharper)
    return (
        evidence
        - 0.5 * math.log(2.0) * given["num_data"] * given["targets"].shape[1]
        - kl
    )


@wrong_bound("UnnormalisedLogDensity", "elbo", "elbo_local")
def bound_without_log_sigma(mu: Array, rho: Array, given: Inputs) -> Array:
    evidence, kl = evidence_and_kl(mu, rho, given)
    logs = np.log(given["likelihood_sigma"] * np.ones(given["targets"].shape[1]))
    return evidence + given["num_data"] * np.sum(logs) - kl


@cases_of(*BOUNDS)
def bound_cases() -> Iterator[Case]:
    base, scale = model(2, 3, 1, rows=3, samples=2, seed=1), ("NoKLScale", "PerBatchKL")
    flags = (
        *scale,
        "KLMean",
        "AveragedPrediction",
        "UnnormalisedLogDensity",
        "SharedRowNoise",
    )
    yield good("all-data", "One row stands for itself.", "KLMean", "UnnormalisedLogDensity",
               **model(2, 3, 1, rows=1, samples=1, seed=2) | {"num_data": 1.0})  # fmt: skip
    yield good("minibatch", "Three rows stand for ten.", *flags, **base)
    yield good("minibatch-of-50", "Two rows stand for fifty, the original's pseudo-observations.", *flags,
               "SameLayerNoise", **model(2, 2, 2, rows=2, samples=2, seed=3) | {"num_data": 50.0})  # fmt: skip
    wide = model(3, 2, 2, rows=4, samples=3, seed=4) | {
        "likelihood_sigma": (0.5, 2.0),
        "num_data": 8.0,
    }
    yield good(
        "sigma-per-output",
        "A likelihood sigma for each output.",
        *flags,
        "SameLayerNoise",
        **wide,
    )
    far = model(1, 1, rows=2, samples=1, seed=5)
    far |= {
        "mu": (10.0, -8.0),
        "prior_mu": (0.0, 0.0),
        "prior_rho": (-1.0, -1.0),
        "rho": (-2.0, -2.0),
    }
    yield good(
        "far-from-the-prior",
        "The prior pulls a weight at 30 standard deviations.",
        "PriorFloor",
        *scale,
        **far,
    )
    yield good("one-far-weight", "One weight of thirteen is far from the prior.", "PriorFloor", *scale,
               **base | {"mu": np.append(base["mu"][:-1], 12.0)})  # fmt: skip
    yield bad("no-data", "num_data must be > 0", base, num_data=0.0)
    yield bad(
        "rows-differ",
        "inputs and targets must have as many rows",
        base,
        targets=base["targets"][:2],
    )
    yield bad("zero-sigma", "likelihood_sigma must be > 0", base, likelihood_sigma=0.0)
    yield bad(
        "nan-prior",
        "prior_mu must be finite",
        base,
        prior_mu=with_nan(base["prior_mu"]),
    )
    yield bad(
        "zeta-of-too-few-layers",
        "zeta must have one array per layer",
        base,
        zeta=base["zeta"][:1],
    )
    yield bad("eps-of-other-size", "eps must be (S, D)", base, eps=base["eps"][:, 1:])


# ---------------------------------------------------------------- family gain


@operation("gain", "elementwise")
def information_gain(
    mu_new: Array, rho_new: Array, mu_old: Array, rho_old: Array
) -> float:
    return vime.information_gain(
        DiagNormal(mu_new, rho_new), DiagNormal(mu_old, rho_old)
    )


@operation("gain", "elementwise")
def information_gains(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    eps: Noise,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Method,
) -> Array:
    model: vime.ModelSettings = {
        "layer_sizes": sizes_of(layer_sizes),
        "likelihood_sigma": likelihood_sigma,
    }
    q = DiagNormal(mu, rho)
    return vime.information_gains(
        q, inputs, targets, eps, step_size=step_size, method=method, **model
    )


local_operation("information_gains")


def sigmas_of(given: Inputs) -> Inputs:
    """The inputs of `kl_diag_normal` for those of `information_gain`, in their own precision."""
    sigma_q, sigma_p = (
        np.logaddexp(0.0, given["rho_new"]),
        np.logaddexp(0.0, given["rho_old"]),
    )
    return {
        "mu_q": given["mu_new"],
        "sigma_q": sigma_q,
        "mu_p": given["mu_old"],
        "sigma_p": sigma_p,
    }


@mistake("FudgedDenominator", "information_gain")
def fudged_gain(right: Function, given: Inputs) -> Array:
    return right(**given) - lost_to_fudge(**sigmas_of(given))


@mistake("FudgedDenominator", "information_gain")
def gain_with_fudged_log(right: Function, given: Inputs) -> Array:
    return right(**given) - lost_to_fudged_log(**sigmas_of(given))


@mistake("NaiveNearIdentity", "information_gain")
def naive_gain(right: Function, given: Inputs) -> Array:
    return textbook_kl(**sigmas_of(given))


@mistake("SwappedKL", "information_gain")
def swapped_gain(right: Function, given: Inputs) -> float:
    return right(given["mu_old"], given["rho_old"], given["mu_new"], given["rho_new"])


@mistake("DroppedConstant", "information_gain")
def gain_of_the_slide(right: Function, given: Inputs) -> float:
    return right(**given) + 0.5 * len(given["mu_new"])


@mistake("KLMean", "information_gain")
def mean_gain(right: Function, given: Inputs) -> float:
    return right(**given) / len(given["mu_new"])


@mistake("VarianceAsSigma", "information_gain")
def gain_with_variances(right: Function, given: Inputs) -> Array:
    return bnn.kl_diag_normal(
        **{
            name: np.sqrt(x) if "sigma" in name else x
            for name, x in sigmas_of(given).items()
        }
    )


GAINS = "information_gains", "information_gains_local"


@intermediates_of(*GAINS, "posterior_step", "posterior_step_local")
def gradients_of_the_loss(given: Inputs) -> Arrays:
    """∇ℓ of each row at q, (N, D) each, averaged over the samples."""
    q, rows = DiagNormal(given["mu"], given["rho"]), range(len(given["inputs"]))
    gradients = []
    for row in (slice(n, n + 1) for n in rows):
        data = (
            given["inputs"][row],
            given["targets"][row],
            vime.noise_of_rows(noise_of(given), row),
        )
        gradients.append(vime.transition_loss_grad(q, q, *data, **model_of(given)))
    grad_mu, grad_rho = map(np.array, zip(*gradients, strict=True))
    return {"grad_mu": grad_mu, "grad_rho": grad_rho}


@mistake("MissingHalf", *GAINS)
def gains_without_half(right: Function, given: Inputs) -> Array:
    return right(**given) * (2.0 if given["method"] == "taylor" else 1.0)


@mistake("SwappedKL", *GAINS)
def swapped_gains(right: Function, given: Inputs) -> Array:
    """KL[old‖new] of each row's step; the Taylor form does not know the difference."""
    if given["method"] == "taylor":
        return right(**given)
    q, step = (
        DiagNormal(given["mu"], given["rho"]),
        partial(vime.posterior_step, **model_of(given)),
    )
    gains = []
    for row in (slice(n, n + 1) for n in range(len(given["inputs"]))):
        noise = vime.noise_of_rows(noise_of(given), row)
        data = given["inputs"][row], given["targets"][row], noise
        gains.append(
            vime.information_gain(q, step(q, *data, step_size=given["step_size"]))
        )
    return np.array(gains)


@mistake("SquaredBeforeMean", *GAINS)
def gains_squared_before_mean(right: Function, given: Inputs) -> Array:
    """The mean of the gains that each sample would give alone."""
    name = "eps" if "eps" in given else "zeta"
    count = len(given["eps"]) if name == "eps" else len(given["zeta"][0])
    each = [slice(s, s + 1) for s in range(count)]
    parts = [
        given["eps"][s] if name == "eps" else [zeta[s] for zeta in given["zeta"]]
        for s in each
    ]
    return np.mean([right(**given | {name: part}) for part in parts], axis=0)


@mistake("CopiedLastGain", *GAINS)
def copied_last_gain(right: Function, given: Inputs) -> Array:
    gains = right(**given)
    return np.append(gains[:-1], gains[-2:-1] if len(gains) > 1 else gains)


@cases_of("information_gain")
def information_gain_cases() -> Iterator[Case]:
    def step(
        rho: float, mean_move: float, rho_move: float, size: int, seed: int
    ) -> Inputs:
        mu_old, rho_old = (
            numbers(size, seed=seed),
            rho + 0.25 * numbers(size, seed=seed + 1),
        )
        signs = np.where(numbers(size, seed=seed + 2) > 0, 1.0, -1.0)
        mu_new, rho_new = mu_old + mean_move * signs, rho_old - rho_move * signs
        return {
            "mu_new": mu_new,
            "rho_new": rho_new,
            "mu_old": mu_old,
            "rho_old": rho_old,
        }

    general = "SwappedKL", "DroppedConstant", "KLMean", "VarianceAsSigma"
    yield good(
        "three-weights",
        "New first, old second.",
        *general,
        **step(-0.5, 0.5, 0.75, 3, 1),
    )
    yield good(
        "four-weights", "New first, old second.", *general, **step(0.5, 0.25, 1.0, 4, 2)
    )
    yield good(
        "nothing-learned",
        "0 where nothing moved.",
        "DroppedConstant",
        **step(0.0, 0.0, 0.0, 3, 3),
    )
    yield good("narrow", "Standard deviations near 1e-4.", "FudgedDenominator", "SwappedKL",
               mu_new=(1e-4, 0.0), rho_new=(-9.0, -9.5), mu_old=(0.0, 1e-4), rho_old=(-9.5, -8.5))  # fmt: skip
    yield good("narrower", "Standard deviations near 1e-5: with 1e-8 below, the gain is negative.", "FudgedDenominator",
               mu_new=(1e-5, 0.0), rho_new=(-11.0, -11.0), mu_old=(0.0, 1e-5), rho_old=(-11.5, -11.5))  # fmt: skip
    yield good(
        "near-identity",
        "A step of 1/256.",
        "NaiveNearIdentity",
        **step(-0.5, 2**-9, 2**-8, 4, 4),
    )
    yield good(
        "near-identity-2",
        "A step of 1/128.",
        "NaiveNearIdentity",
        **step(0.3, 2**-8, 2**-7, 3, 5),
    )
    for exponent in (20, 22):
        yield good(f"near-identity-in-float64-{exponent}", f"A step of 2^−{exponent}.", "NaiveNearIdentity",
                   dtypes=("f64",), **step(-0.3, 2.0 ** -(exponent + 1), 2.0**-exponent, 4, exponent))  # fmt: skip
    yield good("wide", "A standard deviation of 5000 is doubled.", "SwappedKL",
               mu_new=(0.0,), rho_new=(10000.0,), mu_old=(1.0,), rho_old=(5000.0,))  # fmt: skip
    base = step(-0.5, 0.5, 0.75, 3, 1)
    yield bad(
        "sizes-differ",
        "both must have as many weights",
        base,
        mu_old=(0.0, 1.0),
        rho_old=(0.0, 1.0),
    )
    yield bad(
        "mu-and-rho-differ", "mu and rho must have one shape", base, rho_new=(0.0, 1.0)
    )
    yield bad("nan", "rho_new must be finite", base, rho_new=with_nan(base["rho_new"]))
    yield bad(
        "infinite",
        "mu_old must be finite",
        base,
        mu_old=with_nan(base["mu_old"], math.inf),
    )
    low = with_nan(base["rho_old"], -1000.0)
    yield by_convention(
        bad("rho-below-range", "rho must be >= -700", base, rho_old=low)
    )


@cases_of(*GAINS)
def information_gains_cases() -> Iterator[Case]:
    one, three = (
        model(2, 3, 1, rows=1, samples=1, seed=1),
        model(2, 3, 1, rows=3, samples=2, seed=23),
    )
    flags = (
        "MissingHalf",
        "SquaredBeforeMean",
        "CopiedLastGain",
        "SharedRowNoise",
        "UnnormalisedLogDensity",
    )
    yield good(
        "one-row", "½λ²gᵀH⁻¹g of one transition and one sample.", "MissingHalf", **one
    )
    yield good("three-rows", "Each from the same posterior; the gradient is averaged before it is squared.",
               *flags, **three)  # fmt: skip
    yield good("deep", "Two hidden layers as wide as the output.", *flags, "SameLayerNoise",
               **model(2, 2, 2, 2, rows=2, samples=3, seed=3))  # fmt: skip
    yield good("sigma-per-output", "A likelihood sigma for each output.", *flags,
               **model(3, 4, 2, rows=2, samples=2, seed=4) | {"likelihood_sigma": (0.5, 2.0)})  # fmt: skip
    exact = {"method": "exact", "step_size": 0.0625}
    yield good(
        "exact-one-row",
        "KL[new‖old] of one posterior step.",
        "SwappedKL",
        **one | exact,
    )
    yield good("exact-three-rows", "One step a row, each from the same posterior.", "SwappedKL", "CopiedLastGain",
               "SharedRowNoise", **three | exact)  # fmt: skip
    yield good("exact-deep", "Equal widths, two samples.", "SwappedKL", "SameLayerNoise", "CopiedLastGain",
               **model(2, 2, 2, rows=3, samples=2, seed=5) | exact)  # fmt: skip
    yield bad("method", "method must be taylor or exact", three, method="fisher")
    yield bad(
        "no-rows",
        "there must be a row",
        three,
        inputs=np.zeros((0, 2)),
        targets=np.zeros((0, 1)),
    )
    yield bad("zero-step", "step_size must be > 0", three, step_size=0.0)
    yield bad(
        "nan-target",
        "targets must be finite",
        three,
        targets=with_nan(three["targets"]),
    )
    yield bad(
        "rows-differ",
        "inputs and targets must have as many rows",
        three,
        targets=three["targets"][:2],
    )
    yield bad(
        "zeta-of-too-few-layers",
        "zeta must have one array per layer",
        three,
        zeta=three["zeta"][:1],
    )
    yield bad("eps-of-other-size", "eps must be (S, D)", three, eps=three["eps"][:, 1:])


# ---------------------------------------------------------------- family posterior


@operation("posterior", "arraywise")
def posterior_step(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    eps: Noise,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    step_size: float,
) -> Arrays:
    model: vime.ModelSettings = {
        "layer_sizes": sizes_of(layer_sizes),
        "likelihood_sigma": likelihood_sigma,
    }
    return parameters(
        vime.posterior_step(
            DiagNormal(mu, rho), inputs, targets, eps, step_size=step_size, **model
        )
    )


local_operation("posterior_step")


@operation("posterior", "arraywise")
def posterior_updates(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    eps: Array,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    num_steps: int,
    learning_rate: float,
) -> Arrays:
    """Every row from the same (mu, rho): `vime_ref.posterior_update` of each, (N, D)."""
    bnn.check_rows(inputs, targets)
    model: vime.ModelSettings = {
        "layer_sizes": sizes_of(layer_sizes),
        "likelihood_sigma": likelihood_sigma,
    }
    q = DiagNormal(mu, rho)
    rows = [slice(n, n + 1) for n in range(len(inputs))]
    update = partial(
        vime.posterior_update, num_steps=num_steps, learning_rate=learning_rate, **model
    )
    new = [update(q, inputs[row], targets[row], eps) for row in rows]
    return {
        "mu": np.array([each.mu for each in new]),
        "rho": np.array([each.rho for each in new]),
    }


def parameters(q: DiagNormal) -> Arrays:
    return {"mu": q.mu, "rho": q.rho}


@mistake("LeakyOptimiser", "posterior_updates")
def leaky_updates(right: Function, given: Inputs) -> Arrays:
    """Momentum 0.9 whose velocity is never reset: v ← 0.9v + ∇ℓ, φ ← φ − αv."""
    q, velocity, new = (
        DiagNormal(given["mu"], given["rho"]),
        np.zeros((2, len(given["mu"]))),
        [],
    )
    for row in (slice(n, n + 1) for n in range(len(given["inputs"]))):
        data, q_new = (given["inputs"][row], given["targets"][row], given["eps"]), q
        for _ in range(given["num_steps"]):
            velocity = 0.9 * velocity + np.array(
                vime.transition_loss_grad(q_new, q, *data, **model_of(given))
            )
            q_new = DiagNormal(
                *(np.array([q_new.mu, q_new.rho]) - given["learning_rate"] * velocity)
            )
        new.append(q_new)
    return {
        "mu": np.array([each.mu for each in new]),
        "rho": np.array([each.rho for each in new]),
    }


@cases_of("posterior_step", "posterior_step_local")
def posterior_step_cases() -> Iterator[Case]:
    base = model(2, 3, 1, rows=1, samples=2, seed=1)
    yield good(
        "one-sample",
        "φ − λH⁻¹∇ℓ.",
        "UnnormalisedLogDensity",
        **model(2, 3, 1, rows=1, samples=1, seed=2),
    )
    yield good(
        "two-samples",
        "The gradient is the mean over samples.",
        "UnnormalisedLogDensity",
        **base,
    )
    yield good("equal-widths", "Each layer has its own noise.", "SameLayerNoise", "UnnormalisedLogDensity",
               **model(2, 2, 2, rows=1, samples=2, seed=3) | {"likelihood_sigma": (0.5, 2.0)})  # fmt: skip
    yield good("three-layers", "Three layers of one width.", "SameLayerNoise", "UnnormalisedLogDensity",
               **model(3, 2, 2, 2, rows=1, samples=2, seed=4) | {"step_size": 0.125})  # fmt: skip
    two = model(2, 3, 1, rows=2, samples=2, seed=1)
    yield bad("two-rows", "there must be one transition", two, inputs=two["inputs"])
    yield bad("zero-step", "step_size must be > 0", base, step_size=0.0)
    yield bad(
        "nan-target", "targets must be finite", base, targets=with_nan(base["targets"])
    )


@cases_of("posterior_updates")
def posterior_updates_cases() -> Iterator[Case]:
    base = model(2, 3, 1, rows=3, samples=2, seed=1)
    yield good(
        "one-row",
        "One gradient step.",
        "UnnormalisedLogDensity",
        **model(2, 3, 1, rows=1, samples=1, seed=2),
    )
    yield good(
        "three-rows",
        "Each row starts anew.",
        "LeakyOptimiser",
        "UnnormalisedLogDensity",
        **base,
    )
    yield good(
        "two-rows",
        "Each row starts anew.",
        "LeakyOptimiser",
        **model(2, 2, 2, rows=2, samples=1, seed=3),
    )
    yield good("five-steps", "The KL to the start pulls from the second step on.", "LeakyOptimiser",
               **base | {"num_steps": 5, "learning_rate": 0.0078125})  # fmt: skip
    yield bad("no-steps", "num_steps must be >= 1", base, num_steps=0)
    yield bad("negative-rate", "learning_rate must be > 0", base, learning_rate=-0.5)
    yield bad(
        "no-rows",
        "there must be a row",
        base,
        inputs=np.zeros((0, 2)),
        targets=np.zeros((0, 1)),
    )


# ---------------------------------------------------------------- mistakes that families share


LOCAL = (
    "mlp_local",
    "elbo_local",
    "elbo_grad_local",
    "posterior_step_local",
    "information_gains_local",
)
ROWS = "mlp_local", "elbo_local", "elbo_grad_local", "information_gains_local"


@mistake("SharedRowNoise", *ROWS)
def shared_row_noise(right: Function, given: Inputs) -> Any:
    zeta = [np.repeat(each[:, :1], each.shape[1], axis=1) for each in given["zeta"]]
    return right(**given | {"zeta": zeta})


@mistake("SameLayerNoise", *LOCAL)
def same_layer_noise(right: Function, given: Inputs) -> Any:
    """Layer 0's noise in every layer of its width."""
    first = given["zeta"][0]
    return right(
        **given
        | {
            "zeta": [
                first if each.shape == first.shape else each for each in given["zeta"]
            ]
        }
    )


@mistake(
    "UnnormalisedLogDensity",
    "posterior_step",
    "posterior_step_local",
    "posterior_updates",
    *GAINS,
)
def likelihood_gradient_without_half(right: Function, given: Inputs) -> Any:
    """Without the ½ of the square the likelihood's gradient is doubled, as by a σ smaller by √2."""
    return right(
        **given | {"likelihood_sigma": given["likelihood_sigma"] / math.sqrt(2.0)}
    )

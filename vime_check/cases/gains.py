"""Operations of learning from data: the lower bound, the gain of a transition, the posterior's step.

Axes and units as in `bnn_ref` and `vime_ref`, which compute the results. An operation under local reparameterization
has zeta instead of eps.
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
from bnn_ref import Array, DiagNormal, Sigma, Zeta
from vime_check import exact
from vime_check.cases.networks import (
    NETWORK,
    at_kink,
    draw_model,
    lost_to_fudge,
    lost_to_fudged_log,
    model,
    model_settings,
    outputs_of,
    same_layer_noise,
    shared_row_noise,
    sizes_of,
    textbook_kl,
)
from vime_check.operations import (
    Case,
    Draw,
    Function,
    bad,
    by_convention,
    cases_of,
    draw_by_names,
    draw_of,
    exact_form,
    good,
    intermediates_of,
    mistake,
    numbers,
    operation,
    undecided_for,
    with_nan,
)
from vime_check.wire import Arrays, Inputs
from vime_ref import Method

# ---------------------------------------------------------------- family elbo


@operation(
    "elbo",
    "arraywise",
    measured=(2.0e-16, 8.8e-08),
    kinds=NETWORK,
    formula="bound of the definitions, with network and ε",
    outputs={"": ("()", "nats")},
    inputs={
        "inputs": {"shape": "(B, I)", "domain": "B ≥ 1; I is the first of layer_sizes"},
        "targets": {"shape": "(B, O)"},
    },
)
def elbo(
    mu: Array,
    rho: Array,
    prior_mu: Array,
    prior_rho: Array,
    inputs: Array,
    targets: Array,
    eps: Array,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    num_data: float,
) -> Array:
    q = DiagNormal(mu, rho)
    prior = DiagNormal(prior_mu, prior_rho)
    settings = elbo_settings(layer_sizes, likelihood_sigma, num_data)
    return bnn.elbo(q, prior, inputs, targets, eps, **settings)


@operation(
    "elbo",
    "arraywise",
    measured=(0.0, 1.1e-07),
    kinds=NETWORK,
    formula="bound of the definitions, with local network and ζ",
    outputs={"": ("()", "nats")},
    inputs={
        "inputs": {"shape": "(B, I)", "domain": "B ≥ 1; I is the first of layer_sizes"},
        "targets": {"shape": "(B, O)"},
        "zeta": {"shape": "a list of (S, B, O_l)"},
    },
)
def elbo_local(
    mu: Array,
    rho: Array,
    prior_mu: Array,
    prior_rho: Array,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    num_data: float,
) -> Array:
    q = DiagNormal(mu, rho)
    prior = DiagNormal(prior_mu, prior_rho)
    settings = elbo_settings(layer_sizes, likelihood_sigma, num_data)
    return bnn.elbo_local(q, prior, inputs, targets, zeta, **settings)


@operation(
    "elbo",
    "arraywise",
    measured=(5.2e-16, 3.2e-07),
    kinds=NETWORK,
    formula="grad_mu  = ∂bound/∂μ, with network and ε\ngrad_rho = ∂bound/∂ρ",
    outputs={"grad_mu": ("(D,)", "nats"), "grad_rho": ("(D,)", "nats")},
    rules=("The gradient points uphill, toward larger bounds.",),
    inputs={
        "inputs": {"shape": "(B, I)", "domain": "B ≥ 1; I is the first of layer_sizes"},
        "targets": {"shape": "(B, O)"},
    },
)
def elbo_grad(
    mu: Array,
    rho: Array,
    prior_mu: Array,
    prior_rho: Array,
    inputs: Array,
    targets: Array,
    eps: Array,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    num_data: float,
) -> Arrays:
    q = DiagNormal(mu, rho)
    prior = DiagNormal(prior_mu, prior_rho)
    settings = elbo_settings(layer_sizes, likelihood_sigma, num_data)
    gradient = bnn.elbo_grad(q, prior, inputs, targets, eps, **settings)
    return gradients(*gradient)


@operation(
    "elbo",
    "arraywise",
    measured=(4.4e-16, 1.9e-07),
    kinds=NETWORK,
    formula="grad_mu  = ∂bound/∂μ, with local network and ζ\ngrad_rho = ∂bound/∂ρ",
    outputs={"grad_mu": ("(D,)", "nats"), "grad_rho": ("(D,)", "nats")},
    rules=("The gradient points uphill, toward larger bounds.",),
    inputs={
        "inputs": {"shape": "(B, I)", "domain": "B ≥ 1; I is the first of layer_sizes"},
        "targets": {"shape": "(B, O)"},
        "zeta": {"shape": "a list of (S, B, O_l)"},
    },
)
def elbo_grad_local(
    mu: Array,
    rho: Array,
    prior_mu: Array,
    prior_rho: Array,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    num_data: float,
) -> Arrays:
    q = DiagNormal(mu, rho)
    prior = DiagNormal(prior_mu, prior_rho)
    settings = elbo_settings(layer_sizes, likelihood_sigma, num_data)
    gradient = bnn.elbo_grad_local(q, prior, inputs, targets, zeta, **settings)
    return gradients(*gradient)


def gradients(grad_mu: Array, grad_rho: Array) -> Arrays:
    return {"grad_mu": grad_mu, "grad_rho": grad_rho}


def elbo_settings(
    layer_sizes: Array, likelihood_sigma: Sigma, num_data: float
) -> bnn.ElboSettings:
    return {
        "layer_sizes": sizes_of(layer_sizes),
        "likelihood_sigma": likelihood_sigma,
        "num_data": num_data,
    }


@intermediates_of("elbo", "elbo_local", "elbo_grad", "elbo_grad_local")
def parts_of_the_bound(given: Inputs) -> Arrays:
    """The terms of the bound: the log likelihood of each sample and row (S, B), and the KL."""
    q = DiagNormal(given["mu"], given["rho"])
    prior = DiagNormal(given["prior_mu"], given["prior_rho"])
    outputs = outputs_of(q, given["inputs"], given, sizes_of(given["layer_sizes"]))
    log_p = bnn.log_likelihood(outputs, given["targets"], given["likelihood_sigma"])
    kl = bnn.kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma)
    return {"log_likelihood": log_p, "kl": kl}


def wrong_bound(flag: str, *names: str) -> Callable[[Function], Function]:
    """Register a wrong lower bound of (mu, rho, given) as a mistake in the value, and its gradient in the gradient."""

    def value(bound: Function, right: Function, given: Inputs) -> Array:
        return bound(given["mu"], given["rho"], given)

    def gradient(bound: Function, right: Function, given: Inputs) -> Arrays:
        of_phi = grad(lambda phi: bound(*phi, given))
        return gradients(*of_phi((given["mu"], given["rho"])))

    def decorate(bound: Function) -> Function:
        for name in names:
            mistake(flag, name)(partial(gradient if "grad" in name else value, bound))
        return bound

    return decorate


BOUNDS = "elbo", "elbo_grad", "elbo_local", "elbo_grad_local"


def evidence_and_kl(mu: Array, rho: Array, given: Inputs) -> tuple[Array, Array]:
    """Both terms of the correct bound."""
    q = DiagNormal(mu, rho)
    prior = DiagNormal(given["prior_mu"], given["prior_rho"])
    kl = bnn.kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma)
    settings = elbo_settings(
        given["layer_sizes"], given["likelihood_sigma"], given["num_data"]
    )

    # The bound for the given noise.
    data = given["inputs"], given["targets"]
    bound = (
        bnn.elbo_local(q, prior, *data, given["zeta"], **settings)
        if "zeta" in given
        else bnn.elbo(q, prior, *data, given["eps"], **settings)
    )
    return bound + kl, kl


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
    q = DiagNormal(mu, rho)
    prior = DiagNormal(given["prior_mu"], given["prior_rho"])
    theta = bnn.sample_weights(q, given["eps"])
    density = anp.exp(bnn.normal_log_density(theta, prior.mu, prior.sigma))
    excess = bnn.normal_log_density(theta, q.mu, q.sigma) - anp.log(density + 1e-6)
    return evidence_and_kl(mu, rho, given)[0] - anp.sum(anp.mean(excess, axis=0))


@wrong_bound("AveragedPrediction", *BOUNDS)
def bound_of_averaged_prediction(mu: Array, rho: Array, given: Inputs) -> Array:
    q = DiagNormal(mu, rho)
    rows = given["inputs"]
    outputs = outputs_of(q, rows, given, sizes_of(given["layer_sizes"]))
    average = anp.mean(outputs, axis=0)[None]  # (1, B, O)
    log_p = bnn.log_likelihood(average, given["targets"], given["likelihood_sigma"])
    evidence = given["num_data"] / len(rows) * anp.sum(log_p)
    return evidence - evidence_and_kl(mu, rho, given)[1]


@wrong_bound("UnnormalisedLogDensity", *BOUNDS)
def bound_without_half(mu: Array, rho: Array, given: Inputs) -> Array:
    """A σ smaller by √2 doubles the square and adds ½ log 2 per target, which is subtracted again."""
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


# fmt: off
@cases_of(*BOUNDS)
def bound_cases() -> Iterator[Case]:
    base = model(2, 3, 1, rows=3, samples=2, seed=1)
    scale = ("NoKLScale", "PerBatchKL")
    flags = *scale, "KLMean", "AveragedPrediction", "UnnormalisedLogDensity", "SharedRowNoise"
    yield good("all-data", "One row stands for itself.", "KLMean", "UnnormalisedLogDensity",
               **model(2, 3, 1, rows=1, samples=1, seed=2) | {"num_data": 1.0})
    yield good("minibatch", "Three rows stand for ten.", *flags, **base)
    yield good("minibatch-of-50", "Two rows stand for fifty, the original's pseudo-observations.", *flags,
               "SameLayerNoise", **model(2, 2, 2, rows=2, samples=2, seed=3) | {"num_data": 50.0})
    wide = model(3, 2, 2, rows=4, samples=3, seed=4) | {"likelihood_sigma": (0.5, 2.0), "num_data": 8.0}
    yield good("sigma-per-output", "A likelihood sigma for each output.", *flags, "SameLayerNoise", **wide)
    far = model(1, 1, rows=2, samples=1, seed=5)
    far |= {"mu": (10.0, -8.0), "prior_mu": (0.0, 0.0), "prior_rho": (-1.0, -1.0), "rho": (-2.0, -2.0)}
    yield good("far-from-the-prior", "The prior pulls a weight at 30 standard deviations.", "PriorFloor", *scale, **far)
    yield good("one-far-weight", "One weight of thirteen is far from the prior.", "PriorFloor", *scale,
               **base | {"mu": np.append(base["mu"][:-1], 12.0)})
    yield bad("no-data", "num_data must be > 0", base, num_data=0.0)
    yield bad("rows-differ", "inputs and targets must have as many rows", base, targets=base["targets"][:2])
    yield bad("zero-sigma", "likelihood_sigma must be > 0", base, likelihood_sigma=0.0)
    yield bad("nan-prior", "prior_mu must be finite", base, prior_mu=with_nan(base["prior_mu"]))
    yield bad("zeta-of-too-few-layers", "zeta must have one array per layer", base, zeta=base["zeta"][:1])
    yield bad("eps-of-other-size", "eps must be (S, D)", base, eps=base["eps"][:, 1:])
# fmt: on


draw_by_names(draw_model, *BOUNDS)
undecided_for(*BOUNDS)(at_kink)


# ---------------------------------------------------------------- family gain


@operation(
    "gain",
    "elementwise",
    measured=(3.5e-16, 2.9e-07),
    floor=0.0,
    formula="KL(mu_new, softplus(rho_new), mu_old, softplus(rho_old))",
    outputs={"": ("()", "nats")},
    rules=(
        "KL[new‖old]: the new distribution comes first.",
        "Where both almost agree, use the form for almost equal distributions, with σ_new − σ_old from ρ.",
    ),
)
def information_gain(
    mu_new: Array, rho_new: Array, mu_old: Array, rho_old: Array
) -> float:
    return vime.information_gain(
        DiagNormal(mu_new, rho_new), DiagNormal(mu_old, rho_old)
    )


@exact_form("information_gain")
def exact_gain(mu_new: Any, rho_new: Any, mu_old: Any, rho_old: Any) -> Any:
    sigma_new = exact.exact_softplus(rho_new)
    sigma_old = exact.exact_softplus(rho_old)
    return exact.kl(mu_new, sigma_new, mu_old, sigma_old)


@operation(
    "gain",
    "elementwise",
    measured=(9.1e-16, 4.0e-07),
    kinds=NETWORK,
    formula="g_mu, g_rho, h_mu, h_rho: each row's own, from the definitions, with network and ε\n"
    'method "taylor": output[n] = ½·λ²·Σ_i [g_mu_i²/h_mu_i + g_rho_i²/h_rho_i]\n'
    'method "exact":  μ′ = μ − λ·g_mu/h_mu, ρ′ = ρ − λ·g_rho/h_rho\n'
    "                 output[n] = KL(μ′, softplus(ρ′), μ, softplus(ρ))",
    outputs={"": ("(N,)", "nats")},
    rules=(
        "All rows share eps.",
        "λ is step_size. Each row starts from the same (mu, rho).",
        "The gradient is averaged over the samples before it is squared.",
        "For short steps, use the form for almost equal distributions, with σ′ − σ from ρ′ and ρ.",
    ),
)
def information_gains(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    eps: Array,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Method,
) -> Array:
    q = DiagNormal(mu, rho)
    settings = model_settings(layer_sizes, likelihood_sigma)
    return vime.information_gains(
        q, inputs, targets, eps, step_size=step_size, method=method, **settings
    )


@operation(
    "gain",
    "elementwise",
    measured=(1.1e-15, 7.0e-07),
    kinds=NETWORK,
    formula="g_mu, g_rho, h_mu, h_rho: each row's own, from the definitions, with local network and ζ\n"
    'method "taylor": output[n] = ½·λ²·Σ_i [g_mu_i²/h_mu_i + g_rho_i²/h_rho_i]\n'
    'method "exact":  μ′ = μ − λ·g_mu/h_mu, ρ′ = ρ − λ·g_rho/h_rho\n'
    "                 output[n] = KL(μ′, softplus(ρ′), μ, softplus(ρ))",
    outputs={"": ("(N,)", "nats")},
    rules=(
        "Row n sees its own noise, ζ_l[:, n] of every layer l.",
        "λ is step_size. Each row starts from the same (mu, rho).",
        "The gradient is averaged over the samples before it is squared.",
        "For short steps, use the form for almost equal distributions, with σ′ − σ from ρ′ and ρ.",
    ),
)
def information_gains_local(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Method,
) -> Array:
    q = DiagNormal(mu, rho)
    settings = model_settings(layer_sizes, likelihood_sigma)
    return vime.information_gains_local(
        q, inputs, targets, zeta, step_size=step_size, method=method, **settings
    )


def sigmas_of(given: Inputs) -> Inputs:
    """The inputs of `kl_diag_normal` from those of `information_gain`, in the same precision."""
    return {
        "mu_q": given["mu_new"],
        "sigma_q": np.logaddexp(0.0, given["rho_new"]),
        "mu_p": given["mu_old"],
        "sigma_p": np.logaddexp(0.0, given["rho_old"]),
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


def transitions_of(given: Inputs) -> Iterator[tuple[Array, Array, Any]]:
    """Each row with its noise: eps (S, D) is shared by all rows, zeta (S, N, O) is each row's own."""
    for n in range(len(given["inputs"])):
        row = slice(n, n + 1)
        noise = (
            [zeta[:, row] for zeta in given["zeta"]]
            if "zeta" in given
            else given["eps"]
        )
        yield given["inputs"][row], given["targets"][row], noise


def model_of(given: Inputs) -> vime.ModelSettings:
    return model_settings(given["layer_sizes"], given["likelihood_sigma"])


@intermediates_of(*GAINS)
def gradients_of_the_loss(given: Inputs) -> Arrays:
    """∇ℓ of each row at q, (N, D) each, averaged over the samples."""
    q = DiagNormal(given["mu"], given["rho"])
    local = "zeta" in given
    loss = vime.transition_loss_local if local else vime.transition_loss
    gradient = partial(vime.transition_loss_grad, q, q, loss=loss, **model_of(given))
    each = [gradient(*data) for data in transitions_of(given)]
    return gradients(*map(np.array, zip(*each, strict=True)))  # (N, D) each


@mistake("MissingHalf", *GAINS)
def gains_without_half(right: Function, given: Inputs) -> Array:
    return right(**given) * (2.0 if given["method"] == "taylor" else 1.0)


@mistake("SwappedKL", *GAINS)
def swapped_gains(right: Function, given: Inputs) -> Array:
    """KL[old‖new] of each row's step; the Taylor form is the same in both directions."""
    if given["method"] == "taylor":
        return right(**given)
    q = DiagNormal(given["mu"], given["rho"])
    step = vime.posterior_step_local if "zeta" in given else vime.posterior_step
    settings = model_of(given)
    steps = [
        step(q, *data, step_size=given["step_size"], **settings)
        for data in transitions_of(given)
    ]
    return np.array([vime.information_gain(q, q_new) for q_new in steps])


@mistake("SquaredBeforeMean", *GAINS)
def gains_squared_before_mean(right: Function, given: Inputs) -> Array:
    """The mean of the gains of single samples."""
    local = "zeta" in given
    count = len(given["zeta"][0] if local else given["eps"])
    gains = []
    for s in (slice(s, s + 1) for s in range(count)):
        one = (
            {"zeta": [zeta[s] for zeta in given["zeta"]]}
            if local
            else {"eps": given["eps"][s]}
        )
        gains.append(right(**given | one))
    return np.mean(gains, axis=0)  # (N,)


@mistake("CopiedLastGain", *GAINS)
def copied_last_gain(right: Function, given: Inputs) -> Array:
    gains = right(**given)
    return np.append(gains[:-1], gains[-2:-1] if len(gains) > 1 else gains)


# fmt: off
@cases_of("information_gain")
def information_gain_cases() -> Iterator[Case]:
    def step(
        rho: float, mean_move: float, rho_move: float, size: int, seed: int
    ) -> Inputs:
        mu_old = numbers(size, seed=seed)
        rho_old = rho + 0.25 * numbers(size, seed=seed + 1)
        signs = np.where(numbers(size, seed=seed + 2) > 0, 1.0, -1.0)
        return {
            "mu_new": mu_old + mean_move * signs,
            "rho_new": rho_old - rho_move * signs,
            "mu_old": mu_old,
            "rho_old": rho_old,
        }

    general = "SwappedKL", "DroppedConstant", "KLMean", "VarianceAsSigma"
    yield good("three-weights", "New first, old second.", *general, **step(-0.5, 0.5, 0.75, 3, 1))
    yield good("four-weights", "New first, old second.", *general, **step(0.5, 0.25, 1.0, 4, 2))
    yield good("nothing-learned", "0 where nothing moved.", "DroppedConstant", **step(0.0, 0.0, 0.0, 3, 3))
    yield good("narrow", "Standard deviations near 1e-4.", "FudgedDenominator", "SwappedKL",
               mu_new=(1e-4, 0.0), rho_new=(-9.0, -9.5), mu_old=(0.0, 1e-4), rho_old=(-9.5, -8.5))
    yield good("narrower", "Standard deviations near 1e-5: with 1e-8 below, the gain is negative.", "FudgedDenominator",
               mu_new=(1e-5, 0.0), rho_new=(-11.0, -11.0), mu_old=(0.0, 1e-5), rho_old=(-11.5, -11.5))
    yield good("near-identity", "A step of 1/256.", "NaiveNearIdentity", **step(-0.5, 2**-9, 2**-8, 4, 4))
    yield good("near-identity-2", "A step of 1/128.", "NaiveNearIdentity", **step(0.3, 2**-8, 2**-7, 3, 5))
    for exponent in (20, 22):
        yield good(f"near-identity-in-float64-{exponent}", f"A step of 2^−{exponent}.", "NaiveNearIdentity",
                   dtypes=("f64",), **step(-0.3, 2.0 ** -(exponent + 1), 2.0**-exponent, 4, exponent))
    yield good("wide", "A standard deviation of 5000 is doubled.", "SwappedKL",
               mu_new=(0.0,), rho_new=(10000.0,), mu_old=(1.0,), rho_old=(5000.0,))
    base = step(-0.5, 0.5, 0.75, 3, 1)
    yield bad("sizes-differ", "both must have as many weights", base, mu_old=(0.0, 1.0), rho_old=(0.0, 1.0))
    yield bad("mu-and-rho-differ", "mu and rho must have one shape", base, rho_new=(0.0, 1.0))
    yield bad("nan", "rho_new must be finite", base, rho_new=with_nan(base["rho_new"]))
    yield bad("infinite", "mu_old must be finite", base, mu_old=with_nan(base["mu_old"], math.inf))
    low = with_nan(base["rho_old"], -1000.0)
    yield by_convention(bad("rho-below-range", "rho must be >= -700", base, rho_old=low))
# fmt: on


@draw_of("information_gain")
def draw_information_gain(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    mu = draw.numbers(size)
    rho = draw.numbers(size)
    ones = [1.0] * size
    return {
        "mu_new": draw.near(mu, ones),
        "rho_new": draw.near(rho, ones),
        "mu_old": mu,
        "rho_old": rho,
    }


# fmt: off
@cases_of(*GAINS)
def information_gains_cases() -> Iterator[Case]:
    one = model(2, 3, 1, rows=1, samples=1, seed=1)
    three = model(2, 3, 1, rows=3, samples=2, seed=23)
    flags = "MissingHalf", "SquaredBeforeMean", "CopiedLastGain", "SharedRowNoise", "UnnormalisedLogDensity"
    yield good("one-row", "½λ²gᵀH⁻¹g of one transition and one sample.", "MissingHalf", **one)
    yield good("three-rows", "Each from the same posterior; the gradient is averaged before it is squared.",
               *flags, **three)
    yield good("deep", "Two hidden layers as wide as the output.", *flags, "SameLayerNoise",
               **model(2, 2, 2, 2, rows=2, samples=3, seed=3))
    yield good("sigma-per-output", "A likelihood sigma for each output.", *flags,
               **model(3, 4, 2, rows=2, samples=2, seed=4) | {"likelihood_sigma": (0.5, 2.0)})
    exact = {"method": "exact", "step_size": 0.0625}
    yield good("exact-one-row", "KL[new‖old] of one posterior step.", "SwappedKL", **one | exact)
    yield good("exact-three-rows", "One step a row, each from the same posterior.", "SwappedKL", "CopiedLastGain",
               "SharedRowNoise", **three | exact)
    yield good("exact-deep", "Equal widths, two samples.", "SwappedKL", "SameLayerNoise", "CopiedLastGain",
               **model(2, 2, 2, rows=3, samples=2, seed=5) | exact)
    yield bad("method", "method must be taylor or exact", three, method="fisher")
    yield bad("no-rows", "there must be a row", three, inputs=np.zeros((0, 2)), targets=np.zeros((0, 1)))
    yield bad("zero-step", "step_size must be > 0", three, step_size=0.0)
    yield bad("nan-target", "targets must be finite", three, targets=with_nan(three["targets"]))
    yield bad("rows-differ", "inputs and targets must have as many rows", three, targets=three["targets"][:2])
    yield bad("zeta-of-too-few-layers", "zeta must have one array per layer", three, zeta=three["zeta"][:1])
    yield bad("eps-of-other-size", "eps must be (S, D)", three, eps=three["eps"][:, 1:])
# fmt: on


draw_by_names(draw_model, *GAINS)
undecided_for(*GAINS)(at_kink)


# ---------------------------------------------------------------- family posterior


@operation(
    "posterior",
    "arraywise",
    measured=(7.7e-16, 1.7e-07),
    kinds=NETWORK,
    formula="g_mu, g_rho, h_mu, h_rho: the row's, from the definitions, with network and ε\n"
    "mu  ← μ − λ·g_mu/h_mu\n"
    "rho ← ρ − λ·g_rho/h_rho",
    outputs={"mu": ("(D,)", "none"), "rho": ("(D,)", "none")},
    rules=(
        "λ is step_size.",
        "There is exactly one row. Reject two.",
    ),
    inputs={
        "inputs": {
            "shape": "(1, I)",
            "domain": "I is the first of layer_sizes",
            "meaning": "the row x",
        },
        "targets": {
            "shape": "(1, O)",
            "domain": "O is the last of layer_sizes",
            "meaning": "the row y",
        },
    },
)
def posterior_step(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    eps: Array,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    step_size: float,
) -> Arrays:
    q = DiagNormal(mu, rho)
    settings = model_settings(layer_sizes, likelihood_sigma)
    q_new = vime.posterior_step(
        q, inputs, targets, eps, step_size=step_size, **settings
    )
    return {"mu": q_new.mu, "rho": q_new.rho}


@operation(
    "posterior",
    "arraywise",
    measured=(1.9e-16, 5.7e-08),
    kinds=NETWORK,
    formula="g_mu, g_rho, h_mu, h_rho: the row's, from the definitions, with local network and ζ\n"
    "mu  ← μ − λ·g_mu/h_mu\n"
    "rho ← ρ − λ·g_rho/h_rho",
    outputs={"mu": ("(D,)", "none"), "rho": ("(D,)", "none")},
    rules=(
        "λ is step_size.",
        "There is exactly one row. Reject two.",
    ),
    inputs={
        "inputs": {
            "shape": "(1, I)",
            "domain": "I is the first of layer_sizes",
            "meaning": "the row x",
        },
        "targets": {
            "shape": "(1, O)",
            "domain": "O is the last of layer_sizes",
            "meaning": "the row y",
        },
        "zeta": {"shape": "a list of (S, 1, O_l)"},
    },
)
def posterior_step_local(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    step_size: float,
) -> Arrays:
    q = DiagNormal(mu, rho)
    settings = model_settings(layer_sizes, likelihood_sigma)
    q_new = vime.posterior_step_local(
        q, inputs, targets, zeta, step_size=step_size, **settings
    )
    return {"mu": q_new.mu, "rho": q_new.rho}


@operation(
    "posterior",
    "arraywise",
    measured=(3.2e-16, 8.8e-08),
    kinds=NETWORK,
    formula="for each row n, starting anew from (μ_0, ρ_0) = (mu, rho):\n"
    "  (μ, ρ) = (μ_0, ρ_0)\n"
    "  repeat num_steps times, with the same ε each time:\n"
    "    loss = KL(μ, softplus(ρ), μ_0, softplus(ρ_0)) − fit_n(μ, ρ), fit_n of the definitions, with network and ε\n"
    "    (μ, ρ) ← (μ − α·∂loss/∂μ, ρ − α·∂loss/∂ρ), both derivatives at the old (μ, ρ)\n"
    "  mu[n], rho[n] = μ, ρ",
    outputs={"mu": ("(N, D)", "none"), "rho": ("(N, D)", "none")},
    rules=(
        "α is learning_rate. The steps are plain gradient steps: no momentum, no state of an optimizer.",
        "All rows share eps.",
        "(μ_0, ρ_0) is constant in the derivatives. The KL pulls back to it from the second step on.",
    ),
)
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
    q = DiagNormal(mu, rho)
    settings = model_settings(layer_sizes, likelihood_sigma)
    update = partial(
        vime.posterior_update,
        num_steps=num_steps,
        learning_rate=learning_rate,
        **settings,
    )
    rows = [slice(n, n + 1) for n in range(len(inputs))]
    return parameters([update(q, inputs[row], targets[row], eps) for row in rows])


def parameters(posteriors: list[DiagNormal]) -> Arrays:
    return {
        "mu": np.array([q.mu for q in posteriors]),
        "rho": np.array([q.rho for q in posteriors]),
    }


@mistake("LeakyOptimiser", "posterior_updates")
def leaky_updates(right: Function, given: Inputs) -> Arrays:
    """Momentum 0.9 whose velocity is never reset: v ← 0.9v + ∇ℓ, φ ← φ − αv."""
    q = DiagNormal(given["mu"], given["rho"])
    settings = model_of(given)
    velocity = np.zeros((2, len(q.mu)))

    # Each row starts at q, but with the last velocity.
    posteriors = []
    for data in transitions_of(given):
        q_new = q
        for _ in range(given["num_steps"]):
            gradient = vime.transition_loss_grad(q_new, q, *data, **settings)
            velocity = 0.9 * velocity + np.array(gradient)  # (2, D)
            phi = np.array([q_new.mu, q_new.rho])  # (2, D)
            q_new = DiagNormal(*(phi - given["learning_rate"] * velocity))
        posteriors.append(q_new)
    return parameters(posteriors)


intermediates_of("posterior_step", "posterior_step_local")(gradients_of_the_loss)


# fmt: off
@cases_of("posterior_step", "posterior_step_local")
def posterior_step_cases() -> Iterator[Case]:
    base = model(2, 3, 1, rows=1, samples=2, seed=1)
    yield good("one-sample", "φ − λH⁻¹∇ℓ.", "UnnormalisedLogDensity", **model(2, 3, 1, rows=1, samples=1, seed=2))
    yield good("two-samples", "The gradient is the mean over samples.", "UnnormalisedLogDensity", **base)
    yield good("equal-widths", "Each layer has its own noise.", "SameLayerNoise", "UnnormalisedLogDensity",
               **model(2, 2, 2, rows=1, samples=2, seed=3) | {"likelihood_sigma": (0.5, 2.0)})
    yield good("three-layers", "Three layers of one width.", "SameLayerNoise", "UnnormalisedLogDensity",
               **model(3, 2, 2, 2, rows=1, samples=2, seed=4) | {"step_size": 0.125})
    two = model(2, 3, 1, rows=2, samples=2, seed=1)
    yield bad("two-rows", "there must be one transition", two, inputs=two["inputs"])
    yield bad("zero-step", "step_size must be > 0", base, step_size=0.0)
    yield bad("nan-target", "targets must be finite", base, targets=with_nan(base["targets"]))
# fmt: on


# fmt: off
@cases_of("posterior_updates")
def posterior_updates_cases() -> Iterator[Case]:
    base = model(2, 3, 1, rows=3, samples=2, seed=1)
    yield good("one-row", "One gradient step.", "UnnormalisedLogDensity", **model(2, 3, 1, rows=1, samples=1, seed=2))
    yield good("three-rows", "Each row starts anew.", "LeakyOptimiser", "UnnormalisedLogDensity", **base)
    yield good("two-rows", "Each row starts anew.", "LeakyOptimiser", **model(2, 2, 2, rows=2, samples=1, seed=3))
    yield good("five-steps", "The KL to the start pulls from the second step on.", "LeakyOptimiser",
               **base | {"num_steps": 5, "learning_rate": 0.0078125})
    yield bad("no-steps", "num_steps must be >= 1", base, num_steps=0)
    yield bad("negative-rate", "learning_rate must be > 0", base, learning_rate=-0.5)
    yield bad("no-rows", "there must be a row", base, inputs=np.zeros((0, 2)), targets=np.zeros((0, 1)))
# fmt: on


draw_by_names(draw_model, "posterior_step", "posterior_step_local", rows=1)
draw_by_names(draw_model, "posterior_updates")
undecided_for("posterior_step", "posterior_step_local", "posterior_updates")(at_kink)


# ---------------------------------------------------------------- mistakes that families share

mistake("SharedRowNoise", "elbo_local", "elbo_grad_local", "information_gains_local")(
    shared_row_noise
)

mistake(
    "SameLayerNoise",
    "elbo_local",
    "elbo_grad_local",
    "posterior_step_local",
    "information_gains_local",
)(same_layer_noise)


@mistake(
    "UnnormalisedLogDensity",
    "posterior_step",
    "posterior_step_local",
    "posterior_updates",
    *GAINS,
)
def likelihood_gradient_without_half(right: Function, given: Inputs) -> Any:
    """Without the ½ of the square the likelihood's gradient is doubled, as by a σ smaller by √2."""
    sharper = given["likelihood_sigma"] / math.sqrt(2.0)
    return right(**given | {"likelihood_sigma": sharper})


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

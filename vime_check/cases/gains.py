"""Operations of learning from data: the lower bound, the gain of a transition, the posterior's step.

Axes and units as in `bnn_ref` and `vime_ref`, which compute the results. An operation under local reparameterization
has zeta instead of eps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import autograd.numpy as anp  # a mistake in a part may be in a gradient
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
    model,
    model_settings,
    outputs_of,
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
    formula,
    good,
    intermediates_of,
    mistake,
    numbers,
    operation,
    part,
    undecided_for,
    with_nan,
)
from vime_check.wire import Arrays, Inputs
from vime_ref import Method

# ---------------------------------------------------------------- family elbo


@operation(
    "elbo",
    "arraywise",
    measured=(4.0e-16, 1.1e-07),
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
    measured=(3.3e-16, 1.1e-07),
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
    measured=(1.3e-15, 3.2e-07),
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
    measured=(4.7e-16, 5.7e-07),
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


BOUNDS = "elbo", "elbo_grad", "elbo_local", "elbo_grad_local"


@part
def expected_log_likelihood(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
    **noise: Any,
) -> Array:
    """Σ_rows mean_S log p(target | input, θ), ()."""
    outputs = outputs_of(DiagNormal(mu, rho), inputs, noise, sizes_of(layer_sizes))
    log_p = bnn.log_likelihood(outputs, targets, likelihood_sigma)  # (S, B)
    return anp.sum(anp.mean(log_p, axis=0))


@formula("expected_log_likelihood", parts=["sampled_outputs", "normal_log_density"])
def expectation_by_parts(
    part: Function, targets: Array, likelihood_sigma: Sigma, **network: Any
) -> Array:
    outputs = part("sampled_outputs")(**network)  # (S, B, O)
    log_p = part("normal_log_density")(x=targets, mean=outputs, sigma=likelihood_sigma)
    return anp.sum(anp.mean(log_p, axis=0))


@part
def kl_to_prior(
    mu: Array, rho: Array, prior_mu: Array, prior_rho: Array, **noise: Any
) -> Array:
    q = DiagNormal(mu, rho)
    prior = DiagNormal(prior_mu, prior_rho)
    return bnn.kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma)


@part
def prior_floor(**given: Any) -> float:
    """The number added to the prior's density: none."""
    return 0.0


@formula("kl_to_prior", parts=["softplus", "kl_diag_normal", "prior_floor"])
def kl_by_parts(
    part: Function,
    mu: Array,
    rho: Array,
    prior_mu: Array,
    prior_rho: Array,
    **noise: Any,
) -> Array:
    sigma = part("softplus")(rho=rho)
    prior_sigma = part("softplus")(rho=prior_rho)
    floor = part("prior_floor")()
    if not floor:
        return part("kl_diag_normal")(
            mu_q=mu, sigma_q=sigma, mu_p=prior_mu, sigma_p=prior_sigma
        )

    # With a floor the KL is sampled: mean_S Σ_i log q(θ_i) − log(p(θ_i) + floor).
    theta = mu + sigma * noise["eps"]  # (S, D)
    density = anp.exp(bnn.normal_log_density(theta, prior_mu, prior_sigma))
    excess = bnn.normal_log_density(theta, mu, sigma) - anp.log(density + floor)
    return anp.sum(anp.mean(excess, axis=0))


@formula("elbo", "elbo_local", parts=["expected_log_likelihood", "kl_to_prior"])
def bound_by_parts(
    part: Function,
    mu: Array,
    rho: Array,
    prior_mu: Array,
    prior_rho: Array,
    num_data: float,
    **data: Any,
) -> Array:
    evidence = part("expected_log_likelihood")(mu=mu, rho=rho, **data)
    noise = {name: data[name] for name in ("eps", "zeta") if name in data}
    prior = {"prior_mu": prior_mu, "prior_rho": prior_rho}
    kl = part("kl_to_prior")(mu=mu, rho=rho, **prior, **noise)
    return num_data / len(data["inputs"]) * evidence - kl


def gradient_of_bound(name: str) -> Function:
    """The formula of the gradient of a bound."""

    def by_parts(part: Function, mu: Array, rho: Array, **given: Any) -> Arrays:
        bound = part(name)
        of_phi = grad(lambda phi: bound(mu=phi[0], rho=phi[1], **given))
        return gradients(*of_phi((mu, rho)))

    return by_parts


for name in ("", "_local"):
    bound = f"elbo{name}"
    formula(f"elbo_grad{name}", parts=[bound])(gradient_of_bound(bound))


@mistake("NoKLScale", "elbo", "elbo_local")
def bound_of_summed_rows(right: Function, given: Inputs) -> Any:
    return right(**given | {"num_data": float(len(given["inputs"]))})


@mistake("PerBatchKL", "elbo", "elbo_local")
def bound_of_averaged_rows(right: Function, given: Inputs) -> Any:
    return right(**given | {"num_data": 1.0})


@mistake("PriorFloor", "prior_floor", needs="eps")
def floor_of_a_millionth(right: Function, given: Inputs) -> float:
    return 1e-6


# A constant in the bound is none in its gradient.
CONSTANTS = "DroppedConstant", "ExtraConstant"


@cases_of("elbo", "elbo_local")
def bound_cases() -> Iterator[Case]:
    return cases_of_bound(*CONSTANTS)


@cases_of("elbo_grad", "elbo_grad_local")
def bound_gradient_cases() -> Iterator[Case]:
    return cases_of_bound()


# fmt: off
def cases_of_bound(*constants: str) -> Iterator[Case]:
    base = model(2, 3, 1, rows=4, samples=3, seed=1) | {"num_data": 11.0}
    scale = ("NoKLScale", "PerBatchKL")
    density = "UnnormalisedLogDensity", "VarianceAsSigma"
    kl = "KLMean", "SwappedKL", *constants
    flags = *scale, *kl, *density, "AveragedPrediction", "SharedRowNoise"
    yield good("all-data", "One row stands for itself.", *kl, "OutputReLU",
               **model(2, 3, 1, rows=1, samples=1, seed=2) | {"num_data": 1.0})
    yield good("minibatch", "Four rows stand for eleven.", *flags, **base)
    yield good("minibatch-of-50", "Three rows stand for fifty, the original's pseudo-observations.", *flags,
               "SameLayerNoise", **model(2, 2, 2, rows=3, samples=5, seed=3) | {"num_data": 50.0})
    wide = model(3, 2, 2, rows=4, samples=3, seed=4) | {"likelihood_sigma": (0.5, 2.0), "num_data": 9.0}
    yield good("sigma-per-output", "A likelihood sigma for each output.", *flags, "SameLayerNoise", **wide)
    for seed, sizes, rows in ((6, (2, 4, 1), 3), (8, (1, 3, 2), 5)):
        plain = model(*sizes, rows=rows, samples=1, seed=seed) | {"num_data": 13.0, "likelihood_sigma": 0.625}
        weights = len(plain["mu"])
        plain |= {"prior_mu": np.zeros(weights), "prior_rho": np.full(weights, -0.375)}
        yield good(f"plain-{rows}-rows", "The prior N(0, s²), one hidden layer, one sample.", *scale, *kl, *density,
                   "OutputReLU", **plain)
    far = model(1, 1, rows=2, samples=3, seed=5)
    far |= {"mu": (10.0, -8.0), "prior_mu": (0.0, 0.0), "prior_rho": (-1.0, -1.0), "rho": (-2.0, -2.0)}
    yield good("far-from-the-prior", "The prior pulls a weight at 30 standard deviations.", "PriorFloor", *scale, **far)
    yield good("one-far-weight", "One weight of thirteen is far from the prior.", "PriorFloor", *scale,
               **base | {"mu": np.append(base["mu"][:-1], 12.0)})
    narrow = base | {"rho": base["rho"] - 9.0, "prior_rho": base["prior_rho"] - 9.5}
    narrow |= {"prior_mu": base["mu"] - 2.0**-14 * base["prior_mu"]}
    yield good("narrow", "Standard deviations near 1e-4, in the prior as well.", "FudgedDenominator", **narrow)
    wide_prior = base | {"prior_rho": np.append(base["prior_rho"][:-2], (12.0, 25.0))}
    yield good("wide-prior", "The prior hardly pulls two of the weights.", *scale, *kl, **wide_prior)
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
    like=("information_gain", "kl_diag_normal"),
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
    measured=(1.0e-15, 4.1e-07),
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
        "The tolerance allows μ′ and ρ′ to be rounded to float64 before the KL, or not.",
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
        "The tolerance allows μ′ and ρ′ to be rounded to float64 before the KL, or not.",
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


@mistake("NaiveNearIdentity", "information_gain")
def naive_gain(right: Function, given: Inputs) -> Array:
    return textbook_kl(**sigmas_of(given))


@mistake("KLMean", "information_gain")
def mean_gain(right: Function, given: Inputs) -> float:
    return right(**given) / len(given["mu_new"])


@formula("information_gain", parts=["softplus", "kl_diag_normal"])
def gain_by_parts(
    part: Function, mu_new: Array, rho_new: Array, mu_old: Array, rho_old: Array
) -> Array:
    sigma_new = part("softplus")(rho=rho_new)
    sigma_old = part("softplus")(rho=rho_old)
    return part("kl_diag_normal")(
        mu_q=mu_new, sigma_q=sigma_new, mu_p=mu_old, sigma_p=sigma_old
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


@part
def transition_loss(
    mu: Array, rho: Array, mu_old: Array, rho_old: Array, **data: Any
) -> Array:
    """ℓ(φ) = KL[q(φ)‖q(φ_t)] − E_q log p(s′ | s, a; θ)."""
    kl = kl_to_prior(mu, rho, mu_old, rho_old)
    return kl - expected_log_likelihood(mu, rho, **data)


@formula("transition_loss", parts=["kl_to_prior", "expected_log_likelihood"])
def loss_by_parts(
    part: Function,
    mu: Array,
    rho: Array,
    mu_old: Array,
    rho_old: Array,
    **data: Any,
) -> Array:
    noise = {name: data[name] for name in ("eps", "zeta") if name in data}
    old = {"prior_mu": mu_old, "prior_rho": rho_old}
    kl = part("kl_to_prior")(mu=mu, rho=rho, **old, **noise)
    return kl - part("expected_log_likelihood")(mu=mu, rho=rho, **data)


@mistake("UndetachedOld", "transition_loss")
def loss_with_aliased_old(right: Function, given: Inputs) -> Array:
    """The old parameters move with the new ones, so that the KL has no gradient."""
    return right(**given | {"mu_old": given["mu"], "rho_old": given["rho"]})


def data_of(given: Inputs) -> Iterator[Inputs]:
    """Each row's data, noise and settings."""
    model = {name: given[name] for name in ("layer_sizes", "likelihood_sigma")}
    noise_name = "zeta" if "zeta" in given else "eps"
    for inputs, targets, noise in transitions_of(given):
        yield {"inputs": inputs, "targets": targets, noise_name: noise, **model}


@partial(part, remembers=True, like=("elbo_grad", "elbo_grad_local"))
def transition_gradient(mu: Array, rho: Array, **given: Any) -> tuple[Array, Array]:
    """∇ℓ at φ = (mu, rho)."""
    of_phi = grad(lambda phi: transition_loss(phi[0], phi[1], **given))
    gradient: tuple[Array, Array] = of_phi((mu, rho))
    return gradient


@formula("transition_gradient", parts=["transition_loss"])
def gradient_by_parts(
    part: Function, mu: Array, rho: Array, **given: Any
) -> tuple[Array, Array]:
    loss = part("transition_loss")
    of_phi = grad(lambda phi: loss(mu=phi[0], rho=phi[1], **given))
    gradient: tuple[Array, Array] = of_phi((mu, rho))
    return gradient


def gradient_of(part: Function, start: Array, data: Inputs) -> Array:
    """∇ℓ at the start φ (2, D) of a row, (2, D)."""
    mu, rho = start
    old = {"mu_old": mu, "rho_old": rho}
    gradient = part("transition_gradient")(mu=mu, rho=rho, **old, **data)
    return np.array(gradient)  # (2, D)


def step_of(
    part: Function, start: Array, gradient: Array, given: Inputs
) -> tuple[Array, Array]:
    """The step −λ H⁻¹∇ℓ."""
    h = part("kl_hessian_diag")(mu=start[0], rho=start[1])
    step_size = given["step_size"]
    return -step_size * gradient[0] / h["h_mu"], -step_size * gradient[1] / h["h_rho"]


@partial(part, like=("posterior_step", "posterior_step_local"))
def moved_posterior(start: Array, moves: tuple[Array, Array]) -> Array:
    """φ′ (2, D)."""
    return start + np.array(moves)  # (2, D)


@part
def accumulated(before: Array, gradient: Array) -> Array:
    """The gradient of a step: its own, whatever was there before."""
    return gradient


@mistake("GradientsAccumulate", "accumulated")
def sum_of_gradients(right: Function, given: Inputs) -> Array:
    return given["before"] + right(**given)


@part
def next_start(start: Array, left: Array) -> Array:
    """The next row's start, which is this row's start."""
    return start


@mistake("StateNotRestored", "next_start")
def start_where_the_last_row_ended(right: Function, given: Inputs) -> Array:
    return given["left"]


STEP_PARTS = "transition_gradient", "kl_hessian_diag"
BETWEEN_ROWS = "accumulated", "next_start"


@formula(
    *GAINS,
    parts=[
        *STEP_PARTS,
        "kl_taylor",
        "moved_posterior",
        "information_gain",
        *BETWEEN_ROWS,
    ],
)
def gains_by_parts(part: Function, **given: Any) -> Array:
    start = np.array([given["mu"], given["rho"]])  # (2, D)
    gradient = np.zeros(start.shape)
    gains = []
    for data in data_of(given):
        own = gradient_of(part, start, data)
        gradient = part("accumulated")(before=gradient, gradient=own)
        moves = step_of(part, start, gradient, given)
        if given["method"] == "taylor":
            left = start + np.array(moves)  # (2, D)
            old = {"mu": start[0], "rho": start[1]}
            move = {"delta_mu": moves[0], "delta_rho": moves[1]}
            gains.append(part("kl_taylor")(**old, **move))
        else:
            left = part("moved_posterior")(start=start, moves=moves)
            new = {"mu_new": left[0], "rho_new": left[1]}
            before = {"mu_old": start[0], "rho_old": start[1]}
            gains.append(part("information_gain")(**new, **before))
        start = part("next_start")(start=start, left=left)
    return np.array(gains)  # (N,)


mistake("SharedRowNoise", "information_gains_local", needs="zeta")(shared_row_noise)


@mistake("ClippedGain", *GAINS)
def clipped_gains(right: Function, given: Inputs) -> Array:
    return np.minimum(right(**given), 1000.0)


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

    general = "SwappedKL", "DroppedConstant", "KLMean", "VarianceAsSigma", "MissingHalf", "SwappedSigmas"
    yield good("three-weights", "New first, old second.", *general, **step(-0.5, 0.5, 0.75, 3, 1))
    yield good("four-weights", "New first, old second.", *general, **step(0.5, 0.25, 1.0, 4, 2))
    yield good("nothing-learned", "0 where nothing moved.", **step(0.0, 0.0, 0.0, 3, 3))
    yield good("narrow", "Standard deviations near 1e-4.", "FudgedDenominator", "SwappedKL",
               mu_new=(1e-4, 0.0), rho_new=(-9.0, -9.5), mu_old=(0.0, 1e-4), rho_old=(-9.5, -8.5))
    yield good("narrower", "Standard deviations near 1e-5: with 1e-8 below, the gain is negative.", "FudgedDenominator",
               mu_new=(1e-5, 0.0), rho_new=(-11.0, -11.0), mu_old=(0.0, 1e-5), rho_old=(-11.5, -11.5))
    yield good("near-identity", "A step of 1/256.", "NaiveNearIdentity", **step(-0.5, 2**-9, 2**-8, 4, 4))
    yield good("near-identity-2", "A step of 1/128.", "NaiveNearIdentity", **step(0.3, 2**-8, 2**-7, 3, 5))
    for exponent in (20, 22):
        yield good(f"near-identity-in-float64-{exponent}", f"A step of 2^−{exponent}.", "NaiveNearIdentity",
                   dtypes=("f64",), **step(-0.3, 2.0 ** -(exponent + 1), 2.0**-exponent, 4, exponent))
    yield good("beyond-1000", "A surprise of more than 1000 nats.", *general, **step(-1.0, 24.0, 0.375, 3, 7))
    yield good("tiny-gain", "About 1e-12 nats.", "SwappedKL", "NaiveNearIdentity", dtypes=("f64",),
               **step(-0.25, 2.0**-21, 2.0**-20, 5, 8))
    yield good("above-20", "Two of three weights are wide.", *general,
               mu_new=(0.5, 3.0, -9.0), rho_new=(-1.0, 13.5, 22.0),
               mu_old=(0.25, -2.0, 4.0), rho_old=(-0.5, 12.0, 25.0))
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
    three = model(2, 3, 1, rows=4, samples=3, seed=29)
    single = "MissingHalf", "WrongMetric", "UnnormalisedLogDensity", "VarianceAsSigma"
    rows_in_turn = "StateNotRestored", "GradientsAccumulate"
    flags = *single, "SquaredBeforeMean", "CopiedLastGain", "SharedRowNoise", *rows_in_turn
    yield good("one-row", "½λ²gᵀH⁻¹g of one transition and one sample.", *single, **one)
    yield good("four-rows", "Each from the same posterior; the gradient is averaged before it is squared.",
               *flags, "AveragedPrediction", **three)
    yield good("deep", "Two hidden layers as wide as the output.", *flags, "SameLayerNoise",
               **model(2, 2, 2, 2, rows=3, samples=5, seed=3))
    yield good("sigma-per-output", "A likelihood sigma for each output.", *flags,
               **model(3, 4, 2, rows=3, samples=3, seed=4) | {"likelihood_sigma": (0.5, 2.0)})
    for rows, seed in ((3, 12), (5, 14)):
        yield good(f"one-sample-{rows}-rows", "One sample, one hidden layer.", *single, "CopiedLastGain", "OutputReLU",
                   "SigmaFloor", "SharedRowNoise", **model(3, 4, 2, rows=rows, samples=1, seed=seed))
    far = three | {"targets": three["targets"] + 400.0}
    yield good("beyond-1000", "Targets a hundred times too far.", *single, "ClippedGain",
               **far | {"step_size": 0.25, "likelihood_sigma": 0.25})
    yield good("beyond-1000-one-sample", "A target a hundred times too far.", *single, "ClippedGain",
               **one | {"step_size": 0.5, "likelihood_sigma": 0.125, "targets": ((-500.0,),)})
    yield good("tiny", "Gains near 1e-12.", *single, **three | {"likelihood_sigma": 12.0, "step_size": 2.0**-14})
    exact = {"method": "exact", "step_size": 0.0625}
    kl = "SwappedKL", "DroppedConstant", "KLMean", "MissingHalf", "SwappedSigmas"
    yield good("exact-one-row", "KL[new‖old] of one posterior step.", *kl, **one | exact)
    yield good("exact-four-rows", "One step a row, each from the same posterior.", *kl, "CopiedLastGain",
               "SharedRowNoise", *rows_in_turn, **three | exact)
    yield good("exact-deep", "Equal widths, three samples.", *kl, "SameLayerNoise", "CopiedLastGain",
               **model(2, 2, 2, rows=4, samples=3, seed=5) | exact)
    yield good("exact-small-step", "λ = 2^-12, where the textbook sum cancels.", "CopiedLastGain",
               "NaiveNearIdentity", dtypes=("f64",), **three | exact | {"step_size": 2.0**-12})
    yield good("exact-smaller-step", "λ = 2^-14, where the textbook sum cancels.", "CopiedLastGain",
               "NaiveNearIdentity", dtypes=("f64",), **three | exact | {"step_size": 2.0**-14})
    yield good("exact-beyond-1000", "Targets a hundred times too far.", "ClippedGain",
               **far | exact | {"likelihood_sigma": 1.0})
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

ONE_ROW = {
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
}


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
    inputs=ONE_ROW,
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
    measured=(3.9e-16, 5.7e-08),
    kinds=NETWORK,
    formula="g_mu, g_rho, h_mu, h_rho: the row's, from the definitions, with local network and ζ\n"
    "mu  ← μ − λ·g_mu/h_mu\n"
    "rho ← ρ − λ·g_rho/h_rho",
    outputs={"mu": ("(D,)", "none"), "rho": ("(D,)", "none")},
    rules=(
        "λ is step_size.",
        "There is exactly one row. Reject two.",
    ),
    inputs=ONE_ROW | {"zeta": {"shape": "a list of (S, 1, O_l)"}},
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
    measured=(4.9e-16, 1.5e-07),
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


@formula("posterior_step", "posterior_step_local", parts=STEP_PARTS)
def step_by_parts(part: Function, **given: Any) -> Arrays:
    (data,) = data_of(given)
    start = np.array([given["mu"], given["rho"]])  # (2, D)
    moves = step_of(part, start, gradient_of(part, start, data), given)
    return dict(zip(("mu", "rho"), start + np.array(moves)))


@part
def velocity(before: Array, gradient: Array) -> Array:
    """The subtrahend of a gradient step: the gradient, whatever was subtracted before."""
    return gradient


@mistake("LeakyOptimiser", "velocity")
def momentum(right: Function, given: Inputs) -> Array:
    return 0.9 * given["before"] + right(**given)


@formula("posterior_updates", parts=["transition_gradient", "velocity", *BETWEEN_ROWS])
def updates_by_parts(part: Function, **given: Any) -> Arrays:
    start = np.array([given["mu"], given["rho"]])  # (2, D)
    gradient = np.zeros(start.shape)
    subtracted = np.zeros(start.shape)
    posteriors = []
    for data in data_of(given):
        phi = start
        old = {"mu_old": start[0], "rho_old": start[1]}
        for _ in range(given["num_steps"]):
            own = np.array(
                part("transition_gradient")(mu=phi[0], rho=phi[1], **old, **data)
            )
            gradient = part("accumulated")(before=gradient, gradient=own)
            subtracted = part("velocity")(before=subtracted, gradient=gradient)
            phi = phi - given["learning_rate"] * subtracted
        posteriors.append(DiagNormal(*phi))
        start = part("next_start")(start=start, left=phi)
    return parameters(posteriors)


def parameters(posteriors: list[DiagNormal]) -> Arrays:
    return {
        "mu": np.array([q.mu for q in posteriors]),
        "rho": np.array([q.rho for q in posteriors]),
    }


intermediates_of("posterior_step", "posterior_step_local")(gradients_of_the_loss)


# fmt: off
@cases_of("posterior_step", "posterior_step_local")
def posterior_step_cases() -> Iterator[Case]:
    base = model(2, 3, 1, rows=1, samples=3, seed=1)
    flags = "WrongMetric", "UnnormalisedLogDensity", "VarianceAsSigma"
    yield good("one-sample", "φ − λH⁻¹∇ℓ.", *flags, **model(2, 3, 1, rows=1, samples=1, seed=2))
    yield good("one-sample-of-two-outputs", "φ − λH⁻¹∇ℓ.", *flags,
               **model(3, 5, 2, rows=1, samples=1, seed=12))
    yield good("three-samples", "The gradient is the mean over samples.", *flags, "AveragedPrediction", **base)
    yield good("equal-widths", "Each layer has its own noise.", *flags, "SameLayerNoise", "AveragedPrediction",
               **model(2, 2, 2, rows=1, samples=5, seed=3) | {"likelihood_sigma": (0.5, 2.0)})
    yield good("three-layers", "Three layers of one width.", *flags, "SameLayerNoise", "OutputReLU",
               **model(3, 2, 2, 2, rows=1, samples=3, seed=4) | {"step_size": 0.125})
    large = {"rho": np.append(base["rho"][:-2], (360.0, 400.0))}
    yield good("large-sigma", "e^2ρ of two weights is beyond float64.", "SquaredExpOverflow", dtypes=("f64",),
               **base | large | {"step_size": 2.0**-26})
    yield good("larger-sigma", "e^2ρ of a weight is beyond float64.", "SquaredExpOverflow", dtypes=("f64",),
               **base | {"rho": np.append(base["rho"][:-1], 500.0), "step_size": 2.0**-28})
    two = model(2, 3, 1, rows=2, samples=2, seed=1)
    yield bad("two-rows", "there must be one transition", two, inputs=two["inputs"])
    yield bad("zero-step", "step_size must be > 0", base, step_size=0.0)
    yield bad("nan-target", "targets must be finite", base, targets=with_nan(base["targets"]))
# fmt: on


# fmt: off
@cases_of("posterior_updates")
def posterior_updates_cases() -> Iterator[Case]:
    base = model(2, 3, 1, rows=4, samples=3, seed=1)
    density = "UnnormalisedLogDensity", "VarianceAsSigma"
    pull = "UndetachedOld", "SwappedKL", "KLMean"
    yield good("one-row", "One gradient step.", *density, **model(2, 3, 1, rows=1, samples=1, seed=2))
    in_turn = "LeakyOptimiser", "StateNotRestored", "GradientsAccumulate"
    yield good("four-rows", "Each row starts anew.", *in_turn, *density, "AveragedPrediction", **base)
    yield good("three-rows", "Each row starts anew.", *in_turn,
               **model(2, 2, 2, rows=3, samples=1, seed=3))
    yield good("one-sample", "The KL to the start pulls from the second step on.", "LeakyOptimiser", *density, *pull,
               **model(3, 4, 2, rows=3, samples=1, seed=12) | {"num_steps": 3})
    yield good("five-steps", "The KL to the start pulls from the second step on.", "LeakyOptimiser", *density, *pull,
               "AveragedPrediction", **base | {"num_steps": 5, "learning_rate": 0.0078125})
    narrow = base | {"mu": 2.0**-13 * base["mu"], "rho": base["rho"] - 9.0}
    yield good("narrow", "Standard deviations near 1e-4.", "FudgedDenominator", "KLMean",
               **narrow | {"num_steps": 2, "learning_rate": 2.0**-27})
    yield bad("no-steps", "num_steps must be >= 1", base, num_steps=0)
    yield bad("negative-rate", "learning_rate must be > 0", base, learning_rate=-0.5)
    yield bad("no-rows", "there must be a row", base, inputs=np.zeros((0, 2)), targets=np.zeros((0, 1)))
# fmt: on


draw_by_names(draw_model, "posterior_step", "posterior_step_local", rows=1)
draw_by_names(draw_model, "posterior_updates")
undecided_for("posterior_step", "posterior_step_local", "posterior_updates")(at_kink)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

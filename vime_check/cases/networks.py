"""Operations on numbers, distributions and networks: softplus, KL, forward passes, likelihoods.

Axes and units as in `bnn_ref`, which computes the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import autograd.numpy as anp  # a mistake in a part may be in a gradient
import numpy as np
from scipy.special import expit, logsumexp

import bnn_ref as bnn
import vime_ref as vime
from bnn_ref import Array, DiagNormal, Sigma, Sizes, Zeta
from vime_check import exact
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
    mistake,
    numbers,
    operation,
    part,
    register,
    undecided_for,
    with_nan,
)
from vime_check.wire import Arrays, Inputs, Kinds

# ---------------------------------------------------------------- constants

NETWORK: Kinds = {"layer_sizes": "wholes", "zeta": "arrays"}
KINK = 1e-3  # distance of drawn pre-activations from the ReLU's kink, at which rounding decides gradients

# ---------------------------------------------------------------- building blocks: inputs of networks


def model(*layer_sizes: int, rows: int, samples: int, seed: int) -> Inputs:
    """All inputs of network operations: posterior, prior, data, both kinds of noise, settings."""
    size = bnn.num_weights(layer_sizes)
    return {
        "theta": numbers(samples, size, seed=seed + 7),
        "mu": numbers(size, seed=seed),
        "rho": 0.5 * numbers(size, seed=seed + 1) - 0.5,
        "prior_mu": 0.5 * numbers(size, seed=seed + 2),
        "prior_rho": 0.25 * numbers(size, seed=seed + 3),
        "inputs": numbers(rows, layer_sizes[0], seed=seed + 4),
        "targets": numbers(rows, layer_sizes[-1], seed=seed + 5),
        "eps": numbers(samples, size, seed=seed + 6),
        "zeta": [
            numbers(samples, rows, units, seed=seed + 8 + units + i)
            for i, units in enumerate(layer_sizes[1:])
        ],
        "layer_sizes": np.array(layer_sizes),
        "likelihood_sigma": 0.75,
        "num_data": 10.0,
        "step_size": 0.015625,
        "method": "taylor",
        "num_steps": 1,
        "learning_rate": 0.03125,
    }


def draw_model(draw: Draw, names: Iterable[str], rows: int = 0) -> Inputs:
    """A small network with rows and noise, limited to the operation's inputs."""
    sizes = [draw.integer(1, 2) for _ in range(draw.integer(2, 3))]
    rows = rows or draw.integer(1, 3)
    samples = draw.integer(1, 2)
    weights = bnn.num_weights(sizes)

    # Numbers of these shapes.
    flat = dict.fromkeys(("mu", "rho", "prior_mu", "prior_rho"), (weights,))
    shapes = {**flat, "theta": (samples, weights), "eps": (samples, weights)}
    shapes |= {"inputs": (rows, sizes[0]), "targets": (rows, sizes[-1])}

    # Other inputs, drawn only if the operation has them.
    others: dict[str, Callable[[], Any]] = {
        "zeta": lambda: [draw.numbers(samples, rows, units) for units in sizes[1:]],
        "layer_sizes": lambda: sizes,
        "likelihood_sigma": lambda: 4.0 * draw.positives(),
        "num_data": lambda: float(rows * draw.integer(1, 10)),
        "step_size": lambda: 2.0 ** -draw.integer(4, 8),
        "learning_rate": lambda: 2.0 ** -draw.integer(4, 8),
        "num_steps": lambda: draw.integer(1, 3),
        "method": lambda: ("taylor", "exact")[draw.integer(0, 1)],
    }
    return {
        name: draw.numbers(*shapes[name]) if name in shapes else others[name]()
        for name in names
    }


def at_kink(inputs: Inputs) -> bool:
    """Whether a hidden unit of a drawn network is so near 0 that rounding decides its gradient."""
    sizes = sizes_of(inputs["layer_sizes"])
    if len(sizes) < 3:
        return False

    # The first layer alone.
    first = bnn.num_weights(sizes[:2])
    q = DiagNormal(inputs["mu"][:first], inputs["rho"][:first])
    noise = (
        {"zeta": inputs["zeta"][:1]}
        if "zeta" in inputs
        else {"eps": inputs["eps"][:, :first]}
    )
    units = outputs_of(q, inputs["inputs"], noise, sizes[:2])
    return bool(np.min(np.abs(units)) < KINK)


def outputs_of(
    q: DiagNormal, inputs: Array, noise: Inputs, layer_sizes: Sizes
) -> Array:
    """Outputs (S, N, O) with the given kind of noise: eps or zeta."""
    if "zeta" in noise:
        return bnn.mlp_local(q, inputs, noise["zeta"], layer_sizes)
    return bnn.mlp(bnn.sample_weights(q, noise["eps"]), inputs, layer_sizes)


def sizes_of(layer_sizes: Array) -> tuple[int, ...]:
    return tuple(int(size) for size in layer_sizes)


def model_settings(layer_sizes: Array, likelihood_sigma: Sigma) -> vime.ModelSettings:
    return {
        "layer_sizes": sizes_of(layer_sizes),
        "likelihood_sigma": likelihood_sigma,
    }


# ---------------------------------------------------------------- family softplus


register(
    "softplus",
    "elementwise",
    bnn.softplus,
    measured=(2.0e-16, 6.7e-08),
    floor=0.0,
    formula="σ = log(1 + e^ρ) = max(ρ, 0) + log1p(e^−|ρ|)",
    outputs={"": ("the shape of rho", "none")},
    rules=(
        "All digits are demanded for ρ from −700 to 10000: neither exponential nor sum may overflow or round.",
    ),
    inputs={"rho": {"shape": "(...)", "domain": "finite", "meaning": "ρ"}},
)
exact_form("softplus")(exact.exact_softplus)


register(
    "softplus",
    "elementwise",
    bnn.softplus_inverse,
    measured=(2.1e-16, 6.1e-08),
    floor=0.0,
    formula="ρ = log(e^σ − 1) = σ + log(−expm1(−σ))",
    outputs={"": ("the shape of sigma", "none")},
    rules=("All digits are demanded for σ from 1e-20 to 10000.",),
    inputs={"sigma": {"shape": "(...)", "unit": "none", "meaning": "σ"}},
)


@exact_form("softplus_inverse")
def exact_softplus_inverse(sigma: Any) -> Any:
    return exact.log(exact.expm1(sigma))


@mistake("SoftplusOverflow", "softplus")
def overflowing_softplus(right: Function, given: Inputs) -> Array:
    return anp.log(1.0 + anp.exp(given["rho"]))


@mistake("SoftplusThreshold", "softplus")
def softplus_above_20(right: Function, given: Inputs) -> Array:
    return anp.where(given["rho"] > 20.0, given["rho"], right(**given))


def floored_sigma(epsilon: float) -> Function:
    """The mistake σ + ε."""

    def floored(right: Function, given: Inputs) -> Array:
        return right(**given) + epsilon

    return floored


for exponent in (8, 6, 5):
    mistake("SigmaFloor", "softplus", variant=str(exponent))(
        floored_sigma(10.0**-exponent)
    )


@mistake("SoftplusOverflow", "softplus_inverse")
def overflowing_softplus_inverse(right: Function, given: Inputs) -> Array:
    return np.log(np.exp(given["sigma"]) - 1.0)


# fmt: off
@cases_of("softplus")
def softplus_cases() -> Iterator[Case]:
    base: Inputs = {"rho": (0.0, 1.0)}
    yield good("at-zero", "softplus(0) is log 2.", rho=(0.0,))
    yield good("moderate", "Both signs of moderate size.", rho=(-1.5, -0.5, 0.25, 2.0))
    yield good("matrix", "Elementwise, whatever the shape.", rho=((-1.0, 0.0, 1.0), (2.0, 3.0, -0.5)))
    yield good("at-100-in-float32", "exp(100) is beyond float32.", "SoftplusOverflow", dtypes=("f32",), rho=(100.0,))
    yield good("at-1000", "A standard deviation of 1000 is ρ = 1000.", "SoftplusOverflow", rho=(1000.0, 10000.0))
    yield good("far-below", "softplus(−50) is e^−50, not 0.", "SoftplusOverflow", rho=(-50.0, -80.0))
    yield good("above-20", "Softplus is above ρ by e^−ρ.", "SoftplusThreshold", dtypes=("f64",), rho=(12.0, 20.5, 25.0))
    yield good("above-20-again", "Softplus is above ρ by e^−ρ.", "SoftplusThreshold", dtypes=("f64",), rho=(21.75,))
    yield good("lowest", "e^−700 is a normal number of float64.", "SoftplusOverflow", dtypes=("f64",), rho=(-700.0,))
    yield bad("nan", "rho must be finite", base, rho=(0.0, math.nan))
    yield bad("infinite", "rho must be finite", base, rho=(math.inf, 0.0))
    yield bad("minus-infinite", "rho must be finite", base, rho=(-math.inf,))
# fmt: on


@draw_of("softplus")
def draw_softplus(draw: Draw) -> Inputs:
    """Numbers ρ from −48 to 768."""
    scale = 2.0 ** draw.integer(0, 8)
    return {
        "rho": [max(scale * value, -48.0) for value in draw.numbers(draw.integer(1, 3))]
    }


# fmt: off
@cases_of("softplus_inverse")
def softplus_inverse_cases() -> Iterator[Case]:
    base: Inputs = {"sigma": (0.5, 1.0)}
    yield good("half", "The original's standard deviation at the start.", sigma=(0.5,))
    yield good("moderate", "From a hundredth to ten.", sigma=(0.01, 0.25, 1.0, 3.0, 10.0))
    yield good("large", "exp(1000) is beyond float64.", "SoftplusOverflow", sigma=(1000.0, 10000.0))
    yield good("tiny", "exp σ − 1 cancels; ρ is log σ here.", "SoftplusOverflow", sigma=(1e-10, 1e-20))
    yield bad("zero", "sigma must be > 0", base, sigma=(0.5, 0.0))
    yield bad("negative", "sigma must be > 0", base, sigma=(-0.5, 1.0))
    yield bad("nan", "sigma must be finite", base, sigma=(math.nan,))
    yield bad("infinite", "sigma must be finite", base, sigma=(1.0, math.inf))
# fmt: on


@draw_of("softplus_inverse")
def draw_softplus_inverse(draw: Draw) -> Inputs:
    scale = 2.0 ** draw.integer(-10, 7)
    return {"sigma": [scale * value for value in draw.positives(draw.integer(1, 3))]}


# ---------------------------------------------------------------- family kl


register(
    "kl",
    "elementwise",
    bnn.kl_diag_normal,
    measured=(3.9e-16, 7.3e-08),
    floor=0.0,
    formula="KL(μ_q, σ_q, μ_p, σ_p) of the definitions, summed over the last axis",
    outputs={"": ("(...)", "nats")},
    rules=(
        "The first distribution is q, the second is p.",
        "Leading axes are rows with a KL each, and broadcast. Arrays (D,) give one number.",
        "The last axes must have one length: they do not broadcast.",
        "Where q and p almost agree, the sum as written loses its digits. Use the form for almost equal distributions.",
        "Reject inputs whose KL overflows.",
    ),
    inputs={
        "mu_q": {"shape": "(..., D)"},
        "sigma_q": {"shape": "(..., D)"},
        "mu_p": {"shape": "(..., D)"},
        "sigma_p": {"shape": "(..., D)"},
    },
)
exact_form("kl_diag_normal")(exact.kl)


@operation(
    "kl",
    "elementwise",
    measured=(3.4e-16, 1.2e-07),
    floor=0.0,
    formula="σ = softplus(ρ)\nh_mu  = 1/σ²\nh_rho = 2·(sigmoid(ρ)/σ)²",
    outputs={"h_mu": ("(D,)", "nats"), "h_rho": ("(D,)", "nats")},
    rules=(
        "They are the second derivatives of KL[q(φ + Δ)‖q(φ)] in Δ at Δ = 0. Mixed derivatives are 0.",
        "They do not depend on mu.",
        "For ρ → −∞, sigmoid(ρ)/σ → 1. For large ρ, σ = ρ. Compute the fraction without overflow.",
    ),
)
def kl_hessian_diag(mu: Array, rho: Array) -> Arrays:
    h_mu, h_rho = bnn.kl_hessian_diag(DiagNormal(mu, rho))
    return {"h_mu": h_mu, "h_rho": h_rho}


@formula("kl_hessian_diag", parts=["softplus"])
def hessian_by_parts(part: Function, mu: Array, rho: Array) -> Arrays:
    sigma = part("softplus")(rho=rho)
    return {"h_mu": sigma**-2.0, "h_rho": 2.0 * (expit(rho) / sigma) ** 2}


@exact_form("kl_hessian_diag")
def exact_hessian(mu: Any, rho: Any) -> dict[str, Any]:
    sigma = exact.exact_softplus(rho)
    slope = 1 / (1 + exact.exp(-rho))
    return {"h_mu": 1 / sigma**2, "h_rho": 2 * (slope / sigma) ** 2}


@operation(
    "kl",
    "elementwise",
    measured=(2.3e-16, 8.5e-08),
    floor=0.0,
    formula="h_mu, h_rho as in kl_hessian_diag\n"
    "KL ≈ ½ Σ_i [h_mu_i·Δμ_i² + h_rho_i·Δρ_i²]",
    outputs={"": ("()", "nats")},
)
def kl_taylor(mu: Array, rho: Array, delta_mu: Array, delta_rho: Array) -> Array:
    return bnn.kl_taylor(DiagNormal(mu, rho), delta_mu, delta_rho)


@formula("kl_taylor", parts=["kl_hessian_diag"])
def taylor_by_parts(
    part: Function, mu: Array, rho: Array, delta_mu: Array, delta_rho: Array
) -> Array:
    h = part("kl_hessian_diag")(mu=mu, rho=rho)
    return 0.5 * np.sum(h["h_mu"] * delta_mu**2 + h["h_rho"] * delta_rho**2)


@exact_form("kl_taylor")
def exact_taylor(mu: Any, rho: Any, delta_mu: Any, delta_rho: Any) -> Any:
    h = exact_hessian(mu, rho)
    return np.sum(h["h_mu"] * delta_mu**2 + h["h_rho"] * delta_rho**2) / 2


def textbook_kl(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """log σ_p − log σ_q + ((μ_q − μ_p)² + σ_q² − σ_p²)/(2σ_p²), in the precision of its inputs."""
    fraction = ((mu_q - mu_p) ** 2 + sigma_q**2 - sigma_p**2) / (2 * sigma_p**2)
    return np.sum(fraction + np.log(sigma_p) - np.log(sigma_q), axis=-1)


@mistake("NaiveNearIdentity", "kl_diag_normal")
def naive_kl(right: Function, given: Inputs) -> Array:
    other_mistakes = right(**given) - bnn.kl_diag_normal(**given)
    return textbook_kl(**given) + other_mistakes


KL_INPUTS = "mu_q", "sigma_q", "mu_p", "sigma_p"
SWAPPED_INPUTS = "mu_p", "sigma_p", "mu_q", "sigma_q"


@mistake("SwappedKL", "kl_diag_normal")
def swapped_kl(right: Function, given: Inputs) -> Array:
    exchanged = dict(zip(KL_INPUTS, (given[name] for name in SWAPPED_INPUTS)))
    return right(**exchanged)


@mistake("KLMean", "kl_diag_normal")
def mean_kl(right: Function, given: Inputs) -> Array:
    return right(**given) / len(given["mu_q"].T)


def kl_with(names: Iterable[str], power: float) -> Function:
    """The mistake of giving the KL this power of these standard deviations."""

    def wrong(right: Function, given: Inputs) -> Array:
        return right(**given | {name: given[name] ** power for name in names})

    return wrong


SIGMA_POWERS: dict[str, tuple[tuple[str, ...], float, str]] = {
    "prior": (("sigma_p",), 2.0, "σ_p² for σ_p in the KL"),
    "both": (("sigma_q", "sigma_p"), 2.0, "σ² for σ of both in the KL"),
    "prior-root": (("sigma_p",), 0.5, "√σ_p for σ_p in the KL"),
    "both-roots": (("sigma_q", "sigma_p"), 0.5, "√σ for σ of both in the KL"),
}
for label, (names, power, at) in SIGMA_POWERS.items():
    named = mistake("VarianceAsSigma", "kl_diag_normal", variant=label, at=at)
    named(kl_with(names, power))


@part
def mean_term(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """Δμ²/2σ_p² of each weight."""
    return 0.5 * ((mu_q - mu_p) / sigma_p) ** 2


@part
def width_term(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """σ_q²/2σ_p² of each weight."""
    return 0.5 * (sigma_q / sigma_p) ** 2


@part
def log_term(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """log(σ_p/σ_q) of each weight."""
    return anp.log(sigma_p) - anp.log(sigma_q)


@part
def constant_term(**given: Array) -> float:
    """The ½ of each weight, which is subtracted."""
    return 0.5


@part
def fudge(**given: Array) -> float:
    """The number added to the denominator 2σ_p²: none."""
    return 0.0


@part
def log_fudge(**given: Array) -> float:
    """The number added to σ in the logarithms: none."""
    return 0.0


KL_TERMS = {
    "mean_term": mean_term,
    "width_term": width_term,
    "constant_term": constant_term,
    "log_term": log_term,
}
KL_PARTS = *KL_TERMS, "fudge", "log_fudge"


@formula("kl_diag_normal", parts=KL_PARTS)
def kl_of_terms(part: Function, **given: Array) -> Array:
    return bnn.kl_diag_normal(**given) + moved_terms(part, **given)


def moved_terms(part: Function, **given: Array) -> Array:
    """The difference from the right KL that its parts make: 0 if these are right."""
    moved = {
        name: part(name)(**given) - right(**given) for name, right in KL_TERMS.items()
    }
    fractions = moved["mean_term"] + moved["width_term"] - moved["constant_term"]
    difference = anp.sum(fractions + moved["log_term"], axis=-1)

    # What is added to denominators and in logarithms.
    added = part("fudge")(**given)
    inside = part("log_fudge")(**given)
    if added:
        lost = lost_to_fudge(added, fractions, **given)
        difference = difference - anp.sum(lost, axis=-1)
    if inside:
        lost = lost_to_log_fudge(inside, **given)
        difference = difference - anp.sum(lost, axis=-1)
    return difference


def lost_to_fudge(
    added: float,
    moved_fractions: Array,
    mu_q: Array,
    sigma_q: Array,
    mu_p: Array,
    sigma_p: Array,
) -> Array:
    """The error of each weight if the fractions less their ½ share the denominator 2σ_p² + `added`.

    They are right except for `moved_fractions`. The error is computed apart from the KL, so that rounding does not
    hide it.
    """
    denominator = 2 * sigma_p**2
    numerator = (mu_q - mu_p) ** 2 + (sigma_q - sigma_p) * (sigma_q + sigma_p)
    numerator = numerator + denominator * moved_fractions
    return numerator * added / (denominator * (denominator + added))


def lost_to_log_fudge(
    inside: float, mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array
) -> Array:
    """The error of each weight from what is added to σ in log(σ_p/σ_q)."""
    return anp.log1p(inside / sigma_q) - anp.log1p(inside / sigma_p)


@mistake("FudgedDenominator", "fudge", "log_fudge", variant="log")
@mistake("FudgedDenominator", "fudge")
def hundred_millionth(right: Function, given: Inputs) -> float:
    return 1e-8


@mistake("DroppedConstant", "constant_term")
def nothing_subtracted(right: Function, given: Inputs) -> float:
    return 0.0


BOTH_SIGMAS = "sigma_q", "sigma_p"
# For each variant: the terms, the standard deviations in them and their power, and where that is.
TERM_POWERS: dict[str, tuple[dict[str, tuple[str, ...]], float, str]] = {
    "mean": ({"mean_term": ("sigma_p",)}, 0.5, "σ_p for σ_p² under Δμ²"),
    "width": ({"width_term": BOTH_SIGMAS}, 0.5, "σ for σ² in σ_q²/2σ_p²"),
    "fractions": (
        {"mean_term": ("sigma_p",), "width_term": BOTH_SIGMAS},
        0.5,
        "σ for σ² in both fractions of the KL",
    ),
    "denominators": (
        {"mean_term": ("sigma_p",), "width_term": ("sigma_p",)},
        0.5,
        "σ_p for σ_p² under both fractions of the KL",
    ),
    "log": ({"log_term": BOTH_SIGMAS}, 2.0, "σ² for σ in the logarithm of the KL"),
}
for label, (terms, power, at) in TERM_POWERS.items():
    for term, names in terms.items():
        named = mistake("VarianceAsSigma", term, variant=label, at=at)
        named(kl_with(names, power))


def twice_the_term(right: Function, given: Inputs) -> Array:
    return 2.0 * right(**given)


for label, fractions, at in (
    ("mean", ("mean_term",), "in Δμ²/2σ_p²"),
    ("width", ("width_term",), "in σ_q²/2σ_p²"),
    ("fractions", ("mean_term", "width_term"), "in both fractions of the KL"),
):
    mistake("MissingHalf", *fractions, variant=label, at=at)(twice_the_term)


def term_with_other_sigma(right: Function, given: Inputs) -> Array:
    exchanged = {"sigma_q": given["sigma_p"], "sigma_p": given["sigma_q"]}
    return right(**given | exchanged)


for term, at in (
    ("mean_term", "σ_q under Δμ²"),
    ("width_term", "σ_p²/2σ_q² for σ_q²/2σ_p²"),
    ("log_term", "log(σ_q/σ_p) for log(σ_p/σ_q)"),
):
    mistake("SwappedSigmas", term, variant=term, at=at)(term_with_other_sigma)


def metric_of_sigma(names: Sequence[str]) -> Function:
    """The mistake of dividing by σ, not by σ², in these parts of the metric."""

    def wrong(right: Function, given: Inputs) -> Arrays:
        h = right(**given)
        sigma = h["h_mu"] ** -0.5
        return {name: h[name] * (sigma if name in names else 1.0) for name in h}

    return wrong


for parts in ("h_mu",), ("h_rho",), ("h_mu", "h_rho"):
    mistake(
        "VarianceAsSigma",
        "kl_hessian_diag",
        variant="-".join(parts),
        at=f"σ for σ² in {' and '.join(parts)}",
    )(metric_of_sigma(parts))


@mistake("WrongMetric", "kl_hessian_diag", variant="quarter")
def quarter_of_the_metric(right: Function, given: Inputs) -> Arrays:
    h = right(**given)
    return {**h, "h_rho": 0.25 * h["h_rho"]}


@mistake("WrongMetric", "kl_hessian_diag", variant="two")
def metric_without_the_two(right: Function, given: Inputs) -> Arrays:
    h = right(**given)
    return {**h, "h_rho": 0.5 * h["h_rho"]}


@mistake("FudgedDenominator", "kl_hessian_diag", variant="metric")
def metric_with_fudged_variance(right: Function, given: Inputs) -> Arrays:
    """Divided by σ² + 1e-8, not by σ²."""
    h = right(**given)
    lost = 1.0 + 1e-8 * h["h_mu"]
    return {name: each / lost for name, each in h.items()}


@mistake("SquaredExpOverflow", "kl_hessian_diag")
def metric_of_squared_exponentials(right: Function, given: Inputs) -> Arrays:
    """2e^{2ρ}/(1 + e^ρ)²/σ² as it is written."""
    h = right(**given)
    rho = given["rho"]
    with np.errstate(over="ignore", invalid="ignore"):
        slope = np.exp(2.0 * rho) / (1.0 + np.exp(rho)) ** 2
    return {**h, "h_rho": 2.0 * slope * h["h_mu"]}


@mistake("MissingHalf", "kl_taylor")
def twice_the_output(right: Function, given: Inputs) -> Array:
    return 2.0 * right(**given)


def pair(*shape: int, seed: int) -> Inputs:
    """Two distributions with different means and standard deviations."""
    mu_q = numbers(*shape, seed=seed)
    mu_p = numbers(*shape, seed=seed + 2)
    sigma_q, sigma_p = (np.abs(numbers(*shape, seed=seed + i)) + 0.25 for i in (1, 3))
    return {"mu_q": mu_q, "sigma_q": sigma_q, "mu_p": mu_p, "sigma_p": sigma_p}


def near_pair(move: float, size: int, seed: int) -> Inputs:
    """Two distributions that differ by about `move` standard deviations in both parameters."""
    given = pair(size, seed=seed)
    sigma_p = given["sigma_p"] / 1.1
    mu_p = given["mu_p"]
    ratio = 1.0 + move * np.where(numbers(size, seed=seed) > 0, 1.0, -1.0)
    return {
        "mu_q": mu_p + 0.5 * move * sigma_p,
        "sigma_q": ratio * sigma_p,
        "mu_p": mu_p,
        "sigma_p": sigma_p,
    }


# fmt: off
@cases_of("kl_diag_normal")
def kl_diag_normal_cases() -> Iterator[Case]:
    general = "SwappedKL", "DroppedConstant", "KLMean", "VarianceAsSigma", "MissingHalf", "SwappedSigmas"
    yield good("unit-shift", "A mean one standard deviation away is half a nat.",
               mu_q=(1.0,), sigma_q=(1.0,), mu_p=(0.0,), sigma_p=(1.0,))
    yield good("three-weights", "Different means and widths.", *general, **pair(3, seed=1))
    yield good("four-weights", "Different means and widths.", *general, **pair(4, seed=5))
    yield good("rows", "The sum runs over the last axis only.", *general, **pair(2, 3, seed=9))
    same = pair(3, seed=2)
    yield good("equal", "The KL of equal distributions is 0.",
               **same | {"mu_q": same["mu_p"], "sigma_q": same["sigma_p"]})
    for sigma in (1e-4, 1e-5):
        sharp: Inputs = {
            "mu_q": (sigma, 0.0),
            "sigma_q": (2 * sigma, sigma / 2),
            "mu_p": (0.0, sigma),
            "sigma_p": (sigma, sigma),
        }
        yield good(f"sigma-{sigma:g}", "1e-8 is no small number beside σ².", "FudgedDenominator", **sharp)
    yield good("near-identity", "A move of 1/512 σ, as a transition makes it.", "NaiveNearIdentity",
               **near_pair(2**-9, 4, seed=4))
    yield good("near-identity-rows", "A move of 1/256 σ.", "NaiveNearIdentity", **near_pair(2**-8, 3, seed=11))
    for exponent, seed in ((20, 21), (22, 22)):
        yield good(f"near-identity-in-float64-{exponent}", f"A move of 2^−{exponent} σ.", "NaiveNearIdentity",
                   dtypes=("f64",), **near_pair(2.0**-exponent, 4, seed=seed))
    yield good("sigma-1e-07", "A third of the standard deviation away.", "FudgedDenominator", "SwappedKL",
               mu_q=(3e-8, -2e-8), sigma_q=(2e-7, 1e-7), mu_p=(0.0, 0.0), sigma_p=(1e-7, 3e-7))
    yield good("beyond-1000", "More than 1000 nats.", *general, mu_q=(-30.0, 2.0, 11.0), sigma_q=(0.25, 3.0, 1.5),
               mu_p=(17.0, 0.5, -1.25), sigma_p=(0.75, 2.0, 0.5))
    yield good("wide-and-narrow", "Widths a million times apart.", "SwappedKL",
               mu_q=(0.0, 0.0), sigma_q=(1000.0, 0.001), mu_p=(0.0, 0.0), sigma_p=(0.001, 10.0))
    yield good("far", "Means a hundred standard deviations apart.", "SwappedKL", "VarianceAsSigma",
               mu_q=(50.0, -50.0), sigma_q=(0.5, 0.25), mu_p=(0.0, 0.0), sigma_p=(0.5, 0.5))
    base = pair(3, seed=1)
    yield bad("negative-sigma", "sigma_q must be > 0", base, sigma_q=(0.5, -0.5, 1.0))
    yield bad("zero-sigma", "sigma_p must be > 0", base, sigma_p=(0.5, 0.0, 1.0))
    yield bad("nan-mean", "mu_q must be finite", base, mu_q=with_nan(base["mu_q"]))
    yield bad("infinite-mean", "mu_p must be finite", base, mu_p=with_nan(base["mu_p"], math.inf))
    yield bad("infinite-sigma", "sigma_p must be finite", base, sigma_p=(0.5, math.inf, 1.0))
    yield bad("sizes-differ", "all must have the same last axis", base, mu_p=(0.0, 1.0), sigma_p=(1.0, 1.0))
    yield bad("one-for-all", "all must have the same last axis", base, sigma_p=(1.0,))
# fmt: on


@draw_of("kl_diag_normal")
def draw_kl_diag_normal(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    mu = draw.numbers(size)
    sigma = draw.positives(size)
    return {
        "mu_q": draw.near(mu, sigma),
        "sigma_q": draw.near(sigma, sigma),
        "mu_p": mu,
        "sigma_p": sigma,
    }


# fmt: off
@cases_of("kl_hessian_diag")
def kl_hessian_diag_cases() -> Iterator[Case]:
    base: Inputs = {"mu": (0.0, 1.0), "rho": (0.0, -1.0)}
    yield good("moderate", "1/σ² and 2·sigmoid(ρ)²/σ².", mu=(0.0, -1.5, 2.0), rho=(0.0, -1.0, 1.5))
    yield good("small-sigma", "As ρ falls, the curvature in ρ tends to 2.", "FudgedDenominator",
               mu=(0.0, 1.0), rho=(-12.0, -25.0))
    flags = "SoftplusOverflow", "SquaredExpOverflow"
    yield good("above-20", "1/σ² falls with ρ.", "WrongMetric", mu=(0.5, 1.0, -2.0), rho=(12.0, 25.0, 20.5))
    yield good("large-sigma", "σ = ρ and sigmoid = 1.", *flags, mu=(0.0, 1.0), rho=(40.0, 1000.0))
    yield good("very-large-sigma", "e^ρ is beyond float64.", *flags, mu=(0.25,), rho=(750.0,))
    yield bad("nan", "rho must be finite", base, rho=(0.0, math.nan))
    yield bad("sizes-differ", "mu and rho must have one shape", base, mu=(0.0, 1.0, 2.0))
    yield by_convention(bad("rho-below-range", "rho must be >= -700", base, rho=(0.0, -1000.0)))
# fmt: on


@draw_of("kl_hessian_diag")
def draw_kl_hessian_diag(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {"mu": draw.numbers(size), "rho": draw.numbers(size)}


# fmt: off
@cases_of("kl_taylor")
def kl_taylor_cases() -> Iterator[Case]:
    base: Inputs = {"mu": (0.0, 1.0), "rho": (0.0, -1.0), "delta_mu": (0.5, 0.25), "delta_rho": (-0.5, 0.125)}
    yield good("both", "Half the quadratic form.", "MissingHalf", **base)
    yield good("mean-only", "½(Δμ/σ)².", "MissingHalf", **base | {"delta_rho": (0.0, 0.0)})
    yield good("rho-only", "(sigmoid(ρ)Δρ/σ)².", "MissingHalf", **base | {"delta_mu": (0.0, 0.0)})
    yield good(
        "small", "A step of 1e-6.", "MissingHalf", **base | {"delta_mu": (1e-6, -1e-6), "delta_rho": (1e-6, 0.0)}
    )
    three: Inputs = {"mu": (1.0, -0.5, 2.0), "rho": (-2.5, 12.0, 25.0)}
    three |= {"delta_mu": (0.125, 3.0, -7.0), "delta_rho": (0.75, -5.0, 2.0)}
    yield good("three-weights", "A narrow weight and two wide ones.", "MissingHalf", "WrongMetric", **three)
    yield good("narrow", "Standard deviations near 1e-4.", "FudgedDenominator", "MissingHalf", "WrongMetric",
               **three | {"rho": (-9.0, -9.5, -8.75), "delta_mu": (2e-5, -1e-4, 3e-5)})
    yield good("narrower", "Standard deviations near 1e-5.", "FudgedDenominator", "MissingHalf", "WrongMetric",
               **three | {"rho": (-11.0, -11.5, -12.0), "delta_mu": (2e-6, -1e-5, 3e-6)})
    flags = "SoftplusOverflow", "SquaredExpOverflow"
    yield good("large-sigma", "e^ρ is beyond float64.", *flags,
               **three | {"rho": (-2.5, 800.0, 720.0), "delta_mu": (0.125, 310.0, -170.0)})
    yield good("larger-sigma", "e^ρ is beyond float64.", *flags,
               **three | {"rho": (1.0, 12.0, 900.0), "delta_mu": (0.125, 31.0, -470.0)})
    yield bad("sizes-differ", "delta_mu must have the shape of mu", base, delta_mu=(0.5,))
    yield bad("nan", "delta_rho must be finite", base, delta_rho=(0.0, math.nan))
    yield bad("infinite", "delta_mu must be finite", base, delta_mu=(math.inf, 0.0))
# fmt: on


@draw_of("kl_taylor")
def draw_kl_taylor(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {name: draw.numbers(size) for name in ("mu", "rho", "delta_mu", "delta_rho")}


# ---------------------------------------------------------------- family network


@operation(
    "network",
    "arraywise",
    measured=(0.0, 2.1e-08),
    kinds=NETWORK,
    formula="output[s, n] = network(θ_s, x_n) of the definitions",
    outputs={"": ("(S, N, O)", "units of the targets")},
    rules=(
        "O is the last of layer_sizes.",
        "Reject inputs whose activations overflow.",
    ),
    inputs={"inputs": {"domain": "I is the first of layer_sizes"}},
)
def mlp(theta: Array, inputs: Array, layer_sizes: Array) -> Array:
    return bnn.mlp(theta, inputs, sizes_of(layer_sizes))


@operation(
    "network",
    "arraywise",
    measured=(0.0, 4.4e-08),
    formula="θ[s, i] = μ_i + softplus(ρ_i)·ε[s, i]",
    outputs={"": ("(S, D)", "none")},
)
def sample_weights(mu: Array, rho: Array, eps: Array) -> Array:
    return bnn.sample_weights(DiagNormal(mu, rho), eps)


@formula("sample_weights", parts=["softplus"])
def weights_by_parts(part: Function, mu: Array, rho: Array, eps: Array) -> Array:
    return mu + part("softplus")(rho=rho) * eps


@operation(
    "network",
    "arraywise",
    measured=(3.3e-16, 2.5e-07),
    kinds=NETWORK,
    formula="output[s, n] = local network(μ, ρ, x_n, ζ[s, n]) of the definitions",
    outputs={"": ("(S, N, O)", "units of the targets")},
    rules=(
        "Every sample, row, layer and unit has noise of its own.",
        "O is the last of layer_sizes.",
    ),
    inputs={"inputs": {"domain": "I is the first of layer_sizes"}},
)
def mlp_local(
    mu: Array, rho: Array, inputs: Array, zeta: Zeta, layer_sizes: Array
) -> Array:
    return bnn.mlp_local(DiagNormal(mu, rho), inputs, zeta, sizes_of(layer_sizes))


@formula("mlp_local", parts=["softplus"])
def local_network_by_parts(
    part: Function, mu: Array, rho: Array, inputs: Array, zeta: Zeta, layer_sizes: Array
) -> Array:
    sizes = sizes_of(layer_sizes)
    means = bnn.unflatten(mu, sizes)
    variances = bnn.unflatten(part("softplus")(rho=rho) ** 2, sizes)
    h = inputs
    for layer, ((m, m_bias), (v, v_bias)) in enumerate(zip(means, variances)):
        h = anp.maximum(h, 0.0) if layer else h
        mean = anp.matmul(h, m) + m_bias  # (S, N, O)
        variance = anp.matmul(h**2, v) + v_bias  # (S, N, O)
        h = mean + anp.sqrt(variance) * zeta[layer]  # (S, N, O)
    return h


@mistake("OutputReLU", "mlp", "mlp_local")
def rectified_outputs(right: Function, given: Inputs) -> Array:
    return anp.maximum(right(**given), 0.0)


@mistake("SharedRowNoise", "mlp_local", needs="zeta")
def shared_row_noise(right: Function, given: Inputs) -> Any:
    zeta = [np.repeat(each[:, :1], each.shape[1], axis=1) for each in given["zeta"]]
    return right(**given | {"zeta": zeta})


@mistake("SameLayerNoise", "mlp_local", needs="zeta")
def same_layer_noise(right: Function, given: Inputs) -> Any:
    """Layer 0's noise in every layer of its width."""
    first = given["zeta"][0]
    zeta = [first if each.shape == first.shape else each for each in given["zeta"]]
    return right(**given | {"zeta": zeta})


# fmt: off
@cases_of("mlp")
def mlp_cases() -> Iterator[Case]:
    base = model(2, 3, 1, rows=4, samples=3, seed=1)
    yield good("linear", "No hidden layer: a matrix and a bias.", **model(2, 2, rows=2, samples=1, seed=2))
    yield good("one-hidden-layer", "Matrix in C order, then the bias; ReLU between, linear at the end.", **base)
    yield good("one-sample", "Each hidden unit has its own weights.", "OutputReLU",
               **model(3, 5, 2, rows=4, samples=1, seed=11))
    yield good("two-hidden-layers", "3-4-2-2, three samples.", "OutputReLU",
               **model(3, 4, 2, 2, rows=2, samples=3, seed=3))
    yield good("all-negative", "Every hidden unit is off: the output is the last bias.",
               **base | {"theta": ((-1.0,) * 9 + (1.0, 1.0, 1.0, 0.5),), "inputs": ((1.0, 2.0),)})
    yield bad("too-few-weights", "theta must be (S, D)", base, theta=base["theta"][:, 1:])
    yield bad("too-many-inputs", "inputs must be (N, I)", base, inputs=np.ones((2, 3)))
    yield bad("nan-weight", "theta must be finite", base, theta=with_nan(base["theta"]))
    yield bad("zero-units", "layer sizes must be >= 1", base, layer_sizes=np.array([2, 0, 1]))
# fmt: on


# fmt: off
@cases_of("sample_weights")
def sample_weights_cases() -> Iterator[Case]:
    base: Inputs = {"mu": (0.5, -1.0), "rho": (0.0, -2.0), "eps": np.array([[1.0, -0.5], [0.0, 2.0], [-1.5, 1.0]])}
    yield good("three-samples", "μ + σε, σ being softplus(ρ).", "SigmaFloor", **base)
    yield good("one-sample", "A narrow weight and two wide ones.", mu=(0.5, -1.25, 3.0),
               rho=(-1.5, 12.0, 25.0), eps=((1.0, 0.5, -0.25),))
    yield good("one-sample-of-four-weights", "One sample.", "SigmaFloor", mu=(0.25, -1.75, 0.5, 2.0),
               rho=(-1.5, 0.375, -4.0, 1.25), eps=((-0.75, 0.5, 1.25, -1.5),))
    flag = "SoftplusOverflow"
    yield good("wide", "σ = 1000.", flag, **base | {"rho": (1000.0, -3.0)})
    yield good("wider", "σ = 5000.", flag, **base | {"rho": (2.5, 5000.0)})
    yield good("narrow", "σ = 1e-9 moves nothing visible in float32.", **base | {"rho": (-20.0, 3.0)})
    yield bad("eps-of-other-size", "eps must be (S, D)", base, eps=np.ones((2, 3)))
    yield bad("nan-eps", "eps must be finite", base, eps=with_nan(base["eps"]))
    yield bad("no-samples", "there must be a sample", base, eps=np.zeros((0, 2)))
# fmt: on


# fmt: off
@cases_of("mlp_local")
def mlp_local_cases() -> Iterator[Case]:
    base = model(2, 3, 1, rows=4, samples=3, seed=1)
    square = model(2, 2, 2, rows=3, samples=5, seed=2)
    yield good("one-row", "z ~ N(hμ, h²σ²), the bias with h = 1.", **model(2, 3, 1, rows=1, samples=1, seed=3))
    yield good("four-rows", "Noise of its own for each sample, row and unit.", "SharedRowNoise", **base)
    yield good("equal-widths", "Noise of its own for each layer.", "SharedRowNoise", "SameLayerNoise", **square)
    yield good("deep", "Three layers of one width.", "SharedRowNoise", "SameLayerNoise",
               **model(2, 3, 3, 3, rows=2, samples=1, seed=4))
    yield good("one-sample", "One sample of five rows.", "SharedRowNoise", "OutputReLU",
               **model(3, 4, 2, rows=5, samples=1, seed=13))
    yield good("three-samples", "Three samples of four rows.", "SharedRowNoise", "SigmaFloor",
               **model(2, 3, 1, rows=4, samples=3, seed=15))
    yield bad("too-few-layers", "zeta must have one array per layer", base, zeta=base["zeta"][:1])
    yield bad("shared-row", "zeta must be (S, N, O), not (S, 1, O)", base, zeta=[z[:, :1] for z in base["zeta"]])
    yield bad("nan-zeta", "zeta must be finite", base, zeta=[base["zeta"][0], with_nan(base["zeta"][1])])
    yield bad("infinite-input", "inputs must be finite", base, inputs=with_nan(base["inputs"], math.inf))
# fmt: on


draw_by_names(draw_model, "mlp", "sample_weights", "mlp_local")
undecided_for("mlp_local")(at_kink)


# ---------------------------------------------------------------- family likelihood


register(
    "likelihood",
    "arraywise",
    bnn.normal_log_density,
    measured=(1.9e-16, 1.4e-07),
    formula="log N(x; mean, sigma) of the definitions, elementwise",
    outputs={"": ("the broadcast shape of the inputs", "nats")},
    rules=("The three shapes broadcast; sigma may be one number.",),
    inputs={
        "mean": {"shape": "(...)", "unit": "unit of x", "meaning": "means"},
        "sigma": {"shape": "(...)"},
    },
)
exact_form("normal_log_density")(exact.log_density)


register(
    "likelihood",
    "arraywise",
    bnn.log_likelihood,
    measured=(3.3e-16, 9.6e-08),
    formula="output[s, n] = Σ_o log N(targets[n, o]; outputs[s, n, o], σ_l[o])",
    outputs={"": ("(S, N)", "nats")},
    rules=("A scalar likelihood_sigma holds for every output o.",),
    inputs={"targets": {"domain": "", "meaning": "targets y"}},
)


@formula("log_likelihood", parts=["normal_log_density"])
def likelihood_by_parts(
    part: Function, outputs: Array, targets: Array, likelihood_sigma: Sigma
) -> Array:
    log_p = part("normal_log_density")(x=targets, mean=outputs, sigma=likelihood_sigma)
    return anp.sum(log_p, axis=-1)  # (S, N)


@exact_form("log_likelihood")
def exact_log_likelihood(outputs: Any, targets: Any, likelihood_sigma: Any) -> Any:
    densities = exact.log_density(targets, outputs, likelihood_sigma)
    return np.sum(densities, axis=-1)  # (S, N)


@operation(
    "likelihood",
    "arraywise",
    measured=(6.0e-16, 2.0e-07),
    kinds=NETWORK,
    formula="z[s, n] = network(θ_s, x_n), θ_s = μ + softplus(ρ)⊙ε_s\n"
    "ℓ[s, n] = Σ_o log N(y[n, o]; z[s, n, o], σ_l[o])\n"
    "output[n] = log((1/S)·Σ_s e^ℓ[s, n]) = max_s ℓ + log(Σ_s e^(ℓ[s, n] − max_s ℓ)) − log S",
    outputs={"": ("(N,)", "nats")},
    rules=("The density is averaged, not the prediction and not the log density.",),
)
def predictive_log_density(
    mu: Array,
    rho: Array,
    inputs: Array,
    targets: Array,
    eps: Array,
    layer_sizes: Array,
    likelihood_sigma: Sigma,
) -> Array:
    settings = model_settings(layer_sizes, likelihood_sigma)
    return bnn.predictive_log_density(
        DiagNormal(mu, rho), inputs, targets, eps, **settings
    )


@part
def sampled_outputs(
    mu: Array, rho: Array, inputs: Array, layer_sizes: Array, **noise: Any
) -> Array:
    """Outputs (S, N, O) with eps or zeta."""
    return outputs_of(DiagNormal(mu, rho), inputs, noise, sizes_of(layer_sizes))


@formula("sampled_outputs", parts=["sample_weights", "mlp", "mlp_local"])
def outputs_by_parts(
    part: Function,
    mu: Array,
    rho: Array,
    inputs: Array,
    layer_sizes: Array,
    **noise: Any,
) -> Array:
    if "zeta" in noise:
        local = {"mu": mu, "rho": rho, "zeta": noise["zeta"]}
        return part("mlp_local")(**local, inputs=inputs, layer_sizes=layer_sizes)
    theta = part("sample_weights")(mu=mu, rho=rho, eps=noise["eps"])
    return part("mlp")(theta=theta, inputs=inputs, layer_sizes=layer_sizes)


@formula("predictive_log_density", parts=["sampled_outputs", "log_likelihood"])
def predictive_by_parts(
    part: Function, targets: Array, likelihood_sigma: Sigma, **network: Any
) -> Array:
    outputs = part("sampled_outputs")(**network)
    log_p = part("log_likelihood")(
        outputs=outputs, targets=targets, likelihood_sigma=likelihood_sigma
    )
    return logsumexp(log_p, axis=0) - np.log(len(log_p))  # (N,)


@mistake(
    "VarianceAsSigma",
    "normal_log_density",
    variant="likelihood",
    at="σ² for σ in the log density",
)
def squared_sigma(right: Function, given: Inputs) -> Array:
    return right(**given | {"sigma": np.square(given["sigma"])})


@mistake(
    "VarianceAsSigma",
    "normal_log_density",
    variant="likelihood-root",
    at="√σ for σ in the log density",
)
def root_of_sigma(right: Function, given: Inputs) -> Array:
    return right(**given | {"sigma": np.sqrt(given["sigma"])})


@mistake("UnnormalisedLogDensity", "normal_log_density", variant="half")
def density_without_half(right: Function, given: Inputs) -> Array:
    return right(**given) - 0.5 * ((given["x"] - given["mean"]) / given["sigma"]) ** 2


@mistake("UnnormalisedLogDensity", "normal_log_density", variant="log")
def density_without_log_sigma(right: Function, given: Inputs) -> Array:
    return right(**given) + np.log(given["sigma"])


@mistake("ExtraConstant", "normal_log_density")
def density_with_half_too_much(right: Function, given: Inputs) -> Array:
    return right(**given) - 0.5


@mistake("AveragedPrediction", "sampled_outputs")
def averaged_outputs(right: Function, given: Inputs) -> Array:
    return anp.mean(right(**given), axis=0)[None]  # (1, N, O)


# fmt: off
@cases_of("normal_log_density")
def normal_log_density_cases() -> Iterator[Case]:
    base: Inputs = {"x": (0.5, -1.0, 2.0), "mean": (0.0, 0.5, 1.0), "sigma": (1.0, 0.5, 2.0)}
    yield good("standard", "−½ log 2π at the mean of the standard normal.", x=(0.0,), mean=(0.0,), sigma=1.0)
    yield good("moderate", "All three terms.", "VarianceAsSigma", "UnnormalisedLogDensity", **base)
    yield good("narrow", "A sharp density is above 1.", "VarianceAsSigma", "UnnormalisedLogDensity",
               x=(0.0, 0.001), mean=(0.0, 0.0), sigma=0.001)
    yield good("far-tail", "A hundred standard deviations out, where the density underflows.", "UnnormalisedLogDensity",
               x=(50.0,), mean=(0.0,), sigma=(0.5,))
    yield good("rows", "Whatever the shape.", "VarianceAsSigma", "UnnormalisedLogDensity", "ExtraConstant",
               x=numbers(2, 3, seed=6), mean=numbers(2, 3, seed=7), sigma=0.625)
    yield good("very-narrow", "σ = 1e-7.", "VarianceAsSigma", "UnnormalisedLogDensity", "ExtraConstant",
               x=(3e-8, -2.5e-7), mean=(0.0, 1e-7), sigma=(1e-7, 2e-7))
    yield bad("zero-sigma", "sigma must be > 0", base, sigma=(1.0, 0.0, 1.0))
    yield bad("negative-sigma", "sigma must be > 0", base, sigma=-1.0)
    yield bad("nan", "x must be finite", base, x=with_nan(np.zeros(3)))
# fmt: on


@draw_of("normal_log_density")
def draw_normal_log_density(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {
        "x": draw.numbers(size),
        "mean": draw.numbers(size),
        "sigma": draw.positives(size),
    }


# fmt: off
@cases_of("log_likelihood")
def log_likelihood_cases() -> Iterator[Case]:
    base: Inputs = {"outputs": numbers(2, 3, 2, seed=1), "targets": numbers(3, 2, seed=2), "likelihood_sigma": 0.75}
    flags = "VarianceAsSigma", "UnnormalisedLogDensity", "ExtraConstant"
    yield good("one-sample", "One sample of five rows.", *flags, outputs=numbers(1, 5, 3, seed=8),
               targets=numbers(5, 3, seed=9), likelihood_sigma=0.375)
    yield good("one-sigma", "Summed over the outputs, (S, N).", *flags, **base)
    yield good("sigma-per-output", "A standard deviation for each output.", *flags,
               **base | {"likelihood_sigma": (0.5, 3.0)})
    yield good("original-sigma", "The original's fixed σ = 5.", *flags, **base | {"likelihood_sigma": 5.0})
    yield bad("zero-sigma", "likelihood_sigma must be > 0", base, likelihood_sigma=0.0)
    yield bad(
        "sigma-of-other-size", "likelihood_sigma must be a scalar or (O,)", base, likelihood_sigma=(1.0, 1.0, 1.0)
    )
    yield bad("rows-differ", "targets must be (N, O)", base, targets=numbers(2, 2, seed=2))
    yield bad("nan-output", "outputs must be finite", base, outputs=with_nan(base["outputs"]))
# fmt: on


@draw_of("log_likelihood")
def draw_log_likelihood(draw: Draw) -> Inputs:
    samples = draw.integer(1, 2)
    rows = draw.integer(1, 3)
    size = draw.integer(1, 3)
    outputs_drawn = draw.numbers(samples, rows, size)
    targets = draw.numbers(rows, size)
    return {
        "outputs": outputs_drawn,
        "targets": targets,
        "likelihood_sigma": draw.positives(),
    }


# fmt: off
@cases_of("predictive_log_density")
def predictive_log_density_cases() -> Iterator[Case]:
    base = model(2, 3, 2, rows=3, samples=3, seed=1)
    flags = "AveragedPrediction", "UnnormalisedLogDensity", "ExtraConstant"
    yield good("four-rows", "One sample of four rows.", "UnnormalisedLogDensity", "OutputReLU",
               **model(3, 5, 2, rows=4, samples=1, seed=6))
    yield good("one-sample", "With one sample it is the log likelihood.", "UnnormalisedLogDensity",
               **model(2, 3, 1, rows=2, samples=1, seed=2))
    yield good("three-samples", "The log of the mean density.", *flags, **base)
    yield good("far-target", "Every density underflows, the log of their mean does not.", *flags,
               **base | {"targets": 30.0 + base["targets"]})
    yield bad("zero-sigma", "likelihood_sigma must be > 0", base, likelihood_sigma=0.0)
    yield bad("no-rows", "there must be a row", base, inputs=np.zeros((0, 2)), targets=np.zeros((0, 2)))
    yield bad("nan-input", "inputs must be finite", base, inputs=with_nan(base["inputs"]))
# fmt: on


draw_by_names(draw_model, "predictive_log_density")
undecided_for("predictive_log_density")(at_kink)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Mutants: implementations with exactly one known mistake each, which the check must fail and name.

`mutants:MissingHalf` offers every operation of the reference, except that it gets some wrong. The wrong operations are
written independently here, with loops, other libraries or 50 digits. A suffix after "_" distinguishes variants of a
mistake. `python tests/mutants.py` prints the matrix of detected and named mistakes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import autograd.numpy as np
import mpmath as mp
import numpy as onp
from autograd import grad
from autograd.scipy.special import logsumexp
from autograd.scipy.stats import norm
from scipy import special, stats

# Before tests/, whose folders have the packages' names.
sys.path.insert(0, str(Path(__file__).parent.parent))

from vime_check.cases import OPERATIONS
from vime_check.judge import check
from vime_check.report import Outcome

# ---------------------------------------------------------------- types

Array = Any  # of NumPy, or a box of autograd around one
Function = Callable[..., Any]
Inputs = dict[str, Any]
Bound = Callable[["Model", Inputs], Array]


class Model(NamedTuple):
    """A posterior with its network's data and noise; noise is eps, or zeta if it is a list."""

    mu: Array
    sigma: Array
    inputs: Array
    targets: Array
    noise: Any
    layer_sizes: Sequence[int]
    likelihood_sigma: Any
    density: Function  # log of it, of (x, mean, sigma)

    @property
    def num_samples(self) -> int:
        return len(self.noise[0] if isinstance(self.noise, list) else self.noise)


# ---------------------------------------------------------------- constants

BOUNDS = "elbo", "elbo_local"
BOUND_GRADS = "elbo_grad", "elbo_grad_local"
STEPS = "posterior_step", "posterior_step_local"
GAINS = "information_gains", "information_gains_local"

# ---------------------------------------------------------------- building blocks: registering mistakes

MUTANTS: dict[str, SimpleNamespace] = {}
WRONG: dict[str, list[str]] = {}  # the operations that each gets wrong


def mistake(name: str, *operations: str) -> Callable[[Function], Function]:
    """Use the function for these operations in the mutant; it also rejects the inputs that the reference rejects."""

    def register(function: Function) -> Function:
        right = {operation: entry.function for operation, entry in OPERATIONS.items()}
        mutant = MUTANTS.setdefault(name, SimpleNamespace(**right))
        for operation in operations:
            setattr(mutant, operation, refusing(right[operation], function))
            WRONG.setdefault(name, []).append(operation)
        return function

    return register


def refusing(right: Function, wrong: Function) -> Function:
    def both(**inputs: Any) -> Any:
        right(**inputs)
        with onp.errstate(all="ignore"):
            return wrong(**inputs)

    return both


def __getattr__(name: str) -> SimpleNamespace:
    if name in MUTANTS:
        return MUTANTS[name]
    raise AttributeError(name)


# ---------------------------------------------------------------- building blocks: densities and divergences


def sigma_of(rho: Array) -> Array:
    return np.logaddexp(rho, 0.0)


def sigma_with_50_digits(rho: Array) -> Array:
    with mp.workdps(50):
        return onp.vectorize(lambda r: mp.log1p(mp.exp(mp.mpf(r))), otypes=[object])(
            rho
        )


def textbook_kl(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """KL of each weight."""
    return (
        np.log(sigma_p / sigma_q)
        + (sigma_q**2 + (mu_q - mu_p) ** 2) / (2.0 * sigma_p**2)
        - 0.5
    )


def exact_kl(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """The correct KL[q‖p] (...,) with 50 digits; arguments may have 50 digits too."""

    def one(mu_q: Any, sigma_q: Any, mu_p: Any, sigma_p: Any) -> Any:
        ratio, move = mp.mpf(sigma_q) / sigma_p, (mp.mpf(mu_q) - mu_p) / sigma_p
        return (ratio**2 + move**2 - 1) / 2 - mp.log(ratio)

    with mp.workdps(50):
        terms = onp.vectorize(one, otypes=[object])(mu_q, sigma_q, mu_p, sigma_p)
        return onp.array(terms.sum(-1), dtype=float)


def metric(rho: Array) -> tuple[Array, Array]:
    sigma = sigma_of(rho)
    return 1.0 / sigma**2, 2.0 * (special.expit(rho) / sigma) ** 2


def density_without_half(x: Array, mean: Array, sigma: Array) -> Array:
    return -np.log(sigma * np.sqrt(2.0 * np.pi)) - ((x - mean) / sigma) ** 2


def density_without_log_sigma(x: Array, mean: Array, sigma: Array) -> Array:
    return norm.logpdf((x - mean) / sigma)


# ---------------------------------------------------------------- building blocks: a network, row by row


def model_of(mu: Array, rho: Array, inputs: Inputs) -> Model:
    noise = inputs["eps"] if "eps" in inputs else list(inputs["zeta"])
    sizes = tuple(int(size) for size in inputs["layer_sizes"])
    data = inputs["inputs"], inputs["targets"], noise, sizes, inputs["likelihood_sigma"]
    return Model(mu, sigma_of(rho), *data, inputs.get("density", norm.logpdf))


def given_model(inputs: Inputs) -> Model:
    return model_of(inputs["mu"], inputs["rho"], inputs)


def blocks(theta: Array, sizes: Sequence[int]) -> list[Array]:
    """One (I + 1, O) per layer, the bias as the last row."""
    ends = onp.cumsum([(i + 1) * o for i, o in zip(sizes, sizes[1:])])
    starts = [0, *ends[:-1]]
    return [
        theta[start:end].reshape(-1, o)
        for start, end, o in zip(starts, ends, sizes[1:])
    ]


def through_layers(x: Array, unit: Callable[[int, Array], Array], count: int) -> Array:
    for layer in range(count):
        x = unit(
            layer, np.concatenate([np.where(x > 0, x, 0.0) if layer else x, np.ones(1)])
        )
    return x


def output(model: Model, n: int, s: int) -> Array:
    """The network's output (O,) for one row and one sample."""
    count = len(model.layer_sizes) - 1
    if not isinstance(model.noise, list):
        weights = blocks(model.mu + model.sigma * model.noise[s], model.layer_sizes)
        return through_layers(
            model.inputs[n], lambda layer, a: a @ weights[layer], count
        )
    means, deviations = (
        blocks(model.mu, model.layer_sizes),
        blocks(model.sigma, model.layer_sizes),
    )

    def sampled(layer: int, a: Array) -> Array:
        spread = np.sqrt(np.sum((a[:, None] * deviations[layer]) ** 2, axis=0))
        return a @ means[layer] + model.noise[layer][s][n] * spread

    return through_layers(model.inputs[n], sampled, count)


def mean_output(model: Model, n: int) -> Array:
    return (
        sum(output(model, n, s) for s in range(model.num_samples)) / model.num_samples
    )


def log_p(model: Model, n: int) -> list[Array]:
    """log p(target n), a number for each sample."""
    sigma = model.likelihood_sigma * np.ones(len(model.targets[n]))
    outputs = [output(model, n, s) for s in range(model.num_samples)]
    return [np.sum(model.density(model.targets[n], mean, sigma)) for mean in outputs]


def evidence(model: Model, n: int) -> Array:
    return sum(log_p(model, n)) / model.num_samples


def loss_grad(inputs: Inputs, n: int) -> tuple[Array, Array]:
    """Gradient of −evidence in mu and in rho, equal to the transition loss's gradient at q."""
    return grad(lambda phi: -evidence(model_of(*phi, inputs), n))(
        (inputs["mu"], inputs["rho"])
    )


# ---------------------------------------------------------------- building blocks: correct except for their arguments


def kl_to_prior(model: Model, inputs: Inputs) -> Array:
    return np.sum(
        textbook_kl(
            model.mu, model.sigma, inputs["prior_mu"], sigma_of(inputs["prior_rho"])
        )
    )


def weighted_evidence(model: Model, num_data: float) -> Array:
    rows = range(len(model.inputs))
    return num_data / len(rows) * sum(evidence(model, n) for n in rows)


def right_bound(model: Model, inputs: Inputs) -> Array:
    return weighted_evidence(model, inputs["num_data"]) - kl_to_prior(model, inputs)


def value_of(bound: Bound, inputs: Inputs) -> float:
    return float(bound(given_model(inputs), inputs))


def gradient_of(bound: Bound, inputs: Inputs) -> dict[str, Array]:
    phi = inputs["mu"], inputs["rho"]
    grad_mu, grad_rho = grad(lambda phi: bound(model_of(*phi, inputs), inputs))(phi)
    return {"grad_mu": grad_mu, "grad_rho": grad_rho}


def stepped(inputs: Inputs, n: int = 0) -> dict[str, Array]:
    phi = {"mu": inputs["mu"], "rho": inputs["rho"]}
    parts = zip(phi.items(), loss_grad(inputs, n), metric(inputs["rho"]))
    return {name: x - inputs["step_size"] * g / h for (name, x), g, h in parts}


def taylor_gain(inputs: Inputs, n: int) -> float:
    parts = zip(loss_grad(inputs, n), metric(inputs["rho"]))
    return (
        0.5
        * inputs["step_size"] ** 2
        * float(sum(onp.sum(g * g / h) for g, h in parts))
    )


def exact_gain(inputs: Inputs, n: int, *, old_first: bool = False) -> float:
    new = stepped(inputs, n)
    old = inputs["mu"], sigma_with_50_digits(inputs["rho"])
    pair = [(new["mu"], sigma_with_50_digits(new["rho"])), old]
    first, second = reversed(pair) if old_first else pair
    return float(exact_kl(*first, *second))


def gains(
    inputs: Inputs, *, taylor: Function = taylor_gain, exact: Function = exact_gain
) -> Array:
    one = taylor if inputs["method"] == "taylor" else exact
    return onp.array([one(inputs, n) for n in range(len(inputs["inputs"]))])


def updates(inputs: Inputs, *, decay: float = 0.0) -> dict[str, Array]:
    """Gradient steps with a decaying velocity that survives the reset of the parameters before each row."""
    start, velocity, rows = onp.concatenate([inputs["mu"], inputs["rho"]]), 0.0, []
    size, old = (
        len(inputs["mu"]),
        {"prior_mu": inputs["mu"], "prior_rho": inputs["rho"]},
    )

    def loss(phi: Array, n: int) -> Array:
        model = model_of(phi[:size], phi[size:], inputs)
        return kl_to_prior(model, old) - evidence(model, n)

    for n in range(len(inputs["inputs"])):
        phi = start
        for _ in range(inputs["num_steps"]):
            velocity = decay * velocity + grad(loss)(phi, n)
            phi = phi - inputs["learning_rate"] * velocity
        rows.append(phi)
    return {"mu": onp.array(rows)[:, :size], "rho": onp.array(rows)[:, size:]}


# ---------------------------------------------------------------- mistakes: standard deviations


@mistake("SoftplusOverflow", "softplus")
def softplus_by_exp(rho: Array) -> Array:
    return onp.log(1.0 + onp.exp(rho))


@mistake("SoftplusOverflow", "softplus_inverse")
def softplus_inverse_by_exp(sigma: Array) -> Array:
    return onp.log(onp.exp(sigma) - 1.0)


# ---------------------------------------------------------------- mistakes: divergences


@mistake("MissingHalf", "kl_taylor")
def kl_taylor_without_half(
    mu: Array, rho: Array, delta_mu: Array, delta_rho: Array
) -> float:
    delta = onp.concatenate([delta_mu, delta_rho])
    return float(delta @ onp.diag(onp.concatenate(metric(rho))) @ delta)


def kl_fudged(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    numerator = (mu_q - mu_p) ** 2 + sigma_q**2 - sigma_p**2
    return onp.sum(
        numerator / (2.0 * sigma_p**2 + 1e-8) + onp.log(sigma_p) - onp.log(sigma_q),
        axis=-1,
    )


def kl_naive(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    return onp.sum(textbook_kl(mu_q, sigma_q, mu_p, sigma_p), axis=-1)


def kl_swapped(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    return exact_kl(mu_p, sigma_p, mu_q, sigma_q)


def kl_of_the_slide(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    return exact_kl(mu_q, sigma_q, mu_p, sigma_p) + sum(
        0.5 for _ in range(onp.shape(mu_q)[-1])
    )


def kl_mean(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    return exact_kl(mu_q, sigma_q, mu_p, sigma_p) / onp.shape(mu_q)[-1]


def kl_of_roots(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    """The given standard deviations are used as variances."""
    return exact_kl(mu_q, onp.sqrt(sigma_q), mu_p, onp.sqrt(sigma_p))


def kl_of_prior_variance(
    mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array
) -> Array:
    return exact_kl(mu_q, sigma_q, mu_p, sigma_p * sigma_p)


def kl_of_variances(mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
    return exact_kl(mu_q, sigma_q * sigma_q, mu_p, sigma_p * sigma_p)


def wrong_kl(name: str, kl: Function, *operations: str) -> None:
    """The mutant whose KL of two distributions, two posteriors or two policies is this one."""

    def of_parameters(
        mu_new: Array, rho_new: Array, mu_old: Array, rho_old: Array
    ) -> float:
        precise = kl in (kl_swapped, kl_of_the_slide, kl_mean)
        sigmas = [
            sigma_with_50_digits(rho) if precise else sigma_of(rho)
            for rho in (rho_new, rho_old)
        ]
        return float(kl(mu_new, sigmas[0], mu_old, sigmas[1]))

    def of_policies(
        mean_old: Array, log_std_old: Array, mean_new: Array, log_std_new: Array
    ) -> Array:
        shape = onp.ones(mean_old.shape)
        return kl(
            mean_old,
            onp.exp(log_std_old) * shape,
            mean_new,
            onp.exp(log_std_new) * shape,
        )

    forms = {
        "kl_diag_normal": kl,
        "information_gain": of_parameters,
        "gaussian_kl": of_policies,
    }
    for operation in operations or tuple(forms):
        mistake(name, operation)(forms[operation])


wrong_kl("FudgedDenominator", kl_fudged)
wrong_kl("NaiveNearIdentity", kl_naive, "kl_diag_normal", "information_gain")
wrong_kl("SwappedKL", kl_swapped)
wrong_kl("DroppedConstant", kl_of_the_slide)
wrong_kl("KLMean", kl_mean)
wrong_kl("VarianceAsSigma", kl_of_prior_variance, "kl_diag_normal")
wrong_kl("VarianceAsSigma", kl_of_variances, "gaussian_kl")
wrong_kl("VarianceAsSigma_root", kl_of_roots)


@mistake("SwappedKL", "categorical_kl")
def categorical_kl_swapped(logits_old: Array, logits_new: Array) -> Array:
    old, new = special.softmax(logits_old, axis=1), special.softmax(logits_new, axis=1)
    return onp.array([stats.entropy(p, q) for p, q in zip(new, old)])


# ---------------------------------------------------------------- mistakes: densities


@mistake("VarianceAsSigma", "normal_log_density")
def density_of_variance(x: Array, mean: Array, sigma: Array) -> Array:
    return stats.norm(mean, onp.square(sigma)).logpdf(x)


@mistake("VarianceAsSigma_root", "normal_log_density")
def density_of_root(x: Array, mean: Array, sigma: Array) -> Array:
    return stats.norm(mean, onp.sqrt(sigma)).logpdf(x)


def wrong_likelihood(name: str, density: Function) -> None:
    def likelihood(outputs: Array, targets: Array, likelihood_sigma: Array) -> Array:
        sigma = likelihood_sigma * onp.ones(targets.shape[1])
        return onp.array(
            [
                [sum(density(y, z, sigma)) for y, z in zip(targets, sample)]
                for sample in outputs
            ]
        )

    def log_prob(mean: Array, log_std: Array, actions: Array) -> Array:
        return onp.array(
            [sum(density(a, m, onp.exp(log_std))) for a, m in zip(actions, mean)]
        )

    mistake(name, "log_likelihood")(likelihood)
    mistake(name, "gaussian_log_prob")(log_prob)


wrong_likelihood("VarianceAsSigma", density_of_variance)
wrong_likelihood("VarianceAsSigma_root", density_of_root)
wrong_likelihood("UnnormalisedLogDensity", density_without_half)
wrong_likelihood("UnnormalisedLogDensity_sigma", density_without_log_sigma)
mistake("UnnormalisedLogDensity", "normal_log_density")(density_without_half)
mistake("UnnormalisedLogDensity_sigma", "normal_log_density")(density_without_log_sigma)


@mistake("VarianceAsSigma", "gaussian_entropy")
def entropy_of_variance(mean: Array, log_std: Array) -> Array:
    return onp.full(len(mean), sum(stats.norm(0.0, onp.exp(log_std) ** 2).entropy()))


@mistake("VarianceAsSigma_root", "gaussian_entropy")
def entropy_of_root(mean: Array, log_std: Array) -> Array:
    return onp.full(len(mean), sum(stats.norm(0.0, onp.exp(log_std) ** 0.5).entropy()))


@mistake("AveragedPrediction", "predictive_log_density")
def density_of_the_mean(**inputs: Any) -> Array:
    model = given_model(inputs)
    rows = range(len(model.inputs))
    return onp.array(
        [
            norm.logpdf(
                model.targets[n], mean_output(model, n), model.likelihood_sigma
            ).sum()
            for n in rows
        ]
    )


@mistake("UnnormalisedLogDensity_sigma", "predictive_log_density")
def prediction_without_log_sigma(**inputs: Any) -> Array:
    model = given_model({**inputs, "density": density_without_log_sigma})
    rows = range(len(model.inputs))
    return onp.array(
        [
            logsumexp(onp.array(log_p(model, n))) - onp.log(model.num_samples)
            for n in rows
        ]
    )


# ---------------------------------------------------------------- mistakes: evidence lower bound


def wrong_bound(
    name: str, bound: Bound, operations: Sequence[str] = (*BOUNDS, *BOUND_GRADS)
) -> None:
    """The mutant whose ELBO is this one, and whose gradient is its gradient."""
    for operation in operations:
        form = gradient_of if operation in BOUND_GRADS else value_of
        mistake(name, operation)(lambda form=form, **inputs: form(bound, inputs))


def bound_of_the_minibatch(model: Model, inputs: Inputs) -> Array:
    return weighted_evidence(model, len(model.inputs)) - kl_to_prior(model, inputs)


def bound_of_the_mean_row(model: Model, inputs: Inputs) -> Array:
    return weighted_evidence(model, 1.0) - kl_to_prior(model, inputs)


def bound_of_mean_kl(model: Model, inputs: Inputs) -> Array:
    return weighted_evidence(model, inputs["num_data"]) - kl_to_prior(
        model, inputs
    ) / len(inputs["mu"])


def bound_of_floored_prior(model: Model, inputs: Inputs) -> Array:
    """The KL from the samples: log q(θ) − log(p(θ) + 1e-6) of each weight, averaged over them."""
    total, prior_sigma = 0.0, sigma_of(inputs["prior_rho"])
    for eps in inputs["eps"]:
        theta = model.mu + model.sigma * eps
        floored = np.log(norm.pdf(theta, inputs["prior_mu"], prior_sigma) + 1e-6)
        total = total + np.sum(norm.logpdf(theta, model.mu, model.sigma) - floored)
    return weighted_evidence(model, inputs["num_data"]) - total / model.num_samples


def bound_of_mean_prediction(model: Model, inputs: Inputs) -> Array:
    rows = range(len(model.inputs))
    of_rows = [
        norm.logpdf(model.targets[n], mean_output(model, n), model.likelihood_sigma)
        for n in rows
    ]
    return inputs["num_data"] / len(rows) * sum(map(np.sum, of_rows)) - kl_to_prior(
        model, inputs
    )


def bound_without_half(model: Model, inputs: Inputs) -> Array:
    return right_bound(model._replace(density=density_without_half), inputs)


def bound_without_log_sigma(model: Model, inputs: Inputs) -> Array:
    return right_bound(model._replace(density=density_without_log_sigma), inputs)


wrong_bound("NoKLScale", bound_of_the_minibatch)
wrong_bound("PerBatchKL", bound_of_the_mean_row)
wrong_bound("KLMean", bound_of_mean_kl)
wrong_bound("PriorFloor", bound_of_floored_prior, ("elbo", "elbo_grad"))
wrong_bound("AveragedPrediction", bound_of_mean_prediction)
wrong_bound("UnnormalisedLogDensity", bound_without_half)
wrong_bound("UnnormalisedLogDensity_sigma", bound_without_log_sigma, BOUNDS)

# ---------------------------------------------------------------- mistakes: posterior steps and gains


@mistake("UnnormalisedLogDensity", *STEPS)
def step_without_half(**inputs: Any) -> dict[str, Array]:
    return stepped({**inputs, "density": density_without_half})


@mistake("UnnormalisedLogDensity", "posterior_updates")
def updates_without_half(**inputs: Any) -> dict[str, Array]:
    return updates({**inputs, "density": density_without_half})


@mistake("LeakyOptimiser", "posterior_updates")
def updates_with_surviving_velocity(**inputs: Any) -> dict[str, Array]:
    return updates(inputs, decay=0.9)


@mistake("MissingHalf", *GAINS)
def gains_without_half(**inputs: Any) -> Array:
    return gains(inputs, taylor=lambda inputs, n: 2.0 * taylor_gain(inputs, n))


@mistake("SwappedKL", *GAINS)
def gains_swapped(**inputs: Any) -> Array:
    return gains(inputs, exact=partial(exact_gain, old_first=True))


@mistake("UnnormalisedLogDensity", *GAINS)
def gains_of_doubled_gradients(**inputs: Any) -> Array:
    return gains({**inputs, "density": density_without_half})


@mistake("CopiedLastGain", *GAINS)
def gains_with_copied_last(**inputs: Any) -> Array:
    right = gains(inputs)
    return onp.append(right[:-1], right[-2:-1]) if len(right) > 1 else right


@mistake("SquaredBeforeMean", *GAINS)
def gains_of_each_sample(**inputs: Any) -> Array:
    if "eps" in inputs:
        samples = [{**inputs, "eps": eps[None]} for eps in inputs["eps"]]
    else:
        samples = [
            {**inputs, "zeta": [layer[None] for layer in zeta]}
            for zeta in zip(*inputs["zeta"])
        ]
    return sum(gains(sample) for sample in samples) / len(samples)


# ---------------------------------------------------------------- mistakes: noise


def local_outputs(inputs: Inputs) -> Array:
    rows = inputs["inputs"]
    model = given_model({"targets": rows, "likelihood_sigma": 1.0, **inputs})
    return onp.array(
        [
            [output(model, n, s) for n in range(len(rows))]
            for s in range(model.num_samples)
        ]
    )


LOCAL: dict[str, Function] = {
    "mlp_local": local_outputs,
    "elbo_local": partial(value_of, right_bound),
    "elbo_grad_local": partial(gradient_of, right_bound),
    "information_gains_local": gains,
    "posterior_step_local": stepped,
}


def wrong_noise(
    name: str,
    change: Callable[[Sequence[Array]], list[Array]],
    operations: Sequence[str],
) -> None:
    for operation in operations:

        def noisy(function: Function = LOCAL[operation], **inputs: Any) -> Any:
            return function({**inputs, "zeta": change(inputs["zeta"])})

        mistake(name, operation)(noisy)


def noise_of_row_0(zeta: Sequence[Array]) -> list[Array]:
    return [onp.stack([layer[:, 0]] * layer.shape[1], axis=1) for layer in zeta]


def noise_of_layer_0(zeta: Sequence[Array]) -> list[Array]:
    """The same noise in every layer of equal width."""
    return [zeta[0] if layer.shape == zeta[0].shape else layer for layer in zeta]


wrong_noise(
    "SharedRowNoise",
    noise_of_row_0,
    [name for name in LOCAL if name != "posterior_step_local"],
)
wrong_noise("SameLayerNoise", noise_of_layer_0, list(LOCAL))

# ---------------------------------------------------------------- mistakes: rewards and returns


@mistake("InputMutation", "curious_rewards")
def curious_rewards_in_place(rewards: Array, gains: Array, eta: float) -> Array:
    rewards += eta * gains
    return rewards


@mistake("InputMutation", "normalize_gains")
def normalize_gains_in_place(gains: Array, **settings: Any) -> dict[str, Array]:
    right = OPERATIONS["normalize_gains"].function(gains=gains, **settings)
    gains *= 0.5
    return right


@mistake("FilterReplacesReward", "curious_rewards")
def curious_rewards_alone(rewards: Array, gains: Array, eta: float) -> Array:
    return onp.array([eta * gain for gain in gains])


@mistake("TruncationAsTermination", "discounted_returns")
def returns_that_end(rewards: Array, gamma: float, last_value: float) -> Array:
    steps = range(len(rewards))
    return onp.array(
        [sum(gamma ** (k - t) * rewards[k] for k in steps[t:]) for t in steps]
    )


@mistake("TruncationAsTermination", "gae_advantages")
def advantages_cut_at_time_limits(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: float,
    lam: float,
) -> Array:
    done, total, advantages = terminated | truncated, 0.0, []
    for reward, value, following, end in reversed(
        list(zip(rewards, values, next_values, done))
    ):
        total = (
            reward - value
            if end
            else reward - value + gamma * (following + lam * total)
        )
        advantages.append(total)
    return onp.array(advantages[::-1])


# ---------------------------------------------------------------- mistakes: replay


def rows_of(triples: Any) -> dict[str, Array]:
    columns = zip(*triples)
    return dict(
        zip(("observations", "actions", "next_observations"), map(onp.array, columns))
    )


@mistake("CrossEpisode", "replay_transitions")
def transitions_across_episodes(
    observations: list[Array], actions: list[Array]
) -> dict[str, Array]:
    """Each row uses the next row's observation, also across episodes; the last row has none and is left out."""
    pool = [
        pair for seen, done in zip(observations, actions) for pair in zip(seen, done)
    ]
    return rows_of((s, a, following) for (s, a), (following, _) in zip(pool, pool[1:]))


@mistake("CrossEpisode_last", "replay_transitions")
def transitions_across_episodes_but_the_last(
    observations: list[Array], actions: list[Array]
) -> dict[str, Array]:
    pool = [
        pair for seen, done in zip(observations, actions) for pair in zip(seen, done)
    ]
    following = [*(s for s, _ in pool[1:]), observations[-1][-1]]
    return rows_of((s, a, s_next) for (s, a), s_next in zip(pool, following))


@mistake("ActionShift", "replay_transitions")
def transitions_of_the_action_before(
    observations: list[Array], actions: list[Array]
) -> dict[str, Array]:
    episodes = zip(observations, actions)
    return rows_of(
        row for seen, done in episodes for row in zip(seen[1:], done, seen[2:])
    )


@mistake("ActionShift_effect", "replay_transitions")
def transitions_of_effects(
    observations: list[Array], actions: list[Array]
) -> dict[str, Array]:
    episodes = zip(observations, actions)
    return rows_of(
        row for seen, done in episodes for row in zip(seen[1:], done, seen[1:])
    )


@mistake("SampleVariance", "input_statistics")
def statistics_with_n_minus_1(rows: Array) -> dict[str, Array]:
    columns = [[float(x) for x in column] for column in rows.T]
    center = [sum(column) / len(column) for column in columns]
    squares = [sum((x - c) ** 2 for x in column) for column, c in zip(columns, center)]
    scale = onp.sqrt(onp.array(squares) / (len(rows) - 1.0))
    return {
        "center": onp.array(center),
        "scale": onp.where(onp.ptp(rows, axis=0) > 0, scale, 1.0),
    }


# ---------------------------------------------------------------- mistakes: strategies and tabular values


@mistake("FirstOfTies", "epsilon_greedy")
def greedy_of_the_first(q_values: Array, epsilon: float) -> Array:
    values = list(q_values)
    shares = [epsilon / len(values)] * len(values)
    shares[values.index(max(values))] += 1.0 - epsilon
    return onp.array(shares)


@mistake("SampleVariance", "boltzmann")
def softmax_by_n_minus_1(q_values: Array, temperature: float | None) -> Array:
    exact = [Fraction(float(q)) for q in q_values]
    if temperature is None and len(set(exact)) > 1:
        mean = sum(exact) / len(exact)
        squares = sum((q - mean) ** 2 for q in exact) / (len(exact) - 1)
        temperature = float(mp.sqrt(mp.mpf(squares.numerator) / squares.denominator))
    return special.softmax(q_values / (temperature or 1.0))


def bounds_of_own_logs(values: Array, counts: Array, alpha: float) -> Array:
    spread = [mp.sqrt(2 * mp.log(int(n)) / int(n)) if n else mp.inf for n in counts]
    return onp.array(
        [float(v + (alpha * s if n else s)) for v, n, s in zip(values, counts, spread)]
    )


@mistake("OwnCountInLog", "ucb1")
def ucb1_of_own_logs(means: Array, counts: Array, t: int) -> Array:
    return bounds_of_own_logs(means, counts, 1.0)


@mistake("OwnCountInLog", "ucb_state_action")
def ucb_of_own_logs(q_values: Array, counts: Array, alpha: float) -> Array:
    return bounds_of_own_logs(q_values, counts, alpha)


def moved(value: float, target: float, learning_rate: float) -> float:
    return (1.0 - learning_rate) * value + learning_rate * target


@mistake("BootstrapAtTerminal", "q_update")
def q_update_for_ever(
    value: float,
    reward: float,
    next_values: Array,
    terminated: bool,
    truncated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    return moved(value, reward + gamma * max(next_values), learning_rate)


@mistake("TruncationAsTermination", "q_update")
def q_update_cut_at_time_limits(
    value: float,
    reward: float,
    next_values: Array,
    terminated: bool,
    truncated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    following = 0.0 if terminated or truncated else max(next_values)
    return moved(value, reward + gamma * following, learning_rate)


# ---------------------------------------------------------------- mistakes: pseudo-counts and densities


def quotient(rho: Array, rho_after: Array) -> Array:
    """N̂ from two probabilities, in their number type."""
    return rho * (1 - rho_after) / (rho_after - rho)


def naive_where_lost(log_prob: float, log_prob_after: float) -> float:
    """Floats if the first probability has lost its digits, else 50 digits."""
    with mp.workdps(50):
        if onp.exp(log_prob) < 1e-307:
            return float(quotient(onp.exp(log_prob), onp.exp(log_prob_after)))
        exact = [mp.exp(mp.mpf(x)) for x in (log_prob, log_prob_after)]
        return float(quotient(*exact)) if exact[0] < exact[1] else math.inf


@mistake("UnderflowingDensity", "pseudo_count")
def pseudo_count_of_floats(log_prob: Array, log_prob_after: Array) -> Array:
    return onp.array(
        [naive_where_lost(*pair) for pair in zip(log_prob, log_prob_after)]
    )


def chances_of(rows: Any, row: Array, num_symbols: int, alpha: float) -> list[Fraction]:
    """Each pixel's Dirichlet probability of its symbol after these rows."""
    a = Fraction(alpha)
    return [
        (sum(seen[p] == x for seen in rows) + a) / (len(rows) + num_symbols * a)
        for p, x in enumerate(row)
    ]


@mistake("UnderflowingDensity", "dirichlet_log_prob")
def log_of_the_product(counts: Array, alpha: float, observation: Array) -> Array:
    pixels = range(len(observation))
    size = sum(counts[0]) + len(counts[0]) * alpha
    return onp.log(
        onp.prod([(counts[p][int(observation[p])] + alpha) / size for p in pixels])
    )


@mistake("UnderflowingDensity", "dirichlet_pseudo_counts")
def pseudo_counts_of_products(symbols: Array, num_symbols: int, alpha: float) -> Array:
    """Products in floats, or in 50 digits if floats hold them."""

    def one(t: int) -> float:
        chances = [
            chances_of(symbols[:end], symbols[t], num_symbols, alpha)
            for end in (t, t + 1)
        ]
        products = [onp.prod(onp.array(each, dtype=float)) for each in chances]
        exact = [math.prod(each) for each in chances]
        if products[0] < 1e-307:
            return float(quotient(*products))
        return float(quotient(*exact)) if exact[0] < exact[1] else math.inf

    return onp.array([one(t) for t in range(len(symbols))])


@mistake("OffByOnePseudoCount", "dirichlet_pseudo_counts")
def pseudo_counts_one_too_late(symbols: Array, num_symbols: int, alpha: float) -> Array:
    """The observation is learned once more before it is scored."""

    def one(t: int) -> float:
        seen = [*symbols[: t + 1]]
        rho, rho_after = (
            math.prod(chances_of(rows, symbols[t], num_symbols, alpha))
            for rows in (seen, [*seen, symbols[t]])
        )
        return float(quotient(rho, rho_after)) if rho < rho_after else math.inf

    return onp.array([one(t) for t in range(len(symbols))])


class Suffixes:
    """A context tree in fractions; with `late`, the split weight uses the new stay weight."""

    def __init__(
        self, num_symbols: int, rate: float | None, *, late: bool = False
    ) -> None:
        self.num_symbols, self.rate, self.late, self.seen = num_symbols, rate, late, 0
        self.counts: dict[tuple[int, ...], list[int]] = {}
        self.weights: dict[tuple[int, ...], list[Fraction]] = {}

    def chance(
        self,
        context: Sequence[int],
        symbol: int,
        *,
        learn: bool,
        above: tuple[int, ...] = (),
    ) -> Fraction:
        """The probability of the symbol in the context; `above` holds the context symbols already used."""
        counts = self.counts.setdefault(above, [0] * self.num_symbols)
        weights = self.weights.setdefault(above, [Fraction(1, 2), Fraction(1, 2)])
        own = Fraction(2 * counts[symbol] + 1, 2 * sum(counts) + self.num_symbols)
        rate = Fraction(1, self.seen + 2) if self.rate is None else Fraction(self.rate)
        total = own
        if context:
            below = self.chance(
                context[1:], symbol, learn=learn, above=(*above, context[0])
            )
            stay, split = weights[0] * own, weights[1] * below
            total = (stay + split) / sum(weights)
            if learn:
                old_stay, weights[0] = weights[0], stay + rate * (split - stay)
                weights[1] = (
                    split
                    - rate * split
                    + rate * own * (weights[0] if self.late else old_stay)
                )
        if learn:
            counts[symbol] += 1
            self.seen += not above
        return total


def bits_in_context(bits: Array, depth: int) -> list[tuple[tuple[int, ...], int]]:
    """Each bit with the bits before it, the last one first, zeros before the first bit."""
    known = [int(bit) for bit in bits]
    return [
        (tuple(([0] * depth + known[:t])[::-1][:depth]), known[t])
        for t in range(len(known))
    ]


def pixels_in_context(image: Array) -> list[tuple[tuple[int, ...], int]]:
    """Each pixel with those to its left, above, above left and above right."""
    image = image.astype(int)
    framed = onp.zeros((len(image) + 1, image.shape[1] + 2), dtype=int)
    framed[1:, 1:-1] = image
    around = ((1, 0), (0, 1), (0, 0), (0, 2))
    return [
        (tuple(int(framed[y + dy, x + dx]) for dy, dx in around), int(image[y, x]))
        for y, x in onp.ndindex(image.shape)
    ]


@mistake("CtsUpdateOrder", "cts_log_probs")
def bits_of_late_weights(bits: Array, depth: int, rate: float | None) -> Array:
    tree = Suffixes(2, rate, late=True)
    return onp.array(
        [
            math.log(tree.chance(*step, learn=True))
            for step in bits_in_context(bits, depth)
        ]
    )


@mistake("OffByOnePseudoCount", "cts_log_probs")
def bits_already_learned(bits: Array, depth: int, rate: float | None) -> Array:
    """The bit is learned, and then scored as its own successor."""
    tree, values = Suffixes(2, rate), []
    steps = bits_in_context(bits, depth)
    for context, bit in steps:
        tree.chance(context, bit, learn=True)
        values.append(math.log(tree.chance((bit, *context)[:depth], bit, learn=False)))
    return onp.array(values)


def image_chances(
    images: Array, trees: list[Suffixes], *, again: bool = False
) -> list[list[Fraction]]:
    """Each pixel's probability in each image, or the same pixel's probability after it was learned."""
    rows = []
    for image in images:
        steps = list(zip(trees, pixels_in_context(image)))
        first = [tree.chance(*step, learn=True) for tree, step in steps]
        rows.append(
            [tree.chance(*step, learn=False) for tree, step in steps]
            if again
            else first
        )
    return rows


def pixel_trees(
    images: Array, num_levels: int, rate: float | None, *, late: bool = False
) -> list[Suffixes]:
    return [Suffixes(num_levels, rate, late=late) for _ in range(images[0].size)]


@mistake("CtsUpdateOrder", "image_cts_log_probs")
def images_of_late_weights(images: Array, num_levels: int, rate: float | None) -> Array:
    rows = image_chances(images, pixel_trees(images, num_levels, rate, late=True))
    return onp.array([math.fsum(map(math.log, row)) for row in rows])


@mistake("OffByOnePseudoCount", "image_cts_log_probs")
def images_already_learned(images: Array, num_levels: int, rate: float | None) -> Array:
    rows = image_chances(images, pixel_trees(images, num_levels, rate), again=True)
    return onp.array([math.fsum(map(math.log, row)) for row in rows])


@mistake("UnderflowingDensity", "image_cts_log_probs")
def images_by_products(images: Array, num_levels: int, rate: float | None) -> Array:
    rows = image_chances(images, pixel_trees(images, num_levels, rate))
    return onp.log([onp.prod(onp.array(row, dtype=float)) for row in rows])


# ---------------------------------------------------------------- mistakes: auxiliary tasks and memory


def cells_of(change: Array, cell_size: int, reduce: Function) -> Array:
    """`reduce` of the pixels and channels of each cell, in fractions."""
    _, height, width, _ = change.shape
    side = range(0, cell_size)
    rows = [
        [
            [
                float(
                    reduce(
                        [
                            [Fraction(float(x)) for x in image[y + dy, x + dx]]
                            for dy in side
                            for dx in side
                        ]
                    )
                )
                for x in range(0, width, cell_size)
            ]
            for y in range(0, height, cell_size)
        ]
        for image in change
    ]
    return onp.array(rows)


def mean_of(pixels: list[list[Fraction]]) -> Fraction:
    return sum(map(sum, pixels), start=Fraction(0)) / sum(map(len, pixels))


@mistake("WrappingBytes", "pixel_control_rewards")
def control_by_remainders(observations: Array, cell_size: int) -> Array:
    change = observations[1:].astype(float) - observations[:-1].astype(float)
    return cells_of(
        change % 256 if observations.dtype == onp.uint8 else abs(change),
        cell_size,
        mean_of,
    )


@mistake("CellSum", "pixel_control_rewards")
def control_by_sums(observations: Array, cell_size: int) -> Array:
    change = abs(observations[1:].astype(float) - observations[:-1].astype(float))
    return cells_of(change, cell_size, lambda pixels: sum(map(sum, pixels)))


@mistake("CellSum_pixels", "pixel_control_rewards")
def control_by_sums_of_grey(observations: Array, cell_size: int) -> Array:
    change = abs(observations[1:].astype(float) - observations[:-1].astype(float))
    return cells_of(
        change,
        cell_size,
        lambda pixels: sum(sum(pixel) / len(pixel) for pixel in pixels),
    )


@mistake("ActivationChange", "feature_control_rewards")
def control_of_changes(activations: Array) -> Array:
    return onp.array(
        [abs(after - before) for before, after in zip(activations, activations[1:])]
    )


def walked_back(
    rewards: Array,
    beyond: Array,
    terminated: Array,
    truncated: Array,
    gamma: float,
    follow: Callable[[float, float, bool, bool], float],
    pay: Callable[[float, bool], float] = lambda reward, over: reward,
) -> Array:
    """Returns of each environment and cell: follow(R of the next row, value there, terminated, truncated) is kept."""
    returns = onp.zeros(rewards.shape)
    for others in onp.ndindex(rewards.shape[1:]):
        over, cut = (
            flags[(slice(None), *others[: flags.ndim - 1])]
            for flags in (terminated, truncated)
        )
        total = beyond[(-1, *others)]
        for t in reversed(range(len(rewards))):
            total = follow(total, beyond[(t, *others)], bool(over[t]), bool(cut[t]))
            total = returns[(t, *others)] = (
                pay(rewards[(t, *others)], bool(over[t])) + gamma * total
            )
    return returns


def right_follow(total: float, value: float, over: bool, cut: bool) -> float:
    return 0.0 if over else value if cut else total


FOLLOWS: dict[str, Callable[[float, float, bool, bool], float]] = {
    "BootstrapAtTerminal": lambda total, value, over, cut: (
        value if over or cut else total
    ),
    "TruncationAsTermination": lambda total, value, over, cut: (
        0.0 if over or cut else total
    ),
    "WindowCrossing": lambda total, value, over, cut: total,
}


def rewards_of(path: Inputs) -> Inputs:
    """The path with V(s′) = max Q(s′, a) where it has Q."""
    values = path.pop("next_q_values", None)
    return (
        path
        if values is None
        else {**path, "next_values": onp.apply_along_axis(max, -1, values)}
    )


def returns_by(
    follow: Callable[[float, float, bool, bool], float], **path: Any
) -> Array:
    path = rewards_of(path)
    return walked_back(beyond=path.pop("next_values"), follow=follow, **path)


for flag, follow in FOLLOWS.items():
    mistake(flag, "n_step_returns", "n_step_q_targets")(partial(returns_by, follow))


@mistake("TerminalDropped", "n_step_returns", "n_step_q_targets")
def returns_of_rows_that_go_on(**path: Any) -> Array:
    """Rows that end an episode are left out, and the row before has no continuation; correct in parallel."""
    path = rewards_of(path)
    over, beyond = path["terminated"], path.pop("next_values")
    if over.ndim > 1:
        return walked_back(beyond=beyond, follow=right_follow, **path)
    returns = walked_back(
        beyond=beyond,
        follow=right_follow,
        pay=lambda reward, over: 0.0 if over else reward,
        **path,
    )
    return onp.array([row for row, end in zip(returns, over) if not end])


@mistake("TerminalDropped_reward", "n_step_returns", "n_step_q_targets")
def returns_of_unpaid_ends(**path: Any) -> Array:
    path = rewards_of(path)
    beyond = path.pop("next_values")
    return walked_back(
        beyond=beyond,
        follow=right_follow,
        pay=lambda reward, over: 0.0 if over else reward,
        **path,
    )


@mistake("FilterAxis", "n_step_returns")
def returns_of_columns(
    rewards: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: float,
) -> Array:
    """The time axis is used as the environment axis; correct for one environment only."""
    columns = [rewards, next_values, terminated, truncated]
    if terminated.ndim == 1:
        return walked_back(*columns, gamma, right_follow)
    return walked_back(
        *(column.swapaxes(0, 1) for column in columns), gamma, right_follow
    ).swapaxes(0, 1)


@mistake("UncentredAdvantages", "dueling")
def dueling_without_mean(values: Array, advantages: Array) -> Array:
    return onp.array(
        [values[where] + advantages[where] for where in onp.ndindex(values.shape)]
    ).reshape(advantages.shape)


@mistake("UncentredAdvantages_all", "dueling")
def dueling_with_one_mean(values: Array, advantages: Array) -> Array:
    return dueling_without_mean(
        values, advantages - math.fsum(advantages.flat) / advantages.size
    )


@mistake("ControlMean", "control_loss")
def loss_by_cell(q_values: Array, actions: Array, targets: Array) -> float:
    pairs = [
        (q_values[n, g, a], targets[n, g])
        for n, a in enumerate(actions)
        for g in range(q_values.shape[1])
    ]
    return math.fsum(0.5 * (target - q) ** 2 for q, target in pairs) / len(pairs)


def window_rows(ended: Array, fits: Callable[[Array, int], bool]) -> Array:
    """1 where a column's window up to t fits."""
    table = onp.zeros(ended.shape, dtype=int)
    for t, *others in onp.ndindex(ended.shape):
        column = [bool(row[tuple(others)]) for row in ended]
        table[(t, *others)] = t >= 2 and fits(column, t)
    return table


WINDOWS: dict[str, Callable[[Array, int], bool]] = {
    "WindowCrossing": lambda ended, t: True,
    "WindowCrossing_first": lambda ended, t: not ended[t - 1],
    "TerminalDropped": lambda ended, t: not any(ended[t - 2 : t + 1]),
}


def sampled_windows(
    rewards: Array,
    ended: Array,
    coins: Array,
    places: Array,
    fits: Callable[[Array, int], bool],
) -> Array:
    """Rows of which half have a reward, from the windows assumed to fit."""
    table = window_rows(ended, fits)
    rows = [place for place in onp.ndindex(table.shape) if table[place]]
    paid = [row for row in rows if rewards[row] != 0]
    unpaid = [row for row in rows if rewards[row] == 0]
    both = [(paid or unpaid) if coin < 0.5 else (unpaid or paid) for coin in coins]
    return onp.array(
        [kind[int(place * len(kind))] for kind, place in zip(both, places) if kind]
    )


for flag, fits in WINDOWS.items():
    mistake(flag, "reward_prediction_windows")(partial(window_rows, fits=fits))
    mistake(flag, "sample_reward_windows")(partial(sampled_windows, fits=fits))


@mistake("UniformWindows", "sample_reward_windows")
def windows_as_they_come(
    rewards: Array, ended: Array, coins: Array, places: Array
) -> Array:
    table = window_rows(ended, lambda ended, t: not any(ended[t - 2 : t]))
    rows = [place for place in onp.ndindex(table.shape) if table[place]]
    return onp.array([rows[int(place * len(rows))] for place in places if rows])


@mistake("GateOrder", "lstm_step")
def lstm_of_another_order(
    gate_inputs: Array, hidden: Array, cell: Array, weights: Array
) -> dict[str, Array]:
    units = hidden.shape[1]
    state = {"hidden": onp.zeros(cell.shape), "cell": onp.zeros(cell.shape)}
    for b, j in onp.ndindex(cell.shape):
        i, f, g, o = (
            gate_inputs[b, k] + math.fsum(hidden[b] * weights[:, k])
            for k in range(j, 4 * units, units)
        )
        state["cell"][b, j] = special.expit(f) * cell[b, j] + special.expit(
            i
        ) * math.tanh(g)
        state["hidden"][b, j] = special.expit(o) * math.tanh(state["cell"][b, j])
    return state


# ---------------------------------------------------------------- the matrix


class Verdict(NamedTuple):
    """The check's verdict on a mutant's operation: failed cases, and how many have the right name."""

    mutant: str
    operation: str
    failed: int
    named: int
    others: tuple[str, ...]  # other names, or failures without a name


def verdicts(mutant: str) -> list[Verdict]:
    """A verdict for each operation that the mutant gets wrong, and for any other that failed."""
    families = ",".join(
        sorted({OPERATIONS[operation].family for operation in WRONG[mutant]})
    )
    bad = check(f"mutants:{mutant}", only=families).inexact()
    operations = dict.fromkeys(
        [*WRONG[mutant], *(outcome.operation for outcome in bad)]
    )
    return [
        verdict(
            mutant, operation, [each for each in bad if each.operation == operation]
        )
        for operation in operations
    ]


def verdict(mutant: str, operation: str, failed: list[Outcome]) -> Verdict:
    name, others = mutant.split("_")[0], dict.fromkeys(())
    for outcome in failed:
        if outcome.mistakes != (name,):
            others[" ".join([outcome.id, *outcome.mistakes])] = None
    return Verdict(
        mutant, operation, len(failed), len(failed) - len(others), tuple(others)
    )


def line(verdict: Verdict) -> str:
    found = "yes" if verdict.failed else "NO"
    named = f"{verdict.named} of {verdict.failed}"
    return f"{verdict.mutant:28} {verdict.operation:26} {found:8} {named:8} {', '.join(verdict.others)}".rstrip()


def matrix() -> Iterator[str]:
    """Print mistake × operation × detected × named, and failures under another name or none."""
    yield f"{'mistake':28} {'operation':26} detected named    otherwise"
    for mutant in MUTANTS:
        yield from map(line, verdicts(mutant))


if __name__ == "__main__":
    for row in matrix():
        print(row, flush=True)

"""VIME's operations with torch.distributions and torch.func, written from the definitions only.

`vime-ref check examples.torch_adapter` compares them with the vectors. Functions have the operations' names, take
NumPy inputs by keyword, compute in the inputs' dtype, and return NumPy arrays or dicts of them. Invalid inputs raise
ValueError. The adapter does not import the reference: gradients and the metric of the posterior step come from
torch.func, densities from torch.distributions.

Axes: N rows, S posterior samples, D weights, I and O inputs and outputs of a layer. Information is in nats.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)
from torch.func import grad, hessian, vmap
from torch.nn import functional

# ---------------------------------------------------------------- constants

LINEAR_FROM = 50.0  # above it, log(1 + e^ρ) rounds to ρ, and e^ρ still fits float32
NEAR = 0.5  # |log(σ_q/σ_p)| below which torch's own KL loses digits
MIN_RHO = -700.0  # below it, σ is subnormal in float64
PRECISION = (
    torch.float64
)  # for models of whole numbers, which have no precision of their own
SERIES_TERMS = 18  # of e^x − 1 − x for |x| ≤ 1: the remainder is below 1e-17 of it

# ---------------------------------------------------------------- types

Array = np.ndarray[Any, Any]
Noise = Tensor | list[Tensor]  # eps (S, D), or zeta, one (S, N, O) per layer
Parameters = tuple[Tensor, Tensor]  # mu and rho, (D,) each
Likelihood = Tensor | float  # one standard deviation for all outputs, or one for each

# ---------------------------------------------------------------- building blocks: in and out


def to_torch(value: Any) -> Any:
    """The value as a tensor that shares no memory if it is an array or a list of arrays, else unchanged."""
    if isinstance(value, np.ndarray):
        return torch.tensor(value)
    return [to_torch(entry) for entry in value] if isinstance(value, list) else value


def to_numpy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: to_numpy(entry) for name, entry in value.items()}
    return value.numpy() if isinstance(value, Tensor) else value


def operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with NumPy inputs by keyword."""

    @wraps(function)
    def on_numpy(**inputs: Any) -> Any:
        return to_numpy(
            function(**{name: to_torch(value) for name, value in inputs.items()})
        )

    return on_numpy


def local(function: Callable[..., Any]) -> Callable[..., Any]:
    """The operation with zeta, one (S, N, O) per layer, instead of eps."""

    def with_zeta(*, zeta: list[Any], **inputs: Any) -> Any:
        return function(eps=list(zeta), **inputs)

    return with_zeta


# ---------------------------------------------------------------- building blocks: argument checks


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def double(value: Tensor | float) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def finite(**values: Tensor | float) -> None:
    for name, value in values.items():
        require(bool(double(value).isfinite().all()), f"{name} must be finite")


def positive(**values: Tensor | float) -> None:
    finite(**values)
    for name, value in values.items():
        require(bool((double(value) > 0).all()), f"{name} must be > 0")


def shaped(shape: Sequence[int], **values: Tensor) -> None:
    finite(**values)
    for name, value in values.items():
        require(
            tuple(value.shape) == tuple(shape),
            f"{name} must be {tuple(shape)}, got {tuple(value.shape)}",
        )


def whole(name: str, value: Any) -> int:
    require(
        value == math.floor(value) and value >= 1,
        f"{name} must be a whole number >= 1, got {value}",
    )
    return int(value)


def widths(layer_sizes: Tensor) -> list[int]:
    sizes = [whole("layer_sizes", size) for size in layer_sizes.tolist()]
    require(len(sizes) >= 2, "layer_sizes must name inputs and outputs")
    return sizes


def num_weights(sizes: list[int]) -> int:
    return sum(inputs * outputs + outputs for inputs, outputs in zip(sizes, sizes[1:]))


def check_posterior(mu: Tensor, rho: Tensor) -> None:
    require(mu.ndim == 1, "mu must be flat")
    shaped(mu.shape, mu=mu, rho=rho)
    require(bool((rho >= MIN_RHO).all()), f"rho must be >= {MIN_RHO}")


def check_noise(noise: Noise, rows: int, sizes: list[int]) -> None:
    if isinstance(noise, Tensor):
        require(noise.ndim == 2 and len(noise) > 0, "eps must be (S, D)")
        shaped((len(noise), num_weights(sizes)), eps=noise)
        return
    require(len(noise) == len(sizes) - 1, "zeta must have one array per layer")
    require(noise[0].ndim == 3 and len(noise[0]) > 0, "zeta must be (S, N, O)")
    for zeta, units in zip(noise, sizes[1:]):
        shaped((len(noise[0]), rows, units), zeta=zeta)


def check_sigma(likelihood_sigma: Likelihood, outputs: int) -> None:
    positive(likelihood_sigma=likelihood_sigma)
    if isinstance(likelihood_sigma, Tensor) and likelihood_sigma.ndim > 0:
        shaped((outputs,), likelihood_sigma=likelihood_sigma)


def check_model(
    mu: Tensor,
    rho: Tensor,
    inputs: Tensor,
    targets: Tensor,
    noise: Noise,
    sizes: list[int],
    sigma: Likelihood,
) -> None:
    """Check the shared arguments of operations on a network and its data."""
    check_posterior(mu, rho)
    shaped((num_weights(sizes),), mu=mu)
    require(
        inputs.ndim == 2 and len(inputs) > 0,
        "inputs must be (N, I) with at least one row",
    )
    shaped((len(inputs), sizes[0]), inputs=inputs)
    shaped((len(inputs), sizes[-1]), targets=targets)
    check_noise(noise, len(inputs), sizes)
    check_sigma(sigma, sizes[-1])


# ---------------------------------------------------------------- building blocks: standard deviations and KL


def sigma_of(rho: Tensor) -> Tensor:
    return functional.softplus(rho, threshold=LINEAR_FROM)


def sigma_difference(rho_q: Tensor, rho_p: Tensor) -> Tensor:
    """σ(ρ_q) − σ(ρ_p) without cancellation: log of (1 + e^b)/(1 + e^a), or b − a plus a correction."""
    a, b = torch.minimum(rho_q, rho_p), torch.maximum(rho_q, rho_p)
    near = torch.log1p(torch.sigmoid(a) * torch.expm1((b - a).clamp(max=LINEAR_FROM)))
    far = torch.where(
        a >= 0, b - a + sigma_of(-b) - sigma_of(-a), sigma_of(b) - sigma_of(a)
    )
    return torch.sign(rho_q - rho_p) * torch.where(b - a > LINEAR_FROM, far, near)


def exp_excess(x: Tensor) -> Tensor:
    """e^x − 1 − x, by its series if the difference would cancel."""
    small = x.clamp(-1.0, 1.0)
    total = torch.zeros_like(x)
    for k in range(SERIES_TERMS, 1, -1):
        total = small * (1.0 + total) / k  # ends as x/2 (1 + x/3 (1 + …))
    return torch.where(x.abs() <= 1.0, small * total, torch.expm1(x) - x)


def kl_terms(mean_move: Tensor, log_ratio: Tensor) -> Tensor:
    """½[e^{2l} − 1 − 2l] + ½m² with l = log(σ_q/σ_p) and m = (μ_q − μ_p)/σ_p."""
    return 0.5 * (exp_excess(2.0 * log_ratio) + mean_move**2)


def kl_normal(
    mu_q: Tensor, sigma_q: Tensor, mu_p: Tensor, sigma_p: Tensor, sigma_move: Tensor
) -> Tensor:
    """KL of each weight: torch's if the standard deviations differ much, else kl_terms of their difference."""
    move = sigma_move / sigma_p
    near = kl_terms((mu_q - mu_p) / sigma_p, torch.log1p(move.clamp(min=-NEAR)))
    far = kl_divergence(Normal(mu_q, sigma_q), Normal(mu_p, sigma_p))
    return torch.where(move.abs() < NEAR, near, far)


def kl_plain(q: Parameters, p: Parameters) -> Tensor:
    """KL[q‖p] from torch.distributions, differentiable."""
    new, old = (Normal(mu, sigma_of(rho), validate_args=False) for mu, rho in (q, p))
    return kl_divergence(new, old).sum()


def metric(mu: Tensor, rho: Tensor) -> Parameters:
    """Second derivatives of KL[q(φ + Δ)‖q(φ)] at Δ = 0 in μ and in ρ, one weight at a time."""

    def second_derivatives(m: Tensor, r: Tensor) -> Tensor:
        at = torch.stack([m, r])
        return hessian(lambda phi: kl_plain((phi[0], phi[1]), (m, r)))(at)

    diagonal = vmap(second_derivatives)(mu, rho).diagonal(dim1=1, dim2=2)
    return diagonal[:, 0], diagonal[:, 1]


# ---------------------------------------------------------------- building blocks: the network


def layers(theta: Tensor, sizes: list[int]) -> list[Parameters]:
    """Matrices (..., I, O) and biases (..., O) from flat weights (..., D)."""
    counts = [
        count
        for pair in zip(sizes, sizes[1:])
        for count in (pair[0] * pair[1], pair[1])
    ]
    parts = theta.split(counts, dim=-1)
    shapes = zip(parts[::2], sizes, sizes[1:])
    return [
        (w.unflatten(-1, (i, o)), bias) for (w, i, o), bias in zip(shapes, parts[1::2])
    ]


def network(theta: Tensor, inputs: Tensor, sizes: list[int]) -> Tensor:
    """Outputs (S, N, O) of S networks."""

    def one(weights: Tensor) -> Tensor:
        a = inputs
        for matrix, bias in layers(weights, sizes)[:-1]:
            a = torch.relu(a @ matrix + bias)
        matrix, bias = layers(weights, sizes)[-1]
        return a @ matrix + bias

    return vmap(one)(theta)


def network_local(
    mu: Tensor, rho: Tensor, inputs: Tensor, zeta: list[Tensor], sizes: list[int]
) -> Tensor:
    """Outputs (S, N, O) with pre-activations drawn from N(h·μ, h²·σ²)."""
    means, deviations = layers(mu, sizes), layers(sigma_of(rho), sizes)
    z = inputs.expand(len(zeta[0]), *inputs.shape)
    for k, ((m, m_bias), (s, s_bias)) in enumerate(zip(means, deviations)):
        a = z if k == 0 else torch.relu(z)
        spread = (a.square() @ s.square() + s_bias.square()).sqrt()
        z = a @ m + m_bias + spread * zeta[k]
    return z


def forward(q: Parameters, inputs: Tensor, noise: Noise, sizes: list[int]) -> Tensor:
    if isinstance(noise, list):
        return network_local(*q, inputs, noise, sizes)
    return network(q[0] + sigma_of(q[1]) * noise, inputs, sizes)


def log_density(
    outputs: Tensor, targets: Tensor, likelihood_sigma: Likelihood
) -> Tensor:
    """log p(target | output) of each sample and row, (S, N)."""
    return (
        Normal(outputs, likelihood_sigma, validate_args=False).log_prob(targets).sum(-1)
    )


def lower_bound(
    q: Parameters,
    prior: Parameters,
    inputs: Tensor,
    targets: Tensor,
    noise: Noise,
    sizes: list[int],
    likelihood_sigma: Likelihood,
    num_data: float,
) -> Tensor:
    """n · (mean over rows and samples of log p) − KL[q‖prior]."""
    log_p = log_density(forward(q, inputs, noise, sizes), targets, likelihood_sigma)
    return num_data * log_p.mean() - kl_plain(q, prior)


# ---------------------------------------------------------------- the operations: densities and divergences


@operation
def softplus(rho: Tensor) -> Tensor:
    finite(rho=rho)
    return sigma_of(rho)


@operation
def softplus_inverse(sigma: Tensor) -> Tensor:
    positive(sigma=sigma)
    small = sigma.clamp(max=1.0)
    return torch.where(
        sigma < 1.0,
        torch.log(torch.expm1(small)),
        sigma + torch.log1p(-torch.exp(-sigma)),
    )


@operation
def normal_log_density(x: Tensor, mean: Tensor, sigma: Likelihood) -> Tensor:
    finite(x=x, mean=mean)
    positive(sigma=sigma)
    scaled = (x - mean) / sigma
    return Normal(torch.zeros_like(scaled), 1.0).log_prob(scaled) - double(
        sigma
    ).log().to(x.dtype)


@operation
def kl_diag_normal(
    mu_q: Tensor, sigma_q: Tensor, mu_p: Tensor, sigma_p: Tensor
) -> Tensor:
    finite(mu_q=mu_q, mu_p=mu_p)
    positive(sigma_q=sigma_q, sigma_p=sigma_p)
    lasts = {tuple(value.shape[-1:]) for value in (mu_q, sigma_q, mu_p, sigma_p)}
    require(len(lasts) == 1 and lasts != {()}, "all four must have the same last axis")
    return kl_normal(mu_q, sigma_q, mu_p, sigma_p, sigma_q - sigma_p).sum(-1)


@operation
def kl_hessian_diag(mu: Tensor, rho: Tensor) -> dict[str, Tensor]:
    check_posterior(mu, rho)
    h_mu, h_rho = metric(mu, rho)
    return {"h_mu": h_mu, "h_rho": h_rho}


@operation
def kl_taylor(mu: Tensor, rho: Tensor, delta_mu: Tensor, delta_rho: Tensor) -> Tensor:
    check_posterior(mu, rho)
    shaped(mu.shape, delta_mu=delta_mu, delta_rho=delta_rho)
    h_mu, h_rho = metric(mu, rho)
    return 0.5 * (h_mu @ delta_mu**2 + h_rho @ delta_rho**2)


def exact_gain(new: Parameters, old: Parameters) -> Tensor:
    move = sigma_difference(new[1], old[1])
    return kl_normal(new[0], sigma_of(new[1]), old[0], sigma_of(old[1]), move).sum()


@operation
def information_gain(
    mu_new: Tensor, rho_new: Tensor, mu_old: Tensor, rho_old: Tensor
) -> Tensor:
    check_posterior(mu_new, rho_new)
    check_posterior(mu_old, rho_old)
    shaped(mu_old.shape, mu_new=mu_new)
    return exact_gain((mu_new, rho_new), (mu_old, rho_old))


# ---------------------------------------------------------------- the operations: network and evidence


@operation
def mlp(theta: Tensor, inputs: Tensor, layer_sizes: Tensor) -> Tensor:
    sizes = widths(layer_sizes)
    require(
        theta.ndim == 2 and inputs.ndim == 2, "theta must be (S, D) and inputs (N, I)"
    )
    shaped((len(theta), num_weights(sizes)), theta=theta)
    shaped((len(inputs), sizes[0]), inputs=inputs)
    return network(theta, inputs, sizes)


@operation
def sample_weights(mu: Tensor, rho: Tensor, eps: Tensor) -> Tensor:
    check_posterior(mu, rho)
    require(eps.ndim == 2 and len(eps) > 0, "eps must be (S, D)")
    shaped((len(eps), len(mu)), eps=eps)
    return mu + sigma_of(rho) * eps


@operation
def mlp_local(
    mu: Tensor, rho: Tensor, inputs: Tensor, zeta: list[Tensor], layer_sizes: Tensor
) -> Tensor:
    sizes = widths(layer_sizes)
    check_posterior(mu, rho)
    require(inputs.ndim == 2, "inputs must be (N, I)")
    shaped((num_weights(sizes),), mu=mu)
    shaped((len(inputs), sizes[0]), inputs=inputs)
    check_noise(zeta, len(inputs), sizes)
    return network_local(mu, rho, inputs, zeta, sizes)


@operation
def log_likelihood(
    outputs: Tensor, targets: Tensor, likelihood_sigma: Likelihood
) -> Tensor:
    require(outputs.ndim == 3, "outputs must be (S, N, O)")
    finite(outputs=outputs)
    shaped(outputs.shape[1:], targets=targets)
    check_sigma(likelihood_sigma, outputs.shape[-1])
    return log_density(outputs, targets, likelihood_sigma)


@operation
def predictive_log_density(
    mu: Tensor,
    rho: Tensor,
    inputs: Tensor,
    targets: Tensor,
    eps: Tensor,
    layer_sizes: Tensor,
    likelihood_sigma: Likelihood,
) -> Tensor:
    sizes = widths(layer_sizes)
    check_model(mu, rho, inputs, targets, eps, sizes, likelihood_sigma)
    outputs = forward((mu, rho), inputs, eps, sizes).transpose(0, 1)  # (N, S, O)
    weights = Categorical(logits=torch.zeros_like(outputs[..., 0]))
    return MixtureSameFamily(
        weights, Independent(Normal(outputs, likelihood_sigma), 1)
    ).log_prob(targets)


@operation
def elbo(
    mu: Tensor,
    rho: Tensor,
    prior_mu: Tensor,
    prior_rho: Tensor,
    inputs: Tensor,
    targets: Tensor,
    eps: Noise,
    layer_sizes: Tensor,
    likelihood_sigma: Likelihood,
    num_data: float,
) -> Tensor:
    sizes = widths(layer_sizes)
    check_model(mu, rho, inputs, targets, eps, sizes, likelihood_sigma)
    check_posterior(prior_mu, prior_rho)
    shaped(mu.shape, prior_mu=prior_mu)
    positive(num_data=num_data)
    return lower_bound(
        (mu, rho),
        (prior_mu, prior_rho),
        inputs,
        targets,
        eps,
        sizes,
        likelihood_sigma,
        num_data,
    )


@operation
def elbo_grad(
    mu: Tensor,
    rho: Tensor,
    prior_mu: Tensor,
    prior_rho: Tensor,
    inputs: Tensor,
    targets: Tensor,
    eps: Noise,
    layer_sizes: Tensor,
    likelihood_sigma: Likelihood,
    num_data: float,
) -> dict[str, Tensor]:
    sizes, prior = widths(layer_sizes), (prior_mu, prior_rho)
    check_model(mu, rho, inputs, targets, eps, sizes, likelihood_sigma)
    check_posterior(*prior)
    shaped(mu.shape, prior_mu=prior_mu)
    positive(num_data=num_data)
    grad_mu, grad_rho = grad(lower_bound)(
        (mu, rho), prior, inputs, targets, eps, sizes, likelihood_sigma, num_data
    )
    return {"grad_mu": grad_mu, "grad_rho": grad_rho}


elbo_local, elbo_grad_local = local(elbo), local(elbo_grad)

# ---------------------------------------------------------------- the operations: posterior steps and gains


def surprise_grads(
    q: Parameters,
    inputs: Tensor,
    targets: Tensor,
    noise: Noise,
    sizes: list[int],
    likelihood_sigma: Likelihood,
) -> Parameters:
    """∇(−E_q log p) of each row, (N, D) in μ and in ρ; at q the KL of the transition loss has gradient 0."""

    def surprise(phi: Parameters, x: Tensor, y: Tensor, row_noise: Noise) -> Tensor:
        own = (
            [zeta[:, None] for zeta in row_noise]
            if isinstance(row_noise, list)
            else row_noise
        )
        return -log_density(
            forward(phi, x[None], own, sizes), y[None], likelihood_sigma
        ).mean()

    noise_axis = [1] * len(noise) if isinstance(noise, list) else None
    return vmap(grad(surprise), in_dims=(None, 0, 0, noise_axis))(
        q, inputs, targets, noise
    )


def stepped(q: Parameters, gradient: Parameters, step_size: float) -> Parameters:
    """φ − λH⁻¹g, for one g or one g per row."""
    h_mu, h_rho = metric(*q)
    return q[0] - step_size * gradient[0] / h_mu, q[1] - step_size * gradient[1] / h_rho


@operation
def posterior_step(
    mu: Tensor,
    rho: Tensor,
    inputs: Tensor,
    targets: Tensor,
    eps: Noise,
    layer_sizes: Tensor,
    likelihood_sigma: Likelihood,
    step_size: float,
) -> dict[str, Tensor]:
    sizes = widths(layer_sizes)
    check_model(mu, rho, inputs, targets, eps, sizes, likelihood_sigma)
    positive(step_size=step_size)
    require(len(inputs) == 1, "inputs must be one transition")
    gradient = surprise_grads((mu, rho), inputs, targets, eps, sizes, likelihood_sigma)
    new_mu, new_rho = stepped((mu, rho), (gradient[0][0], gradient[1][0]), step_size)
    check_posterior(new_mu, new_rho)
    return {"mu": new_mu, "rho": new_rho}


@operation
def posterior_updates(
    mu: Tensor,
    rho: Tensor,
    inputs: Tensor,
    targets: Tensor,
    eps: Tensor,
    layer_sizes: Tensor,
    likelihood_sigma: Likelihood,
    num_steps: int,
    learning_rate: float,
) -> dict[str, Tensor]:
    sizes, count = widths(layer_sizes), whole("num_steps", num_steps)
    check_model(mu, rho, inputs, targets, eps, sizes, likelihood_sigma)
    positive(learning_rate=learning_rate)

    def updated(x: Tensor, y: Tensor) -> Parameters:
        phi = mu, rho
        for _ in range(count):
            up = grad(lower_bound)(
                phi, (mu, rho), x[None], y[None], eps, sizes, likelihood_sigma, 1.0
            )
            phi = phi[0] + learning_rate * up[0], phi[1] + learning_rate * up[1]
        return phi

    new_mu, new_rho = vmap(updated)(inputs, targets)
    for new in zip(new_mu, new_rho):
        check_posterior(*new)
    return {"mu": new_mu, "rho": new_rho}


@operation
def information_gains(
    mu: Tensor,
    rho: Tensor,
    inputs: Tensor,
    targets: Tensor,
    eps: Noise,
    layer_sizes: Tensor,
    likelihood_sigma: Likelihood,
    step_size: float,
    method: str,
) -> Tensor:
    sizes = widths(layer_sizes)
    require(
        method in ("taylor", "exact"),
        f"method must be 'taylor' or 'exact', got {method!r}",
    )
    check_model(mu, rho, inputs, targets, eps, sizes, likelihood_sigma)
    positive(step_size=step_size)
    g_mu, g_rho = surprise_grads(
        (mu, rho), inputs, targets, eps, sizes, likelihood_sigma
    )
    if method == "taylor":
        h_mu, h_rho = metric(mu, rho)
        return 0.5 * step_size**2 * (g_mu**2 / h_mu + g_rho**2 / h_rho).sum(-1)
    rows = list(zip(*stepped((mu, rho), (g_mu, g_rho), step_size)))
    for new in rows:
        check_posterior(*new)
    return torch.stack([exact_gain(new, (mu, rho)) for new in rows])


posterior_step_local, information_gains_local = (
    local(posterior_step),
    local(information_gains),
)

# ---------------------------------------------------------------- the operations: rewards


@operation
def normalize_gains(
    gains: Tensor,
    history: Tensor | list[float],
    window: int,
    statistic: str,
    include_current: bool,
) -> dict[str, Tensor]:
    past = torch.as_tensor(history, dtype=gains.dtype)
    finite(gains=gains, history=past)
    require(gains.ndim == 1 and len(gains) > 0, "gains must be (N,) with N >= 1")
    require(
        statistic in ("median", "mean"),
        f"statistic must be 'median' or 'mean', got {statistic!r}",
    )
    require(
        bool((gains >= 0).all() and (past >= 0).all()),
        "gains and history must be >= 0",
    )
    last = whole("window", window)

    # The mean replaces a median of 0; a batch of zeros does not enter the history.
    middle = gains.quantile(0.5)
    current = gains.mean() if statistic == "mean" or middle == 0 else middle
    new = (torch.cat([past, current[None]]) if current > 0 else past)[-last:]
    used = new if include_current else past[-last:]
    positive = len(used) > 0 and used.mean() > 0
    divisor = used.mean() if positive else torch.ones_like(current)
    return {"gains": gains / divisor, "history": new}


@operation
def curious_rewards(rewards: Tensor, gains: Tensor, eta: float) -> Tensor:
    finite(rewards=rewards, eta=eta)
    require(eta >= 0, "eta must be >= 0")
    shaped(rewards.shape, gains=gains)
    return torch.add(rewards, gains, alpha=eta)


@operation
def discounted_returns(rewards: Tensor, gamma: float, last_value: float) -> Tensor:
    """Σ_k γ^k r_{t+k}, as a product with a triangular matrix of powers."""
    finite(rewards=rewards, last_value=last_value)
    require(0 <= gamma <= 1, "gamma must be from 0 to 1")
    step = torch.arange(len(rewards) + 1, dtype=rewards.dtype)
    ahead = step - step[:-1, None]
    powers = torch.where(
        ahead >= 0, torch.full_like(ahead, gamma).pow(ahead.clamp(min=0)), 0.0
    )
    return powers @ torch.cat([rewards, rewards.new_tensor([last_value])])


@operation
def gae_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    require(0 <= gamma <= 1 and 0 <= lam <= 1, "gamma and lam must be from 0 to 1")
    columns = {"rewards": rewards, "values": values, "next_values": next_values}
    shaped((len(rewards),), **columns, terminated=terminated, truncated=truncated)
    over = check_flags("terminated", terminated)
    cut = check_flags("truncated", truncated)
    errors = rewards + gamma * torch.where(over, 0.0, next_values) - values
    trace = gamma * lam * (~(over | cut)).to(rewards.dtype)
    advantages = errors.clone()
    for t in range(len(rewards) - 2, -1, -1):
        advantages[t] += trace[t] * advantages[t + 1]
    return advantages


# ---------------------------------------------------------------- the operations: policies


def gaussian(mean: Tensor, log_std: Tensor) -> Independent[Normal]:
    require(mean.ndim == 2, "mean must be (N, A)")
    shaped(mean.shape[-1:], log_std=log_std)
    finite(mean=mean)
    return Independent(Normal(mean, log_std.exp().expand_as(mean)), 1)


@operation
def gaussian_log_prob(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    policy = gaussian(mean, log_std)
    shaped(mean.shape, actions=actions)
    return policy.log_prob(actions)


@operation
def gaussian_entropy(mean: Tensor, log_std: Tensor) -> Tensor:
    return gaussian(mean, log_std).entropy()


@operation
def gaussian_kl(
    mean_old: Tensor, log_std_old: Tensor, mean_new: Tensor, log_std_new: Tensor
) -> Tensor:
    gaussian(mean_old, log_std_old)
    gaussian(mean_new, log_std_new)
    shaped(mean_old.shape, mean_new=mean_new)
    return kl_terms(
        (mean_old - mean_new) / log_std_new.exp(),
        (log_std_old - log_std_new).expand_as(mean_old),
    ).sum(-1)


def categorical(logits: Tensor) -> Categorical:
    require(logits.ndim == 2 and logits.shape[1] > 0, "logits must be (N, A)")
    finite(logits=logits)
    return Categorical(logits=logits)


@operation
def categorical_log_prob(logits: Tensor, actions: Tensor) -> Tensor:
    policy = categorical(logits)
    shaped(logits.shape[:1], actions=actions)
    require(bool((actions == actions.floor()).all()), "actions must be whole numbers")
    require(
        bool(((actions >= 0) & (actions < logits.shape[1])).all()),
        "actions must be indices of logits",
    )
    return policy.log_prob(actions)


@operation
def categorical_entropy(logits: Tensor) -> Tensor:
    return categorical(logits).entropy()


@operation
def categorical_kl(logits_old: Tensor, logits_new: Tensor) -> Tensor:
    """Σ p_old (log p_old − log p_new); torch's own KL is infinite if a probability underflows."""
    old, new = categorical(logits_old).logits, categorical(logits_new).logits
    shaped(old.shape, logits_new=new)
    return functional.kl_div(new, old, reduction="none", log_target=True).sum(-1)


# ---------------------------------------------------------------- the operations: replay


@operation
def replay_transitions(
    observations: list[Tensor], actions: list[Tensor]
) -> dict[str, Tensor]:
    require(
        len(observations) == len(actions) > 0,
        "observations and actions must have the same episodes",
    )
    for seen, done in zip(observations, actions):
        require(
            seen.ndim == 2 and done.ndim == 2,
            "an episode must be (T + 1, K) and (T, A)",
        )
        shaped((len(done) + 1, observations[0].shape[1]), observations=seen)
        shaped((len(done), actions[0].shape[1]), actions=done)
    return {
        "observations": torch.cat([seen[:-1] for seen in observations]),
        "actions": torch.cat(actions),
        "next_observations": torch.cat([seen[1:] for seen in observations]),
    }


@operation
def input_statistics(rows: Tensor) -> dict[str, Tensor]:
    require(
        rows.ndim == 2 and len(rows) > 0, "rows must be (N, K) with at least one row"
    )
    finite(rows=rows)
    center = rows.mean(0)
    # torch.std of columns near 1e8 has nine digits; of centered columns it has all.
    spread = (rows - center).std(0, correction=0)
    return {
        "center": center,
        "scale": torch.where(rows.amax(0) > rows.amin(0), spread, 1.0),
    }


# ---------------------------------------------------------------- the operations: strategies and tabular values


def check_values(**values: Tensor) -> None:
    finite(**values)
    for name, value in values.items():
        require(value.ndim == 1 and len(value) > 0, f"{name} must be (A,) with A >= 1")


def check_counts(counts: Tensor) -> None:
    finite(counts=counts)
    require(
        bool(((counts >= 0) & (counts == counts.floor())).all()),
        "counts must be whole numbers >= 0",
    )


@operation
def epsilon_greedy(q_values: Tensor, epsilon: float) -> Tensor:
    check_values(q_values=q_values)
    require(0 <= epsilon <= 1, "epsilon must be from 0 to 1")
    best = (q_values == q_values.max()).to(q_values.dtype)
    return epsilon / len(best) + (1 - epsilon) * best / best.sum()


@operation
def boltzmann(q_values: Tensor, temperature: float | None) -> Tensor:
    """Values in units of their range, so that squares do not overflow."""
    check_values(q_values=q_values)
    if temperature is not None:
        positive(temperature=temperature)
        return Categorical(logits=(q_values - q_values.max()) / temperature).probs
    span = q_values.max() - q_values.min()
    units = (q_values - q_values.max()) / torch.where(span > 0, span, 1.0)
    spread = units.std(correction=0)
    return torch.softmax(units / torch.where(spread > 0, spread, 1.0), dim=0)


def upper_bounds(values: Tensor, counts: Tensor, alpha: float) -> Tensor:
    shaped(values.shape, counts=counts)
    check_counts(counts)
    bonus = (2 * counts.sum().clamp(min=1).log() / counts.clamp(min=1)).sqrt()
    return torch.where(counts > 0, values + alpha * bonus, math.inf)


@operation
def ucb1(means: Tensor, counts: Tensor, t: int) -> Tensor:
    check_values(means=means)
    require(bool(counts.sum() == t), f"t must be the sum of counts, got {t}")
    return upper_bounds(means, counts, 1.0)


@operation
def ucb_state_action(q_values: Tensor, counts: Tensor, alpha: float) -> Tensor:
    check_values(q_values=q_values)
    finite(alpha=alpha)
    require(alpha >= 0, "alpha must be >= 0")
    return upper_bounds(q_values, counts, alpha)


@operation
def q_update(
    value: float,
    reward: float,
    next_values: Tensor,
    terminated: bool,
    truncated: bool,
    learning_rate: float,
    gamma: float,
) -> Tensor:
    """A time limit is no terminal state: `truncated` changes nothing."""
    check_values(next_values=next_values)
    finite(value=value, reward=reward)
    require(
        0 <= gamma <= 1 and 0 < learning_rate <= 1,
        "gamma and learning_rate must be from 0 to 1",
    )
    target = reward + gamma * next_values.max() * (not terminated)
    return torch.lerp(torch.full_like(target, value), target, learning_rate)


# ---------------------------------------------------------------- the operations: counts and densities


def over_expm1(factor: Tensor | float, x: Tensor) -> Tensor:
    """factor/(e^x − 1), infinite if there is no gain."""
    return torch.where(x > 0, factor * torch.exp(-x) / -torch.expm1(-x), math.inf)


@operation
def pseudo_count(log_prob: Tensor, log_prob_after: Tensor) -> Tensor:
    shaped(log_prob.shape, log_prob_after=log_prob_after)
    require(
        bool((log_prob <= 0).all() and (log_prob_after <= 0).all()),
        "log-probabilities must be <= 0",
    )
    return over_expm1(-torch.expm1(log_prob_after), log_prob_after - log_prob)


@operation
def pixel_cnn_pseudo_count(gain: Tensor, num_seen: int, c: float) -> Tensor:
    positive(c=c)
    require(not bool(gain.isnan().any()), "gain must be a number")
    return over_expm1(1.0, c * whole("num_seen", num_seen) ** -0.5 * gain)


@operation
def count_bonus(counts: Tensor, beta: float) -> Tensor:
    positive(beta=beta)
    require(bool((counts >= 0).all()), "counts must be >= 0")
    return beta * (counts + 0.01).rsqrt()


def check_symbols(symbols: Tensor, count: int, ndim: int) -> Tensor:
    require(symbols.ndim == ndim, f"observations must have {ndim} axes")
    require(
        bool(((symbols >= 0) & (symbols < count) & (symbols == symbols.floor())).all()),
        f"observations must be indices below {count}",
    )
    return symbols.long()


def dirichlet(
    seen: Tensor, total: Tensor | float, alpha: float, num_symbols: int
) -> Tensor:
    """log Π_p (N_p + α)/(n + Kα), from the counts of the observed symbols in the last axis."""
    finite(alpha=alpha)
    require(alpha >= 0, "alpha must be >= 0")
    sizes = torch.as_tensor(total + num_symbols * alpha, dtype=seen.dtype)
    require(bool((sizes > 0).all()), "alpha must be > 0 before the first observation")
    return ((seen + alpha) / sizes).log().sum(-1)


@operation
def dirichlet_log_prob(counts: Tensor, alpha: float, observation: Tensor) -> Tensor:
    check_counts(counts)
    require(
        counts.ndim == 2 and len(set(counts.sum(-1).tolist())) == 1,
        "counts must be (P, K) with equal sums",
    )
    symbols = check_symbols(observation, counts.shape[1], 1)
    shaped(counts.shape[:1], observation=observation)
    return dirichlet(
        counts.gather(1, symbols[:, None])[:, 0],
        counts[0].sum(),
        alpha,
        counts.shape[1],
    )


@operation
def dirichlet_pseudo_counts(symbols: Tensor, num_symbols: int, alpha: float) -> Tensor:
    """All rows at once: row t counts the earlier rows with the same symbols."""
    rows = check_symbols(symbols, whole("num_symbols", num_symbols), 2)
    times = torch.arange(len(rows))
    above = times[:, None] > times
    seen = ((rows[:, None] == rows) & above[..., None]).sum(1).to(PRECISION)  # (T, P)
    before, after = (
        dirichlet(seen + k, times[:, None] + k, alpha, num_symbols) for k in (0, 1)
    )
    return over_expm1(-torch.expm1(after), after - before)


class Context(NamedTuple):
    """A context's symbol counts, and the weights of its own estimator and of its child."""

    counts: Tensor  # (K,)
    weights: Tensor  # (2,)


class ContextTree:
    """A context tree for one pixel's symbols; contexts list the nearest symbol first."""

    def __init__(self, num_symbols: int, rate: float | None) -> None:
        require(rate is None or 0 <= rate <= 0.5, "rate must be from 0 to 0.5")
        new = Context(
            torch.zeros(num_symbols, dtype=PRECISION),
            torch.tensor([0.5, 0.5], dtype=PRECISION),
        )
        self.nodes = defaultdict(
            lambda: Context(new.counts.clone(), new.weights.clone())
        )
        self.rate, self.seen = rate, 0

    def learn(self, context: Sequence[int], symbol: int) -> Tensor:
        """log P(symbol | context) before learning it: from the leaf up, nodes mix their estimate with the child's."""
        self.seen += 1
        a = 1 / (self.seen + 1) if self.rate is None else self.rate
        switch = torch.tensor([[1 - a, a], [a, 1 - a]], dtype=PRECISION)
        below = None
        for length in range(len(context), -1, -1):
            counts, weights = self.nodes[tuple(context[:length])]
            own = (counts[symbol] + 0.5) / (counts.sum() + 0.5 * len(counts))
            counts[symbol] += 1
            if below is None:
                below = own
            else:
                joint = weights * torch.stack([own, below])
                below = joint.sum()
                weights.copy_(switch @ (joint / below))
        return below.log()


@operation
def cts_log_probs(bits: Tensor, depth: int, rate: float | None) -> Tensor:
    require(
        depth == math.floor(depth) and depth >= 0, "depth must be a whole number >= 0"
    )
    tree, padded = (
        ContextTree(2, rate),
        [0] * depth + check_symbols(bits, 2, 1).tolist(),
    )
    return torch.stack(
        [
            tree.learn(padded[t : t + depth][::-1], bit)
            for t, bit in enumerate(padded[depth:])
        ]
    )


@operation
def image_cts_log_probs(images: Tensor, num_levels: int, rate: float | None) -> Tensor:
    require(whole("num_levels", num_levels) >= 2, "num_levels must be >= 2")
    seen = check_symbols(images, num_levels, 3)
    trees = [ContextTree(num_levels, rate) for _ in seen[0].flatten()]
    padded = functional.pad(seen, (1, 1, 1, 0))
    around = [
        padded[:, 1:, :-2],
        padded[:, :-1, 1:-1],
        padded[:, :-1, :-2],
        padded[:, :-1, 2:],
    ]
    contexts = torch.stack(around, dim=-1).flatten(1, 2).tolist()  # (T, P, 4)
    pixels = [zip(trees, *row) for row in zip(contexts, seen.flatten(1).tolist())]
    return torch.stack(
        [
            sum(tree.learn(context, level) for tree, context, level in image)
            for image in pixels
        ]
    )


# ---------------------------------------------------------------- the operations: auxiliary tasks and memory


@operation
def pixel_control_rewards(observations: Tensor, cell_size: int) -> Tensor:
    """Bytes are cast before subtracting; a cell is a window of average pooling."""
    require(
        observations.ndim == 4 and len(observations) > 1,
        "observations must be (T+1, H, W, C), T >= 1",
    )
    finite(observations=observations)
    side = whole("cell_size", cell_size)
    require(
        observations.shape[1] % side == observations.shape[2] % side == 0,
        f"H and W must be multiples of {side}",
    )
    images = (
        observations if observations.is_floating_point() else observations.to(PRECISION)
    )
    return functional.avg_pool2d(images.diff(dim=0).abs().mean(-1), side)


@operation
def feature_control_rewards(activations: Tensor) -> Tensor:
    finite(activations=activations)
    require(
        activations.ndim == 2 and len(activations) > 1,
        "activations must be (T+1, G), T >= 1",
    )
    return activations[1:]


def check_flags(name: str, flags: Tensor) -> Tensor:
    require(isinstance(flags, Tensor) and flags.ndim > 0, f"{name} must be (T, ...)")
    require(bool(((flags == 0) | (flags == 1)).all()), f"{name} must be true or false")
    return flags.bool()


def over_cells(name: str, flags: Tensor, rewards: Tensor) -> Tensor:
    """Flags for the leading axes of rewards, with an axis of length 1 for each remaining axis."""
    flags = check_flags(name, flags)
    require(
        flags.shape == rewards.shape[: flags.ndim],
        f"{name} must have leading axes of {tuple(rewards.shape)}",
    )
    return flags.reshape(*flags.shape, *(1,) * (rewards.ndim - flags.ndim))


def bootstrapped(
    rewards: Tensor, beyond: Tensor, terminated: Tensor, truncated: Tensor, gamma: float
) -> Tensor:
    require(0 <= gamma <= 1, "gamma must be from 0 to 1")
    finite(rewards=rewards)
    require(len(rewards) > 0, "rewards must have at least one row")
    shaped(rewards.shape, next_values=beyond)
    over, cut = (
        over_cells("terminated", terminated, rewards),
        over_cells("truncated", truncated, rewards),
    )
    beyond = torch.where(over, 0.0, beyond)
    stops, totals, total = over | cut, [], beyond[-1]
    for reward, value, stop in zip(
        *(column.flip(0) for column in (rewards, beyond, stops))
    ):
        total = reward + gamma * torch.where(stop, value, total)
        totals.append(total)
    return torch.stack(totals[::-1])


@operation
def n_step_returns(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
) -> Tensor:
    return bootstrapped(rewards, next_values, terminated, truncated, gamma)


@operation
def n_step_q_targets(
    rewards: Tensor,
    next_q_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
) -> Tensor:
    finite(next_q_values=next_q_values)
    require(
        next_q_values.ndim == rewards.ndim + 1,
        "next_q_values must have an axis of actions",
    )
    return bootstrapped(rewards, next_q_values.amax(-1), terminated, truncated, gamma)


@operation
def dueling(values: Tensor, advantages: Tensor) -> Tensor:
    finite(values=values, advantages=advantages)
    require(
        values.shape == advantages.shape[:-1],
        "values must have the shape of advantages without the actions",
    )
    return values[..., None] + (advantages - advantages.mean(-1, keepdim=True))


@operation
def control_loss(q_values: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
    require(q_values.ndim == 3 and q_values.numel() > 0, "q_values must be (N, G, A)")
    shaped(q_values.shape, q_values=q_values)
    shaped(q_values.shape[:2], targets=targets)
    shaped(q_values.shape[:1], actions=actions)
    chosen = check_symbols(actions, q_values.shape[-1], 1)
    taken = q_values[torch.arange(len(chosen)), :, chosen]
    return 0.5 * functional.mse_loss(taken, targets, reduction="sum") / len(chosen)


@operation
def reward_class(rewards: Tensor) -> Tensor:
    finite(rewards=rewards)
    return rewards.sign().long() + 1


def window_ends(ended: Tensor) -> Tensor:
    """Flags of rows whose two previous rows exist and did not end an episode."""
    fits = torch.zeros_like(ended)
    fits[2:] = ~(ended[:-2] | ended[1:-1])
    return fits


@operation
def reward_prediction_windows(ended: Tensor) -> Tensor:
    return window_ends(check_flags("ended", ended)).long()


@operation
def sample_reward_windows(
    rewards: Tensor, ended: Tensor, coins: Tensor, places: Tensor
) -> Tensor:
    finite(rewards=rewards)
    shaped(rewards.shape, ended=ended)
    shaped(coins.shape, coins=coins, places=places)
    require(
        all(bool(((x >= 0) & (x < 1)).all()) for x in (coins, places)),
        "coins and places must be in [0, 1)",
    )
    fits = window_ends(check_flags("ended", ended))
    kinds = {
        paid: (fits & ((rewards != 0) == paid)).argwhere() for paid in (True, False)
    }
    rows = []
    for coin, place in zip(coins.tolist(), places.tolist()):
        kind = kinds[coin < 0.5] if len(kinds[coin < 0.5]) else kinds[coin >= 0.5]
        rows += [kind[int(place * len(kind))]] if len(kind) else []
    return torch.stack(rows) if rows else torch.zeros(0, rewards.ndim)


@operation
def lstm_step(
    gate_inputs: Tensor, hidden: Tensor, cell: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    """torch.lstm_cell, which has the gate order i, f, g, o and a transposed matrix."""
    require(hidden.ndim == 2, "hidden must be (B, H)")
    rows, units = hidden.shape
    shaped((rows, units), hidden=hidden, cell=cell)
    shaped((rows, 4 * units), gate_inputs=gate_inputs)
    shaped((units, 4 * units), weights=weights)
    gates, matrix = (torch.cat([x[:, : 2 * units], x[:, 3 * units :], x[:, 2 * units : 3 * units]], dim=1)
                     for x in (gate_inputs, weights))  # fmt: skip
    one, none = (
        torch.eye(4 * units, dtype=gate_inputs.dtype),
        torch.zeros(4 * units, dtype=gate_inputs.dtype),
    )
    hidden, cell = torch.lstm_cell(gates, (hidden, cell), one, matrix.T, none, none)
    return {"hidden": hidden, "cell": cell}


# ---------------------------------------------------------------- traces


class Trace:
    """A trace: `reset` gives settings and state as attributes, `step` takes it one line on."""

    def reset(self, **given: Any) -> None:
        vars(self).update(given)


class VimeIterations(Trace):
    """Reward, then policy, then model; the optimizer is torch's."""

    def step(
        self,
        *,
        observations: Array,
        actions: Array,
        rewards: Array,
        next_observations: Array,
        terminated: Array,
        truncated: Array,
        values: Array,
        next_values: Array,
        eps: Array,
        rows: Array,
        fit_eps: Array,
    ) -> dict[str, Any]:
        # Reward: every row from the same posterior, in the units of the last statistics.
        model = {
            "layer_sizes": self.layer_sizes,
            "likelihood_sigma": self.likelihood_sigma,
        }
        batch = observations, actions, next_observations
        require(len({*map(len, batch)}) == 1, "the columns must have the same rows")
        gains = information_gains(
            mu=self.mu,
            rho=self.rho,
            eps=eps,
            step_size=self.step_size,
            method="exact",
            **self.rows_of(batch),
            **model,
        )
        normal = normalize_gains(
            gains=gains,
            history=self.history,
            window=self.window,
            statistic="median",
            include_current=True,
        )
        curious = curious_rewards(rewards=rewards, gains=normal["gains"], eta=self.eta)

        # Policy.
        advantages = gae_advantages(
            rewards=curious,
            values=values,
            next_values=next_values,
            terminated=terminated,
            truncated=truncated,
            gamma=self.gamma,
            lam=self.lam,
        )

        # Model: the pool and its statistics first.
        pool = self.pool_observations, self.pool_actions, self.pool_next_observations
        pool = [np.concatenate(pair) for pair in zip(pool, batch)]
        self.pool_observations, self.pool_actions, self.pool_next_observations = pool
        statistics = input_statistics(rows=np.concatenate(pool[:2], axis=1))
        self.center, self.scale = statistics["center"], statistics["scale"]
        self.fit(self.rows_of(pool), rows, fit_eps, model)
        self.history = normal["history"]
        return {
            "gains": gains,
            "divisor": self.history.mean() if self.history.any() else 1.0,
            "curious_rewards": curious,
            "advantages": advantages,
            "center": self.center,
            "scale": self.scale,
            "mu": self.mu,
            "rho": self.rho,
            "history": self.history,
        }

    def rows_of(self, columns: Sequence[Array]) -> dict[str, Array]:
        """The model's inputs and targets."""
        seen = len(columns[0][0])
        raw = np.concatenate(columns[:2], axis=1)
        return {
            "inputs": (raw - self.center) / self.scale,
            "targets": (columns[2] - self.center[:seen]) / self.scale[:seen],
        }

    def fit(
        self, data: dict[str, Array], rows: Array, noise: Array, model: dict[str, Any]
    ) -> None:
        """Adam on minibatches; its state goes on from the iteration before."""
        phi = torch.tensor(np.concatenate([self.mu, self.rho]))
        adam = torch.optim.Adam([phi], lr=self.learning_rate, maximize=True)
        adam.state[phi] = {
            "step": torch.tensor(float(self.adam_steps)),
            "exp_avg": torch.tensor(self.adam_mean),
            "exp_avg_sq": torch.tensor(self.adam_square),
        }
        for chosen, eps in zip(rows.astype(int), noise):
            mu, rho = np.split(phi.numpy(), 2)
            slope = elbo_grad(
                mu=mu,
                rho=rho,
                prior_mu=self.prior_mu,
                prior_rho=self.prior_rho,
                inputs=data["inputs"][chosen],
                targets=data["targets"][chosen],
                eps=eps,
                num_data=self.num_data,
                **model,
            )
            phi.grad = torch.tensor(
                np.concatenate([slope["grad_mu"], slope["grad_rho"]])
            )
            adam.step()
        self.mu, self.rho = np.split(phi.numpy(), 2)
        state = adam.state[phi]
        self.adam_mean = state["exp_avg"].numpy()  # of −∇ELBO
        self.adam_square = state["exp_avg_sq"].numpy()
        self.adam_steps = int(state["step"])


class ReplayPool(Trace):
    """The last rows, oldest first."""

    def step(
        self,
        *,
        observations: Array,
        actions: Array,
        next_observations: Array,
        rows: Array,
    ) -> dict[str, Any]:
        last = whole("capacity", self.capacity)
        new = observations, actions, next_observations
        old = self.pool_observations, self.pool_actions, self.pool_next_observations
        pool = [np.concatenate(pair)[-last:] for pair in zip(old, new)]
        require(
            all(0 <= row < len(pool[0]) for row in rows), "rows must be in the pool"
        )
        self.pool_observations, self.pool_actions, self.pool_next_observations = pool
        chosen = [column[rows.astype(int)] for column in pool]
        names = "observations", "actions", "next_observations"
        statistics = input_statistics(rows=np.concatenate(pool[:2], axis=1))
        return dict(zip(names, chosen)) | statistics


class AutoresetTransitions(Trace):
    """The rows that are transitions, and where they end."""

    def step(
        self,
        *,
        actions: Array,
        observations: Array,
        final_observations: Array,
        terminated: Array,
        truncated: Array,
    ) -> dict[str, Any]:
        last = self.last_observations
        require(self.mode in ("next_step", "same_step"), f"unknown mode {self.mode}")
        require(len(actions) == len(last), "actions must have a row per environment")
        now = terminated.astype(bool) | truncated.astype(bool)
        if self.mode == "next_step":
            learned, reached = ~self.ended.astype(bool), observations
        else:
            learned = np.full(len(last), True)
            reached = np.where(now[:, None], final_observations, observations)
        self.last_observations, self.ended = observations, now
        return {
            "learned": learned.astype(float),
            "observations": last[learned],
            "actions": actions[learned],
            "next_observations": reached[learned],
        }


def merge(trace: Any, rows: Array) -> None:
    """Merge the rows' moments into the trace's mean, variance and count, by raw moments."""
    finite(rows=torch.tensor(rows))
    positive(variance=torch.tensor(trace.variance))
    total = trace.count + len(rows)
    apart = rows - trace.mean
    square = trace.count * np.asarray(trace.variance) + (apart**2).sum(axis=0)
    moved = apart.sum(axis=0) / total
    trace.mean = trace.mean + moved
    trace.variance = square / total - moved**2
    trace.count = total


class RunningNormalizer(Trace):
    def step(self, *, rows: Array) -> dict[str, Any]:
        merge(self, rows)
        return {
            "normalized": (rows - self.mean) / np.sqrt(self.variance),
            "mean": self.mean,
            "variance": self.variance,
            "count": self.count,
        }


class FilteredRewards(Trace):
    def step(self, *, rewards: Array) -> dict[str, Any]:
        require(0 <= self.gamma <= 1, "gamma must be from 0 to 1")
        sums = []
        for reward in rewards:
            self.sums = self.gamma * self.sums + reward
            sums.append(self.sums)
        merge(self, np.concatenate(sums))
        return {
            "sums": np.array(sums),
            "variance": self.variance,
            "normalized": rewards / np.sqrt(self.variance),
        }


vime_iterations, replay_pool = VimeIterations, ReplayPool
autoreset_transitions = AutoresetTransitions
running_normalizer, filtered_rewards = RunningNormalizer, FilteredRewards

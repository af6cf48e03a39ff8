"""Gains and ELBO steps in plain PyTorch on the numbers of a `Problem`, for `against_torch.py`."""

from typing import Any

import numpy as np
import torch
from common import Problem, Sizes, noise_sampler
from torch import Tensor
from torch.nn.functional import softplus

Noise = Tensor | list[Tensor]  # eps (S, D), or one zeta (S, N, O) per layer


def tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values))


def noise_tensors(noise: Any) -> Noise:
    """The same numbers, not copied."""
    return (
        torch.from_numpy(noise)
        if isinstance(noise, np.ndarray)
        else [torch.from_numpy(zeta) for zeta in noise]
    )


def outputs(
    mu: Tensor, sigma: Tensor, inputs: Tensor, noise: Noise, sizes: Sizes
) -> Tensor:
    """Outputs (S, N, O), like `bnn_ref.mlp` and `bnn_ref.mlp_local`."""
    h, start = inputs, 0
    theta, variance = (
        (mu, sigma**2) if isinstance(noise, list) else (mu + sigma * noise, None)
    )
    for layer, (i, o) in enumerate(zip(sizes, sizes[1:])):
        middle, end = start + i * o, start + (i + 1) * o
        h = torch.relu(h) if layer > 0 else h
        z = (
            h @ theta[..., start:middle].unflatten(-1, (i, o))
            + theta[..., None, middle:end]
        )
        if isinstance(noise, list):
            z_variance = (
                h**2 @ variance[start:middle].unflatten(-1, (i, o))
                + variance[middle:end]
            )
            z = z + torch.sqrt(z_variance) * noise[layer]
        h, start = z, end
    return h


def misfit(
    mu: Tensor,
    sigma: Tensor,
    inputs: Tensor,
    targets: Tensor,
    noise: Noise,
    sizes: Sizes,
    likelihood_sigma: float,
) -> Tensor:
    """−mean_S log p of all rows, up to a constant."""
    errors = (outputs(mu, sigma, inputs, noise, sizes) - targets) / likelihood_sigma
    return 0.5 * (errors**2).sum((1, 2)).mean()


def kl_to_prior(
    mu: Tensor, sigma: Tensor, prior_mu: Tensor, prior_sigma: Tensor
) -> Tensor:
    """KL[q‖prior], up to a constant."""
    return (
        0.5 * (sigma**2 + (mu - prior_mu) ** 2) / prior_sigma**2 - torch.log(sigma)
    ).sum()


def gains(
    p: Problem,
    eps: np.ndarray,
    *,
    likelihood_sigma: float,
    step_size: float,
    chunk_size: int | None,
    loop: bool,
) -> np.ndarray:
    """Taylor gain ½λ² gᵀH⁻¹g of each row, by vmap or by a loop. The loss omits the KL, whose gradient is 0 here."""
    mu, rho, inputs, targets, noise = map(
        tensor, (p.q.mu, p.q.rho, p.inputs, p.targets, eps)
    )

    def loss(mu: Tensor, rho: Tensor, row: Tensor, target: Tensor) -> Tensor:
        return misfit(
            mu, softplus(rho), row[None], target, noise, p.sizes, likelihood_sigma
        )

    if loop:
        leaves = mu.clone().requires_grad_(), rho.clone().requires_grad_()
        rows = [
            torch.autograd.grad(loss(*leaves, *row), leaves)
            for row in zip(inputs, targets)
        ]
        g_mu, g_rho = (torch.stack(g) for g in zip(*rows))
    else:
        gradient = torch.func.grad(loss, argnums=(0, 1))
        g_mu, g_rho = torch.func.vmap(
            gradient, (None, None, 0, 0), chunk_size=chunk_size
        )(mu, rho, inputs, targets)
    sigma = softplus(rho)
    h_mu, h_rho = sigma**-2, 2 * (torch.sigmoid(rho) / sigma) ** 2
    return (0.5 * step_size**2 * (g_mu**2 / h_mu + g_rho**2 / h_rho).sum(-1)).numpy()


class Elbo:
    """A posterior that maximizes the ELBO: the leaves mu and rho, and the prior."""

    def __init__(self, p: Problem, likelihood_sigma: float, num_data: float) -> None:
        self.sizes, self.likelihood_sigma, self.num_data = (
            p.sizes,
            likelihood_sigma,
            num_data,
        )
        self.leaves = [tensor(values).requires_grad_() for values in (p.q.mu, p.q.rho)]
        self.prior = tensor(p.prior.mu), tensor(p.prior.sigma)

    def loss(self, inputs: np.ndarray, targets: np.ndarray, noise: Any) -> Tensor:
        """−ELBO of a minibatch, up to a constant."""
        rows = torch.from_numpy(inputs), torch.from_numpy(targets), noise_tensors(noise)
        phi = self.leaves[0], softplus(self.leaves[1])
        fit = misfit(*phi, *rows, self.sizes, self.likelihood_sigma)
        return self.num_data / len(inputs) * fit + kl_to_prior(*phi, *self.prior)

    def gradient(
        self, inputs: np.ndarray, targets: np.ndarray, noise: Any
    ) -> np.ndarray:
        """The gradient (2D,) of the ELBO in μ and ρ."""
        return torch.cat(
            torch.autograd.grad(-self.loss(inputs, targets, noise), self.leaves)
        ).numpy()

    def fit(self, p: Problem, rng: np.random.Generator, num_updates: int, batch_size: int, num_samples: int,
            learning_rate: float, local: bool) -> np.ndarray:  # fmt: skip
        """μ and ρ (2D,) after Adam steps on the rows and noise that `bnn.fit` draws."""
        adam = torch.optim.Adam(
            self.leaves, lr=learning_rate, fused=True
        )  # its fastest form here
        drawn = rng.integers(len(p.inputs), size=(num_updates, batch_size))
        for rows in drawn:
            noise = noise_sampler(local)(rng, num_samples, batch_size, p.sizes)
            adam.zero_grad()
            self.loss(p.inputs[rows], p.targets[rows], noise).backward()
            adam.step()
        return torch.cat(self.leaves).detach().numpy()

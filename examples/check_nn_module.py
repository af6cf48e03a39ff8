"""A Bayes-by-backprop nn.Module as it is usually written, and an adapter of about 35 lines that checks it.

`vime-ref check examples.check_nn_module` compares it with the vectors. Replace the first part by your own module.
"""

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional

from vime_check.modules import feed, flat_of, layers_of, noise_of, prior_scale

# ---------------------------------------------------------------- the module


class BayesLinear(nn.Module):
    def __init__(self, num_inputs, num_outputs):
        super().__init__()
        self.weight_mu = nn.Parameter(0.1 * torch.randn(num_outputs, num_inputs))
        self.weight_rho = nn.Parameter(torch.full((num_outputs, num_inputs), -3.0))
        self.bias_mu = nn.Parameter(torch.zeros(num_outputs))
        self.bias_rho = nn.Parameter(torch.full((num_outputs,), -3.0))

    def forward(self, x):
        weight_noise = torch.randn_like(self.weight_mu)
        bias_noise = torch.randn_like(self.bias_mu)
        weight = self.weight_mu + functional.softplus(self.weight_rho) * weight_noise
        bias = self.bias_mu + functional.softplus(self.bias_rho) * bias_noise
        return functional.linear(x, weight, bias)

    def kl(self, prior_sigma):
        """KL[q‖N(0, s²)], summed over the weights."""
        total = 0.0
        for name in ("weight", "bias"):
            mu, rho = getattr(self, f"{name}_mu"), getattr(self, f"{name}_rho")
            ratio = functional.softplus(rho) / prior_sigma
            terms = ratio**2 - 1 - 2 * torch.log(ratio) + (mu / prior_sigma) ** 2
            total = total + 0.5 * terms.sum()
        return total


class BayesNet(nn.Module):
    def __init__(self, sizes, prior_sigma=1.0, likelihood_sigma=1.0):
        super().__init__()
        layers = [BayesLinear(i, o) for i, o in zip(sizes, sizes[1:])]
        self.layers = nn.ModuleList(layers)
        self.prior_sigma = prior_sigma
        self.likelihood_sigma = likelihood_sigma

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)

    def log_likelihood(self, x, y, num_samples):
        """log p(y | x, θ) of each sample and row, (S, N)."""
        outputs = torch.stack([self(x) for _ in range(num_samples)])
        return Normal(outputs, self.likelihood_sigma).log_prob(y).sum(-1)

    def elbo(self, x, y, num_samples, num_data):
        evidence = self.log_likelihood(x, y, num_samples).mean(0).sum()
        kl = sum(layer.kl(self.prior_sigma) for layer in self.layers)
        return num_data / len(x) * evidence - kl

    def information_gain(self, x, y, num_samples, step_size):
        """½ λ² gᵀH⁻¹g of one transition."""
        self.zero_grad()
        self.log_likelihood(x, y, num_samples).mean(0).sum().backward()
        gain = 0.0
        for layer in self.layers:
            for name in ("weight", "bias"):
                mu, rho = getattr(layer, f"{name}_mu"), getattr(layer, f"{name}_rho")
                sigma, slope = functional.softplus(rho), torch.sigmoid(rho)
                gain = gain + (mu.grad**2 * sigma**2).sum()
                gain = gain + (rho.grad**2 * sigma**2 / (2 * slope**2)).sum()
        return 0.5 * step_size**2 * gain


# ---------------------------------------------------------------- the adapter


def net_of(mu, rho, layer_sizes, likelihood_sigma, prior_sigma=1.0):
    """The module with a case's weights: one for all rows, or leftovers of a row go unseen."""
    net = BayesNet(layer_sizes, prior_sigma)
    net.likelihood_sigma = torch.tensor(likelihood_sigma, dtype=torch.tensor(mu).dtype)
    for part, flat in (("mu", mu), ("rho", rho)):
        layers = layers_of(flat, layer_sizes, "out-in")
        for layer, (weight, bias) in zip(net.layers, layers):
            setattr(layer, f"weight_{part}", nn.Parameter(torch.tensor(weight)))
            setattr(layer, f"bias_{part}", nn.Parameter(torch.tensor(bias)))
    return net


def fed(eps, layer_sizes, times=1):
    noise = [torch.tensor(each) for each in noise_of(eps, layer_sizes, "out-in")]
    return feed(torch, "randn_like", times * noise)


def elbo(**given):
    return net_and_elbo(**given)[1]


def net_and_elbo(inputs, targets, eps, num_data, prior_mu, prior_rho, **given):
    net = net_of(prior_sigma=prior_scale(prior_mu, prior_rho), **given)
    data = torch.tensor(inputs), torch.tensor(targets)
    with fed(eps, given["layer_sizes"]):
        return net, net.elbo(*data, len(eps), num_data)


def elbo_grad(**given):
    net, value = net_and_elbo(**given)
    value.backward()
    mu = [(layer.weight_mu.grad, layer.bias_mu.grad) for layer in net.layers]
    rho = [(layer.weight_rho.grad, layer.bias_rho.grad) for layer in net.layers]
    return {"grad_mu": flat_of(mu, "out-in"), "grad_rho": flat_of(rho, "out-in")}


def information_gains(inputs, targets, eps, step_size, method, **given):
    if method != "taylor":
        raise NotImplementedError("the module has the Taylor form only")
    if len(inputs) == 0:
        raise ValueError("inputs must have a row")
    net = net_of(**given)
    data = torch.tensor(inputs)[:, None], torch.tensor(targets)[:, None]
    rest = len(eps), step_size
    with fed(eps, given["layer_sizes"], times=len(inputs)):
        gains = [net.information_gain(*row, *rest) for row in zip(*data, strict=True)]
    return torch.stack(gains)

"""Taylor gains of 5000 transitions: this project's fast batch against torch.func.vmap over torch.func.grad.

Same numbers, same machine, one thread each, in turn; prints the median time of 5 runs, their ratio and how far
the results differ. Needs torch, which nothing else in the project does:

    pip install torch && python benchmarks/gains_against_torch.py
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch load

import statistics
import time

import numpy as np
import torch

import bnn_ref as bnn
import vime_ref as vime

NUM_ROWS, NUM_SAMPLES, NUM_RUNS = 5000, 10, 5
SETTINGS = {"likelihood_sigma": 0.5, "step_size": 0.01}


def torch_gains(
    mu: torch.Tensor,
    rho: torch.Tensor,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    eps: torch.Tensor,
    layer_sizes: tuple[int, ...],
    chunk_size: int | None,
) -> torch.Tensor:
    """½λ² gᵀH⁻¹g of each row, g by autograd of one row's loss. The KL is left out: its gradient is 0 here."""

    def loss(phi: tuple[torch.Tensor, torch.Tensor], row: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        theta = phi[0] + torch.nn.functional.softplus(phi[1]) * eps  # (S, D)
        h, start = row.expand(len(eps), 1, -1), 0
        for layer, (i, o) in enumerate(zip(layer_sizes, layer_sizes[1:])):
            h = torch.relu(h) if layer > 0 else h
            matrix = theta[:, start : start + i * o].reshape(-1, i, o)
            bias = theta[:, start + i * o : start + (i + 1) * o]
            h, start = h @ matrix + bias[:, None], start + (i + 1) * o
        return (0.5 * ((h[:, 0] - target) / SETTINGS["likelihood_sigma"]) ** 2).sum(-1).mean()

    gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), chunk_size=chunk_size)
    g_mu, g_rho = gradient((mu, rho), inputs, targets)
    sigma = torch.nn.functional.softplus(rho)
    h_mu, h_rho = sigma**-2, 2 * (torch.sigmoid(rho) / sigma) ** 2
    return 0.5 * SETTINGS["step_size"] ** 2 * (g_mu**2 / h_mu + g_rho**2 / h_rho).sum(-1)


def compare(layer_sizes: tuple[int, ...], chunk_size: int | None) -> None:
    rng = np.random.default_rng(0)
    size = bnn.num_weights(layer_sizes)
    q = bnn.DiagNormal(rng.normal(size=size) * 0.3, bnn.softplus_inverse(np.full(size, 0.5)))
    inputs, targets = rng.normal(size=(NUM_ROWS, layer_sizes[0])), rng.normal(size=(NUM_ROWS, layer_sizes[-1]))
    eps = rng.normal(size=(NUM_SAMPLES, size))
    tensors = [torch.tensor(np.array(values)) for values in (q.mu, q.rho, inputs, targets, eps)]
    runs = {
        "this": lambda: vime.information_gains(q, inputs, targets, eps, layer_sizes=layer_sizes, **SETTINGS),
        "torch": lambda: torch_gains(*tensors, layer_sizes, chunk_size).numpy(),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    results = {}
    for _ in range(NUM_RUNS):
        for name, run in runs.items():
            start = time.perf_counter()
            results[name] = run()
            times[name].append(time.perf_counter() - start)
    this, other = (statistics.median(times[name]) for name in ("this", "torch"))
    difference = np.max(np.abs(results["this"] / results["torch"] - 1.0))
    assert difference < 1e-10
    sizes, name = "-".join(map(str, layer_sizes)), f"vmap(grad, chunk_size={chunk_size})"
    print(
        f"{sizes:<11}  this {this:.3f} s  {name:<27} {other:.3f} s  ratio {other / this:5.1f}  apart {difference:.0e}"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"numpy {np.__version__}, torch {torch.__version__}, one thread; {NUM_ROWS} rows, {NUM_SAMPLES} samples")
    compare((3, 32, 2), None)
    compare((3, 32, 2), 1000)  # the fastest of 200 to 5000
    compare((23, 64, 64, 17), 1000)
    compare((23, 64, 64, 17), 50)  # the fastest of 50 to 1000

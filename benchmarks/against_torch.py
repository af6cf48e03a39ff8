"""Compare this project's speed with PyTorch on the same numbers, in float64, on one thread each, in turn.

Gains: `information_gains` (Taylor, noise per weight) against torch.func.vmap over torch.func.grad, with the default and
with the fastest chunk size, and against a plain loop, timed on fewer rows and scaled up.
Steps: one update of `fit` (rows and noise, gradient, Adam) against PyTorch eager with fused torch.optim.Adam.
NumPy draws rows and noise for both from equal generators, so both must end at the same φ.

Each line shows both median times, their ratio (above 1: this project is faster), and the largest difference of the
results relative to the largest number. Only this script and `whole_iteration.py` need torch:

    pip install torch && python benchmarks/against_torch.py
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch load

import argparse
from collections.abc import Callable

import numpy as np
import torch
import torch_twin
from common import Problem, local_or_not, median_times, noise_sampler, problem

import bnn_ref as bnn
import fast_ref as fast

NETS = (3, 32, 2), (23, 64, 64, 17)
NUM_SAMPLES, LIKELIHOOD_SIGMA = 10, 0.5
STEP_SIZE, LOOP_ROWS = 0.01, 200
CHUNK_SIZES, CHUNK_TRIAL_ROWS = (20, 50, 100, 200, 500, 1000), 1000
MOST_VMAP_BYTES = 1e9  # numbers in all rows' gradients, which vmap holds at once; above it, only chunks are timed
MINIBATCH, ELBO = 10, {"likelihood_sigma": LIKELIHOOD_SIGMA, "num_data": 500.0}
FIT = {"num_samples": NUM_SAMPLES, "learning_rate": 1e-3}
MOST_APART = 1e-10
MODULES = {"autograd": bnn, "by hand": fast}  # the gradient of the ELBO, by name


def apart(x: np.ndarray, y: np.ndarray) -> float:
    """Largest difference divided by the largest number. Raises RuntimeError above MOST_APART."""
    difference = float(np.max(np.abs(x - y)) / np.max(np.abs(y)))
    if not difference < MOST_APART:
        raise RuntimeError(
            f"results must agree to {MOST_APART:.0e}, got a difference of {difference:.0e}"
        )
    return difference


def report(what: str, p: Problem, here: float, other: float, difference: float) -> None:
    net = "-".join(map(str, p.sizes))
    print(
        f"{what:<42}{net:<12}{1e3 * here:>10.3f}{1e3 * other:>12.3f}{other / here:>8.2f}  {difference:.0e}"
    )


def compare_gains(p: Problem, num_runs: int) -> None:
    num_rows, settings = (
        len(p.inputs),
        {"likelihood_sigma": LIKELIHOOD_SIGMA, "step_size": STEP_SIZE},
    )
    eps = np.random.default_rng(1).normal(size=(NUM_SAMPLES, len(p.q.mu)))

    def other(
        rows: int, chunk_size: int | None = None, loop: bool = False
    ) -> Callable[[], np.ndarray]:
        few = p._replace(inputs=p.inputs[:rows], targets=p.targets[:rows])
        return lambda: torch_twin.gains(
            few, eps, chunk_size=chunk_size, loop=loop, **settings
        )

    trial, _ = median_times(
        {size: other(CHUNK_TRIAL_ROWS, size) for size in CHUNK_SIZES}, 3
    )
    best = min(trial, key=trial.__getitem__)
    runs = {
        "here": lambda: fast.information_gains(
            p.q, p.inputs, p.targets, eps, layer_sizes=p.sizes, **settings
        ),
        f"vmap, chunks of {best}": other(num_rows, best),
        f"loop ({LOOP_ROWS} rows, scaled)": other(LOOP_ROWS, loop=True),
    }
    if 8 * num_rows * eps.size < MOST_VMAP_BYTES:
        runs["vmap as it comes"] = other(num_rows)
    times, results = median_times(runs, num_runs)
    for name in list(runs)[1:]:
        rows = len(results[name])
        difference = apart(results["here"][:rows], results[name])
        report(
            f"gains: {name}",
            p,
            times["here"],
            times[name] * num_rows / rows,
            difference,
        )


def check_gradients(p: Problem, local: bool) -> None:
    """Compare both gradients of the ELBO with PyTorch's on one minibatch."""
    rng = np.random.default_rng(2)
    noise = noise_sampler(local)(rng, NUM_SAMPLES, MINIBATCH, p.sizes)
    rows = p.inputs[:MINIBATCH], p.targets[:MINIBATCH], noise
    for module in MODULES.values():
        gradient = local_or_not(module, "elbo_grad", local)
        here = np.concatenate(
            gradient(p.q, p.prior, *rows, layer_sizes=p.sizes, **ELBO)
        )
        apart(here, torch_twin.Elbo(p, **ELBO).gradient(*rows))


def compare_steps(p: Problem, local: bool, num_updates: int, num_runs: int) -> None:
    def fitted(name: str) -> np.ndarray:
        rng = np.random.default_rng(1)
        rows = rng.integers(len(p.inputs), size=(num_updates, MINIBATCH))
        data = p.q, p.prior, p.inputs[rows], p.targets[rows], rng
        functions = {
            "sample_noise": noise_sampler(local),
            "gradient": local_or_not(MODULES[name], "elbo_grad", local),
        }
        fit = MODULES[name].fit
        q, _ = fit(*data, layer_sizes=p.sizes, **functions, **FIT, **ELBO)
        return np.concatenate([q.mu, q.rho])

    check_gradients(p, local)
    runs: dict[str, Callable[[], np.ndarray]] = {
        "autograd": lambda: fitted("autograd"),
        "by hand": lambda: fitted("by hand"),
        "torch": lambda: torch_twin.Elbo(p, **ELBO).fit(
            p, np.random.default_rng(1), num_updates, MINIBATCH, local=local, **FIT
        ),
    }
    times, results = median_times(runs, num_runs)
    for gradient in MODULES:
        seconds = [times[name] / num_updates for name in (gradient, "torch")]
        what = f"step: {gradient}, noise per {'unit and row' if local else 'weight'}"
        report(what, p, *seconds, apart(results[gradient], results["torch"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Compare gains and ELBO steps with PyTorch."
    )
    parser.add_argument(
        "--rows", type=int, default=5000, help="number of rows for the gains"
    )
    parser.add_argument("--updates", type=int, default=500, help="ELBO steps per run")
    parser.add_argument(
        "--runs", type=int, default=5, help="number of runs for the median"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"numpy {np.__version__}, torch {torch.__version__}, one thread; median of {args.runs} runs"
    )
    print(
        f"gains of {args.rows} rows; steps on minibatches of {MINIBATCH}; {NUM_SAMPLES} samples"
    )
    print(
        f"{'':<42}{'network':<12}{'here, ms':>10}{'torch, ms':>12}{'ratio':>8}  apart"
    )
    for sizes in NETS:
        case = problem(sizes, args.rows)
        compare_gains(case, args.runs)
        for local in (False, True):
            compare_steps(case, local, args.updates, args.runs)

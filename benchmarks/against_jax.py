"""Compare this project's speed with JAX on the same numbers, on one thread of one core, in turn.

Gains: 5000 rows of `information_gains`, Taylor, against jit(vmap(grad)) by `lax.map` with the fastest chunk size.
Exact gains: the same rows with method="exact", against this project's Taylor gains.
Gradient: the ELBO's on a minibatch of 10 rows, against a jitted jax.grad.
Fit: 500 Adam steps against one `lax.scan`. Each draws its rows and its noise, so both times contain a generator's:
NumPy's PCG64 and JAX's threefry. In a second line JAX gets rows and noise beforehand, and only this project draws.
Peak memory: of a process of its own for 5000 gains of the large network, here, in JAX and in PyTorch, each at the chunk
size that is fastest.

All targets count in float64, where results must agree. JAX in float32 is shown for information.
Each line shows both median times, their ratio (above 1: this project is faster), and the largest difference of the
results relative to the largest number. A run of the gradient is 100 calls. Needs jax, and torch for the peak memory:

    pip install jax torch && python benchmarks/against_jax.py
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads
os.environ["XLA_FLAGS"] = (  # before JAX loads
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from common import Problem, median_times, peak_memory, problem

import fast_ref as fast

NETS = (3, 32, 2), (23, 64, 64, 17)
NUM_SAMPLES, LIKELIHOOD_SIGMA = 10, 0.5
GAINS = {"likelihood_sigma": LIKELIHOOD_SIGMA, "step_size": 0.01}
CHUNK_SIZES, CHUNK_TRIAL_ROWS = (8, 16, 32, 64, 128, 256, 512), 1024
MINIBATCH, CALLS = 10, 100
ELBO = {"likelihood_sigma": LIKELIHOOD_SIGMA, "num_data": 500.0}
FIT = {"num_samples": NUM_SAMPLES, "learning_rate": 1e-3}
MOST_APART = {
    "float64": 1e-9,
    "float32": 1e-1,
}  # of float32, any difference that is no mistake
LARGE = NETS[1]


def apart(x: np.ndarray, y: np.ndarray, dtype: str) -> float:
    """Largest difference divided by the largest number. Raises RuntimeError above MOST_APART."""
    difference = float(np.max(np.abs(x - y)) / np.max(np.abs(y)))
    if not difference < MOST_APART[dtype]:
        raise RuntimeError(f"results must agree, got a difference of {difference:.0e}")
    return difference


def report(
    what: str, p: Problem, here: float, other: float, difference: float | None
) -> None:
    net = "-".join(map(str, p.sizes))
    far = "" if difference is None else f"  {difference:.0e}"
    times = f"{1e3 * here:>10.3f}{1e3 * other:>12.3f}{other / here:>8.2f}"
    print(f"{what:<44}{net:<12}{times}{far}", flush=True)


def eps_of(p: Problem) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(NUM_SAMPLES, len(p.q.mu)))


def our_gains(p: Problem, method: str = "taylor") -> Callable[[], np.ndarray]:
    given = (p.q, p.inputs, p.targets, eps_of(p))
    settings = {"layer_sizes": p.sizes, "method": method, **GAINS}
    return partial(fast.information_gains, *given, **settings)


def best_chunk(gains: Callable[[Problem, int], Callable[[], Any]], p: Problem) -> int:
    """The chunk size that is fastest on some of the rows."""
    few = p._replace(
        inputs=p.inputs[:CHUNK_TRIAL_ROWS], targets=p.targets[:CHUNK_TRIAL_ROWS]
    )
    runs = {size: gains(few, size) for size in CHUNK_SIZES}
    median_times(runs, 1)  # compiles
    times, _ = median_times(runs, 3)
    return min(times, key=times.__getitem__)


def jax_gains(dtype: str, p: Problem, chunk_size: int) -> Callable[[], np.ndarray]:
    import jax_twin

    return jax_twin.gains(p, eps_of(p), chunk_size=chunk_size, dtype=dtype, **GAINS)


def torch_gains(p: Problem, chunk_size: int) -> Callable[[], np.ndarray]:
    import torch
    import torch_twin

    torch.set_num_threads(1)
    settings = {"chunk_size": chunk_size, "loop": False, **GAINS}
    return partial(torch_twin.gains, p, eps_of(p), **settings)


def compare_gains(p: Problem, num_runs: int) -> None:
    runs = {"here": our_gains(p), "exact": our_gains(p, "exact")}
    names = {}
    for dtype in MOST_APART:
        chunk_size = best_chunk(partial(jax_gains, dtype), p)
        names[dtype] = f"gains: JAX {dtype}, chunks of {chunk_size}"
        runs[dtype] = jax_gains(dtype, p, chunk_size)
        runs[dtype]()
    times, results = median_times(runs, num_runs)
    for dtype, name in names.items():
        difference = apart(results[dtype], results["here"], dtype)
        report(name, p, times["here"], times[dtype], difference)
    share = times["exact"] / times["here"]
    print(
        f"exact gains {1e3 * times['exact']:.1f} ms, {share:.1f} times the Taylor gains"
    )


def compare_gradients(p: Problem, num_runs: int) -> None:
    import jax_twin

    eps = eps_of(p)
    rows = (p.inputs[:MINIBATCH], p.targets[:MINIBATCH])
    once = {
        dtype: jax_twin.elbo_grad(p, eps, MINIBATCH, dtype=dtype, **ELBO)
        for dtype in MOST_APART
    }
    once["here"] = lambda: np.concatenate(
        fast.elbo_grad(p.q, p.prior, *rows, eps, layer_sizes=p.sizes, **ELBO)
    )

    def repeated(call: Callable[[], np.ndarray]) -> np.ndarray:
        for _ in range(CALLS):
            result = call()
        return result

    runs = {name: partial(repeated, call) for name, call in once.items()}
    median_times(runs, 1)  # compiles
    times, results = median_times(runs, 4 * num_runs)
    for dtype in MOST_APART:
        difference = apart(results[dtype], results["here"], dtype)
        seconds = times["here"] / CALLS, times[dtype] / CALLS
        report(f"gradient: JAX {dtype}", p, *seconds, difference)


def compare_fits(p: Problem, num_updates: int, num_runs: int) -> None:
    import jax_twin

    def rows_and_rng() -> tuple[np.ndarray, np.random.Generator]:
        rng = np.random.default_rng(1)
        return rng.integers(len(p.inputs), size=(num_updates, MINIBATCH)), rng

    def here() -> np.ndarray:
        rows, rng = rows_and_rng()
        given = (p.q, p.prior, p.inputs[rows], p.targets[rows], rng)
        q, _ = fast.fit(*given, layer_sizes=p.sizes, **FIT, **ELBO)
        return np.concatenate([q.mu, q.rho])

    rows, rng = rows_and_rng()
    eps = rng.standard_normal((num_updates, NUM_SAMPLES, len(p.q.mu)))
    settings = {"num_updates": num_updates, "batch_size": MINIBATCH, **FIT, **ELBO}
    runs = {"here": here}
    for dtype in MOST_APART:
        draws = jax_twin.fit(p, dtype=dtype, **settings)
        runs[f"fit: JAX {dtype}"] = draws
        given = jax_twin.fit(p, dtype=dtype, noise=(rows, eps), **settings)
        runs[f"fit: JAX {dtype}, noise given"] = given
    median_times(runs, 1)  # compiles
    times, results = median_times(runs, num_runs)
    for name in list(runs)[1:]:
        dtype = name.split()[2].removesuffix(",")
        same = "given" in name  # rows and noise
        difference = apart(results[name], results["here"], dtype) if same else None
        report(name, p, times["here"], times[name], difference)


def peak(contestant: str, num_rows: int) -> None:
    """Print the most memory of this process, before the gains and with them."""
    name, _, chunk_size = contestant.partition(":")
    p = problem(LARGE, num_rows)
    makers: dict[str, Callable[[], Callable[[], Any]]] = {
        "here": lambda: our_gains(p),
        "JAX": lambda: jax_gains("float64", p, int(chunk_size)),
        "torch": lambda: torch_gains(p, int(chunk_size)),
    }
    run = makers[name]()
    before = peak_memory()
    run()
    after = peak_memory()
    print(
        f"peak memory, {contestant:<30}{after:>10.0f} MB, {after - before:.0f} of them by the gains"
    )


def compare_peaks(num_rows: int) -> None:
    p = problem(LARGE, num_rows)
    sizes = {
        "JAX": best_chunk(partial(jax_gains, "float64"), p),
        "torch": best_chunk(torch_gains, p),
    }
    for name in ("here", *(f"{name}:{size}" for name, size in sizes.items())):
        command = [sys.executable, __file__, "--rows", str(num_rows), "--peak", name]
        subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Compare gains, gradients and fits with JAX."
    )
    parser.add_argument("--rows", type=int, default=5000, help="rows for the gains")
    parser.add_argument("--updates", type=int, default=500, help="Adam steps of a fit")
    parser.add_argument("--runs", type=int, default=7, help="runs for the median")
    parser.add_argument("--core", type=int, default=0, help="the processor's core")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.core})
    if args.peak != "here":
        import jax

        jax.config.update("jax_enable_x64", True)
    if args.peak:
        return peak(args.peak, args.rows)
    print(f"numpy {np.__version__}, jax {jax.__version__}, one thread on one core")
    print(f"median of {args.runs} runs; {NUM_SAMPLES} samples; {args.rows} gains;")
    print(f"minibatches of {MINIBATCH}; {args.updates} steps of a fit")
    print(f"{'':<44}{'network':<12}{'here, ms':>10}{'JAX, ms':>12}{'ratio':>8}  apart")
    for sizes in NETS:
        p = problem(sizes, args.rows)
        compare_gains(p, args.runs)
        compare_gradients(p, args.runs)
        compare_fits(p, args.updates, args.runs)
    return compare_peaks(args.rows)


if __name__ == "__main__":
    main()

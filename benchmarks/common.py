"""Shared parts of the benchmarks: a posterior with data, and median times of alternating runs."""

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bnn_ref as bnn

Sizes = tuple[int, ...]


class Problem(NamedTuple):
    """A posterior, a prior, and rows with targets."""

    sizes: Sizes
    q: bnn.DiagNormal
    prior: bnn.DiagNormal
    inputs: np.ndarray  # (N, I)
    targets: np.ndarray  # (N, O)


def problem(sizes: Sizes, num_rows: int) -> Problem:
    rng = np.random.default_rng(0)
    size = bnn.num_weights(sizes)
    rho = bnn.softplus_inverse(np.full(size, 0.5))
    q, prior = (
        bnn.DiagNormal(rng.normal(size=size) * 0.3, rho),
        bnn.DiagNormal(np.zeros(size), rho),
    )
    return Problem(
        sizes,
        q,
        prior,
        rng.normal(size=(num_rows, sizes[0])),
        rng.normal(size=(num_rows, sizes[-1])),
    )


def peak_memory() -> float:
    """The most memory that this process had, in MB. Linux; a parent's memory does not count."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def noise_sampler(local: bool) -> Callable[..., Any]:
    """The noise, per unit and row, or per weight."""
    return bnn.sample_zeta if local else bnn.sample_eps


def local_or_not(module: Any, name: str, local: bool) -> Any:
    """The module's function with this name, or its form under local reparameterization."""
    return getattr(module, f"{name}_local" if local else name)


def median_times(
    runs: Mapping[Any, Callable[[], Any]], num_runs: int
) -> tuple[dict[Any, float], dict[Any, Any]]:
    """Each function's median seconds, run in turn, and its last result."""
    times: dict[Any, list[float]] = {name: [] for name in runs}
    results = {}
    for _ in range(num_runs):
        for name, run in runs.items():
            start = time.perf_counter()
            results[name] = run()
            times[name].append(time.perf_counter() - start)
    return {
        name: statistics.median(seconds) for name, seconds in times.items()
    }, results

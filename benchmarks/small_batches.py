"""Measure the bonus where a step's reward is due at once: few rows, a full pool, wide observations.

    python benchmarks/small_batches.py

Median times on one thread, and the most memory of a separate process for the wide observations.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from common import peak_memory
from gymnasium.spaces import Box

import bnn_ref as bnn
import fast_ref as fast
import vime_ref as vime
from vime_gym.pools import RingPool

CAPACITY = 100_000
SPACE = Box(-1.0, 1.0, (1,), dtype=np.float64)
FAST = vime.VimeSettings(fit=fast.fit, gains=fast.information_gains)


def rows_of(rng: np.random.Generator, num_rows: int, width: int) -> tuple[Any, ...]:
    shapes = (num_rows, width), (num_rows, 1), (num_rows, width)
    return tuple(rng.normal(size=shape) for shape in shapes)


def batch_of(rng: np.random.Generator, num_rows: int, width: int) -> vime.Batch:
    observations, actions, following = rows_of(rng, num_rows, width)
    flags = np.zeros(num_rows, dtype=bool)
    rewards = np.zeros(num_rows)
    return vime.Batch(observations, actions, rewards, following, flags, flags)


def microseconds(call: Callable[[], Any], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times) * 1e6


def reward_time(runs: int, num_rows: int) -> float:
    """One call of `Vime.reward` with the network 3-32-2 and 10 samples."""
    rng = np.random.default_rng(0)
    bonus = vime.vime_init(2, SPACE, rng, replace(FAST, num_updates=1))
    bonus = bonus.update(batch_of(rng, 1000, 2), rng)
    batch = batch_of(rng, num_rows, 2)
    return microseconds(lambda: bonus.reward(batch, rng), runs)


def parts_of_reward(runs: int, num_rows: int) -> dict[str, float]:
    """The parts of such a call, each by itself; the last contains the one before."""
    rng = np.random.default_rng(0)
    bonus = vime.vime_init(2, SPACE, rng, replace(FAST, num_updates=1))
    bonus = bonus.update(batch_of(rng, 1000, 2), rng)
    batch = batch_of(rng, num_rows, 2)
    rows = bonus.model_rows(batch)
    x, y = bonus.normalized(*rows)
    sizes = bonus.layer_sizes
    noise = bnn.sample_eps(rng, 10, num_rows, sizes)
    sigma, rate = bonus.settings.likelihood_sigma, bonus.settings.step_size
    model = {"layer_sizes": sizes, "likelihood_sigma": sigma, "step_size": rate}
    calls: dict[str, Callable[[], Any]] = {
        "check the batch, encode the actions": lambda: bonus.model_rows(batch),
        "divide by the pool's spread": lambda: bonus.normalized(*rows),
        "draw the noise": lambda: bnn.sample_eps(rng, 10, num_rows, sizes),
        "checks of the gains": lambda: fast.check_gains(
            bonus.q, x, y, sizes, sigma, rate, "taylor"
        ),
        "the gains, with these checks": lambda: fast.information_gains(
            bonus.q, x, y, noise, **model
        ),
    }
    return {name: microseconds(call, runs) for name, call in calls.items()}


def pool_time(kind: type[vime.ReplayPool], runs: int, width: int = 2) -> list[float]:
    """One row into a full pool, and its statistics afterwards."""
    rng = np.random.default_rng(0)
    pools = [kind(CAPACITY, *rows_of(rng, CAPACITY, width))]
    row = rows_of(rng, 1, width)

    def extend() -> None:
        pools[0] = pools[0].extend(*row)

    adding = microseconds(extend, runs)
    return [adding, microseconds(lambda: pools[0].moments(), runs)]


def wide(num_updates: int) -> None:
    """Print seconds and megabytes of an update and a reward of 512 rows with 4000 dimensions."""
    rng = np.random.default_rng(0)
    settings = replace(FAST, num_updates=num_updates)
    bonus = vime.vime_init(4000, SPACE, rng, settings)
    batch = batch_of(rng, 512, 4000)
    start = time.perf_counter()
    bonus = bonus.update(batch, rng)
    updated = time.perf_counter()
    bonus.reward(batch, rng)
    done = time.perf_counter()
    peak = peak_memory()
    print(
        f"reward {done - updated:.1f} s, {num_updates} Adam steps {updated - start:.1f} s, peak {peak:.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the bonus for small batches.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--wide", type=int, metavar="UPDATES")
    args = parser.parse_args()
    if args.wide is not None:
        return wide(args.wide)

    for num_rows in (1, 16):
        print(
            f"reward of {num_rows:>2} rows, 3-32-2, 10 samples  {reward_time(args.runs, num_rows):>10.0f} µs"
        )
    for name, part in parts_of_reward(args.runs, 16).items():
        print(f"    {name:<38}{part:>10.0f} µs")
    for kind, runs in ((vime.ReplayPool, 10), (RingPool, args.runs)):
        adding, statistics = pool_time(kind, runs)
        print(f"{kind.__name__:<10} of 100 000: add a row      {adding:>10.0f} µs")
        print(f"{kind.__name__:<10} of 100 000: statistics     {statistics:>10.0f} µs")
    print("512 rows of 4000 dimensions: ", end="", flush=True)
    subprocess.run([sys.executable, __file__, "--wide", "10"], check=True)
    return None


if __name__ == "__main__":
    main()

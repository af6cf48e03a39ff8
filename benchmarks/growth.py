"""Measure how the time of gains and of a training step grows with rows, width, samples and number of weights.

    python benchmarks/growth.py growth.png

Each curve varies one size and keeps the others at the base. Its slope is in the legend and in the printed table: the
slope of a least-squares line on log-log axes through the larger half of the points, which overhead does not dominate.
Dashed lines are theory, with the slope over the same points. Theory is linear, except for gains in samples, which need
S(S + 1)/2 pairs at most: the cheaper of two orders of summation is taken. Needs matplotlib.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from common import Problem, Sizes, local_or_not, median_times, noise_sampler, problem

import bnn_ref as bnn
import fast_ref as fast

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

ROWS, MINIBATCH, SAMPLES, SIZES = 1000, 10, 10, (16, 64, 64, 16)
LIKELIHOOD_SIGMA, UPDATES = 0.5, 20
CURVES = "gains, noise per weight", "gains, noise per unit and row", "training step"


def gains_of(p: Problem, num_samples: int, *, local: bool) -> Callable[[], Any]:
    rng = np.random.default_rng(1)
    noise = noise_sampler(local)(rng, num_samples, len(p.inputs), p.sizes)
    gains = local_or_not(fast, "information_gains", local)
    settings = {
        "layer_sizes": p.sizes,
        "likelihood_sigma": LIKELIHOOD_SIGMA,
        "step_size": 0.01,
    }
    return lambda: gains(p.q, p.inputs, p.targets, noise, **settings)


def steps_of(p: Problem, num_samples: int, minibatch: int) -> Callable[[], Any]:
    settings = {
        "layer_sizes": p.sizes,
        "likelihood_sigma": LIKELIHOOD_SIGMA,
        "num_data": 500.0,
    }
    rows = np.random.default_rng(1).integers(len(p.inputs), size=(UPDATES, minibatch))
    return lambda: fast.fit(
        p.q, p.prior, p.inputs[rows], p.targets[rows], np.random.default_rng(1),
        num_samples=num_samples, learning_rate=1e-3, **settings,
    )  # fmt: skip


def seconds(num_runs: int, *, rows: int = ROWS, minibatch: int = MINIBATCH, samples: int = SAMPLES,
            sizes: Sizes = SIZES) -> list[float]:  # fmt: skip
    """Median seconds of one call to each of CURVES."""
    p = problem(sizes, rows)
    runs = [
        gains_of(p, samples, local=False),
        gains_of(p, samples, local=True),
        steps_of(p, samples, minibatch),
    ]
    times, _ = median_times(dict(zip(CURVES, runs)), num_runs)
    times[CURVES[2]] /= UPDATES
    return list(times.values())


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    half = len(x) // 2
    return float(np.polyfit(np.log(x[half:]), np.log(y[half:]), 1)[0])


def pairs(samples: np.ndarray) -> np.ndarray:
    return samples * (samples + 1) / 2


def grown(factor: int) -> dict[str, tuple[list[int], list[dict[str, Any]]]]:
    """For each panel, the values on its axis and the arguments of `seconds`."""
    doubled = [2**k for k in range(factor)]
    widths = [(16, 16 * k, 16) for k in doubled]
    depths = [(16, *(64,) * k, 16) for k in doubled[:5]]
    return {
        "rows (a training step: minibatch / 10)": (
            [100 * k for k in doubled],
            [{"rows": 100 * k, "minibatch": 10 * k} for k in doubled],
        ),
        "width of one hidden layer": (
            [s[1] for s in widths],
            [{"sizes": s} for s in widths],
        ),
        "samples": (doubled[:6], [{"samples": k} for k in doubled[:6]]),
        "weights (1 to 16 hidden layers of 64)": (
            [bnn.num_weights(s) for s in depths],
            [{"sizes": s} for s in depths],
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure the growth of time with rows, width, samples and weights."
    )
    parser.add_argument("picture", nargs="?", default="growth.png")
    parser.add_argument(
        "--runs", type=int, default=5, help="number of runs for the median"
    )
    parser.add_argument(
        "--doublings",
        type=int,
        default=8,
        help="number of points on the longest curves",
    )
    args = parser.parse_args()
    figure, panels = plt.subplots(
        2, 2, figsize=(9.5, 9), sharey=True, layout="constrained"
    )
    print(f"{'':<40}{'':<32}{'slope':>8}{'theory':>8}")
    for panel, (axis, (x, given)) in zip(panels.flat, grown(args.doublings).items()):
        times = np.array([seconds(args.runs, **settings) for settings in given])
        for curve, y in zip(CURVES, times.T):
            by_pairs = axis == "samples" and curve != CURVES[2]
            theory = pairs(np.array(x)) if by_pairs else np.array(x, dtype=float)
            (points,) = panel.loglog(x, y, "o-", label=f"{curve}: {slope(x, y):.2f}")
            panel.loglog(
                x,
                theory * y[-1] / theory[-1],
                "--",
                color=points.get_color(),
                alpha=0.5,
            )
            print(f"{axis:<40}{curve:<32}{slope(x, y):>8.2f}{slope(x, theory):>8.2f}")
        panel.set(xlabel=axis)
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.legend(title="slope", fontsize="small")
        panel.grid(alpha=0.3)
    figure.supylabel("seconds (one thread; dashed: theory)")
    figure.savefig(args.picture, dpi=120)


if __name__ == "__main__":
    main()

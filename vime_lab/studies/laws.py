"""Laws that studies of explorers compare with: UCB-1's bound, and growth of episodes.

Sources: [UCB] Auer, Cesa-Bianchi and Fischer 2002, "Finite-time Analysis of the
Multiarmed Bandit Problem".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bnn_ref import Array
from vime_lecture.strategies import check_values

# ---------------------------------------------------------------- constants

FEWEST_SIZES = 3  # sizes needed to fit growth; two always lie on a line

# ---------------------------------------------------------------- regret


def ucb1_bound(means: ArrayLike, pulls: ArrayLike) -> Array:
    """Upper bound on UCB-1's expected regret after t pulls.

        8 Σ_{Δ_a > 0} ln t/Δ_a + (1 + π²/3) Σ_a Δ_a with Δ_a = μ* − μ_a

    means: μ (A,) of rewards in [0, 1]. pulls: t ≥ 1; the bound has its shape.
    Raises ValueError if a mean is not in [0, 1] or a t is below 1.
    Source: [UCB] Theorem 1.

    >>> ucb1_bound([0.0, 0.5], [1]).round(3)
    array([2.145])
    """
    means = check_values("means", means)
    pulls = np.asarray(pulls, dtype=float)
    check_bandit(means, pulls)
    gaps = np.max(means) - means  # (A,)
    growing = 8.0 * np.sum(1.0 / gaps[gaps > 0]) * np.log(pulls)
    constant = (1.0 + math.pi**2 / 3.0) * np.sum(gaps)
    return growing + constant


# ---------------------------------------------------------------- growth


class Growth(NamedTuple):
    """Two fitted laws for the number of episodes n at size N.

    n ∝ 2^(doublings·N), and n ∝ N^power.
    """

    doublings: float
    power: float
    exponential: bool  # whether the first law fits better


def fitted_growth(sizes: ArrayLike, episodes: ArrayLike) -> Growth:
    """Least-squares fits of log₂ n against N and against log₂ N.

    The fit with the smaller sum of squares is the better one. Sizes N and numbers of
    episodes n are both (m,) and > 0.
    Raises ValueError unless m ≥ 3 and all are > 0.

    >>> fitted_growth([6, 8, 10, 12], [64, 256, 1024, 4096])[::2]
    (1.0, True)
    """
    x = check_values("sizes", sizes)
    n = check_values("episodes", episodes)
    check_growth(x, n)
    exponential, doublings = fitted_line(x, np.log2(n))
    powered, power = fitted_line(np.log2(x), np.log2(n))
    return Growth(round(doublings, 9), round(power, 9), exponential < powered)


def fitted_line(x: Array, y: Array) -> tuple[float, float]:
    """The residual sum of squares of a least-squares line, and its slope."""
    line = np.polyfit(x, y, 1)
    left = np.sum((np.polyval(line, x) - y) ** 2)
    return float(left), float(line[0])


# ---------------------------------------------------------------- argument checks


def check_bandit(means: Array, pulls: Array) -> None:
    if np.any((means < 0) | (means > 1)):
        found = f"{np.min(means)} to {np.max(means)}"
        raise ValueError(f"means must be from 0 to 1, got {found}")
    if not np.all(pulls >= 1):
        raise ValueError(f"pulls must be >= 1, got {np.min(pulls)}")


def check_growth(sizes: Array, episodes: Array) -> None:
    short = len(sizes) < FEWEST_SIZES or len(sizes) != len(episodes)
    if short or min(sizes.min(), episodes.min()) <= 0:
        wanted = f"{FEWEST_SIZES} or more numbers > 0 each"
        raise ValueError(
            f"sizes and episodes must be {wanted}, got {sizes} and {episodes}"
        )


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

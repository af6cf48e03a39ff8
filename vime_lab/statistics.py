"""Statistics over seeds, from the rows of learning curves.

An experiment writes one row per iteration of each seed. This module does not depend on
how rows are made. `rows` always belong to one task. nan is a missing number. A curve is
the rows of one setting and bonus.

Sources:
[Agarwal] Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", arXiv 2108.13264, for ways to compare agents on few seeds: the interquartile
mean, the bootstrap over seeds and the probability of improvement.
[Clopper] Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated
in the case of the binomial", Biometrika 26, for the bound on a probability after
successes in all trials.
[VIME] Houthooft et al. 2016, arXiv 1605.09674, which draws quartiles over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bnn_ref import (
    Array,
    any_array,
    check_array,
    check_count,
    check_function,
    check_shape,
)
from vime_lab.rows import Row

# ---------------------------------------------------------------- constants

RESAMPLES = 2000  # 50 resamples beyond each end of a 95 % interval
LEVEL = 0.95

# ---------------------------------------------------------------- types

Key = tuple[str, str]  # setting and bonus: a curve

# ---------------------------------------------------------------- rows


def by_curve(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """The rows of each setting and bonus, in order of first appearance.

    Curves of one setting are adjacent.
    Raises ValueError if there is no row.
    """
    groups: dict[Key, list[Row]] = {}
    for row in check_columns_of(rows, "setting", "bonus"):
        groups.setdefault((row["setting"], row["bonus"]), []).append(row)
    if not groups:
        raise ValueError("rows must hold at least one row, got none")
    settings = dict.fromkeys(setting for setting, _ in groups)
    return {
        key: groups[key] for setting in settings for key in groups if key[0] == setting
    }


def runs(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Each seed's rows, with seeds and iterations in order."""
    groups: dict[int, list[Row]] = {}
    listed = check_columns_of(rows, "seed", "iteration")
    for row in sorted(listed, key=lambda row: (row["seed"], row["iteration"])):
        groups.setdefault(row["seed"], []).append(row)
    return groups


def seed_table(
    rows: Sequence[Row], column: str, axis: str = "steps"
) -> tuple[Array, Array]:
    """A column of one curve: its positions (n,) on the axis, and values (seeds, n).

    Iterations of several seeds stand together, at the mean of their positions, or at the
    iteration before if that is further.
    A missing value is nan.
    """
    rows = check_columns_of(rows, "seed")
    check_column("axis", axis, rows)
    check_column("column", column, rows)
    iterations: list[Any] = [row.get("iteration", row[axis]) for row in rows]
    _, where, counts = np.unique(iterations, return_inverse=True, return_counts=True)
    places = [float(row[axis]) for row in rows]
    positions = np.maximum.accumulate(np.bincount(where, places) / counts)
    seeds, who = np.unique([row["seed"] for row in rows], return_inverse=True)
    values = np.full((len(seeds), len(positions)), np.nan)
    values[who, where] = [row[column] for row in rows]
    return positions, values


def trailing_means(values: ArrayLike, window: int) -> Array:
    """Each row's mean of the known values among the last `window`; nan if there is none.

    values (seeds, n) -> (seeds, n). The first windows are shorter.

    >>> trailing_means([[1.0, 3.0, np.nan, 5.0]], window=2)
    array([[1., 2., 3., 5.]])
    """
    values = check_known(values)
    width = check_count("window", window)
    known = np.isfinite(values)
    sums = np.cumsum(np.where(known, values, 0.0), axis=1)  # (seeds, n)
    counts = np.cumsum(known, axis=1)  # (seeds, n)
    for totals in (sums, counts):
        totals[:, width:] -= totals[:, :-width].copy()
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)


def final_returns(rows: Iterable[Row], bonus: str, setting: str = "") -> Array:
    """Each seed's mean of `return_mean` over the last max(1, n // 10) of n iterations.

    Iterations in which no episode ended are left out; a seed without any other gives nan.
    An incomplete run counts with its own last tenth. Shape (seeds,).
    Raises ValueError if there is no row of this bonus and setting.
    """
    key = (bonus, setting)
    listed = check_columns_of(rows, "bonus", "setting", "return_mean")
    mine = runs(row for row in listed if (row["bonus"], row["setting"]) == key)
    if not mine:
        wanted = f"bonus {bonus!r} with setting {setting!r}"
        raise ValueError(f"rows must hold {wanted}, got none")
    return np.array([final_return(run) for run in mine.values()])


def finals_of(groups: dict[Key, list[Row]]) -> dict[Key, Array]:
    return {key: final_returns(mine, key[1], key[0]) for key, mine in groups.items()}


def last_tenth(run: Sequence[Row]) -> Sequence[Row]:
    """The last max(1, n // 10) of a run's n rows."""
    return run[-max(1, len(run) // 10) :]


def final_return(run: Sequence[Row]) -> float:
    returns = [row["return_mean"] for row in last_tenth(run)]
    ended = [value for value in returns if not math.isnan(value)]
    return float(np.mean(ended)) if ended else math.nan


# ---------------------------------------------------------------- statistics


def quartiles(values: ArrayLike) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile of (n,) values, by linear interpolation."""
    sample = check_one_axis("values", values)
    low, median, high = np.quantile(sample, [0.25, 0.5, 0.75])
    return float(low), float(median), float(high)


def interquartile_mean(values: ArrayLike, axis: int = 0) -> Any:
    """Mean of n values without the ⌊n/4⌋ smallest and the ⌊n/4⌋ largest. [Agarwal]

    >>> float(interquartile_mean([0.0, 1.0, 2.0, 100.0]))
    1.5
    """
    sample = check_sample("values", values)
    axis = check_count("axis", axis, minimum=-sample.ndim)
    if axis >= sample.ndim:
        raise ValueError(f"axis must be an axis of {sample.shape}, got {axis}")
    from scipy import stats  # a run's own process needs none of it

    return stats.trim_mean(sample, 0.25, axis=axis)


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., Any],
    level: float = LEVEL,
    *,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Percentile bootstrap interval of `statistic(values, axis=)` over the seeds.

    values: (n,) or (n, m), seeds first. Returns low and high, scalars or (m,).

    Resamples n seeds with replacement, RESAMPLES times, from
    `numpy.random.default_rng(seed)`, with the same draws in each column. nan for one seed
    or equal values, because they do not show how seeds differ.
    """
    array = check_sample("values", values)
    level = check_level(level)
    seed = check_count("seed", seed, minimum=0)
    check_function("statistic", statistic)
    if len(array) == 1:
        nothing = np.full(array.shape[1:], np.nan)
        return nothing[()], nothing[()]
    low, high = percentile_interval((array,), statistic, level, seed)
    differ = low < high
    return np.where(differ, low, np.nan)[()], np.where(differ, high, np.nan)[()]


def percentile_interval(
    samples: Sequence[Array], statistic: Callable[..., Any], level: float, seed: int
) -> tuple[Any, Any]:
    """`scipy.stats.bootstrap`, which resamples each sample independently."""
    from scipy import stats

    found = stats.bootstrap(
        samples,
        statistic,
        axis=0,
        vectorized=True,
        method="percentile",
        confidence_level=level,
        n_resamples=RESAMPLES,
        batch=100,
        rng=np.random.default_rng(seed),
    )
    return found.confidence_interval.low, found.confidence_interval.high


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """Probability of improvement, over all pairs of a seed of x (n,) and a seed of y (m,).

        P(X > Y) + ½ P(X = Y)

    Source: [Agarwal].

    >>> probability_of_improvement([1.0, 2.0], [0.0, 2.0])
    0.625
    """
    return float(share_of_pairs(check_one_axis("x", x), check_one_axis("y", y)))


def share_of_pairs(x: Array, y: Array, axis: int = -1) -> Any:
    x = np.moveaxis(x, axis, -1)[..., :, None]  # (..., n, 1)
    y = np.moveaxis(y, axis, -1)[..., None, :]  # (..., 1, m)
    return ((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1))  # (...)


def improvement_interval(
    x: ArrayLike, y: ArrayLike, level: float = LEVEL, *, seed: int = 0
) -> tuple[float, float]:
    """Interval of `probability_of_improvement`: a bootstrap interval, widened.

    The seeds of x and of y are resampled independently. If x wins in all pairs, it wins
    in every resample, and the bootstrap has no width. An exact bound remains. If one pair
    is won with probability p, all pairs are won with probability p^k at most, because
    k = min(n, m) of them share no seed. So p ≥ ((1 − level)/2)^(1/k) [Clopper]. No larger
    bound holds for all distributions: p^k is reached if the larger side's seeds are equal.

    Let s be the share of pairs won. The interval reaches at least from s·bound to
    1 − (1 − s)·bound, so a lost pair never makes it narrower. nan with fewer than two
    seeds on a side.
    """
    x = check_one_axis("x", x)
    y = check_one_axis("y", y)
    level = check_level(level)
    seed = check_count("seed", seed, minimum=0)
    fewest = min(len(x), len(y))
    if fewest < 2:
        return math.nan, math.nan

    # the bootstrap
    low, high = percentile_interval((x, y), share_of_pairs, level, seed)

    # the least that the exact bound allows
    share = share_of_pairs(x, y)
    bound = ((1.0 - level) / 2.0) ** (1.0 / fewest)

    lowest = min(low, share * bound)
    highest = max(high, 1.0 - (1.0 - share) * bound)
    return float(lowest), float(highest)


def improvement_with_ends(x: ArrayLike, y: ArrayLike) -> tuple[float, float, float]:
    """Low end, `probability_of_improvement`, high end of the `improvement_interval`."""
    low, high = improvement_interval(x, y)
    return low, probability_of_improvement(x, y), high


def band(values: Array, statistic: Callable[[Array], Any]) -> Array:
    """Low, middle and high (3, n) of each column, by `statistic`, (seeds, m) -> 3 rows (m,).

    Missing values are ignored; a column without numbers gives nan. With one number, the
    middle is that number, and the ends are nan, because they would claim certainty.
    """
    values = check_band(values, statistic)
    ordered = np.sort(values, axis=0)  # nan last
    counts = np.isfinite(values).sum(axis=0)  # (n,)
    rows = np.full((3, values.shape[1]), np.nan)
    for count in np.unique(counts[counts > 0]):
        rows[:, counts == count] = statistic(ordered[:count, counts == count])
    rows[::2, counts < 2] = np.nan
    return rows


def quartile_band(values: Array) -> Array:
    return np.asarray(np.quantile(values, [0.25, 0.5, 0.75], axis=0))  # (3, m)


def interquartile_mean_band(values: Array) -> Array:
    low, high = bootstrap_interval(values, interquartile_mean)
    return np.stack([low, interquartile_mean(values), high])  # (3, m)


STATISTICS = {
    "median and quartiles": quartile_band,
    "interquartile mean, 95 % interval": interquartile_mean_band,
}

# ---------------------------------------------------------------- argument checks


def check_sample(name: str, values: ArrayLike) -> Array:
    """The values as an array with the seeds first."""
    array = check_array(name, values)
    if array.ndim == 0 or len(array) == 0:
        wanted = "finite numbers of at least one seed"
        raise ValueError(f"{name} must be {wanted}, got {values!r}")
    return array


def check_one_axis(name: str, values: ArrayLike) -> Array:
    """The values of the seeds, (n,)."""
    array = check_sample(name, values)
    check_shape(name, array, (None,))
    return array


def check_level(level: Any) -> float:
    """A confidence level between 0 and 1, such as 0.95."""
    number = float(check_array("level", level, ()))
    if not 0.0 < number < 1.0:
        raise ValueError(f"level must be between 0 and 1, such as 0.95, got {level}")
    return number


def check_columns_of(rows: Any, *columns: str) -> list[Row]:
    """The rows as a list, each with these columns."""
    listed = [*rows] if isinstance(rows, Iterable) else [rows]
    for row in listed:
        if not isinstance(row, dict) or not set(columns) <= set(row):
            wanted = f"rows must be dicts with the columns {', '.join(columns)}"
            raise ValueError(f"{wanted}, got {row!r:.80}")
    return listed


def check_column(name: str, column: str, rows: Sequence[Row]) -> None:
    if not isinstance(column, str) or any(column not in row for row in rows):
        raise ValueError(f"{name} must be a column of rows, got {column!r}")


def check_band(values: Any, statistic: Any) -> Array:
    check_function("statistic", statistic)
    return check_known(values)


def check_known(values: Any) -> Array:
    """The values (seeds, m) as an array; nan is a missing number."""
    given = any_array(values)
    if given.dtype.kind != "f":
        given = check_array("values", values)
    missing = np.isnan(given)
    array = check_array("values", np.where(missing, 0.0, given), (None, None))
    check_count("values of a column", len(array))
    return np.where(missing, np.nan, array)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Statistics over seeds and tables of experiments, from the rows of their learning curves.

A run of an experiment leaves one row for each iteration of each seed. This module reads such rows and knows
nothing of what made them. `rows` are always those of one task; nan stands where there is no number, a curve is
the rows of one setting and bonus.

Sources: the interquartile mean, the bootstrap over seeds and the probability of improvement as ways to compare
agents on few seeds are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", arXiv 2108.13264; the bound on a share that is 1 in every trial is that of Clopper and Pearson 1934,
"The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26. Quartiles over
seeds are what Houthooft et al. 2016, arXiv 1605.09674, draws.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from vime_lab.runs import COLUMNS, COUNTS, NUMBERS

# ---------------------------------------------------------------- constants

PARTS = (
    "sampling",
    "gains",
    "policy",
    "model",
    "other",
)  # of an iteration, each with a column of seconds
LABELS = {"vime": "TRPO + VIME", "l2": "TRPO + L2 error", "none": "TRPO"}
DEFAULTS = "as the task has it"  # the name of the setting ""
RESAMPLES = 2000  # the ends of a 95 % interval then rest on 50 resamples each
LEVEL = 0.95

# ---------------------------------------------------------------- types

Array = NDArray[np.float64]
Row = dict[str, Any]
Key = tuple[str, str]  # setting and bonus: a curve

# ---------------------------------------------------------------- rows


def read_curve(path: Path | str) -> list[Row]:
    """The rows of a learning curve's file; `ValueError` names the file and what is wrong with it.

    Columns of other names are kept as text.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no CSV file: {error}") from error
    if not lines:
        raise ValueError(f"{path}: holds no rows")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ValueError(f"{path}: columns missing: {', '.join(missing)}")
    rows = []
    for place, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise ValueError(
                f"{path}: row {place} must have {len(header)} cells, got {len(line)}"
            )
        rows.append(
            {
                name: typed(name, cell, f"{path}: row {place}")
                for name, cell in zip(header, line)
            }
        )
    check_rows(rows, path)
    return rows


def typed(name: str, cell: str, where: str) -> str | int | float:
    """A cell's value; infinity is refused, for no statistic could be drawn from it."""
    if name in COUNTS:
        if not cell.isdecimal():
            raise ValueError(f"{where}: {name} must be a whole number, got {cell!r}")
        return int(cell)
    if name not in NUMBERS:
        return cell
    try:
        number = float(cell)
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise ValueError(
            f"{where}: {name} must be a finite number or nan, got {cell!r}"
        )
    return number


def check_rows(rows: Sequence[Row], path: Path | str) -> None:
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    if len(tasks) > 1:
        raise ValueError(f"{path}: must be of one task, got {', '.join(tasks)}")
    seen = set()
    for row in rows:
        name = (row["bonus"], row["setting"], row["seed"], row["iteration"])
        if name in seen:
            raise ValueError(
                f"{path}: iteration {name[3]} of bonus {name[0]!r}, seed {name[2]} must come once"
            )
        seen.add(name)


def by_curve(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """The rows of each setting and bonus, in the order they first appear, the curves of a setting together.

    `ValueError` if there is no row.
    """
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((row["setting"], row["bonus"]), []).append(row)
    if not groups:
        raise ValueError("rows must hold at least one row, got none")
    settings = dict.fromkeys(setting for setting, _ in groups)
    return {
        key: groups[key] for setting in settings for key in groups if key[0] == setting
    }


def runs(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """The rows of each seed, seeds and iterations in order."""
    groups: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["seed"], row["iteration"])):
        groups.setdefault(row["seed"], []).append(row)
    return groups


def seed_table(
    rows: Sequence[Row], column: str, axis: str = "steps"
) -> tuple[Array, Array]:
    """A column of one curve: positions (n,) on the axis, and values (seeds, n), nan where a seed has none."""
    positions, where = np.unique(
        [float(row[axis]) for row in rows], return_inverse=True
    )
    seeds, who = np.unique([row["seed"] for row in rows], return_inverse=True)
    values = np.full((len(seeds), len(positions)), np.nan)
    values[who, where] = [row[column] for row in rows]
    return positions, values


def final_returns(rows: Iterable[Row], bonus: str, setting: str = "") -> Array:
    """Of each seed the mean of `return_mean` over its last max(1, n // 10) of n iterations, (seeds,).

    An iteration in which no episode ended is left out; a seed that has no other there gives nan. A run that broke
    off counts with its own last tenth. `ValueError` if there is no row of this bonus and setting.
    """
    mine = runs(
        row for row in rows if (row["bonus"], row["setting"]) == (bonus, setting)
    )
    if not mine:
        raise ValueError(
            f"rows must hold bonus {bonus!r} with setting {setting!r}, got none"
        )
    lasts = (
        [row["return_mean"] for row in run[-max(1, len(run) // 10) :]]
        for run in mine.values()
    )
    ended = ([value for value in last if not math.isnan(value)] for last in lasts)
    return np.array([np.mean(values) if values else np.nan for values in ended])


# ---------------------------------------------------------------- statistics


def checked(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=float)
    if array.ndim == 0 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite numbers of at least one seed, got {values!r}"
        )
    return array


def quartiles(values: ArrayLike) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile of (n,) values, by linear interpolation."""
    low, median, high = np.quantile(checked("values", values), [0.25, 0.5, 0.75])
    return float(low), float(median), float(high)


def interquartile_mean(values: ArrayLike, axis: int = 0) -> Any:
    """Mean of what is left when the ⌊n/4⌋ smallest and the ⌊n/4⌋ largest of n values are dropped.

    >>> float(interquartile_mean([0.0, 1.0, 2.0, 100.0]))
    1.5
    """
    return stats.trim_mean(checked("values", values), 0.25, axis=axis)


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., Any],
    level: float = LEVEL,
    *,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Percentile bootstrap interval of `statistic(values, axis=)` over the seeds, the first axis of (n,) or (n, m).

    Returns low and high, scalars or (m,). Seeds are drawn n at a time with replacement, RESAMPLES times, from
    `numpy.random.default_rng(seed)`, the same draws in each column. One seed, like equal values, says nothing of how
    seeds differ: nan.
    """
    array = checked("values", values)
    if len(array) == 1:
        return np.full(array.shape[1:], np.nan)[()], np.full(array.shape[1:], np.nan)[
            ()
        ]
    low, high = percentile_interval((array,), statistic, level, seed)
    return np.where(low < high, low, np.nan)[()], np.where(low < high, high, np.nan)[()]


def percentile_interval(
    samples: Sequence[Array], statistic: Callable[..., Any], level: float, seed: int
) -> tuple[Any, Any]:
    """`scipy.stats.bootstrap`, which resamples each sample on its own."""
    rng = np.random.default_rng(seed)
    found = stats.bootstrap(
        samples, statistic, axis=0, vectorized=True, method="percentile",
        confidence_level=level, n_resamples=RESAMPLES, batch=100, rng=rng,
    )  # fmt: skip
    return found.confidence_interval.low, found.confidence_interval.high


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """P(X > Y) + ½ P(X = Y) over all pairs of a seed of x (n,) and a seed of y (m,).

    >>> probability_of_improvement([1.0, 2.0], [0.0, 2.0])
    0.625
    """
    return float(share_of_pairs(checked("x", x), checked("y", y)))


def share_of_pairs(x: Array, y: Array, axis: int = -1) -> Any:
    x, y = (
        np.moveaxis(x, axis, -1)[..., :, None],
        np.moveaxis(y, axis, -1)[..., None, :],
    )
    return ((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1))  # (..., n, m) -> (...)


def improvement_interval(
    x: ArrayLike, y: ArrayLike, level: float = LEVEL, *, seed: int = 0
) -> tuple[float, float]:
    """Interval of `probability_of_improvement`: bootstrap, the seeds of x and of y resampled apart, and widened.

    Where all pairs agree, so does every resample. But if one pair agrees with probability p, all do with p^k at most,
    for k = min(n, m) of them share no seed; so p ≥ ((1 − level)/2)^(1/k), the exact bound of Clopper and Pearson. No
    larger one holds for all distributions: p^k is reached where the seeds of the larger side are equal. With s the
    share, the interval goes down to s times the bound and up to 1 − (1 − s) times it, at least, so that a lost pair
    never makes it narrower than none. nan with fewer than two seeds on a side.
    """
    x, y = checked("x", x), checked("y", y)
    fewest = min(len(x), len(y))
    if fewest < 2:
        return math.nan, math.nan
    low, high = percentile_interval((x, y), share_of_pairs, level, seed)
    share, bound = share_of_pairs(x, y), ((1.0 - level) / 2.0) ** (1.0 / fewest)
    return float(min(low, share * bound)), float(max(high, 1.0 - (1.0 - share) * bound))


def band(values: Array, statistic: Callable[[Array], Any]) -> Array:
    """`statistic`, (seeds, m) to three rows of m, of the numbers in each column: (3, n), nan where there are none.

    One number is the middle row; the ends, which would claim certainty, are nan.
    """
    ordered = np.sort(values, axis=0)  # nan last
    counts = np.isfinite(values).sum(axis=0)
    rows = np.full((3, values.shape[1]), np.nan)
    for count in np.unique(counts[counts > 0]):
        rows[:, counts == count] = statistic(ordered[:count, counts == count])
    rows[::2, counts < 2] = np.nan
    return rows


def quartile_band(values: Array) -> Array:
    return np.asarray(np.quantile(values, [0.25, 0.5, 0.75], axis=0))


def interquartile_mean_band(values: Array) -> Array:
    low, high = bootstrap_interval(values, interquartile_mean)
    return np.stack([low, interquartile_mean(values), high])


STATISTICS = {
    "median and quartiles": quartile_band,
    "interquartile mean, 95 % interval": interquartile_mean_band,
}

# ---------------------------------------------------------------- tables


def label(bonus: str) -> str:
    return LABELS.get(bonus, bonus)


def curve_label(key: Key) -> str:
    return f"{label(key[1])} {key[0]}".strip()


def summary(rows: Sequence[Row]) -> str:
    """The table at the end of a run: a line for each setting and bonus, then how sure it is that VIME ends higher.

    First reward is the first iteration with a positive return, the median over the seeds that have one; the column is
    left out where every seed is paid from its first iteration on. The other numbers are of `final_returns`: quartiles
    and median, and `interquartile_mean` with its bootstrap interval, to three digits, over the seeds that have a return
    at the end ("2 of 3" seeds). One seed has no ends, nor has an interval without width. 120 columns hold returns of up
    to four digits.
    """
    groups = by_curve(rows)
    finals = {key: final_returns(mine, key[1], key[0]) for key, mine in groups.items()}
    firsts = [first_rewards(mine) for mine in groups.values()]
    columns = [
        ["", *(label(bonus) for _, bonus in groups)],
        ["seeds", *map(seeds_counted, finals.values())],
        ["iterations", *map(iterations, groups.values())],
        *(
            [["first reward", *map(first_reward, firsts)]]
            if any(first != 0 for mine in firsts for first in mine)
            else []
        ),
        *return_columns(finals.values()),
        ["time a seed", *map(time_a_seed, groups.values())],
    ]
    title, *table = aligned(
        list(zip(*columns)), left=(0, 3) if len(columns) == 7 else (0,)
    )
    lines = [
        f"{rows[0]['task']}: return at the end, the mean over the last tenth of the iterations",
        "",
        title,
    ]
    settings = list(dict.fromkeys(setting for setting, _ in groups))
    for setting in settings:
        mine = {key: line for key, line in zip(groups, table) if key[0] == setting}
        lines += ["", setting or DEFAULTS] if settings != [""] else []
        sure = improvements({key: finals[key] for key in mine})
        lines += [*mine.values(), *([""] if sure and settings == [""] else []), *sure]
    return "\n".join(lines)


def comparison(curves: dict[str, list[Row]]) -> str:
    """One table of several tasks, by their titles: a line for each setting and bonus, with `final_returns` as `summary`
    has them, and the probability that VIME's is higher with its interval.
    """
    table: list[tuple[str, ...]] = []
    titles = {}
    for title, rows in curves.items():
        groups = by_curve(rows)
        finals = {
            key: final_returns(mine, key[1], key[0]) for key, mine in groups.items()
        }
        columns = [
            ["", *map(curve_label, groups)],
            ["seeds", *map(seeds_counted, finals.values())],
            ["iterations", *map(iterations, groups.values())],
            *return_columns(finals.values()),
            ["P(VIME higher)", *(improvement(finals, key) for key in groups)],
            ["time a seed", *map(time_a_seed, groups.values())],
        ]
        head, *lines_of_task = zip(*columns)
        table = table or [head]
        titles[len(table)] = title
        table += lines_of_task
    lines = [
        [*(["", titles[place]] if place in titles else []), line]
        for place, line in enumerate(aligned(table, (0, 5)))
    ]
    return "\n".join(line for each in lines for line in each)


def seeds_counted(finals: Array) -> str:
    """The number of seeds, "2 of 3" where only two have a return at the end."""
    counted = np.isfinite(finals).sum()
    return str(counted) if counted == len(finals) else f"{counted} of {len(finals)}"


def return_columns(finals: Collection[Array]) -> list[list[str]]:
    """Columns of the returns at the end: median with quartiles, interquartile mean with its interval."""
    heads = "median [quartiles]", "IQM [95 % interval]"
    bands = [
        [band(values[:, None], ends)[:, 0] for values in finals]
        for ends in STATISTICS.values()
    ]
    return [[head, *with_ends(triples)] for head, triples in zip(heads, bands)]


def improvement_cell(x: Array, y: Array) -> str:
    """The cell "0.97 [0.69, 1.00]": `probability_of_improvement` of x over y, with its interval."""
    return with_ends(
        [np.insert(improvement_interval(x, y), 1, probability_of_improvement(x, y))]
    )[0]


def improvement(finals: dict[Key, Array], key: Key) -> str:
    """The `improvement_cell` of another bonus's line; empty where there is nothing to compare."""
    vime, other = (
        each[np.isfinite(each)]
        for each in (finals.get((key[0], "vime"), np.zeros(0)), finals[key])
    )
    if key[1] == "vime" or not (len(vime) and len(other)):
        return ""
    return improvement_cell(vime, other)


def time_a_seed(rows: Sequence[Row]) -> str:
    return duration(
        float(np.median([run[-1]["wall_s"] for run in runs(rows).values()]))
    )


def iterations(rows: Sequence[Row]) -> str:
    lengths = [len(run) for run in runs(rows).values()]
    return (
        str(min(lengths))
        if min(lengths) == max(lengths)
        else f"{min(lengths)}-{max(lengths)}"
    )


def first_rewards(rows: Sequence[Row]) -> list[int | None]:
    """Of each seed the first iteration with a positive return."""
    return [
        next((row["iteration"] for row in run if row["return_max"] > 0.0), None)
        for run in runs(rows).values()
    ]


def first_reward(firsts: Sequence[int | None]) -> str:
    rewarded = [first for first in firsts if first is not None]
    when = f"iteration {np.median(rewarded):g}" if rewarded else "never"
    return f"{when} ({len(rewarded)} of {len(firsts)})"


def improvements(finals: dict[Key, Array]) -> list[str]:
    """VIME against the others of its setting."""
    cells = {key: improvement(finals, key) for key in finals}
    return aligned(
        [
            [f"P({label('vime')} > {label(key[1])})", cell]
            for key, cell in cells.items()
            if cell
        ],
        left=(0, 1),
    )


def timing(rows: Sequence[Row]) -> str:
    """A line for each curve: median seconds of an iteration's parts, and what learning costs in units of sampling."""
    table = [["an iteration", *PARTS, "all but sampling"]]
    for key, mine in by_curve(rows).items():
        seconds = band(
            np.array([[row[f"{part}_s"] for part in PARTS] for row in mine]),
            quartile_band,
        )[1]
        sampling, learning = seconds[0], np.nansum(seconds[1:])
        times = (
            f"{learning / sampling:.1f} times sampling" if sampling > 0.0 else "none"
        )
        table.append(
            [
                curve_label(key),
                *("none" if np.isnan(part) else f"{part:.3f} s" for part in seconds),
                times,
            ]
        )
    return "\n".join(aligned(table, left=(0,)))


def with_ends(triples: Sequence[Array]) -> list[str]:
    """Cells "middle [low, high]" of (low, middle, high), aligned, the largest number to three digits.

    Without ends that are numbers the cell is "middle", and blanks under the ends of the others.
    """
    numbers = [number for triple in triples for number in triple if np.isfinite(number)]
    largest = max(map(abs, numbers), default=0.0)
    digits = 2 if largest < 10.0 else 1 if largest < 100.0 else 0
    width = max((len(f"{number:z.{digits}f}") for number in numbers), default=0)
    ends = max((2 * width + 5 for low, *_ in triples if not np.isnan(low)), default=0)
    return [
        "none" if np.isnan(middle) else
        f"{middle:z{width}.{digits}f}{' ' * ends}" if np.isnan(low) else
        f"{middle:z{width}.{digits}f} [{low:z{width}.{digits}f}, {high:z{width}.{digits}f}]"
        for low, middle, high in triples
    ]  # fmt: skip


def duration(seconds: float) -> str:
    if seconds < 100.0:
        return f"{seconds:.1f} s"
    return (
        f"{seconds / 60.0:.1f} min" if seconds < 6000.0 else f"{seconds / 3600.0:.1f} h"
    )


def aligned(table: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """The lines of a table, its columns two blanks apart, flush right but for those in `left`."""
    widths = [max(map(len, column)) for column in zip(*table)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in table
    ]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

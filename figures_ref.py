"""Statistics over seeds, tables and figures of experiments, from the rows of their learning curves.

A run of an experiment leaves one row for each iteration of each seed. This module reads such rows and knows
nothing of what made them. `rows` are always those of one task; nan stands where there is no number.

Source of the interquartile mean, the bootstrap over seeds and the probability of improvement as ways to compare
agents on few seeds: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
arXiv 2108.13264. Quartiles over seeds are what Houthooft et al. 2016, arXiv 1605.09674, draws.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from runs_ref import COLUMNS, COUNTS, NUMBERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# ---------------------------------------------------------------- constants

PARTS = ("sampling", "gains", "policy", "model", "other")  # of an iteration, each with a column of seconds
LABELS = {"vime": "TRPO + VIME", "l2": "TRPO + L2 error", "none": "TRPO"}
COLORS = {"vime": "tab:red", "l2": "tab:orange", "none": "tab:blue"}
OTHER_COLORS = ("tab:green", "tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan")
DEFAULTS = "as the task has it"  # the name of the setting ""
LINES = ("-", "--", ":", "-.")  # of the bonuses, where the colours tell settings apart
RESAMPLES = 2000  # the ends of a 95 % interval then rest on 50 resamples each
LEVEL = 0.95
PANELS = {
    "return_mean": "return of an episode",
    "gain_median": "gain, median of an iteration",
    "elbo": "ELBO (nats)",
    "kl_prior": "KL to the prior (nats)",
    "heldout_log_likelihood": "held-out log likelihood (nats)",
    "heldout_error_ratio": "held-out squared error, 1 is the mean's",
}
WIDTH = 10.0  # inches, of a figure
LEGEND_LINE = 0.21  # inches, the height of a line of the legend
DPI = 150  # 1500 pixels a figure, more than a README is wide: sharp screens show them

# ---------------------------------------------------------------- types

Array = NDArray[np.float64]
Row = dict[str, Any]
Key = tuple[str, str]  # setting and bonus: a curve


class Style(NamedTuple):
    """How a curve looks in every panel of a figure."""

    label: str
    color: Any
    line: Any


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
            raise ValueError(f"{path}: row {place} must have {len(header)} cells, got {len(line)}")
        rows.append({name: typed(name, cell, f"{path}: row {place}") for name, cell in zip(header, line)})
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
        raise ValueError(f"{where}: {name} must be a finite number or nan, got {cell!r}")
    return number


def check_rows(rows: Sequence[Row], path: Path | str) -> None:
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    if len(tasks) > 1:
        raise ValueError(f"{path}: must be of one task, got {', '.join(tasks)}")
    seen = set()
    for row in rows:
        name = (row["bonus"], row["setting"], row["seed"], row["iteration"])
        if name in seen:
            raise ValueError(f"{path}: iteration {name[3]} of bonus {name[0]!r}, seed {name[2]} must come once")
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
    return {key: groups[key] for setting in settings for key in groups if key[0] == setting}


def runs(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """The rows of each seed, seeds and iterations in order."""
    groups: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["seed"], row["iteration"])):
        groups.setdefault(row["seed"], []).append(row)
    return groups


def seed_table(rows: Sequence[Row], column: str, axis: str = "steps") -> tuple[Array, Array]:
    """A column of one curve: positions (n,) on the axis, and values (seeds, n), nan where a seed has none."""
    positions, where = np.unique([float(row[axis]) for row in rows], return_inverse=True)
    seeds, who = np.unique([row["seed"] for row in rows], return_inverse=True)
    values = np.full((len(seeds), len(positions)), np.nan)
    values[who, where] = [row[column] for row in rows]
    return positions, values


def final_returns(rows: Iterable[Row], bonus: str, setting: str = "") -> Array:
    """Of each seed the mean of `return_mean` over its last max(1, n // 10) of n iterations, (seeds,).

    An iteration in which no episode ended is left out; a seed that has no other there gives nan. A run that broke
    off counts with its own last tenth. `ValueError` if there is no row of this bonus and setting.
    """
    mine = runs(row for row in rows if (row["bonus"], row["setting"]) == (bonus, setting))
    if not mine:
        raise ValueError(f"rows must hold bonus {bonus!r} with setting {setting!r}, got none")
    lasts = ([row["return_mean"] for row in run[-max(1, len(run) // 10) :]] for run in mine.values())
    ended = ([value for value in last if not math.isnan(value)] for last in lasts)
    return np.array([np.mean(values) if values else np.nan for values in ended])


# ---------------------------------------------------------------- statistics


def checked(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=float)
    if array.ndim == 0 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers of at least one seed, got {values!r}")
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
    values: ArrayLike, statistic: Callable[..., Any], level: float = LEVEL, *, seed: int = 0
) -> tuple[Any, Any]:
    """Percentile bootstrap interval of `statistic(values, axis=)` over the seeds, the first axis of (n,) or (n, m).

    Returns low and high, scalars or (m,). Seeds are drawn n at a time with replacement, RESAMPLES times, from
    `numpy.random.default_rng(seed)`, the same draws in each column. One seed, like equal values, gives (v, v).
    """
    array = checked("values", values)
    if len(array) == 1:
        return statistic(array, axis=0), statistic(array, axis=0)
    return percentile_interval((array,), statistic, level, seed)


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
    x, y = np.moveaxis(x, axis, -1)[..., :, None], np.moveaxis(y, axis, -1)[..., None, :]
    return ((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1))  # (..., n, m) -> (...)


def improvement_interval(x: ArrayLike, y: ArrayLike, level: float = LEVEL, *, seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of `probability_of_improvement`, the seeds of x and those of y resampled apart."""
    # a seed alone is put in twice, which changes no share and gives scipy the two values that it asks for
    samples = [np.repeat(each, 2) if len(each) == 1 else each for each in (checked("x", x), checked("y", y))]
    low, high = percentile_interval(samples, share_of_pairs, level, seed)
    return float(low), float(high)


def band(values: Array, statistic: Callable[[Array], Any]) -> Array:
    """`statistic`, (seeds, m) to three rows of m, of the numbers in each column: (3, n), nan where there are none."""
    ordered = np.sort(values, axis=0)  # nan last
    counts = np.isfinite(values).sum(axis=0)
    rows = np.full((3, values.shape[1]), np.nan)
    for count in np.unique(counts[counts > 0]):
        rows[:, counts == count] = statistic(ordered[:count, counts == count])
    return rows


def quartile_band(values: Array) -> Array:
    return np.asarray(np.quantile(values, [0.25, 0.5, 0.75], axis=0))


def interquartile_mean_band(values: Array) -> Array:
    low, high = bootstrap_interval(values, interquartile_mean)
    return np.stack([low, interquartile_mean(values), high])


STATISTICS = {"median and quartiles": quartile_band, "interquartile mean, 95 % interval": interquartile_mean_band}

# ---------------------------------------------------------------- tables


def label(bonus: str) -> str:
    return LABELS.get(bonus, bonus)


def summary(rows: Sequence[Row]) -> str:
    """The table at the end of a run: a line for each setting and bonus, then how sure it is that VIME ends higher.

    First reward is the first iteration with a positive return, the median over the seeds that have one. The other
    numbers are of `final_returns`: quartiles and median, and `interquartile_mean` with its bootstrap interval, to
    three digits. 120 columns hold returns of up to four.
    """
    groups = by_curve(rows)
    finals = {key: final_returns(mine, key[1], key[0]) for key, mine in groups.items()}
    ended = {key: values[np.isfinite(values)] for key, values in finals.items()}
    head = ["", "seeds", "iterations", "first reward", "median [quartiles]", "IQM [95 % interval]", "time a seed"]
    columns = [
        [label(bonus) for _, bonus in groups],
        [str(len(values)) for values in finals.values()],
        [iterations(mine) for mine in groups.values()],
        [first_reward(mine) for mine in groups.values()],
        *return_columns(list(ended.values())),
        [time_a_seed(mine) for mine in groups.values()],
    ]
    title, *table = aligned([head, *map(list, zip(*columns))], left=(0, 3))
    lines = [f"{rows[0]['task']}: return at the end, the mean over the last tenth of the iterations", "", title]
    settings = list(dict.fromkeys(setting for setting, _ in groups))
    for setting in settings:
        mine = {key: line for key, line in zip(groups, table) if key[0] == setting}
        lines += ["", setting or DEFAULTS] if settings != [""] else []
        open_points = notes(ended, finals, list(mine))
        lines += [*mine.values(), *([""] if open_points and settings == [""] else []), *open_points]
    return "\n".join(lines)


def comparison(curves: dict[str, list[Row]]) -> str:
    """One table of several tasks, by their titles: a line for each setting and bonus, with `final_returns` as `summary`
    has them, and the probability that VIME's is higher with its bootstrap interval.
    """
    head = ["", "seeds", "iterations", "median [quartiles]", "IQM [95 % interval]", "P(VIME higher)", "time a seed"]
    table, titles = [head], {}
    for title, rows in curves.items():
        titles[len(table)] = title
        groups = by_curve(rows)
        finals = [final_returns(mine, key[1], key[0]) for key, mine in groups.items()]
        ended = dict(zip(groups, (values[np.isfinite(values)] for values in finals)))
        columns = [
            [f"{label(bonus)} {setting}".strip() for setting, bonus in groups],
            [str(len(values)) for values in finals],
            [iterations(mine) for mine in groups.values()],
            *return_columns(list(ended.values())),
            [improvement(ended.get((setting, "vime")), ended[setting, bonus], bonus) for setting, bonus in groups],
            [time_a_seed(mine) for mine in groups.values()],
        ]
        table += list(map(list, zip(*columns)))
    lines = [
        [*(["", titles[place]] if place in titles else []), line] for place, line in enumerate(aligned(table, (0,)))
    ]
    return "\n".join(line for each in lines for line in each)


def return_columns(ended: Sequence[Array]) -> list[list[str]]:
    """Cells of the returns at the end: median with quartiles, interquartile mean with its interval."""
    bands = [[band(values[:, None], ends)[:, 0] for values in ended] for ends in STATISTICS.values()]
    return [with_ends(triples) for triples in bands]


def improvement(vime: Array | None, other: Array, bonus: str) -> str:
    """The cell "0.97 [0.85, 1.00]" of another bonus's line; empty where there is nothing to compare."""
    if bonus == "vime" or vime is None or not (len(vime) and len(other)):
        return ""
    low, high = improvement_interval(vime, other)
    return f"{probability_of_improvement(vime, other):.2f} [{low:.2f}, {high:.2f}]"


def time_a_seed(rows: Sequence[Row]) -> str:
    return duration(float(np.median([run[-1]["wall_s"] for run in runs(rows).values()])))


def iterations(rows: Sequence[Row]) -> str:
    lengths = [len(run) for run in runs(rows).values()]
    return str(min(lengths)) if min(lengths) == max(lengths) else f"{min(lengths)}-{max(lengths)}"


def first_reward(rows: Sequence[Row]) -> str:
    firsts = [next((row["iteration"] for row in run if row["return_max"] > 0.0), None) for run in runs(rows).values()]
    rewarded = [first for first in firsts if first is not None]
    when = f"iteration {np.median(rewarded):g}" if rewarded else "never"
    return f"{when} ({len(rewarded)} of {len(firsts)})"


def notes(ended: dict[Key, Array], finals: dict[Key, Array], keys: Sequence[Key]) -> list[str]:
    """What the lines of one setting leave open: seeds without a return at the end, and VIME against the others."""
    lines = []
    for key in keys:
        if len(ended[key]) < len(finals[key]):
            lines.append(f"{label(key[1])}: {len(ended[key])} of {len(finals[key])} seeds have a return at the end")
    vime = ended.get((keys[0][0], "vime"))
    cells = {key: improvement(vime, ended[key], key[1]) for key in keys}
    table = [[f"P({label('vime')} > {label(key[1])})", cell] for key, cell in cells.items() if cell]
    return lines + aligned(table, left=(0,))


def timing(rows: Sequence[Row]) -> str:
    """A line for each bonus: median seconds of an iteration's parts, and what learning costs in units of sampling."""
    table = [["an iteration", *PARTS, "all but sampling"]]
    for bonus in dict.fromkeys(row["bonus"] for row in rows):
        mine = [[row[f"{part}_s"] for part in PARTS] for row in rows if row["bonus"] == bonus]
        seconds = band(np.array(mine), quartile_band)[1]
        sampling, learning = seconds[0], np.nansum(seconds[1:])
        times = f"{learning / sampling:.1f} times sampling" if sampling > 0.0 else "none"
        table.append([label(bonus), *("none" if np.isnan(part) else f"{part:.3f} s" for part in seconds), times])
    return "\n".join(aligned(table, left=(0,)))


def with_ends(triples: Sequence[Array]) -> list[str]:
    """Cells "middle [low, high]" of (low, middle, high), aligned, the largest number to three digits."""
    numbers = [number for triple in triples for number in triple if np.isfinite(number)]
    largest = max(map(abs, numbers), default=0.0)
    digits = 2 if largest < 10.0 else 1 if largest < 100.0 else 0
    width = max((len(f"{number:z.{digits}f}") for number in numbers), default=0)
    return [
        "none" if np.isnan(middle) else
        f"{middle:z{width}.{digits}f} [{low:z{width}.{digits}f}, {high:z{width}.{digits}f}]"
        for low, middle, high in triples
    ]  # fmt: skip


def duration(seconds: float) -> str:
    if seconds < 100.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60.0:.1f} min" if seconds < 6000.0 else f"{seconds / 3600.0:.1f} h"


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


# ---------------------------------------------------------------- parts of figures


def styles(keys: Iterable[Key]) -> dict[Key, Style]:
    """A colour for each bonus; where settings differ, a colour for each setting and a kind of line for each bonus."""
    from matplotlib import colormaps

    keys = list(dict.fromkeys(keys))
    settings = list(dict.fromkeys(setting for setting, _ in keys))
    bonuses = list(dict.fromkeys(bonus for _, bonus in keys))
    if len(settings) == 1:
        others = [bonus for bonus in bonuses if bonus not in COLORS]
        colors = COLORS | {bonus: OTHER_COLORS[i % len(OTHER_COLORS)] for i, bonus in enumerate(others)}
        return {key: Style(label(key[1]), colors[key[1]], "-") for key in keys}
    shades = dict(zip(settings, colormaps["viridis"](np.linspace(0.0, 0.88, len(settings)))))
    lines = {bonus: LINES[i % len(LINES)] for i, bonus in enumerate(bonuses)}
    names = {key: [label(key[1])] * (len(bonuses) > 1) + [key[0] or DEFAULTS] for key in keys}
    return {key: Style(", ".join(names[key]), shades[key[0]], lines[key[1]]) for key in keys}


def draw_bands(axes: Axes, groups: dict[Key, list[Row]], looks: dict[Key, Style], statistic: Any) -> None:
    """Of each curve the statistic's middle as a line and its ends as a band, over the seeds that have a number."""
    from matplotlib.ticker import EngFormatter

    alpha = 0.2 if len(looks) <= 3 else 0.1
    for key, rows in groups.items():
        steps, values = seed_table(rows, "return_mean")
        low, middle, high = band(values, statistic)
        seen = np.isfinite(middle)
        draw_line(axes, steps[seen], middle[seen], looks[key], 1.6)
        axes.fill_between(steps[seen], low[seen], high[seen], color=looks[key].color, alpha=alpha, linewidth=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1M
    finish(axes, "no episode ended")


def draw_line(axes: Axes, x: Array, y: Array, look: Style, width: float, alpha: float = 1.0) -> None:
    """A line, or a dot where there is one point."""
    if len(x):
        marker = "o" if len(x) == 1 else ""
        axes.plot(x, y, look.line, color=look.color, marker=marker, linewidth=width, alpha=alpha)


def finish(axes: Axes, nothing: str) -> None:
    """Faint lines to read values by; in an empty panel the reason in grey."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    if not axes.lines:
        axes.text(0.5, 0.5, nothing, color="0.5", ha="center", va="center", transform=axes.transAxes)
        axes.grid(visible=False)
        axes.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)


def add_legend(figure: Figure, looks: dict[Key, Style]) -> None:
    """One legend for all panels, below them."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.color, linestyle=look.line, linewidth=2.0, label=look.label)
        for look in looks.values()
    ]
    longest = max(len(look.label) for look in looks.values())
    columns = max(1, min(len(handles), int(figure.get_figwidth() * 11.0) // (longest + 6)))
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * math.ceil(len(handles) / columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def number_of_seeds(rows: Iterable[Row]) -> str:
    """In words: "10 seeds", or "8 to 10 seeds" where the curves differ."""
    counts = [len(runs(mine)) for mine in by_curve(rows).values()]
    fewest, most = min(counts), max(counts)
    return f"{most if fewest == most else f'{fewest} to {most}'} seed{'s' if most > 1 else ''}"


# ---------------------------------------------------------------- figures


def draw_learning_curve(path: Path | str, rows: Sequence[Row]) -> None:
    """Mean returns of one task against steps: median and quartiles; interquartile mean with a bootstrap band."""
    from matplotlib.figure import Figure

    groups = by_curve(rows)
    looks = styles(groups)
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (title, statistic) in zip(panels, STATISTICS.items()):
        draw_bands(axes, groups, looks, statistic)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("environment steps")
    panels[0].set_ylabel("return of an episode")
    figure.suptitle(f"{rows[0]['task']}, {number_of_seeds(rows)}")
    add_legend(figure, looks)
    figure.savefig(path, dpi=DPI)


def draw_results(path: Path | str, curves: dict[str, list[Row]]) -> None:
    """All tasks side by side, by name: medians and quartiles above, interquartile means below, one legend."""
    from matplotlib.figure import Figure

    groups_of = {task: by_curve(rows) for task, rows in curves.items()}
    looks = styles(key for groups in groups_of.values() for key in groups)
    figure = Figure(figsize=(min(WIDTH, 2.8 + 3.2 * len(groups_of)), 5.8), layout="constrained")
    panels = figure.subplots(2, len(groups_of), sharex="col", sharey="col", squeeze=False)
    for column, (task, groups) in zip(panels.T, groups_of.items()):
        for axes, statistic in zip(column, STATISTICS.values()):
            draw_bands(axes, groups, looks, statistic)
        column[0].set_title(f"{task}\n{number_of_seeds(curves[task])}", fontsize="medium")
    for axes in panels[-1]:
        axes.set_xlabel("environment steps")
    for axes, title in zip(panels[:, 0], STATISTICS):
        axes.set_ylabel(f"return of an episode\n{title}")
    add_legend(figure, looks)
    figure.savefig(path, dpi=DPI)


def draw_diagnostics(path: Path | str, rows: Sequence[Row]) -> None:
    """What the models of one task learned, by iteration: each seed thin, the median over the seeds thick.

    Gains and errors are on a logarithmic scale, which leaves out gains of 0, and with them an agent without a model.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    groups = by_curve(rows)
    looks = styles(groups)
    drawn: dict[Key, Style] = {}
    figure = Figure(figsize=(1.2 * WIDTH, 6.0), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)
    for axes, (column, title) in zip(panels.flat, PANELS.items()):
        for key, mine in groups.items():
            iteration, values = seed_table(mine, column, axis="iteration")
            if column == "gain_median":
                values = np.where(values > 0.0, values, np.nan)
            if np.isfinite(values).any():
                drawn[key] = looks[key]
                draw_seeds(axes, iteration, values, looks[key])
        if column in ("gain_median", "heldout_error_ratio") and axes.lines:
            axes.set_yscale("log")
        if column == "heldout_error_ratio":
            axes.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize="medium")
        finish(axes, "no numbers")
    for axes in panels[1]:
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(f"{rows[0]['task']}, {number_of_seeds(rows)}")
    add_legend(figure, drawn or looks)
    figure.savefig(path, dpi=DPI)


def draw_seeds(axes: Axes, x: Array, values: Array, look: Style) -> None:
    for mine in values:
        seen = np.isfinite(mine)
        draw_line(axes, x[seen], mine[seen], look, 0.5, alpha=0.4)
    median = band(values, quartile_band)[1]
    seen = np.isfinite(median)
    draw_line(axes, x[seen], median[seen], look, 1.8)


def draw_state_visits(path: Path | str, visits: dict[str, Array], axis_names: tuple[str, str]) -> None:
    """Where each agent has been, as the share of its visited states (n, 2) in each cell, all seeds together."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(visits) + 0.5, 3.8), layout="constrained")
    panels = figure.subplots(1, len(visits), sharex=True, sharey=True, squeeze=False)[0]
    everything = np.concatenate(list(visits.values()))
    bounds = np.stack([everything.min(axis=0), everything.max(axis=0)], axis=1)
    for axes, (bonus, states) in zip(panels, visits.items()):
        counts, x_edges, y_edges = np.histogram2d(states[:, 0], states[:, 1], bins=60, range=bounds)
        shares = np.ma.masked_equal(counts.T / len(states), 0.0)
        mesh = axes.pcolormesh(x_edges, y_edges, shares, norm=LogNorm(1e-5, 1e-1), cmap="viridis")
        axes.set(title=label(bonus), xlabel=axis_names[0])
    panels[0].set_ylabel(axis_names[1])
    figure.colorbar(mesh, ax=panels, label="share of visited states", fraction=0.05, pad=0.01)
    figure.savefig(path, dpi=DPI)

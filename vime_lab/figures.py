"""Figures of experiments, from the rows of their learning curves.

`rows` always belong to one task. `vime_lab.statistics` defines the statistics over seeds.
Pictures of studies share the parts of figures.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bnn_ref import Array
from vime_lab.files import write_files
from vime_lab.rows import Row
from vime_lab.statistics import (
    STATISTICS,
    Key,
    band,
    by_curve,
    quartile_band,
    runs,
    seed_table,
    trailing_means,
)
from vime_lab.tables import DEFAULTS, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# ---------------------------------------------------------------- constants

# The color of each bonus, and its line style, which tells it apart in gray too.
COLORS = {
    "vime": "#b2182b",
    "none": "#2166ac",
    "noise": "#7f7f7f",
    "zscore": "#4d9221",
    "counts": "#762a83",
    "l2": "#d9801a",
    "l2_path": "#b58900",
}
BONUS_LINES = {
    "vime": "-",
    "none": (0, (12, 3)),
    "noise": ":",
    "zscore": (0, (5, 2)),
    "counts": "-.",
    "l2": (0, (2, 1)),
    "l2_path": (0, (6, 1.5, 1, 1.5, 1, 1.5)),
}
OTHER_COLORS = (
    "tab:green",
    "tab:purple",
    "tab:brown",
    "tab:pink",
    "tab:olive",
    "tab:cyan",
)
LINES = ("-", "--", ":", "-.")  # line styles if colors show settings
DIAGNOSES = {
    "return_mean": "return of an episode",
    "gain_median": "gain, median of an iteration",
    "elbo": "ELBO (nats)",
    "kl_prior": "KL to the prior (nats)",
    "heldout_log_likelihood": "held-out log likelihood (nats)",
    "heldout_error_ratio": "held-out squared error, 1 is the mean's",
}
LOGARITHMIC = ("gain_median", "heldout_error_ratio")
WIDTH = 10.0  # inches, of a figure
LEGEND_LINE = 0.21  # inches, the height of a line of the legend
LEGEND_DASHES = 3.2  # font sizes, of a line in the legend: a period of every style
SMOOTHING = 20  # parts of a run; a running mean covers one
LABEL_GAP = 0.085  # between names at the ends of curves, in heights of a panel
LABEL_WIDTH = 24  # characters in a line of names that share an end
SAME_END = 0.002  # of a panel's height: ends this near are one line on the screen
SHARED_COLOR = "0.3"  # of the names of several curves
DPI = 150  # 1500 pixels per figure, wider than a README, for high-resolution screens

# ---------------------------------------------------------------- types

# Positions (n,) on an axis, and values (seeds, n).
Curve = tuple[Array, Array]


class Style(NamedTuple):
    """A curve's style in every panel of a figure."""

    label: str
    color: Any
    line: Any


# ---------------------------------------------------------------- styles


def styles(keys: Iterable[Key]) -> dict[Key, Style]:
    """The style of each curve: a color for each bonus.

    If settings differ, a color for each setting and a line style for each bonus, or for
    each setting of a single bonus.
    """
    keys = list(dict.fromkeys(keys))
    settings = list(dict.fromkeys(setting for setting, _ in keys))
    bonuses = list(dict.fromkeys(bonus for _, bonus in keys))
    if len(settings) == 1:
        return bonus_styles(keys, bonuses)
    return setting_styles(keys, settings, bonuses)


def bonus_styles(keys: Sequence[Key], bonuses: Sequence[str]) -> dict[Key, Style]:
    others = [bonus for bonus in bonuses if bonus not in COLORS]
    colors = dict(COLORS)
    for place, bonus in enumerate(others):
        colors[bonus] = OTHER_COLORS[place % len(OTHER_COLORS)]
    return {
        key: Style(label(key[1]), colors[key[1]], BONUS_LINES.get(key[1], "-"))
        for key in keys
    }


def setting_styles(
    keys: Sequence[Key], settings: Sequence[str], bonuses: Sequence[str]
) -> dict[Key, Style]:
    from matplotlib import colormaps

    colors = colormaps["viridis"](np.linspace(0.0, 0.88, len(settings)))
    shades = dict(zip(settings, colors))
    # alone, a bonus leaves the line styles to the settings, whose curves may coincide
    alone = len(bonuses) == 1
    told = settings if alone else bonuses
    lines = {name: LINES[i % len(LINES)] for i, name in enumerate(told)}
    looks = {}
    for setting, bonus in keys:
        names = [label(bonus)] if len(bonuses) > 1 else []
        names.append(setting or DEFAULTS)
        line = lines[setting if alone else bonus]
        looks[setting, bonus] = Style(", ".join(names), shades[setting], line)
    return looks


# ---------------------------------------------------------------- parts of figures


def draw_bands(
    axes: Axes,
    curves: Mapping[Any, Curve],
    looks: Mapping[Any, Style],
    statistic: Any,
    alpha: float,
) -> None:
    """Draw each curve's statistic over the seeds with a number.

    The middle is a line, the interval a band.
    """
    for key, (x, values) in curves.items():
        low, middle, high = band(values, statistic)
        seen = np.isfinite(middle)
        draw_line(axes, x[seen], middle[seen], looks[key], 1.6)
        axes.fill_between(
            x[seen],
            low[seen],
            high[seen],
            color=looks[key].color,
            alpha=alpha,
            linewidth=0,
        )


def draw_returns(
    axes: Axes,
    groups: dict[Key, list[Row]],
    looks: dict[Key, Style],
    statistic: Any,
    smooth: bool = False,
) -> dict[Key, Curve]:
    """Draw the returns of each curve, and return the curves.

    If smooth, a run's return is its mean over the last twentieth of the iterations so far.
    """
    from matplotlib.ticker import EngFormatter

    curves = {key: seed_table(rows, "return_mean") for key, rows in groups.items()}
    if smooth:
        curves = {
            key: (x, trailing_means(values, max(1, len(x) // SMOOTHING)))
            for key, (x, values) in curves.items()
        }
    draw_bands(axes, curves, looks, statistic, alpha=0.2 if len(looks) <= 3 else 0.1)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1M
    finish(axes, "no episode ended")
    return curves


def label_ends(
    axes: Axes, curves: Mapping[Any, Curve], looks: Mapping[Any, Style]
) -> None:
    """Write each curve's name at the end of its median, without overlaps.

    Curves with the same end share one text.
    """
    ends = {}
    for key, (x, values) in curves.items():
        middle = band(values, quartile_band)[1]
        seen = np.flatnonzero(np.isfinite(middle))
        if len(seen):
            ends[key] = (x[seen[-1]], middle[seen[-1]])

    # their places on the right, in the order of the curves
    axes.autoscale_view()
    order = sorted(ends, key=lambda key: float(ends[key][1]))
    points = np.array([ends[key] for key in order]).reshape(-1, 2)  # (n, 2)
    wanted = (axes.transData - axes.transAxes).transform(points)[:, 1]  # (n,)
    firsts = first_of_equals(wanted)
    groups = [[order[i] for i in range(*each)] for each in firsts]
    texts = [shared_label([looks[key].label for key in keys]) for keys in groups]
    sizes = np.array([text.count("\n") + 1 for text in texts])
    starts = [start for start, _ in firsts]
    for keys, text, place in zip(groups, texts, spaced(wanted[starts], sizes)):
        axes.annotate(
            text,
            xy=ends[keys[0]],
            xytext=(1.04, place),
            textcoords="axes fraction",
            color=looks[keys[0]].color if len(keys) == 1 else SHARED_COLOR,
            fontsize="small",
            va="center",
            arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.6},
        )


def first_of_equals(places: Array) -> list[tuple[int, int]]:
    """The start and stop of each group of equal ends, of increasing places (n,).

    >>> first_of_equals(np.array([0.0, 0.001, 0.5]))
    [(0, 2), (2, 3)]
    """
    starts: list[int] = []
    for i, place in enumerate(places):
        if not starts or place - places[starts[-1]] > SAME_END:
            starts.append(i)
    return list(zip(starts, [*starts[1:], len(places)]))


def shared_label(names: Sequence[str]) -> str:
    """The names of curves with the same end, in lines of about `LABEL_WIDTH` characters."""
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) < LABEL_WIDTH:
            lines[-1] += f"; {name}"
        else:
            lines.append(name)
    return ";\n".join(lines)


def spaced(places: Array, sizes: Array | None = None, gap: float = LABEL_GAP) -> Array:
    """Increasing places (n,), moved so that names do not overlap, in [0, 1] if they fit.

    The centers of two names of one line lie `gap` apart; sizes (n,) are numbers of lines.

    >>> spaced(np.array([0.0, 0.0, 1.0]), gap=0.25)
    array([0.  , 0.25, 1.  ])
    """
    lines = np.ones(len(places)) if sizes is None else sizes
    steps = gap * (np.cumsum(lines) - lines / 2.0 - 0.5)  # (n,)
    upwards = np.maximum.accumulate(np.maximum(places - steps, 0.0)) + steps
    last = gap * (np.sum(lines) - 1.0)
    return np.minimum(upwards, steps + max(0.0, 1.0 - last))


def draw_line(
    axes: Axes, x: Array, y: Array, look: Style, width: float, alpha: float = 1.0
) -> None:
    """Draw a line, or a dot if there is one point."""
    if len(x):
        axes.plot(
            x,
            y,
            linestyle=look.line,
            color=look.color,
            marker="o" if len(x) == 1 else "",
            linewidth=width,
            alpha=alpha,
        )


def finish(axes: Axes, nothing: str) -> None:
    """Draw a faint grid; in an empty panel, write the reason in gray."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    if not axes.lines:
        centered: Any = {"ha": "center", "va": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, nothing, color="0.5", **centered)
        axes.grid(visible=False)
        axes.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)


def add_legend(figure: Figure, looks: Collection[Style]) -> None:
    """Draw one legend for all panels, below them."""
    from matplotlib.lines import Line2D

    # the lines
    handles = []
    for look in looks:
        line = Line2D([], [], color=look.color, linestyle=look.line, linewidth=1.6)
        line.set_label(look.label)
        handles.append(line)

    # as many columns as fit, and room for their lines
    longest = max(len(look.label) for look in looks)
    fitting = int(figure.get_figwidth() * 11.0) // (longest + 6)
    columns = max(1, min(len(handles), fitting))
    height = LEGEND_LINE * math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + height)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=LEGEND_DASHES,
    )


def number_of_seeds(rows: Iterable[Row]) -> str:
    """The number of seeds in words: "10 seeds", or "8 to 10 seeds" if curves differ."""
    counts = [len(runs(mine)) for mine in by_curve(rows).values()]
    fewest = min(counts)
    most = max(counts)
    number = str(most) if fewest == most else f"{fewest} to {most}"
    return f"{number} seed{'s' if most > 1 else ''}"


def save(figure: Figure, path: Path | str) -> None:
    """Write the figure in the format of the path's suffix, without one as PNG."""
    file = Path(path)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format=file.suffix[1:].lower() or "png")
    write_files({file: picture.getvalue()})


# ---------------------------------------------------------------- figures


def draw_learning_curve(path: Path | str, rows: Sequence[Row]) -> None:
    """Draw mean returns of one task against steps.

    Left: median and quartiles. Right: interquartile mean with a bootstrap band.
    """
    from matplotlib.figure import Figure

    groups = by_curve(rows)
    looks = styles(groups)
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")

    # a panel for each statistic
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (title, statistic) in zip(panels, STATISTICS.items()):
        draw_returns(axes, groups, looks, statistic)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("environment steps")
    panels[0].set_ylabel("return of an episode")

    figure.suptitle(f"{rows[0]['task']}, {number_of_seeds(rows)}")
    add_legend(figure, looks.values())
    save(figure, path)


def draw_results(path: Path | str, curves: dict[str, list[Row]]) -> None:
    """Draw all tasks, by name: medians and quartiles, each curve labelled at its end.

    They are those of running means over a twentieth of the iterations.
    """
    from matplotlib.figure import Figure

    looks = styles(key for rows in curves.values() for key in by_curve(rows))
    columns = min(2, len(curves))
    lines = math.ceil(len(curves) / columns)
    size = (0.5 * WIDTH * columns, 3.4 * lines)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False)

    # a panel for each task
    for axes, (task, rows) in zip(panels.flat, curves.items()):
        groups = by_curve(rows)
        drawn = draw_returns(axes, groups, looks, quartile_band, smooth=True)
        label_ends(axes, drawn, looks)
        axes.set_title(f"{task}, {number_of_seeds(rows)}", fontsize="medium")
    for axes in panels.flat[len(curves) :]:
        axes.set_axis_off()

    # labels at the edges
    for axes in panels[-1]:
        axes.set_xlabel("environment steps")
    for axes in panels[:, 0]:
        axes.set_ylabel("return of an episode")
    save(figure, path)


def draw_diagnostics(path: Path | str, rows: Sequence[Row]) -> None:
    """Draw diagnostics of one task's models, by iteration.

    Thin lines are seeds, thick lines medians over seeds. Gains and errors are on a
    logarithmic scale, which omits zeros, and so also agents without a model.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    groups = by_curve(rows)
    looks = styles(groups)
    figure = Figure(figsize=(1.2 * WIDTH, 6.0), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)

    # a panel for each column, and the curves with a number in any panel
    drawn: dict[Key, Style] = {}
    for axes, column in zip(panels.flat, DIAGNOSES):
        for key in draw_diagnosis(axes, column, groups, looks):
            drawn[key] = looks[key]

    # the shared title and legend
    for axes in panels[1]:
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(f"{rows[0]['task']}, {number_of_seeds(rows)}")
    add_legend(figure, (drawn or looks).values())
    save(figure, path)


def draw_diagnosis(
    axes: Axes, column: str, groups: dict[Key, list[Row]], looks: dict[Key, Style]
) -> list[Key]:
    """Draw one panel; return the curves with numbers in it."""
    # the curves with numbers
    drawn = []
    for key, mine in groups.items():
        iteration, values = seed_table(mine, column, axis="iteration")
        if column in LOGARITHMIC:
            values = np.where(values > 0.0, values, np.nan)
        if np.isfinite(values).any():
            drawn.append(key)
            draw_seeds(axes, iteration, values, looks[key])

    # the scale
    if column in LOGARITHMIC and axes.lines:
        axes.set_yscale("log")
    if column == "heldout_error_ratio" and axes.lines:
        axes.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_title(DIAGNOSES[column], fontsize="medium")
    finish(axes, "no numbers")
    return drawn


def draw_seeds(axes: Axes, x: Array, values: Array, look: Style) -> None:
    for mine in values:
        seen = np.isfinite(mine)
        draw_line(axes, x[seen], mine[seen], look, 0.5, alpha=0.4)
    median = band(values, quartile_band)[1]
    seen = np.isfinite(median)
    draw_line(axes, x[seen], median[seen], look, 1.8)


def draw_state_visits(
    path: Path | str, visits: dict[str, Array], axis_names: tuple[str, str]
) -> None:
    """Draw the states that each agent visited, over all seeds.

    A cell's color is the share of visited states (n, 2) in it.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(visits) + 0.5, 3.8), layout="constrained")
    panels = figure.subplots(1, len(visits), sharex=True, sharey=True, squeeze=False)[0]

    # the same cells for all agents
    everything = np.concatenate(list(visits.values()))  # (n, 2)
    lowest = everything.min(axis=0)  # (2,)
    highest = everything.max(axis=0)  # (2,)
    bounds = np.stack([lowest, highest], axis=1)  # (2, 2)

    for axes, (bonus, states) in zip(panels, visits.items()):
        counts, x_edges, y_edges = np.histogram2d(
            states[:, 0], states[:, 1], bins=60, range=bounds
        )
        shares = np.ma.masked_equal(counts.T / len(states), 0.0)
        mesh = axes.pcolormesh(
            x_edges, y_edges, shares, norm=LogNorm(1e-5, 1e-1), cmap="viridis"
        )
        axes.set(title=label(bonus), xlabel=axis_names[0])

    panels[0].set_ylabel(axis_names[1])
    figure.colorbar(
        mesh, ax=panels, label="share of visited states", fraction=0.05, pad=0.01
    )
    save(figure, path)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

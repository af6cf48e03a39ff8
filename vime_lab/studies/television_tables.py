"""Tables and pictures of the television's studies, from their rows only."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from bnn_ref import Array
from vime_lab.figures import COLORS, Style, draw_bands, finish, label_ends
from vime_lab.rows import Row
from vime_lab.statistics import quartile_band
from vime_lab.studies.frame import (
    curve_of,
    explorers_in,
    first_cell,
    last_quarter,
    seeds_in,
    spread_cells,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# ---------------------------------------------------------------- constants

LINES_OF = {
    "random": ("0.65", ":"),
    "epsilon-greedy": (COLORS["none"], ":"),
    "UCB": (COLORS["none"], "-."),
    "dirichlet": ("black", "-"),
    "counts": ("tab:green", "-"),
    "L2 error": (COLORS["l2"], "-"),
    "VIME": (COLORS["vime"], "-"),
    "VIME 50": ("tab:pink", "-."),
    "VIME tabulated sigma": ("tab:purple", "-."),
    "dirichlet, by median": ("0.35", "--"),
    "L2 error, by median": ("tab:brown", "--"),
    "VIME, by median": ("darkred", "--"),
}
# Explorers whose bonus has another weight than 1: their name at weight 1, and the weight.
WEIGHTS_OF = {
    f"{name} x{weight:g}": (name, weight)
    for name in ("dirichlet", "dirichlet, by median", "L2 error", "VIME")
    for weight in (0.001, 0.01, 0.1, 10.0)
}
TELEVISION_COLORS = {name: color for name, (color, _) in LINES_OF.items()} | {
    explorer: LINES_OF[name][0] for explorer, (name, _) in WEIGHTS_OF.items()
}

STEADY = 0.25  # the power of the rows up to which an interest neither falls nor rises
INTERESTS = ("absolute", "relative", "normalized")
TITLES = {
    "absolute": "bonus at the screen",
    "relative": "over the bonus elsewhere",
    "normalized": "over the median of all",
}

# ---------------------------------------------------------------- Television


def interest(
    rows: list[Row], name: str, kind: str, of: str = ""
) -> tuple[Array, Array]:
    """Points (m,) and a model's interest in the screen, (seeds, m).

    absolute: the bonus at the screen. relative: over the bonus elsewhere. normalized: over
    the median of all rows. `of` is " mean" for the interest of means, not of medians.
    """
    if kind == "normalized":
        return curve_of(rows, name, kind)
    points, screen = curve_of(rows, name, f"screen{of}")
    _, elsewhere = curve_of(rows, name, f"elsewhere{of}")
    return points, screen / elsewhere if kind == "relative" else screen


def late_points(points: Array) -> int:
    """The number of points in the last half, at least two."""
    return max(2, math.ceil(len(points) / 2))


def powers(points: Array, values: Array) -> Array:
    """The power of n that fits each seed's curve over the last half of the points, (seeds,).

    It is the slope of a least-squares line through log values (seeds, m) by log n (m,).
    """
    late = late_points(points)
    x = np.log(points[-late:])  # (m,)
    y = np.log(values[:, -late:])  # (seeds, m)
    slopes, _ = np.polyfit(x, y.T, 1)  # (seeds,)
    return np.atleast_1d(slopes)


def verdict(power: float) -> str:
    """Whether an interest falls, rises or is steady.

    >>> [verdict(each) for each in (-1.0, 0.1, 0.5)]
    ['falls', 'steady', 'rises']
    """
    if abs(power) < STEADY:
        return "steady"
    return "rises" if power > 0.0 else "falls"


def change_cell(points: Array, values: Array) -> str:
    """The cell "0.01 to 0.0006, falls": medians over the seeds.

    They are at both ends of the last half, whose power it names.
    """
    start, last = np.median(values, axis=0)[[-late_points(points), -1]]
    power = float(np.median(powers(points, values)))
    return f"{start:.2g} to {last:.2g}, {verdict(power)}"


def television_table(rows: list[Row]) -> str:
    """Television's tables: each interest at both ends, then its power of the rows."""
    names = explorers_in(rows)
    points, _ = interest(rows, names[0], "absolute")
    late = points[-late_points(points)]

    # what becomes of each interest
    changes = [["", *names]]
    for kind in INTERESTS:
        curves = [interest(rows, name, kind) for name in names]
        changes.append([kind, *(change_cell(*curve) for curve in curves)])
    title = (
        f"Television: interest in the screen after {late} and {points[-1]} rows n, "
        f"{seeds_in(rows)}"
    )

    # its power of the rows
    blocks = [titled(title, changes)]
    for of, what in {"": "medians", " mean": "means"}.items():
        kinds = INTERESTS if not of else INTERESTS[:2]
        columns = [["", *names]]
        for kind in kinds:
            fitted = [powers(*interest(rows, name, kind, of)) for name in names]
            columns.append([kind, *spread_cells(fitted)])
        heading = f"power of n from {late} rows on, of {what} over the rows there"
        blocks.append(titled(heading, columns))
    return "\n\n".join(blocks)


def draw_television(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw each interest against the rows, both on logarithmic scales."""
    looks = styles_of(explorers_in(rows))
    panels = figure.subplots(1, len(INTERESTS))
    for axes, kind in zip(panels, INTERESTS):
        curves = {}
        for name in looks:
            points, values = interest(rows, name, kind)
            curves[name] = (np.log10(points), np.log10(values))
        draw_panel(axes, curves, looks)
        axes.xaxis.set_major_formatter(decade)
        axes.yaxis.set_major_formatter(decade)
        axes.set_title(f"{kind}: {TITLES[kind]}", fontsize="small")
        axes.set_xlabel("rows seen")
    title = f"interest in the screen, median and quartiles of {seeds_in(rows)}"
    figure.suptitle(f"Television: {title}", fontsize="medium")
    return looks


def styles_of(names: list[str]) -> dict[str, Style]:
    """The style of each explorer."""
    return {name: Style(name, *LINES_OF[name]) for name in names}


def draw_panel(
    axes: Any, curves: dict[str, tuple[Array, Array]], looks: dict[str, Style]
) -> None:
    """Draw medians and quartiles over the seeds, with names at the ends."""
    draw_bands(axes, curves, looks, quartile_band, alpha=0.12)
    finish(axes, "no rows")
    label_ends(axes, curves, looks)


def decade(power: float, position: float) -> str:
    """The text of a tick at a logarithm; its position is not used."""
    return f"$10^{{{power:g}}}$"


# ---------------------------------------------------------------- NoisyCorridor


def by_weight(rows: list[Row]) -> dict[tuple[str, float], str]:
    """The explorers whose bonus has several weights, by bonus and weight, in order."""
    names = {
        WEIGHTS_OF.get(explorer, (explorer, 1.0)): explorer
        for explorer in explorers_in(rows)
    }
    found = Counter(bonus for bonus, _ in names)
    return {key: names[key] for key in sorted(names) if found[key[0]] > 1}


def at_weight_1(rows: list[Row]) -> list[str]:
    """The other explorers, and those with several weights at weight 1."""
    return [name for name in explorers_in(rows) if name not in WEIGHTS_OF]


def corridor_table(rows: list[Row]) -> str:
    """The corridor's tables: all explorers at weight 1, and the weights of some bonuses."""
    blocks = [explorers_table(rows)]
    if weights := by_weight(rows):
        blocks.append(weights_table(rows, weights))
    return "\n\n".join(blocks)


def weights_table(rows: list[Row], weights: dict[tuple[str, float], str]) -> str:
    """First reward, and the late share and return, by bonus and weight."""
    found = [curve_of(rows, name, "found")[1][:, 0] for name in weights.values()]
    late = [last_quarter(rows, name, "watching") for name in weights.values()]
    returns = [last_quarter(rows, name, "return") for name in weights.values()]
    columns = [
        ["", *(bonus for bonus, _ in weights)],
        ["weight", *(f"{weight:g}" for _, weight in weights)],
        ["first reward", *map(first_cell, found)],
        ["at the screen", *spread_cells(late)],
        ["return", *spread_cells(returns)],
    ]
    return titled("weights of the bonus; share and return in the last quarter", columns)


def explorers_table(rows: list[Row]) -> str:
    """First reward, share of steps at the screen, return at the end, at weight 1."""
    names = at_weight_1(rows)
    found = [curve_of(rows, name, "found")[1][:, 0] for name in names]
    watching = [curve_of(rows, name, "watching")[1].mean(axis=1) for name in names]
    late = [last_quarter(rows, name, "watching") for name in names]
    returns = [last_quarter(rows, name, "return") for name in names]
    columns = [
        ["", *names],
        ["first reward", *map(first_cell, found)],
        ["at the screen", *spread_cells(watching)],
        ["last quarter", *spread_cells(late)],
        ["return, last quarter", *spread_cells(returns)],
    ]
    points, _ = curve_of(rows, names[0], "return")
    title = (
        f"NoisyCorridor: episode of the first reward of {points[-1]}, "
        f"share of steps at the screen, return, {seeds_in(rows)}"
    )
    return titled(title, columns)


def draw_corridor(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw steps at the screen and return by episodes, and runs with a reward by weight."""
    looks = styles_of(at_weight_1(rows))
    titles = {"watching": "share of steps at the screen", "return": "return"}
    *panels, weights = figure.subplots(1, 3)
    for axes, (measure, title) in zip(panels, titles.items()):
        curves = {name: curve_of(rows, name, measure) for name in looks}
        axes.set_ylim(-0.03, 1.03)
        draw_panel(axes, curves, looks)
        axes.set_title(f"{title}, weight 1", fontsize="small")
        axes.set_xlabel("episodes")
    draw_weights(weights, rows, looks)
    title = f"median and quartiles of {seeds_in(rows)}"
    figure.suptitle(f"NoisyCorridor: {title}", fontsize="medium")
    return looks


def draw_weights(axes: Axes, rows: list[Row], looks: dict[str, Style]) -> None:
    """Draw the share of runs that found the reward against the weight of the bonus."""
    points: dict[str, list[tuple[float, float]]] = {}
    for (bonus, weight), name in by_weight(rows).items():
        share = (math.log10(weight), share_found(rows, name))
        points.setdefault(bonus, []).append(share)
    curves = {}
    for bonus, found in points.items():
        places, shares = np.array(found).T  # (m,) each
        curves[bonus] = (places, shares[None])
    axes.set_ylim(-0.03, 1.03)
    draw_panel(axes, curves, looks)
    axes.xaxis.set_major_formatter(decade)
    axes.set_title("share of runs that found the reward", fontsize="small")
    axes.set_xlabel("weight of the bonus")


def share_found(rows: list[Row], name: str) -> float:
    """The share of an explorer's runs that found the reward."""
    return float(np.isfinite(curve_of(rows, name, "found")[1]).mean())


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

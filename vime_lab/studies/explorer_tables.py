"""Tables and pictures of the explorers' studies, from their rows only.

Sources: bsuite, arXiv 1908.03568, for DeepSea's score.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bnn_ref import Array
from vime_gym.rooms import KeyDoorMaze, deep_sea_score
from vime_lab.figures import COLORS, Style, draw_line, finish
from vime_lab.rows import Row
from vime_lab.studies.frame import (
    curve_of,
    draw_measure,
    explorers_in,
    first_cell,
    last_quarter,
    looks_of,
    seeds_in,
    spread_cells,
    titled,
)
from vime_lab.studies.laws import FEWEST_SIZES, fitted_growth
from vime_lab.tables import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ---------------------------------------------------------------- constants

EXPLORER_COLORS = {
    "random": "0.55",
    "epsilon-greedy": COLORS["none"],
    "Boltzmann": "tab:cyan",
    "UCB": "tab:olive",
    "UCB-1": "tab:olive",
    "counts": "tab:green",
    "pseudo-counts": "tab:purple",
    "CTS": "tab:brown",
    "dirichlet": "black",
    "VIME": COLORS["vime"],
    "L2 error": COLORS["l2"],
}

# ---------------------------------------------------------------- Bandit


def bandit_table(rows: list[Row]) -> str:
    """The bandit's table: regret after the last pull, and per 1000 pulls of the last half."""
    curves = {name: curve_of(rows, name, "regret") for name in explorers_in(rows)}
    finals = []
    slopes = []
    for t, regret in curves.values():
        half = int(np.searchsorted(t, t[-1] / 2))
        last = regret[:, -1]
        finals.append(last)
        slopes.append(1000.0 * (last - regret[:, half]) / (t[-1] - t[half]))
    columns = [
        ["", *curves],
        ["regret [quartiles]", *spread_cells(finals)],
        ["per 1000 pulls of the last half", *spread_cells(slopes)],
    ]

    # the title, with UCB-1's bound
    t, bound = curve_of(rows, "UCB-1", "bound")
    title = (
        f"Bandit: pseudo-regret after {t[-1]} pulls, {seeds_in(rows)}; "
        f"UCB-1's proven bound is {bound[0, -1]:.0f}"
    )
    return titled(title, columns)


def draw_bandit(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw regret against pulls, on a linear and on a logarithmic axis."""
    looks = looks_of(rows, EXPLORER_COLORS)
    proven = Style("UCB-1's proven bound", "black", "--")
    t, bound = curve_of(rows, "UCB-1", "bound")
    titles = {
        "linear": "what grows like t is straight",
        "log": "what grows like ln t is straight",
    }

    # the same curves on both axes
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (scale, title) in zip(panels, titles.items()):
        draw_measure(axes, rows, "regret", looks)
        draw_line(axes, t, bound[0], proven, 1.0)
        axes.set(xscale=scale, xlabel="pulls t", ylim=(0.0, None))
        axes.set_title(title, fontsize="medium")
        finish(axes, "no pulls")

    figure.axes[0].set_ylabel("pseudo-regret (reward)")
    title = f"regret against pulls, median and quartiles of {seeds_in(rows)}"
    figure.suptitle(f"Bandit: {title}")
    return {**looks, proven.label: proven}


# ---------------------------------------------------------------- DeepSea


def measure_of(explorer: str) -> str:
    """The measure that DeepSea's table and picture show for an explorer.

    Random actions can only find the treasure, not solve the task.
    """
    return "found" if explorer == "random" else "solved"


def deep_sea_medians(rows: list[Row], explorer: str) -> dict[int, float]:
    """For each size, the median over seeds of the episodes needed.

    Of two middle values, the upper one; "never" counts as inf.
    """
    sizes = sorted({row["size"] for row in rows if row["explorer"] == explorer})
    medians = {}
    for size in sizes:
        _, values = curve_of(rows, explorer, measure_of(explorer), size)
        episodes = np.sort(values[:, 0])  # nan last
        median = float(episodes[len(episodes) // 2])
        medians[size] = math.inf if math.isnan(median) else median
    return medians


def score_of(rows: list[Row], explorer: str) -> float:
    """Mean over seeds of `deep_sea_score` on all the study's sizes.

    A size that was not tried counts as not solved.
    """
    sizes = sorted({row["size"] for row in rows})
    mine = [
        row for row in rows if (row["explorer"], row["measure"]) == (explorer, "solved")
    ]
    # a score for each seed
    scores = []
    for seed in {row["seed"] for row in mine}:
        solved = {row["size"]: row["value"] for row in mine if row["seed"] == seed}
        episodes = {
            size: None if math.isnan(solved.get(size, math.nan)) else int(solved[size])
            for size in sizes
        }
        scores.append(deep_sea_score(episodes))
    return float(np.mean(scores))


def growth_cells(medians: dict[int, float]) -> list[str]:
    """Cells of the medians' growth: doublings per row, power of N, and the better fit."""
    finite = {size: each for size, each in medians.items() if math.isfinite(each)}
    if len(finite) < FEWEST_SIZES:
        return ["", "", "too few sizes"]
    growth = fitted_growth(list(finite), list(finite.values()))
    better = "2^N" if growth.exponential else "power of N"
    return [f"2^({growth.doublings:.2f} N)", f"N^{growth.power:.1f}", better]


def episodes_cell(episodes: float | None) -> str:
    if episodes is None:
        return ""
    return "-" if math.isinf(episodes) else f"{episodes:.0f}"


def deep_sea_table(rows: list[Row]) -> str:
    """DeepSea's tables: median episodes to solve each size, then scores and fitted growth."""
    sizes = sorted({row["size"] for row in rows})
    table = [["", *map(str, sizes)]]
    laws = [["", "score", "growth", "or", "fits better"]]
    for name in explorers_in(rows):
        medians = deep_sea_medians(rows, name)
        table.append([name, *(episodes_cell(medians.get(size)) for size in sizes)])
        score = "" if name == "random" else f"{score_of(rows, name):.2f}"
        laws.append([name, score, *growth_cells(medians)])

    # both tables, with notes between them
    lines = [
        f"DeepSea: episodes to solve N by N, medians of {seeds_in(rows)}",
        "",
        *aligned(table, left=(0,)),
        "",
        "random: episodes to find the treasure once; "
        "-: never in more than half of the runs; blank: not tried",
        "score: mean share of the sizes solved before episode 2^N + 100, "
        "of all sizes, tried or not",
        "",
        *aligned(laws, left=(0, 4)),
    ]
    return "\n".join(lines)


def draw_deep_sea(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw each run as a dot and the medians as a line; a median "never" as a cross on top."""
    looks = looks_of(rows, EXPLORER_COLORS)
    axes = figure.subplots()
    sizes = np.array(sorted({row["size"] for row in rows}))
    solved = [row["value"] for row in rows if math.isfinite(row["value"])]
    top = 1.6 * max([2.0 ** float(sizes[0]), *solved])

    # the explorers, shifted so that none hides another
    for place, (name, look) in enumerate(looks.items()):
        shift = 0.12 * (place - (len(looks) - 1) / 2)
        draw_runs(axes, rows, name, look, shift)
        draw_medians(axes, deep_sea_medians(rows, name), look, shift, top)

    # two laws to compare with
    laws = {"$2^N$": ("--", 2.0**sizes), "$N^2$": (":", 1.0 * sizes**2)}
    for name, (line, law) in laws.items():
        looks[name] = Style(name, "black", line)
        draw_line(axes, sizes[law < top], law[law < top], looks[name], 1.0)

    axes.set(
        yscale="log", xlabel="size N (cells a side)", ylabel="episodes", xticks=sizes
    )
    finish(axes, "no runs")
    title = (
        f"DeepSea: episodes to solve N by N, medians of {seeds_in(rows)}\n"
        "of random actions: to find the treasure once; "
        "a cross: never, in more than half of the runs"
    )
    figure.suptitle(title, fontsize="medium")
    return looks


def draw_runs(axes: Any, rows: list[Row], name: str, look: Style, shift: float) -> None:
    key = (name, measure_of(name))
    mine = [row for row in rows if (row["explorer"], row["measure"]) == key]
    x = np.array([row["size"] + shift for row in mine])
    y = np.array([row["value"] for row in mine])
    axes.plot(x, y, "o", color=look.color, markersize=3, alpha=0.4)


def draw_medians(
    axes: Any, medians: dict[int, float], look: Style, shift: float, top: float
) -> None:
    x = np.array([*medians]) + shift
    y = np.array([*medians.values()])
    never = y == math.inf
    draw_line(axes, x[~never], y[~never], look, 1.6)
    axes.plot(x[never], np.full(np.sum(never), top), "x", color=look.color)


# ---------------------------------------------------------------- KeyDoorMaze


def maze_table(rows: list[Row]) -> str:
    """The maze's table: share of states seen, first key and goal, returns at the end."""
    names = explorers_in(rows)

    def values(measure: str) -> list[Array]:
        return [curve_of(rows, name, measure)[1] for name in names]

    # a column for each measure
    late = [last_quarter(rows, name, "return") for name in names]
    columns = [
        ["", *names],
        ["episodes", *(str(curve_of(rows, name, "return")[0][-1]) for name in names)],
        ["states seen", *spread_cells(each[:, -1] for each in values("seen"))],
        ["first key", *(first_cell(each[:, 0]) for each in values("key"))],
        ["first goal", *(first_cell(each[:, 0]) for each in values("goal"))],
        ["return, last quarter", *spread_cells(late)],
    ]

    title = (
        "KeyDoorMaze: share of the states seen, episode of the first key and goal, "
        f"return, {seeds_in(rows)}"
    )
    return titled(title, columns)


def draw_maze(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw learning curves, and next to them a map of each explorer's visits."""
    looks = looks_of(rows, EXPLORER_COLORS)
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.0, 1.25))
    left, right = halves

    # learning curves
    titles = {"seen": "share of states seen", "return": "return of an episode"}
    panels = left.subplots(2, 1, sharex=True)
    for axes, (measure, title) in zip(panels, titles.items()):
        draw_measure(axes, rows, measure, looks)
        axes.set(ylabel=title, ylim=(-0.03, 1.03))
        finish(axes, "no episodes")
    panels[-1].set_xlabel("episodes")
    title = f"KeyDoorMaze: median and quartiles of {seeds_in(rows)}"
    left.suptitle(title, fontsize="medium")

    # maps
    draw_maps(right, rows, list(looks))
    return looks


def draw_maps(figure: Any, rows: list[Row], names: list[str]) -> None:
    """Draw for each explorer a map with the share of its steps into each cell."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    maze = KeyDoorMaze("index")
    colors = colormaps["viridis"].with_extremes(bad="0.8")  # walls
    maps = figure.subplots(2, math.ceil(len(names) / 2), squeeze=False)
    for axes in maps.flat:
        axes.axis("off")
    for axes, name in zip(maps.flat, names):
        # the shares in the maze's drawing, nan in walls
        _, shares = curve_of(rows, name, "visits")
        grid = np.full(maze.drawing.shape, np.nan)
        grid[tuple(np.array(maze.cells).T)] = np.maximum(shares.mean(axis=0), 1e-5)
        shown = np.ma.masked_invalid(grid)
        image = axes.imshow(shown, norm=LogNorm(1e-4, 1.0), cmap=colors)
        axes.set_title(name, fontsize="small")

        # start, key, door and goal
        for sign in "AKDG":
            row, column = maze.cells[maze.places[sign]]
            centred = {"ha": "center", "va": "center"}
            axes.text(column, row, sign, color="white", fontsize=6, **centred)
    bar = figure.colorbar(image, ax=maps, fraction=0.03, pad=0.02)
    bar.set_label("share of steps into a cell")
    title = "where they have been (A start, K key, D door, G goal)"
    figure.suptitle(title, fontsize="medium")


# ---------------------------------------------------------------- NoisyTV


def tv_table(rows: list[Row]) -> str:
    """NoisyTV's table: share of steps in front of the screen, and the bonus of such a step.

    Over all points and in the last quarter.
    """
    # over all points, and in the last quarter
    names = explorers_in(rows)
    watching = [curve_of(rows, name, "watching")[1].mean(axis=1) for name in names]
    late = [last_quarter(rows, name, "watching") for name in names]
    bonuses = [last_quarter(rows, name, "pays") for name in names]
    columns = [
        ["", *names],
        ["watching", *spread_cells(watching)],
        ["in the last quarter", *spread_cells(late)],
        ["bonus, others 1", *spread_cells(bonuses)],
    ]

    title = (
        "NoisyTV: share of the steps before the screen, "
        f"and their bonus in units of the others', {seeds_in(rows)}"
    )
    return titled(title, columns)


def draw_tv(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw the share of watching and its bonus, by episodes."""
    looks = looks_of(rows, EXPLORER_COLORS)
    watching, bonus = figure.subplots(1, 2)

    # watching, in both panels by episodes
    draw_measure(watching, rows, "watching", looks)
    watching.set_ylabel("share of steps before the screen")
    watching.set_ylim(-0.03, 1.03)

    # its bonus; 1 is the mean bonus of other steps
    draw_measure(bonus, rows, "pays", looks)
    bonus.set_ylabel("mean bonus of such a step, others 1")
    bonus.set_yscale("log")
    bonus.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)

    for axes in (watching, bonus):
        axes.set_xlabel("episodes")
        finish(axes, "no episodes")
    title = f"median and quartiles of {seeds_in(rows)}"
    figure.suptitle(f"NoisyTV: watching noise, and its bonus; {title}")
    return looks


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

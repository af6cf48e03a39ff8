"""The study `Film`: the states that an agent visits, and the gain of its next transition.

TRPO with and without VIME on the sparse mountain car. The runs are those of `vime-ref
run`, seed by seed. Pictures show the first seed.

Axes: N transitions, X and Y cells of position and velocity, T iterations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

from agents_ref import train
from bnn_ref import Array
from vime_gym.tasks import SparseMountainCar
from vime_lab.animations import poster_first
from vime_lab.checkpoints import RUN_MODULES
from vime_lab.figures import COLORS, Style
from vime_lab.rows import Row
from vime_lab.studies.frame import (
    Study,
    StudyJob,
    StudySettings,
    Value,
    curve_of,
    few_digits,
)
from vime_lab.tables import aligned, label
from vime_lab.tasks import ROOT_SEED, TASKS, Job, grid_of, start
from vime_lecture.densities import Grid
from vime_ref import Batch, Bonus, Vime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ---------------------------------------------------------------- constants

TASK = "SparseMountainCar"
BONUS_OF = {label(bonus): bonus for bonus in ("none", "vime")}
PLAIN, CURIOUS = BONUS_OF
FORCES = (-1.0, 0.0, 1.0)  # of the transitions whose gains are averaged
# Seed of the maps' noise, separate from the training's.
MAP_SEED = 2
SHOWN_ITERATIONS = 6  # iterations in the still picture
MAP_COLORS = {"gain": "magma_r", "steps": "viridis_r"}  # in gray: the more, the darker
MAP_LABELS = {"gain": "gain of the next\ntransition (nats)", "steps": "steps so far"}

# ---------------------------------------------------------------- types


class Maps(NamedTuple):
    """The data of one run that the pictures show."""

    returns: Array  # (T,)
    steps: Array  # (T, X, Y), in each cell so far
    gains: Array  # (T, X, Y), or (0, X, Y) without a model


# ---------------------------------------------------------------- runs


def car_cells() -> Grid:
    """The cells of position and velocity: those of the control that counts."""
    return grid_of(TASKS[TASK], 2)


def centers(grid: Grid) -> Array:
    """The middle of each cell, (X·Y, 2), in the order of `Grid.index`."""
    middles = [np.convolve(edges, [0.5, 0.5], "valid") for edges in grid.edges]
    both = np.meshgrid(*middles, indexing="ij")  # (X, Y) each
    return np.stack(both, axis=-1).reshape(-1, 2)  # (X·Y, 2)


def next_transitions(grid: Grid) -> Batch:
    """The task's transition from the middle of each cell, by each of the forces."""
    env: Any = gym.make(TASKS[TASK].env_id).unwrapped
    assert isinstance(env, SparseMountainCar)
    env.reset(seed=0)
    starts = np.repeat(centers(grid), len(FORCES), axis=0)  # (N, 2)
    forces = np.tile(FORCES, len(starts) // len(FORCES))  # (N,)
    ends = []
    for state, force in zip(starts, forces):
        env.state = state
        ends.append(env.step(np.array([force]))[0])

    nothing = np.zeros(len(starts))
    never = np.zeros(len(starts), dtype=bool)
    actions = forces[:, None]  # (N, 1)
    return Batch(starts, actions, nothing, np.array(ends, float), never, never)


def gain_map(bonus: Bonus, batch: Batch, seed: int) -> Array:
    """The gain from each cell, its mean over the forces, (X·Y,)."""
    rng = np.random.default_rng([ROOT_SEED, MAP_SEED, seed])
    gains = bonus.reward(batch, rng)  # (N,)
    return gains.reshape(-1, len(FORCES)).mean(axis=1)  # (X·Y,)


def run_film(job: StudyJob) -> Iterator[Value]:
    """Each iteration's return, steps in each cell, and gains after it.

    A cell's point is its number plus X·Y for each iteration before.
    """
    run = Job(TASK, BONUS_OF[job.explorer], "", job.seed, TASKS[TASK])
    grid = car_cells()
    batch = next_transitions(grid)
    size = int(np.prod(grid.shape))
    iterations = train(*start(run), num_iterations=job.settings.length)
    for t, seen in enumerate(iterations):
        yield "return", t, float(seen.episode_returns.mean())

        cells = grid.index(seen.batch.observations)  # (N,)
        maps: dict[str, Any] = {"steps": np.bincount(cells, minlength=size)}  # (X·Y,)
        if isinstance(seen.bonus, Vime):
            maps["gain"] = gain_map(seen.bonus, batch, job.seed)
        for measure, values in maps.items():
            for cell, value in enumerate(values):
                yield measure, size * t + cell, few_digits(value)


# ---------------------------------------------------------------- rows


def first_seed(rows: list[Row]) -> int:
    return min(row["seed"] for row in rows)


def maps_in(rows: list[Row], explorer: str) -> Maps:
    """The first seed's returns and maps."""
    shape = (-1, *car_cells().shape)

    def values(measure: str) -> Array:
        return curve_of(rows, explorer, measure)[1][0]

    steps = values("steps").reshape(shape)  # (T, X, Y)
    gains = values("gain") if explorer == CURIOUS else np.zeros(0)
    return Maps(values("return"), np.cumsum(steps, axis=0), gains.reshape(shape))


# ---------------------------------------------------------------- table


def film_table(rows: list[Row]) -> str:
    """Each iteration: returns, the cells visited so far, the median of the gains."""
    plain, curious = (maps_in(rows, name) for name in BONUS_OF)
    size = plain.steps[0].size
    names = [PLAIN, CURIOUS]
    table = [["", "return", "", "cells", "", "gain"]]
    table.append(["iteration", *names, *names, CURIOUS])
    for t in range(len(plain.returns)):
        seen = [str(np.count_nonzero(each.steps[t])) for each in (plain, curious)]
        returns = [f"{each.returns[t]:.2f}" for each in (plain, curious)]
        gain = f"{np.median(curious.gains[t]):.2g}"
        table.append([str(t), *returns, *seen, gain])
    title = f"Film: TRPO on {TASK}, seed {first_seed(rows)}, by iteration"
    lines = [
        f"cells: of {size}, visited so far; gain: of the next transition, its median over",
        "the cells, in nats",
    ]
    return "\n".join([title, "", *lines, "", *aligned(table, left=(0,), heads=2)])


# ---------------------------------------------------------------- pictures


def draw_map(axes: Any, values: Array, measure: str, norm: Any) -> Any:
    """Draw a map (X, Y) and the goal; cells with 0 stay white."""
    edges = car_cells().edges
    shown = np.ma.masked_less_equal(values.T, 0.0)  # (Y, X)
    mesh = axes.pcolormesh(*edges, shown, norm=norm, cmap=MAP_COLORS[measure])
    axes.axvline(goal_of(), color="black", linestyle="--", linewidth=1.0)
    return mesh


def goal_of() -> float:
    """The position of the goal."""
    return float(SparseMountainCar().goal_position)


def range_of(values: Array) -> Any:
    """The logarithmic range of the colors of all positive values."""
    from matplotlib.colors import LogNorm

    positive = values[values > 0.0]
    return LogNorm(positive.min(), positive.max())


def draw_iterations(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw some iterations of VIME: the gains above, the steps so far below."""
    maps = maps_in(rows, CURIOUS)
    count = len(maps.returns)
    shown = np.unique(np.geomspace(1, count, SHOWN_ITERATIONS).round().astype(int)) - 1
    panels = figure.subplots(2, len(shown), sharex=True, sharey=True, squeeze=False)
    for line, measure, values in zip(panels, MAP_COLORS, (maps.gains, maps.steps)):
        norm = range_of(values)
        for axes, iteration in zip(line, shown):
            mesh = draw_map(axes, values[iteration], measure, norm)
        line[0].set_ylabel("velocity")
        figure.colorbar(mesh, ax=line, label=MAP_LABELS[measure], pad=0.01)

    # the titles
    for axes, iteration in zip(panels[0], shown):
        axes.set_title(f"iteration {iteration}", fontsize="medium")
    for axes in panels[1]:
        axes.set_xlabel("position")
    title = f"VIME on {TASK}, seed {first_seed(rows)}; dashed: the goal"
    figure.suptitle(title)
    return {}


def play_maps(figure: Figure, rows: list[Row]) -> Iterator[float]:
    """Draw the steps so far of both agents, iteration by iteration."""
    runs = {name: maps_in(rows, name) for name in BONUS_OF}
    panels = figure.subplots(1, len(runs), sharex=True, sharey=True)
    norm = range_of(np.stack([maps.steps for maps in runs.values()]))
    panels[0].set_ylabel("velocity")
    meshes = []
    for axes, maps in zip(panels, runs.values()):
        meshes.append(draw_map(axes, maps.steps[-1], "steps", norm))
        axes.set_xlabel("position")
        low, high = axes.get_ylim()
        near = (goal_of() - 0.02, low + 0.94 * (high - low))
        axes.annotate("goal", near, ha="right", va="center")
    figure.colorbar(meshes[0], ax=panels, label=MAP_LABELS["steps"], pad=0.01)

    count = len(runs[PLAIN].returns)
    for t, seconds in poster_first(count):
        for axes, mesh, (name, maps) in zip(panels, meshes, runs.items()):
            mesh.set_array(np.ma.masked_less_equal(maps.steps[t].T, 0.0))
            title = f"TRPO with {name}: return {maps.returns[t]:.2f}"
            axes.set_title(title, color=COLORS[BONUS_OF[name]])
        where = f"{TASK}, seed {first_seed(rows)}"
        figure.suptitle(f"{where}: iteration {t}")
        yield seconds


# ---------------------------------------------------------------- the study

FILM_STUDIES = {
    "Film": Study(
        # length: iterations
        StudySettings(explorers=tuple(BONUS_OF), length=TASKS[TASK].iterations),
        run_film,
        film_table,
        draw_iterations,
        {name: COLORS[bonus] for name, bonus in BONUS_OF.items()},
        ("return", "steps"),
        (*RUN_MODULES, "vime_lab.studies.film"),
        film=play_maps,
    )
}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

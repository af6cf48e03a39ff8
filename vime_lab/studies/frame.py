"""The framework of a study: explorers side by side on one task, a table and a picture.

A run is a function of its `StudyJob`. It returns its measurements as `Value`s. A row is a
value together with its job; tables and pictures depend only on rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from agents_ref import Streams
from bnn_ref import Array, check_count
from vime_lab.figures import Curve, Style, draw_bands
from vime_lab.rows import Row
from vime_lab.statistics import band, quartile_band, seed_table
from vime_lab.tables import aligned, with_ends
from vime_lecture.strategies import epsilon_greedy_strategy
from vime_lecture.tabular import Episode, TabularSettings, q_learning
from vime_ref import NoBonus

# ---------------------------------------------------------------- constants

KEPT_DIGITS = 4

# ---------------------------------------------------------------- types

# Measure, point and value, which a row adds to the job.
Value = tuple[str, int, float]


@dataclass(frozen=True)
class StudySettings:
    """Settings that every study has; each study adds its own.

    Raises ValueError unless length ≥ 1.
    """

    explorers: tuple[str, ...]
    length: int  # of a run, in the study's unit
    sizes: tuple[int, ...] = (0,)  # of the task; 0 in a study with one size
    # largest size for explorers that cost more or have failed before
    largest: tuple[tuple[str, int], ...] = ()
    points: int = 30  # of a curve

    def __post_init__(self) -> None:
        check_count("length", self.length)


class StudyJob(NamedTuple):
    """One run."""

    study: str
    explorer: str
    size: int
    seed: int
    settings: Any  # the study's


class Study(NamedTuple):
    """A study: its runs, its table and its picture."""

    settings: StudySettings
    run: Callable[[StudyJob], Iterator[Value]]
    table: Callable[[list[Row]], str]
    draw: Callable[[Any, list[Row]], dict[str, Style]]  # into a figure; its legend
    colors: dict[str, str]  # explorers that its rows may name
    measures: tuple[str, ...]  # that each run has
    modules: tuple[str, ...]  # modules that compute its rows, besides the studies' own
    height: float = 4.2  # inches, of the picture without its legend
    # into a figure, frame by frame: the seconds of each
    film: Callable[[Any, list[Row]], Iterator[float]] | None = None


# ---------------------------------------------------------------- agents


def random_walk(
    env: gym.Env[Any, Any], agent: TabularSettings, num_episodes: int, rng: Generator
) -> Iterator[Episode]:
    """Episodes of random actions."""
    streams = Streams(*rng.spawn(4))
    random = epsilon_greedy_strategy(1.0)
    return q_learning(env, random, NoBonus(), streams, agent, num_episodes=num_episodes)


# ---------------------------------------------------------------- runs


def parts_of(length: int, num_parts: int) -> list[int]:
    """The last positions, counted from 1, of parts of nearly equal length.

    They are the points of a curve.

    >>> parts_of(10, 4)
    [3, 5, 8, 10]
    """
    ends = np.ceil(np.linspace(0, length, num_parts + 1)[1:]).astype(int)
    return [int(end) for end in np.unique(ends)]


# ---------------------------------------------------------------- rows


def few_digits(value: float) -> float:
    """The value to `KEPT_DIGITS` digits, for rows that only pictures need.

    >>> few_digits(1.23456e-5)
    1.235e-05
    """
    return float(f"{value:.{KEPT_DIGITS}g}")


def curve_of(
    rows: Iterable[Row], explorer: str, measure: str, size: int | None = None
) -> Curve:
    """The points (m,) and the values (seeds, m) of one explorer's measure."""
    mine = [
        row
        for row in rows
        if (row["explorer"], row["measure"]) == (explorer, measure)
        and size in (None, row["size"])
    ]
    points, values = seed_table(mine, "value", axis="point")
    return points.astype(int), values  # (m,), (seeds, m)


def explorers_in(rows: Iterable[Row]) -> list[str]:
    """The explorers, in the order of the rows."""
    return list(dict.fromkeys(row["explorer"] for row in rows))


def last_quarter(rows: list[Row], name: str, measure: str) -> Array:
    """Each seed's median over the last quarter of the points, (seeds,).

    nan values are ignored; without any number the result is nan.
    """
    points, values = curve_of(rows, name, measure)
    late = values[:, -math.ceil(len(points) / 4) :]
    numbers = [each[np.isfinite(each)] for each in late]
    return np.array([np.median(each) if len(each) else math.nan for each in numbers])


# ---------------------------------------------------------------- tables


def titled(title: str, columns: list[list[str]]) -> str:
    return "\n".join([title, "", *aligned(list(zip(*columns)), left=(0,))])


def seeds_in(rows: Iterable[Row]) -> str:
    count = len({row["seed"] for row in rows})
    return f"{count} seed{'s' if count > 1 else ''}"


def spread_cells(values: Iterable[ArrayLike]) -> list[str]:
    """Cells "median [quartiles]" over the seeds."""
    columns = [np.asarray(each, dtype=float)[:, None] for each in values]  # (seeds, 1)
    return with_ends([band(column, quartile_band)[:, 0] for column in columns])


def first_cell(values: Array) -> str:
    """The cell with the median over the seeds that arrived.

    It also has their number, if not all arrived.
    """
    there = values[np.isfinite(values)]
    if not len(there):
        return "never"
    some = "" if len(there) == len(values) else f" ({len(there)} of {len(values)})"
    return f"{np.median(there):g}{some}"


# ---------------------------------------------------------------- pictures


def looks_of(rows: list[Row], colors: dict[str, str]) -> dict[str, Style]:
    """Each explorer's style: a solid line in its color, in the order of the rows."""
    return {name: Style(name, colors[name], "-") for name in explorers_in(rows)}


def draw_measure(
    axes: Any, rows: list[Row], measure: str, looks: dict[str, Style]
) -> None:
    """Draw the median and quartiles of a measure over the seeds, for each explorer in looks."""
    curves = {name: curve_of(rows, name, measure) for name in looks}
    draw_bands(axes, curves, looks, quartile_band, alpha=0.12)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""The frame of a study: explorers side by side on one task, a table and a picture, both made of the rows of one file.

A run is a function of its `StudyJob`. What it measures is its `Value`s; a `Row` is a value with the job it came from.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bnn_ref import Array, check_count
from vime_lab.figures import Style, draw_line
from vime_lab.statistics import band, quartile_band, with_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# ---------------------------------------------------------------- constants

COLUMNS = ("study", "explorer", "size", "seed", "measure", "point", "value")
COUNTS = ("size", "seed", "point")

# ---------------------------------------------------------------- types

Row = dict[str, Any]
Value = tuple[
    str, int, float
]  # measure, point and value: what a run adds to its job in a row


@dataclass(frozen=True)
class StudySettings:
    """What any study says of its runs; each adds settings of its own. ValueError unless length ≥ 1."""

    explorers: tuple[str, ...]
    length: int  # of a run, in the study's own unit
    sizes: tuple[int, ...] = (0,)  # of the task; a study of one size calls it 0
    largest: tuple[
        tuple[str, int], ...
    ] = ()  # up to which explorers are tried that cost more, or have failed before
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
    """What is run, and how its rows are told and drawn."""

    settings: StudySettings
    run: Callable[[StudyJob], Iterator[Value]]
    table: Callable[[list[Row]], str]
    draw: Callable[
        [Any, list[Row]], dict[str, Style]
    ]  # into a figure; returns what the legend has to name
    colors: dict[str, str]  # of the explorers that its rows may name
    modules: tuple[
        str, ...
    ]  # whose code makes its rows, beside `frame` and `catalogue`
    height: float = 4.2  # inches, of the picture without its legend


# ---------------------------------------------------------------- runs


def parts_of(length: int, num_parts: int) -> list[int]:
    """The last places, counted from 1, of parts as equal as can be: where a curve has its points.

    >>> parts_of(10, 4)
    [3, 5, 8, 10]
    """
    ends = np.ceil(np.linspace(0, length, num_parts + 1)[1:]).astype(int)
    return [int(end) for end in np.unique(ends)]


# ---------------------------------------------------------------- rows and their file


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def typed_row(line: list[str], where: str) -> Row:
    if len(line) != len(COLUMNS):
        raise ValueError(f"{where} must have {len(COLUMNS)} cells, got {len(line)}")
    row: Row = dict(zip(COLUMNS, line))
    try:
        return (
            row
            | {name: int(row[name]) for name in COUNTS}
            | {"value": float(row["value"])}
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def read_rows(path: Path) -> list[Row]:
    """The rows of a study's file; ValueError names the file and what is wrong with it."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no CSV file: {error}") from error
    if tuple(header) != COLUMNS or not lines:
        raise ValueError(
            f"{path}: must have the columns {', '.join(COLUMNS)}, and rows"
        )
    return [
        typed_row(line, f"{path}: row {place}")
        for place, line in enumerate(lines, start=2)
    ]


def curve_of(
    rows: Iterable[Row], explorer: str, measure: str, size: int | None = None
) -> tuple[Array, Array]:
    """The points (m,) and the values (seeds, m) of one explorer's measure."""
    mine = [
        r
        for r in rows
        if (r["explorer"], r["measure"]) == (explorer, measure)
        and size in (None, r["size"])
    ]
    points = sorted({row["point"] for row in mine})
    seeds = sorted({row["seed"] for row in mine})
    found = {(row["seed"], row["point"]): row["value"] for row in mine}
    return np.array(points), np.array(
        [[found.get((seed, point), math.nan) for point in points] for seed in seeds]
    )


def names_of(rows: Iterable[Row]) -> list[str]:
    """The explorers, in the order of the rows."""
    return list(dict.fromkeys(row["explorer"] for row in rows))


# ---------------------------------------------------------------- tables


def seeds_in(rows: Iterable[Row]) -> str:
    count = len({row["seed"] for row in rows})
    return f"{count} seed{'s' if count > 1 else ''}"


def spread_cells(values: Iterable[ArrayLike]) -> list[str]:
    """Cells "median [quartiles]", each of the numbers over the seeds."""
    return with_ends(
        [
            band(np.asarray(each, dtype=float)[:, None], quartile_band)[:, 0]
            for each in values
        ]
    )


def first_cell(values: Array) -> str:
    """The median over the seeds that arrived, and how many they are where not all did."""
    there = values[np.isfinite(values)]
    if not len(there):
        return "never"
    return f"{np.median(there):g}" + (
        "" if len(there) == len(values) else f" ({len(there)} of {len(values)})"
    )


def last_quarter(rows: list[Row], name: str, measure: str) -> Array:
    """Each seed's median over the last quarter of the points, of those that are numbers, (seeds,)."""
    points, values = curve_of(rows, name, measure)
    late = values[:, -math.ceil(len(points) / 4) :]
    return np.array(
        [
            np.median(each[np.isfinite(each)]) if np.isfinite(each).any() else math.nan
            for each in late
        ]
    )


# ---------------------------------------------------------------- pictures


def looks_of(rows: list[Row], colors: dict[str, str]) -> dict[str, Style]:
    """A solid line in its colour for each explorer, in the order of the rows."""
    return {name: Style(name, colors[name], "-") for name in names_of(rows)}


def draw_bands(
    axes: Axes, rows: list[Row], measure: str, looks: dict[str, Style]
) -> None:
    """Median and quartiles over the seeds."""
    for name, look in looks.items():
        points, values = curve_of(rows, name, measure)
        low, middle, high = band(values, quartile_band)
        seen = np.isfinite(middle)
        draw_line(axes, points[seen], middle[seen], look, 1.6)
        axes.fill_between(
            points[seen],
            low[seen],
            high[seen],
            color=look.color,
            alpha=0.12,
            linewidth=0,
        )


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

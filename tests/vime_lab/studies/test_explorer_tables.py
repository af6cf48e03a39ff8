"""Tables and pictures of the explorers' studies against hand-written rows."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from lab import drawn_study, study_row, words
from matplotlib.axes import Axes

from vime_gym.rooms import KeyDoorMaze
from vime_lab.studies.catalogue import STUDIES


def test_bandit_table_against_lines_by_hand() -> None:
    rows = [
        study_row("Bandit", name, measure, slope * t * (seed + 1), seed=seed, point=t)
        for name, slope in (("random", 0.5), ("UCB-1", 0.25))
        for seed in (0, 1, 2)
        for t in (1, 400, 800)
        for measure in ("regret", *(["bound"] if name == "UCB-1" else []))
    ]
    lines = STUDIES["Bandit"].table(rows).splitlines()
    assert (
        lines[0]
        == "Bandit: pseudo-regret after 800 pulls, 3 seeds; UCB-1's proven bound is 200"
    )
    assert words(lines[3]) == "random 800 [600, 1000] 1000 [750, 1250]"
    assert words(lines[4]) == "UCB-1 400 [300, 500] 500 [375, 625]"


def test_deep_sea_table_against_rows_by_hand() -> None:
    """Counts take N², UCB 2^N and fails at 30, which 2 of 3 seeds never solve; VIME is tried at one size."""
    sizes = (6, 10, 14, 30)
    rows = [
        study_row("DeepSea", name, "solved",
            float(law(size)) if seed == 0 or size < 30 or name == "counts" else math.nan,
            size=size, seed=seed)
        for name, law in (("counts", lambda n: n**2), ("UCB", lambda n: 2**n), ("VIME", lambda n: 40))
        for size in (sizes if name != "VIME" else sizes[:1])
        for seed in range(3)
    ]  # fmt: skip
    rows += [study_row("DeepSea", "random", "found", 64.0, size=6)]
    lines = STUDIES["DeepSea"].table(rows).splitlines()
    assert [line.split() for line in lines[2:7]] == [
        ["6", "10", "14", "30"],
        ["counts", "36", "100", "196", "900"],
        ["UCB", "64", "1024", "16384", "-"],
        ["VIME", "40"],
        ["random", "64"],
    ]
    assert [words(line) for line in lines[-4:]] == [
        "counts 1.00 2^(0.18 N) N^2.0 power of N",
        "UCB 0.83 2^(1.00 N) N^6.5 2^N",
        "VIME 0.25 too few sizes",
        "random too few sizes",
    ]


def test_maze_and_tv_tables_against_rows_by_hand() -> None:
    rows = [
        study_row("KeyDoorMaze", "counts", measure, value * (1 + seed), seed=seed, point=point)
        for seed in (0, 1)
        for measure, value, point in (
            ("seen", 0.1, 5), ("seen", 0.2, 10), ("return", 9.0, 5), ("return", 0.4, 10), ("key", 3.0, 0),
            ("goal", 8.0 if seed else math.nan, 0), ("visits", 1.0, 0),
        )
    ]  # fmt: skip
    (line,) = STUDIES["KeyDoorMaze"].table(rows).splitlines()[3:]
    assert (
        words(line) == "counts 10 0.30 [0.25, 0.35] 4.5 16 (1 of 2) 0.60 [0.50, 0.70]"
    )
    never = [
        {**each, "value": math.nan} if each["measure"] == "goal" else each
        for each in rows
    ]
    assert " never " in STUDIES["KeyDoorMaze"].table(never)
    points = {"watching": (0.5, 0.25, 0.75), "pays": (math.nan, 8.0, 2.0)}
    rows = [
        study_row("NoisyTV", "L2 error", m, v, point=p)
        for m, each in points.items()
        for p, v in enumerate(each)
    ]
    (line,) = STUDIES["NoisyTV"].table(rows).splitlines()[3:]
    assert words(line) == "L2 error 0.50 0.75 2.00"
    assert (
        words(STUDIES["NoisyTV"].table([*rows[:3], *rows[3:4]]).splitlines()[3])
        == "L2 error 0.50 0.75 none"
    )


def shows(axes: Axes, x: Sequence[float], y: Sequence[float], marker: str = "") -> bool:
    """Whether one of the panel's lines runs through these points, with this marker."""
    return any(
        (not marker or line.get_marker() == marker)
        and len(line.get_xdata()) == len(x)
        and np.allclose(line.get_xdata(), x)
        and np.allclose(line.get_ydata(), y)
        for line in axes.lines
    )


@pytest.mark.parametrize(
    ("study", "measures"),
    [
        ("Bandit", ("regret", "regret")),
        ("KeyDoorMaze", ("seen", "return")),
        ("NoisyTV", ("watching", "pays")),
    ],
)
def test_pictures_draw_the_medians_of_their_rows(study, measures) -> None:
    """Panel by panel, with other medians in each. Control: the mean of the seeds is on no line."""
    points, seeds = (1, 5, 10), (1.0, 2.0, 6.0)
    height = {
        "bound": 0.9,
        "regret": 0.1,
        "seen": 0.05,
        "return": 0.04,
        "watching": 0.03,
        "pays": 0.02,
    }
    explorer = "UCB-1" if study == "Bandit" else "counts"
    rows = [
        study_row(
            study,
            explorer,
            measure,
            height[measure] * point * factor,
            seed=seed,
            point=point,
        )
        for measure in {*measures, *(["bound"] if study == "Bandit" else [])}
        for point in points
        for seed, factor in enumerate(seeds)
    ]
    cells = len(KeyDoorMaze("index").cells) if study == "KeyDoorMaze" else 0
    rows += [
        study_row(study, explorer, "visits", 1.0 / cells, point=cell)
        for cell in range(cells)
    ]
    panels = drawn_study(study, rows).axes
    for axes, measure in zip(panels, measures):
        assert shows(axes, points, [2.0 * height[measure] * point for point in points])
        assert not shows(
            axes, points, [3.0 * height[measure] * point for point in points]
        )


def test_deep_sea_picture_has_a_cross_where_the_median_is_never() -> None:
    """Solved at 6 and 8, not at 10. Controls: no cross at 8, and none where 10 is solved too."""
    rows = [
        study_row("DeepSea", "counts", "solved", value, size=size)
        for size, value in ((6, 40.0), (8, 90.0))
    ]
    never, solved = (
        drawn_study(
            "DeepSea", [*rows, study_row("DeepSea", "counts", "solved", value, size=10)]
        ).axes[0]
        for value in (math.nan, 200.0)
    )
    top = 1.6 * 90.0
    assert shows(never, [6.0, 8.0], [40.0, 90.0])
    assert shows(never, [10.0], [top], "x")
    assert not shows(never, [8.0], [top], "x")
    assert shows(solved, [6.0, 8.0, 10.0], [40.0, 90.0, 200.0])
    assert not any(
        len(line.get_xdata()) for line in solved.lines if line.get_marker() == "x"
    )

"""Tables and pictures of the television's studies against hand-written rows."""

import math

import numpy as np
import pytest
from lab import drawn_study, study_row, words

from vime_lab.studies.catalogue import STUDIES
from vime_lab.studies.television_models import parts_of_name
from vime_lab.studies.television_tables import (
    LINES_OF,
    TELEVISION_COLORS,
    WEIGHTS_OF,
    change_cell,
    interest,
    powers,
)

POINTS = (100, 1000, 10_000, 100_000)
LAWS = {
    "screen": (4.0, -1.0),
    "elsewhere": (2.0, -2.0),
    "screen mean": (4.0, -1.0),
    "elsewhere mean": (8.0, -1.0),
    "normalized": (3.0, 0.5),
}


def television_rows(name: str = "dirichlet") -> list[dict]:
    """Each measure is a power of n, and twice as large for seed 1."""
    return [
        study_row(
            "Television",
            name,
            measure,
            factor * (seed + 1) * point**power,
            seed=seed,
            point=point,
        )
        for measure, (factor, power) in LAWS.items()
        for point in POINTS
        for seed in (0, 1)
    ]


def test_interests_and_powers_against_laws_by_hand() -> None:
    rows = television_rows()
    for kind, of, power in (
        ("absolute", "", -1.0),
        ("relative", "", 1.0),
        ("normalized", "", 0.5),
        ("relative", " mean", 0.0),
    ):
        points, values = interest(rows, "dirichlet", kind, of)
        assert points.tolist() == [*POINTS]
        assert powers(points, values) == pytest.approx([power] * 2, abs=1e-9)
    _, relative = interest(rows, "dirichlet", "relative")
    assert relative[:, 0] == pytest.approx([200.0, 200.0])


def test_powers_are_those_of_the_last_half() -> None:
    """Control: the first half has another power, and two points are enough."""
    points = np.array([1.0, 10.0, 100.0, 1000.0])
    values = np.array([[1.0, 1e5, 10.0, 1.0]])
    assert powers(points, values) == pytest.approx([-1.0])
    assert powers(points[:2], values[:, :2]) == pytest.approx([5.0])


def test_change_cell_against_text_by_hand() -> None:
    points = np.array([1.0, 100.0])
    values = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    assert change_cell(points, values) == "2 to 20, rises"
    assert change_cell(points, 1.0 / values) == "0.5 to 0.05, falls"
    assert change_cell(points, np.ones((3, 2))) == "1 to 1, steady"
    late = np.array([1.0, 2.0, 100.0, 1000.0])
    curve = np.array([[8.0, 4.0, 2.0, 2.0]])
    assert change_cell(late, curve) == "2 to 2, steady"


def test_television_table_against_lines_by_hand() -> None:
    lines = STUDIES["Television"].table(television_rows()).splitlines()
    assert lines[0] == (
        "Television: interest in the screen after 10000 and 100000 rows n, 2 seeds"
    )
    cells = [
        "dirichlet 0.0006 to 6e-05, falls",
        "2e+04 to 2e+05, rises",
        "4.5e+02 to 1.4e+03, rises",
    ]
    assert words(lines[3]) == " ".join(cells)
    assert "from 10000 rows on, of medians" in lines[5]
    same = "dirichlet -1.00 [-1.00, -1.00] 1.00 [1.00, 1.00] 0.50 [0.50, 0.50]"
    assert words(lines[8]) == same
    assert "of means" in lines[10]
    same = "dirichlet -1.00 [-1.00, -1.00] 0.00 [0.00, 0.00]"
    assert words(lines[13]) == same


def test_television_picture_draws_logarithms_with_names_at_the_ends() -> None:
    figure = drawn_study("Television", television_rows())
    assert len(figure.axes) == 3
    factors = {"absolute": (4.0, -1.0), "relative": (2.0, 1.0), "normalized": (3, 0.5)}
    for axes, (kind, (factor, power)) in zip(figure.axes, factors.items()):
        assert axes.get_title().startswith(f"{kind}: ")
        (line,) = axes.lines
        x, y = line.get_xdata(), line.get_ydata()
        assert x == pytest.approx([2.0, 3.0, 4.0, 5.0])
        scale = 1.0 if kind == "relative" else math.sqrt(2.0)
        if kind != "relative":
            middle = (np.log10(factor) + np.log10(2.0 * factor)) / 2.0
            assert y == pytest.approx(middle + power * x, abs=1e-9)
        else:
            assert y == pytest.approx(np.log10(factor * scale) + power * x)
        assert [text.get_text() for text in axes.texts] == ["dirichlet"]
        figure.canvas.draw()
        labels = [each.get_text() for each in axes.get_yticklabels()]
        assert all(label.startswith("$10^{") for label in labels)


def corridor_rows() -> list[dict]:
    """Exact gain finds the reward at 10 and 20; the L2 error never."""
    found = {"dirichlet": (10.0, 20.0), "L2 error": (math.nan, math.nan)}
    curves = {
        "dirichlet": {"watching": (0.8, 0.0), "return": (0.0, 1.0)},
        "L2 error": {"watching": (0.6, 0.8), "return": (0.0, 0.0)},
    }
    rows = [
        study_row("NoisyCorridor", name, "found", value, seed=seed)
        for name, values in found.items()
        for seed, value in enumerate(values)
    ]
    return rows + [
        study_row("NoisyCorridor", name, measure, value, seed=seed, point=point)
        for name, measures in curves.items()
        for measure, values in measures.items()
        for point, value in zip((50, 100), values)
        for seed in (0, 1)
    ]


def test_corridor_table_against_lines_by_hand() -> None:
    lines = STUDIES["NoisyCorridor"].table(corridor_rows()).splitlines()
    assert lines[0] == (
        "NoisyCorridor: episode of the first reward of 100, "
        "share of steps at the screen, return, 2 seeds"
    )
    assert [words(line) for line in lines[3:]] == [
        "dirichlet 15 0.40 [0.40, 0.40] 0.00 [0.00, 0.00] 1.00 [1.00, 1.00]",
        "L2 error never 0.70 [0.70, 0.70] 0.80 [0.80, 0.80] 0.00 [0.00, 0.00]",
    ]


def weighted_rows() -> list[dict]:
    """Exact gain at weights 0.01 and 10 too: 1/10 and twice the late share of weight 1."""
    given = corridor_rows()
    changed = []
    for suffix, factor in (("x10", 2.0), ("x0.01", 0.1)):
        for row in given:
            if row["explorer"] == "dirichlet":
                value = 0.3 * factor if row["measure"] == "watching" else row["value"]
                name = f"dirichlet {suffix}"
                changed.append({**row, "explorer": name, "value": value})
    return [*given, *changed]


def test_weights_table_against_lines_by_hand() -> None:
    """In the order of the weights, and only for bonuses that have several."""
    lines = STUDIES["NoisyCorridor"].table(weighted_rows()).splitlines()
    plain = STUDIES["NoisyCorridor"].table(corridor_rows()).splitlines()
    assert lines[: len(plain)] == plain
    title = "weights of the bonus; share and return in the last quarter"
    assert lines[len(plain) + 1] == title
    assert [words(line) for line in lines[len(plain) + 4 :]] == [
        "dirichlet 0.01 15 0.03 [0.03, 0.03] 1.00 [1.00, 1.00]",
        "dirichlet 1 15 0.00 [0.00, 0.00] 1.00 [1.00, 1.00]",
        "dirichlet 10 15 0.60 [0.60, 0.60] 1.00 [1.00, 1.00]",
    ]


def test_corridor_picture_draws_runs_with_a_reward_by_weight() -> None:
    """A line for each bonus with several weights; the other panels are at weight 1."""
    rows = weighted_rows()
    for row in rows:
        if row["explorer"] == "dirichlet x10" and row["measure"] == "found":
            row["value"] = math.nan if row["seed"] else 5.0
    watching, returns, weights = drawn_study("NoisyCorridor", rows).axes
    assert (len(watching.lines), len(returns.lines)) == (2, 2)
    (line,) = weights.lines
    assert line.get_xdata() == pytest.approx([-2.0, 0.0, 1.0])
    assert line.get_ydata() == pytest.approx([1.0, 1.0, 0.5])
    assert [text.get_text() for text in weights.texts] == ["dirichlet"]


def test_corridor_picture_draws_medians() -> None:
    watching, returns, _ = drawn_study("NoisyCorridor", corridor_rows()).axes
    curves = [line.get_xydata().tolist() for line in watching.lines]
    assert curves == [[[50, 0.8], [100, 0.0]], [[50, 0.6], [100, 0.8]]]
    curves = [line.get_xydata().tolist() for line in returns.lines]
    assert curves == [[[50, 0.0], [100, 1.0]], [[50, 0.0], [100, 0.0]]]


def test_weights_are_those_of_the_names() -> None:
    """The explorer at weight 1 has the same bonus and division."""
    for explorer, (name, weight) in WEIGHTS_OF.items():
        bonus, by_median, factor = parts_of_name(explorer)
        assert factor == weight
        assert parts_of_name(name) == (bonus, by_median, 1.0)


def test_every_explorer_has_a_look_of_its_own() -> None:
    named = {
        name
        for study in ("Television", "NoisyCorridor")
        for name in STUDIES[study].settings.explorers
    }
    assert named <= set(TELEVISION_COLORS)
    assert named - set(WEIGHTS_OF) == set(LINES_OF)
    assert len(set(LINES_OF.values())) == len(LINES_OF)

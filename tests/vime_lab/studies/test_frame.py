"""The framework of studies: curves, quarters and cells against hand-written rows."""

import math

import numpy as np
import pytest
from lab import study_row
from matplotlib.figure import Figure

from vime_lab.figures import Style
from vime_lab.studies import frame
from vime_lab.studies.frame import StudySettings

NAN = math.nan


def some_rows() -> list[dict]:
    """Two seeds of counts at three points, one of which the second seed lacks."""
    return [
        study_row("DeepSea", "counts", "seen", value, seed=seed, point=point, size=size)
        for seed, point, value, size in (
            (1, 5, 4.0, 6),
            (0, 9, 3.0, 6),
            (0, 1, 1.0, 6),
            (0, 5, 2.0, 6),
            (1, 1, 8.0, 6),
        )
    ]


def test_parts_of_against_equal_parts() -> None:
    """Control: more parts than places give each place once."""
    assert frame.parts_of(12, 4) == [3, 6, 9, 12]
    assert frame.parts_of(10, 4) == [3, 5, 8, 10]
    assert frame.parts_of(2, 5) == [1, 2]


def test_curve_of_against_rows_by_hand() -> None:
    """Points and seeds in order. Control: other explorers, measures and sizes."""
    rows = some_rows()
    others = [
        study_row("DeepSea", "UCB", "seen", 7.0, point=1, size=6),
        study_row("DeepSea", "counts", "solved", 7.0, point=1, size=6),
        study_row("DeepSea", "counts", "seen", 7.0, point=1, size=8),
    ]
    points, values = frame.curve_of([*rows, *others], "counts", "seen", 6)
    assert points.tolist() == [1, 5, 9]
    np.testing.assert_array_equal(values, [[1.0, 2.0, 3.0], [8.0, 4.0, NAN]])
    _, values = frame.curve_of([*rows, *others], "counts", "seen", 8)
    assert values.tolist() == [[7.0]]


def test_last_quarter_against_medians_by_hand() -> None:
    """Of eight points the last two, of those that are numbers; nan without any."""
    columns = {
        0: [0.0] * 6 + [2.0, 4.0],
        1: [9.0] * 7 + [NAN],
        2: [5.0] * 6 + [NAN] * 2,
    }
    rows = [
        study_row("NoisyTV", "VIME", "pays", value, seed=seed, point=point)
        for seed, values in columns.items()
        for point, value in enumerate(values)
    ]
    found = frame.last_quarter(rows, "VIME", "pays")
    np.testing.assert_array_equal(found, [3.0, 9.0, NAN])


def test_cells_against_their_text() -> None:
    assert frame.first_cell(np.array([NAN, NAN])) == "never"
    assert frame.first_cell(np.array([3.0, NAN, 5.0])) == "4 (2 of 3)"
    assert frame.first_cell(np.array([3.0, 5.0])) == "4"
    assert frame.spread_cells([[1.0, 2.0, 3.0], [NAN]]) == ["2.00 [1.50, 2.50]", "none"]
    assert frame.seeds_in(some_rows()) == "2 seeds"
    assert frame.seeds_in(some_rows()[:1]) == "1 seed"


def test_looks_and_explorers_in_the_order_of_the_rows() -> None:
    rows = [
        study_row("Bandit", name, "regret", 1.0) for name in ("UCB", "counts", "UCB")
    ]
    assert frame.explorers_in(rows) == ["UCB", "counts"]
    looks = frame.looks_of(rows, {"counts": "red", "UCB": "blue", "VIME": "green"})
    assert looks == {
        "UCB": Style("UCB", "blue", "-"),
        "counts": Style("counts", "red", "-"),
    }
    assert list(looks) == ["UCB", "counts"]


def test_draw_measure_against_medians_and_quartiles() -> None:
    """The point that one seed lacks has a median and no band."""
    axes = Figure().subplots()
    frame.draw_measure(axes, some_rows(), "seen", {"counts": Style("c", "red", "-")})
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[1.0, 4.5], [5.0, 3.0], [9.0, 3.0]]
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert np.nanmax(heights) == 6.25
    assert np.nanmin(heights) == 2.5


def test_a_study_rejects_no_length() -> None:
    with pytest.raises(ValueError, match="length must be a whole number >= 1, got 0"):
        StudySettings(explorers=("random",), length=0)


def test_few_digits_against_numbers_by_hand() -> None:
    """Four digits, however small or large; nan stays nan."""
    assert frame.few_digits(123456.0) == 123500.0
    assert frame.few_digits(-1.23456e-7) == -1.235e-7
    assert frame.few_digits(0.0) == 0.0
    assert math.isnan(frame.few_digits(NAN))

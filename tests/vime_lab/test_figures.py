"""Figures, by their drawn contents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import NAN, Rows, curve_rows
from matplotlib import rcParams
from matplotlib.figure import Figure

from vime_lab import figures
from vime_lab import statistics as curves


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Figure]:
    """A drawing function's figure, after it was written in low resolution."""
    monkeypatch.setattr(figures, "DPI", 40)
    written: list[Figure] = []
    savefig = Figure.savefig

    def keep(self: Figure, *arguments: Any, **keywords: Any) -> None:
        written.append(self)
        savefig(self, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", keep)

    def draw(function: Callable[..., None], *arguments: Any) -> Figure:
        function(tmp_path / "figure.png", *arguments)
        assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
        return written[-1]

    return draw


def some_rows(shift: float = 0.0) -> Rows:
    return [
        each
        for bonus, slope in (("vime", 1.0), ("l2", 0.5), ("none", 0.0))
        for seed in range(4)
        for each in curve_rows(
            bonus,
            seed,
            [
                slope * i * (1.0 + seed) + shift * (seed == 3) * (i == 5)
                for i in range(8)
            ],
        )
    ]


def labels(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def texts(figure: Figure) -> list[list[str]]:
    return [[text.get_text() for text in axes.texts] for axes in figure.axes]


def visits(shift: float = 0.0) -> dict[str, np.ndarray]:
    states = np.random.default_rng(0).normal(size=(50, 2))
    return {
        "none": states,
        "vime": 2.0 * states + shift * (np.arange(50) == 7)[:, None],
    }


@pytest.mark.unwatched
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (figures.draw_learning_curve, lambda shift: (some_rows(shift),)),
        (
            figures.draw_results,
            lambda shift: ({"Hill": some_rows(), "Lake": some_rows(shift)},),
        ),
        (
            figures.draw_diagnostics,
            lambda shift: (
                [{**r, "elbo": r["elbo"] - shift * r["seed"]} for r in some_rows()],
            ),
        ),
        (figures.draw_state_visits, lambda shift: (visits(shift), ("x", "y"))),
    ],
)
def test_pictures_are_equal_for_equal_data_and_differ_for_other_data(
    function, arguments, tmp_path
):
    pictures = []
    for shift in (0.0, 0.0, 3.0):
        function(tmp_path / "picture.png", *arguments(shift))
        pictures.append((tmp_path / "picture.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_learning_curve_against_medians_and_interquartile_means(figure):
    """Control: means, which differ here because seed 3 is far from the others."""
    rows = some_rows(shift=50.0)
    drawn = figure(figures.draw_learning_curve, rows)
    vime = np.array(
        [
            [r["return_mean"] for r in rows if (r["bonus"], r["seed"]) == ("vime", s)]
            for s in range(4)
        ]
    )
    ordered = np.sort(vime, axis=0)
    for axes in drawn.axes:
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), 100 * np.arange(1, 9))
        np.testing.assert_allclose(axes.lines[0].get_ydata(), ordered[1:3].mean(axis=0))
        assert not np.allclose(axes.lines[0].get_ydata(), vime.mean(axis=0))
    ends = [axes.collections[0].get_paths()[0].vertices[:, 1] for axes in drawn.axes]
    assert ends[0].max() == pytest.approx(np.quantile(vime[:, 5], 0.75))
    assert ends[1].max() == pytest.approx(
        curves.bootstrap_interval(ordered[:, 5], curves.interquartile_mean)[1]
    )
    assert labels(drawn) == ["VIME", "L2 error", "no bonus"]
    assert drawn.get_suptitle() == "Hill, 4 seeds"


def test_each_bonus_has_a_line_style_of_its_own() -> None:
    """So that curves can be told apart in gray."""
    looks = figures.styles([("", bonus) for bonus in figures.COLORS])
    assert len({look.line for look in looks.values()}) == len(figures.COLORS) == 7


def test_the_legend_shows_a_period_of_each_line_style(figure):
    """Control: matplotlib's length of a line does not."""
    rows = [
        each for bonus in figures.COLORS for each in curve_rows(bonus, 0, [0.0, 1.0])
    ]
    (legend,) = figure(figures.draw_learning_curve, rows).legends
    (width,) = {line.get_linewidth() for line in legend.get_lines()}  # points
    styles = [each for each in figures.BONUS_LINES.values() if isinstance(each, tuple)]
    longest = width * max(sum(dashes) for _, dashes in styles)
    size = rcParams["font.size"]
    assert rcParams["legend.handlelength"] * size < longest < legend.handlelength * size


def test_learning_curve_of_a_sweep_has_a_color_for_each_setting(figure):
    rows = [
        {**each, "setting": setting}
        for setting in ("", "agent.eta=1")
        for each in some_rows()
    ]
    drawn = figure(figures.draw_learning_curve, rows)
    lines = drawn.axes[0].lines
    assert labels(drawn)[:2] == [
        "VIME, as the task has it",
        "L2 error, as the task has it",
    ]
    assert len({tuple(line.get_color()) for line in lines}) == 2
    assert [line.get_linestyle() for line in lines] == ["-", "--", ":"] * 2
    one = figure(
        figures.draw_learning_curve, [each for each in rows if each["bonus"] == "vime"]
    )
    assert labels(one) == ["as the task has it", "agent.eta=1"]

    # settings of a single bonus also differ in gray, because their curves may coincide
    assert [line.get_linestyle() for line in one.axes[0].lines] == ["-", "--"]


def test_learning_curve_of_one_iteration_is_dots(figure):
    drawn = figure(
        figures.draw_learning_curve,
        curve_rows("vime", 0, [1.0])
        + curve_rows("luck", 0, [NAN])
        + curve_rows("lot", 0, [2.0]),
    )
    assert [[line.get_marker() for line in axes.lines] for axes in drawn.axes] == [
        ["o", "o"]
    ] * 2
    assert labels(drawn) == ["VIME", "luck", "lot"]
    assert len({line.get_color() for line in drawn.legends[0].get_lines()}) == 3
    assert drawn.get_suptitle() == "Hill, 1 seed"
    longer = figure(figures.draw_learning_curve, curve_rows("vime", 0, [1.0, 2.0]))
    assert longer.axes[0].lines[0].get_marker() != "o"


def test_learning_curve_of_runs_that_broke_off_goes_on_with_the_others(figure):
    rows = (
        curve_rows("vime", 0, [0.0, NAN, 0.0, 0.0])
        + curve_rows("vime", 1, [2.0, NAN])
        + curve_rows("none", 0, [NAN] * 4)
    )
    drawn = figure(figures.draw_learning_curve, rows)
    (line,) = drawn.axes[0].lines
    assert line.get_xydata().tolist() == [[100.0, 1.0], [300.0, 0.0], [400.0, 0.0]]
    assert drawn.get_suptitle() == "Hill, 1 to 2 seeds"
    assert texts(drawn) == [[], []]


def test_figures_without_numbers_say_so(figure):
    """An empty panel has no value labels; the others keep theirs."""
    rows = curve_rows("none", 0, [NAN] * 3)
    assert (
        texts(figure(figures.draw_learning_curve, rows)) == [["no episode ended"]] * 2
    )
    assert texts(figure(figures.draw_diagnostics, rows)) == [["no numbers"]] * 6
    drawn = figure(
        figures.draw_diagnostics,
        [{**each, "elbo": NAN, "kl_prior": NAN} for each in some_rows()],
    )
    assert texts(drawn) == [[], [], ["no numbers"], ["no numbers"], [], []]
    labelled = [axes.yaxis.get_tick_params()["labelleft"] for axes in drawn.axes]
    assert labelled == [True, True, False, False, True, True]


def test_results_have_a_panel_for_each_task_and_labels_at_the_ends(figure):
    short = [
        each
        for each in some_rows()
        if each["bonus"] != "l2" and each["seed"] < 1 + 3 * (each["bonus"] == "vime")
    ]
    drawn = figure(
        figures.draw_results,
        {"Hill": short, "Lake": some_rows(), "Bay": curve_rows("none", 0, [NAN])},
    )
    assert [axes.get_title() for axes in drawn.axes[:3]] == [
        "Hill, 1 to 4 seeds",
        "Lake, 4 seeds",
        "Bay, 1 seed",
    ]
    assert [len(axes.lines) for axes in drawn.axes] == [2, 3, 0, 0]
    named = [sorted(found) for found in texts(drawn)]
    assert named[:2] == [["VIME", "no bonus"], ["L2 error", "VIME", "no bonus"]]
    assert named[2:] == [["no episode ended"], []]
    colors = {line.get_color() for axes in drawn.axes for line in axes.lines}
    assert colors == {figures.COLORS[name] for name in ("vime", "l2", "none")}
    width, height = drawn.get_size_inches()
    assert width == 10.0
    assert height < 7.0


def test_results_are_running_means_over_a_twentieth(figure):
    """Control: the returns themselves differ."""
    returns = [0.0, 4.0] * 20
    drawn = figure(figures.draw_results, {"Hill": curve_rows("vime", 0, returns)})
    (line,) = drawn.axes[0].lines
    assert line.get_ydata().tolist() == [0.0, *[2.0] * 39] != returns


def test_labels_at_the_ends_lie_apart_in_the_order_of_the_curves():
    """Control: places that are apart stay. Too many labels start at 0 and leave the panel."""
    for places in ([0.5] * 4, [0.98, 0.99, 1.0], [0.0, 0.01, 0.9], [0.2] * 20):
        moved = figures.spaced(np.array(places), gap=0.1)
        assert np.all(np.diff(moved) >= 0.1 - 1e-12), moved
        assert moved[0] >= -1e-12
        assert moved[-1] <= max(1.0, 0.1 * (len(places) - 1)) + 1e-12
    apart = np.array([0.0, 0.3, 0.7])
    np.testing.assert_array_equal(figures.spaced(apart, gap=0.1), apart)


def test_labels_of_several_lines_lie_apart_and_in_the_panel() -> None:
    """Centers are half the sum of both heights apart. Control: for one line each, a gap."""
    sizes = np.array([3, 1, 2])
    for places in ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.2, 0.25, 0.9]):
        moved = figures.spaced(np.array(places), sizes, gap=0.1)
        ends = np.stack([moved - 0.05 * sizes, moved + 0.05 * sizes])
        assert np.all(ends[0, 1:] >= ends[1, :-1] - 1e-12), moved
        assert ends[0, 0] >= -0.05 - 1e-12
        assert ends[1, -1] <= 1.05 + 1e-12
    alike = figures.spaced(np.zeros(3), np.ones(3), gap=0.1)
    assert alike == pytest.approx([0.0, 0.1, 0.2])


def test_curves_that_end_equal_share_one_label() -> None:
    """In gray, and the others in their color. Control: a curve that ends 1 % higher has its own."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    ends = {
        "first": 0.0,
        "a second name": 0.0,
        "the third name": 0.0,
        "apart": 0.01,
        "top": 1.0,
    }
    x = np.array([0.0, 1.0])
    curves = {name: (x, np.array([[0.5, end]])) for name, end in ends.items()}
    looks = {name: figures.Style(name, "red", "-") for name in ends}
    axes.set_ylim(0.0, 1.0)
    figures.label_ends(axes, curves, looks)
    found = {text.get_text(): text.get_color() for text in axes.texts}
    assert found == {
        "first; a second name;\nthe third name": figures.SHARED_COLOR,
        "apart": "red",
        "top": "red",
    }
    assert [text.xy[1] for text in axes.texts] == [0.0, 0.01, 1.0]


def test_diagnostics_against_medians_of_the_seeds(figure):
    """Seeds 0 to 3 have 1 + seed + iteration; a gain of 0 is not on a logarithmic scale. 1 is a useless error."""
    rows = [
        {**each, "gain_median": each["gain_median"] * (each["iteration"] > 0)}
        for each in some_rows()
    ]
    drawn = figure(figures.draw_diagnostics, rows)
    returns, gain, elbo, kl, heldout, error = drawn.axes
    assert [axes.get_yscale() for axes in drawn.axes] == [
        "linear",
        "log",
        *["linear"] * 3,
        "log",
    ]
    assert [len(axes.lines) for axes in drawn.axes] == [
        15,
        10,
        10,
        10,
        10,
        11,
    ]  # four seeds and their median
    assert list(error.lines[10].get_ydata()) == [1.0, 1.0]
    i = np.arange(8)
    medians, inverse = 2.5 + i, 0.5 / (2 + i) + 0.5 / (3 + i)
    for axes, values in zip(
        (returns, elbo, kl, heldout, error),
        (2.5 * i, -medians, medians, -2.0 * medians, inverse),
    ):
        np.testing.assert_allclose(axes.lines[4].get_ydata(), values)
        assert axes.lines[4].get_linewidth() > axes.lines[3].get_linewidth()
    np.testing.assert_array_equal(
        gain.lines[4].get_xydata(), np.stack([np.arange(1, 8), medians[1:]], axis=1)
    )
    assert labels(drawn) == ["VIME", "L2 error", "no bonus"]


def test_state_visits_against_counted_shares(figure):
    """Four states in two corners: one has three quarters of them."""
    states = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    drawn = figure(
        figures.draw_state_visits, {"none": states, "luck": states[2:]}, ("x", "y")
    )
    shares = [
        axes.collections[0].get_array().compressed().tolist() for axes in drawn.axes[:2]
    ]
    assert shares == [[0.75, 0.25], [0.5, 0.5]]
    assert [axes.get_title() for axes in drawn.axes[:2]] == ["no bonus", "luck"]
    assert (drawn.axes[0].get_ylabel(), drawn.axes[1].get_xlabel()) == ("y", "x")

"""The television: its stream against the corridor's rules, and what becomes of each interest."""

import math
from dataclasses import replace

import numpy as np
import pytest
from lab import FULL, check_phrases, kept_rows, measured, study_job

from vime_gym.corridor import LEFT, NoisyCorridor
from vime_lab.studies import catalogue, television
from vime_lab.studies.frame import StudyJob, spread_cells
from vime_lab.studies.television import TelevisionSettings
from vime_lab.studies.television_models import MODELS
from vime_lab.studies.television_tables import INTERESTS, interest, powers, verdict
from vime_lecture.controls import dirichlet_gain
from vime_lecture.counts import VisitCounts, count_bonus


def test_stream_against_the_rules_of_the_corridor() -> None:
    """A quarter of the rows at the screen, within five standard errors; the rest alike."""
    task = NoisyCorridor(3, num_pictures=4)
    task.reset(seed=0)
    n = 8000
    rows, at_screen = television.stream(task, 0.25, n, np.random.default_rng(0))
    assert abs(at_screen.mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / n)
    for (s, a, after), screen in zip(rows.T.tolist(), at_screen):
        assert screen == ((s, a) == (0, LEFT)) == (after > 3)
        if not screen:
            assert after == task.move(s, a)[0]

    # each of the 11 other pairs, and each picture, alike
    pairs = np.bincount(4 * rows[0, ~at_screen] + rows[1, ~at_screen], minlength=12)
    pictures = np.bincount(rows[2, at_screen] - 4)
    assert pairs[0] == 0
    for counts in (pairs[1:], pictures):
        mean = counts.mean()
        assert np.all(np.abs(counts - mean) < 5 * np.sqrt(mean))


def test_a_bonus_is_measured_as_if_each_row_came_next() -> None:
    """Two rows of a batch have the same count. Control: the bonus itself counts on."""
    rng = np.random.default_rng(0)
    features = np.arange(3.0)[:, None]
    rows = np.array([[0, 0], [1, 1], [2, 2]])
    counts = VisitCounts().update(television.batch_from(rows, features), rng)
    found = television.bonuses_at(counts, rows, features, rng)
    assert found.tolist() == [count_bonus(2, 0.05)] * 2
    batch = television.batch_from(rows, features)
    assert counts.reward(batch, rng).tolist() != found.tolist()


def test_dirichlet_against_its_formula_at_the_last_point() -> None:
    """Elsewhere, the gain of the only outcome of a pair whose visits are near the mean."""
    rows = catalogue.study_rows(study_job("Television", "dirichlet", length=4000))
    screen, elsewhere = measured(rows, "screen")[-1], measured(rows, "elsewhere")[-1]
    assert screen == pytest.approx(dirichlet_gain(250, 1001), rel=0.2)
    visits = 3000 / 7  # of each pair
    assert elsewhere == pytest.approx(
        dirichlet_gain(visits + 1 / 7, visits + 1), rel=0.2
    )
    normalized = measured(rows, "normalized")[-1]
    assert normalized == pytest.approx(screen / elsewhere, rel=0.5)


# ---------------------------------------------------------------- the claims of the page

PUBLISHED = FULL["Television"].settings
SMALL_STREAM = replace(
    PUBLISHED,
    length=6400,
    points=7,
    corridor=2,
    num_pictures=8,
    vime=replace(PUBLISHED.vime, hidden_sizes=(32,), num_updates=400),
)
CLAIMS = {
    "dirichlet": ("falls", "rises", "rises"),
    "counts": ("falls", "steady", "steady"),
    "L2 error": ("steady", "rises", "rises"),
    "VIME": ("falls", "rises", "rises"),
    "VIME 50": ("steady", "steady", "steady"),
    "VIME tabulated sigma": ("falls", "rises", "rises"),
}


def fitted(name: str, settings: TelevisionSettings = SMALL_STREAM) -> list[float]:
    """The power of n of each interest at small size: the median of four seeds."""
    rows = [
        row
        for seed in range(4)
        for row in catalogue.study_rows(StudyJob("Television", name, 0, seed, settings))
    ]
    return [float(np.median(powers(*interest(rows, name, kind)))) for kind in INTERESTS]


@pytest.mark.unwatched
@pytest.mark.parametrize("name", CLAIMS)
def test_which_interest_falls_at_small_size(name) -> None:
    """The page's verdicts, with its numbers for the tables: −1, −½, and 0."""
    found = fitted(name)
    assert tuple(map(verdict, found)) == CLAIMS[name]
    exact = {"dirichlet": (-1.0, 1.0), "counts": (-0.5, 0.0)}
    if name in exact:
        assert found[:2] == pytest.approx(exact[name], abs=0.1)


def test_the_claims_are_about_the_models_of_the_study() -> None:
    assert set(CLAIMS) == set(MODELS)


# In the order of the page's table.
ROWS_OF_PAGE = {
    "dirichlet": "exact gain (`dirichlet`)",
    "VIME": "VIME, data size n",
    "VIME tabulated sigma": "VIME, data size n, tabulated σ(s, a)",
    "VIME 50": "VIME, data size 50",
    "L2 error": "L2 prediction error",
    "counts": "counts",
}


def signed(text: str) -> str:
    """The text with true minus signs and one space between words."""
    return " ".join(text.replace("[ ", "[").replace("-", "−").split())


def test_numbers_of_the_page_are_those_of_the_kept_rows() -> None:
    """The head table with its quartiles, and the runs that differ most."""
    rows = kept_rows("Television")
    fitted = {
        (name, kind): powers(*interest(rows, name, kind))
        for name in MODELS
        for kind in INTERESTS
    }
    phrases = []
    for name, title in ROWS_OF_PAGE.items():
        cells = []
        for kind in INTERESTS:
            found = verdict(float(np.median(fitted[name, kind])))
            shown = "**falls**" if found == "falls" else found
            (cell,) = spread_cells([fitted[name, kind]])
            cells.append(f"{shown}, {cell}")
        phrases.append(signed(f"| {title} | {' | '.join(cells)} |"))
    for words, name in (
        ("VIME's relative powers lie", "VIME"),
        ("those of the tabulated σ", "VIME tabulated sigma"),
    ):
        values = fitted[name, "relative"]
        phrases.append(
            signed(f"{words} between {values.min():.2f} and {values.max():.2f}")
        )
    of_means = np.median(powers(*interest(rows, "VIME", "relative", " mean")))
    points, start = interest(rows, "VIME 50", "absolute")
    phrases += [
        f"replace medians, VIME's is {of_means:.2f}",
        f"from {points[4]} rows on",
        f"VIME 50 starts at {np.median(start[:, 0]):.0f}",
    ]
    check_phrases("television.md", phrases)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"share": 1.1}, "share must be"),
        ({"share": -0.1}, "share must be"),
        ({"first": 0}, "first must be a whole number >= 1"),
        ({"corridor": 0}, "corridor must be a whole number >= 1"),
        ({"num_pictures": 1}, "num_pictures must be a whole number >= 2"),
        ({"test_rows": 0}, "test_rows must be a whole number >= 1"),
        ({"length": 0}, "length must be a whole number >= 1"),
    ],
)
def test_settings_are_checked(change, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(PUBLISHED, **change)


def test_a_run_is_a_function_of_its_seed() -> None:
    rows, again, other = (
        catalogue.study_rows(study_job("Television", "VIME", seed=seed))
        for seed in (0, 0, 1)
    )
    assert rows == again
    assert rows != other

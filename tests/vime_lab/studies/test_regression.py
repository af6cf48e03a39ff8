"""The regression: gains against sampling and closed forms; runs, table and pictures against rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lab import FULL, drawn_study, played_study, study_job
from PIL import Image

import bnn_ref as bnn
import fast_ref as fast
from vime_lab.rows import Row
from vime_lab.studies import catalogue, regression
from vime_lab.studies.exactness import LinearRows, covariance_of, learned_from
from vime_lab.studies.regression import LOOKED_AT, MODEL_LOOKS, RegressionSettings

ROOT = Path(__file__).parent.parent.parent.parent
SETTINGS: RegressionSettings = replace(
    FULL["Regression"].settings, length=6, hidden=4, num_updates=20, gain_samples=30
)


def job_of(name: str, seed: int = 0):
    return study_job("Regression", name, seed)._replace(settings=SETTINGS)


def some_data(n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    x, y = regression.sample_data(job_of("exact"))
    return x[:n], y[:n]


# ---------------------------------------------------------------- data


def test_data_lie_left_first_and_then_right() -> None:
    """Residuals have the noise's deviation, within 4 standard errors. Control: of another curve they have not."""
    job = job_of("exact")
    many = job._replace(settings=replace(SETTINGS, length=4000))
    x, y = regression.sample_data(many)
    assert np.all((x[:2000] <= -0.6) & (x[:2000] >= -2.0))
    assert np.all((x[2000:] >= 0.6) & (x[2000:] <= 2.0))
    near = 4 / np.sqrt(2 * 4000)
    assert np.std(y - np.sin(1.5 * x)) == pytest.approx(0.1, rel=near)
    assert np.std(y - np.sin(x)) != pytest.approx(0.1, rel=near)


def test_bumps_against_a_loop() -> None:
    found = regression.bumps(np.array([0.3, -2.0]), SETTINGS)
    for row, x in zip(found, (0.3, -2.0)):
        expected = [np.exp(-0.5 * ((x + 3 - k / 2) / 0.5) ** 2) for k in range(13)]
        assert row == pytest.approx([*expected, 1.0])


# ---------------------------------------------------------------- gains


@pytest.mark.parametrize("n", [0, 3, 6])
def test_the_exact_expected_gain_against_mutual_information(n) -> None:
    """½ log(1 + h), the mutual information of y and θ. Control: VIME's gain is another."""
    found = regression.linear_outlook(*some_data(n), SETTINGS, exact=True)
    x, y = some_data(n)
    rows = LinearRows(regression.bumps(x, SETTINGS), y)
    covariance = covariance_of(learned_from(rows, n, SETTINGS))
    features = regression.bumps(LOOKED_AT, SETTINGS)
    spread = np.einsum("pd,de,pe->p", features, covariance, features)
    information = 0.5 * np.log1p(spread / SETTINGS.likelihood_sigma**2)
    assert found.gain == pytest.approx(information)
    assert found.deviation**2 == pytest.approx(spread + 0.1**2)
    other = regression.linear_outlook(*some_data(n), SETTINGS, exact=False)
    assert other.gain != pytest.approx(information, rel=0.1)
    assert np.array_equal(other.mean, found.mean)


def network_after(n: int) -> tuple[bnn.DiagNormal, np.ndarray]:
    rng = np.random.default_rng(0)
    *_, q = regression.network_posteriors(*some_data(n), SETTINGS, rng)
    return q, rng.standard_normal((30, len(q.mu)))


def test_the_networks_expected_gain_against_an_average_over_y() -> None:
    """Many y of the model's mean and deviation, within 4 standard errors. Control: the gain at the mean alone."""
    q, eps = network_after(6)
    found = regression.network_outlook(q, eps, SETTINGS)
    drawn = np.random.default_rng(1).standard_normal(2000)
    model = regression.network_keywords(SETTINGS)
    for place in (0, 30, 48):
        mean = found.mean[place]
        targets = [mean, *(mean + found.deviation[place] * drawn)]
        at_mean, *gains = fast.information_gains(
            q,
            np.full((2001, 1), LOOKED_AT[place]),
            np.array(targets)[:, None],
            eps,
            step_size=1.0,
            **model,
        )
        near = 4 * np.std(gains) / np.sqrt(2000)
        assert found.gain[place] == pytest.approx(np.mean(gains), abs=near)
        assert not abs(at_mean - np.mean(gains)) < near


def test_the_networks_outlook_against_its_predictions() -> None:
    """Mean and deviation over the samples, with the noise's variance."""
    q, eps = network_after(3)
    found = regression.network_outlook(q, eps, SETTINGS)
    theta = q.mu + q.sigma * eps
    outputs = bnn.mlp(theta, LOOKED_AT[:, None], (1, 4, 1))[..., 0]
    assert found.mean == pytest.approx(outputs.mean(axis=0))
    assert found.deviation**2 == pytest.approx(outputs.var(axis=0) + 0.1**2)


def test_posteriors_begin_with_the_prior_and_go_on() -> None:
    """As many as rows and one; the last has a larger ELBO than the prior, which is the first."""
    rng = np.random.default_rng(0)
    longer = replace(SETTINGS, num_updates=200)
    found = list(regression.network_posteriors(*some_data(), longer, rng))
    assert len(found) == 7
    assert not np.any(found[0].mu)
    assert found[0].sigma == pytest.approx(np.full(13, 0.5))
    x, y = some_data()
    eps = np.random.default_rng(2).standard_normal((50, 13))
    rows = (found[0], x[:, None], y[:, None], eps)
    model = regression.network_keywords(SETTINGS)
    bounds = [
        float(bnn.elbo(q, *rows, num_data=6.0, **model)) for q in (found[0], found[-1])
    ]
    assert bounds[1] > bounds[0]


# ---------------------------------------------------------------- runs and pictures


@pytest.fixture(scope="module")
def small_rows() -> list[Row]:
    return [
        row
        for seed in (0, 1)
        for name in MODEL_LOOKS
        for row in catalogue.study_rows(job_of(name, seed))
    ]


def test_a_story_is_that_of_the_first_seed(small_rows) -> None:
    """To the four digits of the rows. Control: the second seed's data."""
    story = regression.story_in(small_rows)
    assert story.seed == 0
    x, y = some_data()
    assert story.x == pytest.approx(x, rel=1e-3)
    assert story.y == pytest.approx(y, rel=1e-3)
    for name in ("exact", "features"):
        for n in (0, 4, 6):
            expected = regression.linear_outlook(
                *some_data(n), SETTINGS, exact=name == "exact"
            )
            for ours, theirs in zip(story.outlooks[name][n], expected):
                assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-12)
    assert len(story.outlooks["network"]) == 7
    other = regression.story_in([row for row in small_rows if row["seed"] == 1])
    assert other.x != pytest.approx(x, rel=1e-3)


def test_the_table_against_the_rows(small_rows) -> None:
    lines = regression.regression_table(small_rows).splitlines()
    story = regression.story_in(small_rows)
    assert lines[0].endswith("; seed 0")
    cells = [line.split() for line in lines[6:]]
    assert [row[:2] for row in cells] == [
        [name, n] for name in MODEL_LOOKS for n in ("0", "3", "6")
    ]
    places = [14, 24, 34, 48]
    assert LOOKED_AT[places].tolist() == list(regression.TABLED)
    gains = story.outlooks["features"][3].gain[places]
    assert [float(cell) for cell in cells[4][2:]] == pytest.approx(gains, rel=0.005)


def curves_of(axes) -> list[np.ndarray]:
    return [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 49]


def test_the_picture_shows_both_models_at_three_times(small_rows) -> None:
    figure = drawn_study("Regression", small_rows)
    story = regression.story_in(small_rows)
    above, below = figure.axes[:6], figure.axes[6:]
    assert [axes.get_title() for axes in above] == [
        f"{name}, n = {n}" for name in ("network", "linear") for n in (0, 3, 6)
    ]
    for column, n in ((1, 3), (5, 6)):
        names = ("network",) if column < 3 else ("exact", "features")
        for name, mean, gain in zip(
            names, curves_of(above[column]), curves_of(below[column])
        ):
            assert np.array_equal(mean, story.outlooks[name][n].mean)
            assert np.array_equal(gain, story.outlooks[name][n].gain)
        dots = [x for x in above[column].lines if x.get_marker() == "o"]
        assert [len(line.get_xdata()) for line in dots] == [n]
        assert below[column].get_yscale() == "log"


def test_the_animation_shows_the_data_arriving(small_rows) -> None:
    """The last frame first, then from no rows to all."""
    shown = []
    for figure in played_study("Regression", small_rows):
        dots = [x for x in figure.axes[0].lines if x.get_marker() == "o"]
        shown.append((figure.get_suptitle(), len(dots[0].get_xdata())))
    counts = [6, 0, 1, 2, 3, 4, 5, 6]
    assert [count for _, count in shown] == counts
    assert all(f"after {count} of 6 rows" in text for text, count in shown)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [look.label for look in MODEL_LOOKS.values()]


# ---------------------------------------------------------------- what is kept

KEPT = ROOT / "results" / "Regression"


def test_claims_of_the_page_against_the_kept_rows() -> None:
    """Gains fall where the data are, for all; between the data the network's does not stay."""
    story = regression.story_in(catalogue.read_study(KEPT / "study.csv"))
    left, middle, right = 14, 24, 34
    for name, found in story.outlooks.items():
        before, half, after = (found[n].gain for n in (0, 8, 16))
        assert half[left] < before[left] / 10, name
        assert half[left] < half[right] / 10, name
        assert after[right] < half[right] / 10, name
    exact, features, network = (
        story.outlooks[name][16].gain for name in ("exact", "features", "network")
    )
    for place in (left, right):
        assert 2.0 <= features[place] / exact[place] <= 3.0
    half = (story.outlooks[name][8].gain[right] for name in ("features", "exact"))
    assert next(half) / next(half) > 5000
    assert exact[middle] > 5 * exact[left]
    assert features[middle] > 5 * features[left]
    assert network[middle] < network[left]


def test_the_kept_animation_is_small_and_plays() -> None:
    path = KEPT / "study.gif"
    assert path.stat().st_size < 2_000_000
    with Image.open(path) as image:
        assert image.n_frames == 18


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^length must be .*, got 0"):
        replace(SETTINGS, length=0)

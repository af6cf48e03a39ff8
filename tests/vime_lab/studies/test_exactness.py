"""Exactness: the gains against 50 digits, cubature and Bayes' rule; runs, table and picture against rows."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from lab import (
    FULL,
    check_phrases,
    drawn_study,
    kept_rows,
    measured,
    study_job,
    study_row,
    words,
)
from scipy.stats import multivariate_normal

import bnn_ref as bnn
import vime_ref as vime
from vime_lab.figures import LABEL_GAP
from vime_lab.studies import catalogue, exactness
from vime_lab.studies.exactness import ExactnessSettings, LinearRows, Posterior

SETTINGS: ExactnessSettings = replace(
    FULL["Exactness"].settings, num_inputs=2, likelihood_sigma=0.7, prior_sigma=1.3
)


def some_rows(num_rows: int, seed: int = 0, size: int = 50) -> LinearRows:
    job = replace_settings(study_job("Exactness", "linear", seed, size))
    return exactness.sample_rows(job, num_rows)


def replace_settings(job: Any) -> Any:
    return job._replace(settings=SETTINGS)


def split(num_old: int, num_new: int, **where: int) -> tuple[LinearRows, LinearRows]:
    """Rows learned from, and new ones."""
    rows = some_rows(num_old + num_new, **where)
    old, new = (
        LinearRows(rows.inputs[part], rows.targets[part])
        for part in (slice(num_old), slice(num_old, None))
    )
    return old, new


def bayes(rows: LinearRows) -> Posterior:
    return exactness.learned_from(rows, len(rows.targets), SETTINGS)


def after(old: LinearRows, new: LinearRows, n: int) -> Posterior:
    """The posterior after the old rows and new row n."""
    row = LinearRows(new.inputs[n : n + 1], new.targets[n : n + 1])
    return bayes(LinearRows(*map(np.concatenate, zip(old, row))))


# ---------------------------------------------------------------- the model


def test_rows_against_the_moments_of_the_settings() -> None:
    """Inputs: variance 1 and the correlation, within 4 standard errors; the bias sees 1.

    Targets: the residuals of least squares have the noise's deviation. Controls: other correlations.
    """
    for size in (0, 50):
        x, y = some_rows(20_000, size=size)
        near = 4 / math.sqrt(20_000)
        found = np.cov(x[:, :2].T)
        assert found == pytest.approx(
            np.where(np.eye(2), 1.0, size / 100), abs=2 * near
        )
        assert not abs(found[0, 1] - 0.25) < near
        assert set(x[:, 2]) == {1.0}
        theta, *_ = np.linalg.lstsq(x, y)
        assert np.std(y - x @ theta) == pytest.approx(0.7, rel=near)


def test_weights_against_the_prior() -> None:
    """Least squares over 400 systems: mean 0 and σ_p = 1.3, within 4 standard errors."""
    found = [
        np.linalg.lstsq(rows.inputs, rows.targets)[0]
        for rows in (some_rows(2000, seed) for seed in range(400))
    ]
    near = 4 * 1.3 / math.sqrt(2 * 3 * 400)
    assert np.std(found) == pytest.approx(1.3, abs=near)
    assert np.mean(found) == pytest.approx(0.0, abs=2 * near)


@pytest.mark.parametrize("num_data", [12, 50])
def test_best_diagonal_against_the_gradient_of_the_elbo(num_data: int) -> None:
    """The ELBO's gradient by autograd is 0 there. Controls: another `num_data`, and the covariance's diagonal."""
    rows = some_rows(12)
    posterior = exactness.learned_from(rows, num_data, SETTINGS)
    wide = np.sqrt(np.diag(np.linalg.inv(posterior.precision)))
    prior = bnn.DiagNormal(np.zeros(3), bnn.softplus_inverse(np.full(3, 1.3)))

    def steepness(q: bnn.DiagNormal, size: float) -> float:
        slopes = bnn.elbo_grad(
            q,
            prior,
            rows.inputs[:, :2],
            rows.targets[:, None],
            exactness.unit_moments(3),
            layer_sizes=(2, 1),
            likelihood_sigma=0.7,
            num_data=size,
        )
        return float(np.max(np.abs(slopes)))

    q = exactness.best_diagonal(posterior)
    assert steepness(q, num_data) < 1e-11
    assert steepness(q, 30.0) > 0.1
    other = bnn.DiagNormal(q.mu, bnn.softplus_inverse(wide))
    assert steepness(other, num_data) > 0.1


def test_without_rows_the_posterior_is_the_prior() -> None:
    for num_data in (0.0, 50.0):
        none = LinearRows(np.zeros((0, 3)), np.zeros(0))
        found = exactness.learned_from(none, num_data, SETTINGS)
        np.testing.assert_array_equal(found.mean, np.zeros(3))
        np.testing.assert_allclose(found.precision, np.eye(3) / 1.3**2, rtol=1e-15)


# ---------------------------------------------------------------- the gains


def gain_in_50_digits(new: Posterior, old: Posterior) -> float:
    """½ [tr(P_old P_new⁻¹) − D + Δᵀ P_old Δ + log|P_new|/|P_old|]."""
    with mp.workdps(50):
        before, now = (mp.matrix(each.precision.tolist()) for each in (old, new))
        move = mp.matrix((new.mean - old.mean).tolist())
        ratio = before * mp.inverse(now)
        trace = mp.fsum(ratio[i, i] for i in range(len(move)))
        square = (move.T * before * move)[0]
        return float((trace - len(move) + square - mp.log(mp.det(ratio))) / 2)


def test_joint_gain_against_log_densities_at_points_of_the_same_moments() -> None:
    """KL is the mean of a quadratic under the new posterior. Control: old and new swapped."""
    old, new = split(5, 8)
    q, p = bayes(LinearRows(*map(np.concatenate, zip(old, new)))), bayes(old)
    root = np.linalg.cholesky(np.linalg.inv(q.precision))
    points = q.mean + exactness.unit_moments(3) @ root.T
    log_q, log_p = (
        multivariate_normal.logpdf(points, each.mean, np.linalg.inv(each.precision))
        for each in (q, p)
    )
    expected = np.mean(log_q - log_p)
    assert exactness.joint_gain(q, p) == pytest.approx(expected, rel=1e-12)
    assert exactness.joint_gain(q, p) == pytest.approx(gain_in_50_digits(q, p))
    assert exactness.joint_gain(p, q) != pytest.approx(expected, rel=0.1)
    assert exactness.batch_gain(new, old, SETTINGS) == exactness.joint_gain(q, p)


@pytest.mark.parametrize("num_old", [0, 6, 2000])
def test_exact_gains_against_bayes_rule_in_50_digits(num_old: int) -> None:
    """Controls: the swapped KL without rows, the missing ½, and the gain without 1/(1 + h)²."""
    old, new = split(num_old, 6)
    gains = exactness.exact_gains(new, bayes(old), SETTINGS)
    expected = [gain_in_50_digits(after(old, new, n), bayes(old)) for n in range(6)]
    np.testing.assert_allclose(gains, expected, rtol=1e-7)
    assert not np.allclose(2.0 * gains, expected, rtol=0.1)
    h = exactness.leverages(new.inputs, np.linalg.inv(bayes(old).precision), 0.7)
    error = new.targets - new.inputs @ bayes(old).mean
    overshoot = 0.5 * (np.log1p(h) - h / (1.0 + h) + h * (error / 0.7) ** 2)
    if num_old < 2000:
        swapped = [gain_in_50_digits(bayes(old), after(old, new, n)) for n in range(6)]
        assert not np.allclose(gains, swapped, rtol=0.1)
        assert not np.allclose(overshoot, expected, rtol=0.1)


def test_mean_field_gains_against_best_diagonals_of_bayes_rule() -> None:
    """Oracle: `information_gain` of the diagonals. Control: they are not the exact gains of correlated inputs."""
    old, new = split(20, 6)
    gains = exactness.mean_field_gains(new, bayes(old), SETTINGS)
    before = exactness.best_diagonal(bayes(old))
    expected = [
        vime.information_gain(exactness.best_diagonal(after(old, new, n)), before)
        for n in range(6)
    ]
    np.testing.assert_allclose(gains, expected, rtol=1e-9)
    assert not np.allclose(
        gains, exactness.exact_gains(new, bayes(old), SETTINGS), rtol=0.1
    )


def test_unit_moments_have_mean_0_and_covariance_1() -> None:
    points = exactness.unit_moments(3)
    np.testing.assert_allclose(points.mean(axis=0), np.zeros(3), atol=1e-15)
    np.testing.assert_allclose(points.T @ points / 6, np.eye(3), atol=1e-15)


@pytest.mark.parametrize("step_size", [1.0, 0.1])
def test_vime_gains_against_their_closed_form_and_their_definition(
    step_size: float,
) -> None:
    """½λ² [e²h/σ_l² + ½ Σ h_i²], h_i = x_i²σ_i²/σ_l². Controls: without the ½, and samples with noise."""
    old, new = split(10, 6)
    q = exactness.best_diagonal(bayes(old))
    gains = exactness.vime_gains(new, q, step_size, SETTINGS)
    each = new.inputs**2 * q.sigma**2 / 0.7**2
    error = new.targets - new.inputs @ q.mu
    form = each.sum(axis=1) * (error / 0.7) ** 2 + 0.5 * np.sum(each**2, axis=1)
    expected = 0.5 * step_size**2 * form
    np.testing.assert_allclose(gains, expected, rtol=1e-12)
    assert not np.allclose(gains, 2.0 * expected, rtol=0.1)

    def defined(eps: np.ndarray) -> np.ndarray:
        return vime.information_gains(
            q,
            new.inputs[:, :2],
            new.targets[:, None],
            eps,
            layer_sizes=(2, 1),
            likelihood_sigma=0.7,
            step_size=step_size,
        )

    points = exactness.unit_moments(3)
    np.testing.assert_allclose(gains, defined(points), rtol=1e-12)
    noise = np.random.default_rng(0).normal(size=points.shape)
    assert not np.allclose(gains, defined(noise), rtol=0.1)


def test_gauss_newton_gains_against_exact_ones() -> None:
    """Equal where the exact posterior factorizes, whatever the leverage. Controls: correlated weights, VIME's gain."""
    old, new = split(0, 6)
    prior = exactness.best_diagonal(bayes(old))
    gains = exactness.gauss_newton_gains(new, prior, SETTINGS)
    exact = exactness.exact_gains(new, bayes(old), SETTINGS)
    np.testing.assert_allclose(gains, exact, rtol=1e-12)
    vimes = exactness.vime_gains(new, prior, 1.0, SETTINGS)
    assert not np.allclose(vimes, exact, rtol=0.1)
    old, new = split(3, 6)
    q = exactness.best_diagonal(bayes(old))
    assert not np.allclose(
        exactness.gauss_newton_gains(new, q, SETTINGS),
        exactness.exact_gains(new, bayes(old), SETTINGS),
        rtol=0.1,
    )


def test_gains_by_name_against_their_functions() -> None:
    """Controls: no two names give the same gains, and `num_data` counts."""
    old, new = split(100, 6)
    q = exactness.best_diagonal(bayes(old))
    error = new.targets - new.inputs @ q.mu
    frozen = exactness.best_diagonal(exactness.learned_from(old, 50.0, SETTINGS))
    expected = {
        "exact": exactness.exact_gains(new, bayes(old), SETTINGS),
        "mean-field": exactness.mean_field_gains(new, bayes(old), SETTINGS),
        "Gauss-Newton": exactness.gauss_newton_gains(new, q, SETTINGS),
        "L2 error": error**2 / (2 * 0.7**2),
        **{
            name: exactness.vime_gains(new, frozen if fixed else q, lam, SETTINGS)
            for name, (lam, fixed) in exactness.VIME_GAINS.items()
        },
    }
    assert {*expected} == {*exactness.GAINS}
    for name, gains in expected.items():
        found = exactness.gains_of(name, new, old, SETTINGS)
        np.testing.assert_allclose(found, gains, rtol=1e-12)
    sums = [float(np.sum(gains)) for gains in expected.values()]
    assert len({round(math.log(each), 3) for each in sums}) == len(sums)
    assert np.mean(frozen.sigma / q.sigma) > 1.2


# ---------------------------------------------------------------- runs


def values_of(measure: str, **where: int) -> np.ndarray:
    rows = catalogue.study_rows(study_job("Exactness", "linear", **where))
    return np.array(measured(rows, measure))


def test_a_run_against_gains_by_hand() -> None:
    """Three numbers of rows. Control: another correlation and another seed give other values."""
    job = study_job("Exactness", "linear", size=50)
    settings = job.settings
    rows = exactness.sample_rows(job, 160)
    new = LinearRows(rows.inputs[100:], rows.targets[100:])
    found = {(measure, n): value for measure, n, value in FULL["Exactness"].run(job)}
    for n in settings.learned:
        old = LinearRows(rows.inputs[:n], rows.targets[:n])
        gains, exact = (
            exactness.gains_of(name, new, old, settings)
            for name in ("L2 error", "exact")
        )
        ratios = np.sort(gains / exact)
        assert found["L2 error ratio", n] == np.median(ratios)
        assert ratios[2] <= found["L2 error low", n] <= ratios[3]
        assert ratios[56] <= found["L2 error high", n] <= ratios[57]
        places = [np.argsort(np.argsort(each)) for each in (gains, exact)]
        rank = np.corrcoef(places)[0, 1]
        assert found["L2 error rank", n] == pytest.approx(rank, rel=1e-12)
        assert found["exact error rank", n] == pytest.approx(rank, rel=1e-12)
        assert found["L2 error error rank", n] == pytest.approx(1.0, rel=1e-12)
        assert found["error", n] == np.median(gains)
        covariance = exactness.covariance_of(
            exactness.learned_from(old, len(old.targets), settings)
        )
        h = np.sort(exactness.leverages(new.inputs, covariance, 0.5))
        assert found["leverage", n] == np.median(h)
        assert h[2] <= found["leverage low", n] <= h[3]
        assert h[56] <= found["leverage high", n] <= h[57]
        joint = exactness.batch_gain(new, old, settings)
        expected = pytest.approx(np.sum(gains) / joint, rel=1e-12)
        assert found["L2 error sum", n] == expected
    for other in (
        values_of("L2 error sum", size=50, seed=1),
        values_of("L2 error sum"),
    ):
        assert not np.allclose(other, values_of("L2 error sum", size=50), rtol=1e-3)


def test_exact_gains_of_a_run_are_1_and_leverage_falls_like_the_weights_over_n() -> (
    None
):
    """h is about D/n: a χ² of D over n, with median near D."""
    for measure in ("ratio", "rank", "low", "high"):
        found = values_of(f"exact {measure}")
        np.testing.assert_allclose(found, np.ones(3), rtol=1e-12)
    leverage = values_of("leverage")
    assert 6.0 / 100 < leverage[-1] < 10.0 / 100
    assert leverage[0] > 10.0


def test_gains_scale_like_the_square_of_lambda_and_keep_their_ranks() -> None:
    for at in ("", " at 50"):
        ratio, low, high, rank = (
            [values_of(f"VIME {lam}{at} {measure}") for lam in ("1", "0.1", "0.01")]
            for measure in ("ratio", "low", "high", "rank")
        )
        for one, tenth, hundredth in (ratio, low, high):
            np.testing.assert_allclose(tenth, 1e-2 * one, rtol=1e-9)
            np.testing.assert_allclose(hundredth, 1e-4 * one, rtol=1e-9)
        np.testing.assert_allclose(rank[1:], [rank[0]] * 2, rtol=1e-9)


def test_sum_over_joint_gain_against_its_law() -> None:
    """(B/n)/ln(1 + B/n), for D/n nats a row beside D/2·ln((n + B)/n): within 15 %, over 20 seeds.

    Control: gains that add up would have the ratio 1.
    """
    settings = replace(FULL["Exactness"].settings, length=2000)
    for n in (200, 2000):
        singles = joints = 0.0
        for seed in range(20):
            job = study_job("Exactness", "linear", seed)._replace(settings=settings)
            rows = exactness.sample_rows(job, n + 2000)
            old = LinearRows(rows.inputs[:n], rows.targets[:n])
            new = LinearRows(rows.inputs[n:], rows.targets[n:])
            singles += np.sum(exactness.gains_of("exact", new, old, settings))
            joints += exactness.batch_gain(new, old, settings)
        expected = (2000 / n) / math.log(1 + 2000 / n)
        assert singles / joints == pytest.approx(expected, rel=0.15)
        assert expected > 1.4


def test_settings_are_checked() -> None:
    for change, reason in {
        "num_inputs": "num_inputs must be a whole number >= 1, got 0",
        "length": "length must be a whole number >= 1, got 0",
        "prior_sigma": "prior_sigma must be > 0",
        "likelihood_sigma": "likelihood_sigma must be > 0",
        "num_data": "num_data must be > 0",
    }.items():
        with pytest.raises(ValueError, match=reason):
            replace(SETTINGS, **{change: 0})
    with pytest.raises(ValueError, match="learned must be a whole number >= 0"):
        replace(SETTINGS, learned=(-1,))


# ---------------------------------------------------------------- table and picture


def many_rows() -> list[dict[str, Any]]:
    """Two seeds with values a, 3a; each gain, measure and n has its own a."""
    scales = {
        f"{name} {measure}": scale
        for place, name in enumerate(("exact", "VIME 1", "L2 error"), 1)
        for measure, scale in (
            ("ratio", place), ("low", 0.1 * place), ("high", 9.0 * place), ("rank", 0.001 * place),
            ("error rank", 0.002 * place),
            ("sum", 100.0 * place),
        )
    }  # fmt: skip
    spreads = {"leverage": 5.0, "leverage low": 2.0, "leverage high": 8.0}
    errors = {"error": 3.0, "error low": 1.0, "error high": 6.0}
    return [
        study_row(
            "Exactness",
            "linear",
            measure,
            (scale + size) * (n + 1) * (1 + 2 * seed),
            size=size,
            seed=seed,
            point=n,
        )
        for size in (0, 50)
        for seed in (0, 1)
        for measure, scale in {**scales, **spreads, **errors}.items()
        for n in (0, 100, 7)
    ]


def test_exactness_table_against_rows_by_hand() -> None:
    """Medians are twice the first seed's value; n = 7 is not shown."""
    lines = FULL["Exactness"].table(many_rows()).splitlines()
    assert lines[0].endswith("medians of 2 seeds")
    assert [words(line) for line in lines[4:]] == [
        *["", "correlation 0 size rank L2 rank sum", "n 0 100 0 100 0 100 0 100"],
        "exact 2 202 0.002 0.202 0.004 0.404 200 20200",
        "VIME 1 4 404 0.004 0.404 0.008 0.808 400 40400",
        "L2 error 6 606 0.006 0.606 0.012 1.21 600 60600",
        "leverage h, median: 10 at 0, 1010 at 100",
        "leverage h of 90 % of the rows: 4 to 16 at 0, 404 to 1616 at 100",
        "L2 error of 90 % of the rows: 2 to 12 at 0, 202 to 1212 at 100",
        "VIME 1, size of 90 % of the rows: 0.4 to 36 at 0, 40.4 to 3636 at 100",
        *["", "correlation 0.5 size rank L2 rank sum", "n 0 100 0 100 0 100 0 100"],
        "exact 102 10302 100 10100 100 10100 300 30300",
        "VIME 1 104 10504 100 10100 100 10101 500 50500",
        "L2 error 106 10706 100 10101 100 10101 700 70700",
        "leverage h, median: 110 at 0, 11110 at 100",
        "leverage h of 90 % of the rows: 104 to 116 at 0, 10504 to 11716 at 100",
        "L2 error of 90 % of the rows: 102 to 112 at 0, 10302 to 11312 at 100",
        "VIME 1, size of 90 % of the rows: 100 to 136 at 0, 10140 to 13736 at 100",
    ]


def test_exactness_picture_draws_medians_and_names_each_curve_at_its_end() -> None:
    """Of the lowest correlation. Control: the sums of the other are on no line."""
    figure = drawn_study("Exactness", many_rows())
    places = {"exact": 1, "VIME, λ = 1": 2, "L2 error": 3}
    for axes, (measure, scale) in zip(
        figure.axes, (("ratio", 1.0), ("rank", 0.001), ("sum", 100.0))
    ):
        names = [text.get_text() for text in axes.texts]
        assert names == [
            name for name in places if (name, measure) != ("exact", "rank")
        ]
        curves = [line for line in axes.lines if len(line.get_xdata()) == 3]
        for name, line in zip(names, curves, strict=True):
            expected = 2.0 * scale * places[name] * np.array([1, 8, 101])
            np.testing.assert_allclose(line.get_ydata(), expected)
        heights = sorted(text.get_position()[1] for text in axes.texts)
        assert np.min(np.diff(heights)) > 0.99 * LABEL_GAP


# ---------------------------------------------------------------- the page


def kept() -> Callable[..., float]:
    """The median over the seeds of a kept measure."""
    rows = kept_rows("Exactness")
    return lambda measure, n, size=0: exactness.median_at(rows, measure, size, n)


def lowest_seed(names: Iterable[str], points: Sequence[int]) -> float:
    """The lowest rank correlation of any seed."""
    rows = kept_rows("Exactness")
    wanted = {f"{name} rank" for name in names}
    return min(
        float(row["value"])
        for row in rows
        if row["measure"] in wanted and row["point"] in points
    )


def test_numbers_of_the_page_are_those_of_the_kept_rows() -> None:
    of = kept()
    cell = exactness.number_cell
    many = (100, 300, 1000, 3000, 10_000)
    vimes = [
        of(f"{name} rank", n, size)
        for name in exactness.VIME_GAINS
        for n in many
        for size in (0, 50)
    ]
    errors = [of("L2 error rank", n, size) for n in many for size in (0, 50)]
    total = of("VIME 1 sum", 100) / of("exact sum", 100)
    frozen = [of(f"{name} rank", 3000, 50) for name in ("VIME 1 at 50", "L2 error")]
    lowest = [
        lowest_seed(names, many) for names in (exactness.VIME_GAINS, ["L2 error"])
    ]
    like = [
        f"{of(f'{name} error rank', 3000):.3f}"
        for name in ("exact", "VIME 1", "VIME 1 at 50")
    ]
    spans = [
        of(f"{what} high", 3000) / of(f"{what} low", 3000)
        for what in ("error", "leverage")
    ]
    phrases = (
        f"After 3000 rows it is {of('VIME 1 at 50 ratio', 3000):.0f} times",
        f"λ = 1 it is {cell(of('VIME 1 ratio', 0))} times the exact gain, and more",
        f"stays at {of('VIME 1 ratio', 3000, 50):.1f} times the exact gain",
        f"to {min(vimes):.3f} or better",
        f"to {min(errors):.3f} or better",
        f"the lowest seeds have {lowest[0]:.3f} and {lowest[1]:.3f}",
        f"their rank correlation is {like[0]}. VIME's with the L2 error is {like[1]}, and {like[2]} with",
        f"span a factor of {cell(spans[0])}, and their leverages span {cell(spans[1])}",
        f"With 3 rows mean-field ranks to {of('mean-field rank', 3):.3f}",
        f"VIME with `num_data` 50 ranks to {of('VIME 1 at 50 rank', 10, 50):.3f}",
        f"lie between {cell(of('VIME 1 low', 3000, 50))} and {cell(of('VIME 1 high', 3000, 50))} times",
        f"L2 error: {frozen[0]:.3f} against {frozen[1]:.3f} at n = 3000",
        f"median leverage is {cell(of('leverage', 100))}.",
        f"median leverage is {cell(of('leverage', 0))}.",
        f"sum to {total:.2f} times",
        f"between {cell(of('VIME 1 low', 100))} and {cell(of('VIME 1 high', 100))}.",
        f"that is {50 / math.log(51):.1f} at n = 100",
        f"finds {cell(of('exact sum', 100))} there, and {cell(of('exact sum', 0))} at n = 0",
        f"it is {cell(of('mean-field ratio', 3000, 50))} times the exact gain at n = 3000",
    )
    check_phrases("exactness.md", phrases)
    assert of("VIME 1 high", 0) > 900
    assert of("VIME 1 at 50 ratio", 10_000) == pytest.approx(200, rel=0.1)
    assert (1 + of("leverage", 0)) ** 2 == pytest.approx(900, rel=0.05)


def test_numbers_in_the_experiments_are_those_of_the_kept_rows() -> None:
    of = kept()
    cell = exactness.number_cell
    sums = [cell(of("exact sum", n)) for n in (0, 100, 3000)]
    phrases = (
        f"they are {of('VIME 1 at 50 ratio', 3000):.0f} times too large at n = 3000",
        f"is {sums[0]} times the joint gain at n = 0",
        f"is {sums[1]} at n = 100 and {sums[2]} at n = 3000",
        f"Taylor gain is {cell(of('VIME 1 ratio', 0))} times too large",
    )
    check_phrases("experiments.md", phrases)


def test_claims_of_the_page_at_small_size() -> None:
    """At n = 0, overshoot; at n = 100, VIME's gain is near, twice that of `num_data` 50. Control: n = 3 is neither."""
    ratio, frozen = (
        np.median([values_of(f"{name} ratio", seed=seed) for seed in range(5)], axis=0)
        for name in ("VIME 1", "VIME 1 at 50")
    )
    assert ratio[0] > 50
    assert ratio[2] == pytest.approx(1.0, abs=0.15)
    assert frozen[2] == pytest.approx(2.0, abs=0.4)
    assert ratio[1] > 2 * frozen[1]

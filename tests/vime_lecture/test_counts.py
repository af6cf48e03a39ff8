"""Visit counts, pseudo-counts and their bonuses; information gain, prediction gain and 1/N̂ are in order."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lecture_helpers import (
    learned,
    mp_pseudo_count,
    naive_pseudo_count,
    pseudo_count_of,
)
from scipy.integrate import quad
from scipy.special import digamma, logsumexp, rel_entr
from scipy.stats import beta as beta_distribution
from strategies import finite, log_uniform

import vime_ref as vime
from vime_lecture import counts as visit_counts
from vime_lecture import densities

mpmath.mp.dps = 50

RNG = np.random.default_rng(0)  # bonuses take one and draw nothing

# ---------------------------------------------------------------- pseudo-counts


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=60).filter(
        lambda xs: len(set(xs)) > 1
    ),
    st.integers(0, 4),
)
def test_empirical_pseudo_count_against_visits(seen: list[int], x: int) -> None:
    model = learned(densities.dirichlet(5, alpha=0.0), seen)
    visits = seen.count(x)
    np.testing.assert_allclose(pseudo_count_of(model, x), visits, rtol=1e-9)
    if visits + 1 < len(seen):
        assert (
            abs(pseudo_count_of(model.update(x), x) - visits) > 0.9
        )  # the state counted before it is scored


def test_empirical_pseudo_count_ends_where_nothing_else_was_seen() -> None:
    model = learned(densities.dirichlet(2, alpha=0.0), [1, 1, 1])
    assert pseudo_count_of(model, 1) == math.inf
    assert pseudo_count_of(model, 0) == 0.0
    assert model.log_prob(0) == -math.inf


@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=6),
    log_uniform(0.01, 10.0),
    st.data(),
)
def test_dirichlet_pseudo_count_against_50_digits(
    counts: list[int], alpha: float, data: st.DataObject
) -> None:
    x, a, total = (
        data.draw(st.integers(0, len(counts) - 1)),
        mpmath.mpf(alpha),
        sum(counts),
    )
    size = total + len(counts) * a
    exact = mp_pseudo_count((counts[x] + a) / size, (counts[x] + 1 + a) / (size + 1))
    assert abs(exact - (counts[x] + a)) < mpmath.mpf(10) ** -40
    model = densities.Dirichlet(np.array([counts], dtype=float), alpha)
    computed = pseudo_count_of(model, x)
    np.testing.assert_allclose(computed, float(exact), rtol=1e-8)
    for wrong in (counts[x], counts[x] + len(counts) * alpha, counts[x] + alpha + 1):
        assert not np.isclose(computed, wrong, rtol=1e-6, atol=0.0)


@given(log_uniform(1e-9, 6000.0), log_uniform(1e-9, 6000.0))
def test_pseudo_count_against_50_digits(surprise: float, gain: float) -> None:
    """C2"""
    after, before = -surprise, -surprise - gain
    exact = float(
        mp_pseudo_count(mpmath.exp(mpmath.mpf(before)), mpmath.exp(mpmath.mpf(after)))
    )
    np.testing.assert_allclose(
        visit_counts.pseudo_count(before, after), exact, rtol=1e-13, atol=1e-300
    )


def test_naive_pseudo_count_is_lost_at_5000_nats() -> None:
    before, after = -5000.0, -4999.5
    exact = float(mp_pseudo_count(mpmath.exp(before), mpmath.exp(after)))
    np.testing.assert_allclose(
        visit_counts.pseudo_count(before, after), exact, rtol=1e-14
    )
    assert math.isnan(naive_pseudo_count(before, after))
    np.testing.assert_allclose(
        naive_pseudo_count(-5.0, -4.5),
        visit_counts.pseudo_count(-5.0, -4.5),
        rtol=1e-14,
    )


def test_pseudo_count_at_its_limits() -> None:
    before = np.array([-1.0, -1.0, -1.0, -np.inf, -5000.0, -5e-324, -2.0])
    after = np.array([-1.0, -1.5, -5000.0, -1.0, -1.0, 0.0, 0.0])
    counts = visit_counts.pseudo_count(before, after)
    assert counts.tolist() == [np.inf, np.inf, np.inf, 0.0, 0.0, 0.0, 0.0]
    assert visit_counts.count_bonus(counts, 0.5).tolist() == [0.0] * 3 + [5.0] * 4


@given(finite(-50.0, 50.0), st.integers(1, 10**6), log_uniform(0.01, 1e3))
def test_pixel_cnn_pseudo_count_against_50_digits(
    gain: float, num_seen: int, c: float
) -> None:
    def exact(power: float) -> float:
        return (
            float(1 / mpmath.expm1(c * mpmath.mpf(num_seen) ** power * gain))
            if gain > 0
            else math.inf
        )

    computed = visit_counts.pixel_cnn_pseudo_count(gain, num_seen, c)
    np.testing.assert_allclose(computed, exact(-0.5), rtol=1e-11, atol=1e-300)
    if gain > 0 and num_seen > 1 and 0 < computed < math.inf:
        assert not np.isclose(computed, exact(0.0), rtol=1e-7, atol=0.0)


def test_pixel_cnn_pseudo_count_does_not_overflow() -> None:
    counts = visit_counts.pixel_cnn_pseudo_count(np.array([-1e9, 0.0, 1e-320, 1e9]), 1)
    assert counts.tolist() == [math.inf, math.inf, math.inf, 0.0]


@given(st.lists(finite(0.0, 1e6), min_size=1), log_uniform(0.01, 10.0))
def test_count_bonus_against_square_root(counts: list[float], beta: float) -> None:
    """C1"""
    computed = visit_counts.count_bonus(np.array(counts), beta)
    np.testing.assert_allclose(
        computed, [beta / math.sqrt(n + 0.01) for n in counts], rtol=1e-14
    )
    assert not np.any(
        np.isclose(
            computed, [beta / math.sqrt(n + 1.01) for n in counts], rtol=1e-8, atol=0.0
        )
    )


def test_defaults_against_their_sources() -> None:
    np.testing.assert_allclose(
        visit_counts.pixel_cnn_pseudo_count(1.0, 4), 1 / math.expm1(0.1 / 2), rtol=1e-14
    )
    assert (
        visit_counts.VisitCounts().beta
        == visit_counts.PseudoCounts(densities.dirichlet(2, 1.0)).beta
        == 0.05
    )


# ---------------------------------------------------------------- information gain <= prediction gain <= 1/N̂


@dataclass(frozen=True)
class Mixture:
    """Bayes over density models."""

    models: tuple[Any, ...]
    log_weights: np.ndarray

    def log_prob(self, x: Any) -> float:
        return float(
            logsumexp(self.log_weights + [model.log_prob(x) for model in self.models])
        )

    def update(self, x: Any) -> "Mixture":
        joint = self.log_weights + [model.log_prob(x) for model in self.models]
        return Mixture(
            tuple(model.update(x) for model in self.models), joint - logsumexp(joint)
        )


def gains(mixture: Any, x: Any) -> tuple[float, float, float]:
    """Information gain KL[w′‖w], prediction gain, 1/N̂."""
    new, old = (np.exp(model.log_weights) for model in (mixture.update(x), mixture))
    return (
        float(np.sum(rel_entr(new, old))),
        visit_counts.prediction_gain(mixture, x),
        1 / pseudo_count_of(mixture, x),
    )


@given(st.lists(st.integers(0, 50), min_size=2, max_size=5), log_uniform(0.05, 5.0))
def test_prediction_gain_against_fractions(counts: list[int], alpha: float) -> None:
    """Of a Dirichlet model, which stays as it is; the gain of another symbol fails. C3"""
    model = densities.Dirichlet(np.array([counts], dtype=float), alpha)
    total = sum(counts) + len(counts) * Fraction(alpha)

    def gain(x: int) -> float:
        seen = counts[x] + Fraction(alpha)
        return math.log((seen + 1) / (total + 1) / (seen / total))

    result = visit_counts.prediction_gain(model, 0)
    assert math.isclose(result, gain(0), rel_tol=1e-8, abs_tol=1e-12)
    assert counts[1] == counts[0] or not math.isclose(result, gain(1), rel_tol=1e-6)
    np.testing.assert_array_equal(model.counts, [counts])


@given(
    st.lists(log_uniform(0.05, 5.0), min_size=2, max_size=4, unique=True),
    st.lists(st.integers(0, 2), max_size=20),
    st.integers(0, 2),
)
def test_gains_of_bayesian_mixtures_are_in_order(
    alphas: list[float], seen: list[int], x: int
) -> None:
    models = tuple(densities.dirichlet(3, alpha) for alpha in alphas)
    mixture = learned(
        Mixture(models, np.full(len(alphas), -math.log(len(alphas)))), seen
    )
    assert all(visit_counts.prediction_gain(model, x) > 0 for model in mixture.models)
    information, prediction, inverse = gains(mixture, x)
    assert -1e-14 <= information <= prediction * (1 + 1e-9)
    assert prediction <= inverse * (1 + 1e-9)


@dataclass(frozen=True)
class Unlearning:
    """Tells of a 1 with this probability, and of each 1 seen with a tenth of it: its prediction gain is below 0."""

    probability: float

    def log_prob(self, x: int) -> float:
        return math.log(self.probability if x == 1 else 1 - self.probability)

    def update(self, x: int) -> "Unlearning":
        return Unlearning(self.probability / 10)


def test_gains_of_mixtures_that_unlearn_are_out_of_order() -> None:
    """The condition PG > 0 of the models is needed; and each inequality can fail with a mistake in its larger side."""
    mixture = Mixture((Unlearning(0.9), Unlearning(0.01)), np.log([0.5, 0.5]))
    new, old = mixture.update(1), mixture
    assert np.sum(rel_entr(np.exp(new.log_weights), np.exp(old.log_weights))) > 0.5
    assert visit_counts.prediction_gain(mixture, 1) < 0
    learning = Mixture(
        (densities.dirichlet(3, 0.01), densities.dirichlet(3, 5.0)), np.log([0.5, 0.5])
    ).update(0)
    _, prediction, _ = gains(learning, 1)
    counted_first = learning.update(1)
    assert prediction > 1 / pseudo_count_of(counted_first, 1)


def dirichlet_information_gain(a: float, total: float) -> float:
    """KL[Dir(a + e_x)‖Dir(a)] in nats from a_x and Σ a: ψ(a_x + 1) − ψ(Σ a + 1) − log(a_x/Σ a)."""
    return float(digamma(a + 1) - digamma(total + 1) - math.log(a / total))


@pytest.mark.unwatched
@given(log_uniform(0.2, 20.0), log_uniform(0.2, 20.0))
@settings(max_examples=20)
def test_dirichlet_information_gain_against_integration(a: float, rest: float) -> None:
    """The two densities differ by the factor p_x Σa/a_x, and p_x ~ Beta(a_x + 1, Σa − a_x) after the observation."""

    def integrated(shape: float) -> float:
        density = beta_distribution(shape, rest)
        ratio = math.log(a / (a + rest))
        return quad(
            lambda u: math.log(density.ppf(u)) - ratio, 0.0, 1.0, limit=200, epsabs=1e-9
        )[0]

    closed = dirichlet_information_gain(a, a + rest)
    np.testing.assert_allclose(closed, integrated(a + 1), rtol=1e-5, atol=1e-7)
    assert not np.isclose(closed, -integrated(a), rtol=1e-3, atol=1e-6)  # KL[old‖new]


@given(st.lists(st.integers(0, 40), min_size=2, max_size=5), log_uniform(0.05, 5.0))
def test_gains_of_dirichlet_models_are_in_order(
    counts: list[int], alpha: float
) -> None:
    model = densities.Dirichlet(np.array([counts], dtype=float), alpha)
    a, total = counts[0] + alpha, sum(counts) + len(counts) * alpha
    information, prediction = (
        dirichlet_information_gain(a, total),
        visit_counts.prediction_gain(model, 0),
    )
    assert -1e-12 < information < prediction < 1 / pseudo_count_of(model, 0)
    assert prediction > dirichlet_information_gain(a + 1, total + 1)


# ---------------------------------------------------------------- bonuses


def make_batch(next_observations: Any) -> vime.Batch:
    """Rows that lead to these observations, from elsewhere."""
    rows = np.array(next_observations)
    rows.setflags(write=False)
    flags = np.zeros(len(rows), dtype=bool)
    return vime.Batch(
        np.zeros_like(rows),
        np.zeros(len(rows)),
        np.zeros(len(rows)),
        rows,
        flags,
        flags,
    )


@pytest.mark.unwatched
@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=2, max_size=3))
def test_bonuses_against_counts_one_after_another(batches: list[list[int]]) -> None:
    """Visit counts give β(N + 0.01)^−½, a Dirichlet β(N + α + 0.01)^−½; s′ may be an index, a column or a cell."""
    grid = densities.Grid(((0.0, 1.0, 2.0, 3.0, 4.0),))
    bonuses = {
        visit_counts.VisitCounts(0.5): 0.0,
        visit_counts.VisitCounts(0.5, grid): 0.0,
        visit_counts.PseudoCounts(densities.dirichlet(4, 0.25), 0.5): 0.25,
        visit_counts.PseudoCounts(densities.dirichlet(4, 0.25), 0.5, grid): 0.25,
    }
    for bonus, prior in bonuses.items():
        seen: list[int] = []
        for states in batches:
            cells = bonus.grid is not None
            batch = make_batch(
                np.reshape(states, (-1, 1)) + 0.5
                if cells
                else np.array(states, dtype=int)
            )
            before = [(seen + states[:n]).count(x) for n, x in enumerate(states)]
            expected = [0.5 / math.sqrt(n + prior + 0.01) for n in before]
            for _ in range(2):  # reward changes nothing
                np.testing.assert_allclose(
                    bonus.reward(batch, RNG), expected, rtol=1e-8
                )
            old, bonus = bonus, bonus.update(batch, RNG)
            np.testing.assert_allclose(old.reward(batch, RNG), expected, rtol=1e-8)
            seen += states


def test_bonuses_part_from_their_common_mistakes() -> None:
    """Three visits of one state in a batch: N = 0, 1, 2; not 1, 2, 3 (counted before it is scored), nor 0, 0, 0."""
    batch = make_batch([1, 1, 1])
    for bonus, prior in (
        (visit_counts.VisitCounts(1.0), 0.0),
        (visit_counts.PseudoCounts(densities.dirichlet(2, 0.5)), 0.5),
    ):
        counted_first, frozen = (
            bonus.update(make_batch([1]), RNG),
            bonus.reward(make_batch([1]), RNG).repeat(3),
        )
        paid = [bonus.reward(batch, RNG), counted_first.reward(batch, RNG), frozen]
        counts = [(bonus.beta / values) ** 2 - 0.01 - prior for values in paid]
        np.testing.assert_allclose(
            counts, [[0, 1, 2], [1, 2, 3], [0, 0, 0]], atol=1e-12
        )
        assert not np.allclose(
            bonus.reward(batch._replace(next_observations=batch.observations + 1), RNG),
            paid[1],
        )
        elsewhere = make_batch(batch.observations)._replace(
            observations=batch.next_observations
        )
        assert (
            counted_first.reward(elsewhere, RNG)[0] > paid[1][0]
        )  # the bonus depends on s′, not s


def test_image_bonuses_against_what_is_new() -> None:
    """Two images ten times each, then a mix of their pixels: new for visits and trees, not for independent pixels."""
    images = np.array([np.eye(4), 1 - np.eye(4)] * 10 + [np.ones((4, 4))], dtype=int)
    models = densities.dirichlet(2, 0.5, 16), densities.image_cts((4, 4), 2)
    ratios = []
    for bonus in (
        visit_counts.VisitCounts(),
        *(visit_counts.PseudoCounts(model) for model in models),
    ):
        assert bonus.reward(make_batch(images[:0]), RNG).shape == (0,)
        first, new, second = bonus.update(make_batch(images[:20]), RNG).reward(
            make_batch(images[[0, 20, 1]]), RNG
        )
        assert max(first, second) < bonus.reward(make_batch(images[:1]), RNG)[0] / 5
        ratios.append(new / max(first, second))
    visits, pixels, trees = ratios
    assert min(visits, trees) > 10
    assert pixels < 1.01


COUNTS = visit_counts.VisitCounts()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: visit_counts.count_bonus(np.array([1.0, -1.0]), 1.0), "counts must be >= 0, got min -1.0"),
        (lambda: visit_counts.count_bonus(np.array([np.nan]), 1.0), "counts must be >= 0, got min nan"),
        (lambda: visit_counts.count_bonus(np.array([1.0]), -1.0), "beta must be > 0"),
        (lambda: visit_counts.VisitCounts(0.0), "beta must be > 0"),
        (lambda: visit_counts.PseudoCounts(densities.image_cts((2, 3), 2), np.nan), "beta must be > 0"),
        (lambda: visit_counts.pseudo_count(np.array([0.1, -2.0]), -np.ones(2)), "log_prob must be <= 0, got max 0.1"),
        (lambda: visit_counts.count_bonus(-1.0, 1.0), "counts must be >= 0, got -1.0"),
        (lambda: visit_counts.pseudo_count(0.1, -1.0), "log_prob must be <= 0, got 0.1"),
        (lambda: visit_counts.pseudo_count(-1.0, 1e-9), "log_prob_after must be <= 0, got 1e-09"),
        (lambda: visit_counts.pseudo_count(np.nan, -1.0), "log_prob must be <= 0, got nan"),
        (lambda: visit_counts.pseudo_count(-1.0, np.nan), "log_prob_after must be <= 0, got nan"),
        (lambda: visit_counts.pseudo_count(-np.inf, -np.inf), "log_prob_after must be finite, got -inf"),
        (lambda: visit_counts.pseudo_count(np.zeros(2), np.zeros(1)), "log_prob_after must have shape (2,), got (1,)"),
        (lambda: visit_counts.pixel_cnn_pseudo_count(np.nan, 1), "gain must be a number, got nan"),
        (lambda: visit_counts.pixel_cnn_pseudo_count(1.0, 0), "num_seen must be a whole number >= 1, got 0"),
        (lambda: visit_counts.pixel_cnn_pseudo_count(1.0, 1, c=0.0), "c must be > 0"),
        (lambda: COUNTS.reward(make_batch([0.0, np.nan]), RNG), "next_observations must be finite, got nan at index"),
        (lambda: COUNTS.update(make_batch([0.0, 0.5]), RNG), "next_observations must be whole numbers or come with"),
    ],
)  # fmt: skip
def test_bad_input_of_counts_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()

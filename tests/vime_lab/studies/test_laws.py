"""Laws against exact data and hand-computed sums."""

import math

import numpy as np
import pytest

from vime_lab.studies import laws


def test_fitted_growth_against_exact_laws() -> None:
    """Control: each law fits the data of the other worse."""
    sizes = np.array([6, 8, 10, 14, 20, 30])
    twofold = laws.fitted_growth(sizes, 3.0 * 2.0**sizes)
    assert twofold.exponential
    assert twofold.doublings == pytest.approx(1.0, abs=1e-8)
    cubic = laws.fitted_growth(sizes, 0.5 * sizes**3.0)
    assert not cubic.exponential
    assert cubic.power == pytest.approx(3.0, abs=1e-8)
    assert abs(twofold.power - 3.0) > 1.0
    assert abs(cubic.doublings - 1.0) > 0.5


@pytest.mark.parametrize(
    ("sizes", "episodes"),
    [
        ([1, 2], [1, 2]),
        ([1, 2, 3], [1, 2]),
        ([0, 1, 2], [1, 1, 1]),
        ([1, 2, 3], [1, 0, 1]),
    ],
)
def test_fitted_growth_rejects_what_has_no_law(sizes, episodes) -> None:
    with pytest.raises(
        ValueError, match="sizes and episodes must be 3 or more numbers > 0 each, got"
    ):
        laws.fitted_growth(sizes, episodes)


def test_ucb1_bound_against_a_sum_by_hand() -> None:
    """Gaps 0.5 and 0.25: 8 ln t (2 + 4) + (1 + π²/3) 0.75. Control: the best arm has no share, whatever its number."""
    t = [1, 10, 1000]
    expected = [48.0 * math.log(each) + 0.75 * (1.0 + math.pi**2 / 3.0) for each in t]
    assert laws.ucb1_bound([0.5, 1.0, 0.75], t) == pytest.approx(expected, rel=1e-14)
    assert laws.ucb1_bound([1.0, 0.5, 1.0, 0.75], t) == pytest.approx(
        expected, rel=1e-14
    )
    assert laws.ucb1_bound([0.5, 1.0], t) != pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("means", "pulls", "reason"),
    [
        ([1.5], [1], "means must be from 0 to 1, got 1.5"),
        ([0.5], [0], "pulls must be >= 1"),
    ],
)
def test_ucb1_bound_rejects_other_rewards_and_no_pulls(means, pulls, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        laws.ucb1_bound(means, pulls)

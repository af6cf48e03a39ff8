"""Operations of counting, and of density models."""

import math
from fractions import Fraction

import numpy as np
from check_helpers import STORED, assert_complete

from vime_check.cases import counts


def test_operations_are_complete() -> None:
    assert_complete(counts, "counts", "densities")


def test_update_order_of_context_trees_against_fractions() -> None:
    """Bits 1, 0 at depth 1: 3/16, and 5/28 if the split weight uses the new stay weight."""
    (case,) = [case for case in STORED if case["id"] == "cts_log_probs/one-zero"]
    wrong = case["wrong"]["CtsUpdateOrder"]["output"]
    np.testing.assert_allclose(
        np.exp([sum(case["output"]), sum(wrong)]), [3 / 16, 5 / 28], rtol=1e-14
    )
    steps = [((0,), 1), ((1,), 0)]
    for late, product in ((False, Fraction(3, 16)), (True, Fraction(5, 28))):
        assert (
            math.prod(counts.switching(steps, 2, None, Fraction(1), updated_stay=late))
            == product
        )


def test_closed_form_of_tables_against_n_plus_alpha() -> None:
    """The pseudo-count from ρ and ρ′ in 50 digits is N + α in fractions; the off-by-one count is N + 1 + α."""
    symbols = np.array([[1], [0], [1], [1], [2], [1]])
    exact = counts.exact_dirichlet_pseudo_counts(symbols, 4, Fraction(1, 2))
    assert exact.tolist() == [Fraction(1, 2) + n for n in (0, 0, 1, 2, 0, 3)]

"""Operations of the strategies, and of tabular Q-learning."""

import numpy as np
from check_helpers import assert_complete

from vime_check.cases import OPERATIONS, explorers


def test_operations_are_complete() -> None:
    assert_complete(explorers, "strategies")


def test_fudged_temperatures_against_a_softmax() -> None:
    """Its own deviation, or the temperature that is given, and 1e-8."""
    q = np.array([1e-8, 4.5e-8, 2e-8])
    (wrong,) = OPERATIONS["boltzmann"].mistakes["FudgedDenominator"]
    for temperature in (None, 3e-8):
        unit = (temperature or float(np.std(q))) + 1e-8
        weights = np.exp(q / unit)
        output = wrong(q_values=q, temperature=temperature)
        np.testing.assert_allclose(output, weights / np.sum(weights), rtol=1e-13)


def test_a_nearly_equal_value_is_no_tie() -> None:
    """Control: equal values share."""
    right = OPERATIONS["epsilon_greedy"].function
    near = right(q_values=np.array([1.0, 1.0 + 1e-9]), epsilon=0.0)
    np.testing.assert_array_equal(near, [0.0, 1.0])
    even = right(q_values=np.array([1.0, 1.0]), epsilon=0.0)
    np.testing.assert_array_equal(even, [0.5, 0.5])

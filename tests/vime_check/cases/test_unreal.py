"""Operations of UNREAL."""

import numpy as np
from check_helpers import assert_complete

from vime_check.cases import OPERATIONS, unreal


def test_operations_are_complete() -> None:
    assert_complete(unreal, "unreal")


def test_windows_of_reward_prediction_are_paid_with_probability_one_half() -> None:
    """Shares over a grid of coins and places agree with the closed form; the mistakes have other shares or rows."""
    rewards, ended = (
        np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        np.array([0, 0, 0, 1, 0, 0, 0], dtype=bool),
    )
    coins, places = (
        grid.ravel()
        for grid in np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(4) + 0.5) / 4)
    )
    given = {"rewards": rewards, "ended": ended, "coins": coins, "places": places}
    rows = unreal.exact_windows(**given)
    assert {(int(t), float(np.mean(rows == t))) for t in np.unique(rows)} == {
        (2, 0.5),
        (3, 0.25),
        (6, 0.25),
    }
    for flag in ("UniformWindows", "WindowCrossing", "TerminalDropped"):
        for wrong in OPERATIONS["sample_reward_windows"].mistakes[flag]:
            assert not np.array_equal(wrong(**given), rows), flag

"""Errors of outputs, against hand-computed numbers."""

import math
from typing import Any

import numpy as np
import pytest

from vime_check.errors import difference, error, listed
from vime_check.wire import decode_outputs


@pytest.mark.parametrize(
    ("kind", "output", "expected", "error"),
    [
        ("elementwise", [1.1, 0.1], [1.0, 0.0], 0.1),
        ("arraywise", [1.1, 0.1, 4.0], [1.0, 0.0, 4.0], 0.025),
        ("arraywise", [0.5, 0.0], [0.0, 0.0], 0.5),
        ("elementwise", ["Infinity", 1.0], ["Infinity", 1.0], 0.0),
        ("elementwise", ["Infinity"], ["-Infinity"], np.inf),
        ("arraywise", [1.0, 2.0], ["Infinity", 2.0], np.inf),
        ("arraywise", ["Infinity", 2.2], ["Infinity", 2.0], 0.1),
        ("elementwise", ["NaN"], ["NaN"], 0.0),
        ("elementwise", ["NaN", 1.5], ["NaN", 1.0], 0.5),
        ("arraywise", ["NaN", 1.0], ["NaN", 2.0], 0.5),
        ("elementwise", ["NaN"], [1.0], np.inf),
        ("arraywise", [1.0], ["NaN"], np.inf),
        ("elementwise", [], [], 0.0),
        ("elementwise", [1.0], [], np.inf),
    ],
)
def test_difference_against_numbers_by_hand(
    kind: Any, output: Any, expected: Any, error: float
) -> None:
    pair = decode_outputs(output), decode_outputs(expected)
    assert difference(*pair, kind)[0] == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "output", "expected", "off"),
    [
        ("elementwise", [1.0, 2.2], [1.0, 2.0], 0.1),
        ("elementwise", [0.5, 2.0], [0.0, 2.0], 0.5),
        ("arraywise", [1.1, 10.0], [1.0, 10.0], 0.01),
        ("arraywise", [0.0, 0.25], [0.0, 0.0], 0.25),
        ("elementwise", [math.inf, 1.0], [math.inf, 1.0], 0.0),
        ("elementwise", [-math.inf, 1.0], [math.inf, 1.0], math.inf),
        ("elementwise", [math.nan], [math.nan], math.inf),
        ("arraywise", [1.0, 2.0], [[1.0, 2.0]], math.inf),
        ("arraywise", [], np.zeros((0, 2)), 0.0),
        ("arraywise", [], [[1.0, 2.0]], math.inf),
        ("arraywise", 3.0, np.array(3.0), 0.0),
        ("arraywise", {"a": [1.0], "b": [2.5]}, {"b": [2.0], "a": [1.0]}, 0.25),
        ("arraywise", {"a": [1.0]}, {"b": [1.0]}, math.inf),
        ("arraywise", {"a": [1.0]}, [1.0], math.inf),
    ],
)
def test_error_against_numbers_by_hand(
    kind: Any, output: Any, expected: Any, off: float
) -> None:
    assert error(kind, output, expected) == pytest.approx(off)


def test_difference_is_relative_to_the_floor_and_names_the_array() -> None:
    small, half = {"a": np.array([0.25])}, {"a": np.array([0.5])}
    assert difference(small, half, "elementwise", floor=1.0) == (0.25, "")
    short = {"a": np.array([0.5, 0.5])}
    reason = "shape (2,) instead of (1,) in a"
    assert difference(short, half, "elementwise") == (math.inf, reason)


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"

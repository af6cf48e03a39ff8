"""Errors of outputs, against hand-computed numbers."""

import math
from typing import Any

import numpy as np
import pytest

from vime_check.errors import (
    Element,
    difference,
    error,
    listed,
    num_digits,
    place_text,
    worst_place,
)
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


@pytest.mark.parametrize(
    ("output", "expected", "text"),
    [
        ([1.0, 2.5], [1.0, 2.0], "[1] got 2.5, expected 2"),
        ([[1.0], [-3.0]], [[1.0], [3.0]], "[1, 0] got -3, expected 3"),
        (2.0, 1.0, "got 2, expected 1"),
        ({"a": [1.1], "b": [1.0, 2.0]}, {"a": [1.0], "b": [3.0, 2.0]}, "b[0] got 1, expected 3"),
        ({"a": [5.0], "b": [1.1]}, {"a": [1.0], "b": [1.0]}, "a[0] got 5, expected 1"),
        ({"a": [], "b": 1.5}, {"a": [], "b": 1.0}, "b got 1.5, expected 1"),
        (["NaN", 9.0], [1.0, 2.0], "[0] got nan, expected 1"),
        ([1.00000001], [1.0], "[0] got 1.00000001, expected 1"),
        ([1.000000000001], [1.0], "[0] got 1.000000000001, expected 1"),
        ([1.0000000000000002], [1.0], "[0] got 1.0000000000000002, expected 1.0"),
    ],
)  # fmt: skip
def test_the_worst_element_is_shown_with_enough_digits(
    output: Any, expected: Any, text: str
) -> None:
    place = worst_place(decode_outputs(output), decode_outputs(expected), "elementwise")
    assert place is not None
    assert place_text(place) == text


def test_outputs_of_other_shapes_or_names_and_empty_ones_have_no_worst_element() -> (
    None
):
    """Control: of equal shapes."""
    pair = {"a": np.zeros(2)}, {"a": np.ones(2)}
    assert worst_place(*pair, "arraywise") == Element("a", (0,), 0.0, 1.0)
    for other in ({"b": np.zeros(2)}, {"a": np.zeros(3)}):
        assert worst_place(other, pair[1], "arraywise") is None
    assert worst_place({"": np.zeros(0)}, {"": np.zeros(0)}, "arraywise") is None


@pytest.mark.parametrize(
    ("off", "digits"), [(1e-3, 3), (9e-4, 3), (1.1e-3, 2), (0.3, 0), (7.0, 0), (math.inf, 0)]
)  # fmt: skip
def test_digits_that_agree(off: float, digits: int) -> None:
    assert num_digits(off) == digits

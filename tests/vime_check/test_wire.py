"""JSON and arrays: inputs of each kind, and round trips of outputs."""

import json
import math
from typing import Any

import numpy as np
import pytest

from vime_check import wire
from vime_check.wire import decode_input


def decoded(operation: str, inputs: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The inputs decoded for a Python implementation."""
    return wire.decode_inputs(inputs, wire.declared_kinds().get(operation, {}), dtype)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_indices_are_whole_numbers_and_a_missing_setting_is_none_in_each_precision(
    dtype: str,
) -> None:
    """Control: counts, which may be pseudo-counts, and indices with a fraction are numbers of the precision."""
    images = decoded(
        "image_cts_log_probs", {"images": [[[1, 0]], [[2, 1]]], "rate": None}, dtype
    )
    bits = decoded("cts_log_probs", {"bits": [1, 0]}, dtype)
    symbols = decoded("dirichlet_pseudo_counts", {"symbols": [[0.5]]}, dtype)
    counts = decoded("ucb1", {"counts": [1, 0]}, dtype)
    kinds = {
        name: None if value is None else value.dtype.kind
        for name, value in (images | bits | symbols | counts).items()
    }
    assert kinds == {
        "images": "i",
        "bits": "i",
        "symbols": "f",
        "counts": "f",
        "rate": None,
    }
    assert counts["counts"].dtype == wire.DTYPES[dtype]
    assert images["images"].shape == (2, 1, 2)
    actions = decoded("control_loss", {"actions": [1, 0], "targets": [[1.0]]}, dtype)
    assert [value.dtype.kind for value in actions.values()] == ["i", "f"]


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        ([0, 255.0], "u"),
        ([0.5, 1.0], "f"),
        ([0, 256], "f"),
        ([-1, 0], "f"),
        ([0, "NaN"], "f"),
    ],
)
def test_pixels_are_bytes_where_they_can_be(
    pixels: list[Any], kind: str, dtype: str
) -> None:
    """Control: those of a policy, and flags, are none."""
    given = {"observations": [[[pixels]]], "cell_size": 1}
    observations = decoded("pixel_control_rewards", given, dtype)["observations"]
    assert observations.dtype == (np.uint8 if kind == "u" else wire.DTYPES[dtype])
    assert (
        decoded("feature_control_rewards", given, dtype)["observations"].dtype.kind
        == "f"
    )


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_lists_of_arrays_and_flags_that_are_none(dtype: str) -> None:
    """Control: arrays of one size are one array, and no numbers are numbers, unless they are declared."""
    ragged = [[[1.0, 2.0]], [["Infinity"]]]
    arrays = decoded("mlp_local", {"zeta": ragged}, dtype)["zeta"]
    assert [each.shape for each in arrays] == [(1, 2), (1, 1)]
    assert {each.dtype for each in arrays} == {np.dtype(wire.DTYPES[dtype])}
    assert arrays[1] == math.inf
    assert decoded("mlp", {"zeta": [[1.0], [2.0]]}, dtype)["zeta"].shape == (2, 1)

    flags = {"terminated": [], "truncated": [True], "rewards": []}
    ends = decoded("n_step_returns", flags, dtype)
    assert [each.dtype.kind for each in ends.values()] == ["b", "b", "f"]
    half = decoded("n_step_returns", {"terminated": [0.0, 0.5]}, dtype)
    assert half["terminated"].dtype.kind == "f"


def test_values_there_and_back() -> None:
    """Numbers that JSON lacks are encoded as strings. Control: other strings are not numbers."""
    values = {"a": np.array([[1.5, math.nan], [math.inf, -math.inf]]), "b": 0.1}
    text = json.dumps(wire.encode(values), allow_nan=False)
    assert text == '{"a": [[1.5, "NaN"], ["Infinity", "-Infinity"]], "b": 0.1}'
    back = wire.decode_outputs(json.loads(text))
    np.testing.assert_array_equal(back["a"], values["a"])
    assert back["b"] == 0.1
    assert wire.decode_outputs([1, 2])[""].tolist() == [1.0, 2.0]
    for wrong in ("nan", "1.0"):
        with pytest.raises(ValueError, match="result must hold numbers, got"):
            wire.decode_outputs([wrong])


def test_flags_in_an_output_count_as_0_and_1() -> None:
    """Control: an argument must be a number."""
    back = wire.decode_outputs({"a": [True, 0.5], "b": False})
    assert (back["a"].tolist(), back["b"].tolist()) == ([1.0, 0.5], 0.0)
    assert wire.encode_result(np.array([True, False])) == [1.0, 0.0]
    assert not wire.is_number(True)


def test_scalars_stay_as_they_are_except_the_special_ones() -> None:
    given = {"eta": "Infinity", "method": "taylor", "window": 3, "rate": None}
    assert decoded("curious_rewards", given, "f32") == {**given, "eta": math.inf}


def test_text_of_a_program_is_one_line() -> None:
    assert wire.shown("a\x07b\n c") == "a b c"
    assert wire.shown("x" * 1000, 60) == "x" * 60 + "..."


def test_infinite_whole_numbers_stay_floats() -> None:
    """They have no integer; NaN, infinity and 1e300 are bad input, which the operation judges."""
    for bad in ("Infinity", "-Infinity", "NaN", 1e300, 0.5):
        assert decode_input([bad, 1], "wholes", "f64").dtype == np.float64
    assert decode_input([2**52, 1], "wholes", "f64").dtype == np.int64

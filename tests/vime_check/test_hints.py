"""Structural hints, against outputs with exactly the error that the hint names."""

import math
import sys
from typing import Any

import numpy as np
import pytest
from check_helpers import STORED, inputs_of

from vime_check import hints as module
from vime_check import wire
from vime_check.cases import OPERATIONS
from vime_check.errors import by_name
from vime_check.hints import LEFTOVER, Hint, all_hints
from vime_check.wire import encode

ROW = np.array([0.3, -1.7, 2.9, 0.8])
SQUARE = np.array([[0.3, -1.7, 2.1], [2.9, 0.8, -0.2], [1.3, 0.6, 4.1]])
OBLONG = SQUARE[:2]
CUBE = np.concatenate(
    [SQUARE[None], -1.3 * SQUARE[None], 0.7 * SQUARE[None].T[None, :, :, 0]]
)
NETWORK = {
    "mu": [0.0] * 5,
    "eps": [[0.0] * 5] * 3,
    "inputs": [[1.0]] * 7,
    "num_data": 91,
}


def hint(*about: Any) -> str:
    """The most specific hint; empty if there is none."""
    return next((each.text for each in all_hints(*about)), "")


def texts(output: Any, right: Any, inputs: Any = None, **rest: Any) -> list[str]:
    found = all_hints(by_name(output), by_name(right), inputs or {}, **rest)
    return [each.text for each in found]


@pytest.mark.parametrize(
    ("output", "right", "text"),
    [
        (2.0 * ROW, ROW, "2 times the right one"),
        (-ROW, ROW, "−1 times the right one"),
        (ROW / 2.0, ROW, "½ times the right one"),
        (ROW / math.log(2.0), ROW, "1/ln 2 times the right one"),
        (ROW * math.log(2.0), ROW, "ln 2 times the right one"),
        (0.0 * ROW, ROW, "all elements are 0"),
        (1.234 * ROW, ROW, "1.234 times the right one"),
        (ROW / 5, ROW, "1/D (D is the number of weights or dimensions) times the right one"),
        (ROW * 5, ROW, "D (the number of weights or dimensions) times the right one"),
        (ROW / 3, ROW, "1/S (S is the number of samples) times the right one"),
        (ROW / 7, ROW, "1/B (B is the number of rows) times the right one"),
        (ROW * 13, ROW, "n/B (num_data by the number of rows) times the right one"),
        (ROW / 13, ROW, "B/n (the number of rows by num_data) times the right one"),
        (ROW + 0.5, ROW, "the right one plus ½"),
        (ROW - 0.5 * math.log(2 * math.pi), ROW, "the right one minus ½ ln 2π"),
        (ROW + 0.123, ROW, "the right one plus 0.123"),
        (SQUARE.T, SQUARE, "transposed"),
        (OBLONG.T, OBLONG, "transposed"),
        (ROW[::-1], ROW, "reversed along axis 0"),
        (OBLONG[:, ::-1], OBLONG, "reversed along axis 1"),
        (np.transpose(CUBE, (2, 0, 1)), CUBE, "axes in the order (2, 0, 1)"),
        (ROW[[1, 3, 0, 2]], ROW, "the right elements in another order"),
        (SQUARE[[1, 0, 2]], SQUARE, "in another order along axis 0"),
        (SQUARE[:, [1, 0, 2]], SQUARE, "in another order along axis 1"),
        (np.append(5.0, ROW[:-1]), ROW, "one place too late along axis 0"),
        (np.append(ROW[1:], 5.0), ROW, "one place too early along axis 0"),
        (ROW[:, None], ROW, "the right elements in another shape"),
        (OBLONG.sum(1), OBLONG, "summed over axis 1"),
        (OBLONG.mean(0), OBLONG, "averaged over axis 0"),
        (OBLONG.mean(0, keepdims=True), OBLONG, "averaged over axis 0"),
        (OBLONG.sum(), OBLONG, "summed over all axes"),
        (np.full(4, ROW.mean()), ROW, "averaged over axis 0"),
        (OBLONG, OBLONG.sum(1), "not summed over axis 1"),
        (OBLONG, OBLONG.mean(0), "not averaged over axis 0"),
        (ROW, ROW.sum(), "not summed over axis 0"),
        (ROW * [1, 1, 7, 1], ROW, "3 of 4 elements are right"),
        (ROW * [1, -1, 1, -1], ROW, "right except for signs"),
        (ROW * [1, np.nan, 1, 1], ROW, "not finite at index (1,)"),
        (np.inf, 1.0, "not finite"),
        ({"a": ROW, "b": 2.0 * ROW}, {"a": ROW, "b": ROW}, "a is right, b is not: 2 times the right one"),
        ({"a": ROW, "b": ROW + ROW**2}, {"a": ROW, "b": ROW}, "a is right, b is not"),
        ({"a": 3.3 * ROW, "b": 3.3 * SQUARE}, {"a": ROW, "b": SQUARE}, "3.3 times the right one"),
        ({"a": ROW, "b": ROW[::-1]}, {"a": ROW[::-1], "b": ROW}, "a and b are exchanged"),
        (ROW * [1.0009, 0.9992, 1.0005, 0.9993], ROW, "agrees to 3 digits"),
        (ROW * [1.05, 0.96, 1.03, 0.97], ROW, "agrees to 1 digit"),
    ],
)  # fmt: skip
def test_hints_on_outputs_with_exactly_this_error(
    output: Any, right: Any, text: str
) -> None:
    """Control: the right output has none of it, and neither has one that is off by noise of 1e-6."""
    first = hint(by_name(output), by_name(right), NETWORK)
    assert first == text
    assert texts(right, right, NETWORK) == []
    noise = 1.0 + 1e-6 * np.cos(np.arange(100.0))
    noisy = {
        name: each * noise[: each.size].reshape(each.shape)
        for name, each in by_name(output).items()
    }
    if not any(
        word in text for word in ("finite", "digit", "are 0", "a is right, b is not")
    ):
        assert text not in texts(noisy, right, NETWORK) or np.size(output) == 1


@pytest.mark.parametrize("right", [ROW, SQUARE])
def test_later_rows_that_are_wrong_against_outputs_by_hand(right: np.ndarray) -> None:
    """Controls: a row that is right, row 0 wrong, another number of rows, no rows."""
    inputs = {"inputs": [[1.0]] * len(right)}
    rows = np.arange(1.0, 1.0 + len(right)).reshape(-1, *[1] * (right.ndim - 1))
    output = right * rows**0.3
    assert texts(output, right, inputs)[0] == LEFTOVER
    two = {"mu": output, "rho": right}, {"mu": right, "rho": right}
    assert LEFTOVER not in texts(*two, inputs=NETWORK)
    assert texts(*two, inputs=inputs)[0] == LEFTOVER
    still = np.concatenate([output[:2], right[2:]])
    for other in (still, output[::-1], 1.1 * right, output[:1]):
        assert LEFTOVER not in texts(other, right, inputs)
    for others in (NETWORK, {}, {"inputs": [[1.0]]}):
        assert LEFTOVER not in texts(output, right, others)
    assert LEFTOVER not in texts(output[:1], right[:1], {"inputs": [[1.0]]})


def test_float32_takes_its_own_noise() -> None:
    output = 2.0 * ROW * (1.0 + 1e-6 * np.cos(ROW))
    assert "2 times the right one" not in texts(output, ROW)
    assert texts(output, ROW, dtype="f32")[0] == "2 times the right one"


def test_an_element_that_cancels_may_be_noise_if_errors_are_arraywise() -> None:
    """Control: elementwise, and a share of the largest element."""
    right = np.array([1.0, 2.0, 1e-17])
    output = np.array([2.0, 4.0, 9e-17])
    assert texts(output, right, kind="arraywise")[0] == "2 times the right one"
    assert texts(output, right) == []
    output[2] = 1e-9
    assert "2 times the right one" not in texts(output, right, kind="arraywise")


def test_an_offset_is_seen_in_every_element_or_not_named() -> None:
    """An element of 1e12 would hide an offset of 1. Control: without that element."""
    right = np.array([1e17, 1.0, 3.0])
    assert not [
        t for t in texts(right + np.array([0.0, 1.5, 1.5]), right) if "plus" in t
    ]
    assert texts(right[1:] + 1.5, right[1:])[0] == "the right one plus 1.5"


@pytest.mark.parametrize(
    ("output", "right", "text"),
    [
        (1.3, 1.0, "1.3 times the right one"),
        (2.0, 1.0, "2 times the right one"),
        ([2.0, 2.0], [1.0, 1.0], "summed over axis 0"),
        ([3.0, 3.0], [1.0, 1.0], "3 times the right one"),
        (1.5, 1.0, "1.5 times the right one"),
        ([2.0, np.inf], [1.0, np.inf], "2 times the right one"),
        (0.0, 1.0, "all elements are 0"),
        ([0.0, 0.0], [1.0, 1.0], "all elements are 0"),
        ({"a": 3.0, "b": 2.0}, {"a": 2.0, "b": 2.0}, "b is right, a is not: 1.5 times the right one"),
    ],
)  # fmt: skip
def test_a_relation_of_less_than_two_numbers_is_weak(
    output: Any, right: Any, text: str
) -> None:
    (first, *_) = all_hints(by_name(output), by_name(right), {})
    assert first == Hint(text, weak=True)


@pytest.mark.parametrize(
    ("output", "right", "text"),
    [
        ([1.3, 2.6], [1.0, 2.0], "1.3 times the right one"),
        ([2.0, 4.0], [1.0, 2.0], "2 times the right one"),
        ([0.0, 0.0], [1.0, 2.0], "all elements are 0"),
        ({"a": 3.0, "b": 6.0}, {"a": 2.0, "b": 4.0}, "1.5 times the right one"),
        ({"a": 3.0, "b": 2.0}, {"a": 2.0, "b": 3.0}, "a and b are exchanged"),
    ],
)
def test_a_relation_of_two_numbers_is_not_weak(
    output: Any, right: Any, text: str
) -> None:
    """Control of the test above."""
    (first, *_) = all_hints(by_name(output), by_name(right), {})
    assert first == Hint(text)


def test_exchanged_inputs_of_an_output_of_zeros_are_weak() -> None:
    """As of advantages that are normalized over one row: they are 0. Control: two rows."""
    one = {"rewards": [1.0], "values": [0.0], "next_values": [2.0], "gamma": 0.5}
    one |= {"terminated": [False], "truncated": [False], "lam": 0.5}
    two = {k: v * 2 if isinstance(v, list) else v for k, v in one.items()}
    two["rewards"] = [1.0, 3.0]
    gae = OPERATIONS["gae_advantages"]
    for given, weak in ((one, True), (two, False)):
        decoded = wire.decode_inputs(given, gae.kinds, "f64")
        other = {**decoded, "values": decoded["next_values"]}
        other["next_values"] = decoded["values"]
        output, right = by_name(gae.function(**other)), by_name(gae.function(**decoded))
        found = all_hints(output, right, given, "gae_advantages")
        text = "the right output with values and next_values exchanged"
        assert Hint(text, weak) in found


def test_a_factor_that_holds_to_some_digits_comes_with_their_number() -> None:
    """Control: to all digits, to two digits, one element, and an output near the right one."""
    wave = np.array([1.0, -0.5, 0.7, -1.0])
    text = "about 2 times the right one (to {} digits)"
    for off, known in ((1e-3, 3), (3e-6, 5)):
        output = 2.0 * ROW * (1.0 + 0.99 * off * wave)
        (first, *_) = all_hints(by_name(output), by_name(ROW), {})
        assert (first.text, first.digits) == (text.format(known), known)
        assert not first.vague
    for output, right in (
        (2.0 * ROW, ROW),
        (2.0 * ROW * (1.0 + 0.01 * wave), ROW),
        (2.00001, 1.0),
        (ROW * (1.0 + 1e-5 * wave), ROW),
        (2.0 * ROW * [1.00001, 1.0, np.inf, 1.0], ROW),
    ):
        assert not [each for each in texts(output, right) if "about" in each]
    assert not [
        t for t in texts(ROW * (1 + 1e-5 * wave), ROW, {"eps": [[1.0]]}) if "about" in t
    ]


def test_one_element_is_right_and_few_whole_numbers_are_so_by_chance() -> None:
    """Control: half of them, or numbers with fractions."""
    assert texts(ROW * [1, 3, 7, 9], ROW)[0] == "1 of 4 elements is right"
    right = np.array([0.0, 1.0, 1.0, 0.0])
    assert texts([0.0, 0.0, 0.0, 1.0], right) == []
    assert "2 of 4 elements are right" in texts([0.0, 1.0, 0.0, 1.0], right)


def test_the_right_output_of_exchanged_inputs_is_named() -> None:
    """For each operation that has two inputs to exchange. Control: without the reference there is no such hint."""
    done = set()
    for case in STORED:
        operation = OPERATIONS.get(case["operation"])
        given = inputs_of(case)
        if operation is None or case["result"] == "invalid":
            continue  # a trace, or no output
        if not {"mu", "rho"} <= set(given):
            continue
        if given["mu"].shape != given["rho"].shape:
            continue
        changed = {**given, "mu": given["rho"], "rho": given["mu"]}
        with np.errstate(all="ignore"):
            output = by_name(operation.function(**changed))
        right = by_name(operation.function(**given))
        if all(np.allclose(output[name], right[name], 1e-6, 0.0) for name in right):
            continue
        found = [
            each.text
            for each in all_hints(output, right, case["inputs"], operation.name)
        ]
        assert "the right output with mu and rho exchanged" in found, case["id"]
        done.add(operation.name)
    assert len(done) >= 10


def test_numbers_are_exchanged_too_and_inputs_that_become_invalid_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """η and rewards of one row have other shapes; γ and λ are two numbers."""
    gae = OPERATIONS["gae_advantages"]
    case = next(
        each
        for each in STORED
        if each["operation"] == "gae_advantages"
        and each["result"] == "valid"
        and each["inputs"]["gamma"] != each["inputs"]["lam"]
    )
    given = inputs_of(case)
    swapped = {**given, "gamma": given["lam"], "lam": given["gamma"]}
    output, right = by_name(gae.function(**swapped)), by_name(gae.function(**given))
    about = (output, right, case["inputs"], "gae_advantages")
    text = "the right output with gamma and lam exchanged"
    assert hint(*about) == text
    assert hint(output, right, encode(case["inputs"]), "unknown") != text
    monkeypatch.setitem(sys.modules, "vime_check.cases", None)
    assert module.reference("gae_advantages") is None
    assert hint(*about) != text


def test_outputs_of_other_names_or_without_a_relation_have_no_hint() -> None:
    assert texts({"a": 1.0}, {"b": 1.0}) == []
    assert texts(np.array([7.0, 8.0, 1e3]), ROW) == []
    assert texts(np.zeros(0), np.zeros(3)) == []
    assert texts(np.zeros(0), np.zeros((0, 2))) == []
    assert texts(np.full(2, np.inf), np.full(2, np.nan)) == []


def test_sizes_of_nothing_are_no_factors() -> None:
    """Control: sizes above 0."""
    none = {"inputs": [], "mu": [], "num_data": 0, "eps": [1.0]}
    for given, count in ((none, 0), (NETWORK, 10)):
        sizes = module.input_sizes(wire.decode_inputs(given, {}, "f64"))
        assert len(module.size_factors(sizes)) == count


def test_the_reference_with_other_names_proposes_nothing() -> None:
    """As in a file of another edition. Control: with its names."""
    given = {"mu": [0.3], "rho": [0.7]}
    about = (given, "kl_hessian_diag")
    other = OPERATIONS["kl_hessian_diag"].function(
        mu=np.array([0.7]), rho=np.array([0.3])
    )
    right = {name: 1.3 * each for name, each in other.items()}
    assert hint(by_name(other), by_name(right), *about).startswith("the right output")
    assert hint({"": np.array(1.0)}, {"": np.array(3.7)}, *about).endswith(
        " times the right one"
    )


def test_empty_arrays_beside_others_are_right() -> None:
    output, right = {"a": 2.0 * ROW, "b": np.zeros(0)}, {"a": ROW, "b": np.zeros(0)}
    assert texts(output, right)[0] == "b is right, a is not: 2 times the right one"


def test_many_rows_are_not_compared_in_every_order() -> None:
    rows = np.sin(np.arange(2.0 * 80)).reshape(80, 2)
    found = texts(rows[np.roll(np.arange(80), 9)], rows)
    assert found[0] == "the right elements in another order"


def test_outputs_of_any_numbers_and_shapes_raise_no_error() -> None:
    """Warnings are errors in the tests."""
    values = np.array([np.inf, -np.inf, np.nan, 1e308, -1e308, 0.0, 5e-324, 1.0])
    for case in STORED[::7]:
        if case["result"] == "invalid":
            continue
        right = wire.decode_outputs(case["output"])
        for shape in ((), (8,), (2, 4), (2, 2, 2), (0,)):
            size = int(np.prod(shape))
            output = {
                name: values[-size:].reshape(shape) if size else np.zeros(0)
                for name in right
            }
            all_hints(output, right, case["inputs"], case["operation"])
            all_hints(right, output, case["inputs"], case["operation"], "arraywise")

"""What value functions see, against slow loops and the normal equations."""

import numpy as np
import pytest

from agents_ref import value_init
from vime_lab.baselines import (
    RIDGE,
    VALUE_INPUTS,
    features,
    original_inputs,
    path_times,
    ridge_fit,
    timed_inputs,
)
from vime_lab.settings import INPUT_NAMES
from vime_ref import Batch


def make_batch(terminated: list[int], truncated: list[int], size: int = 7) -> Batch:
    rng = np.random.default_rng(0)
    rows = 8.0 * rng.normal(size=(2, size, 2))
    ends = [np.isin(np.arange(size), where) for where in (terminated, truncated)]
    return Batch(rows[0], rng.normal(size=(size, 1)), np.zeros(size), rows[1], *ends)


def test_times_against_a_loop() -> None:
    """Both kinds of ends restart the time. Control: with terminations alone it goes on."""
    batch = make_batch([2], [4, 6])
    expected = []
    t = 0
    for over in batch.terminated | batch.truncated:
        expected.append(float(t))
        t = 0 if over else t + 1
    assert path_times(batch).tolist() == expected == [0, 1, 2, 0, 1, 0, 1]
    assert path_times(make_batch([2], []))[4] == 1.0
    assert path_times(make_batch([], [])).tolist() == [*range(7)]


def test_inputs_with_time_against_a_loop_by_row() -> None:
    """s′ is one step later, also at an end. Controls: no clipping, and the same time."""
    batch = make_batch([2], [6])
    inputs, next_inputs = original_inputs(batch)
    plain = timed_inputs(batch)
    for n, t in enumerate([0, 1, 2, 0, 1, 2, 3]):
        for found, row, at in (
            (inputs[n], batch.observations[n], t),
            (next_inputs[n], batch.next_observations[n], t + 1),
        ):
            s = [max(-10.0, min(10.0, x)) for x in row]
            wanted = [
                *s,
                *(x * x for x in s),
                at / 100,
                (at / 100) ** 2,
                (at / 100) ** 3,
            ]
            np.testing.assert_allclose(found, wanted, rtol=1e-15)
        expected = (
            [*batch.observations[n], t / 100],
            [*batch.next_observations[n], (t + 1) / 100],
        )
        np.testing.assert_allclose(plain[0][n], expected[0], rtol=1e-15)
        np.testing.assert_allclose(plain[1][n], expected[1], rtol=1e-15)
    assert np.abs(batch.next_observations).max() > 10.0
    assert inputs.shape[1] == VALUE_INPUTS["original"].size(2) == 7
    assert plain[0].shape[1] == VALUE_INPUTS["state and time"].size(2) == 3
    assert not np.array_equal(
        features(batch.observations, path_times(batch) + 1.0), inputs
    )


def test_ridge_fit_against_the_augmented_least_squares() -> None:
    """Ridge regression is least squares with a row √1e-5 per weight. Control: without them, θ differs."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(6, 9))  # fewer rows than weights: the penalty decides
    returns = rng.normal(size=6)
    value = ridge_fit(value_init(9, rng, ()), inputs, returns)
    design = np.append(inputs, np.ones((6, 1)), axis=1)
    rows = np.concatenate([design, np.sqrt(RIDGE) * np.eye(10)])
    expected = np.linalg.lstsq(rows, np.append(returns, np.zeros(10)))[0]
    np.testing.assert_allclose(value.theta, expected, rtol=1e-7)
    np.testing.assert_allclose(value(inputs), design @ expected, rtol=1e-7)
    plain = np.linalg.lstsq(design[:, :3], returns)[0]
    assert not np.allclose(plain, expected[:3], rtol=1e-3)


def test_ridge_fit_takes_linear_values_only() -> None:
    value = value_init(2, np.random.default_rng(0), (3,))
    with pytest.raises(ValueError, match=r"^value must be linear, got layers"):
        ridge_fit(value, np.zeros((1, 2)), np.zeros(1))


def test_states_alone_are_what_the_agent_sees() -> None:
    batch = make_batch([], [6])
    own = VALUE_INPUTS["state"]
    assert own.of(batch)[0] is batch.observations
    assert own.of(batch)[1] is batch.next_observations
    assert own.size(2) == 2


def test_every_name_of_a_setting_has_its_inputs() -> None:
    assert tuple(VALUE_INPUTS) == INPUT_NAMES

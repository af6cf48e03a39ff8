"""What value functions see, and how they are fitted.

    "state"            s, by `value_fit`
    "state and time"   s and the time in the episode, by `value_fit`
    "original"         s, s² and powers of the time, by ridge regression

A finite horizon needs the time: what is left to earn depends on it.

Source of the third: the baseline of the original code's scripts, which is rllab's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from agents_ref import ValueFunction, state_inputs
from bnn_ref import Array, check_kind
from vime_ref import Batch, check_batch

# ---------------------------------------------------------------- constants

LIMIT = 10.0  # of observations
TIME_UNIT = 100.0  # steps
RIDGE = 1e-5  # added to the diagonal of XᵀX

# ---------------------------------------------------------------- features


def path_times(batch: Batch) -> Array:
    """Steps (N,) since the path of each row began."""
    ended = np.logical_or(batch.terminated, batch.truncated)
    rows = np.arange(len(ended))
    begins = np.append(True, ended[:-1])  # (N,)
    return (rows - np.maximum.accumulate(np.where(begins, rows, 0))).astype(float)


def features(observations: Array, times: Array) -> Array:
    """s within ±10, s², t/100, (t/100)², (t/100)³, (N, 2K + 3)."""
    within = np.clip(observations, -LIMIT, LIMIT)  # (N, K)
    t = times[:, None] / TIME_UNIT  # (N, 1)
    return np.concatenate([within, within**2, t, t**2, t**3], axis=1)  # (N, 2K + 3)


def with_time(observations: Array, times: Array) -> Array:
    """s and t/100, (N, K + 1)."""
    t = times[:, None] / TIME_UNIT  # (N, 1)
    return np.concatenate([observations, t], axis=1)  # (N, K + 1)


def timed_inputs(
    batch: Batch, form: Callable[[Array, Array], Array] = with_time
) -> tuple[Array, Array]:
    """The form of each step's s at t, and of s′ at t + 1."""
    batch = check_batch(batch)
    t = path_times(batch)
    return form(batch.observations, t), form(batch.next_observations, t + 1.0)


def original_inputs(batch: Batch) -> tuple[Array, Array]:
    """The `features` of each step's s and s′, (N, 2K + 3) each."""
    return timed_inputs(batch, features)


# ---------------------------------------------------------------- fitting


def ridge_fit(value: ValueFunction, inputs: Array, returns: Array) -> ValueFunction:
    """The linear V with the least ‖Xθ − R‖² + 1e-5 ‖θ‖², X with a column of ones.

    Raises ValueError if V has hidden units.
    """
    check_kind("value", value, ValueFunction)
    if len(value.layer_sizes) > 2:
        raise ValueError(f"value must be linear, got layers {value.layer_sizes}")
    design = np.append(inputs, np.ones((len(inputs), 1)), axis=1)  # (N, F + 1)
    penalty = RIDGE * np.eye(design.shape[1])
    theta, *_ = np.linalg.lstsq(design.T @ design + penalty, design.T @ returns)
    size = inputs.shape[1]
    return replace(
        value,
        theta=theta.astype(float),
        observation_center=np.zeros(size),
        observation_scale=np.ones(size),
        center=0.0,
        scale=1.0,
    )


class ValueInputs(NamedTuple):
    """V's inputs of a batch, their number for K observed ones, and the fit to them.

    Without a fit of their own it is `value_fit`.
    """

    of: Callable[[Batch], tuple[Array, Array]]
    size: Callable[[int], int]
    fit: Callable[..., Any] | None = None


VALUE_INPUTS = {
    "state": ValueInputs(state_inputs, lambda k: k),
    "state and time": ValueInputs(timed_inputs, lambda k: k + 1),
    "original": ValueInputs(original_inputs, lambda k: 2 * k + 3, ridge_fit),
}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

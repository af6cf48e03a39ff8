"""Helpers for the tests of `Vime` and of what is built on it."""

import numpy as np
from gymnasium.spaces import Box

import vime_ref as vime

BOX = Box(-1.0, 1.0, (1,), dtype=np.float64)
SMALL = vime.VimeSettings(
    hidden_sizes=(3,),
    min_rows=6,
    num_updates=3,
    batch_size=4,
    num_samples=2,
    likelihood_sigma=1.0,
    step_size=0.1,
)


def state_of(bonus: vime.Vime) -> list[np.ndarray]:
    pool = bonus.pool
    arrays = (
        bonus.q.mu,
        bonus.q.rho,
        pool.observations,
        pool.actions,
        pool.next_observations,
        *bonus.adam[:2],
    )
    return [np.array(values) for values in (*arrays, bonus.center, bonus.scale)]


def assert_equal_states(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for before, after in zip(first, second, strict=True):
        np.testing.assert_array_equal(before, after)

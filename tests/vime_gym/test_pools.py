"""`RingPool` against `ReplayPool`, and its statistics against 50 digits."""

import copy
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
from gymnasium.spaces import Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from vime_helpers import BOX, SMALL

import fast_ref as fast
import vime_ref as vime
from vime_gym import pools
from vime_gym.pools import BLOCK, RingPool, with_ring_pool

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]

# ------------------------------------------------------------ rows


def some_rows(number: int, first: float = 0.0) -> Rows:
    """Rows (number, 2), (number, 1), (number, 2), all of whose numbers differ."""
    each = np.arange(number)[:, None] + first + np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    return each[:, :2].copy(), each[:, 2:3].copy(), each[:, 3:].copy()


def empty(capacity: int, kind: type[vime.ReplayPool] = RingPool) -> vime.ReplayPool:
    return kind(capacity, *some_rows(0))


def copied(pool: vime.ReplayPool) -> list[np.ndarray]:
    return [column.copy() for column in pool.columns]


def check_history(capacity: int, steps: list[tuple[int, int]]) -> None:
    """Extend any earlier version by some rows; all versions must keep the rows of `ReplayPool`."""
    versions = [(empty(capacity), empty(capacity, vime.ReplayPool))]
    for step, (place, number) in enumerate(steps):
        ring, plain = versions[place % len(versions)]
        rows = some_rows(number, 1000.0 * step)
        versions.append((ring.extend(*rows), plain.extend(*rows)))
        for own, other in versions:
            assert len(own) == len(other)
            for found, expected in zip(own.columns, other.columns, strict=True):
                np.testing.assert_array_equal(found, expected)


HISTORIES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=20
)


@given(capacity=st.integers(1, 12), steps=HISTORIES)
@settings(max_examples=100)
def test_all_versions_keep_the_rows_of_the_definition(
    capacity: int, steps: list[tuple[int, int]]
) -> None:
    check_history(capacity, steps)


def overwriting(own: pools.Window, new: np.ndarray, size: int) -> pools.Window:
    """`Window.extended` of a shared buffer that does not ask who wrote last."""
    log = own.log if len(own.log.rows) else pools.Log(100, new.shape[1:])
    stop = own.stop + len(new)
    log.rows[own.stop : stop] = new
    return pools.Window(log, stop - size, stop)


def circular(own: pools.Window, new: np.ndarray, size: int) -> pools.Window:
    """`Window.extended` of a buffer of `size` rows that is written in place."""
    log = own.log if len(own.log.rows) else pools.Log(100, new.shape[1:])
    joined = np.concatenate([own.rows, new])
    log.rows[:size] = joined[len(joined) - size :]
    return pools.Window(log, 0, size)


@pytest.mark.parametrize(
    ("naive", "steps"),
    [
        (overwriting, [(0, 4), (1, 2), (1, 2)]),  # the same version twice
        (circular, [(0, 4), (1, 2)]),  # more rows than the capacity
    ],
)
def test_control_naive_shared_buffers_fail(
    naive: Callable[..., pools.Window],
    steps: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control of the control: both keep the rows of one short history."""
    check_history(5, steps)
    monkeypatch.setattr(pools.Window, "extended", naive)
    check_history(5, [(0, 2), (1, 2)])
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        check_history(5, steps)


def test_the_pool_and_its_columns_are_frozen() -> None:
    rows = some_rows(3)
    pool = RingPool(5, *rows)
    rows[0][0] = 99.0
    assert pool.observations[0, 0] == 0.0
    with pytest.raises(FrozenInstanceError):
        pool.capacity = 9
    for column in pool.extend(*rows).columns:
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1.0


@pytest.mark.parametrize("capacity", [1, 7, 100, 3 * BLOCK])
def test_memory_is_bounded_by_the_capacity(capacity: int) -> None:
    """Rows and summaries. Control: 30 times the capacity came in."""
    pool = empty(capacity)
    for step in range(30):
        pool = pool.extend(*some_rows(capacity, step))
        for window in pool._windows:
            assert len(window.log.rows) <= max(2 * capacity, pools.MIN_ROOM)
        blocks = len(pool._blocks.log.rows)
        assert blocks <= max(2 * capacity // BLOCK, pools.MIN_ROOM)
    assert pool.dropped == 29 * capacity


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_a_copy_has_the_state_of_the_pool(
    copy_of: Callable[[RingPool], RingPool],
) -> None:
    pool = empty(600).extend(*some_rows(500)).extend(*some_rows(300))
    twin = copy_of(pool)
    assert (twin.capacity, twin.dropped) == (600, 200)
    assert twin._windows[0].log is not pool._windows[0].log
    for one, other in zip(pool.columns, twin.columns):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(pool.moments(), twin.moments())


def test_replace_makes_a_pool_of_other_rows() -> None:
    pool = RingPool(5, *some_rows(3))
    other = replace(pool, observations=pool.observations + 1.0)
    np.testing.assert_array_equal(
        other.extend(*some_rows(1)).observations[:3], pool.observations + 1.0
    )


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("observations must be at most 2 rows, the capacity, got 3", lambda: RingPool(2, *some_rows(3))),
        ("dropped must be a whole number >= 0, got -1", lambda: RingPool(2, *some_rows(2), -1)),
        ("capacity must be a whole number >= 1, got 0", lambda: RingPool(0, *some_rows(0))),
        ("actions must have shape (1, 1), got (1, 2)", lambda: empty(2).extend(*np.zeros((3, 1, 2)))),
        ("observations must be finite", lambda: empty(2).extend(np.full((1, 2), np.nan), *some_rows(1)[1:])),
        ("next_observations must be as many rows", lambda: empty(2).extend(*some_rows(1)[:2], some_rows(2)[2])),
        ("pool must be a ReplayPool, got int", lambda: RingPool.of(3)),
        ("bonus must be a Vime, got int", lambda: with_ring_pool(3)),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(message: str, make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


# ------------------------------------------------------------ mean and deviation


def columns_of(number: int, seed: int) -> np.ndarray:
    """Columns (number, 8) that lose their digits in careless sums."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(number, 8))
    normal[:, 0] += 1e8
    normal[:, 1] = 0.1
    normal[:, 2] = np.where(normal[:, 2] > 0.0, 14.62, np.nextafter(14.62, 15.0))
    normal[:, 3] *= 1e-12
    normal[:, 4] = 1000.0 + 1e-6 * normal[:, 4]
    normal[:, 5] = np.cumsum(normal[:, 5])  # drifts away from its first rows
    normal[:, 6] = 1e8 * (normal[:, 6] > 0.0) + 1e-3 * normal[:, 5]
    normal[:, 7] *= 1e150
    return normal


def exact_moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each column with 50 digits."""
    means, deviations = [], []
    with localcontext() as context:
        context.prec = 50
        for column in rows.T:
            numbers = [Decimal(float(x)) for x in column]
            mean = sum(numbers) / len(numbers)
            square = sum((x - mean) ** 2 for x in numbers) / len(numbers)
            means.append(float(mean))
            deviations.append(float(square.sqrt()))
    return np.array(means), np.array(deviations)


def check_moments(found: tuple[np.ndarray, np.ndarray], rows: np.ndarray) -> None:
    """The tolerances that `RingPool` states; constant columns have deviation 0."""
    mean, deviation = exact_moments(rows)
    constant = deviation <= vime.ROUNDING * np.abs(rows).max(axis=0)
    near = np.maximum(2.0 * np.spacing(np.abs(mean)), 1e-14 * deviation)
    assert np.all(np.abs(found[0] - mean) <= near)
    expected = np.where(constant, 0.0, deviation)
    np.testing.assert_allclose(found[1], expected, rtol=1e-13)


def extended_by(rows: np.ndarray, capacity: int, sizes: list[int]) -> RingPool:
    """The pool after the rows came in batches of these sizes, again and again."""
    pool = RingPool(capacity, rows[:0, :5], rows[:0, 5:], rows[:0, :5])
    start = 0
    while start < len(rows):
        for size in sizes:
            part = rows[start : start + size]
            pool = pool.extend(part[:, :5], part[:, 5:], part[:, :5])
            start += size
    return pool


@pytest.mark.parametrize("capacity", [1, 2, 300, BLOCK, 2 * BLOCK, 3000])
def test_moments_against_50_digits(capacity: int) -> None:
    """Rows drop at the seam. 4000 rows in batches of 1, 3, 700, 64, 256."""
    rows = columns_of(4000, capacity)
    pool = extended_by(rows, capacity, [1, 3, 700, 64, 256])
    check_moments(pool.moments(), rows[-capacity:])


def test_moments_of_whole_blocks_against_50_digits() -> None:
    """No row stands outside a block."""
    rows = columns_of(4 * BLOCK, 0)
    pool = extended_by(rows, 2 * BLOCK, [300])
    check_moments(pool.moments(), rows[-2 * BLOCK :])


@given(
    number=st.integers(1, 1500),
    capacity=st.integers(1, 1500),
    sizes=st.lists(st.integers(1, 600), min_size=1, max_size=4),
)
@settings(max_examples=15, deadline=None)
def test_moments_of_any_history_against_50_digits(
    number: int, capacity: int, sizes: list[int]
) -> None:
    rows = columns_of(number, number)
    pool = extended_by(rows, capacity, sizes)
    check_moments(pool.moments(), rows[-capacity:])


def running_sums(rows: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Control: sums of x and x² to which each row is added, and from which it is subtracted."""
    total, square = np.zeros((2, rows.shape[1]))
    for n, row in enumerate(rows):
        old = rows[n - capacity] if n >= capacity else 0.0 * row
        total += row - old
        square += row**2 - old**2
    size = min(len(rows), capacity)
    mean = total / size
    return mean, np.sqrt(np.maximum(square / size - mean**2, 0.0))


def running_welford(rows: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Control: Welford's update for rows that come and rows that go, without renewal."""
    mean, square = np.zeros((2, rows.shape[1]))
    for n, row in enumerate(rows):
        if n < capacity:
            move = row - mean
            mean = mean + move / (n + 1)
            square = square + move * (row - mean)
            continue
        old = rows[n - capacity]
        before = mean
        mean = mean + (row - old) / capacity
        square = square + (row - old) * (row - mean + old - before)
    return mean, np.sqrt(np.maximum(square / min(len(rows), capacity), 0.0))


@pytest.mark.parametrize("careless", [running_sums, running_welford])
def test_control_careless_statistics_fail(careless: Callable[..., object]) -> None:
    rows = columns_of(2000, 1)
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        check_moments(careless(rows, 300), rows[-300:])


def test_moments_depend_on_the_rows_and_dropped_only() -> None:
    """Bit-identical, so that a pool that was saved goes on as it would have. Control: another `dropped`."""
    rows = columns_of(5000, 3)
    first = extended_by(rows, 1700, [1, 2, 3])
    second = extended_by(rows, 1700, [5000])
    third = RingPool(1700, *first.columns, first.dropped)
    fourth = RingPool(1700, *first.columns, first.dropped + 1)
    assert first.dropped == second.dropped == 3300
    for _ in range(3):
        found = [np.array(pool.moments()) for pool in (first, second, third)]
        for one, other in pairwise(found):
            np.testing.assert_array_equal(one, other)
        assert not np.array_equal(found[0], fourth.moments())
        more = columns_of(200, 4)
        added = more[:, :5], more[:, 5:], more[:, :5]
        pools_ = [pool.extend(*added) for pool in (first, second, third, fourth)]
        first, second, third, fourth = pools_


@pytest.mark.parametrize("space", [BOX, Discrete(3)])
def test_pool_statistics_take_either_pool(space: object) -> None:
    rng = np.random.default_rng(0)
    actions = vime.model_actions(
        rng.integers(3, size=900) if space is not BOX else rng.normal(size=(900, 1)),
        space,
    )
    rows = rng.normal(size=(900, 2)), actions, rng.normal(size=(900, 2))
    plain = vime.pool_statistics(vime.ReplayPool(1000, *rows), space)
    ring = vime.pool_statistics(RingPool(1000, *rows), space)
    np.testing.assert_allclose(ring, plain, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("part", ["mean", "spread"])
def test_statistics_that_overflow_are_rejected(part: str) -> None:
    large = 1.7e308 if part == "mean" else 1e200
    rows = np.array([[large], [large if part == "mean" else -large]])
    pool = RingPool(2, rows, rows / large, rows)
    with pytest.raises(ValueError, match=rf"^{part} of pool must be finite"):
        vime.pool_statistics(pool, BOX)


# ------------------------------------------------------------ the bonus


def test_vime_with_a_ring_pool_against_the_definition() -> None:
    """Statistics differ by rounding, and gains with them. The posterior is refitted three times."""
    changes = {
        "fit": fast.fit,
        "gains": fast.information_gains,
        "capacity": 20,
    }
    plain = vime.vime_init(3, BOX, np.random.default_rng(0), replace(SMALL, **changes))
    ring = with_ring_pool(plain)
    rng = np.random.default_rng(1)
    flags = np.zeros(9, dtype=bool)
    for seed in range(4):
        columns = rng.normal(size=(9, 3)), rng.normal(size=(9, 1)), rng.normal(size=9)
        batch = vime.Batch(*columns, rng.normal(size=(9, 3)), flags, flags)
        gains = [
            bonus.reward(batch, np.random.default_rng(seed)) for bonus in (plain, ring)
        ]
        np.testing.assert_allclose(gains[1], gains[0], rtol=1e-9)
        plain = plain.update(batch, np.random.default_rng(seed))
        ring = ring.update(batch, np.random.default_rng(seed))
        np.testing.assert_array_equal(ring.pool.observations, plain.pool.observations)
        np.testing.assert_allclose(ring.q.mu, plain.q.mu, rtol=1e-9)
    assert isinstance(ring.pool, RingPool)
    assert np.all(gains[0] > 0.0)

"""A replay pool for bonuses that learn from a few transitions at a time.

`RingPool` has the interface and the rows of `vime_ref.ReplayPool`, but adding a row to a large pool costs little.
Its mean and deviation are those of `vime_ref.pool_statistics`, to rounding.

Rows stand in a log, to which rows are only ever added. A pool is a window of the log, so older pools keep their rows.
The statistics come from blocks of rows: each block is summed once, and leaves when its first row leaves. So rounding
does not accumulate, and the statistics depend on the rows and `dropped` only, however the rows came in.

Axes: n rows, W = K + A columns of observations and actions, P parts of the pool.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np

from bnn_ref import Array, check_count, check_kind, check_shape
from vime_ref import COLUMNS, ROUNDING, ReplayPool, Vime

BLOCK = 512  # rows of a block: with 1e5 rows, the blocks cost as much as the rows outside them
MIN_ROOM = 16  # rows that a new log has room for

# ---------------------------------------------------------------- rows that stay as they are


class Log:
    """Rows, and how many were written. What was written never changes."""

    def __init__(self, room: int, shape: tuple[int, ...]) -> None:
        self.rows = np.empty((room, *shape))  # (room, ...)
        self.written = 0

    def write(self, rows: Array) -> None:
        end = self.written + len(rows)
        self.rows[self.written : end] = rows
        self.written = end


class Window(NamedTuple):
    """The rows of a log from `start` to `stop`."""

    log: Log
    start: int
    stop: int

    @property
    def rows(self) -> Array:
        view = self.log.rows[self.start : self.stop]
        view.setflags(write=False)
        return view

    def extended(self, new: Array, size: int) -> Window:
        """The last `size` rows of these and the new ones."""
        new = new[max(0, len(new) - size) :]
        stop = self.stop + len(new)
        start = stop - size

        # A log of its own, if there is no room or if another window wrote there.
        log = self.log
        if self.stop < log.written or stop > len(log.rows):
            old = log.rows[start : self.stop]
            log = Log(max(2 * size, MIN_ROOM), new.shape[1:])
            log.write(old)
            start, stop = 0, size
        log.write(new)
        return Window(log, start, stop)


def window(rows: Array) -> Window:
    """A window of a new log with these rows."""
    empty = Window(Log(0, rows.shape[1:]), 0, 0)
    return empty.extended(rows, len(rows))


# ---------------------------------------------------------------- mean and deviation


@np.errstate(over="ignore", invalid="ignore")
def column_summary(columns: Array) -> Array:
    """Mean, its rounding error, Σ(x − mean)² and max |x| of each column (W, n), (4, W)."""
    size = columns.shape[1]
    mean = columns.sum(axis=1) / size  # (W,)
    rest = columns - mean[:, None]  # (W, n)
    error = rest.sum(axis=1) / size  # (W,)
    rest -= error[:, None]
    rest *= rest
    largest = np.abs(columns).max(axis=1)  # (W,)
    return np.array([mean, error, rest.sum(axis=1), largest])  # (4, W)


@np.errstate(over="ignore", invalid="ignore")
def merged(counts: Array, parts: Array) -> tuple[Array, Array]:
    """Mean and spread (W,) of all rows, from the counts (P,) and summaries (P, 4, W) of the parts.

    Means of parts are compared with the mean of all rows, rounding errors too, so columns far from 0 keep their digits.
    """
    size = counts.sum()
    weights = counts / size  # (P,)
    means, errors, squares, largest = parts.swapaxes(0, 1)  # (P, W) each
    center = weights @ means  # (W,)
    moves = (means - center) + errors  # (P, W)
    error = weights @ moves  # (W,)
    moves -= error
    moves *= moves

    # Σ(x − mean)² within parts, and between them.
    within = squares.sum(axis=0) / size  # (W,)
    between = weights @ moves  # (W,)
    deviation = np.sqrt(within + between)
    varies = deviation > ROUNDING * largest.max(axis=0)  # (W,)
    return center + error, np.where(varies, deviation, 0.0)  # (W,) each


# ---------------------------------------------------------------- the pool


@dataclass(frozen=True, eq=False)
class RingPool(ReplayPool):
    """A `ReplayPool` whose `extend` and `moments` cost the same however many rows it holds.

    The columns are read-only, oldest row first. `extend` returns a new pool and leaves this one as it was. A pool's
    log has room for 2 · capacity rows. It is copied once in `capacity` rows, and each time an older pool is extended.
    `moments` agrees with `ReplayPool`'s: the mean to 2 units in its last place or 1e-14 deviations, whichever is more,
    and the deviation to 1e-13 of itself.
    Raises ValueError in the same cases as `ReplayPool`, and if there are more rows than capacity.
    """

    dropped: int = 0  # rows that left the pool; with the columns, all of its state
    _windows: tuple[Window, ...] = field(init=False, repr=False)
    _blocks: Window = field(init=False, repr=False)  # of summaries (4, W)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_room(self)
        dropped = check_count("dropped", self.dropped, 0)
        columns = tuple(window(rows) for rows in self.columns)
        width = self.observations.shape[1] + self.actions.shape[1]
        self.hold(columns, dropped, window(np.empty((0, 4, width))), 0)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, or a pickled pool, has its rows and no log."""
        return RingPool, (self.capacity, *self.columns, self.dropped)

    @classmethod
    def of(cls, pool: ReplayPool) -> Self:
        """The pool with these rows."""
        check_kind("pool", pool, ReplayPool)
        return cls(pool.capacity, *pool.columns)

    def extend(
        self, observations: Array, actions: Array, next_observations: Array
    ) -> RingPool:
        """The pool with these rows at its end, the oldest beyond `capacity` dropped."""
        new = ReplayPool(self.capacity, observations, actions, next_observations)
        for name, old, rows in zip(COLUMNS, self.columns, new.columns):
            check_shape(name, rows, (None, *old.shape[1:]))

        # Rows come, rows go.
        total = len(self) + len(new)
        size = min(total, self.capacity)
        columns = tuple(
            own.extended(rows, size) for own, rows in zip(self._windows, new.columns)
        )
        pool = object.__new__(RingPool)
        object.__setattr__(pool, "capacity", self.capacity)
        seen = (self.dropped + len(self)) // BLOCK
        pool.hold(columns, self.dropped + total - size, self._blocks, seen)
        return pool

    def hold(
        self, columns: tuple[Window, ...], dropped: int, blocks: Window, seen: int
    ) -> None:
        """Set all fields; `blocks` are the summaries up to block number `seen`."""
        # The columns.
        fields = dict(zip(COLUMNS, (own.rows for own in columns)))
        for name, value in {**fields, "dropped": dropped, "_windows": columns}.items():
            object.__setattr__(self, name, value)

        # Summaries of the blocks that are complete by now, and whole in the pool.
        first = -(-dropped // BLOCK)
        stop = max(first, (dropped + len(self)) // BLOCK)
        starts = [n * BLOCK - dropped for n in range(max(first, seen), stop)]
        slices = [slice(start, start + BLOCK) for start in starts]
        new = [column_summary(self.inputs(rows)) for rows in slices]
        shape = blocks.rows.shape[1:]
        rows = np.array(new).reshape(-1, *shape)  # (new, 4, W)
        object.__setattr__(self, "_blocks", blocks.extended(rows, stop - first))

    def inputs(self, rows: slice) -> Array:
        """Columns of observations and actions of some rows, (W, rows)."""
        parts = (self.observations[rows].T, self.actions[rows].T)
        return np.concatenate(parts)  # (W, rows)

    def moments(self) -> tuple[Array, Array]:
        """Mean and `spread` (W,) of observations and actions, from the sums of the blocks."""
        blocks = self._blocks.rows  # (blocks, 4, W)
        before = -self.dropped % BLOCK if len(blocks) else 0
        behind = before + len(blocks) * BLOCK

        # Rows before the first whole block and behind the last one: they change each time.
        ends = [self.inputs(slice(before)), self.inputs(slice(behind, None))]
        rest = np.concatenate(ends, axis=1)  # (W, rest)
        counts = np.full(len(blocks), float(BLOCK))  # (blocks,)
        if rest.size:
            blocks = np.concatenate([column_summary(rest)[None], blocks])  # (P, 4, W)
            counts = np.append(rest.shape[1], counts)  # (P,)
        return merged(counts, blocks)


def with_ring_pool(bonus: Vime) -> Vime:
    """The bonus with its rows in a `RingPool`, where small updates cost little."""
    check_kind("bonus", bonus, Vime)
    return replace(bonus, pool=RingPool.of(bonus.pool))


# ---------------------------------------------------------------- argument checks


def check_room(pool: ReplayPool) -> None:
    if len(pool) > pool.capacity:
        wanted = f"at most {pool.capacity} rows, the capacity"
        raise ValueError(f"observations must be {wanted}, got {len(pool)}")


# ---------------------------------------------------------------- what `help` shows

__all__ = ["RingPool", "with_ring_pool"]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Visit counts, pseudo-counts, and the bonuses computed from them.

Bonuses follow the interface of `vime_ref`: `reward` changes nothing, `update` returns the bonus after learning.

Axes: N rows (transitions). Log-probabilities and gains are in nats.

Sources: [Lecture] "Intrinsic motivation in RL", counts and density models; [Counts] Bellemare et al. 2016, arXiv
1606.01868; [PixelCNN] Ostrovski et al. 2017, arXiv 1703.01310.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from bnn_ref import (
    Array,
    check_array,
    check_count,
    check_finite,
    check_kind,
    check_positive,
    floats,
    set_fields,
)
from vime_lecture.densities import DensityModel, Grid, Symbols
from vime_ref import Batch

# ---------------------------------------------------------------- counts and pseudo-counts


def count_bonus(counts: ArrayLike, beta: float) -> Array:
    """The bonus for visit counts N, elementwise.

        β (N + 0.01)^−½

    N = inf gives 0.
    Raises ValueError if a count is negative or NaN, or a bonus overflows.
    Source: [Counts].
    """
    counts = floats("counts", counts)
    weight = float(check_positive("beta", beta, ()))
    check_counts(counts)
    with np.errstate(over="ignore"):
        bonuses = weight * (counts + 0.01) ** -0.5  # C1
    return check_finite("bonus of beta", bonuses)


def pseudo_count(log_prob: ArrayLike, log_prob_after: ArrayLike) -> Array:
    """The pseudo-count N̂ from log ρ before an observation and log ρ′ after it, elementwise.

        N̂ = ρ(1 − ρ′)/(ρ′ − ρ) = (1 − ρ′)/(e^PG − 1), PG = log ρ′ − log ρ

    log ρ = −inf gives N̂ = 0. PG ≤ 0 gives inf. Rounding of the arguments causes a relative error of about
    |log ρ|·1e-16/PG in N̂.
    Raises ValueError if a value is NaN, if log ρ > 0, if log ρ′ > 0 or is −inf, or if shapes differ.
    Source: [Counts].

    >>> float(np.round(pseudo_count(np.log(3 / 10), np.log(4 / 11)), 12))
    3.0
    """
    before = floats("log_prob", log_prob)
    check_log_probs("log_prob", before)
    check_log_probs("log_prob_after", floats("log_prob_after", log_prob_after))
    after = check_array("log_prob_after", log_prob_after, before.shape)

    one_minus_after = -np.expm1(after)
    gain = after - before
    return over_expm1(one_minus_after, gain)  # C2


def pixel_cnn_pseudo_count(gain: ArrayLike, num_seen: int, c: float = 0.1) -> Array:
    """The pseudo-count N̂ from PG (nats) and the number n of observations so far, elementwise.

        N̂ = 1/(exp(c n^−½ PG₊) − 1), inf if PG ≤ 0

    The default c = 0.1 is the value in [PixelCNN].
    Raises ValueError if a value is NaN, if n < 1, or if c ≤ 0.
    Source: [PixelCNN].
    """
    gain = floats("gain", gain)
    num_seen = check_count("num_seen", num_seen)
    c = float(check_positive("c", c, ()))
    if np.any(np.isnan(gain)):
        raise ValueError("gain must be a number, got nan")
    with np.errstate(over="ignore"):  # an infinite exponent has the count 0
        exponent = c * num_seen**-0.5 * gain
    return over_expm1(np.ones_like(gain), exponent)


def over_expm1(numerator: Array, x: Array) -> Array:
    """numerator/(e^x − 1) without overflow if x > 0, else inf; elementwise."""
    positive = np.where(x > 0, x, 1.0)
    with np.errstate(over="ignore"):  # a subnormal x
        quotient = numerator * np.exp(-positive) / -np.expm1(-positive)
        return np.where(x > 0, quotient, np.inf)[()]


def prediction_gain(model: DensityModel, observation: ArrayLike) -> float:
    """The prediction gain of an observation, in nats; the model does not change.

        PG = log ρ′(x) − log ρ(x)

    Raises ValueError unless the model is a density model, and the gain is a number.
    Source: [Counts].
    """
    check_model(model)
    after = model.update(observation).log_prob(observation)
    before = model.log_prob(observation)
    return after - before  # C3


# ---------------------------------------------------------------- bonuses


@dataclass(frozen=True, eq=False)
class VisitCounts:
    """The bonus β(N(s′) + 0.01)^−½, with N the number of earlier visits to s′.

    Rows of a batch are counted one after another, as [Counts] does online. A row's N includes the rows above it,
    although `reward` stores none of them. The bonus depends on s′, so it rewards the action that led there, also at
    the end of an episode. Departure: the source counts s.
    Source: [Counts].
    """

    beta: float = 0.05  # [Counts], with DQN

    # Cells for continuous observations; without a grid, observations must be whole numbers.
    grid: Grid | None = None

    # Visits, keyed by an observation's symbols.
    counts: Mapping[tuple[float, ...], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bonus(self)
        check_kind("counts", self.counts, Mapping)

    def visited(self, batch: Batch) -> tuple[Array, dict[tuple[float, ...], int]]:
        """Each row's count (N,) before its own visit, and the counts after the batch."""
        before = []
        counts = dict(self.counts)
        for row in discrete_rows(batch, self.grid):
            key = tuple(np.ravel(row).tolist())
            before.append(counts.get(key, 0))
            counts[key] = before[-1] + 1
        return np.array(before, dtype=float), counts

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Bonuses (N,), ready to be added to a reward."""
        before, _ = self.visited(batch)
        return count_bonus(before, self.beta)

    def update(self, batch: Batch, rng: Generator) -> VisitCounts:
        """The bonus after counting the batch."""
        _, counts = self.visited(batch)
        return replace(self, counts=counts)


@dataclass(frozen=True, eq=False)
class PseudoCounts:
    """The bonus β(N̂(s′) + 0.01)^−½, with N̂ the pseudo-count of a density model; 0 if PG ≤ 0.

    Rows follow one another as in `VisitCounts`: the model scores each row after learning from the rows above it.
    Source: [Counts].
    """

    model: DensityModel
    beta: float = 0.05  # [Counts], with DQN

    # With a grid the model sees cells; without one, observations must be whole numbers.
    grid: Grid | None = None

    def __post_init__(self) -> None:
        check_bonus(self)
        check_model(self.model)

    def pseudo_counts(self, batch: Batch) -> Array:
        """Each row's pseudo-count N̂, (N,)."""
        model = self.model
        log_probs = []
        for row in discrete_rows(batch, self.grid):
            new_model = model.update(row)
            log_probs.append((model.log_prob(row), new_model.log_prob(row)))
            model = new_model
        before, after = np.reshape(log_probs, (-1, 2)).T  # (N,) each
        return pseudo_count(before, after)

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Bonuses (N,), ready to be added to a reward."""
        return count_bonus(self.pseudo_counts(batch), self.beta)

    def update(self, batch: Batch, rng: Generator) -> PseudoCounts:
        """The bonus after its model has learned from the batch, row by row."""
        rows = discrete_rows(batch, self.grid)
        model = reduce(lambda model, row: model.update(row), rows, self.model)
        return replace(self, model=model)


def discrete_rows(batch: Batch, grid: Grid | None) -> Array | Symbols:
    """The observation that a counting bonus counts for each row: s′, or the cell of s′.

    Raises ValueError if s′ is not finite, or not in whole numbers without a grid.
    """
    check_kind("batch", batch, Batch)
    rows = check_array("next_observations", batch.next_observations)
    check_array("next_observations", rows, (len(batch.rewards), *rows.shape[1:]))
    if grid is not None:
        return grid.index(rows)
    check_whole(rows)
    return rows


# ---------------------------------------------------------------- argument checks


def check_bonus(bonus: VisitCounts | PseudoCounts) -> None:
    """Convert β. Raise ValueError unless β > 0, and there is a `Grid` or None."""
    set_fields(bonus, beta=float(check_positive("beta", bonus.beta, ())))
    if bonus.grid is not None:
        check_kind("grid", bonus.grid, Grid)


def check_model(model: DensityModel) -> None:
    """Raise ValueError unless the model can score and learn."""
    for name in ("log_prob", "update"):
        if not callable(getattr(model, name, None)):
            raise ValueError(f"model must have {name}, got {type(model).__name__}")


def check_counts(counts: Array) -> None:
    """Raise ValueError if a count is negative."""
    if not np.all(counts >= 0):
        least = "min " if np.ndim(counts) else ""
        raise ValueError(f"counts must be >= 0, got {least}{np.min(counts)}")


def check_log_probs(name: str, values: Array) -> None:
    """Raise ValueError if a value is positive."""
    if not np.all(values <= 0):
        most = "max " if np.ndim(values) else ""
        raise ValueError(f"{name} must be <= 0, got {most}{np.max(values)}")


def check_whole(rows: Array) -> None:
    """Raise ValueError if an observation is not in whole numbers."""
    if np.any(rows != np.floor(rows)):
        raise ValueError(
            f"next_observations must be whole numbers or come with a grid, got {rows[rows % 1 != 0][0]}"
        )


# ---------------------------------------------------------------- what `help` shows

__all__ = [
    "count_bonus", "pseudo_count", "pixel_cnn_pseudo_count", "prediction_gain",
    "VisitCounts", "PseudoCounts",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

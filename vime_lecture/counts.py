"""Visit counts and pseudo-counts: what they are, and the bonuses that pay by them.

A bonus is as `vime_ref` has it: `reward` changes nothing, `update` returns the bonus that has learned.

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

from bnn_ref import Array, check_array, check_count, check_finite, check_positive
from vime_lecture.densities import DensityModel, Grid, Symbols
from vime_ref import Batch

# ---------------------------------------------------------------- building blocks: counts and pseudo-counts


def count_bonus(counts: ArrayLike, beta: float) -> Array:
    """β (N + 0.01)^−½, elementwise; N may be inf, which pays 0. [Counts]

    Raises ValueError where a count is negative or NaN.
    """
    counts = np.asarray(counts, dtype=float)
    check_positive("beta", beta)
    if not np.all(counts >= 0):
        raise ValueError(f"counts must be >= 0, got min {np.min(counts)}")
    return beta * (counts + 0.01) ** -0.5


def over_expm1(numerator: Array, x: Array) -> Array:
    """numerator/(e^x − 1) where x > 0, without overflow, and inf elsewhere."""
    positive = np.where(x > 0, x, 1.0)
    with np.errstate(over="ignore"):  # a subnormal x
        return np.where(
            x > 0, numerator * np.exp(-positive) / -np.expm1(-positive), np.inf
        )[()]


def pseudo_count(log_prob: ArrayLike, log_prob_after: ArrayLike) -> Array:
    """N̂ = ρ(1 − ρ′)/(ρ′ − ρ), elementwise: (1 − ρ′)·e^−PG/(1 − e^−PG) with PG = log ρ′ − log ρ.

    log ρ, before the observation, may be −inf (N̂ = 0); PG <= 0 gives inf. The arguments' own rounding costs about
    |log ρ|·1e-16/PG of N̂. Raises ValueError on NaN, log ρ > 0, log ρ′ > 0 or −inf, and unequal shapes. [Counts]

    >>> float(np.round(pseudo_count(np.log(3 / 10), np.log(4 / 11)), 12))
    3.0
    """
    before, after = (
        np.asarray(log_prob, dtype=float),
        np.asarray(log_prob_after, dtype=float),
    )
    for name, values in (("log_prob", before), ("log_prob_after", after)):
        if not np.all(values <= 0):
            raise ValueError(f"{name} must be <= 0, got max {np.max(values)}")
    check_array("log_prob_after", after, before.shape)
    return over_expm1(-np.expm1(after), after - before)


def pixel_cnn_pseudo_count(gain: ArrayLike, num_seen: int, c: float = 0.1) -> Array:
    """N̂ = 1/(exp(c n^−½ PG₊) − 1), elementwise, from PG in nats and n observations so far; inf where PG <= 0.

    c = 0.1 is the value of [PixelCNN]. Raises ValueError on NaN, n < 1 or c <= 0.
    """
    gain = np.asarray(gain, dtype=float)
    check_count("num_seen", num_seen)
    check_positive("c", c)
    if np.any(np.isnan(gain)):
        raise ValueError("gain must be a number, got nan")
    return over_expm1(np.ones_like(gain), c * num_seen**-0.5 * gain)


def prediction_gain(model: DensityModel, observation: ArrayLike) -> float:
    """PG = log ρ′(x) − log ρ(x) in nats; the model stays as it is. [Counts]"""
    return model.update(observation).log_prob(observation) - model.log_prob(observation)


def discrete_rows(batch: Batch, grid: Grid | None) -> Array | Symbols:
    """What a counting bonus sees of each row: s′, or its cell. Without a grid s′ must be whole numbers."""
    rows = np.asarray(batch.next_observations)
    check_finite("next_observations", rows)
    if grid is not None:
        return grid.index(rows)
    if np.any(rows != np.floor(rows)):
        raise ValueError(
            f"next_observations must be whole numbers or come with a grid, got {rows[rows % 1 != 0][0]}"
        )
    return rows


# ---------------------------------------------------------------- the algorithm: bonuses


@dataclass(frozen=True, eq=False)
class VisitCounts:
    """Pays β(N(s′) + 0.01)^−½, N the visits of s′ before this one. [Counts]

    The rows of a batch are counted one after another, as [Counts] does online: a row's N includes the rows above it,
    though `reward` keeps none of them. s′ (the source has s) pays the action that led there, and ends of episodes too.
    """

    beta: float = 0.05  # [Counts], with DQN
    grid: Grid | None = (
        None  # for continuous observations; without one they must be whole numbers
    )
    counts: Mapping[tuple[float, ...], int] = field(
        default_factory=dict
    )  # by the symbols of an observation

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    def visited(self, batch: Batch) -> tuple[Array, dict[tuple[float, ...], int]]:
        """N of each row (N,) before its own visit, and the counts after the batch."""
        before, counts = [], dict(self.counts)
        for row in discrete_rows(batch, self.grid):
            key = tuple(np.ravel(row).tolist())
            before.append(counts.get(key, 0))
            counts[key] = before[-1] + 1
        return np.array(before, dtype=float), counts

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Bonuses (N,), ready to be added to a reward."""
        return count_bonus(self.visited(batch)[0], self.beta)

    def update(self, batch: Batch, rng: Generator) -> VisitCounts:
        """The bonus that has counted the batch."""
        return replace(self, counts=self.visited(batch)[1])


@dataclass(frozen=True, eq=False)
class PseudoCounts:
    """Pays β(N̂(s′) + 0.01)^−½, N̂ the pseudo-count of a density model; nothing where PG <= 0. [Counts]

    Rows follow one another as in `VisitCounts`: each is scored by the model that has learned from those above it.
    """

    model: DensityModel
    beta: float = 0.05  # [Counts], with DQN
    grid: Grid | None = (
        None  # the model then sees cells; without one the observations must be whole numbers
    )

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    def pseudo_counts(self, batch: Batch) -> Array:
        """N̂ of each row, (N,)."""
        model, log_probs = self.model, []
        for row in discrete_rows(batch, self.grid):
            new_model = model.update(row)
            log_probs.append((model.log_prob(row), new_model.log_prob(row)))
            model = new_model
        return pseudo_count(*np.reshape(log_probs, (-1, 2)).T)

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Bonuses (N,), ready to be added to a reward."""
        return count_bonus(self.pseudo_counts(batch), self.beta)

    def update(self, batch: Batch, rng: Generator) -> PseudoCounts:
        """The bonus whose model has learned from the batch, row by row."""
        rows = discrete_rows(batch, self.grid)
        return replace(
            self, model=reduce(lambda model, row: model.update(row), rows, self.model)
        )

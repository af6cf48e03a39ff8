"""Visit counts and pseudo-counts, and the bonuses made of them.

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

# ---------------------------------------------------------------- counts and pseudo-counts


def count_bonus(counts: ArrayLike, beta: float) -> Array:
    """The bonus of visit counts N, elementwise.

        β (N + 0.01)^−½

    The bonus of N = inf is 0.
    Raises ValueError if a count is negative or NaN.
    Source: [Counts].
    """
    counts = np.asarray(counts, dtype=float)
    check_positive("beta", beta)
    check_counts(counts)
    return beta * (counts + 0.01) ** -0.5  # C1


def pseudo_count(log_prob: ArrayLike, log_prob_after: ArrayLike) -> Array:
    """The pseudo-count N̂ from log ρ before an observation and log ρ′ after it, elementwise.

        N̂ = ρ(1 − ρ′)/(ρ′ − ρ) = (1 − ρ′)/(e^PG − 1), PG = log ρ′ − log ρ

    log ρ may be −inf: N̂ = 0. PG ≤ 0 gives inf. The arguments' own rounding costs about |log ρ|·1e-16/PG of N̂.
    Raises ValueError on NaN, log ρ > 0, log ρ′ > 0 or −inf, and unequal shapes.
    Source: [Counts].

    >>> float(np.round(pseudo_count(np.log(3 / 10), np.log(4 / 11)), 12))
    3.0
    """
    before = np.asarray(log_prob, dtype=float)
    after = np.asarray(log_prob_after, dtype=float)
    check_log_probs("log_prob", before)
    check_log_probs("log_prob_after", after)
    check_array("log_prob_after", after, before.shape)

    one_minus_after = -np.expm1(after)
    gain = after - before
    return over_expm1(one_minus_after, gain)  # C2


def pixel_cnn_pseudo_count(gain: ArrayLike, num_seen: int, c: float = 0.1) -> Array:
    """The pseudo-count N̂ from PG in nats and n observations so far, elementwise.

        N̂ = 1/(exp(c n^−½ PG₊) − 1), inf if PG ≤ 0

    c = 0.1 is the value of [PixelCNN].
    Raises ValueError on NaN, n < 1 or c ≤ 0.
    Source: [PixelCNN].
    """
    gain = np.asarray(gain, dtype=float)
    check_count("num_seen", num_seen)
    check_positive("c", c)
    if np.any(np.isnan(gain)):
        raise ValueError("gain must be a number, got nan")
    return over_expm1(np.ones_like(gain), c * num_seen**-0.5 * gain)


def over_expm1(numerator: Array, x: Array) -> Array:
    """numerator/(e^x − 1) if x > 0, without overflow, and inf elsewhere; elementwise."""
    positive = np.where(x > 0, x, 1.0)
    with np.errstate(over="ignore"):  # a subnormal x
        quotient = numerator * np.exp(-positive) / -np.expm1(-positive)
        return np.where(x > 0, quotient, np.inf)[()]


def prediction_gain(model: DensityModel, observation: ArrayLike) -> float:
    """The prediction gain of an observation, in nats; the model stays as it is.

        PG = log ρ′(x) − log ρ(x)

    Source: [Counts].
    """
    after = model.update(observation).log_prob(observation)
    before = model.log_prob(observation)
    return after - before  # C3


# ---------------------------------------------------------------- bonuses


@dataclass(frozen=True, eq=False)
class VisitCounts:
    """The bonus β(N(s′) + 0.01)^−½, N the visits of s′ before this one.

    The rows of a batch are counted one after another, as [Counts] does online: a row's N includes the rows above it,
    although `reward` keeps none of them. The bonus of s′ rewards the action that led there, at ends of episodes too;
    the source has s.
    Source: [Counts].
    """

    beta: float = 0.05  # [Counts], with DQN

    # For continuous observations; without a grid they must be whole numbers.
    grid: Grid | None = None

    # Visits by the symbols of an observation.
    counts: Mapping[tuple[float, ...], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    def visited(self, batch: Batch) -> tuple[Array, dict[tuple[float, ...], int]]:
        """N of each row (N,) before its own visit, and the counts after the batch."""
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
        """The bonus that has counted the batch."""
        _, counts = self.visited(batch)
        return replace(self, counts=counts)


@dataclass(frozen=True, eq=False)
class PseudoCounts:
    """The bonus β(N̂(s′) + 0.01)^−½, N̂ the pseudo-count of a density model; 0 if PG ≤ 0.

    Rows follow one another as in `VisitCounts`: each is scored by the model that has learned from those above it.
    Source: [Counts].
    """

    model: DensityModel
    beta: float = 0.05  # [Counts], with DQN

    # The model then sees cells; without a grid the observations must be whole numbers.
    grid: Grid | None = None

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    def pseudo_counts(self, batch: Batch) -> Array:
        """N̂ of each row, (N,)."""
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
        """The bonus whose model has learned from the batch, row by row."""
        rows = discrete_rows(batch, self.grid)
        model = reduce(lambda model, row: model.update(row), rows, self.model)
        return replace(self, model=model)


def discrete_rows(batch: Batch, grid: Grid | None) -> Array | Symbols:
    """What a counting bonus sees of each row: s′, or its cell.

    Raises ValueError unless s′ is finite, and in whole numbers if there is no grid.
    """
    rows = np.asarray(batch.next_observations)
    check_finite("next_observations", rows)
    if grid is not None:
        return grid.index(rows)
    check_whole(rows)
    return rows


# ---------------------------------------------------------------- argument checks


def check_counts(counts: Array) -> None:
    """Raise ValueError unless all counts are ≥ 0."""
    if not np.all(counts >= 0):
        raise ValueError(f"counts must be >= 0, got min {np.min(counts)}")


def check_log_probs(name: str, values: Array) -> None:
    """Raise ValueError unless all values are ≤ 0."""
    if not np.all(values <= 0):
        raise ValueError(f"{name} must be <= 0, got max {np.max(values)}")


def check_whole(rows: Array) -> None:
    """Raise ValueError unless all are whole numbers."""
    if np.any(rows != np.floor(rows)):
        raise ValueError(
            f"next_observations must be whole numbers or come with a grid, got {rows[rows % 1 != 0][0]}"
        )


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

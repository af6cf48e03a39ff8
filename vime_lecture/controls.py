"""Controls: the bonuses that VIME must beat.

The L2 prediction error of VIME's own network, per step and per path; a squared z-score without a network; noise.
`DirichletGain` is the exact information gain of a table of states.

Axes: N rows (transitions), S posterior samples, K observation dimensions.

Source: [VIME] Houthooft et al. 2016, arXiv 1605.09674, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.special import digamma

import bnn_ref as bnn
from bnn_ref import (
    Array,
    check_array,
    check_count,
    check_finite,
    check_kind,
    check_positive,
    set_fields,
)
from vime_ref import Batch, Vime, check_batch, check_indices


@dataclass(frozen=True, eq=False)
class PredictionError:
    """The bonus that rewards prediction errors of VIME's own network, with VIME's pool and training.

        ‖s′ − mean_S f(s, a; θ)‖²

    A gain vanishes once nothing is left to learn. This bonus does not: noise in s′ adds its variance forever.
    The expected bonus over the noise of S samples is ‖s′ − E_q f‖² + tr Var_q f / S, so the posterior's spread
    counts too.
    `update` is that of its `Vime`.
    Raises ValueError in the same cases as `Vime`.
    Source: [VIME] section 3.
    """

    model: Vime

    def __post_init__(self) -> None:
        check_kind("model", self.model, Vime)

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Squared errors (N,), summed over K, in units of the normalized s′; 0 until the pool holds `min_rows`."""
        return squared_errors(self.model, batch, rng, self.model.settings.num_samples)

    def update(self, batch: Batch, rng: Generator) -> PredictionError:
        """The bonus after its network has learned from the batch."""
        return PredictionError(self.model.update(batch, rng))


@dataclass(frozen=True, eq=False)
class PathError:
    """The bonus that gives each step of a path the mean squared error of the whole path, from one sample of θ.

        mean over the path of ‖s′ − f(s, a; θ)‖²

    A path ends where `terminated` or `truncated` is set, and with the batch.
    `update` is that of its `Vime`.
    Source: the original code at its release.
    """

    model: Vime

    def __post_init__(self) -> None:
        check_kind("model", self.model, Vime)

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Mean squared errors (N,), in the units of `PredictionError`; 0 until the pool holds `min_rows`."""
        errors = squared_errors(self.model, batch, rng, 1)
        ended = np.logical_or(batch.terminated, batch.truncated)
        path = np.cumsum(ended) - ended  # (N,) the number of ends before each row
        sizes = np.bincount(path)  # (P,)
        means = np.bincount(path, errors) / sizes  # (P,)
        return means[path]  # (N,)  C7

    def update(self, batch: Batch, rng: Generator) -> PathError:
        """The bonus after its network has learned from the batch."""
        return PathError(self.model.update(batch, rng))


@dataclass(frozen=True, eq=False)
class SquaredZScore:
    """The bonus Σ_k z_k², where z is s′ in units of the pool's mean and standard deviation.

    It has VIME's pool and normalization, and no network that learns.
    """

    model: Vime

    def __post_init__(self) -> None:
        check_kind("model", self.model, Vime)

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Σ_k z_k² (N,); 0 until the pool holds `min_rows`."""
        model = self.model
        rows = model.model_rows(batch)
        if len(model.pool) < model.settings.min_rows:
            return np.zeros(len(batch.rewards))
        _, z = model.normalized(*rows)  # (N, K)
        with np.errstate(over="ignore"):
            squares = np.sum(z**2, axis=-1)  # (N,)  C8
        return check_finite("squares", squares)

    def update(self, batch: Batch, rng: Generator) -> SquaredZScore:
        """The bonus with the batch in its pool."""
        return SquaredZScore(self.model.remembering(batch))


@dataclass(frozen=True)
class NoiseBonus:
    """The bonus χ²₁: the square of a standard normal number for each row.

    It tells the agent nothing. But with it advantages are not 0, so the policy moves.
    """

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Squares (N,) of independent N(0, 1) numbers."""
        check_kind("rng", rng, Generator)
        return rng.standard_normal(len(check_batch(batch).rewards)) ** 2

    def update(self, batch: Batch, rng: Generator) -> NoiseBonus:
        """The same bonus."""
        check_batch(batch)
        return self


def squared_errors(model: Vime, batch: Batch, rng: Generator, samples: int) -> Array:
    """‖s′ − mean_S f(s, a; θ)‖² (N,) in units of the normalized s′; 0 until the pool holds `min_rows`."""
    settings = model.settings
    rows = model.model_rows(batch)
    if len(model.pool) < settings.min_rows:
        return np.zeros(len(batch.rewards))

    # Predict with S samples.
    inputs, targets = model.normalized(*rows)
    sizes = model.layer_sizes
    bnn.check_data(model.q, inputs, targets, sizes, settings.likelihood_sigma)
    noise = settings.sample_noise(rng, samples, len(inputs), sizes)
    if isinstance(noise, list):
        outputs = bnn.mlp_local(model.q, inputs, noise, sizes)  # (S, N, K)
    else:
        theta = bnn.sample_weights(model.q, noise)  # (S, D)
        outputs = bnn.mlp(theta, inputs, sizes)  # (S, N, K)

    # Compare their mean with the observed s′.
    mean = np.mean(outputs, axis=0)  # (N, K)
    with np.errstate(over="ignore"):
        errors = np.sum((targets - mean) ** 2, axis=-1)  # (N,)  C6
    return check_finite("errors", errors)


# ---------------------------------------------------------------- the exact gain of a table

# For each (s, a), the visits to each s′.
Visits = Mapping[tuple[int, float], Mapping[int, int]]


def dirichlet_gain(alpha: ArrayLike, total: ArrayLike) -> Array:
    """KL[Dir(α + e_i) ‖ Dir(α)] in nats: the information gain of outcome i, elementwise.

        log(α₀/α_i) + ψ(α_i + 1) − ψ(α₀ + 1)

    alpha: α_i of the outcome. total: α₀, the sum of all α. Rounding adds about 1e-15 nats.
    Raises ValueError unless 0 < α_i ≤ α₀.

    >>> float(dirichlet_gain(1.0, 2.0).round(4))
    0.1931
    """
    alpha = check_positive("alpha", alpha)
    total = check_positive("total", total)
    check_total(alpha, total)
    logs = np.log(total) - np.log(alpha)
    return logs + digamma(alpha + 1.0) - digamma(total + 1.0)  # C9


@dataclass(frozen=True, eq=False)
class DirichletGain:
    """The bonus `dirichlet_gain` of s′ in row (s, a) of a table: the exact information gain.

    Each row has the same Dirichlet prior over its outcomes s′. Observations are indices of states, (N, 1).
    As VIME's gain, a row's gain is from the table before the batch, and rows of a batch do not add up.
    Raises ValueError if a state is not an index below `num_states`.
    """

    num_states: int
    alpha: float = 0.5  # of each outcome before the first visit: Jeffreys' prior
    visits: Visits = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_dirichlet_bonus(self)

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Gains (N,) in nats."""
        seen = []
        totals = []
        for row, outcome in self.table_rows(batch):
            visits = self.visits.get(row, {})
            seen.append(visits.get(outcome, 0))
            totals.append(sum(visits.values()))
        prior = self.num_states * self.alpha
        return dirichlet_gain(np.array(seen) + self.alpha, np.array(totals) + prior)

    def update(self, batch: Batch, rng: Generator) -> DirichletGain:
        """The bonus after counting the batch."""
        new = {**self.visits}
        for row, outcome in self.table_rows(batch):
            visits = new.get(row, {})
            new[row] = {**visits, outcome: visits.get(outcome, 0) + 1}
        return replace(self, visits=new)

    def table_rows(self, batch: Batch) -> list[tuple[tuple[int, float], int]]:
        """(s, a) and s′ of each transition."""
        batch = check_batch(batch)
        shape = (len(batch.rewards), 1)
        check_array("observations", batch.observations, shape)
        actions = check_array("actions", batch.actions, shape[:1])
        states, outcomes = (
            check_indices(name, getattr(batch, name)[:, 0], self.num_states)
            for name in ("observations", "next_observations")
        )
        return list(zip(zip(states.tolist(), actions.tolist()), outcomes.tolist()))


# ---------------------------------------------------------------- argument checks


def check_total(alpha: Array, total: Array) -> None:
    """Raise ValueError unless the arrays agree in shape, and α_i ≤ α₀."""
    bnn.check_broadcast(alpha=alpha, total=total)
    if not np.all(alpha <= total):
        raise ValueError(f"total must be >= alpha, got {np.min(total)}")


def check_dirichlet_bonus(bonus: DirichletGain) -> None:
    """Convert the numbers of the bonus, and check all of its fields."""
    set_fields(
        bonus,
        num_states=check_count("num_states", bonus.num_states),
        alpha=float(check_positive("alpha", bonus.alpha, ())),
    )
    check_kind("visits", bonus.visits, Mapping)


# ---------------------------------------------------------------- what `help` shows

__all__ = [
    "PredictionError", "PathError", "SquaredZScore", "NoiseBonus", "dirichlet_gain",
    "DirichletGain",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""The bonuses of the television's studies.

One is their own: `TabulatedSigma`, which is VIME with a table of σ(s, a).

Axes: N rows (transitions), B rows of a minibatch, D weights, K observation dimensions.
Gains are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.random import Generator
from scipy.special import expit

import bnn_ref as bnn
import fast_ref as fast
from bnn_ref import Array, DiagNormal
from vime_gym.corridor import NUM_ACTIONS
from vime_lab.tasks import model_init
from vime_lecture.controls import DirichletGain, PredictionError
from vime_lecture.counts import VisitCounts
from vime_ref import Batch, Bonus, NoBonus, Vime, VimeSettings

# ---------------------------------------------------------------- constants

TELEVISION_MODULES = (
    *("bnn_ref", "fast_ref", "vime_ref", "agents_ref"),
    *("vime_gym", "vime_gym.rooms", "vime_gym.corridor"),
    *("vime_lecture.strategies", "vime_lecture.tabular"),
    *("vime_lecture.counts", "vime_lecture.controls"),
    "vime_lab.studies.television_models",
)
BY_MEDIAN = ", by median"  # the explorer's gains are divided by their running median
WEIGHT_MARK = " x"  # before the weight of an explorer's bonus, if it is not 1
SIGNS_PER_CODE = 16  # of a state, as a network sees it
MODELS = (
    "dirichlet",
    "counts",
    "L2 error",
    "VIME",
    "VIME 50",
    "VIME tabulated sigma",
)

# λ = 1: the gain is then information to first order, in the nats of `DirichletGain`.
TELEVISION_MODEL = VimeSettings(
    hidden_sizes=(64,),
    likelihood_sigma=0.5,
    prior_sigma=0.1,
    num_data=None,
    step_size=1.0,
    num_samples=1,
    num_updates=600,
    batch_size=32,
    learning_rate=0.01,
    min_rows=1,
)

# ---------------------------------------------------------------- types

RowKey = bytes  # of a pair (s, a)

# ---------------------------------------------------------------- VIME with a table of σ


@dataclass(frozen=True, eq=False)
class TabulatedSigma:
    """VIME whose σ_l is a number for each (s, a) and each dimension of s′.

        σ_k(s, a) = max(deviation of s′_k over the rows with (s, a), floor)

    The floor is the σ_l of `model`. It is also σ of a pair that has no rows. Deviations are
    those of the sample, with the divisor n, in units of the pool's deviation. The network
    learns with the same σ.

    The table holds each pair's own rows, so it knows more than a network could: σ of one
    pair says nothing about another. Rows share the noise of the weights.
    Raises ValueError unless the noise is per weight.
    """

    model: Vime
    # n, Σ s′ and Σ s′² of each (s, a), (1 + 2K,)
    sums: Mapping[RowKey, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model.settings.sample_noise is not bnn.sample_eps:
            raise ValueError("sample_noise of model must be bnn_ref.sample_eps")

    def sigmas(self, observations: Array, actions: Array) -> Array:
        """σ (N, K) in units of the normalized s′; actions as the model sees them."""
        model = self.model
        num_observed = model.layer_sizes[-1]
        nothing = np.zeros(1 + 2 * num_observed)
        keys = pair_keys(observations, actions)
        found = [self.sums.get(key, nothing) for key in keys]
        table = np.reshape(found, (-1, len(nothing)))  # (N, 1 + 2K)

        num_rows = np.maximum(table[:, :1], 1.0)  # (N, 1)
        mean = table[:, 1 : num_observed + 1] / num_rows  # (N, K)
        square = table[:, num_observed + 1 :] / num_rows  # (N, K)
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))  # (N, K)
        scaled = deviation / model.scale[:num_observed]
        return np.maximum(scaled, model.settings.likelihood_sigma)

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Raw gains (N,) in nats, each row with the σ of its (s, a).

        They are 0 until the pool holds `min_rows`.
        """
        model = self.model
        settings = model.settings
        if len(model.pool) < settings.min_rows:
            return np.zeros(len(batch.rewards))
        rows = model.model_rows(batch)
        inputs, targets = model.normalized(*rows)
        sigmas = self.sigmas(*rows[:2])
        noise = settings.sample_noise(
            rng, settings.num_samples, len(inputs), model.layer_sizes
        )
        # rows with the same σ together
        gains = np.empty(len(inputs))
        for sigma in np.unique(sigmas, axis=0):
            mine = np.all(sigmas == sigma, axis=1)  # (N,)
            gains[mine] = settings.gains(
                model.q,
                inputs[mine],
                targets[mine],
                noise,
                layer_sizes=model.layer_sizes,
                likelihood_sigma=sigma,
                step_size=settings.step_size,
                method=settings.method,
            )
        return gains

    def update(self, batch: Batch, rng: Generator) -> TabulatedSigma:
        """The bonus with the batch in its pool and its sums.

        It is fitted once the pool holds `min_rows`.
        """
        model = self.model
        observations, actions, targets = model.model_rows(batch)

        # the sums
        ones = np.ones((len(targets), 1))
        terms = np.concatenate([ones, targets, targets**2], axis=1)  # (N, 1 + 2K)
        sums = dict(self.sums)
        for key, term in zip(pair_keys(observations, actions), terms):
            sums[key] = sums.get(key, 0.0) + term
        new = TabulatedSigma(model.remembering(batch), sums)
        enough = len(new.model.pool) >= model.settings.min_rows
        return new.fitted(rng) if enough else new

    def fitted(self, rng: Generator) -> TabulatedSigma:
        """The bonus after `num_updates` Adam steps on minibatches from the pool."""
        model = self.model
        settings = model.settings
        size = len(model.pool)
        drawn = rng.integers(size, size=(settings.num_updates, settings.batch_size))

        q = model.q
        adam = model.adam
        for rows in drawn:  # (B,)
            columns = [each[rows] for each in model.pool.columns]  # (B, ...) each
            inputs, targets = model.normalized(*columns)
            noise = settings.sample_noise(
                rng, settings.num_samples, len(rows), model.layer_sizes
            )
            slope = noisy_elbo_grad(
                q,
                model.prior,
                (inputs, targets, self.sigmas(*columns[:2])),
                noise,
                model.layer_sizes,
                settings.num_data or size,
            )
            q, adam = bnn.ascent_step(q, slope, adam, settings.learning_rate)
        return replace(self, model=replace(model, q=q, adam=adam))


def pair_keys(*columns: Array) -> list[RowKey]:
    """A key for each row of the columns, (N, ...) each."""
    table = np.column_stack(columns).astype(float)  # (N, ...)
    return [row.tobytes() for row in table]


def noisy_elbo_grad(
    q: DiagNormal,
    prior: DiagNormal,
    rows: tuple[Array, Array, Array],
    eps: Array,
    layer_sizes: tuple[int, ...],
    num_data: float,
) -> tuple[Array, Array]:
    """`bnn_ref.elbo_grad` with a σ_l (B, K) for each of the rows: inputs, targets, σ_l."""
    inputs, targets, sigmas = rows
    weight = fast.uphill_weight(num_data, sigmas, len(inputs), len(eps))  # (B, K)
    data = fast.Rows(inputs, targets, layer_sizes, weight)
    uphill = fast.slopes(q.mu, q.sigma, eps, data)
    return fast.with_kl(uphill, q.mu, q.sigma, expit(q.rho), prior)


# ---------------------------------------------------------------- bonuses


def parts_of_name(explorer: str) -> tuple[str, bool, float]:
    """The bonus, whether its gains are divided by their median, and its weight.

    >>> parts_of_name("dirichlet, by median x0.1")
    ('dirichlet', True, 0.1)
    """
    name, _, weight = explorer.partition(WEIGHT_MARK)
    bonus = name.removesuffix(BY_MEDIAN)
    return bonus, bonus != name, float(weight or 1.0)


def bonus_of(
    name: str, num_states: int, rng: Generator, settings: VimeSettings
) -> tuple[Bonus, Array, float]:
    """A bonus, the states' features that it sees, (states, K), and its weight.

    Networks see random codes of signs, in which distance has no meaning. The weight of the
    L2 error makes it a mean over the dimensions of s′; others have weight 1.
    """
    codes = rng.choice([-1.0, 1.0], (num_states, SIGNS_PER_CODE))
    numbers = np.arange(num_states, dtype=float)[:, None]  # (states, 1)
    held = replace(settings, num_data=50.0)  # the original's
    space: Discrete[Any] = Discrete(NUM_ACTIONS)
    match name:
        case "dirichlet":
            # worth one observation
            return DirichletGain(num_states, 1.0 / num_states), numbers, 1.0
        case "counts":
            return VisitCounts(), numbers, 1.0
        case "L2 error":
            model = model_init(SIGNS_PER_CODE, space, rng, settings)
            return PredictionError(model), codes, 1.0 / SIGNS_PER_CODE
        case "VIME":
            return model_init(SIGNS_PER_CODE, space, rng, settings), codes, 1.0
        case "VIME 50":
            return model_init(SIGNS_PER_CODE, space, rng, held), codes, 1.0
        case "VIME tabulated sigma":
            model = model_init(SIGNS_PER_CODE, space, rng, settings)
            return TabulatedSigma(model), codes, 1.0
        case _:
            return NoBonus(), numbers, 1.0


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

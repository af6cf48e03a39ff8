"""The bonus that VIME is compared with: the L2 prediction error of VIME's own network.

Axes: N rows (transitions), S posterior samples, K observation dimensions.

Source: [VIME] Houthooft et al. 2016, arXiv 1605.09674, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

import bnn_ref as bnn
from bnn_ref import Array, check_finite
from vime_ref import Batch, Vime


@dataclass(frozen=True, eq=False)
class PredictionError:
    """Pays for being wrong: ‖s′ − mean_S f(s, a; θ)‖², by VIME's own network, pool and training.

    Unlike a gain it does not end where there is nothing left to learn: noise in s′ pays its variance for ever.
    With S samples it pays, in the mean over their noise, ‖s′ − E_q f‖² + tr Var_q f / S: the posterior's spread too.
    `update` is that of `Vime`, and errors are raised where `Vime` raises them. [VIME] section 3.
    """

    model: Vime

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Squared errors (N,), summed over K, in units of the normalised s′; 0 until the pool holds `min_rows`."""
        model, s = self.model, self.model.settings
        rows = model.model_rows(batch)
        if len(model.pool) < s.min_rows:
            return np.zeros(len(batch.rewards))
        inputs, targets = model.normalized(*rows)
        bnn.check_rows(inputs, targets)
        noise = bnn.sample_noise(
            rng, s.num_samples, len(inputs), model.layer_sizes, local=s.local
        )
        predictions = bnn.forward(
            model.q, inputs, noise, model.layer_sizes
        )  # (S, N, K)
        errors = np.sum((targets - np.mean(predictions, axis=0)) ** 2, axis=-1)
        check_finite("errors", errors)
        return errors

    def update(self, batch: Batch, rng: Generator) -> PredictionError:
        """The bonus whose network has learned from the batch."""
        return PredictionError(self.model.update(batch, rng))

"""The control that VIME must beat: the L2 prediction error of VIME's own network as a bonus.

Axes: N rows (transitions), S posterior samples, K observation dimensions.

Source: [VIME] Houthooft et al. 2016, arXiv 1605.09674, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

import bnn_ref as bnn
from bnn_ref import Array, check_finite, check_kind
from vime_ref import Batch, Vime


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
        model = self.model
        settings = model.settings
        rows = model.model_rows(batch)
        if len(model.pool) < settings.min_rows:
            return np.zeros(len(batch.rewards))

        # Predict with S samples.
        inputs, targets = model.normalized(*rows)
        sizes = model.layer_sizes
        bnn.check_data(model.q, inputs, targets, sizes, settings.likelihood_sigma)
        noise = settings.sample_noise(rng, settings.num_samples, len(inputs), sizes)
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

    def update(self, batch: Batch, rng: Generator) -> PredictionError:
        """The bonus after its network has learned from the batch."""
        return PredictionError(self.model.update(batch, rng))


# ---------------------------------------------------------------- what `help` shows

__all__ = ["PredictionError"]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Hypothesis strategies: standard deviations, posteriors, networks with data and noise, paths."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import bnn_ref as bnn
import fast_ref as fast

seeds = st.integers(0, 2**32 - 1)
layer_sizes = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


def finite(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


def log_uniform(low: float, high: float) -> st.SearchStrategy[float]:
    """Positive numbers whose logarithm is uniform."""
    return finite(np.log(low), np.log(high)).map(lambda x: float(np.exp(x)))


class Case(NamedTuple):
    """A network's posterior and prior, with rows, targets and both kinds of noise."""

    layer_sizes: tuple[int, ...]
    q: bnn.DiagNormal
    prior: bnn.DiagNormal
    inputs: np.ndarray  # (N, I)
    targets: np.ndarray  # (N, O)
    eps: np.ndarray  # (S, D)
    zeta: list[np.ndarray]  # one (S, N, O) per layer
    likelihood_sigma: float

    @property
    def model(self) -> dict:
        return {
            "layer_sizes": self.layer_sizes,
            "likelihood_sigma": self.likelihood_sigma,
        }


def make_case(
    sizes: tuple[int, ...],
    num_rows: int,
    num_samples: int,
    seed: int,
    likelihood_sigma: float,
) -> Case:
    rng = np.random.default_rng(seed)
    size = bnn.num_weights(sizes)
    return Case(
        sizes,
        bnn.DiagNormal(rng.normal(size=size), rng.normal(-0.5, 0.5, size)),
        bnn.DiagNormal(rng.normal(size=size), rng.normal(-0.5, 0.5, size)),
        rng.normal(size=(num_rows, sizes[0])),
        rng.normal(size=(num_rows, sizes[-1])),
        rng.normal(size=(num_samples, size)),
        [rng.normal(size=(num_samples, num_rows, units)) for units in sizes[1:]],
        likelihood_sigma,
    )


@st.composite
def cases(draw: st.DrawFn, max_rows: int = 4, max_samples: int = 3) -> Case:
    return make_case(
        draw(layer_sizes),
        draw(st.integers(1, max_rows)),
        draw(st.integers(1, max_samples)),
        draw(seeds),
        draw(log_uniform(0.1, 10.0)),
    )


def noise_of(case: Case, local: bool) -> Any:
    return case.zeta if local else case.eps


def fit_by(local: bool, module: Any = bnn) -> dict[str, Any]:
    """The keywords of `fit` that choose the noise, and the module whose gradient uses it."""
    if local:
        return {"sample_noise": bnn.sample_zeta, "gradient": module.elbo_grad_local}
    return {"sample_noise": bnn.sample_eps, "gradient": module.elbo_grad}


def minibatches(
    case: Case, rng: np.random.Generator, num_updates: int, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (U, B, I) and targets (U, B, O) of rows drawn with replacement."""
    rows = rng.integers(len(case.inputs), size=(num_updates, batch_size))
    return case.inputs[rows], case.targets[rows]


# Both gradients of the ELBO, by the module that has them.
GRADIENTS = {
    "autograd": {False: bnn.elbo_grad, True: bnn.elbo_grad_local},
    "by hand": {False: fast.elbo_grad, True: fast.elbo_grad_local},
}


def gradient_of(
    case: Case, local: bool, gradient: Callable[..., Any], **changes: Any
) -> np.ndarray:
    """The gradient of the ELBO in (μ, ρ), (2D,)."""
    given = {"q": case.q, "prior": case.prior, "num_data": 10.0} | case.model | changes
    noise = {"zeta": case.zeta} if local else {"eps": case.eps}
    return np.concatenate(
        gradient(inputs=case.inputs, targets=case.targets, **noise, **given)
    )

"""Gains, ELBO gradients and `fit` in JAX on the numbers of a `Problem`, for `against_jax.py`.

Each is one jitted function: gradients by `jax.grad`, rows by `jax.vmap`, chunks by `lax.map`, steps by `lax.scan`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import Problem, Sizes
from jax import Array, lax
from jax.nn import sigmoid, softplus


class Model(NamedTuple):
    """What does not change from call to call."""

    sizes: Sizes
    likelihood_sigma: float
    num_data: float = 1.0


class Adam(NamedTuple):
    """Adam's state, and the parameters (2D,) that it moves."""

    phi: Array
    mean: Array
    square: Array
    num_steps: Array


def outputs(theta: Array, inputs: Array, sizes: Sizes) -> Array:
    """Outputs (N, O) of one network with weights (D,), like `bnn_ref.mlp`."""
    h, start = inputs, 0
    for layer, (i, o) in enumerate(zip(sizes, sizes[1:])):
        middle, end = start + i * o, start + (i + 1) * o
        h = jax.nn.relu(h) if layer > 0 else h
        h = h @ theta[start:middle].reshape(i, o) + theta[middle:end]
        start = end
    return h


def misfit(
    mu: Array, sigma: Array, inputs: Array, targets: Array, eps: Array, model: Model
) -> Array:
    """−mean_S log p of all rows, up to a constant."""
    theta = mu + sigma * eps  # (S, D)
    predicted = jax.vmap(partial(outputs, inputs=inputs, sizes=model.sizes))(theta)
    errors = (predicted - targets) / model.likelihood_sigma
    return 0.5 * (errors**2).sum((1, 2)).mean()


def row_gain(
    row: tuple[Array, Array],
    mu: Array,
    rho: Array,
    eps: Array,
    step_size: float,
    model: Model,
) -> Array:
    """Taylor gain ½λ² gᵀH⁻¹g of one row (I,), (O,)."""

    def loss(mu: Array, rho: Array) -> Array:
        return misfit(mu, softplus(rho), row[0][None], row[1], eps, model)

    g_mu, g_rho = jax.grad(loss, argnums=(0, 1))(mu, rho)
    sigma = softplus(rho)
    h_rho = 2 * (sigmoid(rho) / sigma) ** 2
    return 0.5 * step_size**2 * (g_mu**2 * sigma**2 + g_rho**2 / h_rho).sum()


def gains(
    p: Problem,
    eps: np.ndarray,
    *,
    likelihood_sigma: float,
    step_size: float,
    chunk_size: int | None,
    dtype: Any,
) -> Callable[[], np.ndarray]:
    """The gains of all rows at once, or of some rows at a time."""
    given = (p.inputs, p.targets, p.q.mu, p.q.rho, eps)
    arrays = [jnp.asarray(each, dtype) for each in given]
    model = Model(p.sizes, likelihood_sigma)

    @jax.jit
    def all_gains(inputs: Array, targets: Array, *rest: Array) -> Array:
        def gain(row: tuple[Array, Array]) -> Array:
            return row_gain(row, *rest, step_size, model)

        rows = (inputs, targets)
        if chunk_size is None:
            return jax.vmap(gain)(rows)
        return lax.map(gain, rows, batch_size=chunk_size)

    return lambda: np.asarray(all_gains(*arrays))


def bound(phi: Array, prior: Any, rows: Any, eps: Array, model: Model) -> Array:
    """−ELBO of a minibatch, up to a constant."""
    mu, rho = jnp.split(phi, 2)
    sigma = softplus(rho)
    fit = misfit(mu, sigma, *rows, eps, model)
    move = (sigma**2 + (mu - prior[0]) ** 2) / prior[1] ** 2
    kl = (0.5 * move - jnp.log(sigma)).sum()
    return model.num_data / len(rows[0]) * fit + kl


def elbo_grad(
    p: Problem, eps: np.ndarray, num_rows: int, *, dtype: Any, **settings: float
) -> Callable[[], np.ndarray]:
    """The gradient (2D,) of the ELBO in μ and ρ on the first rows."""
    phi = np.concatenate([p.q.mu, p.q.rho])
    prior = (p.prior.mu, p.prior.sigma)
    rows = (p.inputs[:num_rows], p.targets[:num_rows])
    arrays = jax.tree.map(
        lambda each: jnp.asarray(each, dtype), (phi, prior, rows, eps)
    )
    model = Model(p.sizes, **settings)

    @jax.jit
    def gradient(*given: Any) -> Array:
        return -jax.grad(bound)(*given, model)

    return lambda: np.asarray(gradient(*arrays))


def adam_step(state: Adam, slope: Array, rate: float) -> Adam:
    t = state.num_steps + 1
    mean = 0.9 * state.mean + 0.1 * slope
    square = 0.999 * state.square + 0.001 * slope**2
    mean_hat = mean / (1 - 0.9**t)
    square_hat = square / (1 - 0.999**t)
    step = rate * mean_hat / (jnp.sqrt(square_hat) + 1e-8)
    return Adam(state.phi - step, mean, square, t)


def fit(
    p: Problem,
    *,
    num_updates: int,
    batch_size: int,
    num_samples: int,
    learning_rate: float,
    dtype: Any,
    noise: tuple[np.ndarray, np.ndarray] | None = None,
    kind: str = "threefry2x32",
    **settings: float,
) -> Callable[[], np.ndarray]:
    """μ and ρ (2D,) after Adam steps in one `lax.scan`.

    Each step draws its rows and its noise from a key, or takes them from `noise`: rows (U, B) and eps (U, S, D).
    """
    size = len(p.q.mu)
    phi = np.concatenate([p.q.mu, p.q.rho])
    given = (phi, p.prior.mu, p.prior.sigma, p.inputs, p.targets)
    arrays = [jnp.asarray(each, dtype) for each in given]
    model = Model(p.sizes, **settings)
    key = jax.random.key(1, impl=kind)
    steps = jax.random.split(key, num_updates)
    if noise is not None:
        steps = (jnp.asarray(noise[0]), jnp.asarray(noise[1], dtype))

    def drawn(step: Any) -> tuple[Array, Array]:
        if noise is not None:
            return step
        row_key, eps_key = jax.random.split(step)
        rows = jax.random.randint(row_key, (batch_size,), 0, len(p.inputs))
        return rows, jax.random.normal(eps_key, (num_samples, size), dtype)

    @jax.jit
    def fitted(phi: Array, mu: Array, sigma: Array, x: Array, y: Array, s: Any) -> Any:
        def update(state: Adam, step: Any) -> tuple[Adam, None]:
            rows, eps = drawn(step)
            data = (x[rows], y[rows])
            slope = jax.grad(bound)(state.phi, (mu, sigma), data, eps, model)
            return adam_step(state, slope, learning_rate), None

        zeros = jnp.zeros_like(phi)
        start = Adam(phi, zeros, zeros, jnp.zeros((), dtype))
        return lax.scan(update, start, s)[0].phi

    return lambda: np.asarray(fitted(*arrays, steps))

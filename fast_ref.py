"""Nothing here defines anything: the same numbers as the definitions, faster.

`elbo_grad`, `elbo_grad_local` and `fit` are those of `bnn_ref`, with the backward pass by
hand; `information_gains` and `information_gains_local` are those of `vime_ref` for a batch
of rows at once. `policy_gradient_step`, `trpo_step`, `value_fit` and `rollout` are those of
`agents_ref`, with the products of J and Jᵀ by hand. Signatures are the definitions', and
so are results, to rounding. `actor` is a policy's `sample` without checks of
its arguments.

Symbols: a is what enters a layer, with a trailing 1 for the bias; z = a·θ; δ = ∂ℓ/∂z with
ℓ = −mean_S log p; v is the variance of a pre-activation and κ = δ⊙ζ/√v = 2 ∂ℓ/∂v. So a
layer's gradient in one row and sample is the outer product a ⊗ δ. J is the Jacobian of a
policy's or a value function's outputs in its weights. Rows are the last axis of a Bayesian
network's arrays, and the first axis of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, TypeVar, Unpack, cast

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

import agents_ref as agents
import bnn_ref as bnn
from agents_ref import (
    CategoricalPolicy,
    Envs,
    GaussianPolicy,
    Streams,
    ValueFunction,
    log_softmax,
    natural_step,
)
from bnn_ref import (
    Array,
    DiagNormal,
    ElboSettings,
    Sigma,
    Sizes,
    Zeta,
    blocks_of,
    check_array,
    check_count,
    check_finite,
    check_number,
    check_positive,
)
from vime_ref import Batch, check_indices

CHUNK_ROWS = 256  # rows at a time, so that the arrays stay in the processor's cache
CHUNK_SIZE = 2**22  # in one array of a chunk, 32 MB: fewer rows of a wide network
NETWORK_ROWS = 1024  # of a policy or a value function at a time, for the same reason
FEW = 2**15  # in one array of rows' gradients: some outputs at a time
SMALL = 0.01  # |Δσ/σ| up to which a KL is a series: the rest is under 1e-16 of the sum
LEAST_STEP = -3.0  # Δρ down to which σ + Δσ keeps its digits
MOST_STEP = 300.0  # Δρ up to which (Δσ/σ)² does not overflow
KEPT = 2**21  # numbers, 16 MB

BETA1 = 0.9  # the defaults of `bnn_ref.adam_step`
BETA2 = 0.999
EPSILON = 1e-8

Layers = list[Array]  # one for each layer
Parts = list[Array]  # some rows of a batch in each
Steps = Iterator[tuple[Any, ...]]  # of sampling
Act = Callable[[Array, Array], NDArray[Any]]  # actions from observations and noise
Step = TypeVar("Step", bound=Callable[..., Any])  # of a policy

# Once such an array was free, glibc keeps free memory for the next arrays. Otherwise it
# would give it back and take new pages for each chunk, which costs as much as the work.
np.empty(KEPT)

# ------------------------------------------------------------ the backward pass


class Rows(NamedTuple):
    """Rows of data, the units of the layers, and the weight of an error."""

    inputs: Array  # (N, I)
    targets: Array  # (N, O)
    sizes: Sizes
    weight: Array  # () or (O,)


def room(shape: tuple[int, ...], units: int, rows_last: bool) -> Array:
    """An array (S, N, units) to fill; in memory, rows may be the last axis."""
    samples, rows = shape
    if rows_last:
        return np.empty((samples, units, rows)).swapaxes(1, 2)  # (S, N, units)
    return np.empty((samples, rows, units))


def multiply(x: Array, y: Array, out: Array, rows_last: bool) -> None:
    """out = x @ y. The library is fast if the last axis of `out` is that of memory."""
    if rows_last:
        left = y.swapaxes(-1, -2)  # (S, O, I)
        right = x.swapaxes(-1, -2)  # (S, I, N)
        np.matmul(left, right, out=out.swapaxes(-1, -2))  # (S, O, N)
    else:
        np.matmul(x, y, out=out)  # (S, N, O)


def with_ones(inputs: Array, rows_last: bool = False) -> Array:
    """Inputs with a trailing 1 for the bias, (N, I) -> (1, N, I + 1)."""
    rows, units = inputs.shape
    a = room((1, rows), units + 1, rows_last)
    a[..., :-1] = inputs
    a[..., -1] = 1.0
    return a


def rectify(z: Array) -> Array:
    """Make z (S, N, O + 1) what leaves a layer: the last unit is 1. Returns z > 0."""
    z[..., -1] = 1.0
    check_activations(z)
    positive = (z > 0.0).astype(float)  # products with bools are slow
    z *= positive
    return positive


def error_weight(sigma: Array, samples: int) -> Any:
    """∂ℓ/∂z = weight·(z − target) in the last layer, () or (O,)."""
    width = sigma if sigma.ndim else float(sigma)
    return 1.0 / width / width / samples


def backward(
    blocks: Layers, rows: Rows, *, rows_last: bool = False
) -> tuple[Layers, Layers]:
    """a (S, N, I + 1) and δ (S, N, O) of each layer, with weights (S, I + 1, O) each.

    All samples share the inputs: the first a is (1, N, I + 1).
    """
    shape = (len(blocks[0]), len(rows.inputs))

    # Forward.
    a = [with_ones(rows.inputs, rows_last)]
    masks = []
    for block, units in zip(blocks[:-1], rows.sizes[1:]):
        z = room(shape, units + 1, rows_last)
        multiply(a[-1], block, z[..., :-1], rows_last)
        masks.append(rectify(z))
        a.append(z)
    z = room(shape, rows.sizes[-1], rows_last)
    multiply(a[-1], blocks[-1], z, rows_last)
    check_activations(z)

    # Backward.
    z -= rows.targets
    z *= rows.weight
    delta = [z]
    for layer in range(len(blocks) - 1, 0, -1):
        back = room(shape, rows.sizes[layer] + 1, rows_last)
        transposed = blocks[layer].swapaxes(1, 2)  # (S, O, I + 1)
        multiply(delta[0], transposed, back, rows_last)
        back *= masks[layer - 1]
        delta.insert(0, back[..., :-1])
    return a, delta


def forward_local(
    means: Layers,
    variances: Layers,
    zeta: Zeta,
    rows: Rows,
    rows_last: bool,
) -> tuple[Layers, Layers, Layers, Array]:
    """a and z > 0 of each layer, √v of each, and z of the last, all (S, N, ...)."""
    a = [with_ones(rows.inputs, rows_last)]
    masks: Layers = []
    roots: Layers = []
    shape = zeta[0].shape[:2]
    layers = zip(means, variances, zeta, rows.sizes[1:])
    for mean, variance, noise, units in layers:
        shared = a[-1].shape[:2]
        root = room(shared, units, rows_last)
        multiply(a[-1] ** 2, variance, root, rows_last)
        roots.append(np.sqrt(root, out=root))

        # z = a·μ + √v⊙ζ.
        center = room(shared, units, rows_last)
        multiply(a[-1], mean, center, rows_last)
        wide = room(shape, units + 1, rows_last)
        z = wide[..., :-1]
        np.multiply(root, noise, out=z)
        z += center
        if len(a) < len(means):
            masks.append(rectify(wide))
            a.append(wide)
    check_activations(z)
    return a, masks, roots, z


def backward_local(
    means: Layers,
    variances: Layers,
    zeta: Zeta,
    rows: Rows,
    *,
    rows_last: bool = False,
) -> tuple[Layers, Layers, Layers]:
    """a, δ and κ (S, N, O) of each layer, pre-activations sampled by zeta.

    Moments (I + 1, O) of the weights of each layer. The first a is (1, N, I + 1).
    """
    given = (means, variances, zeta, rows, rows_last)
    a, masks, roots, z = forward_local(*given)

    # Backward.
    z -= rows.targets
    z *= rows.weight
    delta = [z]
    kappa = [z * zeta[-1] / roots[-1]]
    for layer in range(len(means) - 1, 0, -1):
        back = np.empty_like(a[layer])
        multiply(kappa[0], variances[layer].T, back, rows_last)
        back *= a[layer]
        part = np.empty_like(back)
        multiply(delta[0], means[layer].T, part, rows_last)
        back += part
        back *= masks[layer - 1]
        delta.insert(0, back[..., :-1])
        kappa.insert(0, delta[0] * zeta[layer - 1] / roots[layer - 1])
    return a, delta, kappa


# ------------------------------------------------------------ the gradient of the ELBO


def elbo_grad(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    num_data: float,
) -> tuple[Array, Array]:
    """`bnn_ref.elbo_grad`: ∂ℓ/∂μ = Σ a⊗δ and ∂ℓ/∂σ = Σ ε⊙(a⊗δ), rows and samples."""
    data = bnn.check_data(q, inputs, targets, layer_sizes, likelihood_sigma)
    eps = bnn.check_eps(eps, len(q.mu))
    bnn.check_prior(prior, q)
    size = (len(data.inputs), len(eps))
    weight = uphill_weight(num_data, data.sigma, *size)
    uphill = slopes(q.mu, q.sigma, eps, Rows(*data[:3], weight))
    grad_mu, grad_rho = with_kl(uphill, q.mu, q.sigma, expit(q.rho), prior)
    return check_finite("grad_mu", grad_mu), check_finite("grad_rho", grad_rho)


def elbo_grad_local(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    num_data: float,
) -> tuple[Array, Array]:
    """`bnn_ref.elbo_grad_local`: ∂ℓ/∂μ = Σ a⊗δ and ∂ℓ/∂σ = σ⊙Σ a²⊗κ.

    Raises ValueError if the variance of a pre-activation is 0 in float64.
    """
    data = bnn.check_data(q, inputs, targets, layer_sizes, likelihood_sigma)
    zeta = bnn.check_zeta(zeta, len(data.inputs), layer_sizes)
    bnn.check_prior(prior, q)
    size = (len(data.inputs), len(zeta[0]))
    weight = uphill_weight(num_data, data.sigma, *size)
    uphill = slopes_local(q.mu, q.sigma, zeta, Rows(*data[:3], weight))
    grad_mu, grad_rho = with_kl(uphill, q.mu, q.sigma, expit(q.rho), prior)
    return check_finite("grad_mu", grad_mu), check_finite("grad_rho", grad_rho)


def uphill_weight(num_data: float, sigma: Array, num_rows: int, samples: int) -> Any:
    """`error_weight` of −(n/B)·ℓ, () or (O,)."""
    scale = float(check_positive("num_data", num_data, ()))
    return -scale / num_rows * error_weight(sigma, samples)


def slopes(
    mu: Array,
    sigma: Array,
    eps: Array,
    rows: Rows,
) -> tuple[Array, Array]:
    """∂ℓ/∂μ and ∂ℓ/∂σ (D,), with noise per weight."""
    theta = sigma * eps  # (S, D)
    theta += mu
    blocks = blocks_of(theta, rows.sizes)  # (S, I + 1, O) each
    a, delta = backward(blocks, rows)

    # Sum over rows, where the weights were; then over samples.
    add_rows(a, delta, blocks)
    ones = np.ones(len(eps))
    by_mu = ones @ theta  # (D,)
    theta *= eps
    return by_mu, ones @ theta  # (D,) each


def slopes_local(
    mu: Array, sigma: Array, zeta: Zeta, rows: Rows
) -> tuple[Array, Array]:
    """∂ℓ/∂μ and ∂ℓ/∂σ (D,), with noise per unit and row."""
    means = blocks_of(mu, rows.sizes)  # (I + 1, O) each
    variances = blocks_of(sigma**2, rows.sizes)  # (I + 1, O) each
    a, delta, kappa = backward_local(means, variances, zeta, rows)

    # Sum over rows, then over samples.
    ones = np.ones(len(zeta[0]))
    each = np.empty((len(ones), len(mu)))  # (S, D)
    blocks = blocks_of(each, rows.sizes)  # (S, I + 1, O) each
    add_rows(a, delta, blocks)
    by_mu = ones @ each  # (D,)
    add_rows([x**2 for x in a], kappa, blocks)
    by_variance = ones @ each  # (D,)
    return by_mu, sigma * by_variance


def add_rows(a: Layers, delta: Layers, out: Layers) -> None:
    """Σ a⊗δ over the rows in each layer, put into `out`, (S, I + 1, O) each."""
    for x, d, block in zip(a, delta, out):
        np.matmul(x.swapaxes(1, 2), d, out=block)  # (S, I + 1, O)


def with_kl(
    uphill: tuple[Array, Array],
    mu: Array,
    sigma: Array,
    slope: Array,
    prior: DiagNormal,
) -> tuple[Array, Array]:
    """The ELBO's gradient in μ and ρ, from that of its first part in μ and σ, in place.

    slope = ∂σ/∂ρ. The KL is in units of the prior's width, where no square underflows.
    """
    grad_mu, grad_rho = uphill
    move = mu - prior.mu
    move /= prior.sigma
    move /= prior.sigma
    grad_mu -= move

    # ½(r² − 1) − log r of r = 1 + move has the derivative move·(2 + move)/r.
    move = sigma - prior.sigma
    move /= prior.sigma
    by_sigma = move + 2.0
    by_sigma *= move
    by_sigma /= sigma
    grad_rho -= by_sigma
    grad_rho *= slope
    return grad_mu, grad_rho


# ------------------------------------------------------------ training


def fit(
    q: DiagNormal,
    prior: DiagNormal,
    inputs: Array,
    targets: Array,
    rng: Generator,
    *,
    num_samples: int,
    learning_rate: float,
    sample_noise: Callable[..., Any] = bnn.sample_eps,
    gradient: Callable[..., tuple[Array, Array]] = bnn.elbo_grad,
    adam: bnn.AdamState | None = None,
    **settings: Unpack[ElboSettings],
) -> tuple[DiagNormal, bnn.AdamState]:
    """`bnn_ref.fit` by hand, with neither copies nor checks in a step.

    With functions of your own, the loop is that of `bnn_ref`.
    """
    local = (sample_noise, gradient) in per_unit()
    if not local and (sample_noise, gradient) not in per_weight():
        return bnn.fit(
            q, prior, inputs, targets, rng, num_samples=num_samples,
            learning_rate=learning_rate, sample_noise=sample_noise, gradient=gradient,
            adam=adam, **settings,
        )  # fmt: skip

    # Check once.
    layer_sizes, sigma_l, num_data = elbo_settings(**settings)
    sizes = bnn.check_sizes(layer_sizes)
    inputs, targets = bnn.check_minibatches(q, inputs, targets, sizes)
    bnn.check_kind("rng", rng, Generator)
    num_samples = bnn.check_count("num_samples", num_samples)
    climb = Climb(q, prior, adam, learning_rate)
    sigma = bnn.check_likelihood(sigma_l, sizes[-1])
    size = (inputs.shape[1], num_samples)
    weight = uphill_weight(num_data, sigma, *size)

    # The same room for the noise of each step.
    room_for: Any = zeta_room if local else eps_room
    numbers, noise = room_for(num_samples, inputs.shape[1], sizes)
    by_hand: Any = slopes_local if local else slopes
    with np.errstate(all="ignore"), climb:
        for minibatch in zip(inputs, targets):
            rng.standard_normal(out=numbers)
            rows = Rows(*minibatch, sizes, weight)
            climb.step(by_hand(climb.mu, climb.sigma, noise, rows))
    return climb.ended()


def elbo_settings(
    *, layer_sizes: Sizes, likelihood_sigma: Sigma, num_data: float
) -> tuple[Sizes, Sigma, float]:
    """The settings by name. Raises TypeError on others."""
    return layer_sizes, likelihood_sigma, num_data


def per_weight() -> list[tuple[Any, Any]]:
    """Noise per weight, and what takes it."""
    return [(bnn.sample_eps, each) for each in (bnn.elbo_grad, elbo_grad)]


def per_unit() -> list[tuple[Any, Any]]:
    """Noise per unit and row, and what takes it."""
    gradients = (bnn.elbo_grad_local, elbo_grad_local)
    return [(bnn.sample_zeta, each) for each in gradients]


def eps_room(
    num_samples: int,
    num_rows: int,
    sizes: Sizes,
) -> tuple[Array, Array]:
    """Room for numbers, which are eps (S, D)."""
    eps = np.empty((num_samples, bnn.num_weights(sizes)))
    return eps, eps


def zeta_room(
    num_samples: int,
    num_rows: int,
    sizes: Sizes,
) -> tuple[Array, Layers]:
    """Room for numbers, and their views zeta, one (S, N, O) behind another."""
    shapes = [(num_samples, num_rows, units) for units in sizes[1:]]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    numbers = np.empty(ends[-1])
    parts = np.split(numbers, ends[:-1])
    return numbers, [x.reshape(shape) for x, shape in zip(parts, shapes)]  # (S, N, O)


def widths(rho: Array) -> Array:
    """`bnn_ref.softplus`, unchecked."""
    return np.log1p(np.exp(-np.abs(rho))) + np.maximum(rho, 0.0)


class Climb:
    """Adam's way up the ELBO. What a step makes is put where the last step's was.

    No step is checked: what is not finite stays so, until the end finds it.
    """

    def __init__(
        self,
        q: DiagNormal,
        prior: DiagNormal,
        adam: Any,
        rate: float,
    ):
        bnn.check_prior(prior, q)
        self.prior = prior
        self.rate = float(check_positive("learning_rate", rate, ()))
        self.phi = np.concatenate([q.mu, q.rho])  # (2D,)
        self.mu, self.rho = np.split(self.phi, 2)  # (D,) each
        self.lowest = np.array(q.rho)
        self.sigma = widths(q.rho)

        # Adam's state.
        size = len(self.phi)
        adam = bnn.adam_init(size) if adam is None else adam
        adam = bnn.check_adam("adam", adam, (size,))
        self.mean = np.array(adam.mean)
        self.square = np.array(adam.square)
        self.num_steps = adam.num_steps

    def step(self, uphill: tuple[Array, Array]) -> None:
        """`bnn_ref.ascent_step`, from the gradient of the ELBO's first part."""
        slope = -np.expm1(-self.sigma)
        slopes = with_kl(uphill, self.mu, self.sigma, slope, self.prior)
        g = np.concatenate(slopes)  # (2D,)
        self.num_steps += 1

        # Running means of the gradient downhill, and of its square.
        self.mean *= BETA1
        self.mean -= (1.0 - BETA1) * g
        g *= g
        g *= 1.0 - BETA2
        self.square *= BETA2
        self.square += g

        # The step, without their bias toward 0.
        step = np.divide(self.square, 1.0 - BETA2**self.num_steps, out=g)
        np.sqrt(step, out=step)
        step += EPSILON
        np.divide(self.mean, step, out=step)
        step *= self.rate / (1.0 - BETA1**self.num_steps)
        self.phi -= step
        np.fmin(self.lowest, self.rho, out=self.lowest)
        self.sigma = widths(self.rho)

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        """Raise ValueError as the first step would have that `bnn_ref.fit` rejects."""
        bnn.check_rho(self.lowest)
        grad_mu, grad_rho = np.split(self.mean, 2)  # (D,) each
        check_finite("grad_mu", grad_mu)
        check_finite("grad_rho", grad_rho)
        check_finite("gradient**2", self.square)

    def ended(self) -> tuple[DiagNormal, bnn.AdamState]:
        state = bnn.AdamState(self.mean, self.square, self.num_steps)
        return DiagNormal(self.mu, self.rho), state


# ------------------------------------------------------------ the gains of a batch


def information_gains(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    eps: Array,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Literal["taylor", "exact"] = "taylor",
) -> Array:
    """`vime_ref.information_gains` (N,), many rows at once."""
    data = check_gains(
        q, inputs, targets, layer_sizes, likelihood_sigma, step_size, method
    )
    eps = bnn.check_eps(eps, len(q.mu))
    theta = q.mu + q.sigma * eps  # (S, D)
    blocks = blocks_of(theta, data.sizes)  # (S, I + 1, O) each
    by_mu, by_sigma = step_scales(q, step_size, method)
    scales = blocks_of(by_mu, data.sizes)  # (I + 1, O) each
    noise = blocks_of(by_sigma * eps, data.sizes)  # (S, I + 1, O) each
    weight = error_weight(data.sigma, len(eps))

    # Some of the rows, by layer.
    def layers(rows: slice) -> Iterator[Any]:
        chunk = Rows(data.inputs[rows], data.targets[rows], data.sizes, weight)
        a, delta = backward(blocks, chunk, rows_last=True)
        return zip(map(turned, a), map(turned, delta), scales, noise)

    def taylor(rows: slice) -> Any:
        return second_order(step_size, (noisy_form(*each) for each in layers(rows)))

    def exact(rows: slice) -> Any:
        steps = (row_sums(*each) for each in layers(rows))
        return stepped_gains(q, data.sizes, steps)

    return in_chunks(taylor if method == "taylor" else exact, data, len(eps))


def information_gains_local(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    zeta: Zeta,
    *,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    step_size: float,
    method: Literal["taylor", "exact"] = "taylor",
) -> Array:
    """`vime_ref.information_gains_local` (N,), many rows at once."""
    data = check_gains(
        q, inputs, targets, layer_sizes, likelihood_sigma, step_size, method
    )
    zeta = bnn.check_zeta(zeta, len(data.inputs), layer_sizes)
    means = blocks_of(q.mu, data.sizes)  # (I + 1, O) each
    variances = blocks_of(q.sigma**2, data.sizes)  # (I + 1, O) each
    weight = error_weight(data.sigma, len(zeta[0]))
    by_mu, by_sigma = step_scales(q, step_size, method)
    scales = blocks_of(by_mu, data.sizes)  # (I + 1, O) each
    by_variance = blocks_of(by_sigma * q.sigma, data.sizes)  # (I + 1, O) each

    # Some of the rows, by layer: what moves μ, and what moves σ.
    def layers(rows: slice) -> Iterator[Any]:
        noise = [each[:, rows] for each in zeta]  # (S, n, O) each
        chunk = Rows(data.inputs[rows], data.targets[rows], data.sizes, weight)
        passed = backward_local(means, variances, noise, chunk, rows_last=True)
        a, delta, kappa = (list(map(turned, each)) for each in passed)
        squares = [each**2 for each in a]
        return zip(zip(a, delta, scales), zip(squares, kappa, by_variance))

    def taylor(rows: slice) -> Any:
        forms = (plain_form(*each) for layer in layers(rows) for each in layer)
        return second_order(step_size, forms)

    def exact(rows: slice) -> Any:
        return stepped_gains(q, data.sizes, (joined(*each) for each in layers(rows)))

    return in_chunks(taylor if method == "taylor" else exact, data, len(zeta[0]))


def turned(x: Array) -> Array:
    """(S, N, I) as (S, I, N), rows last."""
    return x.swapaxes(1, 2)  # (S, I, N)


def second_order(step_size: float, forms: Iterable[Array]) -> Any:
    """½λ² Σ of the layers' forms, (N,)."""
    return 0.5 * np.square(float(step_size)) * sum(forms)


def step_scales(q: DiagNormal, step_size: float, method: str) -> tuple[Array, Array]:
    """Factors (D,) of ∂ℓ/∂μ and ∂ℓ/∂σ.

    For "taylor", those of which gᵀH⁻¹g is the sum of squares: σ and σ/√2. For "exact",
    those that make them the step's Δμ/σ and Δρ: −λσ and −½λσ²/σ′ with σ′ = ∂σ/∂ρ.
    """
    if method == "taylor":
        return q.sigma, np.sqrt(0.5) * q.sigma
    rate = float(step_size)
    return -rate * q.sigma, -0.5 * rate * (q.sigma / expit(q.rho) * q.sigma)


def chunk_rows(samples: int, sizes: Sizes) -> int:
    """Rows at a time: as many as the limits on rows and on numbers allow."""
    row = max(samples * (max(sizes) + 1), (sizes[0] + 1) * sizes[1])
    return max(1, min(CHUNK_ROWS, CHUNK_SIZE // row))


def in_chunks(
    gains: Callable[[slice], Array],
    data: bnn.Data,
    samples: int,
) -> Array:
    """The gains (N,) of some rows at a time; raises ValueError unless finite."""
    size = chunk_rows(samples, data.sizes)
    starts = range(0, len(data.inputs), size)
    parts = [gains(slice(n, n + size)) for n in starts]
    joined = np.concatenate(parts)  # (N,)
    return np.asarray(check_finite("gains", joined))


# ------------------------------------------------------------ Taylor: sums of squares


def noisy_form(
    a: Array,
    delta: Array,
    scale: Array,
    noise: Array,
) -> Any:
    """Σ (scale⊙Σ_s a⊗δ)² + (Σ_s noise⊙(a⊗δ))² of each row (N,) in one layer.

    scale (I + 1, O), noise (S, I + 1, O). All samples may share one a.
    """
    if len(a) < len(noise):  # the pair of a single sample is cheaper
        noisy = noise.T.copy() @ delta.swapaxes(0, 1)  # (O, I + 1, N)
        summed = delta.sum(axis=0)  # (O, N)
        total = scale**2 @ (summed * summed)  # (I + 1, N)
        total += np.einsum("oin,oin->in", noisy, noisy)  # (I + 1, N)
        total *= a[0] * a[0]
        return total.sum(axis=0)  # (N,)
    if pairs_are_fewer(*noise.shape):
        return pair_form(a, delta, scale**2, noise)
    return sum(map(squared, row_sums(a, delta, scale, noise)))


def plain_form(a: Array, delta: Array, scale: Array) -> Any:
    """Σ (scale⊙Σ_s a⊗δ)² of each row (N,) in one layer; scale (I + 1, O)."""
    if len(a) == 1:
        delta = delta.sum(axis=0, keepdims=True)  # (1, O, N)
    if pairs_are_fewer(len(delta), *scale.shape):
        # The square of the scale would underflow: δ takes half of it.
        unit = np.max(scale)
        return pair_form(a, unit * delta, (scale / unit) ** 2)
    return sum(map(squared, row_sums(a, delta, scale)))


def pairs_are_fewer(samples: int, inputs: int, outputs: int) -> bool:
    """Whether sums over pairs of samples take less time than the gradient of each row.

    A pair takes a product for each input, three for each output, and a part of a matrix
    product; a gradient takes a product of its own for each sample, input and output.
    """
    pairs = samples * (samples + 1) / 2
    per_pair = 6.0 * inputs + 12.0 * outputs + inputs * outputs
    return pairs * per_pair < 8.0 * samples * inputs * outputs


def pair_form(
    a: Array, delta: Array, square: Array, noise: Array | None = None
) -> Array:
    """Σ_st (a_s⊙a_t)ᵀ [square + noise_s⊙noise_t] (δ_s⊙δ_t) of each row (N,)."""
    total = np.zeros(a.shape[-1])  # (N,)
    for s in range(len(a)):
        metric = square if noise is None else noise[s] * noise[s:] + square
        left = metric.swapaxes(-1, -2) @ (a[s] * a[s:])  # (S − s, O, N)
        right = delta[s] * delta[s:]  # (S − s, O, N)
        right[1:] *= 2.0
        total += np.einsum("ton,ton->n", left, right)  # (N,)
    return total


def row_sums(a: Array, delta: Array, *scales: Array) -> Iterator[Array]:
    """Σ_s scale⊙(a⊗δ) of each row and scale, for some outputs at a time, (o, I + 1, C, N).

    scales are C arrays (I + 1, O) or (S, I + 1, O). All samples may share one a.
    """
    # As the left factors of matrix products.
    samples, outputs, rows = delta.shape
    inputs = a.shape[1]
    left = np.empty((outputs, inputs, len(scales), samples))
    for place, scale in enumerate(scales):
        each = scale if scale.ndim == 3 else scale[None]
        left[:, :, place] = each.T  # (O, I + 1, S) or (O, I + 1, 1)

    # Some outputs at a time.
    few = max(1, FEW // (a.size * len(scales)))
    by_output = delta.swapaxes(0, 1)  # (O, S, N)
    for start in range(0, outputs, few):
        part = slice(start, start + few)
        if len(a) == 1:
            shape = (-1, inputs * len(scales), samples)
            flat = left[part].reshape(shape) @ by_output[part]  # (o, (I + 1)·C, N)
            apart = (-1, inputs, len(scales), rows)
            sums = flat.reshape(apart) * a[0][:, None]  # (o, I + 1, C, N)
        else:
            outer = a * by_output[part, :, None]  # (o, S, I + 1, N)
            sums = left[part] @ outer.swapaxes(1, 2)  # (o, I + 1, C, N)
        yield sums


def squared(sums: Array) -> Array:
    """The sum of squares of each row (N,) of (..., N)."""
    flat = np.square(sums).reshape(-1, sums.shape[-1])  # (..., N)
    return np.ones(len(flat)) @ flat  # (N,)


# ------------------------------------------------------------ exact: the KL of each step


def joined(by_mu: Any, by_variance: Any) -> Iterator[Array]:
    """The `row_sums` (o, I + 1, 2, N) of two gradients with one scale each."""
    for parts in zip(row_sums(*by_mu), row_sums(*by_variance)):
        yield np.concatenate(parts, axis=2)  # (o, I + 1, 2, N)


def stepped_gains(
    q: DiagNormal,
    sizes: Sizes,
    steps: Iterable[Iterator[Array]],
) -> Any:
    """KL[q(φ − λH⁻¹∇ℓ)‖q(φ)] of each row (N,), from Δμ/σ and Δρ, the `row_sums`."""
    total: Any = 0.0
    for rho, layer in zip(blocks_of(q.rho, sizes), steps):
        start = 0
        for sums in layer:
            end = start + len(sums)
            old = rho.T[start:end, :, None]  # (o, I + 1, 1)
            total += step_kl(sums[:, :, 0], sums[:, :, 1], old)  # (N,)
            start = end
    return total


def step_kl(mu_move: Array, rho_step: Array, rho: Array) -> Array:
    """The KL of steps Δμ/σ and Δρ from ρ, summed over all axes but the last, (N,)."""
    sigma = bnn.softplus(rho)
    special = None
    least = np.min(rho_step)
    most = np.max(rho_step)
    if not (least >= LEAST_STEP and most <= MOST_STEP):
        usual = (rho_step >= LEAST_STEP) & (rho_step <= MOST_STEP)
        special = ~usual
        old = np.broadcast_to(rho, special.shape)[special]  # (special,)
        others = special_kl(rho_step[special], old)  # (special,)
        rho_step = np.where(special, 0.0, rho_step)

    # d = Δσ/σ, and d − log(1 + d).
    d = np.expm1(rho_step)
    d *= expit(rho)
    np.log1p(d, out=d)
    d /= sigma
    excess = d - np.log1p(d)

    # Of small d, as d·w − 2w³(1/3 + w²/5 + …) with w = d/(2 + d).
    w = d / (d + 2.0)
    square = w * w
    tail = square / 7.0
    tail += 1.0 / 5.0
    tail *= square
    tail += 1.0 / 3.0
    tail *= square
    tail *= w
    tail *= -2.0
    w *= d
    w += tail
    np.copyto(excess, w, where=np.abs(d) < SMALL)

    # KL = ½m² + ½d² + d − log(1 + d).
    if special is not None:
        excess[special] = others
    kl = 0.5 * squared(mu_move) + 0.5 * squared(d)  # (N,)
    return kl + excess.sum(axis=(0, 1))  # (N,)


def special_kl(rho_step: Array, rho: Array) -> Array:
    """The KL of each Δρ from ρ, both (...), of any size."""
    new = check_finite("rho", rho + rho_step)
    bnn.check_rho(new)
    sigma = bnn.softplus(rho)
    move = bnn.softplus_difference(new, rho) / sigma
    log_ratio = bnn.log_sigma_ratio(bnn.softplus(new), sigma)
    moves = [x[:, None] for x in (np.zeros_like(new), move, log_ratio)]
    return np.asarray(bnn.kl_from_moves(*moves))


# ------------------------------------------------------------ a tanh network


@dataclass(frozen=True, eq=False)
class TanhPass:
    """A tanh network on some rows. J is the Jacobian of its outputs in its weights."""

    blocks: Layers  # (I + 1, O) each
    inputs: Layers  # a, (N, I + 1) each
    outputs: Array  # (N, O)

    @cached_property
    def slopes(self) -> Layers:
        """tanh′ = 1 − tanh² of each hidden layer, (N, O)."""
        return [1.0 - a[:, :-1] ** 2 for a in self.inputs[1:]]


def in_parts(rows: Array) -> Parts:
    """NETWORK_ROWS at a time."""
    starts = range(0, len(rows), NETWORK_ROWS)
    return [rows[n : n + NETWORK_ROWS] for n in starts]


def tanh_pass(weights: Array, first: Array, sizes: Sizes) -> TanhPass:
    """The network with weights (D,) on inputs with a trailing 1, (N, I + 1)."""
    blocks = blocks_of(weights, sizes)  # (I + 1, O) each
    inputs = [first]
    z = check_finite("activations", first @ blocks[0])  # (N, O)
    for block in blocks[1:]:
        inputs.append(with_ones(np.tanh(z, out=z))[0])
        z = check_finite("activations", inputs[-1] @ block)  # (N, O)
    return TanhPass(blocks, inputs, z)


def forward_mode(passed: TanhPass, directions: Layers) -> Array:
    """J v, how the outputs (N, O) move with the weights along v, (I + 1, O) each."""
    move = passed.inputs[0] @ directions[0]  # (N, O)
    for layer, slope in enumerate(passed.slopes, start=1):
        bent = slope * move
        weights = passed.blocks[layer][:-1]
        move = bent @ weights  # (N, O)
        move += passed.inputs[layer] @ directions[layer]  # (N, O)
    return move


def reverse_mode(passed: TanhPass, delta: Array) -> Array:
    """Jᵀδ (D,), from the δ of the outputs (N, O)."""
    last = len(passed.blocks) - 1
    sums = [passed.inputs[last].T @ delta]  # (I + 1, O)
    for layer in reversed(range(last)):
        weights = passed.blocks[layer + 1][:-1]
        back = delta @ weights.T  # (N, I)
        delta = back * passed.slopes[layer]
        sums.insert(0, passed.inputs[layer].T @ delta)  # (I + 1, O)
    return np.concatenate([each.ravel() for each in sums])  # (D,)


# ------------------------------------------------------------ policies on rows


class PolicyBatch(NamedTuple):
    """Checked rows of a policy."""

    observations: Array  # (N, K)
    actions: NDArray[Any]  # (N, A), or (N,) indices
    advantages: Array  # (N,)


@dataclass(frozen=True, eq=False)
class PolicyRows:
    """A policy on all rows of a batch, its network evaluated once."""

    policy: Any
    outputs: Array  # of the network, (N, A)
    passes: list[TanhPass]  # of NETWORK_ROWS each, if J is needed

    def pushed(self, v: Array) -> Array:
        """J v (N, A) for v (D,)."""
        sizes = self.policy.layer_sizes
        directions = blocks_of(v, sizes)  # (I + 1, O) each
        moves = [forward_mode(each, directions) for each in self.passes]
        return np.concatenate(moves)  # (N, A)

    def pulled(self, delta: Array) -> Array:
        """Jᵀδ (D,) for δ (N, A)."""
        pairs = zip(self.passes, in_parts(delta))
        sums = [reverse_mode(*pair) for pair in pairs]
        return np.sum(sums, axis=0)  # (D,)


class GaussianRows(PolicyRows):
    """A Gaussian policy; std = e^{log_std} is σ in units of action_scale."""

    @cached_property
    def std(self) -> Array:
        num_actions = self.policy.layer_sizes[-1]
        return np.exp(self.policy.theta[-num_actions:])  # (A,)

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """Means (N, A) and standard deviations (A,)."""
        center = self.policy.action_center
        scale = self.policy.action_scale
        mean = center + scale * self.outputs  # (N, A)
        return mean, scale * self.std

    def log_prob(self, actions: Array) -> Array:
        """log π(a|s), (N,)."""
        log_p = bnn.normal_log_density(actions, *self.moments)  # (N, A)
        return log_p.sum(axis=-1)  # (N,)

    def gradient(self, actions: Array, weights: Array, by_entropy: float) -> Array:
        """∇Σ[w·log π(a|s) + β·H] (P,), with actions m + σε.

        By outputs it is wε/std, by log_std w(ε² − 1) + β.
        """
        mean, sigma = self.moments
        eps = (actions - mean) / sigma  # (N, A)
        by_outputs = weights[:, None] * eps / self.std  # (N, A)
        by_log_std = weights @ (eps**2 - 1.0)  # (A,)
        by_log_std += len(eps) * by_entropy

        # Through the network.
        by_weights = self.pulled(by_outputs)
        gradient = np.concatenate([by_weights, by_log_std])  # (P,)
        return np.asarray(check_finite("gradient", gradient))

    def fisher_product(self, v: Array) -> Array:
        """F v = mean Jᵀ(J v/std²) in the weights, and 2v in log_std, (P,)."""
        num_actions = len(self.std)
        moves = self.pushed(v[:-num_actions])  # (N, A)
        weighted = moves / self.std / self.std
        by_weights = self.pulled(weighted / len(moves))
        by_log_std = 2.0 * v[-num_actions:]
        return np.concatenate([by_weights, by_log_std])  # (P,)

    def kl(self, new: GaussianRows) -> Array:
        """KL[old‖new], (N,)."""
        return bnn.kl_diag_normal(*self.moments, *new.moments)


class CategoricalRows(PolicyRows):
    """A categorical policy."""

    @cached_property
    def log_p(self) -> Array:
        """log π(·|s), (N, A)."""
        return log_softmax(self.outputs)

    @cached_property
    def p(self) -> Array:
        """π(·|s), (N, A)."""
        return np.exp(self.log_p)

    def log_prob(self, actions: Array) -> Array:
        """log π(a|s), (N,)."""
        rows = np.arange(len(actions))
        return self.log_p[rows, actions]  # (N,)

    def gradient(self, actions: Array, weights: Array, by_entropy: float) -> Array:
        """∇Σ[w·log π(a|s) + β·H] (P,).

        By outputs it is w(1_a − p) − βp(log p + H).
        """
        rows = np.arange(len(actions))
        terms = self.p * self.log_p  # (N, A)
        entropy = -terms.sum(axis=-1, keepdims=True)  # (N, 1)
        by_outputs = -by_entropy * (terms + self.p * entropy)
        by_outputs -= weights[:, None] * self.p
        by_outputs[rows, actions] += weights
        return self.pulled(by_outputs)

    def fisher_product(self, v: Array) -> Array:
        """F v = mean Jᵀ(diag(p) − ppᵀ)J v, (P,)."""
        weighted = self.p * self.pushed(v)  # (N, A)
        mean = weighted.sum(axis=-1, keepdims=True)  # (N, 1)
        centered = weighted - self.p * mean
        return self.pulled(centered / len(mean))

    def kl(self, new: CategoricalRows) -> Array:
        """KL[old‖new], (N,)."""
        excess = self.p * (self.log_p - new.log_p)  # (N, A)
        return excess.sum(axis=-1)  # (N,)


ROWS_OF: dict[type, type[PolicyRows]] = {
    GaussianPolicy: GaussianRows,
    CategoricalPolicy: CategoricalRows,
}


def on_rows(policy: Any, observations: Array, *, outputs_only: bool = False) -> Any:
    """The policy on observations (N, K), with what J needs or without it."""
    passes = passes_of(policy, observations)
    kept = [] if outputs_only else list(passes)
    outputs = [each.outputs for each in kept or passes]  # (n, A) each
    joined = np.concatenate(outputs)  # (N, A)
    return ROWS_OF[type(policy)](policy, joined, kept)


def passes_of(policy: Any, observations: Array) -> Iterator[TanhPass]:
    """The policy's network on NETWORK_ROWS at a time."""
    sizes = policy.layer_sizes
    weights = policy.theta[: bnn.num_weights(sizes)]  # (D,)
    scaled = observations / policy.observation_scale
    for part in in_parts(scaled):
        yield tanh_pass(weights, with_ones(part)[0], sizes)


# ------------------------------------------------------------ policy steps


def or_definition(twin: Step) -> Step:
    """The twin for the policies that it knows, its definition for any other kind."""
    definition = getattr(agents, twin.__name__)

    @wraps(twin)
    def step(policy: Any, *rows: Any, **settings: Any) -> Any:
        function = twin if type(policy) in ROWS_OF else definition
        return function(policy, *rows, **settings)

    return cast(Step, step)


@or_definition
def policy_gradient_step(
    policy: Any,
    observations: Array,
    actions: Array,
    advantages: Array,
    *,
    learning_rate: float,
    entropy_weight: float,
) -> Any:
    """`agents_ref.policy_gradient_step`, which serves any other kind of policy."""
    check_positive("learning_rate", learning_rate, ())
    check_number("entropy_weight", entropy_weight)
    rows = check_policy_batch(policy, observations, actions, advantages)

    # Uphill.
    count = len(rows.advantages)
    weights = rows.advantages / count
    beta = entropy_weight / count
    old = on_rows(policy, rows.observations)
    uphill = old.gradient(rows.actions, weights, beta)
    theta = policy.theta + learning_rate * uphill
    return replace(policy, theta=theta)


@or_definition
def trpo_step(
    policy: Any,
    observations: Array,
    actions: Array,
    advantages: Array,
    *,
    max_kl: float = 0.01,
    damping: float = 1e-5,
    fisher_every: int = 1,
    cg_iterations: int = 10,
    backtracks: int = 15,
    shrink: float = 0.5,
) -> Any:
    """`agents_ref.trpo_step`, which serves any other kind of policy.

    ∇²KL[old‖new] at new = old is the Fisher matrix, here in closed form.
    """
    rows = check_policy_batch(policy, observations, actions, advantages)
    fisher_every = check_count("fisher_every", fisher_every)
    fractions = agents.step_fractions(shrink, backtracks)

    # The natural-gradient step.
    old = on_rows(policy, rows.observations)
    weights = rows.advantages / len(rows.advantages)
    few = rows.observations[::fisher_every]
    curved = old if fisher_every == 1 else on_rows(policy, few)
    step = natural_step(
        old.gradient(rows.actions, weights, 0.0),
        curved.fisher_product,
        max_kl=max_kl,
        damping=damping,
        iterations=cg_iterations,
    )
    return first_accepted(old, rows, fractions[:, None] * step, max_kl)


def first_accepted(old: Any, rows: PolicyBatch, steps: Array, max_kl: float) -> Any:
    """The policy after the first step that is accepted, or as it is."""
    policy = old.policy
    if not steps.any():
        return policy
    surrogate = np.mean(rows.advantages)
    old_log_prob = old.log_prob(rows.actions)  # (N,)

    # The policy's outputs after each step serve both.
    for step in steps:
        stepped = replace(policy, theta=policy.theta + step)
        new = on_rows(stepped, rows.observations, outputs_only=True)
        log_prob = new.log_prob(rows.actions)  # (N,)
        ratio = np.exp(log_prob - old_log_prob)
        higher = np.mean(ratio * rows.advantages) > surrogate
        if higher and np.mean(old.kl(new)) <= max_kl:
            return stepped
    return policy


# ------------------------------------------------------------ the value function


def value_fit(
    value: ValueFunction,
    observations: Array,
    returns: Array,
    *,
    max_iterations: int = 20,
) -> ValueFunction:
    """`agents_ref.value_fit`, the gradient by hand."""
    max_iterations = check_count("max_iterations", max_iterations)
    new, observations, returns = agents.in_units(value, observations, returns)
    if new.scale == 0.0:
        return new

    # The rows, some at a time.
    centered = observations - new.observation_center
    inputs = in_parts(centered / new.observation_scale)
    parts = [with_ones(part)[0] for part in inputs]

    result = minimize(
        value_loss,
        new.theta,
        (new, parts, in_parts(returns)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations},
    )
    return replace(new, theta=result.x)


def value_loss(
    theta: Array, value: ValueFunction, parts: Parts, returns: Parts
) -> tuple[float, Array]:
    """Mean of e², e the errors in units of their scale, and its gradient Jᵀ(2e/N)."""
    count = sum(len(part) for part in parts)
    loss = 0.0
    gradient = np.zeros(len(theta))
    for part, target in zip(parts, returns):
        # Forward.
        passed = tanh_pass(theta, part, value.layer_sizes)
        outputs = passed.outputs[:, 0]
        values = value.center + value.scale * outputs
        check_finite("values", values)
        errors = (values - target) / value.scale
        loss += float(np.sum(errors**2)) / count

        # Backward.
        delta = 2.0 / count * errors[:, None]  # (n, 1)
        gradient += reverse_mode(passed, delta)
    return loss, gradient


# ------------------------------------------------------------ acting


def actor(policy: Any) -> Act:
    """`policy.sample` as a function for few rows, without checks of its arguments.

    The Gaussian's actions are equal bit for bit. A categorical action can differ only if
    the noise is within rounding of a cumulative probability. Any other kind of policy
    acts by its own `sample`.
    """
    agents.check_methods("policy", policy, "sample")
    if type(policy) is GaussianPolicy:
        return gaussian_actor(policy)
    if type(policy) is CategoricalPolicy:
        return categorical_actor(policy)
    return policy.sample


def network_of(policy: Any) -> Callable[[Array], Array]:
    """The policy's network, (N, K) -> (N, A), its weights cut once."""
    sizes = policy.layer_sizes
    weights = policy.theta[: bnn.num_weights(sizes)]  # (D,)
    blocks = blocks_of(weights, sizes)  # (I + 1, O) each
    layers = [(block[:-1], block[-1]) for block in blocks]
    scale = policy.observation_scale

    # In place, except for the products.
    def outputs(observations: Array) -> Array:
        z = observations / scale
        for layer, (matrix, bias) in enumerate(layers):
            h = np.tanh(z, out=z) if layer > 0 else z
            z = h @ matrix  # (N, O)
            z += bias
        return z

    return outputs


def gaussian_actor(policy: GaussianPolicy) -> Act:
    """m + σ ⊙ noise, (N, A), in the definition's order of operations."""
    network = network_of(policy)
    center = policy.action_center
    scale = policy.action_scale
    log_std = policy.theta[-policy.layer_sizes[-1] :]
    sigma = np.exp(log_std + np.log(scale))  # (A,)

    def act(observations: Array, noise: Array) -> Array:
        actions = network(observations)  # (N, A)
        actions *= scale
        actions += center
        actions += sigma * noise
        return actions

    return act


def categorical_actor(policy: CategoricalPolicy) -> Act:
    """The first action whose cumulative weight e^z exceeds the noise's share, (N,)."""
    network = network_of(policy)

    def act(observations: Array, noise: Array) -> Array:
        z = network(observations)  # (N, A)
        z -= z.max(axis=-1, keepdims=True)  # (N, 1)
        cumulative = np.exp(z).cumsum(axis=-1)  # (N, A)
        total = check_finite("activations", cumulative[:, -1])
        share = noise * total  # (N,)
        below = cumulative[:, :-1] <= share[:, None]
        return below.sum(axis=-1)  # (N,)

    return act


# ------------------------------------------------------------ sampling


def rollout(
    envs: Envs,
    policy: Any,
    num_steps: int,
    streams: Streams,
) -> tuple[Batch, Array]:
    """`agents_ref.rollout`, with the policy as `actor` has it."""
    n, num_steps = agents.check_rollout(envs, policy, num_steps, streams)
    acting = SimpleNamespace(draw_noise=policy.draw_noise, sample=actor(policy))
    steps = agents.interaction(envs, acting, streams)
    return agents.whole_paths([*counted(steps, n, num_steps)])


def counted(steps: Steps, num_envs: int, num_steps: int) -> Steps:
    """Steps, cut at num_steps, with a column that says where they count.

    The count changes at an event only: an end, a first step or a cut.
    """
    running = np.ones(num_envs, bool)
    starts = np.zeros(num_envs)  # of episodes
    counts = np.zeros(num_envs)  # of rows
    took = running
    event = num_steps - 1.0
    for step, (*row, terminated, truncated) in enumerate(steps):
        counts += took
        ends = terminated | truncated
        if step < event and not ends.any():
            yield *row, terminated, truncated, took
            continue

        # Some episodes end.
        last = starts + num_steps - 1.0
        cut = truncated | (~terminated & (step == last))
        yield *row, terminated, cut, took

        # The next ones.
        ended = terminated | cut
        running = running & (~ended | (num_envs * counts < num_steps))
        if not running.any():
            return
        starts = np.where(ended, step + 2, starts)
        took = running & (starts <= step + 1)
        first_cut = np.min(last[running])
        event = step + 1 if ended.any() else first_cut


# ------------------------------------------------------------ argument checks


def check_activations(z: Array) -> None:
    """Raise ValueError unless all are finite."""
    flat = z.ravel("K")  # in the order of memory, where it is no copy
    if not np.vdot(flat, flat) < np.inf:
        check_finite("activations", z)


def check_gains(
    q: DiagNormal,
    inputs: Array,
    targets: Array,
    layer_sizes: Sizes,
    likelihood_sigma: Sigma,
    step_size: float,
    method: str,
) -> bnn.Data:
    bnn.check_choice("method", method, ("taylor", "exact"))
    check_positive("step_size", step_size, ())
    bnn.check_curved(q)
    return bnn.check_data(q, inputs, targets, layer_sizes, likelihood_sigma)


def check_policy_batch(
    policy: Any, observations: Array, actions: Array, advantages: Array
) -> PolicyBatch:
    """The rows of a Gaussian or a categorical policy."""
    advantages = agents.check_policy_rows(policy, observations, advantages)
    count = len(advantages)
    inputs, *_, outputs = policy.layer_sizes
    rows = check_array("observations", observations, (count, inputs))
    if type(policy) is GaussianPolicy:
        given = check_array("actions", actions, (count, outputs))
        return PolicyBatch(rows, given, advantages)
    check_array("actions", actions, (count,))
    indices = check_indices("actions", actions, outputs)
    return PolicyBatch(rows, indices, advantages)


# ------------------------------------------------------------ what `help` shows

__all__ = [
    "elbo_grad", "elbo_grad_local", "fit",
    "information_gains", "information_gains_local",
    "policy_gradient_step", "trpo_step", "value_fit", "actor", "rollout",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

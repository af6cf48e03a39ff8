"""All operations in JAX, written from docs/operations.md and the vectors alone."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

LOG_2PI = math.log(2 * math.pi)
LN2_HIGH, LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17


# Inputs


def to_array(name, value):
    """Return a float64 array without NaN."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be numbers")
        array = array.astype(np.float64)
    except TypeError as error:
        raise ValueError(f"{name} must be numbers") from error
    if np.isnan(array).any():
        raise ValueError(f"{name} must not be NaN")
    return array


def fit_axes(name, array, axes, dims):
    """Check the axes of an array, one letter each; an empty list lacks its later axes."""
    known = array.shape
    if array.size == 0 and 0 < array.ndim < len(axes):
        array = np.zeros(
            known + tuple(dims.get(axis, 0) for axis in axes[array.ndim :])
        )
    if array.ndim != len(axes):
        raise ValueError(f"{name} must have the axes ({', '.join(axes)})")
    for axis, length in zip(axes, known, strict=False):
        if dims.setdefault(axis, length) != length:
            raise ValueError(
                f"{name} must have {dims[axis]} along {axis}, not {length}"
            )
    return array


def numbers(name, value, axes=None, dims=None):
    """Return a finite array, with the axes if they are given."""
    array = to_array(name, value)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return (
        array
        if axes is None
        else fit_axes(name, array, axes, {} if dims is None else dims)
    )


def positive(name, value, axes=None, dims=None):
    """Return a finite array of numbers above 0."""
    array = numbers(name, value, axes, dims)
    if (array <= 0).any():
        raise ValueError(f"{name} must be > 0")
    return array


def at_least(name, value, low, axes=None, dims=None):
    """Return a finite array of numbers that are not below low."""
    array = numbers(name, value, axes, dims)
    if (array < low).any():
        raise ValueError(f"{name} must be >= {low}")
    return array


def between(name, value, low, high, axes=None, dims=None):
    """Return a finite array of numbers from low to high."""
    array = at_least(name, value, low, axes, dims)
    if (array > high).any():
        raise ValueError(f"{name} must be from {low} to {high}")
    return array


def number(name, value, low=-math.inf, high=math.inf):
    """Return a finite number from low to high."""
    return float(between(name, value, low, high, ""))


def positive_number(name, value):
    """Return a finite number above 0."""
    return float(positive(name, value, ""))


def whole(name, value, low):
    """Return a whole number that is not below low."""
    result = number(name, value, low)
    if result != math.floor(result):
        raise ValueError(f"{name} must be a whole number")
    return int(result)


def wholes(name, value, axes, dims, high=None):
    """Return an array of whole numbers from 0, to high if it is given."""
    array = at_least(name, value, 0, axes, dims)
    if (array != np.floor(array)).any():
        raise ValueError(f"{name} must be whole numbers")
    if high is not None and (array > high).any():
        raise ValueError(f"{name} must be at most {high}")
    return array.astype(np.int64)


def flags(name, value):
    """Return an array of flags; 0 and 1 count as flags."""
    array = to_array(name, value)
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be flags")
    return array.astype(bool)


def flag(name, value):
    """Return one flag."""
    return bool(fit_axes(name, flags(name, value), "", {}))


def choice(name, value, options):
    """Return a text that is one of the options."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {options}")
    return value


def not_empty(dims, *axes):
    """Demand that axes have a length of at least 1."""
    for axis in axes:
        if dims.get(axis, 1) < 1:
            raise ValueError(f"{axis} must be >= 1")


def array_list(name, value, count=None):
    """Return a list of arrays, as many as count."""
    if (
        not isinstance(value, (list, tuple, np.ndarray))
        or np.ndim(value[0] if len(value) else [0]) == 0
    ):
        raise ValueError(f"{name} must be a list of arrays")
    if count is not None and len(value) != count:
        raise ValueError(f"{name} must have {count} arrays")
    return list(value)


def finite(*results):
    """Return results as NumPy arrays; reject what overflowed."""
    arrays = [np.asarray(result) for result in results]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("the result overflows")
    return arrays[0] if len(arrays) == 1 else arrays


def rho_array(name, value, axes="D", dims=None):
    """Return parameters ρ, not below -700."""
    return at_least(name, value, -700, axes, dims)


# Softplus and KL


@jax.custom_jvp
def sigma_of(rho):
    """Return softplus(ρ)."""
    return jnp.maximum(rho, 0) + jnp.log1p(jnp.exp(-jnp.abs(rho)))


@sigma_of.defjvp
def sigma_of_jvp(primals, tangents):
    """Differentiate softplus."""
    return sigma_of(*primals), sigmoid(*primals) * tangents[0]


def sigmoid(x):
    """Return 1/(1 + e^−x) without overflow."""
    small = jnp.exp(-jnp.abs(x))
    return jnp.where(x >= 0, 1.0, small) / (1 + small)


@jax.custom_jvp
def sigma_gap(rho_q, rho_p):
    """Return softplus(ρ_q) − softplus(ρ_p), with all digits where both almost agree."""
    low, distance = jnp.minimum(rho_q, rho_p), jnp.abs(rho_q - rho_p)
    near = jnp.log1p(sigmoid(low) * jnp.expm1(jnp.minimum(distance, 700.0)))
    far = sigma_of(low + distance) - sigma_of(low)
    return jnp.sign(rho_q - rho_p) * jnp.where(distance > 700, far, near)


@sigma_gap.defjvp
def sigma_gap_jvp(primals, tangents):
    """Differentiate the difference of two softplus."""
    slope = sigmoid(primals[0]) * tangents[0] - sigmoid(primals[1]) * tangents[1]
    return sigma_gap(*primals), slope


def log_ratio(sigma_q, sigma_p):
    """Return log(σ_q/σ_p), also if the fraction underflows."""
    ratio = sigma_q / sigma_p
    normal = ratio > 1e-290
    return jnp.where(
        normal,
        jnp.log(jnp.where(normal, ratio, 1.0)),
        jnp.log(sigma_q) - jnp.log(sigma_p),
    )


@jax.jit
def kl_sum(shift, d, log_sigmas):
    """Return ½·Σ [(r − log(1 + r)) + shift²] over the last axis, r = d·(2 + d)."""
    r = d * (2 + d)
    near = jnp.abs(r) < 0.25
    u = jnp.where(near, r / (2 + r), 0.0)
    series = jnp.zeros_like(u)
    for k in reversed(range(10)):
        series = series * u * u + 1 / (2 * k + 3)
    close = jnp.where(near, r, 0.0) * u - 2 * u**3 * series
    return 0.5 * jnp.sum(
        jnp.where(near, close, r - 2 * log_sigmas) + shift * shift, axis=-1
    )


@jax.jit
def kl_rho(mu_q, rho_q, mu_p, rho_p):
    """Return KL(μ_q, softplus(ρ_q), μ_p, softplus(ρ_p))."""
    sigma_q, sigma_p = sigma_of(rho_q), sigma_of(rho_p)
    d = sigma_gap(rho_q, rho_p) / sigma_p
    return kl_sum((mu_q - mu_p) / sigma_p, d, log_ratio(sigma_q, sigma_p))


@jax.jit
def kl_taylor_of(rho, delta_mu, delta_rho):
    """Return the KL of a step (Δμ, Δρ) from ρ to second order."""
    sigma = sigma_of(rho)
    return jnp.sum(
        0.5 * (delta_mu / sigma) ** 2 + (delta_rho * (sigmoid(rho) / sigma)) ** 2,
        axis=-1,
    )


@jax.jit
def kl_sigma(mu_q, sigma_q, mu_p, sigma_p):
    """Return KL(μ_q, σ_q, μ_p, σ_p)."""
    d, logs = (sigma_q - sigma_p) / sigma_p, log_ratio(sigma_q, sigma_p)
    return kl_sum(*jnp.broadcast_arrays((mu_q - mu_p) / sigma_p, d, logs))


def softplus(rho):
    """Return σ = softplus(ρ)."""
    return finite(sigma_of(numbers("rho", rho)))


def softplus_inverse(sigma):
    """Return ρ = log(e^σ − 1); near its zero at log 2, log1p(2·expm1(σ − log 2))."""
    sigma = positive("sigma", sigma)
    middle = (sigma > 0.35) & (sigma < 1.4)
    distance = np.where(middle, (sigma - LN2_HIGH) - LN2_LOW, 0.0)
    outside = sigma + np.log(-np.expm1(-sigma))
    return finite(np.where(middle, np.log1p(2 * np.expm1(distance)), outside))


def kl_diag_normal(mu_q, sigma_q, mu_p, sigma_p):
    """Return the KL of diagonal normals, summed over the last axis."""
    mu_q, mu_p = numbers("mu_q", mu_q), numbers("mu_p", mu_p)
    sigma_q, sigma_p = positive("sigma_q", sigma_q), positive("sigma_p", sigma_p)
    arrays = (mu_q, sigma_q, mu_p, sigma_p)
    if (
        any(array.ndim == 0 for array in arrays)
        or len({array.shape[-1] for array in arrays}) != 1
    ):
        raise ValueError("all must have the same last axis")
    np.broadcast_shapes(*(array.shape for array in arrays))
    return finite(kl_sigma(*arrays))


def weights_of(mu, rho, dims=None):
    """Return μ and ρ of one length."""
    dims = {} if dims is None else dims
    return numbers("mu", mu, "D", dims), rho_array("rho", rho, "D", dims)


@jax.jit
def hessian(rho):
    """Return h_mu and h_rho."""
    sigma = sigma_of(rho)
    return 1 / (sigma * sigma), 2 * (sigmoid(rho) / sigma) ** 2


def kl_hessian_diag(mu, rho):
    """Return the diagonal of the Hessian of the KL."""
    h_mu, h_rho = finite(*hessian(weights_of(mu, rho)[1]))
    return {"h_mu": h_mu, "h_rho": h_rho}


def kl_taylor(mu, rho, delta_mu, delta_rho):
    """Return the second order of the KL of a move."""
    dims = {}
    mu, rho = weights_of(mu, rho, dims)
    delta_mu = numbers("delta_mu", delta_mu, "D", dims)
    delta_rho = numbers("delta_rho", delta_rho, "D", dims)
    return finite(kl_taylor_of(rho, delta_mu, delta_rho))


def information_gain(mu_new, rho_new, mu_old, rho_old):
    """Return KL[new‖old] of flat weights."""
    dims = {}
    mu_new, mu_old = (
        numbers("mu_new", mu_new, "D", dims),
        numbers("mu_old", mu_old, "D", dims),
    )
    rho_new, rho_old = (
        rho_array("rho_new", rho_new, "D", dims),
        rho_array("rho_old", rho_old, "D", dims),
    )
    return finite(kl_rho(mu_new, rho_new, mu_old, rho_old))


# Networks


def sizes_of(layer_sizes):
    """Return the layer sizes and the lengths D, I and O."""
    sizes = tuple(wholes("layer_sizes", layer_sizes, "L", {}).tolist())
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError("layer_sizes must be two or more, each >= 1")
    count = sum((before + 1) * after for before, after in itertools.pairwise(sizes))
    return sizes, {"D": count, "I": sizes[0], "O": sizes[-1]}


def layers(flat, sizes):
    """Yield the matrix and the bias of each layer of flat weights (..., D)."""
    start = 0
    for before, after in itertools.pairwise(sizes):
        end = start + before * after
        yield (
            flat[..., start:end].reshape(*flat.shape[:-1], before, after),
            flat[..., end : end + after],
        )
        start = end + after


def relu(z):
    """Return max(z, 0), with the derivative 0 at 0."""
    return jnp.where(z > 0, z, 0.0)


@functools.partial(jax.jit, static_argnames="sizes")
def network(theta, x, sizes):
    """Return z_l of all layers, (S, N, O_l) each, for weights (S, D)."""
    h, zs = x, []
    for matrix, bias in layers(theta, sizes):
        zs.append(jnp.matmul(h, matrix) + bias[:, None, :])
        h = relu(zs[-1])
    return zs


@functools.partial(jax.jit, static_argnames="sizes")
def local_network(mu, rho, x, zeta, sizes):
    """Return z_l of all layers, (S, N, O_l) each, with noise of the pre-activations."""
    h, zs = x, []
    variances = layers(sigma_of(rho) ** 2, sizes)
    for (matrix, bias), (spread, bias_spread), noise in zip(
        layers(mu, sizes), variances, zeta, strict=True
    ):
        mean = jnp.matmul(h, matrix) + bias
        zs.append(mean + jnp.sqrt(jnp.matmul(h * h, spread) + bias_spread) * noise)
        h = relu(zs[-1])
    return zs


def predictions(mu, rho, x, noise, sizes):
    """Return z_l of all layers; a tuple of noise is ζ, an array is ε."""
    if isinstance(noise, tuple):
        return local_network(mu, rho, x, noise, sizes)
    return network(mu + sigma_of(rho) * noise, x, sizes)


@jax.jit
def log_density(x, mean, sigma):
    """Return log N(x; mean, sigma)."""
    return -0.5 * LOG_2PI - jnp.log(sigma) - 0.5 * ((x - mean) / sigma) ** 2


def eps_of(eps, dims):
    """Return ε, (S, D)."""
    eps = numbers("eps", eps, "SD", dims)
    not_empty(dims, "S")
    return jnp.asarray(eps)


def zeta_of(zeta, sizes, dims):
    """Return ζ, one (S, N, O_l) for each layer."""
    arrays = array_list("zeta", zeta, len(sizes) - 1)
    result = []
    for array, size in zip(arrays, sizes[1:], strict=True):
        shared = {"S": dims["S"]} if "S" in dims else {}
        shared |= {"N": dims["N"], "O": size}
        result.append(jnp.asarray(numbers("zeta", array, "SNO", shared)))
        dims["S"] = shared["S"]
    not_empty(dims, "S")
    return tuple(result)


def likelihood_sigma_of(likelihood_sigma, dims):
    """Return σ_l, () or (O,)."""
    sigma = positive("likelihood_sigma", likelihood_sigma)
    if sigma.shape not in ((), (dims["O"],)):
        raise ValueError("likelihood_sigma must be a scalar or (O,)")
    return sigma


def mlp(theta, inputs, layer_sizes):
    """Return the outputs of S networks."""
    sizes, dims = sizes_of(layer_sizes)
    theta = numbers("theta", theta, "SD", dims)
    inputs = numbers("inputs", inputs, "NI", dims)
    zs = network(jnp.asarray(theta), jnp.asarray(inputs), sizes)
    finite(*zs, 0.0)
    return np.asarray(zs[-1])


def sample_weights(mu, rho, eps):
    """Return S samples of the weights."""
    dims = {}
    mu, rho = weights_of(mu, rho, dims)
    return finite(mu + sigma_of(rho) * eps_of(eps, dims))


def mlp_local(mu, rho, inputs, zeta, layer_sizes):
    """Return the outputs of the local network."""
    sizes, dims = sizes_of(layer_sizes)
    mu, rho = weights_of(mu, rho, dims)
    inputs = numbers("inputs", inputs, "NI", dims)
    zs = local_network(
        jnp.asarray(mu), jnp.asarray(rho), inputs, zeta_of(zeta, sizes, dims), sizes
    )
    finite(*zs, 0.0)
    return np.asarray(zs[-1])


def normal_log_density(x, mean, sigma):
    """Return log N(x; mean, sigma) elementwise."""
    x, mean, sigma = numbers("x", x), numbers("mean", mean), positive("sigma", sigma)
    np.broadcast_shapes(x.shape, mean.shape, sigma.shape)
    return finite(log_density(jnp.asarray(x), mean, sigma))


def log_likelihood(outputs, targets, likelihood_sigma):
    """Return the log likelihood of each sample and row."""
    dims = {}
    targets = numbers("targets", targets, "NO", dims)
    outputs = numbers("outputs", outputs, "SNO", dims)
    sigma = likelihood_sigma_of(likelihood_sigma, {"O": outputs.shape[-1]} | dims)
    return finite(jnp.sum(log_density(targets, jnp.asarray(outputs), sigma), axis=-1))


def rows_of(mu, rho, inputs, targets, noise, layer_sizes, likelihood_sigma, rows=None):
    """Return the checked inputs that all operations with a likelihood share; noise is (name, value)."""
    sizes, dims = sizes_of(layer_sizes)
    if rows is not None:
        dims["N"] = rows
    mu, rho = weights_of(mu, rho, dims)
    x, y = (
        numbers("inputs", inputs, "NI", dims),
        numbers("targets", targets, "NO", dims),
    )
    not_empty(dims, "N")
    name, value = noise
    noise = eps_of(value, dims) if name == "eps" else zeta_of(value, sizes, dims)
    sigma = likelihood_sigma_of(likelihood_sigma, dims)
    arrays = map(jnp.asarray, (mu, rho, x, y))
    return (*arrays, noise, sizes, jnp.asarray(sigma))


@jax.jit
def log_mean_density(y, z, sigma):
    """Return the log of the density of y averaged over the samples."""
    logs = jnp.sum(log_density(y, z, sigma), axis=-1)
    top = jnp.max(logs, axis=0)
    return top + jnp.log(jnp.sum(jnp.exp(logs - top), axis=0)) - math.log(len(logs))


def predictive_log_density(
    mu, rho, inputs, targets, eps, layer_sizes, likelihood_sigma
):
    """Return the log of the density averaged over the samples."""
    args = rows_of(
        mu, rho, inputs, targets, ("eps", eps), layer_sizes, likelihood_sigma
    )
    mu, rho, x, y, noise, sizes, sigma = args
    zs = predictions(mu, rho, x, noise, sizes)
    finite(*zs, 0.0)
    return finite(log_mean_density(y, zs[-1], sigma))


# Bound, gains and posteriors


def fits(mu, rho, x, y, noise, sizes, sigma):
    """Return fit_n of each row."""
    z = predictions(mu, rho, x, noise, sizes)[-1]
    return jnp.mean(jnp.sum(log_density(y, z, sigma), axis=-1), axis=0)


@functools.partial(jax.jit, static_argnames="sizes")
def bound(mu, rho, prior_mu, prior_rho, x, y, noise, sizes, sigma, num_data):
    """Return the lower bound of a minibatch."""
    evidence = num_data / len(x) * jnp.sum(fits(mu, rho, x, y, noise, sizes, sigma))
    return evidence - kl_rho(mu, rho, prior_mu, prior_rho)


def bound_inputs(
    mu,
    rho,
    prior_mu,
    prior_rho,
    inputs,
    targets,
    noise,
    layer_sizes,
    likelihood_sigma,
    num_data,
):
    """Return the checked inputs of bound."""
    args = rows_of(mu, rho, inputs, targets, noise, layer_sizes, likelihood_sigma)
    dims = {"D": len(args[0])}
    prior_mu = jnp.asarray(numbers("prior_mu", prior_mu, "D", dims))
    prior_rho = jnp.asarray(rho_array("prior_rho", prior_rho, "D", dims))
    return (
        *args[:2],
        prior_mu,
        prior_rho,
        *args[2:],
        positive_number("num_data", num_data),
    )


bound_slopes = jax.jit(jax.grad(bound, argnums=(0, 1)), static_argnums=7)


def bound_gradient(args):
    """Return the gradient of bound."""
    grad_mu, grad_rho = finite(*bound_slopes(*args))
    return {"grad_mu": grad_mu, "grad_rho": grad_rho}


def elbo(
    mu,
    rho,
    prior_mu,
    prior_rho,
    inputs,
    targets,
    eps,
    layer_sizes,
    likelihood_sigma,
    num_data,
):
    """Return the bound with ε."""
    priors, noise = (prior_mu, prior_rho), ("eps", eps)
    args = bound_inputs(
        mu,
        rho,
        *priors,
        inputs,
        targets,
        noise,
        layer_sizes,
        likelihood_sigma,
        num_data,
    )
    return finite(bound(*args))


def elbo_local(
    mu,
    rho,
    prior_mu,
    prior_rho,
    inputs,
    targets,
    zeta,
    layer_sizes,
    likelihood_sigma,
    num_data,
):
    """Return the bound with ζ."""
    priors, noise = (prior_mu, prior_rho), ("zeta", zeta)
    args = bound_inputs(
        mu,
        rho,
        *priors,
        inputs,
        targets,
        noise,
        layer_sizes,
        likelihood_sigma,
        num_data,
    )
    return finite(bound(*args))


def elbo_grad(
    mu,
    rho,
    prior_mu,
    prior_rho,
    inputs,
    targets,
    eps,
    layer_sizes,
    likelihood_sigma,
    num_data,
):
    """Return the gradient of the bound with ε."""
    priors, noise = (prior_mu, prior_rho), ("eps", eps)
    args = bound_inputs(
        mu,
        rho,
        *priors,
        inputs,
        targets,
        noise,
        layer_sizes,
        likelihood_sigma,
        num_data,
    )
    return bound_gradient(args)


def elbo_grad_local(
    mu,
    rho,
    prior_mu,
    prior_rho,
    inputs,
    targets,
    zeta,
    layer_sizes,
    likelihood_sigma,
    num_data,
):
    """Return the gradient of the bound with ζ."""
    priors, noise = (prior_mu, prior_rho), ("zeta", zeta)
    args = bound_inputs(
        mu,
        rho,
        *priors,
        inputs,
        targets,
        noise,
        layer_sizes,
        likelihood_sigma,
        num_data,
    )
    return bound_gradient(args)


def row_gradients(mu, rho, x, y, noise, sizes, sigma):
    """Return g_mu and g_rho of each row, (N, D)."""

    def loss(row, target, row_noise, mu, rho):
        return -fits(mu, rho, row[None], target[None], row_noise, sizes, sigma)[0]

    local = isinstance(noise, tuple)
    if local:
        noise = tuple(jnp.swapaxes(zeta, 0, 1)[:, :, None] for zeta in noise)
    gradient = jax.vmap(
        jax.grad(loss, argnums=(3, 4)), (0, 0, 0 if local else None, None, None)
    )
    return gradient(x, y, noise, mu, rho)


@functools.partial(jax.jit, static_argnames="sizes")
def newton_steps(mu, rho, x, y, noise, sizes, sigma, step):
    """Return Δμ and Δρ of each row's Newton step."""
    g_mu, g_rho = row_gradients(mu, rho, x, y, noise, sizes, sigma)
    deviation = sigma_of(rho)
    fraction = sigmoid(rho) / deviation
    return (
        -step * g_mu * deviation * deviation,
        -0.5 * step * g_rho / fraction / fraction,
    )


def newton_gains(args, step_size, method):
    """Return the gain of each row's Newton step."""
    choice("method", method, ("taylor", "exact"))
    delta_mu, delta_rho = newton_steps(*args, positive_number("step_size", step_size))
    mu, rho = args[:2]
    if method == "taylor":
        return finite(kl_taylor_of(rho, delta_mu, delta_rho))
    return finite(kl_rho(mu + delta_mu, rho + delta_rho, mu, rho))


def information_gains(
    mu, rho, inputs, targets, eps, layer_sizes, likelihood_sigma, step_size, method
):
    """Return the gain of each row with ε."""
    args = rows_of(
        mu, rho, inputs, targets, ("eps", eps), layer_sizes, likelihood_sigma
    )
    return newton_gains(args, step_size, method)


def information_gains_local(
    mu, rho, inputs, targets, zeta, layer_sizes, likelihood_sigma, step_size, method
):
    """Return the gain of each row with ζ."""
    args = rows_of(
        mu, rho, inputs, targets, ("zeta", zeta), layer_sizes, likelihood_sigma
    )
    return newton_gains(args, step_size, method)


def newton_step(args, step_size):
    """Return μ and ρ after the Newton step of the row."""
    delta_mu, delta_rho = newton_steps(*args, positive_number("step_size", step_size))
    mu, rho = finite(args[0] + delta_mu[0], args[1] + delta_rho[0])
    return {"mu": mu, "rho": rho}


def posterior_step(
    mu, rho, inputs, targets, eps, layer_sizes, likelihood_sigma, step_size
):
    """Return the posterior after one row with ε."""
    args = rows_of(
        mu, rho, inputs, targets, ("eps", eps), layer_sizes, likelihood_sigma, rows=1
    )
    return newton_step(args, step_size)


def posterior_step_local(
    mu, rho, inputs, targets, zeta, layer_sizes, likelihood_sigma, step_size
):
    """Return the posterior after one row with ζ."""
    args = rows_of(
        mu, rho, inputs, targets, ("zeta", zeta), layer_sizes, likelihood_sigma, rows=1
    )
    return newton_step(args, step_size)


@functools.partial(jax.jit, static_argnames="sizes")
def loss_gradients(mu, rho, mu_0, rho_0, x, y, noise, sizes, sigma):
    """Return the gradient of each row's loss at its own (μ, ρ)."""

    def loss(mu, rho, row, target):
        return (
            kl_rho(mu, rho, mu_0, rho_0)
            - fits(mu, rho, row[None], target[None], noise, sizes, sigma)[0]
        )

    return jax.vmap(jax.grad(loss, argnums=(0, 1)))(mu, rho, x, y)


def posterior_updates(
    mu,
    rho,
    inputs,
    targets,
    eps,
    layer_sizes,
    likelihood_sigma,
    num_steps,
    learning_rate,
):
    """Return the posterior of each row after plain gradient steps."""
    args = rows_of(
        mu, rho, inputs, targets, ("eps", eps), layer_sizes, likelihood_sigma
    )
    mu_0, rho_0, x = args[:3]
    rate, num_steps = (
        positive_number("learning_rate", learning_rate),
        whole("num_steps", num_steps, 1),
    )

    mu, rho = jnp.tile(mu_0, (len(x), 1)), jnp.tile(rho_0, (len(x), 1))
    for _ in range(num_steps):
        g_mu, g_rho = loss_gradients(mu, rho, *args)
        mu, rho = mu - rate * g_mu, rho - rate * g_rho
    mu, rho = finite(mu, rho)
    return {"mu": mu, "rho": rho}


# Rewards and returns


def normalize_gains(gains, history, window, statistic, include_current):
    """Divide gains by the mean of the last statistics."""
    dims = {}
    gains, history = (
        at_least("gains", gains, 0, "N", dims),
        at_least("history", history, 0, "k", {}),
    )
    not_empty(dims, "N")
    window, include = (
        whole("window", window, 1),
        flag("include_current", include_current),
    )
    median = choice("statistic", statistic, ("median", "mean")) == "median"
    current = (np.median(gains) if median else 0.0) or gains.mean()
    new_history = np.append(history, current) if current else history
    new_history = new_history[-window:].copy()
    used = new_history if include else history[-window:]
    divisor = (used.mean() if len(used) else 0.0) or 1.0
    return {"gains": finite(gains / divisor), "history": finite(new_history)}


def curious_rewards(rewards, gains, eta):
    """Return rewards with the bonus η·gains."""
    dims = {}
    rewards, gains = (
        numbers("rewards", rewards, "T", dims),
        numbers("gains", gains, "T", dims),
    )
    return finite(rewards + number("eta", eta, 0) * gains)


def discounted_returns(rewards, gamma, last_value):
    """Return discounted returns of one segment."""
    rewards, gamma = numbers("rewards", rewards, "T"), number("gamma", gamma, 0, 1)
    value, result = number("last_value", last_value), np.empty_like(rewards)
    for t in reversed(range(len(rewards))):
        value = rewards[t] + gamma * value
        result[t] = value
    return finite(result)


def gae_advantages(rewards, values, next_values, terminated, truncated, gamma, lam):
    """Return generalized advantage estimates."""
    dims = {}
    rewards, values = (
        numbers("rewards", rewards, "T", dims),
        numbers("values", values, "T", dims),
    )
    next_values = numbers("next_values", next_values, "T", dims)
    terminated = fit_axes("terminated", flags("terminated", terminated), "T", dims)
    truncated = fit_axes("truncated", flags("truncated", truncated), "T", dims)
    gamma, lam = number("gamma", gamma, 0, 1), number("lam", lam, 0, 1)
    advantages, trace = rewards + gamma * next_values * ~terminated - values, 0.0
    for t in reversed(range(len(rewards))):
        trace = 0.0 if terminated[t] or truncated[t] else trace
        trace = advantages[t] = advantages[t] + gamma * lam * trace
    return finite(advantages)


# Policies


def gaussian_inputs(mean, log_std, suffix="", dims=None):
    """Return means and log standard deviations."""
    dims = {} if dims is None else dims
    mean = numbers(f"mean{suffix}", mean, "NA", dims)
    log_std = between(f"log_std{suffix}", log_std, -700, 700, "A", dims)
    not_empty(dims, "N", "A")
    return jnp.asarray(mean), jnp.asarray(log_std)


@jax.jit
def row_log_density(actions, mean, log_std):
    """Return Σ_a log N(actions; mean, e^log_std) of each row."""
    return jnp.sum(
        -0.5 * LOG_2PI - log_std - 0.5 * ((actions - mean) / jnp.exp(log_std)) ** 2,
        axis=-1,
    )


def gaussian_log_prob(mean, log_std, actions):
    """Return log densities of actions."""
    dims = {}
    mean, log_std = gaussian_inputs(mean, log_std, "", dims)
    return finite(
        row_log_density(numbers("actions", actions, "NA", dims), mean, log_std)
    )


def gaussian_entropy(mean, log_std):
    """Return the entropy in each row."""
    mean, log_std = gaussian_inputs(mean, log_std)
    return finite(jnp.full(len(mean), jnp.sum(0.5 * (LOG_2PI + 1) + log_std)))


def gaussian_kl(mean_old, log_std_old, mean_new, log_std_new):
    """Return KL[old‖new] of each row."""
    dims = {}
    mean_old, log_old = gaussian_inputs(mean_old, log_std_old, "_old", dims)
    mean_new, log_new = gaussian_inputs(mean_new, log_std_new, "_new", dims)
    logs = log_old - log_new
    d = jnp.where(
        jnp.abs(logs) < 1, jnp.expm1(logs), jnp.exp(log_old) / jnp.exp(log_new) - 1
    )
    return finite(kl_sum((mean_old - mean_new) / jnp.exp(log_new), d, logs))


@jax.jit
def log_softmax(logits):
    """Return log p of each row; the largest term of the sum is left to log1p."""
    best = jnp.argmax(logits, axis=-1, keepdims=True)
    shifted = logits - jnp.take_along_axis(logits, best, axis=-1)
    others = jnp.where(jnp.arange(logits.shape[-1]) == best, 0.0, jnp.exp(shifted))
    return shifted - jnp.log1p(jnp.sum(others, axis=-1, keepdims=True))


def logits_of(name, logits, dims):
    """Return log p of (N, A) logits."""
    logits = numbers(name, logits, "NA", dims)
    if len(logits) == 0:
        return jnp.zeros((0, max(1, logits.shape[1])))
    not_empty(dims, "A")
    return log_softmax(jnp.asarray(logits))


def categorical_log_prob(logits, actions):
    """Return log probabilities of actions."""
    dims = {}
    logs = logits_of("logits", logits, dims)
    actions = wholes("actions", actions, "N", dims, logs.shape[1] - 1)
    return finite(
        jnp.take_along_axis(logs, jnp.asarray(actions)[:, None], axis=-1)[:, 0]
    )


def categorical_entropy(logits):
    """Return the entropy of each row."""
    logs = logits_of("logits", logits, {})
    p = jnp.exp(logs)
    return finite(-jnp.sum(jnp.where(p > 0, p * logs, 0.0), axis=-1))


def categorical_kl(logits_old, logits_new):
    """Return KL[old‖new] of each row."""
    dims = {}
    old, new = (
        logits_of("logits_old", logits_old, dims),
        logits_of("logits_new", logits_new, dims),
    )
    p = jnp.exp(old)
    return finite(jnp.sum(jnp.where(p > 0, p * (old - new), 0.0), axis=-1))


# Replay


def replay_transitions(observations, actions):
    """Return one row for each step of each episode."""
    observations = array_list("observations", observations)
    actions, dims = array_list("actions", actions, len(observations)), {}
    if not observations:
        raise ValueError("there must be an episode")
    rows = []
    for observed, acted in zip(observations, actions, strict=True):
        observed, acted = (
            to_finite_rows("observations", observed, "K", dims),
            to_finite_rows("actions", acted, "A", dims),
        )
        if len(observed) != len(acted) + 1:
            raise ValueError("an episode has one observation more than actions")
        if len(acted):
            rows.append((observed[:-1], acted, observed[1:]))
    columns = (
        zip(*rows, strict=True) if rows else ([np.zeros((0, 0))] for _ in range(3))
    )
    names = ("observations", "actions", "next_observations")
    return {
        name: np.concatenate(column)
        for name, column in zip(names, columns, strict=True)
    }


def to_finite_rows(name, value, axis, dims):
    """Return the rows of one episode."""
    own = {axis: dims[axis]} if axis in dims else {}
    array = numbers(name, value, "t" + axis, own)
    dims.update({axis: own[axis]} if axis in own else {})
    return array


def input_statistics(rows):
    """Return mean and deviation of each column."""
    dims = {}
    rows = numbers("rows", rows, "NK", dims)
    not_empty(dims, "N")
    center = rows.mean(axis=0)
    rest = rows - center
    correction = rest.mean(axis=0)
    rest = rest - correction
    top = np.maximum(np.abs(rest).max(axis=0), np.finfo(np.float64).tiny)
    scale = top * np.sqrt(np.mean((rest / top) ** 2, axis=0))
    scale = np.where(scale <= 1e-12 * np.abs(rows).max(axis=0), 1.0, scale)
    center, scale = finite(center + correction, scale)
    return {"center": center, "scale": scale}


# Counts and densities, in NumPy because XLA flushes subnormal numbers


def pseudo_count_of(gain, log_after):
    """Return N̂ from PG and log ρ′."""
    safe = np.where(gain > 0, gain, 1.0)
    count = -np.expm1(log_after) * np.exp(-safe) / -np.expm1(-safe)
    return np.where(gain > 0, count, np.inf)


def pseudo_count(log_prob, log_prob_after):
    """Return the pseudo-count of a density."""
    before, after = (
        to_array("log_prob", log_prob),
        numbers("log_prob_after", log_prob_after),
    )
    if before.shape != after.shape or (before > 0).any() or (after > 0).any():
        raise ValueError("log_prob and log_prob_after must have one shape, and be <= 0")
    return pseudo_count_of(after - before, after)


def pixel_cnn_pseudo_count(gain, num_seen, c):
    """Return the pseudo-count of a PixelCNN."""
    gain, num_seen = to_array("gain", gain), whole("num_seen", num_seen, 1)
    x = positive_number("c", c) * gain / math.sqrt(num_seen)
    safe = np.where(x > 0, x, 1.0)
    with np.errstate(over="ignore", under="ignore"):
        return np.where(x > 0, np.exp(-safe) / -np.expm1(-safe), np.inf)


def count_bonus(counts, beta):
    """Return beta/√(counts + 0.01)."""
    counts, beta = to_array("counts", counts), positive_number("beta", beta)
    if (counts < 0).any():
        raise ValueError("counts must be >= 0")
    return finite(beta / np.sqrt(counts + 0.01))


def dirichlet_log_prob(counts, alpha, observation):
    """Return the log probability of an observation."""
    dims = {}
    counts = between("counts", counts, 0, 2**53 - 1, "PK", dims)
    not_empty(dims, "P", "K")
    sums, alpha = (
        np.array([math.fsum(row) for row in counts]),
        number("alpha", alpha, 0, 1e100),
    )
    observation = wholes("observation", observation, "P", dims, counts.shape[1] - 1)
    if 0 < alpha < 1e-100 or (alpha == 0 and sums[0] == 0):
        raise ValueError("alpha must be > 0 before the first, and from 1e-100")
    if not np.allclose(sums, sums[0], rtol=1e-12, atol=0):
        raise ValueError("each pixel must have been seen as often")
    share = (counts[np.arange(len(counts)), observation] + alpha) / (
        sums[0] + counts.shape[1] * alpha
    )
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(share).sum())


def dirichlet_pseudo_counts(symbols, num_symbols, alpha):
    """Return the pseudo-count of each observation; both logarithms are sums of log1p."""
    num_symbols, alpha = (
        whole("num_symbols", num_symbols, 1),
        number("alpha", alpha, 1e-100, 1e100),
    )
    symbols = wholes("symbols", symbols, "TP", {}, num_symbols - 1)
    counts, pixels, result = (
        np.zeros((symbols.shape[1], num_symbols)),
        np.arange(symbols.shape[1]),
        [],
    )
    for t, row in enumerate(symbols):
        seen = counts[pixels, row]
        other = t - seen + (num_symbols - 1) * alpha
        gain = np.log1p(other / (seen + alpha) / (t + 1 + num_symbols * alpha)).sum()
        result.append(
            pseudo_count_of(gain, -np.log1p(other / (seen + 1 + alpha)).sum())
        )
        counts[pixels, row] += 1
    return np.array(result)


class ContextTree:
    """A tree of contexts over K symbols."""

    def __init__(self, num_symbols):
        self.num_symbols = num_symbols
        self.nodes = {}

    def learn(self, symbol, context, rate):
        """Return log P(symbol) in the context, then learn it."""
        path = [
            self.nodes.setdefault(context[:j], [{}, 0.5, 0.5])
            for j in range(len(context) + 1)
        ]
        own, rest = zip(*(self.estimate(node[0], symbol) for node in path), strict=True)
        below, other = own[-1], rest[-1]
        for j in reversed(range(len(context))):
            _, stay, split = path[j]
            stayed, went, other = (
                stay * own[j],
                split * below,
                stay * rest[j] + split * other,
            )
            below = stayed + went
            path[j][1:] = (
                ((1 - rate) * stayed + rate * went) / below,
                ((1 - rate) * went + rate * stayed) / below,
            )
        for counts, _, _ in path:
            counts[symbol] = counts.get(symbol, 0) + 1
        return math.log1p(-other) if other < 0.5 else math.log(below)

    def estimate(self, counts, symbol):
        """Return a node's probability of the symbol and of all others."""
        total, seen = sum(counts.values()), counts.get(symbol, 0)
        whole_count = total + self.num_symbols / 2
        return (seen + 0.5) / whole_count, (
            total - seen + (self.num_symbols - 1) / 2
        ) / whole_count


def rates_of(rate, count):
    """Return the switching rate at each t = 1 … count."""
    if rate is not None:
        return [number("rate", rate, 0, 0.5)] * count
    return [1 / (t + 1) for t in range(1, count + 1)]


def cts_log_probs(bits, depth, rate):
    """Return log P of each bit."""
    bits = wholes("bits", bits, "T", {}, 1).tolist()
    depth, rates, tree = (
        whole("depth", depth, 0),
        rates_of(rate, len(bits)),
        ContextTree(2),
    )
    past, result = [0] * depth, []
    for bit, a in zip(bits, rates, strict=True):
        result.append(tree.learn(bit, tuple(past), a))
        past = [bit, *past][:depth]
    return np.array(result)


def image_cts_log_probs(images, num_levels, rate):
    """Return log P of each image."""
    num_levels = whole("num_levels", num_levels, 2)
    images = wholes("images", images, "THW", {}, num_levels - 1)
    _, height, width = images.shape
    trees, result = {}, []
    for image, a in zip(images, rates_of(rate, len(images)), strict=True):
        padded, terms = np.pad(image, ((1, 0), (1, 1))).tolist(), []
        for y, x in itertools.product(range(height), range(width)):
            above, row = padded[y], padded[y + 1]
            tree = trees.setdefault((y, x), ContextTree(num_levels))
            terms.append(
                tree.learn(
                    row[x + 1], (row[x], above[x + 1], above[x], above[x + 2]), a
                )
            )
        result.append(math.fsum(terms))
    return np.array(result)


# Strategies


def values_of(q_values, name="q_values"):
    """Return the values of one state's actions."""
    dims = {}
    values = numbers(name, q_values, "A", dims)
    not_empty(dims, "A")
    return values


def epsilon_greedy(q_values, epsilon):
    """Return the probabilities of an ε-greedy strategy."""
    q, epsilon = values_of(q_values), number("epsilon", epsilon, 0, 1)
    best = q == q.max()
    return epsilon / len(q) + np.where(best, (1 - epsilon) / best.sum(), 0.0)


def boltzmann(q_values, temperature):
    """Return the probabilities of a Boltzmann strategy."""
    q = values_of(q_values)
    tau = None if temperature is None else positive_number("temperature", temperature)
    span = q.max() - q.min()
    scaled = (q - q.max()) / (span or 1.0)
    deviation = math.sqrt(np.mean((scaled - scaled.mean()) ** 2))
    if tau is None and deviation * span <= 1e-12 * np.abs(q).max():
        return np.full(len(q), 1 / len(q))
    with np.errstate(over="ignore", under="ignore"):
        p = np.exp(scaled / deviation if tau is None else (q - q.max()) / tau)
    return p / p.sum()


def visits_of(counts, length):
    """Return whole counts, one for each action."""
    return wholes("counts", counts, "A", {"A": length}).astype(np.float64)


def upper_bounds(values, counts, total, alpha):
    """Return values + α·√(2·ln total/counts), infinity where counts are 0."""
    seen = counts > 0
    bonus = alpha * np.sqrt(2 * math.log(max(total, 1)) / np.where(seen, counts, 1.0))
    return np.where(seen, finite(np.where(seen, values + bonus, 0.0)), np.inf)


def ucb1(means, counts, t):
    """Return the scores of UCB1."""
    means = values_of(means, "means")
    counts, t = visits_of(counts, len(means)), whole("t", t, 0)
    if counts.sum() != t:
        raise ValueError("t must be the sum of counts")
    return upper_bounds(means, counts, t, 1.0)


def ucb_state_action(q_values, counts, alpha):
    """Return the scores of one state's actions."""
    q = values_of(q_values)
    counts = visits_of(counts, len(q))
    return upper_bounds(q, counts, counts.sum(), number("alpha", alpha, 0))


def q_update(value, reward, next_values, terminated, truncated, learning_rate, gamma):
    """Return Q(s, a) after the step."""
    value, reward, next_values = (
        number("value", value),
        number("reward", reward),
        values_of(next_values, "next_values"),
    )
    terminated = flag("terminated", terminated)
    flag("truncated", truncated)
    rate, gamma = (
        positive_number("learning_rate", learning_rate),
        number("gamma", gamma, 0, 1),
    )
    if rate > 1:
        raise ValueError("learning_rate must be from 0 to 1")
    target = reward + (0.0 if terminated else gamma * next_values.max())
    return finite(value + rate * (target - value))


# Auxiliary tasks


def pixel_control_rewards(observations, cell_size):
    """Return the mean change of the pixels in each cell."""
    dims, c = {}, whole("cell_size", cell_size, 1)
    images = numbers("observations", observations, "THWC", dims)
    not_empty(dims, "H", "W", "C")
    steps, height, width, channels = len(images) - 1, *images.shape[1:]
    if steps < 1 or height % c or width % c:
        raise ValueError(
            "there must be a step, and height and width must be multiples of cell_size"
        )
    change = np.abs(np.diff(images, axis=0))
    return finite(
        change.reshape(steps, height // c, c, width // c, c, channels).mean(
            axis=(2, 4, 5)
        )
    )


def feature_control_rewards(activations):
    """Return the activations after each step."""
    activations = numbers("activations", activations, "TG")
    if len(activations) < 2:
        raise ValueError("there must be a step")
    return activations[1:]


def prefix_flags(name, value, rewards):
    """Return flags of the first axes of rewards, with axes for the others."""
    array = flags(name, value)
    if not 0 < array.ndim <= rewards.ndim or array.shape != rewards.shape[: array.ndim]:
        raise ValueError(f"{name} must have the first axes of rewards")
    return array.reshape(array.shape + (1,) * (rewards.ndim - array.ndim))


def bootstrapped(rewards, values, terminated, truncated, gamma):
    """Return R_t = rewards_t + γ·C_t."""
    terminated, truncated = (
        prefix_flags("terminated", terminated, rewards),
        prefix_flags("truncated", truncated, rewards),
    )
    gamma, result = number("gamma", gamma, 0, 1), np.empty_like(rewards)
    later = values[-1]
    for t in reversed(range(len(rewards))):
        later = np.where(terminated[t], 0.0, np.where(truncated[t], values[t], later))
        later = result[t] = rewards[t] + gamma * later
    return finite(result)


def step_rewards(rewards):
    """Return rewards with an axis of time that is not empty."""
    rewards = numbers("rewards", rewards)
    if rewards.ndim == 0 or len(rewards) == 0:
        raise ValueError("there must be a step")
    return rewards


def n_step_returns(rewards, next_values, terminated, truncated, gamma):
    """Return n-step returns that bootstrap V."""
    rewards, next_values = step_rewards(rewards), numbers("next_values", next_values)
    if next_values.shape != rewards.shape:
        raise ValueError("all must have T rows")
    return bootstrapped(rewards, next_values, terminated, truncated, gamma)


def n_step_q_targets(rewards, next_q_values, terminated, truncated, gamma):
    """Return n-step targets that bootstrap the best Q."""
    rewards, q = step_rewards(rewards), numbers("next_q_values", next_q_values)
    if q.shape[:-1] != rewards.shape or q.ndim != rewards.ndim + 1 or q.shape[-1] < 1:
        raise ValueError(
            "next_q_values must have the axes of rewards, then one of actions"
        )
    return bootstrapped(rewards, q.max(axis=-1), terminated, truncated, gamma)


def dueling(values, advantages):
    """Return Q of a dueling network."""
    values, advantages = numbers("values", values), numbers("advantages", advantages)
    if values.size == 0 and advantages.shape == values.shape:
        return np.zeros((*values.shape, 0))
    if (
        advantages.ndim != values.ndim + 1
        or advantages.shape[:-1] != values.shape
        or advantages.shape[-1] < 1
    ):
        raise ValueError("advantages must have the axes of values, then one of actions")
    return finite(
        values[..., None] + (advantages - advantages.mean(axis=-1, keepdims=True))
    )


def control_loss(q_values, actions, targets):
    """Return the loss of the auxiliary control."""
    dims = {}
    q = numbers("q_values", q_values, "TGA", dims)
    not_empty(dims, "T", "G", "A")
    actions = wholes("actions", actions, "T", dims, q.shape[-1] - 1)
    targets = numbers("targets", targets, "TG", dims)
    error = targets - q[np.arange(len(q)), :, actions]
    return finite(0.5 * np.sum(error**2) / len(q))


def reward_class(rewards):
    """Return the class of each reward."""
    return np.sign(numbers("rewards", rewards)) + 1.0


def windows_of(ended):
    """Return whether rows t − 2, t − 1 and t belong to one episode."""
    if ended.ndim == 0:
        raise ValueError("ended must have an axis of time")
    result = np.zeros(ended.shape, bool)
    result[2:] = ~ended[:-2] & ~ended[1:-1]
    return result


def reward_prediction_windows(ended):
    """Return 1 where a window of three rows ends."""
    return windows_of(flags("ended", ended)).astype(np.float64)


def sample_reward_windows(rewards, ended, coins, places):
    """Return the indices of sampled windows."""
    rewards, ended, dims = numbers("rewards", rewards), flags("ended", ended), {}
    coins, places = (
        at_least("coins", coins, 0, "N", dims),
        at_least("places", places, 0, "N", dims),
    )
    if rewards.ndim not in (1, 2) or ended.shape != rewards.shape:
        raise ValueError("there must be a flag for each reward")
    if (coins >= 1).any() or (places >= 1).any():
        raise ValueError("coins and places must be below 1")
    windows = np.argwhere(windows_of(ended))
    kinds = (
        windows[rewards[tuple(windows.T)] == 0],
        windows[rewards[tuple(windows.T)] != 0],
    )
    if len(windows) == 0:
        return np.zeros((0, rewards.ndim))
    chosen = [
        kinds[coin < 0.5] if len(kinds[coin < 0.5]) else kinds[coin >= 0.5]
        for coin in coins.tolist()
    ]
    rows = [
        kind[math.floor(place * len(kind))]
        for kind, place in zip(chosen, places.tolist(), strict=True)
    ]
    return np.array(rows, np.float64).reshape(-1, rewards.ndim)


@jax.jit
def lstm_states(gate_inputs, hidden, cell, weights):
    """Return hidden and cell state after one step."""
    i, f, o, g = jnp.split(gate_inputs + jnp.matmul(hidden, weights), 4, axis=-1)
    cell = sigmoid(f) * cell + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(cell), cell


def lstm_step(gate_inputs, hidden, cell, weights):
    """Return hidden and cell state after one step."""
    dims = {}
    hidden, cell = (
        numbers("hidden", hidden, "BH", dims),
        numbers("cell", cell, "BH", dims),
    )
    units = dims.get("H", hidden.shape[1])
    weights = numbers("weights", weights, "HG", dims)
    gate_inputs = numbers("gate_inputs", gate_inputs, "BG", dims)
    if len(hidden) and dims["G"] != 4 * units:
        raise ValueError("gate_inputs and weights must have 4H columns")
    if len(hidden) == 0:
        return {"hidden": hidden, "cell": cell}
    hidden, cell = finite(*lstm_states(gate_inputs, hidden, cell, weights))
    return {"hidden": hidden, "cell": cell}

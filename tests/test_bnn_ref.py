"""`bnn_ref` against exact posteriors, 50-digit arithmetic, integrals and slow definitions."""

import dataclasses
import doctest
import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import autograd
import autograd.extend
import autograd.numpy as anp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import expit, ndtri
from strategies import (
    GRADIENTS,
    Case,
    cases,
    finite,
    fit_by,
    gradient_of,
    layer_sizes,
    log_uniform,
    make_case,
    minibatches,
    noise_of,
    seeds,
)

import bnn_ref as bnn
import fast_ref as fast
from bnn_ref import DiagNormal

TAYLOR_STEPS = (1e-2, 1e-3, 1e-4)
signs = st.sampled_from([-1.0, 1.0])


@pytest.fixture(autouse=True)
def _fifty_digits() -> Any:
    with mp.workdps(50):
        yield


def relative_error(value: Any, exact: Any) -> float:
    return float(abs((mp.mpf(float(value)) - exact) / exact))


def within(values: Any, expected: Any, standard_error: Any, k: float = 4.0) -> bool:
    """Whether each value lies within k standard errors of what is expected."""
    return bool(
        np.all(np.abs(np.asarray(values) - expected) <= k * np.asarray(standard_error))
    )


def exact_softplus(rho: Any) -> Any:
    return mp.log1p(mp.exp(mp.mpf(rho)))


def exact_kl(mu_q: Any, sigma_q: Any, mu_p: Any, sigma_p: Any) -> Any:
    """The textbook sum, in as many digits as mpmath is set to."""
    total = mp.mpf(0)
    for m_q, s_q, m_p, s_p in zip(*map(np.ravel, (mu_q, sigma_q, mu_p, sigma_p))):
        ratio, move = (
            mp.mpf(s_q) / mp.mpf(s_p),
            (mp.mpf(m_q) - mp.mpf(m_p)) / mp.mpf(s_p),
        )
        total += (ratio**2 - 1 - 2 * mp.log(ratio) + move**2) / 2
    return total


def textbook_kl(mu_q: Any, sigma_q: Any, mu_p: Any, sigma_p: Any) -> Any:
    """The same sum in float64."""
    ratio, move = sigma_q / sigma_p, (mu_q - mu_p) / sigma_p
    return 0.5 * np.sum(ratio**2 - 1.0 - 2.0 * np.log(ratio) + move**2, axis=-1)


# ---------------------------------------------------------------- standard deviations


def test_doctests_of_the_module() -> None:
    results = doctest.testmod(bnn)
    assert results.attempted > 0
    assert results.failed == 0


@settings(max_examples=200)
@given(finite(-700.0, 1e4))
@example(-700.0)
@example(0.0)
@example(1e4)
def test_softplus_against_50_digits(rho: float) -> None:
    """Equation B1"""
    assert relative_error(bnn.softplus(rho), exact_softplus(rho)) <= 1e-15


def test_softplus_control_of_the_overflowing_form() -> None:
    """SoftplusOverflow: log(1 + exp(rho)) does not survive rho = 1000."""
    with pytest.raises(FloatingPointError):
        np.log(1.0 + np.exp(np.array(1000.0)))
    assert bnn.softplus(1000.0) == 1000.0


@settings(max_examples=200)
@given(log_uniform(1e-300, 1e4))
@example(math.log(2.0))
@example(1e4)
def test_softplus_inverse_against_50_digits(sigma: float) -> None:
    """Its value passes through 0 at σ = log 2, where only an absolute error can be small."""
    exact = mp.log(mp.expm1(mp.mpf(sigma)))
    assert abs(float(bnn.softplus_inverse(sigma) - exact)) <= 1e-15 * max(
        1.0, abs(float(exact))
    )


@settings(max_examples=200)
@given(finite(-700.0, 1e4))
def test_softplus_round_trip(rho: float) -> None:
    """σ is kept to 1e-15, and ρ feels that by dρ = dσ/sigmoid(ρ): by σ/sigmoid(ρ) ≤ 1 + |ρ| times as much."""
    assert abs(bnn.softplus_inverse(bnn.softplus(rho)) - rho) <= 1e-15 * (
        1.0 + abs(rho)
    )


@settings(max_examples=300)
@given(
    finite(-650.0, 300.0), log_uniform(1e-10, 1e3), signs
)  # lower, a small difference is a subnormal number
@example(-700.0, 699.0, 1.0)
@example(-700.0, 700.5, -1.0)
@example(-700.0, 1700.0, 1.0)
@example(-710.0, 710.0, 1.0)
def test_softplus_difference_against_50_digits(
    low: float, gap: float, sign: float
) -> None:
    """Derivation: docs/derivations.md, 3."""
    rho_q, rho_p = (low + gap, low) if sign > 0 else (low, low + gap)
    exact = exact_softplus(rho_q) - exact_softplus(rho_p)
    value = bnn.softplus_difference(np.array(rho_q), np.array(rho_p))
    assert value == exact if exact == 0 else relative_error(value, exact) <= 1e-12


def test_softplus_difference_control_of_the_plain_difference() -> None:
    rho_p = np.array([-2.0, 0.5, 30.0])
    rho_q = rho_p + 1e-9
    for plain, q, p in zip(bnn.softplus(rho_q) - bnn.softplus(rho_p), rho_q, rho_p):
        if p < 30.0:  # at 30 both are the identity, and the difference keeps its digits
            assert relative_error(plain, exact_softplus(q) - exact_softplus(p)) > 1e-9


# ---------------------------------------------------------------- DiagNormal


def test_diag_normal_keeps_copies_and_is_frozen() -> None:
    mu, rho = np.array([1.0, 2.0]), np.array([0.0, 1.0])
    q = DiagNormal(mu, rho)
    mu[0] = rho[0] = 7.0  # the caller's arrays stay writable
    np.testing.assert_array_equal([q.mu, q.rho], [[1.0, 2.0], [0.0, 1.0]])
    for name in ("mu", "rho", "sigma"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(q, name, mu)


@pytest.mark.parametrize("name", ["mu", "rho", "sigma"])
def test_diag_normal_arrays_are_read_only(name: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(DiagNormal([1.0, 2.0], [0.0, 1.0]), name)[0] = 7.0


def test_diag_normal_takes_lists_of_integers() -> None:
    q = DiagNormal([1, 2], [0, 0])
    assert q.mu.dtype == q.rho.dtype == np.float64
    np.testing.assert_allclose(q.sigma, math.log(2.0), rtol=1e-15)


# ---------------------------------------------------------------- densities and divergences


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 1.0), (-3.0, 0.02), (1e3, 50.0)])
def test_normal_log_density_against_scipy_and_integration(
    mean: float, sigma: float
) -> None:
    """Equation B2"""
    x = mean + sigma * np.linspace(-6.0, 6.0, 13)
    log_density = bnn.normal_log_density(x, mean, sigma)
    np.testing.assert_allclose(
        log_density, stats.norm.logpdf(x, mean, sigma), rtol=1e-13, atol=1e-13
    )

    def mass(shift: float) -> float:
        def density(x: float) -> float:
            return float(np.exp(bnn.normal_log_density(x, mean, sigma) + shift))

        return integrate.quad(
            density, mean - 10 * sigma, mean + 10 * sigma, epsabs=1e-12
        )[0]

    assert mass(0.0) == pytest.approx(1.0, abs=1e-10)
    # UnnormalisedLogDensity: without −½ log 2π, or (for σ = 1 the same) without −log σ.
    assert mass(0.5 * math.log(2 * math.pi)) == pytest.approx(
        math.sqrt(2 * math.pi), rel=1e-10
    )
    assert (sigma == 1.0) == (mass(math.log(sigma)) == pytest.approx(1.0, abs=1e-10))


@settings(max_examples=150)
@given(seeds, st.sampled_from([1, 40]), log_uniform(1e-8, 1e2), log_uniform(1e-8, 1e2))
def test_kl_diag_normal_against_50_digits(
    seed: int, size: int, mean_move: float, sigma_move: float
) -> None:
    """Derivation: docs/derivations.md, 3."""
    rng = np.random.default_rng(seed)
    sigma_p = np.exp(rng.uniform(np.log(1e-6), np.log(1e3), size))
    ratio = (1.0 + sigma_move) ** rng.choice([-1.0, 1.0], size)
    mu_p = rng.normal(size=size) * sigma_p
    mu_q, sigma_q = (
        mu_p + mean_move * rng.choice([-1.0, 1.0], size) * sigma_p,
        ratio * sigma_p,
    )
    arguments = mu_q, sigma_q, mu_p, sigma_p
    assert relative_error(bnn.kl_diag_normal(*arguments), exact_kl(*arguments)) <= 1e-12


SWITCH = [
    math.nextafter(math.sqrt(x), side) for x in (0.75, 1.25) for side in (0.0, 2.0)
]  # |r| = 1/4 and beside it


@pytest.mark.parametrize(
    "ratio", [1 / 101, 0.5, *SWITCH, 1 - 1e-8, 1 + 1e-8, 1.1, 101.0]
)
@pytest.mark.parametrize("mean_move", [0.0, 1e-8, -100.0])
@pytest.mark.parametrize("sigma", [1e-6, 1e3])
def test_kl_diag_normal_against_50_digits_at_the_edges(
    ratio: float, mean_move: float, sigma: float
) -> None:
    arguments = [np.array([x]) for x in (mean_move * sigma, ratio * sigma, 0.0, sigma)]
    assert relative_error(bnn.kl_diag_normal(*arguments), exact_kl(*arguments)) <= 1e-12


@pytest.mark.parametrize(("move", "lost"), [(1e-6, 1e-7), (1e-8, 1e-3)])
def test_kl_diag_normal_near_identity_of_1000_weights_against_50_digits(
    move: float, lost: float
) -> None:
    """NaiveNearIdentity: the textbook sum has lost half its digits there, or all but two."""
    rng = np.random.default_rng(0)
    sigma_p, mu_p = np.exp(rng.normal(size=1000)), rng.normal(size=1000)
    moves = rng.normal(scale=move, size=(2, 1000))
    arguments = mu_p + moves[0] * sigma_p, sigma_p * (1.0 + moves[1]), mu_p, sigma_p
    exact = exact_kl(*arguments)
    assert relative_error(bnn.kl_diag_normal(*arguments), exact) <= 1e-12
    assert relative_error(textbook_kl(*arguments), exact) > lost


def log_normal(x: float, mean: float, sigma: float) -> float:
    return -math.log(sigma * math.sqrt(2 * math.pi)) - (x - mean) ** 2 / (2 * sigma**2)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(finite(-3, 3), log_uniform(0.1, 10)), min_size=1, max_size=5),
    log_uniform(1.2, 10),
)
def test_kl_textbook_against_50_digits_and_the_stable_form(
    rows: list[tuple[float, float]], ratio: float
) -> None:
    """To 1e-12 where widths differ by a fifth or more; near identity its terms cancel (control).

    Derivation: docs/derivations.md, 3. B3
    """
    mu_p, sigma_p = np.array(rows).T
    moments = (mu_p + 0.5 * sigma_p, ratio * sigma_p, mu_p, sigma_p)
    value = bnn.kl_textbook(*moments)
    assert relative_error(value, exact_kl(*moments)) <= 1e-12
    assert value == pytest.approx(bnn.kl_diag_normal(*moments), rel=1e-12)
    near = (mu_p, (1.0 + 1e-9) * sigma_p, mu_p, sigma_p)
    assert relative_error(bnn.kl_textbook(*near), exact_kl(*near)) > 1e-3


def test_kl_of_tiny_widths_against_50_digits() -> None:
    """Widths near 1e-300, whose logarithms have few digits left. Control: the difference of these logarithms."""
    rng = np.random.default_rng(1)
    worst = lost = 0.0
    for _ in range(50):
        sigma_p = 10.0 ** rng.uniform(-300.0, -290.0)
        sigma_q = rng.uniform(1.13, 1.2) * sigma_p
        moments = [np.array([x]) for x in (0.0, sigma_q, 0.0, sigma_p)]
        exact = exact_kl(*moments)
        square = (sigma_q / sigma_p) ** 2
        by_logs = (square - 1.0) / 2.0 - (math.log(sigma_q) - math.log(sigma_p))
        worst = max(worst, relative_error(bnn.kl_diag_normal(*moments), exact))
        lost = max(lost, relative_error(by_logs, exact))
    assert worst <= 1e-12 < lost


def test_kl_textbook_of_rows_against_each_row_alone() -> None:
    """Control: the sum over all rows."""
    rng = np.random.default_rng(0)
    moments = np.exp(rng.normal(size=(4, 3, 5)))  # μ as well
    alone = [bnn.kl_textbook(*moments[:, row]) for row in range(3)]
    np.testing.assert_allclose(bnn.kl_textbook(*moments), alone, rtol=1e-14)
    assert abs(sum(alone) / alone[0] - 1.0) > 0.1


@settings(max_examples=40)
@given(
    finite(-3.0, 3.0), log_uniform(0.2, 5.0), finite(-3.0, 3.0), log_uniform(0.2, 5.0)
)
def test_kl_diag_normal_against_integration(
    mu_q: float, sigma_q: float, mu_p: float, sigma_p: float
) -> None:
    """Derivation: docs/derivations.md, 3."""

    def integrand(t: float) -> float:  # over t = (x − μ_q)/σ_q
        x = mu_q + sigma_q * t
        log_ratio = log_normal(x, mu_q, sigma_q) - log_normal(x, mu_p, sigma_p)
        return math.exp(-0.5 * t * t) / math.sqrt(2 * math.pi) * log_ratio

    integral, _ = integrate.quad(
        integrand, -12.0, 12.0, epsabs=1e-11, epsrel=1e-11, limit=200
    )
    value = bnn.kl_diag_normal(*(np.array([x]) for x in (mu_q, sigma_q, mu_p, sigma_p)))
    assert value == pytest.approx(
        integral, rel=1e-9, abs=1e-9
    )  # quad was asked for 1e-11


def kl_mistakes() -> dict[str, Callable[..., Any]]:
    kl = textbook_kl
    return {
        "SwappedKL": lambda mq, sq, mp_, sp: kl(mp_, sp, mq, sq),
        "DroppedConstant": lambda mq, sq, mp_, sp: (
            kl(mq, sq, mp_, sp) + 0.5 * mq.shape[-1]
        ),
        "KLMean": lambda mq, sq, mp_, sp: kl(mq, sq, mp_, sp) / mq.shape[-1],
        "VarianceAsSigma": lambda mq, sq, mp_, sp: kl(mq, sq**2, mp_, sp**2),
    }


@pytest.mark.parametrize("name", kl_mistakes())
def test_kl_diag_normal_control_of_mistakes(name: str) -> None:
    arguments = [np.array(x) for x in ([0.7, -1.0], [0.5, 2.0], [0.1, 0.4], [0.8, 1.5])]
    exact = exact_kl(*arguments)
    assert relative_error(bnn.kl_diag_normal(*arguments), exact) <= 1e-12
    assert relative_error(kl_mistakes()[name](*arguments), exact) > 0.1


def test_kl_diag_normal_of_equal_distributions_is_zero_and_the_slides_is_not() -> None:
    """[Lecture] leaves out −½ per weight: 2.5 for five weights where the divergence is 0."""
    mu, sigma = np.linspace(-1.0, 1.0, 5), np.linspace(0.5, 2.0, 5)
    assert bnn.kl_diag_normal(mu, sigma, mu, sigma) == 0.0
    assert kl_mistakes()["DroppedConstant"](mu, sigma, mu, sigma) == pytest.approx(2.5)


def test_kl_diag_normal_control_of_the_fudged_denominator() -> None:
    """FudgedDenominator: with + 1e-8 under the fraction, KL is negative at σ = 1e-5."""
    mu_q, sigma_q, mu_p, sigma_p = 1e-5, 1.1e-5, 0.0, 1e-5
    value = bnn.kl_diag_normal(*(np.array([x]) for x in (mu_q, sigma_q, mu_p, sigma_p)))
    fraction = ((mu_q - mu_p) ** 2 + sigma_q**2 - sigma_p**2) / (2 * sigma_p**2 + 1e-8)
    assert value == pytest.approx(0.510, abs=5e-4)
    assert fraction + math.log(sigma_p / sigma_q) == pytest.approx(-0.083, abs=5e-4)


def random_pair(seed: int, shape: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        f(rng.normal(size=shape)) for f in (np.positive, np.exp, np.positive, np.exp)
    ]


@settings(max_examples=100)
@given(seeds, st.integers(1, 5), log_uniform(1e-8, 1e2))
def test_kl_diag_normal_is_zero_only_for_equals(
    seed: int, size: int, move: float
) -> None:
    mu, sigma, *_ = random_pair(seed, (size,))
    first = np.eye(size)[0]
    assert bnn.kl_diag_normal(mu, sigma, mu, sigma) == 0.0
    for mu_q, sigma_q in [
        (mu + move * sigma * first, sigma),
        (mu, sigma * (1 + move * first)),
    ]:
        assert bnn.kl_diag_normal(mu_q, sigma_q, mu, sigma) > 0.0
        assert bnn.kl_diag_normal(mu, sigma, mu_q, sigma_q) > 0.0


@settings(max_examples=50)
@given(seeds, finite(-2.0, 2.0), log_uniform(1e-2, 1e2), signs)
def test_kl_diag_normal_is_additive_and_invariant(
    seed: int, shift: float, scale: float, sign: float
) -> None:
    """Tolerance: shifting rounds the means to 1e-16 of |μ| + |b|/a, at most 200 here; σ > 0.02."""
    mu_q, sigma_q, mu_p, sigma_p = arguments = random_pair(seed, (6,))
    whole = bnn.kl_diag_normal(*arguments)
    blocks = [
        bnn.kl_diag_normal(*(x[part] for x in arguments))
        for part in (slice(0, 2), slice(2, 6))
    ]
    assert whole == pytest.approx(sum(blocks), rel=1e-14)
    a = sign * scale
    moved = bnn.kl_diag_normal(
        a * mu_q + shift, scale * sigma_q, a * mu_p + shift, scale * sigma_p
    )
    assert moved == pytest.approx(whole, rel=1e-9)


def test_kl_diag_normal_sums_over_the_last_axis_of_a_batch() -> None:
    arguments = random_pair(1, (2, 3, 5))
    values = bnn.kl_diag_normal(*arguments)
    assert values.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert (
            relative_error(values[index], exact_kl(*(x[index] for x in arguments)))
            <= 1e-12
        )


@pytest.mark.parametrize(
    "ratio", [0.01, 0.5, *SWITCH, 1 - 1e-7, 1.0, 1 + 1e-7, 1.1, 50.0]
)
@pytest.mark.parametrize("move", [0.0, 1e-8, -0.3, 40.0])
def test_kl_diag_normal_gradient_against_closed_form(ratio: float, move: float) -> None:
    sigma_p, mu_p = 0.7, 0.2
    arguments = [
        np.array([x]) for x in (mu_p + move * sigma_p, ratio * sigma_p, mu_p, sigma_p)
    ]
    m_q, s_q, m_p, s_p = (mp.mpf(float(x[0])) for x in arguments)
    expected = [
        (m_q - m_p) / s_p**2,
        (s_q**2 - s_p**2) / (s_p**2 * s_q),
        (m_p - m_q) / s_p**2,
        1 / s_p - s_q**2 / s_p**3 - (m_q - m_p) ** 2 / s_p**3,
    ]
    for position, exact in enumerate(expected):
        value = autograd.grad(lambda *xs: anp.sum(bnn.kl_diag_normal(*xs)), position)(
            *arguments
        )[0]
        # What cancels are terms of size max(1, move², ratio²), each to 1e-16.
        assert abs(float(value - exact)) <= 1e-12 * abs(float(exact)) + 1e-14 * max(
            1.0, move**2, ratio**2
        )


def exact_kl_of_moved(q: DiagNormal, delta: Any) -> Any:
    """KL[q(φ + Δ)‖q(φ)] at 50 digits, Δ in μ and then in ρ."""
    size, total = len(q.mu), mp.mpf(0)
    for i in range(size):
        sigma, sigma_moved = (
            exact_softplus(q.rho[i]),
            mp.log1p(mp.exp(mp.mpf(q.rho[i]) + delta[size + i])),
        )
        ratio = sigma_moved / sigma
        total += (ratio**2 - 1 - 2 * mp.log(ratio) + (delta[i] / sigma) ** 2) / 2
    return total


@pytest.mark.parametrize("rho", [(-20.0, -1.0), (0.0, 3.0), (20.0, -5.0)])
def test_kl_hessian_diag_against_second_differences_at_50_digits(
    rho: tuple[float, float],
) -> None:
    """Derivation: docs/derivations.md, 3. B4"""
    q = DiagNormal(np.array([0.3, -2.0]), np.array(rho))
    h = mp.mpf(
        "1e-12"
    )  # the even derivatives beyond leave h² = 1e-24, rounding 1e-50/h² = 1e-26

    def second_difference(i: int, j: int) -> Any:
        def at(a: int, b: int) -> Any:
            return exact_kl_of_moved(
                q, [h * (a * (k == i) + b * (k == j)) for k in range(4)]
            )

        return (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / (4 * h**2)

    hessian = np.array(
        [[float(second_difference(i, j)) for j in range(4)] for i in range(4)]
    )
    diagonal = np.concatenate(bnn.kl_hessian_diag(q))
    np.testing.assert_allclose(np.diag(hessian), diagonal, rtol=1e-13)
    scale = np.sqrt(np.outer(diagonal, diagonal))
    assert np.all(np.abs(hessian / scale - np.eye(4)) <= 1e-12)
    # Control: the Hessian in σ itself, without the chain rule's sigmoid(ρ)².
    assert not np.allclose(diagonal[2:], 2.0 / q.sigma**2, rtol=1e-10)


@settings(max_examples=30)
@given(seeds)
def test_kl_taylor_against_50_digits(seed: int) -> None:
    """The ratio to the exact KL tends to 1, its error falling as the step; MissingHalf tends to 2.

    Derivation: docs/derivations.md, 4. B5
    """
    rng = np.random.default_rng(seed)
    # Where σ ≈ e^ρ, a positive move's cubic term is positive: it can't cancel and leave a quadratic error.
    q = DiagNormal(rng.normal(size=3), rng.uniform(-3.0, -1.0, 3))
    delta = rng.uniform(0.5, 1.0, (2, 3))
    exact = np.array(
        [
            float(exact_kl_of_moved(q, step * mp.matrix(delta.ravel())))
            for step in TAYLOR_STEPS
        ]
    )
    errors = (
        np.array([bnn.kl_taylor(q, *(step * delta)) for step in TAYLOR_STEPS]) / exact
        - 1.0
    )
    np.testing.assert_allclose(errors[:-1] / errors[1:], 10.0, rtol=0.1)
    assert abs(errors[-1]) < 1e-3
    missing_half = np.sum(
        np.array(bnn.kl_hessian_diag(q)) * (TAYLOR_STEPS[-1] * delta) ** 2
    )
    assert missing_half / exact[-1] == pytest.approx(2.0, abs=2e-3)


# ---------------------------------------------------------------- the network


def slow_layers(
    theta: np.ndarray, sizes: tuple[int, ...]
) -> list[Callable[[int, int], float]]:
    """For each layer a function (input, unit) -> weight; the input after the last is the bias."""
    layers, start = [], 0
    for i, o in zip(sizes, sizes[1:]):

        def weight(row: int, unit: int, start: int = start, units: int = o) -> float:
            return float(theta[start + row * units + unit])

        layers.append(weight)
        start += i * o + o
    return layers


def slow_mlp(
    theta: np.ndarray,
    inputs: np.ndarray,
    sizes: tuple[int, ...],
    hidden: Callable[[float], float],
) -> Any:
    outputs = np.empty((len(theta), len(inputs), sizes[-1]))
    for s, weights in enumerate(theta):
        for n, values in enumerate(inputs):
            for layer, weight in enumerate(slow_layers(weights, sizes)):
                if layer > 0:
                    values = [hidden(v) for v in values]
                i, o = sizes[layer], sizes[layer + 1]
                values = [
                    sum(values[j] * weight(j, k) for j in range(i)) + weight(i, k)
                    for k in range(o)
                ]
            outputs[s, n] = values
    return outputs


def slow_mlp_local(
    q: DiagNormal, inputs: np.ndarray, zeta: list[np.ndarray], sizes: tuple[int, ...]
) -> Any:
    mean, sigma = slow_layers(q.mu, sizes), slow_layers(q.sigma, sizes)
    outputs = np.empty((len(zeta[0]), len(inputs), sizes[-1]))
    for s, n in np.ndindex(outputs.shape[:2]):
        values = list(inputs[n])
        for layer, noise in enumerate(zeta):
            activations = [
                *(values if layer == 0 else [max(v, 0.0) for v in values]),
                1.0,
            ]
            values = [
                sum(h * mean[layer](j, k) for j, h in enumerate(activations))
                + math.sqrt(
                    sum(
                        (h * sigma[layer](j, k)) ** 2 for j, h in enumerate(activations)
                    )
                )
                * noise[s, n, k]
                for k in range(sizes[layer + 1])
            ]
        outputs[s, n] = values
    return outputs


def test_unflatten_layout() -> None:
    """Matrix (I, O) in C order, then the biases, layer by layer."""
    (matrix, bias), (last_matrix, last_bias) = bnn.unflatten(np.arange(13.0), (2, 3, 1))
    np.testing.assert_array_equal(matrix, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(bias, [6, 7, 8])
    np.testing.assert_array_equal(last_matrix, [[9], [10], [11]])
    np.testing.assert_array_equal(last_bias, [12])
    assert not np.array_equal(matrix, np.arange(6.0).reshape((2, 3), order="F"))


@settings(max_examples=50)
@given(layer_sizes, st.lists(st.integers(1, 3), max_size=2))
def test_unflatten_and_layer_blocks_keep_every_weight_in_order(
    sizes: tuple[int, ...], leading: list[int]
) -> None:
    counted = sum(np.ones((i, o)).size + o for i, o in zip(sizes, sizes[1:]))
    assert bnn.num_weights(sizes) == counted
    theta = np.arange(float(math.prod(leading) * counted)).reshape((*leading, counted))
    flat = [
        part.reshape((*leading, -1))
        for pair in bnn.unflatten(theta, sizes)
        for part in pair
    ]
    np.testing.assert_array_equal(np.concatenate(flat, axis=-1), theta)
    blocks = bnn.layer_blocks(theta, sizes)
    assert [block.shape for block in blocks] == [
        (*leading, i + 1, o) for i, o in zip(sizes, sizes[1:])
    ]
    np.testing.assert_array_equal(
        np.concatenate([b.reshape((*leading, -1)) for b in blocks], axis=-1), theta
    )


@settings(max_examples=40)
@given(cases())
def test_mlp_against_slow_loop(case: Case) -> None:
    """Equation B6"""
    theta = bnn.sample_weights(case.q, case.eps)
    expected = slow_mlp(theta, case.inputs, case.layer_sizes, lambda x: max(x, 0.0))
    np.testing.assert_allclose(
        bnn.mlp(theta, case.inputs, case.layer_sizes), expected, rtol=1e-12, atol=1e-12
    )
    outputs = bnn.mlp(theta, case.inputs, case.layer_sizes, hidden=np.tanh)
    expected = slow_mlp(theta, case.inputs, case.layer_sizes, math.tanh)
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-12)


def test_mlp_control_of_its_activations() -> None:
    case = make_case((2, 4, 3), 5, 2, 3, 1.0)
    outputs = bnn.mlp(case.eps, case.inputs, case.layer_sizes)
    assert outputs.min() < -0.1  # the last layer is linear
    assert (
        np.abs(
            outputs - bnn.mlp(case.eps, case.inputs, case.layer_sizes, hidden=np.tanh)
        ).max()
        > 0.1
    )


@pytest.mark.parametrize(("bias", "slope"), [(-1.0, 0.0), (0.0, 0.0), (1.0, 2.0)])
def test_mlp_relu_has_derivative_0_at_0(bias: float, slope: float) -> None:
    """d output / d bias of the hidden unit, whose pre-activation is the bias; the outer weight is 2."""

    def output(theta: Any) -> Any:
        return anp.sum(bnn.mlp(theta, np.zeros((1, 1)), (1, 1, 1)))

    assert autograd.grad(output)(np.array([[3.0, bias, 2.0, 0.0]]))[0, 1] == slope


def test_sample_weights_against_slow_loop() -> None:
    """Equation B7"""
    q, eps = (
        DiagNormal([1.0, -2.0], [0.0, -3.0]),
        np.array([[0.0, 1.0], [-2.0, 0.5], [3.0, 0.0]]),
    )
    expected = [
        [m + math.log1p(math.exp(r)) * e for m, r, e in zip(q.mu, q.rho, row)]
        for row in eps
    ]
    np.testing.assert_allclose(bnn.sample_weights(q, eps), expected, rtol=1e-15)
    variance_as_sigma = q.mu + q.sigma**2 * eps
    assert np.abs(variance_as_sigma - expected).max() > 0.1


@settings(max_examples=40)
@given(cases())
def test_mlp_local_against_slow_loop(case: Case) -> None:
    """Equation B8"""
    outputs = bnn.mlp_local(case.q, case.inputs, case.zeta, case.layer_sizes)
    expected = slow_mlp_local(case.q, case.inputs, case.zeta, case.layer_sizes)
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-12)


def all_signs(size: int) -> np.ndarray:
    """All ±1 noise: means and second moments over its rows are exactly those of standard normals."""
    return np.array(list(itertools.product([-1.0, 1.0], repeat=size)))


def both_signs(num_rows: int, units: int) -> list[np.ndarray]:
    """The same for the pre-activations of one layer, which no expectation here takes jointly."""
    return [np.stack([np.full((num_rows, units), sign) for sign in (-1.0, 1.0)])]


@settings(max_examples=30)
@given(seeds, st.integers(1, 3), st.integers(1, 2))
def test_pre_activations_of_both_reparameterizations_against_closed_form(
    seed: int, inputs: int, outputs: int
) -> None:
    case = make_case((inputs, outputs), 3, 1, seed, 1.0)
    x = np.hstack([case.inputs, np.ones((3, 1))])
    mean, variance = (
        x @ case.q.mu.reshape(-1, outputs),
        x**2 @ (case.q.sigma**2).reshape(-1, outputs),
    )
    weights = bnn.sample_weights(case.q, all_signs(len(case.q.mu)))
    for values in (
        bnn.mlp(weights, case.inputs, case.layer_sizes),
        bnn.mlp_local(case.q, case.inputs, both_signs(3, outputs), case.layer_sizes),
    ):
        np.testing.assert_allclose(values.mean(axis=0), mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(values.var(axis=0), variance, rtol=1e-12)
        assert np.all(
            np.abs(values.var(axis=0) / np.sqrt(variance) - 1.0) > 1e-6
        )  # VarianceAsSigma


def test_second_layer_of_both_reparameterizations_against_closed_form() -> None:
    """For one row the hidden units are independent normals either way; E relu and E relu² are known. 4 s.e.

    Derivation: docs/derivations.md, 5.
    """
    case, num_samples = make_case((2, 3, 2), 1, 1, 5, 1.0), 200_000
    rng = np.random.default_rng(7)
    (m1, m1_bias), (m2, m2_bias) = bnn.unflatten(case.q.mu, case.layer_sizes)
    (v1, v1_bias), (v2, v2_bias) = bnn.unflatten(case.q.sigma**2, case.layer_sizes)
    m, v = case.inputs[0] @ m1 + m1_bias, case.inputs[0] ** 2 @ v1 + v1_bias
    below, density = (
        stats.norm.cdf(m / np.sqrt(v)),
        np.sqrt(v) * stats.norm.pdf(m / np.sqrt(v)),
    )
    first, second = (
        m * below + density,
        (m**2 + v) * below + m * density,
    )  # E relu, E relu²
    mean = first @ m2 + m2_bias
    variance = second @ v2 + (second - first**2) @ m2**2 + v2_bias
    eps = bnn.sample_eps(rng, num_samples, 1, case.layer_sizes)
    zeta = bnn.sample_zeta(rng, num_samples, 1, case.layer_sizes)
    for values in (
        bnn.mlp(bnn.sample_weights(case.q, eps), case.inputs, case.layer_sizes)[:, 0],
        bnn.mlp_local(case.q, case.inputs, zeta, case.layer_sizes)[:, 0],
    ):
        squares = (values - mean) ** 2
        assert within(values.mean(axis=0), mean, values.std(axis=0) / num_samples**0.5)
        assert within(
            squares.mean(axis=0), variance, squares.std(axis=0) / num_samples**0.5
        )
        # Control: a second layer that took E relu for relu, with no variance from the first.
        assert not within(
            squares.mean(axis=0),
            first**2 @ v2 + v2_bias,
            squares.std(axis=0) / num_samples**0.5,
        )


def test_noise_is_independent_per_row_and_layer_within_4_standard_errors() -> None:
    """SharedRowNoise: equal rows get equal outputs from weight samples. SameLayerNoise: equal seeds per layer.

    Derivation: docs/derivations.md, 5.
    """
    num_samples, sizes = 10_000, (1, 1, 1)
    standard_error = 1.0 / num_samples**0.5
    q, inputs = DiagNormal(np.full(4, 2.0), np.zeros(4)), np.ones((2, 1))
    rng = np.random.default_rng(11)

    def row_correlation(outputs: np.ndarray) -> float:
        return np.corrcoef(outputs[:, 0, 0], outputs[:, 1, 0])[0, 1]

    zeta = bnn.sample_zeta(rng, num_samples, 2, sizes)
    eps = bnn.sample_eps(rng, num_samples, 2, sizes)
    assert within(
        row_correlation(bnn.mlp_local(q, inputs, zeta, sizes)), 0.0, standard_error
    )
    assert row_correlation(
        bnn.mlp(bnn.sample_weights(q, eps), inputs, sizes)
    ) == pytest.approx(1.0)
    assert within(
        np.corrcoef(zeta[0][:, 0, 0], zeta[1][:, 0, 0])[0, 1], 0.0, standard_error
    )
    same = [np.random.default_rng(1).standard_normal(zeta[0].shape) for _ in range(2)]
    assert np.corrcoef(same[0][:, 0, 0], same[1][:, 0, 0])[0, 1] == pytest.approx(1.0)
    assert within(np.corrcoef(eps.T) - np.eye(4), 0.0, standard_error)


# ---------------------------------------------------------------- likelihood


@pytest.mark.parametrize("sigma", [0.3, np.array([0.3, 2.0, 5.0])])
def test_log_likelihood_against_scipy(sigma: Any) -> None:
    """Equation B9"""
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(4, 2, 3)), rng.normal(size=(2, 3))
    expected = np.zeros((4, 2))
    for s, n, o in np.ndindex(4, 2, 3):
        expected[s, n] += stats.norm.logpdf(
            targets[n, o], outputs[s, n, o], np.broadcast_to(sigma, 3)[o]
        )
    values = bnn.log_likelihood(outputs, targets, sigma)
    np.testing.assert_allclose(values, expected, rtol=1e-13)
    assert np.abs(values / 3 - expected).max() > 0.1  # the mean over dimensions


# ---------------------------------------------------------------- evidence lower bound


class Linear:
    """A linear network, in which each output's weights and bias have an exact normal posterior."""

    def __init__(self, case: Case, sigma: Any = None) -> None:
        self.case, self.sigma = case, case.likelihood_sigma if sigma is None else sigma
        outputs = case.layer_sizes[1]
        self.x = np.hstack([case.inputs, np.ones((len(case.inputs), 1))])  # (N, I + 1)
        self.mu0, self.var0 = (
            v.reshape(-1, outputs) for v in (case.prior.mu, case.prior.sigma**2)
        )
        self.var = np.broadcast_to(np.square(self.sigma), (outputs,))
        self.eps, self.zeta = (
            all_signs(len(case.q.mu)),
            both_signs(len(case.inputs), outputs),
        )
        self.settings = {
            "layer_sizes": case.layer_sizes,
            "likelihood_sigma": self.sigma,
            "num_data": len(case.inputs),
        }

    def posterior(self, o: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and precision matrix."""
        precision = np.diag(1 / self.var0[:, o]) + self.x.T @ self.x / self.var[o]
        shift = (
            self.mu0[:, o] / self.var0[:, o]
            + self.x.T @ self.case.targets[:, o] / self.var[o]
        )
        return np.linalg.solve(precision, shift), precision

    def log_evidence(self) -> float:
        total = 0.0
        for o, variance in enumerate(self.var):
            covariance = (self.x * self.var0[:, o]) @ self.x.T + variance * np.eye(
                len(self.x)
            )
            total += stats.multivariate_normal.logpdf(
                self.case.targets[:, o], self.x @ self.mu0[:, o], covariance
            )
        return total

    def kl_to_posterior(self, q: DiagNormal) -> float:
        total = 0.0
        for o in range(len(self.var)):
            mean, precision = self.posterior(o)
            move, var = (
                q.mu.reshape(-1, len(self.var))[:, o] - mean,
                q.sigma.reshape(-1, len(self.var))[:, o] ** 2,
            )
            log_det = np.linalg.slogdet(precision * var)[1]
            total += 0.5 * (
                np.diag(precision) @ var - len(var) - log_det + move @ precision @ move
            )
        return total

    def exact_q(self) -> DiagNormal:
        """The exact posterior for one output, if it factorizes."""
        mean, precision = self.posterior(0)
        return DiagNormal(mean, bnn.softplus_inverse(np.diag(precision) ** -0.5))

    def elbos(self, **changes: Any) -> tuple[float, float]:
        """The expectation of the ELBO, exact for a linear model, by weight samples and by local ones."""
        case, changes = (
            self.case,
            {"q": self.case.q, "prior": self.case.prior} | self.settings | changes,
        )
        data = changes.pop("q"), changes.pop("prior"), case.inputs, case.targets
        return bnn.elbo(*data, self.eps, **changes), bnn.elbo_local(
            *data, self.zeta, **changes
        )


@st.composite
def linear_models(draw: st.DrawFn) -> Linear:
    sizes = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    case = make_case(
        sizes, draw(st.integers(1, 4)), 1, draw(seeds), draw(log_uniform(0.3, 3.0))
    )
    per_output = case.likelihood_sigma * np.arange(1.0, 1.0 + sizes[1])
    return Linear(case, draw(st.sampled_from([case.likelihood_sigma, per_output])))


def factorising() -> Linear:
    """Inputs that sum to 0 leave weight and bias uncorrelated."""
    case = make_case((1, 1), 4, 1, 2, 0.5)
    return Linear(case._replace(inputs=np.array([[-1.0], [1.0], [-0.5], [0.5]])))


@settings(max_examples=60)
@given(linear_models())
def test_elbo_against_exact_posterior(model: Linear) -> None:
    """log p(D) = ELBO + KL[q‖posterior], with either reparameterization."""
    log_evidence, gap = model.log_evidence(), model.kl_to_posterior(model.case.q)
    for value in model.elbos():
        assert value <= log_evidence
        assert value + gap == pytest.approx(log_evidence, rel=1e-10, abs=1e-10)


def test_elbo_of_a_posterior_that_factorises_is_the_evidence() -> None:
    model = factorising()
    values = np.array(model.elbos(q=model.exact_q()))
    np.testing.assert_allclose(values, model.log_evidence(), rtol=1e-12)
    unnormalised = values + len(model.x) * 0.5 * math.log(
        2 * math.pi
    )  # UnnormalisedLogDensity
    assert np.all(np.abs(unnormalised - model.log_evidence()) > 0.1)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("NoKLScale", {"num_data": 1}),
        ("swapped", {"q": factorising().case.prior, "prior": factorising().exact_q()}),
        ("VarianceAsSigma", {"likelihood_sigma": 0.5**2}),
    ],
)
def test_elbo_control_of_mistakes(name: str, changes: dict) -> None:
    model = factorising()
    values = model.elbos(**{"q": model.exact_q()} | changes)
    assert np.all(np.abs(np.subtract(values, model.log_evidence())) > 0.1), name


@settings(max_examples=30)
@given(cases(), log_uniform(0.5, 100.0))
def test_elbo_against_slow_definition(case: Case, num_data: float) -> None:
    """Equation B10"""
    divergence = float(
        exact_kl(case.q.mu, case.q.sigma, case.prior.mu, case.prior.sigma)
    )
    given = case.q, case.prior, case.inputs, case.targets
    theta = case.q.mu + case.q.sigma * case.eps
    for value, outputs in [
        (
            bnn.elbo(*given, case.eps, num_data=num_data, **case.model),
            slow_mlp(theta, case.inputs, case.layer_sizes, lambda x: max(x, 0.0)),
        ),
        (
            bnn.elbo_local(*given, case.zeta, num_data=num_data, **case.model),
            slow_mlp_local(case.q, case.inputs, case.zeta, case.layer_sizes),
        ),
    ]:
        terms = [
            log_normal(case.targets[n, o], outputs[s, n, o], case.likelihood_sigma)
            for s, n, o in np.ndindex(outputs.shape)
        ]
        evidence = num_data / len(case.inputs) * math.fsum(terms) / len(outputs)
        assert value == pytest.approx(
            evidence - divergence, rel=1e-11, abs=1e-11 * divergence
        )
        assert value != pytest.approx(
            evidence + divergence, rel=1e-9
        )  # the sign in front of KL


def test_elbo_and_its_gradient_take_every_argument_by_name() -> None:
    case = make_case((2, 3, 1), 4, 2, 0, 1.0)
    data = {
        "q": case.q,
        "prior": case.prior,
        "inputs": case.inputs,
        "targets": case.targets,
    }
    for function, name in [
        (bnn.elbo, "eps"),
        (bnn.elbo_grad, "eps"),
        (fast.elbo_grad, "eps"),
        (bnn.elbo_local, "zeta"),
        (bnn.elbo_grad_local, "zeta"),
        (fast.elbo_grad_local, "zeta"),
    ]:
        noise = getattr(case, name)
        expected = function(*data.values(), noise, num_data=4, **case.model)
        np.testing.assert_array_equal(
            function(**data, **{name: noise}, num_data=4, **case.model), expected
        )
        np.testing.assert_array_equal(
            function(*data.values(), **{name: noise}, num_data=4, **case.model),
            expected,
        )


def test_local_functions_bear_their_own_names() -> None:
    for module, name in [
        (bnn, "elbo_local"),
        (bnn, "elbo_grad_local"),
        (fast, "elbo_grad_local"),
    ]:
        assert getattr(module, name).__name__ == name


def test_fit_samples_weights_unless_told_otherwise() -> None:
    case = make_case((2, 2, 1), 3, 1, 0, 1.0)

    def fitted(**options: Any) -> np.ndarray:
        rng = np.random.default_rng(0)
        q, _ = bnn.fit(
            case.q, case.prior, *minibatches(case, rng, 2, 2), rng,
            num_samples=2, learning_rate=0.1, num_data=3, **case.model, **options,
        )  # fmt: skip
        return q.mu

    np.testing.assert_array_equal(fitted(), fitted(**fit_by(local=False)))
    assert not np.array_equal(fitted(), fitted(**fit_by(local=True)))


def test_predict_takes_a_sigma_for_each_output_of_a_deep_network() -> None:
    case = make_case((2, 3, 1), 2, 2, 0, 1.0)
    one, each = (
        bnn.predict(
            case.q, case.inputs, case.eps, layer_sizes=(2, 3, 1), likelihood_sigma=sigma
        )
        for sigma in (0.5, np.array([0.5]))
    )
    np.testing.assert_array_equal(one, each)


@settings(max_examples=20)
@given(seeds, layer_sizes)
def test_elbo_of_minibatches_averages_to_that_of_the_data(
    seed: int, sizes: tuple[int, ...]
) -> None:
    """A batch of 2 rows represents all 4. PerBatchKL: it represents only itself.

    Derivation: docs/derivations.md, 2.
    """
    case = make_case(sizes, 4, 2, seed, 1.0)

    def value(rows: list[int], num_data: float) -> tuple[float, float]:
        zeta = [layer[:, rows] for layer in case.zeta]
        given = (case.q, case.prior, case.inputs[rows], case.targets[rows])
        settings = case.model | {"num_data": num_data}
        return bnn.elbo(*given, case.eps, **settings), bnn.elbo_local(
            *given, zeta, **settings
        )

    pairs = [list(pair) for pair in itertools.combinations(range(4), 2)]
    whole = value([0, 1, 2, 3], 4)
    np.testing.assert_allclose(
        np.mean([value(rows, 4) for rows in pairs], axis=0), whole, rtol=1e-12
    )
    assert np.all(
        np.abs(np.mean([value(rows, 2) for rows in pairs], axis=0) - whole) > 1e-3
    )


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("local", [False, True])
@settings(max_examples=25)
@given(case=cases(), seed=seeds)
def test_elbo_grad_against_directional_difference(
    local: bool, name: str, case: Case, seed: int
) -> None:
    """Central difference, h = 1e-6: rounding leaves 1e-16/h of the value, truncation h² of the third derivative."""
    phi, h = np.concatenate([case.q.mu, case.q.rho]), 1e-6
    direction = np.random.default_rng(seed).normal(size=phi.size)
    gradient = gradient_of(case, local, GRADIENTS[name][local])
    elbo = bnn.elbo_local if local else bnn.elbo

    def function(q: DiagNormal) -> float:
        rest = case.prior, case.inputs, case.targets, noise_of(case, local)
        return elbo(q, *rest, num_data=10.0, **case.model)

    plus, minus = (
        function(DiagNormal(*np.split(phi + s * h * direction, 2))) for s in (1.0, -1.0)
    )
    difference, scale = (plus - minus) / (2 * h), np.abs(gradient * direction).sum()
    tolerance = 1e-7 * scale + 1e-9 * abs(plus)
    assert abs(gradient @ direction - difference) <= tolerance
    assert abs(0.5 * gradient @ direction - difference) > tolerance  # a halved gradient


@settings(max_examples=30)
@given(linear_models())
def test_elbo_grad_against_closed_form(model: Linear) -> None:
    case, outputs = model.case, len(model.var)
    mu, sigma = (v.reshape(-1, outputs) for v in (case.q.mu, case.q.sigma))
    expected_mu = (
        model.x.T @ ((case.targets - model.x @ mu) / model.var)
        - (mu - model.mu0) / model.var0
    )
    in_sigma = (
        -sigma * (model.x**2).sum(axis=0)[:, None] / model.var
        - sigma / model.var0
        + 1.0 / sigma
    )
    expected_rho = in_sigma * expit(case.q.rho).reshape(-1, outputs)
    given = case.q, case.prior, case.inputs, case.targets
    for grad_mu, grad_rho in (
        bnn.elbo_grad(*given, model.eps, **model.settings),
        bnn.elbo_grad_local(*given, model.zeta, **model.settings),
        fast.elbo_grad(*given, model.eps, **model.settings),
        fast.elbo_grad_local(*given, model.zeta, **model.settings),
    ):
        np.testing.assert_allclose(grad_mu, expected_mu.ravel(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(grad_rho, expected_rho.ravel(), rtol=1e-9, atol=1e-9)
        assert not np.allclose(
            grad_rho, in_sigma.ravel(), rtol=1e-6
        )  # without the chain rule's sigmoid(ρ)


# ---------------------------------------------------------------- training


def test_adam_step_against_slow_loop() -> None:
    """Equation B11"""
    rng = np.random.default_rng(0)
    gradients, params, state = (
        rng.normal(size=(5, 3)),
        np.array([1.0, -2.0, 0.0]),
        bnn.adam_init(3),
    )
    rates = {"learning_rate": 0.1, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3}
    expected = params.tolist()
    uncorrected = params.tolist()
    for i in range(3):
        m = v = 0.0
        for t, g in enumerate(gradients[:, i], start=1):
            m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
            expected[i] -= (
                0.1 * (m / (1 - 0.8**t)) / (math.sqrt(v / (1 - 0.9**t)) + 1e-3)
            )
            uncorrected[i] -= 0.1 * m / (math.sqrt(v) + 1e-3)
    for gradient in gradients:
        params, state = bnn.adam_step(params, gradient, state, **rates)
    assert state.num_steps == 5
    np.testing.assert_allclose(params, expected, rtol=1e-14)
    assert np.abs(np.subtract(uncorrected, expected)).min() > 1e-2


def test_adam_step_defaults_are_the_papers() -> None:
    given = np.array([1.0]), np.array([1e-8])
    named = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    state = bnn.AdamState(np.array([0.1]), np.array([1e-12]), 3)
    default, written = (
        bnn.adam_step(*given, state, learning_rate=0.1),
        bnn.adam_step(*given, state, learning_rate=0.1, **named),
    )
    assert default == written
    for name in named:
        assert (
            bnn.adam_step(*given, state, learning_rate=0.1, **named | {name: 0.5})[0]
            != default[0]
        )


FIT = {"num_samples": 8}


def converge(model: Linear, local: bool, num_data: float) -> DiagNormal:
    """Adam with a falling learning rate, from a q that is far off."""
    case, rng = model.case, np.random.default_rng(3)
    q = DiagNormal(np.array([3.0, -3.0]), np.array([1.0, 1.0]))
    keywords = model.settings | FIT | {"num_data": num_data} | fit_by(local)
    for learning_rate, num_updates in [(0.1, 300), (0.01, 300), (0.001, 400)]:
        q, _ = bnn.fit(
            q, case.prior, *minibatches(case, rng, num_updates, 64), rng,
            learning_rate=learning_rate, **keywords,
        )  # fmt: skip
    return q


@pytest.mark.unwatched
@pytest.mark.parametrize("local", [False, True])
def test_fit_against_exact_posterior(local: bool) -> None:
    """Tolerance: minibatches and noise leave q wandering by some 0.04 σ at the last learning rate."""
    model = factorising()
    exact, q = model.exact_q(), converge(model, local, num_data=4)
    assert np.abs((q.mu - exact.mu) / exact.sigma).max() < 0.1
    assert np.abs(q.sigma / exact.sigma - 1.0).max() < 0.1
    overweighted = converge(model, local, num_data=1)  # NoKLScale
    assert np.abs(overweighted.sigma / exact.sigma - 1.0).max() > 0.3


@pytest.mark.parametrize("local", [False, True])
def test_first_step_of_fit_is_the_learning_rate(local: bool) -> None:
    """Adam's first step is learning_rate·g/(|g| + 1e-8) in every coordinate, upwards along the gradient g."""
    case = make_case((1, 1), 3, 1, 1, 1.0)
    far = DiagNormal(
        np.full(2, 50.0), np.full(2, 5.0)
    )  # mu and rho fall, whatever the noise: the prior pulls at both
    q, _ = bnn.fit(
        far, case.prior, case.inputs[None], case.targets[None], np.random.default_rng(0), **fit_by(local),
        num_data=1e-3, num_samples=2, learning_rate=0.05, **case.model,
    )  # fmt: skip
    np.testing.assert_allclose([q.mu - far.mu, q.rho - far.rho], -0.05, rtol=1e-6)


@pytest.mark.parametrize("module", [bnn, fast], ids=["definition", "fast"])
@pytest.mark.parametrize("local", [False, True])
def test_fit_continues_from_adams_state_exactly(local: bool, module: Any) -> None:
    case = frozen(make_case((2, 3, 1), 6, 1, 4, 1.0))
    inputs, targets = minibatches(case, np.random.default_rng(6), 6, 3)

    def fit(
        rng: np.random.Generator,
        q: DiagNormal,
        steps: slice,
        adam: bnn.AdamState | None = None,
    ) -> Any:
        return module.fit(
            q, case.prior, inputs[steps], targets[steps], rng, adam=adam, **fit_by(local, module),
            num_samples=2, learning_rate=0.05, num_data=6, **case.model,
        )  # fmt: skip

    straight = fit(np.random.default_rng(5), case.q, slice(6))
    rng = np.random.default_rng(5)
    q, adam = fit(rng, case.q, slice(3))
    for array in adam[:2]:
        array.setflags(write=False)
    position = rng.bit_generator.state
    halves = fit(rng, q, slice(3, 6), adam)
    assert adam.num_steps == 3
    assert halves[1].num_steps == straight[1].num_steps == 6
    for value, expected in zip(
        (halves[0].mu, halves[0].rho, *halves[1][:2]),
        (straight[0].mu, straight[0].rho, *straight[1][:2]),
    ):
        np.testing.assert_array_equal(value, expected)
    rng.bit_generator.state = position
    assert (
        np.abs(fit(rng, q, slice(3, 6))[0].mu - straight[0].mu).max() > 1e-3
    )  # the state dropped
    unmoved, _ = fit(rng, case.q, slice(0))
    np.testing.assert_array_equal(unmoved.mu, case.q.mu)


def frozen(case: Case) -> Case:
    """The case with arrays that raise when written to."""
    for array in (case.inputs, case.targets, case.eps, *case.zeta):
        array.setflags(write=False)
    return case


def test_no_function_writes_to_its_arguments() -> None:
    case = frozen(make_case((2, 3, 1), 4, 2, 0, 1.0))
    rows, model = (case.inputs, case.targets), case.model
    for local in (False, True):
        noise = noise_of(case, local)
        elbo = bnn.elbo_local if local else bnn.elbo
        for function in (elbo, *(each[local] for each in GRADIENTS.values())):
            first, second = (
                function(case.q, case.prior, *rows, noise, num_data=4, **model)
                for _ in range(2)
            )
            np.testing.assert_array_equal(first, second)
    bnn.predict(case.q, case.inputs, case.eps, **model)
    bnn.predictive_log_density(case.q, *rows, case.eps, **model)
    arrays = [case.q.mu, case.q.sigma, case.prior.mu, case.prior.sigma]
    copies = [a.copy() for a in arrays]
    bnn.kl_diag_normal(*arrays)
    bnn.adam_step(
        case.q.mu,
        case.q.rho,
        bnn.AdamState(case.q.mu, case.q.sigma, 1),
        learning_rate=0.1,
    )
    for array, copy in zip(arrays, copies):
        np.testing.assert_array_equal(array, copy)


# ---------------------------------------------------------------- prediction


@settings(max_examples=30)
@given(cases(max_samples=4))
def test_predict_against_slow_loop(case: Case) -> None:
    mean, std = bnn.predict(case.q, case.inputs, case.eps, **case.model)
    theta = case.q.mu + case.q.sigma * case.eps
    outputs = slow_mlp(theta, case.inputs, case.layer_sizes, lambda x: max(x, 0.0))
    for n, o in np.ndindex(mean.shape):
        samples = [float(x) for x in outputs[:, n, o]]
        expected = math.fsum(samples) / len(samples)
        spread = math.fsum((x - expected) ** 2 for x in samples) / len(samples)
        assert mean[n, o] == pytest.approx(expected, rel=1e-10, abs=1e-10)
        assert std[n, o] == pytest.approx(
            math.sqrt(spread + case.likelihood_sigma**2), rel=1e-10
        )


@settings(max_examples=20)
@given(linear_models())
def test_predict_against_closed_form(model: Linear) -> None:
    """±1 noise has the moments of standard normals, so the sample's mean and variance are the true ones."""
    case, outputs = model.case, len(model.var)
    keywords = {"layer_sizes": case.layer_sizes, "likelihood_sigma": model.sigma}
    mean, std = bnn.predict(case.q, case.inputs, model.eps, **keywords)
    variance = model.x**2 @ (case.q.sigma**2).reshape(-1, outputs)
    np.testing.assert_allclose(
        mean, model.x @ case.q.mu.reshape(-1, outputs), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(std, np.sqrt(variance + model.var), rtol=1e-12)
    assert np.all(std - np.sqrt(variance) > 1e-4)  # without the observation noise


@settings(max_examples=30)
@given(cases(max_samples=4))
def test_predictive_log_density_against_slow_loop(case: Case) -> None:
    """The loop takes 50 digits, since far from the targets every sample's density underflows."""
    values = bnn.predictive_log_density(
        case.q, case.inputs, case.targets + 50.0, case.eps, **case.model
    )
    outputs = slow_mlp(
        case.q.mu + case.q.sigma * case.eps,
        case.inputs,
        case.layer_sizes,
        lambda x: max(x, 0.0),
    )
    sigma = mp.mpf(case.likelihood_sigma)
    for n, value in enumerate(values):
        total = mp.mpf(0)
        for output in outputs[:, n]:
            total += mp.fprod(
                mp.npdf(mp.mpf(t) + 50, mp.mpf(float(o)), sigma)
                for t, o in zip(case.targets[n].tolist(), output)
            )
        assert value == pytest.approx(float(mp.log(total / len(outputs))), rel=1e-10)


@pytest.mark.parametrize("target", [-4.0, 0.0, 1.5])
def test_predictive_log_density_against_integration(target: float) -> None:
    """One uncertain weight, its noise at the midpoints of 20 000 strata of equal mass: error about 1e-8. B12"""
    x, mean, sigma, likelihood_sigma, num_samples = 2.0, 0.5, 1.2, 0.4, 20_000
    q = DiagNormal(
        np.array([mean, 0.0]), np.array([float(bnn.softplus_inverse(sigma)), -700.0])
    )
    strata = ndtri((np.arange(num_samples) + 0.5) / num_samples)
    eps = np.stack([strata, np.zeros(num_samples)], axis=1)
    keywords = {"layer_sizes": (1, 1), "likelihood_sigma": likelihood_sigma}
    value = bnn.predictive_log_density(
        q, np.array([[x]]), np.array([[target]]), eps, **keywords
    )[0]

    def integrand(w: float) -> float:
        return stats.norm.pdf(w, mean, sigma) * stats.norm.pdf(
            target, w * x, likelihood_sigma
        )

    peak = target / x
    integral, _ = integrate.quad(
        integrand, peak - 5.0, peak + 5.0, points=[peak], epsabs=1e-13, limit=200
    )
    assert value == pytest.approx(math.log(integral), abs=1e-6)
    closed_form = stats.norm.logpdf(
        target, mean * x, math.hypot(x * sigma, likelihood_sigma)
    )
    assert value == pytest.approx(closed_form, abs=1e-6)
    averaged = stats.norm.logpdf(
        target, mean * x, likelihood_sigma
    )  # AveragedPrediction
    assert abs(value - averaged) > 0.1


# ---------------------------------------------------------------- errors

NAN, INF = math.nan, math.inf
A1, A2 = np.ones(1), np.ones(2)
Q2 = DiagNormal(np.zeros(2), np.zeros(2))
ROWS = np.ones((3, 1))
EPS, ZETA = np.zeros((5, 2)), [np.zeros((5, 3, 1))]
MODEL = {"layer_sizes": (1, 1), "likelihood_sigma": 1.0}
TRAINING = MODEL | {
    "num_data": 3,
    "num_samples": 1,
    "learning_rate": 0.1,
}


def call_elbo(
    inputs: Any = ROWS, targets: Any = ROWS, prior: DiagNormal = Q2, **changes: Any
) -> Any:
    return bnn.elbo(
        Q2, prior, inputs, targets, EPS, **MODEL | {"num_data": 3} | changes
    )


def call_fit(inputs: Any = ROWS, targets: Any = ROWS, **changes: Any) -> Any:
    return bnn.fit(
        Q2,
        Q2,
        inputs[None],
        targets[None],
        np.random.default_rng(0),
        **TRAINING | changes,
    )


def call_predict(inputs: Any = ROWS, **changes: Any) -> Any:
    return bnn.predict(Q2, inputs, EPS, **MODEL | changes)


def call_density(targets: Any = ROWS, **changes: Any) -> Any:
    return bnn.predictive_log_density(Q2, ROWS, targets, EPS, **MODEL | changes)


def call_kl(**changes: Any) -> Any:
    return bnn.kl_diag_normal(
        **{"mu_q": A2, "sigma_q": A2, "mu_p": A2, "sigma_p": A2} | changes
    )


ERRORS: list[tuple[str, Callable[[], Any]]] = [
    (
        "mu must be finite, got nan at index (1,)",
        lambda: DiagNormal([0.0, NAN], [0.0, 0.0]),
    ),
    (
        "rho must be finite, got -inf at index (0,)",
        lambda: DiagNormal([0.0, 0.0], [-INF, 0.0]),
    ),
    ("mu and rho must both be (D,), got (2,) and (1,)", lambda: DiagNormal(A2, A1)),
    (
        "mu and rho must both be (D,)",
        lambda: DiagNormal(np.ones((1, 2)), np.ones((1, 2))),
    ),
    ("rho must be >= -700, got min -701.0", lambda: DiagNormal([0.0], [-701.0])),
    ("rho must be finite", lambda: bnn.softplus(np.array([NAN]))),
    (
        "sigma must be > 0 and finite, got min 0.0",
        lambda: bnn.softplus_inverse(np.array([1.0, 0.0])),
    ),
    ("sigma must be > 0 and finite", lambda: bnn.softplus_inverse(INF)),
    (
        "sigma must be > 0 and finite, got -1.0",
        lambda: bnn.normal_log_density(A1, A1, -1.0),
    ),
    ("mu_q must be finite", lambda: call_kl(mu_q=np.array([0.0, NAN]))),
    ("mu_p must be finite", lambda: call_kl(mu_p=np.array([0.0, INF]))),
    (
        "sigma_q must be > 0 and finite, got min -1.0",
        lambda: call_kl(sigma_q=np.array([-1.0, 1.0])),
    ),
    (
        "sigma_p must be > 0 and finite, got min 0.0",
        lambda: call_kl(sigma_p=np.array([0.0, 1.0])),
    ),
    ("must have the same last axis", lambda: call_kl(mu_p=A1, sigma_p=A1)),
    ("delta_mu must have shape (2,), got (1,)", lambda: bnn.kl_taylor(Q2, A1, A2)),
    ("delta_rho must have shape (2,), got (1,)", lambda: bnn.kl_taylor(Q2, A2, A1)),
    (
        "layer_sizes must name inputs and outputs, got (3,)",
        lambda: bnn.num_weights((3,)),
    ),
    (
        "layer_sizes must be a whole number >= 1, got (1, 2)",
        lambda: bnn.num_weights(((1, 2), 3)),
    ),
    (
        "layer_sizes must name inputs and outputs, got {1, 3}",
        lambda: bnn.num_weights({1, 3}),
    ),
    (
        "layer_sizes must be a whole number >= 1, got 0",
        lambda: bnn.num_weights((3, 0, 1)),
    ),
    (
        "layer_sizes must be a whole number >= 1, got 1.5",
        lambda: bnn.num_weights((1.5, 1)),
    ),
    (
        "theta must have shape (5, 2), got (5, 3)",
        lambda: bnn.unflatten(np.zeros((5, 3)), (1, 1)),
    ),
    (
        "theta must have shape (5, 2), got (5, 3)",
        lambda: bnn.mlp(np.zeros((5, 3)), ROWS, (1, 1)),
    ),
    (
        "inputs must have shape (3, 2), got (3, 1)",
        lambda: bnn.mlp(np.zeros((5, 3)), ROWS, (2, 1)),
    ),
    (
        "eps must have shape (5, 2), got (5, 3)",
        lambda: bnn.sample_weights(Q2, np.zeros((5, 3))),
    ),
    (
        "zeta must have one array per layer, 1, got 2",
        lambda: bnn.mlp_local(Q2, ROWS, ZETA * 2, (1, 1)),
    ),
    ("theta must be finite", lambda: bnn.mlp(np.full((5, 2), NAN), ROWS, (1, 1))),
    ("eps must be finite", lambda: bnn.sample_weights(Q2, np.full((5, 2), INF))),
    (
        "zeta must be finite",
        lambda: bnn.mlp_local(Q2, ROWS, [np.full((5, 3, 1), NAN)], (1, 1)),
    ),
    (
        "zeta must be a list of one array",
        lambda: bnn.elbo_local(Q2, Q2, ROWS, ROWS, EPS, **MODEL, num_data=3),
    ),
    (
        "zeta must be a list of one array",
        lambda: bnn.elbo_grad_local(Q2, Q2, ROWS, ROWS, EPS, **MODEL, num_data=3),
    ),
    (
        "zeta must be a list of one array",
        lambda: bnn.elbo_local(Q2, Q2, ROWS, ROWS, zeta=EPS, **MODEL, num_data=3),
    ),
    (
        "zeta must have shape (5, 4, 1)",
        lambda: bnn.mlp_local(Q2, np.ones((4, 1)), ZETA, (1, 1)),
    ),
    (
        "inputs must have shape (3, 1)",
        lambda: bnn.mlp_local(Q2, np.ones((3, 2)), ZETA, (1, 1)),
    ),
    (
        "targets must have shape (3, 1)",
        lambda: bnn.log_likelihood(np.zeros((5, 3, 1)), np.zeros((3, 2)), 1.0),
    ),
    (
        "likelihood_sigma must have shape (1,)",
        lambda: bnn.log_likelihood(np.zeros((5, 3, 1)), ROWS, A2),
    ),
    (
        "likelihood_sigma must be > 0 and finite",
        lambda: bnn.log_likelihood(np.zeros((5, 3, 1)), ROWS, 0.0),
    ),
    (
        "inputs must be finite, got nan at index (1, 0)",
        lambda: call_elbo(inputs=np.array([[0.0], [NAN], [0.0]])),
    ),
    ("targets must be finite", lambda: call_elbo(targets=np.full((3, 1), INF))),
    (
        "same number of rows >= 1, got 3 and 2",
        lambda: call_elbo(targets=np.ones((2, 1))),
    ),
    (
        "same number of rows >= 1, got 0 and 0",
        lambda: call_elbo(np.ones((0, 1)), np.ones((0, 1))),
    ),
    ("num_data must be > 0 and finite", lambda: call_elbo(num_data=0)),
    (
        "prior.mu must have shape (2,), got (1,)",
        lambda: call_elbo(prior=DiagNormal(A1, A1)),
    ),
    ("inputs must be finite", lambda: call_fit(inputs=np.full((3, 1), NAN))),
    (
        "targets must have shape (1, 3, 1), got (1, 2, 1)",
        lambda: call_fit(targets=np.ones((2, 1))),
    ),
    (
        "rows of a minibatch of inputs must be a whole number >= 1, got 0",
        lambda: call_fit(np.ones((0, 1)), np.ones((0, 1))),
    ),
    (
        "num_samples must be a whole number >= 1, got 2.5",
        lambda: call_fit(num_samples=2.5),
    ),
    (
        "sample_noise must be a function, got 3",
        lambda: call_fit(sample_noise=3),
    ),
    (
        "eps must be an array (S, 2), got a list of 1 arrays",
        lambda: call_fit(sample_noise=bnn.sample_zeta),
    ),
    (
        "eps must be an array (S, 2), got a list of 1 arrays",
        lambda: bnn.sample_weights(Q2, ZETA),
    ),
    (
        "gradient must be a function, got 'numeric'",
        lambda: call_fit(gradient="numeric"),
    ),
    ("inputs must be finite", lambda: call_predict(np.full((3, 1), NAN))),
    (
        "likelihood_sigma must be > 0 and finite",
        lambda: call_predict(likelihood_sigma=-1.0),
    ),
    (
        "likelihood_sigma must have shape (1,), got (2,)",
        lambda: call_predict(likelihood_sigma=A2),
    ),
    (
        "x must be finite, got nan at index (0,)",
        lambda: bnn.normal_log_density(np.array([NAN]), A1, A1),
    ),
    (
        "mean must be finite, got inf at index (0,)",
        lambda: bnn.normal_log_density(A1, np.array([INF]), A1),
    ),
    (
        "sigma must be > 0 and finite, got min 1.0, max inf",
        lambda: bnn.softplus_inverse(np.array([1.0, INF])),
    ),
    (
        "samples in eps must be a whole number >= 1, got 0",
        lambda: bnn.sample_weights(Q2, np.zeros((0, 2))),
    ),
    (
        "samples in zeta must be a whole number >= 1, got 0",
        lambda: bnn.mlp_local(Q2, ROWS, [np.zeros((0, 3, 1))], (1, 1)),
    ),
    (
        "sigma must be >= 1e-150 for 1/sigma², got min 5.2",
        lambda: bnn.kl_hessian_diag(DiagNormal(A1, A1 - 400.0)),
    ),
    (
        "gradient must have shape (2,), got (1,)",
        lambda: bnn.adam_step(A2, A1, bnn.adam_init(2), learning_rate=0.1),
    ),
    (
        "state.mean must have shape (2,)",
        lambda: bnn.adam_step(A2, A2, bnn.adam_init(1), learning_rate=0.1),
    ),
    (
        "x, mean, sigma must have shapes that agree, got [(3,), (3,), (2,)]",
        lambda: bnn.normal_log_density(np.zeros(3), np.zeros(3), A2),
    ),
    (
        "outputs must have shape (any, any, any), got (3, 1)",
        lambda: bnn.log_likelihood(ROWS, ROWS, 1.0),
    ),
    (
        "params must have shape (any,), got (2, 2)",
        lambda: bnn.adam_step(
            np.eye(2),
            np.eye(2),
            bnn.AdamState(np.eye(2), np.eye(2), 0),
            learning_rate=0.1,
        ),
    ),
    (
        "q.mu must have shape (2,), got (1,)",
        lambda: bnn.predict(
            DiagNormal(A1, A1), ROWS, EPS, layer_sizes=(1, 1), likelihood_sigma=1.0
        ),
    ),
    (
        "learning_rate must be > 0",
        lambda: bnn.adam_step(A2, A2, bnn.adam_init(2), learning_rate=-1.0),
    ),
    ("q must be a DiagNormal, got ndarray", lambda: bnn.kl_hessian_diag(A2)),
    (
        "layer_sizes must be a whole number >= 1, got 2.0",
        lambda: bnn.num_weights((2.0, 1)),
    ),
    ("targets must be finite", lambda: call_density(targets=np.full((3, 1), NAN))),
    ("same number of rows", lambda: call_density(targets=np.ones((2, 1)))),
]


@pytest.mark.parametrize(("message", "call"), ERRORS, ids=range(len(ERRORS)))
def test_errors_name_argument_requirement_and_value(
    message: str, call: Callable[[], Any]
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_errors_come_from_what_is_changed() -> None:
    """Unchanged, the same calls raise nothing."""
    for call in (call_kl, call_elbo, call_fit, call_predict, call_density):
        call()


# ---------------------------------------------------------------- the ends of the range of numbers


SATURATED = [0.0, 0.5, -3.0, 18.0, -40.0, 400.0, -800.0, 1e6, -1e300]


@pytest.mark.parametrize("x", SATURATED)
def test_tanh_and_its_derivatives_against_60_digits(x: float) -> None:
    """tanh′ = 1 − tanh² and tanh″ = −2 tanh (1 − tanh²); double precision of tanh limits both."""
    first = autograd.grad(bnn.tanh)
    second = autograd.grad(first)
    with mp.workdps(60):
        exact = mp.tanh(mp.mpf(x)) if abs(x) < 1e3 else mp.sign(x)
        slope = 1 - exact**2
        curvature = -2 * exact * slope
    assert bnn.tanh(x) == pytest.approx(float(exact), abs=1e-15)
    assert first(x) == pytest.approx(float(slope), abs=4e-16)
    assert second(x) == pytest.approx(float(curvature), abs=8e-16)


def test_tanh_control_of_autograds_own() -> None:
    """Its derivative divides by cosh², which overflows; the second one is ∞ · 0."""
    with np.errstate(all="ignore"):
        assert np.isnan(autograd.grad(autograd.grad(anp.tanh))(800.0))


@pytest.mark.parametrize(
    "moments",
    [
        (0.0, 1e-200, 0.0, 1e200),
        (3.0, 5e-324, -2.0, 1.0),
        (0.0, 1e-300, 1.0, 1e308),
        (0.0, 1e150, 0.0, 1.0),
        (1e300, 1.0, 1e300, 1e-5),
    ],
)
def test_kl_diag_normal_of_extreme_widths_against_900_digits(moments: Any) -> None:
    given = [np.array([each]) for each in moments]
    value = bnn.kl_diag_normal(*given)
    with mp.workdps(900):
        exact = exact_kl(*given)
    assert relative_error(value, exact) <= 1e-12
    ratio = given[1] / given[3]
    with np.errstate(
        all="ignore"
    ):  # the plain logarithm of the ratio would lose the first three
        plain = 0.5 * (ratio**2 - 1 - 2 * np.log(ratio))[0]
    if moments[1] < 1e-150:
        assert not np.isfinite(plain) or moments[1] == 5e-324


@pytest.mark.parametrize(
    "moments",
    [
        (0.0, 1e200, 0.0, 1e-200),  # a ratio of 1e400
        (0.0, 1e160, 0.0, 1.0),
        (1e200, 1.0, 0.0, 1.0),
        (1.7e308, 1.0, -1.7e308, 1.0),
    ],
)
def test_kl_diag_normal_that_overflows_is_rejected(moments: Any) -> None:
    """The exact value exceeds the largest double, so no number can be right."""
    given = [np.array([each]) for each in moments]
    assert exact_kl(*given) > mp.mpf(np.finfo(float).max)
    with pytest.raises(ValueError, match=r"^KL must be finite, got (inf|nan)"):
        bnn.kl_diag_normal(*given)


@pytest.mark.parametrize(
    ("rho", "local"),
    # Under local reparameterization σ² enters, which underflows below ρ = −370.
    [
        (-100.0, False),
        (-300.0, False),
        (-699.0, False),
        (-100.0, True),
        (-300.0, True),
    ],
)
def test_elbo_gradient_of_narrow_posteriors_against_autograd(
    rho: float, local: bool
) -> None:
    """A prior as narrow as the posterior; 1/σ² of either may overflow."""
    case = make_case((2, 3, 1), 3, 2, 5, 1.0)
    narrow = np.full(len(case.q.mu), rho)
    changes = {
        "q": DiagNormal(case.q.mu, narrow),
        "prior": DiagNormal(case.q.mu, narrow + 0.25),
    }
    right = gradient_of(case, local, GRADIENTS["autograd"][local], **changes)
    by_hand = gradient_of(case, local, GRADIENTS["by hand"][local], **changes)
    assert np.all(np.isfinite(right))
    np.testing.assert_allclose(by_hand, right, rtol=1e-9, atol=1e-300)


HUGE_WEIGHTS = DiagNormal(np.full(2, 1e200), np.zeros(2))
LINE_OF_1: Any = {"layer_sizes": (1, 1), "likelihood_sigma": 1.0}
TWO_ROWS = np.array([[1.0], [2.0]])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        (
            "activations",
            lambda: bnn.mlp(np.full((1, 2), 1e200), TWO_ROWS * 1e200, (1, 1)),
        ),
        (
            "log density",
            lambda: bnn.log_likelihood(TWO_ROWS[None] * 1e200, TWO_ROWS, 1.0),
        ),
        ("log density", lambda: bnn.normal_log_density(1e200, 0.0, 1.0)),
        ("KL", lambda: bnn.kl_taylor(DiagNormal([0.0], [-300.0]), [1e100], [0.0])),
        (
            "log density",
            lambda: bnn.predictive_log_density(
                HUGE_WEIGHTS, TWO_ROWS, TWO_ROWS, np.zeros((1, 2)), **LINE_OF_1
            ),
        ),
        (
            "standard deviation",
            lambda: bnn.predict(
                HUGE_WEIGHTS, TWO_ROWS, [[0.0, 1e200], [0.0, -1e200]], **LINE_OF_1
            ),
        ),
        (
            "log density",
            lambda: bnn.elbo(
                HUGE_WEIGHTS,
                HUGE_WEIGHTS,
                TWO_ROWS,
                TWO_ROWS,
                np.zeros((1, 2)),
                num_data=2,
                **LINE_OF_1,
            ),
        ),
        (
            "ELBO",
            lambda: bnn.elbo(
                DiagNormal([1e150, 0.0], [0.0, 0.0]),
                DiagNormal([1e150, 0.0], [0.0, 0.0]),
                TWO_ROWS,
                TWO_ROWS,
                np.zeros((1, 2)),
                num_data=1e300,
                **LINE_OF_1,
            ),
        ),
        (
            "mean",
            lambda: bnn.predict(
                DiagNormal([1e308, 0.0], [0.0, 0.0]),
                TWO_ROWS**0,
                np.zeros((2, 2)),
                **LINE_OF_1,
            ),
        ),
        (
            r"gradient\*\*2",
            lambda: bnn.adam_step([0.0], [1e200], bnn.adam_init(1), learning_rate=0.1),
        ),
    ],
)
def test_results_that_overflow_are_rejected_by_name(
    name: str, call: Callable[[], Any]
) -> None:
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=f"^{name} must be finite, got -?(inf|nan)"),
    ):
        call()


@pytest.mark.parametrize("name", ["mu", "rho"])
def test_the_half_of_a_gradient_that_overflows_is_named(name: str) -> None:
    """The slope is 1e400. Control: 1e200."""
    q = DiagNormal(np.zeros(2), np.zeros(2))

    def slopes(size: float) -> Any:
        return bnn.gradient_at(
            q, lambda moved: anp.sum(size * (1e200 * getattr(moved, name)))
        )

    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=f"^grad_{name} must be finite, got inf"),
    ):
        slopes(1e200)
    assert np.max(slopes(1.0)) == 1e200


def test_predict_of_a_wide_likelihood_against_its_sum_of_squares() -> None:
    """σ_l² alone would overflow; √(0² + σ_l²) is σ_l."""
    settings_ = {"layer_sizes": (1, 1), "likelihood_sigma": 1e200}
    q = DiagNormal(np.zeros(2), np.zeros(2))
    _, width = bnn.predict(q, TWO_ROWS, np.zeros((2, 2)), **settings_)
    np.testing.assert_array_equal(width, np.full((2, 1), 1e200))


# ---------------------------------------------------------------- one entrance for arrays


def test_kl_diag_normal_of_unsigned_bytes_equals_that_of_floats() -> None:
    """½[(2/4)² − 1 − 2 log(2/4) + (2/4)²] = log 2 − ¼, where 1 − 3 wraps to 254."""
    moments = [np.array([each], dtype=np.uint8) for each in (1, 2, 3, 4)]
    assert float(bnn.kl_diag_normal(*moments)) == pytest.approx(
        math.log(2) - 0.25, rel=1e-14
    )
    assert 0.5 * float((moments[0] - moments[2])[0] / 4.0) ** 2 > 2000  # the control


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": np.ndarray.tolist,
    "Fortran order": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "big-endian": lambda array: array.astype(">f8"),
    "read-only": lambda array: np.frombuffer(array.tobytes()).reshape(array.shape),
    "float32": lambda array: array.astype(np.float32),
    "integers": lambda array: array.astype(np.int32),
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_an_array_give_the_same_elbo(form: str) -> None:
    whole = np.round(
        4 * np.random.default_rng(2).normal(size=(3, 2))
    )  # exact in each form
    case = make_case((2, 3, 1), 3, 2, 5, 1.0)

    def bound(inputs: Any) -> float:
        rest = (case.targets, case.eps)
        return float(
            bnn.elbo(case.q, case.prior, inputs, *rest, num_data=3, **case.model)
        )

    assert bound(FORMS[form](whole)) == bound(whole)


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.array([1j, 0.0]), "ndarray of complex128"),
        (np.array([None, 1.0]), "ndarray of object"),
        (["a", "b"], "list of <U1"),
        ([True, False], "list of bool"),
        ([[1.0], [1.0, 2.0]], "list of object"),
        (None, "NoneType of object"),
        ({"a": 1.0}, "dict of object"),
    ],
    ids=["complex", "object", "text", "bools", "ragged", "nothing", "dict"],
)
def test_what_holds_no_real_numbers_is_rejected_by_name(values: Any, got: str) -> None:
    message = f"x must be an array of real numbers, got {got}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        bnn.check_array("x", values)


@pytest.mark.parametrize("value", [NAN, np.longdouble("1e4000")])
def test_one_number_that_is_not_finite_has_no_index(value: Any) -> None:
    """A number that float64 can't hold counts as infinite."""
    with pytest.raises(ValueError, match=r"^x must be finite, got (nan|inf)$"):
        bnn.check_array("x", value)


@pytest.mark.parametrize("value", [1.0, "3", None, True, np.bool_(True), [3], 3 + 0j])
def test_check_count_rejects_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^size must be a whole number >= 1, got "):
        bnn.check_count("size", value)


@pytest.mark.parametrize("value", [np.uint8(200), np.int64(200), np.array(200), 200])
def test_check_count_returns_a_python_int(value: Any) -> None:
    """−np.uint8(200) is 56, so that a slice from it takes other rows."""
    count = bnn.check_count("size", value)
    assert type(count) is int
    assert -count == -200


@pytest.mark.parametrize("value", [1, 0.0, "True", None, [True], np.array([True])])
def test_check_flag_rejects_what_is_no_flag(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^normalize must be True or False, got "):
        bnn.check_flag("normalize", value)


def test_check_flag_and_check_flags_convert() -> None:
    assert bnn.check_flag("f", np.bool_(True)) is True
    np.testing.assert_array_equal(bnn.check_flags("f", [1, 0.0], (2,)), [True, False])
    np.testing.assert_array_equal(
        bnn.check_flags("f", [True, False], (2,)), [True, False]
    )
    for bad in ([2, 0], [math.nan, 1.0], [True], ["a", "b"]):
        with pytest.raises(ValueError, match=r"^f must "):
            bnn.check_flags("f", bad, (2,))


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None, True, [1.0], 1j])
def test_check_number_rejects_what_is_no_finite_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^x must be "):
        bnn.check_number("x", value)


def test_nan_is_rejected_while_autograd_traces() -> None:
    """A box around NaN is looked into."""
    with pytest.raises(ValueError, match=r"^rho must be finite, got nan"):
        autograd.grad(lambda rho: bnn.softplus(rho))(math.nan)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("state", None),
        ("state.mean", bnn.AdamState(np.zeros(3), np.zeros(2), 0)),
        ("state.square", bnn.AdamState(np.zeros(2), np.zeros(1), 0)),
        ("state.square", bnn.AdamState(np.zeros(2), -np.ones(2), 0)),
        ("state.num_steps", bnn.AdamState(np.zeros(2), np.zeros(2), -1)),
        ("state.num_steps", bnn.AdamState(np.zeros(2), np.zeros(2), 1.5)),
    ],
)
def test_adam_step_checks_its_state(name: str, state: Any) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(name)} must "):
        bnn.adam_step(np.zeros(2), np.zeros(2), state, learning_rate=0.1)


@pytest.mark.parametrize(
    "sizes", [3, "32", None, (3,), (3, 0), (3, 2.5), (3, True), np.array(3)]
)
def test_layer_sizes_are_checked(sizes: Any) -> None:
    with pytest.raises(ValueError, match=r"^layer_sizes must "):
        bnn.num_weights(sizes)


@pytest.mark.parametrize("sizes", [[1, 1], np.array([1, 1]), (np.int64(1), 1)])
def test_layer_sizes_may_be_a_list_or_of_numpy(sizes: Any) -> None:
    assert bnn.num_weights(sizes) == 2


def test_hessian_of_no_weights_has_no_entries() -> None:
    """Its least σ is that of no weight, so no limit is crossed."""
    h_mu, h_rho = bnn.kl_hessian_diag(DiagNormal(np.zeros(0), np.zeros(0)))
    assert h_mu.shape == h_rho.shape == (0,)


def test_shapes_that_do_not_agree_are_named() -> None:
    """The last axes agree, the first ones do not."""
    three, four = np.ones((3, 2)), np.ones((4, 2))
    with pytest.raises(ValueError, match=r"^mu_q, sigma_q, mu_p, sigma_p must have "):
        bnn.kl_diag_normal(three, three, four, four)
    with pytest.raises(ValueError, match=r"^x, mean, sigma must have shapes that "):
        bnn.normal_log_density(three, four, 1.0)

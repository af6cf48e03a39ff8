"""What a transition teaches: the step, the gain, the fast batch, the pool and the bonus, each against an oracle."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import autograd.numpy as anp
import mpmath as mp
import numpy as np
import pytest
from autograd import grad
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from strategies import (
    Case,
    cases,
    finite,
    fit_by,
    log_uniform,
    make_case,
    noise_of,
    seeds,
)
from vime_helpers import BOX, SMALL, assert_equal_states, state_of

import bnn_ref as bnn
import fast_ref as fast
import vime_ref as vime
from bnn_ref import DiagNormal

WEIGHTS_AND_LOCAL = pytest.mark.parametrize(
    "local", [False, True], ids=["weights", "local"]
)


BOTH_MODULES = pytest.mark.parametrize(
    "module", [vime, fast], ids=["definition", "fast"]
)


def function(name: str, local: bool, module: object = vime) -> Callable:
    return getattr(module, name + "_local" * local)


def settings_by(local: bool, module: object = vime) -> dict[str, object]:
    """The four functions of `VimeSettings`, of one kind."""
    gradients = fast if module is fast else bnn
    gains = function("information_gains", local, module)
    return {**fit_by(local, gradients), "fit": gradients.fit, "gains": gains}


def read_only(values) -> np.ndarray:
    """A read-only copy, so that a function that mutates its input raises (InputMutation)."""
    copy = np.array(values)
    copy.setflags(write=False)
    return copy


def near(truth: float, rel: float):
    """pytest.approx without its absolute tolerance of 1e-12, in which a small gain would vanish."""
    return pytest.approx(truth, rel=rel, abs=0.0)


def relative_gap(value: float, truth: float) -> float:
    return float(abs(value - truth) / abs(truth))


# ---------------------------------------------------------------- slow definitions, written for these tests alone


def slow_outputs(mu, rho, inputs, noise, layer_sizes):
    """(S, N, O), one network after another; autograd can trace it."""
    local, sigma, outputs = isinstance(noise, list), anp.log1p(anp.exp(rho)), []
    for s in range(len(noise[0] if local else noise)):
        h, start = inputs, 0
        for layer, (i, o) in enumerate(zip(layer_sizes, layer_sizes[1:])):
            matrix, bias = (
                slice(start, start + i * o),
                slice(start + i * o, start + (i + 1) * o),
            )
            start = bias.stop
            h = anp.maximum(h, 0.0) if layer > 0 else h
            if local:
                mean = h @ mu[matrix].reshape(i, o) + mu[bias]
                variance = h**2 @ (sigma[matrix] ** 2).reshape(i, o) + sigma[bias] ** 2
                h = mean + anp.sqrt(variance) * noise[layer][s]
            else:
                theta = mu + sigma * noise[s]
                h = h @ theta[matrix].reshape(i, o) + theta[bias]
        outputs.append(h)
    return anp.stack(outputs)


def slow_surprise(phi, case: Case, noise, row: int = 0):
    """−E_q log p(s′|s, a; θ) of one row, the mean over the samples."""
    noise = (
        [zeta[:, row : row + 1] for zeta in noise] if isinstance(noise, list) else noise
    )
    outputs = slow_outputs(*phi, case.inputs[row : row + 1], noise, case.layer_sizes)
    z = (case.targets[row] - outputs) / case.likelihood_sigma
    log_p = -0.5 * z**2 - anp.log(case.likelihood_sigma) - 0.5 * anp.log(2 * anp.pi)
    return -anp.sum(log_p) / len(outputs)


def slow_kl(phi, phi_old):
    (mu, sigma), (mu_old, sigma_old) = (
        (m, anp.log1p(anp.exp(r))) for m, r in (phi, phi_old)
    )
    ratio = sigma / sigma_old
    return 0.5 * anp.sum(
        ratio**2 - 1.0 - 2.0 * anp.log(ratio) + ((mu - mu_old) / sigma_old) ** 2
    )


def slow_loss(phi, phi_old, case: Case, noise):
    return slow_kl(phi, phi_old) + slow_surprise(phi, case, noise)


def slow_hessian(q: DiagNormal) -> tuple[np.ndarray, np.ndarray]:
    sigma = np.log1p(np.exp(q.rho))
    return 1.0 / sigma**2, 2.0 * (expit(q.rho) / sigma) ** 2


def slow_taylor_gain(case: Case, noise, row: int, step_size: float) -> float:
    gradients = grad(slow_surprise)((case.q.mu, case.q.rho), case, noise, row)
    return (
        0.5
        * step_size**2
        * sum(np.sum(g**2 / h) for g, h in zip(gradients, slow_hessian(case.q)))
    )


def gain_50_digits(q_new, q_old, digits: int = 50) -> mp.mpf:
    """KL of the stored (mu, rho), each argument a pair of sequences."""
    with mp.workdps(digits):
        total = mp.mpf(0)
        for m_new, r_new, m_old, r_old in zip(*q_new, *q_old):
            new, old = (mp.log1p(mp.exp(r)) for r in (r_new, r_old))
            total += (
                (new / old) ** 2
                - 1
                - 2 * mp.log(new / old)
                + ((m_new - m_old) / old) ** 2
            )
        return total / 2


def high_precision(q: DiagNormal) -> tuple[list[mp.mpf], list[mp.mpf]]:
    return [mp.mpf(float(m)) for m in q.mu], [mp.mpf(float(r)) for r in q.rho]


def gain_of_stored(q_new: DiagNormal, q_old: DiagNormal) -> float:
    return float(gain_50_digits(high_precision(q_new), high_precision(q_old)))


# ---------------------------------------------------------------- one transition


@WEIGHTS_AND_LOCAL
@given(case=cases(max_rows=1))
@settings(max_examples=20)
def test_transition_loss_against_slow_sum(case: Case, local: bool) -> None:
    """Equation V1"""
    noise = noise_of(case, local)
    loss = function("transition_loss", local)(
        case.q, case.prior, case.inputs, case.targets, noise, **case.model
    )
    phi, phi_old = (case.q.mu, case.q.rho), (case.prior.mu, case.prior.rho)
    assert loss == pytest.approx(slow_loss(phi, phi_old, case, noise), rel=1e-11)
    swapped = slow_kl(phi_old, phi) + slow_surprise(phi, case, noise)
    assert loss != pytest.approx(swapped, rel=1e-9), "SwappedKL"
    assert loss != pytest.approx(slow_surprise(phi, case, noise), rel=1e-9), "no KL"


@WEIGHTS_AND_LOCAL
@given(case=cases(max_rows=1), seed=seeds)
@settings(max_examples=20)
def test_transition_loss_gradient_at_q_old_against_directional_difference(
    case: Case, seed: int, local: bool
) -> None:
    """At φ_t the KL has gradient 0, so the slope is that of −E log p alone; away from φ_t it is not."""
    noise, phi = noise_of(case, local), np.array([case.q.mu, case.q.rho])
    direction = np.random.default_rng(seed).normal(size=phi.shape)
    surprises = [slow_surprise(phi + h * direction, case, noise) for h in (1e-5, -1e-5)]
    slope = (surprises[0] - surprises[1]) / 2e-5

    def loss(phi: tuple, q_old: DiagNormal) -> float:
        args = q_old, case.inputs, case.targets, noise
        return function("transition_loss", local)(DiagNormal(*phi), *args, **case.model)

    at_q_old, elsewhere = (
        grad(loss)((case.q.mu, case.q.rho), q_old) for q_old in (case.q, case.prior)
    )
    tolerance = 1e-6 * np.linalg.norm(
        at_q_old
    )  # the difference loses half the digits, and h² of the curvature
    assert np.sum(at_q_old * direction) == pytest.approx(slope, abs=tolerance)
    assert np.sum(elsewhere * direction) != pytest.approx(slope, abs=tolerance)


linear_cases = st.builds(
    make_case,
    st.just((1, 1)),
    st.just(1),
    st.integers(1, 3),
    seeds,
    log_uniform(0.3, 3.0),
)


@given(case=linear_cases, step_size=log_uniform(1e-4, 1.0))
@settings(max_examples=40)
def test_posterior_step_against_closed_form_of_a_linear_model(
    case: Case, step_size: float
) -> None:
    """Derivation: docs/derivations.md, 4. V2"""
    q, x = (
        case.q,
        np.array([case.inputs[0, 0], 1.0]),
    )  # the bias is the weight of a constant 1
    sigma = np.log1p(np.exp(q.rho))
    errors = (q.mu + sigma * case.eps) @ x - case.targets[0, 0]  # (S,)
    slope_mu = errors.mean() * x / case.likelihood_sigma**2
    slope_sigma = (
        (errors[:, None] * case.eps).mean(axis=0) * x / case.likelihood_sigma**2
    )
    new = vime.posterior_step(
        q, case.inputs, case.targets, case.eps, step_size=step_size, **case.model
    )
    # H in ρ is 2σ̇²/σ² and the gradient σ̇ times the slope in σ, σ̇ = sigmoid(ρ), so one σ̇ cancels.
    move_rho = step_size * sigma**2 * slope_sigma / (2 * expit(q.rho))
    np.testing.assert_allclose(
        new.mu, q.mu - step_size * sigma**2 * slope_mu, rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(new.rho, q.rho - move_rho, rtol=1e-12, atol=1e-13)
    assert not np.allclose(new.rho, q.rho - 2 * move_rho, rtol=1e-12, atol=1e-13), (
        "H without its 2"
    )


def slow_update(
    case: Case, noises, learning_rate: float, *, velocity=0.0, momentum: float = 0.0
):
    """Gradient descent on ℓ, one step per noise, and the velocity that an optimizer with state would keep."""
    start = phi = np.array([case.q.mu, case.q.rho])
    for noise in noises:
        velocity = momentum * velocity + np.array(
            grad(slow_loss)(tuple(phi), tuple(start), case, noise)
        )
        phi = phi - learning_rate * velocity
    return phi, velocity


@WEIGHTS_AND_LOCAL
@given(case=cases(max_rows=1, max_samples=2), num_steps=st.integers(1, 4))
@settings(max_examples=12)
def test_posterior_update_against_slow_loop(
    case: Case, num_steps: int, local: bool
) -> None:
    """Equation V3"""
    noise = noise_of(case, local)
    args = case.q, case.inputs, case.targets, noise
    new = function("posterior_update", local)(
        *args, num_steps=num_steps, learning_rate=1e-3, **case.model
    )
    expected, _ = slow_update(case, [noise] * num_steps, 1e-3)
    # The textbook KL's gradient near φ_t carries 1e-16 of its terms, and the steps amplify it a little.
    np.testing.assert_allclose([new.mu, new.rho], expected, rtol=1e-9, atol=1e-11)


def test_posterior_update_repeats_the_noise_and_keeps_no_state() -> None:
    case = make_case((2, 3, 1), 1, 2, 7, 0.5)

    def update() -> np.ndarray:
        args = case.q, case.inputs, case.targets, case.eps
        new = vime.posterior_update(
            *args, num_steps=3, learning_rate=1e-3, **case.model
        )
        return np.array([new.mu, new.rho])

    first, second = update(), update()
    np.testing.assert_array_equal(first, second)
    fresh_noise, _ = slow_update(case, [case.eps, -case.eps, case.eps[::-1]], 1e-3)
    assert not np.allclose(first, fresh_noise, rtol=1e-6)
    leaky_first, velocity = slow_update(case, [case.eps] * 3, 1e-3, momentum=0.9)
    leaky_second, _ = slow_update(
        case, [case.eps] * 3, 1e-3, momentum=0.9, velocity=velocity
    )
    assert not np.allclose(leaky_first, leaky_second, rtol=1e-6), "LeakyOptimiser"


# ---------------------------------------------------------------- the gain

signs = st.sampled_from([-1.0, 1.0])
moved_weights = st.lists(  # mu, rho, the size of the move with the signs it has in mu (in units of σ) and rho
    st.tuples(
        finite(-10, 10),
        st.one_of(finite(-14, 5), finite(5, 1000)),
        log_uniform(1e-8, 1e2),
        st.sampled_from([-1.0, 0.0, 1.0]),
        signs,
    ),
    min_size=1,
    max_size=4,
)


def moved(weights: list[tuple[float, ...]]) -> tuple[DiagNormal, DiagNormal]:
    mu, rho, size, mu_sign, rho_sign = np.array(weights).T
    return DiagNormal(
        mu + mu_sign * size * np.logaddexp(0, rho), rho + rho_sign * size
    ), DiagNormal(mu, rho)


@given(weights=moved_weights)
@settings(max_examples=150)
def test_information_gain_against_50_digits(weights: list[tuple[float, ...]]) -> None:
    """Equation V4"""
    q_new, q_old = moved(weights)
    assert vime.information_gain(q_new, q_old) == near(
        gain_of_stored(q_new, q_old), 1e-12
    )


@pytest.mark.parametrize(
    ("rho_new", "rho_old"),
    [(1000.0, -14.0), (750.0, 0.0), (-600.0, 150.0), (-690.0, 1000.0)],
)
def test_information_gain_against_50_digits_where_expm1_overflows(
    rho_new: float, rho_old: float
) -> None:
    q_new, q_old = (
        DiagNormal(np.zeros(1), np.array([rho])) for rho in (rho_new, rho_old)
    )
    assert vime.information_gain(q_new, q_old) == near(
        gain_of_stored(q_new, q_old), 1e-12
    )


@pytest.mark.parametrize(
    ("mu", "rho", "old_rho"), [(-1e308, 0.0, 0.0), (1e308, 1e200, 0.0), (-1e308, 1e308, -600.0)]
)  # fmt: skip
def test_a_gain_that_overflows_is_named_whatever_numpy_does(
    mu: float, rho: float, old_rho: float
) -> None:
    """NumPy raises on overflow here, as in all tests; the function's own error comes first. Control: μ moves by 1."""
    q = DiagNormal(np.array([1e308]), np.array([old_rho]))
    with pytest.raises(ValueError, match=r"^KL must be finite, got inf"):
        vime.information_gain(DiagNormal(np.array([mu]), np.array([rho])), q)
    usual = DiagNormal(np.zeros(1), np.zeros(1))
    assert vime.information_gain(DiagNormal(np.ones(1), usual.rho), usual) > 0.0


@given(weights=moved_weights)
@settings(max_examples=50)
def test_information_gain_is_zero_only_for_equal(
    weights: list[tuple[float, ...]],
) -> None:
    q_new, q = moved(weights)
    assert vime.information_gain(q, q) == 0.0
    assert vime.information_gain(q_new, q) > 0.0
    neighbor = DiagNormal(
        q.mu, q.rho + np.spacing(np.maximum(np.abs(q.rho), 1.0))
    )  # a move in the last bit
    assert vime.information_gain(neighbor, q) > 0.0


def textbook(mu_q, sigma_q, mu_p, sigma_p, fudge: float = 0.0, reduce=np.sum) -> float:
    mean_square = (mu_q - mu_p) ** 2 / (sigma_p**2 + fudge)
    terms = (
        sigma_q**2 / (sigma_p**2 + fudge)
        - 1
        - 2 * np.log(sigma_q / sigma_p)
        + mean_square
    )
    return float(0.5 * reduce(terms))


@pytest.mark.parametrize(
    ("rho", "rho_move", "mu_sign", "wrong"),
    [
        pytest.param(-0.5, 1e-8, 1.0, textbook, id="NaiveNearIdentity"),
        pytest.param(
            -0.5, 0.7, 0.0, lambda m, s, n, t: textbook(n, t, m, s), id="SwappedKL"
        ),
        pytest.param(
            -11.5,
            0.7,
            1.0,
            lambda *args: textbook(*args, fudge=1e-8),
            id="FudgedDenominator",
        ),
        pytest.param(
            -0.5, 0.7, 1.0, lambda *args: textbook(*args, reduce=np.mean), id="KLMean"
        ),
        pytest.param(
            -0.5,
            0.7,
            1.0,
            lambda *args: textbook(*args) + 0.5 * len(args[0]),
            id="DroppedConstant",
        ),
        pytest.param(
            -0.5,
            0.7,
            1.0,
            lambda m, s, n, t: textbook(m, s**2, n, t**2),
            id="VarianceAsSigma",
        ),
    ],
)
def test_information_gain_mistakes_fail_the_50_digits(
    rho, rho_move, mu_sign, wrong
) -> None:
    q_new, q_old = moved([(0.3, rho, rho_move, mu_sign, 1.0)] * 3)
    truth = gain_of_stored(q_new, q_old)
    assert relative_gap(vime.information_gain(q_new, q_old), truth) <= 1e-12
    assert (
        relative_gap(wrong(q_new.mu, q_new.sigma, q_old.mu, q_old.sigma), truth) > 1e-6
    )


@given(case=cases(), seed=seeds, step_size=log_uniform(1e-4, 1.0))
@settings(max_examples=30)
def test_information_gain_taylor_against_the_limit_of_the_exact_gain(
    case: Case, seed: int, step_size: float
) -> None:
    """KL[q(φ + tΔ)‖q(φ)]/t² at t = 1e-20 in 80 digits, Δ = −λH⁻¹g; and `kl_taylor` of the same Δ.

    Derivation: docs/derivations.md, 4. V5
    """
    q, rng = case.q, np.random.default_rng(seed)
    gradient = rng.normal(size=(2, len(q.mu)))
    gain = vime.information_gain_taylor(q, *gradient, step_size=step_size)
    delta = [-step_size * g / h for g, h in zip(gradient, slow_hessian(q))]
    with mp.workdps(80):
        t, (mu, rho) = mp.mpf(10) ** -20, high_precision(q)
        moved_on = [
            [v + t * mp.mpf(float(d)) for v, d in zip(values, moves)]
            for values, moves in zip((mu, rho), delta)
        ]
        limit = float(gain_50_digits(moved_on, (mu, rho), digits=80) / t**2)
    assert gain == near(limit, 1e-12)
    assert gain == near(float(bnn.kl_taylor(q, *delta)), 1e-12)
    assert 2 * gain != near(limit, 0.5), "MissingHalf"


# ---------------------------------------------------------------- gains of a batch


def gains_of(
    case: Case, local: bool, module: object = fast, **settings_: object
) -> np.ndarray:
    args = case.q, case.inputs, case.targets, noise_of(case, local)
    gains = function("information_gains", local, module)
    return gains(*args, **case.model, **settings_)


@WEIGHTS_AND_LOCAL
@given(case=cases(), step_size=log_uniform(1e-4, 1.0))
@settings(max_examples=40)
def test_gains_against_per_row_autograd(
    case: Case, step_size: float, local: bool
) -> None:
    """Equation V6"""
    noise = noise_of(case, local)
    slow = [
        slow_taylor_gain(case, noise, row, step_size) for row in range(len(case.inputs))
    ]
    gains = gains_of(case, local, step_size=step_size)
    by_row = gains_of(case, local, vime, step_size=step_size)
    assert gains.shape == (len(case.inputs),)
    np.testing.assert_allclose(gains, slow, rtol=1e-12)
    np.testing.assert_allclose(by_row, slow, rtol=1e-12)
    assert not np.allclose(2 * gains, slow, rtol=0.5, atol=0.0), "MissingHalf"


@BOTH_MODULES
@WEIGHTS_AND_LOCAL
def test_gains_with_a_likelihood_sigma_per_dimension_against_per_row_autograd(
    local: bool, module: object
) -> None:
    case = make_case((2, 3, 2), 3, 2, 4, np.array([0.3, 2.0]))
    slow = [slow_taylor_gain(case, noise_of(case, local), row, 0.1) for row in range(3)]
    gains = gains_of(case, local, module, step_size=0.1)
    np.testing.assert_allclose(gains, slow, rtol=1e-12)
    one_for_both = case._replace(likelihood_sigma=0.3)
    assert not np.allclose(
        gains_of(one_for_both, local, module, step_size=0.1), slow, rtol=1e-3
    )


@BOTH_MODULES
@WEIGHTS_AND_LOCAL
@given(case=cases())
@settings(max_examples=15)
def test_exact_gains_against_50_digits_on_a_slow_step(
    case: Case, local: bool, module: object
) -> None:
    noise, step_size = noise_of(case, local), 1e-4
    gains = gains_of(case, local, module, step_size=step_size, method="exact")
    for row, gain in enumerate(gains):
        gradients = grad(slow_surprise)((case.q.mu, case.q.rho), case, noise, row)
        hessian, q = slow_hessian(case.q), case.q
        step = [
            v - step_size * g / h for v, g, h in zip((q.mu, q.rho), gradients, hessian)
        ]
        # φ − λH⁻¹g rounds to 1e-16 of φ, which is more of a small step, and twice as much of its square
        assert gain == near(gain_of_stored(DiagNormal(*step), q), 1e-7)


@WEIGHTS_AND_LOCAL
@given(case=cases())
@settings(max_examples=15)
def test_exact_gains_are_those_of_the_posterior_step(case: Case, local: bool) -> None:
    exact = {"step_size": 1e-3, "method": "exact"}
    at_once = gains_of(case, local, **exact)
    np.testing.assert_allclose(at_once, gains_of(case, local, vime, **exact), rtol=1e-9)
    for n, gain in enumerate(gains_of(case, local, vime, **exact)):
        noise = [zeta[:, n : n + 1] for zeta in case.zeta] if local else case.eps
        row = case.q, case.inputs[n : n + 1], case.targets[n : n + 1], noise
        q_new = function("posterior_step", local)(*row, step_size=1e-3, **case.model)
        assert gain == vime.information_gain(q_new, case.q)


@BOTH_MODULES
@WEIGHTS_AND_LOCAL
def test_taylor_gain_approaches_the_exact_one_like_the_step_size(
    local: bool, module: object
) -> None:
    """Derivation: docs/derivations.md, 4."""
    case, step_sizes = make_case((2, 3, 1), 4, 3, 11, 1.0), np.array([1e-2, 1e-3, 1e-4])
    taylor, exact = (
        np.array(
            [
                gains_of(case, local, module, step_size=s, method=method)
                for s in step_sizes
            ]
        )
        for method in ("taylor", "exact")
    )
    error = np.abs(taylor / exact - 1.0)  # (λ, N)
    order = np.diff(np.log(error), axis=0) / np.diff(np.log(step_sizes))[:, None]
    assert np.all(error[-1] < 1e-4)
    np.testing.assert_allclose(
        order[-1], 1.0, atol=0.01
    )  # what is left is the next order in λ
    missing_half = 2 * taylor / exact
    np.testing.assert_allclose(missing_half[-1], 2.0, rtol=1e-4)


@BOTH_MODULES
@WEIGHTS_AND_LOCAL
def test_gradient_is_averaged_over_samples_before_squaring(
    local: bool, module: object
) -> None:
    """Derivation: docs/derivations.md, 6."""
    case, samples = make_case((2, 3, 2), 3, 4, 5, 1.0), range(4)
    per_sample = [
        gains_of(
            case._replace(
                eps=case.eps[s : s + 1], zeta=[z[s : s + 1] for z in case.zeta]
            ),
            local,
            module,
            step_size=0.1,
        )
        for s in samples
    ]
    slow = [slow_taylor_gain(case, noise_of(case, local), row, 0.1) for row in range(3)]
    gains = gains_of(case, local, module, step_size=0.1)
    np.testing.assert_allclose(gains, slow, rtol=1e-12)
    assert np.all(np.mean(per_sample, axis=0) > 1.1 * np.array(slow)), (
        "the mean of the squares is larger"
    )


@WEIGHTS_AND_LOCAL
def test_gains_do_not_depend_on_chunks_or_on_the_order_of_rows(local: bool) -> None:
    num_rows = 700
    case = make_case((2, 3, 1), num_rows, 2, 6, 1.0)
    gains = gains_of(case, local, step_size=0.1)

    def gains_of_rows(rows: np.ndarray) -> np.ndarray:
        part = case._replace(
            inputs=case.inputs[rows],
            targets=case.targets[rows],
            zeta=[z[:, rows] for z in case.zeta],
        )
        return gains_of(part, local, step_size=0.1)

    order = np.random.default_rng(1).permutation(num_rows)
    np.testing.assert_allclose(gains_of_rows(order), gains[order], rtol=1e-11)
    parts = np.split(np.arange(num_rows), [1, 200, 513])
    np.testing.assert_allclose(
        np.concatenate([gains_of_rows(rows) for rows in parts]), gains, rtol=1e-11
    )
    shared = case._replace(
        zeta=[np.repeat(z[:, :1], num_rows, axis=1) for z in case.zeta]
    )
    assert np.allclose(gains_of(shared, local, step_size=0.1), gains) == (not local), (
        "SharedRowNoise"
    )


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_taylor_bias_against_enumeration_of_two_point_noise(num_samples: int) -> None:
    """Over all ε in {−1, 1}², a linear model: E gain − gain of the mean gradient = ½λ² tr(H⁻¹ Cov ĝ), which is 1/S.

    Derivation: docs/derivations.md, 6.
    """
    case, step_size = make_case((1, 1), 1, 1, 3, 0.7), 0.1
    x, signs = (
        np.array([case.inputs[0, 0], 1.0]),
        np.array(list(product([-1.0, 1.0], repeat=2))),
    )
    errors = (case.q.mu + case.q.sigma * signs) @ x - case.targets[0, 0]
    slopes = [
        np.ones((4, 2)),
        signs * expit(case.q.rho),
    ]  # of a weight in its μ and in its ρ
    gradient = (
        np.hstack([errors[:, None] * x * slope for slope in slopes])
        / case.likelihood_sigma**2
    )  # (ε, 2D)
    inverse = 1.0 / np.concatenate(slow_hessian(case.q))
    mean, variance = gradient.mean(axis=0), gradient.var(axis=0)
    bias = 0.5 * step_size**2 * np.sum(inverse * variance) / num_samples
    draws = [np.array(eps) for eps in product(signs, repeat=num_samples)]
    expected = np.mean(
        [gains_of(case._replace(eps=eps), False, step_size=step_size) for eps in draws]
    )
    without = 0.5 * step_size**2 * np.sum(inverse * mean**2)
    assert expected - without == near(bias, 1e-10)
    assert bias > 0.01 * without  # so an unbiased gain would fail


# ---------------------------------------------------------------- curiosity rewards

gain_lists = st.lists(
    st.one_of(st.just(0.0), log_uniform(1e-6, 1e3)), min_size=1, max_size=5
)


@given(
    batches=st.lists(gain_lists, min_size=1, max_size=6),
    window=st.integers(1, 4),
    statistic=st.sampled_from(["median", "mean"]),
    include_current=st.booleans(),
)
@settings(max_examples=100)
def test_normalize_gains_against_slow_history(
    batches, window: int, statistic: str, include_current: bool
) -> None:
    """Equation V7"""
    history, statistics = (), []
    for batch in batches:
        ranked = sorted(batch)
        middle = 0.5 * (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2])
        average = sum(batch) / len(batch)
        current = middle if statistic == "median" and middle > 0 else average
        before = statistics[-window:]
        statistics += [current] if current > 0 else []
        used = statistics[-window:] if include_current else before
        divisor = sum(used) / len(used) if used and sum(used) > 0 else 1.0
        options = {
            "window": window,
            "statistic": statistic,
            "include_current": include_current,
        }
        before = tuple(history)
        normalized, new_history = vime.normalize_gains(
            read_only(batch), history, **options
        )
        np.testing.assert_allclose(normalized, np.array(batch) / divisor, rtol=1e-12)
        assert new_history == pytest.approx(statistics[-window:], rel=1e-12)
        assert history == before
        history = new_history


@pytest.mark.parametrize(
    ("options", "divisor"),
    [
        ({}, 4.0),  # medians 1, 5 and 6
        ({"window": 2}, 5.5),
        ({"include_current": False}, 3.0),
        ({"include_current": False, "window": 1}, 5.0),
        ({"statistic": "mean"}, 5.0),  # the current mean is 9
    ],
)
def test_normalize_gains_options_against_numbers_by_hand(
    options: dict, divisor: float
) -> None:
    gains, _ = vime.normalize_gains(np.array([2.0, 6.0, 19.0]), (1.0, 5.0), **options)
    np.testing.assert_allclose(gains, np.array([2.0, 6.0, 19.0]) / divisor, rtol=1e-15)


def test_normalize_gains_keeps_ten_medians_by_default() -> None:
    gains, history = vime.normalize_gains(
        np.array([1.0]), tuple(np.arange(100.0, 120.0))
    )
    assert history == (*np.arange(111.0, 120.0), 1.0)
    assert gains == pytest.approx(10.0 / (sum(range(111, 120)) + 1.0))


@given(
    gains=st.lists(log_uniform(1e-6, 1e3), min_size=1, max_size=6),
    factor=log_uniform(1e-4, 1e4),
)
@settings(max_examples=30)
def test_scale_of_gains_cancels_where_the_current_batch_is_the_only_history(
    gains: list[float], factor: float
) -> None:
    """MissingHalf and λ are invisible after the division; a median from before shows them.

    Derivation: docs/derivations.md, 4.
    """
    gains = np.array(gains)
    (plain, history), (scaled, _) = (
        vime.normalize_gains(k * gains, ()) for k in (1.0, factor)
    )
    np.testing.assert_allclose(scaled, plain, rtol=1e-12)
    with_past, doubled = (
        vime.normalize_gains(k * gains, history)[0] for k in (1.0, 2.0)
    )
    assert not np.allclose(with_past, doubled, rtol=0.1, atol=0.0)


rewards_and_gains = st.lists(
    st.tuples(finite(-1e6, 1e6), finite(0, 1e6)), min_size=1, max_size=5
).map(np.array)


@given(pairs=rewards_and_gains, eta=log_uniform(1e-6, 1e2))
@settings(max_examples=30)
def test_curious_rewards_against_slow_sum(pairs: np.ndarray, eta: float) -> None:
    """Equation V8"""
    rewards, gains = read_only(pairs[:, 0]), read_only(pairs[:, 1])
    assert vime.curious_rewards(rewards, gains, eta).tolist() == [
        float(r) + eta * float(g) for r, g in pairs
    ]
    plain = vime.curious_rewards(rewards, gains, 0.0)
    np.testing.assert_array_equal(plain, rewards, strict=True)
    assert not np.shares_memory(plain, rewards)


@pytest.mark.parametrize(
    ("message", "shape", "size"),
    [
        ("rewards must have shape (any,), got (2, 2)", (2, 2), 1.0),
        ("curious rewards must be finite, got inf", (2,), 1e308),
    ],
)
def test_curious_rewards_name_what_is_wrong(
    message: str, shape: tuple[int, ...], size: float
) -> None:
    """Gains of the same shape and size; η = 1."""
    values = np.full(shape, size)
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match="^" + re.escape(message)),
    ):
        vime.curious_rewards(values, values, 1.0)


# ---------------------------------------------------------------- actions and replay


@given(
    rows=st.lists(
        st.tuples(finite(-1e9, 1e9), finite(-1e9, 1e9)), min_size=1, max_size=4
    )
)
@settings(max_examples=30)
def test_model_actions_clip_to_the_box_against_slow_clip(
    rows: list[tuple[float, float]],
) -> None:
    low, high = [-1.0, 0.0], [2.0, 0.5]
    space = Box(np.array(low), np.array(high), dtype=np.float64)
    expected = [
        [min(max(a, lo), hi) for a, lo, hi in zip(row, low, high)] for row in rows
    ]
    assert vime.model_actions(read_only(rows), space).tolist() == expected


def test_model_actions_make_discrete_actions_one_hot() -> None:
    one_hot = vime.model_actions(read_only([2, 0, 1, 2]), Discrete(3))
    assert one_hot.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


def empty_pool(capacity: int) -> vime.ReplayPool:
    return vime.ReplayPool(capacity, *(np.zeros((0, 1)) for _ in range(3)))


@given(sizes=st.lists(st.integers(0, 5), max_size=5), capacity=st.integers(1, 7))
@settings(max_examples=50)
def test_pool_keeps_the_last_rows_against_a_list(
    sizes: list[int], capacity: int
) -> None:
    pool, rows, steps = empty_pool(capacity), [], iter(range(100))
    for size in sizes:
        batch = [(float(t), t + 0.25, t + 0.5) for t, _ in zip(steps, range(size))]
        rows = (rows + batch)[-capacity:]
        before, length = pool, len(pool)
        pool = pool.extend(*read_only(np.reshape(batch, (size, 3))).T[:, :, None])
        assert len(before) == length
        stored = np.hstack([pool.observations, pool.actions, pool.next_observations])
        assert stored.tolist() == [list(row) for row in rows]
        assert len(pool) == len(rows)


def test_pool_never_pairs_two_episodes() -> None:
    """Episodes of 3, 1 and 2 steps, numbered by hundreds: each row leads to its own successor."""
    observations = np.array([[100.0], [101.0], [102.0], [200.0], [300.0], [301.0]])
    pool = empty_pool(100).extend(
        observations[:2], observations[:2], observations[:2] + 1
    )
    pool = pool.extend(observations[2:], observations[2:], observations[2:] + 1)
    assert np.all(pool.next_observations == pool.observations + 1)
    shifted = observations[
        1:
    ]  # a pool that stores only observations and uses the next row as successor
    assert np.sum(shifted != observations[:-1] + 1) == 2, "CrossEpisode"


# ---------------------------------------------------------------- bonuses


def make_batch(seed: int, num_rows: int, space: Box | Discrete = BOX) -> vime.Batch:
    """Observations with their own mean and scale; the last of three dimensions is constant."""
    rng = np.random.default_rng(seed)
    discrete = isinstance(space, Discrete)
    actions = (
        rng.integers(space.n, size=num_rows)
        if discrete
        else rng.normal(size=(num_rows, 1))
    )
    observations, next_observations = (
        [5.0, -2.0, 0.1] + [3.0, 0.5, 0.0] * rng.normal(size=(2, num_rows, 3))
    ).copy()
    flags = np.zeros(num_rows, dtype=bool)
    columns = (
        observations,
        actions,
        rng.normal(size=num_rows),
        next_observations,
        flags,
        flags,
    )
    return vime.Batch(*map(read_only, columns))


def new_vime(
    space: Box | Discrete = BOX, settings_: vime.VimeSettings = SMALL, **changes: object
) -> vime.Vime:
    settings_ = replace(settings_, **changes)
    return vime.vime_init(3, space, np.random.default_rng(0), settings_)


def normalized_by_hand(rows: vime.Batch, pool: list[vime.Batch], space: Box | Discrete):
    """Inputs and targets of the rows, column by column, with the statistics of the batches in the pool."""

    def columns(batch: vime.Batch) -> list[np.ndarray]:
        if isinstance(space, Discrete):
            return [
                *batch.observations.T,
                *(np.array([batch.actions == a for a in range(space.n)]) * 1.0),
            ]
        return [*batch.observations.T, *np.clip(batch.actions, -1.0, 1.0).T]

    scaled, statistics = [], []
    for index, column in enumerate(columns(rows)):
        seen = np.concatenate([columns(batch)[index] for batch in pool])
        center, scale = seen.mean(), np.sqrt(np.mean((seen - seen.mean()) ** 2))
        scale = 1.0 if seen.min() == seen.max() else scale
        center, scale = (
            (0.0, 1.0)
            if isinstance(space, Discrete) and index >= 3
            else (center, scale)
        )
        scaled.append((column - center) / scale)
        statistics.append((center, scale))
    targets = [
        (column - center) / scale
        for column, (center, scale) in zip(rows.next_observations.T, statistics)
    ]
    return np.array(scaled).T, np.array(targets).T


def drawn_noise(
    seed: int, num_rows: int, layer_sizes, local: bool
) -> np.ndarray | list[np.ndarray]:
    rng = np.random.default_rng(seed)
    if local:
        return [
            rng.standard_normal((SMALL.num_samples, num_rows, units))
            for units in layer_sizes[1:]
        ]
    return rng.standard_normal((SMALL.num_samples, bnn.num_weights(layer_sizes)))


@WEIGHTS_AND_LOCAL
@pytest.mark.parametrize("method", ["taylor", "exact"])
@pytest.mark.parametrize("space", [BOX, Discrete(2)], ids=["box", "discrete"])
def test_vime_reward_against_inputs_normalized_by_hand(
    space: Box | Discrete, method: str, local: bool
) -> None:
    pool, batch = (
        [make_batch(1, 6, space), make_batch(2, 5, space)],
        make_batch(3, 4, space),
    )
    bonus = new_vime(space, method=method, **settings_by(local))
    for rows in pool:
        bonus = bonus.update(rows, np.random.default_rng(8))
    sizes = (5 if isinstance(space, Discrete) else 4, 3, 3)

    def by_hand(seen: list[vime.Batch]) -> np.ndarray:
        inputs, targets = normalized_by_hand(batch, seen, space)
        noise = drawn_noise(9, 4, sizes, local)
        settings_ = {"likelihood_sigma": 1.0, "step_size": 0.1, "method": method}
        gains_by_hand = function("information_gains", local)
        return gains_by_hand(
            bonus.q, inputs, targets, noise, layer_sizes=sizes, **settings_
        )

    gains = bonus.reward(batch, np.random.default_rng(9))
    np.testing.assert_allclose(
        gains, by_hand(pool), rtol=1e-8
    )  # the constant column cancels to 1e-17 in 0.1
    assert not np.allclose(gains, by_hand([batch]), rtol=1e-3), (
        "the batch's statistics instead of the pool's"
    )


def one_hot_batch(num_rows: int) -> vime.Batch:
    """Transitions between three cells, the third of which is seen once; actions are two bits of their own scale."""
    cells = np.eye(3)[[2] + [0, 1] * (num_rows // 2)]  # (N + 1, 3)
    flags = np.zeros(len(cells) - 1, dtype=bool)
    actions = np.linspace(-1.0, 1.0, len(flags))[:, None]
    return vime.Batch(cells[:-1], actions, 1.0 * flags, cells[1:], flags, flags)


def test_one_hot_columns_are_not_normalized() -> None:
    """Inputs and targets are as they came; the action's are normalized. Control: without one_hot, a cell is far."""
    rows = one_hot_batch(100)
    new = vime.vime_init(3, BOX, np.random.default_rng(0), SMALL)
    kept, plain = (
        bonus.update(rows, np.random.default_rng(1))
        for bonus in (replace(new, one_hot=(0, 1, 2)), new)
    )
    assert kept.one_hot == (0, 1, 2)
    inputs, targets = kept.normalized(*kept.pool.columns)
    np.testing.assert_array_equal(inputs[:, :3], rows.observations)
    np.testing.assert_array_equal(targets, rows.next_observations)
    assert inputs[:, 3].std() == pytest.approx(1.0)
    far, _ = plain.normalized(*plain.pool.columns)
    assert np.abs(far).max() > 9.0
    assert np.abs(inputs[:, :3]).max() == 1.0

    # Columns of the actions count behind those of the observations.
    center, scale = vime.pool_statistics(kept.pool, BOX, [3])
    assert (center[3], scale[3]) == (0.0, 1.0)
    assert np.all(center[:3] > 0.0)

    # Discrete actions too, beside columns of the observations.
    space = Discrete(2)
    drawn = make_batch(0, 50, space)
    acted = vime.model_actions(drawn.actions, space)  # (50, 2)
    pool = vime.ReplayPool(50, drawn.observations, acted, drawn.next_observations)
    center, scale = vime.pool_statistics(pool, space, [0])
    assert center[[0, 3, 4]].tolist() == [0.0] * 3
    assert scale[[0, 3, 4]].tolist() == [1.0] * 3
    assert center[1] != 0.0


HALF = np.ones((2, 1))
EMPTY = np.zeros((0, 1))


@pytest.mark.parametrize(
    ("message", "rows"),
    [
        ("rows of pool must be a whole number >= 1, got 0", [EMPTY] * 3),
        ("pool.actions must have shape (2, 1), got (2, 2)", [HALF, np.ones((2, 2)), HALF]),
        ("mean of pool must be finite, got inf", [1.5e308 * HALF, HALF, HALF]),
        ("spread of pool must be finite, got ", [1.5e308 * HALF * [[1.0], [-1.0]], HALF, HALF]),
    ],
)  # fmt: skip
def test_statistics_name_what_is_wrong_with_the_pool(
    message: str, rows: list[np.ndarray]
) -> None:
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match="^" + re.escape(message)),
    ):
        vime.pool_statistics(vime.ReplayPool(5, *rows), BOX)


def test_no_one_hot_columns_leave_the_numbers_as_they_were() -> None:
    """Bit for bit: the default is what it was."""
    rows = make_batch(1, 8)
    space = Discrete(2)
    for batch in (rows, make_batch(1, 8, space)):
        own = BOX if batch is rows else space
        bonus = new_vime(own).update(batch, np.random.default_rng(1))
        wanted = vime.pool_statistics(bonus.pool, own)
        assert bonus.one_hot == ()
        for values, field in zip(wanted, ("center", "scale")):
            np.testing.assert_array_equal(getattr(bonus, field), values)
        observed = bonus.pool.observations
        np.testing.assert_array_equal(wanted[0][:3], observed.mean(axis=0))


@pytest.mark.parametrize("one_hot", [(4,), (-1,), (0.5,), 1, "0", None, (np.nan,)])
def test_one_hot_columns_are_rejected_by_name(one_hot: object) -> None:
    with pytest.raises(ValueError, match="one_hot"):
        replace(new_vime(), one_hot=one_hot)


@WEIGHTS_AND_LOCAL
@pytest.mark.parametrize("num_data", [None, 50.0])
def test_vime_update_against_a_fit_on_inputs_normalized_by_hand(
    num_data: float | None, local: bool
) -> None:
    """The statistics are refreshed before the fit; num_data None means the rows in the pool."""
    first, second = make_batch(1, 6), make_batch(2, 5)
    before = new_vime(num_data=num_data, **settings_by(local)).update(
        first, np.random.default_rng(8)
    )
    after = before.update(second, np.random.default_rng(9))
    everything = vime.Batch(
        *(np.concatenate(columns) for columns in zip(first, second))
    )

    def fitted(seen: list[vime.Batch], num_data: float) -> np.ndarray:
        inputs, targets = normalized_by_hand(everything, seen, BOX)
        rng = np.random.default_rng(9)
        rows = rng.integers(len(inputs), size=(3, 4))
        q, _ = bnn.fit(
            before.q, before.prior, inputs[rows], targets[rows], rng, layer_sizes=(4, 3, 3),
            likelihood_sigma=1.0, num_data=num_data, num_samples=2,
            learning_rate=1e-3, **fit_by(local), adam=before.adam,
        )  # fmt: skip
        return np.array([q.mu, q.rho])

    assert (before.adam.num_steps, after.adam.num_steps) == (3, 6)
    learned = np.array([after.q.mu, after.q.rho])
    np.testing.assert_allclose(
        learned, fitted([first, second], num_data or 11), rtol=1e-9
    )
    assert not np.allclose(learned, fitted([first], num_data or 11), rtol=1e-7), (
        "stale statistics"
    )
    assert not np.allclose(learned, fitted([first, second], 6), rtol=1e-7), (
        "another number of data"
    )


@WEIGHTS_AND_LOCAL
def test_vime_by_the_fast_functions_against_the_definitions(local: bool) -> None:
    """Tolerance: the gradients agree to 1e-15. Control: a gradient without the KL."""
    rows = make_batch(1, 8)

    def learned(**functions: object) -> vime.Vime:
        bonus = new_vime(learning_rate=0.05, **functions)
        return bonus.update(rows, np.random.default_rng(8))

    def parameters(bonus: vime.Vime) -> np.ndarray:
        return np.concatenate([bonus.q.mu, bonus.q.rho])

    def without_kl(q: DiagNormal, prior: DiagNormal, *rest: object, **options: object):
        return function("elbo_grad", local, fast)(q, q, *rest, **options)

    by_definition = learned(**settings_by(local))
    at_once = learned(**settings_by(local, fast))
    expected = parameters(by_definition)
    np.testing.assert_allclose(parameters(at_once), expected, rtol=1e-9, atol=1e-9)
    gains, fast_gains = (
        bonus.reward(rows, np.random.default_rng(9))
        for bonus in (by_definition, at_once)
    )
    np.testing.assert_allclose(fast_gains, gains, rtol=1e-6)
    wrong = learned(**settings_by(local, fast) | {"gradient": without_kl})
    assert np.abs(parameters(wrong) - expected).max() > 1e-2, "no KL"
    if not local:
        np.testing.assert_array_equal(parameters(learned()), expected)  # the default


def test_vime_scales_a_dimension_that_never_varied_by_1() -> None:
    """Its standard deviation is rounding, not 0: dividing by it would multiply the first change by 1e16."""
    seen = make_batch(1, 7)
    bonus = new_vime().update(seen, np.random.default_rng(0))
    assert bonus.scale[2] == 1.0
    assert bonus.scale[:2] == pytest.approx(seen.observations[:, :2].std(axis=0))


def test_vime_leaves_one_hot_actions_as_they_are() -> None:
    bonus = new_vime(Discrete(2)).update(
        make_batch(1, 7, Discrete(2)), np.random.default_rng(0)
    )
    assert bonus.center[3:].tolist() == [0.0, 0.0]
    assert bonus.scale[3:].tolist() == [1.0, 1.0]


def test_vime_rewards_nothing_before_min_rows() -> None:
    bonus, rng = new_vime(), np.random.default_rng(0)
    batch = make_batch(1, 5)
    assert bonus.reward(batch, rng).tolist() == [0.0] * 5
    waiting = bonus.update(batch, rng)
    assert waiting.reward(batch, rng).tolist() == [0.0] * 5
    assert waiting.q is bonus.q
    ready = waiting.update(make_batch(2, 1), rng)
    assert np.all(ready.reward(batch, rng) > 0.0)
    assert not np.array_equal(ready.q.mu, bonus.q.mu)


def test_vime_reward_changes_nothing_and_never_trains() -> None:
    bonus = new_vime().update(make_batch(1, 8), np.random.default_rng(0))
    before = state_of(bonus)
    first, second = (
        bonus.reward(make_batch(2, 4), np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert_equal_states(before, state_of(bonus))
    trained = bonus.update(make_batch(2, 4), np.random.default_rng(5))
    assert not np.allclose(
        first, trained.reward(make_batch(2, 4), np.random.default_rng(5)), rtol=1e-6
    )


def test_vime_update_returns_a_new_bonus_and_leaves_the_old_one() -> None:
    old = new_vime().update(make_batch(1, 8), np.random.default_rng(0))
    before = state_of(old)
    first, second = (
        old.update(make_batch(2, 4), np.random.default_rng(5)) for _ in range(2)
    )
    assert_equal_states(before, state_of(old))
    assert_equal_states(state_of(first), state_of(second))
    assert len(first.pool) == 12
    assert not np.array_equal(first.q.mu, old.q.mu)


def test_vime_drops_the_oldest_rows_beyond_the_capacity() -> None:
    bonus, last = new_vime(capacity=7), make_batch(2, 5)
    for batch in (make_batch(1, 6), last):
        bonus = bonus.update(batch, np.random.default_rng(0))
    assert len(bonus.pool) == 7
    np.testing.assert_array_equal(bonus.pool.observations[2:], last.observations)


def test_vime_rewards_a_huge_action_like_the_clipped_one() -> None:
    bonus = new_vime().update(make_batch(1, 8), np.random.default_rng(0))
    huge, at_bound, inside = (
        bonus.reward(
            make_batch(2, 4)._replace(actions=np.full((4, 1), a)),
            np.random.default_rng(5),
        )
        for a in (1e6, 1.0, 0.5)
    )
    np.testing.assert_array_equal(huge, at_bound)
    assert not np.allclose(inside, at_bound, rtol=1e-3)


def test_vime_rewards_the_last_step_of_an_episode_for_its_own_next_observation() -> (
    None
):
    """Changing that observation changes only that gain (CopiedLastGain would change none)."""
    bonus, batch = (
        new_vime().update(make_batch(1, 8), np.random.default_rng(0)),
        make_batch(2, 4),
    )
    batch = batch._replace(terminated=np.array([False, False, False, True]))
    elsewhere = batch.next_observations + np.array([[0.0], [0.0], [0.0], [1.0]])
    gains, changed = (
        bonus.reward(batch._replace(next_observations=rows), np.random.default_rng(5))
        for rows in (batch.next_observations, elsewhere)
    )
    np.testing.assert_allclose(changed[:3], gains[:3], rtol=1e-12)
    assert relative_gap(changed[3], gains[3]) > 1e-3
    assert relative_gap(gains[3], gains[2]) > 1e-3, "CopiedLastGain"


@pytest.mark.unwatched
def test_vime_gains_fall_on_a_system_it_has_learned() -> None:
    """s′ = 0.8 s + 0.5 a without noise: training on it reduces the mean gain by a factor over 100."""
    rng = np.random.default_rng(3)
    observations, actions = rng.normal(size=(64, 1)), rng.uniform(-1, 1, (64, 1))
    flags = np.zeros(64, dtype=bool)
    batch = vime.Batch(
        observations,
        actions,
        np.zeros(64),
        0.8 * observations + 0.5 * actions,
        flags,
        flags,
    )
    options = replace(
        SMALL, hidden_sizes=(8,), likelihood_sigma=0.5, num_data=None, batch_size=16
    )
    untrained, trained = (
        vime.vime_init(
            1,
            BOX,
            np.random.default_rng(0),
            replace(options, num_updates=n, learning_rate=0.02),
        )
        .update(batch, np.random.default_rng(1))
        .reward(batch, np.random.default_rng(2))
        .mean()
        for n in (0, 400)
    )
    assert trained < 0.01 * untrained


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", ["observations", "next_observations"])
@pytest.mark.parametrize("method", ["reward", "update"])
@pytest.mark.parametrize("num_rows", [0, 8], ids=["empty", "ready"])
def test_vime_rejects_an_observation_that_is_not_finite_naming_the_step(
    num_rows, method, column, value
) -> None:
    bonus = (
        new_vime().update(make_batch(1, num_rows), np.random.default_rng(0))
        if num_rows
        else new_vime()
    )
    batch = make_batch(2, 4)
    values = np.array(getattr(batch, column))
    values[3, 1] = value
    with pytest.raises(
        ValueError, match=r"must be finite, got (nan|inf) at index \(3, 1\)"
    ):
        getattr(bonus, method)(
            batch._replace(**{column: values}), np.random.default_rng(0)
        )


def test_vime_starts_from_the_prior_of_the_original_code() -> None:
    bonus = vime.vime_init(3, Discrete(2), np.random.default_rng(0))
    assert bonus.layer_sizes == (5, 32, 3)
    assert bonus.prior.sigma == pytest.approx(0.5, rel=1e-15)
    assert bonus.q.sigma == pytest.approx(0.5, rel=1e-15)
    assert not bonus.prior.mu.any()
    # μ ~ N(0, 1): mean and mean square of D draws lie within 4 standard errors, which 0.5² would not.
    size = len(bonus.q.mu)
    assert abs(bonus.q.mu.mean()) < 4 / np.sqrt(size)
    assert abs(np.mean(bonus.q.mu**2) - 1) < 4 * np.sqrt(2 / size) < 1 - 0.5**2


def test_default_num_data_is_the_posterior_of_the_original_loss() -> None:
    """Its loss, KL/5 − Σ log p over a minibatch of 10, is −ELBO/5 of 50 rows; NoKLScale would take another.

    Derivation: docs/derivations.md, 2.
    """
    case = make_case((2, 3, 1), 10, 2, 0, 5.0)
    num_data = vime.VimeSettings().num_data

    def gradient(num_data: float) -> np.ndarray:
        data = case.inputs, case.targets, case.eps
        return np.concatenate(
            bnn.elbo_grad(case.q, case.prior, *data, **case.model, num_data=num_data)
        )

    likelihood = (
        (gradient(20.0) - gradient(10.0)) / 10.0 * 10.0
    )  # linear in num_data: that of the 10 rows
    divergence = likelihood - gradient(10.0)
    np.testing.assert_allclose(
        gradient(num_data) / 5.0, likelihood - divergence / 5.0, rtol=1e-10, atol=1e-10
    )
    assert not np.allclose(gradient(10.0), likelihood - divergence / 5.0, rtol=0.1)


def test_posterior_update_reaches_the_conjugate_posterior() -> None:
    """At x = 0 only the bias learns: precision 1/σ² + 1/σ_l², mean in proportion; control: too few steps."""
    prior = DiagNormal(np.zeros(2), bnn.softplus_inverse(np.array([0.8, 1.2])))
    signs = np.array(
        [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    )  # exact moments of N(0, 1) up to the second
    data = np.zeros((1, 1)), np.array([[1.5]]), signs

    def update(num_steps: int) -> DiagNormal:
        return vime.posterior_update(
            prior,
            *data,
            layer_sizes=(1, 1),
            likelihood_sigma=0.5,
            num_steps=num_steps,
            learning_rate=0.05,
        )

    precision = 1 / 1.2**2 + 1 / 0.5**2
    reached, exact = (
        update(300),
        ([0.0, 1.5 / 0.5**2 / precision], [0.8, precision**-0.5]),
    )
    np.testing.assert_allclose([reached.mu, reached.sigma], exact, atol=1e-9)
    assert abs(update(3).mu[1] - exact[0][1]) > 0.1


def test_vime_starts_with_an_empty_pool_no_statistics_and_a_fresh_optimiser() -> None:
    bonus = vime.vime_init(3, Discrete(2), np.random.default_rng(0))
    assert (len(bonus.pool), bonus.adam.num_steps) == (0, 0)
    assert (bonus.center.tolist(), bonus.scale.tolist()) == ([0.0] * 5, [1.0] * 5)


def test_vime_settings_allow_a_pool_of_just_min_rows() -> None:
    assert vime.VimeSettings(min_rows=7, capacity=7).capacity == 7


@pytest.mark.parametrize("column", ["observations", "next_observations"])
@pytest.mark.parametrize("method", ["reward", "update"])
def test_vime_rejects_rows_of_another_shape(column: str, method: str) -> None:
    bonus, batch = new_vime(BOX), make_batch(2, 4)
    short = batch._replace(**{column: getattr(batch, column)[:, :1]})
    with pytest.raises(ValueError, match=rf"^{column} must have shape "):
        getattr(bonus, method)(short, np.random.default_rng(0))


@BOTH_MODULES
def test_gains_that_overflow_are_rejected(module: object) -> None:
    q = DiagNormal(np.full(2, 1e160), np.zeros(2))
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            ValueError, match=r"^(gains|log density) must be finite, got -?inf at index"
        ),
    ):
        module.information_gains(q, COLUMN[:1], COLUMN[:1], EPS, step_size=0.1, **MODEL)


def test_no_bonus_rewards_nothing() -> None:
    bonus, batch, rng = vime.NoBonus(), make_batch(1, 4), np.random.default_rng(0)
    assert bonus.reward(batch, rng).tolist() == [0.0] * 4
    assert bonus.update(batch, rng) == bonus


# ---------------------------------------------------------------- errors

Q = DiagNormal(np.zeros(2), np.zeros(2))
COLUMN, EPS, ZETA = np.ones((3, 1)), np.ones((1, 2)), [np.ones((2, 5, 1))]
MODEL = {"layer_sizes": (1, 1), "likelihood_sigma": 1.0}


def step(num_rows: int = 1, step_size: float = 0.1) -> Callable:
    return lambda: vime.posterior_step(
        Q, COLUMN[:num_rows], COLUMN[:num_rows], EPS, step_size=step_size, **MODEL
    )


def update(
    num_rows: int = 1, num_steps: float = 1, learning_rate: float = 0.1
) -> Callable:
    rows, options = (
        COLUMN[:num_rows],
        {"num_steps": num_steps, "learning_rate": learning_rate},
    )
    return lambda: vime.posterior_update(Q, rows, rows, EPS, **options, **MODEL)


def taylor(mu_size: int = 2, rho_size: int = 2, step_size: float = 0.1) -> Callable:
    return lambda: vime.information_gain_taylor(
        Q, np.zeros(mu_size), np.zeros(rho_size), step_size=step_size
    )


def gains(
    inputs: np.ndarray = COLUMN,
    targets: np.ndarray = COLUMN,
    noise=EPS,
    **changes: object,
) -> Callable:
    local = isinstance(noise, list)
    options = {**MODEL, "step_size": 0.1, **changes}

    def both() -> None:
        for module in (fast, vime):
            call = function("information_gains", local, module)
            with pytest.raises(ValueError, match="must") as error:
                call(Q, inputs, targets, noise, **options)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
        raise ValueError(messages[0])

    messages: list[str] = []
    return both


def normalized(values: list[float], **options: object) -> Callable:
    return lambda: vime.normalize_gains(np.array(values), (), **options)


def curious(rewards: list[float], values: list[float], eta: float = 1.0) -> Callable:
    return lambda: vime.curious_rewards(np.array(rewards), np.array(values), eta)


def actions(values: list, space: object) -> Callable:
    return lambda: vime.model_actions(np.array(values), space)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: vime.transition_loss(Q, Q, COLUMN, COLUMN, EPS, **MODEL),
            "inputs must be one transition, got 3 rows",
        ),
        (step(num_rows=3), "inputs must be one transition, got 3 rows"),
        (step(step_size=0.0), "step_size must be > 0"),
        (update(num_rows=3), "inputs must be one transition, got 3 rows"),
        (update(num_steps=0), "num_steps must be a whole number >= 1, got 0"),
        (update(num_steps=1.5), "num_steps must be a whole number >= 1, got 1.5"),
        (update(learning_rate=-1.0), "learning_rate must be > 0"),
        (
            lambda: vime.information_gain(DiagNormal(*np.zeros((2, 1))), Q),
            "q_new.mu must have shape (2,), got (1,)",
        ),
        (taylor(mu_size=3), "grad_mu must have shape (2,), got (3,)"),
        (taylor(rho_size=1), "grad_rho must have shape (2,), got (1,)"),
        (taylor(step_size=-1.0), "step_size must be > 0"),
        (gains(method="both"), "method must be 'taylor' or 'exact', got 'both'"),
        (
            gains(targets=COLUMN[:2]),
            "inputs and targets must have the same number of rows >= 1, got 3 and 2",
        ),
        (
            gains(COLUMN[:0], COLUMN[:0]),
            "inputs and targets must have the same number of rows >= 1, got 0 and 0",
        ),
        (
            gains(inputs=np.array([[1.0], [np.nan], [1.0]])),
            "inputs must be finite, got nan at index (1, 0)",
        ),
        (
            gains(targets=np.array([[1.0], [1.0], [np.inf]])),
            "targets must be finite, got inf at index (2, 0)",
        ),
        (gains(step_size=0.0), "step_size must be > 0"),
        (gains(likelihood_sigma=-1.0), "likelihood_sigma must be > 0"),
        (
            gains(likelihood_sigma=COLUMN),
            "likelihood_sigma must",
        ),  # (N, 1) would be a sigma per row
        (gains(inputs=np.ones((3, 2))), "inputs must have shape (3, 1), got (3, 2)"),
        (gains(targets=np.ones((3, 2))), "targets must have shape (3, 1), got (3, 2)"),
        (gains(noise=np.ones((1, 3))), "eps must have shape (1, 2), got (1, 3)"),
        (gains(noise=[]), "zeta must have one array per layer"),
        (gains(noise=ZETA), "zeta must have shape (2, 3, 1), got (2, 5, 1)"),
        (
            gains(noise=ZETA, method="exact"),
            "zeta must have shape (2, 3, 1), got (2, 5, 1)",
        ),
        (normalized([1.0, np.nan]), "gains must be finite, got nan at index (1,)"),
        (normalized([-np.inf]), "gains must be finite, got -inf at index (0,)"),
        (normalized([1.0], window=0), "window must be a whole number >= 1, got 0"),
        (
            normalized([1.0], statistic="mode"),
            "statistic must be 'median' or 'mean', got 'mode'",
        ),
        (
            lambda: vime.VimeSettings(num_updates=-1),
            "num_updates must be a whole number >= 0, got -1",
        ),
        (
            lambda: vime.VimeSettings(capacity=0),
            "capacity must be a whole number >= 1, got 0",
        ),
        (lambda: empty_pool(0), "capacity must be a whole number >= 1, got 0"),
        (
            lambda: vime.normalize_gains(np.ones(1), (np.nan,)),
            "history must be finite, got nan at index (0,)",
        ),
        (
            lambda: vime.VimeSettings(capacity=100),
            "min_rows must be <= capacity, got 500 > 100",
        ),
        (
            lambda: vime.VimeSettings(min_rows=-1),
            "min_rows must be a whole number >= 1, got -1",
        ),
        (lambda: vime.VimeSettings(num_data=-1.0), "num_data must be > 0 and finite"),
        (lambda: vime.VimeSettings(step_size=0.0), "step_size must be > 0 and finite"),
        (
            lambda: vime.VimeSettings(method="tailor"),
            "method must be 'taylor' or 'exact', got 'tailor'",
        ),
        (
            lambda: vime.VimeSettings(gradient="numeric"),
            "gradient must be a function, got 'numeric'",
        ),
        (normalized([]), "number of gains must be a whole number >= 1, got 0"),
        (
            curious([1.0, np.nan], [1.0, 1.0]),
            "rewards must be finite, got nan at index (1,)",
        ),
        (curious([1.0], [np.inf]), "gains must be finite, got inf at index (0,)"),
        (curious([1.0, 1.0], [1.0]), "gains must have shape (2,), got (1,)"),
        (curious([1.0], [1.0], eta=-1.0), "eta must be >= 0 and finite, got -1.0"),
        (curious([1.0], [1.0], eta=np.inf), "eta must be >= 0 and finite, got inf"),
        (actions([0, 3], Discrete(3)), "actions must be indices below 3, got 0 to 3"),
        (
            actions([[0], [1]], Discrete(3)),
            "actions must have shape (any,), got (2, 1)",
        ),
        (actions([-1, 2], Discrete(3)), "actions must be indices below 3, got -1 to 2"),
        (
            actions([0.0, np.nan], Discrete(3)),
            "actions must be finite, got nan at index (1,)",
        ),
        (
            actions([[0.0], [0.0]], Box(-1, 1, (3,))),
            "actions must",
        ),  # one column would serve all three
        (
            actions([[0.0, 0.0]], Box(-1, 1, (2, 2))),
            "action_space must be Discrete or a Box of shape (A,)",
        ),
        (
            lambda: new_vime(MultiDiscrete([2, 2])),
            "action_space must be Discrete or a Box of shape (A,)",
        ),
        (
            lambda: empty_pool(3).extend(COLUMN[:2], COLUMN[:1], COLUMN[:2]),
            "observations, actions, next_observations must be as many rows each, got [2, 1, 2]",
        ),
    ],
)
def test_errors_name_the_argument_and_what_came(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()


# ---------------------------------------------------------------- inputs of daily use


@pytest.mark.parametrize(
    ("gains", "history", "name"),
    [
        ([-1.0, -2.0, -3.0], (), "gains"),
        ([1.0, -1e-300], (), "gains"),
        ([1.0, 2.0], (1.0, -1.0), "history"),
        ([1.0, 2.0], (1.0, np.nan), "history"),
        ([1.0, np.inf], (), "gains"),
        ([True, False], (), "gains"),
        ([1j, 2.0], (), "gains"),
    ],
)
def test_normalize_gains_rejects_what_is_no_gain(gains, history, name: str) -> None:
    """A negative median would turn the order of the gains around."""
    with pytest.raises(ValueError, match=rf"^{name} must "):
        vime.normalize_gains(gains, history)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([1.7e308] * 3, [1.0] * 3),
        ([1.7e308] * 2, [1.0] * 2),
        ([5e-324] * 2, [1.0] * 2),
        ([1e-310, 3e-310], [0.5, 1.5]),
        ([1e308, 1.5e308, 1.7e308], [1 / 1.5, 1.0, 1.7 / 1.5]),
    ],
)
def test_normalize_gains_at_the_ends_of_the_range_against_exact_ratios(
    gains, expected
) -> None:
    normalized, history = vime.normalize_gains(gains, ())
    np.testing.assert_allclose(normalized, expected, rtol=1e-9)
    assert np.all(np.isfinite(history))
    if gains[0] == 1.7e308:  # the control: a plain mean overflows
        with np.errstate(over="ignore"):
            assert np.mean([1.7e308, 1.7e308]) == np.inf


def test_normalize_gains_rejects_a_ratio_that_overflows() -> None:
    """1/5e-324 exceeds the largest double."""
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match=r"^normalized gains must be finite, got inf"),
    ):
        vime.normalize_gains([5e-324, 5e-324, 1.0], ())


def test_a_median_of_0_is_replaced_and_a_batch_of_zeros_is_left_out() -> None:
    """By hand: the mean of (0, 0, 6) is 2; (0, 0) adds nothing to (2,)."""
    normalized, history = vime.normalize_gains([0.0, 0.0, 6.0], ())
    np.testing.assert_array_equal(normalized, [0.0, 0.0, 3.0])
    assert history == (2.0,)
    normalized, history = vime.normalize_gains([0.0, 0.0], history)
    np.testing.assert_array_equal(normalized, [0.0, 0.0])
    assert history == (2.0,)


@pytest.mark.parametrize("window", [np.uint8(2), np.int16(2), np.array(2)])
def test_a_window_of_any_integer_type_gives_the_same_history(window) -> None:
    """−np.uint8(2) is 254: the slice would keep nothing."""
    medians = (1.0, 2.0, 3.0)
    assert vime.normalize_gains([4.0], medians, window=window)[1] == (3.0, 4.0)


def spread_by_hand(numbers: list[float]) -> float:
    with mp.workdps(50):
        exact = [mp.mpf(each) for each in numbers]
        center = sum(exact) / len(exact)
        return float(mp.sqrt(sum((each - center) ** 2 for each in exact) / len(exact)))


@pytest.mark.parametrize(
    ("numbers", "varies"),
    [
        ([14.62, np.nextafter(14.62, 15.0)] * 30, False),
        ([1e-300 + 0.0, np.nextafter(1e-300, 1.0)] * 3, False),
        ([-1e6, np.nextafter(-1e6, 0.0)] * 3, False),
        ([0.1] * 7, False),
        ([0.0, 0.0], False),
        ([1e-12, -2e-12, 0.5e-12], True),
        ([1000.0, 1000.0 + 1e-6], True),
        ([5e-300, 1e-300], True),
    ],
)
def test_spread_is_0_for_rounding_only_against_50_digits(
    numbers: list[float], varies: bool
) -> None:
    """The rounding is each dimension's own: beside one of 1e6, another of 1 varies as it does alone."""
    found = float(vime.spread(np.array(numbers)))
    assert found == pytest.approx(spread_by_hand(numbers) if varies else 0.0, rel=1e-6)
    beside = np.column_stack([numbers, np.full(len(numbers), 1e6)])
    assert vime.spread(beside).tolist() == [found, 0.0]


@pytest.mark.parametrize("noise", [0.0, 2**-49])
def test_gains_of_a_dimension_that_only_rounds_stay_near_those_of_a_constant(
    noise: float,
) -> None:
    """The dimension is 14.62 or the next double; then it is 14.62 + 0.5 in a new row."""
    rng = np.random.default_rng(3)
    constant = 14.62 + noise * rng.integers(0, 2, 61)
    observations = np.column_stack([rng.normal(size=61), constant])
    actions = rng.uniform(-1.0, 1.0, (61, 1))
    ends = np.zeros(61, dtype=bool)
    batch = vime.Batch(observations, actions, np.zeros(61), observations, ends, ends)
    trained = vime.vime_init(2, BOX, rng, SMALL).update(batch, rng)
    moved = observations + np.array([0.0, 0.5])
    new = batch._replace(observations=moved, next_observations=moved)
    assert 0.0 < np.max(trained.reward(new, rng)) < 10.0  # it was 4e52


def test_the_model_sees_the_whole_numbers_that_a_box_of_integers_holds() -> None:
    """By hand: −0.9 and 1.9 round to −1 and 2, and 7 is clipped to 2."""
    space = Box(-2, 2, (3,), dtype=np.int64)
    seen = vime.model_actions([[-0.9, 1.9, 7.0]], space)
    np.testing.assert_array_equal(seen, [[-1.0, 2.0, 2.0]])


def test_one_hot_of_a_million_actions_takes_two_rows_of_memory() -> None:
    """The identity matrix would take 7 TiB."""
    seen = vime.model_actions(np.array([3, 5]), Discrete(1_000_000))
    assert seen.shape == (2, 1_000_000)
    np.testing.assert_array_equal(np.argwhere(seen), [[0, 3], [1, 5]])
    assert seen.sum() == 2.0


@pytest.mark.parametrize("sizes", [3, "32", (0,), (2.5,), (True,), None])
def test_hidden_sizes_are_checked(sizes) -> None:
    with pytest.raises(ValueError, match=r"^hidden_sizes must be "):
        vime.VimeSettings(hidden_sizes=sizes)


def test_settings_become_python_numbers() -> None:
    """−np.uint8(200) is 56: the pool would keep other rows."""
    settings_ = vime.VimeSettings(capacity=np.uint8(200), min_rows=np.uint8(100))
    assert type(settings_.capacity) is int
    pool = vime.ReplayPool(np.uint8(2), *np.zeros((3, 0, 1)))
    rows = np.arange(3.0)[:, None]
    assert pool.extend(rows, rows, rows).observations.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("capacity", (2.5, [[0.0]], [[0.0]], [[0.0]])),
        ("observations", (2, [0.0], [[0.0]], [[0.0]])),
        ("actions", (2, [[0.0]], [[np.nan]], [[0.0]])),
        ("next_observations", (2, [[0.0]], [[0.0]], [["a"]])),
    ],
)
def test_replay_pool_names_its_bad_field(name: str, pool) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must "):
        vime.ReplayPool(*pool)


def test_replay_pool_rejects_rows_of_another_width() -> None:
    pool = vime.ReplayPool(5, *np.zeros((3, 1, 2)))
    with pytest.raises(ValueError, match=r"^actions must have shape \(1, 2\)"):
        pool.extend(np.zeros((1, 2)), np.zeros((1, 3)), np.zeros((1, 2)))


def test_the_repr_of_a_bonus_is_a_line_of_its_settings():
    """Without its arrays. Control: the posterior, which is nothing else, shows them."""
    bonus = vime.vime_init(2, Box(-1.0, 1.0, (1,)), np.random.default_rng(0))
    text = repr(bonus)
    assert text.startswith("Vime(settings=VimeSettings(")
    assert "pool=ReplayPool(capacity=" in text
    assert text.count("\n") == 0
    assert "array(" not in text
    assert "array(" in repr(bonus.q)

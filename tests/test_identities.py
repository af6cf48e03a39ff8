"""What must hold whatever the numbers: each identity against integration, an exact posterior or an enumeration.

The exact posteriors are those of a linear network (1, 1): one weight and one bias, Gaussian prior and noise.
Its log-likelihood is quadratic in θ, so the mean over the four noises (±1, ±1) is the exact expectation over q.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from autograd import jacobian
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, trapezoid
from scipy.optimize import minimize
from scipy.special import entr, rel_entr
from scipy.stats import multivariate_normal, norm
from strategies import Case, cases, finite, log_uniform, make_case

import bnn_ref as bnn
import fast_ref
import vime_ref as vime
from bnn_ref import DiagNormal

SIGNS = np.array(list(product([-1.0, 1.0], repeat=2)))  # (4, 2)

# ---------------------------------------------------------------- the exact linear model


class Problem(NamedTuple):
    prior: DiagNormal  # of the weight and the bias
    inputs: np.ndarray  # (N, 1)
    targets: np.ndarray  # (N, 1)
    likelihood_sigma: float

    @property
    def design(self) -> np.ndarray:
        return np.column_stack([self.inputs, np.ones(len(self.inputs))])

    @property
    def model(self) -> dict:
        return {
            "layer_sizes": (1, 1),
            "likelihood_sigma": self.likelihood_sigma,
            "num_data": len(self.inputs),
        }

    def elbo(self, q: DiagNormal) -> float:
        return float(
            bnn.elbo(q, self.prior, self.inputs, self.targets, SIGNS, **self.model)
        )

    def outcome(self) -> tuple[np.ndarray, np.ndarray]:
        """Prior predictive mean and covariance of the targets."""
        noise = self.likelihood_sigma**2 * np.eye(len(self.inputs))
        return self.design @ self.prior.mu, self.design @ np.diag(
            self.prior.sigma**2
        ) @ self.design.T + noise

    def log_evidence(self) -> float:
        return float(multivariate_normal(*self.outcome()).logpdf(self.targets[:, 0]))

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        return conditioned(
            *full(self.prior), self.design, self.targets[:, 0], self.likelihood_sigma**2
        )


def conditioned(
    mean, cov, design, targets, noise_variance
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of N(mean, cov) given targets = design θ + noise."""
    new_cov = np.linalg.inv(np.linalg.inv(cov) + design.T @ design / noise_variance)
    return new_cov @ (
        np.linalg.solve(cov, mean) + design.T @ targets / noise_variance
    ), new_cov


def kl_full(mean_q, cov_q, mean_p, cov_p) -> float:
    """KL between Gaussians with full covariances."""
    precision, move = np.linalg.inv(cov_p), mean_q - mean_p
    logdets = np.linalg.slogdet(cov_p)[1] - np.linalg.slogdet(cov_q)[1]
    return float(
        0.5
        * (
            np.trace(precision @ cov_q)
            + move @ precision @ move
            - len(mean_q)
            + logdets
        )
    )


def full(q: DiagNormal) -> tuple[np.ndarray, np.ndarray]:
    return q.mu, np.diag(q.sigma**2)


def diag_normal(mean, sigma) -> DiagNormal:
    return DiagNormal(np.array(mean), bnn.softplus_inverse(np.array(sigma)))


def converged(problem: Problem) -> DiagNormal:
    """The maximizer of the ELBO, by BFGS on its own gradient."""

    def loss(phi: np.ndarray) -> tuple[float, np.ndarray]:
        q = DiagNormal(*np.split(phi, 2))
        gradient = bnn.elbo_grad(
            q, problem.prior, problem.inputs, problem.targets, SIGNS, **problem.model
        )
        return -problem.elbo(q), -np.concatenate(gradient)

    start = np.concatenate([problem.prior.mu, problem.prior.rho])
    return DiagNormal(
        *np.split(
            minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-8}).x, 2
        )
    )


means, sigmas = finite(-2, 2), log_uniform(0.4, 2.5)
pairs = st.tuples(means, means), st.tuples(sigmas, sigmas)
diag_normals = st.builds(diag_normal, *pairs)


def column(values: list[float]) -> np.ndarray:
    return np.array(values)[:, None]


@st.composite
def problems_at(draw: st.DrawFn, inputs: st.SearchStrategy[list[float]]) -> Problem:
    rows = draw(inputs)
    targets = draw(st.lists(means, min_size=len(rows), max_size=len(rows)))
    return Problem(draw(diag_normals), column(rows), column(targets), draw(sigmas))


problems = problems_at(st.lists(means, min_size=1, max_size=3))
# Weight and bias are independent in the posterior exactly where the inputs sum to 0.
balanced_problems = problems_at(
    st.one_of(st.just([0.0]), finite(0.2, 2).map(lambda x: [x, -x]))
)

# ---------------------------------------------------------------- divergence


@st.composite
def four_vectors(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """mu_q, sigma_q, mu_p, sigma_p of one to five weights."""
    rows = st.tuples(
        finite(-3, 3), log_uniform(0.05, 5), finite(-3, 3), log_uniform(0.05, 5)
    )
    return tuple(np.array(draw(st.lists(rows, min_size=1, max_size=5))).T)


@given(vectors=four_vectors(), move=log_uniform(1e-12, 1.0))
@settings(max_examples=50)
def test_kl_is_zero_for_equal_and_positive_otherwise(
    vectors: tuple[np.ndarray, ...], move: float
) -> None:
    mu, sigma, _, _ = vectors
    assert bnn.kl_diag_normal(mu, sigma, mu, sigma) == 0.0
    assert bnn.kl_diag_normal(*vectors) >= 0.0
    assert bnn.kl_diag_normal(mu + move, sigma, mu, sigma) > 0.0
    assert bnn.kl_diag_normal(mu, sigma * (1 + move), mu, sigma) > 0.0
    tiny = 1e-5 * sigma
    assert 0.5 * np.sum(tiny**2 / (tiny**2 + 1e-8) - 1) < 0.0, "FudgedDenominator"


@given(first=four_vectors(), second=four_vectors())
@settings(max_examples=50)
def test_kl_adds_over_independent_blocks(
    first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]
) -> None:
    together = tuple(np.concatenate(blocks) for blocks in zip(first, second))
    whole, parts = (
        bnn.kl_diag_normal(*together),
        [bnn.kl_diag_normal(*block) for block in (first, second)],
    )
    assert whole == pytest.approx(sum(parts), rel=1e-12, abs=0.0)
    if sum(parts) > 1e-9:
        mean_over_weights = [
            kl / len(block[0]) for kl, block in zip(parts, (first, second))
        ]
        assert whole / len(together[0]) != pytest.approx(
            sum(mean_over_weights), rel=1e-9
        ), "KLMean"


@given(vectors=four_vectors(), scale=log_uniform(1e-3, 1e3), shift=finite(-10, 10))
@settings(max_examples=50)
def test_kl_does_not_change_under_an_affine_map(
    vectors, scale: float, shift: float
) -> None:
    mu_q, sigma_q, mu_p, sigma_p = vectors
    plain = bnn.kl_diag_normal(*vectors)
    mapped = bnn.kl_diag_normal(
        scale * mu_q + shift, scale * sigma_q, scale * mu_p + shift, scale * sigma_p
    )
    # The shift rounds a mean of 1e-3 to 1e-15 · 10: up to 1e-9 of its distance in σ.
    assert mapped == pytest.approx(plain, rel=1e-8, abs=1e-12)
    as_variances = bnn.kl_diag_normal(mu_q, np.sqrt(sigma_q), mu_p, np.sqrt(sigma_p))
    mapped_variances = bnn.kl_diag_normal(
        scale * mu_q, np.sqrt(scale * sigma_q), scale * mu_p, np.sqrt(scale * sigma_p)
    )
    if abs(scale - 1) > 0.1 and np.sum((mu_q - mu_p) ** 2 / sigma_p) > 1e-6:
        assert mapped_variances != pytest.approx(as_variances, rel=1e-9), (
            "VarianceAsSigma"
        )


@given(
    mu=st.tuples(means, means),
    sigma=st.tuples(log_uniform(0.2, 5), log_uniform(0.2, 5)),
)
@settings(max_examples=30)
def test_kl_against_the_integral_of_q_log_q_over_p(
    mu: tuple[float, float], sigma: tuple[float, float]
) -> None:
    q, p = norm(mu[0], sigma[0]), norm(mu[1], sigma[1])
    low, high = mu[0] - 12 * sigma[0], mu[0] + 12 * sigma[0]  # beyond: 1e-32 of q
    integral, _ = quad(
        lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)),
        low,
        high,
        epsabs=1e-11,
        limit=200,
    )
    args = [np.array([value]) for value in (mu[0], sigma[0], mu[1], sigma[1])]
    assert bnn.kl_diag_normal(*args) == pytest.approx(integral, rel=1e-9, abs=1e-9)
    lecture = bnn.kl_diag_normal(*args) + 0.5
    assert lecture != pytest.approx(integral, rel=1e-3), "DroppedConstant"
    if abs(np.log(sigma[0] / sigma[1])) > 0.1:
        assert bnn.kl_diag_normal(*args[2:], *args[:2]) != pytest.approx(
            integral, rel=1e-9, abs=1e-9
        ), "SwappedKL"


# ---------------------------------------------------------------- mutual information


class Information(NamedTuple):
    """Entropies and gains of s′ = xθ + noise in nats, by quadrature on a grid of s′ and θ."""

    outcomes: np.ndarray  # s′, (M,)
    evidence: np.ndarray  # p(s′)
    gains: np.ndarray  # KL[p(θ|s′)‖p(θ)] of each s′
    entropies: np.ndarray  # H(θ|s′) of each s′
    entropy: float  # H(θ)
    outcome_entropy: float  # H(s′)
    noise_entropy: float  # E H(s′|θ)

    def mean(self, values: np.ndarray) -> float:
        return float(trapezoid(self.evidence * values, self.outcomes))


def information(
    prior: np.ndarray,
    thetas: np.ndarray,
    outcomes: np.ndarray,
    x: float,
    sigma_l: float,
) -> Information:
    likelihood = norm.pdf(outcomes[:, None], x * thetas, sigma_l)  # (M, θ)
    evidence = trapezoid(likelihood * prior, thetas)
    posterior = likelihood * prior / evidence[:, None]
    return Information(
        outcomes,
        evidence,
        trapezoid(rel_entr(posterior, prior), thetas),
        trapezoid(entr(posterior), thetas),
        float(trapezoid(entr(prior), thetas)),
        float(trapezoid(entr(evidence), outcomes)),
        float(trapezoid(prior * trapezoid(entr(likelihood), outcomes, axis=0), thetas)),
    )


# The trapezoid rule converges exponentially on these integrands; 301 points over ±9σ leave 1e-10 and less.
GRID = np.linspace(-9.0, 9.0, 301)


@given(x=finite(0.5, 3), mean=means, sigma=sigmas, sigma_l=log_uniform(0.8, 3))
@settings(max_examples=15)
def test_mutual_information_is_expected_information_gain_by_quadrature(
    x, mean, sigma, sigma_l
) -> None:
    """The lecture's "need proof for that last line?": E KL[p(θ|s′)‖p(θ)] = H(θ) − E H(θ|s′) = H(s′) − E H(s′|θ).

       And all three are ½ log(1 + x²σ²/σ_l²), to which the mean of `information_gain` over s′ comes as well.
    Derivation: docs/derivations.md, 1."""
    assume(x * sigma < 5 * sigma_l)  # so that the grid resolves the posterior
    thetas, outcome_sigma = mean + sigma * GRID, np.hypot(x * sigma, sigma_l)
    outcomes = x * mean + outcome_sigma * GRID
    info = information(norm.pdf(thetas, mean, sigma), thetas, outcomes, x, sigma_l)
    closed_form = 0.5 * np.log1p((x * sigma / sigma_l) ** 2)
    assert info.mean(info.gains) == pytest.approx(closed_form, rel=1e-8)
    assert info.entropy - info.mean(info.entropies) == pytest.approx(
        closed_form, rel=1e-8, abs=1e-9
    )
    assert info.outcome_entropy - info.noise_entropy == pytest.approx(
        closed_form, rel=1e-8, abs=1e-9
    )

    prior, variance = diag_normal([mean], [sigma]), 1 / (sigma**-2 + (x / sigma_l) ** 2)
    posterior_means = variance * (mean / sigma**2 + x * outcomes / sigma_l**2)
    posteriors = [diag_normal([m], [np.sqrt(variance)]) for m in posterior_means]
    gains = np.array(
        [vime.information_gain(posterior, prior) for posterior in posteriors]
    )
    likely = np.abs(GRID) < 3  # beyond, the posterior leaves the grid of θ
    np.testing.assert_allclose(gains[likely], info.gains[likely], rtol=1e-8, atol=1e-10)
    assert info.mean(gains) == pytest.approx(closed_form, rel=1e-8)
    assert gains[150] != pytest.approx(closed_form, rel=1e-3), (
        "the gain of one s′, the mean one"
    )
    swapped = np.array(
        [vime.information_gain(prior, posterior) for posterior in posteriors]
    )
    assert info.mean(swapped) != pytest.approx(closed_form, rel=1e-3), "SwappedKL"


@given(gap=finite(1.5, 3), share=finite(0.2, 0.8), x=finite(0.5, 1.5))
@settings(max_examples=10)
def test_mutual_information_identity_by_quadrature_where_nothing_is_gaussian(
    gap, share, x
) -> None:
    """Two bumps as a prior: here H(θ|s′) depends on s′, so only its mean over s′ makes the identity hold.

    Derivation: docs/derivations.md, 1.
    """
    thetas, outcomes = np.linspace(-13, 13, 501), np.linspace(-30, 30, 501)
    prior = share * norm.pdf(thetas, -gap, 0.5) + (1 - share) * norm.pdf(
        thetas, gap, 1.0
    )
    info = information(prior, thetas, outcomes, x, 1.0)
    expected_gain = info.mean(info.gains)
    assert info.entropy - info.mean(info.entropies) == pytest.approx(
        expected_gain, rel=1e-8
    )
    assert info.outcome_entropy - info.noise_entropy == pytest.approx(
        expected_gain, rel=1e-8
    )
    single = (
        info.entropy - info.entropies[np.abs(outcomes) < 3]
    )  # the slide's H(θ|z, a, s′) without the mean
    assert np.ptp(single) > 0.1
    assert np.max(np.abs(single - expected_gain)) > 0.05


# ---------------------------------------------------------------- Bayes' rule


@given(problem=problems)
@settings(max_examples=10)
def test_posterior_and_evidence_by_quadrature_against_the_conjugate_ones(
    problem: Problem,
) -> None:
    """Prior times likelihood on a grid of weight and bias; and one transition after the other = all at once."""
    axes = [
        m + s * np.linspace(-8, 8, 161)
        for m, s in zip(problem.prior.mu, problem.prior.sigma)
    ]
    theta = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    outputs = bnn.mlp(theta, problem.inputs, (1, 1))
    log_p = bnn.log_likelihood(outputs, problem.targets, problem.likelihood_sigma).sum(
        axis=1
    )
    log_p = log_p + bnn.normal_log_density(
        theta, problem.prior.mu, problem.prior.sigma
    ).sum(axis=1)
    mass = np.exp(log_p) * np.prod([axis[1] - axis[0] for axis in axes])
    assert np.log(mass.sum()) == pytest.approx(problem.log_evidence(), abs=1e-9)

    weights = mass / mass.sum()
    mean, cov = problem.posterior()
    np.testing.assert_allclose(weights @ theta, mean, atol=1e-9)
    np.testing.assert_allclose(
        (weights[:, None] * (theta - mean)).T @ (theta - mean), cov, atol=1e-9
    )

    state = full(problem.prior)
    for row, target in zip(problem.design, problem.targets[:, 0]):
        state = conditioned(
            *state, row[None], np.array([target]), problem.likelihood_sigma**2
        )
    np.testing.assert_allclose(state[0], mean, atol=1e-12)
    np.testing.assert_allclose(state[1], cov, atol=1e-12)
    if abs(problem.likelihood_sigma - 1) > 0.05:
        wrong = conditioned(
            *full(problem.prior),
            problem.design,
            problem.targets[:, 0],
            problem.likelihood_sigma,
        )
        assert not np.allclose(wrong[1], cov, atol=1e-6), "VarianceAsSigma"


@given(problem=problems, q=diag_normals)
@settings(max_examples=50)
def test_log_evidence_is_elbo_plus_kl_to_the_exact_posterior(
    problem: Problem, q: DiagNormal
) -> None:
    """Derivation: docs/derivations.md, 2."""
    mean, cov = problem.posterior()
    gap, log_evidence = kl_full(*full(q), mean, cov), problem.log_evidence()
    assert problem.elbo(q) + gap == pytest.approx(log_evidence, rel=1e-10, abs=1e-10)
    assert problem.elbo(q) <= log_evidence + 1e-12
    swapped, prior_kl = (
        kl_full(mean, cov, *full(q)),
        kl_full(*full(q), *full(problem.prior)),
    )
    assume(min(abs(swapped - gap), prior_kl) > 1e-6)  # what follows tells them apart
    assert problem.elbo(q) + swapped != pytest.approx(log_evidence, rel=1e-10), (
        "SwappedKL"
    )
    assert problem.elbo(q) + prior_kl + gap != pytest.approx(log_evidence, rel=1e-10), (
        "no KL to the prior"
    )


@given(problem=balanced_problems)
@settings(max_examples=30)
def test_elbo_is_log_evidence_at_an_exact_posterior_that_factorises(
    problem: Problem,
) -> None:
    mean, cov = problem.posterior()
    assert problem.elbo(diag_normal(mean, np.sqrt(np.diag(cov)))) == pytest.approx(
        problem.log_evidence(), abs=1e-10
    )
    tilted = problem._replace(inputs=problem.inputs + 1.0)
    mean, cov = tilted.posterior()
    best = tilted.elbo(
        diag_normal(mean, np.diag(np.linalg.inv(cov)) ** -0.5)
    )  # the best factorized posterior
    assert best < tilted.log_evidence() - 1e-6


# ---------------------------------------------------------------- gains of converged posteriors


@given(problem=balanced_problems)
@settings(max_examples=10)
def test_converged_posterior_and_its_gain_against_the_exact_ones(
    problem: Problem,
) -> None:
    """At x = 0 or for the pair ±x: gain = KL[exact posterior after‖before]."""
    mean, cov = problem.posterior()
    q = converged(problem)
    np.testing.assert_allclose(q.mu, mean, atol=1e-6)
    np.testing.assert_allclose(q.sigma, np.sqrt(np.diag(cov)), rtol=1e-6)
    gain, exact = (
        vime.information_gain(q, problem.prior),
        kl_full(mean, cov, *full(problem.prior)),
    )
    assert gain == pytest.approx(exact, abs=1e-6)
    swapped = vime.information_gain(problem.prior, q)
    assert swapped != pytest.approx(exact, abs=1e-6), "SwappedKL"


@pytest.mark.parametrize(
    ("likelihood_sigma", "exact_minus_mean_field"),
    [(2.0, 0.0129), (1.0, 0.0228), (0.5, -0.1553), (0.25, -0.6286)],
)
def test_mean_field_gain_against_the_exact_one_where_weight_and_bias_correlate(
    likelihood_sigma: float, exact_minus_mean_field: float
) -> None:
    """One transition at x = 1, prior N(0, 1) twice: with a = x²σ_w²/σ_l², b = σ_b²/σ_l² the exact gain is higher by
    ½[ab(2 + a + b)/((1 + a + b)(1 + a)(1 + b)) + log((1 + a + b)/((1 + a)(1 + b)))], whatever s′.

    So the mean-field gain is too low if one transition carries little information, and too high if it carries much.
    """
    problem = Problem(
        diag_normal([0.0, 0.0], [1.0, 1.0]),
        column([1.0]),
        column([0.7]),
        likelihood_sigma,
    )
    exact = kl_full(*problem.posterior(), *full(problem.prior))
    difference = exact - vime.information_gain(converged(problem), problem.prior)
    a = b = likelihood_sigma**-2
    halves = (1 + a) * (1 + b)
    closed_form = 0.5 * (
        a * b * (2 + a + b) / ((1 + a + b) * halves) + np.log((1 + a + b) / halves)
    )
    assert difference == pytest.approx(closed_form, abs=1e-6)
    assert difference == pytest.approx(exact_minus_mean_field, abs=1e-4)


@given(problem=balanced_problems)
@settings(max_examples=6)
def test_expected_gain_of_converged_posteriors_is_the_mutual_information(
    problem: Problem,
) -> None:
    """Exact in s′: the gain is quadratic there, so three Gauss points in each direction give its expectation."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = weights / weights.sum()
    center, cov = problem.outcome()
    gains, masses = [], []
    for choice in product(range(3), repeat=len(center)):
        targets = center + np.linalg.cholesky(cov) @ nodes[list(choice)]
        gains.append(
            vime.information_gain(
                converged(problem._replace(targets=targets[:, None])), problem.prior
            )
        )
        masses.append(np.prod(weights[list(choice)]))
    mutual_information = 0.5 * np.linalg.slogdet(cov / problem.likelihood_sigma**2)[1]
    assert np.dot(masses, gains) == pytest.approx(mutual_information, abs=1e-6)
    assert np.max(gains) > mutual_information + 1e-4, "one s′ alone"


# ---------------------------------------------------------------- the two reparameterizations


def moments_of_first_layer(case: Case) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance (N, O) of every pre-activation: linear in its noise, so unit vectors of noise give both."""
    sizes, size = case.layer_sizes[:2], bnn.num_weights(case.layer_sizes[:2])
    q = DiagNormal(case.q.mu[:size], case.q.rho[:size])

    def sampled(eps: np.ndarray) -> np.ndarray:
        return bnn.mlp(bnn.sample_weights(q, eps), case.inputs, sizes)

    mean = sampled(np.zeros((1, size)))[0]
    shape = 2, len(case.inputs), sizes[1]
    none, one = bnn.mlp_local(
        q, case.inputs, [np.stack([np.zeros(shape[1:]), np.ones(shape[1:])])], sizes
    )
    return {
        "weights": (mean, np.sum((sampled(np.eye(size)) - mean) ** 2, axis=0)),
        "local": (none, (one - none) ** 2),
    }


@given(case=cases())
@settings(max_examples=50)
def test_local_reparameterization_and_weight_sampling_agree_in_mean_and_variance(
    case: Case,
) -> None:
    """Derivation: docs/derivations.md, 5."""
    moments = moments_of_first_layer(case)
    for weights, local in zip(moments["weights"], moments["local"]):
        np.testing.assert_allclose(local, weights, rtol=1e-10, atol=1e-13)
    matrix, bias = bnn.unflatten(bnn.softplus(case.q.rho), case.layer_sizes)[0]
    wrong = np.abs(case.inputs) @ matrix**2 + bias**2  # h·σ² instead of h²·σ²
    assert not np.allclose(moments["local"][1], wrong, rtol=1e-6)


def test_deep_pre_activations_agree_in_mean_and_variance_by_monte_carlo() -> None:
    """Every unit of every layer within 5 standard errors of 20 000 samples."""
    case, size, rng = (
        make_case((2, 3, 2), 2, 1, 9, 1.0),
        20_000,
        np.random.default_rng(4),
    )
    zeta = [rng.normal(size=(size, 2, units)) for units in (3, 2)]
    for layer_sizes in [(2, 3), (2, 3, 2)]:
        num_weights = bnn.num_weights(layer_sizes)
        q = DiagNormal(case.q.mu[:num_weights], case.q.rho[:num_weights])
        weights = bnn.mlp(
            bnn.sample_weights(q, rng.normal(size=(size, num_weights))),
            case.inputs,
            layer_sizes,
        )
        local = bnn.mlp_local(q, case.inputs, zeta[: len(layer_sizes) - 1], layer_sizes)
        shrunk = local.mean(axis=0) + 0.9 * (local - local.mean(axis=0))
        squares = [(z - z.mean(axis=0)) ** 2 for z in (weights, local, shrunk)]
        for a, b in [(weights, local), squares[:2]]:
            standard_error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / size)
            assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * standard_error)
        standard_error = np.sqrt(
            (squares[0].var(axis=0) + squares[2].var(axis=0)) / size
        )
        assert np.all(
            np.abs(squares[0].mean(axis=0) - squares[2].mean(axis=0))
            > 5 * standard_error
        ), "0.9 σ"


# ---------------------------------------------------------------- where the lecture is loose


@given(vectors=four_vectors())
@settings(max_examples=20)
def test_kl_of_the_slide_is_half_a_nat_per_weight_for_equal_distributions(
    vectors: tuple[np.ndarray, ...],
) -> None:
    mu, sigma, _, _ = vectors
    slide = 0.5 * np.sum(
        (sigma / sigma) ** 2
        + 2 * np.log(sigma)
        - 2 * np.log(sigma)
        + ((mu - mu) / sigma) ** 2
    )
    assert slide == pytest.approx(0.5 * len(mu), rel=1e-12)
    assert bnn.kl_diag_normal(mu, sigma, mu, sigma) == 0.0


@given(problem=balanced_problems)
@settings(max_examples=20)
def test_plus_log_prior_in_the_lower_bound_is_no_lower_bound(problem: Problem) -> None:
    """E log p(D|θ) − E[log q − log p(θ)] is a bound; with + log p(θ) in the bracket it exceeds log p(D)."""
    mean, cov = problem.posterior()
    q = diag_normal(mean, np.sqrt(np.diag(cov)))
    mean_square = (q.sigma**2 + (q.mu - problem.prior.mu) ** 2) / problem.prior.sigma**2
    log_prior = np.sum(
        -0.5 * np.log(2 * np.pi) - np.log(problem.prior.sigma) - 0.5 * mean_square
    )
    entropy = np.sum(0.5 * np.log(2 * np.pi * np.e) + np.log(q.sigma))
    log_p = problem.elbo(q) + bnn.kl_diag_normal(
        q.mu, q.sigma, problem.prior.mu, problem.prior.sigma
    )
    assume(log_prior < -0.01)  # a prior this wide has a density below 1 where q lies
    assert log_p + entropy + log_prior == pytest.approx(
        problem.log_evidence(), abs=1e-9
    )
    assert log_p + entropy - log_prior > problem.log_evidence()


@given(target=finite(0.5, 3), prior_sigma=sigmas, sigma_l=sigmas)
@settings(max_examples=15)
def test_expected_likelihood_has_another_maximiser_than_the_elbo(
    target, prior_sigma, sigma_l
) -> None:
    """E p(s′), the objective on the slide, prefers a point at the data to the posterior; the ELBO does not."""
    prior = diag_normal([0.0, 0.0], [1.0, prior_sigma])
    problem = Problem(prior, column([0.0]), column([target]), sigma_l)
    mean, cov = problem.posterior()
    posterior = diag_normal(mean, np.sqrt(np.diag(cov)))
    point = diag_normal([0.0, target], [1.0, 1e-3])

    def expected_likelihood(q: DiagNormal) -> float:
        bias = norm(q.mu[1], q.sigma[1])
        low, high = bias.ppf([1e-16, 0.5])[0], bias.isf(1e-16)
        return quad(lambda b: bias.pdf(b) * norm.pdf(target, b, sigma_l), low, high)[0]

    assert expected_likelihood(point) > expected_likelihood(posterior)
    assert problem.elbo(point) < problem.elbo(posterior)
    assert problem.elbo(posterior) == pytest.approx(problem.log_evidence(), abs=1e-10)


# ---------------------------------------------------------------- the gain of a network

RELU = (3, 8, 2)
WEIGHTS = bnn.num_weights(RELU)
# Noise with mean 0 and covariance I: a row for each weight and sign.
AXES = np.sqrt(WEIGHTS) * np.concatenate([np.eye(WEIGHTS), -np.eye(WEIGHTS)])
gains_by = pytest.mark.parametrize(
    "gains", [vime.information_gains, fast_ref.information_gains], ids=["rows", "fast"]
)


class Network(NamedTuple):
    """A ReLU network at μ, with its Jacobian J by autograd."""

    mu: np.ndarray
    inputs: np.ndarray  # (N, I)
    outputs: np.ndarray  # (N, O)
    jacobian: np.ndarray  # (N, O, D)


def network(seed: int) -> Network:
    rng = np.random.default_rng(seed)
    mu = rng.normal(size=WEIGHTS)
    inputs = rng.normal(size=(6, RELU[0]))

    def outputs(theta):
        return bnn.mlp(theta[None], inputs, RELU)[0]

    return Network(mu, inputs, outputs(mu), jacobian(outputs)(mu))


def narrow(mu: np.ndarray, sigma: float, seed: int) -> DiagNormal:
    """A posterior of widths around σ, different for each weight."""
    scale = np.random.default_rng(seed).uniform(0.5, 2.0, len(mu))
    return DiagNormal(mu, bnn.softplus_inverse(sigma * scale))


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest relative difference; numbers here are far below 1."""
    return float(np.max(np.abs(found / expected - 1.0)))


@gains_by
@pytest.mark.parametrize("seed", range(3))
def test_gain_of_a_network_against_squared_error_times_leverage(gains, seed) -> None:
    """½λ² Σσ²(Jᵀe)²/σ_l⁴. Controls: |e|, σ and σ_l² instead of e², σ² and σ_l⁴; no ½.

    Derivation: docs/derivations.md, 7.
    """
    given = network(seed)
    errors = np.random.default_rng(seed).normal(size=given.outputs.shape)
    q = narrow(given.mu, 1e-4, seed)
    model = {"layer_sizes": RELU, "likelihood_sigma": 0.7, "step_size": 0.3}
    found = gains(q, given.inputs, given.outputs + errors, AXES, **model)

    def formula(half=0.5, width=2, error=2, noise=4):
        slope = np.einsum("noi,no->ni", given.jacobian, errors)  # (N, D)
        form = q.sigma**width * np.abs(slope) ** error  # (N, D)
        return half * 0.3**2 * form.sum(axis=1) / 0.7**noise

    assert relative(found, formula()) < 1e-4
    for wrong in ({"half": 1.0}, {"width": 1}, {"error": 1}, {"noise": 2}):
        assert relative(found, formula(**wrong)) > 0.2, wrong

    # The same as the squared error times the leverage in its direction.
    squared = np.sum(errors**2, axis=1)  # (N,)
    unit = errors / np.sqrt(squared)[:, None]  # (N, O)
    along = np.einsum("noi,no->ni", given.jacobian, unit)  # (N, D)
    leverage = np.sum((q.sigma * along) ** 2, axis=1) / 0.7**2  # (N,)
    assert relative(found, 0.5 * 0.3**2 * squared / 0.7**2 * leverage) < 1e-4


def leverages(given: Network, sigma: np.ndarray, likelihood_sigma: float) -> np.ndarray:
    """h of each weight alone, (N, D)."""
    return np.sum((sigma * given.jacobian / likelihood_sigma) ** 2, axis=1)


@gains_by
@pytest.mark.parametrize("seed", range(3))
def test_gain_of_a_predicted_transition_against_the_squared_leverages(
    gains, seed
) -> None:
    """½λ² Σ½h². Controls: no second ½; the square of the sum.

    Derivation: docs/derivations.md, 7.
    """
    given = network(seed)
    q = narrow(given.mu, 1e-4, seed)
    model = {"layer_sizes": RELU, "likelihood_sigma": 0.7, "step_size": 0.3}
    found = gains(q, given.inputs, given.outputs, AXES, **model)
    h = leverages(given, q.sigma, 0.7)
    assert relative(found, 0.25 * 0.3**2 * np.sum(h**2, axis=1)) < 1e-3
    for wrong in (2.0 * np.sum(h**2, axis=1), np.sum(h, axis=1) ** 2):
        assert relative(found, 0.25 * 0.3**2 * wrong) > 0.2


@pytest.mark.parametrize("num_data", [1e6, 1e8])
def test_num_data_bounds_the_leverage_of_a_network(num_data) -> None:
    """∂ELBO/∂ρ = 0 at 1/σ² = 1/σ_p² + n·mean J²/σ_l². Controls: half and twice n.

    Each weight's leverage, averaged over the rows, is then below 1/n.
    Derivation: docs/derivations.md, 7.
    """
    given = network(0)
    prior = DiagNormal(np.zeros(WEIGHTS), bnn.softplus_inverse(np.full(WEIGHTS, 0.5)))
    curvature = leverages(given, np.ones(WEIGHTS), 0.7).mean(axis=0)  # (D,)

    def slope(n: float) -> np.ndarray:
        sigma = (1.0 / 0.5**2 + n * curvature) ** -0.5
        assert np.all(leverages(given, sigma, 0.7).mean(axis=0) < 1.0 / n)
        q = DiagNormal(given.mu, bnn.softplus_inverse(sigma))
        data = (q, prior, given.inputs, given.outputs, AXES)
        model = {"layer_sizes": RELU, "likelihood_sigma": 0.7}
        return fast_ref.elbo_grad(*data, num_data=num_data, **model)[1]

    seen = curvature > 1e-6  # a weight that no row sees keeps the prior's width
    assert np.max(np.abs(slope(num_data)[seen])) < 0.02
    assert np.min(np.abs(slope(0.5 * num_data)[seen])) > 0.4
    assert np.min(np.abs(slope(2.0 * num_data)[seen])) > 0.4

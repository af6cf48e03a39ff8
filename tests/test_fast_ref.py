"""`fast_ref` against the definitions: every function gives the same numbers."""

import inspect
import re
from functools import partial
from typing import Any

import autograd.extend
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit
from strategies import (
    GRADIENTS,
    Case,
    cases,
    fit_by,
    gradient_of,
    log_uniform,
    make_case,
    minibatches,
    noise_of,
    seeds,
)

import agents_ref as agents
import bnn_ref as bnn
import fast_ref as fast
import vime_ref as vime
from bnn_ref import DiagNormal

NAN = np.nan
INF = np.inf
A1 = np.ones(1)
A2 = np.ones(2)
Q2 = DiagNormal(np.zeros(2), np.zeros(2))
ROWS = np.ones((3, 1))
EPS = np.zeros((5, 2))
ZETA = [np.zeros((5, 3, 1))]
MODEL = {"layer_sizes": (1, 1), "likelihood_sigma": 1.0}
BY_HAND = GRADIENTS["by hand"]
AUTOGRAD = GRADIENTS["autograd"]

# ------------------------------------------------------------ the gradient of the ELBO


@st.composite
def gradient_cases(draw: st.DrawFn) -> tuple[Case, dict[str, Any]]:
    """A case with a prior from 1e-8 to 100 standard deviations off q, and the settings of its ELBO."""
    case, rng = draw(cases(max_rows=5)), np.random.default_rng(draw(seeds))
    mean_move, sigma_move = draw(log_uniform(1e-8, 1e2)), draw(log_uniform(1e-8, 1e2))
    sigma = case.q.sigma * (1.0 + sigma_move) ** rng.choice(
        [-1.0, 1.0], case.q.sigma.size
    )
    prior = DiagNormal(
        case.q.mu + mean_move * rng.normal(size=sigma.size) * sigma,
        bnn.softplus_inverse(sigma),
    )
    per_output = case.likelihood_sigma * np.arange(1.0, 1.0 + case.layer_sizes[-1])
    likelihood_sigma = draw(st.sampled_from([case.likelihood_sigma, per_output]))
    return case, {
        "prior": prior,
        "num_data": draw(log_uniform(1e-6, 1e3)),
        "likelihood_sigma": likelihood_sigma,
    }


def gradient_error(gradient: np.ndarray, expected: np.ndarray) -> float:
    """The largest error, relative to the largest entry."""
    return float(np.abs(gradient - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("local", [False, True])
@settings(max_examples=100)
@given(drawn=gradient_cases())
def test_elbo_grad_by_hand_against_autograd(
    local: bool, drawn: tuple[Case, dict[str, Any]]
) -> None:
    """Tolerance: both add the same few hundred products in another order: 1e-14 of the largest, and room to cancel."""
    case, changes = drawn
    closed, expected = (
        gradient_of(case, local, f, **changes)
        for f in (BY_HAND[local], AUTOGRAD[local])
    )
    assert gradient_error(closed, expected) <= 1e-12


@autograd.extend.primitive
def unmasked_relu(x: Any) -> Any:
    """max(x, 0), with derivative 1 everywhere."""
    return np.maximum(x, 0.0)


autograd.extend.defvjp(unmasked_relu, lambda answer, x: lambda g: g)


@pytest.mark.parametrize("local", [False, True])
def test_elbo_grad_by_hand_control_of_mistakes(
    local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both oracles, autograd and the difference along a direction, reject each mistake."""
    case, h = make_case((2, 4, 3, 2), 4, 3, 0, 1.0), 1e-6
    exact = gradient_of(case, local, AUTOGRAD[local])
    mu_part, rho_part = np.split(closed := gradient_of(case, local, BY_HAND[local]), 2)
    wrong = {
        "no KL": gradient_of(case, local, BY_HAND[local], prior=case.q),
        "a mean over samples once more": gradient_of(
            case, local, BY_HAND[local], num_data=10.0 / 3.0
        ),
        "NoKLScale": gradient_of(case, local, BY_HAND[local], num_data=4.0),
        "sigma for sigmoid": np.concatenate(
            [mu_part, rho_part / expit(case.q.rho) * case.q.sigma]
        ),
        "halved": 0.5 * closed,
    }
    phi, direction = (
        np.concatenate([case.q.mu, case.q.rho]),
        np.random.default_rng(1).normal(size=closed.size),
    )
    rest = case.prior, case.inputs, case.targets, noise_of(case, local)
    elbo = bnn.elbo_local if local else bnn.elbo
    plus, minus = (
        elbo(
            DiagNormal(*np.split(phi + s * h * direction, 2)),
            *rest,
            num_data=10.0,
            **case.model,
        )
        for s in (1.0, -1.0)
    )
    monkeypatch.setattr(bnn, "relu", unmasked_relu)
    monkeypatch.setattr(bnn, "mlp", partial(bnn.mlp, hidden=unmasked_relu))
    wrong["no mask"] = gradient_of(case, local, AUTOGRAD[local])

    def slope_error(gradient: np.ndarray) -> float:
        return abs(gradient @ direction / ((plus - minus) / (2 * h)) - 1.0)

    assert gradient_error(closed, exact) <= 1e-12
    assert slope_error(closed) < 1e-6
    for name, gradient in wrong.items():
        assert gradient_error(gradient, exact) > 1e-2, name
        assert slope_error(gradient) > 1e-3, name


@pytest.mark.parametrize("rows_last", [False, True])
def test_what_enters_a_layer_ends_in_1_and_is_rectified_behind_the_first(
    rows_last: bool,
) -> None:
    x = np.array([[-1.0, 2.0]])
    assert fast.with_ones(x, rows_last).tolist() == [[[-1.0, 2.0, 1.0]]]
    assert x.tolist() == [[-1.0, 2.0]]
    z = np.array([[[-1.0, 2.0, 7.0]]])
    assert fast.rectify(z).tolist() == [[[0.0, 1.0, 1.0]]]
    assert z.tolist() == [[[0.0, 2.0, 1.0]]]


def without_kl(q: DiagNormal, prior: DiagNormal, *args: Any, **settings: Any) -> Any:
    return BY_HAND[isinstance(args[-1], list)](q, q, *args, **settings)


@pytest.mark.parametrize("local", [False, True])
def test_fit_by_either_gradient_against_each_other(local: bool) -> None:
    """Tolerance: gradients agree to 1e-15, and 30 Adam steps do not amplify the difference much."""
    case = make_case((2, 4, 3, 2), 6, 1, 4, 1.0)

    def fitted(**gradient: Any) -> np.ndarray:
        rng = np.random.default_rng(5)
        q, adam = bnn.fit(
            case.q, case.prior, *minibatches(case, rng, 30, 3), rng,
            num_samples=2, learning_rate=0.05, num_data=6, **case.model, **gradient,
        )  # fmt: skip
        return np.concatenate([q.mu, q.rho, adam.mean, adam.square])

    expected = fitted(**fit_by(local))
    np.testing.assert_allclose(
        fitted(**fit_by(local, fast)), expected, rtol=1e-9, atol=1e-9
    )
    wrong = fitted(**fit_by(local) | {"gradient": without_kl})
    assert np.abs(wrong - expected).max() > 0.1
    if not local:
        np.testing.assert_array_equal(fitted(), expected)  # the default


def fit_of(module: Any, case: Case, local: bool, **changes: Any) -> np.ndarray:
    """q, Adam's state and the next number of the generator, after 20 steps."""
    rng = np.random.default_rng(5)
    given = {"num_samples": 2, "learning_rate": 0.05, "num_data": 6, **case.model}
    given |= fit_by(local, changes.pop("gradients", module)) | changes
    rows = minibatches(case, rng, 20, 3)
    q, adam = module.fit(case.q, case.prior, *rows, rng, **given)
    return np.concatenate([q.mu, q.rho, adam.mean, adam.square, [rng.normal()]])


@pytest.mark.parametrize("gradients", [bnn, fast], ids=["autograd", "by hand"])
@pytest.mark.parametrize("local", [False, True], ids=["weights", "local"])
@pytest.mark.parametrize("sizes", [(2, 3), (2, 4, 3, 2)])
def test_fit_against_the_definition(
    sizes: tuple[int, ...], local: bool, gradients: Any
) -> None:
    """Whichever gradient names the noise. Controls: another rate, and a gradient without the KL."""
    case = make_case(sizes, 6, 1, 4, 1.0)
    expected = fit_of(bnn, case, local)
    found = fit_of(fast, case, local, gradients=gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert found[-1] == expected[-1]  # as many numbers drawn
    for wrong in ({"learning_rate": 0.051}, {"gradient": without_kl}):
        assert np.abs(fit_of(fast, case, local, **wrong) - expected).max() > 1e-3


@pytest.mark.parametrize("local", [False, True], ids=["weights", "local"])
def test_fit_takes_a_sigma_for_each_output_and_an_old_state_of_adam(
    local: bool,
) -> None:
    """As many as outputs, not as hidden units. Control: a new state of Adam."""
    case = make_case((2, 4, 3), 6, 1, 4, 1.0)
    changes = {"likelihood_sigma": np.array([0.5, 1.0, 2.0])}
    size = 2 * bnn.num_weights(case.layer_sizes)
    old = changes | {"adam": bnn.AdamState(np.ones(size), np.ones(size), 7)}
    expected = fit_of(bnn, case, local, **old)
    np.testing.assert_allclose(fit_of(fast, case, local, **old), expected, rtol=1e-9)
    assert np.abs(fit_of(fast, case, local, **changes) - expected).max() > 1e-3


def test_fit_by_functions_of_your_own_is_the_definition_s() -> None:
    case = make_case((2, 3, 1), 6, 1, 4, 1.0)

    def halved(*args: Any, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
        grad_mu, grad_rho = bnn.elbo_grad(*args, **settings)
        return 0.5 * grad_mu, 0.5 * grad_rho

    def same_noise(rng: Any, samples: int, rows: int, sizes: Any) -> np.ndarray:
        return np.ones((samples, bnn.num_weights(sizes)))

    adam = bnn.AdamState(np.ones(26), np.ones(26), 7)
    for own in ({"gradient": halved}, {"sample_noise": same_noise, "adam": adam}):
        right = fit_of(bnn, case, False, **own)
        np.testing.assert_array_equal(
            fit_of(fast, case, False, gradients=bnn, **own), right
        )


HUGE = make_case((2, 3, 1), 6, 1, 4, 1.0)
FIT_ERRORS: list[tuple[str, Case, dict[str, Any]]] = [
    (
        "activations must be finite",
        HUGE._replace(inputs=1e308 * np.sign(HUGE.inputs)),
        {},
    ),
    ("gradient**2 must be finite", HUGE, {"num_data": 1e200}),
    ("rho must be >= -700, got min", HUGE, {"learning_rate": 1000.0}),
    ("adam.mean must have shape (", HUGE, {"adam": bnn.adam_init(1)}),
]


@pytest.mark.parametrize("local", [False, True], ids=["weights", "local"])
@pytest.mark.parametrize(("message", "case", "changes"), FIT_ERRORS)
def test_both_fits_reject_steps_for_the_same_reason(
    message: str, case: Case, changes: dict[str, Any], local: bool
) -> None:
    """A fast step is checked at the end, and its error names what the definition's step rejects."""
    expected = pytest.raises(ValueError, match="^" + re.escape(message))
    for module in (bnn, fast):
        with np.errstate(all="ignore"), expected:
            fit_of(module, case, local, **changes)
    with expected:
        fit_of(fast, case, local, **changes)  # NumPy raises here, as in all tests


@pytest.mark.parametrize(
    ("name", "size", "old_rho"), [("grad_mu", 1e200, 0.0), ("grad_rho", 1.0, -400.0)]
)
def test_a_fit_whose_gradient_overflows_names_it(
    name: str, size: float, old_rho: float
) -> None:
    """Rows of 1e200, and a prior whose 1/σ² overflows. Control: a prior of σ = 1."""
    rows = size * np.ones((2, 3, 1))
    q = DiagNormal(np.zeros(2), np.zeros(2))

    def fitted(rows: Any, prior: DiagNormal) -> Any:
        keywords = {"num_samples": 2, "learning_rate": 0.1, "num_data": 3}
        return fast.fit(
            q, prior, rows, rows, np.random.default_rng(0), **keywords, **MODEL
        )

    with pytest.raises(ValueError, match=f"^{name} must be finite, got "):
        fitted(rows, DiagNormal(q.mu, np.full(2, old_rho)))
    fitted(np.ones((2, 3, 1)), q)


GRADIENT_ERRORS: list[tuple[str, dict[str, Any]]] = [
    (
        "inputs must be finite, got nan at index (1, 0)",
        {"inputs": np.array([[0.0], [NAN], [0.0]])},
    ),
    ("targets must be finite", {"targets": np.full((3, 1), INF)}),
    ("same number of rows >= 1, got 3 and 2", {"targets": np.ones((2, 1))}),
    (
        "same number of rows >= 1, got 0 and 0",
        {"inputs": np.ones((0, 1)), "targets": np.ones((0, 1))},
    ),
    ("num_data must be > 0 and finite", {"num_data": 0}),
    ("num_data must be > 0 and finite", {"num_data": NAN}),
    ("inputs must have shape (3, 1), got (3, 2)", {"inputs": np.ones((3, 2))}),
    (
        "inputs must have shape (3, 1), got (3, 2)",
        {"inputs": np.ones((3, 2)), "zeta": ZETA},
    ),
    ("targets must have shape (3, 1), got (3, 2)", {"targets": np.ones((3, 2))}),
    (
        "targets must have shape (3, 1), got (3, 2)",
        {"targets": np.ones((3, 2)), "zeta": ZETA},
    ),
    ("likelihood_sigma must be > 0 and finite", {"likelihood_sigma": 0.0}),
    ("likelihood_sigma must have shape (1,), got (2,)", {"likelihood_sigma": A2}),
    ("likelihood_sigma must have shape (1,), got (3, 1)", {"likelihood_sigma": ROWS}),
    ("eps must have shape (5, 2), got (5, 3)", {"eps": np.zeros((5, 3))}),
    ("eps must be finite", {"eps": np.full((5, 2), NAN)}),
    ("samples in eps must be a whole number >= 1, got 0", {"eps": np.zeros((0, 2))}),
    ("zeta must have one array per layer, 1, got 2", {"zeta": ZETA * 2}),
    ("zeta must have shape (5, 3, 1), got (5, 4, 1)", {"zeta": [np.zeros((5, 4, 1))]}),
    ("zeta must be finite", {"zeta": [np.full((5, 3, 1), NAN)]}),
    (
        "samples in zeta must be a whole number >= 1, got 0",
        {"zeta": [np.zeros((0, 3, 1))]},
    ),
    ("must have shape (2,), got (1,)", {"q": DiagNormal(A1, A1), "zeta": ZETA}),
    ("layer_sizes must name inputs and outputs, got (1,)", {"layer_sizes": (1,)}),
    ("layer_sizes must name inputs and outputs, got ()", {"layer_sizes": ()}),
    ("layer_sizes must be a whole number >= 1, got 1.0", {"layer_sizes": (1, 1.0)}),
    (
        "must have",
        {"prior": DiagNormal(A1, A1)},
    ),  # one prior would serve for both weights
    ("must have", {"prior": DiagNormal(A1, A1), "zeta": ZETA}),
    ("must have", {"prior": DiagNormal(np.ones(3), np.ones(3))}),
]


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize(
    ("message", "changes"), GRADIENT_ERRORS, ids=range(len(GRADIENT_ERRORS))
)
def test_both_gradients_reject_the_same_arguments(
    name: str, message: str, changes: dict[str, Any]
) -> None:
    given = {
        "q": Q2,
        "prior": Q2,
        "inputs": ROWS,
        "targets": ROWS,
        "num_data": 3,
    } | MODEL
    for local, noise in [(False, {"eps": EPS}), (True, {"zeta": ZETA})]:
        GRADIENTS[name][local](**given, **noise)  # unchanged, they raise nothing
    local = "zeta" in changes
    noise = {} if local else {"eps": EPS}
    with pytest.raises(ValueError, match=re.escape(message)):
        GRADIENTS[name][local](**given | noise | changes)


@pytest.mark.parametrize(
    ("name", "rho", "size"),
    [("grad_mu", 0.0, 1e200), ("grad_rho", -400.0, 1.0)],
)
def test_gradients_that_overflow_are_named(name: str, rho: float, size: float) -> None:
    """Targets of 1e200 at inputs of 1e200, and a prior whose 1/σ² overflows; the latter with both noises."""
    prior = DiagNormal(np.zeros(2), np.full(2, rho))
    given = (DiagNormal(np.zeros(2), np.zeros(2)), prior, size * ROWS**0, size * ROWS)
    calls = [lambda: fast.elbo_grad(*given, EPS, num_data=3, **MODEL)]
    if rho:
        calls.append(lambda: fast.elbo_grad_local(*given, ZETA, num_data=3, **MODEL))
    for call in calls:
        with (
            np.errstate(all="ignore"),
            pytest.raises(ValueError, match=f"^{name} must be finite, got -?inf"),
        ):
            call()


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_that_are_no_numbers_are_rejected(name: str) -> None:
    """At rho = -700 the variance of a pre-activation is 0 in float64. Control: at -300 both noises have gradients."""

    def size(rho: float, noise: Any) -> float:
        q = DiagNormal(np.zeros(2), np.full(2, rho))
        gradient = GRADIENTS[name][isinstance(noise, list)]
        return float(
            np.abs(gradient(q, Q2, ROWS, 2.0 * ROWS, noise, num_data=3, **MODEL)).max()
        )

    zeta = [np.ones((5, 3, 1))]
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"^grad_rho must be finite, got (nan|inf) at"),
    ):
        size(-700.0, zeta)
    assert 1.0 < size(-300.0, zeta) < 100.0
    assert 1.0 < size(-300.0, np.ones((5, 2))) < 100.0


# ------------------------------------------------------------ twins

DEFINITIONS = {
    "fit": bnn.fit,
    "elbo_grad": bnn.elbo_grad,
    "elbo_grad_local": bnn.elbo_grad_local,
    "information_gains": vime.information_gains,
    "information_gains_local": vime.information_gains_local,
    "policy_gradient_step": agents.policy_gradient_step,
    "trpo_step": agents.trpo_step,
    "value_fit": agents.value_fit,
    "rollout": agents.rollout,
}


def test_every_function_but_the_actor_is_a_twin() -> None:
    assert set(fast.__all__) - set(DEFINITIONS) == {"actor"}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_twin_has_the_arguments_of_its_definition(name: str) -> None:
    """The definition of a gradient passes its settings on to `elbo`."""
    twin = inspect.signature(getattr(fast, name)).parameters
    definition = inspect.signature(DEFINITIONS[name]).parameters
    expected = dict(definition)
    if "elbo" in name:
        settings = inspect.signature(bnn.elbo).parameters
        del expected["settings"]
        expected |= {each: settings[each] for each in list(settings)[5:]}
    assert list(twin) == list(expected)
    assert [p.kind for p in twin.values()] == [p.kind for p in expected.values()]
    assert [p.default for p in twin.values()] == [p.default for p in expected.values()]


@pytest.mark.parametrize("pairs", [False, True], ids=["gradients", "pairs"])
@pytest.mark.parametrize("few", [0, 2**15], ids=["one output", "all outputs"])
@pytest.mark.parametrize("local", [False, True], ids=["weights", "local"])
@settings(max_examples=10)
@given(case=cases(max_rows=5))
def test_taylor_gains_by_gradients_and_by_pairs_against_the_definition(
    local: bool, few: int, pairs: bool, case: Case
) -> None:
    """The gradient of each row is formed, FEW numbers at a time, or pairs of samples are summed."""
    name = "information_gains" + "_local" * local
    given_ = (case.q, case.inputs, case.targets, noise_of(case, local))
    keywords = {**case.model, "step_size": 0.1}
    right = getattr(vime, name)(*given_, **keywords)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "FEW", few)
        patch.setattr(fast, "pairs_are_fewer", lambda *sizes: pairs)
        found = getattr(fast, name)(*given_, **keywords)
    np.testing.assert_allclose(found, right, rtol=1e-9)


@pytest.mark.parametrize("few", [0, 2**15], ids=["one output", "all outputs"])
@pytest.mark.parametrize("local", [False, True], ids=["weights", "local"])
@settings(max_examples=20)
@given(case=cases(max_rows=5), step_size=log_uniform(1e-4, 3.0))
def test_exact_gains_of_small_and_large_steps_against_the_definition(
    local: bool, few: int, case: Case, step_size: float
) -> None:
    """Tolerance: the definition rounds μ + Δμ and ρ + Δρ, so its smallest steps keep 10 digits.

    A step to a ρ that is out of range is rejected by both.
    """
    name = "information_gains" + "_local" * local
    given_ = (case.q, case.inputs, case.targets, noise_of(case, local))
    keywords = {**case.model, "step_size": step_size, "method": "exact"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "FEW", few)
        try:
            right = getattr(vime, name)(*given_, **keywords)
        except ValueError:
            with pytest.raises(ValueError, match=r"^rho must be "):
                getattr(fast, name)(*given_, **keywords)
            return
        found = getattr(fast, name)(*given_, **keywords)
    np.testing.assert_allclose(found, right, rtol=1e-9)


STEPS = [
    0.0,
    1e-12,
    -1e-12,
    1e-4,
    0.01,
    -0.01,
    0.0101,
    0.3,
    -0.3,
    2.0,
    -2.9,
    -3.1,
    -30.0,
    40.0,
    290.0,
    310.0,
]


@pytest.mark.parametrize("rho", [-300.0, -5.0, 0.0, 3.0, 40.0])
@pytest.mark.parametrize("step", STEPS)
def test_the_kl_of_a_step_against_the_definition(step: float, rho: float) -> None:
    """Both ends of the series and of what needs no special case. Control: half of the step."""
    old, new = (DiagNormal(np.zeros(1), np.array([x])) for x in (rho, rho + step))
    move = np.full((1, 1, 1), 1e-6)
    at = np.full((1, 1, 1), rho)
    right = vime.information_gain(DiagNormal(1e-6 * old.sigma, new.rho), old)
    found, halved = (
        fast.step_kl(move, np.full((1, 1, 1), x), at) for x in (step, step / 2)
    )
    rounded = abs(new.rho[0] - rho - step) / max(abs(step), 1e-300)  # of ρ + Δρ itself
    np.testing.assert_allclose(found, right, rtol=1e-11 + 4.0 * rounded)
    assert step == 0.0 or abs(step) < 1e-11 or abs(halved[0] / right - 1.0) > 0.01


def step_kl_at_50_digits(rho: float, step: float) -> float:
    """log(σ/σ′) + σ′²/(2σ²) − ½ for σ′ at ρ + Δρ."""
    with mp.workdps(50):
        old = mp.log1p(mp.exp(mp.mpf(rho)))
        new = mp.log1p(mp.exp(mp.mpf(rho) + mp.mpf(step)))
        ratio = new / old
        return float((ratio**2 - 1) / 2 - mp.log(ratio))


def relative_d(rho: float, step: float) -> float:
    """Δσ/σ."""
    return float(np.logaddexp(0.0, rho + step) / np.logaddexp(0.0, rho) - 1.0)


@pytest.mark.parametrize("rho", [-2.0, 0.0, 1.5])
@pytest.mark.parametrize("share", [1e-6, 1e-3, 0.3, 0.999, -0.999, 1.001])
def test_the_series_of_a_step_to_its_last_digits(share: float, rho: float) -> None:
    """To 4e-15, some roundings of d²; past the series d − log(1 + d) loses a digit.

    `share` is of the end of the series, |Δσ/σ| = 0.01. Control: a series one term shorter, at its end.
    """
    end = share * fast.SMALL
    step = brentq(lambda x: relative_d(rho, x) - end, -0.1, 0.1, xtol=1e-18)
    assert (abs(relative_d(rho, step)) < fast.SMALL) == (abs(share) < 1.0)
    found = fast.step_kl(*(np.full((1, 1, 1), x) for x in (0.0, step, rho)))
    right = step_kl_at_50_digits(rho, step)
    tolerance = 4e-15 if abs(share) < 1.0 else 4e-14
    np.testing.assert_allclose(found, right, rtol=tolerance)
    lost = 2.0 / 7.0 * abs(end / (2.0 + end)) ** 7  # of both terms' sum
    assert (lost / right > 1e-13) == (abs(share) > 0.9)


@pytest.mark.parametrize("local", [False, True], ids=["weights", "local"])
@pytest.mark.parametrize("method", ["taylor", "exact"])
def test_gains_in_chunks_of_a_wide_network_against_the_definition(
    method: str, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 1 and of 3 rows. Control: without the limit, all rows are one chunk."""
    case = make_case((2, 4, 3), 5, 3, 7, 1.0)
    name = "information_gains" + "_local" * local
    given_ = (case.q, case.inputs, case.targets, noise_of(case, local))
    keywords = {**case.model, "step_size": 0.1, "method": method}
    right = getattr(vime, name)(*given_, **keywords)
    for numbers, rows in [(1, 1), (45, 3), (2**22, 256)]:
        monkeypatch.setattr(fast, "CHUNK_SIZE", numbers)
        assert fast.chunk_rows(3, case.layer_sizes) == rows
        found = getattr(fast, name)(*given_, **keywords)
        np.testing.assert_allclose(found, right, rtol=1e-9)


def test_chunks_of_a_wide_network_are_narrow() -> None:
    """4000 dimensions: a row's first layer alone holds 32 · 4001 numbers. Control: 256 rows of a small one."""
    assert fast.chunk_rows(10, (4001, 32, 4000)) == 32
    assert fast.chunk_rows(10, (3, 32, 2)) == fast.CHUNK_ROWS == 256


@pytest.mark.parametrize("module", [bnn, fast])
def test_gradients_reject_unknown_and_missing_settings(module: Any) -> None:
    given = (Q2, Q2, ROWS, ROWS, EPS)
    with pytest.raises(TypeError, match="speed"):
        module.elbo_grad(*given, num_data=3, speed=1, **MODEL)
    with pytest.raises(TypeError, match="num_data"):
        module.elbo_grad(*given, **MODEL)


@pytest.mark.parametrize("module", [vime, fast])
def test_a_step_below_the_range_of_rho_is_rejected(module: Any) -> None:
    """Control: a smaller step passes."""
    rows = (Q2, 3.0 * ROWS, -50.0 * ROWS, np.ones((5, 2)))
    with pytest.raises(ValueError, match=r"rho must be >= -700"):
        module.information_gains(*rows, step_size=1e4, method="exact", **MODEL)
    gains = module.information_gains(*rows, step_size=1e-4, method="exact", **MODEL)
    assert np.all(gains > 0.0)


@pytest.mark.parametrize("module", [vime, fast])
@pytest.mark.parametrize("method", ["taylor", "exact"])
def test_gains_reject_a_posterior_too_narrow_for_its_curvature(
    module: Any, method: str
) -> None:
    narrow = DiagNormal(np.zeros(2), np.full(2, -400.0))
    with pytest.raises(ValueError, match=r"sigma must be >= 1e-150 for 1/sigma²"):
        module.information_gains(
            narrow, ROWS, ROWS, EPS, step_size=0.1, method=method, **MODEL
        )


@pytest.mark.parametrize("module", [vime, fast])
def test_gains_reject_noise_of_more_rows_than_there_are(module: Any) -> None:
    """512 rows fill a chunk of the fast twin, which takes as many of the noise."""
    rows = np.ones((512, 1))
    with pytest.raises(ValueError, match=r"zeta must have shape \(1, 512, 1\)"):
        module.information_gains_local(
            Q2, rows, rows, [np.zeros((1, 600, 1))], step_size=0.1, **MODEL
        )


@pytest.mark.parametrize("rho", [-5.0, -178.0, -250.0, -320.0])
def test_local_gains_of_narrow_posteriors_against_the_definition(rho: float) -> None:
    """σ⁴ is 0 in float64 below ρ = −186: a gain without its second half is 39 % too small."""
    case = make_case((2, 3, 1), 3, 2, 5, 1.0)
    q = bnn.DiagNormal(case.q.mu, np.full(len(case.q.mu), rho))
    given = (q, case.inputs, case.targets, case.zeta)
    keywords = {**case.model, "step_size": 0.1}
    with np.errstate(all="ignore"):
        right = vime.information_gains_local(*given, **keywords)
        found = fast.information_gains_local(*given, **keywords)
    np.testing.assert_allclose(found, right, rtol=1e-9)


@pytest.mark.parametrize("local", [False, True], ids=["weights", "local"])
def test_a_step_that_overflows_is_rejected(local: bool) -> None:
    case = make_case((2, 3, 1), 3, 2, 5, 1.0)
    name = "information_gains" + "_local" * local
    noise = case.zeta if local else case.eps
    for module in (vime, fast):
        with (
            np.errstate(all="ignore"),
            pytest.raises(ValueError, match=r"^gains? must be finite, got inf"),
        ):
            getattr(module, name)(
                case.q, case.inputs, case.targets, noise, **case.model, step_size=1e300
            )


def test_fit_takes_the_settings_of_its_definition_only() -> None:
    """Those removed and those missing raise the same error."""
    case = make_case((2, 4, 3), 5, 3, 7, 1.0)
    data = (case.inputs[None], case.targets[None], np.random.default_rng(0))
    whole = {**case.model, "num_data": 5.0, "num_samples": 2, "learning_rate": 0.1}
    odd = {**whole, "num_updates": 9}
    few = {name: value for name, value in whole.items() if name != "num_data"}
    for function in (bnn.fit, fast.fit):
        function(case.q, case.prior, *data, **whole)
        for wrong in (odd, few):
            with pytest.raises(TypeError):
                function(case.q, case.prior, *data, **wrong)

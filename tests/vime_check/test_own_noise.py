"""Implementations with noise of their own: exact expectations against closed forms, and wrong implementations."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from check_helpers import command_line
from scipy import stats

import bnn_ref as bnn
from bnn_ref import DiagNormal
from vime_check import own_noise
from vime_check.cases import OPERATIONS
from vime_check.own_noise import WITH_NOISE, Sampler, check_own_noise
from vime_check.serving import respond

S = 200
Array = Any
NETWORKS = own_noise.settings()
LINEAR = ("rows", "outputs")


def expected(operation: str, setting: str, num_samples: int = S) -> Any:
    (trial,) = [
        each
        for each in own_noise.trials([operation], num_samples)
        if each.id == f"{operation}/{setting}"
    ]
    return trial.expected


def linear(given: dict[str, Any]) -> tuple[Array, Array, Array]:
    """Inputs with a 1 (N, I + 1), mean and σ of the weights (I + 1, O) of a network without a hidden layer."""
    num_inputs, num_outputs = given["layer_sizes"]
    rows = np.column_stack([given["inputs"], np.ones(len(given["inputs"]))])
    shape = num_inputs + 1, num_outputs
    sigma = bnn.softplus(given["rho"])
    return rows, given["mu"].reshape(shape), sigma.reshape(shape)


# ------------------------------------------------------------ expectations against closed forms


@pytest.mark.parametrize("setting", LINEAR)
@pytest.mark.parametrize("operation", ["elbo", "elbo_local"])
def test_bound_against_the_closed_form(operation: str, setting: str) -> None:
    """Mean and variance of Σ log p, a quadratic form in normal weights (or in independent pre-activations)."""
    given = NETWORKS[setting]
    rows, mu, sigma = linear(given)
    scale = np.broadcast_to(given["likelihood_sigma"], mu.shape[1:])
    miss = given["targets"] - rows @ mu  # (N, O)
    spread = rows**2 @ sigma**2  # variance of each output

    # The mean of the bound.
    density = -0.5 * (miss**2 + spread) / scale**2
    density += -0.5 * np.log(2 * np.pi) - np.log(scale)
    q = DiagNormal(given["mu"], given["rho"])
    prior = DiagNormal(given["prior_mu"], given["prior_rho"])
    kl = bnn.kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma)
    weight = given["num_data"] / len(rows)
    mean = weight * density.sum() - kl

    # Its variance for one sample: gᵀΣg + ½ tr(AΣAΣ) for each output.
    variance = 0.0
    for o, s in enumerate(scale):
        if operation == "elbo_local":
            each = miss[:, o] ** 2 * spread[:, o] + 0.5 * spread[:, o] ** 2
            variance += each.sum() / s**4
            continue
        a = rows.T @ rows / s**2
        g = rows.T @ miss[:, o] / s**2
        cov = np.diag(sigma[:, o] ** 2)
        variance += g @ cov @ g + 0.5 * np.trace(a @ cov @ a @ cov)

    found = expected(operation, setting)
    np.testing.assert_allclose(found.mean, [mean], rtol=1e-12)
    np.testing.assert_allclose(found.variance, [weight**2 * variance / S], rtol=1e-11)


@pytest.mark.parametrize("setting", LINEAR)
@pytest.mark.parametrize("operation", ["elbo_grad", "elbo_grad_local"])
def test_gradient_against_differences_of_the_bound(
    operation: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = NETWORKS[setting]
    bound = operation.replace("_grad", "")
    step = 1e-4
    slopes = []
    for name, i in itertools.product(("mu", "rho"), range(len(given["mu"]))):
        ends = []
        for sign in (1.0, -1.0):
            moved = given | {
                name: given[name]
                + sign * step * np.eye(1, 99, i)[0, : len(given["mu"])]
            }
            monkeypatch.setattr(
                own_noise, "settings", lambda moved=moved: {setting: moved}
            )
            ends.append(expected(bound, setting).mean[0])
        slopes.append((ends[0] - ends[1]) / (2 * step))
    monkeypatch.undo()
    np.testing.assert_allclose(expected(operation, setting).mean, slopes, atol=1e-5)


def test_density_against_the_closed_form() -> None:
    given = NETWORKS["rows"]
    rows, mu, sigma = linear(given)
    spread = rows**2 @ sigma**2 + given["likelihood_sigma"] ** 2
    exact = stats.norm.pdf(given["targets"], rows @ mu, np.sqrt(spread)).ravel()
    found = expected("predictive_log_density", "rows")
    np.testing.assert_allclose(found.mean, exact, rtol=1e-8)


@pytest.mark.parametrize("setting", LINEAR)
def test_samples_against_the_closed_form(setting: str) -> None:
    """Independent weights; outputs that are independent between rows and units."""
    given = NETWORKS[setting]
    rows, mu, sigma = linear(given)
    for name, mean, variance in (
        ("sample_weights", mu, sigma**2),
        ("mlp_local", rows @ mu, rows**2 @ sigma**2),
    ):
        found = expected(name, setting)
        size = mean.size
        pairs = np.triu_indices(size)
        products = np.diag(variance.ravel())[pairs]
        np.testing.assert_allclose(found.mean[:size], mean.ravel(), rtol=1e-12)
        np.testing.assert_allclose(found.mean[size:], products, atol=1e-12)
        np.testing.assert_allclose(found.variance[:size], variance.ravel() / S)


@pytest.mark.parametrize("operation", ["information_gains", "information_gains_local"])
def test_gains_of_two_samples_against_quadrature_over_both(operation: str) -> None:
    """Control: one sample gains more."""
    entry = OPERATIONS[operation]
    given = {
        key: NETWORKS["rows"][key] for key in entry.names if key in NETWORKS["rows"]
    }
    given |= {"inputs": given["inputs"][:1], "targets": given["targets"][:1]}
    shapes = own_noise.noise_shapes(entry, given)  # eps (2,), or zeta (1, 1)
    size = int(np.prod(shapes[0]))
    weights, points = own_noise.product_rule(2 * size, 3)
    pairs = points.reshape(-1, 2, *shapes[0])
    outputs = [
        entry.function(**own_noise.with_noise(entry, given, [pair]))[0]
        for pair in pairs
    ]
    mean, _, _ = own_noise.moments(entry, given)
    two = own_noise.expected_gains(entry, given, mean, 2)
    np.testing.assert_allclose(two, [weights @ outputs], rtol=1e-10)
    assert mean[0] > 1.01 * two[0]


def test_both_rules_integrate_polynomials_of_degree_five() -> None:
    """Oracle: moments of the standard normal. Control: the sixth moment."""
    for weights, points in (own_noise.sparse_rule(5), own_noise.product_rule(5, 3)):
        x, y = points[:, 0], points[:, 3]
        for values, exact in (
            *((np.ones_like(x), 1.0), (x, 0.0), (x**2, 1.0), (x**4, 3.0)),
            *((x * y, 0.0), (x**2 * y**2, 1.0), (x**2 * y**3, 0.0)),
        ):
            np.testing.assert_allclose(weights @ values, exact, atol=1e-12)
        assert abs(weights @ x**6 - 15.0) > 1.0


# ------------------------------------------------------------ verdicts


def served(name: str, change: Callable[..., Any]) -> SimpleNamespace:
    """The reference with a change: change(right, **inputs) for one operation."""
    sampler = Sampler(seed=1)
    right = getattr(sampler.functions, name)
    setattr(sampler.functions, name, lambda **given: change(right, **given))
    return sampler.functions


def checked(functions: Any, only: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The report on these functions, in this process."""
    peer = SimpleNamespace(
        name="mine", ask=lambda name, inputs: respond(functions, name, inputs, "f64")
    )
    monkeypatch.setattr(own_noise, "Sampler", lambda: peer)
    return check_own_noise(num_samples=S, only=only)


def test_the_reference_agrees_in_everything() -> None:
    report = check_own_noise(num_samples=S)
    assert report.ok, str(report)
    assert {each.status for each in report.verdicts} == {"agrees"}
    assert {each.operation for each in report.verdicts} == set(WITH_NOISE)


def no_kl(right: Any, **given: Any) -> Any:
    prior = {"prior_mu": given["mu"], "prior_rho": given["rho"]}
    return right(**given | prior)


def sigma_squared(right: Any, **given: Any) -> Any:
    variance = bnn.softplus(given["rho"]) ** 2
    return right(**given | {"rho": bnn.softplus_inverse(variance)})


def shared_rows(
    right: Any, mu: Any, rho: Any, inputs: Any, num_samples: int, **given: Any
) -> Any:
    """One draw for the whole minibatch."""
    rng = SHARED
    sizes = given["layer_sizes"][1:]
    zeta = [
        np.repeat(rng.standard_normal((num_samples, 1, units)), len(inputs), axis=1)
        for units in sizes
    ]
    name = "elbo_local" if "num_data" in given else "mlp_local"
    return OPERATIONS[name].function(mu=mu, rho=rho, inputs=inputs, zeta=zeta, **given)


SHARED = np.random.default_rng(2)


def one_draw(right: Any, **given: Any) -> Any:
    """All samples are one."""
    count = given["num_samples"]
    return np.repeat(right(**given | {"num_samples": 1}), count, axis=0)


def same_seed(right: Any, **given: Any) -> Any:
    eps = np.random.default_rng(0).standard_normal(
        (given.pop("num_samples"), len(given["mu"]))
    )
    return OPERATIONS["elbo"].function(**given, eps=eps)


def twice(right: Any, **given: Any) -> Any:
    return 2.0 * right(**given)


def averaged(right: Any, **given: Any) -> Any:
    """The density of the mean prediction."""
    q = DiagNormal(given["mu"], given["rho"])
    eps = np.zeros((1, len(q.mu)))
    outputs = bnn.mlp(bnn.sample_weights(q, eps), given["inputs"], (1, 1))
    return bnn.log_likelihood(outputs, given["targets"], 0.75)[0]


@pytest.mark.parametrize(
    ("operation", "change", "message"),
    [
        ("elbo", no_kl, "result: mean "),
        ("elbo_grad", no_kl, "grad_"),
        ("elbo", sigma_squared, "standard errors"),
        ("elbo_grad", sigma_squared, "standard errors"),
        ("sample_weights", sigma_squared, "covariance of "),
        ("mlp_local", sigma_squared, "covariance of "),
        ("mlp_local", shared_rows, "covariance of "),
        ("elbo_local", shared_rows, "times the exact one"),
        ("sample_weights", one_draw, "times the exact one"),
        ("elbo", same_seed, "all calls return the same"),
        ("information_gains", twice, "result[0]: mean "),
        ("predictive_log_density", averaged, "standard errors"),
        ("elbo", lambda right, **given: np.nan, "result is not finite"),
        ("elbo", lambda right, **given: np.ones(2), "result has shapes"),
        ("mlp_local", lambda right, **given: 1.0, "result has shapes"),
    ],
)
def test_a_wrong_implementation_is_found(
    operation: str, change: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the reference agrees, in the test above."""
    report = checked(served(operation, change), operation, monkeypatch)
    assert not report.ok
    assert message in str(report), str(report)


def test_a_smaller_variance_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact bound without any noise."""
    exact = [expected("elbo", name).mean[0] for name in NETWORKS]
    means = iter(np.repeat(exact, own_noise.CALLS))
    report = checked(SimpleNamespace(elbo=lambda **_: next(means)), "elbo", monkeypatch)
    assert report.ok, str(report)


def test_false_alarms_are_as_rare_as_stated() -> None:
    """Over 200 seeds, a bound for 1 in 20 comparisons is passed by about as many. Control: a bound for 1 in 5."""
    trials = [*own_noise.trials(["elbo", "mlp_local"], 100)]
    trials = [each for each in trials if each.id.endswith("rows")]
    distances = []
    for seed in range(200):
        sampler = Sampler(seed)
        for trial in trials:
            calls = [
                own_noise.numbers_of(
                    trial,
                    np.asarray(
                        getattr(sampler.functions, trial.operation)(
                            **trial.inputs, num_samples=100
                        )
                    ).tolist(),
                )
                for _ in range(8)
            ]
            calls = np.array(calls)
            error = calls.std(axis=0, ddof=1) / np.sqrt(8)
            distances.append((calls.mean(axis=0) - trial.expected.mean) / error)
    found = np.abs(np.concatenate(distances))
    for chance in (0.05, 0.2):
        share = np.mean(found > stats.t.isf(chance / 2, 7))
        assert abs(share - chance) < 0.25 * chance, share


def test_bounds_keep_the_stated_probability() -> None:
    """Oracle: the distributions themselves, over all comparisons. Control: a smaller k does not."""
    k, spread, count = own_noise.bounds_of(323)
    freedom = own_noise.CALLS - 1
    for distance, kept in ((k, True), (k - 2.0, False)):
        means = 2 * stats.t.sf(distance, freedom)
        variances = stats.chi2.sf(spread * freedom, freedom)
        chance = count * max(means, variances)
        assert bool(chance <= own_noise.FALSE_ALARM) is kept


# ------------------------------------------------------------ programs and the command


WEIGHTS = """
import numpy as np
rng = np.random.default_rng(0)
def sample_weights(mu, rho, num_samples):
    eps = rng.standard_normal((num_samples, len(mu)))
    return (mu + np.logaddexp(0, rho) * eps).astype(mu.dtype)
def elbo(**given):
    raise NotImplementedError("not yet")
def elbo_grad(**given):
    raise ValueError("no")
def mlp_local(**given):
    raise TypeError("oops")
def posterior_step(**given):
    import os
    os._exit(3)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("own_noise_of_mine.py").write_text(WEIGHTS)
    return "own_noise_of_mine"


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_a_module_is_called_with_num_samples(mine: str, dtype: str) -> None:
    report = check_own_noise(mine, num_samples=S, only="sample_weights", dtype=dtype)
    assert report.ok, str(report)
    assert report.dtype == dtype


def test_statuses_of_what_gives_no_result(mine: str) -> None:
    only = "elbo,mlp_local,posterior_step"
    report = check_own_noise(mine, num_samples=S, only=only)
    shown = {each.id: (each.status, each.message) for each in report.verdicts}
    assert shown["elbo/rows"] == ("skipped", "not yet")
    assert shown["elbo_grad/rows"] == ("wrong", "rejected a valid input: no")
    assert shown["mlp_local/rows"] == ("errored", "TypeError: oops")
    assert shown["posterior_step/rows"] == ("errored", "exited with code 3")
    assert not report.ok


def test_a_program_that_only_breaks_is_not_asked_again(
    mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vime_check.judge.MAX_BREAKS", 1)
    report = check_own_noise(mine, num_samples=S, only="posterior_step")
    messages = [each.message for each in report.verdicts]
    assert messages[0] == "exited with code 3"
    assert all(each.startswith("not tried after") for each in messages[1:])


def test_nothing_offered_is_no_success(mine: str) -> None:
    report = check_own_noise(mine, num_samples=S, only="predictive_log_density")
    assert {each.status for each in report.verdicts} == {"skipped"}
    assert not report.ok


def test_the_command_prints_and_writes_the_report(
    mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", mine, "--own-noise", f"{S}", "--only", "sample_weights"]
    assert command_line(*words, "--json", "report.json") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{mine} (f64, own noise)\n")
    assert "sample_weights        3        0" in shown
    assert "Probability of a false alarm in all 58 comparisons: at most 1e-06." in shown
    report = json.loads(Path("report.json").read_text())
    assert report["ok"] is True
    assert report["num_samples"] == S
    assert len(report["verdicts"]) == 3


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("num_samples", 99), ("num_samples", 5001), ("num_samples", 200.0)),
        *(("num_samples", None), ("dtype", "f16"), ("only", "softplus")),
        *(("only", 3), ("timeout", 0.0), ("memory", 0), ("impl", 3)),
    ],
)
def test_invalid_arguments_are_named(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=argument):
        check_own_noise(**{"only": "sample_weights", argument: value})

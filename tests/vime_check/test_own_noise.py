"""Implementations with noise of their own, correct and wrong ones."""

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
from vime_check import expectations, own_noise
from vime_check.cases import OPERATIONS
from vime_check.expectations import WITH_NOISE, Expected, NoiseTrial
from vime_check.own_noise import Bounds, Sampler, check_own_noise
from vime_check.serving import respond

S = 200
NETWORKS = expectations.settings()


def expected(operation: str, setting: str, num_samples: int = S) -> Any:
    (trial,) = [
        each
        for each in expectations.trials([operation], num_samples)
        if each.id == f"{operation}/{setting}"
    ]
    return trial.expected


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
        name="mine",
        own_name=None,
        protocol=None,
        ask=lambda name, inputs: respond(functions, name, inputs, "f64"),
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
        ("sample_weights", sigma_squared, "ariance of result["),
        ("mlp_local", sigma_squared, "ariance of result["),
        ("mlp_local", shared_rows, "covariance of "),
        ("elbo_local", shared_rows, "times the exact one"),
        ("sample_weights", one_draw, "times the exact one"),
        ("elbo", same_seed, "the results do not vary"),
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


def judged(mean: list[float], calls: Any, dtype: str, variance: Any = None) -> Any:
    """The verdict on calls whose numbers have these exact means."""
    labels = tuple(f"result[{i}]" for i in range(len(mean)))
    unknown = np.full(len(mean), np.nan) if variance is None else np.array(variance)
    expected = Expected(labels, np.array(mean), unknown, {"": (len(mean),)})
    trial = NoiseTrial("o/x", "elbo_grad", {}, expected)
    return own_noise.verdict_of(trial, np.array(calls), Bounds(7.5, 3.0, 2), dtype)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_rounding_is_that_of_each_number(dtype: str) -> None:
    """A large number hides no error of a small one. Control: rounding errors of both."""
    noise = 1.0 + 1e-8 * np.cos(np.arange(64.0))[:, None]
    verdict = judged([1000.0, 1e-3], noise * [1000.0, 1.1e-3], dtype)
    assert verdict.status == "wrong"
    assert verdict.message.startswith("result[1]: mean 0.0011, exact 0.001, ")
    size = {"f64": 1e-13, "f32": 1e-7}[dtype]
    near = (1.0 + size) * np.ones((64, 1)) * [1000.0, 1e-3]
    assert judged([1000.0, 1e-3], near, dtype).status == "agrees"
    zeros = np.zeros((64, 2))
    assert judged([0.0, 0.0], zeros, dtype, [0.0, 0.0]).distance == 0.0
    assert judged([0.0, 0.0], size + zeros, dtype, [1.0, 1.0]).status == "agrees"


def test_results_that_do_not_vary_have_no_distance() -> None:
    """Control: results that vary."""
    verdict = judged([1.0], np.full((64, 1), 1.5), "f64")
    message = "result[0]: mean 1.5, exact 1, the results do not vary"
    assert (verdict.distance, verdict.message) == (None, message)
    report = own_noise.OwnNoiseReport("x", "f64", S, Bounds(7.5, 3.0, 2), (verdict,))
    assert report.table().splitlines()[-1].endswith(" -")
    verdict = judged([1.0], 1.5 + 0.1 * np.cos(np.arange(64.0))[:, None], "f64")
    assert verdict.distance > 7.5
    assert verdict.message.endswith(f"{verdict.distance:.1f} standard errors")


def test_a_number_with_itself_has_a_variance() -> None:
    """Control: with another one, a covariance."""
    (trial, *_) = expectations.trials(["sample_weights"], S)
    assert trial.expected.labels[2:] == (
        "variance of result[0, 0]",
        "covariance of result[0, 0] and result[0, 1]",
        "variance of result[0, 1]",
    )


def test_a_smaller_variance_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact bound without any noise."""
    exact = [expected("elbo", name).mean[0] for name in NETWORKS]
    means = iter(np.repeat(exact, own_noise.CALLS))
    report = checked(SimpleNamespace(elbo=lambda **_: next(means)), "elbo", monkeypatch)
    assert report.ok, str(report)


def test_false_alarms_are_as_rare_as_stated() -> None:
    """Over 200 seeds, a bound for 1 in 20 comparisons is passed by about as many. Control: a bound for 1 in 5."""
    trials = [*expectations.trials(["elbo", "mlp_local"], 100)]
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


def test_what_is_named_itself_must_be_checked(mine: str) -> None:
    """Control: a family may lack operations."""
    only = "sample_weights,predictive_log_density"
    report = check_own_noise(mine, num_samples=S, only=only)
    assert not report.ok
    assert report.lines()[0] == (
        "named in --only, but not checked: predictive_log_density"
    )
    only = "sample_weights,likelihood"
    assert check_own_noise(mine, num_samples=S, only=only).ok


def test_the_command_prints_and_writes_the_report(
    mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", mine, "--own-noise", f"{S}", "--only", "sample_weights"]
    assert command_line(*words, "--json", "report.json") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{mine} (f64, own noise)\n")
    assert "sample_weights        3        0" in shown
    assert "all 58 comparisons: at most 1e-06, if results are nearly normal." in shown
    assert "A standard error counts as 1e-10 of its number at least" in shown
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

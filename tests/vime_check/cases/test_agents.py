"""Operations of the agent."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from check_helpers import STORED, assert_complete, draw_of_seed, module

from bnn_ref import Array, mlp
from vime_check.cases import OPERATIONS, agents
from vime_check.errors import error
from vime_check.fuzzer import fuzz
from vime_check.wire import VECTORS, Inputs, decode_inputs

# Generalized advantages as Stable-Baselines3 computes them; a time limit's value is added to its reward.
SB3 = """
import numpy as np

def gae_advantages(rewards, values, next_values, terminated, truncated, gamma, lam):
    limits = truncated & ~terminated
    rewards = rewards + gamma * next_values * limits
    advantages = np.zeros_like(rewards)
    last = 0.0
    for step in reversed(range(len(rewards))):
        over = terminated[step] or truncated[step]
        following = next_values[-1] if step == len(rewards) - 1 else values[step + 1]
        delta = rewards[step] + gamma * following * (1.0 - over) - values[step]
        last = delta + gamma * lam * (1.0 - over) * last
        advantages[step] = last
    return advantages
"""


def test_operations_are_complete() -> None:
    assert_complete(agents, "normalize", "returns", "policy", "replay")


def test_intermediates_of_the_advantages_end_in_the_output() -> None:
    """A_T = δ_T."""
    cases = [
        case
        for case in STORED
        if case["operation"] == "gae_advantages" and case["result"] == "valid"
    ]
    assert cases
    for case in cases:
        last = case["intermediates"]["deltas"][-1]
        assert last == pytest.approx(case["output"][-1], rel=1e-14)


def test_linear_policies_give_the_means_and_logits_themselves() -> None:
    """Control: a flat list is none of either."""
    means = np.array([[0.5, -1.0], [2.0, 0.0], [1.0, 1.0]])
    weights, sizes = agents.linear_theta(means)
    np.testing.assert_array_equal(mlp(weights[None], np.eye(3), sizes)[0], means)
    with pytest.raises(ValueError, match=r"must be \(N, A\)"):
        agents.linear_theta(means[0])


# ---------------------------------------------------------------- advantages


def paths() -> Iterator[Inputs]:
    """The inputs of all valid cases of the advantages, and drawn ones."""
    operation = OPERATIONS["gae_advantages"]
    yield from (case.inputs for case in operation.cases() if not case.why)
    for seed in range(50):
        drawn = operation.draw(draw_of_seed(seed))
        yield decode_inputs(drawn, operation.kinds, "f64")


def test_the_value_behind_a_step_that_ends_nothing_is_the_next_value() -> None:
    for given in paths():
        goes_on = ~(given["terminated"] | given["truncated"])[:-1]
        values = given["values"][1:][goes_on]
        np.testing.assert_array_equal(given["next_values"][:-1][goes_on], values)


def test_advantages_of_ppo_are_right_everywhere_against_stable_baselines() -> None:
    """Control: without the value behind a time limit, as in CleanRL, they are wrong somewhere."""
    known: dict[str, Any] = {}
    exec(SB3, known)
    right = OPERATIONS["gae_advantages"].function
    errors = []
    for given in paths():
        output = right(**given)
        assert error("arraywise", known["gae_advantages"](**given), output) < 2e-14
        unseen = given | {"next_values": given["next_values"] * ~given["truncated"]}
        errors.append(error("arraywise", known["gae_advantages"](**unseen), output))
    assert max(errors) > 0.1


@pytest.mark.usefixtures("vectors")
def test_fuzz_of_advantages_of_stable_baselines_finds_nothing() -> None:
    report = fuzz(
        module(SB3),
        only="gae_advantages",
        examples=50,
        vectors=VECTORS,
    )
    assert report.ok, str(report)


# ---------------------------------------------------------------- mistakes


def case_of(name: str) -> Inputs:
    operation, probe = name.split("/")
    (case,) = [c for c in OPERATIONS[operation].cases() if c.probe == probe]
    return case.inputs


def outputs_of(name: str, flag: str) -> list[Any]:
    """The outputs of all variants of a mistake, in a case."""
    mistakes = OPERATIONS[name.split("/")[0]].mistakes[flag]
    return [wrong(**case_of(name)) for wrong in mistakes]


def ikostrikov(given: Inputs) -> Array:
    """Its advantages with proper time limits: masks of ends, and of time limits."""
    ended = given["terminated"] | given["truncated"]
    following = np.where(given["terminated"], 0.0, given["next_values"])
    deltas = given["rewards"] + given["gamma"] * following - given["values"]
    advantages, last = np.zeros(len(deltas)), 0.0
    for t in reversed(range(len(deltas))):
        last = deltas[t] + given["gamma"] * given["lam"] * (not ended[t]) * last
        last *= not given["truncated"][t]
        advantages[t] = last
    return advantages


def test_dropped_limits_against_a_recursion_with_masks() -> None:
    name = "gae_advantages/both-kinds"
    (output,) = outputs_of(name, "LimitDropped")
    np.testing.assert_allclose(output, ikostrikov(case_of(name)), rtol=0, atol=1e-14)


def test_normalised_advantages_have_mean_0_and_either_deviation_1() -> None:
    """To 1e-14, or to the 1e-8 that every other variant adds."""
    name = "gae_advantages/both-kinds"
    outputs = outputs_of(name, "NormalisedInside")
    for output, ddof, off in zip(outputs, (0, 0, 1, 1), (1e-14, 1e-7) * 2, strict=True):
        assert np.mean(output) == pytest.approx(0.0, abs=1e-14)
        assert np.std(output, ddof=ddof) == pytest.approx(1.0, rel=off)


@pytest.mark.parametrize("variant", range(4))
def test_crossing_traces_against_slow_sums(variant: int) -> None:
    """Variants: over a limit, over every end, with the next row's value, and without a look at limits."""
    given = case_of("gae_advantages/both-kinds")
    over, cut = given["terminated"], given["truncated"]
    shifted = np.append(given["values"][1:], given["next_values"][-1])
    following = given["next_values"] if variant < 2 else shifted
    deltas = given["rewards"] + given["gamma"] * following * ~over - given["values"]
    ended = (over, over & False, over | cut, over)[variant]
    sums = []
    for t in range(len(deltas)):
        stop = next((k for k in range(t, len(deltas)) if ended[k]), len(deltas) - 1)
        decay = given["gamma"] * given["lam"]
        sums.append(sum(decay ** (k - t) * deltas[k] for k in range(t, stop + 1)))
    output = outputs_of("gae_advantages/both-kinds", "WindowCrossing")[variant]
    np.testing.assert_allclose(output, sums, rtol=0, atol=1e-14)


def median_by_torch(values: Array) -> float:
    return float(np.sort(values)[(len(values) - 1) // 2])


@pytest.mark.parametrize("gains", [(4.0, 1.0, 2.0, 8.0), (7.0, 3.0), (5.0, 0.0, 2.0)])
def test_lower_medians_against_a_sort(gains: tuple[float, ...]) -> None:
    """Control: an odd batch has one median."""
    given = case_of("normalize_gains/even-count-first") | {"gains": np.array(gains)}
    (mistake,) = OPERATIONS["normalize_gains"].mistakes["LowerMedian"]
    middle = median_by_torch(given["gains"])
    output = mistake(**given)
    np.testing.assert_allclose(output["gains"], given["gains"] / middle, rtol=1e-15)
    np.testing.assert_allclose(output["history"], [middle], rtol=1e-15)


def test_a_lower_median_of_0_is_replaced_by_the_mean_of_all() -> None:
    """Gains 0, 0, 3, 5: the mean is 2, their median 1.5, and the mean without the largest 1."""
    given = case_of("normalize_gains/even-count-first")
    (mistake,) = OPERATIONS["normalize_gains"].mistakes["LowerMedian"]
    output = mistake(**given | {"gains": np.array([0.0, 3.0, 0.0, 5.0])})
    np.testing.assert_allclose(output["gains"], [0.0, 1.5, 0.0, 2.5], rtol=1e-15)


def test_fudged_divisors_against_numbers_by_hand() -> None:
    """Zeros have no divisor, and stay zeros."""
    given = case_of("normalize_gains/even-count-first")
    (mistake,) = OPERATIONS["normalize_gains"].mistakes["FudgedDenominator"]
    tiny = mistake(**given | {"gains": np.array([1e-8, 3e-8, 2e-8])})["gains"]
    np.testing.assert_allclose(tiny, [1 / 3, 1.0, 2 / 3], rtol=1e-14)
    assert not np.any(mistake(**given | {"gains": np.zeros(3)})["gains"])


@pytest.mark.parametrize("probe", ["tiny-sigma", "extreme-sigma"])
def test_entropies_of_other_deviations_against_the_sum_of_logarithms(
    probe: str,
) -> None:
    """Clamped to [-20, 2] and to [-5, 2]; raised by 1e-8, 1e-6 and 1e-5."""
    name = f"gaussian_entropy/{probe}"
    given = case_of(name)
    log_std = given["log_std"]
    sigma = np.exp(log_std)
    expected = {
        "ClampedLogSigma": [np.clip(log_std, low, 2.0) for low in (-20.0, -5.0)],
        "SigmaFloor": [np.log(sigma + floor) for floor in (1e-8, 1e-6, 1e-5)],
    }
    constant = 0.5 * np.log(2.0 * np.pi * np.e) * len(log_std)
    for flag, logs in expected.items():
        totals = [np.full(len(given["mean"]), constant + np.sum(each)) for each in logs]
        np.testing.assert_allclose(outputs_of(name, flag), totals, rtol=1e-13)


def test_fudged_logarithms_of_categories_against_their_probabilities() -> None:
    """log(p + 1e-8) in the log-probability, the entropy and the KL."""

    def softmax(logits: Array) -> Array:
        return np.exp(logits) / np.sum(np.exp(logits), axis=-1, keepdims=True)

    given = case_of("categorical_kl/rare")
    p, q = softmax(given["logits_old"]), softmax(given["logits_new"])
    (kl,) = outputs_of("categorical_kl/rare", "FudgedDenominator")
    expected = np.sum(p * (np.log(p + 1e-8) - np.log(q + 1e-8)), axis=-1)
    np.testing.assert_allclose(kl, expected, rtol=1e-13)

    p = softmax(case_of("categorical_entropy/rare")["logits"])
    (entropy,) = outputs_of("categorical_entropy/rare", "FudgedDenominator")
    np.testing.assert_allclose(entropy, -np.sum(p * np.log(p + 1e-8), -1), rtol=1e-9)

    given = case_of("categorical_log_prob/rare")
    p = softmax(given["logits"])[np.arange(2), given["actions"]]
    (log_p,) = outputs_of("categorical_log_prob/rare", "FudgedDenominator")
    np.testing.assert_allclose(log_p, np.log(p + 1e-8), rtol=1e-14)


def test_constant_columns_are_divided_by_0_and_others_by_their_deviation() -> None:
    name = "input_statistics/constant-column"
    (output,) = outputs_of(name, "ConstantColumns")
    deviations = np.array(case_of(name)["rows"]).std(axis=0)
    np.testing.assert_allclose(output["scale"], deviations, rtol=1e-14, atol=1e-15)

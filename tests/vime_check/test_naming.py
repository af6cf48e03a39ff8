"""Naming: the mistakes whose output an implementation gave, one or two at once."""

import json
import sys
from typing import Any

import mutants
import numpy as np
import pytest
from check_helpers import STORED

import vime_ref as vime
from bnn_ref import DiagNormal, mlp
from vime_check import naming
from vime_check.cases import OPERATIONS
from vime_check.errors import by_name
from vime_check.files import Vector
from vime_check.judge import load_vectors
from vime_check.naming import Explanation, array_gap, explanations, gap
from vime_check.operations import PLACES, Switch, composed, switches_of
from vime_check.wire import decode_inputs

VECTORS = {vector.id: vector for vector in load_vectors(None, "f64")}
SINGLE = VECTORS["kl_diag_normal/sigma-0.0001"]
HALF = VECTORS["information_gains/one-row"]


def inputs_of(vector: Vector) -> dict[str, Any]:
    kinds = OPERATIONS[vector.operation].kinds
    return decode_inputs(vector.inputs, kinds, "f64")


def sets_of(found: list[Explanation]) -> set[tuple[str, ...]]:
    return {each.mistakes for each in found}


# ---------------------------------------------------------------- distances


@pytest.mark.parametrize(
    ("a", "b", "elementwise", "arraywise"),
    [
        ([1.0, 4.0], [1.0, 4.0], 0.0, 0.0),
        ([1.0, 4.0], [2.0, 4.0], 0.5, 0.25),
        ([1.0, 4.0], [-1.0, 4.0], 2.0, 0.5),
        ([0.0, 0.0], [0.0, 0.0], 0.0, 0.0),
        ([np.inf, np.nan], [np.inf, np.nan], 0.0, 0.0),
        ([np.inf, 1.0], [2.0, 1.0], 2.0, 2.0),
        ([], [], 0.0, 0.0),
        ([1.0], [1.0, 2.0], np.inf, np.inf),
    ],
)
def test_array_gap_against_numbers_by_hand(
    a: list[float], b: list[float], elementwise: float, arraywise: float
) -> None:
    one, other = np.array(a), np.array(b)
    for kind, expected in (("elementwise", elementwise), ("arraywise", arraywise)):
        assert array_gap(one, other, kind) == expected  # type: ignore[arg-type]
        assert array_gap(other, one, kind) == expected  # type: ignore[arg-type]


def test_gap_of_other_names_is_infinite_and_else_the_largest() -> None:
    one = {"a": np.ones(1), "b": np.ones(2)}
    assert gap(one, {"a": np.ones(1)}, "elementwise") == np.inf
    assert gap(one, one | {"b": np.array([1.0, 0.5])}, "elementwise") == 0.5


# ---------------------------------------------------------------- explanations


def test_right_outputs_have_no_explanation() -> None:
    assert explanations(SINGLE, SINGLE.output) == []


def test_an_output_is_named_only_if_it_is_a_million_times_nearer() -> None:
    """Control: at a hundred-thousandth of the way to the correct output, nothing is named."""
    wrong = 2.0 * HALF.output[""]
    nearly = wrong * (1.0 + 1e-7)
    not_quite = wrong * (1.0 + 1e-5)
    assert sets_of(explanations(HALF, {"": nearly})) == {("MissingHalf",)}
    assert explanations(HALF, {"": not_quite}) == []


def test_two_mistakes_at_once_against_a_product_by_hand() -> None:
    """KL[p‖q] divided by D, and a gain doubled of a metric without its 2."""
    given = inputs_of(SINGLE)
    q = given["mu_q"], given["sigma_q"]
    p = given["mu_p"], given["sigma_p"]
    swapped = OPERATIONS["kl_diag_normal"].function(*p, *q)
    found = explanations(SINGLE, by_name(swapped / 2.0))
    assert ("KLMean", "SwappedKL") in sets_of(found)


def test_a_fudged_denominator_divides_terms_with_mistakes_as_well() -> None:
    """Σ (Δμ²/σ_p + σ_q²/σ_p² − 1)·σ_p²/(2σ_p² + 1e-8) − log(σ_q/σ_p). Control: Δμ²/2σ_p without the 1e-8."""
    given = inputs_of(SINGLE)
    ratio = given["sigma_q"] / given["sigma_p"]
    move = (given["mu_q"] - given["mu_p"]) ** 2 / given["sigma_p"]
    half = given["sigma_p"] ** 2 / (2.0 * given["sigma_p"] ** 2 + 1e-8)
    rest = half * (ratio**2 - 1.0) - np.log(ratio)
    pair = {("FudgedDenominator", "VarianceAsSigma")}
    assert sets_of(explanations(SINGLE, by_name(np.sum(half * move + rest)))) >= pair
    assert not sets_of(explanations(SINGLE, by_name(np.sum(0.5 * move + rest)))) & pair


def test_a_floored_prior_is_named_beside_another_mistake() -> None:
    """log q(θ) − log(p(θ) + 1e-6), and a likelihood without its ½. Control: 1e-5."""
    vector = VECTORS["elbo/one-far-weight"]
    given = inputs_of(vector)
    sizes = tuple(map(int, given["layer_sizes"]))
    sigma, prior_sigma = (np.log1p(np.exp(given[rho])) for rho in ("rho", "prior_rho"))
    theta = given["mu"] + sigma * given["eps"]

    def log_p(x: Any, mean: Any, deviation: Any, half: float) -> Any:
        scale = np.log(np.sqrt(2.0 * np.pi) * deviation)
        return -half * ((x - mean) / deviation) ** 2 - scale

    def bound(floor: float) -> Any:
        outputs = mlp(theta, given["inputs"], sizes)
        evidence = log_p(given["targets"], outputs, given["likelihood_sigma"], 1.0)
        density = np.exp(log_p(theta, given["prior_mu"], prior_sigma, 0.5))
        excess = log_p(theta, given["mu"], sigma, 0.5) - np.log(density + floor)
        share = given["num_data"] / len(given["inputs"])
        sums = share * evidence.sum(axis=(1, 2)) - excess.sum(axis=1)  # (S,)
        return by_name(np.mean(sums))

    pair = {("PriorFloor", "UnnormalisedLogDensity")}
    assert sets_of(explanations(vector, bound(1e-6))) >= pair
    assert not sets_of(explanations(vector, bound(1e-5))) & pair


def test_windows_drawn_uniformly_across_episodes_are_named_as_two_mistakes() -> None:
    """Of the rows 2 to 10 a place p takes the one at ⌊9p⌋. Control: the rows after them."""
    vector = VECTORS["sample_reward_windows/two-episodes"]
    rows = 2.0 + np.floor(9.0 * inputs_of(vector)["places"])[:, None]
    pair = {("UniformWindows", "WindowCrossing")}
    assert sets_of(explanations(vector, by_name(rows))) == pair
    assert explanations(vector, by_name(rows + 1.0)) == []


@pytest.mark.parametrize(
    ("operation", "pair"),
    [
        ("kl_diag_normal", "DroppedConstant FudgedDenominator"),
        ("kl_diag_normal", "FudgedDenominator_log VarianceAsSigma_mean"),
        ("kl_diag_normal", "FudgedDenominator NaiveNearIdentity"),
        ("information_gain", "DroppedConstant FudgedDenominator"),
        ("gaussian_kl", "FudgedDenominator MissingHalf_mean"),
        ("sample_reward_windows", "TerminalDropped UniformWindows"),
    ],
)
def test_pairs_in_code_of_its_own_are_named(operation: str, pair: str) -> None:
    """Control: one of them alone is not named as two."""
    flags = pair.split()
    names = " + ".join(flag.partition("_")[0] for flag in flags)
    both = mutants.verdict(operation, frozenset(flags))
    assert (both.named, names in " ".join(both.stated)) == ("truly", True)
    alone = mutants.verdict(operation, frozenset(flags[:1]))
    assert (alone.named, names in " ".join(alone.stated)) == ("truly", False)


def test_pairs_are_tried_only_if_no_single_mistake_explains_the_output() -> None:
    wrong = [each for each in HALF.wrong if each.name == "MissingHalf"][-1]
    found = explanations(HALF, wrong.output)
    assert sets_of(found) == {("MissingHalf",)}


def gain_of_powers(power_mu: float, power_rho: float, factor: float) -> Any:
    """½λ²(Σ g_mu² σ^p + Σ g_rho² σ^p/(2s²)) of one row and sample, by hand; both powers are 2 if it is right."""
    given = inputs_of(HALF)
    q = DiagNormal(given["mu"], given["rho"])
    model = {
        "layer_sizes": tuple(map(int, given["layer_sizes"])),
        "likelihood_sigma": given["likelihood_sigma"],
    }
    rows = given["inputs"], given["targets"], given["eps"]
    grad_mu, grad_rho = vime.transition_loss_grad(q, q, *rows, **model)  # type: ignore[arg-type]
    sigma = np.log1p(np.exp(q.rho))
    slope = 1.0 / (1.0 + np.exp(-q.rho))
    in_mu = np.sum(grad_mu**2 * sigma**power_mu)
    in_rho = np.sum(grad_rho**2 * sigma**power_rho / (2.0 * slope**2))
    return {"": np.array([factor * given["step_size"] ** 2 * (in_mu + in_rho)])}


POWERS = {
    (1.0, 2.0): "σ for σ² in h_mu",
    (2.0, 1.0): "σ for σ² in h_rho",
    (1.0, 1.0): "σ for σ² in h_mu and h_rho",
}


@pytest.mark.parametrize("powers", POWERS)
def test_sigma_for_its_square_in_the_metric_against_gains_by_hand(
    powers: tuple[float, float],
) -> None:
    """Alone and without the ½, with the place. Controls: the right powers, and σ³."""
    wanted = frozenset({("VarianceAsSigma", POWERS[powers])})
    (alone,) = naming.Naming().explanations(HALF, gain_of_powers(*powers, 0.5))
    assert (alone.mistakes, alone.places) == (("VarianceAsSigma",), wanted)
    (twice,) = naming.Naming().explanations(HALF, gain_of_powers(*powers, 1.0))
    assert twice.mistakes == ("MissingHalf", "VarianceAsSigma")
    assert twice.places == wanted
    right = gain_of_powers(2.0, 2.0, 0.5)
    np.testing.assert_allclose(right[""], HALF.output[""], 1e-12)
    assert explanations(HALF, gain_of_powers(3.0, 2.0, 0.5), most=1) == []


def test_no_place_is_known_without_the_reference_or_of_other_mistakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (half,) = naming.Naming().explanations(HALF, gain_of_powers(2.0, 2.0, 1.0))
    assert (half.mistakes, half.places) == (("MissingHalf",), frozenset())
    monkeypatch.setitem(sys.modules, "vime_check.cases", None)
    found = naming.Naming().explanations(HALF, gain_of_powers(1.0, 2.0, 0.5))
    assert [each.mistakes for each in found] == [("VarianceAsSigma",)]
    assert found[0].places == frozenset()


def test_without_the_reference_only_stored_mistakes_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "vime_check.cases", None)
    wrong = [each for each in HALF.wrong if each.name == "MissingHalf"][-1]
    assert sets_of(explanations(HALF, wrong.output)) == {("MissingHalf",)}
    assert explanations(HALF, {"": 2.2 * HALF.output[""]}) == []


def test_an_unknown_operation_has_only_stored_mistakes() -> None:
    unknown = HALF._replace(operation="gains", wrong=())
    assert explanations(unknown, {"": 2.0 * HALF.output[""]}) == []


def test_a_mistake_that_breaks_has_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: the same without the mistake."""
    breaks = Switch("Breaks")
    mistakes = PLACES["softplus"].mistakes
    monkeypatch.setitem(mistakes, breaks, lambda right, given: 1 / 0)
    case = json.dumps([{}, {"rho": [0.0]}])
    assert naming.output_with("softplus", case, (breaks,)) is None
    assert naming.output_with("softplus", case, ()) == {"": np.log(2.0)}


# ---------------------------------------------------------------- composing


@pytest.mark.parametrize("name", [n for n, each in PLACES.items() if each.formula])
def test_formula_without_a_mistake_against_the_reference(name: str) -> None:
    """To 1e-15 of the output; near identity to 1e-9, because a formula subtracts two σ."""

    def by_parts(one: str) -> Any:
        place = PLACES[one]
        formula = place.formula
        return lambda **given: (
            formula(by_parts, **given) if formula else place.function(**given)
        )

    cases = [case for case in STORED if case["operation"] == name]
    for case in cases:
        if case["result"] == "valid":
            vector = VECTORS.get(case["id"])
            if vector is not None:
                output = by_name(by_parts(name)(**inputs_of(vector)))
                allowed = 1e-9 if "gain" in name else 2e-15
                assert gap(output, vector.output, vector.error) <= allowed, case["id"]


def test_a_mistake_in_a_part_is_a_mistake_of_all_that_use_it() -> None:
    """Control: what has no noise of rows can't share it."""
    assert Switch("WrongMetric", "two") in switches_of("information_gains")
    flags = {name: {each.flag for each in switches_of(name)} for name in OPERATIONS}
    assert "SharedRowNoise" in flags["elbo_grad_local"]
    assert "SharedRowNoise" not in flags["elbo_grad"]
    assert "PriorFloor" not in flags["elbo_local"]


def test_a_place_makes_its_own_form_of_a_mistake_once() -> None:
    """The mean of `information_gain` is its own; the KL in it is not divided by D again."""
    vector = VECTORS["information_gain/three-weights"]
    given = inputs_of(vector)
    mean = composed("information_gain", (Switch("KLMean"),))(**given)
    assert mean == OPERATIONS["information_gain"].function(**given) / 3
    assert "KLMean" in {each.flag for each in PLACES["kl_diag_normal"].mistakes}

"""The vectors: their form, that the files are what the generator writes, and that the generator refuses bad cases."""

import copy
import json
import math
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from vime_check import prove as vectors
from vime_check.cases import explorers, unreal
from vime_check.cases.networks import pair
from vime_check.judge import check, judge, load_vectors
from vime_check.operations import Case, Operation, good
from vime_check.prove import FOLDER, OPERATIONS, prove

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((FOLDER / "schema.json").read_text("utf-8"))
)
FILES = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in FOLDER.glob("*.json")
    if path.stem != "schema"
}
CASES = [case for content in FILES.values() for case in content["cases"]]
README = (FOLDER.parent.parent / "README.md").read_text("utf-8")


@pytest.fixture(autouse=True)
def _overflow_is_part_of_some_cases() -> Any:
    with np.errstate(all="ignore"):
        yield


def variants(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]


# ---------------------------------------------------------------- the files


def test_files_are_one_for_each_family() -> None:
    assert set(FILES) == set(vectors.families())
    assert {case["operation"] for case in CASES} == set(OPERATIONS)


@pytest.mark.parametrize("family", FILES)
def test_file_against_the_schema(family: str) -> None:
    SCHEMA.validate(FILES[family])


@pytest.mark.parametrize(
    "change",
    ["unknown key", "no output", "why of a valid case", "id", "bare NaN", "no end"],
)
def test_schema_control_of_broken_files(change: str) -> None:
    content = copy.deepcopy(FILES["kl"])
    case: dict[str, Any] = content["cases"][0]
    changes: dict[str, dict[str, Any]] = {
        "unknown key": {"outputs": 1.0},
        "why of a valid case": {"why": "it is not"},
        "id": {"id": "kl diag normal"},
        "bare NaN": {"output": "nan"},
        "no end": {"comment": "No full stop"},
    }
    case.update(changes.get(change, {}))
    if change == "no output":
        del case["output"]
    assert not SCHEMA.is_valid(content)


def test_ids_are_unique_and_begin_with_the_operation() -> None:
    ids = [case["id"] for case in CASES]
    assert len(ids) == len(set(ids)) >= 150
    assert all(case["id"].startswith(f"{case['operation']}/") for case in CASES)


@pytest.mark.parametrize("family", FILES)
def test_a_quarter_of_each_family_is_invalid_and_a_third_of_explorers_and_unreal(
    family: str,
) -> None:
    invalid = [case for case in FILES[family]["cases"] if case["result"] == "invalid"]
    share = 3 if family in ("strategies", "counts", "densities", "unreal") else 4
    assert len(invalid) >= len(FILES[family]["cases"]) / share


def test_every_operation_has_valid_and_invalid_cases() -> None:
    for result in ("valid", "invalid"):
        assert {case["operation"] for case in CASES if case["result"] == result} == set(
            OPERATIONS
        )


def test_inputs_of_float32_cases_are_numbers_of_float32() -> None:
    for case in CASES:
        leaves = json.loads(
            json.dumps(case["inputs"]), parse_float=lambda text: float(np.float32(text))
        )
        assert "f32" not in case["dtypes"] or leaves == case["inputs"], case["id"]


def test_flags_are_outputs_and_outputs_have_notes() -> None:
    for content in FILES.values():
        used = {
            flag
            for case in content["cases"]
            for flag in (*case["flags"], *case.get("wrong", {}))
        }
        assert used == set(content["notes"])
        for case in content["cases"]:
            assert set(case["flags"]) <= {*case.get("wrong", {}), "InputMutation"}, (
                case["id"]
            )


@pytest.mark.parametrize("flag", vectors.NOTES)
def test_each_mistake_is_hunted_by_two_cases(flag: str) -> None:
    assert sum(flag in case["flags"] for case in CASES) >= 2


@pytest.mark.parametrize(
    ("name", "flag"),
    [(name, flag) for name, each in OPERATIONS.items() for flag in each.mistakes],
)
def test_each_mistake_of_an_operation_is_told_apart_by_two_cases(
    name: str, flag: str
) -> None:
    cases = [
        case
        for case in CASES
        if case["operation"] == name and flag in case.get("wrong", {})
    ]
    told = max((len(variants(case["wrong"][flag])) for case in cases), default=0)
    assert len(cases) >= 2
    assert told == len(OPERATIONS[name].mistakes[flag])


def test_mistakes_of_readme_have_notes() -> None:
    table = README.split("\n## Mistakes found elsewhere\n")[1].split("\n## ")[0]
    rows = [
        line.split("|")[1].strip()
        for line in table.splitlines()
        if line.startswith("|")
    ][2:]
    assert {name for row in rows for name in row.split(", ")} <= set(vectors.NOTES)


# ---------------------------------------------------------------- outputs


def decoded(name: str, value: Any) -> Any:
    """An input or output as the reference has it."""
    if isinstance(value, dict):
        return {key: decoded(key, each) for key, each in value.items()}
    if isinstance(value, str):
        return (
            float(value.replace("Infinity", "inf"))
            if value in ("NaN", "Infinity", "-Infinity")
            else value
        )
    if not isinstance(value, list):
        return value
    ragged = name in ("zeta", "episodes")
    return (
        [decoded("", each) for each in value]
        if ragged
        else np.array([decoded("", each) for each in value])
    )


def inputs_of(case: dict[str, Any]) -> dict[str, Any]:
    lists = (
        ("observations", "actions") if case["operation"] == "replay_transitions" else ()
    )
    return {
        name: decoded("episodes" if name in lists else name, value)
        for name, value in case["inputs"].items()
    }


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_stored_case_against_the_reference_and_wrong_outputs(
    case: dict[str, Any],
) -> None:
    operation = OPERATIONS[case["operation"]]
    inputs, allowed = inputs_of(case), vectors.tolerance(operation.name, "f64")
    if case["result"] == "invalid":
        with pytest.raises(ValueError, match=r"."):
            operation.function(**inputs)
        return
    expected = decoded("", case["output"])
    assert (
        vectors.error(operation.error, operation.function(**inputs), expected)
        <= allowed
    )
    for flag, entry in case["wrong"].items():
        if flag in vectors.NOISE:
            assert set(entry) == set(case["dtypes"])
            continue
        for wrong in variants(entry):
            assert (
                vectors.error(operation.error, decoded("", wrong["output"]), expected)
                > 10 * allowed
            ), flag


NEAR = [case for case in CASES if "NaiveNearIdentity" in case["flags"]]


def named(case: dict[str, Any], dtype: str, factor: float) -> tuple[str, ...] | None:
    """The mistakes named where an output is so many times the right one; None where it passes."""
    (vector,) = [
        each for each in load_vectors(FOLDER, dtype) if each.case["id"] == case["id"]
    ]
    outcome = judge(vector, {"result": factor * case["output"]})
    return None if outcome.status == "passed" else outcome.mistakes


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{case['id']}-{dtype}")
        for case in NEAR
        for dtype in case["dtypes"]
    ],
)
def test_rounding_noise_is_named_by_its_size_against_the_textbook_sum(
    case: dict[str, Any], dtype: str
) -> None:
    """Control: an output 30 % or 20 % off is no noise, nor is one a hundredth of the least noise off."""
    band, allowed = (
        case["wrong"]["NaiveNearIdentity"][dtype],
        case.get("tolerance", {}).get(dtype, 1e-6),
    )
    inputs = vectors.cast(inputs_of(case), dtype)
    operation = OPERATIONS[case["operation"]]
    noise = float(operation.mistakes["NaiveNearIdentity"][0](**inputs)) / case["output"]
    assert allowed <= band["error_from"] < band["error_to"] <= 0.1
    for factor in (noise, 1 + 2 * band["error_from"], 1 - band["error_to"] / 2):
        assert named(case, dtype, factor) in (
            ("NaiveNearIdentity",),
            None if abs(factor - 1) <= allowed else (),
        ), factor
    for factor in (0.7, 1.2):
        assert named(case, dtype, factor) == (), factor
    assert "NaiveNearIdentity" not in (
        named(case, dtype, 1 + band["error_from"] / 100) or ()
    )


@pytest.mark.parametrize("case", NEAR, ids=[case["id"] for case in NEAR])
def test_tolerance_near_identity_in_float64_is_that_of_the_specification(
    case: dict[str, Any],
) -> None:
    assert case["tolerance"] == {"f64": 1e-12}
    assert named(case, "f64", 1 + 9e-13) is None
    assert named(case, "f64", 1 + 3e-12) is not None


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_measured_errors_against_the_javascript_adapter() -> None:
    """Both have two digits, hence the five per cent."""
    report = check(command=f"node '{FOLDER.parent / 'examples' / 'vime_adapter.js'}'")
    for outcome in report.outcomes:
        assert (outcome.error or 0.0) <= 1.05 * vectors.MEASURED[outcome.operation][
            0
        ], outcome


def test_verify_takes_noise_of_another_machine_but_no_other_band() -> None:
    stored = {"error_from": 1e-7}
    assert not list(vectors.differences(stored, {"error_from": 4e-7}, 0.0))
    assert list(vectors.differences(stored, {"error_from": 2e-6}, 0.0))


def test_stored_files_are_what_would_be_written() -> None:
    assert list(vectors.verify(FOLDER)) == []


def test_written_files_against_the_stored_ones(tmp_path: Path) -> None:
    assert vectors.main(["--folder", str(tmp_path)]) == 0
    assert vectors.main(["--folder", str(tmp_path), "--verify"]) == 0
    for path in tmp_path.iterdir():
        assert path.read_text("utf-8").count("\n") == (FOLDER / path.name).read_text(
            "utf-8"
        ).count("\n")


@pytest.mark.parametrize("change", ["output", "text", "case", "input", "order"])
def test_verify_control_of_changed_files(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "softplus.json"
    content = json.loads(path.read_text("utf-8"))
    if change == "output":
        content["cases"][0]["output"][0] *= 1.0 + 1e-13
    elif change == "text":
        content["cases"][0]["comment"] = "Another."
    elif change == "case":
        content["cases"].pop()
    elif change == "input":
        content["cases"][0]["inputs"]["rho"][0] = 1e-16
    else:
        content["cases"] = content["cases"][::-1]
    path.write_text(json.dumps(content), "utf-8")
    capsys.readouterr()
    assert vectors.main(["--folder", str(tmp_path), "--verify"]) == 1
    assert "softplus" in capsys.readouterr().out


# ---------------------------------------------------------------- the closed forms of the explorers and of UNREAL

FORMS = explorers.closed_forms() | unreal.closed_forms()


def a_little_larger(output: Any) -> Any:
    if isinstance(output, dict):
        return {name: a_little_larger(value) for name, value in output.items()}
    return (1 + 1e-9) * output


@pytest.mark.parametrize("name", FORMS)
def test_closed_form_controls_of_known_mistakes_and_of_the_ninth_digit(
    name: str,
) -> None:
    """50 digits take no wrong output for the right one: the mistakes' outputs in place of the reference's."""
    operation, form = OPERATIONS[name], FORMS[name]
    valid = [case for case in operation.cases() if not case.why]
    wrong = [
        (case, each)
        for case in valid
        for flag in case.flags
        for each in operation.mistakes[flag]
    ]
    wrong.append(
        (valid[0], lambda **given: a_little_larger(operation.function(**given)))
    )
    for case, function in wrong:
        with pytest.raises(ValueError, match="away from 50 digits"):
            prove(operation._replace(function=function), case._replace(flags=()), form)


def test_update_order_of_context_trees_against_fractions() -> None:
    """Bits 1, 0 at depth 1: 3/16, and 5/28 with the new weight for staying in the one for splitting."""
    (case,) = [case for case in CASES if case["id"] == "cts_log_probs/one-zero"]
    wrong = case["wrong"]["CtsUpdateOrder"]["output"]
    np.testing.assert_allclose(
        np.exp([sum(case["output"]), sum(wrong)]), [3 / 16, 5 / 28], rtol=1e-14
    )
    steps = [((0,), 1), ((1,), 0)]
    for late, product in ((False, Fraction(3, 16)), (True, Fraction(5, 28))):
        assert (
            math.prod(
                explorers.switching(steps, 2, None, Fraction(1), updated_stay=late)
            )
            == product
        )


def test_closed_form_of_tables_against_n_plus_alpha() -> None:
    """What 50 digits make of ρ and ρ′ is N + α in fractions; the off-by-one count is N + 1 + α."""
    symbols = np.array([[1], [0], [1], [1], [2], [1]])
    exact = explorers.exact_dirichlet_pseudo_counts(symbols, 4, Fraction(1, 2))
    assert exact.tolist() == [Fraction(1, 2) + n for n in (0, 0, 1, 2, 0, 3)]


def test_windows_of_reward_prediction_are_paid_with_probability_one_half() -> None:
    """Over a grid of coins and places, as the closed form has it; the mistakes have other shares or other rows."""
    rewards, ended = (
        np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        np.array([0, 0, 0, 1, 0, 0, 0], dtype=bool),
    )
    coins, places = (
        grid.ravel()
        for grid in np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(4) + 0.5) / 4)
    )
    given = {"rewards": rewards, "ended": ended, "coins": coins, "places": places}
    rows = unreal.exact_windows(**given)
    assert {(int(t), float(np.mean(rows == t))) for t in np.unique(rows)} == {
        (2, 0.5),
        (3, 0.25),
        (6, 0.25),
    }
    for flag in ("UniformWindows", "WindowCrossing", "TerminalDropped"):
        for wrong in OPERATIONS["sample_reward_windows"].mistakes[flag]:
            assert not np.array_equal(wrong(**given), rows), flag


# ---------------------------------------------------------------- the writer refuses


def doubling(wrong: Any, **changes: Any) -> Operation:
    """An operation that doubles x, under a name that has tolerances, with one mistake."""
    mistakes = {"MissingHalf": (lambda x: wrong(x),)}
    return Operation(
        "softplus",
        "softplus",
        "elementwise",
        lambda x: 2.0 * x,
        mistakes,
        lambda: iter(()),
    )


CASE = good("one", "A one.", "MissingHalf", x=(1.0, 2.0))


def test_writer_takes_a_mistake_that_is_told_apart() -> None:
    entry = prove(doubling(lambda x: 4.0 * x), CASE)
    assert vectors.encode(entry["wrong"]) == {"MissingHalf": {"output": [4.0, 8.0]}}


@pytest.mark.parametrize(
    "wrong", [lambda x: 2.0 * x, lambda x: 2.0 * x * (1 + 1e-9), lambda x: math.nan * x]
)
def test_writer_refuses_a_case_whose_wrong_output_is_too_near_or_no_number(
    wrong: Any,
) -> None:
    with pytest.raises(ValueError, match="does not tell MissingHalf apart"):
        prove(doubling(wrong), CASE)


def test_writer_takes_no_number_of_a_mistake_that_divides_0_by_0() -> None:
    """Another mistake is refused for it, in the test above."""
    right = doubling(lambda x: math.nan * x)
    lost = right._replace(
        mistakes={"UnderflowingDensity": right.mistakes["MissingHalf"]}
    )
    entry = prove(lost, CASE._replace(flags=("UnderflowingDensity",)))
    assert vectors.encode(entry["wrong"]) == {
        "UnderflowingDensity": {"output": ["NaN", "NaN"]}
    }


def test_writer_refuses_a_closed_form_that_disagrees_with_50_digits() -> None:
    operation = doubling(lambda x: 4.0 * x)
    prove(operation, CASE, lambda x: 2 * x)
    with pytest.raises(ValueError, match="away from 50 digits"):
        prove(operation, CASE, lambda x: 2 * x + x**2 / 10**12)


def test_writer_refuses_an_invalid_case_that_the_reference_takes() -> None:
    with pytest.raises(ValueError, match="must be refused"):
        prove(
            doubling(lambda x: x),
            Case("two", "Two.", {"x": np.ones(1)}, why="it is not"),
        )


def test_writer_refuses_noise_that_is_not_to_be_seen() -> None:
    near = good("near", "Near.", "NaiveNearIdentity", **pair(3, seed=1))
    with pytest.raises(ValueError, match="NaiveNearIdentity is"):
        prove(OPERATIONS["kl_diag_normal"], near)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kind", "output", "expected", "off"),
    [
        ("elementwise", [1.0, 2.2], [1.0, 2.0], 0.1),
        ("elementwise", [0.5, 2.0], [0.0, 2.0], 0.5),
        ("arraywise", [1.1, 10.0], [1.0, 10.0], 0.01),
        ("arraywise", [0.0, 0.25], [0.0, 0.0], 0.25),
        ("elementwise", [math.inf, 1.0], [math.inf, 1.0], 0.0),
        ("elementwise", [-math.inf, 1.0], [math.inf, 1.0], math.inf),
        ("elementwise", [math.nan], [math.nan], math.inf),
        ("arraywise", [1.0, 2.0], [[1.0, 2.0]], math.inf),
        ("arraywise", [], np.zeros((0, 2)), 0.0),
        ("arraywise", [], [[1.0, 2.0]], math.inf),
        ("arraywise", 3.0, np.array(3.0), 0.0),
        ("arraywise", {"a": [1.0], "b": [2.5]}, {"b": [2.0], "a": [1.0]}, 0.25),
        ("arraywise", {"a": [1.0]}, {"b": [1.0]}, math.inf),
        ("arraywise", {"a": [1.0]}, [1.0], math.inf),
    ],
)
def test_error_against_numbers_by_hand(
    kind: Any, output: Any, expected: Any, off: float
) -> None:
    assert vectors.error(kind, output, expected) == pytest.approx(off)


def test_intermediates_of_the_bound_and_the_advantages_add_up_to_the_output() -> None:
    """ELBO = (n/B) Σ mean_S log p − KL, and A_T = δ_T; half the KL would not."""
    for family, operation in (
        ("elbo", "elbo"),
        ("elbo", "elbo_local"),
        ("returns", "gae_advantages"),
    ):
        cases = json.loads((FOLDER / f"{family}.json").read_text(encoding="utf-8"))[
            "cases"
        ]
        valid = [
            case
            for case in cases
            if case["operation"] == operation and case["result"] == "valid"
        ]
        assert valid
        for case in valid:
            parts, given = case["intermediates"], case["inputs"]
            if family == "returns":
                assert parts["deltas"][-1] == pytest.approx(
                    case["output"][-1], rel=1e-14
                )
                continue
            evidence = given["num_data"] * np.mean(parts["log_likelihood"])
            assert evidence - parts["kl"] == pytest.approx(case["output"], rel=1e-13)
            assert (
                evidence - 0.5 * parts["kl"] != pytest.approx(case["output"], rel=1e-13)
                or parts["kl"] == 0
            )

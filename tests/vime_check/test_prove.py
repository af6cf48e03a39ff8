"""The vectors: their form, agreement of the files with the generator, and bad cases that the generator rejects."""

import copy
import functools
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from check_helpers import FILES, STORED, inputs_of, variants

from vime_check import prove as vectors
from vime_check import wire
from vime_check.cases import OPERATIONS, PROVED
from vime_check.cases.networks import pair
from vime_check.errors import error
from vime_check.files import Vector
from vime_check.judge import load_vectors, outcome_of
from vime_check.mistakes import NOISE
from vime_check.naming import Naming
from vime_check.operations import (
    PLACES,
    Case,
    Operation,
    good,
    mistake,
    register,
    tolerance,
)
from vime_check.prove import proved
from vime_check.wire import VECTORS

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((VECTORS / "schema.json").read_text("utf-8"))
)


# Each family's content is computed once for all tests.
FRESH = functools.cache(vectors.family_file)


@pytest.fixture(autouse=True)
def _proved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "family_file", FRESH)


@pytest.fixture(autouse=True)
def _overflow_is_part_of_some_cases() -> Any:
    with np.errstate(all="ignore"):
        yield


# ---------------------------------------------------------------- the files


def test_files_are_one_for_each_family() -> None:
    assert set(FILES) == set(vectors.families())
    assert {case["operation"] for case in STORED} == set(PROVED)


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
    ids = [case["id"] for case in STORED]
    assert len(ids) == len(set(ids)) >= 150
    assert all(case["id"].startswith(f"{case['operation']}/") for case in STORED)


@pytest.mark.parametrize("family", FILES)
def test_a_quarter_of_each_family_is_invalid_and_a_third_of_explorers_and_unreal(
    family: str,
) -> None:
    invalid = [case for case in FILES[family]["cases"] if case["result"] == "invalid"]
    share = 3 if family in ("strategies", "counts", "densities", "unreal") else 4
    assert len(invalid) >= len(FILES[family]["cases"]) / share


def test_every_operation_has_valid_and_invalid_cases() -> None:
    for result in ("valid", "invalid"):
        assert {
            case["operation"] for case in STORED if case["result"] == result
        } == set(PROVED)


def test_inputs_of_float32_cases_are_numbers_of_float32() -> None:
    for case in STORED:
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


# ---------------------------------------------------------------- outputs


def decoded(output: Any) -> Any:
    """An output in the reference's types."""
    named = wire.decode_outputs(output)
    return named if isinstance(output, dict) else named[""]


@pytest.mark.parametrize("case", STORED, ids=[case["id"] for case in STORED])
def test_stored_case_against_the_reference_and_wrong_outputs(
    case: dict[str, Any],
) -> None:
    operation = PROVED[case["operation"]]
    inputs, allowed = inputs_of(case), tolerance(operation, "f64")
    if case["result"] == "invalid":
        with pytest.raises(ValueError, match=r"."):
            operation.function(**inputs)
        return
    expected = decoded(case["output"])
    assert error(operation.error, operation.function(**inputs), expected) <= allowed
    for flag, entry in case["wrong"].items():
        if flag in NOISE:
            assert set(entry) == set(case["dtypes"])
            continue
        for wrong in variants(entry):
            assert (
                error(operation.error, decoded(wrong["output"]), expected)
                > 10 * allowed
            ), flag


NEAR = [case for case in STORED if "NaiveNearIdentity" in case["flags"]]


@functools.cache
def loaded(dtype: str) -> dict[str, Vector]:
    return {each.id: each for each in load_vectors(VECTORS, dtype)}


def named(case: dict[str, Any], dtype: str, factor: Any) -> tuple[str, ...] | None:
    """The single mistakes named if an output is this multiple of the correct one; None if it passes."""
    output = factor * np.array(case["output"])
    vector = loaded(dtype)[case["id"]]
    outcome = outcome_of(vector, {"result": output.tolist()}, naming=Naming(most=0))
    return None if outcome.status == "exact" else outcome.mistakes


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
    """Control: an output with an error of 30 % or 20 % is not noise, and neither is 1/100 of the minimum noise."""
    band, allowed = (
        case["wrong"]["NaiveNearIdentity"][dtype],
        case.get("tolerance", {}).get(dtype, 1e-6),
    )
    inputs = vectors.cast(inputs_of(case), dtype)
    operation = PROVED[case["operation"]]
    right = np.array(case["output"])
    noise = operation.mistakes["NaiveNearIdentity"][0](**inputs) / right
    assert allowed <= band["error_from"] < band["error_to"] <= 0.1
    for factor in (noise, 1 + 2 * band["error_from"], 1 - band["error_to"] / 2):
        off = error(operation.error, factor * right, right)
        assert named(case, dtype, factor) in (
            ("NaiveNearIdentity",),
            None if off <= allowed else (),
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


# ---------------------------------------------------------------- writing and verifying


def test_verify_takes_noise_of_another_machine_but_no_other_band() -> None:
    stored = {"error_from": 1e-7}
    assert not list(vectors.differences(stored, {"error_from": 4e-7}, 0.0))
    assert list(vectors.differences(stored, {"error_from": 2e-6}, 0.0))


def test_stored_files_are_what_would_be_written() -> None:
    assert list(vectors.verify(VECTORS)) == []


def test_written_files_against_the_stored_ones(tmp_path: Path) -> None:
    assert vectors.main(["--folder", str(tmp_path)]) == 0
    assert vectors.main(["--folder", str(tmp_path), "--verify"]) == 0
    for path in tmp_path.iterdir():
        assert path.read_text("utf-8").count("\n") == (VECTORS / path.name).read_text(
            "utf-8"
        ).count("\n")


@pytest.mark.parametrize("change", ["output", "text", "case", "input", "order"])
def test_verify_control_of_changed_files(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(VECTORS, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "softplus.json"
    content = json.loads(path.read_text("utf-8"))
    if change == "output":
        content["cases"][0]["output"][0] *= 1.0 + 1e-13
    elif change == "text":
        content["cases"][0]["comment"] = "½ for a terminal without UTF-8."
    elif change == "case":
        content["cases"].pop()
    elif change == "input":
        content["cases"][0]["inputs"]["rho"][0] = 1e-16
    else:
        content["cases"] = content["cases"][::-1]
    path.write_text(json.dumps(content), "utf-8")
    capsys.readouterr()
    assert vectors.main(["--folder", str(tmp_path), "--verify"]) == 1
    said = capsys.readouterr().out
    assert "softplus" in said
    assert said.isascii()
    assert ("\\xbd for" in said) == (change == "text")


@pytest.mark.parametrize(
    ("flags", "content", "reason"),
    [
        (["--verify"], None, "can't read nowhere/softplus.json: No such file"),
        (["--verify"], "{", "nowhere/softplus.json must be JSON"),
        (
            ["--verify"],
            "{}",
            "vectors: softplus.json: cases must be a list, got nothing",
        ),
        ([], "file", "File exists: 'nowhere'"),
    ],
)
def test_a_folder_that_cannot_be_read_or_written_is_one_line(
    flags: list[str],
    content: str | None,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if content == "file":
        Path("nowhere").write_text("")
    elif content is not None:
        Path("nowhere").mkdir()
        (Path("nowhere") / "softplus.json").write_text(content)
    with pytest.raises(SystemExit) as caught:
        vectors.main(["--folder", "nowhere", *flags])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("python -m vime_check.prove: error: --folder: ")
    assert reason in last


def test_verify_control_of_kinds_of_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in a separate file, which is written together with the project's vectors."""
    kinds = json.loads(wire.INPUTS.read_text("utf-8"))
    assert kinds == vectors.inputs_file()
    del kinds["mlp"]
    changed = tmp_path / "inputs.json"
    changed.write_text(json.dumps(kinds), "utf-8")
    monkeypatch.setattr(vectors, "INPUTS", changed)
    (difference,) = vectors.verify(VECTORS)
    assert difference.startswith("inputs.json: ")
    monkeypatch.setattr(vectors, "VECTORS", tmp_path / "vectors")
    assert vectors.main(["--folder", str(tmp_path / "vectors")]) == 0
    assert changed.read_text("utf-8") == wire.INPUTS.read_text("utf-8")


# ---------------------------------------------------------------- the writer rejects


def doubled(x: Any) -> Any:
    return 2.0 * x


@pytest.fixture
def doubling() -> Iterator[Operation]:
    """A registered operation that doubles x, without mistakes."""
    register("small", "elementwise", doubled, measured=(0.0, 0.0))
    yield OPERATIONS["doubled"]
    del OPERATIONS["doubled"]
    del PLACES["doubled"]


def make(wrong: Any, flag: str = "MissingHalf") -> None:
    """Give the operation a mistake, or a mistake another variant."""
    mistake(flag, "doubled")(lambda right, given: wrong(given["x"]))


CASE = good("one", "A one.", "MissingHalf", x=(1.0, 2.0))


def test_writer_takes_a_mistake_that_is_told_apart(doubling: Operation) -> None:
    make(lambda x: 4.0 * x)
    entry = proved(doubling, CASE)
    assert wire.encode(entry["wrong"]) == {"MissingHalf": {"output": [4.0, 8.0]}}


def test_one_variant_of_a_mistake_has_an_output_of_its_own(doubling: Operation) -> None:
    """Control: before it had one, the case was rejected."""
    make(lambda x: 4.0 * x)
    make(lambda x: 4.0 * x, "KLMean")
    with pytest.raises(ValueError, match="one: does not detect MissingHalf"):
        proved(doubling, CASE)
    make(lambda x: 5.0 * x)
    four, five = {"output": [4.0, 8.0]}, {"output": [5.0, 10.0]}
    entry = proved(doubling, CASE)
    assert wire.encode(entry["wrong"]) == {"MissingHalf": [four, five], "KLMean": four}


def test_a_mistake_that_rejects_the_inputs_has_no_output(doubling: Operation) -> None:
    def rejects(x: Any) -> Any:
        raise ValueError("x")

    make(rejects)
    assert proved(doubling, CASE._replace(flags=()))["wrong"] == {}


@pytest.mark.parametrize(
    "wrong", [lambda x: 2.0 * x, lambda x: 2.0 * x * (1 + 1e-9), lambda x: math.nan * x]
)
def test_writer_rejects_a_case_whose_wrong_output_is_too_near_or_no_number(
    wrong: Any, doubling: Operation
) -> None:
    make(wrong)
    with pytest.raises(ValueError, match="does not detect MissingHalf"):
        proved(doubling, CASE)


def test_writer_takes_no_number_of_a_mistake_that_divides_0_by_0(
    doubling: Operation,
) -> None:
    """Another mistake is rejected for it, in the test above."""
    make(lambda x: math.nan * x, "UnderflowingDensity")
    entry = proved(doubling, CASE._replace(flags=("UnderflowingDensity",)))
    assert wire.encode(entry["wrong"]) == {
        "UnderflowingDensity": {"output": ["NaN", "NaN"]}
    }


def test_writer_rejects_a_closed_form_that_disagrees_with_50_digits(
    doubling: Operation,
) -> None:
    make(lambda x: 4.0 * x)
    proved(doubling._replace(exact=lambda x: 2 * x), CASE)
    with pytest.raises(ValueError, match="away from 50 digits"):
        proved(doubling._replace(exact=lambda x: 2 * x + x**2 / 10**12), CASE)


def test_writer_rejects_an_invalid_case_that_the_reference_takes(
    doubling: Operation,
) -> None:
    with pytest.raises(ValueError, match="must be rejected"):
        proved(doubling, Case("two", "Two.", {"x": np.ones(1)}, why="it is not"))


def test_writer_rejects_noise_that_is_not_to_be_seen() -> None:
    near = good("near", "Near.", "NaiveNearIdentity", **pair(3, seed=1))
    with pytest.raises(ValueError, match="NaiveNearIdentity is"):
        proved(OPERATIONS["kl_diag_normal"], near)

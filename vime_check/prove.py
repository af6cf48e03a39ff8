"""Test vectors: each operation's outputs, its known mistakes' outputs, and inputs that distinguish them.

`python -m vime_check.prove` verifies every case against 50 digits and writes `vectors/*.json`, one file per family,
and `inputs.json`. `python -m vime_check.prove --verify` compares the files with the ones it would write. Both need
mpmath.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vime_check.cases import PROVED
from vime_check.errors import by_name, error
from vime_check.exact import exact_output
from vime_check.files import read_json, vectors_of_file
from vime_check.mistakes import MOST_NOISE, NOISE, NOTES, UNDEFINED, noise_band
from vime_check.operations import (
    BOTH,
    MARGIN,
    NEAR_IDENTITY,
    Case,
    Function,
    Operation,
    profiles_of,
    tolerance,
)
from vime_check.wire import (
    DTYPES,
    INPUTS,
    SCHEMA,
    VECTORS,
    VECTORS_DATE,
    VECTORS_VERSION,
    UsageError,
    encode,
)

# ---------------------------------------------------------------- constants

BAND_KEYS = ("error_from", "error_to")
# Entries that differ slightly between machines.
LOOSE = ("output", "intermediates", "wrong")


# ---------------------------------------------------------------- verifying a case


def proved(operation: Operation, case: Case) -> dict[str, Any]:
    """The case in the format of a file. Raises ValueError if the case does not detect its mistakes."""
    entry: dict[str, Any] = {
        "id": f"{operation.name}/{case.probe}",
        "operation": operation.name,
        "comment": case.comment,
        "flags": [*case.flags],
        "dtypes": [*case.dtypes],
        "profiles": profiles_of(case.inputs),
        **given(operation, case),
    }
    if case.why:
        prove_refusal(operation, case)
        return entry | {"result": "invalid", "why": case.why, "by": case.by}

    # The correct output.
    output = operation.function(**case.inputs)
    if operation.exact is not None:
        prove_output(operation, case, output, operation.exact)

    # The tolerance, if the case has its own.
    allowed_here = allowed(operation, case, "f64")
    if "f64" in case.dtypes and allowed_here > tolerance(operation, "f64"):
        entry["tolerance"] = {"f64": allowed_here}

    # Intermediate values and wrong outputs.
    entry |= {"result": "valid", "output": output}
    if operation.intermediates is not None:
        entry["intermediates"] = operation.intermediates(case.inputs)
    return entry | {"wrong": wrong_outputs(operation, case, output)}


def given(operation: Operation, case: Case) -> dict[str, Any]:
    """The inputs of a case; a line of a trace has its number and the state before it."""
    if not case.line:
        return {"inputs": case.inputs}
    state = {
        name: case.inputs[name] for name in case.inputs if name in operation.resets
    }
    inputs = without(case.inputs, state)
    return {"line": case.line, "state": state, "inputs": inputs}


def prove_refusal(operation: Operation, case: Case) -> None:
    """Raise ValueError unless the operation rejects the case."""
    name = f"{operation.name}/{case.probe}"
    try:
        output = operation.function(**case.inputs)
    except ValueError:
        return
    raise ValueError(f"{name}: must be rejected, but returns {output}")


def prove_output(operation: Operation, case: Case, output: Any, form: Function) -> None:
    """Raise ValueError unless the output agrees with 50 digits."""
    name = f"{operation.name}/{case.probe}"
    off = error(operation.error, output, exact_output(form, case.inputs))
    if off > tolerance(operation, "f64"):
        raise ValueError(f"{name}: the reference is {off:.1e} away from 50 digits")


def allowed(operation: Operation, case: Case, dtype: str) -> float:
    """The tolerance of a case: its operation's, except in float64 near identity."""
    near = dtype == "f64" and any(flag in NOISE for flag in case.flags)
    return max(tolerance(operation, dtype), NEAR_IDENTITY if near else 0.0)


# ---------------------------------------------------------------- verifying its mistakes


def wrong_outputs(operation: Operation, case: Case, right: Any) -> dict[str, Any]:
    """The output of each mistake that the case distinguishes from the correct one.

    Raises ValueError if a mistake that the case must detect is not among them, or gives the output of another one.
    """
    outputs = told_outputs(operation, case, right)
    for flag in hunted_by(operation, case):
        prove_detection(operation, case, flag, right, outputs)

    entries = {
        flag: [{"output": each} for each in several]
        for flag, several in outputs.items()
    }
    wrong: dict[str, Any] = {
        flag: several if len(several) > 1 else several[0]
        for flag, several in entries.items()
    }
    for flag in case.flags:
        if flag in NOISE:
            wrong[flag] = noise_bands(operation, case, flag, right)
    return wrong


def hunted_by(operation: Operation, case: Case) -> list[str]:
    """The mistakes that the case must detect, except for rounding noise."""
    return [f for f in case.flags if f in operation.mistakes and f not in NOISE]


def told_outputs(operation: Operation, case: Case, right: Any) -> dict[str, list[Any]]:
    """For each mistake, its outputs that differ enough from the correct one in some precision."""
    found: dict[str, list[Any]] = {}
    for flag, mistakes in operation.mistakes.items():
        for mistake in mistakes:
            output = None if flag in NOISE else wrong_output(mistake, case, flag)
            if output is not None and any(told_apart(operation, case, output, right)):
                found.setdefault(flag, []).append(output)
    return found


def prove_detection(
    operation: Operation,
    case: Case,
    flag: str,
    right: Any,
    outputs: dict[str, list[Any]],
) -> None:
    """Raise ValueError unless a variant of this mistake gives outputs of its own."""
    name = f"{operation.name}/{case.probe}"
    others = [
        each for key, several in outputs.items() if key != flag for each in several
    ]
    for output in outputs.get(flag, []):
        seen = all(told_apart(operation, case, output, right))
        if seen and all(
            any(told_apart(operation, case, output, each)) for each in others
        ):
            return
    raise ValueError(f"{name}: does not detect {flag}")


def wrong_output(mistake: Function, case: Case, flag: str) -> Any:
    """A mistake's output, or None if it has none or one that is not finite; only UNDEFINED mistakes may return NaN."""
    inputs = case.inputs if "f64" in case.dtypes else cast(case.inputs, "f32")
    with np.errstate(all="ignore"):
        try:
            output = mistake(**inputs)
        except ValueError:
            return None
    lost = any(np.isnan(values).any() for values in by_name(output).values())
    return None if lost and flag not in UNDEFINED else output


def told_apart(operation: Operation, case: Case, output: Any, other: Any) -> list[bool]:
    """Whether two outputs differ enough in each precision of the case."""
    off = error(operation.error, output, other)
    return [off > MARGIN * allowed(operation, case, dtype) for dtype in case.dtypes]


def noise_bands(
    operation: Operation, case: Case, flag: str, right: Any
) -> dict[str, dict[str, float]]:
    """For each precision, the band of errors that looks like the mistake's rounding noise.

    Raises ValueError unless the noise is visible in the lowest precision and nowhere too large to be noise.
    """
    name = f"{operation.name}/{case.probe}"
    mistake = operation.mistakes[flag][0]
    bands = {}
    for dtype in case.dtypes:
        tolerated = allowed(operation, case, dtype)
        off = error(operation.error, mistake(**cast(case.inputs, dtype)), right)
        least = MARGIN * tolerated if dtype == case.dtypes[-1] else 0.0
        if not least < off <= MOST_NOISE:
            raise ValueError(f"{name}: {flag} is {off:.1e} off in {dtype}")
        band = noise_band(off, tolerated)
        bands[dtype] = dict(zip(BAND_KEYS, band, strict=True))
    return bands


def cast(value: Any, dtype: str) -> Any:
    """Inputs in another precision."""
    if isinstance(value, dict):
        return {name: cast(each, dtype) for name, each in value.items()}
    if isinstance(value, list):
        return [cast(each, dtype) for each in value]
    floats = getattr(value, "dtype", None) == np.float64
    return value.astype(DTYPES[dtype]) if floats else value


# ---------------------------------------------------------------- files


def families() -> list[str]:
    return list(dict.fromkeys(each.family for each in PROVED.values()))


def family_file(family: str) -> dict[str, Any]:
    """A family's operations in the format of its file, with every case verified."""
    operations = [each for each in PROVED.values() if each.family == family]
    cases = [proved(each, case) for each in operations for case in each.cases()]

    # The notes of its mistakes, and the rest of its header.
    used = {flag for case in cases for flag in (*case["flags"], *case.get("wrong", {}))}
    return encode(
        {
            "schema": SCHEMA,
            "version": VECTORS_VERSION,
            "date": VECTORS_DATE,
            "family": family,
            "generator": "vime_check.prove",
            "notes": {
                flag: note._asdict() for flag, note in NOTES.items() if flag in used
            },
            "tolerances": {each.name: tolerances(each) for each in operations},
            "error": {each.name: each.error for each in operations},
            "cases": cases,
        }
    )


def tolerances(operation: Operation) -> dict[str, dict[str, float]]:
    measured = zip(BOTH, operation.measured, strict=True)
    return {
        dtype: {"measured": value, "tolerance": tolerance(operation, dtype)}
        for dtype, value in measured
    }


def inputs_file() -> dict[str, Any]:
    """For each operation, the kinds of the inputs that are not arrays of numbers."""
    return {each.name: each.kinds for each in PROVED.values() if each.kinds}


def layout(value: Any, depth: int = 0) -> str:
    """JSON with one line for each key of a file, note and case; deeper levels stay on that line."""
    if (
        depth == 4
        or not isinstance(value, dict | list)
        or not value
        or not any_nested(value, depth)
    ):
        return json.dumps(value, ensure_ascii=False)
    inner = " " * (depth + 1)
    if isinstance(value, dict):
        lines = [
            f"{inner}{json.dumps(name)}: {layout(each, depth + 1)}"
            for name, each in value.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"
    lines = [inner + layout(each, depth + 1) for each in value]
    return "[\n" + ",\n".join(lines) + "\n" + " " * depth + "]"


def any_nested(value: Any, depth: int) -> bool:
    """Whether each entry gets a line: true for the file, its tables and cases, false for arrays."""
    return depth < 3 and (
        isinstance(value, dict) or any(isinstance(each, dict) for each in value)
    )


# ---------------------------------------------------------------- comparing files


def differences(
    stored: Any, fresh: Any, allowed: float, place: str = ""
) -> Iterator[str]:
    """The places where two files differ: in structure, in a text, or in a number by more than the tolerance."""
    if isinstance(stored, dict) and isinstance(fresh, dict):
        if list(stored) != list(fresh):
            yield f"{place}: {list(stored)} is {list(fresh)}"
            return
        for name in stored:
            there = f"{place}/{name}"
            if name not in BAND_KEYS:
                yield from differences(stored[name], fresh[name], allowed, there)
            elif (
                not 0.1 < stored[name] / fresh[name] < 10.0
            ):  # noise differs between machines
                yield f"{there}: {stored[name]} is {fresh[name]}"
    elif (
        isinstance(stored, list)
        and isinstance(fresh, list)
        and len(stored) == len(fresh)
    ):
        for i, (old, new) in enumerate(zip(stored, fresh, strict=True)):
            yield from differences(old, new, allowed, f"{place}/{i}")
    elif type(stored) is float and type(fresh) is float:
        if abs(stored - fresh) > allowed * max(1.0, abs(fresh)):
            yield f"{place}: {stored} is {fresh}"
    elif stored != fresh or type(stored) is not type(fresh):
        yield f"{place}: {stored} is {fresh}"


def case_differences(stored: dict[str, Any], fresh: dict[str, Any]) -> Iterator[str]:
    """The places where two files of a family differ; outputs may differ by the float64 tolerance."""
    ids, new_ids = ([case["id"] for case in file["cases"]] for file in (stored, fresh))
    head = {**stored, "cases": ids}
    new_head = {**fresh, "cases": new_ids}
    yield from differences(head, new_head, 0.0, stored["family"])

    for case, new_case in zip(stored["cases"], fresh["cases"], strict=False):
        exact, new_exact = (without(each, LOOSE) for each in (case, new_case))
        yield from differences(exact, new_exact, 0.0, case["id"])

        loose, new_loose = (without(each, exact) for each in (case, new_case))
        least = tolerance(PROVED[new_case["operation"]], "f64")
        yield from differences(loose, new_loose, least, case["id"])


def without(case: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in case.items() if key not in keys}


# ---------------------------------------------------------------- the command


def write(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for family in families():
        text = layout(family_file(family)) + "\n"
        (folder / f"{family}.json").write_text(text, encoding="utf-8")


def verify(folder: Path) -> Iterator[str]:
    """The places where a folder's files and `inputs.json` differ from the ones that would be written now."""
    for family in families():
        path = folder / f"{family}.json"
        for dtype in DTYPES:
            vectors_of_file(path, dtype)  # raises UsageError if a part is missing
        stored = read_json(path)
        yield from case_differences(stored, family_file(family))
    declared = read_json(INPUTS)
    yield from differences(declared, inputs_file(), 0.0, INPUTS.name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m vime_check.prove", description="Write the test vectors."
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare the files with the ones that would be written",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=VECTORS,
        help="folder of the vectors (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        return written_or_verified(options.folder, options.verify)
    except (OSError, UsageError) as error:
        parser.error(f"--folder: {error}")


def written_or_verified(folder: Path, only_verify: bool) -> int:
    """Write the files, or compare them; return the exit code."""
    if only_verify:
        found = list(verify(folder))
        lines = "\n".join(found or ["the vectors are up to date"])
        print(lines.encode("ascii", "backslashreplace").decode())  # for any terminal
        return 1 if found else 0

    write(folder)
    if folder == VECTORS:
        INPUTS.write_text(layout(inputs_file()) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

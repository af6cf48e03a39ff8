"""Cross-checks: does another implementation of VIME return the reference's numbers, and if not, what is it?

`check` runs the cases of `vectors/*.json` on an implementation, which `vime_check.programs` isolates in a process, and
grades each answer. It names a known mistake by its output.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vime_check.errors import difference, listed, worst_place
from vime_check.files import Vector, vectors_of_file
from vime_check.hints import all_hints
from vime_check.naming import Explanation, Naming
from vime_check.programs import (
    Peer,
    ProtocolError,
    StartError,
    checked_flag,
    checked_text,
    checked_whole,
    peer_of,
)
from vime_check.report import (
    ACCEPTED,
    NO_VALID,
    NOT_TRIED,
    NUMERIC,
    OTHER_ERROR,
    Notes,
    Outcome,
    Report,
    explained,
    groups,
    with_names,
)
from vime_check.serving import Answer
from vime_check.traces import Lines
from vime_check.wire import (
    DTYPES,
    NO_VECTORS,
    PROFILES,
    VECTORS,
    Inputs,
    UsageError,
    decode_inputs,
    decode_outputs,
    encode,
    package_version,
    shown,
)

# ---------------------------------------------------------------- constants

# Cases without an answer, after which the checker stops asking: of one operation or of the start in a row, of all
# operations in a row, and altogether.
MAX_BREAKS = 3
MAX_SILENT = 9
MAX_TOTAL = 30
# An error up to this that no known mistake gives is graded as a loss of digits: the square root of the precision,
# with some room.
FEW_DIGITS = {"f64": 1e-6, "f32": 1e-3}
MOST_DIGITS = 15  # of float64

# ---------------------------------------------------------------- building blocks: grading an answer


def outcome_of(
    vector: Vector,
    answer: Answer,
    floor: float = 0.0,
    digits: int | None = None,
    naming: Naming | None = None,
) -> Outcome:
    """The outcome of a case, from the program's answer."""
    outcome = Outcome(vector.id, vector.operation, "exact", valid=not vector.why)
    if "skipped" in answer:
        return outcome._replace(status="skipped", message=shown(answer["skipped"]))
    if vector.why:
        return grade_rejection(vector, answer, outcome)
    if "result" not in answer:
        return outcome._replace(status="errored", message=no_result(answer))
    naming = naming or Naming()
    return grade_result(vector, answer, outcome, floor, digits, naming)


def grade_rejection(vector: Vector, answer: Answer, outcome: Outcome) -> Outcome:
    """The outcome of a case that must be rejected, by ValueError or by `refused`."""
    if "refused" in answer:
        return outcome._replace(status="rejected", message=shown(answer["refused"]))
    if "result" in answer:
        message = f"{ACCEPTED}{vector.why}"
        return outcome._replace(status="lenient", message=message)
    reason = no_result(answer)
    message = f"{OTHER_ERROR}{reason}" if "error" in answer else reason
    return outcome._replace(status="errored", message=message)


def no_result(answer: Answer) -> str:
    """Why an answer holds no result."""
    if "refused" in answer:
        return f"rejected a valid input: {shown(answer['refused'])}"
    nothing = f"no result in {shown(answer)}"
    return shown(answer.get("error", answer.get("unusable", nothing)))


def grade_result(
    vector: Vector,
    answer: Answer,
    outcome: Outcome,
    floor: float,
    digits: int | None,
    naming: Naming,
) -> Outcome:
    """The outcome of a valid case with a result: exact within the tolerance, else with its explanations."""
    try:
        output = decode_outputs(answer["result"])
    except ValueError as fault:
        return outcome._replace(status="errored", message=str(fault))

    # The error, and a call that changed its inputs.
    error, reason = difference(output, vector.output, vector.error, floor)
    outcome = outcome._replace(error=None if reason else error)
    mutated = shown(answer["mutated"]) if answer.get("mutated") else ""
    if error <= vector.tolerance and not mutated:
        return outcome

    # The mistakes in the output, and in the call.
    found: list[Explanation] = []
    if error > vector.tolerance:
        place = worst_place(output, vector.output, vector.error, floor)
        outcome = outcome._replace(message="" if place else reason, place=place)
        found = naming.explanations(vector, output) or noise(vector, error)
    if mutated:
        outcome = outcome._replace(message=f"inputs changed by the call: {mutated}")
        found = [
            each._replace(mistakes=("InputMutation", *each.mistakes))
            for each in found or [Explanation((), 0.0)]
        ]
    status = "wrong" if mutated else grade(vector, error, found, digits)
    return with_candidates(outcome._replace(status=status), found)


def with_candidates(outcome: Outcome, found: Sequence[Explanation]) -> Outcome:
    """The outcome with its explanations, of which it takes the first."""
    mistakes = found[0].mistakes if found else ()
    return outcome._replace(candidates=tuple(found), mistakes=mistakes)


def grade(
    vector: Vector,
    error: float,
    found: Sequence[Explanation],
    digits: int | None,
) -> str:
    """The grade of a result outside its tolerance."""
    if digits is not None:
        return "digits" if error <= 10.0**-digits else "wrong"
    kinds = [{kind_of(vector, name) for name in each.mistakes} for each in least(found)]
    if any("mistake" in each for each in kinds):
        return "wrong"
    nearest_costs_digits = bool(kinds) and kinds[0] == {"digits"}
    if error <= FEW_DIGITS[vector.dtype] or nearest_costs_digits:
        return "digits"
    return "convention" if kinds else "wrong"


def least(found: Sequence[Explanation]) -> list[Explanation]:
    """The explanations that do not contain another one."""
    sets = [frozenset(each.mistakes) for each in found]
    return [
        each
        for each, own in zip(found, sets, strict=True)
        if not any(other < own for other in sets)
    ]


def noise(vector: Vector, error: float) -> list[Explanation]:
    """The mistakes that only cause rounding noise, if the error is in their band."""
    return [
        Explanation((wrong.name,), error)
        for wrong in vector.wrong
        if wrong.least > 0.0 and wrong.least <= error <= wrong.most
    ]


def kind_of(vector: Vector, name: str) -> str:
    """The kind of a mistake; one that only causes rounding noise is of the kind digits."""
    if any(wrong.name == name and wrong.least > 0.0 for wrong in vector.wrong):
        return "digits"
    return vector.notes.get(name, {}).get("kind", "mistake")


def hinted(vector: Vector, answer: Answer, outcome: Outcome) -> Outcome:
    """The outcome with structural hints, if it is wrong."""
    if outcome.status != "wrong":
        return outcome
    output = decode_outputs(answer["result"])
    about = (vector.operation, vector.error, vector.dtype)
    found = all_hints(output, vector.output, vector.inputs, *about)
    return outcome._replace(hints=tuple(found))


def with_pairs(
    cases: Sequence[Vector], outcomes: Sequence[Outcome], naming: Naming
) -> list[Outcome]:
    """The outcomes, in which a pair of mistakes may explain the cases that one of the two explains.

    Lost digits are no mistake where another mistake is made: they are not named.
    """
    wrong = {
        each.operation
        for each in outcomes
        if each.status == "wrong" and each.candidates
    }
    found = []
    for vector, each in zip(cases, outcomes, strict=True):
        candidates = naming.with_pairs(vector, each.candidates)
        if each.status == "digits" and each.operation in wrong:
            candidates = ()
        found.append(each._replace(candidates=candidates))
    return found


def without_accidents(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, without explanations that fit too few wrong cases; those that keep one lose their hints.

    An explanation must fit half of the wrong cases that no better one fits. In fewer, another fault has its output by
    accident, such as where two terms are equal. Changed inputs were seen, not guessed.
    """
    kept: set[str] = set()
    for (_, status), group in groups(outcomes).items():
        left = len(group)
        for cause in explained(group):
            seen = any("InputMutation" in each for each in cause.explanations)
            if status == "wrong" and 2 * len(cause.outcomes) < left and not seen:
                continue
            kept |= {each.id for each in cause.outcomes}
            left -= len(cause.outcomes)
    return [
        each._replace(hints=())
        if each.id in kept
        else each._replace(candidates=(), mistakes=())
        for each in outcomes
    ]


def with_row_hints(
    cases: Sequence[Vector], outcomes: Sequence[Outcome]
) -> list[Outcome]:
    """The outcomes; the hint that later rows are wrong stays if one row alone is right, and no case denies it.

    So the hint of a case by itself never stays.
    """
    rows = {each.id: len(each.inputs.get("inputs", ())) for each in cases}
    held: dict[str, bool] = {}
    for (operation, status), group in groups(outcomes).items():
        several = [each for each in group if rows[each.id] > 1]
        if status == "wrong":
            told = [
                any(h.needs_right_single_row for h in each.hints) for each in several
            ]
            open_cases = [each for each in group if not each.candidates]
            held[operation] = several == open_cases and all(told)
    single = {o.operation for o in outcomes if o.status == "exact" and rows[o.id] == 1}
    return [
        each
        if held.get(each.operation) and each.operation in single
        else each._replace(
            hints=tuple(h for h in each.hints if not h.needs_right_single_row)
        )
        for each in outcomes
    ]


def with_rejections(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, in which a rejection counts only if a valid case of its operation ran.

    An operation whose valid cases were all skipped is not offered. Without a valid case, nothing is known.
    """
    valid: dict[str, set[str]] = {}
    for each in outcomes:
        if each.valid:
            valid.setdefault(each.operation, set()).add(each.status)

    checked = []
    for each in outcomes:
        others = valid.get(each.operation, set())
        if each.status == "rejected" and not others & set(NUMERIC):
            status = "skipped" if others <= {"skipped"} else "errored"
            message = "no valid case ran" if others else NO_VALID
            each = each._replace(status=status, message=message)
        checked.append(each)
    return checked


# ---------------------------------------------------------------- building blocks: vectors


def load_vectors(folder: Path | str | None, dtype: str) -> list[Vector]:
    """The cases of all files in the folder that apply to the dtype. Raises UsageError if a file is invalid."""
    if dtype not in [*DTYPES]:
        got = shown(repr(dtype), 60)
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {got}")
    if not isinstance(folder, Path | str | None):
        got = shown(repr(folder), 60)
        raise UsageError(f"vectors must be a folder of JSON files, got {got}")

    # Its files of cases.
    folder = VECTORS if folder is None else Path(folder)
    files = [
        path for path in sorted(folder.glob("*.json")) if path.name not in NO_VECTORS
    ]
    if not files:
        raise UsageError(shown(f"vectors: no vectors in {folder}"))
    found = [vector for path in files for vector in vectors_of_file(path, dtype)]
    if not found:
        raise UsageError(shown(f"vectors: no cases of {dtype} in {folder}"))
    return found


def with_profile(vectors: Sequence[Vector], profile: str | None) -> list[Vector]:
    """The vectors whose inputs satisfy all of these comma-separated restrictions; all if none are given."""
    checked_text("profile", profile)
    if profile is None:
        return list(vectors)
    names = {name.strip() for name in profile.split(",")}
    unknown = names - {*PROFILES}
    if unknown:
        got = ", ".join(sorted(map(repr, unknown)))
        raise UsageError(f"profile: unknown {got}; profiles: {', '.join(PROFILES)}")
    return [v for v in vectors if names <= {*v.profiles} or v.why]


def selected(vectors: Sequence[Vector], only: str | None) -> list[Vector]:
    """The vectors whose operation, family or id is among the comma-separated names; all if no names are given."""
    checked_text("only", only)
    if only is None:
        return list(vectors)
    names = {*names_in(only)}
    families = ordered(v.family for v in vectors)
    operations = ordered(v.operation for v in vectors)
    unknown = names - {*families, *operations, *(v.id for v in vectors)}
    if unknown:
        wrong = ", ".join(sorted(map(repr, unknown)))
        lists = f"families: {', '.join(families)}; operations: {', '.join(operations)}"
        meant = names_like(unknown, [*families, *operations], [v.id for v in vectors])
        advice = meant or f"{lists}; or the id of a case"
        raise UsageError(f"--only: unknown {wrong}; {advice}")
    return [v for v in vectors if names & {v.operation, v.family, v.id}]


def names_like(unknown: Iterable[str], names: Sequence[str], ids: Sequence[str]) -> str:
    """A question with up to three that contain an unknown name, or with one like it; empty if there are none."""
    found: list[str] = []
    for name in filter(None, sorted(unknown)):
        known = ids if "/" in name else names
        within = [each for each in known if name in each]
        found += within[:3] or difflib.get_close_matches(name, known, n=1)
    return f"did you mean {' or '.join(ordered(found))}?" if found else ""


def requested(vectors: Sequence[Vector], only: str | None) -> tuple[str, ...]:
    """The operations and ids among the names; a family may lack operations, so it requests none."""
    known = {name for v in vectors for name in (v.operation, v.id)}
    return tuple(name for name in names_in(only) if name in known)


def names_in(only: str | None) -> list[str]:
    """The comma-separated names."""
    return ordered(name.strip() for name in (only or "").split(","))


def ordered(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def all_notes(vectors: Iterable[Vector]) -> Notes:
    """The notes of all known mistakes."""
    return {name: note for each in vectors for name, note in each.notes.items()}


# ---------------------------------------------------------------- the algorithm: check


def check(
    impl: str | None = None,
    *,
    command: str | None = None,
    only: str | None = None,
    profile: str | None = None,
    dtype: str = "f64",
    strict: bool = False,
    digits: int | None = None,
    timeout: float = 10.0,
    memory: int | None = None,
    vectors: Path | str | None = None,
) -> Report:
    """Check a Python implementation, a command's program, or the reference itself against the cases.

    impl: "module" or "module:object".
    only: comma-separated families, operations or ids. The report is not ok if an operation or id that is named here
        was not checked.
    profile: comma-separated restrictions; cases that do not satisfy them are left out.
    strict: also fail if another convention is followed, or an invalid input accepted.
    digits: accept a result that agrees to this many digits, and no other outside its tolerance; None for the rule that
        a known mistake is wrong, and that an unexplained error of at most 1e-6, or 1e-3 in float32, is not.
    timeout: seconds per case; the default is our choice.
    memory: MiB of address space for the program; None for no limit.
    vectors: a folder to use instead of the project's own vectors.
    Raises UsageError, a ValueError, if an argument is invalid.
    """
    checked_flag("strict", strict)
    digits = checked_digits(digits)
    settings: dict[str, Any] = {"only": only, "profile": profile, "digits": digits}
    settings |= {"timeout": timeout, "memory": memory, "vectors": vectors}
    known = load_vectors(vectors, dtype)
    cases = with_profile(selected(known, only), profile)
    with peer_of(impl, command, dtype, timeout, memory) as peer:
        outcomes = judged(peer, cases, digits)
        return Report(
            peer.name,
            dtype,
            strict,
            outcomes,
            all_notes(cases),
            parts_by_operation(cases, outcomes),
            requested(known, only),
            origin_of(peer, known, **settings),
        )


def judged(
    peer: Peer, cases: Sequence[Vector], digits: int | None
) -> tuple[Outcome, ...]:
    """The outcomes of all cases, each with what explains it in view of the others."""
    naming = Naming()
    graded = with_rejections([*run_cases(peer, cases, digits, naming)])
    paired = without_accidents(with_pairs(cases, graded, naming))
    return with_names(with_row_hints(cases, paired))


def origin_of(peer: Peer, cases: Iterable[Vector], **settings: Any) -> dict[str, Any]:
    """The origin of a report: the program's own name, the versions, and the settings."""
    editions = ordered(each.version for each in cases if each.version)
    plain = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in settings.items()
    }
    return {
        "own_name": peer.own_name,
        "vime-ref": package_version(),
        "vectors": ", ".join(editions) or None,
        "protocol": peer.protocol,
        "settings": encode(plain),
    }


def parts_by_operation(
    cases: Sequence[Vector], outcomes: Sequence[Outcome]
) -> dict[str, list[str]]:
    """For each operation with wrong cases that nothing explains, the operations that these go through.

    None without the reference.
    """
    unclear = [o for o in outcomes if o.status == "wrong" and not o.candidates]
    if not unclear:
        return {}
    try:
        from vime_check.cases import OPERATIONS
    except ImportError:
        return {}
    from vime_check.operations import parts_to_check

    def inputs_of(chosen: Iterable[Outcome], operation: str) -> list[Inputs]:
        ids = {each.id for each in chosen if each.operation == operation}
        kinds = OPERATIONS[operation].kinds
        given = [each.state | each.inputs for each in cases if each.id in ids]
        return [decode_inputs(each, kinds, "f64") for each in given]

    right = [each for each in outcomes if each.status == "exact"]
    return {
        name: parts_to_check(name, inputs_of(unclear, name), inputs_of(right, name))
        for name in ordered(each.operation for each in unclear)
        if name in OPERATIONS
    }


def checked_digits(digits: int | None) -> int | None:
    """A number of digits, or None. Raises UsageError if it is neither."""
    return None if digits is None else checked_whole("digits", digits, 1, MOST_DIGITS)


def run_cases(
    peer: Peer,
    cases: Iterable[Vector],
    digits: int | None = None,
    naming: Naming | None = None,
    breaks: Breaks | None = None,
) -> Iterator[Outcome]:
    """The outcome of each case; a program that only breaks is not asked again."""
    breaks = breaks or Breaks()
    lines = Lines(peer.ask)
    naming = naming or Naming()
    for vector in cases:
        operation = vector.operation
        outcome = Outcome(vector.id, operation, "errored", valid=not vector.why)

        # Cases that are not tried.
        reason = breaks.reason(operation)
        if reason:
            yield outcome._replace(message=reason)
            continue

        try:
            answer = lines.ask(vector)
            breaks.answered(operation)
            outcome = hinted(
                vector, answer, outcome_of(vector, answer, 0.0, digits, naming)
            )
            lines.judged(vector, outcome.status == "exact")
        except ProtocolError as error:
            breaks.broke(operation, isinstance(error, StartError))
            outcome = outcome._replace(message=str(error))
        yield outcome


@dataclass
class Breaks:
    """Cases without an answer, which limit how long a broken program is asked."""

    started: bool = False
    starts: int = 0  # in a row
    silent: int = 0  # in a row, of all operations
    total: int = 0
    row: Counter[str] = field(default_factory=Counter)  # of each operation in a row
    all: Counter[str] = field(default_factory=Counter)  # of each operation

    def answered(self, operation: str) -> None:
        self.started = True
        self.starts = 0
        self.silent = 0
        self.row[operation] = 0

    def broke(self, operation: str, at_start: bool) -> None:
        self.silent += 1
        self.total += 1
        if at_start:
            self.starts += 1
        else:
            self.row[operation] += 1
            self.all[operation] += 1

    def reason(self, operation: str) -> str:
        """Why the operation is not tried; empty if it is."""
        if self.starts >= (MAX_BREAKS if self.started else 1):
            return f"{NOT_TRIED}the implementation did not start"
        if self.silent >= MAX_SILENT or self.total >= MAX_TOTAL:
            return f"{NOT_TRIED}the program broke on {listed([*self.all])}"
        if self.row[operation] >= MAX_BREAKS:
            return f"not tried after {MAX_BREAKS} errors in a row of {operation}"
        return ""


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

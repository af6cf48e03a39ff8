"""Cross-checks: does another implementation of VIME give the reference's numbers, and if not, which mistake is it?

`check` puts the cases of `vectors/*.json` to an implementation, which `vime_check.programs` keeps at arm's length,
and names a known mistake by the output that it gives.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vime_check.programs import (
    DTYPES,
    Answer,
    Outputs,
    Peer,
    ProtocolError,
    StartError,
    UsageError,
    jsonable,
    outputs,
    peer_of,
    shown,
)

# ---------------------------------------------------------------- constants

VECTORS = Path(__file__).parent / "vectors"
MAX_BREAKS = 3  # in a row, of one operation or of the start
MAX_NAMES = 5  # of those that a message lists
IN_PLACE = "the caller's arrays are changed in place"  # InputMutation, where a file has no note of it
STATUSES = ("passed", "failed", "refused", "lenient", "skipped", "errored")

# ---------------------------------------------------------------- types


class Vector(NamedTuple):
    """A case with what its file says about its operation."""

    case: dict[str, Any]
    family: str
    error: str  # elementwise or arraywise
    tolerance: float
    notes: dict[str, dict[str, str]]  # of the known mistakes
    dtype: str

    @property
    def operation(self) -> str:
        return str(self.case["operation"])


class Outcome(NamedTuple):
    """What became of a case: one of STATUSES, the error where outputs could be compared, and why."""

    id: str
    operation: str
    status: str
    error: float | None = None
    message: str = ""
    mistakes: tuple[
        str, ...
    ] = ()  # the known ones that the output equals, nearest first
    texts: tuple[str, ...] = ()  # what these are, as the message ends with

    def with_mistakes(
        self, vector: Vector, reason: str, mistakes: Iterable[str]
    ) -> Outcome:
        """Failed, for a reason and with these known mistakes."""
        names = tuple(mistakes)
        texts = tuple(mistake_text(vector, name) for name in names)
        return self._replace(
            status="failed",
            message="; ".join([reason, *texts]),
            mistakes=names,
            texts=texts,
        )


# ---------------------------------------------------------------- types: reports


@dataclass(frozen=True)
class Report:
    """All outcomes of a check; as text its table and a line for each kind of failure and error."""

    implementation: str
    dtype: str
    strict: bool
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        """Something was offered and nothing failed or errored; where strict, nothing was lenient either."""
        return not self.bad() and not self.offers_nothing

    @property
    def offers_nothing(self) -> bool:
        return self.not_offered() == self.operations()

    @property
    def never_started(self) -> bool:
        return bool(self.outcomes) and self.outcomes[0].message.startswith(
            "did not start"
        )

    def operations(self) -> list[str]:
        return ordered(outcome.operation for outcome in self.outcomes)

    def not_offered(self) -> list[str]:
        """The operations of which every case was skipped."""
        offered = {
            outcome.operation
            for outcome in self.outcomes
            if outcome.status != "skipped"
        }
        return [name for name in self.operations() if name not in offered]

    def bad(self) -> list[Outcome]:
        wanted = (
            ("failed", "errored", "lenient") if self.strict else ("failed", "errored")
        )
        return [outcome for outcome in self.outcomes if outcome.status in wanted]

    def lines(self) -> list[str]:
        """A line for each mistake in an operation, and for each message of cases that show no known mistake."""
        if self.never_started:
            return [self.outcomes[0].message]
        if self.offers_nothing:
            return [f"offers none of the operations: {listed(self.operations())}"]
        found = Counter(
            (outcome.operation, name)
            for outcome in self.bad()
            for name in outcome.mistakes
        )
        groups: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
        for outcome in self.bad():
            counts = {name: found[outcome.operation, name] for name in outcome.mistakes}
            mistake = max(
                counts, key=counts.__getitem__, default=""
            )  # the one that explains the most cases
            groups[
                outcome.operation, mistake, "" if mistake else outcome.message
            ].append(outcome)
        return [
            group_line(mistake, outcomes)
            for (_, mistake, _), outcomes in groups.items()
        ]

    def table(self) -> str:
        """A line for each operation that is offered, and one for all."""
        missing = self.not_offered()
        operations = [name for name in self.operations() if name not in missing]
        width = max(map(len, ["operation", *operations]))
        head = " ".join(
            [
                f"{'operation':<{width}}",
                *(f"{status:>8}" for status in STATUSES),
                " worst error",
            ]
        )
        rows = [
            table_row(
                name, width, [each for each in self.outcomes if each.operation == name]
            )
            for name in operations
        ]
        return "\n".join([head, *rows, table_row("all", width, self.outcomes)])

    def to_json(self) -> str:
        report = {
            "implementation": self.implementation,
            "dtype": self.dtype,
            "strict": self.strict,
            "ok": self.ok,
            "outcomes": [outcome._asdict() for outcome in self.outcomes],
        }
        return json.dumps(jsonable(report), indent=1, allow_nan=False) + "\n"

    def __str__(self) -> str:
        mode = f"{self.dtype}, strict" if self.strict else self.dtype
        missing = [] if self.offers_nothing else self.not_offered()
        above = [] if self.never_started else [self.table()]
        above += [f"not offered: {listed(missing)}"] if missing else []
        return "\n".join([f"{self.implementation} ({mode})", *above, *self.lines()])

    def __repr__(self) -> str:
        """One line, which is what pytest shows of it."""
        found = Counter(outcome.status for outcome in self.outcomes)
        counts = ", ".join(
            f"{found[status]} {status}" for status in STATUSES if found[status]
        )
        return f"<{self.implementation}: {'; '.join([counts, *self.lines()[:1]])}>"


def table_row(name: str, width: int, outcomes: Sequence[Outcome]) -> str:
    found = Counter(outcome.status for outcome in outcomes)
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    worst = f"{max(errors):.1e}" if errors else "-"
    return " ".join(
        [
            f"{name:<{width}}",
            *(f"{found[status]:>8}" for status in STATUSES),
            f"{worst:>12}",
        ]
    )


def group_line(mistake: str, outcomes: Sequence[Outcome]) -> str:
    """The first case with its message; where more make the same mistake, how many, and the worst error."""
    first, more = outcomes[0], len(outcomes) - 1
    if not more:
        return f"{first.id}: {first.message}"
    head = f"{first.id} and {more} more"
    if not mistake:
        return f"{head}: {first.message}"
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    reason = first.message.removesuffix("".join(f"; {text}" for text in first.texts))
    reason = f"worst error {max(errors):.1e}" if errors else reason
    return f"{head}: {reason}; {first.texts[first.mistakes.index(mistake)]}"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


# ---------------------------------------------------------------- building blocks: judging an answer


def judge(vector: Vector, answer: Answer, floor: float = 0.0) -> Outcome:
    """What an answer says about a case."""
    case = vector.case
    outcome = Outcome(case["id"], vector.operation, "passed")
    if answer.get("mutated"):
        return outcome.with_mistakes(
            vector,
            f"inputs changed by the call: {shown(answer['mutated'])}",
            ["InputMutation"],
        )
    if "skipped" in answer:
        return outcome._replace(status="skipped", message=shown(answer["skipped"]))
    if case["result"] == "invalid" and "refused" in answer:
        return outcome._replace(status="refused", message=shown(answer["refused"]))
    if case["result"] == "invalid" and "error" in answer:
        return outcome._replace(
            status="refused", message=f"refused by an error: {shown(answer['error'])}"
        )
    if "refused" in answer:
        return outcome._replace(
            status="failed",
            message=f"refused a valid input: {shown(answer['refused'])}",
        )
    if "result" not in answer:
        said = answer.get(
            "error", answer.get("unusable", f"no result in {shown(answer)}")
        )
        return outcome._replace(status="errored", message=shown(said))
    if case["result"] == "invalid":
        return outcome._replace(
            status="lenient",
            message=f"accepted an input that should be refused: {case['why']}",
        )
    return judge_result(vector, answer["result"], outcome, floor)


def judge_result(
    vector: Vector, result: Any, outcome: Outcome, floor: float
) -> Outcome:
    """The outcome of a valid case: passed within the tolerance, or failed with the mistakes that it matches."""
    try:
        output = outputs(result)
    except ValueError as error:
        return outcome._replace(status="failed", message=str(error))
    distance, reason = difference(
        output, outputs(vector.case["output"]), vector.error, floor
    )
    outcome = outcome._replace(error=None if reason else distance)
    if distance <= vector.tolerance:
        return outcome
    reason = reason or f"error {distance:.1e}, tolerance {vector.tolerance:.1e}"
    return outcome.with_mistakes(
        vector, reason, matching_mistakes(vector, output, floor)
    )


def difference(
    output: Outputs, expected: Outputs, kind: str, floor: float = 0.0
) -> tuple[float, str]:
    """The error of the worst array, and why it is infinite where arrays can't be compared."""
    if set(output) != set(expected):
        return math.inf, shown(f"{names_of(output)} in place of {names_of(expected)}")
    worst = 0.0
    for name, right in expected.items():
        of_name = f" in {name}" if name else ""
        if (
            output[name].shape != right.shape and output[name].size + right.size > 0
        ):  # JSON has no shape (0, 2)
            return (
                math.inf,
                f"shape {output[name].shape} in place of {right.shape}{of_name}",
            )
        lost = np.argwhere(
            np.isnan(output[name]) != np.isnan(right)
        )  # a known mistake's output may hold NaN
        if lost.size:
            return math.inf, f"NaN at index {tuple(lost[0].tolist())}{of_name}"
        worst = max(worst, array_error(output[name], right, kind, floor))
    return worst, ""


def names_of(output: Outputs) -> str:
    if set(output) == {""}:
        return "one array or number without a name"
    return f"the names {listed(sorted(map(repr, output)))}" if output else "no names"


def array_error(
    output: NDArray[np.float64], right: NDArray[np.float64], kind: str, floor: float
) -> float:
    """max |o − e|/|e|, or max |o − e|/max |e| where arraywise; absolute where that would divide by 0."""
    same = (output == right) | (
        np.isnan(output) & np.isnan(right)
    )  # infinities of one sign as well
    if np.all(same):
        return 0.0
    size = np.maximum(np.abs(right), floor)
    size = np.max(size[np.isfinite(size)], initial=0.0) if kind == "arraywise" else size
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        distance = np.where(same, 0.0, np.abs(output - right))
        relative = distance / np.where((size == 0.0) | np.isinf(size), 1.0, size)
    return float(np.max(np.where(same, 0.0, relative)))


def matching_mistakes(vector: Vector, output: Outputs, floor: float) -> tuple[str, ...]:
    """The known mistakes whose output this is, nearest first; one of rounding noise has a band of errors instead."""
    errors: dict[str, float] = {}
    for name, variants in vector.case.get("wrong", {}).items():
        for wrong in variants if isinstance(variants, list) else [variants]:
            other = wrong.get("output", vector.case.get("output"))
            error, _ = difference(output, outputs(other), vector.error, floor)
            band = wrong.get(
                vector.dtype, {"error_to": wrong.get("tolerance", vector.tolerance)}
            )
            if band.get("error_from", 0.0) <= error <= band["error_to"]:
                errors[name] = min(error, errors.get(name, math.inf))
    return tuple(sorted(errors, key=errors.__getitem__))


def mistake_text(vector: Vector, name: str) -> str:
    note = vector.notes.get(name)
    if note:
        return f"matches {name}: {note['what'].rstrip('.')}; seen in {note['seen_in']}"
    return (
        f"matches {name}: {IN_PLACE}" if name == "InputMutation" else f"matches {name}"
    )


# ---------------------------------------------------------------- building blocks: vectors


def load_vectors(folder: Path | str | None, dtype: str) -> list[Vector]:
    """The cases of all files in the folder that hold for the dtype."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    folder = Path(folder or VECTORS)
    files = [
        path for path in sorted(folder.glob("*.json")) if path.name != "schema.json"
    ]
    if not files:
        raise UsageError(f"no vectors in {folder}")
    return [
        vector
        for path in files
        for vector in vectors_of(json.loads(path.read_text("utf-8")), dtype)
    ]


def vectors_of(content: dict[str, Any], dtype: str) -> Iterator[Vector]:
    for case in content["cases"]:
        if dtype in case["dtypes"]:
            operation = case["operation"]
            tolerance = content["tolerances"][operation][dtype]["tolerance"]
            tolerance = case.get("tolerance", {}).get(dtype, tolerance)
            yield Vector(
                case,
                content["family"],
                content["error"][operation],
                tolerance,
                content["notes"],
                dtype,
            )


def selected(vectors: Sequence[Vector], only: str | None) -> list[Vector]:
    """The vectors whose operation, family or id is among the names, which commas part; all where None."""
    if only is None:
        return list(vectors)
    names = {name.strip() for name in only.split(",")}
    families, operations = (
        ordered(v.family for v in vectors),
        ordered(v.operation for v in vectors),
    )
    unknown = names - {*families, *operations, *(v.case["id"] for v in vectors)}
    if unknown:
        raise UsageError(
            f"--only: unknown {', '.join(sorted(map(repr, unknown)))}; "
            f"families: {', '.join(families)}; operations: {', '.join(operations)}; or the id of a case"
        )
    return [v for v in vectors if names & {v.operation, v.family, v.case["id"]}]


def ordered(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


# ---------------------------------------------------------------- the algorithm: check


def check(
    impl: str | None = None,
    *,
    command: str | None = None,
    only: str | None = None,
    dtype: str = "f64",
    strict: bool = False,
    timeout: float = 10.0,
    vectors: Path | str | None = None,
) -> Report:
    """Put the cases to a Python implementation, to the program of a command, or to the reference itself.

    impl: "module" or "module:object". only: families, operations or ids, parted by commas. timeout: seconds
    for a case. vectors: a folder in place of the project's own. Raises UsageError, a ValueError, where asked
    for what does not exist.
    """
    cases = selected(load_vectors(vectors, dtype), only)
    with peer_of(impl, command, dtype, timeout) as peer:
        return Report(peer.name, dtype, strict, tuple(run_cases(peer, cases)))


def run_cases(peer: Peer, cases: Iterable[Vector]) -> Iterator[Outcome]:
    """The outcome of each case; what broke three times in a row is not tried again."""
    breaks: Counter[str] = Counter()
    started = False
    for vector in cases:
        operation = vector.operation
        outcome = Outcome(vector.case["id"], operation, "errored")
        if breaks["start"] >= (MAX_BREAKS if started else 1):
            yield outcome._replace(
                message="not tried, for the implementation did not start"
            )
        elif breaks[operation] >= MAX_BREAKS:
            yield outcome._replace(
                message=f"not tried after {MAX_BREAKS} errors in a row of {operation}"
            )
        else:
            try:
                outcome = judge(vector, peer.ask(operation, vector.case["inputs"]))
                started, breaks["start"], breaks[operation] = True, 0, 0
            except ProtocolError as error:
                breaks["start" if isinstance(error, StartError) else operation] += 1
                outcome = outcome._replace(message=str(error))
            yield outcome

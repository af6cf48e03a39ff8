"""Cross-checks: does another implementation of VIME return the reference's numbers, and if not, which mistake is it?

`check` runs the cases of `vectors/*.json` on an implementation, which `vime_check.programs` isolates in a process. It
identifies a known mistake by its output.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from vime_check.errors import difference, listed
from vime_check.files import Vector, vectors_of_file
from vime_check.programs import (
    Peer,
    ProtocolError,
    StartError,
    checked_flag,
    checked_text,
    peer_of,
)
from vime_check.serving import Answer
from vime_check.traces import Lines
from vime_check.wire import (
    DTYPES,
    NO_VECTORS,
    VECTORS,
    Arrays,
    UsageError,
    decode_outputs,
    encode,
    shown,
)

# ---------------------------------------------------------------- constants

# Cases without an answer, after which the checker stops asking: of one operation or of the start in a row, of all
# operations in a row, and altogether.
MAX_BREAKS = 3
MAX_SILENT = 9
MAX_TOTAL = 30
NOT_TRIED = "not tried, because "
# InputMutation, if a file has no note for it.
IN_PLACE = "the caller's arrays are changed in place"
STATUSES = ("passed", "failed", "refused", "lenient", "skipped", "errored")

# ---------------------------------------------------------------- types


class Outcome(NamedTuple):
    """The outcome of a case: one of STATUSES, the error if outputs could be compared, and the reason."""

    id: str
    operation: str
    status: str
    error: float | None = None
    message: str = ""
    mistakes: tuple[str, ...] = ()  # mistakes whose output this is, nearest first
    texts: tuple[str, ...] = ()  # their descriptions, at the end of the message

    def with_mistakes(
        self, vector: Vector, reason: str, mistakes: Iterable[str]
    ) -> Outcome:
        """This outcome as failed, with a reason and these known mistakes."""
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
    """All outcomes of a check; as text a table, and a line for each kind of failure and error."""

    implementation: str
    dtype: str
    strict: bool
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        """True if a case ran and none failed or errored; if strict, also none was lenient."""
        return not self.bad() and not self.offers_nothing

    @property
    def offers_nothing(self) -> bool:
        return self.not_offered() == self.operations()

    @property
    def never_started(self) -> bool:
        return any(o.message.startswith("did not start") for o in self.outcomes[:1])

    def operations(self) -> list[str]:
        return ordered(outcome.operation for outcome in self.outcomes)

    def not_offered(self) -> list[str]:
        """The operations whose cases were all skipped."""
        offered = {o.operation for o in self.outcomes if o.status != "skipped"}
        return [name for name in self.operations() if name not in offered]

    def bad(self) -> list[Outcome]:
        wanted = ("failed", "errored", *(["lenient"] if self.strict else []))
        return [outcome for outcome in self.outcomes if outcome.status in wanted]

    def lines(self) -> list[str]:
        """A line for each mistake in an operation, and for each message of cases without a known mistake."""
        if self.never_started:
            return [self.outcomes[0].message]
        if self.offers_nothing:
            return [f"offers none of the operations: {listed(self.operations())}"]

        # How many cases each mistake explains.
        bad = self.bad()
        found = Counter(
            (each.operation, name) for each in bad for name in each.mistakes
        )

        # Each case goes to the mistake that explains the most cases.
        groups: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
        for each in bad:
            counts = {name: found[each.operation, name] for name in each.mistakes}
            mistake = max(counts, key=counts.__getitem__, default="")
            message = "" if mistake else each.message
            # What was not tried is one line for all operations.
            whole = message.startswith(NOT_TRIED)
            groups["" if whole else each.operation, mistake, message].append(each)
        return [group_line(mistake, group) for (_, mistake, _), group in groups.items()]

    def table(self) -> str:
        """The table: a line for each offered operation, and one for all."""
        missing = self.not_offered()
        operations = [name for name in self.operations() if name not in missing]
        width = max(map(len, ["operation", *operations]))
        head = table_line("operation", width, STATUSES, " worst error")
        rows = [
            table_row(name, width, [o for o in self.outcomes if o.operation == name])
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
        return json.dumps(encode(report), indent=1, allow_nan=False) + "\n"

    def __str__(self) -> str:
        mode = f"{self.dtype}, strict" if self.strict else self.dtype
        missing = [] if self.offers_nothing else self.not_offered()
        above = [] if self.never_started else [self.table()]
        above += [f"not offered: {listed(missing)}"] if missing else []
        return "\n".join([f"{self.implementation} ({mode})", *above, *self.lines()])

    def __repr__(self) -> str:
        """One line, which pytest shows."""
        found = Counter(outcome.status for outcome in self.outcomes)
        counts = ", ".join(f"{found[each]} {each}" for each in STATUSES if found[each])
        return f"<{self.implementation}: {'; '.join([counts, *self.lines()[:1]])}>"


def table_row(name: str, width: int, outcomes: Sequence[Outcome]) -> str:
    found = Counter(outcome.status for outcome in outcomes)
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    worst = f"{max(errors):.1e}" if errors else "-"
    counts = [str(found[status]) for status in STATUSES]
    return table_line(name, width, counts, f"{worst:>12}")


def table_line(name: str, width: int, cells: Iterable[str], last: str) -> str:
    return " ".join([f"{name:<{width}}", *(f"{cell:>8}" for cell in cells), last])


def group_line(mistake: str, outcomes: Sequence[Outcome]) -> str:
    """The first case with its message; if more show the same mistake, their number and the worst error."""
    first = outcomes[0]
    more = len(outcomes) - 1
    if not more:
        return f"{first.id}: {first.message}"
    head = f"{first.id} and {more} more"
    if not mistake:
        return f"{head}: {first.message}"

    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    reason = first.message.removesuffix("".join(f"; {text}" for text in first.texts))
    reason = f"worst error {max(errors):.1e}" if errors else reason
    return f"{head}: {reason}; {first.texts[first.mistakes.index(mistake)]}"


# ---------------------------------------------------------------- building blocks: judging an answer


def outcome_of(vector: Vector, answer: Answer, floor: float = 0.0) -> Outcome:
    """The outcome of a case, from the program's answer."""
    outcome = Outcome(vector.id, vector.operation, "passed")
    if answer.get("mutated"):
        reason = f"inputs changed by the call: {shown(answer['mutated'])}"
        return outcome.with_mistakes(vector, reason, ["InputMutation"])
    if "skipped" in answer:
        return outcome._replace(status="skipped", message=shown(answer["skipped"]))
    if vector.why:
        return judge_invalid(vector, answer, outcome)
    if "refused" in answer:
        message = f"rejected a valid input: {shown(answer['refused'])}"
        return outcome._replace(status="failed", message=message)
    if "result" not in answer:
        return outcome._replace(status="errored", message=no_result(answer))
    return judge_result(vector, answer["result"], outcome, floor)


def judge_invalid(vector: Vector, answer: Answer, outcome: Outcome) -> Outcome:
    """The outcome of a case that must be rejected, by any kind of error."""
    if "refused" in answer:
        return outcome._replace(status="refused", message=shown(answer["refused"]))
    if "error" in answer:
        message = f"rejected by an error: {shown(answer['error'])}"
        return outcome._replace(status="refused", message=message)
    if "result" not in answer:
        return outcome._replace(status="errored", message=no_result(answer))
    message = f"accepted an input that should be rejected: {vector.why}"
    return outcome._replace(status="lenient", message=message)


def no_result(answer: Answer) -> str:
    nothing = f"no result in {shown(answer)}"
    return shown(answer.get("error", answer.get("unusable", nothing)))


def judge_result(
    vector: Vector, result: Any, outcome: Outcome, floor: float
) -> Outcome:
    """The outcome of a valid case: passed within the tolerance, or failed with the mistakes that it matches."""
    try:
        output = decode_outputs(result)
    except ValueError as error:
        return outcome._replace(status="failed", message=str(error))

    distance, reason = difference(output, vector.output, vector.error, floor)
    outcome = outcome._replace(error=None if reason else distance)
    if distance <= vector.tolerance:
        return outcome

    reason = reason or f"error {distance:.1e}, tolerance {vector.tolerance:.1e}"
    mistakes = matching_mistakes(vector, output, floor)
    return outcome.with_mistakes(vector, reason, mistakes)


def matching_mistakes(vector: Vector, output: Arrays, floor: float) -> tuple[str, ...]:
    """The known mistakes that this output matches, nearest first."""
    errors: dict[str, float] = {}
    for wrong in vector.wrong:
        error, _ = difference(output, wrong.output, vector.error, floor)
        if wrong.least <= error <= wrong.most:
            errors[wrong.name] = min(error, errors.get(wrong.name, math.inf))
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


def selected(vectors: Sequence[Vector], only: str | None) -> list[Vector]:
    """The vectors whose operation, family or id is among the comma-separated names; all if no names are given."""
    checked_text("only", only)
    if only is None:
        return list(vectors)
    names = {name.strip() for name in only.split(",")}
    families = ordered(v.family for v in vectors)
    operations = ordered(v.operation for v in vectors)
    unknown = names - {*families, *operations, *(v.id for v in vectors)}
    if unknown:
        raise UsageError(
            f"--only: unknown {', '.join(sorted(map(repr, unknown)))}; "
            f"families: {', '.join(families)}; operations: {', '.join(operations)}; or the id of a case"
        )
    return [v for v in vectors if names & {v.operation, v.family, v.id}]


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
    memory: int | None = None,
    vectors: Path | str | None = None,
) -> Report:
    """Check a Python implementation, a command's program, or the reference itself against the cases.

    impl: "module" or "module:object".
    only: comma-separated families, operations or ids.
    timeout: seconds per case.
    memory: MiB of address space for the program; None for no limit.
    vectors: a folder to use instead of the project's own vectors.
    Raises UsageError, a ValueError, if an argument is invalid.
    """
    checked_flag("strict", strict)
    cases = selected(load_vectors(vectors, dtype), only)
    with peer_of(impl, command, dtype, timeout, memory) as peer:
        return Report(peer.name, dtype, strict, tuple(run_cases(peer, cases)))


def run_cases(peer: Peer, cases: Iterable[Vector]) -> Iterator[Outcome]:
    """The outcome of each case; a program that only breaks is not asked again."""
    breaks = Breaks()
    lines = Lines(peer.ask)
    for vector in cases:
        operation = vector.operation
        outcome = Outcome(vector.id, operation, "errored")

        # Cases that are not tried.
        reason = breaks.reason(operation)
        if reason:
            yield outcome._replace(message=reason)
            continue

        try:
            outcome = outcome_of(vector, lines.ask(vector))
            lines.judged(vector, outcome.status in ("passed", "exact"))
            breaks.answered(operation)
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

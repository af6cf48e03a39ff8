"""The report of a check: outcomes of cases, the causes that they share, and their text."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from vime_check.errors import Element, listed, num_digits, place_text
from vime_check.hints import AGREED_DIGITS, Hint
from vime_check.naming import Explanation
from vime_check.wire import encode, shown

# ---------------------------------------------------------------- constants

NO_VALID = "no valid case selected"
NOT_TRIED = "not tried, because "
REPR = 232  # letters of an object without its brackets; pytest shows 240 whole
OTHER_ERROR = "another error than ValueError: "
ACCEPTED = "accepted an input that should be rejected: "
MOST_HINTS = 3  # lines with hints for one operation
# Grades of valid cases, of invalid cases, and of both.
NUMERIC = ("exact", "digits", "convention", "wrong")
GRADES = (*NUMERIC, "errored")
REJECTIONS = ("rejected", "lenient", "errored")
STATUSES = (*GRADES, "rejected", "lenient", "skipped")
OPTIONAL = ("convention",)  # columns of the table that are left out if they are empty
# Distances below this are rounding; two explanations within this factor are equally near.
SAME_NUMBER = 1e-13
AS_NEAR = 10.0

# InputMutation, if a file has no note for it.
IN_PLACE = "the caller's arrays are changed in place"

# ---------------------------------------------------------------- types

Notes = dict[str, dict[str, str]]  # of the known mistakes, by name


class Outcome(NamedTuple):
    """The outcome of a case: one of STATUSES, and what is known about the reason."""

    id: str
    operation: str
    status: str
    valid: bool = True  # whether the inputs are valid
    error: float | None = None  # if outputs could be compared
    message: str = ""
    place: Element | None = None  # the worst element
    candidates: tuple[Explanation, ...] = ()  # explanations of this case alone
    mistakes: tuple[str, ...] = ()  # the explanation that fits the operation best
    hints: tuple[Hint, ...] = ()

    @property
    def digits(self) -> int | None:
        """The number of digits that agree, if not all do."""
        return num_digits(self.error) if self.error and self.valid else None

    def to_json(self) -> dict[str, Any]:
        about = {
            "id": self.id,
            "operation": self.operation,
            "inputs": "valid" if self.valid else "invalid",
            "status": self.status,
            "error": self.error,
            "digits": self.digits,
            "message": self.message,
            "mistakes": self.mistakes,
            "hints": [each.text for each in self.hints],
        }
        return {**about, "place": asdict(self.place) if self.place else None}


class Cause(NamedTuple):
    """Cases of an operation that failed for one reason: equally good explanations, or a hint, or neither."""

    outcomes: tuple[Outcome, ...]
    explanations: tuple[tuple[str, ...], ...] = ()
    hint: str = ""
    places: tuple[tuple[str, str], ...] = ()  # mistakes, and where they were made
    unclear: bool = False  # no explanation, and no hint or a vague one


# ---------------------------------------------------------------- causes


def with_names(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """The outcomes, each with the mistakes that explain the most cases of its operation."""
    chosen = {
        outcome.id: cause.explanations[0]
        for group in groups(outcomes).values()
        for cause in explained(group)
        for outcome in cause.outcomes
    }
    return tuple(
        each._replace(mistakes=chosen.get(each.id, each.mistakes)) for each in outcomes
    )


def groups(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """The outcomes by operation and status."""
    found: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for each in outcomes:
        found[each.operation, each.status].append(each)
    return found


def explained(outcomes: Sequence[Outcome]) -> Iterator[Cause]:
    """The explained cases of one operation and status, by the explanation that explains the most of the rest.

    Of those, the explanation with the fewest mistakes, then the nearest one.
    """
    left = list(outcomes)
    while any(each.candidates for each in left):
        # For each set of mistakes, the cases that it explains and the largest distance.
        cases: dict[frozenset[str], list[str]] = defaultdict(list)
        errors: dict[frozenset[str], float] = defaultdict(lambda: SAME_NUMBER)
        names: dict[frozenset[str], tuple[str, ...]] = {}
        for outcome in left:
            for candidate in outcome.candidates:
                mistakes = frozenset(candidate.mistakes)
                if outcome.id not in cases[mistakes]:
                    cases[mistakes].append(outcome.id)
                errors[mistakes] = max(errors[mistakes], candidate.error)
                names.setdefault(mistakes, candidate.mistakes)

        # The best, and those that are as good.
        ranked = sorted(cases, key=lambda m: (-len(cases[m]), len(m), errors[m]))
        best = ranked[0]
        alike = [
            m
            for m in ranked
            if (cases[m], len(m)) == (cases[best], len(best))
            and errors[m] <= AS_NEAR * errors[best]
        ]
        group = tuple(each for each in left if each.id in cases[best])
        stated = tuple(names[mistakes] for mistakes in alike)
        yield Cause(group, stated, places=common_places(group, alike))
        left = [each for each in left if each not in group]


def common_places(
    group: Iterable[Outcome], alike: Sequence[frozenset[str]]
) -> tuple[tuple[str, str], ...]:
    """The places that all cases of a cause have in common, of any of its explanations."""
    found: dict[frozenset[str], frozenset[tuple[str, str]]] = {}
    for outcome in group:
        for each in outcome.candidates:
            mistakes = frozenset(each.mistakes)
            if mistakes in alike:
                found[mistakes] = found.get(mistakes, each.places) & each.places
    return tuple(sorted({place for places in found.values() for place in places}))


def unexplained(outcomes: Sequence[Outcome]) -> Iterator[Cause]:
    """The cases without an explanation, by the hint that holds in the most of the rest; the last without a hint."""
    left = [each for each in outcomes if not each.candidates]
    for _ in range(MOST_HINTS):
        key = best_hint(left)
        if not key:
            break
        group = tuple(each for each in left if key in {h.key for h in each.hints})
        hints = [h for each in group for h in each.hints if h.key == key]
        yield Cause(group, hint=merged_hints(hints), unclear=hints[0].vague)
        left = [each for each in left if each not in group]
    if left:
        yield Cause(tuple(left), unclear=True)


def best_hint(outcomes: Sequence[Outcome]) -> str:
    """The hint that holds in the most cases, then the most specific; empty if none says anything.

    A vague hint comes after all others. A weak one must hold in half of the cases, and in two.
    """
    counts = Counter(key for each in outcomes for key in {h.key for h in each.hints})
    told = {
        hint.key: (hint.vague, -counts[hint.key])
        for outcome in outcomes
        for hint in outcome.hints
        if not hint.weak
        or (counts[hint.key] > 1 and 2 * counts[hint.key] >= len(outcomes))
    }
    return min(told, key=lambda key: told[key], default="")


def merged_hints(alike: Iterable[Hint]) -> str:
    """The text of hints that differ in their numbers of digits alone."""
    hints = sorted(alike, key=lambda hint: hint.digits or 0)
    least, most = hints[0].digits, hints[-1].digits
    if least == most:
        return hints[0].text
    return AGREED_DIGITS.sub(f"{least} to {most} digits", hints[0].text)


# ---------------------------------------------------------------- the report


@dataclass(frozen=True)
class Report:
    """All outcomes of a check; as text a table, and a line for each cause."""

    implementation: str
    dtype: str
    strict: bool
    outcomes: tuple[Outcome, ...]
    notes: Notes = field(default_factory=dict)  # of the mistakes
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of operations
    requested: tuple[str, ...] = ()  # operations and ids that were named themselves
    origin: Mapping[str, Any] = field(default_factory=dict)  # versions and settings

    @property
    def ok(self) -> bool:
        """True if a case ran, all that was named itself did, and none was wrong or errored.

        If strict, also no convention or lenient.
        """
        ran = any(o.status != "skipped" for o in self.outcomes)
        return ran and not self.bad() and not self.not_checked()

    @property
    def offers_nothing(self) -> bool:
        return self.not_offered() == self.operations()

    @property
    def never_started(self) -> bool:
        return any(o.message.startswith("did not start") for o in self.outcomes[:1])

    def operations(self) -> list[str]:
        return list(dict.fromkeys(outcome.operation for outcome in self.outcomes))

    def not_offered(self) -> list[str]:
        """The operations whose cases were all skipped by the implementation."""
        offered = {
            o.operation
            for o in self.outcomes
            if o.status != "skipped" or o.message == NO_VALID
        }
        return [name for name in self.operations() if name not in offered]

    def not_checked(self) -> list[str]:
        """Names in --only that had no effect: no numeric case of the operation was answered, or not this case."""
        ran = [o for o in self.outcomes if o.status != "skipped"]
        checked = {o.operation for o in ran if o.valid} | {o.id for o in ran}
        return [name for name in self.requested if name not in checked]

    def unknown(self) -> Iterator[str]:
        """A line for the operations of which only bad inputs were selected, if any of these was rejected."""
        found = [o.operation for o in self.outcomes if o.message == NO_VALID]
        if found:
            yield f"{NO_VALID}, so rejections of these do not count: {listed([*dict.fromkeys(found)])}"

    def bad(self) -> list[Outcome]:
        """The outcomes that make the check fail."""
        wanted = (
            "wrong",
            "errored",
            *(["convention", "lenient"] if self.strict else []),
        )
        found = [outcome for outcome in self.outcomes if outcome.status in wanted]
        if self.strict:
            return found
        return [o for o in found if not o.message.startswith(OTHER_ERROR)]

    def inexact(self) -> list[Outcome]:
        """The outcomes of valid cases whose result is not within the tolerance, or that have none."""
        wanted = ("digits", "convention", "wrong", "errored")
        return [o for o in self.outcomes if o.valid and o.status in wanted]

    def lines(self) -> list[str]:
        """A line for each cause of bad outcomes, then of fewer digits and of other conventions."""
        if self.never_started:
            return [self.outcomes[0].message]
        if self.offers_nothing:
            return [f"offers none of the operations: {listed(self.operations())}"]
        found = groups(self.outcomes)
        first = [*self.lines_of(found, "wrong"), *self.errors()]
        last = [*self.lines_of(found, "digits"), *self.lines_of(found, "convention")]
        return [
            *first,
            *missing_lines(self.not_checked()),
            *(self.accepted() if self.strict else []),
            *last,
            *self.next_steps(),
            *self.unknown(),
        ]

    def lines_of(
        self, found: dict[tuple[str, str], list[Outcome]], wanted: str
    ) -> Iterator[str]:
        """A line for each cause of this status."""
        for (_, status), outcomes in found.items():
            if status == wanted:
                for cause in (*explained(outcomes), *unexplained(outcomes)):
                    yield cause_line(cause, len(outcomes), self.notes)

    def next_steps(self) -> Iterator[str]:
        """A line for each operation with a result that nothing explains: what to check next."""
        found: dict[str, set[str]] = defaultdict(set)
        for each in self.outcomes:
            found[each.operation].add(each.status)
        for (name, status), outcomes in groups(self.outcomes).items():
            if status != "wrong" or not any(c.unclear for c in unexplained(outcomes)):
                continue
            parts = self.parts.get(name, ())
            wrong = [each for each in parts if found[each] & {"wrong", "errored"}]
            unknown = [each for each in parts if not found[each] & {*NUMERIC}]
            if wrong:
                yield f"{name}: begin with its parts that are wrong: {', '.join(wrong)}"
            elif unknown:
                yield f"{name}: check its parts: --only {','.join(unknown)}"
            elif parts:
                yield f"{name}: its parts are right: {', '.join(parts)}"

    def skips(self) -> Iterator[str]:
        """A line for each reason for which cases of offered operations were skipped."""
        missing = self.not_offered()
        same: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
        for each in self.outcomes:
            told = each.message and each.message != NO_VALID
            if each.status == "skipped" and told and each.operation not in missing:
                same[each.operation, each.message].append(each)
        for outcomes in same.values():
            yield f"{heading(outcomes)}: skipped: {outcomes[0].message}"

    def errors(self) -> Iterator[str]:
        """A line for each message of errored cases; one exception on valid and on bad input is one message."""
        same: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
        for each in self.outcomes:
            if each.status == "errored":
                # What was not tried is one line for all operations.
                whole = each.message.startswith(NOT_TRIED)
                message = each.message.removeprefix(OTHER_ERROR)
                same["" if whole else each.operation, message].append(each)
        for outcomes in same.values():
            yield f"{heading(outcomes)}: {outcomes[0].message}"

    def accepted(self) -> Iterator[str]:
        """A line for each operation that accepted bad inputs, with the rules that these break."""
        for (operation, status), outcomes in groups(self.outcomes).items():
            if status == "lenient" and len(outcomes) == 1:
                yield f"{outcomes[0].id}: {outcomes[0].message}"
            elif status == "lenient":
                rules = dict.fromkeys(
                    o.message.removeprefix(ACCEPTED) for o in outcomes
                )
                count = f"{operation} accepted {len(outcomes)} bad inputs"
                yield f"{count}: {listed([*rules], '; ')}"

    def table(self) -> str:
        """The table: a line for each offered operation, and one for all."""
        missing = self.not_offered()
        rows = {
            name: [o for o in self.outcomes if o.operation == name]
            for name in self.operations()
            if name not in missing
        }
        width = max(map(len, ["operation", *rows]))
        columns = columns_of(self.outcomes)
        head = table_line("operation", width, columns, "worst error")
        lines = [table_row(name, width, columns, each) for name, each in rows.items()]
        return "\n".join(
            [head, *lines, table_row("all", width, columns, self.outcomes)]
        )

    def to_json(self, command: str | None = None) -> str:
        """The report and its origin, with the command line if there was one."""
        valid = Counter(each.status for each in self.outcomes if each.valid)
        invalid = Counter(each.status for each in self.outcomes if not each.valid)
        report = {
            "command": command,
            "implementation": self.implementation,
            **self.origin,
            "dtype": self.dtype,
            "strict": self.strict,
            "ok": self.ok,
            "not_checked": self.not_checked(),
            "valid": {each: valid[each] for each in (*GRADES, "skipped")},
            "invalid": {each: invalid[each] for each in (*REJECTIONS, "skipped")},
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
        }
        return json.dumps(encode(report), indent=1, allow_nan=False) + "\n"

    def __str__(self) -> str:
        mode = f"{self.dtype}, strict" if self.strict else self.dtype
        missing = [] if self.offers_nothing else self.not_offered()
        above = [] if self.never_started else [self.table()]
        above += [f"not offered: {listed(missing)}"] if missing else []
        above += self.skips()
        return "\n".join([f"{self.implementation} ({mode})", *above, *self.lines()])

    def __repr__(self) -> str:
        """One line, which pytest shows whole if it is short."""
        found = Counter(outcome.status for outcome in self.outcomes)
        counts = ", ".join(f"{found[each]} {each}" for each in STATUSES if found[each])
        line = "; ".join([counts, *self.lines()[:1]])
        return (
            f"<{self.implementation}: {shown(line, REPR - len(self.implementation))}>"
        )


# ---------------------------------------------------------------- building blocks: the table

Column = tuple[str, bool | None]  # a status, of valid or of invalid cases or of both


def columns_of(outcomes: Iterable[Outcome]) -> list[list[Column]]:
    """The groups of columns; some only if there is such an outcome."""
    found = {(each.status, each.valid) for each in outcomes}
    numeric = [s for s in GRADES if s not in OPTIONAL or (s, True) in found]
    other = ["errored"] if ("errored", False) in found else []
    return [
        [(status, True) for status in numeric],
        [(status, False) for status in ("rejected", "lenient", *other)],
        [("skipped", None)],
    ]


def table_row(
    name: str, width: int, columns: list[list[Column]], outcomes: Sequence[Outcome]
) -> str:
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    worst = f"{max(errors):.1e}" if errors else "-"
    found: Counter[Column] = Counter((each.status, each.valid) for each in outcomes)
    for each in outcomes:
        found[each.status, None] += 1
    return table_line(name, width, columns, worst, found)


def table_line(
    name: str,
    width: int,
    columns: list[list[Column]],
    last: str,
    counts: Counter[Column] | None = None,
) -> str:
    """A line of the table: counts of the columns, or their heads."""
    parts = [
        "  ".join(
            f"{column[0] if counts is None else counts[column]:>{len(column[0])}}"
            for column in group
        )
        for group in columns
    ]
    return " | ".join([f"{name:<{width}}", *parts, f"{last:>11}"])


# ---------------------------------------------------------------- building blocks: lines


def missing_lines(names: Sequence[str]) -> Iterator[str]:
    """The line for names of `only` that were not checked, with all of them."""
    if names:
        yield f"named in --only, but not checked: {', '.join(names)}"


def heading(outcomes: Sequence[Outcome]) -> str:
    """The first case, and how many more there are."""
    more = len(outcomes) - 1
    return outcomes[0].id + (f" and {more} more" if more else "")


def cause_line(cause: Cause, failed: int, notes: Notes) -> str:
    """The first case, and its text; of cases with fewer digits the one with the fewest."""
    first = cause.outcomes[0]
    if first.status == "digits":
        first = max(cause.outcomes, key=lambda each: each.error or 0.0)
    rest = [each for each in cause.outcomes if each is not first]
    return f"{heading([first, *rest])}: {cause_text(first, cause, failed, notes)}"


def cause_text(first: Outcome, cause: Cause, failed: int, notes: Notes) -> str:
    """A case's message, digits and worst element, and the cause."""
    texts = [first.message]
    if first.status == "digits":
        texts.append(f"agrees to {first.digits} digits")
    if first.place:
        texts.append(place_text(first.place))
    if cause.explanations:
        texts.append(explanation_text(cause, failed, notes))
    elif cause.hint:
        texts.append(cause.hint)
    return "; ".join(filter(None, texts))


def outcome_text(outcome: Outcome, notes: Notes) -> str:
    """The text of a case alone."""
    causes = [*explained([outcome]), *unexplained([outcome])]
    return cause_text(outcome, causes[0], 1, notes)


def explanation_text(cause: Cause, failed: int, notes: Notes) -> str:
    """The mistakes: outright if they explain more than half of the failed cases, else with their share."""
    names = " or ".join(" with ".join(each) for each in cause.explanations)
    count = len(cause.outcomes)
    status = cause.outcomes[0].status
    what = {"digits": "inexact cases", "convention": "cases"}.get(
        status, "failed cases"
    )
    claim = f"{names} fits {count} of {failed} {what}"
    if 2 * count > failed:
        convention = status == "convention"
        claim = f"another convention, {names}" if convention else f"is {names}"
    mistakes = dict.fromkeys(name for each in cause.explanations for name in each)
    alone = len(mistakes) == 1
    texts = [note_text(name, notes, alone, cause.places) for name in mistakes]
    return ": ".join(filter(None, [claim, "; ".join(filter(None, texts))]))


def note_text(
    name: str, notes: Notes, alone: bool, places: Sequence[tuple[str, str]] = ()
) -> str:
    """A mistake's description and its place; if that is unknown, and it stands alone, also where it was seen."""
    note = notes.get(name)
    if note is None:
        return IN_PLACE if name == "InputMutation" else ""
    what = note["what"].rstrip(".")
    made = [at for flag, at in places if flag == name]
    if made:
        return f"{what}: {' or '.join(made)}"
    return f"{what}; seen in {note['seen_in']}" if alone else what


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

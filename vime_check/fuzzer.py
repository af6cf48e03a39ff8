"""Fuzzing: random valid inputs for an implementation of VIME, and the smallest inputs on which it disagrees.

`fuzz` draws inputs for each operation with Hypothesis, compares the results with the reference, and shrinks a
disagreement to a case that can be copied into a vector file.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vime_check.cases import OPERATIONS
from vime_check.errors import by_name, difference, listed
from vime_check.files import Vector, Wrong
from vime_check.judge import (
    MAX_BREAKS,
    hinted,
    load_vectors,
    ordered,
    origin_of,
    outcome_of,
    requested,
    selected,
    with_row_hints,
)
from vime_check.mistakes import MOST_NOISE, NOISE, noise_band
from vime_check.naming import Naming
from vime_check.operations import (
    MARGIN,
    NEAR_IDENTITY,
    NEAREST,
    Draw,
    Function,
    Operation,
    rounded,
)
from vime_check.programs import Peer, ProtocolError, checked_whole, peer_of
from vime_check.report import NOT_TRIED, Outcome, missing_lines, outcome_text
from vime_check.serving import Answer
from vime_check.wire import Arrays, Inputs, UsageError, decode_inputs, encode, shown

# ---------------------------------------------------------------- constants

# Multiple of the cases' tolerance: random inputs are worse conditioned than chosen ones.
FACTOR = 100.0
DISAGREE = ("wrong", "errored")

# ---------------------------------------------------------------- types


class Drawn(NamedTuple):
    """Drawn inputs with the reference's output: as a case, whose inputs are as they are sent, and decoded."""

    vector: Vector
    given: Inputs  # as functions take them, in float64


class Finding(NamedTuple):
    """The result of `fuzz` on an operation, with a case: of what is wrong or errored the smallest.

    The status is a grade of `check`: exact, digits, convention, wrong, errored or skipped.
    """

    operation: str
    status: str
    message: str
    case: dict[str, Any] | None


@dataclass(frozen=True)
class FuzzReport:
    """The findings of all operations; as text a line for each, with the smallest case of a disagreement."""

    implementation: str
    findings: tuple[Finding, ...]
    requested: tuple[str, ...] = ()  # operations that were named themselves
    origin: Mapping[str, Any] = field(default_factory=dict)  # versions and settings

    @property
    def ok(self) -> bool:
        """True if an operation was compared, all that were named themselves were, and none disagrees."""
        statuses = {finding.status for finding in self.findings}
        ran = bool(statuses - {"skipped"})
        return ran and not statuses & set(DISAGREE) and not self.not_checked()

    def not_checked(self) -> list[str]:
        """The operations that were named themselves, and skipped."""
        found = {each.operation: each.status for each in self.findings}
        return [name for name in self.requested if found[name] == "skipped"]

    def to_json(self, command: str | None = None) -> str:
        """The report and its origin, with the command line if there was one."""
        report = {
            "command": command,
            "implementation": self.implementation,
            **self.origin,
            "ok": self.ok,
            "not_checked": self.not_checked(),
            "findings": [finding._asdict() for finding in self.findings],
        }
        return json.dumps(report, indent=1) + "\n"

    def __str__(self) -> str:
        lines = [self.implementation]
        skipped = [each.operation for each in self.findings if each.status == "skipped"]
        if len(skipped) > 1:
            lines.append(f"skipped: {listed(skipped)}")
        left = [each for each in self.findings if each.message.startswith(NOT_TRIED)]
        for finding in self.findings:
            if finding in left or (finding.status == "skipped" and len(skipped) > 1):
                continue
            lines.append(f"{finding.operation}: {finding.status}, {finding.message}")
            if finding.case:
                lines.append(json.dumps(finding.case, ensure_ascii=False))
        if left:
            names = listed([each.operation for each in left])
            lines.append(f"{names}: errored, {left[0].message}")
        lines += missing_lines(self.not_checked())
        return "\n".join(lines)


# ---------------------------------------------------------------- vectors of drawn inputs


def drawn_vector(sample: Vector, inputs: Inputs) -> Drawn | None:
    """A vector with these inputs, or None if the reference rejects them or rounding decides its result."""
    operation = OPERATIONS[sample.operation]
    given = decode_inputs(inputs, operation.kinds, "f64")
    undecided = operation.undecided(given)
    right = None if undecided else reference_output(operation, given)
    if right is None:
        return None

    # Near identity, the specification's tolerance applies.
    near = sample.dtype == "f64" and any(flag in NOISE for flag in operation.mistakes)
    least = NEAR_IDENTITY if near else 0.0
    vector = sample._replace(
        id=f"{sample.operation}/drawn",
        inputs=inputs,
        why="",
        output=right,
        wrong=(),
        tolerance=max(FACTOR * sample.tolerance, least),
    )
    return Drawn(vector, given)


def reference_output(operation: Operation, given: Inputs) -> Arrays | None:
    """The reference's results, or None if it rejects the inputs or overflows."""
    strict = {"over": "raise", "invalid": "raise", "divide": "raise"}
    return output_of(operation.function, given, strict)


def output_of(
    function: Function, given: Inputs, errors: Mapping[str, Any]
) -> Arrays | None:
    """The function's results, or None if they are not numbers; with these settings of `np.errstate`."""
    try:
        with np.errstate(**errors):
            return by_name(function(**given))
    except Exception:  # a mistake may break in any way
        return None


def with_mistakes(drawn: Drawn) -> Vector:
    """The vector with the known mistakes whose outputs are far from the correct one, so that no other is named."""
    vector = drawn.vector
    mistakes = OPERATIONS[vector.operation].mistakes
    found = [
        wrong
        for flag, functions in mistakes.items()
        for function in functions
        for wrong in wrong_of_drawn(drawn, flag, function)
    ]
    return vector._replace(wrong=tuple(found))


def wrong_of_drawn(drawn: Drawn, flag: str, function: Function) -> Iterator[Wrong]:
    """The mistake's output if it can be distinguished, or its band of errors if it is rounding noise."""
    vector, given = drawn
    if flag in NOISE and vector.dtype != "f64":  # the noise is that of the precision
        kinds = OPERATIONS[vector.operation].kinds
        given = decode_inputs(vector.inputs, kinds, vector.dtype)
    output = output_of(function, given, {"all": "ignore"})
    off = 0.0 if output is None else distance(output, vector)
    if output is None or off <= MARGIN * vector.tolerance:
        return
    if flag not in NOISE:
        yield Wrong(flag, output)
    elif off <= MOST_NOISE:
        least, most = noise_band(off, vector.tolerance)
        yield Wrong(flag, vector.output, least, most)


def distance(output: Arrays, vector: Vector) -> float:
    return difference(output, vector.output, vector.error, floor_of(vector))[0]


def floor_of(vector: Vector) -> float:
    return OPERATIONS[vector.operation].floor


def case_of(vector: Vector, comment: str, flags: tuple[str, ...] = ()) -> Any:
    """A vector of drawn inputs in the format of a file."""
    wrong: dict[str, list[Any]] = {}
    for each in vector.wrong:
        entry = encode(wrong_entry_of(each, vector.dtype))
        if entry not in wrong.setdefault(each.name, []):
            wrong[each.name].append(entry)
    return encode(
        {
            "id": vector.id,
            "operation": vector.operation,
            "comment": comment,
            "flags": flags,
            "dtypes": [vector.dtype],
            "inputs": vector.inputs,
            "tolerance": {vector.dtype: vector.tolerance},
            "result": "valid",
            "output": unnamed(vector.output),
            "wrong": {
                name: several if len(several) > 1 else several[0]
                for name, several in wrong.items()
            },
        }
    )


def wrong_entry_of(wrong: Wrong, dtype: str) -> dict[str, Any]:
    if wrong.least > 0.0:
        return {dtype: {"error_from": wrong.least, "error_to": wrong.most}}
    return {"output": unnamed(wrong.output)}


def unnamed(output: Arrays) -> Any:
    return output[""] if set(output) == {""} else output


# ---------------------------------------------------------------- searching


class StopSearch(BaseException):
    """Ends a search at once; not an Exception, because Hypothesis searches for those."""

    def __init__(self, message: str, vector: Vector) -> None:
        super().__init__(message)
        self.vector = vector


@dataclass
class Trial:
    """Trials of an operation: the last disagreement, the number of comparisons, or the reason for none."""

    peer: Peer
    sample: Vector  # defines how errors are measured
    compared: int = 0
    answers: int = 0
    skipped: str = "no inputs that the reference accepts"
    seen: tuple[Vector, Answer, Outcome] | None = None
    mild: tuple[Vector, Answer, Outcome] | None = (
        None  # only fewer digits, or another convention
    )

    def disagrees(self, inputs: Inputs) -> bool:
        """Whether the answer is wrong; ends the search if there is no answer."""
        drawn = drawn_vector(self.sample, inputs)
        if drawn is None:
            return False
        vector = drawn.vector

        # The answer, unless there is none.
        try:
            answer = self.peer.ask(vector.operation, inputs)
        except ProtocolError as error:
            raise StopSearch(str(error), vector) from error
        self.answers += 1
        if "skipped" in answer:
            self.skipped = shown(str(answer["skipped"]))
            return False

        # The comparison; known mistakes decide the grade of what is not exact.
        self.compared += 1
        stored = Naming(most=0)
        outcome = outcome_of(vector, answer, floor_of(vector), naming=stored)
        if outcome.status == "exact":
            return False
        if outcome.status != "errored":
            vector = with_mistakes(drawn)
        outcome = outcome_of(vector, answer, floor_of(vector), naming=stored)
        if outcome.status in DISAGREE:
            self.seen = vector, answer, outcome
            return True
        if self.mild is None or size_of(outcome) > size_of(self.mild[2]):
            self.mild = vector, answer, outcome
        return False

    def finding(self, how: str) -> Finding:
        """The finding: a disagreement, the largest mild one, or none."""
        operation = self.sample.operation
        shown_case = self.seen or self.mild
        if shown_case is None and self.compared == 0:
            return Finding(operation, "skipped", self.skipped, None)
        if shown_case is None:
            message = f"no disagreement in {self.compared} examples"
            return Finding(operation, "exact", message, None)

        # The case with the mistakes or the hint that explain it.
        vector, answer, outcome = shown_case
        named = outcome_of(vector, answer, floor_of(vector))  # by pairs, too
        outcome = hinted(vector, answer, named if named.candidates else outcome)
        (outcome,) = with_row_hints([vector], [outcome])
        text = outcome_text(outcome, vector.notes)
        names = dict.fromkeys(n for each in outcome.candidates for n in each.mistakes)
        case = case_of(vector, f"Found by fuzz: {text}.", tuple(names))
        how = how if self.seen else f"the worst of {self.compared} examples"
        return Finding(operation, outcome.status, f"{how}: {text}", case)


def size_of(outcome: Outcome) -> float:
    return outcome.error or 0.0


def fuzz(
    impl: str | None = None,
    *,
    command: str | None = None,
    only: str | None = None,
    examples: int = 100,
    seed: int = 0,
    dtype: str = "f64",
    timeout: float = 10.0,
    memory: int | None = None,
    vectors: Path | str | None = None,
) -> FuzzReport:
    """Draw inputs for each operation, compare with the reference, and shrink the first disagreement.

    A disagreement is an error above FACTOR times the tolerance of the cases.
    examples: the number of inputs for each operation.
    seed: the seed of the inputs.
    The other arguments are those of `check`, except that `only` holds families and operations.
    Raises UsageError if an argument is invalid, and ImportError if Hypothesis is missing.
    """
    examples = checked_whole("examples", examples, 1)
    seed = checked_whole("seed", seed, 0)
    known = load_vectors(vectors, dtype)
    chosen = selected(known, only)
    traces = dict.fromkeys(each.operation for each in chosen if each.line)
    if traces and only is not None:
        raise UsageError(f"traces are not fuzzed: {listed([*traces])}")
    samples = {each.operation: each for each in chosen if not each.line}
    unknown = [name for name in samples if name not in OPERATIONS]
    if unknown:
        raise UsageError(f"vectors: unknown operations: {shown(listed(unknown))}")

    with peer_of(impl, command, dtype, timeout, memory) as peer:
        found = tuple(findings(peer, samples.values(), examples, seed))
        names = {*requested(known, only)}
        named = ordered(v.operation for v in chosen if names & {v.operation, v.id})
        made = origin_of(
            peer,
            known,
            only=only,
            dtype=dtype,
            examples=examples,
            seed=seed,
            timeout=timeout,
            memory=memory,
            vectors=vectors,
        )
        return FuzzReport(peer.name, found, tuple(named), made)


def findings(
    peer: Peer, samples: Iterable[Vector], examples: int, seed: int
) -> Iterator[Finding]:
    """The finding for each operation; after some without any answer, a program is not asked again."""
    broken: list[str] = []  # operations in a row
    for sample in samples:
        operation = sample.operation
        if len(broken) == MAX_BREAKS:
            message = f"{NOT_TRIED}the program broke on {listed(broken)}"
            yield Finding(operation, "errored", message, None)
            continue

        trial = Trial(peer, sample)
        finding = search(trial, examples, seed)
        silent = finding.status == "errored" and not trial.answers
        broken = [*broken, operation] if silent else []
        yield finding


def search(trial: Trial, examples: int, seed: int) -> Finding:
    """The finding for an operation, with the smallest disagreement."""
    from hypothesis import find, settings, strategies
    from hypothesis.errors import Flaky, NoSuchExample

    operation = trial.sample.operation
    dtype = trial.sample.dtype

    @strategies.composite
    def inputs_of(draw: Callable[[strategies.SearchStrategy[int]], int]) -> Inputs:
        def integer(low: int, high: int) -> int:
            return draw(strategies.integers(low, high))

        return drawn_inputs(OPERATIONS[operation], Draw(integer, NEAREST[dtype]), dtype)

    # Find a disagreement, and shrink it.
    limits = settings(max_examples=examples, database=None, deadline=None)
    how = "smallest disagreement"
    try:
        find(inputs_of(), trial.disagrees, settings=limits, random=random.Random(seed))
    except NoSuchExample:
        pass  # the trial records whether any were compared
    except StopSearch as stop:
        if trial.seen is None:
            case = case_of(stop.vector, "Drawn by fuzz.")
            return Finding(operation, "errored", str(stop), case)
        how = f"disagreement, before the search ended ({stop})"
    except Flaky:
        how = "answers to the same inputs differ"
    return trial.finding(how)


def drawn_inputs(operation: Operation, draw: Draw, dtype: str = "f64") -> Inputs:
    """Valid inputs of an operation in JSON types, with the digits that the dtype holds."""
    drawn = operation.draw(draw)
    return {name: rounded(value, [dtype]) for name, value in drawn.items()}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""One test per case for a test runner such as pytest.

    import pytest
    from vime_check import case_ids, check_case

    @pytest.mark.parametrize("case", case_ids("kl,gain"))
    def test_my_vime(case):
        check_case("my_vime", case)

All tests share one process of the implementation, so that a test that passes takes about a millisecond.
"""

from __future__ import annotations

import atexit
import contextlib
import unittest
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from vime_check.files import Vector
from vime_check.judge import (
    Breaks,
    all_notes,
    checked_digits,
    load_vectors,
    names_like,
    run_cases,
    selected,
    with_profile,
    with_rejections,
    with_row_hints,
)
from vime_check.naming import Naming
from vime_check.programs import Peer, checked_flag, checked_text, peer_of
from vime_check.report import NUMERIC, Outcome, Report
from vime_check.wire import UsageError, shown

# ---------------------------------------------------------------- constants and types

T = TypeVar("T")


@dataclass
class Shared:
    """The state that the tests of one implementation share."""

    peer: Peer
    naming: Naming = field(default_factory=Naming)
    breaks: Breaks = field(default_factory=Breaks)
    # Outcomes of valid cases by operation, until one has a result.
    valid: dict[str, list[Outcome]] = field(default_factory=dict)


# What this process keeps until it exits, by the text of the arguments.
MADE: dict[str, Shared] = {}
LOADED: dict[str, list[Vector]] = {}

# ---------------------------------------------------------------- the tests of a runner


def case_ids(
    only: str | None = None,
    *,
    profile: str | None = None,
    dtype: str = "f64",
    vectors: Path | str | None = None,
) -> list[str]:
    """The ids of the cases, such as "softplus/at-zero"; each is the name of its test.

    only: comma-separated families, operations or ids.
    profile: comma-separated restrictions, such as one-sample; other numeric cases are left out.
    Raises UsageError, a ValueError, if an argument is invalid.
    """
    cases = selected(load_vectors(vectors, dtype), only)
    return [case.id for case in with_profile(cases, profile)]


def check_case(
    impl: str | None,
    case: str,
    *,
    command: str | None = None,
    dtype: str = "f64",
    strict: bool = False,
    digits: int | None = None,
    timeout: float = 10.0,
    memory: int | None = None,
    vectors: Path | str | None = None,
) -> None:
    """Check one case, with the settings of `check`.

    case: its id.
    Raises AssertionError with the report's line if the case fails, unittest.SkipTest if the implementation does not
    offer the operation, and UsageError, a ValueError, if an argument is invalid.
    """
    __tracebackhide__ = True  # pytest shows the line only
    checked_flag("strict", strict)
    digits = checked_digits(digits)
    cases = cases_for(case, dtype, vectors)
    settings = impl, command, dtype, timeout, memory
    shared = made_once(MADE, started, *settings)
    outcome = outcome_of_last(shared, cases, digits)
    if outcome.status == "skipped":
        raise unittest.SkipTest(outcome.message)
    report = Report(shared.peer.name, dtype, strict, (outcome,), all_notes(cases))
    if not report.ok:
        raise AssertionError("\n".join(report.lines()))


# ---------------------------------------------------------------- building blocks


def cases_for(case: str, dtype: str, folder: Path | str | None) -> list[Vector]:
    """The case; if it must be rejected, behind the valid ones of its operation."""
    checked_text("case", case)
    known = {each.id: each for each in made_once(LOADED, load_vectors, folder, dtype)}
    if case not in known:
        got = f"case must be the id of a case, got {shown(repr(case), 60)}"
        meant = names_like([case], [*known], [*known])
        raise UsageError("; ".join(filter(None, [got, meant])))
    wanted = known[case]
    others = (each for each in known.values() if each.operation == wanted.operation)
    return [*(each for each in others if wanted.why and not each.why), wanted]


def outcome_of_last(
    shared: Shared, cases: Sequence[Vector], digits: int | None
) -> Outcome:
    """The outcome of the last case; those before it show whether the operation has results."""
    *valid, wanted = cases
    operation = wanted.operation

    def run(case: Vector) -> Outcome:
        (found,) = run_cases(shared.peer, [case], digits, shared.naming, shared.breaks)
        return found

    # The valid cases in turn, until one has a result.
    before = shared.valid.setdefault(operation, [])
    for each in valid if not before else []:
        before.append(run(each))
        if before[-1].status in NUMERIC:
            break
    (*_, outcome) = with_rejections([*before, run(wanted)])
    return with_row_hints([wanted], [outcome])[0]


def started(*settings: Any) -> Shared:
    """The implementation; it stops when this process exits."""
    stack = contextlib.ExitStack()
    peer = stack.enter_context(peer_of(*settings))
    atexit.register(stack.close)
    return Shared(peer)


def made_once(memory: dict[str, T], make: Callable[..., T], *arguments: Any) -> T:
    """The first result of `make` with these arguments."""
    key = repr(arguments)
    if key not in memory:
        memory[key] = make(*arguments)
    return memory[key]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

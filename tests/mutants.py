"""Mutants: implementations with known mistakes, one or several at once, and what the check says of them.

`mutants:MissingHalf` offers every operation with that mistake, `mutants:MissingHalf__SwappedKL` with both. Their code
is in `flawed_learning` and `flawed_agents`. `python tests/mutants.py` prints for each mistake and operation whether the
check detects the mistake and names it; `--pairs` does so for every two mistakes.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

# Before tests/, whose folders have the packages' names.
sys.path.insert(0, str(Path(__file__).parent.parent))

import flawed_agents
import flawed_learning

from vime_check import files, judge, mistakes, report, serving
from vime_check.cases import OPERATIONS
from vime_check.errors import incomparable
from vime_check.naming import Naming
from vime_check.operations import Draw
from vime_check.wire import Inputs, decode_inputs, decode_outputs

# ---------------------------------------------------------------- constants

# All mistakes; what follows "_" distinguishes variants.
FLAGS = (
    *("SoftplusOverflow", "SoftplusThreshold"),
    *("SigmaFloor_8", "SigmaFloor_6", "SigmaFloor_5"),
    *("FudgedDenominator", "FudgedDenominator_log", "NaiveNearIdentity", "SwappedKL"),
    *("DroppedConstant", "KLMean"),
    *("VarianceAsSigma", "VarianceAsSigma_both"),
    *("VarianceAsSigma_root", "VarianceAsSigma_roots"),
    *("VarianceAsSigma_likelihood", "VarianceAsSigma_likelihoodroot"),
    *("VarianceAsSigma_policy", "VarianceAsSigma_policyroot"),
    *("VarianceAsSigma_hmu", "VarianceAsSigma_hrho", "VarianceAsSigma_hmurho"),
    *("VarianceAsSigma_mean", "VarianceAsSigma_width", "VarianceAsSigma_fractions"),
    *("VarianceAsSigma_denominators", "VarianceAsSigma_log"),
    *("SwappedSigmas_mean", "SwappedSigmas_width", "SwappedSigmas_log"),
    *("MissingHalf_mean", "MissingHalf_width", "MissingHalf_fractions"),
    *("UnnormalisedLogDensity", "UnnormalisedLogDensity_log", "ExtraConstant"),
    *("OutputReLU", "SharedRowNoise", "SameLayerNoise"),
    *("NoKLScale", "PerBatchKL", "PriorFloor", "AveragedPrediction"),
    *("WrongMetric", "WrongMetric_two", "SquaredExpOverflow"),
    "FudgedDenominator_metric",
    *("MissingHalf", "SquaredBeforeMean", "CopiedLastGain", "ClippedGain"),
    *("LeakyOptimiser", "UndetachedOld", "StateNotRestored", "GradientsAccumulate"),
    *("LowerMedian", "RewardDropped", "InputMutation"),
    *("TruncationAsTermination", "BootstrapAtTerminal", "LimitDropped"),
    *("NormalisedInside", "NormalisedInside_sample"),
    *("WindowCrossing", "WindowCrossing_first"),
    *("ClampedLogSigma", "ClampedLogSigma_5"),
    *("CrossEpisode", "CrossEpisode_last", "ActionShift", "ActionShift_effect"),
    *("SampleVariance", "ConstantColumns"),
    *("FirstOfTies", "OwnCountInLog"),
    *("UnderflowingDensity", "OffByOnePseudoCount", "CtsUpdateOrder"),
    *("WrappingBytes", "CellSum", "CellSum_pixels", "FeatureChange"),
    *("TerminalDropped", "TerminalDropped_rows", "TerminalDropped_reward"),
    *("FilterAxis", "UncentredAdvantages", "UncentredAdvantages_all", "ControlMean"),
    *("RewardOrder", "RewardOrder_negative", "RewardOrder_reversed"),
    *("UniformWindows", "GateOrder"),
)
CODE = flawed_learning.OPERATIONS | flawed_agents.OPERATIONS
DRAWS = 8  # drawn inputs of an operation, beside those of the vectors
SAME = 1e-11  # outputs that differ less are those of one formula

Flags = frozenset[str]
Function = Callable[..., Any]
Names = frozenset[str]  # of mistakes, without variants

# ---------------------------------------------------------------- implementations


def function_of(operation: str, flags: Flags) -> Function:
    """The operation with these mistakes; the reference's if it has no other."""
    if operation not in CODE:
        return OPERATIONS[operation].function
    code = CODE[operation]

    def function(**inputs: Any) -> Any:
        with np.errstate(all="ignore"), mp.workdps(50):
            return code(flags, **inputs)

    return function


def implementation(flags: Iterable[str]) -> SimpleNamespace:
    """All operations with these mistakes; they also reject what the reference rejects."""
    chosen = frozenset(flags)
    unknown = chosen - {*FLAGS}
    if unknown:
        raise ValueError(f"flags: unknown {', '.join(sorted(unknown))}")
    return SimpleNamespace(
        **{
            name: rejecting(each.function, function_of(name, chosen))
            for name, each in OPERATIONS.items()
        }
    )


def rejecting(right: Function, wrong: Function) -> Function:
    def both(**inputs: Any) -> Any:
        right(**inputs)
        return wrong(**inputs)

    return both


def __getattr__(name: str) -> SimpleNamespace:
    if {*name.split("__")} <= {*FLAGS}:
        return implementation(name.split("__"))
    raise AttributeError(name)


def names_of(flags: Iterable[str]) -> Names:
    """The mistakes, without their variants."""
    return frozenset(flag.split("_")[0] for flag in flags)


# ---------------------------------------------------------------- where a mistake makes a difference


@functools.cache
def vectors_of(operation: str) -> tuple[files.Vector, ...]:
    """The operation's valid cases."""
    known = all_vectors()
    return tuple(v for v in known if v.operation == operation and not v.why)


@functools.cache
def all_vectors() -> tuple[files.Vector, ...]:
    return tuple(judge.load_vectors(None, "f64"))


@functools.cache
def inputs_of(operation: str) -> tuple[Inputs, ...]:
    """The inputs of the cases and drawn ones, in JSON's types."""
    rng = np.random.default_rng(0)
    draw = Draw(lambda low, high: int(rng.integers(low, high + 1)))
    drawn = [OPERATIONS[operation].draw(draw) for _ in range(DRAWS)]
    kinds = OPERATIONS[operation].kinds
    undecided = OPERATIONS[operation].undecided
    decided = [
        each for each in drawn if not undecided(decode_inputs(each, kinds, "f64"))
    ]
    return (*(vector.inputs for vector in vectors_of(operation)), *decided)


@functools.cache
def answer(operation: str, flags: Flags, index: int) -> serving.Answer:
    """The answer of the operation with these mistakes to one of its inputs."""
    function = function_of(operation, flags)
    inputs = inputs_of(operation)[index]
    kinds = OPERATIONS[operation].kinds
    return serving.answer_of(function, inputs, kinds, "f64")


def differ(operation: str, flags: Flags, others: Flags) -> bool:
    """Whether two sets of mistakes have different outputs for any inputs."""
    return any(
        apart(answer(operation, flags, k), answer(operation, others, k))
        for k in range(len(inputs_of(operation)))
    )


def apart(one: serving.Answer, other: serving.Answer) -> bool:
    if "result" not in one or "result" not in other or "mutated" in {*one, *other}:
        return one != other
    a, b = decode_outputs(one["result"]), decode_outputs(other["result"])
    return any(incomparable(a[name], b[name]) or far(a[name], b[name]) for name in a)


def far(a: Any, b: Any) -> bool:
    """Whether any element differs by more than rounding, relative to the largest."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        gap = np.max(np.abs(a - b)[~same], initial=0.0)
    sizes = np.abs(np.array([a, b]))
    return bool(gap > SAME * np.max(sizes[np.isfinite(sizes)], initial=0.0))


@functools.cache
def active(operation: str) -> tuple[str, ...]:
    """The mistakes that change the operation's output for any inputs."""
    if operation not in CODE:
        return ()
    none = frozenset[str]()
    return tuple(f for f in FLAGS if differ(operation, frozenset({f}), none))


def pairs(operation: str, rng: random.Random | None = None) -> Iterator[Flags]:
    """Every two mistakes, except variants of one and those of which one hides the other; shuffled by rng."""
    every = list(itertools.combinations(active(operation), 2))
    if rng:
        rng.shuffle(every)
    for pair in every:
        flags = frozenset(pair)
        if len(names_of(flags)) == 2 and all(
            differ(operation, flags, flags - {flag}) for flag in pair
        ):
            yield flags


# ---------------------------------------------------------------- the check's verdict


class Verdict(NamedTuple):
    """What the check says of an operation with these mistakes."""

    operation: str
    flags: Flags
    found: int  # cases that detect a mistake
    named: str  # truly, partly, untruly, or "" if no name is stated
    stated: tuple[str, ...]  # the explanations, each with the number of its cases

    @property
    def mistakes(self) -> str:
        return " + ".join(sorted(self.flags))


def verdict(operation: str, flags: Flags, most: int | None = None) -> Verdict:
    """The verdict on all cases, or on at most so many that the mistakes change."""
    outcomes = outcomes_of(operation, flags, most)
    found = [each for each in outcomes if each.status in grades_of(flags)]
    causes = [
        cause
        for group in report.groups(outcomes).values()
        for cause in report.explained(group)
    ]
    alternatives = [[*map(frozenset, cause.explanations)] for cause in causes]
    stated = tuple(map(text_of, causes))
    named = naming_of(alternatives, names_of(flags))
    return Verdict(operation, flags, len(found), named, stated)


def outcomes_of(operation: str, flags: Flags, most: int | None) -> list[report.Outcome]:
    none = frozenset[str]()
    indices = range(len(vectors_of(operation)))
    changed = [
        k
        for k in indices
        if apart(answer(operation, flags, k), answer(operation, none, k))
    ]
    chosen = indices if most is None else changed[:most]
    cases = [vectors_of(operation)[k] for k in chosen]
    answers = [answer(operation, flags, k) for k in chosen]

    # As `check` does it.
    naming = Naming()
    outcomes = [
        judge.outcome_of(case, given, naming=naming)
        for case, given in zip(cases, answers, strict=True)
    ]
    return judge.without_accidents(judge.with_pairs(cases, outcomes, naming))


def grades_of(flags: Flags) -> set[str]:
    """The grades that detect these mistakes."""
    kinds = {mistakes.NOTES[name].kind for name in names_of(flags)}
    weak = set() if "mistake" in kinds else kinds
    return {"wrong", "errored", *weak}


def text_of(cause: report.Cause) -> str:
    names = " or ".join(" + ".join(sorted(each)) for each in cause.explanations)
    return f"{names} ({len(cause.outcomes)})"


def naming_of(causes: Sequence[Sequence[Names]], true: Names) -> str:
    """Whether the causes that are stated, each with its alternatives, are the true mistakes."""
    right = [[names for names in each if names <= true] for each in causes]
    if not causes:
        return ""
    if not all(right):
        return "untruly"
    stated = frozenset[str]().union(*(max(each, key=len) for each in right))
    return "truly" if stated == true else "partly"


# ---------------------------------------------------------------- the matrix


def singles(operation: str) -> Iterator[Flags]:
    return (frozenset({flag}) for flag in active(operation))


def line(verdict: Verdict) -> str:
    named = verdict.named or "no"
    found = str(verdict.found) if verdict.found else "NO"
    head = f"{verdict.mistakes:58} {verdict.operation:26} {found:>8} {named:8}"
    return f"{head} {'; '.join(verdict.stated)}".rstrip()


GRADES = ("detected", "truly named", "partly named", "untruly named", "not named")


def matrix(
    operations: Sequence[str],
    *,
    two: bool = False,
    most: int | None = None,
    brief: bool = False,
) -> Iterator[str]:
    """A line for each mistake, or pair, in each operation, and the sums; if brief, only if it is not truly named."""
    yield f"{'mistakes':58} {'operation':26} {'detected':8} {'named':8} stated (cases)"
    sums: dict[str, Counter[str]] = {}
    for operation in operations:
        found = sums[operation] = Counter[str]()
        for flags in (pairs if two else singles)(operation):
            each = verdict(operation, flags, most)
            found.update(["all", f"{each.named or 'not'} named"])
            found.update(["detected"] if each.found else [])
            if not (brief and each.found and each.named == "truly"):
                yield line(each)
        answer.cache_clear()

    # The sums of each operation, and of all.
    yield ""
    yield f"{'operation':26} {'all':>6} " + " ".join(f"{each:>13}" for each in GRADES)
    sums["all"] = sum(sums.values(), Counter[str]())
    for name, found in sums.items():
        counts = " ".join(f"{found[each]:>13}" for each in GRADES)
        yield f"{name:26} {found['all']:>6} {counts}"
    count = max(sums["all"]["all"], 1)
    shares = " ".join(
        f"{100.0 * sums['all'][each] / count:>11.1f} %" for each in GRADES
    )
    yield f"{'share':26} {'':>6} {shares}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="the matrix of mistakes and operations"
    )
    parser.add_argument("--pairs", action="store_true", help="every two mistakes")
    parser.add_argument("--brief", action="store_true", help="no line if truly named")
    parser.add_argument("--cases", type=int, metavar="N", help="at most N of each")
    parser.add_argument("--only", metavar="OP", help="comma-separated operations")
    chosen = parser.parse_args(arguments)
    operations = chosen.only.split(",") if chosen.only else [*OPERATIONS]
    settings = {"two": chosen.pairs, "most": chosen.cases, "brief": chosen.brief}
    for row in matrix(operations, **settings):
        print(row, flush=True)


if __name__ == "__main__":
    main()

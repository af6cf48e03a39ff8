"""Reports: the explanations and hints of an operation's cases, and their lines."""

import json
from typing import Any

import pytest

from vime_check.errors import Element
from vime_check.hints import Hint
from vime_check.naming import Explanation
from vime_check.report import NO_VALID, Outcome, Report, outcome_text, with_names

NOTES = {
    "Half": {"what": "no ½.", "seen_in": "one"},
    "Fudge": {"what": "1e-8 more", "seen_in": "two"},
    "Swap": {"what": "swapped", "seen_in": "three"},
}
BOTH = ("Half", "Fudge")
PLACE = Element("", (0,), 2.0, 1.0)


def wrong(number: int, *found: Any, **rest: Any) -> Outcome:
    """A wrong case with these explanations, each of them names or names and a distance."""
    pairs = [each if isinstance(each[-1], float) else (each, 0.0) for each in found]
    candidates = tuple(Explanation(names, error) for names, error in pairs)
    start = Outcome(f"o/{number}", "o", "wrong", error=1.0, place=PLACE)
    return start._replace(candidates=candidates, **rest)


def lines(*outcomes: Outcome, strict: bool = False) -> list[str]:
    return Report("mine", "f64", strict, with_names(outcomes), NOTES).lines()


def test_an_explanation_of_more_than_half_of_the_failed_cases_is_stated_outright() -> (
    None
):
    """Control: of exactly half, with its share."""
    three = [wrong(n, BOTH) for n in range(3)]
    (line, rest) = lines(*three, wrong(3), wrong(4))
    claim = "is Half with Fudge: no ½; 1e-8 more"
    assert line == f"o/0 and 2 more: [0] got 2, expected 1; {claim}"
    assert rest == "o/3 and 1 more: [0] got 2, expected 1"
    (line, _) = lines(*three, wrong(3), wrong(4), wrong(5))
    claim = "Half with Fudge fits 3 of 6 failed cases: no ½; 1e-8 more"
    assert line == f"o/0 and 2 more: [0] got 2, expected 1; {claim}"


def test_the_explanation_of_most_cases_is_chosen_then_of_fewest_mistakes_then_the_nearest() -> (
    None
):
    """The mistakes of each outcome are those of the choice."""
    chosen = with_names(
        [
            wrong(0, ("Half",), BOTH),
            wrong(1, BOTH),
            wrong(2, BOTH, (("Swap",), 1e-9)),
            wrong(3, (("Swap",), 1e-9)),
        ]
    )
    assert [each.mistakes for each in chosen] == [BOTH, BOTH, BOTH, ("Swap",)]
    chosen = with_names([wrong(0, BOTH, ("Half",)), wrong(1, BOTH, ("Half",))])
    assert [each.mistakes for each in chosen] == [("Half",), ("Half",)]
    twice = wrong(0, (("Swap",), 1e-9), (("Half",), 1e-15), (("Half",), 1e-5))
    chosen = with_names([twice, wrong(1, BOTH)])
    assert chosen[0].mistakes == ("Swap",)
    chosen = with_names([wrong(0, (("Swap",), 1e-9), (("Half",), 1e-15))])
    assert [each.mistakes for each in chosen] == [("Half",)]


def test_explanations_that_are_as_good_are_stated_together() -> None:
    """Control: a larger distance, more mistakes, or fewer cases."""
    (line,) = lines(wrong(0, ("Half",), ("Swap",)), wrong(1, ("Swap",), ("Half",)))
    assert line.endswith("is Half or Swap: no ½; swapped")
    for other in ((("Swap",), 1e-9), ("Swap", "Fudge")):
        (line,) = lines(wrong(0, ("Half",), other))
        assert line.endswith("is Half: no ½; seen in one")
    (line,) = lines(wrong(0, ("Half",), ("Swap",)), wrong(1, ("Half",)))
    assert line.endswith("is Half: no ½; seen in one")


def at(*places: str) -> Explanation:
    return Explanation(("Swap",), 0.0, frozenset(("Swap", place) for place in places))


def placed(number: int, *found: Explanation) -> Outcome:
    return wrong(number)._replace(candidates=found)


def test_a_mistake_has_the_place_that_its_cases_have_in_common() -> None:
    """It is then not said where else the mistake was seen. Control: nothing in common."""
    (line,) = lines(placed(0, at("left", "right")), placed(1, at("right")))
    assert line.endswith("is Swap: swapped: right")
    (line,) = lines(placed(0, at("left", "right")))
    assert line.endswith("is Swap: swapped: left or right")
    (line,) = lines(placed(0, at("left")), placed(1, at("right")))
    assert line.endswith("is Swap: swapped; seen in three")
    half = Explanation(("Half",), 0.0)
    (line,) = lines(placed(0, at("left"), half), placed(1, half, at("left")))
    assert line.endswith("is Swap or Half: swapped: left; no ½")


TWICE, THRICE, SOME = Hint("2 times"), Hint("3 times"), Hint("some")
WEAK, VAGUE = Hint("1.3 times", weak=True), Hint("vague", vague=True)


PARTS = {"o": ["p", "q"]}


def steps(*outcomes: Outcome, parts: Any = PARTS) -> list[str]:
    report = Report("mine", "f64", False, with_names(outcomes), NOTES, parts)
    return [line for line in report.lines() if "part" in line]


def test_the_next_step_after_a_result_that_nothing_explains() -> None:
    """Parts that were not checked, then wrong ones, then right ones. Controls: a name, a hint, no parts."""
    right = {name: Outcome(f"{name}/0", name, "exact") for name in "pq"}
    skipped = Outcome("q/0", "q", "skipped")
    assert steps(wrong(0)) == ["o: check its parts: --only p,q"]
    assert steps(wrong(0), right["p"], skipped) == ["o: check its parts: --only q"]
    bad = right["q"]._replace(status="errored")
    begin = "o: begin with its parts that are wrong: q"
    assert steps(wrong(0), wrong(1), bad) == [begin]
    assert steps(wrong(0), *right.values()) == ["o: its parts are right: p, q"]
    assert steps(wrong(0, hints=(VAGUE, WEAK))) == ["o: check its parts: --only p,q"]
    assert steps(wrong(0, ("Half",))) == steps(wrong(0, hints=(TWICE,))) == []
    assert steps(wrong(0), parts={}) == []


def test_reasons_for_skipped_cases_are_lines_above_the_causes() -> None:
    """Controls: without a reason, of an operation that is not offered, and of rejections without a valid case."""
    skip = Outcome("o/0", "o", "skipped", message="Taylor only")
    others = [skip._replace(id=f"o/{n}") for n in (1, 2)]
    silent = skip._replace(id="o/3", message="")
    missing = Outcome("p/0", "p", "skipped", message="lacks p")
    no_valid = Outcome("q/0", "q", "skipped", valid=False, message=NO_VALID)
    found = (wrong(4), skip, *others, silent, missing, no_valid)
    text = str(Report("mine", "f64", False, found, NOTES)).splitlines()
    assert "not offered: p" in text
    above = text.index("o/0 and 2 more: skipped: Taylor only")
    assert above < text.index("o/4: [0] got 2, expected 1")
    assert sum("skipped:" in line for line in text) == 1


def agrees(digits: int) -> Hint:
    text = f"agrees to {digits} digit{'s' if digits > 1 else ''}"
    return Hint(text, vague=True, digits=digits)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([[TWICE, SOME], [SOME]], ["0 and 1 more; some"]),
        ([[TWICE, SOME], [TWICE, SOME]], ["0 and 1 more; 2 times"]),
        ([[TWICE, VAGUE], [VAGUE]], ["0; 2 times", "1; vague"]),
        ([[TWICE], [THRICE], []], ["0; 2 times", "1; 3 times", "2"]),
        ([[THRICE]] + [[TWICE]] * 7, ["1 and 6 more; 2 times", "0; 3 times"]),
        ([[Hint(f"{n} times")] for n in range(5)], ["0; 0 times", "1; 1 times", "2; 2 times", "3 and 1 more"]),
        ([[WEAK]], ["0"]),
        ([[WEAK]] * 2, ["0 and 1 more; 1.3 times"]),
        ([[WEAK], [WEAK], [], []], ["0 and 1 more; 1.3 times", "2 and 1 more"]),
        ([[WEAK], [WEAK], [], [], []], ["0 and 4 more"]),
        ([[WEAK, TWICE]], ["0; 2 times"]),
        ([[], [TWICE]], ["1; 2 times", "0"]),
        ([[agrees(8)], [agrees(5)], [agrees(6)]], ["0 and 2 more; agrees to 5 to 8 digits"]),
        ([[agrees(1)], [agrees(2)]], ["0 and 1 more; agrees to 1 to 2 digits"]),
        ([[agrees(5)], [agrees(5)]], ["0 and 1 more; agrees to 5 digits"]),
        ([[], []], ["0 and 1 more"]),
    ],
)  # fmt: skip
def test_a_hint_is_given_of_the_cases_in_which_it_holds(
    found: list[list[Hint]], told: list[str]
) -> None:
    """The hint of the most cases comes first, and cases without a hint last."""
    shown = lines(*(wrong(n, hints=tuple(each)) for n, each in enumerate(found)))
    place = ": [0] got 2, expected 1"
    assert [each.removeprefix("o/").replace(place, "") for each in shown] == told


def test_digits_and_conventions_are_lines_but_do_not_fail() -> None:
    """Of fewer digits the worst case comes first. Control: strict."""
    few = [wrong(n)._replace(status="digits", error=10.0**-n) for n in (9, 7, 8)]
    other = wrong(0, ("Swap",))._replace(status="convention")
    report = Report("mine", "f64", False, with_names([*few, other]), NOTES)
    assert report.ok
    assert report.lines() == [
        "o/7 and 2 more: agrees to 7 digits; [0] got 2, expected 1",
        "o/0: [0] got 2, expected 1; another convention, Swap: swapped; seen in three",
    ]
    assert [each.id for each in report.inexact()] == ["o/9", "o/7", "o/8", "o/0"]
    strict = Report("mine", "f64", True, with_names([*few, other]), NOTES)
    assert [each.id for each in strict.bad()] == ["o/0"]
    few.append(wrong(3, ("Half",))._replace(status="digits", error=0.5))
    assert lines(*few)[0] == (
        "o/3: agrees to 0 digits; [0] got 2, expected 1; Half fits 1 of 4 inexact cases: no ½; seen in one"
    )


def test_the_share_of_a_convention_is_of_cases() -> None:
    """Control: of wrong cases it is of failed ones, in a test above."""
    other = [wrong(n, (("Swap",), 0.0))._replace(status="convention") for n in (0, 1)]
    other[1] = other[1]._replace(candidates=(Explanation(("Half",), 0.0),))
    first, _ = lines(*other)
    assert "; Swap fits 1 of 2 cases: swapped" in first


def bad(name: str, status: str, message: str) -> Outcome:
    return Outcome(f"o/{name}", "o", status, valid=False, message=message)


def test_one_exception_on_valid_and_bad_input_is_one_line() -> None:
    """Control: another exception, and one on bad input alone."""
    failed = wrong(0)._replace(status="errored", message="TypeError: x", place=None)
    other = "another error than ValueError: "
    both = [bad("b", "errored", f"{other}TypeError: {each}") for each in "xy"]
    assert lines(failed, *both) == [
        "o/0 and 1 more: TypeError: x",
        f"o/b: {other}TypeError: y",
    ]
    assert lines(*both, strict=True)[0] == f"o/b: {other}TypeError: x"


def test_accepted_inputs_of_an_operation_are_one_line_if_strict() -> None:
    """With the rules that they break, each of them once. Control: one input, which is named."""
    reason = "accepted an input that should be rejected: "
    given = [bad(f"{n}", "lenient", f"{reason}{n} must be > 0") for n in "aab"]
    line = "o accepted 3 bad inputs: a must be > 0; b must be > 0"
    assert lines(*given, strict=True) == [line]
    assert lines(*given) == []
    assert lines(*given[:1], strict=True) == [f"o/a: {reason}a must be > 0"]


def test_columns_that_are_empty_are_left_out() -> None:
    """Control: a convention, and an error on bad input, have columns."""
    bad = Outcome("o/b", "o", "errored", valid=False)
    convention = wrong(0)._replace(status="convention")
    usual = Report("mine", "f64", False, (wrong(0),)).table().splitlines()[0]
    assert usual.count("errored") == 1
    assert "convention" not in usual
    both = Report("mine", "f64", False, (convention, bad)).table().splitlines()
    assert both[0].split()[2:7] == ["exact", "digits", "convention", "wrong", "errored"]
    assert both[1].split()[2:7] == ["0", "0", "1", "0", "0"]
    assert both[1].split()[8:11] == ["0", "0", "1"]


def test_json_counts_valid_and_invalid_cases_apart() -> None:
    outcomes = (
        wrong(0, ("Half",), hints=(TWICE,)),
        Outcome("o/b", "o", "errored", valid=False),
        Outcome("o/c", "o", "rejected", valid=False),
    )
    report = json.loads(Report("mine", "f64", False, with_names(outcomes)).to_json())
    assert {name: n for name, n in report["valid"].items() if n} == {"wrong": 1}
    assert {name: n for name, n in report["invalid"].items() if n} == {
        "errored": 1,
        "rejected": 1,
    }
    first = report["outcomes"][0]
    assert first["place"] == {"array": "", "index": [0], "got": 2.0, "expected": 1.0}
    assert (first["mistakes"], first["hints"]) == (["Half"], ["2 times"])


def test_the_text_of_a_case_alone() -> None:
    assert outcome_text(wrong(0, ("Half",)), NOTES).endswith(
        "; is Half: no ½; seen in one"
    )
    assert outcome_text(wrong(0, ("New",)), NOTES).endswith("; is New")
    assert outcome_text(wrong(0, hints=(TWICE,)), NOTES).endswith("expected 1; 2 times")


def test_the_short_form_counts_and_gives_the_first_line() -> None:
    report = Report("mine", "f64", False, (wrong(0), wrong(1)), NOTES)
    assert repr(report) == "<mine: 2 wrong; o/0 and 1 more: [0] got 2, expected 1>"

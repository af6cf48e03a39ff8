"""Reports: the explanations and hints of an operation's cases, and their lines."""

import json
from typing import Any

import pytest

from vime_check.errors import Element
from vime_check.hints import Hint
from vime_check.naming import Explanation
from vime_check.report import Outcome, Report, outcome_text, with_names

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


TWICE, THRICE, SOME = Hint("2 times"), Hint("3 times"), Hint("some")


@pytest.mark.parametrize(
    ("found", "end"),
    [
        ([[TWICE, SOME], [SOME]], "; some"),
        ([[TWICE, SOME], [TWICE, SOME]], "; 2 times"),
        ([[TWICE], [THRICE], []], "; 2 times in 1 of 3 cases"),
        ([[TWICE], [TWICE], []], "; 2 times in 2 of 3 cases"),
        ([[Hint("1.3 times", weak=True)]], "expected 1"),
        ([[Hint("1.3 times", weak=True)]] * 2, "; 1.3 times"),
        ([[], [TWICE]], "; 2 times in 1 of 2 cases"),
        ([[], []], "expected 1"),
    ],
)
def test_a_hint_is_given_if_it_holds_in_all_cases_or_with_its_share(
    found: list[list[Hint]], end: str
) -> None:
    (line,) = lines(*(wrong(n, hints=tuple(each)) for n, each in enumerate(found)))
    assert line.endswith(end)


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
        "o/3: agrees to 0 digits; [0] got 2, expected 1; Half fits 1 of 4 failed cases: no ½; seen in one"
    )


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

"""Tables against their expected text."""

import re

import pytest
from lab import NAN, curve_row, curve_rows

from vime_lab import tables
from vime_lab.rows import LARGEST_COUNT


def test_summary_against_its_text():
    """Seeds 0 to 3 of VIME end at 1, 1, 1 and 0.5; a run of L2 broke off, another has no return at the end."""
    rows = [
        each
        for seed in range(4)
        for each in curve_rows(
            "vime", seed, [0.0] * (seed + 1) + [1.0 - (seed == 3) / 2]
        )
    ]
    rows += curve_rows("l2", 0, [0.0, 0.0, 2.0], wall_s=7000.0) + curve_rows(
        "l2", 1, [0.25], wall_s=120.0
    )
    rows += curve_rows("l2", 2, [0.0, NAN], wall_s=36.0) + curve_rows(
        "none", 0, [0.0] * 12
    )
    expected = """
Hill: return at the end, the mean over the last tenth of the iterations

           seeds  iterations  first reward            median [quartiles]  IQM [95 % interval]  time a seed
VIME           4         2-5  iteration 2.5 (4 of 4)   1.00 [0.88, 1.00]    1.00 [0.50, 1.00]        5.0 s
L2 error  2 of 3         1-3  iteration 1 (2 of 3)     1.12 [0.69, 1.56]    1.12 [0.25, 2.00]      2.0 min
no bonus       1          12  never (0 of 1)           0.00                 0.00                    22.0 s

P(VIME > L2 error)  0.50 [0.00, 1.00]
P(VIME > no bonus)  1.00"""
    assert tables.summary(rows) == expected[1:]


def test_comparison_against_its_text():
    """The numbers of the summaries, worked out in the test above; half of the pairs beat L2, all the plain agent's.

    Two seeds bound a share of 1 by √0.025 = 0.16. Of the two L2 runs of Lake one has no return at the end.
    """
    hill = [
        each
        for seed in range(4)
        for each in curve_rows(
            "vime", seed, [0.0] * (seed + 1) + [1.0 - (seed == 3) / 2]
        )
    ]
    hill += curve_rows("l2", 0, [0.0, 0.0, 2.0], wall_s=7000.0) + curve_rows(
        "l2", 1, [0.25], wall_s=120.0
    )
    hill += curve_rows("none", 0, [0.0] * 12) + curve_rows("none", 1, [-1.0] * 12)
    lake = (
        curve_rows("none", 0, [3.0])
        + curve_rows("vime", 0, [NAN])
        + curve_rows("vime", 0, [4.0], setting="eta=1")
    )
    lake += (
        curve_rows("l2", 0, [NAN])
        + curve_rows("l2", 1, [5.0])
        + curve_rows("none", 0, [3.0], setting="eta=1")
    )
    expected = """
                 seeds  iterations    median [quartiles]   IQM [95 % interval]  P(VIME higher)     time a seed

Hill
VIME                 4         2-5   1.00 [ 0.88,  1.00]   1.00 [ 0.50,  1.00]                           5.0 s
L2 error             2         1-3   1.12 [ 0.69,  1.56]   1.12 [ 0.25,  2.00]  0.50 [0.00, 1.00]     59.3 min
no bonus             2          12  -0.50 [-0.75, -0.25]  -0.50 [-1.00,  0.00]  1.00 [0.16, 1.00]       22.0 s

Lake
no bonus             1           1                  3.00                  3.00                           0.0 s
VIME            0 of 1           1                  none                  none                           0.0 s
L2 error        1 of 2           1                  5.00                  5.00                           0.0 s
VIME eta=1           1           1                  4.00                  4.00                           0.0 s
no bonus eta=1       1           1                  3.00                  3.00  1.00                     0.0 s"""
    assert tables.comparison({"Hill": hill, "Lake": lake}) == expected[1:]


def test_summary_groups_a_sweep_by_setting():
    rows = [
        each
        for bonus in ("none", "vime")
        for setting in ("", "agent.eta=0.1 vime.likelihood_sigma=0.5")
        for seed in range(2)
        for each in curve_rows(
            bonus,
            seed,
            [-0.001, -12.0 * (bonus == "none")],
            setting=setting,
            wall_s=7200.0,
        )
    ]
    head, *lines = tables.summary(rows).splitlines()[2:]
    starts = [line.split("  ")[0] for line in lines]
    probability = "P(VIME > no bonus)"
    assert starts == [
        *("", "as the task has it", "no bonus", "VIME", probability),
        *(
            "",
            "agent.eta=0.1 vime.likelihood_sigma=0.5",
            "no bonus",
            "VIME",
            probability,
        ),
    ]
    assert re.search(r" +-12\.0 \[-12\.0, -12\.0\] +-12\.0 +2\.0 h$", lines[2])
    assert re.search(r" +0\.0 \[ +0\.0, +0\.0\] +0\.0 +2\.0 h$", lines[3])
    assert len(head) == len(lines[2]) == len(lines[8])


def test_summary_of_a_run_without_returns_and_of_no_run():
    text = tables.summary(curve_rows("vime", 0, [NAN]) + curve_rows("none", 0, [1.0]))
    assert re.search(
        r"^VIME +0 of 1 +1  never \(0 of 1\) +none +none +0.0 s$", text, re.M
    )
    for means in ([NAN], [1.0]), ([1.0], [NAN]), ([1.0], [1.0]):
        text = tables.summary(
            curve_rows("vime", 0, means[0]) + curve_rows("none", 0, means[1])
        )
        assert text.endswith("\nP(VIME > no bonus)  0.50") == (means == ([1.0], [1.0]))
        assert ("P(" in text) == (means == ([1.0], [1.0]))
    with pytest.raises(ValueError, match="at least one row"):
        tables.summary([])


def test_summary_leaves_first_rewards_out_where_all_are_rewarded_at_once():
    """Control: the column appears if one seed of one bonus gets its first reward later."""
    rows = (
        curve_rows("vime", 0, [1.0, 2.0])
        + curve_rows("vime", 1, [3.0, 4.0])
        + curve_rows("none", 0, [0.5, 0.0])
    )
    head, *lines = tables.summary(rows).splitlines()[2:5]
    assert re.split("  +", head)[1:] == [
        "seeds",
        "iterations",
        "median [quartiles]",
        "IQM [95 % interval]",
        "time a seed",
    ]
    assert re.fullmatch(
        r"VIME +2 +2 +3.00 \[2.50, 3.50\] +3.00 \[2.00, 4.00\] +2.0 s", lines[0]
    )
    assert "iteration 0.5 (2 of 2)" in tables.summary(
        [*rows[2:], *curve_rows("vime", 0, [0.0, 2.0])]
    )


@pytest.mark.parametrize("size", [-0.004, 52.0, -520.0, -5200.0])
def test_tables_fit_120_columns(size):
    """Returns of up to four digits; the first reward comes late. Control: a summary of six digits is wider."""
    seconds = {
        "sampling_s": 1234.5678,
        "gains_s": 1234.5,
        "policy_s": 1234.5,
        "model_s": 1234.5,
        "other_s": 0.0,
        "wall_s": 1e5,
    }

    def text(size: float) -> str:
        rows = [
            curve_row(bonus, seed, iteration, mean, **seconds)
            for seed in range(10)
            for bonus in ("vime", "l2", "none")
            for iteration, mean in (
                (0, 0.0),
                (1001 + seed, size * (1.0 + seed / 11.0)),
            )
        ]
        return tables.summary(rows) + "\n" + tables.timing(rows)

    lines = text(size).splitlines()
    assert max(map(len, lines)) <= 120
    assert "iteration 1005.5 (10 of 10)" in lines[3]
    assert len({len(line) for line in lines[2:6]}) == 1
    assert max(map(len, text(-520000.0).splitlines())) > 120


def test_timing_against_its_text():
    """Medians over seeds and iterations: 2, with a mean of 4. Control: without the slow row they differ."""
    names = ("sampling_s", "gains_s", "policy_s", "model_s", "other_s")
    rows = [
        curve_row("vime", seed, 0, **dict(zip(names, (sampling, 0.25, 0.5, 3.0, 0.25))))
        for seed, sampling in enumerate([1.0, 2.0, 9.0])
    ]
    plain = [
        curve_row("none", 0, 0, **dict(zip(names, (0.5, NAN, 0.125, 0.0, 0.0)))),
        curve_row("idle", 0, 0, sampling_s=0.0),
    ]
    assert tables.timing(rows + plain).splitlines() == [
        "an iteration  sampling    gains   policy    model    other    all but sampling",
        "VIME           2.000 s  0.250 s  0.500 s  3.000 s  0.250 s  2.0 times sampling",
        "no bonus       0.500 s     none  0.125 s  0.000 s  0.000 s  0.2 times sampling",
        "idle           0.000 s     none     none     none     none                none",
    ]
    assert "1.500 s" in tables.timing(rows[:2])
    sweep = tables.timing(
        [*rows[:2], {**rows[2], "setting": "agent.eta=1"}]
    ).splitlines()[1:]
    assert [(line[:16].strip(), line[16:].split()[0]) for line in sweep] == [
        ("VIME", "1.500"),
        ("VIME agent.eta=1", "9.000"),
    ]


def test_bonuses_against_its_text():
    """Medians of two seeds and of twenty iterations, by hand; VIME's ratio is (2 + 4)/2.

    gain: VIME's is 0.5 in each row, and 0 is none.
    mean of medians: of L2's medians 1 and 2 it is 1.5. The last tenth is the last iteration.
    """
    hill = [
        {**row, "bonus_share": share * row["iteration"], "gain_mean": ratio * 0.5}
        for seed, share, ratio in ((0, 0.25, 2.0), (1, 0.75, 4.0))
        for row in curve_rows("vime", seed, [0.0, 1.0], gain_median=0.5)
    ]
    hill += curve_rows("l2", 0, [1.0, 1.0], gain_median=0.0, bonus_share=NAN)
    hill += curve_rows("l2", 1, [1.0, 3.0], gain_median=0.0, bonus_share=NAN)
    lake = curve_rows("none", 0, [NAN], bonus_share=NAN, gain_median=0.0)
    expected = """
          first reward          mean of medians  gain  share  mean/median

Hill
VIME      iteration 1 (2 of 2)              0.5   0.5    0.5            3
L2 error  iteration 0 (2 of 2)              1.5  none   none         none

Lake
no bonus  never (0 of 1)                   none  none   none         none"""
    assert tables.bonuses({"Hill": hill, "Lake": lake}) == expected[1:]


@pytest.mark.parametrize("columns", ["40", "41", "none", None])
def test_a_table_fits_the_terminal(columns, monkeypatch):
    """A line for each value if it is too wide. A pipe has no width unless COLUMNS says so.

    Two heads make one name. The title above a row stays.
    """
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    table = [
        ["", "return", ""],
        ["name", "median", "time a seed"],
        ["VIME", "1.00 [0.50,  1.00]", "19.5 s"],
        ["no bonus", "0.00", ""],
    ]
    wide = [
        "                      return",
        "name                  median  time a seed",
    ]
    lines = tables.aligned(table, left=(0,), heads=2)
    assert max(map(len, tables.in_columns(table, left=(0,)))) == len(wide[1]) == 41
    if columns == "40":
        assert lines == [
            "name",
            "",
            "VIME\n  return median  1.00 [0.50, 1.00]\n  time a seed    19.5 s",
            "no bonus\n  return median  0.00",
        ]
        assert tables.with_titles(lines, {2: "Hill"}).splitlines()[2:5] == [
            *("", "Hill", "VIME")
        ]
    else:
        assert lines[:2] == wide
        assert lines == tables.in_columns(table, left=(0,))


def test_the_tables_of_a_run_fit_sixty_columns(monkeypatch):
    """Control: without a terminal they are wider than eighty."""
    rows = curve_rows("vime", 0, [0.0, 1.0]) + curve_rows("none", 0, [0.0, 0.0])
    curves = {"Hill": rows}

    def widths() -> list[int]:
        _, *below = tables.summary(rows).splitlines()
        shown = [tables.comparison(curves), tables.bonuses(curves), tables.timing(rows)]
        lines = [*below, *"\n".join(shown).splitlines()]
        return [len(line) for line in lines]

    assert max(widths()) > 80
    monkeypatch.setenv("COLUMNS", "60")
    assert max(widths()) <= 60


def test_decided_against_its_text():
    """Shares of pairs: 3 of 4 over noise. Settings of a sweep and tasks without VIME do not count."""
    hill = curve_rows("vime", 0, [1.0]) + curve_rows("vime", 1, [3.0])
    hill += curve_rows("noise", 0, [0.0]) + curve_rows("noise", 1, [2.0])
    hill += curve_rows("l2", 0, [9.0], setting="eta=1")
    lake = curve_rows("vime", 0, [1.0]) + curve_rows("counts", 0, [2.0])
    flat = curve_rows("none", 0, [1.0]) + curve_rows("noise", 0, [1.0])
    text = tables.decided({"Hill": hill, "Lake": lake, "Flat": flat})
    assert [line.split() for line in text.splitlines()] == [
        ["noise", "counts"],
        ["Hill", "0.75", "[0.00,", "1.00]"],
        ["Lake", "0.00"],
        ["Flat"],
    ]
    assert tables.decided({"Flat": flat}) == ""


def test_sooner_against_its_text():
    """Shares of pairs by hand: of VIME's firsts 0 and 2 over noise's 2 and never, 3½ of 4; never against never is ½.

    Flat is left out: all its seeds are rewarded at once. Control: with one late seed it is there.
    """
    hill = curve_rows("vime", 0, [1.0]) + curve_rows("vime", 1, [0.0, 0.0, -1.0])
    hill += curve_rows("noise", 0, [0.0, NAN, 9.0, 9.0]) + curve_rows("noise", 1, [0.0])
    hill += curve_rows("l2", 0, [9.0], setting="eta=1")
    lake = curve_rows("vime", 0, [0.0]) + curve_rows("counts", 0, [0.0])
    flat = curve_rows("vime", 0, [1.0]) + curve_rows("noise", 0, [9.0])
    text = tables.sooner({"Hill": hill, "Lake": lake, "Flat": flat})
    assert [line.split() for line in text.splitlines()] == [
        ["noise", "counts"],
        ["Hill", "0.88", "[0.14,", "1.00]"],
        ["Lake", "0.50"],
    ]
    assert tables.sooner({"Flat": flat}) == ""
    late = [*flat, *curve_rows("noise", 1, [0.0, 9.0])]
    assert tables.sooner({"Flat": late}).split() == ["noise", "Flat", "0.75"]


def test_earliness_is_higher_for_sooner_and_lowest_for_never():
    """Also than the last iteration that a file can hold. Control: a float does not hold one more."""
    found = tables.earliness([0, 3, LARGEST_COUNT, None])
    assert found.tolist() == sorted(found, reverse=True)
    assert len(set(found)) == 4
    assert float(LARGEST_COUNT + 1) == float(LARGEST_COUNT)

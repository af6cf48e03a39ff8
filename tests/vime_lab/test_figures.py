"""Statistics over seeds against enumeration and closed forms, tables against their text, figures by what they draw."""

import csv
import itertools
import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

from vime_lab import figures
from vime_lab import statistics as curves
from vime_lab.runs import COLUMNS

NAN = math.nan
Rows = list[dict[str, Any]]


def row(
    bonus: str, seed: int, iteration: int, mean: float = 0.0, **values: Any
) -> dict[str, Any]:
    """A row of a learning curve; a plain agent has no model and so no numbers of one."""
    model = NAN if bonus == "none" else 1.0 + seed + iteration
    given = {
        "task": "Hill",
        "bonus": bonus,
        "setting": "",
        "seed": seed,
        "iteration": iteration,
        "return_mean": mean,
    }
    given |= {
        "steps": 100 * (iteration + 1),
        "return_max": mean,
        "gain_median": 0.0 if bonus == "none" else model,
    }
    given |= {
        "elbo": -model,
        "kl_prior": model,
        "heldout_log_likelihood": -2.0 * model,
        "wall_s": 2.0 * iteration,
    }
    given |= {"heldout_error_ratio": 1.0 / model}
    return dict.fromkeys(COLUMNS, NAN) | given | values


def run(bonus: str, seed: int, means: list[float], **values: Any) -> Rows:
    return [
        row(bonus, seed, iteration, mean, **values)
        for iteration, mean in enumerate(means)
    ]


def write(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


# ---------------------------------------------------------------- rows


def test_read_curve_against_what_was_written(tmp_path):
    rows = [
        row("vime", 1, 2, 0.1 + 0.2, setting="agent.eta=0.1"),
        row("none", 0, 0, NAN, note="kept"),
    ]
    rows[0]["note"] = "ä, b"
    read = curves.read_curve(write(tmp_path / "curve.csv", rows))
    assert repr(read) == repr(
        [{name: each[name] for name in rows[0]} for each in rows]
    )  # nan and types included
    assert repr(read) != repr([{**each, "seed": float(each["seed"])} for each in read])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: None, "can't be read: No such file"),
        (lambda text: "", "holds no rows"),
        (lambda text: text.splitlines()[0], "holds no rows"),
        (
            lambda text: text.replace("elbo,", "nats,").replace("steps", "n"),
            "columns missing: steps, elbo",
        ),
        (
            lambda text: text.replace(",7.25,", ",7.25x,"),
            "row 3: return_mean must be a finite number or nan, got '7.2",
        ),
        (
            lambda text: text.replace(",7.25,", ",-inf,"),
            "row 3: return_mean must be a finite number or nan, got '-inf'",
        ),
        (
            lambda text: text.replace("none,,0,0", "none,,0,0.0"),
            "row 3: iteration must be a whole number, got '0.0'",
        ),
        (
            lambda text: text[: text.rindex(",")],
            f"row 3 must have {len(COLUMNS)} cells, got {len(COLUMNS) - 1}",
        ),
        (
            lambda text: text.replace("Hill,none", "Lake,none"),
            "must be of one task, got Hill, Lake",
        ),
        (
            lambda text: text + text.splitlines()[1],
            "iteration 3 of bonus 'vime', seed 4 must come once",
        ),
        (lambda text: text.replace("Hill", "H\udcff"), "is no CSV file"),
    ],
)
def test_read_curve_names_the_file_and_what_is_wrong(change, reason, tmp_path):
    path = write(tmp_path / "curve.csv", [row("vime", 4, 3), row("none", 0, 0, 7.25)])
    text = change(path.read_text())
    path.unlink() if text is None else path.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"curve\.csv: ") as raised:
        curves.read_curve(path)
    assert reason in str(raised.value)


def test_final_returns_against_hand_counted_tenths():
    """Of 25 iterations the last two, of 9 the last one; nan left out. Control: the last iteration alone is another."""
    rows = run("vime", 2, [0.0] * 23 + [1.0, 2.0]) + run("vime", 0, [0.0] * 8 + [5.0])
    rows += run("vime", 1, [0.0] * 18 + [3.0, NAN]) + run(
        "vime", 7, [0.0] * 18 + [NAN, NAN]
    )
    rows += run("vime", 3, [9.0], setting="agent.eta=1") + run("none", 0, [4.0])
    found = curves.final_returns(rows[::-1], "vime")
    np.testing.assert_array_equal(found, [5.0, 3.0, 1.5, NAN])
    assert found[2] != rows[24]["return_mean"]
    assert curves.final_returns(rows, "vime", "agent.eta=1") == [9.0]
    with pytest.raises(ValueError, match="must hold bonus 'l2' with setting ''"):
        curves.final_returns(rows, "l2")


# ---------------------------------------------------------------- statistics

samples = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)


@given(samples.filter(lambda values: len(values) > 1))
def test_quartiles_against_the_standard_library(values):
    assert curves.quartiles(values) == pytest.approx(
        statistics.quantiles(values, n=4, method="inclusive")
    )


def test_quartiles_are_not_the_exclusive_ones():
    assert curves.quartiles([1.0, 2.0, 4.0]) != tuple(
        statistics.quantiles([1.0, 2.0, 4.0], n=4)
    )


@given(samples)
def test_interquartile_mean_against_dropping_by_hand(values):
    kept = sorted(values)
    for _ in range(len(values) // 4):
        kept.remove(min(kept))
        kept.remove(max(kept))
    assert curves.interquartile_mean(values) == pytest.approx(sum(kept) / len(kept))


def test_interquartile_mean_is_neither_mean_nor_median():
    values = [0.0, 1.0, 2.0, 4.0, 9.0, 30.0, 31.0, 90.0]
    assert curves.interquartile_mean(values) == 11.25  # (2 + 4 + 9 + 30) / 4
    assert {np.mean(values), np.median(values)}.isdisjoint({11.25})


def holds(interval: tuple[float, float], resampled: np.ndarray, level: float) -> bool:
    """Whether both ends are quantiles of all resamples, within 4 standard errors of 2000 drawn ones."""
    tail = (1.0 - level) / 2.0
    slack = 4.0 * math.sqrt(tail * (1.0 - tail) / curves.RESAMPLES)
    low, high = interval
    below = (
        np.mean(resampled < low - 1e-12) - slack
        <= tail
        <= np.mean(resampled <= low + 1e-12) + slack
    )
    above = (
        np.mean(resampled > high + 1e-12) - slack
        <= tail
        <= np.mean(resampled >= high - 1e-12) + slack
    )
    return bool(below and above)


def all_resamples(values: np.ndarray) -> np.ndarray:
    return np.array(list(itertools.product(values, repeat=len(values))))


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("statistic", [curves.interquartile_mean, np.mean])
def test_bootstrap_interval_against_all_resamples(statistic, level):
    """Control: neither the interval of another level nor the quantiles of the seeds themselves pass."""
    values = np.array([0.0, 1.0, 2.5, 4.7, 11.1])
    resampled = statistic(all_resamples(values), axis=1)
    assert holds(curves.bootstrap_interval(values, statistic, level), resampled, level)
    assert not holds(
        curves.bootstrap_interval(values, statistic, level - 0.2), resampled, level
    )
    assert not holds(
        tuple(np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])), resampled, level
    )


def test_bootstrap_interval_of_a_median_against_the_binomial_form():
    """The median of n = 2 m + 1 draws is at most the k-th value if more than m of n draws are: Bin(n, k / n)."""
    n = 11
    below = [stats.binom.sf(n // 2, n, k / n) for k in range(1, n + 1)]
    expected = [
        next(k for k, p in enumerate(below, 1) if p >= q) for q in (0.025, 0.975)
    ]
    assert curves.bootstrap_interval(np.arange(1, n + 1), np.median) == tuple(expected)
    assert curves.bootstrap_interval(np.arange(1, n + 1), np.median, 0.6) != tuple(
        expected
    )


def test_bootstrap_interval_of_one_seed_or_of_equal_values_is_none():
    """In one dimension, and of the columns of two. Control: two unlike seeds have one."""
    for values in ([3.0], [0.1] * 7):
        assert np.isnan(
            curves.bootstrap_interval(values, curves.interquartile_mean)
        ).all()
        both = (
            np.array(values)[:, None] + [[0.0, 1.0]] * np.arange(len(values))[:, None]
        )
        found = curves.bootstrap_interval(both, curves.interquartile_mean)
        assert np.isnan(found).tolist() == [[True, len(values) == 1]] * 2
    low, high = curves.bootstrap_interval([3.0, 4.0], curves.interquartile_mean)
    assert low < high


def test_bands_against_one_column_at_a_time():
    """Columns lack different seeds; of one seed there are no ends. Control: 0 in place of nan is another band."""
    values = np.random.default_rng(0).normal(size=(7, 9))
    values[0, 1:4] = values[2:, 3] = values[:, 5] = (
        NAN  # one seed in column 3, none in 5
    )
    statistic = curves.interquartile_mean
    found = curves.band(values, curves.interquartile_mean_band)
    for column, mine in zip(values.T, found.T):
        numbers = np.sort(column[np.isfinite(column)])
        if len(numbers) > 1:
            low, high = curves.bootstrap_interval(numbers, statistic)
            np.testing.assert_allclose(
                mine, [low, statistic(numbers), high], rtol=1e-12
            )
            np.testing.assert_allclose(curves.band(column[:, None], curves.quartile_band)[:, 0],
                                       curves.quartiles(numbers), rtol=1e-12)  # fmt: skip
    for ends in curves.STATISTICS.values():
        one = curves.band(values, ends)[:, 3]
        assert np.isnan(one).tolist() == [True, False, True]
        assert one[1] == values[1, 3]
    assert np.isnan(found).all(axis=0).tolist() == [place == 5 for place in range(9)]
    zeros = curves.band(np.nan_to_num(values), curves.interquartile_mean_band)
    assert not np.allclose(zeros[:, 1], found[:, 1])


@given(samples, samples)
def test_probability_of_improvement_against_mann_whitney(x, y):
    u = (
        stats.mannwhitneyu(x, y, method="asymptotic").statistic
        if len({*x, *y}) > 1
        else len(x) * len(y) / 2
    )
    assert curves.probability_of_improvement(x, y) == pytest.approx(
        u / (len(x) * len(y))
    )


def test_probability_of_improvement_counts_ties_half_and_has_a_direction():
    x, y = [1.0, 2.0, 3.0], [1.0, 1.0, 0.0]
    assert curves.probability_of_improvement(x, y) == pytest.approx(8 / 9)
    assert curves.probability_of_improvement(y, x) == pytest.approx(1 / 9)
    assert np.mean(np.greater.outer(x, y)) == pytest.approx(7 / 9)


def test_resampled_share_of_pairs_against_all_resamples():
    """Control: drawing the same seeds for both agents, as if they were pairs, is another interval."""
    x, y = np.array([1.0, 3.0, 5.0, 7.0]), np.array([0.0, 4.0, 2.0, 6.0])
    apart = (all_resamples(x)[:, None, :, None] > all_resamples(y)[:, None, :]).mean(
        axis=(2, 3)
    )  # no ties
    paired = np.diag(apart)
    assert holds(
        curves.percentile_interval((x, y), curves.share_of_pairs, 0.8, 0), apart, 0.8
    )
    assert not holds(tuple(np.quantile(paired, [0.1, 0.9])), apart, 0.8)
    assert not holds(
        curves.percentile_interval((y, x), curves.share_of_pairs, 0.8, 0), apart, 0.8
    )


def test_improvement_interval_of_agreeing_pairs_against_clopper_and_pearson():
    """All pairs won, lost or tied; k = 4 of them share no seed. Controls: 3 and 20 trials have other bounds."""
    x, y = np.arange(4.0), np.arange(-5.0, 0.0)
    bound, fewer, more = (
        stats.binomtest(k, k).proportion_ci(0.9, method="exact").low for k in (4, 3, 20)
    )
    assert curves.improvement_interval(x, y, 0.9) == pytest.approx((bound, 1.0))
    assert curves.improvement_interval(y, x, 0.9) == pytest.approx((0.0, 1.0 - bound))
    assert curves.improvement_interval(0.0 * x, 0.0 * y, 0.9) == pytest.approx(
        (bound / 2.0, 1.0 - bound / 2.0)
    )
    assert np.abs(np.subtract(bound, [fewer, more])).min() > 0.05
    for one, other in ((x[:1], y), (x, y[:1]), (x[:1], y[:1])):
        assert np.isnan(curves.improvement_interval(one, other)).all()


def test_improvement_interval_where_few_pairs_disagree_against_that_where_none_does():
    """One more pair lost never raises the lower end. Control: by the bootstrap alone it does, from 0.69 to 0.9."""
    y = np.arange(10.0)
    lows = [
        curves.improvement_interval(y + 10.0 - lost, y)[0]
        for lost in (0.0, 0.5, 1.5, 3.5)
    ]
    assert lows == sorted(lows, reverse=True)
    bootstrapped, _ = curves.percentile_interval(
        (y + 9.5, y), curves.share_of_pairs, 0.95, 0
    )
    assert bootstrapped > 0.9 > lows[0]
    middle = curves.percentile_interval((y + 0.5, y), curves.share_of_pairs, 0.95, 0)
    assert (
        curves.improvement_interval(y + 0.5, y) == middle
    )  # where it is the wider one, the bootstrap's


@pytest.mark.parametrize("n", [2, 5, 10])
def test_improvement_interval_covers_what_is_true_against_all_outcomes(n):
    """n seeds that win with probability p against n equal ones, all outcomes weighed: the bound's worst case.

    Margin: 88 % at least where 95 % are meant, for a percentile bootstrap of ten values falls short. Controls: the
    bootstrap alone hardly ever covers a large p; nor is a bound from n² pairs, as if none shared a seed, low enough.
    """
    seeds = [np.where(np.arange(n) < won, 1.0, -1.0) for won in range(n + 1)]
    intervals = np.array([curves.improvement_interval(x, np.zeros(n)) for x in seeds])
    plain = np.array(
        [
            curves.percentile_interval((x, np.zeros(n)), curves.share_of_pairs, 0.95, 0)
            for x in seeds
        ]
    )

    def coverage(ends: np.ndarray, p: np.ndarray) -> np.ndarray:
        covered = (ends[:, :1] <= p) & (p <= ends[:, 1:])
        return (stats.binom.pmf(np.arange(n + 1)[:, None], n, p) * covered).sum(axis=0)

    p = np.linspace(0.005, 0.995, 199)
    assert coverage(intervals, p).min() > 0.88
    assert coverage(plain, p).min() < 0.1
    assert (
        coverage(np.vstack([intervals[:-1], [0.025 ** (1.0 / n**2), 1.0]]), p).min()
        < 0.86
    )


@pytest.mark.parametrize("values", [[], 1.0, [1.0, NAN], [math.inf]])
def test_statistics_refuse_what_is_no_sample(values):
    for statistic in (
        curves.quartiles,
        curves.interquartile_mean,
        lambda v: curves.bootstrap_interval(v, np.mean),
        lambda v: curves.probability_of_improvement([1.0], v),
        lambda v: curves.improvement_interval(v, [1.0]),
    ):
        with pytest.raises(
            ValueError, match="must be finite numbers of at least one seed"
        ):
            statistic(values)


# ---------------------------------------------------------------- tables


def test_summary_against_its_text():
    """Seeds 0 to 3 of VIME end at 1, 1, 1 and 0.5; a run of L2 broke off, another has no return at the end."""
    rows = [
        each
        for seed in range(4)
        for each in run("vime", seed, [0.0] * (seed + 1) + [1.0 - (seed == 3) / 2])
    ]
    rows += run("l2", 0, [0.0, 0.0, 2.0], wall_s=7000.0) + run(
        "l2", 1, [0.25], wall_s=120.0
    )
    rows += run("l2", 2, [0.0, NAN], wall_s=36.0) + run("none", 0, [0.0] * 12)
    expected = """
Hill: return at the end, the mean over the last tenth of the iterations

                  seeds  iterations  first reward            median [quartiles]  IQM [95 % interval]  time a seed
TRPO + VIME           4         2-5  iteration 2.5 (4 of 4)   1.00 [0.88, 1.00]    1.00 [0.50, 1.00]        5.0 s
TRPO + L2 error  2 of 3         1-3  iteration 1 (2 of 3)     1.12 [0.69, 1.56]    1.12 [0.25, 2.00]      2.0 min
TRPO                  1          12  never (0 of 1)           0.00                 0.00                    22.0 s

P(TRPO + VIME > TRPO + L2 error)  0.50 [0.00, 1.00]
P(TRPO + VIME > TRPO)             1.00"""
    assert curves.summary(rows) == expected[1:]


def test_comparison_against_its_text():
    """The numbers of the summaries, worked out in the test above; half of the pairs beat L2, all the plain agent's.

    Two seeds bound a share of 1 by √0.025 = 0.16. Of the two L2 runs of Lake one has no return at the end.
    """
    hill = [
        each
        for seed in range(4)
        for each in run("vime", seed, [0.0] * (seed + 1) + [1.0 - (seed == 3) / 2])
    ]
    hill += run("l2", 0, [0.0, 0.0, 2.0], wall_s=7000.0) + run(
        "l2", 1, [0.25], wall_s=120.0
    )
    hill += run("none", 0, [0.0] * 12) + run("none", 1, [-1.0] * 12)
    lake = (
        run("none", 0, [3.0])
        + run("vime", 0, [NAN])
        + run("vime", 0, [4.0], setting="eta=1")
    )
    lake += (
        run("l2", 0, [NAN])
        + run("l2", 1, [5.0])
        + run("none", 0, [3.0], setting="eta=1")
    )
    expected = """
                    seeds  iterations    median [quartiles]   IQM [95 % interval]  P(VIME higher)     time a seed

Hill
TRPO + VIME             4         2-5   1.00 [ 0.88,  1.00]   1.00 [ 0.50,  1.00]                           5.0 s
TRPO + L2 error         2         1-3   1.12 [ 0.69,  1.56]   1.12 [ 0.25,  2.00]  0.50 [0.00, 1.00]     59.3 min
TRPO                    2          12  -0.50 [-0.75, -0.25]  -0.50 [-1.00,  0.00]  1.00 [0.16, 1.00]       22.0 s

Lake
TRPO                    1           1                  3.00                  3.00                           0.0 s
TRPO + VIME        0 of 1           1                  none                  none                           0.0 s
TRPO + L2 error    1 of 2           1                  5.00                  5.00                           0.0 s
TRPO + VIME eta=1       1           1                  4.00                  4.00                           0.0 s
TRPO eta=1              1           1                  3.00                  3.00  1.00                     0.0 s"""
    assert curves.comparison({"Hill": hill, "Lake": lake}) == expected[1:]


def test_summary_groups_a_sweep_by_setting():
    rows = [
        each
        for bonus in ("none", "vime")
        for setting in ("", "agent.eta=0.1 vime.likelihood_sigma=0.5")
        for seed in range(2)
        for each in run(
            bonus,
            seed,
            [-0.001, -12.0 * (bonus == "none")],
            setting=setting,
            wall_s=7200.0,
        )
    ]
    head, *lines = curves.summary(rows).splitlines()[2:]
    starts = [line.split("  ")[0] for line in lines]
    probability = "P(TRPO + VIME > TRPO)"
    assert starts == [
        *("", "as the task has it", "TRPO", "TRPO + VIME", probability),
        *(
            "",
            "agent.eta=0.1 vime.likelihood_sigma=0.5",
            "TRPO",
            "TRPO + VIME",
            probability,
        ),
    ]
    assert re.search(r" +-12\.0 \[-12\.0, -12\.0\] +-12\.0 +2\.0 h$", lines[2])
    assert re.search(r" +0\.0 \[ +0\.0, +0\.0\] +0\.0 +2\.0 h$", lines[3])
    assert len(head) == len(lines[2]) == len(lines[8])


def test_summary_of_a_run_without_returns_and_of_no_run():
    text = curves.summary(run("vime", 0, [NAN]) + run("none", 0, [1.0]))
    assert re.search(
        r"^TRPO \+ VIME +0 of 1 +1  never \(0 of 1\) +none +none +0.0 s$", text, re.M
    )
    for means in ([NAN], [1.0]), ([1.0], [NAN]), ([1.0], [1.0]):
        text = curves.summary(run("vime", 0, means[0]) + run("none", 0, means[1]))
        assert text.endswith("\nP(TRPO + VIME > TRPO)  0.50") == (
            means == ([1.0], [1.0])
        )
        assert ("P(" in text) == (means == ([1.0], [1.0]))
    with pytest.raises(ValueError, match="at least one row"):
        curves.summary([])


def test_summary_leaves_first_rewards_out_where_all_are_paid_at_once():
    """Control: it tells them of all if one seed of one bonus is paid later."""
    rows = (
        run("vime", 0, [1.0, 2.0])
        + run("vime", 1, [3.0, 4.0])
        + run("none", 0, [0.5, 0.0])
    )
    head, *lines = curves.summary(rows).splitlines()[2:5]
    assert re.split("  +", head)[1:] == [
        "seeds",
        "iterations",
        "median [quartiles]",
        "IQM [95 % interval]",
        "time a seed",
    ]
    assert re.fullmatch(
        r"TRPO \+ VIME +2 +2 +3.00 \[2.50, 3.50\] +3.00 \[2.00, 4.00\] +2.0 s", lines[0]
    )
    assert "iteration 0.5 (2 of 2)" in curves.summary(
        [*rows[2:], *run("vime", 0, [0.0, 2.0])]
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
            {**each, "return_max": float(each["iteration"] > 1000 + each["seed"])}
            for seed in range(10)
            for bonus in ("vime", "l2", "none")
            for each in run(bonus, seed, [size * (1.0 + seed / 11.0)] * 1012, **seconds)
        ]
        return curves.summary(rows) + "\n" + curves.timing(rows)

    lines = text(size).splitlines()
    assert max(map(len, lines)) <= 120
    assert "iteration 1005.5 (10 of 10)" in lines[3]
    assert len({len(line) for line in lines[2:6]}) == 1
    assert max(map(len, text(-520000.0).splitlines())) > 120


def test_timing_against_its_text():
    """Medians over seeds and iterations: 2 where the mean is 4. Control: without the slow row they differ."""
    names = ("sampling_s", "gains_s", "policy_s", "model_s", "other_s")
    rows = [
        row("vime", seed, 0, **dict(zip(names, (sampling, 0.25, 0.5, 3.0, 0.25))))
        for seed, sampling in enumerate([1.0, 2.0, 9.0])
    ]
    plain = [
        row("none", 0, 0, **dict(zip(names, (0.5, NAN, 0.125, 0.0, 0.0)))),
        row("idle", 0, 0, sampling_s=0.0),
    ]
    assert curves.timing(rows + plain).splitlines() == [
        "an iteration  sampling    gains   policy    model    other    all but sampling",
        "TRPO + VIME    2.000 s  0.250 s  0.500 s  3.000 s  0.250 s  2.0 times sampling",
        "TRPO           0.500 s     none  0.125 s  0.000 s  0.000 s  0.2 times sampling",
        "idle           0.000 s     none     none     none     none                none",
    ]
    assert "1.500 s" in curves.timing(rows[:2])
    sweep = curves.timing(
        [*rows[:2], {**rows[2], "setting": "agent.eta=1"}]
    ).splitlines()[1:]
    assert [(line[:23].strip(), line[23:].split()[0]) for line in sweep] == [
        ("TRPO + VIME", "1.500"),
        ("TRPO + VIME agent.eta=1", "9.000"),
    ]


# ---------------------------------------------------------------- figures


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Figure]:
    """A drawing function's figure, after it was written in low resolution."""
    monkeypatch.setattr(figures, "DPI", 40)
    written: list[Figure] = []
    savefig = Figure.savefig

    def keep(self: Figure, *arguments: Any, **keywords: Any) -> None:
        written.append(self)
        savefig(self, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", keep)

    def draw(function: Callable[..., None], *arguments: Any) -> Figure:
        function(tmp_path / "figure.png", *arguments)
        assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
        return written[-1]

    return draw


def some_rows(shift: float = 0.0) -> Rows:
    return [
        each
        for bonus, slope in (("vime", 1.0), ("l2", 0.5), ("none", 0.0))
        for seed in range(4)
        for each in run(
            bonus,
            seed,
            [
                slope * i * (1.0 + seed) + shift * (seed == 3) * (i == 5)
                for i in range(8)
            ],
        )
    ]


def labels(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def texts(figure: Figure) -> list[list[str]]:
    return [[text.get_text() for text in axes.texts] for axes in figure.axes]


def visits(shift: float = 0.0) -> dict[str, np.ndarray]:
    states = np.random.default_rng(0).normal(size=(50, 2))
    return {
        "none": states,
        "vime": 2.0 * states + shift * (np.arange(50) == 7)[:, None],
    }


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (figures.draw_learning_curve, lambda shift: (some_rows(shift),)),
        (
            figures.draw_results,
            lambda shift: ({"Hill": some_rows(), "Lake": some_rows(shift)},),
        ),
        (
            figures.draw_diagnostics,
            lambda shift: (
                [{**r, "elbo": r["elbo"] - shift * r["seed"]} for r in some_rows()],
            ),
        ),
        (figures.draw_state_visits, lambda shift: (visits(shift), ("x", "y"))),
    ],
)
def test_pictures_are_equal_for_equal_data_and_differ_for_other_data(
    function, arguments, tmp_path
):
    pictures = []
    for shift in (0.0, 0.0, 3.0):
        function(tmp_path / "picture.png", *arguments(shift))
        pictures.append((tmp_path / "picture.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_learning_curve_against_medians_and_interquartile_means(figure):
    """Control: means, which differ here, for seed 3 is far from the others."""
    rows = some_rows(shift=50.0)
    drawn = figure(figures.draw_learning_curve, rows)
    vime = np.array(
        [
            [r["return_mean"] for r in rows if (r["bonus"], r["seed"]) == ("vime", s)]
            for s in range(4)
        ]
    )
    ordered = np.sort(vime, axis=0)
    for axes in drawn.axes:
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), 100 * np.arange(1, 9))
        np.testing.assert_allclose(axes.lines[0].get_ydata(), ordered[1:3].mean(axis=0))
        assert not np.allclose(axes.lines[0].get_ydata(), vime.mean(axis=0))
    ends = [axes.collections[0].get_paths()[0].vertices[:, 1] for axes in drawn.axes]
    assert ends[0].max() == pytest.approx(np.quantile(vime[:, 5], 0.75))
    assert ends[1].max() == pytest.approx(
        curves.bootstrap_interval(ordered[:, 5], curves.interquartile_mean)[1]
    )
    assert labels(drawn) == ["TRPO + VIME", "TRPO + L2 error", "TRPO"]
    assert drawn.get_suptitle() == "Hill, 4 seeds"


def test_learning_curve_of_a_sweep_has_a_colour_for_each_setting(figure):
    rows = [
        {**each, "setting": setting}
        for setting in ("", "agent.eta=1")
        for each in some_rows()
    ]
    drawn = figure(figures.draw_learning_curve, rows)
    lines = drawn.axes[0].lines
    assert labels(drawn)[:2] == [
        "TRPO + VIME, as the task has it",
        "TRPO + L2 error, as the task has it",
    ]
    assert len({tuple(line.get_color()) for line in lines}) == 2
    assert [line.get_linestyle() for line in lines] == ["-", "--", ":"] * 2
    one = figure(
        figures.draw_learning_curve, [each for each in rows if each["bonus"] == "vime"]
    )
    assert labels(one) == ["as the task has it", "agent.eta=1"]


def test_learning_curve_of_one_iteration_is_dots(figure):
    drawn = figure(
        figures.draw_learning_curve,
        run("vime", 0, [1.0]) + run("luck", 0, [NAN]) + run("lot", 0, [2.0]),
    )
    assert [[line.get_marker() for line in axes.lines] for axes in drawn.axes] == [
        ["o", "o"]
    ] * 2
    assert labels(drawn) == ["TRPO + VIME", "luck", "lot"]
    assert len({line.get_color() for line in drawn.legends[0].get_lines()}) == 3
    assert drawn.get_suptitle() == "Hill, 1 seed"
    longer = figure(figures.draw_learning_curve, run("vime", 0, [1.0, 2.0]))
    assert longer.axes[0].lines[0].get_marker() != "o"


def test_learning_curve_of_runs_that_broke_off_goes_on_with_the_others(figure):
    rows = (
        run("vime", 0, [0.0, NAN, 0.0, 0.0])
        + run("vime", 1, [2.0, NAN])
        + run("none", 0, [NAN] * 4)
    )
    drawn = figure(figures.draw_learning_curve, rows)
    (line,) = drawn.axes[0].lines
    assert line.get_xydata().tolist() == [[100.0, 1.0], [300.0, 0.0], [400.0, 0.0]]
    assert drawn.get_suptitle() == "Hill, 1 to 2 seeds"
    assert texts(drawn) == [[], []]


def test_figures_without_numbers_say_so(figure):
    """A panel that says so has no labels of values; the others keep theirs."""
    rows = run("none", 0, [NAN] * 3)
    assert (
        texts(figure(figures.draw_learning_curve, rows)) == [["no episode ended"]] * 2
    )
    assert texts(figure(figures.draw_diagnostics, rows)) == [["no numbers"]] * 6
    drawn = figure(
        figures.draw_diagnostics,
        [{**each, "elbo": NAN, "kl_prior": NAN} for each in some_rows()],
    )
    assert texts(drawn) == [[], [], ["no numbers"], ["no numbers"], [], []]
    labelled = [axes.yaxis.get_tick_params()["labelleft"] for axes in drawn.axes]
    assert labelled == [True, True, False, False, True, True]


def test_results_have_a_column_for_each_task_and_one_legend(figure):
    short = [
        each
        for each in some_rows()
        if each["bonus"] != "l2" and each["seed"] < 1 + 3 * (each["bonus"] == "vime")
    ]
    drawn = figure(
        figures.draw_results,
        {"Hill": short, "Lake": some_rows(), "Bay": run("none", 0, [NAN])},
    )
    assert [axes.get_title() for axes in drawn.axes[:3]] == [
        "Hill\n1 to 4 seeds",
        "Lake\n4 seeds",
        "Bay\n1 seed",
    ]
    assert [len(axes.lines) for axes in drawn.axes] == [2, 3, 0] * 2
    assert [len(found) for found in texts(drawn)] == [0, 0, 1] * 2
    assert sorted(labels(drawn)) == ["TRPO", "TRPO + L2 error", "TRPO + VIME"]
    colors = {line.get_color() for axes in drawn.axes for line in axes.lines}
    assert colors == {"tab:red", "tab:orange", "tab:blue"}
    limits = [axes.get_ylim() for axes in drawn.axes]
    assert limits[:3] == limits[3:]
    assert limits[0] != limits[2]
    width, height = drawn.get_size_inches()
    assert width == 10.0
    assert height < 7.0


def test_diagnostics_against_medians_of_the_seeds(figure):
    """Seeds 0 to 3 have 1 + seed + iteration; a gain of 0 has no place on a logarithmic scale. 1 is a useless error."""
    rows = [
        {**each, "gain_median": each["gain_median"] * (each["iteration"] > 0)}
        for each in some_rows()
    ]
    drawn = figure(figures.draw_diagnostics, rows)
    returns, gain, elbo, kl, heldout, error = drawn.axes
    assert [axes.get_yscale() for axes in drawn.axes] == [
        "linear",
        "log",
        *["linear"] * 3,
        "log",
    ]
    assert [len(axes.lines) for axes in drawn.axes] == [
        15,
        10,
        10,
        10,
        10,
        11,
    ]  # four seeds and their median
    assert list(error.lines[10].get_ydata()) == [1.0, 1.0]
    i = np.arange(8)
    medians, inverse = 2.5 + i, 0.5 / (2 + i) + 0.5 / (3 + i)
    for axes, values in zip(
        (returns, elbo, kl, heldout, error),
        (2.5 * i, -medians, medians, -2.0 * medians, inverse),
    ):
        np.testing.assert_allclose(axes.lines[4].get_ydata(), values)
        assert axes.lines[4].get_linewidth() > axes.lines[3].get_linewidth()
    np.testing.assert_array_equal(
        gain.lines[4].get_xydata(), np.stack([np.arange(1, 8), medians[1:]], axis=1)
    )
    assert labels(drawn) == ["TRPO + VIME", "TRPO + L2 error", "TRPO"]


def test_state_visits_against_counted_shares(figure):
    """Four states in two corners: one has three quarters of them."""
    states = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    drawn = figure(
        figures.draw_state_visits, {"none": states, "luck": states[2:]}, ("x", "y")
    )
    shares = [
        axes.collections[0].get_array().compressed().tolist() for axes in drawn.axes[:2]
    ]
    assert shares == [[0.75, 0.25], [0.5, 0.5]]
    assert [axes.get_title() for axes in drawn.axes[:2]] == ["TRPO", "luck"]
    assert (drawn.axes[0].get_ylabel(), drawn.axes[1].get_xlabel()) == ("y", "x")

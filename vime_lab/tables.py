"""Tables of experiments, as text, from the rows of their learning curves.

`rows` always belong to one task. `vime_lab.statistics` defines the numbers.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from bnn_ref import Array
from vime_lab.rows import PHASES, Row
from vime_lab.statistics import (
    STATISTICS,
    Key,
    band,
    by_curve,
    finals_of,
    improvement_with_ends,
    last_tenth,
    quartile_band,
    runs,
    seed_table,
)

# ---------------------------------------------------------------- constants

# Parts of an iteration, each with a column of seconds.
PHASE_NAMES = tuple(name.removesuffix("_s") for name in PHASES)
LABELS = {
    "vime": "VIME",
    "none": "no bonus",
    "noise": "noise",
    "zscore": "z-score",
    "counts": "counts",
    "l2": "L2 error",
    "l2_path": "L2 error of the path",
}
DEFAULTS = "as the task has it"  # the name of the setting ""
NEVER = 2.0**54  # later than any iteration: a row's numbers end at 2^53

# ---------------------------------------------------------------- tables


def label(bonus: str) -> str:
    return LABELS.get(bonus, bonus)


def curve_label(key: Key) -> str:
    return f"{label(key[1])} {key[0]}".strip()


def summary(rows: Sequence[Row]) -> str:
    """The table at the end of a run: a line for each setting and bonus.

    Below the lines, the probability that VIME ends higher.

    first reward: the first iteration with a return not 0, as the median over the seeds
    that have one. Left out if every seed is rewarded from its first iteration on.
    Other numbers: median and quartiles of `final_returns`, and `interquartile_mean` with
    its bootstrap interval, to three digits, over the seeds with a return at the end
    ("2 of 3" seeds). One seed has no ends, and neither has an interval of width 0.

    Returns of up to four digits fit into 120 columns.
    """
    groups = by_curve(rows)
    finals = finals_of(groups)
    title, *table = summary_lines(groups, finals)
    lines = [
        f"{rows[0]['task']}: return at the end, "
        "the mean over the last tenth of the iterations",
        "",
        title,
    ]

    # each setting's lines, and the probabilities below them
    settings = list(dict.fromkeys(setting for setting, _ in groups))
    swept = settings != [""]
    for setting in settings:
        mine = {key: line for key, line in zip(groups, table) if key[0] == setting}
        sure = improvements({key: finals[key] for key in mine})
        if swept:
            lines += ["", setting or DEFAULTS]
        lines += mine.values()
        if sure and not swept:
            lines.append("")
        lines += sure
    return "\n".join(lines)


def summary_lines(groups: dict[Key, list[Row]], finals: dict[Key, Array]) -> list[str]:
    """The head of the summary's table, and a line for each curve."""
    firsts = [first_rewards(mine) for mine in groups.values()]
    late = any_late(firsts)
    rewards = [["first reward", *map(first_reward, firsts)]] if late else []
    columns = [
        ["", *(label(bonus) for _, bonus in groups)],
        ["seeds", *map(seeds_counted, finals.values())],
        ["iterations", *map(iterations, groups.values())],
        *rewards,
        *return_columns(finals.values()),
        ["time a seed", *map(time_a_seed, groups.values())],
    ]
    return aligned(list(zip(*columns)), left=(0, 3) if late else (0,))


def comparison(curves: dict[str, list[Row]]) -> str:
    """One table for several tasks, by title: a line for each setting and bonus.

    `final_returns` as in `summary`, and the probability that VIME's is higher, with its
    interval.
    """
    if not isinstance(curves, dict) or not curves:
        raise ValueError(f"curves must be rows by title, got {curves!r:.80}")
    table: list[tuple[str, ...]] = []
    titles = {}
    for title, rows in curves.items():
        head, *lines_of_task = comparison_lines(rows)
        table = table or [head]
        titles[len(table)] = title
        table += lines_of_task

    return with_titles(aligned(table, (0, 5)), titles)


def comparison_lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The head of the comparison's table, and the cells of each curve of a task."""
    groups = by_curve(rows)
    finals = finals_of(groups)
    columns = [
        ["", *map(curve_label, groups)],
        ["seeds", *map(seeds_counted, finals.values())],
        ["iterations", *map(iterations, groups.values())],
        *return_columns(finals.values()),
        ["P(VIME higher)", *(improvement(finals, key) for key in groups)],
        ["time a seed", *map(time_a_seed, groups.values())],
    ]
    return list(zip(*columns))


def bonuses(curves: dict[str, list[Row]]) -> str:
    """The results of each bonus, a line for each curve of several tasks, by title.

    first reward: as in `summary`.
    mean of medians: over iterations, of the median return over seeds; the measure of the
    original code's author.
    gain: raw; the median over seeds and iterations of an iteration's median, if it is
    not 0. VIME's is in nats, other bonuses' in units of their own.
    share: of the bonus in all rewards at the end, the median over seeds.
    mean/median: of an iteration's raw gains, the median over seeds and iterations.
    """
    head = ("", "first reward", "mean of medians", "gain", "share", "mean/median")
    table: list[Sequence[str]] = [head]
    titles = {}
    for title, rows in curves.items():
        titles[len(table)] = title
        for key, mine in by_curve(rows).items():
            reward = first_reward(first_rewards(mine))
            table.append(
                (curve_label(key), reward, mean_of_medians(mine), *gain_cells(mine))
            )
    return with_titles(aligned(table, left=(0, 1)), titles)


def decided(curves: dict[str, list[Row]]) -> str:
    """The probability that VIME ends higher than each other bonus, a line for each task.

    Only of the task's own setting. Empty if no task has VIME and another bonus.
    """
    return compared(
        {title: finals_of(by_curve(rows)) for title, rows in curves.items()}
    )


def sooner(curves: dict[str, list[Row]]) -> str:
    """The probability that VIME finds a reward sooner, a line for each task.

    As `decided`, of `earliness`. A task is left out if every seed is rewarded from its
    first iteration on.
    """
    early = {}
    for title, rows in curves.items():
        groups = by_curve(rows)
        firsts = {key: first_rewards(mine) for key, mine in groups.items()}
        if any_late(firsts.values()):
            early[title] = {key: earliness(mine) for key, mine in firsts.items()}
    return compared(early)


def compared(numbers: dict[str, dict[Key, Array]]) -> str:
    """VIME against each other bonus, by task and curve: the higher number is better."""
    keys = [key for each in numbers.values() for key in each if key[0] == ""]
    others = [key for key in dict.fromkeys(keys) if key[1] != "vime"]
    columns = [["", *numbers]]
    for key in others:
        cells = [
            improvement(each, key) if key in each else "" for each in numbers.values()
        ]
        if any(cells):
            columns.append([label(key[1]), *cells])
    if len(columns) == 1:
        return ""
    return "\n".join(aligned(list(zip(*columns)), left=(0,)))


def with_titles(lines: Sequence[str], titles: dict[int, str]) -> str:
    """The lines, with a blank one and a title before some, by place."""
    text = []
    for place, line in enumerate(lines):
        if place in titles:
            text += ["", titles[place]]
        text.append(line)
    return "\n".join(text)


# ---------------------------------------------------------------- cells


def mean_of_medians(rows: Sequence[Row]) -> str:
    _, values = seed_table(rows, "return_mean", axis="iteration")
    medians = band(values, quartile_band)[1]
    seen = medians[np.isfinite(medians)]
    return f"{np.mean(seen):.3g}" if len(seen) else "none"


def gain_cells(rows: Sequence[Row]) -> list[str]:
    """The median gain, the share of the bonus at the end, mean over median of the gains."""
    gains = [row["gain_median"] for row in rows if row["gain_median"] > 0.0]
    shares = [last_share(run) for run in runs(rows).values()]
    ratios = [
        row["gain_mean"] / row["gain_median"]
        for row in rows
        if row["gain_median"] > 0.0
    ]
    cells = []
    for values in (gains, shares, ratios):
        known = [value for value in values if np.isfinite(value)]
        cells.append(f"{np.median(known):.2g}" if known else "none")
    return cells


def last_share(run: Sequence[Row]) -> float:
    """Mean share of the bonus over the last tenth of a run's iterations with a reward."""
    shares = [row["bonus_share"] for row in last_tenth(run)]
    known = [share for share in shares if np.isfinite(share)]
    return float(np.mean(known)) if known else float("nan")


def seeds_counted(finals: Array) -> str:
    """The number of seeds, such as "2 of 3" if only two have a return at the end."""
    counted = np.isfinite(finals).sum()
    return str(counted) if counted == len(finals) else f"{counted} of {len(finals)}"


def return_columns(finals: Collection[Array]) -> list[list[str]]:
    """The table's columns for the returns at the end.

    Median with quartiles, and interquartile mean with its interval.
    """
    heads = "median [quartiles]", "IQM [95 % interval]"
    columns = []
    for head, ends in zip(heads, STATISTICS.values()):
        triples = [band(values[:, None], ends)[:, 0] for values in finals]  # (3,) each
        columns.append([head, *with_ends(triples)])
    return columns


def improvement_cell(x: Array, y: Array) -> str:
    """The cell "0.97 [0.69, 1.00]": `probability_of_improvement` of x over y."""
    (cell,) = with_ends([np.array(improvement_with_ends(x, y))])
    return cell


def improvement(finals: dict[Key, Array], key: Key) -> str:
    """The `improvement_cell` in another bonus's line; empty if there is no comparison."""
    vime = finals.get((key[0], "vime"), np.zeros(0))
    vime = vime[np.isfinite(vime)]
    other = finals[key]
    other = other[np.isfinite(other)]
    if key[1] == "vime" or not (len(vime) and len(other)):
        return ""
    return improvement_cell(vime, other)


def improvements(finals: dict[Key, Array]) -> list[str]:
    """VIME compared with the other bonuses of its setting."""
    cells = {key: improvement(finals, key) for key in finals}
    table = [
        [f"P({label('vime')} > {label(key[1])})", cell]
        for key, cell in cells.items()
        if cell
    ]
    return in_columns(table, left=(0, 1))


def time_a_seed(rows: Sequence[Row]) -> str:
    seconds = [run[-1]["wall_s"] for run in runs(rows).values()]
    return duration(float(np.median(seconds)))


def iterations(rows: Sequence[Row]) -> str:
    lengths = [len(run) for run in runs(rows).values()]
    fewest = min(lengths)
    most = max(lengths)
    return str(fewest) if fewest == most else f"{fewest}-{most}"


def first_rewards(rows: Sequence[Row]) -> list[int | None]:
    """Each seed's first iteration with a mean return other than 0."""
    return [
        next((row["iteration"] for row in run if abs(row["return_mean"]) > 0.0), None)
        for run in runs(rows).values()
    ]


def any_late(firsts: Iterable[Sequence[int | None]]) -> bool:
    """Whether a first reward comes after the first iteration, or never."""
    return any(first != 0 for mine in firsts for first in mine)


def earliness(firsts: Sequence[int | None]) -> Array:
    """Numbers (seeds,) that are higher if the first reward comes sooner, lowest if never."""
    return np.array([-NEVER if first is None else -float(first) for first in firsts])


def first_reward(firsts: Sequence[int | None]) -> str:
    rewarded = [first for first in firsts if first is not None]
    when = f"iteration {np.median(rewarded):g}" if rewarded else "never"
    return f"{when} ({len(rewarded)} of {len(firsts)})"


def timing(rows: Sequence[Row]) -> str:
    """Median seconds of an iteration's parts, a line for each curve.

    The last column is the cost of learning in units of sampling.
    """
    table = [["an iteration", *PHASE_NAMES, "all but sampling"]]
    for key, mine in by_curve(rows).items():
        columns = np.array([[row[name] for name in PHASES] for row in mine])
        seconds = band(columns, quartile_band)[1]  # (parts,)
        table.append([curve_label(key), *map(seconds_cell, seconds), times(seconds)])
    return "\n".join(aligned(table, left=(0,)))


def seconds_cell(seconds: float) -> str:
    return "none" if np.isnan(seconds) else f"{seconds:.3f} s"


def times(seconds: Array) -> str:
    """The cost of all parts except the first, in units of the first."""
    sampling = seconds[0]
    learning = np.nansum(seconds[1:])
    return f"{learning / sampling:.1f} times sampling" if sampling > 0.0 else "none"


def with_ends(triples: Sequence[Array]) -> list[str]:
    """Aligned cells "middle [low, high]" of (low, middle, high).

    The largest number has three digits. If the ends are nan, the cell is "middle" and
    blanks.
    """
    # the format of all numbers
    numbers = [number for triple in triples for number in triple if np.isfinite(number)]
    largest = max(map(abs, numbers), default=0.0)
    digits = 2 if largest < 10.0 else 1 if largest < 100.0 else 0
    width = max((len(f"{number:z.{digits}f}") for number in numbers), default=0)

    # blanks for ends that are missing
    any_ends = any(not np.isnan(low) for low, *_ in triples)
    blanks = " " * (2 * width + 5) if any_ends else ""

    # the cells
    form = f"z{width}.{digits}f"
    cells = []
    for low, middle, high in triples:
        if np.isnan(middle):
            cells.append("none")
        elif np.isnan(low):
            cells.append(f"{middle:{form}}" + blanks)
        else:
            cells.append(ends_cell((low, middle, high), form))
    return cells


def ends_cell(triple: Sequence[float], form: str) -> str:
    """The cell "middle [low, high]" of (low, middle, high), in a format such as ".1f"."""
    low, middle, high = triple
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def duration(seconds: float) -> str:
    if seconds < 100.0:
        return f"{seconds:.1f} s"
    if seconds < 6000.0:
        return f"{seconds / 60.0:.1f} min"
    return f"{seconds / 3600.0:.1f} h"


def aligned(
    table: Sequence[Sequence[str]], left: Sequence[int], heads: int = 1
) -> list[str]:
    """The rows of a table `in_columns`; in a narrower terminal, a line for each value.

    There a row is one text of several lines, with the first cell above. The first `heads`
    rows name the columns. A file or pipe has no width, unless COLUMNS says so.
    """
    lines = in_columns(table, left)
    bound = shutil.get_terminal_size((sys.maxsize, 0)).columns
    if max(map(len, lines), default=0) <= bound:
        return lines

    corner, *names = (" ".join(filter(None, words)) for words in zip(*table[:heads]))
    width = max(map(len, names))
    rows = [corner, *[""] * (heads - 1)]
    for first, *cells in table[heads:]:
        values = [
            f"  {name:{width}}  {' '.join(cell.split())}"
            for name, cell in zip(names, cells)
            if cell.strip()
        ]
        rows.append("\n".join([first, *values]))
    return rows


def in_columns(table: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """The lines of a table, with columns two blanks apart.

    Columns are aligned right, except those in `left`.
    """
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = []
    for line in table:
        cells = [
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

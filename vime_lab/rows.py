"""Rows: the records of runs and studies, and their CSV files.

A run writes one row per iteration; a study's run writes one row per measured value. Both
kinds of file share one reader and one writer. nan is a missing number.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vime_lab.files import read_file

# ---------------------------------------------------------------- constants

# A run's identity and progress.
TEXTS = ("task", "bonus", "setting")
POSITION = ("seed", "iteration", "steps")
# An iteration's results, and diagnostics of the bonus's model.
SEEN = ("return_mean", "return_max", "position_max", "gain_median")
# Mean raw gain, and the bonus's share of all rewards: Σ η·gain / Σ (|r| + η·gain).
LATER_COLUMNS = ("gain_mean", "bonus_share")  # files of earlier versions lack them
MODEL_COLUMNS = ("elbo", "kl_prior", "heldout_log_likelihood", "heldout_error_ratio")
# Recent change per iteration.
TRENDED = ("gain_median", *MODEL_COLUMNS)
TRENDS = tuple(f"{name.removesuffix('_median')}_trend" for name in TRENDED)
# Seconds of an iteration's parts, and of the run.
PHASES = ("sampling_s", "gains_s", "policy_s", "model_s", "other_s")
TIMES = (*PHASES, "wall_s")

RUN_NUMBERS = (*POSITION, *SEEN, *LATER_COLUMNS, *MODEL_COLUMNS, *TRENDS, *TIMES)
RUN_COLUMNS = (*TEXTS, *RUN_NUMBERS)
STUDY_COLUMNS = ("study", "explorer", "size", "seed", "measure", "point", "value")
COUNTS = (*POSITION, "size", "point")  # whole numbers
REALS = (*SEEN, *LATER_COLUMNS, *MODEL_COLUMNS, *TRENDS, *TIMES, "value")
LARGEST_COUNT = 2**53  # a float holds all whole numbers up to it
LARGEST_REAL = 1e100  # squares and sums stay finite
MAX_CELLS = (
    1_000_000  # seeds times positions of a curve: 100 000 iterations of ten seeds
)

# ---------------------------------------------------------------- types

Row = dict[str, Any]

# ---------------------------------------------------------------- files


def table_bytes(columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    """The rows as the content of a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read_rows(path: Path | str, columns: Sequence[str]) -> list[Row]:
    """The rows of a file with at least these columns; other columns are kept as text.

    Raises ValueError, naming the file and the fault, if the file is invalid.
    """
    if not isinstance(path, Path | str):
        raise ValueError(f"path must be a path or a text, got {path!r}")
    names = isinstance(columns, list | tuple) and all(
        isinstance(each, str) for each in columns
    )
    if not names:
        raise ValueError(f"columns must be a list of names, got {columns!r}")
    (_, header), *lines = cells(path) or [(0, [])]
    check_table(path, header, lines, columns)
    rows = []
    for place, line in lines:
        where = f"{path}: row {place}"
        check_length(where, line, header)
        row: Row = dict(zip(header, line))
        rows.append(row | {name: typed(name, row[name], where) for name in columns})
    return rows


def read_curve(path: Path | str) -> list[Row]:
    """The rows of a task's runs: its learning curves. Raises like `read_rows`."""
    rows = read_rows(path, [name for name in RUN_COLUMNS if name not in LATER_COLUMNS])
    for row in rows:
        for name in LATER_COLUMNS:
            row[name] = typed(name, row.get(name, "nan"), str(path))
    check_curve(rows, path)
    return rows


def written_rows(path: Path) -> list[dict[str, str]]:
    """The complete rows of a file without a header that a run is still writing."""
    text = read_file(path, follow=False).decode(errors="replace")
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(whole.splitlines(), RUN_COLUMNS))


def cells(path: Path | str) -> list[tuple[int, list[str]]]:
    """The lines of a CSV file with their numbers, without blank ones.

    Spreadsheets write a byte order mark first, and commas into blank lines.
    Raises ValueError if the file can't be read.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""))
        return [(reader.line_num, line) for line in reader if any(map(str.strip, line))]
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is not a CSV file: {error}") from error


def typed(name: str, cell: str, where: str) -> str | int | float:
    """A cell's value. Rejects what no table, statistic or terminal could use."""
    if name in COUNTS:
        if not cell.isdecimal() or len(cell) > 16 or int(cell) > LARGEST_COUNT:
            wanted = f"{name} must be a whole number up to {LARGEST_COUNT}"
            raise ValueError(f"{where}: {wanted}, got {cell_text(cell)}")
        return int(cell)
    if name not in REALS:
        if not cell.isprintable():
            wanted = f"{name} must hold printable characters"
            raise ValueError(f"{where}: {wanted}, got {cell_text(cell)}")
        return cell
    # text that is not a number is rejected like infinity
    try:
        number = float(cell)
    except ValueError:
        number = math.inf
    if abs(number) > LARGEST_REAL:
        wanted = f"must be nan or a number up to {LARGEST_REAL:g}"
        raise ValueError(f"{where}: {name} {wanted}, got {cell_text(cell)}")
    return number


def cell_text(cell: str) -> str:
    """A stranger's cell as part of a message: no control characters, not too long."""
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:60]}..."


# ---------------------------------------------------------------- argument checks


def check_table(
    path: Path | str,
    header: Sequence[str],
    lines: Sequence[Any],
    columns: Sequence[str],
) -> None:
    if not lines:
        raise ValueError(f"{path}: holds no rows")
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(f"{path}: columns missing: {', '.join(missing)}")


def check_length(where: str, line: Sequence[str], header: Sequence[str]) -> None:
    if len(line) != len(header):
        raise ValueError(f"{where} must have {len(header)} cells, got {len(line)}")


def check_curve(rows: Sequence[Row], path: Path | str) -> None:
    """Raise ValueError unless there is one task and each iteration of a run appears once.

    Seeds with different iterations would make a table much larger than the file.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    if len(tasks) > 1:
        raise ValueError(f"{path}: must be of one task, got {', '.join(tasks)}")
    seen = set()
    for row in rows:
        name = (row["bonus"], row["setting"], row["seed"], row["iteration"])
        if name in seen:
            run = f"bonus {name[0]!r}, seed {name[2]}"
            raise ValueError(f"{path}: iteration {name[3]} of {run} must appear once")
        seen.add(name)
    places = {(row["bonus"], row["setting"], row["iteration"]) for row in rows}
    if len(places) * len({row["seed"] for row in rows}) > MAX_CELLS:
        wanted = f"seeds times values of iteration must be at most {MAX_CELLS}"
        raise ValueError(f"{path}: {wanted}")


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

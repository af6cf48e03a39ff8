"""Rows: round trips of files, and errors of invalid files."""

import math
import os
from pathlib import Path

import pytest
from lab import NAN, curve_row, curve_rows, write_table

from vime_lab.rows import RUN_COLUMNS, read_curve, written_rows

elsewhere = pytest.mark.usefixtures("elsewhere")


def test_read_curve_against_what_was_written(tmp_path):
    rows = [
        curve_row("vime", 1, 2, 0.1 + 0.2, setting="agent.eta=0.1"),
        curve_row("none", 0, 0, NAN, note="kept"),
    ]
    rows[0]["note"] = "ä, b"
    read = read_curve(write_table(tmp_path / "curve.csv", rows))
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
            "row 3: return_mean must be nan or a number up to 1e+100, got '7.2",
        ),
        (
            lambda text: text.replace(",7.25,", ",-inf,"),
            "row 3: return_mean must be nan or a number up to 1e+100, got '-inf'",
        ),
        (
            lambda text: text.replace("none,,0,0", "none,,0,0.0"),
            "row 3: iteration must be a whole number up to 9007199254740992, got '0.0'",
        ),
        (
            lambda text: text[: text.rindex(",")],
            f"row 3 must have {len(RUN_COLUMNS)} cells, got {len(RUN_COLUMNS) - 1}",
        ),
        (
            lambda text: text.replace("Hill,none", "Lake,none"),
            "must be of one task, got Hill, Lake",
        ),
        (
            lambda text: text + text.splitlines()[1],
            "iteration 3 of bonus 'vime', seed 4 must appear once",
        ),
        (lambda text: text.replace("Hill", "H\udcff"), "is not a CSV file"),
        (
            lambda text: text.replace(",7.25,", ",1e101,"),
            "row 3: return_mean must be nan or a number up to 1e+100, got '1e101'",
        ),
        (
            lambda text: text.replace("none,,0,0", f"none,,{2**53 + 1},0"),
            f"row 3: seed must be a whole number up to {2**53}, got '{2**53 + 1}'",
        ),
        (
            lambda text: text.replace("none,,0,0", f"none,,{'9' * 5000},0"),
            f"row 3: seed must be a whole number up to {2**53}, got '{'9' * 59}...",
        ),
        (
            lambda text: text.replace("none,", "\x1b[31mnone,"),
            r"row 3: bonus must hold printable characters, got '\x1b[31mnone'",
        ),
        (
            lambda text: text.replace("\nHill,none", "\n\n,,\nHill,none", 1).replace(
                "none,,0,0", "none,,0,x"
            ),
            "row 5: iteration must be a whole number",
        ),
    ],
)
def test_read_curve_names_the_file_and_what_is_wrong(change, reason, tmp_path):
    path = write_table(
        tmp_path / "curve.csv", [curve_row("vime", 4, 3), curve_row("none", 0, 0, 7.25)]
    )
    text = change(path.read_text())
    path.unlink() if text is None else path.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"curve\.csv: ") as raised:
        read_curve(path)
    assert reason in str(raised.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_file_saved_by_a_spreadsheet_or_an_editor_is_read(ending, tmp_path):
    """A byte order mark, blank lines, lines of commas. Oracle: the file before."""
    rows = [curve_row("vime", 4, 3), curve_row("none", 0, 0, 7.25)]
    path = write_table(tmp_path / "curve.csv", rows)
    before = repr(read_curve(path))
    lines = path.read_text().splitlines()
    commas = "," * (len(RUN_COLUMNS) - 1)
    edited = ["", *lines[:2], commas, "  ", *lines[2:], "", ""]
    path.write_text(ending.join(edited), encoding="utf-8-sig", newline="")
    assert repr(read_curve(path)) == before


def test_a_curve_whose_table_would_be_much_larger_than_its_file_is_rejected(tmp_path):
    """Each seed has another iteration. Control: as many rows of one seed are read."""
    number = 1001
    own = [curve_row("none", seed, seed) for seed in range(number)]
    with pytest.raises(ValueError, match="seeds times values of iteration must be at"):
        read_curve(write_table(tmp_path / "curve.csv", own))
    one = [curve_row("none", 0, place) for place in range(number)]
    assert len(read_curve(write_table(tmp_path / "curve.csv", one))) == number


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_is_rejected_without_waiting(make, tmp_path):
    make(tmp_path / "curve.csv")
    with pytest.raises(ValueError, match="can't be read: must be a regular file"):
        read_curve(tmp_path / "curve.csv")


@elsewhere
def test_a_row_that_is_being_written_is_left_out():
    whole = dict.fromkeys(RUN_COLUMNS, "1")
    line = ",".join(whole.values())
    Path("rows.csv").write_text(f"{line}\n{line}\n{line[:5]}")
    assert written_rows(Path("rows.csv")) == [whole, whole]
    Path("rows.csv").write_text(line)
    assert written_rows(Path("rows.csv")) == []


def test_files_of_earlier_versions_lack_two_columns_which_are_nan(tmp_path):
    """Control: a file that lacks another column is rejected."""
    rows = curve_rows("vime", 0, [0.0, 1.0])
    for gone in (("gain_mean", "bonus_share"), ("gain_median",)):
        kept = [{k: v for k, v in row.items() if k not in gone} for row in rows]
        path = write_table(tmp_path / "old.csv", kept)
        if "gain_median" in gone:
            with pytest.raises(ValueError, match=r"columns missing: gain_median"):
                read_curve(path)
        else:
            read = read_curve(path)
            assert [math.isnan(row["bonus_share"]) for row in read] == [True] * 2
            assert [math.isnan(row["gain_mean"]) for row in read] == [True] * 2
            assert [row["return_mean"] for row in read] == [0.0, 1.0]

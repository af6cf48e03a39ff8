"""Result files: the folder of a task's runs or of a study.

`config.json` holds everything needed to reproduce the other files. New files replace old
ones atomically. Numbers are on the disk before the first picture is drawn.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bnn_ref import Array
from vime_lab import figures
from vime_lab.checkpoints import changed_entry, flat, identity
from vime_lab.files import read_file, write_files
from vime_lab.rows import RUN_COLUMNS, STUDY_COLUMNS, Row, read_curve, table_bytes
from vime_lab.runs import Result
from vime_lab.studies import catalogue
from vime_lab.tables import summary, timing
from vime_lab.tasks import TASKS, Job

# ---------------------------------------------------------------- constants

CURVE = "learning_curve.csv"
CONFIG = "config.json"
STUDY = "study.csv"
RUN_PICTURES = ("learning_curve.png", "state_visits.png", "diagnostics.png")
STUDY_PICTURE = "study.png"
STUDY_FILM = "study.gif"  # of a study that has an animation
RUN_FILES = (CURVE, CONFIG, *RUN_PICTURES)
STUDY_FILES = (STUDY, CONFIG, STUDY_PICTURE, STUDY_FILM)
# Packages of the extra `run`: they draw, show progress, and name the BLAS kernel.
RUN_EXTRA = ("tqdm", "matplotlib", "joblib", "threadpoolctl")
# Entries of config.json that determine the results.
MADE_WITH = ("task_name", "bonuses", "seeds", "settings", "swept")
# Entries that may change the last bits: the same settings, computed by something else.
DECIDING = ("root_seed", "code", "versions", "machine")

# ---------------------------------------------------------------- configurations


def run_configuration(
    task_name: str, arguments: argparse.Namespace, jobs: Sequence[Job]
) -> dict[str, Any]:
    """Every setting of a run, the versions that computed it, and its command."""
    # all jobs share the first job's settings
    own = identity(jobs[0])
    return {
        "command": command_text(arguments),
        "root_seed": own["root_seed"],
        "code": own["code"],
        "task_name": task_name,
        "bonuses": arguments.bonus,
        "seeds": seeds_text(arguments.seeds),
        "jobs": arguments.jobs,
        "settings": own["task"],
        "swept": {name: values for name, values in arguments.set if len(values) > 1},
        "versions": own["versions"] | drawn_with(),
        "machine": own["machine"],
    }


def study_configuration(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The data to reproduce a study: its identity, command and versions."""
    own = catalogue.study_identity(name, seeds_text(arguments.seeds))
    all_versions = own["versions"] | drawn_with()
    return {"command": command_text(arguments), **own, "versions": all_versions}


def seeds_text(seeds: range) -> int | str:
    """Seeds as the command line takes them: their number, or "100:110"."""
    return f"{seeds.start}:{seeds.stop}" if seeds.start else len(seeds)


def command_text(arguments: argparse.Namespace) -> str:
    return shlex.join(["vime-ref", *arguments.command_line])


def drawn_with() -> dict[str, str]:
    return {name: version(name) for name in RUN_EXTRA}


# ---------------------------------------------------------------- results of before


def holds_results(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CURVE, STUDY))


def other_settings(folder: Path, config: Mapping[str, Any]) -> str:
    """The difference of the folder's results from those of this run, or "".

    If nothing is known about them, they differ.
    """
    if not holds_results(folder):
        return ""
    there = kept_configuration(folder)
    if not there:
        return f"its {CONFIG} is missing or damaged"
    return first_difference(there, config, MADE_WITH)


def other_origin(folder: Path, config: Mapping[str, Any]) -> str:
    """The difference of code, versions or machine of the folder's results from this run's, or ""."""
    return first_difference(kept_configuration(folder), config, DECIDING)


def is_complete(folder: Path) -> bool:
    """Whether the folder holds all files of runs of which none failed."""
    alone = (folder / STUDY).exists()
    wanted = (STUDY, STUDY_PICTURE) if alone else (CURVE, *RUN_PICTURES)
    there = kept_configuration(folder)
    drawn = all((folder / name).exists() for name in wanted)
    return drawn and bool(there) and not there.get("failed")


def kept_configuration(folder: Path) -> dict[str, Any]:
    """The configuration of a folder's results; an empty one if it can't be read."""
    try:
        there = json.loads(read_file(folder / CONFIG).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return there if isinstance(there, dict) else {}


def first_difference(
    there: Mapping[str, Any], config: Mapping[str, Any], names: Sequence[str]
) -> str:
    """The first difference between the entries of these names, or "".

    Versions of what only draws or shows progress don't count.
    """
    texts = json.loads(json.dumps(config))
    mine, theirs = (flat(entries_of(each, names)) for each in (texts, there))
    return changed_entry(theirs, dict.fromkeys(theirs) | mine)


def entries_of(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    entries = {name: config.get(name) for name in names}
    used = entries.get("versions")
    if isinstance(used, dict):
        kept = {name: used[name] for name in used if name not in RUN_EXTRA}
        entries["versions"] = kept
    return entries


# ---------------------------------------------------------------- writing


def write_results(
    out: Path, config: dict[str, Any], results: Sequence[Result]
) -> tuple[str, list[str]]:
    """Write the files of a task's runs to the folder `out`.

    Returns the tables, and a line for each picture that can't be drawn. In a sweep, the
    picture of visited states shows the first setting.
    Raises OSError if the numbers can't be written. The previous files then remain.
    """
    # the numbers
    rows = [row for result in results for row in result.rows]
    write_numbers(out, config, CURVE, table_bytes(RUN_COLUMNS, rows))

    # the pictures
    visits = visits_of(results, config["bonuses"])
    axes = TASKS[config["task_name"]].axes
    curve, visited, diagnosed = (out / name for name in RUN_PICTURES)
    faults = draw_pictures(
        {
            curve: lambda: figures.draw_learning_curve(curve, rows),
            visited: lambda: figures.draw_state_visits(visited, visits, axes),
            diagnosed: lambda: figures.draw_diagnostics(diagnosed, rows),
        }
    )
    return f"{summary(rows)}\n\n{timing(rows)}", faults


def write_numbers(out: Path, config: dict[str, Any], name: str, table: bytes) -> None:
    """Write a table and its settings. The settings come first: no table lacks them."""
    settings = json.dumps(config, indent=2) + "\n"
    write_files({out / CONFIG: settings.encode(), out / name: table})


def draw_pictures(drawing: Mapping[Path, Callable[[], None]]) -> list[str]:
    """Draw each picture; return a line for each that can't be drawn.

    Its previous file is removed, because it shows other numbers.
    """
    faults = []
    for path, draw in drawing.items():
        try:
            draw()
        except Exception as error:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            faults.append(f"can't draw {path}: {reason_of(error)}")
    return faults


def reason_of(error: Exception) -> str:
    """The error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}".splitlines()[0]


def visits_of(results: Sequence[Result], bonuses: Sequence[str]) -> dict[str, Array]:
    """For each bonus, the states (n, 2) that the first setting's runs visited."""
    first = results[0].job.setting
    visits = {}
    for bonus in reversed(bonuses):
        mine = [
            result.visits
            for result in results
            if (result.job.setting, result.job.bonus_name) == (first, bonus)
        ]
        if mine:
            visits[bonus] = np.concatenate(mine)  # (n, 2)
    return visits


def write_study(
    out: Path, config: dict[str, Any], rows: Sequence[Row]
) -> tuple[str, list[str]]:
    """Write the files of a study to the folder `out`.

    Returns and raises like `write_results`.
    """
    mine = list(rows)
    write_numbers(out, config, STUDY, table_bytes(STUDY_COLUMNS, mine))
    names = catalogue.study_pictures(mine, STUDY_PICTURE, STUDY_FILM)
    paths = [out / name for name in names]
    drawing = {path: partial(catalogue.draw_study, path, mine) for path in paths}
    return catalogue.study_table(mine), draw_pictures(drawing)


# ---------------------------------------------------------------- reading


def read_curves(folders: Sequence[Path]) -> dict[str, list[Row]]:
    """The learning curves of several folders, by unique titles.

    Raises ValueError, naming the file and the fault, if a file is invalid.
    """
    curves = {folder: read_curve(folder / CURVE) for folder in folders}
    tasks = [rows[0]["task"] for rows in curves.values()]
    titled = {}
    for folder, task in zip(curves, tasks):
        title = task if tasks.count(task) == 1 else f"{task} ({folder})"
        titled[title] = curves[folder]
    return titled


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Result files: the folder of a task's runs or of a study.

`config.json` holds everything needed to reproduce the other files. New files replace old
ones atomically.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bnn_ref import Array
from vime_lab import figures
from vime_lab.checkpoints import identity
from vime_lab.rows import RUN_COLUMNS, STUDY_COLUMNS, Row, read_curve, write_rows
from vime_lab.runs import Result
from vime_lab.studies import catalogue
from vime_lab.tables import summary, timing
from vime_lab.tasks import TASKS, Job

# ---------------------------------------------------------------- constants

CURVE = "learning_curve.csv"
CONFIG = "config.json"
STUDY = "study.csv"
RUN_FILES = (
    CURVE,
    CONFIG,
    "learning_curve.png",
    "state_visits.png",
    "diagnostics.png",
)
STUDY_FILES = (STUDY, CONFIG, "study.png")
# Packages of the extra `run`, which draw results and show progress.
RUN_EXTRA = ("tqdm", "matplotlib", "joblib")
# Entries of config.json that determine the results.
MADE_WITH = ("task_name", "bonuses", "seeds", "settings", "swept")

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
        "seeds": arguments.seeds,
        "jobs": arguments.jobs,
        "settings": own["task"],
        "swept": {name: values for name, values in arguments.set if len(values) > 1},
        "versions": own["versions"] | drawn_with(),
    }


def study_configuration(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The data to reproduce a study: its identity, command and versions."""
    own = catalogue.study_identity(name, arguments.seeds)
    all_versions = own["versions"] | drawn_with()
    return {"command": command_text(arguments), **own, "versions": all_versions}


def command_text(arguments: argparse.Namespace) -> str:
    return shlex.join(["vime-ref", *arguments.command_line])


def drawn_with() -> dict[str, str]:
    return {name: version(name) for name in RUN_EXTRA}


def holds_other_results(folder: Path, config: dict[str, Any]) -> bool:
    """Whether the folder holds results that this run would not reproduce.

    Also true if nothing is known about them.
    """
    if not any((folder / name).exists() for name in (CURVE, STUDY)):
        return False
    try:
        there = json.loads((folder / CONFIG).read_text())
        return any(there[name] != config[name] for name in MADE_WITH)
    except (OSError, ValueError, KeyError, TypeError):
        return True


# ---------------------------------------------------------------- writing


@contextmanager
def whole_files(out: Path) -> Iterator[Path]:
    """A temporary folder; after the block its files move to `out`, each atomically.

    If the block fails, none of them does.
    """
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as folder:
        yield Path(folder)
        # in alphabetical order, config.json comes first: no table lacks it
        for made in sorted(Path(folder).iterdir()):
            os.replace(made, out / made.name)


def write_results(out: Path, config: dict[str, Any], results: Sequence[Result]) -> str:
    """Write the files of a task's runs to the folder `out`; return the tables.

    In a sweep, the picture of visited states shows the first setting.
    """
    rows = [row for result in results for row in result.rows]
    visits = visits_of(results, config["bonuses"])
    axes = TASKS[config["task_name"]].axes
    with whole_files(out) as folder:
        curve, settings, *pictures = (folder / name for name in RUN_FILES)
        write_rows(curve, RUN_COLUMNS, rows)
        settings.write_text(json_text(config))
        figures.draw_learning_curve(pictures[0], rows)
        figures.draw_state_visits(pictures[1], visits, axes)
        figures.draw_diagnostics(pictures[2], rows)
    return f"{summary(rows)}\n\n{timing(rows)}"


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


def write_study(out: Path, config: dict[str, Any], rows: Sequence[Row]) -> str:
    """Write the files of a study to the folder `out`; return the table."""
    with whole_files(out) as folder:
        table, settings, picture = (folder / name for name in STUDY_FILES)
        write_rows(table, STUDY_COLUMNS, rows)
        settings.write_text(json_text(config))
        catalogue.draw_study(picture, list(rows))
    return catalogue.study_table(list(rows))


def json_text(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=2) + "\n"


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

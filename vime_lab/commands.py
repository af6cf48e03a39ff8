"""The commands `run` and `figure`: argument checks, execution, messages.

A run is a function of its settings and seed: neither the number of processes nor an
interruption changes its numbers. `vime_lab.arguments` defines the arguments.
"""

from __future__ import annotations

import argparse
import glob
import importlib.util
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vime_lab import figures, results
from vime_lab.arguments import INTERRUPTED, Parser, pip_install
from vime_lab.checkpoints import CheckpointError, read_checkpoint
from vime_lab.files import make_folder
from vime_lab.processes import WorkerError, progress_bar, run_jobs
from vime_lab.results import (
    CURVE,
    RUN_EXTRA,
    RUN_FILES,
    STUDY,
    STUDY_FILES,
    STUDY_PICTURE,
    holds_other_results,
)
from vime_lab.runs import Result
from vime_lab.studies import catalogue
from vime_lab.studies.catalogue import STUDIES
from vime_lab.tables import comparison
from vime_lab.tasks import BONUSES, MUJOCO_TASKS, TASKS, Job, jobs_of

# ---------------------------------------------------------------- constants

CHECKPOINTS = "checkpoints"  # folder inside the results until a run is complete
NOT_OF_STUDIES = ("bonus", "iterations", "eta", "set", "resume")  # arguments of `run`

TRY_AGAIN = "repeat the command with --resume to try again"

# ---------------------------------------------------------------- run


def run(arguments: argparse.Namespace) -> int:
    """Execute `run`; return the exit code. An interruption prints one line."""
    check_run(arguments)
    studied = arguments.task[0] in STUDIES
    resumed = "repeat the command with --resume to continue"
    goes_on = "nothing was written" if studied else resumed
    # an interruption prints one line
    try:
        return run_studies(arguments) if studied else run_tasks(arguments)
    except WorkerError as error:
        sys.stderr.write(f"\nvime-ref: {error}; {goes_on}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"\nvime-ref: interrupted; {goes_on}\n")
        return INTERRUPTED


def run_tasks(arguments: argparse.Namespace) -> int:
    """Train, write, print; return 1 if a run failed or results could not be written."""
    began = time.perf_counter()
    planned = plan(arguments)
    jobs = list(planned)
    paths = list(planned.values())
    with progress_bar(jobs, paths):
        made = run_jobs(jobs, paths, arguments.jobs)

    # the successful runs, task by task
    written = True
    for name in arguments.task:
        mine = [result for result in made if result.job.task_name == name]
        folder = planned[mine[0].job].parent.parent
        written = show_task(folder, name, arguments, mine, began) and written

    # the failed runs
    failed = [result for result in made if result.failure]
    for result in failed:
        sys.stderr.write(f"vime-ref: {name_of(result.job)} failed: {result.failure}\n")
    if failed:
        again = "repeat the command with --resume to rerun the failed runs"
        sys.stderr.write(f"vime-ref: {again}\n")
    if failed or not written:
        return 1
    remove_checkpoints(paths)
    return 0


def show_task(
    folder: Path,
    name: str,
    arguments: argparse.Namespace,
    made: Sequence[Result],
    began: float,
) -> bool:
    """Write and print the results of a task's runs; return False if writing fails."""
    finished = [result for result in made if not result.failure]
    if not finished:
        return True
    # the settings, and the failed runs
    jobs = [result.job for result in made]
    config = results.run_configuration(name, arguments, jobs)
    config["failed"] = [name_of(result.job) for result in made if result.failure]

    # files and tables
    try:
        tables, faults = results.write_results(folder, config, finished)
    except OSError as error:
        sys.stderr.write(f"{cannot_write(folder, error)}; {TRY_AGAIN}\n")
        return False
    print(f"\n{tables}\n\n{wrote(folder, began, RUN_FILES)}")
    return not show_faults(faults, TRY_AGAIN)


def show_faults(faults: Sequence[str], again: str) -> bool:
    """Name the pictures that can't be drawn; return whether there are any."""
    for fault in faults:
        sys.stderr.write(f"vime-ref: {fault}; {again}\n")
    return bool(faults)


def run_studies(arguments: argparse.Namespace) -> int:
    """Run one study after another; return 1 if results could not be written."""
    # check all folders before the first run
    folders = {name: folder_of(name, arguments) for name in arguments.task}
    configs = {name: results.study_configuration(name, arguments) for name in folders}
    for name, folder in folders.items():
        check_folder(folder, configs[name], arguments)

    drawn = True
    for name, folder in folders.items():
        began = time.perf_counter()
        jobs = catalogue.study_jobs(name, arguments.seeds)
        rows = catalogue.run_study(jobs, arguments.jobs)
        try:
            make_folder(folder)
            table, faults = results.write_study(folder, configs[name], rows)
        except OSError as error:
            sys.stderr.write(f"{cannot_write(folder, error)}\n")
            return 1
        print(f"\n{table}\n\n{wrote(folder, began, STUDY_FILES)}")
        picture = str(folder / STUDY_PICTURE)
        words = ["vime-ref", "figure", str(folder), "--out", picture]
        redraw = f"draw it with {shlex.join(words)}"
        drawn = not show_faults(faults, redraw) and drawn
    return 0 if drawn else 1


def folder_of(name: str, arguments: argparse.Namespace) -> Path:
    """The folder for a task's or a study's results; with several, each has its own."""
    out: Path = arguments.out
    return out if len(arguments.task) == 1 else out / name


def wrote(folder: Path, began: float, files: Sequence[str]) -> str:
    """The files that were written; a picture that can't be drawn is not there."""
    seconds = time.perf_counter() - began
    made = [name for name in files if (folder / name).exists()]
    return f"wrote {folder}/ after {seconds:.0f} s: {', '.join(made)}"


def cannot_write(folder: Path, error: OSError) -> str:
    return f"vime-ref: can't write to {folder}: {error.strerror or error}"


# ---------------------------------------------------------------- the plan of a run


def plan(arguments: argparse.Namespace) -> dict[Job, Path]:
    """The jobs of all tasks, with their checkpoints.

    Exits with one line if the folder holds results or checkpoints of other runs.
    """
    planned: dict[Job, Path] = {}
    for name in arguments.task:
        folder = folder_of(name, arguments)
        jobs = chosen_jobs(name, arguments)
        config = results.run_configuration(name, arguments, jobs)
        check_folder(folder, config, arguments)
        planned.update({job: checkpoint_of(folder, job) for job in jobs})
    check_checkpoints(planned, arguments)
    for path in planned.values():
        make_folder(path.parent)
    return planned


def chosen_jobs(name: str, arguments: argparse.Namespace) -> list[Job]:
    changes = list(arguments.set)
    if arguments.iterations:
        changes.append(("iterations", [arguments.iterations]))
    if arguments.eta is not None:
        changes.append(("agent.eta", [arguments.eta]))
    parser: Parser = arguments.parser
    try:
        return jobs_of(name, arguments.bonus, arguments.seeds, changes)
    except ValueError as error:
        parser.error(f"argument --set: {error}")


def checkpoint_of(folder: Path, job: Job) -> Path:
    names = (job.bonus_name, job.setting.replace(" ", ","), str(job.seed))
    return folder / CHECKPOINTS / f"{'-'.join(filter(None, names))}.npz"


def name_of(job: Job) -> str:
    names = (job.task_name, job.bonus_name, job.setting, f"seed {job.seed}")
    return " ".join(filter(None, names))


def remove_checkpoints(paths: Sequence[Path]) -> None:
    """Remove the checkpoints of finished runs.

    Keeps another run's checkpoints, and then also the folder.
    """
    for path in paths:
        for file in path.parent.glob(f"{glob.escape(path.stem)}.*"):
            file.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        with suppress(OSError):
            folder.rmdir()


# ---------------------------------------------------------------- figure


def figure(arguments: argparse.Namespace) -> int:
    """Show the results of several folders side by side, and print their tables."""
    # find the results
    found = sorted(path.parent for path in Path("runs").glob(f"*/{CURVE}"))
    folders = arguments.folders or found
    check_folders(folders, arguments)
    if (folders[0] / STUDY).exists():
        return study_figure(arguments, folders[0] / STUDY)

    # draw tasks
    try:
        curves = results.read_curves(folders)
    except ValueError as error:
        arguments.parser.reject(str(error))

    def draw() -> str:
        figures.draw_results(arguments.out, curves)
        return comparison(curves)

    return show_figure(arguments, draw)


def study_figure(arguments: argparse.Namespace, path: Path) -> int:
    """Redraw a study from its rows, and print its table."""
    try:
        rows = catalogue.read_study(path)
    except ValueError as error:
        arguments.parser.reject(str(error))

    def draw() -> str:
        catalogue.draw_study(arguments.out, rows)
        return catalogue.study_table(rows)

    return show_figure(arguments, draw)


def show_figure(arguments: argparse.Namespace, draw: Callable[[], str]) -> int:
    """Draw the figure, and print the table that `draw` returns."""
    check_packages("figure", ["matplotlib"], "run", arguments)
    try:
        table = draw()
    except OSError as error:
        where = f"can't write to {arguments.out}: {error.strerror}"
        arguments.parser.error(f"argument --out: {where}")
    print(f"{table}\n\nwrote {arguments.out}")
    return 0


# ---------------------------------------------------------------- argument checks


def check_run(arguments: argparse.Namespace) -> None:
    """Fill in defaults; exit with one line if a run could not succeed."""
    # tasks and bonuses, each once
    check_choices("task", arguments.task, [*TASKS, "all", *STUDIES], arguments)
    tasks = TASKS if "all" in arguments.task else arguments.task
    arguments.task = list(dict.fromkeys(tasks))
    check_studies(arguments)
    check_choices("bonus", arguments.bonus or [], BONUSES, arguments)
    arguments.bonus = list(dict.fromkeys(arguments.bonus or ("vime", "none")))

    # packages
    check_packages("run", RUN_EXTRA, "run", arguments)
    needing = [name for name in arguments.task if name in MUJOCO_TASKS]
    if needing:
        check_packages(needing[0], ["mujoco"], "mujoco", arguments)

    # the folder
    if arguments.out is None:
        single = arguments.task if len(arguments.task) == 1 else ()
        arguments.out = Path("runs", *single)
    try:
        make_folder(arguments.out)
        tempfile.TemporaryFile(dir=arguments.out).close()
    except OSError as error:
        where = f"can't write to {arguments.out}: {error.strerror}"
        arguments.parser.error(f"argument --out: {where}")


def check_choices(
    flag: str,
    values: Sequence[str],
    choices: Sequence[str],
    arguments: argparse.Namespace,
) -> None:
    for value in values:
        if value not in choices:
            wanted = f"invalid choice: {value!r} (choose from {', '.join(choices)})"
            arguments.parser.error(f"argument --{flag}: {wanted}")


def check_studies(arguments: argparse.Namespace) -> None:
    """Exit if a study is given together with other tasks or training flags."""
    named = [name for name in arguments.task if name in STUDIES]
    if not named:
        return
    if len(named) < len(arguments.task):
        alone = f"{named[0]} is a study and must be the only task"
        arguments.parser.error(f"argument --task: {alone}")
    default = arguments.parser.get_default
    for flag in NOT_OF_STUDIES:
        if getattr(arguments, flag) != default(flag):
            without = f"not allowed, because {named[0]} is a study"
            arguments.parser.error(f"argument --{flag}: {without}")


def check_packages(
    what: str, names: Sequence[str], extra: str, arguments: argparse.Namespace
) -> None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        needs = f"{what} needs {', '.join(missing)}"
        arguments.parser.reject(f"{needs}: {pip_install(extra, names)}")


def check_folder(
    folder: Path, config: dict[str, Any], arguments: argparse.Namespace
) -> None:
    if holds_other_results(folder, config):
        found = f"{folder} holds results of other settings"
        arguments.parser.reject(f"{found}: choose another --out, or remove it")


def check_checkpoints(
    planned: Mapping[Job, Path], arguments: argparse.Namespace
) -> None:
    """Exit if there is an unfinished run without --resume, or one that can't be resumed."""
    folders = {path.parent: 0 for path in planned.values()}
    there = [path for folder in folders for path in sorted(folder.glob("*.npz"))]
    if there and not arguments.resume:
        found = f"{there[0].parent} holds an unfinished run"
        arguments.parser.reject(f"{found}: add --resume, or remove that folder")
    for job, path in planned.items():
        try:
            if path.exists():
                read_checkpoint(path, job)
        except CheckpointError as error:
            arguments.parser.reject(str(error))


def check_folders(folders: Sequence[Path], arguments: argparse.Namespace) -> None:
    if not folders:
        wanted = f"name folders that contain a {CURVE}"
        arguments.parser.error(f"no results: {wanted}")
    studied = [folder for folder in folders if (folder / STUDY).exists()]
    if studied and len(folders) > 1:
        own = "holds a study, which has its own picture"
        arguments.parser.error(f"{studied[0]} {own}: name only this folder")


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

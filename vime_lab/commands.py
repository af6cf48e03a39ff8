"""The commands `run` and `figure`: argument checks, execution, messages.

A run is a function of its settings and seed: neither the number of processes nor an
interruption changes its numbers. `vime_lab.arguments` defines the arguments.
"""

from __future__ import annotations

import argparse
import glob
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from vime_gym.extras import lacking
from vime_lab import figures, results
from vime_lab.animations import ANIMATION
from vime_lab.arguments import Parser
from vime_lab.checkpoints import CheckpointError, locked
from vime_lab.files import TEMPORARY, make_folder
from vime_lab.processes import AnyJob, WorkerError, kept, progress_bar, run_jobs
from vime_lab.results import (
    CURVE,
    RUN_EXTRA,
    RUN_FILES,
    STUDY,
    STUDY_FILES,
    holds_results,
    is_complete,
    other_origin,
    other_settings,
)
from vime_lab.rows import Row
from vime_lab.runs import Result
from vime_lab.studies import catalogue
from vime_lab.studies.catalogue import STUDIES
from vime_lab.tables import bonuses, comparison, decided, sooner
from vime_lab.tasks import BONUSES, MUJOCO_TASKS, TASKS, Job, jobs_of

# ---------------------------------------------------------------- constants

CHECKPOINTS = "checkpoints"  # folder inside the results until a run is complete
# arguments of `run` that only training takes
NOT_OF_STUDIES = ("bonus", "agent", "settings", "iterations", "eta", "set")
NAMED = 8  # folders at most in a line
TRY_AGAIN = "repeat the command with --resume to try again"

# ---------------------------------------------------------------- run


def run(arguments: argparse.Namespace) -> int:
    """Execute `run`; return the exit code.

    Raises KeyboardInterrupt, with advice on how to continue, if it is interrupted.
    """
    check_run(arguments)
    goes_on = "repeat the command with --resume to continue"
    try:
        with claimed_folders(arguments):
            return run_tasks(arguments)
    except WorkerError as error:
        sys.stderr.write(f"\nvime-ref: {error}; {goes_on}\n")
        return 1
    except KeyboardInterrupt:
        raise KeyboardInterrupt(goes_on) from None


def run_tasks(arguments: argparse.Namespace) -> int:
    """Run, write, print; return 1 if a run failed or results could not be written."""
    began = time.perf_counter()
    planned = plan(arguments)
    if not planned:
        return 0
    jobs = list(planned)
    paths = list(planned.values())
    with progress_bar(jobs, paths):
        made = run_jobs(jobs, paths, arguments.jobs)

    # the successful runs, task by task
    written = True
    for name in arguments.task:
        mine = [result for result in made if words_of(result.job)[0] == name]
        folder = folder_of(name, arguments)
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
    print("how to read the files: vime-ref run --help, at its end")
    return 0


def show_task(
    folder: Path,
    name: str,
    arguments: argparse.Namespace,
    made: Sequence[Result],
    began: float,
) -> bool:
    """Write and print the results of a task's or study's runs; return False if writing fails.

    A study's table compares all of its runs, so nothing is written if one failed.
    """
    finished = [result for result in made if not result.failure]
    studied = name in STUDIES
    if not finished or (studied and len(finished) < len(made)):
        return True
    # the settings, and the failed runs
    config = configuration(name, arguments, [result.job for result in made])
    if not studied:
        config["failed"] = [name_of(result.job) for result in made if result.failure]

    # files and tables
    files = STUDY_FILES if studied else RUN_FILES
    sys.stderr.write(f"drawing the pictures of {name}\n")  # for up to 30 s
    try:
        if studied:
            rows = [row for result in finished for row in result.rows]
            tables, faults = results.write_study(folder, config, rows)
        else:
            tables, faults = results.write_results(folder, config, finished)
    except OSError as error:
        sys.stderr.write(f"{cannot_write(folder, error)}; {TRY_AGAIN}\n")
        return False
    print(f"\n{tables}\n\n{wrote(folder, began, files)}")
    for fault in faults:
        sys.stderr.write(f"vime-ref: {fault}; {TRY_AGAIN}\n")
    return not faults


def configuration(
    name: str, arguments: argparse.Namespace, jobs: Sequence[Any]
) -> dict[str, Any]:
    if name in STUDIES:
        return results.study_configuration(name, arguments)
    return results.run_configuration(name, arguments, jobs)


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


# ---------------------------------------------------------------- one command at a time


@contextmanager
def claimed_folders(arguments: argparse.Namespace) -> Iterator[None]:
    """Lock the folders of all results while the block runs.

    Exits with one line if another command has one of them.
    """
    names = {folder_of(name, arguments) for name in arguments.task}
    with ExitStack() as stack:
        for folder in sorted({arguments.out, *names}):
            with writing(arguments):
                make_folder(folder)
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            # some file systems can't lock a folder; each run also locks its checkpoint
            free = True
            with suppress(OSError):
                free = locked(descriptor)
            if not free:
                busy = f"{folder} is in use by another command"
                arguments.parser.reject(f"{busy}: choose another --out, or wait")
            remove_temporaries(folder)
        yield


def remove_temporaries(folder: Path) -> None:
    """Remove the results that a killed command left half written."""
    for name in {*RUN_FILES, *STUDY_FILES}:
        for left in folder.glob(f"{name}.[0-9]*{TEMPORARY}"):
            with suppress(OSError):
                left.unlink()


# ---------------------------------------------------------------- the plan of a run


def plan(arguments: argparse.Namespace) -> dict[AnyJob, Path]:
    """The jobs of all tasks or studies, with their checkpoints.

    With --resume, complete results are left as they are, and without jobs.
    Exits with one line if the folder holds results or checkpoints of other runs.
    """
    planned: dict[AnyJob, Path] = {}
    replaced = []
    for name in arguments.task:
        # results of other settings
        folder = folder_of(name, arguments)
        jobs = chosen_jobs(name, arguments)
        config = configuration(name, arguments, jobs)
        check_folder(folder, config, arguments)

        # results of these settings
        mine = {job: checkpoint_of(folder, job) for job in jobs}
        begun = any(path.exists() for path in mine.values())
        if holds_results(folder) and not begun:
            if arguments.resume and is_complete(folder):
                check_origin(folder, config, arguments)
                print(f"{folder}/ holds the results of this run: nothing to do")
                continue
            replaced.append(folder)
        planned.update(mine)

    # checkpoints
    check_checkpoints(planned, arguments)
    with writing(arguments):
        for folder in {path.parent.parent for path in planned.values()}:
            tempfile.TemporaryFile(dir=folder).close()
            make_folder(folder / CHECKPOINTS)
    for folder in replaced:
        sys.stderr.write(f"vime-ref: {replacing(folder, arguments.resume)}\n")
    return planned


def replacing(folder: Path, resumed: bool) -> str:
    """The fate of results of the same settings, whose checkpoints are gone."""
    if resumed:
        return (
            f"{folder} holds incomplete results: this run starts anew and replaces them"
        )
    held = f"{folder} holds results of these settings: this run replaces them"
    return f"{held}; --resume would keep them"


def chosen_jobs(name: str, arguments: argparse.Namespace) -> Sequence[AnyJob]:
    if name in STUDIES:
        return catalogue.study_jobs(name, arguments.seeds)
    changes = list(arguments.set)
    if arguments.iterations:
        changes.append(("iterations", [arguments.iterations]))
    if arguments.eta is not None:
        changes.append(("agent.eta", [arguments.eta]))
    if arguments.agent:
        changes.append(("learner", [arguments.agent]))
    parser: Parser = arguments.parser
    try:
        return jobs_of(
            name, arguments.bonus, arguments.seeds, changes, settings=arguments.settings
        )
    except ValueError as error:
        parser.error(f"argument --set: {error}")


def checkpoint_of(folder: Path, job: AnyJob) -> Path:
    _, *names = words_of(job)
    name = "-".join(word.replace(" ", ",") for word in names)
    return folder / CHECKPOINTS / f"{name}-{job.seed}.npz"


def name_of(job: AnyJob) -> str:
    return " ".join([*words_of(job), f"seed {job.seed}"])


def words_of(job: AnyJob) -> list[str]:
    """The words that tell the job from others of its seed: first its task or study."""
    if isinstance(job, Job):
        words = [job.task_name, job.bonus_name, job.setting]
    else:
        size = f"size {job.size}" if job.size else ""
        words = [job.study, job.explorer, size]
    return [word for word in words if word]


def remove_checkpoints(paths: Sequence[Path]) -> None:
    """Remove the checkpoints of finished runs.

    Keeps another run's checkpoints, and then also the folder.
    """
    for path in paths:
        shutil.rmtree(path.with_suffix(".work"), ignore_errors=True)
        for file in path.parent.glob(f"{glob.escape(path.stem)}.*"):
            file.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        with suppress(OSError):
            folder.rmdir()


# ---------------------------------------------------------------- figure


def figure(arguments: argparse.Namespace) -> int:
    """Show the results of several folders side by side, and print their tables."""
    check_packages("figure", ["matplotlib"], "run", arguments)

    # find the results
    found = sorted(path.parent for path in Path("runs").glob(f"*/{CURVE}"))
    folders = arguments.folders or found
    check_folders(folders, arguments)
    check_picture(arguments)
    if (folders[0] / STUDY).exists():
        return study_figure(arguments, folders[0] / STUDY)

    # the tasks
    try:
        curves = results.read_curves(folders)
    except ValueError as error:
        for folder in folders:
            check_results(folder, arguments)
        arguments.parser.reject(str(error))

    draw = partial(figures.draw_results, arguments.out, curves)
    return show_figure(arguments, partial(task_tables, curves), draw)


def task_tables(curves: dict[str, list[Row]]) -> str:
    """The tables of several tasks, by title."""
    tables = [comparison(curves), bonuses(curves)]
    for what, chances in {
        "ends higher": decided(curves),
        "finds a reward sooner": sooner(curves),
    }.items():
        if chances:
            tables.append(f"Probability that VIME {what}\n\n{chances}")
    return "\n\n".join(tables)


def study_figure(arguments: argparse.Namespace, path: Path) -> int:
    """Redraw a study from its rows, and print its table."""
    try:
        rows = catalogue.read_study(path)
    except ValueError as error:
        arguments.parser.reject(str(error))
    draw = partial(catalogue.draw_study, arguments.out, rows)
    return show_figure(arguments, partial(catalogue.study_table, rows), draw)


def show_figure(
    arguments: argparse.Namespace, tables: Callable[[], str], draw: Callable[[], None]
) -> int:
    """Print the tables, which need no file, and draw the figure."""
    with showing(arguments):
        text = tables()
    print(text, flush=True)
    with showing(arguments):
        make_folder(arguments.out.parent)
        draw()
    print(f"\nwrote {arguments.out}")
    return 0


@contextmanager
def showing(arguments: argparse.Namespace) -> Iterator[None]:
    """Exit with one line if the block can't show the results, which may be damaged."""
    try:
        yield
    except OSError as error:
        where = f"can't write to {arguments.out}: {error.strerror}"
        arguments.parser.error(f"argument --out: {where}")
    except Exception as error:
        reason = results.reason_of(error)
        arguments.parser.reject(f"can't draw {arguments.out}: {reason}")


# ---------------------------------------------------------------- argument checks


def check_run(arguments: argparse.Namespace) -> None:
    """Fill in defaults; exit with one line if a run could not succeed."""
    check_packages("run", RUN_EXTRA, "run", arguments)

    # tasks and bonuses, each once
    check_choices("task", arguments.task, [*TASKS, "all", *STUDIES], arguments)
    tasks = TASKS if "all" in arguments.task else arguments.task
    arguments.task = list(dict.fromkeys(tasks))
    check_studies(arguments)
    check_choices("bonus", arguments.bonus or [], BONUSES, arguments)
    arguments.bonus = list(dict.fromkeys(arguments.bonus or ("vime", "none")))
    if arguments.eta is not None and arguments.bonus == ["none"]:
        arguments.parser.error("argument --eta: has no effect without a bonus")

    # the locks of folders and checkpoints, and robots
    if importlib.util.find_spec("fcntl") is None:
        lacks = "run needs fcntl to lock its folder, which this system lacks"
        arguments.parser.reject(f"{lacks}: use Linux or macOS")
    check_robots(arguments)

    # the folder
    if arguments.out is None:
        single = arguments.task if len(arguments.task) == 1 else ()
        arguments.out = Path("runs", *single)


@contextmanager
def writing(arguments: argparse.Namespace) -> Iterator[None]:
    """Exit with one line if the block can't write to the folder of the results."""
    try:
        yield
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
            if flag == "iterations":
                without += "; --seeds 1 makes it smaller"
            arguments.parser.error(f"argument --{flag}: {without}")


def check_packages(
    what: str, names: Sequence[str], extra: str, arguments: argparse.Namespace
) -> None:
    if line := lacking(what, names, extra):
        arguments.parser.reject(line)


def check_robots(arguments: argparse.Namespace) -> None:
    """Exit if a task needs MuJoCo, which is missing; say which tasks are left without it."""
    needing = [name for name in arguments.task if name in MUJOCO_TASKS]
    line = lacking(" and ".join(needing), ["mujoco"], "mujoco") if needing else ""
    others = [name for name in arguments.task if name not in needing]
    if line and others:
        line = f"{line}; or leave them out: --task {' '.join(others)}"
    if line:
        arguments.parser.reject(line)


def check_folder(
    folder: Path, config: dict[str, Any], arguments: argparse.Namespace
) -> None:
    if differs := other_settings(folder, config):
        found = f"{folder} holds results of other settings ({differs})"
        arguments.parser.reject(f"{found}: choose another --out, or remove it")


def check_origin(
    folder: Path, config: dict[str, Any], arguments: argparse.Namespace
) -> None:
    if differs := other_origin(folder, config):
        found = f"{folder} holds results of other code or another machine ({differs})"
        again = "leave out --resume to replace them, or choose another --out"
        arguments.parser.reject(f"{found}: {again}")


def check_checkpoints(
    planned: Mapping[AnyJob, Path], arguments: argparse.Namespace
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
                kept(job, path)
        except CheckpointError as error:
            arguments.parser.reject(str(error))


def check_folders(folders: Sequence[Path], arguments: argparse.Namespace) -> None:
    if not folders:
        wanted = f"name folders that contain a {CURVE}, or one with a {STUDY}"
        arguments.parser.error(f"no results: {wanted}")
    studied = [folder for folder in folders if (folder / STUDY).exists()]
    if studied and len(folders) > 1:
        own = "holds a study, which has its own picture"
        arguments.parser.error(f"{studied[0]} {own}: name only this folder")


def check_results(folder: Path, arguments: argparse.Namespace) -> None:
    """Exit if the folder has no results; name those that stand in it or around it."""
    if holds_results(folder):
        return
    lacks = f"it has no {CURVE} and no {STUDY}"
    if not folder.exists():
        lacks = "there is no such folder"
    around = (folder.parent, *sorted(folder.glob("*")))
    near = [str(each) for each in around if holds_results(each)]
    more = f" or {len(near) - NAMED} more" if len(near) > NAMED else ""
    meant = f"; did you mean {', '.join(near[:NAMED])}{more}?" if near else ""
    arguments.parser.reject(f"no results in {folder}: {lacks}{meant}")


def check_picture(arguments: argparse.Namespace) -> None:
    """Exit if the picture's file can't be one."""
    from matplotlib.backend_bases import FigureCanvasBase

    path: Path = arguments.out
    if path.is_dir():
        wanted = f"must be a file, got the folder {path}"
        arguments.parser.error(f"argument --out: {wanted}")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        wanted = f"must be a regular file, got {path}"
        arguments.parser.error(f"argument --out: {wanted}")
    formats = {*FigureCanvasBase.get_supported_filetypes(), ANIMATION}
    if path.suffix and path.suffix[1:].lower() not in formats:
        wanted = f"must end in one of {', '.join(sorted(formats))}, got {path}"
        arguments.parser.error(f"argument --out: {wanted}")


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

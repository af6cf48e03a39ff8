"""The command line: train agents with and without curiosity, draw what came of it, check other implementations.

`vime-ref run` trains every bonus on every seed and writes learning curves, settings and pictures; a run is a function
of its settings and seed, so neither the number of processes nor an interruption changes a number. It makes the studies
of `vime_lab.studies.catalogue` as well. `vime-ref figure` lays several results out side by side;
`vime-ref check` and `fuzz` are those of `vime_check.judge` and `vime_check.fuzzer`.
"""

from __future__ import annotations

import argparse
import csv
import glob
import importlib.util
import itertools
import json
import operator
import os
import shlex
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from agents_ref import AgentSettings
from vime_check.fuzzer import FuzzReport, fuzz
from vime_check.judge import Report, check
from vime_check.programs import UsageError
from vime_check.wire import DTYPES
from vime_lab import figures
from vime_lab.runs import (
    COLUMNS,
    POLL_SECONDS,
    CheckpointError,
    Result,
    WorkerError,
    identity,
    read_checkpoint,
    rows_file,
    run_jobs,
)
from vime_lab.statistics import comparison, read_curve, summary, timing
from vime_lab.studies import catalogue as studies
from vime_lab.studies.catalogue import STUDIES
from vime_lab.studies.frame import write_rows
from vime_lab.tasks import BONUSES, TASKS, Job, Task, with_setting

# ---------------------------------------------------------------- constants

RUN_EXTRA = ("tqdm", "matplotlib", "joblib")
MUJOCO_TASKS = ("SparseHalfCheetah", "Walker2D")
FILES = (
    "learning_curve.csv",
    "config.json",
    "learning_curve.png",
    "state_visits.png",
    "diagnostics.png",
)
CHECKPOINTS = (
    "checkpoints"  # folder in the folder of results, while a run is not complete
)
NOT_OF_STUDIES = ("bonus", "iterations", "eta", "set", "resume")  # arguments of `run`
MADE_WITH = (
    "task_name",
    "bonuses",
    "seeds",
    "settings",
    "swept",
)  # entries of config.json that make its results

# ---------------------------------------------------------------- jobs


def swept(
    task: Task, changes: Sequence[tuple[str, list[Any]]]
) -> Iterator[tuple[str, Task]]:
    """The task with every combination of the changed settings, each with its name."""
    for values in itertools.product(*(choices for _, choices in changes)):
        changed, names = task, []
        for (name, choices), value in zip(changes, values):
            changed = with_setting(changed, name, value)
            names += [f"{name}={json.dumps(value)}"] if len(choices) > 1 else []
        yield " ".join(names), changed


def jobs_of(task_name: str, arguments: argparse.Namespace) -> list[Job]:
    """Every bonus, setting and seed of a task; ValueError where a setting does not fit."""
    changes = list(arguments.set)
    changes += [("iterations", [arguments.iterations])] if arguments.iterations else []
    changes += [("agent.eta", [arguments.eta])] if arguments.eta is not None else []
    if twice := [
        name
        for name, times in Counter(name for name, _ in changes).items()
        if times > 1
    ]:
        raise ValueError(f"{twice[0]} is set more than once")
    return [
        Job(task_name, bonus, setting, seed, task)
        for setting, task in swept(TASKS[task_name], changes)
        for bonus in arguments.bonus
        for seed in range(arguments.seeds)
    ]


def checkpoint_of(folder: Path, job: Job) -> Path:
    name = "-".join(
        filter(None, (job.bonus_name, job.setting.replace(" ", ","), str(job.seed)))
    )
    return folder / CHECKPOINTS / f"{name}.npz"


def name_of(job: Job) -> str:
    return " ".join(
        filter(None, (job.task_name, job.bonus_name, job.setting, f"seed {job.seed}"))
    )


def remove_checkpoints(paths: Sequence[Path]) -> None:
    """Remove what finished runs kept; another run's checkpoints stay, and with them the folder."""
    for path in paths:
        for file in path.parent.glob(f"{glob.escape(path.stem)}.*"):
            file.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        with suppress(OSError):
            folder.rmdir()


# ---------------------------------------------------------------- progress


@contextmanager
def progress_bar(jobs: Sequence[Job], checkpoints: Sequence[Path]) -> Iterator[None]:
    """A bar over the iterations of all jobs while the block runs."""
    finished = threading.Event()
    watcher = threading.Thread(
        target=show_progress,
        args=(jobs, [rows_file(path) for path in checkpoints], finished),
    )
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


def show_progress(
    jobs: Sequence[Job], files: Sequence[Path], finished: threading.Event
) -> None:
    """The iterations done, with the newest one's return and gain, until finished."""
    from tqdm import tqdm

    counts, sizes = dict.fromkeys(files, 0), dict.fromkeys(files, 0)
    with tqdm(
        total=sum(job.task.iterations for job in jobs),
        unit="iteration",
        dynamic_ncols=True,
    ) as bar:
        done = False
        while not done:
            done = finished.wait(POLL_SECONDS)
            for path in files:
                with suppress(FileNotFoundError):  # not there yet, or no longer
                    if (size := path.stat().st_size) != sizes[path]:
                        rows, sizes[path] = written_rows(path), size
                        bar.update(len(rows) - counts[path])
                        counts[path] = len(rows)
                        if rows:
                            show_row(bar, rows[-1])


def show_row(bar: Any, row: dict[str, str]) -> None:
    bar.set_description(
        " ".join(
            filter(
                None, (row["task"], row["bonus"], row["setting"], "seed", row["seed"])
            )
        ),
        False,
    )
    gain, mean = float(row["gain_median"]), float(row["return_mean"])
    bar.set_postfix_str(
        f"iteration {row['iteration']}, return {mean:.2f}, gain {gain:.1e}", False
    )


def written_rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a file that a run is still writing."""
    text = path.read_text()
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines(), COLUMNS))


# ---------------------------------------------------------------- results


def configuration(
    task_name: str, arguments: argparse.Namespace, jobs: Sequence[Job]
) -> dict[str, Any]:
    """Every setting of a run, the versions of what computed it, and the command that makes it again."""
    own = identity(jobs[0])
    return {
        "command": shlex.join(["vime-ref", *arguments.command_line]),
        "root_seed": own["root_seed"],
        "code": own["code"],
        "task_name": task_name,
        "bonuses": arguments.bonus,
        "seeds": arguments.seeds,
        "jobs": arguments.jobs,
        "settings": own["task"],
        "swept": {name: values for name, values in arguments.set if len(values) > 1},
        "versions": {**own["versions"], **{name: version(name) for name in RUN_EXTRA}},
    }


def holds_other_results(folder: Path, config: dict[str, Any]) -> bool:
    """Whether results lie in the folder that this run would not make again, or of which nothing is known."""
    if not any((folder / name).exists() for name in (FILES[0], studies.FILES[0])):
        return False
    try:
        there = json.loads((folder / FILES[1]).read_text())
        return any(there[name] != config[name] for name in MADE_WITH)
    except (OSError, ValueError, KeyError, TypeError):
        return True


def refuse_other_results(
    folder: Path, config: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """End with one line where the folder `holds_other_results`."""
    if holds_other_results(folder, config):
        arguments.parser.error(
            f"{folder} holds the results of other settings: choose another --out, or remove it"
        )


@contextmanager
def whole_files(out: Path) -> Iterator[Path]:
    """A folder whose files are in `out` after the block, each whole, or none of them where the block fails."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as folder:
        yield Path(folder)
        for made in sorted(
            Path(folder).iterdir()
        ):  # config.json comes first: no table is without it
            os.replace(made, out / made.name)


def write_results(out: Path, config: dict[str, Any], results: Sequence[Result]) -> str:
    """The files of a task's runs in the folder `out`, each whole or not at all; returns the table.

    The picture of visited states is that of a sweep's first setting.
    """
    rows = [row for result in results for row in result.rows]
    first = [
        result for result in results if result.job.setting == results[0].job.setting
    ]
    seen = [
        name
        for name in reversed(config["bonuses"])
        if any(r.job.bonus_name == name for r in first)
    ]
    visits = {
        name: np.concatenate([r.visits for r in first if r.job.bonus_name == name])
        for name in seen
    }
    with whole_files(out) as folder:
        curve, settings, *pictures = (folder / name for name in FILES)
        with curve.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        settings.write_text(json.dumps(config, indent=2) + "\n")
        figures.draw_learning_curve(pictures[0], rows)
        figures.draw_state_visits(pictures[1], visits, TASKS[config["task_name"]].axes)
        figures.draw_diagnostics(pictures[2], rows)
    return f"{summary(rows)}\n\n{timing(rows)}"


# ---------------------------------------------------------------- command line


class Parser(argparse.ArgumentParser):
    """argparse, with an error in one line."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: error: {message}\n")
        raise SystemExit(2)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text}")
    return int(text)


def weight(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a finite number >= 0, got {text}")
    return value


def seconds(text: str) -> float:
    if not (value := weight(text)) > 0.0:
        raise argparse.ArgumentTypeError(f"must be a finite number > 0, got {text}")
    return value


def change(text: str) -> tuple[str, list[Any]]:
    """A setting's name and the values to try: "agent.eta=0.1,1" is ("agent.eta", [0.1, 1])."""
    name, _, values = text.partition("=")
    try:
        chosen = json.loads(f"[{values}]")
    except json.JSONDecodeError:
        chosen = values.split(",")
    if not values:
        raise argparse.ArgumentTypeError(
            f"must be NAME=VALUE or NAME=VALUE,VALUE, got {text}"
        )
    return name, chosen


def defaults(setting: str) -> str:
    """A setting's default, for the help text: "the task's, ", and each task's."""
    values = [f"{operator.attrgetter(setting)(task):g}" for task in TASKS.values()]
    return "the task's, " + ", ".join(values)


def command_line() -> Parser:
    top = Parser(
        prog="vime-ref",
        description="VIME, the reference: run its experiments, check implementations.",
    )
    commands = top.add_subparsers(
        dest="action", required=True, metavar="COMMAND", parser_class=Parser
    )
    add_run(commands)
    add_figure(commands)
    add_check(commands)
    add_fuzz(commands)
    return top


def add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="train with and without curiosity, and compare",
        description="Train an agent for each task, bonus, setting and seed; write learning_curve.csv, config.json, "
        "learning_curve.png, state_visits.png and diagnostics.png, and print tables. Of a study, write study.csv, "
        "config.json and study.png, and print its table.",
    )
    add_agents(run)
    add_settings(run)
    add_place(run)
    run.set_defaults(parser=run)


def add_agents(run: Parser) -> None:
    run.add_argument(
        "--task",
        nargs="+",
        choices=[*TASKS, "all", *STUDIES],
        default=["SparseMountainCar"],
        metavar="TASK",
        help=f"what to solve: {', '.join(TASKS)}, or all; or what to study, without the flags of training: "
        f"{', '.join(STUDIES)} (default: SparseMountainCar)",
    )
    run.add_argument(
        "--bonus",
        nargs="+",
        choices=BONUSES,
        help="which agents to train; l2 pays for prediction errors (default: vime none)",
    )
    run.add_argument(
        "--seeds",
        type=count,
        default=3,
        metavar="N",
        help="runs of each agent, seeds 0 to N-1 (default: %(default)s)",
    )


def add_settings(run: Parser) -> None:
    run.add_argument(
        "--iterations",
        type=count,
        metavar="N",
        help=f"times to sample {AgentSettings.batch_steps} steps and to learn (default: {defaults('iterations')})",
    )
    run.add_argument(
        "--eta",
        type=weight,
        metavar="X",
        help=f"reward for a gain of the running median, in units of reward (default: {defaults('agent.eta')})",
    )
    run.add_argument(
        "--set",
        nargs="+",
        action="extend",
        type=change,
        default=[],
        metavar="NAME=VALUES",
        help="settings to change, such as agent.eta=0.1 (names as in config.json); several values, parted by commas, "
        "are all tried, in all combinations (default: the task's)",
    )


def add_place(run: Parser) -> None:
    run.add_argument(
        "--jobs",
        type=count,
        metavar="N",
        help=f"parallel processes (default: joblib's configuration, else the number of cores, {os.cpu_count()})",
    )
    run.add_argument(
        "--resume",
        action="store_true",
        help="go on where an interrupted run stopped (default: refuse to overwrite it)",
    )
    run.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the results (default: runs/TASK; of several tasks, runs)",
    )


def add_figure(commands: Any) -> None:
    figure = commands.add_parser(
        "figure",
        help="lay results out side by side",
        description="Draw the learning curves of several tasks in one figure, or one study's picture, and print their "
        "tables.",
    )
    figure.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="folders of results (default: runs/*)",
    )
    figure.add_argument(
        "--out",
        type=Path,
        default=Path("results.png"),
        metavar="FILE",
        help="the picture (default: %(default)s)",
    )
    figure.set_defaults(parser=figure)


def add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="put the test vectors to an implementation",
        description="Put the test vectors to an implementation, the reference itself by default; print a table, and a "
        "line for each case that fails, with the known mistake that it matches.",
    )
    add_implementation(parser)
    parser.add_argument(
        "--strict", action="store_true", help="accepting what should be refused fails"
    )


def add_fuzz(commands: Any) -> None:
    parser = commands.add_parser(
        "fuzz",
        help="compare an implementation with the reference on drawn inputs",
        description="Draw inputs of each operation, compare an implementation with the reference, and print the "
        "smallest disagreement as a test vector.",
    )
    add_implementation(parser)
    parser.add_argument(
        "--examples",
        type=count,
        default=100,
        metavar="N",
        help="inputs of each operation (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the inputs (default: %(default)s)",
    )


def add_implementation(parser: Parser) -> None:
    parser.add_argument(
        "impl",
        nargs="?",
        metavar="IMPL",
        help="Python module, or module:object, with functions named as operations",
    )
    parser.add_argument(
        "--exec",
        metavar="CMD",
        dest="command",
        help="a program that answers lines of JSON instead",
    )
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help="families, operations or ids of cases, parted by commas",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="f64",
        help="of arrays (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="S",
        help="seconds for an answer (default: %(default)g)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the report to this file as well",
    )
    parser.set_defaults(parser=parser)


def check_studies(arguments: argparse.Namespace) -> None:
    """End with one line where a study is asked for together with what it does not have."""
    named = [name for name in arguments.task if name in STUDIES]
    if not named:
        return
    if len(named) < len(arguments.task):
        arguments.parser.error(
            f"argument --task: {named[0]} is a study, and runs without other tasks"
        )
    default = arguments.parser.get_default
    if given := [
        name for name in NOT_OF_STUDIES if getattr(arguments, name) != default(name)
    ]:
        arguments.parser.error(
            f"argument --{given[0]}: {named[0]} is a study, and has none"
        )


def check_run(arguments: argparse.Namespace) -> None:
    """Fill in what was not given; end with one line where a run could not succeed."""
    arguments.task = list(
        dict.fromkeys(TASKS if "all" in arguments.task else arguments.task)
    )
    check_studies(arguments)
    arguments.bonus = list(dict.fromkeys(arguments.bonus or ("vime", "none")))
    arguments.out = arguments.out or Path(
        "runs", *(arguments.task if len(arguments.task) == 1 else ())
    )
    missing = [name for name in RUN_EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        arguments.parser.error(
            f"run needs {', '.join(missing)}: pip install -e '.[run]'"
        )
    needing = [name for name in arguments.task if name in MUJOCO_TASKS]
    if needing and importlib.util.find_spec("mujoco") is None:
        arguments.parser.error(
            f"{needing[0]} needs mujoco: pip install -e '.[run,mujoco]'"
        )
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=arguments.out).close()
    except OSError as error:
        arguments.parser.error(
            f"argument --out: can't write to {arguments.out}: {error.strerror}"
        )


def plan(arguments: argparse.Namespace) -> dict[Job, Path]:
    """The jobs of all tasks with their checkpoints; ends with one line where what is there already is not theirs."""
    planned: dict[Job, Path] = {}
    for name in arguments.task:
        folder = arguments.out if len(arguments.task) == 1 else arguments.out / name
        try:
            jobs = jobs_of(name, arguments)
        except ValueError as error:
            arguments.parser.error(f"argument --set: {error}")
        refuse_other_results(folder, configuration(name, arguments, jobs), arguments)
        planned.update({job: checkpoint_of(folder, job) for job in jobs})
    there = [
        path
        for folder in {path.parent: 0 for path in planned.values()}
        for path in sorted(folder.glob("*.npz"))
    ]
    if there and not arguments.resume:
        arguments.parser.error(
            f"{there[0].parent} holds an unfinished run: add --resume, or remove that folder"
        )
    for job, path in planned.items():
        try:
            if path.exists():
                read_checkpoint(path, job)
        except CheckpointError as error:
            arguments.parser.error(str(error))
        path.parent.mkdir(parents=True, exist_ok=True)
    return planned


def run(arguments: argparse.Namespace) -> int:
    """Train, write, show; 1 where a run failed, or its results could not be written."""
    began = time.perf_counter()
    jobs = plan(arguments)
    with progress_bar(list(jobs), list(jobs.values())):
        results = run_jobs(list(jobs), list(jobs.values()), arguments.jobs)
    failed, unwritten = [result for result in results if result.failure], False
    for name in arguments.task:
        mine = [result for result in results if result.job.task_name == name]
        if not (finished := [result for result in mine if not result.failure]):
            continue
        folder = jobs[mine[0].job].parent.parent
        config = configuration(name, arguments, [result.job for result in mine])
        config["failed"] = [name_of(result.job) for result in mine if result.failure]
        try:
            tables = write_results(folder, config, finished)
        except OSError as error:
            unwritten, why = True, error.strerror or error
            sys.stderr.write(
                f"vime-ref: can't write to {folder}: {why}; the same command with --resume tries again\n"
            )
            continue
        print(f"\n{tables}")
        print(
            f"\nwrote {folder}/ after {time.perf_counter() - began:.0f} s: {', '.join(FILES)}"
        )
    for result in failed:
        sys.stderr.write(f"vime-ref: {name_of(result.job)} failed: {result.failure}\n")
    if failed:
        sys.stderr.write(
            "vime-ref: the same command with --resume runs again what failed\n"
        )
    if failed or unwritten:
        return 1
    remove_checkpoints(list(jobs.values()))
    return 0


def study_configuration(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What makes a study's results again: `catalogue.identity`, the command and the packages that drew them."""
    own = studies.identity(name, arguments.seeds)
    versions = {
        **own["versions"],
        **{package: version(package) for package in RUN_EXTRA},
    }
    return {
        "command": shlex.join(["vime-ref", *arguments.command_line]),
        **own,
        "versions": versions,
    }


def run_studies(arguments: argparse.Namespace) -> int:
    """Run the studies one after another, write, show; 1 where results could not be written."""
    folders = {
        name: arguments.out if len(arguments.task) == 1 else arguments.out / name
        for name in arguments.task
    }
    configs = {name: study_configuration(name, arguments) for name in folders}
    for name, folder in folders.items():
        refuse_other_results(folder, configs[name], arguments)
    for name, folder in folders.items():
        began = time.perf_counter()
        rows = studies.run_jobs(studies.jobs_of(name, arguments.seeds), arguments.jobs)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_study(folder, configs[name], rows)
        except OSError as error:
            sys.stderr.write(
                f"vime-ref: can't write to {folder}: {error.strerror or error}\n"
            )
            return 1
        print(f"\n{STUDIES[name].table(rows)}")
        print(
            f"\nwrote {folder}/ after {time.perf_counter() - began:.0f} s: {', '.join(studies.FILES)}"
        )
    return 0


def write_study(out: Path, config: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The files of a study in the folder `out`, each whole or not at all."""
    with whole_files(out) as folder:
        table, settings, picture = (folder / name for name in studies.FILES)
        write_rows(table, rows)
        settings.write_text(json.dumps(config, indent=2) + "\n")
        studies.draw_study(picture, rows)


def study_figure(arguments: argparse.Namespace, path: Path) -> int:
    """Draw a study again from its rows, and print its table."""
    try:
        rows = studies.read_study(path)
    except ValueError as error:
        arguments.parser.error(str(error))

    def draw() -> str:
        studies.draw_study(arguments.out, rows)
        return STUDIES[rows[0]["study"]].table(rows)

    return show_figure(arguments, draw)


def show_figure(arguments: argparse.Namespace, draw: Callable[[], str]) -> int:
    """Draw the figure and print its table, which `draw` returns."""
    if importlib.util.find_spec("matplotlib") is None:
        arguments.parser.error("figure needs matplotlib: pip install -e '.[run]'")
    try:
        table = draw()
    except OSError as error:
        arguments.parser.error(
            f"argument --out: can't write to {arguments.out}: {error.strerror}"
        )
    print(f"{table}\n\nwrote {arguments.out}")
    return 0


def figure(arguments: argparse.Namespace) -> int:
    """Lay the results of several folders out side by side, and print their tables."""
    folders = arguments.folders or sorted(
        path.parent for path in Path("runs").glob("*/learning_curve.csv")
    )
    if not folders:
        arguments.parser.error(
            "no results: name folders that hold a learning_curve.csv"
        )
    if studied := [
        path for folder in folders if (path := folder / studies.FILES[0]).exists()
    ]:
        if len(folders) > 1:
            arguments.parser.error(
                f"{studied[0].parent} holds a study, which has a picture of its own: name it alone"
            )
        return study_figure(arguments, studied[0])
    try:
        curves = {folder: read_curve(folder / FILES[0]) for folder in folders}
    except ValueError as error:
        arguments.parser.error(str(error))

    def draw() -> str:
        tasks = [rows[0]["task"] for rows in curves.values()]
        titles = [
            task if tasks.count(task) == 1 else f"{task} ({folder})"
            for task, folder in zip(tasks, curves)
        ]
        titled = dict(zip(titles, curves.values()))
        figures.draw_results(arguments.out, titled)
        return comparison(titled)

    return show_figure(arguments, draw)


def run_crosscheck(arguments: argparse.Namespace) -> int:
    """Check or fuzz, and print the report; the exit code."""
    given = {
        name: getattr(arguments, name)
        for name in ("command", "only", "dtype", "timeout")
    }
    report: Report | FuzzReport
    try:
        if arguments.action == "check":
            report = check(arguments.impl, strict=arguments.strict, **given)
        else:
            report = fuzz(
                arguments.impl,
                examples=arguments.examples,
                seed=arguments.seed,
                **given,
            )
    except UsageError as error:
        arguments.parser.error(str(error))
    print(report)
    if arguments.json:
        try:
            arguments.json.write_text(report.to_json())
        except OSError as error:
            arguments.parser.error(
                f"argument --json: can't write to {arguments.json}: {error.strerror}"
            )
    return 0 if report.ok else 1


def goes_on(arguments: argparse.Namespace) -> str:
    return (
        "nothing is written"
        if arguments.task[0] in STUDIES
        else "the same command with --resume goes on"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `vime-ref`; the exit code."""
    arguments = command_line().parse_args(argv)
    arguments.command_line = list(sys.argv[1:] if argv is None else argv)
    if arguments.action == "figure":
        return figure(arguments)
    if arguments.action != "run":
        return run_crosscheck(arguments)
    try:
        check_run(arguments)
        return (
            run_studies(arguments) if arguments.task[0] in STUDIES else run(arguments)
        )
    except WorkerError as error:
        sys.stderr.write(f"\nvime-ref: {error}; {goes_on(arguments)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"\nvime-ref: interrupted; {goes_on(arguments)}\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""The arguments of the command line: parsers, help texts, values.

It imports the standard library alone: help, version and usage errors cost no more.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

# ---------------------------------------------------------------- constants

# What the help text says of tasks and studies, without importing them: the iterations
# and η of each task.
TASK_DEFAULTS = {
    "SparseMountainCar": ("20", "0.0001"),
    "SparseCartPoleSwingup": ("300", "0.001"),
    "SparseHalfCheetah": ("600", "0.001"),
    "Walker2D": ("100", "0.001"),
}
STUDY_NAMES = ("Bandit", "DeepSea", "KeyDoorMaze", "NoisyTV", "Labyrinth")
BATCH_STEPS = 5000  # of an iteration
DTYPE_NAMES = ("f64", "f32")
INTERRUPTED = 130  # exit code of a command that Ctrl-C ended

# ---------------------------------------------------------------- parsers


class Parser(argparse.ArgumentParser):
    """argparse, whose errors say where to read on."""

    def error(self, message: str) -> NoReturn:
        """End a command that was called in a wrong way."""
        self.print_usage(sys.stderr)
        pointer = f"try '{self.prog} --help'"
        self.exit(2, f"{self.prog}: error: {message}\n{pointer}\n")

    def reject(self, message: str) -> NoReturn:
        """End a command that was called in a right way, but can't be done, in one line."""
        self.exit(2, f"{self.prog}: error: {message}\n")


class ShowVersion(argparse.Action):
    """Print the installed version, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"vime-ref {installed_version()}")
        parser.exit()


def installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vime-ref")
    except PackageNotFoundError:
        return "of a copy that is not installed"


def pip_install(extra: str, needed: Sequence[str]) -> str:
    """The command that installs needed packages of an extra, whatever vime-ref came from."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        stated = requires("vime-ref") or []
    except PackageNotFoundError:
        stated = []
    of_extra = [
        requirement.partition(";")[0].strip()
        for requirement in stated
        if requirement.endswith(f'extra == "{extra}"')
    ]
    wanted = [each for each in of_extra if any(name in each for name in needed)]
    return shlex.join(["pip", "install", *(wanted or needed)])


def command_line() -> Parser:
    top = Parser(
        prog="vime-ref",
        description="VIME, the reference: run its experiments, check implementations.",
    )
    top.add_argument(
        "--version", action=ShowVersion, nargs=0, help="show the version and exit"
    )
    top.set_defaults(parser=top)  # unless a command is named, which has its own
    commands = top.add_subparsers(dest="action", metavar="COMMAND", parser_class=Parser)
    add_run(commands)
    add_figure(commands)
    add_check(commands)
    add_fuzz(commands)
    return top


def add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="train with and without curiosity, and compare",
        description="Train an agent for each task, bonus, setting and seed; write "
        "learning_curve.csv, config.json, learning_curve.png, state_visits.png and "
        "diagnostics.png, and print tables. Of a study, write study.csv, config.json and "
        "study.png, and print its table.",
    )
    add_agents(run)
    add_settings(run)
    add_place(run)
    run.set_defaults(parser=run)


def add_agents(run: Parser) -> None:
    run.add_argument(
        "--task",
        nargs="+",
        default=["SparseMountainCar"],
        metavar="TASK",
        help=f"what to solve: {', '.join(TASK_DEFAULTS)}, or all; or what to study, "
        f"without the flags of training: {', '.join(STUDY_NAMES)} "
        "(default: SparseMountainCar)",
    )
    run.add_argument(
        "--bonus",
        nargs="+",
        help="which agents to train: vime, none or l2, which rewards prediction errors "
        "(default: vime none)",
    )
    run.add_argument(
        "--seeds",
        type=count,
        default=3,
        metavar="N",
        help="runs of each agent, seeds 0 to N-1 (default: %(default)s)",
    )


def add_settings(run: Parser) -> None:
    iterations, etas = map(", ".join, zip(*TASK_DEFAULTS.values()))
    run.add_argument(
        "--iterations",
        type=count,
        metavar="N",
        help=f"times to sample {BATCH_STEPS} steps and to learn "
        f"(default: the task's, {iterations})",
    )
    run.add_argument(
        "--eta",
        type=weight,
        metavar="X",
        help="reward for a gain of the running median, in units of reward "
        f"(default: the task's, {etas})",
    )
    run.add_argument(
        "--set",
        nargs="+",
        action="extend",
        type=change,
        default=[],
        metavar="NAME=VALUES",
        help="settings to change, such as agent.eta=0.1 (names as in config.json); "
        "several comma-separated values are all tried, in all combinations "
        "(default: the task's)",
    )


def add_place(run: Parser) -> None:
    run.add_argument(
        "--jobs",
        type=count,
        metavar="N",
        help="parallel processes (default: joblib's configuration, else the number of "
        f"cores, {os.cpu_count()})",
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
        description="Draw the learning curves of several tasks in one figure, or one "
        "study's picture, and print their tables.",
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
        description="Put the test vectors to an implementation, the reference itself by "
        "default; print a table, and a line for each case that fails, with the known "
        "mistake that it matches.",
    )
    add_implementation(parser)
    parser.add_argument(
        "--strict", action="store_true", help="accepting what should be rejected fails"
    )


def add_fuzz(commands: Any) -> None:
    parser = commands.add_parser(
        "fuzz",
        help="compare an implementation with the reference on drawn inputs",
        description="Draw inputs of each operation, compare an implementation with the "
        "reference, and print the smallest disagreement as a test vector.",
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
        help="comma-separated families, operations or ids of cases",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPE_NAMES,
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


# ---------------------------------------------------------------- values of arguments


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
    value = weight(text)
    if not value > 0.0:
        raise argparse.ArgumentTypeError(f"must be a finite number > 0, got {text}")
    return value


def change(text: str) -> tuple[str, list[Any]]:
    """A setting's name and the values to try.

    "agent.eta=0.1,1" is ("agent.eta", [0.1, 1]).
    """
    name, _, values = text.partition("=")
    if not values:
        wanted = "must be NAME=VALUE or NAME=VALUE,VALUE"
        raise argparse.ArgumentTypeError(f"{wanted}, got {text}")
    try:
        return name, json.loads(f"[{values}]")
    except json.JSONDecodeError:
        return name, values.split(",")


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

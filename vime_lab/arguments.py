"""The arguments of the command line: parsers, help texts, values.

This module imports only the standard library, so that help, version and usage errors are
fast.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any, NoReturn

# ---------------------------------------------------------------- constants

# The iterations and η of each task and the names of the studies, for the help text,
# without importing them.
TASK_DEFAULTS = {
    "SparseMountainCar": ("20", "0.0001"),
    "DenseMountainCar": ("20", "0.1"),
    "SparseCartPoleSwingup": ("300", "0.001"),
    "SparseHalfCheetah": ("600", "0.001"),
    "Walker2D": ("100", "0.001"),
}
STUDY_NAMES = (
    *("Bandit", "DeepSea", "KeyDoorMaze", "NoisyTV", "Labyrinth"),
    "Exactness",
    *("Television", "NoisyCorridor"),
    *("Film", "Regression"),
)
BATCH_STEPS = 5000  # per iteration
DTYPE_NAMES = ("f64", "f32")
LEARNER_NAMES = ("trpo", "reinforce")
SETTING_NAMES = ("ours", "original")
# The end of `vime-ref run --help`, because a wheel holds no pages.
READING = """\
how to read the files: Iterations count from 0. learning_curve.csv has a row for each
iteration of each run, and study.csv for each number of a study. A number that does not
exist is nan. Gains are raw, VIME's in nats. They often fall by a factor of ten or more.
The reward holds them divided by their running median. Before the first reward the return
is 0. state_visits.png shows whether the agent gets farther all the same. Settings that
differ in eta alone give almost the same rows until then. The held-out log likelihood
falls when the visited states spread, even if the model predicts no worse.
heldout_error_ratio shows its predictions, and is 1 for the mean of all observations. It
stays near 1 if the settings hold the model near its prior. The source distribution has
more in docs/experiments.md and docs/studies.md."""
COMMA = r",(?![^\[]*\])"  # a comma between values, not in a list

# ---------------------------------------------------------------- parsers


class Parser(argparse.ArgumentParser):
    """argparse's parser, with errors that point to --help."""

    def error(self, message: str) -> NoReturn:
        """Exit because of a usage error. The message stands alone, without the long usage."""
        pointer = f"try '{self.prog} --help'"
        self.exit(2, f"{self.prog}: error: {message}\n{pointer}\n")

    def reject(self, message: str) -> NoReturn:
        """Exit with one line because a valid command can't be carried out."""
        self.exit(2, f"{self.prog}: error: {message}\n")


class ShowVersion(argparse.Action):
    """Print the installed version and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"vime-ref {installed_version()}")
        parser.exit()


def installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vime-ref")
    except PackageNotFoundError:
        return "unknown (not installed)"


def command_line() -> Parser:
    top = Parser(
        prog="vime-ref",
        description="The reference implementation of VIME: run experiments, check implementations.",
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
    add_vectors(commands)
    return top


def add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="train with and without curiosity, and compare",
        description="Train an agent for each task, bonus, setting and seed; write "
        "learning_curve.csv, config.json, learning_curve.png, state_visits.png and "
        "diagnostics.png, and print tables. For a study, write study.csv, config.json and "
        "study.png, also study.gif if it has an animation, and print its table.",
        epilog=READING,
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
        help=f"tasks to solve: {', '.join(TASK_DEFAULTS)}, or all; or studies, "
        f"which take no training flags: {', '.join(STUDY_NAMES)} "
        "(default: SparseMountainCar)",
    )
    run.add_argument(
        "--bonus",
        nargs="+",
        help="bonuses to train with: vime, none, and the controls noise, zscore, counts, "
        "l2 and l2_path (default: vime none)",
    )
    run.add_argument(
        "--agent",
        choices=LEARNER_NAMES,
        help="how the policy learns (default: trpo)",
    )
    run.add_argument(
        "--seeds",
        type=seeds,
        default=range(3),
        metavar="N",
        help="runs per agent: N for seeds 0 to N-1, or 100:110 for 100 to 109 (default: 3)",
    )


def add_settings(run: Parser) -> None:
    iterations, etas = map(", ".join, zip(*TASK_DEFAULTS.values()))
    run.add_argument(
        "--settings",
        choices=SETTING_NAMES,
        default="ours",
        help="each task's settings: ours, or the original's as far as known "
        "(default: %(default)s)",
    )
    run.add_argument(
        "--iterations",
        type=count,
        metavar="N",
        help=f"number of iterations; each samples at least {BATCH_STEPS} steps, in whole "
        "episodes, and learns "
        f"(default: the task's, {iterations})",
    )
    run.add_argument(
        "--eta",
        type=weight,
        metavar="X",
        help="curiosity reward for a gain equal to the running median, in units of reward "
        f"(default: the task's, {etas})",
    )
    run.add_argument(
        "--set",
        nargs="+",
        action="extend",
        type=change,
        default=[],
        metavar="NAME=VALUES",
        help="settings to change, such as agent.eta=0.1 (names as in config.json), or "
        "plain=true to run the definitions instead of their fast twins; "
        "comma-separated values are tried in all combinations "
        "(default: the task's)",
    )


def add_place(run: Parser) -> None:
    run.add_argument(
        "--jobs",
        type=count,
        metavar="N",
        help="number of parallel processes (default: joblib's configuration, else one for each "
        "core that this command may use)",
    )
    run.add_argument(
        "--resume",
        action="store_true",
        help="continue an interrupted run, and keep complete results "
        "(default: exit without overwriting the former; replace the latter)",
    )
    run.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the results (default: runs/TASK; for several tasks, runs)",
    )


def add_figure(commands: Any) -> None:
    figure = commands.add_parser(
        "figure",
        help="show results side by side",
        description="Draw the learning curves of several tasks in one figure, or one "
        "study's picture, and print their tables.",
    )
    figure.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="folders with results (default: runs/*)",
    )
    figure.add_argument(
        "--out",
        type=Path,
        default=Path("results.png"),
        metavar="FILE",
        help="file for the picture, or with the suffix .gif for a study's animation "
        "(default: %(default)s)",
    )
    figure.set_defaults(parser=figure)


def add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="check an implementation against the test vectors",
        description="Check an implementation (default: the reference itself) against the "
        "test vectors. Print a table, and a line for each cause of failed cases, such as a "
        "known mistake.",
    )
    add_implementation(parser)
    parser.add_argument(
        "--strict",
        action="store_true",
        help="also fail if an invalid input is accepted, or another convention followed",
    )
    parser.add_argument(
        "--digits",
        type=count,
        metavar="K",
        help="accept results that agree to K digits, and no other inexact ones",
    )
    parser.add_argument(
        "--profile",
        metavar="NAMES",
        help="comma-separated restrictions, such as one-sample; other numeric cases are left out",
    )
    parser.add_argument(
        "--own-noise",
        type=count,
        metavar="S",
        help="compare operations that draw S samples themselves with exact expectations, instead of the test vectors",
    )


def add_fuzz(commands: Any) -> None:
    parser = commands.add_parser(
        "fuzz",
        help="compare an implementation with the reference on random inputs",
        description="Draw random inputs for each operation, compare an implementation with "
        "the reference, and print the smallest disagreement as a test vector.",
    )
    add_implementation(parser)
    parser.add_argument(
        "--examples",
        type=count,
        default=100,
        metavar="N",
        help="number of inputs per operation (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the inputs (default: %(default)s)",
    )


def add_vectors(commands: Any) -> None:
    parser = commands.add_parser(
        "vectors",
        help="write the test vectors and their specification into a folder",
        description="Write the test vectors, their schema, the specification of the operations, "
        "their changelog, a manifest with SHA-256 sums and the license into a folder.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("vime-vectors"),
        metavar="DIR",
        help="a new folder, an empty one, or one with an earlier bundle, which is replaced "
        "(default: %(default)s)",
    )
    parser.set_defaults(parser=parser)


def add_implementation(parser: Parser) -> None:
    parser.add_argument(
        "impl",
        nargs="?",
        metavar="IMPL",
        help="Python module or module:object with functions named like the operations",
    )
    parser.add_argument(
        "--exec",
        metavar="CMD",
        dest="command",
        help="command of a program that answers lines of JSON, instead of IMPL",
    )
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help="comma-separated families, operations or case ids",
    )
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="DIR",
        help="folder of test vectors, such as a copy (default: the package's)",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPE_NAMES,
        default="f64",
        help="precision of arrays (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="S",
        help="time limit for an answer in seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--memory",
        type=count,
        metavar="MIB",
        help="memory limit of the program in MiB (default: none)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="also write the report to this file",
    )
    parser.set_defaults(parser=parser)


# ---------------------------------------------------------------- values of arguments


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text}")
    return int(text)


def seeds(text: str) -> range:
    """Seeds: "3" is 0 to 2, and "100:110" is 100 to 109."""
    start, colon, stop = text.rpartition(":")
    whole = stop.isdecimal() and (start.isdecimal() or not colon)
    found = range(int(start or 0), int(stop)) if whole else range(0)
    if not found:
        wanted = "must be a number >= 1, or FIRST:STOP with FIRST < STOP"
        raise argparse.ArgumentTypeError(f"{wanted}, got {text}")
    return found


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

    "agent.eta=0.1,1" is ("agent.eta", [0.1, 1]), and "agent.eta=0.1,x" is
    ("agent.eta", [0.1, "x"]).
    """
    name, _, values = text.partition("=")
    if not values:
        wanted = "must be NAME=VALUE or NAME=VALUE,VALUE"
        raise argparse.ArgumentTypeError(f"{wanted}, got {text}")
    try:
        return name, json.loads(f"[{values}]")
    except json.JSONDecodeError:  # because of some of them; commas inside lists stay
        return name, [json_or_text(each) for each in re.split(COMMA, values)]


def json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

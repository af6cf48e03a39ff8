"""The command line `vime-ref`: train agents with and without curiosity, check code.

`vime-ref run` trains every bonus on every seed, or runs a study, and writes tables,
settings and pictures. `vime-ref figure` shows several results side by side. `vime-ref
check`, `vime-ref fuzz` and `vime-ref vectors` call `vime_check`.

Each command imports only what it needs, because imports take seconds.
"""

from __future__ import annotations

import io
import os
import shlex
import sys

from vime_lab.signals import lost_stops_repeated, on_stop

TYPE_CHECKING = False  # `typing` loads slowly
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any

# ---------------------------------------------------------------- constants

INTERRUPTED = 130  # exit code after Ctrl-C, SIGTERM and SIGHUP

# ---------------------------------------------------------------- commands


def run_lab(arguments: argparse.Namespace) -> int:
    """Execute `run` or `figure`; return the exit code."""
    # pictures need no display, and no backend of a notebook that started this shell
    os.environ["MPLBACKEND"] = "agg"
    from vime_lab import commands

    return {"run": commands.run, "figure": commands.figure}[arguments.action](arguments)


def run_crosscheck(arguments: argparse.Namespace) -> int:
    """Execute `check` or `fuzz` and print the report; return the exit code."""
    check_fuzz(arguments)
    check_implementation(arguments)
    check_report_file(arguments)
    from vime_check.wire import UsageError

    # the report
    try:
        report = crosscheck(arguments)
    except UsageError as error:
        arguments.parser.error(str(error))
    print(report)

    # the same report as a file
    if arguments.json:
        from vime_lab.files import make_folder

        command = shlex.join(["vime-ref", *arguments.command_line])
        try:
            make_folder(arguments.json.parent)
            arguments.json.write_text(report.to_json(command), encoding="utf-8")
        except OSError as error:
            reject_report_file(arguments, str(error.strerror))
    return 0 if report.ok else 1


def crosscheck(arguments: argparse.Namespace) -> Any:
    """The report of `check` or `fuzz`."""
    given = values_of(arguments, "command", "only", "dtype", "timeout", "memory")
    if arguments.action == "fuzz":
        from vime_check.fuzzer import fuzz

        own = values_of(arguments, "examples", "seed", "vectors")
        return fuzz(arguments.impl, **own, **given)

    # With noise of its own, or with the cases' noise.
    cases = values_of(arguments, "strict", "digits", "profile", "vectors")
    if not arguments.own_noise:
        from vime_check.judge import check

        return check(arguments.impl, **cases, **given)
    from vime_check.own_noise import check_own_noise

    for name, value in cases.items():
        if value:
            arguments.parser.error(f"--own-noise and --{name} exclude each other")
    return check_own_noise(arguments.impl, num_samples=arguments.own_noise, **given)


def values_of(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names}


def run_vectors(arguments: argparse.Namespace) -> int:
    """Write the bundle of the vectors; return the exit code."""
    from vime_check.bundle import write_bundle
    from vime_check.wire import UsageError

    try:
        written = write_bundle(arguments.out)
    except UsageError as error:
        arguments.parser.error(f"argument --{error}")
    print(f"wrote {arguments.out}/: {', '.join(written.names)}")
    if written.replaced:
        print(written.replaced)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run_lab,
    "figure": run_lab,
    "check": run_crosscheck,
    "fuzz": run_crosscheck,
    "vectors": run_vectors,
}


def execute(argv: Sequence[str] | None) -> int:
    """Parse the arguments and execute the command; return the exit code."""
    from vime_lab.arguments import command_line
    from vime_lab.machine import hold_one_thread

    hold_one_thread()
    print_any_text()

    # parse the arguments
    given = list(sys.argv[1:] if argv is None else argv)
    parser = command_line()
    arguments, unknown = parser.parse_known_args(given)
    if unknown:
        words = " ".join(unknown)
        if arguments.action == "run":
            words += advice_on(unknown[0])
        arguments.parser.error(f"unrecognized arguments: {words}")
    if arguments.action is None:
        parser.error(f"which command? {', '.join(COMMANDS)}")
    arguments.command_line = given

    return COMMANDS[arguments.action](arguments)


def advice_on(word: str) -> str:
    """Advice on a word that no flag of `run` takes."""
    if not word.startswith("-"):
        return f"; if {word} is a task, use --task {word}"
    name = word.partition("=")[0].strip("-").replace("-", "_")
    return f"; if {name} is a setting, use --set {name}=VALUE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `vime-ref`; return the exit code.

    Ctrl-C, SIGTERM and SIGHUP print one line. The handler is set before the first slow
    import.
    """
    signals: list[int] = []

    def stop(number: int, frame: Any) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    with on_stop(stop), lost_stops_repeated():
        try:
            return execute(argv)
        except BaseException as error:
            # an interrupted import may raise another error
            if not signals and not isinstance(error, KeyboardInterrupt):
                raise
            advice = error.args if isinstance(error, KeyboardInterrupt) else ()
            line = "; ".join(["interrupted", *advice])
            sys.stderr.write(f"\nvime-ref: {line}\n")
            return INTERRUPTED


def print_any_text() -> None:
    """Print what the terminal's encoding lacks as an escape, such as \\xbd for ½."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


# ---------------------------------------------------------------- argument checks


def check_fuzz(arguments: argparse.Namespace) -> None:
    """Exit with one line if nothing can draw inputs."""
    if arguments.action == "fuzz":
        from vime_gym.extras import lacking

        if line := lacking("fuzz", ["hypothesis"], "test"):
            arguments.parser.reject(line)


def check_report_file(arguments: argparse.Namespace) -> None:
    """Exit with one line if the report can't be written."""
    path = arguments.json
    if path is None:
        return
    # what exists of the path
    nearest = next(each for each in (path, *path.parents) if os.path.exists(each))
    reason = ""
    if os.path.isdir(path):
        reason = "Is a directory"
    elif nearest != path and not os.path.isdir(nearest):
        reason = "Not a directory"
    elif not os.access(nearest, os.W_OK):
        reason = "Permission denied"
    if reason:
        reject_report_file(arguments, reason)


def reject_report_file(arguments: argparse.Namespace, reason: str) -> None:
    where = f"can't write to {arguments.json}: {reason}"
    arguments.parser.error(f"argument --json: {where}")


def check_implementation(arguments: argparse.Namespace) -> None:
    """Exit with a suggestion if IMPL is a file."""
    if arguments.impl is None:
        return
    from pathlib import PurePath

    path, colon, name = arguments.impl.partition(":")
    if not path.endswith(".py") and os.sep not in path:
        return
    # relative to this folder, where Python looks for modules
    parts = PurePath(os.path.relpath(path)).with_suffix("").parts
    meant = ".".join(parts) + colon + name
    hint = f"did you mean {meant}?"
    if not all(part.isidentifier() for part in parts):
        hint = (
            f"did you mean {parts[-1]}{colon}{name}, run from the folder that holds it?"
        )
    wanted = "IMPL must be a module or module:object"
    arguments.parser.error(f"{wanted}, got {arguments.impl!r}: {hint}")


if __name__ == "__main__":
    sys.exit(main())

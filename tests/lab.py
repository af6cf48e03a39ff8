"""What the tests of the laboratory share: small runs, and what a command leaves and says."""

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vime_lab import checkpoints, command_line, figures, processes, runs
from vime_lab.checkpoints import Progress
from vime_lab.rows import RUN_NUMBERS, TIMES, Row
from vime_lab.tasks import TASKS, Job, with_setting

# ---------------------------------------------------------------- small runs


NAME = "SparseMountainCar"
SIZES = {
    "agent.batch_steps": 600,
    "vime.num_updates": 5,
    "vime.num_samples": 2,
    "vime.hidden_sizes": [4],
    "policy_sizes": [4],
    "value_sizes": [4],
}
ITERATIONS = 4


def small_job(
    bonus: str = "vime", seed: int = 0, task_name: str = NAME, **changes: Any
) -> Job:
    task = replace(TASKS[task_name], iterations=ITERATIONS)
    for name, value in {**SIZES, **changes}.items():
        task = with_setting(task, name, value)
    return Job(task_name, bonus, "", seed, task)


def same(rows: list[Row]) -> list[Row]:
    """Rows without their times, as text, which makes nan equal to nan."""
    return [
        {name: str(value) for name, value in row.items() if name not in TIMES}
        for row in rows
    ]


def stop_after(iterations: int) -> Callable[[], bool]:
    calls = itertools.count(1)
    return lambda: next(calls) >= iterations


Held = tuple[dict[str, Any], dict[str, Any]]


def held(path: Path, job: Job) -> Held:
    """All that a checkpoint holds, but for times, in a form that compares bit by bit."""
    state, arrays = checkpoints.read_checkpoint(path, job)
    arrays["rows"] = arrays["rows"][:, [name not in TIMES for name in RUN_NUMBERS]]
    return state, {
        name: (array.shape, array.tobytes()) for name, array in arrays.items()
    }


def stream_moved(progress: Progress, name: str) -> Progress:
    getattr(progress.streams, name).random()
    return progress


def full(*arguments: Any, **keywords: Any) -> None:
    raise OSError(28, "No space left on device")


# ---------------------------------------------------------------- commands


def in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Jobs start no processes."""
    patch.setattr(
        processes, "supervise", lambda job, checkpoint: runs.run_job(job, checkpoint)
    )


def undrawn(patch: pytest.MonkeyPatch) -> None:
    for name in (
        "draw_learning_curve",
        "draw_state_visits",
        "draw_diagnostics",
        "draw_results",
    ):
        patch.setattr(figures, name, lambda path, *rest: path.touch())


def rows_of(folder: str) -> list[dict[str, str]]:
    """The rows of a learning curve, without the times that they took."""
    rows = csv.DictReader(Path(folder, "learning_curve.csv").read_text().splitlines())
    return [
        {name: value for name, value in row.items() if not name.endswith("_s")}
        for row in rows
    ]


def run(*arguments: str, out: str = "out") -> list[dict[str, str]]:
    assert command_line.main(["run", "--jobs", "1", "--out", out, *arguments]) == 0
    return rows_of(out)


def left_behind() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def column(rows: list[dict[str, str]], name: str, **where: str) -> list[str]:
    return [
        row[name]
        for row in rows
        if all(row[key] == value for key, value in where.items())
    ]


def ended(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """What a command writes to stderr before it ends with code 2."""
    with pytest.raises(SystemExit) as exit_:
        command_line.main(arguments)
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert captured.err.endswith("\n")
    return captured.err


def refusal(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The one line on stderr that a refused command ends with."""
    error = ended(capsys, arguments)
    assert error.count("\n") == 1
    return error


def usage_error(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The line that names the error, between the usage and where to read on."""
    *usage, error, pointer = ended(capsys, arguments).splitlines(keepends=True)
    assert usage[0].startswith("usage: vime-ref")
    assert all(line.startswith(" ") for line in usage[1:])
    command = error.partition(": error: ")[0]
    assert usage[0].startswith(f"usage: {command} ")
    assert pointer == f"try '{command} --help'\n"
    return error

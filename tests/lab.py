"""Helpers for the tests of the laboratory: small runs, and a command's files and output."""

import csv
import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import fast_ref
from vime_lab import checkpoints, command_line, figures, processes
from vime_lab.checkpoints import Progress
from vime_lab.rows import RUN_COLUMNS, RUN_NUMBERS, STUDY_COLUMNS, TIMES, Row
from vime_lab.settings import with_setting
from vime_lab.studies.catalogue import STUDIES, read_study
from vime_lab.studies.frame import StudyJob
from vime_lab.tasks import TASKS, Job
from vime_lecture.recurrent import UnrealSettings
from vime_ref import VimeSettings

# ---------------------------------------------------------------- pages and kept rows

ROOT = Path(__file__).parent.parent


def page(name: str) -> str:
    """The text of a page, with one space between words."""
    return " ".join((ROOT / "docs" / name).read_text().split())


def kept_rows(study: str) -> list[Row]:
    """The rows of a study's kept results."""
    return read_study(ROOT / "results" / study / "study.csv")


def check_phrases(name: str, phrases: Sequence[str]) -> None:
    """All phrases, which hold numbers, are on the page."""
    text = page(name)
    missing = [phrase for phrase in phrases if phrase not in text]
    assert not missing, missing


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


def by_fast(settings: VimeSettings) -> VimeSettings:
    """The settings of a model that uses the fast twins, as in runs."""
    return replace(
        settings,
        gradient=fast_ref.elbo_grad,
        fit=fast_ref.fit,
        gains=fast_ref.information_gains,
    )


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
    """The contents of a checkpoint except times, in a form for bit-identical comparison."""
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
    """Make jobs run in this process."""
    patch.setattr(processes, "supervise", processes.work)


def undrawn(patch: pytest.MonkeyPatch) -> None:
    for name in (
        "draw_learning_curve",
        "draw_state_visits",
        "draw_diagnostics",
        "draw_results",
    ):
        patch.setattr(figures, name, lambda path, *rest: path.touch())


def rows_of(folder: str) -> list[dict[str, str]]:
    """The rows of a learning curve, without times."""
    rows = csv.DictReader(Path(folder, "learning_curve.csv").read_text().splitlines())
    return [
        {name: value for name, value in row.items() if not name.endswith("_s")}
        for row in rows
    ]


def run(*arguments: str, out: str = "out") -> list[dict[str, str]]:
    assert command_line.main(["run", "--jobs", "1", "--out", out, *arguments]) == 0
    return rows_of(out)


def terminal(patch: pytest.MonkeyPatch) -> None:
    """Make stderr say that it is a terminal."""
    patch.setattr(sys.stderr, "isatty", lambda: True)


def left_behind() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def column(rows: list[dict[str, str]], name: str, **where: str) -> list[str]:
    return [
        row[name]
        for row in rows
        if all(row[key] == value for key, value in where.items())
    ]


def ended(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """A command's stderr before it exits with code 2."""
    with pytest.raises(SystemExit) as exit_:
        command_line.main(arguments)
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert captured.err.endswith("\n")
    return captured.err


def refusal(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The one line on stderr with which a command exits that can't be carried out."""
    error = ended(capsys, arguments)
    assert error.count("\n") == 1
    return error


def usage_error(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The line that names the error, before the pointer to --help. No usage hides it."""
    error, pointer = ended(capsys, arguments).splitlines(keepends=True)
    command = error.partition(": error: ")[0]
    assert pointer == f"try '{command} --help'\n"
    return error


# ---------------------------------------------------------------- rows of learning curves that were never run

NAN = math.nan
Rows = list[dict[str, Any]]


def curve_row(
    bonus: str, seed: int, iteration: int, mean: float = 0.0, **values: Any
) -> dict[str, Any]:
    """A row of a learning curve; a plain agent has no model, so its model's numbers are nan."""
    model = NAN if bonus == "none" else 1.0 + seed + iteration
    given = {
        "task": "Hill",
        "bonus": bonus,
        "setting": "",
        "seed": seed,
        "iteration": iteration,
        "return_mean": mean,
    }
    given |= {
        "steps": 100 * (iteration + 1),
        "return_max": mean,
        "gain_median": 0.0 if bonus == "none" else model,
    }
    given |= {
        "elbo": -model,
        "kl_prior": model,
        "heldout_log_likelihood": -2.0 * model,
        "wall_s": 2.0 * iteration,
    }
    given |= {"heldout_error_ratio": 1.0 / model}
    return dict.fromkeys(RUN_COLUMNS, NAN) | given | values


def curve_rows(bonus: str, seed: int, means: list[float], **values: Any) -> Rows:
    return [
        curve_row(bonus, seed, iteration, mean, **values)
        for iteration, mean in enumerate(means)
    ]


def write_table(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


# ---------------------------------------------------------------- studies of a moment, and their rows

SMALL = {
    "Bandit": {"length": 60, "points": 4, "means": (0.2, 0.8)},
    "DeepSea": {"length": 30, "sizes": (2, 3, 4), "largest": (("VIME", 3),)},
    "KeyDoorMaze": {"length": 2, "length_cts": 1, "points": 2},
    "NoisyTV": {"length": 3, "points": 2, "warmup_episodes": 1, "warmup_updates": 2},
    "Labyrinth": {
        "length": 1200,
        "points": 2,
        "num_envs": 2,
        "agent": UnrealSettings(encoded=4, hidden=4),
    },
    "Exactness": {"length": 60, "learned": (0, 3, 100)},
    "Television": {
        "length": 60,
        "first": 20,
        "points": 3,
        "corridor": 2,
        "num_pictures": 4,
        "test_rows": 30,
        "vime": VimeSettings(
            hidden_sizes=(4,),
            num_updates=3,
            num_samples=1,
            step_size=1.0,
            min_rows=1,
            num_data=None,
        ),
    },
    "NoisyCorridor": {
        "length": 3,
        "points": 2,
        "corridor": 2,
        "num_pictures": 2,
        "warmup_episodes": 1,
    },
    "Film": {"length": 2},
    "Regression": {"length": 2, "hidden": 4, "num_updates": 3, "gain_samples": 4},
}
FULL = dict(STUDIES)  # as published


def study_job(
    study: str, explorer: str, seed: int = 0, size: int = 0, **changes: object
) -> StudyJob:
    return StudyJob(
        study, explorer, size, seed, replace(STUDIES[study].settings, **changes)
    )


def study_row(
    study: str,
    explorer: str,
    measure: str,
    value: float,
    *,
    size: int = 0,
    seed: int = 0,
    point: int = 0,
) -> dict:
    return dict(
        zip(STUDY_COLUMNS, (study, explorer, size, seed, measure, point, value))
    )


def measured(rows: Sequence[dict], measure: str) -> list[float]:
    return [each["value"] for each in rows if each["measure"] == measure]


def words(line: str) -> str:
    """The line without the blanks that align it."""
    return re.sub(r"\[ +", "[", " ".join(line.split()))


def played_study(study: str, rows: list[dict]) -> Iterator[Figure]:
    """The figure of a study's animation, at each of its frames."""
    figure = Figure()
    film = STUDIES[study].film
    assert film is not None
    for _ in film(figure, rows):
        yield figure


def drawn_study(study: str, rows: list[dict]) -> Figure:
    figure = Figure()
    STUDIES[study].draw(figure, rows)
    return figure

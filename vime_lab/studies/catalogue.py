"""All studies by name: their jobs, what identifies their results, their pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vime_lab.animations import is_animation, save_animation
from vime_lab.checkpoints import (
    CheckpointError,
    claimed,
    code_of,
    identity,
    read_state,
    versions,
    write_state,
)
from vime_lab.figures import WIDTH, add_legend, save
from vime_lab.machine import machine_kind
from vime_lab.rows import STUDY_COLUMNS, Row, cell_text, read_rows
from vime_lab.runs import Result
from vime_lab.settings import settings_from, settings_of
from vime_lab.studies.exactness import EXACTNESS_STUDIES
from vime_lab.studies.explorers import EXPLORER_STUDIES
from vime_lab.studies.film import FILM_STUDIES
from vime_lab.studies.frame import Study, StudyJob, Value, explorers_in
from vime_lab.studies.labyrinth import LABYRINTH_STUDIES
from vime_lab.studies.noisy_corridor import CORRIDOR_STUDIES
from vime_lab.studies.regression import REGRESSION_STUDIES
from vime_lab.studies.television import TELEVISION_STUDIES
from vime_lab.tasks import ROOT_SEED

# ---------------------------------------------------------------- constants

STUDIES: dict[str, Study] = {
    **EXPLORER_STUDIES,
    **LABYRINTH_STUDIES,
    **EXACTNESS_STUDIES,
    **TELEVISION_STUDIES,
    **CORRIDOR_STUDIES,
    **FILM_STUDIES,
    **REGRESSION_STUDIES,
}
# Modules whose code computes the rows of every study.
STUDY_MODULES = (
    "vime_lab.tasks",
    "vime_lab.rows",
    "vime_lab.checkpoints",
    "vime_lab.studies.frame",
    "vime_lab.studies.catalogue",
)

# ---------------------------------------------------------------- jobs


def study_jobs(name: str, seeds: Iterable[int]) -> list[StudyJob]:
    """The jobs of a study: every explorer, size and seed."""
    seeds = list(seeds)
    settings = STUDIES[name].settings
    largest = dict(settings.largest)
    return [
        StudyJob(name, explorer, size, seed, settings)
        for explorer in settings.explorers
        for size in settings.sizes
        if size <= largest.get(explorer, size)
        for seed in seeds
    ]


def study_job_from(values: dict[str, Any]) -> StudyJob:
    """The job with these values in JSON types; functions are the study's."""
    like = STUDIES[values["study"]].settings
    return StudyJob(**{**values, "settings": settings_from(like, values["settings"])})


def study_code(name: str) -> str:
    """A digest of the code that computes a study's rows."""
    return code_of(*STUDIES[name].modules, *STUDY_MODULES)


def study_rows(job: StudyJob) -> list[Row]:
    """The rows of one run."""
    return rows_of(job, STUDIES[job.study].run(job))


def rows_of(job: StudyJob, values: Iterable[Value]) -> list[Row]:
    own = (job.study, job.explorer, job.size, job.seed)
    return [dict(zip(STUDY_COLUMNS, (*own, *value))) for value in values]


def run_study_job(
    job: StudyJob, checkpoint: Path, should_stop: Callable[[], bool] = lambda: False
) -> Result:
    """Run the job, unless its checkpoint exists, which holds the values of the whole run.

    Raises CheckpointError if the checkpoint can't be read or written.
    """
    with claimed(checkpoint, should_stop):
        if not checkpoint.exists():
            values = [
                (row["measure"], row["point"], repr(float(row["value"])))
                for row in study_rows(job)
            ]  # as text, because JSON has no nan
            state = {**identity(job, study_code(job.study)), "values": values}
            write_state(checkpoint, state, {})
        return kept_study_result(job, checkpoint)


def kept_study_result(job: StudyJob, checkpoint: Path) -> Result:
    """The result in the checkpoint.

    Raises CheckpointError if the checkpoint can't be read.
    """
    state, _ = read_state(checkpoint, identity(job, study_code(job.study)))
    try:
        values = [(str(a), int(b), float(c)) for a, b, c in state["values"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        message = f"checkpoint {checkpoint} is not a study's: {error!r}"
        raise CheckpointError(message) from error
    return Result(job, rows_of(job, values), np.zeros((0, 2)))


def study_identity(name: str, seeds: int | str) -> dict[str, Any]:
    """The identity of a study's rows, in JSON types.

    Names are the same as in the configurations of runs.
    """
    study = STUDIES[name]
    return {
        "root_seed": ROOT_SEED,
        "code": study_code(name),
        "task_name": name,
        "bonuses": list(study.settings.explorers),
        "seeds": seeds,
        "settings": settings_of(study.settings),
        "swept": {},
        "versions": versions(),
        "machine": machine_kind(),
    }


# ---------------------------------------------------------------- files


def read_study(path: Path) -> list[Row]:
    """The rows of a study's file.

    Raises ValueError, naming the file and the fault, if the file is invalid.
    """
    rows = read_rows(path, STUDY_COLUMNS)
    names = {row["study"] for row in rows}
    if len(names) > 1 or not names <= set(STUDIES):
        raise ValueError(f"{path}: must be of one study, {', '.join(STUDIES)}")
    known = STUDIES[rows[0]["study"]].colors
    if unknown := [name for name in explorers_in(rows) if name not in known]:
        wanted = f"explorer must be one of {', '.join(known)}"
        raise ValueError(f"{path}: {wanted}, got {cell_text(unknown[0])}")
    check_runs(path, rows)
    return rows


def study_table(rows: list[Row]) -> str:
    """The table of a study, from its rows only."""
    return STUDIES[rows[0]["study"]].table(rows)


def study_pictures(rows: list[Row], still: str, moving: str) -> list[str]:
    """The names of a study's pictures: the still one, and the moving one if it has one."""
    return [still, moving] if STUDIES[rows[0]["study"]].film else [still]


def draw_study(path: Path | str, rows: list[Row]) -> None:
    """The picture of a study, from its rows only; as a GIF its animation, if it has one."""
    from matplotlib.figure import Figure

    study = STUDIES[rows[0]["study"]]
    figure = Figure(figsize=(WIDTH, study.height), layout="constrained")
    if study.film and is_animation(path):
        save_animation(path, figure, study.film(figure, rows))
        return
    looks = study.draw(figure, rows)
    if looks:
        add_legend(figure, looks.values())
    save(figure, path)


# ---------------------------------------------------------------- argument checks


def check_runs(path: Path, rows: Sequence[Row]) -> None:
    """Raise ValueError unless the rows are those of all runs of a study, each row once."""
    name = rows[0]["study"]
    found: dict[tuple[str, int, int], list[tuple[str, int]]] = {}
    for row in rows:
        run = (row["explorer"], row["size"], row["seed"])
        found.setdefault(run, []).append((row["measure"], row["point"]))

    # the runs
    seeds = sorted({seed for *_, seed in found})
    jobs = study_jobs(name, seeds)
    wanted = {(job.explorer, job.size, job.seed) for job in jobs}
    if others := sorted(found.keys() - wanted):
        raise ValueError(f"{path}: {run_text(others[0])} is no run of {name}")
    if missing := sorted(wanted - found.keys()):
        raise ValueError(f"{path}: rows missing: {run_text(missing[0])}")

    # the rows of each run: the same as those of the first seed
    measures = STUDIES[name].measures
    for run in sorted(found):
        explorer, size, _ = run
        places = {*found[run]}
        if len(places) < len(found[run]):
            raise ValueError(f"{path}: rows of {run_text(run)} must appear once")
        there = {measure for measure, _ in places}
        if lacking := [measure for measure in measures if measure not in there]:
            raise ValueError(f"{path}: rows missing: {lacking[0]} of {run_text(run)}")
        first = {*found[explorer, size, seeds[0]]}
        if other := sorted(places ^ first):
            measure, point = other[0]
            where = f"{cell_text(measure)} at {point} of {run_text(run)} or of seed {seeds[0]}"
            raise ValueError(f"{path}: rows missing: {where}")


def run_text(run: tuple[str, int, int]) -> str:
    explorer, size, seed = run
    return f"explorer {explorer!r}, size {size}, seed {seed}"


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

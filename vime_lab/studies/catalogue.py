"""All studies by name: their jobs, what identifies their results, their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vime_lab.checkpoints import code_of, versions
from vime_lab.figures import WIDTH, add_legend, save
from vime_lab.processes import in_parallel
from vime_lab.rows import STUDY_COLUMNS, Row, read_rows
from vime_lab.studies.explorers import EXPLORER_STUDIES
from vime_lab.studies.frame import Study, StudyJob, explorers_in
from vime_lab.studies.labyrinth import LABYRINTH_STUDIES
from vime_lab.tasks import ROOT_SEED, settings_of

# ---------------------------------------------------------------- constants

STUDIES: dict[str, Study] = {**EXPLORER_STUDIES, **LABYRINTH_STUDIES}
# Modules whose code computes the rows of every study.
STUDY_MODULES = (
    "vime_lab.tasks",
    "vime_lab.rows",
    "vime_lab.studies.frame",
    "vime_lab.studies.catalogue",
)

# ---------------------------------------------------------------- jobs


def study_jobs(name: str, num_seeds: int) -> list[StudyJob]:
    """The jobs of a study: every explorer, size and seed."""
    settings = STUDIES[name].settings
    largest = dict(settings.largest)
    return [
        StudyJob(name, explorer, size, seed, settings)
        for explorer in settings.explorers
        for size in settings.sizes
        if size <= largest.get(explorer, size)
        for seed in range(num_seeds)
    ]


def study_rows(job: StudyJob) -> list[Row]:
    """The rows of one run."""
    own = (job.study, job.explorer, job.size, job.seed)
    values = STUDIES[job.study].run(job)
    return [dict(zip(STUDY_COLUMNS, (*own, *value))) for value in values]


def run_study(jobs: Sequence[StudyJob], num_processes: int | None) -> list[Row]:
    """The rows of all jobs, in the jobs' order, computed through joblib.

    Raises WorkerError if a job or the backend fails.
    """
    from tqdm import tqdm

    calls = [(job,) for job in jobs]
    with tqdm(calls, unit="run", desc="runs begun", dynamic_ncols=True) as begun:
        results = in_parallel(study_rows, begun, num_processes)
    return [row for rows in results for row in rows]


def study_identity(name: str, num_seeds: int) -> dict[str, Any]:
    """The identity of a study's rows, in JSON types.

    Names are the same as in the configurations of runs.
    """
    study = STUDIES[name]
    return {
        "root_seed": ROOT_SEED,
        "code": code_of(*study.modules, *STUDY_MODULES),
        "task_name": name,
        "bonuses": list(study.settings.explorers),
        "seeds": num_seeds,
        "settings": settings_of(study.settings),
        "swept": {},
        "versions": versions(),
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
        raise ValueError(f"{path}: {wanted}, got {unknown[0]!r}")
    return rows


def study_table(rows: list[Row]) -> str:
    """The table of a study, from its rows only."""
    return STUDIES[rows[0]["study"]].table(rows)


def draw_study(path: Path | str, rows: list[Row]) -> None:
    """The picture of a study, from its rows only."""
    from matplotlib.figure import Figure

    study = STUDIES[rows[0]["study"]]
    figure = Figure(figsize=(WIDTH, study.height), layout="constrained")
    looks = study.draw(figure, rows)
    add_legend(figure, looks.values())
    save(figure, path)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

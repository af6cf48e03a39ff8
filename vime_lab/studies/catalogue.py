"""All studies by name: their jobs, what identifies their results, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vime_lab.figures import DPI, WIDTH, add_legend
from vime_lab.runs import WorkerError, code_of, versions
from vime_lab.studies.explorers import EXPLORER_STUDIES
from vime_lab.studies.frame import COLUMNS, Row, Study, StudyJob, names_of, read_rows
from vime_lab.studies.labyrinth import LABYRINTH_STUDIES
from vime_lab.tasks import ROOT_SEED, without_functions

# ---------------------------------------------------------------- constants

FILES = ("study.csv", "config.json", "study.png")
STUDIES: dict[str, Study] = {**EXPLORER_STUDIES, **LABYRINTH_STUDIES}

# ---------------------------------------------------------------- jobs


def jobs_of(name: str, num_seeds: int) -> list[StudyJob]:
    """Every explorer, size and seed of a study."""
    settings = STUDIES[name].settings
    return [
        StudyJob(name, explorer, size, seed, settings)
        for explorer in settings.explorers
        for size in settings.sizes
        if size <= dict(settings.largest).get(explorer, size)
        for seed in range(num_seeds)
    ]


def run_job(job: StudyJob) -> list[Row]:
    """The rows of one run."""
    return [
        dict(zip(COLUMNS, (job.study, job.explorer, job.size, job.seed, *value)))
        for value in STUDIES[job.study].run(job)
    ]


def run_jobs(jobs: Sequence[StudyJob], num_processes: int | None) -> list[Row]:
    """The rows of all jobs, in their order, through joblib, as `runs.run_jobs` has it: its parallel_config, else
    as many processes as cores. Raises WorkerError where a job or the backend fails.
    """
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend
    from tqdm import tqdm

    width = num_processes or get_active_backend()[1] or -1
    tasks = [delayed(run_job)(job) for job in jobs]
    try:
        with tqdm(tasks, unit="run", desc="runs begun", dynamic_ncols=True) as begun:
            results = list(Parallel(n_jobs=width)(begun))
    except Exception as error:
        raise WorkerError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    return [row for rows in results for row in rows]


def identity(name: str, num_seeds: int) -> dict[str, Any]:
    """What makes the rows of a study, as JSON knows it; names are those of other runs' configurations."""
    settings, modules = STUDIES[name].settings, STUDIES[name].modules
    return {
        "root_seed": ROOT_SEED,
        "code": code_of(
            *modules, "vime_lab.studies.frame", "vime_lab.studies.catalogue"
        ),
        "task_name": name,
        "bonuses": list(settings.explorers),
        "seeds": num_seeds,
        "settings": json.loads(json.dumps(without_functions(asdict(settings)))),
        "swept": {},
        "versions": versions(),
    }


# ---------------------------------------------------------------- files


def read_study(path: Path) -> list[Row]:
    """The rows of a study's file; ValueError names the file and what is wrong with it."""
    rows = read_rows(path)
    if len({row["study"] for row in rows}) > 1 or rows[0]["study"] not in STUDIES:
        raise ValueError(f"{path}: must be of one study, {', '.join(STUDIES)}")
    known = STUDIES[rows[0]["study"]].colors
    if unknown := [name for name in names_of(rows) if name not in known]:
        raise ValueError(
            f"{path}: explorer must be one of {', '.join(known)}, got {unknown[0]!r}"
        )
    return rows


def draw_study(path: Path | str, rows: list[Row]) -> None:
    """The picture of a study, from its rows alone."""
    from matplotlib.figure import Figure

    study = STUDIES[rows[0]["study"]]
    figure = Figure(figsize=(WIDTH, study.height), layout="constrained")
    looks = study.draw(figure, rows)
    add_legend(figure, {("", name): look for name, look in looks.items()})
    figure.savefig(path, dpi=DPI)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

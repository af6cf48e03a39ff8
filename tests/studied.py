"""Studies of a moment, and rows that were never measured."""

import re
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from vime_lab.rows import STUDY_COLUMNS
from vime_lab.studies.catalogue import STUDIES
from vime_lab.studies.frame import StudyJob
from vime_lecture.unreal import UnrealSettings

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
}
FULL = dict(STUDIES)  # as published


def job(
    study: str, explorer: str, seed: int = 0, size: int = 0, **changes: object
) -> StudyJob:
    return StudyJob(
        study, explorer, size, seed, replace(STUDIES[study].settings, **changes)
    )


def row(
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


def values(rows: Sequence[dict], measure: str) -> list[float]:
    return [each["value"] for each in rows if each["measure"] == measure]


def words(line: str) -> str:
    """The line without the blanks that align it."""
    return re.sub(r"\[ +", "[", " ".join(line.split()))


def drawn(study: str, rows: list[dict]) -> Figure:
    figure = Figure()
    STUDIES[study].draw(figure, rows)
    return figure

"""Rows of learning curves that were never run."""

import csv
import math
from pathlib import Path
from typing import Any

from vime_lab.rows import RUN_COLUMNS

NAN = math.nan
Rows = list[dict[str, Any]]


def row(
    bonus: str, seed: int, iteration: int, mean: float = 0.0, **values: Any
) -> dict[str, Any]:
    """A row of a learning curve; a plain agent has no model and so no numbers of one."""
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


def run(bonus: str, seed: int, means: list[float], **values: Any) -> Rows:
    return [
        row(bonus, seed, iteration, mean, **values)
        for iteration, mean in enumerate(means)
    ]


def write(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path

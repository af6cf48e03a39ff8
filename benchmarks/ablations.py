"""SparseCartPoleSwingup with VIME, one setting changed at a time: first reward, return, P(higher than the task's).

    python benchmarks/ablations.py run results/ablations       # adds the runs that are missing, seed after seed
    python benchmarks/ablations.py show results/ablations      # prints the table of docs/ablations.md
    python benchmarks/ablations.py draw results/ablations      # draws ablations.png

A row of `ablations.csv` is an iteration of a run. Needs the extra `run`.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads

import argparse
import csv
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

import bnn_ref as bnn
from vime_lab import tasks
from vime_lab.checkpoints import identity
from vime_lab.runs import run_job
from vime_lab.settings import with_setting
from vime_lab.tasks import Job
from vime_ref import Batch, Vime

TASK = "SparseCartPoleSwingup"
ITERATIONS = 40
SEEDS = range(100, 110)
COLUMNS = ("variant", "seed", "iteration", "return_mean", "gain_median", "bonus_share")
CSV, CONFIG, PICTURE = "ablations.csv", "config.json", "ablations.png"
RECENT = 5000  # rows of the pool whose residuals count

# The settings that differ from the task's.
VARIANTS: dict[str, dict[str, Any]] = {
    "as the task has it": {},
    "exact gain": {"vime.method": "exact"},
    "exact gain, λ = 0.1": {"vime.method": "exact", "vime.step_size": 0.1},
    "λ = 0.1": {"vime.step_size": 0.1},
    "λ = 1": {"vime.step_size": 1.0},
    "noise per unit and row": {"noise": "unit"},
    "noise per unit, shared": {"noise": "shared"},
    "one sample": {"vime.num_samples": 1},
    "raw gain, η = 0.3": {"agent.normalize": False, "agent.eta": 0.3},
    "raw gain, η = 30": {"agent.normalize": False, "agent.eta": 30.0},
    "num_data = 50": {"vime.num_data": 50.0},
    "num_data = rows of the pool": {"vime.num_data": None},
    "learning rate 1e-4": {"vime.learning_rate": 1e-4},
    "σ = 5": {"vime.likelihood_sigma": 5.0},
    "σ re-estimated": {},
    "line search by 0.8": {"trpo.shrink": 0.8},
    "noise as bonus": {},
}
BONUS_OF = {"σ re-estimated": "residual", "noise as bonus": "noise"}


# ------------------------------------------------------------ σ, re-estimated


@dataclass(frozen=True, eq=False)
class ResidualSigma:
    """VIME with σ_l = the root mean squared error of the mean weights' predictions on the last rows of the pool.

    One σ for all dimensions of the normalized s′. It is new before each gain and each update.
    """

    model: Vime

    def reward(self, batch: Batch, rng: Generator) -> bnn.Array:
        return with_residual(self.model).reward(batch, rng)

    def update(self, batch: Batch, rng: Generator) -> "ResidualSigma":
        return ResidualSigma(with_residual(self.model).update(batch, rng))


def with_residual(model: Vime) -> Vime:
    """The model with the σ_l of its residuals, if its pool has rows."""
    if len(model.pool) == 0:
        return model
    rows = (column[-RECENT:] for column in model.pool.columns)
    inputs, targets = model.normalized(*rows)
    outputs = bnn.mlp(model.q.mu[None], inputs, model.layer_sizes)[0]  # (N, K)
    sigma = float(np.sqrt(np.mean((targets - outputs) ** 2)))
    return replace(model, settings=replace(model.settings, likelihood_sigma=sigma))


tasks.CONTROLS["residual"] = ResidualSigma

# ------------------------------------------------------------ runs


def job_of(variant: str, seed: int, iterations: int) -> Job:
    task = with_setting(tasks.TASKS[TASK], "iterations", iterations)
    for name, value in VARIANTS[variant].items():
        task = with_setting(task, name, value)
    return Job(TASK, BONUS_OF.get(variant, "vime"), variant, seed, task)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows; none if there is no file yet."""
    if not path.exists():
        return []
    whole = ("seed", "iteration")
    with path.open(newline="") as file:
        return [
            {
                name: cell if name == "variant" else (int if name in whole else float)(cell)
                for name, cell in row.items()
            }
            for row in csv.DictReader(file)
        ]  # fmt: skip


def run(
    folder: Path, variants: Sequence[str], seeds: Sequence[int], iterations: int
) -> None:
    """Add the runs that are missing, each when it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CSV
    known = {(row["variant"], row["seed"]) for row in read(path)}
    for seed in seeds:
        for variant in variants:
            if (variant, seed) in known:
                continue
            job = job_of(variant, seed, iterations)
            with tempfile.TemporaryDirectory() as place:
                result = run_job(job, Path(place, "run.npz"))
            assert result is not None
            is_new = not path.exists()
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if is_new:
                    writer.writeheader()
                for row in result.rows:
                    numbers = {name: f"{row[name]:.6g}" for name in COLUMNS[1:]}
                    writer.writerow({"variant": variant, **numbers})
            print(variant, seed, f"{result.rows[-1]['wall_s']:.0f} s", flush=True)
    base = identity(job_of(next(iter(VARIANTS)), seeds[0], iterations))
    config = {**base, "seed": list(seeds), "variants": VARIANTS, "bonuses": BONUS_OF}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["run", "show", "draw"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[*SEEDS])
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    given = parser.parse_args()
    if given.what == "run":
        run(given.folder, given.variants, given.seeds, given.iterations)

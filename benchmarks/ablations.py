"""SparseCartPoleSwingup with VIME, one setting changed at a time: first reward and return.

    python benchmarks/ablations.py run runs/ablations          # adds the runs that are missing, seed after seed
    python benchmarks/ablations.py show results/ablations      # prints the table of docs/ablations.md
    python benchmarks/ablations.py draw results/ablations      # draws ablations.png

A row of `ablations.csv` is an iteration of a run; a run that ends in an error is one row with its message.
`config.json` holds the settings, the code and the versions; `run` adds no runs with others. Needs the extra `run`.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.random import Generator

mpl.use("Agg")
import matplotlib.pyplot as plt

import bnn_ref as bnn
from vime_lab import tasks
from vime_lab.checkpoints import RUN_MODULES, code_of, identity
from vime_lab.rows import read_rows
from vime_lab.runs import run_job
from vime_lab.settings import with_setting
from vime_lab.statistics import final_returns, improvement_with_ends, quartiles, runs
from vime_lab.tables import earliness, ends_cell, first_rewards, improvement_cell
from vime_lab.tasks import Job
from vime_ref import Batch, Vime

TASK = "SparseCartPoleSwingup"
ITERATIONS = 30
SEEDS = range(100, 110)
NUMBERS = ("seed", "iteration", "return_mean", "gain_median", "bonus_share")
COLUMNS = ("variant", *NUMBERS, "error")
CSV, CONFIG, PICTURE = "ablations.csv", "config.json", "ablations.png"
RECENT = 5000  # rows of the pool whose residuals count
# The parts of an identity that are not the same for all runs.
OF_A_RUN = ("format", "bonus_name", "setting", "seed")

# The settings that differ from the task's.
VARIANTS: dict[str, dict[str, Any]] = {
    "as the task has it": {},
    "exact gain": {"vime.method": "exact"},
    "exact gain, λ = 0.1": {"vime.method": "exact", "vime.step_size": 0.1},
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


# ------------------------------------------------------------ runs


def job_of(variant: str, seed: int, iterations: int) -> Job:
    task = with_setting(tasks.TASKS[TASK], "iterations", iterations)
    for name, value in VARIANTS[variant].items():
        task = with_setting(task, name, value)
    return Job(TASK, BONUS_OF.get(variant, "vime"), variant, seed, task)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows; none before the first run."""
    return read_rows(path, ("variant", *NUMBERS)) if path.exists() else []


def configuration(iterations: int) -> dict[str, Any]:
    """All that determines the runs, in JSON types."""
    job = job_of(next(iter(VARIANTS)), 0, iterations)
    own = identity(job, code_of(*RUN_MODULES, "ablations"))
    same = {name: own[name] for name in own if name not in OF_A_RUN}
    text = json.dumps({**same, "variants": VARIANTS, "bonuses": BONUS_OF})
    return dict(json.loads(text))


def check_folder(folder: Path, config: dict[str, Any]) -> None:
    """Raise ValueError if the folder holds runs of another configuration, or of an unknown one."""
    path = folder / CONFIG
    if not (folder / CSV).exists():
        return
    there = json.loads(path.read_text()) if path.exists() else {}
    names = sorted({*there, *config})
    differ = [name for name in names if there.get(name) != config.get(name)]
    if differ:
        raise ValueError(f"{folder} holds other runs: {', '.join(differ)} differ")


def rows_of(job: Job) -> list[dict[str, Any]]:
    """The run's iterations; one row of nan with the message if a step leaves the range of ρ."""
    try:
        with tempfile.TemporaryDirectory() as place:
            result = run_job(job, Path(place, "run.npz"))
    except ValueError as error:
        if not str(error).startswith(f"rho must be >= {bnn.MIN_RHO:g}"):
            raise
        print(f"{job.setting} {job.seed}: {error}", flush=True)
        nothing = dict.fromkeys(NUMBERS, np.nan)
        return [nothing | {"seed": job.seed, "iteration": 0, "error": str(error)}]
    assert result is not None
    return [{**row, "error": ""} for row in result.rows]


def run(
    folder: Path, variants: Sequence[str], seeds: Sequence[int], iterations: int
) -> None:
    """Add the runs that are missing, each when it ends.

    Raises ValueError if the folder holds runs with other settings, code or versions.
    """
    tasks.CONTROLS["residual"] = ResidualSigma
    config = configuration(iterations)
    check_folder(folder, config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False))
    path = folder / CSV
    known = {(row["variant"], row["seed"]) for row in read(path)}
    for seed in seeds:
        for variant in variants:
            if (variant, seed) in known:
                continue
            began = time.perf_counter()
            made = rows_of(job_of(variant, seed, iterations))
            is_new = not path.exists()
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if is_new:
                    writer.writeheader()
                for row in made:
                    numbers = {name: f"{row[name]:.6g}" for name in NUMBERS}
                    texts = {"variant": variant, "error": row["error"]}
                    writer.writerow(texts | numbers)
            print(variant, seed, f"{time.perf_counter() - began:.0f} s", flush=True)


# ------------------------------------------------------------ what the runs show


@dataclass(frozen=True)
class Outcome:
    """A variant's runs that did not end in an error: first rewarded iteration, if any, and return at the end."""

    firsts: list[int | None]
    finals: bnn.Array
    failed: int = 0

    @property
    def earliness(self) -> bnn.Array:
        return earliness(self.firsts)

    @property
    def rewarded(self) -> list[int]:
        return [first for first in self.firsts if first is not None]


def outcomes(rows: list[dict[str, Any]]) -> dict[str, Outcome]:
    """The outcome of each variant, in the order of `VARIANTS`."""
    found = {}
    for variant in VARIANTS:
        mine = [
            {**row, "bonus": "", "setting": variant}
            for row in rows
            if row["variant"] == variant
        ]
        if mine:
            finals = final_returns(mine, "", variant)
            good = np.isfinite(finals)
            ended = [
                row
                for run, is_good in zip(runs(mine).values(), good)
                if is_good
                for row in run
            ]
            failed = int(np.count_nonzero(~good))
            found[variant] = Outcome(first_rewards(ended), finals[good], failed)
    return found


def compared(ones: Outcome, others: Outcome) -> list[tuple[bnn.Array, bnn.Array]]:
    """What P(sooner) and P(higher) compare; never is later than any iteration."""
    return [(ones.earliness, others.earliness), (ones.finals, others.finals)]


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each variant; the first is what the others are compared with."""
    found = outcomes(rows)
    base, *_ = found.values()
    lines = [
        "| variant | first reward | P(sooner) | return at the end | P(higher) |",
        "|---|---|---|---|---|",
    ]
    for variant, mine in found.items():
        when = "never"
        if mine.rewarded:
            when = ends_cell(quartiles(mine.rewarded), "g")
        first = f"{when}, {len(mine.rewarded)} of {len(mine.firsts)}"
        first += f"; {mine.failed} ended in an error" * bool(mine.failed)
        final = ends_cell(quartiles(mine.finals), ".1f")
        pairs = ["", ""]
        if mine is not base:
            pairs = [improvement_cell(*each) for each in compared(mine, base)]
        lines.append(f"| {variant} | {first} | {pairs[0]} | {final} | {pairs[1]} |")
    return "\n".join(lines)


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Dots are medians, bars quartiles, small dots seeds; at the right, P and its interval."""
    found = outcomes(rows)
    base, *_ = found.values()
    places = np.arange(len(found))[::-1]
    figure, panels = plt.subplots(
        1, 4, figsize=(11.0, 5.2), sharey=True, layout="constrained"
    )
    bar: dict[str, Any] = {"fmt": "o", "color": "black", "ms": 5, "lw": 1.4}
    seen: dict[str, Any] = {"color": "0.65", "s": 9, "linewidths": 0, "zorder": 1}
    for place, mine in zip(places, found.values()):
        for axes, values in zip(panels, (mine.rewarded, mine.finals)):
            if len(values):
                low, middle, high = quartiles(values)
                axes.scatter(values, [place] * len(values), **seen)
                axes.errorbar(
                    middle, place, xerr=[[middle - low], [high - middle]], **bar
                )
        if mine is not base:
            for axes, pair in zip(panels[2:], compared(mine, base)):
                low, middle, high = improvement_with_ends(*pair)
                xerr = [[middle - low], [high - middle]]
                axes.errorbar(middle, place, xerr=xerr, **bar)
    for axes, middle in zip(
        panels, (np.median(base.rewarded), np.median(base.finals), 0.5, 0.5)
    ):
        axes.axvline(middle, color="0.5", lw=0.8, ls="--", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(
        yticks=places, yticklabels=list(found), xlabel="iteration of the first reward"
    )
    panels[1].set(xlabel="return at the end")
    panels[2].set(xlabel="P(reward sooner)", xlim=(-0.03, 1.03))
    panels[3].set(xlabel="P(return higher)", xlim=(-0.03, 1.03))
    figure.savefig(path, dpi=120)
    plt.close(figure)


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
    elif given.what == "show":
        print(table(read(given.folder / CSV)))
    else:
        draw(given.folder / PICTURE, read(given.folder / CSV))

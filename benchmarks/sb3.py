"""Stable-Baselines3 with and without VIME on tasks with a sparse reward: the share of solved episodes.

    python benchmarks/sb3.py run results/SB3 --tasks MountainCar       # adds the runs that are missing
    python benchmarks/sb3.py show results/SB3                          # prints the numbers, draws the pictures

Each run is one seed with η, or with 0. Its episodes, in the order of their ends, are divided into 20 parts: a row of
`TASK.csv` is a part. Needs the extras `run` and `sb3`.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads

import argparse
import csv
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

mpl.use("Agg")
import matplotlib.pyplot as plt

from vime_gym.sb3 import CuriosityCallback
from vime_lab.statistics import (
    improvement_interval,
    probability_of_improvement,
    quartiles,
)

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import sb3_off_policy
import sb3_ppo

PARTS, LAST = 20, 4  # parts of a run, and those of its last fifth
COLUMNS = ("agent", "seed", "part", "solved", "episodes")
COLORS = {"VIME": "tab:red", "plain": "tab:blue", "VIME, evaluated again": "tab:purple"}


class Study(NamedTuple):
    """The agents of a task, each a function of a seed, and what the task is."""

    title: str
    agents: dict[str, Callable[[int], list[bool]]]


def lake(seed: int, eta: float, *, slippery: bool, steps: int = 50_000) -> list[bool]:
    """PPO as in the example, on observations that are one-hot."""
    settings = {"map_name": "8x8", "is_slippery": slippery}
    env = make_vec_env("FrozenLake-v1", 8, seed, env_kwargs=settings)
    model = PPO(
        "MlpPolicy", env, n_steps=128, batch_size=256, seed=seed, stats_window_size=steps,
        normalize_advantage=False, ent_coef=1e-3,
    )  # fmt: skip
    model.learn(steps, callback=CuriosityCallback(eta=eta, seed=seed))
    return [episode["r"] > 0 for episode in model.ep_info_buffer]


def agents(train: Any, **settings: Any) -> dict[str, Callable[[int], list[bool]]]:
    """With η = 0.01, and without."""
    both = {"VIME": 1e-2, "plain": 0.0}
    return {name: partial(train, eta=eta, **settings) for name, eta in both.items()}


SAC = sb3_off_policy.train
STUDIES = {
    "MountainCar": Study(
        "PPO, MountainCar-v0, rewarded at the goal", agents(sb3_ppo.train)
    ),
    "FrozenLake": Study(
        "PPO, FrozenLake-v1 8x8, not slippery", agents(lake, slippery=False)
    ),
    "FrozenLake-slippery": Study(
        "PPO, FrozenLake-v1 8x8, slippery", agents(lake, slippery=True)
    ),
    "SparseMountainCar": Study(
        "SAC, SparseMountainCar-v0",
        {**agents(SAC), "VIME, evaluated again": partial(SAC, again=True)},
    ),
}

# ------------------------------------------------------------ runs


def rows_of(agent: str, seed: int, solved: list[bool]) -> list[dict[str, Any]]:
    parts = np.array_split(np.array(solved, bool), PARTS)
    values = [(agent, seed, k, each.sum(), len(each)) for k, each in enumerate(parts)]
    return [dict(zip(COLUMNS, row)) for row in values]


def read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: row[name] if name == "agent" else int(row[name]) for name in COLUMNS}
        for row in rows
    ]


def run(
    folder: Path, studies: dict[str, Study], tasks: list[str], seeds: list[int]
) -> None:
    """Add the runs that are missing, seed after seed, each when it ends."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for task in tasks:
            for agent, train in studies[task].agents.items():
                path = folder / f"{task}.csv"
                if (agent, seed) in {(r["agent"], r["seed"]) for r in read(path)}:
                    continue
                rows = rows_of(agent, seed, train(seed))
                new = not path.exists()
                with path.open("a", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    if new:
                        writer.writeheader()
                    writer.writerows(rows)
                print(task, agent, seed, f"{last_fifth(rows):.2f}", flush=True)


# ------------------------------------------------------------ results


def last_fifth(rows: list[dict[str, Any]]) -> float:
    """The share of solved episodes in the last fifth of one run."""
    last = [row for row in rows if row["part"] >= PARTS - LAST]
    return float(sum(r["solved"] for r in last) / sum(r["episodes"] for r in last))


def agents_in(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["agent"] for row in rows))


def runs_of(rows: list[dict[str, Any]], agent: str) -> dict[int, Any]:
    """Each seed's rows of an agent."""
    mine: dict[int, Any] = {}
    for row in rows:
        if row["agent"] == agent:
            mine.setdefault(row["seed"], []).append(row)
    return mine


def show(folder: Path) -> None:
    for task, study in STUDIES.items():
        rows = read(folder / f"{task}.csv")
        if not rows:
            continue
        print(f"\n{study.title}: share of solved episodes in the last fifth")
        finals = {}
        for agent in agents_in(rows):
            runs = runs_of(rows, agent)
            finals[agent] = [last_fifth(each) for each in runs.values()]
            low, median, high = quartiles(finals[agent])
            seeds = ", ".join(f"{each:.2f}" for each in sorted(finals[agent]))
            print(f"{agent}: median {median:.2f}, quartiles {low:.2f} to {high:.2f}; {seeds}")  # fmt: skip
        for agent, values in finals.items():
            if agent != "plain" and "plain" in finals:
                better = probability_of_improvement(values, finals["plain"])
                low, high = improvement_interval(values, finals["plain"])
                print(f"P({agent} > plain) = {better:.2f}, 95 % interval {low:.2f} to {high:.2f}")  # fmt: skip
        draw(folder / f"{task}.png", study, rows)


def draw(path: Path, study: Study, rows: list[dict[str, Any]]) -> None:
    """Median and quartiles over seeds of the share of solved episodes, along the runs."""
    figure, axes = plt.subplots(figsize=(5.0, 2.6), layout="constrained")
    along = (np.arange(PARTS) + 0.5) / PARTS
    for agent in agents_in(rows):
        runs = runs_of(rows, agent).values()
        shares = np.array(
            [[r["solved"] / r["episodes"] for r in each] for each in runs]
        )
        low, median, high = np.quantile(shares, [0.25, 0.5, 0.75], axis=0)
        axes.plot(along, median, color=COLORS[agent], label=agent)
        axes.fill_between(along, low, high, color=COLORS[agent], alpha=0.2, lw=0)
    axes.set(
        xlabel="episodes so far, as a share of the run", ylabel="solved episodes",
        title=f"{study.title}, {len({row['seed'] for row in rows})} seeds", ylim=(-0.03, 1.03), xlim=(0.0, 1.0),
    )  # fmt: skip
    axes.title.set_fontsize(9)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(100, 110)))
    given = parser.parse_args()
    if given.what == "run":
        run(given.folder, STUDIES, given.tasks, given.seeds)
    else:
        show(given.folder)

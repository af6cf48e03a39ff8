"""The original's sweep over η on the dense mountain car, beside ours: medians and quartiles of the return.

    vime-ref run --task DenseMountainCar --settings original --agent trpo --bonus vime --seeds 100:110 \
        --set agent.eta=0,0.0001,0.0003,0.003,0.01,0.03,0.1,0.3,1.0,3.0,10.0 --out results/DenseMountainCar-trpo
    (and the same with reinforce instead of trpo)
    python benchmarks/sweep.py show results       # prints the table of docs/ablations.md
    python benchmarks/sweep.py draw results       # draws ablations/sweep.png

The original's numbers are in `ablations/original_sweep.csv`, rounded to two digits. Needs the extra `run`.
"""

import argparse
import csv
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bnn_ref import Array
from vime_lab.rows import read_curve
from vime_lab.statistics import final_returns, quartiles
from vime_lab.tables import ends_cell, improvement_cell

AGENTS = {"TRPO": "DenseMountainCar-trpo", "REINFORCE": "DenseMountainCar-reinforce"}
ORIGINAL = Path("ablations", "original_sweep.csv")
PICTURE = Path("ablations", "sweep.png")
SETTING = "agent.eta="

Sweep = dict[float, tuple[float, float, float]]  # lower quartile, median, upper, by η


def finals(folder: Path) -> dict[float, Array]:
    """Each seed's return at the end, by η; η = 0 is the agent without a bonus."""
    rows = read_curve(folder / "learning_curve.csv")
    settings = dict.fromkeys(row["setting"] for row in rows)
    return {
        float(setting.removeprefix(SETTING)): final_returns(rows, "vime", setting)
        for setting in settings
    }


def ours(folder: Path) -> Sweep:
    """Quartiles by η."""
    return {eta: quartiles(values) for eta, values in finals(folder).items()}


def probability(folder: Path) -> dict[float, str]:
    """P(higher than with η = 0) and its interval, by η > 0."""
    by_eta = finals(folder)
    plain = by_eta.pop(0.0)
    return {eta: improvement_cell(values, plain) for eta, values in by_eta.items()}


def originals(results: Path) -> dict[str, Sweep]:
    """The original's series, by agent."""
    found: dict[str, Sweep] = {}
    with (results / ORIGINAL).open(newline="") as file:
        for row in csv.DictReader(file):
            numbers = float(row["low"]), float(row["median"]), float(row["high"])
            found.setdefault(row["agent"], {})[float(row["eta"])] = numbers
    return found


def cells(sweep: Sweep) -> dict[float, str]:
    return {eta: ends_cell(triple, ".0f") for eta, triple in sweep.items()}


def table(results: Path) -> str:
    """A line for each η: ours and the original's for each agent."""
    theirs = originals(results)
    columns: dict[str, dict[float, str]] = {}
    for agent, folder in AGENTS.items():
        columns[f"{agent}, ours"] = cells(ours(results / folder))
        columns[f"{agent}, P(higher)"] = probability(results / folder)
        columns[f"{agent}, original"] = cells(theirs[agent])
    columns["ERWR, original"] = cells(theirs["ERWR"])
    lines = ["| η | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for eta in sorted({eta for column in columns.values() for eta in column}):
        line = [f"{eta:g}", *(column.get(eta, "") for column in columns.values())]
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


def draw(results: Path) -> None:
    """A panel for each agent: ours in black, the original's dashed; bands and bars are quartiles."""
    theirs = originals(results)
    figure, panels = plt.subplots(
        1, len(AGENTS), figsize=(9.0, 3.9), sharey=True, layout="constrained"
    )
    for axes, (agent, folder) in zip(panels, AGENTS.items()):
        mine = ours(results / folder)
        draw_original(axes, theirs[agent])
        draw_ours(axes, mine)
        axes.set(title=agent, xscale="log", xlabel="η")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("return of an episode")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(results / PICTURE, dpi=120)
    plt.close(figure)


def draw_original(axes: Axes, sweep: Sweep) -> None:
    low, middle, high = zip(*sweep.values())
    axes.fill_between(list(sweep), low, high, color="0.85", lw=0)
    axes.plot(list(sweep), middle, "--s", color="0.45", ms=4, label="the original's")


def draw_ours(axes: Axes, sweep: Sweep) -> None:
    """Dots with bars; the line of η = 0 is drawn across."""
    if 0.0 in sweep:
        axes.axhline(sweep[0.0][1], color="black", lw=0.8, ls=":", label="ours, η = 0")
    seen = {eta: each for eta, each in sweep.items() if eta > 0}
    for eta, (low, _, high) in seen.items():
        axes.plot([eta, eta], [low, high], color="black", lw=1.3)
    middles = [middle for _, middle, _ in seen.values()]
    axes.plot(list(seen), middles, "-o", color="black", ms=5, label="ours")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["show", "draw"])
    parser.add_argument("results", type=Path)
    given = parser.parse_args()
    if given.what == "show":
        print(table(given.results))
    else:
        draw(given.results)

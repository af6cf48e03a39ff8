"""Run the benchmarks of docs/speed.md one after another, keep what they print, and draw the ratios.

    python benchmarks/everything.py results/speed            # everything, in about 15 minutes on an idle machine
    python benchmarks/everything.py results/speed --draw     # the picture alone, from the kept texts

Needs torch, jax, sb3-contrib and matplotlib.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
SCRIPTS = {
    "against_jax": [],
    "against_torch": [],
    "against_sb3": [],
    "iteration": [],
    "small_batches": [],
    "growth": ["growth.png"],
}


class Ratio(NamedTuple):
    """A ratio that a script prints: how many times faster this project is than another."""

    work: str
    script: str
    pattern: str  # its group is the ratio
    target: float


# A line of against_jax: work, network, two times, and their ratio.
SMALL = r": JAX float64\b[^,\n]*(?:, chunks of \d+)? +3-32-2 +[\d.]+ +[\d.]+ +([\d.]+)"
LARGE = SMALL.replace("3-32-2", "23-64-64-17")
RATIOS = (
    Ratio("5000 gains, 3-32-2, JAX", "against_jax", "^gains.*" + SMALL, 1.5),
    Ratio("5000 gains, 23-64-64-17, JAX", "against_jax", "^gains.*" + LARGE, 4.0),
    Ratio("ELBO gradient, 3-32-2, JAX", "against_jax", "^gradient.*" + SMALL, 1.2),
    Ratio("ELBO gradient, 23-64-64-17, JAX", "against_jax", "^gradient.*" + LARGE, 1.2),
    Ratio("fit, 3-32-2, JAX", "against_jax", "^fit.*" + SMALL, 1.5),
    Ratio("fit, 23-64-64-17, JAX", "against_jax", "^fit.*" + LARGE, 1.2),
    Ratio("TRPO, sb3-contrib", "against_sb3", r"8 environments +[\d.]+ s +([\d.]+)", 5.0),
)  # fmt: skip


def run(folder: Path) -> None:
    """Keep each script's output in a text of its name."""
    for script, arguments in SCRIPTS.items():
        files = [str(folder / name) for name in arguments]
        command = [sys.executable, str(HERE / f"{script}.py"), *files]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        (folder / f"{script}.txt").write_text(done.stdout)
        print(f"$ python benchmarks/{script}.py {' '.join(files)}\n{done.stdout}")


def found(folder: Path, ratio: Ratio) -> float:
    """The first such ratio of the script's text. Raises ValueError if there is none."""
    text = (folder / f"{ratio.script}.txt").read_text()
    match = re.search(ratio.pattern, text, re.MULTILINE)
    if match is None:
        raise ValueError(f"{ratio.script}.txt must show {ratio.work}, got {text}")
    return float(match[1])


def draw(folder: Path) -> None:
    """Bars of the ratios, a mark at each target."""
    values = [found(folder, ratio) for ratio in RATIOS]
    figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    places = range(len(RATIOS))[::-1]
    targets = [ratio.target for ratio in RATIOS]
    axes.barh(places, values, color="tab:blue", height=0.6)
    for place, value, target in zip(places, values, targets):
        axes.text(1.06 * max(value, target), place, f"{value:.2f}", va="center")
    axes.scatter(targets, places, marker="|", s=180, color="black", label="target")
    axes.axvline(1.0, color="gray", lw=0.8, ls="--")
    axes.set(
        yticks=places, yticklabels=[ratio.work for ratio in RATIOS], xscale="log",
        xlabel="times faster here, one core", xlim=(0.5, 2.0 * max(values)),
    )  # fmt: skip
    axes.legend(frameon=False, loc="center right")
    figure.savefig(folder / "ratios.png", dpi=120)
    for ratio, value in zip(RATIOS, values):
        print(f"{ratio.work:34s} {value:6.2f}   target {ratio.target}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run the benchmarks of docs/speed.md.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if not given.draw:
        run(given.folder)
    draw(given.folder)

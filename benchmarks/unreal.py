"""Measure each labyrinth agent's steps per second, environments included, and its time in units of A2C's.

    python benchmarks/unreal.py --updates 30

The agents are those of `vime_lab.studies.labyrinth`. Each number is the median of alternating runs.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads

import argparse
from dataclasses import replace
from functools import partial
from typing import Any

from common import median_times

from vime_lab.studies.frame import StudyJob, Value
from vime_lab.studies.labyrinth import AGENTS, LABYRINTH_STUDIES

STUDY = LABYRINTH_STUDIES["Labyrinth"]


def run(job: StudyJob) -> list[Value]:
    return list(STUDY.run(job))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--updates",
        type=int,
        default=30,
        help="updates per run, a multiple of 15 (one episode)",
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="number of runs for the median"
    )
    args = parser.parse_args()
    if args.updates % 15:
        parser.error("--updates must be a multiple of 15")
    settings: Any = STUDY.settings
    steps = args.updates * settings.num_envs * settings.agent.num_steps
    settings = replace(settings, length=steps, points=1)
    jobs = {
        name: StudyJob("Labyrinth", name, settings.sizes[0], 0, settings)
        for name in AGENTS
    }
    times, _ = median_times(
        {name: partial(run, job) for name, job in jobs.items()}, args.runs
    )
    for name, seconds in times.items():
        print(
            f"{name:<24}{steps / seconds:>7.0f} steps a second, {seconds / times['A2C']:.2f} times A2C's time"
        )


if __name__ == "__main__":
    main()

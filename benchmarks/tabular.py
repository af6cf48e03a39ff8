"""Measure Q-learning updates per second on DeepSea with random actions: the whole loop, and the updates only.

    python benchmarks/tabular.py --size 20 --episodes 500

Each line shows updates per second, the median of alternating runs. The first line includes the environment, the
strategy and the checks of each step. The second line is only `learn` on the same steps.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads

import argparse

import numpy as np
from common import median_times

from agents_ref import Streams
from vime_gym.rooms import DeepSea
from vime_lecture import strategies, tabular
from vime_ref import NoBonus

SETTINGS = tabular.TabularSettings()


def walked(size: int, num_episodes: int) -> list[tabular.Step]:
    """The steps of one run of Q-learning with random actions."""
    episodes = tabular.q_learning(
        DeepSea(size, "index"), strategies.epsilon_greedy_strategy(1.0), NoBonus(),
        Streams(*np.random.default_rng(0).spawn(4)), SETTINGS, num_episodes=num_episodes,
    )  # fmt: skip
    return [step for episode in episodes for step in episode.steps]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=20, help="side of DeepSea in cells")
    parser.add_argument("--episodes", type=int, default=500, help="episodes per run")
    parser.add_argument(
        "--runs", type=int, default=5, help="number of runs for the median"
    )
    args = parser.parse_args()
    steps = walked(args.size, args.episodes)
    rewards = [step.reward for step in steps]
    table = tabular.table_init(DeepSea(args.size, "index"))
    runs = {
        "q_learning": lambda: walked(args.size, args.episodes),
        "learn": lambda: tabular.learn(table, steps, rewards, SETTINGS),
    }
    times, _ = median_times(runs, args.runs)
    for name, seconds in times.items():
        print(
            f"{name:<12}{len(steps) / seconds:>12.0f} updates a second, {len(steps)} steps of DeepSea {args.size}"
        )


if __name__ == "__main__":
    main()

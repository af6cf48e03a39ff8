"""Measure an iteration of plain TRPO against that of sb3-contrib: 5000 steps of SparseMountainCar.

    python benchmarks/against_sb3.py

The task gives no reward at first, and a policy step without advantages is free here. So one line has a bonus of noise:
it takes the whole step. sb3-contrib's critic is never 0, so it takes the whole step in any case.

sb3-contrib has its defaults, except for the steps in a batch, the networks (32 hidden units, as here) and one thread,
in 1 environment and in 8. Its defaults are ten fits of the value function and minibatches of 128 rows; a line with one
fit on the whole batch shows what they cost. Contestants alternate; medians. Needs torch and sb3-contrib.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads

import argparse
from collections.abc import Callable
from typing import Any

import torch
from common import median_times
from numpy.random import Generator
from sb3_contrib import TRPO
from stable_baselines3.common.env_util import make_vec_env

import agents_ref as agents
from bnn_ref import Array
from vime_lab.tasks import TASKS, Job, start
from vime_ref import Batch, Bonus, NoBonus

TASK, STEPS = "SparseMountainCar", 5000


class Noise:
    """A reward that says nothing."""

    def reward(self, batch: Batch, rng: Generator) -> Array:
        return rng.chisquare(1.0, size=len(batch.rewards))  # (N,)

    def update(self, batch: Batch, rng: Generator) -> Bonus:
        return self


def ours(bonus: Bonus) -> Callable[[], Any]:
    """The next iteration; the first is done."""
    begun = start(Job(TASK, "none", "", 0, TASKS[TASK]))
    run = agents.train(
        begun.envs, begun.policy, bonus, begun.value, begun.streams,
        begun.settings, num_iterations=10**6,
    )  # fmt: skip
    next(run)
    return lambda: next(run)


def theirs(num_envs: int, **settings: Any) -> Callable[[], Any]:
    """The next iteration of sb3-contrib's TRPO; the first is done."""
    env = make_vec_env(TASKS[TASK].env_id, num_envs, seed=0)
    model = TRPO(
        "MlpPolicy", env, n_steps=STEPS // num_envs, seed=0, device="cpu",
        policy_kwargs={"net_arch": [32]}, **settings,
    )  # fmt: skip
    model.learn(STEPS)
    return lambda: model.learn(STEPS, reset_num_timesteps=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure TRPO against sb3-contrib's.")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    whole = {"batch_size": STEPS, "n_critic_updates": 1}
    times, _ = median_times(
        {
            "here, with noise as reward": ours(Noise()),
            "here": ours(NoBonus()),
            "sb3-contrib, 1 environment": theirs(1),
            "sb3-contrib, 8 environments": theirs(8),
            "sb3-contrib, 8, one fit on the batch": theirs(8, **whole),
        },
        given.runs,
    )
    print(f"plain TRPO, {STEPS} steps of {TASK}; median of {given.runs} iterations")
    for name, seconds in times.items():
        ratio = seconds / times["here, with noise as reward"]
        print(f"{name:38s} {seconds:6.3f} s   {ratio:5.2f} times the first")

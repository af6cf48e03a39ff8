"""Measure the phases of an iteration, and sampling against stepping the same environment alone.

    python benchmarks/iteration.py --tasks SparseMountainCar SparseHalfCheetah

Stepping alone repeats the sampled actions in one environment without a policy; SAME steps them in the vector of
environments that sampling uses. Medians over iterations; one thread.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy loads

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import gymnasium
import numpy as np

import agents_ref as agents
from vime_lab.runs import Stopwatch
from vime_lab.tasks import TASKS, Job, start

PHASES = ("sampling", "gains", "policy", "model")


def timed(function: Callable[..., Any], times: list[float]) -> Callable[..., Any]:
    """The function, which appends the seconds that each call took."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments, **keywords)
        times.append(time.perf_counter() - began)
        return result

    return call


def stepping(env_id: str, actions: np.ndarray) -> float:
    """Seconds of these actions in one environment."""
    env = gymnasium.make(env_id, disable_env_checker=True)
    env.reset(seed=0)
    began = time.perf_counter()
    for action in actions:
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return time.perf_counter() - began


def same_stepping(envs: Any, actions: np.ndarray) -> float:
    """Seconds of these actions in the vector, environment after environment."""
    steps = actions.reshape(envs.num_envs, -1, *actions.shape[1:]).swapaxes(0, 1)
    envs.reset(seed=0)
    began = time.perf_counter()
    for step in steps:
        envs.step(step)
    return time.perf_counter() - began


def measure(task_name: str, bonus: str, num_iterations: int) -> dict[str, float]:
    """Median seconds of each phase, of the two parts of `policy`, and of stepping."""
    task = TASKS[task_name]
    begun = start(Job(task_name, bonus, "", 0, task))
    parts: dict[str, list[float]] = {"TRPO's step": [], "value function": []}
    settings = replace(
        begun.settings,
        policy_step=timed(begun.settings.policy_step, parts["TRPO's step"]),
        value_step=timed(begun.settings.value_step, parts["value function"]),
    )
    marks: list[float] = []
    seen: dict[str, list[float]] = {name: [] for name in (*PHASES, "alone", "same")}
    marks[:] = [time.perf_counter()]
    iterations = agents.train(
        begun.envs, begun.policy, Stopwatch(begun.bonus, marks), begun.value,
        begun.streams, settings, num_iterations=num_iterations,
    )  # fmt: skip
    for iteration in iterations:
        for name, seconds in zip(PHASES, np.diff(marks)):
            seen[name].append(float(seconds))
        space = begun.envs.single_action_space
        actions = agents.environment_actions(iteration.batch.actions, space)
        seen["alone"].append(stepping(task.env_id, actions))
        whole = len(actions) - len(actions) % begun.envs.num_envs
        seen["same"].append(same_stepping(begun.envs, actions[:whole]))
        marks[:] = [time.perf_counter()]
    return {name: median(values[1:]) for name, values in {**seen, **parts}.items()}


def report(task_name: str, bonus: str, found: dict[str, float]) -> None:
    total = sum(found[name] for name in PHASES)
    rest = total - found["sampling"]
    step = found["TRPO's step"]
    print(f"\n{task_name}, {bonus}: an iteration takes {total:.3f} s")
    for name, seconds in found.items():
        print(f"  {name:15s} {1000 * seconds:8.1f} ms   {100 * seconds / total:3.0f} %")
    print(f"sampling / stepping alone      {found['sampling'] / found['alone']:.2f}")
    print(f"sampling / same stepping       {found['sampling'] / found['same']:.2f}")
    print(f"everything else / sampling     {rest / found['sampling']:.2f}")
    print(f"TRPO's step / iteration        {step / total:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the phases of an iteration.")
    some = ["SparseMountainCar", "SparseHalfCheetah"]
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=some)
    parser.add_argument("--bonuses", nargs="+", default=["vime", "none"])
    parser.add_argument("--iterations", type=int, default=6)
    given = parser.parse_args()
    for each in given.tasks:
        for name in given.bonuses:
            report(each, name, measure(each, name, given.iterations))

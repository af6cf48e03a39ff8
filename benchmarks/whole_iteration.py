"""Compare one whole iteration (interact, gains, policy, model) with a public PyTorch port, on one thread each, in turn.

The port is alec-tschantz/vime at commit 28f9ebc9ec5cfa18db2b27bba300a0e6297d919e; README.md explains this choice. It is
not part of this project: pass the folder of a copy. This script patches the port from outside so that it runs today.

    pip install torch tqdm matplotlib && python benchmarks/whole_iteration.py FOLDER

Equal: MountainCar-v0, episodes of 200 steps, 5000 steps an iteration, hidden layers of 32 in model and policy,
REINFORCE, 10 samples of the weights, 500 Adam steps on 10 rows. Not equal by design: the port computes each row's gain
from 5 Adam steps in a loop (also timed with 1), encodes a discrete action as one number, and computes in float32. This
project computes the Taylor gains of all rows at once, encodes actions one-hot, fits a value function, and computes in
float64.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch load

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib as mpl
import numpy as np
import torch
from common import median_times

import agents_ref as agents
import fast_ref as fast
import vime_ref as vime

HORIZON, HIDDEN, UPDATES, MINIBATCH, SAMPLES = 200, 32, 500, 10, 10


class OldInterface(gym.Wrapper):
    """An environment with the old gym interface of `reset` and `step`."""

    def reset(self) -> np.ndarray:
        return self.env.reset()[0]

    def step(self, action: int) -> tuple[np.ndarray, float, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, info


FAST = {"fit": fast.fit, "gains": fast.information_gains}


def port_iteration(num_steps: int, gain_steps: int) -> Callable[[], None]:
    """A function that runs the port's next iteration without logs; the first one, without gains, is already done."""
    import bnn
    import experiment
    import policy

    experiment.logger.set_log_file = experiment.logger.print_log = (
        experiment.logger.save_values
    ) = lambda *_: None
    experiment.tqdm = list
    env = OldInterface(gym.make("MountainCar-v0"))
    run = experiment.Experiment(
        policy.Policy(2, HIDDEN, 3), bnn.BNN(3, HIDDEN, 2, n_samples=SAMPLES), env,
        n_paths=num_steps // HORIZON, max_path_length=HORIZON, inf_gain_itr=gain_steps,
        n_train_batches=UPDATES, train_batch_size=MINIBATCH,
    )  # fmt: skip

    # The port steps after each path and so changes weights of graphs still in use, which PyTorch rejects since 1.5.
    weights, policy_step = tuple(run.policy.parameters()), run.policy_opt.optimizer.step

    def unchecked_step() -> None:
        with torch.autograd._unsafe_preserve_version_counter(weights):
            policy_step()

    run.policy_opt.optimizer.step = unchecked_step

    def next_iteration() -> None:
        run.start_itr, run.n_itr = run.n_itr, run.n_itr + 1
        run.train()

    run.n_itr = 0
    next_iteration()
    return next_iteration


def our_iteration(
    num_steps: int, functions: dict[str, Any]
) -> Callable[[], agents.Iteration]:
    """A function that runs this project's next iteration; the first one is already done."""
    envs = gym.make_vec("MountainCar-v0", max(1, num_steps // 200))
    space = envs.single_action_space
    rngs = np.random.default_rng(0).spawn(5)
    step = partial(agents.policy_gradient_step, learning_rate=0.01, entropy_weight=0.0)
    settings = agents.AgentSettings(batch_steps=num_steps, policy_step=step)
    model = vime.VimeSettings(
        (HIDDEN,),
        **functions,
        num_samples=SAMPLES,
        num_updates=UPDATES,
        batch_size=MINIBATCH,
        min_rows=200,
    )
    bonus = vime.vime_init(2, space, rngs[0], model)
    policy = agents.policy_init(2, space, rngs[0], (HIDDEN,))
    value = agents.value_init(2, rngs[0], (HIDDEN,))
    run: Iterator[agents.Iteration] = agents.train(
        envs,
        policy,
        bonus,
        value,
        agents.Streams(*rngs[1:]),
        settings,
        num_iterations=10**6,
    )
    next(run)
    return partial(next, run)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Compare one whole iteration with a public PyTorch port."
    )
    parser.add_argument(
        "folder", type=Path, help="folder of a copy of alec-tschantz/vime"
    )
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument(
        "--runs", type=int, default=3, help="number of runs for the median"
    )
    args = parser.parse_args()
    sys.path.insert(0, str(args.folder))
    mpl.use("Agg")
    np.float = float  # NumPy had this name at the time of the port
    torch.set_num_threads(1)
    torch.manual_seed(0)
    runs = {
        "here, fast": our_iteration(args.steps, FAST),
        "here, autograd": our_iteration(args.steps, {"gains": fast.information_gains}),
        "port, 1 step a gain": port_iteration(args.steps, 1),
        "port, 5 steps a gain": port_iteration(args.steps, 5),
    }
    times, results = median_times(runs, args.runs)
    for name in list(runs)[:2]:
        if not (results[name].gains > 0).all():
            raise RuntimeError(f"{name}: an iteration without gains")
    print(
        f"numpy {np.__version__}, torch {torch.__version__}, one thread; median of {args.runs} runs"
    )
    print(f"one iteration of {args.steps} steps")
    for name, seconds in times.items():
        print(
            f"{name:<22}{seconds:>9.2f} s  ratio {seconds / times['here, closed_form']:>7.1f}"
        )

"""Curiosity in a loop of your own, over a vector of mountain cars rewarded only at the goal.

python examples/own_loop.py [--iterations 20] [--seed 0] [--eta 1e-4]     --eta 0 is the plain agent
"""

import argparse

import gymnasium
import numpy as np

import vime_gym  # noqa: F401  registers the task
from agents_ref import AgentSettings, improve, policy_init, value_init
from vime_gym.wrappers import VectorCuriosityReward
from vime_ref import Batch

TASK, NUM_ENVS = "vime_ref/SparseMountainCar-v0", 10


def train(iterations: int, seed: int, eta: float, steps: int = 500) -> list[float]:
    """The share of solved episodes in each iteration."""
    rng = np.random.default_rng(seed)
    envs = gymnasium.make_vec(TASK, NUM_ENVS, vectorization_mode="sync")
    envs = VectorCuriosityReward(
        envs, eta=eta, update_every=NUM_ENVS * steps, seed=seed
    )
    policy = policy_init(2, envs.single_action_space, rng)
    value = value_init(2, rng)
    shares = []
    for _ in range(iterations):
        # Interact: a fresh start, as `agents_ref.rollout` has it.
        observations, _ = envs.reset(seed=int(rng.integers(2**31)))
        kept, solved = [], []
        for _ in range(steps):
            actions = policy.sample(observations, policy.draw_noise(rng, NUM_ENVS))
            after, rewards, terminated, truncated, infos = envs.step(actions)
            row = (observations, actions, rewards, after, terminated, truncated)
            took = infos["_information_gain"]  # a reset step is no transition
            kept.append((*row, took))
            solved += terminated[took & (terminated | truncated)].tolist()
            observations = after

        # Environment after environment; the last row of each is truncated.
        columns = [np.swapaxes(each, 0, 1) for each in map(np.array, zip(*kept))]
        *data, took = columns  # (n, T, ...) each
        data[5][:, -1] |= ~data[4][:, -1]
        batch = Batch(*(each[took] for each in data))  # (N, ...) each

        # Learn from r̃, which the wrapper returned as the reward.
        policy, value = improve(policy, value, batch, batch.rewards, AgentSettings())
        shares.append(float(np.mean(solved)) if solved else 0.0)
        print(f"{len(shares):3}  {shares[-1]:4.0%} of {len(solved)} episodes solved")
    return shares


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eta", type=float, default=1e-4)
    train(**vars(parser.parse_args()))

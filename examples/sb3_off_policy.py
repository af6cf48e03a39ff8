"""SAC of Stable-Baselines3 on a mountain car rewarded only at the goal; `--eta 0` is plain SAC.

SAC learns from stored rewards. A stored bonus is that of the step at which it was earned. With
`--again`, the buffer stores the task's rewards, and each sample gets the bonus of today's posterior.
"""

import argparse

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env

from vime_gym.sb3 import VecCuriosityReward
from vime_ref import Batch, normalize_gains


class EvaluatedAgain(ReplayBuffer):
    """Samples get the bonus of the posterior as it is now in `curious`, the environment."""

    def add(self, obs, next_obs, action, reward, done, infos):
        extrinsic = np.array([info["extrinsic_reward"] for info in infos])
        super().add(obs, next_obs, action, extrinsic, done, infos)

    def _get_samples(self, *places, **env):
        samples = super()._get_samples(*places, **env)
        before, actions, after, ends, rewards = (each.numpy() for each in samples[:5])
        ended = ends[:, 0] > 0
        # SAC's actions are scaled to ±1: here these are the task's bounds.
        rows = Batch(before, actions, rewards[:, 0], after, ended, ~ended)
        curiosity = self.curious.curiosity
        gains = curiosity.bonus.reward(rows, curiosity.model)
        normalized, _ = normalize_gains(gains, curiosity.history, include_current=False)
        added = torch.as_tensor(curiosity.weight * normalized[:, None]).float()
        return samples._replace(rewards=samples.rewards + added)


def train(seed=0, eta=1e-2, steps=15_000, again=False):
    """Which episodes were solved, in the order of their ends."""
    torch.set_num_threads(1)
    env = make_vec_env("vime_ref/SparseMountainCar-v0", seed=seed)
    env = VecCuriosityReward(env, eta=eta, update_every=500, seed=seed)
    buffer = EvaluatedAgain if again else ReplayBuffer
    model = SAC(
        "MlpPolicy", env, 1e-3, replay_buffer_class=buffer, train_freq=16, gradient_steps=8,
        ent_coef=3e-3, policy_kwargs={"net_arch": [64, 64]}, seed=seed, stats_window_size=steps,
    )  # fmt: skip
    model.replay_buffer.curious = env
    model.learn(steps)
    return [episode["r"] > 0 for episode in model.ep_info_buffer]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eta", type=float, default=1e-2)
    parser.add_argument("--again", action="store_true")
    solved = train(**vars(parser.parse_args()))
    print(f"{sum(solved)} of {len(solved)} episodes solved")

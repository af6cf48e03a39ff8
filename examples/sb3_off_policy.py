"""SAC of Stable-Baselines3 on a mountain car rewarded only at the goal: 70 CPU seconds; `--eta 0` is plain SAC.

A stored bonus is computed at collection. With `--again`, each sample gets that of the current posterior.
"""

import argparse

import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env

from vime_gym.sb3 import VecCuriosityReward
from vime_ref import Batch, normalize_gains


class EvaluatedAgain(ReplayBuffer):
    """Samples get the bonus of the current posterior; `curious` is the environment's curiosity."""

    def __getstate__(self):
        return {**self.__dict__, "curious": None}  # set it again after loading

    def add(self, obs, next_obs, action, reward, done, infos):
        task = [info["extrinsic_reward"] for info in infos]
        super().add(obs, next_obs, action, task, done, infos)

    def _get_samples(self, *places, **env):
        samples = super()._get_samples(*places, **env)
        old, actions, new, ends, rewards = [each.cpu().numpy() for each in samples[:5]]
        # SAC's actions are scaled to ±1: here these are the task's bounds.
        rows = Batch(old, actions, rewards[:, 0], new, ends[:, 0] > 0, ends[:, 0] == 0)
        gains = self.curious.bonus.reward(rows, self.curious.model)
        history = self.curious.history
        normalized, _ = normalize_gains(gains, history, include_current=False)
        added = samples.rewards.new_tensor(self.curious.weight * normalized[:, None])
        return samples._replace(rewards=samples.rewards + added)


def train(seed=0, eta=1e-2, steps=15_000, again=False, verbose=0):
    """Which episodes were solved, in the order of their ends."""
    torch.set_num_threads(1)
    env = make_vec_env("vime_ref/SparseMountainCar-v0", seed=seed)
    env = VecCuriosityReward(env, eta=eta, update_every=500, seed=seed)
    model = SAC(
        "MlpPolicy", env, 1e-3, replay_buffer_class=EvaluatedAgain if again else None, train_freq=16, gradient_steps=8,
        ent_coef=3e-3, policy_kwargs={"net_arch": [64, 64]}, seed=seed, stats_window_size=steps, verbose=verbose,
    )  # fmt: skip
    if again:
        model.replay_buffer.curious = env.curiosity
    model.learn(steps, log_interval=5)  # episodes
    return [episode["r"] > 0 for episode in model.ep_info_buffer]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eta", type=float, default=1e-2)
    parser.add_argument("--again", action="store_true")
    solved = train(**vars(parser.parse_args()), verbose=1)
    print(f"{sum(solved)} of {len(solved)} episodes solved")

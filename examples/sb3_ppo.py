"""PPO of Stable-Baselines3 on MountainCar rewarded only at the goal; `--eta 0` is plain PPO."""

import argparse

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from vime_gym.sb3 import CuriosityCallback


class GoalReward(gymnasium.Wrapper):
    """1 at the goal, 0 elsewhere."""

    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, float(terminated), terminated, truncated, info


def mountain_car():
    return GoalReward(gymnasium.make("MountainCar-v0"))


def train(seed=0, eta=1e-2, steps=100_000, make=mountain_car, normalize=True):
    """Which episodes were solved, in the order of their ends."""
    torch.set_num_threads(1)
    env = make_vec_env(make, 8, seed=seed)
    if normalize:  # observations only; the bonus sees them as they are
        env = VecNormalize(env, norm_reward=False)
    model = PPO(
        "MlpPolicy", env, n_steps=128, batch_size=256, seed=seed, stats_window_size=steps
    )  # fmt: skip
    model.learn(steps, callback=CuriosityCallback(eta=eta, seed=seed))
    return [episode["r"] > 0 for episode in model.ep_info_buffer]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eta", type=float, default=1e-2)
    solved = train(**vars(parser.parse_args()))
    last = solved[-len(solved) // 5 :]
    print(f"solved {sum(last)} of the last {len(last)} episodes, of {len(solved)}")

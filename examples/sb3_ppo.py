"""PPO of Stable-Baselines3 on MountainCar rewarded only at the goal; `--eta 0` is plain PPO."""

import argparse

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from vime_gym.sb3 import CuriosityCallback


class GoalReward(gymnasium.Wrapper):
    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, float(terminated), terminated, truncated, info


def train(seed=0, eta=1e-2, steps=100_000):
    """Which episodes were solved, in the order of their ends."""
    torch.set_num_threads(1)
    env = make_vec_env(lambda: GoalReward(gymnasium.make("MountainCar-v0")), 8, seed)
    env = VecNormalize(env, norm_reward=False)  # the bonus sees what is inside
    model = PPO(
        "MlpPolicy", env, n_steps=128, batch_size=256, seed=seed, stats_window_size=steps,
        normalize_advantage=False, ent_coef=1e-3,  # or plain PPO follows its critic's noise
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

"""PPO of Stable-Baselines3 on MountainCar rewarded only at the goal; with `eta=0` it is plain PPO."""

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from vime_gym.sb3 import CuriosityCallback


class GoalReward(gymnasium.Wrapper):
    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, float(terminated), terminated, truncated, info


def train(seed=0, eta=0.01, steps=100_000, verbose=0):
    """Which episodes were solved, in the order of their ends."""
    env = make_vec_env(lambda: GoalReward(gymnasium.make("MountainCar-v0")), 8, seed)
    env = VecNormalize(env, norm_reward=False)  # the bonus sees what is inside
    model = PPO("MlpPolicy", env, n_steps=128, batch_size=256, seed=seed, stats_window_size=steps,
                normalize_advantage=False, ent_coef=1e-3, verbose=verbose)  # fmt: skip
    curious = CuriosityCallback(eta=eta, seed=seed)
    model.learn(steps, callback=curious, log_interval=20)  # rollouts
    return [episode["r"] > 0 for episode in model.ep_info_buffer]


if __name__ == "__main__":
    last = train(verbose=1)[-100:]
    print(f"solved {sum(last)} of the last {len(last)} episodes")

"""η and `share` on three tasks and under two algorithms: the share of solved episodes.

    python benchmarks/eta.py run results/SB3/eta       # adds the runs that are missing
    python benchmarks/eta.py show results/SB3/eta      # prints the table of docs/plug_in.md

`hundredfold` is the mountain car with a reward of 100 at the goal. A swing-up counts as solved if the pole was ever
upright. Seeds 0 to 2. Needs the extras `run` and `sb3`.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import sb3
from gymnasium.wrappers import TransformReward
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from vime_gym.sb3 import CuriosityCallback, VecCuriosityReward

TASKS = {
    "mountain-car": ("vime_ref/SparseMountainCar-v0", 1.0),
    "hundredfold": ("vime_ref/SparseMountainCar-v0", 100.0),
    "swing-up": ("vime_ref/SparseCartPoleSwingup-v0", 1.0),
}
WEIGHTS: dict[str, dict[str, float]] = {
    "η = 0.001": {"eta": 0.001},
    "η = 0.01": {"eta": 0.01},
    "η = 0.1": {"eta": 0.1},
    "share = 0.1": {"share": 0.1},
    "share = 1": {"share": 1.0},
}


def envs(task: str, num_envs: int, seed: int) -> VecEnv:
    name, scale = TASKS[task]

    def scaled() -> Any:
        return TransformReward(gymnasium.make(name), lambda reward: scale * reward)

    return make_vec_env(scaled, num_envs, seed)


def solved(model: Any) -> list[bool]:
    """Which episodes met a reward of the task, in the order of their ends."""
    return [episode["r"] > 0 for episode in model.ep_info_buffer]


def ppo(seed: int, task: str, **weight: float) -> list[bool]:
    """The settings of examples/sb3_ppo.py; half the steps."""
    env = VecNormalize(envs(task, 8, seed), norm_reward=False)
    model = PPO(
        "MlpPolicy", env, n_steps=128, batch_size=256, seed=seed, stats_window_size=50_000,
        normalize_advantage=False, ent_coef=1e-3,
    )  # fmt: skip
    model.learn(50_000, callback=CuriosityCallback(**weight, seed=seed))
    return solved(model)


def sac(seed: int, task: str, **weight: float) -> list[bool]:
    """The settings of examples/sb3_off_policy.py."""
    env = VecCuriosityReward(envs(task, 1, seed), **weight, update_every=500, seed=seed)
    model = SAC(
        "MlpPolicy", env, 1e-3, train_freq=16, gradient_steps=8, ent_coef=3e-3,
        policy_kwargs={"net_arch": [64, 64]}, seed=seed, stats_window_size=15_000,
    )  # fmt: skip
    model.learn(15_000)
    return solved(model)


STUDIES = {
    f"{name}-{task}": sb3.Study(
        task, {told: partial(train, task=task, **w) for told, w in WEIGHTS.items()}
    )
    for task in TASKS
    for name, train in {"PPO": ppo, "SAC": sac}.items()
}


def show(folder: Path) -> None:
    """Median (least to most) over seeds, as a table."""
    print("| | " + " | ".join(WEIGHTS) + " |\n" + "|---" * (len(WEIGHTS) + 1) + "|")
    for study in STUDIES:
        rows = sb3.read(folder / f"{study}.csv")
        cells = []
        for told in WEIGHTS:
            finals = [sb3.last_fifth(r) for r in sb3.runs_of(rows, told).values()]
            low, high = min(finals), max(finals)
            cells.append(f"{np.median(finals):.2f} ({low:.2f}–{high:.2f})")
        print(f"| {study} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    if given.what == "run":
        sb3.run(given.folder, STUDIES, given.tasks, given.seeds)
    else:
        show(given.folder)

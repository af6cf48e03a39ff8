"""Curious rewards under Stable-Baselines3, for any bonus. Needs pip install -e '.[sb3]'.

    CuriosityCallback     for PPO, A2C and others that learn from whole rollouts
    VecCuriosityReward    for any algorithm: it learns from r̃ as if it were the task's

The callback rewards a rollout as the lecture's algorithm does: one posterior gives all
gains, the divisor includes them, and the bonus learns afterwards. The wrapper needs each
reward at once, so its divisor is that of the batches completed before.

Without Stable-Baselines3 the import raises ImportError, with the command that installs it.
Axes: T steps of a rollout, n environments.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded

try:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.buffers import RolloutBuffer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import (
        VecEnv,
        VecEnvWrapper,
        unwrap_vec_normalize,
    )
except ImportError as error:
    from vime_gym.extras import lacking

    line = lacking("vime_gym.sb3", ["stable_baselines3"], "sb3")
    raise ImportError(line or str(error), name="stable_baselines3") from error

from bnn_ref import check_count
from vime_gym.curiosity import Curiosity, Curious, check_weights
from vime_gym.vectors import Encode
from vime_gym.wrappers import told_of
from vime_ref import Bonus, Vime

TRUE_END = "vime_gym.terminal_observation"
EMPTY = (
    "the model has seen {} steps and the bonus none: to resume, call "
    "init_callback(model) and load the file that the callback saved"
)

# ---------------------------------------------------------------- on-policy algorithms


class CuriosityCallback(Curious, BaseCallback):
    """Adds η·gain/divisor to the rewards of each rollout, and recomputes its advantages.

    The arguments are those of `vime_gym.curiosity.Curiosity`.
    gamma: that of the algorithm, if None.
    update_every: transitions, of all environments together, before the bonus learns at
    the end of a rollout; after each rollout, if None. Give it if rollouts are short.
    Under VecNormalize, the bonus sees observations as they are inside it; η·gain/divisor
    is added to the rewards that the algorithm sees.
    Raises ValueError if the algorithm has no rollouts or a space needs `encode`.
    """

    def __init__(
        self,
        bonus: Bonus | None = None,
        *,
        eta: float | None = None,
        share: float | None = None,
        gamma: float | None = None,
        update_every: int | None = None,
        normalize: bool = True,
        encode: Encode | None = None,
        seed: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        check_weights(eta, share, 0.0 if gamma is None else gamma)
        if update_every is not None:
            check_count("update_every", update_every)
        self.settings: dict[str, Any] = {
            "bonus": bonus,
            "eta": eta,
            "share": share,
            "gamma": gamma,
            "update_every": update_every,
            "normalize": normalize,
            "encode": encode,
            "seed": seed,
        }

    # SB3 calls what follows.

    def _init_callback(self) -> None:
        """Look at the algorithm's environments, inside VecNormalize if there is one."""
        self.rollout = rollout_of(self.model)
        env = self.training_env
        self.normalizer = unwrap_vec_normalize(env)
        if self.normalizer is not None:
            env = self.normalizer.venv
            keep_true_ends(env)

        # The algorithm's own, unless given; it may differ from one to the next.
        size = self.rollout.buffer_size * env.num_envs
        own = {"gamma": self.rollout.gamma, "update_every": size}
        given = {name: each for name, each in self.settings.items() if each is not None}
        settings = {**own, **given}
        if self.made is None:
            self.made = Curiosity(env, env.num_envs, **settings)
        self.made.gamma = settings["gamma"]
        self.made.update_every = settings["update_every"]

    def _on_training_start(self) -> None:
        """Start episodes, unless those that this callback has seen go on.

        Warns if a model that was trained before goes on with an empty bonus.
        """
        seen = self.model.num_timesteps
        if seen > 0 and self.curiosity.steps == 0 and is_empty(self.bonus):
            warnings.warn(EMPTY.format(seen), stacklevel=2)
        first = self.model._last_obs
        if self.normalizer is not None:
            first = self.normalizer.get_original_obs()
        starts = self.locals.get("reset_num_timesteps", True)
        if starts or not self.curiosity.at(singles(first)):
            self.curiosity.begin(singles(first))

    def _on_rollout_start(self) -> None:
        """A rollout that was stopped is dropped, as the algorithm drops it."""
        self.curiosity.drop()

    def _on_step(self) -> bool:
        """Keep the transitions; always True, which goes on."""
        # The environments' own observations, and the actions that they took.
        told = self.locals
        observations = told["new_obs"]
        if self.normalizer is not None:
            observations = self.normalizer.get_original_obs()
        did = told.get("clipped_actions", told["actions"])

        # Their rewards follow at the end of the rollout.
        curiosity = self.curiosity
        curiosity.keep(
            curiosity.actions(did),
            told["rewards"],
            singles(observations),
            **ends_of(told["dones"], told["infos"]),
        )
        return True

    def _on_rollout_end(self) -> None:
        """Reward the whole rollout, and recompute its returns and advantages."""
        buffer = self.rollout
        normalized, gains = self.curiosity.settle()
        intrinsic = self.curiosity.weight * normalized
        buffer.rewards += intrinsic.reshape(buffer.rewards.shape)  # (T, n)
        buffer.compute_returns_and_advantage(
            last_values=self.locals["values"], dones=self.locals["dones"]
        )
        self.logger.record("rollout/information_gain", float(gains.mean()))
        self.logger.record("rollout/intrinsic_reward", float(intrinsic.mean()))
        median = float(np.median(normalized))  # 1 in the first batch with gains
        self.logger.record("rollout/median_normalized_gain", median)


def is_empty(bonus: Bonus) -> bool:
    """Whether it is a `Vime` that has seen no transition."""
    return isinstance(bonus, Vime) and not len(bonus.pool)


def rollout_of(model: BaseAlgorithm) -> RolloutBuffer:
    """The rollout of an algorithm. Raises ValueError if it has none."""
    buffer = getattr(model, "rollout_buffer", None)
    if not isinstance(buffer, RolloutBuffer):
        got = f"{type(model).__name__}: VecCuriosityReward serves it"
        raise ValueError(f"the algorithm must have a rollout_buffer, got {got}")
    return buffer


# ---------------------------------------------------------------- any algorithm


class VecCuriosityReward(Curious, VecEnvWrapper):
    """A VecEnv whose rewards are r̃ = r + η·gain/divisor.

    It belongs inside VecNormalize, whose scale drifts. The arguments are those of
    `vime_gym.curiosity.Curiosity`; `update_every` counts the transitions of all
    environments. `infos` hold what those of `CuriosityReward` hold.
    Raises ValueError if VecNormalize is inside or a space needs `encode`.
    """

    def __init__(
        self,
        venv: VecEnv,
        bonus: Bonus | None = None,
        *,
        eta: float | None = None,
        share: float | None = None,
        gamma: float = 0.99,
        update_every: int | None = None,
        normalize: bool = True,
        encode: Encode | None = None,
        seed: int | None = None,
    ) -> None:
        check_venv(venv)
        super().__init__(venv)
        self.made = Curiosity(
            venv,
            venv.num_envs,
            bonus,
            eta=eta,
            share=share,
            gamma=gamma,
            update_every=update_every,
            normalize=normalize,
            encode=encode,
            seed=seed,
        )

    def reset(self) -> Any:
        """The first observations of episodes."""
        observations = self.venv.reset()
        self.curiosity.begin(singles(observations))
        return observations

    def step_async(self, actions: Any) -> None:
        """Begin a step."""
        if not self.curiosity.running.all():
            raise ResetNeeded("call reset before the first step of an episode")
        self.did = self.curiosity.actions(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """The environments' step, with the curious rewards."""
        observations, rewards, dones, infos = self.venv.step_wait()
        earned = self.curiosity.earn(
            self.did, rewards, singles(observations), **ends_of(dones, infos)
        )
        told = told_of(earned)
        infos = [
            {**info, **{name: float(values[i]) for name, values in told.items()}}
            for i, info in enumerate(infos)
        ]
        return observations, earned.rewards.astype(np.float32), dones, infos


# ---------------------------------------------------------------- what a VecEnv says


def singles(observations: Any) -> Any:
    """Observations one by one, if they do not come as one array."""
    if isinstance(observations, dict):
        each = [singles(column) for column in observations.values()]
        return [dict(zip(observations, row)) for row in zip(*each)]
    return observations


def ends_of(dones: Any, infos: Any) -> dict[str, Any]:
    """Flags of episodes that terminated or were truncated, and their last observations."""
    ended = np.asarray(dones, bool)
    limits = [bool(info.get("TimeLimit.truncated", False)) for info in infos]
    truncated = ended & np.array(limits)
    lasts = {int(i): last_of(infos[i]) for i in np.flatnonzero(ended)}
    flags = {"terminated": ended & ~truncated, "truncated": truncated}
    return {**flags, "finals": lasts}


def last_of(info: dict[str, Any]) -> Any:
    """The last observation of an episode. Raises ValueError if it was not kept."""
    last = info.get(TRUE_END, info.get("terminal_observation"))
    if last is None:
        wanted = "infos must hold terminal_observation where an episode ends"
        raise ValueError(f"{wanted}, got {sorted(info)}")
    return last


def keep_true_ends(env: VecEnv) -> None:
    """Have infos hold last observations under a name that VecNormalize leaves alone.

    A wrapper would do so too, but EvalCallback demands the same wrappers around its own
    environments.
    """
    if getattr(env.step_wait, "func", None) is not with_true_ends:  # once
        vars(env)["step_wait"] = partial(with_true_ends, env.step_wait)


def with_true_ends(step_wait: Callable[[], Any]) -> Any:
    observations, rewards, dones, infos = step_wait()
    for i in np.flatnonzero(dones):
        infos[i][TRUE_END] = last_of(infos[i])
    return observations, rewards, dones, infos


# ---------------------------------------------------------------- argument checks


def check_venv(venv: Any) -> None:
    """Raise ValueError unless venv is a VecEnv without VecNormalize."""
    if not isinstance(venv, VecEnv):
        got = type(venv).__name__
        raise ValueError(f"venv must be a VecEnv, got {got}: make_vec_env makes one")
    if unwrap_vec_normalize(venv) is not None:
        wanted = "venv must not hold VecNormalize, whose scale drifts"
        raise ValueError(f"{wanted}, got {venv}: wrap VecNormalize around this one")


# ---------------------------------------------------------------- what `help` shows

__all__ = ["CuriosityCallback", "VecCuriosityReward"]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

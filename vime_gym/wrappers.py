"""Any bonus under any RL library: Gymnasium wrappers that add it to the reward.

    CuriosityReward            for a gymnasium.Env
    VectorCuriosityReward      for a gymnasium.vector.VectorEnv

The reward becomes r̃ = r + η·gain/divisor, with the divisor of the batches completed
before. Observations, actions and ends of episodes pass as they are.

`info` holds `extrinsic_reward` (r), `intrinsic_reward` (η·gain/divisor) and
`information_gain` (raw, nats). In a vector they are arrays with Gymnasium's masks, such
as `_information_gain`: False where the step was a reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from bnn_ref import any_array, check_kind
from vime_gym.curiosity import Curiosity, Curious, Earned
from vime_gym.vectors import Encode
from vime_ref import Bonus

if TYPE_CHECKING:  # Gymnasium 1.1 takes no parameters here
    AnyVectorWrapper = VectorWrapper[Any, Any, Any, Any, Any]
else:
    AnyVectorWrapper = VectorWrapper

# ---------------------------------------------------------------- one environment


class CuriosityReward(
    Curious, gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs
):
    """An environment whose reward is r̃ = r + η·gain/divisor.

    bonus: any object with `reward` and `update`; `vime_for(env)` if None is given.
    The other arguments are those of `vime_gym.curiosity.Curiosity`.
    Raises ValueError if a space needs `encode`, and, naming the step, on NaN.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
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
        settings: dict[str, Any] = {
            "eta": eta,
            "share": share,
            "gamma": gamma,
            "update_every": update_every,
            "normalize": normalize,
            "encode": encode,
            "seed": seed,
        }
        # Not copied: a bonus or `encode` may be one that can't be.
        RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, bonus=bonus, **settings
        )
        check_kind("env", env, gymnasium.Env)
        super().__init__(env)
        self.made = Curiosity(env, 1, bonus, **settings)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """The first observation of an episode; `seed` is the environment's."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.curiosity.begin([observation])
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The environment's step, with the curious reward."""
        if not self.curiosity.running[0]:
            raise ResetNeeded("call reset before the first step of an episode")
        acted = self.curiosity.actions([action])
        observation, reward, terminated, truncated, info = self.env.step(action)
        earned = self.curiosity.earn(
            acted, [reward], [observation], [terminated], [truncated]
        )
        told = {name: float(values[0]) for name, values in told_of(earned).items()}
        curious = float(earned.rewards[0])
        return observation, curious, terminated, truncated, {**info, **told}


def told_of(earned: Earned) -> dict[str, Any]:
    """The entries of `info`, (n,) each."""
    return {
        "extrinsic_reward": earned.extrinsic,
        "intrinsic_reward": earned.intrinsic,
        "information_gain": earned.gains,
    }


# ---------------------------------------------------------------- a vector of them


class VectorCuriosityReward(Curious, AnyVectorWrapper):
    """A vector of environments whose rewards are r̃ = r + η·gain/divisor.

    All environments share one bonus. Every autoreset mode is supported. The reset step
    of NEXT_STEP is no transition: its bonus is 0 and the bonus never sees it.
    SAME_STEP's last observation is that of `final_obs`.
    The arguments are those of `CuriosityReward`; `update_every` counts the transitions
    of all environments.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
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
        check_kind("env", env, VectorEnv)
        super().__init__(env)
        self.mode = autoreset_mode(env)
        self.made = Curiosity(
            env,
            env.num_envs,
            bonus,
            eta=eta,
            share=share,
            gamma=gamma,
            update_every=update_every,
            normalize=normalize,
            encode=encode,
            seed=seed,
        )
        self.started = False

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """First observations; only those of `options["reset_mask"]` are new, if given."""
        # Read first, because the environments take it out of the options.
        mask = (options or {}).get("reset_mask")
        observations, infos = self.env.reset(seed=seed, options=options)
        self.curiosity.begin(self.singles(observations), mask)
        self.started = True
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """The environments' step, with the curious rewards."""
        self.check_running()
        acted = self.curiosity.actions(actions)
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        earned = self.curiosity.earn(
            acted,
            rewards,
            self.singles(observations),
            terminated,
            truncated,
            finals=self.finals(terminated, truncated, infos),
        )
        told = told_of(earned)
        masks = {f"_{name}": earned.took.copy() for name in told}
        return (
            observations,
            earned.rewards,
            terminated,
            truncated,
            {**infos, **told, **masks},
        )

    def singles(self, observations: Any) -> Any:
        """The observations one by one, if they do not come as one array."""
        if isinstance(observations, np.ndarray):
            return observations
        space = self.env.observation_space
        return list(gymnasium.vector.utils.iterate(space, observations))

    def finals(self, terminated: Any, truncated: Any, infos: Any) -> dict[int, Any]:
        """The last observations of episodes that were reset within the step."""
        if self.mode is not AutoresetMode.SAME_STEP:
            return {}
        ended = np.flatnonzero(any_array(terminated) | any_array(truncated))
        held = infos.get("_final_obs", np.zeros(self.num_envs, bool))
        if not np.all(held[ended]):
            wanted = "final_obs of every episode that ends under SAME_STEP"
            raise ValueError(f"infos must hold {wanted}, got {sorted(infos)}")
        return {int(each): infos["final_obs"][each] for each in ended}

    def check_running(self) -> None:
        """Raise ResetNeeded where only a reset may follow."""
        idle = not self.curiosity.running.all()
        if not self.started or (idle and self.mode is AutoresetMode.DISABLED):
            raise ResetNeeded("call reset before the first step of an episode")


def autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """The way in which the environments start the next episode."""
    mode = env.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(mode)
    except ValueError:
        wanted = 'env.metadata["autoreset_mode"] must be an AutoresetMode'
        raise ValueError(f"{wanted}, got {mode!r}") from None


# ---------------------------------------------------------------- what `help` shows

__all__ = ["CuriosityReward", "VectorCuriosityReward"]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

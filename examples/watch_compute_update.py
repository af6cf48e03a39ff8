"""VIME behind the three methods of RLeXplore's rewards: watch, compute and update on (T, B, ...).

    reward = WatchComputeUpdate(envs)
    samples["rewards"] += reward.compute(samples)
samples: as theirs, with next_observations the true ones also where an episode ends.
"""

from typing import Any

import numpy as np

from vime_gym.vectors import action_encoder, observation_encoder, spaces_of, vime_for
from vime_ref import Batch, Bonus, normalize_gains


class WatchComputeUpdate:
    """beta·gain/divisor of T steps in B environments; `compute` learns afterwards, unless told not to."""

    def __init__(
        self, envs: Any, bonus: Bonus | None = None, *, beta: float = 1.0, seed: int = 0
    ) -> None:
        observation_space, action_space = spaces_of(envs)
        self.observations = observation_encoder(observation_space).rows
        self.actions = action_encoder(action_space).rows
        self.bonus = vime_for(envs, seed=seed) if bonus is None else bonus
        self.beta = beta
        self.history: tuple[float, ...] = ()
        self.model, self.replay = np.random.default_rng(seed).spawn(2)

    def watch(self, *step: Any, **named: Any) -> None:
        """Nothing: VIME needs whole samples only."""

    def compute(self, samples: Any, sync: bool = True) -> Any:
        """Rewards (T, B), a tensor if theirs are; the divisor is of these samples and those before."""
        like = samples["rewards"]
        gains = self.bonus.reward(self.batch(samples), self.model)
        normalized, self.history = normalize_gains(gains, self.history)
        if sync:
            self.update(samples)
        found = self.beta * normalized.reshape(np.shape(like)[::-1]).T  # (T, B)
        return like.new_tensor(found) if hasattr(like, "new_tensor") else found

    def update(self, samples: Any) -> None:
        """Let the bonus learn from the samples."""
        self.bonus = self.bonus.update(self.batch(samples), self.replay)

    def batch(self, samples: Any) -> Batch:
        """The samples environment after environment; the last row of each is truncated."""
        names = ("observations", "actions", "rewards", "next_observations", "terminateds", "truncateds")  # fmt: skip
        given = [samples[name] for name in names]
        given = [each.cpu() if hasattr(each, "cpu") else each for each in given]
        *parts, ended, stopped = map(np.asarray, given)
        flags = np.array([ended, stopped], bool)  # (2, T, B)
        flags[1, -1] |= ~flags[0, -1]
        rows = [np.concatenate(each.swapaxes(0, 1)) for each in (*parts, *flags)]
        before, actions, rewards, after, *flags = rows  # (B·T, ...) each
        return Batch(
            self.observations(before, 0), self.actions(actions, 0), rewards,
            self.observations(after, 0), *flags,
        )  # fmt: skip

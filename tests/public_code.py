"""What public code computes, rewritten in NumPy as adapters: GAE of three libraries, and torch's KL of two Gaussians.

Each class is one library: `check("public_code:StableBaselines")`. Its docstring says what the library does, and
the adapter's body what its user does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


def recursion(deltas: Array, decays: Array) -> Array:
    """Aₜ = δₜ + decayₜ Aₜ₊₁, from the last row."""
    advantages = np.zeros_like(deltas)
    following = np.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        following = deltas[t] + decays[t] * following
        advantages[t] = following
    return advantages


def check_numbers(*arrays: Array) -> None:
    """Raise ValueError unless the arrays are finite and of one length."""
    if len({each.shape for each in arrays}) > 1:
        raise ValueError("all must have one shape")
    if not all(np.isfinite(each).all() for each in arrays):
        raise ValueError("all must be finite")


class StableBaselines:
    """One flag for both ends of an episode; where a time limit ends it, γ V is added to the reward.

    The buffer knows the values of the rows and of the observation after the last one.
    """

    @staticmethod
    def gae_advantages(
        rewards: Array,
        values: Array,
        next_values: Array,
        terminated: Flags,
        truncated: Flags,
        gamma: float,
        lam: float,
    ) -> Array:
        check_numbers(rewards, values, next_values)
        limit = truncated & ~terminated

        # What the buffer holds: the end of sampling is no end of an episode.
        limit[-1] = False
        done = terminated | limit
        rewards = rewards + gamma * np.where(limit, next_values, 0.0)

        # What the buffer computes.
        following = np.concatenate([values[1:], next_values[-1:]])
        going_on = 1.0 - done
        deltas = rewards + gamma * following * going_on - values
        return recursion(deltas, gamma * lam * going_on)


class Rlax:
    """Discounts γ_t, which are 0 behind an end, and T + 1 values of one sequence."""

    @staticmethod
    def gae_advantages(
        rewards: Array,
        values: Array,
        next_values: Array,
        terminated: Flags,
        truncated: Flags,
        gamma: float,
        lam: float,
    ) -> Array:
        check_numbers(rewards, values, next_values)

        # A time limit inside the sequence needs its value in the reward, because the next value is another episode's.
        limit = truncated & ~terminated
        limit[-1] = False
        rewards = rewards + gamma * np.where(limit, next_values, 0.0)
        discounts = gamma * (1.0 - (terminated | limit))

        # What the library computes.
        all_values = np.concatenate([values, next_values[-1:]])
        deltas = rewards + discounts * all_values[1:] - all_values[:-1]
        return recursion(deltas, discounts * lam)


class CleanRL:
    """The flags of row t say whether row t begins an episode; a time limit counts as the end of all rewards."""

    @staticmethod
    def gae_advantages(
        rewards: Array,
        values: Array,
        next_values: Array,
        terminated: Flags,
        truncated: Flags,
        gamma: float,
        lam: float,
    ) -> Array:
        check_numbers(rewards, values, next_values)
        if (truncated & ~terminated)[:-1].any():
            raise NotImplementedError("time limits inside a segment")
        starts = np.concatenate([np.zeros_like(terminated[:1]), terminated[:-1]])
        advantages = np.zeros_like(rewards)
        last = np.zeros_like(rewards[0])
        for t in reversed(range(len(rewards))):
            if t + 1 == len(rewards):
                going_on, following = 1.0 - terminated[-1], next_values[-1]
            else:
                going_on, following = 1.0 - starts[t + 1], values[t + 1]
            delta = rewards[t] + gamma * following * going_on - values[t]
            last = delta + gamma * lam * going_on * last
            advantages[t] = last
        return advantages


class Distributions:
    """torch.distributions: the KL of two Gaussians in each dimension, summed."""

    @staticmethod
    def kl_diag_normal(mu_q: Any, sigma_q: Any, mu_p: Any, sigma_p: Any) -> Any:
        import torch
        from torch.distributions import Normal, kl_divergence

        q = Normal(torch.as_tensor(mu_q), torch.as_tensor(sigma_q))
        p = Normal(torch.as_tensor(mu_p), torch.as_tensor(sigma_p))
        return kl_divergence(q, p).sum(-1)

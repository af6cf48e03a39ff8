"""Helpers for the tests of the lecture's modules."""

import math
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agents_ref import Streams
from vime_lecture import counts as visit_counts
from vime_lecture import strategies


def wrong_calls(
    function: Callable[..., Any],
    good: dict[str, Any],
    *wrong: tuple[dict[str, Any], str],
) -> list[Any]:
    return [
        pytest.param(function, good, bad, message, id=f"{function.__name__}-{message}")
        for bad, message in wrong
    ]


def streams_of(seed: int) -> Streams:
    return Streams(*np.random.default_rng(seed).spawn(4))


RANDOM = strategies.epsilon_greedy_strategy(1.0)


def learned(model: Any, observations: Iterable[Any]) -> Any:
    return reduce(lambda model, x: model.update(x), observations, model)


def pseudo_count_of(model: Any, x: Any) -> float:
    return float(
        visit_counts.pseudo_count(model.log_prob(x), model.update(x).log_prob(x))
    )


def mp_pseudo_count(rho: Any, rho_after: Any) -> Any:
    return rho * (1 - rho_after) / (rho_after - rho)


def naive_pseudo_count(before: float, after: float) -> float:
    rho, rho_after = np.exp(before), np.exp(after)
    with np.errstate(all="ignore"):
        return float(rho * (1 - rho_after) / (rho_after - rho))


def slow_return(
    t: int, rewards: list[float], values: list[float], ends: list[int], gamma: float
) -> float:
    """Σ γᵏ r_{t+k} to the end of the episode or path, plus the bootstrap value there."""
    last = next((k for k in range(t, len(rewards)) if ends[k]), len(rewards) - 1)
    total = math.fsum(gamma ** (k - t) * rewards[k] for k in range(t, last + 1))
    return total if ends[last] == 1 else total + gamma ** (last - t + 1) * values[last]


class Altered(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose `reset` and `step` return something else."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        *,
        step: Callable[[Any], Any] = lambda outcome: outcome,
        reset: Callable[[Any], Any] = lambda begun: begun,
    ) -> None:
        super().__init__(env)
        self.alter_step = step
        self.alter_reset = reset

    def reset(self, **options: Any) -> Any:
        return self.alter_reset(self.env.reset(**options))

    def step(self, action: Any) -> Any:
        return self.alter_step(self.env.step(action))


def in_arrays(outcome: Any) -> Any:
    """What `step` returns, with the reward in an array (1,) and NumPy flags."""
    observation, reward, terminated, truncated, info = outcome
    return (
        observation,
        np.array([reward]),
        np.bool_(terminated),
        np.array([truncated]),
        info,
    )


# A wrong outcome of the reset or of the first step, and the message that names it.
WRONG_OUTCOMES = [
    pytest.param(*case, id=case[1])
    for case in (
        ({"step": lambda o: (o[0], [1.0, 2.0], *o[2:])}, "reward at step 0 must be one number"),
        ({"step": lambda o: (o[0], None, *o[2:])}, "reward must"),
        ({"step": lambda o: (o[0], math.nan, *o[2:])}, "reward must be finite, got nan at step 0"),
        ({"step": lambda o: (*o[:2], [True, False], *o[3:])}, "terminated at step 0 must be true or false"),
        ({"step": lambda o: (*o[:3], None, o[4])}, "truncated at step 0 must be true or false"),
        ({"step": lambda o: o[:4]}, "step must return .*, got 4 values"),
        ({"reset": lambda begun: begun[0]}, "reset must return an observation and a dict"),
        ({"reset": lambda begun: (None, {})}, "observation must"),
        ({"reset": lambda begun: (np.zeros((3, 3)), {})}, "observation at step 0 must have shape"),
        ({"step": lambda o: (np.zeros((3, 3)), *o[1:])}, r"observation at step 0 must .*, got \(3, 3\)"),
    )
]  # fmt: skip

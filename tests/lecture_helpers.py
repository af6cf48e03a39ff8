"""Helpers for the tests of the lecture's modules."""

import math
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

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

"""Strategies, which turn values and visit counts into action probabilities; and a bandit's regret.

Axes: A actions or arms, R runs, T pulls.

Sources: [Lecture] "Intrinsic motivation in RL", by topic: epsilon-greedy, Boltzmann, UCB-1, UCB over state-action
pairs; [UCB] Auer, Cesa-Bianchi and Fischer 2002, "Finite-time Analysis of the Multiarmed Bandit Problem"; [SB] Sutton
and Barto 2018, "Reinforcement Learning", second edition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from agents_ref import check_fraction
from bnn_ref import (
    Array,
    check_array,
    check_function,
    check_not_negative,
    check_number,
    check_positive,
)
from vime_ref import ROUNDING

# ---------------------------------------------------------------- constants

SUM_TOLERANCE = 1e-9  # of probabilities around 1, far above rounding errors

# ---------------------------------------------------------------- types

# A function from one state's A values and A visit counts to its A action probabilities.
# It uses plain lists because they are short and a tabular step must cost microseconds.
# `greedy_shares` turns scores into probabilities.
Strategy = Callable[[list[float], list[int]], Sequence[float]]

# ---------------------------------------------------------------- epsilon-greedy


def epsilon_greedy(q_values: ArrayLike, epsilon: float) -> Array:
    """Epsilon-greedy action probabilities (A,) from action values (A,).

        π(a) = ε/A + (1 − ε)·[Q(a) = max Q]/(number of best actions)

    Raises ValueError unless values are finite, A ≥ 1, and 0 ≤ ε ≤ 1.
    Source: [Lecture], epsilon-greedy.

    >>> epsilon_greedy([0.0, 2.0, 2.0, 1.0], 0.2)
    array([0.05, 0.45, 0.45, 0.05])
    """
    q_values = check_values("q_values", q_values)
    epsilon = check_fraction("epsilon", epsilon)
    return np.array(epsilon_greedy_shares(q_values.tolist(), epsilon))


def epsilon_greedy_shares(q: Sequence[float], epsilon: float) -> list[float]:
    """`epsilon_greedy` on a list, without argument checks."""
    each = epsilon / len(q)
    return [each + (1.0 - epsilon) * share for share in greedy_shares(q)]  # S1


def greedy_shares(scores: Sequence[float]) -> list[float]:
    """Greedy probabilities (A,): the highest scores share 1 equally.

    >>> greedy_shares([1.0, 3.0, 3.0])
    [0.0, 0.5, 0.5]
    """
    best = max(scores)
    best_actions = [score == best for score in scores]
    share = 1.0 / sum(best_actions)
    return [share if is_best else 0.0 for is_best in best_actions]


# ---------------------------------------------------------------- Boltzmann


def boltzmann(q_values: ArrayLike, temperature: float | None = None) -> Array:
    """Boltzmann action probabilities (A,) from action values (A,).

        π(a) = softmax(Q/temperature)

    The temperature has the unit of Q. None means std(Q), with divisor A, not A − 1. If Q varies by no more than
    rounding, std(Q) ≤ 1e-12·max |Q|, all probabilities are equal.
    Raises ValueError unless values are finite, A ≥ 1, and the temperature is > 0.
    Source: [Lecture], Boltzmann.

    >>> boltzmann([0.0, np.log(3.0)], 1.0).round(12)
    array([0.25, 0.75])
    """
    q_values = check_values("q_values", q_values)
    temperature = check_temperature(temperature)
    return np.array(boltzmann_shares(q_values.tolist(), temperature))


def boltzmann_shares(q: Sequence[float], temperature: float | None) -> list[float]:
    """`boltzmann` on a list, without argument checks."""
    weights = [math.exp(logit) for logit in boltzmann_logits(q, temperature)]
    total = sum(weights)
    return [weight / total for weight in weights]  # S2


def boltzmann_logits(q: Sequence[float], temperature: float | None) -> list[float]:
    """(Q − max Q)/temperature, (A,), never positive.

    Values are halved before subtracting, because a difference of huge numbers can overflow. The standard deviation is
    computed in units of the values' range, so that no square overflows or underflows.
    """
    half_best = 0.5 * max(q)
    below = [0.5 * value - half_best for value in q]
    span = -min(below)

    # With a given temperature, or if all values are equal.
    if temperature is not None:
        return [2.0 * (value / temperature) for value in below]
    if span == 0.0:
        return below

    # The standard deviation of the values, in units of the span.
    units = [value / span for value in below]
    mean = sum(units) / len(units)
    deviation = math.sqrt(sum((unit - mean) ** 2 for unit in units) / len(units))

    # Values that differ by rounding only count as equal.
    if deviation * span <= ROUNDING * 0.5 * max(map(abs, q)):
        return [0.0] * len(q)
    return [unit / deviation for unit in units]


# ---------------------------------------------------------------- upper confidence bounds


def ucb1(means: ArrayLike, counts: ArrayLike, t: int) -> Array:
    """UCB-1 scores (A,) of arms after t = Σ n_a pulls; the next arm is the argmax.

        mean_a + √(2 ln t / n_a), inf if n_a = 0

    Departure: the lecture says that the arm is chosen "in proportion to" the score. The regret bound assumes rewards
    in [0, 1].
    Raises ValueError unless means are finite, A ≥ 1, counts are whole numbers ≥ 0, and t is their sum.
    Source: [Lecture], UCB-1; [UCB].

    >>> ucb1([0.5, 1.0, 0.0], [4, 1, 0], 5).round(3)
    array([1.397, 2.794,   inf])
    """
    means = check_values("means", means)
    total = check_visits(counts, means.shape).sum()
    if check_number("t", t) != total:
        raise ValueError(f"t must be the sum of counts, {total:g}, got {t}")
    return ucb_state_action(means, counts, 1.0)  # S3


def ucb_state_action(q_values: ArrayLike, counts: ArrayLike, alpha: float) -> Array:
    """UCB scores (A,) of one state's actions, in units of Q; the next action is the argmax.

        Q(s, a) + α √(2 ln N_s / n_sa), N_s = Σ_a n_sa, inf if n_sa = 0, for every α

    Raises ValueError unless values (A,) are finite, A ≥ 1, counts (A,) are whole numbers ≥ 0, and α ≥ 0. Raises it
    if the score of a visited action overflows.
    Source: [Lecture], UCB over state-action pairs.
    """
    q_values = check_values("q_values", q_values)
    counts = check_visits(counts, q_values.shape)
    alpha = check_not_negative("alpha", alpha)
    scores = np.array(ucb_scores(q_values.tolist(), counts.tolist(), alpha))
    if not np.isfinite(scores[counts > 0]).all():
        raise ValueError(f"alpha must keep scores finite, got {alpha}")
    return scores


def ucb_scores(
    values: Sequence[float], counts: Sequence[int], alpha: float
) -> list[float]:
    """`ucb_state_action` on lists, without argument checks."""
    log_total = math.log(max(sum(counts), 1))
    return [
        v + alpha * math.sqrt(2.0 * log_total / n) if n else math.inf  # S4
        for v, n in zip(values, counts)
    ]


# ---------------------------------------------------------------- strategies


def epsilon_greedy_strategy(epsilon: float = 0.1) -> Strategy:
    """The strategy that acts by `epsilon_greedy`; the default ε = 0.1 is from [SB] example 6.5."""
    epsilon = check_fraction("epsilon", epsilon)
    return lambda q, counts: epsilon_greedy_shares(q, epsilon)


def boltzmann_strategy(temperature: float | None = None) -> Strategy:
    """The strategy that acts by `boltzmann`; temperature std(Q) as in [Lecture]."""
    temperature = check_temperature(temperature)
    return lambda q, counts: boltzmann_shares(q, temperature)


def ucb_strategy(alpha: float = 1.0) -> Strategy:
    """The strategy that acts by the argmax of `ucb_state_action`; α = 1 makes it `ucb1`."""
    alpha = check_not_negative("alpha", alpha)
    return lambda q, counts: greedy_shares(ucb_scores(q, counts, alpha))


def sample_index(probabilities: Sequence[float], noise: float) -> int:
    """Sample an index: the first whose cumulative probability exceeds the noise, uniform in [0, 1).

    Raises ValueError unless the probabilities are ≥ 0 and sum to 1, and the noise is in [0, 1).
    """
    noise = check_number("noise", noise)
    probabilities = check_array("probabilities", probabilities, (None,)).tolist()
    check_probabilities(probabilities, noise)
    return drawn_index(probabilities, noise)


def drawn_index(probabilities: Sequence[float], noise: float) -> int:
    """`sample_index` without argument checks."""
    for index, probability in enumerate(probabilities):
        noise -= probability
        if noise < 0.0:
            return index

    # Reached if rounding makes the probabilities sum to less than the noise.
    return list(probabilities).index(max(probabilities))


def chosen_action(
    probabilities: Sequence[float], num_actions: int, noise: float
) -> int:
    """The action that a strategy chooses with this noise; checks what the strategy has returned, in microseconds."""
    try:
        if len(probabilities) != num_actions:
            got = f"{num_actions} probabilities, got {len(probabilities)}"
            raise ValueError(f"strategy must return {got}")
        check_probabilities(probabilities, noise)
    except TypeError:
        kind = type(probabilities).__name__
        raise ValueError(f"strategy must return probabilities, got {kind}") from None
    return drawn_index(probabilities, noise)


# ---------------------------------------------------------------- bandits


def bandit_regret(means: ArrayLike, strategy: Strategy, noise: Array) -> Array:
    """Pseudo-regret (R, T) of a strategy on Bernoulli arms with means μ (A,).

        Σ_{u ≤ t} (μ* − μ_{a_u})

    noise (R, T, 2): uniform in [0, 1), for the choice of the arm and for its reward.
    Raises ValueError if a mean is not from 0 to 1, if noise is not in [0, 1), or if the strategy does not give one
    probability per arm.
    Source: [Lecture], UCB-1; [UCB] section 1.
    """
    means = check_values("means", means)
    noise = check_array("noise", noise, (None, None, 2))
    check_function("strategy", strategy)
    check_range("means", means, 1.0)
    check_range("noise", noise, np.nextafter(1.0, 0.0))

    runs = [bandit_arms(means.tolist(), strategy, run) for run in noise.tolist()]
    arms = np.array(runs, dtype=int)  # (R, T)
    gaps = np.max(means) - means[arms]  # (R, T)
    return np.cumsum(gaps, axis=-1)  # (R, T)


def bandit_arms(
    means: Sequence[float], strategy: Strategy, noise: Sequence[Sequence[float]]
) -> list[int]:
    """The T arms of one run. The strategy sees each arm's count and mean reward so far, 0 before its first pull."""
    estimates = [0.0] * len(means)
    counts = [0] * len(means)
    arms = []
    for choice, luck in noise:
        arm = chosen_action(strategy(estimates, counts), len(means), choice)
        reward = float(luck < means[arm])
        counts[arm] += 1
        estimates[arm] += (reward - estimates[arm]) / counts[arm]
        arms.append(arm)
    return arms


# ---------------------------------------------------------------- argument checks


def check_values(name: str, values: ArrayLike) -> Array:
    """One state's action values as an array (A,). Raises ValueError unless A ≥ 1 and all are finite."""
    array = check_array(name, values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must have shape (A,) with A >= 1, got {array.shape}")
    return array


def check_temperature(temperature: float | None) -> float | None:
    """The temperature as a float, or None. Raises ValueError unless it is > 0."""
    if temperature is None:
        return None
    return float(check_positive("temperature", temperature, ()))


def check_visits(counts: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Visit counts as an array of this shape. Raises ValueError unless they are whole numbers ≥ 0."""
    array = check_array("counts", counts, shape)
    wrong = array[(array < 0) | (array != np.floor(array))]
    if wrong.size:
        raise ValueError(f"counts must be whole numbers >= 0, got {wrong[0]}")
    return array


def check_range(name: str, values: Array, high: float) -> None:
    """Raise ValueError if a value is not from 0 to `high`."""
    if np.any((values < 0) | (values > high)):
        raise ValueError(
            f"{name} must be from 0 to {high:g}, got {np.min(values)} to {np.max(values)}"
        )


def check_probabilities(probabilities: Sequence[float], noise: float) -> None:
    """Raise ValueError unless the probabilities are ≥ 0 and sum to 1, and the noise is in [0, 1)."""
    if not 0.0 <= noise < 1.0:
        raise ValueError(f"noise must be in [0, 1), got {noise}")
    total = sum(probabilities)
    if not (abs(total - 1.0) <= SUM_TOLERANCE and min(probabilities) >= 0.0):
        raise ValueError(
            f"probabilities must be >= 0 and sum to 1, got {list(probabilities)}"
        )


# ---------------------------------------------------------------- what `help` shows

__all__ = [
    "Strategy", "epsilon_greedy", "boltzmann", "ucb1", "ucb_state_action",
    "epsilon_greedy_strategy", "boltzmann_strategy", "ucb_strategy", "sample_index",
    "bandit_regret",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Operations of the other explorers: strategies, and one step of tabular Q-learning.

Axes and units as in `vime_lecture`, which computes the results.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from bnn_ref import Array, check_finite
from vime_check import exact
from vime_check.operations import (
    Case,
    Draw,
    Function,
    bad,
    by_convention,
    cases_of,
    draw_of,
    exact_form,
    good,
    mistake,
    operation,
    register,
)
from vime_check.wire import Inputs
from vime_lecture import strategies, tabular
from vime_lecture.tabular import Step, Table, TabularSettings

# ---------------------------------------------------------------- family strategies


register(
    "strategies",
    "elementwise",
    strategies.epsilon_greedy,
    measured=(0.0, 3.0e-08),
    formula="m = number of actions b with Q_b = max Q\n"
    "π_a = ε/A + (1 − ε)/m if Q_a = max Q, else ε/A",
    outputs={"": ("(A,)", "probability")},
    rules=("Actions with exactly equal values share the greedy part equally.",),
)


@exact_form("epsilon_greedy")
def exact_epsilon_greedy(q_values: Any, epsilon: Any) -> Any:
    best = [int(value == max(q_values)) for value in q_values]
    uniform = epsilon / len(best)
    return np.array([uniform + (1 - epsilon) * each / sum(best) for each in best])


register(
    "strategies",
    "elementwise",
    strategies.boltzmann,
    measured=(5.7e-16, 2.3e-07),
    formula="τ = temperature, or std(Q) = √((1/A)·Σ_a (Q_a − mean Q)²) if temperature is null\n"
    "π_a = e^((Q_a − max Q)/τ)/Σ_b e^((Q_b − max Q)/τ)\n"
    "if temperature is null and std(Q) ≤ 1e-12·max |Q|: π_a = 1/A",
    outputs={"": ("(A,)", "probability")},
    rules=(
        "The divisor of std is A, not A − 1.",
        "A probability below the smallest number is 0.",
        "Neither squares nor differences may overflow: values reach 1e200 in float64. Divide by max Q − min Q first.",
    ),
)


@exact_form("boltzmann")
def exact_boltzmann(q_values: Any, temperature: Any) -> Any:
    mean = sum(q_values) / len(q_values)
    variance = sum((q_values - mean) ** 2) / len(q_values)
    spread = temperature or exact.sqrt(variance)
    weights = exact.exp((q_values - max(q_values)) / (spread or 1))
    return weights / sum(weights)


register(
    "strategies",
    "elementwise",
    strategies.ucb1,
    measured=(0.0, 5.6e-08),
    formula="score_a = means_a + √(2·ln t/counts_a), or infinity if counts_a = 0",
    outputs={"": ("(A,)", "reward")},
    inputs={
        "counts": {
            "domain": "whole, ≥ 0; one for each arm",
            "meaning": "pulls of each arm",
        }
    },
)


@exact_form("ucb1")
def exact_ucb1(means: Any, counts: Array, t: int) -> Any:
    return exact_upper_bounds(means, counts, 1)


register(
    "strategies",
    "elementwise",
    strategies.ucb_state_action,
    measured=(2.0e-16, 4.6e-08),
    formula="N = Σ_b counts_b\n"
    "score_a = Q_a + α·√(2·ln N/counts_a), or infinity if counts_a = 0, for every α",
    outputs={"": ("(A,)", "reward")},
    rules=(
        "α is alpha. Reject an α that makes a score infinite although counts_a > 0.",
    ),
)


@exact_form("ucb_state_action")
def exact_upper_bounds(q_values: Any, counts: Array, alpha: Any) -> Any:
    total = int(np.sum(counts))
    bonuses = [
        alpha * exact.sqrt(2 * exact.log(total) / int(n)) if n else math.inf
        for n in counts
    ]
    return q_values + np.array(bonuses)


@operation(
    "strategies",
    "elementwise",
    measured=(0.0, 0.0),
    formula="target = reward + γ·(0 if terminated, else max_a next_values_a)\n"
    "output = value + learning_rate·(target − value)",
    outputs={"": ("()", "reward")},
    rules=(
        "truncated changes nothing: behind a time limit the values count. If both flags are set, the step is terminal.",
    ),
    inputs={
        "terminated": {
            "shape": "()",
            "kind": "flag",
            "domain": "true or false",
            "meaning": "the step ended in a terminal state",
        },
        "truncated": {
            "shape": "()",
            "kind": "flag",
            "domain": "true or false",
            "meaning": "a time limit cut the episode after the step",
        },
        "learning_rate": {
            "domain": "> 0, ≤ 1",
            "meaning": "share of the way to the target",
        },
        "next_values": {
            "shape": "(A,)",
            "domain": "A ≥ 1",
            "meaning": "Q of each action in the next state",
        },
    },
)
def q_update(
    value: float,
    reward: float,
    next_values: Array,
    terminated: bool,
    truncated: bool,
    learning_rate: float,
    gamma: float,
) -> Array:
    """Q(s, a) after one step of `q_learning` to a state with these values."""
    settings = TabularSettings(learning_rate=learning_rate, gamma=gamma)
    following = strategies.check_values("next_values", next_values).tolist()
    check_finite("value", value)
    check_finite("reward", reward)
    table = Table([[value], following], [[0], [0] * len(following)])
    tabular.learn(
        table, [Step(0, 0, reward, 1, terminated, truncated)], [reward], settings
    )
    return np.array(table.q_values[0][0])


@exact_form("q_update")
def exact_q_update(
    value: Any,
    reward: Any,
    next_values: Any,
    terminated: bool,
    truncated: bool,
    learning_rate: Any,
    gamma: Any,
) -> Any:
    target = reward if terminated else reward + gamma * max(next_values)
    return (1 - learning_rate) * value + learning_rate * target


@mistake("FirstOfTies", "epsilon_greedy")
def greedy_by_argmax(right: Function, given: Inputs) -> Array:
    q = given["q_values"]
    epsilon = given["epsilon"]
    return epsilon / len(q) + (1.0 - epsilon) * np.eye(len(q))[np.argmax(q)]


@mistake("SampleVariance", "boltzmann")
def boltzmann_by_sample_deviation(right: Function, given: Inputs) -> Array:
    q = given["q_values"]
    span = np.ptp(q)
    if given["temperature"] is not None or span == 0.0:
        return right(**given)
    return right(q_values=q, temperature=float(span * np.std(q / span, ddof=1)))


@mistake("FudgedDenominator", "boltzmann")
def boltzmann_by_fudged_temperature(right: Function, given: Inputs) -> Array:
    temperature = given["temperature"]
    own = float(np.std(given["q_values"])) if temperature is None else temperature
    return right(**given | {"temperature": own + 1e-8})


@mistake("OwnCountInLog", "ucb1", "ucb_state_action")
def bounds_by_own_count(right: Function, given: Inputs) -> Array:
    counts = given["counts"]
    values, alpha = (
        (given["means"], 1.0)
        if "means" in given
        else (given["q_values"], given["alpha"])
    )
    tried = np.maximum(counts, 1)
    return np.where(
        counts > 0, values + alpha * np.sqrt(2.0 * np.log(tried) / tried), np.inf
    )


@mistake("BootstrapAtTerminal", "q_update")
def update_beyond_the_end(right: Function, given: Inputs) -> Array:
    return right(**given | {"terminated": False})


@mistake("TruncationAsTermination", "q_update")
def update_cut_at_a_time_limit(right: Function, given: Inputs) -> Array:
    return right(**given | {"terminated": given["terminated"] or given["truncated"]})


# fmt: off
@cases_of("epsilon_greedy")
def epsilon_greedy_cases() -> Iterator[Case]:
    base: Inputs = {"q_values": (0.5, 2.25, -1.0, 1.125, -0.375), "epsilon": 0.3125}
    yield good("five-actions", "ε/A each, and 1 − ε more for the best.", **base)
    yield good("two-best", "Ties share the greedy part equally.", "FirstOfTies",
               **base | {"q_values": (0.0, 2.25, 2.25, 1.0)})
    yield good("all-equal", "Before anything is known all are as good.", "FirstOfTies",
               **base | {"q_values": (0.0, 0.0, 0.0)})
    yield good("greedy", "ε = 0 leaves the best alone.", "FirstOfTies",
               q_values=(-2.0, -1.0, -1.0), epsilon=0.0)
    yield good("nearly-equal", "1 and 1 + 1e-9 are no tie.", dtypes=("f64",),
               **base | {"q_values": (1.0, 1.0 + 1e-9, 0.25, 1.0 + 1e-9 - 2.0**-50)})
    yield good("tiny-and-equal", "Neither are 0 and 1e-9; but 1e-9 and 1e-9 are.", "FirstOfTies",
               **base | {"q_values": (0.0, 1e-9, -1e-9, 1e-9)})
    yield good("random", "ε = 1 leaves no preference.", **base | {"epsilon": 1.0})
    yield good("one-action", "One action is certain.", q_values=(-0.5,), epsilon=0.1)
    yield bad("no-actions", "there must be an action", base, q_values=())
    yield bad("nan-value", "q_values must be finite", base, q_values=(0.5, math.nan))
    yield bad("rows", "q_values must be those of one state, (A,)", base, q_values=((0.5, 2.0), (1.0, 0.0)))
    yield bad("infinite-value", "q_values must be finite", base, q_values=(0.5, math.inf))
    yield bad("epsilon-above-1", "epsilon must be from 0 to 1", base, epsilon=1.25)
    yield bad("negative-epsilon", "epsilon must be from 0 to 1", base, epsilon=-0.25)
# fmt: on


@draw_of("epsilon_greedy")
def draw_epsilon_greedy(draw: Draw) -> Inputs:
    return {"q_values": draw.numbers(draw.integer(1, 4)), "epsilon": draw.fraction()}


# fmt: off
@cases_of("boltzmann")
def boltzmann_cases() -> Iterator[Case]:
    base: Inputs = {"q_values": (0.5, 2.25, -1.0, 1.125, -0.375), "temperature": 0.625}
    own = base | {"temperature": None}
    fudged = "FudgedDenominator"
    yield good("five-actions", "softmax(Q/temperature).", **base)
    yield good("deviation", "Without a temperature it is std(Q), over A.", "SampleVariance", **own)
    yield good("two-actions", "Two are one standard deviation to each side.", "SampleVariance",
               **own | {"q_values": (3.25, 1.0)})
    yield good("tie", "Equal values have equal probabilities.", "SampleVariance", **own | {"q_values": (1.0, 0.0, 1.0)})
    yield good("all-equal", "A standard deviation of 0 gives equal probabilities.", **own | {"q_values": (2.0,) * 3})
    yield good("one-action", "One action is certain, and its deviation 0.", **own | {"q_values": (-0.5,)})
    yield good("nearly-equal", "1 and 1 + 1e-9 are not equal.", "SampleVariance", fudged, dtypes=("f64",),
               **own | {"q_values": (1.0, 1.0 + 1e-9, 1.0)})
    yield good("small-differences", "Differences of 1e-8, by their deviation.", "SampleVariance", fudged,
               **own | {"q_values": (1e-8, 4.5e-8, 2e-8, 0.0)})
    yield good("cold", "A temperature of 1e-8.", fudged, q_values=(1e-8, 4.5e-8, 2e-8), temperature=1e-8)
    yield good("far-apart", "exp(2000) is beyond float64.", q_values=(1000.0, 1000.5, -1000.0), temperature=0.5)
    yield good("huge", "The square of 1e200 is beyond float64.", "SampleVariance", dtypes=("f64",),
               q_values=(1e200, -1e200, 0.5e200), temperature=None)
    yield bad("no-actions", "there must be an action", base, q_values=())
    yield bad("nan-value", "q_values must be finite", base, q_values=(0.5, math.nan))
    yield bad("infinite-value", "q_values must be finite", base, q_values=(0.5, math.inf))
    yield bad("rows", "q_values must be those of one state, (A,)", base, q_values=((0.5, 2.0), (1.0, 0.0)))
    yield bad("nan-temperature", "temperature must be finite", base, temperature=math.nan)
    yield by_convention(bad("temperature-zero", "temperature must be > 0", base, temperature=0.0))
    yield bad("negative-temperature", "temperature must be > 0", base, temperature=-0.5)
# fmt: on


@draw_of("boltzmann")
def draw_boltzmann(draw: Draw) -> Inputs:
    return {
        "q_values": draw.numbers(draw.integer(1, 4)),
        "temperature": draw.positives() if draw.integer(0, 1) else None,
    }


# fmt: off
@cases_of("ucb1")
def ucb1_cases() -> Iterator[Case]:
    base: Inputs = {"means": (0.5, 0.8125, 0.3125), "counts": (5, 2, 11), "t": 18}
    flag = "OwnCountInLog"
    yield good("three-arms", "mean + √(2 ln t/n), t the pulls of all arms.", flag, **base)
    yield good("untried-arms", "An arm that was never tried comes first.", flag,
               **base | {"counts": (5, 0, 3), "t": 8})
    yield good("nothing-tried", "Before the first pull all are infinite.", **base | {"counts": (0, 0, 0), "t": 0})
    yield good("one-pull", "ln 1 = 0 leaves the mean of the arm that was pulled.",
               **base | {"counts": (0, 1, 0), "t": 1})
    yield good("equal-arms", "What was tried less has the larger bound.", flag,
               means=(0.5, 0.5), counts=(1000, 10), t=1010)
    yield bad("t-one-more", "t must be the sum of counts", base, t=19)
    yield bad("negative-count", "counts must be >= 0", base, counts=(5, -2, 15))
    yield bad("fractional-count", "counts must be whole numbers", base, counts=(5.5, 2.0, 10.5))
    yield bad("nan-mean", "means must be finite", base, means=(0.5, math.nan, 0.3125))
    yield bad("lengths-differ", "there must be a count for each arm", base, counts=(7, 11))
# fmt: on


@draw_of("ucb1")
def draw_ucb1(draw: Draw) -> Inputs:
    arms = draw.integer(1, 3)
    counts = draw.wholes(9, arms)
    return {"means": draw.numbers(arms), "counts": counts, "t": sum(counts)}


# fmt: off
@cases_of("ucb_state_action")
def ucb_state_action_cases() -> Iterator[Case]:
    base: Inputs = {"q_values": (1.5, -0.625, 2.25, 0.375), "counts": (3, 1, 5, 8), "alpha": 0.5625}
    flag = "OwnCountInLog"
    yield good("four-actions", "Q + α√(2 ln N/n), N the visits of the state.", flag, **base)
    yield good("untried", "An action that was never tried is infinite.", flag, **base | {"counts": (3, 0, 5, 8)})
    yield good("no-weight", "α = 0 leaves Q, but for what was never tried.",
               **base | {"counts": (3, 0, 5, 8), "alpha": 0.0})
    yield good("new-state", "In a new state all are infinite.", **base | {"counts": (0, 0, 0, 0)})
    yield good("one-visit", "ln 1 = 0.", **base | {"counts": (0, 0, 1, 0)})
    yield good("large-weight", "α = 8.", flag, **base | {"alpha": 8.0})
    yield bad("negative-count", "counts must be >= 0", base, counts=(3, -1, 5, 8))
    yield bad("nan-value", "q_values must be finite", base, q_values=(1.5, math.nan, 2.25, 0.375))
    yield bad("lengths-differ", "there must be a count for each action", base, counts=(3, 1))
    yield by_convention(bad("negative-alpha", "alpha must be >= 0", base, alpha=-0.5))
# fmt: on


@draw_of("ucb_state_action")
def draw_ucb_state_action(draw: Draw) -> Inputs:
    size = draw.integer(1, 3)
    return {
        "q_values": draw.numbers(size),
        "counts": draw.wholes(9, size),
        "alpha": draw.positives(),
    }


# fmt: off
@cases_of("q_update")
def q_update_cases() -> Iterator[Case]:
    base: Inputs = {"value": 0.5, "reward": 1.125, "next_values": (0.25, 2.375, -1.5)}
    base |= {"terminated": False, "truncated": False, "learning_rate": 0.3125, "gamma": 0.75}
    end = "BootstrapAtTerminal"
    cut = "TruncationAsTermination"
    yield good("inside", "Q + α(r + γ max Q′ − Q).", **base)
    yield good("terminated", "Behind a terminal state there is nothing.", end, **base | {"terminated": True})
    yield good("truncated", "Behind a time limit the values count.", cut, **base | {"truncated": True})
    yield good("both", "What is both is terminal.", end, **base | {"terminated": True, "truncated": True})
    yield good("cut-with-costs", "A time limit among negative values.", cut,
               **base | {"truncated": True, "reward": -1.0, "next_values": (-8.0, -6.5)})
    yield good("all-of-it", "α = 1 forgets the old value.", **base | {"learning_rate": 1.0})
    yield good("myopic", "γ = 0 leaves the reward.", **base | {"gamma": 0.0})
    yield bad("no-values", "there must be a value of the next state", base, next_values=())
    yield bad("nan-reward", "reward must be finite", base, reward=math.nan)
    yield bad("infinite-value", "next_values must be finite", base, next_values=(0.25, math.inf))
    yield bad("gamma-above-1", "gamma must be from 0 to 1", base, gamma=1.5)
    yield bad("learning-rate-above-1", "learning_rate must be from 0 to 1", base, learning_rate=1.5)
# fmt: on


@draw_of("q_update")
def draw_q_update(draw: Draw) -> Inputs:
    return {
        "value": draw.numbers(),
        "reward": draw.numbers(),
        "next_values": draw.numbers(draw.integer(1, 3)),
        "terminated": draw.booleans(),
        "truncated": draw.booleans(),
        "learning_rate": draw.integer(1, 16) / 16,
        "gamma": draw.fraction(),
    }


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

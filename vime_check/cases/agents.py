"""Operations of the agent: curiosity rewards, returns and advantages, policies, replay.

Axes and units as in `vime_ref` and `agents_ref`, which compute the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

import agents_ref as agents
import bnn_ref as bnn
import vime_ref as vime
from bnn_ref import Array
from vime_check import exact
from vime_check.cases.networks import KL_PARTS, moved_terms
from vime_check.operations import (
    ENDS,
    Case,
    Draw,
    Function,
    bad,
    by_convention,
    cases_of,
    draw_by_names,
    draw_of,
    exact_form,
    formula,
    good,
    intermediates_of,
    mistake,
    numbers,
    operation,
    register,
    with_nan,
)
from vime_check.wire import Arrays, Inputs
from vime_ref import ReplayPool

# ---------------------------------------------------------------- constants


LOG_FUDGE = math.log(1e-8)

# ---------------------------------------------------------------- families normalize and returns


@operation(
    "normalize",
    "elementwise",
    measured=(0.0, 7.3e-08),
    formula='current = median(gains) if statistic is "median", mean(gains) if it is "mean"\n'
    "if current = 0: current = mean(gains)\n"
    "new_history = history followed by current, or history alone if current = 0\n"
    "new_history = the last `window` entries of new_history\n"
    "used = new_history if include_current, else the last `window` entries of history\n"
    "divisor = mean(used), or 1 if used is empty or its mean is 0\n"
    "gains = gains/divisor, history = new_history",
    outputs={
        "gains": ("(N,)", "none: a typical gain is 1"),
        "history": ("(k,), k ≤ window", "nats"),
    },
    rules=(
        "The median of an even number of gains is the mean of the middle two.",
        "current = 0 only if all gains are 0.",
        "history holds the oldest entry first. An empty one is the empty list, in both directions.",
        "No bound, no floor and no ε: gains of any size are divided.",
    ),
)
def normalize_gains(
    gains: Array,
    history: Array,
    window: int,
    statistic: Literal["median", "mean"],
    include_current: bool,
) -> Arrays:
    """Normalized gains; the history (k,) holds the statistics of earlier batches, oldest first."""
    past = [float(each) for each in history]
    normalized, new_history = vime.normalize_gains(
        gains,
        past,
        window=window,
        statistic=statistic,
        include_current=include_current,
    )
    return {"gains": normalized, "history": np.array(new_history)}


register(
    "normalize",
    "arraywise",
    vime.curious_rewards,
    measured=(0.0, 5.3e-08),
    formula="r̃_t = rewards_t + η·gains_t",
    outputs={"": ("(T,)", "reward")},
    inputs={
        "gains": {
            "shape": "(T,)",
            "unit": "none",
            "domain": "as many as rewards",
            "meaning": "normalized gains",
        }
    },
)


@exact_form("curious_rewards")
def exact_curious_rewards(rewards: Any, gains: Any, eta: Any) -> Any:
    return rewards + eta * gains


register(
    "returns",
    "arraywise",
    agents.discounted_returns,
    measured=(1.4e-16, 7.3e-08),
    formula="R_T = last_value\nR_t = rewards_t + γ·R_{t+1}, for t = T − 1 … 0",
    outputs={"": ("(T,)", "reward")},
    rules=("The rewards are one segment without an end inside.",),
)


@exact_form("discounted_returns")
def exact_discounted_returns(rewards: Any, gamma: Any, last_value: Any) -> Any:
    """Σ_k γ^k r_{t+k}, to the end, and the last value."""
    following = [*rewards, last_value]
    return np.array(
        [
            sum(gamma**k * value for k, value in enumerate(following[t:]))
            for t in range(len(rewards))
        ]
    )


register(
    "returns",
    "arraywise",
    agents.gae_advantages,
    measured=(0.0, 3.5e-08),
    kinds=ENDS,
    formula="δ_t = rewards_t + γ·next_values_t·(0 if terminated_t, else 1) − values_t\n"
    "A_t = δ_t + γλ·A_{t+1}·(0 if terminated_t or truncated_t or t = T − 1, else 1)",
    outputs={"": ("(T,)", "reward")},
    rules=(
        "λ is lam.",
        "next_values_t is V of the true next state, so it counts at a time limit.",
        "If both flags are set, the row is terminal.",
        "The last row bootstraps next_values unless it is terminated, also without a flag.",
        "Advantages are not normalized.",
    ),
    inputs={
        "values": {"domain": "as many as rewards"},
        "next_values": {"domain": "as many as rewards"},
        "terminated": {"domain": "as many as rewards"},
        "truncated": {"domain": "as many as rewards"},
    },
)


@exact_form("gae_advantages")
def exact_advantages(
    rewards: Any,
    values: Any,
    next_values: Any,
    terminated: Any,
    truncated: Any,
    gamma: Any,
    lam: Any,
) -> Any:
    """Σ_k (γλ)^k δ_{t+k}, to the end of the episode."""
    deltas = rewards + gamma * next_values * (1 - terminated.astype(int)) - values
    sums = []
    for t in range(len(rewards)):
        ends = [k for k in range(t, len(rewards)) if terminated[k] or truncated[k]]
        stop = ends[0] + 1 if ends else len(rewards)
        sums.append(sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, stop)))
    return np.array(sums)


def divisor_of(gains: Array, outputs: Arrays) -> float:
    """The divisor of these gains; the largest is not 0."""
    return float(np.max(gains) / np.max(outputs["gains"]))


@mistake("LowerMedian", "normalize_gains")
def gains_over_lower_medians(right: Function, given: Inputs) -> Arrays:
    """Without its largest gain, an even batch has the lower of its middle two as its median."""
    gains = given["gains"]
    if given["statistic"] != "median" or len(gains) % 2 == 1:
        return right(**given)
    rest = np.delete(gains, np.argmax(gains))
    if np.median(rest) == 0.0:  # the mean of all replaces a median of 0
        return right(**given | {"statistic": "mean"})
    outputs = right(**given | {"gains": rest})
    return {**outputs, "gains": gains / divisor_of(rest, outputs)}


@mistake("FudgedDenominator", "normalize_gains")
def gains_over_fudged_divisors(right: Function, given: Inputs) -> Arrays:
    gains = given["gains"]
    outputs = right(**given)
    if not np.any(gains):
        return outputs
    return {**outputs, "gains": gains / (divisor_of(gains, outputs) + 1e-8)}


@mistake("ClippedGain", "normalize_gains", "curious_rewards")
def gains_up_to_1000(right: Function, given: Inputs) -> Any:
    return right(**given | {"gains": np.minimum(given["gains"], 1000.0)})


@mistake("RewardDropped", "curious_rewards")
def bonus_alone(right: Function, given: Inputs) -> Array:
    return right(**given | {"rewards": np.zeros_like(given["rewards"])})


@intermediates_of("gae_advantages")
def temporal_differences(given: Inputs) -> Arrays:
    """δ_t = r_t + γ V(s_{t+1}) − V(s_t), without V(s_{t+1}) if the episode terminated: the advantages at λ = 0."""
    return {"deltas": agents.gae_advantages(**given | {"lam": 0.0})}


@mistake("TruncationAsTermination", "discounted_returns")
def returns_of_a_dead_end(right: Function, given: Inputs) -> Array:
    return right(**given | {"last_value": 0.0})


@mistake("TruncationAsTermination", "gae_advantages")
def truncation_as_termination(right: Function, given: Inputs) -> Array:
    return right(**given | {"terminated": given["terminated"] | given["truncated"]})


@mistake("BootstrapAtTerminal", "gae_advantages")
def advantages_beyond_the_end(right: Function, given: Inputs) -> Array:
    over = given["terminated"]
    cut = given["truncated"]
    return right(**given | {"terminated": over & ~over, "truncated": over | cut})


@mistake("WindowCrossing", "gae_advantages")
def trace_over_a_time_limit(right: Function, given: Inputs) -> Array:
    return right(**given | {"truncated": np.zeros_like(given["truncated"])})


@mistake("WindowCrossing", "gae_advantages")
def trace_over_every_end(right: Function, given: Inputs) -> Array:
    no = np.zeros_like(given["terminated"])
    values = np.where(given["terminated"], 0.0, given["next_values"])
    ends: Inputs = {"terminated": no, "truncated": no}
    return right(**given | ends | {"next_values": values})


def values_of_next_rows(given: Inputs) -> Inputs:
    following = np.append(given["values"][1:], given["next_values"][-1:])
    return given | {"next_values": following}


@mistake("WindowCrossing", "gae_advantages")
def value_of_the_next_episode(right: Function, given: Inputs) -> Array:
    """Behind a time limit stands the value of the next row, which begins another episode."""
    return right(**values_of_next_rows(given))


@mistake("WindowCrossing", "gae_advantages")
def time_limits_unseen(right: Function, given: Inputs) -> Array:
    """Only terminal states end an episode, and the value behind a row is that of the next row."""
    return trace_over_a_time_limit(right, values_of_next_rows(given))


@mistake("LimitDropped", "gae_advantages")
def nothing_at_a_time_limit(right: Function, given: Inputs) -> Array:
    """The advantage of a row that is cut is 0, and so is its part in the rows before it."""
    value = given["gamma"] * given["next_values"] * ~given["terminated"]
    rewards = np.where(given["truncated"], given["values"] - value, given["rewards"])
    return right(**given | {"rewards": rewards})


def normalised_advantages(
    ddof: int, epsilon: float, right: Function, given: Inputs
) -> Array:
    """(A − mean)/(std + ε); `torch.std` divides by n − 1."""
    advantages = right(**given)
    count = np.float64(len(advantages))
    spread = np.std(advantages) * np.sqrt(count / (count - ddof))
    return (advantages - np.mean(advantages)) / (spread + epsilon)


for ddof in (0, 1):
    for epsilon in (0.0, 1e-8):
        mistake("NormalisedInside", "gae_advantages")(
            partial(normalised_advantages, ddof, epsilon)
        )


# fmt: off
@cases_of("normalize_gains")
def normalize_gains_cases() -> Iterator[Case]:
    base: Inputs = {"gains": (0.375, 2.25, 1.625), "history": (1.25, 3.5), "window": 10}
    base |= {"statistic": "median", "include_current": True}
    full = base | {"history": (8.5, 16.25, 4.75), "window": 3}
    lower = "LowerMedian"
    fudged = "FudgedDenominator"
    clipped = "ClippedGain"
    yield good("first-batch", "The batch's own median divides it.", "InputMutation", **base | {"history": ()})
    yield good("later-batch", "The mean of the medians, this one's included.", "InputMutation", **base)
    yield good(
        "without-current", "The mean of the medians before.", "InputMutation", **base | {"include_current": False}
    )
    yield good("nothing-before", "An empty history divides by 1.", **base | {"history": (), "include_current": False})
    yield good("window", "Only the last two medians count.", **full | {"window": 2})
    yield good("full-history", "This batch's median pushes out the oldest.", **full)
    yield good("full-without-current", "All three medians before count, though the oldest leaves the history.",
               **full | {"include_current": False})
    yield good("longer-history-without-current", "Only the last two medians before count.",
               **full | {"include_current": False, "window": 2})
    yield good("mean", "The mean in place of the median.", **base | {"statistic": "mean", "gains": (0.375, 2.25, 6.5)})
    yield good("even-count", "The median of four is the mean of the middle two.", lower,
               **base | {"gains": (4.75, 1.125, 2.5, 8.0)})
    yield good("even-count-first", "The median of six, alone.", lower,
               **base | {"gains": (0.75, 5.5, 1.625, 9.0, 2.875, 0.25), "history": ()})
    yield good("zero-median", "The mean replaces a median of 0.", **base | {"gains": (0.0, 0.0, 7.25), "history": ()})
    yield good("zero-median-later", "The mean of all replaces a median of 0 among the medians before.",
               **base | {"gains": (0.0, 0.0, 7.25)})
    yield good("zero-median-without-current", "The mean enters the history, though it does not divide.",
               **full | {"gains": (0.0, 0.0, 7.25, 0.0, 0.0), "include_current": False})
    yield good("zeros", "A batch of zeros does not enter the history.", **base | {"gains": (0.0, 0.0)})
    yield good("tiny", "Gains from 1e-12 to 1e-8: no constant is added to the divisor.", fudged,
               **base | {"gains": (1e-12, 3e-9, 2.5e-8), "history": ()})
    yield good("tiny-later", "Two medians near 1e-9.", fudged, lower,
               **base | {"gains": (7e-10, 3e-9, 1e-12, 1.5e-9), "history": (4e-9,)})
    yield good("huge", "A gain above 1000 counts in full.", clipped,
               **base | {"gains": (1500.0, 12.5, 340.0), "history": (27.0, 410.0)})
    yield good("huge-median", "So does a median above 1000.", clipped, lower,
               **base | {"gains": (2600.0, 1700.0, 0.75, 5300.0), "history": (1900.0,)})
    yield bad("nan", "gains must be finite", base, gains=(0.5, math.nan))
    yield bad("infinite", "gains must be finite", base, gains=(math.inf, 1.0))
    yield bad("negative", "gains must be >= 0", base, gains=(-1.0, 2.0))
    yield bad("no-gains", "there must be a gain", base, gains=())
    yield bad("window-zero", "window must be >= 1", base, window=0)
    yield bad("fractional-window", "window must be a whole number", base, window=1.5)
    yield bad("table", "gains must be (N,)", base, gains=((0.5, 2.0), (1.0, 3.0)))
    yield bad("statistic", "statistic must be median or mean", base, statistic="mode")
    yield bad("nan-history", "history must be finite", base, history=(1.0, math.nan))
    yield bad("negative-history", "history must be >= 0", base, history=(-1.0, 3.0))
# fmt: on


@draw_of("normalize_gains")
def draw_normalize_gains(draw: Draw) -> Inputs:
    return {
        "gains": draw.positives(draw.integer(1, 4)),
        "history": draw.positives(draw.integer(0, 4)),
        "window": draw.integer(1, 4),
        "statistic": ("median", "mean")[draw.integer(0, 1)],
        "include_current": bool(draw.integer(0, 1)),
    }


# fmt: off
@cases_of("curious_rewards")
def curious_rewards_cases() -> Iterator[Case]:
    base: Inputs = {"rewards": (0.0, 1.25, -0.75), "gains": (2.125, 3.5, 0.3125), "eta": 0.375}
    flags = "RewardDropped", "InputMutation"
    clipped = "ClippedGain"
    yield good("three-steps", "r + η·gain.", *flags, **base)
    yield good("original-eta", "η = 1e-4, the original's.", *flags, **base | {"eta": 1e-4})
    yield good("no-curiosity", "With η = 0 the reward stays as it is.", *flags, **base | {"eta": 0.0})
    yield good("huge-gain", "A gain above 1000 counts in full.", *flags, clipped,
               **base | {"gains": (1500.0, 7.0, 0.0)})
    yield good("huge-gains", "Several gains above 1000, and η = 1e-4.", *flags, clipped,
               rewards=(-0.5, 0.25), gains=(27000.0, 6100.0), eta=1e-4)
    yield good("tiny-gain", "A gain of 1e-12 is no 0.", rewards=(0.0, 0.0), gains=(1e-12, 3e-13), eta=0.625)
    yield by_convention(bad("negative-eta", "eta must be >= 0", base, eta=-0.1))
    yield bad("nan-eta", "eta must be finite", base, eta=math.nan)
    yield bad("nan-reward", "rewards must be finite", base, rewards=(0.0, math.nan, 1.0))
    yield bad("lengths-differ", "gains must be as many as rewards", base, gains=(2.125, 3.5))
    yield bad("one-gain-for-all", "gains must be as many as rewards", base, gains=(2.0,))
# fmt: on


@draw_of("curious_rewards")
def draw_curious_rewards(draw: Draw) -> Inputs:
    steps = draw.integer(1, 3)
    return {
        "rewards": draw.numbers(steps),
        "gains": draw.positives(steps),
        "eta": draw.fraction(),
    }


# fmt: off
@cases_of("discounted_returns")
def discounted_returns_cases() -> Iterator[Case]:
    base: Inputs = {"rewards": (1.25, 0.0, 2.5, -0.75), "gamma": 0.625, "last_value": 0.0}
    cut = "TruncationAsTermination"
    yield good("terminal", "Nothing follows the last reward.", **base)
    yield good("bootstrapped", "The value behind the cut counts.", cut, **base | {"last_value": 4.375})
    yield good("undiscounted", "γ = 1 sums.", cut, **base | {"gamma": 1.0, "last_value": 0.5})
    yield good("myopic", "γ = 0 leaves the rewards.", **base | {"gamma": 0.0, "last_value": 4.375})
    yield good("original-gamma", "γ = 0.99.", cut, **base | {"gamma": 0.99, "last_value": 10.5})
    yield bad("gamma-above-1", "gamma must be from 0 to 1", base, gamma=1.5)
    yield bad("negative-gamma", "gamma must be from 0 to 1", base, gamma=-0.5)
    yield bad("nan-reward", "rewards must be finite", base, rewards=(1.0, math.nan))
    yield bad("infinite-value", "last_value must be finite", base, last_value=math.inf)
# fmt: on


@draw_of("discounted_returns")
def draw_discounted_returns(draw: Draw) -> Inputs:
    return {
        "rewards": draw.numbers(draw.integer(1, 4)),
        "gamma": draw.fraction(),
        "last_value": draw.numbers(),
    }


def episodes_of_values(
    steps: int,
    terminated: NDArray[np.bool_] | None = None,
    truncated: NDArray[np.bool_] | None = None,
) -> Inputs:
    """Steps with these ends; the value behind a step that ends nothing is the next step's value."""
    no = np.zeros(steps, dtype=bool)
    over = no if terminated is None else terminated
    cut = no if truncated is None else truncated

    # The values behind the steps: those of the next steps, or of states that nobody acts in.
    values = numbers(steps, seed=51)
    beyond = numbers(steps, seed=53)
    following = np.append(values[1:], beyond[-1:])
    return {
        "rewards": numbers(steps, seed=55),
        "values": values,
        "next_values": np.where(over | cut, beyond, following),
        "terminated": over,
        "truncated": cut,
        "gamma": 0.75,
        "lam": 0.625,
    }


# fmt: off
@cases_of("gae_advantages")
def gae_advantages_cases() -> Iterator[Case]:
    base = episodes_of_values(7)
    over = np.array([False, False, True, False, False, False, False])
    limit = np.array([False, False, False, False, True, False, False])
    last = np.array([False, False, False, False, False, False, True])
    cut = "TruncationAsTermination"
    beyond = "BootstrapAtTerminal"
    across = "WindowCrossing"
    dropped = "LimitDropped"
    inside = "NormalisedInside"
    ends = beyond, cut, across, dropped, inside
    yield good("one-segment", "Without a flag, the value behind the last row counts.", inside, **base)
    yield good("cut-at-the-end", "A time limit in the last row.", cut, dropped, inside,
               **episodes_of_values(7, truncated=last))
    yield good("terminal-at-the-end", "A terminal state in the last row.", beyond, inside,
               **episodes_of_values(7, terminated=last))
    yield good("terminated", "Behind a terminal state there is nothing.", beyond, across, inside,
               **episodes_of_values(7, terminated=over))
    yield good("truncated", "Behind a time limit the value counts, the trace does not.", cut, across, dropped, inside,
               **episodes_of_values(7, truncated=limit))
    yield good("both-kinds", "One episode ends, the next is cut, the last goes on.", *ends,
               **episodes_of_values(7, terminated=over, truncated=limit))
    yield good("both-at-once", "A terminal state at the time limit is terminal.", beyond, inside,
               **episodes_of_values(7, terminated=over, truncated=over))
    yield good("both-at-once-and-cut", "A terminal state at the time limit, then a time limit alone.", *ends,
               **episodes_of_values(7, terminated=over, truncated=over | limit))
    yield good("both-at-the-end", "The last row has both flags.", beyond, inside,
               **episodes_of_values(7, terminated=over | last, truncated=last))
    yield good("monte-carlo", "λ = 1, γ = 0.99.", *ends,
               **episodes_of_values(7, terminated=over, truncated=limit) | {"lam": 1.0, "gamma": 0.99})
    yield good("one-step", "λ = 0 leaves the temporal differences.", cut, dropped, inside,
               **episodes_of_values(7, truncated=limit) | {"lam": 0.0})
    yield good("steps-that-end", "Each row is an episode.", cut, inside,
               **episodes_of_values(3, terminated=over[:3], truncated=~over[:3]))
    yield good("one-row", "A single step.", **episodes_of_values(1))
    yield bad("gamma-above-1", "gamma must be from 0 to 1", base, gamma=1.5)
    yield bad("negative-lam", "lam must be from 0 to 1", base, lam=-0.25)
    yield bad("lengths-differ", "all must have T rows", base, next_values=(1.0, 2.0))
    yield bad("nan-value", "values must be finite", base, values=with_nan(base["values"]))
    yield bad("half-terminated", "an episode ends or goes on", base, terminated=(0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0))
# fmt: on


@draw_of("gae_advantages")
def draw_gae_advantages(draw: Draw) -> Inputs:
    """The value behind a step that ends nothing is the next step's value."""
    steps = draw.integer(1, 4)
    rewards = draw.numbers(steps)
    values = draw.numbers(steps + 1)
    flags = {name: draw.booleans(steps) for name in ("terminated", "truncated")}

    # Behind a step that ends an episode there is a state of its own.
    ended = [any(pair) for pair in zip(*flags.values(), strict=True)]
    following = [
        draw.numbers() if end else value for end, value in zip(ended, values[1:])
    ]
    path: Inputs = {"rewards": rewards, "values": values[:-1], "next_values": following}
    return {**path, **flags, "gamma": draw.fraction(), "lam": draw.fraction()}


# ---------------------------------------------------------------- family policy


def linear_theta(outputs: Array) -> tuple[Array, tuple[int, int]]:
    """Weights and sizes of the linear network that gives these rows (N, A) for the rows of the identity."""
    if outputs.ndim != 2:
        raise ValueError(f"means and logits must be (N, A), got {outputs.shape}")
    return np.concatenate([outputs.ravel(), np.zeros(outputs.shape[1])]), outputs.shape


def gaussian_policy(mean: Array, log_std: Array) -> agents.GaussianPolicy:
    weights, sizes = linear_theta(mean)
    bnn.check_array("log_std", log_std, sizes[1:])
    return agents.GaussianPolicy(np.concatenate([weights, log_std]), sizes)


def categorical_policy(logits: Array) -> agents.CategoricalPolicy:
    return agents.CategoricalPolicy(*linear_theta(logits))


@operation(
    "policy",
    "arraywise",
    measured=(2.7e-16, 7.1e-08),
    formula="output[n] = Σ_a log N(actions[n, a]; mean[n, a], e^log_std[a])",
    outputs={"": ("(N,)", "nats")},
    rules=("log_std is used as it is: no clamp and no floor.",),
)
def gaussian_log_prob(mean: Array, log_std: Array, actions: Array) -> Array:
    return gaussian_policy(mean, log_std).log_prob(np.eye(len(mean)), actions)


@exact_form("gaussian_log_prob")
def exact_gaussian_log_prob(mean: Any, log_std: Any, actions: Any) -> Any:
    densities = exact.log_density(actions, mean, exact.exp(log_std))
    return np.sum(densities, axis=-1)  # (N,)


@operation(
    "policy",
    "arraywise",
    measured=(2.0e-16, 8.9e-08),
    formula="output[n] = Σ_a [½·(log 2π + 1) + log_std[a]], the same in every row",
    outputs={"": ("(N,)", "nats")},
    rules=("It may be negative.",),
)
def gaussian_entropy(mean: Array, log_std: Array) -> Array:
    return gaussian_policy(mean, log_std).entropy(np.eye(len(mean)))


@exact_form("gaussian_entropy")
def exact_gaussian_entropy(mean: Any, log_std: Any) -> Any:
    """Σ ½(log 2π + 1) + log σ, in every row."""
    entropy = np.sum((exact.log_two_pi() + 1) / 2 + log_std)
    return entropy * np.ones(len(mean), dtype=object)


@operation(
    "policy",
    "elementwise",
    measured=(4.7e-16, 1.3e-07),
    formula="output[n] = KL(mean_old[n], e^log_std_old, mean_new[n], e^log_std_new)",
    outputs={"": ("(N,)", "nats")},
    rules=("KL[old‖new], summed over the A action dimensions.",),
)
def gaussian_kl(
    mean_old: Array, log_std_old: Array, mean_new: Array, log_std_new: Array
) -> Array:
    old = gaussian_policy(mean_old, log_std_old)
    new = gaussian_policy(mean_new, log_std_new)
    return old.kl(new, np.eye(len(mean_old)))


@formula("gaussian_kl", parts=KL_PARTS)
def policy_kl_of_terms(part: Function, **given: Array) -> Array:
    terms = {
        "mu_q": given["mean_old"],
        "sigma_q": np.exp(given["log_std_old"]),
        "mu_p": given["mean_new"],
        "sigma_p": np.exp(given["log_std_new"]),
    }
    return gaussian_kl(**given) + moved_terms(part, **terms)


@exact_form("gaussian_kl")
def exact_gaussian_kl(
    mean_old: Any, log_std_old: Any, mean_new: Any, log_std_new: Any
) -> Any:
    sigma_old = exact.exp(log_std_old)
    sigma_new = exact.exp(log_std_new)
    return exact.kl(mean_old, sigma_old, mean_new, sigma_new)


@operation(
    "policy",
    "arraywise",
    measured=(4.1e-16, 3.2e-08),
    kinds={"actions": "wholes"},
    formula="log p[n, a] = logits[n, a] − m_n − log Σ_b e^(logits[n, b] − m_n), m_n = max_b logits[n, b]\n"
    "output[n] = log p[n, actions[n]]",
    outputs={"": ("(N,)", "nats")},
    rules=("Actions are indices from 0 to A − 1.",),
    inputs={
        "actions": {
            "shape": "(N,)",
            "kind": "whole numbers",
            "unit": "index",
            "domain": "from 0 to A − 1; one for each row",
            "meaning": "action taken in each row",
        }
    },
)
def categorical_log_prob(logits: Array, actions: Array) -> Array:
    return categorical_policy(logits).log_prob(np.eye(len(logits)), actions)


def exact_log_softmax(logits: Any) -> Any:
    totals = np.sum(exact.exp(logits), axis=-1)  # (N,)
    return logits - exact.log(totals)[:, None]  # (N, A)


@exact_form("categorical_log_prob")
def exact_categorical_log_prob(logits: Any, actions: Any) -> Any:
    return exact_log_softmax(logits)[np.arange(len(actions)), actions]


@operation(
    "policy",
    "arraywise",
    measured=(6.6e-16, 1.4e-07),
    formula="log p as in categorical_log_prob\n"
    "output[n] = −Σ_a e^(log p[n, a])·log p[n, a]",
    outputs={"": ("(N,)", "nats")},
    rules=("An action whose probability underflows adds 0.",),
)
def categorical_entropy(logits: Array) -> Array:
    return categorical_policy(logits).entropy(np.eye(len(logits)))


@exact_form("categorical_entropy")
def exact_categorical_entropy(logits: Any) -> Any:
    log_p = exact_log_softmax(logits)
    return -np.sum(exact.exp(log_p) * log_p, axis=-1)  # (N,)


@operation(
    "policy",
    "arraywise",
    measured=(5.6e-16, 2.6e-07),
    formula="log p as in categorical_log_prob\n"
    "output[n] = Σ_a e^(log p_old[n, a])·(log p_old[n, a] − log p_new[n, a])",
    outputs={"": ("(N,)", "nats")},
    rules=("KL[old‖new].",),
)
def categorical_kl(logits_old: Array, logits_new: Array) -> Array:
    return categorical_policy(logits_old).kl(
        categorical_policy(logits_new), np.eye(len(logits_old))
    )


@exact_form("categorical_kl")
def exact_categorical_kl(logits_old: Any, logits_new: Any) -> Any:
    old = exact_log_softmax(logits_old)
    new = exact_log_softmax(logits_new)
    return np.sum(exact.exp(old) * (old - new), axis=-1)  # (N,)


def with_log_std(
    changed: Callable[[Array], Array], right: Function, given: Inputs
) -> Array:
    """The output for other log σ."""
    return right(
        **{
            name: changed(value) if "log_std" in name else value
            for name, value in given.items()
        }
    )


GAUSSIAN = "gaussian_log_prob", "gaussian_entropy", "gaussian_kl"
SIGMAS_FOR_SIGMA = {2.0: "σ² for σ", 0.5: "√σ for σ"}  # by the factor of log σ
for factor, at in SIGMAS_FOR_SIGMA.items():
    scaled = partial(with_log_std, partial(np.multiply, factor))
    mistake("VarianceAsSigma", *GAUSSIAN, at=f"{at} of the policy")(scaled)


def kl_with_new_log_std(factor: float, right: Function, given: Inputs) -> Array:
    """The mistake in the second distribution alone."""
    return right(**given | {"log_std_new": factor * given["log_std_new"]})


for factor, at in SIGMAS_FOR_SIGMA.items():
    new = partial(kl_with_new_log_std, factor)
    mistake("VarianceAsSigma", "gaussian_kl", at=f"{at} of the new policy")(new)


@mistake("UnnormalisedLogDensity", "gaussian_log_prob")
def log_prob_without_half(right: Function, given: Inputs) -> Array:
    moves = (given["actions"] - given["mean"]) / np.exp(given["log_std"])
    return right(**given) - 0.5 * np.sum(moves**2, axis=-1)


@mistake("UnnormalisedLogDensity", "gaussian_log_prob")
def log_prob_without_log_sigma(right: Function, given: Inputs) -> Array:
    return right(**given) + np.sum(given["log_std"])


@mistake("ExtraConstant", "gaussian_log_prob")
def log_prob_with_half_too_much(right: Function, given: Inputs) -> Array:
    return right(**given) - 0.5 * len(given["log_std"])


# Limits of log σ in public code.
for limits in ((-20.0, 2.0), (-5.0, 2.0)):
    clipped = partial(np.clip, a_min=limits[0], a_max=limits[1])
    mistake("ClampedLogSigma", *GAUSSIAN)(partial(with_log_std, clipped))
# ε in σ + ε.
for floor in (1e-8, 1e-6, 1e-5):
    raised = partial(np.logaddexp, math.log(floor))
    mistake("SigmaFloor", *GAUSSIAN)(partial(with_log_std, raised))


@mistake("SwappedKL", "gaussian_kl", "categorical_kl")
def swapped_policies(right: Function, given: Inputs) -> Array:
    other = {"old": "new", "new": "old"}
    return right(
        **{name[:-3] + other[name[-3:]]: value for name, value in given.items()}
    )


@mistake("KLMean", "gaussian_kl")
def mean_policy_kl(right: Function, given: Inputs) -> Array:
    return right(**given) / len(given["log_std_old"])


@mistake("KLMean", "categorical_kl")
def mean_over_actions(right: Function, given: Inputs) -> Array:
    return right(**given) / given["logits_old"].shape[1]


@mistake("FudgedDenominator", "categorical_log_prob")
def fudged_log_prob(right: Function, given: Inputs) -> Array:
    """log(p + 1e-8)."""
    return np.logaddexp(right(**given), LOG_FUDGE)


@mistake("FudgedDenominator", "categorical_entropy")
def fudged_entropy(right: Function, given: Inputs) -> Array:
    """−Σ p log(p + 1e-8)."""
    probabilities, gained = added_by_fudge(given["logits"])
    return right(**given) - np.sum(probabilities * gained, axis=-1)  # (N,)


@mistake("FudgedDenominator", "categorical_kl")
def fudged_categorical_kl(right: Function, given: Inputs) -> Array:
    """Σ p (log(p + 1e-8) − log(q + 1e-8))."""
    probabilities, gained = added_by_fudge(given["logits_old"])
    _, gained_new = added_by_fudge(given["logits_new"])
    gains = probabilities * (gained - gained_new)  # (N, A)
    return right(**given) + np.sum(gains, axis=-1)  # (N,)


def added_by_fudge(logits: Array) -> tuple[Array, Array]:
    """The probabilities p, and log(p + 1e-8) − log p."""
    log_p = agents.log_softmax(logits)
    return np.exp(log_p), np.logaddexp(log_p, LOG_FUDGE) - log_p  # (N, A)


@mistake("UnderflowingDensity", "categorical_log_prob")
def log_of_a_probability(right: Function, given: Inputs) -> Array:
    return np.log(np.exp(right(**given)))


@mistake("UnderflowingDensity", "categorical_entropy")
def entropy_of_probabilities(right: Function, given: Inputs) -> Array:
    """p log p is 0·∞ for a probability of 0."""
    return right(**given) + nothing_or_nan(given["logits"])


@mistake("UnderflowingDensity", "categorical_kl")
def kl_of_probabilities(right: Function, given: Inputs) -> Array:
    """p (log p − log q) is 0·∞ for p = 0, and infinite for q = 0."""
    old = np.exp(agents.log_softmax(given["logits_old"]))
    new = np.exp(agents.log_softmax(given["logits_new"]))
    infinite = np.any((old > 0.0) & (new == 0.0), axis=-1)  # (N,)
    lost = nothing_or_nan(given["logits_old"])
    return right(**given) + lost + np.where(infinite, np.inf, 0.0)


def nothing_or_nan(logits: Array) -> Array:
    """NaN for rows with a probability that underflows, and 0 for others, (N,)."""
    lost = np.any(np.exp(agents.log_softmax(logits)) == 0.0, axis=-1)
    return np.where(lost, np.nan, 0.0)


# fmt: off
@cases_of("gaussian_log_prob")
def gaussian_log_prob_cases() -> Iterator[Case]:
    base: Inputs = {"mean": numbers(4, 3, seed=1), "log_std": (-0.5, 0.8125, 0.3125), "actions": numbers(4, 3, seed=2)}
    flags = "VarianceAsSigma", "UnnormalisedLogDensity", "ExtraConstant"
    limits = "ClampedLogSigma", "SigmaFloor"
    near: Inputs = {"mean": ((0.0, 1.25), (1e-7, -0.5), (-2e-7, 2.0))}
    yield good("four-rows", "Summed over action dimensions, (N,).", *flags, **base)
    yield good("one-dimension", "One action dimension.", *flags,
               mean=((0.625,), (-1.125,)), log_std=(0.3125,), actions=((1.0,), (2.5,)))
    yield good("tiny-sigma", "σ = 1e-7 beside σ = 13.5.", *flags, *limits,
               **near, log_std=(-16.125, 2.6), actions=((1.5e-7, 9.0), (0.0, -17.0), (1e-7, 4.0)))
    yield good("extreme-sigma", "log σ = 3 and −21.", *flags, *limits,
               mean=((0.0, 1.25), (1e-9, -0.5)), log_std=(-21.0, 3.0), actions=((1.5e-9, 9.0), (3e-10, -37.0)))
    yield bad("rows-differ", "actions must be (N, A)", base, actions=numbers(2, 3, seed=2))
    yield bad("log-std-of-other-size", "log_std must be (A,)", base, log_std=(0.0,))
    yield bad("nan-action", "actions must be finite", base, actions=with_nan(base["actions"]))
# fmt: on


# fmt: off
@cases_of("gaussian_entropy")
def gaussian_entropy_cases() -> Iterator[Case]:
    base: Inputs = {"mean": numbers(2, 3, seed=3), "log_std": (-0.5, 0.8125, 0.3125)}
    limits = "ClampedLogSigma", "SigmaFloor"
    yield good("three-dimensions", "½ log(2πe σ²), summed; the mean does not matter.", "VarianceAsSigma", **base)
    yield good(
        "narrow", "A sharp policy has a negative entropy.", "VarianceAsSigma", **base | {"log_std": (-3.0, -2.25, -1.5)}
    )
    yield good("tiny-sigma", "σ = 1e-7 beside σ = 13.5.", "VarianceAsSigma", *limits,
               **base | {"log_std": (-16.125, 2.6, 0.375)})
    yield good("extreme-sigma", "log σ = 3, −21 and −23.", "VarianceAsSigma", *limits,
               mean=numbers(4, 3, seed=3), log_std=(3.0, -21.0, -23.0))
    yield bad("nan", "log_std must be finite", base, log_std=(0.0, math.nan, 0.5))
    yield bad("log-std-of-other-size", "log_std must be (A,)", base, log_std=(0.0, 0.0, 0.0, 0.0))
    yield bad("flat-mean", "mean must be (N, A)", base, mean=(0.5, 1.0, -0.25))
# fmt: on


# fmt: off
@cases_of("gaussian_kl")
def gaussian_kl_cases() -> Iterator[Case]:
    base: Inputs = {"mean_old": numbers(4, 3, seed=4), "log_std_old": (-0.5, 0.8125, 0.125)}
    base |= {"mean_new": numbers(4, 3, seed=5), "log_std_new": (0.3125, 0.5625, -0.25)}
    flags = "SwappedKL", "DroppedConstant", "KLMean", "VarianceAsSigma"
    terms = "MissingHalf", "SwappedSigmas"
    limits = "ClampedLogSigma", "SigmaFloor", "FudgedDenominator"
    yield good("four-rows", "KL[old‖new], (N,).", *flags, *terms, **base)
    yield good("two-dimensions", "KL[old‖new] of one row.", *flags, *terms, mean_old=((0.0, 1.25),),
               log_std_old=(0.5, -1.0), mean_new=((0.625, 0.375),), log_std_new=(0.125, -0.6875))
    yield good("equal", "0 where nothing changed.",
               **base | {"mean_new": base["mean_old"], "log_std_new": base["log_std_old"]})
    narrow: Inputs = {"mean_old": ((1e-4, 0.0),), "mean_new": ((0.0, 7e-5),)}
    yield good("narrow", "Standard deviations near 1e-4.", "FudgedDenominator",
               **narrow, log_std_old=(-9.0, -10.0), log_std_new=(-9.5, -9.125))
    yield good("narrower", "Standard deviations near 1e-5.", "FudgedDenominator",
               **narrow, log_std_old=(-11.0, -12.0), log_std_new=(-11.5, -11.125))
    yield good("tiny-sigma", "σ = 1e-7 beside σ = 13.5.", *flags[1:], *limits,
               mean_old=((0.0, 1.25), (1e-7, -4.0), (-2e-7, 0.5)), log_std_old=(-16.125, 2.625),
               mean_new=((1.5e-7, 9.0), (0.0, 8.0), (1e-7, -6.0)), log_std_new=(-15.75, 2.25))
    yield good("extreme-sigma", "log σ = 3 and −21.", *flags, *limits,
               mean_old=((0.0, 1.25),), log_std_old=(-21.0, 3.0), mean_new=((1.5e-9, 19.0),), log_std_new=(-20.5, 2.75))
    yield bad("rows-differ", "both means must be (N, A)", base, mean_new=numbers(2, 3, seed=5))
    yield bad("nan", "mean_old must be finite", base, mean_old=with_nan(base["mean_old"]))
    yield bad("log-std-of-other-size", "log_std must be (A,)", base, log_std_new=(0.0, 0.0, 0.0, 0.0))
    yield bad("infinite", "log_std_old must be finite", base, log_std_old=(0.0, math.inf, 0.5))
# fmt: on


# fmt: off
@cases_of("categorical_log_prob")
def categorical_log_prob_cases() -> Iterator[Case]:
    base: Inputs = {"logits": numbers(3, 4, seed=6), "actions": (0, 3, 1)}
    fudged = "FudgedDenominator"
    lost = "UnderflowingDensity"
    yield good("four-actions", "The logit less the logsumexp of its row.", **base)
    yield good("uniform", "−log A.", logits=((2.0, 2.0, 2.0),), actions=(1,))
    yield good("rare", "Probabilities near 1e-6 and 1e-9.", fudged,
               logits=((0.5, -13.0, 1.25), (-20.0, 0.75, 0.0)), actions=(1, 0))
    yield good("huge-logits", "exp(1000) is beyond float64.", lost, fudged,
               logits=((1000.0, 0.0), (-1000.0, -997.0)), actions=(1, 0))
    yield good("both-ways", "Logits of 1000, 0 and −1000.", lost, fudged,
               logits=((1000.0, 0.0, -1000.0), (0.0, -1000.0, 1000.0)), actions=(2, 1))
    yield bad("index-too-large", "an action must be an index below A", base, actions=(0, 4, 1))
    yield bad("negative-index", "an action must be an index below A", base, actions=(0, -1, 1))
    yield bad("fractional-index", "an action must be an index", base, actions=(0.0, 1.5, 1.0))
    yield bad("rows-differ", "there must be an action a row", base, actions=(0, 1))
    yield bad("nan", "logits must be finite", base, logits=with_nan(base["logits"]))
# fmt: on


# fmt: off
@cases_of("categorical_entropy")
def categorical_entropy_cases() -> Iterator[Case]:
    base: Inputs = {"logits": numbers(3, 4, seed=7)}
    yield good("four-actions", "−Σ p log p.", **base)
    yield good("uniform", "log A, the most there is.", logits=((0.5, 0.5, 0.5),))
    fudged = "FudgedDenominator"
    lost = "UnderflowingDensity"
    yield good("rare", "Five probabilities near 1e-4.", fudged,
               logits=((0.5, -8.0, -8.5, -9.0, -7.75, -8.25),), dtypes=("f64",))
    yield good("nearly-sure", "A probability that underflows adds nothing.", lost, logits=((1.0, 0.0, -2000.0),))
    yield good("both-ways", "Logits of 1000, 0 and −1000: the first is certain.", lost,
               logits=((1000.0, 0.0, -1000.0),))
    yield good("two-of-three", "Two actions are as good, and the third is impossible.", lost,
               logits=((-1000.0, 5.0, 5.0), (0.0, -1500.0, 0.25)))
    yield bad("nan", "logits must be finite", base, logits=with_nan(base["logits"]))
    masked = with_nan(base["logits"], -math.inf)
    yield by_convention(bad("infinite", "logits must be finite", base, logits=masked))
    yield bad("flat", "logits must be (N, A)", base, logits=(0.5, 1.0, -0.25))
# fmt: on


# fmt: off
@cases_of("categorical_kl")
def categorical_kl_cases() -> Iterator[Case]:
    base: Inputs = {"logits_old": numbers(3, 4, seed=8), "logits_new": numbers(3, 4, seed=9)}
    flags = "SwappedKL", "KLMean"
    fudged = "FudgedDenominator"
    lost = "UnderflowingDensity"
    yield good("four-actions", "KL[old‖new].", *flags, **base)
    yield good("two-actions", "KL[old‖new].", *flags, logits_old=((0.0, 2.25),), logits_new=((1.0, 0.5),))
    yield good("shifted", "A constant added to all logits changes nothing.", *flags,
               logits_old=((0.0, 2.25), (1.0, 0.0)), logits_new=((9.0, 8.5), (-6.0, -4.25)))
    yield good("rare", "What was likely becomes rare: 1e-6 and 1e-9.", *flags, fudged,
               logits_old=((0.5, -0.25, 1.25),), logits_new=((0.75, -13.0, -20.0),))
    yield good("both-ways", "Logits of 1000, 0 and −1000.", *flags, fudged, lost,
               logits_old=((1000.0, 0.0, -1000.0), (0.5, 0.25, 0.0)),
               logits_new=((0.0, 750.0, -500.0), (1.0, 0.5, 2.0)))
    yield good("impossible-before", "An action that was impossible adds nothing.", "KLMean", lost,
               logits_old=((0.5, -2000.0, 1.25),), logits_new=((0.75, 0.125, -0.5),))
    yield bad("rows-differ", "both must be (N, A)", base, logits_new=base["logits_new"][:2])
    yield bad("nan", "logits_new must be finite", base, logits_new=with_nan(base["logits_new"]))
    yield bad("other-actions", "both must have as many actions", base, logits_new=numbers(3, 5, seed=9))
# fmt: on


def draw_policy(draw: Draw, names: Iterable[str], indices: bool = False) -> Inputs:
    """Means or logits (N, A), deviations (A,), and actions of their kind."""
    rows = draw.integer(1, 3)
    size = draw.integer(1, 3)

    def one(name: str) -> Any:
        if name == "actions" and indices:
            return draw.wholes(size - 1, rows)
        if name.startswith("log_std"):
            return draw.numbers(size)
        return draw.numbers(rows, size)

    return {name: one(name) for name in names}


draw_by_names(draw_policy, "gaussian_log_prob", "gaussian_entropy", "gaussian_kl")
draw_by_names(draw_policy, "categorical_log_prob", indices=True)
draw_by_names(draw_policy, "categorical_entropy", "categorical_kl")


# ---------------------------------------------------------------- family replay


@operation(
    "replay",
    "arraywise",
    measured=(0.0, 0.0),
    kinds={"observations": "arrays", "actions": "arrays"},
    formula="one row for each step t of each episode e, episodes one after another, steps in their order:\n"
    "  observations[row] = observations[e][t]\n"
    "  actions[row] = actions[e][t]\n"
    "  next_observations[row] = observations[e][t + 1]",
    outputs={
        "observations": ("(N, K)", "units of the observations"),
        "actions": ("(N, A)", "units of the actions"),
        "next_observations": ("(N, K)", "units of the observations"),
    },
    rules=(
        "N is the number of steps of all episodes.",
        "No row pairs two episodes, and no step is dropped.",
    ),
    inputs={
        "observations": {
            "shape": "a list of (T_e + 1, K)",
            "kind": "list of arrays",
            "domain": "finite; one array or more, one for each episode, of T_e + 1 rows",
            "meaning": "observations of each episode, the last one included",
        },
        "actions": {
            "shape": "a list of (T_e, A)",
            "kind": "list of arrays",
            "unit": "units of the actions",
            "domain": "finite; as many arrays as observations, of T_e rows",
            "meaning": "action of each step of each episode",
        },
    },
)
def replay_transitions(observations: list[Array], actions: list[Array]) -> Arrays:
    """Rows (s, a, s′) of `ReplayPool`, episode by episode, from (T + 1, K) observations and (T, A) actions."""
    if len(observations) == 0 or len(observations) != len(actions):
        raise ValueError(
            f"episodes must be as many in each list, got {len(observations)} and {len(actions)}"
        )

    # A pool large enough for all, filled episode by episode.
    capacity = sum(map(len, observations)) + 1
    pool = empty_pool(capacity, observations[0].shape[-1], actions[0].shape[-1])
    for seen, done in zip(observations, actions):
        bnn.check_finite("observations", seen)
        bnn.check_finite("actions", done)
        pool = pool.extend(seen[:-1], done, seen[1:])
    return {
        "observations": pool.observations,
        "actions": pool.actions,
        "next_observations": pool.next_observations,
    }


def empty_pool(capacity: int, num_observed: int, num_actions: int) -> ReplayPool:
    observations = np.zeros((0, num_observed))
    return ReplayPool(capacity, observations, np.zeros((0, num_actions)), observations)


@operation(
    "replay",
    "arraywise",
    measured=(1.1e-16, 8.9e-08),
    formula="center_k = (1/N)·Σ_n rows[n, k]\n"
    "scale_k = √((1/N)·Σ_n (rows[n, k] − center_k)²), or 1 if that is at most 1e-12·max_n |rows[n, k]|",
    outputs={
        "center": ("(K,)", "units of the rows"),
        "scale": ("(K,)", "units of the rows"),
    },
    rules=(
        "The divisor is N, not N − 1.",
        "Subtract the mean before squaring: the difference of two mean squares loses its digits.",
    ),
)
def input_statistics(rows: Array) -> Arrays:
    """Mean and standard deviation of each column of (N, K), as `Vime` computes them from its pool."""
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(f"rows must be (N, K) with N >= 1, got {rows.shape}")
    bnn.check_finite("rows", rows)
    no_actions = np.zeros((len(rows), 0))
    center, scale = vime.pool_statistics(
        ReplayPool(len(rows), rows, no_actions, rows), Box(-1.0, 1.0, (0,))
    )
    return {"center": center, "scale": scale}


@exact_form("input_statistics")
def exact_statistics(rows: Any) -> dict[str, Any]:
    """A column whose values are equal is divided by 1."""
    center = np.sum(rows, axis=0) / len(rows)
    variances = np.sum((rows - center) ** 2, axis=0) / len(rows)
    constant = [len(set(column)) == 1 for column in rows.T]
    scales = [1 if same else exact.sqrt(v) for same, v in zip(constant, variances)]
    return {"center": center, "scale": np.array(scales)}


@mistake("CrossEpisode", "replay_transitions")
def pairs_across_episodes(right: Function, given: Inputs) -> Arrays:
    """The pool holds (s, a) in time order and uses the next row as s′, also across episodes; the last row has none."""
    seen = np.concatenate([episode[:-1] for episode in given["observations"]])
    actions = np.concatenate(given["actions"])
    return {
        "observations": seen[:-1],
        "actions": actions[:-1],
        "next_observations": seen[1:],
    }


@mistake("CrossEpisode", "replay_transitions")
def pairs_across_episodes_but_the_last(right: Function, given: Inputs) -> Arrays:
    """The same, except that the very last row keeps its own s′."""
    rows = right(**given)
    following = np.concatenate(
        [rows["observations"][1:], rows["next_observations"][-1:]]
    )
    return {**rows, "next_observations": following}


@mistake("ActionShift", "replay_transitions")
def shifted_actions(right: Function, given: Inputs) -> Arrays:
    """(s_{t+1}, a_t) → s_{t+2} within each episode."""
    later = [episode[1:] for episode in given["observations"]]
    return right(
        observations=later, actions=[episode[:-1] for episode in given["actions"]]
    )


@mistake("ActionShift", "replay_transitions")
def actions_with_their_effects(right: Function, given: Inputs) -> Arrays:
    """(s_{t+1}, a_t) → s_{t+1}."""
    rows = right(**given)
    return {**rows, "observations": rows["next_observations"]}


@mistake("SampleVariance", "input_statistics")
def sample_statistics(right: Function, given: Inputs) -> Arrays:
    rows = given["rows"]
    statistics = right(**given)
    factor = np.sqrt(np.float64(len(rows)) / (len(rows) - 1))
    return {
        **statistics,
        "scale": np.where(np.ptp(rows, axis=0) > 0, factor, 1.0) * statistics["scale"],
    }


@mistake("ConstantColumns", "input_statistics")
def constant_columns_by_0(right: Function, given: Inputs) -> Arrays:
    statistics = right(**given)
    constant = np.ptp(given["rows"], axis=0) == 0.0
    return {**statistics, "scale": statistics["scale"] - constant}


@mistake("FudgedDenominator", "input_statistics")
def fudged_scales(right: Function, given: Inputs) -> Arrays:
    statistics = right(**given)
    return {**statistics, "scale": statistics["scale"] + 1e-8}


# fmt: off
@cases_of("replay_transitions")
def replay_transitions_cases() -> Iterator[Case]:
    def episodes(*lengths: int, seed: int) -> Inputs:
        observations = [numbers(length + 1, 3, seed=seed + length + i) for i, length in enumerate(lengths)]
        actions = [numbers(length, 2, seed=seed + 9 + length + i) for i, length in enumerate(lengths)]
        return {"observations": observations, "actions": actions}

    base = episodes(2, 3, seed=1)
    flags = ("CrossEpisode", "ActionShift")
    yield good("one-episode", "Every step with its own next observation.", "ActionShift", **episodes(4, seed=2))
    yield good("two-episodes", "No row pairs two episodes.", *flags, **base)
    yield good("three-episodes", "Episodes of two, four and two steps.", *flags, **episodes(2, 4, 2, seed=3))
    seen = base["observations"]
    done = base["actions"]
    yield bad(
        "as-many-actions",
        "an episode has one observation more than actions",
        base,
        observations=[seen[0][:-1], seen[1]],
    )
    yield bad("too-few-episodes", "there must be actions for each episode", base, actions=done[:1])
    yield bad("nan", "observations must be finite", base, observations=[with_nan(seen[0]), seen[1]])
# fmt: on


@draw_of("replay_transitions")
def draw_replay_transitions(draw: Draw) -> Inputs:
    observed = draw.integer(1, 2)
    acted = draw.integer(1, 2)
    lengths = [draw.integer(2, 4) for _ in range(draw.integer(1, 3))]
    return {
        "observations": [draw.numbers(length + 1, observed) for length in lengths],
        "actions": [draw.numbers(length, acted) for length in lengths],
    }


# fmt: off
@cases_of("input_statistics")
def input_statistics_cases() -> Iterator[Case]:
    base: Inputs = {"rows": numbers(5, 3, seed=1)}
    constant = "ConstantColumns"
    far = 1e8 + np.array([[0.0, 1.5], [-1.25, 0.5], [2.0, -2.25], [0.125, 1.0]])
    yield good("five-rows", "Mean and population standard deviation.", "SampleVariance", **base)
    yield good("constant-column", "A column that never varied is divided by 1.", "SampleVariance", constant,
               rows=((1.0, 0.1, 2.0), (3.0, 0.1, -1.0), (2.5, 0.1, 0.5)))
    yield good("one-row", "One row never varied.", constant, rows=((1.5, -2.0),))
    yield good("far-away", "Columns near 1e8 whose deviation is near 1.", "SampleVariance", dtypes=("f64",), rows=far)
    yield good("narrow", "Deviations of 1e-7 and 1e-9 are those of columns that vary.", "FudgedDenominator",
               rows=((1e-7, 2e-9), (-2.5e-7, 1e-9), (3e-8, -3e-9)))
    yield good("narrower", "Deviations near 1e-9.", "FudgedDenominator", "SampleVariance",
               rows=((3e-9, 2e-9, 0.0), (-2.5e-9, 7e-9, 1e-9), (3e-9, -3e-9, 4e-9), (1e-9, 0.0, 2.5e-9)))
    yield good("narrow-and-constant", "A deviation of 1e-8 beside a constant.", constant,
               rows=((1e-8, 3.0), (-2.5e-8, 3.0), (2e-8, 3.0), (0.0, 3.0)))
    yield bad("no-rows", "there must be a row", base, rows=())
    yield bad("nan", "rows must be finite", base, rows=with_nan(base["rows"]))
    yield bad("infinite", "rows must be finite", base, rows=with_nan(base["rows"], math.inf))
    yield bad("flat", "rows must be (N, K)", base, rows=(0.5, 1.0))
# fmt: on


@draw_of("input_statistics")
def draw_input_statistics(draw: Draw) -> Inputs:
    return {"rows": draw.numbers(draw.integer(1, 4), draw.integer(1, 3))}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

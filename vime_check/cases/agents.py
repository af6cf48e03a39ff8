"""Operations of the agent: curiosity rewards, returns and advantages, policies, replay.

Axes and units as in `vime_ref` and `agents_ref`, which compute the results.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box

import agents_ref as agents
import bnn_ref as bnn
import vime_ref as vime
from bnn_ref import Array
from vime_check import exact
from vime_check.cases.networks import lost_to_fudge, lost_to_fudged_log
from vime_check.operations import (
    Case,
    Draw,
    Function,
    bad,
    by_convention,
    cases_of,
    draw_by_names,
    draw_of,
    exact_form,
    good,
    intermediates_of,
    mistake,
    numbers,
    operation,
    register,
    with_nan,
)
from vime_check.wire import Arrays, Inputs, Kinds
from vime_ref import ReplayPool

# ---------------------------------------------------------------- constants

ENDS: Kinds = {"terminated": "flags", "truncated": "flags"}  # of episodes

# ---------------------------------------------------------------- families normalize and returns


@operation(
    "normalize",
    "elementwise",
    measured=(0.0, 3.7e-08),
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
    measured=(0.0, 7.3e-08),
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
    measured=(0.0, 2.9e-08),
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


@mistake("FilterReplacesReward", "curious_rewards")
def bonus_alone(right: Function, given: Inputs) -> Array:
    return given["eta"] * given["gains"]


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


# fmt: off
@cases_of("normalize_gains")
def normalize_gains_cases() -> Iterator[Case]:
    base: Inputs = {"gains": (0.5, 2.0, 1.5), "history": (1.0, 3.0), "window": 10}
    base |= {"statistic": "median", "include_current": True}
    yield good("first-batch", "The batch's own median divides it.", "InputMutation", **base | {"history": ()})
    yield good("later-batch", "The mean of the medians, this one's included.", "InputMutation", **base)
    yield good(
        "without-current", "The mean of the medians before.", "InputMutation", **base | {"include_current": False}
    )
    yield good("nothing-before", "An empty history divides by 1.", **base | {"history": (), "include_current": False})
    yield good("window", "Only the last two medians count.", **base | {"history": (8.0, 16.0, 4.0), "window": 2})
    yield good("mean", "The mean in place of the median.", **base | {"statistic": "mean", "gains": (0.5, 2.0, 6.5)})
    yield good(
        "even-count", "The median of four is the mean of the middle two.", **base | {"gains": (4.0, 1.0, 2.0, 8.0)}
    )
    yield good("zero-median", "The mean stands for a median of 0.", **base | {"gains": (0.0, 0.0, 6.0)})
    yield good("zeros", "A batch of zeros does not enter the history.", **base | {"gains": (0.0, 0.0)})
    yield bad("nan", "gains must be finite", base, gains=(0.5, math.nan))
    yield bad("infinite", "gains must be finite", base, gains=(math.inf, 1.0))
    yield bad("negative", "gains must be >= 0", base, gains=(-1.0, 2.0))
    yield bad("no-gains", "there must be a gain", base, gains=())
    yield bad("window-zero", "window must be >= 1", base, window=0)
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
    base: Inputs = {"rewards": (0.0, 1.0, -0.5), "gains": (2.0, 4.0, 0.25), "eta": 0.5}
    flags = "FilterReplacesReward", "InputMutation"
    yield good("half", "r + η·gain.", *flags, **base)
    yield good("original-eta", "η = 1e-4, the original's.", *flags, **base | {"eta": 1e-4})
    yield good("no-curiosity", "With η = 0 the reward stays as it is.", *flags, **base | {"eta": 0.0})
    yield by_convention(bad("negative-eta", "eta must be >= 0", base, eta=-0.1))
    yield bad("nan-eta", "eta must be finite", base, eta=math.nan)
    yield bad("nan-reward", "rewards must be finite", base, rewards=(0.0, math.nan, 1.0))
    yield bad("lengths-differ", "gains must be as many as rewards", base, gains=(2.0, 4.0))
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
    base: Inputs = {"rewards": (1.0, 0.0, 2.0, -1.0), "gamma": 0.5, "last_value": 0.0}
    yield good("terminal", "Nothing follows the last reward.", **base)
    yield good(
        "bootstrapped", "The value behind the cut counts.", "TruncationAsTermination", **base | {"last_value": 4.0}
    )
    yield good("undiscounted", "γ = 1 sums.", "TruncationAsTermination", **base | {"gamma": 1.0, "last_value": 0.5})
    yield good("myopic", "γ = 0 leaves the rewards.", **base | {"gamma": 0.0, "last_value": 4.0})
    yield good("original-gamma", "γ = 0.99.", "TruncationAsTermination", **base | {"gamma": 0.99, "last_value": 10.0})
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


# fmt: off
@cases_of("gae_advantages")
def gae_advantages_cases() -> Iterator[Case]:
    no = np.zeros(5, dtype=bool)
    end = np.array([False, False, True, False, False])
    base: Inputs = {"rewards": (1.0, 0.0, 2.0, -1.0, 0.5), "values": (0.5, 1.0, -0.5, 2.0, 1.5)}
    base |= {"next_values": (1.0, -0.5, 4.0, 1.5, 3.0), "terminated": no, "truncated": no, "gamma": 0.75, "lam": 0.5}
    last = np.array([False, False, False, False, True])
    cut = "TruncationAsTermination"
    yield good("one-segment", "Cut by the end of sampling.", cut, **base | {"truncated": last})
    yield good("terminated", "Behind a terminal state there is nothing.", **base | {"terminated": end | last})
    yield good("truncated", "Behind a time limit the value counts, the trace does not.", cut,
               **base | {"truncated": end | last})
    yield good(
        "both-kinds", "One episode ends, the other is cut.", cut, **base | {"terminated": end, "truncated": last}
    )
    yield good("monte-carlo", "λ = 1, γ = 0.99.", cut, **base | {"lam": 1.0, "gamma": 0.99, "truncated": end | last})
    yield good("one-step", "λ = 0 leaves the temporal differences.", cut, **base | {"lam": 0.0, "truncated": last})
    yield bad("gamma-above-1", "gamma must be from 0 to 1", base, gamma=1.5)
    yield bad("negative-lam", "lam must be from 0 to 1", base, lam=-0.25)
    yield bad("lengths-differ", "all must have T rows", base, next_values=(1.0, 2.0))
    yield bad("nan-value", "values must be finite", base, values=(0.5, 1.0, math.nan, 2.0, 1.5))
# fmt: on


@draw_of("gae_advantages")
def draw_gae_advantages(draw: Draw) -> Inputs:
    steps = draw.integer(1, 4)
    path: Inputs = {
        name: draw.numbers(steps) for name in ("rewards", "values", "next_values")
    }
    path |= {name: draw.booleans(steps) for name in ("terminated", "truncated")}
    return {**path, "gamma": draw.fraction(), "lam": draw.fraction()}


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
    measured=(2.7e-16, 2.7e-08),
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
    measured=(0.0, 6.8e-08),
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
    measured=(3.1e-16, 1.3e-07),
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
    measured=(2.1e-16, 1.4e-07),
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


@mistake("VarianceAsSigma", "gaussian_log_prob", "gaussian_entropy", "gaussian_kl")
def doubled_log_std(right: Function, given: Inputs) -> Array:
    return right(
        **{
            name: 2.0 * value if "log_std" in name else value
            for name, value in given.items()
        }
    )


@mistake("VarianceAsSigma", "gaussian_log_prob", "gaussian_entropy", "gaussian_kl")
def halved_log_std(right: Function, given: Inputs) -> Array:
    return right(
        **{
            name: 0.5 * value if "log_std" in name else value
            for name, value in given.items()
        }
    )


@mistake("UnnormalisedLogDensity", "gaussian_log_prob")
def log_prob_without_half(right: Function, given: Inputs) -> Array:
    moves = (given["actions"] - given["mean"]) / np.exp(given["log_std"])
    return right(**given) - 0.5 * np.sum(moves**2, axis=-1)


@mistake("UnnormalisedLogDensity", "gaussian_log_prob")
def log_prob_without_log_sigma(right: Function, given: Inputs) -> Array:
    return right(**given) + np.sum(given["log_std"])


@mistake("SwappedKL", "gaussian_kl", "categorical_kl")
def swapped_policies(right: Function, given: Inputs) -> Array:
    other = {"old": "new", "new": "old"}
    return right(
        **{name[:-3] + other[name[-3:]]: value for name, value in given.items()}
    )


@mistake("DroppedConstant", "gaussian_kl")
def policy_kl_of_the_slide(right: Function, given: Inputs) -> Array:
    return right(**given) + 0.5 * len(given["log_std_old"])


@mistake("KLMean", "gaussian_kl")
def mean_policy_kl(right: Function, given: Inputs) -> Array:
    return right(**given) / len(given["log_std_old"])


@mistake("FudgedDenominator", "gaussian_kl")
def fudged_policy_kl(right: Function, given: Inputs) -> Array:
    old = np.exp(given["log_std_old"])
    new = np.exp(given["log_std_new"])
    return right(**given) - lost_to_fudge(
        given["mean_old"], old, given["mean_new"], new
    )


@mistake("FudgedDenominator", "gaussian_kl")
def policy_kl_with_fudged_log(right: Function, given: Inputs) -> Array:
    old = np.exp(given["log_std_old"])
    new = np.exp(given["log_std_new"])
    return right(**given) - lost_to_fudged_log(
        given["mean_old"], old, given["mean_new"], new
    )


# fmt: off
@cases_of("gaussian_log_prob")
def gaussian_log_prob_cases() -> Iterator[Case]:
    base: Inputs = {"mean": numbers(3, 2, seed=1), "log_std": (-0.5, 0.75), "actions": numbers(3, 2, seed=2)}
    flags = "VarianceAsSigma", "UnnormalisedLogDensity"
    yield good("three-rows", "Summed over action dimensions, (N,).", *flags, **base)
    yield good("one-dimension", "One action dimension.", *flags,
               mean=((0.5,), (-1.0,)), log_std=(0.25,), actions=((1.0,), (2.0,)))
    yield bad("rows-differ", "actions must be (N, A)", base, actions=numbers(2, 2, seed=2))
    yield bad("log-std-of-other-size", "log_std must be (A,)", base, log_std=(0.0,))
    yield bad("nan-action", "actions must be finite", base, actions=with_nan(base["actions"]))
# fmt: on


# fmt: off
@cases_of("gaussian_entropy")
def gaussian_entropy_cases() -> Iterator[Case]:
    base: Inputs = {"mean": numbers(2, 2, seed=3), "log_std": (-0.5, 0.75)}
    yield good("two-dimensions", "½ log(2πe σ²), summed; the mean does not matter.", "VarianceAsSigma", **base)
    yield good(
        "narrow", "A sharp policy has a negative entropy.", "VarianceAsSigma", **base | {"log_std": (-3.0, -2.5)}
    )
    yield bad("nan", "log_std must be finite", base, log_std=(0.0, math.nan))
    yield bad("log-std-of-other-size", "log_std must be (A,)", base, log_std=(0.0, 0.0, 0.0))
# fmt: on


# fmt: off
@cases_of("gaussian_kl")
def gaussian_kl_cases() -> Iterator[Case]:
    base: Inputs = {"mean_old": numbers(3, 2, seed=4), "log_std_old": (-0.5, 0.75)}
    base |= {"mean_new": numbers(3, 2, seed=5), "log_std_new": (0.25, 0.5)}
    flags = "SwappedKL", "DroppedConstant", "KLMean", "VarianceAsSigma"
    yield good("three-rows", "KL[old‖new], (N,).", *flags, **base)
    yield good("three-dimensions", "KL[old‖new] of one row.", *flags, mean_old=((0.0, 1.0, 0.5),),
               log_std_old=(0.5, -1.0, 0.0), mean_new=((0.5, 0.5, 0.5),), log_std_new=(0.0, -0.5, 1.0))
    yield good("equal", "0 where nothing changed.", "DroppedConstant",
               **base | {"mean_new": base["mean_old"], "log_std_new": base["log_std_old"]})
    narrow: Inputs = {"mean_old": ((1e-4, 0.0),), "mean_new": ((0.0, 1e-4),)}
    yield good("narrow", "Standard deviations near 1e-4.", "FudgedDenominator",
               **narrow, log_std_old=(-9.0, -10.0), log_std_new=(-9.5, -9.0))
    yield good("narrower", "Standard deviations near 1e-5.", "FudgedDenominator",
               **narrow, log_std_old=(-11.0, -12.0), log_std_new=(-11.5, -11.0))
    yield bad("rows-differ", "both means must be (N, A)", base, mean_new=numbers(2, 2, seed=5))
    yield bad("nan", "mean_old must be finite", base, mean_old=with_nan(base["mean_old"]))
    yield bad("log-std-of-other-size", "log_std must be (A,)", base, log_std_new=(0.0, 0.0, 0.0))
# fmt: on


# fmt: off
@cases_of("categorical_log_prob")
def categorical_log_prob_cases() -> Iterator[Case]:
    base: Inputs = {"logits": numbers(3, 4, seed=6), "actions": (0, 3, 1)}
    yield good("four-actions", "The logit less the logsumexp of its row.", **base)
    yield good("uniform", "−log A.", logits=((2.0, 2.0, 2.0),), actions=(1,))
    yield good("huge-logits", "exp(1000) is beyond float64.", logits=((1000.0, 0.0), (-1000.0, -998.0)), actions=(1, 0))
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
    yield good("nearly-sure", "A probability that underflows adds nothing.", logits=((1.0, 0.0, -2000.0),))
    yield bad("nan", "logits must be finite", base, logits=with_nan(base["logits"]))
    masked = with_nan(base["logits"], -math.inf)
    yield by_convention(bad("infinite", "logits must be finite", base, logits=masked))
# fmt: on


# fmt: off
@cases_of("categorical_kl")
def categorical_kl_cases() -> Iterator[Case]:
    base: Inputs = {"logits_old": numbers(3, 4, seed=8), "logits_new": numbers(3, 4, seed=9)}
    yield good("four-actions", "KL[old‖new].", "SwappedKL", **base)
    yield good("two-actions", "KL[old‖new].", "SwappedKL", logits_old=((0.0, 2.0),), logits_new=((1.0, 0.5),))
    yield good("shifted", "A constant added to all logits changes nothing.", "SwappedKL",
               logits_old=((0.0, 2.0), (1.0, 0.0)), logits_new=((9.0, 8.5), (-6.0, -4.0)))
    yield bad("rows-differ", "both must be (N, A)", base, logits_new=base["logits_new"][:2])
    yield bad("nan", "logits_new must be finite", base, logits_new=with_nan(base["logits_new"]))
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
    measured=(0.0, 3.7e-08),
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


# fmt: off
@cases_of("replay_transitions")
def replay_transitions_cases() -> Iterator[Case]:
    def episodes(*lengths: int, seed: int) -> Inputs:
        observations = [numbers(length + 1, 2, seed=seed + length + i) for i, length in enumerate(lengths)]
        actions = [numbers(length, 1, seed=seed + 9 + length + i) for i, length in enumerate(lengths)]
        return {"observations": observations, "actions": actions}

    base = episodes(2, 3, seed=1)
    flags = ("CrossEpisode", "ActionShift")
    yield good("one-episode", "Every step with its own next observation.", "ActionShift", **episodes(3, seed=2))
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
    base: Inputs = {"rows": numbers(4, 2, seed=1)}
    yield good("four-rows", "Mean and population standard deviation.", "SampleVariance", **base)
    yield good("constant-column", "A column that never varied is divided by 1.", "SampleVariance",
               rows=((1.0, 0.1, 2.0), (3.0, 0.1, -1.0), (2.5, 0.1, 0.5)))
    yield good("one-row", "One row never varied.", rows=((1.5, -2.0),))
    yield bad("no-rows", "there must be a row", base, rows=())
    yield bad("nan", "rows must be finite", base, rows=with_nan(base["rows"]))
    yield bad("infinite", "rows must be finite", base, rows=with_nan(base["rows"], math.inf))
# fmt: on


@draw_of("input_statistics")
def draw_input_statistics(draw: Draw) -> Inputs:
    return {"rows": draw.numbers(draw.integer(1, 4), draw.integer(1, 3))}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

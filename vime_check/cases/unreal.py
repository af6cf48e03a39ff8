"""Operations of UNREAL: pseudo-rewards, n-step targets, dueling head, reward prediction and its windows, LSTM.

Axes and units as in `vime_lecture.unreal`, which computes the results.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_ref import Array
from vime_check import exact
from vime_check.operations import (
    ENDS,
    Case,
    Draw,
    Function,
    bad,
    cases_of,
    draw_of,
    exact_form,
    formula,
    good,
    mistake,
    numbers,
    operation,
    register,
)
from vime_check.wire import Arrays, Inputs
from vime_lecture import unreal
from vime_lecture.unreal import Flags, Rows

# ---------------------------------------------------------------- building blocks


def film(*shape: int, seed: int) -> NDArray[np.uint8]:
    """Well-mixed bytes."""
    return (64.0 * numbers(*shape, seed=seed) + 128.0).clip(0, 255).astype(np.uint8)


def no_yes(*flags: int) -> Flags:
    return np.array(flags, dtype=bool)


def crossing(ended: Flags, frames: int) -> Flags:
    """Windows of three rows of which only this many must belong to one episode."""
    fits = np.zeros(ended.shape, dtype=bool)
    fits[2:] = True
    if frames == 2:
        fits[2:] = ~ended[1:-1]
    return fits


def draw_windows(given: Inputs, fits: Flags) -> Rows:
    """`sample_reward_windows` from these windows."""
    if not fits.any():
        return np.argwhere(fits)
    rewards = given["rewards"]
    coins = given["coins"]
    places = given["places"]

    # Windows with a nonzero reward, and without.
    paid = np.argwhere(fits & (rewards != 0))
    unpaid = np.argwhere(fits & (rewards == 0))
    kinds = [
        paid if (coin < 0.5 and len(paid)) or not len(unpaid) else unpaid
        for coin in coins
    ]
    return np.array(
        [kind[int(place * len(kind))] for kind, place in zip(kinds, places)]
    )


# ---------------------------------------------------------------- pseudo-rewards


register(
    "unreal",
    "elementwise",
    unreal.pixel_control_rewards,
    measured=(1.9e-16, 1.2e-07),
    kinds={"observations": "bytes"},
    formula="r[t, i, j] = mean of |o[t + 1, y, x, k] − o[t, y, x, k]| over cell (i, j) and all channels k\n"
    "cell (i, j) holds the rows y = i·c … (i + 1)·c − 1\n"
    "and the columns x = j·c … (j + 1)·c − 1, with c = cell_size",
    outputs={"": ("(T, H/c, W/c)", "units of the pixels")},
    rules=(
        "Subtract as signed numbers: bytes would wrap around.",
        "The mean is over c·c·C numbers.",
    ),
    inputs={
        "observations": {
            "shape": "(T + 1, H, W, C)",
            "kind": "bytes",
            "unit": "units of the pixels",
            "domain": "finite; T, H, W and C ≥ 1",
            "meaning": "images of one episode, of height H, width W and C channels",
        }
    },
)


@exact_form("pixel_control_rewards")
def exact_pixel_control_rewards(observations: Any, cell_size: int) -> Any:
    images = observations.astype(object)
    changes = abs(images[1:] - images[:-1])
    _, height, width, _ = images.shape
    means = [
        cell.sum() / (exact.one() * cell.size)
        for change in changes
        for strip in np.split(change, height // cell_size)
        for cell in np.split(strip, width // cell_size, axis=1)
    ]
    shape = len(changes), height // cell_size, width // cell_size
    return np.array(means).reshape(shape)  # (T, H/c, W/c)


register(
    "unreal",
    "elementwise",
    unreal.feature_control_rewards,
    measured=(0.0, 0.0),
    formula="r[t, g] = activations[t + 1, g]",
    outputs={"": ("(T, G)", "units of the activations")},
    rules=("The reward is the activation after the step, not its change.",),
)


@exact_form("feature_control_rewards")
def exact_feature_control_rewards(activations: Any) -> Any:
    return np.array(list(activations)[1:])


@mistake("WrappingBytes", "pixel_control_rewards")
def changes_of_bytes(right: Function, given: Inputs) -> Array:
    images = given["observations"]
    return unreal.cell_means(np.abs(images[1:] - images[:-1]), given["cell_size"]).mean(
        axis=-1
    )


@mistake("CellSum", "pixel_control_rewards")
def sum_of_a_cell(right: Function, given: Inputs) -> Array:
    return sum_over_pixels(right, given) * given["observations"].shape[-1]


@mistake("CellSum", "pixel_control_rewards")
def sum_over_pixels(right: Function, given: Inputs) -> Array:
    return right(**given) * given["cell_size"] ** 2


@mistake("FeatureChange", "feature_control_rewards")
def changes_of_activations(right: Function, given: Inputs) -> Array:
    units = given["activations"]
    before = np.concatenate([units[:1], units[:-1]])  # the first row has none
    return np.abs(right(activations=units) - right(activations=before))


# fmt: off
@cases_of("pixel_control_rewards")
def pixel_control_cases() -> Iterator[Case]:
    base: Inputs = {"observations": film(5, 4, 6, 3, seed=1), "cell_size": 2}
    wraps = "WrappingBytes"
    total = "CellSum"
    yield good("six-cells", "mean |o' − o| over pixels and channels of each cell of 2 by 2.", wraps, total, **base)
    yield good("two-pixels", "From 3 to 0 is 3, not 253.", wraps, cell_size=1,
               observations=np.array([[[[3], [0]]], [[[0], [2]]]], dtype=np.uint8))
    yield good("black-and-white", "255 each way.", wraps, cell_size=1,
               observations=np.array([[[[0], [255]]], [[[255], [0]]], [[[0], [255]]]], dtype=np.uint8))
    yield good("one-cell", "One cell has the mean change of the whole image.", wraps, total,
               observations=film(3, 5, 5, 2, seed=5), cell_size=5)
    yield good("pixels", "Cells of one pixel: the mean over its channels.", wraps,
               observations=film(2, 2, 3, 4, seed=6), cell_size=1)
    yield good("tall", "Twice as high as wide: rows are no columns.", wraps, total,
               observations=film(2, 6, 3, 2, seed=2), cell_size=3)
    yield good("fractions", "Pixels may be any numbers.", total, observations=numbers(3, 2, 4, 2, seed=3), cell_size=2)
    yield good("still", "Where nothing moves nothing is paid.", observations=np.full((3, 2, 2, 1), 7, dtype=np.uint8),
               cell_size=2)
    yield bad("one-image", "there must be a step", base, observations=base["observations"][:1])
    yield bad("grey", "observations must be (T+1, H, W, C)", base, observations=base["observations"][..., 0])
    yield bad("height", "the height must be a multiple of cell_size", base, observations=film(2, 3, 6, 3, seed=4))
    yield bad("width", "the width must be a multiple of cell_size", base, observations=film(2, 4, 5, 3, seed=4))
    yield bad("cell-zero", "cell_size must be >= 1", base, cell_size=0)
    yield bad("fractional-cell", "cell_size must be a whole number", base, cell_size=0.5)
    nan = numbers(3, 2, 4, 2, seed=3)
    nan[1, 1, 2, 0] = math.nan
    yield bad("nan", "observations must be finite", base, observations=nan)
# fmt: on


@draw_of("pixel_control_rewards")
def draw_pixel_control_rewards(draw: Draw) -> Inputs:
    cell = draw.integer(1, 2)
    channels = draw.integer(1, 2)
    height = cell * draw.integer(1, 2)
    width = cell * draw.integer(1, 2)
    return {
        "observations": draw.wholes(255, draw.integer(2, 3), height, width, channels),
        "cell_size": cell,
    }


# fmt: off
@cases_of("feature_control_rewards")
def feature_control_cases() -> Iterator[Case]:
    base: Inputs = {"activations": ((0.0, 1.25), (0.625, -1.5), (2.0, 0.375), (1.125, -0.25))}
    flag = "FeatureChange"
    yield good("two-units", "The activations after each step, of any sign.", flag, **base)
    yield good("one-step", "One step, one unit.", flag, activations=((0.25,), (0.875,)))
    yield good("constant", "A unit that stays active is paid.", flag, activations=((0.5, 0.0),) * 3)
    yield good("silent", "A unit that is not active is not paid.", activations=((0.0,), (0.0,)))
    yield bad("one-row", "there must be a step", base, activations=((0.0, 1.0),))
    yield bad("flat", "activations must be (T+1, G)", base, activations=(0.0, 1.0))
    yield bad("nan", "activations must be finite", base, activations=((0.0,), (math.nan,)))
# fmt: on


@draw_of("feature_control_rewards")
def draw_feature_control_rewards(draw: Draw) -> Inputs:
    return {"activations": draw.numbers(draw.integer(2, 4), draw.integer(1, 3))}


# ---------------------------------------------------------------- targets


register(
    "unreal",
    "arraywise",
    unreal.n_step_returns,
    measured=(8.5e-17, 5.9e-08),
    kinds=ENDS,
    formula="V_t = next_values_t\n"
    "R_t = rewards_t + γ·C_t\n"
    "C_t = 0 if terminated_t, else V_t if truncated_t or t = T − 1, else R_{t+1}",
    outputs={"": ("the shape of rewards", "reward")},
    rules=(
        "A flag holds for all further axes of rewards: one for each environment, or for all cells.",
        "If both flags are set, the row is terminal.",
        "The last row bootstraps unless it is terminated, also without a flag.",
    ),
    inputs={
        "rewards": {"shape": "(T, ...), T ≥ 1"},
        "next_values": {"shape": "(T, ...)", "domain": "the shape of rewards"},
        "terminated": {"shape": "(T, ...), the first axes of rewards"},
        "truncated": {"shape": "(T, ...), the first axes of rewards"},
    },
)


@exact_form("n_step_returns")
def exact_n_step_returns(
    rewards: Any, next_values: Any, terminated: Flags, truncated: Flags, gamma: Any
) -> Any:
    """Σ γᵏ r_{t+k} to the end of the episode or rows, plus the bootstrap value there, row by row."""
    totals = np.empty(rewards.shape, dtype=object)
    for place in np.ndindex(rewards.shape):
        t, *others = place

        # The flags of this environment, and the last row of the episode.
        over, cut = (
            flags[(slice(None), *others[: flags.ndim - 1])]
            for flags in (terminated, truncated)
        )
        ends = [k for k in range(t, len(rewards)) if over[k] or cut[k]]
        last = ends[0] if ends else len(rewards) - 1

        # The rewards up to there, and the value beyond.
        steps = range(t, last + 1)
        total = sum(gamma ** (k - t) * rewards[(k, *others)] for k in steps)
        value = gamma ** (last - t + 1) * next_values[(last, *others)]
        totals[place] = total + (0 if over[last] else value)
    return totals


register(
    "unreal",
    "arraywise",
    unreal.n_step_q_targets,
    measured=(0.0, 0.0),
    kinds=ENDS,
    formula="V_t = max_a next_q_values[t, ..., a]\n"
    "R_t = rewards_t + γ·C_t\n"
    "C_t = 0 if terminated_t, else V_t if truncated_t or t = T − 1, else R_{t+1}",
    outputs={"": ("the shape of rewards", "reward")},
    rules=(
        "A flag holds for all further axes of rewards: one for each environment, or for all cells.",
        "If both flags are set, the row is terminal.",
        "The last row bootstraps unless it is terminated, also without a flag.",
    ),
    inputs={
        "terminated": {"shape": "(T, ...), the first axes of rewards"},
        "truncated": {"shape": "(T, ...), the first axes of rewards"},
        "rewards": {"shape": "(T, ...), T ≥ 1"},
    },
)


@exact_form("n_step_q_targets")
def exact_n_step_q_targets(
    rewards: Any, next_q_values: Any, terminated: Flags, truncated: Flags, gamma: Any
) -> Any:
    best = np.max(next_q_values, axis=-1)  # (T, ...)
    return exact_n_step_returns(rewards, best, terminated, truncated, gamma)


register(
    "unreal",
    "arraywise",
    unreal.dueling,
    measured=(1.3e-16, 4.8e-08),
    formula="Q[..., a] = values[...] + advantages[..., a] − (1/A)·Σ_b advantages[..., b]",
    outputs={"": ("(..., A)", "reward")},
    inputs={"values": {"shape": "(...)", "meaning": "V of each state"}},
)


@exact_form("dueling")
def exact_dueling(values: Any, advantages: Any) -> Any:
    means = advantages.sum(axis=-1) / advantages.shape[-1]
    return advantages + (values - means)[..., None]  # (..., A)


register(
    "unreal",
    "elementwise",
    unreal.control_loss,
    measured=(0.0, 2.7e-08),
    kinds={"actions": "wholes"},
    formula="loss = (1/T)·Σ_t Σ_g ½·(targets[t, g] − q_values[t, g, actions[t]])²",
    outputs={"": ("()", "reward²")},
    rules=("The mean is over steps, the sum over the G controls.",),
    inputs={
        "targets": {
            "shape": "(T, G)",
            "unit": "reward",
            "meaning": "target of each control",
            "domain": "one for each step and control",
        },
        "actions": {
            "shape": "(T,)",
            "meaning": "action of each step",
            "kind": "whole numbers",
            "unit": "index",
            "domain": "from 0 to A − 1; one for each step",
        },
        "q_values": {
            "shape": "(T, G, A)",
            "domain": "T, G and A ≥ 1",
            "meaning": "Q of each action, for each step and control",
        },
    },
)


@exact_form("control_loss")
def exact_control_loss(q_values: Any, actions: Array, targets: Any) -> Any:
    off = [targets[n] - q_values[n, :, int(action)] for n, action in enumerate(actions)]
    return sum(sum(each**2) for each in off) / (2 * len(off))


TARGETS = "n_step_returns", "n_step_q_targets"


@mistake("BootstrapAtTerminal", *TARGETS)
def returns_beyond_the_end(right: Function, given: Inputs) -> Array:
    over = given["terminated"]
    cut = given["truncated"]
    return right(**given | {"terminated": over & ~over, "truncated": over | cut})


@mistake("TruncationAsTermination", *TARGETS)
def returns_cut_at_a_time_limit(right: Function, given: Inputs) -> Array:
    return right(**given | {"terminated": given["terminated"] | given["truncated"]})


@mistake("WindowCrossing", *TARGETS)
def returns_of_two_episodes(right: Function, given: Inputs) -> Array:
    no = np.zeros_like(given["terminated"])
    return right(**given | {"terminated": no, "truncated": no})


@mistake("TerminalDropped", *TARGETS)
def returns_before_the_terminal_action(right: Function, given: Inputs) -> Array:
    """The row before a terminal one is the last, and bootstraps the value of the state of the terminal action."""
    over = kept_axis(given)
    before = np.append(over[1:], False)
    return right(**rows_of(given | {"truncated": given["truncated"] | before}, ~over))


@mistake("TerminalDropped", *TARGETS)
def returns_without_terminal_rows(right: Function, given: Inputs) -> Array:
    """The same, except that the state of the terminal action has the value 0."""
    over = kept_axis(given)
    before = np.append(over[1:], False)
    return right(**rows_of(given | {"terminated": before}, ~over))


@mistake("TerminalDropped", *TARGETS)
def returns_without_terminal_rewards(right: Function, given: Inputs) -> Array:
    rewards = given["rewards"]
    over = given["terminated"]
    kept = ~over.reshape(*over.shape, *(1,) * (rewards.ndim - over.ndim))
    return right(**given | {"rewards": rewards * kept})


def kept_axis(given: Inputs) -> Flags:
    """The terminal rows, (T,). Raises ValueError if each environment has its own."""
    over: Flags = given["terminated"]
    if over.ndim > 1:
        raise ValueError("environments have other rows left")
    return over


def rows_of(given: Inputs, kept: Flags) -> Inputs:
    """The inputs of some rows."""
    return {
        name: each if name == "gamma" else each[kept] for name, each in given.items()
    }


@mistake("FilterAxis", "n_step_returns")
def returns_along_environments(right: Function, given: Inputs) -> Array:
    turned = {
        name: np.swapaxes(value, 0, 1)
        for name, value in given.items()
        if name != "gamma"
    }
    return np.swapaxes(right(**turned, gamma=given["gamma"]), 0, 1)


@mistake("UncentredAdvantages", "dueling")
def advantages_as_they_are(right: Function, given: Inputs) -> Array:
    return right(**given) + np.mean(given["advantages"], axis=-1, keepdims=True)


@mistake("UncentredAdvantages", "dueling")
def advantages_less_one_mean(right: Function, given: Inputs) -> Array:
    return advantages_as_they_are(right, given) - np.mean(given["advantages"])


@mistake("UncentredAdvantages", "dueling")
def advantages_less_the_best(right: Function, given: Inputs) -> Array:
    best = np.max(given["advantages"], axis=-1, keepdims=True)
    return advantages_as_they_are(right, given) - best


@mistake("ControlMean", "control_loss")
def loss_of_a_cell(right: Function, given: Inputs) -> Array:
    return right(**given) / given["q_values"].shape[1]


@mistake("MissingHalf", "control_loss")
def loss_without_half(right: Function, given: Inputs) -> Array:
    return 2.0 * right(**given)


def path(name: str, *axes: int) -> Inputs:
    """Seven steps without an end; `name` is the input that is bootstrapped."""
    rewards = numbers(7, *axes[: len(axes) - (name == "next_q_values")], seed=11)
    no = np.zeros(7, dtype=bool)
    return {
        "rewards": rewards,
        name: numbers(7, *axes, seed=12),
        "terminated": no,
        "truncated": no,
        "gamma": 0.75,
    }


# fmt: off
def bad_paths(base: Inputs) -> Iterator[Case]:
    yield bad("gamma-above-1", "gamma must be from 0 to 1", base, gamma=1.25)
    yield bad("negative-gamma", "gamma must be from 0 to 1", base, gamma=-0.5)
    yield bad("nan-reward", "rewards must be finite", base, rewards=np.full(7, math.nan))
    yield bad("lengths-differ", "all must have T rows", base, rewards=(1.0, 0.0))
    yield bad("few-flags", "there must be a flag for each step", base, terminated=no_yes(0, 1))
    yield bad("one-flag", "there must be a flag for each step", base, truncated=False)
    yield bad("half-terminated", "an episode ends or goes on", base, terminated=(0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0))
# fmt: on


# fmt: off
@cases_of("n_step_returns")
def n_step_returns_cases() -> Iterator[Case]:
    base = path("next_values")
    end = no_yes(0, 0, 1, 0, 0, 0, 0)
    cut = no_yes(0, 0, 0, 0, 1, 0, 0)
    last = no_yes(0, 0, 0, 0, 0, 0, 1)
    terminal = "TerminalDropped"
    beyond = "BootstrapAtTerminal"
    dead = "TruncationAsTermination"
    across = "WindowCrossing"
    yield good("one-segment", "r_t + γ R_{t+1}, and the value behind the last row.", **base)
    yield good("terminated", "The reward of a terminal step counts, and nothing behind it.", beyond, terminal, across,
               **base | {"terminated": end})
    yield good("truncated", "Behind a time limit the value counts.", dead, across, **base | {"truncated": cut})
    yield good("both-kinds", "One episode ends, the next is cut.", beyond, dead, terminal, across,
               **base | {"terminated": end, "truncated": cut})
    yield good("both-at-once", "A terminal state at the time limit is terminal.", beyond, terminal,
               **base | {"terminated": end, "truncated": end})
    yield good("both-at-once-and-cut", "A terminal state at the time limit, then a time limit alone.", beyond, terminal,
               dead, across, **base | {"terminated": end, "truncated": end | cut})
    yield good("both-at-the-end", "The last row has both flags.", beyond, terminal,
               **base | {"terminated": end | last, "truncated": last})
    yield good("cut-at-the-end", "A time limit in the last row.", dead, **base | {"truncated": last})
    yield good("whole-return", "γ = 1, to the end of the episode.", beyond, terminal, across,
               **base | {"rewards": numbers(7, seed=14), "terminated": end, "gamma": 1.0})
    yield good("next-reward", "γ = 0 leaves the rewards.", terminal, **base | {"terminated": end, "gamma": 0.0})
    yield good("one-row", "A single step.", rewards=(0.5,), next_values=(2.0,), terminated=no_yes(0),
               truncated=no_yes(0), gamma=0.5)
    several = path("next_values", 3) | {"gamma": 0.99}
    several |= {"terminated": np.eye(7, 3, -1, dtype=bool), "truncated": np.eye(7, 3, -3, dtype=bool)}
    yield good("environments", "Environments side by side, each with its own ends.", "FilterAxis", beyond, dead,
               across, **several)
    yield good("no-ends", "Environments without an end.", "FilterAxis",
               **several | {"terminated": np.zeros((7, 3), bool), "truncated": np.zeros((7, 3), bool)})
    yield good("cells", "An end holds for all cells.", beyond, dead, terminal, across,
               **path("next_values", 2) | {"terminated": end, "truncated": cut})
    yield good("cells-of-environments", "An end holds for all cells of its environment.", beyond, dead, across,
               **several | {name: numbers(7, 3, 2, seed=13) for name in ("rewards", "next_values")})
    yield from bad_paths(base)
    yield bad("nan-value", "next_values must be finite", base, next_values=np.full(7, math.nan))
    yield bad("turned", "flags must have the first axes of rewards", several, terminated=np.zeros((3, 7), bool))
# fmt: on


def draw_path(draw: Draw, shape: tuple[int, ...]) -> Inputs:
    """Rewards of this shape, with an end for each step or for each step of each environment."""
    axes = shape[: draw.integer(1, len(shape))]
    flags = {name: draw.booleans(*axes) for name in ("terminated", "truncated")}
    return {"rewards": draw.numbers(*shape), **flags, "gamma": draw.fraction()}


@draw_of("n_step_returns")
def draw_n_step_returns(draw: Draw) -> Inputs:
    shape = tuple(draw.integer(1, 4) for _ in range(draw.integer(1, 3)))
    drawn = draw_path(draw, shape)
    return {
        "rewards": drawn.pop("rewards"),
        "next_values": draw.numbers(*shape),
        **drawn,
    }


# fmt: off
@cases_of("n_step_q_targets")
def n_step_q_targets_cases() -> Iterator[Case]:
    base = path("next_q_values", 3)
    end = no_yes(0, 0, 1, 0, 0, 0, 0)
    cut = no_yes(0, 0, 0, 0, 1, 0, 0)
    last = no_yes(0, 0, 0, 0, 0, 0, 1)
    terminal = "TerminalDropped"
    beyond = "BootstrapAtTerminal"
    dead = "TruncationAsTermination"
    across = "WindowCrossing"
    yield good("one-segment", "r_t + γ R_{t+1}, and the best action's value behind the last row.", **base)
    yield good("terminated", "The pseudo-reward of a terminal step counts, and nothing behind it.", beyond, terminal,
               across, **base | {"terminated": end})
    yield good("truncated", "Behind a time limit the best action's value counts.", dead, across,
               **base | {"truncated": cut})
    yield good("cells", "Each cell has a best action of its own.", beyond, dead, terminal, across,
               **path("next_q_values", 2, 3) | {"terminated": end, "truncated": cut})
    yield good("one-action", "One action is the best.", beyond, terminal, across,
               **path("next_q_values", 1) | {"terminated": end})
    yield good("negative", "The best may be negative.", dead, across,
               **base | {"next_q_values": numbers(7, 3, seed=12) - 3.0, "truncated": cut})
    yield good("both-kinds", "One episode ends, the next is cut, the last goes on.", beyond, dead, terminal, across,
               **base | {"terminated": end, "truncated": cut})
    yield good("both-at-once", "A terminal state at the time limit is terminal.", beyond, terminal,
               **base | {"terminated": end, "truncated": end})
    yield good("both-at-once-and-cut", "A terminal state at the time limit, then a time limit alone.", beyond, terminal,
               dead, across, **base | {"terminated": end, "truncated": end | cut})
    yield good("both-at-the-end", "The last row has both flags.", beyond, terminal,
               **base | {"terminated": end | last, "truncated": last})
    yield good("cut-at-the-end", "A time limit in the last row.", dead, **base | {"truncated": last})
    yield from bad_paths(base)
    yield bad("values", "next_q_values must have an axis of actions", base, next_q_values=numbers(7, seed=12))
    yield bad("nan-value", "next_q_values must be finite", base, next_q_values=np.full((7, 3), math.nan))
# fmt: on


@draw_of("n_step_q_targets")
def draw_n_step_q_targets(draw: Draw) -> Inputs:
    shape = tuple(draw.integer(1, 4) for _ in range(draw.integer(1, 2)))
    drawn = draw_path(draw, shape)
    return {
        "rewards": drawn.pop("rewards"),
        "next_q_values": draw.numbers(*shape, draw.integer(1, 3)),
        **drawn,
    }


# fmt: off
@cases_of("dueling")
def dueling_cases() -> Iterator[Case]:
    base: Inputs = {"values": (1.125, -0.5), "advantages": ((0.0, 4.25, 1.0), (1.5, 0.25, -2.0))}
    flag = "UncentredAdvantages"
    yield good("two-states", "V + A − mean A, the mean over the actions.", flag, **base)
    yield good("cells", "Each cell has its own mean.", flag, values=numbers(2, 3, seed=21),
               advantages=numbers(2, 3, 4, seed=22))
    yield good("offset", "What all advantages share is no advantage.", flag, values=(1.0, 2.0),
               advantages=((1000.5, 1000.0), (-512.0, -512.25)))
    yield good(
        "one-action", "One action has no advantage: Q = V.", flag, values=(0.5, 2.0), advantages=((3.0,), (1.0,))
    )
    yield good("centred", "Advantages that add up to 0 stay as they are.", values=(2.0,), advantages=((1.0, -1.0),))
    yield bad("values-short", "there must be a value for each row", base, values=(1.0,))
    yield bad("no-actions-axis", "advantages must have an axis of actions", base, advantages=(0.0, 4.0))
    yield bad("nan-advantage", "advantages must be finite", base, advantages=((0.0, 4.0), (math.nan, 0.5)))
    yield bad("nan-value", "values must be finite", base, values=(1.0, math.nan))
# fmt: on


@draw_of("dueling")
def draw_dueling(draw: Draw) -> Inputs:
    shape = tuple(draw.integer(1, 3) for _ in range(draw.integer(1, 2)))
    return {
        "values": draw.numbers(*shape),
        "advantages": draw.numbers(*shape, draw.integer(1, 3)),
    }


# fmt: off
@cases_of("control_loss")
def control_loss_cases() -> Iterator[Case]:
    base: Inputs = {"q_values": numbers(4, 3, 5, seed=31), "actions": (1, 4, 0, 2), "targets": numbers(4, 3, seed=32)}
    flags = "ControlMean", "MissingHalf"
    yield good("three-cells", "The mean over steps of the sum over cells of half a square.", *flags, **base)
    yield good("one-step", "½(25 + 4 + 9).", *flags, q_values=(((1.0, 5.0), (2.0, 3.0), (0.5, 1.0)),), actions=(1,),
               targets=((0.0, 5.0, -2.0),))
    yield good("one-cell", "The sum over one cell is its mean.", "MissingHalf",
               q_values=numbers(2, 1, 3, seed=33), actions=(2, 0), targets=((0.5,), (1.0,)))
    yield good("at-the-target", "Nothing to learn.", q_values=(((1.0, 5.0),),), actions=(1,), targets=((5.0,),))
    yield bad("action-too-large", "an action must be an index below A", base, actions=(1, 5, 0, 2))
    yield bad("negative-action", "an action must be an index", base, actions=(1, -1, 0, 2))
    yield bad("targets-of-one-cell", "there must be a target for each cell", base, targets=numbers(4, 1, seed=32))
    yield bad("few-actions", "there must be an action for each step", base, actions=(1, 0))
    yield bad("nan-target", "targets must be finite", base, targets=np.full((4, 3), math.nan))
# fmt: on


@draw_of("control_loss")
def draw_control_loss(draw: Draw) -> Inputs:
    steps = draw.integer(1, 3)
    cells = draw.integer(1, 2)
    count = draw.integer(1, 3)
    actions = draw.wholes(count - 1, steps)
    return {
        "q_values": draw.numbers(steps, cells, count),
        "actions": actions,
        "targets": draw.numbers(steps, cells),
    }


# ---------------------------------------------------------------- reward prediction


register(
    "unreal",
    "elementwise",
    unreal.reward_class,
    measured=(0.0, 0.0),
    formula="class = 0 if reward < 0, 1 if reward = 0, 2 if reward > 0",
    outputs={"": ("the shape of rewards", "index")},
    rules=("The smallest positive number is positive. −0.0 is zero.",),
    inputs={"rewards": {"shape": "(...)"}},
)


@exact_form("reward_class")
def exact_reward_class(rewards: Any) -> Any:
    return 1 + (rewards > 0).astype(int) - (rewards < 0).astype(int)


@operation(
    "unreal",
    "elementwise",
    measured=(0.0, 0.0),
    kinds={"ended": "flags"},
    formula="output[t] = 1 if t ≥ 2 and neither ended[t − 2] nor ended[t − 1], else 0",
    outputs={"": ("the shape of ended", "0 or 1")},
    rules=(
        "Then the rows t − 2, t − 1 and t belong to one episode. ended[t] itself does not matter.",
        "Further axes of ended are environments, each by itself.",
    ),
)
def reward_prediction_windows(ended: Flags) -> Rows:
    return unreal.reward_prediction_windows(ended).astype(int)


@exact_form("reward_prediction_windows")
def exact_window_fits(ended: Flags) -> Any:
    """Rows whose episode began at least two rows earlier."""
    before: Rows = (
        np.cumsum(ended, axis=0) - ended
    )  # episodes that ended before each row
    return np.array(
        [(t >= 2) & (before[t] == before[max(t - 2, 0)]) for t in range(len(ended))],
        dtype=int,
    )


register(
    "unreal",
    "elementwise",
    unreal.sample_reward_windows,
    measured=(0.0, 0.0),
    kinds={"ended": "flags"},
    formula="windows = the rows t, for each environment, where reward_prediction_windows(ended) = 1\n"
    "ordered by t, then by environment\n"
    "rewarded = the windows with rewards ≠ 0\n"
    "others   = the windows with rewards = 0\n"
    "for each n: kind = rewarded if coins_n < ½, else others; if kind is empty, the other one\n"
    "output[n] = kind[⌊places_n·(number of windows in kind)⌋]",
    outputs={"": ("(N, number of axes of rewards)", "index")},
    rules=(
        "A row of the output holds the index t, and the environment's index if rewards have that axis.",
        "If there is no window at all, the output is the empty list.",
    ),
    inputs={
        "rewards": {"shape": "(T,) or (T, B)"},
        "ended": {"shape": "the shape of rewards"},
    },
)


@exact_form("sample_reward_windows")
def exact_windows(rewards: Any, ended: Flags, coins: Any, places: Any) -> Any:
    """A row with a nonzero reward for a coin below ½, else one with reward zero; the other kind if one is missing."""
    fits = exact_window_fits(ended)
    rows = [place for place in np.ndindex(fits.shape) if fits[place]]
    kinds = [
        [row for row in rows if bool(rewards[row]) == paid] for paid in (False, True)
    ]
    asked = [kinds[int(2 * coin < 1)] or kinds[int(2 * coin >= 1)] for coin in coins]
    chosen = [
        kind[math.floor(place * len(kind))]
        for kind, place in zip(asked, places)
        if kind
    ]
    return np.array(chosen)


def renumbered(order: tuple[int, ...], right: Function, given: Inputs) -> Rows:
    return np.array(order)[right(**given)]


# The class of a negative reward, of none and of a positive one: first as in miyosuda/unreal, last the sign.
for order in ((2, 0, 1), (2, 1, 0), (1, 0, 2), (0, 2, 1), (1, 2, 0), (-1, 0, 1)):
    mistake("RewardOrder", "reward_class")(partial(renumbered, order))


@mistake("WindowCrossing", "reward_prediction_windows")
def windows_of_two_episodes(right: Function, given: Inputs) -> Rows:
    return crossing(given["ended"], 1).astype(int)


@mistake("WindowCrossing", "reward_prediction_windows")
def windows_whose_first_frame_is_older(right: Function, given: Inputs) -> Rows:
    return crossing(given["ended"], 2).astype(int)


@mistake("TerminalDropped", "reward_prediction_windows")
def windows_before_the_end(right: Function, given: Inputs) -> Rows:
    return right(**given) * ~given["ended"]


@formula("sample_reward_windows", parts=["reward_prediction_windows"])
def samples_by_parts(part: Function, ended: Flags, **given: Array) -> Rows:
    fits = part("reward_prediction_windows")(ended=ended)
    return draw_windows(given, fits.astype(bool))


@mistake("UniformWindows", "sample_reward_windows")
def samples_as_they_come(right: Function, given: Inputs) -> Rows:
    return right(**given | {"rewards": np.zeros_like(given["rewards"])})


# fmt: off
@cases_of("reward_class")
def reward_class_cases() -> Iterator[Case]:
    base: Inputs = {"rewards": (-0.5, 0.0, 10.0, 0.0)}
    order = "RewardOrder"
    yield good("four", "0 where negative, 1 where zero, 2 where positive; the order is a convention.", order, **base)
    yield good("tiny", "The smallest rewards are rewards.", dtypes=("f64",), rewards=(5e-324, -5e-324, 1e-300))
    yield good("zeros", "Zero has no sign.", rewards=(0.0, -0.0))
    yield good("environments", "Of any shape.", order, rewards=((1.0, -1.25, 0.0), (0.0, 255.0, 0.5)))
    yield bad("nan", "rewards must be finite", base, rewards=(0.0, math.nan))
    yield bad("infinite", "rewards must be finite", base, rewards=(-math.inf, 1.0))
# fmt: on


@draw_of("reward_class")
def draw_reward_class(draw: Draw) -> Inputs:
    return {"rewards": draw.numbers(draw.integer(1, 4))}


# fmt: off
@cases_of("reward_prediction_windows")
def reward_prediction_windows_cases() -> Iterator[Case]:
    base: Inputs = {"ended": no_yes(0, 0, 1, 0, 0, 0, 1, 0)}
    flags = "WindowCrossing", "TerminalDropped"
    yield good("three-episodes", "1 where this row and the two before it are of one episode.", *flags, **base)
    yield good("one-episode", "The first two rows have no window.", ended=no_yes(0, 0, 0, 0))
    yield good("ends-with-the-third", "The reward that ends an episode can be predicted.", *flags,
               ended=no_yes(0, 0, 1, 0, 0, 1))
    yield good("short-episodes", "Episodes of two steps have no window.", "WindowCrossing",
               ended=no_yes(0, 1, 0, 1, 0, 1))
    yield good("two-rows", "Two rows are too few.", ended=no_yes(0, 0))
    yield good("environments", "Environments side by side, each with its own episodes.", *flags,
               ended=no_yes(0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1).reshape(6, 2))
    yield bad("two", "an episode ends or goes on", base, ended=(0, 0, 2, 0))
    yield bad("fraction", "an episode ends or goes on", base, ended=(0.0, 0.5, 0.0))
    yield bad("one-flag", "ended must have an axis of time", base, ended=True)
# fmt: on


@draw_of("reward_prediction_windows")
def draw_reward_prediction_windows(draw: Draw) -> Inputs:
    shape = draw.integer(1, 8), draw.integer(1, 2)
    return {"ended": draw.booleans(*shape[: draw.integer(1, 2)])}


# fmt: off
@cases_of("sample_reward_windows")
def sample_reward_windows_cases() -> Iterator[Case]:
    noise: Inputs = {"coins": (0.25, 0.0, 0.75, 0.5, 0.9375), "places": (0.75, 0.25, 0.5, 0.625, 0.875)}
    base: Inputs = {"rewards": (0.0, 0.0, 1.0, 0.0, 0.0, -1.0, 2.0, 0.0, 0.0, 0.0, 0.5)}
    base |= {"ended": no_yes(0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1)} | noise
    across = "WindowCrossing"
    terminal = "TerminalDropped"
    uniform = "UniformWindows"
    yield good("two-episodes", "A coin below ½ asks for a reward; the place, times their number, says which.", across,
               terminal, uniform, **base)
    yield good("exact-halves", "A coin of ½ asks for none.", uniform,
               **base | {"coins": (0.5, 0.5, 0.25), "places": (0.0, 0.5, 0.0)})
    yield good("no-rewards", "Without a reward all come from the others.", rewards=(0.0,) * 6, ended=no_yes(*(0,) * 6),
               **noise)
    yield good("rewards-only", "Without the others all come from rewards.", across,
               **base | {"rewards": (0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, -1.0, 2.0, 3.0),
                         "ended": no_yes(0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0)})
    yield good("environments", "Step by step, and of each step environment by environment.", across, terminal, uniform,
               **noise | {"rewards": np.array(base["rewards"] * 2)[:21].reshape(7, 3).round(),
                          "ended": no_yes(*[n in (6, 10, 11, 14) for n in range(21)]).reshape(7, 3)})
    yield good("nearly-half", "A coin of 0.4375 asks for a reward, one of 0.5625 for none.", uniform, terminal,
               **base | {"coins": (0.4375, 0.5625, 0.4375, 0.5625, 0.4375),
                         "places": (0.8125, 0.125, 0.0, 0.9375, 0.4375)})
    yield good("none-fits", "No window, no rows.", **base | {"ended": no_yes(*(1,) * 11)})
    yield bad("coin-of-one", "coins must be below 1", base, coins=(0.25, 1.0, 0.75, 0.5, 0.9375))
    yield bad("negative-place", "places must be >= 0", base, places=(0.75, -0.25, 0.25, 0.625, 0.875))
    yield bad("nan-place", "places must be numbers", base, places=(0.75, math.nan, 0.25, 0.625, 0.875))
    yield bad("few-places", "there must be a place for each coin", base, places=(0.75,))
    yield bad("few-flags", "there must be a flag for each reward", base, ended=no_yes(0, 0, 1))
    yield bad("nan-reward", "rewards must be finite", base, rewards=(math.nan,) * 11)
# fmt: on


@draw_of("sample_reward_windows")
def draw_sample_reward_windows(draw: Draw) -> Inputs:
    shape = (draw.integer(1, 8), draw.integer(1, 2))[: draw.integer(1, 2)]
    count = draw.integer(1, 4)
    noise = {
        name: draw.filled(lambda: draw.integer(0, 15) / 16, (count,))
        for name in ("coins", "places")
    }
    return {
        "rewards": draw.filled(lambda: float(draw.integer(-1, 1)), shape),
        "ended": draw.booleans(*shape),
        **noise,
    }


# ---------------------------------------------------------------- memory


@operation(
    "unreal",
    "arraywise",
    measured=(2.1e-16, 1.1e-07),
    formula="gates = gate_inputs + hidden·weights, (B, 4H)\n"
    "i, f, o, g = the four quarters of each row of gates, H columns each, in this order\n"
    "cell   ← sigmoid(f)⊙cell + sigmoid(i)⊙tanh(g)\n"
    "hidden ← sigmoid(o)⊙tanh(new cell)",
    outputs={"hidden": ("(B, H)", "none"), "cell": ("(B, H)", "none")},
    rules=(
        "Gates of ±1000 must not overflow.",
        "There is no bias: gate_inputs contains it.",
    ),
)
def lstm_step(gate_inputs: Array, hidden: Array, cell: Array, weights: Array) -> Arrays:
    """gate_inputs (B, 4H), hidden and cell (B, H), weights (H, 4H); gates in the order i, f, o, g."""
    new_hidden, new_cell = unreal.lstm_step(gate_inputs, hidden, cell, weights)
    return {"hidden": new_hidden, "cell": new_cell}


@exact_form("lstm_step")
def exact_lstm_step(
    gate_inputs: Any, hidden: Any, cell: Any, weights: Any
) -> dict[str, Any]:
    gates = gate_inputs + hidden.dot(weights)  # (B, 4H)
    i, f, o, g = np.split(gates, 4, axis=-1)  # (B, H) each
    i, f, o = ((1 + exact.tanh(gate / 2)) / 2 for gate in (i, f, o))
    new_cell = f * cell + i * exact.tanh(g)
    return {"hidden": o * exact.tanh(new_cell), "cell": new_cell}


def with_gates(order: str, right: Function, given: Inputs) -> Arrays:
    """Quarters that are read in this order, given in the order i, f, o, g."""

    def columns(array: Array) -> Array:
        quarters = dict(zip(order, np.split(array, 4, axis=-1), strict=True))
        return np.concatenate([quarters[gate] for gate in "ifog"], axis=-1)

    names = "gate_inputs", "weights"
    return right(**given | {name: columns(given[name]) for name in names})


# torch.nn.LSTM and Keras; TensorFlow's cells and Haiku; ONNX; two orders of textbooks.
for gates in ("ifgo", "igfo", "iofg", "figo", "fiog"):
    mistake("GateOrder", "lstm_step")(partial(with_gates, gates))


# fmt: off
@cases_of("lstm_step")
def lstm_step_cases() -> Iterator[Case]:
    base: Inputs = {"gate_inputs": numbers(2, 12, seed=41), "hidden": 0.5 * numbers(2, 3, seed=42)}
    base |= {"cell": numbers(2, 3, seed=45), "weights": 0.5 * numbers(3, 12, seed=44)}
    nothing = np.zeros((2, 3))
    yield good("three-units", "c′ = f⊙c + i⊙g, h′ = o⊙tanh c′.", "GateOrder", **base)
    yield good("first-step", "From nothing remembered.", "GateOrder", **base | {"hidden": nothing, "cell": nothing})
    yield good("shut", "Gates of ±1000 are shut or open.",
               **base | {"gate_inputs": np.array([[-1000.0, 1000.0] * 6] * 2)})
    yield good("undriven", "Half of the cell is kept.", gate_inputs=(((0.0,) * 4),), hidden=((0.0,),),
               cell=((1.0,),), weights=(((0.0,) * 4),))
    yield bad("three-gates", "gate_inputs must be (B, 4H)", base, gate_inputs=numbers(2, 9, seed=41))
    yield bad("few-cells", "there must be a cell for each unit", base, cell=numbers(2, 1, seed=43))
    yield bad("turned-weights", "weights must be (H, 4H)", base, weights=numbers(12, 3, seed=44))
    yield bad("nan", "cell must be finite", base, cell=np.full((2, 3), math.nan))
# fmt: on


@draw_of("lstm_step")
def draw_lstm_step(draw: Draw) -> Inputs:
    rows = draw.integer(1, 2)
    units = draw.integer(1, 2)
    state = {name: draw.numbers(rows, units) for name in ("hidden", "cell")}
    return {
        "gate_inputs": draw.numbers(rows, 4 * units),
        **state,
        "weights": draw.numbers(units, 4 * units),
    }


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

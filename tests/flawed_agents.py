"""Rewards, returns, policies, replay, counting and auxiliary tasks as real code has them.

As in `flawed_learning`, the first argument is the set of mistakes that are made, each in
its own place. Loops and fractions stand where the reference has arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
from flawed_learning import (
    FUDGE,
    LOG_TWO_PI,
    MOST_GAIN,
    Flags,
    Inputs,
    digits,
    exp,
    floored,
    kl_of_weights,
    log,
    log_density,
    total,
)
from scipy import special

Array = Any
Context = tuple[int, ...]

# ---------------------------------------------------------------- curiosity rewards


def normalize_gains(
    flags: Flags,
    gains: Array,
    history: Array,
    window: int,
    statistic: str,
    include_current: bool,
) -> Inputs:
    """The original's rule: divide by the mean of the last medians."""
    # This batch's entry, none if it is all zeros.
    gains = clipped(flags, gains)
    ranked = sorted(float(gain) for gain in gains)
    low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    median = low if "LowerMedian" in flags else (low + high) / 2.0
    mean = math.fsum(ranked) / len(ranked)
    entry = median if statistic == "median" and median > 0.0 else mean

    # The statistics that count.
    past = [float(each) for each in history]
    kept = ([*past, entry] if entry > 0.0 else past)[-window:]
    used = kept if include_current else past[-window:]
    divisor = math.fsum(used) / len(used) if used else 1.0
    divisor = divisor if divisor > 0.0 else 1.0
    if "FudgedDenominator" in flags:
        divisor = divisor + FUDGE

    if "InputMutation" in flags:
        gains /= divisor
        return {"gains": gains, "history": np.array(kept)}
    return {"gains": gains / divisor, "history": np.array(kept)}


def clipped(flags: Flags, gains: Array) -> Array:
    return np.minimum(gains, MOST_GAIN) if "ClippedGain" in flags else gains


def curious_rewards(flags: Flags, rewards: Array, gains: Array, eta: float) -> Array:
    gains = clipped(flags, gains)
    if "RewardDropped" in flags:
        rewards = eta * gains
    elif "InputMutation" in flags:
        rewards += eta * gains
    else:
        rewards = rewards + eta * gains
    return rewards


# ---------------------------------------------------------------- returns


def discounted_returns(
    flags: Flags, rewards: Array, gamma: float, last_value: float
) -> Array:
    following = 0.0 if "TruncationAsTermination" in flags else last_value
    returns = []
    for reward in reversed(rewards):
        following = reward + gamma * following
        returns.append(following)
    return np.array(returns[::-1])


def gae_advantages(
    flags: Flags,
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: float,
    lam: float,
) -> Array:
    advantages = np.zeros(len(rewards))
    trace = 0.0
    for t in reversed(range(len(rewards))):
        over, cut = bool(terminated[t]), bool(truncated[t])

        # The value beyond, and the trace.
        dead = over or (cut and "TruncationAsTermination" in flags)
        dead = dead and "BootstrapAtTerminal" not in flags
        delta = rewards[t] + (0.0 if dead else gamma * next_values[t]) - values[t]
        ends = over or (cut and "WindowCrossing" not in flags)
        trace = delta + (0.0 if ends else gamma * lam * trace)
        if "LimitDropped" in flags and cut and not over:
            trace = 0.0
        advantages[t] = trace

    # What a library does before the policy's loss.
    ddof = 1 if "NormalisedInside_sample" in flags else 0
    if ddof or "NormalisedInside" in flags:
        spread = np.std(advantages, ddof=ddof) if len(advantages) > ddof else math.nan
        advantages = (advantages - np.mean(advantages)) / (spread + 1e-8)
    return advantages


def n_step_returns(
    flags: Flags,
    rewards: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: float,
) -> Array:
    """Backwards, one row after another; an end holds for all cells of a row."""
    if "FilterAxis" in flags and terminated.ndim > 1:
        columns = rewards, next_values, terminated, truncated
        turned = [column.swapaxes(0, 1) for column in columns]
        along = n_step_returns(flags - {"FilterAxis"}, *turned, gamma)
        return along.swapaxes(0, 1)

    # Ends for each cell; rows can be left out if there is one environment.
    shape = (*terminated.shape, *(1,) * (rewards.ndim - terminated.ndim))
    over = np.broadcast_to(terminated.reshape(shape), rewards.shape)
    cut = np.broadcast_to(truncated.reshape(shape), rewards.shape)
    if "TruncationAsTermination" in flags:
        over = over | cut
    drops = {"TerminalDropped", "TerminalDropped_rows"} & flags
    dropped = over if drops and terminated.ndim == 1 else np.zeros_like(over)
    if "TerminalDropped_reward" in flags:
        rewards = np.where(over, 0.0, rewards)

    returns = np.zeros(rewards.shape)
    beyond = next_values[-1]
    for t in reversed(range(len(rewards))):
        if "WindowCrossing" in flags:
            following = beyond
        else:
            ended = next_values[t] if "BootstrapAtTerminal" in flags else 0.0
            following = np.where(cut[t], next_values[t], beyond)
            following = np.where(over[t], ended, following)
        returns[t] = rewards[t] + gamma * following

        # A row that is left out bootstraps the row before it, or cuts it off.
        beyond = returns[t]
        if np.all(dropped[t]) and "WindowCrossing" in flags:
            beyond = following
        elif np.all(dropped[t]):
            beyond = next_values[t - 1] if "TerminalDropped" in flags else 0.0
    kept = ~dropped.reshape(len(rewards), -1).all(axis=1)
    return returns[kept]


def n_step_q_targets(flags: Flags, next_q_values: Array, **path: Any) -> Array:
    best = np.apply_along_axis(max, -1, next_q_values)
    return n_step_returns(flags, next_values=best, **path)


# ---------------------------------------------------------------- policies


def policy_sigma(flags: Flags, log_std: Array) -> Array:
    if "VarianceAsSigma_policy" in flags:
        log_std = 2.0 * log_std
    if "VarianceAsSigma_policyroot" in flags:
        log_std = 0.5 * log_std
    for flag, low in (("ClampedLogSigma", -20.0), ("ClampedLogSigma_5", -5.0)):
        if flag in flags:
            log_std = np.clip(log_std, low, 2.0)
    return floored(flags, exp(digits(log_std)))


def gaussian_log_prob(
    flags: Flags, mean: Array, log_std: Array, actions: Array
) -> Array:
    sigma = policy_sigma(flags, log_std)
    densities = log_density(flags, digits(actions), digits(mean), sigma)
    return np.array(densities.sum(axis=-1), dtype=float)


def gaussian_entropy(flags: Flags, mean: Array, log_std: Array) -> Array:
    entropy = sum(log(policy_sigma(flags, log_std)) + (LOG_TWO_PI + 1.0) / 2.0)
    return np.full(len(mean), float(entropy))


def gaussian_kl(
    flags: Flags,
    mean_old: Array,
    log_std_old: Array,
    mean_new: Array,
    log_std_new: Array,
) -> Array:
    old = digits(mean_old), policy_sigma(flags, log_std_old)
    new = digits(mean_new), policy_sigma(flags, log_std_new)
    return np.array(total(flags, kl_of_weights(flags, *old, *new)), dtype=float)


def log_chances(flags: Flags, logits: Array) -> Array:
    """log p of each action, or the logarithm of a number that may be 0 or raised."""
    chances = special.softmax(logits, axis=1)
    if "FudgedDenominator_log" in flags:
        return np.log(chances + FUDGE)
    if "UnderflowingDensity" in flags:
        return np.log(chances)
    return special.log_softmax(logits, axis=1)


def categorical_log_prob(flags: Flags, logits: Array, actions: Array) -> Array:
    rows = log_chances(flags, logits)
    return np.array([row[action] for row, action in zip(rows, actions)])


def categorical_entropy(flags: Flags, logits: Array) -> Array:
    chances = special.softmax(logits, axis=1)
    return -np.sum(chances * log_chances(flags, logits), axis=1)


def categorical_kl(flags: Flags, logits_old: Array, logits_new: Array) -> Array:
    old, new = logits_old, logits_new
    if "SwappedKL" in flags:
        old, new = new, old
    ratios = log_chances(flags, old) - log_chances(flags, new)
    return total(flags, special.softmax(old, axis=1) * ratios)


# ---------------------------------------------------------------- replay


def replay_transitions(
    flags: Flags, observations: list[Array], actions: list[Array]
) -> Inputs:
    """(s, a, s′) of each episode, or of a pool that does not know where one ends."""
    shift = bool({"ActionShift", "ActionShift_effect"} & flags)
    pool, triples = [], []
    for seen, done in zip(observations, actions):
        # Actions with the observation before them, or with the one after.
        pairs = list(zip(seen[1:] if shift else seen[:-1], done))
        late = shift and "ActionShift_effect" not in flags
        following = seen[2:] if late else seen[1:]
        triples += [(s, a, after) for (s, a), after in zip(pairs, following)]
        pool += pairs

    # The next row's observation, whatever episode it is of.
    if {"CrossEpisode", "CrossEpisode_last"} & flags:
        last = [observations[-1][-1]] if "CrossEpisode_last" in flags else []
        following = [*(s for s, _ in pool[1:]), *last]
        triples = [(s, a, after) for (s, a), after in zip(pool, following)]
    names = "observations", "actions", "next_observations"
    return dict(zip(names, map(np.array, zip(*triples))))


def input_statistics(flags: Flags, rows: Array) -> Inputs:
    centers, scales = [], []
    for column in np.transpose(rows):
        values = [Fraction(float(x)) for x in column]
        mean = sum(values) / len(values)
        count = len(values) - ("SampleVariance" in flags)
        square = sum((x - mean) ** 2 for x in values)
        centers.append(float(mean))
        scales.append(scale_of(flags, square, count, column))
    return {"center": np.array(centers), "scale": np.array(scales)}


def scale_of(flags: Flags, square: Fraction, count: int, column: Array) -> float:
    """The standard deviation, or the divisor of a constant column."""
    if np.ptp(column) <= 1e-12 * np.max(np.abs(column)):
        scale = 0.0 if "ConstantColumns" in flags else 1.0
    else:
        scale = math.sqrt(square / count)
    return scale + FUDGE if "FudgedDenominator" in flags else scale


# ---------------------------------------------------------------- strategies


def epsilon_greedy(flags: Flags, q_values: Array, epsilon: float) -> Array:
    values = list(q_values)
    best = [k for k, value in enumerate(values) if value == max(values)]
    best = best[:1] if "FirstOfTies" in flags else best
    shares = np.full(len(values), epsilon / len(values))
    for k in best:
        shares[k] += (1.0 - epsilon) / len(best)
    return shares


def boltzmann(flags: Flags, q_values: Array, temperature: float | None) -> Array:
    exact = [Fraction(float(q)) for q in q_values]
    if temperature is None and len(set(exact)) > 1:
        mean = sum(exact) / len(exact)
        count = len(exact) - ("SampleVariance" in flags)
        square = sum((q - mean) ** 2 for q in exact) / count
        temperature = float(mp.sqrt(mp.mpf(square.numerator) / square.denominator))
    scale = temperature or 1.0
    if "FudgedDenominator" in flags:
        scale = scale + FUDGE
    return special.softmax((q_values - max(q_values)) / scale)


def upper_bounds(flags: Flags, values: Array, counts: Array, alpha: float) -> Array:
    everything = int(sum(counts))
    bounds = []
    for value, n in zip(values, map(int, counts)):
        number = n if "OwnCountInLog" in flags else everything
        spread = mp.sqrt(2 * mp.log(number) / n) if n else mp.inf
        bounds.append(float(value + alpha * spread) if n else math.inf)
    return np.array(bounds)


def ucb1(flags: Flags, means: Array, counts: Array, t: int) -> Array:
    return upper_bounds(flags, means, counts, 1.0)


def ucb_state_action(
    flags: Flags, q_values: Array, counts: Array, alpha: float
) -> Array:
    return upper_bounds(flags, q_values, counts, alpha)


def q_update(
    flags: Flags,
    value: float,
    reward: float,
    next_values: Array,
    terminated: bool,
    truncated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    dead = terminated or (truncated and "TruncationAsTermination" in flags)
    if "BootstrapAtTerminal" in flags:
        dead = False
    target = reward + (0.0 if dead else gamma * max(next_values))
    return (1.0 - learning_rate) * value + learning_rate * target


# ---------------------------------------------------------------- counts


def quotient(rho: Any, rho_after: Any) -> Any:
    """N̂ from two probabilities, in their number type."""
    return rho * (1 - rho_after) / (rho_after - rho)


def pseudo_count(flags: Flags, log_prob: Array, log_prob_after: Array) -> Array:
    counts = []
    for before, after in zip(log_prob, log_prob_after):
        # Floats, once the first probability has lost its digits.
        if "UnderflowingDensity" in flags and np.exp(before) < 1e-307:
            counts.append(float(quotient(np.exp(before), np.exp(after))))
            continue
        rho, rho_after = mp.exp(mp.mpf(before)), mp.exp(mp.mpf(after))
        counts.append(float(quotient(rho, rho_after)) if rho < rho_after else math.inf)
    return np.array(counts)


def chances_of(rows: Any, row: Array, num_symbols: int, alpha: float) -> list[Fraction]:
    """Each pixel's Dirichlet probability of its symbol after these rows."""
    a = Fraction(alpha)
    return [
        (sum(seen[p] == x for seen in rows) + a) / (len(rows) + num_symbols * a)
        for p, x in enumerate(row)
    ]


def dirichlet_log_prob(
    flags: Flags, counts: Array, alpha: float, observation: Array
) -> Array:
    chances = []
    for pixel, symbol in zip(counts, observation):
        size = Fraction(int(sum(pixel))) + len(pixel) * Fraction(alpha)
        chances.append((int(pixel[int(symbol)]) + Fraction(alpha)) / size)
    return np.array(log_of_product(flags, chances))


def log_of_product(flags: Flags, chances: Sequence[Fraction]) -> float:
    """The sum of the logarithms, or the logarithm of the product in floats."""
    if "UnderflowingDensity" in flags:
        return float(np.log(np.prod([float(chance) for chance in chances])))
    if not all(chances):
        return -math.inf
    return math.fsum(
        math.log(chance.numerator) - math.log(chance.denominator)
        if chance < Fraction(1, 10**300)
        else math.log(chance)
        for chance in chances
    )


def dirichlet_pseudo_counts(
    flags: Flags, symbols: Array, num_symbols: int, alpha: float
) -> Array:
    """Score, learn, score; or learn once more before."""
    counts = []
    for t, row in enumerate(symbols):
        seen = list(symbols[: t + 1] if "OffByOnePseudoCount" in flags else symbols[:t])
        chances = [
            chances_of(rows, row, num_symbols, alpha) for rows in (seen, [*seen, row])
        ]
        products = [np.prod(np.array(each, dtype=float)) for each in chances]
        exact = [math.prod(each) for each in chances]
        if "UnderflowingDensity" in flags and products[0] < 1e-307:
            counts.append(float(quotient(*products)))
        else:
            more = exact[0] < exact[1]
            counts.append(float(quotient(*exact)) if more else math.inf)
    return np.array(counts)


class Suffixes:
    """A context tree in fractions."""

    def __init__(self, flags: Flags, num_symbols: int, rate: float | None) -> None:
        self.flags = flags
        self.num_symbols = num_symbols
        self.rate = rate
        self.seen = 0
        self.counts: dict[Context, list[int]] = {}
        self.weights: dict[Context, list[Fraction]] = {}

    def chance(
        self, context: Context, symbol: int, *, learn: bool, above: Context = ()
    ) -> Fraction:
        """The probability of the symbol in the context; `above` holds the context symbols already used."""
        counts = self.counts.setdefault(above, [0] * self.num_symbols)
        weights = self.weights.setdefault(above, [Fraction(1, 2), Fraction(1, 2)])
        own = Fraction(2 * counts[symbol] + 1, 2 * sum(counts) + self.num_symbols)
        rate = Fraction(1, self.seen + 2) if self.rate is None else Fraction(self.rate)
        chance = own

        # Stay with the node's own estimate, or split.
        if context:
            deeper = (*above, context[0])
            below = self.chance(context[1:], symbol, learn=learn, above=deeper)
            stay, split = weights[0] * own, weights[1] * below
            chance = (stay + split) / sum(weights)
            if learn:
                old = weights[0]
                weights[0] = stay + rate * (split - stay)
                stayed = weights[0] if "CtsUpdateOrder" in self.flags else old
                weights[1] = split - rate * split + rate * own * stayed
        if learn:
            counts[symbol] += 1
            self.seen += not above
        return chance


def cts_log_probs(flags: Flags, bits: Array, depth: int, rate: float | None) -> Array:
    tree = Suffixes(flags, 2, rate)
    known = [int(bit) for bit in bits]
    values = []
    for t, bit in enumerate(known):
        context = tuple(([0] * depth + known[:t])[::-1][:depth])
        chance = tree.chance(context, bit, learn=True)
        # The bit as its own successor, once it is learned.
        if "OffByOnePseudoCount" in flags:
            chance = tree.chance((bit, *context)[:depth], bit, learn=False)
        values.append(math.log(chance))
    return np.array(values)


def pixels_in_context(image: Array) -> list[tuple[Context, int]]:
    """Each pixel with those to its left, above, above left and above right."""
    image = image.astype(int)
    framed = np.zeros((len(image) + 1, image.shape[1] + 2), dtype=int)
    framed[1:, 1:-1] = image
    around = ((1, 0), (0, 1), (0, 0), (0, 2))
    return [
        (tuple(int(framed[y + dy, x + dx]) for dy, dx in around), int(image[y, x]))
        for y, x in np.ndindex(image.shape)
    ]


def image_cts_log_probs(
    flags: Flags, images: Array, num_levels: int, rate: float | None
) -> Array:
    trees = [Suffixes(flags, num_levels, rate) for _ in range(images[0].size)]
    values = []
    for image in images:
        steps = list(zip(trees, pixels_in_context(image)))
        chances = [tree.chance(*step, learn=True) for tree, step in steps]
        if "OffByOnePseudoCount" in flags:
            chances = [tree.chance(*step, learn=False) for tree, step in steps]
        values.append(log_of_product(flags, chances))
    return np.array(values)


# ---------------------------------------------------------------- auxiliary tasks


def pixel_control_rewards(flags: Flags, observations: Array, cell_size: int) -> Array:
    change = observations[1:].astype(float) - observations[:-1].astype(float)
    wraps = "WrappingBytes" in flags and observations.dtype == np.uint8
    change = change % 256 if wraps else abs(change)
    steps, height, width, channels = change.shape

    # The sum over each cell, divided by the size that counts.
    size = cell_size**2 * channels
    if "CellSum" in flags:
        size = 1
    if "CellSum_pixels" in flags:
        size = channels
    cells = np.zeros((steps, height // cell_size, width // cell_size))
    for t, y, x in np.ndindex(cells.shape):
        rows = slice(y * cell_size, (y + 1) * cell_size)
        columns = slice(x * cell_size, (x + 1) * cell_size)
        pixels = map(Fraction, change[t, rows, columns].ravel().tolist())
        cells[t, y, x] = float(sum(pixels, start=Fraction(0)) / size)
    return cells


def feature_control_rewards(flags: Flags, activations: Array) -> Array:
    if "FeatureChange" in flags:
        pairs = zip(activations, activations[1:])
        return np.array([abs(after - before) for before, after in pairs])
    return activations[1:] + 0.0


def dueling(flags: Flags, values: Array, advantages: Array) -> Array:
    q_values = np.zeros(advantages.shape)
    for where in np.ndindex(values.shape):
        actions = advantages[where]
        mean = math.fsum(actions) / len(actions)
        if "UncentredAdvantages" in flags:
            mean = 0.0
        if "UncentredAdvantages_all" in flags:
            mean = math.fsum(advantages.flat) / advantages.size
        q_values[where] = values[where] + actions - mean
    return q_values


def control_loss(
    flags: Flags, q_values: Array, actions: Array, targets: Array
) -> float:
    squares = [
        0.5 * (targets[n, g] - q_values[n, g, int(action)]) ** 2
        for n, action in enumerate(actions)
        for g in range(q_values.shape[1])
    ]
    count = len(squares) if "ControlMean" in flags else len(actions)
    twice = 2.0 if "MissingHalf" in flags else 1.0
    return twice * math.fsum(squares) / count


def reward_class(flags: Flags, rewards: Array) -> Array:
    """Negative, zero, positive, in an order that each library has for itself."""
    order = (0, 1, 2)
    if "RewardOrder" in flags:
        order = (2, 0, 1)
    if "RewardOrder_negative" in flags:
        order = (1, 0, 2)
    if "RewardOrder_reversed" in flags:
        order = (2, 1, 0)
    classes = [order[1 + (r > 0) - (r < 0)] for r in map(float, np.ravel(rewards))]
    return np.array(classes).reshape(np.shape(rewards))


def window_fits(flags: Flags, ended: Sequence[bool], t: int) -> bool:
    """Whether rows t − 2, t − 1 and t are a window."""
    if t < 2:
        return False
    inside = [ended[t - 2], ended[t - 1]]
    if "WindowCrossing_first" in flags:
        inside = [ended[t - 1]]
    if "WindowCrossing" in flags:
        inside = []
    if "TerminalDropped" in flags:
        inside.append(ended[t])
    return not any(inside)


def reward_prediction_windows(flags: Flags, ended: Array) -> Array:
    table = np.zeros(ended.shape, dtype=int)
    for t, *others in np.ndindex(ended.shape):
        column = [bool(row[tuple(others)]) for row in ended]
        table[(t, *others)] = window_fits(flags, column, t)
    return table


def sample_reward_windows(
    flags: Flags, rewards: Array, ended: Array, coins: Array, places: Array
) -> Array:
    """A rewarded window for a coin below ½, one without a reward for others."""
    table = reward_prediction_windows(flags, ended)
    rows = [place for place in np.ndindex(table.shape) if table[place]]
    paid = [row for row in rows if rewards[row] != 0]
    unpaid = [row for row in rows if rewards[row] == 0]
    chosen = []
    for coin, place in zip(coins, places):
        kind = (paid or unpaid) if coin < 0.5 else (unpaid or paid)
        if "UniformWindows" in flags:
            kind = rows
        if kind:
            chosen.append(kind[int(place * len(kind))])
    return np.array(chosen)


def lstm_step(
    flags: Flags, gate_inputs: Array, hidden: Array, cell: Array, weights: Array
) -> Inputs:
    units = hidden.shape[1]
    state = {"hidden": np.zeros(cell.shape), "cell": np.zeros(cell.shape)}
    for b, j in np.ndindex(cell.shape):
        i, f, o, g = (
            gate_inputs[b, k] + math.fsum(hidden[b] * weights[:, k])
            for k in range(j, 4 * units, units)
        )
        if "GateOrder" in flags:
            o, g = g, o
        kept = special.expit(f) * cell[b, j]
        state["cell"][b, j] = kept + special.expit(i) * math.tanh(g)
        state["hidden"][b, j] = special.expit(o) * math.tanh(state["cell"][b, j])
    return state


# ---------------------------------------------------------------- all operations

OPERATIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        normalize_gains,
        curious_rewards,
        discounted_returns,
        gae_advantages,
        gaussian_log_prob,
        gaussian_entropy,
        gaussian_kl,
        categorical_log_prob,
        categorical_entropy,
        categorical_kl,
        replay_transitions,
        input_statistics,
        epsilon_greedy,
        boltzmann,
        ucb1,
        ucb_state_action,
        q_update,
        pseudo_count,
        dirichlet_log_prob,
        dirichlet_pseudo_counts,
        cts_log_probs,
        image_cts_log_probs,
        pixel_control_rewards,
        feature_control_rewards,
        n_step_returns,
        n_step_q_targets,
        dueling,
        control_loss,
        reward_class,
        reward_prediction_windows,
        sample_reward_windows,
        lstm_step,
    )
}

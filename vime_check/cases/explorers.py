"""Operations of the other explorers: strategies, tabular values, pseudo-counts, density models.

Axes and units as in `vime_lecture`, which does the computing. The closed forms take 50-digit numbers, and
switch between contexts with plain weights where `vime_lecture.densities` has their logarithms.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bnn_ref import Array, check_finite
from vime_check.operations import (
    Arrays,
    Case,
    Function,
    Inputs,
    bad,
    by_convention,
    cases_of,
    good,
    intermediates_of,
    mistake,
    operation,
)
from vime_lecture import counts as visit_counts
from vime_lecture import densities, strategies, tabular
from vime_lecture.densities import DensityModel, Symbols
from vime_lecture.tabular import Step, Table, TabularSettings
from vime_ref import Batch

# ---------------------------------------------------------------- types

Context = tuple[int, ...]  # nearest symbol first

# ---------------------------------------------------------------- building blocks


def levels(*shape: int, count: int, seed: int) -> Symbols:
    """Well-mixed whole numbers below `count`."""
    i = np.arange(1, math.prod(shape) + 1) + 31 * seed
    return ((i * i * i + 7 * i * i + 13 * i) % 1009 % count).reshape(shape)


def log_probs(
    model: DensityModel, observations: Iterable[Array], *, learned: bool = False
) -> Array:
    """log-probability of each observation before the model learns it, or after."""
    values = []
    for observation in observations:
        new_model = model.update(observation)
        values.append((new_model if learned else model).log_prob(observation))
        model = new_model
    return np.array(values)


def switching(
    steps: Sequence[tuple[Context, int]],
    num_symbols: int,
    rate: Any,
    one: Any,
    *,
    updated_stay: bool = False,
) -> list[Any]:
    """Probability of each symbol in its context, from those before it.

    Numbers are of the kind that `one` is. With `updated_stay` the weight for splitting takes the new weight for
    staying, which CtsUpdateOrder is.
    """
    seen: dict[Context, list[int]] = defaultdict(list)
    weights: dict[Context, tuple[Any, Any]] = defaultdict(lambda: (one / 2, one / 2))
    probabilities = []
    for t, (context, symbol) in enumerate(steps, start=1):
        a = one / (t + 1) if rate is None else rate
        path = [context[:length] for length in range(len(context) + 1)]
        own = [
            (2 * seen[node].count(symbol) + one) / (2 * len(seen[node]) + num_symbols)
            for node in path
        ]
        below = own[-1]
        for node, estimate in list(zip(path, own))[-2::-1]:
            stay, split = weights[node]
            new_stay = (1 - a) * stay * estimate + a * split * below
            new_split = (1 - a) * split * below + a * (
                new_stay if updated_stay else stay
            ) * estimate
            weights[node], below = (
                (new_stay, new_split),
                (stay * estimate + split * below) / (stay + split),
            )
        for node in path:
            seen[node].append(symbol)
        probabilities.append(below)
    return probabilities


def bit_probabilities(
    bits: Array, depth: int, rate: Any, one: Any, **order: bool
) -> Array:
    """`switching` on one sequence of bits, zeros before the first; (T, 1)."""
    padded = [0] * depth + [int(bit) for bit in bits]
    steps = [
        (tuple(padded[t : t + depth][::-1]), bit)
        for t, bit in enumerate(padded[depth:])
    ]
    return np.array(switching(steps, 2, rate, one, **order))[:, None]


def image_probabilities(
    images: Array, num_levels: int, rate: Any, one: Any, **order: bool
) -> Array:
    """`switching` on each pixel's own sequence, in the context of its left, upper, upper left, upper right; (T, P)."""
    _, height, width = images.shape

    def context(image: Array, y: int, x: int) -> Context:
        around = (y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1)
        return tuple(
            int(image[at]) if at[0] >= 0 and 0 <= at[1] < width else 0 for at in around
        )

    pixels = [(y, x) for y in range(height) for x in range(width)]
    steps = [
        [(context(image, *at), int(image[at])) for image in images] for at in pixels
    ]
    return np.array(
        [switching(each, num_levels, rate, one, **order) for each in steps]
    ).T


# ---------------------------------------------------------------- building blocks: 50 digits


def exact_pseudo_count(rho: Any, rho_after: Any) -> Any:
    return rho * (1 - rho_after) / (rho_after - rho) if rho_after > rho else math.inf


def dirichlet_probability(
    counts: Iterable[Any], alpha: Any, num_symbols: int, total: int
) -> Any:
    """Π_p (N_p + α)/(n + Kα), from the counts of the observed symbols."""
    return math.prod(
        ((int(n) + alpha) / (int(total) + num_symbols * alpha) for n in counts), start=1
    )


def exact_dirichlet_pseudo_counts(symbols: Array, num_symbols: int, alpha: Any) -> Any:
    """Each observation's count from the probabilities among those before it, and among those and itself."""
    pseudo_counts = []
    for t, row in enumerate(symbols):
        before = np.sum(symbols[:t] == row, axis=0)
        probabilities = [
            dirichlet_probability(before + k, alpha, num_symbols, t + k) for k in (0, 1)
        ]
        pseudo_counts.append(exact_pseudo_count(*probabilities))
    return np.array(pseudo_counts)


def closed_forms() -> dict[str, Function]:
    """The operations on object arrays of 50-digit numbers."""
    import mpmath

    one = mpmath.mpf(1)
    log, exp = (
        np.vectorize(function, otypes=[object]) for function in (mpmath.log, mpmath.exp)
    )

    def epsilon_greedy(q_values: Any, epsilon: Any) -> Any:
        best = [int(value == max(q_values)) for value in q_values]
        return np.array(
            [epsilon / len(best) + (1 - epsilon) * each / sum(best) for each in best]
        )

    def boltzmann(q_values: Any, temperature: Any) -> Any:
        mean = sum(q_values) / len(q_values)
        spread = temperature or mpmath.sqrt(sum((q_values - mean) ** 2) / len(q_values))
        weights = exp((q_values - max(q_values)) / (spread or 1))
        return weights / sum(weights)

    def upper_bounds(q_values: Any, counts: Array, alpha: Any) -> Any:
        total = int(np.sum(counts))
        bonuses = [
            alpha * mpmath.sqrt(2 * mpmath.log(total) / int(n)) if n else mpmath.inf
            for n in counts
        ]
        return q_values + np.array(bonuses)

    def q_update(
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

    def pixel_cnn(gain: Any, num_seen: int, c: Any) -> Any:
        powers = c * gain / mpmath.sqrt(num_seen)
        return np.array([1 / mpmath.expm1(x) if x > 0 else mpmath.inf for x in powers])

    def dirichlet_log_prob(counts: Array, alpha: Any, observation: Array) -> Any:
        seen = counts[np.arange(len(observation)), observation]
        return mpmath.log(
            dirichlet_probability(seen, alpha, counts.shape[1], int(sum(counts[0])))
        )

    return {
        "epsilon_greedy": epsilon_greedy,
        "boltzmann": boltzmann,
        "ucb1": lambda means, counts, t: upper_bounds(means, counts, 1),
        "ucb_state_action": upper_bounds,
        "q_update": q_update,
        "pseudo_count": lambda log_prob, log_prob_after: np.vectorize(
            exact_pseudo_count, otypes=[object]
        )(exp(log_prob), exp(log_prob_after)),
        "pixel_cnn_pseudo_count": pixel_cnn,
        "count_bonus": lambda counts, beta: (
            beta / np.vectorize(mpmath.sqrt, otypes=[object])(counts + one / 100)
        ),
        "dirichlet_log_prob": dirichlet_log_prob,
        "dirichlet_pseudo_counts": exact_dirichlet_pseudo_counts,
        "cts_log_probs": lambda bits, depth, rate: np.sum(
            log(bit_probabilities(bits, depth, rate, one)), axis=1
        ),
        "image_cts_log_probs": lambda images, num_levels, rate: np.sum(
            log(image_probabilities(images, num_levels, rate, one)), axis=1
        ),
    }


# ---------------------------------------------------------------- family strategies


@operation("strategies", "elementwise")
def epsilon_greedy(q_values: Array, epsilon: float) -> Array:
    return strategies.epsilon_greedy(q_values, epsilon)


@operation("strategies", "elementwise")
def boltzmann(q_values: Array, temperature: float | None) -> Array:
    return strategies.boltzmann(q_values, temperature)


@operation("strategies", "elementwise")
def ucb1(means: Array, counts: Array, t: int) -> Array:
    return strategies.ucb1(means, counts, t)


@operation("strategies", "elementwise")
def ucb_state_action(q_values: Array, counts: Array, alpha: float) -> Array:
    return strategies.ucb_state_action(q_values, counts, alpha)


@operation("strategies", "elementwise")
def q_update(
    value: float,
    reward: float,
    next_values: Array,
    terminated: bool,
    truncated: bool,
    learning_rate: float,
    gamma: float,
) -> Array:
    """What `q_learning` makes of Q(s, a) in one step to a state of these values."""
    settings = TabularSettings(learning_rate=learning_rate, gamma=gamma)
    following = strategies.check_values("next_values", next_values).tolist()
    check_finite("value", value)
    check_finite("reward", reward)
    table = Table([[value], following], [[0], [0] * len(following)])
    tabular.learn(
        table, [Step(0, 0, reward, 1, terminated, truncated)], [reward], settings
    )
    return np.array(table.q_values[0][0])


@mistake("FirstOfTies", "epsilon_greedy")
def greedy_by_argmax(right: Function, given: Inputs) -> Array:
    q, epsilon = given["q_values"], given["epsilon"]
    return epsilon / len(q) + (1.0 - epsilon) * np.eye(len(q))[np.argmax(q)]


@mistake("SampleVariance", "boltzmann")
def boltzmann_by_sample_deviation(right: Function, given: Inputs) -> Array:
    q, span = given["q_values"], np.ptp(given["q_values"])
    if given["temperature"] is not None or span == 0.0:
        return right(**given)
    return right(q_values=q, temperature=float(span * np.std(q / span, ddof=1)))


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


@cases_of("epsilon_greedy")
def epsilon_greedy_cases() -> Iterator[Case]:
    base: Inputs = {"q_values": (0.5, 2.0, -1.0, 1.0), "epsilon": 0.25}
    yield good("four-actions", "ε/A each, and 1 − ε more for the best.", **base)
    yield good("two-best", "Ties share the greedy part equally.", "FirstOfTies",
               **base | {"q_values": (0.0, 2.0, 2.0, 1.0)})  # fmt: skip
    yield good("all-equal", "Before anything is known all are as good.", "FirstOfTies",
               **base | {"q_values": (0.0, 0.0, 0.0)})  # fmt: skip
    yield good("greedy", "ε = 0 leaves the best alone.", "FirstOfTies",
               q_values=(-2.0, -1.0, -1.0), epsilon=0.0)  # fmt: skip
    yield good("random", "ε = 1 leaves no preference.", **base | {"epsilon": 1.0})
    yield good("one-action", "One action is certain.", q_values=(-0.5,), epsilon=0.1)
    yield bad("no-actions", "there must be an action", base, q_values=())
    yield bad("nan-value", "q_values must be finite", base, q_values=(0.5, math.nan))
    yield bad(
        "rows",
        "q_values must be those of one state, (A,)",
        base,
        q_values=((0.5, 2.0), (1.0, 0.0)),
    )
    yield bad("epsilon-above-1", "epsilon must be from 0 to 1", base, epsilon=1.25)
    yield bad("negative-epsilon", "epsilon must be from 0 to 1", base, epsilon=-0.25)


@cases_of("boltzmann")
def boltzmann_cases() -> Iterator[Case]:
    base: Inputs = {"q_values": (0.5, 2.0, -1.0, 1.0), "temperature": 0.5}
    own = base | {"temperature": None}
    yield good("half", "softmax(Q/temperature).", **base)
    yield good(
        "deviation",
        "Without a temperature it is std(Q), over A.",
        "SampleVariance",
        **own,
    )
    yield good("two-actions", "Two are one standard deviation to each side.", "SampleVariance",
               **own | {"q_values": (3.0, 1.0)})  # fmt: skip
    yield good(
        "tie",
        "Equal values have equal probabilities.",
        "SampleVariance",
        **own | {"q_values": (1.0, 0.0, 1.0)},
    )
    yield good(
        "all-equal",
        "A standard deviation of 0 gives equal probabilities.",
        **own | {"q_values": (2.0,) * 3},
    )
    yield good(
        "one-action",
        "One action is certain, and its deviation 0.",
        **own | {"q_values": (-0.5,)},
    )
    yield good(
        "far-apart",
        "exp(2000) is beyond float64.",
        q_values=(1000.0, 1000.5, -1000.0),
        temperature=0.5,
    )
    yield good("huge", "The square of 1e200 is beyond float64.", "SampleVariance", dtypes=("f64",),
               q_values=(1e200, -1e200, 0.5e200), temperature=None)  # fmt: skip
    yield bad("no-actions", "there must be an action", base, q_values=())
    yield bad("nan-value", "q_values must be finite", base, q_values=(0.5, math.nan))
    yield bad(
        "infinite-value", "q_values must be finite", base, q_values=(0.5, math.inf)
    )
    yield by_convention(
        bad("temperature-zero", "temperature must be > 0", base, temperature=0.0)
    )
    yield bad("negative-temperature", "temperature must be > 0", base, temperature=-0.5)


@cases_of("ucb1")
def ucb1_cases() -> Iterator[Case]:
    base: Inputs = {"means": (0.5, 0.75, 0.25), "counts": (4, 2, 10), "t": 16}
    flag = "OwnCountInLog"
    yield good(
        "three-arms", "mean + √(2 ln t/n), t the pulls of all arms.", flag, **base
    )
    yield good("untried-arms", "An arm that was never tried comes first.", flag,
               **base | {"counts": (4, 0, 3), "t": 7})  # fmt: skip
    yield good(
        "nothing-tried",
        "Before the first pull all are infinite.",
        **base | {"counts": (0, 0, 0), "t": 0},
    )
    yield good("one-pull", "ln 1 = 0 leaves the mean of the arm that was pulled.",
               **base | {"counts": (0, 1, 0), "t": 1})  # fmt: skip
    yield good("equal-arms", "What was tried less has the larger bound.", flag,
               means=(0.5, 0.5), counts=(1000, 10), t=1010)  # fmt: skip
    yield bad("t-one-more", "t must be the sum of counts", base, t=17)
    yield bad("negative-count", "counts must be >= 0", base, counts=(4, -2, 14))
    yield bad(
        "fractional-count", "counts must be whole numbers", base, counts=(4.5, 2.0, 9.5)
    )
    yield bad("nan-mean", "means must be finite", base, means=(0.5, math.nan, 0.25))
    yield bad(
        "lengths-differ", "there must be a count for each arm", base, counts=(6, 10)
    )


@cases_of("ucb_state_action")
def ucb_state_action_cases() -> Iterator[Case]:
    base: Inputs = {"q_values": (1.5, -0.5, 2.0), "counts": (3, 1, 5), "alpha": 0.5}
    flag = "OwnCountInLog"
    yield good(
        "three-actions", "Q + α√(2 ln N/n), N the visits of the state.", flag, **base
    )
    yield good(
        "untried",
        "An action that was never tried is infinite.",
        flag,
        **base | {"counts": (3, 0, 5)},
    )
    yield good("no-weight", "α = 0 leaves Q, but for what was never tried.",
               **base | {"counts": (3, 0, 5), "alpha": 0.0})  # fmt: skip
    yield good(
        "new-state", "In a new state all are infinite.", **base | {"counts": (0, 0, 0)}
    )
    yield good("one-visit", "ln 1 = 0.", **base | {"counts": (0, 0, 1)})
    yield good("large-weight", "α = 8.", flag, **base | {"alpha": 8.0})
    yield bad("negative-count", "counts must be >= 0", base, counts=(3, -1, 5))
    yield bad(
        "nan-value", "q_values must be finite", base, q_values=(1.5, math.nan, 2.0)
    )
    yield bad(
        "lengths-differ", "there must be a count for each action", base, counts=(3, 1)
    )
    yield by_convention(bad("negative-alpha", "alpha must be >= 0", base, alpha=-0.5))


@cases_of("q_update")
def q_update_cases() -> Iterator[Case]:
    base: Inputs = {"value": 0.5, "reward": 1.0, "next_values": (0.25, 2.0, -1.0)}
    base |= {
        "terminated": False,
        "truncated": False,
        "learning_rate": 0.5,
        "gamma": 0.75,
    }
    end, cut = "BootstrapAtTerminal", "TruncationAsTermination"
    yield good("inside", "Q + α(r + γ max Q′ − Q).", **base)
    yield good(
        "terminated",
        "Behind a terminal state there is nothing.",
        end,
        **base | {"terminated": True},
    )
    yield good(
        "truncated",
        "Behind a time limit the values count.",
        cut,
        **base | {"truncated": True},
    )
    yield good(
        "both",
        "What is both is terminal.",
        end,
        **base | {"terminated": True, "truncated": True},
    )
    yield good("cut-with-costs", "A time limit among negative values.", cut,
               **base | {"truncated": True, "reward": -1.0, "next_values": (-8.0, -6.0)})  # fmt: skip
    yield good(
        "all-of-it", "α = 1 forgets the old value.", **base | {"learning_rate": 1.0}
    )
    yield good("myopic", "γ = 0 leaves the reward.", **base | {"gamma": 0.0})
    yield bad(
        "no-values", "there must be a value of the next state", base, next_values=()
    )
    yield bad("nan-reward", "reward must be finite", base, reward=math.nan)
    yield bad(
        "infinite-value",
        "next_values must be finite",
        base,
        next_values=(0.25, math.inf),
    )
    yield bad("gamma-above-1", "gamma must be from 0 to 1", base, gamma=1.5)
    yield bad(
        "learning-rate-above-1",
        "learning_rate must be from 0 to 1",
        base,
        learning_rate=1.5,
    )


# ---------------------------------------------------------------- family counts


@operation("counts", "elementwise")
def pseudo_count(log_prob: Array, log_prob_after: Array) -> Array:
    return visit_counts.pseudo_count(log_prob, log_prob_after)


@operation("counts", "elementwise")
def pixel_cnn_pseudo_count(gain: Array, num_seen: int, c: float) -> Array:
    return visit_counts.pixel_cnn_pseudo_count(gain, num_seen, c)


@operation("counts", "elementwise")
def count_bonus(counts: Array, beta: float) -> Array:
    return visit_counts.count_bonus(counts, beta)


def underflowing(log_prob: Array, log_prob_after: Array) -> Array:
    """N̂ from probabilities where float64 loses the one before: 0/0 once both are lost. Right elsewhere."""
    rho, rho_after = np.exp(log_prob), np.exp(log_prob_after)
    lost = rho < np.finfo(float).tiny
    naive = rho * (1.0 - rho_after) / (rho_after - rho)
    return np.where(lost, naive, visit_counts.pseudo_count(log_prob, log_prob_after))


@mistake("UnderflowingDensity", "pseudo_count")
def pseudo_count_of_probabilities(right: Function, given: Inputs) -> Array:
    return underflowing(given["log_prob"], given["log_prob_after"])


@cases_of("pseudo_count")
def pseudo_count_cases() -> Iterator[Case]:
    base: Inputs = {
        "log_prob": (-3.0, -1.5, -0.25),
        "log_prob_after": (-2.5, -1.25, -0.125),
    }
    flag = "UnderflowingDensity"
    yield good("three", "ρ(1 − ρ′)/(ρ′ − ρ).", **base)
    yield good("three-of-ten", "ρ = 3/10, ρ′ = 4/11: seen three times, as nearly as float32 has it.",
               log_prob=(math.log(3 / 10),), log_prob_after=(math.log(4 / 11),))  # fmt: skip
    yield good("no-gain", "Where nothing is gained the count is infinite.",
               log_prob=(-1.0, -1.0, -5000.0), log_prob_after=(-1.0, -1.5, -5000.0))  # fmt: skip
    yield good("never-before", "What had no probability was never seen.",
               log_prob=(-math.inf, -math.inf), log_prob_after=(-1.0, -5000.0))  # fmt: skip
    yield good(
        "sure-after",
        "ρ′ = 1 leaves no other observation to count.",
        log_prob=(-2.0,),
        log_prob_after=(0.0,),
    )
    yield good(
        "small-gain",
        "A gain of 2^-20.",
        log_prob=(-1.0,),
        log_prob_after=(-1.0 + 2.0**-20,),
    )
    yield good(
        "large-gain",
        "exp(PG) overflows from 709 on.",
        log_prob=(-1000.0, -5000.0),
        log_prob_after=(-1.0, -0.5),
    )
    yield good("an-image", "At log ρ = −5000 the probabilities themselves are 0.", flag,
               log_prob=(-5000.0, -5000.0), log_prob_after=(-4999.5, -4998.0))  # fmt: skip
    yield good("small-image", "At log ρ = −740 few digits of ρ are left.", flag, dtypes=("f64",),
               log_prob=(-740.0, -1.0), log_prob_after=(-739.5, -0.5))  # fmt: skip
    yield bad("positive", "log_prob must be <= 0", base, log_prob=(-3.0, 0.5, -0.25))
    yield bad(
        "positive-after",
        "log_prob_after must be <= 0",
        base,
        log_prob_after=(-2.5, 0.5, -0.125),
    )
    yield bad("forgotten", "what was just seen must have a probability", base,
              log_prob_after=(-2.5, -math.inf, -0.125))  # fmt: skip
    yield bad(
        "nan", "log_prob must be a number", base, log_prob=(-3.0, math.nan, -0.25)
    )
    yield bad(
        "lengths-differ",
        "both must have the same shape",
        base,
        log_prob_after=(-2.5, -1.25),
    )


@cases_of("pixel_cnn_pseudo_count")
def pixel_cnn_pseudo_count_cases() -> Iterator[Case]:
    base: Inputs = {"gain": (2.0, 0.5, 8.0), "num_seen": 100, "c": 0.1}
    yield good("original-c", "1/(exp(c n^-½ PG) − 1), c = 0.1.", **base)
    yield good("first", "After one observation.", **base | {"num_seen": 1, "c": 1.0})
    yield good(
        "no-gain",
        "Where nothing is gained the count is infinite.",
        **base | {"gain": (0.0, -1.0, 1.0)},
    )
    yield good(
        "large-gain",
        "exp(1000) is beyond float64.",
        **base | {"gain": (1000.0,), "num_seen": 1, "c": 1.0},
    )
    yield good("many", "After a million observations.", **base | {"num_seen": 1000000})
    yield bad("none-seen", "num_seen must be >= 1", base, num_seen=0)
    yield bad("nan-gain", "gain must be a number", base, gain=(2.0, math.nan))
    yield bad("c-zero", "c must be > 0", base, c=0.0)


@cases_of("count_bonus")
def count_bonus_cases() -> Iterator[Case]:
    base: Inputs = {"counts": (1.0, 4.0, 100.0), "beta": 0.05}
    yield good("visits", "β(N + 0.01)^-½.", **base)
    yield good(
        "pseudo-counts",
        "Pseudo-counts are no whole numbers.",
        counts=(0.5, 0.015625, 2.75),
        beta=1.0,
    )
    yield good("never-seen", "N = 0 pays 10β.", **base | {"counts": (0.0,)})
    yield good(
        "infinite",
        "An infinite count pays nothing.",
        **base | {"counts": (math.inf, 1.0)},
    )
    yield bad("negative", "counts must be >= 0", base, counts=(1.0, -1.0))
    yield bad("nan", "counts must be numbers", base, counts=(1.0, math.nan))
    yield bad("negative-beta", "beta must be > 0", base, beta=-0.05)


# ---------------------------------------------------------------- family densities


@operation("densities", "arraywise")
def dirichlet_log_prob(counts: Array, alpha: float, observation: Array) -> Array:
    """P independent pixels of K symbols, counts (P, K), observation (P,)."""
    return np.array(densities.Dirichlet(counts, alpha).log_prob(observation))


@operation("densities", "elementwise")
def dirichlet_pseudo_counts(symbols: Array, num_symbols: int, alpha: float) -> Array:
    """N̂ of each observation (T, P), by a model that has learned those before it, (T,)."""
    bonus = visit_counts.PseudoCounts(dirichlet_model(symbols, num_symbols, alpha))
    nothing = np.zeros(len(symbols))
    return bonus.pseudo_counts(
        Batch(symbols, nothing, nothing, symbols, nothing, nothing)
    )


@operation("densities", "elementwise")
def cts_log_probs(bits: Array, depth: int, rate: float | None) -> Array:
    """log-probability of each of T bits before it is learned, (T,)."""
    return log_probs(densities.binary_cts(depth, rate), bits)


@operation("densities", "elementwise")
def image_cts_log_probs(images: Array, num_levels: int, rate: float | None) -> Array:
    """log-probability of each image (T, H, W) before it is learned, (T,)."""
    return log_probs(image_model(images, num_levels, rate), images)


def dirichlet_model(
    symbols: Array, num_symbols: int, alpha: float
) -> densities.Dirichlet:
    if symbols.ndim != 2:
        raise ValueError(f"symbols must be (T, P), got {symbols.shape}")
    return densities.dirichlet(num_symbols, alpha, symbols.shape[1])


def image_model(
    images: Array, num_levels: int, rate: float | None
) -> densities.ImageCts:
    if images.ndim != 3:
        raise ValueError(f"images must be (T, H, W), got {images.shape}")
    _, height, width = images.shape
    return densities.image_cts((height, width), num_levels, rate)


@intermediates_of("dirichlet_pseudo_counts")
def scores(given: Inputs) -> Arrays:
    """Score, update, score: log ρ and log ρ′ of each observation."""
    model, symbols = dirichlet_model(**given), given["symbols"]
    before, after = (
        log_probs(model, symbols, learned=learned) for learned in (False, True)
    )
    return {"log_prob": before, "log_prob_after": after}


@mistake("OffByOnePseudoCount", "dirichlet_pseudo_counts")
def pseudo_counts_of_the_learned(right: Function, given: Inputs) -> Array:
    """Update, score, update, score."""
    model, values = dirichlet_model(**given), []
    for row in given["symbols"]:
        model = model.update(row)
        values.append((model.log_prob(row), model.update(row).log_prob(row)))
    return visit_counts.pseudo_count(*np.transpose(values))


@mistake("OffByOnePseudoCount", "cts_log_probs")
def learned_bits(right: Function, given: Inputs) -> Array:
    return log_probs(
        densities.binary_cts(given["depth"], given["rate"]), given["bits"], learned=True
    )


@mistake("OffByOnePseudoCount", "image_cts_log_probs")
def learned_images(right: Function, given: Inputs) -> Array:
    return log_probs(image_model(**given), given["images"], learned=True)


@mistake("CtsUpdateOrder", "cts_log_probs")
def bits_by_updated_stay(right: Function, given: Inputs) -> Array:
    return np.sum(
        np.log(bit_probabilities(**given, one=1.0, updated_stay=True)), axis=1
    )


@mistake("CtsUpdateOrder", "image_cts_log_probs")
def images_by_updated_stay(right: Function, given: Inputs) -> Array:
    return np.sum(
        np.log(image_probabilities(**given, one=1.0, updated_stay=True)), axis=1
    )


@mistake("UnderflowingDensity", "dirichlet_log_prob", "image_cts_log_probs")
def log_of_a_product(right: Function, given: Inputs) -> Array:
    return np.log(np.exp(right(**given)))


@mistake("UnderflowingDensity", "dirichlet_pseudo_counts")
def pseudo_counts_of_probabilities(right: Function, given: Inputs) -> Array:
    return underflowing(**scores(given))


@cases_of("dirichlet_log_prob")
def dirichlet_log_prob_cases() -> Iterator[Case]:
    table: Inputs = {"counts": ((3, 0, 5),), "alpha": 0.5, "observation": (0,)}
    base: Inputs = {
        "counts": ((3, 0, 5), (2, 2, 4)),
        "alpha": 0.5,
        "observation": (2, 0),
    }
    flag = "UnderflowingDensity"
    yield good("table", "log (N + α)/(n + Kα).", **table)
    yield good("two-pixels", "Pixels are independent.", **base)
    yield good(
        "nothing-seen",
        "−P log K before the first.",
        **base | {"counts": ((0, 0, 0), (0, 0, 0))},
    )
    yield good("empirical", "α = 0 leaves the frequency.", **table | {"alpha": 0.0})
    yield good("never-seen", "α = 0 gives what was not seen no probability.",
               **base | {"alpha": 0.0, "observation": (1, 0)})  # fmt: skip
    yield good("tiny-alpha", "Twelve pixels that were never seen, at α = 1e-30.", flag,
               counts=((1, 0),) * 12, alpha=1e-30, observation=(1,) * 12)  # fmt: skip
    yield good("large-counts", "Thirty pixels that were never seen, after 2^40 others.", flag,
               counts=((0, 2**40),) * 30, alpha=0.5, observation=(0,) * 30)  # fmt: skip
    yield bad(
        "negative-count", "counts must be >= 0", base, counts=((3, -1, 6), (2, 2, 4))
    )
    yield bad(
        "sums-differ",
        "each pixel must have been seen as often",
        base,
        counts=((3, 0, 5), (2, 2, 3)),
    )
    yield bad(
        "nothing-seen-empirical",
        "alpha must be > 0 before the first",
        table,
        counts=((0, 0, 0),),
        alpha=0.0,
    )
    yield bad(
        "symbol-too-large",
        "a symbol must be an index below K",
        base,
        observation=(2, 3),
    )
    yield bad(
        "other-size", "there must be a symbol for each pixel", base, observation=(2,)
    )
    yield bad("negative-alpha", "alpha must be >= 0", base, alpha=-0.5)


@cases_of("dirichlet_pseudo_counts")
def dirichlet_pseudo_counts_cases() -> Iterator[Case]:
    base: Inputs = {
        "symbols": ((1,), (0,), (1,), (1,), (2,), (1,)),
        "num_symbols": 4,
        "alpha": 0.5,
    }
    learned, lost = "OffByOnePseudoCount", "UnderflowingDensity"
    yield good("table", "N + α, whatever K.", learned, **base)
    yield good("flat", "α = 1.", learned, **base | {"alpha": 1.0, "num_symbols": 3})
    yield good("two-pixels", "Pixels are learned alone, but counted together.", learned,
               symbols=((0, 1), (0, 1), (1, 1), (0, 0)), num_symbols=2, alpha=0.25)  # fmt: skip
    yield good(
        "one-symbol",
        "What is sure teaches nothing.",
        symbols=((0,), (0,)),
        num_symbols=1,
        alpha=0.5,
    )
    for name, pixels, count, alpha in (
        ("image", 140, 256, 100.0),
        ("finer-image", 112, 1024, 64.0),
    ):
        rows = np.repeat(levels(1, pixels, count=count, seed=pixels), 2, axis=0)
        yield good(name, f"{pixels} pixels of {count} levels, twice: a probability below 1e-323.", lost, learned,
                   dtypes=("f64",), symbols=rows, num_symbols=count, alpha=alpha)  # fmt: skip
    yield bad(
        "symbol-too-large",
        "a symbol must be an index below num_symbols",
        base,
        num_symbols=2,
    )
    yield bad(
        "negative-symbol", "a symbol must be an index", base, symbols=((1,), (-1,))
    )
    yield bad(
        "empirical",
        "alpha must be > 0, for the first has no probability",
        base,
        alpha=0.0,
    )
    yield bad("flat-list", "symbols must be (T, P)", base, symbols=(1, 0, 1))


@cases_of("cts_log_probs")
def cts_log_probs_cases() -> Iterator[Case]:
    base: Inputs = {"bits": (0, 1, 1, 0, 1, 0, 1, 1), "depth": 2, "rate": None}
    order, learned = "CtsUpdateOrder", "OffByOnePseudoCount"
    yield good("one-zero", "1 and 0 at depth 1: 1/2 · 3/8 = 3/16, or 5/28 by CtsUpdateOrder.", order, learned,
               bits=(1, 0), depth=1, rate=None)  # fmt: skip
    yield good(
        "eight", "The t-th bit switches at the rate 1/(t + 1).", order, learned, **base
    )
    yield good(
        "estimator",
        "At depth 0 the estimator is alone: (N + ½)/(n + 1).",
        learned,
        **base | {"depth": 0},
    )
    yield good(
        "weighting",
        "Rate 0 is context-tree weighting.",
        learned,
        **base | {"rate": 0.0, "depth": 3},
    )
    yield good(
        "constant-rate", "The rate 1/8.", order, learned, **base | {"rate": 0.125}
    )
    yield good(
        "fastest",
        "The rate ½ forgets the weights at every bit.",
        order,
        learned,
        **base | {"rate": 0.5},
    )
    yield good(
        "deep",
        "Contexts longer than the sequence begin with zeros.",
        order,
        learned,
        **base | {"depth": 12},
    )
    yield bad("two", "a bit must be 0 or 1", base, bits=(0, 1, 2))
    yield bad("fraction", "a bit must be 0 or 1", base, bits=(0.0, 0.5, 1.0))
    yield bad("negative-depth", "depth must be >= 0", base, depth=-1)
    yield by_convention(
        bad("rate-above-half", "rate must be from 0 to 0.5", base, rate=0.75)
    )
    yield bad("negative-rate", "rate must be from 0 to 0.5", base, rate=-0.25)


@cases_of("image_cts_log_probs")
def image_cts_log_probs_cases() -> Iterator[Case]:
    base: Inputs = {
        "images": levels(4, 2, 3, count=2, seed=1),
        "num_levels": 2,
        "rate": None,
    }
    order, learned, lost = (
        "CtsUpdateOrder",
        "OffByOnePseudoCount",
        "UnderflowingDensity",
    )
    yield good("four-images", "A tree a pixel, whose context is left, above, above left, above right.",
               order, learned, **base)  # fmt: skip
    yield good("three-levels", "The estimator adds ½ to each of three levels.", order, learned,
               images=levels(5, 2, 2, count=3, seed=2), num_levels=3, rate=0.25)  # fmt: skip
    yield good(
        "weighting",
        "Rate 0 is context-tree weighting.",
        learned,
        **base | {"rate": 0.0},
    )
    yield good("one-pixel", "Beyond the border there are zeros.", learned,
               images=(((1,),), ((0,),), ((1,),)), num_levels=2, rate=None)  # fmt: skip
    yield good("grey", "144 pixels of 256 levels have a probability below 1e-323.", lost,
               images=levels(1, 12, 12, count=256, seed=3), num_levels=256, rate=None)  # fmt: skip
    yield good("grey-again", "156 pixels of 128 levels, twice.", lost, learned,
               images=np.repeat(levels(1, 12, 13, count=128, seed=4), 2, axis=0), num_levels=128,
               rate=0.125)  # fmt: skip
    yield bad(
        "level-too-large",
        "a level must be an index below num_levels",
        base,
        images=levels(2, 2, 2, count=4, seed=1),
    )
    yield bad(
        "negative-level", "a level must be an index", base, images=-base["images"]
    )
    yield bad("one-level", "num_levels must be >= 2", base, num_levels=1)
    yield bad("flat", "images must be (T, H, W)", base, images=base["images"][0])
    yield bad("nan-rate", "rate must be from 0 to 0.5", base, rate=math.nan)

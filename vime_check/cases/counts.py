"""Operations of counting: counts and pseudo-counts, Dirichlet, context-tree switching.

Axes and units as in `vime_lecture`, which computes the results. The 50-digit forms of context-tree switching use plain
weights; the reference uses their logarithms.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bnn_ref import Array
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
    intermediates_of,
    mistake,
    operation,
    register,
)
from vime_check.wire import Arrays, Inputs
from vime_lecture import counts as visit_counts
from vime_lecture import densities
from vime_lecture.densities import DensityModel, Symbols
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
    """Log-probability of each observation before the model learns it, or after."""
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
    """Probability of each symbol in its context, given the symbols before it.

    Numbers have the type of `one`. With `updated_stay`, the split weight uses the new stay weight, which is the mistake
    CtsUpdateOrder.
    """
    seen: dict[Context, list[int]] = defaultdict(list)
    weights: dict[Context, tuple[Any, Any]] = defaultdict(lambda: (one / 2, one / 2))
    probabilities = []
    for t, (context, symbol) in enumerate(steps, start=1):
        a = one / (t + 1) if rate is None else rate

        # Each node's estimate on the path, from earlier symbols: (N + ½)/(n + K/2).
        path = [context[:length] for length in range(len(context) + 1)]
        own = [
            (2 * seen[node].count(symbol) + one) / (2 * len(seen[node]) + num_symbols)
            for node in path
        ]

        # From the deepest node up: stay with its estimate, or split into its children.
        below = own[-1]
        for node, estimate in list(zip(path, own))[-2::-1]:
            stay, split = weights[node]
            new_stay = (1 - a) * stay * estimate + a * split * below
            stayed = new_stay if updated_stay else stay
            new_split = (1 - a) * split * below + a * stayed * estimate
            weights[node] = new_stay, new_split
            below = (stay * estimate + split * below) / (stay + split)

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

    # Each pixel's contexts and symbols, image by image.
    pixels = [(y, x) for y in range(height) for x in range(width)]
    steps = [
        [(context(image, *at), int(image[at])) for image in images] for at in pixels
    ]
    columns = [switching(each, num_levels, rate, one, **order) for each in steps]
    return np.array(columns).T  # (T, P)


# ---------------------------------------------------------------- family counts


register(
    "counts",
    "elementwise",
    visit_counts.pseudo_count,
    measured=(4.4e-16, 9.2e-08),
    formula="PG = log_prob_after − log_prob\n"
    "N̂ = (1 − e^log_prob_after)·e^−PG/(1 − e^−PG) if PG > 0, else infinity",
    outputs={"": ("the shape of log_prob", "count")},
    rules=(
        "This is ρ(1 − ρ′)/(ρ′ − ρ) without the probabilities themselves, which may underflow.",
        "Use expm1 for 1 − e^x. log_prob = −infinity gives 0.",
        "If PG ≤ 0 the result is infinity, also where log_prob_after = 0. If PG > 0 and log_prob_after = 0 it is 0.",
    ),
)


def exact_pseudo_count(rho: Any, rho_after: Any) -> Any:
    return rho * (1 - rho_after) / (rho_after - rho) if rho_after > rho else math.inf


@exact_form("pseudo_count")
def exact_pseudo_counts(log_prob: Any, log_prob_after: Any) -> Any:
    counts = np.vectorize(exact_pseudo_count, otypes=[object])
    return counts(exact.exp(log_prob), exact.exp(log_prob_after))


register(
    "counts",
    "elementwise",
    visit_counts.pixel_cnn_pseudo_count,
    measured=(2.0e-16, 1.6e-07),
    formula="x = c·PG/√num_seen, PG = gain\nN̂ = 1/(e^x − 1) if x > 0, else infinity",
    outputs={"": ("the shape of gain", "count")},
    rules=(
        "Compute it as e^−x/(−expm1(−x)), because e^x may overflow. The result is then 0 or nearly 0.",
    ),
)


@exact_form("pixel_cnn_pseudo_count")
def exact_pixel_cnn_pseudo_count(gain: Any, num_seen: int, c: Any) -> Any:
    powers = c * gain / exact.sqrt(num_seen)
    return np.array([1 / exact.expm1(x) if x > 0 else math.inf for x in powers])


register(
    "counts",
    "elementwise",
    visit_counts.count_bonus,
    measured=(1.8e-16, 6.9e-08),
    formula="bonus = beta/√(counts + 0.01)",
    outputs={"": ("the shape of counts", "reward")},
    rules=("An infinite count gives 0.",),
    inputs={
        "counts": {
            "shape": "(...)",
            "domain": "≥ 0; may be infinite, and need not be whole",
            "meaning": "visit counts or pseudo-counts",
        }
    },
)


@exact_form("count_bonus")
def exact_count_bonus(counts: Any, beta: Any) -> Any:
    return beta / exact.sqrt(counts + exact.one() / 100)


def underflowing(log_prob: Array, log_prob_after: Array) -> Array:
    """N̂ from plain probabilities: 0/0 if both underflow in float64, wrong if one does, and correct otherwise."""
    rho = np.exp(log_prob)
    rho_after = np.exp(log_prob_after)
    lost = rho < np.finfo(float).tiny
    naive = rho * (1.0 - rho_after) / (rho_after - rho)
    return np.where(lost, naive, visit_counts.pseudo_count(log_prob, log_prob_after))


@mistake("UnderflowingDensity", "pseudo_count")
def pseudo_count_of_probabilities(right: Function, given: Inputs) -> Array:
    return underflowing(given["log_prob"], given["log_prob_after"])


# fmt: off
@cases_of("pseudo_count")
def pseudo_count_cases() -> Iterator[Case]:
    base: Inputs = {"log_prob": (-3.25, -1.5, -0.375), "log_prob_after": (-2.5, -1.125, -0.125)}
    flag = "UnderflowingDensity"
    yield good("three", "ρ(1 − ρ′)/(ρ′ − ρ).", **base)
    yield good("three-of-ten", "ρ = 3/10, ρ′ = 4/11: seen three times, as nearly as float32 has it.",
               log_prob=(math.log(3 / 10),), log_prob_after=(math.log(4 / 11),))
    yield good("no-gain", "Where nothing is gained the count is infinite.",
               log_prob=(-1.0, -1.0, -5000.0), log_prob_after=(-1.0, -1.5, -5000.0))
    yield good("never-before", "What had no probability was never seen.",
               log_prob=(-math.inf, -math.inf), log_prob_after=(-1.0, -5000.0))
    yield good("sure-after", "ρ′ = 1 leaves no other observation to count.", log_prob=(-2.0,), log_prob_after=(0.0,))
    yield good("small-gain", "A gain of 2^-20.", log_prob=(-1.0,), log_prob_after=(-1.0 + 2.0**-20,))
    yield good("large-gain", "exp(PG) overflows from 709 on.", log_prob=(-1000.0, -5000.0), log_prob_after=(-1.0, -0.5))
    yield good("an-image", "At log ρ = −5000 the probabilities themselves are 0.", flag,
               log_prob=(-5000.0, -5000.0), log_prob_after=(-4999.5, -4998.0))
    yield good("small-image", "At log ρ = −740 few digits of ρ are left.", flag, dtypes=("f64",),
               log_prob=(-740.0, -1.0), log_prob_after=(-739.5, -0.5))
    yield bad("positive", "log_prob must be <= 0", base, log_prob=(-3.25, 0.5, -0.375))
    yield bad("positive-after", "log_prob_after must be <= 0", base, log_prob_after=(-2.5, 0.5, -0.125))
    yield bad("forgotten", "what was just seen must have a probability", base,
              log_prob_after=(-2.5, -math.inf, -0.125))
    yield bad("nan", "log_prob must be a number", base, log_prob=(-3.25, math.nan, -0.375))
    yield bad("lengths-differ", "both must have the same shape", base, log_prob_after=(-2.5, -1.25))
# fmt: on


@draw_of("pseudo_count")
def draw_pseudo_count(draw: Draw) -> Inputs:
    """Log-probabilities with gains of −1 to 2 nats, some of them near −3000."""
    before = [
        -each - 3000.0 * draw.integer(0, 1)
        for each in draw.positives(draw.integer(1, 3))
    ]
    return {
        "log_prob": before,
        "log_prob_after": [
            min(each + draw.integer(-16, 32) / 16, 0.0) for each in before
        ],
    }


# fmt: off
@cases_of("pixel_cnn_pseudo_count")
def pixel_cnn_pseudo_count_cases() -> Iterator[Case]:
    base: Inputs = {"gain": (2.25, 0.625, 8.5), "num_seen": 90, "c": 0.1}
    yield good("original-c", "1/(exp(c n^-½ PG) − 1), c = 0.1.", **base)
    yield good("first", "After one observation.", **base | {"num_seen": 1, "c": 1.0})
    yield good("no-gain", "Where nothing is gained the count is infinite.", **base | {"gain": (0.0, -1.0, 1.0)})
    yield good("large-gain", "exp(1000) is beyond float64.", **base | {"gain": (1000.0,), "num_seen": 1, "c": 1.0})
    yield good("many", "After a million observations.", **base | {"num_seen": 1000000})
    yield bad("none-seen", "num_seen must be >= 1", base, num_seen=0)
    yield bad("nan-gain", "gain must be a number", base, gain=(2.0, math.nan))
    yield bad("c-zero", "c must be > 0", base, c=0.0)
# fmt: on


@draw_of("pixel_cnn_pseudo_count")
def draw_pixel_cnn_pseudo_count(draw: Draw) -> Inputs:
    return {
        "gain": draw.numbers(draw.integer(1, 3)),
        "num_seen": draw.integer(1, 100),
        "c": draw.positives(),
    }


# fmt: off
@cases_of("count_bonus")
def count_bonus_cases() -> Iterator[Case]:
    base: Inputs = {"counts": (1.0, 5.0, 130.0), "beta": 0.05}
    yield good("visits", "β(N + 0.01)^-½.", **base)
    yield good("pseudo-counts", "Pseudo-counts are no whole numbers.", counts=(0.5, 0.015625, 2.75), beta=1.0)
    yield good("never-seen", "N = 0 pays 10β.", **base | {"counts": (0.0,)})
    yield good("infinite", "An infinite count pays nothing.", **base | {"counts": (math.inf, 1.0)})
    yield bad("negative", "counts must be >= 0", base, counts=(1.0, -1.0))
    yield bad("nan", "counts must be numbers", base, counts=(1.0, math.nan))
    yield bad("negative-beta", "beta must be > 0", base, beta=-0.05)
# fmt: on


@draw_of("count_bonus")
def draw_count_bonus(draw: Draw) -> Inputs:
    return {
        "counts": [each - 0.25 for each in draw.positives(draw.integer(1, 3))],
        "beta": draw.positives(),
    }


# ---------------------------------------------------------------- family densities


@operation(
    "densities",
    "arraywise",
    measured=(2.7e-16, 1.1e-07),
    kinds={"observation": "wholes"},
    formula="n = Σ_k counts[0, k]\n"
    "output = Σ_p log((counts[p, observation_p] + α)/(n + K·α))",
    outputs={"": ("()", "nats")},
    rules=(
        "P pixels with K symbols each are independent. All rows of counts have the sum n.",
        "With α = 0, a symbol that was never seen gives −infinity. Reject α = 0 if n = 0.",
        "Add logarithms: the product of the probabilities may underflow.",
    ),
    inputs={
        "counts": {
            "shape": "(P, K)",
            "domain": "≥ 0, below 2^53; rows with equal sums",
            "meaning": "how often each pixel had each symbol",
        },
        "alpha": {
            "domain": "0, or from 1e-100 to 1e100",
            "unit": "count",
            "meaning": "pseudo-count of each symbol",
        },
    },
)
def dirichlet_log_prob(counts: Array, alpha: float, observation: Array) -> Array:
    """P independent pixels of K symbols, counts (P, K), observation (P,)."""
    return np.array(densities.Dirichlet(counts, alpha).log_prob(observation))


def dirichlet_probability(
    counts: Iterable[Any], alpha: Any, num_symbols: int, total: int
) -> Any:
    """Π_p (N_p + α)/(n + Kα), from the counts of the observed symbols."""
    return math.prod((int(n) + alpha) / (total + num_symbols * alpha) for n in counts)


@exact_form("dirichlet_log_prob")
def exact_dirichlet_log_prob(counts: Array, alpha: Any, observation: Array) -> Any:
    seen = counts[np.arange(len(observation)), observation]
    total = int(sum(counts[0]))
    return exact.log(dirichlet_probability(seen, alpha, counts.shape[1], total))


@operation(
    "densities",
    "elementwise",
    measured=(1.7e-12, 5.4e-07),
    kinds={"symbols": "wholes"},
    formula="counts are 0 before the first observation\n"
    "for each observation t = 0 … T − 1:\n"
    "  log ρ  = Σ_p log((counts[p, symbols[t, p]] + α)/(t + K·α))\n"
    "  log ρ′ = Σ_p log((counts[p, symbols[t, p]] + 1 + α)/(t + 1 + K·α))\n"
    "  output[t] = pseudo_count(log ρ, log ρ′)\n"
    "  counts[p, symbols[t, p]] += 1 for each pixel p",
    outputs={"": ("(T,)", "count")},
    rules=(
        "K is num_symbols.",
        "The probabilities of a whole image underflow, so use their logarithms.",
        "Above α = 1e6 their difference loses digits. No case goes there.",
    ),
    inputs={
        "alpha": {
            "domain": "from 1e-100 to 1e100",
            "unit": "count",
            "meaning": "pseudo-count of each symbol",
        }
    },
)
def dirichlet_pseudo_counts(symbols: Array, num_symbols: int, alpha: float) -> Array:
    """N̂ of each observation (T, P), by a model that has learned those before it, (T,)."""
    bonus = visit_counts.PseudoCounts(dirichlet_model(symbols, num_symbols, alpha))
    nothing = np.zeros(len(symbols))
    return bonus.pseudo_counts(
        Batch(symbols, nothing, nothing, symbols, nothing, nothing)
    )


@exact_form("dirichlet_pseudo_counts")
def exact_dirichlet_pseudo_counts(symbols: Array, num_symbols: int, alpha: Any) -> Any:
    """Each observation's count, from its probabilities before and after counting it."""
    pseudo_counts = []
    for t, row in enumerate(symbols):
        before = np.sum(symbols[:t] == row, axis=0)
        probabilities = [
            dirichlet_probability(before + k, alpha, num_symbols, t + k) for k in (0, 1)
        ]
        pseudo_counts.append(exact_pseudo_count(*probabilities))
    return np.array(pseudo_counts)


@operation(
    "densities",
    "elementwise",
    measured=(8.6e-16, 2.0e-07),
    kinds={"bits": "wholes"},
    formula="a node for each context of up to d = depth bits, nearest bit first; the root's context is empty\n"
    "each node starts with the counts N(0) = N(1) = 0 and the weights stay = split = ½\n"
    "\n"
    "for the t-th bit x, t = 1 … T, on the path j = 0 … d:\n"
    "node j has the context (c_1, …, c_j), c_i the i-th bit before x, and 0 before the first bit; K = 2\n"
    "own_j = (N_j(x) + ½)/(Σ_k N_j(k) + K/2)\n"
    "below_d = own_d\n"
    "for j = d − 1 … 0: below_j = stay_j·own_j + split_j·below_{j+1}\n"
    "log P(x) = log below_0\n"
    "\n"
    "then learn x, with a = rate, or a = 1/(t + 1) if rate is null:\n"
    "for j = d − 1 … 0, both from the old weights:\n"
    "  stay_j  ← [(1 − a)·stay_j·own_j + a·split_j·below_{j+1}]/below_j\n"
    "  split_j ← [(1 − a)·split_j·below_{j+1} + a·stay_j·own_j]/below_j\n"
    "N_j(x) ← N_j(x) + 1 for j = 0 … d\n"
    "\n"
    "output[t − 1] = log P(x), from what was learned before",
    outputs={"": ("(T,)", "nats")},
    rules=(
        "own_j and below_j of a bit are those before it is learned, also in its update.",
        "depth 0 leaves the root's estimate alone.",
    ),
)
def cts_log_probs(bits: Array, depth: int, rate: float | None) -> Array:
    """Log-probability (T,) of each of T bits before it is learned."""
    return log_probs(densities.binary_cts(depth, rate), bits)


@exact_form("cts_log_probs")
def exact_cts_log_probs(bits: Array, depth: int, rate: Any) -> Any:
    probabilities = bit_probabilities(bits, depth, rate, exact.one())
    return np.sum(exact.log(probabilities), axis=1)  # (T,)


@operation(
    "densities",
    "elementwise",
    measured=(3.1e-15, 1.2e-06),
    kinds={"images": "wholes"},
    formula="a tree for each of the H·W pixels, over K = num_levels symbols, of depth 4\n"
    "a node for each context of up to 4 symbols\n"
    "each node starts with the counts N(k) = 0 and the weights stay = split = ½\n"
    "\n"
    "for the t-th image, t = 1 … T, and each pixel x, in the pixel's own tree on the path j = 0 … 4:\n"
    "node j has the context (c_1, …, c_j): c_1 the pixel to the left in the same image, c_2 the pixel above,\n"
    "c_3 above left, c_4 above right; 0 beyond the border\n"
    "own_j = (N_j(x) + ½)/(Σ_k N_j(k) + K/2)\n"
    "below_4 = own_4\n"
    "for j = 4 − 1 … 0: below_j = stay_j·own_j + split_j·below_{j+1}\n"
    "log P(x) = log below_0\n"
    "\n"
    "then learn x, with a = rate, or a = 1/(t + 1) if rate is null:\n"
    "for j = 4 − 1 … 0, both from the old weights:\n"
    "  stay_j  ← [(1 − a)·stay_j·own_j + a·split_j·below_{j+1}]/below_j\n"
    "  split_j ← [(1 − a)·split_j·below_{j+1} + a·stay_j·own_j]/below_j\n"
    "N_j(x) ← N_j(x) + 1 for j = 0 … 4\n"
    "\n"
    "output[t − 1] = Σ over pixels of log P(x), from the images before",
    outputs={"": ("(T,)", "nats")},
    rules=(
        "own_j and below_j of a pixel are those before the image is learned, also in its update.",
        "Trees share nothing. t counts images, so it is the same in every tree.",
        "Add logarithms: the product of the probabilities underflows.",
    ),
)
def image_cts_log_probs(images: Array, num_levels: int, rate: float | None) -> Array:
    """Log-probability (T,) of each image (T, H, W) before it is learned."""
    return log_probs(image_model(images, num_levels, rate), images)


@exact_form("image_cts_log_probs")
def exact_image_cts_log_probs(images: Array, num_levels: int, rate: Any) -> Any:
    probabilities = image_probabilities(images, num_levels, rate, exact.one())
    return np.sum(exact.log(probabilities), axis=1)  # (T,)


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
    model = dirichlet_model(**given)
    symbols = given["symbols"]
    before, after = (
        log_probs(model, symbols, learned=learned) for learned in (False, True)
    )
    return {"log_prob": before, "log_prob_after": after}


@mistake("OffByOnePseudoCount", "dirichlet_pseudo_counts")
def pseudo_counts_of_the_learned(right: Function, given: Inputs) -> Array:
    """Update, score, update, score."""
    model = dirichlet_model(**given)
    values = []
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


# fmt: off
@cases_of("dirichlet_log_prob")
def dirichlet_log_prob_cases() -> Iterator[Case]:
    table: Inputs = {"counts": ((3, 0, 5),), "alpha": 0.5, "observation": (0,)}
    base: Inputs = {"counts": ((3, 0, 5), (2, 2, 4)), "alpha": 0.5, "observation": (2, 0)}
    flag = "UnderflowingDensity"
    yield good("table", "log (N + α)/(n + Kα).", **table)
    yield good("two-pixels", "Pixels are independent.", **base)
    yield good("nothing-seen", "−P log K before the first.", **base | {"counts": ((0, 0, 0), (0, 0, 0))})
    yield good("empirical", "α = 0 leaves the frequency.", **table | {"alpha": 0.0})
    yield good("never-seen", "α = 0 gives what was not seen no probability.",
               **base | {"alpha": 0.0, "observation": (1, 0)})
    yield good("tiny-alpha", "Twelve pixels that were never seen, at α = 1e-30.", flag,
               counts=((1, 0),) * 12, alpha=1e-30, observation=(1,) * 12)
    yield good("large-counts", "Thirty pixels that were never seen, after 2^40 others.", flag,
               counts=((0, 2**40),) * 30, alpha=0.5, observation=(0,) * 30)
    yield bad("negative-count", "counts must be >= 0", base, counts=((3, -1, 6), (2, 2, 4)))
    yield bad("sums-differ", "each pixel must have been seen as often", base, counts=((3, 0, 5), (2, 2, 3)))
    yield bad("nothing-seen-empirical", "alpha must be > 0 before the first", table, counts=((0, 0, 0),), alpha=0.0)
    yield bad("symbol-too-large", "a symbol must be an index below K", base, observation=(2, 3))
    yield bad("other-size", "there must be a symbol for each pixel", base, observation=(2,))
    yield bad("negative-alpha", "alpha must be >= 0", base, alpha=-0.5)
# fmt: on


@draw_of("dirichlet_log_prob")
def draw_dirichlet_log_prob(draw: Draw) -> Inputs:
    pixels = draw.integer(1, 3)
    count = draw.integer(2, 3)
    seen = draw.wholes(count - 1, draw.integer(0, 5), pixels)
    counts = [
        [sum(row[p] == k for row in seen) for k in range(count)] for p in range(pixels)
    ]
    return {
        "counts": counts,
        "alpha": draw.positives(),
        "observation": draw.wholes(count - 1, pixels),
    }


# fmt: off
@cases_of("dirichlet_pseudo_counts")
def dirichlet_pseudo_counts_cases() -> Iterator[Case]:
    base: Inputs = {"symbols": ((1,), (0,), (1,), (1,), (2,), (1,)), "num_symbols": 4, "alpha": 0.5}
    learned = "OffByOnePseudoCount"
    lost = "UnderflowingDensity"
    yield good("table", "N + α, whatever K.", learned, **base)
    yield good("flat", "α = 1.", learned, **base | {"alpha": 1.0, "num_symbols": 3})
    yield good("two-pixels", "Pixels are learned alone, but counted together.", learned,
               symbols=((0, 1), (0, 1), (1, 1), (0, 0)), num_symbols=2, alpha=0.25)
    yield good("one-symbol", "What is sure teaches nothing.", symbols=((0,), (0,)), num_symbols=1, alpha=0.5)
    for name, pixels, count, alpha in (("image", 140, 256, 100.0), ("finer-image", 112, 1024, 64.0)):
        rows = np.repeat(levels(1, pixels, count=count, seed=pixels), 2, axis=0)
        yield good(name, f"{pixels} pixels of {count} levels, twice: a probability below 1e-323.", lost, learned,
                   dtypes=("f64",), symbols=rows, num_symbols=count, alpha=alpha)
    yield bad("symbol-too-large", "a symbol must be an index below num_symbols", base, num_symbols=2)
    yield bad("negative-symbol", "a symbol must be an index", base, symbols=((1,), (-1,)))
    yield bad("empirical", "alpha must be > 0, for the first has no probability", base, alpha=0.0)
    yield bad("flat-list", "symbols must be (T, P)", base, symbols=(1, 0, 1))
# fmt: on


@draw_of("dirichlet_pseudo_counts")
def draw_dirichlet_pseudo_counts(draw: Draw) -> Inputs:
    count = draw.integer(2, 3)
    symbols = draw.wholes(count - 1, draw.integer(1, 5), draw.integer(1, 3))
    return {"symbols": symbols, "num_symbols": count, "alpha": draw.positives()}


# fmt: off
@cases_of("cts_log_probs")
def cts_log_probs_cases() -> Iterator[Case]:
    base: Inputs = {"bits": (0, 1, 1, 0, 1, 0, 1, 1), "depth": 2, "rate": None}
    order = "CtsUpdateOrder"
    learned = "OffByOnePseudoCount"
    yield good("one-zero", "1 and 0 at depth 1: 1/2 · 3/8 = 3/16, or 5/28 by CtsUpdateOrder.", order, learned,
               bits=(1, 0), depth=1, rate=None)
    yield good("eight", "The t-th bit switches at the rate 1/(t + 1).", order, learned, **base)
    yield good("estimator", "At depth 0 the estimator is alone: (N + ½)/(n + 1).", learned, **base | {"depth": 0})
    yield good("weighting", "Rate 0 is context-tree weighting.", learned, **base | {"rate": 0.0, "depth": 3})
    late = (1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 1)
    yield good("late-context", "The context 1, 1 comes back late; the rate is the bit's, not the node's.",
               order, learned, **base | {"bits": late})
    yield good("late-deep-context", "The same three bits come back, and the fourth differs.", order, learned,
               **base | {"bits": (1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0), "depth": 3})
    yield good("constant-rate", "The rate 1/8.", order, learned, **base | {"rate": 0.125})
    yield good("fastest", "The rate ½ forgets the weights at every bit.", order, learned, **base | {"rate": 0.5})
    yield good("deep", "Contexts longer than the sequence begin with zeros.", order, learned, **base | {"depth": 12})
    yield bad("two", "a bit must be 0 or 1", base, bits=(0, 1, 2))
    yield bad("fraction", "a bit must be 0 or 1", base, bits=(0.0, 0.5, 1.0))
    yield bad("negative-depth", "depth must be >= 0", base, depth=-1)
    yield bad("table", "bits must be (T,)", base, bits=((0, 1), (1, 0)))
    yield by_convention(bad("rate-above-half", "rate must be from 0 to 0.5", base, rate=0.75))
    yield bad("negative-rate", "rate must be from 0 to 0.5", base, rate=-0.25)
# fmt: on


@draw_of("cts_log_probs")
def draw_cts_log_probs(draw: Draw) -> Inputs:
    return {
        "bits": draw.wholes(1, draw.integer(1, 8)),
        "depth": draw.integer(0, 3),
        "rate": draw.rate(),
    }


# fmt: off
@cases_of("image_cts_log_probs")
def image_cts_log_probs_cases() -> Iterator[Case]:
    base: Inputs = {"images": levels(4, 2, 3, count=2, seed=1), "num_levels": 2, "rate": None}
    order = "CtsUpdateOrder"
    learned = "OffByOnePseudoCount"
    lost = "UnderflowingDensity"
    yield good("four-images", "A tree a pixel, whose context is left, above, above left, above right.",
               order, learned, **base)
    yield good("three-levels", "The estimator adds ½ to each of three levels.", order, learned,
               images=levels(5, 2, 2, count=3, seed=2), num_levels=3, rate=0.25)
    yield good("weighting", "Rate 0 is context-tree weighting.", learned, **base | {"rate": 0.0})
    changing = (((1, 0, 1),), ((0, 0, 0),), ((0, 0, 1),), ((0, 0, 0),), ((1, 0, 0),), ((1, 1, 1),))
    yield good("late-context", "A neighbor lights up again after four images.", order, learned,
               images=changing, num_levels=2, rate=None)
    yield good("one-pixel", "Beyond the border there are zeros.", learned,
               images=(((1,),), ((0,),), ((1,),)), num_levels=2, rate=None)
    yield good("grey", "144 pixels of 256 levels have a probability below 1e-323.", lost,
               images=levels(1, 12, 12, count=256, seed=3), num_levels=256, rate=None)
    yield good("grey-again", "156 pixels of 128 levels, twice.", lost, learned,
               images=np.repeat(levels(1, 12, 13, count=128, seed=4), 2, axis=0), num_levels=128,
               rate=0.125)
    yield bad(
        "level-too-large", "a level must be an index below num_levels", base, images=levels(2, 2, 2, count=4, seed=1)
    )
    yield bad("negative-level", "a level must be an index", base, images=-base["images"])
    yield bad("one-level", "num_levels must be >= 2", base, num_levels=1)
    yield bad("flat", "images must be (T, H, W)", base, images=base["images"][0])
    yield bad("nan-rate", "rate must be from 0 to 0.5", base, rate=math.nan)
    yield bad("negative-rate", "rate must be from 0 to 0.5", base, rate=-0.25)
# fmt: on


@draw_of("image_cts_log_probs")
def draw_image_cts_log_probs(draw: Draw) -> Inputs:
    count = draw.integer(2, 3)
    images = draw.wholes(
        count - 1, draw.integer(1, 4), draw.integer(1, 2), draw.integer(1, 2)
    )
    return {"images": images, "num_levels": count, "rate": draw.rate()}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Counts, density models and pseudo-counts: closed forms at 50 digits, and mixtures written out term by term."""

import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lecture_helpers import (
    learned,
    mp_pseudo_count,
    naive_pseudo_count,
    pseudo_count_of,
)
from scipy.special import betaln
from strategies import finite, log_uniform, seeds

from vime_lecture import counts as visit_counts
from vime_lecture import densities

# ---------------------------------------------------------------- Dirichlet models


@given(st.lists(st.integers(0, 50), min_size=2, max_size=5), log_uniform(0.05, 5.0))
def test_dirichlet_probabilities_against_fractions(
    counts: list[int], alpha: float
) -> None:
    """Controls: α once in the total, as for one symbol; another symbol's count. C4"""
    model = densities.Dirichlet(np.array([counts], dtype=float), alpha)
    a, size = Fraction(alpha), len(counts)
    seen, other = counts[0] + a, counts[1] + a
    result = math.exp(model.log_prob(0))
    assert math.isclose(result, seen / (sum(counts) + size * a), rel_tol=1e-13)
    assert not math.isclose(result, seen / (sum(counts) + a), rel_tol=1e-6)
    assert counts[0] == counts[1] or not math.isclose(
        result, other / (sum(counts) + size * a), rel_tol=1e-6
    )


@given(
    st.integers(1, 4),
    st.integers(2, 4),
    st.integers(1, 8),
    log_uniform(0.1, 5.0),
    seeds,
)
def test_pixel_dirichlet_pseudo_count_against_product(
    num_pixels: int, num_symbols: int, num_seen: int, alpha: float, seed: int
) -> None:
    *seen, image = (
        np.random.default_rng(seed)
        .integers(0, num_symbols, (num_seen + 1, num_pixels))
        .tolist()
    )
    a = Fraction(alpha)

    def probability(images: list[list[int]]) -> Fraction:
        counts = [
            sum(other[p] == image[p] for other in images) for p in range(num_pixels)
        ]
        return math.prod(
            ((n + a) / (len(images) + num_symbols * a) for n in counts),
            start=Fraction(1),
        )

    model = learned(densities.dirichlet(num_symbols, alpha, num_pixels), seen)
    rho, rho_after = probability(seen), probability([*seen, image])
    np.testing.assert_allclose(model.log_prob(image), math.log(rho), rtol=1e-12)
    computed = pseudo_count_of(model, image)
    np.testing.assert_allclose(
        computed, float(mp_pseudo_count(rho, rho_after)), rtol=1e-9
    )
    one_pixel = (
        min(sum(other[p] == image[p] for other in seen) for p in range(num_pixels))
        + alpha
    )
    assert num_pixels == 1 or computed < one_pixel * (
        1 - 1e-6
    )  # pixels are not counted on their own


def test_equal_sums_to_rounding_are_equal() -> None:
    """Control: 0.1 + 0.1 + 0.1 is not 0.3 in float64."""
    rows = [[0.1, 0.1, 0.1], [0.3, 0.0, 0.0]]
    assert sum(rows[0]) != sum(rows[1])
    model = densities.Dirichlet(np.array(rows), 0.5)
    assert math.isclose(model.log_prob([2, 0]), math.log(0.6 / 1.8 * 0.8 / 1.8))


@pytest.mark.unwatched
def test_no_nan_in_large_images() -> None:
    """About −5000 nats, where the probabilities themselves are 0: finite counts, and bonuses that fall."""
    image = np.arange(49 * 49).reshape(49, 49) % 8
    for model in (
        densities.dirichlet(8, 0.5, 49 * 49),
        densities.image_cts((49, 49), 8),
    ):
        assert abs(model.log_prob(image) + 4992.7) < 0.1
        assert math.isnan(
            naive_pseudo_count(model.log_prob(image), model.log_prob(image) + 0.1)
        )
        counts = []
        for _ in range(3):
            counts.append(pseudo_count_of(model, image))
            model = model.update(image)
        assert np.all(np.isfinite(counts))
        assert np.all(np.diff(visit_counts.count_bonus(np.array(counts), 1.0)) <= 0)


# ---------------------------------------------------------------- context-tree switching

Step = tuple[tuple[int, ...], int]  # the context, nearest symbol first, and what came


def schedule(rate: float | None) -> Callable[[int], Fraction]:
    return (
        (lambda t: Fraction(1, t + 1)) if rate is None else (lambda t: Fraction(rate))
    )


def estimates(symbols: list[int], num_symbols: int) -> list[Fraction]:
    """KT's probability of each symbol given those before it."""
    half = Fraction(1, 2)
    return [
        (symbols[:n].count(x) + half) / (n + num_symbols * half)
        for n, x in enumerate(symbols)
    ]


def mixture(
    steps: list[tuple[int, Step]],
    depth: int,
    num_symbols: int,
    rate: Callable[[int], Fraction],
) -> Fraction:
    """A node's probability of its steps (t, step): the sum over all 2^n stay/split sequences of prior times product.

    The prior of a sequence is ½ for its first entry, then a switch with the rate of the last symbol's time, or none.
    Splitting takes the child's probability of the symbol given what the child has seen, this same sum one level down.
    """
    if not steps:
        return Fraction(1)
    own = estimates([step[1] for _, step in steps], num_symbols)
    if depth == 0:
        return math.prod(own, start=Fraction(1))
    below = []
    for n, (_, (context, _)) in enumerate(steps):
        child = [(t, (c[1:], x)) for t, (c, x) in steps[: n + 1] if c[0] == context[0]]
        after, before = (
            mixture(part, depth - 1, num_symbols, rate) for part in (child, child[:-1])
        )
        below.append(after / before)
    total = Fraction(0)
    for choices in product([0, 1], repeat=len(steps)):
        term = Fraction(1, 2)
        for n, split in enumerate(choices):
            term *= below[n] if split else own[n]
            if n > 0:
                a = rate(steps[n - 1][0])
                term *= 1 - a if split == choices[n - 1] else a
        total += term
    return total


def timed(steps: list[Step]) -> list[tuple[int, Step]]:
    return list(enumerate(steps, start=1))


def tree_probability(steps: list[Step], tree: densities.ContextTree) -> float:
    total = 0.0
    for step in steps:
        total += tree.log_prob(*step)
        tree = tree.update(*step)
    return math.exp(total)


def in_sequence(bits: Iterable[int], depth: int) -> list[Step]:
    history, steps = [0] * depth, []
    for bit in bits:
        steps.append((tuple(history[::-1][:depth]), bit))
        history.append(bit)
    return steps


@st.composite
def contexts_and_symbols(draw: st.DrawFn) -> tuple[int, int, list[Step]]:
    depth, num_symbols = draw(st.integers(0, 2)), draw(st.integers(2, 3))
    symbol = st.integers(0, num_symbols - 1)
    context = st.tuples(*[symbol] * depth)
    return (
        depth,
        num_symbols,
        draw(st.lists(st.tuples(context, symbol), min_size=1, max_size=5)),
    )


RATES = st.none() | st.sampled_from([0.0, 0.125, 0.5])


@settings(max_examples=40)
@given(contexts_and_symbols(), RATES)
def test_context_tree_against_all_stay_and_split_sequences(
    case: tuple[int, int, list[Step]], rate: float
) -> None:
    """C5"""
    depth, num_symbols, steps = case
    computed = tree_probability(steps, densities.ContextTree(depth, num_symbols, rate))
    exact = mixture(timed(steps), depth, num_symbols, schedule(rate))
    np.testing.assert_allclose(computed, float(exact), rtol=1e-13)


BITS = [0, 1, 1, 0, 1, 0]


def test_binary_cts_against_all_stay_and_split_sequences() -> None:
    """Controls: other schedules, one without switching, and another root."""
    steps = in_sequence(BITS, 2)
    model, total = densities.binary_cts(2), 0.0
    for bit in BITS:
        total, model = total + model.log_prob(bit), model.update(bit)
    np.testing.assert_allclose(
        math.exp(total), tree_probability(steps, densities.ContextTree(2)), rtol=1e-14
    )
    np.testing.assert_allclose(
        math.exp(total), float(mixture(timed(steps), 2, 2, schedule(None))), rtol=1e-14
    )
    late = mixture([(t + 1, step) for t, step in timed(steps)], 2, 2, schedule(None))
    reversed_contexts = mixture(
        timed([(c[::-1], x) for c, x in steps]), 2, 2, schedule(None)
    )
    for wrong in (late, mixture(timed(steps), 2, 2, schedule(0.0)), reversed_contexts):
        assert not np.isclose(math.exp(total), float(wrong), rtol=1e-3)


def slow_switching(steps: list[Step], depth: int, *, updated_stay: bool) -> list[float]:
    """Each step's probability by lists and plain numbers; `updated_stay` puts the new stay weight into split's."""
    seen: dict[tuple[int, ...], list[int]] = defaultdict(list)
    weights: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.5, 0.5])
    probabilities = []
    for t, (context, x) in timed(steps):
        a = 1 / (t + 1)
        path = [context[:d] for d in range(depth + 1)]
        own = [float(estimates([*seen[node], x], 2)[-1]) for node in path]
        below = own[-1]
        for node, estimate in list(zip(path, own))[-2::-1]:
            stay, split = weights[node]
            predicted = (stay * estimate + split * below) / (stay + split)
            new_stay = (1 - a) * stay * estimate + a * split * below
            new_split = (1 - a) * split * below + a * (
                new_stay if updated_stay else stay
            ) * estimate
            weights[node], below = [new_stay, new_split], predicted
        for node in path:
            seen[node].append(x)
        probabilities.append(below)
    return probabilities


def test_context_tree_against_update_order() -> None:
    """Bits 1, 0 at depth 1. After the 1: weights 1/4 and 1/4, or 3/16 for split if the new stay goes into it.

    The 0, of which the root says 1/4 and its fresh child 1/2, makes 3/16 = 0.1875, or 5/28 = 0.1786 with the mistake.
    """
    steps = in_sequence([1, 0], 1)
    right, wrong = (
        math.prod(slow_switching(steps, 1, updated_stay=updated))
        for updated in (False, True)
    )
    computed = tree_probability(steps, densities.ContextTree(1))
    np.testing.assert_allclose(
        [computed, right, wrong], [3 / 16, 3 / 16, 5 / 28], rtol=1e-14
    )
    steps = in_sequence(BITS * 5, 3)
    right, wrong = (
        math.prod(slow_switching(steps, 3, updated_stay=updated))
        for updated in (False, True)
    )
    computed = tree_probability(steps, densities.ContextTree(3))
    np.testing.assert_allclose(computed, right, rtol=1e-12)
    assert abs(computed / wrong - 1) > 0.1


def prunings(depth: int) -> list[tuple[tuple[tuple[int, ...], ...], Fraction]]:
    """All binary suffix trees up to this depth, as their leaves, with the prior ½ for each choice that is free."""
    if depth == 0:
        return [(((),), Fraction(1))]
    trees = [(((),), Fraction(1, 2))]
    for (left, p), (right, q) in product(prunings(depth - 1), repeat=2):
        trees.append(
            (tuple((0, *c) for c in left) + tuple((1, *c) for c in right), p * q / 2)
        )
    return trees


def weighted(steps: list[Step], depth: int) -> Fraction:
    """Context-tree weighting by its own recursion: ½ KT + ½ Π_children, KT alone at the bottom."""
    own = math.prod(estimates([x for _, x in steps], 2), start=Fraction(1))
    if depth == 0 or not steps:
        return own
    children = [[(c[1:], x) for c, x in steps if c[0] == bit] for bit in (0, 1)]
    return (
        own + weighted(children[0], depth - 1) * weighted(children[1], depth - 1)
    ) / 2


@given(st.integers(0, 3), st.lists(st.integers(0, 1), max_size=12))
def test_rate_zero_against_mixture_over_prunings(depth: int, bits: list[int]) -> None:
    steps = in_sequence(bits, depth)
    exact = Fraction(0)
    for leaves, prior in prunings(depth):
        parts = [[x for c, x in steps if c[: len(leaf)] == leaf] for leaf in leaves]
        exact += prior * math.prod(
            (math.prod(estimates(part, 2)) for part in parts), start=Fraction(1)
        )
    assert exact == weighted(steps, depth)
    assert sum(prior for _, prior in prunings(depth)) == 1
    computed = tree_probability(steps, densities.ContextTree(depth, rate=0.0))
    np.testing.assert_allclose(computed, float(exact), rtol=1e-12)


@pytest.mark.parametrize("depth", [0, 1, 1000, 10_000])
def test_first_bits_against_their_closed_form_at_any_depth(depth: int) -> None:
    """The first bit has ½, and then every context estimates the same ¾. Control: recursion has a limit."""
    assert sys.getrecursionlimit() < 10_000
    model = densities.binary_cts(depth)
    assert math.isclose(model.log_prob(1), math.log(0.5), rel_tol=1e-15)
    model = model.update(0)
    assert math.isclose(model.log_prob(0), math.log(0.75), rel_tol=1e-12)
    assert math.isclose(model.log_prob(1), math.log(0.25), rel_tol=1e-12)
    assert str(depth) in repr(model)


def test_no_probability_is_above_1_by_rounding() -> None:
    """A tiny α makes the next bit certain. Control: a node's weights sum to more than 1, in the last digit."""
    tree = densities.ContextTree(3, alpha=1e-20)
    sums = []
    for _ in range(200):
        tree = tree.update((0, 0, 0), 0)
        assert -1e-12 < tree.log_prob((0, 0, 0), 0) <= 0.0
        root = tree.root
        assert root is not None
        sums.append(densities.log_add(root.log_stay, root.log_split))
    assert max(sums) > 0.0


def test_rate_zero_is_not_the_schedule() -> None:
    steps = in_sequence(BITS * 2, 2)
    assert tree_probability(steps, densities.ContextTree(2)) != pytest.approx(
        float(weighted(steps, 2)), rel=1e-2
    )


def log_weighted(bits: np.ndarray, contexts: np.ndarray) -> float:
    """log of `weighted` for many bits; contexts (N, depth)."""
    ones = np.sum(bits)
    own = betaln(ones + 0.5, len(bits) - ones + 0.5) - betaln(0.5, 0.5)
    if contexts.shape[1] == 0 or len(bits) == 0:
        return float(own)
    below = sum(
        log_weighted(bits[rows], contexts[rows, 1:])
        for rows in (contexts[:, 0] == 0, contexts[:, 0] == 1)
    )
    return float(np.logaddexp(own, below) - np.log(2))


@pytest.mark.unwatched
def test_long_sequences_against_logarithms_of_beta_functions() -> None:
    """8000 bits, whose probability underflows: three of four repeat the pattern 0011, so the weights part for good."""
    rng = np.random.default_rng(0)
    bits = np.where(
        rng.random(8000) < 0.75, np.arange(8000) // 2 % 2, rng.integers(0, 2, 8000)
    )
    contexts = np.array([context for context, _ in in_sequence(bits.tolist(), 2)])
    model, total = densities.binary_cts(2, rate=0.0), 0.0
    for bit in bits:
        total, model = total + model.log_prob(bit), model.update(bit)
    np.testing.assert_allclose(total, log_weighted(bits, contexts), rtol=1e-12)
    assert math.exp(total) == 0.0
    assert not np.isclose(total, log_weighted(bits, contexts[:, ::-1]), rtol=1e-4)


# ---------------------------------------------------------------- images


def slow_context(image: np.ndarray, row: int, column: int) -> tuple[int, ...]:
    def pixel(r: int, c: int) -> int:
        return (
            int(image[r, c])
            if 0 <= r < image.shape[0] and 0 <= c < image.shape[1]
            else 0
        )

    return (
        pixel(row, column - 1), pixel(row - 1, column), pixel(row - 1, column - 1), pixel(row - 1, column + 1),
    )  # fmt: skip


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 3), seeds)
def test_image_cts_against_all_stay_and_split_sequences(
    height: int, width: int, levels: int, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(0, levels, (3, height, width))
    exact = 1.0
    for row, column in product(range(height), range(width)):
        steps = [
            (slow_context(image, row, column), int(image[row, column]))
            for image in images
        ]
        exact *= float(mixture(timed(steps), 4, levels, schedule(None)))
    model, total = densities.image_cts((height, width), levels), 0.0
    for image in images:
        total, model = total + model.log_prob(image), model.update(image)
    np.testing.assert_allclose(total, math.log(exact), rtol=1e-12)


def test_image_cts_against_other_contexts() -> None:
    """The order of the neighbors matters, and the right neighbor is not among them."""
    images = np.random.default_rng(1).integers(0, 2, (5, 3, 3))
    probabilities = dict.fromkeys(["right", "above first", "mirrored"], 1.0)
    for row, column in product(range(3), repeat=2):
        for name in probabilities:
            steps = []
            for image in images:
                seen, c = (
                    (image[:, ::-1], 2 - column)
                    if name == "mirrored"
                    else (image, column)
                )
                left, above, *diagonals = slow_context(seen, row, c)
                nearest = (above, left) if name == "above first" else (left, above)
                steps.append(((*nearest, *diagonals), int(image[row, column])))
            probabilities[name] *= float(mixture(timed(steps), 4, 2, schedule(None)))
    model, total = densities.image_cts((3, 3), 2), 0.0
    for image in images:
        total, model = total + model.log_prob(image), model.update(image)
    differences = {name: abs(total - math.log(p)) for name, p in probabilities.items()}
    assert differences.pop("right") < 1e-11
    assert min(differences.values()) > 1e-3, differences


def test_image_cts_sees_its_neighbors() -> None:
    """A pixel that copies its left, upper or diagonal neighbor is learned; independent pixels can't learn it."""
    rng = np.random.default_rng(0)
    for move in ((0, 1), (1, 0), (1, 1), (1, -1)):
        cts, pixels = densities.image_cts((4, 4), 2), densities.dirichlet(2, 0.5, 16)
        losses = []
        for _ in range(120):
            noise = rng.integers(0, 2, (4, 4))
            image = noise.copy()
            for row, column in product(range(4), repeat=2):
                r, c = row - move[0], column - move[1]
                if r >= 0 and 0 <= c < 4:
                    image[row, column] = image[r, c]
            losses.append([-cts.log_prob(image), -pixels.log_prob(image)])
            cts, pixels = cts.update(image), pixels.update(image)
        free = 16 - (4 - abs(move[0])) * (4 - abs(move[1]))
        cts_loss, pixel_loss = np.mean(losses[60:], axis=0)
        assert cts_loss < free * np.log(2) + 1.5
        assert pixel_loss > 15 * np.log(2)


# ---------------------------------------------------------------- what holds for every model

IMAGES = [np.reshape(x, (2, 2)) for x in product([0, 1], repeat=4)]

MODELS: dict[str, tuple[Any, list[Any]]] = {
    "tabular": (densities.dirichlet(3, 0.25), [0, 1, 2]),
    "pixels": (densities.dirichlet(2, 0.25, 4), IMAGES),
    "binary tree": (densities.binary_cts(3), [0, 1]),
    "image trees": (densities.image_cts((2, 2), 2), IMAGES),
}


@pytest.mark.parametrize("name", MODELS)
@given(seed=seeds, num_seen=st.integers(0, 6))
@settings(max_examples=20)
def test_probabilities_sum_to_one_over_continuations(
    name: str, seed: int, num_seen: int
) -> None:
    """Two observations ahead. Control: the probabilities after the update do not."""
    model, space = MODELS[name]
    rng = np.random.default_rng(seed)
    model = learned(model, [space[i] for i in rng.integers(0, len(space), num_seen)])
    following = [(model.log_prob(x), model.update(x), x) for x in space]
    ahead = [
        first + new_model.log_prob(y)
        for first, new_model, _ in following
        for y in space
    ]
    np.testing.assert_allclose(np.sum(np.exp(ahead)), 1.0, rtol=1e-12)
    after = np.sum(np.exp([new_model.log_prob(x) for _, new_model, x in following]))
    assert abs(after - 1.0) > 1e-4


@dataclass
class Leaky:
    """A model whose update also changes the one it was called on."""

    model: Any

    def log_prob(self, x: Any) -> float:
        return self.model.log_prob(x)

    def update(self, x: Any) -> "Leaky":
        self.model = self.model.update(x)
        return Leaky(self.model)


def scores(model: Any, space: list[Any]) -> list[float]:
    return [
        value
        for x in space
        for value in (model.log_prob(x), visit_counts.prediction_gain(model, x))
    ]


@pytest.mark.parametrize("name", MODELS)
def test_scores_leave_nothing_behind(name: str) -> None:
    """Score, update, score. The update is real, and a model that leaks is found out."""
    model, space = MODELS[name]
    seen = [space[0], space[-1], space[-1]]
    first = scores(learned(model, seen), space)
    model = learned(model, seen)
    updated = model.update(space[0])
    assert scores(model, space) == first
    assert scores(model, space) == first
    assert scores(updated, space) == scores(
        learned(MODELS[name][0], [*seen, space[0]]), space
    )
    assert scores(updated, space) != first
    leaky = Leaky(learned(MODELS[name][0], seen))
    assert scores(leaky, space) != scores(leaky, space)


# ---------------------------------------------------------------- grids

EDGES = ((-1.0, 0.0, 0.5, 2.0), (0.0, 1.0, 10.0))


VALUES = [
    finite(borders[0], borders[-1]) | st.sampled_from(borders) for borders in EDGES
]


@given(st.lists(st.tuples(*VALUES)))
def test_grid_against_histogram(rows: list[tuple[float, float]]) -> None:
    grid, observations = densities.Grid(EDGES), np.reshape(rows, (-1, 2))
    cells = grid.index(observations)
    assert grid.shape == (3, 2)
    expected = [
        int(np.argmax(np.histogramdd(row[None], bins=EDGES)[0])) for row in observations
    ]
    assert cells.tolist() == expected
    assert densities.Grid(EDGES, clip=True).index(observations).tolist() == expected


def test_grid_borders_belong_to_the_cell_above() -> None:
    borders = np.array([[x, 1.0] for x in EDGES[0]])
    cells = (densities.Grid(EDGES).index(borders) // 2).tolist()
    assert cells == [0, 1, 2, 2]
    assert (
        cells != np.searchsorted(EDGES[0][1:-1], EDGES[0], side="left").tolist()
    )  # the cell below


def test_grid_outside_its_edges_raises_or_clips() -> None:
    outside = np.array([[-9.0, 20.0], [9.0, -1.0]])
    with pytest.raises(
        ValueError,
        match=r"^observations must lie in \[-1.0, 2.0\] in dimension 0, got -9.0 to 9.0$",
    ):
        densities.Grid(EDGES).index(outside)
    assert densities.Grid(EDGES, clip=True).index(outside).tolist() == [1, 4]


# ---------------------------------------------------------------- bad input

TREE = densities.ContextTree(1)

IMAGE_CTS = densities.image_cts((2, 3), 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: densities.dirichlet(0, 1.0), "num_symbols must be a whole number >= 1, got 0"),
        (lambda: densities.dirichlet(2, 1.0, 0), "num_pixels must be a whole number >= 1, got 0"),
        (lambda: densities.dirichlet(2, -0.5), "alpha must be >= 0 and finite, got -0.5"),
        (lambda: densities.dirichlet(2, np.nan), "alpha must be >= 0 and finite, got nan"),
        (lambda: densities.Dirichlet(np.array([[1.0, -1.0]]), 1.0), "counts must be >= 0 and below 2**53, got -1 to 1"),
        (lambda: densities.Dirichlet(np.array([[2.0**53]]), 1.0), "counts must be >= 0 and below 2**53"),
        (lambda: densities.Dirichlet(np.array([[1.0, 2.0], [1.0, 2.0 + 1e-9]]), 1.0), "counts must be >= 0 with"),
        (lambda: densities.dirichlet(2, 1e-101), "alpha must be from 1e-100 to 1e+100, got 1e-101"),
        (lambda: densities.Dirichlet(np.array([[1.0], [2.0]]), 1.0), "counts must be >= 0 with the same sum"),
        (lambda: densities.Dirichlet(np.array([[np.nan]]), 1.0), "counts must be finite, got nan"),
        (lambda: densities.Dirichlet(np.ones(2), 1.0), "counts must have shape (P, K) with P and K >= 1, got (2,)"),
        (lambda: densities.dirichlet(2, 0.0).log_prob(0), "alpha must be > 0 before the first observation, got 0"),
        (lambda: densities.dirichlet(2, 1.0).log_prob(2), "observation must be indices below 2, got 2 to 2"),
        (lambda: densities.dirichlet(2, 1.0).update(-1), "observation must be indices below 2, got -1 to -1"),
        (lambda: densities.dirichlet(2, 1.0).update(0.5), "observation must be indices below 2, got 0.5 to 0.5"),
        (lambda: densities.dirichlet(2, 1.0).update(np.nan), "observation must be finite, got nan"),
        (lambda: densities.dirichlet(2, 1.0, 3).update([0, 1]), "observation must have shape (3,), got (2,)"),
        (lambda: densities.ContextTree(-1), "depth must be a whole number >= 0, got -1"),
        (lambda: densities.ContextTree(1, 1), "num_symbols must be a whole number >= 2, got 1"),
        (lambda: densities.ContextTree(1, rate=0.6), "rate must be from 0 to 0.5, got 0.6"),
        (lambda: densities.ContextTree(1, rate=np.nan), "rate must be from 0 to 0.5, got nan"),
        (lambda: densities.ContextTree(1, alpha=0.0), "alpha must be from 1e-100 to 1e+100, got 0.0"),
        (lambda: TREE.log_prob((0, 1), 0), "context must have 1 symbols, got (0, 1)"),
        (lambda: TREE.update((), 0), "context must have 1 symbols, got ()"),
        (lambda: TREE.log_prob((-1,), 0), "context must be a whole number >= 0, got -1"),
        (lambda: TREE.log_prob((2,), 0), "context must be indices below 2, got 2"),
        (lambda: TREE.update((0,), 2), "symbol must be indices below 2, got 2"),
        (lambda: densities.binary_cts(1).log_prob(2), "observation must be indices below 2, got 2 to 2"),
        (lambda: densities.image_cts((0, 2), 2), "shape must be a whole number >= 1, got 0"),
        (lambda: IMAGE_CTS.log_prob(np.zeros((3, 2))), "observation must have shape (2, 3), got (3, 2)"),
        (lambda: IMAGE_CTS.update(np.full((2, 3), 2)), "observation must be indices below 2, got 2 to 2"),
        (lambda: densities.Grid(((0.0, 0.0),)), "edges must be 2 or more increasing numbers per dimension, got (0.0,"),
        (lambda: densities.Grid(((0.0,),)), "edges must be 2 or more increasing numbers per dimension, got (0.0,)"),
        (lambda: densities.Grid(((0.0, np.inf),)), "edges must be finite, got inf"),
        (lambda: densities.Grid(EDGES).index(np.zeros((2, 1))), "observations must have shape (2, 2), got (2, 1)"),
        (lambda: densities.Grid(EDGES).index(np.array([[0.0, 11.0]])), "observations must lie in [0.0, 10.0] in dim"),
        (lambda: densities.Grid(EDGES, clip=True).index(np.full((1, 2), np.nan)), "observations must be finite"),
        (lambda: densities.ContextTree(1).log_prob((0,), 0.5), "symbol must be a whole number >= 0, got 0.5"),
        (lambda: densities.Grid(()), "edges must hold at least one dimension"),
        (lambda: densities.Grid(((0.0, 1.0, 2.0),) * 63), "edges must make fewer than 2**63 cells"),
        (lambda: densities.ImageCts((TREE,) * 6, (2, 3)), "trees must be 6 of depth 4, got 6"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()

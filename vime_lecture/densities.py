"""Density models of observations: Dirichlet, context-tree switching, and grids that map continuous values to cells.

A density model is immutable. `model.log_prob(x)` is the log-probability before learning x, `model.update(x)` is the
model after learning x, and `model.update(x).log_prob(x)` is the log-probability after it.

Axes: P pixels, K symbols (gray levels), N rows. Log-probabilities are in nats.

Sources: [Lecture] "Intrinsic motivation in RL", count-based density models; [Counts] Bellemare et al. 2016, arXiv
1606.01868; [CTS] Veness et al. 2012, arXiv 1111.3182, and its C++ in mgbellemare/SkipCTS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnn_ref import (
    Array,
    check_array,
    check_count,
    check_finite,
    check_not_negative,
    check_positive,
)
from vime_ref import check_indices

# ---------------------------------------------------------------- types

Symbols = NDArray[np.int_]


class DensityModel(Protocol):
    """A density model ρ_n: the probability of the next observation after n observations. [Counts]"""

    def log_prob(self, observation: ArrayLike) -> float: ...

    # ρ_{n+1}; the model itself does not change.
    def update(self, observation: ArrayLike) -> DensityModel: ...


# ---------------------------------------------------------------- Dirichlet models


@dataclass(frozen=True, eq=False)
class Dirichlet:
    """Dirichlet model of P independent pixels with K symbols each; P = 1 is the tabular model.

        ρ(x) = Π_p (N_p(x_p) + α)/(n + Kα)

    For P = 1 the pseudo-count is N + α for every K. α = 0 is the empirical model: `log_prob` is −inf for an unseen
    symbol.
    Raises ValueError if α = 0 and nothing has been observed yet.
    """

    counts: Array  # (P, K), N_p(k); each row sums to n
    alpha: float

    def __post_init__(self) -> None:
        check_dirichlet(self.counts, self.alpha)

    def log_prob(self, observation: ArrayLike) -> float:
        """log ρ(x) in nats; x holds P symbols in any shape."""
        num_pixels, num_symbols = self.counts.shape
        symbols = as_symbols(observation, num_pixels, num_symbols)  # (P,)
        total = np.sum(self.counts[0]) + num_symbols * self.alpha
        if total == 0:
            raise ValueError("alpha must be > 0 before the first observation, got 0")

        seen = self.counts[np.arange(num_pixels), symbols]  # (P,)
        probabilities = (seen + self.alpha) / total  # (P,)  C4
        with np.errstate(divide="ignore"):  # log 0 of the empirical model
            return float(np.sum(np.log(probabilities)))

    def update(self, observation: ArrayLike) -> Dirichlet:
        """The model after the observation."""
        num_pixels, num_symbols = self.counts.shape
        symbols = as_symbols(observation, num_pixels, num_symbols)  # (P,)
        counts = self.counts.copy()
        counts[np.arange(num_pixels), symbols] += 1
        return Dirichlet(counts, self.alpha)


def dirichlet(num_symbols: int, alpha: float, num_pixels: int = 1) -> Dirichlet:
    """The model before any observation, for P independent pixels with K symbols each."""
    check_count("num_symbols", num_symbols)
    check_count("num_pixels", num_pixels)
    return Dirichlet(np.zeros((num_pixels, num_symbols)), alpha)


# ---------------------------------------------------------------- context-tree switching


class Node(NamedTuple):
    """One context: symbol counts, children, and the posterior weights of stopping here or splitting, which sum to 1."""

    counts: tuple[int, ...]  # (K,) symbols seen in this context
    log_stay: float
    log_split: float

    # (K,) by the context's next symbol; None before the first visit.
    children: tuple[Node | None, ...]


@dataclass(frozen=True)
class ContextTree:
    """P(symbol | context), a switching mixture of all suffix trees up to `depth`.

    Contexts list the nearest symbol first.

    A node mixes its own estimator with the child that the context selects. A leaf has only its own estimator:

        stay·ρ_KT + split·ρ_child, ρ_KT = (N(x) + α)/(n + Kα), α = ½ (KT)

    Both weights start at ½. After the tree's t-th symbol, with a = `rate`, the weights change from leaf to root.
    Both new weights use the old ones:

        stay′ ∝ (1 − a)·stay·ρ_KT + a·split·ρ_child
        split′ ∝ (1 − a)·split·ρ_child + a·stay·ρ_KT

    The original C++ does the same; its Python version uses the new stay′ in split′.
    `rate` is in [0, ½]; None means 1/(t + 1). Rate 0 is context-tree weighting.
    [CTS] has α = ½ and 1/(t + 1) for K = 2. The C++ of SkipCTS has α = 1/16, 1/(t + 2), stay 0.075 and decaying counts.
    """

    depth: int
    num_symbols: int = 2
    rate: float | None = None
    alpha: float = 0.5
    root: Node | None = None

    def __post_init__(self) -> None:
        check_count("depth", self.depth, minimum=0)
        check_count("num_symbols", self.num_symbols, minimum=2)
        check_positive("alpha", self.alpha)
        if self.rate is not None and not 0 <= self.rate <= 0.5:
            raise ValueError(f"rate must be in [0, 0.5], got {self.rate}")

    def log_prob(self, context: tuple[int, ...], symbol: int) -> float:
        """log P(symbol | context).

        Raises ValueError unless all symbols are below K and the context holds `depth` of them.
        """
        check_context(context, symbol, self.depth, self.num_symbols)
        return self.node_log_prob(self.root, context, symbol)

    def update(self, context: tuple[int, ...], symbol: int) -> ContextTree:
        """The tree after this symbol in this context; unchanged nodes are shared. Raises like `log_prob`."""
        check_context(context, symbol, self.depth, self.num_symbols)
        t = 1 + (0 if self.root is None else sum(self.root.counts))
        rate = 1 / (t + 1) if self.rate is None else self.rate
        log_switch = math.log(rate) if rate > 0 else -math.inf
        log_keep = math.log1p(-rate)
        root, _ = self.node_update(self.root, context, symbol, log_switch, log_keep)
        return ContextTree(self.depth, self.num_symbols, self.rate, self.alpha, root)

    def node_log_prob(
        self, node: Node | None, context: tuple[int, ...], symbol: int
    ) -> float:
        """A node's log-probability of the symbol, given the rest of the context."""
        if node is None:
            return -math.log(self.num_symbols)
        own = self.log_estimate(node.counts, symbol)
        if not context:
            return own
        below = self.node_log_prob(node.children[context[0]], context[1:], symbol)
        return log_add(node.log_stay + own, node.log_split + below)  # C5

    def node_update(
        self,
        node: Node | None,
        context: tuple[int, ...],
        symbol: int,
        log_switch: float,
        log_keep: float,
    ) -> tuple[Node, float]:
        """The node after the symbol, and its log-probability of the symbol before."""
        # The node's own estimator.
        node = node or self.new_node()
        own = self.log_estimate(node.counts, symbol)
        counts = replaced(node.counts, symbol, node.counts[symbol] + 1)
        if not context:
            return node._replace(counts=counts), own

        # The child that the context selects.
        child, below = self.node_update(
            node.children[context[0]], context[1:], symbol, log_switch, log_keep
        )
        children = replaced(node.children, context[0], child)

        # The new weights, both from the old ones.
        stay = node.log_stay + own
        split = node.log_split + below
        total = log_add(stay, split)
        new_stay = log_add(log_keep + stay, log_switch + split) - total
        new_split = log_add(log_keep + split, log_switch + stay) - total
        return Node(counts, new_stay, new_split, children), total

    def new_node(self) -> Node:
        """A context before its first symbol."""
        half = math.log(0.5)
        return Node((0,) * self.num_symbols, half, half, (None,) * self.num_symbols)

    def log_estimate(self, counts: tuple[int, ...], symbol: int) -> float:
        """log ρ_KT of the symbol, from the counts (K,) of a context."""
        total = sum(counts) + self.num_symbols * self.alpha
        return math.log((counts[symbol] + self.alpha) / total)


def log_add(x: float, y: float) -> float:
    """log(e^x + e^y); one of them may be −inf."""
    return max(x, y) + math.log1p(math.exp(-abs(x - y)))


def replaced(values: tuple[Any, ...], index: int, value: object) -> tuple[Any, ...]:
    """The values with the one at the index replaced."""
    return (*values[:index], value, *values[index + 1 :])


# ---------------------------------------------------------------- sequences and images


@dataclass(frozen=True)
class BinaryCts:
    """Context-tree switching on one sequence of bits.

    A bit's context is the `depth` bits before it, padded with 0 before the first bit.
    ρ′ is the probability that the same bit follows itself.
    Source: [CTS].
    """

    tree: ContextTree
    history: tuple[int, ...]  # newest first

    def log_prob(self, observation: ArrayLike) -> float:
        """Log-probability that the next bit is this one."""
        bit = int(as_symbols(observation, 1, 2)[0])
        return self.tree.log_prob(self.history, bit)

    def update(self, observation: ArrayLike) -> BinaryCts:
        """The model after the bit."""
        bit = int(as_symbols(observation, 1, 2)[0])
        tree = self.tree.update(self.history, bit)
        return BinaryCts(tree, (bit, *self.history)[: tree.depth])


def binary_cts(depth: int, rate: float | None = None) -> BinaryCts:
    """The model before the first bit; `rate` as in `ContextTree`."""
    return BinaryCts(ContextTree(depth, rate=rate), (0,) * depth)


@dataclass(frozen=True)
class ImageCts:
    """Context-tree switching on images, one tree per pixel.

        ρ(image) = Π_p P_p(x_p | its L-shaped context)

    [Counts] uses 42 by 42 pixels with 8 levels. This tree of tuples is meant for small images with few levels.
    Source: [Counts].
    """

    trees: tuple[ContextTree, ...]  # (P,) in C order
    shape: tuple[int, int]

    def log_prob(self, observation: ArrayLike) -> float:
        """log ρ of an image (H, W), or of its H·W symbols flattened."""
        return math.fsum(
            tree.log_prob(context, symbol)
            for tree, context, symbol in self.parts(observation)
        )

    def update(self, observation: ArrayLike) -> ImageCts:
        """The model after the image."""
        trees = [
            tree.update(context, symbol)
            for tree, context, symbol in self.parts(observation)
        ]
        return ImageCts(tuple(trees), self.shape)

    def parts(
        self, observation: ArrayLike
    ) -> list[tuple[ContextTree, tuple[int, ...], int]]:
        """Each pixel's tree, context and symbol."""
        check_image(observation, self.shape)
        symbols = as_symbols(observation, len(self.trees), self.trees[0].num_symbols)
        image = symbols.reshape(self.shape)  # (H, W)
        return list(zip(self.trees, l_shaped_contexts(image), symbols.tolist()))


def image_cts(
    shape: tuple[int, int], num_levels: int, rate: float | None = None
) -> ImageCts:
    """The model before any image; `rate` as in `ContextTree`."""
    for size in shape:
        check_count("shape", size)
    tree = ContextTree(4, num_levels, rate)
    return ImageCts((tree,) * (shape[0] * shape[1]), shape)


def l_shaped_contexts(image: Symbols) -> list[tuple[int, ...]]:
    """Context of each pixel of an image (H, W): left, above, above left, above right, as P = H·W tuples.

    Neighbors beyond the border are 0. Their value does not matter to `ImageCts`, because a pixel always or never sees
    them.
    """
    padded = np.pad(image, ((1, 0), (1, 1)))  # (H + 1, W + 2)
    left = padded[1:, :-2]  # (H, W)
    above = padded[:-1, 1:-1]  # (H, W)
    above_left = padded[:-1, :-2]  # (H, W)
    above_right = padded[:-1, 2:]  # (H, W)

    contexts = np.stack([left, above, above_left, above_right], axis=-1)  # (H, W, 4)
    return [tuple(context) for context in contexts.reshape(-1, 4).tolist()]  # (P, 4)


# ---------------------------------------------------------------- grids


@dataclass(frozen=True)
class Grid:
    """Cells for continuous observations (N, dimensions); `edges` holds each dimension's increasing cell borders.

    A value on a border belongs to the cell above it, except on the last border, where it belongs to the last cell.
    With `clip`, a value outside counts in the nearest cell.
    Raises ValueError if a value lies outside and `clip` is False.
    """

    edges: tuple[tuple[float, ...], ...]
    clip: bool = False

    def __post_init__(self) -> None:
        check_edges(self.edges)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells in each dimension; their product is the number of symbols."""
        return tuple(len(borders) - 1 for borders in self.edges)

    def index(self, observations: ArrayLike) -> Symbols:
        """Each row's cell (N,), numbered in C order."""
        observations = np.asarray(observations, dtype=float)
        check_array("observations", observations, (len(observations), len(self.edges)))
        cells = []
        for k, borders in enumerate(self.edges):
            values = observations[:, k]  # (N,)
            if not self.clip:
                check_within(values, borders, k)
            inner = np.array(borders[1:-1])
            cells.append(np.searchsorted(inner, values, side="right"))  # (N,)
        return np.asarray(np.ravel_multi_index(tuple(cells), self.shape), dtype=int)


# ---------------------------------------------------------------- argument checks


def as_symbols(observation: ArrayLike, num_pixels: int, num_symbols: int) -> Symbols:
    """The observation as whole numbers (P,) below K. Raises ValueError on any other."""
    symbols = np.ravel(observation)  # (P,)
    check_array("observation", symbols, (num_pixels,))
    check_indices("observation", symbols, num_symbols)
    return symbols.astype(int)


def check_dirichlet(counts: Array, alpha: float) -> None:
    """Raise ValueError unless α ≥ 0 and counts are (P, K), nonnegative, with equal row sums."""
    check_not_negative("alpha", alpha)
    check_finite("counts", counts)
    if np.ndim(counts) != 2 or np.size(counts) == 0:
        raise ValueError(
            f"counts must have shape (P, K) with P and K >= 1, got {np.shape(counts)}"
        )
    if np.min(counts) < 0 or np.ptp(np.sum(counts, axis=1)) > 0:
        raise ValueError(
            f"counts must be >= 0 with the same sum in each row, got {np.array2string(counts)}"
        )


def check_context(
    context: tuple[int, ...], symbol: int, depth: int, num_symbols: int
) -> None:
    """Raise ValueError unless the context holds `depth` symbols, and all symbols are indices below K."""
    if len(context) != depth:
        raise ValueError(f"context must have {depth} symbols, got {len(context)}")
    if not all(value in range(num_symbols) for value in (*context, symbol)):
        raise ValueError(
            f"context and symbol must be indices below {num_symbols}, got {context}, {symbol}"
        )


def check_image(observation: ArrayLike, shape: tuple[int, int]) -> None:
    """Raise ValueError unless the observation has the shape (H, W) or (H·W,)."""
    if np.shape(observation) not in (shape, (shape[0] * shape[1],)):
        raise ValueError(
            f"observation must have shape {shape}, got {np.shape(observation)}"
        )


def check_edges(edges: tuple[tuple[float, ...], ...]) -> None:
    """Raise ValueError unless there is a dimension and each has two or more increasing borders."""
    if not edges:
        raise ValueError("edges must hold at least one dimension, got none")
    for borders in edges:
        check_finite("edges", np.array(borders))
        if len(borders) < 2 or np.any(np.diff(borders) <= 0):
            raise ValueError(
                f"edges must be 2 or more increasing numbers per dimension, got {borders}"
            )


def check_within(values: Array, borders: tuple[float, ...], dimension: int) -> None:
    """Raise ValueError if a value is below the first border or above the last."""
    if np.any((values < borders[0]) | (values > borders[-1])):
        raise ValueError(
            f"observations must lie in [{borders[0]}, {borders[-1]}] in dimension {dimension}, "
            f"got {np.min(values)} to {np.max(values)}"
        )


# ---------------------------------------------------------------- what `help` shows

__all__ = [
    "DensityModel", "Dirichlet", "dirichlet", "ContextTree", "BinaryCts",
    "binary_cts", "ImageCts", "image_cts", "l_shaped_contexts", "Grid",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

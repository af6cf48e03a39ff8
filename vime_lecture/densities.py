"""Density models of observations: Dirichlet, context-tree switching, and grids that make cells of numbers.

A density model is immutable, so the probability before, the update and the probability after are `model.log_prob(x)`,
`model.update(x)` and `model.update(x).log_prob(x)`, and scoring leaves nothing behind.

Axes: P pixels, K symbols (grey levels), N rows. Log-probabilities are in nats.

Sources: [Lecture] "Intrinsic motivation in RL", count-based density models; [Counts] Bellemare et al. 2016, arXiv
1606.01868; [CTS] Veness et al. 2012, arXiv 1111.3182, and its C++ in mgbellemare/SkipCTS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnn_ref import Array, check_array, check_count, check_finite, check_positive
from vime_ref import check_indices

Symbols = NDArray[np.int_]


class DensityModel(Protocol):
    """ρ_n, the probability of the next observation after n of them. [Counts]"""

    def log_prob(self, observation: ArrayLike) -> float: ...

    def update(
        self, observation: ArrayLike
    ) -> DensityModel: ...  # ρ_{n+1}; the model itself stays as it is


# ---------------------------------------------------------------- building blocks: what is counted


@dataclass(frozen=True)
class Grid:
    """Cells for continuous observations (N, dimensions): `edges` holds each dimension's increasing cell borders.

    A value on a border belongs to the cell above it, on the last one to the last cell. A value outside raises
    ValueError, or counts as the nearest cell's if `clip`.
    """

    edges: tuple[tuple[float, ...], ...]
    clip: bool = False

    def __post_init__(self) -> None:
        if not self.edges:
            raise ValueError("edges must hold one dimension or more, got none")
        for borders in self.edges:
            check_finite("edges", np.array(borders))
            if len(borders) < 2 or np.any(np.diff(borders) <= 0):
                raise ValueError(
                    f"edges must be 2 or more increasing numbers a dimension, got {borders}"
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells of each dimension; their product is the number of symbols."""
        return tuple(len(borders) - 1 for borders in self.edges)

    def index(self, observations: ArrayLike) -> Symbols:
        """The cell of each row, (N,), numbered in C order."""
        observations = np.asarray(observations, dtype=float)
        check_array("observations", observations, (len(observations), len(self.edges)))
        cells = []
        for k, borders in enumerate(self.edges):
            values = observations[:, k]
            if not self.clip and np.any((values < borders[0]) | (values > borders[-1])):
                raise ValueError(
                    f"observations must lie in [{borders[0]}, {borders[-1]}] in dimension {k}, "
                    f"got {np.min(values)} to {np.max(values)}"
                )
            cells.append(np.searchsorted(np.array(borders[1:-1]), values, side="right"))
        return np.asarray(np.ravel_multi_index(tuple(cells), self.shape), dtype=int)


def as_symbols(observation: ArrayLike, num_pixels: int, num_symbols: int) -> Symbols:
    """The observation as whole numbers (P,) below K; raises ValueError where it is anything else."""
    symbols = np.ravel(observation)
    check_array("observation", symbols, (num_pixels,))
    check_indices("observation", symbols, num_symbols)
    return symbols.astype(int)


# ---------------------------------------------------------------- building blocks: Dirichlet models


@dataclass(frozen=True, eq=False)
class Dirichlet:
    """P independent pixels of K symbols each, ρ(x) = Π_p (N_p(x_p) + α)/(n + Kα); P = 1 is the tabular model.

    For P = 1 its pseudo-count is N + α, whatever K. α = 0 is the empirical model, which says nothing before the
    first observation (`log_prob` raises ValueError) and −inf of what it has not seen.
    """

    counts: Array  # (P, K), N_p(k); each row sums to n
    alpha: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(f"alpha must be >= 0 and finite, got {self.alpha}")
        check_finite("counts", self.counts)
        if np.ndim(self.counts) != 2 or np.size(self.counts) == 0:
            raise ValueError(
                f"counts must have shape (P, K), P and K >= 1, got {np.shape(self.counts)}"
            )
        if np.min(self.counts) < 0 or np.ptp(np.sum(self.counts, axis=1)) > 0:
            raise ValueError(
                f"counts must be >= 0 with the same sum in each row, got {np.array2string(self.counts)}"
            )

    def log_prob(self, observation: ArrayLike) -> float:
        """log ρ(x) of P symbols, in any shape."""
        num_pixels, num_symbols = self.counts.shape
        symbols = as_symbols(observation, num_pixels, num_symbols)
        total = np.sum(self.counts[0]) + num_symbols * self.alpha
        if total == 0:
            raise ValueError("alpha must be > 0 before the first observation, got 0")
        with np.errstate(divide="ignore"):  # log 0 of the empirical model
            return float(
                np.sum(
                    np.log(
                        (self.counts[np.arange(num_pixels), symbols] + self.alpha)
                        / total
                    )
                )
            )

    def update(self, observation: ArrayLike) -> Dirichlet:
        counts = self.counts.copy()
        counts[np.arange(len(counts)), as_symbols(observation, *counts.shape)] += 1
        return Dirichlet(counts, self.alpha)


def dirichlet(num_symbols: int, alpha: float, num_pixels: int = 1) -> Dirichlet:
    """The model before any observation: of one symbol in K, or of P independent pixels."""
    check_count("num_symbols", num_symbols)
    check_count("num_pixels", num_pixels)
    return Dirichlet(np.zeros((num_pixels, num_symbols)), alpha)


# ---------------------------------------------------------------- building blocks: context-tree switching


class Node(NamedTuple):
    """One context. Its weights are those of its own estimator and of its children, given the data: their sum is 1."""

    counts: tuple[int, ...]  # (K,) symbols seen in this context
    log_stay: float
    log_split: float
    children: tuple[
        Node | None, ...
    ]  # (K,) by the context's next symbol; None where nothing was seen


def log_add(x: float, y: float) -> float:
    """log(e^x + e^y); one of them may be −inf."""
    return max(x, y) + math.log1p(math.exp(-abs(x - y)))


@dataclass(frozen=True)
class ContextTree:
    """P(symbol | context), contexts nearest symbol first: a switching mixture of all suffix trees up to `depth`.

    Each node predicts stay·ρ_KT + split·ρ_child, a leaf ρ_KT alone, with ρ_KT = (N(x) + α)/(n + Kα), α = ½ (KT), and
    both weights ½ at first. After the tree's t-th symbol, a on the node's path:
    stay′ ∝ (1 − a)·stay·ρ_KT + a·split·ρ_child and split′ ∝ (1 − a)·split·ρ_child + a·stay·ρ_KT, leaf to root, both
    from the old weights, as the original C++ has it (its Python puts the new stay′ into split′). a is `rate`, in
    [0, ½], or 1/(t + 1) if None. Rate 0 is context-tree weighting. [CTS] has α = ½ and 1/(t + 1) for K = 2; the
    C++ of SkipCTS has α = 1/16, 1/(t + 2), stay 0.075 and decaying counts.
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
        """log P(symbol | context). Raises ValueError unless both hold symbols below K, the context `depth` of them."""
        self.check_symbols(context, symbol)
        return self.node_log_prob(self.root, context, symbol)

    def update(self, context: tuple[int, ...], symbol: int) -> ContextTree:
        """The tree that has seen the symbol in this context; it shares what has not changed. Errors as `log_prob`."""
        self.check_symbols(context, symbol)
        t = 1 + (0 if self.root is None else sum(self.root.counts))
        rate = 1 / (t + 1) if self.rate is None else self.rate
        log_switch = math.log(rate) if rate > 0 else -math.inf
        root, _ = self.node_update(
            self.root, context, symbol, log_switch, math.log1p(-rate)
        )
        return ContextTree(self.depth, self.num_symbols, self.rate, self.alpha, root)

    def check_symbols(self, context: tuple[int, ...], symbol: int) -> None:
        if len(context) != self.depth:
            raise ValueError(
                f"context must have {self.depth} symbols, got {len(context)}"
            )
        if not all(value in range(self.num_symbols) for value in (*context, symbol)):
            raise ValueError(
                f"context and symbol must be indices below {self.num_symbols}, got {context}, {symbol}"
            )

    def log_estimate(self, counts: tuple[int, ...], symbol: int) -> float:
        return math.log(
            (counts[symbol] + self.alpha)
            / (sum(counts) + self.num_symbols * self.alpha)
        )

    def node_log_prob(
        self, node: Node | None, context: tuple[int, ...], symbol: int
    ) -> float:
        if node is None:
            return -math.log(self.num_symbols)
        own = self.log_estimate(node.counts, symbol)
        if not context:
            return own
        below = self.node_log_prob(node.children[context[0]], context[1:], symbol)
        return log_add(node.log_stay + own, node.log_split + below)

    def node_update(
        self,
        node: Node | None,
        context: tuple[int, ...],
        symbol: int,
        log_switch: float,
        log_keep: float,
    ) -> tuple[Node, float]:
        """The node after the symbol, and the log-probability it gave before."""
        if node is None:
            nothing = (0,) * self.num_symbols, (None,) * self.num_symbols
            node = Node(nothing[0], math.log(0.5), math.log(0.5), nothing[1])
        own = self.log_estimate(node.counts, symbol)
        counts = replaced(node.counts, symbol, node.counts[symbol] + 1)
        if not context:
            return node._replace(counts=counts), own
        child = node.children[context[0]]
        new_child, below = self.node_update(
            child, context[1:], symbol, log_switch, log_keep
        )
        stay, split = node.log_stay + own, node.log_split + below
        total = log_add(stay, split)
        new_stay = log_add(log_keep + stay, log_switch + split) - total
        new_split = log_add(log_keep + split, log_switch + stay) - total
        return Node(
            counts, new_stay, new_split, replaced(node.children, context[0], new_child)
        ), total


def replaced(values: tuple[Any, ...], index: int, value: object) -> tuple[Any, ...]:
    return (*values[:index], value, *values[index + 1 :])


@dataclass(frozen=True)
class BinaryCts:
    """Context-tree switching on one sequence of bits, each in the context of the `depth` before it (0 before the
    first). ρ′ is the probability that the same bit comes once more, after itself. [CTS]
    """

    tree: ContextTree
    history: tuple[int, ...]  # newest first

    def log_prob(self, observation: ArrayLike) -> float:
        """log-probability that the next bit is this one."""
        return self.tree.log_prob(self.history, int(as_symbols(observation, 1, 2)[0]))

    def update(self, observation: ArrayLike) -> BinaryCts:
        bit = int(as_symbols(observation, 1, 2)[0])
        return BinaryCts(
            self.tree.update(self.history, bit), (bit, *self.history)[: self.tree.depth]
        )


def binary_cts(depth: int, rate: float | None = None) -> BinaryCts:
    """The model before the first bit; `rate` as in `ContextTree`."""
    return BinaryCts(ContextTree(depth, rate=rate), (0,) * depth)


def l_shaped_contexts(image: Symbols) -> list[tuple[int, ...]]:
    """Left, above, above left and above right of each pixel of an image (H, W), 0 beyond its border: P = H·W tuples.

    Which symbol stands beyond the border makes no difference to `ImageCts`: a pixel sees it always or never.
    """
    padded = np.pad(image, ((1, 0), (1, 1)))
    neighbours = padded[1:, :-2], padded[:-1, 1:-1], padded[:-1, :-2], padded[:-1, 2:]
    return [
        tuple(context)
        for context in np.stack(neighbours, axis=-1).reshape(-1, 4).tolist()
    ]


@dataclass(frozen=True)
class ImageCts:
    """ρ(image) = Π_p P_p(x_p | its L-shaped context), one context tree per pixel. [Counts]

    [Counts] has 42 by 42 pixels of 8 levels; small images of few levels are what this tree of tuples is for.
    """

    trees: tuple[ContextTree, ...]  # (P,) in C order
    shape: tuple[int, int]

    def parts(
        self, observation: ArrayLike
    ) -> list[tuple[ContextTree, tuple[int, ...], int]]:
        """Tree, context and symbol of each pixel."""
        if np.shape(observation) not in (self.shape, (len(self.trees),)):
            raise ValueError(
                f"observation must have shape {self.shape}, got {np.shape(observation)}"
            )
        symbols = as_symbols(observation, len(self.trees), self.trees[0].num_symbols)
        return list(
            zip(
                self.trees,
                l_shaped_contexts(symbols.reshape(self.shape)),
                symbols.tolist(),
            )
        )

    def log_prob(self, observation: ArrayLike) -> float:
        """log ρ of an image (H, W), or of its H·W symbols in a row."""
        return math.fsum(
            tree.log_prob(context, symbol)
            for tree, context, symbol in self.parts(observation)
        )

    def update(self, observation: ArrayLike) -> ImageCts:
        trees = [
            tree.update(context, symbol)
            for tree, context, symbol in self.parts(observation)
        ]
        return ImageCts(tuple(trees), self.shape)


def image_cts(
    shape: tuple[int, int], num_levels: int, rate: float | None = None
) -> ImageCts:
    """The model before any image; `rate` as in `ContextTree`."""
    for size in shape:
        check_count("shape", size)
    return ImageCts((ContextTree(4, num_levels, rate),) * (shape[0] * shape[1]), shape)

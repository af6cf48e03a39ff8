"""Density models of observations: Dirichlet, context-tree switching, and grids that map continuous values to cells.

A density model is immutable. `model.log_prob(x)` is the log-probability before learning x, `model.update(x)` is the
model after learning x, and `model.update(x).log_prob(x)` is the log-probability after it.

Axes: P pixels, K symbols (gray levels), N rows. Log-probabilities are in nats.

Sources: [Lecture] "Intrinsic motivation in RL", count-based density models; [Counts] Bellemare et al. 2016, arXiv
1606.01868; [CTS] Veness et al. 2012, arXiv 1111.3182, and its C++ in mgbellemare/SkipCTS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnn_ref import (
    Array,
    check_array,
    check_count,
    check_flag,
    check_kind,
    check_number,
    floats,
    set_fields,
)
from vime_ref import ROUNDING, check_indices

# ---------------------------------------------------------------- constants

MAX_COUNT = 2.0**53  # beyond, a visit more would be lost to rounding
ALPHAS = (1e-100, 1e100)  # in between, no probability underflows

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
    Raises ValueError unless α is 0 or from 1e-100 to 1e100. Raises it if α = 0 and nothing has been observed yet.
    """

    counts: Array  # (P, K), N_p(k); each row sums to n
    alpha: float

    def __post_init__(self) -> None:
        check_dirichlet(self)

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
    num_symbols = check_count("num_symbols", num_symbols)
    num_pixels = check_count("num_pixels", num_pixels)
    return Dirichlet(np.zeros((num_pixels, num_symbols)), alpha)


# ---------------------------------------------------------------- context-tree switching


class Node(NamedTuple):
    """One context: symbol counts, children, and the posterior weights of stopping here or splitting, which sum to 1."""

    counts: tuple[int, ...]  # (K,) symbols seen in this context
    log_stay: float
    log_split: float

    # (K,) by the context's next symbol; None before the first visit.
    children: tuple[Node | None, ...]


@dataclass(frozen=True, eq=False)
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
    `depth` may be any number: loops, not recursion, walk the tree.
    [CTS] has α = ½ and 1/(t + 1) for K = 2. The C++ of SkipCTS has α = 1/16, 1/(t + 2), stay 0.075 and decaying counts.
    """

    depth: int
    num_symbols: int = 2
    rate: float | None = None
    alpha: float = 0.5
    root: Node | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_tree(self)

    def log_prob(self, context: tuple[int, ...], symbol: int) -> float:
        """log P(symbol | context).

        Raises ValueError unless all symbols are below K and the context holds `depth` of them.
        """
        return self.log_prob_of(*checked_context(self, context, symbol))

    def update(self, context: tuple[int, ...], symbol: int) -> ContextTree:
        """The tree after this symbol in this context; unchanged nodes are shared. Raises like `log_prob`."""
        return self.after(*checked_context(self, context, symbol))

    def log_prob_of(self, context: tuple[int, ...], symbol: int) -> float:
        """`log_prob` without argument checks."""
        unseen = -math.log(self.num_symbols)

        # From the leaf to the root: each node mixes its own estimator with the result below.
        *inner, leaf = self.path(context)
        below = unseen if leaf is None else self.log_estimate(leaf.counts, symbol)
        for node in reversed(inner):
            if node is None:
                continue
            own = self.log_estimate(node.counts, symbol)
            below = log_add(node.log_stay + own, node.log_split + below)  # C5
        return min(below, 0.0)  # the weights sum to 1 only to rounding

    def after(self, context: tuple[int, ...], symbol: int) -> ContextTree:
        """`update` without argument checks."""
        # The probabilities of a switch and of none.
        t = 1 + (0 if self.root is None else sum(self.root.counts))
        rate = 1 / (t + 1) if self.rate is None else self.rate
        log_switch = math.log(rate) if rate > 0 else -math.inf
        log_keep = math.log1p(-rate)

        # From the leaf to the root: the new node, and its log-probability of the symbol before.
        *inner, leaf = (node or self.new_node() for node in self.path(context))
        below = self.log_estimate(leaf.counts, symbol)
        new = leaf._replace(counts=counted(leaf.counts, symbol))
        for node, place in zip(reversed(inner), reversed(context)):
            stay = node.log_stay + self.log_estimate(node.counts, symbol)
            split = node.log_split + below
            below = log_add(stay, split)

            # Both new weights use the old ones.
            new_stay = log_add(log_keep + stay, log_switch + split) - below
            new_split = log_add(log_keep + split, log_switch + stay) - below
            counts = counted(node.counts, symbol)
            children = replaced(node.children, place, new)
            new = Node(counts, new_stay, new_split, children)
        return ContextTree(self.depth, self.num_symbols, self.rate, self.alpha, new)

    def path(self, context: tuple[int, ...]) -> list[Node | None]:
        """The nodes that the context selects, root first; None for a context before its first visit."""
        nodes = [self.root]
        for symbol in context:
            node = nodes[-1]
            nodes.append(None if node is None else node.children[symbol])
        return nodes

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


def counted(counts: tuple[int, ...], symbol: int) -> tuple[int, ...]:
    """The counts with one more of the symbol."""
    return replaced(counts, symbol, counts[symbol] + 1)


# ---------------------------------------------------------------- sequences and images


@dataclass(frozen=True, eq=False)
class BinaryCts:
    """Context-tree switching on one sequence of bits.

    A bit's context is the `depth` bits before it, padded with 0 before the first bit.
    ρ′ is the probability that the same bit follows itself.
    Source: [CTS].
    """

    tree: ContextTree
    history: tuple[int, ...]  # newest first

    def __post_init__(self) -> None:
        check_kind("tree", self.tree, ContextTree)
        history = symbols_of("history", self.history, self.tree.depth, 2)
        set_fields(self, history=history)

    def log_prob(self, observation: ArrayLike) -> float:
        """Log-probability that the next bit is this one."""
        bit = int(as_symbols(observation, 1, 2)[0])
        return self.tree.log_prob_of(self.history, bit)

    def update(self, observation: ArrayLike) -> BinaryCts:
        """The model after the bit."""
        bit = int(as_symbols(observation, 1, 2)[0])
        tree = self.tree.after(self.history, bit)
        return BinaryCts(tree, (bit, *self.history)[: tree.depth])


def binary_cts(depth: int, rate: float | None = None) -> BinaryCts:
    """The model before the first bit; `rate` as in `ContextTree`."""
    tree = ContextTree(depth, rate=rate)
    return BinaryCts(tree, (0,) * tree.depth)


@dataclass(frozen=True, eq=False)
class ImageCts:
    """Context-tree switching on images, one tree per pixel.

        ρ(image) = Π_p P_p(x_p | its L-shaped context)

    [Counts] uses 42 by 42 pixels with 8 levels. This tree of tuples is meant for small images with few levels.
    Source: [Counts].
    """

    trees: tuple[ContextTree, ...]  # (P,) in C order
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        set_fields(self, shape=checked_shape(self.shape))
        check_trees(self.trees, self.shape)

    def log_prob(self, observation: ArrayLike) -> float:
        """log ρ of an image (H, W), or of its H·W symbols flattened."""
        return math.fsum(
            tree.log_prob_of(context, symbol)
            for tree, context, symbol in self.parts(observation)
        )

    def update(self, observation: ArrayLike) -> ImageCts:
        """The model after the image."""
        trees = [
            tree.after(context, symbol)
            for tree, context, symbol in self.parts(observation)
        ]
        return ImageCts(tuple(trees), self.shape)

    def parts(
        self, observation: ArrayLike
    ) -> list[tuple[ContextTree, tuple[int, ...], int]]:
        """Each pixel's tree, context and symbol."""
        observation = check_image(observation, self.shape)
        symbols = as_symbols(observation, len(self.trees), self.trees[0].num_symbols)
        image = symbols.reshape(self.shape)  # (H, W)
        return list(zip(self.trees, l_shaped_contexts(image), symbols.tolist()))


def image_cts(
    shape: tuple[int, int], num_levels: int, rate: float | None = None
) -> ImageCts:
    """The model before any image; `rate` as in `ContextTree`."""
    shape = checked_shape(shape)
    num_levels = check_count("num_levels", num_levels, minimum=2)
    tree = ContextTree(4, num_levels, rate)
    return ImageCts((tree,) * (shape[0] * shape[1]), shape)


def l_shaped_contexts(image: Symbols) -> list[tuple[int, ...]]:
    """Context of each pixel of an image (H, W): left, above, above left, above right, as P = H·W tuples.

    Neighbors beyond the border are 0. Their value does not matter to `ImageCts`, because a pixel always or never sees
    them.
    Raises ValueError unless the image is (H, W), in whole numbers.
    """
    image = checked_levels(image)
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
    Raises ValueError if a value lies outside and `clip` is False. Raises it unless there are fewer than 2⁶³ cells.
    """

    edges: tuple[tuple[float, ...], ...]
    clip: bool = False

    def __post_init__(self) -> None:
        set_fields(self, edges=checked_edges(self.edges))
        set_fields(self, clip=check_flag("clip", self.clip))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells in each dimension; their product is the number of symbols."""
        return tuple(len(borders) - 1 for borders in self.edges)

    def index(self, observations: ArrayLike) -> Symbols:
        """Each row's cell (N,), numbered in C order."""
        observations = check_array(
            "observations", observations, (None, len(self.edges))
        )
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
    flat = floats("observation", observation).ravel()  # (P,)
    symbols = check_array("observation", flat, (num_pixels,))
    return check_indices("observation", symbols, num_symbols)


def check_dirichlet(model: Dirichlet) -> None:
    """Convert the fields. Raise ValueError unless α ≥ 0 and counts are (P, K), nonnegative, with equal row sums."""
    alpha = checked_alpha(model.alpha, 0.0)
    counts = check_array("counts", model.counts)
    if np.ndim(counts) != 2 or np.size(counts) == 0:
        raise ValueError(
            f"counts must have shape (P, K) with P and K >= 1, got {np.shape(counts)}"
        )
    if np.min(counts) < 0 or np.max(counts) >= MAX_COUNT:
        got = f"{np.min(counts):g} to {np.max(counts):g}"
        raise ValueError(f"counts must be >= 0 and below 2**53, got {got}")
    sums = np.sum(counts, axis=1)  # (P,)
    if np.ptp(sums) > ROUNDING * np.max(sums):
        raise ValueError(
            f"counts must be >= 0 with the same sum in each row, got {np.array2string(counts)}"
        )
    set_fields(model, counts=counts, alpha=alpha)


def checked_alpha(alpha: float, lowest: float) -> float:
    """α as a float. Raises ValueError unless it is in ALPHAS, or equals `lowest`."""
    alpha = check_number("alpha", alpha, lowest)
    if alpha != 0.0 and not ALPHAS[0] <= alpha <= ALPHAS[1]:
        wanted = f"from {ALPHAS[0]:g} to {ALPHAS[1]:g}"
        raise ValueError(f"alpha must be {wanted}, got {alpha}")
    return alpha


def check_tree(tree: ContextTree) -> None:
    """Convert the fields of a tree. Raise ValueError, naming the field, if one is out of range."""
    rate = tree.rate
    if tree.root is not None:
        check_kind("root", tree.root, Node)
    set_fields(
        tree,
        depth=check_count("depth", tree.depth, minimum=0),
        num_symbols=check_count("num_symbols", tree.num_symbols, minimum=2),
        rate=None if rate is None else check_number("rate", rate, 0.0, 0.5),
        alpha=check_number("alpha", tree.alpha, *ALPHAS),
    )


def checked_context(
    tree: ContextTree, context: tuple[int, ...], symbol: int
) -> tuple[tuple[int, ...], int]:
    """Context and symbol in Python ints. Raises ValueError unless they are `depth` indices below K, and one."""
    before = symbols_of("context", context, tree.depth, tree.num_symbols)
    (new,) = symbols_of("symbol", (symbol,), 1, tree.num_symbols)
    return before, new


def symbols_of(
    name: str, symbols: Sequence[int], length: int, num_symbols: int
) -> tuple[int, ...]:
    """The symbols as Python ints. Raises ValueError unless there are `length` indices below K."""
    if not isinstance(symbols, (tuple, list, np.ndarray)) or len(symbols) != length:
        raise ValueError(f"{name} must have {length} symbols, got {symbols!r}")
    checked = tuple(check_count(name, symbol, 0) for symbol in symbols)
    if max(checked, default=0) >= num_symbols:
        raise ValueError(
            f"{name} must be indices below {num_symbols}, got {max(checked)}"
        )
    return checked


def checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width as Python ints. Raises ValueError unless they are two whole numbers ≥ 1."""
    if not isinstance(shape, (tuple, list, np.ndarray)) or len(shape) != 2:
        raise ValueError(f"shape must be (H, W), got {shape!r}")
    return check_count("shape", shape[0]), check_count("shape", shape[1])


def check_trees(trees: tuple[ContextTree, ...], shape: tuple[int, int]) -> None:
    """Raise ValueError unless there is a tree of depth 4 for each pixel, all with as many symbols."""
    check_kind("trees", trees, tuple)
    for tree in trees:
        check_kind("trees", tree, ContextTree)
    kinds = {(tree.depth, tree.num_symbols) for tree in trees}
    if len(trees) != shape[0] * shape[1] or len(kinds) > 1 or min(kinds)[0] != 4:
        raise ValueError(
            f"trees must be {shape[0] * shape[1]} of depth 4, got {len(trees)}"
        )


def check_image(observation: ArrayLike, shape: tuple[int, int]) -> Array:
    """The observation. Raises ValueError unless it has the shape (H, W) or (H·W,)."""
    image = floats("observation", observation)
    if image.shape not in (shape, (shape[0] * shape[1],)):
        raise ValueError(f"observation must have shape {shape}, got {image.shape}")
    return image


def checked_levels(image: ArrayLike) -> Symbols:
    """The image (H, W) in integers. Raises ValueError unless it is in whole numbers."""
    levels = check_array("image", image, (None, None))
    if np.any(levels != np.floor(levels)) or levels.size == 0:
        raise ValueError(f"image must be whole numbers (H, W), got {levels.shape}")
    return levels.astype(int)


def checked_edges(edges: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """The borders of each dimension in floats. Raises ValueError unless each has two or more, increasing."""
    if not isinstance(edges, (tuple, list, np.ndarray)) or len(edges) == 0:
        raise ValueError(f"edges must hold at least one dimension, got {edges!r}")
    checked = []
    for each in edges:
        borders = check_array("edges", each, (None,))
        if len(borders) < 2 or np.any(np.diff(borders) <= 0):
            raise ValueError(
                f"edges must be 2 or more increasing numbers per dimension, got {each}"
            )
        checked.append(tuple(borders.tolist()))
    if math.prod(len(borders) - 1 for borders in checked) >= 2**63:
        raise ValueError("edges must make fewer than 2**63 cells")
    return tuple(checked)


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

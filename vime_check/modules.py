"""Tools for an adapter to a module with named layers, such as a torch.nn.Module; they need only NumPy.

>>> (weight, bias), = layers_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (2, 2), "out-in")
>>> weight.tolist(), bias.tolist()
([[1.0, 3.0], [2.0, 4.0]], [5.0, 6.0])

`examples/check_nn_module.py` shows them in use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal
from unittest import mock

import numpy as np
from numpy.typing import ArrayLike, NDArray

# ---------------------------------------------------------------- types

# The matrix of a layer is (I, O), as in the vectors, or (O, I), as in torch.nn.Linear.
Layout = Literal["in-out", "out-in"]
Layer = tuple[NDArray[Any], NDArray[Any]]  # the matrix and the bias (O,)

# ---------------------------------------------------------------- flat and named weights


def layers_of(
    flat: ArrayLike, layer_sizes: Sequence[int], layout: Layout = "in-out"
) -> list[Layer]:
    """Each layer's matrix and bias, from a flat vector (D,) as the vectors have it.

    Raises ValueError if flat is not one number for each weight.
    """
    values = to_numpy(flat)
    sizes = whole_sizes(layer_sizes)
    ends = np.cumsum([(i + 1) * o for i, o in zip(sizes, sizes[1:])])
    if values.shape != (ends[-1],):
        got = f"shape {values.shape}"
        raise ValueError(f"flat must have shape ({ends[-1]},), got {got}")

    # The last row of a layer's numbers is its bias.
    parts = np.split(values, ends[:-1])
    rows = [part.reshape(-1, o) for part, o in zip(parts, sizes[1:])]  # (I + 1, O)
    return [(turned(each[:-1], layout), each[-1]) for each in rows]


def flat_of(
    layers: Iterable[tuple[Any, Any]], layout: Layout = "in-out"
) -> NDArray[Any]:
    """The flat vector (D,) of each layer's matrix and bias; the inverse of `layers_of`.

    Layers may hold torch tensors. Raises ValueError if a bias does not fit its matrix.
    """
    parts = []
    for weight, bias in layers:
        matrix, vector = turned(to_numpy(weight), layout), to_numpy(bias)
        if matrix.ndim != 2 or vector.shape != matrix.shape[1:]:
            shapes = f"{matrix.shape} and {vector.shape} as (I, O) and (O,)"
            raise ValueError(f"layers must have a matrix and a bias each, got {shapes}")
        parts += [matrix.ravel(), vector]
    if not parts:
        raise ValueError("layers must hold at least one layer")
    return np.concatenate(parts)


def turned(matrix: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """A matrix between the vectors' layout (I, O) and this one, in either direction."""
    if layout not in ("in-out", "out-in"):
        raise ValueError(f"layout must be 'in-out' or 'out-in', got {layout!r:.60}")
    return matrix.T if layout == "out-in" else matrix


# ---------------------------------------------------------------- noise


def noise_of(
    eps: ArrayLike, layer_sizes: Sequence[int], layout: Layout = "in-out"
) -> list[NDArray[Any]]:
    """The noise eps (S, D) in the order in which layers draw it: of each sample and layer the matrix, then the bias."""
    samples = to_numpy(eps)
    if samples.ndim != 2:
        raise ValueError(f"eps must be (S, D), got shape {samples.shape}")
    layers = [layers_of(sample, layer_sizes, layout) for sample in samples]
    return [part for sample in layers for layer in sample for part in layer]


@contextlib.contextmanager
def feed(holder: Any, name: str, values: Iterable[Any]) -> Iterator[None]:
    """Inside a `with` block, let a function that draws return the given values, one at each call.

    `feed(torch, "randn_like", values)` replaces torch.randn_like. A name that ends in one underscore is a method in
    place: `feed(torch.Tensor, "normal_", values)` writes mean + std * value into the tensor. Any other function loses
    what it does with its arguments, so choose one that draws standard noise.

    Raises ValueError if there is no such function, and RuntimeError if values run out, are left over, or have another
    shape than the call asks for.
    """
    if not isinstance(name, str) or not callable(getattr(holder, name, None)):
        raise ValueError(f"name must be a function of {holder!r:.60}, got {name!r:.60}")
    feeder = Feeder(name, list(values))
    in_place = name.endswith("_") and not name.endswith("__")
    drawn: Callable[..., Any] = feeder.write if in_place else feeder.draw
    # A plain function, because a class binds it as a method.
    with mock.patch.object(
        holder, name, lambda *args, **kwargs: drawn(*args, **kwargs)
    ):
        yield
    if feeder.used < len(feeder.values):
        total = len(feeder.values)
        raise RuntimeError(f"{name} was called {feeder.used} times for {total} values")


class Feeder:
    """Given values in the place of drawn ones."""

    def __init__(self, name: str, values: list[Any]) -> None:
        self.name = name
        self.values = values
        self.used = 0

    def draw(self, *args: Any, **_: Any) -> Any:
        """The next value; the first arguments say the shape, as in randn_like(x), randn(2, 3) and randn((2, 3))."""
        if self.used == len(self.values):
            raise RuntimeError(f"{self.name} was called more than {self.used} times")
        value = self.values[self.used]
        self.used += 1
        asked = shape_asked(args)
        if asked is not None and asked != tuple(np.shape(value)):
            shapes = f"shape {asked}, and its value has {tuple(np.shape(value))}"
            raise RuntimeError(f"call {self.used} of {self.name} asks for {shapes}")
        return value

    def write(self, target: Any, mean: float = 0.0, std: float = 1.0) -> Any:
        """Fill a tensor or an array in place."""
        target[...] = mean + std * self.draw(target)
        return target


def shape_asked(args: tuple[Any, ...]) -> tuple[int, ...] | None:
    """The shape that a call's arguments ask for; None if they do not say."""
    if not args:
        return None
    if hasattr(args[0], "shape"):
        return tuple(args[0].shape)
    shape = args[0] if isinstance(args[0], tuple | list) else args
    return tuple(shape) if all(isinstance(size, int) for size in shape) else None


# ---------------------------------------------------------------- the prior


def prior_scale(prior_mu: ArrayLike, prior_rho: ArrayLike) -> float:
    """The s of a prior N(0, s²) that all weights share.

    Raises NotImplementedError if the prior is another one. The checker counts the case as skipped.
    """
    mu, rho = to_numpy(prior_mu), to_numpy(prior_rho)
    for name, values in (("prior_mu", mu), ("prior_rho", rho)):
        if values.ndim != 1 or not np.isfinite(values).all() or values.size == 0:
            raise ValueError(f"{name} must be one finite number for each weight")
    if mu.shape != rho.shape:
        raise ValueError(f"prior_rho must have shape {mu.shape}, got {rho.shape}")
    if mu.any() or np.ptp(rho):
        raise NotImplementedError("the prior is not N(0, s²) with one s")
    return float(np.logaddexp(0.0, np.float64(rho[0])))


def scalar_prior(s: float, num_weights: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """prior_mu and prior_rho (D,) of the prior N(0, s²) that all weights share.

    >>> prior_scale(*scalar_prior(0.5, 3))
    0.5
    """
    if not isinstance(s, int | float) or not 0.0 < s < np.inf:
        raise ValueError(f"s must be a finite number > 0, got {s!r:.60}")
    whole = isinstance(num_weights, int) and not isinstance(num_weights, bool)
    if not whole or num_weights < 1:
        raise ValueError(
            f"num_weights must be an integer >= 1, got {num_weights!r:.60}"
        )
    rho = s + np.log(-np.expm1(-s))  # softplus of it is s
    return np.zeros(num_weights), np.full(num_weights, rho)


# ---------------------------------------------------------------- argument checks


def to_numpy(values: Any) -> NDArray[Any]:
    """The values as an array; a torch tensor loses its graph."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def whole_sizes(layer_sizes: Any) -> tuple[int, ...]:
    """Whole numbers >= 1, at least two. Raises ValueError if they are not."""
    sizes = np.asarray(layer_sizes)
    whole = sizes.dtype.kind in "iu" and sizes.ndim == 1 and sizes.size >= 2
    if not whole or np.any(sizes < 1):
        got = repr(layer_sizes)[:60]
        raise ValueError(f"layer_sizes must be two or more integers >= 1, got {got}")
    return tuple(sizes.tolist())


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

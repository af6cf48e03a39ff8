"""50-digit arithmetic: operations on object arrays of mpmath numbers.

mpmath is imported when a form runs, so that only writing vectors needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vime_check.wire import Arrays, Inputs

# ---------------------------------------------------------------- constants

DIGITS = 50


# ---------------------------------------------------------------- running a form


def exact_output(form: Callable[..., Any], inputs: Inputs) -> Arrays:
    """The form's 50-digit results for these inputs, by name, rounded to float64 at the end."""
    import mpmath

    with mpmath.workdps(DIGITS):
        output = form(**{name: in_digits(value) for name, value in inputs.items()})
        named = output if isinstance(output, Mapping) else {"": output}
        return {
            name: np.array(values, dtype=object).astype(np.float64)
            for name, values in named.items()
        }


def in_digits(value: Any) -> Any:
    """Floats as 50-digit numbers; whole numbers, flags and texts unchanged."""
    import mpmath

    if isinstance(value, float):
        return mpmath.mpf(value)
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        digits = [mpmath.mpf(float(x)) for x in value.flat]
        return np.array(digits, dtype=object).reshape(value.shape)
    return value


# ---------------------------------------------------------------- numbers and functions of one number


def one() -> Any:
    import mpmath

    return mpmath.mpf(1)


def log_two_pi() -> Any:
    import mpmath

    return mpmath.log(2 * mpmath.pi)


def elementwise(name: str) -> Callable[..., Any]:
    """mpmath's function of this name, on a number or on each element of an array."""

    def function(values: Any) -> Any:
        import mpmath

        return np.vectorize(getattr(mpmath, name), otypes=[object])(values)[()]

    return function


log = elementwise("log")
exp = elementwise("exp")
expm1 = elementwise("expm1")
log1p = elementwise("log1p")
sqrt = elementwise("sqrt")
tanh = elementwise("tanh")


# ---------------------------------------------------------------- forms shared by operations


def exact_softplus(rho: Any) -> Any:
    """Softplus, log(1 + exp ρ)."""
    return log1p(exp(rho))


def log_density(x: Any, mean: Any, sigma: Any) -> Any:
    """Normal log density, −½ log 2π − log σ − ½((x − μ)/σ)²."""
    return -log_two_pi() / 2 - log(sigma) - ((x - mean) / sigma) ** 2 / 2


def kl(mu_q: Any, sigma_q: Any, mu_p: Any, sigma_p: Any) -> Any:
    """KL[q‖p] = ½ Σ σ_q²/σ_p² − 1 − 2 log(σ_q/σ_p) + ((μ_q − μ_p)/σ_p)²."""
    ratio = sigma_q / sigma_p
    terms = ratio**2 - 1 - 2 * log(ratio) + ((mu_q - mu_p) / sigma_p) ** 2
    return np.sum(terms, axis=-1) / 2


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

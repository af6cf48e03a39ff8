"""The study `Exactness`: how far VIME's gain is from information gain.

A linear model with Gaussian noise and a Gaussian prior has an exact posterior:

    y = xᵀθ + σ_l·noise,  θ ~ N(0, σ_p² I)

A network of `bnn_ref` without hidden layers is this model. The study learns from n rows and
compares gains of new rows with the exact information gain. There is no agent and no
sampling: every posterior and every expectation is in closed form.

Axes: N rows, D weights, of which the last is the bias, S samples. Gains are in nats.

Sources: [VIME] Houthooft et al. 2016, arXiv 1605.09674, section 2.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import bnn_ref as bnn
import fast_ref as fast
from bnn_ref import Array, DiagNormal, check_count, check_positive
from vime_lab.figures import COLORS, Style, draw_bands, finish, label_ends
from vime_lab.rows import Row
from vime_lab.statistics import quartile_band
from vime_lab.studies.frame import (
    Study,
    StudyJob,
    StudySettings,
    Value,
    curve_of,
    seeds_in,
)
from vime_lab.tables import aligned
from vime_lab.tasks import ROOT_SEED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ---------------------------------------------------------------- constants

EXACTNESS_MODULES = (
    *("bnn_ref", "fast_ref", "vime_ref"),
    "vime_lab.studies.exactness",
)
# λ of VIME's gains, and whether its posterior has the fixed `num_data` of the settings.
VIME_GAINS = {
    "VIME 1": (1.0, False),
    "VIME 0.1": (0.1, False),
    "VIME 0.01": (0.01, False),
    "VIME 1 at 50": (1.0, True),
    "VIME 0.1 at 50": (0.1, True),
    "VIME 0.01 at 50": (0.01, True),
}
GAINS = ("exact", "mean-field", *VIME_GAINS, "Gauss-Newton", "L2 error")
MEASURES = ("ratio", "low", "high", "rank", "error rank", "sum")  # of each gain
# Of the rows: medians, 5 % and 95 % of leverages and of L2 errors.
SPREADS = tuple(
    f"{what}{end}" for what in ("leverage", "error") for end in ("", " low", " high")
)
MODEL = "linear"  # the one model of the study
LOOKS = {
    "exact": Style("exact", "black", "-"),
    "mean-field": Style("mean-field", "tab:purple", ":"),
    "VIME 1": Style("VIME, λ = 1", COLORS["vime"], "-"),
    "VIME 0.1": Style("VIME, λ = 0.1", COLORS["vime"], "-."),
    "VIME 0.01": Style("VIME, λ = 0.01", COLORS["vime"], ":"),
    "VIME 1 at 50": Style("VIME at 50, λ = 1", "tab:brown", "--"),
    "Gauss-Newton": Style("Gauss-Newton", "tab:green", "-."),
    "L2 error": Style("L2 error", COLORS["l2"], "--"),
}
# The curves of each panel. λ scales VIME's gains, so one λ shows their ranks and sums.
ALIKE = ("VIME 0.1", "VIME 0.01")
PANELS = {
    "ratio": ("size: gain over exact gain", ()),
    "rank": ("rank correlation with exact gain", ("exact", *ALIKE)),
    "sum": ("sum of gains over joint gain", ("mean-field", *ALIKE)),
}
SHOWN = (0, 100, 3000)  # n in the table

# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class ExactnessSettings(StudySettings):
    """Settings of the study. `length` is the number of new rows.

    `sizes` are correlations between two inputs, in percent. The defaults make a model of
    eight weights with σ_p/σ_l = 2, which a row can teach much at first.
    """

    learned: tuple[int, ...] = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)  # n
    num_inputs: int = 7
    prior_sigma: float = 1.0
    likelihood_sigma: float = 0.5
    num_data: float = 50.0  # the original's, whatever n is

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_inputs", self.num_inputs)
        for n in self.learned:
            check_count("learned", n, 0)
        for name in ("prior_sigma", "likelihood_sigma", "num_data"):
            check_positive(name, getattr(self, name), ())


class LinearRows(NamedTuple):
    """Rows of the linear model."""

    inputs: Array  # (N, D), with a trailing 1 for the bias
    targets: Array  # (N,)


class Posterior(NamedTuple):
    """N(mean, precision⁻¹) over the weights."""

    mean: Array  # (D,)
    precision: Array  # (D, D)


# ---------------------------------------------------------------- the model


def sample_rows(job: StudyJob, num_rows: int) -> LinearRows:
    """Rows of a system that is drawn from the prior, with inputs of variance 1."""
    settings: ExactnessSettings = job.settings
    streams = np.random.default_rng([ROOT_SEED, job.seed, job.size]).spawn(4)
    weights, own, common, noise = streams
    shape = (num_rows, settings.num_inputs)
    share = job.size / 100.0

    # inputs with a common part
    parts = np.sqrt(1.0 - share) * own.normal(size=shape)
    states = parts + np.sqrt(share) * common.normal(size=(num_rows, 1))
    inputs = np.hstack([states, np.ones((num_rows, 1))])  # (N, D)

    # their targets
    theta = settings.prior_sigma * weights.normal(size=settings.num_inputs + 1)
    errors = settings.likelihood_sigma * noise.normal(size=num_rows)
    return LinearRows(inputs, inputs @ theta + errors)  # (N, D), (N,)


def learned_from(
    rows: LinearRows, num_data: float, settings: ExactnessSettings
) -> Posterior:
    """The posterior after n rows that represent num_data ones.

        P = I/σ_p² + w XᵀX/σ_l²,  P m = w Xᵀy/σ_l²,  w = num_data/n

    With num_data = n it is Bayes' rule. Without rows it is the prior.
    """
    x = rows.inputs
    weight = num_data / max(len(x), 1) / settings.likelihood_sigma**2
    prior = np.eye(x.shape[1]) / settings.prior_sigma**2  # (D, D)
    precision = prior + weight * x.T @ x  # (D, D)
    mean = np.linalg.solve(precision, weight * x.T @ rows.targets)  # (D,)
    return Posterior(np.asarray(mean, dtype=float), precision)


def covariance_of(posterior: Posterior) -> Array:
    """P⁻¹, (D, D)."""
    return np.asarray(np.linalg.inv(posterior.precision), dtype=float)


def best_diagonal(posterior: Posterior) -> DiagNormal:
    """The q with the smallest KL[q ‖ posterior], and so with the largest ELBO.

        μ = m,  σ_i = P_ii^−½

    A converged `bnn_ref.fit` ends there, except for the noise of its samples.
    """
    sigma = np.diag(posterior.precision) ** -0.5  # (D,)
    return DiagNormal(posterior.mean, bnn.softplus_inverse(sigma))


# ---------------------------------------------------------------- the gains


def bayes_gain(leverage: Array, error: Array, sigma: float) -> Array:
    """KL of the posterior after a row to the one before, in nats, (N,).

        ½ [log(1 + h) − h/(1 + h) + e²h/(σ_l²(1 + h)²)]

    leverage: h = xᵀP⁻¹x/σ_l². error: e = y − xᵀm. Both (N,).

    >>> bayes_gain(np.array([1.0]), np.array([0.0]), 0.5).round(4)
    array([0.0966])
    """
    spread = np.log1p(leverage) - leverage / (1.0 + leverage)
    move = leverage * (error / (sigma * (1.0 + leverage))) ** 2
    return 0.5 * (spread + move)


def joint_gain(new: Posterior, old: Posterior) -> float:
    """KL[new ‖ old] in nats."""
    move = new.mean - old.mean  # (D,)
    trace = np.trace(np.linalg.solve(new.precision, old.precision))
    _, log_new = np.linalg.slogdet(new.precision)
    _, log_old = np.linalg.slogdet(old.precision)
    square = move @ old.precision @ move
    return 0.5 * float(trace - len(move) + square + log_new - log_old)


def leverages(inputs: Array, covariance: Array, sigma: float) -> Array:
    """h = xᵀΣx/σ_l² of rows (N, D), (N,)."""
    return np.sum(inputs @ covariance * inputs, axis=1) / sigma**2  # (N,)


def exact_gains(
    rows: LinearRows, posterior: Posterior, settings: ExactnessSettings
) -> Array:
    """The information gain of each row, (N,)."""
    sigma = settings.likelihood_sigma
    h = leverages(rows.inputs, covariance_of(posterior), sigma)
    return bayes_gain(h, rows.targets - rows.inputs @ posterior.mean, sigma)  # (N,)


def mean_field_gains(
    rows: LinearRows, posterior: Posterior, settings: ExactnessSettings
) -> Array:
    """KL of `best_diagonal` after each row to the one before, (N,).

    Both are the best ones of exact posteriors.
    """
    # the exact mean after each row
    x = rows.inputs
    variance = settings.likelihood_sigma**2
    directions = np.linalg.solve(posterior.precision, x.T).T  # (N, D)
    h = np.sum(directions * x, axis=1) / variance  # (N,)
    error = rows.targets - x @ posterior.mean  # (N,)
    steps = error / (variance * (1.0 + h))  # (N,)
    mean = posterior.mean + steps[:, None] * directions  # (N, D)

    # the best variances
    before = np.diag(posterior.precision)  # (D,)
    after = before + x**2 / variance  # (N, D)
    return bnn.kl_diag_normal(mean, after**-0.5, posterior.mean, before**-0.5)


def vime_gains(
    rows: LinearRows, q: DiagNormal, step_size: float, settings: ExactnessSettings
) -> Array:
    """VIME's Taylor gains (N,) of a network without hidden layers.

    The gradient is quadratic in ε, so `unit_moments` gives its exact expectation.
    """
    num_inputs = settings.num_inputs
    return fast.information_gains(
        q,
        rows.inputs[:, :num_inputs],
        rows.targets[:, None],
        unit_moments(num_inputs + 1),
        layer_sizes=(num_inputs, 1),
        likelihood_sigma=settings.likelihood_sigma,
        step_size=step_size,
    )


def unit_moments(size: int) -> Array:
    """Samples (2D, D) with mean 0 and covariance I: ±√D along each axis."""
    axes = np.sqrt(size) * np.eye(size)
    return np.concatenate([axes, -axes])  # (2D, D)


def gauss_newton_gains(
    rows: LinearRows, q: DiagNormal, settings: ExactnessSettings
) -> Array:
    """`bayes_gain` of each row under the diagonal q, (N,).

    The leverage is that of a network's gradient ∂f/∂θ, which is x here. The gain is exact
    if q is the exact posterior, whatever the leverage.
    """
    sigma = settings.likelihood_sigma
    h = leverages(rows.inputs, np.diag(q.sigma**2), sigma)
    return bayes_gain(h, rows.targets - rows.inputs @ q.mu, sigma)  # (N,)


def error_terms(rows: LinearRows, q: DiagNormal, settings: ExactnessSettings) -> Array:
    """e²/2σ_l² of each row, (N,): what the error adds to VIME's gain at a leverage of 1."""
    error = rows.targets - rows.inputs @ q.mu  # (N,)
    return 0.5 * (error / settings.likelihood_sigma) ** 2


def gains_of(
    name: str, new: LinearRows, old: LinearRows, settings: ExactnessSettings
) -> Array:
    """The named gains (N,) of new rows, after learning from the old ones."""
    fixed = VIME_GAINS.get(name, (0.0, False))[1]
    num_data = settings.num_data if fixed else len(old.targets)
    posterior = learned_from(old, num_data, settings)
    q = best_diagonal(posterior)
    match name:
        case "exact":
            return exact_gains(new, posterior, settings)
        case "mean-field":
            return mean_field_gains(new, posterior, settings)
        case "Gauss-Newton":
            return gauss_newton_gains(new, q, settings)
        case "L2 error":
            return error_terms(new, q, settings)
        case _:
            return vime_gains(new, q, VIME_GAINS[name][0], settings)


# ---------------------------------------------------------------- runs


def run_exactness(job: StudyJob) -> Iterator[Value]:
    """All gains beside the exact one, by the number n of rows learned from.

    Each gain has the measures of `measured`. leverage and error are medians of h and of
    the L2 error; low and high are their 5 % and 95 %.
    """
    settings: ExactnessSettings = job.settings
    most = max(settings.learned)
    rows = sample_rows(job, most + settings.length)
    new = LinearRows(rows.inputs[most:], rows.targets[most:])
    for n in settings.learned:
        # the gains
        old = LinearRows(rows.inputs[:n], rows.targets[:n])
        exact = gains_of("exact", new, old, settings)
        errors = gains_of("L2 error", new, old, settings)
        joint = batch_gain(new, old, settings)
        for name in GAINS:
            gains = gains_of(name, new, old, settings)
            for measure, value in measured(gains, exact, errors, joint).items():
                yield f"{name} {measure}", n, value

        # how much the rows differ
        covariance = covariance_of(learned_from(old, n, settings))
        h = leverages(new.inputs, covariance, settings.likelihood_sigma)
        spreads = np.quantile([h, errors], [0.5, 0.05, 0.95], axis=1)  # (3, 2)
        for name, value in zip(SPREADS, spreads.T.ravel()):
            yield name, n, float(value)


def measured(
    gains: Array, exact: Array, errors: Array, joint: float
) -> dict[str, float]:
    """Gains (N,) beside the exact ones (N,), the L2 errors (N,) and the joint gain.

    ratio, low, high: median, 5 % and 95 % of gain/exact gain.
    rank, error rank: Spearman's rank correlation with the exact gain, and with the error.
    sum: the sum of the gains over the joint gain.
    """
    from scipy import stats  # slow to import, and only this study's runs need it

    low, ratio, high = np.quantile(gains / exact, [0.05, 0.5, 0.95])
    ranks = [stats.spearmanr(gains, other).statistic for other in (exact, errors)]
    values = (ratio, low, high, *ranks, np.sum(gains) / joint)
    return dict(zip(MEASURES, map(float, values)))


def batch_gain(new: LinearRows, old: LinearRows, settings: ExactnessSettings) -> float:
    """The information gain of all new rows together, after the old ones."""
    both = LinearRows(*map(np.concatenate, zip(old, new)))
    before = learned_from(old, len(old.targets), settings)
    after = learned_from(both, len(both.targets), settings)
    return joint_gain(after, before)


# ---------------------------------------------------------------- table


def number_cell(number: float) -> str:
    """Three digits, and all digits before the point."""
    return f"{number:.0f}" if number >= 100.0 else f"{number:.3g}"


def median_at(rows: list[Row], measure: str, size: int, n: int) -> float:
    """The median over the seeds."""
    points, values = curve_of(rows, MODEL, measure, size)
    return float(np.median(values[:, points == n]))


def gains_in(rows: list[Row]) -> list[str]:
    """The names of the gains with rows, in the study's order."""
    there = {row["measure"] for row in rows}
    return [name for name in GAINS if f"{name} ratio" in there]


def exactness_table(rows: list[Row]) -> str:
    """The study's tables, one for each correlation of the inputs."""
    title = (
        "Exactness: gains in a linear model beside the exact gain, after n rows; "
        f"medians of {seeds_in(rows)}"
    )
    lines = [
        title,
        "",
        "size: median of gain/exact gain; rank: rank correlation with the exact gain;",
        "L2 rank: rank correlation with the L2 error; sum: sum of gains over joint gain",
    ]
    points = {row["point"] for row in rows}
    learned = [n for n in SHOWN if n in points]
    for size in sorted({row["size"] for row in rows}):
        lines += ["", *size_table(rows, size, learned)]
    return "\n".join(lines)


def size_table(rows: list[Row], size: int, learned: list[int]) -> list[str]:
    """The lines of one correlation: a row for each kind of gain, and the leverages."""
    blanks = [""] * (len(learned) - 1)
    heads = {"ratio": "size", "rank": "rank", "error rank": "L2 rank", "sum": "sum"}
    groups = [cell for head in heads.values() for cell in (head, *blanks)]
    numbers = ["", *(str(n) for _ in heads for n in learned)]
    table = [[f"correlation {size / 100:g}", *groups], ["n", *numbers[1:]]]
    for name in gains_in(rows):
        cells = [
            number_cell(median_at(rows, f"{name} {measure}", size, n))
            for measure in heads
            for n in learned
        ]
        table.append([name, *cells])

    # leverages, and the spread of VIME's ratio over the rows
    def cell(measure: str, n: int) -> str:
        return number_cell(median_at(rows, measure, size, n))

    leverage = [f"{cell('leverage', n)} at {n}" for n in learned]

    def spread(name: str) -> str:
        return ", ".join(
            f"{cell(f'{name} low', n)} to {cell(f'{name} high', n)} at {n}"
            for n in learned
        )

    return [
        *aligned(table, left=(0,)),
        f"leverage h, median: {', '.join(leverage)}",
        f"leverage h of 90 % of the rows: {spread('leverage')}",
        f"L2 error of 90 % of the rows: {spread('error')}",
        f"VIME 1, size of 90 % of the rows: {spread('VIME 1')}",
    ]


# ---------------------------------------------------------------- picture


def draw_exactness(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw size, ranks and sums against n, for the lowest correlation of the inputs."""
    size = min(row["size"] for row in rows)
    there = gains_in(rows)
    looks = {name: look for name, look in LOOKS.items() if name in there}
    panels = figure.subplots(1, len(PANELS))
    for axes, (measure, (title, without)) in zip(panels, PANELS.items()):
        shown = {name: look for name, look in looks.items() if name not in without}
        curves = {
            name: curve_of(rows, MODEL, f"{name} {measure}", size) for name in shown
        }
        draw_bands(axes, curves, shown, quartile_band, alpha=0.12)
        axes.set_xscale("symlog", linthresh=1.0)
        if measure != "rank":
            axes.set_yscale("log")
        axes.margins(y=0.1)
        axes.set_xlabel("rows n learned from")
        axes.set_title(title, fontsize="small")
        finish(axes, "no rows")
        label_ends(axes, curves, shown)

    title = f"correlation {size / 100:g}, median and quartiles of {seeds_in(rows)}"
    figure.suptitle(f"Exactness: how far is VIME from information gain? {title}")
    return looks


# ---------------------------------------------------------------- the study

EXACTNESS_STUDIES = {
    "Exactness": Study(
        ExactnessSettings(
            explorers=(MODEL,),
            length=5000,  # a batch of the experiments
            sizes=(0, 50),
        ),
        run_exactness,
        exactness_table,
        draw_exactness,
        {MODEL: "black"},
        (*(f"{name} {measure}" for name in GAINS for measure in MEASURES), *SPREADS),
        EXACTNESS_MODULES,
    )
}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

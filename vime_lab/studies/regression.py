"""The study `Regression`: where the next observation would teach most.

One input x, one target y = sin(1.5 x) + σ_l·noise. The first half of the data lies on the
left, the second half on the right. Two models learn from them, row by row:

    network    a Bayesian network of `bnn_ref`, fitted by the ELBO
    features   a linear model of bumps, y = Σ_k θ_k b_k(x) + θ_0

The linear model has an exact posterior and exact gains. Its best diagonal posterior has
VIME's gain. The expected gain at x averages over the y that the model itself predicts.

Axes: P positions of x, N rows, D weights, S samples. Gains are in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import bnn_ref as bnn
import fast_ref as fast
from bnn_ref import Array, DiagNormal
from vime_lab.animations import poster_first
from vime_lab.figures import COLORS, Style, add_legend, draw_line, finish
from vime_lab.rows import Row
from vime_lab.studies.exactness import (
    EXACTNESS_MODULES,
    ExactnessSettings,
    LinearRows,
    best_diagonal,
    covariance_of,
    exact_gains,
    learned_from,
    leverages,
    number_cell,
    vime_gains,
)
from vime_lab.studies.frame import Study, StudyJob, Value, curve_of, few_digits
from vime_lab.tables import aligned
from vime_lab.tasks import ROOT_SEED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ---------------------------------------------------------------- constants

LOOKED_AT = np.linspace(-3.0, 3.0, 49)  # (P,), positions of x
INNER = 0.6  # the data lie between these distances from 0
OUTER = 2.0
TABLED = (-1.25, 0.0, 1.25, 3.0)  # positions in the table
ROW_POINTS = 1000  # points from one number of rows to the next
MODEL_LOOKS = {
    "network": Style("VIME, network", COLORS["vime"], "-"),
    "features": Style("VIME, linear model", COLORS["l2"], "--"),
    "exact": Style("exact, linear model", "black", "-"),
}
MODEL_PANELS = {"network": ("network",), "linear": ("exact", "features")}
BANDS = (-3.0, 3.0)  # limits of y

# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class RegressionSettings(ExactnessSettings):
    """Settings of the study. `length` is the number of rows, `num_inputs` that of bumps.

    Values without a source are our choice.
    """

    num_inputs: int = 13
    likelihood_sigma: float = 0.1
    learned: tuple[int, ...] = ()
    bump_width: float = 0.5
    hidden: int = 32
    network_sigma: float = 0.5  # of the prior: VIME's
    num_updates: int = 500  # for each row
    learning_rate: float = 0.02
    num_samples: int = 10
    gain_samples: int = 500


class Outlook(NamedTuple):
    """A model's expectations at each position."""

    mean: Array  # (P,)
    deviation: Array  # (P,), of y, with its noise
    gain: Array  # (P,)


class Story(NamedTuple):
    """The data that the pictures show."""

    seed: int
    x: Array  # (N,)
    y: Array  # (N,)
    outlooks: dict[str, list[Outlook]]  # of each explorer, after 0 to N rows


# ---------------------------------------------------------------- data


def sample_data(job: StudyJob) -> tuple[Array, Array]:
    """Inputs and targets (N,), in the order in which they arrive."""
    settings = job.settings
    places, noise = np.random.default_rng([ROOT_SEED, job.seed]).spawn(2)
    distances = places.uniform(INNER, OUTER, settings.length)
    left = np.arange(settings.length) < settings.length // 2
    x = np.where(left, -distances, distances)  # (N,)
    errors = settings.likelihood_sigma * noise.normal(size=len(x))
    return x, np.sin(1.5 * x) + errors


def bumps(x: Array, settings: RegressionSettings) -> Array:
    """The features of the linear model, with a trailing 1, (N, D)."""
    middles = np.linspace(LOOKED_AT[0], LOOKED_AT[-1], settings.num_inputs)
    distances = (x[:, None] - middles) / settings.bump_width  # (N, D - 1)
    ones = np.ones((len(x), 1))
    return np.hstack([np.exp(-0.5 * distances**2), ones])  # (N, D)


# ---------------------------------------------------------------- the models


def expected_gain(gains: Callable[[Array], Array], mean: Array, sd: Array) -> Array:
    """E gain(y) for y of this mean and standard deviation, if gain is quadratic in y.

        ½ gain(mean + sd) + ½ gain(mean − sd)

    The exact gain is quadratic in y, and so is VIME's Taylor gain.
    """
    return 0.5 * (gains(mean + sd) + gains(mean - sd))


def linear_outlook(
    x: Array, y: Array, settings: RegressionSettings, *, exact: bool
) -> Outlook:
    """The linear model after rows (N,): its exact posterior, or the best diagonal one."""
    sigma = settings.likelihood_sigma
    posterior = learned_from(LinearRows(bumps(x, settings), y), len(x), settings)
    q = best_diagonal(posterior)
    covariance = covariance_of(posterior) if exact else np.diag(q.sigma**2)
    inputs = bumps(LOOKED_AT, settings)  # (P, D)
    mean = inputs @ posterior.mean  # (P,)
    deviation = sigma * np.sqrt(1.0 + leverages(inputs, covariance, sigma))

    def gains(targets: Array) -> Array:
        rows = LinearRows(inputs, targets)
        if exact:
            return exact_gains(rows, posterior, settings)
        return vime_gains(rows, q, 1.0, settings)

    return Outlook(mean, deviation, expected_gain(gains, mean, deviation))


def network_outlook(q: DiagNormal, eps: Array, settings: RegressionSettings) -> Outlook:
    """The network with posterior q."""
    inputs = LOOKED_AT[:, None]  # (P, 1)
    model = network_keywords(settings)
    mean, deviation = bnn.predict(q, inputs, eps, **model)  # (P, 1) each

    def gains(targets: Array) -> Array:
        return fast.information_gains(q, inputs, targets, eps, step_size=1.0, **model)

    expected = expected_gain(gains, mean, deviation)  # (P,)
    return Outlook(mean[:, 0], deviation[:, 0], expected)


def network_keywords(settings: RegressionSettings) -> dict[str, Any]:
    """The keywords that describe the network."""
    sizes = (1, settings.hidden, 1)
    return {"layer_sizes": sizes, "likelihood_sigma": settings.likelihood_sigma}


def network_posteriors(
    x: Array, y: Array, settings: RegressionSettings, rng: np.random.Generator
) -> Iterator[DiagNormal]:
    """The posterior without rows, which is the prior, and after each row.

    Each fit goes on from the last one, as VIME's does. The first starts like VIME.
    """
    model = network_keywords(settings)
    size = bnn.num_weights(model["layer_sizes"])
    rho = bnn.softplus_inverse(np.full(size, settings.network_sigma))
    prior = DiagNormal(np.zeros(size), rho)
    yield prior

    q = DiagNormal(settings.network_sigma * rng.standard_normal(size), rho)
    for n in range(1, len(x) + 1):
        shape = (settings.num_updates, n, 1)
        inputs = np.broadcast_to(x[:n, None], shape)  # (U, n, 1)
        targets = np.broadcast_to(y[:n, None], shape)  # (U, n, 1)
        q, _ = fast.fit(
            q,
            prior,
            inputs,
            targets,
            rng,
            num_data=float(n),
            num_samples=settings.num_samples,
            learning_rate=settings.learning_rate,
            sample_noise=bnn.sample_zeta,
            gradient=fast.elbo_grad_local,
            **model,
        )
        yield q


# ---------------------------------------------------------------- runs


def outlooks(job: StudyJob) -> Iterator[Outlook]:
    """The model's outlook before the data, and after each row."""
    settings: RegressionSettings = job.settings
    x, y = sample_data(job)
    if job.explorer != "network":
        for n in range(len(x) + 1):
            exact = job.explorer == "exact"
            yield linear_outlook(x[:n], y[:n], settings, exact=exact)
        return
    own = np.random.default_rng([ROOT_SEED, job.seed, 1])
    fitting, sampling = own.spawn(2)
    size = bnn.num_weights(network_keywords(settings)["layer_sizes"])
    eps = sampling.standard_normal((settings.gain_samples, size))  # (S, D)
    for q in network_posteriors(x, y, settings, fitting):
        yield network_outlook(q, eps, settings)


def run_regression(job: StudyJob) -> Iterator[Value]:
    """The outlook after n rows at point ROW_POINTS·n + position, and the data at n."""
    for name, values in zip(("x", "y"), sample_data(job)):
        for n, value in enumerate(values):
            yield name, n, few_digits(value)
    for n, outlook in enumerate(outlooks(job)):
        for measure, values in zip(Outlook._fields, outlook):
            for place, value in enumerate(values):
                yield measure, ROW_POINTS * n + place, few_digits(value)


# ---------------------------------------------------------------- rows


def story_in(rows: list[Row]) -> Story:
    """The first seed's data and outlooks."""

    def values(explorer: str, measure: str) -> Array:
        return curve_of(rows, explorer, measure)[1][0]

    outlooks = {}
    for name in MODEL_LOOKS:
        by_rows = [
            values(name, measure).reshape(-1, len(LOOKED_AT))
            for measure in Outlook._fields
        ]  # (N + 1, P) each
        outlooks[name] = [Outlook(*each) for each in zip(*by_rows)]
    seed = min(row["seed"] for row in rows)
    return Story(seed, values("exact", "x"), values("exact", "y"), outlooks)


# ---------------------------------------------------------------- table


def regression_table(rows: list[Row]) -> str:
    """The expected gain at some positions, before, between and after the data."""
    story = story_in(rows)
    places = [int(np.argmin(abs(LOOKED_AT - x))) for x in TABLED]
    table = [["", "rows", *(f"x = {x:g}" for x in TABLED)]]
    for name, found in story.outlooks.items():
        for n in shown_in(story):
            gains = [number_cell(found[n].gain[place]) for place in places]
            table.append([name, str(n), *gains])
    lines = [
        f"Regression: expected gain of an observation at x, in nats; seed {story.seed}",
        "",
        "network: VIME's gain at λ = 1; features: the same in a linear model;",
        "exact: the information gain in that linear model",
        "",
    ]
    return "\n".join([*lines, *aligned(table, left=(0,))])


def shown_in(story: Story) -> tuple[int, int, int]:
    """The numbers of rows before, between and after both halves of the data."""
    count = len(story.x)
    return 0, count // 2, count


# ---------------------------------------------------------------- pictures


def draw_outlook(
    above: Any, below: Any, story: Story, names: tuple[str, ...], n: int
) -> None:
    """Draw data and bands above, expected gains below, after n rows."""
    for name in names:
        look = MODEL_LOOKS[name]
        found = story.outlooks[name][n]
        low, high = (found.mean + k * found.deviation for k in (-2.0, 2.0))
        draw_line(above, LOOKED_AT, found.mean, look, 1.4)
        draw_line(below, LOOKED_AT, found.gain, look, 1.6)
        shade: Any = {"color": look.color, "alpha": 0.18, "linewidth": 0}
        above.fill_between(LOOKED_AT, low, high, **shade)

    above.plot(story.x[:n], story.y[:n], "o", color="black", markersize=3.5)
    above.set_ylim(*BANDS)
    below.set_yscale("log")
    below.set_ylim(*gain_limits(story))
    below.set_xlabel("x")
    for axes in (above, below):
        finish(axes, "nothing")


def gain_limits(story: Story) -> tuple[float, float]:
    """The limits of the gains in all frames."""
    gains = [each.gain for found in story.outlooks.values() for each in found]
    return 0.7 * float(np.min(gains)), 1.5 * float(np.max(gains))


def name_axes(panels: Any) -> None:
    panels[0, 0].set_ylabel("y: mean ± 2 sd")
    panels[1, 0].set_ylabel("expected gain at x (nats)")


def draw_regression(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw both models before, between and after the data."""
    story = story_in(rows)
    columns = [
        (title, names, n)
        for title, names in MODEL_PANELS.items()
        for n in shown_in(story)
    ]
    panels = figure.subplots(2, len(columns), sharex=True, sharey="row")
    for (above, below), (title, names, n) in zip(panels.T, columns):
        draw_outlook(above, below, story, names, n)
        above.set_title(f"{title}, n = {n}", fontsize="medium")
    name_axes(panels)
    what = "what a model knows after n rows, and where the next would teach most"
    figure.suptitle(f"Regression: {what}")
    return MODEL_LOOKS


def play_regression(figure: Figure, rows: list[Row]) -> Iterator[float]:
    """Draw both models while the data arrive."""
    story = story_in(rows)
    add_legend(figure, MODEL_LOOKS.values())
    panels = figure.subplots(2, len(MODEL_PANELS), sharex=True, sharey="row")
    count = len(story.x)
    for n, seconds in poster_first(count + 1):
        for (above, below), (title, names) in zip(panels.T, MODEL_PANELS.items()):
            above.clear()
            below.clear()
            draw_outlook(above, below, story, names, n)
            above.set_title(title, fontsize="medium")
        name_axes(panels)
        figure.suptitle(
            f"Regression: predictions and expected gains after {n} of {count} rows"
        )
        yield seconds


# ---------------------------------------------------------------- the study

REGRESSION_STUDIES = {
    "Regression": Study(
        RegressionSettings(explorers=tuple(MODEL_LOOKS), length=16),
        run_regression,
        regression_table,
        draw_regression,
        {name: look.color for name, look in MODEL_LOOKS.items()},
        (*Outlook._fields, "x", "y"),
        (*EXACTNESS_MODULES, "vime_lab.studies.regression"),
        height=4.8,
        film=play_regression,
    )
}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

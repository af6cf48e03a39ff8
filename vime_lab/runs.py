"""One run: training and measuring one agent, with checkpoints.

`run_job` trains one agent and writes a checkpoint from time to time. It resumes from an
existing checkpoint; the results are bit-identical, except for times.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

import bnn_ref as bnn
from agents_ref import AgentSettings, Iteration, train
from bnn_ref import Array
from vime_lab.checkpoints import (
    Progress,
    beginning,
    bonus_model,
    claimed,
    read_checkpoint,
    restored_rows,
    resumed,
    write_checkpoint,
)
from vime_lab.rows import MODEL_COLUMNS, PHASES, RUN_COLUMNS, TRENDED, TRENDS, Row
from vime_lab.tasks import ROOT_SEED, Job, Start, start
from vime_lecture.controls import SquaredZScore
from vime_ref import Batch, Bonus, Vime, normalize_gains

# ---------------------------------------------------------------- constants

# Iterations of a trend, the slope of a least-squares line.
TREND_WINDOW = 10
# Rows of a diagnosis: a tenth of a batch, cheap compared with training.
DIAGNOSED_ROWS = 500
# Seed of the diagnoses' noise and rows, separate from the training's.
DIAGNOSIS_SEED = 1
# Approximate number of visited states kept: five per cell of the picture's 60 x 60.
VISITS = 20_000
# Seconds of work that a crash may lose; writing a checkpoint takes a fraction of one.
CHECKPOINT_SECONDS = 20.0

# ---------------------------------------------------------------- types

Places = NDArray[np.int64]  # of rows


class Result(NamedTuple):
    """The result of a run, of a task or of a study."""

    job: Any
    rows: list[Row]
    visits: Array  # (n, 2), the first two observations of visited states
    failure: str = ""  # the reason, if it failed


@dataclass
class Stopwatch:
    """A bonus that records the times of its calls.

    They separate an iteration's sampling, gains, policy and model.
    """

    bonus: Bonus
    marks: list[float]

    def reward(self, batch: Batch, rng: Generator) -> Array:
        self.marks.append(time.perf_counter())
        gains = self.bonus.reward(batch, rng)
        self.marks.append(time.perf_counter())
        return gains

    def update(self, batch: Batch, rng: Generator) -> Stopwatch:
        self.marks.append(time.perf_counter())
        bonus = self.bonus.update(batch, rng)
        self.marks.append(time.perf_counter())
        return Stopwatch(bonus, self.marks)


# ---------------------------------------------------------------- measuring


def trained_model(bonus: Bonus) -> Vime | None:
    """The bonus's Bayesian network, or None if it has none that learns."""
    return None if isinstance(bonus, SquaredZScore) else bonus_model(bonus)


def diagnosis(
    before: Bonus, after: Bonus, batch: Batch, rng: Generator
) -> dict[str, float]:
    """Diagnostics of the model, and of its predictions for the batch before training on it.

    elbo: on rows of the pool, in nats. kl_prior: KL to the prior, in nats.
    heldout_log_likelihood: per transition of the batch, in nats.
    heldout_error_ratio: squared error of the predictive mean divided by the squared error
    of the pool's mean, which ignores (s, a): 1 is useless, 0 perfect.

    Densities are those of the raw observation, because the unit of a normalized one
    changes with the pool. nan without a model, or before it has learned.
    """
    old = trained_model(before)
    new = trained_model(after)
    if old is None or new is None or len(new.pool) < new.settings.min_rows:
        return dict.fromkeys(MODEL_COLUMNS, np.nan)

    # rows of the pool, rows of the batch, and noise, drawn in this order
    drawn = rng.integers(len(new.pool), size=DIAGNOSED_ROWS)
    held = rng.integers(len(batch.rewards), size=DIAGNOSED_ROWS)
    eps = rng.standard_normal((new.settings.num_samples, len(new.q.mu)))  # (S, D)

    found = learned(new, drawn, eps)
    if len(old.pool) < new.settings.min_rows:
        return found | dict.fromkeys(MODEL_COLUMNS[2:], np.nan)
    return found | foreseen(old, batch, held, eps)


def learned(model: Vime, drawn: Places, eps: Array) -> dict[str, float]:
    """ELBO on rows of the pool, and KL to the prior."""
    pool = model.pool
    q = model.q
    prior = model.prior
    columns = (pool.observations, pool.actions, pool.next_observations)
    rows = model.normalized(*(column[drawn] for column in columns))
    num_data = model.settings.num_data or float(len(pool))
    bound = bnn.elbo(q, prior, *rows, eps, num_data=num_data, **network_of(model))
    return {
        "elbo": float(bound) - num_data * log_unit(model),
        "kl_prior": float(bnn.kl_diag_normal(q.mu, q.sigma, prior.mu, prior.sigma)),
    }


def foreseen(model: Vime, batch: Batch, held: Places, eps: Array) -> dict[str, float]:
    """Log likelihood and error ratio on rows that the model has not learned from."""
    columns = model.model_rows(batch)
    inputs, targets = model.normalized(*(column[held] for column in columns))
    network = network_of(model)
    density = bnn.predictive_log_density(model.q, inputs, targets, eps, **network)
    mean, _ = bnn.predict(model.q, inputs, eps, **network)
    ratio = np.sum((targets - mean) ** 2) / np.sum(targets**2)
    return {
        "heldout_log_likelihood": float(np.mean(density)) - log_unit(model),
        "heldout_error_ratio": float(ratio),
    }


def network_of(model: Vime) -> dict[str, Any]:
    """The keywords that describe the model's network."""
    return {
        "layer_sizes": model.layer_sizes,
        "likelihood_sigma": model.settings.likelihood_sigma,
    }


def log_unit(model: Vime) -> float:
    """Σ log scale over the observation's dimensions.

    Subtract it from the log density of a normalized s′ to get that of the raw s′.
    """
    return float(np.sum(np.log(model.scale[: model.layer_sizes[-1]])))


def trend(values: Sequence[float]) -> float:
    """Slope per step of the least-squares line through the last `TREND_WINDOW` values.

    Only finite values count; nan with fewer than two.

    >>> trend([1.0, 3.0, 5.0])
    2.0
    """
    recent = np.array(values[-TREND_WINDOW:], dtype=float)
    finite = np.isfinite(recent)
    steps = np.arange(len(recent))[finite]
    recent = recent[finite]
    if len(recent) < 2:
        return float("nan")
    centered = steps - steps.mean()
    return float(centered @ recent / (centered @ centered))


def bonus_share(
    settings: AgentSettings, history: tuple[float, ...], seen: Iteration
) -> float:
    """Σ η·gain / Σ (|r| + η·gain) of an iteration, gains as they were rewarded.

    `history` is that before the iteration. nan if there was no reward at all.
    """
    gains = seen.gains
    if settings.normalize:
        gains, _ = normalize_gains(gains, history)
    bonus = settings.eta * float(np.sum(gains))
    total = bonus + float(np.sum(np.abs(seen.batch.rewards)))
    return bonus / total if total else float("nan")


def row_of(
    job: Job,
    rows: Sequence[Row],
    history: tuple[float, ...],
    seen: Iteration,
    diagnosed: dict[str, float],
) -> Row:
    """The next row of a learning curve, without its times."""
    # there is no return if no episode ended
    returns = seen.episode_returns
    if not len(returns):
        returns = np.array([np.nan])

    row: Row = {
        "task": job.task_name,
        "bonus": job.bonus_name,
        "setting": job.setting,
        "seed": job.seed,
        "iteration": len(rows),
        "steps": (rows[-1]["steps"] if rows else 0) + len(seen.batch.rewards),
        "return_mean": float(returns.mean()),
        "return_max": float(returns.max()),
        "position_max": float(seen.batch.next_observations[:, 0].max()),
        "gain_median": float(np.median(seen.gains)),
        "gain_mean": float(np.mean(seen.gains)),
        "bonus_share": bonus_share(job.task.agent, history, seen),
        **diagnosed,
    }

    # the trends
    for name, slope in zip(TRENDED, TRENDS):
        before = [each[name] for each in rows[-TREND_WINDOW:]]
        row[slope] = trend([*before, row[name]])
    return row


# ---------------------------------------------------------------- one run


def progressions(job: Job, begun: Start, progress: Progress) -> Iterator[Progress]:
    """The run after each of its remaining iterations."""
    left = job.task.iterations - len(progress.rows)
    if left == 0:
        return

    marks: list[float] = []
    iterations = timed_training(begun, progress, left, marks)
    num_steps = job.task.iterations * begun.settings.batch_steps
    stride = max(1, num_steps // VISITS)
    wall_s = progress.rows[-1]["wall_s"] if progress.rows else 0.0

    began = time.perf_counter()
    for _ in range(left):
        # the iteration and its row
        marks[:] = [time.perf_counter()]
        seen = next(iterations)
        bonus = seen.bonus.bonus  # type: ignore[attr-defined]  # the stopwatch's
        found = diagnosed(job, progress, bonus, seen)
        row = row_of(job, progress.rows, progress.history, seen, found)

        # sampling, gains, policy and model, by the recorded times; the rest is other
        ended = time.perf_counter()
        phases = [*np.diff(marks), marks[0] - began + ended - marks[-1]]
        row.update(zip(PHASES, map(float, phases)))
        wall_s += ended - began
        row["wall_s"] = wall_s
        began = ended

        # the run after it
        states = seen.batch.observations[::stride, :2]
        progress = Progress(
            policy=seen.policy,
            value=seen.value,
            bonus=bonus,
            history=seen.history,
            streams=progress.streams,
            rows=[*progress.rows, row],
            visits=np.concatenate([progress.visits, states]),  # (n, 2)
        )
        yield progress


def timed_training(
    begun: Start, progress: Progress, num_iterations: int, marks: list[float]
) -> Iterator[Iteration]:
    """Training from the run's current iteration, with a stopwatch around its bonus."""
    return train(
        begun.envs,
        progress.policy,
        Stopwatch(progress.bonus, marks),
        progress.value,
        progress.streams,
        begun.settings,
        num_iterations=num_iterations,
        history=progress.history,
    )


def diagnosed(
    job: Job, progress: Progress, bonus: Bonus, seen: Iteration
) -> dict[str, float]:
    """The diagnosis of an iteration, with separate noise."""
    own = [ROOT_SEED, DIAGNOSIS_SEED, job.seed, len(progress.rows)]
    return diagnosis(progress.bonus, bonus, seen.batch, np.random.default_rng(own))


def run_job(
    job: Job,
    checkpoint: Path,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Result | None:
    """Train one agent, from its checkpoint if there is one.

    Writes the checkpoint every `checkpoint_seconds`, when told to stop, and at the end.
    Returns None if told to stop before the end.
    Raises CheckpointError if a checkpoint can't be read or written.
    """
    begun = start(job)
    progress = beginning(begun)
    with claimed(checkpoint, should_stop) as file:
        # its state when it stopped
        if checkpoint.exists():
            progress = resumed(checkpoint, job, begun)
        file.truncate(0)
        writer = csv.DictWriter(file, RUN_COLUMNS)
        writer.writerows(progress.rows)

        # the remaining iterations
        saved = time.perf_counter()
        for now in progressions(job, begun, progress):
            progress = now
            writer.writerow(progress.rows[-1])
            file.flush()
            done = len(progress.rows) == job.task.iterations
            stop = should_stop()
            late = time.perf_counter() - saved >= checkpoint_seconds
            if done or stop or late:
                write_checkpoint(checkpoint, job, progress)
                saved = time.perf_counter()
            if stop and not done:
                return None
    return Result(job, progress.rows, progress.visits)


def kept_result(job: Job, checkpoint: Path) -> Result:
    """The result in the checkpoint, which may be of an unfinished run.

    Raises CheckpointError if the checkpoint can't be read.
    """
    _, arrays = read_checkpoint(checkpoint, job)
    rows = restored_rows(job, arrays)
    failure = "" if len(rows) == job.task.iterations else "unfinished"
    return Result(job, rows, arrays["visits"], failure)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

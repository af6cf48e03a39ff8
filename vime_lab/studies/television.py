"""The television: which bonus loses interest in noise, by the rows that its model saw.

One study, `Television`, without an agent: each model sees the same stream of transitions,
some at a noisy screen and the rest learnable. Its bonus is measured at both.

Sources: [TV] Burda et al. 2018, arXiv 1808.04355; [Lecture] "Intrinsic motivation in RL".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agents_ref import check_fraction
from bnn_ref import Array, check_count
from vime_gym.corridor import LEFT, NUM_ACTIONS, NoisyCorridor
from vime_lab.studies.frame import Study, StudyJob, StudySettings, Value
from vime_lab.studies.television_models import (
    MODELS,
    TELEVISION_MODEL,
    TELEVISION_MODULES,
    bonus_of,
)
from vime_lab.studies.television_tables import (
    TELEVISION_COLORS,
    draw_television,
    television_table,
)
from vime_lab.tasks import ROOT_SEED
from vime_lecture.counts import VisitCounts
from vime_ref import Batch, Bonus, VimeSettings, normalize_gains

# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class TelevisionSettings(StudySettings):
    """Settings of `Television`. `length` is the rows of the stream.

    Values without a source are from trial runs.
    """

    corridor: int = 5  # N of the corridor whose transitions are the stream
    num_pictures: int = 16
    share: float = 0.25  # of the rows at the screen
    first: int = 100  # rows at the first point
    test_rows: int = 400  # fresh rows, on which a bonus is measured
    vime: VimeSettings = TELEVISION_MODEL

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("corridor", "first", "test_rows"):
            check_count(name, getattr(self, name))
        check_count("num_pictures", self.num_pictures, 2)
        check_fraction("share", self.share)


# ---------------------------------------------------------------- a stream of transitions


def points_of(settings: TelevisionSettings) -> list[int]:
    """The rows at the points of a curve, in equal steps of their logarithm.

    >>> points_of(TelevisionSettings(("counts",), 10_000, points=3))
    [100, 1000, 10000]
    """
    points = np.geomspace(settings.first, settings.length, settings.points)
    return [int(point) for point in np.unique(np.rint(points))]


def stream(
    task: NoisyCorridor, share: float, num_rows: int, rng: Generator
) -> tuple[NDArray[np.int_], NDArray[np.bool_]]:
    """Rows s, a, s′ (3, N), and whether each is at the screen (N,).

    At the screen means from the start by action 0, which shows a picture: one pair (s, a)
    with as many outcomes as pictures. The other rows are uniform over all pairs of the
    stretch, and the outcome of each is certain.
    """
    pairs = [(s, a) for s in range(task.length) for a in range(NUM_ACTIONS)]
    elsewhere = np.array([pair for pair in pairs if pair != (0, LEFT)])  # (pairs, 2)

    at_screen = rng.random(num_rows) < share  # (N,)
    drawn = elsewhere[rng.integers(len(elsewhere), size=num_rows)]  # (N, 2)
    rows = np.where(at_screen[:, None], (0, LEFT), drawn)  # (N, 2)
    states, actions = rows.T
    following = [task.move(s, a)[0] for s, a in rows.tolist()]
    return np.stack([states, actions, following]), at_screen  # (3, N), (N,)


def batch_from(rows: NDArray[np.int_], features: Array) -> Batch:
    """The rows s, a, s′ (3, N) as a bonus sees them."""
    states, actions, following = rows
    nothing = np.zeros(len(actions))
    truncated = np.ones(len(actions), dtype=bool)  # no row follows another
    return Batch(
        features[states], actions, nothing, features[following], ~truncated, truncated
    )


def bonuses_at(
    bonus: Bonus, rows: NDArray[np.int_], features: Array, rng: Generator
) -> Array:
    """The bonus of each row (N,), as if it came next.

    Counts count the rows of a batch one after another, so they see one row at a time.
    """
    if isinstance(bonus, VisitCounts):
        singles = np.split(rows, rows.shape[1], axis=1)  # (3, 1) each
        found = [bonus.reward(batch_from(row, features), rng) for row in singles]
        return np.concatenate(found)  # (N,)
    return bonus.reward(batch_from(rows, features), rng)


def run_television(job: StudyJob) -> Iterator[Value]:
    """The bonus on fresh rows after n rows of the stream, by n.

    screen, elsewhere: medians over the rows there. `mean` of each is the mean.
    normalized: the median at the screen, divided by the median of all rows there and
    elsewhere, which is `normalize_gains` without earlier batches.
    """
    settings: TelevisionSettings = job.settings
    seeds = np.random.default_rng([ROOT_SEED, job.seed])
    init, screen, drawn, learning = seeds.spawn(4)
    task = NoisyCorridor(settings.corridor, num_pictures=settings.num_pictures)
    task.reset(seed=int(screen.integers(2**31)))
    space: Any = task.observation_space
    bonus, features, _ = bonus_of(job.explorer, int(space.n), init, settings.vime)

    seen = 0
    for point in points_of(settings):
        # learn
        rows, _ = stream(task, settings.share, point - seen, drawn)
        bonus = bonus.update(batch_from(rows, features), learning)
        seen = point

        # measure
        rows, at_screen = stream(task, settings.share, settings.test_rows, drawn)
        gains = bonuses_at(bonus, rows, features, learning)
        normalized, _ = normalize_gains(gains, ())
        for name, mine in {"screen": at_screen, "elsewhere": ~at_screen}.items():
            yield name, point, float(np.median(gains[mine]))
            yield f"{name} mean", point, float(np.mean(gains[mine]))
        yield "normalized", point, float(np.median(normalized[at_screen]))


# ---------------------------------------------------------------- the studies

TELEVISION_STUDIES = {
    "Television": Study(
        TelevisionSettings(explorers=MODELS, length=50_000, points=8),
        run_television,
        television_table,
        draw_television,
        TELEVISION_COLORS,
        ("screen", "elsewhere", "screen mean", "elsewhere mean", "normalized"),
        (*TELEVISION_MODULES, "vime_lab.studies.television"),
        height=4.0,
    ),
}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Agents in the noisy corridor: who leaves the noise, and finds the reward.

One study, `NoisyCorridor`: tabular Q-learning with each bonus of the study `Television`, on
a task with noise on one side and a reward behind a learnable stretch on the other.

Sources: [SB] Sutton and Barto 2018, "Reinforcement Learning", second edition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.random import Generator

from agents_ref import Streams, check_fraction
from bnn_ref import Array, check_count, check_not_negative
from vime_lab.studies.frame import (
    Study,
    StudyJob,
    StudySettings,
    Value,
    parts_of,
    random_walk,
)
from vime_lab.studies.television_models import (
    BY_MEDIAN,
    MODELS,
    TELEVISION_MODEL,
    TELEVISION_MODULES,
    WEIGHT_MARK,
    bonus_of,
    parts_of_name,
)
from vime_lab.studies.television_tables import (
    TELEVISION_COLORS,
    corridor_table,
    draw_corridor,
)
from vime_lab.tasks import ROOT_SEED
from vime_lecture.strategies import Strategy, epsilon_greedy_strategy, ucb_strategy
from vime_lecture.tabular import Episode, TabularSettings, batch_of, q_learning
from vime_ref import Bonus, VimeSettings

# ---------------------------------------------------------------- constants

CORRIDOR = "vime_ref/NoisyCorridor-v0"

# As in the rooms of the other studies.
CORRIDOR_AGENT = TabularSettings(gamma=0.9, batch_steps=10)

# An update every 10 steps, so fewer and larger Adam steps than in `Television`.
CORRIDOR_MODEL = replace(
    TELEVISION_MODEL, hidden_sizes=(32,), num_updates=5, learning_rate=0.03
)

# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class CorridorSettings(StudySettings):
    """Settings of `NoisyCorridor`. `length` is a run's episodes.

    Values without a source are from trial runs.
    """

    corridor: int = 8  # N
    num_pictures: int = 8
    alpha: float = 0.1  # α of UCB for explorers with a bonus
    epsilon: float = 0.1  # [SB] example 6.5, as in the other studies
    warmup_episodes: int = 10  # of random actions, from which each bonus learns first
    agent: TabularSettings = CORRIDOR_AGENT
    vime: VimeSettings = CORRIDOR_MODEL

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("corridor", "warmup_episodes"):
            check_count(name, getattr(self, name))
        check_count("num_pictures", self.num_pictures, 2)
        check_fraction("epsilon", self.epsilon)
        check_not_negative("alpha", self.alpha)


# ---------------------------------------------------------------- agents


def strategy_for(job: StudyJob) -> Strategy:
    """UCB, with a bonus or without; random or ε-greedy, without one."""
    settings: CorridorSettings = job.settings
    strategies = {
        "random": epsilon_greedy_strategy(1.0),
        "epsilon-greedy": epsilon_greedy_strategy(settings.epsilon),
    }
    return strategies.get(job.explorer, ucb_strategy(settings.alpha))


def made_corridor(settings: CorridorSettings) -> gym.Env[Any, Any]:
    return gym.make(
        CORRIDOR,
        length=settings.corridor,
        num_pictures=settings.num_pictures,
        disable_env_checker=True,
    )


def warmed(
    bonus: Bonus, features: Array, settings: CorridorSettings, rng: Generator
) -> Bonus:
    """The bonus after it has learned from episodes of random actions, batch by batch.

    Without them, a network's first errors and gains are large everywhere.
    """
    env = made_corridor(settings)
    walk = random_walk(env, settings.agent, settings.warmup_episodes, rng)
    size = settings.agent.batch_steps
    for episode in walk:
        for start in range(0, len(episode.steps), size):
            steps = episode.steps[start : start + size]
            bonus = bonus.update(batch_of(steps, features), rng)
    return bonus


def corridor_episodes(job: StudyJob) -> Iterator[Episode]:
    """The episodes of a run."""
    settings: CorridorSettings = job.settings
    seeds = np.random.default_rng([ROOT_SEED, job.seed])
    init, *streams = seeds.spawn(5)
    env = made_corridor(settings)
    space: Any = env.observation_space
    name, by_median, weight = parts_of_name(job.explorer)
    cold, features, unit = bonus_of(name, int(space.n), init, settings.vime)
    agent = replace(settings.agent, eta=weight * unit, normalize=by_median)
    return q_learning(
        env,
        strategy_for(job),
        warmed(cold, features, settings, init),
        Streams(*streams),
        agent,
        num_episodes=settings.length,
        features=features,
    )


def run_corridor(job: StudyJob) -> Iterator[Value]:
    """An explorer's progress in the corridor.

    watching: share of the steps that end on the screen, over the episodes since the last
    point. return: mean return of these episodes. found: the first episode with the reward;
    nan means never.
    """
    settings: CorridorSettings = job.settings
    ends = parts_of(settings.length, settings.points)

    found = math.nan
    watching: list[bool] = []
    returns: list[float] = []
    for number, episode in enumerate(corridor_episodes(job), 1):
        watching += [step.next_state > settings.corridor for step in episode.steps]
        returns.append(episode.episode_return)
        if returns[-1] > 0.0 and math.isnan(found):
            found = float(number)

        # a point of the curves
        if number in ends:
            yield "watching", number, float(np.mean(watching))
            yield "return", number, float(np.mean(returns))
            watching = []
            returns = []
    yield "found", 0, found


# ---------------------------------------------------------------- the study

WITHOUT_BONUS = ("random", "epsilon-greedy", "UCB")
NORMALIZED = tuple(f"{name}{BY_MEDIAN}" for name in ("dirichlet", "L2 error", "VIME"))
# Weights besides 1: all for exact gain, and for networks the two at which exact gain by
# median leaves the screen, because their runs take ten times as long.
WEIGHTS = (0.001, 0.01, 0.1, 10.0)
WEIGHTED = (
    *(f"dirichlet{WEIGHT_MARK}{weight:g}" for weight in WEIGHTS),
    *(f"dirichlet{BY_MEDIAN}{WEIGHT_MARK}{weight:g}" for weight in WEIGHTS),
    *(f"L2 error{WEIGHT_MARK}{weight:g}" for weight in WEIGHTS[:2]),
    *(f"VIME{WEIGHT_MARK}{weight:g}" for weight in WEIGHTS[:2]),
)
CORRIDOR_STUDIES = {
    "NoisyCorridor": Study(
        CorridorSettings(
            explorers=(*WITHOUT_BONUS, *MODELS, *NORMALIZED, *WEIGHTED),
            length=200,
            points=20,
        ),
        run_corridor,
        corridor_table,
        draw_corridor,
        TELEVISION_COLORS,
        ("watching", "return", "found"),
        (*TELEVISION_MODULES, "vime_lab.studies.noisy_corridor"),
        height=4.0,
    ),
}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

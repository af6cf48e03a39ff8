"""Studies of explorers: the lecture's explorers and VIME side by side on small tasks.

`Bandit`, `DeepSea`, `KeyDoorMaze` and `NoisyTV` take seconds per run. Except for the
bandit's strategies, all explorers are the same agent: tabular Q-learning with a strategy
or a bonus.

Axes: A arms. Regret is in units of reward.

Sources: [Lecture] "Intrinsic motivation in RL", by topic; [SB] Sutton and Barto 2018,
"Reinforcement Learning", second edition; [Counts] Bellemare et al. 2016, arXiv 1606.01868;
bsuite, arXiv 1908.03568, for DeepSea's rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TransformReward
from numpy.random import Generator
from numpy.typing import NDArray

from agents_ref import Streams
from bnn_ref import Array
from vime_gym.rooms import SIGNS, DeepSea, KeyDoorMaze, deep_sea_solved
from vime_lab.studies.explorer_tables import (
    EXPLORER_COLORS,
    bandit_table,
    deep_sea_table,
    draw_bandit,
    draw_deep_sea,
    draw_maze,
    draw_tv,
    maze_table,
    tv_table,
)
from vime_lab.studies.frame import (
    Study,
    StudyJob,
    StudySettings,
    Value,
    parts_of,
    random_walk,
)
from vime_lab.studies.laws import ucb1_bound
from vime_lab.tasks import ROOT_SEED, model_init
from vime_lecture.controls import DirichletGain, PredictionError, dirichlet_gain
from vime_lecture.counts import PseudoCounts, VisitCounts
from vime_lecture.densities import dirichlet, image_cts
from vime_lecture.strategies import (
    Strategy,
    bandit_regret,
    boltzmann_strategy,
    epsilon_greedy_strategy,
    greedy_shares,
    ucb_strategy,
)
from vime_lecture.tabular import Episode, TabularSettings, batch_of, q_learning
from vime_ref import Bonus, NoBonus, Vime, VimeSettings

# ---------------------------------------------------------------- constants

EXPLORER_MODULES = (
    "bnn_ref",
    "fast_ref",
    "vime_ref",
    "agents_ref",
    "vime_gym",
    "vime_gym.rooms",
    "vime_lecture.strategies",
    "vime_lecture.tabular",
    "vime_lecture.counts",
    "vime_lecture.densities",
    "vime_lecture.controls",
    "vime_lab.studies.laws",
    "vime_lab.studies.explorers",
)
# Signs per state code; 8 would suffice for the largest DeepSea that a network sees.
CODE_BITS = 16
MAZE = "vime_ref/KeyDoorMaze-v0"
TV = "vime_ref/NoisyTV-v0"

# Learning rate 1, because moves are deterministic; batches of whole episodes.
EPISODIC = TabularSettings(learning_rate=1.0, batch_steps=1000)
# A discount horizon of about half the path through the maze; networks learn every 10 steps.
STEPWISE = TabularSettings(gamma=0.9, batch_steps=10)
EXPLORER_MODEL = VimeSettings(
    hidden_sizes=(32,),
    likelihood_sigma=0.5,
    prior_sigma=0.1,
    num_data=None,
    num_samples=1,
    num_updates=5,
    batch_size=32,
    learning_rate=0.03,
    capacity=1000,
    min_rows=1,
)

# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class ExplorerSettings(StudySettings):
    """Settings of a study. `length` is a bandit's pulls, else a run's maximum of episodes.

    `sizes` are DeepSea's. Values without a source are from trial runs.
    """

    length_cts: int = 0  # episodes of context-tree switching, which takes 4 ms per step
    means: tuple[float, ...] = ()  # of a bandit's arms
    epsilon: float = 0.1  # [SB] example 6.5
    # α of UCB for explorers with a bonus; None: they act by Boltzmann
    bonus_alpha: float | None = None
    alpha: float = 1.0  # α of UCB; 1 is UCB-1's
    beta: float = 0.05  # β of counts and pseudo-counts: [Counts]
    eta: float = 10.0  # reward per nat of VIME's gain, or per unit of the L2 error
    exact_eta: float = 0.3  # reward per nat of the exact gain
    prior_alpha: float = 0.5  # α of the exact gain: Jeffreys' prior
    coordinates: bool = False  # a network sees the state's coordinates; else a code
    # episodes of random actions to train a network before the first bonus
    warmup_episodes: int = 0
    warmup_updates: int = 500  # the default of `VimeSettings`
    agent: TabularSettings = EPISODIC
    vime: VimeSettings = EXPLORER_MODEL


# ---------------------------------------------------------------- explorers


def strategy_of(job: StudyJob) -> Strategy:
    """An explorer's strategy.

    Gains shrink by orders of magnitude while a model learns, but old values remain. So an
    explorer with a bonus must not stay where it once got a large bonus. Boltzmann is
    independent of the values' scale, and UCB retries every action, if rarely.
    """
    settings: ExplorerSettings = job.settings
    strategies = {
        "random": epsilon_greedy_strategy(1.0),
        "epsilon-greedy": epsilon_greedy_strategy(settings.epsilon),
        "Boltzmann": boltzmann_strategy(),
        "UCB": ucb_strategy(settings.alpha),
        "UCB-1": ucb_strategy(),
    }
    if settings.means:  # arms, whose gain is part of the strategy
        exact = gain_strategy(settings.exact_eta, settings.prior_alpha)
        strategies["dirichlet"] = exact
    # without a bonus, and with one
    if job.explorer in strategies:
        return strategies[job.explorer]
    if settings.bonus_alpha is None:
        return boltzmann_strategy()
    return ucb_strategy(settings.bonus_alpha)


def gain_strategy(eta: float, alpha: float) -> Strategy:
    """The strategy for Bernoulli arms that acts by the argmax of mean + η·expected gain.

    The gain is information about the arm's probability.
    """

    def shares(means: Sequence[float], counts: Sequence[int]) -> list[float]:
        gains = gains_of_arms(np.array(means), np.array(counts), alpha)
        return greedy_shares((means + eta * gains).tolist())

    return shares


def gains_of_arms(means: Array, counts: Array, alpha: float) -> Array:
    """The expected information gain (A,) of one more pull of each arm, in nats.

        Σ_i (α_i/α₀) KL[Beta(α + e_i) ‖ Beta(α)]

    The probability of a reward has the prior Beta(α, α). means, counts: (A,).
    """
    wins = means * counts
    outcomes = np.stack([wins, counts - wins]) + alpha  # (2, A)
    totals = counts + 2.0 * alpha  # (A,)
    gains = dirichlet_gain(outcomes, totals)  # (2, A)
    return np.sum(outcomes / totals * gains, axis=0)  # (A,)


def explorer_bonus(
    job: StudyJob, env: gym.Env[Any, Any], rng: Generator
) -> tuple[Bonus, Array | None, float]:
    """An explorer's bonus, the states' features that it sees, and its weight.

    Features are None if the bonus sees the states' numbers.
    """
    task: Any = env.unwrapped
    num_states = int(task.observation_space.n)
    beta = job.settings.beta
    match job.explorer:
        case "counts":
            return VisitCounts(beta), None, 1.0
        case "pseudo-counts":
            # worth one observation
            numbers = dirichlet(num_states, 1.0 / num_states)
            return PseudoCounts(numbers, beta), None, 1.0
        case "CTS":
            rows = [task.image(state).ravel() for state in range(num_states)]
            images = np.array(rows, dtype=float)  # (states, pixels)
            pictures = image_cts(task.drawing.shape, len(SIGNS))
            return PseudoCounts(pictures, beta), images, 1.0
        case "dirichlet":
            exact = DirichletGain(num_states, job.settings.prior_alpha)
            return exact, None, job.settings.exact_eta
        case "VIME" | "L2 error":
            settings: ExplorerSettings = job.settings
            features = state_features(settings, task, rng)
            cold = model_init(features.shape[1], env.action_space, rng, settings.vime)
            model = warmed_up(cold, env, features, rng, settings)
            bonus = model if job.explorer == "VIME" else PredictionError(model)
            return bonus, features, settings.eta
        case _:
            return NoBonus(), None, 1.0


def state_features(settings: ExplorerSettings, task: Any, rng: Generator) -> Array:
    """The states' features for a network, (states, features).

    Coordinates, or random codes of signs, in which distance has no meaning.
    """
    num_states = int(task.observation_space.n)
    codes = rng.choice([-1.0, 1.0], (num_states, CODE_BITS))  # drawn in any case
    if settings.coordinates:
        return np.array([task.coordinates(state) for state in range(num_states)])
    return codes


def warmed_up(
    model: Vime,
    env: gym.Env[Any, Any],
    features: Array,
    rng: Generator,
    settings: ExplorerSettings,
) -> Vime:
    """The bonus after its model has learned from some episodes of random actions.

    Without them, its first gains would reward everything.
    """
    if not settings.warmup_episodes:
        return model

    walk = random_walk(env, settings.agent, settings.warmup_episodes, rng)
    batch = batch_of([step for episode in walk for step in episode.steps], features)

    # its own number of updates
    own = replace(model.settings, num_updates=settings.warmup_updates)
    learner = replace(model, settings=own)
    return replace(learner.update(batch, rng), settings=model.settings)


def episodes_of(job: StudyJob) -> int:
    return job.settings.length_cts if job.explorer == "CTS" else job.settings.length


def played(job: StudyJob, env: gym.Env[Any, Any]) -> Iterator[Episode]:
    """The episodes of a run."""
    init, *streams = np.random.default_rng([ROOT_SEED, job.seed, job.size]).spawn(5)
    bonus, features, weight = explorer_bonus(job, env, init)
    return q_learning(
        env,
        strategy_of(job),
        bonus,
        Streams(*streams),
        replace(job.settings.agent, eta=weight),
        num_episodes=episodes_of(job),
        features=features,
    )


# ---------------------------------------------------------------- runs


def run_bandit(job: StudyJob) -> Iterator[Value]:
    """The regret after t pulls, and for UCB-1 also its bound.

    t runs over the ends of equal parts and over powers of 10^(1/10).
    """
    settings: ExplorerSettings = job.settings
    rng = np.random.default_rng([ROOT_SEED, job.seed])
    noise = rng.random((1, settings.length, 2))
    (regret,) = bandit_regret(settings.means, strategy_of(job), noise)

    exponents = np.arange(0.0, math.log10(settings.length), 0.1)
    decades = np.floor(10.0**exponents).astype(int).tolist()
    for t in sorted({*decades, *parts_of(settings.length, settings.points)}):
        yield "regret", t, float(regret[t - 1])
        if job.explorer == "UCB-1":
            yield "bound", t, float(ucb1_bound(settings.means, t))


def run_deep_sea(job: StudyJob) -> Iterator[Value]:
    """Episodes until the treasure is "found" and until the task is "solved".

    nan means never. The run ends when the task is solved. Random actions never solve it,
    so their run ends with the treasure. Epsilon-greedy and Boltzmann learn the cost of
    moving right long before they find the treasure, and then do worse than random.
    """
    env = DeepSea(job.size, "index")
    random = job.explorer == "random"

    wrong: list[bool] = []  # whether an episode had a wrong move
    for episode in played(job, env):
        moves = (step.action != env.right[step.state] for step in episode.steps)
        wrong.append(any(moves))
        if not wrong[-1] and (random or deep_sea_solved(wrong)):
            break

    # nan for never
    found = len(wrong) if all(wrong) else wrong.index(False) + 1
    yield "found", 0, math.nan if all(wrong) else float(found)
    solved = None if random else deep_sea_solved(wrong)
    yield "solved", 0, math.nan if solved is None else float(solved)


def run_maze(job: StudyJob) -> Iterator[Value]:
    """An explorer's progress in the maze.

    seen: share of the states seen, by episodes.
    return: mean return of the episodes since the last point, by episodes.
    key, goal: the first episode with it; nan means never.
    visits: share of steps into each cell.
    """
    env = gym.make(MAZE, observation="index", disable_env_checker=True)
    maze: Any = env.unwrapped
    num_cells = len(maze.cells)
    num_states = len(reachable(maze))
    ends = parts_of(episodes_of(job), job.settings.points)

    seen = {maze.start()}
    visits = np.zeros(num_cells)
    returns = []
    first = {"key": math.nan, "goal": math.nan}
    for number, episode in enumerate(played(job, env), 1):
        # this episode's contribution
        states = [step.next_state for step in episode.steps]
        seen.update(states)
        np.add.at(visits, np.array(states) % num_cells, 1.0)
        returns.append(episode.episode_return)
        reached = {"key": max(states) >= num_cells, "goal": returns[-1] > 0.0}
        for name, is_now in reached.items():
            if is_now and math.isnan(first[name]):
                first[name] = float(number)

        # a point of the curves
        if number in ends:
            yield "seen", number, len(seen) / num_states
            yield "return", number, float(np.mean(returns))
            returns = []

    # values known only at the end
    for name, value in first.items():
        yield name, 0, value
    for cell, share in enumerate(visits / visits.sum()):
        yield "visits", cell, float(share)


def reachable(env: KeyDoorMaze) -> set[int]:
    """The states reachable from the start."""
    found = {env.start()}
    left = [env.start()]
    while left:
        state = left.pop()
        for action in range(env.num_actions):
            new, _, terminated, *_ = env.move(state, action)
            if new not in found:
                found.add(new)
                left += [] if terminated else [new]
    return found


def run_tv(job: StudyJob) -> Iterator[Value]:
    """An explorer's interest in noise, over the episodes since the last point.

    `watching`: share of steps that end in front of the screen.
    `pays`: mean bonus of such a step in units of the other steps' mean; nan if that is 0.

    The environment gives no reward.
    """
    env = silent(gym.make(TV, observation="index", disable_env_checker=True))
    room: Any = env.unwrapped
    ends = parts_of(episodes_of(job), job.settings.points)

    states: list[int] = []
    gains: list[float] = []
    for number, episode in enumerate(played(job, env), 1):
        states += [step.next_state for step in episode.steps]
        gains += episode.gains

        # a point of the curves
        if number in ends:
            watching = np.array(states) % len(room.cells) == room.places["T"]
            yield "watching", number, float(np.mean(watching))
            yield "pays", number, relative_bonus(np.array(gains), watching)
            states = []
            gains = []


def silent(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment without its rewards, so that only the bonus remains."""
    return TransformReward(env, lambda reward: 0.0)


def relative_bonus(gains: Array, watching: NDArray[np.bool_]) -> float:
    """The mean gain of steps in front of the screen, in units of the other steps' mean."""
    watched = gains[watching]
    others = gains[~watching]
    if len(watched) and others.any():
        return float(np.mean(watched) / np.mean(others))
    return math.nan


# ---------------------------------------------------------------- the studies

# Explorers of both maze studies.
COMMON = ("random", "epsilon-greedy", "Boltzmann", "UCB", "counts", "pseudo-counts")
EXPLORER_STUDIES = {
    "Bandit": Study(
        ExplorerSettings(
            explorers=("random", "epsilon-greedy", "Boltzmann", "UCB-1", "dirichlet"),
            length=10_000,
            means=tuple(np.linspace(0.1, 0.9, 10).tolist()),
            exact_eta=10.0,
        ),
        run_bandit,
        bandit_table,
        draw_bandit,
        EXPLORER_COLORS,
        ("regret",),
        EXPLORER_MODULES,
    ),
    "DeepSea": Study(
        ExplorerSettings(
            explorers=(*COMMON, "dirichlet", "VIME"),
            length=10_000,  # bsuite
            sizes=(6, 8, 10, 12, 14, 17, 20, 25, 30),
            largest=(*((name, 17) for name in COMMON[:4]), ("VIME", 14)),
            eta=30.0,
            bonus_alpha=0.03,
        ),
        run_deep_sea,
        deep_sea_table,
        draw_deep_sea,
        EXPLORER_COLORS,
        ("found", "solved"),
        EXPLORER_MODULES,
    ),
    "KeyDoorMaze": Study(
        ExplorerSettings(
            explorers=(*COMMON, "CTS", "dirichlet", "VIME"),
            length=100,
            length_cts=20,
            points=20,
            agent=STEPWISE,
            warmup_episodes=2,
        ),
        run_maze,
        maze_table,
        draw_maze,
        EXPLORER_COLORS,
        ("seen", "return", "key", "goal", "visits"),
        EXPLORER_MODULES,
        height=4.8,
    ),
    "NoisyTV": Study(
        ExplorerSettings(
            explorers=("random", "counts", "dirichlet", "L2 error", "VIME"),
            length=200,
            points=20,
            agent=STEPWISE,
            warmup_episodes=2,
            coordinates=True,
        ),
        run_tv,
        tv_table,
        draw_tv,
        EXPLORER_COLORS,
        ("watching", "pays"),
        EXPLORER_MODULES,
    ),
}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

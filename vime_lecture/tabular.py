"""Tabular Q-learning with any strategy and any bonus.

Axes: A actions, N rows (transitions), K features of a state.

Sources: [Lecture] "Intrinsic motivation in RL", "Algorithm"; [Q] Watkins and Dayan 1992, "Q-learning"; [SB] Sutton and
Barto 2018, "Reinforcement Learning", second edition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Env
from gymnasium.spaces import Discrete, Space
from numpy.random import Generator

from agents_ref import AgentSettings, Streams, check_fraction, curiosity
from bnn_ref import Array, check_array, check_count, check_finite, check_positive
from vime_lecture.strategies import Strategy, check_visits, sample_index
from vime_ref import Batch, Bonus, NoBonus


class Table(NamedTuple):
    """What a tabular agent knows: for every state a list of A values Q(s, a) and of A visit counts n(s, a)."""

    q_values: list[list[float]]
    counts: list[list[int]]


class Step(NamedTuple):
    """One transition, states and actions counted from 0; `truncated` means cut by a time limit."""

    state: int
    action: int
    reward: float
    next_state: int
    terminated: bool
    truncated: bool


# ---------------------------------------------------------------- the algorithm: tabular Q-learning


@dataclass(frozen=True)
class TabularSettings:
    """Settings of `q_learning`."""

    learning_rate: float = 0.5  # [SB] example 6.5, as the initial value
    learning_rate_power: float = (
        0.0  # α = learning_rate/n(s, a)^power: Q converges for ½ < power ≤ 1 [Q]
    )
    gamma: float = 0.99  # that of `AgentSettings`
    initial_value: float = 0.0
    batch_steps: int = 1  # steps between two updates, fewer where an episode ends; 1 is Q-learning as [Q] has it
    eta: float = (
        1.0  # weight of the bonus; 1 leaves it to the bonus's own, such as β of a count
    )
    normalize: bool = False  # True for gains, with batches of more than a few steps

    def __post_init__(self) -> None:
        check_count("batch_steps", self.batch_steps)
        for name in ("learning_rate", "learning_rate_power", "gamma"):
            check_fraction(name, getattr(self, name))
        check_positive("learning_rate", self.learning_rate)
        check_finite("initial_value", self.initial_value)
        AgentSettings(eta=self.eta)


class Episode(NamedTuple):
    """What `q_learning` yields. The table is the learner's own and goes on changing: read it before the next."""

    table: Table
    bonus: Bonus
    history: tuple[float, ...]  # of `normalize_gains`
    steps: list[Step]  # with the environment's rewards
    gains: list[float]  # raw, one a step

    @property
    def episode_return(self) -> float:
        """Sum of the environment's rewards, not discounted."""
        return math.fsum(step.reward for step in self.steps)


def discrete(name: str, space: Space[Any]) -> Discrete[Any]:
    if not isinstance(space, Discrete):
        raise ValueError(f"{name} must be Discrete, got {space}")
    return space


def table_init(env: Env[Any, Any], initial_value: float = 0.0) -> Table:
    """Q(s, a) = initial_value and n(s, a) = 0 everywhere; ValueError unless both spaces are Discrete."""
    num_states = int(discrete("observation_space", env.observation_space).n)
    num_actions = int(discrete("action_space", env.action_space).n)
    return Table(
        [[initial_value] * num_actions for _ in range(num_states)],
        [[0] * num_actions for _ in range(num_states)],
    )


def q_updated(
    value: float,
    reward: float,
    next_values: Sequence[float],
    terminated: bool,
    *,
    learning_rate: float,
    gamma: float,
) -> float:
    """Q(s, a) + α (r + γ max_a′ Q(s′, a′) − Q(s, a)), the new Q(s, a); s′ counts as 0 where the episode terminated.

    A truncated episode is no terminal state: there the values of s′ count. [Q].
    """
    following = 0.0 if terminated else max(next_values)
    return value + learning_rate * (reward + gamma * following - value)


def learn(
    table: Table,
    steps: Sequence[Step],
    rewards: Sequence[float],
    settings: TabularSettings,
) -> None:
    """Counts the steps and moves their values, one after another, in the table itself."""
    q, counts = table
    for (s, a, _, s_next, terminated, _), reward in zip(steps, rewards):
        counts[s][a] += 1
        alpha = settings.learning_rate / counts[s][a] ** settings.learning_rate_power
        q[s][a] = q_updated(
            q[s][a],
            reward,
            q[s_next],
            terminated,
            learning_rate=alpha,
            gamma=settings.gamma,
        )
        if not math.isfinite(q[s][a]):
            raise ValueError(
                f"q_values must be finite, got {q[s][a]} in state {s}, action {a}"
            )


def state_index(observation: Any, start: int, num_states: int, step: int) -> int:
    """The state, counted from 0; ValueError where the observation is none of them."""
    state = observation - start
    if not (0 <= state < num_states and state == int(state)):
        raise ValueError(
            f"observation must be one of {num_states} from {start}, got {observation} at step {step}"
        )
    return int(state)


def walk(
    env: Env[Any, Any],
    table: Table,
    strategy: Strategy,
    rng: Generator,
    seed: int | None,
) -> Iterator[Step]:
    """The steps of one episode, each chosen by what the table holds when the step is asked for.

    Raises ValueError, naming the step, on a reward that is not finite or an observation outside the space.
    """
    first_state = int(discrete("observation_space", env.observation_space).start)
    first_action = int(discrete("action_space", env.action_space).start)
    q, counts = table
    state, t, ended = (
        state_index(env.reset(seed=seed)[0], first_state, len(q), 0),
        0,
        False,
    )
    while not ended:
        probabilities = strategy(q[state], counts[state])
        if len(probabilities) != len(q[state]):
            raise ValueError(
                f"the strategy must give {len(q[state])} probabilities, got {len(probabilities)}"
            )
        action = sample_index(probabilities, rng.random())
        observation, reward, terminated, truncated, _ = env.step(action + first_action)
        next_state = state_index(observation, first_state, len(q), t)
        if not math.isfinite(reward):
            raise ValueError(f"reward must be finite, got {reward} at step {t}")
        yield Step(
            state, action, float(reward), next_state, bool(terminated), bool(truncated)
        )
        state, t, ended = next_state, t + 1, terminated or truncated


def batch_of(steps: Sequence[Step], features: Array) -> Batch:
    """The steps as a bonus sees them: states by their rows (K,) of features; the last is marked cut where none ends."""
    states, actions, rewards, next_states, terminated, truncated = (
        np.array(column) for column in zip(*steps)
    )
    truncated[-1] |= not terminated[-1]
    return Batch(
        features[states], actions, rewards, features[next_states], terminated, truncated
    )


def q_learning(
    env: Env[Any, Any],
    strategy: Strategy,
    bonus: Bonus,
    streams: Streams,
    settings: TabularSettings,
    *,
    num_episodes: int,
    features: Array | None = None,
    table: Table | None = None,
    history: tuple[float, ...] = (),
) -> Iterator[Episode]:
    """[Lecture] "Algorithm" on a table: interact, reward curiosity, train the agent, train the model.

    It goes round every `batch_steps` steps. env has Discrete observations and actions; a bonus sees a state as its row
    of features (states, K), or as its index, K = 1. A table that is given is learned on, in place. [Q].
    Raises ValueError on other spaces, a table or features that do not fit or are not finite, and as `walk` does.
    """
    check_count("num_episodes", num_episodes)
    new = table_init(env, settings.initial_value)
    table = table or new
    check_array(
        "q_values", np.array(table.q_values, dtype=float), np.shape(new.q_values)
    )
    check_visits(table.counts, np.shape(new.counts))
    features = (
        np.arange(len(table.q_values), dtype=float)[:, None]
        if features is None
        else features
    )
    if features.ndim != 2:
        raise ValueError(
            f"features must have shape ({len(table.q_values)}, K), got {features.shape}"
        )
    check_array("features", features, (len(table.q_values), features.shape[1]))
    weights = AgentSettings(eta=settings.eta, normalize=settings.normalize)
    for episode in range(num_episodes):
        seed = int(streams.environment.integers(2**31)) if episode == 0 else None
        steps, seen, gains = walk(env, table, strategy, streams.policy, seed), [], []
        while rows := list(islice(steps, settings.batch_steps)):
            if isinstance(bonus, NoBonus):  # the same as below, without arrays
                learn(table, rows, [step.reward for step in rows], settings)
                gains += [0.0] * len(rows)
            else:
                batch = batch_of(rows, features)
                rewards, raw, history = curiosity(
                    bonus, batch, history, streams.model, weights
                )
                learn(table, rows, rewards.tolist(), settings)
                bonus = bonus.update(batch, streams.replay)
                gains += raw.tolist()
            seen += rows
        yield Episode(table, bonus, history, seen, gains)

"""Tabular Q-learning with an arbitrary strategy and bonus.

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

from agents_ref import Streams, check_fraction, check_methods, check_streams, curiosity
from bnn_ref import (
    Array,
    check_array,
    check_count,
    check_flag,
    check_function,
    check_kind,
    check_not_negative,
    check_number,
    check_positive,
    set_fields,
)
from vime_lecture.steps import reset_env, step_env
from vime_lecture.strategies import Strategy, check_visits, chosen_action
from vime_ref import Batch, Bonus, NoBonus

# ---------------------------------------------------------------- types


class Table(NamedTuple):
    """A tabular agent's knowledge: for each state a list of A values Q(s, a) and a list of A visit counts n(s, a)."""

    q_values: list[list[float]]
    counts: list[list[int]]


class Step(NamedTuple):
    """One transition, with states and actions counted from 0. `truncated` means cut by a time limit."""

    state: int
    action: int
    reward: float
    next_state: int
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class TabularSettings:
    """Settings of `q_learning`."""

    learning_rate: float = 0.5  # [SB] example 6.5, as the initial value

    # α = learning_rate/n(s, a)^power. Q converges for ½ < power ≤ 1 [Q].
    learning_rate_power: float = 0.0
    gamma: float = 0.99  # the default of `AgentSettings`
    initial_value: float = 0.0  # our choice

    # Steps between updates, fewer if an episode ends; 1 is the Q-learning of [Q].
    batch_steps: int = 1

    # Weight of the bonus; 1 if the bonus has its own, like β of a count.
    eta: float = 1.0
    normalize: bool = False  # True for gains, in batches of more than a few steps

    def __post_init__(self) -> None:
        check_tabular_settings(self)


class Episode(NamedTuple):
    """One episode of `q_learning`. The learner changes the table in place: read it before the next episode."""

    table: Table
    bonus: Bonus
    history: tuple[float, ...]  # of `normalize_gains`
    steps: list[Step]  # with the environment's rewards
    gains: list[float]  # raw, one per step

    @property
    def episode_return(self) -> float:
        """The undiscounted sum of the environment's rewards."""
        return math.fsum(step.reward for step in self.steps)


# ---------------------------------------------------------------- values


def q_updated(
    value: float,
    reward: float,
    next_values: Sequence[float],
    terminated: bool,
    *,
    learning_rate: float,
    gamma: float,
) -> float:
    """The new Q(s, a) from the old one, r and the values (A,) of s′.

        Q(s, a) + α (r + γ max_a′ Q(s′, a′) − Q(s, a))

    max_a′ Q is 0 if the episode terminated. It is not 0 if the episode was truncated, because s′ is not terminal.
    `learn` takes the same step by `moved`, without argument checks, because they take longer than the step.
    Raises ValueError unless all numbers are finite, A ≥ 1, γ is from 0 to 1, and the learning rate too, but not 0.
    Source: [Q].
    """
    values = check_array("next_values", next_values, (None,))
    check_count("length of next_values", len(values))
    check_positive("learning_rate", learning_rate, ())
    return moved(
        check_number("value", value),
        check_number("reward", reward),
        values.tolist(),
        check_flag("terminated", terminated),
        check_fraction("learning_rate", learning_rate),
        check_fraction("gamma", gamma),
    )


def moved(
    value: float,
    reward: float,
    next_values: Sequence[float],
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """The value moved toward its target by the learning rate."""
    following = 0.0 if terminated else max(next_values)
    return value + learning_rate * (reward + gamma * following - value)  # S5


def learn(
    table: Table,
    steps: Sequence[Step],
    rewards: Sequence[float],
    settings: TabularSettings,
) -> None:
    """Count the steps and update their values one after another, in place.

    Raises ValueError, naming state and action, if a value becomes infinite or NaN.
    """
    q = table.q_values
    counts = table.counts
    for (s, a, _, s_next, terminated, _), reward in zip(steps, rewards):
        counts[s][a] += 1
        alpha = settings.learning_rate / counts[s][a] ** settings.learning_rate_power
        q[s][a] = moved(q[s][a], reward, q[s_next], terminated, alpha, settings.gamma)
        if not math.isfinite(q[s][a]):
            raise ValueError(
                f"q_values must be finite, got {q[s][a]} in state {s}, action {a}"
            )


# ---------------------------------------------------------------- steps


def table_init(env: Env[Any, Any], initial_value: float = 0.0) -> Table:
    """A table with Q(s, a) = initial_value and n(s, a) = 0. Raises ValueError unless both spaces are Discrete."""
    check_kind("env", env, Env)
    initial_value = check_number("initial_value", initial_value)
    num_states = int(discrete("observation_space", env.observation_space).n)
    num_actions = int(discrete("action_space", env.action_space).n)
    return Table(
        [[initial_value] * num_actions for _ in range(num_states)],
        [[0] * num_actions for _ in range(num_states)],
    )


def walk(
    env: Env[Any, Any],
    table: Table,
    strategy: Strategy,
    rng: Generator,
    seed: int | None,
) -> Iterator[Step]:
    """The steps of one episode; each action depends on the table at the time the step is requested.

    Raises ValueError, naming the step, if a reward is not one finite number, a flag is not one true or false, or an
    observation lies outside the space.
    """
    first_state = int(discrete("observation_space", env.observation_space).start)
    first_action = int(discrete("action_space", env.action_space).start)
    q, counts = table
    t = 0
    ended = False
    state = state_index(reset_env(env, t, seed), first_state, len(q), t)
    while not ended:
        # Choose an action.
        probabilities = strategy(q[state], counts[state])
        action = chosen_action(probabilities, len(q[state]), rng.random())

        # Act.
        sent = action + first_action
        observation, reward, terminated, truncated = step_env(env, sent, t)
        next_state = state_index(observation, first_state, len(q), t)
        yield Step(state, action, reward, next_state, terminated, truncated)

        # Move to the next state.
        state = next_state
        t += 1
        ended = terminated or truncated


def batch_of(steps: Sequence[Step], features: Array) -> Batch:
    """The steps as a bonus sees them, in N rows; a state is its row (K,) of features (states, K).

    The last row is marked truncated unless it terminated.
    """
    columns = [np.array(column) for column in zip(*steps)]  # (N,) each
    states, actions, rewards, next_states, terminated, truncated = columns
    truncated[-1] |= not terminated[-1]
    observations = features[states]  # (N, K)
    next_observations = features[next_states]  # (N, K)
    return Batch(
        observations, actions, rewards, next_observations, terminated, truncated
    )


# ---------------------------------------------------------------- Q-learning


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
    """Episodes of [Lecture] "Algorithm" on a table [Q]: interact, reward curiosity, train the agent, train the model.

    The four lines repeat every `batch_steps` steps. env has Discrete observations and actions.
    A bonus sees a state as its row of features (states, K), or as its index with K = 1. A given table is updated in
    place.
    Raises ValueError if a space is not Discrete, or if the table or features do not fit or are not finite. Raises like
    `walk`.
    """
    check_learner(env, strategy, bonus, streams, settings)
    num_episodes = check_count("num_episodes", num_episodes)
    history = tuple(check_positive("history", history, (None,)).tolist())

    # The table and the features that the bonus sees.
    new = table_init(env, settings.initial_value)
    table = new if table is None else table
    check_q_table(table, new)
    features = checked_features(features, len(new.q_values))

    # Interact; after every few steps, learn.
    for episode in range(num_episodes):
        seed = int(streams.environment.integers(2**31)) if episode == 0 else None
        steps = walk(env, table, strategy, streams.policy, seed)
        seen: list[Step] = []
        gains: list[float] = []
        while rows := list(islice(steps, settings.batch_steps)):
            if isinstance(bonus, NoBonus):  # the same, without arrays
                learn(table, rows, [step.reward for step in rows], settings)
                gains += [0.0] * len(rows)
            else:
                bonus, history, raw = q_iteration(
                    table, rows, features, bonus, history, streams, settings
                )
                gains += raw
            seen += rows
        yield Episode(table, bonus, history, seen, gains)


def q_iteration(
    table: Table,
    steps: list[Step],
    features: Array,
    bonus: Bonus,
    history: tuple[float, ...],
    streams: Streams,
    settings: TabularSettings,
) -> tuple[Bonus, tuple[float, ...], list[float]]:
    """Run the algorithm's last three lines; return bonus, history and raw gains (N,). Changes the table in place."""
    # Reward curiosity.
    batch = batch_of(steps, features)
    rewards, gains, history = curiosity(
        bonus,
        batch,
        history,
        streams.model,
        eta=settings.eta,
        normalize=settings.normalize,
    )

    # Train the agent, then the model.
    learn(table, steps, rewards.tolist(), settings)
    bonus = bonus.update(batch, streams.replay)
    return bonus, history, gains.tolist()


# ---------------------------------------------------------------- argument checks


def check_tabular_settings(settings: TabularSettings) -> None:
    """Convert the numbers of the settings, and check all of them."""
    power = "learning_rate_power"
    set_fields(
        settings,
        learning_rate=check_fraction("learning_rate", settings.learning_rate),
        learning_rate_power=check_fraction(power, settings.learning_rate_power),
        gamma=check_fraction("gamma", settings.gamma),
        initial_value=check_number("initial_value", settings.initial_value),
        batch_steps=check_count("batch_steps", settings.batch_steps),
        eta=check_not_negative("eta", settings.eta),
        normalize=check_flag("normalize", settings.normalize),
    )
    check_positive("learning_rate", settings.learning_rate)


def check_learner(
    env: Env[Any, Any],
    strategy: Strategy,
    bonus: Bonus,
    streams: Streams,
    settings: TabularSettings,
) -> None:
    """Raise ValueError unless the arguments of `q_learning` are what their names say."""
    check_kind("env", env, Env)
    check_function("strategy", strategy)
    check_methods("bonus", bonus, "reward", "update")
    check_streams(streams)
    check_kind("settings", settings, TabularSettings)


def discrete(name: str, space: Space[Any]) -> Discrete[Any]:
    """The space. Raises ValueError unless it is Discrete."""
    if not isinstance(space, Discrete):
        raise ValueError(f"{name} must be Discrete, got {space}")
    return space


def state_index(observation: Any, start: int, num_states: int, step: int) -> int:
    """The observation's state, counted from 0. Raises ValueError, naming the step, if it is not in the space."""
    state = observation - start
    if not (0 <= state < num_states and state == int(state)):
        raise ValueError(
            f"observation must be one of {num_states} from {start}, got {observation:g} at step {step}"
        )
    return int(state)


def check_q_table(table: Table, new: Table) -> None:
    """Raise ValueError unless the table has lists of the right lengths, finite values, and whole counts ≥ 0.

    Arrays are rejected, because an array of integers or float32 would round what is learned in place.
    """
    check_kind("table", table, Table)
    columns: list[Any] = [table.q_values, table.counts]
    for name, column in zip(table._fields, columns):
        check_kind(name, column, list)
        for row in column:
            check_kind(f"rows of {name}", row, list)
    check_array("counts", table.counts, np.shape(new.counts))
    check_array("q_values", table.q_values, np.shape(new.q_values))
    check_visits(table.counts, np.shape(new.counts))


def checked_features(features: Array | None, num_states: int) -> Array:
    """The features (states, K); None means each state's index. Raises ValueError on a wrong shape or unless finite."""
    if features is None:
        features = np.arange(num_states, dtype=float)[:, None]  # (states, 1)
    return check_array("features", features, (num_states, None))


# ---------------------------------------------------------------- what `help` shows

__all__ = [
    "Table", "Step", "TabularSettings", "Episode", "q_updated", "table_init",
    "q_learning",
]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Tabular Q-learning: values, steps, and what a bonus sees."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from lecture_helpers import (
    RANDOM,
    WRONG_OUTCOMES,
    Altered,
    in_arrays,
    streams_of,
    wrong_calls,
)
from strategies import seeds

import vime_ref as vime
from vime_lecture import strategies, tabular
from vime_lecture.tabular import TabularSettings, q_learning

# ---------------------------------------------------------------- tabular Q-learning

NAN, INF = float("nan"), float("inf")


class Model(NamedTuple):
    """A task of S states and A actions, known in full."""

    transitions: np.ndarray  # (S, A, S) probabilities
    rewards: np.ndarray  # (S, A)
    ends: np.ndarray  # (S, A) bool: the episode terminates there


class ModelEnv(gym.Env[int, int]):
    """Episodes of a model from a uniform state, cut after `horizon` steps."""

    def __init__(self, model: Model, horizon: int, start: int = 0) -> None:
        self.model, self.horizon, self.first = model, horizon, start
        num_states, num_actions = model.rewards.shape
        self.observation_space = Discrete(num_states, start=start)
        self.action_space = Discrete(num_actions, start=start)

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.state = 0, int(self.np_random.integers(len(self.model.rewards)))
        return self.state + self.first, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        where = self.state, action - self.first
        self.t += 1
        below = np.cumsum(self.model.transitions[where])[:-1]
        self.state = int(np.searchsorted(below, self.np_random.random(), side="right"))
        reward, ended = self.model.rewards[where], bool(self.model.ends[where])
        return (
            self.state + self.first,
            reward,
            ended,
            self.t >= self.horizon and not ended,
            {},
        )


def random_model(seed: int, deterministic: bool) -> Model:
    rng = np.random.default_rng(seed)
    num_states, num_actions = rng.integers(1, 5), rng.integers(1, 4)
    shape = num_states, num_actions
    transitions = rng.dirichlet(np.ones(num_states), shape)
    if deterministic:
        transitions = np.eye(num_states)[rng.integers(num_states, size=shape)]
    return Model(transitions, rng.normal(size=shape), rng.random(shape) < 0.2)


def optimal_values(model: Model, gamma: float, mistake: str = "") -> np.ndarray:
    """Q* (S, A) by value iteration, or what a mistake in the target converges to."""
    q = np.zeros(model.rewards.shape)
    for _ in range(100):
        following = model.transitions @ (
            q.mean(axis=1) if mistake == "mean" else q.max(axis=1)
        )
        going_on = 1.0 if mistake == "bootstrap at the end" else 1.0 - model.ends
        q = model.rewards + gamma * going_on * following
    return q


def learned(
    env: gym.Env[Any, Any],
    num_episodes: int,
    strategy: Any = RANDOM,
    seed: int = 0,
    **changes: Any,
) -> Any:
    """The last episode of plain Q-learning."""
    *_, last = q_learning(
        env,
        strategy,
        vime.NoBonus(),
        streams_of(seed),
        TabularSettings(**changes),
        num_episodes=num_episodes,
    )
    return last


@pytest.mark.unwatched
@settings(max_examples=20)
@given(seeds, st.sampled_from([1, 3]), st.sampled_from([0, 7]))
def test_q_learning_against_value_iteration_where_nothing_is_random(
    seed: int, batch_steps: int, start: int
) -> None:
    """Learning rate 1: every visit is a step of asynchronous value iteration, which shrinks errors by γ."""
    model = random_model(seed, deterministic=True)
    last = learned(
        ModelEnv(model, 10, start),
        250,
        learning_rate=1.0,
        gamma=0.3,
        batch_steps=batch_steps,
    )
    np.testing.assert_allclose(
        last.table.q_values, optimal_values(model, 0.3), atol=1e-4
    )


@pytest.mark.parametrize(
    "strategy",
    [RANDOM, strategies.boltzmann_strategy(), strategies.ucb_strategy(3.0)],
    ids=["random", "boltzmann", "ucb"],
)
def test_q_learning_against_value_iteration(strategy: Any) -> None:
    """Random transitions, rate n^−0.8; off policy, so every strategy that goes on trying ends at the same Q*."""
    model = random_model(13, deterministic=False)
    assert model.ends.any()
    last = learned(
        ModelEnv(model, 20),
        4000,
        strategy,
        learning_rate=1.0,
        learning_rate_power=0.8,
        gamma=0.7,
    )
    error = np.abs(np.array(last.table.q_values) - optimal_values(model, 0.7)).max()
    assert error < 0.2
    for mistake in ("mean", "bootstrap at the end"):
        assert (
            np.abs(
                optimal_values(model, 0.7) - optimal_values(model, 0.7, mistake)
            ).max()
            > 3 * 0.2
        ), mistake


def test_q_learning_against_closed_form_of_two_states() -> None:
    """Stay with reward a, or move with reward 0 to a state where staying has reward b > a: Q* is geometric sums."""
    gamma, a, b = 0.8, 0.1, 1.0
    model = Model(
        np.eye(2)[[[0, 1], [1, 0]]],
        np.array([[a, 0.0], [b, 0.0]]),
        np.zeros((2, 2), dtype=bool),
    )
    there = b / (1 - gamma)
    expected = [[a + gamma**2 * there, gamma * there], [there, gamma**2 * there]]
    q_values = learned(
        ModelEnv(model, 10), 100, learning_rate=1.0, gamma=gamma
    ).table.q_values
    np.testing.assert_allclose(q_values, expected, rtol=1e-12)
    short_sighted = learned(
        ModelEnv(model, 10), 100, learning_rate=1.0, gamma=0.05
    ).table.q_values
    assert np.argmax(q_values[0]) == 1
    assert np.argmax(short_sighted[0]) == 0


@pytest.mark.parametrize(
    ("terminated", "expected"), [(True, 1.0), (False, 1.0 / (1.0 - 0.5))]
)
def test_termination_ends_the_sum_of_rewards_and_truncation_does_not(
    terminated: bool, expected: float
) -> None:
    """One state, one action, reward 1, episodes of one step: only the flag distinguishes r from r/(1 − γ)."""
    env = ModelEnv(
        Model(np.ones((1, 1, 1)), np.ones((1, 1)), np.full((1, 1), terminated)),
        horizon=1,
    )
    last = learned(env, 60, learning_rate=1.0, gamma=0.5)
    assert last.steps == [(0, 0, 1.0, 0, terminated, not terminated)]
    np.testing.assert_allclose(last.table.q_values, [[expected]], rtol=1e-12)


def test_both_flags_set_mean_terminated() -> None:
    """A time limit on the step that terminates: Q is the reward alone, as above, and not r/(1 − γ)."""
    model = Model(np.ones((1, 1, 1)), np.ones((1, 1)), np.ones((1, 1), bool))
    both = Altered(ModelEnv(model, 1), step=lambda o: (*o[:3], True, o[4]))
    last = learned(both, 60, learning_rate=1.0, gamma=0.5)
    assert last.steps == [(0, 0, 1.0, 0, True, True)]
    np.testing.assert_array_equal(last.table.q_values, [[1.0]])


def test_the_last_row_of_a_batch_is_truncated_unless_it_terminated() -> None:
    """Each combination of flags, at the end of a batch and before it."""
    features = np.arange(3.0)[:, None]
    flags = [(False, False), (True, False), (False, True), (True, True)]
    steps = [tabular.Step(0, 0, 0.0, 1, *each) for each in flags]
    for last in steps:
        batch = tabular.batch_of([*steps, last], features)
        cut = last.truncated or not last.terminated
        assert batch.terminated.tolist() == [False, True, False, True, last.terminated]
        assert batch.truncated.tolist() == [False, False, True, True, cut]


def test_numbers_in_arrays_are_taken_as_numbers() -> None:
    """Rewards of shape (1,), NumPy flags, and observations without an axis give the same table, bit for bit."""
    tables = []
    for alter in (lambda outcome: outcome, in_arrays):
        env = Altered(
            ModelEnv(random_model(13, deterministic=False), 10),
            step=alter,
            reset=lambda begun: (np.array(begun[0]), begun[1]),
        )
        tables.append(learned(env, 5, strategy=RANDOM).table)
    assert tables[0] == tables[1]
    assert np.any(tables[0].q_values)


@pytest.mark.parametrize(("altered", "message"), WRONG_OUTCOMES)
def test_wrong_outcomes_of_an_environment_are_named(
    altered: dict[str, Any], message: str
) -> None:
    env = Altered(ModelEnv(random_model(13, deterministic=False), 10), **altered)
    with pytest.raises(ValueError, match=f"^{message}"):
        learned(env, 1, strategy=RANDOM)


def test_q_updated_against_slow_sum_and_learning_rate_of_a_mean() -> None:
    """S5"""
    assert (
        tabular.q_updated(1.0, 2.0, [5.0, 3.0], False, learning_rate=0.25, gamma=0.5)
        == 1.0 + 0.25 * 3.5
    )
    assert (
        tabular.q_updated(1.0, 2.0, [5.0, 3.0], True, learning_rate=0.25, gamma=0.5)
        == 1.0 + 0.25 * 1.0
    )
    rewards = [3.0, -1.0, 5.0, 4.0]
    steps = [tabular.Step(0, 0, reward, 0, True, False) for reward in rewards]
    for power, expected in ((1.0, np.mean(rewards)), (0.0, rewards[-1])):
        table = tabular.Table([[9.0]], [[0]])
        tabular.learn(
            table,
            steps,
            rewards,
            TabularSettings(learning_rate=1.0, learning_rate_power=power),
        )
        np.testing.assert_allclose(table.q_values, [[expected]], rtol=1e-14)
        assert table.counts == [[4]]


def toy_task(name: str) -> gym.Env[int, int]:
    """Gymnasium's task in its newest version."""
    return gym.make(max(each for each in gym.registry if each.startswith(f"{name}-v")))


TOY_TASKS = {"FrozenLake": 20, "Taxi": 3, "CliffWalking": 5}


@pytest.mark.parametrize("name", TOY_TASKS)
def test_steps_against_the_published_transitions_of_the_task(name: str) -> None:
    """Gymnasium's tasks come with their transitions: probability, state, reward, end; and counts add up."""
    env = toy_task(name)
    episodes = list(
        q_learning(
            env, strategies.epsilon_greedy_strategy(), vime.NoBonus(), streams_of(0), TabularSettings(),
            num_episodes=TOY_TASKS[name],
        )
    )  # fmt: skip
    published: Any = env.unwrapped

    def fits(step: tabular.Step, action: int) -> bool:
        outcomes = {
            (s, r, bool(end)) for _, s, r, end in published.P[step.state][action]
        }
        return (step.next_state, step.reward, step.terminated) in outcomes

    for episode in episodes:
        assert episode.gains == [0.0] * len(episode.steps)
        assert episode.episode_return == sum(step.reward for step in episode.steps)
        for step, following in zip(episode.steps, [*episode.steps[1:], None]):
            assert fits(step, step.action)
            assert (following is None) == (step.terminated or step.truncated)
            assert following is None or following.state == step.next_state
    steps = [step for episode in episodes for step in episode.steps]
    assert np.sum(episodes[-1].table.counts) == len(steps)
    assert not all(
        fits(step, (step.action + 1) % len(published.P[0])) for step in steps
    )


def test_cliff_walking_against_its_shortest_path() -> None:
    """Steps cost 1 and values start at 0, so greed alone tries everything, and ends on the 13 steps along the edge."""
    episodes = q_learning(
        toy_task("CliffWalking"), strategies.epsilon_greedy_strategy(0.0), vime.NoBonus(), streams_of(0),
        TabularSettings(learning_rate=1.0, gamma=1.0), num_episodes=300,
    )  # fmt: skip
    first, *_, last = [episode.episode_return for episode in episodes]
    assert first < last == -13.0


class Recorder:
    """A bonus equal to its number of updates plus the next state's first feature; it records its calls."""

    def __init__(
        self, calls: list[tuple[str, vime.Batch]], num_updates: int = 0
    ) -> None:
        self.calls, self.num_updates = calls, num_updates

    def reward(self, batch: vime.Batch, rng: np.random.Generator) -> np.ndarray:
        self.calls.append(("reward", batch))
        return self.num_updates + batch.next_observations[:, 0] + 0.0 * rng.random()

    def update(self, batch: vime.Batch, rng: np.random.Generator) -> "Recorder":
        self.calls.append(("update", batch))
        rng.random()
        return Recorder(self.calls, self.num_updates + 1)


def slow_table(
    episodes: list[Any], shape: tuple[int, int], rewards: list[float], gamma: float
) -> np.ndarray:
    """Q after these steps with these rewards, learning rate ½, as arrays."""
    q, steps = np.zeros(shape), [step for episode in episodes for step in episode.steps]
    for (s, a, _, s_next, terminated, _), reward in zip(steps, rewards, strict=True):
        q[s, a] += 0.5 * (reward + gamma * q[s_next].max() * (not terminated) - q[s, a])
    return q


@pytest.mark.parametrize("batch_steps", [1, 4, 100])
def test_q_learning_runs_the_four_lines_in_order(batch_steps: int) -> None:
    model, features = (
        random_model(13, deterministic=False),
        np.random.default_rng(0).normal(size=(4, 2)),
    )
    env, calls = ModelEnv(model, 10), []
    features = features[: len(model.rewards)]
    learner = TabularSettings(gamma=0.9, eta=0.3, batch_steps=batch_steps)
    episodes = list(
        q_learning(
            env,
            RANDOM,
            Recorder(calls),
            streams_of(1),
            learner,
            num_episodes=8,
            features=features,
        )
    )
    assert [name for name, _ in calls] == ["reward", "update"] * (len(calls) // 2)
    for (_, first), (_, second) in zip(calls[::2], calls[1::2]):
        assert all(map(np.array_equal, first, second))
    batches = [batch for _, batch in calls[::2]]
    sizes = [
        min(batch_steps, len(e.steps) - i)
        for e in episodes
        for i in range(0, len(e.steps), batch_steps)
    ]
    assert [len(batch.rewards) for batch in batches] == sizes
    steps = [step for episode in episodes for step in episode.steps]
    rows = vime.Batch(*map(np.concatenate, zip(*batches)))
    for column, expected in zip(rows, zip(*steps), strict=True):
        if column.ndim == 2:
            np.testing.assert_array_equal(column, features[list(expected)])
        elif column is not rows.truncated:
            np.testing.assert_array_equal(column, expected)
    assert all(batch.terminated[-1] or batch.truncated[-1] for batch in batches)
    assert not any(
        np.any(batch.truncated[:-1] | batch.terminated[:-1]) for batch in batches
    )
    gains = [
        n + features[s][0]
        for n, s in zip(
            np.repeat(range(len(sizes)), sizes), [s.next_state for s in steps]
        )
    ]
    np.testing.assert_allclose(
        [gain for episode in episodes for gain in episode.gains], gains, rtol=1e-14
    )
    paid = [step.reward + 0.3 * gain for step, gain in zip(steps, gains)]
    result = episodes[-1].table.q_values
    np.testing.assert_allclose(
        result, slow_table(episodes, model.rewards.shape, paid, 0.9), rtol=1e-10
    )
    assert not np.allclose(
        result,
        slow_table(episodes, model.rewards.shape, [s.reward for s in steps], 0.9),
        rtol=1e-2,
    )
    assert episodes[-1].bonus.num_updates == len(sizes)


def runs_of(bonus: Any, **changes: Any) -> list[Any]:
    env = ModelEnv(random_model(13, deterministic=False), 10)
    episodes = q_learning(
        env,
        strategies.epsilon_greedy_strategy(),
        bonus,
        streams_of(1),
        TabularSettings(**changes),
        num_episodes=5,
    )
    return [
        (episode.steps, np.array(episode.table.q_values).tolist(), episode.history)
        for episode in episodes
    ]


def test_a_bonus_of_weight_0_is_the_plain_agent_bit_for_bit() -> None:
    plain = runs_of(vime.NoBonus())
    assert runs_of(Recorder([]), eta=0.0) == plain
    assert runs_of(Recorder([]), eta=0.1) != plain


def test_each_stream_serves_its_purpose_alone() -> None:
    """One seed for the environment, one number a step for the policy, and the bonus's for each of its calls."""
    env, calls = ModelEnv(random_model(13, deterministic=False), 10), []
    used, fresh = streams_of(1), streams_of(1)
    learner = TabularSettings(batch_steps=3)
    episodes = list(
        q_learning(env, RANDOM, Recorder(calls), used, learner, num_episodes=5)
    )
    fresh.environment.integers(2**31)
    fresh.policy.random(sum(len(episode.steps) for episode in episodes))
    for stream in (fresh.model, fresh.replay):
        stream.random(len(calls) // 2)
    assert [each.bit_generator.state for each in used] == [
        each.bit_generator.state for each in fresh
    ]
    used.replay.random()
    assert used.replay.bit_generator.state != fresh.replay.bit_generator.state


def test_gains_are_normalised_where_the_settings_say_so() -> None:
    """Against medians by hand, history included; without `normalize` there is none."""
    calls: list[tuple[str, vime.Batch]] = []
    *_, (_, _, history) = runs_of(Recorder(calls), normalize=True, batch_steps=100)
    medians = [
        n + np.median(batch.next_observations)
        for n, (_, batch) in enumerate(calls[::2])
    ]
    np.testing.assert_allclose(history, medians)
    assert runs_of(Recorder([]), batch_steps=100)[-1][-1] == ()


def test_q_learning_goes_on_with_a_table_in_place() -> None:
    env = ModelEnv(random_model(13, deterministic=False), 10)
    table = tabular.table_init(env, 2.0)
    assert table.q_values == (np.zeros(env.model.rewards.shape) + 2.0).tolist()
    (first,) = q_learning(
        env,
        RANDOM,
        vime.NoBonus(),
        streams_of(0),
        TabularSettings(),
        num_episodes=1,
        table=table,
    )
    assert first.table is table
    assert np.sum(table.counts) == len(first.steps)
    before = np.sum(table.counts)
    (second,) = q_learning(
        env,
        RANDOM,
        vime.NoBonus(),
        streams_of(1),
        TabularSettings(),
        num_episodes=1,
        table=table,
    )
    assert np.sum(table.counts) == before + len(second.steps)


class Faulty(ModelEnv):
    """Its third step is wrong."""

    def __init__(self, observation: Any = 0, reward: float = 0.0) -> None:
        super().__init__(
            Model(np.ones((1, 2, 1)), np.zeros((1, 2)), np.zeros((1, 2), dtype=bool)),
            10,
        )
        self.observation, self.reward = observation, reward

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        rest = super().step(action)[2:]
        return (
            (self.observation, self.reward, *rest) if self.t == 3 else (0, 0.0, *rest)
        )


class BoxEnv(Faulty):
    def __init__(self, name: str) -> None:
        super().__init__()
        setattr(self, name, Box(0.0, 1.0, (1,)))


@pytest.mark.parametrize(
    ("env", "changes", "message"),
    [
        (Faulty(reward=NAN), {}, "reward must be finite, got nan at step 2"),
        (Faulty(reward=-INF), {}, "reward must be finite, got -inf at step 2"),
        (Faulty(observation=1), {}, "observation must be one of 1 from 0, got 1 at step 2"),
        (Faulty(observation=-1), {}, "observation must be one of 1 from 0, got -1 at step 2"),
        (Faulty(observation=NAN), {}, "observation must be finite, got nan at step 2"),
        (Faulty(observation=0.5), {}, "observation must be one of 1 from 0, got 0.5 at step 2"),
        (BoxEnv("observation_space"), {}, "observation_space must be Discrete, got Box"),
        (BoxEnv("action_space"), {}, "action_space must be Discrete, got Box"),
        (None, {}, "env must be a Env, got NoneType"),
        (Faulty(), {"strategy": 1}, "strategy must be a function, got 1"),
        (Faulty(), {"bonus": None}, "bonus must have a method"),
        (Faulty(), {"streams": 0}, "streams must be a Streams, got int"),
        (Faulty(), {"streams": streams_of(0)._replace(model=0)}, "streams.model must be a Generator, got int"),
        (Faulty(), {"settings": None}, "settings must be a TabularSettings, got NoneType"),
        (Faulty(), {"table": []}, "table must be a Table, got list"),
        (Faulty(), {"table": tabular.Table(np.zeros((1, 2), int), [[0, 0]])}, "q_values must be a list, got ndarray"),
        (Faulty(), {"table": tabular.Table([np.zeros(2)], [[0, 0]])}, "rows of q_values must be a list, got ndarray"),
        (Faulty(), {"table": tabular.Table([[0.0] * 2], [np.zeros(2, "i1")])}, "rows of counts must be a list, got"),
        (Faulty(), {"history": (1.0, 0.0)}, "history must be > 0 and finite, got min 0.0, max 1.0"),
        (Faulty(), {"num_episodes": True}, "num_episodes must be a whole number >= 1, got True"),
        (Faulty(), {"num_episodes": 0}, "num_episodes must be a whole number >= 1, got 0"),
        (Faulty(), {"features": np.zeros((2, 1))}, "features must have shape (1, 1), got (2, 1)"),
        (Faulty(), {"features": np.zeros(1)}, "features must have shape (1, any), got (1,)"),
        (Faulty(), {"features": np.full((1, 1), NAN)}, "features must be finite, got nan"),
        (Faulty(), {"table": tabular.Table([[0.0, NAN]], [[0, 0]])}, "q_values must be finite, got nan"),
        (Faulty(), {"table": tabular.Table([[0.0]], [[0, 0]])}, "q_values must have shape (1, 2), got (1, 1)"),
        (Faulty(), {"table": tabular.Table([[0.0, 0.0]], [[0, -1]])}, "counts must be whole numbers >= 0, got -1.0"),
        (Faulty(), {"strategy": lambda q, n: [0.5, 0.6]}, "probabilities must be >= 0 and sum to 1, got [0.5, 0.6]"),
        (Faulty(), {"strategy": lambda q, n: [1.0]}, "strategy must return 2 probabilities, got 1"),
    ],
)  # fmt: skip
def test_q_learning_rejects_bad_input_and_names_the_step(
    env: Any, changes: dict[str, Any], message: str
) -> None:
    def run(env: Any, **changes: Any) -> None:
        arguments = {
            "strategy": RANDOM,
            "bonus": vime.NoBonus(),
            "streams": streams_of(0),
            "settings": TabularSettings(),
            "num_episodes": 1,
        }
        list(q_learning(env, **arguments | changes))

    run(Faulty())
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        run(env, **changes)


RATES = {"learning_rate": 0.5, "gamma": 0.9}


def test_values_that_overflow_are_rejected() -> None:
    env = Faulty(reward=1.7e308)
    with pytest.raises(
        ValueError, match=r"^q_values must be finite, got -?inf in state 0, action [01]"
    ):
        learned(env, 9, learning_rate=1.0, gamma=1.0, strategy=RANDOM)


@pytest.mark.parametrize(
    ("function", "good", "bad", "message"),
    [
        *wrong_calls(
            TabularSettings, {},
            ({"learning_rate": 0.0}, "learning_rate must be > 0 and finite, got 0.0"),
            ({"learning_rate": 1.5}, "learning_rate must be from 0 to 1, got 1.5"),
            ({"learning_rate_power": -1.0}, "learning_rate_power must be from 0 to 1, got -1.0"),
            ({"gamma": 1.1}, "gamma must be from 0 to 1, got 1.1"),
            ({"initial_value": NAN}, "initial_value must be finite, got nan"),
            ({"batch_steps": 0}, "batch_steps must be a whole number >= 1, got 0"),
            ({"eta": -1.0}, "eta must be >= 0 and finite, got -1.0"),
            ({"eta": "1"}, "eta must be an array of real numbers, got str"),
            ({"gamma": NAN}, "gamma must be from 0 to 1, got nan"),
            ({"gamma": True}, "gamma must be an array of real numbers, got bool"),
            ({"normalize": 1}, "normalize must be True or False, got 1"),
            ({"batch_steps": 1.0}, "batch_steps must be a whole number >= 1, got 1.0"),
        ),
        *wrong_calls(
            tabular.q_updated,
            {"value": 0.0, "reward": 1.0, "next_values": [0.0], "terminated": False} | RATES,
            ({"value": None}, "value must be an array of real numbers, got NoneType"),
            ({"reward": NAN}, "reward must be finite, got nan"),
            ({"next_values": []}, "length of next_values must be a whole number >= 1, got 0"),
            ({"next_values": 0.0}, "next_values must have shape (any,), got ()"),
            ({"terminated": 1.0}, "terminated must be True or False, got 1.0"),
            ({"learning_rate": 1.5}, "learning_rate must be from 0 to 1, got 1.5"),
            ({"learning_rate": 0.0}, "learning_rate must be > 0 and finite, got 0.0"),
            ({"gamma": -0.1}, "gamma must be from 0 to 1, got -0.1"),
        ),
    ],
)  # fmt: skip
def test_bad_settings_are_rejected_by_name(
    function: Callable[..., Any],
    good: dict[str, Any],
    bad: dict[str, Any],
    message: str,
) -> None:
    function(**good)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        function(**good | bad)

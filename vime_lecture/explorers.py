"""Other explorers, for comparison with VIME: strategies of action, and bonuses for something else than information.

Strategies make probabilities of actions from values and visit counts; a bandit shows their regret, and tabular
Q-learning takes any of them with any bonus. A density model is immutable, so the probability before, the update and
the probability after are `model.log_prob(x)`, `model.update(x)` and `model.update(x).log_prob(x)`, and scoring leaves
nothing behind. A bonus is as `vime_ref` has it: `reward` changes nothing, `update` returns the bonus that has learned.

Axes: A actions or arms, R runs, T pulls, N rows (transitions), S posterior samples, K observation dimensions; of a
density model, P pixels and K symbols (grey levels). Log-probabilities and gains are in nats.

Sources: [Lecture] "Intrinsic motivation in RL", by topic: epsilon-greedy, Boltzmann, UCB-1, UCB over state-action
pairs; [UCB] Auer, Cesa-Bianchi and Fischer 2002, "Finite-time Analysis of the Multiarmed Bandit Problem";
[Q] Watkins and Dayan 1992, "Q-learning"; [SB] Sutton and Barto 2018, "Reinforcement Learning", second edition;
[VIME] Houthooft et al. 2016, arXiv 1605.09674, section 3, whose control is the L2 prediction error;
[Counts] Bellemare et al. 2016, arXiv 1606.01868; [PixelCNN] Ostrovski et al. 2017, arXiv 1703.01310;
[CTS] Veness et al. 2012, arXiv 1111.3182, and its C++ in mgbellemare/SkipCTS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import Env
from gymnasium.spaces import Discrete, Space
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

import bnn_ref as bnn
from agents_ref import AgentSettings, Streams, check_fraction, curiosity
from bnn_ref import Array, check_array, check_count, check_finite, check_positive
from vime_ref import Batch, Bonus, NoBonus, Vime, check_indices

# ---------------------------------------------------------------- constants

SUM_TOLERANCE = 1e-9  # how far from 1 probabilities may sum; rounding stays far below

# ---------------------------------------------------------------- types

# From the values and the visit counts of one state's actions, A each, to their probabilities. Plain lists, for they are
# short and one step of a table is to cost microseconds. Scores become probabilities by `greedy_shares`.
Strategy = Callable[[list[float], list[int]], Sequence[float]]


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


Symbols = NDArray[np.int_]


class DensityModel(Protocol):
    """ρ_n, the probability of the next observation after n of them. [Counts]"""

    def log_prob(self, observation: ArrayLike) -> float: ...

    def update(
        self, observation: ArrayLike
    ) -> DensityModel: ...  # ρ_{n+1}; the model itself stays as it is


# ---------------------------------------------------------------- building blocks: strategies on plain lists


def greedy_shares(scores: Sequence[float]) -> list[float]:
    """The argmax as probabilities (A,): the best share equally, the others get 0.

    >>> greedy_shares([1.0, 3.0, 3.0])
    [0.0, 0.5, 0.5]
    """
    best = max(scores)
    best_actions = [score == best for score in scores]
    share = 1.0 / sum(best_actions)
    return [share if is_best else 0.0 for is_best in best_actions]


def epsilon_greedy_shares(q: Sequence[float], epsilon: float) -> list[float]:
    """`epsilon_greedy`, unchecked."""
    return [epsilon / len(q) + (1.0 - epsilon) * share for share in greedy_shares(q)]


def boltzmann_shares(q: Sequence[float], temperature: float | None) -> list[float]:
    """`boltzmann`, unchecked. Differences are those of halves, for a difference of huge numbers can overflow."""
    half_best = 0.5 * max(q)
    below = [0.5 * value - half_best for value in q]  # from −span to 0
    span = -min(below)
    if temperature is not None:
        logits = [2.0 * (value / temperature) for value in below]
    elif span == 0.0:
        logits = below
    else:
        units = [
            value / span for value in below
        ]  # Q/std(Q) has no unit; in this one no square overflows or vanishes
        mean = sum(units) / len(units)
        deviation = math.sqrt(sum((unit - mean) ** 2 for unit in units) / len(units))
        logits = [unit / deviation for unit in units]
    weights = [math.exp(logit) for logit in logits]
    total = sum(weights)
    return [weight / total for weight in weights]


def ucb_scores(
    values: Sequence[float], counts: Sequence[int], alpha: float
) -> list[float]:
    """`ucb_state_action`, unchecked."""
    log_total = math.log(max(sum(counts), 1))
    return [
        v + alpha * math.sqrt(2.0 * log_total / n) if n else math.inf
        for v, n in zip(values, counts)
    ]


# ---------------------------------------------------------------- building blocks: strategies


def check_values(name: str, values: ArrayLike) -> Array:
    """The values of one state's actions as an array (A,); ValueError unless finite and at least one."""
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must have shape (A,) with A >= 1, got {array.shape}")
    check_finite(name, array)
    return array


def check_visits(counts: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Visit counts as an array of this shape; ValueError unless they are whole numbers ≥ 0 in it."""
    array = np.asarray(counts, dtype=float)
    check_array("counts", array, shape)
    wrong = array[(array < 0) | (array != np.floor(array))]
    if wrong.size:
        raise ValueError(f"counts must be whole numbers >= 0, got {wrong[0]}")
    return array


def check_alpha(alpha: float) -> None:
    if not (math.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha must be >= 0 and finite, got {alpha}")


def epsilon_greedy(q_values: ArrayLike, epsilon: float) -> Array:
    """π(a) = ε/A + (1 − ε)·[Q(a) = max Q]/(number of best actions), (A,) from values (A,).

    Raises ValueError unless values are finite, A ≥ 1 and 0 ≤ ε ≤ 1. [Lecture], epsilon-greedy.

    >>> epsilon_greedy([0.0, 2.0, 2.0, 1.0], 0.2)
    array([0.05, 0.45, 0.45, 0.05])
    """
    q_values = check_values("q_values", q_values)
    check_fraction("epsilon", epsilon)
    return np.array(epsilon_greedy_shares(q_values.tolist(), epsilon))


def boltzmann(q_values: ArrayLike, temperature: float | None = None) -> Array:
    """π(a) = softmax(Q/temperature), (A,) from values (A,); temperature std(Q) (over A, not A − 1) if not given.

    A standard deviation of 0 gives equal probabilities. Temperature is in units of Q.
    Raises ValueError unless values are finite, A ≥ 1 and the temperature > 0. [Lecture], Boltzmann.

    >>> boltzmann([0.0, np.log(3.0)], 1.0).round(12)
    array([0.25, 0.75])
    """
    q_values = check_values("q_values", q_values)
    if temperature is not None:
        check_positive("temperature", temperature)
    return np.array(boltzmann_shares(q_values.tolist(), temperature))


def ucb_state_action(q_values: ArrayLike, counts: ArrayLike, alpha: float) -> Array:
    """Q(s, a) + α √(2 ln N_s / n_sa), (A,) in units of Q, N_s = Σ_a n_sa; inf where n_sa = 0, whatever α.

    Values and counts (A,) of one state; the action is the argmax. Raises ValueError unless values are finite, A ≥ 1,
    counts whole numbers ≥ 0 and α ≥ 0. [Lecture], UCB over state-action pairs.
    """
    q_values = check_values("q_values", q_values)
    counts = check_visits(counts, q_values.shape)
    check_alpha(alpha)
    return np.array(ucb_scores(q_values.tolist(), counts.tolist(), alpha))


def ucb1(means: ArrayLike, counts: ArrayLike, t: int) -> Array:
    """mean_a + √(2 ln t / n_a), (A,), after t = Σ n_a pulls; inf where n_a = 0.

    The arm is the argmax, where the lecture says "in proportion to". The bound on the regret needs rewards in [0, 1].
    Raises ValueError unless means are finite, A ≥ 1, counts whole numbers ≥ 0 and t their sum. [Lecture], UCB-1; [UCB].

    >>> ucb1([0.5, 1.0, 0.0], [4, 1, 0], 5).round(3)
    array([1.397, 2.794,   inf])
    """
    means = check_values("means", means)
    total = check_visits(counts, means.shape).sum()
    if t != total:
        raise ValueError(f"t must be the sum of counts, {total:g}, got {t}")
    return ucb_state_action(means, counts, 1.0)


def epsilon_greedy_strategy(epsilon: float = 0.1) -> Strategy:
    """Acts by `epsilon_greedy`; ε = 0.1 as in [SB] example 6.5."""
    check_fraction("epsilon", epsilon)
    return lambda q, counts: epsilon_greedy_shares(q, epsilon)


def boltzmann_strategy(temperature: float | None = None) -> Strategy:
    """Acts by `boltzmann`; no temperature of its own, as in [Lecture]."""
    if temperature is not None:
        check_positive("temperature", temperature)
    return lambda q, counts: boltzmann_shares(q, temperature)


def ucb_strategy(alpha: float = 1.0) -> Strategy:
    """Acts by the argmax of `ucb_state_action`; α = 1 makes it `ucb1`."""
    check_alpha(alpha)
    return lambda q, counts: greedy_shares(ucb_scores(q, counts, alpha))


def sample_index(probabilities: Sequence[float], noise: float) -> int:
    """The first index whose cumulated probability exceeds the noise, which is uniform in [0, 1).

    Raises ValueError unless the probabilities are ≥ 0 and sum to 1, and the noise is in its interval.
    """
    if not 0.0 <= noise < 1.0:
        raise ValueError(f"noise must be in [0, 1), got {noise}")
    total = sum(probabilities)
    if not (abs(total - 1.0) <= SUM_TOLERANCE and min(probabilities) >= 0.0):
        raise ValueError(
            f"probabilities must be >= 0 and sum to 1, got {list(probabilities)}"
        )
    for index, probability in enumerate(probabilities):
        noise -= probability
        if noise < 0.0:
            return index
    return list(probabilities).index(
        max(probabilities)
    )  # they sum to a little less than the noise


# ---------------------------------------------------------------- the algorithm: bandits


def bandit_arms(
    means: Sequence[float], strategy: Strategy, noise: Sequence[Sequence[float]]
) -> list[int]:
    """The T arms of one run; the strategy sees each arm's mean reward so far, 0 before its first, and its count."""
    estimates, counts, arms = [0.0] * len(means), [0] * len(means), []
    for choice, luck in noise:
        arm = sample_index(strategy(estimates, counts), choice)
        reward = float(luck < means[arm])
        counts[arm] += 1
        estimates[arm] += (reward - estimates[arm]) / counts[arm]
        arms.append(arm)
    return arms


def bandit_regret(means: ArrayLike, strategy: Strategy, noise: Array) -> Array:
    """Pseudo-regret Σ_{u ≤ t} (μ* − μ_{a_u}) of a strategy on Bernoulli arms of means μ (A,), (R, T).

    noise: uniform in [0, 1), (R, T, 2), for the choice of the arm and for its reward.
    Raises ValueError unless means are from 0 to 1 and noise is in its interval. [Lecture], UCB-1; [UCB] section 1.
    """
    means, noise = check_values("means", means), np.asarray(noise, dtype=float)
    check_array("noise", noise, (*noise.shape[:2], 2))
    for name, values, high in (
        ("means", means, 1.0),
        ("noise", noise, np.nextafter(1.0, 0.0)),
    ):
        if np.any((values < 0) | (values > high)):
            raise ValueError(
                f"{name} must be from 0 to {high:g}, got {np.min(values)} to {np.max(values)}"
            )
    arms = np.array(
        [bandit_arms(means.tolist(), strategy, run) for run in noise.tolist()],
        dtype=int,
    )  # (R, T)
    return np.cumsum(np.max(means) - means[arms], axis=-1)


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


# ---------------------------------------------------------------- building blocks: counts and pseudo-counts


def count_bonus(counts: ArrayLike, beta: float) -> Array:
    """β (N + 0.01)^−½, elementwise; N may be inf, which pays 0. [Counts]

    Raises ValueError where a count is negative or NaN.
    """
    counts = np.asarray(counts, dtype=float)
    check_positive("beta", beta)
    if not np.all(counts >= 0):
        raise ValueError(f"counts must be >= 0, got min {np.min(counts)}")
    return beta * (counts + 0.01) ** -0.5


def over_expm1(numerator: Array, x: Array) -> Array:
    """numerator/(e^x − 1) where x > 0, without overflow, and inf elsewhere."""
    positive = np.where(x > 0, x, 1.0)
    with np.errstate(over="ignore"):  # a subnormal x
        return np.where(
            x > 0, numerator * np.exp(-positive) / -np.expm1(-positive), np.inf
        )[()]


def pseudo_count(log_prob: ArrayLike, log_prob_after: ArrayLike) -> Array:
    """N̂ = ρ(1 − ρ′)/(ρ′ − ρ), elementwise: (1 − ρ′)·e^−PG/(1 − e^−PG) with PG = log ρ′ − log ρ.

    log ρ, before the observation, may be −inf (N̂ = 0); PG <= 0 gives inf. The arguments' own rounding costs about
    |log ρ|·1e-16/PG of N̂. Raises ValueError on NaN, log ρ > 0, log ρ′ > 0 or −inf, and unequal shapes. [Counts]

    >>> float(np.round(pseudo_count(np.log(3 / 10), np.log(4 / 11)), 12))
    3.0
    """
    before, after = (
        np.asarray(log_prob, dtype=float),
        np.asarray(log_prob_after, dtype=float),
    )
    for name, values in (("log_prob", before), ("log_prob_after", after)):
        if not np.all(values <= 0):
            raise ValueError(f"{name} must be <= 0, got max {np.max(values)}")
    check_array("log_prob_after", after, before.shape)
    return over_expm1(-np.expm1(after), after - before)


def pixel_cnn_pseudo_count(gain: ArrayLike, num_seen: int, c: float = 0.1) -> Array:
    """N̂ = 1/(exp(c n^−½ PG₊) − 1), elementwise, from PG in nats and n observations so far; inf where PG <= 0.

    c = 0.1 is the value of [PixelCNN]. Raises ValueError on NaN, n < 1 or c <= 0.
    """
    gain = np.asarray(gain, dtype=float)
    check_count("num_seen", num_seen)
    check_positive("c", c)
    if np.any(np.isnan(gain)):
        raise ValueError("gain must be a number, got nan")
    return over_expm1(np.ones_like(gain), c * num_seen**-0.5 * gain)


def prediction_gain(model: DensityModel, observation: ArrayLike) -> float:
    """PG = log ρ′(x) − log ρ(x) in nats; the model stays as it is. [Counts]"""
    return model.update(observation).log_prob(observation) - model.log_prob(observation)


# ---------------------------------------------------------------- building blocks: what is counted


@dataclass(frozen=True)
class Grid:
    """Cells for continuous observations (N, dimensions): `edges` holds each dimension's increasing cell borders.

    A value on a border belongs to the cell above it, on the last one to the last cell. A value outside raises
    ValueError, or counts as the nearest cell's if `clip`.
    """

    edges: tuple[tuple[float, ...], ...]
    clip: bool = False

    def __post_init__(self) -> None:
        if not self.edges:
            raise ValueError("edges must hold one dimension or more, got none")
        for borders in self.edges:
            check_finite("edges", np.array(borders))
            if len(borders) < 2 or np.any(np.diff(borders) <= 0):
                raise ValueError(
                    f"edges must be 2 or more increasing numbers a dimension, got {borders}"
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells of each dimension; their product is the number of symbols."""
        return tuple(len(borders) - 1 for borders in self.edges)

    def index(self, observations: ArrayLike) -> Symbols:
        """The cell of each row, (N,), numbered in C order."""
        observations = np.asarray(observations, dtype=float)
        check_array("observations", observations, (len(observations), len(self.edges)))
        cells = []
        for k, borders in enumerate(self.edges):
            values = observations[:, k]
            if not self.clip and np.any((values < borders[0]) | (values > borders[-1])):
                raise ValueError(
                    f"observations must lie in [{borders[0]}, {borders[-1]}] in dimension {k}, "
                    f"got {np.min(values)} to {np.max(values)}"
                )
            cells.append(np.searchsorted(np.array(borders[1:-1]), values, side="right"))
        return np.asarray(np.ravel_multi_index(tuple(cells), self.shape), dtype=int)


def discrete_rows(batch: Batch, grid: Grid | None) -> Array | Symbols:
    """What a counting bonus sees of each row: s′, or its cell. Without a grid s′ must be whole numbers."""
    rows = np.asarray(batch.next_observations)
    check_finite("next_observations", rows)
    if grid is not None:
        return grid.index(rows)
    if np.any(rows != np.floor(rows)):
        raise ValueError(
            f"next_observations must be whole numbers or come with a grid, got {rows[rows % 1 != 0][0]}"
        )
    return rows


def as_symbols(observation: ArrayLike, num_pixels: int, num_symbols: int) -> Symbols:
    """The observation as whole numbers (P,) below K; raises ValueError where it is anything else."""
    symbols = np.ravel(observation)
    check_array("observation", symbols, (num_pixels,))
    check_indices("observation", symbols, num_symbols)
    return symbols.astype(int)


# ---------------------------------------------------------------- building blocks: Dirichlet models


@dataclass(frozen=True, eq=False)
class Dirichlet:
    """P independent pixels of K symbols each, ρ(x) = Π_p (N_p(x_p) + α)/(n + Kα); P = 1 is the tabular model.

    For P = 1 its pseudo-count is N + α, whatever K. α = 0 is the empirical model, which says nothing before the
    first observation (`log_prob` raises ValueError) and −inf of what it has not seen.
    """

    counts: Array  # (P, K), N_p(k); each row sums to n
    alpha: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(f"alpha must be >= 0 and finite, got {self.alpha}")
        check_finite("counts", self.counts)
        if np.ndim(self.counts) != 2 or np.size(self.counts) == 0:
            raise ValueError(
                f"counts must have shape (P, K), P and K >= 1, got {np.shape(self.counts)}"
            )
        if np.min(self.counts) < 0 or np.ptp(np.sum(self.counts, axis=1)) > 0:
            raise ValueError(
                f"counts must be >= 0 with the same sum in each row, got {np.array2string(self.counts)}"
            )

    def log_prob(self, observation: ArrayLike) -> float:
        """log ρ(x) of P symbols, in any shape."""
        num_pixels, num_symbols = self.counts.shape
        symbols = as_symbols(observation, num_pixels, num_symbols)
        total = np.sum(self.counts[0]) + num_symbols * self.alpha
        if total == 0:
            raise ValueError("alpha must be > 0 before the first observation, got 0")
        with np.errstate(divide="ignore"):  # log 0 of the empirical model
            return float(
                np.sum(
                    np.log(
                        (self.counts[np.arange(num_pixels), symbols] + self.alpha)
                        / total
                    )
                )
            )

    def update(self, observation: ArrayLike) -> Dirichlet:
        counts = self.counts.copy()
        counts[np.arange(len(counts)), as_symbols(observation, *counts.shape)] += 1
        return Dirichlet(counts, self.alpha)


def dirichlet(num_symbols: int, alpha: float, num_pixels: int = 1) -> Dirichlet:
    """The model before any observation: of one symbol in K, or of P independent pixels."""
    check_count("num_symbols", num_symbols)
    check_count("num_pixels", num_pixels)
    return Dirichlet(np.zeros((num_pixels, num_symbols)), alpha)


# ---------------------------------------------------------------- building blocks: context-tree switching


class Node(NamedTuple):
    """One context. Its weights are those of its own estimator and of its children, given the data: their sum is 1."""

    counts: tuple[int, ...]  # (K,) symbols seen in this context
    log_stay: float
    log_split: float
    children: tuple[
        Node | None, ...
    ]  # (K,) by the context's next symbol; None where nothing was seen


def log_add(x: float, y: float) -> float:
    """log(e^x + e^y); one of them may be −inf."""
    return max(x, y) + math.log1p(math.exp(-abs(x - y)))


@dataclass(frozen=True)
class ContextTree:
    """P(symbol | context), contexts nearest symbol first: a switching mixture of all suffix trees up to `depth`.

    Each node predicts stay·ρ_KT + split·ρ_child, a leaf ρ_KT alone, with ρ_KT = (N(x) + α)/(n + Kα), α = ½ (KT), and
    both weights ½ at first. After the tree's t-th symbol, a on the node's path:
    stay′ ∝ (1 − a)·stay·ρ_KT + a·split·ρ_child and split′ ∝ (1 − a)·split·ρ_child + a·stay·ρ_KT, leaf to root, both
    from the old weights, as the original C++ has it (its Python puts the new stay′ into split′). a is `rate`, in
    [0, ½], or 1/(t + 1) if None. Rate 0 is context-tree weighting. [CTS] has α = ½ and 1/(t + 1) for K = 2; the
    C++ of SkipCTS has α = 1/16, 1/(t + 2), stay 0.075 and decaying counts.
    """

    depth: int
    num_symbols: int = 2
    rate: float | None = None
    alpha: float = 0.5
    root: Node | None = None

    def __post_init__(self) -> None:
        check_count("depth", self.depth, minimum=0)
        check_count("num_symbols", self.num_symbols, minimum=2)
        check_positive("alpha", self.alpha)
        if self.rate is not None and not 0 <= self.rate <= 0.5:
            raise ValueError(f"rate must be in [0, 0.5], got {self.rate}")

    def log_prob(self, context: tuple[int, ...], symbol: int) -> float:
        """log P(symbol | context). Raises ValueError unless both hold symbols below K, the context `depth` of them."""
        self.check_symbols(context, symbol)
        return self.node_log_prob(self.root, context, symbol)

    def update(self, context: tuple[int, ...], symbol: int) -> ContextTree:
        """The tree that has seen the symbol in this context; it shares what has not changed. Errors as `log_prob`."""
        self.check_symbols(context, symbol)
        t = 1 + (0 if self.root is None else sum(self.root.counts))
        rate = 1 / (t + 1) if self.rate is None else self.rate
        log_switch = math.log(rate) if rate > 0 else -math.inf
        root, _ = self.node_update(
            self.root, context, symbol, log_switch, math.log1p(-rate)
        )
        return ContextTree(self.depth, self.num_symbols, self.rate, self.alpha, root)

    def check_symbols(self, context: tuple[int, ...], symbol: int) -> None:
        if len(context) != self.depth:
            raise ValueError(
                f"context must have {self.depth} symbols, got {len(context)}"
            )
        if not all(value in range(self.num_symbols) for value in (*context, symbol)):
            raise ValueError(
                f"context and symbol must be indices below {self.num_symbols}, got {context}, {symbol}"
            )

    def log_estimate(self, counts: tuple[int, ...], symbol: int) -> float:
        return math.log(
            (counts[symbol] + self.alpha)
            / (sum(counts) + self.num_symbols * self.alpha)
        )

    def node_log_prob(
        self, node: Node | None, context: tuple[int, ...], symbol: int
    ) -> float:
        if node is None:
            return -math.log(self.num_symbols)
        own = self.log_estimate(node.counts, symbol)
        if not context:
            return own
        below = self.node_log_prob(node.children[context[0]], context[1:], symbol)
        return log_add(node.log_stay + own, node.log_split + below)

    def node_update(
        self,
        node: Node | None,
        context: tuple[int, ...],
        symbol: int,
        log_switch: float,
        log_keep: float,
    ) -> tuple[Node, float]:
        """The node after the symbol, and the log-probability it gave before."""
        if node is None:
            nothing = (0,) * self.num_symbols, (None,) * self.num_symbols
            node = Node(nothing[0], math.log(0.5), math.log(0.5), nothing[1])
        own = self.log_estimate(node.counts, symbol)
        counts = replaced(node.counts, symbol, node.counts[symbol] + 1)
        if not context:
            return node._replace(counts=counts), own
        child = node.children[context[0]]
        new_child, below = self.node_update(
            child, context[1:], symbol, log_switch, log_keep
        )
        stay, split = node.log_stay + own, node.log_split + below
        total = log_add(stay, split)
        new_stay = log_add(log_keep + stay, log_switch + split) - total
        new_split = log_add(log_keep + split, log_switch + stay) - total
        return Node(
            counts, new_stay, new_split, replaced(node.children, context[0], new_child)
        ), total


def replaced(values: tuple[Any, ...], index: int, value: object) -> tuple[Any, ...]:
    return (*values[:index], value, *values[index + 1 :])


@dataclass(frozen=True)
class BinaryCts:
    """Context-tree switching on one sequence of bits, each in the context of the `depth` before it (0 before the
    first). ρ′ is the probability that the same bit comes once more, after itself. [CTS]
    """

    tree: ContextTree
    history: tuple[int, ...]  # newest first

    def log_prob(self, observation: ArrayLike) -> float:
        """log-probability that the next bit is this one."""
        return self.tree.log_prob(self.history, int(as_symbols(observation, 1, 2)[0]))

    def update(self, observation: ArrayLike) -> BinaryCts:
        bit = int(as_symbols(observation, 1, 2)[0])
        return BinaryCts(
            self.tree.update(self.history, bit), (bit, *self.history)[: self.tree.depth]
        )


def binary_cts(depth: int, rate: float | None = None) -> BinaryCts:
    """The model before the first bit; `rate` as in `ContextTree`."""
    return BinaryCts(ContextTree(depth, rate=rate), (0,) * depth)


def l_shaped_contexts(image: Symbols) -> list[tuple[int, ...]]:
    """Left, above, above left and above right of each pixel of an image (H, W), 0 beyond its border: P = H·W tuples.

    Which symbol stands beyond the border makes no difference to `ImageCts`: a pixel sees it always or never.
    """
    padded = np.pad(image, ((1, 0), (1, 1)))
    neighbours = padded[1:, :-2], padded[:-1, 1:-1], padded[:-1, :-2], padded[:-1, 2:]
    return [
        tuple(context)
        for context in np.stack(neighbours, axis=-1).reshape(-1, 4).tolist()
    ]


@dataclass(frozen=True)
class ImageCts:
    """ρ(image) = Π_p P_p(x_p | its L-shaped context), one context tree per pixel. [Counts]

    [Counts] has 42 by 42 pixels of 8 levels; small images of few levels are what this tree of tuples is for.
    """

    trees: tuple[ContextTree, ...]  # (P,) in C order
    shape: tuple[int, int]

    def parts(
        self, observation: ArrayLike
    ) -> list[tuple[ContextTree, tuple[int, ...], int]]:
        """Tree, context and symbol of each pixel."""
        if np.shape(observation) not in (self.shape, (len(self.trees),)):
            raise ValueError(
                f"observation must have shape {self.shape}, got {np.shape(observation)}"
            )
        symbols = as_symbols(observation, len(self.trees), self.trees[0].num_symbols)
        return list(
            zip(
                self.trees,
                l_shaped_contexts(symbols.reshape(self.shape)),
                symbols.tolist(),
            )
        )

    def log_prob(self, observation: ArrayLike) -> float:
        """log ρ of an image (H, W), or of its H·W symbols in a row."""
        return math.fsum(
            tree.log_prob(context, symbol)
            for tree, context, symbol in self.parts(observation)
        )

    def update(self, observation: ArrayLike) -> ImageCts:
        trees = [
            tree.update(context, symbol)
            for tree, context, symbol in self.parts(observation)
        ]
        return ImageCts(tuple(trees), self.shape)


def image_cts(
    shape: tuple[int, int], num_levels: int, rate: float | None = None
) -> ImageCts:
    """The model before any image; `rate` as in `ContextTree`."""
    for size in shape:
        check_count("shape", size)
    return ImageCts((ContextTree(4, num_levels, rate),) * (shape[0] * shape[1]), shape)


# ---------------------------------------------------------------- the algorithm: bonuses


@dataclass(frozen=True, eq=False)
class VisitCounts:
    """Pays β(N(s′) + 0.01)^−½, N the visits of s′ before this one. [Counts]

    The rows of a batch are counted one after another, as [Counts] does online: a row's N includes the rows above it,
    though `reward` keeps none of them. s′ (the source has s) pays the action that led there, and ends of episodes too.
    """

    beta: float = 0.05  # [Counts], with DQN
    grid: Grid | None = (
        None  # for continuous observations; without one they must be whole numbers
    )
    counts: Mapping[tuple[float, ...], int] = field(
        default_factory=dict
    )  # by the symbols of an observation

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    def visited(self, batch: Batch) -> tuple[Array, dict[tuple[float, ...], int]]:
        """N of each row (N,) before its own visit, and the counts after the batch."""
        before, counts = [], dict(self.counts)
        for row in discrete_rows(batch, self.grid):
            key = tuple(np.ravel(row).tolist())
            before.append(counts.get(key, 0))
            counts[key] = before[-1] + 1
        return np.array(before, dtype=float), counts

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Bonuses (N,), ready to be added to a reward."""
        return count_bonus(self.visited(batch)[0], self.beta)

    def update(self, batch: Batch, rng: Generator) -> VisitCounts:
        """The bonus that has counted the batch."""
        return replace(self, counts=self.visited(batch)[1])


@dataclass(frozen=True, eq=False)
class PseudoCounts:
    """Pays β(N̂(s′) + 0.01)^−½, N̂ the pseudo-count of a density model; nothing where PG <= 0. [Counts]

    Rows follow one another as in `VisitCounts`: each is scored by the model that has learned from those above it.
    """

    model: DensityModel
    beta: float = 0.05  # [Counts], with DQN
    grid: Grid | None = (
        None  # the model then sees cells; without one the observations must be whole numbers
    )

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)

    def pseudo_counts(self, batch: Batch) -> Array:
        """N̂ of each row, (N,)."""
        model, log_probs = self.model, []
        for row in discrete_rows(batch, self.grid):
            new_model = model.update(row)
            log_probs.append((model.log_prob(row), new_model.log_prob(row)))
            model = new_model
        return pseudo_count(*np.reshape(log_probs, (-1, 2)).T)

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Bonuses (N,), ready to be added to a reward."""
        return count_bonus(self.pseudo_counts(batch), self.beta)

    def update(self, batch: Batch, rng: Generator) -> PseudoCounts:
        """The bonus whose model has learned from the batch, row by row."""
        rows = discrete_rows(batch, self.grid)
        return replace(
            self, model=reduce(lambda model, row: model.update(row), rows, self.model)
        )


@dataclass(frozen=True, eq=False)
class PredictionError:
    """Pays for being wrong: ‖s′ − mean_S f(s, a; θ)‖², by VIME's own network, pool and training.

    Unlike a gain it does not end where there is nothing left to learn: noise in s′ pays its variance for ever.
    With S samples it pays, in the mean over their noise, ‖s′ − E_q f‖² + tr Var_q f / S: the posterior's spread too.
    `update` is that of `Vime`, and errors are raised where `Vime` raises them. [VIME] section 3.
    """

    model: Vime

    def reward(self, batch: Batch, rng: Generator) -> Array:
        """Squared errors (N,), summed over K, in units of the normalised s′; 0 until the pool holds `min_rows`."""
        model, s = self.model, self.model.settings
        rows = model.model_rows(batch)
        if len(model.pool) < s.min_rows:
            return np.zeros(len(batch.rewards))
        inputs, targets = model.normalized(*rows)
        bnn.check_rows(inputs, targets)
        noise = bnn.sample_noise(
            rng, s.num_samples, len(inputs), model.layer_sizes, local=s.local
        )
        predictions = bnn.forward(
            model.q, inputs, noise, model.layer_sizes
        )  # (S, N, K)
        errors = np.sum((targets - np.mean(predictions, axis=0)) ** 2, axis=-1)
        check_finite("errors", errors)
        return errors

    def update(self, batch: Batch, rng: Generator) -> PredictionError:
        """The bonus whose network has learned from the batch."""
        return PredictionError(self.model.update(batch, rng))

"""Explorers: strategies and bonuses against hand-written ones, runs against their own steps."""

import math
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from lab import FULL, by_fast, measured, study_job
from scipy import integrate, stats

from vime_gym.rooms import SIGNS, DeepSea, KeyDoorMaze, NoisyTV
from vime_lab.rows import STUDY_COLUMNS, read_rows
from vime_lab.studies import catalogue
from vime_lab.studies import explorers as explorer_studies
from vime_lab.studies.catalogue import STUDIES
from vime_lab.studies.frame import StudyJob
from vime_lecture.controls import DirichletGain, PredictionError, dirichlet_gain
from vime_lecture.counts import PseudoCounts, VisitCounts
from vime_lecture.densities import Dirichlet, ImageCts
from vime_ref import NoBonus, Vime, vime_init

ROOT = Path(__file__).parent.parent.parent.parent


def test_reachable_against_a_search_by_hand() -> None:
    """Without the key the part before the door, with it all cells. Control: the cells of both, all of them twice."""
    maze = KeyDoorMaze("index")
    before_door = {n for n, (_, column) in enumerate(maze.cells) if column < 4}
    cells = len(maze.cells)
    expected = (before_door - {maze.places["K"]}) | {cells + n for n in range(cells)}
    assert explorer_studies.reachable(maze) == expected
    assert len(expected) < 2 * cells


Q_VALUES, VISITS = [0.0, 2.0, 1.0], [1, 2, 9]


@pytest.mark.parametrize(
    ("study", "explorer", "expected"),
    [
        ("DeepSea", "random", [1 / 3, 1 / 3, 1 / 3]),
        ("DeepSea", "epsilon-greedy", [0.1, 0.8, 0.1]),
        ("DeepSea", "Boltzmann", None),
        ("Bandit", "UCB-1", [1.0, 0.0, 0.0]),
        ("DeepSea", "UCB", [1.0, 0.0, 0.0]),
        ("DeepSea", "counts", [0.0, 1.0, 0.0]),
        ("DeepSea", "VIME", [0.0, 1.0, 0.0]),
        ("DeepSea", "dirichlet", [0.0, 1.0, 0.0]),
        ("KeyDoorMaze", "CTS", None),
        ("NoisyTV", "L2 error", None),
    ],
)
def test_strategies_on_a_table_by_hand(study, explorer, expected) -> None:
    """None: softmax(Q/std(Q)), with std √(2/3).

    epsilon is 0.3. UCB, with α = 20, and UCB-1 take the action that was tried least; α = 0.03 of those with a bonus
    leaves the greedy one. Control: on another table all but random actions and UCB, whose α outweighs it, do otherwise.
    """
    weights = np.exp(np.array(Q_VALUES) / math.sqrt(2 / 3))
    expected = weights / weights.sum() if expected is None else expected
    alpha = 20.0 if explorer == "UCB" else 1.0
    values_now = [0.0, 0.2, 0.1] if explorer == "UCB-1" else Q_VALUES
    strategy = explorer_studies.strategy_of(
        study_job(study, explorer, epsilon=0.3, alpha=alpha)
    )
    assert strategy(values_now, VISITS) == pytest.approx(expected, rel=1e-12)
    if explorer != "random":
        other = strategy(
            [2.0, 0.0, 1.0], VISITS if explorer != "UCB-1" else VISITS[::-1]
        )
        assert np.allclose(other, expected) == (explorer == "UCB")


def given_bonus(
    study: str, explorer: str, env: object, seed: int = 0, **changes: object
) -> tuple:
    return explorer_studies.explorer_bonus(
        study_job(study, explorer, **changes), env, np.random.default_rng(seed)
    )


def test_bonuses_that_count_against_their_settings() -> None:
    """β is not the classes' own. Controls: the density's α is another for another size, and no image is as the next."""
    maze, sea = KeyDoorMaze("index"), DeepSea(3, "index")
    states = int(sea.observation_space.n)
    counts, features, weight = given_bonus("DeepSea", "counts", sea, beta=0.7)
    assert (type(counts), counts.beta, counts.counts) == (
        VisitCounts,
        0.7,
        {},
    )
    assert (features, weight) == (None, 1.0)
    pseudo, features, weight = given_bonus("DeepSea", "pseudo-counts", sea, beta=0.7)
    assert (type(pseudo), pseudo.beta, type(pseudo.model)) == (
        PseudoCounts,
        0.7,
        Dirichlet,
    )
    assert (pseudo.model.alpha, pseudo.model.counts.tolist()) == (
        1.0 / states,
        [[0.0] * states],
    )
    assert (features, weight) == (None, 1.0)
    assert (
        given_bonus("DeepSea", "pseudo-counts", DeepSea(4, "index"))[0].model.alpha
        != pseudo.model.alpha
    )
    cts, features, weight = given_bonus("KeyDoorMaze", "CTS", maze, beta=0.7)
    assert (type(cts), cts.beta, type(cts.model), weight) == (
        PseudoCounts,
        0.7,
        ImageCts,
        1.0,
    )
    assert cts.model.shape == maze.drawing.shape
    assert {tree.num_symbols for tree in cts.model.trees} == {len(SIGNS)}
    assert len(features) == int(maze.observation_space.n)
    assert all(
        np.array_equal(seen, maze.image(state).ravel())
        for state, seen in enumerate(features)
    )
    assert not np.array_equal(features[0], features[1])
    for explorer in ("random", "epsilon-greedy", "Boltzmann", "UCB"):
        nothing, *rest = given_bonus("DeepSea", explorer, sea)
        assert (type(nothing), rest) == (NoBonus, [None, 1.0])


def test_the_exact_gain_against_its_settings() -> None:
    """A table over all states, before any visit. Control: another task has another number of states."""
    for task in (DeepSea(3, "index"), NoisyTV("index")):
        exact, features, weight = given_bonus(
            "DeepSea", "dirichlet", task, exact_eta=3.0, prior_alpha=0.25
        )
        assert type(exact) is DirichletGain
        assert exact.num_states == int(task.observation_space.n)
        assert (exact.alpha, exact.visits) == (0.25, {})
        assert (features, weight) == (None, 3.0)


def test_gains_of_arms_against_mutual_information_by_integration() -> None:
    """H(reward) − E H(reward | p) under Beta(α + wins, α + losses). Control: the gain of a win differs."""
    means, counts = np.array([0.0, 0.25, 0.9]), np.array([0, 4, 10])
    found = explorer_studies.gains_of_arms(means, counts, 0.5)
    wins = means * counts
    for a, b, gain in zip(wins + 0.5, counts - wins + 0.5, found):
        known, _ = integrate.quad(
            lambda p, a=a, b=b: stats.beta.pdf(p, a, b) * stats.bernoulli.entropy(p),
            0.0,
            1.0,
        )
        expected = stats.bernoulli.entropy(a / (a + b)) - known
        assert gain == pytest.approx(expected, rel=1e-6)
        assert (
            gain != pytest.approx(float(dirichlet_gain(a, a + b)), rel=0.01) or a == b
        )


def test_gain_strategy_against_scores_by_hand() -> None:
    """mean + η·gain: with a small η the best mean, with a large one the arm that was pulled least."""
    means, counts = [0.5, 0.6, 0.55], [100, 100, 1]
    small, large = (
        explorer_studies.strategy_of(study_job("Bandit", "dirichlet", exact_eta=eta))
        for eta in (0.01, 10.0)
    )
    assert small(means, counts) == [0.0, 1.0, 0.0]
    assert large(means, counts) == [0.0, 0.0, 1.0]
    assert small([0.5, 0.5, 0.5], [2, 2, 2]) == [1 / 3] * 3


@pytest.mark.parametrize(
    ("explorer", "kind"), [("VIME", Vime), ("L2 error", PredictionError)]
)
def test_bonuses_of_networks_against_their_settings(explorer, kind) -> None:
    """Codes of signs or coordinates, η as the weight, the study's own model. Control: other codes by another seed."""
    sea, room = DeepSea(3, "index"), NoisyTV("index")
    bonus, codes, weight = given_bonus("DeepSea", explorer, sea, eta=3.0)
    model = bonus if explorer == "VIME" else bonus.model
    assert (type(bonus), weight, model.settings) == (
        kind,
        3.0,
        by_fast(STUDIES["DeepSea"].settings.vime),
    )
    assert codes.shape == (int(sea.observation_space.n), explorer_studies.CODE_BITS)
    assert set(codes.ravel()) == {-1.0, 1.0}
    assert len(model.pool) == 0
    assert not np.array_equal(codes, given_bonus("DeepSea", explorer, sea, seed=1)[1])
    _, features, weight = given_bonus("NoisyTV", explorer, room, warmup_episodes=0)
    assert weight == STUDIES["NoisyTV"].settings.eta
    assert features.shape[1] == 3
    assert all(
        np.array_equal(seen, room.coordinates(state))
        for state, seen in enumerate(features)
    )


def test_warming_up_learns_from_random_walks_and_keeps_the_settings(
    monkeypatch,
) -> None:
    """As many rows as two episodes have. Controls: no episodes leave the model, and more updates another one."""
    env = gym.make(explorer_studies.TV, observation="index", disable_env_checker=True)
    settings = replace(STUDIES["NoisyTV"].settings, warmup_episodes=2, warmup_updates=3)
    features = np.array(
        [
            env.unwrapped.coordinates(state)
            for state in range(int(env.observation_space.n))
        ]
    )
    cold = vime_init(3, env.action_space, np.random.default_rng(0), settings.vime)

    def warm(**changes: int) -> Vime:
        return explorer_studies.warmed_up(
            cold, env, features, np.random.default_rng(1), replace(settings, **changes)
        )

    assert warm(warmup_episodes=0) is cold
    model = warm()
    assert model.settings == cold.settings
    one, two = (
        len(warm(warmup_episodes=number).pool.observations) for number in (1, 2)
    )
    assert 0 < one <= 100
    assert one < two <= 200
    assert not np.array_equal(model.q.mu, cold.q.mu)
    assert np.array_equal(model.q.mu, warm().q.mu)
    assert not np.array_equal(model.q.mu, warm(warmup_updates=4).q.mu)
    asked: list[int] = []
    monkeypatch.setattr(
        Vime,
        "update",
        lambda self, batch, rng: asked.append(self.settings.num_updates) or self,
    )
    assert (warm(), asked)[1] == [3]
    assert settings.vime.num_updates != 3


def test_bandit_regret_against_pulls_of_the_worse_arm() -> None:
    """UCB-1's regret is the gap times a whole number and below its bound; random's is not logarithmic."""
    rows = catalogue.study_rows(study_job("Bandit", "UCB-1", length=2000))
    regret, bound = (np.array(measured(rows, name)) for name in ("regret", "bound"))
    assert np.allclose(regret / 0.6, np.round(regret / 0.6))
    assert np.all(np.diff(regret) >= 0.0)
    assert np.all(regret < bound)
    random = np.array(
        measured(
            catalogue.study_rows(study_job("Bandit", "random", length=2000)), "regret"
        )
    )
    assert random[-1] > bound[-1]
    assert not measured(catalogue.study_rows(study_job("Bandit", "random")), "bound")


def test_deep_sea_against_the_return_of_each_episode(monkeypatch) -> None:
    """Only the treasure gives a reward above 0.9; solved means that 90 % of the episodes have it.

    Control: the episode of the first treasure is another.
    """
    given = study_job("DeepSea", "counts", size=6, length=300)
    episodes = explorer_studies.played(given, DeepSea(6, "index"))
    (found,), (solved,) = (
        measured(catalogue.study_rows(given), name) for name in ("found", "solved")
    )
    returns = [
        episode.episode_return for episode, _ in zip(episodes, range(int(solved)))
    ]
    shares = np.cumsum(np.array(returns) < 0.9) / np.arange(1, len(returns) + 1)
    assert found == np.argmax(np.array(returns) > 0.9) + 1
    assert solved == np.argmax(shares < 0.9) + 1
    assert found != solved


def test_a_run_gives_the_rows_that_are_published() -> None:
    """Counts on 6 by 6 cells. Control: the rows of seed 101 are others."""
    path = ROOT / "results" / "DeepSea" / "study.csv"
    published = {
        seed: [
            r
            for r in read_rows(path, STUDY_COLUMNS)
            if (r["explorer"], r["size"], r["seed"]) == ("counts", 6, seed)
        ]
        for seed in (100, 101)
    }
    rows = catalogue.study_rows(
        StudyJob("DeepSea", "counts", 6, 100, FULL["DeepSea"].settings)
    )
    assert rows == published[100]
    assert rows != [{**each, "seed": 100} for each in published[101]]


def test_random_actions_find_and_never_solve() -> None:
    """Control: with one episode they find nothing at this seed."""
    rows = catalogue.study_rows(study_job("DeepSea", "random", size=3, length=1000))
    assert 1.0 <= measured(rows, "found")[0] < 1000.0
    assert math.isnan(measured(rows, "solved")[0])
    assert math.isnan(
        measured(
            catalogue.study_rows(study_job("DeepSea", "random", size=12, length=1)),
            "found",
        )[0]
    )


@pytest.mark.parametrize("explorer", ["random", "pseudo-counts"])
def test_maze_against_its_own_steps(explorer) -> None:
    given = study_job("KeyDoorMaze", explorer, length=3, length_cts=1, points=1)
    rows = catalogue.study_rows(given)
    env = gym.make(explorer_studies.MAZE, observation="index", disable_env_checker=True)
    steps = [
        step
        for episode in explorer_studies.played(given, env)
        for step in episode.steps
    ]
    maze = KeyDoorMaze("index")
    (seen,) = measured(rows, "seen")
    assert seen == len({0} | {step.next_state for step in steps}) / len(
        explorer_studies.reachable(maze)
    )
    cells = [maze.cells[step.next_state % len(maze.cells)] for step in steps]
    assert measured(rows, "visits") == [
        cells.count(cell) / len(cells) for cell in maze.cells
    ]
    assert len(measured(rows, "visits")) == len(maze.cells)
    episodes = list(explorer_studies.played(given, env))
    with_key = [
        n
        for n, each in enumerate(episodes, 1)
        if any(s.next_state >= len(maze.cells) for s in each.steps)
    ]
    at_goal = [n for n, each in enumerate(episodes, 1) if each.steps[-1].terminated]
    for name, arrivals in (("key", with_key), ("goal", at_goal)):
        assert np.array_equal(
            measured(rows, name), arrivals[:1] or [math.nan], equal_nan=True
        )
    assert measured(rows, "return") == [
        sum(step.reward for step in steps) / len(episodes)
    ]


@pytest.mark.parametrize(
    "explorer", ["random", "counts", "dirichlet", "VIME", "L2 error"]
)
def test_watching_against_the_pictures_that_were_seen(explorer) -> None:
    """The screen is dark elsewhere, and so is one picture in 2⁷; the environment gives no reward."""
    given = study_job("NoisyTV", explorer, length=4, points=1)
    env = explorer_studies.silent(
        gym.make(explorer_studies.TV, observation="index", disable_env_checker=True)
    )
    episodes = [episode for episode in explorer_studies.played(given, env)]
    steps = [
        (step, gain)
        for episode in episodes
        for step, gain in zip(episode.steps, episode.gains)
    ]
    lit = [gain for step, gain in steps if step.next_state >= len(env.unwrapped.cells)]
    dark = [gain for step, gain in steps if step.next_state < len(env.unwrapped.cells)]
    rows = catalogue.study_rows(given)
    (watching,), (pays,) = measured(rows, "watching"), measured(rows, "pays")
    assert len(lit) / len(steps) <= watching <= len(lit) / len(steps) + 0.02
    assert {step.reward for step, _ in steps} == {0.0}
    if lit and explorer != "random":
        assert pays == pytest.approx(np.mean(lit) / np.mean(dark), rel=0.2)
    else:
        assert math.isnan(pays)


def test_relative_bonus_against_means_by_hand() -> None:
    """A bonus of 1, with 2 and 6 in the other steps. nan if nobody watches, or if there is no bonus."""
    watching = np.array([True, False, False])
    gains = np.array([1.0, 2.0, 6.0])
    assert explorer_studies.relative_bonus(gains, watching) == 0.25
    assert explorer_studies.relative_bonus(gains, ~watching) == 4.0
    assert math.isnan(explorer_studies.relative_bonus(gains, watching & False))
    assert math.isnan(explorer_studies.relative_bonus(0.0 * gains, watching))


def test_a_run_is_a_function_of_its_seed() -> None:
    for name, explorer in (("Bandit", "UCB-1"), ("KeyDoorMaze", "VIME")):
        assert catalogue.study_rows(study_job(name, explorer)) == catalogue.study_rows(
            study_job(name, explorer)
        )
        assert catalogue.study_rows(study_job(name, explorer)) != catalogue.study_rows(
            study_job(name, explorer, seed=1)
        )

"""Studies: laws and counts against oracles, tables against their rows, and the command line."""

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vime_gym.rooms import SIGNS, DeepSea, KeyDoorMaze, NoisyTV
from vime_lab import command_line as experiments
from vime_lab.studies import catalogue as studies
from vime_lab.studies import explorers as explorer_studies
from vime_lab.studies.catalogue import STUDIES
from vime_lab.studies.frame import COLUMNS, StudyJob
from vime_lecture import controls, densities
from vime_lecture.counts import PseudoCounts, VisitCounts
from vime_lecture.recurrent import UnrealSettings
from vime_ref import NoBonus, Vime, vime_init

ROOT = Path(__file__).parent.parent.parent.parent

SMALL = {
    "Bandit": {"length": 60, "points": 4, "means": (0.2, 0.8)},
    "DeepSea": {"length": 30, "sizes": (2, 3, 4), "largest": (("VIME", 3),)},
    "KeyDoorMaze": {"length": 2, "length_cts": 1, "points": 2},
    "NoisyTV": {"length": 3, "points": 2, "warmup_episodes": 1, "warmup_updates": 2},
    "Labyrinth": {
        "length": 1200,
        "points": 2,
        "num_envs": 2,
        "agent": UnrealSettings(encoded=4, hidden=4),
    },
}
FILES = sorted(studies.FILES)
FULL = dict(STUDIES)  # as published


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of a moment, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name, changes in SMALL.items():
        small = replace(STUDIES[name].settings, **changes)
        monkeypatch.setitem(STUDIES, name, STUDIES[name]._replace(settings=small))


def job(
    study: str, explorer: str, seed: int = 0, size: int = 0, **changes: object
) -> StudyJob:
    return StudyJob(
        study, explorer, size, seed, replace(STUDIES[study].settings, **changes)
    )


def row(
    study: str,
    explorer: str,
    measure: str,
    value: float,
    *,
    size: int = 0,
    seed: int = 0,
    point: int = 0,
) -> dict:
    return dict(zip(COLUMNS, (study, explorer, size, seed, measure, point, value)))


def values(rows: Sequence[dict], measure: str) -> list[float]:
    return [each["value"] for each in rows if each["measure"] == measure]


# ---------------------------------------------------------------- laws


def test_fitted_growth_against_exact_laws() -> None:
    """Control: each law fits the data of the other worse."""
    sizes = np.array([6, 8, 10, 14, 20, 30])
    twofold = explorer_studies.fitted_growth(sizes, 3.0 * 2.0**sizes)
    assert twofold.exponential
    assert twofold.doublings == pytest.approx(1.0, abs=1e-8)
    cubic = explorer_studies.fitted_growth(sizes, 0.5 * sizes**3.0)
    assert not cubic.exponential
    assert cubic.power == pytest.approx(3.0, abs=1e-8)
    assert abs(twofold.power - 3.0) > 1.0
    assert abs(cubic.doublings - 1.0) > 0.5


@pytest.mark.parametrize(
    ("sizes", "episodes"),
    [
        ([1, 2], [1, 2]),
        ([1, 2, 3], [1, 2]),
        ([0, 1, 2], [1, 1, 1]),
        ([1, 2, 3], [1, 0, 1]),
    ],
)
def test_fitted_growth_refuses_what_has_no_law(sizes, episodes) -> None:
    with pytest.raises(
        ValueError, match="sizes and episodes must be 3 or more numbers > 0 each, got"
    ):
        explorer_studies.fitted_growth(sizes, episodes)


def test_ucb1_bound_against_a_sum_by_hand() -> None:
    """Gaps 0.5 and 0.25: 8 ln t (2 + 4) + (1 + π²/3) 0.75. Control: the best arm has no share, whatever its number."""
    t = [1, 10, 1000]
    expected = [48.0 * math.log(each) + 0.75 * (1.0 + math.pi**2 / 3.0) for each in t]
    assert explorer_studies.ucb1_bound([0.5, 1.0, 0.75], t) == pytest.approx(
        expected, rel=1e-14
    )
    assert explorer_studies.ucb1_bound([1.0, 0.5, 1.0, 0.75], t) == pytest.approx(
        expected, rel=1e-14
    )
    assert explorer_studies.ucb1_bound([0.5, 1.0], t) != pytest.approx(
        expected, rel=0.1
    )


@pytest.mark.parametrize(
    ("means", "pulls", "reason"),
    [
        ([1.5], [1], "means must be from 0 to 1, got 1.5"),
        ([0.5], [0], "pulls must be >= 1"),
    ],
)
def test_ucb1_bound_refuses_other_rewards_and_no_pulls(means, pulls, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        explorer_studies.ucb1_bound(means, pulls)


def test_reachable_against_a_search_by_hand() -> None:
    """Without the key the part before the door, with it all cells. Control: the cells of both, all of them twice."""
    maze = KeyDoorMaze("index")
    before_door = {n for n, (_, column) in enumerate(maze.cells) if column < 4}
    cells = len(maze.cells)
    expected = (before_door - {maze.places["K"]}) | {cells + n for n in range(cells)}
    assert explorer_studies.reachable(maze) == expected
    assert len(expected) < 2 * cells


# ---------------------------------------------------------------- explorers

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
        job(study, explorer, epsilon=0.3, alpha=alpha)
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
    return explorer_studies.bonus_of(
        job(study, explorer, **changes), env, np.random.default_rng(seed)
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
        densities.Dirichlet,
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
        densities.ImageCts,
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


@pytest.mark.parametrize(
    ("explorer", "kind"), [("VIME", Vime), ("L2 error", controls.PredictionError)]
)
def test_bonuses_of_networks_against_their_settings(explorer, kind) -> None:
    """Codes of signs or coordinates, η as the weight, the study's own model. Control: other codes by another seed."""
    sea, room = DeepSea(3, "index"), NoisyTV("index")
    bonus, codes, weight = given_bonus("DeepSea", explorer, sea, eta=3.0)
    model = bonus if explorer == "VIME" else bonus.model
    assert (type(bonus), weight, model.settings) == (
        kind,
        3.0,
        STUDIES["DeepSea"].settings.vime,
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


# ---------------------------------------------------------------- runs


def test_bandit_regret_against_pulls_of_the_worse_arm() -> None:
    """UCB-1's regret is the gap times a whole number and below its bound; random's is not logarithmic."""
    rows = studies.run_job(job("Bandit", "UCB-1", length=2000))
    regret, bound = (np.array(values(rows, name)) for name in ("regret", "bound"))
    assert np.allclose(regret / 0.6, np.round(regret / 0.6))
    assert np.all(np.diff(regret) >= 0.0)
    assert np.all(regret < bound)
    random = np.array(
        values(studies.run_job(job("Bandit", "random", length=2000)), "regret")
    )
    assert random[-1] > bound[-1]
    assert not values(studies.run_job(job("Bandit", "random")), "bound")


def test_deep_sea_against_the_return_of_each_episode(monkeypatch) -> None:
    """The treasure pays more than 0.9, and nothing else does; solved is when 90 % of the returns are no longer without.

    Control: the episode of the first treasure is another.
    """
    given = job("DeepSea", "counts", size=6, length=300)
    episodes = explorer_studies.played(given, DeepSea(6, "index"))
    (found,), (solved,) = (
        values(studies.run_job(given), name) for name in ("found", "solved")
    )
    returns = [
        episode.episode_return for episode, _ in zip(episodes, range(int(solved)))
    ]
    shares = np.cumsum(np.array(returns) < 0.9) / np.arange(1, len(returns) + 1)
    assert found == np.argmax(np.array(returns) > 0.9) + 1
    assert solved == np.argmax(shares < 0.9) + 1
    assert found != solved


def test_a_run_gives_the_rows_that_are_published() -> None:
    """Counts on 6 by 6 cells. Control: the rows of seed 1 are others."""
    path = ROOT / "results" / "DeepSea" / "study.csv"
    published = {
        seed: [
            r
            for r in studies.read_study(path)
            if (r["explorer"], r["size"], r["seed"]) == ("counts", 6, seed)
        ]
        for seed in (0, 1)
    }
    rows = studies.run_job(
        StudyJob("DeepSea", "counts", 6, 0, FULL["DeepSea"].settings)
    )
    assert rows == published[0]
    assert rows != [{**each, "seed": 0} for each in published[1]]


def test_random_actions_find_and_never_solve() -> None:
    """Control: with one episode they find nothing at this seed."""
    rows = studies.run_job(job("DeepSea", "random", size=3, length=1000))
    assert 1.0 <= values(rows, "found")[0] < 1000.0
    assert math.isnan(values(rows, "solved")[0])
    assert math.isnan(
        values(studies.run_job(job("DeepSea", "random", size=12, length=1)), "found")[0]
    )


@pytest.mark.parametrize("explorer", ["random", "pseudo-counts"])
def test_maze_against_its_own_steps(explorer) -> None:
    given = job("KeyDoorMaze", explorer, length=3, length_cts=1, points=1)
    rows = studies.run_job(given)
    env = gym.make(explorer_studies.MAZE, observation="index", disable_env_checker=True)
    steps = [
        step
        for episode in explorer_studies.played(given, env)
        for step in episode.steps
    ]
    maze = KeyDoorMaze("index")
    (seen,) = values(rows, "seen")
    assert seen == len({0} | {step.next_state for step in steps}) / len(
        explorer_studies.reachable(maze)
    )
    cells = [maze.cells[step.next_state % len(maze.cells)] for step in steps]
    assert values(rows, "visits") == [
        cells.count(cell) / len(cells) for cell in maze.cells
    ]
    assert len(values(rows, "visits")) == len(maze.cells)
    episodes = list(explorer_studies.played(given, env))
    with_key = [
        n
        for n, each in enumerate(episodes, 1)
        if any(s.next_state >= len(maze.cells) for s in each.steps)
    ]
    at_goal = [n for n, each in enumerate(episodes, 1) if each.steps[-1].terminated]
    for name, arrivals in (("key", with_key), ("goal", at_goal)):
        assert np.array_equal(
            values(rows, name), arrivals[:1] or [math.nan], equal_nan=True
        )
    assert values(rows, "return") == [
        sum(step.reward for step in steps) / len(episodes)
    ]


@pytest.mark.parametrize("explorer", ["random", "counts", "VIME", "L2 error"])
def test_watching_against_the_pictures_that_were_seen(explorer) -> None:
    """The screen is dark elsewhere, and one picture in 2⁷ is as dark; the environment pays the agent nothing."""
    given = job("NoisyTV", explorer, length=4, points=1)
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
    rows = studies.run_job(given)
    (watching,), (pays,) = values(rows, "watching"), values(rows, "pays")
    assert len(lit) / len(steps) <= watching <= len(lit) / len(steps) + 0.02
    assert {step.reward for step, _ in steps} == {0.0}
    if lit and explorer != "random":
        assert pays == pytest.approx(np.mean(lit) / np.mean(dark), rel=0.2)
    else:
        assert math.isnan(pays)


def test_a_run_is_a_function_of_its_seed() -> None:
    for name, explorer in (("Bandit", "UCB-1"), ("KeyDoorMaze", "VIME")):
        assert studies.run_job(job(name, explorer)) == studies.run_job(
            job(name, explorer)
        )
        assert studies.run_job(job(name, explorer)) != studies.run_job(
            job(name, explorer, seed=1)
        )


# ---------------------------------------------------------------- tables


def words(line: str) -> str:
    """The line without the blanks that align it."""
    return re.sub(r"\[ +", "[", " ".join(line.split()))


def test_bandit_table_against_lines_by_hand() -> None:
    rows = [
        row("Bandit", name, measure, slope * t * (seed + 1), seed=seed, point=t)
        for name, slope in (("random", 0.5), ("UCB-1", 0.25))
        for seed in (0, 1, 2)
        for t in (1, 400, 800)
        for measure in ("regret", *(["bound"] if name == "UCB-1" else []))
    ]
    lines = STUDIES["Bandit"].table(rows).splitlines()
    assert (
        lines[0]
        == "Bandit: pseudo-regret after 800 pulls, 3 seeds; UCB-1's proven bound is 200"
    )
    assert words(lines[3]) == "random 800 [600, 1000] 1000 [750, 1250]"
    assert words(lines[4]) == "UCB-1 400 [300, 500] 500 [375, 625]"


def test_deep_sea_table_against_rows_by_hand() -> None:
    """Counts take N², UCB 2^N and fails at 30, which 2 of 3 seeds never solve; VIME is tried at one size."""
    sizes = (6, 10, 14, 30)
    rows = [
        row("DeepSea", name, "solved", float(law(size)) if seed == 0 or size < 30 or name == "counts" else math.nan,
            size=size, seed=seed)
        for name, law in (("counts", lambda n: n**2), ("UCB", lambda n: 2**n), ("VIME", lambda n: 40))
        for size in (sizes if name != "VIME" else sizes[:1])
        for seed in range(3)
    ]  # fmt: skip
    rows += [row("DeepSea", "random", "found", 64.0, size=6)]
    lines = STUDIES["DeepSea"].table(rows).splitlines()
    assert [line.split() for line in lines[2:7]] == [
        ["6", "10", "14", "30"],
        ["counts", "36", "100", "196", "900"],
        ["UCB", "64", "1024", "16384", "-"],
        ["VIME", "40"],
        ["random", "64"],
    ]
    assert [words(line) for line in lines[-4:]] == [
        "counts 1.00 2^(0.18 N) N^2.0 power of N",
        "UCB 0.83 2^(1.00 N) N^6.5 2^N",
        "VIME 0.25 too few sizes",
        "random too few sizes",
    ]


def test_maze_and_tv_tables_against_rows_by_hand() -> None:
    rows = [
        row("KeyDoorMaze", "counts", measure, value * (1 + seed), seed=seed, point=point)
        for seed in (0, 1)
        for measure, value, point in (
            ("seen", 0.1, 5), ("seen", 0.2, 10), ("return", 9.0, 5), ("return", 0.4, 10), ("key", 3.0, 0),
            ("goal", 8.0 if seed else math.nan, 0), ("visits", 1.0, 0),
        )
    ]  # fmt: skip
    (line,) = STUDIES["KeyDoorMaze"].table(rows).splitlines()[3:]
    assert (
        words(line) == "counts 10 0.30 [0.25, 0.35] 4.5 16 (1 of 2) 0.60 [0.50, 0.70]"
    )
    never = [
        {**each, "value": math.nan} if each["measure"] == "goal" else each
        for each in rows
    ]
    assert " never " in STUDIES["KeyDoorMaze"].table(never)
    points = {"watching": (0.5, 0.25, 0.75), "pays": (math.nan, 8.0, 2.0)}
    rows = [
        row("NoisyTV", "L2 error", m, v, point=p)
        for m, each in points.items()
        for p, v in enumerate(each)
    ]
    (line,) = STUDIES["NoisyTV"].table(rows).splitlines()[3:]
    assert words(line) == "L2 error 0.50 0.75 2.00"
    assert (
        words(STUDIES["NoisyTV"].table([*rows[:3], *rows[3:4]]).splitlines()[3])
        == "L2 error 0.50 0.75 none"
    )


# ---------------------------------------------------------------- the command line


def run(
    name: str, *arguments: str, seeds: str = "2", out: str = "out"
) -> list[dict[str, str]]:
    given = [
        "run",
        "--task",
        name,
        "--jobs",
        "1",
        "--seeds",
        seeds,
        "--out",
        out,
        *arguments,
    ]
    assert experiments.main(given) == 0
    return list(csv.DictReader(Path(out, "study.csv").read_text().splitlines()))


def left_behind() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def refusal(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The one line on stderr that a refused command ends with."""
    with pytest.raises(SystemExit) as exit_:
        experiments.main(arguments)
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_writes_three_files_and_figure_draws_them_again(name, capsys) -> None:
    rows = run(name)
    assert left_behind() == ["out", *(f"out/{file}" for file in FILES)]
    settings = STUDIES[name].settings
    assert {(each["explorer"], int(each["seed"])) for each in rows} == {
        (e, s) for e in settings.explorers for s in (0, 1)
    }
    config = json.loads(Path("out/config.json").read_text())
    assert (
        config["command"] == f"vime-ref run --task {name} --jobs 1 --seeds 2 --out out"
    )
    assert config["settings"]["length"] == SMALL[name]["length"]
    assert (config["task_name"], config["seeds"], config["bonuses"]) == (
        name,
        2,
        list(settings.explorers),
    )
    shown = capsys.readouterr()
    table = shown.out.split("\n\nwrote out/ after ")[0].strip()
    assert max(map(len, shown.out.splitlines())) <= 100
    assert all(explorer in table for explorer in settings.explorers)
    picture = matplotlib.image.imread("out/study.png")
    assert experiments.main(["figure", "out", "--out", "again.png"]) == 0
    assert capsys.readouterr().out == f"{table}\n\nwrote again.png\n"
    assert np.array_equal(matplotlib.image.imread("again.png"), picture)


def drawn(study: str, rows: list[dict]) -> Figure:
    figure = Figure()
    STUDIES[study].draw(figure, rows)
    return figure


def shows(axes: Axes, x: Sequence[float], y: Sequence[float], marker: str = "") -> bool:
    """Whether one of the panel's lines runs through these points, with this marker."""
    return any(
        (not marker or line.get_marker() == marker)
        and len(line.get_xdata()) == len(x)
        and np.allclose(line.get_xdata(), x)
        and np.allclose(line.get_ydata(), y)
        for line in axes.lines
    )


@pytest.mark.parametrize(
    ("study", "measures"),
    [
        ("Bandit", ("regret", "regret")),
        ("KeyDoorMaze", ("seen", "return")),
        ("NoisyTV", ("watching", "pays")),
    ],
)
def test_pictures_draw_the_medians_of_their_rows(study, measures) -> None:
    """Panel by panel, with other medians in each. Control: the mean of the seeds is on no line."""
    points, seeds = (1, 5, 10), (1.0, 2.0, 6.0)
    height = {
        "bound": 0.9,
        "regret": 0.1,
        "seen": 0.05,
        "return": 0.04,
        "watching": 0.03,
        "pays": 0.02,
    }
    explorer = "UCB-1" if study == "Bandit" else "counts"
    rows = [
        row(
            study,
            explorer,
            measure,
            height[measure] * point * factor,
            seed=seed,
            point=point,
        )
        for measure in {*measures, *(["bound"] if study == "Bandit" else [])}
        for point in points
        for seed, factor in enumerate(seeds)
    ]
    cells = len(KeyDoorMaze("index").cells) if study == "KeyDoorMaze" else 0
    rows += [
        row(study, explorer, "visits", 1.0 / cells, point=cell) for cell in range(cells)
    ]
    panels = drawn(study, rows).axes
    for axes, measure in zip(panels, measures):
        assert shows(axes, points, [2.0 * height[measure] * point for point in points])
        assert not shows(
            axes, points, [3.0 * height[measure] * point for point in points]
        )


def test_deep_sea_picture_has_a_cross_where_the_median_is_never() -> None:
    """Solved at 6 and 8, not at 10. Controls: no cross at 8, and none where 10 is solved too."""
    rows = [
        row("DeepSea", "counts", "solved", value, size=size)
        for size, value in ((6, 40.0), (8, 90.0))
    ]
    never, solved = (
        drawn(
            "DeepSea", [*rows, row("DeepSea", "counts", "solved", value, size=10)]
        ).axes[0]
        for value in (math.nan, 200.0)
    )
    top = 1.6 * 90.0
    assert shows(never, [6.0, 8.0], [40.0, 90.0])
    assert shows(never, [10.0], [top], "x")
    assert not shows(never, [8.0], [top], "x")
    assert shows(solved, [6.0, 8.0, 10.0], [40.0, 90.0, 200.0])
    assert not any(
        len(line.get_xdata()) for line in solved.lines if line.get_marker() == "x"
    )


def test_the_number_of_processes_changes_no_number(capsys) -> None:
    """Control: another seed does."""
    one = run("DeepSea")
    assert run("DeepSea", "--jobs", "2", out="two") == one
    first, second = (
        [
            {**each, "seed": ""}
            for each in one
            if each["seed"] == seed and each["explorer"] == "counts"
        ]
        for seed in ("0", "1")
    )
    assert len(first) == len(second) > 0
    assert first != second


def test_several_studies_have_a_folder_each() -> None:
    assert (
        experiments.main(
            [
                "run",
                "--task",
                "Bandit",
                "DeepSea",
                "--jobs",
                "1",
                "--seeds",
                "1",
                "--out",
                "all",
            ]
        )
        == 0
    )
    assert left_behind() == sorted(
        [
            "all",
            *(
                f"all/{n}{f}"
                for n in ("Bandit", "DeepSea")
                for f in ("", *(f"/{x}" for x in FILES))
            ),
        ]
    )


REFUSED = {
    "--resume": "argument --resume: Bandit is a study, and has none",
    "--bonus vime": "argument --bonus: Bandit is a study, and has none",
    "--iterations 3": "argument --iterations: Bandit is a study, and has none",
    "--eta 0": "argument --eta: Bandit is a study, and has none",
    "--set agent.eta=1": "argument --set: Bandit is a study, and has none",
    "--seeds 0": "argument --seeds: must be a whole number >= 1, got 0",
    "--task Bandit SparseMountainCar": "argument --task: Bandit is a study, and runs without other tasks",
}


@pytest.mark.parametrize(("given", "reason"), REFUSED.items())
def test_a_study_refuses_what_it_does_not_have(given, reason, capsys) -> None:
    line = refusal(capsys, ["run", "--task", "Bandit", *given.split()])
    assert line == f"vime-ref run: error: {reason}\n"
    assert left_behind() == []


def test_other_results_are_refused_and_left(capsys) -> None:
    """Those of another study or number of seeds, and of training; the same may be made again."""
    first = run("Bandit")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    line = "vime-ref run: error: out holds the results of other settings: choose another --out, or remove it\n"
    capsys.readouterr()
    for given in (
        "--task Bandit --seeds 1",
        "--task DeepSea --seeds 2",
        "--task SparseMountainCar --seeds 2",
    ):
        assert refusal(capsys, ["run", *given.split(), "--out", "out"]) == line
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    assert run("Bandit") == first
    Path("out/study.csv").rename("out/learning_curve.csv")
    capsys.readouterr()
    assert (
        refusal(capsys, ["run", "--task", "DeepSea", "--seeds", "2", "--out", "out"])
        == line
    )


def test_results_that_cannot_be_written_leave_those_before(monkeypatch, capsys) -> None:
    def full(path: Path, rows: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    run("Bandit")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    monkeypatch.setattr(studies, "draw_study", full)
    assert (
        experiments.main(
            ["run", "--task", "Bandit", "--jobs", "1", "--seeds", "2", "--out", "out"]
        )
        == 1
    )
    assert capsys.readouterr().err.endswith(
        "\nvime-ref: can't write to out: No space left on device\n"
    )
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (ArithmeticError("lost"), 1, "ArithmeticError: lost"),
    ],
)
def test_a_run_that_breaks_off_writes_nothing(
    error, code, line, monkeypatch, capsys
) -> None:
    def fail(job: StudyJob) -> list:
        raise error

    monkeypatch.setattr(studies, "run_job", fail)
    assert (
        experiments.main(
            ["run", "--task", "Bandit", "--jobs", "1", "--seeds", "1", "--out", "out"]
        )
        == code
    )
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == f"vime-ref: {line}; nothing is written"
    )
    assert left_behind() == ["out"]


def damaged(place: int, old: str, new: str) -> str:
    lines = Path("out/study.csv").read_text().splitlines()
    lines[place] = lines[place].replace(old, new, 1)
    return "\n".join(lines)


def test_figure_refuses_a_file_that_is_no_study(monkeypatch, capsys) -> None:
    run("Bandit")
    names = ", ".join(COLUMNS)
    bad = {
        "": f"must have the columns {names}, and rows",
        ",".join(COLUMNS): f"must have the columns {names}, and rows",
        damaged(0, "size", "width"): f"must have the columns {names}, and rows",
        damaged(
            2, "Bandit", "DeepSea"
        ): "must be of one study, Bandit, DeepSea, KeyDoorMaze, NoisyTV, Labyrinth",
        damaged(2, ",", ""): "row 3 must have 7 cells, got 6",
        damaged(
            2, ",0,0,", ",0,x,"
        ): "row 3: invalid literal for int() with base 10: 'x'",
        damaged(2, "random", "luck"): "explorer must be one of random, ",
    }
    capsys.readouterr()
    for text, reason in bad.items():
        Path("bad").mkdir(exist_ok=True)
        Path("bad/study.csv").write_text(text)
        error = refusal(capsys, ["figure", "bad"])
        assert error.startswith("vime-ref figure: error: bad/study.csv: ")
        assert reason in error
    Path("bad/study.csv").write_bytes(b"\xff")
    assert "bad/study.csv: is no CSV file: " in refusal(capsys, ["figure", "bad"])
    with pytest.raises(
        ValueError, match=r"nowhere/study.csv: can't be read: No such file or directory"
    ):
        studies.read_study(Path("nowhere/study.csv"))
    assert "out holds a study, which has a picture of its own" in refusal(
        capsys, ["figure", "out", "bad"]
    )
    assert "can't write to no/it.png: No such file" in refusal(
        capsys, ["figure", "out", "--out", "no/it.png"]
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "figure needs matplotlib" in refusal(capsys, ["figure", "out"])
    assert not list(Path().glob("*.png"))

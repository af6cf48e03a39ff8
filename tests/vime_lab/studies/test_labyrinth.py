"""The labyrinth study: agents against their names, drift and film against walks, table and picture against rows."""

from collections import deque
from dataclasses import replace
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from lab import by_fast
from matplotlib.figure import Figure

from agents_ref import Streams
from vime_lab.rows import STUDY_COLUMNS
from vime_lab.studies import labyrinth as lab
from vime_lab.studies.frame import StudyJob
from vime_lab.studies.labyrinth import AGENTS, LABYRINTH_STUDIES
from vime_lab.tasks import ROOT_SEED
from vime_lecture import recurrent
from vime_lecture.recurrent import UnrealSettings
from vime_lecture.unreal import LossWeights
from vime_ref import NoBonus, Vime, VimeSettings

STUDY = LABYRINTH_STUDIES["Labyrinth"]
TINY: dict[str, Any] = {
    "length": 3600, "points": 2, "num_envs": 2,
    "agent": UnrealSettings(encoded=4, hidden=3), "vime": VimeSettings(hidden_sizes=(3,), num_samples=1, num_updates=1),
}  # fmt: skip


def job(explorer: str, seed: int = 0, **changes: Any) -> StudyJob:
    return StudyJob(
        "Labyrinth", explorer, 3, seed, replace(STUDY.settings, **{**TINY, **changes})
    )


def row(
    explorer: str, measure: str, value: float, seed: int = 0, point: int = 0
) -> dict[str, Any]:
    return dict(
        zip(STUDY_COLUMNS, ("Labyrinth", explorer, 3, seed, measure, point, value))
    )


# ---------------------------------------------------------------- agents


def test_agents_against_their_names() -> None:
    """Which losses are on and what a bonus sees. Control: no two agents are alike."""
    on = {
        "A2C": (),
        "+ value replay": ("value_replay",),
        "+ reward prediction": ("reward_prediction",),
        "+ pixel control": ("control",),
        "+ feature control": ("control",),
        "UNREAL": ("value_replay", "control", "reward_prediction"),
        "+ VIME on pixels": (),
        "+ VIME on hidden state": (),
    }
    assert STUDY.settings.explorers == tuple(AGENTS) == tuple(on) == tuple(STUDY.colors)
    given = LossWeights(
        value=0.7, entropy=0.1, value_replay=0.2, control=0.3, reward_prediction=0.4
    )
    agent = UnrealSettings(weights=given, learning_rate=0.5)
    made = {name: lab.agent_of(job(name, agent=agent, eta=0.25)) for name in AGENTS}
    for name, settings in made.items():
        expected = {
            task: getattr(given, task) if task in on[name] else 0.0
            for task in lab.AUXILIARY
        }
        assert settings.weights == replace(given, **expected)
        assert settings.control == ("feature" if "feature" in name else "pixel")
        assert settings.eta == (0.25 if "VIME" in name else 0.0)
        assert settings.bonus_sees == ("hidden" if "hidden" in name else "pixels")
        assert (
            replace(
                settings, weights=given, control="pixel", eta=0.0, bonus_sees="pixels"
            )
            == agent
        )
    assert len(set(made.values())) == len(AGENTS)


def test_bonuses_against_what_they_see() -> None:
    """75 numbers of 25 cells, 3 hidden units; the study's own model. Control: the others have no bonus."""
    env = lab.labyrinth_env(3)
    for name in AGENTS:
        bonus = lab.labyrinth_bonus(job(name), env, np.random.default_rng(0))
        if "VIME" not in name:
            assert isinstance(bonus, NoBonus)
            continue
        assert isinstance(bonus, Vime)
        assert bonus.settings == by_fast(TINY["vime"])
        assert bonus.pool.observations.shape == (0, 3 if "hidden" in name else 75)


# ---------------------------------------------------------------- drift


def test_drift_against_its_limits() -> None:
    """0 for the same, 2 for independent features within four standard errors, (a/s)² where the mean moves by a.

    Control: the variance of all units together is not the mean of their shares.
    """
    rng = np.random.default_rng(0)
    then, now = rng.standard_normal((2, 400, 50, 2))
    assert lab.drift(now, now) == 0.0
    assert lab.drift(then, now) == pytest.approx(2.0, abs=4 * np.sqrt(6 / then.size))
    assert lab.drift(now + 3.0, now) == pytest.approx(
        9.0 / now.var(axis=(0, 1)).mean(), rel=1e-12
    )
    scaled = now * [1.0, 10.0]
    shift = np.array([1.0, 0.0])
    assert lab.drift(scaled + shift, scaled) < 0.02 < 0.5 * lab.drift(now + shift, now)


def test_drifts_against_the_weights_of_that_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ages beyond the oldest weights have none. Control: another age has another drift."""
    monkeypatch.setattr(lab, "AGES", (1, 3, 4))
    envs, agent = [lab.labyrinth_env(2)], TINY["agent"]
    sizes, rng = agent.sizes(envs[0]), np.random.default_rng(0)
    thetas = deque(recurrent.unreal_init(sizes, rng) for _ in range(4))
    position = recurrent.begin(envs, agent, rng)
    steps, *_ = recurrent.interact(
        thetas[0], envs, position, rng.random((20, 1)), agent
    )
    found = dict(lab.drifts(thetas, steps, sizes))
    features = [
        recurrent.hidden_activations(theta, steps, sizes)[0][:, 0] for theta in thetas
    ]
    variance = features[3].var(axis=0).sum()
    for age, share in found.items():
        assert share == pytest.approx(
            ((features[3] - features[3 - age]) ** 2).sum(axis=1).mean() / variance,
            rel=1e-12,
        )
    assert [*found] == [1, 3]
    assert found[1] != pytest.approx(found[3], rel=0.01)


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("explorer", ["UNREAL", "+ VIME on hidden state"])
def test_a_run_against_training_by_hand(explorer: str) -> None:
    """Returns are means of the episodes between two points, drift is of the steps since the last episodes began.

    Controls: another seed gives other returns, and nothing ages or is filmed under another name.
    """
    given = job(explorer)
    found = list(STUDY.run(given))
    settings, agent = given.settings, lab.agent_of(given)
    init, *streams = np.random.default_rng([ROOT_SEED, 0, 3]).spawn(5)
    envs = [lab.labyrinth_env(3) for _ in range(2)]
    sizes = agent.sizes(envs[0])
    theta = recurrent.unreal_init(sizes, init)
    bonus = lab.labyrinth_bonus(given, envs[0], init)
    learning = recurrent.train_a2c(
        envs, theta, Streams(*streams), agent, num_updates=90, bonus=bonus
    )
    seen = list(learning)
    returns = [
        np.concatenate([each.episode_returns for each in part])
        for part in (seen[:45], seen[45:])
    ]
    assert [len(part) for part in returns] == [6, 6]
    expected = [(1800, returns[0].mean()), (3600, returns[1].mean())]
    assert [value[1:] for value in found if value[0] == "return"] == expected
    assert settings.length == expected[-1][0]
    others = {name for name, *_ in found if name != "return"}
    if explorer == "UNREAL":
        actions = [value for name, _, value in found if name == "film"]
        assert (others, actions) == (
            {"film"},
            lab.filmed_actions(seen[-1].theta, agent, 3, 0),
        )
    else:
        assert others == {"drift 1", "drift 10"}
        last = recurrent.joined([each.steps for each in seen[75:]], axis=0)
        assert not last.states[0].any()
        thetas = deque(each.theta for each in seen[-11:])
        assert [value for value in found if value[0] != "return"][2:] == [
            (f"drift {age}", 3600, share)
            for age, share in lab.drifts(thetas, last, sizes)
        ]
    other = next(v for v in STUDY.run(job(explorer, seed=1)))
    assert other != found[0]


def test_film_against_the_steps_of_the_agent() -> None:
    """Views, rewards and maze agree with those of the agent's steps.

    Controls: another seed begins elsewhere, and the film has a nonzero reward.
    """
    agent, size = TINY["agent"], 2
    theta = recurrent.unreal_init(
        agent.sizes(lab.labyrinth_env(size)), np.random.default_rng(0)
    )
    actions = lab.filmed_actions(theta, agent, size, seed=5)
    shots = lab.frames(actions, size, seed=5)
    envs, rng = [lab.labyrinth_env(size)], np.random.default_rng([ROOT_SEED, 5])
    position = recurrent.begin(envs, agent, rng)
    steps, *_ = recurrent.interact(
        theta, envs, position, rng.random((lab.FILM_STEPS, 1)), agent
    )
    assert len(shots) == lab.FILM_STEPS + 1
    views = recurrent.network_inputs(
        np.array([shot.view for shot in shots[:-1]]), agent
    )
    assert np.array_equal(views, steps.rows[:, 0, :75])
    assert [shot.reward for shot in shots] == [0.0, *np.cumsum(steps.rewards[:, 0])]
    assert shots[-1].reward > 0.0
    assert {shot.maze.shape for shot in shots} == {(80, 80, 3)}
    assert not np.array_equal(lab.frames([], size, seed=6)[0].maze, shots[0].maze)


# ---------------------------------------------------------------- table and picture


def many_rows() -> list[dict[str, Any]]:
    """Two seeds: A2C at 1, 2, 3, 4 and twice that, UNREAL at ten times as much, and what only some measure."""
    rows = [
        row(name, "return", scale * (1 + seed) * point, seed, 100 * point)
        for name, scale in (
            ("A2C", 1.0),
            ("UNREAL", 10.0),
            ("+ VIME on hidden state", 2.0),
        )
        for seed in (0, 1)
        for point in (1, 2, 3, 4)
    ]
    rows += [
        row(
            "+ VIME on hidden state",
            f"drift {age}",
            age * (0.5 + seed) * 0.01,
            seed,
            100 * point,
        )
        for age in (1, 10)
        for seed in (0, 1)
        for point in (3, 4)
    ]
    return rows + [
        row("UNREAL", "film", float(action), 1, step)
        for step, action in enumerate([2, 0, 3] * 8)
    ]


def words(line: str) -> str:
    return " ".join(line.split())


def test_labyrinth_table_against_rows_by_hand() -> None:
    """Means over training are 2.5 and 5, ends 4 and 8, of others ten times or twice that; P(VIME) = 3.5/4."""
    title, _, _, *lines = STUDY.table(many_rows()).splitlines()
    assert (
        title
        == "Labyrinth: return of an episode, median [quartiles]; 400 steps of training, 2 seeds"
    )
    assert [words(line) for line in lines] == [
        "A2C 3.8 [ 3.1, 4.4] 6.0 [ 5.0, 7.0]",
        "UNREAL 37.5 [31.2, 43.8] 60.0 [50.0, 70.0] 1.00 [0.16, 1.00]",
        "+ VIME on hidden state 7.5 [ 6.2, 8.8] 12.0 [10.0, 14.0] 0.88 [0.14, 1.00]",
        "",
        "updates drift of hidden features, last quarter",
        "1 0.01 [0.01, 0.01]",
        "10 0.10 [0.07, 0.12]",
    ]
    alone = STUDY.table(
        [each for each in many_rows() if each["explorer"] == "UNREAL"]
    ).splitlines()
    assert words(alone[-1]) == "UNREAL 37.5 [31.2, 43.8] 60.0 [50.0, 70.0]"


def drawn(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure()
    STUDY.draw(figure, rows)
    return figure


def test_labyrinth_picture_against_rows_and_film() -> None:
    """Medians in the panel of their agents, drift by age, every second moment of the film.

    Controls: VIME is not among the tasks nor UNREAL among the curious, and without a film the strip is empty.
    """
    rows = many_rows()
    tasks, curiosity, aging, *strip = drawn(rows).axes
    steps = np.array([100.0, 200.0, 300.0, 400.0])
    for axes, scales in ((tasks, (0.015, 0.15)), (curiosity, (0.015, 0.03))):
        assert [line.get_xdata().tolist() for line in axes.lines] == [
            steps.tolist()
        ] * 2
        assert [line.get_ydata().tolist() for line in axes.lines] == [
            pytest.approx(scale * steps) for scale in scales
        ]
    assert [line.get_ydata().tolist() for line in aging.lines] == [
        pytest.approx([age * 0.01] * 2) for age in (1, 10)
    ]
    shots = lab.frames([2, 0, 3] * 8, 3, seed=1)
    images = [axes.images[0].get_array() for axes in strip]
    assert len(images) == 2 * lab.MOMENTS
    for place in range(lab.MOMENTS):
        assert np.array_equal(images[place], shots[2 * place].maze)
        assert np.array_equal(images[lab.MOMENTS + place], shots[2 * place].view)
        assert (
            strip[place].get_title()
            == f"step {2 * place}\nreturn {shots[2 * place].reward:g}"
        )
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[lab.MOMENTS], images[lab.MOMENTS + 1])
    plain = [each for each in rows if each["measure"] == "return"]
    _, _, aging, *strip = drawn(plain).axes
    assert not any(axes.images for axes in strip)
    assert not aging.lines


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="num_envs must be a whole number >= 1, got 0"):
        job("A2C", num_envs=0)
    with pytest.raises(
        ValueError,
        match="length must be a multiple of 1200, so that points end with episodes, got 1800",
    ):
        job("A2C", length=1800)
    assert len(list(islice(STUDY.run(job("A2C", num_envs=1, length=600)), 3))) == 2
    assert isinstance(lab.labyrinth_env(2), gym.Env)

"""The labyrinth: the effect of auxiliary tasks and curiosity on a recurrent actor-critic.

One study, `Labyrinth`: all agents are the same A2C on the same mazes. Every episode has a
new maze, so the return measures how well the agent finds its way in an unknown maze. The
study also measures how fast the stored features of a bonus over hidden states become
stale, and records a film of the trained agent.

Sources: [UNREAL] Jaderberg et al. 2016, arXiv 1611.05397; [Lecture] "Intrinsic motivation
in RL", "Results: labyrinth" and "state = hidden NN activation".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agents_ref import Streams
from bnn_ref import Array, check_count
from vime_gym.labyrinth import LABYRINTH_STEPS
from vime_lab.figures import COLORS, Style, draw_line, finish
from vime_lab.rows import Row
from vime_lab.statistics import band, quartile_band
from vime_lab.studies.frame import (
    Study,
    StudyJob,
    StudySettings,
    Value,
    curve_of,
    draw_measure,
    explorers_in,
    last_quarter,
    looks_of,
    parts_of,
    seeds_in,
    spread_cells,
    titled,
)
from vime_lab.tables import aligned, improvement_cell
from vime_lab.tasks import ROOT_SEED, model_init
from vime_lecture.recurrent import (
    A2CIteration,
    Control,
    Steps,
    UnrealSettings,
    UnrealSizes,
    View,
    begin,
    hidden_activations,
    interact,
    joined,
    train_a2c,
    unreal_init,
)
from vime_ref import Bonus, NoBonus, VimeSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ---------------------------------------------------------------- constants

LABYRINTH_MODULES = (
    "bnn_ref",
    "fast_ref",
    "vime_ref",
    "agents_ref",
    "vime_gym",
    "vime_gym.rooms",
    "vime_gym.labyrinth",
    "vime_lecture.unreal",
    "vime_lecture.recurrent",
    "vime_lab.studies.labyrinth",
)
LABYRINTH = "vime_ref/Labyrinth-v0"
# Weights that turn UNREAL's auxiliary tasks on and off.
AUXILIARY = ("value_replay", "control", "reward_prediction")
# Ages in updates at which stored features are compared with current ones.
AGES = (1, 10, 100)
FILM_STEPS = 24  # of the trained agent
MOMENTS = 12  # of the film, in the picture
# γ is from trial runs, in which 0.99 learned later.
LABYRINTH_AGENT = UnrealSettings(learning_rate=3e-3, gamma=0.95)
# Three updates per batch, because features change while the agent learns.
LABYRINTH_MODEL = VimeSettings(
    likelihood_sigma=0.5,
    prior_sigma=0.1,
    num_data=None,
    num_samples=1,
    num_updates=5,
    batch_size=32,
    capacity=1000,
    min_rows=1000,
)

# ---------------------------------------------------------------- types


class Agent(NamedTuple):
    """An agent's additions to A2C."""

    tasks: tuple[str, ...] = ()  # of AUXILIARY
    control: Control = "pixel"
    bonus_sees: View | None = None  # None: there is no bonus


AGENTS = {
    "A2C": Agent(),
    "+ value replay": Agent(("value_replay",)),
    "+ reward prediction": Agent(("reward_prediction",)),
    "+ pixel control": Agent(("control",)),
    "+ feature control": Agent(("control",), control="feature"),
    "UNREAL": Agent(AUXILIARY),
    "+ VIME on pixels": Agent(bonus_sees="pixels"),
    "+ VIME on hidden state": Agent(bonus_sees="hidden"),
}
AGENT_COLORS = {
    "A2C": COLORS["none"],
    "+ value replay": "tab:olive",
    "+ reward prediction": "tab:green",
    "+ pixel control": "tab:purple",
    "+ feature control": "tab:cyan",
    "UNREAL": "black",
    "+ VIME on pixels": COLORS["l2"],
    "+ VIME on hidden state": COLORS["vime"],
}
TAUGHT = tuple(name for name, agent in AGENTS.items() if agent.bonus_sees is None)
CURIOUS = ("A2C", *(name for name, agent in AGENTS.items() if agent.bonus_sees))
REMEMBERS = "+ VIME on hidden state"  # the agent whose stored features drift
FILMED = "UNREAL"


@dataclass(frozen=True)
class LabyrinthSettings(StudySettings):
    """Settings of the study, the same for all agents. Values without a source are from trial runs.

    Raises ValueError unless the points of a curve coincide with ends of episodes.
    """

    num_envs: int = 16
    eta: float = 0.0003  # of VIME's bonus
    agent: UnrealSettings = LABYRINTH_AGENT
    vime: VimeSettings = LABYRINTH_MODEL

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_envs", self.num_envs)
        part = self.points * self.num_envs * LABYRINTH_STEPS
        if self.length % part:
            wanted = f"a multiple of {part}, so that points end with episodes"
            raise ValueError(f"length must be {wanted}, got {self.length}")


# ---------------------------------------------------------------- agents


def labyrinth_env(rooms: int) -> gym.Env[Any, Any]:
    return gym.make(LABYRINTH, rooms=rooms, disable_env_checker=True)


def agent_of(job: StudyJob) -> UnrealSettings:
    """The study's agent, with only the named additions on."""
    agent = AGENTS[job.explorer]
    settings = job.settings.agent
    off = {task: 0.0 for task in AUXILIARY if task not in agent.tasks}
    weights = replace(settings.weights, **off)
    own = replace(settings, weights=weights, control=agent.control)
    if agent.bonus_sees is None:
        return own
    return replace(own, eta=job.settings.eta, bonus_sees=agent.bonus_sees)


def labyrinth_bonus(job: StudyJob, env: gym.Env[Any, Any], rng: Generator) -> Bonus:
    sees = AGENTS[job.explorer].bonus_sees
    if sees is None:
        return NoBonus()
    sizes = agent_of(job).sizes(env)
    num_seen = sizes.inputs if sees == "pixels" else sizes.hidden
    return model_init(num_seen, env.action_space, rng, job.settings.vime)


# ---------------------------------------------------------------- drift


def drift(then: Array, now: Array) -> float:
    """Drift of features (..., H) relative to their variance.

        mean ‖now − then‖² / mean ‖now − mean now‖²

    0 for equal features, 2 for independent features of equal mean and variance.

    >>> drift(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]]))
    1.0
    """
    mean = now.mean(axis=tuple(range(now.ndim - 1)))  # (H,)
    return float(np.sum((now - then) ** 2) / np.sum((now - mean) ** 2))


def drifts(
    thetas: deque[Array], steps: Steps, sizes: UnrealSizes
) -> Iterator[tuple[int, float]]:
    """Each of AGES for which old weights exist, and the features' drift since then."""
    now, _ = hidden_activations(thetas[-1], steps, sizes)
    for age in AGES:
        if age < len(thetas):
            then, _ = hidden_activations(thetas[-1 - age], steps, sizes)
            yield age, drift(then, now)


# ---------------------------------------------------------------- film


def filmed_actions(
    theta: Array, agent: UnrealSettings, rooms: int, seed: int
) -> list[int]:
    """The actions of FILM_STEPS steps in this seed's maze, which `frames` redraws."""
    rng = np.random.default_rng([ROOT_SEED, seed])
    envs = [labyrinth_env(rooms)]
    position = begin(envs, agent, rng)
    steps, *_ = interact(theta, envs, position, rng.random((FILM_STEPS, 1)), agent)
    return steps.actions[:, 0].tolist()


class Frame(NamedTuple):
    maze: NDArray[np.uint8]  # (16 · height, 16 · width, 3), all of it
    view: NDArray[np.uint8]  # (20, 20, 3), the agent's view
    reward: float  # sum over the steps so far


def frames(actions: list[int], rooms: int, seed: int) -> list[Frame]:
    """The film's frames, from before the first step to after the last."""
    env: Any = gym.make(
        LABYRINTH, rooms=rooms, render_mode="rgb_array", disable_env_checker=True
    )
    position = begin([env], UnrealSettings(), np.random.default_rng([ROOT_SEED, seed]))
    shots = [Frame(env.render(), position.images[0].astype(np.uint8), 0.0)]
    for action in actions:
        view, reward, *_ = env.step(action)
        shots.append(Frame(env.render(), view, shots[-1].reward + float(reward)))
    return shots


# ---------------------------------------------------------------- runs


def a2c_of(job: StudyJob, num_updates: int) -> tuple[Array, Iterator[A2CIteration]]:
    """The weights before training, and the training."""
    agent = agent_of(job)
    init, *streams = np.random.default_rng([ROOT_SEED, job.seed, job.size]).spawn(5)
    envs = [labyrinth_env(job.size) for _ in range(job.settings.num_envs)]

    # the networks; weights are drawn in this order
    theta = unreal_init(agent.sizes(envs[0]), init)
    bonus = labyrinth_bonus(job, envs[0], init)

    learning = train_a2c(
        envs, theta, Streams(*streams), agent, num_updates=num_updates, bonus=bonus
    )
    return theta, learning


def run_labyrinth(job: StudyJob) -> Iterator[Value]:
    """The values of a run, by steps.

    return: mean return of the episodes that ended since the last point.
    drift 1, drift 10, drift 100: drift of the LSTM's features after so many updates, over
    each environment's last episode.
    film: the action of each step.
    """
    agent = agent_of(job)
    update_steps = job.settings.num_envs * agent.num_steps
    ends = parts_of(job.settings.length // update_steps, job.settings.points)
    theta, learning = a2c_of(job, ends[-1])
    sizes = agent.sizes(labyrinth_env(job.size))

    # kept between points: weights, the last episodes' steps, returns
    thetas = deque([theta], maxlen=max(AGES) + 1)
    recent: deque[Steps] = deque(maxlen=LABYRINTH_STEPS // agent.num_steps)
    returns: list[float] = []
    for number, seen in enumerate(learning, 1):
        thetas.append(seen.theta)
        recent.append(seen.steps)
        returns.extend(seen.episode_returns)
        if number not in ends:
            continue
        point = number * update_steps
        yield "return", point, float(np.mean(returns))
        returns = []
        if job.explorer == REMEMBERS:
            steps = joined(list(recent), axis=0)  # (ΣT, B, ...)
            for age, share in drifts(thetas, steps, sizes):
                yield f"drift {age}", point, share

    # the film of the trained agent
    if job.explorer == FILMED:
        actions = filmed_actions(thetas[-1], agent, job.size, job.seed)
        for step, action in enumerate(actions):
            yield "film", step, float(action)


# ---------------------------------------------------------------- table


def whole_training(rows: list[Row], name: str) -> Array:
    """Each seed's mean return over all points; a higher value means faster learning."""
    _, returns = curve_of(rows, name, "return")
    return returns.mean(axis=1)  # (seeds,)


def more_than_a2c(rows: list[Row], name: str) -> str:
    """The cell with the probability that `whole_training` is higher than A2C's."""
    if name == "A2C" or "A2C" not in explorers_in(rows):
        return ""
    return improvement_cell(whole_training(rows, name), whole_training(rows, "A2C"))


def drift_lines(rows: list[Row]) -> list[str]:
    """The line with the drift in the last quarter, for each age that runs reach."""
    measured = {row["measure"] for row in rows}
    ages = [age for age in AGES if f"drift {age}" in measured]
    cells = spread_cells(last_quarter(rows, REMEMBERS, f"drift {age}") for age in ages)
    head = [("updates", "drift of hidden features, last quarter")] if ages else []
    return aligned([*head, *zip(map(str, ages), cells)], left=(1,))


def labyrinth_table(rows: list[Row]) -> str:
    names = explorers_in(rows)
    trained = (whole_training(rows, name) for name in names)
    late = (last_quarter(rows, name, "return") for name in names)
    columns = [
        ["", *names],
        ["all training", *spread_cells(trained)],
        ["last quarter", *spread_cells(late)],
        ["P(more than A2C)", *(more_than_a2c(rows, name) for name in names)],
    ]

    # the title, and the drift below the table
    steps = max(row["point"] for row in rows)
    title = (
        "Labyrinth: return of an episode, median [quartiles]; "
        f"{steps} steps of training, {seeds_in(rows)}"
    )
    return "\n".join([titled(title, columns), "", *drift_lines(rows)]).rstrip()


# ---------------------------------------------------------------- picture


def draw_labyrinth(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Draw learning curves and the drift of features; below them the film."""
    from matplotlib.ticker import EngFormatter

    looks = looks_of(rows, AGENT_COLORS)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.9, 1.0))
    curves, strip = parts
    tasks, curiosity, aging = curves.subplots(1, 3)

    # the three panels
    draw_agents(tasks, "auxiliary tasks", rows, TAUGHT, looks)
    draw_agents(curiosity, "curiosity", rows, CURIOUS, looks)
    curiosity.sharey(tasks)
    draw_aging(aging, rows)

    # their shared parts
    for axes in (tasks, curiosity, aging):
        axes.title.set_fontsize("medium")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    curves.suptitle(f"Labyrinth: median and quartiles of {seeds_in(rows)}")
    draw_film(strip, rows)
    return looks


def draw_agents(
    axes: Any,
    title: str,
    rows: list[Row],
    names: tuple[str, ...],
    looks: dict[str, Style],
) -> None:
    """Draw the learning curves of these agents."""
    shown = {name: look for name, look in looks.items() if name in names}
    draw_measure(axes, rows, "return", shown)
    axes.set(title=title, xlabel="steps", ylabel="return of an episode")
    axes.set_ylim(0.0, None)
    finish(axes, "no runs")


def draw_aging(axes: Any, rows: list[Row]) -> None:
    """Draw the median drift of stored features, with a line for each age."""
    for age, line in zip(AGES, ("-", "--", ":")):
        points, values = curve_of(rows, REMEMBERS, f"drift {age}")
        if len(points):
            median = band(values, quartile_band)[1]
            label = f"after {age} update{'s' if age > 1 else ''}"
            look = Style(label, COLORS["vime"], line)
            draw_line(axes, points, median, look, 1.6)
            axes.lines[-1].set_label(label)

    # labels, if there is any drift
    if axes.lines:
        axes.legend(fontsize="small", frameon=False)
    axes.set(title="drift of hidden features", xlabel="steps", yscale="log")
    axes.set_ylabel("drift (share of the variance)")
    finish(axes, "no features stored")


def draw_film(figure: Any, rows: list[Row]) -> None:
    """Draw moments of the first seed: the whole maze, and below it the agent's view."""
    panels = figure.subplots(2, MOMENTS)
    for axes in panels.flat:
        axes.axis("off")
    filmed = [row for row in rows if row["measure"] == "film"]
    if not filmed:
        return

    # the first seed's film, redrawn
    seed = min(row["seed"] for row in filmed)
    mine = [row for row in filmed if row["seed"] == seed]
    actions = [int(row["value"]) for row in mine]
    shots = frames(actions, mine[0]["size"], seed)

    # its moments, equally spaced
    stride = max(1, (len(shots) - 1) // MOMENTS)
    for column, step in zip(panels.T, range(0, len(shots), stride)):
        shot = shots[step]
        column[0].imshow(shot.maze)
        column[1].imshow(shot.view)
        title = f"step {step}\nreturn {shot.reward:g}"
        column[0].set_title(title, fontsize="x-small")
    title = f"{FILMED} after training: the maze, and what the agent sees of it"
    figure.suptitle(title, fontsize="medium")


# ---------------------------------------------------------------- the study

LABYRINTH_STUDIES = {  # its size is in rooms
    "Labyrinth": Study(
        LabyrinthSettings(
            explorers=tuple(AGENTS), length=384_000, sizes=(3,), points=20
        ),
        run_labyrinth,
        labyrinth_table,
        draw_labyrinth,
        AGENT_COLORS,
        ("return",),
        LABYRINTH_MODULES,
        height=6.0,
    ),
}


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""The labyrinth: what each auxiliary task of UNREAL, and curiosity, adds to an actor-critic that remembers.

One study, `Labyrinth`: the same agent and mazes each time, a new maze every episode, so that a return tells how well
the agent finds its way where it has never been. Beside the learning curves it measures how fast the features age that
a bonus over hidden states has stored, and keeps a film of the trained agent.

Sources: [UNREAL] Jaderberg et al. 2016, arXiv 1611.05397; [Lecture] "Intrinsic motivation in RL", "Results: labyrinth"
and "state = hidden NN activation".
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

import fast_ref as fast
from agents_ref import Streams
from bnn_ref import Array, check_count
from vime_gym.labyrinth import LABYRINTH_STEPS
from vime_lab.figures import COLORS, Style, draw_line, finish
from vime_lab.statistics import aligned, band, improvement_cell, quartile_band
from vime_lab.studies.frame import (
    Row,
    Study,
    StudyJob,
    StudySettings,
    Value,
    curve_of,
    draw_bands,
    last_quarter,
    looks_of,
    names_of,
    parts_of,
    seeds_in,
    spread_cells,
)
from vime_lab.tasks import ROOT_SEED
from vime_lecture.recurrent import (
    Control,
    Sizes,
    Steps,
    UnrealSettings,
    View,
    begin,
    hidden_activations,
    interact,
    joined,
    train_a2c,
    unreal_init,
)
from vime_ref import Bonus, NoBonus, VimeSettings, vime_init

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ---------------------------------------------------------------- constants

MODULES = (
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
TASKS = (
    "value_replay",
    "control",
    "reward_prediction",
)  # weights that turn UNREAL's tasks on and off
AGES = (
    1,
    10,
    100,
)  # updates, after which stored features are compared with those of the same steps now
FILM = 24  # steps of the trained agent
PANELS = 12  # of them in the picture
AGENT = UnrealSettings(
    learning_rate=3e-3, gamma=0.95
)  # γ from trial runs, where 0.99 learned later
MODEL = VimeSettings(
    likelihood_sigma=0.5, prior_sigma=0.1, num_data=None, gradient=fast.elbo_grad,
    gains=fast.information_gains, num_samples=1, num_updates=5,
    batch_size=32, capacity=1000, min_rows=1000,  # 3 updates: features age
)  # fmt: skip

# ---------------------------------------------------------------- types


class Agent(NamedTuple):
    """What is added to A2C."""

    tasks: tuple[str, ...] = ()  # of TASKS
    control: Control = "pixel"
    bonus_sees: View | None = None  # None: there is no bonus


AGENTS = {
    "A2C": Agent(),
    "+ value replay": Agent(("value_replay",)),
    "+ reward prediction": Agent(("reward_prediction",)),
    "+ pixel control": Agent(("control",)),
    "+ feature control": Agent(("control",), control="feature"),
    "UNREAL": Agent(TASKS),
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
REMEMBERS = "+ VIME on hidden state"  # whose stored features age
FILMED = "UNREAL"


@dataclass(frozen=True)
class LabyrinthSettings(StudySettings):
    """Settings of the study, the same for all its agents. Values without a source are from trial runs.

    ValueError unless each of the points ends where episodes do.
    """

    num_envs: int = 16
    eta: float = 0.0003  # of VIME's bonus
    agent: UnrealSettings = AGENT
    vime: VimeSettings = MODEL

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_envs", self.num_envs)
        if self.length % (part := self.points * self.num_envs * LABYRINTH_STEPS):
            raise ValueError(
                f"length must be a multiple of {part}, so that points end with episodes, got {self.length}"
            )


# ---------------------------------------------------------------- building blocks


def labyrinth(rooms: int) -> gym.Env[Any, Any]:
    return gym.make(LABYRINTH, rooms=rooms, disable_env_checker=True)


def agent_of(job: StudyJob) -> UnrealSettings:
    """The study's agent, with nothing on but what its name says."""
    agent, settings = AGENTS[job.explorer], job.settings
    weights = replace(
        settings.agent.weights,
        **{task: 0.0 for task in TASKS if task not in agent.tasks},
    )
    own = replace(settings.agent, weights=weights, control=agent.control)
    return (
        replace(own, eta=settings.eta, bonus_sees=agent.bonus_sees)
        if agent.bonus_sees
        else own
    )


def bonus_of(job: StudyJob, env: gym.Env[Any, Any], rng: Generator) -> Bonus:
    sees, sizes = AGENTS[job.explorer].bonus_sees, agent_of(job).sizes(env)
    if sees is None:
        return NoBonus()
    return vime_init(
        sizes.inputs if sees == "pixels" else sizes.hidden,
        env.action_space,
        rng,
        job.settings.vime,
    )


def drift(then: Array, now: Array) -> float:
    """mean ‖now − then‖² / mean ‖now − mean now‖² of features (..., H): 0 for the same ones, 2 for independent ones
    of equal mean and variance.

    >>> drift(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]]))
    1.0
    """
    axes = tuple(range(now.ndim - 1))
    return float(np.sum((now - then) ** 2) / np.sum((now - now.mean(axis=axes)) ** 2))


def drifts(
    thetas: deque[Array], steps: Steps, sizes: Sizes
) -> Iterator[tuple[int, float]]:
    """Each of AGES that the weights go back to, and the drift since then of the features of these steps."""
    now, _ = hidden_activations(thetas[-1], steps, sizes)
    for age in AGES:
        if age < len(thetas):
            yield age, drift(hidden_activations(thetas[-1 - age], steps, sizes)[0], now)


def film(theta: Array, agent: UnrealSettings, rooms: int, seed: int) -> list[int]:
    """The actions of FILM steps in the maze that `frames` draws again for this seed."""
    rng, envs = np.random.default_rng([ROOT_SEED, seed]), [labyrinth(rooms)]
    position = begin(envs, agent, rng)
    steps, *_ = interact(theta, envs, position, rng.random((FILM, 1)), agent)
    return steps.actions[:, 0].tolist()


class Frame(NamedTuple):
    maze: NDArray[np.uint8]  # (16 · height, 16 · width, 3), all of it
    view: NDArray[np.uint8]  # (20, 20, 3), what the agent sees
    reward: float  # of all steps up to here


def frames(actions: list[int], rooms: int, seed: int) -> list[Frame]:
    """The film, from before its first step to after its last."""
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


def run_labyrinth(job: StudyJob) -> Iterator[Value]:
    """By steps: "return", the mean of the episodes that ended since the last point; "drift 1", "drift 10" and
    "drift 100", of the LSTM's features over each environment's last episode, after so many updates; "film", the action
    of each step.
    """
    settings, agent = job.settings, agent_of(job)
    init, *streams = np.random.default_rng([ROOT_SEED, job.seed, job.size]).spawn(5)
    envs = [labyrinth(job.size) for _ in range(settings.num_envs)]
    theta, bonus = unreal_init(agent.sizes(envs[0]), init), bonus_of(job, envs[0], init)
    update_steps = settings.num_envs * agent.num_steps
    ends = parts_of(settings.length // update_steps, settings.points)
    thetas = deque([theta], maxlen=max(AGES) + 1)
    recent: deque[Steps] = deque(maxlen=LABYRINTH_STEPS // agent.num_steps)
    returns: list[float] = []
    learning = train_a2c(
        envs, theta, Streams(*streams), agent, num_updates=ends[-1], bonus=bonus
    )
    for number, seen in enumerate(learning, 1):
        thetas.append(seen.theta)
        recent.append(seen.steps)
        returns.extend(seen.episode_returns)
        if number not in ends:
            continue
        yield "return", number * update_steps, float(np.mean(returns))
        returns = []
        if job.explorer == REMEMBERS:
            for age, share in drifts(
                thetas, joined(list(recent), axis=0), agent.sizes(envs[0])
            ):
                yield f"drift {age}", number * update_steps, share
    if job.explorer == FILMED:
        actions = film(thetas[-1], agent, job.size, job.seed)
        yield from (
            ("film", step, float(action)) for step, action in enumerate(actions)
        )


# ---------------------------------------------------------------- table


def whole_training(rows: list[Row], name: str) -> Array:
    """Each seed's mean return over all points, (seeds,): the more of it, the faster it learned."""
    return curve_of(rows, name, "return")[1].mean(axis=1)


def more_than_a2c(rows: list[Row], name: str) -> str:
    """The cell of the probability that a seed's `whole_training` is more than one of A2C's."""
    if name == "A2C" or "A2C" not in names_of(rows):
        return ""
    return improvement_cell(whole_training(rows, name), whole_training(rows, "A2C"))


def drift_lines(rows: list[Row]) -> list[str]:
    """The drift in the last quarter, by age, as far as runs are long enough."""
    measured = {row["measure"] for row in rows}
    ages = [age for age in AGES if f"drift {age}" in measured]
    cells = spread_cells(last_quarter(rows, REMEMBERS, f"drift {age}") for age in ages)
    head = [("updates", "drift of hidden features, last quarter")] if ages else []
    return aligned([*head, *zip(map(str, ages), cells)], left=(1,))


def labyrinth_table(rows: list[Row]) -> str:
    names = names_of(rows)
    columns = [
        ["", *names],
        ["all training", *spread_cells(whole_training(rows, name) for name in names)],
        [
            "last quarter",
            *spread_cells(last_quarter(rows, name, "return") for name in names),
        ],
        ["P(more than A2C)", *(more_than_a2c(rows, name) for name in names)],
    ]
    steps = max(row["point"] for row in rows)
    title = f"Labyrinth: return of an episode, median [quartiles]; {steps} steps of training, {seeds_in(rows)}"
    return "\n".join(
        [title, "", *aligned(list(zip(*columns)), left=(0,)), "", *drift_lines(rows)]
    ).rstrip()


# ---------------------------------------------------------------- picture


def draw_labyrinth(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Learning curves of the auxiliary tasks, of curiosity, the drift of features; below them the film."""
    from matplotlib.ticker import EngFormatter

    looks = looks_of(rows, AGENT_COLORS)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.9, 1.0))
    curves, strip = parts
    tasks, curiosity, aging = curves.subplots(1, 3)
    for axes, names, title in (
        (tasks, TAUGHT, "auxiliary tasks"),
        (curiosity, CURIOUS, "curiosity"),
    ):
        draw_bands(
            axes,
            rows,
            "return",
            {name: look for name, look in looks.items() if name in names},
        )
        axes.set(
            title=title, xlabel="steps", ylabel="return of an episode", ylim=(0.0, None)
        )
        finish(axes, "no runs")
    curiosity.sharey(tasks)
    for age, line in zip(AGES, ("-", "--", ":")):
        points, values = curve_of(rows, REMEMBERS, f"drift {age}")
        if len(points):
            label = f"after {age} update{'s' if age > 1 else ''}"
            draw_line(
                aging,
                points,
                band(values, quartile_band)[1],
                Style(label, COLORS["vime"], line),
                1.6,
            )
            aging.lines[-1].set_label(label)
    if aging.lines:
        aging.legend(fontsize="small", frameon=False)
    aging.set(
        title="ageing of hidden features",
        xlabel="steps",
        ylabel="drift (share of the variance)",
        yscale="log",
    )
    finish(aging, "no features stored")
    for axes in (tasks, curiosity, aging):
        axes.title.set_fontsize("medium")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    curves.suptitle(f"Labyrinth: median and quartiles of {seeds_in(rows)}")
    draw_film(strip, rows)
    return looks


def draw_film(figure: Any, rows: list[Row]) -> None:
    """PANELS moments of the first seed: the whole maze, and below it what the agent sees of it."""
    panels = figure.subplots(2, PANELS)
    for axes in panels.flat:
        axes.axis("off")
    filmed = [row for row in rows if row["measure"] == "film"]
    if not filmed:
        return
    seed = min(row["seed"] for row in filmed)
    shown = [row for row in filmed if row["seed"] == seed]
    shots = frames([int(row["value"]) for row in shown], shown[0]["size"], seed)
    for column, step in zip(
        panels.T, range(0, len(shots), max(1, (len(shots) - 1) // PANELS))
    ):
        for axes, image in zip(column, shots[step][:2]):
            axes.imshow(image)
        column[0].set_title(
            f"step {step}\nreturn {shots[step].reward:g}", fontsize="x-small"
        )
    figure.suptitle(
        f"{FILMED} after training: the maze, and what the agent sees of it",
        fontsize="medium",
    )


# ---------------------------------------------------------------- the study

LABYRINTH_STUDIES = {
    "Labyrinth": Study(
        LabyrinthSettings(explorers=tuple(AGENTS), length=384_000, sizes=(3,), points=20),  # rooms
        run_labyrinth, labyrinth_table, draw_labyrinth, AGENT_COLORS, MODULES, height=6.0,
    ),
}  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

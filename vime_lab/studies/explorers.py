"""Studies of explorers: the lecture's and VIME side by side on small tasks, seconds a run.

`Bandit`, `DeepSea`, `KeyDoorMaze` and `NoisyTV`. Except for the bandit's strategies, all explorers are the same agent,
Q-learning on a table, with a strategy or with a bonus.

Axes: A arms. Regret is in units of reward.

Sources: [Lecture] "Intrinsic motivation in RL", by topic; [UCB] Auer, Cesa-Bianchi and Fischer 2002, "Finite-time
Analysis of the Multiarmed Bandit Problem"; [SB] Sutton and Barto 2018, "Reinforcement Learning", second edition;
[Counts] Bellemare et al. 2016, arXiv 1606.01868; bsuite, arXiv 1908.03568, for DeepSea's rule and score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TransformReward
from numpy.random import Generator
from numpy.typing import ArrayLike

import fast_ref as fast
from agents_ref import Streams
from bnn_ref import Array
from vime_gym.rooms import SIGNS, DeepSea, KeyDoorMaze, deep_sea_score, deep_sea_solved
from vime_lab.figures import COLORS, Style, draw_line, finish
from vime_lab.statistics import aligned
from vime_lab.studies.frame import (
    Row,
    Study,
    StudyJob,
    StudySettings,
    Value,
    curve_of,
    draw_bands,
    first_cell,
    last_quarter,
    looks_of,
    names_of,
    parts_of,
    seeds_in,
    spread_cells,
)
from vime_lab.tasks import ROOT_SEED
from vime_lecture.controls import PredictionError
from vime_lecture.counts import PseudoCounts, VisitCounts
from vime_lecture.densities import dirichlet, image_cts
from vime_lecture.strategies import (
    Strategy,
    bandit_regret,
    boltzmann_strategy,
    check_values,
    epsilon_greedy_strategy,
    ucb_strategy,
)
from vime_lecture.tabular import Episode, TabularSettings, batch_of, q_learning
from vime_ref import Bonus, NoBonus, Vime, VimeSettings, vime_init

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
    "vime_lecture.strategies",
    "vime_lecture.tabular",
    "vime_lecture.counts",
    "vime_lecture.densities",
    "vime_lecture.controls",
    __name__,
)
CODE_BITS = 16  # of a state's code; 8 would number the states of the largest DeepSea that a network sees
FEWEST_SIZES = 3  # that a growth is fitted to: two always lie on a line
EXPLORER_COLORS = {
    "random": "0.55",
    "epsilon-greedy": COLORS["none"],
    "Boltzmann": "tab:cyan",
    "UCB": "tab:olive",
    "UCB-1": "tab:olive",
    "counts": "tab:green",
    "pseudo-counts": "tab:purple",
    "CTS": "tab:brown",
    "VIME": COLORS["vime"],
    "L2 error": COLORS["l2"],
}

EPISODIC = TabularSettings(
    learning_rate=1.0, batch_steps=1000
)  # 1, for moves are certain; batches of whole episodes
MODEL = VimeSettings(
    hidden_sizes=(32,), likelihood_sigma=0.5, prior_sigma=0.1, num_data=None, gradient=fast.elbo_grad,
    gains=fast.information_gains,
    num_samples=1, num_updates=5, batch_size=32, learning_rate=0.03, capacity=1000, min_rows=1,
)  # fmt: skip
MAZE, TV = (
    "vime_ref/KeyDoorMaze-v0",
    "vime_ref/NoisyTV-v0",
)

# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class ExplorerSettings(StudySettings):
    """`length` counts the pulls of a bandit, else a run's episodes at most; `sizes` are DeepSea's.

    Values without a source are from trial runs.
    """

    length_cts: int = 0  # episodes of context-tree switching, which takes 4 ms a step
    means: tuple[float, ...] = ()  # of a bandit's arms
    epsilon: float = 0.1  # [SB] example 6.5
    bonus_alpha: float | None = (
        None  # explorers with a bonus act by UCB with this α; None: by Boltzmann
    )
    alpha: float = 1.0  # of UCB; that of UCB-1
    beta: float = 0.05  # of counts and pseudo-counts: [Counts]
    eta: float = 10.0  # reward for a nat of VIME's, or a unit of the L2 error
    coordinates: bool = False  # what a network sees of a state; else a code
    warmup_episodes: int = (
        0  # of random actions, that a network learns from before the first bonus
    )
    warmup_updates: int = 500  # that of `VimeSettings`
    agent: TabularSettings = EPISODIC
    vime: VimeSettings = MODEL


class Growth(NamedTuple):
    """How the number of episodes n grows with the size N: n ∝ 2^(doublings·N), or n ∝ N^power."""

    doublings: float
    power: float
    exponential: bool  # whether the first law fits better


# ---------------------------------------------------------------- building blocks: laws


def ucb1_bound(means: ArrayLike, pulls: ArrayLike) -> Array:
    """8 Σ_{Δ_a > 0} ln t/Δ_a + (1 + π²/3) Σ_a Δ_a with Δ_a = μ* − μ_a, the shape of t: UCB-1's regret is below it.

    means: μ (A,) of rewards in [0, 1]; pulls: t ≥ 1. Raises ValueError elsewhere. [UCB] Theorem 1.

    >>> ucb1_bound([0.0, 0.5], [1]).round(3)
    array([2.145])
    """
    means, pulls = check_values("means", means), np.asarray(pulls, dtype=float)
    if np.any((means < 0) | (means > 1)):
        raise ValueError(
            f"means must be from 0 to 1, got {np.min(means)} to {np.max(means)}"
        )
    if not np.all(pulls >= 1):
        raise ValueError(f"pulls must be >= 1, got {np.min(pulls)}")
    gaps = np.max(means) - means
    return 8.0 * np.sum(1.0 / gaps[gaps > 0]) * np.log(pulls) + (
        1.0 + math.pi**2 / 3.0
    ) * np.sum(gaps)


def fitted_growth(sizes: ArrayLike, episodes: ArrayLike) -> Growth:
    """Least squares of log₂ n against N and against log₂ N; the smaller sum of squares tells which law fits better.

    Sizes N and numbers of episodes n, both (m,) and > 0. Raises ValueError unless m ≥ 3.

    >>> fitted_growth([6, 8, 10, 12], [64, 256, 1024, 4096])[::2]
    (1.0, True)
    """
    x, n = check_values("sizes", sizes), check_values("episodes", episodes)
    if len(x) < FEWEST_SIZES or len(x) != len(n) or min(x.min(), n.min()) <= 0:
        raise ValueError(
            f"sizes and episodes must be {FEWEST_SIZES} or more numbers > 0 each, got {x} and {n}"
        )
    laws = x, np.log2(x)
    lines = [np.polyfit(law, np.log2(n), 1) for law in laws]
    errors = [
        np.sum((np.polyval(line, law) - np.log2(n)) ** 2)
        for line, law in zip(lines, laws)
    ]
    doublings, power = (round(float(slope), 9) for slope, _ in lines)
    return Growth(doublings, power, bool(errors[0] < errors[1]))


# ---------------------------------------------------------------- building blocks: explorers


def strategy_of(job: StudyJob) -> Strategy:
    """How an explorer acts.

    One with a bonus must not stand still where a bonus has paid once, for gains shrink by orders of magnitude while a
    model learns, and old values stay: Boltzmann has no scale, and UCB tries every action again, if rarely.
    """
    settings: ExplorerSettings = job.settings
    strategies = {
        "random": epsilon_greedy_strategy(1.0),
        "epsilon-greedy": epsilon_greedy_strategy(settings.epsilon),
        "Boltzmann": boltzmann_strategy(),
        "UCB": ucb_strategy(settings.alpha),
        "UCB-1": ucb_strategy(),
    }
    with_bonus = (
        boltzmann_strategy()
        if settings.bonus_alpha is None
        else ucb_strategy(settings.bonus_alpha)
    )
    return strategies.get(job.explorer, with_bonus)


def warmed_up(
    model: Vime,
    env: gym.Env[Any, Any],
    features: Array,
    rng: Generator,
    settings: ExplorerSettings,
) -> Vime:
    """The model that has learned from some episodes of random actions, so that its first gains are no bonus for all."""
    if not settings.warmup_episodes:
        return model
    walk = q_learning(
        env, epsilon_greedy_strategy(1.0), NoBonus(), Streams(*rng.spawn(4)), settings.agent,
        num_episodes=settings.warmup_episodes,
    )  # fmt: skip
    batch = batch_of([step for episode in walk for step in episode.steps], features)
    learner = replace(
        model, settings=replace(model.settings, num_updates=settings.warmup_updates)
    )
    return replace(learner.update(batch, rng), settings=model.settings)


def bonus_of(
    job: StudyJob, env: gym.Env[Any, Any], rng: Generator
) -> tuple[Bonus, Array | None, float]:
    """An explorer's bonus, the features of the states that it sees (their numbers if None), and the bonus's weight.

    The networks see a state as its coordinates or as a random code of signs, in which nearness says nothing.
    """
    task: Any = env.unwrapped
    states = int(task.observation_space.n)
    settings: ExplorerSettings = job.settings
    if job.explorer == "counts":
        return VisitCounts(settings.beta), None, 1.0
    if job.explorer == "pseudo-counts":
        return (
            PseudoCounts(dirichlet(states, 1.0 / states), settings.beta),
            None,
            1.0,
        )  # one observation's worth
    if job.explorer == "CTS":
        images = np.array(
            [task.image(state).ravel() for state in range(states)], dtype=float
        )
        return (
            PseudoCounts(image_cts(task.drawing.shape, len(SIGNS)), settings.beta),
            images,
            1.0,
        )
    if job.explorer in ("VIME", "L2 error"):
        features = rng.choice([-1.0, 1.0], (states, CODE_BITS))
        if settings.coordinates:
            features = np.array([task.coordinates(state) for state in range(states)])
        model = vime_init(features.shape[1], env.action_space, rng, settings.vime)
        model = warmed_up(model, env, features, rng, settings)
        return (
            (model if job.explorer == "VIME" else PredictionError(model)),
            features,
            settings.eta,
        )
    return NoBonus(), None, 1.0


def episodes_of(job: StudyJob) -> int:
    return job.settings.length_cts if job.explorer == "CTS" else job.settings.length


def played(job: StudyJob, env: gym.Env[Any, Any]) -> Iterator[Episode]:
    """The episodes of a run."""
    init, *streams = np.random.default_rng([ROOT_SEED, job.seed, job.size]).spawn(5)
    bonus, features, weight = bonus_of(job, env, init)
    settings: ExplorerSettings = job.settings
    return q_learning(
        env, strategy_of(job), bonus, Streams(*streams), replace(settings.agent, eta=weight),
        num_episodes=episodes_of(job), features=features,
    )  # fmt: skip


def reachable(env: KeyDoorMaze) -> set[int]:
    """The states to which some way leads from the start."""
    found, left = {env.start()}, [env.start()]
    while left:
        state = left.pop()
        for action in range(env.num_actions):
            new, _, terminated, *_ = env.move(state, action)
            if new not in found:
                found.add(new)
                left += [] if terminated else [new]
    return found


# ---------------------------------------------------------------- runs


def run_bandit(job: StudyJob) -> Iterator[Value]:
    """The regret after t pulls, at the ends of equal parts and at powers of 10^(1/10); beside UCB-1 its bound."""
    settings: ExplorerSettings = job.settings
    noise = np.random.default_rng([ROOT_SEED, job.seed]).random((1, settings.length, 2))
    (regret,) = bandit_regret(settings.means, strategy_of(job), noise)
    decades = np.floor(10.0 ** np.arange(0.0, math.log10(settings.length), 0.1)).astype(
        int
    )
    for t in sorted({*decades.tolist(), *parts_of(settings.length, settings.points)}):
        yield "regret", t, float(regret[t - 1])
        if job.explorer == "UCB-1":
            yield "bound", t, float(ucb1_bound(settings.means, t))


def run_deep_sea(job: StudyJob) -> Iterator[Value]:
    """Episodes until the treasure is "found" and until the task is "solved", nan for never; the run ends there.

    Random actions never solve: their run ends with the treasure. Epsilon-greedy and Boltzmann learn what a move to the
    right costs long before they find the treasure, and then do worse than at random.
    """
    env = DeepSea(job.size, "index")
    wrong: list[bool] = []
    for episode in played(job, env):
        wrong.append(
            any(step.action != env.right[step.state] for step in episode.steps)
        )
        if not wrong[-1] and (job.explorer == "random" or deep_sea_solved(wrong)):
            break
    found = len(wrong) if all(wrong) else wrong.index(False) + 1
    yield "found", 0, math.nan if all(wrong) else float(found)
    solved = None if job.explorer == "random" else deep_sea_solved(wrong)
    yield "solved", 0, math.nan if solved is None else float(solved)


def run_maze(job: StudyJob) -> Iterator[Value]:
    """ "seen", share of the states, and "return", mean of the episodes since the last point, by episodes;
    the episode of the first "key" and the first "goal", nan for never; "visits", the share of steps into each cell.
    """
    env = gym.make(MAZE, observation="index", disable_env_checker=True)
    maze: Any = env.unwrapped
    num_states, num_cells = len(reachable(maze)), len(maze.cells)
    seen, visits, returns = {maze.start()}, np.zeros(num_cells), []
    first = {"key": math.nan, "goal": math.nan}
    ends = parts_of(episodes_of(job), job.settings.points)
    for number, episode in enumerate(played(job, env), 1):
        states = [step.next_state for step in episode.steps]
        seen.update(states)
        np.add.at(visits, np.array(states) % num_cells, 1.0)
        returns.append(episode.episode_return)
        reached = {"key": max(states) >= num_cells, "goal": returns[-1] > 0.0}
        first |= {
            name: float(number)
            for name, is_now in reached.items()
            if is_now and math.isnan(first[name])
        }
        if number in ends:
            yield "seen", number, len(seen) / num_states
            yield "return", number, float(np.mean(returns))
            returns = []
    yield from ((name, 0, value) for name, value in first.items())
    yield from (
        ("visits", cell, float(share))
        for cell, share in enumerate(visits / visits.sum())
    )


def silent(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment without its rewards: what is left is the bonus."""
    return TransformReward(env, lambda reward: 0.0)


def run_tv(job: StudyJob) -> Iterator[Value]:
    """By episodes, of those since the last point: "watching", the share of steps that end before the screen, and
    "pays", the mean bonus of such a step in units of the others' mean, nan where that is nothing.

    The environment pays nothing.
    """
    env = silent(gym.make(TV, observation="index", disable_env_checker=True))
    room: Any = env.unwrapped
    ends = parts_of(episodes_of(job), job.settings.points)
    states: list[int] = []
    gains: list[float] = []
    for number, episode in enumerate(played(job, env), 1):
        states += [step.next_state for step in episode.steps]
        gains += episode.gains
        if number in ends:
            watching = np.array(states) % len(room.cells) == room.places["T"]
            paid, others = (np.array(gains)[rows] for rows in (watching, ~watching))
            yield "watching", number, float(np.mean(watching))
            yield (
                "pays",
                number,
                float(np.mean(paid) / np.mean(others))
                if len(paid) and others.any()
                else math.nan,
            )
            states, gains = [], []


# ---------------------------------------------------------------- tables


def bandit_table(rows: list[Row]) -> str:
    """Regret after the last pull, and how much of it a thousand pulls of the last half cost."""
    curves = {name: curve_of(rows, name, "regret") for name in names_of(rows)}
    finals, slopes = [], []
    for t, regret in curves.values():
        half = int(np.searchsorted(t, t[-1] / 2))
        finals.append(regret[:, -1])
        slopes.append(1000.0 * (regret[:, -1] - regret[:, half]) / (t[-1] - t[half]))
    columns = [
        ["", *curves],
        ["regret [quartiles]", *spread_cells(finals)],
        ["per 1000 pulls of the last half", *spread_cells(slopes)],
    ]
    t, bound = curve_of(rows, "UCB-1", "bound")
    title = f"Bandit: pseudo-regret after {t[-1]} pulls, {seeds_in(rows)}; UCB-1's proven bound is {bound[0, -1]:.0f}"
    return "\n".join([title, "", *aligned(list(zip(*columns)), left=(0,))])


def measure_of(explorer: str) -> str:
    """What the table and picture of DeepSea show of an explorer: random actions can only find the treasure."""
    return "found" if explorer == "random" else "solved"


def deep_sea_medians(rows: list[Row], explorer: str) -> dict[int, float]:
    """By size the median over the seeds of the episodes needed, the upper one of two; never counts as inf."""
    sizes = sorted({row["size"] for row in rows if row["explorer"] == explorer})
    runs = [
        np.sort(curve_of(rows, explorer, measure_of(explorer), size)[1][:, 0])
        for size in sizes
    ]  # nan last
    return {
        size: float(np.nan_to_num(each[len(each) // 2], nan=math.inf))
        for size, each in zip(sizes, runs)
    }


def score_of(rows: list[Row], explorer: str) -> float:
    """Mean over the seeds of `deep_sea_score` of all the study's sizes; a size that was not tried is not solved."""
    sizes, mine = (
        sorted({row["size"] for row in rows}),
        [r for r in rows if r["explorer"] == explorer],
    )
    scores = []
    for seed in {row["seed"] for row in mine}:
        solved = {
            r["size"]: r["value"]
            for r in mine
            if r["seed"] == seed and r["measure"] == "solved"
        }
        episodes = {size: solved.get(size, math.nan) for size in sizes}
        scores.append(
            deep_sea_score(
                {
                    size: None if math.isnan(n) else int(n)
                    for size, n in episodes.items()
                }
            )
        )
    return float(np.mean(scores))


def growth_cells(medians: dict[int, float]) -> list[str]:
    """How the medians grow: doublings a row, the power of N, and the better of the two."""
    finite = {
        size: episodes for size, episodes in medians.items() if math.isfinite(episodes)
    }
    if len(finite) < FEWEST_SIZES:
        return ["", "", "too few sizes"]
    growth = fitted_growth(list(finite), list(finite.values()))
    law = f"2^({growth.doublings:.2f} N)", f"N^{growth.power:.1f}"
    return [*law, "2^N" if growth.exponential else "power of N"]


def episodes_cell(episodes: float | None) -> str:
    return (
        "" if episodes is None else "-" if math.isinf(episodes) else f"{episodes:.0f}"
    )


def deep_sea_table(rows: list[Row]) -> str:
    """Median episodes to solve each size; then scores and fitted growth."""
    sizes = sorted({row["size"] for row in rows})
    table, laws = (
        [["", *map(str, sizes)]],
        [["", "score", "growth", "or", "fits better"]],
    )
    for name in names_of(rows):
        medians = deep_sea_medians(rows, name)
        table.append([name, *(episodes_cell(medians.get(size)) for size in sizes)])
        score = "" if name == "random" else f"{score_of(rows, name):.2f}"
        laws.append([name, score, *growth_cells(medians)])
    title = f"DeepSea: episodes to solve N by N, medians of {seeds_in(rows)}"
    notes = [
        "random: episodes to find the treasure once; -: never in more than half of the runs; blank: not tried",
        "score: mean share of the sizes solved before episode 2^N + 100, of all sizes, tried or not",
    ]
    lines = [
        title,
        "",
        *aligned(table, left=(0,)),
        "",
        *notes,
        "",
        *aligned(laws, left=(0, 4)),
    ]
    return "\n".join(lines)


def maze_table(rows: list[Row]) -> str:
    """Share of states seen, first key and goal, returns at the beginning and at the end."""
    names = names_of(rows)
    columns = [
        ["", *names],
        ["episodes", *(str(curve_of(rows, name, "return")[0][-1]) for name in names)],
    ]
    columns.append(
        [
            "states seen",
            *spread_cells(curve_of(rows, name, "seen")[1][:, -1] for name in names),
        ]
    )
    for measure in ("key", "goal"):
        columns.append(
            [
                f"first {measure}",
                *(first_cell(curve_of(rows, name, measure)[1][:, 0]) for name in names),
            ]
        )
    columns.append(
        [
            "return, last quarter",
            *spread_cells(last_quarter(rows, name, "return") for name in names),
        ]
    )
    title = f"KeyDoorMaze: share of the states seen, episode of the first key and goal, return, {seeds_in(rows)}"
    return "\n".join([title, "", *aligned(list(zip(*columns)), left=(0,))])


def tv_table(rows: list[Row]) -> str:
    """Share of the steps before the screen, over all points and in the last quarter, and what one pays."""
    names = names_of(rows)
    columns = [
        ["", *names],
        [
            "watching",
            *spread_cells(
                curve_of(rows, name, "watching")[1].mean(axis=1) for name in names
            ),
        ],
        [
            "in the last quarter",
            *spread_cells(last_quarter(rows, name, "watching") for name in names),
        ],
        [
            "pays, others 1",
            *spread_cells(last_quarter(rows, name, "pays") for name in names),
        ],
    ]
    title = f"NoisyTV: share of the steps before the screen, and what one pays in units of the others, {seeds_in(rows)}"
    return "\n".join([title, "", *aligned(list(zip(*columns)), left=(0,))])


# ---------------------------------------------------------------- pictures


def draw_bandit(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    looks = looks_of(rows, EXPLORER_COLORS)
    t, bound = curve_of(rows, "UCB-1", "bound")
    proven = Style("UCB-1's proven bound", "black", "--")
    for axes, scale, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("linear", "log"),
        ("what grows like t is straight", "what grows like ln t is straight"),
    ):
        draw_bands(axes, rows, "regret", looks)
        draw_line(axes, t, bound[0], proven, 1.0)
        axes.set(xscale=scale, xlabel="pulls t", ylim=(0.0, None))
        axes.set_title(title, fontsize="medium")
        finish(axes, "no pulls")
    figure.axes[0].set_ylabel("pseudo-regret (reward)")
    figure.suptitle(
        f"Bandit: regret against pulls, median and quartiles of {seeds_in(rows)}"
    )
    return {**looks, proven.label: proven}


def draw_deep_sea(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Each run a dot, the medians a line; where the median is never, a cross at the top."""
    looks = looks_of(rows, EXPLORER_COLORS)
    axes = figure.subplots()
    sizes = np.array(sorted({row["size"] for row in rows}))
    top = 1.6 * max(
        [
            2.0 ** float(sizes[0]),
            *(row["value"] for row in rows if math.isfinite(row["value"])),
        ]
    )
    for place, (name, look) in enumerate(looks.items()):
        measure = measure_of(name)
        shift = 0.12 * (place - (len(looks) - 1) / 2)  # so that none hides another
        mine = [
            row for row in rows if (row["explorer"], row["measure"]) == (name, measure)
        ]
        x, y = np.array([(row["size"] + shift, row["value"]) for row in mine]).T
        axes.plot(x, y, "o", color=look.color, markersize=3, alpha=0.4)
        medians = deep_sea_medians(rows, name)
        x, y = np.array([*medians]) + shift, np.array([*medians.values()])
        draw_line(axes, x[y < math.inf], y[y < math.inf], look, 1.6)
        axes.plot(
            x[y == math.inf], np.full(np.sum(y == math.inf), top), "x", color=look.color
        )
    laws = {"$2^N$": ("--", 2.0**sizes), "$N^2$": (":", 1.0 * sizes**2)}
    for name, (line, law) in laws.items():
        looks[name] = Style(name, "black", line)
        draw_line(axes, sizes[law < top], law[law < top], looks[name], 1.0)
    axes.set(
        yscale="log", xlabel="size N (cells a side)", ylabel="episodes", xticks=sizes
    )
    finish(axes, "no runs")
    title = "of random actions: to find the treasure once; a cross: never, in more than half of the runs"
    figure.suptitle(
        f"DeepSea: episodes to solve N by N, medians of {seeds_in(rows)}\n{title}",
        fontsize="medium",
    )
    return looks


def draw_maze(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    """Learning curves, and beside them where each explorer has been."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    looks = looks_of(rows, EXPLORER_COLORS)
    colors = colormaps["viridis"].with_extremes(bad="0.8")  # walls
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.0, 1.25))
    left, right = halves
    panels = left.subplots(2, 1, sharex=True)
    for axes, measure, title in zip(
        panels, ("seen", "return"), ("share of states seen", "return of an episode")
    ):
        draw_bands(axes, rows, measure, looks)
        axes.set(ylabel=title, ylim=(-0.03, 1.03))
        finish(axes, "no episodes")
    panels[-1].set_xlabel("episodes")
    left.suptitle(
        f"KeyDoorMaze: median and quartiles of {seeds_in(rows)}", fontsize="medium"
    )
    maze = KeyDoorMaze("index")
    maps = right.subplots(2, math.ceil(len(looks) / 2), squeeze=False)
    for axes in maps.flat:
        axes.axis("off")
    for axes, name in zip(maps.flat, looks):
        _, shares = curve_of(rows, name, "visits")
        grid = np.full(maze.drawing.shape, np.nan)
        grid[tuple(np.array(maze.cells).T)] = np.maximum(shares.mean(axis=0), 1e-5)
        image = axes.imshow(
            np.ma.masked_invalid(grid), norm=LogNorm(1e-4, 1.0), cmap=colors
        )
        axes.set_title(name, fontsize="small")
        for sign in "AKDG":
            row, column = maze.cells[maze.places[sign]]
            axes.text(
                column, row, sign, color="white", fontsize=6, ha="center", va="center"
            )
    bar = right.colorbar(image, ax=maps, fraction=0.03, pad=0.02)
    bar.set_label("share of steps into a cell")
    right.suptitle(
        "where they have been (A start, K key, D door, G goal)", fontsize="medium"
    )
    return looks


def draw_tv(figure: Figure, rows: list[Row]) -> dict[str, Style]:
    looks = looks_of(rows, EXPLORER_COLORS)
    watching, pays = figure.subplots(1, 2)
    draw_bands(watching, rows, "watching", looks)
    watching.set(
        xlabel="episodes", ylabel="share of steps before the screen", ylim=(-0.03, 1.03)
    )
    draw_bands(pays, rows, "pays", looks)
    pays.set(
        xlabel="episodes", ylabel="mean bonus of such a step, others 1", yscale="log"
    )
    pays.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
    for axes in (watching, pays):
        finish(axes, "no episodes")
    figure.suptitle(
        f"NoisyTV: watching noise, and what it pays; median and quartiles of {seeds_in(rows)}"
    )
    return looks


# ---------------------------------------------------------------- the studies

# A horizon of about half a way through the maze; networks learn every 10 steps.
STEPWISE = TabularSettings(gamma=0.9, batch_steps=10)
EXPLORER_STUDIES = {
    "Bandit": Study(
        ExplorerSettings(
            explorers=("random", "epsilon-greedy", "Boltzmann", "UCB-1"),
            length=10_000,
            means=tuple(np.linspace(0.1, 0.9, 10).tolist()),
        ),
        run_bandit, bandit_table, draw_bandit, EXPLORER_COLORS, MODULES,
    ),
    "DeepSea": Study(
        ExplorerSettings(
            explorers=("random", "epsilon-greedy", "Boltzmann", "UCB", "counts", "pseudo-counts", "VIME"),
            length=10_000,  # bsuite
            sizes=(6, 8, 10, 12, 14, 17, 20, 25, 30),
            largest=(("random", 17), ("epsilon-greedy", 17), ("Boltzmann", 17), ("UCB", 17), ("VIME", 14)),
            eta=30.0,
            bonus_alpha=0.03,
        ),
        run_deep_sea, deep_sea_table, draw_deep_sea, EXPLORER_COLORS, MODULES,
    ),
    "KeyDoorMaze": Study(
        ExplorerSettings(
            explorers=("random", "epsilon-greedy", "Boltzmann", "UCB", "counts", "pseudo-counts", "CTS", "VIME"),
            length=100, length_cts=20, points=20, agent=STEPWISE, warmup_episodes=2,
        ),
        run_maze, maze_table, draw_maze, EXPLORER_COLORS, MODULES, height=4.8,
    ),
    "NoisyTV": Study(
        ExplorerSettings(
            explorers=("random", "counts", "L2 error", "VIME"),
            length=200, points=20, agent=STEPWISE, warmup_episodes=2, coordinates=True,
        ),
        run_tv, tv_table, draw_tv, EXPLORER_COLORS, MODULES,
    ),
}  # fmt: skip


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

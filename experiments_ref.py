"""The command line: train agents with and without curiosity on a task, and check other implementations.

`vime-ref run` trains every bonus on every seed in parallel processes and writes a learning curve, the
settings and two pictures. A run is a function of its seed: the number of jobs does not change a figure.
`vime-ref check` and `vime-ref fuzz` are `crosscheck_ref.check` and `fuzz_ref.fuzz`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a process, set before NumPy loads: runs share the cores

import argparse
import csv
import importlib.util
import json
import operator
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import gymnasium as gym
import numpy as np

from agents_ref import AgentSettings, Iteration, Streams, policy_init, train, value_init
from bnn_ref import Array
from crosscheck_ref import Report, check
from fuzz_ref import FuzzReport, fuzz
from protocol_ref import DTYPES, UsageError
from vime_ref import Bonus, NoBonus, VimeSettings, vime_init

# ---------------------------------------------------------------- constants

ROOT_SEED = 0  # run number s draws from numpy.random.default_rng([ROOT_SEED, s])
RUN_EXTRA = ("tqdm", "matplotlib", "joblib")
PACKAGES = ("vime-ref", "numpy", "scipy", "autograd", "gymnasium", *RUN_EXTRA)
COLUMNS = ("task", "bonus", "seed", "iteration", "steps", "return_mean", "return_max", "gain_median", "wall_s")
POLL_SECONDS = 0.2
VISITS_EVERY = 5  # one visited state in five is drawn

# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class Task:
    """A task's environment and settings, the same for all bonuses and seeds."""

    env_id: str
    iterations: int  # of agent.batch_steps steps
    agent: AgentSettings
    vime: VimeSettings
    hidden_sizes: tuple[int, ...]  # of policy and value function
    axes: tuple[str, str]  # names of the first two observations, for the picture of visited states


TASKS = {
    "SparseMountainCar": Task(
        env_id="envs_ref:vime_ref/SparseMountainCar-v0",
        iterations=20,
        agent=AgentSettings(eta=1e-4),
        vime=VimeSettings(),
        hidden_sizes=(32,),
        axes=("position (the goal is at 0.45)", "velocity"),
    )
}
BONUSES = ("vime", "none")


class Job(NamedTuple):
    """One run: what a worker needs to know."""

    task_name: str
    bonus_name: str
    seed: int
    iterations: int
    eta: float
    rows_file: Path  # where its rows appear as they come


class Result(NamedTuple):
    """What a run returns: its rows of the learning curve and the first two observations of visited states."""

    rows: list[dict[str, Any]]
    visits: Array  # (n, 2)


# ---------------------------------------------------------------- one run


def observed(env: gym.Env[Any, Any]) -> int:
    """The number of observation dimensions."""
    return int(np.prod(env.observation_space.shape or ()))


def bonus_init(name: str, task: Task, env: gym.Env[Any, Any], rng: np.random.Generator) -> Bonus:
    if name == "none":
        return NoBonus()
    return vime_init(observed(env), env.action_space, rng, task.vime)


def start(job: Job) -> tuple[AgentSettings, Iterator[Iteration]]:
    """A job's settings and its training, still to be stepped through; equal seeds start from equal policies."""
    task = TASKS[job.task_name]
    env = gym.make(task.env_id, disable_env_checker=True)
    init, *streams = np.random.default_rng([ROOT_SEED, job.seed]).spawn(5)
    policy = policy_init(observed(env), env.action_space, init, task.hidden_sizes)
    value = value_init(observed(env), init, task.hidden_sizes)
    bonus = bonus_init(job.bonus_name, task, env, init)
    settings = replace(task.agent, eta=job.eta)
    return settings, train(env, policy, bonus, value, Streams(*streams), settings, num_iterations=job.iterations)


def run_job(job: Job) -> Result:
    """Train one agent; its rows go to the job's file as they come."""
    began = time.perf_counter()
    settings, iterations = start(job)
    rows: list[dict[str, Any]] = []
    visits = []
    with job.rows_file.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        for iteration, seen in enumerate(iterations):
            returns = seen.episode_returns if len(seen.episode_returns) else np.array([np.nan])
            row = {
                "task": job.task_name,
                "bonus": job.bonus_name,
                "seed": job.seed,
                "iteration": iteration,
                "steps": (iteration + 1) * settings.batch_steps,
                "return_mean": float(returns.mean()),
                "return_max": float(returns.max()),
                "gain_median": float(np.median(seen.gains)),
                "wall_s": round(time.perf_counter() - began, 3),
            }
            rows.append(row)
            writer.writerow(row)
            file.flush()
            visits.append(seen.batch.observations[::VISITS_EVERY, :2])
    return Result(rows, np.concatenate(visits))


# ---------------------------------------------------------------- many runs


def run_jobs(jobs: Sequence[Job], num_processes: int) -> list[Result]:
    """All jobs in parallel processes, with one progress bar; results in the order of the jobs."""
    from joblib import Parallel, delayed

    finished = threading.Event()
    watcher = threading.Thread(target=show_progress, args=(jobs, finished))
    watcher.start()
    try:
        return list(Parallel(n_jobs=num_processes)(delayed(run_job)(job) for job in jobs))
    finally:
        finished.set()
        watcher.join()


def show_progress(jobs: Sequence[Job], finished: threading.Event) -> None:
    """A bar over the iterations of all jobs, with the newest iteration, return and gain, until finished."""
    from tqdm import tqdm

    with tqdm(total=sum(job.iterations for job in jobs), unit="iteration", dynamic_ncols=True) as bar:
        done = False
        while not done:
            done = finished.wait(POLL_SECONDS)
            files = sorted((job.rows_file for job in jobs if job.rows_file.exists()), key=lambda f: f.stat().st_mtime)
            rows = [row for file in files for row in written_rows(file)]
            if len(rows) > bar.n:
                newest = rows[-1]
                bar.set_description(f"{newest['task']} {newest['bonus']} seed {newest['seed']}", refresh=False)
                gain, mean = float(newest["gain_median"]), float(newest["return_mean"])
                bar.set_postfix_str(
                    f"iteration {newest['iteration']}, return {mean:.2f}, gain {gain:.1e}", refresh=False
                )
                bar.update(len(rows) - bar.n)


def written_rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a file that a run is still writing."""
    text = path.read_text()
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines(), COLUMNS))


# ---------------------------------------------------------------- results


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(low), float(median), float(high)


def summary(rows: Sequence[dict[str, Any]], bonuses: Sequence[str]) -> str:
    """The table at the end of a run: a line for each bonus."""
    lines = [f"{'task':<18} {'bonus':<6} {'seeds':>5}  {'first reward':<22} {'final return':<20} {'wall time'}"]
    for bonus in bonuses:
        mine = [row for row in rows if row["bonus"] == bonus]
        seeds = sorted({row["seed"] for row in mine})
        firsts = [
            min((r["iteration"] for r in mine if r["seed"] == s and r["return_max"] > 0), default=None) for s in seeds
        ]
        last = max(row["iteration"] for row in mine)
        low, median, high = quartiles([row["return_mean"] for row in mine if row["iteration"] == last])
        wall = np.mean([row["wall_s"] for row in mine if row["iteration"] == last])
        rewarded = [first for first in firsts if first is not None]
        reached = (
            f"iteration {np.median(rewarded):g} ({len(rewarded)} of {len(seeds)})"
            if rewarded
            else f"never (0 of {len(seeds)})"
        )
        lines.append(
            f"{mine[0]['task']:<18} {bonus:<6} {len(seeds):>5}  {reached:<22} "
            f"{median:.2f} [{low:.2f}, {high:.2f}]    {wall:.1f} s a seed"
        )
    return "\n".join(lines)


LABELS = {"vime": "TRPO + VIME", "none": "TRPO"}
COLORS = {"vime": "tab:red", "none": "tab:blue"}


def draw_learning_curve(path: Path, rows: Sequence[dict[str, Any]], bonuses: Sequence[str]) -> None:
    """Median over seeds of the mean return against steps, with the band between the quartiles."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for bonus in bonuses:
        mine = [row for row in rows if row["bonus"] == bonus]
        steps = sorted({row["steps"] for row in mine})
        bands = np.array([quartiles([r["return_mean"] for r in mine if r["steps"] == step]) for step in steps])
        axes.plot(steps, bands[:, 1], marker="o" if len(steps) == 1 else "", color=COLORS[bonus], label=LABELS[bonus])
        axes.fill_between(steps, bands[:, 0], bands[:, 2], color=COLORS[bonus], alpha=0.25, linewidth=0)
    seeds = len({row["seed"] for row in rows})
    axes.set(
        xlabel="environment steps",
        ylabel="return of an episode",
        title=f"{rows[0]['task']}: median and quartiles of {seeds} seed{'s' if seeds > 1 else ''}",
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def draw_state_visits(path: Path, visits: dict[str, Array], axis_names: tuple[str, str]) -> None:
    """Where each agent has been, as the share of its visited states in each cell, all seeds together."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(visits) + 0.5, 3.8), layout="constrained")
    panels = figure.subplots(1, len(visits), sharex=True, sharey=True, squeeze=False)[0]
    everything = np.concatenate(list(visits.values()))
    bounds = np.stack([everything.min(axis=0), everything.max(axis=0)], axis=1)
    for axes, (bonus, states) in zip(panels, visits.items()):
        counts, x_edges, y_edges = np.histogram2d(states[:, 0], states[:, 1], bins=60, range=bounds)
        shares = np.ma.masked_equal(counts.T / len(states), 0.0)
        mesh = axes.pcolormesh(x_edges, y_edges, shares, norm=LogNorm(1e-5, 1e-1), cmap="viridis")
        axes.set(title=LABELS[bonus], xlabel=axis_names[0])
    panels[0].set_ylabel(axis_names[1])
    figure.colorbar(mesh, ax=panels, label="share of visited states")
    figure.savefig(path, dpi=150)


def configuration(task_name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every setting of a run, and the versions of what computed it."""
    task = TASKS[task_name]
    settings = {**asdict(task), "iterations": arguments.iterations}
    settings["agent"] = {**settings["agent"], "eta": arguments.eta, "policy_step": task.agent.policy_step.__name__}
    return {
        "root_seed": ROOT_SEED,
        "task_name": task_name,
        "bonuses": arguments.bonus,
        "seeds": arguments.seeds,
        "jobs": arguments.jobs,
        "settings": settings,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def write_results(out: Path, config: dict[str, Any], results: dict[Job, Result], axis_names: tuple[str, str]) -> str:
    """The four files of a run in the folder `out`; returns the table."""
    bonuses = config["bonuses"]
    rows = [row for result in results.values() for row in result.rows]
    with (out / "learning_curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    draw_learning_curve(out / "learning_curve.png", rows, bonuses)
    visits = {
        bonus: np.concatenate([result.visits for job, result in results.items() if job.bonus_name == bonus])
        for bonus in reversed(bonuses)
    }
    draw_state_visits(out / "state_visits.png", visits, axis_names)
    return summary(rows, bonuses)


# ---------------------------------------------------------------- command line


class Parser(argparse.ArgumentParser):
    """argparse, with an error in one line."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: error: {message}\n")
        raise SystemExit(2)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text}")
    return int(text)


def weight(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a finite number >= 0, got {text}")
    return value


def seconds(text: str) -> float:
    if not (value := weight(text)) > 0.0:
        raise argparse.ArgumentTypeError(f"must be a finite number > 0, got {text}")
    return value


def defaults(setting: str) -> str:
    """A setting's default, for the help text: "the task's, ", and each task's."""
    values = [f"{operator.attrgetter(setting)(task):g}" for task in TASKS.values()]
    return "the task's, " + ", ".join(values)


def command_line() -> Parser:
    top = Parser(prog="vime-ref", description="VIME, the reference: run its experiments, check implementations.")
    commands = top.add_subparsers(dest="action", required=True, metavar="COMMAND", parser_class=Parser)
    add_run(commands)
    add_check(commands)
    add_fuzz(commands)
    return top


def add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="train with and without curiosity, and compare",
        description="Train an agent for each bonus and seed; write learning_curve.csv, config.json, learning_curve.png "
        "and state_visits.png, and print a table.",
    )
    run.add_argument("--task", choices=TASKS, default="SparseMountainCar", help="what to solve (default: %(default)s)")
    run.add_argument(
        "--bonus", nargs="+", choices=BONUSES, default=list(BONUSES), help="which agents to train (default: vime none)"
    )
    run.add_argument(
        "--seeds", type=count, default=3, metavar="N", help="runs of each agent, seeds 0 to N-1 (default: %(default)s)"
    )
    run.add_argument(
        "--iterations",
        type=count,
        metavar="N",
        help=f"times to sample {AgentSettings.batch_steps} steps and to learn (default: {defaults('iterations')})",
    )
    run.add_argument(
        "--eta",
        type=weight,
        metavar="X",
        help=f"reward for a gain of the running median, in units of reward (default: {defaults('agent.eta')})",
    )
    run.add_argument(
        "--jobs",
        type=count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="parallel processes (default: the number of cores, %(default)s)",
    )
    run.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: runs/TASK)")
    run.set_defaults(parser=run)


def add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="put the test vectors to an implementation",
        description="Put the test vectors to an implementation, the reference itself by default; print a table, and a "
        "line for each case that fails, with the known mistake that it matches.",
    )
    add_implementation(parser)
    parser.add_argument("--strict", action="store_true", help="accepting what should be refused fails")


def add_fuzz(commands: Any) -> None:
    parser = commands.add_parser(
        "fuzz",
        help="compare an implementation with the reference on drawn inputs",
        description="Draw inputs of each operation, compare an implementation with the reference, and print the "
        "smallest disagreement as a test vector.",
    )
    add_implementation(parser)
    parser.add_argument(
        "--examples", type=count, default=100, metavar="N", help="inputs of each operation (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the inputs (default: %(default)s)")


def add_implementation(parser: Parser) -> None:
    parser.add_argument(
        "impl", nargs="?", metavar="IMPL", help="Python module, or module:object, with functions named as operations"
    )
    parser.add_argument("--exec", metavar="CMD", dest="command", help="a program that answers lines of JSON instead")
    parser.add_argument("--only", metavar="NAMES", help="families, operations or ids of cases, parted by commas")
    parser.add_argument("--dtype", choices=DTYPES, default="f64", help="of arrays (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=seconds, default=10.0, metavar="S", help="seconds for an answer (default: %(default)g)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to this file as well")
    parser.set_defaults(parser=parser)


def check_run(arguments: argparse.Namespace) -> None:
    """Fill in the task's defaults; end with one line where a run could not succeed."""
    task = TASKS[arguments.task]
    arguments.bonus = list(dict.fromkeys(arguments.bonus))
    arguments.iterations = arguments.iterations or task.iterations
    arguments.eta = task.agent.eta if arguments.eta is None else arguments.eta
    arguments.out = arguments.out or Path("runs") / arguments.task
    missing = [name for name in RUN_EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        arguments.parser.error(f"run needs {', '.join(missing)}: pip install -e '.[run]'")
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=arguments.out).close()
    except OSError as error:
        arguments.parser.error(f"argument --out: can't write to {arguments.out}: {error.strerror}")


def run(arguments: argparse.Namespace) -> None:
    """Train, write, show."""
    began = time.perf_counter()
    config = configuration(arguments.task, arguments)
    rows_folder = Path(tempfile.mkdtemp(prefix=".rows-", dir=arguments.out))
    jobs = [
        Job(arguments.task, bonus, seed, arguments.iterations, arguments.eta, rows_folder / f"{bonus}-{seed}.csv")
        for bonus in arguments.bonus
        for seed in range(arguments.seeds)
    ]
    try:
        results = dict(zip(jobs, run_jobs(jobs, arguments.jobs)))
    finally:
        shutil.rmtree(rows_folder)
    table = write_results(arguments.out, config, results, TASKS[arguments.task].axes)
    print(
        f"\n{table}\n\nwrote {arguments.out}/ after {time.perf_counter() - began:.0f} s: "
        "learning_curve.csv, config.json, learning_curve.png, state_visits.png"
    )


def run_crosscheck(arguments: argparse.Namespace) -> int:
    """Check or fuzz, and print the report; the exit code."""
    given = {name: getattr(arguments, name) for name in ("command", "only", "dtype", "timeout")}
    report: Report | FuzzReport
    try:
        if arguments.action == "check":
            report = check(arguments.impl, strict=arguments.strict, **given)
        else:
            report = fuzz(arguments.impl, examples=arguments.examples, seed=arguments.seed, **given)
    except UsageError as error:
        arguments.parser.error(str(error))
    print(report)
    if arguments.json:
        try:
            arguments.json.write_text(report.to_json())
        except OSError as error:
            arguments.parser.error(f"argument --json: can't write to {arguments.json}: {error.strerror}")
    return 0 if report.ok else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `vime-ref`; the exit code."""
    arguments = command_line().parse_args(argv)
    try:
        if arguments.action != "run":
            return run_crosscheck(arguments)
        check_run(arguments)
        run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("\nvime-ref: interrupted\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

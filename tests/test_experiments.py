"""The command line of `experiments_ref`: what a run writes and shows, and how it refuses."""

import csv
import importlib.metadata
import importlib.util
import json
import platform
import re
import runpy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

import experiments_ref as experiments
from agents_ref import Iteration
from vime_ref import Batch

COLUMNS = "task,bonus,seed,iteration,steps,return_mean,return_max,gain_median,wall_s"
FILES = ["config.json", "learning_curve.csv", "learning_curve.png", "state_visits.png"]
TASK = "SparseMountainCar"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs start in an empty folder, which shows all that they leave behind."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of a few steps an iteration; new processes do not see it, so it goes with one job."""
    task = experiments.TASKS[TASK]
    small = replace(
        task,
        iterations=2,
        agent=replace(task.agent, batch_steps=550),
        vime=replace(task.vime, hidden_sizes=(4,), num_updates=5, num_samples=2),
        hidden_sizes=(4,),
    )
    monkeypatch.setitem(experiments.TASKS, TASK, small)


small = pytest.mark.usefixtures("_small")


def run(*arguments: str, out: str = "out", jobs: int = 1) -> list[dict[str, str]]:
    """The rows of a run's learning curve, without the time that they took."""
    assert experiments.main(["run", "--jobs", str(jobs), "--out", out, *arguments]) == 0
    rows = csv.DictReader(Path(out, "learning_curve.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "wall_s"} for row in rows]


def left_behind() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def column(rows: list[dict[str, str]], name: str, **where: str) -> list[str]:
    return [row[name] for row in rows if all(row[key] == value for key, value in where.items())]


# ---------------------------------------------------------------- a run


@small
def test_run_writes_four_files_and_shows_a_table(capsys):
    rows = run("--iterations", "3", "--seeds", "2")
    assert left_behind() == ["out", *(f"out/{name}" for name in FILES)]
    assert Path("out/learning_curve.csv").read_text().splitlines()[0] == COLUMNS
    key = [(row["task"], row["bonus"], row["seed"], row["iteration"], row["steps"]) for row in rows]
    steps = ("550", "1100", "1650")
    assert key == [(TASK, b, s, str(i), steps[i]) for b in ("vime", "none") for s in "01" for i in range(3)]
    assert set(column(rows, "gain_median", bonus="none")) == {"0.0"}
    assert column(rows, "gain_median", bonus="vime", iteration="0") == ["0.0", "0.0"]
    assert all(float(gain) > 0.0 for gain in column(rows, "gain_median", bonus="vime", iteration="2"))
    assert all(0.0 <= float(row["return_mean"]) <= float(row["return_max"]) <= 1.0 for row in rows)
    for name in ("learning_curve.png", "state_visits.png"):
        pixels = matplotlib.image.imread(f"out/{name}")
        assert pixels.shape[0] > 300
        assert pixels.std() > 0.0
    table = capsys.readouterr().out
    for name in (*FILES, "first reward", "final return", "wall time"):
        assert name in table
    for bonus in ("vime", "none"):
        assert re.search(rf"^{TASK} +{bonus} +2  .* of 2\) .*\d\.\d\d \[\d\.\d\d, \d\.\d\d\] .* s a seed$", table, re.M)


@small
def test_config_holds_every_setting_the_versions_and_the_root_seed():
    """Oracle: the numbers of the original code, as written down, not as read from the task."""
    run("--iterations", "1", "--seeds", "1", "--bonus", "none", "--eta", "0.25")
    config = json.loads(Path("out/config.json").read_text())
    assert {name: config[name] for name in ("root_seed", "task_name", "bonuses", "seeds", "jobs")} == {
        "root_seed": 0, "task_name": TASK, "bonuses": ["none"], "seeds": 1, "jobs": 1
    }  # fmt: skip
    assert config["settings"]["env_id"] == "envs_ref:vime_ref/SparseMountainCar-v0"
    assert config["settings"]["hidden_sizes"] == [4]
    assert config["settings"]["agent"] == {
        "eta": 0.25, "batch_steps": 550, "gamma": 0.99, "lam": 1.0, "normalize": True, "policy_step": "trpo_step"
    }  # fmt: skip
    assert config["settings"]["vime"] == {
        "hidden_sizes": [4], "likelihood_sigma": 5.0, "prior_sigma": 0.5, "num_data": 50.0, "step_size": 0.01,
        "method": "taylor", "local": False, "num_samples": 2, "num_updates": 5, "batch_size": 10,
        "learning_rate": 1e-3, "capacity": 100_000, "min_rows": 500,
    }  # fmt: skip
    packages = ("numpy", "scipy", "autograd", "gymnasium")
    expected = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
    assert config["settings"]["iterations"] == 1
    assert expected.items() <= config["versions"].items()
    assert "vime-ref" in config["versions"]


@small
def test_a_run_is_a_function_of_its_seed(capsys):
    rows, again = (run("--seeds", "2", out=out) for out in ("a", "b"))
    assert rows == again
    for name in ("learning_curve.png", "state_visits.png"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
    gains = [column(rows, "gain_median", bonus="vime", iteration="1", seed=seed)[0] for seed in "01"]
    assert gains[0] != gains[1]
    assert run("--seeds", "1", "--bonus", "vime") == [
        row for row in rows if (row["bonus"], row["seed"]) == ("vime", "0")
    ]


@small
def test_eta_0_gives_both_agents_the_same_states(monkeypatch):
    """Control: with eta = 1 they part, once the gains of the second iteration have paid."""
    seen: dict[str, Any] = {}
    write = experiments.write_results

    def keep(out: Path, config: Any, results: Any, axis_names: Any) -> str:
        seen.update({job.bonus_name: result.visits for job, result in results.items()})
        return write(out, config, results, axis_names)

    monkeypatch.setattr(experiments, "write_results", keep)
    run("--eta", "0", "--seeds", "1", "--iterations", "3")
    assert np.array_equal(seen["vime"], seen["none"])
    run("--eta", "1", "--seeds", "1", "--iterations", "3")
    assert not np.array_equal(seen["vime"], seen["none"])


@small
def test_run_takes_the_defaults_of_the_task_and_writes_to_runs(capsys):
    """A bonus named twice runs once."""
    assert experiments.main(["run", "--jobs", "1", "--seeds", "1", "--bonus", "none", "none"]) == 0
    assert left_behind() == ["runs", f"runs/{TASK}", *(f"runs/{TASK}/{name}" for name in FILES)]
    config = json.loads(Path("runs", TASK, "config.json").read_text())
    settings = config["settings"]
    assert (settings["iterations"], settings["agent"]["eta"], config["bonuses"]) == (2, 1e-4, ["none"])


@small
def test_iterations_in_which_no_episode_ends_have_no_return(monkeypatch, capsys):
    task = experiments.TASKS[TASK]
    monkeypatch.setitem(experiments.TASKS, TASK, replace(task, agent=replace(task.agent, batch_steps=20)))
    rows = run("--seeds", "1")
    assert {row["return_mean"] for row in rows} == {row["return_max"] for row in rows} == {"nan"}
    assert capsys.readouterr().out.count("never (0 of 1)") == 2


def test_two_jobs_give_the_figures_of_one(capsys):
    """The task as it is: workers are new processes."""
    arguments = "--iterations", "2", "--seeds", "1"
    assert run(*arguments, out="one", jobs=1) == run(*arguments, out="two", jobs=2)
    assert left_behind() == sorted(name for out in ("one", "two") for name in (out, *(f"{out}/{f}" for f in FILES)))


@small
def test_rows_against_hand_computed_statistics(monkeypatch):
    """Mean and maximum of the returns, median (2, where the mean is 4) of the gains."""
    batch = Batch(np.zeros((3, 2)), *(np.zeros(3) for _ in range(5)))
    seen = Iteration(None, None, None, (), batch, np.array([1.0, 9.0, 2.0]), np.array([0.0, 1.0, 0.0, 0.0]))
    monkeypatch.setattr(experiments, "train", lambda *arguments, **keywords: iter([seen]))
    job = experiments.Job(TASK, "none", 0, 1, 0.0, Path("rows.csv"))
    (row,), visits = experiments.run_job(job)
    assert (row["return_mean"], row["return_max"], row["gain_median"]) == (0.25, 1.0, 2.0)
    assert visits.shape == (1, 2)


def fake_row(bonus: str, seed: int, iteration: int, mean: float, best: float, wall: float) -> dict[str, Any]:
    values = (TASK, bonus, seed, iteration, 10 * (iteration + 1), mean, best, 0.0, wall)
    return dict(zip(COLUMNS.split(","), values))


def test_summary_against_hand_counted_rows():
    """Of five seeds three are rewarded, first in iterations 1, 2 and 6; final returns in quarters, 0 to 1."""
    firsts = [1, 2, 6, 99, 99]
    rows = [
        fake_row("vime", s, i, s / 4 if i == 7 else 0.0, float(i >= firsts[s]), 2.0 * i + s)
        for s in range(5)
        for i in range(8)
    ]
    rows += [fake_row("none", s, i, 0.0, 0.0, 1.0) for s in range(3) for i in range(8)]
    header, vime, none = experiments.summary(rows, ["vime", "none"]).splitlines()
    assert re.split(r" {2,}", header.replace("bonus ", "bonus  ")) == [
        "task", "bonus", "seeds", "first reward", "final return", "wall time"
    ]  # fmt: skip
    assert vime.split() == f"{TASK} vime 5 iteration 2 (3 of 5) 0.50 [0.25, 0.75] 16.0 s a seed".split()
    assert none.split() == f"{TASK} none 3 never (0 of 3) 0.00 [0.00, 0.00] 1.0 s a seed".split()


# ---------------------------------------------------------------- refusals


@pytest.fixture
def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise AssertionError("a run has started")

    monkeypatch.setattr(experiments, "run_jobs", fail)


def refusal(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The one line on stderr that a refused command ends with."""
    with pytest.raises(SystemExit) as exit_:
        experiments.main(arguments)
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize(
    ("flag", "values", "reason"),
    [
        ("--task", ["Nowhere"], "'Nowhere'"),
        ("--bonus", ["luck"], "'luck'"),
        ("--bonus", ["vime", "luck"], "'luck'"),
        ("--bonus", [], "expected at least one argument"),
        *(("--eta", [value], f">= 0, got {value}") for value in ("-1", "nan", "inf", "much")),
        *(
            (flag, [value], f"must be a whole number >= 1, got {value}")
            for flag in ("--iterations", "--seeds", "--jobs")
            for value in ("0", "-1", "1.5", "many")
        ),
        ("--out", ["file/below"], "can't write to file/below"),
        ("--out", ["file"], "can't write to file"),
    ],
)
def test_a_bad_value_ends_with_one_line_that_names_the_flag(flag, values, reason, capsys):
    Path("file").write_text("in the way")
    error = refusal(capsys, ["run", flag, *values])
    assert re.match(r"vime-ref( run)?: error: ", error)
    assert f"argument {flag}: " in error
    assert reason in error
    assert left_behind() == ["file"]


@pytest.mark.usefixtures("_no_work")
def test_a_folder_without_permission_ends_with_one_line(monkeypatch, capsys):
    """Simulated, for the superuser may write anywhere."""

    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert "argument --out: can't write to out: Permission denied" in refusal(capsys, ["run", "--out", "out"])


@pytest.mark.parametrize("missing", [["tqdm"], ["tqdm", "matplotlib", "joblib"]])
@pytest.mark.usefixtures("_no_work")
def test_a_missing_extra_ends_with_one_line_that_names_it(missing, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in missing else find(name, *rest))
    assert f"run needs {', '.join(missing)}: pip install -e '.[run]'" in refusal(capsys, ["run"])
    assert left_behind() == []


@pytest.mark.parametrize(
    ("arguments", "reason"), [([], "required: COMMAND"), (["fly"], "'fly'"), (["run", "--speed", "9"], "--speed 9")]
)
@pytest.mark.usefixtures("_no_work")
def test_a_bad_command_ends_with_one_line(arguments, reason, capsys):
    assert reason in refusal(capsys, arguments)
    assert left_behind() == []


def test_help_of_run_names_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit) as exit_:
        experiments.main(["run", "--help"])
    assert exit_.value.code == 0
    described = capsys.readouterr().out.split("options:")[1]
    flags = re.split(r"\n  (?=-)", described)[1:]
    named = {re.search(r"--\w+", text)[0]: " ".join(text.split()) for text in flags}
    assert set(named) == {"--help", "--task", "--bonus", "--seeds", "--iterations", "--eta", "--jobs", "--out"}
    assert named.pop("--help").startswith("-h, --help")
    defaults = [TASK, "vime none", "3", "the task's, 20", "the task's, 0.0001", "the number of cores, ", "runs/TASK"]
    for (flag, text), default in zip(named.items(), defaults, strict=True):
        assert f"(default: {default}" in text, flag


def test_the_installed_command_and_the_file_itself_run_main(monkeypatch, capsys):
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="vime-ref")
    assert command.load() is experiments.main
    monkeypatch.setattr("sys.argv", ["experiments_ref.py", "fly"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(experiments.__file__, run_name="__main__")
    assert exit_.value.code == 2
    assert "'fly'" in capsys.readouterr().err


# ---------------------------------------------------------------- runs that break off


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@small
def test_a_run_that_breaks_off_leaves_an_empty_folder(failure, monkeypatch, capsys):
    """A failing job's exception comes through; Ctrl-C ends with code 130 and a line."""

    def break_off(env: Any, *arguments: Any, **keywords: Any) -> Any:
        raise failure("in a job")

    monkeypatch.setattr(experiments, "train", break_off)
    command = ["run", "--jobs", "1", "--out", "out"]
    if failure is KeyboardInterrupt:
        assert experiments.main(command) == 130
        assert capsys.readouterr().err.endswith("\nvime-ref: interrupted\n")
    else:
        with pytest.raises(RuntimeError, match="in a job"):
            experiments.main(command)
    assert left_behind() == ["out"]


def test_a_job_that_fails_in_a_worker_leaves_an_empty_folder(monkeypatch):
    """Workers are new processes, which do not know a task that is added here."""
    monkeypatch.setitem(experiments.TASKS, "Elsewhere", experiments.TASKS[TASK])
    with pytest.raises(KeyError, match="Elsewhere"):
        experiments.main(["run", "--task", "Elsewhere", "--jobs", "2", "--out", "out"])
    assert left_behind() == ["out"]


def test_an_interrupted_run_ends_with_code_130_and_one_line(monkeypatch, capsys):
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "run_jobs", interrupted)
    assert experiments.main(["run", "--out", "out"]) == 130
    assert capsys.readouterr().err.strip() == "vime-ref: interrupted"
    assert left_behind() == ["out"]

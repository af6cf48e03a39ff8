"""The command line of `vime_lab.command_line`: what a run writes and shows, and how it refuses."""

import csv
import importlib.metadata
import importlib.util
import json
import platform
import re
import runpy
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from vime_lab import command_line as experiments
from vime_lab import runs
from vime_lab.runs import Result
from vime_lab.tasks import TASKS, Job

FILES = sorted(experiments.FILES)
PICTURES = [name for name in FILES if name.endswith("png")]
TASK = "SparseMountainCar"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs start in an empty folder, which shows all that they leave behind, and start no processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        runs, "supervise", lambda job, checkpoint: runs.run_job(job, checkpoint)
    )


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of a few steps an iteration."""
    task = TASKS[TASK]
    small = replace(
        task,
        iterations=2,
        agent=replace(task.agent, batch_steps=550),
        vime=replace(task.vime, hidden_sizes=(4,), num_updates=5, num_samples=2),
        policy_sizes=(4,),
        value_sizes=(3,),
    )
    monkeypatch.setitem(TASKS, TASK, small)


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are empty files, for drawing takes longer than all the rest."""
    for name in (
        "draw_learning_curve",
        "draw_state_visits",
        "draw_diagnostics",
        "draw_results",
    ):
        monkeypatch.setattr(experiments.figures, name, lambda path, *rest: path.touch())


drawn = pytest.mark.usefixtures("_small")
small = pytest.mark.usefixtures("_small", "_undrawn")
undrawn = pytest.mark.usefixtures("_undrawn")


def rows_of(folder: str) -> list[dict[str, str]]:
    """The rows of a learning curve, without the times that they took."""
    rows = csv.DictReader(Path(folder, "learning_curve.csv").read_text().splitlines())
    return [
        {name: value for name, value in row.items() if not name.endswith("_s")}
        for row in rows
    ]


def run(*arguments: str, out: str = "out") -> list[dict[str, str]]:
    assert experiments.main(["run", "--jobs", "1", "--out", out, *arguments]) == 0
    return rows_of(out)


def left_behind() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def column(rows: list[dict[str, str]], name: str, **where: str) -> list[str]:
    return [
        row[name]
        for row in rows
        if all(row[key] == value for key, value in where.items())
    ]


# ---------------------------------------------------------------- a run


@drawn
def test_run_writes_five_files_and_shows_tables(capsys):
    rows = run("--iterations", "3", "--seeds", "2")
    assert left_behind() == ["out", *(f"out/{name}" for name in FILES)]
    assert Path("out/learning_curve.csv").read_text().splitlines()[0] == ",".join(
        runs.COLUMNS
    )
    key = [
        tuple(
            row[name]
            for name in ("task", "bonus", "setting", "seed", "iteration", "steps")
        )
        for row in rows
    ]
    steps = ("550", "1100", "1650")
    assert key == [
        (TASK, b, "", s, str(i), steps[i])
        for b in ("vime", "none")
        for s in "01"
        for i in range(3)
    ]
    assert set(column(rows, "gain_median", bonus="none")) == {"0.0"}
    assert column(rows, "gain_median", bonus="vime", iteration="0") == ["0.0", "0.0"]
    assert all(
        float(gain) > 0.0
        for gain in column(rows, "gain_median", bonus="vime", iteration="2")
    )
    assert all(
        0.0 <= float(row["return_mean"]) <= float(row["return_max"]) <= 1.0
        for row in rows
    )
    for name in PICTURES:
        pixels = matplotlib.image.imread(f"out/{name}")
        assert pixels.shape[0] > 300
        assert pixels.std() > 0.0
    shown = capsys.readouterr()
    for text in (
        *FILES,
        "first reward",
        "sampling",
        "gains",
        "policy",
        "model",
        *(f"TRPO{x}" for x in ("", " + VIME")),
    ):
        assert text in shown.out
    assert "wrote out/ after " in shown.out
    assert "12/12" in shown.err
    assert re.search(
        rf"{TASK} (vime|none) seed [01]: .*iteration 2, return \d\.\d\d, gain \d\.\de",
        shown.err,
    )


@small
def test_config_holds_every_setting_the_versions_and_the_root_seed():
    """Oracle: the numbers of the original code, as written down, not as read from the task."""
    command = [
        "--iterations",
        "1",
        "--seeds",
        "1",
        "--bonus",
        "none",
        "--eta",
        "0.25",
        "--set",
        "agent.lam=0.5,1",
    ]
    run(*command)
    config = json.loads(Path("out/config.json").read_text())
    names = (
        "command",
        "root_seed",
        "task_name",
        "bonuses",
        "seeds",
        "jobs",
        "swept",
        "failed",
    )
    assert {name: config[name] for name in names} == {
        "command": " ".join(["vime-ref run --jobs 1 --out out", *command]), "root_seed": 0, "task_name": TASK,
        "bonuses": ["none"], "seeds": 1, "jobs": 1, "swept": {"agent.lam": [0.5, 1]}, "failed": [],
    }  # fmt: skip
    settings = config["settings"]
    assert settings["env_id"] == "vime_ref/SparseMountainCar-v0"
    assert (
        settings["policy_sizes"],
        settings["value_sizes"],
        settings["iterations"],
    ) == ([4], [3], 1)
    assert settings["trpo"] == {"max_kl": 0.01, "fisher_every": 1}
    agent = {
        "eta": 0.25,
        "batch_steps": 550,
        "gamma": 0.99,
        "lam": 0.5,
        "normalize": True,
    }
    assert settings["agent"] == {
        **agent,
        "curious_values": True,
    }  # where the original has False
    assert settings["vime"] == {
        "hidden_sizes": [4], "likelihood_sigma": 5.0, "prior_sigma": 0.5, "num_data": 50.0, "step_size": 0.01,
        "method": "taylor", "num_samples": 2, "num_updates": 5,
        "batch_size": 10, "learning_rate": 1e-3, "capacity": 100_000, "min_rows": 500,
    }  # fmt: skip
    packages = (
        "numpy",
        "scipy",
        "autograd",
        "gymnasium",
        "tqdm",
        "matplotlib",
        "joblib",
    )
    expected = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }
    assert expected.items() <= config["versions"].items()
    assert {"vime-ref", "mujoco"} < config["versions"].keys()


@drawn
def test_a_run_again_gives_the_same_rows_and_pictures():
    rows, again = (run("--seeds", "1", out=out) for out in ("a", "b"))
    assert rows == again
    for name in PICTURES:
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


@small
def test_a_run_is_a_function_of_its_seed():
    """Whatever runs beside it; control: another seed gives other gains."""
    rows = run("--seeds", "2")
    gains = [
        column(rows, "gain_median", bonus="vime", iteration="1", seed=seed)[0]
        for seed in "01"
    ]
    assert gains[0] != gains[1]
    assert run("--seeds", "1", "--bonus", "vime", out="alone") == [
        row for row in rows if (row["bonus"], row["seed"]) == ("vime", "0")
    ]


@small
def test_eta_0_gives_all_agents_the_same_states(monkeypatch):
    """Control: with eta = 1 they part, once the gains of the second iteration have paid."""
    seen: dict[str, Any] = {}
    write = experiments.write_results

    def keep(out: Path, config: Any, results: Sequence[Result]) -> str:
        seen.update({result.job.bonus_name: result.visits for result in results})
        return write(out, config, results)

    monkeypatch.setattr(experiments, "write_results", keep)
    command = [
        "--bonus",
        "vime",
        "l2",
        "none",
        "--seeds",
        "1",
        "--iterations",
        "3",
        "--eta",
    ]
    run(*command, "0")
    assert np.array_equal(seen["vime"], seen["none"])
    assert np.array_equal(seen["l2"], seen["none"])
    run(*command, "1", out="paid")
    assert not np.array_equal(seen["vime"], seen["none"])
    assert not np.array_equal(seen["l2"], seen["none"])


@small
def test_run_takes_the_defaults_of_the_task_and_writes_to_runs():
    """A bonus named twice runs once."""
    assert (
        experiments.main(
            ["run", "--jobs", "1", "--seeds", "1", "--bonus", "none", "none"]
        )
        == 0
    )
    assert left_behind() == [
        "runs",
        f"runs/{TASK}",
        *(f"runs/{TASK}/{name}" for name in FILES),
    ]
    config = json.loads(Path("runs", TASK, "config.json").read_text())
    settings = config["settings"]
    assert (settings["iterations"], settings["agent"]["eta"], config["bonuses"]) == (
        2,
        1e-4,
        ["none"],
    )


@drawn
def test_iterations_in_which_no_episode_ends_have_no_return(capsys):
    rows = run("--seeds", "1", "--set", "agent.batch_steps=20")
    assert (
        {row["return_mean"] for row in rows}
        == {row["return_max"] for row in rows}
        == {"nan"}
    )
    assert capsys.readouterr().out.count("never (0 of 1)") == 2


@small
def test_a_sweep_against_runs_of_each_setting(capsys):
    """A line of the table for each; names and values as given, from one --set or several."""
    plain = ["--seeds", "1", "--bonus", "vime", "--iterations", "3"]
    rows = run(
        *plain, "--set", "agent.eta=0,0.5", "--set", "vime.hidden_sizes=[3],[2,2]"
    )
    tables = capsys.readouterr().out
    parts = []
    for eta in ("0", "0.5"):
        for size in ("[3]", "[2, 2]"):
            name = f"agent.eta={eta} vime.hidden_sizes={size}"
            alone = run(
                *plain, "--eta", eta, "--set", f"vime.hidden_sizes={size}", out=name
            )
            assert set(column(alone, "setting")) == {""}
            parts += [{**row, "setting": name} for row in alone]
            assert tables.count(f"\n{name}\n") == 1
    assert rows == parts
    assert len(set(column(rows, "elbo", iteration="2"))) == 4


@small
def test_the_visits_of_a_sweep_are_those_of_its_first_setting(monkeypatch):
    """Two seeds of two iterations; all settings together would be 2200 and more."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        experiments.figures,
        "draw_state_visits",
        lambda path, *rest: path.touch() or seen.extend(rest),
    )
    run("--seeds", "2", "--bonus", "none", "--set", "agent.batch_steps=550,560")
    assert seen[0]["none"].shape == (2 * 2 * 550, 2)


@small
def test_several_tasks_have_a_folder_each(monkeypatch, capsys):
    monkeypatch.setitem(
        TASKS,
        "Twin",
        replace(TASKS[TASK], env_id="vime_ref/SparseCartPoleSwingup-v0"),
    )
    command = [
        "run",
        "--jobs",
        "1",
        "--seeds",
        "1",
        "--bonus",
        "none",
        "--out",
        "both",
        "--task",
    ]
    assert experiments.main([*command, TASK, "Twin", TASK]) == 0
    assert left_behind() == [
        "both",
        *(
            f"both/{t}{n}"
            for t in (TASK, "Twin")
            for n in ("", *(f"/{f}" for f in FILES))
        ),
    ]
    assert [
        {row["task"] for row in rows_of(f"both/{name}")} for name in (TASK, "Twin")
    ] == [{TASK}, {"Twin"}]
    assert rows_of(f"both/{TASK}") == run("--seeds", "1", "--bonus", "none", out="one")
    assert rows_of("both/Twin") != rows_of("one")
    shown = capsys.readouterr().out
    assert shown.count("wrote both/") == 2


@undrawn
def test_all_means_every_task(monkeypatch):
    planned = []

    def run_jobs(jobs: Sequence[Job], *rest: Any) -> list[Result]:
        planned.extend(jobs)
        return [Result(job, [], np.zeros((0, 2)), "planned only") for job in jobs]

    monkeypatch.setattr(experiments, "run_jobs", run_jobs)
    assert (
        experiments.main(
            ["run", "--task", "all", "--seeds", "2", "--bonus", "vime", "l2", "none"]
        )
        == 1
    )
    key = [(job.task_name, job.bonus_name, job.seed) for job in planned]
    assert key == [
        (task, bonus, seed)
        for task in TASKS
        for bonus in ("vime", "l2", "none")
        for seed in range(2)
    ]
    assert all(job.task == TASKS[job.task_name] for job in planned)


def test_a_row_that_is_being_written_is_left_out():
    whole = dict.fromkeys(runs.COLUMNS, "1")
    line = ",".join(whole.values())
    Path("rows.csv").write_text(f"{line}\n{line}\n{line[:5]}")
    assert experiments.written_rows(Path("rows.csv")) == [whole, whole]
    Path("rows.csv").write_text(line)
    assert experiments.written_rows(Path("rows.csv")) == []


@small
def test_the_bar_survives_a_file_that_vanishes_while_it_is_read(monkeypatch, capsys):
    """And one without a whole row; it shows the other file, and an error of another kind."""
    row = {**dict.fromkeys(runs.COLUMNS, "1"), "task": "Elsewhere"}

    def read(path: Path) -> list[dict[str, str]]:
        if path.name == "gone":
            path.unlink()
        path.stat()
        return [row] if path.name == "there" else []

    monkeypatch.setattr(experiments, "written_rows", read)
    jobs, files = (
        [Job(TASK, "none", "", 0, TASKS[TASK])],
        [*map(Path, ("never", "gone", "half", "there"))],
    )
    finished = Event()
    finished.set()
    for path in files[1:]:
        path.write_text("rows")
    experiments.show_progress(jobs, files, finished)
    assert not Path("gone").exists()
    assert "Elsewhere" in capsys.readouterr().err
    monkeypatch.setattr(experiments, "written_rows", lambda path: [row][1])
    with pytest.raises(IndexError):
        experiments.show_progress(jobs, files, finished)


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
        *(
            ("--eta", [value], f">= 0, got {value}")
            for value in ("-1", "nan", "inf", "much")
        ),
        *(
            (flag, [value], f"must be a whole number >= 1, got {value}")
            for flag in ("--iterations", "--seeds", "--jobs")
            for value in ("0", "-1", "1.5", "many")
        ),
        *(
            ("--set", values, reason)
            for values, reason in [
                (
                    ["agent.eta"],
                    "must be NAME=VALUE or NAME=VALUE,VALUE, got agent.eta",
                ),
                (
                    ["agent.eta="],
                    "must be NAME=VALUE or NAME=VALUE,VALUE, got agent.eta=",
                ),
                (["=1"], "setting must be one of iterations, "),
                (["agent.speed=1"], "setting must be one of eta, "),
                (["agent.eta=much"], "eta must be of the kind of 0.0001, got 'much'"),
                (["agent.eta=0,-1"], "eta must be >= 0"),
                (
                    ["vime.hidden_sizes=4"],
                    "hidden_sizes must be a list of whole numbers > 0, got 4",
                ),
                (
                    ["vime.method=guess"],
                    "method must be 'taylor' or 'exact', got 'guess'",
                ),
                (["agent.lam=1", "agent.lam=0.5"], "agent.lam is set more than once"),
                (
                    ["agent.lam=1", "--set", "agent.lam=0.5"],
                    "agent.lam is set more than once",
                ),
                (["agent.eta=1,2", "--eta", "3"], "agent.eta is set more than once"),
                (
                    ["iterations=1,2", "--iterations", "3"],
                    "iterations is set more than once",
                ),
            ]
        ),
        ("--out", ["file/below"], "can't write to file/below"),
        ("--out", ["file"], "can't write to file"),
    ],
)
def test_a_bad_value_ends_with_one_line_that_names_the_flag(
    flag, values, reason, capsys
):
    Path("file").write_text("in the way")
    error = refusal(capsys, ["run", flag, *values])
    assert re.match(r"vime-ref( run)?: error: ", error)
    assert f"argument {flag}: " in error
    assert reason in error
    assert [name for name in left_behind() if name not in ("runs", f"runs/{TASK}")] == [
        "file"
    ]


@pytest.mark.usefixtures("_no_work")
def test_a_folder_without_permission_ends_with_one_line(monkeypatch, capsys):
    """Simulated, for the superuser may write anywhere."""

    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert "argument --out: can't write to out: Permission denied" in refusal(
        capsys, ["run", "--out", "out"]
    )


MADE = ["--seeds", "2", "--bonus", "none", "--set", "agent.lam=0.5,1"]
OTHERS = {
    "seeds": [*MADE, "--seeds", "1"],
    "bonuses": [*MADE, "--bonus", "none", "vime"],
    "settings": [*MADE, "--eta", "0.5"],
    "swept": ["--seeds", "2", "--bonus", "none", "--set", "agent.lam=0.5,0.75"],
}


@small
def test_results_of_other_settings_are_refused_and_left(monkeypatch, capsys):
    """So are those of which nothing is known. Control: the same settings may be run again, in another way."""
    run(*MADE)
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    line = "vime-ref run: error: out holds the results of other settings: choose another --out, or remove it\n"
    capsys.readouterr()
    for arguments in OTHERS.values():
        assert refusal(capsys, ["run", "--out", "out", *arguments]) == line
        assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    monkeypatch.setitem(TASKS, "Twin", TASKS[TASK])
    assert refusal(capsys, ["run", "--out", "out", *MADE, "--task", "Twin"]) == line
    for content in ("{}", "[]", "no settings"):
        Path("out/config.json").write_text(content)
        assert refusal(capsys, ["run", "--out", "out", *MADE]) == line
    Path("out/config.json").unlink()
    assert refusal(capsys, ["run", "--out", "out", *MADE]) == line
    Path("out/config.json").write_bytes(before[Path("out/config.json")])
    again = run("--jobs", "2", *MADE)
    Path("out/learning_curve.csv").unlink()
    assert run("--seeds", "1", "--bonus", "none") == [
        {**row, "setting": ""}
        for row in again
        if (row["seed"], row["setting"]) == ("0", "agent.lam=1")
    ]


@small
def test_results_that_cannot_be_written_leave_those_before_and_the_checkpoints(
    monkeypatch, capsys
):
    """A disk that is full before the last picture; the command ends with one line, and --resume writes what is done."""

    def full(path: Path, *rest: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    run("--seeds", "1", "--bonus", "none")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(experiments.figures, "draw_diagnostics", full)
        assert experiments.main([*PLAIN, "none"]) == 1
    line = "vime-ref: can't write to out: No space left on device; the same command with --resume tries again"
    shown = capsys.readouterr().err.splitlines()
    assert (
        [text for text in shown if text.startswith("vime-ref")] == [shown[-1]] == [line]
    )
    assert {
        path: path.read_bytes() for path in Path("out").iterdir() if path.is_file()
    } == before
    assert sorted(path.name for path in Path("out").iterdir() if path.is_dir()) == [
        "checkpoints"
    ]
    monkeypatch.setattr(
        runs,
        "progressions",
        lambda job, begun, progress: iter([progress][len(progress.rows) == 2 :]),
    )
    run("--seeds", "1", "--bonus", "none", "--resume")
    assert left_behind() == ["out", *(f"out/{name}" for name in FILES)]
    assert (
        Path("out/learning_curve.csv").read_bytes()
        != before[Path("out/learning_curve.csv")]
    )


@pytest.mark.parametrize("missing", [["tqdm"], ["tqdm", "matplotlib", "joblib"]])
@pytest.mark.usefixtures("_no_work")
def test_a_missing_extra_ends_with_one_line_that_names_it(missing, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in missing else find(name, *rest),
    )
    assert f"run needs {', '.join(missing)}: pip install -e '.[run]'" in refusal(
        capsys, ["run"]
    )
    assert left_behind() == []


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize(
    ("tasks", "named"),
    [
        (["SparseHalfCheetah"], "SparseHalfCheetah"),
        ([TASK, "Walker2D"], "Walker2D"),
        (["all"], "SparseHalfCheetah"),
    ],
)
def test_missing_mujoco_ends_with_one_line(tasks, named, monkeypatch, capsys):
    """Control: a task that does not need it starts."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "mujoco" else find(name, *rest),
    )
    line = refusal(capsys, ["run", "--task", *tasks])
    assert f"error: {named} needs mujoco: pip install -e '.[run,mujoco]'" in line
    assert left_behind() == []
    with pytest.raises(AssertionError, match="a run has started"):
        experiments.main(["run", "--task", TASK])


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--timeout", "0", "must be a finite number > 0, got 0"),
        (
            "--json",
            "nowhere/report.json",
            "can't write to nowhere/report.json: No such file or directory",
        ),
    ],
)
def test_a_check_that_cannot_be_made_or_reported_ends_with_one_line(
    flag, value, reason, capsys
):
    """Control: with a value that fits the check succeeds."""
    with pytest.raises(SystemExit):
        experiments.main(["check", "--only", "softplus", flag, value])
    assert (
        capsys.readouterr().err == f"vime-ref check: error: argument {flag}: {reason}\n"
    )
    assert experiments.main(["check", "--only", "softplus", flag, "9"]) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: COMMAND"),
        (["fly"], "'fly'"),
        (["run", "--speed", "9"], "--speed 9"),
    ],
)
@pytest.mark.usefixtures("_no_work")
def test_a_bad_command_ends_with_one_line(arguments, reason, capsys):
    assert reason in refusal(capsys, arguments)
    assert left_behind() == []


def flags_of(capsys: pytest.CaptureFixture[str], command: str) -> dict[str, str]:
    """What the help text says of each flag."""
    with pytest.raises(SystemExit) as exit_:
        experiments.main([command, "--help"])
    assert exit_.value.code == 0
    described = capsys.readouterr().out.split("options:")[1]
    flags = re.split(r"\n  (?=-)", described)[1:]
    named = {re.search(r"--\w+", text)[0]: " ".join(text.split()) for text in flags}
    assert named.pop("--help").startswith("-h, --help")
    return named


def test_help_names_every_flag_with_its_default(capsys):
    expected = {
        "--task": TASK, "--bonus": "vime none", "--seeds": "3", "--iterations": "the task's, 20, ",
        "--eta": "the task's, 0.0001, ", "--set": "the task's", "--jobs": "joblib's configuration, else the number of ",
        "--resume": "refuse", "--out": "runs/TASK",
    }  # fmt: skip
    named = flags_of(capsys, "run")
    assert list(named) == list(expected)
    for flag, default in expected.items():
        assert f"(default: {default}" in named[flag], flag
    assert all(name in named["--task"] for name in TASKS)
    assert "(default: results.png)" in flags_of(capsys, "figure")["--out"]


def test_the_installed_command_and_the_file_itself_run_main(monkeypatch, capsys):
    (command,) = importlib.metadata.entry_points(
        group="console_scripts", name="vime-ref"
    )
    assert command.load() is experiments.main
    monkeypatch.setattr("sys.argv", ["command_line.py", "fly"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(experiments.__file__, run_name="__main__")
    assert exit_.value.code == 2
    assert "'fly'" in capsys.readouterr().err


# ---------------------------------------------------------------- runs that break off

PLAIN = ["run", "--jobs", "1", "--out", "out", "--seeds", "1", "--bonus"]
UNFINISHED = "vime-ref run: error: out/checkpoints holds an unfinished run: add --resume, or remove that folder\n"


@pytest.fixture
def checkpoint(_small: None) -> Path:
    """One of a run that was stopped after its first iteration."""
    path = Path("out/checkpoints/vime-0.npz")
    path.parent.mkdir(parents=True)
    assert (
        runs.run_job(Job(TASK, "vime", "", 0, TASKS[TASK]), path, lambda: True) is None
    )
    return path


@undrawn
def test_an_unfinished_run_is_not_begun_again(checkpoint, monkeypatch, capsys):
    """Nor is another begun over it; --resume goes on to the same figures, and cleans up."""
    content = checkpoint.read_bytes()
    for bonus in ("vime", "none"):
        assert refusal(capsys, [*PLAIN, bonus]) == UNFINISHED
    assert left_behind() == [
        "out",
        "out/checkpoints",
        "out/checkpoints/vime-0.csv",
        str(checkpoint),
    ]
    assert checkpoint.read_bytes() == content
    assert experiments.main([*PLAIN, "vime", "--resume"]) == 0
    assert left_behind() == ["out", *(f"out/{name}" for name in FILES)]
    assert rows_of("out") == run("--seeds", "1", "--bonus", "vime", out="new")


@undrawn
def test_another_run_beside_an_unfinished_one_leaves_its_checkpoint(checkpoint):
    content = checkpoint.read_bytes()
    assert experiments.main([*PLAIN, "none", "--resume"]) == 0
    assert sorted(path.name for path in Path("out/checkpoints").iterdir()) == [
        "vime-0.csv",
        "vime-0.npz",
    ]
    assert checkpoint.read_bytes() == content


@small
def test_resume_without_an_unfinished_run_begins(capsys):
    assert experiments.main([*PLAIN, "vime", "--resume"]) == 0
    assert rows_of("out") == run("--seeds", "1", "--bonus", "vime", out="new")


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["--eta", "0.5"],
            "is another run's: its task.agent.eta is 0.0001, here it is 0.5",
        ),
        (
            ["--set", "iterations=7"],
            "is another run's: its task.iterations is 2, here it is 7",
        ),
        ([], "is damaged, or no checkpoint"),
    ],
)
def test_a_checkpoint_that_does_not_fit_ends_with_one_line(
    arguments, reason, checkpoint, capsys
):
    """It is left as it is. Control: the right one is taken, and the run begins."""
    command = [*PLAIN, "vime", "--resume", *arguments]
    content = checkpoint.read_bytes()
    if not arguments:
        with pytest.raises(AssertionError, match="a run has started"):
            experiments.main(command)
        content = content[:-1]
        checkpoint.write_bytes(content)
        capsys.readouterr()
    assert (
        refusal(capsys, command)
        == f"vime-ref run: error: checkpoint {checkpoint} {reason}\n"
    )
    assert checkpoint.read_bytes() == content


@small
def test_failed_runs_are_named_by_task_bonus_setting_and_seed(monkeypatch, capsys):
    """The others' results are written; with no others there are none."""

    def supervise(job: Job, checkpoint: Path) -> Result:
        if job.bonus_name == "vime" and job.task.agent.eta == 0.5:
            return Result(job, [], np.zeros((0, 2)), "bad luck")
        result = runs.run_job(job, checkpoint)
        assert result
        return result

    monkeypatch.setattr(runs, "supervise", supervise)
    command = [
        "run",
        "--jobs",
        "1",
        "--out",
        "out",
        "--seeds",
        "2",
        "--bonus",
        "vime",
        "none",
        "--set",
    ]
    assert experiments.main([*command, "agent.eta=0,0.5"]) == 1
    *_, first, second, how = capsys.readouterr().err.splitlines()
    assert first == f"vime-ref: {TASK} vime agent.eta=0.5 seed 0 failed: bad luck"
    assert second == f"vime-ref: {TASK} vime agent.eta=0.5 seed 1 failed: bad luck"
    assert how == "vime-ref: the same command with --resume runs again what failed"
    assert {(row["bonus"], row["setting"]) for row in rows_of("out")} == {
        ("vime", "agent.eta=0"), ("none", "agent.eta=0"), ("none", "agent.eta=0.5")
    }  # fmt: skip
    config = json.loads(Path("out/config.json").read_text())
    assert config["failed"] == [
        f"{TASK} vime agent.eta=0.5 seed {seed}" for seed in range(2)
    ]
    assert len(list(Path("out/checkpoints").glob("*.npz"))) == 6
    assert (
        experiments.main(
            ["run", "--jobs", "1", "--out", "no", "--bonus", "vime", "--eta", "0.5"]
        )
        == 1
    )
    assert left_behind()[0] == "no"
    assert not Path("no/learning_curve.csv").exists()


@small
def test_resume_runs_what_failed_of_several_tasks_and_nothing_else(monkeypatch):
    """The tasks that were done keep their checkpoints until all is done; their results are written each time."""
    monkeypatch.setitem(TASKS, "Twin", TASKS[TASK])
    trained: list[str] = []
    progressions, supervise = runs.progressions, runs.supervise

    def train(job: Job, begun: Any, progress: Any) -> Any:
        trained.extend([job.task_name] * (job.task.iterations - len(progress.rows)))
        return progressions(job, begun, progress)

    def fail(job: Job, checkpoint: Path) -> Result:
        return (
            Result(job, [], np.zeros((0, 2)), "bad luck")
            if job.task_name == "Twin"
            else supervise(job, checkpoint)
        )

    monkeypatch.setattr(runs, "progressions", train)
    command = [
        "run",
        "--jobs",
        "1",
        "--out",
        "out",
        "--seeds",
        "1",
        "--bonus",
        "none",
        "--task",
        TASK,
        "Twin",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(runs, "supervise", fail)
        assert experiments.main(command) == 1
    assert [str(path) for path in Path("out").rglob("*.npz")] == [
        f"out/{TASK}/checkpoints/none-0.npz"
    ]
    assert (trained, len(rows_of(f"out/{TASK}"))) == ([TASK] * 2, 2)
    trained.clear()
    assert experiments.main([*command, "--resume"]) == 0
    assert trained == ["Twin"] * 2
    assert left_behind() == [
        "out",
        *(
            f"out/{t}{n}"
            for t in (TASK, "Twin")
            for n in ("", *(f"/{f}" for f in FILES))
        ),
    ]


@pytest.mark.parametrize("where", ["run_jobs", "write_results"])
@small
def test_an_interrupted_run_ends_with_code_130_and_one_line(where, monkeypatch, capsys):
    """Whenever Ctrl-C comes; what is finished is kept, and found with --resume."""

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiments, where, interrupted)
        assert experiments.main([*PLAIN, "none"]) == 130
    line = "\nvime-ref: interrupted; the same command with --resume goes on\n"
    assert capsys.readouterr().err.endswith(line)
    assert Path("out/checkpoints/none-0.npz").exists() == (where == "write_results")
    assert experiments.main([*PLAIN, "none", "--resume"]) == 0
    assert rows_of("out") == run("--seeds", "1", "--bonus", "none", out="new")


# ---------------------------------------------------------------- several results in one figure


@pytest.fixture
def _results(_small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for name in ("draw_learning_curve", "draw_state_visits", "draw_diagnostics"):
            patch.setattr(experiments.figures, name, lambda path, *rest: None)
        patch.setitem(TASKS, "Twin", TASKS[TASK])
        assert (
            experiments.main(
                ["run", "--jobs", "1", "--seeds", "2", "--task", TASK, "Twin"]
            )
            == 0
        )


@pytest.mark.usefixtures("_results")
def test_figure_draws_what_runs_holds_or_the_folders_named(capsys):
    capsys.readouterr()
    assert experiments.main(["figure"]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("\nwrote results.png\n")
    assert [line for line in shown.splitlines() if line in (TASK, "Twin")] == [
        TASK,
        "Twin",
    ]
    assert shown.count("TRPO + VIME  ") == 2
    assert experiments.main(["figure", "runs/Twin", "--out", "twin.png"]) == 0
    assert TASK not in capsys.readouterr().out
    both, one = (matplotlib.image.imread(name) for name in ("results.png", "twin.png"))
    assert both.std() > 0.0
    assert both.shape[1] > one.shape[1] > 300


@pytest.mark.usefixtures("_results", "_undrawn")
def test_figure_tells_two_results_of_one_task_apart(monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(
        experiments.figures, "draw_results", lambda path, curves: drawn.extend(curves)
    )
    shutil.copytree("runs/Twin", "again")
    assert experiments.main(["figure", "runs/Twin", "again", f"runs/{TASK}"]) == 0
    assert drawn == ["Twin (runs/Twin)", "Twin (again)", TASK]
    assert set(drawn) < set(capsys.readouterr().out.splitlines())


@pytest.mark.usefixtures("_results")
def test_figure_refuses_with_one_line(capsys):
    """A folder without results, a file that breaks off in a row, a picture that can't be written."""
    text = Path("runs/Twin/learning_curve.csv").read_text().splitlines()
    Path("damaged").mkdir()
    Path("damaged/learning_curve.csv").write_text("\n".join([*text[:2], text[2][:20]]))
    reasons = {
        "nowhere": "nowhere/learning_curve.csv: can't be read: No such file or directory",
        "damaged": "damaged/learning_curve.csv: row 3 must have ",
        "runs/Twin --out nowhere/it.png": "argument --out: can't write to nowhere/it.png: No such file or directory",
    }
    capsys.readouterr()
    for arguments, reason in reasons.items():
        assert refusal(capsys, ["figure", *arguments.split()]).startswith(
            f"vime-ref figure: error: {reason}"
        )
    assert not list(Path().rglob("*.png"))


def test_figure_without_results_or_matplotlib_ends_with_one_line(monkeypatch, capsys):
    line = refusal(capsys, ["figure"])
    assert (
        line
        == "vime-ref figure: error: no results: name folders that hold a learning_curve.csv\n"
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(experiments, "read_curve", lambda path: [])
    line = refusal(capsys, ["figure", "somewhere"])
    assert (
        line
        == "vime-ref figure: error: figure needs matplotlib: pip install -e '.[run]'\n"
    )

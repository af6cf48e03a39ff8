"""The commands `run` and `figure`: files, output and errors."""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from lab import (
    NAME,
    column,
    full,
    left_behind,
    refusal,
    rows_of,
    run,
    terminal,
    usage_error,
)

from vime_lab import command_line, commands, figures, processes, results, runs
from vime_lab.checkpoints import locked
from vime_lab.results import RUN_FILES, STUDY_FILES
from vime_lab.rows import RUN_COLUMNS
from vime_lab.runs import Result
from vime_lab.tasks import TASKS, Job

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(RUN_FILES)
PICTURES = [name for name in FILES if name.endswith("png")]
pytestmark = pytest.mark.usefixtures("elsewhere")
drawn = pytest.mark.usefixtures("small_task")
small = pytest.mark.usefixtures("small_task", "undrawn_pictures")
undrawn = pytest.mark.usefixtures("undrawn_pictures")


@pytest.fixture
def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise AssertionError("a run has started")

    monkeypatch.setattr(commands, "run_jobs", fail)


PLAIN = ["run", "--jobs", "1", "--out", "out", "--seeds", "1", "--bonus"]


@drawn
def test_run_writes_five_files_and_shows_tables(monkeypatch, capsys):
    terminal(monkeypatch)
    rows = run("--iterations", "3", "--seeds", "2")
    assert left_behind() == ["out", *(f"out/{name}" for name in FILES)]
    assert Path("out/learning_curve.csv").read_text().splitlines()[0] == ",".join(
        RUN_COLUMNS
    )
    key = [
        tuple(
            row[name]
            for name in ("task", "bonus", "setting", "seed", "iteration", "steps")
        )
        for row in rows
    ]
    steps = ("500", "1000", "1500")
    assert key == [
        (NAME, b, "", s, str(i), steps[i])
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
        *("no bonus", "VIME"),
    ):
        assert text in shown.out
    assert "wrote out/ after " in shown.out
    last = "how to read the files: vime-ref run --help, at its end"
    assert shown.out.endswith(f"\n{last}\n")
    assert "12/12" in shown.err
    assert shown.err.endswith(f"drawing the pictures of {NAME}\n")
    assert re.search(
        rf"{NAME} (vime|none) seed [01]: .*iteration 2, return \d\.\d\d, gain \d\.\de",
        shown.err,
    )


def test_the_end_of_the_help_explains_the_files(capsys):
    """It is where the last line of a run points, and needs no page: a wheel has none.

    It names columns, files and pages that exist.
    """
    with pytest.raises(SystemExit):
        command_line.main(["run", "--help"])
    told = " ".join(
        capsys.readouterr().out.partition("how to read the files:")[2].split()
    )
    assert told.startswith("Iterations count from 0.")
    named = set(re.findall(r"\w+\.csv|\w+\.png|\w+_\w+_\w+", told))
    assert len(named) == 4
    assert named < {*RUN_FILES, *STUDY_FILES, *RUN_COLUMNS}
    for page in re.findall(r"docs/\w+\.md", told):
        assert (ROOT / page).is_file()


@pytest.mark.unwatched
@drawn
def test_a_run_again_gives_the_same_rows_and_pictures():
    rows, again = (run("--seeds", "1", out=out) for out in ("a", "b"))
    assert rows == again
    for name in PICTURES:
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


@small
def test_a_run_is_a_function_of_its_seed():
    """A run does not depend on parallel runs. Control: another seed gives other gains."""
    rows = run("--seeds", "2")
    gains = [
        column(rows, "gain_median", bonus="vime", iteration="1", seed=seed)[0]
        for seed in "01"
    ]
    assert gains[0] != gains[1]
    assert run("--seeds", "1", "--bonus", "vime", out="alone") == [
        row for row in rows if (row["bonus"], row["seed"]) == ("vime", "0")
    ]


@pytest.mark.unwatched
@small
def test_eta_0_gives_all_agents_the_same_states(monkeypatch):
    """Control: with eta = 1 they differ, once the second iteration's gains have been rewarded."""
    seen: dict[str, Any] = {}
    write = results.write_results

    def keep(out: Path, config: Any, results: Sequence[Result]) -> str:
        seen.update({result.job.bonus_name: result.visits for result in results})
        return write(out, config, results)

    monkeypatch.setattr(results, "write_results", keep)
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
        command_line.main(
            ["run", "--jobs", "1", "--seeds", "1", "--bonus", "none", "none"]
        )
        == 0
    )
    assert left_behind() == [
        "runs",
        f"runs/{NAME}",
        *(f"runs/{NAME}/{name}" for name in FILES),
    ]
    config = json.loads(Path("runs", NAME, "config.json").read_text())
    settings = config["settings"]
    assert (settings["iterations"], settings["agent"]["eta"], config["bonuses"]) == (
        2,
        1e-4,
        ["none"],
    )


@drawn
def test_an_episode_longer_than_the_batch_is_cut(capsys):
    rows = run("--seeds", "1", "--set", "agent.batch_steps=20")
    assert (
        {row["return_mean"] for row in rows}
        == {row["return_max"] for row in rows}
        == {"0.0"}
    )
    assert {int(row["steps"]) % 20 for row in rows} == {0}
    assert capsys.readouterr().out.count("never (0 of 1)") == 2


@pytest.mark.unwatched
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
def test_several_tasks_have_a_folder_each(monkeypatch, capsys):
    monkeypatch.setitem(
        TASKS,
        "Twin",
        replace(TASKS[NAME], env_id="vime_ref/SparseCartPoleSwingup-v0"),
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
    assert command_line.main([*command, NAME, "Twin", NAME]) == 0
    assert left_behind() == [
        "both",
        *(
            f"both/{t}{n}"
            for t in (NAME, "Twin")
            for n in ("", *(f"/{f}" for f in FILES))
        ),
    ]
    assert [
        {row["task"] for row in rows_of(f"both/{name}")} for name in (NAME, "Twin")
    ] == [{NAME}, {"Twin"}]
    assert rows_of(f"both/{NAME}") == run("--seeds", "1", "--bonus", "none", out="one")
    assert rows_of("both/Twin") != rows_of("one")
    shown = capsys.readouterr().out
    assert shown.count("wrote both/") == 2


@undrawn
def test_all_means_every_task(monkeypatch):
    planned = []

    def run_jobs(jobs: Sequence[Job], *rest: Any) -> list[Result]:
        planned.extend(jobs)
        return [Result(job, [], np.zeros((0, 2)), "planned only") for job in jobs]

    monkeypatch.setattr(commands, "run_jobs", run_jobs)
    assert (
        command_line.main(
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
            for flag in ("--iterations", "--jobs")
            for value in ("0", "-1", "1.5", "many")
        ),
        ("--seeds", ["0"], "must be a number >= 1, or FIRST:STOP with FIRST < STOP"),
        ("--seeds", ["9:3"], "with FIRST < STOP, got 9:3"),
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
                (["step_size=1"], "got 'step_size'; did you mean vime.step_size?"),
                (["agent.speed=1"], "setting must be one of eta, "),
                (
                    ["agent.eta=much"],
                    "agent.eta must be a number such as 0.0001, got 'much'",
                ),
                (["agent.eta=0,-1"], "agent.eta: eta must be >= 0"),
                (
                    ["agent.eta=0.1,x"],
                    "agent.eta must be a number such as 0.0001, got 'x'",
                ),
                (
                    ["vime.hidden_sizes=4"],
                    "vime.hidden_sizes must be a list such as [32], got 4",
                ),
                (
                    ["vime.method=guess"],
                    "vime.method: method must be 'taylor' or 'exact', got 'guess'",
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
        ("--eta", ["0.1", "--bonus", "none"], "has no effect without a bonus"),
        ("--out", ["file/below"], "can't write to file/below"),
        ("--out", ["file"], "can't write to file"),
    ],
)
def test_a_bad_value_ends_with_one_line_that_names_the_flag(
    flag, values, reason, capsys
):
    Path("file").write_text("in the way")
    error = usage_error(capsys, ["run", flag, *values])
    assert re.match(r"vime-ref( run)?: error: ", error)
    assert f"argument {flag}: " in error
    assert reason in error
    assert [name for name in left_behind() if name not in ("runs", f"runs/{NAME}")] == [
        "file"
    ]


@pytest.mark.usefixtures("_no_work")
def test_a_folder_without_permission_ends_with_one_line(monkeypatch, capsys):
    """Simulated, because the superuser may write anywhere."""
    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    assert "argument --out: can't write to out: Permission denied" in usage_error(
        capsys, ["run", "--out", "out"]
    )


def denied(dir: Path) -> None:
    raise PermissionError(13, "Permission denied", str(dir))


@small
def test_complete_results_need_no_permission(monkeypatch, capsys):
    """With --resume nothing is written. Control: without it the folder is not good enough."""
    run("--seeds", "1", "--bonus", "none")
    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    capsys.readouterr()
    assert command_line.main([*PLAIN, "none", "--resume"]) == 0
    assert capsys.readouterr() == (
        "out/ holds the results of this run: nothing to do\n",
        "",
    )
    assert "can't write to out: Permission denied" in usage_error(
        capsys, [*PLAIN, "none"]
    )


RUN_PACKAGES = "'tqdm>=4.66' 'matplotlib>=3.8.4' 'joblib>=1.3' 'threadpoolctl>=3.5'"


@pytest.mark.parametrize("missing", [["tqdm"], ["tqdm", "matplotlib", "joblib"]])
@pytest.mark.usefixtures("_no_work")
def test_a_missing_extra_ends_with_one_line_that_names_it(missing, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in missing else find(name, *rest),
    )
    named = f'run needs {", ".join(missing)} (extra "run"): pip install '
    for given in ([], ["--task", "nowhere"]):  # before anything else
        assert f"error: {named}{RUN_PACKAGES}\n" in refusal(capsys, ["run", *given])
    assert left_behind() == []


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize(
    ("tasks", "named", "others"),
    [
        (["SparseHalfCheetah"], "SparseHalfCheetah needs", ""),
        ([NAME, "Walker2D"], "Walker2D needs", NAME),
        (
            ["all"],
            "SparseHalfCheetah and Walker2D need",
            f"{NAME} DenseMountainCar SparseCartPoleSwingup",
        ),
    ],
)
def test_missing_mujoco_ends_with_one_line(tasks, named, others, monkeypatch, capsys):
    """It names the tasks that need none. Control: a task that does not need it starts."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "mujoco" else find(name, *rest),
    )
    line = refusal(capsys, ["run", "--task", *tasks])
    needs = "pip install 'gymnasium[mujoco]>=1.1' 'mujoco>=2.3.3'"
    left = f"; or leave them out: --task {others}" if others else ""
    assert f'error: {named} mujoco (extra "mujoco"): {needs}{left}\n' in line
    assert left_behind() == []
    with pytest.raises(AssertionError, match="a run has started"):
        command_line.main(["run", "--task", NAME])


UNFINISHED = "vime-ref run: error: out/checkpoints holds an unfinished run: add --resume, or remove that folder\n"


@pytest.fixture
def checkpoint(elsewhere: None, small_task: None) -> Path:
    """The checkpoint of a run that was stopped after its first iteration."""
    path = Path("out/checkpoints/vime-0.npz")
    path.parent.mkdir(parents=True)
    assert (
        runs.run_job(Job(NAME, "vime", "", 0, TASKS[NAME]), path, lambda: True) is None
    )
    return path


@undrawn
def test_an_unfinished_run_is_not_begun_again(checkpoint, monkeypatch, capsys):
    """No other run may overwrite it; --resume continues to the same numbers, and cleans up."""
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
    assert command_line.main([*PLAIN, "vime", "--resume"]) == 0
    assert left_behind() == ["out", *(f"out/{name}" for name in FILES)]
    assert rows_of("out") == run("--seeds", "1", "--bonus", "vime", out="new")


@undrawn
def test_another_run_beside_an_unfinished_one_leaves_its_checkpoint(checkpoint):
    content = checkpoint.read_bytes()
    assert command_line.main([*PLAIN, "none", "--resume"]) == 0
    assert sorted(path.name for path in Path("out/checkpoints").iterdir()) == [
        "vime-0.csv",
        "vime-0.npz",
    ]
    assert checkpoint.read_bytes() == content


@pytest.fixture
def _occupied(elsewhere: None) -> Iterator[None]:
    """Another process has locked the folder `out`, as a command does."""
    Path("out").mkdir()
    script = """
import os, sys
from vime_lab.checkpoints import locked
print(locked(os.open("out", os.O_RDONLY)), flush=True)
sys.stdin.read()
"""
    words = [sys.executable, "-c", script]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as process:
        assert process.stdout.readline() == "True\n"
        yield
        process.kill()


BUSY = "is in use by another command: choose another --out, or wait"


@pytest.mark.parametrize(
    "task", [[NAME], ["Bandit"], [NAME, "SparseCartPoleSwingup"]], ids=len
)
@pytest.mark.usefixtures("_no_work", "_occupied")
def test_a_second_command_on_a_folder_is_rejected_at_once(task, capsys):
    """It changes nothing. Control: another folder, also one inside."""
    for resume in ([], ["--resume"]):
        command = ["run", "--task", *task, "--out", "out", *resume]
        assert refusal(capsys, command) == f"vime-ref run: error: out {BUSY}\n"
    assert left_behind() == ["out"]
    for free in ("other", "out/inside"):
        with pytest.raises(AssertionError, match="a run has started"):
            command_line.main(["run", "--task", *task, "--out", free])


@pytest.mark.usefixtures("_no_work", "_occupied")
def test_a_folder_of_one_of_several_tasks_is_locked_as_well(capsys):
    Path("out").rename(NAME)
    command = ["run", "--task", "SparseCartPoleSwingup", NAME, "--out", "."]
    assert refusal(capsys, command) == f"vime-ref run: error: {NAME} {BUSY}\n"


@small
def test_a_command_locks_its_folder_until_it_ends(monkeypatch):
    """The lock ends with the process, however it ends; here with the command."""
    seen = []
    run_jobs = commands.run_jobs

    def look(*arguments: Any) -> list[Result]:
        seen.append(is_free("out"))
        return run_jobs(*arguments)

    monkeypatch.setattr(commands, "run_jobs", look)
    run("--seeds", "1", "--bonus", "none")
    assert seen == [False]
    assert is_free("out")


@small
def test_a_file_system_that_cannot_lock_a_folder_still_runs(monkeypatch):
    """As NFS. Each run locks its own checkpoint."""

    def refuse(descriptor: int) -> bool:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(commands, "locked", refuse)
    assert run("--seeds", "1", "--bonus", "none")


def is_free(folder: str) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return locked(descriptor)
    finally:
        os.close(descriptor)


@small
def test_the_next_command_removes_what_a_killed_one_left(checkpoint):
    """Half-written files and a run's current folder. Control: files of others stay."""
    for name in (
        "learning_curve.csv.123.tmp",
        "config.json.4567.tmp",
        "study.csv.89.tmp",
        "checkpoints/vime-0.npz.123.tmp",
        "my.tmp",
        "config.json.mine.tmp",
    ):
        Path("out", name).write_text("half")
    checkpoint.with_suffix(".work").mkdir()
    checkpoint.with_suffix(".work").joinpath("MUJOCO_LOG.TXT").write_text("log")
    assert command_line.main([*PLAIN, "vime", "--resume"]) == 0
    mine = ["out/config.json.mine.tmp", "out/my.tmp"]
    assert left_behind() == sorted(["out", *(f"out/{name}" for name in FILES), *mine])


@pytest.mark.usefixtures("_no_work")
def test_without_locks_only_run_is_rejected(monkeypatch, capsys):
    """As on Windows, where fcntl can't be imported. Control: the other commands need none."""
    find = importlib.util.find_spec
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "fcntl" else find(name, *rest),
    )
    line = refusal(capsys, ["run"])
    lacks = "run needs fcntl to lock its folder, which this system lacks"
    assert line == f"vime-ref run: error: {lacks}: use Linux or macOS\n"
    assert left_behind() == []
    script = (
        "import sys; sys.modules['fcntl'] = None; "
        "from vime_lab.command_line import main; sys.exit(main(sys.argv[1:]))"
    )
    for words in (["check", "--only", "softplus"], ["figure", "nowhere"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == (2 if words[0] == "figure" else 0), done.stderr


@small
def test_resume_without_an_unfinished_run_begins(capsys):
    assert command_line.main([*PLAIN, "vime", "--resume"]) == 0
    assert rows_of("out") == run("--seeds", "1", "--bonus", "vime", out="new")


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["--eta", "0.5"],
            "belongs to another run: its task.agent.eta is 0.0001, here 0.5",
        ),
        (
            ["--set", "iterations=7"],
            "belongs to another run: its task.iterations is 2, here 7",
        ),
        ([], "is damaged or not a checkpoint"),
    ],
)
def test_a_checkpoint_that_does_not_fit_ends_with_one_line(
    arguments, reason, checkpoint, capsys
):
    """The file does not change. Control: the correct one is accepted, and the run starts."""
    command = [*PLAIN, "vime", "--resume", *arguments]
    content = checkpoint.read_bytes()
    if not arguments:
        with pytest.raises(AssertionError, match="a run has started"):
            command_line.main(command)
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
    """The other runs' results are written; without other runs there are none."""

    def supervise(job: Job, checkpoint: Path) -> Result:
        if job.bonus_name == "vime" and job.task.agent.eta == 0.5:
            return Result(job, [], np.zeros((0, 2)), "bad luck")
        result = runs.run_job(job, checkpoint)
        assert result
        return result

    monkeypatch.setattr(processes, "supervise", supervise)
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
    assert command_line.main([*command, "agent.eta=0,0.5"]) == 1
    *_, first, second, how = capsys.readouterr().err.splitlines()
    assert first == f"vime-ref: {NAME} vime agent.eta=0.5 seed 0 failed: bad luck"
    assert second == f"vime-ref: {NAME} vime agent.eta=0.5 seed 1 failed: bad luck"
    assert how == "vime-ref: repeat the command with --resume to rerun the failed runs"
    assert {(row["bonus"], row["setting"]) for row in rows_of("out")} == {
        ("vime", "agent.eta=0"), ("none", "agent.eta=0"), ("none", "agent.eta=0.5")
    }  # fmt: skip
    config = json.loads(Path("out/config.json").read_text())
    assert config["failed"] == [
        f"{NAME} vime agent.eta=0.5 seed {seed}" for seed in range(2)
    ]
    assert len(list(Path("out/checkpoints").glob("*.npz"))) == 6
    assert (
        command_line.main(
            ["run", "--jobs", "1", "--out", "no", "--bonus", "vime", "--eta", "0.5"]
        )
        == 1
    )
    assert left_behind()[0] == "no"
    assert not Path("no/learning_curve.csv").exists()


@small
def test_resume_runs_what_failed_of_several_tasks_and_nothing_else(monkeypatch):
    """Finished tasks keep their checkpoints until all are finished; their results are written each time."""
    monkeypatch.setitem(TASKS, "Twin", TASKS[NAME])
    trained: list[str] = []
    progressions, supervise = runs.progressions, processes.supervise

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
        NAME,
        "Twin",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(processes, "supervise", fail)
        assert command_line.main(command) == 1
    assert [str(path) for path in Path("out").rglob("*.npz")] == [
        f"out/{NAME}/checkpoints/none-0.npz"
    ]
    assert (trained, len(rows_of(f"out/{NAME}"))) == ([NAME] * 2, 2)
    trained.clear()
    assert command_line.main([*command, "--resume"]) == 0
    assert trained == ["Twin"] * 2
    assert left_behind() == [
        "out",
        *(
            f"out/{t}{n}"
            for t in (NAME, "Twin")
            for n in ("", *(f"/{f}" for f in FILES))
        ),
    ]


@pytest.mark.parametrize("where", ["run_jobs", "write_results"])
@small
def test_an_interrupted_run_ends_with_code_130_and_one_line(where, monkeypatch, capsys):
    """At any time of Ctrl-C, finished runs are kept and found with --resume."""

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(
            {"run_jobs": commands, "write_results": results}[where], where, interrupted
        )
        assert command_line.main([*PLAIN, "none"]) == 130
    line = "\nvime-ref: interrupted; repeat the command with --resume to continue\n"
    assert capsys.readouterr().err.endswith(line)
    assert Path("out/checkpoints/none-0.npz").exists() == (where == "write_results")
    assert command_line.main([*PLAIN, "none", "--resume"]) == 0
    assert rows_of("out") == run("--seeds", "1", "--bonus", "none", out="new")


@pytest.fixture
def _results(
    elsewhere: None, small_task: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name in ("draw_learning_curve", "draw_state_visits", "draw_diagnostics"):
            patch.setattr(figures, name, lambda path, *rest: None)
        patch.setitem(TASKS, "Twin", TASKS[NAME])
        assert (
            command_line.main(
                ["run", "--jobs", "1", "--seeds", "2", "--task", NAME, "Twin"]
            )
            == 0
        )


@pytest.mark.usefixtures("_results")
def test_figure_draws_what_runs_holds_or_the_folders_named(capsys):
    capsys.readouterr()
    assert command_line.main(["figure"]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("\nwrote results.png\n")
    # in two tables; the third and the fourth have a line for each
    assert [line for line in shown.splitlines() if line in (NAME, "Twin")] == [
        *(NAME, "Twin"),
        *(NAME, "Twin"),
    ]
    assert len(re.findall("^VIME  ", shown, re.M)) == 4
    *_, third, fourth = shown.split("Probability that VIME ")
    assert third.startswith("ends higher\n\n")
    assert fourth.startswith("finds a reward sooner\n\n")
    for table in (third, fourth):
        assert re.findall("^[A-Z]\\S+", table, re.M) == [NAME, "Twin"]
    assert command_line.main(["figure", "runs/Twin", "--out", "twin.png"]) == 0
    assert NAME not in capsys.readouterr().out
    both, one = (matplotlib.image.imread(name) for name in ("results.png", "twin.png"))
    assert both.std() > 0.0
    assert both.shape[1] > one.shape[1] > 300


@pytest.mark.usefixtures("_results", "undrawn_pictures")
def test_figure_tells_two_results_of_one_task_apart(monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(
        figures, "draw_results", lambda path, curves: drawn.extend(curves)
    )
    shutil.copytree("runs/Twin", "again")
    assert command_line.main(["figure", "runs/Twin", "again", f"runs/{NAME}"]) == 0
    assert drawn == ["Twin (runs/Twin)", "Twin (again)", NAME]
    assert set(drawn) < set(capsys.readouterr().out.splitlines())


LACKS = "it has no learning_curve.csv and no study.csv"


@pytest.mark.usefixtures("_results")
def test_figure_rejects_with_one_line(capsys):
    """A folder without results, and a file that breaks off in a row."""
    text = Path("runs/Twin/learning_curve.csv").read_text().splitlines()
    for folder in ("damaged", "runs/Twin/more", *(f"many/{i}" for i in range(9))):
        Path(folder).mkdir(parents=True)
    for i in range(9):
        Path(f"many/{i}/study.csv").touch()
    first_eight = ", ".join(f"many/{i}" for i in range(8))
    Path("damaged/learning_curve.csv").write_text("\n".join([*text[:2], text[2][:20]]))
    reasons = {
        "nowhere": "no results in nowhere: there is no such folder\n",
        "runs": f"no results in runs: {LACKS}; did you mean runs/{NAME}, runs/Twin?\n",
        "runs/Twin/more": f"no results in runs/Twin/more: {LACKS}; did you mean runs/Twin?\n",
        "many": f"no results in many: {LACKS}; did you mean {first_eight} or 1 more?\n",
        "damaged": "damaged/learning_curve.csv: row 3 must have ",
    }
    capsys.readouterr()
    for arguments, reason in reasons.items():
        assert refusal(capsys, ["figure", *arguments.split()]).startswith(
            f"vime-ref figure: error: {reason}"
        )


@pytest.mark.usefixtures("_results")
def test_figure_prints_tables_even_if_it_can_write_no_picture(monkeypatch, capsys):
    """Control: with a picture it prints the same, and the picture's name."""
    capsys.readouterr()
    Path("file").touch()
    command = ["figure", "runs/Twin", "--out"]
    with pytest.raises(SystemExit) as exit_:
        command_line.main([*command, "file/it.png"])
    assert exit_.value.code == 2
    tables, error = capsys.readouterr()
    reason = "can't write to file/it.png: File exists"
    line = f"vime-ref figure: error: argument --out: {reason}\n"
    assert error == f"{line}try 'vime-ref figure --help'\n"
    assert not list(Path().rglob("*.png"))
    assert command_line.main([*command, "it.png"]) == 0
    assert capsys.readouterr().out == f"{tables}\nwrote it.png\n"

    # whatever the reason is
    monkeypatch.setattr(figures, "draw_results", broken)
    with pytest.raises(SystemExit):
        command_line.main([*command, "it.png"])
    reason = "can't draw it.png: RuntimeError: no font"
    assert capsys.readouterr() == (tables, f"vime-ref figure: error: {reason}\n")


def broken(*arguments: Any) -> None:
    raise RuntimeError("no font")


@pytest.mark.usefixtures("_results")
@pytest.mark.parametrize("name", ["b", "b.PNG", "b.pdf", "b.c/b", "bc/de/b"])
def test_figure_writes_the_file_that_it_names(name, capsys):
    Path("b.c").mkdir()
    capsys.readouterr()
    assert command_line.main(["figure", "runs/Twin", "--out", name]) == 0
    assert capsys.readouterr().out.endswith(f"\nwrote {name}\n")
    start = b"%PDF" if name == "b.pdf" else b"\x89PNG"
    assert Path(name).read_bytes().startswith(start)
    made = [str(path) for path in Path().rglob("b*") if path.is_file()]
    assert made == [name]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".", "must be a file, got the folder ."),
        ("runs", "must be a file, got the folder runs"),
        ("b.txt", "must end in one of "),
        ("link.png", "must be a regular file, got link.png"),
        ("pipe.png", "must be a regular file, got pipe.png"),
    ],
)
def test_figure_rejects_a_file_that_is_no_picture_before_drawing(
    name, reason, monkeypatch, capsys
):
    Path("runs").mkdir()
    Path("link.png").symlink_to("elsewhere.png")
    os.mkfifo("pipe.png")
    monkeypatch.setattr(results, "read_curves", full)
    error = usage_error(capsys, ["figure", "runs/Twin", "--out", name])
    assert error.startswith(f"vime-ref figure: error: argument --out: {reason}")


def test_figure_without_results_or_matplotlib_ends_with_one_line(monkeypatch, capsys):
    """The missing package comes first."""
    line = usage_error(capsys, ["figure"])
    wanted = "name folders that contain a learning_curve.csv, or one with a study.csv"
    assert line == f"vime-ref figure: error: no results: {wanted}\n"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    needs = "figure needs matplotlib (extra \"run\"): pip install 'matplotlib>=3.8.4'"
    for given in ([], ["somewhere"]):
        line = refusal(capsys, ["figure", *given])
        assert line == f"vime-ref figure: error: {needs}\n"


@pytest.mark.usefixtures("elsewhere", "small_task", "undrawn_pictures")
def test_the_agent_and_the_settings_are_settings_of_the_run(capsys):
    """Also without VIME: then nothing is decided. Control: TRPO's policy is another."""
    plain = ["--seeds", "5:6", "--bonus", "noise"]
    rows = run(*plain, "--agent", "reinforce")
    config = json.loads(Path("out/config.json").read_text())
    assert config["settings"]["learner"] == "reinforce"
    assert config["seeds"] == "5:6"
    assert {row["seed"] for row in rows} == {"5"}
    other = run(*plain, out="trpo")
    assert [row["steps"] for row in rows] == [row["steps"] for row in other]
    capsys.readouterr()
    assert command_line.main(["figure", "out"]) == 0
    assert "Probability" not in capsys.readouterr().out

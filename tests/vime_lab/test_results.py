"""Result files: settings, versions, and replacement of earlier files."""

import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lab import NAME, left_behind, refusal, run

from vime_lab import command_line, commands, figures, files, runs
from vime_lab.machine import machine_kind
from vime_lab.results import RUN_FILES
from vime_lab.tasks import TASKS

FILES = sorted(RUN_FILES)
PICTURES = [name for name in FILES if name.endswith("png")]
pytestmark = pytest.mark.usefixtures("elsewhere")
drawn = pytest.mark.usefixtures("small_task")
small = pytest.mark.usefixtures("small_task", "undrawn_pictures")
undrawn = pytest.mark.usefixtures("undrawn_pictures")
PLAIN = ["run", "--jobs", "1", "--out", "out", "--seeds", "1", "--bonus"]


@small
def test_config_holds_every_setting_the_versions_and_the_root_seed():
    """Oracle: the numbers of the original code, written out here, not read from the task."""
    command = [
        "--iterations",
        "1",
        "--seeds",
        "1",
        "--bonus",
        "noise",
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
        "command": " ".join(["vime-ref run --jobs 1 --out out", *command]), "root_seed": 0, "task_name": NAME,
        "bonuses": ["noise"], "seeds": 1, "jobs": 1, "swept": {"agent.lam": [0.5, 1]}, "failed": [],
    }  # fmt: skip
    settings = config["settings"]
    assert settings["env_id"] == "vime_ref/SparseMountainCar-v0"
    assert (
        settings["policy_sizes"],
        settings["value_sizes"],
        settings["iterations"],
    ) == ([4], [3], 1)
    assert settings["trpo"] == {"max_kl": 0.01, "fisher_every": 1, "shrink": 0.5}
    agent = {
        "eta": 0.25,
        "batch_steps": 500,
        "gamma": 0.99,
        "lam": 0.5,
        "normalize": True,
    }
    assert settings["agent"] == {
        **agent,
        "curious_values": True,  # the original has False
        "bootstrap": True,
    }
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
        "threadpoolctl",
    )
    expected = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }
    assert expected.items() <= config["versions"].items()
    assert {"vime-ref", "mujoco"} < config["versions"].keys()
    assert config["machine"] == machine_kind()


@small
def test_the_visits_of_a_sweep_are_those_of_its_first_setting(monkeypatch):
    """Two seeds of two iterations; all settings together would be 2000 and more."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        figures,
        "draw_state_visits",
        lambda path, *rest: path.touch() or seen.extend(rest),
    )
    run("--seeds", "2", "--bonus", "none", "--set", "agent.batch_steps=500,510")
    assert seen[0]["none"].shape == (2 * 2 * 500, 2)


MADE = ["--seeds", "2", "--bonus", "none", "--set", "agent.lam=0.5,1"]
ONE = ["--seeds", "2", "--bonus", "none"]
OTHERS = {
    "seeds is 2, here 1": [*MADE, "--seeds", "1"],
    "bonuses is ['none'], here ['none', 'vime']": [*MADE, "--bonus", "none", "vime"],
    "settings.agent.eta is 0.0001, here 0.5": [
        *ONE,
        "--set",
        "agent.lam=0.5,1",
        "agent.eta=0.5",
    ],
    "swept.agent.lam is [0.5, 1], here [0.5, 0.75]": [
        *ONE,
        "--set",
        "agent.lam=0.5,0.75",
    ],
    "swept.agent.lam is [0.5, 1], here None": [*ONE, "--set", "agent.lam=0.5"],
}


def rejected(differs: str) -> str:
    found = f"out holds results of other settings ({differs})"
    return f"vime-ref run: error: {found}: choose another --out, or remove it\n"


@small
def test_results_of_other_settings_are_rejected_and_left(monkeypatch, capsys):
    """Unknown results are rejected too. Control: the same settings may run again, by another command."""
    run(*MADE)
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    capsys.readouterr()
    for differs, arguments in OTHERS.items():
        line = rejected(f"its {differs}")
        assert refusal(capsys, ["run", "--out", "out", *arguments]) == line
        assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    monkeypatch.setitem(TASKS, "Twin", TASKS[NAME])
    line = rejected(f"its task_name is {NAME!r}, here 'Twin'")
    assert refusal(capsys, ["run", "--out", "out", *MADE, "--task", "Twin"]) == line
    unknown = {
        '{"settings": 3}': f"its task_name is None, here {NAME!r}",
        **dict.fromkeys(("{}", "[]", "no"), "its config.json is missing or damaged"),
    }
    for content, differs in unknown.items():
        Path("out/config.json").write_text(content)
        assert refusal(capsys, ["run", "--out", "out", *MADE]) == rejected(differs)
    Path("out/config.json").unlink()
    assert refusal(capsys, ["run", "--out", "out", *MADE]) == rejected(differs)
    Path("out/config.json").write_bytes(before[Path("out/config.json")])
    again = run("--jobs", "2", *MADE)
    Path("out/learning_curve.csv").unlink()
    assert run("--seeds", "1", "--bonus", "none") == [
        {**row, "setting": ""}
        for row in again
        if (row["seed"], row["setting"]) == ("0", "agent.lam=1")
    ]


HELD = "holds results of these settings: this run replaces them"
REPLACED = f"vime-ref: out {HELD}; --resume would keep them\n"
PARTS = (
    "vime-ref: out holds incomplete results: this run starts anew and replaces them\n"
)


@small
def test_complete_results_are_kept_with_resume_and_replaced_with_a_word(
    monkeypatch, capsys
):
    """Controls: the first run says nothing; results without a picture, or of a failed run, are made anew."""
    trained: list[int] = []
    run_jobs = commands.run_jobs

    def counted(jobs: Any, *arguments: Any) -> Any:
        trained.append(len(jobs))
        return run_jobs(jobs, *arguments)

    monkeypatch.setattr(commands, "run_jobs", counted)
    run(*ONE)
    assert "holds" not in capsys.readouterr().err
    before = {path: path.read_bytes() for path in Path("out").iterdir()}

    # kept
    assert run(*ONE, "--resume")
    assert (
        capsys.readouterr().out == "out/ holds the results of this run: nothing to do\n"
    )
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    assert trained == [2]

    # replaced
    run(*ONE)
    assert capsys.readouterr().err.startswith(REPLACED)
    assert trained == [2, 2]

    # incomplete
    Path("out/state_visits.png").unlink()
    run(*ONE, "--resume")
    assert capsys.readouterr().err.startswith(PARTS)
    config = json.loads(Path("out/config.json").read_text())
    Path("out/config.json").write_text(json.dumps(config | {"failed": ["one"]}))
    run(*ONE, "--resume")
    assert capsys.readouterr().err.startswith(PARTS)
    assert trained == [2, 2, 2, 2]


@small
@pytest.mark.parametrize("name", ["code", "versions", "machine"])
def test_complete_results_of_another_origin_are_not_taken_for_these(name, capsys):
    """Control: another version of what only draws changes no number."""
    run(*ONE)
    path = Path("out/config.json")
    config = json.loads(path.read_text())
    config["versions"]["matplotlib"] = "1.0"
    path.write_text(json.dumps(config))
    run(*ONE, "--resume")
    changed = "0" if name == "code" else dict.fromkeys(config[name], "0")
    path.write_text(json.dumps(config | {name: changed}))
    capsys.readouterr()
    line = refusal(capsys, ["run", "--out", "out", *ONE, "--resume"])
    start = "vime-ref run: error: out holds results of other code or another machine"
    assert line.startswith(f"{start} (its {name}")
    assert line.endswith(
        "leave out --resume to replace them, or choose another --out\n"
    )
    assert run(*ONE)


@small
def test_a_finished_task_among_several_is_left_as_it_is(monkeypatch, capsys):
    monkeypatch.setitem(TASKS, "Twin", TASKS[NAME])
    assert run(*ONE, out=f"out/{NAME}")
    before = Path(f"out/{NAME}/learning_curve.csv").read_bytes()
    both = ["run", "--jobs", "1", "--out", "out", *ONE, "--task", NAME, "Twin"]
    assert command_line.main([*both, "--resume"]) == 0
    assert f"out/{NAME}/ holds the results of this run" in capsys.readouterr().out
    assert Path(f"out/{NAME}/learning_curve.csv").read_bytes() == before
    assert Path("out/Twin/learning_curve.csv").exists()


def files_of_out() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("out").glob("*.*")}


@small
@pytest.mark.parametrize("name", ["learning_curve.csv", "config.json"])
def test_numbers_that_cannot_be_written_leave_those_before_and_the_checkpoints(
    name, monkeypatch, capsys
):
    """The disk is full; the command exits with one line, and --resume writes the results."""
    write = files.write_temporary

    def full(path: Path, content: bytes) -> None:
        if path.name.startswith(name):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        write(path, content)

    run("--seeds", "1", "--bonus", "none")
    before = files_of_out()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_temporary", full)
        assert command_line.main([*PLAIN, "none"]) == 1
    line = "vime-ref: can't write to out: No space left on device; repeat the command with --resume to try again"
    shown = capsys.readouterr().err.splitlines()
    told = [text for text in shown if text.startswith("vime-ref")]
    assert [told[0], told[-1]] == [REPLACED.rstrip(), line]
    assert all(" iterations; " in text for text in told[1:-1])
    assert files_of_out() == before
    assert Path("out/checkpoints/none-0.npz").exists()
    nothing_is_repeated(monkeypatch)
    run("--seeds", "1", "--bonus", "none", "--resume")
    assert left_behind() == ["out", *(f"out/{name}" for name in FILES)]
    assert files_of_out()["learning_curve.csv"] != before["learning_curve.csv"]


def nothing_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is complete in its checkpoint has no iteration left."""
    monkeypatch.setattr(
        runs,
        "progressions",
        lambda job, begun, progress: iter([progress][len(progress.rows) == 2 :]),
    )


@small
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("no such\nfont"), "ValueError: no such"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_one_line_and_the_numbers_stay(
    error, reason, monkeypatch, capsys
):
    """The old picture is gone, the checkpoints stay, and --resume draws it."""

    def fail(*arguments: Any) -> None:
        raise error

    run("--seeds", "1", "--bonus", "none")
    before = files_of_out()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(figures, "draw_state_visits", fail)
        assert command_line.main([*PLAIN, "none"]) == 1
    shown, errors = capsys.readouterr()
    line = f"vime-ref: can't draw out/state_visits.png: {reason}; repeat the command with --resume to try again"
    told = [text for text in errors.splitlines() if "vime-ref" in text]
    assert [told[0], told[-1]] == [REPLACED.rstrip(), line]
    assert all(" iterations; " in text for text in told[1:-1])
    made = ", ".join(name for name in RUN_FILES if name != "state_visits.png")
    assert shown.endswith(f" s: {made}\n")
    assert files_of_out().keys() == before.keys() - {"state_visits.png"}
    assert files_of_out()["learning_curve.csv"] != before["learning_curve.csv"]
    nothing_is_repeated(monkeypatch)
    run("--seeds", "1", "--bonus", "none", "--resume")
    assert left_behind() == ["out", *(f"out/{name}" for name in FILES)]


def calls_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls, from now on, that put files on the disk, rename and delete them."""
    calls: list[tuple[str, str]] = []
    own = {name: getattr(os, name) for name in ("fsync", "replace", "unlink", "rmdir")}

    def recorded(name: str, *given: Any) -> None:
        what = (
            os.readlink(f"/proc/self/fd/{given[0]}") if name == "fsync" else given[-1]
        )
        own[name](*given)
        calls.append((name, os.path.relpath(what)))

    for name in own:
        monkeypatch.setattr(os, name, functools.partial(recorded, name))
    return calls


def check_order(calls: list[tuple[str, str]], names: Sequence[str], last: str) -> None:
    """Each file is synced, renamed, and its folder synced; only then the checkpoint is deleted."""
    deleted = calls.index(("unlink", last))
    for name in names:
        temporary = f"out/{name}.{os.getpid()}.tmp"
        synced = calls.index(("fsync", temporary))
        renamed = calls.index(("replace", f"out/{name}"))
        folder = calls.index(("fsync", "out"), renamed)
        assert synced < renamed < folder < deleted, name


@drawn
def test_results_are_on_the_disk_before_the_checkpoint_is_deleted(monkeypatch) -> None:
    """By the system calls. Controls: a deletion before, and a call left out."""
    calls = calls_of(monkeypatch)
    run("--seeds", "1", "--bonus", "none")
    last = "out/checkpoints/none-0.npz"
    check_order(calls, RUN_FILES, last)
    for wrong in ([("unlink", last), *calls], [c for c in calls if c[1] != "out"]):
        with pytest.raises((AssertionError, ValueError)):
            check_order(wrong, RUN_FILES, last)

    # numbers before pictures, and the checkpoint like the results
    renamed = [name for call, name in calls if call == "replace"]
    assert renamed[-5:] == [
        f"out/{name}" for name in (RUN_FILES[1], RUN_FILES[0], *RUN_FILES[2:])
    ]
    assert renamed[:-5] == [last]
    assert calls.index(("fsync", "out/checkpoints")) > calls.index(("replace", last))


@drawn
@pytest.mark.parametrize(
    "backend", ["module://no_such_package.backend_inline", "nonsense"]
)
def test_pictures_need_no_backend_of_the_shell(backend) -> None:
    """Control: matplotlib alone rejects it."""
    others = {**os.environ, "MPLBACKEND": backend}
    words = "run --task SparseMountainCar --bonus none --seeds 1 --iterations 1 --out out --set agent.batch_steps=50"
    done = subprocess.run(
        [sys.executable, "-m", "vime_lab", *words.split()], env=others
    )
    assert done.returncode == 0
    assert left_behind() == ["out", *(f"out/{name}" for name in FILES)]
    script = "from matplotlib.backends.registry import backend_registry as b; b.resolve_backend(None)"
    alone = subprocess.run(
        [sys.executable, "-c", script], env=others, capture_output=True
    )
    assert alone.returncode == 1

"""Result files: settings, versions, and replacement of earlier files."""

import importlib.metadata
import importlib.util
import json
import platform
from pathlib import Path
from typing import Any

import pytest
from lab import NAME, left_behind, refusal, run

from vime_lab import command_line, figures, runs
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
        "command": " ".join(["vime-ref run --jobs 1 --out out", *command]), "root_seed": 0, "task_name": NAME,
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
    }  # the original has False
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


@small
def test_the_visits_of_a_sweep_are_those_of_its_first_setting(monkeypatch):
    """Two seeds of two iterations; all settings together would be 2200 and more."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        figures,
        "draw_state_visits",
        lambda path, *rest: path.touch() or seen.extend(rest),
    )
    run("--seeds", "2", "--bonus", "none", "--set", "agent.batch_steps=550,560")
    assert seen[0]["none"].shape == (2 * 2 * 550, 2)


MADE = ["--seeds", "2", "--bonus", "none", "--set", "agent.lam=0.5,1"]
OTHERS = {
    "seeds": [*MADE, "--seeds", "1"],
    "bonuses": [*MADE, "--bonus", "none", "vime"],
    "settings": [*MADE, "--eta", "0.5"],
    "swept": ["--seeds", "2", "--bonus", "none", "--set", "agent.lam=0.5,0.75"],
}


@small
def test_results_of_other_settings_are_refused_and_left(monkeypatch, capsys):
    """Unknown results are rejected too. Control: the same settings may run again, by another command."""
    run(*MADE)
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    line = "vime-ref run: error: out holds results of other settings: choose another --out, or remove it\n"
    capsys.readouterr()
    for arguments in OTHERS.values():
        assert refusal(capsys, ["run", "--out", "out", *arguments]) == line
        assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    monkeypatch.setitem(TASKS, "Twin", TASKS[NAME])
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
    """The disk is full before the last picture; the command exits with one line, and --resume writes the results."""

    def full(path: Path, *rest: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    run("--seeds", "1", "--bonus", "none")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(figures, "draw_diagnostics", full)
        assert command_line.main([*PLAIN, "none"]) == 1
    line = "vime-ref: can't write to out: No space left on device; repeat the command with --resume to try again"
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

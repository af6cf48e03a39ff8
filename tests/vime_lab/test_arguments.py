"""The arguments of the command line: help texts, values."""

import argparse
import re

import pytest
from lab import NAME

from agents_ref import AgentSettings
from vime_check.wire import DTYPES
from vime_lab import arguments, command_line
from vime_lab.settings import LEARNERS
from vime_lab.studies.catalogue import STUDIES
from vime_lab.tasks import BONUSES, SETTINGS, TASKS


def flags_of(capsys: pytest.CaptureFixture[str], command: str) -> dict[str, str]:
    """The help text of each flag."""
    with pytest.raises(SystemExit) as exit_:
        command_line.main([command, "--help"])
    assert exit_.value.code == 0
    described = capsys.readouterr().out.split("options:")[1]
    flags = re.split(r"\n  (?=-)", described)[1:]
    named = {re.search(r"--\w+", text)[0]: " ".join(text.split()) for text in flags}
    assert named.pop("--help").startswith("-h, --help")
    return named


def test_help_names_every_flag_with_its_default(capsys):
    expected = {
        "--task": NAME, "--bonus": "vime none", "--agent": "trpo", "--seeds": "3",
        "--settings": "ours", "--iterations": "the task's, 20, ",
        "--eta": "the task's, 0.0001, ", "--set": "the task's",
        "--jobs": "joblib's configuration, else one for each core that ",
        "--resume": "exit without", "--out": "runs/TASK",
    }  # fmt: skip
    named = flags_of(capsys, "run")
    assert list(named) == list(expected)
    for flag, default in expected.items():
        assert f"(default: {default}" in named[flag], flag
    assert all(name in named["--task"] for name in (*TASKS, *STUDIES))
    assert all(name in named["--bonus"] for name in BONUSES)
    assert "(default: results.png)" in flags_of(capsys, "figure")["--out"]


def test_help_against_what_it_does_not_import():
    """The help text repeats names and defaults as text."""
    assert {
        name: (str(task.iterations), f"{task.agent.eta:g}")
        for name, task in TASKS.items()
    } == arguments.TASK_DEFAULTS
    assert tuple(STUDIES) == arguments.STUDY_NAMES
    assert AgentSettings.batch_steps == arguments.BATCH_STEPS
    assert {task.agent.batch_steps for task in TASKS.values()} == {5000}
    assert tuple(DTYPES) == arguments.DTYPE_NAMES
    assert LEARNERS == arguments.LEARNER_NAMES
    assert tuple(SETTINGS) == arguments.SETTING_NAMES


def test_seeds_are_a_number_or_a_range():
    for text, found in (
        ("3", range(3)),
        ("100:110", range(100, 110)),
        ("0:1", range(1)),
    ):
        assert arguments.seeds(text) == found
    for text in ("", "0", "-1", "1.5", "5:5", "7:3", ":3", "3:", "1:2:3", "a:b", "1e3"):
        with pytest.raises(
            argparse.ArgumentTypeError, match=r"^must be a number >= 1, or"
        ):
            arguments.seeds(text)


def test_help_is_the_same_on_fewer_cores(monkeypatch, capsys):
    """No number that the run would not use. Control: the run's is joblib's."""
    before = flags_of(capsys, "run")["--jobs"]
    monkeypatch.setattr("os.cpu_count", lambda: 77)
    assert flags_of(capsys, "run")["--jobs"] == before
    assert not re.search(r"\d", before)


def test_each_value_of_a_setting_is_read_alone():
    """A bad value leaves the others as they are. Commas in a list separate no values."""
    for text, values in {
        "0.1": [0.1],
        "0.1,1": [0.1, 1],
        "0.1,x": [0.1, "x"],
        "x,true,null": ["x", True, None],
        "exact,taylor": ["exact", "taylor"],
        "[32,32],[64]": [[32, 32], [64]],
        "[32,32],x": [[32, 32], "x"],
        "x,[32,32]": ["x", [32, 32]],
        "0.1,": [0.1, ""],
        "[32,x]": ["[32,x]"],
    }.items():
        assert arguments.change(f"vime.it={text}") == ("vime.it", values)
    for text in ("vime.it", "vime.it="):
        with pytest.raises(argparse.ArgumentTypeError, match=r"^must be NAME=VALUE"):
            arguments.change(text)

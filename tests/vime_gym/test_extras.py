"""What is missing of an extra: one form for every command and every module."""

import configparser
import importlib.metadata
import importlib.util
import subprocess
import sys

import pytest
from measures import ROOT

from vime_gym.extras import lacking, pip_install
from vime_lab.results import RUN_EXTRA

RUN = "pip install 'tqdm>=4.66' 'matplotlib>=3.8.4' 'joblib>=1.3' 'threadpoolctl>=3.5'"


def test_pip_install_against_the_requirements_of_the_project(monkeypatch):
    """Control: without metadata, as in a copy, it names the needed packages."""
    assert pip_install("run", RUN_EXTRA) == RUN
    assert pip_install("run", ["matplotlib"]) == "pip install 'matplotlib>=3.8.4'"
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    for extra, name in {
        "mujoco": "mujoco",
        "sb3": "stable_baselines3",
        "test": "hypothesis",
    }.items():
        stated = [
            each for each in extras[extra].split() if name.replace("_", "-") in each
        ]
        quoted = " ".join(f"'{each}'" for each in stated)
        assert stated
        assert pip_install(extra, [name]) == f"pip install {quoted}"

    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert pip_install("run", ["tqdm"]) == "pip install tqdm"
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: None)
    assert pip_install("sb3", ["stable_baselines3"]) == "pip install stable-baselines3"


def test_one_line_names_what_is_missing_and_nothing_else(monkeypatch):
    """Control: if nothing is missing, there is no line."""
    assert lacking("run", RUN_EXTRA, "run") == ""
    find = importlib.util.find_spec
    hidden = ("joblib", "tqdm")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else find(name)
    )
    line = f'run needs tqdm, joblib (extra "run"): {RUN}'
    assert lacking("run", RUN_EXTRA, "run") == line
    assert lacking("A and B", ["tqdm"], "run").startswith("A and B need tqdm (extra")


@pytest.mark.parametrize(
    ("module", "package", "line"),
    [
        (
            "vime_gym.sb3",
            "stable_baselines3",
            'ImportError: vime_gym.sb3 needs stable-baselines3 (extra "sb3"): '
            "pip install 'stable-baselines3>=2.7'",
        ),
        (
            "vime_gym.robots",
            "mujoco",
            "gymnasium.error.DependencyNotInstalled: SparseHalfCheetah and Walker2D need mujoco "
            "(extra \"mujoco\"): pip install 'gymnasium[mujoco]>=1.1' 'mujoco>=2.3.3'",
        ),
    ],
)
def test_an_import_says_what_it_needs(module, package, line):
    """The last line of the traceback."""
    script = f"import sys; sys.modules[{package!r}] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == line

"""The tasks are found by their ids, for every way of importing the package."""

import importlib.metadata
import subprocess
import sys

import gymnasium as gym
import pytest

from vime_gym import ENTRIES, register_tasks
from vime_gym.labyrinth import LABYRINTH_STEPS

MAKE = 'env = gymnasium.make("{}vime_ref/SparseMountainCar-v0")'


def printed(script: str) -> str:
    """The output of a separate process, in which each warning is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("imports", "prefix"),
    [
        ("import gymnasium, vime_gym", ""),
        ("import vime_gym, gymnasium", ""),
        ("import vime_gym.tasks, gymnasium", ""),
        ("import vime_gym.labyrinth, vime_gym.rooms, gymnasium", ""),
        ("import gymnasium", "vime_gym:"),
        ("import gymnasium, vime_gym", "vime_gym:"),
    ],
)
def test_tasks_are_made_without_a_warning(imports: str, prefix: str) -> None:
    script = f"{imports}\n{MAKE.format(prefix)}\nprint(env.spec.max_episode_steps)"
    assert printed(script) == "500\n"


def test_an_id_is_unknown_without_any_import() -> None:
    """Gymnasium loads no plug-ins since version 1.0."""
    with pytest.raises(subprocess.CalledProcessError):
        printed(f"import gymnasium\n{MAKE.format('')}")


def test_registering_imports_no_task_and_nothing_beside_gymnasium() -> None:
    script = """
import sys, gymnasium
before = set(sys.modules)
import vime_gym
print(sorted(set(sys.modules) - before))
"""
    assert printed(script) == "['vime_gym']\n"


def test_the_plug_in_entry_point_registers_the_tasks() -> None:
    """The function that a Gymnasium with plug-ins would call."""
    (entry,) = importlib.metadata.entry_points(group="gymnasium.envs", name="vime_ref")
    assert entry.load() is register_tasks


def test_registering_again_changes_nothing() -> None:
    before = dict(gym.registry)
    register_tasks()
    assert gym.registry == before


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_name_classes_and_horizons(name: str) -> None:
    module, max_episode_steps = ENTRIES[name]
    spec = gym.spec(f"vime_ref/{name}-v0")
    assert spec.max_episode_steps == max_episode_steps
    assert spec.entry_point == f"vime_gym.{module}:{name}"
    assert isinstance(gym.envs.registration.load_env_creator(spec.entry_point), type)


def test_labyrinth_is_truncated_after_its_steps() -> None:
    assert ENTRIES["Labyrinth"] == ("labyrinth", LABYRINTH_STEPS)

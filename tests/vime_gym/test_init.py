"""The tasks are found by their ids, for every way of importing the package."""

import copy
import importlib.metadata
import itertools
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gym_helpers import (
    ROBOTS,
    SMALL,
    TABLE,
    TASKS,
    instead_of_moviepy,
    record,
    task_table,
)
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.utils.env_checker import check_env
from measures import ROOT

from vime_gym import (
    ARGUMENTS,
    ENFORCED,
    ENTRIES,
    VECTORIZED,
    EndEnforcing,
    register_tasks,
)
from vime_gym.labyrinth import LABYRINTH_STEPS

every_id = pytest.mark.parametrize("name", ENTRIES)

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


@every_id
def test_entries_name_classes_and_horizons(name: str) -> None:
    module, max_episode_steps = ENTRIES[name]
    spec = gym.spec(f"vime_ref/{name}-v0")
    assert spec.max_episode_steps == max_episode_steps
    assert spec.entry_point == f"vime_gym.{module}:{name}"
    assert isinstance(gym.envs.registration.load_env_creator(spec.entry_point), type)


@pytest.mark.parametrize("env_id", TASKS)
def test_entry_points_return_no_wrapper(env_id):
    """Gymnasium before 1.4 makes no task whose entry point returns a wrapper."""
    env = made(env_id)
    assert type(env.unwrapped) is gym.envs.registration.load_env_creator(
        env.spec.entry_point
    )
    assert env.spec.additional_wrappers == (ENFORCED,)
    again = gym.make(env.spec)
    assert str(again) == str(env)


@pytest.mark.parametrize("name", VECTORIZED)
def test_wrappers_of_one_task_are_none_of_a_vector(name):
    """make_vec raises an error if wrappers of a vector entry point are counted, as in the control."""
    spec = copy.deepcopy(gym.spec(f"vime_ref/{name}-v0"))
    assert isinstance(gym.make(spec), EndEnforcing)
    assert not isinstance(gym.make_vec(spec, 2).unwrapped, gym.vector.SyncVectorEnv)
    spec.additional_wrappers = (*spec.additional_wrappers,)
    assert isinstance(gym.make(spec), EndEnforcing)
    with pytest.raises(gym.error.Error, match="additional_wrappers"):
        gym.make_vec(spec, 2)


@every_id
def test_every_id_makes_a_task_without_arguments(name: str) -> None:
    """It takes steps. Controls: arguments replace the defaults of an id, and classes have none."""
    env = gym.make(f"vime_ref/{name}-v0")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    for argument in ARGUMENTS.get(name, {}):
        env_id = f"vime_ref/{name}-v0"
        given = SMALL[env_id]
        assert [*given] == [argument]
        small = gym.make(env_id, **given)
        sizes = [each.unwrapped.observation_space for each in (env, small)]
        assert sizes[0] != sizes[1] or env.action_space != small.action_space
        with pytest.raises(TypeError, match="required positional argument"):
            type(env.unwrapped)()


def test_the_page_of_tasks_against_the_registry() -> None:
    """`PYTHONPATH=tests python -m gym_helpers` renews it. Control: another default."""
    pytest.importorskip("mujoco")
    [table] = TABLE.findall((ROOT / "docs" / "tasks.md").read_text())
    assert table == task_table()
    assert table.count("\n") == len(ENTRIES) + 2
    assert "`size=10`" in table
    assert table.replace("`size=10`", "`size=9`") != task_table()


def test_the_tests_know_every_task():
    assert {f"vime_ref/{name}-v0" for name in ENTRIES} == set(TASKS)


def test_labyrinth_is_truncated_after_its_steps() -> None:
    assert ENTRIES["Labyrinth"] == ("labyrinth", LABYRINTH_STEPS)


# ---------------------------------------------------------------- every task

every_task = pytest.mark.parametrize("env_id", TASKS)

drawn_tasks = pytest.mark.parametrize(
    "env_id", [env_id for env_id in TASKS if env_id not in ROBOTS]
)


@pytest.fixture(autouse=True)
def _log_of_mujoco_elsewhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes the warnings of its compiler to a file in the working folder."""
    monkeypatch.chdir(tmp_path)


def made(env_id: str, **options: Any) -> gym.Env:
    return gym.make(env_id, **TASKS[env_id], **options)


def started(env_id: str) -> gym.Env:
    env = made(env_id)
    env.reset(seed=0)
    env.action_space.seed(0)
    return env


INTEGERS = [
    np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
]  # fmt: skip


def forms(action: Any) -> list[Any]:
    """The action in every form that its space holds or that equals it."""
    if np.ndim(action) == 0:
        scalars = [kind(action) for kind in INTEGERS]
        flag = [bool(action)] * int(action < 2)  # a bool is in a Discrete space
        return [int(action), *scalars, *map(np.array, scalars), *flag]
    strided = np.repeat(action, 2)[::2]
    frozen = action.copy()
    frozen.setflags(write=False)
    others = [action.astype(">f4"), action.astype(float), action.tolist()]
    return [action, strided, frozen, tuple(action.tolist()), *others]


@every_task
def test_every_task_takes_its_actions_in_every_form(env_id):
    """Each form has the same effect as the sample of the space. Control: another action has another effect."""
    space = started(env_id).action_space
    action = space.sample()
    outcomes = [started(env_id).step(form)[:4] for form in forms(action)]
    for observation, *rest in outcomes:
        np.testing.assert_allclose(observation, outcomes[0][0], rtol=1e-5, atol=1e-7)
        assert rest == pytest.approx(outcomes[0][1:], rel=1e-5, abs=1e-7)
    if not isinstance(space, Discrete):
        other = started(env_id).step(-action)[0]
        assert not np.allclose(other, outcomes[0][0], rtol=1e-5, atol=1e-7)


def wrong(space: gym.Space) -> list[Any]:
    """Actions outside the space that no clipping brings inside."""
    never = [None, "0", math.nan, math.inf, 1j, {}, np.array(math.nan), [[0.0]]]
    if isinstance(space, Discrete):
        n = int(space.n)
        return [*never, -1, n, np.int64(-1), np.uint8(n), np.array(n), 2**70, [0], 0.0]
    full = np.zeros(space.shape)
    holes = [full + math.nan, full - math.inf, np.where(full == 0, math.nan, 0)]
    return [*never, *holes, full[:-1], np.append(full, 0.0), full[None], full + 1j, 0.0]


@every_task
def test_no_task_takes_another_action_or_moves_by_it(env_id):
    env = started(env_id)
    twin = started(env_id)
    good = env.action_space.sample()
    for action in wrong(env.action_space):
        with pytest.raises(ValueError, match=r"^action must"):
            env.step(action)
    for mine, other in zip(env.step(good), twin.step(good)):
        np.testing.assert_equal(mine, other)


def run_to_the_end(env: gym.Env) -> int:
    """The number of steps of an episode of random actions."""
    for num_steps in itertools.count(1):
        if any(env.step(env.action_space.sample())[2:4]):
            return num_steps


@every_task
def test_every_task_takes_steps_between_reset_and_end_only(env_id):
    """Whether the task or its time limit ends the episode. A rejected step changes nothing."""
    env = made(env_id)
    action = env.action_space.sample()
    with pytest.raises(ResetNeeded):
        env.step(action)
    env.reset(seed=0)
    env.action_space.seed(0)
    run_to_the_end(env)
    for _ in range(2):
        with pytest.raises(ResetNeeded):
            env.step(action)
    env.reset()
    env.step(action)


def test_a_time_limit_of_the_caller_ends_the_episode_too():
    env = made("vime_ref/KeyDoorMaze-v0", max_episode_steps=3)
    env.reset(seed=0)
    assert run_to_the_end(env) == 3
    with pytest.raises(ResetNeeded, match="call reset before the next step"):
        env.step(0)


def test_parallel_environments_reset_at_an_end():
    """Gymnasium's vector environments call reset where an episode has ended, so no step is rejected."""
    envs = gym.make_vec("vime_ref/KeyDoorMaze-v0", 2, vectorization_mode="sync")
    envs.reset(seed=0)
    ends = [envs.step(np.zeros(2, int))[3] for _ in range(402)]
    assert np.sum(ends, axis=0).tolist() == [2, 2]


@drawn_tasks
def test_every_task_draws_a_picture_without_a_display(env_id):
    env = made(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    env.action_space.seed(0)
    pictures = [env.render()]
    while len(pictures) < 60:
        if any(env.step(env.action_space.sample())[2:4]):
            pictures.append(env.render())
            env.reset()
        pictures.append(env.render())
    for picture in pictures:
        assert (picture.dtype, picture.shape) == (np.uint8, pictures[0].shape)
        assert picture.ndim == 3
        assert picture.shape[2] == 3
        assert not any(side % 2 for side in picture.shape[:2])
    assert len({picture.tobytes() for picture in pictures}) > 1
    assert (env.render_mode, env.metadata["render_modes"]) == (
        "rgb_array",
        ["rgb_array"],
    )
    assert env.metadata["render_fps"] > 0


@every_task
def test_no_task_draws_without_a_render_mode(env_id):
    assert started(env_id).render() is None
    assert started(env_id).render_mode is None


@every_task
@pytest.mark.filterwarnings("ignore:.*that is not in the possible render_modes")
def test_an_unknown_render_mode_is_named(env_id):
    with pytest.raises(ValueError, match=r"^render_mode must be .*, got 'ascii'"):
        made(env_id, render_mode="ascii")


@drawn_tasks
def test_videos_are_recorded_of_every_task(env_id, tmp_path, monkeypatch):
    """`RecordVideo` with a stand-in for moviepy: the frames of 3 steps. The robots' test is in test_robots.py."""
    modules: dict[str, Any] = {}
    clips = instead_of_moviepy(modules)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    env = record(made(env_id, render_mode="rgb_array"), tmp_path / "videos")
    ((frames, fps),) = clips
    assert frames.dtype == np.uint8
    assert frames.ndim == 4
    assert fps == env.metadata["render_fps"]


@drawn_tasks
@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # moviepy's
def test_moviepy_writes_videos_of_every_task(env_id, tmp_path):
    """With even sides, because many players can't show others."""
    moviepy = pytest.importorskip("moviepy")
    record(made(env_id, render_mode="rgb_array"), tmp_path / "videos")
    (path,) = (tmp_path / "videos").glob("*.mp4")
    with moviepy.VideoFileClip(str(path)) as clip:
        assert not any(side % 2 for side in clip.size)
        assert clip.n_frames >= 3


@pytest.mark.parametrize(
    ("env_id", "seconds"),
    [
        ("vime_ref/SparseCartPoleSwingup-v0", 0.05),
        ("vime_ref/SparseHalfCheetah-v0", 0.01),
        ("vime_ref/Walker2D-v0", 0.008),
    ],
)
def test_a_video_is_as_fast_as_the_task(env_id, seconds):
    """Control: the car, whose step has no seconds, is as fast as Gymnasium's."""
    if env_id in ROBOTS:
        pytest.importorskip("mujoco")
    assert made(env_id).metadata["render_fps"] * seconds == pytest.approx(1.0)
    car, ours = (
        gym.make(name).metadata["render_fps"]
        for name in ("MountainCarContinuous-v0", "vime_ref/SparseMountainCar-v0")
    )
    assert car == ours
    assert car * seconds != pytest.approx(1.0)


# Choices of the tasks: forces in newtons, speeds without bound, small images, maps.
BY_DESIGN = (
    "ignore:.*we recommend using a symmetric and normalized:UserWarning",
    "ignore:.*is.*infinity. This is probably too:UserWarning",
    "ignore:We recommend you to use a symmetric and normalized:UserWarning",
    "ignore:Your action space has dtype float64:UserWarning",
    "ignore:Your observation .* has an unconventional shape:UserWarning",
    "ignore:The minimal resolution for an image is 36x36:UserWarning",
)


def checks(check: Callable[..., None], env: gym.Env, **options: Any) -> None:
    """Run the check; warnings other than those by design are errors."""
    with warnings.catch_warnings():
        for message in BY_DESIGN:
            action, pattern, _ = message.split(":")
            warnings.filterwarnings(action, pattern, UserWarning)
        check(env, **options)


@every_task
def test_gymnasium_check_env_passes(env_id):
    checks(check_env, made(env_id).unwrapped, skip_render_check=env_id in ROBOTS)


@every_task
def test_stable_baselines_check_env_passes(env_id):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checks(checker.check_env, made(env_id))


def test_the_package_needs_no_stable_baselines() -> None:
    """Everything but `vime_gym.sb3` is imported without it."""
    names = ["vime_gym", *(f"vime_gym.{name}" for name in ("wrappers", "vectors"))]
    script = f"import sys, {', '.join(names)}; print('stable_baselines3' in sys.modules, 'torch' in sys.modules)"
    assert printed(script).split() == ["False", "False"]

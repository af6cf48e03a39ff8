"""Tasks of `vime_gym.robots`: rewards and ends; everything else agrees with Gymnasium's own tasks."""

import copy
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from numpy.random import default_rng

from vime_gym import robots
from vime_gym.robots import SparseHalfCheetah, Walker2D

ROOT = Path(__file__).parent.parent.parent

CHEETAH, CHEETAH_V5 = "vime_ref/SparseHalfCheetah-v0", "HalfCheetah-v5"

WALKER, WALKER_V5 = "vime_ref/Walker2D-v0", "Walker2d-v5"


@pytest.fixture(autouse=True, scope="module")
def _log_of_mujoco_elsewhere(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """MuJoCo writes the warnings of its compiler to a file in the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("mujoco"))
        yield


# ---------------------------------------------------------------- SparseHalfCheetah and Walker2D


@pytest.mark.parametrize("name", [CHEETAH, WALKER])
def test_a_robot_leaves_no_log_in_the_folder(name, tmp_path, monkeypatch, capfd):
    """The user's handler of warnings is back. Control: Gymnasium's HalfCheetah leaves one."""
    monkeypatch.chdir(tmp_path)
    mine: list[str] = []
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(mine.append)
    try:
        gym.make(name)
        assert mujoco.get_mju_user_warning() == mine.append
    finally:
        mujoco.set_mju_user_warning(before)
    gym.make(name)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
    gym.make(CHEETAH_V5)
    warned = "settotalmass" in capfd.readouterr().err  # not by older versions
    assert Path("MUJOCO_LOG.TXT").exists() == warned


def test_other_warnings_of_mujoco_are_python_s():
    with pytest.warns(UserWarning, match="mass is 0"), robots.no_log_file():
        mujoco.get_mju_user_warning()("mass is 0")


HOLDS_X = {"exclude_current_positions_from_observation": False}


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [(CHEETAH, CHEETAH_V5, {"frame_skip": 1, **HOLDS_X}), (WALKER, WALKER_V5, HOLDS_X)],
    ids=["SparseHalfCheetah", "Walker2D"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_mujoco_tasks_move_and_end_as_gymnasiums_own_bit_for_bit(
    ours, theirs, options, seed
):
    """Controls: another seed starts elsewhere, and another frame_skip ends elsewhere."""
    skipping = gym.make(theirs, **{**options, "frame_skip": 2})
    ours, theirs = gym.make(ours), gym.make(theirs, **options)
    starts = [env.reset(seed=seed)[0] for env in (ours, theirs)]
    assert np.array_equal(*starts)
    assert not np.array_equal(starts[0], ours.reset(seed=seed + 1)[0])
    for env in (ours, skipping):
        env.reset(seed=seed)
    for action in default_rng(seed).uniform(-1, 1, (300, 6)).astype(np.float32):
        mine, other = ours.step(action), theirs.step(action)
        assert np.array_equal(mine[0], other[0])
        assert mine[0].shape == (18,)
        assert mine[0][0] == ours.unwrapped.data.qpos[0]
        assert mine[2:4] == other[2:4]
        assert not np.array_equal(mine[0], skipping.step(action)[0])
        if mine[2]:
            break
    assert mine[2] == (ours.spec.id == WALKER)  # it falls, the cheetah does not end


def frozen(env_id: str, x: float) -> gym.Env:
    """The robot at torso position x, with frozen physics."""
    env = gym.make(env_id)
    env.reset(seed=0)
    robot = env.unwrapped
    robot.set_state(np.array([x, *robot.init_qpos[1:]]), robot.init_qvel)
    robot.do_simulation = lambda *_: None
    return env


@pytest.mark.parametrize(
    ("x", "reward"),
    [(5.0, 0.0), (math.nextafter(5.0, 6.0), 1.0), (6.0, 1.0), (0.0, 0.0), (-6.0, 0.0)],
)
@pytest.mark.parametrize("action", [-1.0, 0.0, 1.0])
def test_cheetah_is_rewarded_1_exactly_where_x_is_beyond_5_and_no_action_costs(
    x, reward, action
):
    _, paid, terminated, _, info = frozen(CHEETAH, x).step(
        np.full(6, action, dtype=np.float32)
    )
    assert (paid, terminated, info["x_position"]) == (reward, False, x)
    assert info["reward_ctrl"] == pytest.approx(
        -0.6 * action**2
    )  # HalfCheetah-v5's control cost


@pytest.mark.parametrize(
    ("start", "velocity", "reward"), [(4.95, 10.0, 1.0), (5.05, -10.0, 0.0)]
)
def test_cheetah_is_rewarded_by_where_a_step_ends(start, velocity, reward):
    env = gym.make(CHEETAH)
    env.reset(seed=0)
    robot = env.unwrapped
    qpos, qvel = robot.init_qpos.copy(), robot.init_qvel.copy()
    qpos[0], qvel[0] = start, velocity
    robot.set_state(qpos, qvel)
    observation, paid, _, _, _ = env.step(np.zeros(6, dtype=np.float32))
    assert (paid, observation[0] > 5.0) == (reward, bool(reward))


def test_cheetah_is_rewarded_by_its_torso_where_the_original_takes_the_center_of_mass():
    """The center of mass is 4 cm ahead of the torso: with the torso at 4.98 m the original would give a reward."""
    env = frozen(CHEETAH, 4.98)
    center = env.unwrapped.data.body("torso").subtree_com[0]
    paid = env.step(np.zeros(6, dtype=np.float32))[1]
    assert (paid, float(center > 5.0)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("env_id", "options"),
    [(CHEETAH, {}), (WALKER, {"terminate_when_unhealthy": False})],
    ids=["cheetah", "walker"],
)
def test_mujoco_episodes_are_truncated_after_exactly_500_steps(env_id, options):
    env = gym.make(env_id, **options)
    env.reset(seed=0)
    ends = [
        env.step(a)[2:4]
        for a in default_rng(0).uniform(-1, 1, (500, 6)).astype(np.float32)
    ]
    assert ends == [(False, False)] * 499 + [(False, True)]


def test_walker_is_rewarded_with_speed_less_control_cost_against_positions():
    """Control: Walker2d-v5 adds 1 per step for staying upright, so its own rewards must not fit."""
    env, dense = gym.make(WALKER), gym.make(WALKER_V5)
    env.reset(seed=3)
    dense.reset(seed=3)
    assert env.unwrapped.dt == pytest.approx(0.008, rel=1e-12)
    for action in default_rng(3).uniform(-1, 1, (20, 6)).astype(np.float32):
        before = env.unwrapped.data.qpos[0]
        observation, reward, terminated, _, _ = env.step(action)
        expected = (observation[0] - before) / 0.008 - 0.001 * np.sum(
            action.astype(float) ** 2
        )
        assert reward == pytest.approx(
            expected, rel=1e-6, abs=1e-9
        )  # the cost is summed in float32
        assert dense.step(action)[1] - reward == pytest.approx(1.0)
        assert not terminated


@pytest.mark.parametrize("hidden", [True, False])
def test_mujoco_tasks_name_their_extra_where_mujoco_is_missing(hidden, tmp_path):
    """Without mujoco, a process can make the other tasks; the error names the missing package."""
    script = f"""
import sys
if {hidden}:
    sys.modules["mujoco"] = None
import gymnasium, vime_gym
for task in ("SparseMountainCar", "SparseCartPoleSwingup", "SparseHalfCheetah", "Walker2D"):
    try:
        gymnasium.make(f"vime_ref/{{task}}-v0")
        print(task, "made")
    except gymnasium.error.DependencyNotInstalled as error:
        print(error)
"""
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=path,
        capture_output=True,
        text=True,
        check=True,
    )
    robots = (
        'SparseHalfCheetah and Walker2D need mujoco (extra "mujoco"): '
        "pip install 'gymnasium[mujoco]>=1.1' 'mujoco>=2.3.3'"
    )
    assert done.stdout.splitlines() == [
        "SparseMountainCar made",
        "SparseCartPoleSwingup made",
        robots if hidden else "SparseHalfCheetah made",
        robots if hidden else "Walker2D made",
    ]


# ---------------------------------------------------------------- arguments, copies and pictures


@pytest.mark.parametrize("task", [SparseHalfCheetah, Walker2D])
def test_a_pickled_robot_keeps_its_arguments(task):
    """Gymnasium's robots are pickled by their arguments. Control: without the argument the start is another."""
    env = task(reset_noise_scale=0.2)
    twins = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    first = env.reset(seed=5)[0]
    for twin in twins:
        assert type(twin) is task
        assert np.array_equal(twin.reset(seed=5)[0], first)
    assert not np.array_equal(task().reset(seed=5)[0], first)


@pytest.mark.parametrize("task", [SparseHalfCheetah, Walker2D])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reset_noise_scale", math.nan),
        ("ctrl_cost_weight", math.inf),
        ("render_mode", "ascii"),
    ],
)
def test_bad_arguments_of_a_robot_are_named(task, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*, got .*{value}"):
        task(**{name: value})


DRAW = """
import gymnasium, vime_gym
for _ in range(2):
    try:
        env = gymnasium.make("vime_ref/Walker2D-v0", render_mode="rgb_array")
        env.reset(seed=0)
        picture = env.render()
        print("picture", picture.shape, picture.dtype, len(set(picture.ravel())) > 10)
    except gymnasium.error.DependencyNotInstalled as error:
        print(error)
"""
RECORD = """
import pathlib, sys, gymnasium, vime_gym, gym_helpers
clips = gym_helpers.instead_of_moviepy(sys.modules)
for name in ("SparseHalfCheetah", "Walker2D"):
    env = gymnasium.make(f"vime_ref/{name}-v0", render_mode="rgb_array")
    gym_helpers.record(env, pathlib.Path("videos"))
for frames, fps in clips:
    print(frames.shape[1:], fps, len({frame.tobytes() for frame in frames}) > 1)
"""


def printed(script: str, backend: str, folder: Path) -> list[str]:
    """The lines that a process without a display prints, by this backend of OpenGL."""
    bare = {name: text for name, text in os.environ.items() if name != "DISPLAY"}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**bare, "PYTHONPATH": paths, "MUJOCO_GL": backend},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def drawn(backend: str, folder: Path) -> str:
    """What a process prints that draws the walker twice: one line, twice."""
    first, again = printed(DRAW, backend, folder)
    assert again == first
    return first


def test_robots_say_what_drawing_lacks(tmp_path):
    """A machine with EGL draws by it, another says what is missing; the others draw nothing without a display.

    A second attempt says the same: MuJoCo aborts a process that asks OpenGL again after a failure.
    """
    missing = "Walker2D is drawn by OpenGL, which failed"
    assert drawn("egl", tmp_path).startswith(
        ("picture (480, 480, 3) uint8 True", missing)
    )
    for backend in ("disable", "glfw"):
        message = drawn(backend, tmp_path)
        assert message.startswith(missing)
        assert "set MUJOCO_GL=egl" in message
    assert drawn("osmesa", tmp_path).startswith(
        (
            "picture (480, 480, 3) uint8 True",
            missing,
            "MUJOCO_GL=osmesa needs the library OSMesa: install it, or set MUJOCO_GL=egl",
        )
    )


def test_videos_are_recorded_of_the_robots(tmp_path):
    """By EGL, where the machine has it: frames of a robot that moves, at its own speed."""
    if not drawn("egl", tmp_path).startswith("picture"):
        pytest.skip("this machine has no EGL")
    assert printed(RECORD, "egl", tmp_path) == [
        "(480, 480, 3) 100 True",
        "(480, 480, 3) 125 True",
    ]

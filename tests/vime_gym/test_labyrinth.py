"""The labyrinth: its mazes, moves and pixels."""

import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
from gym_helpers import LABYRINTH, WAYS, at
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from strategies import seeds

from vime_gym import labyrinth
from vime_gym.labyrinth import Labyrinth, carve_maze

# ---------------------------------------------------------------- Labyrinth

TURN_LEFT, TURN_RIGHT, FORWARD, BACK = range(4)

Pose = tuple[int, int, int]  # row, column, heading: 0 up, 1 right, 2 down, 3 left


def can_be_reached(walls: np.ndarray) -> int:
    """Free cells reachable from the first room, by breadth-first search."""
    seen = [(1, 1)]
    for r, c in seen:
        near = [(r + down, c + right) for down, right in WAYS.values()]
        seen += [cell for cell in near if not walls[cell] and cell not in seen]
    return len(seen)


def written(env: Labyrinth) -> list[str]:
    return ["".join(" #aG"[sign] for sign in line) for line in env.maze]


def poses(lines: list[str], signs: str = " ") -> list[Pose]:
    return [
        (r, c, h)
        for r, line in enumerate(lines)
        for c, sign in enumerate(line)
        if sign in signs
        for h in range(4)
    ]


def pose_of(env: Labyrinth) -> Pose:
    cell, heading = divmod(env.state, 4)
    return (*divmod(cell, len(env.maze)), heading)


def place(env: Labyrinth, pose: Pose) -> int:
    row, column, heading = pose
    return 4 * (row * len(env.maze) + column) + heading


def walk_labyrinth(
    lines: list[str], pose: Pose, action: int, turn: int = 1
) -> tuple[Pose, float]:
    """An action's next state, with the goal as an ordinary cell, and its reward."""
    row, column, heading = pose
    if action in (TURN_LEFT, TURN_RIGHT):
        return (
            row,
            column,
            (heading + turn * (1 if action == TURN_RIGHT else 3)) % 4,
        ), 0.0
    down, right = WAYS[heading if action == FORWARD else (heading + 2) % 4]
    sign = lines[row + down][column + right]
    return pose if sign == "#" else (row + down, column + right, heading), {
        "a": 1.0,
        "G": 10.0,
    }.get(sign, 0.0)


def steps_to_goal(lines: list[str], pose: Pose) -> int:
    """Distances by breadth-first search, ignoring apples."""
    seen = {pose: 0}
    queue = [pose]
    for each in queue:
        for action in range(4):
            after, _ = walk_labyrinth(lines, each, action)
            if after not in seen:
                seen[after] = seen[each] + 1
                queue.append(after)
    return min(
        steps for (row, column, _), steps in seen.items() if lines[row][column] == "G"
    )


def slow_view(
    lines: list[str], pose: Pose, radius: int = 2, turn: int = 1, hide: bool = True
) -> list[str]:
    """The whole map inside walls, rotated until the agent faces up, and then reduced to the visible cells."""
    n = 2 * len(lines)
    field = (
        ["#" * 5 * len(lines)] * n
        + ["#" * n + line + "#" * n for line in lines]
        + ["#" * 5 * len(lines)] * n
    )
    row, column, heading = pose[0] + n, pose[1] + n, pose[2]
    for _ in range(turn * heading % 4):
        field = ["".join(line) for line in zip(*field)][::-1]
        row, column = len(field) - 1 - column, row

    def seen(i: int, j: int) -> bool:
        touched = [
            (a, b)
            for a in (-1, 0, 1)
            for b in (-1, 0, 1)
            if abs(2 * a - i) <= 1 and abs(2 * b - j) <= 1
        ]
        return any(field[row + a][column + b] != "#" for a, b in touched)

    reach = range(-radius, radius + 1)
    return [
        "".join(
            field[row + i][column + j] if not hide or seen(i, j) else "#" for j in reach
        )
        for i in reach
    ]


@given(rooms=st.integers(2, 6), seed=seeds)
@settings(max_examples=20)
def test_mazes_are_trees_against_breadth_first_search(rooms, seed):
    """All free cells are reachable, with one passage fewer than rooms; closing any passage disconnects some."""
    walls = carve_maze(rooms, default_rng(seed).permutation(2 * rooms * (rooms - 1)))
    assert walls.shape == (2 * rooms + 1, 2 * rooms + 1)
    assert walls[[0, -1]].all()
    assert walls[:, [0, -1]].all()
    assert not walls[1::2, 1::2].any()
    assert np.sum(~walls) == 2 * rooms**2 - 1
    assert can_be_reached(walls) == np.sum(~walls)
    for r, c in np.argwhere(~walls):
        if (r + c) % 2:
            cut = walls.copy()
            cut[r, c] = True
            assert can_be_reached(cut) < np.sum(~cut)


def test_each_order_of_walls_gives_its_maze_against_all_24_of_four_rooms():
    """Three walls are removed and the last one tried stays: the four mazes are equally likely."""
    between = [(1, 2), (2, 1), (2, 3), (3, 2)]
    for order in itertools.permutations(range(4)):
        walls = carve_maze(2, order)
        assert [walls[cell] for cell in between] == [n == order[-1] for n in range(4)]


@given(rooms=st.integers(2, 5), seed=seeds)
@settings(max_examples=20)
def test_each_episode_has_a_goal_and_4_apples_in_a_maze_and_starts_elsewhere(
    rooms, seed
):
    env = Labyrinth(rooms=rooms)
    env.reset(seed=seed)
    lines = written(env)
    assert [sum(line.count(sign) for line in lines) for sign in "Ga "] == [
        1,
        4,
        2 * rooms**2 - 6,
    ]
    assert can_be_reached(env.maze == 1) == 2 * rooms**2 - 1
    assert lines[pose_of(env)[0]][pose_of(env)[1]] == " "


def test_labyrinth_repeats_itself_with_its_seeds():
    """`seed` reproduces everything; `maze_seed` fixes the maze but not the start, which `seed` fixes."""

    def episodes(seed: int, maze_seed: int | None = None) -> list[list]:
        env = gym.make(LABYRINTH, maze_seed=maze_seed)
        seen = []
        for start in (seed, None):
            images = [env.reset(seed=start)[0]]
            maze, pose = written(env.unwrapped), pose_of(env.unwrapped)
            steps = [env.step(action) for action in default_rng(1).integers(0, 4, 60)]
            assert all(step[0] in env.observation_space for step in steps)
            images += [step[0] for step in steps]
            seen += [
                maze,
                pose,
                [step[1:] for step in steps],
                np.array(images).tobytes(),
            ]
        return seen

    first = episodes(5)
    assert first == episodes(5)
    assert all(a != b for a, b in zip(first[:2], episodes(6)[:2]))
    assert first[0] != first[4]
    fixed, again, other = episodes(5, 0), episodes(6, 0), episodes(5, 1)
    assert fixed == episodes(5, 0)
    assert fixed[0] == fixed[4] == again[0] == again[4] != other[0]
    assert len({fixed[1], fixed[5], again[1], again[5]}) == 4


@pytest.mark.parametrize(("rooms", "seed"), [(2, 0), (4, 1), (5, 2)])
def test_labyrinth_pixels_against_the_whole_map_turned(rooms, seed):
    """In each pose, with and without apples. Controls: the other rotation, and a view through walls, differ."""
    env, wrong = Labyrinth(rooms=rooms), [0, 0, 0]
    env.reset(seed=seed)
    colors = {
        " ": (255, 255, 255),
        "#": (60, 60, 60),
        "a": (250, 150, 0),
        "G": (0, 160, 0),
    }
    for eaten in (False, True):
        if eaten:
            env.maze[env.maze == labyrinth.APPLE] = labyrinth.FLOOR
        lines = written(env)
        for pose in poses(lines):
            view = slow_view(lines, pose)
            pixels = np.kron(
                [[colors[sign] for sign in line] for line in view],
                np.ones((4, 4, 1), int),
            )
            image = env.image(place(env, pose))
            assert image.dtype == np.uint8
            assert np.array_equal(image, pixels)
            variants = (
                slow_view(lines, pose, turn=-1),
                slow_view(lines, pose, turn=0),
                slow_view(lines, pose, hide=False),
            )
            wrong = [
                count + (variant != view) for count, variant in zip(wrong, variants)
            ]
    assert min(wrong) > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_labyrinth_moves_against_its_rule_in_every_pose(seed):
    """An action's next state, reward and eaten apple. Control: left and right exchanged do not fit."""
    env, differ, ways = Labyrinth(seed, rooms=3), 0, set()
    env.reset(seed=0)
    lines = written(env)
    for pose, action in itertools.product(poses(lines), range(4)):
        after, reward = walk_labyrinth(lines, pose, action)
        _, *outcome = at(env, place(env, pose)).step(action)
        assert outcome == [reward, False, False, {}]
        ways.add((action, reward))
        changed = [
            (r, c)
            for r, line in enumerate(lines)
            for c, sign in enumerate(line)
            if written(env)[r][c] != sign
        ]
        assert changed == ([after[:2]] if reward == 1 else [])
        if reward < 10:
            assert pose_of(env) == after
            differ += pose_of(env) != walk_labyrinth(lines, pose, action, turn=-1)[0]
    assert differ == 2 * len(poses(lines))
    assert ways == {(0, 0), (1, 0), *itertools.product((2, 3), (0, 1, 10))}


def test_returns_of_the_labyrinth_against_a_walk_by_hand():
    """Up for an apple, which is there once, down and around for three, back up to the goal: 14; then all return."""
    env = Labyrinth(rooms=2)
    env.reset(seed=0)
    drawing = ["#####", "#a G#", "# ###", "#aaa#", "#####"]
    env.maze[:] = [[" #aG".index(sign) for sign in line] for line in drawing]
    env.apples, env.free = np.array([6, 16, 17, 18]), np.array([7, 11])
    env.state = place(env, (2, 1, 0))
    way = [  # action, reward, where it ends
        (FORWARD, 1, (1, 1, 0)),
        (BACK, 0, (2, 1, 0)),
        (FORWARD, 0, (1, 1, 0)),
        (FORWARD, 0, (1, 1, 0)),
        (BACK, 0, (2, 1, 0)),
        (BACK, 1, (3, 1, 0)),
        (BACK, 0, (3, 1, 0)),
        (TURN_RIGHT, 0, (3, 1, 1)),
        (FORWARD, 1, (3, 2, 1)),
        (FORWARD, 1, (3, 3, 1)),
        (TURN_LEFT, 0, (3, 3, 0)),
        (TURN_LEFT, 0, (3, 3, 3)),
        (FORWARD, 0, (3, 2, 3)),
        (FORWARD, 0, (3, 1, 3)),
        (TURN_RIGHT, 0, (3, 1, 0)),
        (FORWARD, 0, (2, 1, 0)),
        (FORWARD, 0, (1, 1, 0)),
        (TURN_LEFT, 0, (1, 1, 3)),
        (BACK, 0, (1, 2, 3)),
    ]
    lasting = 0.0  # the return if apples did not disappear
    for action, reward, end in way:
        lasting += walk_labyrinth(drawing, pose_of(env), action)[1]
        assert env.step(action)[1:] == (reward, False, False, {})
        assert pose_of(env) == end
    assert (sum(reward for _, reward, _ in way), lasting) == (4, 8)
    assert written(env) == [line.replace("a", " ") for line in drawing]
    image, *outcome = env.step(BACK)
    assert outcome == [10.0, False, False, {}]
    assert written(env) == drawing
    assert pose_of(env) in poses(drawing)
    assert np.array_equal(image, env.image(env.state))
    assert env.step(TURN_LEFT)[1:] == (0.0, False, False, {})


def test_the_goal_leads_to_all_free_poses_alike_within_five_standard_errors():
    """Chi-square over the 8 poses of 2 free cells; headings drawn from two of four do not fit."""
    env = Labyrinth(0, rooms=2)
    env.reset(seed=0)
    lines = written(env)
    pose, action = next(
        each
        for each in itertools.product(poses(lines, " a"), (FORWARD, BACK))
        if walk_labyrinth(lines, *each)[1] == 10
    )

    def uniform(reached: list[Pose]) -> bool:
        counts = np.array([reached.count(each) for each in poses(lines)])
        chi_square = np.sum((counts - len(reached) / 8) ** 2) / (
            len(reached) / 8
        )  # mean 7, variance 14
        return bool(counts.sum() == len(reached) and chi_square < 7 + 5 * math.sqrt(14))

    reached = []
    for _ in range(800):
        env.state = place(env, pose)
        env.step(action)
        reached.append(pose_of(env))
    assert uniform(reached)
    assert not uniform([(row, column, heading % 2) for row, column, heading in reached])


def test_equal_pixels_call_for_different_actions_against_breadth_first_search():
    """A memoryless agent cannot distinguish the two poses and fails in one; with the whole map it could."""
    env = Labyrinth(3)
    env.reset(seed=0)
    lines = written(env)

    def best(pose: Pose) -> set[int]:
        steps = [
            steps_to_goal(lines, walk_labyrinth(lines, pose, action)[0])
            for action in range(4)
        ]
        return {action for action in range(4) if steps[action] == min(steps)}

    def alike(views: dict[Pose, object]) -> list[tuple[Pose, Pose]]:
        return [
            (a, b) for a, b in itertools.combinations(views, 2) if views[a] == views[b]
        ]

    pairs = alike(
        {pose: env.image(place(env, pose)).tobytes() for pose in poses(lines)}
    )
    assert any(not best(a) & best(b) for a, b in pairs)
    assert (
        alike(
            {
                pose: slow_view(lines, pose, radius=len(lines), hide=False)
                for pose in poses(lines)
            }
        )
        == []
    )


def test_the_picture_of_the_labyrinth_against_its_map():
    """One color per cell, except the agent's: an arrow, wide at its back and pointed in front."""
    env = Labyrinth(1, "rgb_array")
    env.reset(seed=0)
    lines = written(env)
    colors = {
        " ": [255, 255, 255],
        "#": [60, 60, 60],
        "a": [250, 150, 0],
        "G": [0, 160, 0],
    }
    for pose in poses(lines)[:12]:
        env.state = place(env, pose)
        picture = env.render()
        assert (picture.shape, picture.dtype) == ((144, 144, 3), np.uint8)
        for r, c in itertools.product(range(9), repeat=2):
            block = picture[16 * r : 16 * r + 16, 16 * c : 16 * c + 16]
            if (r, c) == pose[:2]:
                red = (block == [210, 0, 0]).all(axis=2)
                assert (block[~red] == colors[" "]).all()
                edges = [
                    red[0],
                    red[:, -1],
                    red[-1],
                    red[:, 0],
                ]  # up, right, down, left
                assert [edge.all() for edge in edges] == [
                    n == (pose[2] + 2) % 4 for n in range(4)
                ]
                assert not edges[pose[2]].any()
                assert red.sum() > 100
            else:
                assert (block == colors[lines[r][c]]).all()
    assert Labyrinth().render() is None

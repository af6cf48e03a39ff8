"""The small tasks: rules in every state, probabilities, pictures; and properties of every task."""

import copy
import itertools
import math
import pickle
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest
from gym_helpers import (
    DOWN,
    LABYRINTH,
    LEFT,
    RIGHT,
    SMALL,
    SPARSE,
    SWINGUP,
    TO_TV,
    UP,
    VIEWS,
    WAYS,
    at,
    is_color,
)
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from strategies import seeds

from vime_gym import rooms
from vime_gym.labyrinth import Labyrinth, carve_maze
from vime_gym.rooms import (
    BernoulliBandit,
    Chain,
    DeepSea,
    KeyDoorMaze,
    NoisyTV,
    deep_sea_score,
    deep_sea_solved,
)

small = pytest.mark.parametrize(("env_id", "options"), [*SMALL.items(), *VIEWS])

small_and_labyrinth = pytest.mark.parametrize(
    ("env_id", "options"), [*SMALL.items(), *VIEWS, (LABYRINTH, {})]
)


@small_and_labyrinth
def test_small_tasks_against_gymnasium_check_env(env_id, options):
    check_env(gym.make(env_id, **options).unwrapped)


@small
@given(seed=seeds)
@settings(max_examples=3)
def test_small_tasks_repeat_themselves_with_the_seed_within_their_spaces(
    env_id, options, seed
):
    """For the random tasks, another seed gives another episode."""
    runs, chance = [], "Bandit" in env_id or "Noisy" in env_id
    for start in (seed, seed, seed + 1):
        env = gym.make(env_id, **options)
        seen = [env.reset(seed=start)]
        for action in (
            TO_TV + [UP] * 40
            if "NoisyTV" in env_id
            else default_rng(seed).integers(0, 2, 100)
        ):
            seen.append(env.step(action))
            if seen[-1][2] or seen[-1][3]:
                seen.append(env.reset())
        assert all(each[0] in env.observation_space for each in seen)
        runs.append(repr(seen))
    assert runs[0] == runs[1]
    assert (runs[0] == runs[2]) != chance


@small_and_labyrinth
@pytest.mark.parametrize(
    "action", [-1, 5, 1.0, np.float64(0), None, "0", [0], math.nan]
)
def test_small_tasks_reject_a_bad_action_and_stay_as_they_are(env_id, options, action):
    task = gym.make(env_id, **options).unwrapped
    with pytest.raises(
        ResetNeeded, match="must be reset before its first step and after its last"
    ):
        task.step(0)
    task.reset(seed=0)
    before = task.state
    with pytest.raises(
        ValueError, match=r"action must be a whole number from 0 to \d, got"
    ):
        task.step(action)
    with pytest.raises(
        ValueError, match=rf"from 0 to {task.num_actions - 1}, got {task.num_actions}"
    ):
        task.step(task.num_actions)
    assert (task.state, task.ended) == (before, False)
    task.step(np.int64(task.num_actions - 1))


@pytest.mark.parametrize(
    ("task", "actions"),
    [
        (BernoulliBandit([0.5]), [0]),
        (Chain(3), [0] * 11),
        (DeepSea(3), [0] * 3),
        (NoisyTV(), [3] * 2 + [2] * 2 + [1] * 4),
    ],
)
def test_small_tasks_take_no_step_after_the_last(task, actions):
    task.reset(seed=0)
    ends = [any(task.step(action)[2:4]) for action in actions]
    assert ends == [False] * (len(actions) - 1) + [True]
    with pytest.raises(ResetNeeded):
        task.step(0)
    task.reset()
    task.step(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BernoulliBandit([]),
            r"means must be probabilities \(K,\) with K >= 1, got",
        ),
        (lambda: BernoulliBandit([[0.5]]), "means must have shape"),
        (lambda: BernoulliBandit([0.5, 1.1]), "means must be"),
        (lambda: BernoulliBandit([-0.1]), "means must be"),
        (lambda: BernoulliBandit([math.nan]), "means must be"),
        (lambda: Chain(2), "size must be a whole number >= 3, got 2"),
        (lambda: DeepSea(1), "size must be a whole number >= 2, got 1"),
        (
            lambda: DeepSea(4, "image"),
            "observation must be 'index' or 'onehot' or 'coordinates', got 'image'",
        ),
        (
            lambda: KeyDoorMaze("onehot"),
            "observation must be 'image' or 'index' or 'coordinates', got 'onehot'",
        ),
        (
            lambda: NoisyTV(render_mode="human"),
            "render_mode must be 'rgb_array', got 'human'",
        ),
        (lambda: Chain(1_000_001), "size must be <= 1000000, got 1000001"),
        (lambda: Chain(True), "size must be a whole number >= 3, got True"),
        (lambda: DeepSea(1001), "size must be <= 1000, got 1001"),
        (lambda: DeepSea("4"), "size must be a whole number >= 2, got"),
        (
            lambda: DeepSea(4, mapping_seed=-1),
            "mapping_seed must be a whole number >= 0, got -1",
        ),
        (
            lambda: DeepSea(4, mapping_seed=2**32),
            "mapping_seed must be <= 4294967295, got 4294967296",
        ),
        (
            lambda: DeepSea(4, randomize_actions=1),
            "randomize_actions must be True or False, got 1",
        ),
        (lambda: BernoulliBandit("ab"), "means must"),
        (lambda: BernoulliBandit([1j]), "means must"),
        (lambda: BernoulliBandit(0.5), "means must"),
        (
            lambda: Chain(4, render_mode="human"),
            "render_mode must be 'rgb_array', got 'human'",
        ),
        (lambda: Labyrinth(rooms=101), "rooms must be <= 100, got 101"),
        (lambda: Labyrinth(rooms=True), "rooms must be a whole number >= 2, got True"),
        (lambda: Labyrinth(1.5), "maze_seed must be a whole number >= 0, got 1.5"),
        (lambda: Labyrinth(rooms=1), "rooms must be a whole number >= 2, got 1"),
        (lambda: Labyrinth(rooms=2.0), "rooms must be a whole number >= 2, got 2.0"),
        (lambda: Labyrinth(-1), "maze_seed must be a whole number >= 0, got -1"),
        (
            lambda: Labyrinth(render_mode="human"),
            "render_mode must be 'rgb_array', got 'human'",
        ),
        (
            lambda: carve_maze(2, [0, 1, 2, 2]),
            r"order must be a permutation of 0 to 3, got \[0, 1, 2, 2\]",
        ),
        (lambda: deep_sea_score({}), "solved must have at least one size, got none"),
        (lambda: deep_sea_score([10]), "solved must be a Mapping, got list"),
        (lambda: deep_sea_solved([0, 2]), "wrong must be true or false"),
        (lambda: deep_sea_solved("no"), "wrong must be"),
        (lambda: deep_sea_solved([True], threshold="1"), "threshold must be"),
        (lambda: carve_maze(0, []), "rooms must be a whole number >= 1, got 0"),
        (lambda: carve_maze(2, None), "order must be"),
        (lambda: carve_maze(2, "0123"), "order must be"),
        (lambda: Chain(4).reset(seed=-1), "seed must be a whole number >= 0, got -1"),
        (lambda: Chain(4).reset(seed=1.0), "seed must be a whole number >= 0, got 1.0"),
        (lambda: Chain(4).reset(options=[]), "options must be a dict, got list"),
    ],
)
def test_small_tasks_reject_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---------------------------------------------------------------- BernoulliBandit and Chain


def test_bandit_rewards_have_its_means_within_five_standard_errors():
    """Episodes of one step. Control: the means of the neighboring arms do not fit."""
    means, n = [0.0, 0.3, 0.5, 1.0], 4000
    env = BernoulliBandit(means)
    env.reset(seed=1)
    for arm, mean in enumerate(means):
        rewards = []
        for _ in range(n):
            observation, reward, terminated, truncated, info = env.step(arm)
            assert (observation, terminated, truncated, info) == (0, True, False, {})
            rewards.append(reward)
            env.reset()
        assert set(rewards) <= {0.0, 1.0}
        fits = [
            abs(np.mean(rewards) - m) <= 5 * math.sqrt(m * (1 - m) / n) for m in means
        ]
        assert fits == [m == mean for m in means]


def test_chain_against_its_table():
    """Four states, with the next state and reward of left and right in each."""
    table = [
        [(0, 0.001), (1, 0.0)],
        [(0, 0.0), (2, 0.0)],
        [(1, 0.0), (3, 0.0)],
        [(2, 0.0), (3, 1.0)],
    ]
    for state, action in itertools.product(range(4), range(2)):
        assert at(Chain(4), state).step(action)[:3] == (*table[state][action], False)


@pytest.mark.parametrize("size", [3, 4])
def test_best_return_of_the_chain_is_10_against_all_sequences_of_actions(size):
    """Each of the 2ᴺ⁺⁸ action sequences is truncated at its end; always left returns 0.001·(N + 7)."""
    env, returns = Chain(size), {}
    for actions in itertools.product(range(2), repeat=size + 8):
        assert env.reset() == (1, {})
        steps = [env.step(action) for action in actions]
        assert [step[3] for step in steps] == [False] * (size + 7) + [True]
        returns[actions] = sum(step[1] for step in steps)
    best = max(returns, key=returns.__getitem__)
    assert (best, returns[best]) == ((1,) * (size + 8), 10.0)
    assert returns[(0,) * (size + 8)] == pytest.approx(0.001 * (size + 7))
    assert sorted(returns.values())[-2] < 10


# ---------------------------------------------------------------- DeepSea


def sink(
    size: int, row: int, column: int, right: bool, cost: float = 0.01
) -> tuple[int, float, bool]:
    """DeepSea's rules on rows and columns: index of the next state, reward, end."""
    reward = (1.0 if right and column == size - 1 else 0.0) - (
        cost / size if right else 0.0
    )
    column = min(max(column + (1 if right else -1), 0), size - 1)
    return (
        (size**2 if row + 1 == size else (row + 1) * size + column),
        reward,
        row + 1 == size,
    )


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize(
    "options", [{}, {"mapping_seed": 3}, {"randomize_actions": False}]
)
def test_deep_sea_against_its_rule_in_every_cell(size, options):
    """bsuite's mapping, drawn here over the grid. Controls: neither the mirrored mapping nor another cost fits."""
    drawn = np.random.RandomState(options.get("mapping_seed", 42)).binomial(
        1, 0.5, [size, size]
    )
    mapping = drawn if options.get("randomize_actions", True) else np.ones((size, size))
    env = DeepSea(size, **options)
    cells = list(itertools.product(range(size), range(size), range(2)))
    steps = [
        at(env, row * size + column).step(action)[:3] for row, column, action in cells
    ]
    assert steps == [
        sink(size, r, c, action == mapping[r, c]) for r, c, action in cells
    ]
    assert steps != [
        sink(size, r, c, action != mapping[r, c]) for r, c, action in cells
    ]
    assert steps != [
        sink(size, r, c, action == mapping[r, c], cost=0.02) for r, c, action in cells
    ]


@pytest.mark.parametrize("size", [2, 3, 6])
def test_one_in_2_to_the_n_ways_through_deep_sea_is_rewarded_against_all_of_them(size):
    """Maximum return 0.99; mean return 2⁻ᴺ − 0.01/2; the first move to the left is the wrong move."""
    env, returns = DeepSea(size), []
    for turns in itertools.product([False, True], repeat=size):
        env.reset()
        steps = [
            env.step(env.right[env.state] if right else 1 - env.right[env.state])
            for right in turns
        ]
        assert [step[4]["wrong"] for step in steps] == [
            not all(turns[: n + 1]) for n in range(size)
        ]
        assert [step[2:4] for step in steps] == [(False, False)] * (size - 1) + [
            (True, False)
        ]
        returns.append(sum(step[1] for step in steps))
        assert returns[-1] == pytest.approx(
            float(all(turns)) - 0.01 / size * sum(turns), abs=1e-12
        )
    assert max(returns) == pytest.approx(0.99, abs=1e-12)
    assert sum(each > 0 for each in returns) / len(returns) == 2.0**-size
    assert np.mean(returns) == pytest.approx(2.0**-size - 0.005, abs=1e-12)


def test_actions_that_solve_one_mapping_of_deep_sea_fail_in_another():
    def solve(env: DeepSea) -> list[int]:
        return [env.right[n * (env.size + 1)] for n in range(env.size)]

    def total(env: DeepSea, actions: list[int]) -> float:
        env.reset()
        return sum(env.step(action)[1] for action in actions)

    mine, other = DeepSea(10), DeepSea(10, mapping_seed=0)
    assert total(mine, solve(mine)) == pytest.approx(0.99)
    assert total(mine, solve(other)) <= 0
    assert solve(DeepSea(10, randomize_actions=False)) == [1] * 10


@pytest.mark.parametrize(
    "make", [lambda view: DeepSea(4, view), lambda view: Chain(5, view)]
)
def test_views_show_the_state_against_one_another(make):
    """One-hot is a row of the identity, zeros at DeepSea's end; coordinates are row and column, or the position."""
    index, onehot, coordinates = make("index"), make("onehot"), make("coordinates")
    deep, num_states = isinstance(index, DeepSea), index.observation_space.n
    length = 16 if deep else 5
    assert num_states == (17 if deep else 5)
    for state in range(num_states):
        assert index.view(state) == state
        assert onehot.view(state).tolist() == [float(n == state) for n in range(length)]
        expected = [state // 4 / 4, state % 4 / 4] if deep else [state / 4]
        assert coordinates.view(state).tolist() == expected


@given(wrong=st.lists(st.booleans(), max_size=40), bias=st.integers(0, 30))
def test_deep_sea_solved_against_exact_shares(wrong, bias):
    wrong = [True] * bias + wrong
    shares = [Fraction(sum(wrong[:n]), n) for n in range(1, len(wrong) + 1)]
    first = next(
        (n for n, share in enumerate(shares, 1) if share < Fraction(9, 10)), None
    )
    assert deep_sea_solved(wrong) == first


@pytest.mark.parametrize(
    ("wrong", "default", "stricter"),
    [
        ([], None, None),
        ([0], 1, 1),
        ([1] * 9 + [0], None, None),
        ([1] * 9 + [0, 0, 0], 11, 12),
        ([1] * 99, None, None),
    ],
)
def test_deep_sea_solved_against_shares_by_hand(wrong, default, stricter):
    """A share of 0.9 is not below 0.9; 9 of 12 is the first below 0.8."""
    assert (deep_sea_solved(wrong), deep_sea_solved(wrong, threshold=0.8)) == (
        default,
        stricter,
    )


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1, float("nan")])
def test_deep_sea_solved_rejects_other_thresholds(threshold):
    with pytest.raises(ValueError, match="threshold must be"):
        rooms.deep_sea_solved([True], threshold=threshold)


def test_deep_sea_score_counts_sizes_solved_before_2_to_the_n_plus_100():
    assert [*rooms.DEEP_SEA_SIZES] == [
        10,
        12,
        14,
        16,
        18,
        20,
        22,
        24,
        26,
        28,
        30,
        32,
        34,
        36,
        38,
        40,
        42,
        44,
        46,
        48,
        50,
    ]
    assert deep_sea_score({10: 1123}) == 1.0
    assert deep_sea_score({10: 1124}) == 0.0
    assert deep_sea_score({10: 1123, 12: 4196, 14: None, 50: 9999}) == 0.5


# ---------------------------------------------------------------- KeyDoorMaze and NoisyTV


Place = tuple[int, int, bool]  # row, column, key in hand


def walk(
    drawing: tuple[str, ...], place: Place, action: int, door: str = "key"
) -> Place:
    """Rules of a drawn room; `door` opens with the key, always or never."""
    row, column, key = place
    row, column = row + WAYS[action][0], column + WAYS[action][1]
    shut = door == "never" or (door == "key" and not key)
    if drawing[row][column] == "#" or (drawing[row][column] == "D" and shut):
        row, column = place[:2]
    return row, column, key or drawing[row][column] == "K"


def find(drawing: tuple[str, ...], sign: str) -> tuple[int, int]:
    ((row, line),) = [(n, line) for n, line in enumerate(drawing) if sign in line]
    return row, line.index(sign)


def distances(drawing: tuple[str, ...], **rule: str) -> dict[Place, int]:
    """Steps from A to every reachable position, by breadth-first search."""
    seen = {(*find(drawing, "A"), False): 0}
    queue = list(seen)
    for place in queue:
        for action in WAYS:
            if (after := walk(drawing, place, action, **rule)) not in seen:
                seen[after] = seen[place] + 1
                queue.append(after)
    return seen


def to_goal(drawing: tuple[str, ...], **rule: str) -> int | None:
    row, column = find(drawing, "G")
    reached = distances(drawing, **rule)
    return min(
        (
            reached[row, column, key]
            for key in (False, True)
            if (row, column, key) in reached
        ),
        default=None,
    )


def numbered(drawing: tuple[str, ...]) -> dict[Place, int]:
    """The number of each state: cells in reading order, first without the key, then with it."""
    cells = [
        (r, c)
        for r, line in enumerate(drawing)
        for c, sign in enumerate(line)
        if sign != "#"
    ]
    return {
        (r, c, key): n + key * len(cells)
        for key in (False, True)
        for n, (r, c) in enumerate(cells)
    }


@pytest.mark.parametrize("make", [KeyDoorMaze, NoisyTV])
def test_rooms_against_their_drawing_in_every_state(make):
    """A move's next state, reward and end. Control: with a door that is always open the maze does not fit."""
    drawing = rooms.KEY_DOOR_MAZE if make is KeyDoorMaze else rooms.TV_ROOM
    number, goal = numbered(drawing), find(drawing, "G")
    cells, maze = len(number) // 2, make is KeyDoorMaze
    env, differ = make("index"), 0
    assert env.reset()[0] == number[(*find(drawing, "A"), False)]
    for place, action in itertools.product(
        number if maze else list(number)[:cells], WAYS
    ):
        after = walk(drawing, place, action)
        state, reward, terminated, truncated, _ = at(env, number[place]).step(action)
        assert (state if maze else state % cells) == number[after]
        assert (reward, terminated, truncated) == (
            float(after[:2] == goal),
            after[:2] == goal,
            False,
        )
        differ += after != walk(drawing, place, action, door="always")
    assert differ == (
        2 if maze else 0
    )  # into the door from either side, without the key


def test_the_shortest_way_to_the_goal_is_24_steps_against_breadth_first_search():
    """The path goes by the key: through an open door it would be 12; if the door never opens there is none."""
    maze = rooms.KEY_DOOR_MAZE
    assert to_goal(maze) == 24
    assert to_goal(maze, door="never") is None
    assert to_goal(maze, door="always") == 12
    way = (
        [DOWN] * 6
        + [UP] * 6
        + [RIGHT] * 2
        + [DOWN] * 3
        + [RIGHT] * 2
        + [DOWN] * 3
        + [RIGHT] * 2
    )
    env = gym.make("vime_ref/KeyDoorMaze-v0")
    env.reset(seed=0)
    rewards = [env.step(action)[1:4] for action in way]
    assert rewards == [(0.0, False, False)] * 23 + [(1.0, True, False)]
    env.reset()
    rewards = [
        env.step(action)[1:4] for action in way[12:]
    ]  # the same without the key: before a shut door
    assert rewards == [(0.0, False, False)] * 12


def test_random_walks_through_the_maze_arrive_as_often_as_stated_against_the_exact_chain():
    """1.8 % in 200 steps by the exact distribution over positions; far more with an open door."""
    maze = rooms.KEY_DOOR_MAZE

    def arrived(door: str) -> float:
        states = list(distances(maze, door=door))
        number = {place: n for n, place in enumerate(states)}
        step = np.zeros((len(states), len(states)))
        for place in states:
            for action in WAYS:
                over = place[:2] == find(maze, "G")
                step[
                    number[place],
                    number[place if over else walk(maze, place, action, door)],
                ] += 0.25
        final = np.linalg.matrix_power(step, 200)[0]
        return sum(
            final[n] for place, n in number.items() if place[:2] == find(maze, "G")
        )

    assert arrived("key") == pytest.approx(0.018, abs=0.0005)
    assert arrived("always") > 0.1


def test_the_image_of_the_maze_against_its_drawing():
    """The drawing with the agent, and without the key once it is taken: no two states look alike."""
    maze, env = rooms.KEY_DOOR_MAZE, KeyDoorMaze(render_mode="rgb_array")
    seen = set()
    for place in distances(maze):
        lines = [
            list(line.replace("A", " ").replace("K", " " if place[2] else "K"))
            for line in maze
        ]
        lines[place[0]][place[1]] = "A"
        state = numbered(maze)[place]
        image = env.image(state)
        assert [[rooms.SIGNS[pixel] for pixel in line] for line in image] == lines
        env.state = state
        assert env.render().shape == (144, 144, 3)
        assert env.render()[8::16, 8::16].tolist() == [
            [[*rooms.CELL_COLORS[sign]] for sign in line] for line in lines
        ]
        assert KeyDoorMaze("coordinates").view(state).tolist() == [
            place[0] / 8,
            place[1] / 8,
            float(place[2]),
        ]
        seen.add(image.tobytes())
    assert len(seen) == len(distances(maze))
    assert KeyDoorMaze().render() is None


@pytest.mark.parametrize(
    ("env_id", "horizon"),
    [("vime_ref/KeyDoorMaze-v0", 200), ("vime_ref/NoisyTV-v0", 100), (LABYRINTH, 300)],
)
def test_rooms_are_truncated_after_exactly_their_horizon(env_id, horizon):
    env = gym.make(env_id)
    env.reset(seed=0)
    ends = [
        env.step(UP)[1:4] for _ in range(horizon)
    ]  # against the wall; in the labyrinth turning
    assert ends == [(0.0, False, False)] * (horizon - 1) + [(0.0, False, True)]


def test_television_and_goal_are_as_far_off_as_each_other():
    """8 steps from the start, and the room looks the same upside down."""
    room = rooms.TV_ROOM
    assert distances(room)[(*find(room, "T"), False)] == to_goal(room) == 8
    turned = [line[::-1] for line in room[::-1]]
    assert [line.translate(str.maketrans("TG", "GT")) for line in turned] == [*room]


def watch(seed: int, actions: list[int]) -> list[int]:
    """Pictures seen by an agent that goes to the television and then takes the given actions."""
    env = NoisyTV("index")
    env.reset(seed=seed)
    before = [env.step(action) for action in TO_TV]
    assert [step[4]["watching"] for step in before] == [False] * 7 + [True]
    return [env.step(action)[0] // len(env.cells) for action in actions]


def looks_like_noise(pictures: np.ndarray, others: np.ndarray) -> bool:
    """Uniform on 0 … 127, and equal to `others` or one ahead only by chance: five standard errors each."""
    n, p = len(pictures), 1 / 128
    counts = np.bincount(pictures, minlength=128)
    chi_square = np.sum((counts - n * p) ** 2) / (n * p)  # mean 127, variance 254
    moved = np.bincount((pictures - others) % 128, minlength=128)
    shift = np.sum((moved - n * p) ** 2) / (n * p)
    return bool(
        abs(chi_square - 127) < 5 * math.sqrt(254)
        and abs(shift - 127) < 5 * math.sqrt(254)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_pictures_are_uniform_and_independent_of_past_actions_and_the_seed_elsewhere(
    seed,
):
    """Independent of the last picture, the action, and other generators of the same seed; controls depend on one."""
    n = 20000
    actions = default_rng(7).choice(
        [UP, DOWN, LEFT], n
    )  # all of them stay in front of the television
    pictures = np.array(watch(seed, actions.tolist()))
    task = NoisyTV()
    task.reset(seed=seed)
    elsewhere = [default_rng(seed), default_rng(seed).spawn(1)[0], task.np_random]
    others = [
        np.roll(pictures, 1),
        np.roll(pictures, 2),
        actions,
        *[rng.integers(128, size=8 + n)[8:] for rng in elsewhere],
    ]
    for other in others:
        assert looks_like_noise(pictures, other)
        assert not looks_like_noise(other, other)
        assert not looks_like_noise((other + actions) % 128, other)
    assert not looks_like_noise(pictures % 64, others[0])


def test_pictures_are_the_same_whatever_is_done_and_however_late_one_comes():
    ways = [[UP] * 50, [LEFT] * 50, [DOWN, UP, LEFT] * 16 + [DOWN] * 2]
    first, *rest = [watch(5, way) for way in ways]
    assert all(each == first for each in rest)
    assert watch(6, ways[0]) != first
    assert watch(5, [RIGHT, LEFT] * 25) == [
        picture if n % 2 else 0 for n, picture in enumerate(first)
    ]


def test_each_episode_has_its_own_pictures_and_a_seed_brings_them_back():
    env = NoisyTV("index")

    def episode_of(seed: int | None) -> list[int]:
        env.reset(seed=seed)
        return [env.step(action)[0] for action in TO_TV + [UP] * 20]

    first, second = episode_of(3), episode_of(None)
    assert first[:7] == second[:7]
    assert first != second
    assert (episode_of(3), episode_of(None)) == (first, second)


def test_the_screen_is_lit_exactly_while_one_watches():
    """The image's top row has the picture's bits on T, and the dark wall elsewhere; nothing else changes."""
    env, room = NoisyTV(), rooms.TV_ROOM
    drawing = np.array(
        [[rooms.SIGNS.index(sign) for sign in line.replace("A", " ")] for line in room]
    )
    env.reset(seed=0)
    lit = 0
    for action in TO_TV + default_rng(0).choice([UP, RIGHT, LEFT], 300).tolist():
        image, _, _, _, info = env.step(action)
        picture, cell = divmod(env.state, len(env.cells))
        row, column = env.cells[cell]
        assert info["watching"] == (room[row][column] == "T")
        bits = [rooms.SIGNS.index("*" if picture >> n & 1 else "#") for n in range(7)]
        assert image[0].tolist() == bits
        assert info["watching"] or picture == 0
        lit += picture > 0
        rest = drawing.copy()
        rest[row, column] = rooms.SIGNS.index("A")
        assert np.array_equal(image[1:], rest[1:])
        assert env.coordinates(env.state).tolist() == [
            row / 6,
            column / 6,
            picture / 127,
        ]
    assert 0 < lit < 300


@pytest.mark.parametrize(
    ("env_id", "options"),
    [(LABYRINTH, {}), *SMALL.items(), (SPARSE, {}), (SWINGUP, {})],
)
def test_deep_and_pickled_copies_go_on_like_their_original(env_id, options):
    """From within an episode, through resets without and with a seed; copies of MuJoCo tasks must be reset instead.

    Controls: a new environment with the same seed continues differently, and so does another seed in random tasks.
    """
    space = gym.make(env_id, **options).action_space
    space.seed(0)
    actions = (
        TO_TV + [UP] * 53
        if "NoisyTV" in env_id
        else [space.sample() for _ in range(61)]
    )

    def play(env: gym.Env, actions: list) -> list[tuple]:
        seen = []
        for action in actions:
            seen.append(env.step(action))
            if seen[-1][2] or seen[-1][3]:
                seen.append(env.reset())
        return seen

    def begun(seed: int, actions: list) -> gym.Env:
        env = gym.make(env_id, **options)
        env.reset(seed=seed)
        play(env, actions)
        return env

    def rest(env: gym.Env) -> list[tuple]:
        seen = [
            *play(env, actions),
            env.reset(),
            *play(env, actions),
            env.reset(seed=7),
            *play(env, actions),
        ]
        return [
            (np.asarray(observation).tobytes(), *others)
            for observation, *others in seen
        ]

    original = begun(1, actions)
    copies = copy.deepcopy(original), pickle.loads(pickle.dumps(original))
    expected = rest(original)
    assert all(rest(each) == expected for each in copies)
    assert rest(begun(1, [])) != expected
    chance = not any(name in env_id for name in ("Chain", "DeepSea", "KeyDoorMaze"))
    assert (rest(begun(2, actions)) != expected) == chance


# ---------------------------------------------------------------- pictures of tasks without a drawing

AGENT, GOAL = (210, 0, 0), (0, 160, 0)


def cells(picture: np.ndarray, color: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Row and column of the cells of 16 by 16 pixels that have this color all over."""
    where = is_color(picture, color)[::16, ::16]
    assert np.array_equal(np.kron(where, np.ones((16, 16))), is_color(picture, color))
    return [(int(r), int(c)) for r, c in np.argwhere(where)]


def test_the_picture_of_the_chain_shows_the_state_between_its_rewards():
    task = Chain(5, render_mode="rgb_array")
    for state in range(5):
        picture = at(task, state).render()
        assert picture.shape == (48, 112, 3)
        assert cells(picture, AGENT) == [(1, state + 1)]
        assert cells(picture, GOAL) == [(1, 6)]
        assert cells(picture, (240, 200, 0)) == [(1, 0)]
    assert Chain(5).render() is None


def test_the_picture_of_the_sea_shows_the_diver_above_the_treasure():
    task = DeepSea(4, render_mode="rgb_array")
    for state in range(17):
        picture = at(task, state).render()
        row, column = divmod(state, 4)
        assert picture.shape == (96, 96, 3)
        assert cells(picture, AGENT) == [(row + 1, column + 1)] * (state < 16)
        assert cells(picture, GOAL) == [(5, 4)]


def test_the_picture_of_the_bandit_shows_its_means_and_the_last_arm():
    means = [0.0, 0.34, 1.0]
    task = BernoulliBandit(means, render_mode="rgb_array")
    task.reset(seed=0)
    assert cells(task.render(), AGENT) == []
    task.step(2)
    picture = task.render()
    assert cells(picture, AGENT) == [(11, 5)]
    bars = [column for _, column in cells(picture, (170, 210, 255))]
    assert [bars.count(2 * arm + 1) for arm in range(3)] == [0, 3, 10]
    assert len(bars) == 13
    task.reset()
    assert cells(task.render(), AGENT) == []


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (Chain(998, render_mode="rgb_array"), (3, 1000, 3)),
        (Chain(2000, render_mode="rgb_array"), (3, 2002, 3)),
        (DeepSea(198, render_mode="rgb_array"), (1600, 1600, 3)),
    ],
)
def test_pictures_of_many_cells_have_smaller_cells(task, shape):
    task.reset(seed=0)
    assert task.render().shape == shape


def test_seeds_and_sizes_are_numbers_of_any_kind():
    """NumPy integers and 0-d arrays do what the int does."""
    expected = NoisyTV("index").reset(seed=3)[0]
    for form in (np.int8, np.uint64, np.array):
        assert Chain(form(4)).size == 4
        assert Chain(form(4)).reset(seed=form(3)) == (1, {})
        env = NoisyTV("index")
        assert env.reset(seed=form(3))[0] == expected
        assert env.np_random_seed == 3

"""The wrappers against loops by hand with the reference's functions, and Gymnasium's own wrappers around them."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import (
    ClipAction,
    FlattenObservation,
    NormalizeObservation,
    RecordEpisodeStatistics,
    TimeLimit,
)
from gymnasium.wrappers import vector as vector_wrappers
from numpy.random import Generator

import vime_ref as vime
from vime_gym import pools
from vime_gym.curiosity import Curiosity
from vime_gym.vectors import FAST, vime_for
from vime_gym.wrappers import CuriosityReward, VectorCuriosityReward, autoreset_mode
from vime_lecture.controls import PredictionError
from vime_lecture.counts import PseudoCounts, VisitCounts
from vime_lecture.densities import binary_cts, dirichlet

SMALL = replace(
    FAST, hidden_sizes=(3,), min_rows=6, num_updates=3, batch_size=4, num_samples=2
)
MODES = tuple(AutoresetMode)
KEYS = ("extrinsic_reward", "intrinsic_reward", "information_gain")

# ------------------------------------------------------------ environments


class Walk(gymnasium.Env[Any, Any]):
    """A walk from 0 by the actions 0 and 1 (−1 and +1); it terminates at ±3. The observation is place and time.

    The reward is the place. A step after an end fails.
    """

    action_space = Discrete(2)
    observation_space = Box(-100.0, 100.0, (2,), np.float64)

    def __init__(self, start: int = 0) -> None:
        self.start = start
        self.action_space = Discrete(2, start=start)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place, self.time = 0, 0
        return self.seen(), {}

    def seen(self) -> Any:
        return np.array([self.place, self.time], float)

    def step(self, action: Any) -> Any:
        assert abs(self.place) < 3
        self.place += 2 * int(action - self.start) - 1
        self.time += 1
        return self.seen(), float(self.place), abs(self.place) == 3, False, {}


@dataclass(frozen=True, eq=False)
class Recorder:
    """A bonus of 1 + the observation's second number; it keeps every batch it sees."""

    rewarded: list[vime.Batch] = field(default_factory=list)
    learned: list[vime.Batch] = field(default_factory=list)

    def reward(self, batch: vime.Batch, rng: Generator) -> Any:
        self.rewarded.append(batch)
        return 1.0 + batch.observations[:, 1]

    def update(self, batch: vime.Batch, rng: Generator) -> "Recorder":
        self.learned.append(batch)
        return self


def walk(limit: int = 5) -> gymnasium.Env[Any, Any]:
    return TimeLimit(Walk(), limit)


def vector(
    mode: AutoresetMode, count: int = 3, make: Callable[..., Any] = walk
) -> SyncVectorEnv:
    return SyncVectorEnv([make] * count, autoreset_mode=mode)


def stepped(env: Any, num_steps: int, seed: int = 0) -> Iterator[tuple[Any, ...]]:
    """Actions and results of steps in a vector; a DISABLED one is reset by its mask."""
    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        actions = rng.integers(2, size=env.num_envs)
        result = env.step(actions)
        yield actions, *result
        ended = result[2] | result[3]
        disabled = env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
        if disabled and ended.any():
            env.reset(options={"reset_mask": ended})


# ------------------------------------------------------------ against the reference


def test_rewards_against_a_loop_by_hand() -> None:
    """Gains, divisors and posterior are those of the reference's functions on the same transitions.

    Controls: the divisor with the current batch in it, and no update.
    """
    seed, eta, every = 7, 0.25, 8
    env = CuriosityReward(
        walk(), vime_for(walk(), settings=SMALL, seed=3), eta=eta, update_every=every, seed=seed
    )  # fmt: skip
    given = np.random.default_rng(5).integers(2, size=60)
    rewards, gains = [], []
    env.reset()
    for action in given:
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        gains.append(info["information_gain"])
        assert info["extrinsic_reward"] + info["intrinsic_reward"] == reward
        if terminated or truncated:
            env.reset()

    # By hand: one row at a time, and a batch of eight for the update.
    model, replay = np.random.default_rng(seed).spawn(2)
    bonus = vime.vime_init(2, Discrete(2), np.random.default_rng(3), SMALL)
    plain = walk()
    observation, _ = plain.reset()
    history: tuple[float, ...] = ()
    rows: list[Any] = []
    wanted, raw, included = [], [], []
    for action in given:
        following, reward, terminated, truncated, _ = plain.step(action)
        row = (observation, action, reward, following, terminated, truncated)
        one = vime.Batch(*(np.array([each]) for each in row))
        gain = bonus.reward(one, model)
        divided, _ = vime.normalize_gains(gain, history, include_current=False)
        wanted += vime.curious_rewards(one.rewards, divided, eta).tolist()
        included += vime.normalize_gains(gain, history)[0].tolist()
        raw += gain.tolist()
        rows.append(row)
        if len(rows) == every:
            batch = vime.Batch(*map(np.array, zip(*rows)))
            _, history = vime.normalize_gains(np.array(raw[-every:]), history)
            bonus = bonus.update(batch, replay)
            rows = []
        observation = following
        if terminated or truncated:
            observation, _ = plain.reset()

    np.testing.assert_allclose(rewards, wanted, rtol=1e-9)
    np.testing.assert_allclose(gains, raw, rtol=1e-9)
    np.testing.assert_allclose(env.history, history, rtol=1e-9)
    assert len(history) > 3
    assert isinstance(env.bonus, vime.Vime)
    np.testing.assert_allclose(env.bonus.q.mu, bonus.q.mu, rtol=1e-9)
    assert not np.allclose(rewards, included)
    fresh = vime.vime_init(2, Discrete(2), np.random.default_rng(3), SMALL)
    assert not np.allclose(env.bonus.q.mu, fresh.q.mu)


@pytest.mark.parametrize("mode", MODES)
def test_a_vector_sees_true_transitions_against_the_walk_itself(
    mode: AutoresetMode,
) -> None:
    """Each transition of the pool is one of the walk: no reset, no pair of two episodes, no end without its place.

    Control: pairs of successive observations, as the vector returns them, hold other pairs.
    """
    bonus = Recorder()
    env = VectorCuriosityReward(vector(mode), bonus, eta=0.5, update_every=10)
    before, _ = env.reset(seed=0)
    naive_pairs_fit = True
    transitions = ends = 0
    for actions, after, rewards, terminated, truncated, infos in stepped(env, 40):
        took = infos["_information_gain"]
        transitions += took.sum()
        ends += (terminated | truncated).sum()
        naive_pairs_fit &= bool(np.all(before[:, 1] + 1 == after[:, 1]))
        before = after
        if not took.any():
            continue
        seen = bonus.rewarded[-1]
        assert len(seen.rewards) == took.sum()
        moved = seen.observations[:, 0] + 2 * seen.actions - 1
        np.testing.assert_array_equal(seen.next_observations[:, 0], moved)
        later = seen.observations[:, 1] + 1
        np.testing.assert_array_equal(seen.next_observations[:, 1], later)
        np.testing.assert_array_equal(seen.actions, actions[took])
        np.testing.assert_array_equal(seen.rewards, moved)
        np.testing.assert_array_equal(seen.terminated, abs(moved) == 3)
        np.testing.assert_array_equal(seen.truncated, ~seen.terminated)

        # The bonus is 0 in a reset step; then the reward is the environment's.
        np.testing.assert_array_equal(
            rewards, infos["extrinsic_reward"] + infos["intrinsic_reward"]
        )
        assert not infos["intrinsic_reward"][~took].any()
        assert all(np.array_equal(infos[f"_{key}"], took) for key in KEYS)
    resets = 3 * 40 - transitions
    assert ends > 20
    assert (resets > 20) == (mode is AutoresetMode.NEXT_STEP)
    assert not naive_pairs_fit

    # Learned: the same rows, environment after environment, the last of each truncated.
    assert sum(len(batch.rewards) for batch in bonus.learned) > transitions - 12
    for batch in bonus.learned:
        assert len(batch.rewards) >= 10
        broken = batch.next_observations[:-1, 1] != batch.observations[1:, 1]
        over = batch.terminated | batch.truncated
        assert over[-1]
        assert over[:-1][broken].all()


@pytest.mark.parametrize("mode", MODES)
def test_vector_of_one_equals_the_single_wrapper(mode: AutoresetMode) -> None:
    """The same gains, whatever the autoreset mode."""
    settings = {"eta": 0.5, "update_every": 7, "seed": 4}
    single = CuriosityReward(
        walk(), vime_for(walk(), settings=SMALL, seed=1), **settings
    )
    many = VectorCuriosityReward(
        vector(mode, 1), vime_for(walk(), settings=SMALL, seed=1), **settings
    )
    single.reset(seed=0)
    many.reset(seed=0)
    compared = 0
    for actions, _, rewards, _, _, infos in stepped(many, 50):
        if not infos["_information_gain"][0]:
            continue
        _, reward, terminated, truncated, info = single.step(actions[0])
        assert reward == rewards[0]
        assert info["information_gain"] == infos["information_gain"][0]
        compared += info["information_gain"] > 0
        if terminated or truncated:
            single.reset()
    assert compared > 20
    assert single.history == many.history


def test_async_equals_sync() -> None:
    """Also with `final_obs`, which comes from another process."""
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        found = []
        for kind in (SyncVectorEnv, AsyncVectorEnv):
            env = VectorCuriosityReward(
                kind([walk] * 2, autoreset_mode=mode),
                Recorder(),
                eta=1.0,
                update_every=9,
            )
            env.reset(seed=0)
            found.append([result[2] for result in stepped(env, 20)])
            env.close()
        np.testing.assert_array_equal(*found)


def test_eta_zero_leaves_rewards_as_they_are() -> None:
    env = CuriosityReward(walk(), Recorder(), eta=0.0, update_every=3)
    plain = walk()
    env.reset()
    plain.reset()
    for action in (1, 0, 1, 1, 1):
        assert env.step(action)[:4][1:] == plain.step(action)[:4][1:]


def test_a_reset_truncates_an_episode() -> None:
    """Control: without the reset, the row is not."""
    for early in (True, False):
        bonus = Recorder()
        env = CuriosityReward(walk(), bonus, eta=1.0, update_every=4)
        env.reset()
        env.step(1)
        env.step(1)
        if early:
            env.reset()
        env.step(0)
        env.step(1)
        (batch,) = bonus.learned
        assert batch.truncated.tolist() == [False, early, False, True]


def test_counts_are_a_ready_reward() -> None:
    """β(N + 0.01)^−½ of one-hot cells, against visits by hand."""
    lake = gymnasium.make("FrozenLake-v1", is_slippery=False)
    env = CuriosityReward(
        lake, VisitCounts(0.5), eta=1.0, update_every=1, normalize=False
    )
    env.reset(seed=0)
    seen: dict[int, int] = {}
    for action in (0, 2, 0, 0, 2, 2):
        state, _, _, _, info = env.step(action)
        wanted = 0.5 / np.sqrt(seen.get(state, 0) + 0.01)
        assert info["intrinsic_reward"] == pytest.approx(wanted, rel=1e-12)
        seen[state] = seen.get(state, 0) + 1


# ------------------------------------------------------------ Gymnasium's own


def test_the_checker_of_gymnasium_passes() -> None:
    env = CuriosityReward(gymnasium.make("CartPole-v1"), eta=0.1, update_every=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about wrappers and infinite bounds
        check_env(env, skip_render_check=True)


def test_a_spec_makes_the_wrapper_again() -> None:
    env = CuriosityReward(
        gymnasium.make("CartPole-v1"), eta=0.1, update_every=50, seed=2
    )
    again = gymnasium.make(env.spec)
    assert isinstance(again, CuriosityReward)
    assert again.curiosity.eta == 0.1
    assert again.curiosity.update_every == 50


def test_what_cannot_be_copied_may_be_given() -> None:
    """Such as an encoder that holds a lock, or a bonus that does."""

    class Locked(Recorder):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("a lock cannot be copied")

        def __call__(self, observation: Any) -> Any:
            return observation

    made = CuriosityReward(walk(), Locked(), eta=1.0, update_every=9, encode=Locked())
    made.reset()
    assert made.step(1)[1] == 1.0 + 1.0


def test_what_a_wrapper_tells_stands_above_what_was_told_inside() -> None:
    """Two bonuses around one another: the outer one's numbers are in `info`."""

    def inner() -> Any:
        return CuriosityReward(walk(), Recorder(), eta=0.5, update_every=9)

    single = CuriosityReward(inner(), Recorder(), eta=2.0, update_every=9)
    single.reset()
    _, reward, _, _, info = single.step(1)
    assert [reward, *(info[key] for key in KEYS)] == [3.5, 1.5, 2.0, 1.0]
    many = VectorCuriosityReward(
        VectorCuriosityReward(vector(MODES[0]), Recorder(), eta=0.5, update_every=9),
        Recorder(), eta=2.0, update_every=9,
    )  # fmt: skip
    many.reset()
    _, rewards, _, _, infos = many.step(np.ones(3, int))
    for found, wanted in zip(
        [rewards, *(infos[key] for key in KEYS)], [3.5, 1.5, 2, 1]
    ):
        assert found.tolist() == [wanted] * 3
    inside = vector(MODES[0], make=inner)
    env = VectorCuriosityReward(inside, Recorder(), eta=2.0, update_every=9)
    env.reset()
    *_, infos = env.step(np.ones(3, int))
    assert infos["extrinsic_reward"].tolist() == [1.5] * 3


def test_episode_statistics_on_either_side() -> None:
    """Inside, they are the task's; outside, the curious ones."""
    inner = CuriosityReward(
        RecordEpisodeStatistics(walk()), Recorder(), eta=1.0, update_every=2
    )
    outer = RecordEpisodeStatistics(
        CuriosityReward(walk(), Recorder(), eta=1.0, update_every=2)
    )
    returns = []
    for env in (inner, outer):
        env.reset()
        total = 0.0
        for _ in range(3):
            *_, info = env.step(1)
            total += info["intrinsic_reward"]
        returns.append(info["episode"]["r"])
    assert returns[0] == 1 + 2 + 3
    assert returns[1] == pytest.approx(1 + 2 + 3 + total)
    assert total > 0


def test_vector_statistics_and_normalization_on_either_side() -> None:
    """Outside, the bonus sees the walk's own places; inside, the normalized ones."""
    seen = []
    for outside in (True, False):
        bonus = Recorder()
        env: Any = vector(AutoresetMode.NEXT_STEP)
        env = env if outside else vector_wrappers.NormalizeObservation(env)
        env = vector_wrappers.RecordEpisodeStatistics(env)
        env = VectorCuriosityReward(
            env, bonus, eta=1.0, update_every=4, normalize=False
        )
        env = vector_wrappers.NormalizeObservation(env) if outside else env
        env = vector_wrappers.RecordEpisodeStatistics(env, stats_key="curious")
        env.reset(seed=0)
        assert all(np.isfinite(result[2]).all() for result in stepped(env, 20))
        assert len(env.return_queue) > 3
        seen.append(np.concatenate([batch.observations for batch in bonus.learned]))
    np.testing.assert_array_equal(seen[0], np.rint(seen[0]))
    assert np.any(seen[1] != np.rint(seen[1]))


def test_normalized_observations_outside_leave_the_bonus_alone() -> None:
    """Control: inside, the bonus sees the normalized ones."""
    bonuses = []
    for outside in (True, False):
        bonus = Recorder()
        plain = walk() if outside else NormalizeObservation(walk())
        env: Any = CuriosityReward(plain, bonus, eta=1.0, update_every=3)
        env = NormalizeObservation(env) if outside else env
        env.reset()
        for _ in range(3):
            env.step(1)
        bonuses.append(bonus.learned[0])
    assert bonuses[0].next_observations[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert np.abs(bonuses[1].next_observations[:, 0]).max() < 3.0


# ------------------------------------------------------------ spaces


class Spaces(gymnasium.Env[Any, Any]):
    """An environment of any spaces; observations and rewards are given."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.next: Any = None
        self.reward: Any = 0.0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        next_one = self.observation_space.sample() if self.next is None else self.next
        return next_one, self.reward, False, False, {}


PLANE = Box(-1.0, 1.0, (2,), np.float32)


def test_actions_are_clipped_to_their_bounds() -> None:
    """Beyond a bound, also by infinity, the model sees the bound; the environment sees what it was given."""
    space = Box(
        np.array([[-1.0, -np.inf]]), np.array([[1.0, np.inf]]), dtype=np.float64
    )
    bonus = Recorder()
    env = CuriosityReward(Spaces(PLANE, space), bonus, eta=1.0, update_every=9)
    env.reset()
    for given in ([[np.inf, 40.0]], [[-7.0, -3.0]], [[0.5, 0.0]]):
        env.step(np.array(given))
    seen = [batch.actions[0].tolist() for batch in bonus.rewarded]
    assert seen == [[1.0, 40.0], [-1.0, -3.0], [0.5, 0.0]]
    with pytest.raises(ValueError, match=r"action must be finite, got .* at step 3"):
        env.step(np.array([[0.0, np.inf]]))


def test_clip_action_inside_is_rejected_and_outside_is_fine() -> None:
    """Inside, the bounds are hidden, so that an unbounded action would be free novelty."""
    inner = Spaces(PLANE, PLANE)
    with pytest.raises(ValueError, match=r"action_space .* ClipAction"):
        CuriosityReward(ClipAction(inner), eta=1.0, update_every=9)
    many: Any = SyncVectorEnv([lambda: ClipAction(inner)])
    with pytest.raises(ValueError, match=r"action_space .* ClipAction"):
        VectorCuriosityReward(many, eta=1.0, update_every=9)
    for kind in (SyncVectorEnv, AsyncVectorEnv):
        many = kind([lambda: inner] * 2)
        around = vector_wrappers.RecordEpisodeStatistics(
            vector_wrappers.ClipAction(many)
        )
        with pytest.raises(ValueError, match=r"action_space .* ClipAction"):
            VectorCuriosityReward(around, eta=1.0, update_every=9)
        many.close()
    bonus = Recorder()
    env = ClipAction(CuriosityReward(inner, bonus, eta=1.0, update_every=9))
    env.reset()
    env.step(np.array([5.0, 0.0], np.float32))
    assert bonus.rewarded[0].actions.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("count", [1, 3])
def test_dict_observations_need_encode(count: int) -> None:
    space = Dict({"place": PLANE, "door": Discrete(2)})

    def make() -> Any:
        return Spaces(space, Discrete(2))

    with pytest.raises(ValueError, match=r"observation_space .* encode, .*FlattenObs"):
        CuriosityReward(make(), eta=1.0, update_every=9)

    def encode(observation: Any) -> Any:
        return [*observation["place"], 5.0 * observation["door"]]

    bonus = Recorder()
    settings: Any = {"eta": 1.0, "update_every": 9, "encode": encode}
    if count == 1:
        env: Any = CuriosityReward(make(), bonus, **settings)
    else:
        many = SyncVectorEnv([make] * count)
        env = VectorCuriosityReward(many, bonus, **settings)
    first, _ = env.reset(seed=0)
    env.step(0 if count == 1 else np.zeros(count, int))
    seen = bonus.rewarded[0].observations
    place = np.atleast_2d(first["place"])
    np.testing.assert_array_equal(seen[:, :2], place)
    np.testing.assert_array_equal(seen[:, 2], 5.0 * np.atleast_1d(first["door"]))
    flat = CuriosityReward(FlattenObservation(make()), eta=1.0, update_every=9)
    assert flat.curiosity.seen.size == 4


class NamedWalk(Walk):
    """The same walk with its observation in a dictionary."""

    observation_space = Dict(  # type: ignore[assignment]
        {name: Box(-100.0, 100.0, (1,), np.float64) for name in ("place", "time")}
    )

    def seen(self) -> Any:
        return {"place": np.array([self.place], float), "time": np.array([self.time], float)}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_dict_observations_over_ends_against_the_walk(
    kind: Any, mode: AutoresetMode
) -> None:
    """Each row that the bonus learns from is one step of the walk, and ends are where the walk's are."""
    bonus = Recorder()
    env = VectorCuriosityReward(
        kind([lambda: TimeLimit(NamedWalk(), 5)] * 3, autoreset_mode=mode),
        bonus, eta=0.5, update_every=10,
        encode=lambda seen: np.concatenate([seen["place"], seen["time"]]),
    )  # fmt: skip
    env.reset(seed=0)
    ends = sum((step[3] | step[4]).sum() for step in stepped(env, 40))
    env.close()
    rows = [np.concatenate(column) for column in zip(*bonus.learned)]
    before, actions, _, after, terminated, _ = rows
    np.testing.assert_array_equal(before[:, 0] + 2 * actions - 1, after[:, 0])
    np.testing.assert_array_equal(before[:, 1] + 1, after[:, 1])
    np.testing.assert_array_equal(terminated, abs(after[:, 0]) == 3)
    assert ends > 20
    for batch in bonus.learned:
        broken = batch.next_observations[:-1, 1] != batch.observations[1:, 1]
        assert (batch.terminated | batch.truncated)[:-1][broken].all()


def test_multi_discrete_in_a_vector() -> None:
    def make() -> Any:
        return Spaces(MultiDiscrete([2, 3]), MultiDiscrete([3, 2], start=[1, 0]))

    bonus = vime_for(make(), settings=SMALL, seed=0)
    assert bonus.one_hot == tuple(range(10))
    env = VectorCuriosityReward(
        SyncVectorEnv([make] * 2), bonus, eta=1.0, update_every=6
    )
    observations, _ = env.reset(seed=0)
    env.step(np.array([[1, 0], [3, 1]]))
    env.step(np.array([[1, 0], [3, 1]]))
    env.step(np.array([[1, 0], [3, 1]]))
    pool = env.bonus.pool
    assert pool.actions.tolist() == [[1, 0, 0, 1, 0]] * 3 + [[0, 0, 1, 0, 1]] * 3
    for row, (first, second) in zip((0, 3), observations):
        wanted = [first == 0, first == 1, second == 0, second == 1, second == 2]
        assert pool.observations[row].tolist() == wanted
    np.testing.assert_array_equal(env.bonus.scale, 1.0)
    np.testing.assert_array_equal(env.bonus.center, 0.0)


# ------------------------------------------------------------ what is not a number


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("observation", "next", np.array([np.nan, 0.0])),
        ("observation", "next", np.array([0.0])),
        ("reward", "reward", np.nan),
        ("reward", "reward", "much"),
    ],
)
def test_what_is_not_a_number_raises_and_names_the_step(
    name: str, field: str, value: Any
) -> None:
    inner = Spaces(PLANE, Discrete(2))
    env = CuriosityReward(inner, Recorder(), eta=1.0, update_every=9)
    env.reset()
    env.step(0)
    env.step(1)
    setattr(inner, field, value)
    with pytest.raises(ValueError, match=f"{name} must .* at step 2"):
        env.step(1)


def test_a_bad_gain_raises_and_names_the_step() -> None:
    class Broken(Recorder):
        def reward(self, batch: vime.Batch, rng: Generator) -> Any:
            return np.full(len(batch.rewards), np.nan)

    env = CuriosityReward(walk(), Broken(), eta=1.0, update_every=9)
    env.reset()
    with pytest.raises(ValueError, match=r"gain must be finite, got .* at step 0"):
        env.step(1)


def test_a_reward_may_be_an_array_of_one_number() -> None:
    inner = Spaces(PLANE, Discrete(2))
    inner.reward = np.array([2.0])
    env = CuriosityReward(inner, Recorder(), eta=0.0, update_every=9)
    env.reset()
    assert env.step(0)[1] == 2.0
    inner.reward = np.ones(2)
    with pytest.raises(ValueError, match="rewards must have shape"):
        env.step(0)


# ------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("wrapper", "env"),
    [(CuriosityReward, walk), (VectorCuriosityReward, lambda: vector(MODES[0]))],
)
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("env", {"env": 3}),
        ("bonus", {"bonus": object()}),
        ("bonus", {"bonus": vime.vime_init(3, Discrete(2), np.random.default_rng(0))}),
        ("eta", {"eta": -1.0}),
        ("eta", {"eta": None}),
        ("eta", {"share": 0.5}),
        ("share", {"eta": None, "share": -0.5}),
        ("gamma", {"eta": None, "share": 0.5, "gamma": 1.0}),
        ("gamma", {"gamma": 2.0}),
        ("update_every", {"update_every": 0}),
        ("normalize", {"normalize": "yes"}),
        ("encode", {"encode": 3}),
        ("encode", {"encode": lambda observation: 3.0}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": True}),
        ("seed", {"seed": 0.5}),
    ],
)
def test_arguments_are_rejected_by_name(
    wrapper: Any, env: Any, name: str, changed: dict[str, Any]
) -> None:
    given = {"env": env(), "eta": 1.0, "update_every": 4, **changed}
    with pytest.raises(ValueError, match=name):
        wrapper(**given)


def test_a_vector_must_say_how_it_resets() -> None:
    many = vector(AutoresetMode.NEXT_STEP)
    assert autoreset_mode(many) is AutoresetMode.NEXT_STEP
    many.metadata = {}
    with pytest.raises(ValueError, match="autoreset_mode"):
        VectorCuriosityReward(many, eta=1.0, update_every=4)


def test_same_step_without_final_obs_raises() -> None:
    class Forgetful(gymnasium.vector.VectorWrapper):
        def step(self, actions: Any) -> Any:
            return *self.env.step(actions)[:4], {}

    inner = Forgetful(vector(AutoresetMode.SAME_STEP))
    env = VectorCuriosityReward(inner, Recorder(), eta=1.0, update_every=4)
    env.reset(seed=0)
    env.step(np.ones(3, int))
    env.step(np.ones(3, int))
    with pytest.raises(ValueError, match="infos must hold final_obs"):
        env.step(np.ones(3, int))


def test_steps_outside_an_episode_need_a_reset() -> None:
    env = CuriosityReward(walk(), Recorder(), eta=1.0, update_every=4)
    with pytest.raises(ResetNeeded):
        env.step(1)
    env.reset()
    for _ in range(3):
        env.step(1)
    with pytest.raises(ResetNeeded):
        env.step(1)
    for mode in MODES:
        many = VectorCuriosityReward(vector(mode), Recorder(), eta=1.0, update_every=4)
        with pytest.raises(ResetNeeded):
            many.step(np.ones(3, int))
    many = VectorCuriosityReward(
        vector(AutoresetMode.DISABLED), Recorder(), eta=1.0, update_every=4
    )
    many.reset()
    for _ in range(3):
        many.step(np.ones(3, int))
    with pytest.raises(ResetNeeded):
        many.step(np.ones(3, int))


# ------------------------------------------------------------ save and load


def continued(env: Any, num_steps: int, seed: int) -> list[Any]:
    """Rewards of a run, episode after episode, from a reset."""
    env.reset(seed=seed)
    return [result[2].tolist() for result in stepped(env, num_steps, seed)]


def made(seed: int, **settings: Any) -> VectorCuriosityReward:
    many = vector(AutoresetMode.NEXT_STEP)
    bonus = vime_for(many, settings=replace(SMALL, capacity=20), seed=seed)
    weight = settings or {"eta": 0.5}
    return VectorCuriosityReward(many, bonus, update_every=10, seed=seed, **weight)


@pytest.mark.parametrize("weight", [{"eta": 0.5}, {"share": 0.25, "gamma": 0.9}])
def test_training_goes_on_bit_identically_after_a_load(
    tmp_path: Path, weight: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of a batch, with a pool that has dropped rows. Control: a wrapper that loads nothing."""
    monkeypatch.setattr(pools, "BLOCK", 4)
    path = tmp_path / "state.npz"
    first, second, fresh = made(1, **weight), made(2, **weight), made(2, **weight)
    continued(first, 24, 0)
    assert isinstance(first.bonus, vime.Vime)
    assert isinstance(first.bonus.pool, pools.RingPool)
    assert first.bonus.pool.dropped > 0
    assert 0 < first.curiosity.num_pending < 10
    first.save(path)
    second.load(path)
    wanted = continued(first, 30, 5)
    assert continued(second, 30, 5) == wanted
    assert continued(fresh, 30, 5) != wanted
    assert first.history == second.history
    assert isinstance(second.bonus, vime.Vime)
    for name in ("mu", "rho"):
        values = [getattr(env.bonus.q, name) for env in (first, second)]
        np.testing.assert_array_equal(*values)
    for name in ("center", "scale"):
        values = [getattr(env.bonus, name) for env in (first, second)]
        np.testing.assert_array_equal(*values)
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype.kind != "O" for name in file.files)


@pytest.mark.parametrize("weight", [{"eta": 0.5}, {"share": 0.25, "gamma": 0.9}])
def test_a_single_wrapper_is_saved_in_the_middle_of_an_episode(
    tmp_path: Path, weight: dict[str, Any]
) -> None:
    """The other environment is brought to the same place first, by another way and after fewer steps.

    So its own return differs, and the number of its steps.
    """
    envs = [
        CuriosityReward(
            walk(), vime_for(walk(), settings=SMALL, seed=seed), update_every=7, seed=seed, **weight
        )
        for seed in (1, 2)
    ]  # fmt: skip
    for env, episodes, way in zip(envs, (4, 2), ((1, 1, 0), (0, 1, 1))):
        for _ in range(episodes):
            env.reset()
            env.step(0)
            env.step(1)
        env.reset()
        for action in way:
            env.step(action)
    envs[0].save(tmp_path / "state.npz")
    envs[1].load(tmp_path / "state.npz")
    rewards: list[list[float]] = [[], []]
    for env, found in zip(envs, rewards):
        with pytest.raises(ValueError, match=r"action must .* at step 11"):
            env.step(5)
        found += [env.step(action)[1] for action in (1, 1)]
        for _ in range(5):
            env.reset()
            found += [env.step(action)[1] for action in (1, 1, 0)]
    assert rewards[0] == rewards[1]
    assert sum(rewards[0]) != pytest.approx(round(sum(rewards[0])))


def test_a_state_of_another_kind_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    many = made(1)
    many.save(path)
    fewer = VectorCuriosityReward(
        vector(MODES[0], 2), vime_for(walk(), settings=SMALL), eta=0.5, update_every=10
    )
    with pytest.raises(ValueError, match="returns of the state must have shape"):
        fewer.load(path)
    other = CuriosityReward(walk(), VisitCounts(), eta=0.5, update_every=10)
    with pytest.raises(ValueError, match=r"state.bonus must be VisitCounts"):
        other.load(path)
    slow = vime_for(walk(), settings=replace(SMALL, gains=vime.information_gains))
    other = CuriosityReward(walk(), slow, eta=0.5, update_every=10)
    with pytest.raises(ValueError, match="information_gains as here"):
        other.load(path)
    assert isinstance(other.curiosity, Curiosity)


@dataclass(frozen=True)
class Flags:
    """A bonus whose reward tells how many rows that it learned from were truncated."""

    truncated: tuple[bool, ...] = ()

    def reward(self, batch: vime.Batch, rng: Generator) -> Any:
        return np.full(len(batch.rewards), 1.0 + sum(self.truncated))

    def update(self, batch: vime.Batch, rng: Generator) -> "Flags":
        return Flags((*self.truncated, *batch.truncated.tolist()))


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_truncates_what_a_file_held(
    tmp_path: Path, mode: AutoresetMode
) -> None:
    """The flags and rewards are those of the wrapper that was saved in the middle of an episode."""
    first, second = (
        VectorCuriosityReward(
            vector(mode, 2), Flags(), eta=1.0, update_every=8, normalize=False
        )
        for _ in range(2)
    )
    first.reset()
    for actions in ([0, 1], [1, 1]):
        first.step(np.array(actions))
    first.save(tmp_path / "state.npz")
    second.load(tmp_path / "state.npz")
    rewards = []
    for env in (first, second):
        env.reset()
        steps = [env.step(np.array([0, 1]))[1].tolist() for _ in range(3)]
        rewards.append(steps)
        assert isinstance(env.bonus, Flags)
        assert env.bonus.truncated == (False, True, False, True) * 2
    assert rewards[0] == rewards[1]
    assert rewards[0][2] == [-3.0 + 5.0, 3.0 + 5.0]


class Switch(gymnasium.Env[Any, Any]):
    """The observation is the last action."""

    observation_space = Box(0.0, 1.0, (1,), np.float64)
    action_space = Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1), {}

    def step(self, action: Any) -> Any:
        return np.array([float(action)]), 0.0, False, False, {}


@pytest.mark.parametrize(
    "bonus",
    [VisitCounts(), PseudoCounts(dirichlet(2, 0.5)), vime.NoBonus(), "errors", "VIME"],
)
def test_each_bonus_goes_on_after_a_load(tmp_path: Path, bonus: Any) -> None:
    """The rewards of the next steps are those of the saved one."""
    if bonus == "errors":
        bonus = PredictionError(vime_for(Switch(), settings=SMALL, seed=0))
    if bonus == "VIME":
        bonus = vime_for(Switch(), settings=SMALL, seed=0)
    first, second = (
        CuriosityReward(Switch(), bonus, eta=1.0, update_every=3, seed=0)
        for _ in range(2)
    )
    first.reset()
    for action in (0, 1, 1, 0, 1, 1, 1):
        first.step(action)
    first.save(tmp_path / "state.npz")
    second.load(tmp_path / "state.npz")
    rewards = []
    for env in (first, second):
        env.reset()
        rewards.append([env.step(action)[1] for action in (1, 0, 1, 1, 0)])
    assert rewards[0] == rewards[1]


@dataclass(frozen=True, eq=False)
class OwnCounts:
    """A bonus of one's own, with a container that files do not hold."""

    seen: Counter[float] = field(default_factory=Counter)

    def reward(self, batch: vime.Batch, rng: Generator) -> Any:
        return np.ones(len(batch.rewards))

    def update(self, batch: vime.Batch, rng: Generator) -> "OwnCounts":
        return OwnCounts(self.seen + Counter(batch.actions.tolist()))


@pytest.mark.parametrize(
    ("bonus", "place"),
    [
        (PseudoCounts(binary_cts(2)), "state.bonus.model.tree.root .* got Node"),
        (OwnCounts(), "state.bonus.seen must .* got Counter"),
    ],
)
def test_a_bonus_that_could_not_be_loaded_is_not_saved(
    tmp_path: Path, bonus: Any, place: str
) -> None:
    env = CuriosityReward(Switch(), bonus, eta=1.0, update_every=2)
    env.reset()
    for action in (0, 1, 1):
        env.step(action)
    with pytest.raises(ValueError, match=place):
        env.save(tmp_path / "state.npz")
    assert not list(tmp_path.iterdir())


def test_a_state_of_other_sizes_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    made(1).save(path)
    wide = Spaces(Box(-1.0, 1.0, (3,)), Discrete(2))
    env = VectorCuriosityReward(
        SyncVectorEnv([lambda: wide] * 3), vime_for(wide, settings=SMALL), eta=0.5, update_every=10
    )  # fmt: skip
    with pytest.raises(ValueError, match="bonus must take observations"):
        env.load(path)

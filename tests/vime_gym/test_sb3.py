"""The callback and the VecEnvWrapper for Stable-Baselines3, against loops by hand and Gymnasium's vector."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import ClipAction, TimeLimit
from numpy.random import Generator

import vime_ref as vime
from vime_gym.vectors import FAST, vime_for
from vime_gym.wrappers import CuriosityReward, VectorCuriosityReward

pytest.importorskip("stable_baselines3")

import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecNormalize,
)

from vime_gym.sb3 import CuriosityCallback, VecCuriosityReward, ends_of

torch.set_num_threads(1)
SMALL = replace(
    FAST, hidden_sizes=(3,), min_rows=6, num_updates=3, batch_size=4, num_samples=2
)
NUM_ENVS, STEPS = 3, 8

# ------------------------------------------------------------ environments


class Walk(gymnasium.Env[Any, Any]):
    """A walk from 0 by the actions 0 and 1 (−1 and +1); it terminates at ±3. The observation is place and time.

    The reward is the place.
    """

    action_space = Discrete(2)
    observation_space = Box(-100.0, 100.0, (2,), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place, self.time = 0, 0
        return self.seen(), {}

    def seen(self) -> Any:
        return np.array([self.place, self.time], np.float32)

    def step(self, action: Any) -> Any:
        self.place += 2 * int(action) - 1
        self.time += 1
        return self.seen(), float(self.place), abs(self.place) == 3, False, {}


class Named(Walk):
    """The same walk with its observation in a dictionary."""

    observation_space = Dict(  # type: ignore[assignment]
        {name: Box(-100.0, 100.0, (1,), np.float32) for name in ("place", "time")}
    )

    def seen(self) -> Any:
        return {
            name: np.array([value], np.float32)
            for name, value in (("place", self.place), ("time", self.time))
        }


class Endless(Walk):
    """A walk without ends."""

    def step(self, action: Any) -> Any:
        seen, reward, *_ = super().step(action)
        return seen, reward, False, False, {"TimeLimit.truncated": False}


class Blind(Endless):
    """A walk without ends whose observation is always the same."""

    def seen(self) -> Any:
        return np.zeros(2, np.float32)


def walk(limit: int = 5, kind: type[Walk] = Walk) -> gymnasium.Env[Any, Any]:
    return TimeLimit(kind(), limit)


def vector(make: Callable[[], Any] = walk, num_envs: int = NUM_ENVS) -> DummyVecEnv:
    return DummyVecEnv([make] * num_envs)


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


def agent(env: Any, kind: Any = A2C, policy: str = "MlpPolicy", **settings: Any) -> Any:
    small = {"policy_kwargs": {"net_arch": [4]}, "seed": 0, "device": "cpu"}
    return kind(policy, env, **{"n_steps": STEPS, **small, **settings})


# ------------------------------------------------------------ the callback


class Spy(BaseCallback):
    """Keeps what a rollout's buffer holds when it ends, and every step of it."""

    def __init__(self, buffers: list[Any], steps: list[Any]) -> None:
        super().__init__()
        self.buffers, self.steps = buffers, steps

    def _on_step(self) -> bool:
        told = self.locals
        before = self.model._last_obs
        dones, infos = told["dones"], told["infos"]
        after = told["new_obs"].copy()
        naive = after.copy()
        for env in np.flatnonzero(dones):
            after[env] = infos[env]["terminal_observation"]
        cuts = np.array([info["TimeLimit.truncated"] for info in infos])
        row = (before, told["actions"], told["rewards"], after, dones & ~cuts, cuts)
        self.steps.append(([np.array(each, float) for each in row], naive))
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        kept = {
            name: getattr(buffer, name).copy()
            for name in ("rewards", "values", "advantages", "returns", "episode_starts")
        }
        self.buffers.append({**kept, "last": self.locals["values"].numpy().ravel()})


def batches(steps: list[Any]) -> vime.Batch:
    """The rows of some steps, environment after environment, the last of each truncated."""
    columns = [np.swapaxes(np.array(each), 0, 1) for each in zip(*steps)]
    rows = [np.concatenate(each) for each in columns]
    terminated, truncated = (each.astype(bool) for each in rows[4:])
    last = slice(len(steps) - 1, None, len(steps))
    truncated[last] |= ~terminated[last]
    return vime.Batch(*rows[:4], terminated, truncated)


def gae(held: dict[str, Any], rewards: Any, last_dones: Any) -> Any:
    """Advantages by their sum over the rest of the episode, at A2C's γ = 0.99 and λ = 1."""
    values = np.vstack([held["values"], held["last"]])
    over = np.vstack([held["episode_starts"][1:], last_dones])
    advantages = np.zeros_like(rewards)
    for env in range(NUM_ENVS):
        for start in range(STEPS):
            total, discount = 0.0, 1.0
            for time in range(start, STEPS):
                total += discount * rewards[time, env]
                discount *= 0.99
                if over[time, env]:
                    break
            else:
                total += discount * values[STEPS, env]
            advantages[start, env] = total - values[start, env]
    return advantages


def test_callback_against_rollouts_by_hand() -> None:
    """Gains, divisors, posterior, rewards and advantages are those of the definitions on the same rollouts.

    Controls: the divisor without the current rollout; rows in time order; a next observation of the next episode.
    """
    seed, eta, before, steps, after = 7, 0.25, [], [], []  # type: ignore[var-annotated]
    env = vector()
    bonus = vime_for(env, settings=SMALL, seed=3)
    curious = CuriosityCallback(bonus, eta=eta, seed=seed)
    model = agent(env)
    together = CallbackList([Spy(before, steps), curious, Spy(after, [])])
    model.learn(5 * NUM_ENVS * STEPS, callback=together)

    generator, replay = np.random.default_rng(seed).spawn(2)
    history: tuple[float, ...] = ()
    for place, (plain, paid) in enumerate(zip(before, after)):
        rollout = steps[STEPS * place : STEPS * (place + 1)]
        batch = batches([row for row, _ in rollout])
        gains = bonus.reward(batch, generator)
        divided, new = vime.normalize_gains(gains, history)
        excluded, _ = vime.normalize_gains(gains, history, include_current=False)
        added = eta * divided.reshape(NUM_ENVS, STEPS).T  # (T, n)
        rewards = plain["rewards"] + added
        np.testing.assert_allclose(paid["rewards"], rewards, rtol=1e-6)
        last_dones = np.logical_or(*rollout[-1][0][4:])
        advantages = gae(plain, rewards, last_dones)
        np.testing.assert_allclose(paid["advantages"], advantages, 1e-4, 1e-5)
        returns = advantages + plain["values"]
        np.testing.assert_allclose(paid["returns"], returns, 1e-4, 1e-5)
        np.testing.assert_array_equal(paid["values"], plain["values"])
        if place > 1:
            assert not np.allclose(paid["advantages"], plain["advantages"])
            assert not np.allclose(eta * excluded, eta * divided)
            assert not np.allclose(added, eta * divided.reshape(STEPS, NUM_ENVS))
        history = new
        bonus = bonus.update(batch, replay)
    assert any(np.any(row[3] != naive) for row, naive in steps)
    assert len(history) == 4
    assert curious.history == history
    np.testing.assert_array_equal(curious.bonus.q.mu, bonus.q.mu)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(
        curious.bonus.pool.next_observations,  # type: ignore[attr-defined]
        bonus.pool.next_observations,
    )


def test_rollouts_of_one_batch_by_hand() -> None:
    """With `update_every`, each rollout is rewarded at its end, and the bonus learns once enough rows are kept.

    Two rollouts make a batch here. Its divisor is that of all its rows so far.
    Controls: the divisor of the rollout alone, and a bonus that learns after each rollout.
    """
    seed, eta, before, steps, after = 7, 0.25, [], [], []  # type: ignore[var-annotated]
    env, size = vector(), NUM_ENVS * STEPS
    bonus = vime_for(env, settings=SMALL, seed=3)
    curious = CuriosityCallback(bonus, eta=eta, seed=seed, update_every=size + 1)
    model = agent(env)
    model.learn(7 * size, CallbackList([Spy(before, steps), curious, Spy(after, [])]))

    generator, replay = np.random.default_rng(seed).spawn(2)
    history: tuple[float, ...] = ()
    kept: list[Any] = []
    raw = np.zeros(0)
    for place, (plain, paid) in enumerate(zip(before, after)):
        rollout = [row for row, _ in steps[STEPS * place : STEPS * (place + 1)]]
        kept += rollout
        gains = bonus.reward(batches(rollout), generator)
        raw = np.append(raw, gains)
        divided, new = vime.normalize_gains(raw, history)
        added = eta * divided[-size:].reshape(NUM_ENVS, STEPS).T  # (T, n)
        wanted = plain["rewards"] + added
        np.testing.assert_allclose(paid["rewards"], wanted, rtol=1e-6)
        if place == 5:
            alone, _ = vime.normalize_gains(gains, history)
            assert not np.allclose(alone, divided[-size:])
        if place % 2:
            bonus, history = bonus.update(batches(kept), replay), new
            kept, raw = [], np.zeros(0)
    assert len(history) == 2
    assert curious.history == history
    np.testing.assert_array_equal(curious.bonus.q.mu, bonus.q.mu)  # type: ignore[attr-defined]
    pools = [each.pool.next_observations for each in (curious.bonus, bonus)]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(*pools)
    assert len(pools[0]) == 6 * size


@pytest.mark.parametrize("way", ["one call", "goes on", "anew", "dropped"])
def test_a_batch_goes_on_over_rollouts(way: str) -> None:
    """The last rows of a batch are truncated; those of a rollout before are for its own rewards only.

    Also if the rollouts are of two calls. Controls: a call that starts anew, and a rollout dropped in between.
    """
    bonus, size = Recorder(), NUM_ENVS * STEPS
    curious = CuriosityCallback(bonus, eta=1.0, update_every=2 * size)
    model = agent(VecNormalize(vector(Endless)))
    if way == "one call":
        model.learn(2 * size, curious)
    elif way == "dropped":
        model.learn(1000, CallbackList([curious, Stop()]))
    else:
        model.learn(size, curious)
    if way != "one call":
        model.learn(size, curious, reset_num_timesteps=way == "anew")
    (learned,) = bonus.learned
    truncated = learned.truncated.reshape(NUM_ENVS, 2, STEPS)
    assert truncated[:, 1, -1].all()
    assert (truncated[:, 0, -1] == (way in ("anew", "dropped"))).all()
    assert not truncated[:, :, :-1].any()
    for batch in bonus.rewarded:
        flags = batch.truncated.reshape(NUM_ENVS, STEPS)
        assert flags[:, -1].all()
        assert not flags[:, :-1].any()


@pytest.mark.parametrize("stacked", [False, True])
def test_the_bonus_sits_inside_normalization_against_the_walk(stacked: bool) -> None:
    """Under VecNormalize it sees places and times as they are, also at ends; the advantages are of the sum.

    Control: what the agent saw is none of them.
    """
    env: Any = VecNormalize(vector(), clip_obs=0.5)
    if stacked:
        env = VecFrameStack(env, 2)
    kept, after = [], []  # type: ignore[var-annotated]
    bonus = Recorder()
    curious = CuriosityCallback(bonus, eta=0.5, normalize=False)
    model = agent(env)
    model.learn(
        2 * NUM_ENVS * STEPS,
        callback=CallbackList([Spy(kept, []), curious, Spy(after, [])]),
    )
    model.learn(NUM_ENVS * STEPS, callback=curious, reset_num_timesteps=False)
    assert len(bonus.learned) == 3
    for batch in bonus.learned:
        moved = batch.observations[:, 0] + 2 * batch.actions - 1
        np.testing.assert_array_equal(batch.next_observations[:, 0], moved)
        later = batch.observations[:, 1] + 1
        np.testing.assert_array_equal(batch.next_observations[:, 1], later)
        np.testing.assert_array_equal(batch.terminated, abs(moved) == 3)
        same_episode = ~(batch.terminated | batch.truncated)[:-1]
        follows = batch.observations[1:] == batch.next_observations[:-1]
        assert np.all(follows[same_episode])
    assert any(np.any(each.terminated) for each in bonus.learned)
    for plain, paid, batch in zip(kept, after, bonus.rewarded):
        added = 0.5 * (1.0 + batch.observations[:, 1]).reshape(NUM_ENVS, STEPS).T
        np.testing.assert_allclose(paid["rewards"], plain["rewards"] + added, 1e-5)
    seen = model.rollout_buffer.observations
    assert abs(seen).max() <= 0.5


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
@pytest.mark.parametrize("normalized", [True, False])
def test_evaluation_goes_on_beside_the_wrapper(normalized: bool) -> None:
    """It measures the task's returns, which are whole numbers here. Without VecNormalize it needs no wrapper."""
    bare: Any = vector(num_envs=1)
    env: Any = VecCuriosityReward(
        vector(num_envs=1), Recorder(), eta=0.3, update_every=9
    )
    if normalized:
        env = VecNormalize(env)
        bare = VecCuriosityReward(bare, vime.NoBonus(), eta=0.0, update_every=1000)
        bare = VecNormalize(bare, training=False, norm_reward=False)
    evaluation = EvalCallback(
        bare, eval_freq=STEPS, n_eval_episodes=1, verbose=0, warn=False
    )
    agent(env).learn(2 * STEPS, callback=evaluation)
    assert evaluation.last_mean_reward == round(evaluation.last_mean_reward)


def test_evaluation_goes_on_beside_it() -> None:
    """EvalCallback finds the same wrappers around both environments."""
    evaluation = EvalCallback(
        VecNormalize(vector(num_envs=1), training=False, norm_reward=False),
        eval_freq=STEPS, n_eval_episodes=2, verbose=0, warn=False,
    )  # fmt: skip
    curious = CuriosityCallback(Recorder(), eta=0.5)
    inner = vector(num_envs=1)
    model = agent(VecNormalize(inner))
    for _ in range(2):
        model.learn(2 * STEPS, callback=[curious, evaluation])
        wrapped = inner.step_wait.args[0]  # type: ignore[attr-defined]
        assert wrapped.__self__ is inner  # once
    assert evaluation.last_mean_reward * 2 == round(evaluation.last_mean_reward * 2)


def test_share_follows_the_returns_of_the_rollout() -> None:
    """η = share·(1 − γ)·G after the rollout, with G the largest |discounted return| of its episodes.

    γ is the algorithm's.
    """
    bonus, before, after = Recorder(), [], []  # type: ignore[var-annotated]
    curious = CuriosityCallback(bonus, share=0.5, normalize=False)
    together = CallbackList([Spy(before, []), curious, Spy(after, [])])
    agent(vector(num_envs=1), gamma=0.5).learn(STEPS, callback=together)
    (batch,) = bonus.rewarded
    largest = total = 0.0
    for reward, ended in zip(batch.rewards, batch.terminated | batch.truncated):
        total = reward + 0.5 * total
        largest = max(largest, abs(total))
        total = 0.0 if ended else total
    added = after[0]["rewards"] - before[0]["rewards"]
    wanted = 0.5 * 0.5 * largest * (1.0 + batch.observations[:, 1])
    np.testing.assert_allclose(added[:, 0], wanted, rtol=1e-5)


def test_returns_go_on_with_the_algorithm() -> None:
    """G is that of one episode over four calls of `learn`. Control: calls that start anew."""
    peaks = []
    for anew in (False, True):
        curious = CuriosityCallback(Recorder(), share=0.5)
        model = agent(vector(Blind, 1), gamma=0.9)
        kept: list[Any] = []
        for _ in range(4):
            both = CallbackList([Spy(kept, []), curious])
            model.learn(STEPS, both, reset_num_timesteps=anew)
        rewards = np.concatenate([each["rewards"][:, 0] for each in kept])
        total, totals = 0.0, []
        for time, reward in enumerate(rewards):
            total = reward + 0.9 * total * (time % STEPS > 0 or not anew)
            totals.append(abs(total))
        peaks.append((curious.curiosity.peak, max(totals)))
    np.testing.assert_allclose(*zip(*peaks), rtol=1e-6)
    assert peaks[0][0] != peaks[1][0]


def test_the_defaults_follow_the_algorithm() -> None:
    """Its γ and its rollout; what is given stays. Also with another algorithm later."""
    own = CuriosityCallback(Recorder(), eta=0.5)
    given = CuriosityCallback(Recorder(), eta=0.5, gamma=0.25, update_every=7)
    for gamma, steps in ((0.9, STEPS), (0.5, 2)):
        model = agent(vector(), gamma=gamma, n_steps=steps)
        for curious in (own, given):
            curious.init_callback(model)
        made = own.curiosity
        assert (made.gamma, made.update_every) == (gamma, NUM_ENVS * steps)
    made = given.curiosity
    assert (made.gamma, made.update_every) == (0.25, 7)
    with pytest.raises(ValueError, match="update_every must"):
        CuriosityCallback(eta=0.5, update_every=0)


class Stop(BaseCallback):
    """Stops at a step in the middle of a rollout."""

    def _on_step(self) -> bool:
        return self.n_calls != STEPS + 3


def test_a_stopped_rollout_is_dropped() -> None:
    bonus = Recorder()
    curious = CuriosityCallback(bonus, eta=1.0, normalize=False)
    model = agent(vector())
    model.learn(1000, callback=CallbackList([curious, Stop()]))
    assert len(curious.curiosity.rollout) == 3
    model.learn(NUM_ENVS * STEPS, callback=curious, reset_num_timesteps=False)
    assert [len(each.rewards) for each in bonus.learned] == [NUM_ENVS * STEPS] * 2


def test_dictionaries_need_an_encoder() -> None:
    """With one, gains are those of the plain walk's rollout."""

    def encode(observation: Any) -> Any:
        return np.concatenate([observation["place"], observation["time"]])

    env = vector(lambda: walk(kind=Named))
    bonus = Recorder()
    model = agent(env, policy="MultiInputPolicy")
    with pytest.raises(ValueError, match="give encode"):
        model.learn(10, callback=CuriosityCallback(bonus, eta=1.0))
    model.learn(20, callback=CuriosityCallback(bonus, eta=1.0, encode=encode))
    (batch,) = bonus.rewarded
    moved = batch.observations[:, 0] + 2 * batch.actions - 1
    np.testing.assert_array_equal(batch.next_observations[:, 0], moved)
    later = batch.observations[:, 1] + 1
    np.testing.assert_array_equal(batch.next_observations[:, 1], later)


class Camera(Walk):
    """The walk, seen as an image (H, W, C)."""

    observation_space = Box(0, 255, (4, 5, 3), np.uint8)

    def seen(self) -> Any:
        return np.full((4, 5, 3), self.place + 100, np.uint8)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("callback", (3, 4, 5)), ("normalized", (4, 5, 3)), ("wrapper", (4, 5, 3))],
)
def test_what_encode_sees_of_images(kind: str, shape: tuple[int, ...]) -> None:
    """The callback sees images behind VecTransposeImage, unless VecNormalize is there; the wrapper as they are."""
    shapes = set()

    def encode(image: Any) -> Any:
        shapes.add(np.shape(image))
        return np.ravel(image)[:1] / 255.0

    env: Any = vector(lambda: walk(kind=Camera))
    settings: Any = {"eta": 1.0, "update_every": 9, "encode": encode}
    if kind == "wrapper":
        env = VecCuriosityReward(env, vime.NoBonus(), **settings)
        agent(env).learn(2 * NUM_ENVS * STEPS)
    else:
        env = VecNormalize(env, norm_obs=False) if kind == "normalized" else env
        curious = CuriosityCallback(vime.NoBonus(), **settings)
        agent(env).learn(2 * NUM_ENVS * STEPS, callback=curious)
    assert shapes == {shape}


def test_ppo_learns_with_the_default_bonus() -> None:
    """The log holds means and a median; the model sees actions within the bounds.

    The first batch with gains is divided by its own median. Control: the mean is above it.
    """
    env = DummyVecEnv([lambda: gymnasium.make("MountainCarContinuous-v0")] * 2)
    curious = CuriosityCallback(eta=0.1, seed=0)
    model = agent(env, PPO, n_steps=300, n_epochs=1, batch_size=100)
    model.learn(1200, callback=curious, log_interval=None)
    assert curious.history
    logged = model.logger.name_to_value
    assert logged["rollout/information_gain"] > 0
    assert logged["rollout/median_normalized_gain"] == pytest.approx(1.0)
    assert logged["rollout/intrinsic_reward"] > 0.1 * 1.01
    pool = curious.bonus.pool  # type: ignore[attr-defined]
    assert len(pool) == 1200
    assert abs(pool.actions).max() <= 1.0


def test_callback_rejects_what_it_cannot_serve() -> None:
    curious = CuriosityCallback(eta=1.0)
    with pytest.raises(ValueError, match=r"learn or init_callback\(model\)"):
        _ = curious.bonus
    dqn = DQN("MlpPolicy", walk(), device="cpu")
    with pytest.raises(ValueError, match=r"rollout_buffer.*DQN.*VecCuriosityReward"):
        dqn.learn(10, callback=curious)


def test_callback_rejects_its_numbers_at_once() -> None:
    """Before it sees a model; also the share with γ = 1."""
    with pytest.raises(ValueError, match="one of eta and share"):
        CuriosityCallback()
    with pytest.raises(ValueError, match="one of eta and share"):
        CuriosityCallback(eta=1.0, share=1.0)
    with pytest.raises(ValueError, match="gamma must be < 1 with share"):
        CuriosityCallback(share=1.0, gamma=1.0)
    CuriosityCallback(eta=1.0, gamma=1.0)


def test_resuming_without_the_saved_bonus_warns(tmp_path: Path) -> None:
    """Controls: with the file, with the same callback, with a full bonus or another kind, and from step 0."""
    env = vector()
    bonus = vime_for(env, settings=SMALL, seed=3)
    curious = CuriosityCallback(bonus, eta=0.5)
    model = agent(env)
    model.learn(STEPS, callback=curious)  # from step 0
    model.learn(STEPS, callback=curious, reset_num_timesteps=False)
    curious.save(tmp_path / "bonus.npz")

    again = CuriosityCallback(bonus, eta=0.5)
    again.init_callback(model)
    again.load(tmp_path / "bonus.npz")
    full = CuriosityCallback(curious.bonus, eta=0.5)
    for fine in (again, full, CuriosityCallback(Recorder(), eta=0.5)):
        model.learn(STEPS, callback=fine, reset_num_timesteps=False)
    empty = CuriosityCallback(bonus, eta=0.5)
    with pytest.warns(UserWarning, match=r"seen \d+ steps and the bonus none.*load"):
        model.learn(STEPS, callback=empty, reset_num_timesteps=False)


# ------------------------------------------------------------ the wrapper


def test_wrapper_against_the_vector_wrapper_of_gymnasium() -> None:
    """Rewards and infos are those of a SAME_STEP vector; the environments' observations and ends pass."""
    make = [walk] * NUM_ENVS
    theirs = SyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP)
    settings: dict[str, Any] = {"eta": 0.5, "update_every": 10, "seed": 2}
    bonus = vime_for(theirs, settings=SMALL, seed=3)
    wanted = VectorCuriosityReward(theirs, bonus, **settings)
    ours = VecCuriosityReward(vector(), bonus, **settings)
    first, _ = wanted.reset()
    np.testing.assert_array_equal(ours.reset(), first)
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.integers(2, size=NUM_ENVS)
        observations, rewards, terminated, truncated, told = wanted.step(actions)
        found, earned, dones, infos = ours.step(actions)
        np.testing.assert_array_equal(found, observations)
        np.testing.assert_array_equal(earned, rewards.astype(np.float32))
        np.testing.assert_array_equal(dones, terminated | truncated)
        for name in ("extrinsic_reward", "intrinsic_reward", "information_gain"):
            values = [info[name] for info in infos]
            np.testing.assert_array_equal(values, told[name])
    assert ours.history == wanted.history
    assert len(ours.history) > 5
    np.testing.assert_array_equal(ours.bonus.q.mu, wanted.bonus.q.mu)  # type: ignore[attr-defined]


def test_what_the_wrapper_tells_stands_above_what_was_told_inside() -> None:
    inside = vector(
        lambda: CuriosityReward(walk(), Recorder(), eta=0.5, update_every=9)
    )
    env = VecCuriosityReward(inside, Recorder(), eta=2.0, update_every=9)
    env.reset()
    _, rewards, _, infos = env.step(np.ones(NUM_ENVS, int))
    for reward, told in zip(rewards, infos):
        assert told["extrinsic_reward"] == 1.0 + 0.5
        assert told["intrinsic_reward"] == 2.0
        assert reward == 1.0 + 0.5 + 2.0


def test_wrapper_in_processes_against_one_process() -> None:
    settings: dict[str, Any] = {"eta": 0.5, "update_every": 4, "seed": 2}
    rewards = []
    for kind in (DummyVecEnv, SubprocVecEnv):
        inner = kind([walk] * 2)
        env = VecCuriosityReward(inner, vime_for(inner, settings=SMALL, seed=1), **settings)  # fmt: skip
        env.reset()
        rng = np.random.default_rng(0)
        rewards.append([env.step(rng.integers(2, size=2))[1] for _ in range(20)])
        env.close()
    np.testing.assert_array_equal(*rewards)


def test_wrapper_inside_normalization_and_under_two_algorithms() -> None:
    """Control: around VecNormalize it is rejected."""
    bonus = Recorder()
    inner = VecCuriosityReward(vector(), bonus, eta=0.5, update_every=10)
    env = VecNormalize(inner)
    agent(env).learn(2 * NUM_ENVS * STEPS)
    assert sum(len(each.rewards) for each in bonus.learned) >= 40
    curious = VecCuriosityReward(vector(), bonus, eta=0.5, update_every=10)
    dqn = DQN("MlpPolicy", curious, learning_starts=10, device="cpu", seed=0)
    dqn.learn(60)
    stored = dqn.replay_buffer.rewards[:20]  # type: ignore[union-attr]
    assert np.any(stored != np.round(stored))
    with pytest.raises(ValueError, match="VecNormalize around"):
        VecCuriosityReward(VecNormalize(vector()), bonus, eta=0.5, update_every=10)


class Unkept(VecEnvWrapper):
    """Environments that do not keep the last observation of an episode."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards, dones, [{} for _ in infos]


def test_wrapper_rejects_what_it_cannot_serve() -> None:
    sent: list[Any] = []
    inner = vector()
    inner.step_async = sent.append  # type: ignore[method-assign]
    made = VecCuriosityReward(inner, Recorder(), eta=0.5, update_every=10)
    with pytest.raises(ResetNeeded):
        made.step(np.zeros(NUM_ENVS, int))
    assert not sent
    with pytest.raises(ValueError, match=r"venv must be a VecEnv.*make_vec_env"):
        VecCuriosityReward(walk(), eta=0.5, update_every=10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"update_every must be given.*500 off-policy"):
        VecCuriosityReward(inner, eta=0.5)
    clipped = DummyVecEnv(
        [lambda: ClipAction(gymnasium.make("MountainCarContinuous-v0"))]
    )
    with pytest.raises(ValueError, match="ClipAction"):
        VecCuriosityReward(clipped, eta=0.5, update_every=10)
    unkept = VecCuriosityReward(
        Unkept(vector(lambda: walk(1))), Recorder(), eta=1.0, update_every=9
    )
    unkept.reset()
    with pytest.raises(ValueError, match="terminal_observation"):
        unkept.step(np.zeros(NUM_ENVS, int))


def test_ends_against_their_table() -> None:
    """A limit counts only where an episode ends."""
    infos = [
        {"TimeLimit.truncated": True},
        {"TimeLimit.truncated": True, "terminal_observation": 1},
        {"terminal_observation": 2},
    ]
    found = ends_of(np.array([False, True, True]), infos)
    assert found["terminated"].tolist() == [False, False, True]
    assert found["truncated"].tolist() == [False, True, False]
    assert found["finals"] == {1: 1, 2: 2}


@pytest.mark.filterwarnings("ignore:.*float64.*:UserWarning")
@pytest.mark.parametrize("env_id", ["CartPole-v1", "MountainCarContinuous-v0"])
def test_curious_environments_pass_their_checker(env_id: str) -> None:
    check_env(CuriosityReward(gymnasium.make(env_id), eta=0.1, update_every=20))


# ------------------------------------------------------------ files


def test_wrapper_goes_on_bit_identically_after_loading(tmp_path: Path) -> None:
    """Control: without loading, the rewards differ."""
    path = tmp_path / "curiosity.npz"
    settings: dict[str, Any] = {"eta": 0.5, "update_every": 10}

    def made(seed: int) -> VecCuriosityReward:
        bonus = vime_for(vector(), settings=SMALL, seed=seed)
        return VecCuriosityReward(vector(), bonus, seed=seed, **settings)

    def rewards(env: VecCuriosityReward) -> Any:
        env.reset()
        rng = np.random.default_rng(1)
        return [env.step(rng.integers(2, size=NUM_ENVS))[1] for _ in range(20)]

    first = made(0)
    rewards(first)
    first.save(path)
    again = made(1)
    again.load(path)
    wanted = rewards(first)
    np.testing.assert_array_equal(rewards(again), wanted)
    assert np.any(np.array(rewards(made(1))) != wanted)


def test_callback_goes_on_after_loading(tmp_path: Path) -> None:
    """Bonus, divisor and rewards of the next rollout are those of the callback that was saved."""
    path = tmp_path / "curiosity.npz"
    env = vector()
    bonus = vime_for(env, settings=SMALL, seed=3)
    first = CuriosityCallback(bonus, eta=0.5, seed=0)
    model = agent(env)
    model.learn(3 * NUM_ENVS * STEPS, callback=first)
    first.save(path)
    again = CuriosityCallback(vime_for(env, settings=SMALL, seed=9), eta=0.5, seed=5)
    again.init_callback(agent(vector()))
    again.load(path)
    assert again.history == first.history
    paid = []
    for callback in (first, again):
        after: list[Any] = []
        both = CallbackList([callback, Spy(after, [])])
        agent(vector()).learn(NUM_ENVS * STEPS, callback=both)
        paid.append(after[0]["rewards"])
    np.testing.assert_array_equal(*paid)
    np.testing.assert_array_equal(first.bonus.q.mu, again.bonus.q.mu)  # type: ignore[attr-defined]

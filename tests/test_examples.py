"""The examples that people copy, in short form, and each method of theirs against the reference."""

import importlib.util
import io
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from measures import ROOT

import vime_ref as vime
from vime_gym.vectors import FAST, vime_for


def example(name: str) -> ModuleType:
    """An example as a module; its own command does not run."""
    spec = importlib.util.spec_from_file_location(
        name, ROOT / "examples" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHORT = ("own_loop", "watch_compute_update", "sb3_ppo", "sb3_off_policy")


@pytest.mark.parametrize("name", SHORT)
def test_examples_are_short(name: str) -> None:
    lines = (ROOT / "examples" / f"{name}.py").read_text().splitlines()
    assert 20 <= len(lines) <= 60


# ------------------------------------------------------------ a loop of your own


def test_own_loop_in_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed learns from the same rewards; another seed and η = 0 do not. With η = 0 they are the task's."""
    loop = example("own_loop")
    learned: list[Any] = []
    improve = loop.improve

    def kept(policy: Any, value: Any, batch: vime.Batch, *more: Any) -> Any:
        learned.append((batch.observations, batch.rewards))
        return improve(policy, value, batch, *more)

    monkeypatch.setattr(loop, "improve", kept)
    runs = []
    for seed, eta in ((0, 1e-4), (0, 1e-4), (1, 1e-4), (0, 0.0)):
        learned.clear()
        assert len(loop.train(2, seed, eta, steps=60)) == 2
        runs.append([np.concatenate(column) for column in zip(*learned)])
    places, rewards = zip(*runs)
    np.testing.assert_array_equal(places[0], places[1])
    np.testing.assert_array_equal(rewards[0], rewards[1])
    assert not np.array_equal(places[0], places[2])
    assert not np.array_equal(rewards[0], rewards[2])
    assert rewards[0].any()
    assert not rewards[3].any()
    assert len(capsys.readouterr().out.splitlines()) == 8


# ------------------------------------------------------------ watch, compute, update


def samples(steps: int, num_envs: int, discrete: bool) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    flags = rng.random((2, steps, num_envs)) < 0.1
    return {
        "observations": rng.normal(size=(steps, num_envs, 4)),
        "actions": rng.integers(2, size=(steps, num_envs, *([] if discrete else [1]))),
        "rewards": rng.normal(size=(steps, num_envs)),
        "terminateds": flags[0],
        "truncateds": flags[1] & ~flags[0],
        "next_observations": rng.normal(size=(steps, num_envs, 4)),
    }


@pytest.mark.parametrize("discrete", [True, False])
def test_three_methods_against_the_rows_one_environment_at_a_time(
    discrete: bool,
) -> None:
    """Rewards and posterior are those of `Vime` on the rows in the order of `Batch`. Control: time after time."""
    envs = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    settings = replace(FAST, min_rows=6, num_updates=3, num_samples=2)
    bonus = vime_for(envs, settings=settings, seed=1)
    seen = samples(8, 3, discrete)
    reward = example("watch_compute_update").WatchComputeUpdate(
        envs, bonus, beta=0.5, seed=2
    )
    reward.watch(*(each[0] for each in seen.values()))
    assert not reward.compute(seen).any()  # the pool is empty
    assert len(reward.bonus.pool) == 24
    first = reward.bonus
    found = reward.compute(seen, sync=False)
    assert reward.bonus is first
    assert found.shape == (8, 3)

    rows = []
    for env in range(3):
        for time in range(8):
            rows.append([seen[name][time, env] for name in seen])
    columns = [np.array(column) for column in zip(*rows)]
    before, actions, rewards, ends, cuts, after = columns
    cuts[7::8] |= ~ends[7::8]
    batch = vime.Batch(before, actions.ravel(), rewards, after, ends, cuts)
    model, replay = np.random.default_rng(2).spawn(2)
    learned = bonus.update(batch, replay)
    np.testing.assert_array_equal(learned.q.mu, first.q.mu)
    gains = learned.reward(batch, model)
    wanted, _ = vime.normalize_gains(gains, ())
    np.testing.assert_array_equal(found, 0.5 * wanted.reshape(3, 8).T)
    assert np.any(found != 0.5 * wanted.reshape(8, 3))


def test_tensors_come_back_as_tensors() -> None:
    """The rewards of arrays, in the type of the samples' rewards, which may be added in place."""
    torch = pytest.importorskip("torch")
    envs = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    settings = replace(FAST, min_rows=6, num_updates=3, num_samples=2)
    seen = samples(8, 3, True)
    tensors = {name: torch.as_tensor(each) for name, each in seen.items()}
    tensors["rewards"] = tensors["rewards"].float()
    seen["rewards"] = tensors["rewards"].numpy().copy()
    found = []
    for given in (seen, tensors):
        bonus = vime_for(envs, settings=settings, seed=1)
        reward = example("watch_compute_update").WatchComputeUpdate(envs, bonus)
        reward.compute(given)
        found.append(reward.compute(given))
    added = tensors["rewards"].clone()
    added += found[1]
    assert (added.dtype, found[1].dtype) == (torch.float32,) * 2
    np.testing.assert_array_equal(found[1].numpy(), found[0].astype(np.float32))
    assert found[0].any()
    assert tensors["truncateds"].numpy().tolist() == seen["truncateds"].tolist()


def test_the_default_is_the_default_vime() -> None:
    envs = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    reward = example("watch_compute_update").WatchComputeUpdate(envs)
    own = vime_for(envs, seed=0)
    np.testing.assert_array_equal(reward.bonus.q.mu, own.q.mu)


# ------------------------------------------------------------ Stable-Baselines3


def models_of(module: ModuleType, name: str) -> list[Any]:
    """The models of this class that the example makes from now on."""
    models: list[Any] = []
    kind = getattr(module, name)

    def kept(*given: Any, **named: Any) -> Any:
        models.append(kind(*given, **named))
        return models[-1]

    setattr(module, name, kept)
    return models


def weights(model: Any) -> Any:
    parameters = model.policy.state_dict().values()
    return np.concatenate([each.numpy().ravel() for each in parameters])


def test_ppo_with_and_without_curiosity_in_short() -> None:
    """The same seed learns the same; another seed and η = 0 do not."""
    pytest.importorskip("stable_baselines3")
    ppo = example("sb3_ppo")
    models = models_of(ppo, "PPO")
    for seed, eta in ((0, 1e-2), (0, 1e-2), (1, 1e-2), (0, 0.0)):
        assert len(ppo.train(seed, eta, steps=2048)) == 8
    first, again, other, plain = map(weights, models)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, plain)


def test_the_goal_alone_is_rewarded() -> None:
    """From a state beside the goal, at full speed; a step elsewhere is the control."""
    pytest.importorskip("stable_baselines3")
    env = example("sb3_ppo").GoalReward(gymnasium.make("MountainCar-v0"))
    env.reset(seed=0)
    assert env.step(2)[1:3] == (0.0, False)
    env.unwrapped.state = np.array([0.49, 0.07])
    assert env.step(2)[1:3] == (1.0, True)


@pytest.mark.parametrize("again", [False, True])
def test_sac_with_curiosity_in_short(
    again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed learns the same; another seed and η = 0 do not. The buffer can be saved.

    It holds r̃ or, with `again`, the task's rewards, which are all 0 here.
    """
    pytest.importorskip("stable_baselines3")
    sac = example("sb3_off_policy")
    monkeypatch.setitem(sys.modules, sac.__name__, sac)  # a pickle names its class
    models = models_of(sac, "SAC")
    for seed, eta in ((0, 1e-2), (0, 1e-2), (1, 1e-2), (0, 0.0)):
        assert len(sac.train(seed, eta, 560, again=again)) == 1
    first, repeated, other, plain = map(weights, models)
    np.testing.assert_array_equal(first, repeated)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, plain)
    stored = [model.replay_buffer.rewards.any() for model in models]
    assert stored == [not again] * 3 + [False]

    model = models[0]
    actions = model.replay_buffer.actions
    file = io.BytesIO()
    model.save_replay_buffer(file)
    file.seek(0)
    model.load_replay_buffer(file)
    np.testing.assert_array_equal(model.replay_buffer.actions, actions)
    assert hasattr(model.replay_buffer, "curious") == again


def test_samples_evaluated_again_against_the_bonus_itself() -> None:
    """A sample's reward is that of the task plus η·gain/divisor of the posterior as it is now.

    Control: the posterior at collection.
    """
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.vec_env import DummyVecEnv

    from vime_gym.sb3 import VecCuriosityReward

    envs = DummyVecEnv([lambda: gymnasium.make("vime_ref/SparseMountainCar-v0")])
    settings = replace(FAST, min_rows=20, num_updates=5, num_samples=2)
    curious = VecCuriosityReward(
        envs, vime_for(envs, settings=settings, seed=1), eta=0.5, update_every=20
    )
    buffer = example("sb3_off_policy").EvaluatedAgain(
        100, envs.observation_space, envs.action_space, "cpu"
    )
    buffer.curious = curious.curiosity
    observations = curious.reset()
    earned = []
    for step in range(60):
        actions = np.array([[np.sin(step)]], np.float32)
        after, rewards, dones, infos = curious.step(actions)
        buffer.add(observations, after, actions, rewards, dones, infos)
        observations = after
        earned.append(float(rewards[0]))

    assert not buffer.rewards.any()
    state = curious.curiosity.model.bit_generator.state
    places = np.array([3, 40, 59])
    found = buffer._get_samples(places).rewards.numpy()[:, 0]
    noise = np.random.default_rng()
    noise.bit_generator.state = state
    rows = vime.Batch(
        buffer.observations[places, 0], buffer.actions[places, 0], np.zeros(3),
        buffer.next_observations[places, 0], np.zeros(3, bool), np.ones(3, bool),
    )  # fmt: skip
    gains = curious.bonus.reward(rows, noise)
    wanted = 0.5 * gains / np.mean(curious.history)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert np.all(wanted > 0)
    assert not np.allclose(np.array(earned)[places], wanted)

"""The examples that people copy, in short form, and each method of theirs against the reference."""

import importlib.util
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


@pytest.mark.parametrize("name", ["own_loop", "watch_compute_update"])
def test_examples_are_short(name: str) -> None:
    lines = (ROOT / "examples" / f"{name}.py").read_text().splitlines()
    assert 20 <= len(lines) <= 60


# ------------------------------------------------------------ a loop of your own


def test_own_loop_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    """Two seeds print different curves; the same seed prints the same one."""
    loop = example("own_loop")
    curves = [loop.train(2, seed, 1e-4, steps=60) for seed in (0, 0)]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 2
    assert len(capsys.readouterr().out.splitlines()) == 4


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


def test_the_default_is_the_default_vime() -> None:
    envs = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    reward = example("watch_compute_update").WatchComputeUpdate(envs)
    own = vime_for(envs, seed=0)
    np.testing.assert_array_equal(reward.bonus.q.mu, own.q.mu)

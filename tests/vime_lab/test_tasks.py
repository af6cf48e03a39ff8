"""Tasks, jobs, and the start of a run."""

import json
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import bnn_ref as bnn
import fast_ref
import vime_ref
from agents_ref import curiosity, policy_gradient_step, rollout, trpo_step, value_fit
from vime_lab.baselines import original_inputs, ridge_fit
from vime_lab.settings import ReinforceSettings, shared_zeta, with_setting
from vime_lab.tasks import (
    BONUSES,
    MUJOCO_TASKS,
    ORIGINAL_TASKS,
    ROOT_SEED,
    SETTINGS,
    TASKS,
    Job,
    Uninformed,
    envs_of,
    grid_of,
    jobs_of,
    policy_step_of,
    start,
    swept,
    value_step_of,
)
from vime_lecture.controls import NoiseBonus, PathError, PredictionError, SquaredZScore
from vime_lecture.counts import VisitCounts
from vime_ref import Batch, NoBonus, Vime

TASK = TASKS["SparseMountainCar"]
every_task = pytest.mark.parametrize("name", TASKS)


# ---------------------------------------------------------------- settings by name


def test_swept_against_the_product():
    """A setting with one value is set without a name."""
    etas, sizes = [0.0, 0.5], [[4], [8, 8]]
    changes = [("agent.eta", etas), ("iterations", [3]), ("vime.hidden_sizes", sizes)]
    expected = {
        f"agent.eta={eta} vime.hidden_sizes={json.dumps(size)}": replace(
            TASK,
            iterations=3,
            agent=replace(TASK.agent, eta=eta),
            vime=replace(TASK.vime, hidden_sizes=tuple(size)),
        )
        for eta in etas
        for size in sizes
    }
    assert dict(swept(TASK, changes)) == expected
    assert list(swept(TASK, [])) == [("", TASK)]
    assert len(expected) == 4


# ---------------------------------------------------------------- the tasks, and a run's beginning


@every_task
def test_tasks_make_and_observe_what_their_axes_name(name):
    """Oracle: the simulator's own state. Control: the axes the other way round would name other numbers.

    A policy's first inputs are not large; a height of 1.25 in units of 0.1 would be.
    """
    task = TASKS[name]
    env = gym.make(task.env_id, disable_env_checker=True)
    observation, _ = env.reset(seed=0)
    seen = observation / start(Job(name, "none", "", 0, task)).policy.observation_scale
    assert seen.shape == observation.shape
    assert np.abs(seen).max() <= 3.0
    env.action_space.seed(0)
    for _ in range(20):
        observation, _, *ended, _ = env.step(env.action_space.sample())
        if any(ended):  # the walker may fall
            observation, _ = env.reset()
    inner: Any = env.unwrapped
    measured = {
        "position": lambda: inner.state[0],
        "velocity": lambda: inner.state[1],
        "torso position": lambda: inner.data.qpos[0],
        "torso height": lambda: inner.data.qpos[1],
        "cart position": lambda: inner.state[0],
        "cart velocity": lambda: inner.state[1],
    }
    state = [float(measured[axis.partition(" (")[0]]()) for axis in task.axes]
    assert observation[:2].tolist() == pytest.approx(state, abs=1e-6)
    assert state[0] != pytest.approx(state[1], abs=1e-6)
    assert (name in MUJOCO_TASKS) == hasattr(inner, "data")
    env.close()


@pytest.mark.parametrize(
    ("bonus", "kind"),
    [
        ("vime", Vime),
        ("none", NoBonus),
        ("noise", NoiseBonus),
        ("counts", VisitCounts),
        ("zscore", SquaredZScore),
        ("l2", PredictionError),
        ("l2_path", PathError),
    ],
)
def test_start_against_the_settings(bonus, kind):
    task = TASK
    sizes = {
        "vime.hidden_sizes": [4],
        "policy_sizes": [5],
        "value_sizes": [6],
        "observation_scale": [3, 0.1],
    }
    for name, value in {"trpo.max_kl": 0.03, **sizes}.items():
        task = with_setting(task, name, value)
    begun = start(Job("SparseMountainCar", bonus, "", 0, task))
    assert type(begun.bonus) is kind
    assert begun.settings.policy_step.func is fast_ref.trpo_step
    assert begun.settings.policy_step.keywords == {
        "max_kl": 0.03,
        "fisher_every": 1,
        "shrink": 0.5,
    }
    assert begun.settings.value_step is fast_ref.value_fit
    assert begun.settings.rollout is fast_ref.rollout
    slow = {"policy_step": trpo_step, "value_step": value_fit, "rollout": rollout}
    assert replace(begun.settings, **slow) == task.agent
    model = begun.bonus if bonus == "vime" else getattr(begun.bonus, "model", None)
    assert (model is None) == (bonus in ("none", "noise", "counts"))
    assert model is None or model.layer_sizes == (3, 4, 2)
    assert (begun.policy.layer_sizes, begun.value.layer_sizes) == ((2, 5, 1), (2, 6, 1))
    assert np.array_equal(begun.policy.observation_scale, [3.0, 0.1])
    begun.envs.close()


@pytest.mark.parametrize(
    ("noise", "functions"),
    [
        (
            "weight",
            (bnn.sample_eps, fast_ref.elbo_grad, fast_ref.information_gains),
        ),
        (
            "shared",
            (
                shared_zeta,
                fast_ref.elbo_grad_local,
                fast_ref.information_gains_local,
            ),
        ),
        (
            "unit",
            (
                bnn.sample_zeta,
                fast_ref.elbo_grad_local,
                fast_ref.information_gains_local,
            ),
        ),
    ],
)
@pytest.mark.parametrize("bonus", ["vime", "l2"])
def test_the_noise_of_a_task_chooses_all_four_functions(bonus, noise, functions):
    """The other settings of the model are the task's."""
    task = with_setting(TASK, "noise", noise)
    begun = start(Job("SparseMountainCar", bonus, "", 0, task))
    model: Any = getattr(begun.bonus, "model", None) if bonus == "l2" else begun.bonus
    chosen = model.settings
    assert (chosen.sample_noise, chosen.gradient, chosen.gains) == functions
    assert chosen.fit is fast_ref.fit
    names = ("sample_noise", "gradient", "fit", "gains")
    own = {name: getattr(task.vime, name) for name in names}
    assert replace(chosen, **own) == task.vime
    begun.envs.close()


@pytest.mark.parametrize(
    ("noise", "gradient", "gains"),
    [
        ("weight", bnn.elbo_grad, vime_ref.information_gains),
        ("unit", bnn.elbo_grad_local, vime_ref.information_gains_local),
        ("shared", bnn.elbo_grad_local, vime_ref.information_gains_local),
    ],
)
def test_a_plain_task_takes_the_definitions(noise, gradient, gains):
    """The same as the defaults of `VimeSettings` and `AgentSettings`, except by noise."""
    task = replace(TASK, plain=True, noise=noise)
    begun = start(Job("SparseMountainCar", "vime", "", 0, task))
    chosen: Any = begun.bonus
    assert chosen.settings.gradient is gradient
    assert chosen.settings.gains is gains
    assert chosen.settings.fit is bnn.fit
    assert begun.settings.rollout is rollout
    assert begun.settings.value_step is value_fit
    assert begun.settings.policy_step.func is trpo_step
    begun.envs.close()


def test_a_plain_task_keeps_its_learner_and_its_own_fit():
    task = replace(TASK, plain=True, learner="reinforce", value_inputs="original")
    assert policy_step_of(task).func is policy_gradient_step
    assert value_step_of(task) is ridge_fit
    assert value_step_of(replace(task, value_inputs="state and time")) is value_fit


def test_starts_of_equal_seeds_are_equal_in_policy_and_streams_whatever_the_bonus():
    """Control: another seed gives another policy and other streams, and no two streams agree."""

    def begun(bonus: str, seed: int) -> Any:
        return start(Job("SparseMountainCar", bonus, "", seed, TASK))

    first, *others = [begun(bonus, 3) for bonus in BONUSES]
    drawn = [stream.random() for stream in first.streams]
    for other in others:
        assert np.array_equal(other.policy.theta, first.policy.theta)
        assert np.array_equal(other.value.theta, first.value.theta)
        assert [stream.random() for stream in other.streams] == drawn
    spawned = np.random.default_rng([ROOT_SEED, 3]).spawn(5)[1:]
    assert [stream.random() for stream in spawned] == drawn
    assert len(set(drawn)) == 4
    stranger = begun("vime", 4)
    assert not np.array_equal(stranger.policy.theta, first.policy.theta)
    assert [stream.random() for stream in stranger.streams] != drawn


def test_the_environments_fill_a_batch_with_whole_episodes() -> None:
    """One more than fits; a module in front of the id is imported first."""
    task = replace(TASK, env_id="vime_gym:vime_ref/SparseMountainCar-v0")
    for steps, num_envs in ((5000, 10), (5001, 11), (500, 1), (20, 1)):
        changed = with_setting(task, "agent.batch_steps", steps)
        envs = envs_of(changed)
        assert envs.num_envs == num_envs
        envs.close()


def test_learners_and_value_inputs_choose_their_functions() -> None:
    task = with_setting(TASK, "learner", "reinforce")
    task = with_setting(task, "reinforce.learning_rate", 0.5)
    task = with_setting(task, "value_inputs", "original")
    begun = start(
        Job("SparseMountainCar", "none", "", 0, with_setting(task, "value_sizes", []))
    )
    step = begun.settings.policy_step
    assert step.func is fast_ref.policy_gradient_step
    assert step.keywords == {"learning_rate": 0.5, "entropy_weight": 0.0}
    assert begun.settings.value_step is ridge_fit
    assert begun.settings.value_inputs is original_inputs
    assert begun.value.layer_sizes == (7, 1)
    begun.envs.close()


def test_the_tuned_rate_of_reinforce_is_that_of_its_task_alone() -> None:
    """With both columns of settings. Control: the others have the default."""
    for tasks in SETTINGS.values():
        rates = {name: task.reinforce.learning_rate for name, task in tasks.items()}
        assert rates.pop("DenseMountainCar") == 3.0
        assert {*rates.values()} == {ReinforceSettings().learning_rate} == {0.01}


def test_tasks_differ_from_the_original_as_the_page_of_departures_says() -> None:
    """Values of both columns, ours and the original's; the sweep's mountain car is an exception of both."""
    longer = ("SparseCartPoleSwingup", "SparseHalfCheetah", "Walker2D")
    ours = [TASKS[name] for name in longer]
    theirs = [ORIGINAL_TASKS[name] for name in longer]
    assert [task.trpo.max_kl for task in ours] == [0.05, 0.02, 0.05]
    assert [task.trpo.fisher_every for task in ours] == [5, 5, 5]
    assert [task.agent.lam for task in ours] == [0.97, 0.97, 0.97]
    assert [task.agent.gamma for task in ours] == [0.99, 0.999, 0.99]
    assert {(task.trpo.max_kl, task.trpo.fisher_every) for task in theirs} == {
        (0.01, 10)
    }
    assert {(task.agent.lam, task.agent.gamma) for task in theirs} == {(1.0, 0.99)}

    # the line search
    assert {task.trpo.shrink for task in TASKS.values()} == {0.5}
    assert {task.trpo.shrink for task in ORIGINAL_TASKS.values()} == {0.8}

    # the value behind the end, and V's inputs
    cheetah = TASKS["SparseHalfCheetah"]
    assert [task for task in TASKS.values() if not task.agent.bootstrap] == [cheetah]
    assert not any(task.agent.bootstrap for task in ORIGINAL_TASKS.values())
    assert (cheetah.value_inputs, cheetah.value_sizes) == ("state and time", ())
    assert (cheetah.iterations, cheetah.policy_sizes) == (600, (32,))
    others = [task for task in TASKS.values() if task is not cheetah]
    assert {task.value_inputs for task in others} == {"state"}
    assert all(task.value_sizes for task in others)
    assert {task.value_inputs for task in theirs} == {"original"}


def test_counts_are_divided_by_their_running_median_in_runs() -> None:
    """Rewards by hand: of five visits of one cell the third is the median; β cancels. Control: as it is, β counts."""
    begun = start(Job("SparseMountainCar", "counts", "", 0, TASK))
    begun.envs.close()
    assert begun.settings.normalize
    assert all(task.agent.normalize for task in TASKS.values())
    nothing = np.zeros(5)
    states = np.zeros((5, 2))
    flags = nothing > 0.0
    batch = Batch(states, np.zeros((5, 1)), nothing, states, flags, flags)

    def rewards(beta: float, normalize: bool) -> Any:
        bonus = replace(begun.bonus, beta=beta)  # type: ignore[type-var]
        rng = np.random.default_rng(0)
        return curiosity(bonus, batch, (), rng, eta=0.5, normalize=normalize)[0]

    bonuses = (np.arange(5) + 0.01) ** -0.5
    for beta in (0.05, 2.0):
        np.testing.assert_allclose(
            rewards(beta, True), 0.5 * bonuses / bonuses[2], rtol=1e-12
        )
        np.testing.assert_allclose(
            rewards(beta, False), 0.5 * beta * bonuses, rtol=1e-12
        )


def test_cells_count_the_dimensions_that_have_some() -> None:
    """Control: a dimension without cells does not tell observations apart."""
    task = replace(TASK, cells=((-1.0, 1.0, 4),))
    grid = grid_of(task, 2)
    assert grid.shape == (4, 1)
    rows = np.array([[-0.9, 0.0], [-0.9, 7.0], [-0.4, 0.0], [5.0, 0.0]])
    assert grid.index(rows).tolist() == [0, 0, 1, 3]
    for name, task in TASKS.items():
        size = len(gym.make(task.env_id).observation_space.sample())
        assert len(task.cells) <= size, name


def test_jobs_have_the_seeds_and_settings_that_were_named() -> None:
    jobs = jobs_of("SparseMountainCar", ["vime", "l2"], range(100, 102))
    assert [(job.bonus_name, job.seed) for job in jobs] == [
        *(("vime", 100), ("vime", 101)),
        *(("l2", 100), ("l2", 101)),
    ]
    assert jobs[0].task == TASK
    (job,) = jobs_of("SparseMountainCar", ["none"], [7], settings="original")
    assert job.task == ORIGINAL_TASKS["SparseMountainCar"]
    for wrong in ([], [1, 1], [-1], [0.5], 3):
        with pytest.raises(ValueError, match=r"^seeds must be"):
            jobs_of("SparseMountainCar", ["none"], wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^settings must be 'ours' or 'original'"):
        jobs_of("SparseMountainCar", ["none"], [0], settings="theirs")


def test_an_uninformed_environment_gives_the_same_steps_without_infos() -> None:
    """Control: the environment itself has infos."""

    class Talking(gym.Wrapper[Any, Any, Any, Any]):
        def reset(self, **keywords: Any) -> tuple[Any, dict[str, Any]]:
            return self.env.reset(**keywords)[0], {"a": 1}

        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            return *self.env.step(action)[:4], {"b": 2}

    plain, quiet = (gym.make(TASK.env_id) for _ in range(2))
    plain, quiet = Talking(plain), Uninformed(Talking(quiet))
    first, second = plain.reset(seed=3), quiet.reset(seed=3)
    assert np.array_equal(first[0], second[0])
    assert (first[1], second[1]) == ({"a": 1}, {})
    step, same = (env.step(np.array([0.5])) for env in (plain, quiet))
    assert np.array_equal(step[0], same[0])
    assert step[1:4] == same[1:4]
    assert (step[4], same[4]) == ({"b": 2}, {})


def test_only_the_tuned_task_has_the_tuned_rate_of_reinforce() -> None:
    """With both settings. The others have the default."""
    for tasks in SETTINGS.values():
        rates = {name: task.reinforce.learning_rate for name, task in tasks.items()}
        assert rates.pop("DenseMountainCar") == 3.0
        assert set(rates.values()) == {ReinforceSettings().learning_rate}
    assert ReinforceSettings().learning_rate != 3.0

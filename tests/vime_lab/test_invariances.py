"""Settings that must change nothing: λ, because its square cancels in the median, and η, before the first reward.

Advantages are standardized and V is fitted in units of the returns' spread, so a factor of all rewards cancels.
A power of two changes exponents only, so runs stay bit-identical. Any other factor rounds each reward anew.

ROUNDING: a sum of n = 600 numbers that are each wrong by 2⁻⁵³ is wrong by at most n·2⁻⁵³ ≈ 7e-14 of its size. Two such
sums make an advantage, and the spread is smaller than the largest of them: a factor of 10. REINFORCE's step is linear
in the advantages, so it stays within ROUNDING too. TRPO's is not: ten conjugate gradients on the swing-up make a
difference of 1e-2 of it. From then on two policies meet other states, so these tests look at one step.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lab import SIZES, small_job

from agents_ref import train
from bnn_ref import Array
from vime_lab.tasks import start

SPARSE, DENSE, SWINGUP = (
    "SparseMountainCar",
    "DenseMountainCar",
    "SparseCartPoleSwingup",
)
ROUNDING = 10 * 2 * 600 * 2.0**-53
LINEAR = {"learner": "reinforce"}

# ---------------------------------------------------------------- runs


class Told:
    """What a run hands to its policy's step and gets from it, and the rewards of the task."""

    def __init__(self, task_name: str, num_iterations: int, **changes: Any) -> None:
        begun = start(small_job(task_name=task_name, **changes))
        self.advantages: list[Array] = []
        step = begun.settings.policy_step

        def recorded(policy: Any, *rows: Any) -> Any:
            self.advantages.append(rows[-1])
            return step(policy, *rows)

        settings = replace(begun.settings, policy_step=recorded)
        arguments = begun._replace(settings=settings)
        seen = list(train(*arguments, num_iterations=num_iterations))
        self.policies = [each.policy.theta for each in seen]
        self.gains = [each.gains for each in seen]
        self.rewards = np.concatenate([each.batch.rewards for each in seen])


def pair(
    task_name: str, name: str, values: tuple[Any, Any], num: int = 2, **more: Any
) -> list[Told]:
    """Runs with two values of a setting. The first iteration has no gains, because the pool is empty."""
    return [Told(task_name, num, **{name: value}, **more) for value in values]


def difference(ones: Array, others: Array) -> float:
    """Relative to the largest number."""
    return float(np.max(np.abs(ones - others)) / np.max(np.abs(ones)))


# ---------------------------------------------------------------- λ


@pytest.mark.parametrize("task_name", [SPARSE, DENSE, SWINGUP])
def test_step_size_times_64_leaves_every_bit_of_the_policies(task_name):
    """The gains are 64² as large; their median divides that away. Control: some policy has moved."""
    small, large = pair(task_name, "vime.step_size", (0.01, 0.64), num=4)
    for one, other in zip(small.policies, large.policies, strict=True):
        assert one.tobytes() == other.tobytes()
    for one, other in zip(small.gains, large.gains, strict=True):
        assert np.array_equal(64.0**2 * one, other)
    assert np.any(small.policies[-1] != small.policies[0])


@pytest.mark.parametrize("step_size", [0.1, 1.0])
@pytest.mark.parametrize("task_name", [SPARSE, DENSE, SWINGUP])
def test_step_size_changes_policies_by_rounding_only(task_name, step_size):
    small, large = pair(task_name, "vime.step_size", (0.01, step_size), **LINEAR)
    assert difference(small.advantages[1], large.advantages[1]) < ROUNDING
    assert difference(small.policies[1], large.policies[1]) < ROUNDING


@pytest.mark.parametrize(
    "more", [{"agent.normalize": False}, {"vime.method": "exact"}], ids=str
)
def test_step_size_counts_without_the_median_and_without_taylor(more):
    """Controls: raw gains grow with λ², and the exact gain is no quadratic form of λ."""
    small, large = pair(DENSE, "vime.step_size", (0.01, 0.64), **more, **LINEAR)
    assert difference(small.advantages[1], large.advantages[1]) > 1e4 * ROUNDING
    assert difference(small.policies[1], large.policies[1]) > 1e4 * ROUNDING


# ---------------------------------------------------------------- η


@pytest.mark.parametrize("task_name", [SPARSE, SWINGUP])
def test_eta_times_1024_leaves_every_bit_before_the_first_reward(task_name):
    small, large = pair(task_name, "agent.eta", (1e-4, 1024e-4), num=4)
    assert not small.rewards.any()
    for one, other in zip(small.policies, large.policies, strict=True):
        assert one.tobytes() == other.tobytes()
    assert np.any(small.policies[-1] != small.policies[0])


@pytest.mark.parametrize("eta", [1e-3, 0.7, 30.0])
@pytest.mark.parametrize("task_name", [SPARSE, SWINGUP])
def test_eta_changes_policies_by_rounding_only_before_the_first_reward(task_name, eta):
    small, large = pair(task_name, "agent.eta", (1e-4, eta), **LINEAR)
    assert not small.rewards.any()
    assert difference(small.advantages[1], large.advantages[1]) < ROUNDING
    assert difference(small.policies[1], large.policies[1]) < ROUNDING


def test_eta_counts_once_there_is_a_reward():
    """Control: the dense car is rewarded in every step."""
    small, large = pair(DENSE, "agent.eta", (1e-4, 1024e-4), **LINEAR)
    assert small.rewards.any()
    assert difference(small.advantages[1], large.advantages[1]) > 1e4 * ROUNDING
    assert difference(small.policies[1], large.policies[1]) > 1e4 * ROUNDING


def test_the_sums_are_as_long_as_the_tolerance_says():
    assert SIZES["agent.batch_steps"] == 600

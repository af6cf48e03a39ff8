"""`vime_lecture.steps` against what an environment returns."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from vime_lecture.steps import reset_env, step_env


class Given(gymnasium.Env[Any, Any]):
    """Returns what the test gives it."""

    observation_space = Box(-1, 1, (2,))
    action_space = Box(-1, 1, (1,))

    def __init__(self, result: Any) -> None:
        self.result = result

    def reset(self, **_: Any) -> Any:
        return self.result

    def step(self, action: Any) -> Any:
        return self.result


def test_values_are_copies_in_float64() -> None:
    """Control: what the environment holds changes, the copy does not."""
    held = np.array([0.5, -0.5], np.float32)
    env = Given((held, {}))
    first = reset_env(env, 0)
    env.result = (held, np.array([2.0]), np.bool_(True), 0, {})
    observation, reward, terminated, truncated = step_env(env, np.zeros(1), 1)
    held[:] = 9.0
    assert first.dtype == observation.dtype == np.float64
    assert first.tolist() == observation.tolist() == [0.5, -0.5]
    assert (reward, terminated, truncated) == (2.0, True, False)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((np.zeros(2), 1.0, False, False), "step must return .*, got 4 values"),
        ((np.zeros(3), 1.0, False, False, {}), r"observation at step 7 must .* \(3,\)"),
        ((np.zeros(2), np.nan, False, False, {}), "reward must be finite.* at step 7"),
        ((np.zeros(2), 1.0, 2, False, {}), "terminated at step 7 must be true or"),
        ((np.zeros(2), 1.0, False, None, {}), "truncated at step 7 must be true or"),
    ],
)
def test_what_a_step_does_wrong_is_named(result: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        step_env(Given(result), np.zeros(1), 7)


def test_what_a_reset_does_wrong_is_named() -> None:
    with pytest.raises(ValueError, match="reset must return an observation and a dict"):
        reset_env(Given(np.zeros(2)), 0)

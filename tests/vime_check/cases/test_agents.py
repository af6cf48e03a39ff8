"""Operations of the agent."""

import numpy as np
import pytest
from check_helpers import STORED, assert_complete

from bnn_ref import mlp
from vime_check.cases import agents


def test_operations_are_complete() -> None:
    assert_complete(agents, "normalize", "returns", "policy", "replay")


def test_intermediates_of_the_advantages_end_in_the_output() -> None:
    """A_T = δ_T."""
    cases = [
        case
        for case in STORED
        if case["operation"] == "gae_advantages" and case["result"] == "valid"
    ]
    assert cases
    for case in cases:
        last = case["intermediates"]["deltas"][-1]
        assert last == pytest.approx(case["output"][-1], rel=1e-14)


def test_linear_policies_give_the_means_and_logits_themselves() -> None:
    """Control: a flat list is none of either."""
    means = np.array([[0.5, -1.0], [2.0, 0.0], [1.0, 1.0]])
    weights, sizes = agents.linear_theta(means)
    np.testing.assert_array_equal(mlp(weights[None], np.eye(3), sizes)[0], means)
    with pytest.raises(ValueError, match=r"must be \(N, A\)"):
        agents.linear_theta(means[0])

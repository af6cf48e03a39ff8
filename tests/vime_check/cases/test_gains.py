"""Operations of learning from data."""

import numpy as np
import pytest
from check_helpers import STORED, assert_complete

from vime_check.cases import gains


def test_operations_are_complete() -> None:
    assert_complete(gains, "elbo", "gain", "posterior")


@pytest.mark.parametrize("name", ["elbo", "elbo_local"])
def test_intermediates_of_the_bound_add_up_to_it(name: str) -> None:
    """ELBO = (n/B) Σ mean_S log p − KL; half the KL would not."""
    cases = [
        case
        for case in STORED
        if case["operation"] == name and case["result"] == "valid"
    ]
    assert cases
    for case in cases:
        parts, output = case["intermediates"], pytest.approx(case["output"], rel=1e-13)
        evidence = case["inputs"]["num_data"] * np.mean(parts["log_likelihood"])
        assert evidence - parts["kl"] == output
        assert evidence - 0.5 * parts["kl"] != output or parts["kl"] == 0

"""Explanations of outputs, against mistakes whose outputs are known."""

import numpy as np
import pytest
from check_helpers import OPERATIONS, STORED, inputs_of

from vime_check.errors import by_name
from vime_check.judge import load_vectors
from vime_check.naming import explanations

VECTORS = {each.id: each for each in load_vectors(None, "f64")}
HALVES = [
    case["id"]
    for case in STORED
    if case["operation"] == "kl_taylor" and case["result"] == "valid"
]


@pytest.mark.parametrize("name", HALVES)
def test_a_single_mistake_explains_its_output(name: str) -> None:
    """Control: the right output, and three times the right one, have no explanation."""
    vector = VECTORS[name]
    (case,) = [each for each in STORED if each["id"] == name]
    right = by_name(OPERATIONS["kl_taylor"].function(**inputs_of(case)))
    (first, *_) = explanations(vector, {"": 2.0 * right[""]})
    assert first.mistakes == ("MissingHalf",)
    assert first.error < 1e-14
    assert explanations(vector, right) == []
    assert explanations(vector, {"": np.array(3.0 * right[""])}) == []

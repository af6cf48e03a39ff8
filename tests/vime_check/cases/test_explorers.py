"""Operations of the strategies, and of tabular Q-learning."""

from check_helpers import assert_complete

from vime_check.cases import explorers


def test_operations_are_complete() -> None:
    assert_complete(explorers, "strategies")

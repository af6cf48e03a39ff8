"""Operations of UNREAL."""

import numpy as np
import pytest
from check_helpers import assert_complete

from vime_check.cases import OPERATIONS, unreal
from vime_check.wire import Inputs


def test_operations_are_complete() -> None:
    assert_complete(unreal, "unreal")


def test_windows_of_reward_prediction_are_rewarded_with_probability_one_half() -> None:
    """Shares over a grid of coins and places agree with the closed form; the mistakes have other shares or rows."""
    rewards, ended = (
        np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        np.array([0, 0, 0, 1, 0, 0, 0], dtype=bool),
    )
    coins, places = (
        grid.ravel()
        for grid in np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(4) + 0.5) / 4)
    )
    given = {"rewards": rewards, "ended": ended, "coins": coins, "places": places}
    rows = unreal.exact_windows(**given)
    assert {(int(t), float(np.mean(rows == t))) for t in np.unique(rows)} == {
        (2, 0.5),
        (3, 0.25),
        (6, 0.25),
    }
    for flag in ("UniformWindows", "WindowCrossing", "TerminalDropped"):
        for wrong in OPERATIONS["sample_reward_windows"].mistakes[flag]:
            assert not np.array_equal(wrong(**given), rows), flag


# ---------------------------------------------------------------- mistakes


def case_of(name: str) -> Inputs:
    operation, probe = name.split("/")
    (case,) = [c for c in OPERATIONS[operation].cases() if c.probe == probe]
    return case.inputs


def test_values_of_rows_that_end_nothing_are_not_used() -> None:
    """Except that of the last row."""
    base = case_of("n_step_returns/both-kinds")
    right = OPERATIONS["n_step_returns"].function
    unused = ~(base["terminated"] | base["truncated"])
    unused[-1] = False
    changed = base | {"next_values": np.where(unused, 99.0, base["next_values"])}
    np.testing.assert_array_equal(right(**changed), right(**base))
    last = base | {"next_values": np.append(base["next_values"][:-1], 99.0)}
    assert not np.array_equal(right(**last), right(**base))


def test_dropped_terminals_against_a_loop_over_episodes() -> None:
    """The terminal row is left out; the row before it bootstraps the state of the terminal action, or 0."""
    given = case_of("n_step_returns/both-kinds")
    rewards, values = given["rewards"], given["next_values"]
    over, cut = given["terminated"], given["truncated"]
    right = OPERATIONS["n_step_returns"].mistakes["TerminalDropped"]
    for variant, known in enumerate((1.0, 0.0)):
        expected = []
        following = values[-1]
        for t in reversed(range(len(rewards))):
            if over[t]:
                following = known * values[t - 1]
                continue
            following = values[t] if cut[t] else following
            following = rewards[t] + given["gamma"] * following
            expected.append(following)
        np.testing.assert_allclose(right[variant](**given), expected[::-1], rtol=1e-14)


def test_dropped_terminals_are_of_no_kind_that_environments_have() -> None:
    """Each environment would have other rows; the reward alone can still be left out."""
    given = case_of("n_step_returns/environments")
    *rows, rewards = OPERATIONS["n_step_returns"].mistakes["TerminalDropped"]
    for wrong in rows:
        with pytest.raises(ValueError, match="other rows"):
            wrong(**given)
    assert rewards(**given).shape == given["rewards"].shape


def test_orders_of_reward_classes_begin_with_the_one_of_miyosuda() -> None:
    """Zero, positive, negative; the last is the sign; no two are the same, nor the right one."""
    given = {"rewards": np.array([-2.0, 0.0, 0.5])}
    orders = [
        w(**given).tolist() for w in OPERATIONS["reward_class"].mistakes["RewardOrder"]
    ]
    assert orders[0] == [2, 0, 1]
    assert orders[-1] == [-1, 0, 1]
    assert len({(0, 1, 2), *map(tuple, orders)}) == len(orders) + 1


@pytest.mark.parametrize(
    ("variant", "order"),
    [*enumerate(["ifgo", "igfo", "iofg", "figo", "fiog"])],
)
def test_gates_in_another_order_against_the_cell_by_hand(
    variant: int, order: str
) -> None:
    """The quarters are read in this order."""
    given = case_of("lstm_step/three-units")
    columns = given["gate_inputs"] + given["hidden"] @ given["weights"]
    gates = dict(zip(order, np.split(columns, 4, axis=-1), strict=True))
    i, f, o = (1.0 / (1.0 + np.exp(-gates[gate])) for gate in "ifo")
    cell = f * given["cell"] + i * np.tanh(gates["g"])
    output = OPERATIONS["lstm_step"].mistakes["GateOrder"][variant](**given)
    np.testing.assert_allclose(output["cell"], cell, rtol=1e-13)
    np.testing.assert_allclose(output["hidden"], o * np.tanh(cell), rtol=1e-13)


def test_changes_of_features_against_differences() -> None:
    given = case_of("feature_control_rewards/two-units")
    (wrong,) = OPERATIONS["feature_control_rewards"].mistakes["FeatureChange"]
    changes = np.abs(np.diff(np.array(given["activations"]), axis=0))
    np.testing.assert_array_equal(wrong(**given), changes)


def test_dueling_without_centering_against_formulas() -> None:
    """Advantages as they are, less the mean of all, and less the best of each state."""
    given = case_of("dueling/two-states")
    values, advantages = given["values"][:, None], given["advantages"]
    expected = [
        values + advantages,
        values + advantages - np.mean(advantages),
        values + advantages - np.max(advantages, axis=-1, keepdims=True),
    ]
    wrong = [w(**given) for w in OPERATIONS["dueling"].mistakes["UncentredAdvantages"]]
    np.testing.assert_allclose(wrong, expected, rtol=1e-14)

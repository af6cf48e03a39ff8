"""Operations on numbers, distributions and networks."""

from typing import Any

from check_helpers import assert_complete, draw_of_seed

from vime_check.cases import OPERATIONS, networks
from vime_check.wire import decode_inputs


def test_operations_are_complete() -> None:
    assert_complete(networks, "softplus", "kl", "network", "likelihood")


def test_a_drawn_network_is_at_a_kink_if_a_hidden_unit_is_near_0() -> None:
    """Either noise; control: a network without a hidden layer has no kink."""

    def at_kink(inputs: dict[str, Any]) -> bool:
        return networks.at_kink(decode_inputs(inputs, networks.NETWORK, "f64"))

    given = {"layer_sizes": [1, 1, 1], "mu": [1.0, 0.0, 1.0, 0.0], "rho": [0.0] * 4}
    for noise in ({"eps": [[0.0] * 4]}, {"zeta": [[[[0.0]]], [[[0.0]]]]}):
        assert at_kink(given | noise | {"inputs": [[1e-4]]})
        assert not at_kink(given | noise | {"inputs": [[1.0]]})
        linear = {"layer_sizes": [1, 1], "inputs": [[1e-4]]}
        assert not at_kink(given | noise | linear)


def test_every_operation_on_a_posterior_network_is_undecided_at_a_kink() -> None:
    """Control: one on weights that are given, and one without a network, are decided everywhere."""
    for name, each in OPERATIONS.items():
        kinked = {"mu", "layer_sizes"} <= set(each.names)
        assert (each.undecided is networks.at_kink) == kinked, name
    assert not OPERATIONS["mlp"].undecided({})
    assert not OPERATIONS["softplus"].undecided({})


def test_draws_of_networks_hold_only_the_inputs_that_have_a_name() -> None:
    """One row, if requested."""
    drawn = networks.draw_model(draw_of_seed(0), ["inputs", "zeta", "mu"], rows=1)
    assert list(drawn) == ["inputs", "zeta", "mu"]
    assert len(drawn["inputs"]) == len(drawn["zeta"][0][0]) == 1

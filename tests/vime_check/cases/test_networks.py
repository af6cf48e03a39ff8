"""Operations on numbers, distributions and networks."""

from check_helpers import assert_complete, draw_of_seed

from vime_check.cases import networks


def test_operations_are_complete() -> None:
    assert_complete(networks, "softplus", "kl", "network", "likelihood")


def test_a_drawn_network_is_at_a_kink_if_a_hidden_unit_is_near_0() -> None:
    """Either noise; control: a network without a hidden layer has no kink."""
    given = {"layer_sizes": [1, 1, 1], "mu": [1.0, 0.0, 1.0, 0.0], "rho": [0.0] * 4}
    for noise in ({"eps": [[0.0] * 4]}, {"zeta": [[[[0.0]]], [[[0.0]]]]}):
        assert networks.at_kink(given | noise | {"inputs": [[1e-4]]})
        assert not networks.at_kink(given | noise | {"inputs": [[1.0]]})
        linear = {"layer_sizes": [1, 1], "inputs": [[1e-4]]}
        assert not networks.at_kink(given | noise | linear)


def test_draws_of_networks_hold_only_the_inputs_that_have_a_name() -> None:
    """One row, if requested."""
    drawn = networks.draw_model(draw_of_seed(0), ["inputs", "zeta", "mu"], rows=1)
    assert list(drawn) == ["inputs", "zeta", "mu"]
    assert len(drawn["inputs"]) == len(drawn["zeta"][0][0]) == 1

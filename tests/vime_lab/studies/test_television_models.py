"""VIME with a table of σ against VIME and autograd; the bonuses against their settings."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from gymnasium.spaces import Discrete

import bnn_ref as bnn
from vime_lab.studies import television_models
from vime_lab.studies.television_models import TabulatedSigma, noisy_elbo_grad
from vime_lab.tasks import model_init
from vime_lecture.controls import DirichletGain, PredictionError
from vime_lecture.counts import VisitCounts
from vime_ref import Batch, NoBonus, Vime, VimeSettings

SETTINGS = VimeSettings(
    hidden_sizes=(3,),
    likelihood_sigma=0.5,
    num_data=None,
    num_samples=2,
    num_updates=4,
    batch_size=3,
    min_rows=1,
)


def batch_from(states, actions, following) -> Batch:
    ends = np.ones(len(actions), dtype=bool)
    return Batch(
        np.array(states, dtype=float),
        np.array(actions),
        np.zeros(len(actions)),
        np.array(following, dtype=float),
        ~ends,
        ends,
    )


def random_batch(seed: int, num_rows: int = 12) -> Batch:
    """Two states, two actions; noise in the second dimension of s′ after action 1."""
    rng = np.random.default_rng(seed)
    states = rng.integers(2, size=(num_rows, 1)) * np.ones((1, 2))
    actions = rng.integers(2, size=num_rows)
    following = states.copy()
    following[:, 1] += actions * rng.standard_normal(num_rows)
    return batch_from(states, actions, following)


def learned(num_batches: int = 1, **changes: object) -> TabulatedSigma:
    rng = np.random.default_rng(1)
    settings = replace(SETTINGS, **changes)
    bonus = TabulatedSigma(model_init(2, Discrete(2), rng, settings))
    for seed in range(num_batches):
        bonus = bonus.update(random_batch(seed), rng)
    return bonus


def test_sigmas_against_deviations_of_the_rows():
    """In units of the pool, not below the floor. Control: a pair without rows has the floor."""
    bonus = learned(2, likelihood_sigma=0.1)
    pool = bonus.model.pool
    found = bonus.sigmas(pool.observations, pool.actions)
    for row, sigma in enumerate(found):
        key = (pool.observations[row], pool.actions[row])
        mine = np.all(pool.observations == key[0], axis=1)
        mine &= np.all(pool.actions == key[1], axis=1)
        deviation = pool.next_observations[mine].std(axis=0) / bonus.model.scale[:2]
        assert sigma == pytest.approx(np.maximum(deviation, 0.1), rel=1e-9)
    assert found[:, 1].max() > 0.2
    unseen = bonus.sigmas(np.array([[9.0, 9.0]]), np.array([[1.0, 0.0]]))
    assert unseen.tolist() == [[0.1, 0.1]]


def test_gains_without_noise_are_those_of_vime():
    """With the floor above all deviations. Control: with a lower floor they are others."""
    batch = random_batch(5)
    for floor, same in ((50.0, True), (0.1, False)):
        bonus = learned(2, likelihood_sigma=floor)
        mine = bonus.reward(batch, np.random.default_rng(3))
        vime = bonus.model.reward(batch, np.random.default_rng(3))
        assert np.allclose(mine, vime, rtol=1e-9, atol=0.0) == same


def test_noisy_elbo_grad_against_autograd():
    """The slow definition, with a σ for each row. Control: one σ for all rows."""
    rng = np.random.default_rng(0)
    sizes = (3, 4, 2)
    size = bnn.num_weights(sizes)
    q = bnn.DiagNormal(rng.standard_normal(size), rng.standard_normal(size))
    prior = bnn.DiagNormal(np.zeros(size), np.zeros(size))
    inputs, targets = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    sigmas = rng.uniform(0.5, 2.0, (5, 2))
    eps = rng.standard_normal((2, size))

    def bound(q: bnn.DiagNormal) -> bnn.Array:
        outputs = bnn.mlp(bnn.sample_weights(q, eps), inputs, sizes)
        log_p = bnn.normal_log_density(targets, outputs, sigmas)
        return bnn.lower_bound(q, prior, anp.sum(log_p, axis=-1), 20.0)

    slow = bnn.gradient_at(q, bound)
    fast = noisy_elbo_grad(q, prior, (inputs, targets, sigmas), eps, sizes, 20.0)
    alike = np.full_like(sigmas, 0.7)
    same = noisy_elbo_grad(q, prior, (inputs, targets, alike), eps, sizes, 20.0)
    for each, other, third in zip(slow, fast, same):
        np.testing.assert_allclose(each, other, rtol=1e-9, atol=1e-9)
        assert not np.allclose(each, third, rtol=1e-3)


def test_fitting_takes_adam_steps_with_the_sigma_of_each_row(monkeypatch):
    """One for each update, with num_data as the settings have it, or else the pool's rows."""
    seen = []
    gradient = television_models.noisy_elbo_grad

    def spied(q, prior, rows, eps, sizes, num_data):
        seen.append((rows[2].shape, num_data))
        return gradient(q, prior, rows, eps, sizes, num_data)

    monkeypatch.setattr(television_models, "noisy_elbo_grad", spied)
    bonus = learned(2)
    assert seen == [((3, 2), 12)] * 4 + [((3, 2), 24)] * 4
    assert bonus.model.adam.num_steps == 8
    seen.clear()
    learned(1, num_data=50.0)
    assert seen == [((3, 2), 50.0)] * 4


def test_noise_other_than_per_weight_is_rejected() -> None:
    """One noise serves all rows of a batch, so noise of single rows would not fit."""
    model = model_init(2, Discrete(2), np.random.default_rng(0), SETTINGS, noise="unit")
    with pytest.raises(ValueError, match="sample_noise of model must be"):
        TabulatedSigma(model)


def test_nothing_is_learned_or_given_before_min_rows() -> None:
    """As VIME. Control: with one batch more, the posterior moves and gains are positive."""
    rng = np.random.default_rng(3)
    few, more = learned(1, min_rows=13), learned(2, min_rows=13)
    assert len(few.model.pool) == 12
    assert few.model.adam.num_steps == 0
    assert few.reward(random_batch(5), rng).tolist() == [0.0] * 12
    assert few.model.reward(random_batch(5), rng).tolist() == [0.0] * 12
    assert more.model.adam.num_steps == 4
    assert np.all(more.reward(random_batch(5), rng) > 0.0)


@pytest.mark.parametrize(
    ("explorer", "expected"),
    [
        ("dirichlet", ("dirichlet", False, 1.0)),
        ("L2 error, by median", ("L2 error", True, 1.0)),
        ("VIME x10", ("VIME", False, 10.0)),
        ("dirichlet, by median x0.001", ("dirichlet", True, 0.001)),
    ],
)
def test_parts_of_names_by_hand(explorer, expected) -> None:
    assert television_models.parts_of_name(explorer) == expected


@pytest.mark.parametrize(
    ("name", "kind", "weight"),
    [
        ("dirichlet", DirichletGain, 1.0),
        ("counts", VisitCounts, 1.0),
        ("L2 error", PredictionError, 1.0 / 16),
        ("VIME", Vime, 1.0),
        ("VIME 50", Vime, 1.0),
        ("VIME tabulated sigma", TabulatedSigma, 1.0),
        ("random", NoBonus, 1.0),
    ],
)
def test_bonuses_against_their_settings(name, kind, weight) -> None:
    rng = np.random.default_rng(0)
    settings = television_models.TELEVISION_MODEL
    bonus, features, given = television_models.bonus_of(name, 9, rng, settings)
    assert (type(bonus), given) == (kind, weight)
    network = name.startswith(("VIME", "L2"))
    assert features.shape == ((9, 16) if network else (9, 1))
    if network:
        model = bonus if kind is Vime else bonus.model
        assert model.settings.num_data == (50.0 if name == "VIME 50" else None)
        assert model.settings.likelihood_sigma == settings.likelihood_sigma
        assert set(features.ravel()) == {-1.0, 1.0}
    else:
        assert features[:, 0].tolist() == list(range(9))

"""Exact gain on a table against integrals, and VIME with a learned σ against VIME and autograd."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from scipy import integrate, stats

import bnn_ref as bnn
from vime_lab.studies import television_models
from vime_lab.studies.television_models import (
    LearnedSigma,
    TableGain,
    noisy_elbo_grad,
    table_gain,
)
from vime_lab.tasks import model_init
from vime_lecture.controls import PredictionError
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


def beta_kl(new: tuple[float, float], old: tuple[float, float]) -> float:
    """KL of two Beta densities, by integration."""
    p, q = stats.beta(*new), stats.beta(*old)

    def density(x: float) -> float:
        return p.pdf(x) * (p.logpdf(x) - q.logpdf(x))

    return integrate.quad(density, 0.0, 1.0)[0]


@pytest.mark.parametrize(("count", "total"), [(0, 0), (1, 1), (0, 3), (5, 9)])
def test_table_gain_of_two_outcomes_against_integration(count, total):
    """Control: the other outcome has another gain, except in the middle."""
    own, other = count + 0.5, total - count + 0.5
    kl = beta_kl((own + 1.0, other), (own, other))
    assert table_gain(count, total, 2) == pytest.approx(kl, rel=1e-6)
    if own != other:
        assert table_gain(total - count, total, 2) != pytest.approx(kl, rel=0.01)


def test_table_gain_falls_like_one_over_2n_and_like_one_over_2n_squared():
    """(K − 1)/2n for K outcomes alike, 1/2n² for a certain one. Control: each other's law."""
    n = 1e4
    alike = table_gain(n / 16, n, 16)
    certain = table_gain(n, n, 16)
    assert alike == pytest.approx(15 / (2 * n), rel=0.01)
    assert certain == pytest.approx(15 / 16 / (2 * n**2), rel=0.01)
    assert alike != pytest.approx(certain, rel=100.0)


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


def test_table_gain_against_counts_by_hand():
    """The same posterior for each row of a batch; the old bonus does not change."""
    rng = np.random.default_rng(0)
    batch = batch_from([[0], [0], [1], [0]], [1, 1, 1, 0], [[2], [2], [2], [1]])
    new = TableGain(3)
    learned = new.update(batch, rng).update(batch, rng)
    assert np.array_equal(new.reward(batch, rng), np.full(4, table_gain(0, 0, 3)))
    expected = table_gain([4, 4, 2, 2], [4, 4, 2, 2], 3)
    assert np.array_equal(learned.reward(batch, rng), expected)
    other = batch_from([[0]], [1], [[1]])
    assert learned.reward(other, rng) == table_gain([0], [4], 3)


def random_batch(seed: int, num_rows: int = 12) -> Batch:
    """Two states, two actions; noise in the second dimension of s′ after action 1."""
    rng = np.random.default_rng(seed)
    states = rng.integers(2, size=(num_rows, 1)) * np.ones((1, 2))
    actions = rng.integers(2, size=num_rows)
    following = states.copy()
    following[:, 1] += actions * rng.standard_normal(num_rows)
    return batch_from(states, actions, following)


def learned(num_batches: int = 1, **changes: object) -> LearnedSigma:
    rng = np.random.default_rng(1)
    settings = replace(SETTINGS, **changes)
    bonus = LearnedSigma(model_init(2, Discrete(2), rng, settings))
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


@pytest.mark.parametrize(
    ("name", "kind", "weight"),
    [
        ("Dirichlet", TableGain, 1.0),
        ("counts", VisitCounts, 1.0),
        ("L2 error", PredictionError, 1.0 / 16),
        ("VIME", Vime, 1.0),
        ("VIME 50", Vime, 1.0),
        ("VIME learned sigma", LearnedSigma, 1.0),
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

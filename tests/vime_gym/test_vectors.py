"""Observations and actions as rows, against columns by hand."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import (
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Text,
    Tuple,
)

import fast_ref
import vime_ref as vime
from vime_gym import vectors

PLANE = Box(-1.0, 1.0, (2,), np.float32)


@pytest.mark.parametrize(
    ("space", "given", "wanted"),
    [
        (Discrete(3), [2, 0], [[0, 0, 1], [1, 0, 0]]),
        (Discrete(3, start=-1), [1, -1], [[0, 0, 1], [1, 0, 0]]),
        (MultiDiscrete([2, 3]), [[1, 0]], [[0, 1, 1, 0, 0]]),
        (MultiDiscrete([2, 3], start=[5, 1]), [[6, 3]], [[0, 1, 0, 0, 1]]),
        (MultiDiscrete([[2], [2]]), [[[1], [0]]], [[0, 1, 1, 0]]),
    ],
)
def test_observations_as_one_hot_columns_by_hand(
    space: Any, given: Any, wanted: Any
) -> None:
    """Every column is one of a one-hot, so none is normalized."""
    seen = vectors.observation_encoder(space)
    assert seen.rows(given, 0).tolist() == wanted
    assert seen.rows(np.array(given), 0).tolist() == wanted
    assert seen.one_hot == tuple(range(seen.size)) == tuple(range(len(wanted[0])))


def test_plain_observations_are_copies() -> None:
    """Environments may reuse their arrays."""
    given = np.ones((3, 2), np.float32)
    rows = vectors.observation_encoder(PLANE).rows(given, 0)
    given[:] = 7.0
    assert rows.tolist() == [[1.0, 1.0]] * 3
    assert rows.dtype == float
    assert vectors.observation_encoder(PLANE)[:2] == (2, ())


@pytest.mark.parametrize(
    ("space", "given", "wanted"),
    [
        (Discrete(3), [2, 0], [2, 0]),
        (Discrete(3, start=5), [7, 5], [2, 0]),
        (MultiDiscrete([2, 3]), [[1, 0]], [[0, 1, 1, 0, 0]]),
        (MultiBinary(3), [[1, 0, 1]], [[1, 0, 1]]),
        (MultiBinary([2, 2]), [[[1, 0], [0, 1]]], [[1, 0, 0, 1]]),
        (Box(-1.0, 1.0, ()), [0.5, 7.0], [[0.5], [1.0]]),
        (Box(-1.0, 1.0, (2, 1)), [[[-9.0], [0.25]]], [[-1.0, 0.25]]),
        (Box(-np.inf, np.inf, (1,)), [[1e6]], [[1e6]]),
        (Box(0, 5, (2,), np.int64), [[7, 3]], [[5, 3]]),
        (Box(-1.0, 1.0, (1,)), [[np.inf]], [[1.0]]),
    ],
)
def test_actions_as_rows_by_hand(space: Any, given: Any, wanted: Any) -> None:
    """The rows are those that the model's own space takes."""
    done = vectors.action_encoder(space)
    rows = done.rows(given, 0)
    assert rows.tolist() == wanted
    inside = vime.model_actions(rows, done.space)
    assert inside.shape == (len(given), vime.action_size(done.space))
    if isinstance(space, Box | Discrete):
        assert done.one_hot == ()
    else:
        assert done.one_hot == tuple(range(inside.shape[1]))


@pytest.mark.parametrize(
    ("space", "given"),
    [
        (Discrete(3), [3]),
        (Discrete(3, start=1), [0]),
        (Discrete(3), [0.5]),
        (Discrete(3), [[0, 1]]),
        (Discrete(3), 1),
        (Discrete(3), [None]),
        (Discrete(3), [np.nan]),
        (MultiDiscrete([2, 3]), [[0, 3]]),
        (MultiDiscrete([2, 3]), [[0]]),
        (MultiBinary(2), [[0, 2]]),
        (PLANE, [[0.0]]),
        (PLANE, [["a", "b"]]),
        (PLANE, [[np.nan, 0.0]]),
    ],
)
def test_actions_outside_of_the_space_are_rejected_with_the_step(
    space: Any, given: Any
) -> None:
    with pytest.raises(ValueError, match=r"^action must (.|\n)* at step 9$"):
        vectors.action_encoder(space).rows(given, 9)


FLATTEN = r"encode, a function to a vector, or use gymnasium\.wrappers\.FlattenObs"
ONE_HOT = r"encode, a function to a vector; .*FlattenObs.* 0 and 1, .* one_hot of Vime"


@pytest.mark.parametrize(
    ("space", "advice"),
    [
        (Box(0, 255, (4, 4, 3), np.uint8), FLATTEN),
        (Box(0.0, 1.0, ()), FLATTEN),
        (Dict({"a": PLANE}), FLATTEN),
        (Tuple([PLANE]), FLATTEN),
        (Text(3), FLATTEN),
        (MultiBinary(2), ONE_HOT),
        (Tuple([PLANE, Discrete(2)]), ONE_HOT),
        (Dict({"a": Dict({"b": MultiDiscrete([2, 3])})}), ONE_HOT),
    ],
)
def test_other_observation_spaces_say_what_to_do(space: Any, advice: str) -> None:
    """Where flattening makes columns of 0 and 1, the advice says what else they need."""
    with pytest.raises(ValueError, match=rf"(?s)^observation_space must be .*{advice}"):
        vectors.observation_encoder(space)


@pytest.mark.parametrize("space", [Dict({"a": PLANE}), Tuple([PLANE]), Text(3)])
def test_other_action_spaces_are_rejected(space: Any) -> None:
    with pytest.raises(ValueError, match="action_space must be Discrete"):
        vectors.action_encoder(space)


def test_encode_draws_nothing_from_the_users_space() -> None:
    """K is known from a sample of a copy. Control: a sample of the space itself moves it on."""
    space, twin = Box(-1.0, 1.0, (2, 2), seed=3), Box(-1.0, 1.0, (2, 2), seed=3)
    seen = vectors.observation_encoder(space, np.ravel)
    assert seen.size == 4
    np.testing.assert_array_equal(space.sample(), twin.sample())
    space.sample()
    assert np.any(space.sample() != twin.sample())
    assert seen.rows([np.eye(2)] * 3, 0).tolist() == [[1, 0, 0, 1]] * 3
    with pytest.raises(ValueError, match=r"encode's vector .* at step 4"):
        vectors.observation_encoder(space, np.ravel).rows([np.ones(3)], 4)
    with pytest.raises(ValueError, match=r"encode's vector .* at step 4"):
        vectors.observation_encoder(space, np.ravel).rows([np.full((2, 2), np.nan)], 4)


@pytest.mark.parametrize("encode", [lambda _: 3.0, lambda _: "text", lambda _: []])
def test_encode_must_return_a_vector(encode: Any) -> None:
    with pytest.raises(ValueError, match="encode must return a vector"):
        vectors.observation_encoder(PLANE, encode)


def test_the_default_bonus_is_the_originals_with_the_fast_functions() -> None:
    bonus = vectors.vime_for(gymnasium.make("CartPole-v1"), seed=4)
    assert bonus.settings.gains is fast_ref.information_gains
    assert bonus.settings.fit is fast_ref.fit
    plain = vime.VimeSettings(gains=fast_ref.information_gains, fit=fast_ref.fit)
    assert bonus.settings == plain
    assert bonus.one_hot == ()
    by_hand = vime.vime_init(4, Discrete(2), np.random.default_rng(4))
    np.testing.assert_array_equal(bonus.q.mu, by_hand.q.mu)
    other = vectors.vime_for(gymnasium.make("CartPole-v1"))
    assert np.any(other.q.mu != bonus.q.mu)


def test_the_default_bonus_of_a_vector_is_that_of_one() -> None:
    many = gymnasium.make_vec("FrozenLake-v1", 2, vectorization_mode="sync")
    bonus = vectors.vime_for(many, seed=4)
    assert bonus.one_hot == tuple(range(16))
    one = vectors.vime_for(gymnasium.make("FrozenLake-v1"), seed=np.int64(4))
    np.testing.assert_array_equal(bonus.q.mu, one.q.mu)


def test_vime_for_rejects_other_things() -> None:
    for given in (3, None, "CartPole-v1"):
        with pytest.raises(
            ValueError, match="observation_space of env must be a Space"
        ):
            vectors.vime_for(given)
    with pytest.raises(ValueError, match="seed"):
        vectors.vime_for(gymnasium.make("CartPole-v1"), seed=-3)
    with pytest.raises(ValueError, match="settings"):
        vectors.vime_for(gymnasium.make("CartPole-v1"), settings=3)


def test_spaces_of_another_librarys_vector() -> None:
    class Foreign:
        observation_space = PLANE
        action_space = Discrete(2)

    assert vectors.spaces_of(Foreign()) == (PLANE, Discrete(2))
    assert vectors.vime_for(Foreign(), seed=0).layer_sizes == (4, 32, 2)


# ------------------------------------------------------------ a vector of checked environments


def test_a_vector_of_environments_against_gymnasium_s_own() -> None:
    """The same seed and actions give the same steps, resets included."""
    makers = [lambda: gymnasium.make("CartPole-v1")] * 2
    own = vectors.as_vector(*(make() for make in makers))
    other = gymnasium.vector.SyncVectorEnv(makers)
    np.testing.assert_array_equal(own.reset(seed=4)[0], other.reset(seed=4)[0])
    for step in range(60):
        actions = np.array([step % 2, 1])
        for a, b in zip(own.step(actions)[:4], other.step(actions)[:4]):
            np.testing.assert_array_equal(a, b)


def test_a_vector_of_something_else_is_named() -> None:
    with pytest.raises(ValueError, match=r"^envs must be a Env, got str"):
        vectors.as_vector("CartPole-v1")


def test_a_vector_of_none_or_of_one_twice_is_rejected() -> None:
    env = gymnasium.make("CartPole-v1")
    for envs in ((), (env, env)):
        with pytest.raises(
            ValueError, match=r"^envs must be one or more, all different"
        ):
            vectors.as_vector(*envs)


def test_a_vector_counts_steps_from_its_seeded_reset_and_takes_no_options() -> None:
    env = vectors.as_vector(gymnasium.make("CartPole-v1"))
    for _ in range(2):
        env.reset(seed=0)
        for _ in range(3):
            env.step(np.array([0]))
        assert env.envs[0].steps == 3
    with pytest.raises(ValueError, match=r"^options must be none, got"):
        env.reset(options={"low": 0.0})

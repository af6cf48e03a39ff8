"""States in files: what comes back is what was written, bit for bit, and a file can run no code."""

import pickle
from collections import Counter, defaultdict, namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from vime_gym.pools import RingPool
from vime_gym.state_files import STATE_FORMAT, load_state, save_state


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass(frozen=True, eq=False)
class Thing:
    number: float
    rng: np.random.Generator
    table: dict[Any, Any]
    space: Any = field(default_factory=lambda: Discrete(3))
    function: Any = np.sort


def thing(number: float = 0.1, seed: int = 0, **other: Any) -> Thing:
    return Thing(number, np.random.default_rng(seed), {(0.5, 1): 2}, **other)


@pytest.mark.parametrize(
    "value",
    [
        *(1, 0.1, -0.0, 1e-320, float("inf"), True, None, "σ"),
        *((1, (2.5, "a")), (), [1, [2.0]], {"a": 1, (1, 2): (3.0,)}),
        *({"a": [1, (2,)]}, [[1], [2]], [(), {}], ({"a": {2: [3]}}, [4])),
    ],
)
@pytest.mark.parametrize("like", ["the same", None, [], (), {}])
def test_plain_values_come_back(tmp_path: Path, value: Any, like: Any) -> None:
    """Lists, tuples and dicts too, whatever the state holds that loads them."""
    path = tmp_path / "state.npz"
    save_state(path, value)
    found = load_state(str(path), value if like == "the same" else like)
    assert repr(found) == repr(value)
    assert type(found) is type(value)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "?", "c16", "U3"])
def test_arrays_come_back_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "state.npz"
    table = np.array([[0, 1], [1, 1]]).astype(dtype)
    for array in (table, table[0, 0], np.array(table[0, 1])):
        save_state(path, Pair(array, 1))
        found = load_state(path, Pair(None, 0)).first
        assert type(found) is type(array)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_generators_go_on_as_they_were(tmp_path: Path, kind: Any) -> None:
    """Control: the given one stays as it is."""
    path = tmp_path / "state.npz"
    first = np.random.Generator(kind(1))
    second = np.random.Generator(kind(2))
    first.random(5)
    save_state(path, Pair(first, 0))
    found = load_state(path, Pair(second, 0)).first
    drawn = first.random(9)
    np.testing.assert_array_equal(found.random(9), drawn)
    assert np.any(second.random(9) != drawn)


def test_dataclasses_come_back(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    save_state(path, (thing(0.1, 3), Pair(1, 2)))
    found, pair = load_state(path, (thing(0.2, 4), Pair(0, 0)))
    assert isinstance(found, Thing)
    assert (found.number, found.table, pair) == (0.1, {(0.5, 1): 2}, Pair(1, 2))
    assert found.rng.random() == np.random.default_rng(3).random()


def test_a_pool_that_dropped_rows_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Blocks begin at the same rows as before. Control: a pool of the same rows that dropped none."""
    rng = np.random.default_rng(0)

    def rows(number: int) -> list[np.ndarray]:
        return [rng.normal(100.0, 1.0, (number, width)) for width in (3, 1, 3)]

    empty = RingPool(1700, *(each[:0] for each in rows(1)))
    pool = empty.extend(*rows(1000)).extend(*rows(1411))
    save_state(tmp_path / "pool.npz", pool)
    found = load_state(tmp_path / "pool.npz", empty)
    control = RingPool(1700, *pool.columns)
    assert found.dropped == pool.dropped == 711
    for _ in range(4):
        np.testing.assert_array_equal(found.moments(), pool.moments())
        assert not np.array_equal(control.moments(), pool.moments())
        new = rows(300)
        pool, found, control = (each.extend(*new) for each in (pool, found, control))
        for one, other in zip(pool.columns, found.columns):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("like", "match"),
    [
        (Pair(0, 0), "state must be Pair as here, got Thing"),
        (3, "state must be int as here"),
        (thing(space=Discrete(4)), r"state.space must be Discrete\(4\)"),
        (thing(function=np.mean), r"state.function must be numpy.mean"),
        (thing(function=None), r"state.function must be None"),
    ],
)
def test_another_kind_is_rejected(tmp_path: Path, like: Any, match: str) -> None:
    path = tmp_path / "state.npz"
    save_state(path, thing(seed=3))
    with pytest.raises(ValueError, match=match):
        load_state(path, like)


def test_another_class_of_the_same_name_needs_the_same_fields(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    save_state(path, Pair(1, 2))
    other = namedtuple("Pair", ["first"])
    with pytest.raises(ValueError, match="fields of state"):
        load_state(path, other(1))


@pytest.mark.parametrize(
    "value",
    [
        *(object(), {1, 2}, np.array([None]), Pair(1, object()), [object()], Thing),
        *(Counter("aab"), defaultdict(int, {1: 2}), {"a": object()}),
        np.ma.masked_array([1.0], [True]),
    ],
)
def test_what_is_no_state_is_rejected_by_name(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "state.npz"
    if value is Thing:
        save_state(path, value)  # a class is a function, of which the name is kept
        assert load_state(path, Thing) is Thing
        return
    with pytest.raises(
        ValueError, match=r"^state(.second|\[.*\])? must .* to be saved"
    ):
        save_state(path, value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("state", "fresh", "place"),
    [
        ([Pair(1, 2)], [], r"state\[0\] must be NoneType as here, got Pair"),
        ({"a": Pair(1, 2)}, {}, r"state\['a'\] must be NoneType .* got Pair"),
        (({Pair(1, 2): 3},), None, r"a key of state\[0\] must be NoneType"),
        (Pair(1, Pair(2, 3)), Pair(1, None), "state.second must be NoneType"),
        (Pair(1, np.random.default_rng(0)), Pair(1, None), r"state.second .* Generator"),
        (Pair(np.sort, 1), Pair(np.mean, 1), "state.first must be numpy.mean"),
    ],
)  # fmt: skip
def test_what_a_fresh_state_could_not_load_is_not_saved(
    tmp_path: Path, state: Any, fresh: Any, place: str
) -> None:
    """Control: into a state with the same parts, it is."""
    path = tmp_path / "state.npz"
    with pytest.raises(
        ValueError, match=f"^state must fit .* to be saved, but {place}"
    ):
        save_state(path, state, fresh)
    assert not list(tmp_path.iterdir())
    if fresh is not None:
        save_state(path, state, state)
        assert repr(load_state(path, state)).startswith(repr(state)[:9])


@pytest.mark.parametrize("path", [None, 3, b"name", "", object()])
def test_paths_are_rejected_by_name(path: Any) -> None:
    with pytest.raises(ValueError, match="path must be the path of a file"):
        save_state(path, 1)
    with pytest.raises(ValueError, match="path must be the path of a file"):
        load_state(path, 1)


def test_files_that_hold_no_state_are_rejected(tmp_path: Path) -> None:
    """A pickle is never read: its code would run."""
    path = tmp_path / "state.npz"
    with pytest.raises(FileNotFoundError):
        load_state(path, 1)
    save_state(path, Pair(1.0, np.ones(3)))
    whole = path.read_bytes()

    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was read",))

    def archive(text: bytes) -> bytes:
        np.savez(path, json=np.frombuffer(text, np.uint8))
        return path.read_bytes()

    np.savez(path, json=np.array([Bomb()], object), allow_pickle=True)
    pickled = path.read_bytes()
    state = f'{{"format": "{STATE_FORMAT}", "state": '.encode()
    for content in (
        *(b"", b"nonsense", whole[:-30], pickle.dumps(Bomb()), pickled),
        *(archive(b"[]"), archive(b"{"), archive(b'{"format": "other"}')),
        *(archive(state + each + b"}") for each in (b"3", b"{}", b'{"list": 3}')),
        archive(state + b'{"array": "array_9"}}'),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="path must hold a state"):
            load_state(path, Pair(0, 0))


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    save_state(path, 1)
    with pytest.raises(ValueError, match="to be saved"):
        save_state(path, object())
    assert load_state(path, 0) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["state.npz"]

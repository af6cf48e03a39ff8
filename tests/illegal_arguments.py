"""For each argument of a public function: a valid value, what is illegal in its place, and its other forms.

`TABLE` is read from the most special entry to the least: a function's, its class's or module's, then the entry "".

Axes: N = 4 rows, S = 2 samples, K = 2 observations, I = 3 inputs of the model, D = 26 weights, P = 14 of a policy.
"""

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Env
from gymnasium.spaces import Box, Dict, MultiBinary
from gymnasium.vector import SyncVectorEnv

import agents_ref as agents
import bnn_ref as bnn
import fast_ref as fast
import vime_ref as vime
from vime_check.wire import VECTORS
from vime_gym import labyrinth, rooms, vector_tasks
from vime_gym.curiosity import Curiosity
from vime_gym.state_files import save_state
from vime_gym.wrappers import CuriosityReward, VectorCuriosityReward
from vime_lab import rows as lab_rows
from vime_lab import settings as lab_settings
from vime_lab import tasks as lab_tasks
from vime_lecture import counts, densities, recurrent, strategies, tabular, unreal

MODULES = (
    *("bnn_ref", "fast_ref", "vime_ref", "agents_ref"),
    *("vime_lecture.strategies", "vime_lecture.tabular", "vime_lecture.counts"),
    *("vime_lecture.densities", "vime_lecture.controls", "vime_lecture.unreal"),
    *("vime_lecture.recurrent", "vime_gym.tasks", "vime_gym.rooms"),
    *("vime_gym.corridor", "vime_gym.vector_tasks"),
    *("vime_gym.vectors", "vime_gym.state_files", "vime_gym.curiosity"),
    *(
        "vime_gym.wrappers",
        "vime_gym.labyrinth",
        "vime_check",
        "vime_lab.statistics",
        "vime_lab.rows",
    ),
    *("vime_lab.settings", "vime_lab.tasks", "vime_lab.tables"),
)

NAN, INF = float("nan"), float("inf")
Labelled = tuple[str, Any]
Make = Callable[[], Any]

# ------------------------------------------------------------ an argument


class Given(NamedTuple):
    """A valid value, the illegal ones, and pairs of a plain value and another form of it."""

    make: Make
    illegal: Callable[[], list[Labelled]]
    forms: Callable[[], list[tuple[str, Any, Any]]]


def given(
    make: Make,
    bad: Callable[[Any], Iterator[Labelled]],
    forms: Callable[[Any], Iterator[tuple[str, Any, Any]]] = lambda _: iter(()),
    legal: Sequence[str] = (),
) -> Given:
    """An argument whose illegal values are those of its kind, except the `legal` ones."""

    def illegal() -> list[Labelled]:
        found = list(bad(make()))
        unknown = set(legal) - {label for label, _ in found}
        assert not unknown, f"{unknown} are not in {[label for label, _ in found]}"
        return [each for each in found if each[0] not in legal]

    return Given(make, illegal, lambda: list(forms(make())))


def no_numbers() -> Iterator[Labelled]:
    """What is never a number or an array."""
    yield "None", None
    yield "text", "nonsense"
    yield "dict", {}
    yield "object", object()
    yield "function", len


# ------------------------------------------------------------ arrays


def array(
    values: Any,
    shape: str = "fixed",
    *,
    low: float | None = None,
    high: float | None = None,
    beyond: float | None = None,
    whole: bool = False,
    legal: Sequence[str] = (),
) -> Given:
    """Numbers from low to high (below `beyond`); shape "fixed", "rows" (any number of them) or "any"."""
    make = functools.partial(np.array, values, int if whole else float)

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield from wrong_dtypes(x)
        for label, value in (("nan", NAN), ("inf", INF), ("-inf", -INF)):
            yield label, changed(x.astype(float), value)
        if low is not None:
            yield "too low", changed(x, low - 1)
        if high is not None:
            yield "too high", changed(x, high + 1)
        if beyond is not None:
            yield "at the bound", changed(x, beyond)
        if whole:
            yield "fraction", changed(x.astype(float), 0.5)
        yield from wrong_shapes(x, shape)

    return given(make, bad, array_forms, legal)


def positive(values: Any, shape: str = "fixed", legal: Sequence[str] = ()) -> Given:
    """Numbers > 0."""
    return array(values, shape, beyond=0.0, low=0.0, legal=legal)


def flags(values: Any, shape: str = "fixed", legal: Sequence[str] = ()) -> Given:
    """Booleans."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield "two", changed(x.astype(int), 2)
        yield "nan", changed(x.astype(float), NAN)
        yield "texts", x.astype(str)
        yield "complex", x.astype(complex) + 1j
        yield from wrong_shapes(x, shape)

    def forms(x: Any) -> Iterator[tuple[str, Any, Any]]:
        yield "as list", x, x.tolist()
        yield "as float", x, x.astype(float)
        yield "as uint8", x, x.astype(np.uint8)

    return given(lambda: np.array(values, bool), bad, forms, legal)


def changed(x: Any, value: float) -> Any:
    """The array with its first number replaced."""
    new = np.array(x)
    new[(0,) * new.ndim] = value
    return new


def wrong_dtypes(x: Any) -> Iterator[Labelled]:
    """Arrays of what is not a real number."""
    yield "complex", x.astype(complex) + 1j
    yield "objects", np.full(x.shape, {}, object)
    yield "texts", x.astype(str)
    yield "ragged", [[1.0, 2.0], [1.0]]


def wrong_shapes(x: Any, shape: str) -> Iterator[Labelled]:
    """The numbers in other shapes, as far as the argument has one."""
    if shape == "any":
        return
    if x.ndim:
        yield "shape: scalar", x.ravel()[0]
        yield "shape: empty", x[:0]
    yield "shape: one axis more", x[None]
    if shape == "fixed" and len(x) > 1:
        yield "shape: one row less", x[:-1]
    if x.ndim > 1:
        yield "shape: one column less", x[..., :-1]
    if x.shape != x.T.shape:
        yield "shape: transposed", x.T


def array_forms(x: Any) -> Iterator[tuple[str, Any, Any]]:
    """The same numbers as a list, in other layouts, byte orders and types."""
    frozen = np.array(x)
    frozen.setflags(write=False)
    yield "as list", x, x.tolist()
    yield "as Fortran", x, np.asfortranarray(x)
    if x.ndim:
        yield "as strided", x, np.repeat(x, 2, axis=0)[::2]
        yield "as reversed", x, np.array(x[::-1])[::-1]
    yield "as big-endian", x, x.astype(x.dtype.newbyteorder(">"))
    yield "as read-only", x, frozen
    if x.dtype.kind == "f":
        yield "as float32", x, x.astype(np.float32)
        yield "as float16", x, x.astype(np.float16)
    whole = np.trunc(x)
    yield "as int", whole, whole.astype(int)
    yield "as int8", whole, whole.astype(np.int8)
    if x.dtype.kind == "i":
        yield "as float", x, x.astype(float)
    if np.all(whole >= 0):
        yield "as uint8", whole, whole.astype(np.uint8)


# ------------------------------------------------------------ numbers


def number(
    value: float | None,
    *,
    low: float | None = None,
    high: float | None = None,
    beyond: Sequence[float] = (),
    legal: Sequence[str] = (),
) -> Given:
    """One number from low to high, but none of `beyond`."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield from (("nan", NAN), ("inf", INF), ("-inf", -INF))
        yield "bool", True
        yield "digits", "1"
        yield "complex", 0.5 + 1j
        yield "list", [0.5]
        yield "array (1,)", np.array([0.5])
        if low is not None:
            yield "too low", low - 1e-9 - abs(low) * 1e-9
            yield "minus one", low - 1.0
        if high is not None:
            yield "too high", high + 1.0
        for each in beyond:
            yield f"at the bound {each:g}", each

    def forms(x: Any) -> Iterator[tuple[str, Any, Any]]:
        if x is None:
            return
        yield "as float64", x, np.float64(x)
        yield "as 0-d", x, np.array(x)
        rounded = float(np.float32(x))
        yield "as float32", rounded, np.float32(x)
        rounded = float(np.float16(x))
        yield "as float16", rounded, np.float16(x)
        for whole in (0, 1):
            yield f"as int {whole}", float(whole), whole
            yield f"as uint8 {whole}", float(whole), np.uint8(whole)

    return given(lambda: value, bad, forms, legal)


def above_zero(value: float | None, legal: Sequence[str] = ()) -> Given:
    """One number > 0."""
    return number(value, low=0.0, beyond=[0.0], legal=legal)


def fraction(value: float, legal: Sequence[str] = ()) -> Given:
    """One number from 0 to 1."""
    return number(value, low=0.0, high=1.0, legal=legal)


def count(
    value: int | None,
    minimum: int = 1,
    legal: Sequence[str] = (),
    most: int | None = None,
) -> Given:
    """One whole number ≥ minimum."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield from (("nan", NAN), ("inf", INF))
        yield "bool", True
        yield "digits", "2"
        yield "complex", 2 + 1j
        yield "list", [2]
        yield "array (1,)", np.array([2])
        yield "fraction", minimum + 0.5
        yield "too few", minimum - 1
        yield "negative", -1
        if most is not None:
            yield "too many", most + 1

    def forms(x: Any) -> Iterator[tuple[str, Any, Any]]:
        if x is None:
            return
        for dtype in (np.int64, np.int8, np.uint8, np.uint64):
            yield f"as {dtype.__name__}", x, dtype(x)
        yield "as 0-d", x, np.array(x)
        yield "as float", x, float(x)

    return given(lambda: value, bad, forms, legal)


def flag(value: bool) -> Given:
    """True or False."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield from (("nan", NAN), ("two", 2), ("list", [True]))

    def forms(x: Any) -> Iterator[tuple[str, Any, Any]]:
        yield "as bool_", x, np.bool_(x)
        yield "as 0-d", x, np.array(x)
        yield "as int", x, int(x)

    return given(lambda: value, bad, forms)


def choice(value: str | None, legal: Sequence[str] = ()) -> Given:
    """One of some words."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield from (("number", 3), ("list", ["mean"]), ("empty", ""), ("nan", NAN))

    def forms(x: Any) -> Iterator[tuple[str, Any, Any]]:
        yield "as str_", x, np.str_(x)

    return given(lambda: value, bad, forms if value else lambda _: iter(()), legal)


# ------------------------------------------------------------ sequences and objects


def sizes(value: tuple[int, ...], least: int = 2, legal: Sequence[str] = ()) -> Given:
    """Whole numbers ≥ 1, at least `least` of them."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        last = tuple(value[1:])
        yield "number", 3
        yield "digits", "".join(map(str, value))
        yield "zero", (*last, 0)
        yield "negative", (*last, -1)
        yield "fraction", (*last, 2.5)
        yield "nan", (*last, NAN)
        yield "bool", (*last, True)
        yield "texts", tuple(map(str, value))
        yield "nested", (value, value)
        if least:
            yield "shape: too few", value[: least - 1]

    def forms(x: Any) -> Iterator[tuple[str, Any, Any]]:
        yield "as list", x, list(x)
        yield "as array", x, np.array(x)
        yield "as uint8", x, np.array(x, np.uint8)
        yield "as int8 scalars", x, tuple(map(np.int8, x))

    return given(lambda: value, bad, forms, legal)


def noise_per_layer(rows: int = 4) -> Given:
    """zeta: an array (S, N, O) for each layer."""
    first = array(grid(2, rows, 4, seed=11))

    def make() -> Any:
        return [grid(2, rows, 4, seed=11), grid(2, rows, 2, seed=12)]

    def bad(zeta: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield from (("number", 3), ("array", zeta[1]), ("shape: no layer", []))
        yield "shape: one layer less", zeta[:1]
        for label, value in first.illegal():
            yield label, [value, zeta[1]]

    def forms(zeta: Any) -> Iterator[tuple[str, Any, Any]]:
        yield "as tuple", zeta, tuple(zeta)
        for label, plain, form in first.forms():
            yield label, [plain, zeta[1]], [form, zeta[1]]

    return given(make, bad, forms)


def numbers(value: tuple[Any, ...], each: Given, legal: Sequence[str] = ()) -> Given:
    """A sequence of numbers, each of one kind."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield "number", 1.0
        yield "shape: empty", ()
        for label, one in each.illegal():
            yield f"{label} in it", (one, *value[1:])

    def forms(x: Any) -> Iterator[tuple[str, Any, Any]]:
        yield "as list", x, list(x)
        yield "as array", x, np.array(x)

    return given(lambda: value, bad, forms, legal)


def thing(make: Make, legal: Sequence[str] = (), **others: Any) -> Given:
    """An object of one class; `others` of this class are illegal too."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield from (("number", 3), ("list", [1, 2]), ("array", np.ones(3)))
        for label, value in others.items():
            yield label.replace("shape_", "shape: "), value()

    return given(make, bad, legal=legal)


def function(value: Any, legal: Sequence[str] = ()) -> Given:
    """Any function."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from (("None", None), ("number", 3), ("text", "relu"), ("dict", {}))

    return given(lambda: value, bad, legal=legal)


def record(make: Make, legal: Sequence[str] = (), **fields: Given) -> Given:
    """A NamedTuple, with illegal values and other forms of each field."""

    def bad(x: Any) -> Iterator[Labelled]:
        yield from no_numbers()
        yield from (("number", 3), ("list", [1, 2]))
        for name, each in fields.items():
            for label, value in each.illegal():
                yield f"{name}.{label}", make()._replace(**{name: value})

    def forms(x: Any) -> Iterator[tuple[str, Any, Any]]:
        for name, each in fields.items():
            for label, plain, form in each.forms():
                new = make()._replace(**{name: plain})
                yield f"{name}.{label}", new, new._replace(**{name: form})

    return given(make, bad, forms, legal)


# ------------------------------------------------------------ valid values


def grid(*shape: int, seed: int) -> Any:
    """Normal numbers in sixteenths, so that float16 holds them exactly."""
    drawn = np.random.default_rng(seed).standard_normal(shape)
    return np.round(16.0 * drawn) / 16.0


def halves(*shape: int, seed: int) -> Any:
    """Numbers in eighths from 0 to 7/8."""
    return np.random.default_rng(seed).integers(0, 8, shape) / 8.0


FEWER, EMPTY = "shape: one column less", "shape: empty"
LAYERS = (3, 4, 2)
BOX = Box(-1.0, 1.0, (1,), np.float64)
POLICY_LAYERS = (2, 3, 1)


def rng() -> Any:
    return np.random.default_rng(0)


def streams() -> agents.Streams:
    return agents.Streams(*rng().spawn(4))


def posterior(seed: int = 1, size: int = 26) -> bnn.DiagNormal:
    return bnn.DiagNormal(grid(size, seed=seed), grid(size, seed=seed + 50) - 0.5)


def model() -> vime.Vime:
    settings = vime.VimeSettings(
        hidden_sizes=(4,),
        min_rows=4,
        num_updates=1,
        batch_size=2,
        num_samples=2,
        step_size=0.1,
        fit=fast.fit,
        gains=fast.information_gains,
    )
    return vime.vime_init(2, BOX, rng(), settings).update(batch(), rng())


def batch() -> vime.Batch:
    ended = np.array([False, True, False, False])
    cut = np.array([False, False, False, True])
    return vime.Batch(
        grid(4, 2, seed=21),
        grid(4, 1, seed=22),
        grid(4, seed=23),
        grid(4, 2, seed=24),
        ended,
        cut,
    )


def pool() -> vime.ReplayPool:
    rows = grid(4, 2, seed=21), grid(4, 1, seed=22), grid(4, 2, seed=24)
    return vime.ReplayPool(5, *rows)


def policy() -> agents.GaussianPolicy:
    return agents.GaussianPolicy(grid(14, seed=31) / 4, POLICY_LAYERS, np.ones(2))


def value_function() -> agents.ValueFunction:
    ones = np.ones(2)
    return agents.ValueFunction(
        grid(13, seed=32), POLICY_LAYERS, ones, 2 * ones, 0.5, 2.0
    )


def agent_settings() -> agents.AgentSettings:
    step = functools.partial(
        agents.policy_gradient_step, learning_rate=0.25, entropy_weight=0.5
    )
    return agents.AgentSettings(batch_steps=4, policy_step=step)


class Line(Env[Any, Any]):
    """A point that moves on a line: observations (2,), actions (1,)."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = BOX

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = np.zeros(2)
        return self.place, {}

    def step(self, action: Any) -> Any:
        self.place = self.place + 0.5 * float(action[0]) + 0.1
        return self.place, float(self.place[0]), bool(self.place[0] > 1.0), False, {}


def begun() -> Curiosity:
    curiosity = Curiosity(Line(), 1, vime.NoBonus(), eta=0.5, update_every=4)
    curiosity.begin(grid(1, 2, seed=20))
    return curiosity


def wrapped(kind: Any, env: Any) -> Any:
    made = kind(env, vime.NoBonus(), eta=0.5, update_every=4)
    made.reset(seed=0)
    return made


@functools.cache
def state_file() -> str:
    path = Path(tempfile.mkdtemp()) / "state.npz"
    save_state(path, (1.0,))
    return str(path)


@functools.cache
def few_vectors() -> str:
    """A folder with one family: all families take a tenth of a second to load."""
    folder = Path(tempfile.mkdtemp())
    shutil.copy(VECTORS / "softplus.json", folder)
    return str(folder)


class OddLine(Line):
    """A line whose actions are of no space that a bonus takes."""

    action_space: Any = Dict()


def chain() -> Any:
    return rooms.Chain(4)


def vector_of_two(name: str) -> Any:
    envs = getattr(vector_tasks, name)(2)
    envs.reset(seed=0)
    return envs


def mazes(size: int = 2) -> list[Any]:
    return [labyrinth.Labyrinth(3, rooms=2) for _ in range(size)]


SMALL_AGENT = recurrent.UnrealSettings(
    num_steps=3,
    input_cell=4,
    control_cell=4,
    encoded=4,
    hidden=3,
    replay_steps=6,
    reward_windows=2,
)
UNREAL_SIZES = recurrent.UnrealSizes(3, 2, 2, 4, 3)


def unreal_theta() -> Any:
    return grid(recurrent.num_parameters(UNREAL_SIZES), seed=41) / 4


def maze_theta() -> Any:
    weights = recurrent.unreal_init(SMALL_AGENT.sizes(mazes(1)[0]), rng())
    return weights.astype(np.float16).astype(float)


def unreal_steps() -> recurrent.Steps:
    shape = (5, 2)
    ended = np.zeros(shape, bool)
    ended[1, 0] = True
    actions = (halves(*shape, seed=42) > 0.5).astype(int)
    return recurrent.Steps(
        grid(*shape, 6, seed=43),
        actions,
        grid(*shape, seed=44),
        grid(*shape, seed=45),
        grid(*shape, 2, seed=46),
        grid(*shape, 6, seed=47),
        ended,
        np.zeros(shape, bool),
        grid(*shape, 6, seed=48),
    )


WHOLE_BATCH = batch()._replace(
    observations=np.array([[0.0], [1.0], [2.0], [1.0]]),
    next_observations=np.array([[1.0], [2.0], [1.0], [0.0]]),
)


def table() -> tabular.Table:
    return tabular.Table(
        [[0.5, 1.0], [0.0, 0.25], [1.0, 0.0], [0.5, 0.5]],
        [[1, 2], [3, 4], [0, 1], [2, 2]],
    )


def curve_rows() -> list[dict[str, Any]]:
    """Two iterations of two bonuses and three seeds."""
    return [
        {name: 0.5 for name in lab_rows.RUN_NUMBERS}
        | {"task": "t", "bonus": bonus, "setting": "", "seed": seed}
        | {"iteration": i, "steps": 10 * i, "return_mean": float(seed + i)}
        for bonus in ("none", "vime")
        for seed in range(3)
        for i in range(2)
    ]


@functools.cache
def curve_file() -> str:
    """A learning curve on disk."""
    lines = [lab_rows.RUN_COLUMNS, *(row_cells(row) for row in curve_rows())]
    path = Path(tempfile.mkdtemp()) / "learning_curve.csv"
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    return str(path)


def row_cells(row: dict[str, Any]) -> list[str]:
    return [str(row[name]) for name in lab_rows.RUN_COLUMNS]


# ------------------------------------------------------------ arguments by name

BATCH = record(
    batch,
    observations=array(grid(4, 2, seed=21)),
    actions=array(grid(4, 1, seed=22)),
    rewards=array(grid(4, seed=23)),
    next_observations=array(grid(4, 2, seed=24)),
    terminated=flags([0, 1, 0, 0]),
    truncated=flags([0, 0, 0, 1]),
)
SEEN_BATCH = record(  # what a model reads of a batch
    batch,
    observations=array(grid(4, 2, seed=21)),
    actions=array(grid(4, 1, seed=22)),
    next_observations=array(grid(4, 2, seed=24)),
)
REWARDED_BATCH = record(  # what a bonus and its normalization read
    batch,
    observations=array(grid(4, 2, seed=21)),
    actions=array(grid(4, 1, seed=22)),
    rewards=array(grid(4, seed=23)),
    next_observations=array(grid(4, 2, seed=24)),
)
FITTED_BATCH = record(  # what `improve` reads beside the rewards
    batch,
    observations=array(grid(4, 2, seed=21)),
    actions=array(grid(4, 1, seed=22)),
    next_observations=array(grid(4, 2, seed=24)),
    terminated=flags([0, 1, 0, 0]),
    truncated=flags([0, 0, 0, 1]),
)._replace(forms=list)  # a call takes 30 ms; the parts of `improve` have theirs
GENERATOR = thing(rng)
UNUSED = Given(rng, list, list)  # an argument that a function takes and does not read
STREAMS = record(
    streams,
    environment=GENERATOR,
    policy=GENERATOR,
    model=GENERATOR,
    replay=GENERATOR,
)
SPACE = thing(
    lambda: BOX,
    other_kind=lambda: MultiBinary(2),
    two_axes=lambda: Box(0, 1, (2, 2)),
    of_dicts=lambda: Dict({"a": BOX}),
)
ENV = thing(Line, box_of_two_axes=lambda: labyrinth.Labyrinth(0))
SHORT = posterior(3, 25)
ADAM = record(
    lambda: bnn.AdamState(grid(26, seed=5), grid(26, seed=6) ** 2, 3),
    mean=array(grid(26, seed=5)),
    square=array(grid(26, seed=6) ** 2, low=0.0),
    num_steps=count(3, 0),
)

BY_NAME: dict[str, Given] = {
    # distributions
    "rho": array(grid(4, seed=1), "any"),
    "mu": array(grid(4, seed=2)),
    "sigma": positive(halves(4, seed=3) + 0.5, "any"),
    "x": array(grid(4, seed=4), "any"),
    "mean": array(grid(4, seed=5), "any"),
    "mu_q": array(grid(4, seed=1)),
    "sigma_q": positive(halves(4, seed=2) + 0.5),
    "mu_p": array(grid(4, seed=3)),
    "sigma_p": positive(halves(4, seed=4) + 0.5),
    "q": thing(posterior, shape_shorter=lambda: SHORT),
    "prior": thing(lambda: posterior(2), shape_shorter=lambda: SHORT),
    "q_old": thing(lambda: posterior(2), shape_shorter=lambda: SHORT),
    "q_new": thing(lambda: posterior(3), shape_shorter=lambda: SHORT),
    "delta_mu": array(grid(26, seed=5)),
    "delta_rho": array(grid(26, seed=6)),
    "grad_mu": array(grid(26, seed=5)),
    "grad_rho": array(grid(26, seed=6)),
    # networks
    "layer_sizes": sizes(LAYERS),
    "sizes": sizes(LAYERS),
    "hidden_sizes": sizes((4,), 0),
    "theta": array(grid(2, 26, seed=7), "rows"),
    "inputs": array(grid(4, 3, seed=8)),
    "targets": array(grid(4, 2, seed=9)),
    "outputs": array(grid(2, 4, 2, seed=10), "rows"),
    "eps": array(grid(2, 26, seed=11), "rows"),
    "zeta": noise_per_layer(),
    "noise": array(grid(2, 26, seed=11), "rows"),
    "likelihood_sigma": above_zero(0.5),
    "num_data": above_zero(8.0),
    "step_size": above_zero(0.1),
    "method": choice("taylor"),
    "hidden": function(np.tanh),
    "loss": function(vime.transition_loss),
    # training
    "rng": GENERATOR,
    "num_samples": count(2),
    "num_rows": count(4),
    "num_updates": count(2, 0),
    "batch_size": count(2),
    "learning_rate": above_zero(0.25),
    "num_steps": count(2),
    "size": count(4),
    "params": array(grid(26, seed=12)),
    "gradient": array(grid(26, seed=13)),
    "state": ADAM,
    "beta1": number(0.5, low=0.0, beyond=[1.0]),
    "beta2": number(0.75, low=0.0, beyond=[1.0]),
    "epsilon": number(1.0 / 1024, low=0.0),
    "sample_noise": function(bnn.sample_eps),
    "adam": record(
        lambda: bnn.AdamState(np.zeros(52), np.zeros(52), 0),
        ("None",),
        mean=array(np.zeros(52)),
        square=array(np.ones(52), low=0.0),
        num_steps=count(0, 0),
    ),
    # rewards
    "gains": array(halves(4, seed=14), "rows", low=0.0),
    # An array of numbers and bools is one of numbers.
    "history": numbers((0.5, 1.0), number(0.5, low=0.0), ("bool in it", EMPTY)),
    "window": count(2),
    "statistic": choice("mean"),
    "include_current": flag(False),
    "rewards": array(grid(4, seed=15)),
    "eta": number(0.5, low=0.0),
    "normalize": flag(True),
    # transitions
    "batch": BATCH,
    "observations": array(grid(4, 2, seed=21)),
    "actions": array(grid(4, 1, seed=22)),
    "next_observations": array(grid(4, 2, seed=24)),
    "space": SPACE,
    "action_space": SPACE,
    "capacity": count(5),
    "pool": thing(pool),
    "observation_size": count(2),
    "settings": thing(lambda: model().settings),
    # agents
    "policy": thing(policy),
    "new": thing(policy),
    "value": thing(value_function),
    "bonus": thing(model),
    "env": ENV,
    "streams": STREAMS,
    "observation_scale": positive([1.0, 2.0]),
    "gamma": fraction(0.5),
    "lam": fraction(0.75),
    "last_value": number(0.5),
    "values": array(grid(4, seed=16)),
    "next_values": array(grid(4, seed=17)),
    "terminated": flags([0, 1, 0, 0]),
    "truncated": flags([0, 0, 1, 0]),
    "returns": array(grid(4, seed=18)),
    "advantages": array(grid(4, seed=19)),
    "max_iterations": count(3),
    "entropy_weight": number(0.25),
    "max_kl": above_zero(0.0625),
    "damping": above_zero(1.0 / 1024),
    "fisher_every": count(1),
    "cg_iterations": count(4),
    "backtracks": count(4),
    "shrink": fraction(0.75),
    "num_iterations": count(1),
    "batch_steps": count(4),
    "curious_values": flag(True),
    "bootstrap": flag(True),
    "value_inputs": function(agents.state_inputs),
    "policy_step": function(agents.trpo_step),
    "value_step": function(agents.value_fit),
    "rollout": function(agents.rollout),
}

MINIBATCHES = {
    "inputs": array(grid(3, 2, 3, seed=8)),
    "targets": array(grid(3, 2, 2, seed=9)),
    "gradient": function(bnn.elbo_grad),
}
ONE_ROW = {
    "inputs": array(grid(1, 3, seed=8)),
    "targets": array(grid(1, 2, seed=9)),
    "zeta": noise_per_layer(1),
}
POLICY_ROWS = {"theta": array(grid(14, seed=31) / 4), "layer_sizes": sizes((2, 3, 1))}
FREE_ROWS = {
    "observations": array(grid(4, 2, seed=21), "rows", legal=("shape: empty",)),
    "observation_scale": positive([1.0, 2.0], legal=("shape: scalar",)),
}
OF_POLICY = {**FREE_ROWS, "num_rows": count(4), "noise": array(grid(4, 1, seed=33))}
MATRICES = {  # of any number of axes, the last one summed over
    "mu_q": array(grid(4, seed=1), legal=("shape: one axis more",)),
    "sigma_q": positive(halves(4, seed=2) + 0.5, legal=("shape: one axis more",)),
    "mu_p": array(grid(4, seed=3), legal=("shape: one axis more",)),
    "sigma_p": positive(halves(4, seed=4) + 0.5, legal=("shape: one axis more",)),
}
ONE_OF_TWO = count(1, 0, most=1, legal=("bool",))
ONE_HOT = array(
    [0, 2],
    "rows",
    whole=True,
    low=0,
    high=2,
    legal=("shape: empty",),
)
NO_DATA = {"num_data": above_zero(8.0, ("None",))}

TABLE: dict[str, dict[str, Given]] = {
    "": BY_NAME,
    "bnn_ref.DiagNormal": {"rho": array(grid(4, seed=1), low=-700.0)},
    **{f"bnn_ref.{name}": MATRICES for name in ("kl_textbook", "kl_diag_normal")},
    "bnn_ref.kl_hessian_diag": {"q": thing(posterior)},
    "bnn_ref.mlp": {
        "theta": array(grid(2, 26, seed=7), "rows", legal=("shape: empty",)),
        "inputs": array(grid(4, 3, seed=8), "rows", legal=("shape: empty",)),
    },
    "bnn_ref.log_likelihood": {
        "outputs": array(grid(2, 4, 2, seed=10), "rows", legal=("shape: empty",)),
    },
    "bnn_ref.unflatten": {
        "theta": array(
            grid(2, 26, seed=7), "rows", legal=("shape: one axis more", "shape: empty")
        )
    },
    "bnn_ref.adam_init": {"size": count(4)},
    "bnn_ref.sample_eps": {"num_rows": Given(lambda: 4, list, list)},
    **{f"{name}.fit": MINIBATCHES for name in ("bnn_ref", "fast_ref")},
    "bnn_ref.predict": {
        "inputs": array(grid(4, 3, seed=8), "rows", legal=("shape: empty",))
    },
    **{
        f"vime_ref.{name}": ONE_ROW
        for name in (
            *("transition_loss", "transition_loss_local", "transition_loss_grad"),
            *("posterior_step", "posterior_step_local"),
            *("posterior_update", "posterior_update_local"),
        )
    },
    "vime_ref.curious_rewards": {"gains": array(halves(4, seed=14))},
    "vime_ref.model_actions": {
        "actions": array(grid(4, 1, seed=22), "rows", legal=("shape: empty",))
    },
    "vime_ref.ReplayPool": {"actions": array(grid(4, 1, seed=22), legal=(FEWER,))},
    "vime_ref.ReplayPool.extend": {"actions": array(grid(4, 1, seed=22))},
    "vime_ref.NoBonus": {"batch": thing(batch), "rng": UNUSED},
    "vime_ref.NoBonus.update": {"batch": Given(batch, list, list)},
    "vime_ref.Vime": {
        "settings": thing(lambda: model().settings),
        "adam": BY_NAME["adam"],
        "center": array(grid(3, seed=34)),
        "scale": positive([1.0, 2.0, 0.5]),
        "one_hot": ONE_HOT,
        "batch": SEEN_BATCH,
    },
    "vime_ref.vime_init": {"settings": thing(lambda: model().settings, ("None",))},
    "vime_ref.pool_statistics": {"one_hot": ONE_HOT},
    "vime_ref.VimeSettings": {
        **NO_DATA,
        "prior_sigma": above_zero(0.5),
        "gradient": function(bnn.elbo_grad),
        "fit": function(bnn.fit),
        "gains": function(vime.information_gains),
        "min_rows": count(4, most=5),
    },
    "agents_ref.GaussianPolicy": {
        **POLICY_ROWS,
        **OF_POLICY,
        "action_center": array([0.5], legal=("shape: scalar",)),
        "action_scale": positive([2.0], legal=("shape: scalar",)),
    },
    "agents_ref.CategoricalPolicy": {
        "theta": array(grid(17, seed=31) / 4),
        "layer_sizes": sizes((2, 3, 2)),
        **OF_POLICY,
        "noise": array(halves(4, seed=33), low=0.0, beyond=1.0),
        "actions": array([0, 1, 1, 0], whole=True, low=0, high=1),
        "new": thing(
            lambda: agents.CategoricalPolicy(grid(17, seed=35) / 4, (2, 3, 2))
        ),
    },
    "agents_ref.policy_init": {
        "observation_scale": positive([1.0, 2.0], legal=("None",)),
    },
    "agents_ref.discounted_returns": {
        "rewards": array(grid(4, seed=15), "rows", legal=("shape: empty",))
    },
    "agents_ref.ValueFunction": {
        "theta": array(grid(13, seed=32)),
        "layer_sizes": sizes((2, 3, 1)),
        "observation_center": array([0.5, 1.0]),
        "center": number(0.5),
        "scale": number(2.0, low=0.0),
        "observations": FREE_ROWS["observations"],
    },
    "agents_ref.AgentSettings": {},
    **{
        f"{module}.rollout": {
            "num_steps": count(4),
            "envs": thing(lambda: SyncVectorEnv([Line]), single=Line),
        }
        for module in ("agents_ref", "fast_ref")
    },
    "agents_ref.curiosity": {"batch": REWARDED_BATCH},
    "agents_ref.improve": {"batch": FITTED_BATCH, "settings": thing(agent_settings)},
    "agents_ref.train": {
        "settings": thing(agent_settings),
        "envs": thing(lambda: SyncVectorEnv([Line]), single=Line),
    },
    # ---------------------------------------------------------- vime_lecture
    "vime_lecture.strategies": {
        "q_values": array([0.5, 1.0, 0.25], "rows"),
        "epsilon": fraction(0.25),
        "temperature": above_zero(0.5, ("None",)),
        "means": array([0.5, 1.0, 0.25], low=0.0, high=1.0),
        "counts": array([2, 1, 0], whole=True, low=0),
        "t": count(3, 0, most=3),
        "alpha": number(0.5, low=0.0),
        "scores": array([0.5, 1.0, 0.25], "rows"),
        "strategy": function(strategies.epsilon_greedy_strategy(0.25)),
        "probabilities": array([0.5, 0.25, 0.25], low=0.0, high=1.0),
        "noise": number(0.5, low=0.0, beyond=[1.0]),
    },
    "vime_lecture.strategies.ucb1": {
        "means": array([0.5, 1.0, 0.25]),
        "t": count(3, 0, most=3),
    },
    "vime_lecture.strategies.ucb_state_action": {
        "q_values": array([0.5, 1.0, 0.25]),
    },
    "vime_lecture.strategies.bandit_regret": {
        "means": array([0.5, 1.0, 0.25], "rows", low=0.0, high=1.0),
        "noise": array(
            halves(2, 3, 2, seed=51),
            "rows",
            low=0.0,
            beyond=1.0,
            legal=("shape: empty",),
        ),
    },
    "vime_lecture.tabular": {
        "env": thing(chain, boxes=Line),
        "bonus": thing(counts.VisitCounts),
        "settings": thing(tabular.TabularSettings),
        "strategy": function(strategies.epsilon_greedy_strategy(0.25)),
        "num_episodes": count(1),
        "features": array(grid(4, 3, seed=52) ** 2, legal=("None", FEWER)),
        "initial_value": number(0.5),
        "learning_rate": number(0.5, low=0.0, high=1.0, beyond=[0.0]),
        "learning_rate_power": fraction(0.75),
        "value": number(0.5),
        "reward": number(1.0),
        "next_values": array([0.5, 1.0], "rows"),
        "terminated": flag(False),
    },
    "vime_lecture.tabular.q_learning": {
        "table": record(
            table,
            ("None",),
            q_values=array(table().q_values),
            counts=array(table().counts, whole=True, low=0),
        ),
        "bonus": thing(vime.NoBonus),
    },
    "vime_lecture.counts": {
        "counts": array([0.0, 1.0, 2.5], "any", low=0.0, legal=("inf",)),
        "beta": above_zero(0.5),
        "log_prob": array([-1.5, -2.0], "rows", high=0.0, legal=("-inf",)),
        "log_prob_after": array([-1.0, -1.5], "fixed", high=0.0),
        "gain": array([0.5, 1.0], "any", legal=("inf", "-inf")),
        "num_seen": count(3),
        "c": above_zero(0.25),
        "model": thing(lambda: densities.dirichlet(3, 0.5)),
        "observation": count(1, 0, ("list", "array (1,)"), most=2),
        "grid": thing(lambda: densities.Grid(((-5.0, 0.0, 5.0),), True), ("None",)),
        "batch": record(
            lambda: WHOLE_BATCH,
            next_observations=array(
                WHOLE_BATCH.next_observations,
                legal=("shape: one axis more", FEWER, "shape: transposed"),
            ),
        ),
        "rng": UNUSED,
    },
    "vime_lecture.counts.VisitCounts": {
        "counts": thing(lambda: {(0.5,): 2}, ("dict",)),
    },
    "vime_lecture.densities": {
        "counts": array([[1.0, 2.0, 0.0], [0.0, 1.0, 2.0]], "rows", low=0.0),
        "alpha": above_zero(0.5),
        "observation": array(
            [1, 2], whole=True, low=0, high=2, legal=("shape: one axis more",)
        ),
        "num_symbols": count(3, 2),
        "num_pixels": count(2),
        "depth": count(2, 0),
        "rate": number(0.25, low=0.0, high=0.5, legal=("None",)),
        "context": numbers((1, 0), count(1, 0, most=2)),
        "symbol": count(1, 0, most=2),
        "num_levels": count(3, 2),
        "image": array(
            [[1, 2, 0], [0, 0, 1]],
            "rows",
            whole=True,
            legal=(FEWER, "shape: transposed"),
        ),
        "shape": sizes((2, 3)),
        "edges": numbers(((0.0, 1.0, 2.0),), array([0.0, 1.0, 2.0], "rows")),
        "clip": flag(True),
        "observations": array([[0.5], [1.5]], "rows", legal=("shape: empty",)),
    },
    "vime_lecture.densities.Dirichlet": {"alpha": number(0.5, low=0.0)},
    "vime_lecture.densities.dirichlet": {
        "num_symbols": count(3),
        "alpha": number(0.5, low=0.0),
    },
    "vime_lecture.densities.ContextTree": {"root": thing(lambda: None, ("None",))},
    "vime_lecture.densities.BinaryCts": {
        "tree": thing(lambda: densities.ContextTree(2)),
        "history": numbers((1, 0), count(1, 0, most=1)),
        "observation": count(1, 0, ("list", "array (1,)"), most=1),
    },
    "vime_lecture.densities.ImageCts": {
        "trees": thing(lambda: (densities.ContextTree(4, 3),) * 6),
        "observation": array([[1, 2, 0], [0, 0, 1]], whole=True, low=0, high=2),
    },
    "vime_lecture.controls": {
        "model": thing(model),
        "batch": SEEN_BATCH,
        "alpha": array([0.5, 1.5], "any", low=0.0),
        "total": array([2.0, 3.0], "any", low=0.0),
    },
    "vime_lecture.controls.DirichletGain": {
        "num_states": count(3),
        "alpha": above_zero(0.5),
        "visits": thing(lambda: {(0, 1.0): {2: 1}}, ("dict",)),
        "rng": UNUSED,
        "batch": record(
            lambda: WHOLE_BATCH._replace(actions=np.array([0.0, 1.0, 0.0, 1.0])),
            actions=array([0.0, 1.0, 0.0, 1.0]),
            observations=array(WHOLE_BATCH.observations, whole=True, low=0, high=2),
            next_observations=array(
                WHOLE_BATCH.next_observations, whole=True, low=0, high=2
            ),
        ),
    },
    "vime_lecture.controls.SquaredZScore": {"rng": UNUSED},
    "vime_lecture.controls.PathError.reward": {"batch": FITTED_BATCH},
    "vime_lecture.controls.NoiseBonus": {"batch": thing(batch)},
    "vime_lecture.controls.NoiseBonus.update": {"rng": UNUSED},
    "vime_lecture.unreal": {
        "observations": array(
            halves(3, 4, 4, 2, seed=61), "rows", legal=(FEWER, "shape: transposed")
        ),
        "cell_size": count(2, most=4),
        "before": array(halves(3, 4, 4, 2, seed=61)),
        "after": array(halves(3, 4, 4, 2, seed=62)),
        "images": array(
            halves(3, 4, 4, 2, seed=61),
            "rows",
            legal=("shape: empty", "shape: one axis more", FEWER, "shape: transposed"),
        ),
        "activations": array(
            grid(4, 2, seed=63), "rows", legal=(FEWER, "shape: transposed")
        ),
        "next_q_values": array(grid(4, 3, seed=64), legal=(FEWER,)),
        "values": array(grid(4, seed=65)),
        "advantages": array(grid(4, 3, seed=66), legal=(FEWER,)),
        "rewards": array(grid(4, seed=15)),
        "ended": flags([0, 1, 0, 0, 0], "any"),
        "coins": array(halves(3, seed=67), low=0.0, beyond=1.0),
        "places": array(halves(3, seed=68), low=0.0, beyond=1.0),
        "logits": array(grid(4, 3, seed=69)),
        "actions": array([0, 2, 1, 1], whole=True, low=0, high=2),
        "classes": array([0, 2, 1, 1], whole=True, low=0, high=2),
        "targets": array(grid(4, 2, seed=70)),
        "q_values": array(grid(4, 2, 3, seed=71)),
        "value": number(0.5, low=0.0),
        "entropy": number(0.25, low=0.0),
        "value_replay": number(0.5, low=0.0),
        "control": number(0.25, low=0.0),
        "reward_prediction": number(0.5, low=0.0),
        "losses": record(
            lambda: unreal.Losses(0.5, 1.0, 0.25, 0.5, 1.0, 2.0),
            **dict.fromkeys(unreal.Losses._fields, number(0.5)),
        ),
        "weights": thing(unreal.LossWeights),
        "gate_inputs": array(grid(4, 8, seed=72)),
        "hidden": array(grid(4, 2, seed=73)),
        "cell": array(grid(4, 2, seed=74)),
    },
    "vime_lecture.unreal.policy_entropy": {
        "logits": array(
            grid(4, 3, seed=69),
            "rows",
            legal=("shape: one axis more", FEWER, "shape: transposed"),
        ),
    },
    "vime_lecture.unreal.policy_loss": {"advantages": array(grid(4, seed=66))},
    "vime_lecture.unreal.lstm_step": {"weights": array(grid(2, 8, seed=75))},
    "vime_lecture.unreal.sample_reward_windows": {
        "rewards": array([0.0, 1.0, 0.0, 0.5, 0.0]),
        "ended": flags([0, 1, 0, 0, 0]),
    },
    "vime_lecture.unreal.reward_class": {"rewards": array(grid(4, seed=15), "any")},
    "vime_lecture.recurrent": {
        "theta": array(unreal_theta()),
        "steps": thing(unreal_steps),
        "replay": thing(unreal_steps),
        "num_steps": count(2, most=5),
        "places": array([0.25, 0.5], low=0.0, beyond=1.0),
        "sizes": thing(lambda: UNREAL_SIZES),
        "memory": flag(True),
        "hidden": array(grid(4, 3, seed=81)),
        "next_hidden": array(grid(4, 3, seed=82)),
        "num_updates": count(1),
        "settings": thing(lambda: SMALL_AGENT),
    },
    "vime_lecture.recurrent.hidden_batch": {"batch": thing(batch)},
    "vime_lecture.recurrent.UnrealSettings": {
        "weights": thing(unreal.LossWeights),
        "num_steps": count(20),
        "control_gamma": fraction(0.5),
        "control": choice("pixel"),
        "input_cell": count(4),
        "control_cell": count(4),
        "encoded": count(4),
        "hidden": count(3),
        "replay_steps": count(20),
        "reward_windows": count(2),
        "max_norm": above_zero(0.5),
        "reward_scale": above_zero(0.5),
        "bonus_sees": choice("pixels"),
        "env": thing(lambda: mazes(1)[0]),
    },
    "vime_lecture.recurrent.train_a2c": {
        "envs": thing(
            mazes,
            none=list,
            twice=lambda: mazes(1) * 2,
            boxes=lambda: [Line(), Line()],
        ),
        "theta": array(maze_theta()),
        "bonus": thing(vime.NoBonus, ("None",)),
    },
    # ---------------------------------------------------------- vime_gym
    "vime_gym": {
        "observation": choice("index"),
        "render_mode": choice("rgb_array", ("None",)),
        "seed": count(3, 0, ("None",)),
        "options": thing(dict, ("None", "dict")),
        # Discrete spaces of Gymnasium contain True and False.
        "action": count(1, 0, most=3, legal=("bool",)),
        "size": count(4, 3),
        "means": array([0.25, 0.5], "rows", low=0.0, high=1.0),
        "randomize_actions": flag(True),
        "mapping_seed": count(42, 0),
        "maze_seed": count(3, 0, ("None",)),
        "rooms": count(3, 2),
        "wrong": flags([1, 1, 0], "rows", ("shape: empty",)),
        "threshold": number(0.75, low=0.0, high=1.0, beyond=[0.0]),
        "solved": thing(lambda: {10: 3, 12: None}),
        "order": array((0, 1, 2, 3), "rows", low=0, whole=True),
        "theta": number(0.5),
        "theta_velocity": number(0.5),
        "force": number(0.5),
        "goal_velocity": number(0.5),
        "state": numbers((0.5, 0.5, 0.5, 0.5), number(0.5), ("bool in it",)),
        "seconds": above_zero(0.25),
        "start_width": array([0.5, 0.5, 0.25, 0.0], low=0.0),
    },
    "vime_gym.labyrinth.carve_maze": {"rooms": count(2, 1)},
    "vime_gym.rooms.BernoulliBandit": {"action": ONE_OF_TWO},
    "vime_gym.rooms.Chain": {"action": ONE_OF_TWO},
    "vime_gym.rooms.DeepSea": {"action": ONE_OF_TWO, "size": count(4, 2)},
    "vime_gym.rooms.KeyDoorMaze": {},
    "vime_gym.corridor.NoisyCorridor": {
        "length": count(4, 1),
        "num_pictures": count(4, 2),
    },
    "vime_gym.tasks.SparseMountainCar": {
        "action": array([0.5]),
        "goal_velocity": number(0.0),
    },
    "vime_gym.tasks.DenseMountainCar": {
        "action": array([0.5]),
        "goal_velocity": number(0.0),
    },
    "vime_gym.tasks.SparseCartPoleSwingup": {"action": array([0.5])},
    "vime_gym.vector_tasks": {
        "num_envs": count(2),
        "max_episode_steps": count(50, 1, ("None", "negative")),
        "actions": array([[0.5], [-0.25]]),
        "goal_velocity": number(0.0),
    },
    **{
        f"vime_gym.{name}": {
            "env": thing(Line, odd_actions=OddLine),
            "num_envs": count(1),
            "bonus": thing(vime.NoBonus, ("None",)),
            "settings": thing(lambda: model().settings, ("None",)),
            "eta": number(0.5, low=0.0),
            "share": number(None, legal=("None",)),
            "gamma": fraction(0.5),
            "update_every": count(4),
            "normalize": flag(True),
            "encode": function(np.ravel, ("None",)),
            "seed": count(3, 0, ("None",)),
            "observations": array(grid(1, 2, seed=21)),
            "which": flags([1], legal=("None",)),
            "actions": array(grid(1, 1, seed=22), legal=("inf", "-inf")),
            "action": array(grid(1, seed=22), legal=("inf", "-inf")),
            "rewards": array(grid(1, seed=23), legal=("shape: one axis more",)),
            "terminated": flags([0]),
            "truncated": flags([0]),
            "finals": thing(dict, ("None", "dict")),
            "path": choice(state_file(), ("text",)),
        }
        for name in ("vectors", "curiosity", "wrappers")
    },
    "vime_gym.curiosity.Curiosity.earn": {"actions": array(grid(1, 1, seed=22), "any")},
    "vime_gym.vectors.observation_encoder": {
        "observation_space": thing(lambda: BOX, box_of_two_axes=lambda: MultiBinary(2)),
        "encode": Given(lambda: None, list, list),
    },
    "vime_gym.vectors.action_encoder": {"action_space": thing(lambda: BOX, dict_=Dict)},
    "vime_gym.wrappers.VectorCuriosityReward": {
        "env": thing(lambda: SyncVectorEnv([Line]), single=Line),
        "seed": Given(lambda: 3, list, list),  # the environments' own
        "infos": UNUSED,
        "observations": UNUSED,
    },
    "vime_gym.state_files": {
        "path": choice(state_file(), ("text",)),
        "state": thing(
            lambda: (1.0,),
            ("None", "text", "dict", "function", "number", "list", "array"),
        ),
        "like": Given(lambda: (1.0,), list, list),
    },
    # ---------------------------------------------------------- vime_check
    "vime_check": {
        "impl": choice(None, ("None",)),
        "command": choice(None, ("None",)),
        "only": choice("softplus", ("None",)),
        "case": choice("softplus/at-zero"),
        "profile": choice(None, ("None",)),
        "dtype": choice("f64"),
        "strict": flag(False),
        "digits": count(None, legal=("None",), most=15),
        "timeout": above_zero(10.0),
        "memory": count(None, legal=("None",), most=2**24),
        "vectors": choice(few_vectors(), ("None",)),
        "examples": count(1),
        "seed": count(0, 0),
    },
    # ---------------------------------------------------------- vime_lab
    "vime_lab.statistics": {
        "rows": thing(curve_rows, empty=list),
        "column": choice("return_mean"),
        "axis": choice("steps"),
        "bonus": choice("vime"),
        "setting": choice("", ("empty",)),
        "values": array(grid(4, seed=91), "rows"),
        "level": number(0.75, low=0.0, high=1.0, beyond=[0.0, 1.0]),
        "statistic": function(np.mean),
        "window": count(2),
        "seed": count(0, 0),
        "x": array(grid(4, seed=92), "rows"),
        "y": array(grid(4, seed=93), "rows"),
    },
    **{
        f"vime_lab.statistics.{name}": {
            "rows": thing(curve_rows, ("dict", "empty"), empty=list)
        }
        for name in ("runs", "seed_table")
    },
    "vime_lab.statistics.interquartile_mean": {
        "values": array(grid(4, seed=91), "rows", legal=("shape: one axis more",)),
        "axis": count(0, 0, ("too few", "negative"), most=0),
    },
    "vime_lab.statistics.bootstrap_interval": {
        "values": array(grid(4, seed=91), "rows", legal=("shape: one axis more",)),
    },
    "vime_lab.statistics.trailing_means": {
        "values": array(
            grid(4, 3, seed=91), "rows", legal=("nan", FEWER, "shape: transposed")
        ),
    },
    "vime_lab.statistics.band": {
        "values": array(
            grid(4, 3, seed=91), "rows", legal=("nan", FEWER, "shape: transposed")
        ),
        "statistic": function(
            lambda rows: np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
        ),
    },
    "vime_lab.rows": {
        "path": choice(curve_file()),
        "columns": thing(lambda: ("bonus", "steps"), ("dict",)),
        "name": choice("steps"),
        "cell": choice("3"),
        "where": choice("row 3"),
    },
    "vime_lab.settings": {
        "env_id": choice("vime_ref/SparseMountainCar-v0", ("text", "empty")),
        "axes": thing(lambda: ("a", "b")),
        "iterations": count(2),
        "policy_sizes": sizes((4,), 0),
        "value_sizes": sizes((4,), 0),
        "observation_scale": numbers((1.0,), above_zero(1.0), ("shape: empty",)),
        "agent": thing(agents.AgentSettings),
        "trpo": thing(lab_settings.TrpoSettings),
        "vime": thing(vime.VimeSettings),
        "reinforce": thing(lab_settings.ReinforceSettings),
        "value_inputs": choice("state"),
        "learner": choice("trpo"),
        "noise": choice("weight"),
        "plain": flag(False),
        "shrink": fraction(0.5),
        "learning_rate": above_zero(0.5),
        "entropy_weight": number(0.5),
        "cells": thing(lambda: ((0.0, 1.0, 2),)),
        "settings": thing(lambda: lab_tasks.TASKS["SparseMountainCar"]),
        "name": choice("agent.eta"),
        "value": number(0.5, low=0.0),
    },
    "vime_lab.tasks": {
        "settings": choice("ours"),
        "task_name": choice("SparseMountainCar"),
        "bonuses": thing(lambda: ["none", "vime"]),
        "seeds": thing(lambda: [0, 1], ("list",)),
        "changes": thing(lambda: [("agent.eta", [0.5, 0.25])]),
        "task": thing(lambda: lab_tasks.TASKS["SparseMountainCar"]),
    },
    "vime_lab.tables": {
        "rows": thing(curve_rows, empty=list),
        "curves": thing(lambda: {"a": curve_rows()}, ("dict", "empty"), empty=dict),
    },
}

# ------------------------------------------------------------ what is left out

SPACES = {"observation_space", "action_space"}
ALSO_NAMED = {  # by argument
    **{"noise": {"eps"}, "env": SPACES, "envs": SPACES},
    # Those of one step.
    **{"observations": {"observation"}, "actions": {"action"}, "rewards": {"reward"}},
    # A file is named itself, and so is the setting that gets a value.
    **{"path": {"read"}, "name": {"setting"}, "value": {"eta"}},
}
METHODS_OF_TASKS = ("reset", "step")
LEFT_OUT = {  # inner functions: their callers have checked
    *(
        f"vime_gym.curiosity.Curiosity.{name}"
        for name in (
            *("rewarded", "gains", "gains_of", "learn", "encoded", "rewards"),
            *("taken", "keep", "add", "follow", "settle", "update", "drop"),
        )
    ),
    *(
        f"vime_gym.wrappers.VectorCuriosityReward.{name}"
        for name in ("singles", "finals", "check_running", "reset")
    ),
    *("vime_gym.curiosity.Curiosity.load", "vime_gym.curiosity.Earned"),
    "vime_gym.wrappers.VectorCuriosityReward.load",
    "vime_gym.vectors.as_vector",  # any number of arguments
    "vime_gym.wrappers.CuriosityReward.reset",  # the environment's own arguments
    *("vime_lecture.densities.ContextTree.log_prob_of",),
    *("vime_lecture.densities.ContextTree.after",),
    *("vime_lecture.densities.ContextTree.log_estimate",),
    *("vime_lecture.densities.ContextTree.path",),
    *("vime_gym.rooms.NumberedTask", "vime_gym.rooms.DrawnTask"),
    *("vime_gym.rooms.free_cells", "vime_gym.rooms.neighbors"),
    *("vime_gym.rooms.enlarged", "vime_gym.labyrinth.windows_of_states"),
    *("vime_gym.tasks.SparseHalfCheetah", "vime_gym.tasks.Walker2D"),  # MuJoCo
    "vime_gym.tasks.mujoco_env",
    *("vime_check.Report", "vime_check.FuzzReport"),
    *("vime_lab.statistics.percentile_interval", "vime_lab.statistics.last_tenth"),
    *("vime_lab.rows.written_rows", "vime_lab.rows.cells", "vime_lab.rows.typed"),
    *("vime_lab.rows.table_bytes", "vime_lab.rows.cell_text"),
    *("vime_lab.settings.setting_names", "vime_lab.settings.settings_of"),
    *("vime_lab.settings.task_from", "vime_lab.settings.settings_from"),
    *("vime_lab.settings.with_tuples", "vime_lab.settings.shared_zeta"),
    *("vime_lab.settings.full_names", "vime_lab.settings.suggestion"),
    *("vime_lab.settings.of_kind", "vime_lab.tasks.swept", "vime_lab.tasks.observed"),
    *("vime_lab.tasks.model_init", "vime_lab.tasks.envs_of", "vime_lab.tasks.grid_of"),
    *("vime_lab.tasks.bonus_init", "vime_lab.tasks.policy_step_of"),
    "vime_lab.tasks.value_step_of",
    "vime_lab.tasks.Uninformed",
    *(
        "vime_lab.tables.bonuses",
        "vime_lab.tables.decided",
        "vime_lab.tables.sooner",
        "vime_lab.tables.compared",
        "vime_lab.tables.with_titles",
    ),
    *("vime_lab.tables.mean_of_medians", "vime_lab.tables.gain_cells"),
    "vime_lab.tables.last_share",
    *("vime_lab.tables.summary_lines", "vime_lab.tables.comparison_lines"),
    *("vime_lab.tables.seeds_counted", "vime_lab.tables.return_columns"),
    *("vime_lab.tables.improvement_cell", "vime_lab.tables.improvement"),
    *("vime_lab.tables.improvements", "vime_lab.tables.first_rewards"),
    *("vime_lab.tables.timing", "vime_lab.tables.times", "vime_lab.tables.with_ends"),
    *("vime_lab.tables.aligned", "vime_lab.tables.ends_cell"),
    "vime_lab.tables.in_columns",
    *("vime_lab.tables.any_late", "vime_lab.tables.earliness"),
}
INSTANCES: dict[str, Make] = {
    "vime_ref.Vime": model,
    "vime_gym.curiosity.Curiosity": begun,
    "vime_gym.wrappers.CuriosityReward": lambda: wrapped(CuriosityReward, Line()),
    "vime_gym.wrappers.VectorCuriosityReward": lambda: wrapped(
        VectorCuriosityReward, SyncVectorEnv([Line])
    ),
    **{
        f"vime_gym.vector_tasks.{name}": functools.partial(vector_of_two, name)
        for name in vector_tasks.__all__
    },
}

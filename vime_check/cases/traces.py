"""Traces: operations with a state, which a script takes through two or three lines.

Each trace is one function of a line: it takes the settings and the state that `reset` gives, and the inputs of
`step`. It returns the outputs of the line and the state after it. All noise, indices and data are inputs. A trace's
mistakes are switches of this function, `made`, so that they compose.

    vime_iterations          the lecture's algorithm: gains, curious rewards, advantages, statistics, training
    replay_pool              the last rows of a stream, and their statistics
    autoreset_transitions    what a vector environment's steps teach
    running_normalizer       mean and variance merged over batches
    filtered_rewards         rewards over the deviation of their discounted sums
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box

import agents_ref as agents
import bnn_ref as bnn
import vime_ref as vime
from bnn_ref import Array, DiagNormal
from vime_check.operations import (
    BOTH,
    ENDS,
    PLACES,
    Case,
    Operation,
    Place,
    Switch,
    arrays,
    numbers,
    with_nan,
)
from vime_check.wire import Inputs, Kinds

# ---------------------------------------------------------------- types

Made = frozenset[str]  # switches of mistakes that are on
Named = dict[str, Any]  # arrays and numbers by name
Line = Callable[..., tuple[Named, Named]]  # to outputs and the next state


class Script(NamedTuple):
    """A run of a trace: what `reset` gets, and the inputs of each line with the mistakes that it must detect."""

    name: str
    comment: str
    reset: Inputs
    steps: list[Inputs]
    flags: list[tuple[str, ...]]


class Trace(NamedTuple):
    """A trace: its line, the names that `reset` gets, and the switches of its mistakes."""

    operation: Operation  # of a line, on the inputs of `reset` and `step` together
    line: Line
    state: tuple[str, ...]
    settings: tuple[str, ...]
    switches: dict[str, tuple[str, ...]]  # of each mistake, one for each variant
    scripts: Callable[[], Iterator[Script]]

    @property
    def name(self) -> str:
        return self.operation.name

    def start(self, *switches: str) -> Running:
        """The trace as an object, with these switches of mistakes on."""
        return Running(partial(self.line, frozenset(switches)))


class Running:
    """A trace that runs: what the checker asks other implementations for."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.given: Named = {}  # settings and state

    def reset(self, **given: Any) -> None:
        self.given = given

    def step(self, **inputs: Any) -> Named:
        outputs, state = self.line(**self.given, **inputs)
        self.given = {**self.given, **state}
        return outputs


TRACES: dict[str, Trace] = {}


def register_trace(
    line: Line,
    scripts: Callable[[], Iterator[Script]],
    bad: Callable[[], Iterator[tuple[str, str, Inputs]]],
    *,
    settings: tuple[str, ...] = (),
    state: tuple[str, ...],
    mistakes: dict[str, tuple[str, ...]],
    measured: tuple[float, float],
    kinds: Kinds | None = None,
    fields: type[tuple[Any, ...]] | None = None,
) -> None:
    """Register a line's function as a trace.

    scripts: the runs, whose lines are the cases.
    bad: name, reason and changes of invalid first lines of the first script.
    mistakes: the switches of each mistake, one for each variant.
    fields: the NamedTuple of a line's inputs; by default they are the function's keywords.
    """
    name = line.__name__
    inputs = [*inspect.signature(fields or line).parameters.values()]
    inputs = [each for each in inputs if each.name != "made"]

    def function(made: Made = frozenset(), **given: Any) -> Named:
        return line(made, **given)[0]

    def cases() -> Iterator[Case]:
        for script in scripts():
            yield from cases_of_script(line, script, state)
        yield from bad_cases(next(scripts()), bad())

    # An operation of its own kind, with its mistakes.
    vars(function)["__signature__"] = inspect.Signature(inputs)
    about = Operation(
        name, "traces", "arraywise", function, cases, measured, kinds or {}
    )
    about = about._replace(resets=frozenset([*settings, *state]))
    TRACES[name] = Trace(about, line, state, settings, mistakes, scripts)
    PLACES[name] = Place(function, mistakes=dict(switches_of_mistakes(mistakes)))


def switches_of_mistakes(
    mistakes: dict[str, tuple[str, ...]],
) -> Iterator[tuple[Switch, Callable[..., Named]]]:
    """Each variant of each mistake, with the function that makes it."""
    for flag, switches in mistakes.items():
        for number, switch in enumerate(switches):
            variant = Switch(flag, str(number) if number else "")
            yield variant, partial(switched_on, switch)


def switched_on(switch: str, right: Callable[..., Named], given: Inputs) -> Named:
    """The outputs with one more mistake."""
    made = given.get("made", frozenset()) | {switch}
    return right(**{**given, "made": made})


def bad_cases(script: Script, bad: Iterator[tuple[str, str, Inputs]]) -> Iterator[Case]:
    """The script's first line with each invalid change."""
    given = script.reset | script.steps[0]
    for probe, why, changes in bad:
        comment = f"Must be rejected: {why}."
        yield Case(probe, comment, arrays(given | changes), why=why, line=1)


def cases_of_script(
    line: Line, script: Script, state: tuple[str, ...]
) -> Iterator[Case]:
    """A case for each line, from the right state before it."""
    reset = arrays(script.reset)
    for number, (step, flags) in enumerate(zip(script.steps, script.flags), 1):
        given = reset | arrays(step)
        probe = f"{script.name}.{number}"
        comment = f"{script.comment} Line {number}."
        yield Case(probe, comment, given, flags, BOTH, line=number)
        _, after = line(frozenset(), **given)
        assert set(after) == set(state)
        reset = reset | after


# ---------------------------------------------------------------- the lecture's algorithm


Rows = tuple[Array, Array, Array]  # observations, actions, next observations


class Iteration(NamedTuple):
    """The arguments of `vime_iterations`: the settings, the model's state and gains so far, and the line's inputs."""

    layer_sizes: bnn.Sizes
    likelihood_sigma: float
    prior_mu: Array  # (D,)
    prior_rho: Array  # (D,)
    num_data: float
    step_size: float
    learning_rate: float
    window: int
    eta: float
    gamma: float
    lam: float

    mu: Array  # (D,)
    rho: Array  # (D,)
    adam_mean: Array  # (2D,)
    adam_square: Array  # (2D,)
    adam_steps: int
    pool_observations: Array  # (R, K)
    pool_actions: Array  # (R, A)
    pool_next_observations: Array  # (R, K)
    center: Array  # (K + A,)
    scale: Array  # (K + A,)
    history: Array  # (lines,) medians

    observations: Array  # (N, K)
    actions: Array  # (N, A)
    rewards: Array  # (N,)
    next_observations: Array  # (N, K)
    terminated: Array  # (N,)
    truncated: Array  # (N,)
    values: Array  # (N,)
    next_values: Array  # (N,)
    eps: Array  # (S, D)
    rows: Array  # (U, B)
    fit_eps: Array  # (U, S, D)


def vime_iterations(made: Made, **inputs: Any) -> tuple[Named, Named]:
    """One iteration: reward the batch, give the policy its advantages, then train the model.

    The statistics are refreshed before the training, and serve the gains of the next line.
    """
    given = Iteration(**inputs)
    before = model_before(given)
    batch = (given.observations, given.actions, given.next_observations)
    noise = (given.rows, given.fit_eps)

    # Reward.
    early = "TrainedBeforeRewarded" in made
    rewarded = trained(made, before, batch, *noise) if early else before
    if "RefreshedEarly" in made and not early:
        rewarded = refreshed(before, batch)
    gains, left = batch_gains(made, rewarded, batch, given.eps)
    normalized, history = vime.normalize_gains(
        gains, given.history.tolist(), window=given.window
    )
    curious = vime.curious_rewards(given.rewards, normalized, given.eta)

    # Policy.
    values = (given.values, given.next_values)
    ends = (given.terminated, given.truncated)
    advantages = agents.gae_advantages(
        curious, *values, *ends, gamma=given.gamma, lam=given.lam
    )

    # Model.
    kept = replace(before, q=left.q, adam=left.adam)
    after = left if early else trained(made, kept, batch, *noise)
    state = state_after(after, history)
    outputs = {
        "gains": gains,
        "divisor": vime.mean_of(history) or 1.0,
        "curious_rewards": curious,
        "advantages": advantages,
    }
    shown = ("center", "scale", "mu", "rho", "history")
    return outputs | {name: state[name] for name in shown}, state


def model_before(given: Iteration) -> vime.Vime:
    """The model before the batch; its pool has room for the batch."""
    # The pool.
    pool = (given.pool_observations, given.pool_actions, given.pool_next_observations)
    size = len(given.pool_observations) + len(given.observations)
    space = Box(-np.inf, np.inf, (given.pool_actions.shape[1],), np.float64)

    # The posterior, and how it is trained.
    sizes = bnn.check_sizes(given.layer_sizes)
    settings = vime.VimeSettings(
        hidden_sizes=sizes[1:-1],
        likelihood_sigma=given.likelihood_sigma,
        num_data=given.num_data,
        step_size=given.step_size,
        learning_rate=given.learning_rate,
        capacity=size,
        min_rows=1,
        method="exact",
    )
    q = DiagNormal(given.mu, given.rho)
    bnn.check_posterior("q", q, sizes)
    return vime.Vime(
        settings,
        space,
        q,
        DiagNormal(given.prior_mu, given.prior_rho),
        bnn.AdamState(given.adam_mean, given.adam_square, given.adam_steps),
        vime.ReplayPool(size, *pool),
        given.center,
        given.scale,
    )


def state_after(model: vime.Vime, history: Sequence[float]) -> Named:
    """The state of the next line."""
    return {
        "mu": model.q.mu,
        "rho": model.q.rho,
        "adam_mean": model.adam.mean,
        "adam_square": model.adam.square,
        "adam_steps": model.adam.num_steps,
        **{f"pool_{name}": getattr(model.pool, name) for name in vime.COLUMNS},
        "center": model.center,
        "scale": model.scale,
        "history": np.array(history),
    }


def batch_gains(
    made: Made, model: vime.Vime, batch: Rows, eps: Array
) -> tuple[Array, vime.Vime]:
    """The exact gain of each row, and the model that they leave behind: unchanged, except by mistakes."""
    inputs, targets = model.normalized(*batch)
    settings = model.model
    step_size = model.settings.step_size
    if not made & {
        "StateNotRestored",
        "RowNotRestored",
        "LeakyOptimiser",
        "AliasedOld",
    }:
        gains = vime.information_gains(
            model.q,
            inputs,
            targets,
            eps,
            step_size=step_size,
            method="exact",
            **settings,
        )
        return gains, model

    # Row by row, with the mistakes.
    gains = np.zeros(len(inputs))
    left = model
    for n in range(len(inputs)):
        row = (inputs[n : n + 1], targets[n : n + 1], eps)
        new = vime.posterior_step(left.q, *row, step_size=step_size, **settings)
        gains[n] = vime.information_gain(new, left.q)
        if "LeakyOptimiser" in made:
            left = replace(left, adam=leaked(left, row))
        if made & {"StateNotRestored", "RowNotRestored"}:
            left = replace(left, q=new)
    if "AliasedOld" in made:
        gains = np.zeros(len(inputs))
    return gains, replace(left, q=model.q) if "RowNotRestored" in made else left


def leaked(model: vime.Vime, row: Rows) -> bnn.AdamState:
    """Adam's state after it has also seen the gradient of a row that was only rewarded."""
    gradient = np.concatenate(
        vime.transition_loss_grad(model.q, model.q, *row, **model.model)
    )
    rate = model.settings.learning_rate
    return bnn.adam_step(0.0 * gradient, gradient, model.adam, learning_rate=rate)[1]


def refreshed(model: vime.Vime, batch: Rows) -> vime.Vime:
    """The model with the statistics of the pool and the batch."""
    pool = model.pool.extend(*batch)
    center, scale = vime.pool_statistics(pool, model.action_space)
    return replace(model, center=center, scale=scale)


def trained(
    made: Made,
    model: vime.Vime,
    batch: Rows,
    rows: Array,
    fit_eps: Array,
) -> vime.Vime:
    """`Vime.update` with given minibatches (U, B) and noise (U, S, D)."""
    # Statistics before the fit.
    new = refreshed(model, batch)
    new = replace(new, pool=model.pool.extend(*batch))
    used = model if "RefreshedLate" in made else new
    inputs, targets = used.normalized(*new.pool.columns)

    # The fit: an Adam step for each minibatch, from the state of the iteration before.
    phi = np.concatenate([model.q.mu, model.q.rho])  # (2D,)
    adam = bnn.adam_init(len(phi)) if "AdamRestarted" in made else model.adam
    num_data = model.settings.num_data
    assert num_data is not None
    indices = vime.check_indices("rows", rows, len(inputs))
    for chosen, eps in zip(indices, fit_eps, strict=True):
        q = DiagNormal(*np.split(phi, 2))
        minibatch = (inputs[chosen], targets[chosen], eps)
        slope = np.concatenate(
            bnn.elbo_grad(q, model.prior, *minibatch, num_data=num_data, **model.model)
        )
        rate = model.settings.learning_rate
        phi, adam = bnn.adam_step(phi, -slope, adam, learning_rate=rate)
    return replace(new, q=DiagNormal(*np.split(phi, 2)), adam=adam)


def iterations() -> Iterator[Script]:
    """Three iterations of six rows; the pool begins with five."""
    sizes = np.array([3, 4, 2])
    size = 26  # (3 + 1) * 4 + (4 + 1) * 2
    started = numbers(5, 5, seed=1)
    rows = started[:, :3]
    reset = {
        "layer_sizes": sizes,
        "likelihood_sigma": 0.75,
        "prior_mu": numbers(size, seed=2) / 8,
        "prior_rho": numbers(size, seed=3) / 4,
        "num_data": 20.0,
        "step_size": 0.125,
        "learning_rate": 0.0625,
        "window": 2,
        "eta": 0.5,
        "gamma": 0.875,
        "lam": 0.75,
        "mu": numbers(size, seed=4) / 2,
        "rho": numbers(size, seed=5) / 4 - 1.0,
        "adam_mean": np.zeros(2 * size),
        "adam_square": np.zeros(2 * size),
        "adam_steps": 0,
        "pool_observations": started[:, :2],
        "pool_actions": started[:, 2:3],
        "pool_next_observations": started[:, 3:],
        "center": rows.mean(axis=0),
        "scale": (rows.max(axis=0) - rows.min(axis=0)) / 2,
        "history": np.array([0.25]),
    }
    steps = [iteration(line, size) for line in (1, 2, 3)]
    first = (
        *("TrainedBeforeRewarded", "WrongMoment", "StateNotRestored"),
        *("LeakyOptimiser", "AliasedOld"),
    )
    flags = [first, (*first, "AdamRestarted"), (*first, "AdamRestarted")]
    yield Script("three", "Reward, then policy, then model.", reset, steps, flags)


def iteration(line: int, size: int) -> Inputs:
    """Six rows that grow from line to line, with two minibatches of seven rows; the last row is cut."""
    seed = 10 * line
    batch = line * numbers(6, 5, seed=seed)
    values = numbers(7, seed=seed + 1)
    pool_size = 5 + 6 * line
    return {
        "observations": batch[:, :2],
        "actions": batch[:, 2:3],
        "rewards": numbers(6, seed=seed + 2),
        "next_observations": batch[:, 3:],
        "terminated": (False, line == 2, False, False, False, False),
        "truncated": (False, False, False, line == 3, False, True),
        "values": values[:6],
        "next_values": values[1:],
        "eps": numbers(3, size, seed=seed + 3),
        "rows": np.arange(14).reshape(2, 7) * (2 * line + 1) % pool_size,
        "fit_eps": numbers(2, 3, size, seed=seed + 4),
    }


def bad_iterations() -> Iterator[tuple[str, str, Inputs]]:
    (script,) = iterations()
    rewards = script.steps[0]["rewards"]
    observations = script.steps[0]["observations"]
    yield "nan", "a reward is not a number", {"rewards": with_nan(rewards)}
    yield "short", "a row is missing", {"observations": observations[:2]}


register_trace(
    vime_iterations,
    iterations,
    bad_iterations,
    settings=(
        *("layer_sizes", "likelihood_sigma", "prior_mu", "prior_rho", "num_data"),
        *("step_size", "learning_rate", "window", "eta", "gamma", "lam"),
    ),
    state=(
        *("mu", "rho", "adam_mean", "adam_square", "adam_steps"),
        *("pool_observations", "pool_actions", "pool_next_observations"),
        *("center", "scale", "history"),
    ),
    mistakes={
        "TrainedBeforeRewarded": ("TrainedBeforeRewarded",),
        "WrongMoment": ("RefreshedEarly", "RefreshedLate"),
        "StateNotRestored": ("StateNotRestored", "RowNotRestored"),
        "LeakyOptimiser": ("LeakyOptimiser",),
        "AdamRestarted": ("AdamRestarted",),
        "AliasedOld": ("AliasedOld",),
    },
    measured=(1.1e-15, 5.1e-07),
    kinds={"layer_sizes": "wholes", "rows": "wholes", **ENDS},
    fields=Iteration,
)

# ---------------------------------------------------------------- the pool


def replay_pool(
    made: Made,
    *,
    capacity: int,
    pool_observations: Array,
    pool_actions: Array,
    pool_next_observations: Array,
    observations: Array,
    actions: Array,
    next_observations: Array,
    rows: Array,
) -> tuple[Named, Named]:
    """The rows (B,) of the pool after the batch, counted from the oldest, and the pool's statistics."""
    start = (pool_observations, pool_actions, pool_next_observations)
    pool = vime.ReplayPool(capacity, *start)
    pool = pool.extend(observations, actions, next_observations)
    state = {f"pool_{name}": getattr(pool, name) for name in vime.COLUMNS}

    # What is read from the pool.
    read = dict(zip(vime.COLUMNS, pool.columns))
    if "RingSeam" in made:
        # The next observation is in the next slot, which after the newest row holds the oldest.
        read["next_observations"] = np.roll(pool.observations, -1, axis=0)
    indices = vime.check_indices("rows", rows, len(pool))
    chosen = {name: values[indices] for name, values in read.items()}
    space = Box(-np.inf, np.inf, (pool.actions.shape[1],), np.float64)
    center, scale = vime.pool_statistics(pool, space)
    if "SampleVariance" in made:
        scale = scale * np.sqrt(len(pool) / (len(pool) - 1))
    return {**chosen, "center": center, "scale": scale}, state


def pools() -> Iterator[Script]:
    """One long episode of which the pool holds the last five steps."""
    walk = numbers(11, 2, seed=31)
    actions = numbers(10, 1, seed=32)

    def part(first: int, end: int, prefix: str = "") -> Inputs:
        return {
            f"{prefix}observations": walk[first:end],
            f"{prefix}actions": actions[first:end],
            f"{prefix}next_observations": walk[first + 1 : end + 1],
        }

    reset = {"capacity": 5, **part(0, 2, "pool_")}
    steps = [
        part(2, 4) | {"rows": np.array([0, 3, 1])},
        part(4, 7) | {"rows": np.array([4, 0, 2, 4])},
        part(7, 10) | {"rows": np.array([1, 4, 3])},
    ]
    flags = ("RingSeam", "SampleVariance")
    yield Script("five", "The oldest rows go first.", reset, steps, [flags] * 3)


def bad_pools() -> Iterator[tuple[str, str, Inputs]]:
    yield "nowhere", "there is no fifth row yet", {"rows": (0, 4)}
    yield "full", "the capacity is 0", {"capacity": 0}


register_trace(
    replay_pool,
    pools,
    bad_pools,
    settings=("capacity",),
    state=("pool_observations", "pool_actions", "pool_next_observations"),
    mistakes={"RingSeam": ("RingSeam",), "SampleVariance": ("SampleVariance",)},
    measured=(2.0e-16, 4.9e-08),
    kinds={"rows": "wholes"},
)

# ---------------------------------------------------------------- autoreset

MODES = ("next_step", "same_step")


def autoreset_transitions(
    made: Made,
    *,
    mode: str,
    last_observations: Array,
    ended: Array,
    actions: Array,
    observations: Array,
    final_observations: Array,
    terminated: Array,
    truncated: Array,
) -> tuple[Named, Named]:
    """The transitions in one step of E environments, in their order.

    next_step: the step after the end of an episode only resets, so it is no transition.
    same_step: the step that ends an episode returns the next one's first observation; the true one is in
    `final_observations`.
    """
    # Agreeing rows.
    bnn.check_choice("mode", mode, MODES)
    last = bnn.check_array("last_observations", last_observations, (None, None))
    num = (len(last),)
    actions = bnn.check_array("actions", actions, (*num, None))
    observations = bnn.check_array("observations", observations, last.shape)
    final = bnn.check_array("final_observations", final_observations, last.shape)
    before = bnn.check_flags("ended", ended, num)
    terminal = bnn.check_flags("terminated", terminated, num)
    now = np.logical_or(terminal, bnn.check_flags("truncated", truncated, num))

    # Which steps are transitions, and where they end.
    learned = np.ones(num, dtype=bool)
    reached = observations
    if mode == "next_step":
        learned = np.logical_not(before)
    elif "CrossEpisode" not in made:
        reached = np.where(now[:, None], final, observations)  # (E, K)
    if "ResetStepLearned" in made:
        learned = np.ones(num, dtype=bool)
    if "MaskShifted" in made and mode == "next_step":
        learned = np.logical_not(now)

    outputs = {
        "learned": learned.astype(float),
        "observations": last[learned],
        "actions": actions[learned],
        "next_observations": reached[learned],
    }
    return outputs, {"last_observations": observations, "ended": now}


def autoresets() -> Iterator[Script]:
    """Three environments; the second one ends in the first line."""
    ends = [
        ((False, True, False), (False, False, False)),
        ((False, False, False), (True, False, False)),
        ((False, False, True), (False, False, False)),
    ]
    steps = [
        {
            "actions": numbers(3, 1, seed=40 + line),
            "observations": numbers(3, 2, seed=50 + line),
            "final_observations": numbers(3, 2, seed=60 + line),
            "terminated": terminated,
            "truncated": truncated,
        }
        for line, (terminated, truncated) in enumerate(ends)
    ]
    start = {
        "last_observations": numbers(3, 2, seed=70),
        "ended": (False, False, False),
    }
    late = ("ResetStepLearned",)
    about = "The step after an end only resets."
    reset = {"mode": "next_step", **start}
    yield Script("next-step", about, reset, steps, [(), late, late])
    about = "The true last observation is the final one."
    reset = {"mode": "same_step", **start}
    yield Script("same-step", about, reset, steps, [("CrossEpisode",)] * 3)


def bad_autoresets() -> Iterator[tuple[str, str, Inputs]]:
    yield "mode", "there is no such mode", {"mode": "never"}
    yield "short", "an environment is missing", {"actions": numbers(2, 1, seed=40)}


register_trace(
    autoreset_transitions,
    autoresets,
    bad_autoresets,
    settings=("mode",),
    state=("last_observations", "ended"),
    mistakes={
        "ResetStepLearned": ("ResetStepLearned", "MaskShifted"),
        "CrossEpisode": ("CrossEpisode",),
    },
    measured=(0.0, 0.0),
    kinds={"ended": "flags", **ENDS},
)

# ---------------------------------------------------------------- running statistics


def merged(
    made: Made, mean: Array, variance: Array, count: float, rows: Array
) -> tuple[Array, Array, float]:
    """Mean, population variance and number of the rows so far and these, (N, ...)."""
    # Of these rows.
    size = len(rows)
    own_mean = rows.mean(axis=0)
    own_variance = rows.var(axis=0, ddof=int("SampleVariance" in made))

    # Of all: each part's variance, and what the means are apart.
    total = count + size
    shift = own_mean - mean
    apart = shift**2 * count * size / total**2
    if "ForgottenShift" in made:
        apart = 0.0 * apart
    inside = (variance * count + own_variance * size) / total
    return mean + shift * size / total, inside + apart, total


def running_normalizer(
    made: Made, *, mean: Array, variance: Array, count: float, rows: Array
) -> tuple[Named, Named]:
    """The rows (N, K) over mean and deviation of all rows so far, these included."""
    rows = bnn.check_array("rows", rows, (None, None))
    bnn.check_count("number of rows", len(rows))
    mean = bnn.check_array("mean", mean, rows.shape[1:])
    variance = bnn.check_positive("variance", variance, mean.shape)
    before = (mean, variance)
    size = bnn.check_not_negative("count", count)
    after = merged(made, *before, size, rows)
    center, square, _ = (*before, size) if "WrongMoment" in made else after
    normalized = (rows - center) / np.sqrt(square)
    state = dict(zip(("mean", "variance", "count"), after))
    return {"normalized": normalized, **state}, state


def normalizers() -> Iterator[Script]:
    """Batches of two, three and four rows, each farther away."""
    reset = {"mean": (0.0, 0.0), "variance": (1.0, 1.0), "count": 0.5}
    steps = [
        {"rows": numbers(2, 2, seed=81) + 1.0},
        {"rows": numbers(3, 2, seed=82) + 2.0},
        {"rows": numbers(4, 2, seed=83) - 5.0},
    ]
    flags = ("SampleVariance", "ForgottenShift", "WrongMoment")
    about = "Merged statistics are those of all rows."
    yield Script("three", about, reset, steps, [flags] * 3)


def bad_normalizers() -> Iterator[tuple[str, str, Inputs]]:
    (script,) = normalizers()
    rows = script.steps[0]["rows"]
    yield "nan", "a row is not finite", {"rows": with_nan(rows)}
    yield "none", "the variance is negative", {"variance": (1.0, -1.0)}


register_trace(
    running_normalizer,
    normalizers,
    bad_normalizers,
    state=("mean", "variance", "count"),
    mistakes={
        "SampleVariance": ("SampleVariance",),
        "ForgottenShift": ("ForgottenShift",),
        "WrongMoment": ("WrongMoment",),
    },
    measured=(3.7e-16, 1.5e-07),
)

# ---------------------------------------------------------------- filtered rewards


def filtered_rewards(
    made: Made,
    *,
    gamma: float,
    sums: Array,
    mean: float,
    variance: float,
    count: float,
    rewards: Array,
) -> tuple[Named, Named]:
    """Rewards (T, E) over the deviation of their discounted sums, which run forward in time.

    u_t = γ u_{t−1} + r_t in each environment, across the ends of episodes and batches. The variance is that of all
    sums so far, these included.
    """
    rewards = bnn.check_array("rewards", rewards, (None, len(sums)))
    bnn.check_count("number of rewards", rewards.size)
    sums = bnn.check_array("sums", sums, (None,))
    gamma = bnn.check_number("gamma", gamma, 0.0, 1.0)
    bnn.check_positive("variance", variance, ())
    bnn.check_number("mean", mean)
    bnn.check_not_negative("count", count)

    # The sums, in each environment.
    start = 0.0 * sums if "FilterRestarted" in made else sums
    filtered = discounted_sums(rewards, start, gamma)  # (T, E)
    if "FilterAxis" in made:
        filtered = discounted_sums(rewards.T, np.zeros(len(rewards)), gamma).T

    # Their variance over all so far.
    so_far = (np.array(mean), np.array(variance), float(count))
    after = merged(made, *so_far, filtered.ravel())
    scaled = filtered if "SumReplacesBonus" in made else rewards
    if "MeanSubtracted" in made:
        scaled = scaled - after[0]
    outputs = {
        "sums": filtered,
        "variance": after[1],
        "normalized": scaled / np.sqrt(after[1]),
    }
    state = dict(zip(("mean", "variance", "count"), after))
    return outputs, {"sums": filtered[-1], **state}


def discounted_sums(rewards: Array, start: Array, gamma: float) -> Array:
    """u_t = γ u_{t−1} + r_t along the first axis."""
    sums = []
    for reward in rewards:
        start = gamma * start + reward
        sums.append(start)
    return np.array(sums)


def filters() -> Iterator[Script]:
    """Three environments, batches of four and two steps."""
    reset = {
        "gamma": 0.75,
        "sums": (0.0, 0.0, 0.0),
        "mean": 0.0,
        "variance": 1.0,
        "count": 0.5,
    }
    steps = [
        {"rewards": numbers(4, 3, seed=91) + 1.0},
        {"rewards": numbers(2, 3, seed=92) + 3.0},
        {"rewards": numbers(4, 3, seed=93)},
    ]
    first = ("FilterAxis", "SumReplacesBonus", "SampleVariance", "MeanSubtracted")
    flags = [first, (*first, "FilterRestarted"), (*first, "FilterRestarted")]
    about = "Sums run along time in each environment."
    yield Script("three", about, reset, steps, flags)


def bad_filters() -> Iterator[tuple[str, str, Inputs]]:
    (script,) = filters()
    rewards = script.steps[0]["rewards"]
    yield "nan", "a reward is not finite", {"rewards": with_nan(rewards)}
    yield "gamma", "γ is above 1", {"gamma": 1.5}


register_trace(
    filtered_rewards,
    filters,
    bad_filters,
    settings=("gamma",),
    state=("sums", "mean", "variance", "count"),
    mistakes={
        "FilterAxis": ("FilterAxis",),
        "FilterRestarted": ("FilterRestarted",),
        "SumReplacesBonus": ("SumReplacesBonus",),
        "SampleVariance": ("SampleVariance",),
        "MeanSubtracted": ("MeanSubtracted",),
    },
    measured=(1.7e-16, 6.2e-08),
)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

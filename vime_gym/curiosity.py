"""Curious rewards step by step: what the wrappers for Gymnasium and other libraries share.

    r̃ = r + η·gain/divisor

A learner wants each reward at once, so the divisor is that of the batches completed
before. After `update_every` transitions, the bonus learns from them as one batch.

Axes: n environments, N transitions, K observation dimensions, A action dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agents_ref import check_fraction, check_methods, checked
from bnn_ref import (
    Array,
    check_array,
    check_count,
    check_flag,
    check_flags,
    check_kind,
    check_not_negative,
    check_shape,
)
from vime_gym.state_files import load_state, save_state
from vime_gym.vectors import (
    Encode,
    Observations,
    action_encoder,
    generator,
    observation_encoder,
    spaces_of,
    vime_for,
)
from vime_ref import Batch, Bonus, Vime, action_size, curious_rewards, normalize_gains

Mask = NDArray[np.bool_]

# ---------------------------------------------------------------- types


class Earned(NamedTuple):
    """A step's rewards in each environment, (n,); 0 where there is no transition."""

    rewards: Array  # r̃; where there is no transition, the environment's reward
    extrinsic: Array  # r
    intrinsic: Array  # η·gain/divisor
    gains: Array  # raw: in nats for `Vime`
    took: Mask  # where there is a transition


class Transitions(NamedTuple):
    """Transitions in time order."""

    env: NDArray[np.int64]  # (N,) the environment of each
    observations: Array  # (N, K)
    actions: Array  # (N, A), or (N,) indices
    rewards: Array  # (N,)
    next_observations: Array  # (N, K)
    terminated: Mask  # (N,)
    truncated: Mask  # (N,)
    gains: Array  # (N,)


class State(NamedTuple):
    """Everything that the next rewards and updates depend on."""

    bonus: Any
    history: tuple[float, ...]  # of `normalize_gains`
    pending: Transitions  # transitions since the last update
    returns: Array  # (n,) of the running episodes
    peak: float  # the largest |return| so far
    steps: int
    model: Generator
    replay: Generator


# ---------------------------------------------------------------- rewards


class Curiosity:
    """A bonus at work in n environments.

    `begin` takes the first observations of episodes. For each step, `actions` encodes
    the actions and `earn` takes what followed.

    eta: weight of the normalized gain.
    share: instead of eta, sets η = share·(1 − γ)·G. G is the largest absolute discounted
    return of the task's rewards so far, or 1 before the first reward. So a gain at the
    divisor in every step is worth the share of G.
    update_every: transitions, of all environments together, before the bonus learns.
    normalize: False for a bonus that is a ready reward, such as a count.
    Raises ValueError, naming the step, on a number that is not finite.
    """

    def __init__(
        self,
        env: Any,
        num_envs: int = 1,
        bonus: Bonus | None = None,
        *,
        eta: float | None = None,
        share: float | None = None,
        gamma: float = 0.99,
        update_every: int | None = None,
        normalize: bool = True,
        encode: Encode | None = None,
        seed: int | None = None,
    ) -> None:
        # What the rewards are.
        check_weights(eta, share, gamma)
        self.eta = eta
        self.share = share
        self.gamma = gamma
        self.update_every = check_update_every(update_every)
        self.normalize = check_flag("normalize", normalize)

        # What the bonus sees.
        observation_space, action_space = spaces_of(env)
        self.seen = observation_encoder(observation_space, encode)
        self.acted = action_encoder(action_space)
        self.num_envs = check_count("num_envs", num_envs)
        self.model, self.replay = generator("seed", seed).spawn(2)
        if bonus is None:
            bonus = vime_for(env, encode=encode, seed=seed)
        self.bonus = check_fits(bonus, self.seen.size, self.acted.space)
        self.first = self.bonus  # files are loaded into it

        # What happened so far: nothing.
        self.history: tuple[float, ...] = ()
        self.rollout: list[Transitions] = []  # to be rewarded
        self.pending: list[Transitions] = []  # rewarded, to learn from
        self.num_pending = 0
        self.returns = np.zeros(num_envs)
        self.peak = 0.0
        self.steps = 0
        self.observations = np.zeros((num_envs, self.seen.size))  # (n, K)
        self.running = np.zeros(num_envs, bool)

    def begin(self, observations: Observations, which: Mask | None = None) -> None:
        """Start episodes, in all environments or `which` of them.

        Episodes that did not terminate there are truncated.
        """
        given = np.ones(self.num_envs) if which is None else which
        begun = check_flags("which", given, (self.num_envs,)).astype(bool)
        first = self.encoded(observations)
        blocks = [*self.pending, *self.rollout]
        truncate_last(blocks, np.flatnonzero(begun))
        self.observations = np.where(begun[:, None], first, self.observations)
        self.returns[begun] = 0.0
        self.running[begun] = True

    def at(self, observations: Observations) -> bool:
        """Whether episodes run in all environments, and are at these observations."""
        same = np.array_equal(self.encoded(observations), self.observations)
        return same and bool(self.running.all())

    def encoded(self, observations: Observations) -> Array:
        """Observations of all environments, (n, K)."""
        rows = self.seen.rows(observations, self.steps)
        check_shape("observations", rows, (self.num_envs, self.seen.size))
        return rows

    def actions(self, actions: Any) -> Array:
        """Actions as the bonus takes them, (n, A) or (n,)."""
        rows = self.acted.rows(actions, self.steps)
        check_shape("actions", rows, (self.num_envs, *rows.shape[1:]))
        return rows

    def earn(
        self,
        actions: Array,
        rewards: Any,
        observations: Observations,
        terminated: Any,
        truncated: Any,
        *,
        finals: Mapping[int, Any] | None = None,
    ) -> Earned:
        """The curious rewards of a step; the bonus may learn after it.

        actions: those of `actions`, from before the step.
        finals: the last observation of each episode that ended and was reset within
        the step, by environment. `observations` then holds the next episode's first.
        Where no episode is running, the step is a reset: it starts one.
        """
        extrinsic = self.rewards(rewards)
        rows, took = self.taken(
            actions, extrinsic, observations, terminated, truncated, finals=finals
        )
        earned = self.rewarded(rows, extrinsic, took)
        self.steps += 1
        if self.num_pending >= self.update_every:
            self.learn()
        return earned

    def taken(
        self,
        actions: Array,
        extrinsic: Array,
        observations: Observations,
        terminated: Any,
        truncated: Any,
        *,
        finals: Mapping[int, Any] | None = None,
    ) -> tuple[Transitions, Mask]:
        """The transitions of a step, and where there is one; the arguments of `earn`."""
        # What was done, and what followed.
        actions = check_array("actions", actions)
        check_shape("actions", actions, (self.num_envs, *actions.shape[1:]))
        terminated = check_flags("terminated", terminated, (self.num_envs,))
        truncated = check_flags("truncated", truncated, (self.num_envs,))
        following = self.encoded(observations)
        true_next = following.copy()
        resumed = np.zeros(self.num_envs, bool)
        finals = {} if finals is None else finals
        check_kind("finals", finals, Mapping)
        for place, last in finals.items():
            true_next[place] = self.seen.rows([last], self.steps)[0]
            resumed[place] = True

        # The transitions.
        took = self.running
        env = np.flatnonzero(took)
        before = (self.observations, actions, extrinsic)
        columns = (*before, true_next, terminated, truncated)
        taken = [each[took] for each in columns]
        rows = Transitions._make([env, *taken, np.zeros(len(env))])

        # The next step.
        over = took & np.logical_or(terminated, truncated)
        self.follow(rows, over)
        self.running = ~over | resumed
        self.observations = following
        return rows, took

    def rewards(self, rewards: Any) -> Array:
        """The environments' rewards (n,); each may be an array of one number."""
        array = checked(rewards, "reward", self.steps)
        if array.ndim and array.size == len(array):
            array = array.reshape(-1)  # (n,)
        check_shape("rewards", array, (self.num_envs,))
        return array

    def rewarded(self, rows: Transitions, extrinsic: Array, took: Mask) -> Earned:
        """The rewards of all environments, given the rows of those that took a step."""
        # Without a transition, the environment's reward.
        gains, intrinsic, rewards = np.zeros((3, self.num_envs))
        rewards[:] = extrinsic

        # With one, the curious reward.
        if len(rows.env):
            raw = self.gains(rows)
            normalized = raw
            if self.normalize:
                normalized, _ = normalize_gains(
                    raw, self.history, include_current=False
                )
            gains[took] = raw
            intrinsic[took] = self.weight * normalized
            rewards[took] = curious_rewards(rows.rewards, normalized, self.weight)
            self.add(rows._replace(gains=raw))
        return Earned(rewards, extrinsic, intrinsic, gains, took)

    def gains(self, rows: Transitions) -> Array:
        """Raw gains (N,) of rows of one step, each truncated unless it terminated."""
        return self.gains_of(rows._replace(truncated=~rows.terminated))

    def gains_of(self, rows: Transitions) -> Array:
        """Raw gains (N,) of rows in the order of `Batch`."""
        gains = checked(
            self.bonus.reward(as_batch(rows), self.model), "gain", self.steps
        )
        check_shape("gains", gains, (len(rows.env),))
        return gains

    def add(self, rows: Transitions) -> None:
        """Transitions of one step, to learn from later."""
        self.pending.append(rows)
        self.num_pending += len(rows.env)

    def follow(self, rows: Transitions, over: Mask) -> None:
        """Discounted returns of the running episodes, and the largest so far."""
        self.returns[rows.env] = self.gamma * self.returns[rows.env] + rows.rewards
        self.peak = max(self.peak, float(np.max(np.abs(self.returns))))
        self.returns[over] = 0.0

    @property
    def weight(self) -> float:
        """η, after the rewards so far."""
        if self.share is None:
            assert self.eta is not None
            return self.eta
        return self.share * (1.0 - self.gamma) * (self.peak or 1.0)

    def learn(self) -> None:
        """Let the bonus learn from the transitions since the last time."""
        rows = all_rows(self.pending)
        if self.normalize:
            _, self.history = normalize_gains(rows.gains, self.history)
        self.update(ordered_by_env(rows))

    def keep(
        self,
        actions: Array,
        rewards: Any,
        observations: Observations,
        terminated: Any,
        truncated: Any,
        *,
        finals: Mapping[int, Any] | None = None,
    ) -> None:
        """Keep the transitions of a step until `settle`; the arguments of `earn`."""
        extrinsic = self.rewards(rewards)
        rows, _ = self.taken(
            actions, extrinsic, observations, terminated, truncated, finals=finals
        )
        self.rollout.append(rows)
        self.steps += 1

    def drop(self) -> None:
        """Forget the transitions kept since `settle`; the rows before them are truncated."""
        if self.rollout:
            truncate_last(self.pending, np.arange(self.num_envs))
        self.rollout = []

    def settle(self) -> tuple[Array, Array]:
        """Normalized and raw gains (N,) of a rollout; then the bonus may learn.

        As the lecture's algorithm has it: the same posterior gives all gains, and the
        divisor includes them.
        """
        kept = all_rows(self.rollout)
        self.rollout = []

        # Gains in the order of `Batch`, then back in time order.
        order = np.argsort(kept.env, kind="stable")
        gains = np.empty(len(order))
        gains[order] = self.gains_of(ordered_by_env(kept))
        self.add(kept._replace(gains=gains))

        # The divisor is that of the whole batch so far.
        normalized = gains
        if self.normalize:
            batch = np.concatenate([rows.gains for rows in self.pending])  # (N,)
            normalized = normalize_gains(batch, self.history)[0][-len(gains) :]
        if self.num_pending >= self.update_every:
            self.learn()
        return normalized, gains

    def update(self, rows: Transitions) -> None:
        """Let the bonus learn from rows in the order of `Batch`; none are pending then."""
        new = self.bonus.update(as_batch(rows), self.replay)
        check_methods("bonus.update's result", new, "reward", "update")
        self.bonus = new
        self.pending = []
        self.num_pending = 0

    @property
    def state(self) -> State:
        """The state, for a file."""
        nothing = np.zeros(0)
        nowhere = self.observations[:0]  # (0, K)
        undone = np.zeros((0, *(self.acted.space.shape or ())))  # (0, A) or (0,)
        never = np.zeros(0, bool)
        env = np.zeros(0, np.int64)
        empty = Transitions(
            env, nowhere, undone, nothing, nowhere, never, never, nothing
        )
        return State(
            self.bonus,
            self.history,
            all_rows([empty, *self.pending]),
            self.returns,
            self.peak,
            self.steps,
            self.model,
            self.replay,
        )

    @property
    def fresh(self) -> State:
        """A state with the bonus of the start, into which files are loaded."""
        return self.state._replace(bonus=self.first)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that the next rewards depend on, except the environments.

        Raises ValueError, naming the part, if a fresh bonus could not load its state.
        """
        save_state(path, self.state, self.fresh)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on as the state in the file would.

        It must come from the same spaces, number of environments and kind of bonus.
        Running episodes stay as they are: reset, or bring them to the same place.
        """
        state = load_state(path, self.fresh)
        check_shape("returns of the state", state.returns, (self.num_envs,))
        self.bonus = check_fits(state.bonus, self.seen.size, self.acted.space)
        self.history = state.history
        self.num_pending = len(state.pending.env)
        self.pending = [state.pending] if self.num_pending else []
        self.returns = state.returns
        self.peak = state.peak
        self.steps = state.steps
        self.model = state.model
        self.replay = state.replay


class Curious:
    """The part that wrappers and the callback share: a bonus at work, and its state in files."""

    made: Curiosity | None = None

    @property
    def curiosity(self) -> Curiosity:
        """The bonus at work. Raises ValueError in a callback that has seen no model."""
        if self.made is None:
            raise ValueError("give the callback to learn or init_callback(model) first")
        return self.made

    @property
    def bonus(self) -> Bonus:
        """The bonus as it is now."""
        return self.curiosity.bonus

    @property
    def history(self) -> tuple[float, ...]:
        """The medians whose mean is the divisor."""
        return self.curiosity.history

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bonus and what its next rewards depend on, without pickle."""
        self.curiosity.save(path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a saved state.

        The arguments given here stay; the bonus comes from the file with its settings.
        """
        self.curiosity.load(path)


# ---------------------------------------------------------------- transitions


def all_rows(blocks: list[Transitions]) -> Transitions:
    """All rows, in time order."""
    columns = [np.concatenate(column) for column in zip(*blocks)]  # (N, ...) each
    return Transitions(*columns)


def ordered_by_env(rows: Transitions) -> Transitions:
    """Environment after environment; the last row of each is truncated."""
    order = np.argsort(rows.env, kind="stable")
    each = Transitions._make(column[order] for column in rows)
    last = np.append(np.diff(each.env) > 0, True)  # (N,)
    return each._replace(truncated=each.truncated | (last & ~each.terminated))


def as_batch(rows: Transitions) -> Batch:
    return Batch._make(rows[1:7])


def truncate_last(blocks: list[Transitions], envs: NDArray[np.int64]) -> None:
    """Mark the last row of each of these environments as truncated, or leave its end."""
    for env in envs:
        for block in reversed(blocks):
            found = np.flatnonzero(block.env == env)
            if len(found):
                block.truncated[found[-1]] |= ~block.terminated[found[-1]]
                break


# ---------------------------------------------------------------- argument checks


def check_weights(eta: Any, share: Any, gamma: Any) -> None:
    """Either eta or share; with share, γ < 1."""
    check_fraction("gamma", gamma)
    if (eta is None) == (share is None):
        got = f"eta {eta} and share {share}"
        raise ValueError(f"give one of eta and share, got {got}")
    if share is None:
        check_not_negative("eta", eta)
        return
    check_not_negative("share", share)
    if gamma == 1.0:
        raise ValueError(f"gamma must be < 1 with share, got {gamma}")


def check_update_every(update_every: int | None) -> int:
    """A number of transitions, which must be given."""
    if update_every is None:
        numbers = (
            "a rollout (n_steps × number of environments) on-policy, 500 off-policy"
        )
        raise ValueError(f"update_every must be given, in transitions: {numbers}")
    return check_count("update_every", update_every)


def check_fits(bonus: Any, observation_size: int, action_space: Any) -> Bonus:
    """A bonus; a `Vime` must be of the environment's sizes."""
    check_methods("bonus", bonus, "reward", "update")
    if isinstance(bonus, Vime):
        own = (bonus.pool.observations.shape[1], action_size(bonus.action_space))
        wanted = (observation_size, action_size(action_space))
        if own != wanted:
            text = f"observations and actions of sizes {wanted}, got {own}"
            raise ValueError(f"bonus must take {text}: vime_for makes one that does")
    checked_bonus: Bonus = bonus
    return checked_bonus


# ---------------------------------------------------------------- what `help` shows

__all__ = ["Curiosity", "Earned"]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

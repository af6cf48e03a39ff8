"""Traces: each line against a transcription of its own, and each mistake at its line."""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import bnn_ref as bnn
import vime_ref as vime
from vime_check.cases.traces import TRACES, Running, Script, Trace
from vime_check.judge import Outcome, load_vectors, run_cases
from vime_check.operations import arrays
from vime_check.serving import Answer, Served
from vime_check.wire import Inputs

LINES = [vector for vector in load_vectors(None, "f64") if vector.line]
RIGHT = ("passed", "exact")
VARIANTS = [
    (name, flag, variant)
    for name, trace in TRACES.items()
    for flag, variants in trace.operation.mistakes.items()
    for variant in range(len(variants))
]


class Peer:
    """An implementation in this process."""

    name = "peer"

    def __init__(self, **traces: Any) -> None:
        self.served = Served(SimpleNamespace(**traces), "f64")
        self.asked: list[str] = []

    def ask(self, operation: str, inputs: Inputs, cmd: str = "run") -> Answer:
        self.asked.append(cmd)
        return self.served.respond(cmd, operation, inputs)


def outcomes(trace: Trace, *switches: str) -> list[Outcome]:
    """Of a trace's lines, with these switches of mistakes on."""
    lines = [vector for vector in LINES if vector.operation == trace.name]
    peer = Peer(**{trace.name: lambda: trace.start(*switches)})
    return [*run_cases(peer, lines)]


def run(trace: Trace, script: Script, *switches: str) -> list[dict[str, Any]]:
    """The outputs of the lines of a script."""
    running: Running = trace.start(*switches)
    running.reset(**arrays(script.reset))
    return [running.step(**arrays(step)) for step in script.steps]


def assert_near(got: dict[str, Any], wanted: dict[str, Any], rel: float) -> None:
    assert set(got) == set(wanted)
    for name, values in wanted.items():
        size = np.max(np.abs(values), initial=0.0)
        np.testing.assert_allclose(got[name], values, rtol=0, atol=rel * size)


# ---------------------------------------------------------------- mistakes


def test_reference_is_right_in_every_line() -> None:
    for trace in TRACES.values():
        found = {each.status for each in outcomes(trace)}
        assert found - {"refused", "rejected"} <= {*RIGHT}, trace.name


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("vime_iterations", {"window": 1.5}, "window must be a whole number"),
        ("vime_iterations", {"adam_steps": np.inf}, "num_steps must be a whole number"),
        ("vime_iterations", {"layer_sizes": [4, 4, 2]}, "q.mu must have shape"),
        ("vime_iterations", {"layer_sizes": [3, 4.5, 2]}, "layer_sizes must be"),
        ("replay_pool", {"capacity": 5.5}, "capacity must be a whole number"),
    ],
)
def test_reset_outside_of_its_domain_is_rejected(
    name: str, wrong: dict[str, Any], message: str
) -> None:
    trace = TRACES[name]
    script = next(trace.scripts())
    running = trace.start()
    running.reset(**arrays(script.reset | wrong))
    with pytest.raises(ValueError, match=message):
        running.step(**arrays(script.steps[0]))


@pytest.mark.parametrize(("name", "flag", "variant"), VARIANTS)
def test_mistake_is_named_at_each_line_that_shows_it(
    name: str, flag: str, variant: int
) -> None:
    """A line is wrong if the mistake changes it, and right otherwise."""
    trace = TRACES[name]
    switch = trace.switches[flag][variant]
    shown = 0
    for outcome in outcomes(trace, switch):
        vector = next(each for each in LINES if each.id == outcome.id)
        if vector.why:
            continue
        if outcome.status in RIGHT:
            assert flag not in FLAGS[vector.id] or len(trace.switches[flag]) > 1
        else:
            assert flag in outcome.mistakes, outcome
            shown += 1
    assert shown


FLAGS = {
    f"{trace.name}/{case.probe}": case.flags
    for trace in TRACES.values()
    for case in trace.operation.cases()
}


# Pairs of which the first hides the second.
HIDING = {
    ("TrainedBeforeRewarded", "RefreshedEarly"),  # the statistics are new anyway
    ("AliasedOld", "TrainedBeforeRewarded"),  # the gains are 0 anyway
    ("AliasedOld", "RefreshedEarly"),
    ("AliasedOld", "RowNotRestored"),
    ("AdamRestarted", "LeakyOptimiser"),  # nothing of Adam is kept anyway
    ("FilterAxis", "FilterRestarted"),  # the sums begin at 0 anyway
}


@pytest.mark.parametrize("name", TRACES)
def test_two_mistakes_at_once_differ_from_each_unless_one_hides_the_other(
    name: str,
) -> None:
    trace = TRACES[name]
    for first, second in itertools.combinations(trace.switches.values(), 2):
        for pair in itertools.product(first, second):
            both = outputs(trace, *pair)
            for own, other in (pair, pair[::-1]):
                lines = zip(both, outputs(trace, own), strict=True)
                alone = not any(differ(*line) for line in lines)
                assert alone == ((own, other) in HIDING), pair


def outputs(trace: Trace, *switches: str) -> list[dict[str, Any]]:
    return [
        line for script in trace.scripts() for line in run(trace, script, *switches)
    ]


def differ(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return any(
        np.shape(a[name]) != np.shape(b[name]) or not np.allclose(a[name], b[name])
        for name in a
    )


def test_names_of_settings_state_and_steps() -> None:
    for trace in TRACES.values():
        (first, *_) = trace.scripts()
        assert set(first.reset) == {*trace.settings, *trace.state}
        assert not set(first.reset) & set(first.steps[0])


# ---------------------------------------------------------------- the lecture's algorithm


def spread(rho: Any) -> Any:
    return np.log(1 + np.exp(rho))


def divergence(mu: Any, rho: Any, mu_p: Any, rho_p: Any) -> Any:
    """The textbook KL."""
    ratio = spread(rho) / spread(rho_p)
    moved = (mu - mu_p) / spread(rho_p)
    return np.sum((ratio**2 + moved**2 - 1) / 2 - np.log(ratio))


def log_density(
    mu: Any, rho: Any, x: Any, y: Any, eps: Any, sigma: float, sizes: Any
) -> Any:
    """Sum over rows and outputs, mean over samples, weight by weight."""
    num_in, num_hidden, num_out = sizes
    cut = num_in * num_hidden
    total = 0.0
    for noise in eps:
        theta = mu + spread(rho) * noise
        matrix = theta[:cut].reshape(num_in, num_hidden)
        hidden = x @ matrix + theta[cut : cut + num_hidden]
        hidden = np.where(hidden.real > 0, hidden, 0)
        rest = theta[cut + num_hidden :]
        matrix = rest[: num_hidden * num_out].reshape(num_hidden, num_out)
        error = y - hidden @ matrix - rest[num_hidden * num_out :]
        terms = -((error / sigma) ** 2) / 2 - np.log(sigma * np.sqrt(2 * np.pi))
        total = total + np.sum(terms) / len(eps)
    return total


def complex_step(function: Any, at: Any) -> Any:
    """The gradient of a real function by its imaginary part, exact to rounding."""
    tiny = 1e-30
    columns = tiny * 1j * np.eye(len(at))
    return np.array([function(at + column).imag / tiny for column in columns])


def transcribed(script: Script) -> Iterator[dict[str, Any]]:
    """The lecture's algorithm without a function of the project."""
    g = {name: np.array(value) for name, value in script.reset.items()}
    num = len(g["mu"])
    sigma = float(g["likelihood_sigma"])
    phi = np.concatenate([g["mu"], g["rho"]])
    prior = (g["prior_mu"], g["prior_rho"])
    mean, square, t = g["adam_mean"], g["adam_square"], 0
    names = ("observations", "actions", "next_observations")
    pool = [[*g[f"pool_{name}"]] for name in names]
    center, scale = g["center"], g["scale"]
    medians = [*g["history"]]
    for step in script.steps:
        s = {name: np.array(value) for name, value in step.items()}

        def normalized(rows: Any, center: Any = center, scale: Any = scale) -> Any:
            obs, act, following = (np.array(each) for each in rows)
            x = (np.hstack([obs, act]) - center) / scale
            return x, (following - center[:2]) / scale[:2]

        # Rewards, each row from the same φ.
        x, y = normalized([s[name] for name in names])
        sizes = g["layer_sizes"]
        gains = []
        for n in range(len(x)):
            row = (x[n : n + 1], y[n : n + 1], s["eps"], sigma, sizes)

            def loss(p: Any, phi: Any = phi, row: Any = row) -> Any:
                pull = divergence(p[:num], p[num:], phi[:num], phi[num:])
                return pull - log_density(p[:num], p[num:], *row)

            width = spread(phi[num:])
            slope = 1 / (1 + np.exp(-phi[num:]))
            curve = np.concatenate([1 / width**2, 2 * slope**2 / width**2])
            new = phi - float(g["step_size"]) * complex_step(loss, phi) / curve
            gains.append(divergence(new[:num], new[num:], phi[:num], phi[num:]))
        medians = [*medians, sum(sorted(gains)[2:4]) / 2][-2:]
        divisor = sum(medians) / len(medians)
        curious = s["rewards"] + float(g["eta"]) * np.array(gains) / divisor

        # Advantages, as the sum over later steps of the episode.
        gamma, lam = float(g["gamma"]), float(g["lam"])
        bootstrap = np.where(s["terminated"], 0.0, s["next_values"])
        delta = curious + gamma * bootstrap - s["values"]
        advantages = []
        for start in range(len(delta)):
            total, weight = 0.0, 1.0
            for k in range(start, len(delta)):
                total += weight * delta[k]
                weight *= gamma * lam
                if s["terminated"][k] or s["truncated"][k]:
                    break
            advantages.append(total)

        # Statistics, then the fit.
        for column, name in zip(pool, names):
            column.extend(s[name])
        stacked = np.hstack([np.array(pool[0]), np.array(pool[1])])
        center = np.sum(stacked, axis=0) / len(stacked)
        scale = np.sqrt(np.sum((stacked - center) ** 2, axis=0) / len(stacked))
        x, y = normalized(pool, center, scale)
        for chosen, eps in zip(s["rows"], s["fit_eps"]):
            batch = (x[chosen], y[chosen], eps, sigma, sizes)

            def bound(p: Any, batch: Any = batch) -> Any:
                fits = log_density(p[:num], p[num:], *batch)
                share = float(g["num_data"]) / len(batch[0])
                return share * fits - divergence(p[:num], p[num:], *prior)

            down = -complex_step(bound, phi)
            t += 1
            mean = 0.9 * mean + 0.1 * down
            square = 0.999 * square + 0.001 * down**2
            move = np.sqrt(square / (1 - 0.999**t)) + 1e-8
            phi = phi - float(g["learning_rate"]) * mean / (1 - 0.9**t) / move
        yield {
            "gains": np.array(gains),
            "divisor": divisor,
            "curious_rewards": curious,
            "advantages": np.array(advantages),
            "center": center,
            "scale": scale,
            "mu": phi[:num],
            "rho": phi[num:],
            "history": np.array(medians),
        }


def test_iterations_against_a_transcription_with_complex_steps() -> None:
    """To 1e-10, because the textbook KL of small moves cancels; control: Adam that begins anew."""
    (script,) = TRACES["vime_iterations"].scripts()
    trace = TRACES["vime_iterations"]
    wanted = [*transcribed(script)]
    for got, right in zip(run(trace, script), wanted, strict=True):
        assert_near(got, right, 1e-10)
    last = run(trace, script, "AdamRestarted")[-1]
    with pytest.raises(AssertionError):
        assert_near(last, wanted[-1], 1e-3)


def test_iterations_against_vime_with_drawn_noise() -> None:
    """`Vime.reward` and `Vime.update` give the same bits if the trace gets the noise that they draw."""
    (script,) = TRACES["vime_iterations"].scripts()
    g = arrays(script.reset)
    q = bnn.DiagNormal(g["mu"], g["rho"])
    settings = vime.VimeSettings(
        hidden_sizes=(4,),
        likelihood_sigma=g["likelihood_sigma"],
        num_data=g["num_data"],
        step_size=g["step_size"],
        learning_rate=g["learning_rate"],
        method="exact",
        num_samples=3,
        num_updates=2,
        batch_size=7,
        min_rows=1,
    )
    pool = vime.ReplayPool(
        100,
        *(g[f"pool_{name}"] for name in vime.COLUMNS),
    )
    model = vime.Vime(
        settings,
        Box(-np.inf, np.inf, (1,), np.float64),
        q,
        bnn.DiagNormal(g["prior_mu"], g["prior_rho"]),
        bnn.adam_init(2 * len(q.mu)),
        pool,
        g["center"],
        g["scale"],
    )
    running = TRACES["vime_iterations"].start()
    running.reset(**g)
    for number, step in enumerate(script.steps):
        s = arrays(step)
        batch = vime.Batch(
            *(s[name] for name in ("observations", "actions", "rewards")),
            *(s[name] for name in ("next_observations", "terminated", "truncated")),
        )
        rewarding, training, drawing = (np.random.default_rng(number) for _ in range(3))
        gains = model.reward(batch, rewarding)
        model = model.update(batch, training)

        # The same noise, as an input.
        s["eps"] = np.random.default_rng(number).standard_normal((3, len(q.mu)))
        s["rows"] = drawing.integers(len(model.pool), size=(2, 7))
        s["fit_eps"] = drawing.standard_normal((2, 3, len(q.mu)))
        got = running.step(**s)
        assert np.array_equal(got["gains"], gains)
        assert np.array_equal(got["mu"], model.q.mu)
        assert np.array_equal(got["rho"], model.q.rho)
        assert np.array_equal(got["scale"], model.scale)
    assert replace(model).adam.num_steps == 6


# ---------------------------------------------------------------- the pool


def test_pool_against_a_deque() -> None:
    """Control: without a capacity the oldest rows stay."""
    (script,) = TRACES["replay_pool"].scripts()
    names = ("observations", "actions", "next_observations")
    got = run(TRACES["replay_pool"], script)
    for capacity, same in ((5, True), (50, False)):
        rows = deque(zip(*(script.reset[f"pool_{name}"] for name in names)), capacity)
        for step, line in zip(script.steps, got, strict=True):
            rows.extend(zip(*(step[name] for name in names)))
            wanted = {
                name: np.array([rows[i][column] for i in step["rows"]])
                for column, name in enumerate(names)
            }
            stacked = np.array([[*obs, *act] for obs, act, _ in rows])
            wanted["center"] = sum(stacked) / len(stacked)
            squares = sum((row - wanted["center"]) ** 2 for row in stacked)
            wanted["scale"] = np.sqrt(squares / len(stacked))
            if len(rows) <= 5 and same:
                assert_near(line, wanted, 1e-14)
        if not same:
            with pytest.raises(AssertionError):
                assert_near(line, wanted, 1e-3)


# ---------------------------------------------------------------- autoreset


class Countdown(gym.Env[np.ndarray[Any, Any], Any]):
    """Ends after `length` steps; observations are (episode, step) and tell every reset apart."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(-np.inf, np.inf, (1,), np.float64)

    def __init__(self, length: int, limit: int) -> None:
        self.length = length
        self.limit = limit
        self.episode = 0
        self.seen: list[Any] = []

    def now(self) -> Any:
        return np.array([self.episode, self.step_number], dtype=float)

    def reset(self, **_: Any) -> Any:
        self.episode += 1
        self.step_number = 0
        return self.now(), {}

    def step(self, action: Any) -> Any:
        before = self.now()
        self.step_number += 1
        self.seen.append((before, np.array(action), self.now()))
        terminated = self.step_number == self.length
        truncated = self.step_number == self.limit
        return self.now(), 0.0, terminated, truncated, {}


@pytest.mark.parametrize(
    ("mode", "autoreset"),
    [("next_step", AutoresetMode.NEXT_STEP), ("same_step", AutoresetMode.SAME_STEP)],
)
@pytest.mark.parametrize("mistake", ["", "ResetStepLearned", "CrossEpisode"])
def test_transitions_against_what_environments_saw(
    mode: str, autoreset: AutoresetMode, mistake: str
) -> None:
    """The transitions are those that `step` of each environment was called for; controls: the mistakes of the mode."""
    single = [Countdown(2, 9), Countdown(9, 3), Countdown(4, 9)]
    envs = SyncVectorEnv(
        [lambda env=env: env for env in single], autoreset_mode=autoreset, copy=True
    )
    last, _ = envs.reset()
    running = TRACES["autoreset_transitions"].start(*([mistake] if mistake else []))
    running.reset(mode=mode, last_observations=last, ended=np.zeros(3, dtype=bool))
    learned: list[Any] = []
    for t in range(12):
        actions = np.array([[t], [t + 100], [t + 200]], dtype=float)
        observations, _, terminated, truncated, info = envs.step(actions)
        final = np.zeros((3, 2))
        for i, each in enumerate(info.get("final_obs", [None] * 3)):
            final[i] = 0.0 if each is None else each
        line = running.step(
            actions=actions,
            observations=observations,
            final_observations=final,
            terminated=terminated,
            truncated=truncated,
        )
        names = ("observations", "actions", "next_observations")
        learned += zip(*(line[name] for name in names))
    seen = [row for env in single for row in env.seen]
    same = sorted(map(key, learned)) == sorted(map(key, seen))
    wrong = {"next_step": "ResetStepLearned", "same_step": "CrossEpisode"}[mode]
    assert same == (mistake != wrong)


def key(row: Any) -> tuple[float, ...]:
    return tuple(float(x) for part in row for x in part)


# ---------------------------------------------------------------- running statistics


def direct(start: Script, rows: Any, names: tuple[str, str, str]) -> tuple[Any, Any]:
    """Mean and variance of the rows and of the `count` rows that the start represents."""
    mean, variance, count = (np.array(start.reset[name]) for name in names)
    total = count + len(rows)
    middle = (count * mean + np.sum(rows, axis=0)) / total
    squares = count * (variance + mean**2) + np.sum(rows**2, axis=0)
    return middle, squares / total - middle**2


def test_normalizer_against_the_moments_of_all_rows() -> None:
    """To 1e-13, because the difference of squares cancels; control: n − 1."""
    (script,) = TRACES["running_normalizer"].scripts()
    for switches in ([], ["SampleVariance"]):
        got = run(TRACES["running_normalizer"], script, *switches)
        for line, output in enumerate(got, 1):
            rows = np.concatenate([step["rows"] for step in script.steps[:line]])
            mean, variance = direct(script, rows, ("mean", "variance", "count"))
            wanted = {
                "normalized": (script.steps[line - 1]["rows"] - mean)
                / np.sqrt(variance),
                "mean": mean,
                "variance": variance,
                "count": 0.5 + len(rows),
            }
            if not switches:
                assert_near(output, wanted, 1e-13)
            else:
                with pytest.raises(AssertionError):
                    assert_near(output, wanted, 1e-3)


@pytest.mark.parametrize("mistake", ["", "FilterAxis", "FilterRestarted"])
def test_filter_against_the_double_sum(mistake: str) -> None:
    """u_t = Σ_s γ^{t−s} r_s over all rewards so far; to 1e-13. Controls: other sums."""
    (script,) = TRACES["filtered_rewards"].scripts()
    gamma = script.reset["gamma"]
    switches = [mistake] if mistake else []
    got = run(TRACES["filtered_rewards"], script, *switches)
    wanted = []
    for line, step in enumerate(script.steps, 1):
        all_rewards = np.concatenate([each["rewards"] for each in script.steps[:line]])
        sums = np.array(
            [
                sum(gamma ** (t - s) * all_rewards[s] for s in range(t + 1))
                for t in range(len(all_rewards))
            ]
        )
        _, variance = direct(script, sums.ravel(), ("mean", "variance", "count"))
        wanted.append(
            {
                "sums": sums[-len(step["rewards"]) :],
                "variance": variance,
                "normalized": step["rewards"] / np.sqrt(variance),
            }
        )
    if not mistake:
        for output, right in zip(got, wanted, strict=True):
            assert_near(output, right, 1e-13)
    else:
        with pytest.raises(AssertionError):
            assert_near(got[1], wanted[1], 1e-3)

"""Strategies and the regret of bandits."""

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lecture_helpers import wrong_calls
from strategies import finite, log_uniform

from vime_lecture import strategies

# ---------------------------------------------------------------- strategies

values_of = st.lists(
    finite(-1e308, 1e308) | st.integers(-2, 2).map(float), min_size=1, max_size=6
)


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=6), finite(0.0, 1.0))
def test_epsilon_greedy_against_fractions(q_values: list[int], epsilon: float) -> None:
    """S1"""
    best, share = max(q_values), Fraction(epsilon) / len(q_values)
    expected = [
        share + (1 - Fraction(epsilon)) * (q == best) / q_values.count(best)
        for q in q_values
    ]
    assert sum(expected) == 1
    result = strategies.epsilon_greedy(q_values, epsilon)
    np.testing.assert_allclose(result, np.array(expected, dtype=float), rtol=1e-14)


def test_epsilon_greedy_against_its_mistakes() -> None:
    result = strategies.epsilon_greedy([0.0, 2.0, 2.0, 1.0], 0.2)
    np.testing.assert_allclose(result, [0.05, 0.45, 0.45, 0.05], rtol=1e-14)
    wrong = {
        "the first of the best": [0.05, 0.85, 0.05, 0.05],
        "every best in full": [0.05, 0.85, 0.85, 0.05],
        "exploring only the others": [0.1, 0.4, 0.4, 0.1],
    }
    for name, values in wrong.items():
        assert not np.allclose(result, values), name


def exact_boltzmann(
    q_values: list[float], temperature: float | None, mistake: str = ""
) -> np.ndarray:
    """softmax(Q/std(Q)) at 50 digits (more where Q is huge), or with a mistake."""
    with mp.workdps(700):
        q = [mp.mpf(value) for value in q_values]
        mean = sum(q) / len(q)
        squares = sum((value - mean) ** 2 for value in q)
        scale = (
            mp.mpf(temperature)
            if temperature is not None
            else mp.sqrt(squares / len(q))
        )
        if mistake == "ddof 1":
            scale = mp.sqrt(squares / (len(q) - 1))
        elif mistake == "variance":
            scale = squares / len(q)
        if scale == 0:
            return np.full(len(q), 1 / len(q))
        if mistake == "product":
            scale = 1 / scale
        logits = [(value - max(q)) / scale for value in q]
    with mp.workdps(50):
        weights = [mp.exp(logit) if logit > -1000 else mp.mpf(0) for logit in logits]
        return np.array([float(weight / sum(weights)) for weight in weights])


@given(values_of, st.none() | log_uniform(1e-300, 1e300))
@example([1e308, -1e308, 0.0], None)
@example([1e-200, 0.0, 3e-200], None)
@example([1e308, -1e308, 0.5e308], 1e308)
def test_boltzmann_against_50_digits(
    q_values: list[float], temperature: float | None
) -> None:
    """S2"""
    result = strategies.boltzmann(q_values, temperature)
    np.testing.assert_allclose(
        result, exact_boltzmann(q_values, temperature), rtol=1e-12, atol=1e-300
    )


@pytest.mark.parametrize("mistake", ["ddof 1", "variance", "product"])
def test_boltzmann_against_its_mistakes(mistake: str) -> None:
    q_values = [0.0, 1.0, 5.0]
    np.testing.assert_allclose(
        strategies.boltzmann(q_values), exact_boltzmann(q_values, None), rtol=1e-12
    )
    assert not np.allclose(
        strategies.boltzmann(q_values),
        exact_boltzmann(q_values, None, mistake),
        rtol=1e-2,
    )


@pytest.mark.parametrize("size", [1e-300, 1.0, 14.62, 1e300])
def test_boltzmann_of_rounding_errors_against_equal_values(size: float) -> None:
    """Controls: the standard deviation of rounding errors gives σ(2); so do values that vary, however little."""
    rounded = [size, np.nextafter(size, np.inf)]
    np.testing.assert_array_equal(strategies.boltzmann(rounded), [0.5, 0.5])
    logistic = 1.0 / (1.0 + math.exp(-2.0))
    assert math.isclose(exact_boltzmann(rounded, None)[1], logistic)
    for varying in ([size, size * (1.0 + 1e-9)], [0.0, 1e-12 * size]):
        result = strategies.boltzmann(varying)
        np.testing.assert_allclose(result, [1.0 - logistic, logistic], rtol=1e-12)


@given(st.lists(st.integers(-2, 2).map(float), min_size=1, max_size=6))
def test_boltzmann_against_its_limits(q_values: list[float]) -> None:
    """Cold is greedy, hot is uniform, and std(Q) follows shift and scale; T = 1 does none of it."""
    uniform, greedy = (
        strategies.epsilon_greedy(q_values, 1.0),
        strategies.epsilon_greedy(q_values, 0.0),
    )
    np.testing.assert_allclose(strategies.boltzmann(q_values, 1e-3), greedy, atol=1e-12)
    np.testing.assert_allclose(
        strategies.boltzmann(q_values, 1e15), uniform, rtol=1e-12
    )
    moved = 4.0 * np.array(q_values) + 3.0
    np.testing.assert_array_equal(
        strategies.boltzmann(moved), strategies.boltzmann(q_values)
    )
    if len(set(q_values)) > 1:
        warm = strategies.boltzmann(q_values, 1.0)
        for other in (uniform, greedy, strategies.boltzmann(moved, 1.0)):
            assert not np.allclose(warm, other, atol=1e-3)
    else:
        np.testing.assert_array_equal(strategies.boltzmann(q_values), uniform)


@given(
    values_of,
    st.lists(st.integers(0, 50), min_size=6, max_size=6),
    finite(0.0, 1.0),
    log_uniform(1e-3, 1e3),
)
def test_every_strategy_gives_probabilities_and_is_the_function_of_its_name(
    q_values: list[float], counts: list[int], epsilon: float, number: float
) -> None:
    counts = counts[: len(q_values)]
    scores = strategies.ucb_state_action(q_values, counts, number)
    for strategy, expected in [
        (
            strategies.epsilon_greedy_strategy(epsilon),
            strategies.epsilon_greedy(q_values, epsilon),
        ),
        (strategies.boltzmann_strategy(), strategies.boltzmann(q_values)),
        (strategies.boltzmann_strategy(number), strategies.boltzmann(q_values, number)),
        (
            strategies.ucb_strategy(number),
            np.equal(scores, max(scores)) / np.sum(scores == max(scores)),
        ),
    ]:
        result = strategy(q_values, counts)
        np.testing.assert_array_equal(result, expected)
        assert min(result) >= 0.0
        assert abs(math.fsum(result) - 1.0) < 1e-14


arms_of = st.lists(
    st.tuples(finite(0.0, 1.0), st.integers(0, 10**6)), min_size=1, max_size=6
)


def exact_ucb(values: list[float], counts: list[int], alpha: float) -> np.ndarray:
    with mp.workdps(50):
        widths = [mp.sqrt(2 * mp.log(sum(counts)) / n) if n else mp.inf for n in counts]
        return np.array([float(v + alpha * width) for v, width in zip(values, widths)])


@given(arms_of)
@example([(0.0, 0)])
@example([(0.5, 1), (0.5, 0)])
def test_ucb1_against_50_digits(arms: list[tuple[float, int]]) -> None:
    """S3"""
    values, counts = [value for value, _ in arms], [n for _, n in arms]
    result = strategies.ucb1(values, counts, sum(counts))
    np.testing.assert_allclose(result, exact_ucb(values, counts, 1), rtol=1e-14)


@given(arms_of, log_uniform(1e-3, 1e3))
@example([(0.0, 0)], 1.0)
@example([(0.5, 1), (0.5, 0)], 1.0)
def test_ucb_state_action_against_50_digits(
    arms: list[tuple[float, int]], alpha: float
) -> None:
    """S4"""
    values, counts = [value for value, _ in arms], [n for _, n in arms]
    result = strategies.ucb_state_action(values, counts, alpha)
    np.testing.assert_allclose(result, exact_ucb(values, counts, alpha), rtol=1e-14)


def test_ucb_scores_against_their_mistakes() -> None:
    means, counts = np.array([0.2, 0.9, 0.5]), np.array([4, 1, 7])
    result, log_t = strategies.ucb_state_action(means, counts, 0.5), np.log(12)
    np.testing.assert_allclose(
        result, means + 0.5 * np.sqrt(2 * log_t / counts), rtol=1e-14
    )
    wrong = {
        "no 2": means + 0.5 * np.sqrt(log_t / counts),
        "no root": means + 0.5 * 2 * log_t / counts,
        "alpha under the root": means + np.sqrt(0.5 * 2 * log_t / counts),
        "t + 1": means + 0.5 * np.sqrt(2 * np.log(13) / counts),
        "n + 1": means + 0.5 * np.sqrt(2 * log_t / (counts + 1)),
    }
    for name, values in wrong.items():
        assert not np.allclose(result, values, rtol=1e-3), name


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=6).filter(any),
    finite(0.0, 1.0 - 2.0**-53),
)
def test_sample_index_against_cumulated_fractions(
    weights: list[int], noise: float
) -> None:
    probabilities = [weight / sum(weights) for weight in weights]
    index = strategies.sample_index(probabilities, noise)
    below = Fraction(sum(weights[:index]), sum(weights))
    assert (
        below - Fraction(1, 10**12)
        <= Fraction(noise)
        <= below + Fraction(probabilities[index]) + Fraction(1, 10**12)
    )
    assert probabilities[index] > 0.0


def test_sample_index_never_takes_what_has_no_probability() -> None:
    """Ten times 0.1 sums to less than 1, and so can the noise exceed it; a search in the sums falls off their end."""
    probabilities, noise = [0.1] * 10 + [0.0], 1.0 - 2.0**-53
    assert np.searchsorted(np.cumsum(probabilities), noise, side="right") > 9
    assert strategies.sample_index(probabilities, noise) <= 9
    assert strategies.sample_index([0.0, 1.0], 0.0) == 1


NAN, INF = float("nan"), float("inf")

BAD_VALUES = [
    ({"q_values": []}, "q_values must have shape (A,) with A >= 1, got (0,)"),
    (
        {"q_values": [[1.0, 2.0]]},
        "q_values must have shape (A,) with A >= 1, got (1, 2)",
    ),
    ({"q_values": [0.0, NAN]}, "q_values must be finite, got nan at index (1,)"),
    ({"q_values": [INF, 0.0]}, "q_values must be finite, got inf at index (0,)"),
]

BAD_COUNTS = [
    ({"counts": [3, -1]}, "counts must be whole numbers >= 0, got -1.0"),
    ({"counts": [0.5, 1]}, "counts must be whole numbers >= 0, got 0.5"),
    ({"counts": [NAN, 1]}, "counts must be finite, got nan at index (0,)"),
    ({"counts": [1, 1, 0]}, "counts must have shape (2,), got (3,)"),
]

BAD_ALPHAS = [
    ({"alpha": value}, f"alpha must be >= 0 and finite, got {value}")
    for value in (-0.1, NAN, INF)
]

BAD_EPSILONS = [
    ({"epsilon": value}, f"epsilon must be from 0 to 1, got {value}")
    for value in (-0.1, 1.1, NAN)
]

BAD_TEMPERATURES = [
    ({"temperature": value}, f"temperature must be > 0 and finite, got {value}")
    for value in (0.0, -1.0, NAN, INF)
]


@pytest.mark.parametrize(
    ("function", "good", "bad", "message"),
    [
        *wrong_calls(
            strategies.epsilon_greedy, {"q_values": [0.0, 1.0], "epsilon": 0.1}, *BAD_VALUES, *BAD_EPSILONS
        ),
        *wrong_calls(
            strategies.boltzmann, {"q_values": [0.0, 1.0], "temperature": 1.0}, *BAD_VALUES, *BAD_TEMPERATURES
        ),
        *wrong_calls(
            strategies.ucb_state_action, {"q_values": [0.0, 1.0], "counts": [1, 1], "alpha": 1.0},
            *BAD_VALUES, *BAD_COUNTS, *BAD_ALPHAS,
        ),
        *wrong_calls(
            strategies.ucb1, {"means": [0.0, 1.0], "counts": [1, 1], "t": 2},
            *BAD_COUNTS,
            ({"means": []}, "means must have shape (A,) with A >= 1, got (0,)"),
            ({"means": [NAN, 0.0]}, "means must be finite, got nan"),
            ({"t": 3}, "t must be the sum of counts, 2, got 3"),
            ({"t": NAN}, "t must be finite, got nan"),
        ),
        *wrong_calls(strategies.epsilon_greedy_strategy, {"epsilon": 0.0}, *BAD_EPSILONS),
        *wrong_calls(strategies.boltzmann_strategy, {"temperature": None}, *BAD_TEMPERATURES),
        *wrong_calls(strategies.ucb_strategy, {"alpha": 0.0}, *BAD_ALPHAS),
        *wrong_calls(
            strategies.sample_index, {"probabilities": [0.25, 0.75], "noise": 0.5},
            ({"probabilities": [0.5, 0.6]}, "probabilities must be >= 0 and sum to 1, got [0.5, 0.6]"),
            ({"probabilities": [-0.5, 1.5]}, "probabilities must be >= 0 and sum to 1, got [-0.5, 1.5]"),
            ({"probabilities": [NAN, 1.0]}, "probabilities must be finite, got nan at index (0,)"),
            ({"probabilities": []}, "probabilities must be >= 0 and sum to 1, got []"),
        ),
        *wrong_calls(
            strategies.bandit_regret,
            {"means": [0.5, 1.0], "strategy": strategies.ucb_strategy(), "noise": np.full((1, 2, 2), 0.5)},
            ({"means": [0.5, 1.5]}, "means must be from 0 to 1, got 0.5 to 1.5"),
            ({"means": []}, "means must have shape (A,) with A >= 1, got (0,)"),
            ({"noise": np.full((1, 2, 2), -0.5)}, "noise must be from 0 to 1, got -0.5 to -0.5"),
            ({"noise": np.full((1, 2, 3), 0.5)}, "noise must have shape (1, 2, 2), got (1, 2, 3)"),
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_rejected_by_name(
    function: Callable[..., Any],
    good: dict[str, Any],
    bad: dict[str, Any],
    message: str,
) -> None:
    function(**good)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        function(**good | bad)


# ---------------------------------------------------------------- bandits


def uniform_noise(num_runs: int, num_pulls: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((num_runs, num_pulls, 2))


def slow_regret(
    means: Sequence[float], probabilities: Callable[..., np.ndarray], noise: np.ndarray
) -> np.ndarray:
    """The regret after each pull, from the list of all pulls so far and the checked functions."""
    regrets = []
    for run in noise:
        pulled: list[tuple[int, bool]] = []
        for choice, luck in run:
            rewards = [
                [reward for arm, reward in pulled if arm == a]
                for a in range(len(means))
            ]
            estimates = [np.mean(each) if each else 0.0 for each in rewards]
            shares = probabilities(
                estimates, [len(each) for each in rewards], len(pulled)
            )
            arm = int(np.searchsorted(np.cumsum(shares), choice, side="right"))
            pulled.append((arm, bool(luck < means[arm])))
        regrets.append(
            [
                sum(max(means) - means[arm] for arm, _ in pulled[: t + 1])
                for t in range(len(run))
            ]
        )
    return np.array(regrets)


def ucb1_shares(estimates: list[float], counts: list[int], t: int) -> np.ndarray:
    scores = strategies.ucb1(estimates, counts, t)
    return (scores == scores.max()) / np.sum(scores == scores.max())


@pytest.mark.parametrize(
    ("strategy", "probabilities"),
    [
        (
            strategies.epsilon_greedy_strategy(0.3),
            lambda q, n, t: strategies.epsilon_greedy(q, 0.3),
        ),
        (strategies.boltzmann_strategy(), lambda q, n, t: strategies.boltzmann(q)),
        (strategies.ucb_strategy(), ucb1_shares),
    ],
    ids=["epsilon-greedy", "boltzmann", "ucb1"],
)
def test_bandit_regret_against_slow_loop(strategy: Any, probabilities: Any) -> None:
    means, noise = [0.3, 0.8, 0.5], uniform_noise(3, 60)
    result = strategies.bandit_regret(means, strategy, noise)
    assert result.shape == (3, 60)
    np.testing.assert_allclose(
        result, slow_regret(means, probabilities, noise), atol=1e-10
    )
    for wrong in (noise[:, :, ::-1], noise[::-1]):
        assert not np.allclose(
            result, slow_regret(means, probabilities, wrong), atol=1e-2
        )


BANDIT = np.array([0.9, 0.1, 0.4])

GAPS = BANDIT.max() - BANDIT


def regret_bound(t: np.ndarray) -> np.ndarray:
    """8 Σ_{Δ > 0} ln t / Δ + (1 + π²/3) Σ Δ: what UCB-1's expected regret stays under, by theorem 1 of its source."""
    return 8 * np.log(t) * np.sum(1 / GAPS[GAPS > 0]) + (1 + np.pi**2 / 3) * np.sum(
        GAPS
    )


def in_proportion(q: list[float], counts: list[int]) -> list[float]:
    """Each arm in proportion to its score, as the lecture says; untried arms first."""
    scores = strategies.ucb_scores(q, counts, 1.0)
    return (
        [score / sum(scores) for score in scores]
        if min(counts)
        else strategies.greedy_shares(scores)
    )


def wide(q: list[float], counts: list[int]) -> list[float]:
    """The root of 2t/n instead of 2 ln t/n."""
    return strategies.greedy_shares(
        [v + math.sqrt(2 * sum(counts) / n) if n else INF for v, n in zip(q, counts)]
    )


@pytest.mark.unwatched
def test_ucb1_regret_against_its_proven_bound() -> None:
    """Mean of 20 runs and 3 standard errors of it, after every pull. Variants that explore forever break the bound."""
    noise, t = uniform_noise(20, 3000), np.arange(1, 3001)

    def upper_and_lower(strategy: Any) -> tuple[np.ndarray, np.ndarray]:
        regret = strategies.bandit_regret(BANDIT, strategy, noise)
        mean, error = (
            regret.mean(axis=0),
            regret.std(axis=0, ddof=1) / np.sqrt(len(regret)),
        )
        return mean + 3 * error, mean - 3 * error

    upper, _ = upper_and_lower(strategies.ucb_strategy())
    assert np.all(upper <= regret_bound(t))
    for wrong in (strategies.epsilon_greedy_strategy(0.5), in_proportion, wide):
        _, lower = upper_and_lower(wrong)
        assert lower[-1] > regret_bound(t)[-1], wrong


@pytest.mark.unwatched
def test_epsilon_greedy_regret_against_its_slope() -> None:
    """Once the best arm leads, every pull costs ε·mean(Δ) more, within 4 standard errors; UCB-1's next to nothing."""
    noise, epsilon, last = uniform_noise(20, 3000), 0.2, 2000

    def slope(strategy: Any) -> float:
        regret = strategies.bandit_regret(BANDIT, strategy, noise)
        return float(np.mean(regret[:, -1] - regret[:, -1 - last]) / last)

    expected = epsilon * np.mean(GAPS)
    standard_error = np.sqrt(
        (epsilon * np.mean(GAPS**2) - expected**2) / (last * len(noise))
    )
    assert (
        abs(slope(strategies.epsilon_greedy_strategy(epsilon)) - expected)
        < 4 * standard_error
    )
    assert (
        abs(slope(strategies.epsilon_greedy_strategy(epsilon / 2)) - expected)
        > 4 * standard_error
    )
    assert slope(strategies.ucb_strategy()) < expected / 4


def regret_of(probabilities: Any) -> np.ndarray:
    """The regret of a strategy that returns the same whatever it sees."""
    noise = np.full((1, 1, 2), 0.5)
    return strategies.bandit_regret([0.25, 0.5], lambda q, n: probabilities, noise)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: strategies.sample_index([0.5, 0.5], math.nan), "noise must be finite, got nan"),
        (lambda: strategies.sample_index([0.5, 0.5], 1.0), "noise must be in"),
        (lambda: strategies.bandit_regret([0.5], lambda q, n: [1.0], np.ones((1, 1, 2))), "noise must be from 0 to"),
        (lambda: regret_of([1.0]), "strategy must return 2 probabilities, got 1"),
        (lambda: regret_of([0.0, 0.0, 1.0]), "strategy must return 2 probabilities, got 3"),
        (lambda: regret_of([math.nan, 1.0]), "probabilities must be >= 0 and sum to 1, got [nan, 1.0]"),
        (lambda: regret_of(None), "strategy must return probabilities, got NoneType"),
        (lambda: strategies.ucb_state_action([0.0, 1.0], [1, 5], 1.7e308), "alpha must keep scores finite, got"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()

"""Agents in the noisy corridor: runs against their own steps, and the known answer at small size."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from lab import FULL, check_phrases, kept_rows, measured, study_job

from vime_lab.studies import catalogue, noisy_corridor
from vime_lab.studies.frame import StudyJob, curve_of, explorers_in, last_quarter
from vime_lab.studies.television_models import bonus_of
from vime_lecture.controls import DirichletGain
from vime_ref import NoBonus

Q_VALUES, VISITS = [0.0, 2.0, 1.0, 0.0], [1, 2, 9, 4]


@pytest.mark.parametrize(
    ("explorer", "expected"),
    [
        ("random", [0.25] * 4),
        ("epsilon-greedy", [0.1, 0.7, 0.1, 0.1]),
        ("UCB", [0.0, 1.0, 0.0, 0.0]),
        ("dirichlet", [0.0, 1.0, 0.0, 0.0]),
        ("dirichlet x0.01", [0.0, 1.0, 0.0, 0.0]),
        ("VIME, by median", [0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_strategies_on_a_table_by_hand(explorer, expected) -> None:
    """Control: with a large α, UCB takes the action that was tried least."""
    job = study_job("NoisyCorridor", explorer, epsilon=0.4)
    strategy = noisy_corridor.strategy_for(job)
    assert strategy(Q_VALUES, VISITS) == pytest.approx(expected)
    curious = study_job("NoisyCorridor", explorer, epsilon=0.4, alpha=20.0)
    other = noisy_corridor.strategy_for(curious)(Q_VALUES, VISITS)
    if explorer not in ("random", "epsilon-greedy"):
        assert other == pytest.approx([1.0, 0.0, 0.0, 0.0])


def visits(bonus: DirichletGain) -> int:
    return sum(sum(row.values()) for row in bonus.visits.values())


def test_warming_up_learns_from_random_walks() -> None:
    """Every step of the episodes. Control: no episodes leave the bonus."""
    settings = replace(FULL["NoisyCorridor"].settings, corridor=9, warmup_episodes=3)
    rng = np.random.default_rng(0)
    cold, features, _ = bonus_of("dirichlet", 18, rng, settings.vime)
    warm = noisy_corridor.warmed(cold, features, settings, rng)
    assert visits(warm) == 150
    none = replace(settings, warmup_episodes=1)
    assert visits(noisy_corridor.warmed(cold, features, none, rng)) == 50
    nothing = NoBonus()
    assert noisy_corridor.warmed(nothing, features, settings, rng) is nothing


@pytest.mark.parametrize("explorer", ["random", "counts", "dirichlet, by median"])
def test_corridor_against_its_own_steps(explorer) -> None:
    job = study_job("NoisyCorridor", explorer, length=4, points=1, corridor=1)
    rows = catalogue.study_rows(job)
    episodes = list(noisy_corridor.corridor_episodes(job))
    steps = [step for episode in episodes for step in episode.steps]
    assert measured(rows, "watching") == [
        np.mean([step.next_state > 1 for step in steps])
    ]
    ends = [episode.steps[-1].terminated for episode in episodes]
    assert measured(rows, "return") == [np.mean(ends)]
    assert measured(rows, "found") == [1.0 + ends.index(True)]


def test_an_explorer_that_never_arrives_has_no_first_episode() -> None:
    rows = catalogue.study_rows(study_job("NoisyCorridor", "random", corridor=30))
    assert math.isnan(measured(rows, "found")[0])


def test_gains_by_median_are_divided() -> None:
    """The same raw gains at first, and other values. Control: the plain explorer."""
    tables = []
    for name in ("dirichlet", "dirichlet, by median"):
        job = study_job("NoisyCorridor", name, corridor=30, length=1)
        (episode,) = noisy_corridor.corridor_episodes(job)
        tables.append(episode.table.q_values)
        assert bool(episode.history) == (name != "dirichlet")
    assert tables[0] != tables[1]


def test_weights_scale_the_bonus() -> None:
    """The values of a first episode, in which UCB tries what is new: Q is linear in the weight.

    Controls: gains by median have another scale, and without a bonus all values are 0.
    """
    tables = {}
    for name in ("UCB", "dirichlet", "dirichlet x10", "dirichlet, by median"):
        job = study_job("NoisyCorridor", name, corridor=30, length=1, alpha=1e6)
        (episode,) = noisy_corridor.corridor_episodes(job)
        tables[name] = np.array(episode.table.q_values)
    assert np.any(tables["dirichlet"] > 0.0)
    np.testing.assert_allclose(
        tables["dirichlet x10"], 10.0 * tables["dirichlet"], rtol=1e-12
    )
    assert not np.allclose(tables["dirichlet, by median"], tables["dirichlet"])
    assert not tables["UCB"].any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"corridor": 0}, "corridor must be a whole number >= 1"),
        ({"num_pictures": 1}, "num_pictures must be a whole number >= 2"),
        ({"warmup_episodes": 0}, "warmup_episodes must be a whole number >= 1"),
        ({"alpha": -0.1}, "alpha must be"),
        ({"epsilon": 1.5}, "epsilon must be"),
        ({"length": 0}, "length must be a whole number >= 1"),
    ],
)
def test_settings_are_checked(change, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(FULL["NoisyCorridor"].settings, **change)


# ---------------------------------------------------------------- the known answer


def found_by(explorer: str, seed: int) -> tuple[float, float]:
    """The first episode with the reward, and the share of the last steps at the screen."""
    settings = replace(
        FULL["NoisyCorridor"].settings, length=80, points=6, corridor=6, num_pictures=4
    )
    job = StudyJob("NoisyCorridor", explorer, 0, seed, settings)
    rows = catalogue.study_rows(job)
    return measured(rows, "found")[0], measured(rows, "watching")[-1]


@pytest.mark.unwatched
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_gain_finds_the_reward_and_prediction_error_stays_at_the_noise(
    seed,
) -> None:
    """Control: the weight decides, with and without division by the median."""
    for explorer in ("dirichlet", "dirichlet, by median x0.001"):
        found, watching = found_by(explorer, seed)
        assert found < 80
        assert watching < 0.1
        for other in ("L2 error", "dirichlet x10", "dirichlet, by median"):
            lost, watched = found_by(other, seed)
            assert not lost < found
            assert watched > 0.3


# ---------------------------------------------------------------- the page


class Outcome(NamedTuple):
    """An explorer's runs, as the page has them."""

    found: int
    first: float
    share: float
    late: float
    last_return: float


def outcome_of(name: str, rows: list[dict[str, Any]]) -> Outcome:
    found = curve_of(rows, name, "found")[1]
    return Outcome(
        int(np.isfinite(found).sum()),
        float(np.median(found[np.isfinite(found)]))
        if np.isfinite(found).any()
        else math.nan,
        float(np.median(curve_of(rows, name, "watching")[1].mean(axis=1))),
        float(np.median(last_quarter(rows, name, "watching"))),
        float(np.median(last_quarter(rows, name, "return"))),
    )


def test_numbers_of_the_page_are_those_of_the_kept_rows() -> None:
    rows = kept_rows("NoisyCorridor")
    of = {name: outcome_of(name, rows) for name in explorers_in(rows)}
    exact, ucb, vime = of["dirichlet"], of["UCB"], of["VIME"]
    table, error = of["VIME tabulated sigma"], of["L2 error"]
    median = of["dirichlet, by median"]
    hundredth = of["dirichlet, by median x0.01"]
    smallest = of["dirichlet, by median x0.001"]
    vimes, errors = (
        {weight: of[f"{name} {weight}"] for weight in ("x0.001", "x0.01")}
        for name in ("VIME", "L2 error")
    )
    start = np.median(curve_of(rows, "dirichlet", "watching")[1][:, 0])
    check_phrases(
        "television.md",
        (
            f"finds the reward in {smallest.found} of 10 runs",
            f"all ten runs, after {exact.first:g} episodes in the median",
            f"spends {error.share:.2f} of its steps at the screen at weight 1",
            f"without a bonus finds it in {ucb.found} of 10 runs",
            f"first watches, {start:.1f} of the steps",
            f"share in the last quarter is {exact.late:.2f}",
            f"spends {ucb.share:.2f} of its steps at the screen, and met the reward in {ucb.found} of 10",
            f"{vime.found} of 10 runs met the reward, and the median run ends with a share of {vime.late:.2f}",
            f"{table.found} of 10 runs met the reward, and the median return at the end is {table.last_return:.2f}",
            f"share at the end is {of['dirichlet x10'].late:.2f}. At weight 0.01",
            f"At weight 1 the share at the end is {median.late:.2f}",
            f"At weight 0.01, {hundredth.found} of 10 runs",
            f"At weight 0.001 all did, after {smallest.first:g} episodes",
            f"too small, and {of['dirichlet x0.01'].found} of 10 runs met",
            f"At weight 0.01 the share at the end is {errors['x0.01'].late:.2f}",
            f"At weight 0.001 it is {errors['x0.001'].late:.2f}, near",
            f"At weight 0.01, {vimes['x0.01'].found} of 10 runs met the reward, and at "
            f"weight 0.001 {vimes['x0.001'].found} of 10",
            f"L2 error met the reward in {of['L2 error, by median'].found} of 10 runs, "
            f"and VIME in {of['VIME, by median'].found}.",
            f"The shares at the end are {vimes['x0.01'].late:.2f} and {vimes['x0.001'].late:.2f}",
            f"at each weight the median return at the end is {vime.last_return:.2f}",
            f"VIME finds it in {vime.found} to {vimes['x0.01'].found} of 10 runs",
        ),
    )
    assert exact.found == of["dirichlet x0.1"].found == smallest.found == 10
    assert {each.found for each in (error, *errors.values())} == {0}
    assert {each.last_return for each in (vime, *vimes.values())} == {0.0}
    assert of["dirichlet x10"].late > 0.5 > of["dirichlet x0.1"].late
    assert exact.last_return == 1.0
    assert of["random"].found == of["epsilon-greedy"].found == ucb.found
    assert of["counts"].first < exact.first
    assert smallest.first < exact.first


def test_numbers_of_the_room_are_those_of_its_kept_rows() -> None:
    """In the order of the share; the relative bonus has another order."""
    rows = kept_rows("NoisyTV")
    names = {"exact gain": "dirichlet", "counts": "counts", "VIME": "VIME"}
    names["L2 error"] = "L2 error"
    found = {
        title: [
            float(np.median(last_quarter(rows, name, measure)))
            for measure in ("watching", "pays")
        ]
        for title, name in names.items()
    }
    ends = np.nanmedian(curve_of(rows, "VIME", "pays")[1], axis=0)
    phrases = [f"| {title} | {a:.2f} | {b:.2f} |" for title, (a, b) in found.items()]
    phrases += [
        f"falls to {found['VIME'][1]:.2f}. Yet VIME watches more",
        f"whose relative interest is {found['L2 error'][1]:.2f}",
        f"falls from {ends[0]:.0f} to {ends[-1]:.2f} over the run",
    ]
    check_phrases("television.md", phrases)
    shares, bonuses = zip(*found.values())
    assert list(shares) == sorted(shares, reverse=True)
    assert list(bonuses) != sorted(bonuses, reverse=True)
    settings = FULL["NoisyTV"].settings.vime
    assert (settings.step_size, settings.capacity) == (0.01, 1000)

"""The film: its runs against those of tasks, maps against loops, pictures against rows."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from lab import (
    FULL,
    by_fast,
    drawn_study,
    kept_rows,
    measured,
    played_study,
    small_job,
    study_job,
)
from PIL import Image

import vime_ref as vime
from vime_lab import figures
from vime_lab.figures import COLORS
from vime_lab.rows import Row, read_curve
from vime_lab.runs import run_job
from vime_lab.studies import catalogue, film
from vime_lab.studies.film import BONUS_OF, CURIOUS, PLAIN
from vime_lab.tasks import TASKS

ROOT = Path(__file__).parent.parent.parent.parent
SIZE = 400  # cells


@pytest.fixture(scope="module")
def small_rows() -> Iterator[list[Row]]:
    """Two seeds of both agents, of four short iterations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, film.TASK, small_job().task)
        yield [
            row
            for name in BONUS_OF
            for seed in (3, 4)
            for row in catalogue.study_rows(study_job("Film", name, seed, length=4))
        ]


def cells_of(rows: list[Row], name: str, measure: str, seed: int = 3) -> np.ndarray:
    mine = [r for r in rows if (r["explorer"], r["seed"]) == (name, seed)]
    return np.array(measured(mine, measure)).reshape(-1, SIZE)


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("name", BONUS_OF)
def test_a_run_against_that_of_the_task(name, small_rows, tmp_path) -> None:
    """Returns, and all states in their cells. Control: another seed's."""
    result = run_job(small_job(BONUS_OF[name], seed=3), tmp_path / "run.npz")
    assert result is not None
    mine, other = (
        measured(
            [r for r in small_rows if (r["explorer"], r["seed"]) == (name, seed)],
            "return",
        )
        for seed in (3, 4)
    )
    assert mine == [row["return_mean"] for row in result.rows]
    assert len(other) == len(mine)
    low, high = np.array([-1.2, -0.07]), np.array([0.6, 0.07])
    places = np.floor(20 * (result.visits - low) / (high - low)).astype(int)
    x, y = np.clip(places, 0, 19).T
    counts = np.bincount(20 * x + y, minlength=SIZE)
    steps = cells_of(small_rows, name, "steps")
    assert steps.sum(axis=0).tolist() == counts.tolist()
    assert np.cumsum(steps.sum(axis=1)).tolist() == [r["steps"] for r in result.rows]
    assert not np.array_equal(steps, cells_of(small_rows, name, "steps", seed=4))


def test_transitions_against_gymnasiums_car() -> None:
    """From the middle of each cell, each force: v′ = v + 0.0015 F − 0.0025 cos 3x. Control: the next cell."""
    grid = film.car_cells()
    batch = film.next_transitions(grid)
    assert batch.observations.shape == (3 * SIZE, 2)
    assert grid.index(batch.observations[::3]).tolist() == [*range(SIZE)]
    env = gym.make("MountainCarContinuous-v0").unwrapped
    env.reset(seed=0)
    for n in (0, 601, 1199):
        env.state = batch.observations[n]
        after, *_ = env.step(batch.actions[n])
        assert batch.actions[n] == [film.FORCES[n % 3]]
        assert np.array_equal(after, batch.next_observations[n])
        assert not np.array_equal(after, batch.next_observations[n - 3])


def test_gains_against_a_loop_over_cells() -> None:
    """The mean of the three forces' gains, with the noise of one generator. Control: the gains of one force."""
    rng = np.random.default_rng(0)
    short = replace(TASKS[film.TASK].vime, num_updates=5, num_samples=2, min_rows=3)
    settings = by_fast(short)
    space = gym.make("vime_ref/SparseMountainCar-v0").action_space
    batch = film.next_transitions(film.car_cells())
    model = vime.vime_init(2, space, rng, settings).update(batch, rng)
    found = film.gain_map(model, batch, 5)
    eps = settings.sample_noise(
        np.random.default_rng([0, film.MAP_SEED, 5]), 2, 1, model.layer_sizes
    )
    columns = batch.observations, batch.actions, batch.next_observations
    for cell in (0, 7, 399):
        rows = [column[3 * cell : 3 * cell + 3] for column in columns]
        gains = vime.information_gains(
            *(model.q, *model.normalized(*rows), eps), **model.model, step_size=0.01
        )
        assert found[cell] == pytest.approx(gains.mean())
        assert found[cell] != pytest.approx(gains[0])


def test_only_a_model_has_gains(small_rows) -> None:
    assert cells_of(small_rows, CURIOUS, "gain").shape == (4, SIZE)
    assert np.all(cells_of(small_rows, CURIOUS, "gain") >= 0.0)
    assert cells_of(small_rows, PLAIN, "gain").size == 0


# ---------------------------------------------------------------- table and pictures


def test_maps_add_up_the_first_seeds_steps(small_rows) -> None:
    maps = film.maps_in(small_rows, CURIOUS)
    steps = cells_of(small_rows, CURIOUS, "steps")
    assert np.array_equal(maps.steps[2].ravel(), steps[:3].sum(axis=0))
    gains = cells_of(small_rows, CURIOUS, "gain")
    assert np.array_equal(maps.gains[3].ravel(), gains[3])
    assert len(film.maps_in(small_rows, PLAIN).gains) == 0


def test_the_table_against_the_rows(small_rows) -> None:
    lines = film.film_table(small_rows).splitlines()
    assert lines[0] == "Film: TRPO on SparseMountainCar, seed 3, by iteration"
    assert lines[2].startswith("cells: of 400,")
    for t in (0, 3):
        cells = next(x for x in lines if x.startswith(f"{t} ")).split()
        maps = [film.maps_in(small_rows, name) for name in BONUS_OF]
        assert cells[1:3] == [f"{each.returns[t]:.2f}" for each in maps]
        assert cells[3:5] == [str(int((each.steps[t] > 0).sum())) for each in maps]
        assert float(cells[5]) == pytest.approx(np.median(maps[1].gains[t]), rel=0.05)


def test_a_gif_is_the_animation_and_a_png_the_still(small_rows, tmp_path) -> None:
    for name, frames in (("film.gif", 5), ("film.png", 1)):
        catalogue.draw_study(tmp_path / name, small_rows)
        with Image.open(tmp_path / name) as picture:
            assert getattr(picture, "n_frames", 1) == frames


def test_the_picture_shows_gains_above_the_steps_so_far(small_rows) -> None:
    figure = drawn_study("Film", small_rows)
    maps = film.maps_in(small_rows, CURIOUS)
    panels = [axes for axes in figure.axes if axes.get_xlim()[1] == 0.6]
    count = len(panels) // 2
    shown = [int(axes.get_title().split()[1]) for axes in panels[:count]]
    assert shown == [0, 1, 2, 3]
    for place, t in enumerate(shown):
        for axes, values in (
            (panels[place], maps.gains[t]),
            (panels[count + place], maps.steps[t]),
        ):
            (mesh,) = axes.collections
            drawn = np.ma.filled(mesh.get_array(), 0.0)
            assert np.array_equal(np.reshape(drawn, (20, 20)), values.T)
            (goal,) = axes.lines
            assert set(goal.get_xdata()) == {0.45}
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert {*film.MAP_LABELS.values(), "velocity"} < {*labels}


def test_the_animation_shows_both_agents_iteration_by_iteration(small_rows) -> None:
    """The last one first. Titles have the return, in the bonus's color; a cell without steps stays white."""
    frames = []
    for figure in played_study("Film", small_rows):
        panels = figure.axes[:2]
        titles = [axes.get_title() for axes in panels]
        colors = [axes.title.get_color() for axes in panels]
        arrays = [np.ma.filled(a.collections[0].get_array(), 0.0) for a in panels]
        frames.append((figure.get_suptitle(), titles, colors, arrays))
    iterations = [3, 0, 1, 2, 3]
    assert [text for text, *_ in frames] == [
        f"SparseMountainCar, seed 3: iteration {t}" for t in iterations
    ]
    for t, (_, titles, colors, arrays) in zip(iterations, frames):
        for place, (name, bonus) in enumerate(BONUS_OF.items()):
            maps = film.maps_in(small_rows, name)
            expected = f"TRPO with {name}: return {maps.returns[t]:.2f}"
            assert titles[place] == expected
            assert colors[place] == COLORS[bonus]
            drawn = np.reshape(arrays[place], (20, 20))
            assert np.array_equal(drawn, maps.steps[t].T)


def test_more_is_darker_in_gray() -> None:
    """So that pictures without colors can be read; 0 is white."""
    from matplotlib import colormaps

    for name in film.MAP_COLORS.values():
        red, green, blue, _ = colormaps[name](np.linspace(0, 1, 20)).T
        gray = 0.299 * red + 0.587 * green + 0.114 * blue
        assert np.all(np.diff(gray) < 0)
        assert gray[0] < 1.0


# ---------------------------------------------------------------- what is kept

KEPT = ROOT / "results" / "Film"


def test_the_kept_film_is_of_the_kept_first_run() -> None:
    """Returns of seed 0, digit by digit. Control: those of seed 1."""
    rows = catalogue.read_study(KEPT / "study.csv")
    first = read_curve(ROOT / "results" / "first" / "learning_curve.csv")
    for name, bonus in BONUS_OF.items():
        mine = film.maps_in(rows, name).returns.tolist()
        for seed in (0, 1):
            theirs = [
                row["return_mean"]
                for row in first
                if (row["bonus"], row["seed"]) == (bonus, seed)
            ]
            assert (mine == theirs) == (seed == 0)
    assert len(mine) == FULL["Film"].settings.length


def test_claims_of_the_page_against_the_kept_rows() -> None:
    """Iterations with rewards; the gain is lowest in the cell with the most steps, or beside it."""
    rows = catalogue.read_study(KEPT / "study.csv")
    plain, curious = (film.maps_in(rows, name) for name in BONUS_OF)
    assert (1 + np.flatnonzero(plain.returns)).tolist() == [17, 20]
    assert np.all(curious.returns[12:] == 1.0)
    assert curious.returns[11] < 1.0
    for steps, gains in zip(curious.steps[1:], curious.gains[1:]):
        most = np.unravel_index(np.argmax(steps), steps.shape)
        least = np.unravel_index(np.argmin(gains), gains.shape)
        assert np.max(np.abs(np.subtract(most, least))) <= 2


def test_the_kept_animation_is_small_and_plays() -> None:
    path = KEPT / "study.gif"
    assert path.stat().st_size < 2_000_000
    with Image.open(path) as image:
        assert image.n_frames == 21
        assert image.size == (900, 378)


def test_film_and_run_count_iterations_alike() -> None:
    """The plain agent's first reward in the kept rows and in README. Control: counted from 1."""
    lines = film.film_table(kept_rows("Film")).splitlines()[7:]
    first = next(line.split()[0] for line in lines if line.split()[1] != "0.00")
    readme = (KEPT.parent.parent / "README.md").read_text()
    told = f"no bonus      3          20  iteration {first} (1 of 3)"
    assert told in readme
    assert f"iteration {int(first) + 1} (1 of 3)" not in readme


def test_settings_need_an_iteration() -> None:
    with pytest.raises(ValueError, match=r"^length must be .*, got 0"):
        replace(FULL["Film"].settings, length=0)
    assert math.isclose(film.goal_of(), 0.45)
    assert figures.WIDTH == 10.0

"""The scripts benchmarks/ablations.py and benchmarks/sweep.py: their variants, their σ, and the tables of the page."""

import importlib
import itertools
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box
from lab import SIZES, curve_row, write_table
from numpy.random import default_rng

import bnn_ref as bnn
from vime_lab import tasks
from vime_lab.rows import RUN_COLUMNS
from vime_lab.settings import settings_of, with_setting
from vime_ref import Batch, Vime, VimeSettings, vime_init

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
PAGE = (ROOT / "docs" / "ablations.md").read_text()


@pytest.fixture(scope="module")
def scripts() -> Any:
    """Both modules, which are no package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("ablations"), importlib.import_module("sweep")
    finally:
        sys.path.pop(0)


@pytest.fixture
def ablations(scripts, monkeypatch) -> Any:
    """The first, with small runs."""
    task = tasks.TASKS[scripts[0].TASK]
    for name, value in SIZES.items():
        task = with_setting(task, name, value)
    monkeypatch.setitem(tasks.TASKS, scripts[0].TASK, task)
    monkeypatch.setitem(tasks.CONTROLS, "residual", scripts[0].ResidualSigma)
    return scripts[0]


# ---------------------------------------------------------------- variants


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, dict)
        found |= flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return found


def test_variants_change_the_settings_that_they_name_and_no_other(ablations):
    base, *others = (ablations.job_of(each, 100, 30) for each in ablations.VARIANTS)
    same = flat(settings_of(base.task))
    assert base.bonus_name == "vime"
    for job in others:
        found = flat(settings_of(job.task))
        changes = {name: found[name] for name in found if found[name] != same[name]}
        assert changes == ablations.VARIANTS[job.setting]
        assert changes or job.bonus_name != "vime"


# ---------------------------------------------------------------- σ, re-estimated


def small_model(num_rows: int = 40) -> tuple[Vime, Batch]:
    rng = default_rng(0)
    settings = VimeSettings(hidden_sizes=(4,), num_updates=3, num_samples=2, min_rows=9)
    space = Box(-1.0, 1.0, (1,), np.float64)
    seen = rng.normal(size=(num_rows, 2))
    ends = np.zeros(num_rows, bool)
    acts = rng.uniform(-1, 1, (num_rows, 1))
    batch = Batch(seen, acts, np.zeros(num_rows), seen + 0.1 * acts, ends, ends)
    return vime_init(2, space, rng, settings), batch


def test_sigma_is_the_root_mean_squared_residual(ablations):
    """Oracle: the predictions of the mean weights, row by row. Control: the fixed σ gives other gains."""
    model, batch = small_model()
    assert ablations.with_residual(model) is model
    fitted = model.update(batch, default_rng(1))
    inputs, targets = fitted.normalized(*fitted.pool.columns)
    squares = [
        float(error**2)
        for row, target in zip(inputs, targets, strict=True)
        for error in target
        - bnn.mlp(fitted.q.mu[None], row[None], fitted.layer_sizes)[0, 0]
    ]
    sigma = np.sqrt(np.mean(squares))
    found = ablations.with_residual(fitted)
    assert found.settings.likelihood_sigma == pytest.approx(sigma, rel=1e-12)

    bonus = ablations.ResidualSigma(fitted)
    gains = bonus.reward(batch, default_rng(2))
    assert np.array_equal(gains, found.reward(batch, default_rng(2)))
    assert not np.allclose(gains, fitted.reward(batch, default_rng(2)))
    after = bonus.update(batch, default_rng(3)).model
    assert np.array_equal(after.q.mu, found.update(batch, default_rng(3)).q.mu)


# ---------------------------------------------------------------- runs, tables, pictures


def test_runs_that_are_missing_are_added(ablations, tmp_path, capsys):
    """The second command finds the first one's runs; runs are those of their seeds."""
    folder = tmp_path / "kept"
    first = ["as the task has it", "σ re-estimated"]
    ablations.run(folder, first, [0], 3)
    before = ablations.read(folder / "ablations.csv")
    ablations.run(folder, [*first, "noise as bonus"], [0, 1], 3)
    rows = ablations.read(folder / "ablations.csv")
    assert str(rows[: len(before)]) == str(before)  # nan equals nan
    assert len(rows) == 3 * 3 * 2
    assert capsys.readouterr().out.count(" s\n") == 6
    assert '"num_data = 50"' in (folder / "config.json").read_text()
    assert "| noise as bonus | never, 0 of 2 |" in ablations.table(rows)


def test_a_run_that_raises_is_a_row_of_nan(ablations, monkeypatch, capsys):
    def fails(*arguments: Any) -> None:
        raise ValueError("rho must be >= -700")

    monkeypatch.setattr(ablations, "run_job", fails)
    (row,) = ablations.rows_of(ablations.job_of("σ = 5", 7, 3))
    assert (row["seed"], row["iteration"]) == (7, 0)
    assert np.isnan(row["return_mean"])
    assert capsys.readouterr().out == "σ = 5 7: rho must be >= -700\n"


def rewarded(variant: str, seed: int, first: int, size: float) -> list[dict[str, Any]]:
    return [
        {
            "variant": variant,
            "seed": seed,
            "iteration": iteration,
            "return_mean": size * (iteration >= first),
        }
        for iteration in range(4)
    ]


def test_the_table_counts_first_rewards_and_pairs(ablations, tmp_path):
    rows = [
        *(row for seed in (0, 1) for row in rewarded("λ = 1", seed, 1 + seed, 3.0)),
        *(rewarded("as the task has it", 0, 3, 1.0)),
        *(rewarded("as the task has it", 1, 9, 1.0)),
    ]
    _, _, base, other = ablations.table(rows).splitlines()
    assert base == "| as the task has it | 3 [3, 3], 1 of 2 |  | 0.5 [0.2, 0.8] |  |"
    assert other.startswith(
        "| λ = 1 | 1.5 [1.25, 1.75], 2 of 2 | 1.00 [0.16, 1.00] | 3.0 [3.0, 3.0] | 1.00 [0.16, 1."
    )
    failed = {"variant": "σ = 5", "seed": 0, "iteration": 0, "return_mean": np.nan}
    *_, last = ablations.table(
        [*rows, failed, *rewarded("σ = 5", 1, 0, 2.0)]
    ).splitlines()
    assert last.startswith(
        "| σ = 5 | 0 [0, 0], 1 of 1; 1 ended in an error | 1.00 [nan, nan] | 2.0 [2.0, 2.0] |"
    )
    ablations.draw(tmp_path / "seen.png", rows)
    assert (tmp_path / "seen.png").stat().st_size > 1000


def test_the_sweep_shows_ours_beside_the_originals(scripts, tmp_path):
    sweep = scripts[1]
    (tmp_path / "ablations").mkdir()
    original = tmp_path / sweep.ORIGINAL
    original.write_bytes((RESULTS / sweep.ORIGINAL).read_bytes())
    for folder in sweep.AGENTS.values():
        (tmp_path / folder).mkdir()
        rows = [
            curve_row("vime", seed, 0, mean, setting=f"agent.eta={eta}")
            for eta in ("0", "0.1")
            for seed, mean in ((0, -100.0), (1, -50.0))
        ]
        assert set(RUN_COLUMNS) == set(rows[0])
        write_table(tmp_path / folder / "learning_curve.csv", rows)
    lines = sweep.table(tmp_path).splitlines()
    assert len(lines) == 2 + 11
    assert lines[2] == "| 0 | -75 [-88, -62] |  |  | -75 [-88, -62] |  |  |  |"
    tenth = next(line for line in lines if line.startswith("| 0.1 |"))
    assert "-75 [-88, -62] | 0.50 [0.00, 1.00] | -99 [-113, -89] |" in tenth
    sweep.draw(tmp_path)
    assert (tmp_path / sweep.PICTURE).stat().st_size > 1000


def test_the_originals_settings_of_its_sweep():
    """Its script has a network as baseline, all rows in the curvature, and 1e-3; the rest is as in other tasks."""
    task = tasks.ORIGINAL_TASKS["DenseMountainCar"]
    assert (task.value_inputs, task.value_sizes) == ("state", (32,))
    assert (task.trpo.max_kl, task.trpo.fisher_every, task.trpo.shrink) == (
        0.01,
        1,
        0.8,
    )
    assert task.vime == VimeSettings()
    assert (task.noise, task.agent.bootstrap) == ("shared", False)
    assert not task.agent.curious_values
    other = tasks.ORIGINAL_TASKS["SparseMountainCar"]
    assert task.agent == replace(other.agent, eta=task.agent.eta)


def test_the_originals_series_are_complete(scripts):
    series = scripts[1].originals(RESULTS)
    assert len(series) == 4
    for sweep in series.values():
        assert list(sweep) == [1e-4, 3e-4, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
        assert all(low <= middle <= high < 0 for low, middle, high in sweep.values())


# ---------------------------------------------------------------- the page


def test_the_page_shows_the_kept_numbers(scripts):
    """Each variant has 10 seeds, 100 to 109, of 30 iterations; a run that ended in an error is one row."""
    ablations, sweep = scripts
    rows = ablations.read(RESULTS / "ablations" / "ablations.csv")
    lengths = Counter((row["variant"], row["seed"]) for row in rows)
    assert {*lengths} == {*itertools.product(ablations.VARIANTS, ablations.SEEDS)}
    failed = [run for run, length in lengths.items() if length != ablations.ITERATIONS]
    assert Counter(variant for variant, _ in failed) == {
        "exact gain": 1,
        "exact gain, λ = 0.1": 5,
    }
    assert ablations.table(rows) in PAGE
    assert sweep.table(RESULTS) in PAGE


def test_what_the_page_concludes(scripts):
    """Which intervals exclude ½; how many runs of the sweep ended low."""
    ablations, sweep = scripts
    rows = ablations.read(RESULTS / "ablations" / "ablations.csv")
    base, *others = ablations.outcomes(rows).items()
    intervals = {
        (variant, pair.__name__): pair(mine, base[1])
        for variant, mine in others
        if variant != "noise as bonus"
        for pair in (ablations.sooner, ablations.higher)
    }
    assert len(intervals) == 28
    apart = [
        key for key, (low, _, high) in intervals.items() if low > 0.5 or high < 0.5
    ]
    assert apart == [("one sample", "sooner"), ("line search by 0.8", "sooner")]

    finals = sweep.finals(RESULTS / "DenseMountainCar-trpo")
    small = np.concatenate([each for eta, each in finals.items() if eta <= 0.01])
    medium = np.concatenate([each for eta, each in finals.items() if 0.01 < eta < 1])
    assert (np.count_nonzero(small < -250), len(small)) == (11, 50)
    assert (np.min(medium) > -120, len(medium)) == (True, 30)

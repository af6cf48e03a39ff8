"""The scripts benchmarks/ablations.py and benchmarks/sweep.py: their variants, their σ, and the tables of the page."""

import importlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable
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
from vime_lab.rows import RUN_COLUMNS, read_curve
from vime_lab.settings import settings_of, with_setting
from vime_lab.statistics import by_curve, final_returns, improvement_interval, runs
from vime_lab.tables import earliness, first_rewards, improvement_cell
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
    assert "| noise as bonus | never, 0 of 2 |" in ablations.table(rows)


def failing(message: str) -> Callable[..., None]:
    def fails(*arguments: Any) -> None:
        raise ValueError(message)

    return fails


def test_a_run_that_leaves_the_range_of_rho_is_a_row_of_nan(
    ablations, monkeypatch, tmp_path, capsys
):
    """The message is that of the reference, and the file keeps it. Control: any other error ends the command."""
    with pytest.raises(ValueError, match=r"^rho must be") as found:
        bnn.DiagNormal(np.zeros(1), np.full(1, -701.0))
    message = str(found.value)
    monkeypatch.setattr(ablations, "run_job", failing(message))
    ablations.run(tmp_path, ["σ = 5"], [7], 3)
    assert capsys.readouterr().out.startswith(f"σ = 5 7: {message}\n")
    (row,) = ablations.read(tmp_path / "ablations.csv")
    assert (row["seed"], row["iteration"], row["error"]) == (7, 0, message)
    assert np.isnan(row["return_mean"])

    monkeypatch.setattr(ablations, "run_job", failing("rho must be finite"))
    with pytest.raises(ValueError, match="rho must be finite"):
        ablations.run(tmp_path, ["σ = 5"], [8], 3)


def test_runs_are_not_added_to_those_of_other_settings(ablations, tmp_path):
    """The settings come first, so an interrupted command leaves them. Control: other seeds and variants are added."""
    ablations.run(tmp_path, ["σ = 5"], [0], 1)
    config = tmp_path / "config.json"
    before = config.read_bytes()
    kept = json.loads(before)
    assert kept["task"]["iterations"] == 1
    assert kept["variants"]["num_data = 50"] == {"vime.num_data": 50.0}
    assert not {"format", "seed", "setting"} & kept.keys()
    with pytest.raises(ValueError, match=r"holds other runs: task differ$"):
        ablations.run(tmp_path, ["σ = 5"], [1], 2)
    ablations.run(tmp_path, ["λ = 1"], [1], 1)
    assert config.read_bytes() == before

    config.write_text(json.dumps({**kept, "code": "another"}))
    with pytest.raises(ValueError, match=r"holds other runs: code differ$"):
        ablations.run(tmp_path, ["σ = 5"], [1], 1)
    config.unlink()
    with pytest.raises(ValueError, match="holds other runs: bonuses, code, "):
        ablations.run(tmp_path, ["σ = 5"], [1], 1)
    assert len(ablations.read(tmp_path / "ablations.csv")) == 2


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
        "| σ = 5 | 0 [0, 0], 1 of 1; 1 ended in an error | 1.00 | 2.0 [2.0, 2.0] | 1.00 |"
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
    """Which intervals exclude ½, whatever the bootstrap draws; how many runs ended low."""
    ablations, sweep = scripts
    rows = ablations.read(RESULTS / "ablations" / "ablations.csv")
    base, *others = ablations.outcomes(rows).items()
    pairs = {
        (variant, what): pair
        for variant, mine in others
        if variant != "noise as bonus"
        for what, pair in zip(
            ("sooner", "higher"), ablations.compared(mine, base[1]), strict=True
        )
    }
    assert len(pairs) == 28
    apart = Counter(
        key
        for key, pair in pairs.items()
        for seed in range(6)
        if (ends := improvement_interval(*pair, seed=seed))[0] > 0.5 or ends[1] < 0.5
    )
    assert apart.pop(("one sample", "sooner")) == 6
    assert {*apart} == {("line search by 0.8", "sooner")}
    touching = pairs["line search by 0.8", "sooner"]
    lows = [improvement_interval(*touching, seed=seed)[0] for seed in range(6)]
    assert (f"{min(lows):.2f}", f"{max(lows):.2f}") == ("0.49", "0.50")

    # by agent: below −250, and runs, for small and for medium η
    failures = {}
    for agent, folder in sweep.AGENTS.items():
        finals = sweep.finals(RESULTS / folder)
        small = np.concatenate([each for eta, each in finals.items() if eta <= 0.01])
        medium = np.concatenate(
            [each for eta, each in finals.items() if 0.01 < eta < 1]
        )
        failures[agent] = [
            (np.count_nonzero(each < -250), len(each)) for each in (small, medium)
        ]
        lowest = np.min(medium)
        assert (lowest > -120) == (agent == "TRPO")
    assert failures == {"TRPO": [(11, 50), (0, 30)], "REINFORCE": [(0, 50), (1, 30)]}
    assert f"{lowest:.0f}" == "-338"


def test_noise_finds_the_reward_later_but_finds_it(scripts):
    """What the page says of 30 iterations here, and of 150 on the page of experiments."""
    ablations, _ = scripts
    rows = ablations.read(RESULTS / "ablations" / "ablations.csv")
    assert len(ablations.outcomes(rows)["noise as bonus"].rewarded) == 2
    task = read_curve(RESULTS / "SparseCartPoleSwingup" / "learning_curve.csv")
    groups = by_curve(task)
    firsts = [first_rewards(groups["", bonus]) for bonus in ("vime", "noise")]
    assert [len(mine) - mine.count(None) for mine in firsts] == [10, 8]
    assert min(150, *map(len, runs(groups["", "noise"]).values())) == 150
    assert improvement_cell(*map(earliness, firsts)) == "1.00 [0.69, 1.00]"
    finals = [final_returns(task, bonus) for bonus in ("vime", "noise")]
    assert improvement_cell(*finals) == "0.62 [0.35, 0.86]"

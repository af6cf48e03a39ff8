"""Shared runs for the tests of the laboratory."""

from dataclasses import replace
from pathlib import Path

import pytest
from lab import NAME, in_this_process, small_job, stop_after, undrawn

from vime_lab import runs
from vime_lab.rows import Row
from vime_lab.tasks import BONUSES, TASKS, Job


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Job, Path, list[Row]]]:
    """For each bonus, a run that was never stopped."""
    folder = tmp_path_factory.mktemp("finished")
    made = {}
    for bonus in BONUSES:
        job, path = small_job(bonus), folder / f"{bonus}.npz"
        result = runs.run_job(job, path)
        assert result is not None
        made[bonus] = job, path, result.rows
    return made


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Job, bytes]]:
    """For each bonus, the checkpoint of a run that was stopped after two iterations."""
    folder = tmp_path_factory.mktemp("kept")
    made = {}
    for bonus in BONUSES:
        job, path = small_job(bonus), folder / f"{bonus}.npz"
        assert runs.run_job(job, path, stop_after(2)) is None
        made[bonus] = job, path.read_bytes()
    return made


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, which shows every file that remains.

    They start no processes.
    """
    monkeypatch.chdir(tmp_path)
    in_this_process(monkeypatch)


@pytest.fixture
def small_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task with a few steps per iteration."""
    task = TASKS[NAME]
    small = replace(
        task,
        iterations=2,
        agent=replace(task.agent, batch_steps=500),
        vime=replace(task.vime, hidden_sizes=(4,), num_updates=5, num_samples=2),
        policy_sizes=(4,),
        value_sizes=(3,),
    )
    monkeypatch.setitem(TASKS, NAME, small)


@pytest.fixture
def undrawn_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pictures empty files, because drawing takes longer than everything else."""
    undrawn(monkeypatch)

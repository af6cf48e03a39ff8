"""Checkpoints: their contents, rejection of damaged or foreign ones, and full disks."""

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import ITERATIONS, NAME, Held, full, held, small_job, stop_after, stream_moved
from numpy.random import default_rng

import bnn_ref as bnn
from vime_lab import archives, checkpoints, runs
from vime_lab.checkpoints import CheckpointError, Progress
from vime_lab.tasks import Job, start

# ---------------------------------------------------------------- what they hold


ALTERED: dict[str, Callable[[Progress], Progress]] = {
    "policy": lambda p: p._replace(
        policy=replace(p.policy, theta=p.policy.theta + 1e-3)
    ),
    "value": lambda p: p._replace(value=replace(p.value, theta=p.value.theta + 1e-3)),
    "value scale": lambda p: p._replace(
        value=replace(p.value, scale=p.value.scale + 1.0)
    ),
    "value center": lambda p: p._replace(
        value=replace(p.value, center=p.value.center + 1.0)
    ),
    "observation center": lambda p: p._replace(
        value=replace(p.value, observation_center=np.ones(2))
    ),
    "observation scale": lambda p: p._replace(
        value=replace(p.value, observation_scale=np.full(2, 3.0))
    ),
    "mu": lambda p: model_altered(
        p, q=bnn.DiagNormal(p.bonus.q.mu + 1e-6, p.bonus.q.rho)
    ),
    "rho": lambda p: model_altered(
        p, q=bnn.DiagNormal(p.bonus.q.mu, p.bonus.q.rho + 1e-6)
    ),
    "adam mean": lambda p: model_altered(
        p, adam=p.bonus.adam._replace(mean=0.0 * p.bonus.adam.mean)
    ),
    "adam square": lambda p: model_altered(
        p, adam=p.bonus.adam._replace(square=2.0 * p.bonus.adam.square)
    ),
    "adam steps": lambda p: model_altered(p, adam=p.bonus.adam._replace(num_steps=0)),
    "pool": lambda p: model_altered(
        p, pool=replace(p.bonus.pool, observations=p.bonus.pool.observations[::-1])
    ),
    "center": lambda p: model_altered(p, center=p.bonus.center + 0.1),
    "scale": lambda p: model_altered(p, scale=2.0 * p.bonus.scale),
    "history": lambda p: p._replace(history=()),
    "rows": lambda p: p._replace(rows=[{**p.rows[0], "elbo": 0.0}, *p.rows[1:]]),
    "visits": lambda p: p._replace(visits=p.visits[1:]),
    "environment": lambda p: stream_moved(p, "environment"),
    "actions": lambda p: stream_moved(p, "policy"),
    "gains": lambda p: stream_moved(p, "model"),
    "replay": lambda p: stream_moved(p, "replay"),
}


def model_altered(progress: Progress, **changes: Any) -> Progress:
    return progress._replace(bonus=replace(progress.bonus, **changes))


def continued(
    kept: dict[str, tuple[Job, bytes]],
    path: Path,
    alter: Callable[[Progress], Progress],
) -> Held:
    """The checkpoint one iteration after the kept one, with one part altered in between."""
    job, content = kept["vime"]
    path.write_bytes(content)
    begun = start(job)
    progress = alter(
        checkpoints.restored(job, begun, *checkpoints.read_checkpoint(path, job))
    )
    checkpoints.write_checkpoint(
        path, job, next(runs.progressions(job, begun, progress))
    )
    return held(path, job)


def test_each_part_of_a_checkpoint_matters(kept, tmp_path):
    """Negative controls of the comparison above: any part restored wrong shows one iteration later."""
    right = continued(kept, tmp_path / "right.npz", lambda progress: progress)
    assert right == continued(kept, tmp_path / "again.npz", lambda progress: progress)
    unseen = [
        name
        for name, alter in ALTERED.items()
        if continued(kept, tmp_path / "wrong.npz", alter) == right
    ]
    assert unseen == []


# ---------------------------------------------------------------- rejected


def refused(path: Path, content: bytes, job: Job) -> str:
    """The error message for this content; the file does not change."""
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        checkpoints.read_checkpoint(path, job)
    with pytest.raises(CheckpointError):
        runs.run_job(job, path)
    assert path.read_bytes() == content
    assert "\n" not in str(error.value)
    assert f"checkpoint {path} " in str(error.value)
    return str(error.value)


def with_digest(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


@pytest.mark.unwatched
def test_damaged_checkpoints_are_rejected_and_left(kept, tmp_path, monkeypatch):
    """Flipped bits and truncation, at a few hundred places. Control: the complete file is read."""
    job, content = kept["none"]
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    checkpoints.read_checkpoint(path, job)
    begun = start(job)
    monkeypatch.setattr(runs, "start", lambda job: begun)
    rng = default_rng(0)
    places = {
        *range(40),
        *range(len(content) - 80, len(content)),
        *map(int, rng.integers(len(content), size=100)),
    }
    for place in places:
        flipped = bytes([content[place] ^ (1 << int(rng.integers(8)))])
        refused(path, content[:place] + flipped + content[place + 1 :], job)
        refused(path, content[:place], job)
    refused(path, content + b"\0", job)


OTHERS = {
    "task.agent.eta": (small_job(**{"agent.eta": 0.5}), "0.0001", "0.5"),
    "task.vime.hidden_sizes": (small_job(**{"vime.hidden_sizes": [5]}), "[4]", "[5]"),
    "task.iterations": (small_job(iterations=9), str(ITERATIONS), "9"),
    "seed": (small_job(seed=1), "0", "1"),
    "bonus_name": (small_job("l2"), "'vime'", "'l2'"),
    "setting": (small_job()._replace(setting="agent.eta=1"), "''", "'agent.eta=1'"),
    "task_name": (
        small_job()._replace(task_name="Elsewhere"),
        f"'{NAME}'",
        "'Elsewhere'",
    ),
}


@pytest.mark.parametrize("place", OTHERS)
def test_another_runs_checkpoint_is_rejected_by_what_differs(place, kept, tmp_path):
    other, theirs, mine = OTHERS[place]
    message = refused(tmp_path / "run.npz", kept["vime"][1], other)
    assert message.endswith(
        f"belongs to another run: its {place} is {theirs}, here {mine}"
    )


@pytest.mark.parametrize("package", [*checkpoints.PACKAGES, "python"])
def test_another_versions_checkpoint_is_rejected_by_what_differs(
    package, kept, tmp_path, monkeypatch
):
    installed = checkpoints.installed
    monkeypatch.setattr(
        checkpoints,
        "installed",
        lambda name: "9.9.9" if name == package else installed(name),
    )
    if package == "python":
        monkeypatch.setattr(checkpoints.sys, "version", "9.9.9 (elsewhere)")
    message = refused(tmp_path / "run.npz", kept["vime"][1], kept["vime"][0])
    assert f"its versions.{package} is '" in message
    assert message.endswith("here '9.9.9'")


@pytest.mark.parametrize(
    ("name", "value"),
    [("FORMAT", "vime-ref checkpoint 2"), ("ROOT_SEED", 1), ("CODE", "a1")],
)
def test_another_format_root_seed_or_code_is_rejected_by_what_differs(
    name, value, kept, tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoints, name, value)
    message = refused(tmp_path / "run.npz", kept["vime"][1], kept["vime"][0])
    assert f"its {name.lower()} is " in message


def test_a_package_that_is_not_installed_has_the_version_none():
    assert checkpoints.installed("no-such-package-anywhere") == "none"
    assert checkpoints.installed("numpy") == np.__version__


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_what_is_no_checkpoint_is_rejected_and_no_pickle_is_opened(tmp_path):
    """Also with a correct digest. Control: NumPy would open the pickle if allowed."""
    folder, path, job = tmp_path / "trapped", tmp_path / "run.npz", small_job()
    trap = npz(json=np.array([Trap(folder)], dtype=object))
    plain = npz(json=np.zeros(3))
    for content in (
        b"",
        b"\n",
        b"a text\n",
        pickle.dumps(Trap(folder)),
        trap,
        plain,
        npz(a=np.zeros(3)),
    ):
        assert "not a checkpoint" in refused(path, content, job)
        assert "not a checkpoint" in refused(path, with_digest(content), job)
    assert not folder.exists()
    np.load(io.BytesIO(trap), allow_pickle=True)["json"]
    assert folder.exists()


def test_a_checkpoint_that_cannot_be_read_is_rejected(tmp_path):
    with pytest.raises(CheckpointError, match=r"can't read checkpoint .*run\.npz: "):
        checkpoints.read_checkpoint(tmp_path / "run.npz", small_job())


def changed(
    content: bytes, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> bytes:
    """The checkpoint after a change of its JSON and arrays, with the right digest."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    state = json.loads(arrays.pop("json").tobytes())
    change(state, arrays)
    text = json.dumps(state).replace('"1e999"', "1e999")
    encoded = np.frombuffer(text.encode(), np.uint8)
    return archives.archive_bytes({**arrays, "json": encoded})


def put(where: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """A change of an entry of the JSON, by its name with dots."""

    def change(state: dict[str, Any], arrays: dict[str, Any]) -> None:
        *outer, last = where.split(".")
        for name in outer:
            state = state[name]
        state[last] = value

    return change


def lost(part: str, name: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(state: dict[str, Any], arrays: dict[str, Any]) -> None:
        del state[part][name]

    return change


def array(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(state: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays[name] = value(arrays[name])

    return change


def nan_seed(rows: Any) -> Any:
    rows[0, 0] = np.nan
    return rows


def inserted(values: Any) -> Any:
    return np.concatenate([values, values])


STRANGE = {
    "another policy": (array("policy", inserted), "policy must have shape (18,)"),
    "a wider pool": (
        array("pool_actions", lambda each: np.tile(each, 2)),
        "pool_actions must have shape",
    ),
    "a larger pool": (
        array("pool_actions", lambda each: np.zeros((100_001, 1))),
        "pool_actions must have shape",
    ),
    "a row twice": (array("rows", inserted), "its rows differ"),
    "no number": (array("rows", nan_seed), "its rows differ"),
    "too many states": (
        array("visits", lambda each: np.zeros((9999, 2))),
        "its visits differ",
    ),
    "no history": (put("history", None), "history must be an array"),
    "no such stream": (put("streams.late", {}), "streams has an unknown 'late'"),
    "a lost stream": (lost("streams", "policy"), "streams lacks 'policy'"),
    "an unknown part": (put("more", 1), "it has an unknown 'more'"),
    "a negative history": (put("history", [-1.0]), "history must be >= 0"),
    "flags as history": (put("history", [True]), "history must be an array"),
    "a stream of another kind": (put("streams.policy", {}), "ValueError("),
    "an infinite history": (put("history", ["1e999"]), "ValueError("),
    "negative steps": (put("adam_steps", -1), "adam_steps must be"),
    "a text": (put("value.scale", "\x1b[31m" * 200), "is not a checkpoint of this run"),
    "another seed": (put("seed", "\n" * 500), r"its seed is '\n\n"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_parts_that_do_not_fit_the_run_are_rejected_in_one_line(name, kept, tmp_path):
    """Control: the same checkpoint, rewritten without a change, is resumed."""
    job, content = kept["vime"]
    change, reason = STRANGE[name]
    path = tmp_path / "run.npz"
    strange = changed(content, change)
    path.write_bytes(strange)
    with pytest.raises(CheckpointError) as error:
        runs.run_job(job, path)
    assert path.read_bytes() == strange
    assert reason in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 700
    path.write_bytes(changed(content, lambda state, arrays: None))
    assert runs.run_job(job, path, stop_after(1)) is None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[]",
        '{"seed": NaN}',
        "\udcff",
        "{",
        '{"a":' * 900 + "1" + "}" * 900,
    ],
)
def test_json_that_is_none_is_rejected(text, tmp_path):
    path = tmp_path / "run.npz"
    encoded = np.frombuffer(text.encode(errors="surrogateescape"), np.uint8)
    path.write_bytes(archives.archive_bytes({"json": encoded}))
    with pytest.raises(CheckpointError, match="checkpoint ") as error:
        checkpoints.read_checkpoint(path, small_job())
    assert str(error.value).isprintable()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, None])
@pytest.mark.parametrize("name", ["run.npz", "run.csv"])
def test_pipes_folders_and_links_are_rejected_without_waiting(
    make, name, kept, tmp_path
):
    """The file behind a link stays as it is: it is neither read nor emptied."""
    job, content = kept["none"]
    (tmp_path / "run.npz").write_bytes(content)
    other = tmp_path / "other"
    other.write_bytes(content)
    path = tmp_path / name
    path.unlink(missing_ok=True)
    make(path) if make else path.symlink_to(other)
    with pytest.raises(CheckpointError) as error:
        runs.run_job(job, tmp_path / "run.npz")
    assert str(path) in str(error.value)
    assert other.read_bytes() == content


# ---------------------------------------------------------------- in use


def never() -> bool:
    return False


@pytest.mark.parametrize(
    ("seconds", "stop"), [(0.0, False), (1e9, True)], ids=["too long", "told to stop"]
)
def test_a_checkpoint_in_use_is_rejected_and_left(
    seconds, stop, kept, tmp_path, monkeypatch
):
    """After a while, or when told to stop. Control: once it is free, the run continues."""
    job, content = kept["none"]
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    monkeypatch.setattr(checkpoints, "CLAIM_SECONDS", seconds)
    with checkpoints.claimed(path, never) as file:
        print("a row", file=file, flush=True)
        with pytest.raises(CheckpointError) as error:
            runs.run_job(job, path, lambda: stop)
    assert str(error.value) == f"checkpoint {path} is in use by another process"
    assert (path.read_bytes(), checkpoints.rows_file(path).read_text()) == (
        content,
        "a row\n",
    )
    assert len(runs.run_job(job, path).rows) == ITERATIONS


def test_a_checkpoint_that_comes_free_is_waited_for_and_read_only_then(
    finished, kept, tmp_path, monkeypatch
):
    """The run does not repeat the other process's work. Control: from the earlier checkpoint, work is left."""
    job, reference, rows = finished["none"]
    path = tmp_path / "run.npz"
    path.write_bytes(kept["none"][1])
    other = checkpoints.claimed(path, never)
    other.__enter__()

    def end_the_other(seconds: float) -> None:
        path.write_bytes(reference.read_bytes())
        other.__exit__(None, None, None)

    monkeypatch.setattr(checkpoints.time, "sleep", end_the_other)
    monkeypatch.setattr(runs, "train", full)
    assert str(runs.run_job(job, path).rows) == str(rows)
    path.write_bytes(kept["none"][1])
    with pytest.raises(OSError, match="No space left"):
        runs.run_job(job, path)


# ---------------------------------------------------------------- not written


class FullDisk(io.FileIO):
    """A file that accepts only a part of the data."""

    def write(self, content: Any) -> int:
        super().write(content[:1000])
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    where, kept, tmp_path, monkeypatch
):
    """Control: with free disk space the run continues."""
    job, content = kept["none"]
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    opened = Path.open
    instead = {"open": full, "write": FullDisk}.get(where)
    with monkeypatch.context() as broken:
        if instead:
            broken.setattr(
                Path,
                "open",
                lambda self, *a, **k: (instead if self.suffix == ".tmp" else opened)(
                    self, *a, **k
                ),
            )
        else:
            broken.setattr(os, where, full)
        with pytest.raises(CheckpointError) as error:
            runs.run_job(job, path)
    assert str(error.value) == f"can't write checkpoint {path}: No space left on device"
    assert path.read_bytes() == content
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.csv", "run.npz"]
    assert runs.run_job(job, path) is not None
    assert path.read_bytes() != content


def test_a_folder_that_is_gone_raises(kept, tmp_path):
    job, content = kept["none"]
    path = tmp_path / "gone" / "run.npz"
    (tmp_path / "run.npz").write_bytes(content)
    begun = start(job)
    progress = checkpoints.restored(
        job, begun, *checkpoints.read_checkpoint(tmp_path / "run.npz", job)
    )
    with pytest.raises(
        CheckpointError,
        match=f"can't write checkpoint {path}: No such file or directory",
    ):
        checkpoints.write_checkpoint(path, job, progress)

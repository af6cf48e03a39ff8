"""Files that survive a crash: replaced completely or not at all."""

import os
from pathlib import Path

import pytest
from lab import full

from vime_lab import files
from vime_lab.files import make_folder, temporary_of, write_files


def test_write_files_replaces_all(tmp_path: Path) -> None:
    """A link under the temporary's name is replaced, not followed."""
    one = tmp_path / "one.csv"
    two = tmp_path / "two.json"
    one.write_bytes(b"old")
    temporary_of(two).symlink_to(one)
    write_files({one: b"1", two: b"2"})
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    assert not two.is_symlink()
    assert sorted(tmp_path.iterdir()) == [one, two]


@pytest.mark.parametrize("where", ["open", "fsync", "replace"])
def test_nothing_is_replaced_if_one_file_cannot_be_written(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of the last file. Control: the same files are written afterwards."""
    one = tmp_path / "one.csv"
    two = tmp_path / "two.json"
    for path in (one, two):
        path.write_bytes(b"old")

    with monkeypatch.context() as patch:
        if where == "open":
            temporary_of(two).mkdir()  # can't be unlinked
        else:
            patch.setattr(os, where, full)
        with pytest.raises(OSError, match=r"No space|directory"):
            write_files({one: b"1", two: b"2"})
    if where == "open":
        temporary_of(two).rmdir()
    assert (one.read_bytes(), two.read_bytes()) == (b"old", b"old")
    assert sorted(tmp_path.iterdir()) == [one, two]
    write_files({one: b"1", two: b"2"})
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")


def test_a_folder_is_made_with_its_parents_and_each_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert set(synced) == {tmp_path, tmp_path / "a"}
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_system_that_opens_no_folder_still_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows raises PermissionError."""

    def refuse(*arguments: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        write_files({tmp_path / "one": b"1"})
    assert (tmp_path / "one").read_bytes() == b"1"

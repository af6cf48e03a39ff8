"""Files: replaced completely or not at all, and read only if they are regular."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import full

from vime_lab import files
from vime_lab.files import (
    make_folder,
    open_regular,
    read_file,
    temporary_of,
    write_files,
)


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


# ---------------------------------------------------------------- reading


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    path.symlink_to(path.parent / "target")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def test_a_regular_file_is_read_and_a_link_only_if_told(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"1")
    link(tmp_path / "link")
    assert read_file(tmp_path / "target", follow=False) == b"1"
    assert read_file(tmp_path / "link") == b"1"
    with pytest.raises(OSError, match="must be a regular file"):
        read_file(tmp_path / "link", follow=False)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "nowhere")


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("make", [fifo, folder, device])
def test_what_is_no_regular_file_is_rejected_without_waiting(
    make: Callable[[Path], None], follow: bool, tmp_path: Path
) -> None:
    """A pipe that nobody writes, a folder, and a device without an end."""
    make(tmp_path / "strange")
    with pytest.raises(OSError, match="must be a regular file"):
        read_file(tmp_path / "strange", follow=follow)


@pytest.mark.parametrize("make", [fifo, device])
def test_what_is_no_regular_file_is_not_written(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "strange")
    with pytest.raises(OSError, match="must be a regular file"):
        open_regular(tmp_path / "strange", os.O_WRONLY | os.O_APPEND)

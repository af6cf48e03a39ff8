"""Files that survive a crash: written completely or not at all.

`write_files` serves checkpoints, results, studies and pictures. When it returns, the files
are on the disk, so that what they replace may be deleted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# ---------------------------------------------------------------- constants

# Ending of the files that a killed process may leave: NAME.PROCESS.tmp.
TEMPORARY = ".tmp"

# ---------------------------------------------------------------- writing


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Replace files, each atomically, and put them on the disk.

    Raises OSError if one can't be written; then none has been replaced.
    """
    made = {path: temporary_of(path) for path in contents}
    try:
        # on the disk under another name
        for path, temporary in made.items():
            write_temporary(temporary, contents[path])

        # renamed, in the given order
        for path, temporary in made.items():
            os.replace(temporary, path)
        for folder in dict.fromkeys(path.parent for path in made):
            sync_folder(folder)
    finally:
        for temporary in made.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def temporary_of(path: Path) -> Path:
    """A name of this process alone, because another may briefly outlive its parent."""
    return path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")


def write_temporary(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    # a file of an earlier process with the same number, or a link
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, and put them on the disk."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk.

    Has no effect if the system does not open folders, as Windows.
    """
    with suppress(PermissionError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""Files: written completely or not at all, and read only if they are regular.

`write_files` serves checkpoints, results, studies and pictures. When it returns, the files
are on the disk, so that what they replace may be deleted. `read_file` waits for no pipe
and reads no device, because results and checkpoints may come from strangers.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# ---------------------------------------------------------------- constants

# Ending of the files that a killed process may leave: NAME.PROCESS.tmp.
TEMPORARY = ".tmp"
# Windows lacks the first two.
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)
BINARY = getattr(os, "O_BINARY", 0)

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


# ---------------------------------------------------------------- reading


def read_file(path: Path | str, *, follow: bool = True) -> bytes:
    """The bytes of a regular file. Raises OSError if it is none, or can't be read."""
    with os.fdopen(open_regular(path, follow=follow), "rb") as file:
        return file.read()


def open_regular(
    path: Path | str, flags: int = os.O_RDONLY, *, follow: bool = False
) -> int:
    """Open a regular file; a symbolic link only if told to follow it.

    Raises OSError, also for a pipe, a device or a folder, without waiting for any.
    """
    wanted = "must be a regular file"
    try:
        given = flags | NO_WAIT | BINARY | (0 if follow else NO_LINK)
        descriptor = os.open(path, given, 0o666)
    except OSError as error:
        # a link, and a pipe that nobody reads
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise OSError(error.errno, wanted) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, wanted)
    return descriptor


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

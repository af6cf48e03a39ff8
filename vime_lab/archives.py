"""NPZ archives from strangers, checked before anything is allocated.

An archive holds named arrays, uncompressed, and no pickle. The SHA-256 of its bytes is
appended to it. Only what `archive_bytes` would write is read: arrays of the expected names,
types and shapes, with no more bytes than the file has.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import tokenize
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from vime_lab.files import open_regular

# ---------------------------------------------------------------- constants

DIGEST_BYTES = 32  # of a SHA-256
CHUNK_BYTES = 1 << 20  # bytes of a file that are read at once
# The end of a ZIP file: signature, two disks, entries on this disk, entries, bytes and
# place of the directory, length of a comment.
END = struct.Struct("<4s4H2LH")
SIGNATURE = b"PK\5\6"
DIRECTORY_BYTES = 1 << 16  # far more than the entries of a checkpoint
HEADER_BYTES = 1 << 12  # of an array's header; NumPy's has 128

# ---------------------------------------------------------------- types

# Lengths of the axes; None is any length. Arrays hold float64, those named json bytes.
Shapes = Mapping[str, tuple[int | None, ...]]


class ArchiveError(Exception):
    """A file that is not such an archive, or holds other arrays."""


# What zipfile and NumPy raise for a wrong archive.
FAULTS = (
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    struct.error,
    tokenize.TokenError,
)

# ---------------------------------------------------------------- writing


def archive_bytes(arrays: Mapping[str, Any]) -> bytes:
    """The arrays as an archive, with its digest."""
    # as `numpy.savez` does, which may pickle objects in NumPy 2.0
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, np.asanyarray(array), allow_pickle=False)
    content = file.getvalue()
    return content + hashlib.sha256(content).digest()


# ---------------------------------------------------------------- reading


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive in a file with the right digest.

    Raises OSError if the file can't be read or is not a regular file, and ArchiveError if
    it is not such an archive, or if the block can't read it.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        check_end(file)
        check_digest(file)
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except FAULTS as error:
            raise ArchiveError(f"not a checkpoint: {error!r}") from error


def read_arrays(archive: zipfile.ZipFile, shapes: Shapes) -> dict[str, Any]:
    """The arrays with these names and shapes.

    Raises ArchiveError, before the first array is read, if one differs. Other arrays may be
    in the archive; `check_names` rejects them.
    """
    for name, shape in shapes.items():
        check_member(archive, name, shape)
    return {name: array_of(archive, name) for name in shapes}


def array_of(archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(f"{name}.npy") as member:
        return npy.read_array(member, allow_pickle=False, max_header_size=HEADER_BYTES)


# ---------------------------------------------------------------- argument checks


def check_end(file: BinaryIO) -> None:
    """Reject what has no directory of a few entries at its end, before reading the rest."""
    size = os.fstat(file.fileno()).st_size
    end = size - DIGEST_BYTES - END.size
    if end < 0:
        raise ArchiveError("damaged or not a checkpoint")
    file.seek(end)
    signature, *_, length, place, comment = END.unpack(file.read(END.size))
    right = (signature, place + length, comment) == (SIGNATURE, end, 0)
    if not right or length > DIRECTORY_BYTES:
        raise ArchiveError("damaged or not a checkpoint")


def check_digest(file: BinaryIO) -> None:
    left = os.fstat(file.fileno()).st_size - DIGEST_BYTES
    digest = hashlib.sha256()
    file.seek(0)
    while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
        digest.update(chunk)
        left -= len(chunk)
    if file.read(DIGEST_BYTES) != digest.digest():
        raise ArchiveError("damaged or not a checkpoint")


def check_names(archive: zipfile.ZipFile, names: Iterable[str]) -> None:
    """Reject missing, unknown and double arrays."""
    wanted = sorted(f"{name}.npy" for name in names)
    found = sorted(archive.namelist())
    if found != wanted:
        other = sorted({*found} ^ {*wanted}) or found
        verb = "lacks" if other[0] in wanted and other[0] not in found else "also has"
        raise ArchiveError(f"not a checkpoint of this run: it {verb} {other[0]!r}")


def check_member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int | None, ...]
) -> None:
    """Reject compressed and encrypted arrays, other types and shapes, and wrong sizes."""
    if f"{name}.npy" not in archive.namelist():
        raise ArchiveError(f"not a checkpoint: it lacks {name}")
    member = archive.getinfo(f"{name}.npy")
    plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
    if not plain or member.compress_size != member.file_size:
        raise ArchiveError(f"not a checkpoint: {name} is compressed")
    check_inside(archive, name, member)
    with archive.open(member) as file:
        found, kind = array_header(file)
        left = member.file_size - file.tell()

    # the type, the shape and the bytes
    wanted = np.dtype(np.uint8 if name == "json" else float)
    if kind != wanted:
        raise ArchiveError(f"not a checkpoint: {name} must hold {wanted}, got {kind}")
    alike = [each in (None, length) for each, length in zip(shape, found)]
    if len(found) != len(shape) or not all(alike) or min(found, default=0) < 0:
        shapes = f"{name} must have shape {shape_text(shape)}, got {shape_text(found)}"
        raise ArchiveError(f"not a checkpoint of this run: {shapes}")
    if left != math.prod(found) * wanted.itemsize:
        text = shape_text(found)
        raise ArchiveError(f"not a checkpoint: {name} of shape {text} has {left} bytes")


def check_inside(archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> None:
    """Reject bytes beyond the file's, because the archive's directory may claim anything."""
    assert archive.fp is not None
    size = os.fstat(archive.fp.fileno()).st_size
    if member.header_offset + member.file_size > size:
        text = f"{name} has {member.file_size} bytes, the file {size}"
        raise ArchiveError(f"not a checkpoint: {text}")


def array_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in the format's first version, which NumPy writes."""
    if npy.read_magic(file) != (1, 0):
        raise ValueError("another version of NumPy's format")
    shape, _, kind = npy.read_array_header_1_0(file, max_header_size=HEADER_BYTES)
    return shape, kind


def shape_text(shape: tuple[int | None, ...]) -> str:
    """A shape in which n is any length, such as (n, 2)."""
    return f"({', '.join('n' if each is None else str(each) for each in shape)})"


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""NPZ archives from strangers: rejected before anything is allocated."""

import hashlib
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vime_lab import archives
from vime_lab.archives import ArchiveError, archive_bytes

ARRAYS = {
    "policy": np.arange(3.0),
    "rows": np.arange(8.0).reshape(4, 2),
    "json": np.frombuffer(b"{}", np.uint8),
}
SHAPES = {"policy": (None,), "rows": (None, 2), "json": (None,)}
HUGE = 1 << 40


def read(path: Path) -> dict[str, Any]:
    """The arrays, read like a checkpoint: the JSON first."""
    with archives.opened(path) as archive:
        archives.read_arrays(archive, {"json": (None,)})
        archives.check_names(archive, SHAPES)
        return archives.read_arrays(archive, SHAPES)


def signed(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def zipped(members: dict[str, bytes], times: int = 1, **keywords: Any) -> bytes:
    """An archive of these members with its digest, as a stranger can make it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **keywords) as archive:
        for name, content in [*members.items()] * times:
            archive.writestr(name, content)
    return signed(file.getvalue())


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def headed(shape: str, kind: str = "<f8", content: bytes = b"") -> bytes:
    """A member whose header claims what its content does not hold."""
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + content


def claiming(size: int) -> bytes:
    """An archive whose directory and headers claim this size for one array."""
    content = npy(ARRAYS["rows"])
    plain = zipped(members())[: -archives.DIGEST_BYTES]
    true = struct.pack("<II", len(content), len(content))
    assert plain.count(true) >= 2
    return signed(plain.replace(true, struct.pack("<II", size, size)))


def members(**changes: Any) -> dict[str, bytes]:
    arrays = {name: npy(array) for name, array in ARRAYS.items()} | changes
    return {f"{name}.npy": content for name, content in arrays.items()}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Also what a stranger wrote the same way, in either order of memory."""
    path = tmp_path / "run.npz"
    turned = np.asfortranarray(ARRAYS["rows"])
    for content in (archive_bytes(ARRAYS), zipped(members(rows=npy(turned)))):
        path.write_bytes(content)
        found = read(path)
        assert found.keys() == ARRAYS.keys()
        assert all(np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS)


REJECTED: dict[str, tuple[Callable[[], bytes], str]] = {
    "compressed": (
        lambda: zipped(members(), compression=zipfile.ZIP_DEFLATED),
        "is compressed",
    ),
    "missing": (
        lambda: zipped({k: v for k, v in members().items() if k != "rows.npy"}),
        "of this run: it lacks 'rows.npy'",
    ),
    "no JSON": (lambda: zipped({"a.npy": npy(np.zeros(2))}), "it lacks json"),
    "unknown": (
        lambda: zipped({**members(), "../\x1b[31mlate": b""}),
        r"it also has '../\x1b[31mlate'",
    ),
    "another shape": (
        lambda: zipped(members(rows=npy(np.zeros((4, 3))))),
        "rows must have shape (n, 2), got (4, 3)",
    ),
    "another number of axes": (
        lambda: zipped(members(policy=npy(np.float64(1.0)))),
        "policy must have shape (n), got ()",
    ),
    "float32": (
        lambda: zipped(members(rows=npy(np.zeros((4, 2), np.float32)))),
        "rows must hold float64, got float32",
    ),
    "big-endian": (
        lambda: zipped(members(rows=npy(np.zeros((4, 2), ">f8")))),
        "rows must hold float64, got >f8",
    ),
    "objects": (
        lambda: zipped(members(policy=npy(np.array([{}], dtype=object)))),
        "policy must hold float64, got object",
    ),
    "beyond the file": (
        lambda: zipped(members(rows=headed(f"({HUGE}, 2)", content=bytes(64)))),
        f"rows of shape ({HUGE}, 2) has 64 bytes",
    ),
    "a claim beyond the file": (
        lambda: claiming(4_000_000_000),
        "rows has 4000000000 bytes, the file ",
    ),
    "a header of brackets": (
        lambda: zipped(members(rows=headed("(" * 3000))),
        "not a checkpoint: ",
    ),
    "more bytes": (
        lambda: zipped(members(rows=npy(ARRAYS["rows"]) + bytes(8))),
        "rows of shape (4, 2) has 72 bytes",
    ),
    "a negative length": (
        lambda: zipped(members(rows=headed("(-4, 2)", content=bytes(64)))),
        "rows must have shape (n, 2), got (-4, 2)",
    ),
    "a long header": (
        lambda: zipped(members(rows=headed("(4, 2)" + " " * 60_000))),
        "not a checkpoint: ValueError(",
    ),
    "another format": (
        lambda: zipped(members(rows=b"\x93NUMPY\2\0" + bytes(99))),
        "another version of NumPy's format",
    ),
    "no array": (lambda: zipped(members(rows=b"text")), "not a checkpoint: "),
    "a text": (lambda: signed(b"a text\n" * 9), "damaged or not a checkpoint"),
    "nothing": (lambda: b"", "damaged or not a checkpoint"),
    "another digest": (
        lambda: archive_bytes(ARRAYS)[:-1] + b"\0",
        "damaged or not a checkpoint",
    ),
    "a comment": (
        lambda: signed(archive_bytes(ARRAYS)[:-34] + b"\2\0ab"),
        "damaged or not a checkpoint",
    ),
    "a large directory": (
        lambda: zipped({f"{number:05}": b"" for number in range(1500)}),
        "damaged or not a checkpoint",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_other_archives_are_rejected_before_anything_is_allocated(
    name: str, tmp_path: Path
) -> None:
    """Each digest is right, except where it is what is wrong. The peak of memory is small."""
    made, reason = REJECTED[name]
    path = tmp_path / "run.npz"
    path.write_bytes(made())
    tracemalloc.start()
    with pytest.raises(ArchiveError) as error:
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reason in str(error.value)
    assert str(error.value).isprintable()
    assert peak < 8 * archives.CHUNK_BYTES


def test_two_members_of_one_name_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(zipped(members(), times=2))
    with pytest.raises(ArchiveError, match=r"it also has 'json\.npy'"):
        read(path)


def test_a_sparse_file_of_a_terabyte_is_rejected_at_once(tmp_path: Path) -> None:
    """Its end is that of an archive; only its last bytes are read."""
    path = tmp_path / "run.npz"
    with path.open("wb") as file:
        file.seek(HUGE)
        file.write(archive_bytes(ARRAYS))
    with pytest.raises(ArchiveError, match="damaged or not a checkpoint"):
        read(path)

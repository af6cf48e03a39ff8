"""The release of the vectors: one folder with everything that an implementation needs, and a manifest.

The folder holds the vectors, `schema.json`, `operations.json`, `operations.md` (the specification), `CHANGELOG.md`,
`LICENSE` and `manifest.json`: origin, version, date, numbers of cases, and the SHA-256 of every other file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vime_check.errors import listed
from vime_check.files import read_json, vectors_of_file
from vime_check.wire import (
    DTYPES,
    NO_VECTORS,
    PACKAGE,
    SCHEMA,
    VECTORS,
    VECTORS_DATE,
    VECTORS_VERSION,
    UsageError,
    encode,
    package_version,
    shown,
)

# ---------------------------------------------------------------- constants

MAKER = "vime_check.bundle"
MANIFEST = "manifest.json"
SPECIFICATION = "operations.md"
# Kinds of cases, in the words of the manifest.
RESULTS = {"valid": "numeric", "invalid": "rejections"}
MOST_IDS = 10  # of the cases that differ
LICENSE = "MIT"  # of the package and the vectors

# ---------------------------------------------------------------- types


class Written(NamedTuple):
    """The result of writing a bundle."""

    names: list[str]  # of its files
    replaced: str  # how the earlier bundle differs; empty if there was none


# ---------------------------------------------------------------- counts


def vector_files(folder: Path) -> list[Path]:
    """The files of cases in a folder."""
    return [
        path for path in sorted(folder.glob("*.json")) if path.name not in NO_VECTORS
    ]


def counts_of(cases: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The numbers of cases with an output and of cases that must be rejected."""
    found = Counter(RESULTS[case["result"]] for case in cases)
    return {kind: found[kind] for kind in RESULTS.values()}


def counts(folder: Path = VECTORS) -> dict[str, Any]:
    """The numbers of cases: of all, by precision, by family, and by operation."""
    families = {
        content["family"]: content["cases"]
        for content in map(read_json, vector_files(folder))
    }
    cases = [case for each in families.values() for case in each]
    operations = dict.fromkeys(case["operation"] for case in cases)
    return {
        "all": counts_of(cases),
        "precisions": {
            dtype: counts_of(case for case in cases if dtype in case["dtypes"])
            for dtype in DTYPES
        },
        "families": {name: counts_of(each) for name, each in families.items()},
        "operations": {
            name: counts_of(case for case in cases if case["operation"] == name)
            for name in operations
        },
    }


# ---------------------------------------------------------------- what decides


def verdicts(folder: Path = VECTORS) -> dict[str, dict[str, Any]]:
    """For each case, by id and precision, everything that decides which implementations pass.

    Raises UsageError if a part is missing.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in vector_files(folder):
        for dtype in DTYPES:
            for case in vectors_of_file(path, dtype):
                given = (case.operation, case.line, case.state, case.inputs)
                wanted = (not case.why, case.output, case.error, case.tolerance)
                found.setdefault(case.id, {})[dtype] = encode([*given, *wanted])
    return found


def digest(folder: Path = VECTORS) -> str:
    """The SHA-256 of these, which each version in `CHANGELOG.md` states."""
    text = json.dumps(verdicts(folder), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------- the bundle


def contents() -> dict[str, bytes]:
    """The bundle's files by name, without its manifest."""
    from vime_check.specification import specification_page  # needs the reference

    paths = [*VECTORS.glob("*.json"), VECTORS / "CHANGELOG.md", VECTORS / "LICENSE"]
    files = {path.name: path.read_bytes() for path in sorted(paths)}
    text = specification_page(read_json(VECTORS / "operations.json"))
    return {**files, SPECIFICATION: text.encode()}


def manifest(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The content of the manifest."""
    return {
        "schema": SCHEMA,
        "generator": MAKER,
        "origin": {"name": PACKAGE, "version": package_version(), "license": LICENSE},
        "version": VECTORS_VERSION,
        "date": VECTORS_DATE,
        "cases": counts(),
        "sha256": {
            name: hashlib.sha256(content).hexdigest()
            for name, content in sorted(files.items())
        },
    }


def write_bundle(out: Path | str) -> Written:
    """Write the bundle into a folder, which is made.

    A folder that holds an earlier bundle is replaced: the files that its manifest names are removed. Raises UsageError
    if the folder holds anything else, or cannot be written.
    """
    if not isinstance(out, Path | str):
        raise UsageError(f"out must be a folder, got {shown(repr(out), 60)}")
    folder = Path(out).resolve()
    files = contents()
    text = json.dumps(manifest(files), ensure_ascii=False, indent=1) + "\n"

    # A new folder beside it takes its place once it is complete.
    new = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    try:
        old = earlier_files(folder)
        new.mkdir(parents=True)
        for name, content in {**files, MANIFEST: text.encode()}.items():
            (new / name).write_bytes(content)
        replaced = replacement(folder) if old else ""
        replace_folder(folder, new, old)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(shown(f"out: can't write to {out}: {reason}")) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return Written([*files, MANIFEST], replaced)


def replacement(folder: Path) -> str:
    """The differences of the earlier bundle in a folder: a line of counts, then the cases of each kind."""
    earlier = shown(read_json(folder / MANIFEST).get("version"), 20)
    line = f"replaced {earlier} by {VECTORS_VERSION}"
    try:
        old = verdicts(folder)
    except UsageError as error:
        return f"{line}; its cases can't be compared: {error}"
    new = verdicts()
    kinds = {
        "new": [case for case in new if case not in old],
        "changed": [case for case in new if case in old and old[case] != new[case]],
        "removed": [case for case in old if case not in new],
    }
    counted = ", ".join(f"{len(cases)} {kind}" for kind, cases in kinds.items())
    families = families_of(folder) | families_of(VECTORS)
    named = [
        f"{kind}: {named_cases(cases, families)}"
        for kind, cases in kinds.items()
        if cases
    ]
    return "\n".join([f"{line}; cases: {counted}", *named])


def families_of(folder: Path) -> dict[str, str]:
    """The family of each case, by id."""
    contents = map(read_json, vector_files(folder))
    return {case["id"]: each["family"] for each in contents for case in each["cases"]}


def named_cases(cases: list[str], families: Mapping[str, str]) -> str:
    """The number of cases in each family, and the first few ids."""
    found = Counter(families[case] for case in cases)
    counted = ", ".join(f"{count} of {family}" for family, count in found.items())
    return f"{counted}: {listed(cases, most=MOST_IDS)}"


def replace_folder(folder: Path, new: Path, names: Iterable[str]) -> None:
    """Put the new folder in the place of one that holds these files at most."""
    if not folder.exists():
        new.rename(folder)
        return
    old = new.with_suffix(".old")
    folder.rename(old)
    new.rename(folder)
    for name in names:
        (old / name).unlink()
    old.rmdir()


def earlier_files(folder: Path) -> list[str]:
    """The files of the bundle in a folder, manifest first; none if the folder is empty or not there.

    Raises UsageError if it holds anything else.
    """
    if not folder.exists():
        return []
    found = {path.name for path in folder.iterdir()}
    if not found:
        return []
    wanted = "out must be a new folder, an empty one, or one with an earlier bundle"
    if MANIFEST not in found:
        raise UsageError(shown(f"{wanted}, got {folder}, which has no {MANIFEST}"))

    # The names that its manifest states, and no others.
    try:
        stated = read_json(folder / MANIFEST)
    except UsageError as error:
        raise UsageError(f"out: {error}") from None
    names = stated.get("sha256") if isinstance(stated, dict) else None
    if not isinstance(names, dict) or stated.get("generator") != MAKER:
        raise UsageError(shown(f"{wanted}, got {folder} with another {MANIFEST}"))
    others = sorted(found - {MANIFEST, *names})
    if others:
        raise UsageError(shown(f"{wanted}, got {folder} with {', '.join(others)}"))
    return [MANIFEST, *sorted(found & set(names))]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

"""The bundle of the vectors: its files, counts and sums, and the folders that it rejects."""

import configparser
import hashlib
import importlib.metadata
import json
import math
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from check_helpers import FILES, ROOT, STORED, command_line

from vime_check import bundle, check
from vime_check.bundle import counts, digest, write_bundle
from vime_check.wire import SCHEMA, VECTORS, VECTORS_DATE, VECTORS_VERSION, UsageError

WANTED = "out must be a new folder, an empty one, or one with an earlier bundle"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "new" / "bundle"
    write_bundle(folder)
    return folder


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return content


# ---------------------------------------------------------------- the files


def test_files_are_the_vectors_the_specification_and_the_license(written: Path) -> None:
    families = {f"{family}.json" for family in FILES}
    kept = {*families, "schema.json", "operations.json", "CHANGELOG.md"}
    others = {"LICENSE", "operations.md", "manifest.json"}
    assert {path.name for path in written.iterdir()} == kept | others
    for name in kept:
        assert (written / name).read_bytes() == (VECTORS / name).read_bytes()
    page = ROOT / "docs" / "operations.md"
    assert (written / "operations.md").read_bytes() == page.read_bytes()
    assert (written / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_sums_against_sha256sum(written: Path) -> None:
    sums = manifest_of(written)["sha256"]
    assert set(sums) == {path.name for path in written.iterdir()} - {"manifest.json"}
    lines = "".join(f"{value}  {name}\n" for name, value in sums.items())
    tool = ["sha256sum", "--check", "--strict"]
    subprocess.run(tool, input=lines, cwd=written, text=True, check=True)


def test_another_byte_has_another_sum(written: Path) -> None:
    """Negative control of the sums."""
    changed = (written / "kl.json").read_bytes() + b" "
    stated = manifest_of(written)["sha256"]["kl.json"]
    assert hashlib.sha256(changed).hexdigest() != stated


def test_manifest_states_the_edition_and_the_cases(written: Path) -> None:
    content = manifest_of(written)
    assert (content["version"], content["date"]) == (VECTORS_VERSION, VECTORS_DATE)
    assert content["cases"] == counts()


def test_origin_against_the_packages_metadata(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: a copy that is not installed has no version."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    stated = parser["metadata"]
    origin = {name: stated[name] for name in ("name", "license")}
    version = importlib.metadata.version("vime-ref")
    assert manifest_of(written)["origin"] == origin | {"version": version}

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert bundle.manifest({})["origin"]["version"] == "unknown (not installed)"


def test_counts_against_the_stored_cases() -> None:
    found = counts()
    results = Counter(case["result"] for case in STORED)
    total = {"numeric": results["valid"], "rejections": results["invalid"]}
    assert found["all"] == total
    for part in ("families", "operations"):
        for kind, number in total.items():
            assert sum(each[kind] for each in found[part].values()) == number
    for dtype, given in found["precisions"].items():
        used = Counter(case["result"] for case in STORED if dtype in case["dtypes"])
        assert given == {"numeric": used["valid"], "rejections": used["invalid"]}
    assert found["precisions"]["f32"] != found["precisions"]["f64"] != total
    softplus = [case for case in STORED if case["operation"] == "softplus"]
    assert sum(found["operations"]["softplus"].values()) == len(softplus)
    assert set(found["families"]) == set(FILES)


def test_kit_checks_with_the_bundle(written: Path) -> None:
    """`check` reads the family files and leaves the others alone."""
    assert check(only="softplus", vectors=written).ok


# ---------------------------------------------------------------- versions


def test_digest_is_the_one_of_this_version() -> None:
    """If this fails, the vectors changed: raise their version and date, and write what changed into CHANGELOG.md.

    `operations.md` says which number to raise. Leave the digests of earlier versions as they are.
    """
    text = (VECTORS / "CHANGELOG.md").read_text("utf-8")
    pattern = r"^## ([\d.]+), ([\d-]+)\n\nDigest: `(\w{64})`\n\n- "
    editions = re.findall(pattern, text, re.MULTILINE)
    assert editions[0] == (VECTORS_VERSION, VECTORS_DATE, digest())

    # Each version has another number, a date and a digest of its own.
    numbers = [[int(each) for each in version.split(".")] for version, *_ in editions]
    assert sorted(numbers, reverse=True) == numbers
    dates = [date for _, date, _ in editions]
    assert sorted(dates, reverse=True) == dates
    assert len({version for version, *_ in editions}) == len(editions)
    assert editions[-1][0] == "2.0.0"


def changed_copy(folder: Path, part: str, value: Any) -> Path:
    """A copy of the vectors in which this part of a case of softplus has another value."""
    shutil.copytree(VECTORS, folder)
    path = folder / "softplus.json"
    content = json.loads(path.read_text("utf-8"))
    case = next(each for each in content["cases"] if each["result"] == "valid")
    assert case.get(part) != value
    case[part] = value
    path.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("id", "softplus/new"),
        ("dtypes", ["f64"]),
        ("inputs", {"rho": [1e-9]}),
        ("output", [math.nextafter(math.log(2.0), 1.0)]),
        ("tolerance", {"f64": 1e-12}),
        ("why", "rho must be finite"),
    ],
)
def test_digest_sees_what_decides(part: str, value: Any, tmp_path: Path) -> None:
    assert digest(changed_copy(tmp_path / "copy", part, value)) != digest()


@pytest.mark.parametrize(("part", "value"), [("comment", "Another."), ("wrong", {})])
def test_digest_leaves_texts_and_mistakes_out(
    part: str, value: Any, tmp_path: Path
) -> None:
    """Control of the test above: so it is not the digest of the files."""
    assert digest(changed_copy(tmp_path / "copy", part, value)) == digest()


# ---------------------------------------------------------------- folders


def test_earlier_bundle_is_replaced(tmp_path: Path) -> None:
    names, replaced = write_bundle(tmp_path)
    assert not replaced
    content = manifest_of(tmp_path)
    content["sha256"]["gone.json"] = "0"
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    (tmp_path / "gone.json").write_text("of the earlier bundle")
    (tmp_path / "kl.json").unlink()
    again, replaced = write_bundle(str(tmp_path))
    assert again == names
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    assert "; its cases can't be compared: vectors: " in replaced
    assert "gone.json must be JSON" in replaced


def test_replacement_names_the_cases_that_differ(tmp_path: Path) -> None:
    """An earlier bundle without two cases, with one of its own, and with another output."""
    write_bundle(tmp_path)
    same = f"replaced {VECTORS_VERSION} by {VECTORS_VERSION}; cases: "
    assert write_bundle(tmp_path).replaced == f"{same}0 new, 0 changed, 0 removed"

    # An earlier edition.
    content = manifest_of(tmp_path)
    content["version"] = "1.9.0"
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    family = json.loads((tmp_path / "softplus.json").read_text("utf-8"))
    family["cases"] = family["cases"][2:]
    valid = [case for case in family["cases"] if case["result"] == "valid"]
    valid[0]["output"] = valid[1]["output"]
    family["cases"].append({**valid[0], "id": "softplus/gone"})
    (tmp_path / "softplus.json").write_text(json.dumps(family))
    ids = [case["id"] for case in FILES["softplus"]["cases"]]
    assert write_bundle(tmp_path).replaced.splitlines() == [
        f"replaced 1.9.0 by {VECTORS_VERSION}; cases: 2 new, 1 changed, 1 removed",
        f"new: 2 of softplus: {ids[0]}, {ids[1]}",
        f"changed: 1 of softplus: {valid[0]['id']}",
        "removed: 1 of softplus: softplus/gone",
    ]


def test_many_cases_that_differ_are_counted_by_family(tmp_path: Path) -> None:
    """With the first ten of their ids."""
    write_bundle(tmp_path)
    for family in ("gain", "kl"):
        content = json.loads((tmp_path / f"{family}.json").read_text("utf-8"))
        for case in content["cases"]:
            case["dtypes"] = ["f64"]
        (tmp_path / f"{family}.json").write_text(json.dumps(content))
    (_, line) = write_bundle(tmp_path).replaced.splitlines()
    both = [case for case in STORED if len(case["dtypes"]) == 2]
    found = Counter(
        family
        for family in ("gain", "kl")
        for case in FILES[family]["cases"]
        if case in both
    )
    total = sum(found.values())
    assert line.startswith(f"changed: {found['gain']} of gain, {found['kl']} of kl: ")
    assert line.count("/") == 10
    assert line.endswith(f" and {total - 10} more")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("thesis.tex", "mine", "which has no manifest.json"),
        ("manifest.json", '{"sha256": {}}', "with another manifest.json"),
        ("manifest.json", "[]", "with another manifest.json"),
        ("manifest.json", '{"generator": "vime_check.bundle"}', "with another"),
        ("manifest.json", "{", "^out: .*manifest.json must be JSON"),
    ],
)
def test_folder_of_something_else_is_rejected(
    name: str, text: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=reason):
        write_bundle(tmp_path)
    assert (tmp_path / name).read_text() == text
    assert len(list(tmp_path.iterdir())) == 1


def test_bundle_with_another_file_is_rejected(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=rf"{WANTED}, got .* with notes\.txt"):
        write_bundle(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_manifest_that_names_files_elsewhere_removes_none(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder)
    (tmp_path / "mine.txt").write_text("mine")
    content = manifest_of(folder)
    content["sha256"]["../mine.txt"] = "0"
    (folder / "manifest.json").write_text(json.dumps(content))
    write_bundle(folder)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_file_as_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        UsageError, match=r"out: can't write to .*file: Not a directory"
    ):
        write_bundle(tmp_path / "file")


@pytest.mark.parametrize("out", [None, 3, b"folder"])
def test_no_folder_is_rejected(out: Any) -> None:
    with pytest.raises(UsageError, match="out must be a folder, got"):
        write_bundle(out)


def test_interrupted_replacement_leaves_the_earlier_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing beside it."""
    folder = tmp_path / "bundle"
    write_bundle(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as context:
        context.setattr(bundle, "contents", lambda: {"a.json": b"", "a/b": b""})
        with pytest.raises(UsageError, match="No such file or directory"):
            write_bundle(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    write_bundle(folder)


def test_every_json_file_carries_the_edition(written: Path) -> None:
    """The schema of the files has it as an annotation, and no number of its own."""
    for path in written.glob("*.json"):
        content = json.loads(path.read_text("utf-8"))
        edition = content["version"], content["date"]
        assert edition == (VECTORS_VERSION, VECTORS_DATE), path.name
        assert content.get("schema", SCHEMA) == SCHEMA == 2


# ---------------------------------------------------------------- the command


def test_command_prints_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bundle"
    assert command_line("vectors", "--out", str(folder)) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"wrote {folder}/: CHANGELOG.md, LICENSE, counts.json, ")
    assert out.endswith("operations.md, manifest.json\n")
    assert command_line("vectors", "--out", str(folder)) == 0
    again, replaced = capsys.readouterr().out.splitlines()
    assert again == out.rstrip()
    assert replaced.startswith(f"replaced {VECTORS_VERSION} by {VECTORS_VERSION}; ")


def test_command_rejects_a_folder_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert command_line("vectors", "--out", str(tmp_path)) == 2
    err = capsys.readouterr().err
    assert f"vime-ref vectors: error: argument --{WANTED}" in err

"""Fixtures of the cross-check kit."""

from pathlib import Path

import pytest
from check_helpers import CASES, write_vectors

from vime_check import judge


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few vectors; the implementation under test is in the current folder."""
    monkeypatch.chdir(tmp_path)
    return write_vectors(tmp_path / "few", CASES)


@pytest.fixture
def few(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The few vectors instead of the project's own."""
    monkeypatch.setattr(judge, "VECTORS", vectors)
    return vectors

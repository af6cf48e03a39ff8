"""Studies of a moment, in an empty folder."""

from dataclasses import replace
from pathlib import Path

import pytest
from lab import SMALL

from vime_lab.studies.catalogue import STUDIES


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of a moment, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name, changes in SMALL.items():
        small = replace(STUDIES[name].settings, **changes)
        monkeypatch.setitem(STUDIES, name, STUDIES[name]._replace(settings=small))

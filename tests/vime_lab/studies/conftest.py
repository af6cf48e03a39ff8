"""Studies of a moment, in an empty folder, without processes."""

from dataclasses import replace
from pathlib import Path

import pytest
from lab import SMALL, in_this_process

from vime_lab.studies.catalogue import STUDIES


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of a moment, in an empty folder, without processes."""
    monkeypatch.chdir(tmp_path)
    in_this_process(monkeypatch)
    for name, changes in SMALL.items():
        small = replace(STUDIES[name].settings, **changes)
        monkeypatch.setitem(STUDIES, name, STUDIES[name]._replace(settings=small))

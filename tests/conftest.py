"""Settings of all tests: reproducible examples, no silent overflow or NaN, and Ctrl-C as in a terminal."""

import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile(
    "reproducible", derandomize=True, deadline=None, print_blob=True
)
settings.load_profile("reproducible")

# A shell that starts the tests in the background ignores Ctrl-C for them and for what they start; nohup ignores SIGHUP.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Coverage's tracer makes Python two to four times slower, so it watches only the tests of what it measures. The long
# ones among them are marked with `unwatched`, because shorter ones execute the same lines.
TESTS = Path(__file__).parent
WATCHED = {
    *("test_bnn_ref.py", "test_fast_ref.py", "test_fast_policy.py"),
    *("test_vime_ref.py", "test_agents_ref.py", "test_illegal_calls.py"),
    *("vime_lecture", "vime_lab"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(TESTS).parts[0] not in WATCHED:
            item.add_marker("unwatched")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    tracer = sys.gettrace()
    measures = type(tracer).__module__.startswith("coverage")  # a debugger stays
    if measures and item.get_closest_marker("unwatched"):
        sys.settrace(None)
    try:
        return (yield)
    finally:
        if measures:
            sys.settrace(tracer)


@pytest.fixture(autouse=True)
def _tables_as_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width of the terminal that starts the tests does not count."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def _numeric_errors_raise() -> Iterator[None]:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        yield

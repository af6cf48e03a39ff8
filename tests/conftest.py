"""Settings of all tests: reproducible examples, no silent overflow or NaN, and Ctrl-C as in a terminal."""

import signal
from collections.abc import Iterator

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


@pytest.fixture(autouse=True)
def _numeric_errors_raise() -> Iterator[None]:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        yield

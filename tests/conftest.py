"""Settings of all tests: reproducible examples, and no silent overflow or NaN."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile(
    "reproducible", derandomize=True, deadline=None, print_blob=True
)
settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def _numeric_errors_raise() -> Iterator[None]:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        yield

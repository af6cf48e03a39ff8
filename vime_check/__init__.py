"""The cross-check kit: does another implementation return the reference's numbers?

>>> from vime_check import check
>>> check(only="softplus").ok
True

Importing it needs only NumPy. The reference is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vime_check.fuzzer import FuzzReport, fuzz
    from vime_check.judge import check
    from vime_check.report import Report
    from vime_check.testing import case_ids, check_case

__all__ = ["FuzzReport", "Report", "case_ids", "check", "check_case", "fuzz"]

HOMES = {
    "check": "vime_check.judge",
    "Report": "vime_check.report",
    "fuzz": "vime_check.fuzzer",
    "FuzzReport": "vime_check.fuzzer",
    "case_ids": "vime_check.testing",
    "check_case": "vime_check.testing",
}


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(importlib.import_module(HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

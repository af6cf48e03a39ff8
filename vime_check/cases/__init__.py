"""Operations, their mistakes and cases, by subject; importing this package registers all of them."""

from vime_check.cases import agents, counts, explorers, gains, networks, traces, unreal
from vime_check.cases.traces import TRACES
from vime_check.operations import OPERATIONS

# Operations, and lines of traces.
PROVED = OPERATIONS | {name: trace.operation for name, trace in TRACES.items()}

__all__ = [
    "OPERATIONS",
    "PROVED",
    "TRACES",
    "agents",
    "counts",
    "explorers",
    "gains",
    "networks",
    "traces",
    "unreal",
]

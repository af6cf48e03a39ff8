"""Operations, their mistakes and cases, by subject; importing this package registers all of them."""

from vime_check.cases import agents, counts, explorers, gains, networks, traces, unreal
from vime_check.cases.traces import TRACES
from vime_check.operations import OPERATIONS

__all__ = [
    "OPERATIONS",
    "TRACES",
    "agents",
    "counts",
    "explorers",
    "gains",
    "networks",
    "traces",
    "unreal",
]

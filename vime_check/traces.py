"""Traces: operations with a state, which the checker asks line by line.

A trace is a case for each line. The case holds the right state before the line, so that every line is graded like any
other case: after a line that was not right, the checker resets the trace to the right state.
"""

from __future__ import annotations

from collections.abc import Callable

from vime_check.files import Vector
from vime_check.serving import Answer


class Lines:
    """Asks for cases; resets a trace unless the right state is there from the line before.

    ask: of a `vime_check.programs.Peer`.
    """

    def __init__(self, ask: Callable[..., Answer]) -> None:
        self.ask_peer = ask
        self.ready = ("", 0)  # script and line whose state is there

    def ask(self, vector: Vector) -> Answer:
        """The answer to a case; that of a trace's reset if it fails. Raises ProtocolError if there is none."""
        name = vector.operation
        if not vector.line:
            return self.ask_peer(name, vector.inputs)

        # Give the right state, unless it is there.
        ready, self.ready = self.ready, ("", 0)
        if ready != (script_of(vector), vector.line):
            answer = self.ask_peer(name, vector.state, "reset")
            if "result" not in answer or "mutated" in answer:
                return answer
        return self.ask_peer(name, vector.inputs, "step")

    def judged(self, vector: Vector, right: bool) -> None:
        """Go on after a line; only a right one leaves the right state."""
        if right:
            self.ready = (script_of(vector), vector.line + 1)


def script_of(vector: Vector) -> str:
    """The id of a line without its number."""
    return vector.id.rpartition(".")[0]


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

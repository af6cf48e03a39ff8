"""Lines of traces: when the checker resets, and what it makes of programs that fail or know no traces."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from check_helpers import CASES, write_vectors

from vime_check.files import Vector
from vime_check.judge import check, load_vectors
from vime_check.serving import Answer, Served
from vime_check.traces import Lines
from vime_check.wire import Inputs

LINES = [vector for vector in load_vectors(None, "f64") if vector.line]
FILTER = [each for each in LINES if each.operation == "filtered_rewards"]


class Recorder:
    """Answers every message with the next of the answers, and notes the messages."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = [*answers]
        self.messages: list[tuple[str, Inputs]] = []

    def ask(self, operation: str, inputs: Inputs, cmd: str = "run") -> Answer:
        self.messages.append((cmd, inputs))
        return self.answers.pop(0) if self.answers else {"result": {}}

    @property
    def cmds(self) -> list[str]:
        return [cmd for cmd, _ in self.messages]


def test_right_lines_follow_each_other_after_one_reset() -> None:
    recorder = Recorder()
    lines = Lines(recorder.ask)
    for vector in FILTER[:3]:
        lines.ask(vector)
        lines.judged(vector, True)
    assert recorder.cmds == ["reset", "step", "step", "step"]
    assert recorder.messages[0][1] == FILTER[0].state
    assert [given for _, given in recorder.messages[1:]] == [
        each.inputs for each in FILTER[:3]
    ]


def test_the_line_after_a_wrong_one_begins_at_the_right_state() -> None:
    recorder = Recorder()
    lines = Lines(recorder.ask)
    for vector, right in zip(FILTER[:3], (False, True, True)):
        lines.ask(vector)
        lines.judged(vector, right)
    assert recorder.cmds == ["reset", "step", "reset", "step", "step"]
    assert recorder.messages[2][1] == FILTER[1].state != FILTER[0].state


def test_a_line_without_an_answer_costs_no_other() -> None:
    def broken(*_: Any) -> Answer:
        raise RuntimeError

    recorder = Recorder()
    lines = Lines(recorder.ask)
    lines.ask(FILTER[0])
    lines.judged(FILTER[0], True)
    lines.ask_peer = broken
    with pytest.raises(RuntimeError):
        lines.ask(FILTER[1])
    lines.ask_peer = recorder.ask
    lines.ask(FILTER[2])
    assert recorder.cmds == ["reset", "step", "reset", "step"]


@pytest.mark.parametrize(
    "answer",
    [{"refused": "no"}, {"skipped": "no"}, {"result": {}, "mutated": ["sums"]}],
)
def test_a_failed_reset_is_the_answer_of_its_line(answer: Answer) -> None:
    recorder = Recorder(answer)
    assert Lines(recorder.ask).ask(FILTER[0]) == answer
    assert recorder.cmds == ["reset"]


def test_other_cases_are_run() -> None:
    recorder = Recorder()
    vector = next(each for each in load_vectors(None, "f64") if not each.line)
    Lines(recorder.ask).ask(vector)
    assert recorder.cmds == ["run"]


# ---------------------------------------------------------------- objects


def adding(**changes: Callable[..., Any]) -> Any:
    """A trace that adds what it gets."""

    class Total:
        def reset(self, total: float) -> None:
            self.total = total

        def step(self, by: float) -> float:
            self.total += by
            return self.total

    for name, method in changes.items():
        setattr(Total, name, method)
    return Served(SimpleNamespace(total=Total), "f64")


def test_an_object_keeps_its_state_until_the_next_reset() -> None:
    served = adding()
    assert served.respond("reset", "total", {"total": 1.0}) == {"result": {}}
    assert served.respond("step", "total", {"by": 2.0}) == {"result": 3.0}
    assert served.respond("step", "total", {"by": 2.0}) == {"result": 5.0}
    served.respond("reset", "total", {"total": 0.0})
    assert served.respond("step", "total", {"by": 2.0}) == {"result": 2.0}


def test_what_an_object_raises_is_its_answer() -> None:
    def refuse(self: Any, **_: Any) -> None:
        raise ValueError("not today")

    refused = {"refused": "not today"}
    assert adding(reset=refuse).respond("reset", "total", {"total": 1.0}) == refused
    served = adding(step=refuse)
    served.respond("reset", "total", {"total": 1.0})
    assert served.respond("step", "total", {"by": 1.0}) == refused
    assert "error" in adding().respond("step", "total", {"by": 1.0})
    assert adding().respond("reset", "other", {}) == {"skipped": "no other"}


def test_a_step_that_changes_its_inputs_is_found() -> None:
    def step(self: Any, by: Any) -> Any:
        by += 1.0
        return by.copy()

    served = adding(step=step)
    served.respond("reset", "total", {"total": 1.0})
    answer = served.respond("step", "total", {"by": [1.0]})
    assert answer == {"result": [2.0], "mutated": ["by"]}


# ---------------------------------------------------------------- programs

PROGRAM = """
import json, sys
for line in sys.stdin:
    q = json.loads(line)
    answer = {"ok": True, "version": VERSION} if q["cmd"] == "start" else {"error": q["cmd"]}
    print(json.dumps({"seq": q["seq"], **answer}), flush=True)
"""


@pytest.mark.parametrize("version", [1, 2])
def test_a_program_of_version_1_is_not_asked_for_traces(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: one of version 2 is."""
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text(PROGRAM.replace("VERSION", str(version)))
    command = shlex.join([sys.executable, "program.py"])
    report = check(command=command, only="filtered_rewards/three.1")
    (outcome,) = report.outcomes
    if version == 1:
        assert outcome.status == "skipped"
    else:
        assert (outcome.status, outcome.message) == ("errored", "reset")


def test_a_module_that_breaks_at_a_line_is_started_again_at_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text(
        "import os\n"
        "class filtered_rewards:\n"
        "    def reset(self, **given):\n"
        "        self.first = not given['sums'].any()\n"
        "    def step(self, **given):\n"
        "        os._exit(3) if self.first else None\n"
        "        return 1.0\n"
    )
    report = check("broken", only="filtered_rewards")
    found = [each.message for each in report.outcomes[:3]]
    assert found[0] == "exited with code 3"
    assert all("one array or number" in message for message in found[1:])


@pytest.mark.parametrize(
    ("change", "text"),
    [({"line": "two"}, "line must be a whole number"), ({"state": 1}, "state must be")],
)
def test_bad_lines_in_a_file_are_usage_errors(
    change: dict[str, Any], text: str, tmp_path: Path
) -> None:
    folder = write_vectors(tmp_path / "few", [CASES[0] | change])
    with pytest.raises(ValueError, match=text):
        load_vectors(folder, "f64")


def test_vectors_of_lines() -> None:
    """The state of each line but the first is what the line before left."""
    first, second = FILTER[:2]
    assert isinstance(first, Vector)
    assert (first.line, second.line) == (1, 2)
    assert second.state["sums"] == first.output["sums"][-1].tolist()
    assert second.state["gamma"] == first.state["gamma"]

"""What is shown of a program that failed, and of operations that are not offered."""

import shlex
import sys
from pathlib import Path

import pytest

from vime_check.fuzzer import Finding, FuzzReport
from vime_check.judge import Outcome, Report, check
from vime_check.programs import error_line

PYTHON = """Traceback (most recent call last):
  File "mine.py", line 3, in <module>
    raise ValueError("inner")
ValueError: inner

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "mine.py", line 5, in <module>
    raise TypeError("outer: Error: 1")
TypeError: outer: Error: 1
"""
NODE = """/home/somebody/mine.js:3
  throw new TypeError("five");
  ^

TypeError: five
    at Object.<anonymous> (/home/somebody/mine.js:3:9)
    at Module._compile (node:internal/modules/cjs/loader:1105:14)

Node.js v18.19.0
"""
JAVA = """Exception in thread "main" java.lang.IllegalStateException: five
\tat Mine.main(Mine.java:3)
"""
COMPILER = """mine.c:3:5: error: expected ';'
    3 |     return 0
      |             ^
"""
RUST = """error[E0308]: mismatched types
 --> mine.rs:3:5
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (PYTHON, "TypeError: outer: Error: 1"),
        (NODE, "TypeError: five"),
        (JAVA, 'Exception in thread "main" java.lang.IllegalStateException: five'),
        (COMPILER, "mine.c:3:5: error: expected ';'"),
        (RUST, "error[E0308]: mismatched types"),
        (
            "Traceback\n\nnumpy.linalg.LinAlgError: Singular\n",
            "numpy.linalg.LinAlgError: Singular",
        ),
        ("AssertionError\n", "AssertionError"),
        ("warming up\nbye\n", "bye"),
        ("Errors are rare\nbye\n", "bye"),
        ("\n", ""),
        ("", ""),
    ],
)
def test_error_line_against_what_languages_write(text: str, line: str) -> None:
    """Control: the last line that stands in the text is another, or there is no error."""
    assert error_line(text) == line


def test_the_error_of_a_program_is_shown_and_not_its_last_line(tmp_path: Path) -> None:
    """What a program writes after its error, as Node does, is not the reason."""
    (tmp_path / "mine.py").write_text(
        f"import sys\nsys.stderr.write({NODE!r})\nexit(3)"
    )
    command = shlex.join([sys.executable, str(tmp_path / "mine.py")])
    report = check(command=command, only="softplus")
    assert "did not start: exited with code 3: TypeError: five" in str(report)
    assert "Node.js v18" not in str(report)


def test_operations_that_are_not_offered_take_one_short_line() -> None:
    """Control: a case that is skipped of an operation that is offered adds no line."""
    names = [f"operation_{number}" for number in range(47)]
    outcomes = [Outcome(f"{name}/a", name, "skipped") for name in names]
    outcomes += [Outcome("mlp/a", "mlp", "passed"), Outcome("mlp/b", "mlp", "skipped")]
    lines = str(Report("mine", "f64", False, tuple(outcomes))).splitlines()
    assert lines[-1] == f"not offered: {', '.join(names[:5])} and 42 more"
    assert len(lines) == 5  # name, head, mlp, all


def test_operations_that_fuzz_skipped_take_one_line() -> None:
    """Control: one that is alone has its reason."""
    passed = Finding("mlp", "passed", "no disagreement in 9 examples", None)
    skipped = [Finding(f"op_{i}", "skipped", f"no op_{i}", None) for i in range(7)]
    lines = str(FuzzReport("mine", (*skipped, passed))).splitlines()
    assert lines == [
        "mine",
        "skipped: op_0, op_1, op_2, op_3, op_4 and 2 more",
        "mlp: passed, no disagreement in 9 examples",
    ]
    lines = str(FuzzReport("mine", (skipped[0], passed))).splitlines()
    assert lines[1] == "op_0: skipped, no op_0"

"""Programs under test: broken and hostile ones are reported, and only protocol lines reach the checker."""

import json
import os
import shlex
import sys
from collections import Counter
from pathlib import Path

import pytest
from check_helpers import (
    CASES,
    GOOD,
    ROOT,
    STORED,
    alive,
    assert_rest_is_good,
    module,
    program,
    statuses,
    write_vectors,
)

from vime_check import judge, wire
from vime_check import programs as protocol
from vime_check.cases import OPERATIONS, networks
from vime_check.judge import check
from vime_check.programs import error_line
from vime_check.wire import UsageError

pytestmark = pytest.mark.usefixtures("vectors")


def test_a_program_over_exec_passes_like_its_module(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = shlex.join(
        [sys.executable, "-m", "vime_check.programs", "serve", module()]
    )
    assert statuses(check(command=command, vectors=vectors)) == GOOD


# ---------------------------------------------------------------- hostile implementations

IN_A_CALL = {
    "hang": ("while True: pass", "no answer within 1 s"),
    "os._exit": ("import os; os._exit(7)", "exited with code 7"),
    "sys.exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "signal": ("import os; os.kill(os.getpid(), 11)", "killed by signal SIGSEGV"),
    "interrupt": (
        "raise KeyboardInterrupt",
        "killed by signal SIGINT: KeyboardInterrupt",
    ),
    "recursion": ("return softplus(rho)", "RecursionError"),
    "huge": ("return np.zeros(300_000)", "answer longer than 1 MiB"),
    "closes": (
        "import os; os.closerange(3, 20); import time; time.sleep(60)",
        "closed its stdin or stdout",
    ),
    "stderr": (
        "import sys\n    while True: sys.stderr.write('x' * 10**6)",
        "no answer within 1 s",
    ),
}


@pytest.mark.parametrize("name", IN_A_CALL)
def test_a_module_that_breaks_in_a_call_is_reported_as_that_and_the_rest_goes_on(
    name: str, vectors: Path
) -> None:
    body, reason = IN_A_CALL[name]
    limit = 1.0 if "within" in reason else 30.0
    report = check(
        module(f"\ndef softplus(rho):\n    {body}"), vectors=vectors, timeout=limit
    )
    assert statuses(report, "softplus") == {"errored": 3}, str(report)
    assert all(reason in each.message for each in report.bad()), str(report)
    assert_rest_is_good(report)


AT_IMPORT = {
    "crash": ("1 / 0", "ZeroDivisionError: division by zero"),
    "exit": ("raise SystemExit(2)", "SystemExit: 2"),
    "os._exit": ("import os; os._exit(9)", "exited with code 9"),
    "syntax": ("def", "SyntaxError"),
    "hang": ("import time; time.sleep(600)", "no answer within"),
}


@pytest.mark.parametrize("name", AT_IMPORT)
def test_a_module_that_breaks_at_import_is_tried_once(
    name: str, vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "hang":
        monkeypatch.setattr(protocol, "START_SECONDS", 1.0)
    body, reason = AT_IMPORT[name]
    report = check(module("\n" + body), vectors=vectors, timeout=1.0)
    assert statuses(report) == {"errored": len(CASES)}
    head, line = str(report).splitlines()
    assert head == "mine (f64)"
    assert line.startswith("did not start: ")
    assert reason in line
    assert {each.message for each in report.outcomes[1:]} == {
        "not tried, because the implementation did not start"
    }


def test_a_module_that_breaks_at_import_runs_once(vectors: Path) -> None:
    assert not check(
        module("\nopen('tried', 'a').write('x')\n1 / 0"), vectors=vectors
    ).ok
    assert Path("tried").read_text() == "x"


BABBLE = {
    "garbage": ("print('gar\\x07bage', flush=True)", "not JSON: gar bage"),
    "partial": (
        "print('{\"seq\":', end='', flush=True); time.sleep(600)",
        "no answer within 1 s",
    ),
    "list": ("print('[1]', flush=True)", "not a JSON object: [1]"),
    "deep": ("print('[' * 10**5, flush=True)", "not JSON: [[["),
    "long": ("print('1' * 10**5, flush=True)", "not JSON: 111"),
    "binary": ("os.write(1, bytes(range(128, 256)) + b'\\n')", "not JSON: "),
    "empty": ("print(flush=True)", "not JSON: "),
    "seq": ("say(seq=q['seq'] + 1, result=1.0)", "instead of "),
    "text seq": (
        "say(seq=str(q['seq']), result=1.0)",
        "answered number '1' instead of 1",
    ),
    "no seq": ("say(result=1.0)", "answered number None instead of "),
    "twice": (
        "say(seq=q['seq'], result=[0.0]); say(seq=q['seq'], result=[0.0])",
        "answered number 1 instead of 2",
    ),
    "nothing": ("say(seq=q['seq'])", "no result in {'seq': "),
    "endless line": (
        "os.set_blocking(1, True)\n        while True: os.write(1, b'x' * 65536)",
        "longer than 1 MiB",
    ),
    "endless lines": ("while True: print('x')", "not JSON: x"),
    "exit": ("sys.exit('bye')", "exited with code 1: bye"),
    "error": ("say(seq=q['seq'], error='sorry')", "sorry"),
}


@pytest.mark.parametrize("name", BABBLE)
def test_a_program_that_babbles_is_reported_as_that_and_the_rest_goes_on(
    name: str, vectors: Path
) -> None:
    body, reason = BABBLE[name]
    report = check(command=program(body), vectors=vectors, timeout=1.0)
    bad = [
        each
        for each in report.outcomes
        if each.operation == "softplus" and each.status == "errored"
    ]
    assert bad, str(report)
    assert any(reason in each.message for each in bad), str(report)
    others = [each.status for each in report.outcomes if each.operation != "softplus"]
    late = name == "twice"  # extra output is noticed with the next answer
    assert Counter(others) == Counter(skipped=len(others) - late, errored=int(late))


def test_answers_that_are_too_long_are_breaks_and_one_that_is_not_is_read(
    tmp_path: Path,
) -> None:
    many = [{**CASES[0], "id": f"softplus/{n}"} for n in range(5)]
    folder = write_vectors(tmp_path / "many", many)
    report = check(
        module("\ndef softplus(rho): return np.zeros(300_000)"), vectors=folder
    )
    assert [each.message for each in report.outcomes[:3]] == [
        "answer longer than 1 MiB"
    ] * 3
    assert all("not tried" in each.message for each in report.outcomes[3:])
    report = check(
        module("\ndef softplus(rho): return np.zeros(100_000)", "short"), vectors=folder
    )
    assert report.lines() == ["softplus/0 and 4 more: shape (100000,) instead of (1,)"]


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexit 4\n", "not executable by any shell\x00"]
)
def test_a_program_that_does_not_start_is_an_error_of_every_case(
    text: str, vectors: Path
) -> None:
    Path("start").write_text(text)
    Path("start").chmod(0o755)
    report = check(command="./start", vectors=vectors)
    assert statuses(report) == {"errored": len(CASES)}
    assert report.lines()[0].startswith("did not start: ")


@pytest.mark.parametrize("ending", ["hangs", "crashes", "stops"])
def test_children_that_a_program_leaves_in_its_process_group_are_ended(
    ending: str, vectors: Path
) -> None:
    """The child keeps stdout open, and writes lines as long as it lives."""
    spawn = "import subprocess, sys, os, time; subprocess.Popen(['sh', '-c', 'echo $$ > pid; sleep 600'])"
    wait = "\n    while not os.path.exists('pid') or not open('pid').read(): time.sleep(0.01)\n    "
    end = {
        "hangs": "time.sleep(600)",
        "crashes": "os._exit(1)",
        "stops": "return np.logaddexp(0, rho)",
    }[ending]
    report = check(
        module(f"\ndef softplus(rho):\n    {spawn}{wait}{end}"),
        only="softplus/zero",
        vectors=vectors,
        timeout=2,
    )
    assert report.ok == (ending == "stops")
    assert not alive(int(Path("pid").read_text()))


# ---------------------------------------------------------------- starting


TELLS = """
import json, os
def softplus(rho):
    open("told.json", "w").write(json.dumps(dict(os.environ)))
    return rho
"""


@pytest.mark.parametrize("over", ["module", "exec"])
def test_a_program_gets_a_short_list_of_environment_variables(
    over: str, vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret, no path of the checker's that would reach the children of a module, one thread."""
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    name = module(TELLS)
    serve = [sys.executable, "-m", "vime_check.programs", "serve", name]
    given = {"impl": name} if over == "module" else {"command": shlex.join(serve)}
    check(**given, only="softplus/zero", vectors=vectors)
    told = json.loads(Path("told.json").read_text())
    assert "SECRET_TOKEN" not in told
    assert told["PATH"] == os.environ["PATH"]
    assert told["LC_TIME"] == "C"
    assert told["PYTHONPATH"] == str(ROOT)
    assert {told[name] for name in protocol.THREAD_NAMES} == {"1"}


def test_the_page_names_the_limits_and_every_variable_that_is_passed_on() -> None:
    page = (ROOT / "docs" / "check.md").read_text("utf-8")
    limits = " ".join(
        page.partition("## Limits")[2].partition("## The rules")[0].split()
    )
    named = limits.partition("and no others: ")[2].partition(". ")[0]
    wanted = [*protocol.PASSED_ON, f"{protocol.PASSED_ON_PREFIX}*"]
    assert sorted(named.replace("`", "").split(", ")) == sorted(wanted)
    assert f"at most {protocol.MAX_SECONDS:g}." in limits
    assert f"A start may take {protocol.START_SECONDS:g} s" in limits
    assert (judge.MAX_BREAKS, judge.MAX_SILENT, judge.MAX_TOTAL) == (3, 9, 30)
    assert "three in a row, " in limits
    assert "nine in a row, or thirty in all" in limits
    slowest = 10 * len(STORED) + judge.MAX_TOTAL * protocol.START_SECONDS
    assert f"costs {slowest / 3600:.0f} hours" in limits


BIG = "\ndef softplus(rho):\n    np.empty(2**28)\n    return np.logaddexp(0.0, rho)"


@pytest.mark.parametrize("memory", [None, 1024])
def test_a_module_that_needs_too_much_memory_is_reported_and_the_rest_goes_on(
    memory: int | None, vectors: Path
) -> None:
    """2 GiB do not fit into 1 GiB. Control: without a limit they are there, because nobody writes to them."""
    report = check(module(BIG), memory=memory, vectors=vectors)
    wanted = {"errored": 3} if memory else {"exact": 2, "lenient": 1}
    assert statuses(report, "softplus") == wanted
    assert ("MemoryError: Unable to allocate 2.00 GiB" in str(report)) == bool(memory)
    assert_rest_is_good(report)


def test_without_process_groups_only_the_reference_is_checked(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "killpg")
    for given in ({"impl": "mine"}, {"command": "true"}):
        with pytest.raises(UsageError, match=r"^another program .* process groups"):
            check(**given, vectors=vectors)
    assert check(vectors=vectors).ok


def test_nothing_is_given_to_a_shell(vectors: Path) -> None:
    check(command="echo hello; touch made $(touch made)", vectors=vectors)
    assert not Path("made").exists()


def test_the_wire_knows_no_operation_and_no_input_by_name() -> None:
    """Except "inputs", which is also the protocol's word. Control: the file of an operation names its inputs."""
    quoted = {
        *OPERATIONS,
        *(name for each in OPERATIONS.values() for name in each.names),
    } - {"inputs"}
    for border in (protocol, wire):
        text = Path(str(border.__file__)).read_text("utf-8")
        assert not {name for name in quoted if f'"{name}"' in text}, border
    text = Path(str(networks.__file__)).read_text("utf-8")
    assert {"layer_sizes", "zeta"} <= {name for name in quoted if f'"{name}"' in text}


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
    """Control: the text's last line is another one, or there is no error."""
    assert error_line(text) == line


def test_the_error_of_a_program_is_shown_and_not_its_last_line(tmp_path: Path) -> None:
    """Text after a program's error, as Node writes it, is not the reason."""
    (tmp_path / "mine.py").write_text(
        f"import sys\nsys.stderr.write({NODE!r})\nexit(3)"
    )
    command = shlex.join([sys.executable, str(tmp_path / "mine.py")])
    report = check(command=command, only="softplus")
    assert "did not start: exited with code 3: TypeError: five" in str(report)
    assert "Node.js v18" not in str(report)

"""The command line: behavior shared by all subcommands."""

import errno
import importlib.metadata
import importlib.util
import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lab import left_behind, usage_error

from vime_check import FuzzReport
from vime_check.fuzzer import Finding
from vime_lab import command_line, commands
from vime_lab.command_line import COMMANDS

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0  # seconds until a test of processes gives up
HEAVY = ("numpy", "scipy", "autograd", "gymnasium", "matplotlib", "hypothesis")
# Imports the command like the installed script, and prints the loaded modules.
TELLING = f"""
import sys
from vime_lab.command_line import main
try:
    sys.exit(main(sys.argv[1:]))
finally:
    print("loaded:", [name for name in {HEAVY} if name in sys.modules])
"""
# A program that signals its start and never answers.
PROGRAM = "import time; open('begun', 'w').close(); time.sleep(600)"
SILENT = shlex.join([sys.executable, "-c", PROGRAM])
# Commands that wait forever once started.
WAITING = {
    "run": ["--task", "Bandit", "--seeds", "1", "--jobs", "1", "--out", "out"],
    "figure": ["."],
    "check": ["--exec", SILENT],
    "fuzz": ["--exec", SILENT],
    "vectors": [],
}
# A figure that waits for its rows, a bundle that waits, and a study whose first process
# waits before it imports anything.
WAITING_FIGURE = """
import sys
from vime_lab import command_line, results

results.read_curves = lambda folders: open('begun').read()
sys.exit(command_line.main(sys.argv[1:]))
"""
WAITING_VECTORS = """
import sys
from vime_check import bundle
from vime_lab import command_line

bundle.write_bundle = lambda out: open('begun').read()
sys.exit(command_line.main(sys.argv[1:]))
"""
WAITING_RUN = """
import sys
from vime_lab import command_line, processes

def waiting(*arguments):
    return [sys.executable, "-c", "open('../../../begun').read()"]

processes.module_command = waiting
sys.exit(command_line.main(sys.argv[1:]))
"""
MISSING = {
    "run": (
        "tqdm",
        "pip install 'tqdm>=4.66' 'matplotlib>=3.8.4' 'joblib>=1.3' 'threadpoolctl>=3.5'",
    ),
    "figure": ("matplotlib", "pip install 'matplotlib>=3.8.4'"),
    "fuzz": ("hypothesis", "pip install 'hypothesis>=6.100'"),
}

pytestmark = pytest.mark.usefixtures("elsewhere")
every_command = pytest.mark.parametrize("command", COMMANDS)


def told(*given: str, script: str = TELLING) -> subprocess.CompletedProcess[str]:
    """The command in a separate process."""
    words = [sys.executable, "-c", script, *given]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["Bandit", "--sped=9"], "if Bandit is a task, use --task Bandit"),
        (["--step-size=9"], "if step_size is a setting, use --set step_size=VALUE"),
    ],
)
def test_run_advises_on_words_that_no_flag_takes(
    words: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["run", *words])
    told_words = f"unrecognized arguments: {' '.join(words)}; {advice}\n"
    assert told_words in capsys.readouterr().err


@every_command
def test_manners_of_every_command(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help, usage errors, a missing package, Ctrl-C. Control: work loads NumPy."""
    # help names the command and loads nothing slow
    helped = told(command, "--help")
    assert helped.returncode == 0
    assert helped.stdout.startswith(f"usage: vime-ref {command} ")
    assert helped.stdout.endswith("loaded: []\n")
    assert helped.stderr == ""

    # a wrong flag prints where the help is and loads nothing slow
    wrong = told(command, "--speed=9")
    error, pointer = wrong.stderr.splitlines()
    assert wrong.returncode == 2
    hint = "; if speed is a setting, use --set speed=VALUE" if command == "run" else ""
    unknown = f"error: unrecognized arguments: --speed=9{hint}"
    assert error == f"vime-ref {command}: {unknown}"
    assert pointer == f"try 'vime-ref {command} --help'"
    assert wrong.stdout == "loaded: []\n"

    # a word without a flag may be a task
    if command == "run":
        word = told(command, "Bandit", "--sped=9").stderr
        assert (
            "arguments: Bandit --sped=9; if Bandit is a task, use --task Band" in word
        )

    # Ctrl-C, SIGTERM and SIGHUP print one line
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        interrupted(command, number)
        Path("begun").unlink()

    # the error names a missing package and the command that installs it
    if command in MISSING:
        name, install = MISSING[command]
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda wanted, *rest: None if wanted == name else find(wanted, *rest),
        )
        Path("results").symlink_to(ROOT / "results")
        given = ["results/Bandit"] if command == "figure" else []
        with pytest.raises(SystemExit) as exit_:
            command_line.main([command, *given])
        assert exit_.value.code == 2
        extra = "test" if command == "fuzz" else "run"
        needs = f'{command} needs {name} (extra "{extra}"): {install}'
        line = f"vime-ref {command}: error: {needs}"
        assert line in capsys.readouterr().err.splitlines()


def begun(file: Path) -> bool:
    """Whether the program has made the file, or reads the FIFO."""
    if not file.exists():
        return False
    if not file.is_fifo():
        return True
    try:
        os.open(file, os.O_WRONLY | os.O_NONBLOCK)  # open, so that the reader waits
    except OSError:  # nobody reads
        return False
    return True


def interrupted(command: str, number: int) -> None:
    """Send a signal to the running command, and check its output."""
    file = Path("begun")
    scripts = {
        "run": WAITING_RUN,
        "figure": WAITING_FIGURE,
        "vectors": WAITING_VECTORS,
    }
    if command in scripts:
        os.mkfifo(file)
    script = scripts.get(command, TELLING)
    words = [sys.executable, "-c", script, command, *WAITING[command]]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as process:
        try:
            end = time.monotonic() + PATIENCE
            while not begun(file):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.01)
            process.send_signal(number)
            said, error = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == command_line.INTERRUPTED, error
    assert "Traceback" not in error
    lines = error.splitlines()
    if command == "run":  # which shows a bar
        goes_on = "repeat the command with --resume to continue"
        assert lines[-1] == f"vime-ref: interrupted; {goes_on}"
    else:
        assert lines == ["", "vime-ref: interrupted"]
        assert "numpy" in said or command in scripts


def test_ctrl_c_before_a_command_has_begun_takes_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As while it imports."""

    def importing(arguments: Any) -> int:
        raise KeyboardInterrupt

    for command in COMMANDS:
        monkeypatch.setitem(COMMANDS, command, importing)
        assert command_line.main([command]) == command_line.INTERRUPTED
        assert capsys.readouterr().err == "\nvime-ref: interrupted\n"


def test_version_is_the_installed_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Control: a copy that is not installed has no version."""
    shown = told("--version")
    version = importlib.metadata.version("vime-ref")
    assert shown.returncode == 0
    assert shown.stdout == f"vime-ref {version}\nloaded: []\n"

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(SystemExit) as exit_:
        command_line.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == "vime-ref unknown (not installed)\n"


@pytest.fixture
def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise AssertionError("a run has started")

    monkeypatch.setattr(commands, "run_jobs", fail)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "which command? run, figure, check, fuzz, vectors"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["fly"], "'fly'"),
        (["run", "--speed", "9"], "--speed 9"),
        (
            ["check", "--own-noise", "9", "--digits", "3"],
            "--own-noise and --digits exclude each other",
        ),
    ],
)
@pytest.mark.usefixtures("_no_work")
def test_a_bad_command_ends_with_two_lines(given, reason, capsys):
    assert reason in usage_error(capsys, given)
    assert left_behind() == []


@pytest.mark.parametrize("module", ["vime_lab", "vime_lab.command_line"])
def test_the_package_and_the_module_are_the_command(module, monkeypatch, capsys):
    (command,) = importlib.metadata.entry_points(
        group="console_scripts", name="vime-ref"
    )
    assert command.load() is command_line.main
    monkeypatch.setattr("sys.argv", ["anything.py", "fly"])
    monkeypatch.delitem(
        sys.modules, module if "." in module else "vime_lab.__main__", False
    )
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert exit_.value.code == 2
    assert "'fly'" in capsys.readouterr().err


def test_the_package_is_no_command_if_it_is_imported(capsys):
    """Control: the test above."""
    runpy.run_module("vime_lab", run_name="vime_lab.imported", alter_sys=False)
    assert capsys.readouterr() == ("", "")


def test_flags_reach_the_check_with_noise_of_its_own(monkeypatch, capsys):
    """Control: without the flag, the cases have their noise."""
    seen = []

    def kept(impl: Any, **given: Any) -> Any:
        seen.append((impl, given["num_samples"], given["only"]))
        return FuzzReport("mine", (Finding("elbo", "exact", "", None),))

    monkeypatch.setattr("vime_check.own_noise.check_own_noise", kept)
    words = ["check", "mine", "--own-noise", "7", "--only", "elbo"]
    assert command_line.main(words) == 0
    assert seen == [("mine", 7, "elbo")]
    assert command_line.main(["check", "--only", "softplus"]) == 0
    assert len(seen) == 1


def test_the_bundle_is_written_where_the_flag_says(capsys):
    """Control: a folder with other files is left as it is."""
    assert command_line.main(["vectors", "--out", "bundle"]) == 0
    assert capsys.readouterr().out.startswith("wrote bundle/: CHANGELOG.md, ")
    assert command_line.main(["vectors", "--out", "bundle"]) == 0
    assert "\nreplaced " in capsys.readouterr().out
    Path("mine").mkdir()
    Path("mine", "mine.txt").touch()
    error = usage_error(capsys, ["vectors", "--out", "mine"])
    assert error.startswith("vime-ref vectors: error: argument --out")


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--timeout", "0", "must be a finite number > 0, got 0"),
        ("--json", "file/below", "can't write to file/below: Not a directory"),
        ("--json", ".", "can't write to .: Is a directory"),
        ("--json", "locked", "can't write to locked: Permission denied"),
    ],
)
def test_a_check_that_cannot_be_made_or_reported_ends_with_one_line(
    flag, value, reason, capsys, monkeypatch
):
    """Before it begins. Control: with a value that fits the check succeeds.

    The file without permission is simulated, because the superuser may write anywhere.
    """
    Path("file").touch()
    Path("locked").touch()
    access = os.access
    begun = []
    with monkeypatch.context() as context:
        context.setattr(
            "os.access", lambda path, mode: str(path) != "locked" and access(path, mode)
        )
        context.setattr(command_line, "crosscheck", begun.append)
        with pytest.raises(SystemExit):
            command_line.main(["check", "--only", "softplus", flag, value])
    *_, error, pointer = capsys.readouterr().err.splitlines()
    assert error == f"vime-ref check: error: argument {flag}: {reason}"
    assert pointer == "try 'vime-ref check --help'"
    assert begun == []
    assert command_line.main(["check", "--only", "softplus", flag, "9"]) == 0


def test_a_report_that_fails_to_be_written_ends_with_one_line(monkeypatch, capsys):
    """As on a full disk. Control: its folder is made, but not for a check that can't be made."""
    words = ["check", "--only", "softplus", "--json", "new/folder/report.json"]
    assert "softplu" in usage_error(capsys, [*words, "--only", "softplu"])
    assert not Path("new").exists()
    assert command_line.main(words) == 0
    assert Path("new/folder/report.json").exists()

    def full(*arguments: Any, **rest: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    capsys.readouterr()
    reason = "can't write to new/folder/report.json: No space left on device"
    with pytest.raises(SystemExit):
        command_line.main(words)
    line = f"vime-ref check: error: argument --json: {reason}"
    assert line in capsys.readouterr().err.splitlines()


def test_a_copy_of_the_vectors_is_checked_against(capsys):
    """By `check` and `fuzz`. Controls: a folder without vectors, and noise of its own."""
    assert command_line.main(["vectors", "--out", "mine"]) == 0
    kept = Path("mine/softplus.json")
    content = json.loads(kept.read_text("utf-8"))
    content["cases"] = [case for case in content["cases"] if "dtypes" in case][:1]
    for other in Path("mine").glob("*.json"):
        other.unlink()
    kept.write_text(json.dumps(content))
    capsys.readouterr()
    words = ["check", "--vectors", "mine", "--json", "report.json"]
    assert command_line.main(words) == 0
    report = json.loads(Path("report.json").read_text())
    assert [case["id"] for case in report["outcomes"]] == [content["cases"][0]["id"]]
    assert report["settings"]["vectors"] == "mine"
    words = ["fuzz", "--vectors", "mine", "--examples", "1"]
    assert command_line.main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("softplus: exact")
    error = usage_error(capsys, ["check", "--vectors", "nowhere"])
    assert "vectors: no vectors in nowhere" in error
    error = usage_error(capsys, ["check", "--vectors", "mine", "--own-noise", "100"])
    assert "--own-noise and --vectors exclude each other" in error


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("my_vime.py", "did you mean my_vime?"),
        ("./my_vime.py", "did you mean my_vime?"),
        ("src/my_vime.py", "did you mean src.my_vime?"),
        ("src/my_vime", "did you mean src.my_vime?"),
        ("my_vime.py:Mine", "did you mean my_vime:Mine?"),
        ("../my_vime.py", "did you mean my_vime, run from the folder that holds it?"),
        (
            "a-b/my_vime.py:x",
            "did you mean my_vime:x, run from the folder that holds it?",
        ),
    ],
)
@pytest.mark.parametrize("command", ["check", "fuzz"])
def test_a_file_in_place_of_a_module_ends_with_what_was_meant(
    command, given, meant, capsys
):
    """Control: the suggestion is checked, and does not exist."""
    wanted = "IMPL must be a module or module:object"
    line = usage_error(capsys, [command, given])
    assert line == f"vime-ref {command}: error: {wanted}, got {given!r}: {meant}\n"
    if meant.endswith("my_vime?"):
        module = meant.removeprefix("did you mean ").removesuffix("?")
        line = usage_error(capsys, [command, module, "--only", "softplus"])
        assert "No module named" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_command_with_one_line(number, monkeypatch, capsys):
    """Also in a caller's process, whose handlers are the same afterwards."""

    def stopped(arguments):
        os.kill(os.getpid(), number)
        time.sleep(60)

    before = signal.getsignal(number)
    monkeypatch.setitem(command_line.COMMANDS, "figure", stopped)
    assert command_line.main(["figure"]) == 130
    assert capsys.readouterr().err == "\nvime-ref: interrupted\n"
    assert signal.getsignal(number) == before

"""What holds for the project as a whole: layering, README, style."""

import ast
import contextlib
import doctest
import graphlib
import importlib
import inspect
import io
import itertools
import operator
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vime_check.operations import NOTES
from vime_check.prove import OPERATIONS
from vime_lab.command_line import main
from vime_lab.tasks import TASKS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CORE = ("bnn_ref", "vime_ref", "agents_ref")
PACKAGES = ("vime_lecture", "vime_gym", "vime_check", "vime_lab")
FILES = [ROOT / f"{name}.py" for name in CORE] + [
    p for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py"))
]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for path in FILES
}
RUN_TIME_NEEDS = {"numpy", "scipy", "autograd", "gymnasium"}


def imported(module: str) -> set[str]:
    """All that a module imports, anywhere in it: modules of this project in full, of others the top-level name."""
    nodes = list(ast.walk(ast.parse(MODULES[module].read_text())))
    names = [
        alias.name
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in MODULES else str(node.module) for name in inner]
    return {name if name in MODULES else name.split(".")[0] for name in names}


def test_imports_follow_the_reading_order() -> None:
    for place, module in enumerate(CORE):
        others = imported(module) - RUN_TIME_NEEDS - sys.stdlib_module_names
        assert others <= set(CORE[:place]), (module, others)
    for module in set(MODULES) - {*CORE, "vime_lab.__main__"}:
        assert "vime_lab.command_line" not in imported(module)


def test_imports_run_in_no_circle() -> None:
    graph = {module: imported(module) & set(MODULES) - {module} for module in MODULES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert (
        order.index("bnn_ref")
        < order.index("vime_check.prove")
        < order.index("vime_check.judge")
    )
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({**graph, "bnn_ref": {"vime_ref"}}).prepare()


def test_core_modules_are_short_and_every_module_is_installed() -> None:
    lines = [
        line
        for module in CORE
        for line in (ROOT / f"{module}.py").read_text().splitlines()
        if line.strip()
    ]
    assert len(lines) < 1200
    listed = re.search(
        r"py_modules = (.*)\npackages = (.*)", (ROOT / "setup.cfg").read_text()
    )
    assert listed
    assert tuple(listed[1].split(", ")) == CORE
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in FILES[len(CORE) :]
    }
    assert set(listed[2].split(", ")) == folders | {"vime_check.vectors"}


@pytest.mark.parametrize("module", MODULES)
def test_doctests_of_the_modules(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def blocks() -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def printed(language: str, code: str, names: dict[str, object]) -> str:
    """What a block prints: a file is written, Python is run, and so is a command of this project."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if language == "sh":
            main(shlex.split(code)[1:])
        elif named := re.match(r"# (\w+\.py)\n", code):
            Path(named[1]).write_text(code)
        else:
            exec(code, names)
    return out.getvalue()


def test_examples_of_readme_print_what_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").symlink_to(ROOT / "results")
    names: dict[str, object] = {}
    shown = 0
    for (language, code), (next_language, text) in itertools.pairwise(
        [*blocks(), ("", "")]
    ):
        if language == "python" or code.startswith("vime-ref"):
            expected = text if next_language == "text" else ""
            assert printed(language, code, names) == expected
            shown += bool(expected)
    assert shown >= 4


def test_operations_of_readme_are_those_of_the_vectors() -> None:
    lines = []
    for name, each in OPERATIONS.items():
        output = each.function(
            **next(case for case in each.cases() if not case.why).inputs
        )
        results = f" -> {', '.join(output)}" if isinstance(output, dict) else ""
        lines.append(
            f"{name}({', '.join(inspect.signature(each.function).parameters)}){results}"
        )
    (shown,) = [text for _, text in blocks() if text.startswith("softplus(rho)")]
    assert sorted(lines) == sorted(shown.splitlines())


def test_mistakes_of_readme_are_those_of_the_vectors() -> None:
    named = {
        name for row in rows("Mistakes found elsewhere") for name in row[0].split(", ")
    }
    assert named == set(NOTES)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its two head lines."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in table[2:]
    ]


def code_names(cell: str) -> list[str]:
    found = re.findall(r"`([^`]+)`", cell)
    assert found, cell
    return found


def defined_tests() -> set[str]:
    return {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }


def test_map_of_readme_names_functions_and_tests_that_exist() -> None:
    table = rows("From the lecture to the code to the proof")
    assert len(table) >= 15
    for _slide, _equation, functions, tests in table:
        for name in code_names(functions):
            assert callable(pkgutil.resolve_name(name)), name
        assert set(code_names(tests)) <= defined_tests(), tests


def test_deviations_of_readme_name_tests_that_exist() -> None:
    table = rows("Where this departs from paper, lecture and original code")
    assert len(table) >= 10
    for *_, tests in table:
        assert set(code_names(tests)) <= defined_tests(), tests


def test_ci_runs_the_test_command_of_readme() -> None:
    (command,) = [
        text.strip()
        for language, text in blocks()
        if language == "sh" and "pytest" in text
    ]
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize(
    "command",
    [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]],
    ids=" ".join,
)
def test_checkers_are_clean(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_pictures_and_files_of_readme_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert all(
        (ROOT / link).exists() for link in links if not link.startswith("http")
    ), links


def test_settings_of_readme_are_those_of_the_tasks() -> None:
    table = [row for row in rows("Experiments") if row[0].startswith("`")]
    assert len(table) >= 8
    for name, *cells, _source in table:
        values = [operator.attrgetter(name.strip("`"))(task) for task in TASKS.values()]
        shown = [
            ", ".join(map(str, value)) or "none"
            if isinstance(value, tuple)
            else f"{value}"
            for value in values
        ]
        assert cells == [text.removesuffix(".0") for text in shown], name

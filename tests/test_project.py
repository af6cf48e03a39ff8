"""Rules of the whole project: structure, README and pages, style."""

import ast
import configparser
import doctest
import functools
import graphlib
import importlib
import pkgutil
import pydoc
import re
import subprocess
import sys
from statistics import mean, median

import measures
import pytest
from measures import CORE, PACKAGES, ROOT

LECTURE = (ROOT / "docs" / "lecture.md").read_text()
MODULES = measures.modules()
RUN_TIME_NEEDS = {"numpy", "scipy", "autograd", "gymnasium"}
FILES = {
    *("README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md"),
    *("setup.cfg", "pyproject.toml", "ruff.toml"),
    *(f"{name}.py" for name in CORE),
}
FOLDERS = {*PACKAGES, "tests", "docs", "examples", "benchmarks", "results"}
HIDDEN = {".gitignore", ".ci", ".binder"}  # read at fixed places by Git, CI, Binder
COMMANDS = {
    *("vime_lab.__main__", "vime_lab.command_line", "vime_lab.processes"),
    *("vime_check.mistakes", "vime_check.prove", "vime_check.programs"),
    *("vime_check.guard", "vime_check.specification"),
}  # modules with a command of their own
LABEL = r"[A-Z]\d+"

# ------------------------------------------------------------ the house


def tracked() -> list[str]:
    """The files that git tracks, or all files in an unpacked sdist."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return listed.stdout.splitlines()
    made = {"PKG-INFO", "vime_ref.egg-info", "dist", "build", "__pycache__"}
    names = {path.name for path in ROOT.iterdir()} - made
    return [name for name in names if not name.startswith(".")]  # caches


def test_the_root_holds_what_the_house_says_and_nothing_else() -> None:
    """Except hidden names, which Git, CI and Binder read at fixed places."""
    top = {name.split("/")[0] for name in tracked()}
    hidden = {name for name in top if name.startswith(".")}
    assert top - hidden == FILES | FOLDERS
    assert hidden <= HIDDEN


def of_project(names: set[str]) -> set[str]:
    """The project's own root modules and packages among imported names."""
    return {name.split(".")[0] for name in names} & {*CORE, *PACKAGES}


def test_imports_follow_the_reading_order() -> None:
    for place, name in enumerate(CORE):
        names = measures.imported(MODULES[name], MODULES)
        assert names - RUN_TIME_NEEDS - sys.stdlib_module_names <= set(CORE[:place]), (
            name
        )
    assert "gymnasium" not in measures.imported(MODULES["bnn_ref"], MODULES)


@pytest.mark.parametrize(
    ("package", "others"),
    [
        ("vime_lecture", set()),
        ("vime_gym", {"vime_lecture"}),
        ("vime_check", {"vime_lecture", "vime_gym"}),
        ("vime_lab", {"vime_lecture", "vime_gym"}),
    ],
)
def test_packages_import_what_the_house_allows(package: str, others: set[str]) -> None:
    """Only the command line touches both the kit and the laboratory."""
    for name, module in MODULES.items():
        if name.split(".")[0] == package and name != "vime_lab.command_line":
            names = of_project(measures.imported(module, MODULES))
            assert names <= {*CORE, package, *others}, name


def test_imports_run_in_no_circle() -> None:
    """Imports inside functions count too. Control: an import of vime_ref by bnn_ref would close a circle."""
    graph = measures.import_graph(MODULES)
    assert measures.floors({"c": {"b"}, "b": {"a"}, "a": set(), "d": {"a"}}) == 3
    assert measures.floors(graph) <= 13
    with pytest.raises(graphlib.CycleError):
        measures.floors({**graph, "bnn_ref": {"vime_ref"}})


def test_importing_the_kit_does_not_import_the_reference() -> None:
    script = (
        "import sys, vime_check; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "vime_check" in loaded
    assert not loaded & {
        *CORE,
        "scipy",
        "autograd",
        "gymnasium",
        "vime_lecture",
        "vime_lab",
    }


def test_every_module_has_a_test_file_of_its_name() -> None:
    for name in MODULES:
        *folders, module = name.split(".")
        package = (ROOT / name.replace(".", "/")).is_dir()
        if package or module == "__main__":
            continue
        assert (ROOT.joinpath("tests", *folders) / f"test_{module}.py").exists(), name


def test_no_module_bears_the_name_of_what_it_exports() -> None:
    for name, module in MODULES.items():
        assert name.split(".")[-1] not in set(measures.defined(module)), name


@pytest.mark.parametrize("name", CORE)
def test_argument_checks_stand_last(name: str) -> None:
    """After its first `check_` function, a core module contains only checks and their helpers."""
    names = [each for each in measures.defined(MODULES[name]) if each != "__all__"]
    first = next(place for place, each in enumerate(names) if each.startswith("check_"))
    behind = {each for each in names[first:] if not each.startswith("check_")}
    assert behind <= {"checked"}, behind


def test_every_module_is_installed() -> None:
    setup = (ROOT / "setup.cfg").read_text()
    listed = re.search(r"py_modules = (.*)\npackages = (.*)", setup)
    assert listed
    assert tuple(listed[1].split(", ")) == CORE
    packages = {
        ".".join(each.path.parent.relative_to(ROOT).parts) for each in MODULES.values()
    }
    assert set(listed[2].split(", ")) == packages - {""} | {"vime_check.vectors"}
    assert all((ROOT / package / "py.typed").exists() for package in PACKAGES)


def test_one_version_stands_everywhere() -> None:
    """The newest heading of the changelog, the metadata, the citation, and the origin of the vectors."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    version = setup["metadata"]["version"]
    headings = re.findall("^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    cited = (ROOT / "CITATION.cff").read_text()
    date = re.search(r'^date-released: "([\d-]+)"$', cited, re.M)
    assert date
    assert headings[0] == f"{version} ({date[1]})"
    assert f"\nversion: {version}\n" in cited
    kit = (ROOT / "vime_check" / "vectors" / "CHANGELOG.md").read_text()
    newest = re.search(r"Came with vime-ref ([\d.]+\d)\.", kit)
    assert newest
    assert newest[1] in [heading.split()[0] for heading in headings]


def unbounded(requirements: list[str]) -> list[str]:
    return [
        each for each in requirements if not re.fullmatch(r"[^<>=!~]+>=[\d.]+", each)
    ]


def test_every_requirement_has_a_lower_bound_that_ci_can_install() -> None:
    """CI installs each with == for >=. Controls: no bound, another bound."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"].values()
    stated = " ".join([setup["options"]["install_requires"], *extras]).split()
    assert len(stated) > 20
    assert unbounded(stated) == []
    bad = ["tqdm", "numpy<3", "numpy>=2,<3"]
    assert unbounded([*bad, "gymnasium[mujoco]>=1.1"]) == bad


def test_help_begins_with_the_functions() -> None:
    for name in CORE:
        module = importlib.import_module(name)
        text = pydoc.render_doc(module, renderer=pydoc.plaintext)
        head = text.split("\nCLASSES")[0].split("\nFUNCTIONS")[0]
        assert all(hasattr(module, each) for each in module.__all__)
        assert sum(f"{each}" in head for each in module.__all__) >= 2, name
        shown = re.findall(
            r"^    (\w+)\(", text.split("\nFUNCTIONS\n")[1], re.MULTILINE
        )
        assert set(shown) <= set(module.__all__), name


@pytest.mark.parametrize("name", [name for name in MODULES if name not in COMMANDS])
def test_no_module_is_silent_when_it_is_run(name: str) -> None:
    """A module without a command names the command `vime-ref` and exits with an error."""
    if MODULES[name].path.name == "__init__.py":
        return  # Python itself says that a package can't be run
    assert MODULES[name].source.rstrip().splitlines()[-2:] == [
        'if __name__ == "__main__":',
        '    raise SystemExit("import this module; the command is vime-ref")',
    ]


# ------------------------------------------------------------ air


def test_core_lines_are_short_and_hold_one_fact() -> None:
    """Before the packages: 48.7 characters, and 10.7 % of the assignments folded two facts into one."""
    assert measures.core_mean(MODULES) <= 40.0
    assert measures.core_tuples(MODULES) <= 0.03


def test_the_first_equation_comes_early() -> None:
    assert 0 < measures.first_equation(MODULES["bnn_ref"]) < 60


def test_no_name_says_two_things() -> None:
    """Before the packages: 27. The tanh of 50 digits is the same function."""
    assert set(measures.defined_twice(MODULES)) == {"tanh"}


def test_functions_are_short() -> None:
    """Half of all have ten lines or fewer, and under 1 % have more than 40."""
    for name in CORE:
        sizes = sizes_of(name)
        assert sum(size > measures.MAX_FUNCTION for size in sizes) <= 1, name
    sizes = [size for name in MODULES for size in sizes_of(name)]
    assert max(sizes) <= 50
    assert median(sizes) <= 10
    assert mean(size > measures.MAX_FUNCTION for size in sizes) < 0.01


def sizes_of(name: str) -> list[int]:
    """The lines of each function of a module."""
    return [len(measures.lines_of(each)) for each in measures.functions(MODULES[name])]


def own_comments(module: measures.Module, function: ast.FunctionDef) -> int:
    lines = module.source.splitlines()[function.lineno : function.end_lineno]
    return sum(line.lstrip().startswith("#") for line in lines)


@pytest.mark.parametrize("name", CORE)
def test_long_functions_name_their_steps(name: str) -> None:
    """A function of the core whose body has over 12 lines of code has a comment per step."""
    module = MODULES[name]
    code = measures.code_lines(module)
    for function in measures.functions(module):
        body = range(function.body[0].lineno, function.end_lineno + 1)
        if sum(line in code for line in body) > 12 and function.name != "__post_init__":
            assert own_comments(module, function) > 0, function.name


def test_the_core_stays_small() -> None:
    """Definitions, and behind them the argument checks, which convert and name them. `fast_ref` has neither."""
    definitions = checks = 0
    for name in set(CORE) - {"fast_ref"}:
        lines = MODULES[name].source.splitlines()
        first = next(n for n, line in enumerate(lines) if "- argument checks" in line)
        numbers = measures.code_lines(MODULES[name])
        definitions += sum(number <= first for number in numbers)
        checks += sum(number > first for number in numbers)
    assert definitions < 1250
    assert checks < 500


SHAPES = r"\.reshape\(|concatenate\(|matmul\(|einsum\(|tensordot\(|transpose\(| @ |swapaxes\(|axis="


ARRAYS = [name for name in MODULES if name.split(".")[0] not in PACKAGES[2:]]


@pytest.mark.parametrize("name", ARRAYS)
def test_lines_that_change_a_shape_say_so(name: str) -> None:
    """In the core, the lecture's package and the environments'."""
    comments = measures.trailing_comments(MODULES[name].source)
    for number, line in measures.code_lines(MODULES[name]).items():
        if re.search(SHAPES, line) and "curvature" not in line:  # a scalar product
            assert "(" in comments.get(number, ""), f"{name}:{number}: {line}"


HEADLESS = re.compile("(What|Which|How|Where|When|Who|It|They|This|These|That)\\b")


def test_docstrings_begin_with_a_noun_or_a_verb() -> None:
    """Control: a clause without a head."""
    assert HEADLESS.match("What a step is worth.")
    kinds = ast.FunctionDef | ast.ClassDef
    for name, module in MODULES.items():
        for node in ast.walk(module.tree):
            text = ast.get_docstring(node) if isinstance(node, kinds) else None
            assert not text or not HEADLESS.match(text), f"{name}: {text}"


# ------------------------------------------------------------ labels


def labels_of_code() -> list[tuple[str, tuple[str, int]]]:
    """Label, and module and number, of each line of code that ends in a label."""
    return [
        (label, (name, number))
        for name, module in MODULES.items()
        for number, comment in measures.trailing_comments(module.source).items()
        for label in re.findall(rf"(?:# |  )({LABEL})$", comment)
    ]


def places_of(name: str) -> list[tuple[str, int]]:
    """Module and number of each line of a function or method, such as vime_ref.Vime.update."""
    module = max((each for each in MODULES if name.startswith(f"{each}.")), key=len)
    node: ast.AST = MODULES[module].tree
    for part in name.removeprefix(f"{module}.").split("."):
        inner = ast.FunctionDef | ast.ClassDef
        assert isinstance(node, ast.Module | ast.ClassDef), name
        (node,) = [n for n in node.body if isinstance(n, inner) and n.name == part]
    assert isinstance(node, ast.FunctionDef), name
    return [(module, number) for number in measures.lines_of(node)]


@functools.cache
def labels_of_tests() -> dict[str, set[str]]:
    """The tests whose docstring ends in each label."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
                ending = re.search(rf"(?:{LABEL}\s*)+$", text)
                for label in re.findall(LABEL, ending[0]) if ending else []:
                    found.setdefault(label, set()).add(node.name)
    return found


def equations() -> dict[str, list[str]]:
    """The rows of docs/lecture.md by label: topic, equation, functions, tests."""
    found: dict[str, list[str]] = {}
    for line in LECTURE.splitlines():
        if re.match(rf"\| {LABEL} \|", line):
            label, *cells = (
                cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]
            )
            assert label not in found, label
            found[label] = cells
    return found


def test_each_equation_has_one_line_of_code_and_a_test() -> None:
    """The line stands in a function that the page names. Control: the next function is another."""
    in_code = dict(labels_of_code())
    assert len(in_code) == len(labels_of_code()), "a label stands on two lines"
    assert set(in_code) == set(equations()) == set(labels_of_tests())
    assert in_code["B1"] not in places_of("bnn_ref.softplus_inverse")
    for label, (*_, functions, tests) in equations().items():
        named = [places_of(name) for name in code_names(functions)]
        assert any(in_code[label] in places for places in named), label
        assert labels_of_tests()[label] & set(code_names(tests)), label


def test_pages_name_functions_and_tests_that_exist() -> None:
    assert len(equations()) >= 28
    for _, _, functions, tests in [
        *equations().values(),
        *(["", *row] for row in identities()),
    ]:
        for name in code_names(functions):
            assert callable(pkgutil.resolve_name(name)), name
        assert set(code_names(tests)) <= set(measures.files_of_tests()), tests


def identities() -> list[list[str]]:
    """The rows of the identities: identity, functions, tests."""
    section = LECTURE.split("\n## Identities\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in table[2:]
    ]


# ------------------------------------------------------------ modules


@pytest.mark.parametrize("module", MODULES)
def test_doctests_of_the_modules(module: str) -> None:
    if module == "vime_gym.sb3":
        pytest.importorskip("stable_baselines3")
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def code_names(cell: str) -> list[str]:
    found = re.findall(r"`([^`]+)`", cell)
    assert found, cell
    return found


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

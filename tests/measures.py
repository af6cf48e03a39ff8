"""Measures of how the code reads, as a table: `python tests/measures.py [ROOT]`.

A code line is one that is not blank, a docstring, a comment of its own or an import; its length counts the
indentation, not a comment behind it.
"""

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
CORE = ("bnn_ref", "fast_ref", "vime_ref", "agents_ref")
PACKAGES = ("vime_lecture", "vime_gym", "vime_check", "vime_lab")
MAX_FUNCTION = 40  # lines
MAX_MODULE = 450  # lines


class Module(NamedTuple):
    name: str  # dotted
    path: Path
    source: str
    tree: ast.Module


class Measures(NamedTuple):
    """Of one module."""

    lines: int
    mean_line: float  # characters of a code line
    tuples: float  # share of the assignments whose both sides are tuples
    comments: int  # own lines
    long_functions: int


def modules(root: Path = ROOT) -> dict[str, Module]:
    """The modules of the root and of the packages by dotted name, in that order."""
    paths = sorted(root.glob("*_ref.py"))
    for package in PACKAGES:
        paths += sorted((root / package).rglob("*.py"))
    found = {}
    for path in paths:
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        source = path.read_text()
        found[name] = Module(name, path, source, ast.parse(source))
    return found


def lines_of(node: ast.AST) -> range:
    return range(node.lineno, node.end_lineno + 1)


def docstring_of(node: ast.AST) -> ast.Expr | None:
    """The statement that is the docstring of a module, class or function."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    if not isinstance(node, kinds) or ast.get_docstring(node) is None:
        return None
    return node.body[0]


def trailing_comments(source: str) -> dict[int, str]:
    """Comments behind code, and on lines of their own, by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        each.start[0]: each.string for each in tokens if each.type == tokenize.COMMENT
    }


def code_lines(module: Module) -> dict[int, str]:
    """The code lines by number, without comments."""
    nodes = list(ast.walk(module.tree))
    prose = [doc for node in nodes if (doc := docstring_of(node))]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    left_out = {line for node in (*prose, *imports) for line in lines_of(node)}
    comments = trailing_comments(module.source)
    found = {}
    for number, line in enumerate(module.source.splitlines(), 1):
        code = line.removesuffix(comments.get(number, "")).rstrip()
        if code and number not in left_out:
            found[number] = code
    return found


def functions(module: Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef)]


def measures(module: Module) -> Measures:
    assignments = [n for n in ast.walk(module.tree) if isinstance(n, ast.Assign)]
    folded = [
        node
        for node in assignments
        if isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple)
    ]
    own = [line for line in module.source.splitlines() if line.lstrip().startswith("#")]
    long = [each for each in functions(module) if len(lines_of(each)) > MAX_FUNCTION]
    lengths = [len(line) for line in code_lines(module).values()]
    return Measures(
        len(module.source.splitlines()),
        mean(lengths) if lengths else 0.0,
        len(folded) / max(len(assignments), 1),
        len(own),
        len(long),
    )


def core_mean(found: dict[str, Module]) -> float:
    """Characters of a code line, over the core modules together."""
    core = [found[name] for name in CORE if name in found]
    return mean(len(line) for module in core for line in code_lines(module).values())


def core_tuples(found: dict[str, Module]) -> float:
    """Share of assignments that fold two facts into one, over the core modules."""
    return mean(measures(found[name]).tuples for name in CORE if name in found)


def defined(module: Module) -> Iterator[str]:
    """Top-level names that a module defines: functions, classes, variables."""
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def defined_twice(found: dict[str, Module]) -> dict[str, list[str]]:
    """Names that two or more modules define, with the modules.

    Fast twins and the kit's operations bear their definitions' names on purpose; a program has its `main`.
    """

    def of_kit(module: Module) -> bool:
        return "check.cases" in module.name or module.name.endswith("_cases_ref")

    places: dict[str, list[str]] = defaultdict(list)
    for module in sorted(found.values(), key=of_kit):
        for name in dict.fromkeys(defined(module)):
            twin = module.name == "fast_ref" or (of_kit(module) and name in places)
            if name != "main" and not name.startswith("__") and not twin:
                places[name].append(module.name)
    return {name: where for name, where in places.items() if len(where) > 1}


def imported(module: Module, found: dict[str, Module], top: bool = False) -> set[str]:
    """What a module imports, anywhere or at its top level: dotted if of this project."""
    nodes = module.tree.body if top else list(ast.walk(module.tree))
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in found else str(node.module) for name in inner]
    return {name if name in found else name.split(".")[0] for name in names}


def floors(found: dict[str, Module]) -> int:
    """Modules on the longest chain of imports."""
    graph = {
        name: imported(each, found) & set(found) - {name}
        for name, each in found.items()
    }
    height: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in height:
            height[name] = 1 + max(map(of, graph[name]), default=0)
        return height[name]

    return max(map(of, graph))


def first_equation(module: Module) -> int:
    """The line of the first arithmetic in a function, or of the first call of numpy."""
    for function in functions(module):
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and re.search(
                r"np\.\w+\(|[*/]", ast.unparse(node)
            ):
                return node.lineno
    return 0


def main(root: Path) -> None:
    found = modules(root)
    rows = {name: measures(module) for name, module in found.items()}
    print(
        f"{'module':32} lines  characters  tuples  comments  functions > {MAX_FUNCTION}"
    )
    for name, each in rows.items():
        print(
            f"{name:32} {each.lines:5}  {each.mean_line:10.1f}  {each.tuples:6.1%}  "
            f"{each.comments:8}  {each.long_functions:14}"
        )
    everything = [line for each in found.values() for line in code_lines(each).values()]
    print(
        f"\ncharacters of a code line: {mean(map(len, everything)):.1f}, core {core_mean(found):.1f}"
    )
    print(f"tuple assignments in the core: {core_tuples(found):.1%}")
    print(
        f"comments on lines of their own: {sum(each.comments for each in rows.values())}"
    )
    print(f"first equation of bnn_ref: line {first_equation(found['bnn_ref'])}")
    print(f"names defined twice: {len(twice := defined_twice(found))} {sorted(twice)}")
    print(f"floors of the import graph: {floors(found)}")
    print(
        f"functions over {MAX_FUNCTION} lines: {sum(each.long_functions for each in rows.values())}"
    )
    print(
        f"modules over {MAX_MODULE} lines: {sum(each.lines > MAX_MODULE for each in rows.values())}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)

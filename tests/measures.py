"""Measures of how code and pages read, as tables: `python tests/measures.py [--english | --link] [ROOT]`.

Code lines exclude blank lines, docstrings, comments on lines of their own, and imports. The length of a code line
includes its indentation, but not a trailing comment.

`--english` measures README and docs/. Sentences exclude headings, tables, code and displayed math.
`--link` renews the links to lines of code in docs/lecture.md.
"""

import ast
import io
import json
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
CORE = ("bnn_ref", "vime_ref", "agents_ref", "fast_ref")
PACKAGES = ("vime_lecture", "vime_gym", "vime_check", "vime_lab")
MAX_FUNCTION = 40  # lines
MAX_MODULE = 450  # lines


class Module(NamedTuple):
    name: str  # dotted
    path: Path
    source: str
    tree: ast.Module


class Measures(NamedTuple):
    """How one module reads."""

    lines: int
    mean_line: float  # characters of a code line
    tuples: float  # share of the assignments whose both sides are tuples
    comments: int  # on lines of their own
    long_functions: int


class English(NamedTuple):
    """How the sentences of a text read."""

    sentences: int
    median: float  # words per sentence
    percentile_90: float  # words per sentence
    commas: float  # per 100 words
    relatives: float  # what, which, that, where; per 100 words


def modules(root: Path = ROOT) -> dict[str, Module]:
    """The modules of the root and of the packages, by dotted name, in that order."""
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

    Fast twins and the kit's operations have their definitions' names on purpose; a program has its `main`.
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


def imported(module: Module, found: dict[str, Module]) -> set[str]:
    """The imports of a module, anywhere in it; dotted if they belong to this project."""
    names = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in found else str(node.module) for name in inner]
    return {name if name in found else name.split(".")[0] for name in names}


def import_graph(found: dict[str, Module]) -> dict[str, set[str]]:
    """The modules of this project that each of them imports."""
    return {
        name: imported(module, found) & set(found) - {name}
        for name, module in found.items()
    }


def floors(graph: dict[str, set[str]]) -> int:
    """Modules on the longest chain of imports. Raises CycleError if modules import each other."""
    height: dict[str, int] = {}
    # Every module comes after its imports.
    for name in TopologicalSorter(graph).static_order():
        height[name] = 1 + max((height[each] for each in graph[name]), default=0)
    return max(height.values())


def first_equation(module: Module) -> int:
    """The line of the first arithmetic in a function, or of the first call of numpy."""
    for function in functions(module):
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and re.search(
                r"np\.\w+\(|[*/]", ast.unparse(node)
            ):
                return node.lineno
    return 0


# ------------------------------------------------------------ English

RELATIVES = ("what", "which", "that", "where")
ABBREVIATIONS = r"\b(e\.g|i\.e|et al|cf|vs|resp|approx|Fig|Sec|Eq)\."


def pages(root: Path = ROOT) -> dict[str, Path]:
    """README and the pages of docs/, by path relative to the root."""
    paths = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    return {str(path.relative_to(root)): path for path in paths}


def notebook_cells(path: Path, kind: str) -> list[str]:
    """The sources of a notebook's cells of a kind, "markdown" or "code"; code without magics."""
    cells = json.loads(path.read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]
    return [without_magics(text) if kind == "code" else text for text in texts]


def without_magics(source: str) -> str:
    """A notebook's code as plain Python.

    >>> without_magics("%matplotlib inline\\nx = 1 % 2")
    'x = 1 % 2'
    """
    return re.sub(r"^%.*\n", "", source, flags=re.M)


def without_code(page: str) -> str:
    """A Markdown page without front matter, comments, fenced blocks and math; inline code becomes `code`."""
    text = re.sub(r"\A---\n.*?\n---\n", "", page, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^ *(`{3,}|~{3,}).*?^ *\1 *$", "\n", text, flags=re.M | re.DOTALL)
    text = re.sub(r"(`+)[^`]+?\1", "`code`", text)
    text = re.sub(r"\$\$.*?\$\$", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"(?<!\\)\$[^$]+?\$", "math", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"<[^>\n]+>", "", text)


def paragraphs(page: str) -> list[str]:
    """The running text of a Markdown page: its paragraphs and list items."""
    lines = []
    for line in without_code(page).splitlines():
        if re.match(r"\s*(\||#|:::|\[[^\]]+\]: |[-=]{3,}\s*$)", line):
            line = ""  # table, heading, directive, link target
        line = re.sub(r"^[\s>]*([-*+]|\d+[.)]) ", "\n\n", line)
        lines.append(line.strip(" >"))
    blocks = re.split(r"\n\s*\n", "\n".join(lines))
    return [" ".join(block.split()) for block in blocks if block.strip()]


def words(text: str) -> list[str]:
    return [each for each in text.split() if re.search(r"\w", each)]


def sentences(page: str) -> list[str]:
    """The sentences of a Markdown page."""
    found = []
    for block in paragraphs(page):
        marked = re.sub(ABBREVIATIONS, lambda match: match[0][:-1] + "\0", block)
        for each in re.split(r"(?<=[.!?])[*_\"”’)]*\s+(?=[^a-z\s])", marked):
            found.append(each.replace("\0", "."))
    return [each for each in found if words(each)]


def english(page: str) -> English:
    """Measures of a Markdown page's sentences."""
    texts = sentences(page)
    lengths = sorted(len(words(text)) for text in texts) or [0]
    everything = [word for text in texts for word in words(text)]
    bare = [word.strip("*_(),.;:!?\"“”’'").lower() for word in everything]
    hundreds = max(len(everything), 1) / 100
    return English(
        len(texts),
        median(lengths),
        lengths[(9 * len(lengths) - 1) // 10],
        sum(text.count(",") for text in texts) / hundreds,
        sum(word in RELATIVES for word in bare) / hundreds,
    )


def print_english(root: Path) -> None:
    print(
        "page                  sentences  median  90 %  commas  what/which/that/where"
    )
    for name, path in pages(root).items():
        each = english(path.read_text())
        print(
            f"{name:20} {each.sentences:10}  {each.median:6g}  {each.percentile_90:4g}"
            f"  {each.commas:6.1f}  {each.relatives:21.1f}"
        )


def places(root: Path = ROOT) -> dict[str, str]:
    """File and line of each function and method by dotted name, and the file of each test."""
    found = {}
    for name, module in modules(root).items():
        file = module.path.relative_to(root).as_posix()
        for node in module.tree.body:
            methods = node.body if isinstance(node, ast.ClassDef) else []
            for each in [node, *methods]:
                if isinstance(each, ast.FunctionDef | ast.ClassDef):
                    owner = f"{node.name}." if each is not node else ""
                    found[f"{name}.{owner}{each.name}"] = f"{file}#L{each.lineno}"
    return found | files_of_tests(root)


def files_of_tests(root: Path = ROOT) -> dict[str, str]:
    return {
        test: path.relative_to(root).as_posix()
        for path in sorted((root / "tests").rglob("test_*.py"))
        for test in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }


def linked(page: str, root: Path = ROOT) -> str:
    """The page with each name in a table linked to its place."""
    known = places(root)

    def link(match: re.Match[str]) -> str:
        name = match[1]
        return f"[`{name}`](../{known[name]})" if name in known else f"`{name}`"

    lines = page.splitlines(keepends=True)
    pattern = r"\[?`([\w.]+)`(?:\]\(\.\./[^)]*\))?"
    return "".join(
        re.sub(pattern, link, each) if each.startswith("|") else each for each in lines
    )


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
    print(f"floors of the import graph: {floors(import_graph(found))}")
    print(
        f"functions over {MAX_FUNCTION} lines: {sum(each.long_functions for each in rows.values())}"
    )
    print(
        f"modules over {MAX_MODULE} lines: {sum(each.lines > MAX_MODULE for each in rows.values())}"
    )


def renew_links(root: Path) -> None:
    page = root / "docs" / "lecture.md"
    page.write_text(linked(page.read_text(), root))


if __name__ == "__main__":
    given = [each for each in sys.argv[1:] if not each.startswith("--")]
    commands = {"--english": print_english, "--link": renew_links}
    chosen = [command for flag, command in commands.items() if flag in sys.argv]
    (chosen or [main])[0](Path(given[0]) if given else ROOT)

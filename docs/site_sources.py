"""Helpers of the site: docstrings as reST, the tests of each function, links to files, pages of source.

`conf.py` connects them to Sphinx. They need only the standard library and Pygments, so the tests run without Sphinx.
"""

from __future__ import annotations

import ast
import html
import io
import json
import posixpath
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parent.parent
CORE = ("bnn_ref", "vime_ref", "agents_ref", "fast_ref")  # in the order of reading
PACKAGES = ("vime_lecture", "vime_gym", "vime_check", "vime_lab")
NOTEBOOK = "examples/lecture.ipynb"
NOTEBOOK_PAGE = "notebook.ipynb"  # in docs/, written by conf.py
COPIED = {".png", ".svg", ".csv", ".json"}  # the browser shows these as they are
WIDTH = 78  # a line that ends earlier, although the next word fits, ends on purpose
LABEL = r"[A-Z]\d+"
MOST_CHARACTERS = 24  # of the cells of a column that may be narrow
INTERVAL = re.compile(r"\d [\[(][-−]?\d\S* ?\S*\d[\])]$")  # a number with its interval
A_PARAGRAPH = 150  # characters of a cell whose column should be wide
WIDEST_TABLE = 140  # characters of a line that a command prints


class Equation(NamedTuple):
    """A row of docs/lecture.md."""

    label: str  # "" for an identity
    functions: tuple[str, ...]  # dotted
    tests: tuple[str, ...]


class Test(NamedTuple):
    """Where a test stands, and the names that it mentions."""

    path: str  # relative to the root
    line: int
    names: frozenset[str]


# ------------------------------------------------------------ modules


def modules(root: Path = ROOT) -> list[str]:
    """Dotted names in the order of reading: the core, then each package and its modules.

    A package's modules follow docs/lecture.md if it names them, and the alphabet if not.
    """
    lecture = (root / "docs" / "lecture.md").read_text()
    names = list(CORE)
    for package in PACKAGES:
        files = (root / package).rglob("*.py")
        found = [dotted(path.relative_to(root)) for path in files]
        kept = [name for name in found if not name.endswith("__main__")]
        names += sorted(kept, key=lambda name: (first_place(name, lecture), name))
    return names


def dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def first_place(name: str, text: str) -> int:
    """Where the text first names a module; a package stands first."""
    if name in PACKAGES:
        return -1
    found = text.find(f"{name}.")
    return found if found >= 0 else len(text)


def module_path(name: str) -> str:
    """The file of a module, relative to the root."""
    path = name.replace(".", "/")
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def type_aliases(sources: Iterable[str]) -> dict[str, str]:
    """The names of type aliases, each standing for itself, so that signatures show the name."""
    kinds = r"(?:NDArray|Callable|Sequence|Literal|tuple|dict)\[|Array \|"
    text = "\n".join(sources)
    return {
        name: name for name in re.findall(rf"^([A-Z]\w+) = (?:{kinds})", text, re.M)
    }


# ------------------------------------------------------------ docstrings


def rest(lines: list[str]) -> list[str]:
    """A docstring as reST: paragraphs, equations and tables in literal blocks, doctests, code in backticks."""
    out: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        block = paragraph.split("\n")
        if paragraph.startswith(">>>"):
            out += block
        elif all(line.startswith(" ") for line in block):
            out += [".. code-block:: text", "", *(f"    {line}" for line in block)]
        else:
            out += line_block(block)
        out.append("")
    return out


def line_block(block: list[str]) -> list[str]:
    """A paragraph whose deliberate line breaks stay; an indented part becomes a literal block."""
    facts: list[str] = []
    for place, line in enumerate(block):
        if line.startswith("  ") and all(
            each.startswith(" ") for each in block[place:]
        ):
            return [
                *out_of(facts),
                "",
                ".. code-block:: text",
                "",
                *(f"    {x}" for x in block[place:]),
            ]
        if facts and not ends_on_purpose(block[place - 1], line):
            facts[-1] += " " + line.strip()
        else:
            facts.append(line.strip())
    return out_of(facts)


def out_of(facts: list[str]) -> list[str]:
    """One fact is a paragraph, several are a line block."""
    escaped = [inline(fact) for fact in facts]
    return escaped if len(escaped) == 1 else [f"| {each}" for each in escaped]


def ends_on_purpose(line: str, following: str) -> bool:
    """Whether a line break separates two facts; if not, it only wraps one sentence."""
    if line.count("`") % 2 == 1:
        return False
    if re.search(r"[.:;]$", line.strip()):
        return not re.match(r"[a-z0-9]", following.strip())
    return len(line) + 1 + len(following.split()[0]) <= WIDTH


def inline(text: str) -> str:
    """Plain text with code in backticks as reST; a name in backticks links to its entry."""
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    parts[::2] = [escaped(part) for part in parts[::2]]
    parts[1::2] = [code(part.strip("`")) for part in parts[1::2]]
    return "".join(parts)


def code(name: str) -> str:
    """Backslashes and spaces end a role inside a word, and vanish."""
    if re.fullmatch(r"[A-Za-z_][\w.]*", name):
        return rf"\ :py:obj:`{name}`\ "
    return rf"\ ``{name}``\ "


def escaped(text: str) -> str:
    """Plain text as reST; the name of a page of docs/ links to it."""
    text = re.sub(r"([\\*|_`\[\]])", r"\\\1", text)
    return re.sub(r"docs/(\w+)\.md", r"`docs/\1.md <../\1.html>`__", text)


def field_comments(source: str) -> dict[tuple[str, str], str]:
    """The comments behind the fields of classes, such as the shape of an array.

    >>> field_comments("class Q:\\n    mu: Array  # (D,)")
    {('Q', 'mu'): '(D,)'}
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {
        each.start[0]: each.string.removeprefix("# ")
        for each in tokens
        if each.type == tokenize.COMMENT
    }
    return {
        (group.name, ast.unparse(field.target)): comments[field.lineno]
        for group in ast.parse(source).body
        if isinstance(group, ast.ClassDef)
        for field in group.body
        if isinstance(field, ast.AnnAssign) and field.lineno in comments
    }


# ------------------------------------------------------------ equations and tests


def equations(lecture: str) -> list[Equation]:
    """The rows of the page's tables that name functions and tests."""
    module = "|".join((*CORE, *PACKAGES))
    found = []
    for line in lecture.splitlines():
        functions = re.findall(rf"`((?:{module})\.[\w.]+)`", line)
        tests = re.findall(r"\btest_\w+(?!\w*\.py)", line)
        if line.startswith("|") and functions:
            label = re.match(rf"\|\W*({LABEL})\b", line)
            row = (dict.fromkeys(functions), dict.fromkeys(tests))
            found.append(Equation(label[1] if label else "", *map(tuple, row)))
    return found


def project_tests(root: Path = ROOT) -> dict[str, Test]:
    """Each test by its name."""
    found = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                names = frozenset(mentioned(node))
                file = path.relative_to(root).as_posix()
                found[node.name] = Test(file, node.lineno, names)
    return found


def mentioned(node: ast.AST) -> Iterator[str]:
    """The names and attributes in a piece of code."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield each.id
        if isinstance(each, ast.Attribute):
            yield each.attr


def named_tests(functions: list[str], tests: Iterable[str]) -> dict[str, list[str]]:
    """The tests whose name contains a function's name, and no longer name around it.

    >>> named_tests(["elbo", "elbo_grad"], ["test_elbo_grad_by_hand", "test_elbo"])
    {'elbo': ['test_elbo'], 'elbo_grad': ['test_elbo_grad_by_hand']}
    """
    found: dict[str, list[str]] = {name: [] for name in functions}
    longest_first = sorted(functions, key=len, reverse=True)
    either = "|".join(re.escape(name.lower()) for name in longest_first) or "$^"
    for test in tests:
        rest_of_name = test.removeprefix("test_")
        for name in set(re.findall(rf"(?<![^_])(?:{either})(?![^_])", rest_of_name)):
            for function in functions:
                if function.lower() == name:
                    found[function].append(test)
    return found


# ------------------------------------------------------------ links


def site_links(text: str, folder: str, root: Path = ROOT) -> str:
    """Markdown of a page in `folder`, its links to the repository's files leading to the site's pages.

    Raises FileNotFoundError if a file does not exist.
    """

    def moved(found: re.Match[str]) -> str:
        image, target = found[1] or "", found[2]
        if re.match(r"[a-z]+:|#|/", target):
            return found[0]
        return f"{image}]({site_link(target, folder, bool(image), root)})"

    outside = re.split(r"(^```.*?^```[^\S\n]*$)", text, flags=re.M | re.S)
    parts = [
        re.sub(r"(!\[[^\]]*)?\]\(([^)\s]+)\)", moved, each) for each in outside[::2]
    ]
    outside[::2] = parts
    return "".join(outside)


def site_link(target: str, folder: str, image: bool, root: Path = ROOT) -> str:
    """Where a link of a page in `folder` leads: a page of docs/, a picture, or the page of a file."""
    name, _, fragment = target.partition("#")
    path = posixpath.normpath(posixpath.join(folder, name))
    if not (root / path).exists():
        raise FileNotFoundError(f"{target}: {path} does not exist")
    end = f"#{fragment}" if fragment else ""
    if image:
        return f"../{path}"
    if path == "README.md":
        return "index.md" + end
    if path.startswith("docs/") and path.endswith(".md"):
        return path.removeprefix("docs/") + end
    if path == NOTEBOOK:
        return NOTEBOOK_PAGE + end
    return f"site:{page_of(path, root)}{end}"


def notebook_with_site_links(text: str, root: Path = ROOT) -> str:
    """A notebook of examples/ whose text has the links of `site_links`."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            moved = site_links("".join(cell["source"]), "examples", root)
            cell["source"] = moved.splitlines(keepends=True)
    return json.dumps(notebook, ensure_ascii=False)


def page_of(path: str, root: Path = ROOT) -> str:
    """The site's address of a file or folder, relative to the site's root."""
    if path in PACKAGES:
        return f"api/{path}.html"
    if (root / path).is_dir():
        return f"source/{path}/index.html"
    copied = Path(path).suffix in COPIED
    return f"source/{path}" if copied else f"source/{path}.html"


def linked_files(texts: Iterable[str], root: Path = ROOT) -> Iterator[str]:
    """The files whose pages the links of the pages lead to; all files of a linked folder."""
    for text in texts:
        for link in re.findall(r"\]\(site:source/([^)#]+)", text):
            path = link.removesuffix("/index.html").removesuffix(".html")
            yield path
            if (root / path).is_dir():
                inside = (each for each in (root / path).rglob("*") if each.is_file())
                names = (each.relative_to(root).as_posix() for each in inside)
                yield from (name for name in names if "__pycache__" not in name)


def label_anchors(lecture: str) -> str:
    """The page with an address for each row that begins with a label: lecture.html#B3."""
    return re.sub(rf"^\| ({LABEL}) \|", r'| <a id="\1"></a>\1 |', lecture, flags=re.M)


# ------------------------------------------------------------ pages of source


def source_page(path: str, root: Path = ROOT) -> str:
    """A text file in color as HTML, with the address #L12 for its line 12; a folder as a list."""
    if (root / path).is_dir():
        return folder_page(path, root)
    try:
        lexer = get_lexer_for_filename(path, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    form = HtmlFormatter(
        linenos="inline", lineanchors="L", anchorlinenos=True, wrapcode=True
    )
    shown = highlight((root / path).read_text(), lexer, form)
    shown = re.sub(r'"(#?)L-(\d+)"', r'"\1L\2"', shown)
    name = dotted(Path(path))
    up = "../" * (path.count("/") + 1)
    documented = name in modules(root)
    entry = (
        f'<p><a href="{up}api/{name}.html">Documentation</a></p>' if documented else ""
    )
    return f"<h1>{html.escape(path)}</h1>{entry}<div class='source-page'>{shown}</div>"


def folder_page(path: str, root: Path = ROOT) -> str:
    inside = sorted(set(linked_files([f"](site:source/{path}/index.html)"], root)))
    names = [name for name in inside if (root / name).is_file()]
    up = "../" * (path.count("/") + 2)
    items = (
        f'<li><a href="{up}{page_of(name, root)}">{html.escape(name)}</a></li>'
        for name in names
    )
    return f"<h1>{html.escape(path)}</h1><ul>{''.join(items)}</ul>"


def column_kind(cells: list[str]) -> str:
    """The class of a column of a table, from its heading and cells: "" for numbers and short names.

    >>> column_kind(["equation", "π(a)"]), column_kind(["seeds", "5"])
    ('equation', '')
    """
    heading, *rest_of_column = cells
    if heading == "equation":
        return "equation"
    longest = max(map(len, rest_of_column), default=0)
    if longest > A_PARAGRAPH:
        return "paragraphs"
    if longest > MOST_CHARACTERS:
        return "sentences"
    return "intervals" if any(map(INTERVAL.search, rest_of_column)) else ""


def breakable(page: str) -> str:
    """HTML whose code may break inside a long name, but not inside an option.

    >>> breakable('<code><span class="pre">kl_taylor</span></code>')
    '<code><span class="pre">kl_<wbr>taylor</span></code>'
    """

    def in_code(found: re.Match[str]) -> str:
        return re.sub(r'<span class="pre">([^<]*)', in_word, found[0])

    def in_word(word: re.Match[str]) -> str:
        if word[1].startswith("-"):
            return f'<span class="pre option">{word[1]}'
        name = re.sub(r"(?<=\w)([_./])(?=\w)", r"\1<wbr>", word[0])
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "<wbr>", name)

    return re.sub(r"<code\b.*?</code>", in_code, page, flags=re.S)


def wrapped_at_tables(page: str) -> str:
    """HTML whose blocks of plain text state their longest line of a table; longer lines wrap there.

    >>> wrapped_at_tables('<div class="highlight-text x"><div class="highlight"><pre>a  b\\nc\\n</pre>')
    '<div class="highlight-text x"><div class="highlight"><pre style="--longest: 4ch">a  b\\nc\\n</pre>'
    """

    def in_block(block: re.Match[str]) -> str:
        text = html.unescape(re.sub(r"<[^>]*>", "", block[2]))
        widths = [len(line) for line in text.splitlines()]
        longest = max((each for each in widths if each <= WIDEST_TABLE), default=0)
        return f'{block[1]}<pre style="--longest: {longest}ch">{block[2]}</pre>'

    start = r'(<div class="highlight-text\b[^>]*><div class="highlight">)'
    return re.sub(rf"{start}<pre>(.*?)</pre>", in_block, page, flags=re.S)


def enlargeable(page: str) -> str:
    """HTML whose pictures lead to their files, where they have their full size.

    >>> enlargeable('<img alt="a" src="a.png" />')
    '<a class="picture" href="a.png"><img alt="a" src="a.png" /></a>'
    """

    def linked(found: re.Match[str]) -> str:
        inside, picture, address = found[1], found[2], found[3]
        return (
            found[0] if inside else f'<a class="picture" href="{address}">{picture}</a>'
        )

    image = r'(<img\b[^>]*?\bsrc="([^"]+)"[^>]*>)'
    return re.sub(rf"(<a\b[^>]*>\s*)?{image}", linked, page)


def loads_from_outside(page: str) -> list[str]:
    """The addresses outside the site from which a page of HTML or a style sheet loads something.

    >>> loads_from_outside('<script src="https://x.org/a.js"></script><a href="https://x.org">')
    ['https://x.org/a.js']
    """
    tags = re.findall(r"<(?:script|link|img|iframe|source|video|object)\b[^>]*>", page)
    outside = r"(?:src|srcset|href|data)=[\"']?((?:https?:)?//[^\"'\s>]+)"
    loaded = [each for tag in tags for each in re.findall(outside, tag)]
    styles = "".join(re.findall(r"<style\b.*?</style>|style=\"[^\"]*\"", page, re.S))
    in_styles = r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')\s]+)"
    return loaded + re.findall(in_styles, styles)

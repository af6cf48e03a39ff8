"""The site, built by Sphinx: `sphinx-build -W -b html docs site`. Its helpers are in site_sources.py."""

import importlib
import inspect
import re
import shutil
import sys
from functools import cache
from pathlib import Path

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx import addnodes
from sphinx.errors import ExtensionError
from sphinx.ext.autodoc.mock import mock
from sphinx.pycode import ModuleAnalyzer

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

sources = importlib.import_module("site_sources")
ROOT = sources.ROOT

project = "vime-ref"
extensions = [
    "myst_nb",  # MyST pages, and the notebook, executed
    "sphinx.ext.autodoc",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax as files of the site, not from a network
]
html_theme = "furo"
html_title = "vime-ref"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).parent / "search_order.js")
html_copy_source = False
html_domain_indices = False  # the contents list the modules
html_show_sphinx = False
html_show_copyright = False
exclude_patterns = ["_static"]

myst_enable_extensions = ["dollarmath", "html_image", "tasklist"]
myst_heading_anchors = 3
myst_url_schemes = ["http", "https", "mailto", "site"]

nb_execution_mode = "force"
nb_execution_timeout = 600  # seconds of a cell; on a free machine all take less than 60
nb_execution_in_temp = True  # it needs no file of the checkout
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_code_prompt_show = "Show the solution"
nb_code_prompt_hide = "Hide the solution"

MODULES = sources.modules()
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "ignore-module-all": True,
}
autodoc_type_aliases = sources.type_aliases(
    (ROOT / sources.module_path(name)).read_text() for name in MODULES
) | {"ArrayLike": "ArrayLike"}
autodoc_mock_imports = ["stable_baselines3"]
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 60
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

# ------------------------------------------------------------ pages of the modules


def write_module_pages(app):
    """docs/api holds a page for each module; a package's page lists those of its modules."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    pages = {f"{name}.md": module_page(name) for name in MODULES}
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)


def module_page(name):
    inside = [each for each in MODULES if each.rpartition(".")[0] == name]
    tree = "\n".join(["```{toctree}", ":maxdepth: 1", "", *inside, "```"])
    auto = f"```{{eval-rst}}\n.. automodule:: {name}\n```"
    return "\n\n".join([f"# {name}", auto, *([tree] if inside else [])]) + "\n"


def write_notebook(app):
    """docs/notebook.ipynb is the notebook with links within the site."""
    page = Path(app.srcdir) / sources.NOTEBOOK_PAGE
    text = sources.notebook_with_site_links((ROOT / sources.NOTEBOOK).read_text())
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


# ------------------------------------------------------------ docstrings, sources and tests

EQUATIONS = sources.equations((ROOT / "docs" / "lecture.md").read_text())
TESTS = sources.project_tests()
MOST_USERS = 4  # tests shown that use a function


@cache
def tests_by_function(module):
    """The tests in a module's own file by the function or class that they name."""
    own = [name for name, test in TESTS.items() if test.path == test_file(module)]
    with mock(autodoc_mock_imports):
        loaded = importlib.import_module(module)
    names = [
        name for name, each in vars(loaded).items() if inspect.getmodule(each) is loaded
    ]
    return sources.named_tests(names, own)


def add_tests(what, name, lines):
    """Append the equation's label and the tests; without a test of its name, the tests that use it."""
    rows = [row for row in EQUATIONS if name in row.functions]
    labels = [row.label for row in rows if row.label]
    tests = [test for row in rows for test in row.tests if test in TESTS]
    module, _, function = name.rpartition(".")
    if module in MODULES:
        tests += tests_by_function(module).get(function, [])
    fields = {"Equation": [f"`{each} <../lecture.html#{each}>`__" for each in labels]}
    fields["Tests"] = [test_link(test) for test in dict.fromkeys(tests)]
    if not tests and what in ("function", "class"):
        file = test_file(module)
        users = [key for key, test in TESTS.items() if function in test.names]
        own = [key for key in users if TESTS[key].path == file]
        fields["Used in"] = [test_link(test) for test in own[:MOST_USERS]]
    shown = [f":{key}: {', '.join(links)}" for key, links in fields.items() if links]
    lines += ["", *shown]


def test_link(name):
    return f"`{name} <{source_address(TESTS[name].path, TESTS[name].line)}>`__"


def test_file(module):
    """The file that tests a module."""
    *folders, last = module.split(".")
    return "/".join(["tests", *folders, f"test_{last}.py"])


def source_address(path, line):
    """A line of a file, seen from a page of docs/api."""
    return f"../{sources.page_of(path)}#L{line}"


def link_tests(app, doctree):
    """Link the name of each test to its line, also where the page links its file."""
    up = "../" * app.env.docname.count("/")
    for name in list(doctree.findall(nodes.literal)):
        test = TESTS.get(name.astext())
        if test is None:
            continue
        page = up + sources.page_of(test.path)
        if isinstance(name.parent, nodes.reference):
            if name.parent.get("refuri") == page:
                name.parent["refuri"] = f"{page}#L{test.line}"
        elif not isinstance(name.parent, addnodes.pending_xref):
            link = nodes.reference("", "", refuri=f"{page}#L{test.line}")
            name.replace_self(link)
            link += name


def add_field_comments(app):
    """Document each field by the comment behind it, as if it began with `#:`."""
    for name in MODULES:
        with mock(autodoc_mock_imports):
            analyzer = ModuleAnalyzer.for_module(name)
        analyzer.analyze()
        for field, text in sources.field_comments(analyzer.code).items():
            analyzer.attr_docs.setdefault(field, [text, ""])


def process_signature(app, what, name, obj, options, arguments, returned):
    """Show an alias inside another type by its name, and no arguments of a class that lists its fields."""

    def plain(text):
        return text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text)

    fields = getattr(obj, "__annotations__", None) or getattr(
        obj, "_is_protocol", False
    )
    if what == "class" and arguments and fields:
        return "", None
    return plain(arguments), plain(returned)


def process_docstring(app, what, name, obj, options, lines):
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()
    lines[:] = sources.rest(lines)
    add_tests(what, name, lines)


def linkcode_resolve(domain, info):
    """The page of the source, at the line of a function or class."""
    obj = sys.modules[info["module"]]
    try:
        for part in info["fullname"].split("."):
            obj = getattr(obj, part)
        obj = getattr(obj, "fget", None) or getattr(obj, "func", None) or obj
        line = inspect.getsourcelines(inspect.unwrap(obj))[1]
    except (AttributeError, TypeError, OSError):
        return None
    return source_address(sources.module_path(info["module"]), line)


def shorten_contents(app, doctree):
    """Leave fields and checks of arguments out of the contents of a page."""
    for entry in doctree.findall(addnodes.desc):
        names = [line.get("fullname", "") for line in entry.children]
        checks = any(name.startswith("check_") for name in names)
        if checks or entry["objtype"] == "attribute":
            entry["no-contents-entry"] = True


# ------------------------------------------------------------ links of the pages


def page_text(docname):
    """The Markdown of a page with links within the site; the index holds README."""
    path = ROOT / "docs" / f"{docname}.md"
    text = sources.site_links(path.read_text(), "docs")
    if docname == "index":
        readme = sources.site_links((ROOT / "README.md").read_text(), ".")
        text = text.replace("[README](index.md)", readme)
    if docname == "lecture":
        text = sources.label_anchors(text)
    return text


def read_source(app, docname, content):
    if (ROOT / "docs" / f"{docname}.md").exists() and "/" not in docname:
        content[0] = page_text(docname)
    if docname == "index":
        app.env.note_dependency(str(ROOT / "README.md"))


def resolve_site_links(app, doctree):
    for link in doctree.findall(nodes.reference):
        if link.get("refuri", "").startswith("site:"):
            link["refuri"] = link["refuri"].removeprefix("site:")


def mark_columns(app, doctree):
    """Give the cells of a column of equations, or of sentences, a class for the style sheet."""
    for table in doctree.findall(nodes.table):
        rows = [row.children for row in table.findall(nodes.row)]
        for column in zip(*rows, strict=True):
            kind = sources.column_kind([cell.astext() for cell in column])
            for cell in column if kind else ():
                cell["classes"].append(kind)


def fit_to_screens(app, pagename, templatename, context, doctree):
    """Names and text wrap where they should, and pictures can be enlarged."""
    if doctree is not None:
        body = sources.breakable(context["body"])
        context["body"] = sources.enlargeable(sources.wrapped_at_tables(body))


def source_pages(app):
    """A page for each module, test file and linked file."""
    pages = [path.stem for path in (ROOT / "docs").glob("*.md")]
    paths = {sources.module_path(name) for name in MODULES}
    paths |= {test.path for test in TESTS.values()}
    paths |= set(sources.linked_files(map(page_text, pages)))
    for path in sorted(paths):
        address = sources.page_of(path)
        if address.endswith(".html"):
            context = {"title": path, "body": sources.source_page(path)}
            yield address.removesuffix(".html"), context, "page.html"
        else:
            target = Path(app.outdir) / address
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, target)


def check_loads(app, exception):
    """Fail if a page of the site loads something from a network."""
    if exception is not None:
        return
    for path in Path(app.outdir).rglob("*"):
        if path.suffix in {".html", ".css"}:
            text = path.read_text()
            page = text if path.suffix == ".html" else f"<style>{text}</style>"
            if loads := sources.loads_from_outside(page):
                raise ExtensionError(f"{path} loads {loads}")


def setup(app):
    app.add_lexer("jsonl", TextLexer)  # lines of a protocol, which begin with an arrow
    app.connect("builder-inited", write_module_pages)
    app.connect("builder-inited", write_notebook)
    app.connect("builder-inited", add_field_comments)
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("source-read", read_source)
    app.connect("doctree-read", shorten_contents, priority=100)  # before the contents
    app.connect("doctree-read", resolve_site_links)
    app.connect("doctree-read", link_tests)
    app.connect("doctree-read", mark_columns)
    app.connect("html-page-context", fit_to_screens)
    app.connect("html-collect-pages", source_pages)
    app.connect("build-finished", check_loads)

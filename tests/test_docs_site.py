"""The site's helpers: docstrings as reST, tests of a function, links, pages of source. CI builds the site itself."""

import doctest
import importlib.util
import json
from pathlib import Path

import measures
import pytest
from measures import ROOT


def loaded_helpers():
    place = ROOT / "docs" / "site_sources.py"
    spec = importlib.util.spec_from_file_location("site_sources", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = loaded_helpers()


def test_doctests_of_the_helpers() -> None:
    assert doctest.testmod(site).failed == 0
    assert doctest.testmod(site).attempted >= 4


def test_every_module_has_a_page() -> None:
    """Control: the modules that tests/measures.py finds."""
    expected = set(measures.modules()) - {"vime_lab.__main__"}
    assert set(site.modules()) == expected
    assert site.modules()[:3] == ["bnn_ref", "vime_ref", "agents_ref"]
    assert all((ROOT / site.module_path(name)).is_file() for name in expected)


# ------------------------------------------------------------ docstrings


def test_rest_escapes_what_is_markup_in_rest() -> None:
    assert site.rest(["log p(s′ | s, a), S*, A_t and h_"]) == [
        r"log p(s′ \| s, a), S\*, A\_t and h\_",
        "",
    ]


def test_rest_links_names_and_keeps_code() -> None:
    (line, _) = site.rest(["`elbo` under `a + b`."])
    assert line == r"\ :py:obj:`elbo`\  under \ ``a + b``\ ."


def test_rest_keeps_tables_and_doctests() -> None:
    text = ["Title.", "", "    a   b", "    c   d", "", ">>> 1 + 1", "2"]
    assert site.rest(text) == [
        "Title.",
        "",
        ".. code-block:: text",
        "",
        "        a   b",
        "        c   d",
        "",
        ">>> 1 + 1",
        "2",
        "",
    ]


def test_rest_keeps_lines_of_one_fact_and_joins_wrapped_sentences() -> None:
    wrapped = (
        "A sentence that goes on for so long that its end does not fit into the line"
    )
    assert site.rest([wrapped, "here."]) == [f"{wrapped} here.", ""]
    assert site.rest(["Shapes: (N, K).", "Raises ValueError."]) == [
        "| Shapes: (N, K).",
        "| Raises ValueError.",
        "",
    ]
    assert site.rest(["σ = log(1 + e^ρ)", "The rest."])[0] == "| σ = log(1 + e^ρ)"


# ------------------------------------------------------------ equations and tests


def test_equations_of_both_kinds_of_rows() -> None:
    cells = (
        "V5",
        "½",
        "[`vime_ref.gain`](../vime_ref.py#L2)",
        "`test_a` in `tests/test_vime_ref.py`",
    )
    linked = f"| {' | '.join(cells)} |"
    (row,) = site.equations(linked)
    assert row == site.Equation("V5", ("vime_ref.gain",), ("test_a",))
    (identity,) = site.equations("| Bayes | `bnn_ref.elbo`, `bnn_ref.fit` | `test_b` |")
    assert identity == site.Equation("", ("bnn_ref.elbo", "bnn_ref.fit"), ("test_b",))


def test_tests_of_the_lecture_are_found_with_their_lines() -> None:
    tests = site.project_tests()
    rows = site.equations((ROOT / "docs" / "lecture.md").read_text())
    assert len(rows) >= 40
    for name in {name for row in rows for name in row.tests}:
        test = tests[name]
        line = (ROOT / test.path).read_text().splitlines()[test.line - 1]
        assert line.startswith(f"def {name}(")
    assert "softplus" in tests["test_softplus_against_50_digits"].names
    assert "kl_taylor" not in tests["test_softplus_against_50_digits"].names


# ------------------------------------------------------------ links and pages


@pytest.fixture
def small_root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "lecture.ipynb").write_text("{}")
    (tmp_path / "docs" / "a.md").write_text("# A")
    (tmp_path / "README.md").write_text("# R")
    (tmp_path / "m.py").write_text("x = 1\ny = 2 < 3\n")
    (tmp_path / "results" / "p.png").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "before", "after"),
    [
        ("docs", "[m](../m.py#L2)", "[m](site:source/m.py.html#L2)"),
        ("docs", "[a](a.md#b)", "[a](a.md#b)"),
        (".", "[a](docs/a.md#b)", "[a](a.md#b)"),
        (".", "![p](results/p.png)", "![p](../results/p.png)"),
        ("docs", "[p](../results/p.png)", "[p](site:source/results/p.png)"),
        (".", "[r](results)", "[r](site:source/results/index.html)"),
        (".", "[b](#b), [w](https://x.org)", "[b](#b), [w](https://x.org)"),
        ("docs", "[n](../examples/lecture.ipynb)", "[n](notebook.ipynb)"),
        ("docs", "[r](../README.md#run-it)", "[r](index.md#run-it)"),
        (".", "```text\n[m](m.py)\n```\n", "```text\n[m](m.py)\n```\n"),
    ],
)
def test_links_lead_to_pages_of_the_site(
    folder: str, before: str, after: str, small_root: Path
) -> None:
    assert site.site_links(before, folder, small_root) == after


def test_links_of_a_notebook_change_in_its_text_only(small_root: Path) -> None:
    cells = [
        {"cell_type": kind, "source": ["λ\n", "[a](../docs/a.md)"]}
        for kind in ("markdown", "code")
    ]
    changed = site.notebook_with_site_links(json.dumps({"cells": cells}), small_root)
    text, code = (cell["source"] for cell in json.loads(changed)["cells"])
    assert text == ["λ\n", "[a](a.md)"]
    assert code == cells[1]["source"]


def test_a_link_to_no_file_raises(small_root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.py"):
        site.site_links("[g](../gone.py)", "docs", small_root)


def test_linked_files_are_those_of_a_folder_too(small_root: Path) -> None:
    text = site.site_links("[r](results) [m](m.py)", ".", small_root)
    found = set(site.linked_files([text], small_root))
    assert found == {"results", "results/p.png", "m.py"}


def test_source_page_has_an_address_for_each_line() -> None:
    page = site.source_page("bnn_ref.py")
    lines = (ROOT / "bnn_ref.py").read_text().splitlines()
    assert page.count('<a id="L') == len(lines)
    assert 'href="../api/bnn_ref.html"' in page
    assert "L-" not in page.split("class='source-page'")[1].split("softplus")[0]


def test_rows_of_the_lecture_have_addresses() -> None:
    assert site.label_anchors("| B3 | KL |") == '| <a id="B3"></a>B3 | KL |'
    assert site.label_anchors("| label | KL |") == "| label | KL |"


def test_columns_of_sentences_and_equations_are_told_from_numbers() -> None:
    assert site.column_kind(["equation", "x"]) == "equation"
    assert site.column_kind(["here", "a", "a" * 25]) == "sentences"
    assert site.column_kind(["a" * 25, "1.00", "a" * 24]) == ""
    assert site.column_kind(["here", "a", "a" * 151]) == "paragraphs"
    assert site.column_kind(["P", "", "-58 [-63, -51]"]) == "intervals"
    assert site.column_kind(["shape", "Box (2,)"]) == ""


def test_options_stay_whole_and_long_names_break() -> None:
    shown = '<code><span class="pre">{}</span></code>'
    broken = {
        "SharedRowNoise": "Shared<wbr>Row<wbr>Noise",
        "vime_ref/Chain-v0": "vime_<wbr>ref/<wbr>Chain-v0",
        "1/D": "1/<wbr>D",
        "&quot;f32&quot;": "&quot;f32&quot;",
    }
    for word, breaks in broken.items():
        assert site.breakable(shown.format(word)) == shown.format(breaks)
    assert 'class="pre option">--own_noise<' in site.breakable(
        shown.format("--own_noise")
    )
    outside = '<span class="pre">kl_taylor</span>'
    assert site.breakable(outside) == outside


def test_text_wraps_at_the_longest_line_of_a_table() -> None:
    """Control: lines longer than a table, and blocks of code."""
    block = '<div class="highlight-{} x"><div class="highlight"><pre><b>{}</b></pre>'
    text = "a &lt; b\n" + "c" * 141
    assert "--longest: 5ch" in site.wrapped_at_tables(block.format("text", text))
    assert "--longest: 0ch" in site.wrapped_at_tables(block.format("text", "c" * 141))
    code = block.format("python", text)
    assert site.wrapped_at_tables(code) == code


def test_a_picture_inside_a_link_keeps_its_link() -> None:
    page = '<a href="b.html"><img src="a.png"></a>'
    assert site.enlargeable(page) == page


def test_loads_from_outside_against_local_ones() -> None:
    outside = (
        '<link rel="stylesheet" href="//x.org/a.css"><img src=\'http://x.org/p.png\'>'
    )
    assert site.loads_from_outside(outside) == ["//x.org/a.css", "http://x.org/p.png"]
    assert site.loads_from_outside("<style>@import url(https://x.org/f.css)</style>")
    assert not site.loads_from_outside('<script src="_static/a.js"></script>')

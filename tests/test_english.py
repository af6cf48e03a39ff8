"""English: sentence length of the pages, and paraphrases of standard terms in pages, code and help.

`python tests/measures.py --english` prints the measures of the pages.
"""

import argparse
import ast
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import measures
import pytest

from vime_lab.arguments import command_line

ROOT = measures.ROOT
NOTEBOOK = "examples/lecture.ipynb"
PAGES = {name: path.read_text() for name, path in measures.pages().items()}
PAGES[NOTEBOOK] = "\n\n".join(measures.notebook_cells(ROOT / NOTEBOOK, "markdown"))
MAX_WORDS = 25  # of a sentence
MAX_MEDIAN = 18  # words per sentence

# ------------------------------------------------------------ sentence length


def long_sentences(page: str) -> list[str]:
    return [
        each
        for each in measures.sentences(page)
        if len(measures.words(each)) > MAX_WORDS
    ]


@pytest.mark.parametrize("name", PAGES)
def test_sentences_of_the_pages_are_short(name: str) -> None:
    page = PAGES[name]
    assert not long_sentences(page)
    assert measures.english(page).median <= MAX_MEDIAN


LONG = " ".join(["word"] * 31) + "."
SHORT = " ".join(["Word"] * 17) + "."


@pytest.mark.parametrize(
    "page",
    [
        LONG,
        f"# Title\n\n{SHORT}\n\n- {LONG}\n",
        f"> {LONG}",
        LONG.replace("word ", "word, "),
        LONG.replace("word ", "word\n"),
        LONG.replace("word", "e.g. word"),
        LONG.replace("word", "`some code`"),
    ],
)
def test_a_long_sentence_is_found(page: str) -> None:
    """Negative control of the sentence length."""
    assert len(long_sentences(page)) == 1


@pytest.mark.parametrize(
    "page",
    [
        f"{SHORT} {SHORT}",
        f"{SHORT}** {SHORT}",
        f"- {SHORT[:-1]}\n- {SHORT[:-1]}",
        f"{SHORT[:-1]}:\n\n```text\n{LONG}\n```\n\n{SHORT}",
        f"| {LONG} | {LONG} |",
        f"# {LONG}",
        f"{SHORT[:-1]}\n\n$$\n{LONG}\n$$\n\n{SHORT[:-1]}",
        f"The term ${LONG}$ is one word.",
        f"`{LONG}` is one word.",
        f"[Word](https://example.org/{LONG.replace(' ', '/')})",
        f"<!-- {LONG} -->",
    ],
)
def test_code_tables_and_math_are_no_sentences(page: str) -> None:
    """Negative control: a check that counts them would reject these pages."""
    assert not long_sentences(page)


def test_measures_of_english_against_counts_by_hand() -> None:
    page = "What I saw, I know. This is the place where it was, and that is all there is.\n"
    found = measures.english(page)
    assert (found.sentences, found.median, found.percentile_90) == (2, 9, 13)
    assert found.commas == pytest.approx(100 * 2 / 18)
    assert found.relatives == pytest.approx(100 * 3 / 18)


# ------------------------------------------------------------ paraphrases


class Banned(NamedTuple):
    """A paraphrase, the word to use, a text with the paraphrase, and a correct text."""

    pattern: str
    instead: str
    bad: str
    good: str


IZE = (
    "character|discret|emphas|factor|final|general|initial|maxim|minim|normal|optim|organ"
    "|parametr|parameter|penal|random|recogn|regular|serial|special|standard|summar"
    "|synchron|util|vector|visual"
)
BANNED = [
    Banned(
        r"\brefus(e|es|ed|al|als|ing)\b",
        "reject, raise",
        "It refuses bad input.",
        "It rejects bad input.",
    ),
    Banned(
        r"\b(pays?|paying|paid|unpaid)\b",
        "reward",
        "The goal pays 1.",
        "The goal gives 1.",
    ),
    Banned(
        r"\bparted by\b", "comma-separated", "Parted by commas.", "Comma-separated."
    ),
    Banned(r"\bbut for\b", "except", "All but for one.", "All except one."),
    Banned(r"\bin place of\b", "instead of", "σ in place of σ².", "σ instead of σ²."),
    Banned(
        r"\b(stands?|stood) for\b", "use, represent", "P stands for Q.", "P means Q."
    ),
    Banned(
        r"\bas it stands\b", "unchanged", "Use it as it stands.", "Use it unchanged."
    ),
    Banned(r"\bha(s|ve) to be\b", "must", "It has to be 1.", "It must be 1."),
    Banned(r"\bfor ever\b", "forever", "It waits for ever.", "It waits forever."),
    Banned(
        r", for (it|they|there|that is|this is)\b",
        "because",
        "Stop, for it is late.",
        "Wait for it, then stop.",
    ),
    Banned(r"\beach whole\b", "atomically", "Files, each whole.", "Files, atomically."),
    Banned(r"\bdr[ae]wn? again\b", "redraw", "It is drawn again.", "It is redrawn."),
    Banned(
        r"\bseries of actions\b", "action sequence", "A series of actions.", "Actions."
    ),
    Banned(
        r"\b(best|highest) returns?\b",
        "maximum return",
        "The best return.",
        "The return.",
    ),
    Banned(
        r"\b(is|are) (no|another) (checkpoint|array|file|number|module)\b",
        "is not a ...",
        "It is no checkpoint.",
        "It is not a checkpoint.",
    ),
    Banned(
        rf"\b\w*({IZE})is(e|es|ed|er|ers|ing|ation|ations)\b",
        "American spelling, -ize",
        "A normalised value.",
        "A normalized value.",
    ),
    Banned(
        r"\b(colour|centre|behaviour|neighbour|favour|honour)\w*|\bgrey\b|\bageing\b",
        "American spelling",
        "The colour grey.",
        "The color gray.",
    ),
    Banned(
        r"(?<!vime_check\.)\b(prove[sdn]?|proofs?)\b",
        "test, agree with, to 1e-12",
        "A test proves it.",
        "A test checks it.",
    ),
]


def found(text: str) -> list[str]:
    """The banned paraphrases in a text, each with the word to use."""
    prose = " ".join(re.sub(r"(`+)[^`]+?\1", "`code`", text).split())
    return [
        f"{match[0]!r}, use: {each.instead}"
        for each in BANNED
        for match in re.finditer(each.pattern, prose, re.IGNORECASE)
    ]


@pytest.mark.parametrize("banned", BANNED, ids=lambda each: each.pattern)
def test_a_paraphrase_is_found(banned: Banned) -> None:
    """Negative control of each pattern, and that the correct text passes."""
    assert len(found(banned.bad)) >= 1
    assert banned.instead in found(banned.bad)[0]
    assert not found(banned.good)
    assert not found(f"`{banned.bad}`")


class Exempt(NamedTuple):
    """Texts that keep their words: files by glob, texts by pattern, and the reason."""

    files: str
    texts: str
    reason: str


EXCEPTIONS = [
    Exempt(
        "vime_check/operations.py",
        r"^(Refused by the reference's own convention)",
        "the vectors contain these comments",
    ),
    Exempt("docs/mistakes.md", r"^\|", "generated from the notes in the vectors"),
    Exempt(
        "docs/operations.md",
        r"^\| [A-Z]\w{5,} \|",
        "the table of the same mistakes",
    ),
    Exempt("*", r"UCB-1's proven bound", "a theorem of [UCB]"),
    Exempt("docs/derivations.md", r"\b[Pp]ro(ves?|ven|of)", "derivations stand there"),
    Exempt("*", r"need proof for that last line\?", "a quotation from the lecture"),
]


VECTORS = " ".join(
    path.read_text() for path in sorted((ROOT / "vime_check/vectors").glob("*.json"))
)


def excepted(name: str, text: str) -> bool:
    """Whether a text keeps its words: listed above, or a text of the kit in the vectors."""
    quoted = json.dumps(text.strip(), ensure_ascii=False)[1:-1]
    if name.startswith("vime_check/") and quoted in VECTORS:
        return True
    return any(
        Path(name).match(each.files) and re.search(each.texts, text)
        for each in EXCEPTIONS
    )


def faults(name: str, texts: Iterator[tuple[int, str]]) -> list[str]:
    """Paraphrases in the texts of a file, with line numbers, except the exceptions."""
    return [
        f"{name}:{line}: {fault}"
        for line, text in texts
        if not excepted(name, text)
        for fault in found(text)
    ]


def texts_of_python(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings, comments, and string literals with a blank in them; shorter ones are names."""
    tree = ast.parse(source)
    parts: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = [
                each.value if isinstance(each, ast.Constant) else "{}"
                for each in node.values
            ]
            parts |= set(node.values)
            yield node.lineno, "".join(map(str, pieces))
    for node in ast.walk(tree):
        constant = isinstance(node, ast.Constant) and node not in parts
        if constant and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    comments = measures.trailing_comments(source)
    for number in comments:  # a comment of several lines is one text
        if number - 1 not in comments:
            lines = itertools.takewhile(comments.__contains__, itertools.count(number))
            yield number, "\n".join(comments[line].lstrip("# ") for line in lines)


def texts_of_page(page: str) -> Iterator[tuple[int, str]]:
    """Paragraphs and lines of tables, numbered."""
    text = measures.without_code(page)
    yield from enumerate(re.split(r"\n\s*\n|\n(?=\s*\|)", text), 1)


def texts_of_javascript(source: str) -> Iterator[tuple[int, str]]:
    """Comments."""
    for number, line in enumerate(source.splitlines(), 1):
        if comment := re.search(r"(?:^|\s)//(.*)", line):
            yield number, comment[1]


SOURCES = {
    str(path.relative_to(ROOT)): path
    for path in [
        *(module.path for module in measures.modules().values()),
        *sorted((ROOT / "examples").glob("*.*")),
        *sorted((ROOT / "benchmarks").glob("*.*")),
        *sorted((ROOT / "tests").rglob("*.py")),
    ]
    if path.name != "test_english.py"  # it lists the paraphrases
}


@pytest.mark.parametrize("name", SOURCES)
def test_code_has_no_paraphrases(name: str) -> None:
    source = SOURCES[name].read_text()
    if name.endswith(".py"):
        texts = texts_of_python(source)
    elif name.endswith((".js", ".cpp")):
        texts = texts_of_javascript(source)
    elif name.endswith(".ipynb"):
        cells = measures.notebook_cells(SOURCES[name], "code")
        texts = itertools.chain.from_iterable(map(texts_of_python, cells))
    else:
        texts = texts_of_page(source)
    assert not faults(name, texts)


@pytest.mark.parametrize("name", PAGES)
def test_pages_have_no_paraphrases(name: str) -> None:
    assert not faults(name, texts_of_page(PAGES[name]))


def test_paraphrases_in_pages_are_found() -> None:
    """Negative control: text over two lines, and tables; code is left out."""
    page = "It stands\nfor σ.\n\n| it pays |\n|---|\n\n```text\nrefused\n```\n"
    assert len(faults("README.md", texts_of_page(page))) == 2


def test_texts_in_the_vectors_keep_their_words() -> None:
    """Control: another text of the same file does not."""
    comment = "One row stands for itself."
    assert not faults("vime_check/cases/gains.py", iter([(1, comment)]))
    assert faults("vime_check/cases/gains.py", iter([(1, f"{comment} Two do.")]))
    assert faults("vime_lab/tables.py", iter([(1, comment)]))


@pytest.mark.parametrize(
    "source",
    [
        '"""It refuses all."""',
        'def f():\n    """One.\n\n    It pays 1.\n    """',
        "x = 1  # in place of 2",
        "# it stands for y",
        "# it stands\n# for y",
        'raise ValueError("x has to be 1")',
        'raise ValueError(f"x has to be {y}")',
        'f(help="the best return" " of all")',
    ],
)
def test_paraphrases_in_code_are_found(source: str) -> None:
    """Negative control: docstrings, comments, string literals and f-strings are all read."""
    assert len(faults("some.py", texts_of_python(source))) == 1


def test_names_and_code_are_no_paraphrases() -> None:
    source = 'def pay(paid):\n    """`refused` is a key."""\n    return paid["refused"]'
    assert not faults("some.py", texts_of_python(source))
    assert not faults("some.js", texts_of_javascript("refused(paid); const x = 1;"))
    assert faults("some.js", texts_of_javascript("f(); // what is refused"))


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda each: each.texts)
def test_each_exception_is_needed(exception: Exempt) -> None:
    """Each exception hides a paraphrase in some file; otherwise delete it."""
    if exception.files.startswith(("docs", "*")):
        return  # pages may come to need it
    hidden = [
        text
        for name, path in SOURCES.items()
        if Path(name).match(exception.files)
        for _, text in texts_of_python(path.read_text())
        if re.search(exception.texts, text) and found(text)
    ]
    assert hidden


def helps() -> dict[str, str]:
    """The output of --help, by command."""
    top = command_line()
    (commands,) = [
        action.choices
        for action in top._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    parsers = {"vime-ref": top, **commands}
    return {name: parser.format_help() for name, parser in parsers.items()}


@pytest.mark.parametrize("name", helps())
def test_help_has_no_paraphrases(name: str) -> None:
    """Control: a flag's help is in the text."""
    text = " ".join(helps()[name].split())
    assert "show this help message and exit" in text
    assert not found(text)
    assert found(f"{text} (default: refuse)")

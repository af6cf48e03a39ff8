"""README and the pages of docs/: what they show is executed, what they name exists."""

import contextlib
import csv
import inspect
import io
import itertools
import json
import operator
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from check_helpers import STORED
from gym_helpers import instead_of_moviepy
from measures import CORE, ROOT, files_of_tests, linked, pages

import agents_ref
import bnn_ref
import fast_ref
import vime_ref
from vime_check.programs import PROTOCOL_VERSION, Reference
from vime_lab.command_line import main
from vime_lab.rows import Row, read_curve
from vime_lab.settings import Task
from vime_lab.statistics import (
    by_curve,
    final_returns,
    improvement_interval,
    probability_of_improvement,
    quartiles,
    runs,
)
from vime_lab.tables import (
    earliness,
    first_rewards,
    improvement_cell,
    last_share,
    summary,
)
from vime_lab.tasks import ORIGINAL_TASKS, TASKS

PAGES = {path.name: path for path in pages().values()}
EXCERPTS = "reading.md"
NEEDS = {"sb3.md": "stable_baselines3"}  # packages that a page's code needs
every_page = pytest.mark.parametrize("name", PAGES)


def text_of(name: str) -> str:
    return PAGES[name].read_text()


def blocks(name: str) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text_of(name), re.DOTALL | re.MULTILINE)


def rows(name: str, heading: str) -> list[list[str]]:
    """The cells of each line of the tables under a heading."""
    section = re.split(rf"^##+ {heading}$", text_of(name), flags=re.MULTILINE)[1]
    section = re.split(r"^##+ ", section, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
    ]


# ------------------------------------------------------------ what pages show


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


def executed(name: str) -> Iterator[tuple[str, str, str]]:
    """Language, code and what the page shows below, of each block that is executed.

    A command is executed if its output is shown.
    """
    for (language, code), (below, text) in itertools.pairwise(
        [*blocks(name), ("", "")]
    ):
        shown = text if below == "text" else ""
        command = language == "sh" and code.startswith("vime-ref ") and shown
        if language == "python" or command:
            yield language, code, shown


@every_page
def test_blocks_print_what_the_page_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("results").symlink_to(ROOT / "results")
    if not find_spec("moviepy"):
        modules: dict[str, Any] = {}
        instead_of_moviepy(modules)
        for each, module in modules.items():
            monkeypatch.setitem(sys.modules, each, module)
    names: dict[str, object] = {"__name__": "page"}
    for language, code, shown in executed(name):
        assert printed(language, code, names) == shown, code


def test_the_pages_that_show_code_show_enough_of_it() -> None:
    """The test above would pass on a page without blocks."""
    shown = {name: sum(bool(text) for *_, text in executed(name)) for name in PAGES}
    assert shown["README.md"] >= 2
    assert shown["check.md"] >= 3
    assert shown["derivations.md"] >= 7
    assert shown["experiments.md"] >= 1
    assert shown["studies.md"] >= 5


def test_the_lines_for_stable_baselines_learn() -> None:
    """README's import, wrap and learn, with fewer steps; the bonus has seen them."""
    pytest.importorskip("stable_baselines3")
    [code] = [code for language, code in blocks("README.md") if language == "py"]
    assert len(code.splitlines()) == 3
    short = code.replace("100_000", "64").replace('-v1")', '-v1", n_steps=64)')
    names: dict[str, Any] = {}
    exec(short.replace("callback=", "callback=(made := ") + ")", names)
    assert len(names["made"].bonus.pool) == 64


# An install of this project by its name, which no registry knows, or of a checkout in another form.
UNKNOWN = re.compile(
    r"""pip install (?!-e '\.)[^`\n]*?(vime[-_]ref\b(?!-\d)|["']?\.\[)|vime[-_]ref\["""
)
TEXTS = {".md", ".py", ".ipynb", ".txt", ".cfg", ".toml", ".cff"}
FOLDERS = ("docs", "vime_*", "examples", "benchmarks", "results", "tests")


def test_the_project_is_installed_from_a_checkout_everywhere() -> None:
    """In every text, as `pip install -e '.[sb3]'`; a wheel may be named. Controls: other forms, and other packages."""
    paths = [*ROOT.glob("*"), ROOT / ".ci" / "run"]
    for folder in FOLDERS:
        paths += [*ROOT.glob(f"{folder}/**/*")]
    texts = {
        path: path.read_text()
        for path in paths
        if path.suffix in TEXTS or path.name == "run"
        if path.is_file() and path != Path(__file__)
    }
    assert [path for path, text in texts.items() if UNKNOWN.search(text)] == []
    assert ROOT / "examples" / "lecture.ipynb" in texts
    assert sum(text.count("pip install -e '.[") for text in texts.values()) >= 5
    for form in ("'vime-ref[sb3]'", "vime_ref", "-e .[run]", "'.[test]'"):
        assert UNKNOWN.search(f"`pip install {form}`")
    assert UNKNOWN.search("install `'vime-ref[run]'` and Jupyter")
    for form in (
        "-e '.[sb3]'",
        "mutmut",
        "vime_ref-0.2.0-py3-none-any.whl",
        "'gymnasium[mujoco]'",
        "-e '.[run]' && vime-ref run",
    ):
        assert not UNKNOWN.search(f"`pip install {form}`")


def test_excerpts_are_the_code() -> None:
    """Control: a changed excerpt is none."""
    sources = [(ROOT / f"{name}.py").read_text() for name in CORE]
    excerpts = [code for language, code in blocks(EXCERPTS) if language == "py"]
    assert len(excerpts) >= 10
    for code in excerpts:
        assert any(code in source for source in sources), code
        assert not any(code[::-1] in source for source in sources)


# ------------------------------------------------------------ what pages name


@every_page
def test_tests_that_a_page_names_exist(name: str) -> None:
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    named = set(
        re.findall(
            r"\btest_\w+", re.sub(r"```.*?```", "", text_of(name), flags=re.DOTALL)
        )
    )
    assert named <= set(files_of_tests()) | files


@every_page
def test_links_lead_to_files_that_exist(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(name))
    local = [link for link in links if not link.startswith("http")]
    assert all((PAGES[name].parent / link).exists() for link in local), local


def test_links_of_the_lecture_lead_to_the_lines() -> None:
    """`python tests/measures.py --link` renews them. Control: a moved function."""
    page = text_of("lecture.md")
    assert page.count("_ref.py#L") >= 28
    assert linked(page) == page
    assert linked(page.replace("#L", "#L1", 1)) == page


@pytest.mark.parametrize("name", ["README.md", "check.md"])
def test_numbers_of_cases_are_those_of_the_files(name: str) -> None:
    """README and the manual state how many there are of each kind in float64."""
    found = Counter(case["result"] for case in STORED if "f64" in case["dtypes"])
    claim = r"(\d+)\s+numeric\s+cases\s+in\s+float64\s+and\s+(\d+)\s+rejections"
    claims = re.findall(claim, text_of(name))
    assert claims
    assert set(claims) == {(str(found["valid"]), str(found["invalid"]))}


def test_lines_of_the_protocol_are_answered_so_by_the_reference() -> None:
    """Control: another input has another answer."""
    found = [code for language, code in blocks("check.md") if language == "jsonl"]
    assert len(found) == 2
    for code in found:
        lines = [json.loads(line[3:]) for line in code.splitlines()]
        assert lines[0]["version"] == PROTOCOL_VERSION
        peer = Reference()
        for question, answer in zip(lines, lines[1:]):
            if question.get("cmd") in ("run", "reset", "step"):
                asked = (question["operation"], question["inputs"], question["cmd"])
                assert plain(peer.ask(*asked)["result"]) == approx(answer["result"])
    other = peer.ask(asked[0], {"rows": [[2.0], [3.0]]}, asked[2])
    assert plain(other["result"]) != approx(answer["result"])


def approx(result: Any) -> Any:
    """Arrays by name, or one without a name, to 1e-14."""
    if not isinstance(result, dict):
        return pytest.approx(result, rel=1e-14)
    return {name: approx(np.ravel(each)) for name, each in result.items()}


def plain(result: Any) -> Any:
    if not isinstance(result, dict):
        return result
    return {name: np.ravel(each) for name, each in result.items()}


@pytest.mark.parametrize(
    ("heading", "tasks"),
    [("Settings", TASKS), ("The original's settings", ORIGINAL_TASKS)],
)
def test_settings_of_the_page_are_those_of_the_tasks(
    heading: str, tasks: dict[str, Task]
) -> None:
    table = [row for row in rows("experiments.md", heading) if row[0].startswith("`")]
    assert len(table) >= 17
    for name, *cells, _source in table:
        values = [operator.attrgetter(name.strip("`"))(task) for task in tasks.values()]
        shown = [
            ", ".join(map(str, value)) or "none"
            if isinstance(value, tuple)
            else f"{value}"
            for value in values
        ]
        assert cells == [text.removesuffix(".0") for text in shown], name


def test_every_departure_names_its_test_or_says_that_there_is_none() -> None:
    lines = [
        line for line in text_of("departures.md").splitlines() if line.startswith("|")
    ]
    last = [re.split(r"(?<!\\)\|", line)[-2].strip() for line in lines]
    cells = [
        cell
        for cell in last
        if cell not in ("test", "tests") and not re.fullmatch(r"[-: ]+", cell)
    ]
    assert len(cells) >= 40
    for cell in cells:
        assert re.search(r"`test_\w+`|no test", cell), cell


def test_derivations_and_functions_name_each_other() -> None:
    """Each derivation names functions, and the docstring of one of them at least leads back."""
    page = text_of("derivations.md")
    modules = [bnn_ref, vime_ref, agents_ref, fast_ref]
    docstrings = [
        inspect.getdoc(value) or ""
        for module in modules
        for _, value in inspect.getmembers(module, inspect.isfunction)
    ]
    numbers = re.findall(r"^## (\d)\. ", page, re.MULTILINE)
    assert numbers == list("1234567")
    in_tests = "".join(
        path.read_text() for path in (ROOT / "tests").glob("test_*_ref.py")
    )
    in_tests += (ROOT / "tests" / "test_identities.py").read_text()
    for number in numbers:
        assert f"Derivation: docs/derivations.md, {number}." in in_tests, number
        assert any(f"docs/derivations.md, {number}" in text for text in docstrings), (
            number
        )


# ------------------------------------------------------------ README


def test_readme_is_read_in_one_sitting() -> None:
    assert len(text_of("README.md").splitlines()) <= 200


def test_ci_runs_the_test_command_of_readme() -> None:
    (command,) = [
        code.strip()
        for language, code in blocks("README.md")
        if language == "sh" and "pytest" in code
    ]
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_adapter_for_json_lines_is_short() -> None:
    """The test of all pages runs it."""
    (adapter,) = [
        code for _, code in blocks("check.md") if code.startswith("# adapter.py")
    ]
    assert len(adapter.splitlines()) <= 20


def test_the_page_of_speed_shows_what_the_benchmarks_printed() -> None:
    """Line by line, each file of results/speed. Control: another number is not found."""
    shown = "\n".join(text for _, text in blocks("speed.md"))
    printed = sorted((ROOT / "results" / "speed").glob("*.txt"))
    assert len(printed) >= 6
    for path in printed:
        lines = [line.rstrip() for line in path.read_text().splitlines()]
        assert not [line for line in lines if line not in shown], path.name
    assert lines[-1].replace("0", "1") not in shown


# ---------------------------------------------------------------- README's numbers

RESULTS = ROOT / "results"


def kept(task: str) -> dict[str, list[Row]]:
    """The kept rows of a task by bonus."""
    rows = read_curve(RESULTS / task / "learning_curve.csv")
    return {bonus: mine for (_, bonus), mine in by_curve(rows).items()}


def test_readmes_first_output_against_the_kept_run() -> None:
    """Control: another seed's rows give another text."""
    rows = read_curve(RESULTS / "first" / "learning_curve.csv")
    shown = [text.rstrip("\n") for _, text in blocks("README.md")]
    assert summary(rows) in shown
    assert summary([row for row in rows if row["seed"] < 2]) not in shown


SPARSE_TASKS = ("SparseMountainCar", "SparseCartPoleSwingup", "SparseHalfCheetah")


@pytest.mark.parametrize("task", [*SPARSE_TASKS, "Walker2D"])
def test_readmes_probabilities_against_the_kept_runs(task: str) -> None:
    """P and its interval, cell by cell, from the rows; ten seeds from 100 on."""
    groups = kept(task)
    line = next(
        each for each in text_of("README.md").splitlines() if f"| {task} |" in each
    )
    finals = {bonus: final_returns(rows, bonus) for bonus, rows in groups.items()}
    expected = []
    for bonus in ("none", "noise", "zscore", "counts", "l2", "l2_path"):
        pair = finals["vime"], finals[bonus]
        low, high = improvement_interval(*pair)
        share = probability_of_improvement(*pair)
        expected.append(f"{share:.2f} [{low:.2f}, {high:.2f}]")
    assert [cell.strip() for cell in line.split("|")[2:-1]] == expected
    seeds = {row["seed"] for rows in groups.values() for row in rows}
    assert seeds == {*range(100, 110)}


def test_readmes_counts_of_rewarded_runs_against_the_kept_runs() -> None:
    """VIME and the z-score met the reward in all 30 runs, noise in 11, no bonus in 1."""
    met = Counter(
        {
            bonus: sum(
                first is not None
                for task in SPARSE_TASKS
                for first in first_rewards(kept(task)[bonus])
            )
            for bonus in ("vime", "zscore", "noise", "none")
        }
    )
    assert met == {"vime": 30, "zscore": 30, "noise": 11, "none": 1}
    text = " ".join(text_of("README.md").split())
    assert "VIME finds the sparse reward in all 30 runs of three tasks" in text
    assert "Noise as the bonus finds it in 11, and no bonus in 1." in text
    assert (
        "a z-score of the next state, which needs no network, finds it in all 30 too"
        in text
    )


def test_what_decides_against_the_kept_runs() -> None:
    """Each cell of the page's table: which of the two intervals excludes 1/2, and where."""
    table = rows("experiments.md", "What decides")[2:]
    keys = ("none", "noise", "zscore", "counts", "l2", "l2_path")
    assert len(table) == len(keys)
    for key, (name, *cells) in zip(keys, table):
        for task, cell in zip(SPARSE_TASKS, cells, strict=True):
            vime, other = kept(task)["vime"], kept(task)[key]
            found = [
                *verdict(*map(speed, (vime, other)), ("later", "sooner")),
                *verdict(
                    final_returns(vime, "vime"),
                    final_returns(other, key),
                    ("lower", "higher"),
                ),
            ]
            shown = cell.replace("*", "")
            assert shown == (", ".join(found) or "undecided"), (name, task)


def speed(rows: list[Row]) -> Any:
    return earliness(first_rewards(rows))


def verdict(x: Any, y: Any, words: tuple[str, str]) -> list[str]:
    low, high = improvement_interval(x, y)
    return [words[low > 0.5]] if low > 0.5 or high < 0.5 else []


def test_a_tenth_of_the_weight_against_the_kept_runs() -> None:
    text = " ".join(text_of("experiments.md").split())
    weak = read_curve(RESULTS / "SparseCartPoleSwingup-eta" / "learning_curve.csv")
    ends = final_returns(weak, "vime")
    low, middle, high = quartiles(ends)
    assert f"{middle:.0f} [{low:.0f}, {high:.0f}]" in text
    shares = [last_share(run) for run in runs(weak).values()]
    assert f"its share is {np.median(shares):.2g}" in text
    groups = kept("SparseCartPoleSwingup")
    for key, name in (("zscore", "the z-score"), ("counts", "counts")):
        other = final_returns(groups[key], key)
        cell = improvement_cell(ends, other)
        assert f"{cell} against {name}" in text


def test_hours_of_the_headline_figure_against_the_kept_runs() -> None:
    """The times of all runs at their ends, added up. Control: without Walker2D it is less."""
    hours = []
    for task in (*SPARSE_TASKS, "Walker2D"):
        ends = [
            run[-1]["wall_s"]
            for rows in kept(task).values()
            for run in runs(rows).values()
        ]
        assert len(ends) == 70
        hours.append(sum(ends) / 3600)
    text = " ".join(text_of("experiments.md").split())
    line = "The 280 runs took {:.1f} hours beside other work, so two processes need {:.1f} hours."
    assert line.format(sum(hours), sum(hours) / 2) in text
    assert line.format(sum(hours[:-1]), sum(hours[:-1]) / 2) not in text


def test_how_slowly_halfcheetah_is_learned_against_the_kept_runs() -> None:
    """Medians over seeds of VIME's mean return over iterations 250 to 299."""
    found = []
    for name in ("SparseHalfCheetah-earlier", "SparseHalfCheetah"):
        curves = read_curve(RESULTS / name / "learning_curve.csv")
        vime = [row for row in curves if row["bonus"] == "vime"]
        means = [
            np.mean(
                [row["return_mean"] for row in run if 250 <= row["iteration"] < 300]
            )
            for run in runs(vime).values()
        ]
        found.append(np.median(means))
    assert [f"{found[0]:.0f}", f"{found[1]:.1f}"] == ["101", "4.2"]
    text = " ".join(text_of("experiments.md").split())
    assert "VIME's returns were 101 with it" in text
    assert "They are 4.2 here" in text


def test_readmes_numbers_of_stable_baselines_against_the_kept_runs() -> None:
    """Solved episodes in the last fifth of a run, over its episodes there."""
    solved: dict[str, Counter[str]] = {"VIME": Counter(), "plain": Counter()}
    episodes: dict[str, Counter[str]] = {"VIME": Counter(), "plain": Counter()}
    with (RESULTS / "SB3" / "MountainCar.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    parts = 1 + max(int(row["part"]) for row in rows)
    for row in rows:
        if 5 * int(row["part"]) >= 4 * parts:
            solved[row["agent"]][row["seed"]] += int(row["solved"])
            episodes[row["agent"]][row["seed"]] += int(row["episodes"])
    shares = {
        agent: [solved[agent][seed] / count for seed, count in mine.items()]
        for agent, mine in episodes.items()
    }
    text = " ".join(text_of("README.md").split())
    found = re.search(
        r"solved (\d+) % of the last fifth of a run's episodes "
        r"\(median of (\d+) seeds, lowest (\d+) %\), without VIME none",
        text,
    )
    assert found
    median = round(100 * float(np.median(shares["VIME"])))
    lowest = round(100 * min(shares["VIME"]))
    assert [*map(int, found.groups())] == [median, len(shares["VIME"]), lowest]
    assert max(shares["plain"]) == 0.0

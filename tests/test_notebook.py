"""The notebook of the lecture: its form, its run from top to bottom, and its exercises.

`pytest -s -k runs_from_top tests/test_notebook.py` prints the time of each section.
"""

import ast
import configparser
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import numpy as np
import pytest
from measures import PACKAGES, ROOT, without_magics
from nbclient import NotebookClient
from nbformat import NotebookNode

from agents_ref import curiosity, improve
from fast_ref import rollout

NOTEBOOK = ROOT / "examples" / "lecture.ipynb"
LECTURE = (ROOT / "docs" / "lecture.md").read_text()
LABEL = r"`([A-Z]\d+)`"
TICK = "import time; print(time.process_time(), time.perf_counter())"

# ------------------------------------------------------------ sections


def kept() -> NotebookNode:
    return nbformat.read(NOTEBOOK, 4)


def sections(notebook: NotebookNode) -> dict[str, list[NotebookNode]]:
    """The cells of each section by its title; those before the first by ""."""
    found: dict[str, list[NotebookNode]] = {"": []}
    for cell in notebook.cells:
        if heading := re.match(r"## (.+)\n", cell.source):
            found[heading[1]] = []
        found[[*found][-1]].append(cell)
    return found


def tagged(cells: list[NotebookNode], tag: str) -> NotebookNode:
    """The only cell of a section with this tag."""
    [cell] = [each for each in cells if tag in each.metadata.get("tags", [])]
    return cell


SECTIONS = sections(kept())
OPENING = SECTIONS.pop("")
every_section = pytest.mark.parametrize("title", SECTIONS)

# ------------------------------------------------------------ form


def is_clean(notebook: NotebookNode) -> bool:
    """Whether a notebook is valid and holds nothing of a run."""
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    ran = [cell.outputs or cell.execution_count for cell in code]
    own = {key for cell in notebook.cells for key in cell.metadata}
    return not any(ran) and own <= {"tags", "jupyter", "mystnb"}


def test_the_notebook_is_kept_without_outputs() -> None:
    """Controls: an output, a count, and a time."""
    assert is_clean(kept())
    for key, value in (
        ("outputs", [nbformat.v4.new_output("stream", text="1")]),
        ("execution_count", 1),
        ("metadata", NotebookNode(execution={"shell.execute_reply": "0"})),
    ):
        notebook = kept()
        notebook.cells[1][key] = value
        assert not is_clean(notebook)


def test_titles_are_the_lectures_in_its_order() -> None:
    """The first is the lecture's own; "Algorithm" comes last, as the notebook says. Control: two exchanged."""
    first, *titles, last = SECTIONS
    assert LECTURE.splitlines()[2].startswith(f'The lecture is "{first}".')
    assert last == '"Algorithm"'
    places = [LECTURE.lower().find(title.lower()) for title in titles]
    assert min(places) > 0
    assert places == sorted(places)
    assert places[::-1] != sorted(places)


@every_section
def test_a_section_has_an_equation_a_picture_and_an_exercise(title: str) -> None:
    """Its labels are rows of the lecture; its code calls the reference; its picture is described."""
    cells = SECTIONS[title]
    assert cells[0].source.count("$$") == 2
    labels = re.findall(LABEL, cells[0].source)
    assert labels
    assert all(f"| {label} |" in LECTURE for label in labels)
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    modules = "|".join(("bnn_ref", "vime_ref", "agents_ref", "fast_ref", *PACKAGES))
    assert re.search(rf"^(from|import) ({modules})\b", code, re.M)

    [picture] = [cell for cell in cells if "plt.show()" in cell.source]
    assert picture.id.endswith("-picture")
    assert len(picture.metadata.mystnb.image.alt) > 40
    ids = [tagged(cells, tag).id for tag in ("exercise", "solution", "check")]
    order = [cell.id for cell in cells]
    assert ids == order[order.index(ids[0]) :][:3]
    assert "**Exercise" in cells[order.index(ids[0]) - 1].source
    assert tagged(cells, "solution").metadata == {
        "tags": ["solution", "hide-input"],
        "jupyter": {"source_hidden": True},
    }


def test_cells_are_short() -> None:
    for cell in kept().cells:
        assert len(cell.source.splitlines()) <= 55, cell.id


# ------------------------------------------------------------ run


def with_ticks(notebook: NotebookNode) -> NotebookNode:
    """The notebook with a cell that prints the time before each section and at the end."""
    cells = []
    for cell in notebook.cells:
        if cell.source.startswith("## "):
            cells.append(nbformat.v4.new_code_cell(TICK))
        cells.append(cell)
    notebook.cells = [*cells, nbformat.v4.new_code_cell(TICK)]
    return notebook


def printed(cell: NotebookNode) -> str:
    return "".join(each.text for each in cell.outputs if "text" in each)


@pytest.mark.unwatched
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """Each section has one picture and a check that passed; nothing warns; the times are printed."""
    notebook = with_ticks(kept())
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=place).execute()
    assert not [*tmp_path.iterdir()]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert {each.get("name", "stdout") for each in outputs} == {"stdout"}

    for cells in [*sections(notebook).values()][1:]:
        pictures = [
            cell
            for cell in cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]
        assert [cell.id.split("-")[-1] for cell in pictures] == ["picture"]
        check = printed(tagged(cells, "check"))
        assert check == "Checking the solution.\nCorrect.\n"

    ticks = [printed(cell).split() for cell in code if cell.source == TICK]
    seconds = np.diff(np.array(ticks, dtype=float), axis=0)  # (sections, 2)
    assert len(seconds) == len(SECTIONS)
    print("\nCPU seconds, seconds")
    for title, (cpu, wall) in zip([*SECTIONS, "all"], [*seconds, seconds.sum(axis=0)]):
        print(f"{cpu:11.1f}  {wall:7.1f}  {title}")


# ------------------------------------------------------------ exercises


def no_half(mu: Any, rho: Any, delta_mu: Any, delta_rho: Any) -> Any:
    sigma, slope = np.logaddexp(0, rho), 1 / (1 + np.exp(-rho))
    return np.sum((delta_mu / sigma) ** 2 + 2 * (slope * delta_rho / sigma) ** 2)


def one_weight(names: dict[str, Any]) -> float:
    """log p(D) of lines through 0."""
    from scipy.stats import multivariate_normal

    covariance = 0.25 * np.eye(9) + np.outer(names["x"], names["x"])
    return float(multivariate_normal(np.zeros(9), covariance).logpdf(names["y"]))


def lambda_1(deltas: Any, gamma: float, lam: float) -> Any:
    powers = gamma ** np.arange(len(deltas))
    return np.cumsum((powers * deltas)[::-1])[::-1] / powers


def mean_q(rewards: Any, last_q: Any, gamma: float) -> Any:
    following = np.mean(last_q)
    targets = [following := each + gamma * following for each in rewards[::-1]]
    return np.array(targets[::-1])


def model_first(
    envs: Any,
    policy: Any,
    bonus: Any,
    value: Any,
    streams: Any,
    settings: Any,
    old: Any,
) -> Any:
    batch, _ = rollout(envs, policy, settings.batch_steps, streams)
    bonus = bonus.update(batch, streams.replay)
    rewards, _, history = curiosity(
        bonus, batch, old, streams.model, eta=settings.eta, normalize=True
    )
    policy, value = improve(policy, value, batch, rewards, settings)
    return policy, bonus, value, history


# A wrong answer to each exercise, from the names that its section defines.
WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "question": lambda names: 0.99**150,
    "strategies": lambda names: lambda means, n: means + np.sqrt(np.log(n.sum()) / n),
    "counts": lambda names: 100,
    "densities": lambda names: lambda rho, after: rho / (after - rho),
    "counts-and-information": lambda names: (
        lambda seen, total, symbols, alpha: np.log((seen + 1) / (total + 1))
    ),
    "curiosity": lambda names: lambda x, sigma, sigma_l: 0.5 * np.log(1 + x**2),
    "lower-bound": one_weight,
    "bnns": lambda names: lambda log_p: np.mean(log_p, axis=0),
    "kl": lambda names: no_half,
    "normalization": lambda names: 500,
    "entropy": lambda names: lambda_1,
    "unreal": lambda names: mean_q,
    "hidden": lambda names: lambda hidden: hidden.reshape(-1, hidden.shape[-1]),
    "algorithm": lambda names: model_first,
}
NOT_NEEDED = ("algorithm-train",)  # by the exercise, and long


def run(cell: NotebookNode, names: dict[str, Any]) -> None:
    exec(compile(without_magics(cell.source), cell.id, "exec"), names)


@every_section
@pytest.mark.unwatched
def test_checks_accept_the_solution_and_reject_a_wrong_answer(
    title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each section needs only the first cell, not the other sections.

    A check that fails says what it got and what it expected.
    """
    cells = SECTIONS[title]
    exercise = tagged(cells, "exercise")
    check = tagged(cells, "check")
    key = exercise.id.removesuffix("-exercise")
    names: dict[str, Any] = {}
    with matplotlib.rc_context():
        for cell in [*OPENING, *cells[: cells.index(check)]]:
            picture = cell.id.endswith("-picture")
            if cell.cell_type == "code" and not picture and cell.id not in NOT_NEEDED:
                run(cell, names)

    number = re.findall(r"\d+", exercise.source)[0]
    assert names[f"answer_{number}"] is None
    names[f"answer_{number}"] = names[f"solution_{number}"]
    capsys.readouterr()
    run(check, names)
    assert capsys.readouterr().out == "Checking your answer.\nCorrect.\n"

    names[f"answer_{number}"] = WRONG[key](names)
    with pytest.raises(AssertionError, match=r"(?s).+: got .+, expected .+"):
        run(check, names)


@every_section
def test_every_comparison_of_a_check_has_a_message(title: str) -> None:
    """A call of `agree`, which has one, or an assert with a message of its own. Control: a bare assert."""
    check = tagged(SECTIONS[title], "check").source
    assert silent(check) == []
    assert re.search(r"^ *(agree\(|assert )", check, re.M)
    assert silent(f"{check}\nassert answer") == ["answer"]


def silent(source: str) -> list[str]:
    """What asserts without a message test."""
    asserts = [each for each in ast.walk(ast.parse(source)) if type(each) is ast.Assert]
    return [ast.unparse(each.test) for each in asserts if each.msg is None]


def test_a_failed_comparison_shows_shapes_or_the_numbers_that_differ() -> None:
    """Within the tolerance, nothing is raised; without one, every bit counts."""
    names: dict[str, Any] = {}
    with matplotlib.rc_context():
        for cell in OPENING[1:]:
            run(cell, names)
    agree = names["agree"]
    agree("x", [1.0, 2.0], np.array([1.0, 2.0 + 1e-9]))
    for got, expected, rtol, message in (
        (1, 2, 1e-5, "x: got [1.], expected [2.]"),
        (None, 2, 1e-5, "x: got [nan], expected [2.]"),
        ([1, 2], [[1, 2]], 1e-5, "x: got shape (2,), expected (1, 2)"),
        (
            [1, 2],
            [1, 2.5],
            0,
            "x: got [2.], expected [2.5] (1 of 2 numbers differ)",
        ),
        ([0], [1e-300], 0, "x: got [0.], expected [1.e-300] (1 of 1 numbers differ)"),
    ):
        with pytest.raises(AssertionError, match=f"^{re.escape(message)}"):
            agree("x", got, expected, rtol=rtol)


# ------------------------------------------------------------ Binder


def test_binder_installs_what_the_notebook_needs() -> None:
    """The project with the extra that brings matplotlib; Jupyter comes with such a service.

    The Python is one that the project supports. A leading "." tells the service to copy the whole checkout first.
    """
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    [line] = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    [extra] = re.fullmatch(r"-e \.\[(\w+)\]", line).groups()
    assert "matplotlib" in setup["options.extras_require"][extra]
    python = (ROOT / ".binder" / "runtime.txt").read_text().strip()
    version = python.removeprefix("python-")
    assert f"Python :: {version}\n" in setup["metadata"]["classifiers"] + "\n"

"""Studies from the command line: files, folders, errors."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from lab import SMALL, full, left_behind, refusal, usage_error

from vime_lab import animations, checkpoints, command_line, processes, results
from vime_lab.checkpoints import CheckpointError, identity
from vime_lab.results import STUDY_FILES
from vime_lab.rows import STUDY_COLUMNS
from vime_lab.runs import Result
from vime_lab.studies import catalogue
from vime_lab.studies.catalogue import STUDIES, study_jobs
from vime_lab.studies.frame import StudyJob, Value
from vime_lab.studies.television_models import WEIGHT_MARK

FILES = sorted({*STUDY_FILES} - {"study.gif"})  # of a study without an animation


def run(
    name: str, *arguments: str, seeds: str = "2", out: str = "out"
) -> list[dict[str, str]]:
    given = [
        "run",
        "--task",
        name,
        "--jobs",
        "1",
        "--seeds",
        seeds,
        "--out",
        out,
        *arguments,
    ]
    assert command_line.main(given) == 0
    return list(csv.DictReader(Path(out, "study.csv").read_text().splitlines()))


@pytest.mark.unwatched
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_writes_its_files_and_figure_draws_them_again(
    name, monkeypatch, capsys
) -> None:
    """Its numbers, their settings, a picture, and an animation if it has one."""
    monkeypatch.setattr(animations, "FRAME_DPI", 20)
    rows = run(name)
    files = sorted(STUDY_FILES) if STUDIES[name].film else FILES
    assert left_behind() == ["out", *(f"out/{file}" for file in files)]
    settings = STUDIES[name].settings
    assert {(each["explorer"], int(each["seed"])) for each in rows} == {
        (e, s) for e in settings.explorers for s in (0, 1)
    }
    config = json.loads(Path("out/config.json").read_text())
    assert (
        config["command"] == f"vime-ref run --task {name} --jobs 1 --seeds 2 --out out"
    )
    assert config["settings"]["length"] == SMALL[name]["length"]
    assert (config["task_name"], config["seeds"], config["bonuses"]) == (
        name,
        2,
        list(settings.explorers),
    )
    shown = capsys.readouterr()
    table = shown.out.split("\n\nwrote out/ after ")[0].strip()
    assert max(map(len, shown.out.splitlines())) <= 100
    bonuses = [each.split(WEIGHT_MARK)[0] for each in settings.explorers]
    assert all(bonus in table for bonus in bonuses)
    picture = matplotlib.image.imread("out/study.png")
    assert command_line.main(["figure", "out", "--out", "again.png"]) == 0
    assert capsys.readouterr().out == f"{table}\n\nwrote again.png\n"
    assert np.array_equal(matplotlib.image.imread("again.png"), picture)
    if STUDIES[name].film:
        before = Path("out/study.gif").read_bytes()
        assert command_line.main(["figure", "out", "--out", "again.gif"]) == 0
        assert Path("again.gif").read_bytes() == before


@pytest.mark.unwatched
def test_the_number_of_processes_changes_no_number(capsys) -> None:
    """Control: another seed does."""
    one = run("DeepSea")
    assert run("DeepSea", "--jobs", "2", out="two") == one
    first, second = (
        [
            {**each, "seed": ""}
            for each in one
            if each["seed"] == seed and each["explorer"] == "counts"
        ]
        for seed in ("0", "1")
    )
    assert len(first) == len(second) > 0
    assert first != second


@pytest.mark.unwatched
def test_several_studies_have_a_folder_each() -> None:
    assert (
        command_line.main(
            [
                "run",
                "--task",
                "Bandit",
                "DeepSea",
                "--jobs",
                "1",
                "--seeds",
                "1",
                "--out",
                "all",
            ]
        )
        == 0
    )
    assert left_behind() == sorted(
        [
            "all",
            *(
                f"all/{n}{f}"
                for n in ("Bandit", "DeepSea")
                for f in ("", *(f"/{x}" for x in FILES))
            ),
        ]
    )


REFUSED = {
    "--bonus vime": "argument --bonus: not allowed, because Bandit is a study",
    "--iterations 3": "argument --iterations: not allowed, because Bandit is a study; --seeds 1 makes it smaller",
    "--eta 0": "argument --eta: not allowed, because Bandit is a study",
    "--set agent.eta=1": "argument --set: not allowed, because Bandit is a study",
    "--seeds 0": "argument --seeds: must be a number >= 1, or FIRST:STOP with FIRST < STOP, got 0",
    "--task Bandit SparseMountainCar": "argument --task: Bandit is a study and must be the only task",
}


@pytest.mark.parametrize(("given", "reason"), REFUSED.items())
def test_a_study_rejects_what_it_does_not_have(given, reason, capsys) -> None:
    line = usage_error(capsys, ["run", "--task", "Bandit", *given.split()])
    assert line == f"vime-ref run: error: {reason}\n"
    assert left_behind() == []


def test_other_results_are_rejected_and_left(capsys) -> None:
    """Results of another study, of another number of seeds, and of training; the same study may run again."""
    first = run("Bandit")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    begin = "vime-ref run: error: out holds results of other settings (its "
    end = "): choose another --out, or remove it\n"
    other = "task_name is 'Bandit', here"
    capsys.readouterr()
    for given, differs in {
        "--task Bandit --seeds 1": "seeds is 2, here 1",
        "--task DeepSea --seeds 2": f"{other} 'DeepSea'",
        "--task SparseMountainCar --seeds 2": f"{other} 'SparseMountainCar'",
    }.items():
        line = f"{begin}{differs}{end}"
        assert refusal(capsys, ["run", *given.split(), "--out", "out"]) == line
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    assert run("Bandit") == first

    # complete results are kept
    capsys.readouterr()
    kept = Path("out/study.csv").stat()
    assert run("Bandit", "--resume") == first
    assert capsys.readouterr().out.startswith("out/ holds the results of this run")
    assert Path("out/study.csv").stat() == kept
    Path("out/study.csv").rename("out/learning_curve.csv")
    capsys.readouterr()
    assert (
        refusal(capsys, ["run", "--task", "DeepSea", "--seeds", "2", "--out", "out"])
        == f"{begin}{other} 'DeepSea'{end}"
    )


TWO = ["run", "--task", "Bandit", "--jobs", "1", "--seeds", "2"]


def test_results_that_cannot_be_written_leave_those_before(monkeypatch, capsys) -> None:
    run("Bandit")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_files", full)
        assert command_line.main([*TWO, "--out", "out"]) == 1
    again = "repeat the command with --resume to try again"
    assert capsys.readouterr().err.endswith(
        f"vime-ref: can't write to out: No space left on device; {again}\n"
    )
    assert {path: path.read_bytes() for path in before} == before
    assert command_line.main([*TWO, "--out", "out", "--resume"]) == 0
    assert {path: path.read_bytes() for path in before}.keys() == before.keys()


def test_a_picture_that_cannot_be_drawn_leaves_the_numbers(monkeypatch, capsys) -> None:
    """The line names a command that draws it, from kept runs, and that command does."""
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "draw_study", full)
        assert command_line.main([*TWO, "--out", "my out"]) == 1
    shown, error = capsys.readouterr()
    assert error.endswith(
        "vime-ref: can't draw my out/study.png: No space left on device; "
        "repeat the command with --resume to try again\n"
    )
    assert shown.endswith(" s: study.csv, config.json\n")
    monkeypatch.setattr(catalogue, "study_rows", None)
    assert command_line.main([*TWO, "--out", "my out", "--resume"]) == 0
    assert Path("my out/study.png").read_bytes().startswith(b"\x89PNG")


COMMAND = ["run", "--task", "Bandit", "--jobs", "1", "--seeds", "2", "--out", "out"]


def computed(monkeypatch: pytest.MonkeyPatch) -> list[StudyJob]:
    """The jobs whose values are computed from now on."""
    seen = []
    study = STUDIES["Bandit"]

    def values(job: StudyJob) -> Iterator[Value]:
        seen.append(job)
        return study.run(job)

    monkeypatch.setitem(STUDIES, "Bandit", study._replace(run=values))
    return seen


@pytest.mark.parametrize("ending", ["interrupt", "failure"])
def test_a_study_that_breaks_off_is_resumed_without_computing_anything_twice(
    ending, monkeypatch, capsys
) -> None:
    """Oracle: the bytes of a study that never stopped. Control: without --resume nothing changes."""
    run("Bandit", out="whole")
    seen = computed(monkeypatch)
    supervise = processes.supervise

    def broken(job: StudyJob, checkpoint: Path) -> Result:
        if (job.explorer, job.seed) != ("Boltzmann", 0):
            return supervise(job, checkpoint)
        if ending == "interrupt":
            raise KeyboardInterrupt
        return Result(job, [], np.zeros((0, 2)), "bad luck")

    with monkeypatch.context() as patch:
        patch.setattr(processes, "supervise", broken)
        code = command_line.main(COMMAND)
    *_, before, last = capsys.readouterr().err.splitlines()
    first = len(seen)
    if ending == "interrupt":
        assert (code, first) == (130, 4)
        advice = "repeat the command with --resume to continue"
        assert last == f"vime-ref: interrupted; {advice}"
    else:
        assert (code, first) == (1, 9)
        assert before == "vime-ref: Bandit Boltzmann seed 0 failed: bad luck"
        again = "repeat the command with --resume to rerun the failed runs"
        assert last == f"vime-ref: {again}"
    assert [path.name for path in Path("out").iterdir()] == ["checkpoints"]
    unfinished = "out/checkpoints holds an unfinished run: add --resume, or remove"
    assert unfinished in refusal(capsys, COMMAND)
    assert len(seen) == first

    assert command_line.main([*COMMAND, "--resume"]) == 0
    assert len(seen) == len({(job.explorer, job.seed) for job in seen}) == 10
    for file in ("study.csv", "study.png"):
        assert Path("out", file).read_bytes() == Path("whole", file).read_bytes()
    assert left_behind() == sorted(
        [x for out in ("out", "whole") for x in (out, *(f"{out}/{f}" for f in FILES))]
    )


def kept_run() -> tuple[StudyJob, Path]:
    """A run of the bandit, and its checkpoint beside the results."""
    job = study_jobs("Bandit", range(1))[0]
    path = Path("out/checkpoints/random-0.npz")
    path.parent.mkdir(parents=True)
    catalogue.run_study_job(job, path)
    return job, path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"length": 61}, "belongs to another run: its settings.length is 60, here 61"),
        ({"means": (0.3, 0.8)}, "belongs to another run: its settings.means is "),
        ({}, "belongs to another run: its versions.vime-ref is "),
    ],
)
def test_a_checkpoint_of_another_study_run_is_rejected(
    change, reason, monkeypatch, capsys
) -> None:
    """Control: that of the same run is accepted."""
    job, path = kept_run()
    assert catalogue.kept_study_result(job, path).rows == catalogue.study_rows(job)
    study = STUDIES["Bandit"]
    other = study._replace(settings=replace(study.settings, **change))
    monkeypatch.setitem(STUDIES, "Bandit", other)
    if not change:
        monkeypatch.setattr(checkpoints, "installed", lambda name: "9")
    content = path.read_bytes()
    line = refusal(capsys, [*COMMAND, "--resume"])
    assert line.startswith(f"vime-ref run: error: checkpoint {path} {reason}")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "values", [None, 3, [["regret", 1]], [["regret", "one", "0"]], [["a", 1, "much"]]]
)
def test_a_checkpoint_without_the_values_of_a_study_is_rejected(values) -> None:
    job, path = kept_run()
    state = {**identity(job, catalogue.study_code("Bandit")), "values": values}
    checkpoints.write_state(path, state, {})
    with pytest.raises(CheckpointError, match=f"checkpoint {path} is not a study's: "):
        catalogue.kept_study_result(job, path)


@pytest.mark.parametrize("name", STUDIES)
def test_a_job_comes_back_from_json(name) -> None:
    """Settings, nested settings, tuples of tuples, and functions."""
    for job in (study_jobs(name, range(1))[0], study_jobs(name, range(2))[-1]):
        values = json.loads(json.dumps(checkpoints.job_values(job)))
        assert catalogue.study_job_from(values) == job


def test_a_missing_number_comes_back_as_one(tmp_path) -> None:
    """nan is not JSON; the smallest double keeps its bits."""
    job, path = study_jobs("Bandit", range(1))[0], tmp_path / "run.npz"
    study = STUDIES["Bandit"]
    given = [("regret", 1, math.nan), ("regret", 2, 5e-324), ("regret", 3, 0.1 + 0.2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "Bandit", study._replace(run=lambda job: iter(given)))
        rows = catalogue.run_study_job(job, path).rows
    assert [repr(row["value"]) for row in rows] == ["nan", "5e-324", repr(0.1 + 0.2)]


def damaged(place: int, old: str, new: str) -> str:
    lines = Path("out/study.csv").read_text().splitlines()
    lines[place] = lines[place].replace(old, new, 1)
    return "\n".join(lines)


def whole() -> str:
    return "".join(Path("out/study.csv").read_text().splitlines(keepends=True))


def without(text: str) -> str:
    """The study's file without the lines that hold this text."""
    lines = Path("out/study.csv").read_text().splitlines()
    return "\n".join(line for line in lines if text not in line)


def test_figure_rejects_a_file_that_is_no_study(monkeypatch, capsys) -> None:
    run("Bandit")
    bad = {
        "": "holds no rows",
        ",".join(STUDY_COLUMNS): "holds no rows",
        damaged(0, "size", "width"): "columns missing: size",
        damaged(
            2, "Bandit", "DeepSea"
        ): "must be of one study, Bandit, DeepSea, KeyDoorMaze, NoisyTV, Labyrinth, "
        "Exactness, Television, NoisyCorridor",
        damaged(2, ",", ""): "row 3 must have 7 cells, got 6",
        damaged(2, ",0,0,", ",0,x,"): "row 3: seed must be a whole number up to",
        damaged(2, "random", "luck"): "explorer must be one of random, ",
        damaged(2, "random", "\x1b[31m"): r"characters, got '\x1b[31m'",
        damaged(2, ",0,0,", ",1003,0,"): (
            "explorer 'random', size 1003, seed 0 is no run of Bandit"
        ),
        without(",random,"): "rows missing: explorer 'random', size 0, seed 0",
        without(",1,regret,"): ("rows missing: explorer 'Boltzmann', size 0, seed 1"),
        without(",random,0,1,regret,60,"): (
            "'regret' at 60 of explorer 'random', size 0, seed 1 or of seed 0"
        ),
        without(",regret,"): "rows missing: explorer 'Boltzmann', size 0, seed 0",
        whole().replace("UCB-1,0,0,regret", "UCB-1,0,0,late"): (
            "rows missing: regret of explorer 'UCB-1', size 0, seed 0"
        ),
        whole() + whole().splitlines()[-1]: (
            "rows of explorer 'dirichlet', size 0, seed 1 must appear once"
        ),
    }
    capsys.readouterr()
    for text, reason in bad.items():
        Path("bad").mkdir(exist_ok=True)
        Path("bad/study.csv").write_text(text)
        error = refusal(capsys, ["figure", "bad"])
        assert error.startswith("vime-ref figure: error: bad/study.csv: ")
        assert reason in error
    Path("bad/study.csv").write_bytes(b"\xff")
    assert "bad/study.csv: is not a CSV file: " in refusal(capsys, ["figure", "bad"])
    with pytest.raises(
        ValueError, match=r"nowhere/study.csv: can't be read: No such file or directory"
    ):
        catalogue.read_study(Path("nowhere/study.csv"))
    assert "out holds a study, which has its own picture" in usage_error(
        capsys, ["figure", "out", "bad"]
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "figure needs matplotlib" in refusal(capsys, ["figure", "out"])
    assert not list(Path().glob("*.png"))


def test_a_study_that_cannot_be_drawn_ends_with_one_line(capsys) -> None:
    """UCB-1's bound is missing. Control: with a byte order mark the whole file is drawn."""
    run("Bandit")
    capsys.readouterr()
    text = whole()
    Path("out/study.csv").write_text(without(",bound,"))
    line = refusal(capsys, ["figure", "out"])
    assert line.startswith(
        "vime-ref figure: error: can't draw results.png: IndexError: "
    )
    Path("out/study.csv").write_text(text, encoding="utf-8-sig")
    assert command_line.main(["figure", "out"]) == 0

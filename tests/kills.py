"""Kill runs and studies at random instants, resume them, and compare every byte.

    python tests/kills.py --kills 300 --seed 0

A trial starts a command and kills it once or more: its whole group, the parent only or a
worker only. `--resume` follows until the command succeeds. Then the results must equal
those of a command that nobody disturbed, except for times, and nothing else may be left.
The exit code is 1 if anything is lost, different, stuck or left behind.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from vime_lab.rows import TIMES

# ---------------------------------------------------------------- constants

SMALL = (
    "agent.batch_steps=300",
    "vime.num_updates=2",
    "vime.num_samples=2",
    "vime.hidden_sizes=[4]",
    "policy_sizes=[4]",
    "value_sizes=[4]",
)
RUN = "run --jobs 2 --seeds 1 --out out --task"
COMMANDS = {
    "run": [*RUN.split(), *["SparseMountainCar", "--iterations", "3", "--set"], *SMALL],
    "study": [*RUN.split(), "Bandit"],
}
TARGETS = ("group", "parent", "worker")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FAULTS = ("lost", "different", "stuck", "left behind", "traceback")
PATIENCE = 120.0  # seconds until a command that was killed counts as stuck
KILLS_OF_A_TRIAL = 3  # at most
SHOWN_EVERY = 20  # kills, between two tables
ATTEMPTS = 5  # with --resume, until a result counts as lost

# ---------------------------------------------------------------- processes


class Process(NamedTuple):
    number: int
    parent: int
    session: int


def processes() -> list[Process]:
    """All processes that are not zombies."""
    table = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,sess=,stat="], capture_output=True, text=True
    ).stdout
    rows = [line.split() for line in table.splitlines()]
    return [Process(*map(int, row[:3])) for row in rows if row[3][0] != "Z"]


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether the condition holds before patience ends."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def started(words: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a session of its own; its temporary folder is in the folder."""
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "vime_lab", *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        yield process


def send(number: int, target: str, process: subprocess.Popen[bytes]) -> str:
    """Send a signal; return the target that got it, the parent if there is no worker."""
    if target == "group":
        os.killpg(process.pid, number)
        return target

    # a worker, unless it has just ended
    workers = [each.number for each in processes() if each.parent == process.pid]
    if target == "worker" and workers:
        with suppress(ProcessLookupError):
            os.kill(workers[-1], number)
            return target
    os.kill(process.pid, number)
    return "parent"


# ---------------------------------------------------------------- results


def results(out: Path) -> dict[str, object]:
    """The contents of every file, without times and the command."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        found[name] = None if path.is_dir() else path.read_bytes()
        if name == "config.json":
            config = json.loads(path.read_text())
            found[name] = {**config, "command": ""}
        if name == "learning_curve.csv":
            rows = csv.DictReader(path.read_text().splitlines())
            found[name] = [{**row, **dict.fromkeys(TIMES)} for row in rows]
    return found


def shared_memory(sessions: set[int]) -> list[str]:
    """Entries of shared memory that name a process of these sessions."""
    folder = Path("/dev/shm")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return [name for name in names if any(str(each) in name for each in sessions)]


# ---------------------------------------------------------------- trials


class Trials:
    """Trials, and what they found, by kind and target."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.kills: Counter[tuple[str, str]] = Counter()
        self.faults: Counter[tuple[str, str, str]] = Counter()
        self.trials = 0
        self.seconds: dict[str, float] = {}
        self.expected: dict[str, dict[str, object]] = {}

    def fault(self, kind: str, target: str, name: str, what: object) -> None:
        self.faults[kind, target, name] += 1
        print(f"{name}: {kind}, {target} killed: {what}", flush=True)

    def undisturbed(self, kind: str) -> None:
        """The expected results, and the seconds that they take."""
        folder = self.new_folder(f"{kind}-undisturbed")
        began = time.monotonic()
        with started(COMMANDS[kind], folder) as process:
            assert process.wait() == 0, (folder / "stderr").read_text()
        self.seconds[kind] = time.monotonic() - began
        self.expected[kind] = results(folder / "out")

    def new_folder(self, name: str) -> Path:
        folder = self.folder / name
        (folder / "tmp").mkdir(parents=True)
        return folder

    def trial(self, kind: str, kills: int) -> None:
        """Kill the command so many times, then let it finish, and look at what there is."""
        if kind not in self.expected:
            self.undisturbed(kind)
        self.trials += 1
        folder = self.new_folder(f"{kind}-{self.trials}")
        words = COMMANDS[kind]
        sessions: set[int] = set()
        target = ""
        for _ in range(kills):
            target = self.kill(kind, words, folder, sessions)
            words = [*COMMANDS[kind], "--resume"]

        # until it succeeds
        codes = []
        for _ in range(ATTEMPTS):
            with started(words, folder) as process:
                sessions.add(process.pid)
                codes.append(self.ended(process))
            if codes[-1] == 0:
                break
        self.judge(kind, target, codes, folder, sessions)

    def kill(
        self, kind: str, words: list[str], folder: Path, sessions: set[int]
    ) -> str:
        """Start the command and kill it at a random instant; return the target."""
        target = self.random.choice(TARGETS)
        number = self.random.choice(SIGNALS)
        seconds = self.random.uniform(0.0, self.seconds[kind])
        with started(words, folder) as process:
            sessions.add(process.pid)
            time.sleep(seconds)
            # not a kill if the command has ended before
            if process.poll() is None:
                target = send(number, target, process)
                self.kills[kind, target] += 1
            code = self.ended(process)
        said = (folder / "stderr").read_text(errors="replace")
        how = f"{number.name} after {seconds:.2f} s, exit code {code}"
        if code is None:
            self.fault(kind, target, "stuck", how)
        if "Traceback" in said:
            self.fault(kind, target, "traceback", f"{how}: {said[-2000:]}")
        return target

    def ended(self, process: subprocess.Popen[bytes]) -> int | None:
        """The exit code, or None if the command is stuck and had to be killed."""
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None

    def judge(
        self,
        kind: str,
        target: str,
        codes: list[int | None],
        folder: Path,
        sessions: set[int],
    ) -> None:
        """Count what a trial lost, changed or left behind."""
        # the results
        found = results(folder / "out") if (folder / "out").exists() else {}
        expected = self.expected[kind]
        missing = expected.keys() - found.keys()
        if codes[-1] != 0 or missing:
            said = (folder / "stderr").read_text(errors="replace")[-500:]
            self.fault(kind, target, "lost", f"{codes} {sorted(missing)} {said}")
        changed = [name for name in expected if found.get(name) != expected[name]]
        if set(changed) - missing:
            self.fault(kind, target, "different", changed)

        # what else there is
        def gone() -> bool:
            return not any(each.session in sessions for each in processes())

        left = sorted(found.keys() - expected.keys())
        left += [str(path) for path in (folder / "tmp").rglob("*")]
        left += shared_memory(sessions)
        left += [] if wait_until(gone) else ["processes"]
        if left:
            self.fault(kind, target, "left behind", left)

    def run(self, num_kills: int) -> None:
        shown = 0
        while (done := sum(self.kills.values())) < num_kills:
            if done - shown >= SHOWN_EVERY:
                print(self.table(), flush=True)
                shown = done
            kind = self.random.choice(list(COMMANDS))
            kills = self.random.randint(1, KILLS_OF_A_TRIAL)
            self.trial(kind, min(kills, num_kills - done))

    def table(self) -> str:
        lines = [" | ".join(("killed", "kills", *FAULTS))]
        for kind, target in sorted(self.kills):
            counts = [self.faults[kind, target, name] for name in FAULTS]
            cells = (f"{kind}, {target}", self.kills[kind, target], *counts)
            lines.append(" | ".join(map(str, cells)))
        totals = [
            sum(self.faults[*each, name] for each in self.kills) for name in FAULTS
        ]
        lines.append(" | ".join(map(str, ("all", sum(self.kills.values()), *totals))))
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(arguments.seed, Path(folder))
        trials.run(arguments.kills)
    print(trials.table())
    return 1 if trials.faults else 0


if __name__ == "__main__":
    sys.exit(main())

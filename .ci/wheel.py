"""Install the wheel into an environment of its own, in a folder of its own, and use it as its users do."""

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "examples" / "lecture.ipynb"
MODULES = {"bnn_ref.py", "fast_ref.py", "vime_ref.py", "agents_ref.py"}
PACKAGES = {"vime_lecture", "vime_gym", "vime_check", "vime_lab"}

# A user's module, with a mistake that the kit names.
IMPLEMENTATION = """
import numpy as np


def kl_taylor(mu, rho, delta_mu, delta_rho):
    sigma = np.log1p(np.exp(rho))
    slope = 1 / (1 + np.exp(-rho))
    return np.sum((delta_mu / sigma) ** 2 + 2 * (slope * delta_rho / sigma) ** 2)
"""

# A user's script for mypy: the packages' types are known; those of single modules can't be marked as typed.
TYPED = """
from vime_check import check
from vime_lecture.strategies import greedy_shares

report = check("my_vime")
reveal_type(report.ok)
reveal_type(greedy_shares([1.0, 2.0]))
"""


def run(*command: str, folder: Path, code: int = 0) -> str:
    print("+", *command, flush=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != code:
        sys.exit(
            f"exit code {done.returncode}, not {code}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def expect(pattern: str, text: str) -> None:
    if not re.search(pattern, text):
        sys.exit(f"{pattern!r} is not in:\n{text}")


def main(wheel: Path) -> None:
    # Nothing but the four modules and the four packages goes to site-packages.
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    found = {name for name in top if not name.endswith(".dist-info")}
    if found != MODULES | PACKAGES:
        sys.exit(f"the wheel holds {sorted(found)}")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "venv", "env", folder=folder)
        python = str(folder / "env" / "bin" / "python")
        vime_ref = str(folder / "env" / "bin" / "vime-ref")
        extras = f"{wheel}[run]"
        run(
            python,
            "-m",
            "pip",
            "install",
            "-q",
            extras,
            "mypy",
            "hypothesis",
            folder=folder,
        )

        # The command, from a folder that is no checkout.
        version = re.escape(wheel.name.split("-")[1])
        expect(version, run(vime_ref, "--version", folder=folder))
        expect(
            r"all .* 0 +0 +0 \| ", run(vime_ref, "check", "--only", "kl", folder=folder)
        )
        (folder / "my_vime.py").write_text(IMPLEMENTATION)
        expect("MissingHalf", run(vime_ref, "check", "my_vime", folder=folder, code=1))
        fuzzed = run(vime_ref, "fuzz", "--only", "kl_taylor", folder=folder)
        expect("kl_taylor: exact", fuzzed)
        bundled = run(vime_ref, "vectors", "--out", "bundle", folder=folder)
        expect("LICENSE.*operations.md, manifest.json", bundled)
        training = (vime_ref, "run", "--seeds", "1", "--iterations", "2")
        expect("wrote runs/SparseMountainCar/", run(*training, folder=folder))
        expect("wrote results.png", run(vime_ref, "figure", folder=folder))
        bandit = (vime_ref, "run", "--task", "Bandit", "--seeds", "1")
        expect("pseudo-regret", run(*bandit, folder=folder))

        # The notebook of the lecture.
        kernel = ("nbclient", "ipykernel")
        run(python, "-m", "pip", "install", "-q", *kernel, folder=folder)
        shutil.copy(NOTEBOOK, folder)
        executed = str(folder / "env" / "bin" / "jupyter-execute")
        run(executed, "--timeout=600", NOTEBOOK.name, folder=folder)

        # The modules and the types.
        script = "import gymnasium, vime_gym; gymnasium.make('vime_ref/SparseMountainCar-v0')"
        run(python, "-W", "error", "-c", script, folder=folder)
        (folder / "typed.py").write_text(TYPED)
        typed = run(python, "-m", "mypy", "typed.py", folder=folder)
        expect('Revealed type is "(builtins.)?bool"', typed)
        expect(r'Revealed type is "(builtins.)?list\[(builtins.)?float\]"', typed)
    print("the wheel works")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

"""The package: its names, and the imports that it needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vime_check

REFERENCE = ("bnn_ref", "fast_ref", "vime_ref", "agents_ref", "vime_lecture")
HEAVY = (*REFERENCE, "vime_gym", "vime_lab", "gymnasium", "scipy", "autograd", "mpmath")


def loaded(code: str, folder: Path) -> list[str]:
    """The modules of HEAVY that a fresh Python has loaded after running the code."""
    shown = f"{code}\nimport sys; print(*[n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", shown],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


MINE = "import sys, numpy as np\ndef softplus(rho):\n    heavy = [n for n in {!r} if n in sys.modules]\n"
MINE += "    if heavy: raise TypeError(heavy)\n"
MINE += "    if not np.isfinite(rho).all(): raise ValueError('rho')\n    return np.logaddexp(0, rho)\n"
ASK = "from vime_check import check; assert check('mine', only='softplus').ok"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import vime_check", []),
        ("from vime_check import check, Report", []),
        (ASK, []),
        ("import vime_check.programs, vime_check.operations, vime_check.exact", []),
    ],
)
def test_checking_others_takes_numpy_and_the_vectors_only(
    code: str, names: list[str], tmp_path: Path
) -> None:
    """The process that serves a module loads no more either; the module would raise."""
    (tmp_path / "mine.py").write_text(MINE.format(HEAVY))
    assert loaded(code, tmp_path) == names


def test_checking_the_reference_loads_it(tmp_path: Path) -> None:
    """Control; fuzz also compares with the reference."""
    for code in (
        "from vime_check import check; check(only='softplus')",
        "from vime_check import fuzz",
    ):
        assert {"bnn_ref", "scipy", "autograd"} <= set(loaded(code, tmp_path))


def test_the_package_offers_its_functions_and_nothing_else() -> None:
    assert vime_check.__all__ == [
        *("FuzzReport", "Report", "case_ids", "check", "check_case", "fuzz")
    ]
    for name in vime_check.__all__:
        assert getattr(vime_check, name).__name__ == name
    assert set(dir(vime_check)) == set(vime_check.__all__)
    assert not hasattr(vime_check, "judgement")


def test_no_name_is_defined_in_two_modules() -> None:
    """Except `main`, the command of a module. Control: each module has names."""
    found: dict[str, list[str]] = {}
    for path in Path(vime_check.__path__[0]).rglob("*.py"):
        names = defined(path)
        assert names or path.name == "__init__.py", path
        for name in names - {"main"}:
            found.setdefault(name, []).append(path.name)
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def defined(path: Path) -> set[str]:
    """Functions, classes and constants at the top of a module, except dunders."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
        names |= {each.id for each in targets if isinstance(each, ast.Name)}
    return {name for name in names if not name.startswith("__")}

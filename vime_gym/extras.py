"""What is missing of an extra, in one line, with the command that installs it.

The lowest versions come from the metadata of the installed package. This module imports
only the standard library.
"""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Sequence

# ---------------------------------------------------------------- packages of extras


def lacking(what: str, names: Sequence[str], extra: str) -> str:
    """A line that names the missing packages of an extra, or "" if none is missing.

    For example: fuzz needs hypothesis (extra "test"): pip install 'hypothesis>=6.100'
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    verb = "need" if " and " in what else "needs"
    packages = ", ".join(each.replace("_", "-") for each in missing)
    install = pip_install(extra, names)
    return f'{what} {verb} {packages} (extra "{extra}"): {install}'


def pip_install(extra: str, names: Sequence[str]) -> str:
    """The pip command that installs packages of an extra, wherever vime-ref comes from."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        stated = requires("vime-ref") or []
    except PackageNotFoundError:
        stated = []
    of_extra = [
        requirement.partition(";")[0].strip()
        for requirement in stated
        if requirement.endswith(f'extra == "{extra}"')
    ]
    packages = [name.replace("_", "-") for name in names]
    wanted = [each for each in of_extra if any(name in each for name in packages)]
    return shlex.join(["pip", "install", *(wanted or packages)])


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

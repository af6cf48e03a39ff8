"""The machine's part in the bits of a result: linear algebra, its threads, and the CPU.

Sums in another order round differently. Threads divide a sum, so every process of a command
has one. Each CPU has kernels of its own, so results and checkpoints name them.
This module imports NumPy late, because the variables count only before NumPy loads.
"""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path
from typing import Any

# ---------------------------------------------------------------- constants

# The variables from which each library reads its number of threads.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
# MKL and BLIS let these override the variables above.
FINER_VARIABLES = {
    "MKL_DOMAIN_NUM_THREADS": "MKL_DOMAIN_ALL=1",
    **{f"BLIS_{loop}_NT": "1" for loop in ("JC", "PC", "IC", "JR", "IR")},
}
ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1") | FINER_VARIABLES

# ---------------------------------------------------------------- threads


def hold_one_thread() -> None:
    """Give linear algebra one thread, here and in child processes; before NumPy loads."""
    os.environ.update(ONE_THREAD)


# ---------------------------------------------------------------- identity


@functools.cache
def machine_kind() -> dict[str, str]:
    """The facts that decide the bits of a result besides code, versions and seed."""
    import numpy as np

    # NumPy leaves out what is empty
    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    found = built.get("SIMD Extensions", {})
    features = [*found.get("baseline", ()), *found.get("found", ())]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()).strip() or "unknown",
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "kernel": kernel(),
        "cpu": " ".join(features),
    }


def kernel() -> str:
    """The library that NumPy's linear algebra calls, and the CPU type that it found.

    A wheel of NumPy brings its own library. Otherwise every loaded library counts.
    """
    import numpy as np
    from threadpoolctl import threadpool_info

    loaded = [each for each in threadpool_info() if each["user_api"] == "blas"]
    beside = str(Path(np.__file__).parent)
    own = [each for each in loaded if each["filepath"].startswith(beside)]
    names = ("internal_api", "version", "architecture")
    found = {" ".join(str(each.get(name)) for name in names) for each in own or loaded}
    return ", ".join(sorted(found)) or "unknown"


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

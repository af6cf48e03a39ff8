"""The machine's part in the bits of a result: linear algebra's threads.

Sums in another order round differently. Threads divide a sum, so every process of a command
has one. This module does not import NumPy, because the variables count only before it loads.
"""

from __future__ import annotations

import os

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


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

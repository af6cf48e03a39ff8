"""The JAX adapter, compiled without optimization: each function is compiled for few calls."""

import os

os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"

from examples.jax_adapter import *  # noqa: F403  what the checker asks for

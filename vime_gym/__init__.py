"""VIME's tasks for Gymnasium, registered under `vime_ref/` when this package is imported.

Either line makes a task:

    import gymnasium, vime_gym; gymnasium.make("vime_ref/SparseMountainCar-v0")
    import gymnasium; gymnasium.make("vime_gym:vime_ref/SparseMountainCar-v0")

A task's module is imported when the task is made. The package also declares itself as a Gymnasium plug-in (entry point
`gymnasium.envs`). Gymnasium 1.0 and later ignore plug-ins, so a bare id needs the import there.

A task made by its id raises ResetNeeded on a step before the first reset. It also does so on a step after the end of an
episode, whether the task or its time limit ended it. Every task draws itself with `render_mode="rgb_array"`.

`gymnasium.make_vec` makes the tasks of `VECTORIZED` as one object that steps them together. The other tasks step one by
one, as these do with `vectorization_mode="sync"`.
"""

from typing import Any

import gymnasium
from gymnasium.envs.registration import WrapperSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils import RecordConstructorArgs

# Each task's module and time limit in steps. None: the task ends its episodes itself.
ENTRIES = {
    "SparseMountainCar": ("tasks", 500),
    "DenseMountainCar": ("tasks", 500),
    "SparseCartPoleSwingup": ("tasks", 500),
    "SparseHalfCheetah": ("robots", 500),
    "Walker2D": ("robots", 500),
    "BernoulliBandit": ("rooms", None),
    "Chain": ("rooms", None),
    "DeepSea": ("rooms", None),
    "KeyDoorMaze": ("rooms", 200),
    "NoisyTV": ("rooms", 100),
    "NoisyCorridor": ("corridor", 50),
    "Labyrinth": ("labyrinth", 300),
}

# Arguments that a task made by its id has unless they are given, because its class has no
# default. Size 10 is the smallest of bsuite's deep seas; the rest is our choice.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "BernoulliBandit": {"means": (0.1, 0.3, 0.5, 0.7, 0.9)},
    "Chain": {"size": 10},
    "DeepSea": {"size": 10},
}

# Tasks that `vime_gym.vector_tasks` steps together.
VECTORIZED = ("SparseMountainCar", "DenseMountainCar", "SparseCartPoleSwingup")


class EndEnforcing(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """The outermost wrapper of a made task: it raises ResetNeeded on a step after the end of an episode."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.ended = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """The first observation of an episode."""
        self.ended = False
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The task's step."""
        if self.ended:
            raise ResetNeeded("the episode has ended: call reset before the next step")
        outcome = self.env.step(action)
        self.ended = outcome[2] or outcome[3]
        return outcome


class UncountedWrappers(tuple[WrapperSpec, ...]):
    """Wrappers for `gymnasium.make` that `gymnasium.make_vec` counts as none.

    A vector entry point takes no wrappers, so make_vec raises an error if `len` of them is not 0.
    Vector tasks need no EndEnforcing, because they reset themselves after an end.
    """

    def __len__(self) -> int:
        return 0


ENFORCED = WrapperSpec("EndEnforcing", "vime_gym:EndEnforcing", {})


def register_tasks() -> None:
    """Register each task with Gymnasium, unless its id is already registered."""
    for name, (module, max_episode_steps) in ENTRIES.items():
        env_id = f"vime_ref/{name}-v0"
        together = f"vime_gym.vector_tasks:{name}Vector"
        if env_id not in gymnasium.registry:
            gymnasium.register(
                id=env_id,
                entry_point=f"vime_gym.{module}:{name}",
                max_episode_steps=max_episode_steps,
                kwargs=ARGUMENTS.get(name, {}),
                additional_wrappers=UncountedWrappers([ENFORCED]),
                vector_entry_point=together if name in VECTORIZED else None,
            )


register_tasks()

"""VIME's tasks for Gymnasium, registered under `vime_ref/` when this package is imported.

Either line makes a task:

    import gymnasium, vime_gym; gymnasium.make("vime_ref/SparseMountainCar-v0")
    import gymnasium; gymnasium.make("vime_gym:vime_ref/SparseMountainCar-v0")

A task's module is imported when the task is made. The package also declares itself as a Gymnasium plug-in (entry point
`gymnasium.envs`). Gymnasium 1.0 and later ignore plug-ins, so a bare id needs the import there.
"""

import gymnasium

# Each task's module and time limit in steps. None: the task ends its episodes itself.
ENTRIES = {
    "SparseMountainCar": ("tasks", 500),
    "SparseCartPoleSwingup": ("tasks", 500),
    "SparseHalfCheetah": ("tasks", 500),
    "Walker2D": ("tasks", 500),
    "BernoulliBandit": ("rooms", None),
    "Chain": ("rooms", None),
    "DeepSea": ("rooms", None),
    "KeyDoorMaze": ("rooms", 200),
    "NoisyTV": ("rooms", 100),
    "Labyrinth": ("labyrinth", 300),
}


def register_tasks() -> None:
    """Register each task with Gymnasium, unless its id is already registered."""
    for name, (module, max_episode_steps) in ENTRIES.items():
        env_id = f"vime_ref/{name}-v0"
        if env_id not in gymnasium.registry:
            gymnasium.register(
                id=env_id,
                entry_point=f"vime_gym.{module}:{name}",
                max_episode_steps=max_episode_steps,
            )


register_tasks()

"""VIME and Gymnasium: the tasks."""

from vime_gym import labyrinth, rooms, tasks

__all__ = ["labyrinth", "rooms", "tasks"]

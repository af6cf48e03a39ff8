"""VIME and Gymnasium: the tasks."""

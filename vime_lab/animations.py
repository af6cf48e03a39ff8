"""Animations: GIF files whose frames are pictures of one figure.

Pillow writes them; matplotlib depends on it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vime_lab.files import write_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# ---------------------------------------------------------------- constants

FRAME_DPI = 90  # 900 pixels per figure, the width of a page
NUM_COLORS = 128  # of all frames together; more make larger files
HOLD = 3.0  # seconds of the first and the last frame
STEP = 0.5  # seconds of a frame between them

# ---------------------------------------------------------------- animations


def is_animation(path: Path | str) -> bool:
    """Whether the path's suffix asks for an animation."""
    return Path(path).suffix.lower() == ".gif"


def seconds_of(place: int, num_frames: int) -> float:
    """How long a frame is shown, by its place from 0.

    >>> [seconds_of(place, 3) for place in range(3)]
    [3.0, 0.5, 3.0]
    """
    return HOLD if place in (0, num_frames - 1) else STEP


def poster_first(num_frames: int) -> list[int]:
    """The order of the frames: the last one, and then all.

    A viewer that does not play an animation shows its first frame.

    >>> poster_first(3)
    [2, 0, 1, 2]
    """
    return [num_frames - 1, *range(num_frames)]


def save_animation(path: Path | str, figure: Figure, frames: Iterable[float]) -> None:
    """Write a GIF that repeats forever.

    Each item of `frames` is the seconds of a frame. The figure is drawn when it arrives.
    """
    pictures = []
    milliseconds = []
    for seconds in frames:
        pictures.append(picture_of(figure))
        milliseconds.append(round(1000.0 * seconds))
    write_files({Path(path): gif_bytes(pictures, milliseconds)})


def picture_of(figure: Figure) -> Image:
    """The figure in pixels."""
    from PIL import Image

    content = io.BytesIO()
    figure.savefig(content, dpi=FRAME_DPI, format="png")
    return Image.open(content).convert("RGB")


def gif_bytes(pictures: list[Image], milliseconds: list[int]) -> bytes:
    """Pictures of one size as a GIF, in the colors of the first."""
    palette = pictures[0].quantize(NUM_COLORS)
    first, *others = [each.quantize(palette=palette, dither=0) for each in pictures]
    content = io.BytesIO()
    first.save(
        content,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=milliseconds,
        loop=0,
        optimize=True,
    )
    return content.getvalue()


if __name__ == "__main__":
    raise SystemExit("import this module; the command is vime-ref")

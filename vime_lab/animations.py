"""Animations: GIF files whose frames are pictures of one figure.

Pillow writes them; matplotlib depends on it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vime_lab.files import write_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# ---------------------------------------------------------------- constants

ANIMATION = "gif"  # the suffix of a file
FRAME_DPI = 90  # 900 pixels per figure, the width of a page
NUM_COLORS = 128  # of all frames together; more make larger files
HOLD = 2.0  # seconds of the first and the last picture
STEP = 0.5  # seconds of a picture between them
NEARLY_WHITE = 250  # of 255

# ---------------------------------------------------------------- animations


def is_animation(path: Path | str) -> bool:
    """Whether the path's suffix asks for an animation."""
    return Path(path).suffix.lower() == f".{ANIMATION}"


def poster_first(count: int) -> Iterator[tuple[int, float]]:
    """The numbers of the pictures and their seconds: the last one, and then all.

    A viewer that does not play an animation shows its first frame.

    >>> list(poster_first(3))
    [(2, 2.0), (0, 2.0), (1, 0.5), (2, 2.0)]
    """
    last = count - 1
    for number in (last, *range(count)):
        yield number, HOLD if number in (0, last) else STEP


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
    """Pictures of one size as a GIF, in the colors of the first; nearly white is white."""
    from PIL.Image import Dither

    palette = pictures[0].quantize(NUM_COLORS)
    shades = palette.getpalette() or []
    palette.putpalette([255 if shade >= NEARLY_WHITE else shade for shade in shades])
    first, *others = [
        each.quantize(palette=palette, dither=Dither.NONE) for each in pictures
    ]
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

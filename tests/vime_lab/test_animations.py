"""Animations, by the frames that Pillow reads."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from vime_lab import animations
from vime_lab.animations import HOLD, STEP, gif_bytes, poster_first, save_animation

RED, BLUE, GRAY = (200, 0, 0), (0, 0, 200), (253, 252, 253)


def frames_of(path: Path) -> list[tuple[np.ndarray, float]]:
    """Pixels (H, W, 3) and milliseconds of each frame."""
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append((np.array(image.convert("RGB")), image.info["duration"]))
    return found


def squares(figure: Figure) -> Iterator[float]:
    """A square that moves to the right: three frames."""
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    for place, seconds in enumerate((2.0, 0.5, 1.0)):
        axes.clear()
        axes.set_axis_off()
        axes.set_xlim(0, 3)
        axes.fill_between([place, place + 1], 0, 1, color=np.array(RED) / 255)
        yield seconds


def test_an_animation_against_its_frames(tmp_path, monkeypatch) -> None:
    """Each frame is the figure at its time: a red square in its third. Control: the other thirds are white."""
    monkeypatch.setattr(animations, "FRAME_DPI", 30)
    figure = Figure(figsize=(3.0, 1.0))
    path = tmp_path / "film.gif"
    save_animation(path, figure, squares(figure))
    found = frames_of(path)
    assert [duration for _, duration in found] == [2000, 500, 1000]
    for place, (pixels, _) in enumerate(found):
        assert pixels.shape == (30, 90, 3)
        for third in range(3):
            color = pixels[15, 15 + 30 * third]
            wanted = RED if third == place else (255, 255, 255)
            assert color == pytest.approx(wanted, abs=4), (place, third)


def test_colors_are_those_of_the_first_picture() -> None:
    """A color that only a later picture has becomes the nearest; nearly white becomes white."""
    first, later = (Image.new("RGB", (4, 4), RED) for _ in range(2))
    first.putpixel((0, 0), GRAY)
    later.putpixel((1, 1), BLUE)
    with Image.open(io.BytesIO(gif_bytes([first, later], [100, 100]))) as image:
        assert image.n_frames == 2
        shown = np.array(image.convert("RGB"))
        assert shown[0, 0].tolist() == [255, 255, 255]
        image.seek(1)
        assert np.array(image.convert("RGB"))[1, 1] == pytest.approx(RED, abs=4)


def test_the_last_picture_is_the_poster() -> None:
    """It stands first, and again at its place. The first and the last picture are held."""
    assert list(poster_first(4)) == [
        *((3, HOLD), (0, HOLD), (1, STEP), (2, STEP), (3, HOLD)),
    ]
    assert list(poster_first(1)) == [(0, HOLD)] * 2
    assert HOLD > STEP > 0


@pytest.mark.parametrize(
    ("path", "moves"), [("a.gif", True), (Path("b.GIF"), True), ("gif", False)]
)
def test_animations_are_told_from_stills(path, moves) -> None:
    assert animations.is_animation(path) == moves

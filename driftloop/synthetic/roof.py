"""Aerial images of roofs: no_solar, solar, and a planted roof (GREEN) as the class that nobody trained on.

The plot and its houses are drawn once per site; each image adds what is on the roofs, trees, exposure and noise.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from driftloop.contracts import UNSEEN
from driftloop.synthetic.shapes import cloud
from driftloop.synthetic.site import Site, expose

ROOF_CLASSES = ("no_solar", "solar")
#: The panels' contrast against their roof, in shares of the way to the panels' own colour: the task's difficulty.
CONTRAST = (0.15, 0.55)

#: Red, green and blue, 0-255, float64 (3,).
Colour = np.ndarray
ROOF_COLOURS = ((150, 82, 62), (120, 116, 112), (90, 86, 88), (165, 150, 130), (70, 72, 80))
GROUND_COLOURS = ((96, 110, 70), (120, 112, 96), (84, 100, 62), (130, 126, 120))
PANEL_COLOUR = np.array([28, 38, 70], np.float64)


@dataclass(frozen=True)
class House:
    """A gabled roof; lengths in pixels."""

    centre: tuple[float, float]
    """x and y."""
    turn: float
    """Direction of the ridge, in radians."""
    length: float
    """Along the ridge."""
    width: float
    """Across it."""
    colour: Colour
    """Of the near slope."""
    shade: float
    """Factor on the colour of the far slope."""

    def point(self, u: float, v: float) -> tuple[float, float]:
        """Pixel position of `u` along the ridge and `v` across it, in pixels from the centre."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        return self.centre[0] + u * cos - v * sin, self.centre[1] + u * sin + v * cos

    def slope_colour(self, side: int) -> Colour:
        """Colour of the slope on `side` (-1 or 1)."""
        return self.colour if side < 0 else self.colour * self.shade


def roof(house_rng: np.random.Generator, rng: np.random.Generator, label: int, site: Site) -> np.ndarray:
    """One aerial image, uint8 (H, W, 3), 150-190 pixels square.

    Args:
        house_rng: what the plot and its houses are drawn from.
        rng: what is on the roofs, trees, exposure, noise.
        label: 0 no_solar, 1 solar, UNSEEN (a planted roof).
        site: the camera.
    """
    pixels = int(house_rng.integers(150, 191))
    image, ground = _plot(house_rng, pixels)
    canvas = ImageDraw.Draw(image)
    houses = [draw_house(house_rng, pixels) for _ in range(int(house_rng.integers(1, 3)))]
    for house in houses:
        _draw_roof(canvas, house, ground, house_rng)
        _add_skylights(canvas, house, rng)
        # The last house hides the others, so it is the one that must show what the label says.
        if house is houses[-1] or rng.random() < 0.25:
            _mark_class(canvas, house, label, rng)
    _add_trees(canvas, pixels, rng)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.0)))
    return expose(np.asarray(image, np.float32) * np.float32(1 / 255), site, rng)


def draw_house(rng: np.random.Generator, pixels: int) -> House:
    """A house drawn at random on a plot of `pixels` x `pixels`."""
    length = rng.uniform(0.4, 0.75) * pixels
    return House(
        centre=(rng.uniform(0.3, 0.7) * pixels, rng.uniform(0.3, 0.7) * pixels),
        turn=rng.uniform(0, math.pi),
        length=length,
        width=length * rng.uniform(0.5, 0.9),
        colour=np.array(ROOF_COLOURS[rng.integers(len(ROOF_COLOURS))], np.float64) * rng.uniform(0.85, 1.15),
        shade=rng.uniform(0.8, 0.97),
    )


def _fill(canvas: ImageDraw.ImageDraw, house: House, u: tuple[float, float], v: tuple[float, float], colour: Colour) -> None:
    """Fill the rectangle of the roof between `u` along and `v` across the ridge."""
    corners = [house.point(u[0], v[0]), house.point(u[1], v[0]), house.point(u[1], v[1]), house.point(u[0], v[1])]
    canvas.polygon(corners, fill=_rgb(colour))


def _draw_roof(canvas: ImageDraw.ImageDraw, house: House, ground: Colour, rng: np.random.Generator) -> None:
    """Shadow, both slopes, and the courses of tiles that make some roofs look like a grid."""
    half, across = house.length / 2, house.width / 2
    shift = 0.06 * max(canvas.im.size) * 0.5
    outline = [house.point(*corner) for corner in ((-half, -across), (half, -across), (half, across), (-half, across))]
    canvas.polygon([(x + shift, y + shift) for x, y in outline], fill=_rgb(ground * 0.55))
    for side in (-1, 1):
        colour = house.slope_colour(side)
        _fill(canvas, house, (-half, half), (0, side * across), colour)
        if rng.random() < 0.6:
            _courses(canvas, house, side, colour * rng.uniform(0.85, 0.95), int(rng.integers(4, 10)))
        if rng.random() < 0.21:
            _seams(canvas, house, side, colour * rng.uniform(0.88, 0.96), int(rng.integers(6, 14)))


def _courses(canvas: ImageDraw.ImageDraw, house: House, side: int, colour: Colour, count: int) -> None:
    for row in range(1, count):
        v = side * house.width / 2 * row / count
        canvas.line([house.point(-house.length / 2, v), house.point(house.length / 2, v)], fill=_rgb(colour), width=1)


def _seams(canvas: ImageDraw.ImageDraw, house: House, side: int, colour: Colour, count: int) -> None:
    for column in range(1, count):
        u = house.length * (column / count - 0.5)
        canvas.line([house.point(u, 0), house.point(u, side * house.width / 2)], fill=_rgb(colour), width=1)


def _rgb(colour: Colour) -> tuple[int, int, int]:
    """A colour for Pillow."""
    red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
    return red, green, blue


def _mark_class(canvas: ImageDraw.ImageDraw, house: House, label: int, rng: np.random.Generator) -> None:
    """What the class puts on a roof."""
    if label == 1:
        _add_panels(canvas, house, rng)
    elif label == UNSEEN:
        _plant(canvas, house, rng)


def _plot(rng: np.random.Generator, pixels: int) -> tuple[Image.Image, np.ndarray]:
    """The ground and perhaps a road; the image and the ground's colour."""
    ground = np.array(GROUND_COLOURS[rng.integers(len(GROUND_COLOURS))], np.float64) * rng.uniform(0.8, 1.15)
    texture = 10 * cloud(rng, (pixels, pixels), 10) + 6 * cloud(rng, (pixels, pixels), 40)
    image = Image.fromarray(np.clip(ground.astype(np.float32) + texture[..., None], 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        at, lean = rng.uniform(0, pixels), rng.normal(0, 0.4) * pixels
        road = [(at - lean, 0), (at + lean, pixels)]
        ImageDraw.Draw(image).line(road, fill=(110, 110, 112), width=int(pixels * rng.uniform(0.08, 0.15)))
    return image, ground


def _add_skylights(canvas: ImageDraw.ImageDraw, house: House, rng: np.random.Generator) -> None:
    """Windows and dark patches of both classes: a single rectangle is no solar array."""
    for _ in range(rng.poisson(1.1)):
        side = int(rng.choice((-1, 1)))
        u, v = rng.uniform(-0.42, 0.3) * house.length, side * rng.uniform(0.06, 0.32) * house.width
        size = rng.uniform(0.06, 0.22) * house.length, side * rng.uniform(0.06, 0.14) * house.width
        target = np.array([40, 48, 78] if rng.random() < 0.6 else [190, 195, 200], np.float64)
        amount = rng.uniform(*CONTRAST)
        _fill(canvas, house, (u, u + size[0]), (v, v + size[1]), house.colour * (1 - amount) + target * amount)


def _add_panels(canvas: ImageDraw.ImageDraw, house: House, rng: np.random.Generator) -> None:
    """An array of panels in a light frame, on one slope."""
    side, contrast = int(rng.choice((-1, 1))), rng.uniform(*CONTRAST)
    columns, rows = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    along, across = rng.uniform(0.35, 0.8), rng.uniform(0.55, 0.85)
    u = rng.uniform(-0.46, 0.46 - along) * house.length
    v = side * rng.uniform(0.03, 0.1) * house.width
    step_u, step_v = along * house.length / columns, side * across * (0.5 * house.width - abs(v)) / rows
    roof_colour = house.slope_colour(side)
    panel = roof_colour * (1 - contrast) + PANEL_COLOUR * rng.uniform(0.8, 1.3) * contrast
    frame = panel + (roof_colour - panel) * 0.5 + 14
    _fill(canvas, house, (u, u + columns * step_u), (v, v + rows * step_v), frame)
    gap = max(0.8, 0.06 * step_u) / 2
    gap_v = math.copysign(gap, step_v)
    for column in range(columns):
        for row in range(rows):
            left, top = u + column * step_u, v + row * step_v
            _fill(canvas, house, (left + gap, left + step_u - gap), (top + gap_v, top + step_v - gap_v), panel)


def _plant(canvas: ImageDraw.ImageDraw, house: House, rng: np.random.Generator) -> None:
    """Grow something on the whole roof."""
    half, across = house.length / 2, house.width / 2
    _fill(canvas, house, (-half, half), (-across, across), np.array([96, 128, 62]) * rng.uniform(0.8, 1.1))
    for _ in range(40):
        x, y = house.point(rng.uniform(-half, half), rng.uniform(-across, across))
        radius = rng.uniform(0.02, 0.06) * house.length
        canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_rgb(np.array([84, 118, 54]) * rng.uniform(0.7, 1.3)))


def _add_trees(canvas: ImageDraw.ImageDraw, pixels: int, rng: np.random.Generator) -> None:
    for _ in range(rng.poisson(3)):
        x, y = rng.uniform(0, pixels, 2)
        radius = rng.uniform(0.03, 0.09) * pixels
        canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_rgb(np.array([50, 82, 40]) * rng.uniform(0.6, 1.1)))

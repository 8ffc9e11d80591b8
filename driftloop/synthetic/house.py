"""Houses seen from above: geometry and colours, and drawing on their slopes."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

Colour = np.ndarray
ROOFS = ((150, 82, 62), (120, 116, 112), (90, 86, 88), (165, 150, 130), (70, 72, 80))


@dataclass(frozen=True)
class House:
    """A gabled roof: centre and size in pixels, direction of the ridge in radians, colour, and how much darker its far slope is."""

    centre: tuple[float, float]
    turn: float
    length: float
    width: float
    colour: Colour
    shade: float

    def point(self, u: float, v: float) -> tuple[float, float]:
        """Pixel position of `u` along the ridge and `v` across it, in pixels from the centre."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        return self.centre[0] + u * cos - v * sin, self.centre[1] + u * sin + v * cos

    def slope_colour(self, side: int) -> Colour:
        """Colour of the slope on `side` (-1 or 1)."""
        return self.colour if side < 0 else self.colour * self.shade


def build(rng: np.random.Generator, pixels: int) -> House:
    """A house drawn at random on a plot of `pixels` x `pixels`."""
    length = rng.uniform(0.4, 0.75) * pixels
    return House(
        centre=(rng.uniform(0.3, 0.7) * pixels, rng.uniform(0.3, 0.7) * pixels),
        turn=rng.uniform(0, math.pi),
        length=length,
        width=length * rng.uniform(0.5, 0.9),
        colour=np.array(ROOFS[rng.integers(len(ROOFS))], np.float64) * rng.uniform(0.85, 1.15),
        shade=rng.uniform(0.8, 0.97),
    )


def patch(canvas: ImageDraw.ImageDraw, house: House, u: tuple[float, float], v: tuple[float, float], colour: Colour) -> None:
    """Fill the rectangle of the roof between `u` along and `v` across the ridge."""
    corners = [house.point(u[0], v[0]), house.point(u[1], v[0]), house.point(u[1], v[1]), house.point(u[0], v[1])]
    canvas.polygon(corners, fill=rgb(colour))


def roof_surface(canvas: ImageDraw.ImageDraw, house: House, ground: Colour, rng: np.random.Generator) -> None:
    """Shadow, both slopes, and the courses of tiles that make some roofs look like a grid."""
    half, across = house.length / 2, house.width / 2
    shift = 0.06 * max(canvas.im.size) * 0.5
    outline = [house.point(*corner) for corner in ((-half, -across), (half, -across), (half, across), (-half, across))]
    canvas.polygon([(x + shift, y + shift) for x, y in outline], fill=rgb(ground * 0.55))
    for side in (-1, 1):
        colour = house.slope_colour(side)
        patch(canvas, house, (-half, half), (0, side * across), colour)
        if rng.random() < 0.6:
            _courses(canvas, house, side, colour * rng.uniform(0.85, 0.95), int(rng.integers(4, 10)))
        if rng.random() < 0.21:
            _seams(canvas, house, side, colour * rng.uniform(0.88, 0.96), int(rng.integers(6, 14)))


def _courses(canvas: ImageDraw.ImageDraw, house: House, side: int, colour: Colour, count: int) -> None:
    for row in range(1, count):
        v = side * house.width / 2 * row / count
        canvas.line([house.point(-house.length / 2, v), house.point(house.length / 2, v)], fill=rgb(colour), width=1)


def _seams(canvas: ImageDraw.ImageDraw, house: House, side: int, colour: Colour, count: int) -> None:
    for column in range(1, count):
        u = house.length * (column / count - 0.5)
        canvas.line([house.point(u, 0), house.point(u, side * house.width / 2)], fill=rgb(colour), width=1)


def rgb(colour: Colour) -> tuple[int, int, int]:
    """A colour for Pillow."""
    red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
    return red, green, blue

"""A small dSprites: all images of three shapes at five sizes, eight angles and 16 x 16 places, drawn by NumPy."""

import itertools
import math

import numpy as np

FACTORS = {"shape": 3, "scale": 5, "rotation": 8, "x": 16, "y": 16}  # the values of each
SIDE = 32  # pixels, of an image
SPRITE = SIDE + 1 - FACTORS["x"]  # of the square that holds a shape: at 16 places it reaches both edges
FINE = 8  # points along a pixel's side, whose share inside the shape is the pixel's grey level


def draw_shapes():
    """All 30,720 images in the order of their factors, the last one fastest.

    The scale goes from a half to the whole of what fits, in steps of an eighth. The rotation goes from 0 to 79 degrees,
    in steps of a 32nd of a turn: no shape looks the same at two of them. A step of x, to the right, or of y, down, is
    one pixel.

    Returns: images `[N, 32, 32]`, float32 in [0, 1], white on black; and the factors' values `[N, 5]`, integers from 0.
    """
    sizes = tuple(FACTORS.values())
    images = np.zeros((*sizes, SIDE, SIDE), "float32")
    for shape, scale, rotation in itertools.product(*map(range, sizes[:3])):
        sprite = draw_sprite(shape, (4 + scale) / 8, rotation * math.tau / 32)
        for x, y in itertools.product(*map(range, sizes[3:])):
            images[shape, scale, rotation, x, y, y : y + SPRITE, x : x + SPRITE] = sprite
    return images.reshape(-1, SIDE, SIDE), np.indices(sizes).reshape(len(sizes), -1).T


def draw_sprite(shape, scale, angle):
    """One shape, `[SPRITE, SPRITE]`: an ellipse, a heart or a triangle, within a disc of this radius."""
    points = (np.arange(SPRITE * FINE) + 0.5) / (SPRITE * FINE) * 2 - 1
    across, up = np.meshgrid(points, -points)
    across, up = (
        (math.cos(angle) * across + math.sin(angle) * up) / scale,
        (math.cos(angle) * up - math.sin(angle) * across) / scale,
    )
    inside = (is_in_ellipse, is_in_heart, is_in_triangle)[shape](across, up)
    return inside.reshape(SPRITE, FINE, SPRITE, FINE).mean(axis=(1, 3))


def is_in_ellipse(x, y):
    return x**2 + (y / 0.5) ** 2 < 1


def is_in_heart(x, y):
    x, y = x * 1.36, y * 1.36 + 0.1
    return (x**2 + y**2 - 1) ** 3 < x**2 * y**3


def is_in_triangle(x, y):
    return (y > -0.7) & (y < 1 - 2.4 * np.abs(x))

"""Examples as pictures: arrays of images as tiles, of sequences, vectors and numbers as small plots."""

import math

import numpy as np

from keras_vae.pictures.pixels import Pixels
from keras_vae.pictures.plots import Plots

__all__ = ["Pixels", "Plots", "picture_of"]


def picture_of(event_shape, x, shape=None, limits=None):
    """What draws examples of a shape: a `Pixels` or a `Plots`, whose methods are the same.

    | an example's shape                      | is drawn as                                             |
    |-----------------------------------------|---------------------------------------------------------|
    | (), a number                            | a bar                                                   |
    | (n,), n <= 64                           | a bar for each entry                                    |
    | (n,), n > 64                            | a line                                                  |
    | (height, width), a square or width > 8  | a grey image                                            |
    | (time, channels), else                  | a line for each channel                                 |
    | (height, width, 1), (.., 3) or (.., 4)  | a grey, an RGB or an RGBA image                         |
    | (height, width, channels)               | a grey image, of the mean over channels                 |
    | (depth, ..., height, width, channels)   | the image in the middle of the depth, and so on of rest |

    Args:
        event_shape: the shape of one example.
        x: examples, `[N, *event_shape]`, which fix the limits once for all pictures.
        shape: what shape to see an example in, if not its own: (28, 28, 1), for 784 pixels in a row.
        limits: (low, high), what is black and what white, or the ends of the y-axis, if not found from x.

    Raises:
        ValueError: if `shape` has another number of elements, or x another shape than `event_shape`; or if `limits`
            are not two finite numbers, the lower first.
        ImportError: if plots are due and matplotlib is not installed.
    """
    event_shape, x = tuple(event_shape), np.asarray(x)
    seen = event_shape if shape is None else tuple(shape)
    if min(seen, default=1) < 1 or math.prod(seen) != math.prod(event_shape):
        raise ValueError(
            f"picture_of: expected `shape` to have the elements of an example, {math.prod(event_shape)} and at least "
            f"one, as {event_shape} has; received: {seen}"
        )
    if x.ndim < 1 or x.shape[1:] != event_shape:
        expected = ", ".join(map(str, ("N", *event_shape)))
        raise ValueError(f"picture_of: expected `x` of shape [{expected}]; received shape: {list(x.shape)}")
    is_image = len(seen) > 2 or (len(seen) == 2 and (seen[-1] > 8 or seen[0] == seen[1]))
    kind = Pixels if is_image else Plots
    low, high = kind.limits_of(x) if limits is None else limits
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"picture_of: expected `limits` to be finite, the lower first; received: {limits!r}")
    return kind(event_shape, seen, (float(low), float(high)))

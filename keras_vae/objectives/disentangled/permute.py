"""Latents whose units are independent, made of those of a batch."""

import math

from keras import ops

from keras_vae import backend
from keras_vae.ops.noise import standard_normal


def permute(z, seed, sample_weight=None):
    """Latents whose units are independent: each is permuted over the batch, or resampled by the examples' weights.

    A batch of one example stays as it is.

    Args:
        z: `[S, B, D]`.
        seed: int32 `[2]`.
        sample_weight: `[B]`, or None where all weigh alike.
    """
    draws, size, units = ops.shape(z)
    index = ops.argsort(standard_normal((draws, size, units), backend.fold_in(seed, 0)), axis=1)
    if sample_weight is not None:
        # Points at equal distances, in a random order, fall on the examples' weights laid end to end.
        ends = ops.cumsum(ops.cast(sample_weight, "float32"))
        start = standard_normal((draws, 1, units), backend.fold_in(seed, 1))
        start = 0.5 + 0.5 * ops.erf(start / math.sqrt(2.0))  # uniform on [0, 1]
        points = (ops.cast(index, "float32") + start) / ops.cast(size, "float32")
        points = ops.minimum(points, 1.0 - 1e-6) * ends[-1]  # an end is another example's, if it is one's
        index = backend.searchsorted(ends, ops.reshape(points, (-1,)))
        index = ops.minimum(ops.reshape(index, (draws, size, units)), size - 1)
    # Not `take_along_axis`, which older Keras gives XLA no shapes for where the batch's size is unknown.
    first = ops.reshape(ops.arange(draws), (-1, 1, 1)) * size
    place = (first + ops.cast(index, "int32")) * units + ops.arange(units)
    return ops.take(ops.reshape(z, (-1,)), place)

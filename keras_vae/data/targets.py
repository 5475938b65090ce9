"""A y that looks like what should be scored, where a VAE scores x: what is said of it."""

import keras
import numpy as np

from keras_vae.data import kinds
from keras_vae.data.faults import as_looked_at, pieces
from keras_vae.data.parts import pick


def advice_on_targets(x, y, data, target=None):
    """What to say of labels that are of x's own shape and are not x; None where there are none.

    Args:
        x, y: arrays, a batch of them, or what is known of a batch.
        data: what they are of: where these are not values, its first batch is looked at.
        target: which part of x is scored: see `keras_vae.data.parts.pick`.
    """
    scored = pick(x, target)
    if not (_is_numbers(scored) and _is_numbers(y)) or tuple(scored.shape[1:]) != tuple(y.shape[1:]):
        return None
    if np.prod([size or 2 for size in scored.shape[1:]]) < 2:
        return None  # one number an example may be a label
    if kinds.is_dataset(data):
        element = kinds.first_element(data)
        if element is None:
            return None
        x, y, _ = keras.utils.unpack_x_y_sample_weight(element)
        scored = pick(x, target)
    if scored is y or _are_equal(as_looked_at(scored), y):
        return None
    return (
        f"y has the shape of x, {tuple(y.shape[1:])}, and is ignored: a VAE scores x itself. To have it see a noisy x, "
        'and score a clean one, name both: VAE(encoder, decoder, target="clean") of an encoder of keras.Input(..., '
        'name="noisy"), and fit({"noisy": x, "clean": y}). To add noise in training alone, start the encoder with '
        "keras.layers.GaussianNoise or Dropout."
    )


def _are_equal(one, other):
    return all(np.array_equal(rows, other[at : at + len(rows)], equal_nan=True) for at, rows in pieces(one))


def _is_numbers(value):
    dtype = getattr(value, "dtype", None)
    return dtype is not None and hasattr(value, "shape") and "float" in str(dtype)

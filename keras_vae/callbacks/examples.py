"""The few fixed examples that a callback looks at, again and again."""

import os
import tempfile

import keras
import numpy as np

from keras_vae import contract, target
from keras_vae.vae import VAE


def check_vae(owner, model):
    """Raises ValueError unless a callback was given to the `fit` of a VAE."""
    if not isinstance(model, VAE):
        raise ValueError(
            f"{owner}: expected a model that is a keras_vae.VAE; received: {type(model).__name__}. "
            "Give the callback to the fit of a VAE."
        )


def check_writable(owner, name, folder):
    """Raises ValueError unless files can be made in a local folder, which is made if it is not there."""
    if "://" in folder:
        return  # what is amiss with a bucket, its first file has to say
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"anything")
    except OSError as error:
        raise ValueError(
            f"{owner}: expected `{name}` to be a folder that can be written; received: {folder!r}: {error.strerror}"
        ) from None


def examples_for(owner, vae, given, labels=None, num=512):
    """What a callback looks at: what it was given, or else the first of the data that `fit` validates or trains on.

    Args:
        owner: of the error messages.
        vae: the `VAE`.
        given: x, as the encoder takes it, or None.
        labels: one for each example, or None for what `fit` has, if that is one number or word each.
        num: how many to take of data not `given`.

    Returns:
        x, a structure of NumPy arrays `[N, ...]`, and labels, `[N]` or None. Both are None where there are no examples.

    Raises:
        ValueError: `given` is empty, its parts are of different lengths or not of the shape that the decoder makes, or
            there are fewer or more labels.
    """
    if given is None:
        x, y = vae.first_examples(num)
        labels = y if labels is None and x is not None else labels
        if x is not None and not _is_one_each(labels, x) and labels is y:
            labels = None
    else:
        x = keras.tree.map_structure(np.asarray, given)
    if x is None:
        return None, None
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in keras.tree.flatten(x)}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            f"{owner}: expected `examples` to be arrays of as many rows, and at least one; received shapes "
            f"{[leaf.shape for leaf in keras.tree.flatten(x)]}"
        )
    if labels is not None and not _is_one_each(labels, x):
        raise ValueError(
            f"{owner}: expected a label for each of the {lengths.pop()} examples; received: labels of shape "
            f"{np.shape(labels)}"
        )
    if vae.event_shape is not None:
        try:
            contract.check_event(vae.event_shape, target.pick(x, vae.target), "example")
        except ValueError as error:
            raise ValueError(f"{owner}: of `examples`: {error}") from None
    return x, None if labels is None else np.asarray(labels).reshape(-1)


def _is_one_each(labels, x):
    rows = keras.tree.flatten(x)[0].shape[0]
    return hasattr(labels, "__len__") and np.shape(labels) in ((rows,), (rows, 1))

"""The few fixed examples that a callback looks at, again and again."""

import math
import os
import tempfile

import keras
import numpy as np

from keras_vae import contract, target
from keras_vae.callbacks.going_on import going_on
from keras_vae.callbacks.inspection import Inspector
from keras_vae.vae import VAE

MOST_NUMBERS = 2**25  # of examples that nobody asked for


def check_vae(owner, model):
    """Raises ValueError unless a callback was given to the `fit` of a VAE."""
    if not isinstance(model, VAE):
        raise ValueError(
            f"{owner}: expected a model that is a keras_vae.VAE; received: {type(model).__name__}. "
            "Give the callback to the fit of a VAE."
        )


def check_writable(owner, name, folder):
    """Raises ValueError unless files can be made in a local folder, which is made if it is not there."""
    if folder in ("", "None"):
        raise ValueError(f"{owner}: expected `{name}` to be a folder; received none")
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
        num: how many to take of data not `given`, or fewer where that is much memory.

    Returns:
        x, a structure of NumPy arrays `[N, ...]`, and labels, `[N]` or None. Both are None where there are no examples.

    Raises:
        ValueError: `given` is no array or structure of arrays, is empty, or of another structure or shape than what the
            model was built for; or there are fewer or more labels.
    """
    if given is None:
        if vae.x_spec is not None:
            sizes = [math.prod(size or 1 for size in part.shape[1:]) for part in keras.tree.flatten(vae.x_spec)]
            num = max(1, min(num, MOST_NUMBERS // max(1, sum(sizes))))
        x, y = vae.first_examples(num)
        if x is None:
            return None, None
        if labels is None:
            return x, _flat(y) if _is_one_each(y, x) else None
        rows = keras.tree.flatten(x)[0].shape[0]
        labels = labels[:rows] if hasattr(labels, "__getitem__") and np.shape(labels)[:1] > (rows,) else labels
    else:
        if not all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(given)):
            kind = type(given).__name__
            raise ValueError(
                f"{owner}: expected `examples` to be an array, or a structure of arrays; received a {kind}"
            )
        x = keras.tree.map_structure(np.asarray, given)
        _check(owner, vae, x)
    if labels is not None and not _is_one_each(labels, x):
        raise ValueError(
            f"{owner}: expected a label for each of the {keras.tree.flatten(x)[0].shape[0]} examples; received: labels "
            f"of shape {_shape_of(labels)}"
        )
    return x, None if labels is None else _flat(labels)


def _check(owner, vae, x):
    shapes = [leaf.shape for leaf in keras.tree.flatten(x)]
    if not shapes or len({shape[:1] for shape in shapes}) != 1 or shapes[0][:1] in ((), (0,)):
        raise ValueError(
            f"{owner}: expected `examples` to be arrays of as many rows, and at least one; received shapes {shapes}"
        )
    if vae.x_spec is None:
        return
    try:
        keras.tree.assert_same_structure(x, vae.x_spec)
    except (ValueError, TypeError):
        raise ValueError(
            f"{owner}: expected `examples` of the structure of x, which is {_in_words(vae.x_spec)}; received "
            f"{_in_words(x)}"
        ) from None
    if vae.event_shape is not None:
        try:
            contract.check_event(vae.event_shape, target.pick(x, vae.target), "example")
        except ValueError as error:
            raise ValueError(f"{owner}: of `examples`: {error}") from None


def inspector_for(owner, vae, x, given):
    """An `Inspector` of examples that has looked once; None, with a warning, if it cannot look at what `fit` has.

    Raises:
        ValueError: it cannot look at the examples that were `given`.
    """
    inspector = Inspector(vae, x)
    try:
        inspector.latents()  # now, rather than after an epoch
    except Exception as error:
        if given is not None:
            raise ValueError(f"{owner}: expected `examples` that the encoder takes: {error}") from error
        with going_on(owner, "look at the data's first examples, and goes without: give examples=..."):
            raise
        return None
    return inspector


def _in_words(x):
    """How a structure looks: of arrays, their shapes."""
    return keras.tree.map_structure(lambda leaf: tuple(leaf.shape), x)


def _flat(labels):
    return np.asarray(labels).reshape(-1)


def _is_one_each(labels, x):
    rows = keras.tree.flatten(x)[0].shape[0]
    return labels is not None and _shape_of(labels) in ((rows,), (rows, 1))


def _shape_of(labels):
    try:
        return np.shape(labels)
    except ValueError:  # lists of several lengths
        return f"({len(labels)}, various)"

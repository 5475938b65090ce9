"""The few fixed examples that a callback looks at, again and again."""

import math
import os
import tempfile

import keras
import numpy as np

from keras_vae.callbacks.inspection import Inspector
from keras_vae.callbacks.warn_instead import warn_instead
from keras_vae.data import contract, kinds
from keras_vae.data.parts import pick
from keras_vae.vae import VAE

MOST_NUMBERS = 2**25  # of examples that nobody asked for


class FitData:
    """The data that a `fit` is at work on, as it was given: where a callback finds examples that it was not given.

    Args:
        training, validation: `(x, y)` each; validation may be None.
    """

    def __init__(self, training, validation=None):
        self.training, self.validation = training, validation

    def first_examples(self, vae, num):
        """The first `num` that `fit` validates on, or else, if they are arrays, trains on.

        Of a stream that it trains on, which only training reads, they are those of the steps that were run last.

        Returns:
            x and y, structures of NumPy arrays of at most `num` rows; y is None where there are no labels. Both are
            None where there are none, as yet or at all.
        """
        found = (None, None) if self.validation is None else first_examples(*self.validation, num)
        if found[0] is None and kinds.holds_arrays(self.training[0]):
            found = first_examples(*self.training, num)
        return (vae.engine.last_examples(num), None) if found[0] is None else found


def first_examples(x, y, num):
    """The first `num` examples of data as `fit` takes them: x and y, structures of NumPy arrays, or None.

    Both are None for data that can be read but once, or is of a kind that only Keras knows.
    """
    if kinds.holds_arrays(x):
        return _rows(x, num), None if y is None else _rows(y, num)
    batches = []
    if kinds.is_dataset(x):
        batches = iter(x)
    elif isinstance(x, keras.utils.PyDataset):
        batches = (x[index] for index in range(x.num_batches or 1))
    found, count = [], 0
    for batch in batches:
        parts = keras.utils.unpack_x_y_sample_weight(batch)[:2]
        found.append(parts)
        count += keras.tree.flatten(parts[0])[0].shape[0]
        if count >= num:
            break
    if not found:
        return None, None
    parts = zip(*found, strict=True)
    return tuple(None if part[0] is None else _rows(_joined(part), num) for part in parts)


def _rows(arrays, num):
    return keras.tree.map_structure(lambda array: np.asarray(array[:num]), arrays)


def _joined(batches):
    return keras.tree.map_structure(lambda *parts: np.concatenate([np.asarray(part) for part in parts]), *batches)


class Watching:
    """A callback that looks at examples: those that it was given, or else some of the data that `fit` is at work on.

    A subclass has `examples`, x or None, and perhaps `labels`; and defines `look_at(x, labels)`, called when examples
    are found.
    """

    labels = None
    fit_data = None

    def on_fit_data(self, training, validation=None):
        """Called by `VAE.fit` with the data that it was given, `(x, y)` each, before it begins; and with None after."""
        self.fit_data = None if training is None else FitData(training, validation)

    def find_examples(self):
        """Looks for examples, and hands them to `look_at`, if there are some by now."""
        owner = type(self).__name__
        x, labels = examples_for(owner, self.model, self.examples, self.fit_data, self.labels)
        if x is not None:
            self.look_at(x, labels)


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


def examples_for(owner, vae, given, data=None, labels=None, num=512):
    """What a callback looks at: what it was given, or else the first of the data that `fit` validates or trains on.

    Args:
        owner: of the error messages.
        vae: the `VAE`.
        given: x, as the encoder takes it, or None.
        data: a `FitData`, or None.
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
        x, y = (None, None) if data is None else data.first_examples(vae, num)
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
            contract.check_event(vae.event_shape, pick(x, vae.target), "example")
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
        with warn_instead(owner, "look at the data's first examples, and goes without: give examples=..."):
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

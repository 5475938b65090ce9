"""Looks at the data before a VAE trains on it: empty, not finite, or outside what the likelihood can score."""

import itertools
import types

import keras
import numpy as np

from keras_vae import backend, target


class DataCheck:
    """Refuses data that the likelihood cannot score, before the step that would have used it.

    Arrays are looked at once, whole. Datasets, generators and `PyDataset`s are looked at batch by batch as they arrive.
    Used as a context, around all that reads the data: there an error that a data pipeline has wrapped in its own comes
    out as it was raised.

    Args:
        model: whose `target` says what is scored, and whose `likelihood_class.support_error(low, high, dtype)`, where
            there
            is one, what the likelihood cannot score.
        enabled: False to let everything through unseen.
    """

    def __init__(self, model, enabled=True):
        self.model = model
        self.enabled = enabled
        self.error = None

    def __enter__(self):
        return self

    def __exit__(self, exception_type, exception, traceback):
        if exception is not None and self.error is not None and exception is not self.error:
            raise self.error from None

    def __call__(self, data, name="x"):
        """`data` of the same kind, looked at: now if it is arrays, else batch by batch while it is read.

        Raises:
            ValueError: the data is empty, or is arrays that hold a value the likelihood cannot score.
        """

        def look_at_element(element):
            if self.enabled:
                self._look_at(keras.utils.unpack_x_y_sample_weight(element)[0], name)
            return element

        if isinstance(data, keras.utils.PyDataset):
            data = _LookedAt(data, look_at_element)
        if not self.enabled:
            return data
        if is_empty(data):
            raise ValueError(f"Expected {name} to hold at least one example; received an empty data set.")
        if backend.is_dataset(data):
            return backend.inspect_dataset(data, look_at_element)
        if isinstance(data, types.GeneratorType):
            return (look_at_element(element) for element in data)
        if holds_arrays(data):
            self._look_at(data, name)
        # Whatever else Keras takes (a torch DataLoader, say) goes through as it is.
        return data

    def _look_at(self, x, name):
        error = self._error_in(np.asarray(target.pick(x, self.model.target)), name)
        if error is not None:
            self.error = error  # kept: batches that a pipeline has fetched ahead are looked at after this one
            raise error

    def _error_in(self, x, name):
        """The error that the array `x` deserves, or None."""
        if x.size == 0:
            return None  # an empty batch is no reason to stop
        if x.dtype.kind in "OSUMmc":
            return ValueError(f"Expected {name} to hold numbers; received dtype {x.dtype}.")
        low, high = x.min(), x.max()  # both carry a NaN through: two passes over memory and no copy
        if not (np.isfinite(low) and np.isfinite(high)):
            bad = ~np.isfinite(x)
            first = tuple(int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
            return ValueError(
                f"Expected {name} to be finite; received {x[first]} at position {list(first)}, the first of "
                f"{int(bad.sum())} value(s) that are not finite."
            )
        support_error = getattr(self.model.likelihood_class, "support_error", lambda *_: None)
        message = support_error(low, high, x.dtype.name)
        return None if message is None else ValueError(f"{name}: {message}")


class _LookedAt(keras.utils.PyDataset):
    """A `PyDataset` whose batches are looked at as they are made."""

    def __init__(self, dataset, look):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self.dataset = dataset
        self.look = look

    def __getitem__(self, index):
        return _as_step(self.look(self.dataset[index]))

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


def holds_arrays(data):
    """Whether `data` is one or more arrays: NumPy's, a tensor, a data frame."""
    leaves = keras.tree.flatten(data)
    return bool(leaves) and all(hasattr(leaf, "shape") and hasattr(leaf, "__array__") for leaf in leaves)


def is_empty(data):
    """Whether `data` is known to hold nothing."""
    if data is None or isinstance(data, types.GeneratorType):
        return data is None
    if backend.is_dataset(data):
        return backend.is_empty_dataset(data)
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches == 0
    return holds_arrays(data) and any(leaf.shape[:1] == (0,) for leaf in keras.tree.flatten(data))


def peek(data):
    """The shapes of one batch of x, its first axis None, and the data as it was.

    The shapes are None where they cannot be known. A generator that yields nothing comes back as None.
    """
    if backend.is_dataset(data):
        element = backend.dataset_spec(data)
    elif isinstance(data, keras.utils.PyDataset):
        element = None if is_empty(data) else data[0]
    elif isinstance(data, types.GeneratorType):
        element = next(data, None)
        data = None if element is None else _prepended(element, data)
    else:
        element = (data,) if holds_arrays(data) else None
    x = None if element is None else keras.utils.unpack_x_y_sample_weight(element)[0]
    leaves = keras.tree.flatten(x)
    if any(getattr(getattr(leaf, "shape", None), "rank", 0) is None or not hasattr(leaf, "shape") for leaf in leaves):
        return None, data
    return keras.tree.map_structure(lambda leaf: (None, *leaf.shape[1:]), x), data


def _prepended(element, generator):
    for each in itertools.chain([element], generator):
        yield _as_step(each)


def _as_step(element):
    """A batch as Keras takes it from Python: a tuple, with weights only where there are labels; any label will do."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(element)
    if y is None:
        y = sample_weight
    return (x,) if y is None else (x, y) if sample_weight is None else (x, y, sample_weight)

"""What kinds of data there are: arrays, data sets, generators; and what is known of each before it is read."""

import itertools
import types

import keras
import tensorflow as tf

from keras_vae.data.sparse_rows import is_sparse


def is_dataset(data):
    """Whether `data` is a `tf.data.Dataset`."""
    return isinstance(data, tf.data.Dataset)


def is_stream(data):
    """Whether `data` gives batches one after another: a data set, a `PyDataset`, a generator."""
    return is_dataset(data) or isinstance(data, (keras.utils.PyDataset, types.GeneratorType))


def holds_arrays(data):
    """Whether `data` is one or more arrays: NumPy's, a tensor, a data frame."""
    leaves = keras.tree.flatten(data)
    return bool(leaves) and all(hasattr(leaf, "shape") and hasattr(leaf, "__array__") for leaf in leaves)


def is_empty(data):
    """Whether `data` is known to hold nothing."""
    if data is None or isinstance(data, types.GeneratorType):
        return data is None
    if is_dataset(data):
        return int(data.cardinality()) == 0
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches == 0
    return holds_arrays(data) and any(leaf.shape[:1] == (0,) for leaf in keras.tree.flatten(data))


def empty(name):
    """The error for data that holds nothing."""
    return ValueError(f"Expected {name} to hold at least one example; received an empty data set.")


def num_batches(dataset):
    """How many batches a dataset holds, or None where that is not known or there is no end."""
    count = int(dataset.cardinality())
    return count if count >= 0 else None


def is_endless(dataset):
    """Whether a dataset is known to have no end."""
    return int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY


def first_element(dataset):
    """The first element of a dataset, or None if it has none."""
    return next(iter(dataset.take(1)), None)


def peek(data, *beside):
    """One batch of the data, or its specification, as `(x, y, sample_weight)`; and the data as it was.

    The batch is None where it cannot be known. A generator that yields nothing comes back as None.

    Args:
        data: arrays x, or what gives batches.
        *beside: the arrays that come with arrays x.
    """
    if is_dataset(data):
        element = data.element_spec
    elif isinstance(data, keras.utils.PyDataset):
        element = None if is_empty(data) else data[0]
    elif isinstance(data, types.GeneratorType):
        element = next(data, None)
        data = None if element is None else _prepended(element, data)
    else:
        element = (data, *beside) if holds_arrays(data) else None
    return (None if element is None else keras.utils.unpack_x_y_sample_weight(element)), data


def has_sparse(x):
    """Whether a part of x is sparse, and stays so."""
    return any(is_sparse(leaf) or getattr(leaf, "stays_sparse", False) for leaf in keras.tree.flatten(x))


def spec_of(x):
    """The shapes and dtypes of x, `KerasTensor`s; None where they cannot be known."""
    shapes = [getattr(leaf, "shape", None) for leaf in keras.tree.flatten(x)]
    if any(shape is None or getattr(shape, "rank", 0) is None for shape in shapes):
        return None

    def spec(leaf):
        dtype = getattr(leaf, "dtype", None)  # a data frame has several
        is_text = getattr(dtype, "kind", "") in ("O", "S", "U")
        return keras.KerasTensor(tuple(leaf.shape), "string" if is_text else keras.backend.standardize_dtype(dtype))

    return keras.tree.map_structure(spec, x)


def _prepended(element, generator):
    for each in itertools.chain([element], generator):
        yield as_step(each)


def as_step(element):
    """A batch as Keras takes it from Python: a tuple, with weights only where there are labels; any label will do."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(element)
    if y is None:
        y = sample_weight
    return (x,) if y is None else (x, y) if sample_weight is None else (x, y, sample_weight)

"""Data sets: what knows `tf.data`."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

# Bytes that a tensor's memory begins at a multiple of.
ALIGNMENT = 64


def is_dataset(data):
    return isinstance(data, tf.data.Dataset)


def is_empty_dataset(dataset):
    return int(dataset.cardinality()) == 0


def dataset_spec(dataset):
    """The structure of one element, as `TensorSpec`s."""
    return dataset.element_spec


def first_element(dataset):
    """The first element of a dataset, or None if it has none."""
    return next(iter(dataset.take(1)), None)


def num_batches(dataset):
    """How many batches a dataset holds, or None where that is not known or there is no end."""
    count = int(dataset.cardinality())
    return count if count >= 0 else None


class Block(NamedTuple):
    """Several batches, one after another, as an element of a data set.

    Attributes:
        batches: a structure of tensors `[room, batch size, ...]`.
        steps: how many of the batches count; those beyond repeat a row.
        rest: the same structure, `[1, rows, ...]`: the short batch that ends an epoch; elsewhere `[0, rows, ...]`.
    """

    batches: Any
    steps: Any
    rest: Any


def array_dataset(arrays, batch_size, batches_at_once, shuffle, seed, first_batch=int, goes_on=False):
    """Rows of a structure of arrays in memory, as a data set of batches: what Keras would make of them.

    Epoch follows epoch, without end. An element is a batch, or a `Block` of several, gathered in one go. The data set
    does not tune itself: where `tf.data` does, as Keras has it, training stops for seconds now and then.

    Args:
        arrays: a structure of arrays `[N, ...]`.
        batch_size: rows a batch.
        batches_at_once: how many batches, the short last one among them, an element holds, as a `Block`; None for
            elements that are batches.
        shuffle: True for a new order each epoch, "batch" for a new order of the same batches, or False.
        seed: an integer, for the orders: an epoch's is a function of it and of the number of the epoch's first batch.
        first_batch: a function that gives the number of the first batch; called once, on a thread of `tf.data`, when
            the data set is first read. Default: 0.
        goes_on: whether that batch may be in the middle of an epoch, as far as elements end there; else it begins one.
    """
    tensors = keras.tree.lists_to_tuples(keras.tree.map_structure(_as_keras_takes, arrays))
    num_rows = int(keras.tree.flatten(tensors)[0].shape[0])
    full_batches = num_rows // batch_size
    whole = full_batches * batch_size  # rows in full batches
    num_batches = -(-num_rows // batch_size)
    room = min(batches_at_once or 1, full_batches)

    # What follows is TensorFlow as it stands: to have AutoGraph read it takes half a second.
    @tf.autograph.experimental.do_not_convert
    def order_of(first):
        if shuffle == "batch":  # a short last batch stays the last
            starts = shuffled(full_batches, first) * batch_size
            return tf.concat([tf.reshape(starts[:, None] + tf.range(batch_size), [-1]), tf.range(whole, num_rows)], 0)
        return shuffled(num_rows, first) if shuffle else tf.range(num_rows)

    def shuffled(number, first):
        return tf.random.experimental.stateless_shuffle(tf.range(number), tf.stack([tf.cast(seed, tf.int64), first]))

    @tf.autograph.experimental.do_not_convert
    def first_one():
        return tf.ensure_shape(tf.numpy_function(lambda: np.int64(first_batch()), [], tf.int64, stateful=True), ())

    @tf.autograph.experimental.do_not_convert
    def epochs(first, arrays):
        before = first % num_batches if goes_on else tf.zeros((), tf.int64)
        firsts = tf.data.Dataset.counter(first - before, num_batches)
        return firsts.map(order_of).flat_map(lambda order: epoch(order, arrays)).skip(before // (batches_at_once or 1))

    @tf.autograph.experimental.do_not_convert
    def epoch(order, arrays):
        def taken(rows):
            return keras.tree.map_structure(lambda array: tf.gather(array, rows), arrays)

        def batch(first):
            start = first * batch_size
            return taken(order[start : tf.minimum(start + batch_size, num_rows)])

        def block(first):
            steps = tf.minimum(full_batches - first, room)
            places = tf.minimum(first * batch_size + tf.range(room * batch_size), max(0, whole - 1))
            rows = tf.reshape(tf.gather(order, places), (room, batch_size))
            is_last = num_rows > whole and first + batches_at_once >= num_batches
            rest = tf.reshape(order[whole:], (1, -1))[: tf.cast(is_last, tf.int32)]
            return Block(taken(rows), steps, taken(rest))

        starts = tf.data.Dataset.range(0, num_batches, batches_at_once or 1, output_type=tf.int32)
        return starts.map(batch if batches_at_once is None else block)

    options = untuned()
    options.experimental_optimization.apply_default_optimizations = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    # The arrays as an element: what a function captures, Python keeps until it collects its garbage.
    held = tf.data.Dataset.from_tensors((tensors,)).map(lambda arrays: (first_one(), arrays))
    return held.flat_map(epochs).prefetch(1).with_options(options)


def _as_keras_takes(array):
    """`array` as a tensor, floats in Keras's default precision.

    What NumPy holds is copied once, into NumPy's memory: TensorFlow's own stays with the process when it is done with.
    """
    floatx = keras.config.floatx()
    if not isinstance(array, tf.Tensor):
        array = np.asarray(array)
        dtype = np.dtype(floatx) if array.dtype.kind == "f" else array.dtype
        if dtype.kind in "fiu" and array.size:
            memory = np.empty(array.size * dtype.itemsize + ALIGNMENT, "uint8")
            start = -memory.ctypes.data % ALIGNMENT
            aligned = memory[start : start + array.size * dtype.itemsize].view(dtype).reshape(array.shape)
            np.copyto(aligned, array, casting="same_kind")
            return tf.experimental.dlpack.from_dlpack(aligned.__dlpack__())
    tensor = tf.convert_to_tensor(array)
    return tf.cast(tensor, floatx) if tensor.dtype.is_floating else tensor


def rebatched(dataset, batch_size):
    """The elements of a dataset of batches in batches of another size."""
    return dataset.rebatch(batch_size).with_options(untuned())


def batched(arrays, batch_size):
    """The examples of a structure of arrays as a dataset of batches, for a model's `predict`."""

    def leaf(array):
        array = tf.convert_to_tensor(array)
        return tf.cast(array, keras.config.floatx()) if array.dtype.is_floating else array  # as Keras does

    def parts(x):  # a list would be stacked
        return tuple(map(parts, x)) if isinstance(x, (list, tuple)) else x

    examples = tf.data.Dataset.from_tensor_slices((parts(keras.tree.map_structure(leaf, arrays)),))
    options = untuned()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return examples.batch(batch_size).with_options(options)


def untuned():
    """Options for a data set that does not tune itself, which takes seconds now and then."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def is_dense_number(value):
    """Whether a value is a tensor of numbers, and neither ragged, sparse nor text."""
    return isinstance(value, tf.Tensor) and (value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool)


def is_suspect(parts):
    """Whether a batch's parts may hold a value that is refused, or examples of a wrong shape: a tensor.

    Args:
        parts: each with its `value`, a tensor of numbers, and what it must be: `support` and `event_shape`, or None.
    """
    suspect = [tf.constant(False)]
    for part in parts:
        suspect += _outside(part.value, part.support)
        if part.event_shape is not None:
            suspect.append(_shape_differs(part.value, part.event_shape))
    scored = [part for part in parts if part.support is not None]
    if scored and all(part.support.may_be_missing for part in scored):
        suspect.append(tf.reduce_any(tf.reduce_all(tf.stack([_missing_rows(part.value) for part in scored]), 0)))
    return tf.reduce_any(tf.stack(suspect))


def _outside(value, support):
    """Whether a tensor may hold a value outside a support, or one that is not finite: booleans.

    Reductions only, which are an order of magnitude faster than a mask: a sum carries every NaN and infinity. It is
    also infinite where huge finite values add up, so that True asks for a closer look.
    """
    number = tf.cast(value, tf.float64 if value.dtype == tf.float64 else tf.float32)
    if support is not None and support.is_open:
        number = tf.cast(number, support.scored_in)
    if support is not None and support.may_be_missing:
        number = tf.where(tf.math.is_nan(number), tf.cast(support.some_value, number.dtype), number)
    if value.dtype.is_floating:
        yield tf.logical_not(tf.math.is_finite(tf.reduce_sum(number)))
    if support is None:
        return
    if (support.low, support.high) != (-float("inf"), float("inf")):
        below, above = (tf.less_equal, tf.greater_equal) if support.is_open else (tf.less, tf.greater)
        yield below(tf.reduce_min(number), support.low)
        yield above(tf.reduce_max(number), support.high)
    if support.is_integer and value.dtype.is_floating:
        yield tf.reduce_any(tf.not_equal(number, tf.floor(number)))


def _shape_differs(batch, event_shape):
    """Whether the examples of a batch have another shape than `event_shape`."""
    shape = tf.shape(batch)[1:]
    expected = tf.constant(event_shape, tf.int32, [len(event_shape)])
    same_rank = tf.equal(tf.size(shape), len(event_shape))
    return tf.cond(same_rank, lambda: tf.reduce_any(tf.not_equal(shape, expected)), lambda: tf.constant(True))


def _missing_rows(value):
    """For each example of a batch, whether all of it is NaN."""
    if not value.dtype.is_floating:
        return tf.zeros(tf.shape(value)[:1], tf.bool)
    return tf.reduce_all(tf.reshape(tf.math.is_nan(value), (tf.shape(value)[0], -1)), 1)


def inspect_dataset(dataset, examine):
    """`dataset`, each of whose elements is examined, in order and one ahead, before it is handed on.

    `examine(element)` gives, in TensorFlow, whether the element is suspect, and the tensors for the Python function
    `look(index, *arrays)`, its third result, which is called for a suspect element alone and may refuse it by raising.
    """

    @tf.autograph.experimental.do_not_convert
    def inspect(index, element):
        suspect, tensors, look = examine(element)

        def call():
            with tf.control_dependencies([tf.numpy_function(look, [index, *tensors], [])]):
                return tf.constant(True)

        with tf.control_dependencies([tf.cond(suspect, call, lambda: tf.constant(True))]):
            return tf.nest.map_structure(tf.identity, element)

    return dataset.enumerate().map(inspect).prefetch(1)  # the next is examined while one is trained on

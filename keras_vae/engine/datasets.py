"""Arrays in memory as a `tf.data` data set of batches: for several devices, and for `predict`."""

import weakref

import keras
import numpy as np
import tensorflow as tf

from keras_vae.data.sparse_rows import SparseRows
from keras_vae.engine.arrays import as_tensor, is_mapped
from keras_vae.engine.arrays import rows_of as rows_of_source
from keras_vae.engine.orders import order_of


def array_dataset(arrays, batch_size, shuffle, seed, first_batch=int, continues=False):
    """Rows of a structure of arrays as a data set of batches, epoch after epoch, without end.

    The data set does not tune itself: where `tf.data` does, as Keras has it, training stops for seconds now and then.

    Args:
        arrays: a structure of arrays `[N, ...]`.
        batch_size: rows a batch.
        shuffle, seed: of the orders: as of `keras_vae.engine.orders.order_of`.
        first_batch: a function that gives the number of the first batch; called once, on a thread of `tf.data`, when
            the data set is first read. TensorFlow keeps it for good: it must hold nothing large. Default: 0.
        continues: whether that batch may be in the middle of an epoch; else it begins one.
    """
    tensors, rows_of = held(arrays)
    num_rows = int(keras.tree.flatten(arrays)[0].shape[0])
    num_batches = -(-num_rows // batch_size)

    # What follows is TensorFlow as it stands: to have AutoGraph read it takes half a second.
    @tf.autograph.experimental.do_not_convert
    def first_number():
        return tf.ensure_shape(tf.numpy_function(lambda: np.int64(first_batch()), [], tf.int64, stateful=True), ())

    @tf.autograph.experimental.do_not_convert
    def epochs(first, tensors):
        before = first % num_batches if continues else tf.zeros((), tf.int64)
        firsts = tf.data.Dataset.counter(first - before, num_batches)
        return firsts.flat_map(lambda number: epoch(number, tensors)).skip(before)

    @tf.autograph.experimental.do_not_convert
    def epoch(number, tensors):
        order = order_of(num_rows, batch_size, shuffle, seed, number)

        def batch(at):
            start = at * batch_size
            rows = order[start : tf.minimum(start + batch_size, num_rows)]
            return rows_of(tensors, rows)

        return tf.data.Dataset.range(num_batches, output_type=tf.int32).map(batch)

    # The arrays as an element: what a function captures, Python keeps until it collects its garbage.
    elements = tf.data.Dataset.from_tensors((tensors,)).map(lambda tensors: (first_number(), tensors))
    return elements.flat_map(epochs).prefetch(1).with_options(options(optimized=False, sharded=True))


def held(arrays):
    """What a data set holds of a structure of arrays, tensors; and how it reads rows of it.

    Returns:
        A tuple of tensors, and a function of these and of numbers `[n]`, a tensor, to the structure of rows. The
        function holds no array. What a file holds is read when it is asked for, as long as the array is there.
    """

    def of_array(array):
        """The tensors of an array, and a function of these and of numbers to its rows."""
        if isinstance(array, SparseRows):
            options = array.shape, array.stays_sparse
            parts = (array.values, array.columns, array.splits)
            return parts, lambda tensors, numbers: rows_of_source(SparseRows(*tensors, *options), numbers)
        if is_mapped(array):
            this, spec = weakref.ref(array), (array.shape[1:], as_tensor(array[:1]).dtype)

            def read(_, numbers):
                rows = tf.numpy_function(lambda numbers: as_tensor(this()[numbers]).numpy(), [numbers], spec[1])
                return tf.ensure_shape(rows, (None, *spec[0]))

            return (tf.zeros(()),), read
        return (as_tensor(array),), lambda tensors, numbers: tf.gather(tensors[0], numbers)

    arrays = keras.tree.lists_to_tuples(arrays)
    tensors, readers = zip(*map(of_array, keras.tree.flatten(arrays)), strict=True)
    structure = keras.tree.map_structure(lambda _: 0, arrays)

    def rows_of(tensors, numbers):
        rows = [read(part, numbers) for read, part in zip(readers, tensors, strict=True)]
        return keras.tree.pack_sequence_as(structure, rows)

    return tensors, rows_of


def rebatched(dataset, batch_size):
    """The elements of a data set of batches in batches of another size."""
    return dataset.rebatch(batch_size).with_options(options())


def batched(arrays, batch_size):
    """The examples of a structure of arrays as a data set of batches, for a model's `predict`."""
    num_rows = int(keras.tree.flatten(arrays)[0].shape[0])
    tensors, rows_of = held(arrays)

    @tf.autograph.experimental.do_not_convert
    def batches(tensors):
        starts = tf.data.Dataset.range(0, num_rows, batch_size)
        return starts.map(lambda at: (rows_of(tensors, tf.range(at, tf.minimum(at + batch_size, num_rows))),))

    found = tf.data.Dataset.from_tensors((tensors,)).flat_map(batches)
    found = found.apply(tf.data.experimental.assert_cardinality(-(-num_rows // batch_size)))
    return found.with_options(options(sharded=True))


def options(optimized=True, sharded=False):
    """Options of a data set that does not tune itself, which takes seconds now and then.

    Args:
        optimized: False to leave the pipeline as it is written.
        sharded: whether several workers each read a part of every batch, whatever the data set is made of.
    """
    found = tf.data.Options()
    found.autotune.enabled = False
    if not optimized:
        found.experimental_optimization.apply_default_optimizations = False
    if sharded:
        found.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return found

"""The one file that knows which backend runs: its TFP, its seeds, its XLA compile.

Everything else is written in `keras.ops` and TFP's common interface.
"""

import contextlib
import math
import threading
from typing import Any, NamedTuple

import keras
import numpy as np

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "keras_vae runs on Keras's TensorFlow backend. Expected KERAS_BACKEND=tensorflow; "
        f"received KERAS_BACKEND={keras.backend.backend()}. Set it before the first `import keras`."
    )

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

# Whether XLA computes a product with a vector in one loop with what makes the matrix: on a CPU, since TensorFlow 2.21.
# (Earlier the loop takes a number at a time; on a GPU a sum is as good, and no product is rounded to TensorFloat-32.)
ON_CPU = not tf.config.get_visible_devices("GPU")
SUMS_AS_PRODUCTS = ON_CPU and tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 21)

# Numbers that such a product adds up: its error grows with their number, as that of a sum by halves does not.
LONGEST_SUM = 1024

# Bytes that a tensor's memory begins at a multiple of.
ALIGNMENT = 64


def xla_compile(function):
    """Compiles `function` with XLA: a program of its own in eager and graph code, inlined in an outer program."""
    return tf.function(function, jit_compile=True, autograph=False, reduce_retracing=True)


def same_static_shape(one, other):
    """Whether two tensors are known, while tracing, to have the same shape."""
    return one.shape.is_fully_defined() and one.shape == other.shape


def sum_last(value, ndims, scale):
    """`scale` times the sum of `value` over its last `ndims` axes, at least one.

    On a CPU as a product with a vector, which XLA computes in one loop with what makes `value`; for a sum it first
    stores `value`.
    """
    event_shape = value.shape[-ndims:]
    size = math.prod(event_shape) if event_shape.is_fully_defined() else 0
    # The longest that divides the event, unless it divides badly.
    chunk = next((chunk for chunk in range(min(size, LONGEST_SUM), 0, -1) if size % chunk == 0), 0)
    if not SUMS_AS_PRODUCTS or size == 0 or chunk * LONGEST_SUM < size:
        return tf.reduce_sum(value * scale, range(-ndims, 0))
    batch_shape = tf.shape(value)[:-ndims]
    rows = tf.reshape(value, (tf.reduce_prod(batch_shape) * (size // chunk), chunk))
    sums = tf.linalg.matvec(rows, tf.fill([chunk], tf.constant(scale, value.dtype)))
    if chunk < size:
        sums = tf.reduce_sum(tf.reshape(sums, (-1, size // chunk)), -1)
    return tf.ensure_shape(tf.reshape(sums, batch_shape), value.shape[:-ndims])


def sum_to_shape_of(value, operand, scale):
    """`scale` times `value` summed over the axes along which `operand` was broadcast to it: broadcasting's transpose.

    The axes are found when the program runs, so that it holds for shapes unknown while tracing.
    """
    shape = tf.shape(operand)
    last = trailing_ones(operand.shape, value.shape)
    if last:
        sums = sum_last(value, last, scale)
        value, scale = tf.reshape(sums, tf.concat([tf.shape(sums), tf.ones(last, tf.int32)], 0)), 1.0
    _, axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(value), s1=shape)
    return tf.reshape(tf.reduce_sum(value * scale, axes), shape)


def trailing_ones(shape, broadcast):
    """Along how many of its last axes a tensor of `shape`, as known while tracing, was repeated to get `broadcast`."""
    sizes = [1] * (len(broadcast) - len(shape)) + shape.as_list()
    return next((k for k, size in enumerate(reversed(sizes)) if size != 1), len(sizes))


def stateless_seed(source):
    """The next seed of a `SeedGenerator`, or the one that an int stands for: int32 [2], as TFP takes it."""
    if isinstance(source, keras.random.SeedGenerator):
        # Keras keeps int64 or uint32 state.
        return tf.cast(source.next(), tf.int32)
    check_seed(source)
    return tf.constant([source.__index__() % 2**31, 0], tf.int32)


def check_seed(seed):
    """Raises ValueError unless `seed` is an integer."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise ValueError(f"Expected `seed` to be None or an integer; received: {seed!r}")


def fold_in(seed, index):
    """An independent seed for each `index`, from one seed."""
    return tf.random.experimental.stateless_fold_in(seed, index)


_place = threading.local()


@contextlib.contextmanager
def rows_from(first_row):
    """Within, and on this thread, a batch is part of a larger one, in which its first row has this number."""
    _place.first_row = first_row
    try:
        yield
    finally:
        del _place.first_row


def first_row():
    """The number of the batch's first row in the whole batch: 0 but on a replica."""
    return getattr(_place, "first_row", 0)


def seed_for_rows(seed, distribution):
    """The seed for a batch's draws: on a replica another than elsewhere, unless the distribution draws row by row."""
    return seed if getattr(distribution, "draws_by_row", False) else fold_in(seed, first_row())


def xla_choice(layers):
    """Whether a training step through these layers is best compiled whole, and why, in words.

    XLA's convolutions on a CPU are slower than oneDNN's.
    """
    layers = list(layers)
    unable = [layer.name for layer in layers if not layer.supports_jit]
    if unable:
        return False, f"layer {unable[0]!r} cannot be compiled"
    kinds = {kind for layer in layers for kind in type(layer).__mro__}
    if ON_CPU and any("Conv" in kind.__name__ and kind.__module__.startswith("keras.") for kind in kinds):
        return False, "on a CPU, convolutions are faster outside XLA"
    return True, "no layer is faster outside XLA"


def has_strategy():
    """Whether this is within a `tf.distribute` strategy's scope."""
    return tf.distribute.has_strategy()


def agreed(number, strategy=None):
    """`number`, an int32, or the first replica's where there are several workers, each of which has its own."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return number

    @tf.function
    def first():
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", tf.where(tf.equal(context.replica_id_in_sync_group, 0), number, 0))

    return int(strategy.experimental_local_results(strategy.run(first))[0])


def set_to_zero(variables):
    """Sets variables to zero, with no more Python than that takes."""
    kinds = {(variable.shape, variable.dtype) for variable in variables}
    zeros = {kind: tf.zeros(*kind) for kind in kinds}
    for variable in variables:
        variable.value.assign(zeros[variable.shape, variable.dtype])


def is_dataset(data):
    return isinstance(data, tf.data.Dataset)


def is_empty_dataset(dataset):
    return int(dataset.cardinality()) == 0


def dataset_spec(dataset):
    """The structure of one element, as `TensorSpec`s."""
    return dataset.element_spec


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


def array_dataset(arrays, batch_size, batches_at_once, shuffle, seed):
    """Rows of a structure of arrays in memory, as a data set of batches: what Keras would make of them.

    Epoch follows epoch, without end. An element is a batch, or a `Block` of several, gathered in one go. The data set
    does not tune itself: where `tf.data` does, as Keras has it, training stops for seconds now and then.

    Args:
        arrays: a structure of arrays `[N, ...]`.
        batch_size: rows a batch.
        batches_at_once: how many batches, the short last one among them, an element holds, as a `Block`; None for
            elements that are batches.
        shuffle: True for a new order each epoch, "batch" for a new order of the same batches, or False.
        seed: an integer, for the orders.
    """
    tensors = keras.tree.lists_to_tuples(keras.tree.map_structure(_as_keras_takes, arrays))
    num_rows = int(keras.tree.flatten(tensors)[0].shape[0])
    full_batches = num_rows // batch_size
    whole = full_batches * batch_size  # rows in full batches
    num_batches = -(-num_rows // batch_size)
    room = min(batches_at_once or 1, full_batches)

    def shuffled(number, key):
        return tf.random.experimental.stateless_shuffle(tf.range(number), tf.stack([key, 0]))

    def order_of(key):
        if shuffle == "batch":  # a short last batch stays the last
            starts = shuffled(full_batches, key) * batch_size
            return tf.concat([tf.reshape(starts[:, None] + tf.range(batch_size), [-1]), tf.range(whole, num_rows)], 0)
        return shuffled(num_rows, key) if shuffle else tf.range(num_rows)

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
    orders = tf.data.Dataset.random(seed).map(order_of)
    # The arrays as an element: what a function captures, Python keeps until it collects its garbage.
    held = tf.data.Dataset.from_tensors(tensors).repeat()
    return tf.data.Dataset.zip((orders, held)).flat_map(epoch).prefetch(1).with_options(options)


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
    return dataset.unbatch().batch(batch_size).with_options(untuned())


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
    """Options for a data set whose steps are too few and too long for tuning to help."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def with_shape(tensor, shape):
    """`tensor`, known to have this shape: checked while tracing where it is known, and else when run."""
    return tf.ensure_shape(tensor, shape)


def is_dense_number(value):
    """Whether a value is a tensor of numbers, and neither ragged, sparse nor text."""
    return isinstance(value, tf.Tensor) and (value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool)


def any_outside(bounds):
    """Of `(tensor, low, high)`s: whether any tensor may hold a value outside, or one that is not finite.

    Reductions only, which are an order of magnitude faster than a mask: a sum carries every NaN and infinity. It is
    also infinite where huge finite values add up, so that True asks for a closer look.
    """
    outside = [tf.constant(False)]
    for value, low, high in bounds:
        number = tf.cast(value, tf.float64 if value.dtype == tf.float64 else tf.float32)
        if value.dtype.is_floating:
            outside.append(tf.logical_not(tf.math.is_finite(tf.reduce_sum(number))))
        if (low, high) != (-float("inf"), float("inf")):
            outside += [tf.reduce_min(number) < low, tf.reduce_max(number) > high]
    return tf.reduce_any(tf.stack(outside))


def shape_differs(batch, event_shape):
    """Whether the examples of a batch have another shape than `event_shape`, or False if that is None."""
    if event_shape is None or not is_dense_number(batch):
        return tf.constant(False)
    shape = tf.shape(batch)[1:]
    expected = tf.constant(event_shape, tf.int32, [len(event_shape)])
    same_rank = tf.equal(tf.size(shape), len(event_shape))
    return tf.cond(same_rank, lambda: tf.reduce_any(tf.not_equal(shape, expected)), lambda: tf.constant(True))


def inspect_dataset(dataset, examine):
    """`dataset`, each of whose elements is examined, in order and one ahead, before it is handed on.

    `examine(element)` gives, in TensorFlow, whether the element is suspect, and the tensors for the Python function
    `look(index, *arrays)`, its third result, which is called for a suspect element alone and may refuse it by raising.
    """

    def inspect(index, element):
        suspect, tensors, look = examine(element)

        def call():
            with tf.control_dependencies([tf.numpy_function(look, [index, *tensors], [])]):
                return tf.constant(True)

        with tf.control_dependencies([tf.cond(suspect, call, lambda: tf.constant(True))]):
            return tf.nest.map_structure(tf.identity, element)

    return dataset.enumerate().map(inspect).prefetch(1)  # the next is examined while one is trained on

"""Sums, and the sums that broadcasting's gradients are, in the form that XLA computes fastest."""

import math

import tensorflow as tf

from keras_vae import backend, compat

# Whether XLA computes a product with a vector in one loop with what makes the matrix: on a CPU, since TensorFlow 2.21.
# (Earlier the loop takes a number at a time; on a GPU a sum is as good, and no product is rounded to TensorFloat-32.)
SUMS_AS_PRODUCTS = backend.ON_CPU and tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 21)

# Numbers that such a product adds up: its error grows with their number, as that of a sum by halves does not.
LONGEST_SUM = 1024


def same_static_shape(one, other):
    """Whether two tensors are known, while tracing, to have the same shape."""
    return one.shape.is_fully_defined() and one.shape == other.shape


def sum_last(value, ndims, scale):
    """`scale` times the sum of `value` over its last `ndims` axes, at least one.

    On a CPU it is a product with a vector, which XLA computes in one loop with what makes `value`. For a sum XLA would
    store `value` first.
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
    axes = compat.broadcast_axes(shape, tf.shape(value))
    return tf.reshape(tf.reduce_sum(value * scale, axes), shape)


def trailing_ones(shape, broadcast):
    """Along how many of its last axes a tensor of `shape`, as known while tracing, was repeated to get `broadcast`."""
    sizes = [1] * (len(broadcast) - len(shape)) + shape.as_list()
    return next((k for k, size in enumerate(reversed(sizes)) if size != 1), len(sizes))

"""Looks at the batches of a data set while they are read: by TensorFlow, so that most cost microseconds."""

import tensorflow as tf


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
        number = tf.where(tf.math.is_nan(number), tf.cast(support.valid_value, number.dtype), number)
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


def inspect_dataset(dataset, examine, always_first=False):
    """`dataset`, each of whose elements is examined, in order and one ahead, before it is handed on.

    `examine(element)` is TensorFlow, and has three results: whether the element is suspect, tensors, and a Python
    function. That, `look(index, *arrays)`, is given the tensors of a suspect element, and may refuse it by raising.
    With `always_first` it is given the first element's, suspect or not.
    """

    @tf.autograph.experimental.do_not_convert
    def inspect(index, element):
        suspect, tensors, look = examine(element)
        if always_first:
            suspect = tf.logical_or(suspect, tf.equal(index, 0))

        def call():
            with tf.control_dependencies([tf.numpy_function(look, [index, *tensors], [])]):
                return tf.constant(True)

        with tf.control_dependencies([tf.cond(suspect, call, lambda: tf.constant(True))]):
            return tf.nest.map_structure(tf.identity, element)

    return dataset.enumerate().map(inspect).prefetch(1)  # the next is examined while one is trained on

"""The mean over a batch's examples, in which each has its weight."""

from keras import ops


def batch_mean(values, sample_weight=None):
    """The mean over the examples, `[...]`, of values `[B, ...]`; of weights that are all 0, it is 0.

        sum_b w_b v_b / sum_b w_b

    Args:
        values: `[B, ...]`.
        sample_weight: w, `[B]`; None where all count alike.
    """
    if sample_weight is None:
        return ops.mean(values, axis=0)
    weight = ops.cast(sample_weight, values.dtype)
    total = ops.sum(weight)
    # The shape's own length: that of `B` is unknown while tracing.
    weight = ops.reshape(weight, (-1, *[1] * (len(values.shape) - 1)))
    return ops.sum(weight * values, axis=0) / ops.where(ops.equal(total, 0.0), ops.ones_like(total), total)


def to_each_example(number, like):
    """A number of the whole batch as `[B]`, so that the mean over the examples is the number.

    Args:
        like: `[B]`.
    """
    return ops.zeros_like(like) + number

"""Statistics of a whole batch as terms: what each example counts for in them, and how they become one number each."""

from keras import ops


def shares_of(forward):
    """What each example counts for in the batch's moments, `[B]`: in proportion to its weight, 1 in all.

    In a batch whose examples all have the weight 0 they count alike, so that nothing is divided by 0.
    """
    weight = ops.ones_like(forward.log_likelihood[0])
    if forward.sample_weight is not None:
        given = ops.cast(forward.sample_weight, weight.dtype)
        weight = ops.where(ops.sum(given) > 0.0, given, weight)
    return weight / ops.sum(weight)


def batch_mean(values, forward):
    """The mean over the examples, `[...]`, of values `[B, ...]`, in which each counts for its share."""
    if forward.sample_weight is None:
        return ops.mean(values, axis=0)
    shares = ops.cast(shares_of(forward), values.dtype)
    # The shape's own length: that of `B` is unknown while tracing.
    return ops.sum(ops.reshape(shares, (-1, *[1] * (len(values.shape) - 1))) * values, axis=0)


def of_each_example(statistic, forward):
    """A statistic of the batch, a scalar, as a term `[B]` whose batch mean it is."""
    like = forward.log_likelihood[0]
    return ops.broadcast_to(ops.cast(statistic, like.dtype), ops.shape(like))


def in_rows(z, batch_ndims):
    """Latents, `[*batch, *latent]`, with their D units in one row: `[*batch, D]`."""
    units = 1
    for size in z.shape[batch_ndims:]:
        units *= size
    return ops.reshape(z, (*ops.shape(z)[:batch_ndims], units))

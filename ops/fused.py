"""How a loss op is made: XLA-compiled, with its own gradient, in float32 or wider, safe to broadcast.

An op is given as two elementwise functions in `keras.ops`, and `fused` makes it a sum over the event's axes:

    forward(*operands)   -> the summand of each element
    backward(*operands)  -> its derivative with respect to each operand

A finite operand never becomes an infinite value. Where a number is too large for the dtype, it is the dtype's largest
(`saturate`), so that one absurd pixel cannot turn a batch's loss into inf and its gradient into NaN; an operand that is
itself infinite or NaN is passed through as the mathematics has it.
"""

import functools

import keras
import numpy as np
from keras import ops

from keras_vae import backend

# Sums are taken at this scale, so that finite summands have a finite sum and only an infinite one gives infinity.
# A power of two, hence exact, down to summands of about 1e-31; room for 2^24 of them.
SUM_SCALE = 2.0**-24


def largest(dtype):
    """The largest finite number of a dtype."""
    return float(np.finfo(keras.backend.standardize_dtype(dtype)).max)


def saturate(value, *operands):
    """`value`, held within the finite numbers wherever all `operands` are finite."""
    finite = functools.reduce(ops.logical_and, (ops.isfinite(operand) for operand in operands))
    peak = largest(value.dtype)
    return ops.where(finite, ops.clip(value, -peak, peak), value)


def saturated_sum(value, summed):
    """`summed(value)`, a sum: largest finite number instead of infinity, unless a summand is infinite."""
    peak = largest(value.dtype)
    total = summed(value * SUM_SCALE)
    return ops.where(ops.isfinite(total), ops.clip(total, -peak * SUM_SCALE, peak * SUM_SCALE) / SUM_SCALE, total)


def compute_dtype(*operands):
    """float32, or float64 if an operand is: never half precision, whatever the dtype policy."""
    dtypes = [keras.backend.standardize_dtype(operand.dtype) for operand in operands if hasattr(operand, "dtype")]
    return "float64" if "float64" in dtypes else "float32"


def as_tensor(operand, dtype):
    """`operand` in `dtype`; Python's own numbers get there without a detour through a narrower one."""
    if hasattr(operand, "dtype"):
        return ops.cast(ops.convert_to_tensor(operand), dtype)
    return ops.convert_to_tensor(operand, dtype)


def sum_to_shape_of(value, operand):
    """`value` summed over the axes along which `operand` was broadcast to it."""
    if backend.same_static_shape(value, operand):
        return value
    return saturated_sum(value, lambda scaled: backend.sum_to_shape_of(scaled, operand))


def fused(forward, backward):
    """An op `op(*operands, event_ndims)` that sums `forward` over the last `event_ndims` axes of the broadcast
    operands.

    Args:
        forward: elementwise; takes the operands, returns the summands, of the operands' broadcast shape.
        backward: elementwise; takes the operands, returns a tuple with one derivative an operand.

    Returns:
        A function of float tensors, or what `keras.ops.convert_to_tensor` takes, differentiable to any order.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """

    @functools.lru_cache
    def program(event_ndims):
        axes = tuple(range(-event_ndims, 0))

        @backend.xla_compile
        def value(*operands):
            summands = forward(*operands)
            return saturated_sum(summands, lambda scaled: ops.sum(scaled, axis=axes)) if axes else summands

        @backend.xla_compile
        def gradient(upstream, *operands):
            for _ in axes:
                upstream = ops.expand_dims(upstream, -1)
            return tuple(
                # A derivative too large for the dtype is made finite first: times an upstream of 0, it is 0.
                sum_to_shape_of(saturate(upstream * saturate(partial, *operands), upstream, *operands), operand)
                for operand, partial in zip(operands, backward(*operands), strict=True)
            )

        @ops.custom_gradient
        def op(*operands):
            def grad(*args, upstream=None):
                return gradient(args[0] if upstream is None else upstream, *operands)

            return value(*operands), grad

        return op

    def call(*operands, event_ndims):
        dtype = compute_dtype(*operands)
        operands = [as_tensor(operand, dtype) for operand in operands]
        rank = max(len(operand.shape) for operand in operands)
        if isinstance(event_ndims, bool) or not isinstance(event_ndims, int) or not 0 <= event_ndims <= rank:
            raise ValueError(
                f"Expected `event_ndims` to be an integer from 0 to the rank of the broadcast operands, {rank}; "
                f"received: event_ndims={event_ndims!r} with shapes {[tuple(operand.shape) for operand in operands]}"
            )
        return program(event_ndims)(*operands)

    return call

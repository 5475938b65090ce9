"""How a loss op is made: XLA-compiled, with its own gradient, in float32 or wider, safe to broadcast.

An op is given as two elementwise functions in `keras.ops`, and `fused` makes it a sum over the event's axes:

    forward(*operands)   -> the summand of each element
    backward(*operands)  -> its derivative with respect to each operand, finite if the operands are

A finite operand never becomes an infinite value. A number that is too large for the dtype becomes the dtype's largest
(`saturate`). So one absurd pixel cannot turn a batch's loss into inf and its gradient into NaN. An operand that is
itself infinite or NaN is passed through as the mathematics has it, or as NaN. (A derivative is made finite first of
all: times an upstream gradient of 0 it is 0.)

On a CPU the speed is that of memory: XLA makes one loop of the forward and its sum, and one of each derivative. What is
costly (an exponential) and used by two loops it stores, which takes longer than computing it twice. So the functions
write each an exponential of its own.
"""

import functools
import numbers

import keras
import numpy as np
from keras import ops

from keras_vae import backend, sums

# Sums are taken at this scale, so that finite summands have a finite sum and only an infinite one gives infinity.
# A power of two, hence exact, down to summands of about 1e-31; room for 2^24 of them.
SUM_SCALE = 2.0**-24


def largest(dtype):
    """The largest finite number of a dtype."""
    return float(np.finfo(keras.backend.standardize_dtype(dtype)).max)


def clip(value):
    """`value` held within the finite numbers; NaN stays NaN."""
    peak = largest(value.dtype)
    return ops.clip(value, -peak, peak)


def saturate(value, *operands):
    """`value`, held within the finite numbers wherever all `operands` are finite."""
    finite = functools.reduce(ops.logical_and, (ops.isfinite(operand) for operand in operands))
    return ops.where(finite, clip(value), value)


def zero_if_finite(*operands):
    """0 where all operands are finite, and else NaN: cheaper to add than a choice is to make."""
    return functools.reduce(ops.add, (0.0 * operand for operand in operands))


def saturated_sum(value, summed):
    """`summed(value, SUM_SCALE)`, a scaled sum, back at scale 1: the largest finite number instead of infinity, unless
    a summand is infinite.
    """
    peak = largest(value.dtype)
    total = summed(value, SUM_SCALE)
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


def is_constant(operand):
    """Whether no gradient can be asked for."""
    if isinstance(operand, (numbers.Number, np.ndarray, np.generic)):
        return True
    return hasattr(operand, "dtype") and not keras.backend.is_float_dtype(operand.dtype)


def sum_to_shape_of(value, operand):
    """`value` summed over the axes along which `operand` was broadcast to it."""
    if sums.same_static_shape(value, operand):
        return value
    return saturated_sum(value, lambda value, scale: sums.sum_to_shape_of(value, operand, scale))


def fused(forward, backward):
    """An op `op(*operands, event_ndims)` that sums `forward` over the last `event_ndims` axes of the broadcast
    operands.

    Args:
        forward: elementwise; takes the operands, returns the summands, of the operands' broadcast shape.
        backward: elementwise; takes the operands, returns a tuple with one derivative an operand, finite if they are.

    Returns:
        A function of float tensors, or what `keras.ops.convert_to_tensor` takes, differentiable to any order.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """

    @functools.lru_cache
    def programs(event_ndims, constant, shapes):
        """The two XLA programs: the value, and the gradient of each operand that is not `constant`.

        They are for operands of these ranks and, as far as they are the event's, `shapes`. A program that has met
        several would know nothing of its result's shape, and could not choose how to sum.
        """

        @backend.xla_compile
        def value(*operands):
            summands = forward(*operands)
            if not event_ndims:
                return summands
            return saturated_sum(summands, lambda value, scale: sums.sum_last(value, event_ndims, scale))

        @backend.xla_compile
        def gradient(upstream, *operands):
            for _ in range(event_ndims):
                upstream = ops.expand_dims(upstream, -1)
            zero = zero_if_finite(upstream, *operands)
            return tuple(
                sum_to_shape_of(clip(upstream * partial) + zero, operand)
                for operand, partial, unneeded in zip(operands, backward(*operands), constant, strict=True)
                if not unneeded
            )

        return value, gradient

    def call(*operands, event_ndims):
        dtype = compute_dtype(*operands)
        constant = tuple(is_constant(operand) for operand in operands)
        operands = [as_tensor(operand, dtype) for operand in operands]
        rank = max(len(operand.shape) for operand in operands)
        if isinstance(event_ndims, bool) or not isinstance(event_ndims, int) or not 0 <= event_ndims <= rank:
            raise ValueError(
                f"Expected `event_ndims` to be an integer from 0 to the rank of the broadcast operands, {rank}; "
                f"received: event_ndims={event_ndims!r} with shapes {[tuple(operand.shape) for operand in operands]}"
            )
        shapes = tuple(
            (len(operand.shape), tuple(operand.shape)[max(0, len(operand.shape) - event_ndims) :])
            for operand in operands
        )
        value, gradient = programs(event_ndims, constant, shapes)

        @backend.custom_gradient
        def op(*varying):
            varying = iter(varying)
            operands_ = [operand if fixed else next(varying) for operand, fixed in zip(operands, constant, strict=True)]

            def grad(*args, upstream=None):
                return gradient(args[0] if upstream is None else upstream, *operands_)

            return value(*operands_), grad

        return op(*(operand for operand, fixed in zip(operands, constant, strict=True) if not fixed))

    return call

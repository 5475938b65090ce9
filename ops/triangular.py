"""Triangular systems, solved by substitution whose numbers stay in bounds."""

import functools
import math

import numpy as np
from keras import ops

from keras_vae import backend
from keras_vae.ops.fused import as_tensor, compute_dtype, largest, sum_to_shape_of, zero_if_finite


def solve_lower(lower, rhs, transpose=False):
    """The y of L y = b, or of L' y = b, for a lower triangular L with a positive diagonal.

        y_i = (b_i - sum_{j < i} L_ij y_j) / L_ii

    For b = x - mu and a covariance L L', y is x made white. Then log N(x; mu, L L') = log N(y; 0, I) - log det L.
    Each of the substitution's steps, one an element of b, may make numbers larger by a factor. So each number is held
    within `bound(dtype)`, at which its square has room to be added up.

    Args:
        lower: L, `[..., D, D]`; what stands above the diagonal is not looked at.
        rhs: b, `[..., D]`, D known while tracing; the batch shapes broadcast.
        transpose: True for the y of L' y = b.

    Returns:
        `[..., D]`, float32 (float64 if an operand is), differentiable to any order. Value and gradient are finite for
        all finite operands; NaN where one is infinite or NaN.
    """
    dtype = compute_dtype(lower, rhs)
    return _solve(as_tensor(lower, dtype), as_tensor(rhs, dtype), transpose)


def lower_part(matrix, k=0):
    """`matrix`, its last axis known while tracing, with 0 above its k-th diagonal: `keras.ops.tril` since Keras 3.9."""
    size = matrix.shape[-1]
    return ops.where(np.tril(np.ones((size, size), "bool"), k), matrix, ops.zeros_like(matrix))


def bound(dtype):
    """The largest number of a solution: 2^60 in float32, the square root of the largest over 16."""
    return 2.0 ** math.floor(0.5 * math.log2(largest(dtype)) - 3.5)


def bounded(value):
    """`value` held within `bound`; NaN stays NaN."""
    return ops.clip(value, -bound(value.dtype), bound(value.dtype))


def solve_reference(lower, rhs, transpose=False):
    """As the backend has it: what the tests hold the op against."""
    matrix = ops.swapaxes(lower_part(lower), -1, -2) if transpose else lower
    return ops.solve_triangular(matrix, rhs[..., None], lower=not transpose)[..., 0]


def _solve(lower, rhs, transpose):
    @backend.custom_gradient
    def op(lower, rhs):
        def grad(*args, upstream=None):
            # For L y = b and an upstream gradient u:  dL/db = g,  dL/dL = -tril(g y'),  with L' g = u; and for
            # L' y = b:  dL/dL = -tril(y g'),  with L g = u. Made of this op, and so differentiable again.
            g = _solve(lower, args[0] if upstream is None else upstream, not transpose)
            y = _solve(lower, rhs, transpose)
            row, column = (y, g) if transpose else (g, y)
            slope = bounded(-lower_part(row[..., :, None] * column[..., None, :]))
            return sum_to_shape_of(slope, lower), sum_to_shape_of(g, rhs)

        # Nothing is to be kept of the loop for a gradient that is not asked of it.
        program = _program(transpose, rhs.shape[-1], len(lower.shape), len(rhs.shape))
        return program(ops.stop_gradient(lower), ops.stop_gradient(rhs)), grad

    return op(lower, rhs)


@functools.lru_cache
def _program(transpose, size, *ranks):
    # One for each size and ranks: a program that has met several would know neither.
    @backend.xla_compile
    def program(lower, rhs):
        diagonal = ops.diagonal(lower, axis1=-2, axis2=-1)
        strict = lower_part(lower, -1)
        finite = zero_if_finite(rhs, diagonal, ops.sum(0.0 * strict, axis=-1))
        rows = ops.swapaxes(strict, -1, -2) if transpose else strict
        # What of y_j each element is less: 0 for j itself and those that are done.
        columns = ops.moveaxis(bounded(rows / diagonal[..., None]), -1, 0)
        y = bounded(rhs / diagonal) + finite  # broadcast here, for the loop to keep its shape

        def step(k, y):
            j = size - 1 - k if transpose else k
            return bounded(y - ops.take(columns, j, axis=0) * ops.take(y, ops.reshape(j, (1,)), axis=-1))

        return ops.fori_loop(0, size, step, y)

    return program

"""The smooth maximum of two numbers."""

from keras import ops

from keras_vae.ops.elementary import log1p_exp_minus
from keras_vae.ops.fused import fused


def log_add_exp(a, b):
    """log(exp(a) + exp(b)), elementwise: log sigma^2 of the sum of two variances given by their logs.

        log(exp(a) + exp(b)) = max(a, b) + log(1 + exp(-|a - b|))

    The larger of the two plus a small rest: no cancellation. The operands broadcast as in arithmetic.

    Args:
        a, b: floats.

    Returns:
        float32 (float64 if an operand is) of the operands' broadcast shape. Value and gradient are finite for all
        finite operands. Infinite or NaN operands give what the formula gives, or NaN.
    """
    return _log_add_exp(a, b, event_ndims=0)


def _forward(a, b):
    return ops.maximum(a, b) + log1p_exp_minus(ops.abs(a - b))  # cannot overflow: the rest is at most log 2


def _backward(a, b):
    # d/da = exp(a) / (exp(a) + exp(b)) = sigmoid(a - b),  d/db = sigmoid(b - a)
    # The forward's exponential: a scale's log-variance enters several loops, and so it is stored in any case.
    e = ops.exp(-ops.abs(a - b))
    larger = 1.0 / (1.0 + e)
    smaller, a_is_larger = e * larger, a >= b
    return ops.where(a_is_larger, larger, smaller), ops.where(a_is_larger, smaller, larger)


_log_add_exp = fused(_forward, _backward)

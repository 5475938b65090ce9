"""The smooth maximum of two numbers."""

from keras import ops
from keras_vae.ops.elementary import log1p_exp_minus, sigmoids
from keras_vae.ops.fused import fused, saturate


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
    return saturate(ops.maximum(a, b) + log1p_exp_minus(ops.abs(a - b)), a, b)


def _backward(a, b):
    # d/da = exp(a) / (exp(a) + exp(b)) = sigmoid(a - b),  d/db = sigmoid(b - a)
    return sigmoids(a - b)


_log_add_exp = fused(_forward, _backward)

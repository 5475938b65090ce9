"""The logistic distribution's negative log-likelihood, in nats."""

from keras import ops

from keras_vae.ops.elementary import log1p_exp_minus
from keras_vae.ops.fused import clip, fused, saturate


def logistic_nll(x, loc, log_scale, event_ndims=1):
    """Negative log-density of a logistic distribution with independent coordinates.

        nll = sum_i [ log s_i + t_i + 2 log(1 + exp(-t_i)) ],    t_i = (x_i - mu_i) / s_i

    The operands broadcast as in arithmetic.

    Args:
        x: the data, `[..., *event]`; floats or integers.
        loc: mu, broadcastable with `x`.
        log_scale: log s, broadcastable with `x`.
        event_ndims: how many trailing axes make up one event; these are summed.

    Returns:
        float32 (float64 if an operand is) of the operands' broadcast shape without its last `event_ndims` axes: nats
        per example. Value and gradient are finite for all finite operands with |log_scale| <= 40; what is too large for
        the dtype is the dtype's largest number. Infinite or NaN operands give what the formula gives, or NaN.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """
    return _logistic_nll(x, loc, log_scale, event_ndims=event_ndims)


def nll_reference(x, loc, log_scale):
    """The summand as one would write it down: what the tests hold the op against."""
    t = (x - loc) / ops.exp(log_scale)
    return log_scale + t + 2.0 * ops.log(1.0 + ops.exp(-t))


def _nll_forward(x, loc, log_scale):
    # The density is even in t: with |t| the exponential never overflows.
    distance = ops.abs(_half_difference(x, loc)) * (2.0 * ops.exp(-log_scale))
    return saturate(log_scale + distance + 2.0 * log1p_exp_minus(distance), x, loc, log_scale)


def _nll_backward(x, loc, log_scale):
    # d/dx = tanh(t / 2) / s = -d/dmu,  d/dlog s = 1 - t tanh(t / 2)
    inverse = ops.exp(-log_scale)
    t = clip(_half_difference(x, loc) * (2.0 * inverse))
    slope = ops.tanh(0.5 * t)
    to_x = slope * inverse
    return to_x, -to_x, 1.0 - t * slope


def _half_difference(x, loc):
    """(x - mu) / 2, which is finite if both are."""
    return 0.5 * x - 0.5 * loc


_logistic_nll = fused(_nll_forward, _nll_backward)

"""The Poisson distribution's negative log-probability, in nats."""

import math

from keras import ops

from keras_vae import backend
from keras_vae.ops.elementary import exp_minus_1_minus
from keras_vae.ops.fused import clip, fused, saturate
from keras_vae.ops.gamma_function import digamma_rest, stirling_rest

LOG_2PI = math.log(2.0 * math.pi)


def poisson_nll(x, log_rate, event_ndims=1):
    """Negative log-probability of independent Poisson counts.

        nll = sum_i [ r_i - x_i log r_i + log x_i! ],    r = exp(log_rate)

    In float32 exact also for counts of millions, where these terms are a million times their sum. The operands
    broadcast as in arithmetic.

    Args:
        x: the counts, `[..., *event]`; floats or integers from 0 on.
        log_rate: log r, broadcastable with `x`.
        event_ndims: how many trailing axes make up one event; these are summed.

    Returns:
        float32 (float64 if an operand is) of the operands' broadcast shape without its last `event_ndims` axes: nats
        per example. Value and gradient are finite for all finite operands, x >= 0; what is too large for the dtype is
        the dtype's largest number. Infinite or NaN operands give what the formula gives, or NaN.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """
    return _poisson_nll(x, log_rate, event_ndims=event_ndims)


def nll_reference(x, log_rate):
    """The summand as one would write it down: what the tests hold the op against."""
    return ops.exp(log_rate) - x * log_rate + backend.lgamma(x + 1.0)


def forward(given, log_rate):
    """The summand."""
    x = ops.maximum(given, 0.0)
    # With d = log(r / x) and Stirling's formula: x (exp(d) - 1 - d) + log(2 pi x) / 2 + delta(x). (C. Loader, "Fast and
    # accurate computation of binomial probabilities", 2000.) For few events as it is written down.
    several = ops.maximum(x, 1.0)
    saddle = several * exp_minus_1_minus(log_rate - ops.log(several))
    few = nll_reference(ops.minimum(x, 1.0), log_rate)
    nll = ops.where(x < 1.0, few, saddle + _stirling(several))
    return saturate(impossible_if_negative(given, nll), given, log_rate)


def forward_less_excess(x, log_rate):
    """The summand less r - x: what is left where that cancels against another term."""
    several, few = ops.maximum(x, 1.0), ops.minimum(x, 1.0)
    less = several * (ops.log(several) - log_rate) + _stirling(several)
    return ops.where(x < 1.0, few - few * log_rate + backend.lgamma(few + 1.0), less)


def impossible_if_negative(x, nll):
    """The nll where x is a count, and infinity where it is negative."""
    return ops.where(x < 0.0, math.inf, nll)


def _stirling(several):
    return 0.5 * (LOG_2PI + ops.log(several)) + stirling_rest(several)


def _backward(x, log_rate):
    # d/dx = digamma(x + 1) - log r,  d/dlog r = r - x
    x = ops.maximum(x, 0.0)
    next_one = x + 1.0
    to_x = ops.log(next_one) - 0.5 / next_one + digamma_rest(next_one) - log_rate
    return clip(to_x), clip(ops.exp(log_rate) - x)


_poisson_nll = fused(forward, _backward)

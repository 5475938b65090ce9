"""The Gaussian's two terms: negative log-likelihood and Kullback-Leibler divergence, in nats."""

import math

from keras import ops

from keras_vae.ops.elementary import exp_minus_1_minus, expm1
from keras_vae.ops.fused import clip, fused, saturate

LOG_2PI = math.log(2.0 * math.pi)


def gaussian_nll(x, mean, log_variance, event_ndims=1):
    """Negative log-density of a Gaussian with independent coordinates.

        nll = 1/2 sum_i [ log(2 pi) + log sigma_i^2 + (x_i - mu_i)^2 / sigma_i^2 ]

    This is `-log N(x; mu, diag(sigma^2))` to the last constant: appendix C.2 of Kingma & Welling, "Auto-Encoding
    Variational Bayes" (arXiv 1312.6114). With sigma fixed and shared it is the sum of squared errors over 2 sigma^2,
    plus a constant. The operands broadcast as in arithmetic.

    Args:
        x: the data, `[..., *event]`; floats or integers.
        mean: mu, broadcastable with `x`.
        log_variance: log sigma^2, broadcastable with `x`.
        event_ndims: how many trailing axes make up one event; these are summed.

    Returns:
        float32 (float64 if an operand is) of the operands' broadcast shape without its last `event_ndims` axes: nats
        per example. Value and gradient are finite for all finite operands with |log_variance| <= 80; what is too large
        for the dtype is the dtype's largest number. Infinite or NaN operands give what the formula gives, or NaN.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """
    return _gaussian_nll(x, mean, log_variance, event_ndims=event_ndims)


def gaussian_kl(mean, log_variance, prior_mean=0.0, prior_log_variance=0.0, event_ndims=1):
    """KL divergence from one Gaussian with independent coordinates (q) to another (p).

        KL(q || p) = 1/2 sum_i [ s_i - 1 - log s_i + (mu_i - m_i)^2 / tau_i^2 ],    s_i = sigma_i^2 / tau_i^2

    with q = N(mu, diag(sigma^2)) and p = N(m, diag(tau^2)). With p standard normal, the default, this is appendix B of
    Kingma & Welling (arXiv 1312.6114). Exact also where q is close to p and the terms cancel. The operands broadcast as
    in arithmetic.

    Args:
        mean: mu, `[..., *event]`.
        log_variance: log sigma^2, broadcastable with `mean`.
        prior_mean: m, broadcastable with `mean`.
        prior_log_variance: log tau^2, broadcastable with `mean`.
        event_ndims: how many trailing axes make up one event; these are summed.

    Returns:
        float32 (float64 if an operand is) of the operands' broadcast shape without its last `event_ndims` axes: nats
        per example. Value and gradient are finite for all finite operands with |log_variance| and |prior_log_variance|
        <= 80; what is too large for the dtype is the dtype's largest number. Infinite or NaN operands give what the
        formula gives, or NaN.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """
    return _gaussian_kl(mean, log_variance, prior_mean, prior_log_variance, event_ndims=event_ndims)


def nll_reference(x, mean, log_variance):
    """The summand as one would write it down: what the tests hold the op against."""
    return 0.5 * (LOG_2PI + log_variance + ops.square(x - mean) / ops.exp(log_variance))


def kl_reference(mean, log_variance, prior_mean, prior_log_variance):
    """The summand as one would write it down: what the tests hold the op against."""
    ratio = ops.exp(log_variance) / ops.exp(prior_log_variance)
    return 0.5 * (ratio - 1.0 - ops.log(ratio) + ops.square(mean - prior_mean) / ops.exp(prior_log_variance))


def _half_square(x, mean, precision):
    """(x - mu)^2 / (2 sigma^2), given 1 / sigma. Scaled before it is squared, so that it overflows last."""
    u = (0.5 * x - 0.5 * mean) * (2.0 * precision)  # the difference itself may be too large for the dtype
    return (0.5 * u) * u


def _slope(x, mean, log_variance):
    """(x - mu) / sigma^2, or the largest number."""
    residual, precision = x - mean, ops.exp(-log_variance)
    halved = (0.5 * x - 0.5 * mean) * (2.0 * precision)  # for what is too large; what is tiny would be flushed to zero
    return clip(ops.where(ops.isfinite(residual), residual * precision, halved))


def _cost_of_fit(x, mean, log_variance):
    """`_half_square`, or the largest number, for a derivative: by an exponential that no other function takes."""
    return clip(_half_square(x, mean, ops.square(ops.exp(-0.25 * log_variance))))


def _nll_forward(x, mean, log_variance):
    fit = _half_square(x, mean, ops.exp(-0.5 * log_variance))
    return saturate(fit + 0.5 * (log_variance + LOG_2PI), x, mean, log_variance)


def _nll_backward(x, mean, log_variance):
    # d/dx = (x - mu) / sigma^2,  d/dmu = -d/dx,  d/dlog sigma^2 = 1/2 - (x - mu)^2 / (2 sigma^2)
    slope = _slope(x, mean, log_variance)
    return slope, -slope, 0.5 - _cost_of_fit(x, mean, log_variance)


def _kl_forward(mean, log_variance, prior_mean, prior_log_variance):
    ratio_term = exp_minus_1_minus(log_variance - prior_log_variance)
    fit = _half_square(mean, prior_mean, ops.exp(-0.5 * prior_log_variance))
    return saturate(0.5 * ratio_term + fit, mean, log_variance, prior_mean, prior_log_variance)


def _kl_backward(mean, log_variance, prior_mean, prior_log_variance):
    # with s = sigma^2 / tau^2 and u = (mu - m) / tau:
    # d/dmu = u / tau,  d/dlog sigma^2 = (s - 1) / 2,  d/dm = -u / tau,  d/dlog tau^2 = -(s - 1) / 2 - u^2 / 2
    slope = _slope(mean, prior_mean, prior_log_variance)
    excess = clip(0.5 * expm1(log_variance - prior_log_variance))
    fit = _cost_of_fit(mean, prior_mean, prior_log_variance)
    return slope, excess, -slope, clip(-excess - fit)


_gaussian_nll = fused(_nll_forward, _nll_backward)
_gaussian_kl = fused(_kl_forward, _kl_backward)

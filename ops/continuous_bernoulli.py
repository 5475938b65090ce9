"""The continuous Bernoulli's negative log-likelihood, in nats."""

import math

from keras import ops

from keras_vae.ops.fused import fused, saturate

# Bernoulli numbers B_2, B_4, ...: log(sinh(l / 2) / (l / 2)) = sum_k B_2k l^2k / (2k (2k)!), for |l| < 2 pi.
BERNOULLI_NUMBERS = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798)
POWERS = range(2, 20, 2)
SERIES = tuple(b / (k * math.factorial(k)) for k, b in zip(POWERS, BERNOULLI_NUMBERS, strict=True))


def continuous_bernoulli_nll(x, logits, event_ndims=1):
    """Negative log-density of independent continuous Bernoulli variables: grey levels between 0 and 1.

        nll = sum_i [ A(l_i) - x_i l_i ],    A(l) = log( (exp(l) - 1) / l ),  A(0) = 0

    The exponential family on [0, 1] with x as its statistic: A is the log of the integral of exp(l x). With
    lambda = sigmoid(l) it is the density C(lambda) lambda^x (1 - lambda)^(1 - x) of Loaiza-Ganem & Cunningham, "The
    continuous Bernoulli" (arXiv 1907.06845), and the cross-entropy less log C. The operands broadcast as in arithmetic.

    Args:
        x: the data, in [0, 1], `[..., *event]`; floats.
        logits: l, broadcastable with `x`.
        event_ndims: how many trailing axes make up one event; these are summed.

    Returns:
        float32 (float64 if an operand is) of the operands' broadcast shape without its last `event_ndims` axes: nats
        per example. Value and gradient are finite for all finite operands; what is too large for the dtype is the
        dtype's largest number. Infinite or NaN operands give what the formula gives, or NaN.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """
    return _continuous_bernoulli_nll(x, logits, event_ndims=event_ndims)


def nll_reference(x, logits):
    """The summand as one would write it down: what the tests hold the op against."""
    return ops.log((ops.exp(logits) - 1.0) / logits) - x * logits


def _nll_forward(x, logits):
    # A(l) = max(l, 0) + log((1 - exp(-|l|)) / |l|); near 0 the series l/2 + l^2/24 - ...
    near, far = _near_and_far(logits)
    nll = ops.where(
        ops.abs(logits) < 1.0,
        (0.5 - x) * near + ops.square(near) * _polynomial(SERIES, near),
        # First the difference that is exactly 0 where x is sure and right; the small rest is kept.
        ops.maximum(logits, 0.0) - x * logits + (ops.log(1.0 - ops.exp(-far)) - ops.log(far)),
    )
    return saturate(nll, x, logits)


def _nll_backward(x, logits):
    # d/dx = -l,  d/dl = A'(l) - x, with A' the mean
    return -logits, mean_of(logits) - x


def mean_of(logits):
    """The mean of a continuous Bernoulli variable: A'(l) = 1 / (1 - exp(-l)) - 1 / l, and 1/2 at 0."""
    near, far = _near_and_far(logits)
    e = ops.exp(-far)
    small = 1.0 / far - e / (1.0 - e)  # the mean for -|l|, which is near 0 where l is sure
    return ops.where(
        ops.abs(logits) < 1.0,
        0.5 + near * _polynomial([c * k for c, k in zip(SERIES, POWERS, strict=True)], near),
        ops.where(logits < 0.0, small, 1.0 - small),
    )


def variance_of(logits):
    """The variance: A''(l) = 1 / l^2 - 1 / (4 sinh^2(l / 2)), and 1/12 at 0."""
    near, far = _near_and_far(logits)
    e = ops.exp(-far)
    return ops.where(
        ops.abs(logits) < 1.0,
        _polynomial([c * k * (k - 1) for c, k in zip(SERIES, POWERS, strict=True)], near),
        1.0 / ops.square(far) - e / ops.square(1.0 - e),
    )


def _near_and_far(logits):
    """Logits where they are below 1 in size, and their size where it is not; elsewhere a number that does no harm."""
    distance = ops.abs(logits)
    return ops.where(distance < 1.0, logits, 0.0), ops.maximum(distance, 1.0)


def _polynomial(coefficients, near):
    """sum_k c_k l^(2k), lowest power first."""
    square, value = ops.square(near), coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = value * square + coefficient
    return value


_continuous_bernoulli_nll = fused(_nll_forward, _nll_backward)

"""The gamma function's logarithm beside Stirling's formula: what is left of it, exact where the whole would cancel.

    log G(z) = (z - 1/2) log z - z + log(2 pi) / 2 + delta(z),    delta(z) = 1/(12 z) - 1/(360 z^3) + ...
    digamma(z) = log z - 1/(2 z) + delta'(z)

Counts of a million have log-factorials of ten million, whose differences are what a likelihood is made of.
"""

import math

from keras import ops

from keras_vae import backend

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# B_2k / (2k (2k - 1)), of delta's terms 1 / z^(2k - 1): from z = 8 on, these reach float64's last digits.
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
FAR = 8.0


def stirling_rest(z):
    """delta(z), z > 0."""
    near, far = ops.minimum(z, FAR), ops.maximum(z, FAR)
    direct = backend.lgamma(near) - (near - 0.5) * ops.log(near) + near - HALF_LOG_2PI
    return ops.where(z < FAR, direct, stirling_rest_far(far))


def stirling_rest_far(z):
    """delta(z) for z >= 8, by its series alone: a gamma function is what takes XLA longest to compile."""
    return _series(STIRLING, z) / z


def digamma_rest(z):
    """delta'(z), z > 0: digamma(z) - log z + 1 / (2 z)."""
    near, far = ops.minimum(z, FAR), ops.maximum(z, FAR)
    direct = backend.digamma(near) - ops.log(near) + 0.5 / near
    return ops.where(z < FAR, direct, digamma_rest_far(far))


def digamma_rest_far(z):
    """delta'(z) for z >= 8, by its series alone."""
    slopes = [-(2 * k + 1) * coefficient for k, coefficient in enumerate(STIRLING)]
    return _series(slopes, z) / ops.square(z)


def minus_log1p(t):
    """t - log(1 + t) for t > -1, without cancellation: t^2/2 - t^3/3 + ... near 0."""
    near = ops.clip(t, -0.2, 0.2)
    series = 0.0
    for k in range(10 if t.dtype == "float32" else 22, 1, -1):
        series = (-1.0) ** k / k + near * series  # 1/2 - t/3 + ...
    return ops.where(ops.abs(t) < 0.2, ops.square(near) * series, t - ops.log1p(t))


def _series(coefficients, far):
    """sum_k c_k / z^(2k)."""
    inverse_square, value = 1.0 / ops.square(far), 0.0
    for coefficient in reversed(coefficients):
        value = coefficient + inverse_square * value
    return value

"""The negative log-probability of a logistic variable rounded to levels, in nats."""

import functools

from keras import ops

from keras_vae.ops.elementary import expm1, log1p_exp_minus
from keras_vae.ops.fused import clip, fused, saturate


def discretized_logistic_nll(x, loc, log_scale, levels=256, event_ndims=1):
    """Negative log-probability of the levels that independent logistic variables are rounded to.

        nll = -sum_i log [ F(b_i) - F(a_i) ],    F(v) = sigmoid((v - mu_i) / s_i)

    The levels 0, 1, ..., levels - 1 are laid from 0 to 1. Level x has the ends a and b = (x -+ 1/2) / (levels - 1). The
    lowest begins at -infinity and the highest ends at infinity, so that the probabilities sum to 1. (Salimans et al.,
    "PixelCNN++", arXiv 1701.05517, section 2.1.) The operands broadcast as in arithmetic.

    Args:
        x: the data, whole numbers from 0 to `levels - 1`, `[..., *event]`; floats or integers.
        loc: mu, where the levels run from 0 to 1; broadcastable with `x`.
        log_scale: log s, broadcastable with `x`.
        levels: how many there are, an integer of at least 2.
        event_ndims: how many trailing axes make up one event; these are summed.

    Returns:
        float32 (float64 if an operand is) of the operands' broadcast shape without its last `event_ndims` axes: nats
        per example. Value and gradient are finite for all finite operands with |log_scale| <= 40, and exact in the
        tails; what is too large for the dtype is the dtype's largest number. Infinite or NaN operands give what the
        formula gives, or NaN.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """
    return _op(levels)(x, loc, log_scale, event_ndims=event_ndims)


def nll_reference(x, loc, log_scale, levels=256):
    """The summand as one would write it down: what the tests hold the op against."""
    below, above = ((x + side) / (levels - 1) for side in (-0.5, 0.5))
    scale = ops.exp(log_scale)
    cdf_below = ops.where(x <= 0, 0.0, ops.sigmoid((below - loc) / scale))
    cdf_above = ops.where(x >= levels - 1, 1.0, ops.sigmoid((above - loc) / scale))
    return -ops.log(cdf_above - cdf_below)


def _forward(x, loc, log_scale, levels):
    # F(b) - F(a) = sigmoid(t_b) sigmoid(-t_a) (1 - exp(-w)),    w = t_b - t_a:  a product, in which nothing cancels
    above, below, width = _standardized(x, loc, log_scale, levels)
    lost_above = ops.where(x >= levels - 1, 0.0, _softplus(-above))
    lost_below = ops.where(x <= 0, 0.0, _softplus(below))
    is_inside = ops.logical_and(x > 0, x < levels - 1)
    narrow = ops.where(is_inside, -ops.log(-expm1(-width)), 0.0)
    return saturate(lost_above + lost_below + narrow, x, loc, log_scale)


def _backward(x, loc, log_scale, levels):
    # d/dmu = [sigmoid(-t_b) - sigmoid(t_a)] / s = -(levels - 1) d/dx,  d/dlog s: see `slope_of_log_scale`
    above, below, _ = map(clip, _standardized(x, loc, log_scale, levels))
    towards = ops.where(x >= levels - 1, 0.0, ops.sigmoid(-above)) - ops.where(x <= 0, 0.0, ops.sigmoid(below))
    to_loc = towards * ops.exp(-log_scale)
    return -to_loc / (levels - 1), to_loc, slope_of_log_scale(x, loc, log_scale, levels)


def slope_of_log_scale(x, loc, log_scale, levels):
    """The summand's derivative with respect to log s: t_b sigmoid(-t_b) - t_a sigmoid(t_a) + w / (exp(w) - 1)."""
    above, below, width = map(clip, _standardized(x, loc, log_scale, levels))
    is_inside = ops.logical_and(x > 0, x < levels - 1)
    # w / (exp(w) - 1), in exponentials that do not overflow.
    narrow = ops.where(is_inside, width * ops.exp(-width) / -expm1(-width), 0.0)
    return (
        ops.where(x >= levels - 1, 0.0, above * ops.sigmoid(-above))
        - ops.where(x <= 0, 0.0, below * ops.sigmoid(below))
        + narrow
    )


def _standardized(x, loc, log_scale, levels):
    """t_b, t_a and w = t_b - t_a: the level's upper and lower end, and width, in scales from mu."""
    inverse = ops.exp(-log_scale)
    middle, half = x / (levels - 1) - loc, 0.5 / (levels - 1)
    return (middle + half) * inverse, (middle - half) * inverse, 2.0 * half * inverse


def _softplus(t):
    return ops.maximum(t, 0.0) + log1p_exp_minus(ops.abs(t))


@functools.lru_cache
def _op(levels):
    return fused(functools.partial(_forward, levels=levels), functools.partial(_backward, levels=levels))

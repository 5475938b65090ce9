"""The Bernoulli's negative log-likelihood, in nats."""

from keras import ops

from keras_vae.ops.elementary import log1p_exp_minus, sigmoids
from keras_vae.ops.fused import fused, saturate


def bernoulli_nll(x, logits, event_ndims=1):
    """Negative log-probability of independent Bernoulli variables: the binary cross-entropy, summed.

        nll = -sum_i [ x_i log p_i + (1 - x_i) log(1 - p_i) ] = sum_i [ log(1 + exp(l_i)) - x_i l_i ],    p = sigmoid(l)

    This is appendix C.1 of Kingma & Welling (arXiv 1312.6114). For x between 0 and 1 it is the expected negative
    log-probability of a binary image drawn with the grey levels as probabilities. The operands broadcast as in
    arithmetic.

    Args:
        x: the data, 0 or 1 (or between), `[..., *event]`; floats, integers or booleans.
        logits: l, broadcastable with `x`.
        event_ndims: how many trailing axes make up one event; these are summed.

    Returns:
        float32 (float64 if an operand is) of the operands' broadcast shape without its last `event_ndims` axes: nats
        per example. Value and gradient are finite for all finite operands; what is too large for the dtype is the
        dtype's largest number. Infinite or NaN operands give what the formula gives, or NaN.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """
    return _bernoulli_nll(x, logits, event_ndims=event_ndims)


def nll_reference(x, logits):
    """The summand as one would write it down: what the tests hold the op against."""
    probability = ops.sigmoid(logits)
    return -(x * ops.log(probability) + (1.0 - x) * ops.log(1.0 - probability))


def _nll_forward(x, logits):
    # log(1 + exp(l)) = max(l, 0) + log(1 + exp(-|l|)): the exponential never overflows.
    # max(l, 0) - x l comes first: it is exactly 0 where x is sure and right, and the small rest is kept.
    nll = ops.maximum(logits, 0.0) - x * logits + log1p_exp_minus(ops.abs(logits))
    return saturate(nll, x, logits)


def _nll_backward(x, logits):
    # d/dx = -l,  d/dl = sigmoid(l) - x = (1 - x) sigmoid(l) - x sigmoid(-l), which does not cancel
    one, zero = sigmoids(logits)
    return -logits, (1.0 - x) * one - x * zero


_bernoulli_nll = fused(_nll_forward, _nll_backward)

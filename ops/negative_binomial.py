"""The negative binomial distribution's negative log-probability, in nats."""

from keras import ops

from keras_vae import backend
from keras_vae.ops import poisson
from keras_vae.ops.fused import clip, fused, saturate, zero_if_finite
from keras_vae.ops.gamma_function import FAR, digamma_rest_far, minus_log1p, stirling_rest_far
from keras_vae.ops.poisson import impossible_if_negative


def negative_binomial_nll(x, log_mean, log_scale, event_ndims=1):
    """Negative log-probability of independent negative binomial counts: Poisson counts of Gamma distributed rates.

        nll = -sum_i [ log G(x_i + n_i) - log G(n_i) - log x_i! + n_i log(n_i / (n_i + mu_i))
                       + x_i log(mu_i / (n_i + mu_i)) ],    n = 1 / sigma^2, G the gamma function

    The rate has mean mu and standard deviation sigma mu. In float32 exact, with its gradient, also where sigma is small
    and this is nearly the Poisson distribution. The operands broadcast as in arithmetic.

    Args:
        x: the counts, `[..., *event]`; floats or integers from 0 on.
        log_mean: log mu, broadcastable with `x`.
        log_scale: log sigma, broadcastable with `x`.
        event_ndims: how many trailing axes make up one event; these are summed.

    Returns:
        float32 (float64 if an operand is) of the operands' broadcast shape without its last `event_ndims` axes: nats
        per example. Value and gradient are finite for all finite operands, x >= 0, with |log_scale| <= 40 and
        log_mean <= 80; what is too large for the dtype is the dtype's largest number. Infinite or NaN operands give
        what the formula gives, or NaN.

    Raises:
        ValueError: `event_ndims` is not an integer from 0 to the rank of the broadcast operands.
    """
    return _negative_binomial_nll(x, log_mean, log_scale, event_ndims=event_ndims)


def nll_reference(x, log_mean, log_scale):
    """The summand as one would write it down: what the tests hold the op against."""
    n, mean = ops.exp(-2.0 * log_scale), ops.exp(log_mean)
    log_count = backend.lgamma(x + n) - backend.lgamma(n) - backend.lgamma(x + 1.0)
    return -(log_count + n * ops.log(n / (n + mean)) + x * (log_mean - ops.log(n + mean)))


def _forward(given, log_mean, log_scale):
    n, mean = _rate(log_mean, log_scale)
    x = ops.maximum(given, 0.0)
    # n small, in itself or beside x: the formula, with its logarithms of ratios as softplus(+-l), l = log(mu / n).
    limit = ops.maximum(0.01 * x, FAR)
    few, log_odds = ops.minimum(n, limit), log_mean + 2.0 * log_scale
    direct = few * ops.softplus(log_odds) + x * ops.softplus(-log_odds) - _log_count(x, few)
    # n large, by Stirling's formula, with 1 + u = (n + mu) / (n + x):
    #     (Poisson nll - mu + x) + (n + x) log(1 + u) + log(1 + x/n) / 2 + delta(n) - delta(n + x)
    # in which -mu + x = -(n + x) u cancels against the logarithm where u is small.
    many = ops.maximum(n, FAR)
    u = (mean - x) / (many + x)
    is_small = ops.abs(u) < 0.9
    nearly_poisson = poisson.forward(x, log_mean) - (many + x) * minus_log1p(ops.clip(u, -0.9, 0.9))
    apart = poisson.forward_less_excess(x, log_mean) + (many + x) * (ops.log(many + mean) - ops.log(many + x))
    correction = 0.5 * ops.log1p(x / many) + stirling_rest_far(many) - stirling_rest_far(many + x)
    nll = ops.where(n < limit, direct, ops.where(is_small, nearly_poisson, apart) + correction)
    # The limits above make numbers of infinities.
    nll = nll + zero_if_finite(given, log_mean, log_scale)
    return saturate(impossible_if_negative(given, nll), given, log_mean, log_scale)


def _backward(x, log_mean, log_scale):
    # d/dlog mu = (mu - x) n / (n + mu),  d/dlog sigma = -2n d/dn, with v = (mu - x) / (n + mu) and
    # d/dn = digamma(n) - digamma(n + x) + log(1 + mu/n) - v
    n, mean = _rate(log_mean, log_scale)
    x = ops.maximum(x, 0.0)
    log_odds = log_mean + 2.0 * log_scale
    share = ops.sigmoid(-log_odds)  # n / (n + mu)
    v = (mean - x) / (n + mean)
    few, many = ops.minimum(n, FAR), ops.maximum(n, FAR)
    direct = 2.0 * few * (backend.digamma(few + x) - backend.digamma(few) - ops.softplus(log_odds) + v)
    # n large: digamma's logarithms and the last two terms are log(1 - v) + v, which is small with v.
    log_ratio = ops.log(many + x) - ops.log(many + mean)
    logs = ops.where(ops.abs(v) < 0.2, -minus_log1p(ops.clip(-v, -0.2, 0.2)), log_ratio + v)
    rise = 0.5 * x / (many * (many + x)) + digamma_rest_far(many + x) - digamma_rest_far(many)
    to_log_scale = ops.where(n < FAR, direct, 2.0 * many * (rise + logs))
    to_x = ops.softplus(-log_odds) - backend.digamma(x + n) + backend.digamma(x + 1.0)
    return clip(to_x), clip(mean * share - x * share), clip(to_log_scale)


def _rate(log_mean, log_scale):
    """n and mu, held where their products are finite."""
    return ops.exp(-2.0 * ops.clip(log_scale, -40.0, 40.0)), ops.exp(ops.clip(log_mean, -80.0, 80.0))


def _log_count(x, few):
    """log [ G(x + n) / (G(x + 1) G(n)) ] for n that is small, in itself or beside x."""
    some, many = ops.minimum(x, FAR), ops.maximum(x, FAR) + 1.0
    direct = backend.lgamma(some + few) - backend.lgamma(some + 1.0)
    # Of many, z = x + 1 and s = n - 1: (z - 1/2) log(1 + s/z) + s (log(z + s) - 1) + delta(z + s) - delta(z)
    step = few - 1.0
    rest = stirling_rest_far(many + step) - stirling_rest_far(many)
    stirling = (many - 0.5) * ops.log1p(step / many) + step * (ops.log(many + step) - 1.0) + rest
    return ops.where(x < FAR, direct, stirling) - backend.lgamma(few)


_negative_binomial_nll = fused(_forward, _backward)

"""poisson_nll and negative_binomial_nll against mpmath: few events and millions, and where one becomes the other."""

import itertools

import checks
import mpmath
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from keras_vae.ops import negative_binomial_nll, poisson_nll
from keras_vae.ops.gamma_function import digamma_rest, minus_log1p, stirling_rest

mpmath.mp.dps = 50


def exact(x, log_mean, log_scale):
    """The negative binomial's nll, and its derivatives with respect to log mu and log sigma, to 50 digits."""
    x, log_mean, log_scale = (mpmath.mpf(float(each)) for each in (x, log_mean, log_scale))
    n, mean = mpmath.exp(-2 * log_scale), mpmath.exp(log_mean)
    log_count = mpmath.loggamma(x + n) - mpmath.loggamma(n) - mpmath.loggamma(x + 1)
    nll = -(log_count + n * mpmath.log(n / (n + mean)) + x * mpmath.log(mean / (n + mean)))
    by_n = mpmath.digamma(n) - mpmath.digamma(n + x) + mpmath.log(1 + mean / n) - (mean - x) / (n + mean)
    return [float(each) for each in (nll, (mean - x) * n / (n + mean), -2 * n * by_n)]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-4), ("float64", 1e-9)])
@pytest.mark.parametrize("sigma", [1e-6, 1e-3, 0.01, 0.1, 0.35, 0.36, 1.0, 10.0, 1e6])
def test_negative_binomial_value_and_gradient_are_exact(sigma, dtype, tolerance):
    """In float32 as far as log mu, which is rounded, says what mu is: 1e5 events to 0.4%."""
    for mean in (1e-3, 0.1, 1.0, 10.0, 1e3, 1e5):
        x = np.unique(np.round([0, 1, 2, 9, 100, mean, mean + mean**0.5, 1.3 * mean])).astype(dtype)
        parameters = [tf.fill(x.shape, tf.constant(np.log(value), dtype)) for value in (mean, sigma)]
        with checks.uncompiled():
            actual = checks.value_and_gradients(
                lambda *parameters, x=x: negative_binomial_nll(x, *parameters, event_ndims=0), parameters
            )
        expected = np.array([exact(*each) for each in zip(x, *(np.asarray(p) for p in parameters), strict=True)]).T
        # The rounding of log mu moves the exact numbers, too, by as much as its slope and mu say.
        slack = np.finfo(dtype).eps * (mean * max(1.0, abs(np.log(mean))) * 4)
        for value, right in zip(actual, expected, strict=True):
            np.testing.assert_allclose(value, right, rtol=tolerance, atol=tolerance * 1e-2 + slack)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-11)])
def test_poisson_is_exact_for_few_events_and_for_millions(dtype, tolerance):
    counts, rates = [0, 1, 2, 3, 7, 8, 9, 100, 1e4, 1e6, 1e8], [1e-6, 0.1, 1.0, 9.0, 1e2, 1e4, 1e6, 1.001e6, 1e8]
    x, log_rate = np.array(list(itertools.product(counts, np.log(rates)))).T.astype(dtype)
    right = [
        mpmath.exp(mpmath.mpf(float(log_r))) - float(k) * mpmath.mpf(float(log_r)) + mpmath.loggamma(float(k) + 1)
        for k, log_r in zip(x, log_rate, strict=True)
    ]
    with checks.uncompiled():
        nll = poisson_nll(x, log_rate, event_ndims=0)
    np.testing.assert_allclose(nll, np.array(right, "float64"), rtol=tolerance, atol=tolerance)


def test_both_are_scipys():
    rng = np.random.default_rng(0)
    x, log_mean, log_scale = rng.negative_binomial(2, 0.2, (50, 7)), rng.normal(1, 1, (50, 7)), rng.normal(size=(50, 7))
    expected = scipy.stats.poisson(np.exp(log_mean)).logpmf(x).sum(axis=-1)
    np.testing.assert_allclose(-poisson_nll(x, log_mean), expected, rtol=1e-10)
    n = np.exp(-2 * log_scale)
    expected = scipy.stats.nbinom(n, n / (n + np.exp(log_mean))).logpmf(x).sum(axis=-1)
    np.testing.assert_allclose(-negative_binomial_nll(x, log_mean, log_scale), expected, rtol=1e-10)


def test_stirlings_rest_and_the_rest_of_the_logarithm():
    z = np.concatenate([np.geomspace(1e-6, 1e8, 40), [7.999, 8.0, 8.001]])
    half_log_2pi = mpmath.log(2 * mpmath.pi) / 2
    rest = [mpmath.loggamma(a) - (a - mpmath.mpf(0.5)) * mpmath.log(a) + a - half_log_2pi for a in map(mpmath.mpf, z)]
    np.testing.assert_allclose(stirling_rest(tf.constant(z)), np.array(rest, "float64"), rtol=1e-12)
    rest = [mpmath.digamma(a) - mpmath.log(a) + 1 / (2 * a) for a in map(mpmath.mpf, z)]
    np.testing.assert_allclose(digamma_rest(tf.constant(z)), np.array(rest, "float64"), rtol=2e-12)
    t = np.concatenate([np.linspace(-0.99, 5, 60), [-0.2, 0.2], np.geomspace(1e-12, 0.1, 20)])
    rest = [a - mpmath.log1p(a) for a in map(mpmath.mpf, t)]
    np.testing.assert_allclose(minus_log1p(tf.constant(t)), np.array(rest, "float64"), rtol=1e-12)


@pytest.mark.parametrize("op", [poisson_nll, negative_binomial_nll], ids=lambda op: op.__name__)
def test_value_and_gradient_are_finite_for_finite_operands(op):
    largest = float(np.finfo("float32").max)
    means = [0.0, 1.0, -1.0, 30.0, 80.0, -1e4, -largest]
    grid = [[0.0, 1.0, 8.0, 1e4, 1e8], means, [0.0, -14.0, 3.0, 40.0, -40.0]][: 2 if op is poisson_nll else 3]
    x, *parameters = (tf.constant(each, "float32") for each in np.array(list(itertools.product(*grid))).T)
    with checks.uncompiled():
        results = checks.value_and_gradients(lambda *parameters: op(x, *parameters, event_ndims=0), parameters)
    checks.assert_finite(results, op.__name__)

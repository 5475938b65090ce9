"""discretized_logistic_nll against SciPy and TFP, in the tails and at its ends."""

import checks
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from checks import value_and_gradients

from keras_vae.ops import discretized_logistic_nll

tfd = tfp.distributions
LARGEST = float(np.finfo("float32").max)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_probabilities_are_scipys_and_sum_to_one(levels):
    rng = np.random.default_rng(levels)
    loc, log_scale = rng.normal(0.5, 0.5, (20, 1)), rng.uniform(-5, 1, (20, 1))
    x = np.arange(levels)
    with checks.uncompiled():
        nll = discretized_logistic_nll(x, loc, log_scale, levels=levels, event_ndims=0).numpy()
    np.testing.assert_allclose(np.exp(-nll).sum(axis=-1), 1.0, rtol=1e-12)
    # SciPy's cdf on the lower side of mu and its sf on the upper: its own differences then keep 6 digits and more.
    frozen = scipy.stats.logistic(loc, np.exp(log_scale))
    low, high = (x - 0.5) / (levels - 1), (x + 0.5) / (levels - 1)
    low, high = np.where(x == 0, -np.inf, low), np.where(x == levels - 1, np.inf, high)
    expected = np.where(high < loc, frozen.cdf(high) - frozen.cdf(low), frozen.sf(low) - frozen.sf(high))
    possible = expected > 1e-290
    np.testing.assert_allclose(np.exp(-nll)[possible], expected[possible], rtol=1e-9)


def test_nll_is_tfps_quantized_logistic():
    rng = np.random.default_rng(0)
    loc, scale = (tf.constant(each) for each in (rng.normal(0.5, 0.3, (50, 7)), rng.uniform(0.02, 0.5, (50, 7))))
    x = tf.constant(rng.integers(0, 256, (50, 7)), tf.float64)
    quantized = tfd.QuantizedDistribution(tfd.Logistic(255 * loc - 0.5, 255 * scale), low=0.0, high=255.0)
    expected = -tf.reduce_sum(quantized.log_prob(x), -1)
    np.testing.assert_allclose(discretized_logistic_nll(x, loc, tf.math.log(scale)), expected, rtol=1e-8)


def test_the_tails_are_exact_where_the_difference_of_two_cdfs_is_zero():
    """Level 200 from mu = 0, s = 0.001: about 782 nats, of which float32's cdfs know none."""
    t_above, t_below = 200.5 / 255 / 1e-3, 199.5 / 255 / 1e-3
    expected = -(np.log(-np.expm1(t_below - t_above)) - t_below)
    with checks.uncompiled():
        nll = discretized_logistic_nll(200, np.float32(0), np.float32(np.log(1e-3)), event_ndims=0)
    np.testing.assert_allclose(nll, expected, rtol=1e-6)


def test_nll_and_gradient_are_finite_for_all_finite_operands():
    values = [0.0, 0.5, 1.0, 1e4, -1e4, 1e19, -1e19, LARGEST, -LARGEST]
    scales = [0.0, 1.0, -1.0, -10.0, 40.0, -40.0]
    grid = np.stack(np.meshgrid([0.0, 1.0, 128.0, 255.0], values, scales), axis=-1)
    grid = grid.reshape(-1, 3).T.astype("float32")
    with checks.uncompiled():
        value, *gradients = value_and_gradients(
            lambda *each: discretized_logistic_nll(*each, event_ndims=0), list(grid)
        )
    checks.assert_finite([value, *gradients], "value or gradient")
    assert (value.numpy() >= 0).all()


@pytest.mark.parametrize("operands", [(np.nan, 0.0, 0.0), (0.0, np.nan, 0.0), (0.0, 0.0, np.nan)], ids=str)
def test_nll_of_nan_is_nan(operands):
    with checks.uncompiled():
        assert np.isnan(discretized_logistic_nll(*map(np.float32, operands), event_ndims=0))

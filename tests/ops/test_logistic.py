"""logistic_nll against SciPy and TFP, and at its ends."""

import checks
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from checks import value_and_gradients

from keras_vae.ops import logistic_nll

tfd = tfp.distributions
LARGEST = float(np.finfo("float32").max)


def operands_of(rng, shape, width=1.0):
    return rng.normal(0, width, shape), rng.normal(0, width, shape), rng.uniform(-3, 3, shape)


@pytest.mark.parametrize("width", [1.0, 1e4])
def test_nll_is_scipys(width):
    x, loc, log_scale = operands_of(np.random.default_rng(0), (50, 7), width)
    expected = -scipy.stats.logistic(loc, np.exp(log_scale)).logpdf(x)
    np.testing.assert_allclose(logistic_nll(x, loc, log_scale), expected.sum(axis=-1), rtol=1e-10)


def test_nll_is_tfps():
    x, loc, log_scale = (tf.constant(each) for each in operands_of(np.random.default_rng(1), (50, 7)))
    expected = -tfd.Independent(tfd.Logistic(loc, tf.exp(log_scale)), 1).log_prob(x)
    np.testing.assert_allclose(logistic_nll(x, loc, log_scale), expected, rtol=1e-10)


def test_nll_and_gradient_are_finite_for_all_finite_operands():
    """What is too large for float32 is its largest number; elsewhere the value is SciPy's."""
    values = [0.0, 1.0, -1.0, 1e4, -1e4, 1e19, -1e19, LARGEST, -LARGEST]
    scales = [0.0, 1.0, -1.0, 40.0, -40.0]
    grid = np.stack(np.meshgrid(values, values, scales), axis=-1).reshape(-1, 3).T.astype("float32")
    with checks.uncompiled():
        value, *gradients = value_and_gradients(lambda *each: logistic_nll(*each, event_ndims=0), list(grid))
    checks.assert_finite([value, *gradients], "value or gradient")
    x, loc, log_scale = np.float64(grid)
    distance = np.abs(x - loc) / np.exp(log_scale)
    expected = np.clip(log_scale + distance + 2 * np.log1p(np.exp(-distance)), -LARGEST, LARGEST)
    np.testing.assert_allclose(value, expected, rtol=3e-5)


@pytest.mark.parametrize("operands", [(np.nan, 0.0, 0.0), (0.0, np.nan, 0.0), (0.0, 0.0, np.nan)], ids=str)
def test_nll_of_nan_is_nan(operands):
    with checks.uncompiled():
        assert np.isnan(logistic_nll(*map(np.float32, operands), event_ndims=0))

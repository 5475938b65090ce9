"""continuous_bernoulli_nll against quadrature and TFP, near 0 and at its ends."""

import checks
import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf
import tensorflow_probability as tfp
from checks import value_and_gradients

from keras_vae.ops import continuous_bernoulli_nll
from keras_vae.ops.continuous_bernoulli import mean_of, variance_of

LARGEST = float(np.finfo("float32").max)
LOGITS = np.array([-60.0, -8.0, -1.0, -0.999, -0.3, -1e-3, 0.0, 1e-8, 1e-3, 0.7, 0.9999, 1.0, 1.0001, 3.0, 25.0])


@pytest.mark.parametrize("logit", LOGITS)
def test_density_mean_and_variance_are_those_of_quadrature(logit):
    """exp(-nll) integrates to 1 over [0, 1], and mean and variance are its moments."""

    def integral(power):
        return scipy.integrate.quad(lambda x: x**power * np.exp(logit * (x - (logit > 0))), 0, 1, epsabs=1e-15)[0]

    total, mean, square = integral(0), integral(1) / integral(0), integral(2) / integral(0)
    with checks.uncompiled():
        nll = continuous_bernoulli_nll(0.3, np.float64(logit), event_ndims=0)
    np.testing.assert_allclose(nll, np.log(total) + max(logit, 0.0) - 0.3 * logit, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(mean_of(np.float64(logit)), mean, rtol=1e-12)
    np.testing.assert_allclose(variance_of(np.float64(logit)), square - mean**2, rtol=2e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nll_is_smooth_where_its_two_forms_meet_and_at_one_half(dtype):
    """To the dtype's last digits, on both sides of |l| = 1 and through l = 0, of the form in float64 with expm1."""
    logits = np.concatenate([np.linspace(-2, 2, 4001), np.geomspace(1e-30, 1e-3, 50)]).astype(dtype)
    wide = np.where(logits == 0, 1e-300, np.float64(logits))
    expected = np.log(np.expm1(wide) / wide)
    with checks.uncompiled():
        actual = continuous_bernoulli_nll(np.zeros_like(logits), logits, event_ndims=0)
    # Near 0 the referee is log(1 + l / 2), whose 1 + l / 2 is itself rounded to half an eps, and so may ours be.
    np.testing.assert_allclose(actual, expected, rtol=10 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).eps)


def test_nll_is_tfps():
    rng = np.random.default_rng(0)
    x, logits = tf.constant(rng.uniform(size=(50, 7))), tf.constant(rng.normal(0, 4, (50, 7)))
    elements = tfp.distributions.ContinuousBernoulli(logits=logits, dtype=tf.float64)
    expected = -tf.reduce_sum(elements.log_prob(x), -1)
    np.testing.assert_allclose(continuous_bernoulli_nll(x, logits), expected, rtol=1e-9)


def test_nll_and_gradient_are_finite_for_all_finite_operands():
    values = [0.0, 1e-30, 1.0, -1.0, 1e4, -1e4, 1e19, -1e19, LARGEST, -LARGEST]
    grid = np.stack(np.meshgrid([0.0, 0.25, 1.0], values), axis=-1).reshape(-1, 2).T.astype("float32")
    with checks.uncompiled():
        value, *gradients = value_and_gradients(
            lambda *each: continuous_bernoulli_nll(*each, event_ndims=0), list(grid)
        )
    checks.assert_finite([value, *gradients], "value or gradient")


@pytest.mark.parametrize("operands", [(np.nan, 0.0), (0.0, np.nan)], ids=str)
def test_nll_of_nan_is_nan(operands):
    with checks.uncompiled():
        assert np.isnan(continuous_bernoulli_nll(*map(np.float32, operands), event_ndims=0))

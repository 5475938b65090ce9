"""bernoulli_nll against SciPy, TFP, and the extended real numbers."""

import itertools
import math

import checks
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from checks import value_and_gradients

from keras_vae.ops import bernoulli_nll

tfd = tfp.distributions
LARGEST = float(np.finfo("float32").max)


def elementwise(x, logits):
    return bernoulli_nll(x, logits, event_ndims=0)


def grid(*axes):
    """Every combination of the axes' values, as one float32 array an axis."""
    return [np.array(column, "float32") for column in zip(*itertools.product(*axes), strict=True)]


@pytest.mark.parametrize("width", [1.0, 1e4])
@pytest.mark.parametrize("kind", ["binary", "grey"])
def test_nll_is_scipys(width, kind):
    rng = np.random.default_rng(0)
    logits = rng.uniform(-width, width, (50, 7))
    x = rng.binomial(1, 0.4, logits.shape).astype("float64") if kind == "binary" else rng.uniform(size=logits.shape)
    expected = -(x * scipy.special.log_expit(logits) + (1 - x) * scipy.special.log_expit(-logits))
    np.testing.assert_allclose(bernoulli_nll(x, logits), expected.sum(axis=-1), rtol=1e-10)
    if kind == "binary" and width == 1.0:
        pmf = scipy.stats.bernoulli(scipy.special.expit(logits)).logpmf(x)
        np.testing.assert_allclose(bernoulli_nll(x, logits, event_ndims=0), -pmf, rtol=1e-10)


def test_nll_is_tfps():
    rng = np.random.default_rng(1)
    logits, x = tf.constant(rng.normal(0, 5, (50, 7))), rng.binomial(1, 0.4, (50, 7)).astype("float64")
    expected = -tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float64), 1).log_prob(x)
    np.testing.assert_allclose(bernoulli_nll(x, logits), expected, rtol=1e-10)


def test_the_probabilities_of_zero_and_one_sum_to_one():
    logits = np.linspace(-30, 30, 61)
    with checks.uncompiled():
        zero, one = (np.exp(-bernoulli_nll(x, logits, event_ndims=0)) for x in (0.0, 1.0))
    np.testing.assert_allclose(zero + one, 1.0, rtol=1e-14)
    np.testing.assert_allclose(one, scipy.special.expit(logits), rtol=1e-10)


def test_grey_levels_score_the_expectation_over_their_binarisation():
    """The nll is linear in x: that of x = 0.3 is 0.7 that of 0 and 0.3 that of 1. At logit 0 it is log 2 for any x."""
    logits = np.linspace(-5, 5, 11)
    with checks.uncompiled():
        zero, one, grey = (bernoulli_nll(np.float64(x), logits, event_ndims=0).numpy() for x in (0.0, 1.0, 0.3))
        at_zero = bernoulli_nll(np.linspace(0, 1, 5), 0.0).numpy()
    np.testing.assert_allclose(grey, 0.7 * zero + 0.3 * one, rtol=1e-12)
    assert at_zero == pytest.approx(5 * math.log(2.0), rel=1e-14)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-10)])
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_nll_of_a_confident_and_right_prediction(x, dtype, tolerance):
    """A tiny nll is log(1 + exp(-|l|)), and not the difference of two large numbers."""
    logits = ((2 * x - 1) * np.linspace(0, 60, 601)).astype(dtype)
    nll = bernoulli_nll(np.full_like(logits, x), logits, event_ndims=0)
    np.testing.assert_allclose(nll, np.log1p(np.exp(-np.abs(np.float64(logits)))), rtol=tolerance)


def truth(x, logits):
    """Value and gradients in float64, where nothing that is finite in float32 overflows."""
    x, logits = np.float64(x), np.float64(logits)
    with np.errstate(all="ignore"):
        value = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits))) - x * logits
        return [value, -logits, scipy.special.expit(logits) - x]


def test_nll_is_finite_and_right_for_all_finite_operands():
    """Also for data that is no probability, and logits up to the largest float32; what is too large is the largest."""
    data = [0.0, 1.0, 0.5, -1.0, 255.0, 1e19, -1e19, LARGEST, -LARGEST]
    logits = [0.0, 2e-38, 1.0, -1.0, 8.0, -8.0, 1e4, -1e4, 1e19, -1e19, LARGEST, -LARGEST]
    operands = grid(data, logits)
    actual = value_and_gradients(elementwise, operands)
    checks.assert_finite(actual, "value or gradient")
    for index, (ours, exact) in enumerate(zip(actual, truth(*operands), strict=True)):
        # The absolute tolerance is for cancellation, which is the matter of the test above.
        np.testing.assert_allclose(
            ours, np.clip(exact, -LARGEST, LARGEST), rtol=3e-6, atol=1e-6, err_msg=f"result {index}"
        )


def test_nll_of_operands_that_are_not_finite():
    """What the formula gives in the extended reals, or NaN; no other number."""
    values = [-np.inf, np.inf, np.nan, 0.0, 1.0, 0.5]
    operands = grid(values, values)
    bad = ~np.isfinite(np.stack(operands)).all(axis=0)
    # Where the formula is undefined the limit may be given: a certain and right prediction costs nothing.
    limit = np.where((operands[0] == 1) & (operands[1] == np.inf), 0.0, np.nan)
    limit = np.where((operands[0] == 0) & (operands[1] == -np.inf), 0.0, limit)
    actual = map(np.asarray, value_and_gradients(elementwise, operands))
    for index, (ours, exact) in enumerate(zip(actual, truth(*operands), strict=True)):
        right = np.isnan(ours) | (ours == exact) | ((index == 0) & (ours == limit))
        wrong = np.stack([*operands, ours, exact])[:, bad & ~right]
        assert not wrong.size, f"result {index}: operands, received, expected in columns:\n{wrong}"


@pytest.mark.parametrize(
    ("x", "logits", "expected"),
    [
        (1.0, -np.inf, np.inf),
        (0.5, -np.inf, np.inf),
        (np.nan, 0.0, np.nan),
        (np.nan, 1.0, np.nan),
        (0.0, np.nan, np.nan),
        (1.0, np.nan, np.nan),
    ],
)
def test_nll_at_infinity(x, logits, expected):
    with checks.uncompiled():
        nll = bernoulli_nll(np.float32(x), np.float32(logits), event_ndims=0)
    np.testing.assert_equal(nll.numpy(), np.float32(expected))

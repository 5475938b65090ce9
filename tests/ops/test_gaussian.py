"""gaussian_nll and gaussian_kl against SciPy, TFP, arithmetic in 60 digits, and the extended real numbers."""

import decimal
import itertools
import math

import checks
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from checks import value_and_gradients

from keras_vae.ops import gaussian_kl, gaussian_nll

tfd = tfp.distributions
LARGEST = float(np.finfo("float32").max)
LOG_2PI = math.log(2 * math.pi)


def grid(*axes):
    """Every combination of the axes' values, as one float32 array an axis."""
    return [np.array(column, "float32") for column in zip(*itertools.product(*axes), strict=True)]


# The negative log-likelihood.


@pytest.mark.parametrize("width", [1.0, 1e4])
def test_nll_is_scipys(width):
    rng = np.random.default_rng(0)
    x, mean = rng.uniform(-width, width, (2, 50, 7))
    log_variance = rng.uniform(-8, 8, (50, 7))
    expected = -scipy.stats.norm.logpdf(x, mean, np.exp(log_variance / 2))
    np.testing.assert_allclose(gaussian_nll(x, mean, log_variance), expected.sum(axis=-1), rtol=1e-10)
    np.testing.assert_allclose(gaussian_nll(x, mean, log_variance, event_ndims=0), expected, rtol=1e-10)


def test_nll_of_an_event_is_a_diagonal_multivariate_normals():
    rng = np.random.default_rng(1)
    x, mean, log_variance = rng.normal(size=(3, 7))
    joint = scipy.stats.multivariate_normal(mean, np.diag(np.exp(log_variance)))
    with checks.uncompiled():
        np.testing.assert_allclose(gaussian_nll(x, mean, log_variance), -joint.logpdf(x), rtol=1e-10)


def test_nll_is_normalised():
    """The density integrates to 1: every constant is there."""
    x = np.linspace(-40, 40, 200_001)
    with checks.uncompiled():
        density = np.exp(-gaussian_nll(x, 1.5, tf.constant(2.0, tf.float64), event_ndims=0))
    assert scipy.integrate.trapezoid(density, x) == pytest.approx(1.0, rel=1e-12)


def test_nll_is_exactly_the_constants_where_everything_else_is_zero():
    with checks.uncompiled():
        nll = gaussian_nll(tf.zeros((1, 3), tf.float64), 0.0, 0.0)
    assert nll.numpy()[0] == pytest.approx(3 * 0.9189385332046727, rel=1e-15)


def test_log_determinant_is_the_sum_of_the_log_sigmas():
    """Sigmas of 0.1, 2 and 5 have the product 1, whose log is 0: at the mean only the constants remain.

    Half the sum of the variances in place of the sum of the logs would add (0.01 + 4 + 25) / 2 = 14.505 nats; log sigma
    taken for log sigma^2 changes nothing here, but does below, where sigma is 10 throughout: 3 log 10 = 6.9 nats.
    """
    mean = tf.constant([[4.0, -5.0, 6.0]], tf.float64)
    with checks.uncompiled():
        nll = gaussian_nll(mean, mean, 2 * np.log([0.1, 2.0, 5.0])).numpy()[0]
        wide = gaussian_nll(mean, mean, 2 * np.log([10.0, 10.0, 10.0])).numpy()[0]
    assert nll - 1.5 * LOG_2PI == pytest.approx(0.0, abs=1e-14)
    assert wide - 1.5 * LOG_2PI == pytest.approx(3 * math.log(10.0), rel=1e-14)


def test_with_a_fixed_sigma_nll_differences_are_squared_errors():
    """With sigma^2 = 1/2 the nll is the sum of squared errors, plus a constant."""
    rng = np.random.default_rng(2)
    x, mean = rng.normal(size=(2, 5, 7))
    with checks.uncompiled():
        nll = gaussian_nll(x, mean, math.log(0.5) * np.ones(()))
    constant = 3.5 * (LOG_2PI + math.log(0.5))
    np.testing.assert_allclose(nll - constant, np.square(x - mean).sum(axis=-1), rtol=1e-12)


def nll_truth(x, mean, log_variance):
    """Value and gradients in float64, where nothing that is finite in float32 overflows."""
    x, mean, log_variance = (np.float64(operand) for operand in (x, mean, log_variance))
    with np.errstate(all="ignore"):
        precision = np.exp(-log_variance)
        u2 = (x - mean) ** 2 * precision
        slope = (x - mean) * precision
        return [0.5 * (LOG_2PI + log_variance + u2), slope, -slope, 0.5 * (1 - u2)]


SIGNED = [0.0, 2e-38, 1.0, -1.0, 1e19, -1e19, LARGEST, -LARGEST]
LOG_VARIANCES = [-80.0, -1.0, 0.0, 1.0, 80.0]


def assert_saturated(actual, truth):
    """The truth, or the largest float32 of its sign if it is beyond."""
    for index, (ours, exact) in enumerate(zip(actual, truth, strict=True)):
        # What is below 1e-30 may be flushed to zero.
        expected = np.clip(exact, -LARGEST, LARGEST)
        np.testing.assert_allclose(ours, expected, rtol=3e-5, atol=1e-30, err_msg=f"result {index}")


def test_nll_is_finite_and_right_for_all_finite_operands():
    """Value and gradients, for data and mean up to the largest float32; what is too large is the largest number.

    Apart from operands whose difference is itself too large: see the next test.
    """
    operands = grid(SIGNED, SIGNED, LOG_VARIANCES)
    actual = value_and_gradients(lambda *operands: gaussian_nll(*operands, event_ndims=0), operands)
    checks.assert_finite(actual, "value or gradient")
    representable = np.abs(np.float64(operands[0]) - operands[1]) <= LARGEST
    assert_saturated([a.numpy()[representable] for a in actual], [t[representable] for t in nll_truth(*operands)])


def test_nll_gradient_is_right_where_the_difference_is_too_large():
    """x - mu = 6.8e38 is no float32, but divided by sigma^2 = e^80 it is."""
    operands = grid([LARGEST], [-LARGEST], [80.0, 79.0])
    actual = value_and_gradients(lambda *operands: gaussian_nll(*operands, event_ndims=0), operands)
    assert_saturated(actual, nll_truth(*operands))


NOT_FINITE = [-np.inf, np.inf, np.nan, 0.0, 1.5]


def assert_formula_or_nan(actual, truth, operands, limit=None):
    """Where an operand is not finite: what the formula gives in the extended reals, or NaN; no other number."""
    bad = ~np.isfinite(np.stack(operands)).all(axis=0)
    for index, (ours, formula) in enumerate(zip(map(np.asarray, actual), truth, strict=True)):
        right = np.isnan(ours) | np.isclose(ours, formula, rtol=1e-5, atol=0)
        if index == 0 and limit is not None:
            right |= ours == limit
        wrong = np.stack([*operands, ours, formula])[:, bad & ~right]
        assert not wrong.size, f"result {index}: operands, received, expected in columns:\n{wrong}"


def test_nll_of_operands_that_are_not_finite():
    operands = grid(NOT_FINITE, NOT_FINITE, NOT_FINITE)
    actual = value_and_gradients(lambda *operands: gaussian_nll(*operands, event_ndims=0), operands)
    assert_formula_or_nan(actual, nll_truth(*operands), operands)


@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        ((np.inf, 0.0, 0.0), np.inf),
        ((-np.inf, 0.0, 0.0), np.inf),
        ((0.0, np.inf, 1.0), np.inf),
        ((np.inf, -np.inf, 1.0), np.inf),
        ((np.inf, np.inf, 0.0), np.nan),
        ((1.0, 2.0, np.inf), np.inf),
        ((np.nan, 0.0, 0.0), np.nan),
        ((0.0, np.nan, 0.0), np.nan),
        ((0.0, 0.0, np.nan), np.nan),
    ],
)
def test_nll_at_infinity(operands, expected):
    with checks.uncompiled():
        np.testing.assert_equal(gaussian_nll(*np.float32(operands), event_ndims=0).numpy(), np.float32(expected))


# The Kullback-Leibler divergence.


def kl_truth(mean, log_variance, prior_mean, prior_log_variance):
    """Value and gradients in float64, where nothing that is finite in float32 overflows."""
    operands = (np.float64(operand) for operand in (mean, log_variance, prior_mean, prior_log_variance))
    mean, log_variance, prior_mean, prior_log_variance = operands
    with np.errstate(all="ignore"):
        d = log_variance - prior_log_variance
        precision = np.exp(-prior_log_variance)
        u2 = (mean - prior_mean) ** 2 * precision
        slope, excess = (mean - prior_mean) * precision, 0.5 * np.expm1(d)
        return [0.5 * (np.exp(d) - 1 - d + u2), slope, excess, -slope, -excess - 0.5 * u2]


@pytest.mark.parametrize("width", [1.0, 1e4])
def test_kl_is_tfps(width):
    rng = np.random.default_rng(3)
    mean, prior_mean = rng.uniform(-width, width, (2, 50, 7))
    log_variance, prior_log_variance = rng.uniform(-8, 8, (2, 50, 7))
    q = tfd.Independent(tfd.Normal(mean, np.exp(log_variance / 2)), 1)
    p = tfd.Independent(tfd.Normal(prior_mean, np.exp(prior_log_variance / 2)), 1)
    kl = gaussian_kl(mean, log_variance, prior_mean, prior_log_variance)
    np.testing.assert_allclose(kl, tfd.kl_divergence(q, p), rtol=1e-10)
    diagonal = tfd.kl_divergence(
        tfd.MultivariateNormalDiag(mean, np.exp(log_variance / 2)),
        tfd.MultivariateNormalDiag(prior_mean, np.exp(prior_log_variance / 2)),
    )
    np.testing.assert_allclose(kl, diagonal, rtol=1e-10)


def test_kl_is_the_integral_of_its_definition():
    """KL(q || p) = E_q[log q - log p], integrated by quadrature: that of q from p, and not the other way round."""
    q, p = scipy.stats.norm(0.7, 0.5), scipy.stats.norm(-0.4, 1.8)
    expected, _ = scipy.integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -6, 7, epsabs=1e-13)
    with checks.uncompiled():
        kl = gaussian_kl(np.float64(0.7), 2 * np.log(0.5), np.float64(-0.4), 2 * np.log(1.8), event_ndims=0)
    assert float(kl) == pytest.approx(expected, rel=1e-10)


def test_kl_from_the_standard_normal_is_appendix_b():
    """-KL = 1/2 sum (1 + log sigma^2 - mu^2 - sigma^2), and the standard normal is the default."""
    rng = np.random.default_rng(4)
    mean, log_variance = rng.normal(size=(2, 5, 7))
    expected = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum(axis=-1)
    with checks.uncompiled():
        np.testing.assert_allclose(gaussian_kl(mean, log_variance), expected, rtol=1e-12)


def exact_kl(mean, log_variance, prior_mean, prior_log_variance):
    """The KL of Gaussians with exactly these floats as parameters, in 60 digits."""
    with decimal.localcontext(prec=60):
        parameters = (mean, log_variance, prior_mean, prior_log_variance)
        m, lv, pm, plv = (decimal.Decimal(float(parameter)) for parameter in parameters)
        return float(((lv - plv).exp() - 1 - (lv - plv) + (m - pm) ** 2 / plv.exp()) / 2)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-10)])
@pytest.mark.parametrize("base", [0.0, 1.0, -3.0], ids=lambda base: f"at_{base}")
def test_kl_of_two_variances_that_are_close(base, dtype, tolerance):
    """Where exp(d) - 1 - d cancels: log-variances that differ by 1e-7 to 2, either way."""
    distance = np.logspace(-7, 0.3, 1000)
    log_variance = (base + np.concatenate([distance, -distance])).astype(dtype)
    base = np.full_like(log_variance, base)
    mean = np.zeros_like(log_variance)
    kl = gaussian_kl(mean, log_variance, mean, base, event_ndims=0)
    expected = [exact_kl(*parameters) for parameters in zip(mean, log_variance, mean, base, strict=True)]
    np.testing.assert_allclose(kl, expected, rtol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-10)])
def test_kl_of_two_gaussians_that_are_close(dtype, tolerance):
    """Mean and log-variance both off by 1e-12 to 1."""
    rng = np.random.default_rng(5)
    mean, log_variance = (rng.normal(size=(2, 2000)) * 10 ** rng.uniform(-12, 0, 2000)).astype(dtype)
    zeros = np.zeros_like(mean)
    kl = gaussian_kl(mean, log_variance, zeros, zeros, event_ndims=0)
    expected = [exact_kl(*parameters) for parameters in zip(mean, log_variance, zeros, zeros, strict=True)]
    np.testing.assert_allclose(kl, expected, rtol=tolerance)


def test_kl_is_not_flushed_to_zero_before_float32_is():
    """A mean of 1e-17 is 5e-35 nats from the standard normal: a float32 like any other."""
    mean = np.float32([1e-16, 1e-17, 1e-18])
    np.testing.assert_allclose(gaussian_kl(mean, 0.0 * mean, event_ndims=0), np.float64(mean) ** 2 / 2, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kl_is_never_negative_and_zero_of_q_from_itself(dtype):
    rng = np.random.default_rng(6)
    count = 20_000
    mean = rng.normal(size=count) * 10 ** rng.uniform(-9, 4, count)
    log_variance = rng.uniform(-80, 80, count)
    # Half are close to one another, half are not.
    near = np.where(np.arange(count) % 2, 10 ** rng.uniform(-16, -1, count), 10 ** rng.uniform(-1, 1.5, count))
    prior_mean, prior_log_variance = mean + near * rng.normal(size=count), log_variance + near * rng.normal(size=count)
    operands = [operand.astype(dtype) for operand in (mean, log_variance, prior_mean, prior_log_variance)]
    assert (gaussian_kl(*operands, event_ndims=0).numpy() >= 0).all()
    itself = value_and_gradients(lambda *q: gaussian_kl(*q, event_ndims=0), [*operands[:2], *operands[:2]])
    for result in itself:
        np.testing.assert_array_equal(result, np.zeros(count))


def test_kl_is_finite_and_right_for_all_finite_operands():
    """Value and gradients, for means up to the largest float32; what is too large is the largest number.

    Apart from means whose difference is itself too large: see the next test.
    """
    operands = grid(SIGNED, LOG_VARIANCES, SIGNED, LOG_VARIANCES)
    actual = value_and_gradients(lambda *operands: gaussian_kl(*operands, event_ndims=0), operands)
    checks.assert_finite(actual, "value or gradient")
    representable = np.abs(np.float64(operands[0]) - operands[2]) <= LARGEST
    assert_saturated([a.numpy()[representable] for a in actual], [t[representable] for t in kl_truth(*operands)])


def test_kl_gradient_is_right_where_the_difference_is_too_large():
    """mu - m = 6.8e38 is no float32, but divided by tau^2 = e^80 it is."""
    operands = grid([LARGEST], [0.0, 80.0], [-LARGEST], [80.0])
    actual = value_and_gradients(lambda *operands: gaussian_kl(*operands, event_ndims=0), operands)
    assert_saturated(actual, kl_truth(*operands))


def test_kl_of_operands_that_are_not_finite():
    operands = grid(NOT_FINITE, NOT_FINITE, NOT_FINITE, NOT_FINITE)
    actual = value_and_gradients(lambda *operands: gaussian_kl(*operands, event_ndims=0), operands)
    assert_formula_or_nan(actual, kl_truth(*operands), operands, limit=np.inf)


@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        ((np.inf, 0.0, 0.0, 0.0), np.inf),
        ((0.0, 0.0, -np.inf, 0.0), np.inf),
        ((0.0, -np.inf, 0.0, 0.0), np.inf),
        ((0.0, 0.0, 0.0, np.inf), np.inf),
        ((np.inf, 0.0, np.inf, 0.0), np.nan),
        ((np.nan, 0.0, 0.0, 0.0), np.nan),
        ((0.0, np.nan, 0.0, 0.0), np.nan),
        ((0.0, 0.0, np.nan, 0.0), np.nan),
        ((0.0, 0.0, 0.0, np.nan), np.nan),
    ],
)
def test_kl_at_infinity(operands, expected):
    with checks.uncompiled():
        np.testing.assert_equal(gaussian_kl(*np.float32(operands), event_ndims=0).numpy(), np.float32(expected))


@pytest.mark.parametrize("op", [gaussian_nll, gaussian_kl], ids=lambda op: op.__name__)
def test_a_float32_event_of_an_images_size_is_summed_to_float32(op):
    """10^5 summands, all alike: the sum is right to 1e-5."""
    operands = (np.float32(0.37), np.float32(0.11), *([np.float32(0.5)] if op is gaussian_nll else [0.0, 0.0]))
    one = op(*operands, event_ndims=0).numpy()
    event = op(np.full((1, 100_000), operands[0]), *operands[1:]).numpy()[0]
    assert event == pytest.approx(1e5 * float(one), rel=1e-5)

"""Measures of what latents are used for: against NumPy, TFP and closed forms."""

import math

import numpy as np
import pytest
import tensorflow_probability as tfp
from small import LinearGaussian, gaussian_vae

from keras_vae.evaluation import ACTIVE_ABOVE, activity, mutual_information, unit_kl

tfd = tfp.distributions
RNG = np.random.default_rng(0)
SHAPES = [(3,), (2, 3)]


def normals(means, stddevs):
    """Posteriors of batch [N] and event [*latent]."""
    return tfd.Independent(tfd.Normal(means, stddevs), reinterpreted_batch_ndims=means.ndim - 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_activity_is_the_variance_of_the_means(shape):
    means = RNG.normal(size=(50, *shape)) * np.linspace(0.0, 2.0, math.prod(shape)).reshape(shape)
    found = np.asarray(activity(means))
    np.testing.assert_allclose(found, means.var(axis=0), rtol=1e-6, atol=1e-12)
    # The latent whose mean is the same for all is inactive; the others, of a standard deviation from 0.4 on, are not.
    assert (found > ACTIVE_ABOVE).sum() == math.prod(shape) - 1


@pytest.mark.parametrize("shape", SHAPES)
def test_the_kl_of_a_unit_is_tfps(shape):
    mean, prior_mean = RNG.normal(size=(5, *shape)), RNG.normal(size=shape)
    stddev, prior_stddev = RNG.uniform(0.01, 2.0, (5, *shape)), RNG.uniform(0.5, 2.0, shape)
    found = np.asarray(unit_kl(mean, stddev, prior_mean, prior_stddev))
    posterior, prior = tfd.Normal(mean, stddev), tfd.Normal(prior_mean, prior_stddev)
    np.testing.assert_allclose(found, tfd.kl_divergence(posterior, prior), rtol=1e-10)
    total = tfd.kl_divergence(normals(mean, stddev), tfd.Independent(prior, reinterpreted_batch_ndims=len(shape)))
    np.testing.assert_allclose(found.reshape(5, -1).sum(axis=1), total, rtol=1e-10)


def test_the_kl_of_the_units_of_a_vae_is_its_kl():
    vae = gaussian_vae()
    x = RNG.normal(size=(8, 8, 8, 1)).astype("float32")
    terms = vae(x)
    posterior, prior = vae.encode(x), vae.prior()
    found = unit_kl(posterior.mean(), posterior.stddev(), prior.mean(), prior.stddev())
    np.testing.assert_allclose(np.sum(found, axis=-1), terms["kl"], rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_posteriors_far_apart_tell_each_example(shape):
    means = 1e3 * np.arange(40.0).reshape(40, *[1] * len(shape)) * np.ones(shape)
    posterior = normals(means, np.ones_like(means))
    found = mutual_information(posterior, posterior.sample(seed=0))
    np.testing.assert_allclose(found, math.log(40), rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_posterior_for_all_tells_nothing(shape):
    posterior = normals(np.full((40, *shape), 0.3), np.full((40, *shape), 0.7))
    np.testing.assert_allclose(mutual_information(posterior, posterior.sample(seed=0)), 0.0, atol=1e-10)


def test_two_clusters_of_posteriors_tell_one_bit():
    means = np.where(np.arange(40)[:, None] < 20, -1e3, 1e3)
    posterior = normals(means, np.ones_like(means))
    np.testing.assert_allclose(mutual_information(posterior, posterior.sample(seed=0)), math.log(2), rtol=1e-10)


def channel(truth):
    """I(x; z) of the linear-Gaussian model, and chi^2 of q(z|x) from q(z), in the mean over x.

    Of each latent they are those of two Gaussians with the squared correlation 1 - V, V the posterior variance:
    1/2 log 1/V, and chi^2 + 1 = 1/V by Mehler's formula.
    """
    variance = truth.posterior_variance
    return -0.5 * np.log(variance).sum(), np.prod(1.0 / variance) - 1.0


def test_of_a_gaussian_channel_it_is_what_shannon_says():
    """The estimate is too low by log(1 + chi^2 / N) at most, by Jensen's inequality; an alarm is false with probability
    6e-5."""
    truth, num = LinearGaussian(), 2000
    exact, chi_squared = channel(truth)
    x = truth.sample(num)
    posterior = truth.vae().encode(x)
    z = posterior.sample(seed=0)
    prior = tfd.MultivariateNormalDiag(np.zeros(2, "float64"))
    standard_error = np.std(posterior.log_prob(z) - prior.log_prob(z)) / math.sqrt(num)
    bias = math.log1p(chi_squared / num)
    assert bias + 4 * standard_error < 0.1 * exact, "what is allowed is a small part"
    assert -bias - 4 * standard_error < mutual_information(posterior, z) - exact < 4 * standard_error


def test_of_few_examples_it_is_too_low():
    """By no more than the bound. 64 repetitions; an alarm is false with probability 6e-5."""
    truth, num = LinearGaussian(), 16
    exact, chi_squared = channel(truth)
    posteriors = truth.vae().encode(truth.sample(64 * num))
    means, stddevs = (np.reshape(each, (64, num, 2)) for each in (posteriors.mean(), posteriors.stddev()))
    found = []
    for mean, stddev in zip(means, stddevs, strict=True):
        posterior = normals(mean, stddev)
        found.append(float(mutual_information(posterior, posterior.sample(seed=len(found)))))
    standard_error = np.std(found) / 8
    assert exact - math.log1p(chi_squared / num) - 4 * standard_error < np.mean(found) < exact - 4 * standard_error

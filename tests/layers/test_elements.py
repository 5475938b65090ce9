"""The density of each element of x: of every family that has one, for z of any number of batch axes."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import CASES
from checks import built, data_of, features_of, uncompiled
from keras import layers

import keras_vae
from keras_vae import scales
from keras_vae.layers import DistributionLambda, IndependentBernoulli, IndependentNormal, Joint, Masked
from keras_vae.layers.unflattened import UnflattenedDistribution

tfd = tfp.distributions
RNG = np.random.default_rng(0)
DEPENDENT = ("tril", "low_rank", "discretized_logistic_mixture")
every_batch = pytest.mark.parametrize("batch_shape", [(4,), (1, 4), (2, 3, 4)], ids=str)


@pytest.fixture(autouse=True)
def without_xla():
    with uncompiled():
        yield


@pytest.mark.parametrize("case", [case for case in CASES if not case.name.startswith(DEPENDENT)], ids=str)
def test_of_every_family_it_is_scipy_s_of_each_element(case):
    distribution = built(case)(features_of(case))
    x, marginal = data_of(case), case.marginal(distribution)
    expected = (marginal.logpmf if case.is_discrete else marginal.logpdf)(x.astype("float64"))
    for view in (distribution, UnflattenedDistribution(distribution, (2, 2))):
        batch = tuple(view.batch_shape)
        found = view.log_prob_of_elements(x.reshape(*batch, *case.event_shape))
        np.testing.assert_allclose(found, expected.reshape(*batch, *case.event_shape), rtol=2e-3, atol=2e-3)
        whole = np.sum(found, axis=case.event_axes)
        np.testing.assert_allclose(whole, view.log_prob(x.reshape(*batch, *case.event_shape)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case.name.startswith(DEPENDENT)], ids=str)
def test_a_family_without_independent_elements_says_so(case):
    distribution = built(case)(features_of(case))
    why = (
        "whose pixels are independent, and not the channels"
        if "mixture" in case.name
        else "whose density is one of all"
    )
    message = f"log_prob_of_elements: expected a distribution of independent elements, .*; received [A-Z].*, {why}"
    for view in (distribution, UnflattenedDistribution(distribution, (2, 2))):
        with pytest.raises(ValueError, match=message):
            view.log_prob_of_elements(data_of(case).reshape(*view.batch_shape, *case.event_shape))


def vae_of(likelihood, **kwargs):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras_vae.layers.Impute(), IndependentNormal(2)])
    return keras_vae.VAE(encoder, keras.Sequential([layers.Dense(4, "tanh"), likelihood]), seed=0, **kwargs)


@every_batch
def test_the_elements_of_a_decoded_batch_are_seen_in_its_shape(batch_shape):
    vae = vae_of(IndependentNormal(6))
    z, x = RNG.normal(size=(*batch_shape, 2)).astype("float32"), RNG.normal(size=(4, 6)).astype("float32")
    likelihood = vae.decode(z)
    expected = scipy.stats.norm(likelihood.mean(), likelihood.stddev()).logpdf(x)
    assert expected.shape == (*batch_shape, 6)
    np.testing.assert_allclose(likelihood.distribution.log_prob(x), expected, rtol=1e-4)
    np.testing.assert_allclose(likelihood.log_prob_of_elements(x), expected, rtol=1e-4)
    assert tuple(likelihood.distribution.batch_shape) == (*batch_shape, 6)
    assert likelihood.distribution.sample(3, seed=0).shape == (3, *batch_shape, 6)
    np.testing.assert_allclose(likelihood.distribution.mean(), likelihood.mean())


@every_batch
def test_of_what_was_not_observed_it_is_0(batch_shape):
    for scale in (scales.Shared(initial=0.7), scales.Optimal()):
        vae = vae_of(Masked(IndependentNormal(3, scale=scale)))
        x = RNG.normal(size=(4, 3)).astype("float32")
        x[1, 2] = x[3, 0] = np.nan
        likelihood = vae.decode(RNG.normal(size=(*batch_shape, 2)).astype("float32"))
        found = likelihood.log_prob_of_elements(x)
        expected = scipy.stats.norm(likelihood.mean(), likelihood.stddev()).logpdf(x)
        np.testing.assert_allclose(found, np.where(np.isnan(x), 0.0, expected), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(np.sum(found, axis=-1), likelihood.log_prob(x), rtol=1e-5)


def test_under_a_fitted_sigma_it_is_what_training_scores():
    layer = IndependentNormal(3, scale=scales.Optimal())
    distribution = layer(RNG.normal(size=(8, 4)).astype("float32"), training=True)
    x = RNG.normal(size=(8, 3)).astype("float32")
    found = distribution.log_prob_of_elements(x)
    assert found.shape == (8, 3)
    np.testing.assert_allclose(np.sum(found, axis=-1), distribution.log_prob(x), rtol=1e-5)
    holes = np.where(x > 1.0, np.nan, x)
    masked = Masked(layer)(RNG.normal(size=(8, 4)).astype("float32"), training=True)
    found = masked.log_prob_of_elements(holes)
    np.testing.assert_array_equal(found.numpy()[np.isnan(holes)], 0.0)
    np.testing.assert_allclose(np.sum(found, axis=-1), masked.log_prob(holes), rtol=1e-5)


@every_batch
def test_of_a_joint_it_is_a_dictionary(batch_shape):
    likelihood = Joint({"age": IndependentNormal(()), "tests": Masked(IndependentBernoulli(3))})
    vae = vae_of(likelihood)
    z = RNG.normal(size=(*batch_shape, 2)).astype("float32")
    x = {"age": RNG.normal(size=4).astype("float32"), "tests": RNG.binomial(1, 0.5, (4, 3)).astype("float32")}
    x["tests"][0, 0] = np.nan
    found = vae.decode(z).log_prob_of_elements(x)
    assert {name: tuple(part.shape) for name, part in found.items()} == {
        "age": batch_shape,
        "tests": (*batch_shape, 3),
    }
    parts = vae.decode(z).parts
    np.testing.assert_allclose(
        found["age"], scipy.stats.norm(parts["age"].mean(), parts["age"].stddev()).logpdf(x["age"]), rtol=1e-4
    )
    total = found["age"] + np.sum(found["tests"], axis=-1)
    np.testing.assert_allclose(total, vae.decode(z).log_prob(x), rtol=1e-5)


@keras.saving.register_keras_serializable("test_elements")
def gammas(features):
    return tfd.Independent(tfd.Gamma(tf.exp(features), 2.0), 1)


@keras.saving.register_keras_serializable("test_elements")
def correlated(features):
    return tfd.MultivariateNormalTriL(features, tf.eye(4))


def test_of_tfp_s_own_distributions_under_several_batch_axes():
    z, x = RNG.normal(size=(5, 3, 2)).astype("float32"), RNG.gamma(2.0, size=(3, 4)).astype("float32")
    likelihood = vae_of(DistributionLambda(gammas)).decode(z)
    concentration = likelihood.distribution.mean().numpy() * 2.0
    expected = scipy.stats.gamma(concentration, scale=0.5).logpdf(x)
    np.testing.assert_allclose(likelihood.log_prob_of_elements(x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="received MultivariateNormalTriL, whose density is one of all elements"):
        vae_of(DistributionLambda(correlated)).decode(z).log_prob_of_elements(x)

"""The standard normal prior."""

import json
import re

import checks
import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from keras_vae.layers import IndependentNormal
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.priors import Prior, StandardNormal

tfd = tfp.distributions


def built(event_shape, **kwargs):
    prior = StandardNormal(**kwargs)
    prior.build(event_shape)
    return prior


@pytest.mark.parametrize("event_shape", [(), (5,), (2, 3)], ids=str)
def test_it_is_scipys(event_shape):
    distribution = built(event_shape, dtype="float64")()
    assert distribution.dtype == "float64"
    assert tuple(distribution.batch_shape) == ()
    assert tuple(distribution.event_shape) == event_shape
    z = np.random.default_rng(0).normal(0, 3, (4, *event_shape))
    expected = scipy.stats.norm.logpdf(z).sum(axis=tuple(range(1, z.ndim)))
    np.testing.assert_allclose(distribution.log_prob(z), expected, rtol=1e-10)
    np.testing.assert_array_equal(distribution.mean(), np.zeros(event_shape))
    np.testing.assert_array_equal(distribution.stddev(), np.ones(event_shape))


def test_draws_are_standard_normal():
    """Kolmogorov-Smirnov on 4000 draws of 5 elements. False-alarm rate: 1e-6."""
    draws = built((5,))().sample(4000, seed=(1, 2)).numpy()
    assert draws.shape == (4000, 5)
    assert min(scipy.stats.kstest(column, "norm").pvalue for column in draws.T) > 1e-6 / 5
    assert np.abs(np.corrcoef(draws, rowvar=False) - np.eye(5)).max() < 6 / np.sqrt(4000)


def test_kl_from_it_is_the_papers_closed_form():
    """1/2 sum (mu^2 + sigma^2 - 1 - log sigma^2), one number an example."""
    posterior = IndependentNormal(5, dtype="float64")(np.random.default_rng(0).normal(size=(4, 3)))
    kl = tfd.kl_divergence(posterior, built((5,), dtype="float64")())
    mean, variance = posterior.mean().numpy(), posterior.variance().numpy()
    np.testing.assert_allclose(kl, 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(axis=1), rtol=1e-10)
    assert kl.shape == (4,)


def test_kl_of_it_from_itself_is_exactly_zero():
    prior = built((5,))
    assert isinstance(prior(), IndependentNormalDistribution)
    assert tfd.kl_divergence(prior(), prior()).numpy() == 0.0


def test_the_event_shape_is_the_posteriors():
    prior = StandardNormal()
    assert prior.event_shape is None
    assert not prior.built
    prior.build((2, 3))
    assert prior.built
    assert prior.latent_shape == (2, 3)
    assert tuple(prior().event_shape) == (2, 3)
    # What was not given is not saved.
    assert prior.get_config()["event_shape"] is None


@pytest.mark.parametrize(("given", "latent"), [(5, (5,)), ((2, 3), (2, 3)), ([2, 3], [2, 3]), ((), ())])
def test_an_event_shape_that_is_the_posteriors_is_accepted(given, latent):
    prior = StandardNormal(given)
    prior.build(latent)
    assert tuple(prior().event_shape) == tuple(latent)


@pytest.mark.parametrize(("given", "latent"), [(5, (4,)), ((2, 3), (6,)), ((), (1,)), (1, ())])
def test_an_event_shape_that_is_not_the_posteriors_is_refused(given, latent):
    prior = StandardNormal(given)
    message = (
        f"StandardNormal: expected the posterior's event shape, {latent}; received: event_shape={prior.event_shape}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        prior.build(latent)


@pytest.mark.parametrize("event_shape", [0, -3, 2.5, True, (28, 0), "a"], ids=repr)
def test_a_wrong_event_shape_is_refused(event_shape):
    message = (
        "StandardNormal: expected `event_shape` to be a positive integer or a tuple of positive integers; received: "
    )
    with pytest.raises(ValueError, match=re.escape(message + repr(event_shape))):
        StandardNormal(event_shape)


@pytest.mark.parametrize("event_shape", [None, 5, (2, 3), ()], ids=repr)
def test_config_round_trip(event_shape):
    prior = StandardNormal(event_shape, name="latent_prior")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(prior)))
    assert config["registered_name"] == "keras_vae>StandardNormal"
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is StandardNormal
    assert copy.get_config() == prior.get_config()


def test_a_built_prior_comes_back_built():
    prior = built((2, 3))
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(prior))))
    assert tuple(copy().event_shape) == (2, 3)


@pytest.mark.parametrize(
    ("policy", "expected"), [("float32", "float32"), ("mixed_float16", "float32"), ("float64", "float64")]
)
def test_it_is_float32_or_wider(policy, expected):
    with checks.dtype_policy(policy):
        distribution = built((3,))()
    assert distribution.dtype == distribution.sample(seed=(1, 2)).dtype == expected


def test_it_has_nothing_to_train():
    assert built((3,)).weights == []


def test_it_works_inside_an_xla_program():
    prior = built((3,))
    z = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    log_prob = tf.function(lambda z: prior().log_prob(z), jit_compile=True, autograph=False)(z)
    np.testing.assert_allclose(log_prob, scipy.stats.norm.logpdf(z).sum(axis=1), rtol=1e-5)


def test_the_base_class_asks_for_a_distribution():
    prior = Prior()
    prior.build((3,))
    with pytest.raises(NotImplementedError, match="Prior must define `distribution`"):
        prior()

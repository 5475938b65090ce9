"""`UnflattenedDistribution` against the flat distribution it wraps, reshaped by hand."""

import checks
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from keras import ops

from keras_vae.layers.families.independent_bernoulli import IndependentBernoulliDistribution
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.layers.unflattened import UnflattenedDistribution

tfd = tfp.distributions
EVENTS = [(), (4,), (2, 3)]


def normal(parameters, log_variance, event_ndims):
    return IndependentNormalDistribution(parameters, log_variance, event_ndims)


def shared_sigma(parameters, log_variance, event_ndims):
    return IndependentNormalDistribution(parameters, tf.reduce_mean(log_variance), event_ndims)


def bernoulli(parameters, log_variance, event_ndims):
    return IndependentBernoulliDistribution(parameters, event_ndims)


def plain(parameters, log_variance, event_ndims):
    return tfd.Independent(tfd.Normal(parameters, tf.exp(log_variance / 2)), event_ndims)


FAMILIES = [normal, shared_sigma, bernoulli, plain]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
every_event = pytest.mark.parametrize("event_shape", EVENTS, ids=str)


@pytest.fixture(autouse=True)
def without_xla():
    """Only the shapes are in question here."""
    with checks.uncompiled():
        yield


def parameters_of(batch_shape, event_shape):
    mean, log_variance = np.random.default_rng(0).normal(size=(2, *batch_shape, *event_shape))
    return tf.constant(mean), tf.constant(log_variance)


def pair(family, batch_shape, event_shape):
    """A distribution of batch `batch_shape` made by unflattening, and the flat one."""
    flat = family(*parameters_of((int(np.prod(batch_shape)),), event_shape), len(event_shape))
    return UnflattenedDistribution(flat, batch_shape), flat


def bits(shape, seed=1):
    """Data that every family can score."""
    return np.random.default_rng(seed).binomial(1, 0.5, shape).astype("float64")


@every_family
@every_event
@pytest.mark.parametrize("batch_shape", [(2, 3), (6,), (1, 6), (2, 1, 3), ()], ids=str)
def test_it_is_the_flat_distribution_reshaped(family, event_shape, batch_shape):
    distribution, flat = pair(family, batch_shape, event_shape)
    assert tuple(distribution.batch_shape) == tuple(distribution.batch_shape_tensor()) == batch_shape
    assert tuple(distribution.event_shape) == tuple(distribution.event_shape_tensor()) == event_shape
    assert distribution.dtype == flat.dtype
    assert distribution.rows is flat
    for statistic in ("mean", "mode", "stddev", "variance"):
        expected = np.reshape(getattr(flat, statistic)(), (*batch_shape, *event_shape))
        np.testing.assert_array_equal(getattr(distribution, statistic)(), expected)
    np.testing.assert_array_equal(distribution.entropy(), np.reshape(flat.entropy(), batch_shape))
    x = bits((*batch_shape, *event_shape))
    expected = np.reshape(flat.log_prob(x.reshape(-1, *event_shape)), batch_shape)
    np.testing.assert_allclose(distribution.log_prob(x), expected, rtol=1e-12)


@every_family
@every_event
@pytest.mark.parametrize("sample_shape", [(), (5,), (5, 7)], ids=str)
def test_draws_are_those_of_the_flat_distribution(family, event_shape, sample_shape):
    distribution, flat = pair(family, (2, 3), event_shape)
    draws = distribution.sample(sample_shape, seed=(1, 2))
    expected = np.reshape(flat.sample(sample_shape, seed=(1, 2)), (*sample_shape, 2, 3, *event_shape))
    np.testing.assert_array_equal(draws, expected)
    log_prob = flat.log_prob(np.reshape(draws, (*sample_shape, 6, *event_shape)))
    np.testing.assert_allclose(distribution.log_prob(draws), np.reshape(log_prob, (*sample_shape, 2, 3)), rtol=1e-12)


@every_family
@every_event
@pytest.mark.parametrize("x_batch", [(3,), (1, 3), (2, 1), (1, 1), (), (5, 2, 3), (5, 1, 3), (4, 5, 1, 1)], ids=str)
def test_log_prob_broadcasts_as_arithmetic_does(family, event_shape, x_batch):
    """One x for all draws of the latent, [B, *event], is scored under each: [S, B]; and so on."""
    distribution, _ = pair(family, (2, 3), event_shape)
    x = bits((*x_batch, *event_shape))
    shape = np.broadcast_shapes(x_batch, (2, 3))
    # The same distribution, never flattened.
    mean, log_variance = parameters_of((6,), event_shape)
    reference = family(
        *(tf.reshape(parameter, (2, 3, *event_shape)) for parameter in (mean, log_variance)), len(event_shape)
    )
    log_prob = distribution.log_prob(x)
    assert log_prob.shape == shape
    expected = reference.log_prob(np.broadcast_to(x, (*shape, *event_shape)))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)


@pytest.mark.parametrize("x_batch", [(4,), (3, 2), (2, 3, 1)], ids=str)
def test_x_that_does_not_broadcast_is_refused(x_batch):
    distribution, _ = pair(normal, (2, 3), (4,))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=r"[Bb]roadcast|[Ii]ncompatible"):
        distribution.log_prob(bits((*x_batch, 4)))


@pytest.mark.parametrize("event_shape", [(), (2, 3)], ids=str)
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_batch_size_unknown_while_tracing(event_shape, jit_compile):
    traced = []

    def results(mean, x):
        size = ops.shape(mean)[:2]
        flat = IndependentNormalDistribution(
            ops.reshape(mean, (-1, *event_shape)), tf.constant(0.3, tf.float64), len(event_shape)
        )
        distribution = UnflattenedDistribution(flat, size)
        traced.append(distribution)
        draws = distribution.sample(5, seed=(1, 2))
        return (
            distribution.log_prob(x),
            distribution.mean(),
            distribution.entropy(),
            distribution.batch_shape_tensor(),
            draws,
            distribution.log_prob(draws),
        )

    tf.config.run_functions_eagerly(False)
    spec = tf.TensorSpec((2, None, *event_shape), tf.float64), tf.TensorSpec((None, *event_shape), tf.float64)
    function = tf.function(results, input_signature=spec, autograph=False, jit_compile=jit_compile)
    for batch in (3, 1):
        mean, x = parameters_of((2, batch), event_shape)[0], bits((batch, *event_shape))
        log_prob, received_mean, entropy, batch_shape, draws, log_prob_of_draws = function(mean, x)
        reference = plain(mean, tf.constant(0.3, tf.float64), len(event_shape))
        np.testing.assert_allclose(log_prob, reference.log_prob(x), rtol=1e-12)
        np.testing.assert_array_equal(received_mean, mean)
        np.testing.assert_allclose(entropy, reference.entropy(), rtol=1e-12)
        np.testing.assert_array_equal(batch_shape, [2, batch])
        assert draws.shape == (5, 2, batch, *event_shape)
        np.testing.assert_allclose(log_prob_of_draws, reference.log_prob(draws), rtol=1e-12)
    assert traced[0].batch_shape.as_list() == [2, None]
    assert tuple(traced[0].event_shape) == event_shape


@every_event
def test_gradients_pass_through(event_shape):
    mean, log_variance = parameters_of((2, 3), event_shape)
    x = bits((3, *event_shape))

    def gradients(unflatten):
        with tf.GradientTape() as tape:
            tape.watch([mean, log_variance])
            if unflatten:
                rows = [tf.reshape(parameter, (6, *event_shape)) for parameter in (mean, log_variance)]
                distribution = UnflattenedDistribution(IndependentNormalDistribution(*rows, len(event_shape)), (2, 3))
            else:
                distribution = IndependentNormalDistribution(mean, log_variance, len(event_shape))
            result = distribution.log_prob(x), distribution.sample(seed=(1, 2))
        return tape.gradient(result, [mean, log_variance])

    for ours, direct in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_allclose(ours, direct, rtol=1e-12)


@pytest.mark.parametrize("family", [normal, bernoulli])
def test_reparameterization_is_that_of_the_flat_distribution(family):
    distribution, flat = pair(family, (2, 3), (4,))
    assert distribution.reparameterization_type == flat.reparameterization_type


def test_it_is_named_after_the_flat_distribution():
    distribution, flat = pair(normal, (2, 3), (4,))
    assert distribution.name == f"Unflattened{flat.name}"
    assert UnflattenedDistribution(flat, (2, 3), name="Likelihood").name == "Likelihood"


def test_a_copy_is_the_same():
    distribution, _ = pair(normal, (2, 3), (4,))
    x = bits((2, 3, 4))
    np.testing.assert_array_equal(distribution.copy().log_prob(x), distribution.log_prob(x))

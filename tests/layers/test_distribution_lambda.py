"""`DistributionLambda`: a gamma and others by functions of one's own; what is saved; what is refused."""

import json
import zipfile

import checks
import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import Case, float64
from keras import ops

import keras_vae
from keras_vae import layers

tfd = tfp.distributions
register = keras.saving.register_keras_serializable("test_distribution_lambda")


@register
def gamma(features):
    """Three gammas of six features, with parameters from 0.1 on."""
    concentration, rate = ops.split(0.1 + ops.softplus(features), 2, axis=-1)
    return tfd.Independent(tfd.Gamma(concentration, rate), 1)


@register
def normal(features):
    return tfd.MultivariateNormalDiag(features[..., :2], 1e-3 + ops.softplus(features[..., 2:]))


@register
def mixture(features):
    """Two Gaussians a dimension: a family that the library does not have."""
    logits, loc, raw = ops.split(ops.reshape(features, (-1, 4, 18)), 3, axis=-1)
    parts = tfd.Normal(loc, 1e-3 + ops.softplus(raw))
    return tfd.Independent(tfd.MixtureSameFamily(tfd.Categorical(logits=logits), parts), 1)


def frozen(distribution):
    gammas = distribution.distribution
    return scipy.stats.gamma(float64(gammas.concentration), scale=1.0 / float64(gammas.rate))


GAMMA = Case(
    name="lambda-gamma",
    make=lambda **given: layers.DistributionLambda(gamma, **given),
    event_shape=(3,),
    log_prob=lambda distribution, x: frozen(distribution).logpdf(float64(x)).sum(axis=-1),
    marginal=frozen,
    draw_x=lambda rng, shape: rng.gamma(2.0, 1.0, shape),
    entropy=lambda distribution: frozen(distribution).entropy().sum(axis=-1),
)

# Not those of weights, which it has none of; nor of `projection`.
CHECKS = [
    checks.saved_model_round_trip,
    checks.log_prob_is_scipys,
    checks.log_prob_is_scipys_in_float32,
    checks.moments_are_scipys,
    checks.shapes_and_dtype,
    checks.symbolic_shape,
    checks.seeded_sample_is_reproducible,
    checks.samples_fit_their_marginals,
    checks.log_prob_of_the_draws_is_minus_the_entropy,
    checks.gradient_is_that_of_finite_differences,
    checks.xla_is_the_same_as_eager,
    checks.extreme_features_stay_finite,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_family_of_ones_own(check):
    check(GAMMA)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_under_mixed_precision_the_function_is_given_float32(policy):
    layer = layers.DistributionLambda(gamma, dtype=policy)
    distribution = layer(checks.features_of(GAMMA))
    assert distribution.dtype == "float32"
    assert distribution.log_prob(checks.data_of(GAMMA)).dtype == "float32"


# What is saved.


def test_the_config_holds_the_name_and_no_code():
    layer = layers.DistributionLambda(gamma, name="last", trainable=False)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["config"]["function"] == "test_distribution_lambda>gamma"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.function is gamma
    assert copy.get_config() == layer.get_config()


def test_a_name_that_is_not_registered_is_refused_when_loaded():
    config = {**layers.DistributionLambda(gamma).get_config(), "function": "another>gamma"}
    with pytest.raises(ValueError, match=r"no function is registered under the name 'another>gamma'.*Import"):
        layers.DistributionLambda.from_config(config)


def test_custom_objects_are_looked_up_first():
    config = layers.DistributionLambda(gamma).get_config()
    with keras.saving.custom_object_scope({"another>gamma": normal}):
        copy = layers.DistributionLambda.from_config({**config, "function": "another>gamma"})
    assert copy.function is normal


# What is refused.


def unregistered(features):
    return tfd.Independent(tfd.Normal(features, 1.0), 1)


@pytest.mark.parametrize("function", [unregistered, lambda features: normal(features), None, "gamma", tfd.Normal])
def test_what_could_not_be_saved_is_refused_at_once(function):
    with pytest.raises(ValueError, match=r"DistributionLambda: expected a function registered with Keras.*received: "):
        layers.DistributionLambda(function)


@register
def no_distribution(features):
    return features


@register
def two_batch_axes(features):
    return tfd.Normal(features, 1.0)


@register
def no_batch(features):
    return tfd.MultivariateNormalDiag(tf.zeros(3))


@register
def several(features):
    return tfd.JointDistributionSequential([unregistered(features), unregistered(features)], batch_ndims=1)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_distribution, "expected the function to return a tfd.Distribution; received a SymbolicTensor"),
        (two_batch_axes, r"one batch axis, the features', \(None,\).*batch shape \(None, 3\).*tfd.Independent\("),
        (no_batch, r"one batch axis, the features', \(None,\).*batch shape \(\), event shape \(3,\)"),
        (several, r"an event that is one tensor.*keras_vae.layers.Joint"),
    ],
)
def test_what_is_no_distribution_of_each_example_is_refused(function, message):
    with pytest.raises(ValueError, match=rf"DistributionLambda\(.*>{function.__name__}\): .*{message}"):
        keras.Sequential([keras.Input((3,)), layers.DistributionLambda(function)])


# In a VAE.


def vae(num_samples=1):
    """A VAE both of whose ends are functions."""
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.layers.Dense(4), layers.DistributionLambda(normal)])
    decoder = keras.Sequential([keras.layers.Dense(72), layers.DistributionLambda(mixture)])
    return keras_vae.VAE(encoder, decoder, objective=keras_vae.objectives.ELBO(num_samples=num_samples), seed=0)


def test_a_vae_of_functions_trains_saves_and_loads(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    x += 3 * np.sign(x[:, :1])
    model = vae(num_samples=3)
    model.compile(keras.optimizers.Adam(0.02), jit_compile=True)
    history = model.fit(x, epochs=15, batch_size=50, verbose=0).history
    assert history["elbo"][-1] > history["elbo"][0] + 1
    assert model.generate(5, seed=0, sample=True).shape == (5, 4)
    model.save(tmp_path / "vae.keras")
    config = zipfile.ZipFile(tmp_path / "vae.keras").read("config.json").decode()
    assert "__lambda__" not in config
    copy = keras.saving.load_model(tmp_path / "vae.keras")  # safe_mode is on
    np.testing.assert_array_equal(copy.reconstruct(x), model.reconstruct(x))


def test_joint_takes_it_as_a_part():
    joint = layers.Joint({"waits": layers.DistributionLambda(gamma), "mean": layers.IndependentNormal(())})
    features = checks.features_of(GAMMA)
    assert keras.Sequential([keras.Input((6,)), joint]).output_shape == (None, 4)
    waits, mean = checks.data_of(GAMMA), np.zeros(len(features), "float32")
    parts = joint(features)
    expected = gamma(ops.convert_to_tensor(features)).log_prob(waits) + parts.parts["mean"].log_prob(mean)
    np.testing.assert_allclose(parts.log_prob({"waits": waits, "mean": mean}), expected, rtol=1e-6)

"""What stands for a distribution: the mode of categories, wherever a VAE predicts; the centre of what has no mean."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp
from checks import uncompiled
from keras import layers, ops

import keras_vae
from keras_vae.callbacks.inspection import Inspector
from keras_vae.estimates import centre, point_estimate, probabilities_of
from keras_vae.layers import IndependentCategorical, IndependentNormal, Joint, Masked
from keras_vae.layers.families.independent_categorical import IndependentCategoricalDistribution
from keras_vae.layers.unflattened import UnflattenedDistribution

tfd, tfb = tfp.distributions, tfp.bijectors

RNG = np.random.default_rng(0)
# Of three categories the first and the last are likely: the mean of the codes, 1, is the one that hardly occurs.
LOGITS = np.log([[0.5, 0.1, 0.4], [0.3, 0.1, 0.6]]).astype("float32")


# Categories.


def test_categories_are_estimated_by_their_mode_and_say_their_probabilities():
    distribution = IndependentCategoricalDistribution(LOGITS, event_ndims=0)
    np.testing.assert_array_equal(point_estimate(distribution), [0.0, 2.0])
    assert point_estimate(distribution).dtype == "float32"
    np.testing.assert_allclose(distribution.mean(), [0.9, 1.3], rtol=1e-6)  # stays what it is
    np.testing.assert_allclose(probabilities_of(distribution), np.exp(LOGITS), rtol=1e-6)
    assert probabilities_of(IndependentNormal(2)(np.zeros((1, 3)))) is None


def test_of_several_draws_the_probabilities_are_averaged_and_not_the_codes():
    """The likeliest category of 0.5, 0.1, 0.4 and of 0.0, 0.45, 0.55 is the last of their average, 0.25, 0.275, 0.475;
    the mode of neither the average of the codes nor of most draws.
    """
    probabilities = np.array([[0.5, 0.1, 0.4], [0.5, 0.1, 0.4], [1e-6, 0.2, 0.8]])  # two of three say the first
    flat = IndependentCategoricalDistribution(np.log(probabilities).astype("float32"), event_ndims=0)
    draws = UnflattenedDistribution(flat, (3, 1))
    average = lambda value: ops.mean(value, axis=0)  # noqa: E731 - as ForwardPass has it
    np.testing.assert_array_equal(point_estimate(draws, average), [2.0])
    np.testing.assert_array_equal(point_estimate(draws), [[0.0], [0.0], [2.0]])
    np.testing.assert_allclose(probabilities_of(draws)[:, 0], probabilities, rtol=1e-5)
    # Of numbers, the mean of the means.
    numbers = IndependentNormal(1, projection=False, scale=1.0)(np.array([[1.0], [2.0], [6.0]], "float32"))
    np.testing.assert_allclose(point_estimate(UnflattenedDistribution(numbers, (3, 1)), average), [[3.0]])


COLOURS = RNG.integers(0, 3, (64, 1)).astype("float32")
X = {"colour": COLOURS, "tone": RNG.integers(0, 3, (64, 2)).astype("float32"), "size": COLOURS - 1.0}
X["tone"][::7, 0] = np.nan


def table_vae(num_samples=1):
    """A VAE of a category, two more with holes, and a number."""
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input(part.shape[1:], name=name) for name, part in X.items()}
    columns = [keras_vae.layers.Impute()(inputs[name]) for name in X]
    encoder = keras.Model(inputs, IndependentNormal(2)(layers.Concatenate()(columns)))
    parts = {
        "colour": IndependentCategorical(1, levels=3),
        "tone": Masked(IndependentCategorical(2, levels=3)),
        "size": IndependentNormal(1),
    }
    decoder = keras.Sequential([layers.Dense(8, "tanh"), Joint(parts)])
    vae = keras_vae.VAE(encoder, decoder, seed=0, objective=keras_vae.objectives.ELBO(num_samples=num_samples))
    vae.build({name: part.shape for name, part in X.items()})
    decoder.layers[-1].likelihoods["colour"].weights[0].assign(RNG.normal(0.0, 5.0, (8, 3)))
    return vae


def modes(likelihood, name):
    """NumPy's argmax of what the network gives."""
    part = likelihood.parts[name]
    return np.asarray(getattr(part, "logits", None) if name == "colour" else part.distribution.logits).argmax(axis=-1)


def test_a_vae_predicts_categories_by_their_mode_everywhere():
    vae = table_vae()
    z = vae.encode(X).mean()
    likelihood = vae.decode(z)
    found = vae.reconstruct(X)
    for name in ("colour", "tone"):
        np.testing.assert_array_equal(found[name], modes(likelihood, name))
        expected = scipy.special.softmax(np.asarray(likelihood.parts["colour"].logits), axis=-1)
        np.testing.assert_allclose(likelihood.probabilities()["colour"], expected, rtol=1e-5)
    assert len(np.unique(found["colour"])) > 1
    assert set(likelihood.probabilities()) == {"colour", "tone"}
    np.testing.assert_allclose(found["size"], likelihood.parts["size"].mean())
    generated = vae.generate(50, seed=0)
    assert set(np.unique(generated["colour"])) | set(np.unique(generated["tone"])) <= {0.0, 1.0, 2.0}
    predicted = vae.predict(X, verbose=0)["reconstruction"]
    assert set(np.unique(predicted["colour"])) <= {0.0, 1.0, 2.0}
    np.testing.assert_allclose(
        np.asarray(vae.decode(z[None]).probabilities()["tone"])[0], likelihood.parts["tone"].probabilities()
    )


def test_what_pictures_show_of_categories_is_their_mode():
    vae = table_vae()
    z = np.asarray(vae.encode(X).mean())
    found = Inspector(vae, X).decode(z)
    for name in ("colour", "tone"):
        np.testing.assert_array_equal(found[name], modes(vae.decode(z), name))


def test_categories_train_in_one_xla_program():
    vae = table_vae(num_samples=2)
    vae.compile("adam", jit_compile=True)
    history = vae.fit(X, epochs=2, verbose=0).history
    assert history["nll/colour"][1] < history["nll/colour"][0]
    assert set(np.unique(vae.predict(X, verbose=0)["reconstruction"]["tone"])) <= {0.0, 1.0, 2.0}


def test_predict_averages_the_probabilities_of_its_draws():
    vae = table_vae(num_samples=5)
    forward = vae.forward_pass(X, np.array([0, 1], "int32"))
    logits = np.asarray(vae.decode(forward.z).parts["colour"].probabilities())
    assert logits.shape == (5, 64, 1, 3)
    np.testing.assert_array_equal(forward.reconstruction()["colour"], logits.mean(axis=0).argmax(axis=-1))


# What has no mean.


def flow(base=None):
    """A distribution of batch [3] and event [2] that a bijector without a constant Jacobian made of another one."""
    base = (
        tfd.MultivariateNormalDiag(tf.constant([[0.5, -1.0], [0.0, 2.0], [1.0, 1.0]]), [1.0, 2.0])
        if base is None
        else base
    )
    return tfd.TransformedDistribution(base, tfb.SinhArcsinh(skewness=0.5, tailweight=1.5))


def test_the_centre_is_the_mean_or_the_mode_where_there_is_one():
    normal = tfd.Normal([1.0, 2.0], 3.0)
    np.testing.assert_array_equal(centre(normal), [1.0, 2.0])

    class Modal(tfd.Normal):
        def _mean(self):
            raise NotImplementedError

    np.testing.assert_array_equal(centre(Modal([1.0, 2.0], 3.0)), [1.0, 2.0])


def test_the_centre_of_a_flow_is_its_base_s_mean_pushed_through():
    def pushed(u):
        return np.sinh((np.arcsinh(np.asarray(u, "float64")) + 0.5) * 1.5) / np.sinh(np.arcsinh(2.0) * 1.5) * 2.0

    with pytest.raises(NotImplementedError):
        flow().mean()
    np.testing.assert_allclose(centre(flow()), pushed([[0.5, -1.0], [0.0, 2.0], [1.0, 1.0]]), rtol=1e-5)
    # In a flow of a flow, under an Independent, and of a base without the batch that the bijector brings.
    np.testing.assert_allclose(centre(flow(flow())), pushed(pushed([[0.5, -1.0], [0.0, 2.0], [1.0, 1.0]])), rtol=1e-5)
    by_element = tfd.Independent(flow(tfd.Normal(tf.constant([[0.5, -1.0]]), 1.0)), 1)
    np.testing.assert_allclose(centre(by_element), pushed([[0.5, -1.0]]), rtol=1e-5)
    skewness = tf.constant([[0.5], [0.5], [0.5]])
    base = tfd.MultivariateNormalDiag([0.3, -0.3], [1.0, 1.0])
    of_no_batch = tfd.TransformedDistribution(base, tfb.SinhArcsinh(skewness=skewness, tailweight=1.5))
    np.testing.assert_allclose(centre(of_no_batch), np.tile(pushed([0.3, -0.3]), (3, 1)), rtol=1e-5)


def test_the_centre_of_what_says_nothing_is_a_mean_of_the_same_draws():
    """Within 6 standard errors of 256 draws of sigma 0.5. False-alarm rate: below 1e-8."""

    class Mute(tfd.Normal):
        def _mean(self):
            raise NotImplementedError

        _mode = _mean

    mute = Mute(tf.constant([1.0, 20.0]), 0.5)
    np.testing.assert_allclose(centre(mute), [1.0, 20.0], atol=6 * 0.5 / 16)
    np.testing.assert_array_equal(centre(mute), centre(mute))


@keras.saving.register_keras_serializable("estimates")
class MaskedFlow(keras_vae.layers.WrapperLayer):
    """A posterior that a RealNVP makes of another one."""

    def build(self, input_shape):
        super().build(input_shape)
        self.net = layers.Dense(1, dtype="float32")
        self.net.build((None, 1))

    def wrap(self, distribution):
        def shift_and_scale(u, size, **_):
            shift = self.net(ops.reshape(u, (-1, 1)))
            shift = ops.reshape(shift, ops.shape(u))
            return shift, 0.3 * ops.tanh(shift)

        flow = tfb.RealNVP(num_masked=1, shift_and_log_scale_fn=shift_and_scale)
        return tfd.TransformedDistribution(distribution, flow)


def flow_vae(likelihood=None):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras_vae.layers.Impute(), layers.Dense(4, "tanh"), MaskedFlow(IndependentNormal(2))])
    decoder = keras.Sequential([layers.Dense(4, "tanh"), likelihood or IndependentNormal(3)])
    return keras_vae.VAE(encoder, decoder, seed=0)


ROWS = RNG.normal(size=(64, 3)).astype("float32")


def pushed_by_hand(vae, x):
    """The centre by NumPy: the second of the two latents is shifted and scaled by the first."""
    u = np.asarray(vae.encode(x).distribution.mean(), "float64")
    weight, bias = (np.asarray(each, "float64") for each in vae.encoder.layers[-1].net.get_weights())
    shift = u[:, :1] * weight + bias
    return np.concatenate([u[:, :1], u[:, 1:] * np.exp(0.3 * np.tanh(shift)) + shift], axis=1)


def test_a_vae_with_a_flow_for_a_posterior_reconstructs_and_is_exported(tmp_path):
    vae = flow_vae()
    vae.compile("adam", jit_compile=False)
    vae.fit(ROWS, verbose=0)
    z = pushed_by_hand(vae, ROWS)
    expected = vae.decode(z.astype("float32")).mean()
    np.testing.assert_allclose(vae.reconstruct(ROWS), expected, rtol=1e-4, atol=1e-5)
    assert vae.predict(ROWS, verbose=0)["reconstruction"].shape == (64, 3)
    with uncompiled():
        np.testing.assert_allclose(keras_vae.layers.Mean()(vae.encode(ROWS)), z, rtol=1e-4, atol=1e-5)
    vae.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served").signatures
    found = served["encode"](x=tf.constant(ROWS), seed=tf.constant(0, tf.int64))
    assert set(found) == {"mean", "sample"}
    np.testing.assert_allclose(found["mean"], z, rtol=1e-4, atol=1e-5)
    found = served["serving_default"](x=tf.constant(ROWS))["reconstruction"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_holes_are_looked_for_under_a_flow():
    """The data check asks the encoder what it makes of a hole."""
    vae = flow_vae(Masked(IndependentNormal(3)))
    vae.compile("adam", jit_compile=False)
    x = ROWS.copy()
    x[3, 1] = np.nan
    assert np.isfinite(vae.fit(x, verbose=0).history["loss"]).all()
    bare = keras_vae.VAE(
        keras.Sequential([layers.Dense(4, "tanh"), MaskedFlow(IndependentNormal(2))]),
        keras.Sequential([Masked(IndependentNormal(3))]),
    )
    bare.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match=r"Expected the encoder to take missing entries, as x has at position \[3\]"):
        bare.fit(x, verbose=0)

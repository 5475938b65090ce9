"""Missing entries: only what was observed is scored; the encoder gets numbers; nothing observed says nothing."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_vae
from keras_vae import layers, scales

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(6, 4)).astype("float32")
X = RNG.normal(size=(6, 2, 3)).astype("float32")
MISSING = RNG.uniform(size=X.shape) < 0.4
WITH_HOLES = np.where(MISSING, np.nan, X).astype("float32")


def table(num=300, seed=0):
    """Rows of six columns about a plane, a third of the entries missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(num, 6))
    missing = rng.uniform(size=x.shape) < 0.3
    missing[missing.all(axis=1), 0] = False
    return x.astype("float32"), np.where(missing, np.nan, x).astype("float32")


def masked_vae(mask=True, **kwargs):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([layers.Impute(mask=mask), keras.layers.Dense(32, "tanh"), layers.IndependentNormal(2)])
    likelihood = layers.IndependentNormal(6, scale=scales.Shared())
    decoder = keras.Sequential([keras.layers.Dense(32, "tanh"), layers.Masked(likelihood)])
    return keras_vae.VAE(encoder, decoder, seed=0, **kwargs)


@pytest.mark.parametrize("family", [layers.IndependentNormal, layers.IndependentLaplace, layers.IndependentLogistic])
def test_what_was_observed_is_scored_and_nothing_else(family):
    layer = layers.Masked(family((2, 3)))
    distribution = layer(FEATURES)
    loc, sigma = distribution.mean().numpy(), distribution.stddev().numpy()
    frozen = {
        "IndependentNormal": lambda: scipy.stats.norm(loc, sigma),
        "IndependentLaplace": lambda: scipy.stats.laplace(loc, sigma / np.sqrt(2)),
        "IndependentLogistic": lambda: scipy.stats.logistic(loc, sigma * np.sqrt(3) / np.pi),
    }[family.__name__]()
    expected = np.where(MISSING, 0.0, frozen.logpdf(X)).sum(axis=(1, 2))
    np.testing.assert_allclose(distribution.log_prob(WITH_HOLES), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(distribution.log_prob(X), frozen.logpdf(X).sum(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("scale", [None, scales.Optimal], ids=["per_element", "optimal"])
def test_gradients_are_those_of_the_observed_entries(scale):
    """Whatever stands in for a missing entry leaves no trace: elements without one have the same gradient."""
    layer = layers.Masked(layers.IndependentNormal((2, 3), scale=scale and scale()))
    features = tf.constant(FEATURES)
    with tf.GradientTape() as tape:
        tape.watch(features)
        log_prob = layer(features, training=True).log_prob(WITH_HOLES)
    gradient = tape.gradient(log_prob, features)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_an_optimal_sigma_is_that_of_the_observed_entries():
    layer = layers.Masked(layers.IndependentNormal((2, 3), scale=scales.Optimal(floor=1e-9)))
    distribution = layer(FEATURES, training=True)
    _, (fit,) = distribution.fitted_to(WITH_HOLES)
    fit.commit()
    residual = (X - distribution.mean().numpy())[~MISSING]
    np.testing.assert_allclose(layer.likelihood.scale.value(), np.sqrt(np.mean(residual**2)), rtol=1e-5)


def test_impute_puts_a_number_in_and_appends_the_mask():
    x = np.array([[1.0, np.nan], [np.nan, 2.0]], "float32")
    np.testing.assert_array_equal(layers.Impute(value=-1.0)(x), [[1, -1], [-1, 2]])
    np.testing.assert_array_equal(layers.Impute(mask=True)(x), [[1, 0, 1, 0], [0, 2, 0, 1]])
    assert layers.Impute(mask=True).compute_output_shape((None, 2)) == (None, 4)


@pytest.mark.parametrize("mask", [True, False])
def test_a_vae_learns_a_table_with_holes_and_fills_them_in(mask, tmp_path):
    x, with_holes = table()
    vae = masked_vae(mask)
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = vae.fit(with_holes, epochs=60, batch_size=50, verbose=0).history
    assert history["elbo"][-1] > history["elbo"][0] + 1
    filled = np.asarray(vae.reconstruct(with_holes))
    missing = np.isnan(with_holes)
    error = np.sqrt(np.mean((filled - x)[missing] ** 2))
    assert error < 0.7 * x.std(), "no better than the mean of the column"
    assert np.isfinite(vae.log_likelihood(with_holes, num_samples=50, verbose=0)).all()
    vae.save(tmp_path / "vae.keras")
    copy = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(copy.reconstruct(with_holes), filled)


@pytest.mark.parametrize("as_dataset", [False, True])
def test_of_an_example_of_which_nothing_was_observed_a_word_is_said_and_log_p_is_0(as_dataset):
    _, with_holes = table()
    with_holes[[17, 18]] = np.nan
    vae = masked_vae()
    vae.compile("sgd", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices(with_holes).batch(10) if as_dataset else with_holes
    of_batch, position = (" of batch 1", 7) if as_dataset else ("", 17)
    message = rf"^x{of_batch} has 2 example\(s\) of which nothing was observed, the first at position \[{position}\]"
    with pytest.warns(UserWarning, match=message) as said:
        vae.fit(data, verbose=0)
    assert len([each for each in said if each.category is UserWarning]) == 1
    with pytest.warns(UserWarning, match="Their log-likelihood is 0"):
        log_p = vae.log_likelihood(data, num_samples=10, verbose=0)
    assert np.flatnonzero(log_p == 0.0).tolist() == [17, 18]
    assert np.isfinite(log_p).all() and np.isfinite(vae.get_weights()[0]).all()


def test_infinity_is_no_missing_entry():
    _, with_holes = table()
    with_holes[3, 2] = np.inf
    vae = masked_vae()
    vae.compile("sgd", jit_compile=False)
    with pytest.raises(ValueError, match=r"received inf at position \[3, 2\], the first of 1 value"):
        vae.fit(with_holes, verbose=0)


def test_what_is_no_distribution_layer_is_refused():
    with pytest.raises(ValueError, match="Masked: expected `likelihood` to be a layer of independent elements"):
        layers.Masked(keras.layers.Dense(3))


@pytest.mark.parametrize("kind", ["array", "dataset", "generator"])
def test_an_encoder_that_takes_no_missing_entries_is_told_so(kind):
    _, x = table()
    encoder = keras.Sequential([keras.layers.Dense(32, "tanh"), layers.IndependentNormal(2)])
    decoder = keras.Sequential([keras.layers.Dense(32, "tanh"), layers.Masked(layers.IndependentNormal(6))])
    vae = keras_vae.VAE(encoder, decoder)
    vae.compile("sgd", jit_compile=False)
    data = {
        "array": lambda: x,
        "dataset": lambda: tf.data.Dataset.from_tensor_slices(x).batch(50),
        "generator": lambda: (batch for batch in np.split(x, 6)),
    }[kind]()
    with pytest.raises(
        ValueError, match=r"Expected the encoder to take missing entries, as x has at position .*Impute"
    ):
        vae.fit(data, verbose=0)
    complete = np.nan_to_num(x)
    assert np.isfinite(vae.fit(complete, verbose=0).history["loss"]).all()


def test_a_bad_value_among_missing_ones_is_named_by_its_place():
    x = np.abs(np.round(table()[1]))
    x[0, 0], x[5, 2] = np.nan, -4.0
    encoder = keras.Sequential([layers.Impute(), keras.layers.Dense(4), layers.IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, keras.Sequential([layers.Masked(layers.IndependentPoisson(6))]))
    vae.compile("sgd", jit_compile=False)
    with pytest.raises(ValueError, match=r"IndependentPoisson scores counts: .*; received -4.0 at position \[5, 2\]"):
        vae.fit(x, verbose=0)


def test_a_model_whose_weights_are_nan_is_not_told_to_impute():
    vae = masked_vae()
    vae.compile("sgd", jit_compile=False)
    vae.fit(table()[1], verbose=0)
    vae.encoder.layers[1].kernel.assign(np.full(vae.encoder.layers[1].kernel.shape, np.nan))
    assert np.isnan(vae.evaluate(table()[1], verbose=0, return_dict=True)["loss"])


@pytest.mark.parametrize("mask", [False, True])
def test_impute_takes_columns_of_one_number_and_integers(mask):
    layer = layers.Impute(mask=mask)
    imputed = np.asarray(layer(np.array([1.0, np.nan, 3.0], "float32")))
    expected = [[1.0, 1.0], [0.0, 0.0], [3.0, 1.0]] if mask else [1.0, 0.0, 3.0]
    np.testing.assert_array_equal(imputed, expected)
    assert layer.compute_output_shape((None,)) == ((None, 2) if mask else (None,))
    assert layer(np.array([[1], [2]])).dtype == "float32"


def test_a_network_that_ends_in_it_knows_its_shape():
    model = keras.Sequential([keras.layers.Dense(3), layers.Masked(layers.IndependentNormal((2, 3)))])
    assert model.compute_output_shape((None, 4)) == (None, 2, 3)


def test_a_family_that_does_not_say_its_support_is_refused():
    class NoSupport(layers.IndependentNormal):
        def call(self, features, training=None):
            distribution = super().call(features, training)
            distribution.support = None
            return distribution

    with pytest.raises(ValueError, match=r"expected a distribution that says its `support`.*received Independent"):
        layers.Masked(NoSupport(3))(np.zeros((2, 4), "float32"))

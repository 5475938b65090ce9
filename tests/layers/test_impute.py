"""Steps of which nothing was observed: an encoder of sequences passes over them, and no other layer sees a thing."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from saved import reload
from variants import fast_for

import keras_vae
from keras_vae.layers import Impute, IndependentNormal, Masked

LENGTHS = np.array([6, 4, 1, 3])
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(4, 6, 2)).astype("float32")


def padded(num_steps=6, side="end"):
    """Sequences of `LENGTHS`, padded with NaN to `num_steps`."""
    x = np.full((4, num_steps, 2), np.nan, "float32")
    for row, length in enumerate(LENGTHS):
        at = slice(0, length) if side == "end" else slice(num_steps - length, num_steps)
        x[row, at] = VALUES[row, :length]
    return x


def attention(x):
    return keras.layers.GlobalAveragePooling1D()(keras.layers.MultiHeadAttention(2, 3)(x, x))


READERS = {
    "lstm": keras.layers.LSTM(5),
    "gru": keras.layers.GRU(5),
    "simple": keras.layers.SimpleRNN(5),
    "bidirectional": keras.layers.Bidirectional(keras.layers.GRU(3)),
    "stacked": lambda x: keras.layers.LSTM(4)(keras.layers.GRU(4, return_sequences=True)(x)),
    "attention": attention,
}


def encoder_of(name, num_steps=None, **kwargs):
    keras.utils.set_random_seed(0)
    reader = READERS[name]
    if isinstance(reader, keras.layers.Layer):
        reader = type(reader).from_config(reader.get_config())
    inputs = keras.Input((num_steps, 2))
    outputs = IndependentNormal(2)(reader(Impute(**{"mask": True, "mask_steps": True, **kwargs})(inputs)))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("name", READERS)
def test_neither_what_pads_hold_nor_how_many_there_are_changes_the_posterior(name):
    """Against each sequence by itself, unpadded; and another number in the place of NaN."""
    encoder, other = encoder_of(name), encoder_of(name, value=-9.0)
    other.set_weights(encoder.get_weights())
    found = encoder(padded()).mean().numpy()
    np.testing.assert_allclose(encoder(padded(9)).mean(), found, atol=1e-6)
    np.testing.assert_allclose(other(padded()).mean(), found, atol=1e-6)
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(encoder(VALUES[row : row + 1, :length]).mean()[0], found[row], atol=1e-6)
    if name != "attention":
        np.testing.assert_allclose(encoder(padded(9, side="start")).mean(), found, atol=1e-6)


@pytest.mark.parametrize("name", ["gru", "attention"])
def test_without_it_they_do(name):
    encoder = encoder_of(name, mask_steps=False)
    assert np.abs(encoder(padded(9)).mean() - encoder(padded()).mean())[2].max() > 1e-3


def test_an_entry_that_is_missing_in_a_step_masks_nothing():
    """A step of which something was observed is read, with its hole; one of which nothing was is passed over."""
    x = VALUES.copy()
    x[0, 2, 1] = np.nan
    x[1, 3] = np.nan
    layer = Impute(mask=True, mask_steps=True)
    mask = layer.compute_mask(tf.constant(x))
    assert mask.shape == (4, 6) and not mask[1, 3] and int(np.sum(mask)) == 23
    encoder = encoder_of("gru")
    np.testing.assert_allclose(encoder(x[1:2]).mean(), encoder(np.delete(x[1:2], 3, axis=1)).mean(), atol=1e-6)
    assert np.abs(encoder(x[:1]).mean() - encoder(np.delete(x[:1], 2, axis=1)).mean()).max() > 1e-3
    before = tf.constant(np.arange(6)[None] < 5)
    np.testing.assert_array_equal(layer.compute_mask(tf.constant(x), before), np.asarray(mask) & np.asarray(before))


@pytest.mark.parametrize(
    "following",
    [
        [keras.layers.Dense(3), keras.layers.Flatten()],
        [keras.layers.Conv1D(3, 2), keras.layers.Flatten()],
        [keras.layers.BatchNormalization(), keras.layers.Flatten()],
        [keras.layers.GlobalAveragePooling1D()],
        [keras.layers.LSTM(3)],
    ],
    ids=lambda layers: layers[0].name,
)
def test_by_default_no_layer_is_told_and_none_warns(following):
    """What layers give to an `Impute()` is what they give to the imputed numbers themselves."""
    x = padded()
    network = keras.Sequential([Impute(), *following])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = network(x, training=True)
    expected = keras.Sequential(following)(np.nan_to_num(x), training=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_without_an_axis_of_steps_it_is_refused(shape):
    with pytest.raises(ValueError, match=r"Impute: expected x of shape \[batch, steps, features\] for mask_steps=True"):
        Impute(mask_steps=True)(np.zeros(shape, "float32"))
    with pytest.raises(ValueError, match="Impute: expected `mask_steps` to be"):
        Impute(mask_steps="yes")


@pytest.mark.parametrize("jit_compile", fast_for(True, among=[True, False]))
@pytest.mark.parametrize("name", fast_for("attention", among=["lstm", "bidirectional", "attention"]))
def test_a_vae_of_padded_sequences_trains_comes_back_and_is_exported(name, jit_compile, tmp_path):
    likelihood = Masked(IndependentNormal((6, 2), scale=keras_vae.scales.Shared()))
    decoder = keras.Sequential([keras.layers.Dense(8, "tanh"), likelihood])
    vae = keras_vae.VAE(encoder_of(name, 6), decoder, seed=0)
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=jit_compile)
    x = padded()
    losses = vae.fit(x, epochs=100, batch_size=4, verbose=0).history["loss"]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 1.0  # nats, of about 10
    assert vae.compilation.startswith("one XLA program") is jit_compile
    eager = vae.encoder(x).mean().numpy()
    np.testing.assert_allclose(vae.encode(x).mean(), eager, atol=1e-6)
    # What is passed over is so in programs too: the last two steps of a sequence of four hold nothing.
    np.testing.assert_allclose(tf.function(vae.encoder, jit_compile=True)(tf.constant(x)).mean(), eager, atol=1e-5)
    np.testing.assert_allclose(reload(vae, tmp_path).encode(x).mean(), eager, atol=1e-6)
    vae.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served").signatures["encode"]
    inputs = {"seed": tf.constant(0, tf.int64)}
    (key,) = set(served.structured_input_signature[1]) - {"seed"}
    np.testing.assert_allclose(served(**inputs, **{key: tf.constant(x)})["mean"], eager, atol=1e-5)

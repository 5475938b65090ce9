"""Encoders and decoders are Keras models: under another head, frozen, pretrained, shared."""

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits
from small import digits, gaussian_vae

import keras_vae
from keras_vae.layers import IndependentNormal, Mean

X, LABELS = digits()[:200], load_digits().target[:200]


def trained_vae(**kwargs):
    vae = gaussian_vae(latent=8, units=32, **kwargs)
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    vae.fit(X, epochs=3, verbose=0)
    return vae


@pytest.mark.parametrize("frozen", [False, True])
def test_an_encoder_under_a_classifier_s_head(frozen, tmp_path):
    vae = trained_vae()
    vae.encoder.trainable = not frozen
    classifier = keras.Sequential([vae.encoder, Mean(), layers.Dense(10, "softmax")])
    classifier.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = [weight.numpy() for weight in vae.encoder.weights]
    history = classifier.fit(X, LABELS, epochs=20, verbose=0).history
    assert history["accuracy"][-1] > 0.5 > history["accuracy"][0]
    unchanged = [np.array_equal(a, b) for a, b in zip(before, vae.encoder.weights, strict=True)]
    assert all(unchanged) if frozen else not any(unchanged[:2])
    classifier.save(tmp_path / "classifier.keras")
    copy = keras.saving.load_model(tmp_path / "classifier.keras")
    np.testing.assert_array_equal(copy.predict(X, verbose=0), classifier.predict(X, verbose=0))


def test_in_a_functional_model_and_on_a_tensor():
    vae = trained_vae()
    inputs = keras.Input((8, 8, 1))
    features = Mean()(vae.encoder(inputs))
    assert features.shape == (None, 8)
    model = keras.Model(inputs, features)
    np.testing.assert_allclose(model.predict(X[:5], verbose=0), vae.encode(X[:5]).mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(Mean()(np.ones((2, 3))), np.ones((2, 3)))
    assert Mean(dtype="mixed_bfloat16")(vae.encode(X[:5])).dtype == "bfloat16"


def test_a_frozen_encoder_is_left_alone_by_a_vae():
    vae = trained_vae()
    vae.encoder.trainable = False
    vae.compile("sgd", jit_compile=False)
    before = vae.encoder.get_weights()
    decoder = vae.decoder.get_weights()
    vae.fit(X, verbose=0)
    for one, other in zip(before, vae.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(decoder[0], vae.decoder.get_weights()[0])


def test_a_pretrained_convolutional_trunk():
    keras.utils.set_random_seed(0)
    trunk = keras.Sequential([layers.Conv2D(8, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten()])
    classifier = keras.Sequential([trunk, layers.Dense(10, "softmax")])
    classifier.compile("sgd", "sparse_categorical_crossentropy")
    classifier.fit(X, LABELS, verbose=0)
    trunk.trainable = False
    before = trunk.get_weights()
    vae = keras_vae.VAE(
        keras.Sequential([trunk, IndependentNormal(4)]), keras.Sequential([IndependentNormal((8, 8, 1))]), seed=0
    )
    vae.compile(keras.optimizers.Adam(0.01))
    history = vae.fit(X, epochs=3, verbose=0).history["elbo"]
    assert history[-1] > history[0]
    for one, other in zip(before, trunk.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_vaes_share_an_encoder(tmp_path):
    first = trained_vae()
    other_decoder = keras.Sequential([layers.Dense(32, "tanh"), keras_vae.layers.IndependentBernoulli((8, 8, 1))])
    second = keras_vae.VAE(first.encoder, other_decoder, seed=1)
    second.compile("sgd", jit_compile=False)
    before = first.reconstruct(X[:3])
    second.fit(X, verbose=0)
    assert first.encoder is second.encoder
    np.testing.assert_array_equal(first.encode(X[:3]).mean(), second.encode(X[:3]).mean())
    assert not np.allclose(before, first.reconstruct(X[:3]))
    for vae in (first, second):
        vae.save(tmp_path / "vae.keras")
        copy = keras.saving.load_model(tmp_path / "vae.keras")
        np.testing.assert_array_equal(copy.reconstruct(X[:3]), vae.reconstruct(X[:3]))

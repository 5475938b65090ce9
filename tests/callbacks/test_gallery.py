"""`Gallery`: the pictures that TensorBoard shows, as files."""

import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import KERAS, digits, gaussian_vae
from watched import Log, compiled, files_under, fit, in_levels, pixels_of, small_vae, tile

import keras_vae
from keras_vae.callbacks import CollapseAlarm, Gallery, TensorBoard

pytestmark = pytest.mark.filterwarnings("error:.*Training goes on:RuntimeWarning")

KINDS = {"reconstructions", "samples", "traversal", "manifold"}


def picture(folder, name):
    return pixels_of((folder / f"{name}.png").read_bytes())


def without_matplotlib(monkeypatch):
    for name in [*sys.modules, "matplotlib"]:
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)


def test_files_are_what_tensorboard_shows(tmp_path):
    vae = compiled(gaussian_vae(latent=2, units=8, scale=keras_vae.scales.PerElement()))
    folder = tmp_path / "some" / "folder"  # is made
    data = {"validation_data": (digits()[128:192],), "epochs": 2}
    fit(vae, digits()[:128], TensorBoard(tmp_path / "log"), Gallery(folder), **data)
    log, kinds = Log(tmp_path / "log"), KINDS | {"sigma"}
    assert log.tags("images") == {f"pictures/{kind}" for kind in kinds}
    assert files_under(folder) == sorted(f"{kind}-000{epoch}.png" for kind in kinds for epoch in (1, 2))
    for kind in kinds:
        shown = log.pictures(f"pictures/{kind}")
        for epoch in (1, 2):
            np.testing.assert_array_equal(picture(folder, f"{kind}-000{epoch}"), shown[epoch - 1])
        assert not np.array_equal(*shown), "what is learned shows"
    np.testing.assert_array_equal(tile(picture(folder, "reconstructions-0002"), 0, 7), in_levels(digits()[135]))


def test_every_third_epoch_of_examples_that_were_given(tmp_path, monkeypatch):
    """By epochs as Keras counts them aloud, from one; of pixels in a row; and without matplotlib."""
    without_matplotlib(monkeypatch)
    vae, x = compiled(gaussian_vae((64,), latent=2, units=8)), digits().reshape(-1, 64)
    callback = Gallery(str(tmp_path), freq=3, examples=x[90:99], shape=(8, 8, 1))
    fit(vae, stream(), callback, batch_size=None, steps_per_epoch=1, epochs=7)
    assert files_under(tmp_path) == sorted(f"{kind}-000{epoch}.png" for kind in KINDS for epoch in (3, 6, 7))
    found = picture(tmp_path, "reconstructions-0006")
    # Nine pairs: two rows, the first of five.
    for place in (0, 4):
        np.testing.assert_array_equal(tile(found, 0, place), in_levels(digits()[90 + place]))
    np.testing.assert_array_equal(tile(found[2 * 58 + 4 :], 0, 3), in_levels(digits()[98]))


def stream():
    while True:
        yield (digits()[:32].reshape(32, 64),)


def refused(model, x, message, callback, error=ValueError, **kwargs):
    """`fit` raises this, and no step has been made."""
    with pytest.raises(error, match=message):
        fit(model, x, callback, **kwargs)
    assert int(model.optimizer.iterations) == 0


def test_what_is_refused(tmp_path, monkeypatch):
    vae, x = small_vae(), digits()[:32]
    refused(vae, x, r"Gallery: of `examples`: .*\(8, 8, 1\)", Gallery(tmp_path, examples=np.zeros((4, 7, 7, 1))))
    refused(vae, x, r"expected `shape` to have the elements of an example, 64", Gallery(tmp_path, shape=(7, 9, 1)))
    path = tmp_path / "file"
    path.write_text("mine")
    for folder in (path, path / "below"):
        message = f"Gallery: expected `folder` to be a folder that can be written; received: '{re.escape(str(folder))}'"
        refused(vae, x, message, Gallery(folder))
    assert files_under(tmp_path) == ["file"] and path.read_text() == "mine"
    for freq in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"Gallery.*`freq`.*{freq}"):
            Gallery(tmp_path, freq=freq)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    message = r"Gallery: expected a model that is a keras_vae\.VAE; received: Sequential"
    refused(model, np.zeros((4, 2)), message, Gallery(tmp_path), y=np.zeros((4, 1)))
    without_matplotlib(monkeypatch)
    table = np.random.default_rng(0).normal(size=(32, 5)).astype("float32")
    message = r'expected matplotlib.*not installed.*pip install "keras_vae\[pictures\]"'
    refused(compiled(gaussian_vae((5,), latent=2)), table, message, Gallery(tmp_path), error=ImportError)


SCALES = keras_vae.scales
LAYERS = keras_vae.layers


@pytest.mark.parametrize(
    "likelihood, has_sigma",
    [
        (LAYERS.IndependentNormal((8, 8, 1), scale=0.1), False),
        (LAYERS.IndependentNormal((8, 8, 1), scale=SCALES.PerDimension()), True),
        pytest.param(LAYERS.IndependentNormal((8, 8, 1), scale=SCALES.Optimal(axis=-1)), False, marks=pytest.mark.slow),
        (LAYERS.IndependentStudentT((8, 8, 1), df=1.5), False),
        pytest.param(LAYERS.DiscretizedLogisticMixture((8, 8, 3)), False, marks=pytest.mark.slow),
        pytest.param(LAYERS.IndependentBernoulli((8, 8)), False, marks=pytest.mark.slow),
    ],
    ids=["fixed", "per dimension", "optimal", "no variance", "no moments", "no channel axis"],
)
def test_of_any_likelihood_what_it_has_is_drawn(tmp_path, recwarn, likelihood, has_sigma):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.layers.Flatten(), LAYERS.IndependentNormal(3)])
    vae = compiled(keras_vae.VAE(encoder, keras.Sequential([keras.layers.Dense(8), likelihood]), seed=0))
    x = digits()[:40]
    if likelihood.event_shape == (8, 8, 3):
        x = np.rint(255 * np.broadcast_to(x, (40, 8, 8, 3)))  # levels
    fit(vae, x.reshape(-1, *likelihood.event_shape), Gallery(tmp_path), TensorBoard(tmp_path / "log"))
    kinds = KINDS - {"manifold"} | ({"sigma"} if has_sigma else set())
    assert set(files_under(tmp_path)) >= {f"{kind}-0001.png" for kind in kinds}
    assert Log(tmp_path / "log").tags("images") == {f"pictures/{kind}" for kind in kinds}
    assert not [str(each.message) for each in recwarn if "could not" in str(each.message)]


def test_watching_draws_no_noise_of_the_layers_and_reads_no_stream_of_training(tmp_path):
    """Weights to the last bit: of an encoder that draws at inference too, and data that are shuffled as they come."""

    class Noisy(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed_generator = keras.random.SeedGenerator(0)

        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), seed=self.seed_generator)

    weights = []
    for watchers in ([], [TensorBoard(tmp_path / "log"), Gallery(tmp_path / "gallery"), CollapseAlarm()]):
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.layers.Flatten(), Noisy(), LAYERS.IndependentNormal(2)])
        decoder = keras.Sequential([LAYERS.IndependentNormal((8, 8, 1), scale=SCALES.Shared())])
        vae = compiled(keras_vae.VAE(encoder, decoder, seed=0))
        data = tf.data.Dataset.from_tensor_slices(digits()[:64]).shuffle(64, seed=2).batch(16)
        fit(vae, data, *watchers, batch_size=None, epochs=2)
        weights.append(vae.get_weights())
    for alone, watched in zip(*weights, strict=True):
        np.testing.assert_array_equal(watched, alone)


def test_networks_of_one_s_own_that_have_no_configuration(tmp_path, recwarn):
    """The layer that ends one need not be made last."""

    class Decoder(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.likelihood = LAYERS.IndependentNormal((8, 8, 1))
            self.hidden = keras.layers.Dense(units)

        def call(self, z):
            return self.likelihood(self.hidden(z))

    encoder = keras.Sequential([keras.layers.Flatten(), LAYERS.IndependentNormal(2)])
    fit(compiled(keras_vae.VAE(encoder, Decoder(8), seed=0)), digits()[:40], TensorBoard(tmp_path))
    log = Log(tmp_path)
    (configuration,) = log.values("configuration")
    assert "| likelihood | IndependentNormal |" in str(configuration)
    if KERAS > (3, 8):  # which has a configuration of its own for any model
        assert "No configuration as Keras" in str(configuration)
    assert "pictures/sigma" in log.tags("images") and log.tags("hparams", ".")
    assert not [str(each.message) for each in recwarn if "could not" in str(each.message)]

"""`Gallery`: the pictures that TensorBoard shows, as files."""

import re
import sys

import keras
import numpy as np
import pytest
from small import digits, gaussian_vae
from watched import Log, compiled, files_under, fit, in_levels, pixels_of, small_vae, tile

import keras_vae
from keras_vae.callbacks import Gallery, TensorBoard

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
    assert files_under(tmp_path) == sorted(f"{kind}-000{epoch}.png" for kind in KINDS for epoch in (3, 6))
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
    vae, data = compiled(gaussian_vae((64,), latent=2)), {"batch_size": None, "steps_per_epoch": 2}
    message = r"Gallery: expected examples to draw;.*Gallery\(examples=\.\.\.\)"
    refused(vae, stream(), message, Gallery(tmp_path), **data)
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

"""Noise apart: what is evaluated or predicted is repeatable, and changes nothing in what is learned."""

import threading

import numpy as np
import pytest
import tensorflow as tf
from small import digits, gaussian_vae

from keras_vae import backend

X = digits()[:60]


def compiled_vae(**kwargs):
    vae = gaussian_vae(**kwargs)
    vae.compile("adam", jit_compile=False)
    return vae


@pytest.fixture(scope="module")
def vae():
    vae = compiled_vae()
    vae.fit(X, verbose=0)
    return vae


def test_predict_is_repeatable_and_reconstructs_as_reconstruct_does(vae):
    first, again = vae.predict(X, verbose=0), vae.predict(X, verbose=0)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    np.testing.assert_allclose(first["reconstruction"], vae.reconstruct(X), rtol=1e-4, atol=1e-5)
    evaluated = vae.evaluate(X, verbose=0, return_dict=True)
    assert evaluated["nll"] == pytest.approx(first["nll"].mean(), rel=1e-5)


def test_evaluate_is_repeatable(vae):
    first = vae.evaluate(X, verbose=0)
    vae(X), vae.generate(3), vae.predict(X[:10], verbose=0)
    assert vae.evaluate(X, verbose=0) == first
    assert vae.evaluate(X[:30], verbose=0) != first


def test_batches_of_an_evaluation_draw_different_noise(vae):
    """Or a mean over many batches of the same rows would be as noisy as one's."""
    same = np.repeat(X[:1], 64, axis=0)
    nll = vae.predict(same, batch_size=16, verbose=0)["nll"]
    assert len(np.unique(nll)) == 64


def test_validation_changes_nothing_in_what_is_learned():
    options = {"epochs": 3, "batch_size": 16, "verbose": 0}
    plain = compiled_vae()
    losses = plain.fit(X, **options).history["loss"]
    validated = compiled_vae()
    history = validated.fit(X, validation_data=X[:20], **options).history
    assert history["loss"] == losses
    for one, other in zip(plain.get_weights(), validated.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert validated.evaluate(X[:20], batch_size=16, verbose=0)[0] == pytest.approx(history["val_loss"][-1], rel=1e-6)


def test_of_a_loaded_file_it_is_the_same(vae, tmp_path):
    import keras_vae

    vae.save(tmp_path / "vae.keras")
    same = keras_vae.load_model(tmp_path / "vae.keras")
    np.testing.assert_allclose(same.evaluate(X, verbose=0), vae.evaluate(X, verbose=0), rtol=1e-6)


def test_predict_from_many_threads(vae):
    parts = [X[at : at + 20] for at in (0, 20, 40)] * 4
    expected = [vae.predict(part, verbose=0) for part in parts]
    found = [None] * len(parts)

    def ask(index):
        found[index] = vae.predict(parts[index], verbose=0)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(parts))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for one, other in zip(expected, found, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_seeds_that_are_folded_twice_are_the_same_under_xla():
    """The second time they are negative, as often as not."""

    def twice(index):
        return backend.fold_in(backend.fold_in(tf.constant([1, 2]), index), 7)

    for index in range(8):
        np.testing.assert_array_equal(twice(index), backend.program(lambda index=index: twice(index), True)())

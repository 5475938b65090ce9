"""Many models in one process, one after another, as a search over settings makes them."""

import gc
import logging
import weakref

import keras
import pytest
import tensorflow as tf
from small import digits, gaussian_vae
from variants import fast_for

import keras_vae

X = digits()[:40]


def used(seed):
    """A weak reference to a model that was trained, evaluated and asked, and then let go of."""
    vae = gaussian_vae(seed=seed, units=4)
    vae.compile("sgd", jit_compile=False)
    vae.fit(X, validation_data=X[:10], batch_size=16, verbose=0)
    vae.evaluate(X, batch_size=16, verbose=0)
    vae.predict(X[:8], verbose=0)
    for _ in range(2):  # the second time as a program
        vae.encode(X[:2]), vae.reconstruct(X[:2]), vae.generate(2)
    return weakref.ref(vae)


def graphs():
    gc.collect()
    return sum(isinstance(each, tf.Graph) for each in gc.get_objects())


def test_models_leave_nothing_and_tensorflow_warns_of_nothing(caplog):
    """No model stays, and none of its graphs, by way of the gradients that TensorFlow registers for good, say."""
    with caplog.at_level(logging.WARNING, logger=tf.get_logger().name):
        tf.get_logger().addHandler(caplog.handler)
        try:
            models, counts = [], []
            for seed in range(4):
                models.append(used(seed))
                counts.append(graphs())
        finally:
            tf.get_logger().removeHandler(caplog.handler)
    assert counts[-1] <= counts[0]
    keras.backend.clear_session()
    gc.collect()
    assert [each for each in models if each() is not None] == []
    assert "retracing" not in caplog.text


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return (X[10 * index : 10 * index + 10],)


def batches():
    return tf.data.Dataset.from_tensor_slices(X).batch(10)


USES = {
    "arrays": lambda vae, folder: vae.fit(X, verbose=0),
    "arrays in order": lambda vae, folder: vae.fit(X, shuffle=False, verbose=0),
    "data sets": lambda vae, folder: (
        vae.fit(batches(), validation_data=batches(), verbose=0),
        vae.evaluate(batches(), verbose=0),
    ),
    "generator": lambda vae, folder: vae.fit((X[:8] for _ in range(4)), verbose=0),
    "PyDataset": lambda vae, folder: vae.fit(Batches(), shuffle=False, verbose=0),
    "frames": lambda vae, folder: vae.fit(X.tolist(), validation_split=0.5, verbose=0),
    "callbacks": lambda vae, folder: vae.fit(
        X,
        validation_data=X[:8],
        verbose=0,
        callbacks=[
            keras_vae.callbacks.TensorBoard(str(folder / "logs")),
            keras_vae.callbacks.CollapseAlarm(),
            keras_vae.callbacks.Gallery(str(folder / "pictures")),
            keras.callbacks.ModelCheckpoint(str(folder / "vae.keras")),
        ],
    ),
    "questions": lambda vae, folder: (
        vae.adapt(X),
        vae.fit(X, verbose=0),
        vae.transform(X, verbose=0),
        vae.log_likelihood(batches(), num_samples=3, verbose=0),
        vae.log_prob_of_elements(X, num_samples=3, verbose=0),
    ),
    "export": lambda vae, folder: (vae.fit(X, verbose=0), vae.export(folder / "served", verbose=False)),
    "run eagerly": lambda vae, folder: (
        vae.compile("sgd", run_eagerly=True),
        vae.fit(X[:4], validation_data=batches(), verbose=0),
    ),
}


@pytest.mark.parametrize("use", fast_for("arrays", "questions", among=USES))
def test_a_model_is_freed_whatever_it_was_fitted_to(use, tmp_path):
    """Of three models, one after another, none stays."""
    models = []
    for seed in range(3):
        vae = gaussian_vae(seed=seed, units=4)
        vae.compile("sgd", jit_compile=False)
        USES[use](vae, tmp_path / str(seed))
        models.append(weakref.ref(vae))
        del vae
    keras.backend.clear_session()
    gc.collect()
    assert [each for each in models if each() is not None] == []

"""Many models in one process, one after another, as a search over settings makes them."""

import gc
import logging
import weakref

import keras
import tensorflow as tf
from small import digits, gaussian_vae

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

"""The same model on one logical CPU and on two, which must be set up before TensorFlow starts; for `two_devices.py`."""

import contextlib

import numpy as np
import tensorflow as tf
from keras import optimizers
from small import digits, gaussian_vae

from keras_vae import compat

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

X = digits()[:33]  # in batches of 16: the last one leaves a replica without a row
WEIGHTS = np.random.default_rng(0).uniform(0.0, 3.0, size=33).astype("float32")


def made(replicas, optimizer=None, build=gaussian_vae, **compiled):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]) if replicas == 2 else contextlib.nullcontext()
    with strategy.scope() if replicas == 2 else strategy:
        vae = build()
        vae.compile(optimizer() if optimizer else optimizers.Adam(1e-2), **compiled)
    return vae


def fitted(replicas, data=None, fit=None, **kwargs):
    vae = made(replicas, **kwargs)
    options = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0, **(fit or {})}
    return vae, vae.fit(**(data() if data else {"x": X}), **options).history


def assert_same_weights(one, two, rtol=1e-4, atol=2e-6):
    for expected, variable in zip(one.variables, two.variables, strict=True):
        if compat.is_draw_count(expected):
            np.testing.assert_array_equal(variable, expected)
        for copy in variable.value.values:  # one on each device
            np.testing.assert_allclose(copy, expected, rtol=rtol, atol=atol, err_msg=variable.path)


def assert_two_train_as_one(rtol=1e-5, **kwargs):
    (one, expected), (two, history) = (fitted(replicas, **kwargs) for replicas in (1, 2))
    assert sorted(history) == sorted(expected)
    for name, curve in expected.items():
        np.testing.assert_allclose(history[name], curve, rtol=rtol, err_msg=name)
    assert_same_weights(one, two)
    return one, two

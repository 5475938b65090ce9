"""What the tests of files share: models that are not as new, and what makes two of them the same."""

import json

import keras
import numpy as np
from checks import uncompiled
from resumed import state_of

import keras_vae
from keras_vae import compat, layers


def vae_of(likelihood, posterior=None, first=(), **kwargs):
    posterior = layers.IndependentNormal(2) if posterior is None else posterior
    encoder = keras.Sequential([*first, keras.layers.Flatten(), keras.layers.Dense(4, "tanh"), posterior])
    return keras_vae.VAE(encoder, keras.Sequential([keras.layers.Dense(4, "tanh"), likelihood]), **kwargs)


def normal_vae(**kwargs):
    return vae_of(layers.IndependentNormal(3), **kwargs), normals(3, 3)


def normals(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def reload(vae, folder):
    vae.save(folder / "vae.keras")
    return keras.saving.load_model(folder / "vae.keras", safe_mode=True)


def unlike_new(vae, x):
    """Compiles and builds a VAE for x, and gives all its state values that a new one has not: as training does."""
    if not vae.compiled:
        vae.compile("adam", jit_compile=False)
    vae.build(keras.tree.map_structure(np.shape, x))
    vae.optimizer.build(vae.trainable_variables)
    random = np.random.default_rng(0)
    for variable in [*vae.variables, *vae.optimizer.variables]:
        value = random.uniform(0.1, 0.9, variable.shape)
        value = 1000 * value // 1 if "int" in variable.dtype else value
        if compat.is_draw_count(variable):
            value[0] = np.asarray(variable)[0]  # the seed, which no training changes
        variable.assign(value)
    return vae


def check_same(one, other, x, configs=True):
    """Raises unless both are one model: configuration, state, and what they make of x and of latents."""
    if configs:
        assert json.dumps(one.get_config()) == json.dumps(other.get_config())
    assert json.dumps(one.get_compile_config()) == json.dumps(other.get_compile_config())
    assert state_of(one) == state_of(other)
    with uncompiled():
        posteriors = [vae.encode(x) for vae in (one, other)]
        z = np.linspace(-1.0, 1.0, 2 * len(keras.tree.flatten(x)[0])).reshape(-1, 2).astype(posteriors[0].dtype.name)
        scores = [vae.decode(z).log_prob(vae.target_of(x)) for vae in (one, other)]
        spreads = [posterior.stddev() for posterior in posteriors]
    for found, expected in (spreads, scores):
        assert found.dtype == expected.dtype and np.isfinite(expected).all()
        np.testing.assert_array_equal(found, expected)

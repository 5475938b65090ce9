"""Small models and real data that many tests share."""

import functools

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import keras_vae

# The version of Keras, for what the oldest one that is supported, 3.8, does otherwise.
KERAS = tuple(map(int, keras.__version__.split(".")[:2]))


@functools.cache
def digits():
    """scikit-learn's 1,797 handwritten digits, [N, 8, 8, 1] in 0..1."""
    return (load_digits().images / 16.0).astype("float32")[..., None]


def gaussian_vae(event_shape=(8, 8, 1), latent=3, scale=None, seed=0, units=16, **kwargs):
    """A one-hidden-layer VAE with a Gaussian decoder; weights and noise from `seed`."""
    keras.utils.set_random_seed(seed)
    encoder = keras.Sequential(
        [layers.Flatten(), layers.Dense(units, "tanh"), keras_vae.layers.IndependentNormal(latent)]
    )
    scale = keras_vae.scales.Shared() if scale is None else scale
    decoder = keras.Sequential(
        [layers.Dense(units, "tanh"), keras_vae.layers.IndependentNormal(event_shape, scale=scale)]
    )
    return keras_vae.VAE(encoder, decoder, seed=seed, **kwargs)


def bernoulli_vae(event_shape=(8, 8, 1), latent=3, seed=0, units=16, **kwargs):
    """A one-hidden-layer VAE with a Bernoulli decoder; weights and noise from `seed`."""
    keras.utils.set_random_seed(seed)
    encoder = keras.Sequential(
        [layers.Flatten(), layers.Dense(units, "tanh"), keras_vae.layers.IndependentNormal(latent)]
    )
    decoder = keras.Sequential([layers.Dense(units, "tanh"), keras_vae.layers.IndependentBernoulli(event_shape)])
    return keras_vae.VAE(encoder, decoder, seed=seed, **kwargs)


@functools.cache
def _model_and_state(build):
    vae = build()
    vae.compile("adam", jit_compile=False)
    vae.fit(digits()[:2], verbose=0)  # makes all variables
    fresh = build()
    fresh.compile("adam", jit_compile=False)
    fresh.build((None, 8, 8, 1))
    fresh.optimizer.build(fresh.trainable_variables)
    return vae, [np.asarray(variable) for variable in (*fresh.variables, *fresh.optimizer.variables)]


def as_new(build=gaussian_vae):
    """`build()` for digits, compiled with Adam and without XLA, in the state that it begins in.

    One model for all tests that do no more than train, score and watch it: its programs are made once.
    """
    vae, state = _model_and_state(build)
    for variable, value in zip((*vae.variables, *vae.optimizer.variables), state, strict=True):
        variable.assign(value)
    vae.engine.batches_done = 0
    vae.stop_training = False
    vae.reset_metrics()
    return vae


def restart_noise(vae):
    """Has the noise of training begin as that of `evaluate` and `predict` does."""
    vae.seed_generator.state.assign([vae.noise.key_of(vae.seed), 0])


class LinearGaussian:
    """x = W z + b + sigma e with orthogonal columns of W, so that the posterior is diagonal: all is known, in float64.

    p(x) = N(b, W W' + sigma^2 I) and p(z|x) = N(V W'(x - b) / sigma^2, V), V = (I + W'W / sigma^2)^-1.
    """

    def __init__(self, dimensions=6, latent=2, sigma=0.7, seed=0):
        random = np.random.default_rng(seed)
        orthogonal, _ = np.linalg.qr(random.normal(size=(dimensions, latent)))
        self.weights = orthogonal * np.linspace(2.0, 0.5, latent)
        self.bias = random.normal(size=dimensions)
        self.sigma = sigma
        self.posterior_variance = 1.0 / (1.0 + np.sum(self.weights**2, axis=0) / sigma**2)
        self.encoder_weights = self.weights * self.posterior_variance / sigma**2
        self.encoder_bias = -self.bias @ self.encoder_weights

    def sample(self, num, seed=1):
        random = np.random.default_rng(seed)
        noise = self.sigma * random.normal(size=(num, len(self.bias)))
        x = random.normal(size=(num, self.weights.shape[1])) @ self.weights.T + self.bias + noise
        return x.astype("float32").astype("float64")  # as Keras rounds the arrays that `predict` is given

    def log_prob(self, x):
        """The exact log p(x), [N], by scipy."""
        from scipy.stats import multivariate_normal

        covariance = self.weights @ self.weights.T + self.sigma**2 * np.eye(len(self.bias))
        return multivariate_normal(self.bias, covariance).logpdf(x)

    def vae(self, posterior_shift=0.0, posterior_stretch=1.0, **kwargs):
        """The model as a VAE in float64: with the true posterior, or one shifted and stretched away from it."""
        scale = keras_vae.scales.PerDimension(floor=1e-9, dtype="float64")
        latent = self.weights.shape[1]
        encoder = keras.Sequential([keras_vae.layers.IndependentNormal(latent, scale=scale, dtype="float64")])
        fixed = keras_vae.scales.Fixed(self.sigma, dtype="float64")
        decoder = keras.Sequential([keras_vae.layers.IndependentNormal(len(self.bias), scale=fixed, dtype="float64")])
        vae = keras_vae.VAE(encoder, decoder, dtype="float64", seed=0, **kwargs)
        vae.build((None, len(self.bias)))
        log_variance = np.log(self.posterior_variance) + 2.0 * np.log(posterior_stretch)
        vae.encoder.set_weights([log_variance, self.encoder_weights, self.encoder_bias + posterior_shift])
        vae.decoder.set_weights([self.weights.T, self.bias])
        return vae

"""This library, as its README shows it."""

import keras
import numpy as np
from keras import layers

import keras_vae
from contestants import networks
from contestants.base import EPSILON, LEARNING_RATE
from contestants.fit import FitContestant


def build(workload, train, seed, jit_compile="auto"):
    keras.utils.set_random_seed(seed)
    kind = keras_vae.objectives.IWAE if workload.objective == "iwae" else keras_vae.objectives.ELBO
    vae = model_of(workload, kind(num_samples=workload.num_samples), jit_compile)
    return KerasVAE(workload, train, vae, keras)


def model_of(workload, objective, jit_compile="auto"):
    """The workload's VAE, compiled and built, with this objective."""
    if workload.convolutional:
        head = [
            networks.output(workload, layers),
            keras_vae.layers.IndependentBernoulli(workload.event_shape, projection=False),
        ]
    elif workload.likelihood == "bernoulli":
        head = [keras_vae.layers.IndependentBernoulli(workload.event_shape)]
    else:
        head = [keras_vae.layers.IndependentNormal(workload.event_shape)]
    vae = keras_vae.VAE(
        keras.Sequential([*networks.encoder(workload, layers), keras_vae.layers.IndependentNormal(workload.latent)]),
        keras.Sequential([*networks.decoder(workload, layers), *head]),
        objective=objective,
    )
    vae.compile(keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON), jit_compile=jit_compile)
    vae.build((None, *workload.event_shape))
    return vae


class KerasVAE(FitContestant):
    def log_likelihood(self, images):
        samples = self.workload.importance_samples
        return float(np.mean(self.model.log_likelihood(images, num_samples=samples, verbose=0)))

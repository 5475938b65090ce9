"""A sigma that the network computes."""

import keras

from keras_vae.scales.base import LearnedScale, shared_sigma


@keras.saving.register_keras_serializable("keras_vae")
class PerElement(LearnedScale):
    """A sigma for each element that the network computes, as in appendix C.2 of AEVB (arXiv 1312.6114): the default.

    The network's output is log sigma^2 before the floor.

        likelihood = keras_vae.layers.IndependentNormal(13, scale=keras_vae.scales.PerElement(floor=1e-2))
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Args:
        floor: the smallest sigma, approached smoothly: sigma^2 = exp(raw) + floor^2.
    """

    parameters_per_element = 1

    def log_scale(self, features=None):
        return self.bounded(features)

    def start_at(self, sigma, weight):
        sigma = shared_sigma(sigma, weight, sigma.shape)
        return sigma, [self.raw_of(sigma)]

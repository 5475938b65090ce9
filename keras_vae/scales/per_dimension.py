"""A learned sigma for each element of the event."""

import keras

from keras_vae.scales.base import FreeScale


@keras.saving.register_keras_serializable("keras_vae")
class PerDimension(FreeScale):
    """One learned sigma for each element of the event, the same for every z.

        likelihood = keras_vae.layers.IndependentNormal(13, scale=keras_vae.scales.PerDimension())
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Args:
        initial: sigma before training, above `floor`.
        floor: the smallest sigma, approached smoothly: sigma^2 = exp(raw) + floor^2.
    """

    def weight_shape(self, event_shape):
        return event_shape

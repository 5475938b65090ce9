"""A learned sigma for each element of the event."""

import keras

from keras_vae.scales.base import FreeScale


@keras.saving.register_keras_serializable("keras_vae")
class PerDimension(FreeScale):
    """One learned sigma for each element of the event, the same for every z."""

    def weight_shape(self, event_shape):
        return event_shape
